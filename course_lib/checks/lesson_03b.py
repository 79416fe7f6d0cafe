"""Checks of lesson 03b, curvature and noise."""

import math
from collections.abc import Callable, Iterator

import numpy as np

from course_lib.checks import Register, raises
from course_lib.idioms.exercises import Property

EXERCISES = Register()


@EXERCISES.add("03b.1", "Backwards through a layer")
def backwards_through_a_layer(answer: Callable) -> Iterator[Property]:
    """answer(x, W, h, dJ_dh) -> (dJ_dx, dJ_dW, dJ_db)."""
    random = np.random.default_rng(0)
    x, W, b = random.normal(size=(5, 3)), random.normal(size=(3, 2)), random.normal(size=2)
    weighting = random.normal(size=(5, 2))  # J is the sum of the outputs, weighted with these

    def layer(x: np.ndarray, W: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.tanh(x @ W + b)

    def found(place: int) -> np.ndarray:
        return np.asarray(answer(x.copy(), W.copy(), layer(x, W, b), weighting.copy())[place])

    def by_differences(place: int) -> np.ndarray:
        arguments, slopes = [x, W, b], np.zeros_like((x, W, b)[place])
        for index in np.ndindex(slopes.shape):
            ends = []
            for sign in (1, -1):
                moved = [each.copy() for each in arguments]
                moved[place][index] += sign * 1e-6
                ends.append(float((weighting * layer(*moved)).sum()))
            slopes[index] = (ends[0] - ends[1]) / 2e-6
        return slopes

    def agrees(place: int) -> bool:
        expected = by_differences(place)
        return found(place).shape == expected.shape and np.allclose(found(place), expected, atol=1e-7)

    one = [np.array([[2.0]]), np.array([[3.0]]), np.array([[0.0]]), np.array([[5.0]])]
    yield ("with one input, one unit and h = 0 the gradients are 15, 10 and 5", lambda: np.allclose(
        [float(np.squeeze(each)) for each in answer(*one)], [15, 10, 5]
    ), [
        "At h = 0 the slope of tanh is 1. What is left are the products of the chain rule.",
        "dJ/dx = 5 · 3, dJ/dW = 5 · 2, dJ/db = 5, in this order.",
        "return delta @ W.T, x.T @ delta, delta.sum(axis=0)",
    ])  # fmt: skip
    yield ("the biases' gradient is that of differences", lambda: agrees(2), [
        "Each bias enters all N images. Sum over them.",
        "Does the slope of tanh, 1 − h², come in before you sum? It is not 1 here.",
        "delta = dJ_dh * (1 - h**2); delta.sum(axis=0)",
    ])  # fmt: skip
    yield ("the weights' gradient is that of differences", lambda: agrees(1), [
        "W[d, h] enters image n with the factor x[n, d]. Sum over n.",
        "Only one product of x and delta has the shape of W. J is a mean already: do not divide by N.",
        "x.T @ delta",
    ])  # fmt: skip
    yield ("the inputs' gradient is that of differences", lambda: agrees(0), [
        "x[n, d] enters all H units of its image, with the factors W[d, h].",
        "Use delta here too, with the slope of tanh in it.",
        "delta @ W.T",
    ])  # fmt: skip
    none = [np.zeros((0, 3)), W, np.zeros((0, 2)), np.zeros((0, 2))]
    yield ("no image gives gradients of zero in the right shapes", lambda: (
        [np.shape(each) for each in answer(*none)] == [(0, 3), (3, 2), (2,)]
        and not np.any(answer(*none)[1]) and not np.any(answer(*none)[2])
    ), [
        "Try N = 0. The weights have a gradient even then: zeros.",
        "A mean over no image is NaN, a sum is 0.",
        "delta.sum(axis=0) and x.T @ delta give zeros by themselves.",
    ])  # fmt: skip

    def kept() -> bool:
        own = [x.copy(), W.copy(), layer(x, W, b), weighting.copy()]
        before = [each.copy() for each in own]
        answer(*own)
        return all(np.array_equal(a, b) for a, b in zip(own, before))

    yield ("the arrays stay as they were", kept, [
        "Look at dJ_dh and h after the call.",
        "`dJ_dh *= …` changes the caller's array.",
        "delta = dJ_dh * (1 - h**2) makes a new one.",
    ])  # fmt: skip


@EXERCISES.add("03b.2", "Noise from two batch sizes")
def noise_from_two_batch_sizes(answer: Callable) -> Iterator[Property]:
    """answer(small, small_batch, large, large_batch) -> (signal, noise)."""

    def near(found: object, signal: float, noise: float, rel: float = 1e-9) -> bool:
        return (
            isinstance(found, tuple | list) and len(found) == 2
            and all(isinstance(each, (float, np.floating)) for each in found)
            and math.isclose(found[0], signal, rel_tol=rel, abs_tol=1e-9)
            and math.isclose(found[1], noise, rel_tol=rel, abs_tol=1e-9)
        )  # fmt: skip

    yield ("squared lengths of 7 at B = 2 and 4 at B = 8 give signal 3 and noise 8", lambda: near(
        answer(np.array([7.0]), 2, np.array([4.0]), 8), 3, 8
    ), [
        "7 = |g|² + σ²/2 and 4 = |g|² + σ²/8. Subtract the two equations.",
        "σ² is the difference divided by (1/2 − 1/8). The signal comes first in the result.",
        "noise = (of_small - of_large) / (1 / small_batch - 1 / large_batch)",
    ])  # fmt: skip
    yield ("many lengths are averaged as squares, and the numbers of both need not be equal", lambda: near(
        answer(np.array([2.0, 5.0, 14.0]), 2, np.array([2.0, 6.0]), 8), 3, 8
    ), [
        "What is given are squared lengths already. Which mean do the equations speak of?",
        "The square of a mean length is another number than the mean of the squares.",
        "of_small, of_large = small.mean(), large.mean()",
    ])  # fmt: skip
    yield ("the order of the two batch sizes does not matter", lambda: near(
        answer(np.array([4.0]), 8, np.array([7.0]), 2), 3, 8
    ), [
        "Swap the two pairs: the equations are the same.",
        "Are both the difference of lengths and that of 1/B signed alike?",
        "No abs(), no max(): (of_small - of_large) / (1 / small_batch - 1 / large_batch)",
    ])  # fmt: skip
    yield ("negative estimates stay negative", lambda: (
        near(answer(np.array([4.0]), 2, np.array([7.0]), 8), 8, -8)
        and near(answer(np.array([9.0]), 1, np.array([1.0]), 2), -7, 16)
    ), [
        "By chance the large batches may have the longer gradients.",
        "An estimate cut off at 0 is too large on average.",
        "Return both numbers as they come out.",
    ])  # fmt: skip
    random = np.random.default_rng(0)
    of_each = random.normal(size=(4000, 20)) + 0.3

    def lengths(batch: int) -> np.ndarray:
        drawn = of_each[random.integers(4000, size=(3000, batch))].mean(axis=1)
        return (drawn**2).sum(axis=1)

    def measured() -> bool:
        full = of_each.mean(axis=0)
        expected = float((full**2).sum()), float(((of_each - full) ** 2).sum(axis=1).mean())
        return near(answer(lengths(4), 4, lengths(32), 32), *expected, rel=0.1)

    yield ("on 3,000 real batches of 4 and of 32 both come out to 10 %", measured, [
        "Draw batches yourself, with gradients that you know, and compare.",
        "Both unknowns come from the two means alone.",
        "signal = of_small - noise / small_batch",
    ])  # fmt: skip
    many = np.full(200_000, 0.1, np.float16)

    def in_float64() -> bool:
        tenth = float(np.float16(0.1))
        large = np.array([1e8 + 1]), np.array([1e8])  # float32 cannot tell these two apart
        return near(answer(many, 1, many / np.float16(2), 2), 0, tenth, rel=1e-6) and near(
            answer(large[0], 1, large[1], 2), 1e8 - 1, 2
        )

    yield ("float16 lengths are averaged in float64", in_float64, [
        "Add up 200,000 float16 numbers of 0.1. How many digits are left?",
        "np.mean of a float16 array gives a float16.",
        "np.mean(small, dtype=np.float64)",
    ])  # fmt: skip
    yield ("equal batch sizes are refused", lambda: raises(
        ValueError, answer, np.array([7.0]), 4, np.array([4.0]), 4
    ), [
        "Two equal equations do not determine two unknowns.",
        "1/4 − 1/4 is 0. Python raises ZeroDivisionError there, NumPy returns inf.",
        "if small_batch == large_batch: raise ValueError(…)",
    ])  # fmt: skip


@EXERCISES.add("03b.3", "The largest safe learning rate")
def largest_safe_step(answer: Callable) -> Iterator[Property]:
    """answer(gradient, theta, iterations=200) -> 2 / largest curvature."""

    def quadratic(curvatures: list[float] | np.ndarray, seed: int | None = None, lowest: float = 0.0) -> Callable:
        curvatures = np.asarray(curvatures, float)
        d = len(curvatures)
        q = np.eye(d) if seed is None else np.linalg.qr(np.random.default_rng(seed).normal(size=(d, d)))[0]
        return lambda theta: q @ (curvatures * (q.T @ (theta - lowest)))

    def near(found: object, expected: float) -> bool:
        return isinstance(found, (float, np.floating)) and abs(found / expected - 1) < 0.01

    yield ("curvatures 4 and 1 allow learning rates up to 0.5", lambda: near(answer(quadratic([1.0, 4.0], 1), np.zeros(2)), 0.5), [
        "The limit is 2 / λ, with λ the largest curvature.",
        "Repeat: scale r to length 1, multiply it by the Hessian. The length of the product approaches λ.",
        "product = gradient(theta + r) - gradient(theta); curvature = np.linalg.norm(product); r = product / curvature",
    ])  # fmt: skip
    yield ("it does not matter where it stands", lambda: near(answer(quadratic([1.0, 4.0], 1, lowest=3.0), np.array([1.0, -1.0])), 0.5), [
        "Away from the lowest point the gradient at theta is not 0.",
        "H r is the difference of two gradients, not one gradient.",
        "here = gradient(theta), once; then gradient(theta + r) - here",
    ])  # fmt: skip
    yield ("any single direction may be the steepest", lambda: all(
        near(answer(quadratic([9.0 if i == k else 1.0 for i in range(6)]), np.zeros(6)), 2 / 9) for k in range(6)
    ) and near(answer(quadratic([2.0, 1.0, 1.0], None), np.zeros(3)), 1.0) and near(answer(
        lambda theta: np.array([[2.0, -1.0], [-1.0, 2.0]]) @ theta, np.zeros(2)), 2 / 3)
        and near(answer(quadratic([1.0, 9.0]), np.array([1.0, 0.0])), 2 / 9), [
        "From which r do you start? Could it be orthogonal to the steepest direction?",
        "(1, 0, 0) never sees the curvature along the second axis, (1, 1) none along (1, −1).",
        "np.random.default_rng(0).normal(size=len(theta))",
    ])  # fmt: skip
    yield ("tiny and huge curvatures are found alike", lambda: all(
        near(answer(quadratic([size, size / 2, size / 4], 2, lowest=0.5), np.ones(3)), 2 / size) for size in (1e-6, 1e6)
    ), [
        "Try curvatures near 1e-6 and near 1e6.",
        "Is r scaled to length 1 before each product? Is a tolerance or a fixed number added somewhere?",
        "r = r / np.linalg.norm(r) at the start of each round.",
    ])  # fmt: skip
    many = np.r_[np.linspace(0, 10, 999), 11.0]
    yield ("a thousand directions, some of them flat", lambda: near(answer(quadratic(many), np.ones(1000)), 2 / 11), [
        "With 1,000 directions a handful of rounds is too few.",
        "Do you use all of `iterations`?",
        "No early end after 10 or 20 rounds: for _ in range(iterations).",
    ])  # fmt: skip

    def calls(iterations: int) -> int:
        seen = []
        gradient = quadratic([1.0, 4.0, 2.0], 3)
        answer(lambda theta: seen.append(1) or gradient(theta), np.ones(3), iterations)
        return len(seen)

    yield ("it takes one gradient a round and one more", lambda: all(calls(n) <= n + 1 for n in (1, 5, 50)), [
        "Count the calls of gradient: for a real model each is a pass over the data.",
        "The gradient at theta itself is the same in every round.",
        "Compute gradient(theta) once, before the loop.",
    ])  # fmt: skip
    yield ("without any curvature every learning rate is safe", lambda: all(
        math.isinf(limit) and limit > 0
        for limit in (answer(lambda theta: np.array([1.0, 2.0]), np.zeros(2)), answer(quadratic([0.0, 0.0, 0.0]), np.ones(3)))
    ), [
        "A plane has the same gradient everywhere. What is your product then?",
        "Its length is 0, and 2 / 0 and r / 0 are to be avoided.",
        "if curvature == 0: return float('inf')",
    ])  # fmt: skip

    def kept() -> bool:
        theta = np.ones(3)
        answer(quadratic([1.0, 2.0, 4.0]), theta)
        return np.array_equal(theta, np.ones(3))

    yield ("theta stays as it was", kept, [
        "Look at theta after the call.",
        "`theta += r` changes the caller's array.",
        "gradient(theta + r)",
    ])  # fmt: skip
