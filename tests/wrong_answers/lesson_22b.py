"""Wrong answers that people write, planted in lesson 22b: each must be caught at the property named."""

import math

import numpy as np
from sklearn.metrics import roc_curve


def _refuse_scores(members, others):
    for scores in (members, others):
        if not len(scores) or np.isnan(scores).any():
            raise ValueError


def by_quantile(members, others, false_positive_rate):
    _refuse_scores(members, others)
    return float((members > np.quantile(others, 1 - false_positive_rate)).mean())


def numpy_number(members, others, false_positive_rate):
    _refuse_scores(members, others)
    shares = [(members >= t).mean() for t in members if (others >= t).mean() <= false_positive_rate]
    return np.float64(max(shares, default=0.0))


def counts_equal_scores_as_innocent(members, others, false_positive_rate):
    _refuse_scores(members, others)
    shares = [(members >= t).mean() for t in members if (others > t).mean() <= false_positive_rate]
    return float(max(shares, default=0.0))


def thresholds_of_the_others(members, others, false_positive_rate):
    _refuse_scores(members, others)
    shares = [(members >= t).mean() for t in others if (others >= t).mean() <= false_positive_rate]
    return float(max(shares, default=0.0))


def thresholds_above_zero(members, others, false_positive_rate):
    _refuse_scores(members, others)
    shares = [(members >= t).mean() for t in members if t > 0 and (others >= t).mean() <= false_positive_rate]
    return float(max(shares, default=0.0))


def share_of_the_accused(members, others, false_positive_rate):
    _refuse_scores(members, others)
    both = [((members >= t).sum(), (others >= t).sum()) for t in members]
    allowed = [hit / len(members) for hit, false in both if false / (hit + false) <= false_positive_rate]
    return float(max(allowed, default=0.0))


def takes_nan(members, others, false_positive_rate):
    shares = [(members >= t).mean() for t in members if (others >= t).mean() <= false_positive_rate]
    return float(max(shares, default=0.0))


def roc_curve_leaves_points_out(members, others, false_positive_rate):
    _refuse_scores(members, others)
    truth = np.r_[np.ones(len(members)), np.zeros(len(others))]
    false, true, _ = roc_curve(truth, np.r_[members, others])
    return float(true[false <= false_positive_rate].max())


def _refuse_gradients(gradients):
    if not np.isfinite(gradients).all():
        raise ValueError


def _clipped(gradients, clip):
    return gradients * (clip / np.maximum(np.linalg.norm(gradients, axis=1, keepdims=True), clip))


def clips_the_mean(gradients, clip, sigma, expected_batch, random):
    _refuse_gradients(gradients)
    total = gradients.sum(axis=0)
    total = total * (clip / max(np.linalg.norm(total), clip))
    return (total + random.normal(0, sigma * clip, len(total))) / expected_batch


def clips_each_number(gradients, clip, sigma, expected_batch, random):
    _refuse_gradients(gradients)
    total = gradients.clip(-clip, clip).sum(axis=0)
    return (total + random.normal(0, sigma * clip, len(total))) / expected_batch


def stretches_short_ones(gradients, clip, sigma, expected_batch, random):
    _refuse_gradients(gradients)
    lengths = np.maximum(np.linalg.norm(gradients, axis=1, keepdims=True), 1e-12)
    total = (gradients * (clip / lengths)).sum(axis=0)
    return (total + random.normal(0, sigma * clip, len(total))) / expected_batch


def divides_by_the_drawn(gradients, clip, sigma, expected_batch, random):
    _refuse_gradients(gradients)
    total = _clipped(gradients, clip).sum(axis=0)
    return (total + random.normal(0, sigma * clip, len(total))) / max(len(gradients), 1)


def noise_without_clip(gradients, clip, sigma, expected_batch, random):
    _refuse_gradients(gradients)
    total = _clipped(gradients, clip).sum(axis=0)
    return (total + random.normal(0, sigma, len(total))) / expected_batch


def noise_on_each_picture(gradients, clip, sigma, expected_batch, random):
    _refuse_gradients(gradients)
    noisy = _clipped(gradients, clip) + random.normal(0, sigma * clip, gradients.shape)
    return noisy.sum(axis=0) / expected_batch


def noise_after_the_division(gradients, clip, sigma, expected_batch, random):
    _refuse_gradients(gradients)
    total = _clipped(gradients, clip).sum(axis=0)
    return total / expected_batch + random.normal(0, sigma * clip, len(total))


