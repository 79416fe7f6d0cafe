"""Wrong answers that people write, planted in lesson 10b: each must be caught at the property named."""

from itertools import combinations

import numpy as np


def _parts(codes, E, M, dtype=np.int64):
    codes = np.asarray(codes).astype(dtype)
    if (codes.astype(np.int64) >> (1 + E + M)).any():
        raise ValueError("codes of more bits")
    return codes >> (E + M), codes // 2**M % 2**E, codes % 2**M


def last_exponent_set_aside(codes, E, M):
    sign, e, m = _parts(codes, E, M)
    size = np.where(e > 0, 1 + m / 2**M, m / 2**M) * 2.0 ** (np.maximum(e, 1) - 2 ** (E - 1) + 1)
    return np.where(e == 2**E - 1, np.inf, np.where(sign, -size, size))


def bias_of_a_power(codes, E, M):
    sign, e, m = _parts(codes, E, M)
    size = np.where(e > 0, 1 + m / 2**M, m / 2**M) * 2.0 ** (np.maximum(e, 1) - 2 ** (E - 1))
    return np.where(sign, -size, size)


def always_a_leading_one(codes, E, M):
    sign, e, m = _parts(codes, E, M)
    size = (1 + m / 2**M) * 2.0 ** (e - 2 ** (E - 1) + 1)
    return np.where(sign, -size, size)


def subnormals_one_exponent_lower(codes, E, M):
    sign, e, m = _parts(codes, E, M)
    size = np.where(e > 0, 1 + m / 2**M, m / 2**M) * 2.0 ** (e - 2 ** (E - 1) + 1)
    return np.where(sign, -size, size)


def sign_forgotten(codes, E, M):
    _, e, m = _parts(codes, E, M)
    return np.where(e > 0, 1 + m / 2**M, m / 2**M) * 2.0 ** (np.maximum(e, 1) - 2 ** (E - 1) + 1)


def twos_complement(codes, E, M):
    sign, e, m = _parts(codes, E, M)
    size = np.where(e > 0, 1 + m / 2**M, m / 2**M) * 2.0 ** (np.maximum(e, 1) - 2 ** (E - 1) + 1)
    return np.where(sign, size - 2.0 ** (2 ** (E - 1)), size)


def in_the_codes_own_type(codes, E, M):
    codes = np.asarray(codes)
    sign, e, m = codes >> (E + M), codes >> M & 2**E - 1, codes & 2**M - 1
    bias = 2 ** (E - 1) - 1
    with np.errstate(over="ignore"):
        size = np.where(e > 0, (1 + m / 2**M) * 2.0 ** (e - codes.dtype.type(bias)), m / 2**M * 2.0 ** (1 - bias))
    return np.where(sign > 0, -size, size)


def bytes_only(codes, E, M):
    codes = np.asarray(codes).astype(np.uint8).astype(np.int64)
    return _decoded(*_parts(codes, E, M), E, M)


def _decoded(sign, e, m, E, M):
    size = np.where(e > 0, 1 + m / 2**M, m / 2**M) * 2.0 ** (np.maximum(e, 1) - 2 ** (E - 1) + 1)
    return np.where(sign, -size, size)


def in_single_precision(codes, E, M):
    return _decoded(*_parts(codes, E, M), E, M).astype(np.float32)


def by_way_of_float32(codes, E, M):
    sign, e, m = _parts(codes, E, M)
    with np.errstate(over="ignore"):
        power = np.exp2((np.maximum(e, 1) - 2 ** (E - 1) + 1).astype(np.float32))
        size = np.where(e > 0, 1 + m / 2**M, m / 2**M).astype(np.float32) * power
    return np.where(sign, -size, size).astype(np.float64)


def needs_a_code(codes, E, M):
    assert np.asarray(codes).max() >= 0
    return _decoded(*_parts(codes, E, M), E, M)


def drops_what_is_above(codes, E, M):
    codes = np.asarray(codes).astype(np.int64) % 2 ** (1 + E + M)
    return _decoded(*_parts(codes, E, M), E, M)


def _column(step, x):
    return np.asarray(step).astype(x.dtype).reshape(-1, *[1] * (x.ndim - 1))


def gives_levels(x, step, least, greatest, upstream):
    levels = x / _column(step, x)
    return np.clip(np.rint(levels), least, greatest), np.where((levels >= least) & (levels <= greatest), upstream, 0)


