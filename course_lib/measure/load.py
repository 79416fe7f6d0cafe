"""Load on a model or a service: when requests are due, sending them at that time, and latencies that count from then.

Standard library and NumPy alone. Lesson 13 derives what is computed here; `simulate` needs no clock.
"""

import collections
import heapq
import http.client
import select
import threading
import time
import urllib.parse
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Outcome:
    """What became of N requests. due_s, started_s, done_s: float64 (N,), seconds from the begin of the run; failed: bool
    (N,), those whose call raised; errors: how many failed, by the name of what was raised."""

    due_s: np.ndarray
    started_s: np.ndarray
    done_s: np.ndarray
    failed: np.ndarray
    errors: dict[str, int] = field(default_factory=dict)

    @property
    def latency_ms(self) -> np.ndarray:
        """From when each request was due to when it was done, (N,): what a user waits, a queue before the call included.
        Infinite for what failed, so that no percentile gets better by failing."""
        return np.where(self.failed, np.inf, 1000 * (self.done_s - self.due_s))

    @property
    def service_ms(self) -> np.ndarray:
        """From when each call began to when it ended, (N,): without the wait before it."""
        return 1000 * (self.done_s - self.started_s)

    @property
    def throughput_per_s(self) -> float:
        """Answers a second, from the first request's due time to the last one's end."""
        return float((~self.failed).sum() / (self.done_s.max() - self.due_s.min()))


def percentile(measurements: np.ndarray, share: float) -> float:
    """The smallest of the measurements that `share` of them do not exceed: always one that was measured.

    measurements: (N,), infinities allowed. share: above 0, up to 1; 0.99 for p99. Raises ValueError for none, and for
    another share.
    """
    if len(measurements) == 0 or not 0 < share <= 1:
        raise ValueError(f"expected measurements and a share from 0 to 1, got {len(measurements)} and {share}")
    rank = int(np.ceil(share * len(measurements) - 1e-9))  # 0.9 × 10 is 9, whatever floating point says
    return float(np.sort(measurements)[max(rank, 1) - 1])


def poisson_arrivals(rate_per_s: float, count: int, seed: int) -> np.ndarray:
    """When `count` requests of many independent users arrive: the gaps between them are exponential.

    rate_per_s: above 0, requests a second on average. seed: the same one gives the same times. Returns float64 (count,),
    seconds, rising, the first of them one gap after 0. Raises ValueError for a rate that is not above 0.
    """
    if not 0 < rate_per_s < np.inf:
        raise ValueError(f"expected a rate above 0, in requests a second, got {rate_per_s}")
    return np.cumsum(np.random.default_rng(seed).exponential(1 / rate_per_s, count))


def open_loop(call: Callable[[int], object], due_s: np.ndarray, *, workers: int = 1) -> Outcome:
    """Makes each call when it is due, whatever became of those before it: load as it comes from outside.

    call: gets the request's number, from 0; what it raises is noted, and the run goes on. due_s: (N,), seconds from the
    begin of the run, rising. workers: how many calls may be under way at once; a request that finds all of them busy
    waits, and its latency counts from when it was due. Raises ValueError for no request, falling times, no worker.
    """
    due = np.asarray(due_s, dtype=np.float64)
    if due.ndim != 1 or len(due) == 0 or workers < 1 or (np.diff(due) < 0).any():
        raise ValueError(f"expected times (N,) that rise, N from 1, and workers from 1, got {due.shape}, {workers}")
    return _run(call, len(due), workers, due)


def closed_loop(call: Callable[[int], object], count: int, *, workers: int = 1) -> Outcome:
    """Makes `count` calls, each worker its next one when it has its answer: load that waits for the system.

    A request is due when it is sent. Arguments as for `open_loop`. Raises ValueError for no request and no worker.
    """
    if count < 1 or workers < 1:
        raise ValueError(f"expected requests and workers from 1, got {count} and {workers}")
    return _run(call, count, workers, None)