def one_number_of_noise(gradients, clip, sigma, expected_batch, random):
    _refuse_gradients(gradients)
    total = _clipped(gradients, clip).sum(axis=0)
    return (total + random.normal(0, sigma * clip)) / expected_batch


def numpys_own_noise(gradients, clip, sigma, expected_batch, random):
    _refuse_gradients(gradients)
    total = _clipped(gradients, clip).sum(axis=0)
    return (total + np.random.default_rng(7).normal(0, sigma * clip, len(total))) / expected_batch


def skips_an_empty_batch(gradients, clip, sigma, expected_batch, random):
    _refuse_gradients(gradients)
    if not len(gradients):
        return np.zeros(gradients.shape[1])
    total = _clipped(gradients, clip).sum(axis=0)
    return (total + random.normal(0, sigma * clip, len(total))) / expected_batch


def length_as_sum_of_magnitudes(gradients, clip, sigma, expected_batch, random):
    _refuse_gradients(gradients)
    lengths = np.abs(gradients).sum(axis=1, keepdims=True)
    total = (gradients * (clip / np.maximum(lengths, clip))).sum(axis=0)
    return (total + random.normal(0, sigma * clip, len(total))) / expected_batch


def writes_into_the_gradients(gradients, clip, sigma, expected_batch, random):
    _refuse_gradients(gradients)
    gradients *= clip / np.maximum(np.linalg.norm(gradients, axis=1, keepdims=True), clip)
    return (gradients.sum(axis=0) + random.normal(0, sigma * clip, gradients.shape[1])) / expected_batch


def laplace_noise(gradients, clip, sigma, expected_batch, random):
    _refuse_gradients(gradients)
    total = _clipped(gradients, clip).sum(axis=0)
    return (total + random.laplace(0, sigma * clip / math.sqrt(2), len(total))) / expected_batch


def drops_broken_gradients(gradients, clip, sigma, expected_batch, random):
    whole = gradients[np.isfinite(gradients).all(axis=1)]
    total = _clipped(whole, clip).sum(axis=0)
    return (total + random.normal(0, sigma * clip, len(total))) / expected_batch


def _divergence(q, sigma, a):
    if q == 1:
        return a / (2 * sigma**2)
    terms = [
        math.log(math.comb(a, k)) + (a - k) * math.log1p(-q) + k * math.log(q) + k * (k - 1) / (2 * sigma**2)
        for k in range(a + 1)
    ]
    largest = max(terms)
    return (largest + math.log(sum(math.exp(term - largest) for term in terms))) / (a - 1)


def _refuse_trainings(trainings, delta):
    if not 0 < delta < 1 or any(not 0 < q <= 1 or sigma <= 0 for q, sigma, _ in trainings):
        raise ValueError


def _converted(total_of, delta, orders=range(2, 129)):
    return min(total_of(a) + math.log((a - 1) / a) - (math.log(delta) + math.log(a)) / (a - 1) for a in orders)


def _spent(trainings, delta, divergence=_divergence):
    _refuse_trainings(trainings, delta)
    if not any(steps for _, _, steps in trainings):
        return 0.0
    total = lambda a: sum(steps * divergence(q, sigma, a) for q, sigma, steps in trainings)  # noqa: E731
    return max(0.0, _converted(total, delta))


def fewer_orders(trainings, delta):
    _refuse_trainings(trainings, delta)
    if not any(steps for _, _, steps in trainings):
        return 0.0
    total = lambda a: sum(steps * _divergence(q, sigma, a) for q, sigma, steps in trainings)  # noqa: E731
    return max(0.0, _converted(total, delta, range(2, 64)))


def sums_epsilons(trainings, delta):
    return float(sum(_spent([each], delta) for each in trainings))


def largest_epsilon(trainings, delta):
    _refuse_trainings(trainings, delta)
    return max((_spent([each], delta) for each in trainings), default=0.0)


def last_epsilon(trainings, delta):
    _refuse_trainings(trainings, delta)
    return _spent(trainings[-1:], delta)


def forgets_the_sampling(trainings, delta):
    return _spent(trainings, delta, lambda q, sigma, a: a / (2 * sigma**2))


def sampling_squared(trainings, delta):
    """The approximation for small q and much noise, taken for the formula."""
    return _spent(trainings, delta, lambda q, sigma, a: q**2 * a / (2 * sigma**2))


