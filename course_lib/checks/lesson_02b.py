"""Checks of lesson 02b, a loss in floating point."""

import math
from collections.abc import Callable, Iterator

import numpy as np

from course_lib.checks import Register, raises
from course_lib.checks.lesson_02 import leaves, reference_losses, restoring
from course_lib.idioms.exercises import Property

EXERCISES = Register()


@EXERCISES.add("02b.1", "Log-sum-exp")
def log_sum_exp(answer: Callable) -> Iterator[Property]:
    """answer(logits) -> ln of the sum of exponentials over the last axis."""
    asked = restoring(answer)
    plain = np.array([[0.0, 0.0, 0.0, 0.0], [1.0, 2.0, 3.0, 4.0]])
    yield ("four equal logits of 0 give ln 4, and every row gets one value", lambda: (
        asked(plain).shape == (2,) and np.allclose(asked(plain), [math.log(4), 4.4401896985], rtol=1e-9)
    ), [
        "Exponentials first, then their sum over the last axis, then the logarithm.",
        "Did you add the m that you subtracted? It comes back after the logarithm.",
        "m + np.log(np.exp(logits - m).sum(axis=-1)), with m of the right shape for each of the two",
    ])  # fmt: skip
    huge = np.array([[1e4, 1e4], [-1e4, -1e4]], np.float32)
    yield ("large and small logits in float32 neither overflow nor give −∞", lambda: np.allclose(
        asked(huge), [1e4, -1e4], rtol=1e-3
    ), [
        "Try (10000, 10000), and then (−10000, −10000).",
        "exp(10000) is inf, exp(−10000) is 0. Subtract the largest logit before you take the exponential.",
        "m = logits.max(axis=-1, keepdims=True)",
    ])  # fmt: skip
    apart = np.array([[5e3, 5e3 - 1], [0.0, 1.0]])
    yield ("each row is shifted by its own largest logit", lambda: np.allclose(
        asked(apart), [5e3 + math.log1p(math.exp(-1)), 1 + math.log1p(math.exp(-1))], rtol=1e-12
    ), [
        "Put a row of small logits beside a row of large ones.",
        "With the largest logit of the whole array, exp(1 − 5000) is 0.",
        "logits.max(axis=-1, keepdims=True)",
    ])  # fmt: skip
    masked = np.array([[0.0, -np.inf, 0.0], [-np.inf, -np.inf, -3.0], [-np.inf, -np.inf, -np.inf]])
    yield ("a masked class adds nothing, and a row of masked classes gives −∞", lambda: (
        np.allclose(asked(masked)[:2], [math.log(2), -3], rtol=1e-12) and asked(masked)[2] == -np.inf
    ), [
        "e to the power of −∞ is 0. Try a row in which every logit is −∞.",
        "−∞ − (−∞) is nan. What should m be where the largest logit is −∞?",
        "m = np.where(np.isneginf(m), 0, m); or np.logaddexp.reduce(logits, axis=-1)",
    ])  # fmt: skip
    cube = np.random.default_rng(6).normal(scale=3, size=(2, 3, 5))
    of_rows = np.array([math.log(math.fsum(math.exp(z) for z in row)) for row in cube.reshape(-1, 5)]).reshape(2, 3)
    yield ("any shape works, views and no row as well", lambda: (
        np.allclose(asked(cube), of_rows, rtol=1e-9)
        and np.allclose(asked(cube[:, ::-1]), of_rows[:, ::-1], rtol=1e-9)
        and np.allclose(asked(cube[0, 0]), of_rows[0, 0], rtol=1e-9) and np.shape(asked(cube[0, 0])) == ()
        and np.shape(asked(np.zeros((0, 3)))) == (0,) and np.shape(asked(cube[0, :1])) == (1,)
        and np.shape(asked(cube[:, :1])) == (2, 1)
        and np.allclose(asked(np.array([[7.0], [-np.inf]])), [7.0, -np.inf])
    ), [
        "Try an array of shape (2, 3, 5), and one of shape (5,).",
        "The last axis is -1, whatever the number of axes.",
        "axis=-1 in `max` and in `sum`; np.squeeze(m, axis=-1) removes the kept axis, and only that one.",
    ])  # fmt: skip
    yield ("the dtype stays", lambda: all(
        np.asarray(asked(cube.astype(kind))).dtype == kind
        and np.allclose(asked(cube.astype(kind)).astype(float), of_rows, rtol=tolerance)
        for kind, tolerance in ((np.float16, 1e-2), (np.float32, 1e-5), (np.float64, 1e-9))
    ), [
        "What does .dtype say for float16 logits?",
        "A Python number keeps the dtype, an array of float64 does not.",
        "….astype(logits.dtype) at the end",
    ])  # fmt: skip
    yield ("the input stays as it was", lambda: leaves(answer, cube.copy()) and leaves(answer, masked.copy()), [
        "Does your function write into `logits`?",
        "`logits -= m` changes the caller's array, and so does `logits[np.isneginf(logits)] = …`.",
        "shifted = logits - m makes a new one.",
    ])  # fmt: skip
    vocabulary = np.zeros((2, 100_000), np.float16)
    vocabulary[1, ::2] = -np.inf
    yield ("in float16 every word of a vocabulary counts", lambda: np.allclose(
        np.asarray(asked(vocabulary)).astype(float), np.log([100_000, 50_000]), atol=1e-2
    ), [
        "Try 100,000 logits of 0 in float16. What is the sum of their exponentials there?",
        "float16 ends at 65,504, and a small term that is added to a large one is rounded away. Sum in a wider dtype.",
        "wide = logits.astype(np.float64) first, and ….astype(logits.dtype) at the end",
    ])  # fmt: skip


