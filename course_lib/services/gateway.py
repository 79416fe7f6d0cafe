"""The gateway: the one address that clients know. Behind it: predictors by weight, preprocessing, the feedback store.

POST /digits takes what the preprocessing service takes, or {"pixels": […]} (N, 1, 8, 8), and answers the digits.
POST /feedback goes to the store. /v1/models/… and /v2/models/… go to a predictor as they are.

Each service behind it has a bulkhead, a circuit breaker, a time-out within the client's deadline, and retries within a
budget. A client that sends X-Client-Id meets the same predictor each time, as long as the weights stay.
"""

import argparse
import asyncio
import contextlib
import hashlib
import random
import re
import sys
import time
from collections import OrderedDict
from collections.abc import AsyncIterator

import aiohttp
import numpy as np
import orjson
import prometheus_client
import tenacity
from purgatory import AsyncCircuitBreakerFactory
from purgatory.domain.model import OpenedState
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from course_lib.services import process
from course_lib.services.process import DEADLINE, Refused

TRIES = prometheus_client.Counter("gateway_tries", "Requests to a service behind", ["upstream", "outcome"])
TOOK = prometheus_client.Histogram("gateway_try_duration_seconds", "What a try took", ["upstream"])
OPEN = prometheus_client.Gauge("gateway_breaker_open", "1 while a service is not called", ["upstream"])
LOOKUPS = prometheus_client.Counter("gateway_cache_lookups", "Looked up in the cache", ["found"])
SHADOWED = prometheus_client.Counter("gateway_shadow", "Copies of requests, by what came back", ["answer"])
PASSED_ON = ("Content-Type", "Inference-Header-Content-Length", "Idempotency-Key")


class RetryBudget:
    """Each request earns `share` of a retry, up to `reserve`: in the long run retries add no more than that share."""

    def __init__(self, share: float, reserve: float = 10.0) -> None:
        self.share, self.reserve, self.left = share, reserve, reserve

    def earn(self) -> None:
        self.left = min(self.reserve, self.left + self.share)

    def spend(self) -> bool:
        """Takes one retry, or says that none is left."""
        if self.left < 1:
            return False
        self.left -= 1
        return True


class Impatient(Exception):
    """Whoever asks gave the service hardly any time: a failure, but not the service's."""


class TryFailed(Refused):
    """A try that failed. again: whether another one can do no harm."""

    def __init__(self, status: int, message: str, *, again: bool) -> None:
        super().__init__(status, message, {"Retry-After": "1"} if status == 503 else None)
        self.again = again


