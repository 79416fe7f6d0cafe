"""The customers of drill 5: they have digits read at the desks, and every second one says later what it was.

Each line of the output is one request: desk, request_id, status, answer; or one label that came back. What the scanners
do to the pictures is told over POST /world, {"desk-1": {"ink": 0.5, "turned": true, "cropped": true}}.
"""

import asyncio
import contextlib
import json
import random
import sys
import time
import uuid
from pathlib import Path

import aiohttp
import numpy as np
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from course_lib.services import process

LAST_SECONDS = 3 * 3600
"""Customers go home: a drill that somebody forgets does not run for ever."""

SAYS, MISTAKEN = 2, 0.05
"""Every which customer says what it was, and the share of these who press the wrong key."""


def scanned(picture: np.ndarray, ink: float = 1.0, turned: bool = False, cropped: bool = False) -> np.ndarray:
    """What the scanner makes of a picture, (8, 8) or, cropped, (8, 7)."""
    picture = np.rot90(picture) if turned else picture
    return ink * (picture[:, :7] if cropped else picture)


class Customers:
    def __init__(self, digits: tuple[np.ndarray, np.ndarray], rate: float, delay_s: float) -> None:
        self.rate, self.delay_s, self.world = rate, delay_s, {}
        self.pictures, self.labels, self.random = *digits, random.Random()
        self.going = set()

    async def come(self, desk: str, url: str) -> None:
        """Sends to a desk until closing time, `rate` pictures a second."""
        async with aiohttp.ClientSession(url, timeout=aiohttp.ClientTimeout(total=5)) as wire:
            due, end, number = time.monotonic(), time.monotonic() + LAST_SECONDS, 0
            while due < end:
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                due, number = max(due, time.monotonic() - 1) + 1 / self.rate, number + 1
                visit = asyncio.create_task(self.visit(wire, desk, number % SAYS == 0))
                self.going.add(visit)
                visit.add_done_callback(self.going.discard)

    async def visit(self, wire: aiohttp.ClientSession, desk: str, says: bool) -> None:
        at = self.random.randrange(len(self.labels))
        line = {"desk": desk, "request_id": f"c-{uuid.uuid4().hex[:8]}", "status": 0}
        body = {"picture": scanned(self.pictures[at], **self.world.get(desk, {})).tolist()}
        with contextlib.suppress(aiohttp.ClientError, TimeoutError):  # a desk that does not answer has status 0
            async with wire.post("/read", json=body, headers={"X-Request-Id": line["request_id"]}) as found:
                line |= {"status": found.status, "answer": (await found.json()).get("answer")}
        print(json.dumps({"time": round(time.time(), 2)} | line), flush=True)
        if line["status"] == 200 and says:
            await asyncio.sleep(self.delay_s * self.random.uniform(0.5, 1.5))
            label = int(self.labels[at])
            label = self.random.randrange(10) if self.random.random() < MISTAKEN else label
            with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                async with wire.post("/label", json={"request_id": line["request_id"], "label": label}):
                    pass
            said = {"time": round(time.time(), 2), "desk": desk, "request_id": line["request_id"], "label": label}
            print(json.dumps(said), flush=True)


def main() -> int:
    parser = process.options("customers", "Has digits read.")
    parser.add_argument("--digits", type=Path, required=True, help="images (N, 8, 8) and labels (N,), in an .npz file")
    parser.add_argument("--desk", action="append", required=True, help="NAME=URL")
    parser.add_argument("--rate", type=float, default=6, help="pictures a second at each desk")
    parser.add_argument("--label-delay-s", type=float, default=2)
    asked = parser.parse_args()
    drawn = np.load(asked.digits)
    customers = Customers((drawn["images"], drawn["labels"]), asked.rate, asked.label_delay_s)

    @contextlib.asynccontextmanager
    async def lifespan(app):
        tasks = [asyncio.create_task(customers.come(*each.split("=", 1))) for each in asked.desk]
        yield
        for task in [*tasks, *customers.going]:
            task.cancel()

    async def world(request: Request) -> Response:
        customers.world = await process.json_body(request)
        return process.answer({})

    return process.serve(process.application([Route("/world", world, methods=["POST"])], lifespan), asked)


if __name__ == "__main__":
    sys.exit(main())
