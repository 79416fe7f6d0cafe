"""The course's servers as processes on this machine."""

import contextlib
import inspect
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from course_lib.ops import leash
from course_lib.ops.http import answers
from course_lib.places import CHECKOUT

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
    port = port or _free_port()
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
    why = "ended before it was ready" if service.process.poll() is not None else f"was not ready within {seconds} s"
    service.stop()
    raise RuntimeError(f"the service {why}; its log ends:\n{log.read_text()[-1000:]}")


FOOT = """
import asyncio as _asyncio, contextlib as _contextlib, sys as _sys
import uvicorn as _uvicorn
from starlette.applications import Starlette as _Starlette
from starlette.routing import Route as _Route

@_contextlib.asynccontextmanager
async def _lifespan(app):
    tasks = [_asyncio.create_task(each()) for each in [globals().get("work")] if each]
    yield

_routes = [_Route(path, globals()[name], methods=["GET", "POST"]) for path, name in ROUTES.items()]
_uvicorn.run(_Starlette(routes=_routes, lifespan=_lifespan), host="127.0.0.1", port=int(_sys.argv[1]),
             log_level="critical", access_log=False, timeout_graceful_shutdown=1)
"""


def start_handlers(
    routes: Mapping[str, Callable],
    program: Path,
    *,
    head: str = "",
    beside: Sequence[Callable] = (),
    **constants: object,
) -> Service:
    """Serves a notebook's own functions over HTTP, by Starlette and uvicorn, in a process of their own, on a free port.

    The program that runs is written to the file `program`: the lines of `head`, the constants, the source of the functions.
    What they print goes beside it, into a file of the same name that ends in .log. The server ends with this kernel.
    routes: address -> `async def handler(request)`, called for GET and POST. head: imports, the model. beside: functions
    that the handlers call; one named `work` runs as a task from the start. constants: by name, of plain values.
    Raises RuntimeError, with the end of the log, where no connection is accepted within `START_SECONDS`.
    """
    functions = dict.fromkeys([*beside, *routes.values()])
    told = constants | {"ROUTES": {path: handler.__name__ for path, handler in routes.items()}}
    parts = [head, *(f"{name} = {value!r}" for name, value in told.items()), *map(inspect.getsource, functions), FOOT]
    program.write_text("\n\n".join(parts), encoding="utf-8")
    log, port = program.with_suffix(".log"), _free_port()
    with log.open("wb") as kept:
        command = [sys.executable, str(program), str(port)]
        path = os.pathsep.join(filter(None, [str(CHECKOUT), os.environ.get("PYTHONPATH")]))
        options = {"stdout": kept, "stderr": subprocess.STDOUT, "env": os.environ | {"PYTHONPATH": path}}
        service = Service(f"http://127.0.0.1:{port}", leash.start(command, **options))
    until = time.monotonic() + START_SECONDS
    try:
        while service.process.poll() is None and time.monotonic() < until:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                return service
            time.sleep(0.02)
    except BaseException:  # the cell was interrupted: nobody would know the server
        service.stop()
        raise
    service.stop()
    raise RuntimeError(f"{program.name} did not start; its log ends:\n{log.read_text(encoding='utf-8')[-1000:]}")


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]
