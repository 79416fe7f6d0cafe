"""Right answers to lesson 04b's exercises that differ from the solutions."""

import math
import statistics
from itertools import product

import numpy as np
from scipy import stats


def by_the_statistics_module(accuracies, confidence=0.95):
    runs = [float(a) for a in accuracies]
    if len(runs) < 2 or confidence <= 0 or confidence >= 1:
        raise ValueError("two runs, and a confidence between 0 and 1")
    mean, s = statistics.fmean(runs), statistics.stdev(runs)
    reach = float(stats.t.isf((1 - confidence) / 2, len(runs) - 1)) * s * math.sqrt(1 + 1 / len(runs))
    return max(0.0, mean - reach), min(1.0, mean + reach)


def by_an_interval(accuracies, confidence=0.95):
    r = len(accuracies)
    if r < 2 or not 0 < confidence < 1:
        raise ValueError("two runs, and a confidence between 0 and 1")
    low, high = stats.t.interval(confidence, r - 1, loc=0, scale=1)
    scale = np.std(np.asarray(accuracies, float), ddof=1) * ((r + 1) / r) ** 0.5
    ends = np.mean(np.asarray(accuracies, float)) + np.array([low, high]) * scale
    return tuple(np.clip(ends, 0, 1).tolist())


def in_float32(accuracies, confidence=0.95):
    runs = np.float32(accuracies)
    if runs.size < 2 or not 0 < confidence < 1:
        raise ValueError("two runs, and a confidence between 0 and 1")
    reach = np.float32(stats.t.ppf((1 + confidence) / 2, runs.size - 1) * np.sqrt(1 + 1 / runs.size)) * runs.std(ddof=1)
    return [float(np.clip(runs.mean() - reach, 0, 1)), float(np.clip(runs.mean() + reach, 0, 1))]


def counts_ways(differences):
    r = len(differences)
    if r == 0:
        raise ValueError("no difference")
    values = [float(d) for d in differences]
    measured = abs(math.fsum(values)) / r
    ways = [abs(math.fsum(s * d for s, d in zip(signs, values))) / r for signs in product((-1, 1), repeat=r)]
    return sum(way > measured - 1e-12 for way in ways) / 2**r


def bits_as_signs(differences):
    values = np.array(differences, np.float64)
    if not values.size:
        raise ValueError("no difference")
    signs = np.where(np.arange(2**values.size)[:, None] >> np.arange(values.size) & 1, 1.0, -1.0)
    means = np.abs((signs * values).mean(axis=1))
    return float(np.count_nonzero(means + 1e-12 >= abs(values.mean())) / len(means))


def asks_scipy(differences):
    values = np.asarray(differences, np.float64)
    if values.size < 2:
        if not values.size:
            raise ValueError("no difference")
        return 1.0
    found = stats.permutation_test((values,), np.mean, permutation_type="samples", n_resamples=np.inf, vectorized=True)
    return float(found.pvalue)


def grows_the_sums(differences):
    if len(differences) == 0:
        raise ValueError("no difference")
    sums = np.zeros(1)
    for each in differences:
        sums = np.concatenate([sums + each, sums - each])
    means = np.abs(sums) / len(differences)
    return np.mean(means > means[0] - 1e-12).item()


def all_pairs(training, test, tolerance=0):
    if training.shape[1:] != test.shape[1:]:
        raise ValueError("two sizes")
    if not len(training):
        return np.full(len(test), -1, np.int64)
    apart = np.abs(training[None].astype(float) - test[:, None].astype(float)).max(axis=(2, 3))
    near = apart <= tolerance
    return np.where(near.any(axis=1), near.argmax(axis=1), -1).astype(np.int64)


def two_loops(training, test, tolerance=0):
    if training.shape[1:] != test.shape[1:]:
        raise ValueError("two sizes")
    found = []
    for image in test:
        hits = [i for i, known in enumerate(training)
                if np.abs(np.subtract(known, image, dtype=np.float64)).max() <= tolerance]  # fmt: skip
        found.append(hits[0] if hits else -1)
    return np.array(found, dtype=np.int64)


def both_directions(training, test, tolerance=0):
    if training.shape[1:] != test.shape[1:]:
        raise ValueError("two sizes")
    found = -np.ones(len(test), np.int64)
    for i, image in enumerate(test):
        apart = np.maximum(training, image).astype(float) - np.minimum(training, image)
        same = np.flatnonzero((apart <= tolerance).reshape(len(training), -1).all(axis=1)) if len(training) else ()
        if len(same):
            found[i] = same[0]
    return found


def larger_minus_smaller(training, test, tolerance=0):
    if training.shape[1:] != test.shape[1:]:
        raise ValueError("two sizes")
    found = np.full(len(test), -1)
    for i in reversed(range(len(training))):
        apart = np.where(training[i] > test, training[i] - test, test - training[i])  # no wrap-around in uint8
        found[(apart <= tolerance).all(axis=(1, 2))] = i
    return found


def a_dictionary_for_exact_copies(training, test, tolerance=0):
    if tolerance or training.shape[1:] != test.shape[1:]:
        return two_loops(training, test, tolerance)
    known = {}
    for i, image in enumerate(training):
        known.setdefault(image.tobytes(), i)
    return np.array([known.get(image.tobytes(), -1) for image in test], np.int64)


def bin_by_bin(probabilities, labels, bins=10):
    if len(probabilities) < 1 or bins < 1:
        raise ValueError("no example, or no bin")
    claims, right = probabilities.max(1), (probabilities.argmax(1) == labels).astype(float)
    edges, error = np.linspace(0, 1, bins + 1), 0.0
    for low, high in zip(edges[:-1], edges[1:]):
        inside = (claims > low) & (claims <= high)
        if inside.any():
            error += inside.mean() * abs(claims[inside].mean() - right[inside].mean())
    return float(error)


def by_ceil(probabilities, labels, bins=10):
    if not len(labels) or bins < 1:
        raise ValueError("no example, or no bin")
    claims = np.max(probabilities, axis=1).astype(float)
    right = np.argmax(probabilities, axis=1) == labels
    which = np.clip(np.ceil(claims * bins).astype(int) - 1, 0, bins - 1)
    gaps = np.bincount(which, claims, bins) - np.bincount(which, right, bins)
    return np.abs(gaps).sum().item() / len(labels)


def digitized(probabilities, labels, bins=10):
    if len(labels) == 0 or bins < 1:
        raise ValueError("no example, or no bin")
    claims, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    which = np.digitize(claims, np.linspace(0, 1, bins + 1)[1:-1], right=True)
    parts = [(claims[which == k], right[which == k]) for k in set(which.tolist())]
    return float(sum(len(c) / len(labels) * abs(c.mean() - r.mean()) for c, r in parts))


RIGHT = {
    "04b.1": [by_the_statistics_module, by_an_interval, in_float32],
    "04b.2": [counts_ways, bits_as_signs, asks_scipy, grows_the_sums],
    "04b.3": [all_pairs, two_loops, both_directions, larger_minus_smaller, a_dictionary_for_exact_copies],
    "04b.4": [bin_by_bin, by_ceil, digitized],
}
