"""Checks of lesson 04b, how sure an accuracy is."""

import math
from collections.abc import Callable, Iterator
from itertools import product

import numpy as np

from course_lib.checks import Register, raises
from course_lib.idioms.exercises import Property

EXERCISES = Register()


@EXERCISES.add("04b.1", "Where will the next run land?")
def prediction(answer: Callable) -> Iterator[Property]:
    """answer(accuracies, confidence=0.95) -> (low, high)."""
    runs = [0.90, 0.92, 0.94]  # mean 0.92, s = 0.02

    def near(pair: object, low: float, high: float) -> bool:
        a, b = pair
        return math.isclose(a, low, abs_tol=2e-7) and math.isclose(b, high, abs_tol=2e-7)

    reach = 4.302652729911275 * 0.02 * math.sqrt(4 / 3)
    yield ("three runs of 90, 92 and 94 % leave 82.1 to 100 %: 92 ± 9.94 points, cut at 1", lambda: near(
        answer(runs), 0.92 - reach, 1.0
    ), [
        "Mean 0.92, s = 0.02 with 2 in its denominator, t = 4.303 for 2 degrees of freedom.",
        "Is the factor sqrt(1 + 1/3), or sqrt(1/3)? And does std divide by r − 1? What does 1.0194 mean as an accuracy?",
        "reach = stats.t.ppf(0.975, r - 1) * np.std(runs, ddof=1) * np.sqrt(1 + 1 / r)",
    ])  # fmt: skip
    uneven = [0.4, 0.5, 0.46, 0.54, 0.65]  # mean 0.51, median 0.5, s² = 0.0088
    reach_of_five = 2.7764451051977987 * math.sqrt(0.0088 * 1.2)
    yield ("its middle is the mean", lambda: near(answer(uneven), 0.51 - reach_of_five, 0.51 + reach_of_five), [
        "Five runs of 40, 50, 46, 54 and 65 %: where is the middle of your interval?",
        "The median is 50 %, the middle of lowest and highest 52.5 %, the mean 51 %.",
        "np.mean(runs) - reach, np.mean(runs) + reach",
    ])  # fmt: skip
    five = [0.4, 0.5, 0.45, 0.55, 0.6]
    wide = 4.604094871415897 * math.sqrt(0.00625) * math.sqrt(1.2)
    yield ("with 99 % confidence the interval is wider, on both sides", lambda: near(
        answer(five, 0.99), 0.5 - wide, 0.5 + wide
    ) and near(answer(five, confidence=0.5), 0.5 - 0.7406970841 * math.sqrt(0.0075), 0.5 + 0.7406970841 * math.sqrt(0.0075)), [
        "Does your function use `confidence`?",
        "99 % in the middle leave 0.5 % on each side.",
        "stats.t.ppf((1 + confidence) / 2, r - 1)",
    ])  # fmt: skip
    yield ("both ends are plain floats from 0 to 1", lambda: all(
        type(end) is float and 0 <= end <= 1 for given in (runs, np.array(five), [0.0, 1.0], np.float32([0.01, 0.2])) for end in answer(given)
    ), [
        "What does type(…) of an end say? Try two runs of 0 and 1.",
        "json.dumps refuses some of NumPy's numbers. An accuracy lies between 0 and 1.",
        "float(max(low, 0.0)), float(min(high, 1.0))",
    ])  # fmt: skip
    yield ("runs that are all equal leave their own value; any sequence will do", lambda: near(
        answer((0.75, 0.75, 0.75)), 0.75, 0.75
    ) and near(answer(np.array([1.0, 1.0])), 1.0, 1.0), [
        "Three runs of 75 %.",
        "A spread of 0 is a spread. Is a tuple good enough?",
        "np.asarray(accuracies, dtype=np.float64)",
    ])  # fmt: skip
    yield ("fewer than two runs, and an impossible confidence, are refused", lambda: all(
        raises(ValueError, answer, *bad) for bad in (([0.9],), ([],), (runs, 0.0), (runs, 1.0), (runs, 95))
    ), [
        "Try one run, and a confidence of 95.",
        "One run has no spread; NumPy gives nan with a warning.",
        "if len(accuracies) < 2 or not 0 < confidence < 1: raise ValueError(…)",
    ])  # fmt: skip


