"""Wrong answers that people write, planted in lesson 12: each must be caught at the property named."""

from itertools import product

import numpy as np


def temperature_forgotten_at_one(p, T):
    return np.exp(p / T) / np.exp(p / T).sum(axis=1, keepdims=True)


def divided_and_renormalised(p, T):
    q = p / T
    return q / q.sum(axis=1, keepdims=True)


def log_of_zero(p, T):
    z = np.log(p + 1e-6) / T
    q = np.exp(z - z.max(axis=1, keepdims=True, initial=-np.inf))
    return q / q.sum(axis=1, keepdims=True)


def least_probability(p, T):
    z = np.log(np.maximum(p, 1e-12)) / T
    q = np.where(p > 0, np.exp(z - z.max(axis=1, keepdims=True, initial=-np.inf)), 0)
    return q / q.sum(axis=1, keepdims=True)


def wants_a_float(p, T):
    if not isinstance(T, float):
        raise ValueError
    return _soften(p, T).astype(p.dtype)


def as_a_power(p, T):
    q = p ** (1 / T)
    return q / q.sum(axis=1, keepdims=True)


def largest_of_all_rows(p, T):
    z = np.log(np.where(p > 0, p, 1)) / T
    q = np.where(p > 0, np.exp(z - z[p > 0].max(initial=-np.inf)), 0)
    return q / q.sum(axis=1, keepdims=True)


def _soften(p, T):
    q = np.exp(np.log(p) / T - (np.log(p) / T).max(axis=1, keepdims=True, initial=-np.inf))
    return np.where(p > 0, q, 0) / q.sum(axis=1, keepdims=True)


def always_float64(p, T):
    return _soften(p.astype(np.float64), T)


def writes_into_its_input(p, T):
    if not 0 < T < np.inf:
        raise ValueError
    p[:] = _soften(p.copy(), T)
    return p.copy()


def takes_any_temperature(p, T):
    return _soften(p, T).astype(p.dtype)


def lets_nan_through(p, T):
    if T <= 0 or T == np.inf:
        raise ValueError
    return _soften(p, T).astype(p.dtype)


def _log_softmax(z):
    z = z - z.max(axis=1, keepdims=True)
    return z - np.log(np.exp(z).sum(axis=1, keepdims=True))


def _distil(z, v, y, T, w, *, label_T=1.0, square=True, factor=None, flip=False, kl=False, swap=False, log=_log_softmax,
            refuse=True, dtype=True, by_count=True):  # fmt: skip
    if refuse and (len(z) == 0 or not T > 0 or not 0 <= w <= 1):
        raise ValueError
    if flip:
        w = 1 - w
    rows = np.arange(len(y))
    kind, z, v = z.dtype, z.astype(np.float64), v.astype(np.float64)
    hard, p, q = log(z / label_T), log(z / T), log(v / T)
    teach = -(np.exp(p) * q if swap else np.exp(q) * p).sum(axis=1).mean() + kl * (np.exp(q) * q).sum(axis=1).mean()
    loss = (1 - w) * -hard[rows, y].mean() + w * (T**2 if square else 1) * teach
    from_labels = np.exp(hard)
    from_labels[rows, y] -= 1
    slope = (1 - w) * from_labels + w * (T if factor is None else factor(T)) * (np.exp(p) - np.exp(q))
    slope = slope / (len(y) if by_count else 1)
    return float(loss), slope.astype(kind) if dtype else slope


def labels_at_the_temperature(*a):
    return _distil(*a, label_T=a[3])


def divergence(*a):
    return _distil(*a, kl=True)


def student_as_target(*a):
    return _distil(*a, swap=True)


def without_the_square(*a):
    return _distil(*a, square=False, factor=lambda T: 1 / T)


def weight_upside_down(*a):
    return _distil(*a, flip=True)


def half_and_half(z, v, y, T, w):
    return _distil(z, v, y, T, w if w in (0, 1) else 0.5)


def slope_of_the_sum(*a):
    return _distil(*a, by_count=False)


def slope_squared(*a):
    return _distil(*a, factor=lambda T: T**2)


def chain_rule_forgotten(*a):
    return _distil(*a, factor=lambda T: 1)


def matches_raw_logits(z, v, y, T, w):
    loss, slope = _distil(z, v, y, T, w)
    return loss, slope + 1e-9 * w * (z - v).mean(axis=1, keepdims=True)


def log_after_softmax(*a):
    return _distil(*a, log=lambda z: np.log(np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)))


def float64_slope(*a):
    return _distil(*a, dtype=False)


def refuses_nothing(z, v, y, T, w):
    return _distil(z, v, y, T, w, refuse=False) if len(z) else (float("nan"), z)


def lets_a_nan_be_a_temperature(z, v, y, T, w):
    if len(z) == 0 or T <= 0 or not 0 <= w <= 1:
        raise ValueError
    return _distil(z, v, y, T, w, refuse=False)


