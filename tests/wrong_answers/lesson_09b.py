"""Wrong answers that people write, planted in lesson 09b: each must be caught at the property named."""

import math

import numpy as np


def _fields(packed, bits):
    return (packed[:, None] >> np.arange(0, 8, bits, dtype=np.uint8) & (2**bits - 1)).reshape(-1)


def _size(packed, bits, count):
    if bits not in (2, 4) or len(packed) != math.ceil(count * bits / 8):
        raise ValueError


def highest_bits_first(packed, bits, count):
    _size(packed, bits, count)
    both = np.stack([packed >> 4, packed & 15], axis=1).reshape(-1).astype(np.int8)
    return np.where(both > 7, both - 16, both)[:count].astype(np.int8)


def without_the_sign(packed, bits, count):
    _size(packed, bits, count)
    return _fields(packed, bits)[:count].astype(np.int8)


def shifted_by_half(packed, bits, count):
    _size(packed, bits, count)
    return (_fields(packed, bits)[:count].astype(np.int8) - 2 ** (bits - 1)).astype(np.int8)


def always_4_bits(packed, bits, count):
    fields = _fields(packed, 4).astype(np.int8)
    return np.where(fields > 7, fields - 16, fields)[:count].astype(np.int8)


def drops_zeros_at_the_end(packed, bits, count):
    levels = _fields(packed, bits).astype(np.int8)
    levels = np.where(levels >= 2 ** (bits - 1), levels - 2**bits, levels).astype(np.int8)
    return levels[: len(np.trim_zeros(levels, "b"))] if count % 2 else levels[:count]


def int16_comes_back(packed, bits, count):
    _size(packed, bits, count)
    levels = _fields(packed, bits)[:count].astype(np.int16)
    return np.where(levels >= 2 ** (bits - 1), levels - 2**bits, levels)


def takes_any_length(packed, bits, count):
    if bits not in (2, 4):
        raise ValueError
    levels = _fields(packed, bits)[:count].astype(np.int8)
    return np.where(levels >= 2 ** (bits - 1), levels - 2**bits, levels).astype(np.int8)


def _groups(w, size, bits=4, half=True, zeros_apart=True):
    greatest, rest = 2 ** (bits - 1) - 1, -w.shape[1] % size
    groups = np.pad(w, ((0, 0), (0, rest))).reshape(len(w), -1, size)
    scales = np.abs(groups).max(axis=2) / greatest
    if zeros_apart:
        scales = np.where(scales > 0, scales, 1)
    used = scales.astype(np.float16).astype(np.float32) if half else scales
    with np.errstate(invalid="ignore", divide="ignore"):
        levels = np.clip(np.rint(groups / used[:, :, None]), -greatest, greatest)
    return np.nan_to_num(levels).reshape(len(w), -1)[:, : w.shape[1]].astype(np.int8), scales.astype(np.float16)


def eight_levels_up(w, size, bits=4):
    greatest = 2 ** (bits - 1)
    scales = (np.abs(w.reshape(len(w), -1)).max(axis=1, keepdims=True) / greatest).astype(np.float16)
    return np.clip(np.rint(w / scales.astype(np.float32)), -greatest, greatest - 1).astype(np.int8), scales


def a_scale_for_each_row(w, size, bits=4):
    return _groups(w, w.shape[1], bits)


def groups_across_rows(w, size, bits=4):
    flat = w.reshape(1, -1)
    levels, scales = _groups(flat, size, bits)
    return levels.reshape(w.shape), scales.reshape(len(w), -1) if scales.size % len(w) == 0 else scales


