"""The course's servers as processes on this machine."""

import socket
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from course_lib.ops import leash
from course_lib.ops.http import answers

START_SECONDS = 120
"""How long a server may take until it is ready: a second on a quiet machine, half a minute on one with ten times the work
that it can do. One that fails has ended before."""


@dataclass
class Service:
    """A running server: where it answers, and how to stop it."""

    url: str
    process: subprocess.Popen

    def stop(self) -> None:
        """Asks the server to end, and waits until it has, as `leash.end` does."""
        leash.end([self.process])


def start_service(models: Path, log: Path, seconds: float = START_SECONDS, options: Sequence[str] = ()) -> Service:
    """Starts `python -m course_lib.serving` over a folder of models, on a free port, and waits until it is ready.

    models: NAME/VERSION/model.onnx. log: the file that takes what the server prints. The server ends with this kernel,
    killed or not, and goes on where a cell is interrupted. options: of its command line, such as ("--max-batch-size", "8").
    Raises RuntimeError, with the end of the log, where it is not ready within `seconds`.
    """
    return start_module("course_lib.serving", ["--models", str(models), *options], log, seconds)


def start_module(
    module: str, arguments: Sequence[str], log: Path, seconds: float = START_SECONDS, port: int | None = None
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
    command = ["-m", module, *arguments, "--host", "127.0.0.1", "--port", str(port)]
    with log.open("wb") as kept:
        service = Service(f"http://127.0.0.1:{port}", leash.start(command, stdout=kept, stderr=subprocess.STDOUT))
    until = time.monotonic() + seconds
    try:
        while service.process.poll() is None and time.monotonic() < until:
            if answers(service.url + "/v2/health/ready"):
                return service
            time.sleep(0.02)
    except BaseException:  # the cell was interrupted: nobody would know the server
        service.stop()
        raise
    service.stop()
    raise RuntimeError(f"the service was not ready within {seconds} s; its log ends:\n{log.read_text()[-1000:]}")
