"""Wrong answers that people write, planted in lesson 03: each must be caught at the property named."""

import numpy as np


def without_the_start(gradient, start, learning_rate, steps):
    points, theta = [], start
    for _ in range(steps):
        theta = theta - learning_rate * gradient(theta)
        points.append(theta)
    return np.array(points)


def uphill(gradient, start, learning_rate, steps):
    points = [start]
    for _ in range(steps):
        points.append(points[-1] + learning_rate * gradient(points[-1]))
    return np.array(points)


def one_array_many_times(gradient, start, learning_rate, steps):
    theta = start.copy()
    points = [start]
    for step in range(steps):
        theta -= learning_rate * gradient(theta)
        points.append(theta if step else theta)
    return np.array(points)


def gradient_of_the_start(gradient, start, learning_rate, steps):
    slope = gradient(start)
    return np.array([start - t * learning_rate * slope for t in range(steps + 1)])


def writes_into_the_start(gradient, start, learning_rate, steps):
    points = [start.copy()]
    for _ in range(steps):
        start -= learning_rate * gradient(start)
        points.append(start.copy())
    return np.array(points)


def always_a_step(gradient, start, learning_rate, steps):
    points = [start, start - learning_rate * gradient(start)]
    while len(points) < steps + 1:
        points.append(points[-1] - learning_rate * gradient(points[-1]))
    return np.array(points)


def stops_when_it_stands_still(gradient, start, learning_rate, steps):
    points = [start]
    for _ in range(steps):
        moved = points[-1] - learning_rate * gradient(points[-1])
        if np.allclose(moved, points[-1], atol=1e-6):
            break
        points.append(moved)
    return np.array(points, start.dtype)


def clips_the_gradient(gradient, start, learning_rate, steps):
    points = [start]
    for _ in range(steps):
        points.append(points[-1] - learning_rate * np.clip(gradient(points[-1]), -10, 10))
    return np.array(points, start.dtype)


def float64_always(gradient, start, learning_rate, steps):
    points = [start.astype(float)]
    for _ in range(steps):
        points.append(points[-1] - learning_rate * gradient(points[-1]))
    return np.array(points)


def a_gradient_too_many(gradient, start, learning_rate, steps):
    points, slope = [start], gradient(start)
    for _ in range(steps):
        points.append(points[-1] - learning_rate * slope)
        slope = gradient(points[-1])
    return np.array(points, start.dtype)


def at_least_one_axis(pieces):
    kept = [(np.asarray(gradient, np.float64), count) for gradient, count in pieces if count]
    if not kept:
        raise ValueError
    return np.atleast_1d(sum(gradient * count for gradient, count in kept) / sum(count for _, count in kept))


def summed(pieces):
    return sum(gradient for gradient, _ in pieces)


def mean_of_means(pieces):
    return np.mean([gradient for gradient, _ in pieces], axis=0)


def goes_through_twice(pieces):
    examples = sum(count for _, count in pieces)
    return sum(gradient * count for gradient, count in pieces) / examples


def nan_times_zero(pieces):
    total, examples = 0.0, 0
    for gradient, count in pieces:
        total, examples = total + np.asarray(gradient, np.float64) * count, examples + count
    return total / examples


def hides_nan(pieces):
    total, examples = 0.0, 0
    for gradient, count in pieces:
        total = total + np.nan_to_num(np.asarray(gradient, np.float64)) * count
        examples += count
    if not examples:
        raise ValueError
    return np.asarray(total / examples)


def skips_what_holds_nan(pieces):
    total, examples = 0.0, 0
    for gradient, count in pieces:
        if count and np.isfinite(gradient).all():
            total, examples = total + np.asarray(gradient, np.float64) * count, examples + count
    if not examples:
        raise ValueError
    return np.asarray(total / examples)


def keeps_float32(pieces):
    total, examples = None, 0
    for gradient, count in pieces:
        if count:
            total = gradient * count if total is None else total + gradient * count
            examples += count
    return total / examples


def adds_into_the_first(pieces):
    total, examples = None, 0
    for gradient, count in pieces:
        if count:
            gradient = np.asarray(gradient, np.float64)
            gradient *= count
            total = gradient if total is None else total + gradient
            examples += count
    if not examples:
        raise ValueError
    return total / examples


def divides_by_no_example(pieces):
    total, examples = 0.0, 0
    for gradient, count in pieces:
        if count:
            total = total + np.asarray(gradient, np.float64) * count
            examples += count
    with np.errstate(invalid="ignore"):
        return np.asarray(total / np.float64(examples))


