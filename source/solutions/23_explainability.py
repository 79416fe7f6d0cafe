# %% [markdown]
# # 23 Explainability: exercises
#
# Four functions for a team that has to explain answers: occlusion for a model behind an API, integrated gradients that
# report their own error, Shapley values for groups of columns, and a test of the explanation method itself. Fill in what
# is missing, run the cell, then run its check.

# %%
import math

import numpy as np

from course_lib.idioms import begin, check

scratch = begin("23")

# %% [markdown]
# ## 23.1 Occlusion with patches ★☆☆ · 10 minutes
#
# The pictures are photographs now, and one pixel changes nothing. So we cover whole patches. The model is behind an API:
# each call costs a journey through the network, and the customer pays for each. Send all pictures in one call.


# %%
def occlusion(predict, image, size, fill=0.0):
    """By how much the score of the named class falls if a patch is covered.

    predict: a function that maps pictures (N, H, W) to scores (N, C). Call it exactly once.
    image: (H, W), floats or whole numbers. size: the side of a patch in pixels, from 1.
    The patches begin in the upper left corner, touch each other, and do not overlap. At the right
    and at the lower edge they may be cut off. `fill` replaces all pixels of a patch, exactly.
    The named class is the one with the highest score for the image as it is.
    Returns a float array (H, W): each pixel holds the fall of its patch, score of the image minus
    score of the covered image. `image` stays as it is.
    """
    # SOLUTION
    height, width = image.shape
    patches = [
        (slice(top, top + size), slice(left, left + size))
        for top in range(0, height, size)
        for left in range(0, width, size)
    ]
    pictures = np.repeat(image[None].astype(float), 1 + len(patches), axis=0)
    for picture, patch in zip(pictures[1:], patches):
        picture[patch] = fill
    scores = np.asarray(predict(pictures))
    named = scores[0].argmax()
    falls = np.empty((height, width))
    for patch, covered in zip(patches, scores[1:]):
        falls[patch] = scores[0, named] - covered[named]
    return falls


# %%
check("23.1", occlusion)

# %% [markdown] tags=["solution"]
# The conversion to float matters: an image of bytes would turn a fill of 127.5 into 127. The size of the patch is part of the
# explanation. Small patches miss evidence that stands in two places, large ones hide where it is. Try two sizes, and report
# both if they disagree.

# %% [markdown]
# ## 23.2 Integrated gradients with their gap ★★☆ · 10 minutes
#
# A customer's auditor asks: "How exact are these numbers?" Integrated gradients can answer, since the parts must sum to
# the change. Return the parts together with what is missing.


# %%
def integrated_gradients(f, gradient, x, baseline, steps=32):
    """Integrated gradients by the midpoint rule, and their gap.

    f: maps points (N, …) to values (N,). gradient: maps points (N, …) to gradients (N, …).
    x, baseline: float arrays of one shape, which may be any. steps: from 1.
    The way from baseline to x has `steps` equal pieces; take the gradient at the middle of each.
    Returns (parts, gap): parts has the shape of x; gap is a plain float,
    f(x) - f(baseline) - the sum of the parts.
    Raises ValueError if the shapes differ or if steps is below 1.
    """
    # SOLUTION
    if x.shape != baseline.shape or steps < 1:
        raise ValueError("expected x and baseline of one shape, and one step or more")
    middles = (np.arange(steps) + 0.5) / steps
    way = baseline + middles.reshape(-1, *[1] * x.ndim) * (x - baseline)
    parts = (x - baseline) * gradient(way).mean(axis=0)
    after, before = f(np.stack([x, baseline]))
    return parts, float(after - before - parts.sum())


# %%
check("23.2", integrated_gradients)

# %% [markdown] tags=["solution"]
# All points go to the gradient in one batch. For a large picture and many steps, cut the batch into pieces. The midpoint rule
# is exact for gradients that are linear along the way; Gauss–Legendre points, which Captum uses, are exact for
# polynomials up to a high degree. A network of ReLUs is neither: its gradient jumps. So measure the gap, and double the
# steps until it is small.

