# %% [markdown]
# # 09 Quantization, from scratch: exercises
#
# Four pieces of a quantizer, each with the case that breaks the first draft. Fill in what is missing, run the cell,
# then run its check.

# %%
import math

import numpy as np

from course_lib.idioms import begin, check

scratch = begin("09")

# %% [markdown]
# ## 09.1 A grid for each channel ★☆☆ · 10 minutes
#
# The build for a device failed with a scale of NaN: one channel had been pruned, and all its weights were 0. Another
# build worked, but every image had a faint frame: the range of one channel did not contain 0, so no level stood for 0.
# A third build added $10^{-8}$ to every scale "to be safe", and a channel with small weights lost all of them. Write scale
# and zero point so that none of this happens.


# %%
def grids(low, high, bits=8):
    """Scale and zero point of each channel's unsigned grid, levels 0 to 2**bits - 1.

    low, high: float arrays (C,), the smallest and the largest value of each channel. C may be 0.
    They stay as they were. bits: 1 to 8.
    A range that does not contain 0 is widened until it does. The scale is the range over the number
    of steps, however small. Only where that is 0 in float32 it is 1: for a channel of zeros, or for
    a range of 1e-44 (no range lies between that and 1e-40).
    Returns (scale, zero_point): float32 (C,), above 0, and int64 (C,), each one of the levels.
    Gives no warning. Raises ValueError if a range is not finite, or if its ends are swapped.
    """
    # SOLUTION
    if not (np.isfinite(low).all() and np.isfinite(high).all() and np.all(low <= high)):
        raise ValueError("expected finite ranges, the lower end first")
    low, high = np.minimum(low, 0.0), np.maximum(high, 0.0)
    scale = ((high - low) / (2**bits - 1)).astype(np.float32)  # to float32 first: 4e-47 is 0 there
    scale = np.where(scale > 0, scale, np.float32(1))
    return scale, np.rint(-low / scale).astype(np.int64)


# %%
check("09.1", grids)

# %% [markdown] tags=["solution"]
# `np.minimum(low, 0)` widens the range. After that $0 \le -\alpha/s \le 2^b - 1$, so the zero point is a level. For a channel of zeros any positive scale
# is right, since only 0 is ever divided by it; 1 is the custom. The comparison with 0 must come *after* the conversion to
# float32: $10^{-44}/255$ is positive in float64 and 0 in float32. The check for NaN stands first, because every comparison
# with NaN is false. A second way to the zero point starts from the upper end: $2^b - 1 - \beta/s$, rounded. On most
# grids it gives the same level. For a channel of zeros it gives the last one, which is as good.

# %% [markdown]
# ## 09.2 A product with a zero point a column ★★☆ · 10 minutes
#
# A runtime's answers were right for small layers, and off by a little for large ones. Somebody had multiplied the levels
# as float32, "because it is faster". But float32 cannot hold every whole number above $2^{24}$. Write the product in
# integers, with a zero point for each column of the weights.


# %%
def integer_product(X, W, zx, zw):
    """The product of two quantized matrices, scales left out: sum over k of (X - zx)(W - zw).

    X: levels (N, K), uint8. W: levels (K, M), uint8 or int8. zx: int, the zero point of X.
    zw: int array (M,), the zero point of each column of W. N, K and M may be 0; K is at most
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
# Widen first: `uint8 - 3` wraps around below 0, and `uint8 @ uint8` adds in 8 bits. The direct way, `(X.astype(int32) - zx)
# @ (W.astype(int32) - zw)`, is as right and shorter. A kernel computes the four terms instead, because the costly product
# then runs on the 8-bit levels as they are, and the column sums are known beforehand. Each term fits into int32 for K up to
# 32,768. If a partial sum leaves int32, it wraps around, and comes back: the result is right as long as it fits.

# %% [markdown]
# ## 09.3 A factor without a floating point ★★☆ · 15 minutes
#
# A microcontroller has no floating-point unit. Requantization multiplies each sum by $m = s_x s_w / s_o$. So $m$ must
# become a whole number and a shift: $m \approx M \cdot 2^{-n}$, where $M$ uses all of 31 bits (Jacob et al., section 2.2).


# %%
def multiplier_and_shift(m):
    """Whole numbers M and n with M * 2**-n nearest to m, and 2**30 <= M < 2**31.

    m: a positive finite number, Python's or NumPy's, from the smallest float to the largest.
    Returns (M, n), two Python ints; n is negative for large m. |M * 2**-n - m| is at most
    m * 2**-31; of two neighbours that are equally near, either is right. Just below a power of
    two the nearest M would be 2**31: then M is 2**30, and n one less.
    Raises ValueError if m is 0, negative, infinite or NaN.
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
# `frexp` takes a float apart into fraction and exponent. The trap is at the end: a fraction just below 1 rounds up to
# $2^{31}$, which an int32 cannot hold. Half of it with one shift less is the same number. Another way is `n = 30 -
# floor(log2(m))`. It trusts a logarithm to land on the right side of a power of two, which it need not do. `2.0**-n` would
# also overflow for the smallest floats; `frexp` has no such trouble. On the device, the product of sum and $M$ takes 64
# bits, and the shift must round, not cut.

# %% [markdown]
# ## 09.4 Make the channels equal ★★★ · 20 minutes
#
# A colleague's chip takes one scale a layer, nothing else. The customer's network falls to 20 % on it, and there is no data
# to train with. Equalize two convolutions with a ReLU between them.


# %%
def equalize(w1, b1, w2):
    """The same function with equal ranges: relu(w1 * x + b1) is read by w2.

    w1: float32 (C, I, h, w), b1: float32 (C,), w2: float32 (O, C, h, w). Channel c of the first
    is multiplied by a factor above 0, weights and bias. What reads it is divided by the same
    factor, so that the largest |w1[c]| and the largest |w2[:, c]| become equal. If either is 0,
    the channel stays as it is. Peaks lie anywhere from 1e-15 to 1e15. Nothing is changed in place.
    Returns new arrays (w1, b1, w2), float32.
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
# The axes are the whole exercise. Row $c$ of the first layer *makes* channel $c$; column $c$ of the second layer *reads* it.
# A channel that is dead on one side would get the factor 0 or infinity, and its NaN would spoil everything after it. The
# factor 1 leaves it alone. The bias goes along, since $\max(0, a(u + b))$ needs $ab$. The factor is computed in float64,
# where no quotient of two float32 overflows. For more than two layers, repeat this pair by pair until nothing moves. One
# warning: a large bias may grow, and with it the range of the *activations*.