def _run(call: Callable[[int], object], count: int, workers: int, due: np.ndarray | None) -> Outcome:
    started, done, failed = np.zeros(count), np.zeros(count), np.zeros(count, bool)
    errors: collections.Counter[str] = collections.Counter()
    numbers, lock = iter(range(count)), threading.Lock()
    begin = time.perf_counter()

    def work() -> None:
        while True:
            with lock:
                number = next(numbers, None)
            if number is None:
                return
            if due is not None:
                _wait_until(begin + due[number])
            started[number] = time.perf_counter() - begin
            try:
                call(number)
            except Exception as wrong:  # whatever broke counts, under its own name
                failed[number] = True
                with lock:
                    errors[type(wrong).__name__] += 1
            done[number] = time.perf_counter() - begin

    threads = [threading.Thread(target=work) for _ in range(workers - 1)]
    for thread in threads:
        thread.start()
    work()
    for thread in threads:
        thread.join()
    return Outcome(started.copy() if due is None else due, started, done, failed, dict(errors))


def _wait_until(moment: float) -> None:
    """Sleeps, and stays awake for the last millisecond, since a sleep may end late by some tenths of one."""
    while (left := moment - time.perf_counter()) > 0:
        time.sleep(left - 1e-3 if left > 2e-3 else 0)


def simulate(due_s: np.ndarray, service_s: np.ndarray | float, *, workers: int = 1) -> Outcome:
    """The same without a clock: requests queue in the order of their due times for the first worker that is free.

    due_s: (N,), seconds, rising. service_s: how long each takes, (N,), or one number for all, 0 or more. workers: from 1.
    Raises ValueError for no request, times that fall, negative service times, no worker.
    """
    due = np.asarray(due_s, dtype=np.float64)
    service = np.broadcast_to(np.asarray(service_s, dtype=np.float64), due.shape)
    if due.ndim != 1 or len(due) == 0 or workers < 1 or (np.diff(due) < 0).any() or (service < 0).any():
        raise ValueError("expected rising times (N,), N from 1, service times from 0, and workers from 1")
    if workers == 1:
        # With one worker, done_i = max(due_i, done_{i-1}) + service_i; unrolled, a running maximum.
        total = np.cumsum(service)
        done = total + np.maximum.accumulate(due - (total - service))
    else:
        done, free = np.empty(len(due)), [-np.inf] * workers  # a schedule may begin before 0
        for i, (arrives, takes) in enumerate(zip(due.tolist(), service.tolist())):
            done[i] = max(arrives, heapq.heappop(free)) + takes
            heapq.heappush(free, done[i])
    return Outcome(due, done - service, done, np.zeros(len(due), bool))


@dataclass(frozen=True)
class Reply:
    """What a service said. status: HTTP's. headers: names in lower case. body: bytes as they came."""

    status: int
    headers: dict[str, str]
    body: bytes


class Wires:
    """Connections to one service that are kept open, one for each thread that asks: for `open_loop` and `closed_loop`.

    A request on a new connection pays for the connection too, which is rarely what is to be measured.
    """

    def __init__(self, url: str, *, timeout_s: float = 10) -> None:
        """url: http://HOST:PORT. timeout_s: how long a request waits for an answer before it gives up."""
        parts = urllib.parse.urlsplit(url)
        if parts.scheme != "http" or not parts.hostname or not parts.port:
            raise ValueError(f"expected http://HOST:PORT, got {url!r}")
        self._host, self._port, self._timeout_s = parts.hostname, parts.port, timeout_s
        self._own = threading.local()
        self._all: list[http.client.HTTPConnection] = []

    def close(self) -> None:
        """Closes every connection; what is under way on one of them fails."""
        for wire in self._all:
            wire.close()

    def ask(self, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None) -> Reply:
        """A POST of `body`, or a GET where it is None, on this thread's connection.

        Raises TimeoutError where no answer came in time, another OSError or http.client.HTTPException where the
        connection broke; the next request then opens a new one. Nothing is sent twice.
        """
        wire = getattr(self._own, "wire", None)
        if wire is None:
            wire = self._own.wire = http.client.HTTPConnection(self._host, self._port, timeout=self._timeout_s)
            self._all.append(wire)
        elif wire.sock is not None and select.select([wire.sock], [], [], 0)[0]:
            wire.close()  # nothing is due on it, so what can be read is its end: the service has closed it meanwhile
        said = {"Content-Type": "application/json"} if body is not None else {}
        try:
            wire.request("GET" if body is None else "POST", path, body, said | dict(headers or {}))
            answer = wire.getresponse()
            content = answer.read()
        except (OSError, http.client.HTTPException):
            wire.close()
            raise
        return Reply(answer.status, {name.lower(): value for name, value in answer.getheaders()}, content)
