"""Wrong answers that people write, planted in lesson 10: each must be caught at the property named."""

import numpy as np


def just_casts(values, scale, zero_point):
    return np.asarray(values).astype(np.int8)


def levels_as_floats(values, scale, zero_point):
    return np.clip(np.rint(np.asarray(values) / scale) + zero_point, -128, 127)


def subtracts_the_zero_point(values, scale, zero_point):
    return np.clip(np.rint(np.asarray(values) / scale) - zero_point, -128, 127).astype(np.int8)


def cuts_off(values, scale, zero_point):
    return np.clip(np.asarray(values, np.float64) / scale + zero_point, -128, 127).astype(np.int8)


def ties_up(values, scale, zero_point):
    return np.clip(np.floor(np.asarray(values, np.float64) / scale + 0.5) + zero_point, -128, 127).astype(np.int8)


def zero_point_first(values, scale, zero_point):
    return np.clip(np.rint(np.asarray(values, np.float64) / scale + zero_point), -128, 127).astype(np.int8)


def times_the_inverse(values, scale, zero_point):
    return np.clip(np.rint(np.asarray(values, np.float64) * (1 / scale)) + zero_point, -128, 127).astype(np.int8)


def ends_at_minus_127(values, scale, zero_point):
    levels = np.rint(np.asarray(values, np.float64) / scale) + zero_point
    return np.clip(levels, -127, 127).astype(np.int8)


def wraps_round(values, scale, zero_point):
    with np.errstate(invalid="ignore", over="ignore"):
        levels = np.nan_to_num(np.rint(np.asarray(values, np.float64) / scale) + zero_point, posinf=127, neginf=-128)
    return (
        np.mod(np.clip(levels, -(2.0**40), 2.0**40) + 128, 256)
        .astype(np.uint8)
        .astype(np.int16)
        .__sub__(128)
        .astype(np.int8)
    )


def in_half(values, scale, zero_point):
    with np.errstate(over="ignore"):
        return np.clip(
            np.rint(np.asarray(values) / np.asarray(values).dtype.type(scale)) + zero_point, -128, 127
        ).astype(np.int8)


def in_single(values, scale, zero_point):
    with np.errstate(over="ignore"):
        levels = np.rint(np.asarray(values, np.float32) / np.float32(scale))
    return np.clip(levels + zero_point, -128, 127).astype(np.int8)


def needs_a_value(values, scale, zero_point):
    wide = np.asarray(values, np.float64)
    assert wide.max() >= wide.min()
    with np.errstate(over="ignore"):
        return np.clip(np.rint(wide / scale) + zero_point, -128, 127).astype(np.int8)


def in_place(values, scale, zero_point):
    wide = np.asarray(values, np.float64)
    with np.errstate(over="ignore"):
        np.divide(wide, scale, out=wide)
    return np.clip(np.rint(wide) + zero_point, -128, 127).astype(np.int8)


def takes_anything(values, scale, zero_point):
    with np.errstate(all="ignore"):
        return np.clip(np.rint(np.asarray(values, np.float64) / scale) + zero_point, -128, 127).astype(np.int8)


def refuses_127(values, scale, zero_point):
    if zero_point not in range(-128, 127):
        raise ValueError("a zero point in int8")
    return takes_anything(values, scale, zero_point)


def floors_the_scale(values, scale, zero_point):
    return takes_anything(values, max(scale, 1e-8), zero_point)


def scale_in_single(values, scale, zero_point):
    return takes_anything(values, np.float64(np.float32(scale)), zero_point)


def _shares(took):
    total = sum(took.values())
    return sorted(((name, dur / total) for name, dur in took.items()), key=lambda each: (-each[1], each[0]))


def _kernels(events):
    return [e for e in events if e.get("cat") == "Node" and e.get("name", "").endswith("_kernel_time")]


def in_microseconds(events):
    return [(e["args"]["op_name"], e["dur"]) for e in _kernels(events)]


def the_last_run(events):
    return _shares({e["args"]["op_name"]: e["dur"] for e in _kernels(events)})


