# %% [markdown]
# # 02 Loss functions: exercises
#
# Five functions that stand between a model and a wrong number: a loss that refuses what it cannot compare, a gradient
# without a framework, a loss whose small values survive, a test for gradients that others wrote, and probabilities that
# mean what they say again. Fill in what is missing, run the cell, then its check.

# %%
import numpy as np

from course_lib.idioms import begin, check

scratch = begin("02")

# %% [markdown]
# ## 02.1 Mean squared error ★☆☆ · 5 minutes
#
# A dashboard compares the bytes of two camera pictures, and the predictions of a regression with their targets. Both
# errors looked fine for months, and both were wrong: the pictures came as 8-bit integers, and the predictions as a
# column of shape (N, 1) against N targets, which NumPy stretches to N × N differences. Write the loss so that neither
# can happen.


# %%
def mean_squared_error(predictions, targets):
    """The mean of the squared differences, computed in float64.

    predictions, targets: arrays of one shape, of any dtype of numbers, with one value or more.
    Returns a plain float. Raises ValueError where the shapes differ, and where there is no value.
    """
    # SOLUTION
    if predictions.shape != targets.shape or not predictions.size:
        raise ValueError(
            "expected two arrays of one shape with a value or more, got shapes "
            f"{predictions.shape} and {targets.shape}"
        )
    errors = predictions.astype(np.float64) - targets.astype(np.float64)
    return float((errors**2).mean())


# %%
check("02.1", mean_squared_error)

# %% [markdown] tags=["solution"]
# The formula is the last line; the rest is what goes wrong around it. In 8 bits, 200 − 210 is 246. In float16, 300² is
# infinite. `np.square(np.subtract(predictions, targets, dtype=np.float64)).mean()` is a second way to widen. PyTorch's
# `mse_loss` only warns about shapes that it has to stretch, and a warning in step 3 of 40,000 is not read.

# %% [markdown]
# ## 02.2 Answer minus truth ★★☆ · 10 minutes
#
# A model is to go on learning on a device that has NumPy and no framework. There is no autograd, so write loss and
# gradient by hand, together, as they share their work. They must survive a model that is very sure.


# %%
def loss_and_gradient(logits, labels):
    """The mean cross-entropy of N examples, and its gradient by the logits.

    logits: float32 or float64 array (N, C), N and C from 1, of magnitude below 1e30.
    labels: int array (N,), each in [0, C).
    Returns (loss, gradient): a plain float in nats, and an array (N, C) in the dtype of `logits`.
    """
    # SOLUTION
    rows = np.arange(len(logits))
    shifted = logits - logits.max(axis=1, keepdims=True)
    powers = np.exp(shifted)
    sums = powers.sum(axis=1, keepdims=True)
    loss = float((np.log(sums[:, 0]) - shifted[rows, labels]).mean())
    gradient = powers / sums
    gradient[rows, labels] -= 1
    return loss, gradient / len(logits)


# %%
check("02.2", loss_and_gradient)

# %% [markdown] tags=["solution"]
# One exponential serves both. The loss is taken from the shifted logits and never from a probability, so no logarithm
# sees a zero; the gradient is $(\hat y - y)/N$. Forgetting the $1/N$ is the classic: training still works, with a
# learning rate that silently depends on the batch size. Another way builds the one-hot matrix, `np.eye(C)[labels]`, and
# subtracts it: clearer, and C times the memory of the labels, and in float64 unless you say otherwise.

# %% [markdown]
# ## 02.3 Keep the tail ★★☆ · 10 minutes
#
# A review queue sorts examples by loss, the most surprising first and the least surprising last. Half of the
# queue has a loss of exactly 0.0 and comes in random order. Write a cross-entropy whose small losses survive in
# float32: at a margin of 40 the loss is $e^{-40} \approx 4.2 \times 10^{-18}$, which float32 can hold well enough.


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
check("02.3", tail_cross_entropy)

