"""Whether a Docker engine and a Kubernetes cluster are within reach, asked once a process."""

import functools
import json
import os
import shutil
import subprocess
from dataclasses import dataclass

SECONDS = 5
"""How long an engine or a cluster may take to answer before it counts as out of reach."""

BASE_IMAGE = "python:3.11-slim-bookworm"
"""The image that docker/service.Dockerfile starts from."""


@dataclass(frozen=True)
class Found:
    """there: whether it answers. version: what it calls itself. reason: why not, in a clause that can follow "since"."""

    there: bool
    version: str = ""
    reason: str = ""


@functools.cache
def probe(need: str) -> Found:
    """Asks for "docker" or "kubernetes". Raises KeyError for any other name."""
    return PROBES[need]()


def docker_client(timeout: float = 600):
    """A client of the engine that the `docker` command talks to: DOCKER_HOST's, else its current context's.

    timeout: seconds that one request may take. Raises docker.errors.DockerException where no engine answers.
    """
    import docker

    if not os.environ.get("DOCKER_HOST") and shutil.which("docker"):
        ask = ["docker", "context", "inspect", "--format", "{{.Endpoints.docker.Host}}"]
        said = subprocess.run(ask, capture_output=True, text=True, timeout=SECONDS)
        if said.returncode == 0 and said.stdout.strip():
            return docker.DockerClient(base_url=said.stdout.strip(), timeout=timeout)
    return docker.from_env(timeout=timeout)


def _docker() -> Found:
    try:
        client = docker_client(SECONDS)
        version = client.version()["Version"]
        client.close()
    except Exception as wrong:  # docker, requests and urllib3 each raise their own kinds for an engine out of reach
        return Found(False, reason=f"no Docker engine answers ({_first_line(wrong)})")
    return Found(True, f"Docker Engine {version}")


def _kubernetes() -> Found:
    if not shutil.which("kubectl"):
        return Found(False, reason="kubectl is not installed")
    ask = ["kubectl", "version", "-o", "json", f"--request-timeout={SECONDS}s"]
    try:
        said = subprocess.run(ask, capture_output=True, text=True, timeout=3 * SECONDS)
        version = json.loads(said.stdout)["serverVersion"]["gitVersion"]
    except (subprocess.TimeoutExpired, ValueError, KeyError):
        return Found(False, reason="no Kubernetes cluster answers to kubectl")
    return Found(True, f"Kubernetes {version.lstrip('v')}")


def _first_line(wrong: Exception) -> str:
    return (str(wrong).splitlines() or [type(wrong).__name__])[0][:120]


def stand_ins(needs: tuple[str, ...]) -> list[str]:
    """What here is not the thing of that name that others have, in sentences for a banner."""
    if "docker" not in needs:
        return []
    import docker

    client = docker_client(SECONDS)
    try:
        digests = client.images.get(BASE_IMAGE).attrs.get("RepoDigests")
    except docker.errors.ImageNotFound:
        return []
    finally:
        client.close()
    if digests:
        return []
    return [f"The base image {BASE_IMAGE} was one made locally under that name, not the one that Docker Hub serves."]


PROBES = {"docker": _docker, "kubernetes": _kubernetes}
