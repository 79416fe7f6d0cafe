"""The feedback store: what users said the digit was, kept once however often it is sent.

POST /feedback needs an Idempotency-Key and takes {"label": 0 to 9} with, as far as known, "request_id", "model_version",
"prediction" and "pixels". The first time it answers 201, for the same key and body again 200 with the same answer, for
the same key and another body 422. GET /feedback?after=ID&limit=N lists what came after that id, the oldest first.
"""

import hashlib
import sqlite3
import sys
import threading
import time
from pathlib import Path

import orjson
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from course_lib.services import process

TABLE = """CREATE TABLE IF NOT EXISTS feedback (
    id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, sha256 TEXT NOT NULL, received_at REAL NOT NULL,
    label INTEGER NOT NULL CHECK (label BETWEEN 0 AND 9), request_id TEXT, model_version TEXT, prediction INTEGER, pixels TEXT
)"""


class Store:
    """Feedback in one SQLite file. One connection, used by one thread at a time: SQLite has one writer anyway."""

    def __init__(self, file: Path) -> None:
        self._lock = threading.Lock()
        self._open = sqlite3.connect(file, check_same_thread=False, isolation_level=None, timeout=5)
        self._open.row_factory = sqlite3.Row
        self._open.execute("PRAGMA journal_mode = WAL")
        self._open.execute("PRAGMA synchronous = NORMAL")
        self._open.execute(TABLE)

    def keep(self, key: str, body: dict) -> tuple[int, bool]:
        """Stores `body` under `key` unless it is there. Returns (id, whether it is new).

        Raises Refused (422) where the key was used for another body. One statement decides, so that two who send the
        same key at once cannot both be the first.
        """
        digest = hashlib.sha256(orjson.dumps(body, option=orjson.OPT_SORT_KEYS)).hexdigest()
        pixels = None if body.get("pixels") is None else orjson.dumps(body["pixels"]).decode()
        known = map(body.get, ("label", "request_id", "model_version", "prediction"))
        row = [key, digest, time.time(), *known, pixels]
        with self._lock:
            added = self._open.execute(
                "INSERT INTO feedback (key, sha256, received_at, label, request_id, model_version, prediction, pixels) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (key) DO NOTHING", row,
            ).rowcount  # fmt: skip
            there = self._open.execute("SELECT id, sha256 FROM feedback WHERE key = ?", [key]).fetchone()
        if there["sha256"] != digest:
            raise process.Refused(422, "this Idempotency-Key was used for another body")
        return there["id"], bool(added)

    def after(self, last: int, limit: int) -> list[dict]:
        """Up to `limit` rows with an id above `last`, the oldest first."""
        with self._lock:
            rows = self._open.execute(
                "SELECT * FROM feedback WHERE id > ? ORDER BY id LIMIT ?", [last, limit]
            ).fetchall()
        found = [{k: row[k] for k in row.keys() if k not in ("key", "sha256")} for row in rows]
        return [row | {"pixels": row["pixels"] and orjson.loads(row["pixels"])} for row in found]

    def close(self) -> None:
        self._open.close()


def _digit(value: object) -> bool:
    return type(value) is int and 0 <= value <= 9


def _short_text(value: object) -> bool:
    return isinstance(value, str) and len(value) <= 64


def _picture(value: object) -> bool:
    rows = value if isinstance(value, list) and len(value) == 8 else [None]
    return all(isinstance(row, list) and len(row) == 8 and {*map(type, row)} <= {int, float} for row in rows)


FIELDS = {
    "label": (_digit, "a whole number from 0 to 9"),
    "prediction": (_digit, "a whole number from 0 to 9"),
    "request_id": (_short_text, "a string of at most 64 characters"),
    "model_version": (_short_text, "a string of at most 64 characters"),
    "pixels": (_picture, "8 lists of 8 numbers"),
}


def valid(body: dict) -> dict:
    """`body` where it is feedback. Raises Refused (400) naming the first field that is not as it should be."""
    for name, (fits, expected) in FIELDS.items():
        if not (fits(body.get(name)) or name != "label" and body.get(name) is None):
            raise process.Refused(400, f"expected {name} to be {expected}")
    return body


async def post_feedback(request: Request) -> Response:
    key = request.headers.get("Idempotency-Key", "")
    if not 0 < len(key) <= 64:
        raise process.Refused(
            400, "expected a header Idempotency-Key of 1 to 64 characters, a new one for each piece of news"
        )
    body = valid(await process.json_body(request))
    found, new = await run_in_threadpool(request.app.state.store.keep, key, body)
    return process.answer({"id": found}, 201 if new else 200)


async def get_feedback(request: Request) -> Response:
    numbers = [request.query_params.get("after", "0"), request.query_params.get("limit", "100")]
    if not all(each.isdecimal() and len(each) < 18 for each in numbers):
        raise process.Refused(400, "expected after and limit to be whole numbers from 0")
    last, limit = map(int, numbers)
    return process.answer({"feedback": await run_in_threadpool(request.app.state.store.after, last, min(limit, 1000))})


def main(words: list[str] | None = None) -> int:
    parser = process.options("feedback", "Keeps what users said, in a SQLite file.")
    parser.add_argument("--file", type=Path, required=True, help="the database; made where it is missing")
    asked = parser.parse_args(words)
    both = [Route("/feedback", post_feedback, methods=["POST"]), Route("/feedback", get_feedback, methods=["GET"])]
    app = process.application(both)
    app.state.store = Store(asked.file)
    status = process.serve(app, asked)
    app.state.store.close()
    return status


if __name__ == "__main__":
    sys.exit(main())
