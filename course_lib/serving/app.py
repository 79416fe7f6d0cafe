"""The HTTP side: addresses, methods, sizes, request ids, one line in the log for each request."""

import asyncio
import json
import logging
import re
import socket
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from starlette.applications import Starlette
from starlette.datastructures import State
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from course_lib import __version__
from course_lib.serving import protocol
from course_lib.serving.models import Model, Models
from course_lib.serving.protocol import Refused

NAME = "course model server"
BODY_SECONDS = 8  # less than a shutdown waits, so that a client which stalls cannot hold one up
MAX_WAITING = 32
"""How many predictions may wait for a thread; more are refused (503) at once, since each holds its body in memory."""
RETRY = {"Retry-After": "1"}
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
V1_ADDRESS = re.compile(
    "/v1/models(?:/(?P<name>[^/:]+)(?:/versions/(?P<version>[0-9]+))?"
    "(?:(?P<metadata>/metadata)|:(?P<verb>predict|classify|regress))?)?"
)
HOST = socket.gethostname().encode()
"""Sent with each answer, so that a client behind a load balancer can tell which replica it met: the pod's name."""

logger = logging.getLogger("course_lib.serving")


def create_app(models: Models, max_body_bytes: int, workers: int) -> Starlette:
    """The ASGI application. `app.state.draining = True` makes readiness fall; everything else goes on answering.

    `workers` threads parse, compute and write out predictions, so that the event loop, and health with it, stays free.
    """
    routes = [
        Route("/", _index),
        Route("/v1/{rest:path}", _v1, methods=METHODS),
        Route("/v2", _v2_server),
        Route("/v2/health/live", _v2_live),
        Route("/v2/health/ready", _v2_ready),
        Route("/v2/models/{name}", _v2_model),
        Route("/v2/models/{name}/ready", _v2_model_ready),
        Route("/v2/models/{name}/versions/{version}", _v2_model),
        Route("/v2/models/{name}/versions/{version}/ready", _v2_model_ready),
    ]
    handlers = {Refused: _refused, HTTPException: _http_exception}
    app = Starlette(routes=routes, exception_handlers=handlers, middleware=[Middleware(RequestLog)])
    app.router.redirect_slashes = False
    app.state.models, app.state.draining, app.state.max_body_bytes = models, False, max_body_bytes
    app.state.workers = ThreadPoolExecutor(workers, thread_name_prefix="predict")
    app.state.predictions, app.state.max_predictions = 0, workers + MAX_WAITING
    return app


class RequestLog:
    """Gives each request an id, logs it without its data, and turns an error of our own into a 500 with that id.

    A request that the end of the process cuts off gets a 503.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        given = dict(scope["headers"]).get(b"x-request-id", b"").decode("latin-1")
        request_id = given if re.fullmatch("[A-Za-z0-9._-]{1,128}", given) else uuid.uuid4().hex
        started, status = time.perf_counter(), 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                own = [(b"x-request-id", request_id.encode()), (b"x-served-by", HOST)]
                message["headers"] = [*message["headers"], *own]
                if scope["app"].state.draining:  # the next request of this client belongs on another replica
                    message["headers"].append((b"connection", b"close"))
            await send(message)

        try:
            await self.app(scope, receive, send_with_id)
        except asyncio.CancelledError:
            # uvicorn cancels what is still under way when a shutdown has waited long enough, and answers for itself, in
            # plain text and with a traceback in the log, where this goes on.
            if not status:
                answer = _error(503, "the server stops and did not get to this request: try again.", RETRY)
                await answer(scope, receive, send_with_id)
        except Exception:
            logger.exception("internal error", extra={"fields": {"request_id": request_id}})
            if not status:
                answer = _error(500, f"internal error; the log has it under request id {request_id}.")
                await answer(scope, receive, send_with_id)
        finally:
            fields = {"request_id": request_id, "method": scope["method"][:20], "path": scope["path"][:200]}
            fields |= {"status": status, "duration_ms": round((time.perf_counter() - started) * 1000, 2)}
            logger.info("request", extra={"fields": fields})


async def _index(request: Request) -> Response:
    served = request.app.state.models.versions()
    return JSONResponse({"name": NAME, "version": __version__, "models": served, "default_version": "latest"})


async def _v1(request: Request) -> Response:
    """TensorFlow Serving's API: by its rules, an address that it does not know is a 400, not a 404."""
    models, method, path = request.app.state.models, request.method, request.scope["path"]
    body = await _read_body(request)
    match = V1_ADDRESS.fullmatch(path)
    verb = match and match["verb"]
    if method not in ("GET", "HEAD", "POST"):
        raise Refused(405, f"{path[:200]} expects GET or POST, got {method}.", headers={"Allow": "GET, HEAD, POST"})
    if verb and method != "POST":  # TensorFlow Serving says 400 here; HTTP has a status for it
        raise Refused(
            405, f"Malformed request: {method} {path[:200]}. :{verb} expects POST.", headers={"Allow": "POST"}
        )
    if not match or (method == "POST" and not verb):
        expected = "POST /v1/models/NAME[/versions/N]:predict or GET /v1/models/NAME[/versions/N][/metadata]"
        raise Refused(400, f"Malformed request: {method} {path[:200]}. Expected {expected}.")
    if not match["name"]:
        raise Refused(400, f"Missing model name in request. This server has {', '.join(models.versions())}.")
    name, version = match["name"], match["version"]
    if version and len(version) > 18:
        raise Refused(400, f"Failed to convert version: {version[:40]} to numeric.")
    number = int(version) if version else None
    if not verb:
        found = protocol.tf_metadata if match["metadata"] else None
        return JSONResponse(
            found(protocol.find(models, name, number)) if found else protocol.status(models, name, number)
        )
    model = protocol.find(models, name, number)
    if verb != "predict":
        message = (
            f"Expected {verb} signature method_name to be tensorflow/serving/{verb}. Was: tensorflow/serving/predict"
        )
        raise Refused(400, f"{message}. This model answers :predict.")
    return Response(await _predict(request.app.state, model, body), media_type="application/json")


