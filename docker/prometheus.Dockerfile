# Prometheus, with docker/prometheus.yml in it. docker/compose.yaml builds it; from the repository's root:
#   docker build -f docker/prometheus.Dockerfile -t digits-prometheus:0.1.0 .
# A mounted file keeps the rights that it has here: after a clone under `umask 077` Prometheus' user could not read it.
ARG BASE_IMAGE=prom/prometheus:v3.13.2
FROM ${BASE_IMAGE}
LABEL org.opencontainers.image.title="digits-prometheus" \
      org.opencontainers.image.description="Prometheus, reading the counters of From Loss to Load Balancer's servers" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --chown=65534:65534 docker/prometheus.yml /etc/prometheus/prometheus.yml
USER 65534:65534
EXPOSE 9090
# -Y off: no proxy, whatever the environment says.
HEALTHCHECK --interval=30s --timeout=3s --start-period=10s \
    CMD ["wget", "-Y", "off", "-q", "-O", "/dev/null", "http://127.0.0.1:9090/-/ready"]
