# %% [markdown]
# # 21 Drift: exercises
#
# Four functions for a monitoring job: a PSI that survives real data, an alarm that counts all its tests, the classes'
# shares without labels, and a guard at the door. Fill in what is missing, run the cell, then run its check.

# %%
import numpy as np

from course_lib.idioms import begin, check

scratch = begin("21")

# %% [markdown]
# ## 21.1 A PSI that survives real data ★☆☆ · 10 minutes
#
# The dashboard's PSI shows `inf` on Mondays, when a bin is empty. Half of a sensor's values jumped far out of range, and
# the PSI is still small: its histogram drops values outside. Write a PSI that handles both. The lesson has the formula.


# %%
def psi(reference, current, bins=10):
    """The population stability index of one feature: sum over bins of (q - p) ln(q / p).

    reference, current: int or float arrays (n,) and (m,) with one value or more each; n and m may
    differ. p is the share of `reference` in a bin, q the share of `current`.
    bins: the number of bins, 2 or more. The bins - 1 inner edges are the quantiles 1/bins, 2/bins,
    … of `reference`, as np.quantile computes them. The two outer bins reach to minus infinity and
    to infinity. A value that lies exactly on an edge may go to either side.
    A share below 0.0001 counts as 0.0001; the shares are not divided by their sum afterwards.
    Returns a plain float. Raises ValueError for an empty sample and for a nan or an infinite value.
    """
    # SOLUTION
    for sample in (reference, current):
        if not len(sample) or not np.isfinite(sample).all():
            raise ValueError("expected finite values, one or more, in each sample")
    edges = np.quantile(reference, np.arange(1, bins) / bins)
    p, q = (
        np.bincount(np.searchsorted(edges, sample, side="right"), minlength=bins) / len(sample)
        for sample in (reference, current)
    )
    p, q = np.maximum(p, 1e-4), np.maximum(q, 1e-4)
    return float(((q - p) * np.log(q / p)).sum())


# %%
check("21.1", psi)

# %% [markdown] tags=["solution"]
# `searchsorted` gives the number of edges below a value, so no value is outside. A second way is `np.histogram` with
# `[-np.inf, *edges, np.inf]`. The floor of 0.0001 is a choice, and it matters: an empty bin of ten costs $0.1 \cdot
# \ln(0.1 / 0.0001) \approx 0.69$ alone. Write the floor beside the number, so that two teams can compare theirs. PSI
# misses one case: if the reference is constant, all edges coincide, and a jump to one side stays in the same bin. For a
# constant feature use the guard of 21.4.

# %% [markdown]
# ## 21.2 Sixty-four features, thirty days ★★☆ · 10 minutes
#
# Each morning a job tests every feature against the reference. It raises an alarm on most mornings, so the team has muted
# it. Write the rule that decides when to raise an alarm. If nothing drifts, the chance of one alarm or more *in the whole
# period* is to be at most `level`.


# %%
def first_alarm(p_values, looks, level=0.05):
    """The first day with an alarm; the chance of any false alarm in the period is at most `level`.

    p_values: float array (D, F): a row for each day so far, a column for each feature; D from 0, F
    from 1. An entry is nan if the feature could not be tested on that day.
    looks: how many days the period has in all, from 1. The job runs on each of them.
    All F · looks tests of the period count, also those of days to come and those that gave nan.
    Use Bonferroni's bound; Šidák's, 1 - (1 - level) ** (1 / tests), is accepted too.
    Returns the number of the day as a plain int, 0 for the first row, or None without an alarm.
    Raises ValueError if D is larger than looks, if any p-value lies outside 0 to 1, or if level
    does not lie strictly between 0 and 1.
    """
    # SOLUTION
    days, features = p_values.shape
    if days > looks:
        raise ValueError(f"expected at most {looks} days, as planned, got {days}")
    if ((p_values < 0) | (p_values > 1)).any() or not 0 < level < 1:
        raise ValueError("expected p-values from 0 to 1, and a level between 0 and 1")
    alarms = (p_values <= level / (features * looks)).any(axis=1)  # nan is never below
    return int(alarms.argmax()) if alarms.any() else None


# %%
check("21.2", first_alarm)

# %% [markdown] tags=["solution"]
# The sum of the chances of all tests bounds the chance of any alarm, also if the tests depend on each other. Dividing by
# the days *so far* is a common mistake: on the first morning the level is then 30 times too high, and the levels of 30
# mornings add up to about four times the level promised. The price is power: with 1,920 tests a p-value must be below
# 0.000026. If that is too strict, test fewer things: one number for each model, such as its confidence, once a week.

