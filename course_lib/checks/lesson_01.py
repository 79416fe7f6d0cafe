"""Checks of lesson 01, the grand tour."""

import json
import math
from collections.abc import Callable, Iterator

import numpy as np

from course_lib.checks import Register, raises
from course_lib.idioms.exercises import Property

EXERCISES = Register()


@EXERCISES.add("01.1", "Parity, in one number")
def parity(answer: Callable) -> Iterator[Property]:
    """answer(before, after) -> largest absolute difference."""
    a, b = np.array([[1.0, -2.0], [3.0, 4.0]], np.float32), np.array([[1.5, -2.0], [3.0, 2.0]], np.float32)
    yield ("it is the largest difference, whichever way it goes", lambda: answer(a, b) == 2.0 and answer(b, a) == 2.0, [
        "The entries differ by −0.5, 0, 0 and 2.",
        "Swap the arguments: the answer must not change.",
        "np.abs(before - after).max()",
    ])  # fmt: skip
    yield ("it is a plain float", lambda: type(answer(a, b)) is float, [
        "What does type(…) of your result say?",
        "json.dumps refuses a NumPy float32.",
        "float(…) around the result.",
    ])  # fmt: skip
    close = np.array([100.0], np.float32), np.array([100.00001], np.float64)
    yield ("float32 against float64 is compared in float64", lambda: abs(answer(*close) - 1e-5) < 1e-9, [
        "Which dtype does NumPy give to a difference of float32 and float64?",
        "Do you convert to float32 on the way? It cannot tell 100.00001 from 100.00001144.",
        "Leave the dtypes alone, or convert both to float64.",
    ])  # fmt: skip
    far = [
        (np.array([[high, 0]], dtype), np.array([[-high, 0]], dtype))
        for dtype, high in ((np.float16, 6e4), (np.float32, 3e38))
    ]
    yield ("a difference that its dtype cannot hold is not infinite", lambda: all(
        math.isclose(answer(*pair), float(pair[0].max()) - float(pair[1].min()), rel_tol=1e-12) for pair in far
    ), [
        "Try 60000 and −60000 in float16, whose largest number is 65504.",
        "The difference overflows before you convert it. Which dtype holds 120000?",
        "before.astype(np.float64) - after.astype(np.float64)",
    ])  # fmt: skip
    row = np.arange(4.0)
    yield ("shapes that differ are refused, not broadcast", lambda: all(
        raises(ValueError, answer, *pair) for pair in ((a, a[0]), (a[0], a), (a, a.ravel()), (row[None], row[:, None]), (a, a[:1]))
    ), [
        "Try a (2, 2) array against a (2,) array: NumPy repeats the row, and a bug stays hidden.",
        "The same number of values is not enough: (1, 4) and (4, 1) broadcast to (4, 4).",
        "if before.shape != after.shape: raise ValueError(…)",
    ])  # fmt: skip
    zero, nans = a * 0, [np.where(np.arange(4).reshape(2, 2) == i, np.nan, a * 0) for i in range(4)]
    yield ("a NaN is never parity", lambda: all(math.isnan(answer(zero, nan)) and math.isnan(answer(nan, zero)) for nan in nans), [
        "What does your function return where one model answers NaN?",
        "np.nanmax passes over the very thing that you look for.",
        "ndarray.max() hands NaN on, and no comparison with a tolerance holds for it, as it should be.",
    ])  # fmt: skip


