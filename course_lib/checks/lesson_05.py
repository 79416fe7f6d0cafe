"""Checks of lesson 05, train in TensorFlow. NumPy alone: none of them needs the framework."""

import hashlib
import math
from collections.abc import Callable, Iterator
from fractions import Fraction

import numpy as np

from course_lib.checks import Register, raises
from course_lib.idioms.exercises import Property

EXERCISES = Register()


@EXERCISES.add("05.1", "One-hot, and nothing else")
def one_hot(answer: Callable) -> Iterator[Property]:
    """answer(labels, classes) -> rows."""
    labels = np.array([2, 0, 3])
    rows = [[0, 0, 1, 0], [1, 0, 0, 0], [0, 0, 0, 1]]
    yield ("each row has its one at the label", lambda: np.array_equal(answer(labels, 4), rows), [
        "Three labels and four classes: write the three rows by hand.",
        "Begin with zeros of shape (N, classes), and set one number in each row.",
        "rows[np.arange(len(labels)), labels] = 1",
    ])  # fmt: skip
    yield ("the rows are float32", lambda: answer(labels, 4).dtype == np.float32, [
        "What does .dtype of your result say?",
        "np.zeros makes float64 unless it is told otherwise.",
        "np.zeros((len(labels), classes), np.float32)",
    ])  # fmt: skip
    yield ("as many columns as classes, also where the largest label is missing, and for no label at all", lambda: (
        answer(np.array([0, 1]), 10).shape == (2, 10) and answer(np.zeros(0, np.int64), 10).shape == (0, 10)
        and answer(np.zeros(2, np.uint8), 1).tolist() == [[1.0], [1.0]] and list(answer(np.array([290]), 300)[0].nonzero()[0]) == [290]
    ), [
        "Try labels 0 and 1 with ten classes.",
        "Is the number of columns `classes`, or something that you found in the labels? And what does max() of no label do?",
        "Shape (len(labels), classes); look at min and max only where labels.size is not 0.",
    ])  # fmt: skip
    yield ("a label below 0 is refused", lambda: raises(ValueError, answer, np.array([0, -1]), 10) and raises(ValueError, answer, np.array([-256, 3]), 10), [
        "Which row does your function make of −1?",
        "In Python an index of −1 is the last place, so −1 becomes a nine.",
        "if labels.size and labels.min() < 0: raise ValueError(…)",
    ])  # fmt: skip
    yield ("a label that has no class is refused, with a ValueError", lambda: raises(ValueError, answer, np.array([10]), 10) and raises(ValueError, answer, np.array([0, 256]), 10), [
        "Ten classes end at 9. And a conversion to bytes makes 0 of 256.",
        "NumPy's own complaint is an IndexError, which names no label.",
        "if labels.size and labels.max() >= classes: raise ValueError(…)",
    ])  # fmt: skip
    yield ("a column of labels, labels with a fraction and truth values are refused", lambda: all(
        raises(ValueError, answer, bad, 10)
        for bad in (np.array([[1], [2]]), np.array([1.0, 2.5]), np.array([1.0, 2.0]), np.array(3), np.array([True, False]))
    ), [
        "What does your function make of labels of shape (N, 1), of 2.5, and of [True, False]?",
        "Look at labels.ndim, and at labels.dtype.",
        "if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer): raise ValueError(…)",
    ])  # fmt: skip


