"""Checks of lesson 18."""

import copy
import math
import random as randomness
import re
from collections.abc import Callable, Iterator

from course_lib.checks import Register
from course_lib.idioms.exercises import Property

EXERCISES = Register()
NAME = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"  # a subdomain of RFC 1123


def _rule(usages: list, request: float, target: float, low: int, high: int, tolerance: float = 0.1) -> int:
    """The rule in whole numbers and fractions: an independent second way."""
    from fractions import Fraction

    aim, slack = Fraction(request) * Fraction(str(target)), Fraction(str(tolerance))
    known = [Fraction(u) for u in usages if u not in (None, "not ready")]

    def clipped(n: int) -> int:
        return max(low, min(high, n))

    if not known:
        return clipped(len(usages))
    mean = sum(known) / len(known) / aim
    silent = {None: 0, "not ready": 0} if mean > 1 else {None: request, "not ready": None}
    full = [Fraction(silent.get(u, u)) for u in usages if silent.get(u, u) is not None]
    over_all = sum(full) / len(full) / aim
    if any(abs(r - 1) <= slack for r in (mean, over_all)) or (mean > 1) != (over_all > 1):
        return clipped(len(usages))
    return clipped(math.ceil(over_all * len(full)))


@EXERCISES.add("18.1", "The rule, with pods that say nothing")
def the_rule(answer: Callable) -> Iterator[Property]:
    """answer(usages, request, target, low, high, tolerance=0.1) -> int."""

    def gives(
        wanted: int,
        usages: list,
        request: float = 100,
        target: float = 0.6,
        low: int = 1,
        high: int = 100,
        **more: float,
    ) -> bool:
        return answer(usages, request, target, low, high, **more) == wanted

    yield ("all measured: pods times mean usage over target, rounded up", lambda: gives(2, [100]) and gives(5, [100, 60, 110]) and gives(1, [10, 10, 10]), [
        "Three pods with 100, 60 and 110 of 100 millicores at a target of 60 %: what is the mean, what the ratio?",
        "The mean is 90, the ratio 90 / 60 = 1.5, three pods times 1.5 is 4.5.",
        "math.ceil(ratio * len(usages))",
    ])  # fmt: skip
    yield ("a pod at 0 millicores is measured", lambda: gives(2, [0, 0, 90]) and gives(1, [0, 0]) and gives(1, [0], low=1), [
        "0, 0 and 90 millicores: how many pods are measured?",
        "Three: their mean is 30. A pod is not measured where its entry is None or a text.",
        "`if each` drops 0 as well; ask `each is not None and each != 'not ready'`",
    ])  # fmt: skip
    yield ("the usage is a share of the request", lambda: gives(2, [500], 500) and gives(1, [100, 100], 500) and gives(8, [250, 250], 125, 0.5), [
        "500 millicores of a request of 500 are 100 %.",
        "Divide the mean by request · target.",
        "ratio = mean / (request * target)",
    ])  # fmt: skip
    yield ("within the tolerance nothing changes, at its edge too", lambda: gives(10, [64] * 10) and gives(10, [66] * 10) and gives(10, [54] * 10)
           and gives(12, [67] * 10) and gives(9, [53] * 10) and gives(10, [75] * 10, tolerance=0.3), [
        "66 of 60 is exactly 10 % too much, in floats a little more.",
        "Compare abs(ratio - 1) with the tolerance; the edge belongs to it.",
        "if abs(ratio - 1) <= tolerance + 1e-9: no change",
    ])  # fmt: skip
    yield ("a product that is whole, rounding aside, is not rounded up", lambda: gives(29, [129, 140, 21], 100, 0.1)
           and gives(81, [161, 184, 155, 135, 94], 90, 0.1)
           and gives(3, [189], 90, 0.7), [
        "The CPU used is exactly enough for 29 pods at their target: print ratio * pods with all its digits.",
        "Take off a little before you round up.",
        "math.ceil(ratio * pods - 1e-9)",
    ])  # fmt: skip
    yield ("low and high hold, also where nothing would change", lambda: gives(3, [10, 10, 10], low=3) and gives(4, [100] * 4, high=4) and gives(2, [60], low=2), [
        "One pod at its target and a floor of 2: two pods.",
        "Clip every answer, that of 'no change' too.",
        "return min(max(…, low), high) in one place.",
    ])  # fmt: skip
    off = "not ready"
    yield ("nobody measured: no change", lambda: gives(3, [None, off, None]) and gives(1, [None]) and gives(1, [off]) and gives(5, [None] * 8, high=5)
           and gives(2, [None], low=2), [
        "What is the mean of nothing?",
        "Look whether any pod was measured before you divide.",
        "if not measured: no change",
    ])  # fmt: skip
    yield ("upwards, a pod that says nothing counts as idle, ready or not", lambda: gives(4, [100, 100, None]) and gives(4, [100, off, 100])
           and gives(4, [90, 90, off, off]) and gives(4, [90, None, off, 90]) and gives(6, [100, 100, 150, off]), [
        "100, 100 and nothing: the ratio of the measured is 1.67. And over all three, with a 0?",
        "200 / 3 / 60 = 1.11: 1.11 · 3 = 3.33, so four pods.",
        "counted = measured + [0] * (len(usages) - len(measured))",
    ])  # fmt: skip
    yield ("downwards, a pod whose metric is missing counts as full", lambda: gives(2, [5, 5, None]) and gives(3, [30, 30, None]) and gives(4, [30, 30, None, None]), [
        "5, 5 and nothing: 5 / 60 says one pod. What if the third takes all that it requests?",
        "(5 + 5 + 100) / 3 / 60 = 0.61: 1.83, so two pods.",
        "counted = measured + [request for each in usages if each is None]",
    ])  # fmt: skip
    yield ("downwards, a pod that is not ready is left out", lambda: gives(1, [5, 5, off]) and gives(1, [30, 30, off]) and gives(2, [30, 30, 30, off])
           and gives(2, [5, 5, None, off, off]), [
        "30, 30 and one that is not ready: the ratio is 0.5, over two pods.",
        "0.5 · 2 = 1: not three pods, and not 0.5 · 3.",
        "Multiply the new ratio by the number of pods that count: math.ceil(again * len(counted) - 1e-9)",
    ])  # fmt: skip
    drawn = randomness.Random(18)
    cases = [([drawn.choice([None, off, *range(0, 200, 7)]) for _ in range(drawn.randint(1, 12))], drawn.choice([50, 100, 250]), drawn.choice([0.5, 0.6, 0.8]))
             for _ in range(400)]  # fmt: skip
    yield ("on 400 random clusters it decides as the reference does, and changes nothing that it is given", lambda: all(
        answer(given := list(u), r, t, 1, 30) == _rule(u, r, t, 1, 30) and given == u for u, r, t in cases), [
        "Which of the rules is left: the tolerance after the guess, or the other side of 1?",
        "With the guess, a ratio above 1 may fall below it: then nothing changes.",
        "if abs(again - 1) <= tolerance or (again > 1) != (ratio > 1): no change",
    ])  # fmt: skip


