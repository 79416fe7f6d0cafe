"""Checks of lesson 11. NumPy alone: masks, shapes, bytes and bits."""

import math
from collections.abc import Callable, Iterator

import numpy as np

from course_lib.checks import Register, raises
from course_lib.idioms.exercises import Property

EXERCISES = Register()


@EXERCISES.add("11.1", "Exactly this many")
def exact_mask(answer: Callable) -> Iterator[Property]:
    """answer(weights, sparsity) -> mask of what stays."""
    plain = np.array([[0.5, -3.0], [2.0, -0.1]])
    random = np.random.default_rng(11)

    def gone(weights: np.ndarray, sparsity: float) -> list[int]:
        return np.flatnonzero(~np.asarray(answer(weights, sparsity)).ravel()).tolist()

    yield ("one truth value for each weight, in the weights' shape", lambda: answer(plain, 0.5).shape == (2, 2) and answer(plain, 0.5).dtype == bool, [
        "What shape and dtype does the docstring promise?",
        "Not the weights, and not their indices: a mask.",
        "Work on weights.ravel(), then .reshape(weights.shape).",
    ])  # fmt: skip
    yield ("magnitudes decide, not signs", lambda: gone(plain, 0.5) == [0, 3] and gone(plain, 0.25) == [3], [
        "Of 0.5, -3, 2 and -0.1, which two are closest to zero?",
        "-3 is less than 0.5, and yet the most important of all.",
        "Rank np.abs(weights).",
    ])  # fmt: skip

    def true_means_stays() -> bool:
        many = random.normal(size=1000)
        kept = answer(many, 0.9)
        return kept.sum() == 100 and np.abs(many[kept]).min() > np.abs(many[~kept]).max()

    yield ("of 1000 weights at 90 %, the 100 largest stay", true_means_stays, [
        "Does True mean that a weight stays?",
        "The mask multiplies the weights: True is 1.",
        "keep = np.ones(n, bool); keep[the smallest] = False",
    ])  # fmt: skip
    equal = np.repeat(np.float32([0.25, -0.25, 1.0]), [30, 50, 20])
    yield ("as many go as were asked for, where magnitudes are equal too", lambda: all(
        len(gone(equal, s)) == round(s * 100) for s in (0.1, 0.37, 0.8, 0.9)
    ), [
        "80 of 100 weights have the same magnitude, and half of the weights are to go.",
        "No threshold can cut through equal numbers: they all lie on one side of it.",
        "np.argsort gives ranks: the first round(sparsity * n) of them go.",
    ])  # fmt: skip
    yield ("the number is rounded as Python rounds", lambda: [len(gone(np.arange(1.0, 8), s)) for s in (0.5, 0.2, 0.36, 0.64)] == [4, 1, 3, 4], [
        "Seven weights at 50 %, 20 %, 36 % and 64 %: 3.5, 1.4, 2.52 and 4.48.",
        "int() cuts off, ceil rounds up.",
        "round(sparsity * weights.size)",
    ])  # fmt: skip
    tied = np.tile([2.0, -1.0, 1.0], 200)
    yield ("among equals, the first in row-major order go", lambda: all(
        gone(w, count / w.size) == [i for i in range(w.size) if i % 3][:count]
        for count in (1, 7, 150) for w in (tied, tied.reshape(20, 30), np.asfortranarray(tied.reshape(20, 30)))
    ), [
        "Six hundred weights, 2, -1 and 1 in turn: with one to go, it is the one in place 1.",
        "NumPy's default sort may put equal numbers in any order.",
        'np.argsort(…, kind="stable")',
    ])  # fmt: skip
    small = np.array([-128, 127, 1, -2, 0], np.int8)
    yield ("in every dtype, the int8 number -128 included", lambda: gone(small, 0.6) == [2, 3, 4] and all(
        gone(np.array([3, -1, 2]).astype(kind), 1 / 3) == [1] for kind in (np.float16, np.float32, np.int32)
    ), [
        "Print np.abs(np.int8(-128)).",
        "int8 ends at 127: the magnitude does not fit, and comes out as -128.",
        "np.abs(weights.astype(np.float64))",
    ])  # fmt: skip
    strided = random.normal(size=(6, 8))[::2, ::-1]
    yield ("a strided view, four axes, and no weight at all", lambda: np.array_equal(answer(strided, 0.5), answer(strided.copy(), 0.5))
           and answer(random.normal(size=(2, 3, 3, 3)), 0.5).shape == (2, 3, 3, 3) and answer(np.zeros((0, 4)), 0.5).shape == (0, 4), [
        "Try weights[::2, ::-1], a convolution's weights, and an array of shape (0, 4).",
        "Nothing may depend on how the array lies in memory, nor on its having an element.",
        "np.ravel goes in row-major order for any strides; argsort of an empty array is empty.",
    ])  # fmt: skip
    yield ("0 keeps everything, 1 nothing", lambda: bool(np.all(answer(plain, 0))) and not np.any(answer(plain, 1)), [
        "Try sparsity 0 and sparsity 1.",
        "order[-0:] is all of the array, not none of it.",
        "Take order[:count], the smallest, and set those to False.",
    ])  # fmt: skip
    yield ("a sparsity outside 0 to 1 is refused", lambda: all(raises(ValueError, answer, plain, s) for s in (-0.1, 1.5, 80, math.nan)), [
        "Someone passes 80 and means percent.",
        "And NaN? Every comparison with it is false.",
        "if not 0 <= sparsity <= 1: raise ValueError(…)",
    ])  # fmt: skip

    def untouched() -> bool:
        kept = plain.copy()
        answer(kept, 0.5)
        return np.array_equal(kept, plain)

    yield ("the weights stay as they were", untouched, [
        "Does your function write into `weights`?",
        "np.abs(weights, out=weights) and weights *= … change the caller's array.",
        "Work on a copy: astype makes one.",
    ])  # fmt: skip


