# %% [markdown]
# # 11 Pruning and sparsity: exercises
#
# Four pieces that have to be exact before anybody may call a model small. Fill in what is missing, run the cell, then
# its check. NumPy is enough.

# %%
import numpy as np

from course_lib.idioms import begin, check

scratch = begin("11")

# %% [markdown]
# ## 11.1 Exactly this many ★☆☆ · 10 minutes
#
# A release gate demands that 80 % of the weights are zero. A colleague compares magnitudes with a quantile. On the
# float model that passes; on the int8 model the gate fails, because hundreds of weights have the same magnitude, and
# all of them fall on one side. Write the mask that removes exactly as many weights as it was asked to.


# %%
def magnitude_mask(weights, sparsity):
    """True for the weights that stay: those of the largest magnitude.

    weights: array of any shape, floats or signed integers, without NaN. sparsity: 0 to 1.
    Exactly round(sparsity * weights.size) weights go; among equal magnitudes, those that come
    first in row-major order. Returns a bool array of the same shape; `weights` stays as it is.
    Raises ValueError for a sparsity outside 0 to 1, NaN included.
    """
    # SOLUTION
    if not 0 <= sparsity <= 1:
        raise ValueError(f"expected a sparsity from 0 to 1, got {sparsity}")
    size = np.abs(np.ravel(weights).astype(np.float64))  # float64: |−128| does not fit into int8
    keep = np.ones(size.size, bool)
    keep[np.argsort(size, kind="stable")[: round(sparsity * size.size)]] = False
    return keep.reshape(np.shape(weights))


# %%
check("11.1", magnitude_mask)

# %% [markdown] tags=["solution"]
# Ranks, not a threshold: a threshold cannot cut through equal numbers. `kind="stable"` keeps equals in their order, so
# that the mask is the same on every machine; the default sort promises nothing. And `np.abs(np.int8(-128))` is −128,
# the smallest "magnitude" of all, which is why the numbers are widened first. (`astype(np.int64)` would do for
# integers alone.)
#
# Another way: `np.partition` finds the threshold in linear time; count how many lie strictly below it, and take the
# rest from the first equals. It is faster on millions of weights, and longer.

# %% [markdown]
# ## 11.2 Take the channels out ★★☆ · 15 minutes
#
# A filter is gone only when nothing reads it any more. A team removed filters and forgot that `Flatten` stands between
# the convolution and the dense layer: shapes fitted by luck, the accuracy was that of a coin. Write the step for both
# kinds of successor.


# %%
def keep_channels(weight, bias, following, keep):
    """Removes output channels of a layer, and what the next layer reads of them.

    weight: float array (C, …), the layer's; a filter or neuron in each row. bias: (C,).
    following: the next layer's weight: (M, C, k, k) for a convolution, or (M, C · P) for a dense
    layer that reads P numbers of each channel, channel after channel (P is 1 where nothing is
    flattened). keep: int array, the channels that stay, in the order in which they are to stand.
    Returns (weight, bias, following) as new arrays. Raises ValueError where `keep` is empty, names
    a channel twice or one that is not there (negative numbers included), and where the next
    layer's inputs do not belong to C channels.
    """
    # SOLUTION
    keep, channels = np.asarray(keep), len(weight)
    if (
        len(keep) == 0
        or len(np.unique(keep)) < len(keep)
        or not np.isin(keep, range(channels)).all()
    ):
        raise ValueError(f"expected some of channels 0 to {channels - 1}, each once, got {keep}")
    inputs = following.shape[1]
    if inputs % channels or (following.ndim > 2 and inputs != channels):
        raise ValueError(
            f"expected a next layer that reads {channels} channels, got {inputs} inputs"
        )
    by_channel = following.reshape(len(following), channels, -1)[:, keep]
    shape = (len(following), len(keep) * (inputs // channels), *following.shape[2:])
    return weight[keep], bias[keep], by_channel.reshape(shape)


# %%
check("11.2", keep_channels)

# %% [markdown] tags=["solution"]
# One reshape serves both successors: seen as $(M, C, \text{rest})$, a convolution's weights and a dense layer's
# columns are both "what is read of each channel". Indexing with an array copies, so that the old network stays as it
# was.
#
# Another way, closer to the lesson: for the dense layer build the columns, `(P * keep[:, None] +
# np.arange(P)).ravel()`, and index axis 1 with them. The tempting `following[:, keep]` on a dense layer takes the
# first few *points* of channel 0.

# %% [markdown]
# ## 11.3 Is it worth a sparse format? ★★☆ · 15 minutes
#
# "We pruned to 60 %, how large will it be?" asks a colleague. CSR is not the only answer. A *bitmap* stores one bit
# for each weight, zero or not, and then the values that are not zero. Write the function that compares, and find out
# from which density on the bitmap is the smallest.


# %%
def bytes_by_format(weights):
    """Bytes of a matrix in three formats, to the byte, without headers.

    weights: float array (R, C), of any float dtype; values keep its item size; NaN is a value,
    −0.0 a zero. Returns a dict with int values:
    "dense": every value. "CSR": the values that are not zero; for each its column, in the
    smallest of 1, 2 and 4 bytes that holds C − 1; R + 1 row starts, in the smallest of 1, 2 and 4
    bytes that holds the number of values that are not zero. "bitmap": one bit for each weight,
    the last byte filled up, and the values that are not zero. Raises ValueError for an array
    that has not two axes.
    """
    # SOLUTION
    if np.ndim(weights) != 2:
        raise ValueError(f"expected a matrix (R, C), got shape {np.shape(weights)}")
    (rows, columns), item = weights.shape, weights.dtype.itemsize
    values = int(np.count_nonzero(weights))

    def width(largest):
        return 1 if largest < 2**8 else 2 if largest < 2**16 else 4

    csr = values * (item + width(columns - 1)) + (rows + 1) * width(values)
    return {
        "dense": weights.size * item,
        "CSR": csr,
        "bitmap": -(-weights.size // 8) + values * item,
    }


# %%
check("11.3", bytes_by_format)

# %% [markdown] tags=["solution"]
# A place costs CSR one index per *value*, the bitmap one bit per *weight*. With indices of 2 bytes and density $d$
# that is $16 d$ bits against 1 bit: from $d = 1/16$ on the bitmap is smaller. So for 60 % of zeros it is the bitmap.
# CSR's advantage is another: a kernel can multiply with it without unpacking. `np.count_nonzero` counts NaN and not
# −0.0, as asked; `(weights > 0).sum()` would miss every negative value.
#
# A second way to the integer division rounded up: `(n + 7) // 8`.

# %% [markdown]
# ## 11.4 A firmware update arrives cut off ★★★ · 20 minutes
#
# A device receives the Huffman-coded model over a radio link. Half of the last packet is missing. The decoder must say
# so, and not answer with weights that it made up.


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
check("11.4", huffman_decode)

# %% [markdown] tags=["solution"]
# The pair (length, value) is the key, since `0` and `00` have the same value. Two checks make a stranger's file
# harmless: Kraft's sum is taken *before* decoding, in integers, and the bits are looked up no further than the longest
# code. What neither can see is a flipped bit inside valid codes: that takes a checksum over the file, which real
# formats carry.
#
# Another way needs no dictionary: for each length keep the first code and the place of its first symbol; a code of
# that length belongs to symbol `first_place + code - first_code` if that is in range. RFC 1951 decoders work like
# this, with a table for the first bits.