async def _predict(state: State, model: Model, body: bytes) -> bytes:
    """The answer, computed by one of the threads; or a 503 where too many wait for one already."""
    if state.predictions >= state.max_predictions:
        raise Refused(503, f"{MAX_WAITING} predictions wait already: try again later, or another replica.", RETRY)
    state.predictions += 1
    try:
        return await asyncio.get_running_loop().run_in_executor(state.workers, protocol.predict, model, body)
    finally:
        state.predictions -= 1


async def _v2_server(request: Request) -> Response:
    return JSONResponse({"name": NAME, "version": __version__, "extensions": []})


async def _v2_live(request: Request) -> Response:
    return JSONResponse({"live": True})


async def _v2_ready(request: Request) -> Response:
    """Ready once models are loaded (before that nothing listens), and no longer as soon as the end was asked for."""
    ready = not request.app.state.draining
    return JSONResponse({"ready": ready}, status_code=200 if ready else 503)


async def _v2_model(request: Request) -> Response:
    model = _v2_find(request)
    return JSONResponse(protocol.v2_metadata(model, request.app.state.models.versions()[model.name]))


async def _v2_model_ready(request: Request) -> Response:
    ready = not request.app.state.draining
    return JSONResponse({"name": _v2_find(request).name, "ready": ready}, status_code=200 if ready else 503)


def _v2_find(request: Request) -> Any:
    version = request.path_params.get("version")
    if version is not None and not re.fullmatch("[0-9]{1,18}", version):
        raise Refused(404, f"expected a version that is a positive whole number, got '{version[:40]}'.")
    return protocol.find(request.app.state.models, request.path_params["name"], int(version) if version else None)


async def _read_body(request: Request) -> bytes:
    """The whole body, or a 413. What is too much is read and dropped: a client that still sends reads no answer."""
    limit, total, body = request.app.state.max_body_bytes, 0, bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.stream():
                total += len(chunk)
                if total <= limit:
                    body += chunk
                elif total > 64 * limit:
                    break
    except TimeoutError:
        raise Refused(408, f"expected the whole body within {BODY_SECONDS} s, got {total} bytes of it.") from None
    except ClientDisconnect:
        raise Refused(400, "the client left before the end of its request.") from None
    if total > limit:
        raise Refused(
            413, f"expected a body of at most {limit} bytes (--max-body-bytes), got more: send fewer samples."
        )
    return bytes(body)


def _error(status: int, message: str, headers: dict[str, str] | None = None) -> Response:
    return Response(json.dumps({"error": message}), status, headers, media_type="application/json")


async def _refused(request: Request, refused: Refused) -> Response:
    return _error(refused.status, refused.message, refused.headers)


async def _http_exception(request: Request, error: HTTPException) -> Response:
    """Starlette's own 404 and 405, in the protocols' form."""
    headers, what = dict(error.headers or {}), f"{request.method} {request.scope['path'][:200]}"
    if error.status_code == 405:
        return _error(405, f"{what}: expected {headers.get('Allow', 'GET')} here.", headers)
    return _error(error.status_code, f"{what}: there is nothing here; expected an address under /v1/models or /v2.")
