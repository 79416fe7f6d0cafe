"""Checks of lesson 13. None of them reads a clock."""

import math
from collections.abc import Callable, Iterator

import numpy as np

from course_lib.checks import Register, raises
from course_lib.idioms.exercises import Property

EXERCISES = Register()


@EXERCISES.add("13.1", "Is this p99 worth anything?")
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


def _points(side: int, k: int, stride: int, padding: int) -> int:
    """Counted one by one: how many places the filter has along a side."""
    return len(range(0, side + 2 * padding - k + 1, stride))


def _convolution(batch, c_in, height, width, c_out, k, stride=1, padding=0, groups=1):
    places = _points(height, k, stride, padding) * _points(width, k, stride, padding)
    each = k * k * c_in // groups
    return 2 * batch * places * c_out * each, 4 * (
        batch * c_in * height * width + c_out * each + batch * places * c_out
    )


@EXERCISES.add("13.2", "What will this convolution cost?")
def cost_of_convolution(answer: Callable) -> Iterator[Property]:
    """answer(batch, c_in, height, width, c_out, k, stride=1, padding=0, groups=1) -> (operations, bytes)."""

    def same(*case: int) -> bool:
        said = answer(*case)
        return tuple(said) == _convolution(*case)

    def operations(*case: int) -> bool:
        return answer(*case)[0] == _convolution(*case)[0]

    yield ("one point, one channel: 18 operations", lambda: answer(1, 1, 3, 3, 1, 3)[0] == 18, [
        "A filter of 3 × 3 on a picture of 3 × 3 fits in one place.",
        "Nine products, each added: two operations for each.",
        "2 × outputs × (c_in / groups) × k × k",
    ])  # fmt: skip
    yield ("one point, one channel: 76 bytes", lambda: answer(1, 1, 3, 3, 1, 3)[1] == 76, [
        "What must be read, and what written?",
        "Nine numbers of the picture, nine weights, one output.",
        "4 × (inputs + weights + outputs)",
    ])  # fmt: skip
    yield ("padding and stride decide how many points there are, in each direction", lambda: all(
        operations(1, 3, h, w, 8, k, s, p) for h, w, k, s, p in ((8, 8, 3, 1, 1), (9, 7, 3, 2, 1), (10, 32, 5, 3, 0), (1, 1, 3, 1, 1))
    ), [
        "Try 9 × 7 points with stride 2.",
        "Height and width have their own number of places; round each down.",
        "(side + 2 * padding - k) // stride + 1",
    ])  # fmt: skip
    yield ("padding is not stored", lambda: same(1, 4, 8, 8, 4, 3, 1, 1) and same(2, 4, 8, 6, 4, 5, 1, 2), [
        "Which bytes does the padding take?",
        "The input has height × width points, with padding or without.",
        "4 × (batch × c_in × height × width + …)",
    ])  # fmt: skip
    yield ("weights do not grow with the batch", lambda: same(16, 8, 8, 8, 8, 3, 1, 1) and same(5, 1, 20, 10, 7, 1), [
        "Compare a batch of 1 with one of 16.",
        "Inputs and outputs have a batch, weights have none.",
        "weights = c_out × (c_in / groups) × k × k",
    ])  # fmt: skip
    yield ("with groups an output sees the inputs of its group alone", lambda: same(1, 64, 32, 32, 64, 3, 1, 1, 64)
           and same(2, 12, 9, 9, 6, 3, 2, 1, 3), [
        "Depthwise: 64 channels in 64 groups.",
        "Each filter has c_in / groups channels, and there are c_out filters.",
        "Use c_in // groups in the operations and in the weights; inputs and outputs stay.",
    ])  # fmt: skip
    yield ("two ints, exact for large ones and for no picture", lambda: same(2**20, 1024, 512, 512, 1024, 7, 1, 3)
           and all(isinstance(each, int) for each in answer(1, 2, 4, 4, 2, 3)) and same(0, 8, 8, 8, 8, 3), [
        "Try a batch of 0, and one with more than 2⁶³ operations.",
        "A division with / makes floats, and NumPy's integers overflow.",
        "Use // and Python's own ints.",
    ])  # fmt: skip
    yield ("groups that divide nothing and filters that fit nowhere are refused", lambda: all(
        raises(ValueError, answer, *case)
        for case in ((1, 6, 8, 8, 8, 3, 1, 0, 4), (1, 8, 8, 8, 6, 3, 1, 0, 4), (1, 1, 2, 9, 1, 3), (1, 1, 9, 2, 1, 3), (1, 1, 1, 1, 1, 5, 1, 1))
    ), [
        "6 channels in 4 groups; a filter of 3 on 2 × 9 points.",
        "Both channel numbers must be multiples of groups, and k must fit both sides.",
        "if c_in % groups or c_out % groups or k > min(height, width) + 2 * padding: raise ValueError(…)",
    ])  # fmt: skip


def _queue(due: np.ndarray, service: np.ndarray, workers: int) -> np.ndarray:
    """An independent way: the starts so far, and how many of the requests before are still at work at each moment."""
    done: list[float] = []
    for at, takes in zip(due.tolist(), service.tolist()):
        busy = sorted(end for end in done if end > at)
        start = at if len(busy) < workers else busy[len(busy) - workers]
        done.append(start + takes)
    return np.array(done) - due


