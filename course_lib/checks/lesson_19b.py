"""Checks of lesson 19b."""

import itertools
import math
import random
from collections.abc import Callable, Iterator

from course_lib.checks import Register, raises
from course_lib.idioms.exercises import Property

EXERCISES = Register()


def _tail(most: int, n: int, p: float) -> float:
    """P(K > most), by adding one request at a time: an independent second way."""
    chances = [1.0]
    for _ in range(n):
        chances = [(1 - p) * a + p * b for a, b in zip([*chances, 0.0], [0.0, *chances])]
    return sum(chances[most + 1 :])


@EXERCISES.add("19b.1", "How many requests, exactly?", seconds=60)
def exact_sample(answer: Callable) -> Iterator[Property]:
    """answer(p0, p1, alpha, power) -> (n, most)."""

    def is_smallest(p0: float, p1: float, alpha: float, power: float) -> bool:
        n, most = answer(p0, p1, alpha, power)
        keeps = _tail(most, n, p0) <= alpha + 1e-12 and _tail(most, n, p1) >= power - 1e-12
        tighter = most == 0 or _tail(most - 1, n, p0) > alpha
        for fewer in range(max(1, n - 40), n):
            bound = next(k for k in range(fewer + 1) if _tail(k, fewer, p0) <= alpha)
            if _tail(bound, fewer, p1) >= power:
                return False
        return keeps and tighter

    yield ("where a good candidate never fails, one failure is enough: 299 requests show 1 %",
           lambda: tuple(answer(0, 0.01, 0.05, 0.95)) == (299, 0) and tuple(answer(0, 0.2, 0.01, 0.9)) == (11, 0), [
        "With p0 = 0, most is 0. When is at least one failure nearly certain?",
        "1 - 0.99ⁿ ≥ 0.95",
        "P(K > 0 | p1) = 1 - (1 - p1)**n",
    ])  # fmt: skip
    yield ("from a coin: 0.5 against 0.9", lambda: is_smallest(0.5, 0.9, 0.05, 0.8), [
        "Try n = 1, 2, 3, … and for each the smallest bound that keeps the first promise.",
        "P(K ≤ most) is a sum of math.comb(n, i) * p**i * (1 - p)**(n - i).",
        "Raise `most` while 1 - P(K ≤ most | p0) > alpha; then look at the second promise.",
    ])  # fmt: skip
    cases = [
        (0.01, 0.1, 0.05, 0.9),
        (0.05, 0.2, 0.05, 0.8),
        (0.02, 0.2, 0.01, 0.9),
        (0.1, 0.3, 0.1, 0.9),
        (0.3, 0.5, 0.05, 0.8),
    ]
    yield ("both promises are kept, by the smallest bound that keeps the first one",
           lambda: all(_tail(m, n, a) <= alpha and _tail(m, n, b) >= power and (m == 0 or _tail(m - 1, n, a) > alpha)
                       for a, b, alpha, power in cases for n, m in [answer(a, b, alpha, power)]), [
        "Compute P(K > most) for your answer, under p0 and under p1.",
        "K > most, not K ≥ most. alpha is for p0, power for p1.",
        "1 - at_most(most, n, p0) <= alpha and 1 - at_most(most, n, p1) >= power",
    ])  # fmt: skip
    yield ("and with no request fewer", lambda: all(is_smallest(*each) for each in cases), [
        "Is there a smaller n that would do?",
        "The power goes up and down with n, as the bound jumps: no halving, no steps of ten.",
        "Count n up from 1, one at a time.",
    ])  # fmt: skip
    yield ("a weak promise needs one request", lambda: tuple(answer(0.01, 0.6, 0.05, 0.5)) == (1, 0), [
        "Try p1 = 0.6 with a power of 0.5.",
        "One request fails with probability 0.6: enough.",
        "n begins at 1.",
    ])  # fmt: skip
    yield ("some hundreds of requests are no problem", lambda: is_smallest(0.01, 0.035, 0.05, 0.9), [
        "Which factor overflows, or which loop is too long?",
        "math.comb is exact; the bound never falls as n grows, so it need not begin at 0 again.",
        "Keep `most` from one n to the next.",
    ])  # fmt: skip
    yield ("what is no plan is refused", lambda: all(raises(ValueError, answer, *each) for each in (
        (0.1, 0.1, 0.05, 0.9), (0.2, 0.1, 0.05, 0.9), (-0.1, 0.1, 0.05, 0.9), (0.1, 1, 0.05, 0.9), (0.1, 0.2, 0, 0.9),
        (0.1, 0.2, 0.05, 1), (0.1, 0.2, 1, 0.9), (0.1, 0.2, 0.05, 0))), [
        "Try p0 = p1: no number of requests tells them apart.",
        "And promises of 0 or 1.",
        "if not (0 <= p0 < p1 < 1 and 0 < alpha < 1 and 0 < power < 1): raise ValueError(…)",
    ])  # fmt: skip


