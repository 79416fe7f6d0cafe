# %% [markdown]
# # 23b Who is treated how: exercises
#
# Four functions for a team that has to answer for its model: the rate of missed cases in each group, a test for the
# worst group, the smallest change that turns an answer, and a gate for the model card. Fill in what is missing, run the
# cell, then run its check.

# %%
import numpy as np

from course_lib.idioms import begin, check
from course_lib.measure import wilson

scratch = begin("23b")

# %% [markdown]
# ## 23b.1 Who is missed? ★☆☆ · 10 minutes
#
# A screening service reports "accuracy 97 %". A clinic asks for something else: in each group of patients, how many ill
# people did the model miss? Some groups have no ill person in the data. The old report shows them with a rate of 0 %,
# as if the model were perfect there. Write a report that says what is known, and no more.


# %%
def missed_by_group(truth, answers, groups, confidence=0.95):
    """The positive cases that a model missed, in each group, with Wilson's interval for the rate.

    truth, answers: arrays (N,) of truth values or of 0 and 1: is it positive, did the model say so.
    groups: array (N,) of whole numbers or of texts, the group of each case.
    A case is missed if it is positive and the model says that it is not.
    Returns a dict with an entry for each group that occurs in `groups`:
      group -> (missed, positives, low, high), two whole numbers and two floats;
      low, high: the ends of wilson(missed, positives, confidence), already imported.
    A group without a positive case gets (0, 0, 0.0, 1.0): its rate can be anything.
    Raises ValueError if the three arrays differ in length.
    """
    # SOLUTION
    truth, answers, groups = np.asarray(truth, bool), np.asarray(answers, bool), np.asarray(groups)
    if not len(truth) == len(answers) == len(groups):
        raise ValueError(
            "expected three arrays of one length, got "
            f"{len(truth)}, {len(answers)} and {len(groups)}"
        )
    report = {}
    for group in np.unique(groups).tolist():
        ill = truth & (groups == group)
        missed, positives = int((ill & ~answers).sum()), int(ill.sum())
        ends = wilson(missed, positives, confidence) if positives else (0.0, 1.0)
        report[group] = (missed, positives, *ends)
    return report


# %%
check("23b.1", missed_by_group)

# %% [markdown] tags=["solution"]
# The conversion to `bool` makes `~` safe. On whole numbers `~1` is -2, which counts as true. So
# `np.logical_and(ill, ~answers)` would count every ill person as missed. The interval of an empty group, 0 to 1, is what
# Wilson's formula tends to if the number of cases goes to zero. Report the number of positive cases
# beside the rate: it tells a reader at once which rates mean nothing.

# %% [markdown]
# ## 23b.2 Is the worst group really worse? ★★☆ · 15 minutes
#
# Every week someone sorts the groups by accuracy and asks why the last one is so bad. Some group is always last. Write
# the number that answers the question: how often would the worst of these groups look this bad if the model treated all
# of them alike?


# %%
def chance_of_worst(right, counts, draws=20_000, random=None):
    """How often the worst of equally treated groups looks as bad as the worst one observed.

    right, counts: int arrays (G,), the correct answers and the cases in each group, G from 1.
    If all groups are treated alike, each case is right with the same probability:
    p = right.sum() / counts.sum(). The number of correct answers in a group is then binomial, with
    the group's own count. Draw that many worlds (or compute the chance exactly, if you prefer).
    draws: the number of worlds. random: a NumPy Generator, or None for default_rng(0).
    Returns the share of worlds whose lowest accuracy is as low as the lowest observed, or lower.
    Raises ValueError if the shapes differ, if a count is below 1, or if right is not within
    0 to counts.
    """
    # SOLUTION
    right, counts = np.asarray(right), np.asarray(counts)
    if right.shape != counts.shape or (counts < 1).any() or ((right < 0) | (right > counts)).any():
        raise ValueError("expected 0 to count correct answers of 1 or more cases in each group")
    random = random or np.random.default_rng(0)
    p = right.sum() / counts.sum()
    worlds = random.binomial(counts, p, size=(draws, len(counts)))
    return float(((worlds / counts).min(axis=1) <= (right / counts).min()).mean())


# %%
check("23b.2", chance_of_worst)

# %% [markdown] tags=["solution"]
# The exact way needs no random numbers. Let $s$ be the lowest observed share. A group of $n$ cases stays above it with
# the probability $1 - F_n(\lfloor s n \rfloor)$, where $F_n$ is the binomial distribution function. The groups are
# independent, so the answer is $1 - \prod_n \left(1 - F_n(\lfloor s n \rfloor)\right)$. Both forms have the same
# limit: a small chance says that the groups differ, and it does not say why. And if you looked at three ways to cut the
# groups before you chose this one, you have to count all three.

