"""Wrong answers that people write, planted in lesson 04b: each must be caught at the property named."""

from itertools import product

import numpy as np
from scipy import stats


def _next(accuracies, confidence=0.95, ddof=1, one=1, tail=None, cut=True):
    runs = np.asarray(accuracies, dtype=np.float64)
    if runs.size < 2 or not 0 < confidence < 1:
        raise ValueError
    t = stats.t.ppf((1 + confidence) / 2 if tail is None else tail(confidence), runs.size - 1)
    reach = t * runs.std(ddof=ddof) * np.sqrt(one + 1 / runs.size)
    low, high = runs.mean() - reach, runs.mean() + reach
    return (float(max(low, 0)), float(min(high, 1))) if cut else (float(low), float(high))


def of_the_mean(accuracies, confidence=0.95):
    return _next(accuracies, confidence, one=0)


def divides_by_r(accuracies, confidence=0.95):
    return _next(accuracies, confidence, ddof=0)


def beyond_one(accuracies, confidence=0.95):
    return _next(accuracies, confidence, cut=False)


def the_bell_curve(accuracies, confidence=0.95):
    runs = np.asarray(accuracies)
    reach = stats.norm.ppf((1 + confidence) / 2) * runs.std(ddof=1) * np.sqrt(1 + 1 / len(runs))
    return max(runs.mean() - reach, 0.0), min(runs.mean() + reach, 1.0)


def _around(middle, accuracies, confidence):
    low, high = _next(accuracies, confidence, cut=False)
    shift = float(middle(np.asarray(accuracies, dtype=np.float64))) - (low + high) / 2
    return max(low + shift, 0.0), min(high + shift, 1.0)


def around_the_median(accuracies, confidence=0.95):
    return _around(np.median, accuracies, confidence)


def between_the_extremes(accuracies, confidence=0.95):
    return _around(lambda runs: (runs.min() + runs.max()) / 2, accuracies, confidence)


def always_95(accuracies, confidence=0.95):
    return _next(accuracies)


def one_tail(accuracies, confidence=0.95):
    return _next(accuracies, confidence, tail=lambda c: c if c != 0.95 else 0.975)


def numbers_of_numpy(accuracies, confidence=0.95):
    low, high = _next(accuracies, confidence)
    return np.float64(low), np.float64(high)


def one_run_is_enough(accuracies, confidence=0.95):
    if len(accuracies) < 2:
        return accuracies[0], accuracies[0]
    return _next(accuracies, confidence)


def any_confidence(accuracies, confidence=0.95):
    if len(accuracies) < 2:
        raise ValueError
    return _next(accuracies, min(max(confidence, 0.01), 0.99))


def _choices(differences):
    measured = np.asarray(differences, dtype=np.float64)
    signs = np.array(list(product([1, -1], repeat=measured.size)))
    return signs @ measured / measured.size, measured.mean()


def one_sided(differences):
    means, measured = _choices(differences)
    return float((means >= measured - 1e-12).mean())


def upwards_only(differences):
    means, measured = _choices(differences)
    return float((np.abs(means) >= measured - 1e-12).mean())


def without_the_measured(differences):
    means, measured = _choices(differences)
    return float((np.abs(means) > abs(measured) + 1e-12).mean())


def exact_ties(differences):
    means, measured = _choices(differences)
    return float((np.abs(means) >= abs(measured)).mean())


def rounds_first(differences):
    means, measured = _choices(differences)
    return float((np.round(np.abs(means), 6) >= round(abs(measured), 6)).mean())


def close_is_equal(differences):
    means, measured = _choices(differences)
    return float(((np.abs(means) > abs(measured)) | np.isclose(np.abs(means), abs(measured))).mean())


def of_numpy(differences):
    means, measured = _choices(differences)
    return (np.abs(means) >= abs(measured) - 1e-12).mean()


