# %% [markdown]
# # 05 Train in TensorFlow: exercises
#
# Five pieces of what Keras does for you, each small enough to write and sharp enough to go wrong. NumPy is all they
# need, so this notebook starts at once. Fill in what is missing, run the cell, then its check.

# %%
import hashlib
import math

import numpy as np

from course_lib.idioms import begin, check

scratch = begin("05")

# %% [markdown]
# ## 05.1 One-hot, and nothing else ★☆☆ · 5 minutes
#
# The labelling tool writes −1 for "cannot read this". Last month's script turned labels into one-hot rows with
# `np.eye(10)[labels]`, and 200 unreadable images were trained as nines, since −1 counts from the end. Write the
# conversion so that it refuses what is no label.


# %%
def one_hot(labels, classes):
    """Labels as rows of zeros with a single one.

    labels: integer array (N,), each from 0 to classes − 1; N may be 0. classes: 1 or more.
    Returns a float32 array (N, classes). Raises ValueError for a label outside that range, for
    labels of another shape than (N,), and for labels that are not of an integer dtype.
    """
    # SOLUTION
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(
            f"expected integers of shape (N,), got {labels.dtype} of shape {labels.shape}"
        )
    if labels.size and not (0 <= labels.min() and labels.max() < classes):
        raise ValueError(
            f"expected labels from 0 to {classes - 1}, got {labels.min()} to {labels.max()}"
        )
    rows = np.zeros((len(labels), classes), np.float32)
    rows[np.arange(len(labels)), labels] = 1
    return rows


# %%
check("05.1", one_hot)

# %% [markdown] tags=["solution"]
# `np.eye(classes, dtype=np.float32)[labels]` is the second way, after the same refusals: indexing is where −1 would get
# through, and a float label would raise an error about indices that names no label. The shape (N, 1) is refused for the
# reason that the lesson gives: a column broadcasts against anything.

# %% [markdown]
# ## 05.2 Dropout that keeps the mean ★★☆ · 10 minutes
#
# A microcontroller team ports the model by hand. Their first dropout multiplied the activations by 0.7 in use instead of
# dividing in training, and forgot it in one of two places. Write it as Keras does: everything happens in training, and
# in use the layer is not there.


# %%
def dropout(activations, rate, rng, training):
    """Inverted dropout: in training each value becomes 0 with probability `rate`, else it is
    divided by 1 − rate.

    activations: float array of any shape. rate: 0 or more, below 1. rng: a
    numpy.random.Generator. training: bool. Returns an array of the shape and dtype of
    `activations`, which stays as it was; in use, the same values. Raises ValueError for another
    rate, in use too.
    """
    # SOLUTION
    if not 0 <= rate < 1:
        raise ValueError(f"expected a rate of 0 or more and below 1, got {rate}")
    if not training:
        return activations.copy()
    survives = rng.random(activations.shape) >= rate
    return (activations * survives / (1 - rate)).astype(activations.dtype)


# %%
check("05.2", dropout)

# %% [markdown] tags=["solution"]
# Each value needs a random number of its own: one for each column would drop a unit for the whole batch at once. With
# `>= rate` a rate of 0 keeps everything, since `random()` is at least 0; with `> rate` it could lose a value. A
# rate of 1 would divide by zero, so it is refused rather than guessed. The second way draws the pattern with
# `rng.binomial(1, 1 - rate, activations.shape)`.

# %% [markdown]
# ## 05.3 The last layer's gradient ★★☆ · 15 minutes
#
# The phone app learns from corrections, on the phone, and only the last layer. No framework fits there. Section
# 6 of the lesson has the formulas; the corrections come with large logits, because the model was sure.


# %%
def last_layer_gradients(hidden, logits, labels):
    """The gradients of the mean cross-entropy by the last layer's weights and biases, logits =
    hidden @ W + b.

    hidden: float array (N, H). logits: float array (N, C), of any magnitude up to 1e30. labels:
    int array (N,), each in [0, C). N from 1. Returns (dW, db), of shapes (H, C) and (C,), in
    the dtype of `hidden`; the arguments stay as they were.
    """
    # SOLUTION
    shifted = logits - logits.max(
        axis=1, keepdims=True
    )  # softmax is the same, exp cannot overflow
    weights = np.exp(shifted)
    by_logits = weights / weights.sum(axis=1, keepdims=True)
    by_logits[np.arange(len(labels)), labels] -= 1
    by_logits /= len(labels)  # the loss is a mean over the N images
    by_logits = by_logits.astype(hidden.dtype)
    return hidden.T @ by_logits, by_logits.sum(axis=0)


