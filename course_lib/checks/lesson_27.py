"""Checks of lesson 27."""

import copy
import hashlib
import json
import math
import random as randomness
from collections.abc import Callable, Iterator
from fractions import Fraction

import numpy as np

from course_lib.checks import Register, raises
from course_lib.idioms.exercises import Property

EXERCISES = Register()


@EXERCISES.add("27.1", "From an objective to pods")
def pods(answer: Callable) -> Iterator[Property]:
    """answer(peak_per_s, pod_per_s, utilisation) -> int."""

    def smallest(peak: int, pod: int, share: str) -> bool:
        count = 2
        while (count - 1) * pod * Fraction(share) < peak:
            count += 1
        got = answer(peak, pod, float(share))
        return got == count and float(got).is_integer()

    yield ("900 a second with pods of 200 at half use take 10 pods", lambda: smallest(900, 200, "0.5"), [
        "How much may each pod get?",
        "Nine pods carry the peak. Then one is lost.",
        "math.ceil(peak_per_s / (pod_per_s * utilisation)) + 1",
    ])  # fmt: skip
    yield ("a part of a pod counts as a whole one", lambda: (
        smallest(910, 200, "0.5") and smallest(101, 100, "1") and smallest(1, 100, "1")
    ), [
        "What happens to the rest of a division?",
        "Nine pods and a tenth of one are ten pods, and one to lose.",
        "math.ceil(…) + 1, not math.floor(…) + 1 and not round(…)",
    ])  # fmt: skip
    yield ("without traffic two pods run", lambda: answer(0, 200, 0.5) == 2, [
        "How many pods are there after one is lost?",
        "The docstring says how many there are at least.",
        "max(2, …)",
    ])  # fmt: skip
    yield ("rounding of floats adds no pod", lambda: smallest(63, 90, "0.7") and smallest(252, 90, "0.7"), [
        "What is 63 / (90 * 0.7) in Python?",
        "What is within 1e-9 of a whole number counts as that number.",
        "math.ceil(peak_per_s / (pod_per_s * utilisation) - 1e-9)",
    ])  # fmt: skip
    yield ("arguments outside their ranges are refused", lambda: all(
        raises(ValueError, answer, *bad) for bad in ((-1, 200, 0.5), (9, 0, 0.5), (9, 200, 0), (9, 200, 1.1), (9, -1, 0.5))
    ), [
        "Which peaks, rates and shares make no sense?",
        "A peak below 0, a rate of 0 or less, a share of 0 or less or above 1.",
        "if not (peak_per_s >= 0 and pod_per_s > 0 and 0 < utilisation <= 1): raise ValueError(…)",
    ])  # fmt: skip


@EXERCISES.add("27.2", "From costs to a threshold")
def threshold(answer: Callable) -> Iterator[Property]:
    """answer(scores, labels, miss, false_alarm) -> (threshold, cost)."""

    def best(scores: list, labels: list, miss: float, false: float) -> tuple[float, float]:
        found = []
        for at in [*set(scores), math.inf]:
            missed = sum(1 for s, y in zip(scores, labels) if y == 1 and s < at)
            alarms = sum(1 for s, y in zip(scores, labels) if y == 0 and s >= at)
            found.append((missed * miss + alarms * false, -at))
        cost, at = min(found)
        return -at, cost

    def right(scores: list, labels: list, miss: float = 1.0, false: float = 1.0) -> bool:
        at, cost = answer(np.array(scores, float), np.array(labels), miss, false)
        wanted = best([float(s) for s in scores], labels, miss, false)
        return (at == wanted[0] or math.isclose(at, wanted[0])) and math.isclose(cost, wanted[1], abs_tol=1e-9)

    mixed = ([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1])
    yield ("of four scores with equal costs 0.8 is best, at a cost of 1", lambda: right(*mixed), [
        "Compute the cost of each threshold that the docstring names.",
        "At 0.8 one case is missed. At 0.35 there is one false alarm. Which of the two does the docstring want?",
        "If several have the least cost, the docstring wants the largest.",
    ])  # fmt: skip
    yield ("a dear miss lowers the threshold", lambda: right(*mixed, 10.0, 1.0) and right(*mixed, 1.0, 10.0), [
        "Does your answer change with the costs?",
        "A case below the threshold costs miss, another row from it on costs false_alarm.",
        "cost = miss * ((scores < t) & (labels == 1)).sum() + false_alarm * ((scores >= t) & (labels == 0)).sum()",
    ])  # fmt: skip
    yield ("where every warning is dearer than a miss, nobody is warned", lambda: (
        right([0.9, 0.2], [0, 1], 1.0, 100.0) and right([0.5], [0]) and right([0.3, 0.6], [0, 0])
    ), [
        "Which threshold means that nobody is warned?",
        "math.inf is one of the thresholds to try.",
        "Start with (math.inf, miss * number of cases).",
    ])  # fmt: skip
    yield ("where every row is a case, everybody is warned", lambda: right([0.3, 0.6], [1, 1]) and right([0.0], [1]), [
        "Is the smallest score among the thresholds that you try?",
        "A row raises a warning where its score equals the threshold.",
        "scores >= threshold",
    ])  # fmt: skip

    def at_random() -> bool:
        dice = randomness.Random(27)
        rows = [
            ([dice.randint(0, 10) / 10 for _ in range(n)], [dice.randint(0, 1) for _ in range(n)]) for n in range(1, 40)
        ]
        return all(right(*each, dice.randint(0, 9), dice.randint(0, 9)) for each in rows)

    yield ("39 random sets, with equal scores and costs of 0", at_random, [
        "Print the first set for which another loop finds a lower cost, or a larger threshold.",
        "Rows with equal scores are warned together.",
        "for t in np.unique(scores)[::-1]: …; keep t where its cost is lower than the best so far",
    ])  # fmt: skip