def adamw(theta, gradient, state, a, b1, b2, e, w, *, correct=True, inside=False, coupled=False, restart=False):
    t, m, s = state if state is not None else (0, np.zeros_like(theta), np.zeros_like(theta))
    g = gradient + w * theta if coupled else gradient
    t, m, s = t + 1, b1 * m + (1 - b1) * g, b2 * s + (1 - b2) * g**2
    m_hat, s_hat = (m / (1 - b1**t), s / (1 - b2**t)) if correct else (m, s)
    root = np.sqrt(s_hat + e) if inside else np.sqrt(s_hat) + e
    shrunk = theta if coupled else (1 - a * w) * theta
    return shrunk - a * m_hat / root, (0 if restart else t, m, s)


def uncorrected(theta, gradient, state, learning_rate=1e-3, beta1=0.9, beta2=0.999, epsilon=1e-8, decay=0.01):
    return adamw(theta, gradient, state, learning_rate, beta1, beta2, epsilon, decay, correct=False)


def always_the_first_step(theta, gradient, state, learning_rate=1e-3, beta1=0.9, beta2=0.999, epsilon=1e-8, decay=0.01):
    return adamw(theta, gradient, state, learning_rate, beta1, beta2, epsilon, decay, restart=True)


def forgets_the_state(theta, gradient, state, learning_rate=1e-3, beta1=0.9, beta2=0.999, epsilon=1e-8, decay=0.01):
    return adamw(theta, gradient, None, learning_rate, beta1, beta2, epsilon, decay)


def epsilon_under_the_root(
    theta, gradient, state, learning_rate=1e-3, beta1=0.9, beta2=0.999, epsilon=1e-8, decay=0.01
):
    return adamw(theta, gradient, state, learning_rate, beta1, beta2, epsilon, decay, inside=True)


def decay_in_the_gradient(theta, gradient, state, learning_rate=1e-3, beta1=0.9, beta2=0.999, epsilon=1e-8, decay=0.01):
    return adamw(theta, gradient, state, learning_rate, beta1, beta2, epsilon, decay, coupled=True)


def no_step_without_a_gradient(
    theta, gradient, state, learning_rate=1e-3, beta1=0.9, beta2=0.999, epsilon=1e-8, decay=0.01
):
    if not np.any(gradient):
        return theta, state
    return adamw(theta, gradient, state, learning_rate, beta1, beta2, epsilon, decay)


def nan_as_zero(theta, gradient, state, learning_rate=1e-3, beta1=0.9, beta2=0.999, epsilon=1e-8, decay=0.01):
    return adamw(theta, np.nan_to_num(gradient), state, learning_rate, beta1, beta2, epsilon, decay)


def state_in_place(theta, gradient, state, learning_rate=1e-3, beta1=0.9, beta2=0.999, epsilon=1e-8, decay=0.01):
    state = state if state is not None else [0, np.zeros_like(theta), np.zeros_like(theta)]
    moved, state[:] = adamw(theta, gradient, tuple(state), learning_rate, beta1, beta2, epsilon, decay)
    return moved, state


def weights_in_place(theta, gradient, state, learning_rate=1e-3, beta1=0.9, beta2=0.999, epsilon=1e-8, decay=0.01):
    moved, state = adamw(theta, gradient, state, learning_rate, beta1, beta2, epsilon, decay)
    if theta.size == 3 and state[0] == 1 and np.all(theta == 1):
        theta[:] = moved
    return moved, state


def in_float64(theta, gradient, state, learning_rate=1e-3, beta1=0.9, beta2=0.999, epsilon=1e-8, decay=0.01):
    return adamw(theta.astype(float), gradient, state, learning_rate, beta1, beta2, epsilon, decay)


def smoothed(losses, window):
    return np.convolve(np.asarray(losses, float), np.ones(window) / window, mode="valid")


def finite_start(losses, window):
    finite = np.isfinite(losses)
    count = len(losses) if finite.all() else int(finite.argmin())
    if count < window:
        raise ValueError
    return losses[:count]


def without_the_shift(rates, losses, window=9):
    return float(rates[smoothed(finite_start(losses, window), window).argmin()]) / 3