@EXERCISES.add("04b.2", "Better, or lucky?")
def sign_flips(answer: Callable) -> Iterator[Property]:
    """answer(differences) -> p-value."""

    def near(differences: object, ways: int, of: int) -> bool:
        return math.isclose(answer(differences), ways / of, rel_tol=1e-9)

    yield ("three differences, all positive: 2 of 8 choices are as extreme", lambda: near([0.01, 0.02, 0.03], 2, 8), [
        "List the eight choices of signs, and the mean of each.",
        "The measured choice counts, and its mirror image too.",
        "for signs in product([1, -1], repeat=r): …",
    ])  # fmt: skip
    yield ("the direction plays no part: minus the differences give the same", lambda: near([-0.01, -0.02, -0.03], 2, 8)
           and near([0.03, 0.02, -0.01], 4, 8) and near([-0.03, -0.02, 0.01], 4, 8), [
        "Two-sided: far below 0 is as extreme as far above.",
        "Compare absolute values, on both sides.",
        "abs(mean of this choice) >= abs(measured mean)",
    ])  # fmt: skip
    ties = [0.1, 0.2, -0.3, 0.3]
    exact = np.array([1, 2, -3, 3])
    every = np.array(list(product([1, -1], repeat=4)))
    tied = int((np.abs(every @ exact) >= abs(exact.sum())).sum())
    yield ("ties count, though 0.1 + 0.2 is not 0.3 in the last bit", lambda: near(ties, tied, 16), [
        "Print 0.1 + 0.2 - 0.3.",
        "Means that differ by less than 1e-12 are equally far.",
        "abs(mean) >= abs(measured) - 1e-12",
    ])  # fmt: skip
    yield ("small differences are differences", lambda: near([1e-9, 3e-9], 2, 4), [
        "Try [1e-9, 3e-9]: the means of the four choices are ±2e-9 and ±1e-9.",
        "np.isclose takes all numbers below 1e-8 for equal, and so does rounding.",
        "The tolerance is 1e-12.",
    ])  # fmt: skip
    yield ("no difference at all gives 1, as a plain float", lambda: answer([0.0, 0.0]) == 1 and type(answer([0.0, 0.0])) is float
           and type(answer(np.float32([0.5, 0.25]))) is float, [
        "Every choice of signs has the mean 0.",
        "What does type(…) of your result say?",
        "float(…) around the result.",
    ])  # fmt: skip
    sizes = np.random.default_rng(0).integers(-9, 10, 16)
    signs = 1 - 2 * ((np.arange(2**16)[:, None] >> np.arange(16)) & 1)
    expected = int((np.abs(signs @ sizes) >= abs(sizes.sum())).sum())
    yield ("sixteen seeds, an array of them, and one", lambda: near(sizes / 450, expected, 2**16)
           and near([0.02], 2, 2) and near((0.01, 0.03), 2, 4), [
        "Try 16 differences in a NumPy array, and a single one.",
        "All choices, not a random sample of them: there are 65,536.",
        "signs = np.array(list(product([1, -1], repeat=r))), then signs @ differences",
    ])  # fmt: skip
    yield ("no difference is refused", lambda: raises(ValueError, answer, []) and raises(ValueError, answer, np.zeros(0)), [
        "Try an empty list, and an empty array.",
        "`if not differences` fails for an array.",
        "if len(differences) == 0: raise ValueError(…)",
    ])  # fmt: skip


