"""Checks of lesson 09: each exercise's properties, in the order in which to think of them."""

import math
import warnings
from collections.abc import Callable, Iterator
from fractions import Fraction

import numpy as np

from course_lib.checks import Register, raises
from course_lib.idioms.exercises import Property

EXERCISES = Register()


@EXERCISES.add("09.1", "A grid for each channel")
def channel_grids(answer: Callable) -> Iterator[Property]:
    """answer(low, high, bits=8) -> (scale, zero_point)."""
    low, high = np.array([-1.0, -3.0, 0.0]), np.array([1.55, 0.5, 2.0])

    def has(low: object, high: object, bits: int = 8) -> tuple[np.ndarray, np.ndarray]:
        scale, zero = answer(np.array(low, float), np.array(high, float), bits)
        return np.asarray(scale), np.asarray(zero)

    yield ("the scale is the range over the number of steps", lambda: np.allclose(has(low, high)[0], [0.01, 3.5 / 255, 2 / 255], rtol=1e-6), [
        "How many steps lie between 256 levels?",
        "One fewer than levels: 2**bits - 1.",
        "(high - low) / (2**bits - 1)",
    ])  # fmt: skip
    yield ("the zero point is the level that stands for 0, rounded and not cut", lambda: (
        has(low, high)[1].tolist() == [100, 219, 0] and has([-0.7], [0.3], 3)[1].tolist() == [5] and has([-0.3], [0.7], 1)[1].tolist() == [0]
    ), [
        "The lowest value stands on level 0; how many steps above it is 0?",
        "-low / scale, as a whole number.",
        "np.rint(-low / scale).astype(np.int64); astype alone cuts off.",
    ])  # fmt: skip
    yield ("one float32 scale and one int64 zero point for each channel, for every number of bits", lambda: all(
        s.shape == z.shape == (3,) and s.dtype == np.float32 and z.dtype == np.int64 and np.allclose(s, (high - low) / (2**b - 1), rtol=1e-6)
        for b in range(1, 9) for s, z in [has(low, high, b)]
    ) and has([], [])[0].shape == (0,) and has([], [])[1].shape == (0,), [
        "What shapes and dtypes does the docstring promise? No channel is allowed too.",
        "min() and max() over all channels give one grid; is 255 written anywhere?",
        "Work on whole arrays, `.astype(np.float32)` and `.astype(np.int64)` at the end.",
    ])  # fmt: skip
    yield ("a range without 0 is widened until 0 is a level", lambda: (
        has([0.5, -3.0], [2.0, -1.0])[1].tolist() == [0, 255] and np.allclose(has([0.5, -3.0], [2.0, -1.0])[0], [2 / 255, 3 / 255], rtol=1e-6)
        and has([0.5, -2.0], [0.5, -2.0])[1].tolist() == [0, 255]
    ), [
        "All values between 0.5 and 2: which level stands for 0?",
        "Below level 0 there is none. The range must begin at 0.",
        "low = np.minimum(low, 0); high = np.maximum(high, 0)",
    ])  # fmt: skip

    def silent() -> bool:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            scale, zero = has([0.0, -1.0], [0.0, 1.0])
        return scale[0] == 1 and 0 <= zero[0] <= 255 and zero[1] in (127, 128)

    yield ("a channel of zeros gets scale 1, and nothing warns", silent, [
        "What is 0 / 255, and what is 0 divided by that?",
        "Any positive scale will do for a channel of zeros; the docstring asks for 1.",
        "scale = np.where(scale > 0, scale, 1), before anything is divided by it.",
    ])  # fmt: skip

    small = np.array([1e-7, 3e-12, 1e-20, 1e-30])
    yield ("a small range keeps its small scale", lambda: (
        np.allclose(has(-small, small)[0], 2 * small / 255, rtol=1e-5, atol=0)
        and np.allclose(has([0.0, -1e-9], [1e-7, 0.0], 4)[0], np.array([1e-7, 1e-9]) / 15, rtol=1e-5, atol=0)
    ), [
        "A channel whose weights reach from -1e-7 to 1e-7: what is its scale?",
        "A floor such as 1e-8, or a small number added, is larger than such a scale: all weights become 0.",
        "Only a scale that is exactly 0 is replaced: np.where(scale > 0, scale, 1)",
    ])  # fmt: skip

    def tiny() -> bool:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            scale, zero = has([-1e-44, 0.0, -1.0], [0.0, 1e-44, 1.0])
        levels = bool(((zero >= 0) & (zero <= 255)).all())  # from the lower end 0, from the upper end 255
        return levels and scale[:2].tolist() == [1, 1] and abs(scale[2] - 2 / 255) < 1e-6

    yield ("a range of 1e-44, whose scale is 0 in float32, gets scale 1", tiny, [
        "What is np.float32(1e-44 / 255)?",
        "A scale that is positive in float64 can be 0 in float32: compare after the conversion.",
        "scale = (…).astype(np.float32); scale = np.where(scale > 0, scale, np.float32(1))",
    ])  # fmt: skip

    def untouched() -> bool:
        a, b = np.array([0.5, -2.0, 9.0])[::2], np.array([1.0, 2.0, 10.0])[::2]
        kept = a.copy(), b.copy()
        answer(a, b)
        return np.array_equal(a, kept[0]) and np.array_equal(b, kept[1])

    yield ("the ranges stay as they were", untouched, [
        "Look at `low` after the call.",
        "low[low > 0] = 0 writes into the caller's array.",
        "np.minimum makes a new array.",
    ])  # fmt: skip
    yield ("NaN, infinity and swapped ends are refused", lambda: all(
        raises(ValueError, has, low, high) for low, high in (([0, np.nan], [1, 1]), ([0.0], [np.inf]), ([-np.inf], [0.0]), ([2.0, 0], [1.0, 1]), ([0], [np.nan]))
    ), [
        "Try a range from 0 to NaN, and one from 2 to 1.",
        "low > high is false for a NaN.",
        "if not (np.isfinite(low).all() and np.isfinite(high).all() and np.all(low <= high)): raise ValueError(…), before the widening",
    ])  # fmt: skip


