"""Wrong answers that people write, planted in lesson 13: each must be caught at the property named."""

import math

import numpy as np


def _parsed(cpu_max, affinity):
    if affinity < 1:
        raise ValueError("affinity")
    if cpu_max is None:
        return None, 100_000
    quota, period = cpu_max.split()
    if int(period) <= 0 or (quota != "max" and int(quota) <= 0):
        raise ValueError("numbers")
    return (None if quota == "max" else int(quota)), int(period)


def _threads(cpu_max, affinity, whole=lambda quota, period: quota // period):
    quota, period = _parsed(cpu_max, affinity)
    return affinity if quota is None else max(1, min(affinity, whole(quota, period)))


def as_many_as_processors(cpu_max, affinity):
    return affinity


def the_quota_alone(cpu_max, affinity):
    return _threads(cpu_max, 10**9 if affinity > 0 else affinity)


def needs_the_file(cpu_max, affinity):
    return _threads(cpu_max or "", affinity)


def reads_max_as_one(cpu_max, affinity):
    return 1 if cpu_max and cpu_max.startswith("max") else _threads(cpu_max, affinity)


def rounds_up(cpu_max, affinity):
    return _threads(cpu_max, affinity, lambda quota, period: math.ceil(quota / period))


def rounds_to_the_nearest(cpu_max, affinity):
    return _threads(cpu_max, affinity, lambda quota, period: round(quota / period))


def none_at_all(cpu_max, affinity):
    quota, period = _parsed(cpu_max, affinity)
    return affinity if quota is None else min(affinity, quota // period)


def the_usual_period(cpu_max, affinity):
    return _threads(cpu_max, affinity, lambda quota, period: quota // 100_000)


def by_floats(cpu_max, affinity):
    return _threads(cpu_max, affinity, lambda quota, period: int(quota / period))


def splits_at_single_spaces(cpu_max, affinity):
    if cpu_max and len(cpu_max.split(" ")) != 2:
        raise ValueError("two words")
    return _threads(cpu_max, affinity)


def checks_nothing(cpu_max, affinity):
    words = (cpu_max or "max 100000").split()
    return affinity if words[0] == "max" else max(1, min(affinity, int(words[0]) // int(words[1])))


def trusts_the_period_of_max(cpu_max, affinity):
    if affinity < 1:
        raise ValueError("affinity")
    if cpu_max is None or (cpu_max.split()[:1] == ["max"] and len(cpu_max.split()) == 2):
        return affinity
    return _threads(cpu_max, affinity)


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


WRONG = {
    "13.1": {
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
    "13.2": {
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
    "13.3": {
        as_many_as_processors: "a quota of 2 on a machine of 64 gives 2",
        the_quota_alone: "the affinity is a limit too",
        needs_the_file: "without a quota the affinity alone counts",
        reads_max_as_one: "without a quota the affinity alone counts",
        rounds_up: "the quota is rounded down, and one thread is the least",
        rounds_to_the_nearest: "the quota is rounded down, and one thread is the least",
        none_at_all: "the quota is rounded down, and one thread is the least",
        the_usual_period: "the period counts",
        by_floats: "white space is allowed, and an int comes back",
        splits_at_single_spaces: "white space is allowed, and an int comes back",
        checks_nothing: "an affinity below 1 and a text of another form are refused",
        trusts_the_period_of_max: "an affinity below 1 and a text of another form are refused",
    },
}
