"""A predictor that only pretends to compute: it takes time, not processor time, so that a laptop can be overloaded coolly.

It answers POST …:predict as the model server does, one batch at a time. A batch takes --work-ms and --sample-ms for each
picture in it. It counts where the time goes, by state (filling: a batch waits for more requests) and by client, which
names itself in User-Agent.
"""

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncIterator

import prometheus_client
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from course_lib.services import process

SPENT = prometheus_client.Counter("predictor_state_seconds", "How the time was spent", ["state"])
BUSY = prometheus_client.Counter("predictor_client_seconds", "Computing, by client", ["client"])
COMPUTED = prometheus_client.Counter("predictor_computed", "Requests computed; late: nobody waited any more", ["late"])
WAITING = prometheus_client.Gauge("predictor_waiting", "Requests that wait")


class Predictor:
    """A queue, and one worker."""

    def __init__(self, asked) -> None:
        self.asked, self.waiting, self.came = asked, [], asyncio.Event()

    async def predict(self, request: Request) -> Response:
        body = await process.json_body(request)
        until = time.monotonic() + process.seconds_left(request, 3600)
        if len(self.waiting) >= self.asked.max_queue:
            raise process.Refused(429, f"{len(self.waiting)} requests wait already", {"Retry-After": "1"})
        client, done = request.headers.get("User-Agent", "")[:20], asyncio.get_running_loop().create_future()
        self.waiting.append((until, len(body["instances"]), client, done))
        self.came.set()
        if not await done:
            raise process.Refused(504, "too late to begin")
        return process.answer({"predictions": [[0.0] * 10] * len(body["instances"])})

    async def filled(self) -> None:
        """Waits for a request, and then for a full batch, or for --batch-wait-ms since the first."""
        while not self.waiting:
            self.came.clear()
            await self.came.wait()
        began = time.monotonic()
        while (
            len(self.waiting) < self.asked.batch_size
            and (left := began + self.asked.batch_wait_ms / 1000 - time.monotonic()) > 0
        ):
            self.came.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.came.wait(), left)

    async def work(self) -> None:
        while True:
            began = time.monotonic()
            await self.filled()
            now = time.monotonic()
            SPENT.labels("filling").inc(now - began if self.asked.batch_wait_ms else 0)
            batch, self.waiting[:] = self.waiting[: self.asked.batch_size], self.waiting[self.asked.batch_size :]
            late = [each for each in batch if each[0] < now]
            batch = [each for each in batch if each[0] >= now or self.asked.keep_late == "yes"]
            if batch:
                await asyncio.sleep((self.asked.work_ms + self.asked.sample_ms * sum(each[1] for each in batch)) / 1000)
            spent = time.monotonic() - now
            SPENT.labels("busy").inc(spent)
            for each in batch:
                BUSY.labels(each[2]).inc(spent * each[1] / sum(one[1] for one in batch))
                COMPUTED.labels("yes" if each in late else "no").inc()
            for each in batch + late:
                if not each[3].done():
                    each[3].set_result(each in batch)


def main() -> int:
    parser = process.options("predictor", "Pretends to compute.")
    for name, value in {"work-ms": 25, "sample-ms": 3, "batch-wait-ms": 0, "batch-size": 1, "max-queue": 16}.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--keep-late", choices=["yes", "no"], default="no", help="compute what nobody waits for")
    asked = parser.parse_args()

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        task = asyncio.create_task(own.work())
        yield
        task.cancel()

    async def predict(request: Request) -> Response:
        return await own.predict(request)

    own = Predictor(asked)
    WAITING.set_function(lambda: len(own.waiting))
    SPENT.labels("filling"), SPENT.labels("busy"), COMPUTED.labels("yes"), COMPUTED.labels("no")
    return process.serve(
        process.application([Route("/v1/models/{rest:path}", predict, methods=["POST"])], lifespan), asked
    )


if __name__ == "__main__":
    sys.exit(main())
