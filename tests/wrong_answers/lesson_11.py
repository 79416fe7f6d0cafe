"""Wrong answers that people write, planted in lesson 11: each must be caught at the property named."""

import numpy as np


def _ranked(weights, count, size=None, kind="stable"):
    size = np.abs(np.ravel(weights).astype(np.float64)) if size is None else size
    keep = np.ones(size.size, bool)
    keep[np.argsort(size, kind=kind)[:count]] = False
    return keep.reshape(np.shape(weights))


def flat_mask(weights, sparsity):
    return _ranked(weights, round(sparsity * np.size(weights))).ravel()


def by_sign(weights, sparsity):
    return _ranked(weights, round(sparsity * weights.size), np.ravel(weights).astype(float))


def inverted(weights, sparsity):
    return ~_ranked(weights, round(sparsity * weights.size))


def by_quantile(weights, sparsity):
    size = np.abs(weights)
    return size > np.quantile(size, sparsity)


def cut_off(weights, sparsity):
    return _ranked(weights, int(sparsity * weights.size + 1e-9))


def last_equals_first(weights, sparsity):
    flat = np.abs(np.ravel(weights).astype(float))[::-1]
    return _ranked(flat, round(sparsity * flat.size))[::-1].reshape(weights.shape)


def memory_order(weights, sparsity):
    flat = np.abs(weights.astype(float)).ravel(order="K")
    keep = _ranked(flat, round(sparsity * flat.size))
    return keep.reshape(
        weights.shape, order="F" if weights.flags.f_contiguous and not weights.flags.c_contiguous else "C"
    )


def magnitude_in_int8(weights, sparsity):
    return _ranked(weights, round(sparsity * weights.size), np.abs(np.ravel(weights)))


def magnitude_in_float16(weights, sparsity):
    with np.errstate(over="ignore"):
        return _ranked(weights, round(sparsity * weights.size), np.abs(np.ravel(weights).astype(np.float16)))


def magnitude_in_float32(weights, sparsity):
    return _ranked(weights, round(sparsity * weights.size), np.abs(np.ravel(weights).astype(np.float32)))


def rounds_a_half_up(weights, sparsity):
    return _ranked(weights, int(sparsity * weights.size + 0.5))


def ints_in_int16(weights, sparsity):
    wide = weights.astype(np.int16) if weights.dtype == np.int8 else weights
    return _ranked(weights, round(sparsity * weights.size), np.abs(np.ravel(wide)))


def ints_in_int32(weights, sparsity):
    wide = weights.astype(np.int32) if weights.dtype.kind == "i" else weights
    return _ranked(weights, round(sparsity * weights.size), np.abs(np.ravel(wide)))


def ints_in_float32(weights, sparsity):
    wide = weights.astype(np.float32) if weights.dtype.kind == "i" else weights
    return _ranked(weights, round(sparsity * weights.size), np.abs(np.ravel(wide)))


def needs_a_weight(weights, sparsity):
    mask = _ranked(weights, round(sparsity * weights.size))
    np.abs(weights).max()
    return mask


def keeps_the_end(weights, sparsity):
    size = np.abs(np.ravel(weights).astype(float))
    keep = np.zeros(size.size, bool)
    keep[np.argsort(size, kind="stable")[-(size.size - round(sparsity * size.size)) :]] = True
    return keep.reshape(weights.shape)


def clips_the_sparsity(weights, sparsity):
    return _ranked(weights, round(min(max(sparsity, 0), 1) * weights.size))


def lets_nan_through(weights, sparsity):
    if sparsity < 0 or sparsity > 1:
        raise ValueError
    return _ranked(weights, 0 if sparsity != sparsity else round(sparsity * weights.size))


def prunes_in_place(weights, sparsity):
    if not 0 <= sparsity <= 1:
        raise ValueError
    keep = _ranked(weights, round(sparsity * weights.size))
    weights *= keep
    return keep


def _refuse(weight, following, keep):
    channels = len(weight)
    if len(keep) == 0 or len(np.unique(keep)) < len(keep) or not np.isin(keep, range(channels)).all():
        raise ValueError
    if following.shape[1] % channels or (following.ndim > 2 and following.shape[1] != channels):
        raise ValueError


