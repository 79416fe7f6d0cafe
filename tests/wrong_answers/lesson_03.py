"""Wrong answers that people write, planted in lesson 03: each must be caught at the property named."""

import numpy as np


def without_the_start(gradient, start, step_size, steps):
    points, theta = [], start
    for _ in range(steps):
        theta = theta - step_size * gradient(theta)
        points.append(theta)
    return np.array(points)


def uphill(gradient, start, step_size, steps):
    points = [start]
    for _ in range(steps):
        points.append(points[-1] + step_size * gradient(points[-1]))
    return np.array(points)


def one_array_many_times(gradient, start, step_size, steps):
    theta = start.copy()
    points = [start]
    for step in range(steps):
        theta -= step_size * gradient(theta)
        points.append(theta if step else theta)
    return np.array(points)


def gradient_of_the_start(gradient, start, step_size, steps):
    slope = gradient(start)
    return np.array([start - t * step_size * slope for t in range(steps + 1)])


def writes_into_the_start(gradient, start, step_size, steps):
    points = [start.copy()]
    for _ in range(steps):
        start -= step_size * gradient(start)
        points.append(start.copy())
    return np.array(points)


def always_a_step(gradient, start, step_size, steps):
    points = [start, start - step_size * gradient(start)]
    while len(points) < steps + 1:
        points.append(points[-1] - step_size * gradient(points[-1]))
    return np.array(points)


def float64_always(gradient, start, step_size, steps):
    points = [start.astype(float)]
    for _ in range(steps):
        points.append(points[-1] - step_size * gradient(points[-1]))
    return np.array(points)


def a_gradient_too_many(gradient, start, step_size, steps):
    points, slope = [start], gradient(start)
    for _ in range(steps):
        points.append(points[-1] - step_size * slope)
        slope = gradient(points[-1])
    return np.array(points, start.dtype)


def power_iteration(gradient, theta, iterations, r, rounds=None, here=None):
    here = gradient(theta) if here is None else here
    L = 1.0
    for _ in range(rounds or iterations):
        r = r / np.linalg.norm(r)
        r = gradient(theta + r) - here
        L = float(np.linalg.norm(r))
        if L == 0:
            return float("inf")
    return 2 / L


def random_start(theta):
    return np.random.default_rng(0).normal(size=len(theta))


def one_over_L(gradient, theta, iterations=200):
    return power_iteration(gradient, theta, iterations, random_start(theta)) / 2


def one_gradient_only(gradient, theta, iterations=200):
    return power_iteration(gradient, theta, iterations, random_start(theta), here=0.0)


def from_the_first_axis(gradient, theta, iterations=200):
    return power_iteration(gradient, theta, iterations, np.eye(len(theta))[0])


def from_ones(gradient, theta, iterations=200):
    return power_iteration(gradient, theta, iterations, np.ones(len(theta)))


def with_an_epsilon(gradient, theta, iterations=200):
    return 2 / (2 / power_iteration(gradient, theta, iterations, random_start(theta)) + 1e-6)


def ten_rounds(gradient, theta, iterations=200):
    return power_iteration(gradient, theta, iterations, random_start(theta), rounds=10)


def two_gradients_a_round(gradient, theta, iterations=200):
    r, L = random_start(theta), 1.0
    for _ in range(iterations):
        r = r / np.linalg.norm(r)
        r = gradient(theta + r) - gradient(theta)
        L = float(np.linalg.norm(r))
        if L == 0:
            return float("inf")
    return 2 / L


def divides_by_no_curvature(gradient, theta, iterations=200):
    here, r = gradient(theta), random_start(theta)
    for _ in range(iterations):
        with np.errstate(invalid="ignore", divide="ignore"):
            r = r / np.linalg.norm(r)
        r = gradient(theta + r) - here
    with np.errstate(invalid="ignore", divide="ignore"):
        return float(2 / np.linalg.norm(r))


def moves_theta(gradient, theta, iterations=200):
    here, r = gradient(theta), random_start(theta)
    L = 0.0
    for _ in range(iterations):
        r = r / np.linalg.norm(r)
        theta += r
        product = gradient(theta) - here
        theta -= r
        r, L = product, float(np.linalg.norm(product))
        if L == 0:
            return float("inf")
    theta += 1e-3
    return 2 / L


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
    total, examples = np.zeros(1), 0
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


def uncorrected(theta, gradient, state, step_size=1e-3, beta1=0.9, beta2=0.999, epsilon=1e-8, decay=0.01):
    return adamw(theta, gradient, state, step_size, beta1, beta2, epsilon, decay, correct=False)


