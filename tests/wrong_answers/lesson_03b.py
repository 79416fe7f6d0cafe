"""Wrong answers that people write, planted in lesson 03b: each must be caught at the property named."""

import numpy as np


def another_order(x, W, h, dJ_dh):
    delta = dJ_dh * (1 - h**2)
    return x.T @ delta, delta.sum(axis=0), delta @ W.T


def without_the_slope(x, W, h, dJ_dh):
    return dJ_dh @ W.T, x.T @ dJ_dh, dJ_dh.sum(axis=0)


def slope_of_h_as_if_it_were_a(x, W, h, dJ_dh):
    delta = dJ_dh * (1 - np.tanh(h) ** 2)
    return delta @ W.T, x.T @ delta, delta.sum(axis=0)


def divides_by_n(x, W, h, dJ_dh):
    delta = dJ_dh * (1 - h**2)
    return delta @ W.T, x.T @ delta / len(x), delta.sum(axis=0)


def inputs_without_the_slope(x, W, h, dJ_dh):
    delta = dJ_dh * (1 - h**2)
    return dJ_dh @ W.T, x.T @ delta, delta.sum(axis=0)


def one_image_at_least(x, W, h, dJ_dh):
    delta = dJ_dh * (1 - h**2)
    dW, db = np.outer(x[0], delta[0]) if len(x) else np.zeros(0), delta.sum(axis=0)
    for n in range(1, len(x)):
        dW = dW + np.outer(x[n], delta[n])
    return delta @ W.T, dW, db


def in_place(x, W, h, dJ_dh):
    dJ_dh *= 1 - h**2
    return dJ_dh @ W.T, x.T @ dJ_dh, dJ_dh.sum(axis=0)


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


def one_over_lambda(gradient, theta, iterations=200):
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


def signal_last(small, small_batch, large, large_batch):
    return balanced(small, small_batch, large, large_batch)[::-1]


def balanced(small, small_batch, large, large_batch, mean=lambda each: float(np.mean(each, dtype=np.float64))):
    if small_batch == large_batch:
        raise ValueError
    of_small, of_large = mean(small), mean(large)
    noise = (of_small - of_large) / (1 / small_batch - 1 / large_batch)
    return of_small - noise / small_batch, noise


def large_batches_without_noise(small, small_batch, large, large_batch):
    of_small, of_large = float(np.mean(small)), float(np.mean(large))
    return of_large, (of_small - of_large) * small_batch


def squares_of_mean_lengths(small, small_batch, large, large_batch):
    return balanced(small, small_batch, large, large_batch, lambda each: float(np.sqrt(each).mean() ** 2))


def pairs_alone(small, small_batch, large, large_batch):
    count = min(len(small), len(large))
    return balanced(small[:count], small_batch, large[:count], large_batch)


def never_negative(small, small_batch, large, large_batch):
    signal, noise = balanced(small, small_batch, large, large_batch)
    return max(signal, 0.0), max(noise, 0.0)


def sizes_taken_as_sorted(small, small_batch, large, large_batch):
    low, high = sorted((small_batch, large_batch))
    return balanced(small, low, large, high)


def in_float16(small, small_batch, large, large_batch):
    return balanced(small, small_batch, large, large_batch, lambda each: float(np.add.reduce(each) / len(each)))


def infinite_noise(small, small_batch, large, large_batch):
    with np.errstate(divide="ignore", invalid="ignore"):
        of_small, of_large = (float(np.mean(each, dtype=np.float64)) for each in (small, large))
        noise = (of_small - of_large) / (np.float64(1 / small_batch) - 1 / large_batch)
        return float(of_small - noise / small_batch), float(noise)


def in_float32(small, small_batch, large, large_batch):
    return balanced(small, small_batch, large, large_batch, lambda each: float(np.mean(each, dtype=np.float32)))


def starts_at_theta(gradient, theta, iterations=200):
    here, curvature = gradient(theta), 0.0
    r = theta if theta.any() else np.random.default_rng(0).normal(size=len(theta))
    for _ in range(iterations):
        r = r / np.linalg.norm(r)
        product = gradient(theta + r) - here
        curvature = float(np.linalg.norm(product))
        if curvature == 0:
            return float("inf")
        r = product
    return 2 / curvature


WRONG = {
    "03b.1": {
        another_order: "with one input, one unit and h = 0 the gradients are 15, 10 and 5",
        without_the_slope: "the biases' gradient is that of differences",
        slope_of_h_as_if_it_were_a: "the biases' gradient is that of differences",
        divides_by_n: "the weights' gradient is that of differences",
        inputs_without_the_slope: "the inputs' gradient is that of differences",
        one_image_at_least: "no image gives gradients of zero in the right shapes",
        in_place: "the arrays stay as they were",
    },
    "03b.2": {
        signal_last: "squared lengths of 7 at B = 2 and 4 at B = 8 give signal 3 and noise 8",
        large_batches_without_noise: "squared lengths of 7 at B = 2 and 4 at B = 8 give signal 3 and noise 8",
        squares_of_mean_lengths: "many lengths are averaged as squares, and the numbers of both need not be equal",
        pairs_alone: "many lengths are averaged as squares, and the numbers of both need not be equal",
        sizes_taken_as_sorted: "the order of the two batch sizes does not matter",
        never_negative: "negative estimates stay negative",
        in_float16: "float16 lengths are averaged in float64",
        in_float32: "float16 lengths are averaged in float64",
        infinite_noise: "equal batch sizes are refused",
    },
    "03b.3": {
        one_over_lambda: "curvatures 4 and 1 allow learning rates up to 0.5",
        one_gradient_only: "it does not matter where it stands",
        from_the_first_axis: "any single direction may be the steepest",
        starts_at_theta: "any single direction may be the steepest",
        from_ones: "any single direction may be the steepest",
        with_an_epsilon: "tiny and huge curvatures are found alike",
        ten_rounds: "a thousand directions, some of them flat",
        two_gradients_a_round: "it takes one gradient a round and one more",
        divides_by_no_curvature: "without any curvature every learning rate is safe",
        moves_theta: "theta stays as it was",
    },
}
