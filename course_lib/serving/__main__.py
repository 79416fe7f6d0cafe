"""The server's process: `python -m course_lib.serving --models FOLDER`."""

import argparse
import asyncio
import gc
import logging
import os
import signal
import socket
import sys
import time
from functools import partial
from pathlib import Path
from types import FrameType

import orjson
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from course_lib.serving.app import App
from course_lib.serving.limits import Limits, cpu_limit
from course_lib.serving.models import Model, ModelError
from course_lib.serving.store import Store
from course_lib.serving.telemetry import Log

SHUTDOWN_SECONDS = 10
"""How long requests under way may still take once the server stops. What stops it must wait longer before it kills:
Kubernetes' `terminationGracePeriodSeconds` must exceed `preStop`, `--drain-seconds` and this together."""
MAX_HEAD_BYTES = 1 << 16
SWITCH_SECONDS = 0.0005
"""How long a thread may keep Python to itself while another one wants it. Python's own 5 ms would let a batch that is
computed wait that long for the event loop to let go."""


class Connection(HttpToolsProtocol):
    """uvicorn's connection, with a bound for what comes before a body, and its refusals as the protocols write them."""

    _head_bytes = 0

    def data_received(self, data: bytes) -> None:
        self._head_bytes += len(data)
        super().data_received(data)
        if self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
            self.send_400_response(f"Expected a request's line and headers within {MAX_HEAD_BYTES} bytes, got more.")

    def on_headers_complete(self) -> None:
        self._head_bytes = -sys.maxsize  # until the next request begins
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._head_bytes = 0
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        body = orjson.dumps({"error": msg})
        head = "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\nconnection: close\r\n"
        self.transport.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
        self.transport.close()


class Server(uvicorn.Server):
    """uvicorn, but it looks for new models, a signal first lowers readiness, and the process then ends with 0 rather
    than by that signal."""

    def __init__(self, config: uvicorn.Config, app: App, log: Log, reload_seconds: float, drain_seconds: float) -> None:
        super().__init__(config)
        self._app, self._log, self._reload_seconds = app, log, reload_seconds
        self._drain_seconds, self._stop_at = drain_seconds, float("inf")

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        address = sockets[0].getsockname() if sockets else ("", 0)
        served = {name: list(each.versions) for name, each in self._app.store.models.items()}
        self._log.write("info", "ready", host=address[0], port=address[1], models=served)
        if self._reload_seconds:
            self._reloading = asyncio.create_task(self._reload())

    async def _reload(self) -> None:
        while True:
            await asyncio.sleep(self._reload_seconds)
            try:
                await asyncio.to_thread(self._app.store.scan)
            except Exception as error:  # a folder that cannot be read now may be read the next time
                self._log.failure("models not looked at", error)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """First signal: no longer ready, stop after `drain_seconds`. A second one: stop now."""
        wait = 0.0 if self._app.draining else self._drain_seconds
        self._app.draining = True
        self._stop_at = time.monotonic() + wait

    async def on_tick(self, counter: int) -> bool:
        self.should_exit = self.should_exit or time.monotonic() >= self._stop_at
        return await super().on_tick(counter)


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
        store = Store(options.models, load, options.latest, log)
    except ModelError as error:
        return _refuse(str(error))
    except (OSError, OverflowError) as error:
        return _refuse(f"cannot listen on {options.host}:{options.port} ({error}); choose another --host or --port")
    logging.basicConfig(level=logging.WARNING, handlers=[log])
    limits = Limits(
        workers=max(1, threads // options.threads_per_call),
        max_batch_size=options.max_batch_size,
        batch_wait_seconds=options.batch_wait_ms / 1000,
        max_queue=options.max_queue,
        timeout_seconds=options.timeout_ms / 1000,
        max_body_bytes=options.max_body_bytes,
    )
    app = App(store, log, limits)
    config = uvicorn.Config(
        app,
        http=Connection,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
    )
    sys.setswitchinterval(SWITCH_SECONDS)
    gc.freeze()  # what is there now stays; the collector need not walk through it again
    Server(config, app, log, options.reload_seconds, options.drain_seconds).run(sockets=[listener])
    log.write("info", "stopped")
    # A thread may still compute what nobody waits for any more. Python's way out would take the interpreter away from
    # under it, and the process would end by SIGABRT.
    os._exit(0)


def _load(threads: int, name: str, version: int, path: Path, sha256: str | None) -> Model:
    return Model(name, version, path, threads, sha256)


def listen(host: str, port: int) -> socket.socket:
    """A bound socket whose connections send at once. Raises OSError or OverflowError where the address is no good."""
    listener = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    # asyncio does this only for sockets that name their protocol, which create_server's do not. Without it, the body
    # of an answer waits until the client has acknowledged its head: 40 ms for each request of a kept connection.
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
    add("--reload-seconds", type=_seconds, default=2, help="look for new versions so often; 0: never (default: 2)")
    add("--drain-seconds", type=_seconds, default=0, help="go on answering so long after SIGTERM (default: 0)")
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
