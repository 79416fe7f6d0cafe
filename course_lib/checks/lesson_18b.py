"""Checks of lesson 18b."""

import math
import random as randomness
from collections.abc import Callable, Iterator
from numbers import Integral

from course_lib.checks import Register, raises
from course_lib.idioms.exercises import Property

EXERCISES = Register()


def _fewest(rate: float, service: float, objective: float, share: float, nodes: int) -> int:
    """By trying."""
    pods = 1
    while True:
        left = pods - -(-pods // nodes)
        if (
            left
            and 1 / service > rate / left
            and math.exp(-(1 / service - rate / left) * objective) <= (1 - share) * (1 + 1e-9)
        ):
            return pods
        pods += 1


@EXERCISES.add("18b.1", "One node may go")
def one_node(answer: Callable) -> Iterator[Property]:
    """answer(rate_per_s, service_s, objective_s, share, nodes) -> int."""
    drawn = randomness.Random(3)
    cases = [(drawn.uniform(10, 3000), drawn.choice([0.005, 0.02, 0.05]), drawn.choice([0.3, 0.5, 1.0]), drawn.choice([0.9, 0.95, 0.99]), drawn.randint(2, 9))
             for _ in range(40)]  # fmt: skip
    many = (1000, 0.02, 0.25, 0.99, 10**6)  # a node has one pod at the most
    yield ("the pods that are left keep up", lambda: all((answer(*c) - math.ceil(answer(*c) / c[-1])) / c[1] > c[0] for c in [many, *cases]), [
        "A pod does 1 / service_s requests a second.",
        "They must do more than rate_per_s together, without those of the node that fails.",
        "pods - ceil(pods / nodes) are left.",
    ])  # fmt: skip
    yield ("and keep the objective for the tail", lambda: all(answer(*c) >= _fewest(*c) for c in [many, *cases]), [
        "Keeping up is not enough: a share of the requests must be answered within objective_s.",
        "Solve exp(−(1/s − m) t) = 1 − share for m, the rate that a pod may have.",
        "m = 1 / service_s + math.log(1 - share) / objective_s; pods left ≥ rate / m",
    ])  # fmt: skip
    yield ("the fullest node is the one that fails", lambda: answer(31.6, 0.02, 0.25, 0.99, 2) == _fewest(31.6, 0.02, 0.25, 0.99, 2)
           and answer(150, 0.02, 0.25, 0.99, 3) == _fewest(150, 0.02, 0.25, 0.99, 3) and answer(1, 0.02, 0.25, 0.99, 5) == 2, [
        "Five pods on three nodes: 2, 2 and 1. Two may go at once.",
        "The fullest holds ceil(pods / nodes).",
        "while pods - math.ceil(pods / nodes) < left: pods += 1",
    ])  # fmt: skip
    yield ("not one pod more than that", lambda: all(answer(*c) == _fewest(*c) for c in [many, *cases]) and isinstance(answer(*many), Integral), [
        "Try with one pod less: does it still hold?",
        "Round up once for the pods that are left; then look for the fewest pods in all.",
        "Begin the search at the pods that must be left.",
    ])  # fmt: skip
    yield ("an objective that even an idle pod misses is refused", lambda: all(raises(ValueError, answer, 10, s, t, q, 3) for s, t, q in (
        (0.1, 0.1, 0.9), (0.5, 1, 0.99), (1, 0.1, 0.5))) and answer(10, 0.1, 0.3, 0.9, 3) == _fewest(10, 0.1, 0.3, 0.9, 3), [
        "service_s = 0.1, objective_s = 0.1: an idle pod misses it for exp(−1), more than a third.",
        "Then no rate is small enough: m is 0 or negative.",
        "if most <= 0: raise ValueError(…)",
    ])  # fmt: skip


@EXERCISES.add("18b.2", "What did yesterday cost?")
def yesterday(answer: Callable) -> Iterator[Property]:
    """answer(rates, pods, step_s, each_per_s, objective_s) -> (pod_hours, late_share)."""

    def gives(hours: float, late: float, *arguments: object) -> bool:
        found = answer(*arguments)
        return math.isclose(found[0], hours, abs_tol=1e-9) and math.isclose(found[1], late, abs_tol=1e-9)

    yield ("pod-hours: pods times time", lambda: gives(1.5, 0, [1, 1, 1], [1, 2, 3], 900, 10, 0.5) and gives(24 * 7, 0, [0.5] * 24, [7] * 24, 3600, 10, 0.5), [
        "Steps are in seconds, the answer in hours.",
        "Sum the pods, times the step.",
        "sum(pods) * step_s / 3600",
    ])  # fmt: skip
    yield ("a queue that one step leaves makes the next one's requests wait", lambda: gives(2 / 360, 0.2, [20, 5], [1, 1], 10, 10, 1) and gives(2 / 360, 0.0, [20, 5], [1, 1], 10, 10, 10), [
        "20 a second for 10 s, 10 a second can be done: 100 are left. The first step itself found nobody waiting.",
        "100 / 10 a second = 10 s of waiting for the 50 requests of the second step, of 250.",
        "wait_s = queue / (pods * each_per_s), before the queue changes",
    ])  # fmt: skip
    yield ("the share is of requests, not of steps; waiting exactly as long as the objective is in time", lambda: gives(3 / 3600, 0.0, [30, 10, 30], [1, 1, 1], 1, 10, 2)
           and gives(3 / 3600, 40 / 70, [30, 10, 30], [1, 1, 1], 1, 10, 1.9), [
        "Busy steps hold more requests.",
        "Add rate · step_s for those that are late, and for all.",
        "late += rate * step_s * (wait_s > objective_s)",
    ])  # fmt: skip
    yield ("more pods work the queue off, and it is never below nothing", lambda: gives(7 / 3600, 10 / 52, [30, 10, 1, 1, 10], [1, 2, 2, 1, 1], 1, 10, 0.9)
           and gives(12 / 3600, 10 / 41, [1, 30, 10], [10, 1, 1], 1, 10, 0.5), [
        "Ten idle pods do not store work for later.",
        "max(0, …)",
        "queue = max(0.0, queue + (rate - can) * step_s)",
    ])  # fmt: skip
    yield ("no pods: whoever comes waits for ever", lambda: gives(1 / 3600, 0.5, [5, 5], [0, 1], 1, 10, 2) and gives(1 / 3600, 1.0, [5, 5], [0, 1], 1, 10, 0.4)
           and gives(0, 1.0, [3], [0], 10, 10, 1e9), [
        "0 / 0 is no waiting time.",
        "With no pods the wait is infinite, even if nobody is before you.",
        "wait_s = queue / can if can else math.inf",
    ])  # fmt: skip
    yield ("nobody came: a share of 0; nothing at all: nothing; floats, from arrays too", lambda: gives(1, 0, [0, 0], [1, 1], 1800, 10, 1) and gives(0, 0, [], [], 60, 10, 1)
           and all(isinstance(x, float) for x in answer([0, 0], [1, 1], 1800, 10, 1)) and _arrays(answer), [
        "What is late / came where nobody came?",
        "Convert what you return.",
        "float(late / came if came else 0)",
    ])  # fmt: skip
    yield ("two lengths are refused", lambda: raises(ValueError, answer, [1, 2, 3], [1, 2], 60, 10, 1) and raises(ValueError, answer, [], [1], 60, 10, 1), [
        "What does zip do with the third?",
        "Compare the lengths first.",
        "if len(rates) != len(pods): raise ValueError(…)",
    ])  # fmt: skip


def _arrays(answer: Callable) -> bool:
    import numpy as np

    found = answer(np.array([20.0, 5.0]), np.array([1, 1]), 10, 10, 1)
    return all(isinstance(x, float) for x in found) and math.isclose(found[1], 0.2)


@EXERCISES.add("18b.3", "What do a million answers cost?")
def a_million(answer: Callable) -> Iterator[Property]:
    """answer(price_per_pod_hour, each_per_s, utilisation) -> float."""

    def gives(wanted: float, *arguments: float) -> bool:
        return math.isclose(answer(*arguments), wanted, rel_tol=1e-9, abs_tol=1e-12)

    yield ("a full pod: an hour's price over an hour's answers, for a million", lambda: gives(1.0, 3.6, 1000, 1.0)
           and gives(1e6 / 180_000 * 0.05, 0.05, 50, 1) and gives(0.0, 0, 50, 1.0), [
        "1,000 answers a second are 3,600,000 an hour. At 3.60 an hour, what do a million cost?",
        "An hour has 3,600 seconds.",
        "price / (each_per_s * 3600) * 1e6",
    ])  # fmt: skip
    yield ("a pod that is half idle costs twice as much an answer", lambda: gives(2.0, 3.6, 1000, 0.5) and gives(10.0, 3.6, 1000, 0.1), [
        "Idle time is paid for as well.",
        "Answers an hour: each_per_s · utilisation · 3600.",
        "Divide by the utilisation; do not multiply.",
    ])  # fmt: skip
    yield ("what makes no price is refused", lambda: all(raises(ValueError, answer, *each) for each in (
        (-1, 50, 0.5), (1, 0, 0.5), (1, -5, 0.5), (1, 50, 0), (1, 50, -0.1), (1, 50, 1.01), (1, 50, 60))), [
        "Which arguments have no meaning?",
        "A utilisation is a share: 60 is a percentage, and no share.",
        "if not (price >= 0 and each_per_s > 0 and 0 < utilisation <= 1): raise ValueError(…)",
    ])  # fmt: skip
    yield ("NaN is refused too", lambda: all(raises(ValueError, answer, *each) for each in (
        (math.nan, 50, 0.5), (1, math.nan, 0.5), (1, 50, math.nan))), [
        "NaN < 0 is false, and NaN >= 0 is false as well.",
        "Ask what must hold, and refuse what does not: `not (price >= 0)`.",
        "if not (price >= 0 and …): raise ValueError(…)",
    ])  # fmt: skip
