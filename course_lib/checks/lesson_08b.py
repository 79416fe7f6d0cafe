"""Checks of lesson 08b, decisions."""

import math
import unicodedata
import zlib
from collections import Counter
from collections.abc import Callable, Iterator

import numpy as np

from course_lib.checks import Register, raises
from course_lib.idioms.exercises import Property

EXERCISES = Register()


@EXERCISES.add("08b.1", "What to do, by what it costs")
def decisions(answer: Callable) -> Iterator[Property]:
    """answer(probabilities, costs) -> (actions, expected)."""
    random = np.random.default_rng(8)
    weather = np.array([[0.7, 0.3], [0.2, 0.8]])
    umbrella = np.array([[1.0, 0.0], [1.0, 5.0]])  # classes dry, wet; actions take it, leave it

    def reference(p: np.ndarray, costs: np.ndarray) -> tuple[list[int], list[float]]:
        rows = [[math.fsum(float(a) * float(b) for a, b in zip(row, column)) for column in costs.T] for row in p]
        return [row.index(min(row)) for row in rows], [min(row) for row in rows]

    def agrees(p: np.ndarray, costs: np.ndarray, within: float = 1e-9) -> bool:
        actions, expected = answer(p, costs)
        wanted, least = reference(p, costs)
        return np.asarray(actions).tolist() == wanted and np.allclose(expected, least, rtol=within, atol=within)

    yield ("an umbrella for 1 against 5 for getting wet", lambda: np.asarray(answer(weather, umbrella)[0]).tolist() == [0, 0]
           and np.allclose(answer(weather, umbrella)[1], [1, 1]), [
        "At 30 % rain: leaving it costs 0.3 × 5 = 1.5 on average, taking it 1.",
        "The expected cost is probabilities @ costs, one column for each action.",
        "expected = p @ costs; expected.argmin(axis=1)",
    ])  # fmt: skip
    yield ("actions are int64, expected costs float64, one for each example", lambda: answer(weather, umbrella)[0].dtype == np.int64
           and answer(weather, umbrella)[1].dtype == np.float64 and answer(weather, umbrella)[1].shape == (2,), [
        "What does the docstring promise?",
        "The second result is the cost of the action that was chosen, not of all.",
        "expected[np.arange(len(p)), actions]",
    ])  # fmt: skip
    five = random.dirichlet(np.ones(5), 200)
    yield ("with 0 for right and 1 for wrong it is the largest probability", lambda: agrees(five, 1 - np.eye(5))
           and np.array_equal(answer(five, 1 - np.eye(5))[0], five.argmax(axis=1)), [
        "costs[c, k]: the truth first, the action second.",
        "argmin of the costs, not argmax.",
        "expected = p @ costs",
    ])  # fmt: skip
    lopsided = random.normal(size=(5, 3))
    yield ("more or fewer actions than classes, gains, and costs that are not symmetric", lambda: agrees(five, lopsided)
           and agrees(five[:, :3] / five[:, :3].sum(axis=1, keepdims=True), random.normal(size=(3, 8))), [
        "Five classes and three actions: the matrix is (5, 3).",
        "p @ costs.T works by accident where both numbers are equal.",
        "The sum runs over the classes, the rows of costs.",
    ])  # fmt: skip
    ask = np.hstack([5.0 * (1 - np.eye(2)), np.ones((2, 1))])
    chow = np.array([[0.9, 0.1], [0.7, 0.3], [0.1, 0.9]])
    yield ("a column of its own for asking a person gives Chow's rule", lambda: np.asarray(answer(chow, ask)[0]).tolist() == [0, 2, 1], [
        "An answer that is wrong costs 5, a person 1: below 80 % the person is cheaper.",
        "The action's number may be as large as the number of classes.",
        "argmin over all columns of p @ costs",
    ])  # fmt: skip
    yield ("of equal costs the first action is taken", lambda: np.asarray(answer(np.array([[0.5, 0.5]]), np.ones((2, 4)))[0]).tolist() == [0], [
        "Four actions, each costs 1.",
        "np.argmin takes the first of equal ones; a sort from the end does not.",
        "expected.argmin(axis=1)",
    ])  # fmt: skip
    fine = np.array([[0.5, 0.5]], np.float32), np.array([[16777217.0, 16777216.0], [16777217.0, 16777217.0]])
    yield ("float32 probabilities are computed with in float64", lambda: agrees(*fine, within=1e-12)
           and answer(*fine)[1].dtype == np.float64, [
        "Costs of 16,777,217 and 16,777,216 are the same number in float32.",
        "p.astype(np.float64) before the product.",
        "np.asarray(probabilities, np.float64) @ np.asarray(costs, np.float64)",
    ])  # fmt: skip
    yield ("no example and a single class are allowed", lambda: answer(np.zeros((0, 5)), lopsided)[0].shape == (0,)
           and answer(np.ones((3, 1)), np.array([[2.0, 1.0]]))[0].tolist() == [1, 1, 1], [
        "N may be 0, C may be 1.",
        "Does something take the first row, or the mean?",
        "p.sum(axis=1) of no rows is an empty array, and .any() of it is False.",
    ])  # fmt: skip
    yield ("shapes that do not fit are refused", lambda: all(raises(ValueError, answer, p, c) for p, c in (
        (weather, np.ones((3, 2))), (weather[0], umbrella), (weather, umbrella[0]), (weather, np.ones((2, 0))),
    )), [
        "Two classes in the probabilities, three in the costs.",
        "One example without the batch axis has the shape (C,); and with no action there is nothing to choose.",
        "if p.ndim != 2 or costs.ndim != 2 or p.shape[1] != costs.shape[0] or costs.shape[1] == 0: raise ValueError(…)",
    ])  # fmt: skip
    yield ("logits, negative probabilities and rows that do not add up are refused", lambda: all(
        raises(ValueError, answer, np.array([row]), umbrella) for row in ([2.0, 5.0], [-0.5, 1.5], [0.5, 0.4], [0.5, 0.498], [0.0, 0.0])
    ) and answer(np.array([[0.5004, 0.5]]), umbrella)[0].shape == (1,), [
        "Somebody hands in logits: the shape is right.",
        "-0.5 and 1.5 add up to 1.",
        "(p < 0).any() or (np.abs(p.sum(axis=1) - 1) > 0.001).any()",
    ])  # fmt: skip
    nearly = np.array([[0.5004, 0.5]])
    yield ("rows that nearly add up to 1 are taken as they are", lambda: np.allclose(answer(nearly, umbrella)[1], [1.0004], rtol=0, atol=1e-9), [
        "0.5004 × 1 + 0.5 × 1 = 1.0004.",
        "Does your function divide by the row's sum?",
        "The expected cost is the sum of P(class c) × costs[c, k], with the probabilities that came.",
    ])  # fmt: skip
    yield ("NaN and infinity are refused, in both", lambda: all(raises(ValueError, answer, *bad) for bad in (
        (np.array([[math.nan, 1.0]]), umbrella), (weather, np.array([[1.0, math.nan], [1.0, 5.0]])),
        (weather, np.array([[1.0, 0.0], [1.0, math.inf]])),
    )), [
        "abs(nan − 1) > 0.001 is false.",
        "An infinite cost times a probability of 0 is NaN.",
        "if not (np.isfinite(p).all() and np.isfinite(costs).all()): raise ValueError(…)",
    ])  # fmt: skip


