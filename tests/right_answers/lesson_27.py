"""Other right answers to the exercises of lesson 27, which its checks must accept."""

import copy
import hashlib
import json
import math
from fractions import Fraction

import numpy as np

# 27.1


def _checked(peak, pod, share):
    if peak < 0 or pod <= 0 or share <= 0 or share > 1:
        raise ValueError("outside the ranges")


def by_counting(peak_per_s, pod_per_s, utilisation):
    _checked(peak_per_s, pod_per_s, utilisation)
    pods = 2
    while (pods - 1 + 1e-9) * pod_per_s * utilisation < peak_per_s:
        pods += 1
    return pods


def with_fractions(peak_per_s, pod_per_s, utilisation):
    _checked(peak_per_s, pod_per_s, utilisation)
    return max(1, math.ceil(Fraction(str(peak_per_s)) / (Fraction(str(pod_per_s)) * Fraction(str(utilisation))))) + 1


def as_numpy(peak_per_s, pod_per_s, utilisation):
    _checked(peak_per_s, pod_per_s, utilisation)
    return np.maximum(np.ceil(peak_per_s / (pod_per_s * utilisation) - 1e-9) + 1, 2)


def with_the_spare_pod_inside(peak_per_s, pod_per_s, utilisation):
    _checked(peak_per_s, pod_per_s, utilisation)
    return max(2.0, float(math.ceil(peak_per_s / pod_per_s / utilisation + 1 - 1e-9)))


# 27.2


def in_plain_loops(scores, labels, miss, false_alarm):
    best = None
    for at in [*scores, math.inf]:
        cost = 0
        for score, label in zip(scores, labels):
            if label == 1 and score < at:
                cost += miss
            if label == 0 and score >= at:
                cost += false_alarm
        if best is None or cost < best[1] or (cost == best[1] and at > best[0]):
            best = (at, cost)
    return best


def as_a_table(scores, labels, miss, false_alarm):
    tried = np.append(np.unique(scores), np.inf)[::-1]
    warned = np.asarray(scores)[None, :] >= tried[:, None]
    cost = miss * (~warned & (labels == 1)).sum(axis=1) + false_alarm * (warned & (labels == 0)).sum(axis=1)
    return [tried[cost.argmin()], cost.min()]


def running_sums(scores, labels, miss, false_alarm):
    order = np.argsort(-scores, kind="stable")
    ordered, cases = scores[order], labels[order] == 1
    last = np.append(ordered[1:] != ordered[:-1], True)
    cost = miss * (cases.sum() - cases.cumsum()) + false_alarm * (~cases).cumsum()
    cost, tried = np.r_[miss * cases.sum(), cost[last]], np.r_[np.inf, ordered[last]]
    return tried[cost.argmin()], cost.min()


# 27.3


def step_by_step(record, files):
    rest = copy.deepcopy(record)
    stated = rest.pop("record_sha256", "")
    if hashlib.sha256(json.dumps(rest, sort_keys=True, ensure_ascii=False).encode("utf-8")).hexdigest() != stated:
        return False
    if not {"sha256", "points", "criteria"} <= set(rest):
        return False
    whole = hashlib.sha256()
    for name, raw in sorted(files.items()):
        whole.update((hashlib.sha256(raw).hexdigest() + "  " + name + "\n").encode())
    won = [each["points"] for each in rest["criteria"] if each["passed"]]
    return whole.hexdigest() == rest["sha256"] and sum(won) == rest["points"]


def errors_mean_no(record, files):
    try:
        text = json.dumps({k: record[k] for k in record if k != "record_sha256"}, sort_keys=True, ensure_ascii=False)
        lines = "".join(f"{hashlib.sha256(files[each]).hexdigest()}  {each}\n" for each in sorted(files))
        return bool(
            record["record_sha256"] == hashlib.sha256(text.encode()).hexdigest()
            and record["sha256"] == hashlib.sha256(lines.encode()).hexdigest()
            and record["points"] == sum(each["points"] * (each["passed"] is True) for each in record["criteria"])
        )
    except KeyError:
        return np.False_


RIGHT = {
    "27.1": [by_counting, with_fractions, as_numpy, with_the_spare_pod_inside],
    "27.2": [in_plain_loops, as_a_table, running_sums],
    "27.3": [step_by_step, errors_mean_no],
}
