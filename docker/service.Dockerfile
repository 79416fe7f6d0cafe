# The model server and the course's models. From the repository's root:
#   docker build -f docker/service.Dockerfile -t digits-service:0.1.0 .
#   docker run --rm --read-only -p 8501:8501 digits-service:0.1.0
# Written for any builder, BuildKit or not. Another base with Python 3.13: --build-arg BASE_IMAGE=...
# A tag can be moved. `docker buildx imagetools inspect python:3.13-slim-trixie` prints today's digest; to pin it:
# --build-arg BASE_IMAGE=python:3.13-slim-trixie@sha256:...
ARG BASE_IMAGE=python:3.13-slim-trixie

FROM ${BASE_IMAGE} AS packages
COPY docker/service-requirements.txt /tmp/requirements.txt
# The packages go to an environment of their own, which alone moves on. pip takes the wheels whose hashes are listed and
# no other file. What a server never runs stays behind: pip, the packages' own tests, ONNX Runtime's tools for training
# and conversion. Compiled bytecode stays in: a read-only container would compile everything anew at each start.
RUN python3 -m venv /opt/service \
    && /opt/service/bin/pip install --no-cache-dir --disable-pip-version-check --no-deps --only-binary=:all: \
        --require-hashes -r /tmp/requirements.txt \
    && /opt/service/bin/pip check \
    && /opt/service/bin/pip uninstall --yes --quiet pip \
    && cd /opt/service/lib/python3*/site-packages \
    && find . -depth -type d -name tests -exec rm -r {} + \
    && rm -r onnxruntime/datasets onnxruntime/quantization onnxruntime/tools onnxruntime/transformers

# An image takes over the rights of the files that are copied in. After a clone under `umask 077` its user could read
# nothing, so this stage sets them, as any builder can.
FROM ${BASE_IMAGE} AS course
COPY course_lib/__init__.py course_lib/pipeline.py /srv/course_lib/
COPY course_lib/serving /srv/course_lib/serving
COPY models /srv/models
RUN chmod -R u=rwX,go=rX /srv

FROM ${BASE_IMAGE}
LABEL org.opencontainers.image.title="digits-service" \
      org.opencontainers.image.description="The model server of From Loss to Load Balancer, with its models" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="MIT"
ENV PATH=/opt/service/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    ORT_DISABLE_TELEMETRY=1
WORKDIR /srv
COPY --from=packages /opt/service /opt/service
COPY --from=course /srv/course_lib course_lib
COPY --from=course /srv/models models
# A number, since Kubernetes' runAsNonRoot cannot tell who a name is.
USER 10001:10001
EXPOSE 8501
# Where the engine hands its proxy on (HTTP_PROXY), a plain urlopen would ask the proxy for 127.0.0.1.
HEALTHCHECK --interval=30s --timeout=3s --start-period=5s \
    CMD ["python", "-c", "import urllib.request as u; u.build_opener(u.ProxyHandler({})).open('http://127.0.0.1:8501/v2/health/ready', timeout=2)"]
CMD ["python", "-m", "course_lib.serving", "--models", "models", "--port", "8501"]
