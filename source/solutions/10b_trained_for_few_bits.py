# %% [markdown]
# # 10b Trained for few bits: exercises
#
# A reader for small floats, the straight-through gradient, and a search for the layers that stay in float. Fill in what
# is missing, run the cell, then run its check.

# %%
import numpy as np

from course_lib.idioms import begin, check

scratch = begin("10b")

# %% [markdown]
# ## 10b.1 The codes of a small float ★☆☆ · 10 minutes
#
# A vendor delivers weights in FP6, a file of codes. NumPy has no such type. A first reader returned numbers near
# $10^{77}$ for small weights. Write one for any small float whose codes are all numbers, such as FP4 E2M1, FP6 E2M3 and
# FP6 E3M2.


# %%
def decode(codes, exponent_bits, fraction_bits):
    """The numbers that codes of a small float stand for.

    codes: unsigned integers of any shape and width, empty too. From the top: a sign bit,
    exponent_bits bits e, fraction_bits bits m; bits above these are 0. exponent_bits: 1 to 8.
    fraction_bits: 0 to 10. With bias = 2**(exponent_bits - 1) - 1, a code stands for (1 + m /
    2**fraction_bits) * 2**(e - bias), or, if e is 0, for m / 2**fraction_bits * 2**(1 - bias);
    negative if the sign bit is 1. The sign bit alone is -0.0. No code is an infinity or NaN.
    Returns a new float64 array of the same shape. Raises ValueError if a code has a bit above
    the sign.
    """
    # SOLUTION
    codes = np.asarray(codes).astype(np.int64)  # in uint8, e - bias would wrap around
    if (codes >> (1 + exponent_bits + fraction_bits)).any():
        raise ValueError(f"expected codes of {1 + exponent_bits + fraction_bits} bits")
    bias, parts = 2 ** (exponent_bits - 1) - 1, 2**fraction_bits
    e, m = codes // parts % 2**exponent_bits, codes % parts
    size = np.where(e > 0, 1 + m / parts, m / parts) * 2.0 ** (np.maximum(e, 1) - bias)
    return np.where(codes >> (exponent_bits + fraction_bits), -size, size)


# %%
check("10b.1", decode)

# %% [markdown] tags=["solution"]
# The first reader computed `e - bias` in uint8. For $e < $ bias that wraps around to 255, 254 and so on, and $2^{255}$ is
# near $10^{77}$. Subnormal values have no leading 1, and they use the exponent of the smallest normal numbers, not one
# less; so there is no gap between the two kinds. `np.where(sign, -size, size)` keeps −0.0, which a factor of
# `1 - 2 * sign` on an integer 0 would lose. A second way, for up to 8 bits, is a table of all codes: `table[codes]`.

# %% [markdown]
# ## 10b.2 Straight through ★★★ · 20 minutes
#
# The accelerator's team trains with its own framework, whose rounding has the gradient 0. They ask for a reference in
# NumPy to compare theirs with: value and gradient, with a step for each channel.


# %%
def fake_quantize(x, step, least, greatest, upstream):
    """Rounds to a grid for each channel, and gives the straight-through gradient.

    x: float array (C, ...), any further axes or none. step: float array (C,), above 0, the
    grid's step in each channel, which belongs to the FIRST axis of x. least, greatest: whole
    numbers, the lowest and the highest level, least < greatest. upstream: the gradient of the
    loss with respect to the result, of x's shape. Returns (value, gradient), both of the shape
    and dtype of x. value: step times the nearest level, ties to the even one, clipped to the
    levels. gradient: upstream where x / step lies in least to greatest, ends included; 0
    elsewhere. x and upstream stay as they are. Raises ValueError for steps of another number
    than C, steps that are not above 0, and least >= greatest.
    """
    # SOLUTION
    step = np.asarray(step)
    if step.shape != x.shape[:1] or not (step > 0).all() or least >= greatest:
        raise ValueError(
            f"expected steps above 0, {x.shape[:1]}, and least < greatest, got {step.shape}, "
            f"{least}, {greatest}"
        )
    step = step.astype(x.dtype).reshape(-1, *[1] * (x.ndim - 1))  # (C, 1, …): along the first axis
    levels = x / step
    value = np.clip(np.rint(levels), least, greatest) * step
    passes = (levels >= least) & (levels <= greatest)
    return value.astype(x.dtype), np.where(passes, upstream, 0).astype(x.dtype)


# %%
check("10b.2", fake_quantize)

# %% [markdown] tags=["solution"]
# NumPy aligns shapes at their *last* axis. A step of shape (C,) against x of shape (C, C) raises no error: it scales
# columns instead of rows, and only a square layer hides it. That is why the solution reshapes to (C, 1, …). Outside the
# range the gradient is cut for a reason: a clipped weight does not change the result when it moves further out. Whether
# the gradient passes *at* the end is a convention. Frameworks differ, so a reference has to say it. In PyTorch the whole
# function is `inside + (on_grid - inside).detach()`, as in the lesson.

# %% [markdown]
# ## 10b.3 Which layers go back to float? ★★☆ · 15 minutes
#
# The 4-bit model misses its target by two points. Somebody sorted the layers by a scan, one layer at a time, and left
# the two worst in float. Both repair the same error, so the second one brought nothing. Write the search that looks at
# the layers together.


# %%
def back_to_float(layers, score, least):
    """The layers to leave in float, found one after another.

    layers: a list of different names. It stays as it was. score: a function of a frozenset of
    the layers that are in float; it returns a number, higher is better. It is slow: each set is
    asked at most once, and only when the search gets there. least: the score that is enough.
    Starts with no layer in float. While the score is below least, one more layer joins: the one
    with which the score is highest, the first of them in `layers` where several are equal. It
    joins even if the score does not rise. Returns the layers in the order in which they joined,
    [] if none has to. Raises ValueError if the score is below least with all layers in float.
    """
    # SOLUTION
    chosen, reached = [], score(frozenset())
    while reached < least:
        left = [layer for layer in layers if layer not in chosen]
        if not left:
            raise ValueError(f"expected a score of {least}; all layers in float reach {reached}")
        scores = [score(frozenset([*chosen, layer])) for layer in left]
        reached = max(scores)
        chosen.append(left[scores.index(reached)])  # the first of the best
    return chosen


# %%
check("10b.3", back_to_float)

# %% [markdown] tags=["solution"]
# With $n$ layers the search asks for at most $1 + n(n + 1)/2$ scores, where trying all sets would need $2^n$. It is
# *greedy*: it never takes a layer back, and can miss a pair that helps only together. A second way starts from the other
# end, with all layers in float, and rounds the one that costs least. It finds such pairs, and it asks for more scores
# where few layers stay in float. Choose on validation data, and report the result on data that chose nothing.
