"""The language model behind an API in OpenAI's form: POST /v1/completions, GET /v1/models (lesson 26).

python -m course_lib.language.server --host 127.0.0.1 --port 8600
"""

import argparse
import asyncio
import codecs
import contextlib
import json
import math
import os
import time
import uuid
from collections.abc import AsyncIterator

import prometheus_client
import torch
import uvicorn
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect
from starlette.requests import Request as Call
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from course_lib import models
from course_lib.language.engine import Engine, Request
from course_lib.language.model import load
from course_lib.language.text import Pieces

NAME = "manual_lm"
FIELDS = {"model", "prompt", "max_tokens", "temperature", "seed", "stream", "stream_options", "user", "n"}
MOST_BYTES = 65_536
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Refused(Exception):
    """A request that is not answered: (message, status, code)."""


def _told(text: str) -> str:
    """What came, safe to send back: short, and without halves of surrogate pairs."""
    return (text if len(text) <= 200 else text[:200] + "…").encode("utf-8", "backslashreplace").decode()


class Metrics:
    """What /metrics shows."""

    def __init__(self, engine: Engine) -> None:
        self.registry = kept = prometheus_client.CollectorRegistry()
        self.first = prometheus_client.Histogram("lm_time_to_first_token_seconds", "From request to first token", buckets=SECONDS, registry=kept)  # fmt: skip
        self.token = prometheus_client.Histogram("lm_time_per_output_token_seconds", "Mean of a request, after its first token", buckets=SECONDS, registry=kept)  # fmt: skip
        self.tokens = prometheus_client.Counter("lm_tokens", "Tokens read and made", ["kind"], registry=kept)
        self.requests = prometheus_client.Counter("lm_requests", "By outcome", ["outcome"], registry=kept)
        running = prometheus_client.Gauge("lm_requests_running", "Requests that hold a slot", registry=kept)
        running.set_function(lambda: len(engine.running))
        waiting = prometheus_client.Gauge("lm_requests_waiting", "Requests without a slot", registry=kept)
        waiting.set_function(lambda: len(engine.waiting))


def wanted(body: object, pieces: Pieces, capacity: int) -> tuple[Request, dict]:
    """The request that a JSON body asks for, and the body itself. Raises Refused: what was expected, and what came."""
    if not isinstance(body, dict):
        raise Refused(f"expected a JSON object, got {type(body).__name__}", 400, "invalid_type")
    if unknown := sorted(body.keys() - FIELDS):
        got = _told(", ".join(unknown))
        raise Refused(f"expected only {', '.join(sorted(FIELDS))}, got {got}", 400, "unsupported_parameter")
    if body.get("model") != NAME:
        raise Refused(f"expected the model {NAME}, got {_told(repr(body.get('model')))}", 404, "model_not_found")

    def number(name: str, default: float | None, low: float, high: float, *types: type) -> float | None:
        value = default if body.get(name) is None else body[name]
        if value is not None and (type(value) not in types or not low <= value <= high):
            kind = "a number" if float in types else "a whole number"
            raise Refused(
                f"{name}: expected {kind} from {low} to {high}, got {_told(repr(value))}", 400, "invalid_value"
            )
        return value

    limit = number("max_tokens", 16, 1, capacity - 1, int)
    temperature = number("temperature", 1.0, 0, 2, int, float)
    seed = number("seed", None, 0, 2**63 - 1, int)
    number("n", 1, 1, 1, int)
    options = body.get("stream_options") or {}
    if type(body.get("stream") or False) is not bool or not isinstance(options, dict):
        raise Refused("expected stream as true or false, and stream_options as an object", 400, "invalid_type")
    prompt = body.get("prompt")
    if not isinstance(prompt, str) or not prompt:
        raise Refused(f"prompt: expected a text that is not empty, got {str(prompt)[:40]!r}", 400, "invalid_value")
    try:
        least = math.ceil(len(prompt.encode()) / pieces.longest)
    except UnicodeEncodeError:
        raise Refused("prompt: expected text, got half of a surrogate pair", 400, "invalid_value") from None
    # Encoding a long word takes time with the square of its length, and every other stream waits meanwhile.
    hopeless = least + limit > capacity
    tokens = [] if hopeless else pieces.encode(prompt)
    if hopeless or len(tokens) + limit > capacity:
        count = f"{least} or more" if hopeless else f"{len(tokens)}"
        said = f"expected at most {capacity} tokens in all, got {count} in the prompt and max_tokens {limit}"
        raise Refused(said, 400, "context_length_exceeded")
    return Request(tokens, limit, temperature, seed), body


