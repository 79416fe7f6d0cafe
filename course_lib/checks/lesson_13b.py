"""Checks of lesson 13b. None of them reads a clock."""

import math
from collections.abc import Callable, Iterator

import numpy as np

from course_lib.checks import Register, raises
from course_lib.idioms.exercises import Property

EXERCISES = Register()


@EXERCISES.add("13b.1", "Is this p99 worth anything?")
def enough_queries(answer: Callable) -> Iterator[Property]:
    """answer(share, confidence=0.99, margin=None) -> number of requests."""
    yield ("p90 at 99 % and MLPerf's margin takes 23,886 requests", lambda: answer(0.90) == 23_886, [
        "The lesson derives n = z² p (1 − p) / m².",
        "m is (1 − p) / 20, and z belongs to a two-sided confidence: half of what is left over lies at each end.",
        "z = NormalDist().inv_cdf((1 + confidence) / 2)",
    ])  # fmt: skip
    yield ("it is the smallest whole number that is enough, an int", lambda: isinstance(answer(0.95), int | np.integer)
           and answer(0.95) == 50_426 and answer(0.99) == 262_742, [
        "For p95 the formula gives 50,425.2.",
        "50,425 are a fifth of a request short; what does round() do?",
        "math.ceil(…)",
    ])  # fmt: skip
    yield ("the confidence counts", lambda: answer(0.99, 0.95) == 152_122 and answer(0.5, 0.95) == 1_537, [
        "With 95 % instead of 99 %, fewer requests are enough.",
        "Is 2.58 written anywhere in your answer?",
        "NormalDist().inv_cdf((1 + confidence) / 2), whatever the confidence is.",
    ])  # fmt: skip
    yield ("a margin that is given replaces MLPerf's", lambda: answer(0.99, 0.99, 0.001) == 65_686
           and answer(0.5, 0.95, 0.03) == 1_068, [
        "An electoral poll: share 0.5, confidence 0.95, margin 0.03.",
        "margin=None stands for (1 − share) / 20; any number stands for itself.",
        "if margin is None: margin = (1 - share) / 20",
    ])  # fmt: skip
    yield ("p99.9 needs more than two and a half million", lambda: answer(0.999) == 2_651_305, [
        "How large is the default margin for p99.9?",
        "The margin shrinks with 1 − share; is yours fixed?",
        "margin = (1 - share) / 20 is 0.00005 here.",
    ])  # fmt: skip
    yield ("what is no share, no confidence and no margin is refused", lambda: all(
        raises(ValueError, answer, *case)
        for case in ((0.0,), (1.0,), (99,), (0.9, 0.0), (0.9, 1.0), (0.9, 99), (0.9, 0.99, 0.0), (0.9, 0.99, -0.01))
    ), [
        "Try a share of 99, a confidence of 1 and a margin of 0.",
        "A margin of 0 is not None: `margin or …` would take it for none.",
        "if not (0 < share < 1 and 0 < confidence < 1): raise ValueError(…), and the same for margin <= 0.",
    ])  # fmt: skip


def _counted(arrived: np.ndarray, answered: np.ndarray) -> tuple[float, int]:
    """An independent way: who is inside, asked at each arrival."""
    arrived, answered = np.asarray(arrived, float), np.asarray(answered, float)
    span = answered.max() - arrived.min()
    inside = (arrived[None] <= arrived[:, None]) & (answered[None] > arrived[:, None])
    return (float((answered - arrived).sum() / span), int(inside.sum(axis=1).max())) if span else (0.0, 0)