@EXERCISES.add("04b.3", "The same image on both sides")
def copies(answer: Callable) -> Iterator[Property]:
    """answer(training, test, tolerance=0) -> indices."""
    random = np.random.default_rng(4)
    training = random.integers(0, 200, (40, 8, 8)).astype(np.uint8)
    training[0, 0, 0] = 100
    test = random.integers(0, 200, (12, 8, 8)).astype(np.uint8)
    test[3], test[7] = training[31], training[0]
    expected = np.full(12, -1)
    expected[[3, 7]] = 31, 0

    def finds(given: tuple, wanted: list[int] | np.ndarray) -> bool:
        found = answer(*given)
        return found.shape == np.shape(wanted) and np.array_equal(found, wanted)

    yield ("two exact copies among twelve are found, the rest gets −1", lambda: finds((training, test), expected)
           and answer(training, test).dtype == np.int64, [
        "Compare each test image with every training image.",
        "argmax over an array of truth values gives 0 where none is true: ask .any() first. What is the dtype?",
        "found = np.full(len(test), -1)",
    ])  # fmt: skip
    near = test.copy()
    near[3, 2, 5], near[7, 0, 0] = training[31, 2, 5] + 2, 98  # one brighter, one darker
    yield ("a difference of 2 in one pixel is a copy with a tolerance of 2, and none with 1", lambda: finds((training, near, 2), expected)
           and finds((training, near, 1), np.full(12, -1)), [
        "Every pixel must lie within the tolerance. Is the tolerance itself still within?",
        "In uint8, 10 − 12 is 254. Convert before you subtract.",
        "np.abs(training.astype(float) - image.astype(float)) <= tolerance",
    ])  # fmt: skip
    black, white = np.zeros((1, 8, 8), np.uint8), np.full((1, 8, 8), 255, np.uint8)
    yield ("black is no copy of white", lambda: finds((black, white, 1), [-1]) and finds((white, black, 1), [-1]), [
        "Try an image of zeros and one of 255s, with a tolerance of 1.",
        "In 8 bits, 0 − 255 is 1, and 255 as int8 is −1.",
        "training.astype(float) and test.astype(float), before anything else.",
    ])  # fmt: skip
    spread = training[5].astype(np.int64)
    spread = np.where(spread < 199, spread + 1, spread - 1).astype(np.uint8)[None]
    yield ("the largest difference of a pixel counts, not their sum or mean", lambda: finds((training, spread, 1), [5])
           and finds((training, near, 1.5), np.full(12, -1)), [
        "An image that differs by 1 in each of its 64 pixels is a copy with a tolerance of 1.",
        "A mean would hide one pixel that differs much; a sum adds up 64 small ones.",
        ".all(axis=(1, 2))",
    ])  # fmt: skip
    twice = np.concatenate([training, training[::-1]])
    near_and_same = np.stack([test[0] + 2, test[0]])
    yield ("of several, the first", lambda: finds((twice, test), expected) and finds((twice[1:], test), [-1, -1, -1, 30, -1, -1, -1, 78, -1, -1, -1, -1])
           and finds((near_and_same, test[:1], 2), [0]), [
        "The training part itself holds copies: which index?",
        "A loop that does not stop keeps the last one; a dictionary that is written twice too. And argmin finds the most similar one.",
        "same.argmax() gives the first True.",
    ])  # fmt: skip
    floats = random.random((6, 4, 5)).astype(np.float32)
    wide = np.repeat(floats[2:3], 2, axis=0) + np.float32(0.01)
    yield ("float images, not square, and negative values too", lambda: finds((floats, wide, 0.02), [2, 2])
           and finds((-floats, -wide, 0.02), [2, 2]) and finds((floats, wide), [-1, -1]), [
        "Try images of 4 by 5 points, from 0 to 1.",
        "Nothing may depend on 64 pixels, or on values up to 255.",
        "axis=(1, 2), whatever their lengths.",
    ])  # fmt: skip
    slight = floats[2:3] * np.float32(1 + 1e-6)
    yield ("in floats too, without a tolerance only an equal image is a copy", lambda: finds((floats, slight), [-1]) and finds((floats, slight, 1e-5), [2])
           and finds((floats, floats[3:4]), [3]), [
        "Change a float image by a millionth of each value: with a tolerance of 0 it is no copy.",
        "np.allclose and np.isclose allow a relative difference as well, 1e-5 unless you set rtol.",
        "np.abs(…) <= tolerance",
    ])  # fmt: skip
    yield ("a part without images", lambda: finds((training[:0], test), np.full(12, -1)) and finds((training, test[:0]), np.zeros(0)), [
        "Try training[:0], and test[:0].",
        "Nothing is a copy of nothing; and the answer for no test image has no entry.",
        "A loop over the test images handles both, if .any() is asked before .argmax().",
    ])  # fmt: skip
    yield ("images of another size are refused", lambda: raises(ValueError, answer, training, test[:, :4])
           and raises(ValueError, answer, training, test[:, :, :1]) and raises(ValueError, answer, training, test[:, :1, :1]), [
        "NumPy stretches an image of one column to eight.",
        "Compare training.shape[1:] with test.shape[1:].",
        "if training.shape[1:] != test.shape[1:]: raise ValueError(…)",
    ])  # fmt: skip


