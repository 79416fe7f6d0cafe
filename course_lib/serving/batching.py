"""Requests to the same version, joined: a queue for each, and threads that compute what the queues hold.

A processor reads a network's weights once for a call, whether it holds one sample or thirty. Whatever arrives while the
threads are busy is therefore computed together, in the next call: the busier, the larger the batches, and nobody waits
for a batch to fill unless the server was told to. (Olston et al., 2017, TensorFlow-Serving, section 2.2.1.)

Everything here but `_work` runs on the event loop, so that no lock is needed.
"""

import asyncio
import queue
import threading
import time
from collections import OrderedDict, deque
from dataclasses import dataclass, field

from course_lib.serving.errors import Refused
from course_lib.serving.models import Answer, Feeds, Model
from course_lib.serving.telemetry import Metrics


@dataclass(eq=False, slots=True)
class Call:
    """One request that waits: its arrays, how many samples they hold, and where its answer goes."""

    feeds: Feeds
    samples: int
    shapes: tuple
    future: asyncio.Future
    arrived: float
    timer: asyncio.TimerHandle | None = None


@dataclass(eq=False)
class Queue:
    """What waits for one version."""

    model: Model
    largest: int
    calls: deque[Call] = field(default_factory=deque)
    samples: int = 0
    timer: asyncio.TimerHandle | None = None


class Batcher:
    """Computes requests with `workers` threads: `await batcher.compute(model, feeds, samples, timeout)`."""

    def __init__(
        self, workers: int, max_batch_size: int, wait_seconds: float, max_queue: int, metrics: Metrics
    ) -> None:
        """max_batch_size: samples that one call may join; a request that is larger is computed alone. wait_seconds: how
        long a request may wait for others although a thread is free. max_queue: samples that may wait for a version."""
        self.max_batch_size, self.wait_seconds, self.max_queue = max_batch_size, wait_seconds, max_queue
        self._metrics, self._free = metrics, workers
        self._queues: OrderedDict[Model, Queue] = OrderedDict()  # those that hold something; the next one first
        self._work: queue.SimpleQueue = queue.SimpleQueue()
        self._loop: asyncio.AbstractEventLoop | None = None
        for number in range(workers):
            threading.Thread(target=self._run, name=f"compute-{number}", daemon=True).start()

    async def compute(self, model: Model, feeds: Feeds, samples: int, timeout: float, largest: int | None) -> Answer:
        """The model's answer. timeout: seconds until the client is told 504. largest: the model's own largest batch.

        Raises Refused: 429 where too many samples wait already, 504 where the time is over (what has not begun by then
        is not computed), and what the model itself refuses.
        """
        self._loop = loop = asyncio.get_running_loop()
        waiting = self._queues.get(model)
        if waiting is None:
            limit = min(largest or self.max_batch_size, self.max_batch_size) if model.batches else 1
            waiting = self._queues[model] = Queue(model, limit)
        elif waiting.calls and waiting.samples + samples > self.max_queue:
            message = (
                f"{waiting.samples} samples wait already, of at most {self.max_queue} (--max-queue): try again later."
            )
            raise Refused(429, message, {"Retry-After": "1"})
        shapes = tuple([array.shape[1:] for array in feeds.values()])
        call = Call(feeds, samples, shapes, loop.create_future(), time.perf_counter())
        call.timer = loop.call_later(timeout, self._expire, waiting, call, timeout)
        waiting.calls.append(call)
        waiting.samples += samples
        self._metrics.waiting.inc(samples)
        self._start()
        try:
            return await call.future
        finally:
            call.timer.cancel()

    def _expire(self, waiting: Queue, call: Call, timeout: float) -> None:
        """Tells the client, and forgets the call where it still waits."""
        if call in waiting.calls:
            waiting.calls.remove(call)
            self._leave(waiting, call)
        if not call.future.done():
            call.future.set_exception(Refused(504, f"no answer within {timeout * 1000:g} ms: try again later."))

    def _leave(self, waiting: Queue, call: Call) -> None:
        waiting.samples -= call.samples
        self._metrics.waiting.dec(call.samples)
        if not waiting.calls:
            self._queues.pop(waiting.model, None)

    def _start(self) -> None:
        """Gives batches to the threads that are free, one version after the other."""
        now = time.perf_counter()
        while self._free:
            waiting = next((each for each in self._queues.values() if self._is_due(each, now)), None)
            if waiting is None:
                return
            if batch := self._take(waiting):
                self._free -= 1
                self._work.put((waiting.model, batch, now))
            if waiting.calls:
                self._queues.move_to_end(waiting.model)

    def _is_due(self, waiting: Queue, now: float) -> bool:
        left = waiting.calls[0].arrived + self.wait_seconds - now
        if left <= 0 or waiting.samples >= waiting.largest:
            return True
        if waiting.timer is None or waiting.timer.when() < self._loop.time():
            waiting.timer = self._loop.call_later(left, self._start)
        return False

    def _take(self, waiting: Queue) -> list[Call]:
        """The first calls of the queue that fit into one batch: of one shape, and not too many samples."""
        batch, samples = [], 0
        while waiting.calls:
            call = waiting.calls[0]
            if batch and (samples + call.samples > waiting.largest or call.shapes != batch[0].shapes):
                break
            waiting.calls.popleft()
            self._leave(waiting, call)
            if not call.future.done():  # the client's time is over, or the client has gone
                batch.append(call)
                samples += call.samples
        return batch

    def _run(self) -> None:
        """A thread's life: compute a batch, hand the answers over to the event loop."""
        while True:
            model, batch, taken = self._work.get()
            begin = time.perf_counter()
            answers = model.run_together([call.feeds for call in batch])
            seconds = time.perf_counter() - begin
            self._loop.call_soon_threadsafe(self._finish, model, batch, answers, taken, seconds)
            del model, batch, answers  # a thread that waits must not keep a version alive

    def _finish(
        self, model: Model, batch: list[Call], answers: list[Answer | Exception], taken: float, seconds: float
    ) -> None:
        self._free += 1
        names = model.name, str(model.version)
        self._metrics.computed(*names).observe(seconds)
        self._metrics.sizes(*names).observe(sum(call.samples for call in batch))
        for call, answer in zip(batch, answers):
            self._metrics.queued(*names).observe(taken - call.arrived)
            if call.future.done():  # answered 504 while it was computed
                continue
            if isinstance(answer, Exception):
                call.future.set_exception(answer)
            else:
                call.future.set_result(answer)
        self._start()
