# JupyterLab with the whole course, for a room of learners. From the repository's root, out of what is committed:
#   git archive HEAD -- . ":^.dockerignore" | docker build -f docker/workshop.Dockerfile -t course-workshop:0.1.0 -
#   docker run --rm -p 127.0.0.1:8888:8888 -e JUPYTER_TOKEN=choose-one course-workshop:0.1.0
# and open http://127.0.0.1:8888/lab?token=choose-one. Without JUPYTER_TOKEN the container prints a token of its own.
# `git archive` sends what is committed, and leaves out .dockerignore, which is the service's. Any builder takes it so.
# There is no engine inside: live cells replay their recordings. Another base with Python 3.13: --build-arg BASE_IMAGE=...
ARG BASE_IMAGE=python:3.13-slim-trixie
FROM ${BASE_IMAGE}
LABEL org.opencontainers.image.title="course-workshop" \
      org.opencontainers.image.description="JupyterLab with From Loss to Load Balancer" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="MIT AND CC-BY-4.0"
RUN useradd --create-home --uid 10001 learner && python3 -m venv /opt/course
ENV PATH=/opt/course/bin:$PATH \
    PYTHONUTF8=1 \
    PYTHONUNBUFFERED=1 \
    ORT_DISABLE_TELEMETRY=1
WORKDIR /home/learner/course
# The packages come before the course, so that a change of a lesson installs nothing anew. PyTorch's build for CPUs is
# taken first: the one that pip finds by itself brings gigabytes of CUDA along.
COPY --chown=10001:10001 pyproject.toml constraints.txt ./
ARG TORCH_FROM="--index-url https://download.pytorch.org/whl/cpu"
RUN pip install --no-cache-dir --no-deps ${TORCH_FROM} "$(grep -o '^torch==[0-9.]*' constraints.txt)+cpu"
RUN python -c "import tomllib; p = tomllib.load(open('pyproject.toml', 'rb')); print(*p['build-system']['requires'], *p['project']['dependencies'], sep='\n')" > /tmp/requirements.txt \
    && pip install --no-cache-dir --constraint constraints.txt --requirement /tmp/requirements.txt \
    && pip check
COPY --chown=10001:10001 . ./
# The folder itself is the learner's, too, since the lessons keep what they make under it. And without the setting
# JupyterLab would ask the network for news, and the learner whether it may.
RUN chown 10001:10001 . \
    && pip install --no-cache-dir --no-deps --no-build-isolation --editable . \
    && mkdir -p /opt/course/share/jupyter/lab/settings \
    && echo '{"@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": false}}' \
        > /opt/course/share/jupyter/lab/settings/overrides.json
# A number, since Kubernetes' runAsNonRoot cannot tell who a name is.
USER 10001:10001
EXPOSE 8888
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s \
    CMD ["python", "-c", "import urllib.request as u; u.build_opener(u.ProxyHandler({})).open('http://127.0.0.1:8888/api', timeout=3)"]
CMD ["jupyter", "lab", "--ip=0.0.0.0", "--port=8888", "--no-browser"]