@EXERCISES.add("02b.2", "Keep the tail")
def keep_the_tail(answer: Callable) -> Iterator[Property]:
    """answer(logits, labels) -> losses."""
    asked = restoring(answer)
    plain = np.array([[2.0, 1.0, 0.0], [0.0, 0.0, 0.0]], np.float32), np.array([0, 2])
    yield ("agrees with the definition on ordinary logits", lambda: (
        np.allclose(asked(*plain), reference_losses(*plain), rtol=1e-5)
    ), [
        "Two examples, three classes: compute the first by hand.",
        "The loss is ln Σⱼ exp(zⱼ − z_y).",
        "Mind the sign, and that y indexes columns: logits[np.arange(N), labels].",
    ])  # fmt: skip
    yield ("one loss for each example, in the dtype of the logits", lambda: (
        asked(*plain).shape == (2,) and asked(*plain).dtype == np.float32
    ), [
        "What shape and dtype does the docstring promise?",
        "Sum over axis 1, not over everything.",
        "`.astype(logits.dtype)` at the end.",
    ])  # fmt: skip
    sure = np.array([[40.0, 0.0, 0.0], [0.0, 0.0, 80.0]], np.float32), np.array([0, 2])
    yield ("keeps the loss of a sure, right answer", lambda: (
        np.allclose(asked(*sure), reference_losses(*sure), rtol=1e-3, atol=0) and (asked(*sure) > 0).all()
    ), [
        "Print 1 + 1e-9 in float32.",
        "The label's own term is the 1 that swallows the rest. Keep it out of the sum.",
        "np.log1p(x) is ln(1 + x) without forming 1 + x; np.logaddexp(0, t) is ln(1 + eᵗ).",
    ])  # fmt: skip
    wrong = np.array([[0.0, 5000.0], [-1e4, 1e4]], np.float32), np.array([0, 0])
    yield ("stays finite on a sure, wrong answer", lambda: np.allclose(asked(*wrong), [5000, 20_000]), [
        "Try logits (0, 5000) with label 0.",
        "exp(5000) overflows whatever follows it.",
        "Where the label loses, subtract the largest difference first and add it back after the logarithm; "
        "np.logaddexp does.",
    ])  # fmt: skip
    ties = np.array([[0.0, 1000.0, 1000.0]], np.float32), np.array([0])
    yield ("counts every class that beats the label", lambda: np.allclose(asked(*ties), 1000 + math.log(2)), [
        "Try logits (0, 1000, 1000) with label 0: the loss is 1000 + ln 2.",
        "Where the exponential overflows, the largest difference alone is not the loss.",
        "m + np.log(np.exp(against - m).sum(axis=1)) with m the largest difference; or np.logaddexp.reduce",
    ])  # fmt: skip
    far = sure[0] + np.float32(2**20), sure[1]
    yield ("a constant on all logits changes nothing", lambda: np.allclose(
        asked(*far), reference_losses(*sure), rtol=1e-3, atol=0
    ), [
        "Put a million on every logit: the losses must stay as they are.",
        "ln Σ exp(zⱼ) of logits near a million is near a million, and has a few digits left of the rest.",
        "Subtract the label's logit from all others before anything else.",
    ])  # fmt: skip
    many = np.random.default_rng(0).normal(scale=20, size=(50, 10)), np.arange(50) % 10
    yield ("works on any number of rows, in float64 too, and on a strided view", lambda: (
        np.allclose(asked(*many), reference_losses(*many), rtol=1e-9, atol=0)
        and np.allclose(asked(many[0][::2, ::-1], 9 - many[1][::2]), reference_losses(*many)[::2], rtol=1e-9, atol=0)
        and asked(np.zeros((0, 3), np.float32), np.zeros(0, int)).shape == (0,)
        and asked(np.ones((2, 1), np.float32), np.zeros(2, int)).tolist() == [0, 0]
    ), [
        "Try 50 rows of float64.",
        "Does a constant dtype or a constant number of rows stand somewhere?",
        "No row and a single class are allowed too: what does `max(axis=1)` do then?",
    ])  # fmt: skip
    yield ("leaves its input as it was", lambda: leaves(answer, *many), [
        "Does your function write into `logits`?",
        "`logits -= …` changes the caller's array; so does `logits[rows, labels] = …`.",
        "Work on `against = logits - …`, which is a new array.",
    ])  # fmt: skip


