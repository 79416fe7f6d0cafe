"""Checks of lesson 03, gradient descent."""

import math
from collections.abc import Callable, Iterator

import numpy as np

from course_lib.checks import Register, raises
from course_lib.idioms.exercises import Property

EXERCISES = Register()


@EXERCISES.add("03.1", "Keep the path")
def keep_the_path(answer: Callable) -> Iterator[Property]:
    """answer(gradient, start, learning_rate, steps) -> (steps + 1, d)."""
    curvature, start = np.array([1.0, 4.0]), np.array([2.0, -1.0])

    def gradient(theta: np.ndarray) -> np.ndarray:
        return curvature * theta

    def exact(steps: int) -> np.ndarray:
        return np.array([(1 - 0.1 * curvature) ** t * np.array([2.0, -1.0]) for t in range(steps + 1)])

    yield ("three steps give four rows, the first of them the start", lambda: (
        np.shape(answer(gradient, start.copy(), 0.1, 3)) == (4, 2) and np.array_equal(answer(gradient, start.copy(), 0.1, 3)[0], start)
    ), [
        "The start is a point of the path as well.",
        "How many points do three steps connect?",
        "points = np.empty((steps + 1, len(start)), start.dtype); points[0] = start",
    ])  # fmt: skip
    yield ("one step goes down, against the gradient", lambda: np.allclose(answer(gradient, start.copy(), 0.1, 1)[1], exact(1)[1]), [
        "Where is the first point of a single step from (2, −1) with the gradient (2, −4)?",
        "Mind the sign: the gradient points up.",
        "theta - learning_rate * gradient(theta)",
    ])  # fmt: skip
    yield ("each step takes the gradient where it stands, and each row keeps its own point", lambda: np.allclose(
        answer(gradient, start.copy(), 0.1, 20), exact(20)
    ), [
        "Print all rows of 20 steps. Are some of them equal?",
        "`theta -= …` changes the very array that you have stored; and the gradient is taken at the newest point.",
        "points[t + 1] = points[t] - learning_rate * gradient(points[t])",
    ])  # fmt: skip

    def kept() -> bool:
        own = start.copy()
        answer(gradient, own, 0.1, 5)
        return np.array_equal(own, start)

    yield ("the start stays as it was", kept, [
        "Look at `start` after the call.",
        "Does an operation in place (`-=`) work on the caller's array?",
        "Copy it: points[0] = start copies into your own array.",
    ])  # fmt: skip
    yield ("no step gives the start alone", lambda: np.array_equal(answer(gradient, start.copy(), 0.1, 0), start[None]), [
        "Try steps=0.",
        "The result has shape (1, d) then.",
        "A loop over range(steps) does nothing for 0: what did you return before it?",
    ])  # fmt: skip

    def keeps_all() -> bool:
        long, diverging = answer(gradient, start.copy(), 0.1, 200), answer(gradient, start.copy(), 1.0, 20)
        failed = answer(lambda theta: np.array([np.nan, 1.0]), start.copy(), 0.1, 2)
        grown = [(1 - curvature) ** t * start for t in range(21)]
        return (
            np.shape(long) == (201, 2) and np.allclose(diverging, grown)
            and bool(np.isnan(failed[1:, 0]).all()) and np.allclose(failed[:, 1], [-1.0, -1.1, -1.2])
        )  # fmt: skip

    yield ("a path that stands still, diverges or meets a NaN keeps all its points", keeps_all, [
        "You want to see the step at which a training went wrong. Does your path still show it?",
        "No early end, no clipped gradient, no np.nan_to_num.",
        "for step in range(steps): points[step + 1] = points[step] - learning_rate * gradient(points[step])",
    ])  # fmt: skip
    yield ("the dtype is the start's", lambda: all(
        answer(lambda theta: np.ones(3, np.float64), np.zeros(3, kind), 0.1, 2).dtype == kind for kind in (np.float32, np.float64)
    ), [
        "Start in float32: what is the dtype of your result?",
        "A gradient in float64 makes float64 of the sum.",
        "Assign into an array of start.dtype, or end with .astype(start.dtype).",
    ])  # fmt: skip

    def calls() -> int:
        seen = []
        answer(lambda theta: seen.append(1) or theta, start.copy(), 0.1, 7)
        return len(seen)

    yield ("the gradient is computed once a step", lambda: calls() == 7, [
        "In training the gradient is the expensive part. How often do you call it?",
        "Seven steps need seven gradients.",
        "Keep it in a variable if you need it twice; the last point needs none.",
    ])  # fmt: skip


