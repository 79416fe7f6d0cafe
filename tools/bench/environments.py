"""The peers' environments, one each under .course/peers/, with the pinned packages of peers/NAME.txt."""

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

from course_lib.places import KEPT

PINS = Path(__file__).parent / "peers"


class NotInstalled(Exception):
    """A peer's packages could not be installed."""


def pins(name: str) -> dict[str, str]:
    """The versions that a peer's file pins for any Python, by package."""
    lines = (PINS / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    pairs = [line.partition(";")[0].strip().split("==") for line in lines if line and not line.startswith("#")]
    return {package: version for package, version in pairs}


def python(name: str, kept: Path = KEPT) -> str:
    """The interpreter of a peer's environment, made and filled where it is not there or its pins have changed.

    Raises NotInstalled where pip fails.
    """
    folder, pinned = kept / "peers" / name, PINS / f"{name}.txt"
    program, stamp = folder / "bin" / "python", folder / "pins"
    wanted = hashlib.sha256(f"{sorted(pins(name).items())} {sys.version}".encode()).hexdigest()
    if stamp.is_file() and stamp.read_text() == wanted:
        return str(program)
    if not importlib.util.find_spec("ensurepip"):
        raise NotInstalled("this Python has no venv module; `sudo apt install python3-venv` on Debian and Ubuntu")
    print(f"installing {name} {pins(name)[name]} into {folder} ...", file=sys.stderr, flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    if subprocess.call([sys.executable, "-m", "venv", str(folder)]):
        raise NotInstalled(f"`python -m venv {folder}` failed; its last lines are above")
    environment = {**os.environ, "PIP_USER": "0", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    environment.pop("PYTHONPATH", None)
    command = [str(program), "-m", "pip", "install", "--no-input", "--quiet", "-r", str(pinned)]
    if subprocess.call(command, env=environment):
        raise NotInstalled(f"pip could not install {name}; its last lines are above. The same command tries again")
    stamp.write_text(wanted)
    return str(program)