@EXERCISES.add("13b.2", "How many at once?")
def at_once(answer: Callable) -> Iterator[Property]:
    """answer(arrived, answered) -> (mean, most)."""

    def same(arrived: object, answered: object, within: float = 1e-9) -> bool:
        arrived, answered = np.asarray(arrived), np.asarray(answered)
        mean, most = answer(arrived.copy(), answered.copy())
        expected = _counted(arrived, answered)
        return bool(np.isclose(mean, expected[0], rtol=within, atol=0)) and most == expected[1]

    yield ("a single request of two seconds: 1 and 1", lambda: same([0.0], [2.0]), [
        "It is in the system for all of the time.",
        "The time runs from the first arrival to the last answer.",
        "mean = the sum of all stays / (answered.max() - arrived.min())",
    ])  # fmt: skip
    yield ("two that overlap: 4/3 on average, 2 at most", lambda: same([0.0, 1.0], [2.0, 3.0]), [
        "Between second 1 and second 2 both are inside.",
        "Two stays of 2 seconds, in 3 seconds.",
        "Add 1 at each arrival, take 1 away at each answer, and look for the largest sum.",
    ])  # fmt: skip
    yield ("time in which nobody is inside counts for the mean", lambda: same([0.0, 10.0], [1.0, 11.0]), [
        "Two stays of a second, nine seconds apart.",
        "Divide by all of the time, not by the busy part.",
        "2 / 11, and 1 at most.",
    ])  # fmt: skip
    yield ("an answer and an arrival at one moment do not meet", lambda: same([0.0, 1.0, 2.0], [1.0, 2.0, 3.0])
           and same(np.zeros(5), np.ones(5)) and same([0.0, 0.0, 1.0, 1.0], [1.0, 1.0, 2.0, 3.0]), [
        "Three requests, one after the other without a gap: 1 at most.",
        "In which order do you take an answer and an arrival of the same time?",
        "At one moment, answers first.",
    ])  # fmt: skip
    yield ("a request of no length is never inside", lambda: same([0.0, 1.0], [3.0, 1.0]) and same([1.0, 0.0, 5.0], [1.0, 0.5, 5.0])
           and tuple(answer(np.ones(2), np.ones(2))) == (0, 0) and tuple(answer(np.array([7.0]), np.array([7.0]))) == (0, 0), [
        "It arrives at second 1 and is answered at second 1.",
        "Where all of the time has no length, do you divide by zero?",
        "Leave out those of no length, and return 0.0, 0 where the span is 0.",
    ])  # fmt: skip
    random = np.random.default_rng(13)
    arrived = random.uniform(-50, 50, 300)
    answered = arrived + random.exponential(3, 300)
    rounded = np.round(arrived), np.round(arrived) + random.integers(0, 4, 300)
    yield ("the log is in any order, and begins at any time", lambda: same(arrived, answered) and same(*rounded)
           and same(arrived[::-1], answered[::-1]) and same(np.round(arrived, 2) + 1.7e9, np.round(answered, 2) + 1.7e9), [
        "The first line need not be the first arrival, nor the last line the last answer.",
        "An answer that comes first need not belong to the request that came first.",
        "Put all moments into one order, with +1 for an arrival and −1 for an answer.",
    ])  # fmt: skip

    def keeps_them() -> bool:
        both = arrived.copy(), answered.copy()
        answer(*both)
        return np.array_equal(both[0], arrived) and np.array_equal(both[1], answered)

    def kinds() -> bool:
        mean, most = answer(arrived.copy(), answered.copy())
        return isinstance(mean, float | np.floating) and isinstance(most, int | np.integer)

    yield ("float32 and strided views are taken, both arrays stay, a float and an int come back", lambda: keeps_them() and kinds()
           and same(arrived.astype(np.float32), answered.astype(np.float32), 1e-4) and same(arrived[::3], answered[::3]), [
        "Try arrived[::3] and float32.",
        "Do you sort in place, or write into an array?",
        "np.sort returns a copy, array.sort() does not; float(…) and int(…) around the results.",
    ])  # fmt: skip
    yield ("no request, unequal lengths, answers before arrivals and NaN are refused", lambda: all(
        raises(ValueError, answer, np.array(one, float), np.array(other, float))
        for one, other in (([], []), ([0, 1], [2]), ([0], [1, 2]), ([1], [0]), ([0, 5], [1, 4]), ([math.nan], [1]), ([0, 1], [2, math.nan]))
    ), [
        "No line at all; two arrivals and one answer; an answer at second 4 for an arrival at second 5.",
        "NaN is neither below nor above: how do you write the comparison so that it is refused?",
        "if len(arrived) == 0 or arrived.shape != answered.shape or not (answered >= arrived).all(): raise ValueError(…)",
    ])  # fmt: skip


def _best(alpha: float, beta: float, largest: int, rate: float, deadline: float) -> int | None:
    """Each size tried in turn, in exact fractions."""
    from fractions import Fraction

    alpha, beta, rate, deadline = (Fraction(each).limit_denominator(10**6) for each in (alpha, beta, rate, deadline))
    best = None
    for b in range(1, largest + 1):
        call = alpha + beta * b
        if (b - 1) * 1000 / rate + call <= deadline and rate * call <= 1000 * b:
            if best is None or b / call > best[0]:
                best = b / call, b
    return best and best[1]


