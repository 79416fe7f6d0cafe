# %% [markdown]
# # 09 Quantization, from scratch: exercises
#
# Five pieces of a quantizer, each with the case that breaks the first draft. Fill in what is missing, run the cell,
# then its check.

# %%
import math

import numpy as np

from course_lib.idioms import begin, check

scratch = begin("09")

# %% [markdown]
# ## 09.1 A grid for each channel ★☆☆ · 10 minutes
#
# A build for a device failed with a scale of NaN: one channel had been pruned, and all its weights were 0. Another
# build worked, but every picture had a faint frame: the range of one channel did not contain 0, so no level stood for
# it. Write scale and zero point so that neither happens.


# %%
def grids(low, high, bits=8):
    """Scale and zero point of each channel's unsigned grid, levels 0 to 2**bits - 1.

    low, high: float arrays (C,), the least and the greatest value of each channel, C from 0;
    they stay as they were. bits: 1 to 8. A range that does not contain 0 is widened until it
    does; a channel that holds nothing but 0 gets scale 1. Returns (scale, zero_point): float32
    (C,), positive, and int64 (C,), whole levels. No warning is given. Raises ValueError where a
    range is not finite or its ends are swapped.
    """
    # SOLUTION
    if not (np.isfinite(low).all() and np.isfinite(high).all() and np.all(low <= high)):
        raise ValueError("expected finite ranges, the lower end first")
    low, high = np.minimum(low, 0.0), np.maximum(high, 0.0)
    scale = (high - low) / (2**bits - 1)
    scale = np.where(scale > 0, scale, 1.0).astype(np.float32)
    return scale, np.rint(-low / scale).astype(np.int64)


# %%
check("09.1", grids)

# %% [markdown] tags=["solution"]
# `np.minimum(low, 0)` does the widening, and with it the zero point cannot leave the levels: $0 \le -\alpha/s \le 2^b - 1$.
# The scale of a channel of zeros may be any positive number, since only 0 is ever divided by it; 1 is the custom. The
# check for NaN stands first, because every comparison with NaN is false and would let it pass. A second way to the zero
# point is from the upper end, $2^b - 1 - \beta/s$, rounded; on most grids it is the same.

# %% [markdown]
# ## 09.2 A product with a zero point a column ★★☆ · 10 minutes
#
# A runtime's answers were right for small layers and off by a little for large ones. Somebody had multiplied the levels as
# float32, "because it is faster", and from $2^{24}$ on float32 cannot hold every whole number. Write the product in
# integers, with a zero point for each column of the weights.


# %%
def integer_product(X, W, zx, zw):
    """The product of two quantized matrices, scales left out: sum over k of (X - zx)(W - zw).

    X: levels (N, K), uint8. W: levels (K, M), uint8 or int8. zx: int, the zero point of X.
    zw: int array (M,), the zero point of each column of W. N, K and M from 0; K at most
    32,768. Nothing is changed. Returns int32 (N, M), exact.
    """
    # SOLUTION
    X, W, zw = X.astype(np.int32), W.astype(np.int32), np.asarray(zw, np.int32)
    rows = X.sum(axis=1, keepdims=True, dtype=np.int32)  # (N, 1)
    columns = W.sum(axis=0, dtype=np.int32)  # (M,)
    return X @ W - rows * zw - zx * columns + np.int32(X.shape[1] * zx) * zw


# %%
check("09.2", integer_product)

# %% [markdown] tags=["solution"]
# Widen first: `uint8 - 3` wraps around below 0, and `uint8 @ uint8` adds in 8 bits. The direct way, `(X.astype(int32) -
# zx) @ (W.astype(int32) - zw)`, is as right and shorter. The four terms are what a kernel computes, because then the costly
# product runs on the 8-bit levels as they are, and the column sums are known beforehand. Each single term fits into
# int32 for K up to 32,768, and where a partial sum does leave it, two's complement comes back: the end result is right
# as long as it fits.

# %% [markdown]
# ## 09.3 A factor without a floating point ★★☆ · 15 minutes
#
# A microcontroller has no floating-point unit. Requantization multiplies each sum by $m = s_x s_w / s_y$, so $m$ must become
# a whole number and a shift: $m \approx M \cdot 2^{-n}$, with $M$ as long as 31 bits allow (Jacob et al., section 2.2).