@EXERCISES.add("02b.3", "Does the backward pass lie?")
def gradient_checker(answer: Callable) -> Iterator[Property]:
    """answer(function, point, gradient) -> relative error."""
    x = np.array([0.3, -1.2, 2.0])

    def wavy(v: np.ndarray) -> float:
        return float(np.sin(v).sum() + v[0] * v[1])

    right = np.cos(x) + np.array([x[1], x[0], 0])
    yield ("a right gradient has an error below 1e-9", lambda: 0 <= answer(wavy, x, right) < 1e-9, [
        "Move one entry up, then down, and divide the difference by the way between.",
        "One-sided differences err by h / 2 · f''. Central ones reach nine digits and more.",
        "(function(up) - function(down)) / (2 * h) with h = np.finfo(np.float64).eps ** (1 / 3)",
    ])  # fmt: skip
    yield ("half the gradient has an error of 0.5, none an error of 1", lambda: (
        abs(answer(wavy, x, right / 2) - 0.5) < 1e-6
        and abs(answer(wavy, x, 2 * right) - 0.5) < 1e-6
        and abs(answer(wavy, x, 0 * right) - 1) < 1e-6
        and abs(answer(lambda v: -wavy(v), x, -right / 2) - 0.5) < 1e-6
    ), [
        "Divide the largest difference by what the docstring says.",
        "By the larger of two maxima: of the gradient's entries and of the measured ones, as absolute values.",
        "np.abs(measured - gradient).max() / max(np.abs(measured).max(), np.abs(gradient).max())",
    ])  # fmt: skip
    one_wrong, many = right * np.array([1, 1, -1]), np.arange(20.0)
    yield ("a single wrong entry among right ones is seen", lambda: (
        abs(answer(wavy, x, one_wrong) - 2 * abs(right[2]) / np.abs(right).max()) < 1e-6
        and all(answer(lambda v: float((v**2).sum()), many, 2 * many + 40 * (many == i)) > 0.4 for i in many)
    ), [
        "Flip the sign of one entry. Do you look at each one?",
        "A mean over the entries hides what a maximum shows; so does a norm, in part.",
        "Take np.abs(measured - gradient).max().",
    ])  # fmt: skip
    matrix = np.arange(12.0).reshape(3, 4).T[::2]
    yield ("any shape works, views as well, and the answer is a plain float", lambda: (
        type(answer(lambda v: float((v**2).sum()), matrix, 2 * matrix)) is float
        and answer(lambda v: float((v**2).sum()), matrix, 2 * matrix) < 1e-8
        and answer(lambda v: float((v[0] ** 2).sum()), matrix, 2 * matrix) > 0.5
        and answer(lambda v: float(v**3), np.array(2.0), np.array(12.0)) < 1e-8
    ), [
        "Try a matrix. Which indices does your loop visit?",
        "np.ndindex(*point.shape) visits them all, whatever the number of axes, 0 included.",
        "for index in np.ndindex(point.shape): around[index] = …; and float(…) around the result.",
    ])  # fmt: skip
    single = x.astype(np.float32)
    at_single = np.cos(single.astype(float)) + np.array([float(single[1]), float(single[0]), 0])
    yield ("a float32 point is checked in float64", lambda: answer(wavy, single, at_single) < 1e-9, [
        "In which dtype does your function get its point?",
        "In float32, 0.3 + 6e-6 has one digit of the step left.",
        "around = np.array(point, dtype=np.float64)",
    ])  # fmt: skip
    large = np.array([3e8, -2e9])
    yield ("large entries get larger steps", lambda: answer(lambda v: float((v**2).sum()), large, 2 * large) < 1e-8, [
        "Try a point near 1e9: is 2e9 + 6e-6 another number than 2e9?",
        "The step has to grow with the entry that it moves.",
        "h = eps ** (1 / 3) * max(1, abs(point[index]))",
    ])  # fmt: skip
    apart, near_zero = np.array([1e9, 0.3]), np.array([1e-6, 0.5])
    yield ("a small entry has a step of its own, neither huge nor tiny", lambda: (
        answer(lambda v: float(v[0] / 1e9 + np.sin(v[1])), apart, np.array([1e-9, math.cos(0.3)])) < 1e-8
        and answer(lambda v: float(np.sin(v).sum()), near_zero, np.cos(near_zero)) < 1e-8
    ), [
        "Try the point (1e9, 0.3), then (1e-6, 0.5).",
        "A step grows with its own entry, not with the largest of all. And it does not shrink with an entry near 0.",
        "h = eps ** (1 / 3) * max(1, abs(point[index])), anew for each index",
    ])  # fmt: skip
    tiny = np.array([1.0, 0.5, 1.0])
    yield ("the scale of the function does not matter", lambda: all(
        abs(answer(lambda v, scale=scale: scale * wavy(v), x, scale * right * tiny) - abs(right[1]) / 2 / np.abs(right).max()) < 1e-6
        for scale in (1e-15, 1e9)
    ), [
        "Try a function that is 1e-15 times as large: its wrong gradient must not look right.",
        "Do you add a small number to the denominator, or take the larger of both?",
        "Divide by the largest entry as it is, and treat the case that it is 0 by itself.",
    ])  # fmt: skip
    yield ("where both gradients are zero, the error is 0", lambda: answer(lambda v: 7.0, x, 0 * x) == 0.0, [
        "Try a function that returns 7, with a gradient of zeros.",
        "0 / 0 is nan, and no comparison with a nan holds.",
        "return … if largest else 0.0",
    ])  # fmt: skip
    unknown = [right * np.array(some) for some in ([math.nan, 1, 1], [1, 1, math.nan])]
    yield ("a nan in the gradient, or from the function, gives nan", lambda: (
        all(math.isnan(answer(wavy, x, some)) for some in unknown)
        and math.isnan(answer(lambda v: math.nan if v[1] > -1.2 else wavy(v), x, right))
    ), [
        "Try a gradient with one nan. Would your test accept it?",
        "np.nanmax passes over a nan, and Python's max(a, nan) depends on the order. np.max keeps a nan.",
        "np.abs(measured - gradient).max() is nan if one entry is: do not replace it.",
    ])  # fmt: skip
    yield ("a gradient of another shape is refused", lambda: all(
        raises(ValueError, answer, wavy, x, bad) for bad in (right[:, None], right[:2], right[:1])
    ), [
        "What does NumPy do with shapes (3,) and (3, 1)?",
        "Compare the shapes of point and gradient first.",
        "if gradient.shape != point.shape: raise ValueError(…)",
    ])  # fmt: skip
    yield ("the point is left as it was", lambda: _point_kept(answer, wavy, right), [
        "Does your loop write into `point`?",
        "Adding h and taking it away again does not lead back: 0.3 + h − h need not be 0.3.",
        "Work on a copy: np.array(point, dtype=np.float64).",
    ])  # fmt: skip