def ties_away(x, step, least, greatest, upstream):
    levels = x / _column(step, x)
    value = np.clip(np.floor(levels + 0.5), least, greatest) * _column(step, x)
    return value, np.where((levels >= least) & (levels <= greatest), upstream, 0)


def the_true_derivative(x, step, least, greatest, upstream):
    value = np.clip(np.rint(x / _column(step, x)), least, greatest) * _column(step, x)
    return value, np.zeros_like(upstream)


def passes_everywhere(x, step, least, greatest, upstream):
    value = np.clip(np.rint(x / _column(step, x)), least, greatest) * _column(step, x)
    return value, upstream.copy()


def range_after_rounding(x, step, least, greatest, upstream):
    levels = np.rint(x / _column(step, x))
    value = np.clip(levels, least, greatest) * _column(step, x)
    return value, np.where((levels >= least) & (levels <= greatest), upstream, 0)


def along_the_last_axis(x, step, least, greatest, upstream):
    levels = x / step
    value = np.clip(np.rint(levels), least, greatest) * step
    return value, np.where((levels >= least) & (levels <= greatest), upstream, 0)


def two_axes_only(x, step, least, greatest, upstream):
    levels = x / step[:, None]
    value = np.clip(np.rint(levels), least, greatest) * step[:, None]
    return value, np.where((levels >= least) & (levels <= greatest), upstream, 0)


def gradient_of_upstreams_type(x, step, least, greatest, upstream):
    step = np.asarray(step)
    if step.shape != x.shape[:1] or not (step > 0).all() or least >= greatest:
        raise ValueError("a step above 0 for each channel, least below greatest")
    value, gradient = gives_levels(x, step, least, greatest, upstream)
    return (value * _column(step, x)).astype(x.dtype), gradient


def widens(x, step, least, greatest, upstream):
    column = np.asarray(step, np.float64).reshape(-1, *[1] * (x.ndim - 1))
    levels = x / column
    value = np.clip(np.rint(levels), least, greatest) * column
    return value, np.where((levels >= least) & (levels <= greatest), upstream, 0)


def writes_into_upstream(x, step, least, greatest, upstream):
    levels = x / _column(step, x)
    upstream[(levels < least) | (levels > greatest)] = 0
    return (np.clip(np.rint(levels), least, greatest) * _column(step, x)).astype(x.dtype), upstream


def takes_any_step(x, step, least, greatest, upstream):
    with np.errstate(all="ignore"):
        levels = x / _column(step, x)
        value = np.clip(np.rint(levels), least, greatest) * _column(step, x)
    return value.astype(x.dtype), np.where((levels >= least) & (levels <= greatest), upstream, 0).astype(x.dtype)


def _greedy(layers, score, least, better=max, start=None):
    chosen, reached = [], score(frozenset())
    while reached < least:
        left = [layer for layer in layers if layer not in chosen]
        if not left:
            raise ValueError("out of reach")
        scores = [score(frozenset([*chosen, layer])) for layer in left]
        reached = better(scores)
        chosen.append(left[scores.index(reached)])
    return chosen


def always_one_at_least(layers, score, least):
    return _greedy(layers, score, least) or [max(layers, key=lambda layer: score(frozenset([layer])))]


def first_that_is_enough(layers, score, least):
    if score(frozenset()) >= least:
        return []
    for layer in layers:
        if score(frozenset([layer])) >= least:
            return [layer]
    return _greedy(layers, score, least)


def worst_first(layers, score, least):
    return _greedy(layers, score, least, better=min)


def the_best_alone_only(layers, score, least):
    if score(frozenset()) >= least:
        return []
    return [max(layers, key=lambda layer: score(frozenset([layer])))]


def sorted_by_a_scan(layers, score, least):
    reached, chosen = score(frozenset()), []
    if reached >= least:
        return []
    alone = {layer: score(frozenset([layer])) for layer in layers}
    for layer in sorted(layers, key=lambda layer: -alone[layer]):
        chosen.append(layer)
        reached = score(frozenset(chosen)) if len(chosen) > 1 else alone[layer]
        if reached >= least:
            return chosen
    raise ValueError("out of reach")


def as_a_set(layers, score, least):
    return set(_greedy(layers, score, least))


def the_last_of_equals(layers, score, least):
    return _greedy(layers[::-1], score, least)


def from_a_set(layers, score, least):
    return _greedy(list(set(layers)), score, least)