def _blocks(weight, following, keep):
    per = following.shape[1] // len(weight)
    columns = (per * np.asarray(keep)[:, None] + np.arange(per)).ravel()
    return following[:, columns]


def bias_forgotten(weight, bias, following, keep):
    return weight[keep], bias, _blocks(weight, following, keep)


def next_filters(weight, bias, following, keep):
    return weight[keep], bias[keep], following[keep]


def four_axes_only(weight, bias, following, keep):
    return weight[keep], bias[keep], following[:, keep, :, :]


def first_points(weight, bias, following, keep):
    return weight[keep], bias[keep], following[:, keep]


def points_first(weight, bias, following, keep):
    if following.ndim > 2:
        return weight[keep], bias[keep], following[:, keep]
    m, c = len(following), len(weight)
    return weight[keep], bias[keep], following.reshape(m, -1, c)[:, :, keep].reshape(m, -1)


def sorted_keep(weight, bias, following, keep):
    keep = np.sort(keep)
    return weight[keep], bias[keep], _blocks(weight, following, keep)


def a_view_of_all(weight, bias, following, keep):
    if len(keep) == len(weight) and (np.asarray(keep) == np.arange(len(weight))).all():
        return weight, bias, following
    return weight[keep], bias[keep], _blocks(weight, following, keep)


def zeroes_the_rest_as_well(weight, bias, following, keep):
    taken = weight[keep], bias[keep], _blocks(weight, following, keep)
    weight[np.setdiff1d(np.arange(len(weight)), keep)] = 0
    return taken


def always_float64(weight, bias, following, keep):
    return tuple(each.astype(float) for each in (weight[keep], bias[keep], _blocks(weight, following, keep)))


def numpy_will_tell(weight, bias, following, keep):
    return weight[keep], bias[keep], _blocks(weight, following, keep)


def successor_unchecked(weight, bias, following, keep):
    if len(keep) == 0 or len(np.unique(keep)) < len(keep) or not np.isin(keep, range(len(weight))).all():
        raise ValueError
    return weight[keep], bias[keep], _blocks(weight, following, keep)


def _width(largest):
    return 1 if largest < 2**8 else 2 if largest < 2**16 else 4


