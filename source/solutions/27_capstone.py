# %% [markdown]
# # 27 Capstone: exercises
#
# Three small parts of a project: its capacity, its threshold, and its record. Fill in what is missing, run the cell, then
# its check.

# %%
import hashlib
import json
import math

import numpy as np

from course_lib.idioms import begin, check

scratch = begin("27")

# %% [markdown]
# ## 27.1 From an objective to pods ★☆☆ · 10 minutes
#
# "How many pods do we need?" A colleague must order the machines today. The service has to survive the loss of one pod
# at the peak.


# %%
def pods_needed(peak_per_s, pod_per_s, utilisation):
    """How many pods to run.

    peak_per_s: requests a second at the peak, 0 or more. pod_per_s: what one pod was measured to
    answer in a second, above 0. utilisation: the share of that which is planned for, above 0 and at
    most 1.

    Returns the smallest number of pods, at least 2, for which the peak still fits after one pod is
    lost: each of the others then gets at most pod_per_s · utilisation. A result within 1e-9 of a
    whole number counts as that number. Raises ValueError for arguments outside these ranges.
    """
    # SOLUTION
    if not (peak_per_s >= 0 and pod_per_s > 0 and 0 < utilisation <= 1):
        raise ValueError("expected a peak from 0, a rate above 0 and a share above 0, at most 1")
    return max(2, math.ceil(peak_per_s / (pod_per_s * utilisation) - 1e-9) + 1)


# %%
check("27.1", pods_needed)

# %% [markdown] tags=["solution"]
# A part of a pod cannot be ordered, so we round up. Then we add the pod that may be lost. Two is the least, because no
# pod is left of one when it is lost.

# %% [markdown]
# ## 27.2 From costs to a threshold ★★☆ · 15 minutes
#
# A service warns when its score reaches a threshold. A missed case costs `miss`, a false alarm costs `false_alarm`. Your
# scope names both numbers. Find the threshold with the least cost on held-out rows.


# %%
def best_threshold(scores, labels, miss, false_alarm):
    """The threshold with the least cost, and that cost.

    scores: (N,), from 0 to 1, N at least 1. labels: (N,), 1 for a case and 0 otherwise. miss,
    false_alarm: 0 or more. A row raises a warning where score >= threshold. A case without a
    warning costs `miss`; a warning that is no case costs `false_alarm`.

    The thresholds to try are the scores themselves, and math.inf for "never warn". If several have
    the least cost, take the largest. Returns (threshold, cost) as two floats.
    """
    # SOLUTION
    scores, labels = np.asarray(scores, float), np.asarray(labels)
    best = (math.inf, float(miss * (labels == 1).sum()))
    for threshold in np.unique(scores)[::-1]:
        warned = scores >= threshold
        missed, alarms = ~warned & (labels == 1), warned & (labels == 0)
        cost = float(miss * missed.sum() + false_alarm * alarms.sum())
        if cost < best[1]:
            best = (float(threshold), cost)
    return best


# %%
check("27.2", best_threshold)

# %% [markdown] tags=["solution"]
# We go from the largest threshold down and keep a new one only if it is cheaper. So the larger of two equally cheap ones
# stays. If the scores are calibrated probabilities, the answer lies near false_alarm / (false_alarm + miss). Above that
# score the expected cost of a miss is larger than that of a false alarm.

# %% [markdown]
# ## 27.3 Does this record belong to these files? ★★☆ · 20 minutes
#
# A peer sends you a project and its record. Check the record without the course's own function.


# %%
def fits(record, files):
    """Whether the record is whole and belongs to these files.

    record: a dictionary with "sha256", "points", "criteria" (dictionaries with "points" and
    "passed"), "record_sha256" and other entries. files: {"name/with/slashes": bytes}.

    Three things must hold:

    - "record_sha256" is the SHA-256 of the record without that entry, written by
      json.dumps(…, sort_keys=True, ensure_ascii=False), in UTF-8;
    - "sha256" is the SHA-256 of one line for each file, in the order of the names:
      the file's own SHA-256 in hexadecimal, two spaces, the name, "\\n", in UTF-8;
    - "points" is the sum of the points of the criteria whose "passed" is True.

    Returns a bool. Does not change the record. A record without one of these entries does not fit.
    """
    # SOLUTION
    rest = {key: value for key, value in record.items() if key != "record_sha256"}
    own = hashlib.sha256(json.dumps(rest, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
    lines = [f"{hashlib.sha256(files[name]).hexdigest()}  {name}\n" for name in sorted(files)]
    digest = hashlib.sha256("".join(lines).encode()).hexdigest()
    points = sum(each["points"] for each in record.get("criteria", []) if each["passed"] is True)
    stated = (record.get("record_sha256"), record.get("sha256"), record.get("points"))
    return stated == (own, digest, points)


# %%
check("27.3", fits)

# %% [markdown] tags=["solution"]
# A criterion that could not be examined has None for "passed". It is neither won nor lost, so only True counts. All three
# checks together still accept a carefully forged record, as the lesson shows, because no key is involved.
