"""What is asked: addresses, methods, sizes, time-outs, request ids, one line in the log and a count for each request.

It knows whole requests, whatever reads them (`connection`) and however they came.
"""

import asyncio
import re
import socket
import time
import uuid
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import orjson

from course_lib import __version__
from course_lib.serving import open_inference, tf_serving
from course_lib.serving.batching import Batcher
from course_lib.serving.errors import Refused
from course_lib.serving.limits import Limits
from course_lib.serving.models import Feeds, Model
from course_lib.serving.store import Served, Store
from course_lib.serving.telemetry import Log, Metrics
from course_lib.serving.tracing import Span, Tracing

NAME = "course model server"
PARSED_ASIDE = 1 << 16
"""Bodies from this size are parsed beside the event loop, which would stand still for some milliseconds."""
RETRY = {"Retry-After": "1"}
V2_ADDRESS = re.compile("/v2/models/(?P<name>[^/]+)(?:/versions/(?P<version>[^/]+))?(?:/(?P<verb>infer|ready))?")
TRACED = ("/v1/", "/v2/models/")
REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
HOST = socket.gethostname().encode()
"""Sent with each answer, so that a client behind a load balancer can tell which replica it met: the pod's name."""
JSON_TYPE, BINARY_TYPE, METRICS_TYPE = b"application/json", b"application/octet-stream", b"text/plain; version=0.0.4"
OPENMETRICS_TYPE = b"application/openmetrics-text; version=1.0.0; charset=utf-8"


@dataclass(slots=True)
class Request:
    """One whole request, how it is answered, and what its log line and its metrics will tell.

    headers: by their names in small letters. body: None where it is larger than the limit. started: when its head was
    there (time.perf_counter). reply: takes the answer. keep: whether its connection stays open for another request.
    span: None where it is not traced.
    """

    method: str
    path: str
    headers: dict[bytes, bytes]
    body: bytes | None
    started: float
    reply: Callable[["Response"], None]
    keep: bool = True
    id: str = ""
    model: Model | None = None
    protocol: str = ""
    steps: Coroutine[None, None, "Response"] | None = None
    span: Span | None = None


@dataclass(slots=True)
class Response:
    """status, body, and the headers: at first those beside the ones that every answer has, then all."""

    body: bytes
    content_type: bytes = JSON_TYPE
    status: int = 200
    headers: tuple[tuple[bytes, bytes], ...] = ()


