"""The course's servers as processes on this machine."""

import atexit
import os
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from course_lib import places
from course_lib.ops.http import answers

STOP_SECONDS = 15
"""How long a server may take to end: more than it gives the requests that are under way."""

# Jupyter interrupts a cell by a signal to the kernel's whole process group; the server is no part of that cell.
APART = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP} if os.name == "nt" else {"start_new_session": True}


@dataclass
class Service:
    """A running server: where it answers, and how to stop it."""

    url: str
    process: subprocess.Popen

    def stop(self) -> None:
        """Asks the server to end (SIGTERM; Windows, which has no signals, ends it) and waits until it has.

        A server that has not ended after `STOP_SECONDS` is killed.
        """
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(timeout=STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.process.stdin:
            self.process.stdin.close()


def start_service(models: Path, log: Path, seconds: float = 30, options: Sequence[str] = ()) -> Service:
    """Starts `python -m course_lib.serving` over a folder of models, on a free port, and waits until it is ready.

    models: NAME/VERSION/model.onnx. log: the file that takes what the server prints. The server ends with this kernel,
    killed or not, and goes on where a cell is interrupted. options: of its command line, such as ("--max-batch-size", "8").
    Raises RuntimeError, with the end of the log, where it is not ready within `seconds`.
    """
    return start_module("course_lib.serving", ["--models", str(models), *options], log, seconds)


def start_module(
    module: str, arguments: Sequence[str], log: Path, seconds: float = 30, port: int | None = None
) -> Service:
    """Starts `python -m module … --host 127.0.0.1 --port …` as `start_service` does, and waits until it is ready.

    module: a server that takes these two options and answers GET /v2/health/ready with 200 once it is ready.
    arguments: its other options. port: None for a free one; an earlier one for a service that comes back.
    Raises RuntimeError, with the end of the log, where it is not ready within `seconds`.
    """
    if port is None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
    leash = [sys.executable, "-m", "course_lib.ops.leash"]  # a killed kernel leaves no server behind
    command = [*leash, module, *arguments, "--host", "127.0.0.1", "--port", str(port)]
    with log.open("wb") as kept:
        pipes = {"stdin": subprocess.PIPE, "stdout": kept, "stderr": subprocess.STDOUT}
        process = subprocess.Popen(command, **pipes, cwd=places.CHECKOUT, **APART)
    service = Service(f"http://127.0.0.1:{port}", process)
    atexit.register(service.stop)
    until = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < until:
        if answers(service.url + "/v2/health/ready"):
            return service
        time.sleep(0.02)
    service.stop()
    raise RuntimeError(f"the service was not ready within {seconds} s; its log ends:\n{log.read_text()[-1000:]}")
