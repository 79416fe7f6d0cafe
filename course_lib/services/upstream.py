"""One service behind the gateway: asked within a deadline, past a bulkhead and a breaker, again within a budget."""

import argparse
import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Mapping
from typing import NamedTuple
from urllib.parse import quote

import aiohttp
import prometheus_client
import tenacity
from purgatory import AsyncCircuitBreakerFactory
from purgatory.domain.model import OpenedState
from yarl import URL

from course_lib.services.process import DEADLINE, Refused

TRIES = prometheus_client.Counter("gateway_tries", "Requests to a service behind", ["upstream", "outcome"])
TOOK = prometheus_client.Histogram("gateway_try_duration_seconds", "What a try took", ["upstream"])
OPEN = prometheus_client.Gauge("gateway_breaker_open", "1 while a service is not called", ["upstream"])


class Question(NamedTuple):
    """What a service is asked. path: not percent-encoded. until: the deadline, as time.monotonic() has it. safe: whether
    twice does no harm."""

    method: str
    path: str
    body: bytes
    headers: dict[str, str]
    until: float
    safe: bool = True


class Reply(NamedTuple):
    """What a service answered. headers: found by their names in any case."""

    status: int
    headers: Mapping[str, str]
    content: bytes


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
    """A try that failed. again: whether another one does no harm, whatever was asked."""

    def __init__(self, status: int, message: str, *, again: bool = False) -> None:
        super().__init__(status, message, {"Retry-After": "1"} if status == 503 else None)
        self.again = again


class Upstream:
    """A service behind the gateway. weight: its share of the requests among its like."""

    def __init__(self, name: str, url: str, asked: argparse.Namespace, weight: float = 1.0) -> None:
        self.name, self.url, self.weight, self.asked = name, url.rstrip("/"), weight, asked
        self.under_way, self.version = 0, ""
        self.budget = RetryBudget(asked.retry_share)
        self.breakers = AsyncCircuitBreakerFactory(asked.breaker_failures, asked.breaker_seconds)
        self.breakers.add_listener(self._changed)

    def _changed(self, name: str, kind: str, event: object) -> None:
        if kind == "state_changed":
            OPEN.labels(self.name).set(event.state == "opened")

    @contextlib.asynccontextmanager
    async def guarded(self) -> AsyncIterator[None]:
        """The breaker around a call. What ends by the asker's own doing counts neither way (`exclude`: as a success)."""
        breaker = await self.breakers.get_breaker(self.name)
        await breaker.__aenter__()
        try:
            yield
        except (Impatient, asyncio.CancelledError):
            raise
        except BaseException as error:
            await breaker.__aexit__(type(error), error, error.__traceback__)
            raise
        await breaker.__aexit__(None, None, None)

    async def call(self, wire: aiohttp.ClientSession, question: Question) -> Reply:
        """Asks the service, again where that can help.

        Raises Refused: 503 where the bulkhead is full, the breaker open or nobody there; 504 where time ran out;
        the service's own status from 500.
        """
        if self.under_way >= self.asked.max_under_way:
            TRIES.labels(self.name, "full").inc()
            raise Refused(503, f"{self.name}: {self.under_way} requests are under way already", {"Retry-After": "1"})

        def once_more(state: tenacity.RetryCallState) -> bool:
            error = state.outcome.exception()
            may = isinstance(error, TryFailed) and error.status in (502, 503) and (question.safe or error.again)
            return may and state.attempt_number < self.asked.attempts and self.budget.spend()

        self.under_way += 1
        self.budget.earn()
        try:
            return await tenacity.AsyncRetrying(
                retry=once_more,
                stop=tenacity.stop_before_delay(question.until - time.monotonic()),
                wait=tenacity.wait_random_exponential(multiplier=0.02, max=0.5),  # full jitter
                reraise=True,
            )(self._try, wire, question)
        finally:
            self.under_way -= 1

    async def _try(self, wire: aiohttp.ClientSession, question: Question) -> Reply:
        """One try, counted. Raises TryFailed, or Refused where the breaker is open."""
        seconds, outcome, start = max(1e-3, question.until - time.monotonic()), "cancelled", time.perf_counter()
        try:
            async with self.guarded():
                reply = await self._send(wire, question, seconds)
                outcome = str(reply.status)
                if reply.status >= 500:
                    said = reply.content[:200].decode(errors="replace")
                    raise TryFailed(reply.status, f"{self.name} answered {reply.status}: {said}")
                return reply
        except OpenedState:
            outcome, wait = "open", max(1, round(self.asked.breaker_seconds))
            raise Refused(503, f"{self.name} failed too often and is left alone", {"Retry-After": f"{wait}"}) from None
        except (TimeoutError, Impatient):
            outcome = "timeout"
            raise TryFailed(504, f"{self.name} did not answer within {seconds:.3f} s") from None
        except aiohttp.ClientConnectorError:
            outcome = "unreachable"
            raise TryFailed(503, f"{self.name} cannot be reached", again=True) from None  # nothing was sent yet
        except aiohttp.ClientError as broken:
            outcome = "broken"
            raise TryFailed(503, f"{self.name} hung up ({type(broken).__name__})") from None
        finally:
            TRIES.labels(self.name, outcome).inc()
            TOOK.labels(self.name).observe(time.perf_counter() - start)

    async def _send(self, wire: aiohttp.ClientSession, question: Question, seconds: float) -> Reply:
        """The answer. Raises TimeoutError, also where the service says so, and Impatient where it had hardly a chance."""
        limit = aiohttp.ClientTimeout(total=seconds)
        headers = question.headers | {DEADLINE: str(max(1, int(1000 * seconds)))}
        # `encoded`: what a client put between its slashes stays there; `..` would lead out of what is passed on.
        url, body = URL(self.url + quote(question.path, safe="/:"), encoded=True), question.body or None
        try:
            async with wire.request(question.method, url, data=body, headers=headers, timeout=limit) as found:
                reply = Reply(found.status, found.headers, await found.read())
            if reply.status == 504:
                raise TimeoutError
            return reply
        except TimeoutError:  # one hasty client must not open the breaker for all
            raise (Impatient if 4000 * seconds < self.asked.timeout_ms else TimeoutError) from None
