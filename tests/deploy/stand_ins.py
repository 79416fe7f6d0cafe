"""Debian's Prometheus in an image, for a machine that cannot pull the public one: `course_lib.ops.public` makes it."""

import contextlib
import secrets
from collections.abc import Iterator

from course_lib.ops import docker, public


@contextlib.contextmanager
def image(stage: str) -> Iterator[str]:
    """An image of a stage of `public.DOCKERFILE` for as long as the block runs; gives its name. The builder keeps its cache.

    "prometheus" has promtool, "alertmanager" has no other program. Needs an engine. Raises docker.errors.BuildError where
    Debian's packages cannot be had.
    """
    client, name = docker.docker_client(), f"{stage}:test-{secrets.token_hex(3)}"
    public.made(client, stage, name)
    try:
        yield name
    finally:
        docker.remove_image(client, name)