@EXERCISES.add("05.2", "Dropout that keeps the mean")
def dropout(answer: Callable) -> Iterator[Property]:
    """answer(activations, rate, rng, training) -> activations."""

    def run(activations: np.ndarray, rate: float, training: bool = True, seed: int = 0) -> np.ndarray:
        return answer(activations, rate, np.random.default_rng(seed), training)

    ones = np.ones((100, 5000), np.float32)
    mixed = np.linspace(-3, 3, 12, dtype=np.float32).reshape(3, 4)
    yield ("in use it changes nothing", lambda: np.array_equal(run(mixed, 0.5, training=False), mixed), [
        "What should happen with training=False?",
        "No zero, and no factor either: the factor belongs to training.",
        "if not training: return activations.copy()",
    ])  # fmt: skip
    yield ("in training the share of zeros is the rate", lambda: all(
        abs((run(ones, rate) == 0).mean() - rate) < 0.02 for rate in (0.1, 0.3, 0.8)
    ), [
        "Count the zeros of half a million ones at a rate of 0.1: 10 % is right, 90 % is the other way round.",
        "rng.random(shape) is below `rate` with probability `rate`.",
        "survives = rng.random(activations.shape) >= rate",
    ])  # fmt: skip

    def survivors() -> bool:
        for rate in (0.1, 0.3, 0.8):
            found = run(ones, rate)
            if not np.allclose(found[found != 0], 1 / (1 - rate), rtol=1e-5):
                return False
        found = run(mixed, 0.5)
        return bool(np.all(np.isclose(found, 2 * mixed) | (found == 0)))

    yield ("the mean stays: survivors are divided by 1 − rate", survivors, [
        "What is the mean of many ones after your dropout?",
        "A share of 1 − rate survives. By what must those grow, so that the mean stays?",
        "activations * survives / (1 - rate)",
    ])  # fmt: skip

    def each_for_itself() -> bool:
        zero = run(ones, 0.5) == 0
        return all(0 < zero.mean(axis=axis).min() and zero.mean(axis=axis).max() < 1 for axis in (0, 1))

    yield ("each value is dropped for itself, not a row or a column at once", each_for_itself, [
        "Look at one column of the result: is it all zeros?",
        "Which shape have your random numbers?",
        "rng.random(activations.shape): one for each value.",
    ])  # fmt: skip

    def varies(counts: list[int] | np.ndarray) -> bool:
        """Whether numbers of zeros among 100 values, each dropped for itself at 0.3, spread as they do: by 4.6."""
        return 3.3 < float(np.std(counts)) < 6.0

    yield ("how many are dropped is chance too, in all and in each row and column", lambda: (
        varies([int((run(np.ones(100), 0.3, seed=seed) == 0).sum()) for seed in range(200)])
        and all(varies((run(np.ones(shape), 0.3) == 0).sum(axis=axis)) for axis, shape in ((1, (300, 100)), (0, (100, 300))))
    ), [
        "Call it with ten seeds on 100 ones at a rate of 0.3: do you count exactly 30 zeros each time?",
        "With a fixed number of zeros the values depend on each other. Each is to be dropped whatever happens to the others.",
        "No permutation and no choice without replacement: rng.random(activations.shape) >= rate.",
    ])  # fmt: skip
    yield ("the generator decides: another seed, another pattern", lambda: (
        np.array_equal(run(ones, 0.5, seed=1), run(ones, 0.5, seed=1)) and not np.array_equal(run(ones, 0.5, seed=1), run(ones, 0.5, seed=2))
    ), [
        "Call it twice with equal seeds, then with others.",
        "Does your function use `rng`, or a generator of its own?",
        "rng.random(…), not np.random.random(…).",
    ])  # fmt: skip
    yield ("shape and dtype stay, at a rate of 0 every value does, and no value is an allowed input", lambda: (
        run(ones, 0.3).dtype == np.float32 and run(ones.astype(np.float64)[::2, 3:], 0.3).dtype == np.float64
        and run(np.ones((2, 3, 4, 5), np.float16), 0.5).shape == (2, 3, 4, 5) and np.array_equal(run(mixed, 0.0), mixed)
        and run(np.ones((2, 3, 4, 5), np.float16), 0.5).dtype == np.float16 and run(np.zeros((0, 4)), 0.5).shape == (0, 4)
    ), [
        "Which dtype does float16 become in your function?",
        "A product with float64 numbers is float64.",
        ".astype(activations.dtype) at the end.",
    ])  # fmt: skip

    def leaves_input() -> bool:
        given = mixed.copy()
        for training in (True, False):
            answer(given, 0.5, np.random.default_rng(0), training)[...] = 7  # the result is the caller's to change
        return np.array_equal(given, mixed)

    yield ("the activations that it was given stay as they were", leaves_input, [
        "Does your function write into `activations`, or hand the same array back?",
        "activations[…] = 0 and activations /= … change the caller's array; `return activations` shares it.",
        "Make a new array: activations * survives in training, activations.copy() in use.",
    ])  # fmt: skip
    yield ("a rate below 0, or of 1 and more, is refused, in use too", lambda: all(
        raises(ValueError, answer, mixed, rate, np.random.default_rng(0), training) for rate in (-0.1, 1.0, 30, float("nan")) for training in (True, False)
    ), [
        "What does your function do at a rate of 1? Of 30? Of NaN, which compares false with everything?",
        "Check before you look at `training`: a wrong rate should be found on the first call.",
        "if not 0 <= rate < 1: raise ValueError(…) as the first line.",
    ])  # fmt: skip


