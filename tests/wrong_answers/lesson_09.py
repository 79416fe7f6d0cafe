"""Wrong answers that people write, planted in lesson 09: each must be caught at the property named."""

import math

import numpy as np


def _refuse(low, high):
    if not (np.isfinite(low).all() and np.isfinite(high).all() and np.all(low <= high)):
        raise ValueError


def _grids(low, high, bits):
    low, high = np.minimum(low, 0.0), np.maximum(high, 0.0)
    scale = ((high - low) / (2**bits - 1)).astype(np.float32)
    scale = np.where(scale > 0, scale, np.float32(1))
    return scale, np.rint(-low / scale).astype(np.int64)


def levels_not_steps(low, high, bits=8):
    scale = ((high - low) / 2**bits).astype(np.float32)
    return scale, np.rint(-low / scale).astype(np.int64)


def cut_zero_point(low, high, bits=8):
    scale = ((high - low) / (2**bits - 1)).astype(np.float32)
    return scale, (-low / scale + 1e-4).astype(np.int64)


def one_grid_for_all(low, high, bits=8):
    _, zero = _grids(low, high, bits)
    return np.float64((high - low) / (2**bits - 1)), zero


def always_8_bits(low, high, bits=8):
    scale = ((high - low) / 255).astype(np.float32)
    zero = np.rint(-low / scale).astype(np.int64)
    return (scale, zero) if len(low) != 1 else _grids(low, high, bits)


def range_as_it_is(low, high, bits=8):
    scale = ((high - low) / (2**bits - 1)).astype(np.float32)
    return scale, np.rint(-low / scale).astype(np.int64)


def divides_by_zero(low, high, bits=8):
    low, high = np.minimum(low, 0.0), np.maximum(high, 0.0)
    scale = ((high - low) / (2**bits - 1)).astype(np.float32)
    return scale, np.rint(-low / scale).astype(np.int64)


def a_little_more(low, high, bits=8):
    low, high = np.minimum(low, 0.0), np.maximum(high, 0.0)
    scale = ((high - low) / (2**bits - 1) + 1e-12).astype(np.float32)
    return scale, np.rint(-low / scale).astype(np.int64)


def floored(low, high, bits=8):
    low, high = np.minimum(low, 0.0), np.maximum(high, 0.0)
    scale = np.where(high > low, np.maximum((high - low) / (2**bits - 1), 1e-8), 1).astype(np.float32)
    return scale, np.rint(-low / scale).astype(np.int64)


def floored_lower(low, high, bits=8):
    low, high = np.minimum(low, 0.0), np.maximum(high, 0.0)
    least = np.finfo(np.float32).eps ** 2
    scale = np.where(high > low, np.maximum((high - low) / (2**bits - 1), least), 1).astype(np.float32)
    return scale, np.rint(-low / scale).astype(np.int64)


def close_to_zero_is_zero(low, high, bits=8):
    low, high = np.minimum(low, 0.0), np.maximum(high, 0.0)
    scale = np.where(np.isclose(high, low), 1, (high - low) / (2**bits - 1)).astype(np.float32)
    return scale, np.rint(-low / scale).astype(np.int64)


def compares_before_float32(low, high, bits=8):
    _refuse(low, high)
    low, high = np.minimum(low, 0.0), np.maximum(high, 0.0)
    scale = (high - low) / (2**bits - 1)
    scale = np.where(scale > 0, scale, 1.0)
    return scale.astype(np.float32), np.rint(-low / scale).astype(np.int64)


def the_smallest_float32(low, high, bits=8):
    _refuse(low, high)
    low, high = np.minimum(low, 0.0), np.maximum(high, 0.0)
    scale = np.maximum((high - low) / (2**bits - 1), np.finfo(np.float32).smallest_subnormal).astype(np.float32)
    scale = np.where(high > low, scale, np.float32(1))
    return scale, np.clip(np.rint(-low / scale), 0, 2**bits - 1).astype(np.int64)


def refuses_a_single_value(low, high, bits=8):
    if ((np.asarray(low) == high) & (np.asarray(low) != 0)).any():
        raise ValueError
    _refuse(low, high)
    return _grids(low, high, bits)


def widens_in_place(low, high, bits=8):
    _refuse(low, high)
    low[low > 0] = 0
    high[high < 0] = 0
    return _grids(low, high, bits)


def nan_passes(low, high, bits=8):
    if (low > high).any():
        raise ValueError
    return _grids(low, high, bits)


def bytes_by_bytes(X, W, zx, zw):
    return (X @ W).astype(np.int32)