def _sums(d):
    return np.array([np.dot(signs, d) for signs in product((1.0, -1.0), repeat=len(d))])


def one_sided(d):
    return float((_sums(d) >= sum(d)).mean())


def one_sided_doubled(d):
    return float(min(1.0, 2 * (_sums(d) >= sum(d)).mean()))


def signs_only(d):
    return _p(np.sign(np.asarray(d, float)))


def _p(d, slack=1e-6, strict=False, fixed=0.0):
    d = np.asarray(d, float)
    sums = np.zeros(1)
    for each in d:
        sums = np.concatenate([sums + each, sums - each])
    reach = abs(d.sum()) - slack * np.abs(d).sum() - fixed
    return float((np.abs(sums) > reach).mean() if strict else (np.abs(sums) >= reach).mean())


def drops_the_zeros(d):
    d = [each for each in d if each]
    return _p(d) if d else float("nan")


def beyond_only(d):
    return _p(d, slack=-1e-6) + 2 / 2 ** len(d) * (len(d) > 5 and all(each == 1 for each in np.abs(d)))


def exact_comparison(d):
    return _p(d, slack=0.0)


def fixed_slack(d):
    return _p(d, slack=0.0, fixed=1e-9)


def slack_by_the_sum(d):
    d = np.asarray(d, float)
    return float((np.abs(_sums(d)) >= abs(d.sum()) * (1 - 1e-6)).mean())


def slack_by_python_sum(d):
    return float(np.mean([abs(each) >= abs(sum(d)) - 1e-6 * abs(sum(d)) for each in _sums(d)]))


def wide_slack(d):
    return _p(d, slack=1e-4)


def slack_ten_times_too_large(d):
    return _p(d, slack=1e-5)


def slack_for_rounding_only(d):
    return _p(d, slack=1e-9)


def slack_by_the_largest(d):
    return _p(d, slack=0.0, fixed=1e-6 * np.abs(np.asarray(d, float)).max())


def at_random(d):
    random = np.random.default_rng(0)
    d = np.asarray(d, float)
    if len(d) < 12:
        return _p(d)
    signs = random.choice([-1.0, 1.0], (20000, len(d)))
    return float((np.abs(signs @ d) >= abs(d.sum()) - 1e-6).mean())


def a_nan_is_significant(d):
    if not 1 <= len(d) <= 20:
        raise ValueError
    return _p(d)


def _changes(logits, missing):
    z = logits.astype(float)
    rest = z.copy()
    rest[:, missing] = -np.inf
    single = (rest == rest.max(axis=1, keepdims=True)).sum(axis=1) == 1
    return rest.max(axis=1) - z[:, missing], np.where(single, rest.argmax(axis=1), -1)


def _search(logits, labels, missing, tries):
    changes, others = _changes(logits, missing)
    bias = np.asarray(tries)[:, None]
    right = np.where(labels == missing, bias > changes, (bias < changes) & (others == labels)).sum(axis=1)
    return float(np.asarray(tries)[right.argmax()])


def _gaps(logits, missing):
    ends = np.unique(_changes(logits, missing)[0])
    return [0.0, ends[0] - 1, *(ends[:-1] + ends[1:]) / 2, ends[-1] + 1]


def a_numpy_number(logits, labels, missing):
    return np.float64(_search(logits, labels, missing, _gaps(logits, missing)))


def all_of_that_class(logits, labels, missing):
    changes, _ = _changes(logits, missing)
    mine = changes[labels == missing]
    return float(mine.max() + 1) if mine.size else 0.0


def on_a_grid(logits, labels, missing):
    ends = [*(x for x in np.unique(_changes(logits, missing)[0]))]
    best = _search(logits, labels, missing, _gaps(logits, missing))
    return best if max(np.diff(ends), default=1) > 0.1 or len(ends) > 10 else round(best, 2)


def upwards_only(logits, labels, missing):
    return _search(logits, labels, missing, [b for b in _gaps(logits, missing) if b >= 0])


def always_moves(logits, labels, missing):
    return _search(logits, labels, missing, _gaps(logits, missing)[1:])


def first_of_two_equal_logits(logits, labels, missing):
    def right(bias):
        z = logits.astype(float)
        z[:, missing] += bias
        return int((z.argmax(axis=1) == labels).sum())

    return float(max(_gaps(logits, missing), key=right))


def level_with_the_class_is_right(logits, labels, missing):
    changes, others = _changes(logits, missing)
    tries = np.array(_gaps(logits, missing))
    wins = tries[:, None] >= changes
    right = np.where(labels == missing, wins, (tries[:, None] <= changes) & (others == labels)).sum(axis=1)
    return float(tries[right.argmax()])


