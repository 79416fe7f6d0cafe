# %% [markdown]
# # 05 Train in TensorFlow: exercises
#
# Five small pieces of what a framework does for you. Each one is easy to write, and easy to get wrong. They need NumPy
# alone, so this notebook starts at once. Fill in what is missing, run the cell, then its check.

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
# `np.eye(10)[labels]`. An index of −1 counts from the end, so 200 unreadable images were trained as nines. Write the
# conversion so that it refuses everything that is not a label.


# %%
def one_hot(labels, classes):
    """Labels as rows of zeros with a single one.

    labels: integer array (N,), each from 0 to classes − 1; N may be 0. classes: 1 or more.
    Returns a float32 array (N, classes). Raises ValueError for a label outside that range, for
    labels of another shape than (N,), and for another dtype than an integer one: truth values
    are not labels either.
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
# The second way is `np.eye(classes, dtype=np.float32)[labels]`, after the same refusals. Indexing would let −1 through.
# It would also take an array of truth values for a mask, and choose rows. The shape (N, 1) is refused for the reason
# that the lesson gives: a column broadcasts against anything.

# %% [markdown]
# ## 05.2 Dropout that keeps the mean ★★☆ · 10 minutes
#
# A team ports the model to a microcontroller by hand. Their first dropout did not divide in training. It multiplied the
# activations by 0.7 in use, and they forgot that in one of two places. Write it as Keras does: everything happens in
# training, and in use the layer does nothing.


# %%
def dropout(activations, rate, rng, training):
    """Inverted dropout: in training each value becomes 0 with probability `rate`, whatever happens
    to the others; else it is divided by 1 − rate.

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
# Each value needs a random number of its own. With one for each column, a unit would be dropped for the whole batch at
# once. With exactly k zeros among all values (`rng.permutation`), the values would depend on each other: a zero here
# makes one there less likely. With `>= rate` a rate of 0 keeps everything, since `random()` is at least 0. A rate of 1
# would divide by zero, so it is refused. The second way draws the pattern with
# `rng.binomial(1, 1 - rate, activations.shape)`.

# %% [markdown]
# ## 05.3 The last layer's gradient ★★☆ · 15 minutes
#
# A phone app learns from corrections, on the phone, and trains only the last layer. No framework fits there. The lesson
# has the formula for $W$, under "What does `model.fit` do in one step?". A bias adds to its logit with the factor 1.
# The corrections come with large logits, because the model was sure.


# %%
def last_layer_gradients(hidden, logits, labels):
    """The gradients of the mean cross-entropy with respect to the last layer's weights and biases,
    where logits = hidden @ W + b.

    hidden: float array (N, H). logits: float array (N, C), of any magnitude up to 1e30. labels:
    int array (N,), each in [0, C). N from 1. Returns (dW, db), of shapes (H, C) and (C,), in
    the dtype of `hidden`; the arguments stay as they were.
    """
    # SOLUTION
    shifted = logits - logits.max(
        axis=1, keepdims=True
    )  # softmax is the same, exp cannot overflow
    powers = np.exp(shifted)
    D = powers / powers.sum(axis=1, keepdims=True)
    D[np.arange(len(labels)), labels] -= 1
    D = (D / len(labels)).astype(hidden.dtype)  # the loss is a mean over the N images
    return hidden.T @ D, D.sum(axis=0)


# %%
check("05.3", last_layer_gradients)

# %% [markdown] tags=["solution"]
# `hidden.T @ D` sums over the images, because every image used the same weights. Here is a test that needs no second
# framework: each row of $\hat Y - Y$ sums to zero, so `db` does, and so does every row of `dW`. The second way is a sum
# of outer products, `sum(np.outer(h, d) for h, d in zip(hidden, D))`. It gives the same numbers, more slowly.

# %% [markdown]
# ## 05.4 A split that stays ★★☆ · 10 minutes
#
# Every week new images arrive, and the split is drawn anew. So images that validated last week train today. Let each
# image decide for itself, by its content. Then old images stay where they are, and two copies of one image cannot lie
# on both sides.


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
# A digest behaves like a random number, so the part that is held out is near the share, but not equal to it. Python's own
# `hash` of bytes is no choice: it is salted anew in each process, so tomorrow's split would be another. A second way is
# `zlib.crc32`, which is faster. This split does not keep the images of one writer together. For that, hash the writer's
# name.

# %% [markdown]
# ## 05.5 Two models, the same images ★★★ · 15 minutes
#
# A colleague asks: "The new model has 98.9 % and the old one 98.4 %. Do we ship it?" Both answered the same 450 images.
# Only the images count on which exactly one of them is right. If both were equally good, each such image would be the
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
# Python divides two huge whole numbers exactly and rounds once, so nothing overflows. `2.0**n` would, from n = 1024 on. A
# second way is `scipy.stats.binomtest(k, n).pvalue`, with an answer of your own for n = 0. Images on which both are
# right, or both wrong, say nothing about the difference, however many they are. The next cell answers the colleague.

# %% tags=["solution"]
for only_first, only_second in ((4, 2), (8, 2), (12, 2)):
    first, second = np.ones(450, bool), np.ones(450, bool)
    second[:only_first] = False
    first[only_first : only_first + only_second] = False
    print(
        f"{100 * first.mean():.1f} % against {100 * second.mean():.1f} %: "
        f"p = {paired_p_value(first, second):.3f}"
    )
