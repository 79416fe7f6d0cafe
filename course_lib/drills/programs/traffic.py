"""`python -m course_lib.drills.programs.traffic PLAN.json`: the users of a drill. They go on sending, whatever becomes of it.

The plan: {"url", "rate_per_s", "workers", "timeout_s", "tries", "headers", "requests": [{"body", "label"}, …]}. The
requests are sent in turn, the first "at_once" of them without a pause. Each line of the output is a request as its user saw it: request_id, request (its place in the
plan), status (0: no answer in time), ms, and of a reading the "answer"; "correction" is what a user says that it should
have been, "tries" how often the user sent it.
"""

import json
import sys
import threading
import time
import uuid
from pathlib import Path

from course_lib.measure.load import Wires

LAST_SECONDS = 3 * 3600
"""Users go home: a drill that somebody forgets does not run for ever."""

WRITING = threading.Lock()


def user(plan: dict, wires: Wires, first: int, step: int) -> None:
    """Sends every `step`th request, each when it is due or as soon as the one before is over; writes what came of it."""
    requests, number, end = plan["requests"], first, time.monotonic() + LAST_SECONDS
    gap, due = step / plan["rate_per_s"], time.monotonic()
    due += 0 if plan.get("at_once") else first / plan["rate_per_s"]
    while due < end:
        time.sleep(max(0.0, due - time.monotonic()))
        due = max(due, time.monotonic() - gap) + gap * (number >= plan.get("at_once", 0))
        at = number % len(requests)
        line = {"request_id": f"u{number}-{uuid.uuid4().hex[:8]}", "request": at}
        line |= _send(plan, wires, requests[at], line["request_id"])
        with WRITING:  # or two lines may come out in one
            print(json.dumps(line), flush=True)
        number += step


def _send(plan: dict, wires: Wires, request: dict, request_id: str) -> dict:
    began = time.monotonic()
    headers = plan.get("headers", {}) | {"X-Request-Id": request_id}
    body, tries, status, answer = json.dumps(request["body"]).encode(), 0, 0, {}
    while status != 200 and tries < plan.get("tries", 1):
        tries += 1
        try:
            reply = wires.ask(plan.get("path", ""), body, headers)
            status, answer = reply.status, json.loads(reply.body)
        except (OSError, ValueError):
            status = 0
        except Exception as broken:  # a connection that ended half-way
            status, answer = 0, {"error": type(broken).__name__}
    line = {"time": round(time.time(), 3), "status": status, "ms": round(1000 * (time.monotonic() - began), 1)}
    line |= {"tries": tries} if plan.get("tries", 1) > 1 else {}
    line |= {key: answer[key] for key in ("answer", "error") if isinstance(answer, dict) and key in answer}
    if "label" in request and status == 200 and line.get("answer") != request["label"]:
        line["correction"] = request["label"]
    return line


def main(plan: dict) -> None:
    wires, workers = Wires(plan["url"], timeout_s=plan.get("timeout_s", 5)), plan.get("workers", 2)
    threads = [threading.Thread(target=user, args=(plan, wires, i, workers), daemon=True) for i in range(workers)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
