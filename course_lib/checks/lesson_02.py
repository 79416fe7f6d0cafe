"""Checks of lesson 02, loss functions."""

import copy
import math
from collections.abc import Callable, Iterator

import numpy as np

from course_lib.checks import Register, raises
from course_lib.idioms.exercises import Property

EXERCISES = Register()


def reference_losses(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Cross-entropy of each example in plain Python: exact sums of float64 terms around the label's logit.

    logits: (N, C). labels: (N,). Returns float64 (N,).
    """
    losses = []
    for row, label in zip(np.asarray(logits, dtype=float).tolist(), labels):
        ahead = [each - row[label] for j, each in enumerate(row) if j != label]
        most = max([0.0, *ahead])
        rest = math.fsum(math.exp(each - most) for each in ahead)
        losses.append(math.log1p(rest) if most == 0 else most + math.log(rest + math.exp(-most)))
    return np.array(losses)


@EXERCISES.add("02.1", "Mean squared error")
def mean_squared(answer: Callable) -> Iterator[Property]:
    """answer(predictions, targets) -> float."""
    one, three = np.array([1.0, 2.0]), np.array([1.0, 5.0])
    yield ("differences of 0 and 3 give 4.5", lambda: answer(one, three) == 4.5, [
        "Square each difference first.",
        "The mean of 0 and 9 is asked for, not their sum.",
        "((predictions - targets) ** 2).mean()",
    ])  # fmt: skip
    yield ("it is a plain float", lambda: type(answer(one, three)) is float, [
        "What does type(…) of your result say?",
        "json.dumps, which writes most logs, refuses NumPy's float32.",
        "float(…) around the result.",
    ])  # fmt: skip
    column = np.array([[1.0], [2.0], [3.0]])
    yield ("shapes that differ are refused", lambda: all(
        raises(ValueError, answer, *bad) for bad in ((column, column[:, 0]), (one, one[:1]), (column.T, column))
    ), [
        "What does NumPy do with shapes (3, 1) and (3,)?",
        "It makes a (3, 3) array of differences. Compare the two shapes before you subtract.",
        "if predictions.shape != targets.shape: raise ValueError(…)",
    ])  # fmt: skip
    dark, light = np.array([[200, 10]], np.uint8), np.array([[210, 5]], np.uint8)
    yield ("8-bit integers do not wrap around", lambda: answer(dark, light) == answer(light, dark) == 62.5, [
        "Print np.uint8(200) - np.uint8(210).",
        "An 8-bit difference of −10 is stored as 246. Convert before you subtract.",
        "predictions.astype(np.float64) - targets.astype(np.float64)",
    ])  # fmt: skip
    half, fine = np.array([300.0, 0.0], np.float16), np.array([1.0 + 1e-10])
    yield ("half precision does not overflow, and float64 keeps its digits", lambda: (
        answer(half, 0 * half) == 45_000 and abs(answer(fine, np.ones(1)) / 1e-20 - 1) < 1e-3
    ), [
        "Try 300 in float16: its square is 90,000, and float16 ends at 65,504.",
        "Convert to float64, not to float32.",
        ".astype(np.float64) on both, before the difference.",
    ])  # fmt: skip
    yield ("no value at all is refused", lambda: all(
        raises(ValueError, answer, empty, empty) for empty in (np.zeros(0), np.zeros((0, 3)))
    ), [
        "What is the mean of nothing?",
        "NumPy says nan, with a warning; a dashboard shows a gap.",
        "if not predictions.size: raise ValueError(…)",
    ])  # fmt: skip


@EXERCISES.add("02.2", "Answer minus truth")
def answer_minus_truth(answer: Callable) -> Iterator[Property]:
    """answer(logits, labels) -> (mean loss, gradient)."""
    asked = _restoring(answer)
    random = np.random.default_rng(2)
    logits, labels = random.normal(scale=2, size=(6, 4)), np.array([0, 3, 1, 1, 2, 0])

    def by_differences() -> np.ndarray:
        found = np.zeros_like(logits)
        for index in np.ndindex(*logits.shape):
            move = np.zeros_like(logits)
            move[index] = 1e-5
            up, down = (reference_losses(logits + sign * move, labels).mean() for sign in (1, -1))
            found[index] = (up - down) / 2e-5
        return found

    yield ("the loss is the mean cross-entropy, as a plain float", lambda: (
        type(asked(logits, labels)[0]) is float
        and abs(asked(logits, labels)[0] - reference_losses(logits, labels).mean()) < 1e-9
    ), [
        "Equal logits over C classes must cost ln C.",
        "For each row: ln Σⱼ exp(zⱼ) − z_y. Then the mean over the rows.",
        "float((np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(N), labels]).mean()), with a shift",
    ])  # fmt: skip
    yield ("each row of the gradient sums to zero, negative at the label alone", lambda: (
        np.abs(asked(logits, labels)[1].sum(axis=1)).max() < 1e-12
        and np.array_equal(asked(logits, labels)[1] < 0, np.eye(4, dtype=bool)[labels])
    ), [
        "Which way must the label's logit move to lower the loss? And the others?",
        "The gradient points uphill: it is positive where a larger logit costs more.",
        "softmax(logits), minus 1 at the label of each row.",
    ])  # fmt: skip
    yield ("it agrees with finite differences of the mean", lambda: (
        np.abs(asked(logits, labels)[1] - by_differences()).max() < 1e-8
    ), [
        "Compare one entry with (L(z + h) − L(z − h)) / 2h, h = 1e-5. By which factor are you off?",
        "The loss is a mean over N examples; each example holds 1/N of it.",
        "(softmax(logits) - one_hot) / len(logits)",
    ])  # fmt: skip
    huge = np.array([[1e4, 0.0, -1e4], [0.0, -500.0, 1e4]], np.float32)
    yield ("very sure models keep their loss and gradient", lambda: (
        np.allclose(asked(huge, np.array([0, 1]))[0], 5250)
        and np.allclose(asked(huge, np.array([0, 1]))[1], [[0, 0, 0], [0, -0.5, 0.5]])
    ), [
        "Try logits of 10,000: exp of that is inf, and inf / inf is nan.",
        "Subtract each row's largest logit first. And does a logarithm see a probability that became 0?",
        "shifted = logits - logits.max(axis=1, keepdims=True); loss = log(exp(shifted).sum) - shifted[label]",
    ])  # fmt: skip
    single = logits.astype(np.float32)
    yield ("the gradient has the shape and dtype of the logits, for any number of rows and classes", lambda: (
        asked(single, labels)[1].dtype == np.float32
        and asked(logits, labels)[1].dtype == np.float64
        and np.allclose(
            asked(single[::2, ::-1], 3 - labels[::2])[1], _by_loop(single[::2], labels[::2])[:, ::-1], atol=1e-6
        )
        and asked(np.ones((1, 1), np.float32), np.array([0]))[1].tolist() == [[0.0]]
    ), [
        "What does your gradient's .dtype say for float32 logits?",
        "np.eye(C) is float64 and makes all that it meets float64. One row and one class are allowed, too.",
        "gradient[np.arange(N), labels] -= 1 keeps the dtype.",
    ])  # fmt: skip
    yield ("it leaves its input as it was", lambda: _leaves(answer, logits, labels), [
        "Does your function write into `logits`?",
        "`logits -= …` changes the caller's array.",
        "Use `shifted = logits - …`.",
    ])  # fmt: skip


def _by_loop(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The gradient in float64, written as a loop."""
    found = []
    for row, label in zip(logits.astype(float), labels):
        powers = [math.exp(each - row.max()) for each in row]
        found.append([(p / math.fsum(powers) - (j == label)) / len(logits) for j, p in enumerate(powers)])
    return np.array(found)


def _restoring(answer: Callable) -> Callable:
    """The answer, with its arguments put back after each call: an answer that writes into them fails where that is
    asked, and nowhere else."""

    def call(*arrays: np.ndarray) -> object:
        before = [each.copy() for each in arrays]
        try:
            return copy.deepcopy(answer(*arrays))
        finally:
            for each, was in zip(arrays, before):
                each[...] = was

    return call


def _leaves(answer: Callable, first: np.ndarray, second: np.ndarray) -> bool:
    """Whether the call leaves both arrays as they were, whatever it returns (but not None)."""
    before = first.copy(), second.copy()
    given = answer(first, second) is not None
    kept = np.array_equal(first, before[0]) and np.array_equal(second, before[1])
    first[...], second[...] = before
    return given and kept


@EXERCISES.add("02.3", "Keep the tail")
def keep_the_tail(answer: Callable) -> Iterator[Property]:
    """answer(logits, labels) -> losses."""
    asked = _restoring(answer)
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
    yield ("leaves its input as it was", lambda: _leaves(answer, *many), [
        "Does your function write into `logits`?",
        "`logits -= …` changes the caller's array; so does `logits[rows, labels] = …`.",
        "Work on `against = logits - …`, which is a new array.",
    ])  # fmt: skip


@EXERCISES.add("02.4", "Does the backward pass lie?")
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
    ), [
        "Divide the largest difference by what the docstring says.",
        "By the larger of two maxima: of the gradient's entries and of the measured ones, as absolute values.",
        "np.abs(measured - gradient).max() / max(np.abs(measured).max(), np.abs(gradient).max())",
    ])  # fmt: skip
    one_wrong = right * np.array([1, 1, -1])
    yield ("a single wrong entry among right ones is seen", lambda: (
        abs(answer(wavy, x, one_wrong) - 2 * abs(right[2]) / np.abs(right).max()) < 1e-6
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
    yield ("where both gradients are zero, the error is 0", lambda: answer(lambda v: 7.0, x, 0 * x) == 0.0, [
        "Try a function that returns 7, with a gradient of zeros.",
        "0 / 0 is nan, and no comparison with a nan holds.",
        "return … if largest else 0.0",
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


@EXERCISES.add("02.5", "What does it really believe?")
def undo_weights(answer: Callable) -> Iterator[Property]:
    """answer(probabilities, weights) -> probabilities."""
    asked = _restoring(answer)
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
    narrow = np.array([[1e-30, 1.0], [0.5, 0.5]], np.float32), np.array([1e-40, 1e5])
    wide = np.array([[1e15, 1.0], [1e45, 1.0]])
    yield ("the dtype stays, and extreme weights do not overflow on the way", lambda: (
        asked(weighted.astype(np.float32), weights).dtype == np.float32
        and asked(weighted, weights).dtype == np.float64
        and np.allclose(asked(*narrow), wide / wide.sum(axis=1, keepdims=True), rtol=1e-5)
    ), [
        "float32 ends at 3e38. What is 0.5 / 1e-40 there?",
        "Compute in float64, convert at the end.",
        "(…).astype(probabilities.dtype)",
    ])  # fmt: skip
    yield ("no row is no problem, and the input stays as it was", lambda: (
        asked(np.zeros((0, 2)), weights).shape == (0, 2) and _leaves(answer, weighted.copy(), weights.copy())
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
