# %% [markdown]
# # 02b A loss in floating point: exercises
#
# Four functions for numbers that do not behave like real numbers: log-sum-exp, a loss whose small values survive, a test
# for gradients that others wrote, and probabilities without the effect of class weights. Fill in what is missing, run the
# cell, then run its check.

# %%
import numpy as np

from course_lib.idioms import begin, check

scratch = begin("02b")

# %% [markdown]
# ## 02b.1 Log-sum-exp ★☆☆ · 15 minutes
#
# A language model masks the words that must not come next: it sets their logits to $-\infty$. One night a rule masks
# every word of a row. From then on the log shows `nan` instead of $-\infty$. Write a log-sum-exp that gets this right.


# %%
def log_sum_exp(logits):
    """ln of the sum of the exponentials over the last axis.

    logits: float16, float32 or float64 array (..., C), C from 1 to 200,000, a vocabulary; each
    entry is finite or -inf (a masked class). There may be no row at all.
    Returns the values, shape (...), in the dtype of `logits` and correct to its digits; -inf for a
    row in which every class is masked. Leaves `logits` as it was.
    """
    # SOLUTION
    wide = logits.astype(np.float64)  # in float16 a sum of 100,000 ones is inf
    m = wide.max(axis=-1, keepdims=True)
    m = np.where(np.isneginf(m), 0, m)  # -inf - (-inf) would be nan
    with np.errstate(divide="ignore"):  # ln 0 = -inf is the right answer for a masked row
        return (m[..., 0] + np.log(np.exp(wide - m).sum(axis=-1))).astype(logits.dtype)


# %%
check("02b.1", log_sum_exp)

# %% [markdown] tags=["solution"]
# Each row is shifted by its own largest logit. If that is $-\infty$, every number is as good a shift, and 0 is the
# simplest. The sum is taken in float64: with the words of a vocabulary it passes 65,504, where float16 ends.
# `np.logaddexp.reduce(wide, axis=-1)` is a second way, in one call: it adds one class after the other, which is slower, and
# treats $-\infty$ correctly. In float16 it would stop at 6.24 for 100,000 equal logits, because each further one is rounded
# away. `scipy.special.logsumexp` and `torch.logsumexp` also shift each row by its largest logit.

# %% [markdown]
# ## 02b.2 Keep the tail ★★☆ · 15 minutes
#
# A review queue sorts examples by their loss, largest first. Half of the queue has a loss of exactly 0.0, so its order is
# random. Write a cross-entropy that keeps small losses apart in float32. At a margin of 40 the loss is $e^{-40} \approx
# 4.2 \times 10^{-18}$, and float32 can hold that number.


# %%
def tail_cross_entropy(logits, labels):
    """Cross-entropy of each example, accurate for losses far below machine precision.

    logits: float32 or float64 array (N, C), each of magnitude below 1e30; N may be 0, C may be 1.
    labels: int array (N,), each in [0, C).
    Returns an array (N,) of losses in nats, in the dtype of `logits`.
    """
    # SOLUTION
    rows = np.arange(len(logits))
    against = logits - logits[rows, labels][:, None]  # how far each class is ahead of the label
    against[rows, labels] = -np.inf  # the label's own term, e^0 = 1, is kept out of the sum
    others = np.logaddexp.reduce(against, axis=1)  # ln of the sum of all other terms
    return np.logaddexp(0, others)  # ln(1 + that sum), without forming 1 + it


# %%
check("02b.2", tail_cross_entropy)

# %% [markdown] tags=["solution"]
# Written around the label's own logit, the loss is $\ln(1 + \sum_{j \ne k} e^{z_j - z_k})$. The 1 is the label itself. If
# it is added *before* the logarithm, rounding swallows the rest. `np.logaddexp(a, b)` is $\ln(e^a + e^b)$. It is shifted
# by the larger of the two, and it ends in `log1p`, the logarithm of $1 + x$ that never forms $1 + x$. Its `reduce` does the
# same for a row. A second way is `np.log1p(np.exp(against).sum(axis=1))`. It is as good for small losses and overflows for
# large ones, so those need a branch. A third way sums in float64. It moves the limit to a margin of 36, and does not remove
# it.

# %% tags=["solution"]
margins = np.array([10, 20, 40, 80], np.float32)
z = np.stack([margins, 0 * margins], axis=1)
for margin, loss in zip(margins, tail_cross_entropy(z, np.zeros(4, int))):
    in_float64 = np.log(1 + np.exp(-float(margin)))
    print(
        f"margin {margin:.0f}: {loss:.3e} in float32; {in_float64:.3e} with log(1 + x) in float64"
    )