@EXERCISES.add("09.2", "A product with a zero point a column")
def products(answer: Callable) -> Iterator[Property]:
    """answer(X, W, zx, zw) -> int32 (N, M)."""
    random = np.random.default_rng(9)

    def exact(X: np.ndarray, W: np.ndarray, zx: int, zw: np.ndarray) -> np.ndarray:
        return (X.astype(object) - int(zx)) @ (W.astype(object) - np.array([int(z) for z in zw], object))

    def right(n: int, k: int, m: int, kind: type = np.uint8, zx: int = 7, zw: np.ndarray | None = None) -> bool:
        ends = np.iinfo(kind)
        X = random.integers(0, 256, (n, k)).astype(np.uint8)
        W = random.integers(ends.min, ends.max + 1, (k, m)).astype(kind)
        zw = random.integers(ends.min, ends.max + 1, m) if zw is None else zw
        return np.array_equal(answer(X, W, zx, zw), exact(X, W, zx, zw).astype(np.int64))

    yield ("without zero points it is the product of whole numbers", lambda: right(2, 3, 4, zx=0, zw=np.zeros(4, int)), [
        "Try X = [[200, 200]] and W = [[2], [2]].",
        "uint8 @ uint8 is uint8, and wraps around at 256.",
        "X.astype(np.int32) @ W.astype(np.int32)",
    ])  # fmt: skip
    yield ("with a zero point of the inputs", lambda: right(3, 5, 4, zx=130, zw=np.zeros(4, int)), [
        "Subtract zx from every level of X: what about levels below zx?",
        "In uint8, 3 - 130 is 129. Widen first.",
        "Expanded: X @ W - zx * W.sum(axis=0)",
    ])  # fmt: skip
    yield ("with a zero point for each column of the weights", lambda: right(3, 5, 4) and right(4, 5, 4), [
        "zw has one entry for each column of W; which axis is that?",
        "Columns are the last axis: (K, M) - (M,) broadcasts as it should, W.T - zw does not.",
        "X @ W - rows[:, None] * zw - zx * columns + K * zx * zw",
    ])  # fmt: skip
    yield ("with signed weights too", lambda: right(6, 40, 5, np.int8), [
        "W may be int8, its zero points negative.",
        "A cast to uint8 turns -1 into 255.",
        "Cast to np.int32, whatever comes.",
    ])  # fmt: skip

    def long_sums() -> bool:
        X, W = np.full((2, 32768), 255, np.uint8), np.full((32768, 3), 255, np.uint8)
        X[1, ::2], W[5, 1] = 1, 254
        zw = np.array([0, 1, 255])
        return np.array_equal(answer(X, W, 0, zw), exact(X, W, 0, zw).astype(np.int64)) and right(3, 30001, 2, zx=255)

    yield ("exact for sums as long as allowed", long_sums, [
        "32,768 products of 255 by 255: how many bits is that?",
        "float32 holds whole numbers up to 2**24 only.",
        "Multiply in int32 (or int64), never in float32.",
    ])  # fmt: skip

    def int32() -> bool:
        given = answer(np.zeros((2, 3), np.uint8), np.zeros((3, 4), np.uint8), 1, np.ones(4, np.int64))
        return given.dtype == np.int32 and given.shape == (2, 4)

    yield ("int32 comes back, (N, M)", int32, [
        "What dtype does the docstring promise?",
        "An int64 among the operands makes all of it int64: zw may be one.",
        "`.astype(np.int32)` at the end.",
    ])  # fmt: skip
    yield ("no row, no column and no term are allowed", lambda: right(0, 3, 2) and right(3, 0, 2) and right(3, 2, 0), [
        "A sum over nothing is 0.",
        "Does a maximum, a mean or a division stand somewhere?",
        "`.sum(axis=…)` and `@` work for empty arrays as they are.",
    ])  # fmt: skip

    def views() -> bool:
        X, W = random.integers(0, 256, (8, 9)).astype(np.uint8), random.integers(0, 256, (5, 9)).astype(np.uint8)
        X.flags.writeable = W.flags.writeable = False
        a, b, zw = X[::2, ::-1], W.T, np.arange(5, dtype=np.uint8)
        return np.array_equal(answer(a, b, 250, zw), exact(a, b, 250, zw).astype(np.int64))

    yield ("works on views that must not be written to, and with zero points in uint8", views, [
        "X may be a slice, W a transpose, zw an array of uint8.",
        "X -= zx writes into the caller's array; 9 * 250 * zw wraps around in uint8.",
        "np.asarray(zw, np.int32) first.",
    ])  # fmt: skip