def by_name(events):
    took = {}
    for e in _kernels(events):
        took[e["args"]["op_name"]] = took.get(e["args"]["op_name"], 0) + e["dur"]
    return sorted(_shares(took))


def rounds_the_shares(events):
    return [(name, round(share, 4)) for name, share in divides_by_nothing(events)]


def takes_the_kind_out(events):
    shares = divides_by_nothing(events)
    for e in _kernels(events):
        del e["args"]["op_name"]
    return shares


def every_category(events):
    took = {}
    for e in events:
        if "op_name" in e.get("args", {}) and e.get("name", "").endswith("_kernel_time"):
            took[e["args"]["op_name"]] = took.get(e["args"]["op_name"], 0) + e["dur"]
    return _shares(took)


def fences_too(events):
    took = {}
    for e in events:
        if e["cat"] == "Node":
            took[e["args"]["op_name"]] = took.get(e["args"]["op_name"], 0) + e["dur"]
    return _shares(took)


def needs_every_key(events):
    took = {}
    for e in events:
        if e["cat"] == "Node" and e["name"].endswith("_kernel_time"):
            took[e["args"]["op_name"]] = took.get(e["args"]["op_name"], 0) + e["dur"]
    return _shares(took)


def drops_zeros(events):
    took = {}
    for e in _kernels(events):
        if e["dur"]:
            took[e["args"]["op_name"]] = took.get(e["args"]["op_name"], 0) + e["dur"]
    return _shares(took)


def eats_the_events(events):
    took = {}
    for e in _kernels(events):
        took[e["args"]["op_name"]] = took.get(e["args"]["op_name"], 0) + e.pop("dur")
    return _shares(took)


def divides_by_nothing(events):
    took = {}
    for e in _kernels(events):
        took[e["args"]["op_name"]] = took.get(e["args"]["op_name"], 0) + e["dur"]
    return _shares(took)


def _interval(lost, won, count, half=0.5, two=2):
    b, c, m = lost + half, won + half, count + two
    reach = 1.96 * np.sqrt(b + c - (c - b) ** 2 / m) / m
    return lost, won, float((c - b) / m - reach), float((c - b) / m + reach)


def _cells(labels, before, after):
    was, now = before == labels, after == labels
    return int((was & ~now).sum()), int((now & ~was).sum())


def swapped(labels, before, after):
    lost, won = _cells(labels, before, after)
    return _interval(won, lost, len(labels))


def any_difference(labels, before, after):
    changed = before != after
    lost = int((changed & (after != labels)).sum())
    return _interval(lost, int((changed & (after == labels)).sum()), len(labels))


def without_the_halves(labels, before, after):
    return _interval(*_cells(labels, before, after), len(labels), half=0, two=0)


def two_intervals(labels, before, after):
    lost, won = _cells(labels, before, after)
    p, q, n = (before == labels).mean(), (after == labels).mean(), len(labels)
    reach = 1.96 * np.sqrt(p * (1 - p) / n + q * (1 - q) / n)
    return lost, won, float(q - p - reach), float(q - p + reach)


def numpy_numbers(labels, before, after):
    was, now = before == labels, after == labels
    lost, won = (was & ~now).sum(), (now & ~was).sum()
    return (lost, won, *_interval(lost, won, len(labels))[2:])


def broadcasts(labels, before, after):
    if len(labels) == 0:
        raise ValueError
    return _interval(*_cells(labels, before, after), len(labels))


def compares_lengths(labels, before, after):
    if labels.ndim != 1 or not 0 < len(labels) == len(before) == len(after):
        raise ValueError
    return _interval(*_cells(labels, before, after), len(labels))


def _beaten(costs, at_most, less):
    costs = np.asarray(costs)
    if costs.ndim != 2 or costs.shape[1] == 0 or np.isnan(costs).any():
        raise ValueError
    return ~(at_most(costs[:, None] <= costs, axis=2) & less(costs[:, None] < costs, axis=2)).any(axis=0)


def indices(costs):
    return np.flatnonzero(_beaten(costs, np.all, np.any))


def winners_of_columns(costs):
    return (np.asarray(costs) == np.asarray(costs).min(axis=0)).any(axis=1)