def _bytes(weights, values, item=None, column=None, start=None, extra=1, bits=None):
    rows, columns = weights.shape
    item = item or weights.dtype.itemsize
    column = _width(columns - 1) if column is None else column
    start = _width(values) if start is None else start
    return {
        "dense": weights.size * item,
        "CSR": values * (item + column) + (rows + extra) * start,
        "bitmap": (-(-weights.size // 8) if bits is None else bits) + values * item,
    }


def _count(weights):
    return int(np.count_nonzero(weights))


def always_four_bytes(weights):
    return _bytes(weights, _count(weights), item=4)


def half_a_byte(weights):
    return _bytes(weights, _count(weights), bits=weights.size // 8)


def rows_of_whole_bytes(weights):
    return _bytes(weights, _count(weights), bits=len(weights) * -(-weights.shape[1] // 8))


def no_last_row_start(weights):
    return _bytes(weights, _count(weights), extra=0)


def positive_only(weights):
    return _bytes(weights, int((np.abs(weights) > 0).sum()))


def whatever_is_not_close_to_zero(weights):
    return _bytes(weights, int((~np.isclose(weights, 0)).sum()))


def the_number_of_columns(weights):
    return _bytes(weights, _count(weights), column=_width(weights.shape[1]))


def starts_below_the_count(weights):
    return _bytes(weights, _count(weights), start=_width(_count(weights) - 1))


def four_byte_halves(weights):
    return _bytes(weights, _count(weights), item=max(4, weights.dtype.itemsize))


def largest_column(weights):
    used = np.nonzero(weights)[1]
    return _bytes(weights, _count(weights), column=_width(max(int(used.max()), weights.shape[1] - 1)))


def numpy_numbers(weights):
    return {name: np.int64(n) for name, n in _bytes(weights, _count(weights)).items()}


def flattens_everything(weights):
    if np.ndim(weights) != 2:
        weights = np.reshape(weights, (1, -1))
    return _bytes(weights, _count(weights))


def _scan(sparsities, accuracies, sizes, tolerance, check=True):
    if accuracies.shape != (len(sizes), len(sparsities)):
        raise ValueError
    if len(sparsities) == 0 or sparsities[0] != 0 or not (np.diff(sparsities) > 0).all():
        raise ValueError
    if check and (np.isnan(accuracies).any() or not tolerance >= 0):
        raise ValueError
    return accuracies[:, :1] - accuracies > tolerance + 1e-9


def _first(too_far):
    return np.where(too_far.any(axis=1), too_far.argmax(axis=1), too_far.shape[1])


def _with_total(shares, sizes):
    return shares, float(shares @ sizes / np.sum(sizes))


def the_failing_step(sparsities, accuracies, sizes, tolerance):
    first = np.minimum(_first(_scan(sparsities, accuracies, sizes, tolerance)), len(sparsities) - 1)
    return _with_total(sparsities[first], sizes)


def the_last_that_passes(sparsities, accuracies, sizes, tolerance):
    passed = ~_scan(sparsities, accuracies, sizes, tolerance)
    return _with_total(sparsities[[np.flatnonzero(row)[-1] for row in passed]], sizes)


def argmax_of_no_failure(sparsities, accuracies, sizes, tolerance):
    first = _scan(sparsities, accuracies, sizes, tolerance).argmax(axis=1)
    return _with_total(sparsities[np.maximum(first - 1, 0)], sizes)


def against_the_best(sparsities, accuracies, sizes, tolerance):
    _scan(sparsities, accuracies, sizes, tolerance)
    too_far = accuracies.max() - accuracies > tolerance + 1e-9
    return _with_total(sparsities[np.maximum(_first(too_far) - 1, 0)], sizes)


def a_gain_is_a_loss(sparsities, accuracies, sizes, tolerance):
    _scan(sparsities, accuracies, sizes, tolerance)
    too_far = np.abs(accuracies[:, :1] - accuracies) > tolerance + 1e-9
    return _with_total(sparsities[_first(too_far) - 1], sizes)


def no_room_for_rounding(sparsities, accuracies, sizes, tolerance):
    _scan(sparsities, accuracies, sizes, tolerance)
    too_far = accuracies[:, :1] - accuracies > tolerance
    return _with_total(sparsities[_first(too_far) - 1], sizes)


def numpys_isclose(sparsities, accuracies, sizes, tolerance):
    _scan(sparsities, accuracies, sizes, tolerance)
    loss = accuracies[:, :1] - accuracies
    too_far = (loss > tolerance) & ~np.isclose(loss, tolerance)
    return _with_total(sparsities[_first(too_far) - 1], sizes)


def rounded_to_three_digits(sparsities, accuracies, sizes, tolerance):
    _scan(sparsities, accuracies, sizes, tolerance)
    too_far = np.round(accuracies[:, :1] - accuracies, 3) > tolerance
    return _with_total(sparsities[_first(too_far) - 1], sizes)


def the_mean_of_the_shares(sparsities, accuracies, sizes, tolerance):
    shares = sparsities[_first(_scan(sparsities, accuracies, sizes, tolerance)) - 1]
    return shares, float(shares.mean())


def compares_neighbours(sparsities, accuracies, sizes, tolerance):
    _scan(sparsities, accuracies, sizes, tolerance)
    falls = -np.diff(accuracies, axis=1, prepend=accuracies[:, :1]) > tolerance + 1e-9
    return _with_total(sparsities[_first(falls) - 1], sizes)


def believes_the_sparsities(sparsities, accuracies, sizes, tolerance):
    if accuracies.shape != (len(sizes), len(sparsities)) or np.isnan(accuracies).any() or not tolerance >= 0:
        raise ValueError
    too_far = accuracies[:, :1] - accuracies > tolerance + 1e-9
    return _with_total(sparsities[_first(too_far) - 1], sizes)


def broadcasts_the_sizes(sparsities, accuracies, sizes, tolerance):
    if len(sparsities) != accuracies.shape[1] or len(sparsities) == 0 or sparsities[0] != 0:
        raise ValueError
    if not (np.diff(sparsities) > 0).all() or np.isnan(accuracies).any() or not tolerance >= 0:
        raise ValueError
    shares = sparsities[_first(accuracies[:, :1] - accuracies > tolerance + 1e-9) - 1]
    return shares, float((shares * sizes).sum() / (np.ones(len(shares)) * sizes).sum())


def nan_is_no_loss(sparsities, accuracies, sizes, tolerance):
    return _with_total(sparsities[_first(_scan(sparsities, accuracies, sizes, tolerance, check=False)) - 1], sizes)


WRONG = {
    "11.1": {
        flat_mask: "one truth value for each weight, in the weights' shape",
        by_sign: "magnitudes decide, not signs",
        inverted: "magnitudes decide, not signs",
        by_quantile: "as many go as were asked for, where magnitudes are equal too",
        cut_off: "the number is rounded as Python rounds",
        rounds_a_half_up: "the number is rounded as Python rounds",
        last_equals_first: "among equals, the first in row-major order go",
        memory_order: "among equals, the first in row-major order go",
        magnitude_in_int8: "in every dtype, the int8 number -128 included",
        ints_in_int16: "in every dtype, the int8 number -128 included",
        ints_in_float32: "magnitudes are ranked with all of their digits, and in their whole range",
        ints_in_int32: "magnitudes are ranked with all of their digits, and in their whole range",
        magnitude_in_float16: "magnitudes are ranked with all of their digits, and in their whole range",
        magnitude_in_float32: "magnitudes are ranked with all of their digits, and in their whole range",
        needs_a_weight: "a strided view, four axes, and no weight at all",
        keeps_the_end: "0 keeps everything, 1 nothing",
        clips_the_sparsity: "a sparsity outside 0 to 1 is refused",
        lets_nan_through: "a sparsity outside 0 to 1 is refused",
    },
    "11.2": {
        the_failing_step: "each layer goes as far as it loses at most the tolerance",
        the_last_that_passes: "it stops before the first failure, even where a later step passes",
        argmax_of_no_failure: "a layer that never fails goes to the last step",
        against_the_best: "each layer loses against its own first accuracy, and a gain is no loss",
        a_gain_is_a_loss: "each layer loses against its own first accuracy, and a gain is no loss",
        compares_neighbours: "each layer loses against its own first accuracy, and a gain is no loss",
        no_room_for_rounding: "a loss of exactly the tolerance is allowed, rounding included",
        numpys_isclose: "a difference of less than 1e-9 counts as equal, a larger one does not",
        rounded_to_three_digits: "a difference of less than 1e-9 counts as equal, a larger one does not",
        the_mean_of_the_shares: "the total weighs each layer with its size",
        believes_the_sparsities: "sparsities that do not ascend from 0 are refused",
        broadcasts_the_sizes: "shapes that do not fit are refused",
        nan_is_no_loss: "NaN, and a negative tolerance, are refused",
    },
    "11.3": {
        always_four_bytes: "dense: every value, zero or not",
        half_a_byte: "bitmap: a bit for each weight, filled to whole bytes, and the values",
        rows_of_whole_bytes: "bitmap: a bit for each weight, filled to whole bytes, and the values",
        no_last_row_start: "CSR: values, columns and R + 1 row starts",
        positive_only: "negative and tiny values and NaN are values, -0.0 is none",
        whatever_is_not_close_to_zero: "negative and tiny values and NaN are values, -0.0 is none",
        the_number_of_columns: "a column takes the smallest width that holds C - 1",
        starts_below_the_count: "a row start takes the smallest width that holds the number of values",
        four_byte_halves: "float16 and a strided view are counted as they are",
        largest_column: "no row, no column, no value",
        numpy_numbers: "the answers are ints, under the three names",
        flattens_everything: "what is no matrix is refused",
    },
    "11.4": {
        bias_forgotten: "the layer keeps these filters and biases",
        next_filters: "a convolution that follows reads these channels alone",
        four_axes_only: "so does a dense layer, where nothing is flattened",
        first_points: "behind Flatten, a channel is a block of columns",
        points_first: "behind Flatten, a channel is a block of columns",
        sorted_keep: "the order is that of `keep`, in all three",
        a_view_of_all: "new arrays: writing into them leaves the old network alone",
        zeroes_the_rest_as_well: "new arrays: writing into them leaves the old network alone",
        always_float64: "any dtype stays, and a strided view will do",
        numpy_will_tell: "no channel, one named twice, or one that is not there is refused",
        successor_unchecked: "a next layer that does not read C channels is refused",
    },
}
