"""Criteria on the running service: what it answers, what it refuses, how it starts, ends and goes back."""

import json

import numpy as np

from course_lib.capstone.running import Failed, ask, body_of

CLOSE = 1e-3


def runs(exam) -> str:
    """The server starts and answers held-out rows with probabilities."""
    server = exam.server
    found = server.probabilities(exam.case.rows[:20])
    if abs(found.sum(axis=1) - 1).max() > 0.01 or found.min() < -1e-6:
        raise Failed("20 rows were answered, but not with probabilities that sum to 1")
    return f"ready after {server.start_s:.1f} s; 20 rows got probabilities for {found.shape[1]} classes"


def parity(exam) -> str:
    """Served answers equal the original model's, on rows that neither has seen."""
    rows = exam.case.rows[:450]
    served = exam.served
    original = ask(exam.folder, "original", rows=rows)["probabilities"]
    if original.shape != served.shape or not np.isfinite(original).all():
        raise Failed(f"original.py answers the shape {original.shape}, the service {served.shape}")
    if np.ptp(served, axis=0).max() < 0.1:
        raise Failed("the service gives every row nearly the same answer: agreement would say nothing")
    far = abs(served - original).max()
    if far > CLOSE:
        raise Failed(f"over {len(rows)} rows the largest difference is {far:.2g}, allowed is {CLOSE:g}")
    return f"over {len(rows)} rows the largest difference is {far:.1g}"


def bad_inputs(exam) -> str:
    """Twelve bad requests get 4xx and no 5xx; a good one is still answered after them."""
    server, row = exam.server, exam.case.rows[:1]
    wild, lost = row.copy(), row.copy()
    wild.flat[0], lost.flat[0] = 1e30, np.nan
    negative = -abs(row) - 1e6
    asked = {
        "no JSON": b"{",
        "an empty list": b'{"instances": []}',
        "text for numbers": json.dumps({"instances": ["Ada Example"]}).encode(),
        "ragged rows": b'{"instances": [[1, 2], [3]]}',
        "one number too few": json.dumps({"instances": [row[0].ravel()[1:].tolist()]}).encode(),
        "a number of 1e30": body_of(wild),
        "NaN": body_of(lost),
        "negative measures": body_of(negative),
        "both forms at once": b'{"instances": [1], "inputs": [1]}',
        "100 nested lists": b'{"instances": ' + b"[" * 100 + b"]" * 100 + b"}",
        "a list in the body's place": b"[1, 2, 3]",
        "9 MB": b'{"instances": [' + b"1," * (9 << 19) + b"1]}",
    }
    taken = {}
    for name, body in asked.items():
        try:
            status = server.predict(body).status
        except (OSError, ValueError) as error:
            status = 413 if name == "9 MB" and server.lives else f"no answer ({type(error).__name__})"
        if not isinstance(status, int) or not 400 <= status < 500 or (name == "9 MB" and status != 413):
            taken[name] = status
    if taken:
        said = "; ".join(f"{name} was answered with {status}" for name, status in list(taken.items())[:4])
        raise Failed(f"{len(taken)} of {len(asked)} bad requests were not refused as they should be: {said}")
    if server.predict(body_of(row)).status != 200:
        raise Failed("after the bad requests a good one is refused as well")
    return f"{len(asked)} bad requests got 4xx, and a good one after them its answer"
