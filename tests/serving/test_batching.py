"""Requests joined into one call: none is answered otherwise than alone. The queue, with a model that tells when to go on."""

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field

import numpy as np
import pytest

from course_lib.serving import batching
from course_lib.serving.batching import Batcher
from course_lib.serving.errors import Refused
from course_lib.serving.limits import Limits
from course_lib.serving.models import Model
from course_lib.serving.telemetry import VersionMetrics
from tests.serving.conftest import save


@dataclass(eq=False)
class Held:
    """A model that keeps what it is asked, and answers once it may: twice the input."""

    batches: bool = True
    name: str = "held"
    version: int = 1
    calls: list[list[float]] = field(default_factory=list)
    go: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    def run_together(self, requests: list[dict]) -> list[dict]:
        self.calls.append([float(each["x"].flat[0]) for each in requests])
        assert self.go.acquire(timeout=20)
        return [{"y": each["x"] * 2} for each in requests]


class Queued:
    """A batcher within an event loop of its own."""

    def __init__(self, **limits: object) -> None:
        self.metrics = VersionMetrics()
        self.batcher = Batcher(Limits(**limits), lambda model: self.metrics, lambda owners: None)

    def ask(self, model: object, value: float, rows: int = 1, width: int = 2, timeout: float = 20, largest=None):
        feeds = {"x": np.full((rows, width), value, np.float32)}
        return asyncio.create_task(self.batcher.compute(model, feeds, rows, timeout, largest))


async def come(true: Callable[[], object]) -> None:
    """Lets the event loop turn until `true()` is."""
    async with asyncio.timeout(20):
        while not true():
            await asyncio.sleep(0.001)


def run(test: Coroutine) -> None:
    asyncio.run(test)


async def busy(queued: Queued, model: Held) -> asyncio.Task:
    """The one thread computes, so that whatever comes from now on waits."""
    first = queued.ask(model, 0)
    await come(lambda: model.calls)
    return first


def test_what_arrives_while_the_thread_is_busy_is_computed_together():
    async def test() -> None:
        queued, model = Queued(), Held()
        waiting = [await busy(queued, model)] + [queued.ask(model, value) for value in (1, 2, 3)]
        await come(lambda: queued.batcher.waiting() == 3)
        model.go.release(2)
        answers = await asyncio.gather(*waiting)
        assert model.calls == [[0], [1, 2, 3]]
        assert [answer["y"][0, 0] for answer in answers] == [0, 2, 4, 6] and queued.batcher.waiting() == 0

    run(test())


def test_what_arrives_at_once_is_computed_together():
    async def test() -> None:
        queued, model = Queued(), Held()
        model.go.release(9)
        await asyncio.gather(*[queued.ask(model, value) for value in (1, 2, 3)])
        assert model.calls == [[1, 2, 3]]

    run(test())


@pytest.mark.parametrize(
    ("rows", "own", "expected"),
    [
        ([2, 2, 1, 3], None, [[1, 2], [3, 4]]),
        ([1, 9, 1], None, [[1], [2], [3]]),
        ([4, 1], None, [[1], [2]]),
        ([1, 1, 1], 2, [[1, 2], [3]]),
        ([1, 1, 1, 1, 1], 99, [[1, 2, 3, 4], [5]]),
    ],
)
def test_batches_are_counted_in_samples_and_what_is_larger_runs_alone(rows, own, expected):
    async def test() -> None:
        queued, model = Queued(max_batch_size=4), Held()
        waiting = [await busy(queued, model)]
        waiting += [queued.ask(model, value, count, largest=own) for value, count in enumerate(rows, 1)]
        await come(lambda: queued.batcher.waiting() == sum(rows))
        model.go.release(9)
        answers = await asyncio.gather(*waiting)
        assert model.calls[1:] == expected
        assert [len(answer["y"]) for answer in answers[1:]] == rows

    run(test())


