"""Whether two models answer alike, and which of two classifiers is right more often on the same examples."""

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Parity:
    """How close two models' outputs are on the same inputs. max_abs_diff: largest |answer − reference|, in the outputs'
    unit; max_rel_diff: largest |answer − reference| / |reference|, over the entries where the reference is not 0;
    agreement: share of the examples, 0 to 1, whose largest output stands in the same place."""

    examples: int
    max_abs_diff: float
    max_rel_diff: float
    agreement: float


def parity(reference: np.ndarray, answer: np.ndarray) -> Parity:
    """Compares a converted model's outputs with those of the model that it was made from.

    reference, answer: float (N, C), N from 1. NaN beside NaN, and an infinity beside the same infinity, count as equal;
    beside anything else, as infinitely far apart. Raises ValueError for shapes that differ, other ranks, and no example.
    """
    reference, answer = np.asarray(reference), np.asarray(answer)
    if reference.shape != answer.shape or reference.ndim != 2 or len(reference) == 0:
        raise ValueError(f"expected outputs of one shape (N, C), N from 1, got {reference.shape} and {answer.shape}")
    expected, got = reference.astype(np.float64), answer.astype(np.float64)
    same = (expected == got) | (np.isnan(expected) & np.isnan(got))
    finite = np.isfinite(expected) & np.isfinite(got)
    apart = np.where(same, 0.0, np.inf)
    np.subtract(got, expected, out=apart, where=finite & ~same)
    apart = np.abs(apart)
    compared = (expected != 0) & np.isfinite(expected)
    relative = np.divide(apart, np.abs(expected), out=np.where(same, 0.0, apart), where=compared)
    return Parity(
        examples=len(expected),
        max_abs_diff=float(apart.max()),
        max_rel_diff=float(relative[expected != 0].max(initial=0.0)),
        agreement=float((expected.argmax(axis=1) == got.argmax(axis=1)).mean()),
    )


@dataclass(frozen=True)
class Disagreements:
    """Two classifiers on the same examples. first_only, second_only: how many one alone got right. p: how likely so
    lopsided a split, or a more lopsided one, is where both are equally good (McNemar's exact test, two-sided)."""

    first_only: int
    second_only: int
    p: float

    def __str__(self) -> str:
        return f"{self.first_only} against {self.second_only}, p = {self.p:.2g}"


def disagreements(labels: np.ndarray, first: np.ndarray, second: np.ndarray) -> Disagreements:
    """Compares two classifiers' answers to the same examples: only those that one alone got right say anything.

    labels, first, second: int (N,). Raises ValueError for shapes that differ. Source: Q. McNemar, Note on the sampling
    error of the difference between correlated proportions or percentages, Psychometrika 12, 1947.
    """
    labels, first, second = np.asarray(labels), np.asarray(first), np.asarray(second)
    if not labels.shape == first.shape == second.shape or labels.ndim != 1:
        raise ValueError(f"expected three arrays (N,), got {labels.shape}, {first.shape} and {second.shape}")
    a = int(((first == labels) & (second != labels)).sum())
    b = int(((second == labels) & (first != labels)).sum())
    below = sum(math.comb(a + b, k) for k in range(min(a, b) + 1))
    return Disagreements(a, b, min(1.0, float(2 * below / 2 ** (a + b))) if a != b else 1.0)
