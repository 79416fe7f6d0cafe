"""Checks of lesson 11b. Python and NumPy alone: places, bits and codes."""

import math
from collections.abc import Callable, Iterator

import numpy as np

from course_lib.checks import Register, raises
from course_lib.idioms.exercises import Property

EXERCISES = Register()


@EXERCISES.add("11b.1", "From gaps to a matrix")
def matrix_of_gaps(answer: Callable) -> Iterator[Property]:
    """answer(gaps, values, shape) -> matrix."""

    def gives(gaps: list[int], values: list[float], wanted: list[list[float]]) -> bool:
        got = answer(np.array(gaps, np.int64), np.array(values, np.float32), np.shape(wanted))
        return np.shape(got) == np.shape(wanted) and np.array_equal(got, wanted)

    yield ("gaps 2 and 1 put 5 and 7 at the places 2 and 4", lambda: gives([2, 1], [5, 7], [[0, 0, 5], [0, 7, 0]]), [
        "Two zeros, the 5, one zero, the 7.",
        "Each entry takes a place itself: the next one lies its gap and one place further.",
        "np.cumsum(gaps + 1) - 1",
    ])  # fmt: skip
    yield ("a gap of 0 means the very next place, at the beginning too", lambda: gives([0, 0, 0], [1, 2, 3], [[1, 2, 3, 0]]) and gives([0], [4], [[4]]), [
        "Where does the first entry lie if its gap is 0?",
        "At place 0. The running sum of gaps + 1 gives 1.",
        "Subtract 1 from the running sum.",
    ])  # fmt: skip
    yield ("a filler moves on and leaves a zero", lambda: gives([2, 3, 1], [5, 0, 7], [[0, 0, 5], [0, 0, 0], [0, 0, 7]]), [
        "Gaps 2, 3, 1 with the values 5, 0, 7: the 7 is at place 8.",
        "The filler counts as a place, like any other entry.",
        "Do not drop entries whose value is 0 before you add up the gaps.",
    ])  # fmt: skip
    wide = np.array([255, 255, 254, 3], np.uint8)
    narrow, long = np.array([127, 0, 127], np.int8), np.array([70_000, 1])
    yield ("gaps of any integer dtype and any size", lambda: np.flatnonzero(answer(wide, np.ones(4, np.float32), (2, 400))).tolist() == [255, 511, 766, 770]
           and np.flatnonzero(answer(wide.astype(np.int16), np.ones(4, np.float32), (2, 400))).tolist() == [255, 511, 766, 770]
           and np.flatnonzero(answer(narrow, np.ones(3, np.float32), (2, 400))).tolist() == [127, 128, 256]
           and np.flatnonzero(answer(long, np.ones(2, np.float32), (200, 400))).tolist() == [70_000, 70_002], [
        "In uint8, 255 + 1 is 0; in int8, 127 + 1 is -128; and int16 has no 70,000.",
        "np.cumsum widens its sum, but gaps + 1 is computed before.",
        "gaps.astype(np.int64) + 1",
    ])  # fmt: skip
    many = np.random.default_rng(11)
    sparse = np.where(many.random((300, 400)) < 0.1, many.normal(size=(300, 400)), 0)

    def round_trip(kind: type) -> bool:
        matrix = sparse.astype(kind)
        places = np.flatnonzero(matrix)
        got = answer(np.diff(places, prepend=-1) - 1, matrix.ravel()[places], (300, 400))
        return got.dtype == kind and np.array_equal(got, matrix)

    yield ("a matrix of 300 × 400, back bit for bit, in its dtype", lambda: round_trip(np.float32) and round_trip(np.float16) and round_trip(np.float64), [
        "The matrix is read row by row.",
        "np.zeros(shape) is float64, whatever the values are.",
        "np.zeros(shape, values.dtype)",
    ])  # fmt: skip
    yield ("no entry at all, and no place at all", lambda: gives([], [], [[0, 0], [0, 0]]) and answer(np.zeros(0, int), np.zeros(0, np.float32), (0, 5)).shape == (0, 5), [
        "A layer from which everything was pruned has no gap.",
        "places[-1] of an empty array is an IndexError.",
        "if len(places) and places[-1] >= …",
    ])  # fmt: skip
    yield ("an entry beyond the end is refused, one at the last place is not", lambda: gives([3], [9], [[0, 0], [0, 9]])
           and raises(ValueError, answer, np.array([4]), np.ones(1), (2, 2)) and raises(ValueError, answer, np.array([1, 2]), np.array([1.0, 0.0]), (2, 2)), [
        "A matrix of 2 × 2 has the places 0 to 3.",
        "NumPy raises IndexError there, which is not what the docstring promises; a filler beyond the end is no better.",
        "if places[-1] >= matrix.size: raise ValueError(…)",
    ])  # fmt: skip
    yield ("a negative gap is refused", lambda: all(raises(ValueError, answer, np.array(bad), np.ones(len(bad)), (2, 3)) for bad in ([-1], [-3], [2, -2], [3, -1])), [
        "Try gaps [2, -2], and [-1].",
        "A negative place counts from the end, and a place can be written twice: both without an error.",
        "if (gaps < 0).any(): raise ValueError(…)",
    ])  # fmt: skip
    yield ("gaps and values of different lengths are refused", lambda: raises(ValueError, answer, np.array([0, 1]), np.ones(1), (2, 3))
           and raises(ValueError, answer, np.array([0]), np.ones(2), (2, 3)) and raises(ValueError, answer, np.zeros(0, int), np.ones(2), (2, 3)), [
        "Two gaps and one value.",
        "NumPy broadcasts one value to both places.",
        "if len(gaps) != len(values): raise ValueError(…)",
    ])  # fmt: skip