def test_different_shapes_are_not_joined_and_keep_their_order():
    async def test() -> None:
        queued, model = Queued(), Held()
        waiting = [await busy(queued, model)]
        waiting += [queued.ask(model, value, width=width) for value, width in ((1, 2), (2, 2), (3, 5), (4, 2))]
        await come(lambda: queued.batcher.waiting() == 4)
        model.go.release(9)
        await asyncio.gather(*waiting)
        assert model.calls[1:] == [[1, 2], [3], [4]]

    run(test())


def test_a_model_that_cannot_batch_is_asked_one_by_one():
    async def test() -> None:
        queued, model = Queued(), Held(batches=False)
        model.go.release(9)
        await asyncio.gather(*[queued.ask(model, value) for value in (1, 2)])
        assert model.calls == [[1], [2]]

    run(test())


def test_a_request_waits_for_others_until_the_batch_is_full():
    async def test() -> None:
        queued, model = Queued(max_batch_size=3, batch_wait_seconds=60), Held()
        model.go.release(9)
        waiting = [queued.ask(model, 1), queued.ask(model, 2)]
        await asyncio.sleep(0.02)
        assert not model.calls and queued.batcher.waiting() == 2
        await asyncio.gather(*waiting, queued.ask(model, 3))
        assert model.calls == [[1, 2, 3]]

    run(test())


def test_a_request_waits_no_longer_than_the_longest_wait():
    async def test() -> None:
        queued, model = Queued(max_batch_size=3, batch_wait_seconds=0.05), Held()
        model.go.release(9)
        assert (await queued.ask(model, 1))["y"][0, 0] == 2
        assert (await queued.ask(model, 2))["y"][0, 0] == 4
        assert queued.metrics.queued.total > 0.09

    run(test())


def test_a_timer_that_rings_early_does_not_leave_a_request_behind(monkeypatch):
    async def test() -> None:
        queued, model = Queued(max_batch_size=3, batch_wait_seconds=0.1), Held()
        model.go.release()
        loop = asyncio.get_running_loop()
        later = loop.call_later

        class Early:
            """A timer of a clock that is ahead: it rings at half the time, and says that it was set to the whole."""

            def __init__(self, delay: float, *call: object) -> None:
                self.at, self.timer = loop.time() + delay, later(delay / 2, *call)
                self.when, self.cancel = lambda: self.at, self.timer.cancel

        monkeypatch.setattr(loop, "call_later", lambda delay, *call: (Early if delay < 1 else later)(delay, *call))
        begin = time.perf_counter()
        answer = await queued.ask(model, 4, timeout=10)
        assert answer["y"][0, 0] == 8 and 0.1 <= time.perf_counter() - begin < 5

    run(test())


def test_a_model_with_a_long_queue_does_not_keep_others_from_the_thread():
    async def test() -> None:
        queued, crowded, other = Queued(max_batch_size=1), Held(), Held()
        waiting = [await busy(queued, crowded)] + [queued.ask(crowded, value) for value in range(1, 6)]
        await come(lambda: queued.batcher.waiting() == 5)
        waiting.append(queued.ask(other, 7))
        other.go.release()
        await come(lambda: queued.batcher.waiting() == 6)
        for _ in range(2):
            crowded.go.release()
            await asyncio.sleep(0.02)
        await come(lambda: other.calls)
        assert len(crowded.calls) <= 3
        crowded.go.release(9)
        await asyncio.gather(*waiting)

    run(test())


