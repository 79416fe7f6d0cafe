"""Right answers to lesson 18's exercises that differ from the solutions."""

import json
import math
from collections import deque
from fractions import Fraction

import numpy as np
import yaml


def with_arrays(usages, request, target, low, high, tolerance=0.1):
    numbers = np.array([u for u in usages if u is not None and not isinstance(u, str)], float)
    found = len(usages)
    if numbers.size:
        ratio = numbers.mean() / (request * target)
        if ratio > 1:
            numbers = np.pad(numbers, (0, len(usages) - numbers.size))
        else:
            numbers = np.append(numbers, [request] * usages.count(None))
        again = numbers.mean() / (request * target)
        inside = min(abs(ratio - 1), abs(again - 1)) <= tolerance + 1e-9
        if not inside and np.sign(ratio - 1) == np.sign(again - 1):
            found = np.ceil(again * numbers.size - 1e-9)
    return int(np.clip(found, low, high))


def with_fractions(usages, request, target, low, high, tolerance=0.1):
    aim = Fraction(request) * Fraction(str(target))
    known = [Fraction(u) for u in usages if type(u) in (int, float)]
    if not known or abs(sum(known) / len(known) / aim - 1) <= Fraction(str(tolerance)):
        return max(low, min(high, len(usages)))
    up = sum(known) > aim * len(known)
    missing, unready = usages.count(None), usages.count("not ready")
    count = len(usages) if up else len(usages) - unready
    ratio = (sum(known) + (0 if up else request * missing)) / count / aim
    still = abs(ratio - 1) <= Fraction(str(tolerance)) or (ratio > 1) is not up
    return max(low, min(high, len(usages) if still else math.ceil(ratio * count)))


def as_a_float_that_is_whole(usages, request, target, low, high, tolerance=0.1):
    return float(with_fractions(usages, request, target, low, high, tolerance))


def tolerance_asked_once(usages, request, target, low, high, tolerance=0.1):
    """The tolerance after the guess is enough: no guess leads out of it but to the other side of 1."""
    known = [each for each in usages if each is not None and each != "not ready"]
    ratio = sum(known) / len(known) / (request * target) if known else 1
    filled = (
        known + [0 if ratio > 1 else request] * usages.count(None) + [0] * (usages.count("not ready") * (ratio > 1))
    )
    again = sum(filled) / len(filled) / (request * target) if filled else 1
    turned = round(abs(again - 1), 9) <= tolerance or (again - 1) * (ratio - 1) <= 0
    found = len(usages) if not known or turned else math.ceil(round(again * len(filled), 9))
    return sorted([low, found, high])[1]


def with_queues(looks, pods, up_s, down_s):
    after, up, down = [], deque(), deque()
    for now, recommended in looks:
        for kept, window in ((up, up_s), (down, down_s)):
            while kept and now - kept[0][0] >= window:
                kept.popleft()
            kept.append((now, recommended))
        least, most = min(n for _, n in up), max(n for _, n in down)
        pods = max(pods, least) if least > pods else min(pods, most)
        after.append(pods)
    return after


def as_a_tuple(looks, pods, up_s, down_s):
    return tuple(with_queues(looks, pods, up_s, down_s))


MANIFEST = {
    "apiVersion": "autoscaling/v2",
    "kind": "HorizontalPodAutoscaler",
    "metadata": {"name": "digits-autoscaler", "labels": {"app": "digits"}},
    "spec": {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "digits"},
        "minReplicas": 3,
        "maxReplicas": 30,
        "metrics": [
            {
                "type": "Pods",
                "pods": {
                    "metric": {"name": "requests_in_flight"},
                    "target": {"type": "AverageValue", "averageValue": "4000m"},
                },
            },
            {
                "type": "Resource",
                "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 65}},
            },
        ],
        "behavior": {
            "scaleUp": {"policies": [{"type": "Percent", "value": 100, "periodSeconds": 30}]},
            "scaleDown": {
                "stabilizationWindowSeconds": 600,
                "policies": [{"type": "Percent", "value": 10, "periodSeconds": 60}],
            },
        },
    },
}


def dumped():
    return yaml.safe_dump(MANIFEST)


def as_json():
    return json.dumps(MANIFEST, indent=2)


def after_a_line_of_dashes():
    return "---\n" + dumped()


RIGHT = {
    "18.1": [with_arrays, with_fractions, tolerance_asked_once, as_a_float_that_is_whole],
    "18.2": [with_queues, as_a_tuple],
    "18.3": [dumped, as_json, after_a_line_of_dashes],
}
