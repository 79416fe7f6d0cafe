# The gateway in front of the model servers. From the repository's root:
#   docker build -f docker/gateway.Dockerfile -t digits-gateway:0.1.0 .
#   docker run --rm --read-only -p 8080:8080 digits-gateway:0.1.0
# Made as docker/service.Dockerfile is, which says why each line stands there.
ARG BASE_IMAGE=python:3.13-slim-trixie

FROM ${BASE_IMAGE} AS packages
COPY docker/gateway-requirements.txt /tmp/requirements.txt
RUN python3 -m venv /opt/gateway \
    && /opt/gateway/bin/pip install --no-cache-dir --disable-pip-version-check --no-deps --only-binary=:all: \
        --require-hashes -r /tmp/requirements.txt \
    && /opt/gateway/bin/pip check \
    && /opt/gateway/bin/pip uninstall --yes --quiet pip \
    && cd /opt/gateway/lib/python3*/site-packages \
    && find . -depth -type d -name tests -exec rm -r {} +

FROM ${BASE_IMAGE} AS course
COPY course_lib/__init__.py /srv/course_lib/
COPY course_lib/services/__init__.py course_lib/services/access.py course_lib/services/answers.py \
    course_lib/services/breaker.py course_lib/services/connection.py course_lib/services/gateway.py \
    course_lib/services/process.py course_lib/services/upstream.py /srv/course_lib/services/
COPY course_lib/serving/__init__.py course_lib/serving/keys.py course_lib/serving/telemetry.py \
    course_lib/serving/tracing.py /srv/course_lib/serving/
RUN chmod -R u=rwX,go=rX /srv

FROM ${BASE_IMAGE}
LABEL org.opencontainers.image.title="digits-gateway" \
      org.opencontainers.image.description="The gateway of From Loss to Load Balancer: splits, copies and retries requests" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="MIT"
ENV PATH=/opt/gateway/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
WORKDIR /srv
COPY --from=packages /opt/gateway /opt/gateway
COPY --from=course /srv/course_lib course_lib
USER 10001:10001
EXPOSE 8080
HEALTHCHECK --interval=30s --timeout=3s --start-period=5s \
    CMD ["python", "-c", "import urllib.request as u; u.build_opener(u.ProxyHandler({})).open('http://127.0.0.1:8080/v2/health/ready', timeout=2)"]
CMD ["python", "-m", "course_lib.services.gateway", "--predictor", "http://digits", "--host", "0.0.0.0", "--port", "8080"]