@EXERCISES.add("09.3", "A factor without a floating point")
def shifts(answer: Callable) -> Iterator[Property]:
    """answer(m) -> (M, n)."""

    def near(m: float) -> bool:
        M, n = answer(m)
        exact = Fraction(float(m))
        return abs(Fraction(int(M)) * Fraction(2) ** -int(n) - exact) <= exact / 2**31

    def long(m: float) -> bool:
        return 2**30 <= answer(m)[0] < 2**31

    ordinary = [0.5, 0.75, 0.3, 0.0071, 0.1, 0.9]
    yield ("M · 2⁻ⁿ is m, within m · 2⁻³¹", lambda: all(near(m) for m in ordinary), [
        "Take m = 0.75: which M between 2**30 and 2**31, and which n?",
        "m = fraction · 2**exponent; multiply the fraction by 2**31.",
        "math.frexp(m) takes a float apart; round, do not cut: round(fraction * 2**31), 31 - exponent",
    ])  # fmt: skip
    yield ("M takes all of 31 bits", lambda: all(long(m) for m in ordinary), [
        "Is M at least 2**30 for a small m too? With a fixed n it is not.",
        "n must grow as m shrinks.",
        "math.frexp gives a fraction of 0.5 or more: times 2**31 it is 2**30 or more.",
    ])  # fmt: skip
    yield ("two Python ints, for NumPy's floats too", lambda: all(
        type(each) is int for m in (0.3, np.float32(0.3), np.float64(0.3)) for each in answer(m)
    ) and near(np.float32(0.3)), [
        "What are the types of what you return?",
        "np.int64 is no int, and int32 overflows at 2**31.",
        "m = float(m) first, and Python's round().",
    ])  # fmt: skip
    powers = [2.0**k for k in range(-90, 91)]
    ends = [5e-324, 1e-310, 2.2250738585072014e-308, 1e-30, 2.2e-19, 3.7e17, 1e30, 1.5e308]
    yield ("right at powers of two, and from the smallest float to the largest", lambda: all(near(m) and long(m) for m in [*powers, *ends]), [
        "Try 1, 2, 0.25, 5e-324 and 1.7e308.",
        "n may be negative or above 1,000: 1 << n, 2.0**n and np.ldexp have trouble. A logarithm may land just beside a power of two.",
        "math.frexp has neither problem.",
    ])  # fmt: skip
    edges = [*(math.nextafter(2.0**k, 0) for k in (-20, -1, 0, 1, 40)), 1.7976931348623157e308]
    yield ("just below a power of two M does not become 2³¹", lambda: all(near(m) and long(m) for m in edges), [
        "Try m = 1 - 2**-50.",
        "The fraction rounds up to 1, and M to 2**31, which int32 does not hold.",
        "if M == 2**31: M, n = M // 2, n - 1",
    ])  # fmt: skip
    yield ("what is not positive and finite is refused", lambda: all(raises(ValueError, answer, m) for m in (0.0, -0.0, -0.5, -5e-324, math.inf, -math.inf, math.nan)), [
        "Try 0, a negative number, infinity and NaN.",
        "m <= 0 is false for NaN.",
        "if not 0 < m < math.inf: raise ValueError(…)",
    ])  # fmt: skip