def _windows(looks: list, pods: int, up_s: float, down_s: float) -> list[int]:
    found = []
    for now, wish in looks:
        ups, downs = [wish], [wish]
        for at, n in looks[: len(found)]:
            ups += [n] * (now - at < up_s)
            downs += [n] * (now - at < down_s)
        pods = min(max(pods, min(ups)), max(downs)) if min(ups) <= max(downs) else pods
        found.append(pods)
    return found


@EXERCISES.add("18.2", "Two windows")
def two_windows(answer: Callable) -> Iterator[Property]:
    """answer(looks, pods, up_s, down_s) -> list of ints."""

    def gives(wanted: list, pods: int, up_s: float, down_s: float, *recommended: int) -> bool:
        return list(answer([(15.0 * i, n) for i, n in enumerate(recommended)], pods, up_s, down_s)) == wanted

    yield ("without windows, what is recommended is done", lambda: gives([5, 2, 9, 9], 3, 0, 0, 5, 2, 9, 9), [
        "With windows of 0 only this recommendation counts.",
        "Up to it, and down to it.",
        "Both lists hold [recommended] at least.",
    ])  # fmt: skip
    yield ("downwards, the largest of the window holds", lambda: gives([9, 9, 9, 9, 2], 3, 0, 50, 9, 2, 2, 2, 2), [
        "9 was recommended 15, 30 and 45 seconds ago, the window is 50 seconds.",
        "Go down to the largest recommendation that is less than the window old.",
        "max([n for at, n in before if now - at < down_s] + [recommended])",
    ])  # fmt: skip
    yield ("upwards, the smallest of the window holds", lambda: gives([3, 3, 3, 8], 3, 31, 0, 3, 9, 8, 12)
           and gives([2, 2, 2, 7], 2, 31, 300, 2, 9, 7, 7), [
        "A spike of one look must not count: the smallest of the window is what all of it agrees on.",
        "Upwards take the minimum, of its own window.",
        "min([n for at, n in before if now - at < up_s] + [recommended])",
    ])  # fmt: skip
    yield ("a recommendation exactly as old as the window counts no more", lambda: gives([9, 2], 9, 0, 15, 9, 2) and gives([9, 9], 9, 0, 15.1, 9, 2), [
        "Two looks 15 seconds apart, a window of 15 seconds.",
        "Less than the window old: <, not <=.",
        "now - at < down_s",
    ])  # fmt: skip
    yield ("between the two, nothing changes; and no look gives an empty list", lambda: gives([5, 5, 5], 5, 60, 60, 5, 9, 7)
           and gives([9, 9, 9], 5, 0, 60, 9, 2, 7) and list(answer([], 5, 60, 60)) == [], [
        "What if the smallest is not above the pods that are there, and the largest not below?",
        "Then they stay.",
        "rise if rise > pods else fall if fall < pods else pods",
    ])  # fmt: skip
    drawn = randomness.Random(2)
    histories = [[(t, drawn.randint(1, 12)) for t in sorted(drawn.sample(range(2000), 40))] for _ in range(60)]

    def same(looks: list) -> bool:
        given = copy.deepcopy(looks)
        up, down = drawn.choice([0, 60, 150]), drawn.choice([0, 100, 300])
        return list(answer(given, 4, up, down)) == _windows(looks, 4, up, down) and given == looks

    yield ("on 60 random histories, as the reference does", lambda: all(same(each) for each in histories), [
        "Looks may come at any distance.",
        "Recommendations count whether they were followed or not.",
        "Keep `looks[:i]`, the recommendations, not the pods that came of them.",
    ])  # fmt: skip