@EXERCISES.add("03.2", "A batch in pieces")
def batch_in_pieces(answer: Callable) -> Iterator[Property]:
    """answer([(gradient, count), ...]) -> gradient of the whole batch."""
    of_each = np.random.default_rng(0).normal(size=(256, 3, 2))

    def cut(*counts: int) -> list[tuple[np.ndarray, int]]:
        ends = np.cumsum(counts)
        return [(of_each[end - n : end].mean(axis=0), n) for end, n in zip(ends, counts)]

    def agrees(pieces: object, n: int) -> bool:
        found = answer(pieces)
        return np.shape(found) == (3, 2) and np.allclose(found, of_each[:n].mean(axis=0), rtol=1e-12, atol=1e-14)

    yield ("equal pieces give the whole batch's gradient", lambda: agrees(cut(64, 64, 64, 64), 256), [
        "Take the mean loss of 256 examples as a sum of four parts: what does each part contribute?",
        "It is a mean, not a sum, of the pieces' gradients here.",
        "Add gradient * count, and divide by the number of all examples.",
    ])  # fmt: skip
    yield ("a gradient may be a single number, an array of shape ()", lambda: (
        np.shape(answer([(np.array(2.0), 1), (np.array(5.0), 2)])) == ()
        and math.isclose(float(answer([(np.array(2.0), 1), (np.array(5.0), 1)])), 3.5)
    ), [
        "Try gradients of shape (): np.array(2.0) and np.array(5.0).",
        "Does np.atleast_1d or a fixed axis change the shape?",
        "total = 0.0, then total = total + np.asarray(gradient, np.float64) * count keeps any shape.",
    ])  # fmt: skip
    yield ("unequal pieces do, too", lambda: agrees(cut(60, 60, 60, 60, 16), 256) and agrees(cut(1, 255), 256), [
        "Four pieces of 60 and one of 16: how much should one example of the last piece weigh?",
        "A mean of means weighs pieces; you want to weigh examples.",
        "total += gradient * count; examples += count; return total / examples",
    ])  # fmt: skip
    yield ("any iterable will do, a generator too", lambda: agrees((piece for piece in cut(100, 56)), 156) and agrees(cut(7), 7), [
        "Pieces come one at a time, so that they need not all be in memory.",
        "A generator has no length and can be gone through once.",
        "One loop that keeps a sum and a count.",
    ])  # fmt: skip
    empty = np.full((3, 2), np.nan)
    yield ("a piece without examples does not count, even if it holds NaN", lambda: agrees([(empty, 0), *cut(20, 30), (empty, 0)], 50), [
        "The mean of no examples is NaN. What is NaN * 0?",
        "Multiplying by 0 does not remove a NaN.",
        "if count == 0: continue",
    ])  # fmt: skip

    def shows_a_failure() -> bool:
        found = np.asarray(answer([(np.array([1.0, np.nan]), 3), (np.array([5.0, 1.0]), 1)]))
        return bool(np.isnan(found[1])) and math.isclose(found[0], 2)

    yield ("a NaN of a piece that counts stays in the result", shows_a_failure, [
        "A piece of three examples failed: its gradient holds a NaN. What should the training see?",
        "np.nan_to_num and np.nansum hide the failure and change the gradient.",
        "Skip a piece for its count alone: if count == 0: continue",
    ])  # fmt: skip
    sharp = [(np.float32([1e8]), 1), (np.float32([1.0]), 1), (np.float32([-1e8]), 1)]

    def in_float64() -> bool:
        found = answer(sharp)
        return found.dtype == np.float64 and abs(float(found[0]) - 1 / 3) < 1e-6

    yield ("float32 gradients are added up in float64", in_float64, [
        "Try the float32 gradients 1e8, 1 and −1e8, of one example each.",
        "float32 cannot hold 100,000,001.",
        "np.asarray(gradient, np.float64) before you multiply and add.",
    ])  # fmt: skip

    def kept() -> bool:
        first, second = np.ones(3), np.full(3, 2.0)
        answer([(first, 2), (second, 3)])
        return np.array_equal(first, np.ones(3)) and np.array_equal(second, np.full(3, 2.0))

    yield ("the pieces' gradients stay as they were", kept, [
        "Look at the first piece's array after the call.",
        "`total = gradient` followed by `total += …` changes the caller's array.",
        "total = total + gradient * count makes a new one.",
    ])  # fmt: skip
    yield ("no example at all is refused", lambda: raises(ValueError, answer, []) and raises(ValueError, answer, [(empty, 0)]), [
        "What is the mean of nothing?",
        "An empty list, and a list of empty pieces: both have no example.",
        "if examples == 0: raise ValueError(…)",
    ])  # fmt: skip


