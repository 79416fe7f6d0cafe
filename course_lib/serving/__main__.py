"""The server's process: `python -m course_lib.serving --models FOLDER`."""

import argparse
import asyncio
import gc
import logging
import os
import signal
import socket
import sys
import threading
import time
from functools import partial
from pathlib import Path
from types import FrameType

from course_lib.serving import connection, tracing
from course_lib.serving.app import App
from course_lib.serving.connection import Connection
from course_lib.serving.errors import ModelError
from course_lib.serving.keys import read_public_key
from course_lib.serving.limits import Limits, cpu_limit
from course_lib.serving.models import Model
from course_lib.serving.store import Store
from course_lib.serving.telemetry import Log

try:
    from uvloop import new_event_loop
except ImportError:  # there is none for Windows
    from asyncio import new_event_loop

SHUTDOWN_SECONDS = 10
"""How long requests under way may still take once the server stops. What stops it must wait longer before it kills:
Kubernetes' `terminationGracePeriodSeconds` must exceed `preStop`, `--drain-seconds` and this together."""
WRITE_SECONDS = 1
"""How long after that the last answers may take to leave."""
BACKLOG = 2048
SWITCH_SECONDS = 0.0005
"""How long a thread may keep Python to itself while another one wants it. Python's own 5 ms would let a batch that is
computed wait that long for the event loop to let go."""


