"""The circuit breaker and the budget for retries, with a clock of the test's own."""

import asyncio
import math
from itertools import count

import pytest

from course_lib.services import gateway
from course_lib.services.breaker import Breaker, RetryBudget
from course_lib.services.process import Refused
from course_lib.services.upstream import Question, Upstream, ask


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def breaker(clock):
    """Opens for 2 s after 3 failures among the last 6 tries."""
    return Breaker(3, 0.5, 2.0, clock)


def tries(breaker: Breaker, ends: str) -> None:
    """f: failed, s: succeeded, -: showed nothing."""
    for each in ends:
        breaker.end(breaker.begin(), {"f": True, "s": False, "-": None}[each])


@pytest.mark.parametrize(
    ("ends", "opened"),
    [("fff", True), ("ff", False), ("fsfsf", True), ("fssssf", False), ("fsssssff", False), ("sssssssfff", True),
     ("f-f-f", True), ("-----", False), ("fsssss" * 9, False)],
)  # fmt: skip
def test_it_opens_where_the_failures_are_that_share_of_the_last_tries(breaker, ends, opened):
    tries(breaker, ends)
    assert breaker.open == opened and (breaker.wait() > 0) == opened


def test_a_rate_of_one_counts_failures_in_a_row(clock):
    breaker = Breaker(3, 1.0, 2.0, clock)
    tries(breaker, "ffsffsff")
    assert not breaker.open
    tries(breaker, "f")
    assert breaker.open


def test_open_it_says_how_long_and_then_lets_one_try_pass(breaker, clock):
    tries(breaker, "fff")
    clock.now = 0.5
    assert breaker.wait() == 1.5
    clock.now = 2.0
    assert breaker.wait() == 0
    breaker.begin()
    assert breaker.wait() > 0, "a second one waits for the first"


@pytest.mark.parametrize(("end", "opened", "wait"), [("s", False, 0), ("f", True, 2), ("-", True, 0)])
def test_the_one_try_closes_it_opens_it_again_or_shows_nothing(breaker, clock, end, opened, wait):
    tries(breaker, "fff")
    clock.now = 2.0
    tries(breaker, end)
    assert (breaker.open, breaker.wait()) == (opened, wait)


def test_closed_again_it_has_forgotten_the_failures_of_before(breaker, clock):
    tries(breaker, "fff")
    clock.now = 2.0
    tries(breaker, "sff")
    assert not breaker.open


def test_tries_from_before_a_change_count_no_more(breaker, clock):
    late = [breaker.begin() for _ in range(4)]
    tries(breaker, "fff")
    clock.now = 2.0
    for era in late[:2]:
        breaker.end(era, False)
    assert breaker.open, "their success does not close it"
    tries(breaker, "s")
    for era in late[2:] * 3:
        breaker.end(era, True)
    assert not breaker.open, "nor does their failure open it"


def test_retries_stay_within_their_budget():
    budget = RetryBudget(0.25, reserve=2)
    assert [budget.spend() for _ in range(3)] == [True, True, False]
    for _ in range(4):
        budget.earn()
    assert [budget.spend() for _ in range(2)] == [True, False]


def test_a_breaker_that_comes_to_its_time_while_a_request_is_refused_refuses_it_with_503():
    asked = gateway.parsed(["--port", "0", "--predictor", "http://127.0.0.1:9"])
    upstream, clock = Upstream("preprocess", "http://127.0.0.1:9", asked), Clock()
    upstream.breaker = Breaker(1, 0.5, 2.0, clock)
    tries(upstream.breaker, "f")
    ticks = count()

    def later() -> float:  # open when it is asked, and no more when it is asked again
        return 1.9 if next(ticks) == 0 else 2.1

    upstream.breaker._clock = later
    with pytest.raises(Refused) as refused:
        asyncio.run(ask(None, [upstream], Question("POST", "/pixels", b"", [], math.inf), asked))
    assert refused.value.status == 503
