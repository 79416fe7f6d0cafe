"""Checks of lesson 23b."""

import math
from collections.abc import Callable, Iterator

import numpy as np

from course_lib.checks import Register, raises
from course_lib.idioms.exercises import Property
from course_lib.measure import wilson

EXERCISES = Register()


def same_report(found: object, expected: dict) -> bool:
    """Whether a report has the groups, counts and intervals that are expected."""
    if not isinstance(found, dict) or set(found) != set(expected):
        return False
    return all(
        len(found[group]) == 4
        and list(found[group][:2]) == list(expected[group][:2])
        and np.allclose(np.array(found[group][2:], float), expected[group][2:], atol=1e-6)
        for group in expected
    )


@EXERCISES.add("23b.1", "Who is missed?")
def who_is_missed(answer: Callable) -> Iterator[Property]:
    """answer(truth, answers, groups, confidence) -> dict of group -> (missed, positives, low, high)."""
    truth = np.array([1, 1, 1, 1, 0, 0, 1, 1, 0], bool)
    said = np.array([1, 1, 1, 0, 0, 0, 0, 0, 0], bool)
    group = np.array([0, 0, 0, 0, 0, 0, 1, 1, 1])
    yield ("of 4 positive cases 1 is missed, of 2 both are", lambda: same_report(
        answer(truth, said, group), {0: (1, 4, *wilson(1, 4)), 1: (2, 2, *wilson(2, 2))}
    ), [
        "Group 0 has six cases. Four of them are positive.",
        "Missed are the positive cases to which the model says no. Divide by the positive cases, not by all.",
        "ill = truth & (groups == group); missed = (ill & ~answers).sum(); wilson(missed, ill.sum(), confidence)",
    ])  # fmt: skip
    yield ("a false alarm is no missed case", lambda: same_report(
        answer(truth, ~truth, group) | answer(truth, np.ones(9, bool), group + 5),
        {0: (4, 4, *wilson(4, 4)), 1: (2, 2, *wilson(2, 2)), 5: (0, 4, *wilson(0, 4)), 6: (0, 2, *wilson(0, 2))},
    ), [
        "Try a model that says yes to everybody: it misses nobody.",
        "An error on a negative case is another rate. Do you count answers != truth?",
        "missed = (truth & ~answers)[groups == group].sum()",
    ])  # fmt: skip
    healthy = np.array([0, 0, 1, 1, 0], bool)
    where = np.array(["north", "north", "south", "south", "west"])
    yield ("a group without a positive case stays in the report, with the interval 0 to 1", lambda: same_report(
        answer(healthy, np.zeros(5, bool), where),
        {"north": (0, 0, 0.0, 1.0), "south": (2, 2, *wilson(2, 2)), "west": (0, 0, 0.0, 1.0)},
    ), [
        "Here north and west have no positive case.",
        "wilson refuses a count of 0. What do you know about the rate then?",
        "ends = wilson(missed, positives, confidence) if positives else (0.0, 1.0)",
    ])  # fmt: skip
    random = np.random.default_rng(4)
    many, told, parts = random.random(400) < 0.4, random.random(400) < 0.5, random.integers(0, 7, 400)

    def by_hand(confidence: float) -> dict:
        counted = {}
        for one in set(parts.tolist()):
            ill = [t for m, t, g in zip(many, told, parts) if m and g == one]
            counted[one] = (ill.count(False), len(ill), *wilson(ill.count(False), len(ill), confidence))
        return counted

    yield ("400 cases in 7 groups agree with a count by hand, at another confidence too", lambda: all(
        same_report(answer(many, told, parts, level), by_hand(level)) for level in (0.95, 0.5, 0.99)
    ), [
        "Try confidence=0.5: the intervals are narrower.",
        "The argument must reach wilson.",
        "wilson(missed, positives, confidence)",
    ])  # fmt: skip
    yield ("0 and 1 as whole numbers are truth values too", lambda: same_report(
        answer(many.astype(int), told.astype(np.uint8), parts), by_hand(0.95)
    ), [
        "What is ~1?",
        "On whole numbers, ~ turns 1 into -2 and 0 into -1. Both count as true.",
        "truth, answers = np.asarray(truth, bool), np.asarray(answers, bool)",
    ])  # fmt: skip
    yield ("no case gives an empty report", lambda: answer(many[:0], told[:0], parts[:0]) == {}, [
        "Which groups occur in an empty array?",
        "Do you need a case to find out what groups there are?",
        "for group in np.unique(groups): …, and return the dict after the loop",
    ])  # fmt: skip
    yield ("arrays that differ in length are refused", lambda: all(
        raises(ValueError, answer, *arrays)
        for arrays in ((many[:1], told[:2], parts[:2]), (many[:2], told[:1], parts[:2]), (many[:2], told[:2], parts[:1]))
    ), [
        "What does NumPy do with shapes (2,) and (1,)?",
        "An array of one entry is stretched without a word. Compare the three lengths.",
        "if not len(truth) == len(answers) == len(groups): raise ValueError(…)",
    ])  # fmt: skip