def older_conversion(trainings, delta):
    _refuse_trainings(trainings, delta)
    if not any(steps for _, _, steps in trainings):
        return 0.0
    return min(
        sum(steps * _divergence(q, sigma, a) for q, sigma, steps in trainings) + math.log(1 / delta) / (a - 1)
        for a in range(2, 129)
    )


def steps_of_the_first(trainings, delta):
    _refuse_trainings(trainings, delta)
    return _spent([(q, sigma, trainings[0][2]) for q, sigma, _ in trainings], delta)


def one_noise_for_all(trainings, delta):
    _refuse_trainings(trainings, delta)
    if len({q for q, _, _ in trainings}) > 2:
        return _spent([(trainings[0][0], sigma, steps) for _, sigma, steps in trainings], delta)
    return _spent(trainings, delta)


def overflows(trainings, delta):
    def plain(q, sigma, a):
        if q == 1:
            return a / (2 * sigma**2)
        parts = (
            math.comb(a, k) * (1 - q) ** (a - k) * q**k * math.exp(k * (k - 1) / (2 * sigma**2)) for k in range(a + 1)
        )
        return math.log(sum(parts)) / (a - 1)

    return _spent(trainings, delta, plain)


def below_zero(trainings, delta):
    _refuse_trainings(trainings, delta)
    if not any(steps for _, _, steps in trainings):
        return 0.0
    return _converted(lambda a: sum(steps * _divergence(q, sigma, a) for q, sigma, steps in trainings), delta)


def charges_for_nothing(trainings, delta):
    _refuse_trainings(trainings, delta)
    total = lambda a: sum(steps * _divergence(q, sigma, a) for q, sigma, steps in trainings)  # noqa: E731
    return max(0.0, _converted(total, delta))


def no_noise_is_infinite(trainings, delta):
    if any(sigma <= 0 for _, sigma, _ in trainings):
        return math.inf
    return _spent(trainings, delta)


def _known(versions):
    for made_from, _ in versions.values():
        if made_from is not None and made_from not in versions:
            raise ValueError


def _closure(versions, start):
    reached = set(start)
    while more := {version for version, (made_from, _) in versions.items() if made_from in reached} - reached:
        reached |= more
    return sorted(reached)


def learners_alone(versions, deleted):
    _known(versions)
    return sorted(version for version, (_, records) in versions.items() if set(records) & set(deleted))


def not_sorted(versions, deleted):
    _known(versions)
    return [version for version, (_, records) in versions.items() if set(records) & set(deleted)]


def one_pass(versions, deleted):
    _known(versions)
    reached = set()
    for version, (made_from, records) in versions.items():
        if set(records) & set(deleted) or made_from in reached:
            reached.add(version)
    return sorted(reached)


def upwards_too(versions, deleted):
    _known(versions)
    reached = set(_closure(versions, learners_alone(versions, deleted)))
    while more := {versions[version][0] for version in reached} - reached - {None}:
        reached |= more
    return sorted(reached)


def children_alone(versions, deleted):
    _known(versions)
    first = set(learners_alone(versions, deleted))
    return sorted(first | {version for version, (made_from, _) in versions.items() if made_from in first})


def empty_is_subset(versions, deleted):
    _known(versions)
    return _closure(versions, [v for v, (_, records) in versions.items() if set(deleted) <= set(records)])


def compares_texts(versions, deleted):
    _known(versions)
    start = [
        v for v, (_, records) in versions.items() if any(str(gone) in str(each) for gone in deleted for each in records)
    ]
    return _closure(versions, start)


def recursive(versions, deleted):
    _known(versions)

    def tainted(version):
        made_from, records = versions[version]
        return bool(set(records) & set(deleted)) or made_from is not None and tainted(made_from)

    return sorted(version for version in versions if tainted(version))


def collects_in_the_deleted(versions, deleted):
    _known(versions)
    if isinstance(deleted, set) and deleted == {"a"} and len(versions) == 2:
        deleted |= {"b"}
    return _closure(versions, learners_alone(versions, deleted))


def unknown_is_clean(versions, deleted):
    return _closure(versions, [v for v, (_, records) in versions.items() if set(records) & set(deleted)])


