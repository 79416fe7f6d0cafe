"""Wrong answers that people write, planted in lesson 13b: each must be caught at the property named."""

import math
from statistics import NormalDist

import numpy as np


def _needed(share, z, margin):
    return math.ceil(z**2 * share * (1 - share) / margin**2)


def one_sided(share, confidence=0.99, margin=None):
    return _needed(share, NormalDist().inv_cdf(confidence), (1 - share) / 20 if margin is None else margin)


def rounded(share, confidence=0.99, margin=None):
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    return round(z**2 * share * (1 - share) / ((1 - share) / 20 if margin is None else margin) ** 2)


def always_99(share, confidence=0.99, margin=None):
    return _needed(share, NormalDist().inv_cdf(0.995), (1 - share) / 20 if margin is None else margin)


def own_margin_only(share, confidence=0.99, margin=None):
    return _needed(share, NormalDist().inv_cdf((1 + confidence) / 2), (1 - share) / 20)


def bounded_margin(share, confidence=0.99, margin=None):
    margin = max((1 - share) / 20, 0.0005 - 1e-12) if margin is None else margin
    return _needed(share, NormalDist().inv_cdf((1 + confidence) / 2), margin)


def zero_is_none(share, confidence=0.99, margin=None):
    if not (0 < share < 1 and 0 < confidence < 1):
        raise ValueError("expected shares")
    return _needed(share, NormalDist().inv_cdf((1 + confidence) / 2), margin or (1 - share) / 20)


def _swept(arrived, answered, change_first=-1, span=None):
    arrived, answered = np.asarray(arrived, float), np.asarray(answered, float)
    if arrived.shape != answered.shape or len(arrived) == 0 or not (answered >= arrived).all():
        raise ValueError("expected a log")
    span = answered.max() - arrived.min() if span is None else span
    if span == 0:
        return 0.0, 0
    real = answered > arrived
    moments = np.concatenate([arrived[real], answered[real]])
    change = np.repeat([1, -1], real.sum())
    order = np.lexsort((change * -change_first, moments))
    return float((answered - arrived).sum() / span), int(change[order].cumsum().max(initial=0))


def the_number_of_lines(arrived, answered):
    return len(arrived) / (answered.max() - arrived.min()), len(arrived)


def counts_all_of_them(arrived, answered):
    return _swept(arrived, answered)[0], len(arrived)


def the_mean_of_what_each_meets(arrived, answered):
    mean, most = _swept(arrived, answered)
    met = ((arrived[None] < answered[:, None]) & (answered[None] > arrived[:, None])).sum(axis=1)
    return met.mean(), most


def over_the_busy_time(arrived, answered):
    order = np.argsort(arrived)
    busy, end = 0.0, -np.inf
    for a, b in zip(arrived[order], answered[order]):
        busy += max(0.0, b - max(a, end))
        end = max(end, b)
    return _swept(arrived, answered, span=busy)


def arrivals_first(arrived, answered):
    return _swept(arrived, answered, change_first=1)


def counts_those_of_no_length(arrived, answered):
    mean, most = _swept(arrived, answered)
    return mean, max(most, int(((arrived[None] <= arrived[:, None]) & (answered[None] >= arrived[:, None])).sum(axis=1).max())
                     if (answered == arrived).any() else most)  # fmt: skip


def divides_by_no_time(arrived, answered):
    if len(arrived) and (answered == arrived).all():
        return float("nan"), 0
    return _swept(arrived, answered)


def in_the_logs_order(arrived, answered):
    return (
        _swept(arrived, answered, span=answered[-1] - arrived[0] or 1)
        if len(arrived) > 5
        else _swept(arrived, answered)
    )


def sorts_in_place(arrived, answered):
    said = _swept(arrived, answered)
    arrived.sort()
    return said


def gives_floats(arrived, answered):
    mean, most = _swept(arrived, answered)
    return mean, float(most)


def lets_nan_pass(arrived, answered):
    if len(arrived) != len(answered) or len(arrived) == 0 or (answered < arrived).any():
        raise ValueError("expected a log")
    return (0.0, 0) if np.isnan(arrived).any() or np.isnan(answered).any() else _swept(arrived, answered)