class Upstream:
    """A service behind the gateway. weight: its share of the requests among its like."""

    def __init__(self, name: str, url: str, asked: argparse.Namespace, weight: float = 1.0) -> None:
        self.name, self.url, self.weight, self.asked = name, url.rstrip("/"), weight, asked
        self.under_way, self.version = 0, ""
        self.budget = RetryBudget(asked.retry_share)
        self.breakers = AsyncCircuitBreakerFactory(
            asked.breaker_failures, asked.breaker_seconds, exclude=[asyncio.CancelledError, Impatient]
        )
        self.breakers.add_listener(self._changed)

    def _changed(self, name: str, kind: str, event: object) -> None:
        if kind == "state_changed":
            OPEN.labels(self.name).set(event.state == "opened")

    async def call(self, wire: aiohttp.ClientSession, method: str, path: str, body: bytes, headers: dict[str, str],
                   until: float, *, safe: bool = True) -> tuple[int, dict[str, str], bytes]:  # fmt: skip
        """Asks the service; returns status, headers and body of what it answered.

        until: the deadline, as time.monotonic() has it. safe: whether the request may be carried out twice.
        Raises Refused: 503 where the bulkhead is full, the breaker open or nobody there; 504 where time ran out.
        """
        if self.under_way >= self.asked.max_under_way:
            TRIES.labels(self.name, "full").inc()
            raise Refused(503, f"{self.name}: {self.under_way} requests are under way already", {"Retry-After": "1"})
        self.under_way += 1
        self.budget.earn()
        clock = time.monotonic

        def once_more(error: BaseException) -> bool:
            may = isinstance(error, TryFailed) and error.status in (502, 503) and (safe or error.again)
            return may and self.budget.spend()

        try:
            async for attempt in tenacity.AsyncRetrying(
                retry=tenacity.retry_if_exception(once_more),
                stop=tenacity.stop_after_attempt(self.asked.attempts) | tenacity.stop_before_delay(until - clock()),
                wait=tenacity.wait_random_exponential(multiplier=0.02, max=0.5),  # full jitter
                reraise=True,
            ):
                with attempt:
                    return await self._try(wire, method, path, body, headers, until - clock())
            raise AssertionError("unreachable: the last try returns or raises")
        finally:
            self.under_way -= 1

    async def _try(self, wire: aiohttp.ClientSession, method: str, path: str, body: bytes, headers: dict[str, str],
                   seconds: float) -> tuple[int, dict[str, str], bytes]:  # fmt: skip
        outcome, clock = "cancelled", time.perf_counter
        start = clock()
        headers = headers | {DEADLINE: str(max(1, int(1000 * seconds)))}
        try:
            async with await self.breakers.get_breaker(self.name):
                try:
                    async with wire.request(
                        method, self.url + path, data=body or None, headers=headers,
                        timeout=aiohttp.ClientTimeout(total=max(seconds, 1e-3)),
                    ) as found:  # fmt: skip
                        content, outcome = await found.read(), str(found.status)
                    if found.status == 504:
                        raise TimeoutError
                except TimeoutError:  # one hasty client must not open the breaker for all
                    raise (Impatient if 4000 * seconds < self.asked.timeout_ms else TimeoutError) from None
                if found.status >= 500:
                    raise TryFailed(found.status, f"{self.name} answered {found.status}: {_said(content)}", again=False)
                return found.status, dict(found.headers), content
        except OpenedState:
            outcome = "open"
            wait = str(max(1, round(self.asked.breaker_seconds)))
            raise Refused(503, f"{self.name} failed too often and is left alone", {"Retry-After": wait}) from None
        except (TimeoutError, Impatient):
            outcome = "timeout"
            raise TryFailed(504, f"{self.name} did not answer within {seconds:.3f} s", again=False) from None
        except aiohttp.ClientConnectorError:
            outcome = "unreachable"
            raise TryFailed(503, f"{self.name} cannot be reached", again=True) from None  # nothing was sent yet
        except aiohttp.ClientError as broken:
            outcome = "broken"
            raise TryFailed(503, f"{self.name} hung up ({type(broken).__name__})", again=False) from None
        finally:
            TRIES.labels(self.name, outcome).inc()
            TOOK.labels(self.name).observe(clock() - start)


class Memory:
    """The last answers, in this process: the one that was used longest ago goes first."""

    def __init__(self, entries: int) -> None:
        self.entries, self.kept = entries, OrderedDict()

    async def get(self, key: str) -> bytes | None:
        if key in self.kept:
            self.kept.move_to_end(key)
        return self.kept.get(key)

    async def set(self, key: str, value: bytes, ex: int) -> None:
        self.kept[key] = value
        self.kept.move_to_end(key)
        if len(self.kept) > self.entries:
            self.kept.popitem(last=False)


