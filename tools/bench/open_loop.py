"""Requests that come when they are due, over connections that stay open, and what became of them.

A raw asyncio protocol: the client shares the machine with the server, and a whole HTTP library would take more of it
than the server does.
"""

import asyncio
import collections
import random
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from tools.bench.samples import Answer
from tools.bench.wrk import Request

LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
VERSION = re.compile(rb"\r\nx-model-version: *(\d+)", re.IGNORECASE)
CLOSE = re.compile(rb"\r\nconnection: *close", re.IGNORECASE)
CHECK_EVERY = 10
"""One answer in so many is read, and compared with what the images show; of each the status is."""
TIMEOUT_SECONDS = 30


@dataclass(frozen=True)
class Kind:
    """One kind of request in the mix. weight: how often it is drawn; expects: the classes that a right answer tells."""

    name: str
    weight: int
    request: Request
    answer: Answer
    expects: Sequence[int]

    def wire(self, host: str) -> bytes:
        """The bytes to send."""
        lines = [f"POST {self.request.path} HTTP/1.1", f"Host: {host}", f"Content-Length: {len(self.request.body)}"]
        lines += [f"{name}: {value}" for name, value in self.request.headers.items()]
        return ("\r\n".join(lines) + "\r\n\r\n").encode() + self.request.body


@dataclass
class Counts:
    """What became of all requests. Latencies in ms from when each was due; late_ms: how late it was sent;
    waiting: how many had no answer when the last one had become due; refused: how many
    connections."""

    answered: int = 0
    failures: collections.Counter = field(default_factory=collections.Counter)
    versions: collections.Counter = field(default_factory=collections.Counter)
    kinds: collections.Counter = field(default_factory=collections.Counter)
    latencies_ms: list[float] = field(default_factory=list)
    late_ms: list[float] = field(default_factory=list)
    first_failure: str = ""
    waiting: int = 0
    refused: int = 0

    def fail(self, reason: str, more: str = "") -> None:
        """One request that did not get a 200 with the right answer in it."""
        self.failures[reason] += 1
        self.first_failure = self.first_failure or f"{reason} {more}".strip()


class Connection(asyncio.Protocol):
    """One connection: one request at a time."""

    def __init__(self, loop: "OpenLoop") -> None:
        self.loop, self.got, self.kind, self.due, self.sent = loop, b"", None, 0.0, 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:
        self.transport = transport

    def send(self, kind: Kind, wire: bytes, due: float) -> None:
        self.kind, self.due, self.sent = kind, due, time.perf_counter()
        self.transport.write(wire)

    def data_received(self, data: bytes) -> None:
        self.got += data
        head = self.got.find(b"\r\n\r\n")
        if head < 0:
            return
        length = LENGTH.search(self.got, 0, head + 2)
        end = head + 4 + (int(length[1]) if length else 0)
        if len(self.got) < end:
            return
        answer, self.got = self.got, b""
        kind, self.kind = self.kind, None
        if kind is None:
            self.loop.counts.fail("answer to nothing", repr(answer[:200]))
            return
        self.loop.done(self, kind, answer, head)

    def connection_lost(self, error: Exception | None) -> None:
        if self.kind is not None:
            self.kind = None
            self.loop.counts.fail("connection lost", repr(error))
            self.loop.left -= 1
        self.loop.lost(self)


