"""Checks of lesson 09b: each exercise's properties, in the order in which to think of them."""

import math
import tracemalloc
from collections.abc import Callable, Iterator

import numpy as np

from course_lib.checks import Register, raises
from course_lib.idioms.exercises import Property

EXERCISES = Register()


@EXERCISES.add("09b.1", "Read packed weights")
def packed_weights(answer: Callable) -> Iterator[Property]:
    """answer(packed, bits, count) -> int8 (count,)."""
    random = np.random.default_rng(0)

    def pack(levels: np.ndarray, bits: int, padding: int = 0) -> np.ndarray:
        total, mask = padding, 2**bits - 1
        size = math.ceil(len(levels) * bits / 8)
        number = 0
        for i in range(size * 8 // bits):
            number |= ((int(levels[i]) if i < len(levels) else total) & mask) << (i * bits)
        return np.frombuffer(number.to_bytes(size, "little"), np.uint8).copy()

    def right(levels: list | np.ndarray, bits: int, padding: int = 0) -> bool:
        levels = np.asarray(levels, np.int64)
        given = np.asarray(answer(pack(levels, bits, padding), bits, len(levels)))
        return given.shape == levels.shape and np.array_equal(given, levels)

    yield ("0x21 with 4 bits is 1, then 2", lambda: right([1, 2], 4) and right([7, 0, 3, 5], 4), [
        "The first level stands in the lowest bits.",
        "byte & 15 is the first level, byte >> 4 the second.",
        "packed[:, None] >> np.arange(0, 8, bits) & (2**bits - 1), read row by row",
    ])  # fmt: skip
    yield ("the upper half of the patterns is negative", lambda: right([-1, -8, 7, -7], 4) and right(np.arange(-8, 8), 4), [
        "Pattern 15 stands for -1, pattern 8 for -8.",
        "From 8 on, subtract 16.",
        "np.where(levels >= 2 ** (bits - 1), levels - 2**bits, levels)",
    ])  # fmt: skip
    yield ("2 bits: four levels in a byte, from -2 to 1", lambda: right([-2, -1, 0, 1], 2) and right(random.integers(-2, 2, 64), 2), [
        "With 2 bits, a byte holds four levels.",
        "Is 15, 16 or 4 written anywhere?",
        "shifts 0, 2, 4 and 6, mask 3: np.arange(0, 8, bits) and 2**bits - 1",
    ])  # fmt: skip
    yield ("padding in the last byte is left out, whatever it holds", lambda: all(
        right(random.integers(-(2 ** (b - 1)), 2 ** (b - 1), n), b, padding) for b in (2, 4) for n in (0, 1, 3, 5, 9) for padding in (0, -1)
    ), [
        "Five levels of 4 bits take three bytes, and half a byte is left.",
        "No level at all is allowed too.",
        "[:count] at the end, not a search for zeros",
    ])  # fmt: skip

    def kept() -> bool:
        packed = pack(random.integers(-8, 8, 40), 4)
        before = packed.copy()
        packed.flags.writeable = False
        given = answer(packed, 4, 40)
        twice = np.stack([packed, packed], axis=1).ravel()[::2]  # a view with gaps
        return given.dtype == np.int8 and np.array_equal(packed, before) and np.array_equal(answer(twice, 4, 40), given)

    yield ("int8 comes back, and the bytes stay as they were", kept, [
        "What dtype does the docstring promise?",
        "The bytes may be read-only, or a slice of something longer.",
        "`.astype(np.int8)` at the end; no `packed >>= …`",
    ])  # fmt: skip
    byte = np.zeros(1, np.uint8)
    yield ("a wrong number of bytes, and other bits, are refused", lambda: all(
        raises(ValueError, answer, *each) for each in ((byte, 4, 3), (np.zeros(3, np.uint8), 4, 4), (byte[:0], 2, 1), (byte, 2, 0), (byte, 3, 1), (byte, 8, 1))
    ), [
        "Three levels of 4 bits in one byte; one level of 3 bits.",
        "Too many bytes are as wrong as too few.",
        "if bits not in (2, 4) or len(packed) != math.ceil(count * bits / 8): raise ValueError(…)",
    ])  # fmt: skip


@EXERCISES.add("09b.2", "A scale for each group")
def group_scales(answer: Callable) -> Iterator[Property]:
    """answer(w, size, bits=4) -> (levels, scales)."""
    random = np.random.default_rng(2)

    def expected(w: np.ndarray, size: int, bits: int) -> tuple[np.ndarray, np.ndarray]:
        greatest, levels, scales = 2 ** (bits - 1) - 1, np.zeros(w.shape, int), []
        for start in range(0, w.shape[1], size):
            part = w[:, start : start + size].astype(np.float64)
            scale = (np.abs(part).max(axis=1) / greatest).astype(np.float16)
            scale[scale == 0] = 1
            levels[:, start : start + size] = np.clip(np.rint(part / scale.astype(float)[:, None]), -greatest, greatest)
            scales.append(scale)
        return levels, np.stack(scales, axis=1)

    def right(w: np.ndarray, size: int, bits: int = 4) -> bool:
        levels, scales = (np.asarray(each) for each in answer(w, size, bits))
        good, wanted = expected(w, size, bits)
        steps = w / np.repeat(wanted.astype(float), size, axis=1)[:, : w.shape[1]]
        near = np.abs(np.abs(steps - np.rint(steps)) - 0.5) < 1e-4 + 6e-4 * np.abs(
            steps
        )  # a tie, as far as float16 knows
        return (
            levels.shape == w.shape
            and scales.shape == wanted.shape
            and np.allclose(scales.astype(float), wanted.astype(float), rtol=1e-3)
            and bool(((levels == good) | near).all())
        )

    one = np.float32([[7, -3, 1, 0.2], [70, 20, -30, 9]])
    yield ("one group a row: the largest |w| gets level 7", lambda: right(one, 4) and right(one, 9), [
        "Four bits have levels -7 to 7.",
        "scale = np.abs(w).max(axis=1) / 7",
        "levels = np.clip(np.rint(w / scale), -7, 7)",
    ])  # fmt: skip
    wide = (random.normal(size=(5, 48)) * 2.0 ** random.integers(-3, 4, 48)).astype(np.float32)
    yield ("a scale for each group of neighbours in a row", lambda: all(right(wide, size) for size in (48, 16, 8, 3, 1)), [
        "w[0, :size] is the first group, w[0, size : 2 * size] the second.",
        "Rows do not share groups: scales have shape (O, K / size).",
        "w.reshape(len(w), -1, size), and the maximum over axis 2",
    ])  # fmt: skip
    yield ("the last group may be shorter", lambda: all(right(wide, size) for size in (5, 7, 32, 47, 100)), [
        "48 weights in groups of 32: the second group has 16.",
        "Zeros at the end change no largest |w|; take them away again afterwards.",
        "np.pad(w, ((0, 0), (0, -w.shape[1] % size)))",
    ])  # fmt: skip
    yield ("other numbers of bits", lambda: all(right(wide, 8, b) for b in (2, 3, 5, 8)), [
        "Is 7 written anywhere but in the hints?",
        "With b bits the largest level is 2**(b - 1) - 1.",
        "greatest = 2 ** (bits - 1) - 1",
    ])  # fmt: skip

    def dead() -> bool:
        w = np.zeros((2, 8), np.float32)
        w[0, 5] = 2
        levels, scales = answer(w, 4)
        with_zeros = np.asarray(scales, float)
        return (
            with_zeros[0, 0] == 1
            and (with_zeros[1] == 1).all()
            and np.asarray(levels)[0, 5] == 7
            and np.abs(levels).sum() == 7
        )

    yield ("a group of zeros gets scale 1 and levels 0", dead, [
        "What is 0 / 0?",
        "Any positive scale will do for zeros; the docstring asks for 1.",
        "scales = np.where(scales > 0, scales, 1)",
    ])  # fmt: skip

    def stored() -> bool:
        top = np.float32(7 * 1.0004)  # its scale is 1.0004 in float32, and 1 in float16
        w = np.float32([[top, 3.5006, -2.5005, 0.5001, 1.4998, 0]])
        levels, scales = answer(w, 6)
        return np.asarray(scales).tolist() == [[1.0]] and np.asarray(levels).tolist() == [[7, 4, -3, 1, 1, 0]]

    yield ("the levels fit the float16 scale that is stored", stored, [
        "Which scale will the reader multiply by?",
        "np.float16(1.0004) is 1. A weight of 3.5006 is 3.4992 steps of one and 3.5006 of the other.",
        "scales = (… / greatest).astype(np.float16), then w / scales.astype(np.float32)",
    ])  # fmt: skip

    def types() -> bool:
        w = np.asfortranarray(wide)
        before = w.copy()
        w.flags.writeable = False
        levels, scales = answer(w[::2, ::-1], 8)
        return (
            (levels.dtype, scales.dtype) == (np.int8, np.float16)
            and np.array_equal(w, before)
            and right(w[::2, ::-1], 8)
            and right(np.float32([[1000, 0.001]]), 1)
        )

    yield ("a small group keeps its small scale", lambda: all(right(np.float32([[1000, 0.001, 0.002, -0.001]]), 2, b) for b in (4, 8)), [
        "A group of weights of 0.001 with 8 bits: what is its scale?",
        "A floor such as 0.0001 is larger than such a scale: all levels become too small.",
        "Only a scale that is exactly 0 is replaced: np.where(scales > 0, scales, 1)",
    ])  # fmt: skip

    yield ("int8 and float16 come back, for views too, and the weights stay as they were", types, [
        "What dtypes does the docstring promise?",
        "w may be a slice of something longer, and read-only.",
        "`.astype(np.int8)` for the levels, `.astype(np.float16)` for the scales",
    ])  # fmt: skip


@EXERCISES.add("09b.3", "A bias for the rounding")
def bias_correction(answer: Callable) -> Iterator[Property]:
    """answer(bias, w, rounded, batches) -> float32 (O,)."""
    random = np.random.default_rng(3)
    w = random.normal(size=(4, 6)).astype(np.float32)
    rounded, bias = np.round(2 * w) / np.float32(2), random.normal(size=4).astype(np.float32)

    def right(batches: list[np.ndarray], tolerance: float = 1e-5) -> bool:
        rows = np.concatenate([np.asarray(each, np.float64) for each in batches])
        wanted = (rows @ w.T + bias).mean(axis=0)
        given = np.asarray(answer(bias, w, rounded, iter(batches)), np.float64)
        return given.shape == (4,) and bool(
            np.abs((rows @ rounded.T.astype(np.float64) + given).mean(axis=0) - wanted).max()
            <= tolerance * (1 + np.abs(wanted).max())
        )

    def some(n: int, mean: float = 1.0) -> np.ndarray:
        return random.normal(mean, 1, (n, 6)).astype(np.float32)

    first = some(50)
    yield ("on one batch the mean output is the float layer's", lambda: right([first]), [
        "By how much does the rounded layer's mean output differ from the float layer's?",
        "By (rounded - w) times the mean input. Take that away from the bias.",
        "bias - (rounded - w) @ x.mean(axis=0)",
    ])  # fmt: skip
    uneven = [some(200), some(3, 9), some(40, -2)]
    yield ("every row counts alike, not every batch", lambda: right(uneven), [
        "One batch has 200 rows, another three.",
        "An average of averages gives the small batch too much weight.",
        "total += x.sum(axis=0); rows += len(x); the mean is total / rows",
    ])  # fmt: skip
    yield ("empty batches are passed over", lambda: right([some(0), first, some(0)]) and right([some(1), some(0)]), [
        "A batch of no rows: what is its mean?",
        "The sum over nothing is 0, its mean is NaN.",
        "Sums and a count need no special case.",
    ])  # fmt: skip

    def large() -> bool:
        many = [np.full((20_000, 6), 300.1, np.float32) + some(1) for _ in range(20)]
        return right(many, 2e-6)

    yield ("many large inputs do not blur the mean", large, [
        "We send 400,000 rows near 300.",
        "A sum of 120,000,000 in float32 has steps of 8.",
        "x.sum(axis=0, dtype=np.float64)",
    ])  # fmt: skip

    def kept() -> bool:
        given = bias.copy(), w.copy(), rounded.copy(), first.copy()
        new = answer(*given[:3], [given[3]])
        return new.dtype == np.float32 and all(np.array_equal(a, b) for a, b in zip(given, (bias, w, rounded, first)))

    yield ("float32 comes back, and nothing is changed", kept, [
        "Look at `bias` after the call, and at the dtype of what you return.",
        "bias -= … writes into the caller's array.",
        "(bias - shift).astype(np.float32)",
    ])  # fmt: skip
    yield ("no row at all is refused", lambda: raises(ValueError, answer, bias, w, rounded, []) and raises(ValueError, answer, bias, w, rounded, iter([some(0)])), [
        "No batch, or one batch without a row.",
        "0 / 0 gives NaN, and a NaN in the bias spoils every answer.",
        "if rows == 0: raise ValueError(…), after the loop",
    ])  # fmt: skip


@EXERCISES.add("09b.4", "Calibrate without keeping the values")
def streams(answer: Callable) -> Iterator[Property]:
    """answer(batches, share, bins=2048) -> clip."""

    def exact(batches: list, share: float) -> float:
        every = np.sort(np.concatenate([np.asarray(each, np.float64).ravel() for each in batches]))
        return float(every[max(math.ceil(share * len(every) - 1e-9) - 1, 0)])

    def close(batches: list, share: float, bins: int = 2048) -> bool:
        width = 2 * max(float(np.max(each, initial=0)) for each in batches) / bins
        given, wanted = answer(iter(batches), share, bins), exact(batches, share)
        return wanted * (1 - 1e-6) <= given <= wanted + 2 * width + 1e-9

    random = np.random.default_rng(5)
    even = [random.uniform(0, 1, 1000) for _ in range(5)]
    yield ("on batches of one range it is the percentile, never below it", lambda: all(close(even, share) for share in (0.5, 0.9, 0.999)), [
        "Count values in equal bins from 0 to the top, and add the counts up from below.",
        "The answer is the upper edge of the first bin at which the running total reaches share × N.",
        "np.searchsorted(np.cumsum(counts), share * total), plus 1, times the width of a bin",
    ])  # fmt: skip
    growing = [random.exponential(2.0**i, 400) for i in range(8)]
    slowly = [random.uniform(0, 1.03**i, 200) for i in range(60)]
    yield ("batches that grow are all counted where they belong", lambda: (
        all(close(b, share) for b in (growing, growing[::-1]) for share in (0.3, 0.9, 0.99))
        and all(close(slowly, share, bins) for bins in (64, 2048) for share in np.arange(1, 20) / 20)
    ), [
        "The first batch does not know the largest value.",
        "When the range doubles, bins 0 and 1 become bin 0, bins 2 and 3 bin 1; the upper half is empty.",
        "counts = np.append(counts.reshape(-1, 2).sum(axis=1), np.zeros(bins // 2, np.int64))",
    ])  # fmt: skip
    uneven = [np.full(9000, 0.5), np.linspace(3, 4, 1000)]
    yield ("every value counts alike, not every batch", lambda: close(uneven, 0.85) and close(uneven, 0.95), [
        "One batch has 9,000 values, the other 1,000.",
        "The mean of the batches' percentiles is no percentile.",
        "One histogram for all of them.",
    ])  # fmt: skip
    outlier = [random.uniform(0, 1, 2000), np.array([1e6]), random.uniform(0, 1, 2000)]
    yield ("one huge value costs resolution, nothing else", lambda: close(outlier, 0.5) and answer(iter(outlier), 1.0) == 1e6, [
        "A value of 1e6 after values near 1: how many doublings?",
        "while, not if. And share 1 asks for the largest value itself.",
        "Keep the largest value beside the counts, and return it where share is 1.",
    ])  # fmt: skip
    zeros = [np.zeros((3, 4)), np.zeros(0), np.array([[0.0, 2.0], [4.0, 0.0]], np.float32)]
    yield ("zeros, empty batches and other shapes", lambda: (
        close(zeros, 0.9) and close(zeros, 1.0) and answer(iter(zeros), 0.5) == 0 and answer([np.zeros(7)], 0.9) == 0 and answer([np.zeros(7)], 1) == 0
    ), [
        "A batch of zeros first: what is its range?",
        "Count zeros apart; the range starts with the first value above 0.",
        "If share × N is not more than the number of zeros, the answer is 0.",
    ])  # fmt: skip

    def frugal() -> bool:
        def batches() -> Iterator[np.ndarray]:
            drawn = np.random.default_rng(1)
            for _ in range(300):
                yield drawn.random(500)

        answer(iter(even), 0.9)  # whatever is set up once is set up now
        tracemalloc.start()
        try:
            given = answer(batches(), 0.9)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        return abs(given - 0.9) < 0.01 and peak < 500_000

    yield ("no more than a batch and the counts are kept", frugal, [
        "We send 300 batches of 4 kB, 1.2 MB in all, and watch the memory.",
        "list(batches) and np.concatenate keep everything.",
        "for batch in batches: counts += np.bincount(…, minlength=bins)",
    ])  # fmt: skip

    def coarse() -> bool:
        shares = np.arange(1, 20) / 20
        few = all(len({answer(iter(even), share, bins) for share in shares}) <= bins for bins in (2, 4))
        return few and all(close(growing, share, bins) for bins in (2, 16, 64) for share in (0.5, 0.9))

    yield ("with few bins it is coarse and still never below", coarse, [
        "Try bins=2.",
        "Is 2048 written anywhere but in the signature?",
        "The width of a bin is top / bins.",
    ])  # fmt: skip
    apart = [np.array([1e-30, 3e-30]), np.array([1e-30] * 5 + [2e30 / 3])]
    hundred = [np.concatenate([np.full(7, 0.01), np.full(93, 1.0)])]
    yield ("values from 1e-30 to 1e30, and a share that is a whole number of values", lambda: (
        close(apart, 0.5) and close(apart, 0.95) and close(apart, 1.0) and close(apart[::-1], 0.5) and close(hundred, 0.07) and close(hundred, 0.08)
    ), [
        "How many doublings lead from 1e-30 to 1e30? And what is 0.07 * 100 in Python?",
        "0.07 * 100 is a little above 7, and the seventh value of 100 is asked for.",
        "needed = math.ceil(share * total - 1e-9)",
    ])  # fmt: skip
    yield ("no value, a negative or infinite one, and NaN are refused", lambda: all(
        raises(ValueError, answer, batches, 0.9)
        for batches in ([], [np.zeros(0)], [np.array([1.0, -1e-9])], [np.ones(3), np.array([np.nan])], [np.array([1.0, np.inf])])
    ), [
        "Try no batch, an empty batch, -1e-9, NaN and infinity.",
        "(values < 0).any() is false for NaN, and for infinity.",
        "if not ((values >= 0) & (values < np.inf)).all(): raise ValueError(…); and count, at the end, whether anything came.",
    ])  # fmt: skip
    yield ("a share of 0, below 0 or above 1 is refused", lambda: all(raises(ValueError, answer, iter(even), share) for share in (0.0, -0.1, 1.5, math.nan)), [
        "What is asked for with share 0, or 99.9 instead of 0.999?",
        "Comparisons with NaN are false.",
        "if not 0 < share <= 1: raise ValueError(…)",
    ])  # fmt: skip