# %%
def multiplier_and_shift(m):
    """Whole numbers M and n with M * 2**-n nearest to m, 2**30 <= M < 2**31.

    m: a positive finite number, float or NumPy float, from 1e-30 to 1e30. Returns (M, n), two
    Python ints; n is negative for large m. |M * 2**-n - m| is at most m * 2**-31. Raises
    ValueError for a number that is not positive or not finite.
    """
    # SOLUTION
    m = float(m)
    if not 0 < m < math.inf:
        raise ValueError(f"expected a positive finite factor, got {m}")
    fraction, exponent = math.frexp(m)  # m = fraction * 2**exponent, 0.5 <= fraction < 1
    M, n = round(fraction * 2**31), 31 - exponent
    return (M // 2, n - 1) if M == 2**31 else (M, n)  # just below 1 it rounds up to 1


# %%
check("09.3", multiplier_and_shift)

# %% [markdown] tags=["solution"]
# `frexp` takes a float apart into what it is made of. The trap is at the end: a fraction a hair below 1 rounds up to
# $2^{31}$, which an int32 does not hold; half of it with one shift less is the same number. The other way,
# `n = 30 - floor(log2(m))`, trusts a logarithm to land on the right side of a power of two, which it need not. On the
# device the product of sum and $M$ takes 64 bits, and the shift must round, not cut.

# %% [markdown]
# ## 09.4 Make the channels equal ★★★ · 20 minutes
#
# A colleague's chip takes one scale a layer, nothing else, and the network that arrived from the customer falls to 20 % on it. There
# is no data to train with. Equalize two convolutions with a ReLU between them.


# %%
def equalize(w1, b1, w2):
    """The same function with equal ranges: relu(w1 * x + b1) is read by w2.

    w1: float32 (C, I, h, w), b1: float32 (C,), w2: float32 (O, C, h, w). Channel c of the first
    is multiplied by a factor above 0, weights and bias, and what reads it divided by the same,
    so that the largest |w1[c]| and the largest |w2[:, c]| become equal. Where either is 0, the
    channel stays as it is. Peaks may lie anywhere from 1e-15 to 1e15. Nothing is changed in
    place. Returns new arrays (w1, b1, w2), float32.
    """
    # SOLUTION
    made = np.abs(w1).max(axis=(1, 2, 3)).astype(np.float64)
    read = np.abs(w2).max(axis=(0, 2, 3)).astype(np.float64)
    alive = (made > 0) & (read > 0)
    factor = np.sqrt(np.where(alive, read, 1) / np.where(alive, made, 1))
    scaled = w1 * factor[:, None, None, None], b1 * factor, w2 / factor[None, :, None, None]
    return tuple(each.astype(np.float32) for each in scaled)


# %%
check("09.4", equalize)

# %% [markdown] tags=["solution"]
# The axes are the whole exercise: what *makes* channel $c$ is row $c$ of the first, what *reads* it is column $c$ of the
# second. A channel that is dead on one side would get the factor 0 or infinity, and its NaN would poison all that follows;
# 1 leaves it in peace. The bias goes along, since $\max(0, a(u + b))$ needs $ab$. The factor is computed in
# float64, where no quotient of two float32 overflows; for the peaks that the docstring allows, float32 would just do. Over
# more than two layers one repeats this pair by pair until nothing moves. Beware: a large bias may grow, and with it the range of the *activations*.

# %% [markdown]
# ## 09.5 Calibrate without keeping the values ★★★ · 20 minutes
#
# A calibration job over 10,000 pictures was killed: it kept every activation to take a percentile at the end. Keep
# counts in a histogram instead. Nobody knows the largest value beforehand: when one arrives that does not fit, double the
# range, and merge neighbouring bins, as often as needed.


# %%
def streaming_clip(batches, share, bins=2048):
    """The value that `share` of all values do not exceed, from counts alone.

    batches: an iterable, gone through once, of float arrays of any shape, values 0 or more;
    some may be empty, some all 0. share: above 0, at most 1. bins: even, from 2. Keeps no more
    than one batch and the counts at a time. The range grows by doubling, from the first value
    above 0. Returns a float: the upper edge of the bin in which the exact answer lies, the
    largest value itself where share is 1, and 0 where every value is 0. It is never below the
    exact answer, and above it by no more than two bins' width at a range twice the largest
    value. Raises ValueError for no value at all, a negative value, and NaN.
    """
    # SOLUTION
    counts, top, zeros, largest = np.zeros(bins, np.int64), 0.0, 0, 0.0
    for batch in batches:
        values = np.asarray(batch, np.float64).ravel()
        if not (values >= 0).all():  # a NaN is not
            raise ValueError("expected values of 0 or more")
        zeros += int((values == 0).sum())
        values = values[values > 0]
        if len(values) == 0:
            continue
        largest = max(largest, float(values.max()))
        top = top or float(values[0])
        while top < largest:
            counts = np.append(counts.reshape(-1, 2).sum(axis=1), np.zeros(bins // 2, np.int64))
            top *= 2
        place = np.minimum(np.ceil(values / top * bins).astype(np.int64) - 1, bins - 1)
        counts += np.bincount(np.maximum(place, 0), minlength=bins)
    if zeros + counts.sum() == 0:
        raise ValueError("expected at least one value, got none")
    needed = share * (zeros + counts.sum())
    if share == 1 or needed <= zeros:
        return largest if needed > zeros else 0.0
    return float((np.searchsorted(zeros + np.cumsum(counts), needed) + 1) * top / bins)


# %%
check("09.5", streaming_clip)

# %% [markdown] tags=["solution"]
# Doubling keeps old counts usable: two old bins are exactly one new one. Any other factor would have to split bins, and
# nobody knows how their counts lie inside. Zeros are counted apart: after a ReLU they are half of everything, and they
# would all sit in the first bin. One value of $10^6$ among values near 1 costs resolution, twenty doublings of it;
# that is the price of not knowing, and one more reason to look at the calibration set. Another way is a *sketch* (t-digest,
# KLL), which keeps its precision where the quantile is asked for.