def _point_kept(answer: Callable, function: Callable, gradient: np.ndarray) -> bool:
    """Whether the point is untouched at the end, and at each call of the function."""
    point = np.array([0.3, -1.2, 2.0])
    untouched = []

    def watched(v: np.ndarray) -> float:
        untouched.append(point.tolist() == [0.3, -1.2, 2.0])
        return function(v)

    answer(watched, point, gradient)
    return bool(untouched) and all(untouched) and point.tolist() == [0.3, -1.2, 2.0]


@EXERCISES.add("02b.4", "What does it really believe?")
def undo_weights(answer: Callable) -> Iterator[Property]:
    """answer(probabilities, weights) -> probabilities."""
    asked = restoring(answer)
    truth = np.array([[0.99, 0.01], [0.5, 0.5], [0.2, 0.8]])
    weights = np.array([1.0, 10.0])
    weighted = truth * weights / (truth * weights).sum(axis=1, keepdims=True)
    yield ("an answer of 1/11 for fraud, with weights 1 and 10, means 1 %", lambda: (
        abs(asked(np.array([[10 / 11, 1 / 11]]), weights)[0, 1] - 1 / 101) < 1e-9
    ), [
        "With weights the model answers in proportion to w · p. You have the answer, and look for p.",
        "Divide each probability by its class's weight. What do the rows sum to then?",
        "unscaled = probabilities / weights; unscaled / its sum over each row",
    ])  # fmt: skip
    yield ("every row is undone by itself, and sums to 1", lambda: (
        np.allclose(asked(weighted, weights), truth, atol=1e-9)
        and np.allclose(asked(weighted, weights).sum(axis=1), 1)
    ), [
        "Try three rows.",
        "Each row has its own sum.",
        ".sum(axis=1, keepdims=True)",
    ])  # fmt: skip
    yield ("only the ratios of the weights matter", lambda: (
        np.allclose(asked(weighted, 1e6 * weights), truth, atol=1e-9)
        and np.allclose(asked(weighted, np.full(2, 7.0)), weighted, atol=1e-9)
    ), [
        "Equal weights must change nothing, whatever they are.",
        "Normalise after the division, not before it.",
        "The sum over the row takes any common factor out.",
    ])  # fmt: skip
    three, their_weights = np.array([[0.2, 0.3, 0.5], [0.0, 0.0, 1.0], [0.9, 0.1, 0.0]]), np.array([1.0, 4.0, 0.5])
    of_three = three * their_weights / (three * their_weights).sum(axis=1, keepdims=True)
    yield ("three classes work as well, and a probability of 0 stays 0", lambda: (
        np.allclose(asked(of_three, their_weights), three, rtol=1e-9, atol=1e-12)
    ), [
        "Try three classes, and a row (0, 0, 1).",
        "Does a formula for two classes stand somewhere, or a division by a probability, or a clip?",
        "probabilities / weights, each row divided by its own sum",
    ])  # fmt: skip
    narrow = np.array([[1e-30, 1.0], [0.5, 0.5]], np.float32), np.array([1e-40, 1e5])
    wide = np.array([[1e15, 1.0], [1e45, 1.0]])
    yield ("the dtype stays, and extreme weights do not overflow on the way", lambda: (
        asked(weighted.astype(np.float32), weights).dtype == np.float32
        and asked(weighted, weights).dtype == np.float64
        and np.allclose(asked(*narrow), wide / wide.sum(axis=1, keepdims=True), rtol=1e-5, atol=1e-20)
    ), [
        "float32 ends at 3e38. What is 0.5 / 1e-40 there?",
        "Compute in float64, convert at the end.",
        "(…).astype(probabilities.dtype)",
    ])  # fmt: skip
    yield ("no row is no problem, and the input stays as it was", lambda: (
        asked(np.zeros((0, 2)), weights).shape == (0, 2) and leaves(answer, weighted.copy(), weights.copy())
    ), [
        "Try probabilities of shape (0, 2).",
        "`probabilities /= weights` changes the caller's array.",
        "unscaled = probabilities.astype(np.float64) / weights makes a new one.",
    ])  # fmt: skip
    yield ("weights that cannot be are refused", lambda: all(
        raises(ValueError, answer, weighted, np.array(bad))
        for bad in ([1.0, 0.0], [1.0, -2.0], [1.0, math.nan], [1.0], [1.0, 2.0, 3.0], [[1.0, 2.0]])
    ), [
        "Which weight would make a class vanish from the loss? What can be undone then?",
        "Weights must be above 0 (nan is not), one for each class: NumPy would stretch a single one.",
        "if weights.shape != probabilities.shape[1:] or not (weights > 0).all(): raise ValueError(…)",
    ])  # fmt: skip