# %% [markdown]
# ## 21.3 Count classes that the model confuses ★★☆ · 15 minutes
#
# The planners need the classes' shares, and they count the model's answers. The model answers 0 for every fifth 1, so
# the plan is wrong every day. Estimate the true shares from today's answers and from the reference, where
# labels are known. The assumption: a class looks today as it did in the reference, $P(x \mid y)$ is unchanged.


# %%
def class_shares(labels, answers, answers_now, classes):
    """The shares of the classes today: the w that solves a = M w.

    labels, answers: int arrays (N,), the true classes and the model's answers on the reference.
    answers_now: int array (K,), the model's answers today, K from 1.
    classes: the number of classes C, from 2; labels and answers lie in 0 to C - 1.
    M, (C, C): M[i, j] is the share of answers i among the reference's examples of class j.
    a, (C,): the shares of the answers today.
    Returns a float array (C,): w with its negative entries set to 0, then divided by its sum.
    Raises ValueError if answers_now is empty, if a class is missing in labels, or if M cannot be
    inverted (its condition number is above a million).
    """
    # SOLUTION
    counts = np.zeros((classes, classes))
    np.add.at(counts, (answers, labels), 1)
    if not len(answers_now) or not counts.sum(axis=0).all():
        raise ValueError("expected answers of today, and every class in the reference's labels")
    confusion = counts / counts.sum(axis=0)
    if np.linalg.cond(confusion) > 1e6:
        raise ValueError(
            "expected answers that tell all classes apart, got a matrix without inverse"
        )
    shares = np.bincount(answers_now, minlength=classes) / len(answers_now)
    solved = np.linalg.solve(confusion, shares).clip(0)
    return solved / solved.sum()


# %%
check("21.3", class_shares)

# %% [markdown] tags=["solution"]
# The columns of $M$ are divided by the number of examples of the *true* class, so the reference's own shares drop out. A
# second way keeps them: $C_{ij}$, the share of the pair (answer $i$, class $j$), solves $a = C\,v$ for the ratio $v_j$ of
# new share to old, and $w_j = v_j \cdot P_{\text{old}}(j)$. With few examples of a class its column is noisy, and the
# inverse makes the noise larger. Repeat the estimate on resampled references to see by how much.

# %% [markdown]
# ## 21.4 A guard at the door ★★☆ · 15 minutes
#
# The weather service has changed its units. 50 °F now arrives as 10. That is a possible temperature, so no range check
# notices it. Nobody noticed it for a month. Write a guard that checks columns, types, missing values, ranges and the
# median.


# %%
def column_problems(batch, schema):
    """Says what is wrong with a batch: a word for each column that has a problem.

    batch: dict of name -> 1-D NumPy array, all of the same length, which may be 0.
    schema: dict of name -> {"low": …, "high": …, "missing": …, "median": (from, to)}: the range of
    a value, the largest share of nan allowed, and the range of the median.
    Returns a dict of name -> the first of these words that applies; columns without a problem have
    no entry:
      "absent"   the schema has the column, the batch does not;
      "unknown"  the batch has the column, the schema does not;
      "type"     the array's dtype is neither an int, signed or unsigned, nor a float;
      "missing"  a larger share of its values is nan than allowed;
      "range"    a value that is not nan is below low or above high (the bounds are allowed);
      "unit"     the median of the values that are not nan is outside its range (bounds allowed).
    A column without values, or with nothing but nan, has no range and no median to check.
    """
    # SOLUTION
    problems = {name: "absent" for name in schema if name not in batch}
    for name, values in batch.items():
        if word := first_problem(values, schema.get(name)):
            problems[name] = word
    return problems


def first_problem(values, rule):
    if rule is None:
        return "unknown"
    if values.dtype.kind not in "iuf":
        return "type"
    present = values[~np.isnan(values)]
    if len(values) - len(present) > rule["missing"] * len(values):
        return "missing"
    if not len(present):
        return ""
    if present.min() < rule["low"] or present.max() > rule["high"]:
        return "range"
    lowest, highest = rule["median"]
    return "" if lowest <= np.median(present) <= highest else "unit"


# %%
check("21.4", column_problems)

# %% [markdown] tags=["solution"]
# The order matters: a median of texts raises an error, and a range check on nan is silent, since every comparison with
# nan is false. The median moves far only if half of the values move, so a wrong unit is visible and one odd value is not.
# Take the range of the median from the reference: its lowest and highest median over many days, with some room. pandera
# and TensorFlow Data Validation do the first five; the sixth is a custom check in both.
