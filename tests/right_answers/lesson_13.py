"""Right answers to lesson 13's exercises that differ from the solutions."""

import heapq
import math
import re
from fractions import Fraction

import numpy as np

from course_lib.measure import load


def by_pattern(cpu_max, affinity):
    if affinity < 1:
        raise ValueError("affinity")
    if cpu_max is None:
        return affinity
    found = re.fullmatch(r"\s*(max|[1-9]\d*)\s+([1-9]\d*)\s*", cpu_max)
    if not found:
        raise ValueError("form")
    return affinity if found[1] == "max" else max(1, min(affinity, int(found[1]) // int(found[2])))


def by_counting_up(cpu_max, affinity):
    if affinity < 1:
        raise ValueError("affinity")
    words = ["max", "1"] if cpu_max is None else cpu_max.split()
    if len(words) != 2 or not words[1].isdigit() or int(words[1]) == 0:
        raise ValueError("form")
    if words[0] != "max" and not (words[0].isdigit() and int(words[0])):
        raise ValueError("form")
    threads = 1
    while threads < affinity and (words[0] == "max" or (threads + 1) * int(words[1]) <= int(words[0])):
        threads += 1
    return threads


def by_fraction(cpu_max, affinity):
    limits = [affinity]
    if cpu_max is not None:
        quota, period = cpu_max.split()
        if int(period) < 1:
            raise ValueError("period")
        if quota != "max":
            if int(quota) < 1:
                raise ValueError("quota")
            limits.append(max(1, Fraction(int(quota), int(period)).__floor__()))
    if min(limits) < 1:
        raise ValueError("affinity")
    return min(limits)


def as_a_numpy_integer(cpu_max, affinity):
    return np.int64(by_pattern(cpu_max, affinity))


def by_divmod(cpu_max, affinity):
    if affinity <= 0:
        raise ValueError("affinity")
    try:
        quota, period = (cpu_max or "max 1").split() if cpu_max != "" else ("", "")
        whole = affinity if quota == "max" else divmod(int(quota), int(period))[0]
    except ZeroDivisionError:
        raise ValueError("period") from None
    if int(period) <= 0 or (quota != "max" and int(quota) <= 0):
        raise ValueError("numbers")
    return sorted([1, whole, affinity])[1]


def _checked(height, width, c_in, c_out, k, padding, groups):
    if c_in % groups != 0 or c_out % groups != 0:
        raise ValueError("groups")
    if height + 2 * padding < k or width + 2 * padding < k:
        raise ValueError("filter")


def by_ranges(batch, c_in, height, width, c_out, k, stride=1, padding=0, groups=1):
    _checked(height, width, c_in, c_out, k, padding, groups)
    places = len(range(0, height + 2 * padding - k + 1, stride)) * len(range(0, width + 2 * padding - k + 1, stride))
    filters = c_out * k**2 * c_in // groups
    return 2 * batch * places * filters, 4 * (batch * (c_in * height * width + c_out * places) + filters)


def as_a_list(batch, c_in, height, width, c_out, k, stride=1, padding=0, groups=1):
    return list(by_ranges(batch, c_in, height, width, c_out, k, stride, padding, groups))


def group_by_group(batch, c_in, height, width, c_out, k, stride=1, padding=0, groups=1):
    _checked(height, width, c_in, c_out, k, padding, groups)
    rows, columns = ((side + 2 * padding - k + stride) // stride for side in (height, width))
    operations = moved = 0
    for _ in range(groups):
        inputs, outputs = c_in // groups, c_out // groups
        operations += 2 * batch * outputs * rows * columns * inputs * k * k
        moved += 4 * (batch * inputs * height * width + outputs * inputs * k * k + batch * outputs * rows * columns)
    return operations, moved


def as_a_matrix_product(batch, c_in, height, width, c_out, k, stride=1, padding=0, groups=1):
    _checked(height, width, c_in, c_out, k, padding, groups)
    rows = batch * math.prod(1 + (side - k + 2 * padding) // stride for side in (height, width))
    inner, columns = c_in * k * k // groups, c_out // groups
    operations = groups * rows * columns * inner * 2
    return operations, 4 * sum([batch * c_in * height * width, groups * inner * columns, groups * rows * columns])


def by_hand_rounded_down(batch, c_in, height, width, c_out, k, stride=1, padding=0, groups=1):
    _checked(height, width, c_in, c_out, k, padding, groups)
    high = math.floor((height + 2 * padding - k) / stride + 1)
    wide = math.floor((width + 2 * padding - k) / stride + 1)
    macs = batch * c_out * high * wide * k**2 * (c_in // groups)
    weights = c_out * k**2 * (c_in // groups)
    return (macs + macs, 4 * batch * c_in * height * width + 4 * weights + 4 * batch * c_out * high * wide)


def with_a_heap(due, service, workers=1):
    due, service = np.array(due, np.float64), np.array(service, np.float64)
    if len(due) != len(service) or workers < 1 or any(b < a for a, b in zip(due, due[1:])):
        raise ValueError("schedule")
    free, out = [float("-inf")] * workers, []
    for at, takes in zip(due, service):
        end = max(at, heapq.heappop(free)) + takes
        heapq.heappush(free, end)
        out.append(end - at)
    return np.array(out, np.float64)


def as_a_list_of_latencies(due, service, workers=1):
    return with_a_heap(due, service, workers).tolist()


def only_as_many_workers_as_requests(due, service, workers=1):
    return with_a_heap(due, service, min(workers, max(1, len(due))) if workers > 0 else workers)


def by_what_is_still_running(due, service, workers=1):
    due, service = np.asarray(due).astype(float), np.asarray(service).astype(float)
    if due.shape != service.shape or workers <= 0 or (due[1:] < due[:-1]).any():
        raise ValueError("schedule")
    ends = np.empty(len(due))
    for i in range(len(due)):
        before = np.sort(ends[:i])
        ends[i] = max(due[i], before[-workers] if i >= workers else -np.inf) + service[i]
    return ends - due


def by_the_library(due, service, workers=1):
    if len(due) == 0 and len(service) == 0 and workers >= 1:
        return np.zeros(0)
    if len(due) != len(service):
        raise ValueError("lengths")
    return load.simulate(due, service, workers=workers).latency_ms / 1000


RIGHT = {
    "13.1": [by_ranges, as_a_list, group_by_group, as_a_matrix_product, by_hand_rounded_down],
    "13.2": [
        with_a_heap,
        as_a_list_of_latencies,
        only_as_many_workers_as_requests,
        by_what_is_still_running,
        by_the_library,
    ],  # fmt: skip
    "13.3": [by_pattern, by_counting_up, by_fraction, as_a_numpy_integer, by_divmod],
}
