# In place of the workshop's image, which takes minutes and 3 GB: the same folders, user and server, and few packages.
FROM python:3.13-slim-trixie
RUN useradd --create-home --uid 10001 learner && python3 -m venv /opt/course
ENV PATH=/opt/course/bin:$PATH PYTHONUTF8=1 PYTHONPATH=/home/learner/course
WORKDIR /home/learner/course
COPY constraints.txt /tmp/
RUN pip install --no-cache-dir --constraint /tmp/constraints.txt \
    jupyterlab ipykernel numpy matplotlib filelock aiohttp cryptography requests
COPY --chown=10001:10001 . ./
RUN chown 10001:10001 .
USER 10001:10001