@EXERCISES.add("11b.2", "What would a Huffman code save?")
def huffman_bits(answer: Callable) -> Iterator[Property]:
    """answer(symbols, width) -> {"fixed": bits, "entropy": bits, "Huffman": bits}."""
    skewed = np.repeat([0, 1, 2, 3, 4], [8, 4, 2, 1, 1])
    even = np.tile(np.arange(4), 25)

    yield ("fixed: each symbol takes the width", lambda: answer(even, 2)["fixed"] == 200 and answer(skewed, 5)["fixed"] == 80, [
        "100 symbols of 2 bits; 16 symbols of 5 bits.",
        "The width is given: which symbols occur does not matter.",
        "len(symbols) * width",
    ])  # fmt: skip
    yield ("entropy: N times the bits of a symbol", lambda: math.isclose(answer(even, 2)["entropy"], 200) and math.isclose(answer(even, 5)["entropy"], 200)
           and math.isclose(answer(skewed, 3)["entropy"], 30), [
        "Four symbols, evenly used, have an entropy of 2 bits each.",
        "Base 2, over the symbols that occur, times the number of symbols.",
        "-len(symbols) * (p * np.log2(p)).sum()",
    ])  # fmt: skip
    yield ("Huffman: the codes, and a byte of table for each possible symbol", lambda: answer(skewed, 3)["Huffman"] == 30 + 64
           and answer(skewed, 5)["Huffman"] == 30 + 256 and answer(even, 2)["Huffman"] == 200 + 32, [
        "Counts 8, 4, 2, 1, 1 have codes of 1, 2, 3, 4, 4 bits: 30 bits in all.",
        "A width of 3 has 8 possible symbols, each with a length in the table, of 8 bits, whether it occurs or not.",
        "codes + 8 * 2**width",
    ])  # fmt: skip
    uneven = np.repeat([0, 1, 2, 3, 4, 5], [45, 13, 12, 16, 9, 5])
    yield ("counts that are no powers of two: the shortest code, not each logarithm rounded up", lambda: answer(uneven, 3)["Huffman"] == 224 + 64
           and answer(np.repeat([0, 1, 2, 3, 4], 3), 3)["Huffman"] == 36 + 64 and answer(np.repeat([0, 1, 2, 3, 4], [15, 7, 6, 6, 5]), 3)["Huffman"] == 87 + 64, [
        "Counts 45, 13, 12, 16, 9, 5 take 224 bits; 15, 7, 6, 6, 5 take 87, not the 89 of a split into halves.",
        "What was joined goes back among the others, in order: it may be joined again before they are.",
        "A heap: pop two, add their sum to the total, push the sum.",
    ])  # fmt: skip
    yield ("a lone symbol takes one bit each time", lambda: tuple(round(n, 6) for n in answer(np.full(7, 3), 2).values()) == (14, 0, 7 + 32), [
        "Seven times the symbol 3.",
        "No join takes place, and yet each symbol needs a code.",
        "codes = len(symbols) if there is one symbol alone",
    ])  # fmt: skip
    yield ("no symbol at all: the table alone", lambda: answer(np.zeros(0, np.int64), 4) == {"fixed": 0, "entropy": 0, "Huffman": 128}, [
        "An empty stream, with a width of 4.",
        "Does something divide by the number of symbols?",
        "p = counts / max(1, len(symbols))",
    ])  # fmt: skip
    drawn = np.random.default_rng(3).geometric(0.2, 20_000).clip(1, 32) - 1

    def within_a_bit() -> bool:
        got = answer(drawn, 5)
        codes = got["Huffman"] - 256
        return got["entropy"] <= codes + 1e-6 and codes < got["entropy"] + len(drawn) and codes < got["fixed"]

    yield ("20,000 symbols: between the entropy and one bit more for each", within_a_bit, [
        "No code is shorter than the entropy, and Huffman's is within a bit of it.",
        "Does each join look for the smallest counts among all that are left?",
        "heapq.heapify(counts), then heappop twice and heappush once",
    ])  # fmt: skip

    def same(one: dict, other: dict) -> bool:
        return list(one) == list(other) and all(math.isclose(one[name], other[name], rel_tol=1e-9) for name in one)

    few = np.repeat([255, 0], [200, 100])
    yield ("the order of the symbols does not matter, nor their dtype", lambda: same(answer(drawn.astype(np.uint8), 5), answer(np.sort(drawn), 5))
           and same(answer(few.astype(np.uint8), 8), answer(few[::-1], 8)), [
        "Try uint8, and the sorted stream.",
        "In uint8, 255 + 1 is 0, and -1 is 255.",
        "Count first: np.bincount(symbols, minlength=2**width).",
    ])  # fmt: skip
    yield ("ints for bits that are counted, under the three names", lambda: list(answer(skewed, 3)) == ["fixed", "entropy", "Huffman"]
           and [type(n) for n in answer(skewed.astype(np.uint8), 3).values()] == [int, float, int], [
        "Print the type of each number.",
        "NumPy's counts are not Python's ints.",
        "int(…) and float(…)",
    ])  # fmt: skip
    yield ("a symbol out of range is refused", lambda: all(raises(ValueError, answer, np.array(bad), 2) for bad in ([4], [0, 1, 9], [-1], [0, -3]))
           and answer(np.array([3, 0]), 2)["fixed"] == 4, [
        "With a width of 2, symbols go from 0 to 3.",
        "A damaged stream must not be counted as if it were one.",
        "if symbols.min() < 0 or symbols.max() >= 2**width: raise ValueError(…)",
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


@EXERCISES.add("11b.3", "A firmware update arrives cut off")
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
           and raises(ValueError, answer, [1], b"\x00", 9) and raises(ValueError, answer, [1, 1], b"\xff", 9) and raises(ValueError, answer, [1, 1], b"", 1), [
        "Three bytes were sent, two arrived. And what if no byte arrives?",
        "An IndexError or a StopIteration is not what the docstring promises, and zeros in place of missing bits are made up.",
        "if no bit is left: raise ValueError(…)",
    ])  # fmt: skip
    yield ("bits that begin no code are refused, at once", lambda: raises(ValueError, answer, [2, 2], b"\xff" * 50_000, 3) and raises(ValueError, answer, [1], b"\x80", 1)
           and raises(ValueError, answer, [0, 0], b"\x00", 1), [
        "Lengths 2, 2 leave the codes 10 and 11 unused. What does your loop do with 11?",
        "Once the bits are longer than the longest code, nothing can match any more.",
        "if n > longest: raise ValueError(…)",
    ])  # fmt: skip
    yield ("lengths that are no code are refused", lambda: all(raises(ValueError, answer, bad, b"\x00\x00", 1) for bad in ([1, 1, 1], [1, 2, 2, 2], [1, 1, 60], [2] * 5))
           and raises(ValueError, answer, [1, 1, 1], b"", 0), [
        "Three codes of one bit: 0, 1, and then?",
        "The sum of 2^-length over the symbols may not exceed 1. In floats, 1 + 2^-60 is 1.",
        "sum(2 ** (60 - n) for n in lengths if n) > 2**60, before the first bit is read",
    ])  # fmt: skip
