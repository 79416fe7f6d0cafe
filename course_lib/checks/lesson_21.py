"""Checks of lesson 21, drift."""

import math
from collections.abc import Callable, Iterator

import numpy as np

from course_lib.checks import Register, raises
from course_lib.idioms.exercises import Property

EXERCISES = Register()

FLOOR = 1e-4


def reference_psi(reference: np.ndarray, current: np.ndarray, bins: int) -> float:
    """PSI in plain Python, for samples of which no value lies on an edge."""
    edges = np.quantile(np.asarray(reference, float), np.arange(1, bins) / bins).tolist()
    total = 0.0
    for b in range(bins):
        p, q = (
            max(FLOOR, sum(b == sum(edge <= value for edge in edges) for value in sample) / len(sample))
            for sample in (np.asarray(reference, float).tolist(), np.asarray(current, float).tolist())
        )
        total += (q - p) * math.log(q / p)
    return total


@EXERCISES.add("21.1", "A PSI that survives real data")
def survives(answer: Callable) -> Iterator[Property]:
    """answer(reference, current, bins) -> float."""
    random = np.random.default_rng(0)
    ours, theirs = random.normal(size=204), random.normal(0.4, 1.2, size=204)
    yield ("two samples of one size give the formula's value", lambda: near(
        answer(ours, theirs, 4), reference_psi(ours, theirs, 4)
    ), [
        "Four bins have three inner edges: the quarter, the half and three quarters of the reference.",
        "Count both samples in the same bins, divide by their lengths, then sum (q − p) · ln(q / p).",
        "edges = np.quantile(reference, np.arange(1, bins) / bins); np.searchsorted(edges, sample) gives the bin",
    ])  # fmt: skip
    yield ("it is a plain float", lambda: type(answer(ours, theirs)) is float, [
        "What does type(…) of your result say?",
        "A sum of a NumPy array is a NumPy number, which json.dumps may refuse.",
        "float(…) around the result.",
    ])  # fmt: skip
    few = theirs[:37]
    yield ("samples of different size are compared by their shares", lambda: near(
        answer(ours, few, 5), reference_psi(ours, few, 5)
    ) and near(answer(few[:35], ours, 5), reference_psi(few[:35], ours, 5)), [
        "Try a reference of 204 and 37 values of today.",
        "Do you divide each count by the length of its own sample?",
        "np.bincount(…, minlength=bins) / len(sample)",
    ])  # fmt: skip
    half, ends = theirs[theirs > np.median(ours)], np.array([-2.05, 2.05])
    yield ("an empty bin counts as a share of 0.0001", lambda: (
        near(answer(ours, half), reference_psi(ours, half, 10)) and near(answer(ends, ours), reference_psi(ends, ours, 10))
    ), [
        "What is the logarithm of 0? Print p and q.",
        "Raise each share to 0.0001 at least, in p and in q, and change nothing else.",
        "q = np.maximum(q, 1e-4)",
    ])  # fmt: skip
    crowd = np.concatenate([np.linspace(5, 6, 20_000), [-5.0]])
    yield ("a share below 0.0001 counts as 0.0001, also if it is not 0", lambda: near(
        answer(ours, crowd, 4), reference_psi(ours, crowd, 4)
    ), [
        "Here one of 20,001 values lies in the lowest bin.",
        "Compare each share with 0.0001, not with 0.",
        "q = np.maximum(q, 1e-4)",
    ])  # fmt: skip
    yield ("values outside the reference's range count in the outer bins", lambda: all(
        near(answer(ours, ours[:50] + far), reference_psi(ours, ours[:50] + far, 10)) for far in (100, -100)
    ), [
        "Do the shares of today sum to 1 if all values are far outside?",
        "np.histogram drops what lies beyond its first and last edge. The outer bins have no end.",
        "edges = [-np.inf, *np.quantile(…), np.inf]",
    ])  # fmt: skip
    spoiled = np.concatenate([theirs, [1e6] * 40])
    yield ("the edges come from the reference alone", lambda: near(
        answer(ours, spoiled), reference_psi(ours, spoiled, 10)
    ), [
        "What happens to your edges if 40 values of today are a million?",
        "The quantiles of both samples together move with today's values. Then each day has its own ruler.",
        "np.quantile(reference, …), not np.quantile(np.concatenate(…), …)",
    ])  # fmt: skip
    yield ("any number of bins, whole numbers, float32 and views work", lambda: all(
        near(answer(*pair, bins), reference_psi(*pair, bins), 1e-5)
        for bins in (2, 6, 20)
        for pair in (
            (ours[::2], theirs[::-3]),
            (ours.astype(np.float32), theirs.astype(np.float32)),
            (np.arange(0, 408, 2) ** 2, np.arange(1, 409, 2)),
        )
    ), [
        "Try bins=2 and bins=20, and arrays of int and float32.",
        "Is a constant number of bins or of values left in your function?",
        "np.arange(1, bins) / bins, and minlength=bins",
    ])  # fmt: skip
    before, after = np.zeros(100), np.zeros(100)
    before[90:], after[50:] = np.arange(1, 11), np.linspace(0.5, 12, 50)
    yield ("repeated values: equal samples give 0, and a change of many zeros is seen", lambda: (
        abs(answer(before, before)) < 1e-9 and 0.5 < answer(before, after) < 1.2
    ), [
        "A reference with 90 zeros of 100 values has many equal edges.",
        "Equal edges make bins that are empty in both samples, which cost nothing. Do not remove the values.",
        "np.searchsorted and np.histogram both accept edges that repeat.",
    ])  # fmt: skip
    holes = np.array([1.0, np.nan, 2.0])
    yield ("an empty sample, nan and infinity are refused", lambda: all(
        raises(ValueError, answer, *pair)
        for pair in (
            (ours, ours[:0]), (ours[:0], ours), (holes, ours), (ours, holes), (ours, np.array([1.0, np.inf])),
            (np.array([-np.inf, 1.0, 2.0]), ours),
        )
    ), [
        "Into which bin does nan fall?",
        "NumPy sorts nan behind all numbers, so it would count as very large. Refuse it.",
        "if not len(sample) or not np.isfinite(sample).all(): raise ValueError(…)",
    ])  # fmt: skip


