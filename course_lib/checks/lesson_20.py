"""Checks of lesson 20, monitoring."""

import math
from collections.abc import Callable, Iterator

import numpy as np

from course_lib.checks import Register, raises
from course_lib.idioms.exercises import Property

EXERCISES = Register()


def near(found: object, expected: float) -> bool:
    """Whether a number is another one but for rounding."""
    return math.isclose(float(found), expected, rel_tol=1e-9, abs_tol=1e-12)


@EXERCISES.add("20.1", "Zero, not empty")
def failed_share(answer: Callable) -> Iterator[Property]:
    """answer(before, after) -> float or None."""
    some = {"200": 100, "503": 4}, {"200": 180, "503": 14, "504": 10}
    yield ("80 answered, 20 failed: a share of 0.2", lambda: near(answer(*some), 0.2), [
        "What grew between the two looks, code by code?",
        "A code that is missing in `before` was 0. Divide what failed by all that grew.",
        "grew = {code: count - before.get(code, 0) for code, count in after.items()}",
    ])  # fmt: skip
    well = {"200": 7, "404": 1}, {"200": 17, "404": 1}
    yield ("where nothing failed it is 0, as a plain float", lambda: answer(*well) == 0 and type(answer(*well)) is float, [
        "What does your function return where no code of a failure is there?",
        "The sum over no code is 0, and 0 divided by the requests is 0.",
        "float(sum(n for code, n in grew.items() if …) / total)",
    ])  # fmt: skip
    mixed = {}, {"200": 6, "400": 1, "404": 1, "408": 0, "429": 1, "500": 1}
    yield ("429 and 500 are failures, 400 and 404 are not", lambda: near(answer(*mixed), 0.2), [
        "Which codes are failures? Read the task once more.",
        "429 says that the service is full. 400 and 404 are the client's doing.",
        'code == "429" or code >= "500"',
    ])  # fmt: skip
    silent = [({}, {}), ({"200": 5}, {"200": 5}), ({}, {"200": 0}), ({"200": 5, "503": 5}, {"200": 5, "503": 5})]
    yield ("without a request in between it is None", lambda: all(answer(*each) is None for each in silent), [
        "What is a share of no requests?",
        "It is neither 0 nor 1. Look at the total before you divide.",
        "if not total: return None",
    ])  # fmt: skip
    again = {"200": 1000, "503": 50}, {"200": 30, "503": 10}
    yield ("after a restart the new counts are what came", lambda: (
        near(answer(*again), 0.25) and near(answer({"200": 90, "503": 2}, {"200": 9, "503": 3}), 0.1)
        and near(answer({"200": 9, "503": 4}, {"200": 4}), 0.0)
    ), [
        "Try 1000 before and 30 after. How many came, at least?",
        "A counter that is smaller than before began at zero again: all of its count is new. Decide code by code.",
        "count if count < before.get(code, 0) else count - before.get(code, 0)",
    ])  # fmt: skip
    yield ("both looks stay as they were", lambda: _kept(answer), [
        "Does your function write into one of its arguments?",
        "`after.pop(…)` or `before.setdefault(…)` changes what the caller keeps for the next look.",
        "before.get(code, 0) reads and writes nothing.",
    ])  # fmt: skip


def _kept(answer: Callable) -> bool:
    before, after = {"200": 1, "429": 3}, {"200": 9, "503": 2}
    given = answer(before, after) is not None
    return given and (before, after) == ({"200": 1, "429": 3}, {"200": 9, "503": 2})


def _by_loop(q: float, bounds: np.ndarray, before: np.ndarray, after: np.ndarray) -> tuple[float, float, float] | None:
    """The same in plain Python."""
    counts = [0] * after.shape[1]
    for was, now in zip(before.tolist(), after.tolist()):
        again = now[-1] < was[-1]
        counts = [count + n - (0 if again else w) for count, n, w in zip(counts, now, was)]
    if counts[-1] == 0:
        return None
    rank, low, below = q * counts[-1], 0.0, 0
    for bound, count in zip(bounds.tolist(), counts):
        if count >= rank:
            return low + (bound - low) * (rank - below) / (count - below), low, bound
        low, below = bound, count
    return low, low, math.inf


BOUNDS = np.array([0.1, 0.25, 0.5])


