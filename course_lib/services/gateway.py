"""The gateway: the one address that clients know. Behind it: predictors by weight, preprocessing, the feedback store.

POST /digits takes what the preprocessing service takes, or {"pixels": […]} (N, 1, 8, 8), and answers the digits.
POST /feedback goes to the store. /, /v1/… and /v2/… go to a predictor as they are, and its answers come back as they are:
every header but those of one connection, every status, every byte. /v2/health/… and /metrics speak of the gateway itself.

A request goes to a predictor by weight, and to the same one for each X-Client-Id as long as the weights stay. Where that
one fails, is left alone or is full, another one stands in: only one whose weight is as large or larger. So two equal
ones stand in for each other, the stable version answers for a candidate that fails, and no more clients meet the candidate
than its weight says, whatever happens to the stable version. A weight of 0 is never asked. What failed is counted where
it failed (`gateway_tries_total`, by upstream and outcome), though the client saw nothing of it.

How each service behind it is asked stands in `upstream.py`, when it is left alone in `breaker.py`.
"""

import argparse
import asyncio
import contextlib
import hashlib
import random
import re
import sys
import time
from collections.abc import AsyncIterator
from urllib.parse import quote

import aiohttp
import orjson
import prometheus_client
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from course_lib.services import access, process
from course_lib.services.answers import Memory, digits, same
from course_lib.services.process import DEADLINE, Refused
from course_lib.services.upstream import Headers, Question, Reply, Upstream, ask, travelling

LOOKUPS = prometheus_client.Counter("gateway_cache_lookups", "Looked up in the cache", ["found"])
ANSWERED = prometheus_client.Counter("gateway_digits", "Pictures that /digits named", ["digit", "version"])
SURE = prometheus_client.Histogram(
    "gateway_confidence", "Probability of the digit that was named", ["version"],
    buckets=(0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 0.999),
)  # fmt: skip
SHADOWED = prometheus_client.Counter("gateway_shadow", "Copies of requests, by what came back", ["answer"])
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
NOT_PASSED_ON = (b"host", b"content-length", b"expect", b"x-request-id", DEADLINE.lower().encode())
"""What the gateway says in its own words, or has done already (Expect)."""
SAFE = "/:?#[]@!$&'()*+,;=%~"
"""Characters that stand for themselves in an address; all of them are ASCII."""
OWN = (b"x-upstream", b"x-cache")
ABOUT_THE_BODY = (b"content-", b"accept", b"inference-header-", b"if-", b"range")
"""How the names of headers begin that mean a body which the gateway takes apart, and not the one that it sends on."""
JSON = (b"Content-Type", b"application/json")