@EXERCISES.add("21.2", "Sixty-four features, thirty days")
def counts_its_tests(answer: Callable) -> Iterator[Property]:
    """answer(p_values, looks, level) -> a day's number or None."""
    yield ("one feature, one day: an alarm at 0.04, none at 0.06", lambda: (
        answer(np.array([[0.04]]), 1) == 0 and answer(np.array([[0.06]]), 1) is None
    ), [
        "With one test the level is 0.05 as it stands.",
        "Return 0 for the first row, and None (not False, not -1) if there is no alarm.",
        "alarms = (p_values <= threshold).any(axis=1)",
    ])  # fmt: skip
    wide = np.full((1, 64), 0.5)
    yield ("each feature counts as a test", lambda: (
        answer(with_entry(wide, (0, 7), 0.01), 1) is None and answer(with_entry(wide, (0, 63), 0.0005), 1) == 0
        and answer(np.full((1, 64), 0.01), 1) is None
    ), [
        "64 tests at 0.05 each: what is the chance that all stay silent?",
        "Divide the level by the number of columns.",
        "level / p_values.shape[1]",
    ])  # fmt: skip
    month = np.full((3, 1), 0.5)
    yield ("each planned day counts as a look, also those to come", lambda: (
        answer(with_entry(month, (2, 0), 0.01), 30) is None
        and answer(with_entry(month, (0, 0), 0.01), 30) is None
        and answer(with_entry(month, (2, 0), 0.001), 30) == 2
        and answer(with_entry(month, (2, 0), 0.01), 3) == 2
    ), [
        "Three of thirty days are over. How many tests does the whole period have?",
        "If you divide by the days so far, the first morning uses up the whole level.",
        "Divide by looks, not by len(p_values).",
    ])  # fmt: skip
    both = np.full((20, 64), 0.4)
    yield ("features and looks count together", lambda: (
        answer(with_entry(both, (11, 3), 1e-4), 30) is None
        and answer(with_entry(both, (11, 3), 1e-5), 30) == 11
        and answer(with_entry(both, (11, 3), 0.0), 30) == 11
    ), [
        "64 features on 30 days are 1,920 tests.",
        "Divide by the product of the two, not by their sum or by the larger one.",
        "threshold = level / (features * looks)",
    ])  # fmt: skip
    later = with_entry(with_entry(both, (4, 60), 1e-6), (15, 0), 1e-9)
    yield ("it is the first such day, as a plain int", lambda: (
        answer(later, 30) == 4 and type(answer(later, 30)) is int
    ), [
        "Is it the first day, or the day with the smallest p-value?",
        "argmax of a truth array gives the first True, as a NumPy number.",
        "int(alarms.argmax()) if alarms.any() else None",
    ])  # fmt: skip
    holes = np.full((2, 10), np.nan)
    yield ("nan raises no alarm, and its test still counts", lambda: (
        answer(holes, 2) is None
        and answer(with_entry(holes, (1, 4), 0.01), 2) is None
        and answer(with_entry(holes, (1, 4), 0.001), 2) == 1
    ), [
        "Try a row in which nine of ten entries are nan.",
        "np.min of a row with nan is nan. A comparison with nan is false, which is what you need here.",
        "Compare first, then use any(axis=1); take the number of features from the shape.",
    ])  # fmt: skip
    tight = np.full((5, 10), 0.5)
    yield ("another level is used", lambda: (
        answer(with_entry(tight, (3, 3), 0.003), 5, 0.2) == 3 and answer(with_entry(tight, (3, 3), 0.003), 5) is None
        and answer(with_entry(tight, (3, 3), 0.0009), 5, 0.01) is None
    ), [
        "Is 0.05 written somewhere in your function?",
        "level is the chance for the whole period, 0.05 by default.",
        "threshold = level / (features * looks)",
    ])  # fmt: skip
    random = np.random.default_rng(1)
    quiet = random.random((400, 30, 20))
    yield ("in 400 months without drift, the share with an alarm is about the level", lambda: (
        sum(answer(each, 30) is not None for each in quiet) <= 36
        and 0.1 <= sum(answer(each, 30, 0.2) is not None for each in quiet) / 400 <= 0.28
    ), [
        "p-values without drift are spread evenly from 0 to 1.",
        "Too many alarms: which tests do you not count? Too few: do you correct twice?",
        "threshold = level / (features * looks)",
    ])  # fmt: skip
    yield ("more days than planned, p outside 0 to 1 and a level that is none are refused", lambda: all(
        raises(ValueError, answer, *bad)
        for bad in (
            (month, 2), (with_entry(month, (1, 0), 1.2), 30), (with_entry(month, (1, 0), -0.1), 30),
            (month, 30, 0), (month, 30, 1), (month, 30, 5), (with_entry(holes, (0, 0), 7.0), 2),
            (np.array([[1e-9], [1.2]]), 30),
        )
    ), [
        "What does a p-value of 1.2 tell you? That something upstream is broken.",
        "Check the number of days, all p-values (nan is allowed) and the level, before you look for an alarm.",
        "if ((p_values < 0) | (p_values > 1)).any() or not 0 < level < 1: raise ValueError(…)",
    ])  # fmt: skip
    yield ("before the first day there is no alarm", lambda: answer(np.zeros((0, 3)), 30) is None, [
        "Try an array of shape (0, 3).",
        "argmax of nothing raises an error.",
        "int(alarms.argmax()) if alarms.any() else None",
    ])  # fmt: skip