class Service:
    """The handlers, and the task that steps the engine."""

    def __init__(self, engine: Engine, pieces: Pieces, most_waiting: int) -> None:
        self.engine, self.pieces, self.most_waiting = engine, pieces, most_waiting
        self.metrics, self.wake = Metrics(engine), asyncio.Event()
        self.inboxes: dict[Request, asyncio.Queue[int]] = {}

    async def work(self) -> None:
        """Steps while anybody waits. The thread computes; only this loop touches the rest."""
        while True:
            if not (self.engine.running or self.engine.waiting):
                self.wake.clear()
                await self.wake.wait()
            for request, token in await asyncio.to_thread(self.engine.step):
                if request in self.inboxes:
                    self.inboxes[request].put_nowait(token)

    async def tokens(self, request: Request) -> AsyncIterator[int]:
        """The request's tokens as they are made, with the metrics."""
        began = first = time.perf_counter()
        self.metrics.tokens.labels("prompt").inc(len(request.prompt))
        for count in range(request.limit):
            yield await self.inboxes[request].get()
            self.metrics.tokens.labels("generated").inc()
            if not count:
                first = time.perf_counter()
                self.metrics.first.observe(first - began)
        if request.limit > 1:
            self.metrics.token.observe((time.perf_counter() - first) / (request.limit - 1))

    async def completions(self, call: Call) -> Response | None:
        """POST /v1/completions. A client that leaves frees its slot."""
        try:
            request, body = wanted(await _json(call), self.pieces, self.engine.cache.keys.shape[3])
            if len(self.engine.waiting) >= self.most_waiting:
                raise Refused(f"{self.most_waiting} requests wait already: try again later", 429, "rate_limit_exceeded")
        except Refused as why:
            self.metrics.requests.labels("refused").inc()
            return _error(*why.args)
        self.inboxes[request] = asyncio.Queue()
        self.engine.waiting.append(request)
        self.wake.set()
        return Answer(self, request, body)


class Answer(Response):
    """Sends tokens as events (stream) or all at once, and notices meanwhile if the client leaves."""

    def __init__(self, service: Service, request: Request, body: dict) -> None:
        self.service, self.request, self.stream = service, request, bool(body.get("stream"))
        self.with_usage = bool((body.get("stream_options") or {}).get("include_usage"))
        kind = "text_completion"
        self.head = {"id": f"cmpl-{uuid.uuid4().hex}", "object": kind, "created": int(time.time()), "model": NAME}

    async def __call__(self, scope: dict, receive, send) -> None:  # noqa: ANN001
        async def left() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass

        tasks = [asyncio.create_task(self._send(scope, receive, send)), asyncio.create_task(left())]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            self.request.gone = True
            self.service.inboxes.pop(self.request, None)
        failed = tasks[0].exception() if tasks[0] in done else ClientDisconnect()
        left_early = isinstance(
            failed, OSError | ClientDisconnect
        )  # uvicorn raises an OSError where nobody reads any more
        outcome = "cancelled" if left_early else "failed" if failed else "answered"
        self.service.metrics.requests.labels(outcome).inc()
        if outcome == "failed":
            raise failed

    def _chunk(self, text: str, reason: str | None = None) -> dict:
        return self.head | {"choices": [{"index": 0, "text": text, "logprobs": None, "finish_reason": reason}]}

    async def _send(self, scope: dict, receive, send) -> None:  # noqa: ANN001
        text, pieces = codecs.getincrementaldecoder("utf-8")("replace"), self.service.pieces
        read, made = len(self.request.prompt), self.request.limit
        usage = {"prompt_tokens": read, "completion_tokens": made, "total_tokens": read + made}
        if not self.stream:
            tokens = [token async for token in self.service.tokens(self.request)]
            answer = self._chunk(pieces.decode(tokens), "length") | {"usage": usage}
            await JSONResponse(answer)(scope, receive, send)
            return

        async def event(data: object, more: bool = True) -> None:
            line = data if isinstance(data, str) else json.dumps(data)
            await send({"type": "http.response.body", "body": f"data: {line}\n\n".encode(), "more_body": more})

        headers = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-cache")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        async for token in self.service.tokens(self.request):
            if said := text.decode(pieces.bytes[token]):  # half a character waits for its other half
                await event(self._chunk(said))
        await event(self._chunk(text.decode(b"", True), "length"))
        if self.with_usage:
            await event(self.head | {"choices": [], "usage": usage})
        await event("[DONE]", more=False)