class OpenLoop:
    """Sends `kinds` at `rate` a second, as a Poisson process; rate None: each connection its next request as soon as it
    has its answer, a closed loop, which tells what client and server can do together."""

    def __init__(self, port: int, kinds: Sequence[Kind], rate: float | None, connections: int) -> None:
        self.port, self.kinds, self.rate, self.connections = port, kinds, rate, connections
        self.wires = [kind.wire(f"127.0.0.1:{port}") for kind in kinds]
        self.free: collections.deque[Connection] = collections.deque()
        self.due: collections.deque[tuple[float, int]] = collections.deque()
        self.open: set[Connection] = set()
        self.counts, self.left, self.stopped, self.until = Counts(), 0, False, 0.0

    def done(self, connection: Connection, kind: Kind, answer: bytes, head: int) -> None:
        """Notes an answer, and gives the connection the request that has waited longest."""
        counts, now = self.counts, time.perf_counter()
        self.left -= 1
        counts.latencies_ms.append((now - connection.due) * 1000)
        counts.late_ms.append((connection.sent - connection.due) * 1000)
        if answer[9:12] != b"200":
            counts.fail(answer[9:12].decode("latin-1"), repr(answer[head + 4 : head + 300]))
        else:
            counts.answered += 1
            counts.kinds[kind.name] += 1
            if version := VERSION.search(answer, 0, head + 2):
                counts.versions[int(version[1])] += 1
            if counts.answered % CHECK_EVERY == 0:
                self._check(kind, answer[head + 4 :])
        if CLOSE.search(answer, 0, head + 2):
            connection.transport.close()
        else:
            self.free.append(connection)
            if self.rate is None and now < self.until:
                self._fall_due(now)
            self._send()

    def _fall_due(self, due: float) -> None:
        self.due.append((due, random.choices(range(len(self.kinds)), [kind.weight for kind in self.kinds])[0]))
        self.left += 1

    def _check(self, kind: Kind, body: bytes) -> None:
        try:
            told = kind.answer(body)
        except (ValueError, KeyError, IndexError, TypeError) as wrong:
            told = wrong
        if told != list(kind.expects):
            self.counts.answered -= 1
            self.counts.fail("wrong answer", f"to {kind.name}: {told!r} instead of {list(kind.expects)}")

    def lost(self, connection: Connection) -> None:
        """A connection ended; another takes its place."""
        self.open.discard(connection)
        if connection in self.free:
            self.free.remove(connection)
        if not self.stopped:
            asyncio.get_running_loop().create_task(self._connect())

    async def _connect(self) -> None:
        try:
            loop = asyncio.get_running_loop()
            _, connection = await loop.create_connection(lambda: Connection(self), "127.0.0.1", self.port)
        except OSError as wrong:
            self.counts.refused += 1
            self.counts.first_failure = self.counts.first_failure or f"no connection {wrong!r}"
            if not self.stopped:
                await asyncio.sleep(0.1)
                asyncio.get_running_loop().create_task(self._connect())
            return
        self.open.add(connection)
        self.free.append(connection)
        self._send()

    def _send(self) -> None:
        """Sends what is due, as far as connections are free: in turn, so that none of them stays idle until it is shut."""
        while self.due and self.free:
            due, number = self.due.popleft()
            self.free.popleft().send(self.kinds[number], self.wires[number], due)

    async def _send_as_due(self, due: float) -> None:
        while due < self.until:
            now = time.perf_counter()
            while due <= now:
                self._fall_due(due)
                due += random.expovariate(self.rate)
            self._send()
            await asyncio.sleep(max(0.0, due - time.perf_counter()))

    async def run(self, seconds: float) -> Counts:
        """Sends for so long, waits for the last answers, and tells what became of all. What then still has no answer
        failed."""
        for _ in range(self.connections):
            await self._connect()
        begin = time.perf_counter()
        self.until = begin + seconds
        if self.rate is None:
            for _ in range(self.connections):
                self._fall_due(begin)
            self._send()
            await asyncio.sleep(seconds)
        else:
            await self._send_as_due(begin + random.expovariate(self.rate))
        self.counts.waiting = self.left
        until = time.perf_counter() + TIMEOUT_SECONDS
        while self.left and time.perf_counter() < until:
            await asyncio.sleep(0.05)
        self.stopped = True
        for _ in range(self.left):
            self.counts.fail("no answer")
        for connection in list(self.open):
            connection.kind = None
            connection.transport.close()
        return self.counts
