"""Requests to the same version, joined: a queue for each, and threads that compute what the queues hold.

A processor reads a network's weights once for a call, whether it holds one sample or thirty. Whatever arrives while the
threads are busy is therefore computed together, in the next call: the busier, the larger the batches, and nobody waits
for a batch to fill unless the server was told to. (Olston et al., 2017, TensorFlow-Serving, section 2.2.1.)

A batch that is expected to take less time than handing it to a thread and back costs is computed on the event loop.
Everything here but `_run` runs on the event loop, so that no lock is needed.
"""

import asyncio
import queue
import threading
import time
import weakref
from collections import OrderedDict, deque
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Any

from course_lib.serving.errors import Refused
from course_lib.serving.limits import Limits
from course_lib.serving.models import Feeds, Model
from course_lib.serving.telemetry import VersionMetrics

INLINE_SECONDS = 0.001
"""Up to this long the event loop may stand still for a computation."""
STALL_SECONDS = 0.05
"""A computation that was expected to be short and took so long was no exception: its version is not expected to be
short again."""
TURN_SECONDS = 0.005
"""After so many seconds of computations, the event loop first looks after everything else: deadlines above all."""


@dataclass(eq=False, slots=True)
class Call:
    """One request that waits: its arrays, how many samples they hold, who waits for it, and its answer.

    `await call` waits until the batcher has the answer, and has told so."""

    feeds: Feeds
    samples: int
    numbers: int
    shapes: tuple
    owner: Any
    arrived: float
    timer: asyncio.TimerHandle | None = None
    answer: Feeds | Exception | None = None

    def __await__(self) -> Generator[None, None, Feeds]:
        while self.answer is None:
            yield
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@dataclass(eq=False)
class Queue:
    """What waits for one version."""

    model: Model
    largest: int
    calls: deque[Call] = field(default_factory=deque)
    samples: int = 0
    timer: asyncio.TimerHandle | None = None


