"""The gateway: the one address that clients know. Behind it: predictors by weight, preprocessing, the feedback store.

POST /digits takes what the preprocessing service takes, or {"pixels": […]} (N, 1, 8, 8), and answers the digits.
POST /feedback goes to the store. /v1/models/… and /v2/models/… go to a predictor as they are.

How each service behind it is asked stands in `upstream.py`. A client that sends X-Client-Id meets the same predictor
each time, as long as the weights stay.
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
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from course_lib.services import process
from course_lib.services.process import Refused
from course_lib.services.upstream import Question, Reply, Upstream

LOOKUPS = prometheus_client.Counter("gateway_cache_lookups", "Looked up in the cache", ["found"])
SHADOWED = prometheus_client.Counter("gateway_shadow", "Copies of requests, by what came back", ["answer"])
PASSED_ON = ("Content-Type", "Inference-Header-Content-Length", "Idempotency-Key")


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

    def cache_key(self, chosen: Upstream, question: Question) -> str:
        """All that decides the answer: which server, version of the model, address and input. "": not to be kept."""
        path = question.path
        if not (self.cache and chosen.version and path.endswith(":predict") and "/labels/" not in path):
            return ""
        what = f"{chosen.url} {chosen.version} {path}\n".encode()
        return "digits:" + hashlib.sha256(what + question.body).hexdigest()

    async def predict(self, question: Question, client: str) -> Reply:
        """A predictor's answer, or the cache's; a copy goes to the shadows."""
        chosen = self.choose(client)
        if key := self.cache_key(chosen, question):
            found = None
            with contextlib.suppress(Exception):  # a cache that is away costs time, never an answer
                found = await self.cache.get(key)
            LOOKUPS.labels("yes" if found else "no").inc()
            if found:
                told = {"X-Cache": "hit", "X-Upstream": chosen.name, "X-Model-Version": chosen.version}
                return Reply(200, told, found)
        status, kept, content = await chosen.call(self.wire, question)
        if key and status == 200 and kept.get("X-Model-Version", chosen.version) == chosen.version:
            with contextlib.suppress(Exception):
                await self.cache.set(key, content, ex=self.asked.cache_seconds)
        for shadow in self.shadows:
            if shadow.url == chosen.url:
                continue  # it has answered already: a copy would agree with itself
            if question.method == "POST" and len(self.tasks) < 64 and random.random() < shadow.weight:
                copy = asyncio.create_task(self.compare(shadow, question, content))
                self.tasks.add(copy)
                copy.add_done_callback(self.tasks.discard)
        told = {name: kept[name] for name in ("Content-Type", "X-Model-Version", "Retry-After") if name in kept}
        return Reply(status, told | {"X-Upstream": chosen.name, "X-Cache": "miss"}, content)

    async def compare(self, shadow: Upstream, question: Question, answered: bytes) -> None:
        """Asks a shadow the same question. Nobody waits for it, and whatever it does is only counted."""
        try:
            until = time.monotonic() + self.asked.timeout_ms / 1000
            content = (await shadow.call(self.wire, question._replace(until=until))).content
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
                drawn = Question("POST", "/pixels", request.state.body, headers, until)
                reply = await self.preprocess.call(self.wire, drawn)
                if reply.status != 200:
                    return Response(reply.content, reply.status, media_type="application/json")
                body = orjson.loads(reply.content)
            path, asks = f"/v1/models/{self.asked.model}:predict", orjson.dumps({"instances": body["pixels"]})
            question = Question("POST", path, asks, headers, until)
            status, told, content = await self.predict(question, request.headers.get("X-Client-Id", ""))
            if status != 200:
                return Response(content, status, told)
            answered = {"digits": _digits(content), "request_id": request.state.request_id}
            return process.answer(answered, headers={k: v for k, v in told.items() if k != "Content-Type"})

    async def models(self, request: Request) -> Response:
        body = await process.read_body(request)
        async with self.admitted(request) as (until, headers):
            question = Question(request.method, request.scope["path"], body, headers, until)
            status, told, content = await self.predict(question, request.headers.get("X-Client-Id", ""))
            return Response(content, status, told)

    async def to_feedback(self, request: Request) -> Response:
        if not self.feedback:
            raise Refused(404, "no feedback store")
        await process.json_body(request)
        async with self.admitted(request) as (until, headers):
            safe = "Idempotency-Key" in headers  # only then may it be sent again
            headers["Content-Type"] = "application/json"
            news = Question("POST", "/feedback", request.state.body, headers, until, safe)
            reply = await self.feedback.call(self.wire, news)
            return Response(reply.content, reply.status, media_type="application/json")


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


def weighted(text: str) -> tuple[str, float]:
    """`URL` or `URL=weight` as (URL, weight)."""
    found = re.fullmatch(r"(https?://[^=\s]+?)(?:=(\d+(?:\.\d+)?))?", text)
    if not found:
        raise argparse.ArgumentTypeError(f"expected URL or URL=weight, got '{text}'")
    return found[1], float(found[2] or 1)


NUMBERS = {
    "--timeout-ms": (1000, "longest deadline of a request"),
    "--attempts": (3, "tries for each request and service"),
    "--retry-share": (0.1, "retries that a request earns"),
    "--max-requests": (256, "requests at once; beyond: 429"),
    "--max-under-way": (64, "bulkhead: requests at once to each service"),
    "--breaker-failures": (5, "failures in a row that open the breaker"),
    "--breaker-seconds": (2.0, "how long it stays open"),
    "--cache-seconds": (3600, "how long Redis keeps a prediction"),
    "--version-seconds": (1.0, "how often a predictor is asked for its version, for the cache"),
}


def options() -> argparse.ArgumentParser:
    parser = process.options("gateway", "The one address in front of the services.")
    add = parser.add_argument
    add("--predictor", type=weighted, action="append", required=True, metavar="URL[=WEIGHT]")
    add("--shadow", type=weighted, action="append", default=[], metavar="URL[=SHARE]", help="gets copies, unwaited for")
    add("--preprocess", metavar="URL")
    add("--feedback", metavar="URL")
    add("--model", default="digits_cnn", help="what /digits asks (default: digits_cnn)")
    add("--cache", metavar="ENTRIES|redis://…", help="keep predictions, in this process or in Redis (default: no)")
    for name, (default, what) in NUMBERS.items():
        add(name, type=type(default), default=default, help=f"{what} (default: {default:g})")
    return parser


def main(words: list[str] | None = None) -> int:
    asked = options().parse_args(words)
    gateway, both = Gateway(asked), ["GET", "POST"]
    routes = [
        Route("/digits", gateway.digits, methods=["POST"]),
        Route("/feedback", gateway.to_feedback, methods=["POST"]),
        Route("/v1/models/{rest:path}", gateway.models, methods=both),
        Route("/v2/models/{rest:path}", gateway.models, methods=both),
    ]
    return process.serve(process.application(routes, gateway.lifespan), asked)


if __name__ == "__main__":
    sys.exit(main())
