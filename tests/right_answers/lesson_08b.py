"""Right answers to lesson 08b's exercises that differ from the solutions."""

import bisect
import math
import unicodedata
import zlib
from collections import Counter
from fractions import Fraction

import numpy as np


def in_loops(probabilities, costs):
    if np.ndim(probabilities) != 2 or np.ndim(costs) != 2 or len(costs) != probabilities.shape[1]:
        raise ValueError("shapes")
    if costs.shape[1] < 1:
        raise ValueError("no action")
    if not all(map(math.isfinite, costs.ravel().tolist())):
        raise ValueError("costs")
    actions, expected = [], []
    for row in probabilities.tolist():
        if not all(0 <= p < math.inf for p in row) or not abs(math.fsum(row) - 1) <= 0.001:
            raise ValueError("probabilities")
        each = [math.fsum(p * c for p, c in zip(row, column)) for column in costs.T.tolist()]
        expected.append(min(each))
        actions.append(each.index(expected[-1]))
    return np.array(actions, dtype=np.int64), np.array(expected, dtype=np.float64)


def with_einsum(probabilities, costs):
    p, c = np.array(probabilities, dtype="f8"), np.array(costs, dtype="f8")
    try:
        table = np.einsum("nc,ck->nk", p, c)
    except ValueError as error:
        raise ValueError("the shapes do not fit") from error
    if p.shape[1] != c.shape[0] or c.shape[1] == 0:
        raise ValueError("the shapes do not fit")
    if not np.isfinite(p).all() or not np.isfinite(c).all() or p.min(initial=0) < 0:
        raise ValueError("numbers")
    if not np.allclose(p.sum(axis=1), 1, rtol=0, atol=0.001):
        raise ValueError("rows")
    return np.argmin(table, axis=1).astype("i8"), np.min(table, axis=1)


def action_by_action(probabilities, costs):
    if probabilities.ndim != 2 or costs.ndim != 2 or probabilities.shape[1:] != costs.shape[:1] or not costs.shape[1]:
        raise ValueError("shapes")
    sums = probabilities.astype(np.float64).sum(axis=1)
    if not (np.isfinite(costs).all() and (probabilities >= 0).all() and ((sums >= 0.999) & (sums <= 1.001)).all()):
        raise ValueError("numbers")
    best, least = np.zeros(len(sums), np.int64), np.full(len(sums), np.inf)
    for k in range(costs.shape[1]):
        now = (probabilities.astype(np.float64) * costs[:, k].astype(np.float64)).sum(axis=1)
        better = now < least
        best[better], least[better] = k, now[better]
    return best, least


def with_partition(errors, coverage=0.9):
    if math.isnan(coverage) or coverage <= 0 or coverage >= 1:
        raise ValueError("coverage")
    if np.ndim(errors) != 1 or np.isnan(errors).any() or np.isinf(errors).any():
        raise ValueError("errors")
    exact = (errors.size + 1) * coverage
    k = round(exact) if abs(exact - round(exact)) < 1e-9 else int(exact) + 1
    return math.inf if k > errors.size else np.partition(np.abs(errors), k - 1)[k - 1].item()


def with_fractions(errors, coverage=0.9):
    if not (coverage > 0 and coverage < 1):
        raise ValueError("coverage")
    if len(errors.shape) != 1 or not all(math.isfinite(e) for e in errors):
        raise ValueError("errors")
    k = math.ceil((len(errors) + 1) * Fraction(str(coverage)))
    smallest = sorted(abs(float(e)) for e in errors)
    return [*smallest, math.inf][min(k, len(smallest) + 1) - 1]


def with_bisect(errors, coverage=0.9):
    if not 0.0 < float(coverage) < 1.0 or errors.ndim - 1 or not np.all(np.isfinite(errors)):
        raise ValueError("coverage or errors")
    kept = []
    for error in errors:
        bisect.insort(kept, float(np.abs(error)))
    for k, size in enumerate(kept, start=1):
        if k + 1e-9 >= (len(kept) + 1) * coverage:
            return size
    return float("inf")


def _normal(text):
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold()).join("  ")


def _all_right(texts, buckets):
    if isinstance(texts, str):
        raise TypeError("a list of texts")
    if not buckets >= 1:
        raise ValueError("one bucket or more")


def with_a_counter(texts, sizes=(1, 2, 3), buckets=1024):
    _all_right(texts, buckets)
    counts = np.zeros((len(texts), buckets), dtype="float32")
    for i, text in enumerate(map(_normal, texts)):
        found = Counter(text[k : k + n] for n in sizes for k in range(len(text)) if k + n <= len(text))
        for gram, times in found.items():
            counts[i, zlib.crc32(bytes(gram, "utf-8")) % buckets] += times
    return counts


def with_bincount(texts, sizes=(1, 2, 3), buckets=1024):
    _all_right(texts, buckets)
    rows = []
    for text in texts:
        text = _normal(text)
        grams = ["".join(g) for n in sizes for g in zip(*(text[i:] for i in range(n)))]
        places = np.array([zlib.crc32(g.encode()) % buckets for g in grams], dtype=np.int64)
        rows.append(np.bincount(places, minlength=buckets))
    return np.array(rows, dtype=np.float32).reshape(len(texts), buckets)


def with_add_at(texts, sizes=(1, 2, 3), buckets=1024):
    _all_right(texts, buckets)
    result = np.zeros((len(texts), buckets))
    for row, text in enumerate(texts):
        points = list(_normal(text))
        for n in sizes:
            while_left = range(0, max(len(points) - n + 1, 0))
            places = [
                (zlib.crc32("".join(points[i : i + n]).encode("utf8")) & 0xFFFFFFFF) % buckets for i in while_left
            ]
            np.add.at(result[row], np.array(places, int), 1)
    return result.astype(np.float32)


RIGHT = {
    "08b.1": [in_loops, with_einsum, action_by_action],
    "08b.2": [with_partition, with_fractions, with_bisect],
    "08b.3": [with_a_counter, with_bincount, with_add_at],
}