def _through(x: np.ndarray, weight: np.ndarray, bias: np.ndarray, following: np.ndarray) -> np.ndarray:
    """A 1 × 1 convolution, or a dense layer, with ReLU, and what follows: loops, as an independent witness."""
    hidden = np.maximum(np.tensordot(weight, x, axes=1) + bias.reshape(-1, *[1] * (x.ndim - 1)), 0)
    if following.ndim == 2:
        return following @ hidden.ravel()
    return np.stack([sum(f[c].sum() * hidden[c] for c in range(len(hidden))) for f in following])


@EXERCISES.add("11.2", "Take the channels out")
def channels_out(answer: Callable) -> Iterator[Property]:
    """answer(weight, bias, following, keep) -> (weight, bias, following)."""
    random = np.random.default_rng(12)
    weight, bias = random.normal(size=(4, 3)).astype(np.float32), random.normal(size=4).astype(np.float32)
    filters = random.normal(size=(4, 2, 3, 3))
    after_conv, plain = random.normal(size=(5, 4, 3, 3)), random.normal(size=(5, 4))
    flattened = random.normal(size=(5, 4 * 6))
    keep = np.array([0, 2])

    yield ("the layer keeps these filters and biases", lambda: np.array_equal(answer(filters, bias, after_conv, keep)[0], filters[[0, 2]])
           and np.array_equal(answer(filters, bias, after_conv, keep)[1], bias[[0, 2]]), [
        "Rows of `weight` are filters.",
        "A bias belongs to its filter, and goes with it.",
        "weight[keep], bias[keep]",
    ])  # fmt: skip
    yield ("a convolution that follows reads these channels alone", lambda: np.array_equal(answer(filters, bias, after_conv, keep)[2], after_conv[:, [0, 2]]), [
        "Which axis of the next layer's weight (M, C, k, k) counts the channels that it reads?",
        "The next layer keeps all of its own filters.",
        "following[:, keep]",
    ])  # fmt: skip
    yield ("so does a dense layer, where nothing is flattened", lambda: np.array_equal(answer(weight, bias, plain, keep)[2], plain[:, [0, 2]]), [
        "A dense layer of shape (M, C) reads one number of each channel.",
        "It has two axes, not four.",
        "P = following.shape[1] // C is 1 here.",
    ])  # fmt: skip

    def columns() -> bool:
        got = answer(filters, bias, flattened, keep)[2]
        return got.shape == (5, 12) and np.array_equal(got, np.hstack([flattened[:, 0:6], flattened[:, 12:18]]))

    yield ("behind Flatten, a channel is a block of columns", columns, [
        "Four channels of 6 points each make 24 columns. Which are channel 2's?",
        "Channel c has columns P c to P c + P - 1, with P = 24 / 4.",
        "following.reshape(M, C, P)[:, keep].reshape(M, -1)",
    ])  # fmt: skip

    def same_function() -> bool:
        x, zeroed, no_bias = random.normal(size=(3, 2, 3)), weight.copy(), bias.copy()
        zeroed[[1, 3]], no_bias[[1, 3]] = 0, 0
        return all(
            np.allclose(_through(x, *answer(weight, bias, after, keep)), _through(x, zeroed, no_bias, after), atol=1e-4)
            for after in (flattened, after_conv)
        )

    yield ("the smaller network computes what the larger one does with those channels at zero", same_function, [
        "Set the dropped filters and biases to zero in the large network, and compare the outputs.",
        "What is removed here must be what is read there.",
        "All three arrays are indexed with the same `keep`.",
    ])  # fmt: skip
    turned = np.array([3, 0, 1])
    yield ("the order is that of `keep`, in all three", lambda: all(
        np.array_equal(got, wanted)
        for got, wanted in zip(answer(filters, bias, flattened, turned),
                               (filters[[3, 0, 1]], bias[[3, 0, 1]], np.hstack([flattened[:, 6 * c : 6 * c + 6] for c in (3, 0, 1)])))
    ) and np.array_equal(answer(filters, bias, after_conv, turned)[2], after_conv[:, [3, 0, 1]]), [
        "Try keep = [3, 0, 1].",
        "A mask, or a sorted `keep`, forgets the order.",
        "Index with the array itself: weight[keep].",
    ])  # fmt: skip

    def fresh() -> bool:
        kept = [each.copy() for each in (weight, bias, flattened)]
        got = answer(weight, bias, flattened, np.arange(4))
        for each in got:
            each[...] = 0
        return all(np.array_equal(a, b) for a, b in zip(kept, (weight, bias, flattened)))

    yield ("new arrays: writing into them leaves the old network alone", fresh, [
        "Keep all four channels, write zeros into the result, and look at the old arrays.",
        "A slice, and a reshape, may be views of the same memory.",
        "Indexing with an array of ints copies; .copy() does too.",
    ])  # fmt: skip
    yield ("any dtype stays, and a strided view will do", lambda: [each.dtype for each in answer(weight, bias, flattened.astype(np.float16), keep)]
           == [np.float32, np.float32, np.float16] and np.array_equal(answer(filters[:, ::-1], bias, flattened[::2, ::-1], [1])[2], flattened[::2, ::-1][:, 6:12]), [
        "float32, float16, and a view whose columns run backwards.",
        "np.zeros makes float64.",
        "Index the arrays that came; build none of your own.",
    ])  # fmt: skip
    yield ("no channel, one named twice, or one that is not there is refused", lambda: all(
        raises(ValueError, answer, filters, bias, flattened, np.array(bad, int)) for bad in ([], [1, 1], [4], [-1], [0, -4])
    ), [
        "Try [], [1, 1], [4] and [-1].",
        "-1 counts from the end in NumPy: no error, another channel.",
        "len(np.unique(keep)) < len(keep), and not np.isin(keep, range(C)).all()",
    ])  # fmt: skip
    yield ("a next layer that does not read C channels is refused", lambda: all(
        raises(ValueError, answer, filters, bias, bad, keep) for bad in (flattened[:, :22], after_conv[:, :3], np.repeat(after_conv, 2, axis=1))
    ), [
        "22 columns are no whole number of points for 4 channels.",
        "And a convolution must read exactly C channels: 3 are too few, 8 too many.",
        "if inputs % C or (following.ndim > 2 and inputs != C): raise ValueError(…)",
    ])  # fmt: skip