@EXERCISES.add("03.3", "Adam, resumed")
def adam_resumed(answer: Callable) -> Iterator[Property]:
    """answer(theta, gradient, state, learning_rate=1e-3, beta1=0.9, beta2=0.999, epsilon=1e-8, decay=0.01) -> (theta, state)."""

    def reference(theta: float, gradients: list[float], a: float, b1: float, b2: float, e: float, w: float) -> float:
        """The same in plain floats, from the sums rather than the recursions."""
        for t in range(1, len(gradients) + 1):
            m = (1 - b1) * math.fsum(b1 ** (t - i) * gradients[i - 1] for i in range(1, t + 1)) / (1 - b1**t)
            s = (1 - b2) * math.fsum(b2 ** (t - i) * gradients[i - 1] ** 2 for i in range(1, t + 1)) / (1 - b2**t)
            theta = theta - a * w * theta - a * m / (math.sqrt(s) + e)
        return theta

    def walked(theta: np.ndarray, gradients: np.ndarray, **settings: float) -> np.ndarray:
        state = None
        for gradient in gradients:
            theta, state = answer(theta, gradient, state, **settings)
        return theta

    def agrees(
        steps: int, a: float = 1e-3, b1: float = 0.9, b2: float = 0.999, e: float = 1e-8, w: float = 0.01
    ) -> bool:
        random = np.random.default_rng(0)
        theta, gradients = random.normal(size=4), random.normal(size=(steps, 4)) * np.array([1e-3, 1, 10, 1e-9])
        found = walked(theta.copy(), gradients, learning_rate=a, beta1=b1, beta2=b2, epsilon=e, decay=w)
        expected = [reference(theta[i], gradients[:, i].tolist(), a, b1, b2, e, w) for i in range(4)]
        return np.shape(found) == (4,) and np.allclose(found, expected, rtol=1e-10, atol=1e-13)

    yield ("without decay, the first step moves each weight by the learning rate against its gradient", lambda: np.allclose(
        answer(np.zeros(2), np.array([3.0, -0.01]), None, learning_rate=0.1, decay=0.0)[0], [-0.1, 0.1], rtol=1e-4
    ), [
        "At the first step m̂ is the gradient and ŝ its square. What is their quotient?",
        "Without the division by 1 − β^t the first step has another length.",
        "t starts at 1: m_hat = m / (1 - beta1**t), s_hat = s / (1 - beta2**t)",
    ])  # fmt: skip
    yield ("without decay, twenty steps are Adam's", lambda: agrees(20, e=0.0, w=0.0) and agrees(20, a=0.1, b1=0.5, b2=0.9, e=0.0, w=0.0), [
        "Does the state carry m, s and the number of steps from one call to the next?",
        "Are the corrections applied to copies? m and s themselves go on uncorrected.",
        "m = beta1 * m + (1 - beta1) * gradient; s = beta2 * s + (1 - beta2) * gradient**2; return …, (t, m, s)",
    ])  # fmt: skip
    yield ("epsilon is added to the root, not under it", lambda: agrees(5, e=1e-3, w=0.0), [
        "Try epsilon=1e-3, and gradients that are smaller than it.",
        "√(s + ε) and √s + ε differ for small s.",
        "np.sqrt(s_hat) + epsilon",
    ])  # fmt: skip
    yield ("the decay shrinks the weights and leaves the gradient alone", lambda: agrees(20, a=0.1, w=0.5) and agrees(1, a=0.1, w=0.1), [
        "Try a large decay, 0.5. Does it reach m and s?",
        "decay * theta added to the gradient would be divided by the root of s.",
        "(1 - learning_rate * decay) * theta - learning_rate * m_hat / (np.sqrt(s_hat) + epsilon)",
    ])  # fmt: skip
    ones = np.ones((2, 3))
    yield ("a gradient of 0 decays the weights and makes no NaN", lambda: np.allclose(
        answer(ones, 0 * ones, None, learning_rate=0.1, decay=0.5)[0], 0.95 * ones
    ), [
        "Which division does a gradient of 0 lead to?",
        "ε is there for this case.",
        "0 / (0 + epsilon) is 0.",
    ])  # fmt: skip

    def shows_a_failure() -> bool:
        theta, state = answer(np.ones(3), np.array([1.0, np.nan, -1.0]), None, learning_rate=0.1, decay=0.0)
        return np.allclose(theta, [0.9, np.nan, 1.1], equal_nan=True)

    yield ("a NaN in the gradient makes its weight NaN, and no other", shows_a_failure, [
        "One weight's gradient is NaN. What would PyTorch's AdamW make of this weight?",
        "np.nan_to_num hides a failed training: the weight stands still instead.",
        "Use the gradient as it came: m = beta1 * m + (1 - beta1) * gradient",
    ])  # fmt: skip

    def resumes() -> bool:
        random = np.random.default_rng(1)
        gradients = random.normal(size=(6, 3))
        theta, state = np.zeros(3), None
        for gradient in gradients[:3]:
            theta, state = answer(theta, gradient, state)
        ends = []
        for _ in range(2):  # twice from one and the same checkpoint
            resumed, own = theta, state
            for gradient in gradients[3:]:
                resumed, own = answer(resumed, gradient, own)
            ends.append(resumed)
        return np.array_equal(*ends) and np.allclose(ends[0], walked(np.zeros(3), gradients), rtol=1e-12)

    yield ("a checkpoint can be resumed twice, with the same end", resumes, [
        "Go on twice from the state after three steps. Why does the second run differ?",
        "A state that is changed in place is no checkpoint any more; nor is one kept in a global.",
        "m = beta1 * m + … makes a new array, m *= beta1 does not; return a new tuple.",
    ])  # fmt: skip

    def kept() -> bool:
        theta, gradient = np.ones(3), np.ones(3)
        answer(theta, gradient, None)
        return np.array_equal(theta, np.ones(3)) and np.array_equal(gradient, np.ones(3))

    yield ("weights and gradient stay as they were", kept, [
        "Look at theta after the call.",
        "`theta -= …` and `theta *= …` work on the caller's array.",
        "Compute a new array and return it.",
    ])  # fmt: skip
    yield ("float32 weights stay float32, whatever the shape", lambda: all(
        (lambda found: found.dtype == np.float32 and found.shape == shape)(
            answer(np.ones(shape, np.float32), np.ones(shape, np.float32), None)[0]
        )
        for shape in ((2, 3), (0,), (1,))
    ), [
        "Which dtype do np.zeros(…) and np.float64 numbers bring in?",
        "np.zeros_like(theta) has theta's shape and dtype.",
        "moved.astype(theta.dtype)",
    ])  # fmt: skip


