"""What the services share: request ids, errors as JSON, counters, health, and a process that ends without losing work."""

import argparse
import asyncio
import logging
import re
import signal
import sys
import time
import uuid
from collections.abc import Callable, Iterable
from email.utils import formatdate
from functools import cache

import orjson
import prometheus_client
import uvicorn
from prometheus_client.openmetrics import exposition as openmetrics
from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from course_lib.services.connection import KEEP_ALIVE_SECONDS, Connection, listen
from course_lib.serving import tracing
from course_lib.serving.telemetry import Log

DEADLINE = "X-Request-Timeout-Ms"
"""How long whoever asks will wait, in milliseconds; each service hands on what is left of it."""

NOT_TRACED = ("/metrics", "/v2/health/")
MAX_BODY_BYTES = 1 << 20
SHUTDOWN_SECONDS = 10
"""How long requests under way may still take once a service stops."""

REQUESTS = prometheus_client.Counter("service_requests", "Requests answered", ["route", "code"])
SECONDS = prometheus_client.Histogram("service_request_duration_seconds", "From request to answer", ["route"])


class Refused(Exception):
    """An answer other than success: its status, one sentence for the one who asked, and headers such as Retry-After."""

    def __init__(self, status: int, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.headers = status, message, headers


def answer(content: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """`content` as JSON."""
    return Response(orjson.dumps(content), status, headers, "application/json")


async def read_body(request: Request) -> bytes:
    """The body. Raises Refused: 413 where it is too large, 408 where the client leaves before its end."""
    body = bytearray()
    try:
        async for piece in request.stream():
            body += piece
            if len(body) > MAX_BODY_BYTES:
                raise Refused(413, f"expected at most {MAX_BODY_BYTES:,} bytes")
    except ClientDisconnect:
        raise Refused(408, f"expected a whole body, the connection ended after {len(body):,} bytes of it") from None
    return bytes(body)


async def json_body(request: Request) -> dict:
    """The body as a JSON object; its bytes stay in `request.state.body`. Raises Refused (400, 413) for anything else."""
    request.state.body = body = await read_body(request)
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError as wrong:
        raise Refused(400, f"expected JSON: {wrong}") from None
    if not isinstance(found, dict):
        raise Refused(400, f"expected a JSON object, got {type(found).__name__}")
    return found


def seconds_left(request: Request, most: float) -> float:
    """How many seconds the one who asks will wait, `most` where nothing is said. Raises Refused for what is no time."""
    said = request.headers.get(DEADLINE)
    if said is None:
        return most
    if not re.fullmatch(r"\d{1,9}", said) or int(said) == 0:
        raise Refused(400, f"expected {DEADLINE} in whole milliseconds from 1, got {said[:20]!r}")
    return min(most, int(said) / 1000)


def application(routes: Iterable[BaseRoute], lifespan: Callable | None = None) -> Starlette:
    """An ASGI application with these routes, and health and metrics beside them."""

    async def live(request: Request) -> Response:
        return answer({"live": True})

    async def ready(request: Request) -> Response:
        # About this process alone. If it asked those behind it, one that is down would take all in front of it along.
        draining = request.app.state.draining
        return answer({"ready": not draining}, 503 if draining else 200)

    async def metrics(request: Request) -> Response:
        if "application/openmetrics-text" in request.headers.get("accept", ""):  # the format that has exemplars
            text = openmetrics.generate_latest(prometheus_client.REGISTRY)
            return Response(text, media_type=openmetrics.CONTENT_TYPE_LATEST)
        return Response(prometheus_client.generate_latest(), media_type=prometheus_client.CONTENT_TYPE_LATEST)

    own = [Route("/v2/health/live", live), Route("/v2/health/ready", ready), Route("/metrics", metrics)]
    handlers = {Refused: _refused, HTTPException: _not_here}
    app = Starlette(
        routes=[*own, *routes], exception_handlers=handlers, middleware=[Middleware(RequestIds)], lifespan=lifespan
    )
    app.state.draining, app.state.tracing = False, None
    app.router.redirect_slashes = False  # a redirection would be made of the client's Host, whatever that is
    return app


class RequestIds:
    """Takes over or gives each request's id, hands it back, counts the answer, and logs a line without any data. Begins
    and ends its span, `request.state.span`: None where it is not traced."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        came = Headers(scope=scope)
        said = came.get("X-Request-Id", "")
        request_id = said if re.fullmatch("[A-Za-z0-9._-]{1,128}", said) else uuid.uuid4().hex
        status, start, ended, span = 0, time.perf_counter(), None, None
        if (traces := scope["app"].state.tracing) and not scope["path"].startswith(NOT_TRACED):
            span = traces.begin(came.get("traceparent"), start)
        scope.setdefault("state", {}).update(request_id=request_id, span=span)

        async def pass_on(message: Message) -> None:
            nonlocal status, ended
            if message["type"] == "http.response.body":
                ended = time.perf_counter()  # before the client can have it: its own span ends later
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-Id"] = request_id
                headers.setdefault("Date", formatdate(usegmt=True))
            await send(message)

        try:
            await self.app(scope, receive, pass_on)
        except asyncio.CancelledError:  # the shutdown has waited long enough
            if not status:
                stops = {"error": "the service stops and did not get to this request: try again"}
                await answer(stops, 503, {"Retry-After": "1"})(scope, receive, pass_on)
        except Exception as error:
            log().failure("failed", error, request_id=request_id)
            if not status:
                await answer({"error": f"internal error, request {request_id}"}, 500)(scope, receive, pass_on)
        seconds = time.perf_counter() - start
        route = getattr(scope.get("endpoint"), "__name__", "none")  # not the path: there would be no end of labels
        REQUESTS.labels(route, status).inc()
        SECONDS.labels(route).observe(seconds, {"trace_id": span.trace_id} if span and span.kept else None)
        if span:
            span.end(ended, name=route, error=status >= 500, attributes={"http.response.status_code": status})
        if route not in ("live", "ready", "metrics"):
            who = {"caller": caller} if (caller := scope["state"].get("caller")) else {}
            log().write("info", "request", request_id=request_id, method=scope["method"], path=scope["path"][:200],
                        status=status, ms=round(1000 * seconds, 2), **who, **(span.in_log if span else {}))  # fmt: skip


async def _refused(request: Request, error: Refused) -> Response:
    return answer({"error": error.message}, error.status, error.headers)


async def _not_here(request: Request, error: HTTPException) -> Response:
    where = request.scope["path"][:200]  # `request.url` is made of the client's Host, and fails where that is no host
    return answer({"error": f"{request.method} {where}: {error.detail}"}, error.status_code, error.headers)


@cache
def log() -> Log:
    """The model server's log: one JSON object a line, never a request's data; where nobody reads it, lines are lost."""
    return Log()


class Server(uvicorn.Server):
    """uvicorn, but it ends connections that stall as the model server does, a signal first lowers readiness, and the
    process ends with 0 once it has answered what it took."""

    drain_seconds, stop_at = 0.0, float("inf")

    def handle_exit(self, sig: int, frame: object) -> None:
        """First signal: no longer ready, stop after `drain_seconds`. A second one: stop now."""
        state = self.config.app.state
        self.stop_at = time.monotonic() + (0.0 if state.draining else self.drain_seconds)
        state.draining = True

    async def on_tick(self, counter: int) -> bool:
        self.should_exit = self.should_exit or time.monotonic() >= self.stop_at
        if counter % 10 == 0:  # about once a second
            for each in list(self.server_state.connections):
                each.give_up_if_late()
        return await super().on_tick(counter)


def options(name: str, description: str) -> argparse.ArgumentParser:
    """A parser with the options that every service has."""
    parser = argparse.ArgumentParser(f"course_lib.services.{name}", description=description)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: this machine alone)")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--drain-seconds", type=float, default=0, help="go on answering so long after SIGTERM")
    parser.set_defaults(service=name)
    tracing.add_options(parser)
    return parser


def serve(app: Starlette, asked: argparse.Namespace) -> int:
    """Serves until a signal ends it. Returns the process's exit status."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        listener = listen(asked.host, asked.port)
    except (OSError, OverflowError) as taken:
        print(f"cannot listen on {asked.host}:{asked.port} ({taken}); choose another --port", file=sys.stderr)
        return 2
    try:
        app.state.tracing = traces = tracing.asked_for(asked, asked.service)
    except (ImportError, OSError) as error:
        print(f"cannot trace: {error}", file=sys.stderr)
        return 2
    logging.basicConfig(level=logging.WARNING, handlers=[log()])
    prometheus_client.REGISTRY.register(log())
    config = uvicorn.Config(
        app, http=Connection, ws="none", log_config=None, access_log=False, server_header=False, date_header=False,
        proxy_headers=False, timeout_keep_alive=KEEP_ALIVE_SECONDS, timeout_graceful_shutdown=SHUTDOWN_SECONDS,
    )  # fmt: skip
    server = Server(config)
    server.drain_seconds = asked.drain_seconds
    server.run(sockets=[listener])
    if traces:
        traces.close()
    log().flush()
    return 0
