"""Whether a Docker engine is within reach, a Kubernetes cluster that is the learner's own, a browser that can be driven."""

import contextlib
import ipaddress
import json
import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

SECONDS = 5
"""How long an engine or a cluster may take to answer before it counts as out of reach."""

AGAIN_S = 60
"""How long one that let us wait for it is not asked again."""

BASE_IMAGE = "python:3.13-slim-trixie"
"""The image that docker/service.Dockerfile starts from."""

LOCAL_CONTEXT = re.compile("(kind|k3d)-.+|minikube|docker-desktop|rancher-desktop")
"""What the makers of clusters on one's own machine call their contexts."""


@dataclass(frozen=True)
class Found:
    """there: whether it answers. version: what it calls itself. reason: why not, in a clause that can follow "since"."""

    there: bool
    version: str = ""
    reason: str = ""


def probe(need: str, fresh: bool = False) -> Found:
    """Asks for "docker" or "kubernetes". Raises KeyError for any other name.

    What was there once is not asked again; what refused is: the learner may have started it in between. What accepted
    and did not answer in time is asked again after a minute, or a lesson would wait at each of its cells. Which cluster
    kubectl talks to is looked up at each call, since that can change as well. fresh: ask in any case.
    """
    found, until = _hung.pop(need, (None, 0.0))
    if found and not fresh and time.monotonic() < until:
        _hung[need] = found, until
        return found
    if fresh:
        for key in [key for key in _there if key[0] == need]:
            del _there[key]
    began = time.monotonic()
    found = PROBES[need]()
    if not found.there and time.monotonic() - began > 0.9 * SECONDS:
        _hung[need] = found, time.monotonic() + AGAIN_S
    return found


def asked(need: str) -> Found:
    """As `probe`, of what answered before: asked now, and remembered by nobody."""
    if need == "browser":
        return _browser_version()
    return _docker_version() if need == "docker" else cluster_version(SECONDS, 3 * SECONDS)


_hung: dict[str, tuple[Found, float]] = {}
_there: dict[tuple[str, ...], Found] = {}


def _until_there(key: tuple[str, ...], ask: Callable[[], Found]) -> Found:
    if key not in _there:
        found = ask()
        if not found.there:
            return found
        _there[key] = found
    return _there[key]


