"""Right answers to lesson 11's exercises that differ from the solutions."""

import heapq
import itertools
import math

import numpy as np


def _in_range(sparsity):
    if not 0 <= sparsity <= 1:
        raise ValueError("expected a sparsity from 0 to 1")


def by_partition(weights, sparsity):
    _in_range(sparsity)
    flat = np.ravel(weights)
    size = np.abs(flat.astype(np.int64) if flat.dtype.kind == "i" else flat)
    gone = round(sparsity * size.size)
    if gone == 0:
        return np.ones(np.shape(weights), bool)
    threshold = np.partition(size, gone - 1)[gone - 1]
    keep = size >= threshold
    ties = np.flatnonzero(size == threshold)
    keep[ties[gone - int((size < threshold).sum()) :]] = True
    keep[ties[: gone - int((size < threshold).sum())]] = False
    return keep.reshape(np.shape(weights))


def by_lexsort(weights, sparsity):
    _in_range(sparsity)
    size = np.abs(np.asarray(weights, np.float64)).reshape(-1)
    rank = np.empty(size.size, int)
    rank[np.lexsort((np.arange(size.size), size))] = np.arange(size.size)
    return (rank >= round(sparsity * size.size)).reshape(weights.shape)


def by_sorted_pairs(weights, sparsity):
    _in_range(sparsity)
    numbers = [abs(each.item()) for each in weights.flat]
    order = sorted(range(len(numbers)), key=numbers.__getitem__)
    keep = [True] * len(numbers)
    for i in order[: round(sparsity * len(numbers))]:
        keep[i] = False
    return np.array(keep, bool).reshape(weights.shape)


def squares_in_longdouble(weights, sparsity):
    _in_range(sparsity)
    size = np.ravel(weights).astype(np.longdouble) ** 2
    keep = np.ones(size.size, bool)
    keep[np.argsort(size, kind="mergesort")[: round(sparsity * size.size)]] = False
    return keep.reshape(weights.shape)


def by_heap(weights, sparsity):
    _in_range(sparsity)
    sizes = [abs(float(each)) for each in np.ravel(weights)]
    keep = np.full(len(sizes), True)
    keep[heapq.nsmallest(round(sparsity * len(sizes)), range(len(sizes)), key=lambda i: (sizes[i], i))] = False
    return keep.reshape(weights.shape)


def into_ones_like(weights, sparsity):
    _in_range(sparsity)
    mask = np.ones_like(weights, dtype=bool)
    size = np.abs(weights if weights.dtype.kind == "f" else weights.astype("i8"))
    mask.flat[np.argsort(size, axis=None, kind="stable")[: int(np.rint(sparsity * weights.size))]] = False
    return mask


def level_by_level(weights, sparsity):
    _in_range(sparsity)
    size = np.abs(weights.astype(float))
    left, keep = round(sparsity * size.size), np.ones(size.shape, bool)
    for level in np.unique(size):
        chosen = np.argwhere(size == level)[:left]
        keep[tuple(chosen.T)] = False
        left -= len(chosen)
        if left == 0:
            break
    return keep


def _fits(sparsities, accuracies, sizes, tolerance):
    if accuracies.ndim != 2 or accuracies.shape != (len(sizes), len(sparsities)):
        raise ValueError("shapes")
    if len(sparsities) < 1 or sparsities[0] != 0 or any(b <= a for a, b in zip(sparsities, sparsities[1:])):
        raise ValueError("sparsities")
    if np.isnan(accuracies).any() or np.isnan(tolerance) or tolerance < 0:
        raise ValueError("numbers")


def by_loops(sparsities, accuracies, sizes, tolerance):
    _fits(sparsities, accuracies, sizes, tolerance)
    shares = []
    for curve in accuracies:
        share = sparsities[0]
        for s, a in zip(sparsities, curve):
            if float(curve[0]) - float(a) > tolerance + 1e-9:
                break
            share = s
        shares.append(share)
    gone = sum(share * size for share, size in zip(shares, sizes))
    return np.array(shares), float(gone) / float(sum(sizes))


def by_cumprod(sparsities, accuracies, sizes, tolerance):
    _fits(sparsities, accuracies, sizes, tolerance)
    passed = accuracies[:, [0]] - accuracies <= tolerance + 1e-9
    shares = sparsities[np.cumprod(passed, axis=1).sum(axis=1) - 1]
    return shares, np.average(shares, weights=sizes)