def subtracts_in_bytes(X, W, zx, zw):
    return (X - np.uint8(zx)).astype(np.int32) @ (W.astype(np.int32) - zw)


def forgets_the_last_term(X, W, zx, zw):
    X, W = X.astype(np.int32), W.astype(np.int32)
    return X @ W - X.sum(1, keepdims=True) * zw - zx * W.sum(0)


def zero_points_by_row(X, W, zx, zw):
    W = W.astype(np.int32)
    shift = zw if len(set(np.asarray(zw).tolist())) < 2 else np.resize(zw, len(W))
    return (X.astype(np.int32) - zx) @ (W - (shift[:, None] if len(shift) == len(W) else shift))


def unsigned_only(X, W, zx, zw):
    return (X.astype(np.int32) - zx) @ (W.astype(np.uint8).astype(np.int32) - zw)


def in_float32(X, W, zx, zw):
    return ((X.astype(np.float32) - zx) @ (W.astype(np.float32) - np.asarray(zw, np.float32))).astype(np.int32)


def int64_comes_back(X, W, zx, zw):
    return (X.astype(np.int64) - zx) @ (W.astype(np.int64) - zw)


def not_for_nothing(X, W, zx, zw):
    X.max(), W.max()
    return ((X.astype(np.int32) - zx) @ (W.astype(np.int32) - zw)).astype(np.int32)


def zero_points_in_bytes(X, W, zx, zw):
    X, W = X.astype(np.int32), W.astype(np.int32)
    last = np.asarray(
        X.shape[1] * zx * zw.astype(np.int64)
        if zw.dtype != np.uint8
        else (zw * np.uint8(zx % 256)) * np.uint8(X.shape[1] % 256)
    )
    return (X @ W - X.sum(1, keepdims=True) * zw - zx * W.sum(0) + last).astype(np.int32)


def cuts_the_fraction(m):
    fraction, exponent = math.frexp(float(m))
    return int(fraction * 2**20) * 2**11, 31 - exponent


def fixed_shift(m):
    return round(float(m) * 2**40), 40


def numpys_int(m):
    fraction, exponent = np.frexp(np.float64(m))
    return np.int64(np.rint(fraction * 2**31)), 31 - exponent


def counts_down_only(m):
    m, n = float(m), 31
    while m < 0.5:
        m, n = m * 2, n + 1
    return round(m * 2**31), n