# %%
check("05.3", last_layer_gradients)

# %% [markdown] tags=["solution"]
# `hidden.T @ D` sums over the images, because every image used the same weights. A check that needs no second
# framework: each row of $\hat Y - T$ sums to zero, so `db` does, and so does every row of `dW`. The second way is a
# sum of outer products, `sum(np.outer(h, d) for h, d in zip(hidden, D))`: the same numbers, many times slower.

# %% [markdown]
# ## 05.4 A split that stays ★★☆ · 10 minutes
#
# Every week new images arrive, and every week the split is drawn anew: what was validated on last week is trained on
# today. Let each image decide for itself, by its content. Then old images stay where they are, whatever arrives, and two
# copies of one image cannot lie on both sides.


# %%
def held_out(images, share):
    """Which images belong to the validation part, decided by each image's own bytes.

    images: float array (N, …), N may be 0. share: the part to hold out, 0 to 1. Returns a bool
    array (N,). An image is held out where the first 8 bytes of the SHA-256 digest of its
    values, as float32 in row-major order, read as a whole number with the most significant byte
    first, are below share · 2**64. Raises ValueError for another share.
    """
    # SOLUTION
    if not 0 <= share <= 1:
        raise ValueError(f"expected a share from 0 to 1, got {share}")
    chosen = np.zeros(len(images), bool)
    for i, image in enumerate(images):
        content = np.asarray(image, np.float32).tobytes()  # tobytes copies in row-major order
        digest = hashlib.sha256(content).digest()
        chosen[i] = int.from_bytes(digest[:8], "big") < share * 2**64
    return chosen


# %%
check("05.4", held_out)

# %% [markdown] tags=["solution"]
# A digest is as good as random, so about the share is held out, not exactly. Python's own `hash` of bytes would not do:
# it is salted anew in each process, and tomorrow's split would be another. `zlib.crc32` is a quicker second way, which
# TensorFlow's Datasets and many pipelines take. What this split does not do: keep the images of one writer together.
# Hash the writer's name for that.

# %% [markdown]
# ## 05.5 Two models, the same images ★★★ · 15 minutes
#
# "The new model has 98.9 % and the old one 98.4 %: ship it?" Both answered the same 450 images, so most of the noise is
# shared. Only the images count on which exactly one is right. If the two were equally good, each such image would be a
# toss of a fair coin. How surprising is the count?


# %%
def paired_p_value(first_right, second_right):
    """The exact two-sided sign test (McNemar's) of two models on the same images.

    first_right, second_right: bool arrays (N,), whether each model is right. Of the n images on
    which exactly one is right, let k be the smaller of the two counts. Returns, as a float, the
    probability that n tosses of a fair coin split as unevenly as that or more: min(1, 2 · P(X ≤
    k)), X binomial (n, 1/2); 1.0 where n is 0. It works for n in the thousands. Raises
    ValueError where the shapes differ or are not (N,), and for another dtype than bool.
    """
    # SOLUTION
    if first_right.shape != second_right.shape or first_right.ndim != 1:
        raise ValueError(
            f"expected two arrays (N,), got {first_right.shape} and {second_right.shape}"
        )
    if first_right.dtype != bool or second_right.dtype != bool:
        raise ValueError(f"expected bool, got {first_right.dtype} and {second_right.dtype}")
    only_first = int((first_right & ~second_right).sum())
    only_second = int((second_right & ~first_right).sum())
    n, k = only_first + only_second, min(only_first, only_second)
    ways = sum(math.comb(n, i) for i in range(k + 1))
    return min(1.0, 2 * ways / 2**n)  # whole numbers of any size: nothing overflows


# %%
check("05.5", paired_p_value)

# %% [markdown] tags=["solution"]
# Python divides two huge whole numbers exactly and rounds once, so there is nothing to overflow; `2.0**n` would, from
# n = 1024. A second way is `scipy.stats.binomtest(k, n).pvalue`. Why $k$ and not the two accuracies: images on which
# both are right, or both wrong, say nothing about the difference, however many they are.

# %% tags=["solution"]
for only_first, only_second in ((4, 2), (8, 2), (12, 2)):
    first, second = np.ones(450, bool), np.ones(450, bool)
    second[:only_first] = False
    first[only_first : only_first + only_second] = False
    print(
        f"{first.mean():.1%} against {second.mean():.1%}: p = {paired_p_value(first, second):.3f}"
    )
