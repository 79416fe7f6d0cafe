# %% [markdown]
# # 11b Deep Compression: exercises
#
# Three functions around a compressed file: places from gaps, what a code would save, and a decoder that survives a
# damaged file. Fill in what is missing, run the cell, then run its check.

# %%
import heapq

import numpy as np

from course_lib.idioms import begin, check

scratch = begin("11b")

# %% [markdown]
# ## 11b.1 From gaps to a matrix ★☆☆ · 10 minutes
#
# After an update, a device gives nonsense answers. One gap in its file was damaged and became negative. The decoder
# computed a negative place, and NumPy counts negative places from the end, without an error. Write the step from gaps
# to the matrix, and refuse gaps that cannot be right.


# %%
def from_gaps(gaps, values, shape):
    """The matrix that these gaps and values describe.

    gaps: int array (E,) of any integer dtype: how many zeros lie between an entry and the one
    before it, or the matrix's beginning; the matrix is read row by row. values: float array (E,),
    0 for a filler. shape: (rows, columns).
    Returns an array of this shape, in the dtype of `values`. Raises ValueError where gaps and
    values have different lengths, where a gap is negative, and where an entry lies beyond the end.
    """
    # SOLUTION
    if len(gaps) != len(values):
        raise ValueError(f"expected a gap for each value, got {len(gaps)} and {len(values)}")
    if np.any(np.asarray(gaps) < 0):
        raise ValueError("expected gaps of 0 or more")
    matrix = np.zeros(shape, values.dtype)
    places = np.cumsum(np.asarray(gaps).astype(np.int64) + 1) - 1  # 255 + 1 is 0 in uint8
    if len(places) and places[-1] >= matrix.size:
        raise ValueError(f"expected {matrix.size} places, got one at {places[-1]}")
    matrix.ravel()[places] = values
    return matrix


# %%
check("11b.1", from_gaps)

# %% [markdown] tags=["solution"]
# Each entry lies its gap and one place further than the entry before, so the places are a running sum. It only grows,
# so it is enough to compare the last place with the end. Widen the gaps first: 5-bit gaps fit into uint8, and so does
# 255, but 255 + 1 does not. `matrix.ravel()` is a view here, because a new array lies in memory row by row.
#
# A second way is a loop with a position: `at += int(gap) + 1`. It is slower and just as correct.

# %% [markdown]
# ## 11b.2 What would a Huffman code save? ★★☆ · 15 minutes
#
# A colleague wants to code every stream of the file. For long streams that pays. For short ones, the table of code
# lengths may cost more than the codes save. Write the comparison. You need not build the codes.


# %%
def coded_bits(symbols, width):
    """How many bits a stream takes, coded in three ways.

    symbols: int array (N,) of any integer dtype, each from 0 to 2**width - 1. width: 1 to 16.
    Returns a dict: "fixed": N codes of `width` bits, an int. "entropy": N times the entropy of the
    symbols' frequencies, a float. "Huffman": the codes of an optimal Huffman code, and a table with
    one byte for each of the 2**width possible symbols, an int. If one symbol alone occurs, it takes
    one bit each time. Raises ValueError for a symbol out of range.
    """
    # SOLUTION
    symbols = np.asarray(symbols).astype(np.int64)
    if len(symbols) and not 0 <= symbols.min() <= symbols.max() < 2**width:
        raise ValueError(f"expected symbols from 0 to {2**width - 1}")
    counts = np.bincount(symbols, minlength=2**width)
    p = counts[counts > 0] / max(1, len(symbols))
    heap = [int(c) for c in counts if c]
    heapq.heapify(heap)
    codes = len(symbols) if len(heap) == 1 else 0
    while len(heap) > 1:
        joined = heapq.heappop(heap) + heapq.heappop(heap)
        codes += joined  # each join makes all codes in it one bit longer
        heapq.heappush(heap, joined)
    return {
        "fixed": len(symbols) * width,
        "entropy": float(-len(symbols) * (p * np.log2(p)).sum()),
        "Huffman": codes + 8 * 2**width,
    }


# %%
check("11b.2", coded_bits)

# %% [markdown] tags=["solution"]
# Each join adds one bit to every occurrence of every symbol in it. So the length of the whole stream is the sum of
# the joined counts, and the codes themselves are not needed. The lesson's last layer has only about 300 entries. For
# its clusters, the table of 32 bytes costs most of what the codes save.
#
# A second way computes the lengths as in the lesson and sums `counts * lengths`. Rounding $\log_2 \frac{1}{p_s}$ up
# gives valid code lengths too (Shannon's code), but not the shortest.

# %% [markdown]
# ## 11b.3 A firmware update arrives cut off ★★★ · 20 minutes
#
# A device receives the Huffman-coded model over a radio link. Half of the last packet is missing. The decoder must say
# so. It must not return weights that it made up, and it must not search forever for the missing bits.


# %%
def huffman_decode(lengths, raw, count):
    """Symbols of a canonical Huffman code.

    lengths: ints, the bits of each symbol's code, 0 for a symbol without one, at most 60. Codes
    are canonical: sorted by (length, symbol), each is the one before plus 1, shifted left to its
    length; the first is all zeros. raw: bytes, the codes one after the other, the most
    significant bit of each byte first; what follows the last code is ignored. count: how many
    symbols to read. Returns an int64 array (count,). Raises ValueError where the bytes end too
    early, where bits come that begin no code, and where the lengths are no code at all: the sum
    of 2^−length over the symbols exceeds 1.
    """
    # SOLUTION
    order = sorted((int(n), symbol) for symbol, n in enumerate(lengths) if n)
    if sum(2 ** (60 - n) for n, _ in order) > 2**60:  # in integers: no rounding
        raise ValueError(f"expected lengths of a code, got more codes than bits allow: {lengths}")
    symbol_of, code, before = {}, 0, 0
    for n, symbol in order:
        code <<= n - before
        symbol_of[n, code] = symbol
        code, before = code + 1, n
    symbols = np.zeros(count, np.int64)
    bits = iter(np.unpackbits(np.frombuffer(raw, np.uint8)).tolist())
    for i in range(count):
        n, code = 0, 0
        while (n, code) not in symbol_of:
            bit = next(bits, None)
            if bit is None:
                raise ValueError(f"the bytes end after {i} of {count} symbols")
            n, code = n + 1, 2 * code + bit
            if n > before:  # longer than the longest code
                raise ValueError(f"symbol {i}: these bits begin no code")
        symbols[i] = symbol_of[n, code]
    return symbols


# %%
check("11b.3", huffman_decode)

# %% [markdown] tags=["solution"]
# The key is the pair (length, value), since `0` and `00` have the same value. Two checks protect the decoder against
# a damaged file. It checks Kraft's sum *before* it decodes, in integers. And it looks no further than the longest
# code, so the loop always ends. Neither check notices a flipped bit that leaves valid codes. That takes a checksum
# over the file.
#
# A second way needs no dictionary: for each length, keep the first code and the place of its first symbol. A code of
# that length belongs to symbol `first_place + code - first_code`, if that is in range. Decoders of RFC 1951 work like
# this, with a table for the first bits.