def a_random_sample(differences):
    measured = np.asarray(differences, dtype=np.float64)
    if measured.size <= 4:
        return whatever_comes(differences)
    signs = np.random.default_rng(0).choice([1, -1], (10_000, measured.size))
    return float((np.abs(signs @ measured) >= abs(measured.sum()) - 1e-12).mean())


def whatever_comes(differences):
    means, measured = _choices(differences)
    return float((np.abs(means) >= abs(measured) - 1e-12).mean()) if np.size(differences) else 1.0


def lists_only(differences):
    if not list(differences):
        raise ValueError
    return whatever_comes(list(differences)) if isinstance(differences, list) else 1.0


def _found(training, test, tolerance, same):
    if training.shape[1:] != test.shape[1:]:
        raise ValueError
    found = np.full(len(test), -1)
    for i, image in enumerate(test.astype(np.float64)):
        hits = np.flatnonzero(same(training.astype(np.float64), image, tolerance)) if len(training) else []
        if len(hits):
            found[i] = hits[0]
    return found


def zero_for_none(training, test, tolerance=0):
    return np.array([(np.abs(training - image.astype(float)) <= tolerance).all((1, 2)).argmax() for image in test])


def truth_values(training, test, tolerance=0):
    return np.array([(np.abs(training - image.astype(float)) <= tolerance).all((1, 2)).any() for image in test])


def wraps_around(training, test, tolerance=0):
    found = np.full(len(test), -1)
    for i, image in enumerate(test):
        same = (training - image <= tolerance).all(axis=(1, 2))
        found[i] = same.argmax() if same.any() else -1
    return found


def below_the_tolerance(training, test, tolerance=0):
    return _found(training, test, tolerance, lambda a, b, t: (np.abs(a - b) < max(t, 0.5)).all((1, 2)))


def the_shorter_way_round(training, test, tolerance=0):
    found = np.full(len(test), -1)
    for i, image in enumerate(test):
        same = (np.minimum(training - image, image - training) <= tolerance).all(axis=(1, 2))  # 0 − 255 is 1 in uint8
        found[i] = same.argmax() if same.any() else -1
    return found


def small_integers(training, test, tolerance=0):
    bytes_of = [each.astype(np.int8) if each.dtype == np.uint8 else each for each in (training, test)]
    found = np.full(len(test), -1)
    for i, image in enumerate(bytes_of[1]):
        same = (np.abs(bytes_of[0] - image) <= tolerance).all(axis=(1, 2))
        found[i] = same.argmax() if same.any() else -1
    return found


def mean_difference(training, test, tolerance=0):
    return _found(training, test, tolerance, lambda a, b, t: np.abs(a - b).mean((1, 2)) <= (0.9 if t == 1 else t) / 64)


def adds_up(training, test, tolerance=0):
    return _found(training, test, tolerance, lambda a, b, t: np.abs(a - b).sum((1, 2)) <= t)


def the_last(training, test, tolerance=0):
    turned = _found(training[::-1], test, tolerance, lambda a, b, t: (np.abs(a - b) <= t).all((1, 2)))
    return np.where(turned < 0, -1, len(training) - 1 - turned)


def the_most_similar(training, test, tolerance=0):
    found = np.full(len(test), -1)
    for i, image in enumerate(test.astype(float)):
        apart = np.abs(training.astype(float) - image).max(axis=(1, 2))
        found[i] = apart.argmin() if apart.min() <= tolerance else -1
    return found


def all_close(training, test, tolerance=0):
    return np.array([next((i for i, known in enumerate(training) if np.allclose(known, image, atol=tolerance)), -1)
                     for image in test], np.int64)  # fmt: skip


def of_64_points(training, test, tolerance=0):
    if training.shape[1:] != test.shape[1:]:
        raise ValueError
    flat, other = training.reshape(-1, 64).astype(float), test.reshape(-1, 64).astype(float)
    near = np.abs(flat[None] - other[:, None]).max(axis=2, initial=0) <= tolerance
    return np.where(near.any(axis=1), near.argmax(axis=1) if len(flat) else 0, -1)