@EXERCISES.add("01.2", "The request")
def request(answer: Callable) -> Iterator[Property]:
    """answer(images) -> body."""
    images = np.random.default_rng(0).random((2, 8, 8), np.float32)
    yield ("the body is a dict that JSON can hold", lambda: isinstance(answer(images), dict) and bool(json.dumps(answer(images))), [
        "Return the dict itself, and nothing in it that json.dumps refuses: it knows no NumPy arrays.",
        "An array has a method that makes nested lists of it.",
        "images.tolist()",
    ])  # fmt: skip
    yield ("one instance for each image, under the protocol's key", lambda: len(answer(images)["instances"]) == 2, [
        "The row form of TensorFlow Serving's API has one key.",
        "It is a list with one entry for each example.",
        '{"instances": […]}',
    ])  # fmt: skip
    yield ("an instance has the model's shape, one channel of 8 × 8", lambda: np.shape(answer(images)["instances"]) == (2, 1, 8, 8), [
        "The model reads (N, 1, 8, 8): what shape do your instances have?",
        "The channel is an axis of length 1 after the first.",
        "images[:, None].tolist()",
    ])  # fmt: skip

    def values() -> np.ndarray:
        return np.ravel(answer(images)["instances"])

    yield ("the values survive", lambda: (
        values().dtype.kind == "f" and np.array_equal(values().astype(np.float32), images.ravel())
    ), [
        "Are the values rounded or scaled on the way? Are they still numbers?",
        "The images are in 0 to 1 already, as the model learned them.",
        "Send them as they are.",
    ])  # fmt: skip
    yield ("a single image becomes a batch of one", lambda: np.shape(answer(images[0])["instances"]) == (1, 1, 8, 8), [
        "Pass one image, of shape (8, 8).",
        "A missing batch axis is the commonest error in a first request.",
        "images.reshape(-1, 1, 8, 8) serves both.",
    ])  # fmt: skip
    eight = np.random.default_rng(1).random((8, 8, 8), np.float32)
    yield ("a batch of one or of eight images is a batch", lambda: all(
        np.shape(answer(batch)["instances"]) == (len(batch), 1, 8, 8) for batch in (eight[:1], eight)
    ), [
        "Try images of shape (8, 8, 8), and of shape (1, 8, 8).",
        "A single image has two axes, a batch has three. The length of the first axis does not tell them apart.",
        "if images.ndim == 2: …",
    ])  # fmt: skip
    yield ("what is no digit is refused before it is sent", lambda: all(
        raises(ValueError, answer, np.zeros(shape, np.float32))
        for shape in ((28, 28), (2, 7, 8), (64,), (), (2, 1, 8, 8), (2, 4, 16), (0, 8, 8), (16, 8), (8, 16), (2, 16, 8), (2, 8, 16))
    ), [
        "A reshape succeeds for any 64 numbers, two images of 4 × 16 say: look at the axes first.",
        "Check the last two axes, that there are two axes or three, and that there is an image at all.",
        "if images.shape[-2:] != (8, 8) or images.ndim not in (2, 3) or not images.size: raise ValueError(…)",
    ])  # fmt: skip


@EXERCISES.add("01.3", "The answer")
def reading(answer: Callable) -> Iterator[Property]:
    """answer(body) -> [(label, probability), …]."""
    logits = [[0.0, 2.0, -1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0], [3.0] + [0.0] * 9]

    def exact(row: list[float]) -> float:
        return 1 / math.fsum(math.exp(z - max(row)) for z in row)

    def pairs(rows: list[list[float]]) -> list[tuple[int, float]]:
        return answer({"predictions": rows})

    yield ("a list, one pair for each prediction", lambda: (
        isinstance(pairs(logits), list) and [len(pair) for pair in pairs(logits)] == [2, 2]
    ), [
        "The service answers {'predictions': [[10 numbers], …]}.",
        "Return a list of (label, probability), not an iterator.",
        "[(…, …) for row in body['predictions']]",
    ])  # fmt: skip
    yield ("the label is the class of the largest logit, an int", lambda: (
        all(isinstance(pair[0], (int, np.integer)) for pair in pairs(logits)) and [p[0] for p in pairs(logits)] == [1, 0]
    ), [
        "Which of the ten numbers is the largest, and where does it stand?",
        "The position is the digit, an int: no float, no text, no tensor.",
        "int(np.argmax(row))",
    ])  # fmt: skip
    yield ("the probability is the softmax's", lambda: np.allclose(
        [pair[1] for pair in pairs(logits)], [exact(row) for row in logits], rtol=1e-5
    ), [
        "Logits are no probabilities: they are not between 0 and 1.",
        "Exponentials, divided by their sum.",
        "np.exp(row)[label] / np.exp(row).sum()",
    ])  # fmt: skip
    yield ("the probability is a float", lambda: all(isinstance(pair[1], (float, np.floating)) for pair in pairs(logits)), [
        "What does type(…) of the probability say?",
        "A tensor or an array with one entry is not a float.",
        "float(…) around the probability",
    ])  # fmt: skip
    large = [[1000.0, 998.0] + [0.0] * 8, [1.0] + [0.0] * 9, [-1000.0] * 9 + [-998.0]]  # float32 is enough: 1e-5
    yield ("large logits do not overflow, nor do they hurt another row", lambda: np.allclose(
        [pair[1] for pair in pairs(large)], [exact(row) for row in large], rtol=1e-5
    ), [
        "Try a row with a logit of 1000, and one in which all are near −1000.",
        "exp(1000) is infinite. Softmax does not change when the same number is taken from every logit.",
        "Subtract row.max() before np.exp, each row its own.",
    ])  # fmt: skip
    words = "input 'pixels' expects shape [-1, 1, 8, 8] (-1: any number), got [1, 5]."
    yield ("an error body is raised, not read", lambda: raises(ValueError, answer, {"error": words}), [
        "What does the service send when it refuses a request?",
        "A body with the key 'error' has no predictions.",
        "if 'error' in body: raise ValueError(…)",
    ])  # fmt: skip

    def said() -> str:
        try:
            return str(answer({"error": words}))
        except ValueError as raised:
            return str(raised)

    yield ("the error tells what the service said", lambda: words in said(), [
        "Whoever reads your error at night wants to know what the service did not like.",
        "The service's words are the value of the key 'error'.",
        "raise ValueError(body['error'])",
    ])  # fmt: skip