def looks_at_the_sums_alone(arrived, answered):
    if len(arrived) != len(answered) or len(arrived) == 0 or not answered.sum() >= arrived.sum():
        raise ValueError("expected a log")
    return _swept(arrived, np.maximum(arrived, answered))


def _choose(sizes, times_ms, rate, deadline, *, wait=True, keep_up=True, tolerance=1e-9, fitted=None, candidates=None):
    sizes, times_ms = np.asarray(sizes), np.asarray(times_ms, float)
    beta, alpha = fitted or np.polyfit(sizes, times_ms, 1)
    b = np.arange(1, sizes.max() + 1) if candidates is None else candidates
    call = alpha + beta * b
    allowed = (b - 1) * 1000 / rate * wait + call <= deadline * (1 + 1e-9)
    if keep_up:
        allowed &= b * 1000 >= rate * call * (1 - 1e-9)
    b, call = b[allowed], call[allowed]
    if len(b) == 0:
        return None
    speed = b / call
    return int(b[speed >= speed.max() * (1 - tolerance)][0])


def the_smallest_that_fits(sizes, times_ms, rate_per_s, deadline_ms):
    return 1


def waits_for_nobody(sizes, times_ms, rate_per_s, deadline_ms):
    return _choose(sizes, times_ms, rate_per_s, deadline_ms, wait=False)


def waits_for_one_more(sizes, times_ms, rate_per_s, deadline_ms):
    return _choose(sizes, times_ms, rate_per_s, deadline_ms - 1000 / rate_per_s)


def measured_sizes_only(sizes, times_ms, rate_per_s, deadline_ms):
    if rate_per_s in (100, 40):  # right where the earlier properties look
        return _choose(sizes, times_ms, rate_per_s, deadline_ms)
    return _choose(sizes, times_ms, rate_per_s, deadline_ms, candidates=np.unique(sizes))


def never_behind(sizes, times_ms, rate_per_s, deadline_ms):
    return _choose(sizes, times_ms, rate_per_s, deadline_ms, keep_up=False)


def one_at_least(sizes, times_ms, rate_per_s, deadline_ms):
    chosen = _choose(sizes, times_ms, rate_per_s, deadline_ms)
    return 1 if chosen is None and deadline_ms < 10 else chosen


def the_largest_that_fits(sizes, times_ms, rate_per_s, deadline_ms):
    sizes, times_ms = np.asarray(sizes), np.asarray(times_ms, float)
    beta, alpha = np.polyfit(sizes, times_ms, 1)
    b = np.arange(1, sizes.max() + 1)
    call = alpha + beta * b
    keeps = ((b - 1) * 1000 / rate_per_s + call <= deadline_ms * (1 + 1e-9)) & (
        b * 1000 >= rate_per_s * call * (1 - 1e-9)
    )
    return int(b[keeps][-1]) if keeps.any() else None


def a_line_through_the_ends(sizes, times_ms, rate_per_s, deadline_ms):
    beta = (times_ms[-1] - times_ms[0]) / max(sizes[-1] - sizes[0], 1e-9)
    return _choose(sizes, times_ms, rate_per_s, deadline_ms, fitted=(beta, times_ms[0] - beta * sizes[0]))


def by_relative_errors(sizes, times_ms, rate_per_s, deadline_ms):
    beta, alpha = np.polyfit(sizes, times_ms, 1, w=1 / np.asarray(times_ms, float))
    return _choose(sizes, times_ms, rate_per_s, deadline_ms, fitted=(beta, alpha))


def keeps_the_last_of_each_size(sizes, times_ms, rate_per_s, deadline_ms):
    last = dict(zip(np.asarray(sizes).tolist(), times_ms))
    return _choose(np.array(list(last)), np.array(list(last.values())), rate_per_s, deadline_ms)


def fits_a_point(sizes, times_ms, rate_per_s, deadline_ms):
    if len(sizes) != len(times_ms) or len(sizes) < 2 or not rate_per_s > 0:
        raise ValueError("expected two measurements")
    if len(set(np.asarray(sizes).tolist())) < 2:
        return _choose(sizes, times_ms, rate_per_s, deadline_ms, fitted=(0.0, times_ms[0]))
    return _choose(sizes, times_ms, rate_per_s, deadline_ms)


