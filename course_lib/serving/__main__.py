"""The server's process: `python -m course_lib.serving --models FOLDER`."""

import argparse
import json
import logging
import signal
import socket
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

import uvicorn

from course_lib.serving.app import create_app, logger
from course_lib.serving.models import ModelError, Models, cpu_limit

SHUTDOWN_SECONDS = 10
"""How long requests under way may still take once the server stops. What stops it must wait longer before it kills:
Kubernetes' `terminationGracePeriodSeconds` must exceed `preStop`, `--drain-seconds` and this together."""


class JsonLines(logging.Formatter):
    """One JSON object a line, for machines that collect logs."""

    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line = {"time": moment, "level": record.levelname.lower(), "event": record.getMessage().strip()}
        line |= getattr(record, "fields", {})
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line)


class Server(uvicorn.Server):
    """uvicorn, but a signal first lowers readiness, and the process then ends with 0 rather than by that signal."""

    def __init__(self, config: uvicorn.Config, drain_seconds: float) -> None:
        super().__init__(config)
        self.drain_seconds, self.stop_at = drain_seconds, float("inf")

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        address = sockets[0].getsockname() if sockets else ("", 0)
        served = self.config.app.state.models.versions()
        logger.info("ready", extra={"fields": {"host": address[0], "port": address[1], "models": served}})

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """First signal: no longer ready, stop after `drain_seconds`. A second one: stop now."""
        wait = 0.0 if self.config.app.state.draining else self.drain_seconds
        self.config.app.state.draining = True
        self.stop_at = time.monotonic() + wait

    async def on_tick(self, counter: int) -> bool:
        self.should_exit = self.should_exit or time.monotonic() >= self.stop_at
        return await super().on_tick(counter)


def main(arguments: list[str] | None = None) -> int:
    """Serves until a signal ends it. Returns 0, or 2 where it cannot start."""
    # As a container's first process we would otherwise not be stopped while models load.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    options = _parser().parse_args(arguments)
    threads = options.threads or cpu_limit()
    try:
        models = Models.load(options.models, threads)
        listener = listen(options.host, options.port)
    except ModelError as error:
        return _refuse(str(error))
    except (OSError, OverflowError) as error:
        return _refuse(f"cannot listen on {options.host}:{options.port} ({error}); choose another --host or --port")
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    app = create_app(models, options.max_body_bytes, workers=threads)
    config = uvicorn.Config(
        app,
        http="h11",
        loop="asyncio",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
    )
    Server(config, options.drain_seconds).run(sockets=[listener])
    logger.info("stopped")
    return 0


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
    parser.add_argument("--threads", type=_positive, help="threads that compute (default: the container's CPU limit)")
    parser.add_argument("--max-body-bytes", type=_positive, default=1 << 20, help="largest request (default: 1 MiB)")
    parser.add_argument("--drain-seconds", type=float, default=0, help="go on answering so long after SIGTERM")
    return parser


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a positive whole number, got '{text}'")
    return int(text)


def _refuse(message: str) -> int:
    print(f"course_lib.serving: {message}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