@EXERCISES.add("08b.2", "How wide must the interval be?")
def reach(answer: Callable) -> Iterator[Property]:
    """answer(errors, coverage=0.9) -> a plain float."""
    nine = np.array([3.0, 1.0, 9.0, 5.0, 7.0, 2.0, 8.0, 4.0, 6.0])
    yield ("of nine errors, 70 % needs the 7th smallest", lambda: answer(nine, 0.7) == 7.0, [
        "Sort the errors, the smallest first.",
        "k = (9 + 1) × 0.7 = 7. Counting from 1, the 7th.",
        "np.sort(np.abs(errors))[k - 1]",
    ])  # fmt: skip
    yield ("the new example counts: k comes from N + 1", lambda: answer(nine, 0.85) == 9.0 and answer(nine, 0.5) == 5.0, [
        "The new error is one of ten, not of nine.",
        "10 × 0.85 = 8.5, rounded up 9; 9 × 0.85 would be 7.65.",
        "math.ceil((len(errors) + 1) * coverage)",
    ])  # fmt: skip
    yield ("errors count by their size, whatever their sign", lambda: answer(nine * np.array([1, -1, -1, 1, -1, 1, -1, 1, -1]), 0.7) == 7.0, [
        "−9 is a large error.",
        "The interval reaches equally far to both sides.",
        "np.abs(errors)",
    ])  # fmt: skip
    yield ("with too few errors the answer is infinite", lambda: answer(nine[:6]) == math.inf and answer(np.zeros(8)) == math.inf
           and answer(np.zeros(0), 0.01) == math.inf and answer(nine) == 9.0, [
        "Six errors, 90 %: k is 7. Which is the 7th of six?",
        "The largest error is not enough: the new one is larger with a probability of 1/7.",
        "return math.inf where k > len(errors)",
    ])  # fmt: skip
    hundred = np.arange(1.0, 100.0)
    yield ("100 × 0.55 is 55, and 100 × 0.07 is 7", lambda: answer(hundred, 0.55) == 55.0 and answer(hundred, 0.07) == 7.0
           and answer(hundred, 0.551) == 56.0, [
        "Look at 100 * 0.55 in Python.",
        "An excess below 1e-9 does not count.",
        "math.ceil((len(errors) + 1) * coverage - 1e-9)",
    ])  # fmt: skip

    def leaves_it() -> bool:
        sent = np.array([3.0, -1.0, 2.0])
        return answer(sent.astype(np.float32), 0.5) == answer(sent, 0.5) == 2.0 and sent.tolist() == [3, -1, 2]

    yield ("float32 is taken, and the errors stay as they were", leaves_it, [
        "Does your function sort or change the array that it got?",
        "errors.sort() changes the caller's array.",
        "np.sort returns a new array.",
    ])  # fmt: skip
    yield ("it is a plain float", lambda: type(answer(nine, 0.7)) is float and type(answer(nine[:2])) is float, [
        "np.float64 is not quite a float: JSON writers and type checks tell them apart.",
        "float(…) makes one of it.",
        "return float(…)",
    ])  # fmt: skip
    yield ("a coverage outside 0 to 1, or at an end, is refused", lambda: all(
        raises(ValueError, answer, nine, coverage) for coverage in (0, 1, -0.1, 1.5, 90, math.nan)
    ), [
        "What should a coverage of 90 mean?",
        "NaN compares false with everything: ask for what is right, and turn that around.",
        "if not 0 < coverage < 1: raise ValueError(…)",
    ])  # fmt: skip
    yield ("NaN, infinity and other shapes are refused", lambda: all(
        raises(ValueError, answer, bad) for bad in (np.array([1.0, math.nan]), np.array([math.inf, 1.0]), nine.reshape(3, 3), np.array(3.0))
    ), [
        "np.sort puts NaN last, so that it counts as a large error.",
        "A table of errors is not one axis.",
        "if errors.ndim != 1 or not np.isfinite(errors).all(): raise ValueError(…)",
    ])  # fmt: skip


