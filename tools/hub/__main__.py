"""`./course hub FOLDER`: starts JupyterHub for the room in FOLDER, and makes first what is missing there.

FOLDER/hub.toml         names and limits; the first call writes a sample
FOLDER/edition/         the course without solutions (`./course room`), from which each learner's folder is copied
FOLDER/learners/ana/    what ana works in; it stays
FOLDER/state/           the hub's: who has which password, what runs; nobody else's to read
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from course_lib.doctor import machine
from course_lib.places import CHECKOUT, KEPT
from course_lib.teaching.export import Refused
from tools import environments
from tools.hub import capacity, settings
from tools.teaching import room as edition

HUB = CHECKOUT / "teaching" / "hub"
NODE = 20
"""The oldest Node.js that the proxy runs on."""


def main(words: list[str]) -> int:
    """Does what the words say; returns the exit code. Once the hub runs, it does not return."""
    parser = argparse.ArgumentParser("./course hub", description="JupyterHub for a room of learners on one machine.")
    parser.add_argument("folder", metavar="FOLDER", help="the room's folder, outside of this checkout")
    parser.add_argument("--check", action="store_true", help="makes and checks everything, and starts nothing")
    asked = parser.parse_args(words)
    folder = Path(os.environ.get("COURSE_CALLER") or os.getcwd(), Path(asked.folder).expanduser()).resolve()
    try:
        command, environment = prepared(folder)
    except (settings.Wrong, Refused, environments.NotInstalled) as wrong:
        print(f"course hub: {wrong}", file=sys.stderr)
        return 1
    if asked.check:
        return 0
    os.chdir(folder / "state")
    os.execve(command[0], command, environment)


def prepared(folder: Path) -> tuple[list[str], dict[str, str]]:
    """The hub's command and environment, once all that it needs is there. Raises Wrong, Refused, NotInstalled."""
    if os.name == "nt":
        raise settings.Wrong("JupyterHub does not run on Windows; take a Linux machine, or WSL")
    if folder.is_relative_to(CHECKOUT):
        raise settings.Wrong(f"expected a folder outside of {CHECKOUT}, got {folder}")
    if not (folder / settings.FILE).exists():
        raise settings.Wrong(_sampled(folder))
    room = settings.read(folder)
    proxy, python = _proxy(), environments.python(HUB / "jupyterhub.txt")
    _quiet(Path(python).parents[1])
    try:
        (folder / "learners").mkdir(exist_ok=True)
        (folder / "state").mkdir(exist_ok=True, mode=0o700)
        (folder / "state").chmod(0o700)
    except OSError as refused:
        raise settings.Wrong(f"{folder} cannot be written: {refused.strerror}") from None
    if not (folder / "edition" / edition.NOTE).exists():
        print(edition.make(folder / "edition").splitlines()[0])
    everyone = len(room.learners) + len(room.instructors)
    here = capacity.fits((machine.usable_memory() or 0) / 2**20)
    servers = room.servers or (everyone if room.cluster else here)
    _tell(folder, room, servers)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("COURSE_", "PYTHONPATH"))}
    environment |= {
        "COURSE_HUB_FOLDER": str(folder),
        "COURSE_HUB_PYTHON": sys.executable,
        "COURSE_HUB_PROXY": proxy,
        "COURSE_HUB_SERVERS": str(servers),
    }
    config = "kubernetes_config.py" if room.cluster else "jupyterhub_config.py"
    return [python, "-m", "jupyterhub", "-f", str(HUB / config)], environment


def _sampled(folder: Path) -> str:
    """Writes a sample of hub.toml where its folder is there; returns what to do next."""
    path = folder / settings.FILE
    if not folder.is_dir():
        return f"there is no folder {folder}; make it, outside of the checkout, and run this again"
    try:
        path.write_text(settings.SAMPLE, encoding="utf-8")
    except OSError as refused:
        return f"{path} cannot be written: {refused.strerror}"
    return f"wrote a sample of the room's settings, {path}: put your names in, and run this again"


def _proxy() -> str:
    """The proxy's program, installed at the first call as package-lock.json pins it. Raises Wrong."""
    missing = [each for each in ("node", "npm") if not shutil.which(each)]
    if missing:
        raise settings.Wrong(
            f"{' and '.join(missing)} is not on PATH: the hub's proxy needs Node.js {NODE} or newer (nodejs.org)"
        )
    version = subprocess.run(["node", "--version"], capture_output=True, text=True).stdout.strip()
    if int(re.sub(r"\D.*", "", version.lstrip("v")) or 0) < NODE:
        raise settings.Wrong(f"the hub's proxy needs Node.js {NODE} or newer (nodejs.org), got {version}")
    folder, lock = KEPT / "peers" / "hub-proxy", "package-lock.json"
    program, stamp = folder / "node_modules/.bin/configurable-http-proxy", folder / "installed.json"
    wanted = (HUB / "proxy" / lock).read_bytes()
    if not (program.exists() and stamp.exists() and stamp.read_bytes() == wanted):
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(HUB / "proxy", folder)
        command = ["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"]
        if subprocess.call(command, cwd=folder, stdout=subprocess.DEVNULL):
            raise settings.Wrong(
                "npm could not install the hub's proxy; its last lines are above. The same command tries again"
            )
        stamp.write_bytes(wanted)
    return str(program)


def _quiet(environment: Path) -> None:
    """JupyterLab asks the network for no news, and the learner for no permission to."""
    folder = environment / "share/jupyter/lab/settings"
    folder.mkdir(parents=True, exist_ok=True)
    quiet = {"@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False}}
    (folder / "overrides.json").write_text(json.dumps(quiet), encoding="utf-8")


def _tell(folder: Path, room: settings.Room, servers: int) -> None:
    everyone = len(room.learners) + len(room.instructors)
    if not servers:
        raise settings.Wrong(
            "this machine's memory holds no learner; `servers = 1` in hub.toml starts the hub all the same"
        )
    print(f"{folder}: {everyone} names, {servers} servers at once.", flush=True)
    if servers < everyone:
        print(
            f"{everyone - servers} of {everyone} names will find the room full when all the others are in.", flush=True
        )
    if room.address not in ("127.0.0.1", "localhost", "::1"):
        print(f"Passwords cross the network unencrypted at {room.address}: put a proxy with TLS in front.", flush=True)
    if not room.cluster and hasattr(os, "geteuid") and os.geteuid() == 0:
        print("This is root, and so will be every learner. Run the hub as a user who may do nothing else.", flush=True)
    print(f"http://{room.address}:{room.port}: log in as {room.instructors[0]} now. The first login sets a name's password.",
          flush=True)  # fmt: skip


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