@EXERCISES.add("18.3", "An autoscaler that a cluster of today accepts")
def manifest(answer: Callable) -> Iterator[Property]:
    """answer() -> YAML text."""
    import yaml

    def document() -> dict:
        if not isinstance(text := answer(), str):
            raise TypeError(f"expected YAML text, got {type(text).__name__}")
        found = [each for each in yaml.safe_load_all(text) if each is not None]
        if len(found) != 1 or not isinstance(found[0], dict):
            raise ValueError(f"expected one YAML document with keys, got {len(found)}")
        return found[0]

    def spec() -> dict:
        return document()["spec"]

    def valid() -> bool:
        import kubernetes_validate

        kubernetes_validate.validate(document(), "1.37", strict=True)
        return True

    def metric(kind: str, part: str) -> list[dict]:
        return [each[part] for each in spec()["metrics"] if each["type"] == kind]

    def way(name: str) -> dict:
        return spec()["behavior"][name]

    def amount(quantity: str | int) -> float:
        number, thousandths, _ = str(quantity).partition("m")
        return float(number) / (1000 if thousandths else 1)

    def policies(name: str) -> list[tuple]:
        return [(each["type"], each["value"], each["periodSeconds"]) for each in way(name)["policies"]]

    yield ("it is one YAML document, of the kind and API version asked for", lambda: (document()["apiVersion"], document()["kind"])
           == ("autoscaling/v2", "HorizontalPodAutoscaler"), [
        "What does the API server say it does not know?",
        "autoscaling/v2 since Kubernetes 1.23.",
        "apiVersion: autoscaling/v2",
    ])  # fmt: skip
    yield ("the schema of Kubernetes 1.37 accepts it", valid, [
        "The message names the field; `kubectl explain hpa.spec` lists those that there are.",
        "targetCPUUtilizationPercentage belongs to autoscaling/v1; here it is `metrics`, a list.",
        "- type: Resource\n  resource: {name: cpu, target: {type: Utilization, averageUtilization: …}}",
    ])  # fmt: skip
    yield ("the API server accepts its name", lambda: re.fullmatch(NAME, document()["metadata"]["name"]) is not None
           and len(document()["metadata"]["name"]) <= 253, [
        "The schema does not look at names; the API server does.",
        "Small letters, digits, - and . (RFC 1123).",
        "An underscore is neither.",
    ])  # fmt: skip
    yield ("it scales the Deployment digits of apps/v1, from 3 to 30 pods", lambda: spec()["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": "digits"}
           and (spec()["minReplicas"], spec()["maxReplicas"]) == (3, 30), [
        "Whose replicas? The least and the most?",
        "scaleTargetRef needs the API version as well.",
        "scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: digits}",
    ])  # fmt: skip
    yield ("CPU at 65 % of the request", lambda: metric("Resource", "resource") == [{"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 65}}], [
        "Of the request: a utilization, not a value.",
        "averageUtilization is a whole number, in percent.",
        "target: {type: Utilization, averageUtilization: 65}",
    ])  # fmt: skip
    yield ("requests_in_flight of the pods, 4 on average", lambda: [(m["metric"], m["target"]["type"], amount(m["target"]["averageValue"]))
           for m in metric("Pods", "pods")] == [({"name": "requests_in_flight"}, "AverageValue", 4)], [
        "A metric of the pods' own is of type Pods.",
        "The mean over the pods is an AverageValue.",
        'pods: {metric: {name: requests_in_flight}, target: {type: AverageValue, averageValue: "4"}}',
    ])  # fmt: skip
    yield ("it scales on these two metrics and on no other", lambda: len(spec()["metrics"]) == 2, [
        "The autoscaler follows the metric that wants most. How many metrics does the task name?",
        "Two: CPU and requests_in_flight. A third could want more than both.",
        "metrics: one of type Resource, one of type Pods, and nothing else.",
    ])  # fmt: skip
    yield ("upwards at once, at most twice as many in 30 seconds", lambda: way("scaleUp").get("stabilizationWindowSeconds", 0) == 0
           and policies("scaleUp") == [("Percent", 100, 30)], [
        "How many percent more are twice as many?",
        "100. Without a policy the default allows four pods more in 15 seconds.",
        "policies: [{type: Percent, value: 100, periodSeconds: 30}]",
    ])  # fmt: skip
    yield ("downwards by ten minutes' largest, at most 10 % a minute, and nothing else", lambda: way("scaleDown").get("stabilizationWindowSeconds") == 600
           and policies("scaleDown") == [("Percent", 10, 60)] and set(way("scaleDown")) == {"stabilizationWindowSeconds", "policies"}
           and set(way("scaleUp")) <= {"stabilizationWindowSeconds", "policies"}, [
        "The window is in seconds.",
        "600, and a policy of type Percent.",
        "stabilizationWindowSeconds: 600, policies: [{type: Percent, value: 10, periodSeconds: 60}]",
    ])  # fmt: skip
