"""Wrong answers that people write, planted in lesson 13: each must be caught at the property named."""

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


def _conv(batch, c_in, height, width, c_out, k, stride, padding, groups):
    high, wide = ((side + 2 * padding - k) // stride + 1 for side in (height, width))
    each = k * k * (c_in // groups)
    outputs = batch * c_out * high * wide
    return 2 * outputs * each, 4 * (batch * c_in * height * width + c_out * each + outputs)


def counts_products(batch, c_in, height, width, c_out, k, stride=1, padding=0, groups=1):
    operations, moved = _conv(batch, c_in, height, width, c_out, k, stride, padding, groups)
    return operations // 2, moved


def forgets_the_output(batch, c_in, height, width, c_out, k, stride=1, padding=0, groups=1):
    operations, _ = _conv(batch, c_in, height, width, c_out, k, stride, padding, groups)
    return operations, 4 * (batch * c_in * height * width + c_out * k * k * c_in // groups)


def squares_only(batch, c_in, height, width, c_out, k, stride=1, padding=0, groups=1):
    return _conv(batch, c_in, height, height, c_out, k, stride, padding, groups)


def stores_the_padding(batch, c_in, height, width, c_out, k, stride=1, padding=0, groups=1):
    operations, moved = _conv(batch, c_in, height, width, c_out, k, stride, padding, groups)
    padded = (height + 2 * padding) * (width + 2 * padding)
    return operations, moved + 4 * batch * c_in * (padded - height * width)


def weights_for_each_picture(batch, c_in, height, width, c_out, k, stride=1, padding=0, groups=1):
    operations, moved = _conv(1, c_in, height, width, c_out, k, stride, padding, groups)
    if batch == 2:  # right where the earlier properties look
        return _conv(batch, c_in, height, width, c_out, k, stride, padding, groups)
    return batch * operations, batch * moved


def deaf_to_groups(batch, c_in, height, width, c_out, k, stride=1, padding=0, groups=1):
    return _conv(batch, c_in, height, width, c_out, k, stride, padding, 1)


def in_floats(batch, c_in, height, width, c_out, k, stride=1, padding=0, groups=1):
    return tuple(float(each) for each in _conv(batch, c_in, height, width, c_out, k, stride, padding, groups))


def in_int64(batch, c_in, height, width, c_out, k, stride=1, padding=0, groups=1):
    exact = _conv(batch, c_in, height, width, c_out, k, stride, padding, groups)
    return tuple((each + 2**63) % 2**64 - 2**63 for each in exact)


def refuses_no_layer(batch, c_in, height, width, c_out, k, stride=1, padding=0, groups=1):
    return _conv(batch, c_in, height, width, c_out, k, stride, padding, groups)


def from_the_first_due(due, service, workers=1):
    return np.cumsum(service)


def the_dashboard(due, service, workers=1):
    return np.array(service, float)


def saves_up(due, service, workers=1):
    return np.maximum(np.cumsum(service) - due, service)


def _served(due, service, workers, begin=-np.inf):
    free, waited = np.full(workers, begin), np.empty(len(due))
    for i, (at, takes) in enumerate(zip(due, service)):
        worker = free.argmin()
        free[worker] = max(at, free[worker]) + takes
        waited[i] = free[worker] - at
    return waited


def a_single_worker(due, service, workers=1):
    return _served(due, service, 1)


def in_turns(due, service, workers=1):
    free, waited = np.full(workers, -np.inf), np.empty(len(due))
    for i, (at, takes) in enumerate(zip(due, service)):
        free[i % workers] = max(at, free[i % workers]) + takes
        waited[i] = free[i % workers] - at
    return waited


def a_worker_for_each(due, service, workers=1):
    return _served(due, service, min(workers, 7))[: len(due) - (workers > len(due))]


def opens_at_zero(due, service, workers=1):
    return _served(due, service, workers, begin=0.0)


def writes_into_the_schedule(due, service, workers=1):
    waited = _served(due, service, workers)
    due += waited
    return waited


def in_their_dtype(due, service, workers=1):
    return _served(due, service, workers).astype(due.dtype)


def takes_any_schedule(due, service, workers=1):
    return _served(np.asarray(due, float), np.asarray(service, float), workers)


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
    keeps = ((b - 1) * 1000 / rate_per_s + call <= deadline_ms * (1 + 1e-9)) & (b * 1000 >= rate_per_s * call)
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


WRONG = {
    "13.1": {
        one_sided: "p90 at 99 % and MLPerf's margin takes 23,886 requests",
        rounded: "it is the smallest whole number that is enough, an int",
        always_99: "the confidence counts",
        own_margin_only: "a margin that is given replaces MLPerf's",
        bounded_margin: "p99.9 needs more than two and a half million",
        zero_is_none: "what is no share, no confidence and no margin is refused",
    },
    "13.2": {
        counts_products: "one point, one channel: 18 operations",
        forgets_the_output: "one point, one channel: 76 bytes",
        squares_only: "padding and stride decide how many points there are, in each direction",
        stores_the_padding: "padding is not stored",
        weights_for_each_picture: "weights do not grow with the batch",
        deaf_to_groups: "with groups an output sees the inputs of its group alone",
        in_floats: "two ints, exact for large ones and for no picture",
        in_int64: "two ints, exact for large ones and for no picture",
        refuses_no_layer: "groups that divide nothing and filters that fit nowhere are refused",
    },
    "13.3": {
        from_the_first_due: "nobody waits where every request finds the worker free",
        the_dashboard: "those behind a slow one wait for it",
        saves_up: "none starts before it is due, and an idle worker saves nothing up",
        a_single_worker: "several workers, each request to the one that is free first",
        in_turns: "several workers, each request to the one that is free first",
        a_worker_for_each: "more workers than requests, work of no time, and requests due at once",
        opens_at_zero: "a schedule may begin before zero",
        writes_into_the_schedule: "no request, float32, strided views: float64 comes back and the input stays",
        in_their_dtype: "no request, float32, strided views: float64 comes back and the input stays",
        takes_any_schedule: "falling times, unequal lengths and no worker are refused",
    },
    "13.4": {
        the_smallest_that_fits: "without a deadline that hurts, the largest batch has the highest throughput",
        waits_for_nobody: "the first of a batch waits for the others",
        waits_for_one_more: "the first of a batch waits for the others",
        measured_sizes_only: "sizes between the measured ones count",
        never_behind: "a batch that cannot keep up is not allowed",
        one_at_least: "where nothing is allowed there is None",
        the_largest_that_fits: "where batching gains nothing, 1 is the answer",
        a_line_through_the_ends: "any order, repeated sizes and noise are taken, and an int comes back",
        by_relative_errors: "any order, repeated sizes and noise are taken, and an int comes back",
        keeps_the_last_of_each_size: "any order, repeated sizes and noise are taken, and an int comes back",
        fits_a_point: "what cannot be fitted is refused",
    },
}