@EXERCISES.add("21.3", "Count classes that the model confuses")
def true_shares(answer: Callable) -> Iterator[Property]:
    """answer(labels, answers, answers_now, classes) -> an array of shares."""
    two = np.array([[0.9, 0.2], [0.1, 0.8]])
    labels, answers = examples(two, [100, 100])
    yield ("90 and 80 % of two classes right, 37.5 % of the answers are 0: a quarter is 0", lambda: np.allclose(
        answer(labels, answers, drawn_answers([0.375, 0.625]), 2), [0.25, 0.75], atol=1e-6
    ), [
        "0.9 of the true 0s and 0.2 of the true 1s are answered with 0: 0.375 = 0.9 w + 0.2 (1 − w).",
        "Build M from the reference, a from today's answers, and solve a = M w.",
        "np.linalg.solve(confusion, shares)",
    ])  # fmt: skip
    yield ("a float array with a share for each class, which sum to 1", lambda: (
        isinstance(got := answer(labels, answers, drawn_answers([0.55, 0.45]), 2), np.ndarray)
        and got.shape == (2,) and got.dtype.kind == "f" and abs(got.sum() - 1) < 1e-9
    ), [
        "What shape and type does the docstring promise?",
        "One number for each class, from 0 to classes − 1.",
        "return solved / solved.sum()",
    ])  # fmt: skip
    lopsided = examples(two, [400, 50])
    yield ("the reference's own shares do not matter", lambda: np.allclose(
        answer(*lopsided, drawn_answers([0.375, 0.625]), 2), [0.25, 0.75], atol=1e-6
    ), [
        "Here the reference has eight times as many 0s as 1s. M must be the same as before.",
        "M[i, j] is a share among the examples of class j: divide each column by its own sum.",
        "counts / counts.sum(axis=0), with counts[answer, label]",
    ])  # fmt: skip
    random = np.random.default_rng(3)
    yield ("random confusion matrices of 2 to 10 classes are solved", lambda: all(
        np.allclose(answer(*case[:3], case[3]), case[4], atol=1e-6) for case in random_cases(random)
    ), [
        "Two classes are symmetric in many ways; try three.",
        "Does M have the answers in its rows and the true classes in its columns, or the other way round?",
        "np.add.at(counts, (answers, labels), 1), then divide by counts.sum(axis=0)",
    ])  # fmt: skip
    three = np.array([[0.8, 0.1, 0.2], [0.1, 0.9, 0.0], [0.1, 0.0, 0.8]])
    seen, told = examples(three, [100, 100, 100])
    yield ("a class that nobody answers today keeps its place", lambda: np.allclose(
        answer(seen.astype(np.uint8), told.astype(np.int32), np.zeros(7, np.int64), 3),
        clipped(three, [1.0, 0.0, 0.0]), atol=1e-6,
    ) and answer(seen, told, np.zeros(7, np.int64), 3).shape == (3,), [
        "Today holds nothing but the answer 0. How long is np.bincount then?",
        "np.bincount stops at the largest value it sees.",
        "np.bincount(answers_now, minlength=classes)",
    ])  # fmt: skip
    extreme = drawn_answers([0.05, 0.95, 0.0])
    yield ("negative shares become 0, and the rest sums to 1", lambda: (
        np.allclose(answer(seen, told, extreme, 3), clipped(three, [0.05, 0.95, 0.0]), atol=1e-6)
        and answer(seen, told, extreme, 3).min() >= 0
    ), [
        "The solution may leave 0 to 1, since samples are finite.",
        "Set what is negative to 0 first, then divide by the sum.",
        "solved = np.linalg.solve(…).clip(0); return solved / solved.sum()",
    ])  # fmt: skip
    shifted = (2 * np.eye(12) + 8 * np.eye(12, k=-1)) / 10  # 80 % of the answers name the next class
    shifted[-1, -1] = 1
    same, never = np.array([[0.5, 0.5], [0.5, 0.5]]), np.array([[0.6, 0.4, 0.5], [0.4, 0.6, 0.5], [0.0, 0.0, 0.0]])
    yield ("no answers, a class without label, and classes that cannot be told apart are refused", lambda: all(
        raises(ValueError, answer, *bad)
        for bad in (
            (labels, answers, answers[:0], 2), (labels, answers, answers, 3), (seen[seen != 1], told[seen != 1], told, 3),
            (*examples(same, [10, 10]), np.array([0, 1]), 2), (*examples(never, [10, 10, 10]), np.array([0, 1]), 3),
            (*examples(shifted, [10] * 12), np.arange(12), 12),
        )
    ), [
        "If the answers to two classes look alike, can anybody count the classes from the answers?",
        "A class without label makes a column of nan. np.linalg.solve raises LinAlgError only for an exact 0, and a small "
        "determinant alone proves nothing.",
        "Look at counts.sum(axis=0), and at np.linalg.cond(confusion) > 1e6.",
    ])  # fmt: skip