async def _json(call: Call) -> object:
    body = b""
    try:
        async for piece in call.stream():
            body += piece
            if len(body) > MOST_BYTES:
                raise Refused(f"expected at most {MOST_BYTES} bytes", 413, "request_too_large")
        return json.loads(body)
    except (ValueError, RecursionError) as wrong:
        raise Refused(f"expected JSON: {wrong}", 400, "invalid_json") from None
    except ClientDisconnect:
        raise Refused("the client left", 400, "gone") from None


def _error(message: str, status: int, code: str) -> JSONResponse:
    kind = "rate_limit_error" if status == 429 else "invalid_request_error"
    headers = {"Retry-After": "1"} if status == 429 else None
    return JSONResponse({"error": {"message": message, "type": kind, "param": None, "code": code}}, status, headers)


def app(slots: int, most_waiting: int) -> Starlette:
    """The service as an application. slots: how many requests run at once. most_waiting: how many more may wait."""
    torch.set_num_threads(1)
    engine = Engine(load(models.path(NAME, 1, "model.npz")), slots)
    service = Service(engine, Pieces.load(models.path(NAME, 1, "pieces.json")), most_waiting)

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        task = asyncio.create_task(service.work())
        # A service that makes no more tokens must not stay: whoever started it starts it again.
        task.add_done_callback(lambda ended: ended.cancelled() or (ended.print_stack(), os._exit(1)))
        yield
        task.cancel()

    def listed(_: Call) -> Response:
        return JSONResponse(
            {"object": "list", "data": [{"id": NAME, "object": "model", "created": 0, "owned_by": "course"}]}
        )

    def metrics(_: Call) -> Response:
        return Response(
            prometheus_client.generate_latest(service.metrics.registry), media_type="text/plain; version=0.0.4"
        )

    def missing(call: Call, _: Exception) -> Response:
        return _error(
            f"expected POST /v1/completions or GET /v1/models, got {call.method} {call.url.path}", 404, "not_found"
        )

    routes = [
        Route("/v1/completions", service.completions, methods=["POST"]),
        Route("/v1/models", listed),
        Route("/metrics", metrics),
        Route("/v2/health/ready", lambda _: Response("ready")),
    ]
    return Starlette(routes=routes, lifespan=lifespan, exception_handlers={404: missing, 405: missing})


def main() -> None:
    """Reads the options and serves."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--host", default="127.0.0.1")
    options.add_argument("--port", type=int, default=8600)
    options.add_argument("--slots", type=int, default=8)
    options.add_argument("--most-waiting", type=int, default=64)
    told = options.parse_args()
    uvicorn.run(
        app(told.slots, told.most_waiting), host=told.host, port=told.port, log_level="warning", access_log=False
    )


if __name__ == "__main__":
    main()
