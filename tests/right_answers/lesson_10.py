"""Right answers to lesson 10's exercises that differ from the solutions."""

import math
from collections import Counter, defaultdict
from fractions import Fraction
from itertools import groupby

import numpy as np


def _need_a_grid(scale, zero_point):
    if not (scale > 0 and math.isfinite(scale)) or zero_point not in range(-128, 128):
        raise ValueError("a scale above 0 and a zero point in int8")


def number_by_number(values, scale, zero_point):
    _need_a_grid(scale, zero_point)
    values = np.asarray(values)
    out = np.empty(values.shape, np.int8)
    for index in np.ndindex(values.shape):
        wide = float(values[index])
        if math.isnan(wide):
            raise ValueError("NaN")
        steps = wide / scale
        out[index] = max(-128, min(127, (round(steps) if math.isfinite(steps) else steps) + zero_point))
    return out


def clipped_before_the_zero_point(values, scale, zero_point):
    _need_a_grid(scale, zero_point)
    wide = np.array(values, dtype=np.float64)
    if not (wide == wide).all():
        raise ValueError("NaN")
    with np.errstate(over="ignore"):
        steps = np.clip(np.around(wide / scale), -128 - zero_point, 127 - zero_point)
    return (steps.astype(np.int64) + zero_point).astype("int8")


def in_pytorch(values, scale, zero_point):
    import torch

    _need_a_grid(scale, zero_point)
    wide = torch.tensor(np.array(values, np.float64))
    if wide.isnan().any():
        raise ValueError("NaN")
    return (wide / scale).round().add(zero_point).clamp(-128, 127).to(torch.int8).numpy()


def by_the_minimum_and_the_maximum(values, scale, zero_point):
    if not np.isfinite(scale) or scale <= 0 or zero_point < -128 or zero_point > 127:
        raise ValueError("a scale above 0 and a zero point in int8")
    wide = np.array(values).astype("float64")
    if np.isnan(wide).sum() > 0:
        raise ValueError("NaN")
    with np.errstate(all="ignore"):
        levels = np.rint(np.divide(wide, np.float64(scale))) + int(zero_point)
    return np.minimum(np.maximum(levels, -128.0), 127.0).astype(np.int8)


def from_the_library(values, scale, zero_point):
    _need_a_grid(scale, zero_point)
    wide = np.asarray(values, np.float64)
    if np.isnan(wide).any():
        raise ValueError("NaN")
    with np.errstate(over="ignore"):
        whole = (wide / scale).round(0)
    return np.select([whole >= 127 - zero_point, whole <= -128 - zero_point], [127, -128], whole + zero_point).astype(
        np.int8
    )


def with_vectorize(values, scale, zero_point):
    _need_a_grid(scale, zero_point)

    def level(value):
        if value != value:
            raise ValueError("NaN")
        quotient = float(value) / float(scale)
        if math.isinf(quotient):
            return 127 if quotient > 0 else -128
        return min(127, max(-128, round(quotient) + zero_point))

    with np.errstate(over="ignore"):
        return np.vectorize(level, otypes=[np.int8])(np.asarray(values, np.float64))


def _operators(events):
    return [e for e in events if e.get("cat") == "Node" and str(e.get("name", "")).endswith("_kernel_time")]


def with_a_counter(events):
    took = Counter()
    for e in _operators(events):
        took[e["args"]["op_name"]] += e["dur"]
    total = sum(took.values())
    if not total:
        raise ValueError("no time")
    return [(name, -minus / total) for minus, name in sorted((-dur, name) for name, dur in took.items())]


def with_groupby(events):
    pairs = sorted((e["args"]["op_name"], e["dur"]) for e in _operators(events))
    took = [(name, sum(dur for _, dur in each)) for name, each in groupby(pairs, key=lambda pair: pair[0])]
    total = math.fsum(dur for _, dur in took)
    if total <= 0:
        raise ValueError("no time")
    return sorted([(name, float(dur / total)) for name, dur in took], key=lambda pair: pair[1], reverse=True)


def with_bincount(events):
    found = _operators(events)
    if sum(e["dur"] for e in found) == 0:
        raise ValueError("no time")
    names, where = np.unique([e["args"]["op_name"] for e in found], return_inverse=True)
    shares = np.bincount(where, [e["dur"] for e in found])
    shares = shares / shares.sum()
    return [(str(names[k]), float(shares[k])) for k in np.argsort(-shares, kind="stable")]


def with_a_defaultdict_and_two_sorts(events):
    took = defaultdict(float)
    for event in events:
        if event.get("cat", "") != "Node" or event.get("name", "")[-12:] != "_kernel_time":
            continue
        took[event["args"]["op_name"]] += float(event["dur"])
    if not any(took.values()):
        raise ValueError("no time")
    shares = [(name, dur / sum(took.values())) for name, dur in sorted(took.items())]
    shares.sort(key=lambda each: each[1], reverse=True)
    return shares


def with_fractions(events):
    took = {}
    for e in _operators(events):
        took.setdefault(e["args"]["op_name"], []).append(Fraction(e["dur"]))
    total = sum(map(sum, took.values()))
    if total == 0:
        raise ValueError("no time")
    order = sorted(took, key=lambda name: (-sum(took[name]), name))
    return [(name, float(sum(took[name]) / total)) for name in order]