SCHEMA = {
    "temp": {"low": -20, "high": 110, "missing": 0.1, "median": (25, 90)},
    "wind": {"low": 0, "high": 60, "missing": 0.0, "median": (0, 30)},
}


@EXERCISES.add("21.4", "A guard at the door")
def guard(answer: Callable) -> Iterator[Property]:
    """answer(batch, schema) -> a dict of words."""
    fine = {"temp": np.array([50.0, 61.0, 72.0, 40.0]), "wind": np.array([5, 0, 12, 9])}
    yield ("a good batch has no problem", lambda: (
        answer(fine, SCHEMA) == {} and answer({**fine, "wind": fine["wind"].astype(np.uint8)}, SCHEMA) == {}
    ), [
        "The result is a dict, and this one is empty.",
        "Whole numbers are allowed as well as floats, also without a sign.",
        "values.dtype.kind in 'iuf'",
    ])  # fmt: skip
    yield ("a column that is absent and one that is unknown are named", lambda: (
        answer({"wind": fine["wind"], "gust": fine["wind"]}, SCHEMA) == {"temp": "absent", "gust": "unknown"}
        and answer({}, SCHEMA) == {"temp": "absent", "wind": "absent"}
    ), [
        "Look through the names of the schema, then through those of the batch.",
        "An unknown column has no rule: it gets its word and no further check.",
        "{name: 'absent' for name in schema if name not in batch}",
    ])  # fmt: skip
    yield ("texts, objects and truth values are no numbers", lambda: all(
        answer({**fine, "wind": np.array(bad)}, SCHEMA) == {"wind": "type"}
        for bad in (["5", "0", "12", "9"], [True, False, True, True], np.array([5, None, 3, 2], object), [5j, 1, 2, 3])
    ), [
        "What is values.dtype.kind of texts, of objects, of bools?",
        "Look at the type first: np.isnan of a text raises an error.",
        "if values.dtype.kind not in 'iuf': 'type'",
    ])  # fmt: skip
    tenth = np.full(20, 50.0)
    tenth[:2] = np.nan
    yield ("as many nan as allowed are fine, one more is not", lambda: (
        answer({"temp": tenth, "wind": np.zeros(20)}, SCHEMA) == {}
        and answer({"temp": with_entry(tenth, 9, np.nan), "wind": np.zeros(20)}, SCHEMA) == {"temp": "missing"}
        and answer({"temp": tenth, "wind": with_entry(np.zeros(20), 3, np.nan)}, SCHEMA) == {"wind": "missing"}
    ), [
        "Two of twenty is a share of 0.1, which the schema allows.",
        "Compare with >, not with >=.",
        "np.isnan(values).mean() > rule['missing']",
    ])  # fmt: skip
    yield ("the ends of a range are allowed, what lies beyond is not, nor is infinity", lambda: (
        answer({**fine, "wind": np.array([0.0, 60.0, 5.0, 5.0])}, SCHEMA) == {}
        and all(
            answer({**fine, "wind": np.array([5.0, 5.0, bad, 5.0])}, SCHEMA) == {"wind": "range"}
            for bad in (60.1, -0.1, np.inf, -np.inf)
        )
    ), [
        "0 and 60 themselves are possible winds.",
        "Infinity is above every bound. If you drop it together with nan, you do not see it.",
        "present.min() < rule['low'] or present.max() > rule['high']",
    ])  # fmt: skip
    sparse = np.concatenate([tenth[:18], [np.nan, -15.0]])
    sparse[:2] = 55
    yield ("nan hides no value outside the range", lambda: (
        answer({"temp": with_entry(sparse, 19, 120.0), "wind": np.zeros(20)}, SCHEMA) == {"temp": "range"}
        and answer({"temp": sparse, "wind": np.zeros(20)}, SCHEMA) == {}
    ), [
        "What is min() of an array with nan? And what is nan < 0?",
        "Take nan out before you compare.",
        "present = values[~np.isnan(values)]",
    ])  # fmt: skip
    celsius = (np.array([50.0, 61.0, np.nan, *[68.0] * 17]) - 32) / 1.8
    yield ("degrees Celsius are within the range, and their median is not", lambda: (
        answer({"temp": celsius, "wind": np.zeros(20)}, SCHEMA) == {"temp": "unit"}
        and answer({**fine, "wind": np.array([40, 5, 40, 41])}, SCHEMA) == {"wind": "unit"}
        and answer({"temp": np.array([np.nan] * 2 + [10.0] * 8 + [26.0] * 10), "wind": np.zeros(20)}, SCHEMA) == {}
        and answer({"temp": np.array([25.0, 90.0, 90.0]), "wind": np.zeros(3)}, SCHEMA) == {}
        and answer({"temp": np.array([50.0] * 5 + [-20.0] * 4), "wind": np.zeros(9)}, SCHEMA) == {}
    ), [
        "The mean moves with one odd value, the median does not.",
        "np.median of values with nan is nan: use the values that are present.",
        "low <= np.median(present) <= high, with low, high = rule['median']",
    ])  # fmt: skip
    yield ("of several problems the first one is named", lambda: (
        answer({**fine, "wind": np.array([np.nan, 99.0, 99.0, 99.0])}, SCHEMA) == {"wind": "missing"}
        and answer({**fine, "temp": np.array([-99.0] * 4)}, SCHEMA) == {"temp": "range"}
        and answer({**fine, "note": np.array(["a", "b", "c", "d"])}, SCHEMA) == {"note": "unknown"}
    ), [
        "The docstring lists the words in their order.",
        "Return as soon as a problem is found.",
        "A function of its own for one column, with `return` at each problem, keeps the order.",
    ])  # fmt: skip
    loose = {"temp": {"low": 0, "high": 1, "missing": 1.0, "median": (0, 1)}}
    yield ("a column without values, or with nothing but nan, is not measured", lambda: (
        answer({"temp": np.zeros(0), "wind": np.zeros(0, int)}, SCHEMA) == {}
        and answer({"temp": np.zeros(0, "U3"), "wind": np.zeros(0)}, SCHEMA) == {"temp": "type"}
        and answer({"temp": np.full(3, np.nan)}, loose) == {}
        and answer({"temp": np.full(3, np.nan, np.float32), "wind": np.zeros(3)}, SCHEMA) == {"temp": "missing"}
    ), [
        "What is the mean of no values? And min() of none?",
        "No rows: no share of nan, no range, no median.",
        "if not len(present): stop before the range",
    ])  # fmt: skip


