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


def _codes(lengths, order=None):
    code, before, codes = 0, 0, {}
    for n, symbol in order or sorted((int(n), s) for s, n in enumerate(lengths) if n):
        code <<= n - before
        codes[f"{code:0{n}b}"] = symbol
        code, before = code + 1, n
    return codes


def _bits(raw):
    return "".join(f"{byte:08b}" for byte in raw)


def _kraft(lengths):
    if sum(2 ** (60 - int(n)) for n in lengths if n) > 2**60:
        raise ValueError


def _read(codes, bits, count, longest=None, end=ValueError):
    symbols, begun = [], 0
    for _ in range(count):
        place = begun + 1
        while bits[begun:place] not in codes:
            place += 1
            if longest is not None and place - begun > longest:
                raise ValueError
            if place > len(bits):
                raise end
        symbols.append(codes[bits[begun:place]])
        begun = place
    return np.array(symbols, np.int64)


def low_bit_first(lengths, raw, count):
    return _read(_codes(lengths), "".join(f"{byte:08b}"[::-1] for byte in raw), count)


def a_plain_list(lengths, raw, count):
    return _read(_codes(lengths), _bits(raw), count).astype(np.int32)


def in_symbol_order(lengths, raw, count):
    code, before, codes = 0, 0, {}
    for symbol, n in enumerate(lengths):
        if n:
            code = code << n - before if n >= before else code >> before - n
            codes[f"{code:0{n}b}"] = symbol
            code, before = code + 1, n
    return _read(codes, _bits(raw), count)


def one_shift_each(lengths, raw, count):
    code, before, codes = 0, 0, {}
    for n, symbol in sorted((int(n), s) for s, n in enumerate(lengths) if n):
        if n > before:
            code <<= 1
        codes[f"{code:0{n}b}"] = symbol
        code, before = code + 1, n
    return _read(codes, _bits(raw), count, 64)


def a_lone_symbol_is_the_first(lengths, raw, count):
    codes = _codes(lengths)
    if len(codes) == 1:
        return np.zeros(count, np.int64)
    return _read(codes, _bits(raw), count)


def to_the_end(lengths, raw, count):
    codes, bits, symbols, begun = _codes(lengths), _bits(raw), [], 0
    for place in range(1, len(bits) + 1):
        if bits[begun:place] in codes:
            symbols.append(codes[bits[begun:place]])
            begun = place
    return np.array(symbols[: max(count, len(symbols) - 7)] if len(raw) > 1 else symbols[:count], np.int64)


def codes_of_32_bits(lengths, raw, count):
    codes = {code: symbol for code, symbol in _codes(lengths).items() if len(code) <= 32}
    return _read(codes, _bits(raw), count, 64)


def zeros_for_what_is_missing(lengths, raw, count):
    _kraft(lengths)
    return _read(_codes(lengths), _bits(raw) + "0" * 64 * count, count, max(lengths, default=0))


def runs_out_with_an_index_error(lengths, raw, count):
    _kraft(lengths)
    return _read(_codes(lengths), _bits(raw), count, max(lengths, default=0), end=IndexError)


def skips_what_is_no_code(lengths, raw, count):
    _kraft(lengths)
    codes, bits, symbols, begun, longest = _codes(lengths), _bits(raw), [], 0, max(lengths, default=0)
    place = 0
    while len(symbols) < count:
        place += 1
        if place > len(bits):
            if place - begun > longest:
                break
            raise ValueError
        if bits[begun:place] in codes:
            symbols.append(codes[bits[begun:place]])
            begun = place
        elif place - begun >= longest > 0:
            begun = place
            symbols.append(-1)
    return np.array(symbols, np.int64)


def believes_the_lengths(lengths, raw, count):
    return _read(_codes(lengths), _bits(raw), count, max(lengths, default=0))


def kraft_in_floats(lengths, raw, count):
    if sum(2.0**-n for n in lengths if n) > 1:
        raise ValueError
    return _read(_codes(lengths), _bits(raw), count, max(lengths, default=0))


WRONG = {
    "11.1": {
        flat_mask: "one truth value for each weight, in the weights' shape",
        by_sign: "magnitudes decide, not signs",
        inverted: "magnitudes decide, not signs",
        by_quantile: "as many go as were asked for, where magnitudes are equal too",
        cut_off: "the number is rounded as Python rounds",
        last_equals_first: "among equals, the first in row-major order go",
        memory_order: "among equals, the first in row-major order go",
        magnitude_in_int8: "in every dtype, the int8 number -128 included",
        needs_a_weight: "a strided view, four axes, and no weight at all",
        keeps_the_end: "0 keeps everything, 1 nothing",
        clips_the_sparsity: "a sparsity outside 0 to 1 is refused",
        lets_nan_through: "a sparsity outside 0 to 1 is refused",
    },
    "11.2": {
        bias_forgotten: "the layer keeps these filters and biases",
        next_filters: "a convolution that follows reads these channels alone",
        four_axes_only: "so does a dense layer, where nothing is flattened",
        first_points: "behind Flatten, a channel is a block of columns",
        points_first: "behind Flatten, a channel is a block of columns",
        sorted_keep: "the order is that of `keep`, in all three",
        a_view_of_all: "new arrays: writing into them leaves the old network alone",
        always_float64: "any dtype stays, and a strided view will do",
        numpy_will_tell: "no channel, one named twice, or one that is not there is refused",
        successor_unchecked: "a next layer that does not read C channels is refused",
    },
    "11.3": {
        always_four_bytes: "dense: every value, zero or not",
        half_a_byte: "bitmap: a bit for each weight, filled to whole bytes, and the values",
        rows_of_whole_bytes: "bitmap: a bit for each weight, filled to whole bytes, and the values",
        no_last_row_start: "CSR: values, columns and R + 1 row starts",
        positive_only: "negative values and NaN are values, -0.0 is none",
        the_number_of_columns: "a column takes the smallest width that holds C - 1",
        starts_below_the_count: "a row start takes the smallest width that holds the number of values",
        four_byte_halves: "float16 and a strided view are counted as they are",
        largest_column: "no row, no column, no value",
        numpy_numbers: "the answers are ints, under the three names",
        flattens_everything: "what is no matrix is refused",
    },
    "11.4": {
        low_bit_first: "the codes 0, 10 and 11 are told apart",
        a_plain_list: "codes that cross bytes, in an int64 array",
        in_symbol_order: "codes go by length, then by symbol, not by symbol alone",
        one_shift_each: "a code is shifted when the length grows by more than one",
        a_lone_symbol_is_the_first: "symbols without a code, and a lone symbol",
        to_the_end: "`count` ends it: what follows is ignored",
        codes_of_32_bits: "codes of 40 bits, too",
        zeros_for_what_is_missing: "bytes that end too early are refused",
        runs_out_with_an_index_error: "bytes that end too early are refused",
        skips_what_is_no_code: "bits that begin no code are refused, at once",
        believes_the_lengths: "lengths that are no code are refused",
        kraft_in_floats: "lengths that are no code are refused",
    },
}