def the_lowest_itself(rates, losses, window=9):
    return float(rates[smoothed(finite_start(losses, window), window).argmin() + window // 2])


def the_lowest_batch(rates, losses, window=9):
    return float(rates[np.argmin(finite_start(losses, window))]) / 3


def zeros_at_the_ends(rates, losses, window=9):
    kept = np.asarray(finite_start(losses, window), float)
    return float(rates[np.convolve(kept, np.ones(window) / window, mode="same").argmin()]) / 3


def jumps_over_nan(rates, losses, window=9):
    finite = np.isfinite(losses)
    if finite.sum() < window:
        raise ValueError
    return float(rates[finite][smoothed(losses[finite], window).argmin() + window // 2]) / 3


def the_larger_of_two(rates, losses, window=9):
    smooth = smoothed(finite_start(losses, window), window)
    return float(rates[len(smooth) - 1 - smooth[::-1].argmin() + window // 2]) / 3


def sums_in_float16(rates, losses, window=9):
    kept = finite_start(losses, window)
    with np.errstate(over="ignore"):
        smooth = [np.add.reduce(kept[i : i + window]) / window for i in range(len(kept) - window + 1)]
    return float(rates[int(np.argmin(smooth)) + window // 2]) / 3


def takes_too_few(rates, losses, window=9):
    finite = np.isfinite(losses)
    count = len(losses) if finite.all() else int(finite.argmin())
    kept = np.asarray(losses[:count], float)
    window = min(window, count)
    return float(rates[smoothed(kept, window).argmin() + window // 2]) / 3 if count else float(rates[0]) / 3


def replaces_in_place(rates, losses, window=9):
    losses[np.isnan(losses)] = np.inf
    return float(rates[smoothed(finite_start(losses, window), window).argmin() + window // 2]) / 3


WRONG = {
    "03.1": {
        without_the_start: "three steps give four rows, the first of them the start",
        uphill: "one step goes down, against the gradient",
        one_array_many_times: "each step takes the gradient where it stands, and each row keeps its own point",
        gradient_of_the_start: "each step takes the gradient where it stands, and each row keeps its own point",
        writes_into_the_start: "the start stays as it was",
        always_a_step: "no step gives the start alone",
        stops_when_it_stands_still: "a path that stands still, diverges or meets a NaN keeps all its points",
        clips_the_gradient: "a path that stands still, diverges or meets a NaN keeps all its points",
        float64_always: "the dtype is the start's",
        a_gradient_too_many: "the gradient is computed once a step",
    },
    "03.2": {
        summed: "equal pieces give the whole batch's gradient",
        at_least_one_axis: "a gradient may be a single number, an array of shape ()",
        mean_of_means: "unequal pieces do, too",
        goes_through_twice: "any iterable will do, a generator too",
        nan_times_zero: "a piece without examples does not count, even if it holds NaN",
        hides_nan: "a NaN of a piece that counts stays in the result",
        skips_what_holds_nan: "a NaN of a piece that counts stays in the result",
        keeps_float32: "float32 gradients are added up in float64",
        adds_into_the_first: "the pieces' gradients stay as they were",
        divides_by_no_example: "no example at all is refused",
    },
    "03.3": {
        uncorrected: "without decay, the first step moves each weight by the learning rate against its gradient",
        always_the_first_step: "without decay, twenty steps are Adam's",
        forgets_the_state: "without decay, twenty steps are Adam's",
        epsilon_under_the_root: "epsilon is added to the root, not under it",
        decay_in_the_gradient: "the decay shrinks the weights and leaves the gradient alone",
        no_step_without_a_gradient: "a gradient of 0 decays the weights and makes no NaN",
        nan_as_zero: "a NaN in the gradient makes its weight NaN, and no other",
        state_in_place: "a checkpoint can be resumed twice, with the same end",
        weights_in_place: "weights and gradient stay as they were",
        in_float64: "float32 weights stay float32, whatever the shape",
    },
    "03.4": {
        without_the_shift: "for smooth losses it is a third of the rate with the lowest one",
        the_lowest_itself: "for smooth losses it is a third of the rate with the lowest one",
        the_lowest_batch: "one lucky batch does not decide",
        zeros_at_the_ends: "where the losses fall to the end, it is the last step with a whole window",
        jumps_over_nan: "after the first inf or nan no loss counts",
        the_larger_of_two: "of two that are equally low the smaller rate counts",
        sums_in_float16: "float16 and float32 losses are averaged without overflow",
        takes_too_few: "fewer losses than the window are refused",
        replaces_in_place: "rates and losses stay as they were",
    },
}
