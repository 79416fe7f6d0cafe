"""The doctor's questions to other programs: Docker, kubectl, the cluster behind it, the GPU. Standard library only.

They change nothing and ask nothing of the network beyond the engine and the cluster that Docker and kubectl are set up
for. Each answers in seconds, whatever hangs.
"""

import contextlib
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
"""How long one question to another program may take; a check that asks several asks them side by side."""


def _lessons(engine: str) -> str:
    """The numbers of the lessons whose live cells run on `engine`."""
    return ", ".join(lesson.number for lesson in syllabus.load().lessons if lesson.written and engine in lesson.live)


def ask(command: list[str], seconds: float = SECONDS) -> str | None:
    """What the command prints, or None where it is not there, fails to start or takes too long.

    Its exit code is not looked at: docker prints its own version and fails where no engine answers.
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
    there, host = shutil.which("docker"), os.environ.get("DOCKER_HOST", "")
    with ThreadPoolExecutor(3) as pool:
        by_socket = pool.submit(_engine_by_socket)
        asked = pool.submit(ask, ["docker", "version", "--format", "{{json .}}"]) if there else None
        if there and not host:
            host = ask(["docker", "context", "inspect", "--format", "{{.Endpoints.docker.Host}}"]) or ""
        said, by_socket = asked and asked.result(), by_socket.result()
    try:
        version = json.loads(said or "{}")
    except ValueError:
        version = {}
    version = version if isinstance(version, dict) else {}
    client = (version.get("Client") or {}).get("Version")
    engine = (version.get("Server") or {}).get("Version") or by_socket
    if not there:
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
        connection = http.client.HTTPConnection("localhost", timeout=SECONDS)
        try:
            connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            connection.sock.settimeout(SECONDS)
            connection.sock.connect(path)
            connection.request("GET", "/version")
            return json.loads(connection.getresponse().read())["Version"]
        except (AttributeError, OSError, http.client.HTTPException, ValueError, KeyError):
            continue
        finally:
            connection.close()
    return None


def kubectl() -> Finding:
    there, version, complaint = shutil.which("kubectl"), "", ""
    if there:  # Google's asks the cluster even for its own version, unless it knows of none
        told, complaint = reach.kubectl(["version", "--client"], SECONDS, KUBECONFIG=os.devnull)
        with contextlib.suppress(KeyError, TypeError, AttributeError):
            version = told["clientVersion"]["gitVersion"].lstrip("v")
    numbers = re.match(r"(\d+)\.(\d+)", version)
    recent = bool(numbers) and tuple(map(int, numbers.groups())) >= (1, 27)
    if version:
        found = version if recent else f"{version}, older than 1.27"
    else:
        why = reach.plainly(complaint, SECONDS) or "it names none"
        found = f"the kubectl command does not tell its version ({why})" if there else "no kubectl command"
    return Finding(
        "kubectl",
        recent,
        found,
        "speaks to a cluster; 1.27 or later, for its `kubectl apply -k`",
        "kubernetes.io/docs/tasks/tools (Docker Desktop brings one)",
        "every lesson: cells on Kubernetes replay what they returned on a real cluster",
    )


def kubernetes() -> Finding:
    if shutil.which("kubectl"):
        with ThreadPoolExecutor(2) as pool:
            asked = pool.submit(reach.cluster_version, SECONDS - 1, SECONDS)
            context, server, wrong = reach.chosen_cluster(SECONDS)
            cluster = asked.result()
        found = f"{cluster.version.removeprefix('Kubernetes ') or cluster.reason}, context {context}"
    else:
        context, wrong = "", "no kubectl command to ask with"
    there = bool(context) and cluster.there
    if not context:
        found = wrong
    elif there and not reach.allowed(context, server):
        there = False
        found += f", not on this machine: lessons leave it alone unless COURSE_CONTEXT={context}"
    elif there and not reach.on_this_machine(context, server):
        found += f", not on this machine: others may use it. COURSE_CONTEXT={context} allows each lesson to make "
        found += "a namespace of your own there, work in it alone, and remove it at the end"
    return Finding(
        "Kubernetes",
        there,
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