@EXERCISES.add("13b.3", "The batch that keeps the promise")
def batch_to_wait_for(answer: Callable) -> Iterator[Property]:
    """answer(sizes, times_ms, rate_per_s, deadline_ms) -> batch size or None."""
    sizes = np.array([1, 4, 16, 64])

    def same(alpha: float, beta: float, rate: float, deadline: float, at: np.ndarray = sizes) -> bool:
        return answer(at, alpha + beta * at, rate, deadline) == _best(alpha, beta, int(at.max()), rate, deadline)

    yield ("without a deadline that hurts, the largest batch has the highest throughput", lambda: answer(sizes, 10 + 1.0 * sizes, 100, 10_000) == 64, [
        "t(b) = 10 + b ms: what is b / t(b) for 1 and for 64?",
        "With a fixed part, throughput rises with the batch.",
        "Take the allowed size of the largest b / (alpha + beta b).",
    ])  # fmt: skip
    yield ("the first of a batch waits for the others", lambda: answer(sizes, 10 + 1.0 * sizes, 100, 100) == 9
           and same(10, 1, 40, 200), [
        "100 requests a second: one every 10 ms. Of nine, the first waits 80 ms and then 19 ms for the call.",
        "(b − 1) gaps of 1000 / rate milliseconds.",
        "(b - 1) * 1000 / rate_per_s + alpha + beta * b <= deadline_ms",
    ])  # fmt: skip
    yield ("sizes between the measured ones count", lambda: same(5, 0.5, 500, 60) and same(2, 0.25, 1000, 25), [
        "The answer may be 23, though only 1, 4, 16 and 64 were measured.",
        "Fit alpha and beta, and try every size up to the largest.",
        "beta, alpha = np.polyfit(sizes, times_ms, 1); b = np.arange(1, max(sizes) + 1)",
    ])  # fmt: skip
    yield ("a batch that cannot keep up is not allowed", lambda: answer(sizes, 20 + 2.0 * sizes, 400, 26) is None
           and same(20, 2, 400, 400) and same(20, 2, 499, 3000), [
        "400 requests a second, and a call for one takes 22 ms.",
        "A batch of b must be done in the time in which b requests come.",
        "b / (alpha + beta * b) * 1000 >= rate_per_s",
    ])  # fmt: skip
    yield ("sizes below the smallest measured one count too", lambda: same(10, 1, 100, 100, np.array([16, 64]))
           and same(2, 0.25, 1000, 9, np.array([8, 32, 64])), [
        "Only 16 and 64 were measured, and the answer is 9.",
        "The fit says what a call of any size takes.",
        "b = np.arange(1, max(sizes) + 1), from 1.",
    ])  # fmt: skip
    yield ("a deadline that is met exactly is kept", lambda: answer(sizes, 10 + 1.0 * sizes, 100, 99) == 9
           and answer(sizes, 20 + 2.0 * sizes, 250, 78) == 10 and same(0.1, 0.3, 70, 130), [
        "Of nine requests at 100 a second the first waits 80 ms, and its call takes 19: 99 ms exactly.",
        "The fit gives 98.99999999999999 or 99.00000000000001. Neither may decide.",
        "… <= deadline_ms * (1 + 1e-9), and the same tolerance for the rate.",
    ])  # fmt: skip
    yield ("where nothing is allowed there is None", lambda: answer(sizes, 10 + 1.0 * sizes, 100, 5) is None
           and answer(sizes, 10 + 1.0 * sizes, 5000, 1e9) is None, [
        "A deadline of 5 ms, and a call that takes 11.",
        "Does max() of nothing raise?",
        "if no size is allowed: return None",
    ])  # fmt: skip
    yield ("where batching gains nothing, 1 is the answer; where it gains little, the largest", lambda: (
        answer(sizes, 2.0 * sizes, 100, 10_000) == 1 and answer(sizes, 0.01 + 1.0 * sizes, 100, 10_000) == 64
    ), [
        "t(b) = 2 b: all sizes have the same throughput.",
        "Of two equal ones the smaller is asked for, and floating point hides that they are equal.",
        "Compare with a tolerance: throughput >= throughput.max() * (1 - 1e-9), and take the first.",
    ])  # fmt: skip
    yield ("where larger batches are slower for each request, 1 is the answer", lambda: answer(sizes, -1 + 2.0 * sizes, 100, 10_000) == 1, [
        "t(b) = 2 b − 1, as a batch that no longer fits into the cache: 1 ms for one, 127 ms for 64.",
        "Is the largest allowed batch always the one of the highest throughput?",
        "Compare b / (alpha + beta * b) over all allowed sizes.",
    ])  # fmt: skip
    noisy = np.array([64, 1, 16, 4, 1, 64])
    times = np.array([74.3, 10.9, 26.2, 13.8, 11.2, 73.9])
    uneven = np.array([1, 1, 1, 8, 64]), np.array([4.0, 6.0, 35.0, 40.0, 70.0])  # other fits give 9, 10 or 12
    yield ("any order, repeated sizes and noise are taken, and an int comes back", lambda: answer(noisy, times, 100, 100) == 9
           and isinstance(answer(noisy.tolist(), times.tolist(), 100, 100), int | np.integer)
           and answer(*uneven, 100, 130) == 11, [
        "Sizes 64, 1, 16, 4, 1, 64, as measured.",
        "The first of the sizes need not be the smallest, nor the last the largest.",
        "Ordinary least squares takes every measurement as it is, each with the same weight; int(…) around the result.",
    ])  # fmt: skip
    yield ("what cannot be fitted is refused", lambda: raises(ValueError, answer, [4, 4], [10.0, 11.0], 100, 100)
           and raises(ValueError, answer, [1], [1.0], 100, 100) and raises(ValueError, answer, [1, 2], [1.0], 100, 100)
           and raises(ValueError, answer, [1, 2], [1.0, 2.0], 0, 100) and raises(ValueError, answer, [], [], 100, 100)
           and raises(ValueError, answer, [1, 2], [1.0, 2.0], math.nan, 100), [
        "One size, measured twice; two sizes and one time; no requests at all.",
        "A line needs two different points.",
        "if len(set(sizes)) < 2 or len(sizes) != len(times_ms) or not rate_per_s > 0: raise ValueError(…)",
    ])  # fmt: skip