class Server:
    """Listens until a signal ends it: the first one lowers readiness, and what was accepted is answered."""

    def __init__(self, app: App, log: Log, limits: Limits, reload_seconds: float, drain_seconds: float) -> None:
        self._app, self._log, self._max_body_bytes = app, log, limits.max_body_bytes
        self._reload_seconds, self._drain_seconds = reload_seconds, drain_seconds
        self._connections: set[Connection] = set()

    async def run(self, listener: socket.socket) -> None:
        """Returns once the last connection is closed, or has had its time."""
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, self._end)
        accepting = await self._loop.create_server(self._connect, sock=listener, backlog=BACKLOG)
        address = listener.getsockname()
        served = {name: list(each.versions) for name, each in self._app.store.models.items()}
        self._log.write("info", "ready", host=address[0], port=address[1], models=served)
        watching = asyncio.create_task(self._watch())
        if self._reload_seconds:
            # A thread of its own, which the end does not wait for: a model may take long to load, a folder may hang.
            threading.Thread(target=self._reload, name="reload", daemon=True).start()
        await self._stop.wait()
        accepting.close()
        for each in list(self._connections):
            each.close_if_idle()
        await self._until_all_left(SHUTDOWN_SECONDS)
        for each in list(self._connections):
            each.cut_off()
        await self._until_all_left(WRITE_SECONDS)
        watching.cancel()

    def _connect(self) -> Connection:
        return Connection(self._app, self._connections, self._max_body_bytes)

    def _end(self, number: int, frame: FrameType | None) -> None:
        """First signal: no longer ready, stop after `drain_seconds`. A second one: stop now."""
        wait = 0.0 if self._app.draining else self._drain_seconds
        self._app.draining = True
        self._loop.call_soon_threadsafe(self._loop.call_later, wait, self._stop.set)

    async def _until_all_left(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while self._connections and time.monotonic() < end:
            await asyncio.sleep(0.01)

    async def _watch(self) -> None:
        """Looks for connections that stall: one timer for all, since one for each request would cost too much."""
        while True:
            await asyncio.sleep(connection.REQUEST_SECONDS / 8)
            for each in list(self._connections):
                each.give_up_if_late()

    def _reload(self) -> None:
        while True:
            time.sleep(self._reload_seconds)
            try:
                self._app.store.scan()
            except Exception as error:  # a folder that cannot be read now may be read the next time
                self._log.failure("models not looked at", error)


def main(arguments: list[str] | None = None) -> int:
    """Serves until a signal ends it, and ends the process with 0. Returns 2 where it cannot start."""
    # As a container's first process we would otherwise not be stopped while models load.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    options = _parser().parse_args(arguments)
    threads = options.threads or cpu_limit()
    log = Log()
    load = partial(_load, min(options.threads_per_call, threads))
    try:
        listener = listen(options.host, options.port)
    except (OSError, OverflowError) as error:
        return _refuse(f"cannot listen on {options.host}:{options.port} ({error}); choose another --host or --port")
    try:
        verify = read_public_key(options.trust).verify if options.trust else None
    except (ImportError, ValueError) as error:
        return _refuse(f"--trust: {error}")
    try:
        store = Store(options.models, load, options.latest, log, verify)
    except (ModelError, OSError) as error:
        return _refuse(str(error))
    try:
        traces = tracing.asked_for(options, "model-server")
    except (ImportError, OSError) as error:
        return _refuse(f"cannot trace: {error}")
    logging.basicConfig(level=logging.WARNING, handlers=[log])
    limits = Limits(
        workers=max(1, threads // options.threads_per_call),
        max_batch_size=options.max_batch_size,
        batch_wait_seconds=options.batch_wait_ms / 1000,
        max_queue=options.max_queue,
        timeout_seconds=options.timeout_ms / 1000,
        max_body_bytes=options.max_body_bytes,
    )
    app = App(store, log, limits, traces)
    server = Server(app, log, limits, options.reload_seconds, options.drain_seconds)
    sys.setswitchinterval(SWITCH_SECONDS)
    gc.freeze()  # what is there now stays; the collector need not walk through it again
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(server.run(listener))
    if traces:
        traces.close()
    log.write("info", "stopped")
    log.flush()
    # A thread may still compute what nobody waits for any more. Python's way out would take the interpreter away from
    # under it, and the process would end by SIGABRT.
    os._exit(0)


def _load(threads: int, name: str, version: int, path: Path, checksums: dict[str, str] | None) -> Model:
    return Model(name, version, path, threads, checksums)


def listen(host: str, port: int) -> socket.socket:
    """A bound socket whose connections send at once. Raises OSError or OverflowError where the address is no good."""
    six = ":" in host  # `::` stands for all addresses, those of IPv4 among them
    family, both = socket.AF_INET6 if six else socket.AF_INET, six and socket.has_dualstack_ipv6()
    listener = socket.create_server((host, port), family=family, dualstack_ipv6=both)
    # asyncio does this only for sockets that name their protocol, which create_server's do not. Without it, the end
    # of a long answer waits until the client has acknowledged its begin: 40 ms for each request of a kept connection.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("course_lib.serving", description="Serves ONNX models over HTTP.")
    parser.add_argument("--models", type=Path, required=True, help="folder that holds NAME/VERSION/model.onnx")
    parser.add_argument("--host", default="0.0.0.0", help="address to listen on (default: all)")
    parser.add_argument("--port", type=int, default=8501, help="0: any free one, told in the log (default: 8501)")
    add, number = parser.add_argument, {"type": _positive, "metavar": "N"}
    add("--threads", **number, help="threads that compute, in all (default: the container's CPU limit)")
    add("--threads-per-call", **number, default=1, help="how many of them share one call (default: 1)")
    add("--max-batch-size", **number, default=32, help="samples that one call may join (default: 32)")
    add("--batch-wait-ms", type=_seconds, default=0, help="longest wait for a batch to fill (default: 0)")
    add("--max-queue", **number, default=1024, help="samples that may wait for a version; more: 429 (default: 1024)")
    add("--timeout-ms", **number, default=30_000, help="longest time to an answer; later: 504 (default: 30000)")
    add("--max-body-bytes", **number, default=1 << 20, help="largest request; more: 413 (default: 1 MiB)")
    add(
        "--latest",
        type=_count,
        default=0,
        help="serve so many versions of each model, and those with labels (default: all)",
    )
    add("--trust", type=Path, metavar="KEY.pem", help="serve only what SHA256SUMS lists, signed with this key")
    add("--reload-seconds", type=_seconds, default=2, help="look for new versions so often; 0: never (default: 2)")
    add("--drain-seconds", type=_seconds, default=0, help="go on answering so long after SIGTERM (default: 0)")
    tracing.add_options(parser)
    return parser


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a positive whole number, got '{text}'")
    return int(text)


def _count(text: str) -> int:
    return 0 if text == "0" else _positive(text)


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a number from 0, got '{text}'")
    return value


def _refuse(message: str) -> int:
    print(f"course_lib.serving: {message}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