def smallest_sum(costs):
    return np.asarray(costs).sum(axis=1) == np.asarray(costs).sum(axis=1).min()


def less_everywhere(costs):
    return _beaten(costs, np.all, np.all)


def twins_go(costs):
    costs = np.asarray(costs)
    no_worse = (costs[:, None] <= costs).all(axis=2)
    np.fill_diagonal(no_worse, False)
    return ~no_worse.any(axis=0)


def by_difference(costs):
    costs = np.asarray(costs)
    with np.errstate(invalid="ignore"):
        apart = costs[:, None] - costs
    return ~((apart <= 0).all(axis=2) & (apart < 0).any(axis=2)).any(axis=0)


def of_a_list(costs):
    costs = np.asarray(costs)
    return np.array([not any((a <= b).all() and (a < b).any() for a in costs) for b in costs])


def in_float64(costs):
    return _beaten(np.asarray(costs).astype(float), np.all, np.any)


def nan_stays(costs):
    costs = np.asarray(costs)
    return ~((costs[:, None] <= costs).all(axis=2) & (costs[:, None] < costs).any(axis=2)).any(axis=0)


WRONG = {
    "10.1": {
        refuses_127: "values on the grid become their level, the zero point added",
        floors_the_scale: "any finite scale above 0 is fine, tiny and large",
        scale_in_single: "float16, float32 and float64, in a view with gaps",
        levels_as_floats: "an int8 array of the same shape",
        just_casts: "values on the grid become their level, the zero point added",
        subtracts_the_zero_point: "values on the grid become their level, the zero point added",
        cuts_off: "between levels it is the nearest one",
        ties_up: "ties go to the even number, before the zero point is added",
        zero_point_first: "ties go to the even number, before the zero point is added",
        times_the_inverse: "the value is divided by the scale; the product with 1 / scale moves ties",
        ends_at_minus_127: "values on the grid become their level, the zero point added",
        wraps_round: "what lies outside goes to the nearer end",
        in_single: "float16, float32 and float64, in a view with gaps",
        in_half: "float16, float32 and float64, in a view with gaps",
        needs_a_value: "an empty array and a single number are fine",
        in_place: "the values stay as they were",
        takes_anything: "NaN, and scales and zero points that make no sense, are refused",
    },
    "10.2": {
        in_microseconds: "two kinds of operators: 30 and 10 microseconds are three quarters and one",
        the_last_run: "runs of one kind are added up",
        rounds_the_shares: "shares are not rounded, and add up to 1",
        takes_the_kind_out: "a list of pairs with plain floats, and the events stay as they were",
        by_name: "the largest first, equal shares by name",
        every_category: "events of other categories count nowhere",
        fences_too: "of the category Node only kernel times count",
        needs_every_key: "other events may lack any key",
        drops_zeros: "an operator that took 0 has the share 0, and fractions are fine",
        eats_the_events: "a list of pairs with plain floats, and the events stay as they were",
        divides_by_nothing: "where no operator took time, it is refused",
    },
    "10.3": {
        swapped: "lost and won are the examples that one form alone got right",
        any_difference: "two wrong answers that differ are neither lost nor won",
        without_the_halves: "the interval of the docstring, on 450 images with 3 lost and 1 won",
        two_intervals: "the interval of the docstring, on 450 images with 3 lost and 1 won",
        numpy_numbers: "plain ints and floats, whatever integer type comes in",
        compares_lengths: "no example, shapes that differ, and logits are refused",
        broadcasts: "no example, shapes that differ, and logits are refused",
    },
    "10.4": {
        indices: "a truth value for each form",
        smallest_sum: "a form beaten in every cost goes, a form that is best in one stays",
        winners_of_columns: "a form that is best in no cost may still stay",
        less_everywhere: "equal in one cost and beaten in the other is beaten",
        twins_go: "equal forms do not remove each other",
        of_a_list: "infinity, negative numbers and an empty list are fine",
        by_difference: "infinity, negative numbers and an empty list are fine",
        in_float64: "nothing is rounded on the way, and the costs stay as they were",
        nan_stays: "NaN, no costs and other shapes are refused",
    },
}