# %% [markdown] tags=["solution"]
# Written around the label's own logit, the loss is $\ln(1 + \sum_{j \ne y} e^{z_j - z_y})$. The 1 is the label itself;
# adding it *before* the logarithm is what rounds the rest away. `np.logaddexp(a, b)` is $\ln(e^a + e^b)$, shifted by
# the larger of the two and finished with `log1p`, the logarithm of $1 + x$ that never forms $1 + x$; its `reduce` does
# the same for a row. With $a = 0$ it is known as *softplus*. A second way: `np.log1p(np.exp(against).sum(axis=1))` with
# the label's term set to 0, which is as good for small losses and overflows for large ones, so that large margins need
# a branch. A third: sum in float64. It moves the limit to a margin of 36 rather than removing it.

# %% tags=["solution"]
margins = np.array([10, 20, 40, 80], np.float32)
z = np.stack([margins, 0 * margins], axis=1)
for margin, loss in zip(margins, tail_cross_entropy(z, np.zeros(4, int))):
    in_float64 = np.log(1 + np.exp(-float(margin)))
    print(
        f"margin {margin:.0f}: {loss:.3e} in float32; {in_float64:.3e} with log(1 + x) in float64"
    )

# %% [markdown]
# ## 02.4 Does the backward pass lie? ★★★ · 15 minutes
#
# A colleague has written a fused kernel with a backward pass of its own. "Tests pass, the loss goes down", which it
# also does with a gradient that is half of what it should be. Write the test that settles it for any function and any
# point.


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
check("02.4", gradient_error)

# %% [markdown] tags=["solution"]
# Three details decide. The step is *relative* to the entry: $10^8 + 6 \times 10^{-6}$ still differs from $10^8$ in
# float64, but in two digits only. The division is by the step that was really made. And the error is relative to the
# larger of the two gradients: a gradient that is half of what it should be gives 0.5, on any scale, and one that is all
# zero gives 1. `torch.autograd.gradcheck` does the same, and wants float64 for the same reason. A second way, where a
# point has millions of entries: compare the derivative along a few random directions, $\nabla f \cdot v$ against
# $(f(x+hv) - f(x-hv))/2h$, two evaluations each.

# %% [markdown]
# ## 02.5 What does it really believe? ★★☆ · 10 minutes
#
# The fraud model was trained with class weights, 1 and 10, so that the rare class counts. Now finance multiplies its
# probabilities by amounts, and arrives at several times the fraud that there is. Retraining takes a week. Undo the
# weights in the answers.


# %%
def undo_class_weights(probabilities, weights):
    """The probabilities without the effect of the class weights of the training.

    probabilities: float array (N, C), N from 0, rows that sum to 1: the answers of a model that
    was trained with cross-entropy and these weights.
    weights: float array (C,), each above 0; only their ratios matter.
    Returns an array (N, C) whose rows sum to 1, computed in float64, in the dtype of
    `probabilities`.
    Raises ValueError where a weight is not above 0 or there are not C of them.
    """
    # SOLUTION
    weights = np.asarray(weights, dtype=np.float64)
    if weights.shape != probabilities.shape[1:] or not (weights > 0).all():
        raise ValueError(f"expected {probabilities.shape[1]} weights above 0, got {weights}")
    unscaled = probabilities.astype(np.float64) / weights
    return (unscaled / unscaled.sum(axis=1, keepdims=True)).astype(probabilities.dtype)


# %%
check("02.5", undo_class_weights)

# %% [markdown] tags=["solution"]
# The weighted loss is lowest at $q_j \propto w_j p_j$, so $p_j \propto q_j / w_j$; the rows are normalised because the
# proportionality hides a factor that differs from row to row. On logits it is even shorter, and a second way: subtract
# $\ln w_j$ from each logit $z_j$ before the softmax. The same formula, with the ratio of class frequencies in place of
# weights, undoes *resampling*, and adapts a model to a country where fraud is twice as common. It is exact for a model
# that reached the optimum; a real one is near it at best, so measure the calibration afterwards (lesson 04).

# %% tags=["solution"]
believed = np.array([[0.9083, 0.0917]])  # what the lesson's two logits answered
print(undo_class_weights(believed, [1, 10]).round(4), "of 1 % that were fraud")