class Gateway:
    """What the handlers share."""

    def __init__(self, asked: argparse.Namespace) -> None:
        self.asked, self.under_way, self.tasks = asked, 0, set()
        self.predictors = [Upstream(f"predictor-{i}", url, asked, w) for i, (url, w) in enumerate(asked.predictor)]
        self.shadows = [Upstream(f"shadow-{i}", url, asked, w) for i, (url, w) in enumerate(asked.shadow)]
        self.preprocess = asked.preprocess and Upstream("preprocess", asked.preprocess, asked)
        self.feedback = asked.feedback and Upstream("feedback", asked.feedback, asked)
        self.cache = None
        if asked.cache and asked.cache.isdecimal():
            self.cache = Memory(int(asked.cache))
        elif asked.cache:
            import redis.asyncio

            self.cache = redis.asyncio.from_url(asked.cache, socket_timeout=0.2, socket_connect_timeout=0.2)

    @contextlib.asynccontextmanager
    async def lifespan(self, app: Starlette) -> AsyncIterator[None]:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as self.wire:
            if self.cache:
                await self.look_up_versions()  # before the first request is let in
                self.tasks.add(asyncio.create_task(self.keep_looking()))
            yield
            for each in self.tasks:
                each.cancel()

    async def look_up_versions(self) -> None:
        """Notes each predictor's newest version, which is part of the cache's key."""
        for each in self.predictors:
            with contextlib.suppress(Exception):  # a predictor that is away keeps its last version
                async with self.wire.get(
                    f"{each.url}/v1/models/{self.asked.model}", timeout=aiohttp.ClientTimeout(total=1)
                ) as found:
                    states = (await found.json())["model_version_status"]
                each.version = str(max(int(s["version"]) for s in states if s["state"] == "AVAILABLE"))

    async def keep_looking(self) -> None:
        while True:
            await asyncio.sleep(self.asked.version_seconds)
            await self.look_up_versions()

    def choose(self, client: str) -> Upstream:
        """A predictor: drawn by weight, and the same one for the same client."""
        at = int.from_bytes(hashlib.sha256(client.encode()).digest()[:8]) / 2**64 if client else random.random()
        at *= sum(each.weight for each in self.predictors)
        for each in self.predictors:
            at -= each.weight
            if at < 0:
                return each
        return self.predictors[-1]

    async def predict(self, method: str, path: str, body: bytes, headers: dict[str, str], client: str, until: float
                      ) -> tuple[int, dict[str, str], bytes]:  # fmt: skip
        """A predictor's answer, or the cache's; a copy goes to the shadows."""
        chosen, key = self.choose(client), ""
        if self.cache and chosen.version and path.endswith(":predict") and "/labels/" not in path:
            # What decides the answer: which server, which version of the model, which address, which input.
            what = f"{chosen.url} {chosen.version} {path}".encode()
            key = "digits:" + hashlib.sha256(what + b"\n" + body).hexdigest()
            found = None
            with contextlib.suppress(Exception):  # a cache that is away costs time, never an answer
                found = await self.cache.get(key)
            LOOKUPS.labels("yes" if found else "no").inc()
            if found:
                return 200, {"X-Cache": "hit", "X-Upstream": chosen.name, "X-Model-Version": chosen.version}, found
        status, kept, content = await chosen.call(self.wire, method, path, body, headers, until)
        if key and status == 200 and kept.get("X-Model-Version", chosen.version) == chosen.version:
            with contextlib.suppress(Exception):
                await self.cache.set(key, content, ex=self.asked.cache_seconds)
        for shadow in self.shadows:
            if method == "POST" and len(self.tasks) < 64 and random.random() < shadow.weight:
                copy = asyncio.create_task(self.compare(shadow, path, body, headers, content))
                self.tasks.add(copy)
                copy.add_done_callback(self.tasks.discard)
        told = {name: kept[name] for name in ("Content-Type", "X-Model-Version", "Retry-After") if name in kept}
        return status, told | {"X-Upstream": chosen.name, "X-Cache": "miss"}, content

    async def compare(self, shadow: Upstream, path: str, body: bytes, headers: dict[str, str], answered: bytes) -> None:
        """Asks a shadow the same question. Nobody waits for it, and whatever it does is only counted."""
        try:
            until = time.monotonic() + self.asked.timeout_ms / 1000
            _, _, content = await shadow.call(self.wire, "POST", path, body, headers, until)
            SHADOWED.labels("same" if _classes(content) == _classes(answered) else "different").inc()
        except Exception:
            SHADOWED.labels("failed").inc()

    @contextlib.asynccontextmanager
    async def admitted(self, request: Request) -> AsyncIterator[tuple[float, dict[str, str]]]:
        """Lets a request in, or refuses it (429) where too many are under way. Gives its deadline and its headers."""
        if self.under_way >= self.asked.max_requests:
            raise Refused(429, f"{self.under_way} requests are under way already", {"Retry-After": "1"})
        seconds = process.seconds_left(request, self.asked.timeout_ms / 1000)
        headers = {name: request.headers[name] for name in PASSED_ON if name in request.headers}
        self.under_way += 1
        try:
            yield time.monotonic() + seconds, headers | {"X-Request-Id": request.state.request_id}
        finally:
            self.under_way -= 1

    async def digits(self, request: Request) -> Response:
        body = await process.json_body(request)
        async with self.admitted(request) as (until, headers):
            headers["Content-Type"] = "application/json"
            if "pixels" not in body:
                if not self.preprocess:
                    raise Refused(404, "no preprocessing service: send pixels")
                status, _, content = await self.preprocess.call(
                    self.wire, "POST", "/pixels", request.state.body, headers, until
                )
                if status != 200:
                    return Response(content, status, media_type="application/json")
                body = orjson.loads(content)
            path, asks = f"/v1/models/{self.asked.model}:predict", orjson.dumps({"instances": body["pixels"]})
            client = request.headers.get("X-Client-Id", "")
            status, told, content = await self.predict("POST", path, asks, headers, client, until)
            if status != 200:
                return Response(content, status, told)
            answered = {"digits": _digits(content), "request_id": request.state.request_id}
            return process.answer(answered, headers={k: v for k, v in told.items() if k != "Content-Type"})

    async def models(self, request: Request) -> Response:
        body = await process.read_body(request)
        async with self.admitted(request) as (until, headers):
            client = request.headers.get("X-Client-Id", "")
            return _response(await self.predict(request.method, request.url.path, body, headers, client, until))

    async def to_feedback(self, request: Request) -> Response:
        if not self.feedback:
            raise Refused(404, "no feedback store")
        await process.json_body(request)
        async with self.admitted(request) as (until, headers):
            safe = "Idempotency-Key" in headers  # only then may it be sent again
            headers["Content-Type"] = "application/json"
            status, _, content = await self.feedback.call(
                self.wire, "POST", "/feedback", request.state.body, headers, until, safe=safe
            )
            return Response(content, status, media_type="application/json")