def _watched(outcomes: list[bool], p0: float, p1: float, alpha: float, beta: float) -> tuple[str, int]:
    """By counts, all prefixes at once: an independent second way."""
    wrong = list(itertools.accumulate(map(int, outcomes)))
    for n, k in enumerate(wrong, start=1):
        ratio = k * (math.log(p1) - math.log(p0)) + (n - k) * (math.log1p(-p1) - math.log1p(-p0))
        if ratio >= -math.log(alpha) or ratio <= math.log(beta):
            return ("roll back" if ratio > 0 else "promote"), n
    return "go on", len(outcomes)


@EXERCISES.add("19b.2", "Stop as soon as you know")
def sequential(answer: Callable) -> Iterator[Property]:
    """answer(outcomes, p0, p1, alpha, beta) -> (verdict, requests read)."""

    def gives(outcomes: list[bool], *how: float) -> bool:
        return tuple(answer(list(outcomes), *how)) == _watched(outcomes, *how)

    yield ("three failures in a row are enough at 1 % against 10 %, with alpha 0.001", lambda: tuple(answer([True] * 9, 0.01, 0.1, 0.0011, 0.01)) == ("roll back", 3), [
        "Each failure makes p1 ten times as likely.",
        "10 · 10 · 10 ≥ 1 / 0.0011",
        "Add math.log(p1 / p0) for each failure and compare with math.log(1 / alpha).",
    ])  # fmt: skip
    yield ("good requests alone promote, after as many as it takes", lambda: gives([False] * 300, 0.01, 0.05, 0.001, 0.02), [
        "A good request makes p1 a little less likely.",
        "By (1 - p1) / (1 - p0).",
        "Add math.log((1 - p1) / (1 - p0)) for each; promote at math.log(beta).",
    ])  # fmt: skip

    def random_streams(alpha: float, beta: float) -> bool:
        for seed in range(40):
            drawn = random.Random(seed)
            outcomes = [drawn.random() < drawn.choice([0.01, 0.05, 0.1]) for _ in range(400)]
            if not gives(outcomes, 0.02, 0.08, alpha, beta):
                return False
        return True

    yield ("failures among good requests, as they come", lambda: random_streams(0.01, 0.1), [
        "Compare after each request, not at the end.",
        "Both kinds of requests change the evidence; beta is the lower bound, 1 / alpha the upper one.",
        "known += wrong if outcome else fine; then the two comparisons",
    ])  # fmt: skip
    yield ("alpha belongs to the upper bound, beta to the lower one", lambda: random_streams(0.2, 0.001) and random_streams(0.001, 0.2), [
        "Try alpha = 0.2 with beta = 0.001, and the reverse.",
        "Is one of the two in both bounds?",
        "Upper: -math.log(alpha). Lower: math.log(beta).",
    ])  # fmt: skip
    yield ("where it ends undecided, it says so", lambda: tuple(answer([], 0.01, 0.1, 0.001, 0.01)) == ("go on", 0)
           and tuple(answer([True, True], 0.01, 0.1, 0.001, 0.01)) == ("go on", 2), [
        "Try no request at all, and two.",
        "Neither bound is reached.",
        'return "go on", read, after the loop',
    ])  # fmt: skip

    def reads_no_more() -> bool:
        taken = []

        def stream() -> Iterator[bool]:
            while True:
                taken.append(1)
                if len(taken) > 5000:
                    raise RuntimeError("the decision was made long ago, and still more is read")
                yield True

        return tuple(answer(stream(), 0.01, 0.1, 0.0011, 0.01)) == ("roll back", 3) and len(taken) == 3

    yield ("an endless stream is read as far as needed", reads_no_more, [
        "list(outcomes) never ends.",
        "A generator gives one at a time.",
        "for outcome in outcomes: …, and return inside the loop",
    ])  # fmt: skip
    yield ("what NumPy calls True counts, and so does 1", lambda: tuple(answer([1, 1, 1], 0.01, 0.1, 0.0011, 0.01)) == ("roll back", 3), [
        "Try 1 and 0 instead of True and False.",
        "`outcome is True` is too much to ask.",
        "if outcome: …",
    ])  # fmt: skip

    def long() -> bool:
        """No decision for thousands of requests, and then one: a product would have run out of its range on the way."""
        fair = [True] * 2000 + [False] * 2000
        return gives(fair, 0.4, 0.6, 1e-307, 1e-307) and gives([True] * 1500, 0.5, 0.8, 1e-300, 0.1)

    yield ("a bound of 10³⁰⁰ is reached when it is reached", long, [
        "Try alpha = 1e-307: 1 / alpha is near the largest float.",
        "Sums of logarithms do not overflow.",
        "-math.log(alpha) instead of 1 / alpha",
    ])  # fmt: skip
    yield ("what is no test is refused", lambda: all(raises(ValueError, answer, [], *each) for each in (
        (0.1, 0.01, 0.05, 0.1), (0.1, 0.1, 0.05, 0.1), (0, 0.1, 0.05, 0.1), (0.1, 1, 0.05, 0.1), (0.1, 0.2, 0, 0.1),
        (0.1, 0.2, 1, 0.1), (0.1, 0.2, 0.1, 0), (0.1, 0.2, 0.1, 1.5))), [
        "Try p0 above p1, and 0 and 1 for each of the four.",
        "Also before any request was read.",
        "if not (0 < p0 < p1 < 1 and …): raise ValueError(…)",
    ])  # fmt: skip