@EXERCISES.add("20.2", "A percentile over replicas")
def percentile_between(answer: Callable) -> Iterator[Property]:
    """answer(q, bounds, before, after) -> (estimate, low, high) or None."""

    def agrees(q: float, before: object, after: object, bounds: np.ndarray = BOUNDS) -> bool:
        before, after = np.array(before), np.array(after)
        expected, found = _by_loop(q, bounds, before, after), answer(q, bounds.copy(), before, after)
        if expected is None or found is None:
            return expected is found is None
        return len(found) == 3 and all(near(f, e) for f, e in zip(found, expected))

    zero = [[0, 0, 0, 0]]
    yield ("the median of 10, 20 and 10 requests lies in the middle of the second bucket", lambda: (
        agrees(0.5, zero, [[10, 30, 40, 40]])
    ), [
        "The rank is 0.5 · 40 = 20. In which bucket does the 20th request lie?",
        "From 0.1 s (10 requests) to 0.25 s (30 requests): the 20th is half way.",
        "low + (bounds[i] - low) * (rank - below) / (counts[i] - below)",
    ])  # fmt: skip
    yield ("only what came between the two looks counts", lambda: agrees(0.5, [[100, 100, 100, 100]], [[100, 120, 140, 140]]), [
        "The counters hold everything since the start.",
        "Subtract `before` first, bound by bound.",
        "counts = after - before",
    ])  # fmt: skip
    two = [[0, 0, 0, 0], [0, 0, 0, 0]], [[90, 90, 90, 90], [0, 0, 10, 10]]
    yield ("replicas are added up before the percentile is looked for", lambda: agrees(0.95, *two), [
        "One replica had 90 quick requests, the other 10 slow ones. What do 95 of 100 not exceed?",
        "Add the rows, then search once.",
        "counts = (after - before).sum(axis=0)",
    ])  # fmt: skip
    yield ("the first bucket begins at 0, and empty buckets are passed over", lambda: (
        agrees(0.25, zero, [[20, 20, 20, 20]]) and agrees(0.8, zero, [[10, 10, 20, 20]]) and agrees(0.5, zero, [[0, 0, 8, 8]])
        and agrees(1.0, zero, [[5, 9, 9, 9]])
    ), [
        "Which lower bound has the first bucket? And what if no request lies in the second?",
        "Take the first bucket whose count reaches the rank. Its neighbour below gives `low` and `below`, or 0 and 0.",
        "i = int(np.searchsorted(counts[:-1], rank)); low, below = (bounds[i - 1], counts[i - 1]) if i else (0, 0)",
    ])  # fmt: skip
    yield ("above the last bound the estimate is that bound, and nothing bounds the value", lambda: (
        agrees(0.99, zero, [[0, 0, 5, 10]]) and agrees(0.5, zero, [[0, 0, 0, 3]])
    ), [
        "Ten requests, five of them took longer than 0.5 s. What is known of the slowest?",
        "Nothing, but that it took longer than 0.5 s: high is infinite.",
        'if i == len(bounds): return bounds[-1], bounds[-1], float("inf")',
    ])  # fmt: skip
    yield ("a replica that restarted brings all of its new counts, the others only what grew", lambda: (
        agrees(0.5, [[50, 60, 70, 80], [10, 10, 10, 10]], [[4, 6, 8, 8], [10, 14, 14, 14]])
        and agrees(0.25, [[2, 60, 70, 80]], [[4, 6, 8, 8]])
    ), [
        "A replica had 80 requests, and now it has 8. How many came?",
        "Look at the last column, row by row. Where it fell, subtract nothing.",
        "after - np.where(after[:, -1:] < before[:, -1:], 0, before)",
    ])  # fmt: skip
    yield ("no request is None", lambda: (
        agrees(0.5, zero, zero) and agrees(0.5, [[3, 3, 3, 3]], [[3, 3, 3, 3]])
        and agrees(0.5, np.zeros((0, 4), int), np.zeros((0, 4), int))
    ), [
        "What is the median of nothing?",
        "0 / 0 is nan, and a panel then shows a gap without a reason. Look at the total first.",
        "if not counts[-1]: return None",
    ])  # fmt: skip
    yield ("any number of replicas and bounds, and the arguments stay as they were", lambda: _many(answer), [
        "Try 30 replicas and 12 bounds. Does a constant stand somewhere?",
        "`after -= before` changes the caller's array, which is the next look's `before`.",
        "Write results into new arrays.",
    ])  # fmt: skip


def _many(answer: Callable) -> bool:
    random = np.random.default_rng(20)
    bounds = np.cumsum(random.uniform(0.01, 0.5, 12))
    before = np.cumsum(random.integers(0, 50, (30, 13)), axis=1)
    after = before + np.cumsum(random.integers(0, 9, (30, 13)), axis=1)
    after[4] = np.cumsum(random.integers(0, 3, 13))
    kept = before.copy(), after.copy()
    for q in (0.013, 0.5, 0.9137, 0.99):
        found, expected = answer(q, bounds, before, after), _by_loop(q, bounds, before, after)
        if found is None or len(found) != 3 or not all(near(f, e) for f, e in zip(found, expected)):
            return False
    return np.array_equal(before, kept[0]) and np.array_equal(after, kept[1])