def near(got: object, wanted: float, rtol: float = 1e-9) -> bool:
    return bool(np.isclose(got, wanted, rtol=rtol, atol=1e-9))


def with_entry(array: np.ndarray, at: int | tuple[int, int], value: float) -> np.ndarray:
    """A copy of `array` with one entry changed."""
    copy = array.copy()
    copy[at] = value
    return copy


def examples(confusion: np.ndarray, counts: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Labels and answers of counts[j] examples of each class j, answered exactly in the shares confusion[:, j]."""
    labels, answers = [], []
    for j, count in enumerate(counts):
        each = np.rint(confusion[:, j] * count).astype(int)
        labels += [j] * each.sum()
        answers += np.repeat(np.arange(len(each)), each).tolist()
    return np.array(labels), np.array(answers)


def drawn_answers(shares: list[float] | np.ndarray, count: int = 10_000) -> np.ndarray:
    """Answers in exactly these shares, in a mixed order."""
    each = np.rint(np.asarray(shares) * count).astype(int)
    return np.random.default_rng(0).permutation(np.repeat(np.arange(len(each)), each))


def clipped(confusion: np.ndarray, shares: list[float]) -> np.ndarray:
    solved = np.linalg.solve(confusion, np.array(shares)).clip(0)
    return solved / solved.sum()


def random_cases(random: np.random.Generator) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, int, np.ndarray]]:
    """References with random confusions, and one of a weak model of ten classes; answers of today in exactly the shares
    that follow, and the truth."""
    weak = (10 * np.eye(10) + 9) / 100  # its determinant is 1e-9, and its condition number 10
    yield *examples(weak, [100] * 10), drawn_answers(weak @ np.arange(1, 11) / 55, 11_000), 10, np.arange(1, 11) / 55
    for classes in range(2, 11):
        confusion = (
            np.stack(
                [
                    random.multinomial(50, np.full(classes, 1 / classes)) + 50 * (np.arange(classes) == j)
                    for j in range(classes)
                ],
                axis=1,
            )
            / 100
        )
        truth = random.multinomial(100 - classes, random.dirichlet(np.ones(classes))) + 1
        yield (
            *examples(confusion, (100 * random.integers(1, 5, classes)).tolist()),
            drawn_answers(confusion @ truth / 100),
            classes,
            truth / 100,
        )
