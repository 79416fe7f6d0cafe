# %% [markdown]
# # 04b How sure is an accuracy?: exercises
#
# Four functions that tell a team whether a number is better or only lucky. Fill in what is missing, run the cell, then
# run its check.

# %%
from itertools import product

import numpy as np
from scipy import stats

from course_lib.idioms import begin, check

scratch = begin("04b")

# %% [markdown]
# ## 04b.1 Where will the next run land? ★☆☆ · 10 minutes
#
# Every night a job trains the same model with another seed. "Tonight it has 98.6 %, and it was 99.1 % on average. Is
# something broken?" Write the interval in which the next run should land.


# %%
def next_run(accuracies, confidence=0.95):
    """The interval in which the next run lands with this confidence.

    It assumes that runs scatter like a bell curve. accuracies: a sequence of r plain floats or a
    NumPy array (r,), r from 2, each from 0 to 1. confidence: above 0 and below 1. Returns
    (low, high), two plain floats: the mean minus and plus
    t · s · sqrt(1 + 1/r), where s is the standard deviation with r − 1 in its denominator and t
    is the point of Student's distribution with r − 1 degrees of freedom. What lies below 0 or
    above 1 is cut off. Raises ValueError for fewer than two runs, and for another confidence.
    """
    # SOLUTION
    runs = np.asarray(accuracies, dtype=np.float64)
    if runs.size < 2 or not 0 < confidence < 1:
        raise ValueError(
            f"expected two runs or more and a confidence between 0 and 1, got {runs.size} and "
            f"{confidence}"
        )
    t = stats.t.ppf((1 + confidence) / 2, runs.size - 1)
    reach = t * runs.std(ddof=1) * np.sqrt(1 + 1 / runs.size)
    return float(max(runs.mean() - reach, 0)), float(min(runs.mean() + reach, 1))


# %%
check("04b.1", next_run)

# %% [markdown] tags=["solution"]
# A 95 % interval leaves 2.5 % on each side, so $t$ is the point below which 97.5 % lie: $(1 + 0.95)/2$. Two variances
# add up under the root: the next run scatters with variance $s^2$, and our mean of $r$ runs with $s^2/r$. Without the 1
# the interval would be that of the *mean* over all seeds, and the next run would often land outside of it. NumPy's
# `std` divides by $r$ unless you ask for `ddof=1`; the `statistics` module's `stdev` divides by $r - 1$.

# %% [markdown]
# ## 04b.2 Better, or lucky? ★★☆ · 15 minutes
#
# Two ways to train were run with the *same* seeds, so each seed gives one difference. "Seven of eight seeds are better.
# Ship it?" If neither way were better, each difference could as well have had the other sign. Count over all choices of
# signs.


# %%
def sign_flip_p(differences):
    """The two-sided p-value of paired differences, over all 2 ** r choices of their signs.

    differences: a sequence of r floats or a NumPy array (r,), r from 1 to 16. Returns a plain
    float: the share of the 2 ** r choices of signs whose mean is at least as far from 0 as the
    measured mean. The measured choice is one of them. Two means that differ by less than 1e-12
    count as equally far. Raises ValueError for no difference.
    """
    # SOLUTION
    measured = np.asarray(differences, dtype=np.float64)
    if measured.size == 0:
        raise ValueError("expected one difference or more, got none")
    signs = np.array(list(product([1, -1], repeat=measured.size)))  # (2 ** r, r)
    means = np.abs(signs @ measured) / measured.size
    return float((means >= abs(measured.mean()) - 1e-12).mean())


# %%
check("04b.2", sign_flip_p)

# %% [markdown] tags=["solution"]
# The measured choice and its mirror image always count, so the smallest possible p-value is $2/2^r$. With five seeds it
# is 1/16, so five seeds cannot give a p-value below 0.05. With six seeds it is 1/32. The tolerance matters: 0.1 + 0.2
# and 0.3 differ in the last bit, so an exact comparison would lose ties. Pairing helps if a good seed is good for both
# ways to train, for example through the order of the batches. From two differences on,
# `scipy.stats.permutation_test` with `permutation_type="samples"` and `n_resamples=np.inf` computes the same.

