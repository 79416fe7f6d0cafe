# %% [markdown]
# # 21b Feedback: exercises
#
# Four functions between a user's correction and a new version: an accuracy without bias, a labelling budget, a gate,
# and a check of backups. None needs an engine or a cluster. Fill in what is missing, run the cell, then run its check.

# %%
import contextlib
import sqlite3
from pathlib import Path

import numpy as np

from course_lib.idioms import begin, check
from course_lib.measure import disagreements

scratch = begin("21b")

# %% [markdown]
# ## 21b.1 What are these labels worth? ★☆☆ · 10 minutes
#
# "We have 2,000 labels, so the accuracy is good to a percent." Most belong to answers that the service always asks
# about. A few belong to answers that it asks about once in a hundred times. Compute the accuracy, and how many labels
# of a plain random sample would be worth about as much. This is the *effective sample size* $(\sum_i w_i)^2 / \sum_i
# w_i^2$ of the weights $w_i$.


# %%
def weighted_accuracy(right, propensity):
    """The accuracy of all answers, estimated from those that got a label.

    right: bool array or list (n,), whether each labelled answer was right. propensity: float array
    or list (n,), the probability with which each of them was chosen for a label, above 0 and at
    most 1.
    Returns (accuracy, effective sample size), two floats: each label is weighted by one over its
    propensity, and the weights are divided by their sum. Raises ValueError for no label, for two
    lengths that differ, and for a propensity that is not above 0 and at most 1 (NaN included).
    """
    # SOLUTION
    right, propensity = np.asarray(right, float), np.asarray(propensity, float)
    if right.shape != propensity.shape or right.size == 0:
        raise ValueError(
            f"expected a propensity for each label, got {right.shape} and {propensity.shape}"
        )
    if not ((propensity > 0) & (propensity <= 1)).all():
        raise ValueError(
            "expected propensities above 0 and at most 1: what cannot be chosen has no weight"
        )
    weights = 1 / propensity
    effective = weights.sum() ** 2 / (weights**2).sum()
    return float((weights * right).sum() / weights.sum()), float(effective)


# %%
check("21b.1", weighted_accuracy)

# %% [markdown] tags=["solution"]
# `not (… > 0).all()` also catches NaN, because each comparison with NaN is false; `(propensity <= 0).any()` would let
# it pass. The effective sample size is *n* if all weights are equal. It falls as the weights spread, because a few
# heavy labels then decide. `np.average(right, weights=1 / propensity)` is the estimate in one call.

# %% tags=["solution"]
print(weighted_accuracy([True] * 1900 + [False] * 100, [1.0] * 1900 + [0.01] * 100))

# %% [markdown]
# ## 21b.2 Spend the budget ★★★ · 20 minutes
#
# Finance pays for 100 labels a week. The data scientists want the unsure answers, and the monitoring team wants a number
# that it can believe. Give both what they need. A fixed part of the budget goes to the smallest margins. The rest is drawn
# at random from all requests that are left, each with the same chance. Return the
# propensity of each label as well.


# %%
def choose_labels(margins, budget, explore, random):
    """Which requests people label this week, and the probability with which each was chosen.

    margins: float array (N,), how far the best class is ahead; small is unsure. budget: how many
    labels, 1 or more. explore: the share of the budget that is drawn at random, above 0 and at most
    1; that makes round(explore * budget) labels, but one at least. random: a NumPy Generator.
    The labels that are not drawn go to the smallest margins, for certain. The drawn ones come from
    all the other requests, none twice, each request with the same probability.
    Returns (rows, propensity): int array of the chosen requests, none twice, in any order; float
    array of their probabilities, in the same order. If the budget covers every request, all of them
    with probability 1. Raises ValueError for an `explore` outside its range and a budget below 1.
    """
    # SOLUTION
    if not 0 < explore <= 1 or budget < 1:
        raise ValueError(
            f"expected explore above 0, to 1, and a budget, got {explore} and {budget}"
        )
    margins = np.asarray(margins)
    if budget >= len(margins):
        return np.arange(len(margins)), np.ones(len(margins))
    drawn = max(round(explore * budget), 1)
    certain, rest = np.split(np.argsort(margins, kind="stable"), [budget - drawn])
    by_chance = random.choice(rest, drawn, replace=False)
    propensity = np.repeat([1.0, drawn / len(rest)], [budget - drawn, drawn])
    return np.concatenate([certain, by_chance]), propensity


# %%
check("21b.2", choose_labels)

# %% [markdown] tags=["solution"]
# The unsure requests are labelled for certain, so their propensity is 1. Each of the others is drawn with the number of
# draws divided by the number of requests *that are left*, not by N. No request has a propensity of 0, so 21b.1 can
# estimate the accuracy from these labels. A second way draws each request independently, with a probability that rises
# with its uncertainty. Then the weights rise gradually, but the number of labels varies from week to week.

# %% [markdown]
# ## 21b.3 A gate that says no ★★☆ · 15 minutes
#
# The challenger "wins by two points on 3,000 labelled requests". Many of these labels are answers that nobody
# corrected. Many of the requests were in its training data. Write a gate that ignores both.


