"""Checks of lesson 13. None of them reads a clock."""

from collections.abc import Callable, Iterator

import numpy as np

from course_lib.checks import Register, raises
from course_lib.idioms.exercises import Property

EXERCISES = Register()


def _points(side: int, k: int, stride: int, padding: int) -> int:
    """Counted one by one: how many places the filter has along a side."""
    return len(range(0, side + 2 * padding - k + 1, stride))


def _convolution(batch, c_in, height, width, c_out, k, stride=1, padding=0, groups=1):
    places = _points(height, k, stride, padding) * _points(width, k, stride, padding)
    each = k * k * c_in // groups
    return 2 * batch * places * c_out * each, 4 * (
        batch * c_in * height * width + c_out * each + batch * places * c_out
    )


@EXERCISES.add("13.1", "What will this convolution cost?")
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


@EXERCISES.add("13.2", "What the users waited")
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


@EXERCISES.add("13.3", "How many threads may I use?")
def threads_within_a_quota(answer: Callable) -> Iterator[Property]:
    """answer(cpu_max, affinity) -> number of threads."""
    yield ("a quota of 2 on a machine of 64 gives 2", lambda: answer("200000 100000", 64) == 2, [
        "200,000 microseconds in each 100,000 are two processors.",
        "Split the text into two words and make whole numbers of them.",
        "quota, period = cpu_max.split(); int(quota) // int(period)",
    ])  # fmt: skip
    yield ("the affinity is a limit too", lambda: answer("800000 100000", 4) == 4 and answer("200000 100000", 1) == 1, [
        "A quota of 8 for a process that may run on 4 processors.",
        "Both limits hold at once.",
        "min(affinity, …)",
    ])  # fmt: skip
    yield ("without a quota the affinity alone counts", lambda: answer("max 100000", 8) == 8 and answer(None, 3) == 3, [
        "The text may be 'max 100000', and there may be no file.",
        "int('max') raises; None has no split.",
        "if cpu_max is None: return affinity; and the same where the quota is 'max'.",
    ])  # fmt: skip
    yield ("the quota is rounded down, and one thread is the least", lambda: [
        answer(f"{quota} 100000", 8) for quota in (150_000, 199_999, 350_000, 50_000, 1_000)
    ] == [1, 1, 3, 1, 1], [
        "Two threads on a quota of 1.5 use it up before the period ends.",
        "What does your answer give for 150000, for 350000 and for 50000?",
        "max(1, int(quota) // int(period))",
    ])  # fmt: skip
    yield ("the period counts", lambda: answer("40000 20000", 8) == 2 and answer("300000 50000", 64) == 6
           and answer("300000 1000000", 8) == 1, [
        "40,000 microseconds in each 20,000 are two processors as well.",
        "Is 100000 written anywhere in your answer?",
        "int(quota) // int(period), whatever the period is.",
    ])  # fmt: skip
    yield ("white space is allowed, and an int comes back", lambda: answer("  300000 \t 100000\n", 8) == 3
           and all(isinstance(answer(*case), int | np.integer) for case in (("300000 100000", 8), ("max 100000", 8), (None, 2)))
           and answer(f"{3 * 10**16 - 1} {10**16}", 8) == 2, [
        "The file ends with a line break.",
        "A division with / makes a float, and large floats are rounded.",
        "cpu_max.split() without an argument; // instead of /.",
    ])  # fmt: skip
    yield ("an affinity below 1 and a text of another form are refused", lambda: all(
        raises(ValueError, answer, *case)
        for case in ((None, 0), ("200000 100000", 0), ("max 100000", -1), ("", 4), ("200000", 4), ("max", 4), ("200000 100000 1", 4),
                     ("two 100000", 4), ("200000 max", 4), ("0 100000", 4), ("-1 100000", 4), ("200000 0", 4), ("max 0", 4),
                     ("200000 -100000", 4), ("max -100000", 4), ("1.5 1", 4))
    ), [
        "An affinity of 0; a text of one word or of three; numbers that are 0, negative or broken.",
        "The period has to be right even where the quota is 'max'.",
        "quota, period = cpu_max.split() refuses other counts of words; then compare both numbers with 0.",
    ])  # fmt: skip
