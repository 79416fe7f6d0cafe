"""The services behind the gateway: each asked within a deadline, past a bulkhead and a breaker, and `ask`, which turns to
another one, or to the same one again within a budget, where that can help."""

import argparse
import asyncio
import math
import random
import time
from collections.abc import Iterable, Sequence
from itertools import count
from typing import NamedTuple

import aiohttp
import orjson
import prometheus_client
from yarl import URL

from course_lib.services.breaker import Breaker, RetryBudget
from course_lib.services.process import DEADLINE, Refused
from course_lib.serving.tracing import Span

TRIES = prometheus_client.Counter("gateway_tries", "Requests to a service behind", ["upstream", "outcome"])
TOOK = prometheus_client.Histogram("gateway_try_duration_seconds", "What a try took", ["upstream"])
OPEN = prometheus_client.Gauge("gateway_breaker_open", "1 while a service is not called", ["upstream"])

Headers = list[tuple[bytes, bytes]]
OF_ONE_CONNECTION = frozenset(
    (b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade")
)
LENGTH = frozenset((b"content-length",))
NOT_THE_SERVICES = (501, 505)
"""Statuses from 500 that tell of the request, not of the service: a method or a version of HTTP that it does not know."""


def travelling(headers: Headers, but: Iterable[bytes] = ()) -> Headers:
    """Those that go on to the next connection: all but what RFC 9110, 7.6.1 keeps to one, and `but` (in small letters)."""
    stay = {
        option.strip().lower()
        for name, value in headers
        if name.lower() == b"connection"
        for option in value.split(b",")
    }
    stay |= OF_ONE_CONNECTION | set(but)
    return [(name, value) for name, value in headers if name.lower() not in stay]


def named(headers: Headers, name: bytes) -> str | None:
    """The value of the header of that name (in small letters), or None."""
    return next((value.decode("latin-1") for each, value in headers if each.lower() == name), None)


OTHER_CLOCK = "by its own limit or the gateway's"


class Question(NamedTuple):
    """What a service is asked. target: path and query, percent-encoded. headers: those that travel. until: the deadline,
    as time.monotonic() has it. hasty: whether the client set it. safe: whether twice does no harm. span: each try
    becomes a part of it; None where the request is not traced."""

    method: str
    target: str
    body: bytes
    headers: Headers
    until: float
    hasty: bool = False
    safe: bool = True
    span: Span | None = None


class Reply(NamedTuple):
    """What a service answered. headers: those that travel."""

    status: int
    headers: Headers
    content: bytes

    def header(self, name: bytes) -> str | None:
        """The value of a header (its name in small letters), or None."""
        return named(self.headers, name)


class Failed(Refused):
    """A try that failed.

    again: whether another try can help. unsent: whether the service never saw the request. gone: whether its connection
    is lost, so that it does no more for this request. reply: its answer, where it gave one.
    """

    def __init__(
        self, status: int, message: str, *, again: bool = True, unsent: bool = False, gone: bool = False,
        reply: Reply | None = None,
    ) -> None:  # fmt: skip
        super().__init__(status, message, {"Retry-After": "1"} if status == 503 else None)
        self.again, self.unsent, self.gone, self.reply = again, unsent, gone, reply


class Upstream:
    """A service behind the gateway. weight: its share of the requests among its like."""

    def __init__(self, name: str, url: str, asked: argparse.Namespace, weight: float = 1.0) -> None:
        self.name, self.url, self.weight, self.asked = name, url.rstrip("/"), weight, asked
        self.under_way, self.version = 0, ""
        self.budget = RetryBudget(asked.retry_share)
        self.breaker = Breaker(asked.breaker_failures, asked.breaker_rate, asked.breaker_seconds)
        OPEN.labels(name).set_function(lambda: self.breaker.open)

    def refusal(self) -> tuple[str, Refused] | None:
        """Why it is not asked now, in a word and as an answer; None where it is."""
        if wait := self.breaker.wait():
            later = {"Retry-After": f"{math.ceil(wait)}"}
            return "open", Refused(503, f"{self.name} failed too often and is left alone", later)
        if self.under_way >= self.asked.max_under_way:
            later = {"Retry-After": "1"}
            return "full", Refused(503, f"{self.name}: {self.under_way} requests are under way already", later)
        return None

    async def once(self, wire: aiohttp.ClientSession, question: Question, patience: float) -> Reply:
        """One try, of at most `patience` seconds, counted. It must not refuse (`refusal`). Raises Failed."""
        left, start = question.until - time.monotonic(), time.perf_counter()
        seconds = max(1e-3, min(left, patience))
        hasty = question.hasty and left <= patience  # if time runs out, it does so by the client's clock
        era, failed, outcome = self.breaker.begin(), None, "cancelled"
        span = question.span and question.span.child(self.name, kind="CLIENT")
        self.under_way += 1
        try:
            reply = await self._send(wire, question, seconds, hasty, span)
            outcome, failed = str(reply.status), reply.status >= 500 and reply.status not in NOT_THE_SERVICES
            if reply.status == 504:
                clock = f"by the client's {DEADLINE}" if hasty else _own_clock(question, seconds)
                outcome, failed = "timeout", None if clock else True
                said = f"{clock or OTHER_CLOCK}: {reply.content[:200].decode(errors='replace')}"
                raise Failed(504, f"{self.name} had no time left, {said}", again=not clock)
            if failed:
                raise Failed(reply.status, f"{self.name} failed", again=reply.status in (502, 503), reply=reply)
            return reply
        except aiohttp.ClientConnectorError:
            outcome, failed = "unreachable", True
            raise Failed(503, f"{self.name} cannot be reached", unsent=True, gone=True) from None
        except TimeoutError as late:
            if isinstance(late, aiohttp.ConnectionTimeoutError) and not hasty:
                outcome, failed = "unreachable", True
                raise Failed(503, f"{self.name} accepts no connection", unsent=True, gone=True) from None
            outcome, failed = "timeout", None if hasty else True
            clock = f"the client's {DEADLINE}" if hasty else "the gateway's limit"
            raise Failed(504, f"{self.name} did not answer within {1000 * seconds:.0f} ms, {clock}") from None
        except aiohttp.ClientError as broken:
            outcome, failed = "broken", True
            raise Failed(503, f"{self.name} hung up ({type(broken).__name__})", gone=True) from None
        finally:
            self.under_way -= 1
            self.breaker.end(era, failed)
            TRIES.labels(self.name, outcome).inc()
            TOOK.labels(self.name).observe(time.perf_counter() - start)
            if span:
                span.end(error=bool(failed) or outcome == "timeout", attributes={"outcome": outcome})

    async def _send(
        self, wire: aiohttp.ClientSession, question: Question, seconds: float, hasty: bool, span: Span | None
    ) -> Reply:
        limit = aiohttp.ClientTimeout(total=seconds, sock_connect=None if hasty else seconds / 2)
        headers = [(name.decode("latin-1"), value.decode(errors="replace")) for name, value in question.headers]
        headers.append((DEADLINE, str(max(1, int(1000 * seconds)))))
        if span:
            headers.append(("traceparent", span.traceparent))
        # `encoded`: what a client put between its slashes stays there; `..` would lead out of what is passed on.
        url = URL(self.url + question.target, encoded=True)
        async with wire.request(
            question.method, url, data=question.body or None, headers=headers, timeout=limit, allow_redirects=False,
            skip_auto_headers=("Accept", "Accept-Encoding", "Content-Type", "User-Agent"),
        ) as found:  # fmt: skip
            # Without a body, the length is that of the answer to a GET; with one, whoever sends it on counts anew.
            known = question.method == "HEAD" or found.status == 304
            told = travelling(list(found.raw_headers), but=() if known else LENGTH)
            return Reply(found.status, told, await found.read())


async def ask(
    wire: aiohttp.ClientSession, line: Sequence[Upstream], question: Question, asked: argparse.Namespace
) -> tuple[Upstream, Reply]:
    """The answer of the first in `line`, or of one that stands in for it, and whose answer it is.

    line: the chosen one, and those that may stand in. One that is open or full is passed over. After a failure the next
    one is asked, and so on in a circle, for `asked.attempts` tries in all. While another one could still be asked, a try
    may take `asked.try_ms` at most, so that one that hangs leaves time for another. A retry costs the budget of the
    chosen one, unless it goes to another one after a connection was lost or a breaker opened: whatever failed does no
    more work for it, so that such a retry adds no load.

    Raises Refused where no try was made (503), or the last Failed: 503 where nobody could be reached, 504 where time ran
    out. An answer from 500 that cannot be mended by another try is returned as it is.
    """
    chosen = line[0]
    chosen.budget.earn()
    refused = []
    for upstream in line:
        if not (refusal := upstream.refusal()):
            break
        TRIES.labels(upstream.name, refusal[0]).inc()
        refused.append(refusal[1])
    else:
        raise refused[0]  # not asked anew: a breaker may have come to its time since
    for number in count(1):
        at = line.index(upstream)
        others = [*line[at + 1 :], *line[:at]]
        spare = number < asked.attempts and any(not each.refusal() for each in others)
        try:
            return upstream, await upstream.once(wire, question, asked.try_ms / 1000 if spare else math.inf)
        except Failed as failed:
            over = upstream.refusal() or failed.status == 504  # one that is late is not asked again at once
            able = [each for each in others if not each.refusal()] or [upstream] * (not over)
            pause = random.uniform(0, min(0.5, 0.02 * 2**number)) if number >= len(line) else 0.0  # full jitter
            may = failed.again and (failed.unsent or question.safe) and number < asked.attempts
            if able and may and time.monotonic() + pause < question.until:
                free = able[0] is not upstream and (failed.gone or upstream.breaker.open)
                if free or chosen.budget.spend():
                    await asyncio.sleep(pause)
                    if not able[0].refusal():
                        upstream = able[0]
                        continue
            if failed.reply:
                return upstream, failed.reply
            raise


def _own_clock(question: Question, seconds: float) -> str:
    """Whether a v2 request's own `timeout` (its parameter, in microseconds) is less than `seconds`: in words, or ""."""
    header = named(question.headers, b"inference-header-content-length")
    try:
        asked = orjson.loads(question.body[: header and int(header)])["parameters"]["timeout"] / 1e6
    except (ValueError, KeyError, TypeError):
        return ""
    return "by the request's parameters.timeout" if 0 < asked < seconds else ""