@EXERCISES.add("27.3", "Does this record belong to these files?")
def record(answer: Callable) -> Iterator[Property]:
    """answer(record, files) -> bool."""
    files = {"b/two.txt": "zwei ü".encode(), "Z.md": b"last", "a.txt": b"one", "a/b.txt": b"", "a-b": b"\r\n"}
    lines = [
        {"name": "parity", "points": 7, "passed": True},
        {"name": "drift", "points": 6, "passed": False},
        {"name": "size", "points": 4, "passed": None},
        {"name": "card", "points": 2, "passed": True},
    ]

    def sealed(**other: object) -> dict:
        whole = "".join(f"{hashlib.sha256(files[name]).hexdigest()}  {name}\n" for name in sorted(files))
        told = {
            "sha256": hashlib.sha256(whole.encode()).hexdigest(),
            "points": 9,
            "criteria": lines,
            "project": "größe",
        }
        told = {key: value for key, value in (copy.deepcopy(told) | other).items() if value is not ...}
        text = json.dumps(told, sort_keys=True, ensure_ascii=False)
        return told | {"record_sha256": hashlib.sha256(text.encode()).hexdigest()}

    def says(wanted: bool, record: dict, files: dict = files) -> bool:
        return bool(answer(copy.deepcopy(record), dict(files))) == wanted

    yield ("a whole record fits its files", lambda: says(True, sealed()), [
        "Print the three values that you compute beside those in the record.",
        "Take \"record_sha256\" out before you compute it. Sort the names of the files.",
        "json.dumps({k: v for k, v in record.items() if k != 'record_sha256'}, sort_keys=True, ensure_ascii=False).encode()",
    ])  # fmt: skip
    yield ("changed, missing or further files do not fit", lambda: (
        says(False, sealed(), files | {"a.txt": b"two"}) and says(False, sealed(), files | {"c": b""})
        and says(False, sealed(), {"a.txt": b"one"}) and says(False, sealed(), {})
    ), [
        "Does your digest hold the contents of each file?",
        "One line for each file: its SHA-256, two spaces, its name.",
        "f\"{hashlib.sha256(files[name]).hexdigest()}  {name}\\n\" for name in sorted(files)",
    ])  # fmt: skip
    yield ("a renamed file does not fit", lambda: says(
        False, sealed(), {("z.txt" if name == "a.txt" else name): raw for name, raw in files.items()}
    ), [
        "Are the names part of what you compute?",
        "The contents alone are not enough: a renamed file may do something else.",
        "Put the name into each line, after two spaces.",
    ])  # fmt: skip
    yield ("a record that was changed afterwards does not fit", lambda: (
        says(False, sealed() | {"project": "another"}) and says(False, sealed() | {"record_sha256": "0" * 64})
    ), [
        "Do you compare the record's own checksum?",
        "Compute it over the whole record without that one entry.",
        "own == record[\"record_sha256\"]",
    ])  # fmt: skip
    yield ("points that are not the sum do not fit, although the record was sealed anew", lambda: (
        says(False, sealed(points=13)) and says(False, sealed(points=15)) and says(False, sealed(points=0))
    ), [
        "A record can be sealed anew by anyone. Do you add the points up?",
        "Only criteria whose \"passed\" is True count; None is \"not examined\".",
        "sum(each[\"points\"] for each in record[\"criteria\"] if each[\"passed\"] is True)",
    ])  # fmt: skip
    yield ("a record without one of its entries does not fit", lambda: all(
        says(False, each) for each in ({}, sealed(sha256=...), sealed(points=...), sealed(criteria=...),
                                       {key: value for key, value in sealed().items() if key != "record_sha256"})
    ), [
        "What does record[\"points\"] do where there is no such entry?",
        "record.get(\"points\") gives None there, which equals no sum.",
        "record.get(\"criteria\", [])",
    ])  # fmt: skip

    def untouched() -> bool:
        given = sealed()
        kept = copy.deepcopy(given)
        return answer(given, files) is not None and given == kept

    yield ("the record is as it was before", untouched, [
        "Do you delete an entry from the record that you were given?",
        "Make a new dictionary without the entry.",
        "{key: value for key, value in record.items() if key != \"record_sha256\"}",
    ])  # fmt: skip
