"""What stands in for programs and servers that may not be here, and what is left of those that were."""

import contextlib
import os
import shlex
import time
from collections.abc import Iterable
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import psutil
import pytest

posix = pytest.mark.skipif(os.name == "nt", reason="stands shell scripts in for programs")


def stand_in(folder: Path, program: str, does: str) -> None:
    """A program of that name that notes its arguments in PROGRAM.asked, and then does only this."""
    note = f'echo "$@" >> {shlex.quote(str(folder / program))}.asked'
    (folder / program).write_text(f"#!/bin/sh\n{note}\n{does}\n")
    (folder / program).chmod(0o755)


def asked(folder: Path, program: str) -> list[str]:
    return (folder / f"{program}.asked").read_text().splitlines()


class Answers(BaseHTTPRequestHandler):
    """Gives what `server.plan` holds, one status after the other, the last for ever; 0 hangs up."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        plan = self.server.plan
        with self.server.lock:
            status = plan.pop(0) if len(plan) > 1 else plan[0]
        if status:
            self.send_response(status)
            self.send_header("X-Served-By", "pod-a")
            self.end_headers()
            self.wfile.write(b'{"fine": true}')

    do_GET = do_POST

    def log_message(self, *_: object) -> None:
        pass


def living(processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    """Those of them that have not ended; one that waits for its parent to look has."""
    found = []
    for each in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            if each.is_running() and each.status() != psutil.STATUS_ZOMBIE:
                found.append(each)
    return found


def left_of(processes: Iterable[psutil.Process], seconds: float = 40) -> list[list[str]]:
    """The command lines of those that have not ended by then."""
    until = time.monotonic() + seconds
    while (found := living(processes)) and time.monotonic() < until:
        time.sleep(0.05)
    return [each.cmdline() for each in found]