# %%
def gate(requests, labels, by_people, champion, challenger, trained_on, least=200, alpha=0.05):
    """Whether the challenger goes on to the canary: "promote", "keep" or "more labels".

    requests: N different request ids (texts). labels, champion, challenger: int arrays (N,): what
    is on record, and what each model answered. by_people: array (N,) of bool, or of 0 and 1: true
    where a person gave the label without seeing an answer. trained_on: the ids of the requests that
    one of the models was trained on, a set or a list.
    A request counts only if a person labelled it and no model was trained on it. If fewer than
    `least` requests count: "more labels". Otherwise "promote" if the challenger alone is right more
    often than the champion alone, and the p-value of the exact two-sided paired test is below
    `alpha`; "keep" in every other case. Raises ValueError where the five lengths differ.
    """
    # SOLUTION
    columns = [np.asarray(each) for each in (requests, labels, by_people, champion, challenger)]
    if len({len(each) for each in columns}) != 1:
        raise ValueError(
            f"expected five columns of one length, got {[len(each) for each in columns]}"
        )
    requests, labels, by_people, champion, challenger = columns
    known = set(trained_on)
    counts = by_people.astype(bool) & np.array(
        [each not in known for each in requests], dtype=bool
    )
    if counts.sum() < least:
        return "more labels"
    pair = disagreements(labels[counts], champion[counts], challenger[counts])
    return "promote" if pair.second_only > pair.first_only and pair.p < alpha else "keep"


# %%
check("21b.3", gate)

# %% [markdown] tags=["solution"]
# Two filters and one test. The test is two-sided, so a small p-value alone can also mean that the *champion* is better:
# check the direction separately. "More labels" and "keep" are different answers. The first says that nobody knows yet.
# `scipy.stats.binomtest(b, b + c).pvalue`, with b and c the two counts, gives the same p-value.

# %% [markdown]
# ## 21b.4 Is this really a backup? ★★☆ · 20 minutes
#
# The backup job has reported success for a year. Tonight you need the backup, and it is empty: somebody copied the
# database without its log. Write a function that checks a restored backup every morning. It must not repair, create or
# change anything.


# %%
def backup_problems(registry, feedback, acknowledged):
    """What is wrong with two restored SQLite files, which it leaves as they are.

    registry: path (Path or text) of a file with the tables versions (version, …) and moves (id,
    alias, version, …); an alias points to the version of its move with the largest id. feedback:
    path of a file with the table feedback (id, key, …). acknowledged: the keys that must be in it,
    a set or list.
    Returns {"unusable": …, "lost": …, "dangling": …}, three sorted lists. "unusable" holds
    "feedback" or "registry" for a file that does not exist, that is no SQLite database, whose
    `PRAGMA integrity_check` is not "ok", or that lacks one of its tables. "lost": the acknowledged
    keys that are not in feedback, all of them if it is unusable. "dangling": the aliases that point
    to a version that is not registered, none if the registry is unusable.
    A file that does not exist still does not exist afterwards, and no new file, such as
    feedback.db-wal or -shm, lies beside one that does.
    """
    # SOLUTION
    wanted = {"feedback": {"feedback"}, "registry": {"versions", "moves"}}
    files = {"feedback": Path(feedback), "registry": Path(registry)}
    found = {"unusable": [], "lost": sorted(set(acknowledged)), "dangling": []}
    for name, file in files.items():
        try:
            # mode=ro creates no missing file; immutable=1 leaves no -wal and no -shm beside it
            address = f"{file.resolve().as_uri()}?mode=ro&immutable=1"
            with contextlib.closing(sqlite3.connect(address, uri=True)) as opened:
                whole = opened.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
                tables = {each for (each,) in opened.execute("SELECT name FROM sqlite_master")}
                if not whole or not wanted[name] <= tables:
                    raise sqlite3.DatabaseError("damaged, or a table is missing")
                if name == "feedback":
                    there = {key for (key,) in opened.execute("SELECT key FROM feedback")}
                    found["lost"] = sorted(set(acknowledged) - there)
                else:
                    versions = {each for (each,) in opened.execute("SELECT version FROM versions")}
                    # a later move of an alias replaces the earlier one in the dictionary
                    points = dict(opened.execute("SELECT alias, version FROM moves ORDER BY id"))
                    found["dangling"] = sorted(
                        a for a, version in points.items() if version not in versions
                    )
        except sqlite3.Error:
            found["unusable"].append(name)
    return found


# %%
check("21b.4", backup_problems)

# %% [markdown] tags=["solution"]
# The trap is `sqlite3.connect` itself: for a missing file it creates an empty database, and the next check finds a
# file. `mode=ro` in an address (`uri=True`) raises an error instead. For a database with a log, it leaves `-wal` and
# `-shm` files behind. `immutable=1` does not, but use it only if nobody writes. A file copied without its log can be a
# valid database without tables, and `integrity_check` says "ok". A second check: there are no fewer rows than
# yesterday.
