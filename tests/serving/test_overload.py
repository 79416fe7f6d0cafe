"""More than can be computed, and requests that wait too long: what is refused, and that nothing else is lost."""

import asyncio

import pytest

from course_lib.serving.errors import Refused
from course_lib.serving.limits import Limits
from tests.serving.conftest import DIGITS, IMAGE, Local, finish, start
from tests.serving.test_batching import Held, Queued, busy, come, run

SLOW = "/v1/models/slow:predict"
FOUR = {"instances": [[1, 2, 3, 4]]}


def test_beyond_the_longest_queue_a_request_is_refused_and_none_of_the_others_lost():
    async def test() -> None:
        queued, model = Queued(max_queue=3, max_batch_size=1), Held()
        waiting = [await busy(queued, model)] + [queued.ask(model, value) for value in (1, 2, 3)]
        await come(lambda: queued.batcher.waiting() == 3)
        with pytest.raises(Refused) as refused:
            await queued.ask(model, 4)
        assert refused.value.status == 429 and refused.value.headers == {"Retry-After": "1"}
        assert "3 samples wait already, of at most 3" in refused.value.message
        model.go.release(9)
        assert [answer["y"][0, 0] for answer in await asyncio.gather(*waiting)] == [0, 2, 4, 6]
        assert (await queued.ask(model, 5))["y"][0, 0] == 10
        assert model.calls == [[0], [1], [2], [3], [5]]

    run(test())


def test_the_queue_is_counted_in_samples_and_for_each_version():
    async def test() -> None:
        queued, model, other = Queued(max_queue=4), Held(), Held()
        waiting = [await busy(queued, model), queued.ask(model, 1, rows=3)]
        await come(lambda: queued.batcher.waiting() == 3)
        with pytest.raises(Refused):
            await queued.ask(model, 2, rows=2)
        waiting += [queued.ask(model, 3), queued.ask(other, 4, rows=4)]
        await come(lambda: queued.batcher.waiting() == 8)
        model.go.release(9)
        other.go.release(9)
        await asyncio.gather(*waiting)

    run(test())


def test_a_request_larger_than_the_queue_is_computed_where_nothing_waits():
    async def test() -> None:
        queued, model = Queued(max_queue=2), Held()
        model.go.release()
        assert len((await queued.ask(model, 1, rows=5))["y"]) == 5

    run(test())


def test_what_waits_too_long_gets_a_504_and_is_not_computed():
    async def test() -> None:
        queued, model = Queued(max_batch_size=1), Held()
        first = await busy(queued, model)
        late = [queued.ask(model, value, timeout=0.01) for value in (1, 2)]
        patient = queued.ask(model, 3)
        for each in late:
            with pytest.raises(Refused) as refused:
                await each
            assert refused.value.status == 504 and "no answer within 10 ms" in refused.value.message
        assert queued.batcher.waiting() == 1
        model.go.release(9)
        await asyncio.gather(first, patient)
        assert model.calls == [[0], [3]]

    run(test())


def test_what_is_late_while_it_is_computed_gets_a_504_at_once():
    async def test() -> None:
        queued, model = Queued(), Held()
        with pytest.raises(Refused) as refused:
            await queued.ask(model, 1, timeout=0.01)
        assert refused.value.status == 504 and model.calls == [[1]]
        model.go.release(9)
        assert (await queued.ask(model, 2))["y"][0, 0] == 4

    run(test())


def test_a_deadline_that_passes_in_the_same_turn_as_a_thread_comes_free_is_kept():
    async def test() -> None:
        queued, model = Queued(max_batch_size=1), Held()
        first, late = await busy(queued, model), queued.ask(model, 1, timeout=0.02)
        await come(lambda: queued.batcher.waiting() == 1)
        model.go.release(9)
        end = asyncio.get_running_loop().time() + 0.1
        while asyncio.get_running_loop().time() < end:  # the event loop stands still, and then finds both done
            pass
        with pytest.raises(Refused):
            await late
        await first
        assert model.calls == [[0]]

    run(test())


def test_a_request_that_is_given_up_is_not_computed():
    async def test() -> None:
        queued, model = Queued(max_batch_size=1), Held()
        first, left = await busy(queued, model), queued.ask(model, 1)
        await come(lambda: queued.batcher.waiting() == 1)
        left.cancel()
        await asyncio.wait([left])
        assert queued.batcher.waiting() == 0
        model.go.release(9)
        await first
        assert model.calls == [[0]]

    run(test())


@pytest.mark.parametrize("value", ["0", "-1", "1.5", "", "soon", "9999999999", "²", "1 2"])
def test_a_timeout_that_is_none_is_refused(local, value):
    answer = local.ask("POST", DIGITS, {"instances": [IMAGE]}, {"X-Request-Timeout-Ms": value})
    assert answer.status == 400 and "X-Request-Timeout-Ms expects whole milliseconds from 1" in answer.error


@pytest.mark.parametrize("path", [SLOW, "/v2/models/slow/infer"])
def test_a_client_may_ask_for_a_shorter_time(local, path):
    body = FOUR if path == SLOW else {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1] * 4}]}
    answer = local.ask("POST", path, body, {"X-Request-Timeout-Ms": "5"})
    assert answer.status == 504 and "no answer within 5 ms" in answer.error


def test_nobody_gets_longer_than_the_server_grants(models):
    with Local(models, Limits(timeout_seconds=0.01)) as hasty:
        answer = hasty.ask("POST", SLOW, FOUR, {"X-Request-Timeout-Ms": "60000"})
    assert answer.status == 504 and "no answer within 10 ms" in answer.error


def test_a_full_process_refuses_some_and_answers_all_others(models, tmp_path):
    server = start(tmp_path / "log", models, "--threads", "1", "--max-queue", "2", "--max-batch-size", "1")
    asked = [server.begin("POST", SLOW, FOUR) for _ in range(8)]
    assert server.ask("GET", "/v2/health/ready").status == 200
    assert server.works(), "another model has a queue of its own"
    answers = []
    for connection in asked:
        answers.append(finish(connection))
        connection.close()
    refused = [answer for answer in answers if answer.status == 429]
    assert {answer.status for answer in answers} == {200, 429} and len(refused) in (4, 5)
    assert all(answer.headers["retry-after"] == "1" and "samples wait already" in answer.error for answer in refused)
    assert all(answer.json == {"predictions": FOUR["instances"]} for answer in answers if answer.status == 200)
    assert server.stop() == 0