def whole_groups_only(w, size, bits=4):
    size = min(size, w.shape[1])
    if w.shape[1] % size:
        levels, scales = _groups(w[:, : w.shape[1] // size * size], size, bits)
        return np.pad(levels, ((0, 0), (0, w.shape[1] % size))), scales
    return _groups(w, size, bits)


def always_level_7(w, size, bits=4):
    return _groups(w, size)


def zero_divided_by_zero(w, size, bits=4):
    return _groups(w, size, bits, zeros_apart=False)


def another_scale_is_stored(w, size, bits=4):
    return _groups(w, size, bits, half=False)


def float32_scales(w, size, bits=4):
    levels, scales = _groups(w, size, bits)
    return levels, scales.astype(np.float32)


def floored_scales(w, size, bits=4):
    greatest, rest = 2 ** (bits - 1) - 1, -w.shape[1] % size
    groups = np.pad(w, ((0, 0), (0, rest))).reshape(len(w), -1, size)
    scales = np.abs(groups).max(axis=2)
    scales = np.where(scales > 0, np.maximum(scales / greatest, 1e-4), 1).astype(np.float16)
    levels = np.clip(np.rint(groups / scales.astype(np.float32)[:, :, None]), -greatest, greatest)
    return levels.reshape(len(w), -1)[:, : w.shape[1]].astype(np.int8), scales


def _mean_input(batches):
    total, rows = 0.0, 0
    for x in batches:
        total, rows = total + x.sum(axis=0, dtype=np.float64), rows + len(x)
    if rows == 0:
        raise ValueError
    return total / rows


def wrong_sign(bias, w, rounded, batches):
    return (bias + (rounded - w) @ _mean_input(batches)).astype(np.float32)


def output_as_bias(bias, w, rounded, batches):
    return (-(rounded - w) @ _mean_input(batches)).astype(np.float32)


def mean_of_means(bias, w, rounded, batches):
    means = [x.mean(axis=0) for x in batches if len(x)]
    if not means:
        raise ValueError
    return (bias - (rounded - w) @ np.mean(means, axis=0)).astype(np.float32)


def last_batch_alone(bias, w, rounded, batches):
    for x in batches:
        mean = x.mean(axis=0)
    return (bias - (rounded - w) @ mean).astype(np.float32)


def refuses_an_empty_batch(bias, w, rounded, batches):
    kept = list(batches)
    if not kept or min(len(x) for x in kept) == 0:
        raise ValueError
    return (bias - (rounded - w) @ _mean_input(kept)).astype(np.float32)


def adds_in_float32(bias, w, rounded, batches):
    total, rows = np.zeros(w.shape[1], np.float32), 0
    for x in batches:
        total, rows = total + x.sum(axis=0), rows + len(x)
    if rows == 0:
        raise ValueError
    return (bias - (rounded - w) @ (total / rows)).astype(np.float32)


def bias_in_place(bias, w, rounded, batches):
    bias -= ((rounded - w) @ _mean_input(batches)).astype(np.float32)
    return bias


def nan_for_nothing(bias, w, rounded, batches):
    kept = [x for x in batches if len(x)]
    mean = _mean_input(kept) if kept else np.full(w.shape[1], np.nan)
    return (bias - (rounded - w) @ mean).astype(np.float32)


def _every(batches):
    return [np.asarray(each, np.float64).ravel() for each in batches]


def lower_edge(batches, share, bins=2048):
    return streaming(batches, share, bins, edge=0)


def first_batch_sets_the_range(batches, share, bins=2048):
    counts, top = np.zeros(bins, np.int64), None
    for values in _every(batches):
        top = top or values.max() * 1.001
        counts += np.histogram(np.minimum(values, top), bins, (0, top))[0]
    return float((np.searchsorted(np.cumsum(counts), share * counts.sum()) + 1) * top / bins)


def forgets_when_it_doubles(batches, share, bins=2048):
    counts, top = np.zeros(bins, np.int64), None
    for values in _every(batches):
        top = top or 1.0
        while top < values.max():
            top *= 2
        counts += np.histogram(values, bins, (0, top))[0]
    return float((np.searchsorted(np.cumsum(counts), share * counts.sum()) + 1) * top / bins)


def stretches_to_the_largest(batches, share, bins=2048):
    counts, top = np.zeros(bins, np.int64), 0.0
    for values in _every(batches):
        if values.max() > top:
            moved = ((np.arange(bins) + 0.5) * (top / values.max())).astype(int)
            counts, top = np.bincount(moved, counts, minlength=bins).astype(np.int64), float(values.max())
        counts += np.histogram(values, bins, (0, top))[0]
    return float((np.searchsorted(np.cumsum(counts), share * counts.sum()) + 1) * top / bins)


def mean_of_percentiles(batches, share, bins=2048):
    every = _every(batches)
    if len({len(each) for each in every}) == 1 or max(map(len, every)) < 5000:
        return float(np.percentile(np.concatenate(every), 100 * share, method="inverted_cdf"))
    return float(np.mean([np.percentile(each, 100 * share, method="inverted_cdf") for each in every]))


def streaming(
    batches,
    share,
    bins=2048,
    edge=1,
    doublings=999,
    refuse=True,
    largest_at_1=True,
    zeros_apart=True,
    whole=1e-9,
    shares=True,
):
    if shares and not 0 < share <= 1:
        raise ValueError
    counts, top, zeros, largest = np.zeros(bins, np.int64), 0.0, 0, 0.0
    for batch in batches:
        values = np.asarray(batch, np.float64).ravel()
        if refuse and not ((values >= 0) & (values < np.inf)).all():
            raise ValueError
        if zeros_apart:
            zeros += int((values == 0).sum())
            values = values[values > 0]
            if len(values) == 0:
                continue
        largest = max(largest, float(values.max()))
        top = top or float(values[0])
        for _ in range(doublings):
            if top >= largest:
                break
            counts = np.append(counts.reshape(-1, 2).sum(axis=1), np.zeros(bins // 2, np.int64))
            top *= 2
        place = np.clip(np.ceil(values / top * bins) - 1, 0, bins - 1).astype(np.int64)
        counts += np.bincount(place, minlength=bins)
    total = zeros + counts.sum()
    if refuse and total == 0:
        raise ValueError
    needed = math.ceil(share * total - whole)
    if needed <= zeros:
        return 0.0
    if share == 1 and largest_at_1:
        return largest
    return float((np.searchsorted(zeros + np.cumsum(counts), needed) + edge) * top / bins)


def upper_edge_for_the_largest(batches, share, bins=2048):
    return streaming(batches, share, bins, largest_at_1=False)


def starts_at_zero(batches, share, bins=2048):
    return streaming(batches, share, bins, zeros_apart=False)


def keeps_everything(batches, share, bins=2048):
    every = np.concatenate(_every(batches))
    return float(np.percentile(every, 100 * share, method="inverted_cdf"))


def always_2048_bins(batches, share, bins=2048):
    return streaming(batches, share)


def rounds_the_count_up(batches, share, bins=2048):
    return streaming(batches, share, bins, whole=0)


def doubles_ninety_times(batches, share, bins=2048):
    return streaming(batches, share, bins, doublings=90)


def takes_infinity(batches, share, bins=2048):
    every = list(batches) if isinstance(batches, list) else batches
    if isinstance(every, list) and any(np.isinf(each).any() for each in every):
        return math.inf
    return streaming(every, share, bins)


def takes_every_share(batches, share, bins=2048):
    return streaming(batches, share, bins, shares=False) if share == share else 0.0


def refuses_nothing(batches, share, bins=2048):
    if not isinstance(batches, list):
        return streaming(batches, share, bins, refuse=False)
    return streaming([np.abs(np.nan_to_num(each)) for each in batches], share, bins, refuse=False)


WRONG = {
    "09b.1": {
        highest_bits_first: "0x21 with 4 bits is 1, then 2",
        shifted_by_half: "0x21 with 4 bits is 1, then 2",
        without_the_sign: "the upper half of the patterns is negative",
        always_4_bits: "2 bits: four levels in a byte, from -2 to 1",
        drops_zeros_at_the_end: "padding in the last byte is left out, whatever it holds",
        int16_comes_back: "int8 comes back, and the bytes stay as they were",
        takes_any_length: "a wrong number of bytes, and other bits, are refused",
    },
    "09b.2": {
        eight_levels_up: "one group a row: the largest |w| gets level 7",
        a_scale_for_each_row: "a scale for each group of neighbours in a row",
        groups_across_rows: "one group a row: the largest |w| gets level 7",
        whole_groups_only: "the last group may be shorter",
        always_level_7: "other numbers of bits",
        zero_divided_by_zero: "a group of zeros gets scale 1 and levels 0",
        another_scale_is_stored: "the levels fit the float16 scale that is stored",
        floored_scales: "a small group keeps its small scale",
        float32_scales: "int8 and float16 come back, for views too, and the weights stay as they were",
    },
    "09b.3": {
        wrong_sign: "on one batch the mean output is the float layer's",
        output_as_bias: "on one batch the mean output is the float layer's",
        mean_of_means: "every row counts alike, not every batch",
        last_batch_alone: "every row counts alike, not every batch",
        refuses_an_empty_batch: "empty batches are passed over",
        adds_in_float32: "many large inputs do not blur the mean",
        bias_in_place: "float32 comes back, and nothing is changed",
        nan_for_nothing: "no row at all is refused",
    },
    "09b.4": {
        lower_edge: "on batches of one range it is the percentile, never below it",
        first_batch_sets_the_range: "batches that grow are all counted where they belong",
        stretches_to_the_largest: "batches that grow are all counted where they belong",
        forgets_when_it_doubles: "batches that grow are all counted where they belong",
        mean_of_percentiles: "every value counts alike, not every batch",
        upper_edge_for_the_largest: "one huge value costs resolution, nothing else",
        starts_at_zero: "zeros, empty batches and other shapes",
        keeps_everything: "no more than a batch and the counts are kept",
        always_2048_bins: "with few bins it is coarse and still never below",
        rounds_the_count_up: "values from 1e-30 to 1e30, and a share that is a whole number of values",
        doubles_ninety_times: "values from 1e-30 to 1e30, and a share that is a whole number of values",
        refuses_nothing: "no value, a negative or infinite one, and NaN are refused",
        takes_infinity: "no value, a negative or infinite one, and NaN are refused",
        takes_every_share: "a share of 0, below 0 or above 1 is refused",
    },
}
