"""What `./course doctor --room` asks in addition: whether this machine is ready for a workshop. Standard library only.

It looks at one machine, needs no internet, and changes nothing. What it finds missing makes the room not ready.
"""

import contextlib
import json
import os
import re
import socket
import sys
import urllib.request
import webbrowser
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

from course_lib import syllabus
from course_lib.doctor import engines, machine
from course_lib.doctor.machine import GIB, Finding
from course_lib.ops import reach
from course_lib.places import CHECKOUT

LESSON, LESSON_SECONDS = "02", 600
"""The lesson that is run, which needs no engine, and how long it may take; ten seconds are usual."""

CUDA = re.compile("(nvidia|cuda)-.+|triton")
"""Pinned packages that come with PyTorch's CUDA build alone."""

NAMED = 8
"""So many missing wheels are named."""

EXECUTE = """
import json, os, sys, tempfile, time
import nbformat
from nbclient import NotebookClient

path, error = sys.argv[1], ""
with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as own:
    os.environ.update(COURSE_REPLAY="1", COURSE_PROGRESS=os.path.join(own, "progress.json"), IPYTHONDIR=own)
    client = NotebookClient(nbformat.read(path, as_version=4), timeout=600, kernel_name="python3",
                            resources={"metadata": {"path": os.path.dirname(path)}})
    began = time.monotonic()
    try:
        client.execute()
    except Exception as wrong:
        error = str(wrong) or type(wrong).__name__
    print(json.dumps({"seconds": time.monotonic() - began, "error": error}))
"""


def wheels() -> Finding:
    """Whether the folders that PIP_FIND_LINKS names hold everything that `./course setup` installs."""
    named = os.environ.get("PIP_FIND_LINKS", "").split()
    there, found = False, "the variable PIP_FIND_LINKS, which names the folder of wheels, is not set"
    if named:
        folders = [Path(urllib.request.url2pathname(urlsplit(each).path) if "://" in each else each) for each in named]
        absent = [name for name, folder in zip(named, folders) if not folder.is_dir()]
        there, found = (False, f"no folder {', '.join(absent)} (pip splits the variable at spaces)")
        if not absent:
            there, found = _offered(folders)
    installed = not any(machine.misfits(authors=True)[:2])
    if installed:  # what is missing concerns other machines, if any
        there, found = there or not named, f"the packages are installed{f'; {found}' if named else ''}"
    return Finding(
        "Wheels",
        there,
        found,
        "installing without internet",
        "collect them on a machine with internet, the same system and the same Python: README, “A room without internet”",
        "a machine on which `./course setup` has ended, or which has internet",
        needed=not installed,
    )


def _offered(folders: list[Path]) -> tuple[bool, str]:
    """Whether these folders hold a wheel of each pin for this Python, and that in words."""
    with _packaging() as (markers, tags, utils):
        here, offered = set(tags.sys_tags()), {}
        for wheel in [wheel for folder in folders for wheel in folder.glob("*.whl")]:
            with contextlib.suppress(ValueError):
                name, version, _, made_for = utils.parse_wheel_filename(wheel.name)
                if not here.isdisjoint(made_for):
                    offered.setdefault(name, set()).add(version)
        cpu = "torch" not in offered or any(version.local == "cpu" for version in offered["torch"])
        wanted = {}
        for line in (CHECKOUT / "constraints.txt").read_text(encoding="utf-8").splitlines():
            pin, _, marker = line.partition("#")[0].partition(";")
            name, equals, version = pin.strip().partition("==")
            if equals and (not marker.strip() or markers.Marker(marker.strip()).evaluate()):
                wanted[utils.canonicalize_name(name)] = utils.canonicalize_version(version)
        wanted = {name: version for name, version in wanted.items() if not (cpu and CUDA.fullmatch(name))}
        missing = [
            name
            for name, version in wanted.items()
            if version not in {utils.canonicalize_version(each.public) for each in offered.get(name, ())}
        ]
    pythons = f"Python {sys.version_info[0]}.{sys.version_info[1]} on this system"
    if not missing:
        return True, f"{len(wanted)} of {len(wanted)} pins, for {pythons}"
    names = ", ".join(missing[:NAMED]) + (" ..." if len(missing) > NAMED else "")
    return False, f"{len(missing)} of {len(wanted)} pins have no wheel for {pythons}: {names}"


@contextlib.contextmanager
def _packaging() -> Iterator[tuple]:
    """packaging's modules `markers`, `tags`, `utils`: installed, or those within the pip that Python brings."""
    before = list(sys.path)
    try:
        try:
            from packaging import markers, tags, utils
        except ImportError:
            import ensurepip

            sys.path += map(str, Path(ensurepip.__file__).parent.glob("_bundled/pip-*.whl"))
            from pip._vendor.packaging import markers, tags, utils
        yield markers, tags, utils
    finally:
        sys.path[:] = before