def by_accumulated_losses(sparsities, accuracies, sizes, tolerance):
    _fits(sparsities, accuracies, sizes, tolerance)
    worst = np.minimum.accumulate(accuracies, axis=1)
    held = worst >= accuracies[:, :1] - tolerance - 1e-9
    shares = np.where(held, sparsities, 0).max(axis=1)
    return shares, float((shares * sizes).sum() / sizes.sum())


def a_list_of_shares(sparsities, accuracies, sizes, tolerance):
    shares, total = by_cumprod(sparsities, accuracies, sizes, tolerance)
    return [float(each) for each in shares], float(total)


def with_isclose(sparsities, accuracies, sizes, tolerance):
    _fits(sparsities, accuracies, sizes, tolerance)
    loss = accuracies[:, :1].astype(float) - accuracies
    bad = (loss > tolerance) & ~np.isclose(loss, tolerance, rtol=0, atol=1e-9)
    bad = np.hstack([bad, np.ones((len(bad), 1), bool)])
    shares = sparsities[bad.argmax(axis=1) - 1]
    return shares, float(np.dot(shares, sizes) / np.sum(sizes))


def with_takewhile(sparsities, accuracies, sizes, tolerance):
    _fits(sparsities, accuracies, sizes, tolerance)
    shares = []
    for losses in accuracies[:, :1] - accuracies:
        passed = itertools.takewhile(lambda step: step[0] < tolerance + 1e-9, zip(losses, sparsities))
        shares.append(max(s for _, s in passed))
    return np.array(shares, float), sum(s * n for s, n in zip(shares, sizes)) / sum(sizes)


def by_searching_the_worst_so_far(sparsities, accuracies, sizes, tolerance):
    _fits(sparsities, accuracies, sizes, tolerance)
    worst = np.maximum.accumulate(accuracies[:, :1].astype(float) - accuracies, axis=1)
    places = [np.searchsorted(row, tolerance + 1e-9, side="right") - 1 for row in worst]
    shares = np.take(sparsities, places)
    return shares, float(np.average(shares, weights=sizes))


def by_np_result(weights):
    if weights.ndim != 2:
        raise ValueError("expected a matrix")
    rows, columns = weights.shape
    values, item = int((weights != 0).sum()), weights.itemsize

    def width(largest):
        return next(bytes_ for bytes_ in (1, 2, 4) if largest < 256**bytes_)

    starts = width(values) * (rows + 1)
    return {
        "dense": weights.nbytes if weights.flags.c_contiguous else weights.size * item,
        "CSR": values * item + values * width(max(columns - 1, 0)) + starts,
        "bitmap": (weights.size + 7) // 8 + values * item,
    }


def by_packbits(weights):
    if np.asarray(weights).ndim != 2:
        raise ValueError("expected a matrix")
    kept = weights[weights != 0]
    columns = np.min_scalar_type(max(weights.shape[1] - 1, 0)).itemsize
    starts = np.min_scalar_type(kept.size).itemsize
    return {
        "dense": int(np.prod(weights.shape)) * weights.dtype.itemsize,
        "CSR": kept.nbytes + kept.size * columns + (weights.shape[0] + 1) * starts,
        "bitmap": np.packbits(weights != 0).nbytes + kept.nbytes,
    }


def by_counting_rows(weights):
    if len(np.shape(weights)) != 2:
        raise ValueError("expected a matrix")
    rows, columns = weights.shape
    values = sum(int(np.count_nonzero(row)) for row in weights)
    column = 1 if columns <= 256 else 2 if columns <= 65536 else 4
    start = 1 if values <= 255 else 2 if values <= 65535 else 4
    item = np.dtype(weights.dtype).itemsize
    bits = rows * columns
    return dict(
        dense=bits * item,
        CSR=values * (item + column) + start * (rows + 1),
        bitmap=bits // 8 + (bits % 8 > 0) + values * item,
    )