class App:
    """The application: `take` gets a request, whose `reply` gets the answer, at once or later.

    `draining = True` makes readiness fall; everything else goes on answering.
    """

    def __init__(self, store: Store, log: Log, limits: Limits, tracing: Tracing | None = None) -> None:
        self.store, self.draining = store, False
        self._log, self._limits, self._tracing = log, limits, tracing
        metrics = lambda model: self._metrics.of(model.name, str(model.version))  # noqa: E731
        self._batcher = Batcher(limits, metrics, self._go_on, tracing and tracing.batched)
        self._metrics = Metrics(self._batcher.waiting, log)
        self._ids, self._id = f"{uuid.uuid4().hex[:12]}-", 0

    def take(self, request: Request) -> None:
        """Begins a request. An error of our own becomes a 500 with the id under which the log tells it."""
        request.id = self._request_id(request)
        if self._tracing and request.path.startswith(TRACED):
            header = request.headers.get(b"traceparent", b"").decode("latin-1")
            request.span = self._tracing.begin(header, request.started)
        request.steps = self._answer(request)
        self._go_on([request])

    def give_up(self, request: Request, status: int, message: str) -> None:
        """Answers a request that waits with this error; what has not begun of it is not computed."""
        if response := self._step(request, Refused(status, message, RETRY)):
            self._reply([(request, response)])

    def refused(self, status: int, message: str) -> None:
        """Counts and logs a request that never came in whole, which its connection has refused."""
        self._metrics.of("", "").requests["", status] += 1
        self._log.write("warning", "request refused", status=status, reason=message)

    def _go_on(self, requests: list[Request]) -> None:
        """Each of them goes on to its next wait or to its answer. An asyncio task for each would cost more than what
        most of them compute. One that was given up has nothing to go on with."""
        steps = [(request, self._step(request)) for request in requests if request.steps]
        self._reply([(request, response) for request, response in steps if response])

    def _step(self, request: Request, stop: Refused | None = None) -> Response | None:
        """The response, or None where the request waits. stop: raised where it waits."""
        try:
            request.steps.throw(stop) if stop else request.steps.send(None)
            return None
        except StopIteration as end:
            response = end.value
        except Refused as refused:
            response = _error(refused.status, refused.message, refused.headers)
        except Exception as error:
            self._log.failure("internal error", error, request_id=request.id)
            response = _error(500, f"internal error; the log has it under request id {request.id}.")
        request.steps = None
        return response

    def _reply(self, answered: list[tuple[Request, Response]]) -> None:
        """Counts what was answered, writes its lines into the log, all at once, and hands it over."""
        lines = []
        for request, response in answered:
            name, version = (request.model.name, str(request.model.version)) if request.model else ("", "")
            response.headers = (
                (b"content-type", response.content_type),
                (b"content-length", b"%d" % len(response.body)),
                (b"x-request-id", request.id.encode()),
                (b"x-served-by", HOST),
                *response.headers,
                *(((b"x-model-version", version.encode()),) if version else ()),
            )
            seconds = time.perf_counter() - request.started
            metrics = self._metrics.of(name, version)
            metrics.requests[request.protocol, response.status] += 1
            told = {"request_id": request.id, "method": request.method[:20], "path": request.path[:200]}
            told |= {"status": response.status, "duration_ms": round(seconds * 1000, 2)}
            if span := request.span:
                told |= span.in_log
                said = {"http.response.status_code": response.status, "model.name": name, "model.version": version}
                span.end(name=request.protocol, error=response.status >= 500, attributes=said)
            metrics.seconds.observe(seconds, span.trace_id if span and span.kept else "")
            lines.append(told)
        self._log.write_all("info", "request", lines)
        for request, response in answered:
            request.reply(response)

    def _request_id(self, request: Request) -> str:
        given = request.headers.get(b"x-request-id")
        if given is not None and REQUEST_ID.fullmatch(given := given.decode("latin-1")):
            return given
        self._id += 1
        return f"{self._ids}{self._id}"

    async def _answer(self, request: Request) -> Response:
        path = request.path
        if path.startswith("/v1/"):
            request.protocol = "v1"
            return await self._v1(request)
        if path.startswith("/v2/models/") and (address := V2_ADDRESS.fullmatch(path)):
            request.protocol = "v2"
            return await self._v2(request, address)
        simple = {
            "/": self._index,
            "/v2": lambda: _json({"name": NAME, "version": __version__, "extensions": ["binary_tensor_data"]}),
            "/v2/health/live": lambda: _json({"live": True}),
            "/v2/health/ready": self._ready,
            "/metrics": lambda: self._exposed(b"application/openmetrics-text" in request.headers.get(b"accept", b"")),
        }
        if path not in simple:
            message = "there is nothing here; expected an address under /v1/models or /v2, or /metrics."
            raise Refused(404, f"{request.method} {path[:200]}: {message}")
        _allow(request, "GET", "HEAD")
        return simple[path]()

    async def _v1(self, request: Request) -> Response:
        """TensorFlow Serving's API: by its rules, an address that it does not know is a 400, not a 404."""
        address = tf_serving.read_address(request.path)
        verb = address and address["verb"]
        if verb:
            _allow(request, "POST")
        elif request.method != "POST":
            _allow(request, "GET", "HEAD", "POST")
        if not address or (request.method == "POST" and not verb):
            expected = "POST /v1/models/NAME[/versions/N|/labels/L]:predict or GET /v1/models/NAME[…][/metadata]"
            raise Refused(400, f"Malformed request: {request.method} {request.path[:200]}. Expected {expected}.")
        if not address["name"]:
            raise Refused(400, f"Missing model name in request. This server has {self.store}.")
        if not verb and not address["metadata"]:
            return _json(tf_serving.status(self.store, address))
        request.model = model = tf_serving.find(self.store, address)
        if not verb:
            return _json(tf_serving.metadata(model))
        if verb != "predict":
            message = f"Expected {verb} signature method_name to be tensorflow/serving/{verb}. Was: tensorflow/serving/predict"
            raise Refused(400, f"{message}. This model answers :predict.")
        body = self._body(request)
        feeds, rows = await self._aside(request, tf_serving.parse, model, body)
        samples = model.check(feeds)
        answer = await self._compute(request, feeds, samples)
        return Response(tf_serving.answer(answer, rows, samples))

    async def _v2(self, request: Request, address: re.Match[str]) -> Response:
        name, version, verb = address["name"], address["version"], address["verb"]
        _allow(request, *(["POST"] if verb == "infer" else ["GET", "HEAD"]))
        request.model = model = open_inference.find(self.store, name, version)
        if verb == "ready":
            return _json({"name": name, "ready": True})
        if not verb:
            return _json(open_inference.metadata(model, list(self.store.models.get(name, Served()).versions)))
        body = self._body(request)
        header = request.headers.get(open_inference.HEADER.encode())
        header = None if header is None else header.decode("latin-1")
        asked = await self._aside(request, open_inference.parse, model, body, header)
        samples = model.check(asked.inputs)
        answer = await self._compute(request, asked.inputs, samples, asked.timeout_ms)
        content, json_length = open_inference.answer(model, asked, answer)
        if json_length is None:
            return Response(content)
        headers = ((open_inference.HEADER.encode(), str(json_length).encode()),)
        return Response(content, BINARY_TYPE, headers=headers)

    async def _compute(self, request: Request, feeds: Feeds, samples: int, timeout_ms: float | None = None) -> Feeds:
        given = request.headers.get(b"x-request-timeout-ms")
        if given is not None:
            if not (given.isdigit() and len(given) < 10 and int(given)):
                got = given.decode("latin-1")[:20]
                raise Refused(400, f"X-Request-Timeout-Ms expects whole milliseconds from 1, got '{got}'.")
            timeout_ms = min(timeout_ms or int(given), int(given))
        seconds = min(self._limits.timeout_seconds, timeout_ms / 1000 if timeout_ms else self._limits.timeout_seconds)
        served = self.store.models.get(request.model.name)
        return await self._batcher.compute(
            request.model, feeds, samples, seconds, served.max_batch_size if served else None, request
        )

    def _body(self, request: Request) -> bytes:
        encoding = request.headers.get(b"content-encoding", b"identity")
        if encoding.lower() != b"identity":
            got = encoding.decode("latin-1")[:40]
            raise Refused(415, f"expected a body without Content-Encoding, got {got}: send it as it is.")
        if request.body is None:
            limit = f"at most {self._limits.max_body_bytes} bytes (--max-body-bytes)"
            raise Refused(413, f"expected a body of {limit}, got more: send fewer samples.")
        return request.body

    async def _aside(self, request: Request, parse: Callable, *arguments: Any) -> Any:
        """Calls `parse`, beside the event loop where the body is large."""
        if len(request.body) < PARSED_ASIDE:
            return parse(*arguments)
        parsed = asyncio.get_running_loop().run_in_executor(None, parse, *arguments)
        parsed.add_done_callback(lambda _: self._go_on([request]))
        return await parsed

    def _versions(self) -> dict[str, list[int]]:
        return {name: list(served.versions) for name, served in self.store.models.items()}

    def _refused(self) -> dict[str, list[int]]:
        return {name: list(served.refused) for name, served in self.store.models.items() if served.refused}

    def _exposed(self, exemplars: bool) -> Response:
        text = self._metrics.expose(self._versions(), self._refused(), self.store.looked_at, exemplars)
        return Response(text, OPENMETRICS_TYPE if exemplars else METRICS_TYPE)

    def _index(self) -> Response:
        labels = {name: served.labels for name, served in self.store.models.items() if served.labels}
        told = {"name": NAME, "version": __version__, "models": self._versions(), "labels": labels}
        return _json({**told, "default_version": "latest"})

    def _ready(self) -> Response:
        """Ready once models are loaded (before that nobody is answered), and no longer as soon as the end was asked for."""
        told = {"ready": not self.draining} | ({"refused": refused} if (refused := self._refused()) else {})
        return Response(orjson.dumps(told), status=503 if self.draining else 200)


def _allow(request: Request, *methods: str) -> None:
    if request.method not in methods:
        expected = " or ".join(method for method in methods if method != "HEAD")
        message = f"{request.method} {request.path[:200]}: expected {expected} here."
        raise Refused(405, message, {"Allow": ", ".join(methods)})


def _json(value: Any) -> Response:
    return Response(orjson.dumps(value))


def _error(status: int, message: str, headers: dict[str, str] | None = None) -> Response:
    pairs = tuple((name.lower().encode(), value.encode()) for name, value in (headers or {}).items())
    # A path may hold what no UTF-8 can: half of a surrogate pair, say.
    message = message.encode("utf-8", "replace").decode()
    return Response(orjson.dumps({"error": message or HTTPStatus(status).phrase}), status=status, headers=pairs)