@EXERCISES.add("20.3", "The alerts of an objective")
def alerts_of(answer: Callable) -> Iterator[Property]:
    """answer(objective, days, pairs) -> list of dicts."""
    book = [(0.02, 1), (0.05, 6), (0.10, 72)]

    def told(key: str, objective: float, days: float, pairs: list, expected: list[float]) -> bool:
        found = answer(objective, days, list(pairs))
        return len(found) == len(expected) and all(near(each[key], e) for each, e in zip(found, expected))

    yield ("99.9 % over 30 days: burn rates of 14.4, 6 and 1", lambda: told("burn", 0.999, 30, book, [14.4, 6, 1]), [
        "Which share of 720 hours is one hour? Which burn rate spends 2 % in it?",
        "b = f · T / w, with T in hours.",
        "share * 24 * days / long_h",
    ])  # fmt: skip
    yield ("another period, and other pairs", lambda: (
        told("burn", 0.995, 28, [(0.02, 1), (0.1, 24)], [13.44, 2.8]) and told("burn", 0.9, 7, [(0.5, 12)], [7.0])
        and len(answer(0.99, 30, [])) == 0
    ), [
        "Try 28 days. Does 720 or 30 stand somewhere?",
        "T is 24 · days. A dict for each pair that came, in their order.",
        "for share, long_h in pairs: burn = share * 24 * days / long_h",
    ])  # fmt: skip
    yield ("the threshold is the burn rate times the budget", lambda: (
        told("threshold", 0.999, 30, book, [0.0144, 0.006, 0.001]) and told("threshold", 0.98, 30, [(0.02, 1)], [0.288])
    ), [
        "The budget of 99.9 % is 0.001.",
        "Which share of failed requests is 14.4 times the budget?",
        "burn * (1 - objective)",
    ])  # fmt: skip
    yield ("the short window is a twelfth of the long one", lambda: told("short_h", 0.999, 30, book, [1 / 12, 0.5, 6]), [
        "Five minutes are a twelfth of an hour.",
        "In hours, as the long one.",
        "long_h / 12",
    ])  # fmt: skip
    yield ("the budget lasts 50, 120 and 720 hours", lambda: (
        told("lasts_h", 0.999, 30, book, [50, 120, 720]) and told("lasts_h", 0.99, 28, [(0.02, 1)], [50])
    ), [
        "At a burn rate of 1 it lasts the whole period.",
        "At a burn rate of b it lasts T / b, in hours.",
        "24 * days / burn",
    ])  # fmt: skip
    yield ("if everything fails, the long window calls after 52, 130 and 259 seconds", lambda: (
        told("outage_s", 0.999, 30, book, [51.84, 129.6, 259.2]) and told("outage_s", 0.99, 30, [(0.02, 1)], [518.4])
    ), [
        "After t hours of total failure the window of w hours holds a share t / w of failures.",
        "t / w = threshold. Then from hours to seconds.",
        "3600 * long_h * threshold",
    ])  # fmt: skip
    yield ("an alert that could never fire is refused, and what is no promise too", lambda: all(
        raises(ValueError, answer, objective, 30, book) for objective in (0.9, 0, 1, 1.5, -0.1)
    ) and raises(ValueError, answer, 0.9, 30, [(0.1, 72), (0.02, 1)]) and raises(ValueError, answer, 0.5, 30, [(0.5, 180)])
        and all(raises(ValueError, answer, objective, 30, [(0.001, 72)]) for objective in (0, -0.1))
        and len(answer(0.95, 30, book)) == 3, [
        "Try an objective of 0.9. Which share of failures does 14.4 ask for?",
        "A share is at most 1, and the alert asks for more than the threshold: refuse 1 and above, in any of the pairs.",
        "if threshold >= 1: raise ValueError(…)",
    ])  # fmt: skip


def _by_slices(requests: np.ndarray, failures: np.ndarray, objective: float, least: int) -> np.ndarray:
    """The rule, a minute after the other."""
    calls = []
    for end in range(1, len(requests) + 1):
        found = False
        for long, short, threshold in ((60, 5, 14.4), (360, 30, 6)):
            rates = []
            for minutes in (long, short):
                part = slice(max(0, end - minutes), end)
                came, failed = int(requests[part].sum()), int(failures[part].sum())
                rates.append(failed / came / (1 - objective) if came else 0.0)
            enough = int(failures[max(0, end - long) : end].sum()) >= least
            found = found or (min(rates) > threshold and enough)
        calls.append(found)
    return np.array(calls, bool)