def _histories(p: float, n: int, p0: float, p1: float, alpha: float, beta: float) -> dict[str, float]:
    """By all 2**n histories, one by one: an independent second way, for small n."""
    found = {"promote": 0.0, "roll back": 0.0, "go on": 0.0}
    for history in itertools.product([False, True], repeat=n):
        verdict, _ = _watched(list(history), p0, p1, alpha, beta)
        found[verdict] += math.prod(p if wrong else 1 - p for wrong in history)
    return found


def _by_counts(p: float, n: int, p0: float, p1: float, alpha: float, beta: float) -> dict[str, float]:
    """By {how many went wrong: probability}, for large n."""
    alive, found = {0: 1.0}, {"promote": 0.0, "roll back": 0.0}
    up, down = math.log(p1 / p0), math.log1p(-p1) - math.log1p(-p0)
    for seen in range(1, n + 1):
        after: dict[int, float] = {}
        for wrong, chance in alive.items():
            for k, share in ((wrong, 1 - p), (wrong + 1, p)):
                known = k * up + (seen - k) * down
                if known >= -math.log(alpha):
                    found["roll back"] += chance * share
                elif known <= math.log(beta):
                    found["promote"] += chance * share
                else:
                    after[k] = after.get(k, 0.0) + chance * share
        alive = after
    return found | {"go on": sum(alive.values())}