def as_lists(events):
    return [list(each) for each in with_groupby(events)]


def _three(labels, before, after):
    three = [np.asarray(each) for each in (labels, before, after)]
    if any(each.ndim != 1 or each.shape != three[0].shape or not each.size for each in three):
        raise ValueError("three arrays (N,)")
    return three


def from_differences(labels, before, after):
    labels, before, after = _three(labels, before, after)
    apart = (after == labels).astype(int) - (before == labels)
    lost, won = int((apart < 0).sum()), int((apart > 0).sum())
    m = len(labels) + 2
    middle = (won - lost) / m
    reach = 1.96 / m * math.sqrt(lost + won + 1 - (won - lost) ** 2 / m)
    return lost, won, middle - reach, middle + reach


def one_by_one(labels, before, after):
    labels, before, after = _three(labels, before, after)
    lost = won = 0
    for right, was, now in zip(labels.tolist(), before.tolist(), after.tolist()):
        lost += was == right != now
        won += now == right != was
    b, c, m = lost + 0.5, won + 0.5, labels.size + 2
    reach = 1.96 * (b + c - (c - b) ** 2 / m) ** 0.5 / m
    return lost, won, (c - b) / m - reach, (c - b) / m + reach


def from_the_table(labels, before, after):
    labels, before, after = _three(labels, before, after)
    table = np.full((2, 2), 0.5)
    np.add.at(table, ((before == labels).astype(int), (after == labels).astype(int)), 1)
    n, b, c = table.sum(), table[1, 0], table[0, 1]
    reach = 1.96 * np.sqrt(b + c - (c - b) ** 2 / n) / n
    return int(b - 0.5), int(c - 0.5), float((c - b) / n - reach), float((c - b) / n + reach)


def by_the_library(labels, before, after):
    from course_lib.measure import disagreements

    labels, before, after = _three(labels, before, after)
    split = disagreements(labels, before, after)
    b, c, n = split.first_only + 0.5, split.second_only + 0.5, len(labels) + 2
    ends = (c - b) / n + np.array([-1.96, 1.96]) / n * np.sqrt(b + c - (c - b) ** 2 / n)
    return split.first_only, split.second_only, *ends.tolist()


def from_the_mean_of_differences(labels, before, after):
    labels, before, after = _three(labels, before, after)
    was, now = (before == labels).astype(float), (after == labels).astype(float)
    b, c = np.sum(was * (1 - now)), np.sum(now * (1 - was))
    n = labels.shape[0] + 2.0
    delta = (c - b) / n
    reach = 1.96 * np.sqrt(((b + c + 1) / n - delta**2) / n)
    return round(b), round(c), float(delta - reach), float(delta + reach)


def with_sets(labels, before, after):
    labels, before, after = _three(labels, before, after)
    was, now = (set(np.flatnonzero(each == labels).tolist()) for each in (before, after))
    lost, won, m = len(was - now), len(now - was), len(labels) + 2
    middle = (won - lost) / m
    reach = 1.96 * math.sqrt((lost + won + 1) / m - middle**2) / math.sqrt(m)
    return lost, won, middle - reach, middle + reach


def _costs(costs):
    costs = np.array(costs)
    if costs.ndim != 2 or not costs.shape[1] or (costs != costs).any():
        raise ValueError("numbers (N, K) without NaN")
    return costs


def row_by_row(costs):
    costs = _costs(costs)
    keep = [not any((other <= mine).all() and (other < mine).any() for other in costs) for mine in costs]
    return np.array(keep, dtype=bool)


def of_tuples(costs):
    rows = [tuple(row) for row in _costs(costs).tolist()]
    return np.array([not any(a != b and all(x <= y for x, y in zip(a, b)) for a in rows) for b in rows], bool)


def removed_one_after_another(costs):
    costs = _costs(costs)
    keep = np.ones(len(costs), dtype=bool)
    for row in costs:
        keep &= ~((row <= costs).all(axis=1) & (row < costs).any(axis=1))
    return keep


def over_unique_rows(costs):
    costs = _costs(costs)
    if not len(costs):
        return np.zeros(0, bool)
    rows, where = np.unique(costs, axis=0, return_inverse=True)
    kept = [(row[None] >= rows).all(axis=1).sum() == 1 for row in rows]
    return np.array(kept)[where.reshape(-1)]


def in_the_other_direction(costs):
    costs = _costs(costs)
    worse = (costs[:, None] > costs[None]).any(axis=2)  # [i, j]: i is worse than j somewhere
    equal = (costs[:, None] == costs[None]).all(axis=2)
    return (worse.T | equal).all(axis=1)


RIGHT = {
    "10.1": [
        number_by_number,
        clipped_before_the_zero_point,
        in_pytorch,
        by_the_minimum_and_the_maximum,
        from_the_library,
        with_vectorize,
    ],
    "10.2": [with_a_counter, with_groupby, with_bincount, with_a_defaultdict_and_two_sorts, as_lists, with_fractions],
    "10.3": [from_differences, one_by_one, from_the_table, by_the_library, from_the_mean_of_differences, with_sets],
    "10.4": [row_by_row, of_tuples, removed_one_after_another, over_unique_rows, in_the_other_direction],
}