def exact_chance(right: np.ndarray, counts: np.ndarray) -> float:
    """The chance in closed form: one minus the product of the groups' chances to stay above the lowest share."""
    p, above = right.sum() / counts.sum(), 1.0
    least = int((right / counts).argmin())
    for count in counts.tolist():
        # right of count is as low as the lowest share where right * counts[least] <= right[least] * count
        most = int(right[least]) * count // int(counts[least])
        terms = (math.comb(count, k) * p**k * (1 - p) ** (count - k) for k in range(most + 1))
        above *= 1 - min(1.0, math.fsum(terms))
    return 1 - above


@EXERCISES.add("23b.2", "Is the worst group really worse?")
def worst_of_many(answer: Callable) -> Iterator[Property]:
    """answer(right, counts, draws, random) -> float."""

    def near(right: list[int], counts: list[int], draws: int = 20_000) -> bool:
        right, counts = np.array(right), np.array(counts)
        expected = exact_chance(right, counts)
        found = float(answer(right, counts, draws, np.random.default_rng(1)))
        return abs(found - expected) <= 5 * math.sqrt(expected * (1 - expected) / draws) + 1e-9

    yield ("two groups, 45 and 35 of 50: a worst of 35 is rare, a worst of 39 is not", lambda: (
        near([45, 35], [50, 50]) and near([41, 39], [50, 50])
    ), [
        "Both groups together are right in 80 of 100 cases. Draw worlds in which both have p = 0.8.",
        "In each world take the lower of the two accuracies, and compare it with 35 / 50.",
        "(random.binomial(counts, p, (draws, len(counts))) / counts).min(axis=1) <= (right / counts).min()",
    ])  # fmt: skip
    yield ("the worst of twelve is low by chance more often than one group alone", lambda: (
        near([121] + [131] * 11, [140] * 12) and near([121], [140])
    ), [
        "Any of the groups may be the worst one.",
        "Do you draw all of the groups in each world, or only the one that was the worst?",
        "Draw an array (draws, G), and take the smallest of each row.",
    ])  # fmt: skip
    yield ("a world that is exactly as bad counts", lambda: (
        near([10, 10, 9], [10, 10, 10]) and near([5, 5], [5, 5]) and near([0, 0], [4, 7])
    ), [
        "What is the answer if every case of every group is right?",
        "The sentence says: as low as the lowest observed, or lower.",
        "<=, not <",
    ])  # fmt: skip
    yield ("small and large groups keep their own counts", lambda: (
        near([4, 96, 950], [6, 100, 1000]) and near([900, 7], [1000, 8]) and near([6, 84, 960], [6, 100, 1000])
    ), [
        "A group of six is often far from p. A group of a thousand is not.",
        "Give binomial the array of counts, not their mean.",
        "random.binomial(counts, p, size=(draws, len(counts)))",
    ])  # fmt: skip
    yield ("p is the share of all cases, not the mean of the groups' shares", lambda: (
        near([50, 985], [100, 1000]) and near([1, 2, 330], [4, 4, 360])
    ), [
        "A group of 100 with half of them right and a group of 1,000 with 98.5 %: what is p?",
        "All cases count alike, so large groups count more.",
        "p = right.sum() / counts.sum()",
    ])  # fmt: skip
    yield ("lists are taken as well, without a generator, and a share comes back", lambda: (
        0 <= float(answer([9, 8], [10, 10])) <= 1 and abs(float(answer([9, 8], [10, 10])) - exact_chance(
            np.array([9, 8]), np.array([10, 10])
        )) < 0.03
    ), [
        "Does [9, 8] / [10, 10] work?",
        "np.asarray makes arrays of both; random may be None.",
        "random = random or np.random.default_rng(0)",
    ])  # fmt: skip
    yield ("counts below 1, impossible numbers and shapes that differ are refused", lambda: all(
        raises(ValueError, answer, np.array(right), np.array(counts))
        for right, counts in (([0, 1], [0, 2]), ([3, 1], [2, 2]), ([-1, 1], [2, 2]), ([1], [2, 2]))
    ), [
        "Can a group have more right answers than cases?",
        "Four cases: a count of 0, right above count, right below 0, and different lengths.",
        "if right.shape != counts.shape or (counts < 1).any() or ((right < 0) | (right > counts)).any(): raise …",
    ])  # fmt: skip


