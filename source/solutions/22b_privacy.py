# %% [markdown]
# # 22b Privacy: exercises
#
# Four functions: the hits of an attack at few false alarms, one step of private training, the privacy that several
# trainings have spent together, and the list of models that a deletion reaches. Fill in what is missing, run the cell,
# then run its check.

# %%
import math

import numpy as np

from course_lib.idioms import begin, check

scratch = begin("22b")

# %% [markdown]
# ## 22b.1 Hits at few false alarms ★☆☆ · 10 minutes
#
# A supplier reports "our membership test has an AUC of 0.51, so nothing leaks". Your auditor asks for another number:
# how many members does the attack find if it may accuse at most one innocent picture in 1,000? Many scores are equal,
# because the supplier's service rounds them.


# %%
def true_positive_rate(members, others, false_positive_rate):
    """The largest share of members that an attack can find with so few false alarms.

    members, others: float arrays (n,) and (m,), the scores of pictures that were in the training
    data and of pictures that were not; one score or more each. A higher score means "more likely a
    member". The attack accuses every picture whose score is at least a threshold; it may choose
    any threshold.
    false_positive_rate: 0 to 1. At most this share of `others` may be accused, also if many scores
    are equal.
    Returns a plain float, 0 to 1. Raises ValueError for an empty array or a score that is nan.
    """
    # SOLUTION
    for scores in (members, others):
        if not len(scores) or np.isnan(scores).any():
            raise ValueError("expected one score or more in each array, and no nan")
    best = 0.0
    for threshold in np.unique(members):
        if (others >= threshold).mean() <= false_positive_rate:
            best = max(best, float((members >= threshold).mean()))
    return best


# %%
check("22b.1", true_positive_rate)

# %% [markdown] tags=["solution"]
# Only the members' scores need to be tried: between two of them, a lower threshold finds no more members. The lowest
# threshold that is allowed finds the most, so a second way is one sort: allow $k = \lfloor f m \rfloor$ false alarms, and
# take the members strictly above the $(k+1)$-th largest score of the others. "Strictly" is what equal scores need.
# `np.quantile(others, 0.999)` interpolates and may accuse more pictures than allowed. With 500 pictures of others and
# a rate of 0.1 %, no false alarm is allowed at all: use more pictures before you report such a rate.

# %% [markdown]
# ## 22b.2 One private step ★★☆ · 15 minutes
#
# Last night's private training stopped with `nan`. A batch was empty, because each picture joins a batch at random. And
# a reviewer found that the code divides by the size of the batch that was drawn, which nobody has accounted for. Write
# the step again.


# %%
def private_gradient(gradients, clip, sigma, expected_batch, random):
    """The noisy mean gradient of one step of DP-SGD.

    gradients: float array (B, P), a row for each picture in the batch; B may be 0. It is left as
    it was. clip: the largest length (Euclidean norm) of a row, above 0. Longer rows are shortened
    to this length, their direction stays; shorter rows stay as they are.
    sigma: the noise is normal, with the standard deviation sigma * clip, for each of the P sums;
    0 is allowed.
    expected_batch: the mean size of a batch, above 0. The noisy sum is divided by it.
    random: a NumPy Generator, for the noise.
    Returns a float array (P,). Raises ValueError if a gradient is not finite.
    """
    # SOLUTION
    if not np.isfinite(gradients).all():
        raise ValueError("expected finite gradients: a nan has no length that could be clipped")
    lengths = np.linalg.norm(gradients, axis=1, keepdims=True)
    clipped = gradients * (clip / np.maximum(lengths, clip))
    noise = random.normal(0, sigma * clip, gradients.shape[1])
    return (clipped.sum(axis=0) + noise) / expected_batch


# %%
check("22b.2", private_gradient)

# %% [markdown] tags=["solution"]
# `clip / max(length, clip)` is 1 for a short row, and it never divides by 0. The noise is added once to the sum, also if
# the batch is empty: a step without noise would tell everybody that nobody was drawn. Dividing by the drawn size would
# make the result depend on that size, and the accountant's formula covers only the noisy sum. A second way is a loop
# over the rows. A nan passes `min` and `max` unclipped, so one broken picture would have an unlimited influence.

# %% [markdown]
# ## 22b.3 Privacy spent by three trainings ★★★ · 15 minutes
#
# The team trained on the same patients three times: a first try, a second with less noise, and the final model. Only the
# last one is in production, but all three were sent to the customer. The report says "ε = 2". Compute what the patients
# have really spent. The lesson has both formulas.


