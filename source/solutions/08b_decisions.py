# %% [markdown]
# # 08b Decisions: exercises
#
# Three functions that turn what a model says into something to act on. Fill in what is missing, run the cell, then its
# check.

# %%
import math
import unicodedata
import zlib

import numpy as np

from course_lib.idioms import begin, check

scratch = begin("08b")

# %% [markdown]
# ## 08b.1 What to do, by what it costs ★★☆ · 15 minutes
#
# "Above 0.5 we approve." Why 0.5? And what about a third choice, to ask a person? A decision is an *action*, and there
# may be more or fewer actions than classes. Write the rule from which Chow's rule and the tumour's threshold both
# follow.


# %%
def cheapest_action(probabilities, costs):
    """For each example the action with the lowest expected cost.

    probabilities: float array (N, C), calibrated; row n holds P(class c) for example n. N may be
    0. costs: float array (C, K); costs[c, k] is what action k costs where class c is the truth,
    in any one unit, gains negative. The expected cost of action k is the sum over c of
    P(class c) × costs[c, k], in float64. Of equal ones the first is taken. Returns (actions,
    expected): int64 (N,), and float64 (N,) in the unit of costs. Raises ValueError where the
    shapes do not fit, where a number is not finite, where a probability is negative, and where a
    row's sum is further than 0.001 from 1.
    """
    # SOLUTION
    p, costs = np.asarray(probabilities, np.float64), np.asarray(costs, np.float64)
    if p.ndim != 2 or costs.ndim != 2 or p.shape[1] != costs.shape[0] or costs.shape[1] == 0:
        raise ValueError(f"expected (N, C) and (C, K), got {p.shape} and {costs.shape}")
    if not (np.isfinite(p).all() and np.isfinite(costs).all()):
        raise ValueError("expected finite probabilities and costs")
    if (p < 0).any() or (np.abs(p.sum(axis=1) - 1) > 0.001).any():
        raise ValueError("expected rows of probabilities that add up to 1: apply a softmax first")
    expected = p @ costs
    actions = expected.argmin(axis=1)
    return actions, expected[np.arange(len(p)), actions]


# %%
check("08b.1", cheapest_action)

# %% [markdown] tags=["solution"]
# One product of matrices. With costs 0 on the diagonal and 1 elsewhere it is the largest probability. One column more,
# all of it $c_{ask}$, is the person who is asked: Chow's rule. Two classes and two actions give the tumour's
# threshold. The check of the sums matters more than it looks: logits have the right shape too, and would be multiplied
# without complaint. A second way to see it: `min` over the actions of linear functions of $p$, so that the regions of
# equal decision are convex polygons.

# %% [markdown]
# ## 08b.2 How wide must the interval be? ★★☆ · 10 minutes
#
# The delivery page shows "in 31 minutes". Customers plan with it and are angry in half of the cases. Give the page an
# interval, from the errors of past predictions. Some branches have a thousand of them, and a new one has six.


# %%
def conformal_reach(errors, coverage=0.9):
    """Half the width of a conformal interval: predicted value ± reach.

    errors: float array (N,), true minus predicted, of either sign, of examples that the model was
    not trained on; N may be 0. coverage: the share of new examples that the interval must hold,
    between 0 and 1, both ends excluded.
    Returns a plain float: the k-th smallest absolute error, where k is (N + 1) × coverage, rounded
    up; math.inf where k is larger than N. An excess below 1e-9 does not count: 100 × 0.55 is 55,
    although Python makes it 55.00000000000001.
    Raises ValueError for a coverage outside, errors with another number of axes, and NaN or
    infinity among the errors.
    """
    # SOLUTION
    errors = np.asarray(errors, np.float64)
    if not 0 < coverage < 1:
        raise ValueError(f"expected a coverage between 0 and 1, such as 0.9, got {coverage}")
    if errors.ndim != 1 or not np.isfinite(errors).all():
        raise ValueError(f"expected one axis of finite errors, got the shape {errors.shape}")
    rank = math.ceil((len(errors) + 1) * coverage - 1e-9)
    return float(np.sort(np.abs(errors))[rank - 1]) if rank <= len(errors) else math.inf


# %%
check("08b.2", conformal_reach)

# %% [markdown] tags=["solution"]
# The new error is one of N + 1, and all its ranks are equally likely. So it is at most the k-th smallest with
# probability k / (N + 1), and k must be the first number that makes this at least the coverage. With six errors and 90
# %, k is 7: no finite interval can promise it, and `inf` says so. `np.quantile(abs(errors), 0.9)` is the usual mistake.
# It interpolates, and forgets the new example; on few errors its interval is too short. A second way is
# `np.partition(np.abs(errors), k - 1)[k - 1]`, which finds the k-th smallest without sorting all of them.

# %% [markdown]
# ## 08b.3 The same buckets tomorrow ★★★ · 20 minutes
#
# The search team rewrites your text model's preparation in another language, from the description below alone. Write
# it in Python so that both count the same, bit for bit, in every process and for every spelling.


# %%
def hashed_counts(texts, sizes=(1, 2, 3), buckets=1024):
    """Counts the n-grams of each text in buckets that are the same in every process.

    texts: list of N str; N may be 0. Each is first brought to NFC, then case-folded, then brought
    to NFC again, and gets one blank in front and one behind. sizes: the n of the n-grams, in
    characters (Unicode code points, not bytes). buckets: how many, from 1. An n-gram's bucket is
    zlib.crc32 of its UTF-8 bytes, modulo buckets. Returns float32 (N, buckets). Raises TypeError
    where `texts` is itself a str, and ValueError for fewer than one bucket.
    """
    # SOLUTION
    if isinstance(texts, str):
        raise TypeError("expected a list of texts, got one: put it into a list")
    if buckets < 1:
        raise ValueError(f"expected one bucket or more, got {buckets}")
    counts = np.zeros((len(texts), buckets), np.float32)
    for row, text in zip(counts, texts):
        folded = unicodedata.normalize("NFC", text).casefold()
        text = f" {unicodedata.normalize('NFC', folded)} "
        for n in sizes:
            for start in range(len(text) - n + 1):
                row[zlib.crc32(text[start : start + n].encode("utf-8")) % buckets] += 1
    return counts


# %%
check("08b.3", hashed_counts)

# %% [markdown] tags=["solution"]
# Every word of the docstring is a way to be wrong: `hash()` instead of a checksum, bytes instead of characters,
# `lower()` instead of `casefold()` ("Straße" and "STRASSE" should meet). Why NFC twice? Folding can take a character
# apart: "ǰ" folds to "j" and a hook, and only the second NFC joins them again. And before folding, marks may stand in
# another order: an alpha, an iota below it, then an accent. Folding makes a letter of the iota, and without the first
# NFC the accent lands on that letter. A str is refused because it is a sequence of str, and would be counted letter by
# letter without an error. A second way: `np.bincount` or `np.add.at` over a list of buckets; `counts[row,
# list_of_buckets] += 1` counts a repeated bucket once.