def memory() -> Finding:
    usable, found = machine.usable_memory(), machine.memory()
    if usable:
        kernels = max(0, int((usable / GIB - 0.2) / 1.5))
        found = replace(found, found=f"{found.found}, for {kernels} open lesson{'s' * (kernels != 1)} of the largest")
    return replace(found, needed=True)


def disk() -> Finding:
    return replace(machine.disk(), needed=True)


def ports() -> Finding:
    return replace(machine.ports(), needed=True)


def localhost() -> Finding:
    """Whether a port of this machine can be opened and reached, and no proxy is asked to reach it."""
    proxies = {"http", "all"} & urllib.request.getproxies_environment().keys()
    through = [host for host in ("localhost", "127.0.0.1") if not urllib.request.proxy_bypass_environment(host)]
    try:
        with socket.create_server(("127.0.0.1", 0)) as server:
            with socket.create_connection(server.getsockname(), timeout=engines.SECONDS):
                there, found = True, "127.0.0.1 can be reached"
    except OSError as wrong:
        there, found = False, f"127.0.0.1 cannot be reached ({wrong.strerror or wrong})"
    if there and proxies and through:
        there, found = (
            False,
            f"a proxy is set ({', '.join(sorted(proxies))}), and NO_PROXY lacks {' and '.join(through)}",
        )
    return Finding(
        "Localhost",
        there,
        found,
        "your browser's way to JupyterLab, and that of a request to the model server",
        "set NO_PROXY to localhost,127.0.0.1; let the firewall pass connections of this machine to itself",
        "reading the notebooks",
        needed=True,
    )


def browser() -> Finding:
    try:
        found = getattr(webbrowser.get(), "name", "") or "the system's"
    except webbrowser.Error:
        found = ""
    return Finding(
        "Browser",
        bool(found),
        found or "none that Python can open",
        "`./course lab` opens JupyterLab in it",
        "any recent browser",
        "everything: `./course lab` prints the address, to be opened by hand",
    )


def base_image() -> Finding:
    there, found = True, "not needed: COURSE_REPLAY is 1"
    if os.environ.get("COURSE_REPLAY") != "1":
        there, found = _held()
    return Finding(
        "Base image",
        there,
        found,
        "lessons 01 and 16 build images from it; twenty machines that fetch it at once are slow or refused",
        f"while there is internet: `docker pull {reach.BASE_IMAGE}`; else set COURSE_REPLAY to 1",
        "every lesson with COURSE_REPLAY=1: live cells then replay their recordings",
        needed=True,
    )


def _held() -> tuple[bool, str]:
    """Whether the engine holds the base image, or there is no engine; and that in words."""
    try:
        with contextlib.closing(reach.docker_client(engines.SECONDS)) as client:
            client.images.get(reach.BASE_IMAGE)
    except ModuleNotFoundError:
        return False, "not looked at: the packages are not installed"
    except Exception as wrong:  # docker, requests and urllib3 each raise their own kinds for an engine out of reach
        if type(wrong).__name__ == "ImageNotFound":
            return False, f"{reach.BASE_IMAGE} is not on this engine"
        return True, "not needed: no engine answers"
    return True, f"{reach.BASE_IMAGE} is on this engine"


def lesson() -> Finding:
    """Runs one lesson from end to end in a kernel of its own, live cells replayed, and keeps no progress."""
    one = next(each for each in syllabus.load().lessons if each.number == LESSON)
    there, found = False, "not looked at: the packages are not installed"
    if not machine.misfits()[0]:
        path = str(one.notebook("notebooks", CHECKOUT))
        told = engines.ask([sys.executable, "-c", EXECUTE, path], LESSON_SECONDS)
        try:
            ran = json.loads((told or "").splitlines()[-1])
        except (IndexError, ValueError):
            found = f"no end within {LESSON_SECONDS} s" if told is None else "the kernel does not start"
        else:
            lines = re.sub(r"\x1b\[[0-9;]*m", "", ran["error"]).strip().splitlines()
            there = not lines
            found = f"lesson {LESSON} failed: {lines[-1]}" if lines else f"lesson {LESSON} ran, {ran['seconds']:.0f} s"
    return Finding(
        "Lesson",
        there,
        found,
        f"lesson {LESSON}, from its first cell to its last in a fresh kernel",
        f"`./course setup`; then `./course test {LESSON}` shows the cell that fails and its whole error",
        "nothing: find out why before the learners come",
        needed=True,
    )


CHECKS = (
    machine.python,
    machine.packages,
    wheels,
    memory,
    disk,
    ports,
    localhost,
    browser,
    engines.docker,
    base_image,
    engines.kubectl,
    engines.kubernetes,
    lesson,
)
"""In the order of the report."""