# %% [markdown]
# ## 02b.3 Does the backward pass lie? ★★★ · 20 minutes
#
# A colleague has written a fused kernel with a backward pass of its own. "Tests pass, and the loss goes down." It would also
# go down with half of the right gradient. Write the test that decides it, for any function and any point.


# %%
def gradient_error(function, point, gradient):
    """How far a gradient is from central differences of its function.

    function: takes a float64 array of the shape of `point`, returns a float; smooth there. It
    does not change what it is given. point: float array of any shape, with one entry or more.
    gradient: array of the same shape, to be tested. Each entry is differenced with a step of
    about eps ** (1/3) · max(1, |entry|), with eps the machine precision of float64.
    Returns a plain float: the largest absolute difference between `gradient` and the central
    differences, divided by the largest absolute entry in either of the two; 0.0 where both are
    all zero. Leaves `point` as it was. Raises ValueError where the two shapes differ.
    """
    # SOLUTION
    if np.shape(gradient) != np.shape(point):
        raise ValueError(
            f"expected a gradient of shape {np.shape(point)}, got {np.shape(gradient)}"
        )
    around = np.array(point, dtype=np.float64)  # a copy, in the precision of the step
    measured = np.zeros_like(around)
    for index in np.ndindex(around.shape):
        here = around[index]
        step = np.finfo(np.float64).eps ** (1 / 3) * max(1.0, abs(here))
        up, down = here + step, here - step
        around[index] = up
        rise = function(around.copy())
        around[index] = down
        rise -= function(around.copy())
        around[index] = here
        measured[index] = rise / (up - down)  # the step that was really made, after rounding
    largest = max(np.abs(measured).max(), np.abs(gradient).max())
    return float(np.abs(measured - gradient).max() / largest) if largest else 0.0


# %%
check("02b.3", gradient_error)

# %% [markdown] tags=["solution"]
# Three details decide. The step is *relative* to the entry: $10^8 + 6 \times 10^{-6}$ still differs from $10^8$ in float64,
# but only in its last two digits. The division is by the step that was really made. And the error is relative to the larger
# of the two gradients: half of the right gradient gives 0.5 on any scale, and a gradient of zeros gives 1. NumPy's `max`
# keeps a `nan`, so a broken gradient cannot pass. `torch.autograd.gradcheck` works in the same way. A second way, for a point
# with millions of entries: compare the derivative along a few random directions $v$, that is $\nabla f \cdot v$ with
# $(f(x+hv) - f(x-hv))/2h$. Each direction needs two evaluations.

# %% [markdown]
# ## 02b.4 What does it really believe? ★★☆ · 10 minutes
#
# A fraud model was trained with class weights, 1 and 10, so that the rare class counts. Now the finance department
# multiplies its probabilities by amounts of money, and reports several times the fraud that there is. Retraining takes a
# week. Remove the effect of the weights from the answers.


# %%
def undo_class_weights(probabilities, weights):
    """The probabilities without the effect of the class weights of the training.

    probabilities: float array (N, C), N from 0, rows that sum to 1: the answers of a model that
    was trained with cross-entropy and these weights.
    weights: float array (C,), each above 0; only their ratios matter.
    Returns an array (N, C) whose rows sum to 1, computed in float64, in the dtype of
    `probabilities`.
    Raises ValueError if a weight is not above 0, or if the shape of `weights` is not (C,).
    """
    # SOLUTION
    weights = np.asarray(weights, dtype=np.float64)
    if weights.shape != probabilities.shape[1:] or not (weights > 0).all():
        raise ValueError(f"expected {probabilities.shape[1]} weights above 0, got {weights}")
    unscaled = probabilities.astype(np.float64) / weights
    return (unscaled / unscaled.sum(axis=1, keepdims=True)).astype(probabilities.dtype)


# %%
check("02b.4", undo_class_weights)

# %% [markdown] tags=["solution"]
# The weighted loss is lowest at $q_j \propto w_j p_j$, so $p_j \propto q_j / w_j$. Each row is normalised by itself, because
# the factor that $\propto$ hides differs from row to row. On logits there is a shorter second way: subtract $\ln w_j$ from
# each logit before the softmax. The same formula undoes *resampling*, with the ratio of class frequencies in place of
# weights. It is exact for a model at the lowest point of its loss. A real model is at best near it, so measure the
# calibration afterwards (lesson 04b).

# %% tags=["solution"]
believed = np.array([[0.9083, 0.0917]])  # what the lesson's two logits answered
print(undo_class_weights(believed, [1, 10]).round(4), "of 1 % that were fraud")