@EXERCISES.add("08b.3", "The same buckets tomorrow")
def buckets(answer: Callable) -> Iterator[Property]:
    """answer(texts, sizes=(1, 2, 3), buckets=1024) -> float32 (N, buckets)."""

    def reference(text: str, sizes: tuple[int, ...] = (1, 2, 3), count: int = 1024) -> list[float]:
        text = " " + unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold()) + " "
        found = Counter()
        for n in sizes:
            for gram in zip(*(text[i:] for i in range(n))):
                found[zlib.crc32("".join(gram).encode()) % count] += 1
        return [float(found[i]) for i in range(count)]

    def counts(*texts: str, **options: object) -> bool:
        got = answer(list(texts), **options)
        sizes, count = options.get("sizes", (1, 2, 3)), options.get("buckets", 1024)
        return got.tolist() == [reference(text, sizes, count) for text in texts]

    yield ("a float32 row for each text", lambda: answer(["abc", "de"]).shape == (2, 1024) and answer(["abc"]).dtype == np.float32, [
        "Two texts, 1,024 buckets.",
        "What dtype does the docstring promise?",
        "counts = np.zeros((len(texts), buckets), np.float32)",
    ])  # fmt: skip
    yield ("n-grams lie in the buckets that crc32 gives", lambda: counts("abc", sizes=(1,))
           and counts("abc", "the quick brown fox", "  two  blanks\n"), [
        "Is there a call of hash() anywhere? It gives other numbers in every process.",
        "zlib.crc32(gram.encode('utf-8')) % buckets, for every n-gram of the text with a blank at both ends.",
        "for n in sizes: for start in range(len(text) - n + 1): …",
    ])  # fmt: skip
    yield ("an n-gram that comes twice counts twice", lambda: counts("anana banana", "aaaaaa", "la" * 700), [
        "'aaaaaa' has six single letters of one kind.",
        "counts[row, list_of_buckets] += 1 counts a repeated bucket once.",
        "np.add.at(row, list_of_buckets, 1), or += 1 in a loop",
    ])  # fmt: skip
    yield ("characters are counted, not bytes", lambda: counts("żółć", "東京都", "a😀b"), [
        "An emoji is one character and four bytes in UTF-8.",
        "Slice the str, and encode each n-gram.",
        "text[start : start + n].encode('utf-8')",
    ])  # fmt: skip
    apart = unicodedata.normalize("NFD", "Ångström café")
    yield ("accents written apart count like accents written together", lambda: counts(apart, "x² ①")
           and np.array_equal(answer([apart]), answer(["Ångström café"])), [
        "'é' can be one character, or an e and an accent.",
        "unicodedata.normalize, before anything else: the form that joins, and leaves ² a ² (NFKC would not).",
        "unicodedata.normalize('NFC', text)",
    ])  # fmt: skip
    yield ("upper and lower case meet, also where lower() is not enough", lambda: counts("HELLO", "Straße", "ΣΊΣΥΦΟΣ")
           and np.array_equal(answer(["Straße"]), answer(["STRASSE"])), [
        "Try 'Straße' and 'STRASSE'.",
        "str.lower leaves ß as it is; there is a method made for comparing.",
        "text.casefold()",
    ])  # fmt: skip
    yield ("NFC again after folding", lambda: counts("ǰ", "ΐ"), [
        "Fold 'ǰ' and look at the length of the result.",
        "Folding can take a character apart; what then?",
        "NFC, casefold, NFC, in this order.",
    ])  # fmt: skip
    yield ("NFC before folding, too", lambda: counts("\u03b1\u0345\u0301", "\u1fb4")
           and np.array_equal(answer(["\u03b1\u0345\u0301"]), answer(["\u1fb4"])), [
        "A Greek alpha can carry two marks, an iota below and an accent, in either order of typing.",
        "Folding makes a letter of the iota. If the accent is not joined to the alpha before, it lands on the iota.",
        "NFC, casefold, NFC, in this order: all three.",
    ])  # fmt: skip
    yield ("other sizes and numbers of buckets, and texts that are shorter than n", lambda: counts("hi", sizes=(5,)) and counts("hi", "hello", sizes=(2, 4), buckets=7)
           and counts("x", buckets=1), [
        "'hi' with its blanks has four characters: no 5-gram.",
        "range of a negative number is empty; a wrapped index is not.",
        "range(len(text) - n + 1)",
    ])  # fmt: skip
    yield ("no text and an empty text", lambda: answer([]).shape == (0, 1024) and counts(""), [
        "N may be 0, and a text may be empty.",
        "An empty text still has its two blanks.",
        "np.zeros((len(texts), buckets), np.float32) has the right shape for no text too.",
    ])  # fmt: skip
    yield ("one str in place of a list is a TypeError", lambda: raises(TypeError, answer, "abc"), [
        "A str is a sequence of str: what does yours return for 'abc'?",
        "Three rows, without an error: that is how such mistakes live on.",
        "if isinstance(texts, str): raise TypeError(…)",
    ])  # fmt: skip
    yield ("fewer than one bucket is a ValueError", lambda: raises(ValueError, answer, ["abc"], (1,), 0) and raises(ValueError, answer, [], (1,), -3), [
        "Modulo 0 is a ZeroDivisionError.",
        "Check before the loop: no text may come.",
        "if buckets < 1: raise ValueError(…)",
    ])  # fmt: skip