def by_name(layers, score, least):
    return _greedy(sorted(layers), score, least)


def stops_when_nothing_rises(layers, score, least):
    chosen, reached = [], score(frozenset())
    while reached < least:
        left = [layer for layer in layers if layer not in chosen]
        scores = [score(frozenset([*chosen, layer])) for layer in left]
        if not left or max(scores) <= reached:
            raise ValueError("out of reach")
        reached = max(scores)
        chosen.append(left[scores.index(reached)])
    return chosen


def starts_at_zero(layers, score, least):
    chosen, reached = [], score(frozenset())
    while reached < least:
        best, highest = None, 0
        for layer in layers:
            if layer not in chosen and (value := score(frozenset([*chosen, layer]))) > highest:
                best, highest = layer, value
        if best is None:
            raise ValueError("out of reach")
        chosen.append(best)
        reached = highest
    return chosen


def all_sets_of_each_size(layers, score, least):
    order = _greedy(layers, score, least)
    asked = set()
    for size in range(len(layers) + 1):
        asked |= {score(frozenset(each)) for each in combinations(layers, size)}
    return order


def gives_lists_to_score(layers, score, least):
    return _greedy(layers, lambda in_float: score(tuple(sorted(in_float, key=layers.index))), least)


def returns_what_it_has(layers, score, least):
    try:
        return _greedy(layers, score, least)
    except ValueError:
        return list(layers)


WRONG = {
    "10b.1": {
        last_exponent_set_aside: "normal numbers: codes 2 to 7 of FP4 E2M1 are 1, 1.5, 2, 3, 4, 6",
        bias_of_a_power: "normal numbers: codes 2 to 7 of FP4 E2M1 are 1, 1.5, 2, 3, 4, 6",
        always_a_leading_one: "subnormal values: codes 0 and 1 of FP4 are 0 and 0.5, those of E2M3 steps of 1/8",
        subnormals_one_exponent_lower: "subnormal values: codes 0 and 1 of FP4 are 0 and 0.5, those of E2M3 steps of 1/8",
        sign_forgotten: "with the sign bit they are negative, and the sign bit alone is -0.0",
        twos_complement: "with the sign bit they are negative, and the sign bit alone is -0.0",
        in_the_codes_own_type: "E3M2 and E4M3 in uint8, where e - bias is below 0",
        bytes_only: "other widths: E5M10 and E6M9 in uint16, E2M0, E1M2, codes in uint64",
        by_way_of_float32: "float64, for any shape: with gaps, empty, a single code",
        in_single_precision: "float64, for any shape: with gaps, empty, a single code",
        needs_a_code: "float64, for any shape: with gaps, empty, a single code",
        drops_what_is_above: "a bit above the sign is refused",
    },
    "10b.2": {
        gives_levels: "values become step times the nearest level, clipped",
        ties_away: "ties go to the even level",
        the_true_derivative: "inside the range the gradient goes through as it came",
        passes_everywhere: "outside the range it is 0, at its ends it passes",
        range_after_rounding: "outside the range it is 0, at its ends it passes",
        along_the_last_axis: "a step for each channel, along the first axis, of a square matrix too",
        two_axes_only: "one axis, four axes, one channel, none",
        gradient_of_upstreams_type: "the gradient has the dtype of x, whatever that of upstream",
        widens: "float32 stays float32, float64 float64; views with gaps",
        writes_into_upstream: "x and upstream stay as they were",
        takes_any_step: "steps and levels that make no sense are refused",
    },
    "10b.3": {
        always_one_at_least: "if the score is enough at once, no layer joins",
        first_that_is_enough: "if one layer is enough, it is the best one",
        worst_first: "if one layer is enough, it is the best one",
        the_best_alone_only: "more layers join until it is enough, in the order in which they joined",
        as_a_set: "if the score is enough at once, no layer joins",
        sorted_by_a_scan: "layers that repair the same error do not both join",
        the_last_of_equals: "among equals the first in the list joins",
        from_a_set: "among equals the first in the list joins",
        by_name: "among equals the first in the list joins",
        stops_when_nothing_rises: "a layer joins even if the score does not rise",
        starts_at_zero: "names may be numbers, and scores negative",
        all_sets_of_each_size: "if the score is enough at once, no layer joins",
        gives_lists_to_score: "score gets frozensets, each at most once, and no more of them than needed",
        returns_what_it_has: "a target out of reach is refused",
    },
}