@EXERCISES.add("01.4", "None lost, of how many?")
def none_lost(answer: Callable) -> Iterator[Property]:
    """answer(answered, confidence=0.95) -> failure rate."""

    def bound(answered: int, chance: float) -> float:
        return -math.expm1(math.log(chance) / answered)

    yield ("600 requests without a failure leave half a percent open", lambda: math.isclose(answer(600), bound(600, 0.05), rel_tol=1e-6), [
        "Suppose that requests fail with probability p, each for itself. How likely are 600 without a failure?",
        "(1 − p)^n is that probability. Which p makes it 5 %?",
        "p = 1 − (1 − confidence)^(1/n)",
    ])  # fmt: skip
    yield ("more confidence leaves more open", lambda: math.isclose(answer(600, 0.99), bound(600, 0.01), rel_tol=1e-6), [
        "Is `confidence` in your formula?",
        "With 99 % confidence the probability of the lucky run is 1 %.",
        "1 - (1 - confidence) ** (1 / answered)",
    ])  # fmt: skip
    yield ("a single request leaves nearly everything open", lambda: math.isclose(answer(1), 0.95, rel_tol=1e-6), [
        "Try 1 request: a service that fails 19 times in 20 answers it with a probability of 5 %.",
        "-log(1 − confidence) / n is close for large n only; for n = 1 it is above 1.",
        "p = 1 − (1 − confidence)^(1/n)",
    ])  # fmt: skip
    yield ("a trillion requests keep their digits", lambda: math.isclose(answer(10**12), bound(10**12, 0.05), rel_tol=1e-6), [
        "Try 10**12 requests: the answer is close to 3e-12.",
        "1 − 0.999999999997 has four digits left. Which function computes exp(x) − 1 without forming exp(x)?",
        "-np.expm1(np.log1p(-confidence) / answered)",
    ])  # fmt: skip
    yield ("no request proves nothing", lambda: answer(0) == 1.0, [
        "What can be said after no request at all?",
        "Every failure rate is possible.",
        "if answered == 0: return 1.0",
    ])  # fmt: skip
    yield ("a negative count and a confidence that is no share are refused", lambda: all(
        raises(ValueError, answer, *bad) for bad in ((-1,), (10, 95), (10, 1.0), (10, 0.0), (10, math.nan), (10, -0.5), (0, 95))
    ), [
        "Try -1 requests, a confidence of 95, also with 0 requests, one of -0.5, and one of NaN.",
        "At a confidence of exactly 1 no bound holds. Every comparison with NaN is false.",
        "First of all: if answered < 0 or not 0 < confidence < 1: raise ValueError(…)",
    ])  # fmt: skip
