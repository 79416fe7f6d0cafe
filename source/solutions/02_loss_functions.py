# %% [markdown]
# # 02 Loss functions: exercises
#
# Four functions that you can take to work: a loss that refuses data it cannot compare, the loss that a model must beat,
# a gradient without a framework, and the repair of a service that applied softmax twice. Fill in what is missing, run
# the cell, then run its check.

# %%
import numpy as np

from course_lib.idioms import begin, check

scratch = begin("02")

# %% [markdown]
# ## 02.1 Mean squared error ★☆☆ · 10 minutes
#
# A dashboard shows the mean squared error of a regression and of two camera pictures. Both looked fine for months, and
# both were wrong. The pictures came as 8-bit integers, in which 50 − 200 is 106 and 150² is 228. The predictions came as a column of
# shape (N, 1) and the targets with shape (N,). NumPy stretches these to N × N differences without a word. Write the loss
# so that neither can happen.


# %%
def mean_squared_error(predictions, targets):
    """The mean of the squared differences, computed in float64.

    predictions, targets: integer or float arrays of one shape, with one value or more.
    Returns a plain float. Leaves both arrays as they were. Raises ValueError if the shapes
    differ, and if there is no value.
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
# The formula is the last line. The rest prevents what goes wrong around it. In float16 even $300^2$ is infinite, so the
# conversion comes before the difference. A second way to convert is `np.subtract(predictions, targets,
# dtype=np.float64)`. PyTorch's `mse_loss` only warns when it has to stretch a shape, and nobody reads a warning in step 3
# of 40,000.

# %% [markdown]
# ## 02.2 The number to beat ★☆☆ · 10 minutes
#
# A colleague is happy: "Our fraud model has a loss of 0.06!" You ask how large the loss of the best constant answer is.
# That is a model which sees nothing and answers the frequency of each class, every time. Compute it from the labels.


# %%
def loss_to_beat(labels):
    """The mean cross-entropy of the best constant answer: each class gets its frequency.

    labels: int array (N,). The numbers of the classes need not be consecutive, and -1 may be
    one of them.
    Returns a plain float in nats. Raises ValueError if there is no label.
    """
    # SOLUTION
    if not len(labels):
        raise ValueError("expected one label or more, got none")
    counts = np.unique(labels, return_counts=True)[1]
    frequencies = counts / counts.sum()
    return float(-(frequencies * np.log(frequencies)).sum())


# %%
check("02.2", loss_to_beat)

# %% [markdown] tags=["solution"]
# `np.unique` counts only the classes that occur, so no logarithm sees a zero. `np.bincount` is a second way. It needs
# numbers from 0 on, and it counts the missing ones as 0, so those must be dropped: $0 \cdot \ln 0$ is `nan` in NumPy,
# though its limit is 0. For 10 frauds among 1,000 payments the result is 0.056. The colleague's model has not yet beaten
# a model that sees nothing.

# %% [markdown]
# ## 02.3 Answer minus truth ★★☆ · 15 minutes
#
# A model is to continue learning on a device that has NumPy and no framework. There is no autograd. So write the loss and
# its gradient by hand, in one function, because they share most of their work. Both must survive a model that is very
# sure.


# %%
def loss_and_gradient(logits, labels):
    """The mean cross-entropy of N examples, and its gradient with respect to the logits.

    logits: float32 or float64 array (N, C), N and C from 1, of magnitude below 1e30.
    labels: int array (N,), each in [0, C).
    Returns (loss, gradient): a plain float in nats, and an array (N, C) in the dtype of `logits`.
    Leaves both arrays as they were.
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
check("02.3", loss_and_gradient)

# %% [markdown] tags=["solution"]
# One exponential serves both. The loss comes from the shifted logits and never from a probability, so no logarithm sees a
# zero. Each row is shifted by its *own* largest logit: with the largest of the whole batch, a row of small logits becomes
# all zeros. The gradient is $(\hat y - y)/N$. Many people forget the $1/N$. Training then still works, but its step grows
# with the batch. A second way subtracts a one-hot matrix, `np.eye(C)[labels]`. It is clearer, needs C times the memory of
# the labels, and is float64 unless you say otherwise.

# %% [markdown]
# ## 02.4 Undo the second softmax ★★★ · 15 minutes
#
# For three weeks a service applied softmax to probabilities. No answer in its log is surer than 23 %, and the analysts
# want the true probabilities back. Let $p$ be the probabilities before the second softmax. The log holds
# $q_j = e^{p_j} / \sum_i e^{p_i}$. You know one more thing about $p$: it sums to 1.


# %%
def undo_second_softmax(answers):
    """The probabilities p of which `answers` are the softmax, row by row.

    answers: float32 or float64 array (N, C), N from 0, C from 2; each row sums to 1.
    Returns a float array (N, C) whose rows sum to 1, correct to 1e-5. Leaves `answers` as it was.
    Raises ValueError if a row cannot be the softmax of probabilities: if an entry of p would be
    below -0.001, or if an entry of the row is 0.
    """
    # SOLUTION
    with np.errstate(divide="ignore", invalid="ignore"):
        logarithms = np.log(answers.astype(np.float64))
        probabilities = logarithms + (1 - logarithms.sum(axis=1, keepdims=True)) / answers.shape[1]
    if not (probabilities >= -0.001).all():  # a nan is not, either
        raise ValueError(
            "expected rows that are the softmax of probabilities, got a row that cannot be"
        )
    return probabilities


# %%
check("02.4", undo_second_softmax)

# %% [markdown] tags=["solution"]
# Take the logarithm: $\ln q_j = p_j - \ln \sum_i e^{p_i}$. So $p_j = \ln q_j + a$ with the same constant $a$ for the whole
# row. The sum of the $p_j$ is 1, and that gives $a = (1 - \sum_j \ln q_j)/C$. This is the general rule: the logarithm of
# a softmax is the logits up to a constant, and one more fact about the logits fixes the constant. A zero in a row gives
# $\ln 0 = -\infty$ and then `nan`. Every comparison with `nan` is false, so ask whether all entries are good, and not
# whether one is bad.

# %% tags=["solution"]
before = np.array([[0.97, 0.02, 0.01]])
logged = np.exp(before) / np.exp(before).sum(axis=1, keepdims=True)
print("in the log:", logged.round(3), "recovered:", undo_second_softmax(logged).round(3))
