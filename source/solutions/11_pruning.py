# %% [markdown]
# # 11 Pruning and sparsity: exercises
#
# Four functions that have to be exact before you call a model small: a mask, shares from a scan, a comparison of
# formats, and the removal of channels. Fill in what is missing, run the cell, then run its check. NumPy is enough.

# %%
import numpy as np

from course_lib.idioms import begin, check

scratch = begin("11")

# %% [markdown]
# ## 11.1 Exactly this many ★☆☆ · 10 minutes
#
# A release gate demands that 80 % of the weights are zero. A colleague compares magnitudes with a quantile. The float
# model passes. The int8 model fails: hundreds of its weights have the same magnitude, and all of them fall on one
# side of the threshold. Write a mask that removes exactly as many weights as you ask for.


# %%
def magnitude_mask(weights, sparsity):
    """True for the weights that stay: those of the largest magnitude.

    weights: array of any shape, without NaN: float16 to float64, or signed integers of up to 32
    bits. sparsity: 0 to 1.
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
# Use ranks, not a threshold: a threshold cannot cut through equal numbers. `kind="stable"` keeps equal magnitudes in
# their order, so the mask is the same on every machine. The default sort promises nothing. `np.abs(np.int8(-128))` is
# −128, which would rank as the smallest magnitude of all, so the numbers are widened first. Widen to float64: in
# float16, 1.0001 and 1.0002 are the same number.
#
# A second way: `np.partition` finds the threshold in linear time. Count how many magnitudes lie below it, and take the
# rest from the first equal ones. This is faster for millions of weights, and longer.

# %% [markdown]
# ## 11.2 Shares from a scan ★★☆ · 10 minutes
#
# A script chooses how far each layer is pruned. It takes the largest sparsity at which the layer alone passed. One
# layer failed at 60 % and 70 %, and passed at 80 % by luck. So the script pruned it to 80 % in the release. Write the
# rule that stops before the first failure, and compute how sparse the whole network becomes.


# %%
def shares_from_scan(sparsities, accuracies, sizes, tolerance):
    """How far each layer may be pruned, and how sparse the network is then.

    sparsities: float array (S,), ascending, the first is 0. accuracies: float array (L, S): entry
    [l, s] is the accuracy with layer l alone pruned to sparsities[s]. sizes: int array (L,), the
    number of weights in each layer. tolerance: how much a layer may lose against its own first
    accuracy, 0 or more; a difference of less than 1e-9 from the tolerance counts as equal to it.
    Returns (shares, total): for each layer the largest sparsity up to which no step loses more
    than the tolerance, float array (L,); and the share of all weights that go, a float.
    Raises ValueError where the shapes do not fit, where `sparsities` does not ascend from 0, and
    where an accuracy or the tolerance is NaN or the tolerance is negative.
    """
    # SOLUTION
    if accuracies.shape != (len(sizes), len(sparsities)):
        raise ValueError(
            f"expected accuracies {(len(sizes), len(sparsities))}, got {accuracies.shape}"
        )
    if len(sparsities) == 0 or sparsities[0] != 0 or not (np.diff(sparsities) > 0).all():
        raise ValueError(f"expected sparsities that ascend from 0, got {sparsities}")
    if np.isnan(accuracies).any() or not tolerance >= 0:
        raise ValueError("expected accuracies without NaN and a tolerance of 0 or more")
    too_far = accuracies[:, :1] - accuracies > tolerance + 1e-9
    first = np.where(too_far.any(axis=1), too_far.argmax(axis=1), len(sparsities))
    shares = sparsities[first - 1]
    return shares, float(shares @ sizes / np.sum(sizes))


# %%
check("11.2", shares_from_scan)

# %% [markdown] tags=["solution"]
# `argmax` of truth values is the place of the first True, and 0 where there is none; hence the `np.where`. A step
# before the first failure always exists, because the first step loses nothing. The margin of 1e-9 is needed: 0.95 −
# 0.94 is 0.010000000000000009 in floating point. The total weighs each share with the size of its layer. The plain
# mean of the shares would count 144 filters' weights as much as 10,240.
#
# A second way: `np.cumprod(~too_far, axis=1).sum(axis=1)` counts the steps before the first failure.

# %% [markdown]
# ## 11.3 Is it worth a sparse format? ★★☆ · 15 minutes
#
# "We pruned to 60 %. How large will the file be?" asks a colleague. CSR is not the only format. A *bitmap* stores one
# bit for each weight, zero or not, and then the values that are not zero. Write the function that compares them, and
# find out from which density on the bitmap is smaller than CSR.


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
# For each place, CSR spends one index per *value*, and the bitmap one bit per *weight*. With indices of 2 bytes and
# density $d$ these are $16 d$ bits against 1 bit, so the bitmap is smaller from $d = 1/16$ on. For 60 % zeros it is
# the bitmap. CSR has another advantage: a kernel can multiply with it without unpacking. `np.count_nonzero` counts
# NaN and not −0.0, as the task asks. `(weights > 0).sum()` would miss every negative value.
#
# A second way to divide and round up: `(n + 7) // 8`.

# %% [markdown]
# ## 11.4 Take the channels out ★★☆ · 15 minutes
#
# A filter is gone only when nothing reads its channel any more. A team removed filters and forgot that `Flatten`
# stands between the convolution and the dense layer. The shapes happened to fit, and the accuracy was no better than
# guessing. Write the step for both kinds of next layer.


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
check("11.4", keep_channels)

# %% [markdown] tags=["solution"]
# One reshape serves both kinds of next layer. Seen as $(M, C, \text{rest})$, a convolution's weights and a dense
# layer's columns are both "what is read of each channel". Indexing with an array copies, so the old network stays as
# it was.
#
# A second way is closer to the lesson: for the dense layer, build the columns, `(P * keep[:, None] +
# np.arange(P)).ravel()`, and index axis 1 with them. `following[:, keep]` on a dense layer would take the first few
# *points* of channel 0.