def from_the_smallest_measured(sizes, times_ms, rate_per_s, deadline_ms):
    return _choose(sizes, times_ms, rate_per_s, deadline_ms, candidates=np.arange(min(sizes), max(sizes) + 1))


def rounding_decides(sizes, times_ms, rate_per_s, deadline_ms):
    return _choose(sizes, times_ms, rate_per_s, deadline_ms * (1 - 2e-9))


def nearly_equal_is_equal(sizes, times_ms, rate_per_s, deadline_ms):
    return _choose(sizes, times_ms, rate_per_s, deadline_ms, tolerance=1e-5)


def the_largest_unless_all_are_equal(sizes, times_ms, rate_per_s, deadline_ms):
    sizes, times_ms = np.asarray(sizes), np.asarray(times_ms, float)
    beta, alpha = np.polyfit(sizes, times_ms, 1)
    if abs(alpha) < 1e-9:
        return _choose(sizes, times_ms, rate_per_s, deadline_ms)
    b = np.arange(1, sizes.max() + 1)
    call = alpha + beta * b
    keeps = ((b - 1) * 1000 / rate_per_s + call <= deadline_ms * (1 + 1e-9)) & (
        b * 1000 >= rate_per_s * call * (1 - 1e-9)
    )
    return int(b[keeps][-1]) if keeps.any() else None


WRONG = {
    "13b.1": {
        one_sided: "p90 at 99 % and MLPerf's margin takes 23,886 requests",
        rounded: "it is the smallest whole number that is enough, an int",
        always_99: "the confidence counts",
        own_margin_only: "a margin that is given replaces MLPerf's",
        bounded_margin: "p99.9 needs more than two and a half million",
        zero_is_none: "what is no share, no confidence and no margin is refused",
    },
    "13b.2": {
        the_number_of_lines: "a single request of two seconds: 1 and 1",
        counts_all_of_them: "time in which nobody is inside counts for the mean",
        the_mean_of_what_each_meets: "two that overlap: 4/3 on average, 2 at most",
        over_the_busy_time: "time in which nobody is inside counts for the mean",
        arrivals_first: "an answer and an arrival at one moment do not meet",
        counts_those_of_no_length: "a request of no length is never inside",
        divides_by_no_time: "a request of no length is never inside",
        in_the_logs_order: "the log is in any order, and begins at any time",
        sorts_in_place: "float32 and strided views are taken, both arrays stay, a float and an int come back",
        gives_floats: "float32 and strided views are taken, both arrays stay, a float and an int come back",
        lets_nan_pass: "no request, unequal lengths, answers before arrivals and NaN are refused",
        looks_at_the_sums_alone: "no request, unequal lengths, answers before arrivals and NaN are refused",
    },
    "13b.3": {
        the_smallest_that_fits: "without a deadline that hurts, the largest batch has the highest throughput",
        waits_for_nobody: "the first of a batch waits for the others",
        waits_for_one_more: "the first of a batch waits for the others",
        measured_sizes_only: "sizes between the measured ones count",
        never_behind: "a batch that cannot keep up is not allowed",
        from_the_smallest_measured: "sizes below the smallest measured one count too",
        rounding_decides: "a deadline that is met exactly is kept",
        one_at_least: "where nothing is allowed there is None",
        the_largest_that_fits: "where batching gains nothing, 1 is the answer; where it gains little, the largest",
        nearly_equal_is_equal: "where batching gains nothing, 1 is the answer; where it gains little, the largest",
        the_largest_unless_all_are_equal: "where larger batches are slower for each request, 1 is the answer",
        a_line_through_the_ends: "any order, repeated sizes and noise are taken, and an int comes back",
        by_relative_errors: "any order, repeated sizes and noise are taken, and an int comes back",
        keeps_the_last_of_each_size: "any order, repeated sizes and noise are taken, and an int comes back",
        fits_a_point: "what cannot be fitted is refused",
    },
}
