"""`python -m course_lib.drills.programs.callers PLAN`: all who call a door, each from its own place, until they are ended.

PLAN is JSON: {"url", "seed", "callers": [{"name", "key" or "key_file", "addresses", "rate_per_s", "mixed", "seen"}, …]}.
A key file is read again for each request: it is how a customer is handed a key. "mixed": mixtures of two pictures, as in
lesson 22b. Each line of the output is a request of one that is "seen": request_id, customer, status (0: no answer), ms.
"""

import json
import sys
import threading
import time
import uuid
from pathlib import Path

import numpy as np

from course_lib import data
from course_lib.measure.load import Wires

LAST_SECONDS = 3 * 3600
"""They go home: a drill that somebody forgets does not run for ever."""

WRITING = threading.Lock()


def call(wires: Wires, caller: dict, images: np.ndarray, random: np.random.Generator) -> None:
    """Sends pictures at its rate. images: (N, 8, 8)."""
    gap, due, end = 1 / caller["rate_per_s"], time.monotonic(), time.monotonic() + LAST_SECONDS
    due += random.random() * gap
    while due < end:
        time.sleep(max(0.0, due - time.monotonic()))
        due = max(due, time.monotonic() - gap) + gap
        one, other = images[random.integers(len(images), size=2)]
        share = random.uniform(0.3, 0.7) if caller.get("mixed") else 1.0
        pixels = (share * one + (1 - share) * other).round(4).tolist()
        line = {"request_id": uuid.uuid4().hex[:12], "customer": caller["name"]}
        began = time.monotonic()
        line["status"] = _send(wires, caller, pixels, line["request_id"], str(random.choice(caller["addresses"])))
        line["ms"] = round(1000 * (time.monotonic() - began), 1)
        if caller.get("seen"):
            with WRITING:  # or two lines may come out in one
                print(json.dumps(line), flush=True)


def _send(wires: Wires, caller: dict, pixels: list, request_id: str, address: str) -> int:
    try:
        key = caller.get("key") or Path(caller["key_file"]).read_text(encoding="utf-8").strip()
        headers = {"X-API-Key": key, "X-Forwarded-For": address, "X-Request-Id": request_id}
        return wires.ask("/digits", json.dumps({"pixels": pixels}).encode(), headers).status
    except Exception:  # no key, no connection, or one that ended half-way
        return 0


def main(plan: dict) -> None:
    images, wires = data.digits()[1].images, Wires(plan["url"], timeout_s=5)
    threads = [
        threading.Thread(
            target=call, args=(wires, each, images, np.random.default_rng([plan["seed"], number])), daemon=True
        )
        for number, each in enumerate(plan["callers"])
    ]
    for each in threads:
        each.start()
    for each in threads:
        each.join()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
