"""Answers to the exercises of lesson 27 that people write, each with the property at which its check must catch it."""

import hashlib
import json
import math

import numpy as np

# 27.1


def no_spare(peak_per_s, pod_per_s, utilisation):
    return max(2, math.ceil(peak_per_s / (pod_per_s * utilisation)))


def spare_before_rounding(peak_per_s, pod_per_s, utilisation):
    return max(2, round(peak_per_s / (pod_per_s * utilisation) + 1))


def one_is_enough(peak_per_s, pod_per_s, utilisation):
    return math.ceil(peak_per_s / (pod_per_s * utilisation) - 1e-9) + 1


def floats_as_they_fall(peak_per_s, pod_per_s, utilisation):
    return max(2, math.ceil(peak_per_s / (pod_per_s * utilisation)) + 1)


def takes_anything(peak_per_s, pod_per_s, utilisation):
    return max(2, math.ceil(peak_per_s / (pod_per_s * utilisation or 1) - 1e-9) + 1)


# 27.2


def _costs(scores, labels, miss, false_alarm, tried, strict=False, first=False):
    scores, labels = np.asarray(scores), np.asarray(labels)
    found = []
    for at in tried:
        warned = scores > at if strict else scores >= at
        cost = miss * (~warned & (labels == 1)).sum() + false_alarm * (warned & (labels == 0)).sum()
        found.append((float(cost), float(at) if first else -float(at)))
    cost, at = min(found)
    return (at if first else -at), cost


def smallest_of_ties(scores, labels, miss, false_alarm):
    return _costs(scores, labels, miss, false_alarm, [*scores, math.inf], first=True)


def stops_at_the_first_that_is_no_better(scores, labels, miss, false_alarm):
    best = (math.inf, miss * (labels == 1).sum())
    for at in np.unique(scores)[::-1]:
        cost = miss * ((scores < at) & (labels == 1)).sum() + false_alarm * ((scores >= at) & (labels == 0)).sum()
        if cost >= best[1]:
            break
        best = (at, cost)
    return best


def equal_scores_one_by_one(scores, labels, miss, false_alarm):
    best, cost = (math.inf, miss * (labels == 1).sum()), miss * (labels == 1).sum()
    for at in np.argsort(-scores, kind="stable"):
        cost += false_alarm if labels[at] == 0 else -miss
        if cost < best[1]:
            best = (scores[at], cost)
    return best


def costs_are_equal(scores, labels, miss, false_alarm):
    return _costs(scores, labels, 1, 1, [*scores, math.inf])


def always_warns_somebody(scores, labels, miss, false_alarm):
    return _costs(scores, labels, miss, false_alarm, scores)


def above_it_alone(scores, labels, miss, false_alarm):
    return _costs(scores, labels, miss, false_alarm, [*scores, math.inf], strict=True)


def never_the_smallest(scores, labels, miss, false_alarm):
    return _costs(scores, labels, miss, false_alarm, [*(each for each in scores if each > min(scores)), math.inf])


# 27.3


def _fits(record, files, **how):
    rest = {key: value for key, value in record.items() if key != "record_sha256"}
    own = hashlib.sha256(json.dumps(rest, sort_keys=True, ensure_ascii=how.get("ascii", False)).encode()).hexdigest()
    names = list(files) if how.get("unsorted") else sorted(files)
    lines = [
        hashlib.sha256(files[name]).hexdigest() + ("\n" if how.get("nameless") else f"  {name}\n") for name in names
    ]
    digest = hashlib.sha256("".join(lines).encode()).hexdigest()
    points = sum(each["points"] for each in record.get("criteria", []) if how.get("counts", bool)(each["passed"]))
    checks = {
        "own": record.get("record_sha256") == own,
        "digest": record.get("sha256") == digest,
        "points": record.get("points") == points,
    }
    return all(holds for name, holds in checks.items() if name not in how.get("without", ()))


def escapes(record, files):
    return _fits(record, files, ascii=True)


def in_any_order(record, files):
    return _fits(record, files, unsorted=True)


def large_and_small_letters_alike(record, files):
    return _fits(record, {each: files[each] for each in sorted(files, key=str.lower)}, unsorted=True)


def nameless(record, files):
    return _fits(record, files, nameless=True)


def trusts_the_seal(record, files):
    return _fits(record, files, without=("digest",))


def trusts_the_points(record, files):
    return _fits(record, files, without=("points",))


def never_sealed(record, files):
    return _fits(record, files, without=("own",))


def unexamined_counts(record, files):
    return _fits(record, files, counts=lambda passed: passed is not False)


def takes_the_seal_away(record, files):
    stated = record.pop("record_sha256", None)
    return stated is not None and _fits(record | {"record_sha256": stated}, files)


def falls_over(record, files):
    record["points"], record["sha256"], record["criteria"], record["record_sha256"]
    return _fits(record, files)


WRONG = {
    "27.1": {
        no_spare: "900 a second with pods of 200 at half use take 10 pods",
        spare_before_rounding: "a part of a pod counts as a whole one",
        one_is_enough: "without traffic two pods run",
        floats_as_they_fall: "rounding of floats adds no pod",
        takes_anything: "arguments outside their ranges are refused",
    },
    "27.2": {
        smallest_of_ties: "of four scores with equal costs 0.8 is best, at a cost of 1",
        above_it_alone: "of four scores with equal costs 0.8 is best, at a cost of 1",
        stops_at_the_first_that_is_no_better: "a dear miss lowers the threshold",
        equal_scores_one_by_one: "39 random sets, with equal scores and costs of 0",
        costs_are_equal: "a dear miss lowers the threshold",
        always_warns_somebody: "where every warning is dearer than a miss, nobody is warned",
        never_the_smallest: "where every row is a case, everybody is warned",
    },
    "27.3": {
        escapes: "a whole record fits its files",
        in_any_order: "a whole record fits its files",
        large_and_small_letters_alike: "a whole record fits its files",
        nameless: "a whole record fits its files",
        unexamined_counts: "a whole record fits its files",
        trusts_the_seal: "changed, missing or further files do not fit",
        never_sealed: "a record that was changed afterwards does not fit",
        trusts_the_points: "points that are not the sum do not fit, although the record was sealed anew",
        falls_over: "a record without one of its entries does not fit",
        takes_the_seal_away: "the record is as it was before",
    },
}