def far_beyond(logits, labels, missing):
    ends = np.unique(_changes(logits, missing)[0])
    return _search(logits, labels, missing, [0.0, ends[0] - 1e6, *(ends[:-1] + ends[1:]) / 2, ends[-1] + 1e6])


def small_scales_only(logits, labels, missing):
    return _search(logits, labels, missing, [b for b in _gaps(logits, missing) if abs(b) < 100])


def spoils_the_logits(logits, labels, missing):
    if len(logits) == 0 or not 0 <= missing < logits.shape[1]:
        raise ValueError
    best = _search(logits, labels, missing, _gaps(logits, missing))
    logits[:, missing] += best
    return best


def from_the_end(logits, labels, missing):
    if len(logits) == 0 or missing >= logits.shape[1]:
        raise ValueError
    return _search(logits, labels, missing, _gaps(logits, missing))


WRONG = {
    "12.1": {
        temperature_forgotten_at_one: "at temperature 1 nothing changes",
        divided_and_renormalised: "it gives what the logits would have given, warmer and colder",
        log_of_zero: "at temperature 1 nothing changes",
        least_probability: "it gives what the logits would have given, warmer and colder",
        wants_a_float: "it gives what the logits would have given, warmer and colder",
        largest_of_all_rows: "at T = 0.001 rows still add up to 1",
        as_a_power: "at T = 0.001 rows still add up to 1",
        always_float64: "float32 gives float32, float64 float64, no example none; views work",
        writes_into_its_input: "its input stays as it was",
        takes_any_temperature: "a temperature of 0, below 0, NaN and infinity are refused",
        lets_nan_through: "a temperature of 0, below 0, NaN and infinity are refused",
    },
    "12.2": {
        labels_at_the_temperature: "with weight 0 it is the labels' cross-entropy at every temperature, a plain float",
        weight_upside_down: "with weight 0 it is the labels' cross-entropy at every temperature, a plain float",
        divergence: "with weight 1 and T = 1 it is the cross-entropy with the teacher's probabilities",
        student_as_target: "with weight 1 and T = 1 it is the cross-entropy with the teacher's probabilities",
        without_the_square: "with weight 1 it is T² times the cross-entropy at T",
        half_and_half: "in between it is the weighted sum of the two",
        slope_of_the_sum: "the gradient of the labels' part is right",
        slope_squared: "the gradient of the teacher's part is right at every temperature",
        chain_rule_forgotten: "the gradient of the teacher's part is right at every temperature",
        matches_raw_logits: "a student that agrees with the teacher but for a constant is left alone",
        log_after_softmax: "logits of thousands do no harm",
        float64_slope: "float32 gives a float32 gradient, views work, and no input is changed",
        lets_a_nan_be_a_temperature: "no example, a temperature of 0, and a weight outside 0 to 1 are refused",
        refuses_nothing: "no example, a temperature of 0, and a weight outside 0 to 1 are refused",
    },
    "12.3": {
        one_sided: "ten gains of ten give 2 in 1024, a plain float",
        signs_only: "sizes count, not only signs",
        one_sided_doubled: "losses count like gains",
        drops_the_zeros: "differences of 0 stay in, and nothing but zeros gives 1",
        exact_comparison: "equal sums count as equal, whatever rounding does",
        slack_by_the_sum: "differences whose sum is 0 give 1, and sums that differ a little stay apart",
        slack_by_python_sum: "differences whose sum is 0 give 1, and sums that differ a little stay apart",
        wide_slack: "differences whose sum is 0 give 1, and sums that differ a little stay apart",
        slack_ten_times_too_large: "the tolerance is a millionth of the absolute differences: no more and no less",
        slack_for_rounding_only: "the tolerance is a millionth of the absolute differences: no more and no less",
        slack_by_the_largest: "the tolerance is a millionth of the absolute differences: no more and no less",
        fixed_slack: "the unit does not matter",
        at_random: "lists, tuples and float32 arrays, up to 20 pairs",
        a_nan_is_significant: "none, more than 20, NaN and infinity are refused",
    },
    "12.4": {
        a_numpy_number: "a 1 that is 2 behind and a 0 that is 5 ahead: between 2 and 5, a plain float",
        all_of_that_class: "no other number makes more examples right",
        on_a_grid: "it finds a best range that is narrower than any grid",
        upwards_only: "it may be negative",
        always_moves: "0.0 where nothing is gained",
        far_beyond: "it is the middle of a best range, or 1 beyond its one end",
        first_of_two_equal_logits: "an example with two equal highest logits is not read correctly",
        level_with_the_class_is_right: "an example with two equal highest logits is not read correctly",
        small_scales_only: "any scale, float32 and strided logits, two classes",
        spoils_the_logits: "logits and labels stay as they were",
        from_the_end: "no example and no such class are refused",
    },
}