def _convolve(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    windows = np.lib.stride_tricks.sliding_window_view(x, w.shape[2:], axis=(2, 3))
    return np.einsum("nihwkl,oikl->nohw", windows, w)


@EXERCISES.add("09.4", "Make the channels equal")
def equal_channels(answer: Callable) -> Iterator[Property]:
    """answer(w1, b1, w2) -> (w1, b1, w2)."""
    random = np.random.default_rng(4)

    def layers(octaves: float = 12, channels: int = 6) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        factor = 2.0 ** random.uniform(-octaves, octaves, channels)
        w1 = random.normal(size=(channels, 2, 3, 3)) * factor[:, None, None, None]
        w2 = random.normal(size=(5, channels, 3, 3)) / factor[None, :, None, None]
        return w1.astype(np.float32), (random.normal(size=channels) * factor).astype(np.float32), w2.astype(np.float32)

    def function(w1: np.ndarray, b1: np.ndarray, w2: np.ndarray) -> np.ndarray:
        x = np.random.default_rng(0).normal(size=(3, 2, 8, 8))
        made = np.maximum(_convolve(x, np.asarray(w1, np.float64)) + np.asarray(b1, np.float64)[:, None, None], 0)
        return _convolve(made, np.asarray(w2, np.float64))

    def same(given: tuple) -> bool:
        before, after = function(*given), function(*answer(*given))
        return np.isfinite(after).all() and np.abs(after - before).max() <= 1e-5 * np.abs(before).max()

    def peaks(w1: np.ndarray, w2: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.abs(w1).max(axis=(1, 2, 3)), np.abs(w2).max(axis=(0, 2, 3))

    shapes = layers()
    yield ("three arrays of the same shapes come back", lambda: [np.shape(each) for each in answer(*shapes)] == [each.shape for each in shapes], [
        "What does the docstring say about what is returned?",
        "Weights of the first, its bias, weights of the second.",
        "return w1 * …, b1 * …, w2 / …",
    ])  # fmt: skip

    def no_bias() -> bool:
        w1, b1, w2 = layers()
        return same((w1, np.zeros_like(b1), w2))

    yield ("without a bias, the function is the same", no_bias, [
        "Multiply what makes channel c, divide what reads it, by the same number.",
        "What makes channel c is w1[c]; what reads it is w2[:, c].",
        "w1 * a[:, None, None, None] and w2 / a[None, :, None, None]",
    ])  # fmt: skip
    yield ("with a bias too", lambda: same(layers()), [
        "max(0, a·u) = a·max(0, u), where u is the sum with its bias.",
        "The bias is part of what makes the channel.",
        "b1 * a",
    ])  # fmt: skip

    def equal() -> bool:
        w1, _, w2 = answer(*layers())
        made, read = peaks(w1, w2)
        return np.allclose(made, read, rtol=1e-4)

    yield ("both peaks of a channel are equal", equal, [
        "Print the peaks of w1[c] and of w2[:, c] afterwards.",
        "a·r must equal t / a.",
        "a = np.sqrt(t / r), with t from axes (0, 2, 3) of w2 and r from axes (1, 2, 3) of w1",
    ])  # fmt: skip

    def with_dead() -> bool:
        w1, b1, w2 = layers()
        w1[0], w2[:, 1], w1[2], w2[:, 2] = 0, 0, 0, 0
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            after = answer(w1, b1, w2)
        alike = all(
            np.array_equal(after[0][c], w1[c]) and after[1][c] == b1[c] and np.array_equal(after[2][:, c], w2[:, c])
            for c in range(3)
        )
        made, read = peaks(after[0][3:], after[2][:, 3:])
        return alike and np.allclose(made, read, rtol=1e-4)

    yield ("a channel that is all 0 on either side stays as it is", with_dead, [
        "One filter is all zeros: what is its factor?",
        "t / 0 is infinite, 0 / 0 is NaN, and a factor of 0 erases what is left.",
        "a = np.where((r > 0) & (t > 0), np.sqrt(t / r), 1), with no division by 0 on the way",
    ])  # fmt: skip

    def extremes() -> bool:
        w1, b1, w2 = layers(octaves=0)
        up = np.float32([1e15, 1e-15, 1e15, 1e-15, 1, 1e8]) / peaks(w1, w2)[0]
        down = np.float32([1e-15, 1e15, 1e15, 1e-15, 1e15, 1e-8]) / peaks(w1, w2)[1]
        w1, w2 = w1 * up[:, None, None, None], w2 * down[None, :, None, None]
        after = answer(w1, np.zeros_like(b1), w2)
        return all(np.isfinite(each).all() for each in after) and np.allclose(*peaks(after[0], after[2]), rtol=1e-4)

    yield ("peaks from 1e-15 to 1e15", extremes, [
        "Try a peak of 1e15 beside one of 1e-15.",
        "Adding a small number to the peaks, to avoid dividing by 0, swallows the small peaks.",
        "Take the quotient of the peaks as they are, where both are above 0.",
    ])  # fmt: skip

    def kept() -> bool:
        given = layers()
        copies = [each.copy() for each in given]
        after = answer(*given)
        return all(np.array_equal(a, b) for a, b in zip(given, copies)) and all(
            each.dtype == np.float32 for each in after
        )

    yield ("nothing is changed in place, and float32 comes back", kept, [
        "Look at w1 after the call, and at the dtype of what you return.",
        "w1 *= … writes into the caller's array; a float64 factor makes float64.",
        "(w1 * a[:, None, None, None]).astype(np.float32)",
    ])  # fmt: skip

    def strided() -> bool:
        w1, b1, w2 = layers(channels=8)
        given = w1[::-2], b1[::-2], np.asfortranarray(w2)[:, ::-2]
        one = (w1[:1], b1[:1], w2[:, :1])
        return same(given) and same(one) and np.allclose(*peaks(*[answer(*one)[i] for i in (0, 2)]), rtol=1e-4)

    yield ("on views, and for a single channel", strided, [
        "The arrays may be slices of larger ones, and C may be 1.",
        "np.squeeze drops the axis of a single channel.",
        "Reduce with axis=(1, 2, 3) and axis=(0, 2, 3), and leave shapes alone.",
    ])  # fmt: skip
