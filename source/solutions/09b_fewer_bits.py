# %% [markdown]
# # 09b Fewer bits: exercises
#
# Four functions for models of few bits: a reader of packed weights, a scale for each group, a bias that makes up for the
# rounding, and a calibration that needs little memory. Fill in what is missing, run the cell, then run its check.

# %%
import math

import numpy as np

from course_lib.idioms import begin, check

scratch = begin("09b")

# %% [markdown]
# ## 09b.1 Read packed weights ★☆☆ · 10 minutes
#
# A checkpoint with 4-bit weights loads without an error, and the model answers nonsense: no weight is negative. The
# reader forgot the sign. Write a reader for 2 and 4 bits.


# %%
def unpack(packed, bits, count):
    """The signed levels in packed bytes.

    packed: uint8 array (B,); each byte holds 8 / bits levels, the first in the lowest bits. A level
    is in two's complement: with 4 bits, 0 to 7 stand for themselves and 8 to 15 for -8 to -1.
    bits: 2 or 4. count: how many levels there are, from 0; what is left of the last byte is
    padding, of any content. `packed` stays as it was.
    Returns int8 (count,). Raises ValueError if `packed` has more or fewer bytes than `count`
    levels need, or for other bits.
    """
    # SOLUTION
    if bits not in (2, 4) or len(packed) != math.ceil(count * bits / 8):
        raise ValueError(f"{count} levels of {bits} bits do not fill {len(packed)} bytes")
    shifts = np.arange(0, 8, bits, dtype=np.uint8)  # (8 / bits,)
    levels = (packed[:, None] >> shifts & (2**bits - 1)).reshape(-1)[:count].astype(np.int8)
    return np.where(levels >= 2 ** (bits - 1), levels - 2**bits, levels).astype(np.int8)


# %%
check("09b.1", unpack)

# %% [markdown] tags=["solution"]
# The shifts and the mask take the levels out of the byte, and a broadcast does it for all bytes at once. The last line
# restores the sign: in two's complement, the upper half of the patterns stands for the negative numbers. A second way is
# to shift left, until the level's sign is the byte's, and then right again as int8: `(packed << 4).view(np.int8) >> 4`. A
# right shift of a signed number copies the sign.

# %% [markdown]
# ## 09b.2 A scale for each group ★★☆ · 15 minutes
#
# A team stores 4-bit weights with a float16 scale for each group of neighbours. Their accuracy is a little lower than in
# the experiment. They had computed the levels with the scale as float32, and then stored another one. Write the quantizer
# with the scale that is stored.


# %%
def quantize_groups(w, size, bits=4):
    """Levels and scales of weights, with a scale for each group of neighbours in a row.

    w: float32 (O, K), O and K from 1; magnitudes are 0, or lie between 0.001 and 1,000. Stays as
    it was. size: from 1; the last group of a row is shorter if size does not divide K.
    bits: 2 to 8; levels go from -g to g with g = 2**(bits - 1) - 1.
    The scale is the largest |w| of the group over g, rounded to float16; 1 for a group of zeros.
    A level is w over that float16 scale, rounded to the nearest and clipped.
    Returns (levels, scales): int8 (O, K), float16 (O, number of groups in a row).
    """
    # SOLUTION
    greatest, rest = 2 ** (bits - 1) - 1, -w.shape[1] % size
    groups = np.pad(w, ((0, 0), (0, rest))).reshape(len(w), -1, size)  # zeros change no maximum
    scales = (np.abs(groups).max(axis=2) / greatest).astype(np.float16)
    scales = np.where(scales > 0, scales, np.float16(1))
    levels = np.clip(np.rint(groups / scales.astype(np.float32)[:, :, None]), -greatest, greatest)
    return levels.reshape(len(w), -1)[:, : w.shape[1]].astype(np.int8), scales


# %%
check("09b.2", quantize_groups)

# %% [markdown] tags=["solution"]
# The scale is rounded *before* the levels are computed, so that levels and scale fit each other. float16 may round it
# down. The largest weight then lies above $g$ steps, but by less than half a step, so its level is still $g$. Zeros may fill the last
# group, because they never change the largest $|w|$. A second way is a loop over `range(0, K, size)`, which needs no padding
# and is slower for small groups.

# %% [markdown]
# ## 09b.3 A bias for the rounding ★★☆ · 15 minutes
#
# Rounded weights move a layer's outputs. A part of the move is the same for every input, and the bias can take it back:
# the *bias correction* of Nagel et al. (2019). A colleague's first version took the average of the batches' averages. But
# the last batch was small, and had the oddest inputs.