# %% [markdown]
# ## 04b.3 The same image on both sides ★★☆ · 15 minutes
#
# "Our test accuracy is 99.9 %." A colleague suspects that test images stand in the training part too, perhaps saved
# again with a little loss. Find them.


# %%
def find_copies(training, test, tolerance=0):
    """For each test image, which training image it is a copy of.

    training: array (N, H, W), test: array (M, H, W), both of one dtype, uint8 or float. A test
    image is a copy of a training image if no pixel differs by more than `tolerance`, in the
    images' own unit. Returns an int64 array (M,): the index of the first such training image, −1
    if there is none. N and M may be 0. Raises ValueError if H or W differ.
    """
    # SOLUTION
    if training.shape[1:] != test.shape[1:]:
        raise ValueError(
            f"expected images of one size, got {training.shape[1:]} and {test.shape[1:]}"
        )
    known, found = training.astype(np.float64), np.full(len(test), -1)
    for i, image in enumerate(test.astype(np.float64)):
        same = (np.abs(known - image) <= tolerance).all(axis=(1, 2))
        if same.any():
            found[i] = same.argmax()
    return found


# %%
check("04b.3", find_copies)

# %% [markdown] tags=["solution"]
# Convert before you subtract. In uint8, 10 − 11 is 255, but 11 − 10 is 1. So a version without conversion misses some
# copies and finds others. `argmax` of truth values gives the first True, and 0 if there is none, so `any` is asked
# first. The loop needs memory for one test image against all training images. All pairs at once would need
# $N \cdot M \cdot 64$ numbers: 2 GB for 4,000 and 1,000 images. For exact copies (`tolerance=0`) a dictionary from
# `image.tobytes()` to the index is faster. Real pipelines compare short fingerprints of images (*perceptual hashes*),
# which survive a change of size.

# %% [markdown]
# ## 04b.4 One number for calibration ★★☆ · 15 minutes
#
# "Which of our two models has the more honest probabilities?" The *expected calibration error* is the usual number.
# Sort the answers into bins by their probability, and compare what each bin claims with what it reaches.


# %%
def calibration_error(probabilities, labels, bins=10):
    """The expected calibration error.

    probabilities: float array (N, C), N from 1; each row sums to 1. labels: int array (N,).
    An answer is the class with the largest probability (the first of them on a tie), and claims
    that probability. The bins divide 0 to 1 into equal widths; a claim on an edge belongs to the
    bin below, so 1.0 belongs to the last one. For each bin that is not empty, take the absolute
    difference between the mean claim and the share of right answers. Returns their mean, weighted
    by the number of answers in each bin, as a plain float. Raises ValueError for no example and
    for fewer than one bin.
    """
    # SOLUTION
    if len(labels) == 0 or bins < 1:
        raise ValueError(f"expected examples and one bin or more, got {len(labels)} and {bins}")
    claims = probabilities.max(axis=1).astype(np.float64)
    right = probabilities.argmax(axis=1) == labels
    edges = np.linspace(0, 1, bins + 1)
    which = np.searchsorted(edges[1:-1], claims)  # side "left": an edge belongs to the bin below
    gaps = [abs((claims[which == each] - right[which == each]).sum()) for each in np.unique(which)]
    return float(sum(gaps) / len(labels))


# %%
check("04b.4", calibration_error)

# %% [markdown] tags=["solution"]
# The weight of a bin is its number of answers, and a mean times this number is a sum. So the code adds up sums and
# divides once. Empty bins never appear, because `np.unique` lists only those that occur. The number depends on the
# bins. With one bin, a model that claims too much for half of its answers, and as much too little for the others, gets
# 0. With very many bins, each bin holds one answer, and even perfect probabilities look wrong. So report the number of
# bins with it.