# %%
def epsilon_spent(trainings, delta):
    """The ε of several trainings on the same data, all of them published.

    trainings: list of (q, sigma, steps): the chance with which a picture joins a step, 0 < q <= 1;
    the noise, above 0; the number of steps, an int from 0. The list may be empty.
    delta: strictly between 0 and 1.
    For each order a = 2, 3, …, 128, add up over all trainings: steps times the Rényi divergence of
    one step, as in the lesson. Convert the sum by
        epsilon(a) = sum + ln((a - 1) / a) - (ln(delta) + ln(a)) / (a - 1)
    and take the smallest epsilon(a). Return 0.0 if it is negative, or if there is no step at all.
    Returns a plain float. Raises ValueError if q, sigma or delta is out of range.
    """
    # SOLUTION
    if not 0 < delta < 1 or any(not 0 < q <= 1 or sigma <= 0 for q, sigma, _ in trainings):
        raise ValueError("expected q in (0, 1], sigma above 0 and delta between 0 and 1")
    if not any(steps for _, _, steps in trainings):
        return 0.0
    smallest = math.inf
    for a in range(2, 129):
        total = sum(steps * renyi(q, sigma, a) for q, sigma, steps in trainings)
        converted = total + math.log((a - 1) / a) - (math.log(delta) + math.log(a)) / (a - 1)
        smallest = min(smallest, converted)
    return max(0.0, smallest)


def renyi(q, sigma, a):
    """The Rényi divergence of order a of one step; sums of logarithms, so nothing overflows."""
    if q == 1:
        return a / (2 * sigma**2)
    terms = [
        math.log(math.comb(a, k))
        + (a - k) * math.log1p(-q)
        + k * math.log(q)
        + k * (k - 1) / (2 * sigma**2)
        for k in range(a + 1)
    ]
    largest = max(terms)
    return (largest + math.log(sum(math.exp(term - largest) for term in terms))) / (a - 1)


# %%
check("22b.3", epsilon_spent)

# %% [markdown] tags=["solution"]
# Divergences of one order add up; ε does not. Adding the three ε is allowed, but too pessimistic: each of them pays for
# $\ln(1/\delta)$ again, and their δ add up too. Taking the largest ε, or the last one, is wrong in the dangerous
# direction: what was published stays published. Every published training counts, also one that lost. If the tries stay inside
# the company, they are not published; but a choice of settings made with these data leaks a little through the final
# model. A second way is a tight accountant (`dp-accounting` composes privacy loss distributions); it gives a slightly
# smaller ε.

# %% [markdown]
# ## 22b.4 Which models must go? ★★☆ · 10 minutes
#
# A customer asks you to delete her data. The registry has 40 versions. Some learned from her pictures, some started from
# the weights of such a version, and some are only smaller files of one. A colleague has deleted the version in production and asks:
# "Is that all?"


# %%
def reached_by_deletion(versions, deleted):
    """The versions that a deletion reaches.

    versions: dict of version -> (made_from, records). made_from: the version whose weights it
    started from or was computed from, or None. records: a collection of the ids of the records
    that it learned from; it may be empty. Versions may stand in any order.
    deleted: a collection of the ids of records that must go; it may be empty.
    A version is reached if it learned from a deleted record, or if it was made from a version that
    is reached, directly or through others.
    Returns a sorted list of versions. Raises ValueError if made_from names a version that is not
    in `versions`: what is unknown cannot be called clean.
    """
    # SOLUTION
    for version, (made_from, _) in versions.items():
        if made_from is not None and made_from not in versions:
            raise ValueError(f"version {version} was made from {made_from}, which nobody knows")
    reached = {
        version for version, (_, records) in versions.items() if set(records) & set(deleted)
    }
    while True:
        more = {
            version for version, (made_from, _) in versions.items() if made_from in reached
        } - reached
        if not more:
            return sorted(reached)
        reached |= more


# %%
check("22b.4", reached_by_deletion)

# %% [markdown] tags=["solution"]
# It is a search along edges, from the versions that learned directly to everything made from them. A second way asks
# each version upwards: "does one of my ancestors have such a record?" It needs care with long chains, since Python's
# recursion ends at a depth of 1,000. A version that was only *measured* with her pictures is not reached, but the
# measurement's file is a place of its own. The function can only be as good as the registry: `learned_from` must name
# records, and not "the usual data".