def through_nonzero(weights):
    shape = np.asarray(weights).shape
    if len(shape) != 2:
        raise ValueError("expected a matrix")
    where, _ = np.nonzero(weights)
    starts = np.searchsorted(where, np.arange(shape[0] + 1))
    widths = [min(b for b in (1, 2, 4) if largest < 1 << 8 * b) for largest in (shape[1] - 1, int(starts[-1]))]
    item = weights.itemsize
    return {
        "dense": math.prod(shape) * item,
        "CSR": len(where) * (item + widths[0]) + len(starts) * widths[1],
        "bitmap": math.ceil(math.prod(shape) / 8) + len(where) * item,
    }


def by_truth_values(weights):
    if weights.ndim != 2:
        raise ValueError("expected a matrix")
    values = int(weights.astype(bool).sum())

    def width(largest):
        return int(np.array([1, 2, 4])[np.searchsorted([2**8 - 1, 2**16 - 1], largest)])

    return {
        "dense": weights.size * weights.itemsize,
        "CSR": values * (weights.itemsize + width(weights.shape[1] - 1)) + (len(weights) + 1) * width(values),
        "bitmap": math.ceil(weights.size / 8) + values * weights.itemsize,
    }


def _channels(weight, following, keep):
    channels, keep = len(weight), [int(k) for k in keep]
    if not keep or len(set(keep)) != len(keep) or min(keep) < 0 or max(keep) >= channels:
        raise ValueError("keep")
    if following.ndim == 4 and following.shape[1] != channels:
        raise ValueError("following")
    if following.ndim == 2 and (following.shape[1] % channels or following.shape[1] < channels):
        raise ValueError("following")
    return keep


def by_columns(weight, bias, following, keep):
    keep = _channels(weight, following, keep)
    if following.ndim == 4:
        read = following[:, keep].copy()
    else:
        points = following.shape[1] // len(weight)
        read = following[:, [points * k + i for k in keep for i in range(points)]]
    return weight[keep].copy(), bias[keep].copy(), read


def by_take(weight, bias, following, keep):
    keep = _channels(weight, following, keep)
    parts = np.split(following, len(weight), axis=1)
    return [np.take(weight, keep, 0), np.take(bias, keep), np.concatenate([parts[k] for k in keep], axis=1)]


def with_ix(weight, bias, following, keep):
    keep = np.array(_channels(weight, following, keep))
    per = following.shape[1] // len(weight) if following.ndim == 2 else 1
    columns = np.add.outer(keep * per, np.arange(per)).ravel()
    return weight[keep], bias[keep], following[np.ix_(range(len(following)), columns)]


def by_one_hot(weight, bias, following, keep):
    keep = _channels(weight, following, keep)
    stacked = [weight[k].copy() for k in keep]
    parts = [part for part in np.array_split(following, len(weight), axis=1)]
    return np.stack(stacked), np.array([bias[k] for k in keep], bias.dtype), np.hstack([parts[k] for k in keep])


def takes_keep_for_an_array(weight, bias, following, keep):
    if keep.size == 0 or np.unique(keep).size < keep.size or keep.min() < 0 or keep.max() >= len(weight):
        raise ValueError("keep")
    points, rest = divmod(following.shape[1], len(weight))
    if rest or (following.ndim == 4 and points != 1):
        raise ValueError("following")
    columns = (keep[:, None] * points + np.arange(points)).flatten()
    return weight[keep], bias[keep], following[:, columns]


def into_an_empty_array(weight, bias, following, keep):
    keep = _channels(weight, following, keep)
    points = following.shape[1] // len(weight)
    read = np.empty((len(following), points * len(keep), *following.shape[2:]), following.dtype)
    for i, k in enumerate(keep):
        read[:, i * points : (i + 1) * points] = following[:, k * points : (k + 1) * points]
    return np.copy(weight[keep]), np.copy(bias[keep]), read


RIGHT = {
    "11.1": [by_partition, by_lexsort, by_sorted_pairs, squares_in_longdouble, by_heap, into_ones_like, level_by_level],
    "11.2": [
        *(by_loops, by_cumprod, by_accumulated_losses, a_list_of_shares, with_isclose),
        *(with_takewhile, by_searching_the_worst_so_far),
    ],
    "11.3": [by_np_result, by_packbits, by_counting_rows, through_nonzero, by_truth_values],
    "11.4": [by_columns, by_take, with_ix, by_one_hot, takes_keep_for_an_array, into_an_empty_array],
}