def test_short_batches_let_the_event_loop_go_on_in_between():
    """Computed on the event loop, a long queue of them must hold up neither other requests nor their own deadlines."""

    class Short(Held):
        inline = 0

        def run_together(self, requests: list[dict]) -> list[dict]:
            self.calls.append([])
            self.inline += threading.current_thread() is threading.main_thread()
            end = time.perf_counter() + 0.0005
            while time.perf_counter() < end:
                pass
            return [{"y": each["x"]} for each in requests]

    async def test() -> None:
        queued, model, turns = Queued(), Short(batches=False), []
        while not model.inline:  # by its second call or so it is known to be short
            await queued.ask(model, 0)
        model.calls.clear()

        async def turn() -> None:
            while True:
                turns.append(len(model.calls))
                await asyncio.sleep(0)

        turning = asyncio.create_task(turn())
        await asyncio.gather(*[queued.ask(model, value) for value in range(200)])
        turning.cancel()
        assert len({seen for seen in turns if 0 < seen < 200}) > 3

    run(test())


def test_a_version_that_once_was_not_as_short_as_expected_is_computed_by_threads(monkeypatch):
    monkeypatch.setattr(batching, "INLINE_SECONDS", 0.3)  # a busy machine may pause a thread for some milliseconds
    monkeypatch.setattr(batching, "STALL_SECONDS", 0.4)

    class Uneven(Held):
        """Short, but for one value; keeps by which thread it was asked."""

        def run_together(self, requests: list[dict]) -> list[dict]:
            value = float(requests[0]["x"].flat[0])
            self.calls.append([value, threading.current_thread().name])
            time.sleep(0.5 * (value == 99))
            return [{"y": each["x"] * 2} for each in requests]

    async def test() -> None:
        queued, model = Queued(), Uneven()
        for value in (0, 1, 99, 2, 3):
            await queued.ask(model, value)
        threads = [thread for _, thread in model.calls]
        assert threads == ["compute-0", "MainThread", "MainThread", "compute-0", "compute-0"]

    run(test())


def test_a_thread_goes_on_after_an_error_of_the_model():
    class Failing(Held):
        def run_together(self, requests: list[dict]) -> list:
            return [ValueError("no") for _ in requests]

    async def test() -> None:
        queued = Queued()
        for _ in range(3):
            with pytest.raises(ValueError):
                await queued.ask(Failing(), 1)
        assert queued.batcher.waiting() == 0

    run(test())


@pytest.fixture
def load(tmp_path):
    return lambda name, text="": Model(name, 1, save(tmp_path, name, text=text), 1)


def test_joined_requests_are_answered_as_alone(load):
    model, chance = load("pair"), np.random.default_rng(0)
    asked = [{"a": chance.random((rows, 2), np.float32), "b": chance.integers(0, 9, rows)} for rows in (1, 3, 1, 8)]
    for together, feeds in zip(model.run_together(asked), asked):
        alone = model.run(feeds)
        assert together.keys() == alone.keys()
        for name in alone:
            np.testing.assert_array_equal(together[name], alone[name])


def test_a_request_that_the_model_refuses_spoils_no_neighbour(load):
    asked = [{"index": np.array([value])} for value in (1, 7, 2)]
    good, bad, last = load("lookup").run_together(asked)
    assert (good["value"].tolist(), last["value"].tolist()) == ([2.0], [3.0])
    assert isinstance(bad, Refused) and bad.status == 400


def test_a_model_that_answers_another_number_of_rows_is_asked_one_by_one(load):
    model = load("odd", "(float[N] x) => (float[N] y) { y = Unique <sorted = 1> (x) }")
    first, second = model.run_together([{"x": np.float32([1, 2])}, {"x": np.float32([2])}])
    assert (first["y"].tolist(), second["y"].tolist()) == ([1, 2], [2])


@pytest.mark.parametrize(
    ("name", "joined"),
    [("copy", True), ("pair", True), ("dynamic", False), ("fixed", False), ("scalar", False), ("total", False)],
)
def test_only_models_whose_first_axes_count_the_samples_are_joined(load, name, joined):
    assert load(name).batches is joined


def test_axes_of_different_names_are_not_joined(load):
    assert not load("named", "(float[N,2] a, float[M,2] b) => (float[N,2] c) { c = Identity (a) }").batches