@EXERCISES.add("03.4", "Read a range test")
def read_a_range_test(answer: Callable) -> Iterator[Property]:
    """answer(rates, losses, window=9) -> learning rate."""

    def near(found: object, expected: float) -> bool:
        return isinstance(found, (float, np.floating)) and math.isclose(found, expected, rel_tol=1e-6)

    rates = np.geomspace(1e-3, 10, 41)
    bowl = (np.arange(41) - 25.0) ** 2 / 100 + 0.5
    yield ("for smooth losses it is a third of the rate with the lowest one", lambda: (
        near(answer(rates, bowl), rates[25] / 3) and near(answer(rates, bowl, 1), rates[25] / 3)
    ), [
        "Try losses that fall to step 25 and rise again: a third of rates[25].",
        "The mean of losses i to i + 8 belongs to the step in the middle, i + 4.",
        "rates[smooth.argmin() + window // 2] / 3",
    ])  # fmt: skip
    lucky = bowl.copy()
    lucky[6] = 0.01
    yield ("one lucky batch does not decide", lambda: near(answer(rates, lucky), rates[25] / 3) and near(
        answer(rates, lucky, 1), rates[6] / 3
    ), [
        "One batch early in the test has a loss of 0.01. Is that a good learning rate?",
        "Compare means of `window` losses. With a window of 1 there is nothing to smooth.",
        "smooth = np.array([losses[i : i + window].mean() for i in range(len(losses) - window + 1)])",
    ])  # fmt: skip
    falling = 1 / np.arange(1.0, 42)
    yield ("where the losses fall to the end, it is the last step with a whole window", lambda: (
        near(answer(rates, falling), rates[36] / 3) and near(answer(rates, falling, 3), rates[39] / 3)
        and near(answer(rates, falling[::-1]), rates[4] / 3) and near(answer(rates[:9], falling[:9]), rates[4] / 3)
    ), [
        "Try losses that only fall. How many steps have a whole window around them?",
        "Zeros added at the ends (np.convolve's mode=\"same\") look like low losses. They are none.",
        "np.convolve(losses, np.ones(window) / window, mode=\"valid\") has len(losses) - window + 1 entries.",
    ])  # fmt: skip

    def ends_in(*values: float) -> np.ndarray:
        return np.r_[bowl[:35], values, np.zeros(41 - 35 - len(values))]

    yield ("after the first inf or nan no loss counts", lambda: all(
        near(answer(rates, ends_in(value)), rates[25] / 3) and near(answer(rates, ends_in(value), 1), rates[25] / 3)
        for value in (np.inf, np.nan, -np.inf)
    ), [
        "After an explosion a loss of 0 proves nothing. Which losses count?",
        "np.nanargmin and losses[np.isfinite(losses)] jump over the explosion and go on behind it.",
        "finite = np.isfinite(losses); count = len(losses) if finite.all() else int(finite.argmin())",
    ])  # fmt: skip
    level = np.array([4.0, 2.0, 3.0, 2.0, 5.0])
    yield ("of two that are equally low the smaller rate counts", lambda: near(answer(rates[:5], level, 1), rates[1] / 3), [
        "Two steps have the same lowest loss. Which rate is the safer one?",
        "argmin returns the first of several. Did you turn the array round?",
        "smooth.argmin()",
    ])  # fmt: skip
    coarse = np.r_[np.full(30, 60_000), np.full(9, 50_000), np.full(2, 60_000)].astype(np.float16)
    yield ("float16 and float32 losses are averaged without overflow", lambda: (
        near(answer(rates, coarse), rates[34] / 3)
        and near(answer(rates.astype(np.float32), bowl.astype(np.float32)), rates[25] / 3)
    ), [
        "Nine float16 losses of 60,000: what is their sum in float16?",
        "float16 ends at 65,504.",
        "losses.astype(np.float64) before you take means.",
    ])  # fmt: skip
    yield ("fewer losses than the window are refused", lambda: (
        raises(ValueError, answer, rates[:8], bowl[:8]) and raises(ValueError, answer, rates[:0], bowl[:0])
        and raises(ValueError, answer, rates, np.r_[bowl[:8], np.nan, bowl[9:]])
        and raises(ValueError, answer, rates, np.full(41, np.inf), 1)
    ), [
        "Eight losses and a window of nine: which step has a whole window?",
        "Count the finite losses at the start, and not the length of the array.",
        "if count < window: raise ValueError(…)",
    ])  # fmt: skip

    def kept() -> bool:
        own_rates, own = rates.copy(), ends_in(np.nan)
        answer(own_rates, own)
        return np.array_equal(own_rates, rates) and np.array_equal(own, ends_in(np.nan), equal_nan=True)

    yield ("rates and losses stay as they were", kept, [
        "Look at both arrays after the call.",
        "Did you write into `losses`, for example to replace a nan?",
        "Work on a copy: losses[:count].astype(np.float64)",
    ])  # fmt: skip