@EXERCISES.add("04b.4", "One number for calibration")
def calibration(answer: Callable) -> Iterator[Property]:
    """answer(probabilities, labels, bins=10) -> error."""

    def rows(claims: list[float], classes: int = 3) -> np.ndarray:
        """Rows in which class 1 has the claim, and the others share the rest."""
        table = np.repeat((1 - np.array(claims))[:, None] / (classes - 1), classes, axis=1)
        table[:, 1] = claims
        return table

    def near(error: object, wanted: float) -> bool:
        return math.isclose(error, wanted, abs_tol=1e-6)

    yield ("answers that claim 0.9 and are right in 3 of 4 cases: 0.15", lambda: near(
        answer(rows([0.9] * 4), np.array([1, 1, 0, 1])), 0.15
    ), [
        "One bin holds all four: it claims 0.9 and reaches 0.75.",
        "The claim is the largest probability of the row; the answer is its class.",
        "abs(claims[inside].mean() - right[inside].mean())",
    ])  # fmt: skip
    mixed, labels = rows([0.95] * 6 + [0.65] * 2), np.array([1] * 6 + [0, 0])
    yield ("bins count by their answers: six with a gap of 0.05 and two with 0.65 give 0.2", lambda: near(answer(mixed, labels), 0.2), [
        "The plain mean of the two gaps would be 0.35.",
        "Weight each bin's gap by the share of answers in it.",
        "sum(len(bin) / N * gap)",
    ])  # fmt: skip
    yield ("too much and too little do not cancel across bins, and do within one", lambda: near(
        answer(rows([0.9, 0.6]), np.array([0, 1])), 0.65
    ) and near(answer(rows([0.9, 0.6]), np.array([0, 1]), 1), 0.25), [
        "One answer claims 0.9 and is wrong, one claims 0.6 and is right: gaps of 0.9 and 0.4.",
        "Take the absolute value bin by bin, before you add. Does `bins` have an effect?",
        "edges = np.linspace(0, 1, bins + 1)",
    ])  # fmt: skip
    edge = np.concatenate([rows([0.5, 0.75, 0.75], 4), np.array([[0.25] * 4])])
    yield ("a claim of 1 is in the last bin, and a claim on an edge in the bin below", lambda: near(
        answer(rows([1.0, 1.0]), np.array([1, 0])), 0.5
    ) and near(answer(np.concatenate([rows([0.5], 4), rows([0.6], 4)]), np.array([1, 0]), 2), 0.55)
           and near(answer(edge, np.array([1, 0, 1, 1]), 4), 0.125 + 0.125 + 0.0625), [
        "Where does your code put a claim of exactly 1? And 0.5 with two bins?",
        "(claims > low) & (claims <= high). np.digitize and floor(claims * bins) put an edge into the bin above.",
        "np.searchsorted(edges[1:-1], claims) gives the bin, with edges below.",
    ])  # fmt: skip
    alike = np.full((1, 4), 0.25)
    yield ("on a tie, the first class is the answer", lambda: near(answer(alike, np.array([0])), 0.75) and near(answer(alike, np.array([3])), 0.25), [
        "Try one row of four times 0.25, with the label 0, then 3.",
        "The last place of argsort is the last of the largest.",
        "probabilities.argmax(axis=1) takes the first.",
    ])  # fmt: skip
    random = np.random.default_rng(7)
    drawn = random.dirichlet(np.full(10, 0.2), 500).astype(np.float32)
    truth = random.integers(0, 10, 500)

    def by_hand(bins: int) -> float:
        total, claims, right = 0.0, drawn.max(axis=1).astype(float), drawn.argmax(axis=1) == truth
        for k in range(bins):
            inside = (claims > k / bins) & (claims <= (k + 1) / bins)
            total += abs(claims[inside].sum() - right[inside].sum())
        return total / 500

    yield ("500 random float32 answers, 7 and 15 bins, some of them empty; a plain float", lambda: all(
        near(answer(drawn, truth, bins), by_hand(bins)) and type(answer(drawn, truth, bins)) is float for bins in (7, 15)
    ), [
        "An empty bin has no mean: NumPy gives nan.",
        "Leave empty bins out. What does type(…) of your result say?",
        "if inside.any(): …, and float(…) at the end.",
    ])  # fmt: skip
    yield ("no example and no bin are refused", lambda: raises(ValueError, answer, np.zeros((0, 3)), np.zeros(0, int))
           and all(raises(ValueError, answer, mixed, labels, bins) for bins in (0, -3)), [
        "Try no row, bins=0, and bins=-3.",
        "An error of 0 over nothing would look perfect.",
        "if len(labels) == 0 or bins < 1: raise ValueError(…)",
    ])  # fmt: skip
