"""A client that runs inside the cluster: `python -c` with this file's text and its orders, in JSON. Standard library only.

Prints `begin` and the time when it begins, and one JSON line at its end. `traffic.py`, which starts it, says what orders and result hold.
"""

import collections
import http.client
import json
import math
import random
import signal
import sys
import threading
import time


def due_times(steps: list[list[float]], seed: int) -> list[float]:
    """When each request is due, in seconds from the begin: Poisson arrivals, step by step of [seconds, requests a second]."""
    draw, due, begin = random.Random(seed), [], 0.0
    for seconds, rate in steps:
        at = begin + (draw.expovariate(rate) if rate else math.inf)
        while at < begin + seconds:
            due.append(at)
            at += draw.expovariate(rate)
        begin += seconds
    return due


stopped = threading.Event()
"""Set once the end was asked for, by SIGTERM."""


class Worker(threading.Thread):
    """Sends one request after the other; what became of each goes to `outcomes` as (due, done, reason, pod, version)."""

    def __init__(self, orders: dict, number: int, begin: float, due: collections.deque | None, outcomes: list) -> None:
        super().__init__()
        self.orders, self.number, self.begin, self.due, self.outcomes = orders, number, begin, due, outcomes
        self.wire, self.wired_at, self.retried = None, 0.0, 0

    def run(self) -> None:
        turn = self.number
        while (at := self.next_due()) is not None:
            answer = self.ask(turn)
            for _ in range(self.orders["retries"]):
                if answer[0] == 200:
                    break
                self.retried += 1
                time.sleep(self.orders["retry_pause_s"])
                answer = self.ask(turn)
            self.outcomes.append((at, time.monotonic() - self.begin, *answer))
            turn += self.orders["workers"]
        self.hang_up()

    def next_due(self) -> float | None:
        """Waits until the next request is due; None when there is none any more."""
        if self.due is None:
            if self.outcomes:
                time.sleep(self.orders["pause_s"])
            now = time.monotonic() - self.begin
            return now if now < self.orders["seconds"] and not stopped.is_set() else None
        try:
            at = self.due.popleft()
        except IndexError:
            return None
        return None if stopped.wait(max(0, self.begin + at - time.monotonic())) else at

    def ask(self, turn: int) -> tuple:
        orders, bodies = self.orders, self.orders["bodies"]
        headers = {"Content-Type": "application/json"}
        if orders["clients"]:
            headers["X-Client-Id"] = f"client-{turn % orders['clients']}"
        try:
            if time.monotonic() - self.wired_at > orders["max_age_s"]:
                self.hang_up()
            if self.wire is None:
                self.wired_at = time.monotonic()
                self.wire = http.client.HTTPConnection(orders["host"], orders["port"], timeout=orders["timeout_s"])
            self.wire.request("POST", orders["path"], bodies[turn % len(bodies)].encode(), headers)
            response = self.wire.getresponse()
            response.read()
            if not orders["keep"]:
                self.hang_up()
            return (
                response.status,
                response.headers.get("X-Served-By", "?"),
                response.headers.get("X-Model-Version", "?"),
            )
        except Exception as wrong:  # whatever broke counts, under its own name
            self.hang_up()
            return type(wrong).__name__, None, None

    def hang_up(self) -> None:
        if self.wire is not None:
            self.wire.close()
        self.wire = None


def percentile(values: list[float], share: float) -> float | None:
    """The smallest value that `share` of them do not exceed, to a tenth; None of none."""
    return round(sorted(values)[max(math.ceil(share * len(values) - 1e-9), 1) - 1], 1) if values else None


def summary(outcomes: list[tuple], bins: int) -> dict:
    """What `traffic.py` returns, but for the retries; a request counts in the half second in which it was due."""
    by_pod = collections.defaultdict(lambda: [0] * bins)
    by_version, first = collections.defaultdict(lambda: [0] * bins), {}
    failures, failed = collections.Counter(), [0] * bins
    times, all_times = [[] for _ in range(bins)], []
    for due, done, reason, pod, version in outcomes:
        at = min(int(2 * due), bins - 1)
        if reason == 200:
            by_pod[pod][at] += 1
            by_version[version][at] += 1
            first[pod] = min(round(done, 2), first.get(pod, math.inf))
            times[at].append(1000 * (done - due))
            all_times.append(1000 * (done - due))
        else:
            failures[str(reason)] += 1
            failed[at] += 1
    return {
        "answered": len(all_times),
        "failed": dict(failures),
        "by_half_second": dict(by_pod),
        "first_answer_s": first,
        "failed_by_half_second": failed,
        "mean_ms_by_half_second": [round(sum(each) / len(each), 1) if each else None for each in times],
        "p50_ms_by_half_second": [percentile(each, 0.5) for each in times],
        "p99_ms_by_half_second": [percentile(each, 0.99) for each in times],
        "by_version": {version: sum(counts) for version, counts in by_version.items()},
        "version_by_half_second": dict(by_version),
        "mean_ms": round(sum(all_times) / len(all_times), 2) if all_times else None,
        "p50_ms": percentile(all_times, 0.5),
        "p99_ms": percentile(all_times, 0.99),
    }


def main(orders: dict) -> dict:
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    due = collections.deque(due_times(orders["steps"], orders["seed"])) if orders["steps"] else None
    per_worker = [[] for _ in range(orders["workers"])]
    begun_at, begin = time.time(), time.monotonic()
    print("begin", begun_at, flush=True)
    workers = [Worker(orders, i, begin, due, outcomes) for i, outcomes in enumerate(per_worker)]
    for each in workers:
        each.start()
    for each in workers:
        each.join()
    lasted = min(orders["seconds"], time.monotonic() - begin) if stopped.is_set() else orders["seconds"]
    result = summary([one for outcomes in per_worker for one in outcomes], max(math.ceil(2 * lasted), 1))
    return {"begun_at": begun_at, "retried": sum(each.retried for each in workers), **result}


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))))