# %% [markdown]
# ## 23.3 One value for each group of columns ★★☆ · 15 minutes
#
# A table has radius, perimeter and area in separate columns. Their Shapley values share one effect among three columns, and the
# doctor asks why the radius counts so little. Treat each group of coupled columns as one player: it joins with all its
# columns or not at all.


# %%
def group_shapley(f, x, background, groups):
    """Exact interventional Shapley values of groups of columns.

    f: maps rows (N, D) to values (N,). x: float array (D,), the row to explain.
    background: float array (B, D), B from 1.
    groups: a list of G lists of column numbers, G from 1 to 8.
    v(S): the mean of f over the background's rows, after the columns of all groups in S were
    replaced by those of x.
    Returns a float array (G,) that sums to f(x) minus the mean of f over the background.
    Raises ValueError unless each column stands in exactly one group.
    """
    # SOLUTION
    if sorted(column for group in groups for column in group) != list(range(len(x))):
        raise ValueError("expected each column in exactly one group")
    count = len(groups)

    def v(members):
        rows = background.copy()
        for group in members:
            rows[:, groups[group]] = x[groups[group]]
        return f(rows).mean()

    coalitions = [[g for g in range(count) if number >> g & 1] for number in range(2**count)]
    of = [v(members) for members in coalitions]
    phi = np.zeros(count)
    for number, members in enumerate(coalitions):
        for g in set(range(count)) - set(members):
            size = len(members)
            orders = math.factorial(size) * math.factorial(count - size - 1)
            phi[g] += orders / math.factorial(count) * (of[number + 2**g] - of[number])
    return phi


# %%
check("23.3", group_shapley)

# %% [markdown] tags=["solution"]
# A second way walks through all orders of the groups and notes each group's contribution as it joins: the same numbers,
# $G!$ orders instead of $2^G$ coalitions. The value of a group is in general *not* the sum of its columns' values. Groups also
# avoid the impossible rows within a group: radius and perimeter now always come from the same person. Between groups the
# problem stays.

# %% [markdown]
# ## 23.4 Does this explainer look at the model? ★★☆ · 10 minutes
#
# A vendor sells a new kind of heat map. Before you buy, run the test of the lesson on it: compare its maps for the trained
# model with its maps for models with random weights.


# %%
def kept_order(explain, trained, randoms, images):
    """How much of the maps' order stays if the weights are random: near 1 is bad.

    explain: explain(model, image) returns a map, a float array of the image's shape.
    trained: the model. randoms: a list of one or more models with random weights.
    images: one or more images, (N, H, W).
    For each image and each random model, take Spearman's rank correlation between the sizes
    (absolute values) of the trained model's map and of the random model's map, over all pixels.
    Equal sizes share their mean rank. If all sizes of a map are equal, it has no order: the
    correlation counts as 0.
    Returns the median over all pairs of image and random model, a plain float.
    """
    # SOLUTION
    found = []
    for image in images:
        before = ranks(explain(trained, image))
        for model in randoms:
            after = ranks(explain(model, image))
            norm = np.linalg.norm(before) * np.linalg.norm(after)
            found.append(before @ after / norm if norm else 0.0)
    return float(np.median(found))


def ranks(found):
    """The ranks of the sizes, equal ones sharing their mean, minus the mean rank: (H * W,)."""
    sizes = np.abs(np.asarray(found, dtype=float)).ravel()
    _, inverse, counts = np.unique(sizes, return_inverse=True, return_counts=True)
    mean_rank = np.cumsum(counts) - (counts - 1) / 2
    return mean_rank[inverse] - (len(sizes) + 1) / 2


# %%
check("23.4", kept_order)

# %% [markdown] tags=["solution"]
# Spearman's correlation is Pearson's correlation of the ranks. `scipy.stats.spearmanr` computes the same; for a constant map
# it gives `nan` and a warning, so test for that case first. A result near 1 says that the map shows the picture. A result near
# 0 does not prove that the map is right: a map of pure noise passes the test as well. The test can only refuse.