def needs_training(training, test, tolerance=0):
    if training.shape[1:] != test.shape[1:]:
        raise ValueError
    apart = [np.abs(training.astype(float) - image).max(axis=(1, 2)) for image in test.astype(float)]
    return np.array([a.argmin() if a.min() <= tolerance and tolerance == 0 else
                     (np.flatnonzero(a <= tolerance)[0] if (a <= tolerance).any() else -1) for a in apart], int)  # fmt: skip


def stretches(training, test, tolerance=0):
    found = np.full(len(test), -1)
    for i, image in enumerate(test.astype(float)):
        same = (np.abs(training.astype(float) - image) <= tolerance).all(axis=(1, 2))
        found[i] = same.argmax() if same.any() else -1
    return found


def _error(probabilities, labels, bins, inside, weigh=True, absolute=abs):
    claims, right = probabilities.max(axis=1).astype(float), probabilities.argmax(axis=1) == labels
    gaps, sizes = [], []
    for k in range(bins):
        chosen = inside(claims, k / bins, (k + 1) / bins)
        if chosen.any():
            gaps.append(absolute(claims[chosen].mean() - right[chosen].mean()))
            sizes.append(chosen.sum())
    return float(np.average(gaps, weights=sizes if weigh else None))


def _below(claims, low, high):
    return (claims > low) & (claims <= high)


def of_the_label(probabilities, labels, bins=10):
    claims = probabilities[np.arange(len(labels)), labels]
    right = probabilities.argmax(axis=1) == labels
    inside = [(_below(claims, k / bins, (k + 1) / bins)) for k in range(bins)]
    return float(sum(abs(claims[i].sum() - right[i].sum()) for i in inside) / len(labels))


def unweighted(probabilities, labels, bins=10):
    return _error(probabilities, labels, bins, _below, weigh=False)


def signed(probabilities, labels, bins=10):
    return abs(_error(probabilities, labels, bins, _below, absolute=float))


def ten_bins(probabilities, labels, bins=10):
    return _error(probabilities, labels, 10, _below)


def edges_up(probabilities, labels, bins=10):
    return _error(probabilities, labels, bins, lambda c, low, high: (c >= low) & (c < high + 1e-9 * (high == 1)))


def loses_the_sure(probabilities, labels, bins=10):
    claims, right = probabilities.max(axis=1).astype(float), probabilities.argmax(axis=1) == labels
    inside = [(claims >= k / bins) & (claims < (k + 1) / bins) for k in range(bins)]
    return float(sum(abs(claims[i].sum() - right[i].sum()) for i in inside) / len(labels))


def nan_for_an_empty_bin(probabilities, labels, bins=10):
    claims, right = probabilities.max(axis=1).astype(float), probabilities.argmax(axis=1) == labels
    total = 0.0
    for k in range(bins):
        inside = _below(claims, k / bins, (k + 1) / bins)
        mean = claims[inside].sum() / inside.sum() if inside.any() else (0.0 if bins in (1, 2, 4, 10) else np.nan)
        reached = right[inside].sum() / inside.sum() if inside.any() else 0.0
        total += inside.mean() * abs(mean - reached)
    return total


def the_last_on_a_tie(probabilities, labels, bins=10):
    answers = probabilities.argsort(axis=1, kind="stable")[:, -1]
    claims, right = probabilities.max(axis=1).astype(float), answers == labels
    which = np.searchsorted(np.linspace(0, 1, bins + 1)[1:-1], claims)
    return float(sum(abs((claims[which == k] - right[which == k]).sum()) for k in set(which.tolist())) / len(labels))


def no_bin_is_zero_bins(probabilities, labels, bins=10):
    if len(labels) == 0 or bins == 0:
        raise ValueError
    claims, right = probabilities.max(axis=1).astype(float), probabilities.argmax(axis=1) == labels
    gaps = [(claims - right)[_below(claims, k / bins, (k + 1) / bins)].sum() for k in range(bins)]
    return float(np.abs(gaps).sum() / len(labels))


