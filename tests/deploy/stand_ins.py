"""Debian's Prometheus in an image, for a machine that cannot pull the public one.

Same programs, same places, same user; another release (trixie has 2.53), which knows fewer kinds of discovery: a test that
uses it shows that our files work, and not that the public image does.
"""

import contextlib
import os
import secrets
import subprocess
from collections.abc import Iterator

from course_lib.ops import docker

DOCKERFILE = """
FROM python:3.13-slim-trixie AS debian
WORKDIR /packages
RUN apt-get update -qq && apt-get download -qq prometheus promtool busybox-static \\
    && for each in *.deb; do dpkg -x "$each" /made; done
FROM python:3.13-slim-trixie
COPY --from=debian /made/usr/bin/prometheus /made/usr/bin/promtool /bin/
COPY --from=debian /made/usr/bin/busybox /bin/wget
RUN mkdir -p /etc/prometheus /prometheus && chown 65534:65534 /prometheus
WORKDIR /prometheus
USER 65534:65534
EXPOSE 9090
ENTRYPOINT ["/bin/prometheus"]
CMD ["--config.file=/etc/prometheus/prometheus.yml", "--storage.tsdb.path=/prometheus"]
"""


@contextlib.contextmanager
def prometheus() -> Iterator[str]:
    """An image with Prometheus and promtool for as long as the block runs; gives its name. The builder keeps its cache.

    Needs an engine and the docker command. Fails with the builder's words where Debian's packages cannot be had.
    """
    name = f"prometheus:test-{secrets.token_hex(3)}"
    done = subprocess.run(["docker", "build", "--quiet", "--tag", name, "-"], input=DOCKERFILE, capture_output=True, text=True,
                          env={**os.environ, "DOCKER_BUILDKIT": "1"}, timeout=600)  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    try:
        yield name
    finally:
        docker.remove_image(docker.docker_client(), name)