@EXERCISES.add("05.3", "The last layer's gradient")
def last_layer(answer: Callable) -> Iterator[Property]:
    """answer(hidden, logits, labels) -> (dW, db)."""
    rng = np.random.default_rng(5)
    hidden, logits, labels = rng.normal(size=(7, 4)), rng.normal(size=(7, 3)), np.array([0, 1, 2, 2, 1, 0, 1])

    def reference(hidden: np.ndarray, logits: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The sums written out, each probability by math.exp of differences."""
        by_weights, by_biases = np.zeros((hidden.shape[1], logits.shape[1])), np.zeros(logits.shape[1])
        for n, label in enumerate(labels):
            row = [float(z) for z in logits[n]]
            for j, z in enumerate(row):
                below = math.fsum(math.exp(min(other - max(row), 0)) for other in row)
                d = (math.exp(z - max(row)) / below - (j == label)) / len(labels)
                by_biases[j] += d
                by_weights[:, j] += d * hidden[n].astype(float)
        return by_weights, by_biases

    exact = reference(hidden, logits, labels)
    yield ("two arrays come back, of shapes (H, C) and (C,)", lambda: [np.shape(each) for each in answer(hidden, logits, labels)] == [(4, 3), (3,)], [
        "hidden is (N, H), the gradient with respect to the logits is (N, C). Which product is (H, C)?",
        "The images are summed over: the axis of length N goes.",
        "hidden.T @ D, and D.sum(axis=0)",
    ])  # fmt: skip
    yield ("the biases' gradient is the sum of ŷ − y, over N", lambda: np.allclose(answer(hidden, logits, labels)[1], exact[1], rtol=1e-9, atol=1e-12), [
        "Compute it for a single image first: the softmax of its logits, less 1 at the label.",
        "The loss is the mean over N images: where is the N?",
        "D = (probabilities - one_hot) / len(labels); D.sum(axis=0)",
    ])  # fmt: skip
    yield ("the weights' gradient weighs each image by what entered the layer", lambda: np.allclose(answer(hidden, logits, labels)[0], exact[0], rtol=1e-9, atol=1e-12), [
        "A weight W[i, j] takes part in the logit j of each image, with the factor hidden[n, i].",
        "The sum over n of hidden[n, i] · D[n, j] is one entry of a matrix product.",
        "hidden.T @ D",
    ])  # fmt: skip
    sure = np.array([[5000.0, 0.0, 0.0], [0.0, -5000.0, 1e30]]), np.array([1, 2])
    yield ("large logits do not overflow", lambda: all(
        np.allclose(*pair, atol=1e-12) for pair in zip(answer(hidden[:2], *sure), reference(hidden[:2], *sure))
    ), [
        "Try a logit of 5000.",
        "exp(5000) is infinite. Softmax is the same when one number is taken from all logits of a row.",
        "logits - logits.max(axis=1, keepdims=True) before np.exp",
    ])  # fmt: skip
    apart = rng.normal(size=(5, 3)) + 2000 * np.arange(5)[:, None]
    yield ("each row is shifted by its own largest logit", lambda: all(
        np.allclose(*pair, atol=1e-12) for pair in zip(answer(hidden[:5], apart, labels[:5]), reference(hidden[:5], apart, labels[:5]))
    ), [
        "Take one image with logits near 0 and another with logits near 8000.",
        "A shift by the largest of the whole batch leaves the small rows at exp(−8000), which is 0.",
        "max(axis=1, keepdims=True)",
    ])  # fmt: skip
    many = (
        rng.normal(size=(64, 40)).astype(np.float32)[:, ::2],
        rng.normal(size=(64, 10)).astype(np.float32),
        np.arange(64) % 10,
    )

    def kinds() -> bool:
        ours = answer(*many)
        close = all(np.allclose(*pair, atol=1e-6) for pair in zip(ours, reference(*many)))
        one = answer(np.ones((1, 2)), np.array([[3.0]]), np.array([0]))
        wider, narrower = (
            answer(many[0], many[1].astype(np.float64), many[2]),
            answer(hidden, logits.astype(np.float32), labels),
        )
        alike = all(each.dtype == np.float32 for each in (*ours, *wider)) and all(
            each.dtype == np.float64 for each in narrower
        )
        return close and alike and not np.any(one[0]) and not np.any(one[1])

    yield ("float32 stays float32, views and a single class work", kinds, [
        "Which dtype do your results have for float32 activations, also with float64 logits?",
        "Does something in your function make float64 of it, a one-hot matrix for instance?",
        ".astype(hidden.dtype); and with one class ŷ − y is 0.",
    ])  # fmt: skip

    def untouched() -> bool:
        kept = hidden + 1, logits + 1, labels.copy()
        given = tuple(each.copy() for each in kept)
        answer(*given)
        return all(np.array_equal(*pair) for pair in zip(kept, given))

    yield ("the arguments stay as they were", untouched, [
        "Does your function write into `logits`?",
        "`logits -= …` changes the caller's array.",
        "logits - …, in a new array.",
    ])  # fmt: skip


@EXERCISES.add("05.4", "A split that stays")
def split(answer: Callable) -> Iterator[Property]:
    """answer(images, share) -> bool array."""
    images = np.random.default_rng(4).integers(0, 17, (600, 8, 8)).astype(np.float32) / 16

    def reference(images: np.ndarray, share: float) -> list[bool]:
        digests = [hashlib.sha256(np.ascontiguousarray(each, dtype=np.float32)).hexdigest() for each in images]
        return [Fraction(int(digest[:16], 16), 2**64) < Fraction(share) for digest in digests]

    def is_mask(found: object, length: int) -> bool:
        return isinstance(found, np.ndarray) and found.dtype == bool and found.shape == (length,)

    yield ("one truth value for each image, none for no image", lambda: is_mask(answer(images, 0.25), 600) and is_mask(answer(images[:0], 0.25), 0), [
        "Return an array of shape (N,) and dtype bool.",
        "A list of bool without entries becomes float64: which dtype does your array have for no image?",
        "chosen = np.zeros(len(images), bool), filled in a loop.",
    ])  # fmt: skip
    yield ("about the share is held out", lambda: abs(answer(images, 0.25).mean() - 0.25) < 0.08 and abs(answer(images, 0.7).mean() - 0.7) < 0.08, [
        "Of 600 images, how many does your function hold out at a share of a quarter?",
        "The number from 8 bytes lies between 0 and 2**64.",
        "int.from_bytes(digest[:8], 'big') < share * 2**64",
    ])  # fmt: skip
    yield ("an image stays on its side, in whatever order and company it comes", lambda: (
        np.array_equal(answer(images[::-1], 0.25), answer(images, 0.25)[::-1])
        and np.array_equal(answer(images[:100], 0.25), answer(images, 0.25)[:100])
    ), [
        "Turn the order around: does the mask turn with it?",
        "Does your answer depend on the place in the array, or on a generator?",
        "Only the image's own bytes may decide: hashlib.sha256(image.tobytes()).",
    ])  # fmt: skip
    numbers = sorted(int(hashlib.sha256(each).hexdigest()[:16], 16) for each in images)
    edge = float(
        np.nextafter(numbers[150] / 2**64, 0)
    )  # just below one image's number: its first bytes alone are not enough
    yield ("it is the SHA-256 digest of the float32 values that decides", lambda: all(
        answer(images, share).tolist() == reference(images, share) for share in (0.25, edge)
    ), [
        "Is it the digest of each image alone, and are all of its first 8 bytes read, in the right order?",
        "Python's hash() of bytes is another one in each process: it would make another split tomorrow.",
        "int.from_bytes(hashlib.sha256(np.asarray(image, np.float32).tobytes()).digest()[:8], 'big')",
    ])  # fmt: skip
    turned = images.transpose(0, 2, 1)
    yield ("the same values decide alike, as float64 and in another memory order", lambda: (
        np.array_equal(answer(images.astype(np.float64), 0.25), answer(images, 0.25))
        and answer(turned, 0.25).tolist() == reference(turned, 0.25) and np.array_equal(answer(images[:, None], 0.25), answer(images, 0.25))
        and answer(images[::2, ::-1], 0.25).tolist() == reference(images[::2, ::-1], 0.25)
    ), [
        "Give it the same images as float64.",
        "Eight bytes a number are other bytes than four. And bytes taken from memory as they lie depend on the order of the axes.",
        "np.asarray(image, np.float32).tobytes(): tobytes copies in row-major order.",
    ])  # fmt: skip
    yield ("a share of 0 holds out none, a share of 1 all", lambda: not answer(images, 0).any() and answer(images, 1).all(), [
        "Try the shares 0 and 1.",
        "Below, not at or below: no number is below 0, and every one is below 2**64.",
        "… < share * 2**64",
    ])  # fmt: skip
    yield ("what is no share is refused", lambda: all(raises(ValueError, answer, images, bad) for bad in (-0.1, 1.5, 25, float("nan"))), [
        "What does your function do with 25?",
        "A percentage is no share, and NaN compares false with everything.",
        "if not 0 <= share <= 1: raise ValueError(…)",
    ])  # fmt: skip


@EXERCISES.add("05.5", "Two models, the same images")
def paired(answer: Callable) -> Iterator[Property]:
    """answer(first_right, second_right) -> p-value."""

    def case(only_first: int, only_second: int, both: int = 0, neither: int = 0) -> tuple[np.ndarray, np.ndarray]:
        first = [True] * only_first + [False] * only_second + [True] * both + [False] * neither
        second = [False] * only_first + [True] * only_second + [True] * both + [False] * neither
        return np.array(first, bool), np.array(second, bool)

    def exact(only_first: int, only_second: int) -> float:
        n, k = only_first + only_second, min(only_first, only_second)
        row = [1]
        for i in range(k):
            row.append(row[-1] * (n - i) // (i + 1))
        return float(min(Fraction(1), Fraction(2 * sum(row), 2**n)))

    yield ("six images, all for one model: two of 64 outcomes", lambda: abs(answer(*case(6, 0)) - 2 / 64) < 1e-12, [
        "Six tosses of a coin, all heads: how likely? And all tails?",
        "Both ends count: two-sided.",
        "2 · P(X ≤ 0) = 2 / 2**6",
    ])  # fmt: skip
    yield ("it does not matter which of the two comes first", lambda: (
        abs(answer(*case(2, 9)) - exact(2, 9)) < 1e-12 and abs(answer(*case(9, 2)) - exact(9, 2)) < 1e-12
    ), [
        "Swap the two models: the answer must stay.",
        "k is the smaller of the two counts.",
        "k = min(only_first, only_second)",
    ])  # fmt: skip
    yield ("images on which both agree say nothing", lambda: abs(answer(*case(6, 1, 430, 13)) - exact(6, 1)) < 1e-12, [
        "Add 430 images that both read: the answer must stay.",
        "n counts the images on which exactly one is right, not all.",
        "n = int((first_right != second_right).sum())",
    ])  # fmt: skip
    yield ("an even split is 1, and so is no difference at all; it is a float", lambda: (
        answer(*case(3, 3)) == 1.0 and answer(*case(0, 0, 5, 5)) == 1.0 and answer(*case(0, 0)) == 1.0
        and isinstance(answer(*case(0, 0)), float) and isinstance(answer(*case(4, 1)), float)
    ), [
        "Three for the one and three for the other: 2 · P(X ≤ 3) is more than 1.",
        "A probability ends at 1. And no difference is no surprise.",
        "min(1.0, …), as a float",
    ])  # fmt: skip
    yield ("the tail is summed, not only its last term", lambda: (
        abs(answer(*case(12, 3)) / exact(12, 3) - 1) < 1e-9 and abs(answer(*case(40, 20)) / exact(40, 20) - 1) < 1e-9
    ), [
        "As unevenly *or more*: which splits of 15 are at least as uneven as 12 to 3?",
        "P(X ≤ 3) is the sum of four terms. No normal distribution: the docstring asks for the exact one.",
        "sum(math.comb(n, i) for i in range(k + 1)) / 2**n",
    ])  # fmt: skip
    yield ("thousands of images do not overflow", lambda: (
        abs(answer(*case(1600, 1500)) / exact(1600, 1500) - 1) < 1e-6 and 0 <= answer(*case(3000, 0)) < 1e-300
    ), [
        "Try 3,100 images on which one is right.",
        "2.0**3100 is infinite, and so is a product of that many floats. Whole numbers have no limit in Python.",
        "min(1.0, 2 * ways / 2**n) with whole numbers: Python divides them without making floats of them first.",
    ])  # fmt: skip
    bad = [(case(3, 1)[0], case(3, 2)[0]), (np.ones((2, 2), bool), np.ones((2, 2), bool)), (np.ones(3), np.zeros(3)),
           (np.ones(3, bool), np.array([0, 1, 9])), (np.ones(3, bool), np.ones(1, bool))]  # fmt: skip
    yield ("arrays that do not fit, and answers in place of truth values, are refused", lambda: all(raises(ValueError, answer, *each) for each in bad), [
        "Give it the models' digits instead of whether they are right.",
        "NumPy stretches a single value over all, and takes a 9 for true.",
        "Check shape, ndim and dtype == bool, and raise ValueError.",
    ])  # fmt: skip
