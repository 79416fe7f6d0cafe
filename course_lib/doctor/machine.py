"""The doctor's questions to the machine itself: Python, packages, memory, disk, ports. Standard library only."""

import ctypes
import importlib.metadata
import os
import platform
import re
import shutil
import socket
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

from course_lib.places import CHECKOUT

GIB = 2**30


@dataclass(frozen=True)
class Finding:
    """One thing that was looked for. `needed`: whether no lesson runs without it."""

    name: str
    there: bool
    found: str
    purpose: str
    get: str
    without: str
    needed: bool = False


def python() -> Finding:
    here = f"{platform.python_version()} ({sys.executable})"
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return Finding(
        "Python",
        (3, 11) <= sys.version_info[:2] <= (3, 13),
        here,
        "everything",
        f"a Python {project['requires-python']} from python.org or your system; `./course` finds it on PATH",
        "nothing works without it; Binder and Colab bring their own",
        needed=True,
    )


def misfits(*, authors: bool = False) -> tuple[list[str], list[str], int]:
    """The packages that this Python lacks, those that it has in other versions than pinned, and how many are needed.

    `authors`: also those that build and test the notebooks.
    """
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    pins: dict[str, set[str]] = {}
    for line in (CHECKOUT / "constraints.txt").read_text(encoding="utf-8").splitlines():
        name, equals, version = line.partition("#")[0].partition(";")[0].strip().partition("==")
        if equals:
            pins.setdefault(_normal(name), set()).add(version.strip())
    required = project["dependencies"] + (project["optional-dependencies"]["authors"] if authors else [])
    wanted = [name for each in required if (name := _required(each))]
    missing, other = [], []
    for name in wanted:
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
            continue
        if pins.get(name) and version.partition("+")[0] not in pins[name]:  # 2.13.0+cpu is 2.13.0
            other.append(f"{name} {version}, not {' or '.join(sorted(pins[name]))}")
    return missing, other, len(wanted)


def holds(checkout: str, *, authors: bool) -> bool:
    """Whether this Python can run that checkout: it has a version that the course supports, and the pinned packages."""
    missing, other, _ = misfits(authors=authors)
    return python().there and not missing and not other and str(CHECKOUT) == checkout


def packages() -> Finding:
    missing, other, wanted = misfits()
    if len(missing) == wanted:
        found = "none yet"
    elif missing or other:
        found = "; ".join(([f"missing: {', '.join(missing)}"] if missing else []) + other)
    else:
        found = f"{wanted} of {wanted}, as pinned"
    return Finding(
        "Packages",
        not (missing or other),
        found,
        "what the lessons import: PyTorch, TensorFlow, ONNX Runtime, JupyterLab ...",
        "`./course setup` (also goes on with an install that broke off)",
        "`./course doctor`, `./course clean` and reading the notebooks",
        needed=True,
    )


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name.strip()).lower()


def _required(requirement: str) -> str | None:
    """The package's name, or None where its marker is not for this machine. Knows the markers that pyproject.toml uses."""
    spec, _, marker = requirement.partition(";")
    here = {"sys_platform": sys.platform, "platform_machine": platform.machine()}

    def holds(clause: str) -> bool:
        variable, operator, value = clause.split()
        return (here[variable] == value.strip("'\"")) == (operator == "==")

    if marker and not any(all(map(holds, part.split(" and "))) for part in marker.split(" or ")):
        return None
    return _normal(re.match(r"[\w.-]+", spec.strip()).group())


def usable_memory() -> int | None:
    """Bytes that this machine, or the container that this is, has; None where that is not known."""
    return min(filter(None, (_total_memory(), _memory_limit())), default=None)


def memory() -> Finding:
    usable, limit = usable_memory(), _memory_limit()
    found = f"{usable / GIB:.1f} GiB" if usable else "unknown"
    if limit and limit == usable and limit != _total_memory():
        found += " (a limit set on this container)"
    return Finding(
        "Memory",
        not usable or usable >= 1.9 * GIB,
        found,
        "a lesson takes up to 1.5 GiB, JupyterLab 0.2 GiB, a cluster on this machine 2 GiB more",
        "close other kernels (Running Terminals and Kernels in JupyterLab); give the container or virtual machine more",
        "most lessons take far less: `./course bench` prints how much",
    )


def _total_memory() -> int | None:
    if sys.platform == "win32":

        class Status(ctypes.Structure):
            _fields_ = [("length", ctypes.c_ulong), ("load", ctypes.c_ulong), ("bytes", ctypes.c_ulonglong * 7)]

        status = Status(length=ctypes.sizeof(Status))
        return status.bytes[0] if ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status)) else None
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (OSError, ValueError):
        return None


def _memory_limit(root: Path = Path("/")) -> int | None:
    """What the container or the session may use: the smallest limit on the way up its control groups."""
    files = [root / "sys/fs/cgroup/memory/memory.limit_in_bytes"]
    try:
        own = (root / "proc/self/cgroup").read_text()
    except OSError:
        own = ""
    for line in own.splitlines():
        _, controllers, path = line.split(":", 2)
        kind = {"": ("", "memory.max"), "memory": ("memory", "memory.limit_in_bytes")}.get(controllers)
        if kind:
            group = Path(path)
            files += [
                root / "sys/fs/cgroup" / kind[0] / str(up).lstrip("/") / kind[1] for up in (group, *group.parents)
            ]
    limits = []
    for file in files:
        try:
            limits.append(int(file.read_text()))
        except (OSError, ValueError):  # not there, or "max"
            continue
    return min((each for each in limits if each < 2**60), default=None)


def disk() -> Finding:
    free = shutil.disk_usage(CHECKOUT).free / 1e9
    installed = (CHECKOUT / ".venv").exists() or packages().there
    return Finding(
        "Disk",
        free >= (2 if installed else 6),
        f"{free:.0f} GB free" if free >= 10 else f"{free:.1f} GB free",
        "6 GB while the packages are installed (3 GB stay), then 2 GB for container images",
        "`pip cache purge`, `docker system prune`, or a checkout on another disk",
        "with the packages installed and less than 2 GB free: all lessons that build no container",
    )


def ports() -> Finding:
    jobs = {8888: "JupyterLab", 8501: "the model server"}
    taken = [port for port in jobs if not _free(port)]
    return Finding(
        "Ports",
        not taken,
        "; ".join(f"{port} {'in use' if port in taken else 'free'} ({jobs[port]})" for port in jobs),
        "your browser finds JupyterLab at the first, a request finds the model server at the second",
        "stop what listens there (JupyterLab that runs already is no fault), or `./course lab --port 8890`",
        "everything: JupyterLab and the lessons take the next free port",
    )


def _free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        if os.name == "posix":  # elsewhere this option would let two listen on one port
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
