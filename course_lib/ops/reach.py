"""Whether a Docker engine is within reach, and a Kubernetes cluster that is the learner's own."""

import ipaddress
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

SECONDS = 5
"""How long an engine or a cluster may take to answer before it counts as out of reach."""

BASE_IMAGE = "python:3.11-slim-bookworm"
"""The image that docker/service.Dockerfile starts from."""

LOCAL_CONTEXT = re.compile("(kind|k3d)-.+|minikube|docker-desktop|rancher-desktop")
"""What the makers of clusters on one's own machine call their contexts."""


@dataclass(frozen=True)
class Found:
    """there: whether it answers. version: what it calls itself. reason: why not, in a clause that can follow "since"."""

    there: bool
    version: str = ""
    reason: str = ""


def probe(need: str) -> Found:
    """Asks for "docker" or "kubernetes". Raises KeyError for any other name.

    What was there once is not asked again; what was not, is: the learner may have started it in between. Which cluster
    kubectl talks to is looked up at each call, since that can change as well.
    """
    return PROBES[need]()


_there: dict[tuple[str, ...], Found] = {}


def _until_there(key: tuple[str, ...], ask: Callable[[], Found]) -> Found:
    if key not in _there:
        found = ask()
        if not found.there:
            return found
        _there[key] = found
    return _there[key]


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
    return _until_there(("docker",), _docker_version)


def _docker_version() -> Found:
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
    context, server = current_context()
    if not context:
        return Found(False, reason="no Kubernetes cluster is chosen (kubectl has no current context)")
    if not allowed(context, server):
        why = f"the context {context} is not a cluster on this machine; COURSE_CONTEXT={context} allows it"
        return Found(False, reason=why)
    return _until_there(("kubernetes", context, server), _kubernetes_version)


def allowed(context: str, server: str) -> bool:
    """Whether lessons may act on this cluster: it is on this machine, or COURSE_CONTEXT names it."""
    return on_this_machine(context, server) or os.environ.get("COURSE_CONTEXT") == context


def on_this_machine(context: str, server: str) -> bool:
    """Whether a kubectl context is a cluster of one's own, by its name or by a server address on this machine.

    The lessons delete and make namespaces: never in a cluster that others may use, unless the learner said so.
    """
    if LOCAL_CONTEXT.fullmatch(context):
        return True
    try:
        host = urlsplit(server).hostname or ""
        address = ipaddress.ip_address("127.0.0.1" if host == "localhost" else host)
    except ValueError:  # a name, or no address at all
        return False
    return address.is_loopback or address.is_unspecified  # 0.0.0.0: how k3d writes it


def current_context() -> tuple[str, str]:
    """kubectl's current context and the address of its server; both empty where there is none."""
    try:
        said = subprocess.run(
            ["kubectl", "config", "view", "--minify", "-o", "json"], capture_output=True, text=True, timeout=SECONDS
        )
        config = json.loads(said.stdout)
        return config["current-context"], config["clusters"][0]["cluster"]["server"]
    except (subprocess.TimeoutExpired, ValueError, KeyError, IndexError, TypeError):
        return "", ""


def _kubernetes_version() -> Found:
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
    """What here may not be the thing of that name that others have, in sentences for a banner."""
    if "docker" not in needs:
        return []
    try:
        client = docker_client(SECONDS)
        try:
            digests = client.images.get(BASE_IMAGE).attrs.get("RepoDigests")
        finally:
            client.close()
    except Exception:  # no such image, or an engine too busy to say: no reason to lose what the lesson has just done
        return []
    if digests:
        return []
    return [f"The base image {BASE_IMAGE} has no registry digest here: it was made or loaded on this machine, so it may "
            "not be the one that Docker Hub serves."]  # fmt: skip


PROBES = {"docker": _docker, "kubernetes": _kubernetes}
