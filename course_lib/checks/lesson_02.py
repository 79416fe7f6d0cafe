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
    asked = restoring(answer)
    one, three = np.array([1.0, 2.0]), np.array([1.0, 5.0])
    yield ("differences of 0 and 3 give 4.5", lambda: asked(one, three) == 4.5, [
        "Square each difference first.",
        "The mean of 0 and 9 is asked for, not their sum.",
        "((predictions - targets) ** 2).mean()",
    ])  # fmt: skip
    yield ("it is a plain float", lambda: type(asked(one, three)) is float, [
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
    dark, light = np.array([[50, 10]], np.uint8), np.array([[200, 5]], np.uint8)
    yield ("8-bit integers do not wrap around", lambda: asked(dark, light) == asked(light, dark) == 11_262.5, [
        "Print np.uint8(50) - np.uint8(200), and np.uint8(150) ** 2.",
        "8 bits end at 255: the difference −150 is stored as 106, and 150² as 228. Convert before you subtract.",
        "predictions.astype(np.float64) - targets.astype(np.float64)",
    ])  # fmt: skip
    half, fine = np.array([300.0, 0.0], np.float16), np.array([1.0 + 1e-10])
    thirds = np.array([1.0, 2.0, 3.0]) / 3
    yield ("half precision does not overflow, and float64 keeps its digits", lambda: (
        asked(half, 0 * half) == 45_000 and abs(asked(fine, np.ones(1)) / 1e-20 - 1) < 1e-3
        and abs(asked(thirds, 0 * thirds) - 14 / 27) < 1e-12
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
    yield ("both arrays stay as they were", lambda: (
        leaves(answer, one.copy(), three.copy()) and leaves(answer, three.copy(), one.copy())
    ), [
        "Does your function write into one of its arguments?",
        "`predictions -= targets` changes the caller's array.",
        "errors = predictions.astype(np.float64) - targets makes a new one.",
    ])  # fmt: skip


@EXERCISES.add("02.2", "The number to beat")
def number_to_beat(answer: Callable) -> Iterator[Property]:
    """answer(labels) -> loss."""
    fraud, of_fraud = np.array([0] * 990 + [1] * 10), -(0.99 * math.log(0.99) + 0.01 * math.log(0.01))
    yield ("10 frauds among 1,000 payments give 0.056 nats", lambda: abs(answer(fraud) - of_fraud) < 1e-9, [
        "How often does each class occur? The best constant answer is that frequency.",
        "A payment that is a fraud costs −ln 0.01, any other −ln 0.99. Take the mean over the payments.",
        "-(frequencies * np.log(frequencies)).sum(), with frequencies = counts / counts.sum()",
    ])  # fmt: skip
    uneven = np.array([2, 0, 1, 0], np.int32)
    yield ("more than two classes, each with its own frequency", lambda: (
        abs(answer(np.tile(np.arange(10), 7)) - math.log(10)) < 1e-9
        and abs(answer(uneven) - 1.5 * math.log(2)) < 1e-9
    ), [
        "Ten classes that occur equally often must give ln 10.",
        "Do you count each class, or only one class against the rest?",
        "counts = np.unique(labels, return_counts=True)[1]",
    ])  # fmt: skip
    yield ("it is a plain float", lambda: type(answer(uneven)) is float, [
        "What does type(…) of your result say?",
        "A sum of a NumPy array is a NumPy number.",
        "float(…) around the result.",
    ])  # fmt: skip
    yield ("the numbers of the classes do not matter: gaps and −1 are fine", lambda: all(
        abs(answer(np.array(some)) - math.log(2)) < 1e-9 for some in ([0, 9, 9, 0], [-1, 7], [5, 4], [-1, 0], [-1, 1])
    ), [
        "Try the labels [0, 9]. Which classes do you count?",
        "A class that never occurs has frequency 0, and 0 · ln 0 is nan in NumPy. Leave it out.",
        "np.unique(labels, return_counts=True) counts the classes that occur, whatever their numbers.",
    ])  # fmt: skip
    yield ("one class alone costs nothing", lambda: abs(answer(np.array([3, 3, 3]))) < 1e-12, [
        "What does a model pay that always answers the only class there is?",
        "The frequency is 1, and ln 1 is 0.",
        "Do you add a small number inside the logarithm? Leave out the classes with frequency 0 instead.",
    ])  # fmt: skip
    yield ("no label at all is refused", lambda: raises(ValueError, answer, np.zeros(0, int)), [
        "What is the mean over no example?",
        "Without a label, 0 / 0 gives nan, or an empty sum gives 0: both would be reported as a loss.",
        "if not len(labels): raise ValueError(…)",
    ])  # fmt: skip


@EXERCISES.add("02.3", "Answer minus truth")
def answer_minus_truth(answer: Callable) -> Iterator[Property]:
    """answer(logits, labels) -> (mean loss, gradient)."""
    asked = restoring(answer)
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

    yield ("the loss is the mean cross-entropy", lambda: (
        abs(asked(logits, labels)[0] - reference_losses(logits, labels).mean()) < 1e-9
    ), [
        "Equal logits over C classes must cost ln C.",
        "For each row: ln Σⱼ exp(zⱼ) − z_k. Then the mean over the rows.",
        "(np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(N), labels]).mean(), with a shift",
    ])  # fmt: skip
    yield ("the loss is a plain float", lambda: type(asked(logits, labels)[0]) is float, [
        "Print type(loss). The docstring asks for a plain float.",
        "NumPy's mean is a NumPy number, which looks like a float and is none to json.",
        "float(…) around the mean",
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
    apart, right_or_wrong = np.array([[0.0, 1.0], [2000.0, 0.0], [-2000.0, -2001.0]]), np.array([1, 0, 1])
    yield ("rows of very different size do not disturb each other", lambda: (
        abs(asked(apart, right_or_wrong)[0] - reference_losses(apart, right_or_wrong).mean()) < 1e-9
        and np.allclose(asked(apart, right_or_wrong)[1], _by_loop(apart, right_or_wrong), atol=1e-9)
    ), [
        "Try the logits [[0, 1], [2000, 0]].",
        "Subtract the largest logit of each row, not the largest of the batch: exp(1 - 2000) is 0.",
        "logits.max(axis=1, keepdims=True)",
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
    yield ("it leaves its input as it was", lambda: leaves(answer, logits, labels), [
        "Does your function write into `logits`?",
        "`logits -= …` changes the caller's array.",
        "Use `shifted = logits - …`.",
    ])  # fmt: skip


@EXERCISES.add("02.4", "Undo the second softmax")
def undo_second(answer: Callable) -> Iterator[Property]:
    """answer(answers) -> probabilities."""
    asked = restoring(answer)
    one = np.array([[0.7, 0.2, 0.1]])
    yield ("the probabilities of one row come back", lambda: np.allclose(asked(_softmax(one)), one, rtol=0, atol=1e-5), [
        "The logarithm of a softmax is what went in, up to a constant: ln q_j = p_j + a constant. Which one?",
        "You know that p sums to 1. Sum ln q_j = p_j + a constant over the C classes.",
        "p = np.log(q) + (1 - np.log(q).sum(axis=1, keepdims=True)) / C",
    ])  # fmt: skip
    three = np.array([[0.0, 1.0, 0.0, 0.0], [0.25, 0.25, 0.25, 0.25], [0.5, 0.1, 0.3, 0.1]])
    yield ("every row is undone by itself, sure and unsure ones", lambda: np.allclose(
        asked(_softmax(three)), three, rtol=0, atol=1e-5
    ), [
        "Try two rows, one sure and one unsure.",
        "Each row has a constant of its own. Over which axis do you sum?",
        "np.log(answers).sum(axis=1, keepdims=True)",
    ])  # fmt: skip
    many = np.random.default_rng(4).dirichlet(np.full(10, 0.3), size=50)
    logged = _softmax(many)
    yield ("any number of rows and classes, float32 too, and a view", lambda: (
        np.allclose(asked(logged.astype(np.float32)), many, rtol=0, atol=1e-5)
        and np.allclose(asked(logged[::2, ::-1]), many[::2, ::-1], rtol=0, atol=1e-5)
        and np.allclose(asked(_softmax(np.array([[0.9, 0.1]]))), [[0.9, 0.1]], rtol=0, atol=1e-5)
        and asked(np.zeros((0, 3))).shape == (0, 3)
    ), [
        "Try 50 rows of ten classes, in float32, and then no row at all.",
        "Does a constant number of classes stand somewhere? Is an entry of −1e-8, which is rounding, refused?",
        "C is answers.shape[1]; an entry of p is refused below −0.001 only.",
    ])  # fmt: skip
    single = np.array([[0.9, 0.05, 0.05]])
    yield ("a row that is no softmax of probabilities is refused, even among good ones", lambda: all(
        raises(ValueError, answer, np.array(bad)) for bad in (single, [*_softmax(one), *single], [[0.55, 0.44, 0.01]])
    ), [
        "Try (0.9, 0.05, 0.05), an answer after one softmax. What does your p look like?",
        "An entry of p below 0 is no probability. Rounding explains −0.001, no more.",
        "if not (p >= -0.001).all(): raise ValueError(…)",
    ])  # fmt: skip
    yield ("a row with an entry of 0 is refused", lambda: all(
        raises(ValueError, answer, np.array(bad)) for bad in ([[1.0, 0.0, 0.0]], [[0.5, 0.5, 0.0], [0.3, 0.3, 0.4]])
    ), [
        "Try (1, 0, 0). What does your p look like?",
        "ln 0 is −∞, and −∞ in a row makes nan. Is nan < −0.001? Is nan >= −0.001?",
        "Ask whether all entries are good: not (p >= -0.001).all()",
    ])  # fmt: skip
    yield ("the input stays as it was", lambda: leaves(answer, logged.copy()), [
        "Does your function write into `answers`?",
        "`np.log(answers, out=answers)` and `answers += …` change the caller's array.",
        "logarithms = np.log(answers) makes a new one.",
    ])  # fmt: skip


def _softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def _by_loop(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The gradient in float64, written as a loop."""
    found = []
    for row, label in zip(logits.astype(float), labels):
        powers = [math.exp(each - row.max()) for each in row]
        found.append([(p / math.fsum(powers) - (j == label)) / len(logits) for j, p in enumerate(powers)])
    return np.array(found)


def restoring(answer: Callable) -> Callable:
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


def leaves(answer: Callable, *arrays: np.ndarray) -> bool:
    """Whether the call leaves its arrays as they were, whatever it returns (but not None)."""
    before = [each.copy() for each in arrays]
    given = answer(*arrays) is not None
    kept = all(np.array_equal(each, was) for each, was in zip(arrays, before))
    for each, was in zip(arrays, before):
        each[...] = was
    return given and kept
