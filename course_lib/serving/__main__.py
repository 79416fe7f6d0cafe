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
from http import HTTPStatus
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
REQUEST_SECONDS = 8
"""How long a request may take to come in, from its first byte. Less than SHUTDOWN_SECONDS, so that a client which stalls
cannot hold a shutdown up."""
KEEP_ALIVE_SECONDS = 30
"""How long a connection may stay open without a request, and how long its client may read nothing of an answer."""
MAX_HEAD_BYTES = 1 << 16
SWITCH_SECONDS = 0.0005
"""How long a thread may keep Python to itself while another one wants it. Python's own 5 ms would let a batch that is
computed wait that long for the event loop to let go."""


class Connection(HttpToolsProtocol):
    """uvicorn's connection, with bounds for what comes before a body and for how long its client may stall, and its
    refusals as the protocols write them."""

    _head_bytes, _began = 0, float("inf")
    _unsent, _sent_at = 0, 0.0

    def data_received(self, data: bytes) -> None:
        self._head_bytes += len(data)
        super().data_received(data)
        if self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
            self.send_400_response(f"Expected a request's line and headers within {MAX_HEAD_BYTES} bytes, got more.")

    def on_message_begin(self) -> None:
        self._began = self.loop.time()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._head_bytes = -sys.maxsize  # until the next request begins
        super().on_headers_complete()

    def on_chunk_header(self) -> None:
        self._head_bytes = 0  # after the last chunk, headers may follow once more

    def on_body(self, body: bytes) -> None:
        self._head_bytes = -sys.maxsize
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._head_bytes, self._began = 0, float("inf")
        super().on_message_complete()

    def give_up_if_late(self) -> None:
        """Ends the connection where its client stalls: in a request, before its first one, or instead of reading."""
        now, unsent = self.loop.time(), self.transport.get_write_buffer_size()
        if unsent != self._unsent:
            self._unsent, self._sent_at = unsent, now
        if unsent and now - self._sent_at > KEEP_ALIVE_SECONDS:
            self.transport.abort()  # closed in any other way, it would wait for ever to have sent all
        elif self.transport.is_closing():
            return
        elif self._began == float("inf"):
            self._close_if_unused()
        elif now - self._began <= REQUEST_SECONDS:
            return
        elif self.pipeline:  # while an earlier request is computed nothing is read, and that is not the client's fault
            self._began = now
        else:
            self._refuse(HTTPStatus.REQUEST_TIMEOUT, f"Expected a whole request within {REQUEST_SECONDS} s.")

    def _close_if_unused(self) -> None:
        """uvicorn closes what is unused after an answer; not what never asked, or sent a mere line end since."""
        if self.timeout_keep_alive_task is None and (self.cycle is None or self.cycle.response_complete):
            self.timeout_keep_alive_task = self.loop.call_later(KEEP_ALIVE_SECONDS, self.timeout_keep_alive_handler)

    def send_400_response(self, msg: str) -> None:
        self._refuse(HTTPStatus.BAD_REQUEST, msg)

    def _unsupported_upgrade_warning(self) -> None:
        """A request that wants another protocol is answered in HTTP/1.1, and no other after it: the parser drops all that
        follows its head. Where that was a body, it cannot be answered."""
        self.cycle.keep_alive = False
        if any(name in (b"content-length", b"transfer-encoding") for name, _ in self.headers):
            self.cycle.disconnected = True
            self._end(HTTPStatus.BAD_REQUEST, "Expected a request without Upgrade: this server speaks HTTP/1.1 alone.")

    def _refuse(self, status: HTTPStatus, msg: str) -> None:
        if self.cycle and not self.cycle.more_body and not self.cycle.response_complete:
            self.cycle.keep_alive = False  # what came before is whole, and is answered
            self.flow.pause_reading()
        else:
            self._end(status, msg)

    def _end(self, status: HTTPStatus, msg: str) -> None:
        body = orjson.dumps({"error": msg})
        head = f"HTTP/1.1 {status} {status.phrase}\r\ncontent-type: application/json\r\nconnection: close\r\n"
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
        self._watching = asyncio.create_task(self._watch())
        if self._reload_seconds:
            # A thread of its own, which the end does not wait for: a model may take long to load, a folder may hang.
            threading.Thread(target=self._reload, name="reload", daemon=True).start()

    async def _watch(self) -> None:
        """Looks for connections that stall: one timer for all, since one for each request would cost too much."""
        while True:
            await asyncio.sleep(REQUEST_SECONDS / 8)
            for connection in list(self.server_state.connections):
                connection.give_up_if_late()

    def _reload(self) -> None:
        while True:
            time.sleep(self._reload_seconds)
            try:
                self._app.store.scan()
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
    except (OSError, OverflowError) as error:
        return _refuse(f"cannot listen on {options.host}:{options.port} ({error}); choose another --host or --port")
    try:
        store = Store(options.models, load, options.latest, log)
    except (ModelError, OSError) as error:
        return _refuse(str(error))
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
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
    )
    sys.setswitchinterval(SWITCH_SECONDS)
    gc.freeze()  # what is there now stays; the collector need not walk through it again
    Server(config, app, log, options.reload_seconds, options.drain_seconds).run(sockets=[listener])
    log.write("info", "stopped")
    # A thread may still compute what nobody waits for any more. Python's way out would take the interpreter away from
    # under it, and the process would end by SIGABRT.
    os._exit(0)


def _load(threads: int, name: str, version: int, path: Path, checksums: dict[str, str] | None) -> Model:
    return Model(name, version, path, threads, checksums)


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