class Gateway:
    """What the handlers share."""

    def __init__(self, asked: argparse.Namespace) -> None:
        self.asked, self.under_way, self.tasks = asked, 0, set()
        self.stays = NOT_PASSED_ON + (access.SECRETS if asked.access else ())
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
        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0), cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False
        ) as self.wire:
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

    def line(self, client: str) -> list[Upstream]:
        """A predictor, drawn by weight, and the same one for the same client; then those that may stand in for it."""
        at = int.from_bytes(hashlib.sha256(client.encode()).digest()[:8]) / 2**64 if client else random.random()
        weighing = [each for each in self.predictors if each.weight]
        at *= sum(each.weight for each in weighing)
        for chosen in weighing:
            at -= chosen.weight
            if at < 0:
                break
        others = [each for each in weighing if each is not chosen and each.weight >= chosen.weight]
        turn = int(-at / chosen.weight * len(others))  # spreads the clients of one that is away over all others
        return [chosen, *others[turn:], *others[:turn]]

    def cache_key(self, chosen: Upstream, question: Question) -> str:
        """All that decides the answer: which server, version of the model, address and input. "": not to be kept."""
        path = question.target
        if not (self.cache and chosen.version and path.endswith(":predict") and "/labels/" not in path):
            return ""
        what = f"{chosen.url} {chosen.version} {path}\n".encode()
        return "digits:" + hashlib.sha256(what + question.body).hexdigest()

    async def predict(self, question: Question, client: str) -> Reply:
        """A predictor's answer, or the cache's; a copy goes to the shadows."""
        line = self.line(client)
        chosen = line[0]
        if key := self.cache_key(chosen, question):
            try:
                found = await self.cache.get(key)
                LOOKUPS.labels("yes" if found else "no").inc()
            except Exception:  # a cache that is away costs time, never an answer
                found = None
                LOOKUPS.labels("failed").inc()
            if found:
                version = (b"X-Model-Version", chosen.version.encode())
                return Reply(200, [JSON, version, *_told(chosen, "hit")], found)
        who, reply = await ask(self.wire, line, question, self.asked)
        of_the_newest = who is chosen and (reply.header(b"x-model-version") or chosen.version) == chosen.version
        if key and reply.status == 200 and of_the_newest and not reply.header(b"content-encoding"):
            with contextlib.suppress(Exception):
                await self.cache.set(key, reply.content, ex=self.asked.cache_seconds)
        for shadow in self.shadows:
            if shadow.url == who.url:
                continue  # it has answered already: a copy would agree with itself
            if question.method == "POST" and len(self.tasks) < 64 and random.random() < shadow.weight:
                copy = asyncio.create_task(self.compare(shadow, question, reply))
                self.tasks.add(copy)
                copy.add_done_callback(self.tasks.discard)
        told = [pair for pair in reply.headers if pair[0].lower() not in OWN]
        return reply._replace(headers=told + _told(who, "miss"))

    async def compare(self, shadow: Upstream, question: Question, answered: Reply) -> None:
        """Asks a shadow the same question. Nobody waits for it, and whatever it does is only counted."""
        try:
            until = time.monotonic() + self.asked.timeout_ms / 1000
            _, reply = await ask(self.wire, [shadow], question._replace(until=until, hasty=False), self.asked)
            found = "failed" if reply.status >= 500 else "same" if same(reply, answered) else "different"
        except Exception:
            found = "failed"
        SHADOWED.labels(found).inc()

    @contextlib.asynccontextmanager
    async def admitted(self, request: Request, body: bytes) -> AsyncIterator[Question]:
        """Lets a request in, or refuses it (429) where too many are under way. Gives what a service is to be asked."""
        if self.under_way >= self.asked.max_requests:
            raise Refused(429, f"{self.under_way} requests are under way already", {"Retry-After": "1"})
        most = self.asked.timeout_ms / 1000
        seconds = process.seconds_left(request, most)
        span = request.state.span  # from here on it is the parent
        but = (b"traceparent",) if span and span.continues else (b"traceparent", b"tracestate") if span else ()
        headers = travelling(request.headers.raw, but=self.stays + but)
        headers += [(b"X-Request-Id", request.state.request_id.encode()), (b"Via", b"1.1 gateway")]
        target = quote(request.scope["raw_path"] + b"?" * bool(query := request.scope["query_string"]) + query, SAFE)
        self.under_way += 1
        try:
            until = time.monotonic() + seconds
            yield Question(request.method, target, body, headers, until, hasty=seconds < most, span=span)
        finally:
            self.under_way -= 1

    async def digits(self, request: Request) -> Response:
        body = await process.json_body(request)
        async with self.admitted(request, request.state.body) as came:
            question = came._replace(headers=_of_our_body(came.headers))
            if "pixels" not in body:
                if not self.preprocess:
                    raise Refused(404, "no preprocessing service: send pixels")
                drawn = question._replace(target="/pixels")
                _, reply = await ask(self.wire, [self.preprocess], drawn, self.asked)
                if reply.status != 200:
                    return _response(reply)
                body = orjson.loads(reply.content)
            asks = question._replace(
                target=f"/v1/models/{quote(self.asked.model)}:predict", body=orjson.dumps({"instances": body["pixels"]})
            )
            reply = await self.predict(asks, request.headers.get("X-Client-Id", ""))
            if reply.status != 200:
                return _response(reply)
            named, sure = digits(reply.content)
            _count(named, sure, reply.header(b"x-model-version") or "")
            found = {"digits": named, "request_id": request.state.request_id}
            return _response(reply._replace(headers=_of_our_body(reply.headers), content=orjson.dumps(found)))

    async def models(self, request: Request) -> Response:
        body = await process.read_body(request)
        async with self.admitted(request, body) as question:
            return _response(await self.predict(question, request.headers.get("X-Client-Id", "")))

    async def to_feedback(self, request: Request) -> Response:
        if not self.feedback:
            raise Refused(404, "no feedback store")
        await process.json_body(request)
        async with self.admitted(request, request.state.body) as question:
            safe = "Idempotency-Key" in request.headers  # only then may it be sent again
            news = question._replace(target="/feedback", headers=_of_our_body(question.headers), safe=safe)
            return _response((await ask(self.wire, [self.feedback], news, self.asked))[1])


