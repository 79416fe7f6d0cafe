"""A real room on this machine: `./course hub` on a folder, started and stopped."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import requests

from course_lib.places import CHECKOUT
from tests.deploy.tree import absent


def node() -> None:
    """Skips the test, or fails it under COURSE_REQUIRE_LIVE=1, where the hub's proxy cannot run."""
    if not shutil.which("node") or not shutil.which("npm"):
        absent("node and npm are not on PATH (the hub's proxy needs Node.js 20 or newer)")


def free_ports() -> int:
    """The first of three ports in a row that nobody listens on."""
    while True:
        with socket.socket() as first:
            first.bind(("127.0.0.1", 0))
            port = first.getsockname()[1]
        with contextlib.suppress(OSError), contextlib.ExitStack() as held:
            for each in range(port, port + 3):
                held.enter_context(socket.socket()).bind(("127.0.0.1", each))
            return port


def _line(setting: tuple[str, object]) -> str:
    name, value = setting
    return "" if isinstance(value, dict) else f"{name} = {json.dumps(value)}"


class Room:
    """A folder with hub.toml, and the hub that runs in it. `more`: what its environment has besides."""

    def __init__(self, folder: Path, **settings: object) -> None:
        self.folder, self.port, self.process, self.more = folder, free_ports(), None, {}
        self.url = f"http://127.0.0.1:{self.port}"
        tables = {name: value for name, value in settings.items() if isinstance(value, dict)}
        lines = [*map(_line, {"port": self.port, **settings}.items())]
        for name, table in tables.items():
            lines += [f"[{name}]", *map(_line, table.items())]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "hub.toml").write_text("\n".join(lines), encoding="utf-8")

    @property
    def said(self) -> str:
        """What the hub has printed since its first start."""
        return (self.folder.parent / "hub.log").read_text(errors="replace")

    def course_hub(self, *words: str) -> list[str]:
        """The command."""
        return [sys.executable, "-m", "tools.hub", str(self.folder), *words]

    def start(self, seconds: float = 240) -> "Room":
        """Starts the hub and waits until it answers; the first start of all installs it."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("COURSE_")}
        environment |= self.more
        with (self.folder.parent / "hub.log").open("a") as log:
            self.process = subprocess.Popen(self.course_hub(), cwd=CHECKOUT, env=environment, stdout=log,
                                            stderr=subprocess.STDOUT, start_new_session=True)  # fmt: skip
        until = time.monotonic() + seconds
        while time.monotonic() < until and self.process.poll() is None:
            with contextlib.suppress(requests.ConnectionError):
                if requests.get(f"{self.url}/hub/api/", timeout=10).ok:
                    return self
            time.sleep(0.2)
        raise AssertionError(f"the hub did not start; it said:\n{self.said[-3000:]}")

    def stop(self, with_signal: int = signal.SIGTERM) -> None:
        """Stops the hub as its user would, and waits for it."""
        if self.process and self.process.poll() is None:
            self.process.send_signal(with_signal)
            self.process.wait(180)  # it takes its learners' servers with it

    def clear(self) -> None:
        """Stops what runs, whatever it is; a test's last step."""
        with contextlib.suppress(Exception):
            self.stop()
        for number in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)

    def processes(self) -> list[int]:
        """The processes that were started for this room and still run."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if f"COURSE_HUB_FOLDER={self.folder}\0" in (folder / "environ").read_text(errors="replace"):
                    found.append(int(folder.name))
        return found