@EXERCISES.add("20.4", "Is this page warranted?")
def pages(answer: Callable) -> Iterator[Property]:
    """answer(requests, failures, objective, least) -> bool array."""
    minutes = 900

    def agrees(requests: np.ndarray, failures: np.ndarray, objective: float = 0.999, least: int = 10) -> bool:
        found = np.asarray(answer(requests.copy(), failures.copy(), objective, least))
        expected = _by_slices(requests, failures, objective, least)
        return found.shape == expected.shape and found.dtype == bool and np.array_equal(found, expected)

    steady = np.full(minutes, 600)

    def failing(*spans: tuple[int, int, int], among: np.ndarray = steady) -> tuple[np.ndarray, np.ndarray]:
        failures = np.zeros(len(among), int)
        for begin, end, each in spans:
            failures[begin:end] = each
        return among, failures

    yield ("a service that is well wakes nobody", lambda: agrees(*failing()) and agrees(*failing((0, 900, 1)), least=0), [
        "What does your rule say if nothing fails? It returns a bool for each minute.",
        "The burn rate is the share of failures in the window, divided by the budget, 1 − objective.",
        "Compare failures in the window with threshold · budget · requests in the window.",
    ])  # fmt: skip
    yield ("an outage of 20 minutes calls soon, and not long after its end", lambda: agrees(*failing((500, 520, 300))), [
        "Both windows of a pair must burn at the same time.",
        "The long window stays high for an hour; the short one ends the call.",
        "calls |= burns(long, threshold) & burns(short, threshold)",
    ])  # fmt: skip
    yield ("slow bleeding is seen by the second pair", lambda: agrees(*failing((100, 900, 5))), [
        "5 of 600 fail: a burn rate of 8.3. Which pair sees that?",
        "6 h and 30 min above 6. Either pair may call.",
        "for long, short, threshold in ((60, 5, 14.4), (360, 30, 6)): …",
    ])  # fmt: skip
    yield ("the windows of one pair belong together", lambda: agrees(*failing((500, 505, 120))), [
        "One fifth fails for five minutes. A quarter of an hour later, which windows are still above their thresholds?",
        "The window of 1 h is, and so is the one of 30 min. They are not a pair. Join the two windows of each pair first.",
        "(burns(60, 14.4) & burns(5, 14.4)) | (burns(360, 6) & burns(30, 6))",
    ])  # fmt: skip
    waves = np.where((np.arange(minutes) - 100) % 60 < 5, 2, 900)
    yield ("a window's share is a ratio of sums, not a mean of shares", lambda: (
        agrees(waves, np.where(waves == 2, 1, 0), least=0)
        and agrees(waves, np.where((waves == 900) & (np.arange(minutes) > 100), 12, 0))
    ), [
        "Try hours with five quiet minutes, in which one of two requests fails.",
        "A quiet minute must not weigh as much as a busy one. Add up first, then divide.",
        "over(failures, minutes) / over(requests, minutes)",
    ])  # fmt: skip
    night = np.where(np.arange(minutes) < 400, 0, 600)
    yield ("without a request nobody is woken, and nothing is divided by zero", lambda: (
        agrees(*failing((600, 640, 300), among=night)) and agrees(np.zeros(90, int), np.zeros(90, int), least=0)
    ), [
        "What is the burn rate of a window without a request?",
        "0, by the docstring. 0 / 0 is nan, with a warning.",
        "over(failures, m) > threshold * budget * over(requests, m) needs no division.",
    ])  # fmt: skip
    few = np.where(np.arange(minutes) % 6 == 0, 1, 0)
    yield ("a pair calls only if `least` failed in its long window", lambda: (
        agrees(*failing((300, 301, 1), among=few)) and agrees(few, np.where(np.arange(minutes) > 400, few, 0))
        and agrees(few, np.where(np.arange(minutes) > 400, few, 0), least=25)
        and agrees(*failing((300, 301, 1), among=few), least=1)
    ), [
        "Ten requests an hour, one fails. How many failures are in the window of one hour?",
        "Each pair looks at its own long window: 60 minutes for the first, 360 for the second.",
        "enough = over(failures, long) >= least",
    ])  # fmt: skip
    random = np.random.default_rng(20)
    busy = random.poisson(40, 1500)
    yield ("the first minutes, other objectives, other types and any length", lambda: (
        agrees(*failing((0, 40, 500))) and agrees(busy, random.binomial(busy, 0.02), 0.998)
        and agrees(busy, random.binomial(busy, 0.2), 0.97, 50) and agrees(busy[:1], busy[:1]) and agrees(busy[:0], busy[:0])
        and agrees(np.full(200, 250, np.uint8), np.full(200, 200, np.uint8))
    ), [
        "Try one minute, no minute, and an objective of 0.97.",
        "At the beginning a window holds what there is. Small integers overflow when they are added up.",
        "np.cumsum(np.asarray(values, float)), with zeros in front of it",
    ])  # fmt: skip
