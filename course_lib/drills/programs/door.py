"""The door of a service for paying customers: keys, a limit for each customer, an audit log. Behind it, the model server.

POST /digits {"pixels": 8 × 8}, with X-API-Key -> {"digit": 3, "probabilities": [ten], "request_id": …}. A customer whose
"answer" in limits.json is "digit" gets no probabilities. What came, from where, and what became of it goes into the audit
log, the picture as a keyed hash. The address is what the load balancer writes into X-Forwarded-For.
"""

import contextlib
import hmac
import json
import os
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from course_lib.drills.programs.audit import Audit
from course_lib.services import process
from course_lib.services.access import Access
from course_lib.services.answers import digits

BURST_SECONDS = 10
"""A customer may send at once what its limit allows in this time."""


class Bucket:
    """The leaky bucket of lesson 22c. per_minute: what drains."""

    def __init__(self, per_minute: float) -> None:
        self.rate, self.burst = per_minute / 60, max(1.0, BURST_SECONDS * per_minute / 60) - 1
        self.excess, self.last = 0.0, None

    def lets_in(self) -> bool:
        now = time.monotonic()
        excess = 0.0 if self.last is None else max(0.0, self.excess - self.rate * (now - self.last) + 1)
        if self.rate <= 0 or excess > self.burst:
            return False
        self.excess, self.last = excess, now
        return True


class Door:
    """What the handler needs. limits: customer -> {"per_minute", "answer"}."""

    def __init__(self, predict: str, access: Access, audit: Audit, limits: dict[str, dict]) -> None:
        self.predict, self.access, self.audit, self.limits = predict, access, audit, limits
        self.buckets = {name: Bucket(float(each["per_minute"])) for name, each in limits.items()}
        self.secret = os.urandom(32)  # nobody can list the hashes of all pictures without it

    @contextlib.asynccontextmanager
    async def lifespan(self, app: Starlette) -> AsyncIterator[None]:
        async with aiohttp.ClientSession() as self.wire:
            yield

    async def digits(self, request: Request) -> Response:
        row = {"time": round(time.time(), 3), "request_id": request.state.request_id, "customer": "",
               "address": request.headers.get("X-Forwarded-For", "127.0.0.1")[:40], "status": 500}  # fmt: skip
        try:
            found = await self._answer(request, row)
            row["status"] = 200
            return process.answer(found)
        except process.Refused as refused:
            row["status"] = refused.status
            raise
        finally:
            self.audit.append(row)

    async def _answer(self, request: Request, row: dict) -> dict:
        row["customer"] = request.state.caller = self.access.caller(request.headers).name
        if (bucket := self.buckets.get(row["customer"])) is None or not bucket.lets_in():
            raise process.Refused(429, "more requests than this customer's limit", {"Retry-After": "1"})
        pixels = (await process.json_body(request)).get("pixels")
        row["picture"] = hmac.digest(self.secret, orjson.dumps(pixels), "sha256").hex()[:16]
        headers = {"X-Request-Id": row["request_id"]}
        try:
            async with self.wire.post(self.predict, json={"instances": [[pixels]]}, headers=headers) as reply:
                content, row["version"] = await reply.read(), reply.headers.get("X-Model-Version", "")
        except (aiohttp.ClientError, TimeoutError):
            raise process.Refused(502, "the model server does not answer") from None
        if reply.status != 200:
            raise process.Refused(reply.status, "the model refuses: expected pixels, 8 × 8 numbers")
        (digit,), (sure,) = digits(content)
        row["sure"] = round(sure, 2)
        found = {"digit": digit, "request_id": row["request_id"]}
        if self.limits[row["customer"]].get("answer") == "probabilities":
            found["probabilities"] = _probabilities(orjson.loads(content)["predictions"][0])
        return found


def _probabilities(logits: list[float]) -> list[float]:
    import numpy as np

    powers = np.exp(np.array(logits) - max(logits))
    return (powers / powers.sum()).tolist()


def main() -> int:
    parser = process.options("door", "Keys, limits and an audit log in front of the model server.")
    parser.add_argument("--predict", required=True, help="where the model answers, …:predict")
    for name in ("--keys", "--limits", "--audit", "--copy"):
        parser.add_argument(name, type=Path, required=True)
    asked = parser.parse_args()
    try:
        audit, limits = Audit(asked.audit, asked.copy), json.loads(asked.limits.read_text(encoding="utf-8"))
        door = Door(asked.predict, Access(asked.keys, None, None), audit, limits)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as wrong:
        print(f"the door cannot open: {type(wrong).__name__}: {wrong}", file=sys.stderr)
        return 2
    return process.serve(process.application([Route("/digits", door.digits, methods=["POST"])], door.lifespan), asked)


if __name__ == "__main__":
    sys.exit(main())
