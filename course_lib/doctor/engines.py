"""The doctor's questions to other programs: Docker, kubectl, the cluster behind it, the GPU. Standard library only.

They change nothing and ask nothing of the network beyond the engine and the cluster that Docker and kubectl are set up
for. Each answers in seconds, whatever hangs.
"""

import http.client
import importlib.util
import json
import os
import platform
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor

from course_lib import syllabus
from course_lib.doctor.machine import Finding
from course_lib.ops import reach

SECONDS = 4.0
"""How long one question to another program may take; a check that asks two asks them side by side."""


def _lessons(engine: str) -> str:
    """The numbers of the lessons whose live cells run on `engine`."""
    return ", ".join(lesson.number for lesson in syllabus.load().lessons if lesson.written and engine in lesson.live)


def ask(command: list[str], seconds: float = SECONDS) -> str | None:
    """What the command prints, or None where it is not there, fails to start or takes too long.

    Its exit code is not looked at: kubectl prints its own version and fails where no cluster answers.
    """
    with tempfile.TemporaryFile() as output:  # a pipe would wait for whatever the killed command had started
        try:
            subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.DEVNULL,
                timeout=seconds,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        output.seek(0)
        return output.read().decode(errors="replace").strip()


def docker() -> Finding:
    said, host = None, os.environ.get("DOCKER_HOST", "")
    if shutil.which("docker"):
        with ThreadPoolExecutor(2) as pool:
            asked = pool.submit(ask, ["docker", "version", "--format", "{{json .}}"])
            if not host:
                host = ask(["docker", "context", "inspect", "--format", "{{.Endpoints.docker.Host}}"]) or ""
            said = asked.result()
    try:
        version = json.loads(said or "{}")
    except ValueError:
        version = {}
    client = (version.get("Client") or {}).get("Version")
    engine = (version.get("Server") or {}).get("Version") or _engine_by_socket()
    if not shutil.which("docker"):
        found = "no docker command"
    elif client:
        found = f"client {client}"
    else:
        found = "the docker command does not answer"
    # The docker command goes through ssh by itself; the lessons' docker package wants paramiko, which is not installed.
    unheard = host.startswith("ssh://") and not importlib.util.find_spec("paramiko")
    if not engine:
        found += ", no engine within reach"
    elif unheard:
        found += f", engine {engine} over {host}, where lessons do not reach it (they speak unix://, npipe://, tcp://)"
    else:
        found += f", engine {engine}"
    return Finding(
        "Docker",
        bool(engine) and not unheard,
        found,
        f"the live cells that build and run containers (lessons {_lessons('docker')})",
        "Docker Desktop (macOS, Windows), Docker Engine (Linux: docs.docker.com/engine/install), then start it",
        "every lesson: those cells replay what they returned on a real engine, and say so",
    )


def _engine_by_socket() -> str | None:
    """The engine's version, asked without the docker command: notebooks do not need that command either."""
    host = os.environ.get("DOCKER_HOST", "")
    places = [host.removeprefix("unix://")] if host.startswith("unix://") else []
    if not host:
        places = ["/var/run/docker.sock"]  # where the lessons look without the docker command
    for path in places:
        connection = http.client.HTTPConnection("localhost", timeout=SECONDS / 2)
        try:
            connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            connection.sock.settimeout(SECONDS / 2)
            connection.sock.connect(path)
            connection.request("GET", "/version")
            return json.loads(connection.getresponse().read())["Version"]
        except (AttributeError, OSError, http.client.HTTPException, ValueError, KeyError):
            continue
        finally:
            connection.close()
    return None


def kubectl() -> Finding:
    said = ask(["kubectl", "version", "--client", "-o", "json"]) if shutil.which("kubectl") else None
    try:
        version = json.loads(said or "")["clientVersion"]["gitVersion"].lstrip("v")
    except (ValueError, KeyError):
        version = ""
    numbers = re.match(r"(\d+)\.(\d+)", version)
    recent = bool(numbers) and tuple(map(int, numbers.groups())) >= (1, 27)
    if version:
        found = version if recent else f"{version}, older than 1.27"
    else:
        found = "no kubectl command" if not shutil.which("kubectl") else "the kubectl command does not answer"
    return Finding(
        "kubectl",
        recent,
        found,
        "speaks to a cluster; 1.27 or later, for its `kubectl apply -k`",
        "kubernetes.io/docs/tasks/tools (Docker Desktop brings one)",
        "every lesson: cells on Kubernetes replay what they returned on a real cluster",
    )


def kubernetes() -> Finding:
    server = context = None
    if shutil.which("kubectl"):
        with ThreadPoolExecutor(2) as pool:
            asked = pool.submit(ask, ["kubectl", "version", "-o", "json", f"--request-timeout={SECONDS - 1:.0f}s"])
            context = pool.submit(ask, ["kubectl", "config", "current-context"]).result()
            try:
                server = json.loads(asked.result() or "")["serverVersion"]["gitVersion"].lstrip("v")
            except (ValueError, KeyError):
                server = None
    named = f"context {context}" if context else "no context is set"
    found = f"{server}, {named}" if server else f"no cluster answers ({named})"
    foreign = bool(server and context) and not reach.allowed(context, reach.current_context()[1])
    if foreign:
        found += f", not on this machine: lessons leave it alone unless COURSE_CONTEXT={context}"
    return Finding(
        "Kubernetes",
        bool(server) and not foreign,
        found,
        f"the live cells that deploy, roll out and scale (lessons {_lessons('kubernetes')})",
        "`kind create cluster` (kind.sigs.k8s.io), or Kubernetes switched on in Docker Desktop, or minikube",
        "every lesson: those cells replay what they returned on a real cluster, and say so",
    )


def gpu() -> Finding:
    said = ask(["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader"])
    names = [line.strip() for line in (said or "").splitlines() if "," in line]
    if not names and sys.platform == "darwin" and platform.machine() == "arm64":
        names = ["Apple GPU (reached through PyTorch's mps device)"]
    return Finding(
        "GPU",
        bool(names),
        "; ".join(names) or "none found",
        "nothing: every lesson is made for two CPU cores",
        "no need",
        "every lesson, all of it",
    )