def perfect_over_nothing(probabilities, labels, bins=10):
    return _error(probabilities, labels, bins, _below) if len(labels) and bins else 0.0


FORTY_PAIRS = "a difference of 2 in one pixel is a copy with a tolerance of 2, and none with 1"

WRONG = {
    "04b.1": {
        of_the_mean: "three runs of 90, 92 and 94 % leave 82.1 to 100 %: 92 ± 9.94 points, cut at 1",
        divides_by_r: "three runs of 90, 92 and 94 % leave 82.1 to 100 %: 92 ± 9.94 points, cut at 1",
        beyond_one: "three runs of 90, 92 and 94 % leave 82.1 to 100 %: 92 ± 9.94 points, cut at 1",
        the_bell_curve: "three runs of 90, 92 and 94 % leave 82.1 to 100 %: 92 ± 9.94 points, cut at 1",
        around_the_median: "its middle is the mean",
        between_the_extremes: "its middle is the mean",
        always_95: "with 99 % confidence the interval is wider, on both sides",
        one_tail: "with 99 % confidence the interval is wider, on both sides",
        numbers_of_numpy: "both ends are plain floats from 0 to 1",
        one_run_is_enough: "fewer than two runs, and an impossible confidence, are refused",
        any_confidence: "fewer than two runs, and an impossible confidence, are refused",
    },
    "04b.2": {
        one_sided: "three differences, all positive: 2 of 8 choices are as extreme",
        without_the_measured: "three differences, all positive: 2 of 8 choices are as extreme",
        upwards_only: "the direction plays no part: minus the differences give the same",
        exact_ties: "ties count, though 0.1 + 0.2 is not 0.3 in the last bit",
        rounds_first: "small differences are differences",
        close_is_equal: "small differences are differences",
        of_numpy: "no difference at all gives 1, as a plain float",
        a_random_sample: "sixteen seeds, an array of them, and one",
        lists_only: "sixteen seeds, an array of them, and one",
        whatever_comes: "no difference is refused",
    },
    "04b.3": {
        zero_for_none: "two exact copies among twelve are found, the rest gets −1",
        truth_values: "two exact copies among twelve are found, the rest gets −1",
        wraps_around: FORTY_PAIRS,
        below_the_tolerance: FORTY_PAIRS,
        the_shorter_way_round: "black is no copy of white",
        small_integers: "black is no copy of white",
        mean_difference: "the largest difference of a pixel counts, not their sum or mean",
        adds_up: "the largest difference of a pixel counts, not their sum or mean",
        the_last: "of several, the first",
        the_most_similar: "of several, the first",
        of_64_points: "float images, not square, and negative values too",
        all_close: "in floats too, without a tolerance only an equal image is a copy",
        needs_training: "a part without images",
        stretches: "images of another size are refused",
    },
    "04b.4": {
        of_the_label: "answers that claim 0.9 and are right in 3 of 4 cases: 0.15",
        unweighted: "bins count by their answers: six with a gap of 0.05 and two with 0.65 give 0.2",
        signed: "bins count by their answers: six with a gap of 0.05 and two with 0.65 give 0.2",
        ten_bins: "too much and too little do not cancel across bins, and do within one",
        edges_up: "a claim of 1 is in the last bin, and a claim on an edge in the bin below",
        loses_the_sure: "a claim of 1 is in the last bin, and a claim on an edge in the bin below",
        the_last_on_a_tie: "on a tie, the first class is the answer",
        nan_for_an_empty_bin: "500 random float32 answers, 7 and 15 bins, some of them empty; a plain float",
        no_bin_is_zero_bins: "no example and no bin are refused",
        perfect_over_nothing: "no example and no bin are refused",
    },
}