# %% [markdown]
# ## 23b.3 The smallest change ★★☆ · 15 minutes
#
# A customer was refused by a linear model and asks what would have to be different. The old tool answers with a change
# of all 30 features, some of them beyond anything that exists, and one of them is the customer's age. Find the smallest
# change that a customer could in principle have.


# %%
def smallest_change(x, weights, bias, low, high, fixed, target=0.0):
    """The allowed input nearest to x, in the sum of absolute changes, that a linear model accepts.

    The model accepts z if weights @ z + bias >= target.
    x, weights, low, high: float arrays (F,), F from 1; low <= x <= high. A result z must stay
    within them too: low <= z <= high.
    fixed: bool array (F,), True for features that must not change.
    Returns z, a float array (F,): of all allowed z that the model accepts, one with the smallest
    np.abs(z - x).sum(). Where x itself is accepted, that is x.
    Returns None if the model accepts no allowed z. Does not change its arguments.
    Allow for rounding: a z that misses the target by 1e-9 or less counts as accepted.
    """
    # SOLUTION
    z = x.astype(float)  # a copy
    short = target - (weights @ z + bias)
    for j in np.argsort(-np.abs(weights)):
        if short <= 0:
            break
        if fixed[j] or weights[j] == 0:
            continue
        room = (high[j] if weights[j] > 0 else low[j]) - z[j]
        step = room if weights[j] * room <= short else short / weights[j]
        z[j] += step
        short -= weights[j] * step
    return z if short <= 1e-9 else None


# %%
check("23b.3", smallest_change)

# %% [markdown] tags=["solution"]
# Each unit of change in feature $j$ lifts the logit by $|w_j|$ at most. So the cheapest lift comes from the largest
# weight, until its range ends; then from the next one. This is the same argument as for filling a bag with the most
# valuable goods first, and it is exact because the model is linear. A second way is a linear program:
# `scipy.optimize.linprog` with the rises and the falls of each feature as its variables. For a model that is not
# linear, neither is exact.
#
# Scale the features first. The sum of absolute changes treats a unit of age and a unit of income as equal, so the
# answer depends on the units. The lesson divides by the standard deviation; Wachter and colleagues divide by the median
# absolute deviation.

# %% [markdown]
# ## 23b.4 Is the card still true? ★★☆ · 15 minutes
#
# A colleague asks: "The pipeline refuses my card. It says 99.6 %, and the measurement says 0.99555…" A gate that
# compares texts is too strict, and one that allows 1 % lets old figures pass. Compare each figure at the precision in
# which the card prints it.


# %%
def card_problems(printed, measured):
    """The names of the figures for which a model card must be refused.

    printed: dict of name -> text, the figures as the card shows them: "0.996", "62,900", "99.6 %",
    "-0.3". Commas separate thousands. A percent sign at the end, with or without a space before it,
    means hundredths. Without percent sign the number stands as it is.
    measured: dict of name -> number, measured today; "99.6 %" belongs to a measured 0.996.
    A figure is good if the measured number, rounded to the decimals that the card prints (after it
    is turned into percent where the card does so), is the printed number.
    Refused are: a figure that differs; a text that is no number, such as "" or "TODO"; a measured
    number that is nan or infinite; a name that stands in only one of the two dicts.
    Returns the names as a sorted list, [] for a card without problems.
    """
    # SOLUTION
    names = printed.keys() | measured.keys()
    return sorted(name for name in names if not agrees(printed.get(name), measured.get(name)))


def agrees(text, number):
    if text is None or number is None or not np.isfinite(number):
        return False
    digits = text.strip().replace(",", "")
    if digits.endswith("%"):
        digits, number = digits.removesuffix("%").strip(), 100 * number
    try:
        shown = float(digits)
    except ValueError:
        return False
    decimals = len(digits.partition(".")[2])
    return bool(np.isfinite(shown)) and abs(shown - number) <= 0.5 * 10**-decimals * (1 + 1e-9)


# %%
check("23b.4", card_problems)

# %% [markdown] tags=["solution"]
# "Rounds to the printed number" means: the two differ by half a unit of the last printed digit at most. A second way is
# `f"{number:,.{decimals}f}" == digits`, after a check that `digits` is a number. Names that stand on one side only are
# refused on purpose. A figure that nobody measures any more is the one that is wrong for years.