# %%
def corrected_bias(bias, w, rounded, batches):
    """The bias with which the rounded layer has the float layer's mean output.

    A layer computes x @ w.T + bias. bias: float32 (O,). w, rounded: float32 (O, K), the weights
    before and after rounding. batches: an iterable, gone through once, of float32 arrays (N, K);
    N differs from batch to batch and may be 0. The mean is over all rows of all batches,
    accurate to float32's digits. Nothing is changed in place. Returns float32 (O,). Raises
    ValueError if there is no row at all.
    """
    # SOLUTION
    total, rows = np.zeros(w.shape[1]), 0
    for x in batches:
        total += x.sum(axis=0, dtype=np.float64)
        rows += len(x)
    if rows == 0:
        raise ValueError("expected at least one row, got none")
    error = rounded.astype(np.float64) - w
    return (bias - error @ (total / rows)).astype(np.float32)


# %%
check("09b.3", corrected_bias)

# %% [markdown] tags=["solution"]
# The mean of $(\hat W - W) x$ is $(\hat W - W)$ times the mean of $x$, since the map is linear. So the layer need not run at
# all: the mean input is enough. Sums and a count give the mean over all rows; averages of batches would give a small batch
# as much weight as a large one. The sum is in float64, because a float32 sum of a million rows loses digits. A second way
# runs both layers and compares the means of their outputs. It costs two products, and also works behind a layer that is not
# linear.

# %% [markdown]
# ## 09b.4 Calibrate without keeping the values ★★★ · 20 minutes
#
# A calibration job over 10,000 images was killed: it kept every activation, to take a percentile at the end. Keep counts
# in a histogram instead. The largest value is not known beforehand. When a value does not fit, double the range and merge
# neighbouring bins, as often as needed.


# %%
def streaming_clip(batches, share, bins=2048):
    """The smallest value that `share` of all values do not exceed, from counts alone.

    batches: an iterable, gone through once, of float arrays of any shape; each value is 0, or lies
    between 1e-30 and 1e30. Some arrays may be empty, some all 0. share: above 0, at most 1.
    bins: even, from 2. Keeps no more than one batch and the counts at a time.
    The range starts at a value of yours and grows by doubling. A value on the edge of two bins
    counts in the lower one.
    Returns a float: the upper edge of the bin in which the exact answer lies. It is never below the
    exact answer, and above it by no more than four times the largest value over bins. There are
    two exceptions: 0 if the exact answer is 0, and the largest value itself if share is 1.
    Raises ValueError for no value at all, a negative or infinite value, NaN, and any other share.
    """
    # SOLUTION
    if not 0 < share <= 1:
        raise ValueError(f"expected a share above 0, at most 1, got {share}")
    counts, top, zeros, largest = np.zeros(bins, np.int64), 0.0, 0, 0.0
    for batch in batches:
        values = np.asarray(batch, np.float64).ravel()
        if not ((values >= 0) & (values < np.inf)).all():  # a NaN is neither
            raise ValueError("expected finite values of 0 or more")
        zeros += int((values == 0).sum())
        values = values[values > 0]
        if len(values) == 0:
            continue
        largest = max(largest, float(values.max()))
        top = top or float(values[0])
        while top < largest:
            counts = np.append(counts.reshape(-1, 2).sum(axis=1), np.zeros(bins // 2, np.int64))
            top *= 2
        place = np.clip(np.ceil(values / top * bins) - 1, 0, bins - 1).astype(np.int64)
        counts += np.bincount(place, minlength=bins)
    if zeros + counts.sum() == 0:
        raise ValueError("expected at least one value, got none")
    needed = math.ceil(share * (zeros + counts.sum()) - 1e-9)  # 0.07 * 100 is a little above 7
    if share == 1 or needed <= zeros:
        return largest if needed > zeros else 0.0
    return float((np.searchsorted(zeros + np.cumsum(counts), needed) + 1) * top / bins)


# %%
check("09b.4", streaming_clip)

# %% [markdown] tags=["solution"]
# Doubling keeps the old counts usable: two old bins are exactly one new bin. Any other factor would have to split bins, and
# the counts do not say how their values lie inside. Zeros are counted apart, since after a ReLU there are many. An
# infinite value would make the range infinite, and all others would fall into the first bin. So it is refused. One value of $10^6$ among values near 1 costs
# twenty doublings of resolution. That is the price of not knowing the range, and one more reason to look at the calibration
# set. A second way is a *sketch* (t-digest, KLL), which keeps its precision where the quantile is asked for.