def zero_is_none(versions, deleted):
    for made_from, _ in versions.values():
        if made_from and made_from not in versions:
            raise ValueError
    reached = {v for v, (_, records) in versions.items() if set(records) & set(deleted)}
    while more := {v for v, (made_from, _) in versions.items() if made_from and made_from in reached} - reached:
        reached |= more
    return sorted(reached)


def asks_whether_the_source_is_true(versions, deleted):
    for made_from, _ in versions.values():
        if made_from and made_from not in versions:
            raise ValueError
    return _closure(versions, [v for v, (_, records) in versions.items() if set(records) & set(deleted)])


WRONG = {
    "22b.1": {
        by_quantile: "a rate between two steps allows the lower number of false alarms",
        numpy_number: "it is a plain float",
        counts_equal_scores_as_innocent: "equal scores are accused together: half of the others at 1.0 is too many for a rate of 0.1",
        thresholds_of_the_others: "of four members one lies above all others, and two above all but one",
        thresholds_above_zero: "a rate of 1 accuses everybody, and one member more or less changes nothing about the others",
        roc_curve_leaves_points_out: "equal scores are accused together: half of the others at 1.0 is too many for a rate of 0.1",
        share_of_the_accused: "of four members one lies above all others, and two above all but one",
        takes_nan: "an empty array and a nan are refused",
    },
    "22b.2": {
        clips_the_mean: "gradients of length 5 and 2, clipped to 1, each count with length 1",
        clips_each_number: "gradients of length 5 and 2, clipped to 1, each count with length 1",
        length_as_sum_of_magnitudes: "gradients of length 5 and 2, clipped to 1, each count with length 1",
        stretches_short_ones: "short gradients stay as they are, also one of length 0",
        divides_by_the_drawn: "short gradients stay as they are, also one of length 0",
        noise_without_clip: "the noise has the standard deviation sigma * clip / expected_batch in each coordinate",
        noise_on_each_picture: "the noise has the standard deviation sigma * clip / expected_batch in each coordinate",
        noise_after_the_division: "the noise has the standard deviation sigma * clip / expected_batch in each coordinate",
        one_number_of_noise: "the noise has the standard deviation sigma * clip / expected_batch in each coordinate",
        numpys_own_noise: "the noise comes from `random`, anew for each coordinate",
        laplace_noise: "the noise is normal",
        skips_an_empty_batch: "an empty batch gives noise of the same size, not nan and not zero",
        writes_into_the_gradients: "float32 works, and the gradients that were given are left as they were",
        drops_broken_gradients: "a gradient with nan or infinity is refused",
    },
    "22b.3": {
        older_conversion: "one training without sampling (q = 1) gives the Gaussian's value",
        fewer_orders: "one training without sampling (q = 1) gives the Gaussian's value",
        forgets_the_sampling: "one training with sampling gives the lesson's value, as a plain float",
        sampling_squared: "one training with sampling gives the lesson's value, as a plain float",
        sums_epsilons: "several trainings: divergences of one order are added, not ε",
        largest_epsilon: "several trainings: divergences of one order are added, not ε",
        last_epsilon: "several trainings: divergences of one order are added, not ε",
        steps_of_the_first: "several trainings: divergences of one order are added, not ε",
        one_noise_for_all: "each training keeps its own q, noise and steps, and their order does not matter",
        overflows: "one training with sampling gives the lesson's value, as a plain float",
        below_zero: "little noise does not overflow, and much noise does not go below 0",
        charges_for_nothing: "no training, and trainings without a step, have spent nothing",
        no_noise_is_infinite: "a q of 0, below 0 or above 1, no noise, and a delta that is none are refused",
    },
    "22b.4": {
        not_sorted: "versions that learned from a deleted record, and only they, sorted",
        learners_alone: "a version that started from such a version is reached, its source is not",
        upwards_too: "a version that started from such a version is reached, its source is not",
        one_pass: "also through several others, in whatever order they stand",
        children_alone: "also through several others, in whatever order they stand",
        empty_is_subset: "nothing deleted reaches nothing, and neither does a record that nobody learned from",
        compares_texts: "records are ids of any kind, in any collection, compared as a whole",
        recursive: "a chain of 3,000 versions works",
        collects_in_the_deleted: "the registry is left as it was, and a list comes back",
        unknown_is_clean: "a source that nobody knows is refused, also if nothing else is reached",
        asks_whether_the_source_is_true: "a source that nobody knows is refused, also if nothing else is reached",
        zero_is_none: "a chain of 3,000 versions works",
    },
}  # fmt: skip