def _count(named: list[int], sure: list[float], version: str) -> None:
    """The model's own numbers: what it said, and how sure it was. Labels are bounded: a version is a number, or ""."""
    version = version if re.fullmatch(r"\d{1,9}", version) else ""
    for digit, probability in zip(named, sure):
        ANSWERED.labels(digit, version).inc()
        SURE.labels(version).observe(probability)


def _of_our_body(headers: Headers) -> Headers:
    """These headers beside a body of JSON that is another one than they came with."""
    return [pair for pair in headers if not pair[0].lower().startswith(ABOUT_THE_BODY)] + [JSON]


def _told(who: Upstream, cache: str) -> Headers:
    return [(b"X-Upstream", who.name.encode()), (b"X-Cache", cache.encode())]


def _response(reply: Reply) -> Response:
    """The answer as it came: its own headers, and a length that is counted anew where it has none."""
    response = Response(reply.content, reply.status)
    told = [(name.lower(), value) for name, value in reply.headers]
    response.raw_headers = told + [pair for pair in response.raw_headers if pair[0] not in dict(told)]
    return response


def weighted(text: str) -> tuple[str, float]:
    """`URL` or `URL=weight` as (URL, weight)."""
    found = re.fullmatch(r"(https?://[^=\s]+?)(?:=(\d+(?:\.\d+)?))?", text)
    if not found:
        raise argparse.ArgumentTypeError(f"expected URL or URL=weight, got '{text}'")
    return found[1], float(found[2] or 1)


NUMBERS = {
    "--timeout-ms": (1000, "longest deadline of a request"),
    "--try-ms": (0, "longest try while another predictor could be asked; 0: half of --timeout-ms"),
    "--attempts": (3, "tries for each request and service"),
    "--retry-share": (0.1, "retries that a request earns"),
    "--max-requests": (256, "requests at once; beyond: 429"),
    "--max-under-way": (64, "bulkhead: requests at once to each service"),
    "--breaker-failures": (10, "failures that open the breaker"),
    "--breaker-rate": (0.5, "where they are this share of the last tries"),
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
    access.add_options(parser)
    for name, (default, what) in NUMBERS.items():
        add(name, type=type(default), default=default, help=f"{what} (default: {default:g})")
    return parser


def parsed(words: list[str] | None = None) -> argparse.Namespace:
    """The command line; ends the process (2) where it makes no sense."""
    parser = options()
    asked = parser.parse_args(words)
    if not any(weight for _, weight in asked.predictor):
        parser.error("expected a --predictor with a weight above 0, got none")
    if not 0 < asked.breaker_rate <= 1 or asked.breaker_failures < 1:
        parser.error("expected --breaker-rate above 0, up to 1, and --breaker-failures from 1")
    asked.try_ms = asked.try_ms or asked.timeout_ms / 2
    try:
        asked.access = access.asked_for(asked)
    except ValueError as wrong:
        parser.error(str(wrong))
    return asked


def main(words: list[str] | None = None) -> int:
    asked = parsed(words)
    gateway = Gateway(asked)

    def route(path: str, handler: access.Handler, methods: list[str], scope: str = "predict") -> Route:
        return Route(path, asked.access.lets(handler, scope) if asked.access else handler, methods=methods)

    models = ("/", "/v1/{rest:path}", "/v2", "/v2/{rest:path}")
    routes = [
        route("/digits", gateway.digits, ["POST"]),
        route("/feedback", gateway.to_feedback, ["POST"], "feedback"),
        *(route(path, gateway.models, METHODS) for path in models),
    ]
    return process.serve(process.application(routes, gateway.lifespan), asked)


if __name__ == "__main__":
    sys.exit(main())