def always_the_first_step(theta, gradient, state, step_size=1e-3, beta1=0.9, beta2=0.999, epsilon=1e-8, decay=0.01):
    return adamw(theta, gradient, state, step_size, beta1, beta2, epsilon, decay, restart=True)


def forgets_the_state(theta, gradient, state, step_size=1e-3, beta1=0.9, beta2=0.999, epsilon=1e-8, decay=0.01):
    return adamw(theta, gradient, None, step_size, beta1, beta2, epsilon, decay)


def epsilon_under_the_root(theta, gradient, state, step_size=1e-3, beta1=0.9, beta2=0.999, epsilon=1e-8, decay=0.01):
    return adamw(theta, gradient, state, step_size, beta1, beta2, epsilon, decay, inside=True)


def decay_in_the_gradient(theta, gradient, state, step_size=1e-3, beta1=0.9, beta2=0.999, epsilon=1e-8, decay=0.01):
    return adamw(theta, gradient, state, step_size, beta1, beta2, epsilon, decay, coupled=True)


def no_step_without_a_gradient(
    theta, gradient, state, step_size=1e-3, beta1=0.9, beta2=0.999, epsilon=1e-8, decay=0.01
):
    if not np.any(gradient):
        return theta, state
    return adamw(theta, gradient, state, step_size, beta1, beta2, epsilon, decay)


def state_in_place(theta, gradient, state, step_size=1e-3, beta1=0.9, beta2=0.999, epsilon=1e-8, decay=0.01):
    state = state if state is not None else [0, np.zeros_like(theta), np.zeros_like(theta)]
    moved, state[:] = adamw(theta, gradient, tuple(state), step_size, beta1, beta2, epsilon, decay)
    return moved, state


def weights_in_place(theta, gradient, state, step_size=1e-3, beta1=0.9, beta2=0.999, epsilon=1e-8, decay=0.01):
    moved, state = adamw(theta, gradient, state, step_size, beta1, beta2, epsilon, decay)
    if theta.size == 3 and state[0] == 1 and np.all(theta == 1):
        theta[:] = moved
    return moved, state


def in_float64(theta, gradient, state, step_size=1e-3, beta1=0.9, beta2=0.999, epsilon=1e-8, decay=0.01):
    return adamw(theta.astype(float), gradient, state, step_size, beta1, beta2, epsilon, decay)


WRONG = {
    "03.1": {
        without_the_start: "three steps give four rows, the first of them the start",
        uphill: "one step goes down, against the gradient",
        one_array_many_times: "each step takes the gradient where it stands, and each row keeps its own point",
        gradient_of_the_start: "each step takes the gradient where it stands, and each row keeps its own point",
        writes_into_the_start: "the start stays as it was",
        always_a_step: "no step gives the start alone",
        float64_always: "the dtype is the start's",
        a_gradient_too_many: "the gradient is computed once a step",
    },
    "03.2": {
        one_over_L: "curvatures 4 and 1 allow steps up to 0.5",
        one_gradient_only: "it does not matter where it stands",
        from_the_first_axis: "any single direction may be the steepest",
        from_ones: "any single direction may be the steepest",
        with_an_epsilon: "tiny and huge curvatures are found alike",
        ten_rounds: "a thousand directions, some of them flat",
        two_gradients_a_round: "it takes one gradient a round and one more",
        divides_by_no_curvature: "without any curvature every step is safe",
        moves_theta: "theta stays as it was",
    },
    "03.3": {
        summed: "equal pieces give the whole batch's gradient",
        mean_of_means: "unequal pieces do, too",
        goes_through_twice: "any iterable will do, a generator too",
        nan_times_zero: "a piece without examples does not count, even if it holds NaN",
        keeps_float32: "float32 gradients are added up in float64",
        adds_into_the_first: "the pieces' gradients stay as they were",
        divides_by_no_example: "no example at all is refused",
    },
    "03.4": {
        uncorrected: "without decay, the first step moves each weight by the step size against its gradient",
        always_the_first_step: "without decay, twenty steps are Adam's",
        forgets_the_state: "without decay, twenty steps are Adam's",
        epsilon_under_the_root: "epsilon is added to the root, not under it",
        decay_in_the_gradient: "the decay shrinks the weights and leaves the gradient alone",
        no_step_without_a_gradient: "a gradient of 0 decays the weights and makes no NaN",
        state_in_place: "a checkpoint can be resumed twice, with the same end",
        weights_in_place: "weights and gradient stay as they were",
        in_float64: "float32 weights stay float32, whatever the shape",
    },
}