def _response(found: tuple[int, dict[str, str], bytes]) -> Response:
    return Response(found[2], found[0], found[1])


def _digits(content: bytes) -> list[int]:
    """The classes of a predictor's answer. Raises Refused (502) where it is none that a user should get."""
    try:
        rows = np.array(orjson.loads(content)["predictions"], np.float64)
        if rows.ndim == 2 and rows.shape[1] == 10 and np.isfinite(rows).all():
            return rows.argmax(axis=1).tolist()
    except (ValueError, KeyError, TypeError):
        pass
    raise Refused(502, "the predictor's answer is no list of ten finite numbers for each picture")


def _classes(content: bytes) -> object:
    try:
        return _digits(content)
    except Refused:
        return content


def _said(content: bytes) -> str:
    return content[:200].decode(errors="replace")


def weighted(text: str) -> tuple[str, float]:
    """`URL` or `URL=weight` as (URL, weight)."""
    found = re.fullmatch(r"(https?://[^=\s]+?)(?:=(\d+(?:\.\d+)?))?", text)
    if not found:
        raise argparse.ArgumentTypeError(f"expected URL or URL=weight, got '{text}'")
    return found[1], float(found[2] or 1)


def main(words: list[str] | None = None) -> int:
    parser = process.options("gateway", "The one address in front of the services.")
    add = parser.add_argument
    add("--predictor", type=weighted, action="append", required=True, metavar="URL[=WEIGHT]")
    add(
        "--shadow",
        type=weighted,
        action="append",
        default=[],
        metavar="URL[=SHARE]",
        help="gets copies; not waited for",
    )
    add("--preprocess", metavar="URL")
    add("--feedback", metavar="URL")
    add("--model", default="digits_cnn", help="what /digits asks (default: digits_cnn)")
    add("--timeout-ms", type=int, default=1000, help="longest deadline of a request (default: 1000)")
    add("--attempts", type=int, default=3, help="tries for each request and service (default: 3)")
    add("--retry-share", type=float, default=0.1, help="retries that a request earns (default: 0.1)")
    add("--max-requests", type=int, default=256, help="requests at once; beyond: 429 (default: 256)")
    add("--max-under-way", type=int, default=64, help="bulkhead: requests at once to each service (default: 64)")
    add("--breaker-failures", type=int, default=5, help="failures in a row that open the breaker (default: 5)")
    add("--breaker-seconds", type=float, default=2, help="how long it stays open (default: 2)")
    add("--cache", metavar="ENTRIES|redis://…", help="keep predictions, in this process or in Redis (default: no)")
    add("--cache-seconds", type=int, default=3600)
    add("--version-seconds", type=float, default=1, help="how often a predictor is asked for its version (default: 1)")
    asked = parser.parse_args(words)
    gateway = Gateway(asked)
    methods = ["GET", "POST"]
    app = process.application(
        [
            Route("/digits", gateway.digits, methods=["POST"]),
            Route("/feedback", gateway.to_feedback, methods=["POST"]),
            Route("/v1/models/{rest:path}", gateway.models, methods=methods),
            Route("/v2/models/{rest:path}", gateway.models, methods=methods),
        ],
        gateway.lifespan,
    )
    return process.serve(app, asked)


if __name__ == "__main__":
    sys.exit(main())