@EXERCISES.add("13.3", "What the users waited")
def waits(answer: Callable) -> Iterator[Property]:
    """answer(due, service, workers=1) -> latencies in seconds."""

    def close(due: np.ndarray, service: np.ndarray, workers: int = 1) -> bool:
        said = np.asarray(answer(due.copy(), service.copy(), workers))
        return said.shape == due.shape and np.allclose(said, _queue(due, service, workers), atol=1e-9)

    free = np.array([0.0, 1.0, 2.0]), np.array([0.5, 0.25, 0.5])
    yield ("nobody waits where every request finds the worker free", lambda: np.allclose(answer(*free), free[1]), [
        "The worker has finished before each request is due.",
        "Then the latency is the work itself.",
        "start = max(due, when the worker is free)",
    ])  # fmt: skip
    stall = np.arange(6.0), np.array([3.0, 0.5, 0.5, 0.5, 0.5, 0.5])
    yield ("those behind a slow one wait for it", lambda: np.allclose(answer(*stall), [3, 2.5, 2, 1.5, 1, 0.5]), [
        "The first takes until second 3; the next was due at second 1.",
        "Count from when it was due, not from when it started.",
        "done = max(due, done of the one before) + service; latency = done − due",
    ])  # fmt: skip
    late = np.array([0.0, 10.0, 10.0]), np.array([1.0, 1.0, 1.0])
    yield ("none starts before it is due, and an idle worker saves nothing up", lambda: np.allclose(answer(*late), [1, 1, 2]), [
        "Between second 1 and second 10 there is nothing to do.",
        "Does a running sum of the work let a request start early?",
        "The max takes the later one of the two: due, and free.",
    ])  # fmt: skip
    random = np.random.default_rng(13)
    due, service = np.sort(random.uniform(0, 60, 300)), random.exponential(0.5, 300)
    yield ("several workers, each request to the one that is free first", lambda: all(close(due, service, n) for n in (1, 2, 3, 7)), [
        "With two workers the second request does not wait for the first.",
        "Keep one time for each worker: when it will be free.",
        "worker = free.argmin(); free[worker] = max(due, free[worker]) + service",
    ])  # fmt: skip
    yield ("more workers than requests, work of no time, and requests due at once", lambda: close(due[:3], service[:3], 50)
           and close(np.zeros(5), np.ones(5), 2) and close(np.arange(4.0), np.zeros(4)), [
        "Five requests at second 0 with two workers take 1, 1, 2, 2, 3 seconds.",
        "Requests that are due together are still taken in their order.",
        "Nothing special is needed: does your answer divide, or sort the requests?",
    ])  # fmt: skip
    yield ("a schedule may begin before zero", lambda: close(np.array([-5.0, -4.5, 1.0]), np.array([1.0, 1.0, 1.0]))
           and close(due - 30, service, 3), [
        "Try a first request that is due at −5 seconds.",
        "Is your worker free from second 0 on?",
        "Start with the workers free at minus infinity.",
    ])  # fmt: skip
    yield ("no request, float32, strided views: float64 comes back and the input stays", lambda: (
        np.asarray(answer(np.zeros(0), np.zeros(0))).shape == (0,)
        and _input_stays(answer, due.copy(), service.copy())
        and np.asarray(answer(due.astype(np.float32), service.astype(np.float32))).dtype == np.float64
        and np.allclose(answer(due.copy()[::3], service.copy()[::-3]), _queue(due[::3], service[::-3], 1))
    ), [
        "Try empty arrays, float32, and due[::3].",
        "Do you write into `due` or `service`?",
        "waited = np.empty(len(due)), float64, and fill it.",
    ])  # fmt: skip
    yield ("falling times, unequal lengths and no worker are refused", lambda: raises(ValueError, answer, due[::-1], service)
           and raises(ValueError, answer, due, service[:-1]) and raises(ValueError, answer, due, service, 0)
           and raises(ValueError, answer, np.array([0.0, 2.0, 1.0]), np.ones(3)), [
        "Times of 0, 2 and 1; 300 times and 299 pieces of work; no worker.",
        "np.diff tells where times fall; zip hides a missing entry.",
        "if due.shape != service.shape or workers < 1 or (np.diff(due) < 0).any(): raise ValueError(…)",
    ])  # fmt: skip


def _input_stays(answer: Callable, due: np.ndarray, service: np.ndarray) -> bool:
    before = due.copy(), service.copy()
    answer(due, service, 2)
    return np.array_equal(due, before[0]) and np.array_equal(service, before[1])


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


@EXERCISES.add("13.4", "The batch that keeps the promise")
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
    yield ("where nothing is allowed there is None", lambda: answer(sizes, 10 + 1.0 * sizes, 100, 5) is None
           and answer(sizes, 10 + 1.0 * sizes, 5000, 1e9) is None, [
        "A deadline of 5 ms, and a call that takes 11.",
        "Does max() of nothing raise?",
        "if no size is allowed: return None",
    ])  # fmt: skip
    yield ("where batching gains nothing, 1 is the answer", lambda: answer(sizes, 2.0 * sizes, 100, 10_000) == 1, [
        "t(b) = 2 b: all sizes have the same throughput.",
        "Of two equal ones the smaller is asked for, and floating point hides that they are equal.",
        "Compare with a tolerance: throughput >= throughput.max() * (1 - 1e-9), and take the first.",
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