class Batcher:
    """Computes requests, as many threads at once as the limits say: `await batcher.compute(model, feeds, …)`."""

    def __init__(
        self,
        limits: Limits,
        metrics: Callable[[Model], VersionMetrics],
        go_on: Callable[[list], None],
        trace: Callable[..., None] | None = None,
    ) -> None:
        """metrics: where a version's batches are counted. go_on: told the owners of calls that now have an answer.
        trace: told when calls left their queue and were computed (tracing.Tracing.batched)."""
        self._limits, self._metrics, self._go_on, self._free = limits, metrics, go_on, limits.workers
        self._trace = trace
        self._queues: OrderedDict[Model, Queue] = OrderedDict()  # those that hold something; the next one first
        self._work: queue.SimpleQueue = queue.SimpleQueue()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._starting = False
        # Version -> size of a batch, in bits -> seconds that such a batch took lately, a running mean.
        self._seconds: weakref.WeakKeyDictionary[Model, dict[int, float]] = weakref.WeakKeyDictionary()
        # Versions whose time depends on more than the size of their input: always given to a thread.
        self._uneven: weakref.WeakSet[Model] = weakref.WeakSet()
        for number in range(limits.workers):
            threading.Thread(target=self._run, name=f"compute-{number}", daemon=True).start()

    def waiting(self) -> int:
        """How many samples wait."""
        return sum([each.samples for each in self._queues.values()])

    async def compute(
        self, model: Model, feeds: Feeds, samples: int, timeout: float, largest: int | None, owner: Any = None
    ) -> Feeds:
        """The model's answer. timeout: seconds until the client is told 504. largest: the model's own largest batch.
        owner: what `go_on` will be told.

        Raises Refused: 429 where too many samples wait already, 504 where the time is over (what has not begun by then
        is not computed), and what the model itself refuses.
        """
        self._loop = loop = asyncio.get_running_loop()
        waiting = self._queues.get(model)
        if waiting is None:
            limit = min(largest or self._limits.max_batch_size, self._limits.max_batch_size) if model.batches else 1
            waiting = self._queues[model] = Queue(model, limit)
        elif waiting.calls and waiting.samples + samples > self._limits.max_queue:
            message = f"{waiting.samples} samples wait already, of at most {self._limits.max_queue} (--max-queue): try again later."
            raise Refused(429, message, {"Retry-After": "1"})
        shapes, numbers = tuple([array.shape[1:] for array in feeds.values()]), sum([a.size for a in feeds.values()])
        call = Call(feeds, samples, numbers, shapes, owner, time.perf_counter())
        call.timer = loop.call_later(timeout, self._expire, waiting, call, timeout)
        waiting.calls.append(call)
        waiting.samples += samples
        self._start_soon()
        try:
            return await call
        except BaseException:  # given up from outside, perhaps
            self._give_up(waiting, call)
            raise
        finally:
            call.timer.cancel()

    def _expire(self, waiting: Queue, call: Call, timeout: float) -> None:
        self._give_up(waiting, call)
        if call.answer is None:
            call.answer = Refused(
                504,
                f"no answer within {timeout * 1000:g} ms, the time that this request had: give it more, or fewer rows.",
            )
            self._go_on([call.owner])

    def _give_up(self, waiting: Queue, call: Call) -> None:
        """What has not begun is not computed."""
        if call in waiting.calls:
            waiting.calls.remove(call)
            self._leave(waiting, call)
            if self._trace:
                self._trace([call], time.perf_counter())

    def _leave(self, waiting: Queue, call: Call) -> None:
        waiting.samples -= call.samples
        if not waiting.calls:
            self._queues.pop(waiting.model, None)

    def _start_soon(self) -> None:
        """Starts once for all requests that came in the same turn of the event loop, so that they are computed together."""
        if not self._starting:
            self._starting = True
            self._loop.call_soon(self._start)

    def _start(self) -> None:
        """Begins what can be computed now, one version after the other."""
        self._starting = False
        end = time.perf_counter() + TURN_SECONDS
        while any([self._begin(waiting) for waiting in list(self._queues.values())]):
            if time.perf_counter() > end:
                return self._start_soon()

    def _begin(self, waiting: Queue) -> bool:
        """Takes one batch from a queue and begins it: here if it is short, else by a thread if one is free."""
        now = time.perf_counter()
        if not waiting.calls or not self._is_due(waiting, now):
            return False
        batch = self._next_batch(waiting)
        short = self._is_short(waiting.model, batch)
        if not short and not self._free:
            return False
        for _ in batch:
            self._leave(waiting, waiting.calls.popleft())
        if waiting.calls:
            self._queues.move_to_end(waiting.model)
        if short:
            answers, began, seconds = self._compute(waiting.model, batch)
            if seconds > STALL_SECONDS:
                self._uneven.add(waiting.model)
            self._finish(waiting.model, batch, answers, began, seconds, now)
        else:
            self._free -= 1
            self._work.put((waiting.model, batch, now))
        return True

    def _is_short(self, model: Model, batch: list[Call]) -> bool:
        return model not in self._uneven and self._seconds.get(model, {}).get(_size(batch), 1.0) < INLINE_SECONDS

    def _is_due(self, waiting: Queue, now: float) -> bool:
        left = waiting.calls[0].arrived + self._limits.batch_wait_seconds - now
        if left <= 0 or waiting.samples >= waiting.largest:
            return True
        if waiting.timer is None:
            waiting.timer = self._loop.call_later(left, self._wake, waiting)
        return False

    def _wake(self, waiting: Queue) -> None:
        """A loop's clock may ring a little early: then the next look sets the timer anew."""
        waiting.timer = None
        self._start_soon()

    def _next_batch(self, waiting: Queue) -> list[Call]:
        """The first calls of the queue that fit into one batch: of one shape, and not too many samples."""
        batch, samples = [], 0
        for call in waiting.calls:
            samples += call.samples
            if batch and (samples > waiting.largest or call.shapes != batch[0].shapes):
                break
            batch.append(call)
        return batch

    def _compute(self, model: Model, batch: list[Call]) -> tuple[list[Feeds | Exception], float, float]:
        """An answer for each call, when that began, and the seconds that it took."""
        began = time.perf_counter()
        answers = model.run_together([call.feeds for call in batch])
        return answers, began, time.perf_counter() - began

    def _run(self) -> None:
        """A thread's life: compute a batch, hand the answers over to the event loop."""
        while True:
            model, batch, taken = self._work.get()
            answers, began, seconds = self._compute(model, batch)
            try:
                self._loop.call_soon_threadsafe(self._give_back, model, batch, answers, began, seconds, taken)
            except RuntimeError:  # the event loop is closed: the process ends
                return
            del model, batch, answers  # a thread that waits must not keep a version alive

    def _give_back(self, model: Model, *finished: object) -> None:
        self._free += 1
        self._finish(model, *finished)
        self._start_soon()

    def _finish(
        self,
        model: Model,
        batch: list[Call],
        answers: list[Feeds | Exception],
        began: float,
        seconds: float,
        taken: float,
    ) -> None:
        if self._trace:
            self._trace(batch, taken, began, seconds)
        times, size = self._seconds.setdefault(model, {}), _size(batch)
        times[size] = times.get(size, seconds) * 0.8 + seconds * 0.2
        metrics = self._metrics(model)
        metrics.computed.observe(seconds)
        metrics.batch_size.observe(sum([call.samples for call in batch]))
        owners = []
        for call, answer in zip(batch, answers):
            metrics.queued.observe(taken - call.arrived)
            if call.answer is None:  # else it was answered 504 while it was computed
                call.answer = answer
                owners.append(call.owner)
        self._go_on(owners)


def _size(batch: list[Call]) -> int:
    return sum([call.numbers for call in batch]).bit_length()
