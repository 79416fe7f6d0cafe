# nginx in front of the gateway, with docker/nginx.conf: TLS, certificates of clients, a limit for each client. From the
# repository's root:
#   docker build -f docker/proxy.Dockerfile -t digits-proxy:0.1.0 .
# The keys are mounted at /etc/nginx/keys and are never in the image; docker/nginx.conf names them. The gateway answers
# to the name `gateway` on the same network.
# nginx comes from Debian's packages, on the base that the other images have.
ARG BASE_IMAGE=python:3.13-slim-trixie
FROM ${BASE_IMAGE}
LABEL org.opencontainers.image.title="digits-proxy" \
      org.opencontainers.image.description="nginx with TLS and client certificates, in front of From Loss to Load Balancer's gateway" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="BSD-2-Clause"
RUN apt-get update \
    && apt-get install --yes --no-install-recommends nginx \
    && rm -rf /var/lib/apt/lists/*
COPY --chown=10001:10001 docker/nginx.conf /etc/nginx/nginx.conf
# A number, since Kubernetes' runAsNonRoot cannot tell who a name is.
USER 10001:10001
EXPOSE 8443
# nginx ends what it has begun on SIGQUIT, and breaks it off on SIGTERM.
STOPSIGNAL SIGQUIT
# Where the engine hands its proxy on (HTTP_PROXY), a plain urlopen would ask the proxy for 127.0.0.1.
HEALTHCHECK --interval=30s --timeout=3s --start-period=5s \
    CMD ["python3", "-c", "import urllib.request as u; u.build_opener(u.ProxyHandler({})).open('http://127.0.0.1:8081/healthz', timeout=2)"]
CMD ["nginx", "-e", "stderr"]