def docker_client(timeout: float = 300):
    """A client of the engine that the `docker` command talks to: DOCKER_HOST's, else its current context's.

    timeout: seconds that one request may take. Raises docker.errors.DockerException or OSError where no engine answers.
    """
    import docker
    from course_lib.ops.credentials import Credentials

    chosen = ""
    if not os.environ.get("DOCKER_HOST") and shutil.which("docker"):
        ask = ["docker", "context", "inspect", "--format", "{{.Endpoints.docker.Host}}"]
        code, host, _ = _run(ask, SECONDS)
        chosen = host if code == 0 else ""
    _knock(chosen or os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock")
    client = docker.DockerClient(base_url=chosen, timeout=timeout) if chosen else docker.from_env(timeout=timeout)
    client.api._auth_configs = Credentials(client.api._auth_configs)
    return client


def _knock(host: str) -> None:
    """Raises OSError where nothing listens on a unix:// host: the docker package would leave its socket open."""
    if host.startswith("unix://") and hasattr(socket, "AF_UNIX"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as knocking:
            knocking.settimeout(SECONDS)
            knocking.connect(host.removeprefix("unix://"))


def _docker() -> Found:
    return _until_there(("docker",), _docker_version)


def _docker_version() -> Found:
    try:
        with contextlib.closing(docker_client(SECONDS)) as client:
            version = client.version()["Version"]
    except Exception as wrong:  # docker, requests and urllib3 each raise their own kinds for an engine out of reach
        return Found(False, reason=f"no Docker engine answers ({plainly(str(wrong)) or type(wrong).__name__})")
    return Found(True, f"Docker Engine {version}")


def _kubernetes() -> Found:
    if not shutil.which("kubectl"):
        return Found(False, reason="kubectl is not installed")
    context, server, wrong = chosen_cluster()
    if not context:
        return Found(False, reason=wrong)
    if not allowed(context, server):
        why = f"the context {context} is not a cluster on this machine; COURSE_CONTEXT={context} allows it"
        return Found(False, reason=why)
    return _until_there(("kubernetes", context, server), lambda: cluster_version(SECONDS, 3 * SECONDS))


def allowed(context: str, server: str) -> bool:
    """Whether lessons may act on this cluster: it is on this machine, or COURSE_CONTEXT names it."""
    return on_this_machine(context, server) or os.environ.get("COURSE_CONTEXT") == context


def shared_context() -> str:
    """kubectl's current context where its cluster is not on this machine, so that others may use it; "" for one's own."""
    context, server, _ = chosen_cluster()
    return "" if on_this_machine(context, server) else context


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


def chosen_cluster(seconds: float = SECONDS) -> tuple[str, str, str]:
    """kubectl's current context, the address of its server, and, where both are empty, why, as in `Found.reason`.

    seconds: how long kubectl may take; another maker's asks the server even for this.
    """
    config, complaint = kubectl(["config", "view", "--minify"], seconds)
    try:
        return config["current-context"], config["clusters"][0]["cluster"]["server"], ""
    except (KeyError, IndexError, TypeError):
        if complaint and "current-context" not in complaint:
            return "", "", f"kubectl does not say which cluster it speaks to ({plainly(complaint, seconds)})"
        return "", "", "no Kubernetes cluster is chosen (kubectl has no current context)"


def cluster_version(seconds: float, limit_s: float) -> Found:
    """The version of the cluster that kubectl talks to. seconds: for each request; limit_s: for kubectl in all."""
    told, complaint = kubectl(["version", f"--request-timeout={seconds:g}s"], limit_s)
    try:
        return Found(True, f"Kubernetes {told['serverVersion']['gitVersion'].lstrip('v')}")
    except (KeyError, TypeError, AttributeError):
        said = plainly(complaint, seconds)
        return Found(False, reason=f"no Kubernetes cluster answers to kubectl{f' ({said})' if said else ''}")


def kubectl(arguments: list[str], seconds: float, **more: str) -> tuple[dict, str]:
    """What kubectl tells as JSON, {} where that is none, and what it complains of. more: environment variables for it."""
    try:
        _, told, complaint = _run(["kubectl", *arguments, "-o", "json"], seconds, **more)
    except (OSError, subprocess.TimeoutExpired) as wrong:
        return {}, str(wrong)
    try:
        config = json.loads(told or "{}")
    except ValueError:
        config = None
    if isinstance(config, dict):
        return config, complaint
    return {}, complaint or f"it prints no JSON object but {told.splitlines()[0][:60]!r}"


def _run(command: list[str], seconds: float, **more: str) -> tuple[int, str, str]:
    """Exit code, output and complaints. Raises subprocess.TimeoutExpired, OSError where it cannot be started."""
    with (
        tempfile.TemporaryFile() as out,
        tempfile.TemporaryFile() as err,
    ):  # pipes would wait for a killed command's children
        env = os.environ | more
        code = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, timeout=seconds, env=env
        ).returncode
        texts = []
        for each in (out, err):
            each.seek(0)
            texts.append(each.read().decode(errors="replace").strip())
    return code, *texts


PLAINLY = (
    ("time[d -]*out|deadline exceeded", "no answer within {seconds:g} s"),
    ("refused", "connection refused"),
    ("permission ?denied|insufficient permissions|access is denied|permissionerror", "permission denied"),
    ("no such file|cannot find the file", "nothing is there at its address"),
    ("resolve|no such host|name or service|nodename", "its host's name is unknown"),
    ("unauthorized|forbidden|must be logged in", "it wants other credentials"),
    (r"x509|certificate|\bssl", "its certificate is not accepted"),
    (r"reset by peer|connection aborted|\beof\b", "it hung up"),
    ("paramiko", "lessons do not reach an engine over ssh://"),
)
"""What the messages of libraries and commands say, without their classes and addresses."""


def plainly(message: str, seconds: float = SECONDS) -> str:
    """A message in a plain clause: what is known about it, else its last line, unless that is a Python object's.

    seconds: how long was waited, for a message about that.
    """
    for pattern, clause in PLAINLY:
        if re.search(pattern, message, re.I):
            return clause.format(seconds=seconds)
    line = (message.splitlines() or [""])[-1].removeprefix("error: ")
    return "" if re.search(r"object at 0x|Pool\(|\('", line) else line[:120]


def stand_ins(needs: tuple[str, ...]) -> list[str]:
    """What here may not be the thing of that name that others have, in sentences for a banner."""
    if "docker" not in needs:
        return []
    try:
        with contextlib.closing(docker_client(SECONDS)) as client:
            digests = client.images.get(BASE_IMAGE).attrs.get("RepoDigests")
    except Exception:  # no such image, or an engine too busy to say: no reason to lose what the lesson has just done
        return []
    if digests:
        return []
    return [f"Its base image {BASE_IMAGE} was made or loaded on this machine, not pulled, so it may not be the one that "
            "Docker Hub serves."]  # fmt: skip


BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
"""What Chromium and Chrome are called on PATH."""

BROWSER_FILES = (
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    r"C:\Program Files\Google\Chrome\Application\chrome.exe",
)
"""Where they stand on macOS and Windows, which keep them off PATH."""


def browser_program() -> str | None:
    """The program of Chromium or Chrome: what COURSE_BROWSER names, else the first that is there."""
    if chosen := os.environ.get("COURSE_BROWSER"):
        return chosen
    on_path = filter(None, map(shutil.which, BROWSERS))
    return next(on_path, None) or next((file for file in BROWSER_FILES if os.path.exists(file)), None)


def _browser() -> Found:
    return _until_there(("browser", os.environ.get("COURSE_BROWSER", "")), _browser_version)


def _browser_version() -> Found:
    program = browser_program()
    if program is None:
        return Found(False, reason="there is no Chromium or Chrome (COURSE_BROWSER may name its program)")
    if os.name == "nt":  # chrome.exe does not tell its version; it opens a window
        there = os.path.exists(program)
        return Found(there, "Chrome" if there else "", "" if there else f"there is no {program}")
    try:
        code, told, complaint = _run([program, "--version"], SECONDS)
    except (OSError, subprocess.TimeoutExpired) as wrong:
        return Found(False, reason=f"the browser {program} does not start ({plainly(str(wrong))})")
    version = re.match(r"[A-Za-z ]+[\d.]+", told)
    if code or not version:
        return Found(False, reason=f"the browser {program} does not tell its version ({plainly(complaint)})")
    return Found(True, version.group())


PROBES = {"docker": _docker, "kubernetes": _kubernetes, "browser": _browser}
