"""Environments for tools whose packages conflict with the course's: one each under .course/peers/, from a file of pins."""

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

from course_lib.places import KEPT


class NotInstalled(Exception):
    """An environment's packages could not be installed."""


def pins(pinned: Path) -> dict[str, str]:
    """The versions that a file of pins (peers/kserve.txt) gives for any Python, by package."""
    lines = pinned.read_text(encoding="utf-8").splitlines()
    pairs = [line.partition(";")[0].strip().split("==") for line in lines if line and not line.startswith("#")]
    return {package: version for package, version in pairs}


def python(pinned: Path, kept: Path = KEPT) -> str:
    """The interpreter of the environment of a file of pins, made and filled where it is not there or the pins have changed.

    pinned: NAME.txt, which pins the package NAME among others. Raises NotInstalled where pip fails.
    """
    name = pinned.stem
    folder = kept / "peers" / name
    program, stamp = _program(folder), folder / "pins"
    if stamp.is_file() and stamp.read_text() == _wanted(pinned):
        return str(program)
    if not importlib.util.find_spec("ensurepip"):
        raise NotInstalled("this Python has no venv module; `sudo apt install python3-venv` on Debian and Ubuntu")
    print(f"installing {name} {pins(pinned)[name]} into {folder} ...", file=sys.stderr, flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    if subprocess.call([sys.executable, "-m", "venv", str(folder)]):
        raise NotInstalled(f"`python -m venv {folder}` failed; its last lines are above")
    environment = {**os.environ, "PIP_USER": "0", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    environment.pop("PYTHONPATH", None)
    command = [str(program), "-m", "pip", "install", "--no-input", "--quiet", "-r", str(pinned)]
    if subprocess.call(command, env=environment):
        raise NotInstalled(f"pip could not install {name}; its last lines are above. The same command tries again")
    stamp.write_text(_wanted(pinned))
    return str(program)


def _program(folder: Path) -> Path:
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def _wanted(pinned: Path) -> str:
    return hashlib.sha256(f"{sorted(pins(pinned).items())} {sys.version}".encode()).hexdigest()