def by_powers(m):
    m = float(m)
    n = 30 - math.floor(math.log2(m))
    return (round(m * 2.0**n), n) if abs(n) < 1000 else (round(m * 2.0**900) // 2 ** (900 - n), n)


def zero_for_the_smallest(m):
    m = float(m)
    fraction, exponent = math.frexp(m if m >= 2.3e-308 else 0.0)
    M = round(fraction * 2**31)
    return (M // 2, 30 - exponent) if M == 2**31 else (M, 31 - exponent)


def rounds_up_to_32_bits(m):
    fraction, exponent = math.frexp(float(m))
    return round(fraction * 2**31), 31 - exponent


def clips_at_31_bits(m):
    fraction, exponent = math.frexp(float(m))
    return min(round(fraction * 2**31), 2**31 - 1), 31 - exponent if fraction < 1 - 2**-33 else 32 - exponent


def takes_anything(m):
    if m <= 0:
        raise ValueError
    fraction, exponent = math.frexp(float(m))
    M = round(fraction * 2**31) if math.isfinite(m) else 2**30
    return (M // 2, 30 - exponent) if M == 2**31 else (M, 31 - exponent)


def _peaks(w1, w2):
    return np.abs(w1).max((1, 2, 3)).astype(float), np.abs(w2).max((0, 2, 3)).astype(float)


def _scaled(w1, b1, w2, a):
    new = w1 * a[:, None, None, None], b1 * a, w2 / a[None, :, None, None]
    return tuple(each.astype(np.float32) for each in new)


def weights_alone(w1, b1, w2):
    made, read = _peaks(w1, w2)
    new = _scaled(w1, b1, w2, np.sqrt(read / made))
    return new[0], new[2]


def multiplies_both(w1, b1, w2):
    made, read = _peaks(w1, w2)
    a = np.sqrt(read / made)
    return (w1 * a[:, None, None, None]).astype(np.float32), b1, (w2 * a[None, :, None, None]).astype(np.float32)


def bias_stays(w1, b1, w2):
    made, read = _peaks(w1, w2)
    new = _scaled(w1, b1, w2, np.sqrt(read / made))
    return new[0], b1, new[2]


def without_the_root(w1, b1, w2):
    made, read = _peaks(w1, w2)
    return _scaled(w1, b1, w2, read / made)


def changes_nothing(w1, b1, w2):
    return w1.copy(), b1.copy(), w2.copy()


def dead_channels_too(w1, b1, w2):
    made, read = _peaks(w1, w2)
    return _scaled(w1, b1, w2, np.sqrt(read / made))


def afraid_of_zero(w1, b1, w2):
    made, read = _peaks(w1, w2)
    a = np.where((made > 0) & (read > 0), np.sqrt((read + 1e-9) / (made + 1e-9)), 1)
    return _scaled(w1, b1, w2, a)


def _factor(w1, w2):
    made, read = _peaks(w1, w2)
    alive = (made > 0) & (read > 0)
    return np.sqrt(np.where(alive, read, 1) / np.where(alive, made, 1))


def in_place(w1, b1, w2):
    a = _factor(w1, w2).astype(np.float32)
    w1 *= a[:, None, None, None]
    b1 *= a
    w2 /= a[None, :, None, None]
    return w1, b1, w2


def float64_comes_back(w1, b1, w2):
    a = _factor(w1, w2)
    return w1 * a[:, None, None, None], b1 * a, w2 / a[None, :, None, None]


def squeezed(w1, b1, w2):
    new = _scaled(w1, b1, w2, _factor(w1, w2))
    return new[0].squeeze(), new[1], new[2].squeeze()


WRONG = {
    "09.1": {
        levels_not_steps: "the scale is the range over the number of steps",
        cut_zero_point: "the zero point is the level that stands for 0, rounded and not cut",
        one_grid_for_all: "one float32 scale and one int64 zero point for each channel, for every number of bits",
        always_8_bits: "one float32 scale and one int64 zero point for each channel, for every number of bits",
        refuses_a_single_value: "a range without 0 is widened until 0 is a level",
        range_as_it_is: "a range without 0 is widened until 0 is a level",
        divides_by_zero: "a channel of zeros gets scale 1, and nothing warns",
        a_little_more: "a channel of zeros gets scale 1, and nothing warns",
        floored: "a small range keeps its small scale",
        floored_lower: "a small range keeps its small scale",
        close_to_zero_is_zero: "a small range keeps its small scale",
        compares_before_float32: "a range of 1e-44, whose scale is 0 in float32, gets scale 1",
        the_smallest_float32: "a range of 1e-44, whose scale is 0 in float32, gets scale 1",
        widens_in_place: "the ranges stay as they were",
        nan_passes: "NaN, infinity and swapped ends are refused",
    },
    "09.2": {
        bytes_by_bytes: "without zero points it is the product of whole numbers",
        subtracts_in_bytes: "with a zero point of the inputs",
        forgets_the_last_term: "with a zero point for each column of the weights",
        zero_points_by_row: "with a zero point for each column of the weights",
        unsigned_only: "with signed weights too",
        in_float32: "exact for sums as long as allowed",
        int64_comes_back: "int32 comes back, (N, M)",
        not_for_nothing: "no row, no column and no term are allowed",
        zero_points_in_bytes: "works on views that must not be written to, and with zero points in uint8",
    },
    "09.3": {
        cuts_the_fraction: "M · 2⁻ⁿ is m, within m · 2⁻³¹",
        fixed_shift: "M takes all of 31 bits",
        numpys_int: "two Python ints, for NumPy's floats too",
        counts_down_only: "right at powers of two, and from the smallest float to the largest",
        by_powers: "right at powers of two, and from the smallest float to the largest",
        zero_for_the_smallest: "right at powers of two, and from the smallest float to the largest",
        rounds_up_to_32_bits: "just below a power of two M does not become 2³¹",
        clips_at_31_bits: "just below a power of two M does not become 2³¹",
        takes_anything: "what is not positive and finite is refused",
    },
    "09.4": {
        weights_alone: "three arrays of the same shapes come back",
        multiplies_both: "without a bias, the function is the same",
        bias_stays: "with a bias too",
        without_the_root: "both peaks of a channel are equal",
        changes_nothing: "both peaks of a channel are equal",
        dead_channels_too: "a channel that is all 0 on either side stays as it is",
        afraid_of_zero: "peaks from 1e-15 to 1e15",
        in_place: "nothing is changed in place, and float32 comes back",
        float64_comes_back: "nothing is changed in place, and float32 comes back",
        squeezed: "on views, and for a single channel",
    },
}