@EXERCISES.add("19b.3", "How often does the deadline decide?")
def exact_deadline(answer: Callable) -> Iterator[Property]:
    """answer(p, n, p0, p1, alpha, beta) -> {"promote", "roll back", "go on": probabilities}."""

    def near(found: dict, expected: dict) -> bool:
        return found.keys() == expected.keys() and all(abs(found[each] - expected[each]) < 1e-5 for each in expected)

    usual = (0.01, 0.1, 0.05, 0.1)
    yield ("before the first request nothing is known", lambda: near(answer(0.3, 0, *usual), {"promote": 0, "roll back": 0, "go on": 1}), [
        "Try n = 0.",
        "All of the probability is on `go on`, and all three keys are there.",
        'return {"promote": 0.0, "roll back": 0.0, "go on": 1.0} for n = 0',
    ])  # fmt: skip
    yield ("two failures in a row send back; one, and one good request, do not", lambda: near(
        answer(0.3, 2, *usual), {"promote": 0, "roll back": 0.09, "go on": 0.91}), [
        "ln 10 twice is above ln 20; once is not.",
        "0.3 · 0.3",
        "Keep the probability of each number of failures, and move it on request by request.",
    ])  # fmt: skip
    small = [
        (p, n, *how)
        for p in (0.05, 0.5)
        for n in (3, 7, 11)
        for how in (usual, (0.2, 0.6, 0.1, 0.3), (0.1, 0.5, 0.3, 0.05))
    ]
    yield ("the same as over all histories of up to 11 requests", lambda: all(near(answer(*each), _histories(*each)) for each in small), [
        "A test that has crossed a bound has ended: what comes later does not count.",
        "Take what crosses a bound out of the table, after each request.",
        "found[verdict] += alive[over].sum(); alive[over] = 0",
    ])  # fmt: skip
    large = [(0.005, 100, 0.005, 0.05, 0.001, 0.01), (0.03, 200, 0.03, 0.1, 0.001, 0.01), (0.2, 300, 0.02, 0.2, 0.05, 0.1),
             (0.015, 1000, 0.01, 0.02, 0.05, 0.1)]  # fmt: skip
    yield ("and for hundreds of requests", lambda: all(near(answer(*each), _by_counts(*each)) for each in large), [
        "There are 2**300 histories, but only 301 numbers of failures.",
        "Two histories with as many failures have the same ln Λ.",
        "alive[k]: not decided yet, and k requests went wrong",
    ])  # fmt: skip
    yield ("the true share p need not be p0 or p1: at 0 and 1 the end is certain", lambda: near(answer(0, 200, *usual), {"promote": 1, "roll back": 0, "go on": 0})
           and near(answer(1, 200, *usual), {"promote": 0, "roll back": 1, "go on": 0}), [
        "Try p = 0: the first 25 requests or so decide.",
        "p says what happens; p0 and p1 say what is concluded.",
        "(1 - p) * alive[k] + p * alive[k - 1]",
    ])  # fmt: skip
    yield ("2,000 requests are no problem, and the three add up to 1", lambda: abs(sum(answer(0.015, 2000, 0.01, 0.02, 0.05, 0.1).values()) - 1) < 1e-4, [
        "How does the time grow with n?",
        "n steps over an array of n + 1 numbers: some millions of operations.",
        "alive as a NumPy array",
    ])  # fmt: skip
    yield ("what is no test is refused", lambda: all(raises(ValueError, answer, *each) for each in (
        (-0.1, 5, *usual), (1.1, 5, *usual), (0.1, -1, *usual), (0.1, 5, 0.1, 0.01, 0.05, 0.1), (0.1, 5, 0.1, 0.1, 0.05, 0.1),
        (0.1, 5, 0, 0.1, 0.05, 0.1), (0.1, 5, 0.1, 1, 0.05, 0.1), (0.1, 5, 0.1, 0.2, 0, 0.1), (0.1, 5, 0.1, 0.2, 1, 0.1),
        (0.1, 5, 0.1, 0.2, 0.1, 0), (0.1, 5, 0.1, 0.2, 0.1, 1), (float("nan"), 5, *usual))), [
        "Try a probability above 1, n below 0, p0 above p1.",
        "Also 0 and 1 for alpha and beta, and a number that is none.",
        "if not (0 <= p <= 1 and n >= 0 and 0 < p0 < p1 < 1 and …): raise ValueError(…)",
    ])  # fmt: skip