def least_cost(
    x: np.ndarray, weights: np.ndarray, need: float, low: np.ndarray, high: np.ndarray, fixed: np.ndarray
) -> float:
    """The smallest sum of absolute changes that lifts weights @ x by `need`; infinite where nothing does."""
    cost = 0.0
    rooms = sorted(
        ((abs(w), (top - at) if w > 0 else (at - bottom)) for w, at, bottom, top, stays in zip(weights, x, low, high, fixed)
         if w and not stays), reverse=True,
    )  # fmt: skip
    for weight, room in rooms:
        if need <= 0:
            break
        used = min(room, need / weight)
        cost, need = cost + used, need - used * weight
    return cost if need <= 1e-9 else math.inf


@EXERCISES.add("23b.3", "The smallest change")
def nearest_accepted(answer: Callable) -> Iterator[Property]:
    """answer(x, weights, bias, low, high, fixed, target) -> float array, or None."""

    def best(x, weights, bias, low, high, fixed, target=0.0) -> bool:
        arrays = [np.array(each, float) for each in (x, weights, low, high)]
        x, weights, low, high = arrays
        fixed = np.array(fixed, bool)
        z = answer(x, weights, bias, low, high, fixed, target)
        cost = least_cost(x, weights, target - (weights @ x + bias), low, high, fixed)
        if math.isinf(cost):
            return z is None
        if z is None or np.shape(z) != x.shape:
            return False
        z = np.asarray(z, float)
        allowed = (z >= low - 1e-6).all() and (z <= high + 1e-6).all() and np.allclose(z[fixed], x[fixed], atol=1e-6)
        size = 1 + abs(bias) + abs(target) + np.abs(weights) @ np.abs(x)
        return bool(
            allowed and weights @ z + bias >= target - 1e-6 * size and np.abs(z - x).sum() <= cost + 1e-6 * (1 + cost)
        )

    wide, free = ([-9, -9], [9, 9]), [False, False]
    yield ("the feature with the larger weight moves, and alone", lambda: best([0, 0], [1, 2], -3, *wide, free), [
        "The logit is -3. Which of the two features lifts it by 3 with the smaller change?",
        "A unit of feature 1 lifts it by 2, a unit of feature 0 by 1 only.",
        "Move the feature with the largest weight by short / weight.",
    ])  # fmt: skip
    yield ("a feature with a negative weight moves downwards", lambda: (
        best([1, 1], [1, -4], 1, *wide, free) and best([0, 0], [-1, -0.5], -2, *wide, free, -1)
    ), [
        "The weight is -4: does a larger value help?",
        "Order by the size of the weight, and let its sign choose the direction.",
        "np.argsort(-np.abs(weights)), and short / weights[j] has the right sign",
    ])  # fmt: skip
    yield ("where its range ends, the next feature goes on", lambda: (
        best([0, 0, 0], [1, 3, 2], -8, [-1, -1, -1], [5, 2, 5], [False] * 3)
        and best([0, 0], [-3, 1], -5, [-1, 0], [1, 9], free)
    ), [
        "Feature 1 may rise to 2 and gives 6 of the 8 that are missing.",
        "Move it to the end of its range, count what is still missing, then take the next weight.",
        "room = (high[j] if weights[j] > 0 else low[j]) - z[j]",
    ])  # fmt: skip
    yield ("a feature that is fixed stays", lambda: (
        best([0, 0], [1, 9], -3, *wide, [False, True]) and best([1, 2, 3], [1, -7, 2], -9, [-9] * 3, [9] * 3, [False, True, False])
    ), [
        "Feature 1 has the weight 9, and it must not change.",
        "Skip the features for which fixed is True.",
        "if fixed[j]: continue",
    ])  # fmt: skip
    yield ("what is accepted already stays as it is, also exactly at the target", lambda: (
        best([1, 1], [1, 1], 0, *wide, free) and best([1, 1], [1, 1], 0, *wide, free, 2) and best([2, 1], [1, 1], 1, *wide, free, 1.5)
    ), [
        "Here weights @ x + bias is at the target or above it.",
        "The smallest change is no change.",
        "if short <= 0: return a copy of x",
    ])  # fmt: skip
    yield ("None comes back if no allowed change is enough", lambda: (
        best([0, 0], [1, 2], -3, [-1, -1], [0.5, 1], free)
        and best([0, 0], [0, 0], -1, *wide, free)
        and best([0, 0], [5, 0], -1, *wide, [True, False])
    ), [
        "With both features at the end of their ranges the logit is still -0.5.",
        "Look at what is still missing after the loop. A weight of 0 lifts nothing.",
        "return z if short <= 1e-9 else None",
    ])  # fmt: skip

    def many() -> bool:
        random = np.random.default_rng(5)
        for features in (1, 2, 5, 30):
            for _ in range(25):
                x, weights = random.normal(size=features), random.normal(size=features)
                low, high = x - random.exponential(1, features), x + random.exponential(1, features)
                bias = float(-weights @ x - random.exponential(2))
                if not best(x, weights, bias, low, high, random.random(features) < 0.3, float(random.normal())):
                    return False
        return True

    yield ("100 random models get an optimal answer", many, [
        "Compare your sum of absolute changes with scipy.optimize.linprog on a small example.",
        "A change of all features in proportion to the weights is the smallest in another distance: the Euclidean one.",
        "Use up the room of the largest |weight| first, then the next. At the end, forgive what rounding leaves: 1e-9.",
    ])  # fmt: skip

    def kept() -> bool:
        x, weights = np.zeros(3, np.float32), np.array([1, 2, 3], np.float32)
        z = answer(x, weights, -20.0, x - 3, x + 4, np.zeros(3, bool))
        return not x.any() and z is not None and bool(np.allclose(np.asarray(z, float), [0, 4, 4], atol=1e-5))

    yield ("x is not changed, and float32 works", kept, [
        "Does z = x make a copy?",
        "z[j] += … on the same array changes the customer's own data.",
        "z = x.astype(float) copies",
    ])  # fmt: skip