@EXERCISES.add("11.3", "Is it worth a sparse format?")
def formats(answer: Callable) -> Iterator[Property]:
    """answer(weights) -> {"dense": bytes, "CSR": bytes, "bitmap": bytes}."""
    small = np.float32([[0, -1.5, 0, 2], [0, 0, 0, 0], [3, 0, 0, 0]])

    def with_values(rows: int, columns: int, values: int, kind: type = np.float32) -> np.ndarray:
        flat = np.zeros(rows * columns, kind)
        flat[:: max(1, len(flat) // max(values, 1))][:values] = -1
        return flat.reshape(rows, columns)

    yield ("dense: every value, zero or not", lambda: answer(small)["dense"] == 48 and answer(small.astype(np.float64))["dense"] == 96, [
        "Three rows, four columns, 4 bytes each; in float64, 8.",
        "The item size is the dtype's.",
        "weights.size * weights.dtype.itemsize",
    ])  # fmt: skip
    yield ("bitmap: a bit for each weight, filled to whole bytes, and the values", lambda: answer(small)["bitmap"] == 2 + 12
           and answer(np.float32([[1] * 8]))["bitmap"] == 1 + 32 and answer(np.float32([[1] * 9]))["bitmap"] == 2 + 36, [
        "Twelve weights take 12 bits: how many bytes?",
        "Half a byte cannot be written: round up, once, over the whole matrix.",
        "-(-weights.size // 8) + values * item_size",
    ])  # fmt: skip
    yield ("CSR: values, columns and R + 1 row starts", lambda: answer(small)["CSR"] == 3 * 4 + 3 * 1 + 4 * 1, [
        "Three values of 4 bytes, three columns of 1 byte; and how many row starts for three rows?",
        "The end of the last row is stored too.",
        "values * (item + column_width) + (R + 1) * start_width",
    ])  # fmt: skip
    yield ("negative values and NaN are values, -0.0 is none", lambda: answer(np.float32([[np.nan, -0.0, -7, 0]]))["CSR"] == 2 * 4 + 2 + 2, [
        "[NaN, -0.0, -7, 0] holds two values.",
        "weights > 0 misses -7, and NaN > anything is false.",
        "np.count_nonzero(weights)",
    ])  # fmt: skip
    yield ("a column takes the smallest width that holds C - 1", lambda: [
        answer(with_values(1, columns, 2))["CSR"] - 8 - 2 for columns in (256, 257, 65536, 65537)
    ] == [2, 4, 4, 8], [
        "Two values in rows of 256, 257, 65,536 and 65,537 columns.",
        "256 columns have the numbers 0 to 255, which fit into a byte.",
        "1 if C - 1 < 2**8 else 2 if C - 1 < 2**16 else 4",
    ])  # fmt: skip
    yield ("a row start takes the smallest width that holds the number of values", lambda: [
        answer(with_values(300, 256, values))["CSR"] - 5 * values for values in (255, 256, 65535, 65536)
    ] == [301, 602, 602, 1204], [
        "300 rows, with 255, 256, 65,535 and 65,536 values.",
        "The last row start *is* the number of values: it must fit, not that number minus 1.",
        "1 if values < 2**8 else 2 if values < 2**16 else 4",
    ])  # fmt: skip
    yield ("float16 and a strided view are counted as they are", lambda: answer(small.astype(np.float16)[::2, ::-1]) == {"dense": 16, "CSR": 3 * 3 + 3, "bitmap": 1 + 6}, [
        "Rows 0 and 2 of the small matrix, backwards, in float16.",
        "Is a 4 written down somewhere?",
        "weights.dtype.itemsize",
    ])  # fmt: skip
    yield ("no row, no column, no value", lambda: answer(np.zeros((0, 5), np.float32)) == {"dense": 0, "CSR": 1, "bitmap": 0}
           and answer(np.zeros((3, 0), np.float32)) == {"dense": 0, "CSR": 4, "bitmap": 0} and answer(np.zeros((2, 2), np.float32))["CSR"] == 3, [
        "Shapes (0, 5) and (3, 0), and a matrix of zeros.",
        "CSR still has R + 1 row starts.",
        "The formula holds as it is; does something in your function fail on an empty array, as .max() does?",
    ])  # fmt: skip
    yield ("the answers are ints, under the three names", lambda: list(answer(small)) == ["dense", "CSR", "bitmap"] and all(type(n) is int for n in answer(small).values()), [
        "Print the type of each number.",
        "NumPy's counts are not always Python's ints, and / makes floats.",
        "int(np.count_nonzero(weights)), and // in place of /",
    ])  # fmt: skip
    yield ("what is no matrix is refused", lambda: all(raises(ValueError, answer, np.zeros(shape, np.float32)) for shape in ((4,), (2, 2, 3, 3), ())), [
        "Try a vector, and a convolution's weights.",
        "Four axes have no rows and columns until somebody says which.",
        "if np.ndim(weights) != 2: raise ValueError(…)",
    ])  # fmt: skip


def _encode(lengths: list[int], symbols: list[int]) -> bytes:
    """The codes by Kraft's arithmetic, not by counting: a code is the sum of 2^−length of those before it."""
    codes, before = {}, 0
    for n, symbol in sorted((n, s) for s, n in enumerate(lengths) if n):
        codes[symbol] = f"{before >> (64 - n):0{n}b}"
        before += 1 << (64 - n)
    bits = "".join(codes[s] for s in symbols)
    bits += "0" * (-len(bits) % 8)
    return int(bits or "0", 2).to_bytes(len(bits) // 8, "big") if bits else b""


@EXERCISES.add("11.4", "A firmware update arrives cut off")
def decoding(answer: Callable) -> Iterator[Property]:
    """answer(lengths, raw, count) -> symbols."""
    lengths = [1, 2, 3, 4, 4]  # 0, 10, 110, 1110, 1111
    some = [0, 1, 2, 3, 4, 0, 0, 3]

    def gives(lengths: list[int], symbols: list[int], extra: bytes = b"") -> bool:
        got = answer(lengths, _encode(lengths, symbols) + extra, len(symbols))
        return np.array_equal(got, symbols)

    yield ("the codes 0, 10 and 11 are told apart", lambda: answer([1, 2, 2], bytes([0b01011000]), 4).tolist() == [0, 1, 2, 0], [
        "Read 0 · 10 · 11 · 0, then stop.",
        "Collect bits until they are a code; the most significant bit of a byte comes first.",
        "Two loops: for each symbol, add bits until the dictionary {code: symbol} has them.",
    ])  # fmt: skip
    yield ("codes that cross bytes, in an int64 array", lambda: gives(lengths, some * 9) and answer(lengths, _encode(lengths, some), 8).dtype == np.int64, [
        "Seventy-two symbols take more than one byte.",
        "A code may begin in one byte and end in the next.",
        "np.unpackbits(np.frombuffer(raw, np.uint8)) makes one row of bits out of all bytes.",
    ])  # fmt: skip
    yield ("codes go by length, then by symbol, not by symbol alone", lambda: gives([4, 4, 3, 2, 1], some) and gives([3, 1, 3, 2], [3, 0, 2, 1, 1, 3]), [
        "Lengths 4, 4, 3, 2, 1: symbol 4 has the shortest code, and it is 0.",
        "Sort the symbols before you count.",
        "sorted((n, symbol) for symbol, n in enumerate(lengths) if n)",
    ])  # fmt: skip
    yield ("a code is shifted when the length grows by more than one", lambda: gives([1, 4, 4, 4, 4], [0, 1, 2, 3, 4, 0]) and gives([2, 2, 5, 5], [2, 0, 3, 1]), [
        "Lengths 1, 4, 4, 4, 4: the codes are 0, then 1000, 1001, …",
        "From length 1 to 4, code + 1 moves three places to the left.",
        "code <<= length - previous_length, and code += 1 after each symbol",
    ])  # fmt: skip
    yield ("symbols without a code, and a lone symbol", lambda: gives([0, 2, 0, 1, 2, 0], [3, 1, 4, 3]) and gives([0, 0, 1], [2, 2, 2]), [
        "A length of 0 means that the symbol never comes.",
        "A lone symbol has the code 0, one bit.",
        "for symbol, n in enumerate(lengths) if n",
    ])  # fmt: skip
    yield ("`count` ends it: what follows is ignored", lambda: gives(lengths, some, b"\xff\x00\xff") and answer(lengths, b"\x00", 3).tolist() == [0, 0, 0]
           and answer(lengths, b"", 0).shape == (0,) and answer([], b"abc", 0).shape == (0,), [
        "The last byte is filled up with zeros, and zero is a code.",
        "Read exactly `count` symbols, 0 included.",
        "for i in range(count):",
    ])  # fmt: skip
    deep = [*range(1, 41), 40]
    yield ("codes of 40 bits, too", lambda: gives(deep, [40, 0, 39, 20, 40]), [
        "Lengths 1, 2, 3, …, 40, 40.",
        "A fixed-width integer, or a table of 2**length entries, ends somewhere.",
        "Python's own ints, or strings of bits, as keys of a dictionary.",
    ])  # fmt: skip
    drawn = np.random.default_rng(0).choice(5, 20_000, p=[0.5, 0.25, 0.125, 0.0625, 0.0625]).tolist()
    yield ("20,000 symbols", lambda: gives(lengths, drawn), [
        "Does each symbol copy the rest of the bits?",
        "bits = bits[1:] copies everything that is left, every time.",
        "Keep a position, or an iterator, and move it.",
    ])  # fmt: skip
    whole = _encode(lengths, [4] * 6)
    yield ("bytes that end too early are refused", lambda: all(raises(ValueError, answer, lengths, raw, 6) for raw in (whole[:2], whole[:1], b""))
           and raises(ValueError, answer, [1], b"\x00", 9), [
        "Three bytes were sent, two arrived.",
        "An IndexError or a StopIteration is not what the docstring promises, and zeros in place of missing bits are made up.",
        "if no bit is left: raise ValueError(…)",
    ])  # fmt: skip
    yield ("bits that begin no code are refused, at once", lambda: raises(ValueError, answer, [2, 2], b"\xff" * 50_000, 3) and raises(ValueError, answer, [1], b"\x80", 1)
           and raises(ValueError, answer, [0, 0], b"\x00", 1), [
        "Lengths 2, 2 leave the codes 10 and 11 unused. What does your loop do with 11?",
        "Once the bits are longer than the longest code, nothing can match any more.",
        "if n > longest: raise ValueError(…)",
    ])  # fmt: skip
    yield ("lengths that are no code are refused", lambda: all(raises(ValueError, answer, bad, b"\x00\x00", 1) for bad in ([1, 1, 1], [1, 2, 2, 2], [1, 1, 60], [2] * 5)), [
        "Three codes of one bit: 0, 1, and then?",
        "The sum of 2^-length over the symbols may not exceed 1. In floats, 1 + 2^-60 is 1.",
        "sum(2 ** (60 - n) for n in lengths if n) > 2**60, before the first bit is read",
    ])  # fmt: skip