@EXERCISES.add("23b.4", "Is the card still true?")
def still_true(answer: Callable) -> Iterator[Property]:
    """answer(printed, measured) -> sorted list of names."""

    def refused(printed: dict, measured: dict, *names: str) -> bool:
        found = answer(printed, measured)
        return isinstance(found, list) and found == sorted(names)

    yield ("a figure is compared at the decimals that the card prints", lambda: (
        refused({"accuracy": "0.996"}, {"accuracy": 0.99556}) and refused({"accuracy": "0.99"}, {"accuracy": 0.99556}, "accuracy")
        and refused({"accuracy": "1.0"}, {"accuracy": 0.99556}) and refused({"bytes": "62900"}, {"bytes": 62900})
        and refused({"accuracy": "0.9960"}, {"accuracy": 0.99556}, "accuracy")
    ), [
        "0.99556 printed with three decimals is 0.996. With two decimals it is 1.00, and the card says 0.99.",
        "Count the digits behind the point in the text, and round the measured number to as many.",
        "decimals = len(text.partition('.')[2]); abs(float(text) - number) <= 0.5 * 10**-decimals",
    ])  # fmt: skip
    yield ("a percent sign means hundredths, with and without a space", lambda: (
        refused({"a": "99.6 %", "b": "99.6%", "c": "7 %"}, {"a": 0.99556, "b": 0.99556, "c": 0.0712})
        and refused({"a": "99.6 %", "b": "0.996 %", "c": "99.5%"}, {"a": 99.6, "b": 0.996, "c": 0.99556}, "a", "b", "c")
    ), [
        "99.6 % and 0.99556 belong together. 99.6 % and 99.6 do not.",
        "Multiply the measured number by 100, then round it to the decimals of the text without its sign.",
        "digits = text.removesuffix('%').strip(); number = 100 * number",
    ])  # fmt: skip
    yield ("commas separate thousands, and a minus is a sign", lambda: (
        refused({"bytes": "62,900", "more": "1,234,567.9", "gap": "-0.3"}, {"bytes": 62900, "more": 1234567.88, "gap": -0.32})
        and refused({"bytes": "62,900", "gap": "-0.3"}, {"bytes": 62901, "gap": 0.3}, "bytes", "gap")
    ), [
        "float('62,900') raises an error.",
        "Take the commas out before you turn the text into a number.",
        "text.replace(',', '')",
    ])  # fmt: skip
    yield ("a figure is refused that only the card has, or only the measurement", lambda: refused(
        {"accuracy": "0.996", "awards": "3"}, {"accuracy": 0.996, "worst group": 0.9}, "awards", "worst group"
    ), [
        "One figure is printed and no longer measured. One is measured and not printed.",
        "Walk through the names of both dicts.",
        "names = printed.keys() | measured.keys()",
    ])  # fmt: skip
    yield ("a text that is no number is refused", lambda: refused(
        {"a": "", "b": "TODO", "c": " % ", "d": "about 0.9", "e": "–"}, dict.fromkeys("abcde", 0.9), *"abcde"
    ), [
        "What does float('TODO') do?",
        "Catch the ValueError, and refuse.",
        "try: shown = float(digits), except ValueError: return False",
    ])  # fmt: skip
    yield ("nan and infinity are refused on both sides", lambda: refused(
        {"a": "0.9", "b": "0.9", "c": "nan", "d": "inf"},
        {"a": math.nan, "b": math.inf, "c": math.nan, "d": math.inf}, *"abcd",
    ), [
        "Every comparison with nan is false. Which way round is yours?",
        "float('nan') and float('inf') raise no error. A card that prints them says nothing.",
        "if not np.isfinite(number): refuse",
    ])  # fmt: skip
    yield ("the names are sorted, and an empty card of nothing has no problem", lambda: (
        refused({"c": "1", "a": "1", "b": "1"}, {"c": 2, "a": 2, "b": 1}, "a", "c") and refused({}, {})
        and refused({"n": "450"}, {"n": np.int64(450)})
    ), [
        "Returns a list, in the order of the alphabet.",
        "A set has no order.",
        "sorted(…)",
    ])  # fmt: skip
