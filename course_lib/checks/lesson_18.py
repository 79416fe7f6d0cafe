"""Checks of lesson 18."""

import copy
import math
import random as randomness
import re
from collections.abc import Callable, Iterator
from numbers import Integral

from course_lib.checks import Register, raises
from course_lib.idioms.exercises import Property

EXERCISES = Register()
NAME = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"  # a subdomain of RFC 1123


def _rule(usages: list, request: float, target: float, low: int, high: int, tolerance: float = 0.1) -> int:
    """The rule in whole numbers and fractions: an independent second way."""
    from fractions import Fraction

    aim, slack = Fraction(request) * Fraction(str(target)), Fraction(str(tolerance))
    known = [Fraction(u) for u in usages if u is not None]

    def clipped(n: int) -> int:
        return max(low, min(high, n))

    if not known:
        return clipped(len(usages))
    mean = sum(known) / len(known) / aim
    full = [Fraction(u) if u is not None else Fraction(0 if mean > 1 else request) for u in usages]
    over_all = sum(full) / len(full) / aim
    if any(abs(r - 1) <= slack for r in (mean, over_all)) or (mean > 1) != (over_all > 1):
        return clipped(len(usages))
    return clipped(math.ceil(over_all * len(usages)))


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
    yield ("nobody measured: no change", lambda: gives(3, [None, None, None]) and gives(1, [None]) and gives(5, [None] * 8, high=5)
           and gives(2, [None], low=2), [
        "What is the mean of nothing?",
        "Look whether any pod was measured before you divide.",
        "if not measured: no change",
    ])  # fmt: skip
    yield ("upwards, pods that are not measured count as idle", lambda: gives(4, [100, 100, None])
           and gives(4, [90, 90, None, None]) and gives(6, [100, 100, 150, None]), [
        "100, 100 and nothing: the ratio of the measured is 1.67. And over all three, with a 0?",
        "200 / 3 / 60 = 1.11: 1.11 · 3 = 3.33, so four pods.",
        "again = (sum(measured) + 0 * missing) / pods / (request * target)",
    ])  # fmt: skip
    yield ("downwards, pods that are not measured count as full", lambda: gives(2, [5, 5, None]) and gives(3, [30, 30, None]) and gives(4, [30, 30, None, None]), [
        "5, 5 and nothing: 5 / 60 says one pod. What if the third takes all that it requests?",
        "(5 + 5 + 100) / 3 / 60 = 0.61: 1.83, so two pods.",
        "The guess is `request` where the ratio is below 1, and 0 above.",
    ])  # fmt: skip
    drawn = randomness.Random(18)
    cases = [([drawn.choice([None, *range(0, 200, 7)]) for _ in range(drawn.randint(1, 12))], drawn.choice([50, 100, 250]), drawn.choice([0.5, 0.6, 0.8]))
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


def _fewest(rate: float, service: float, objective: float, share: float, nodes: int) -> int:
    """By trying."""
    pods = 1
    while True:
        left = pods - -(-pods // nodes)
        if (
            left
            and 1 / service > rate / left
            and math.exp(-(1 / service - rate / left) * objective) <= (1 - share) * (1 + 1e-9)
        ):
            return pods
        pods += 1


@EXERCISES.add("18.3", "One node may go")
def one_node(answer: Callable) -> Iterator[Property]:
    """answer(rate_per_s, service_s, objective_s, share, nodes) -> int."""
    drawn = randomness.Random(3)
    cases = [(drawn.uniform(10, 3000), drawn.choice([0.005, 0.02, 0.05]), drawn.choice([0.3, 0.5, 1.0]), drawn.choice([0.9, 0.95, 0.99]), drawn.randint(2, 9))
             for _ in range(40)]  # fmt: skip
    many = (1000, 0.02, 0.25, 0.99, 10**6)  # a node has one pod at the most
    yield ("the pods that are left keep up", lambda: all((answer(*c) - math.ceil(answer(*c) / c[-1])) / c[1] > c[0] for c in [many, *cases]), [
        "A pod does 1 / service_s requests a second.",
        "They must do more than rate_per_s together, without those of the node that fails.",
        "pods - ceil(pods / nodes) are left.",
    ])  # fmt: skip
    yield ("and keep the objective for the tail", lambda: all(answer(*c) >= _fewest(*c) for c in [many, *cases]), [
        "Keeping up is not enough: a share of the requests must be answered within objective_s.",
        "Solve exp(−(1/s − m) t) = 1 − share for m, the rate that a pod may have.",
        "m = 1 / service_s + math.log(1 - share) / objective_s; pods left ≥ rate / m",
    ])  # fmt: skip
    yield ("the fullest node is the one that fails", lambda: answer(31.6, 0.02, 0.25, 0.99, 2) == _fewest(31.6, 0.02, 0.25, 0.99, 2)
           and answer(150, 0.02, 0.25, 0.99, 3) == _fewest(150, 0.02, 0.25, 0.99, 3) and answer(1, 0.02, 0.25, 0.99, 5) == 2, [
        "Five pods on three nodes: 2, 2 and 1. Two may go at once.",
        "The fullest holds ceil(pods / nodes).",
        "while pods - math.ceil(pods / nodes) < left: pods += 1",
    ])  # fmt: skip
    yield ("not one pod more than that", lambda: all(answer(*c) == _fewest(*c) for c in [many, *cases]) and isinstance(answer(*many), Integral), [
        "Try with one pod less: does it still hold?",
        "Round up once for the pods that are left; then look for the fewest pods in all.",
        "Begin the search at the pods that must be left.",
    ])  # fmt: skip
    yield ("an objective that even an idle pod misses is refused", lambda: all(raises(ValueError, answer, 10, s, t, q, 3) for s, t, q in (
        (0.1, 0.1, 0.9), (0.5, 1, 0.99), (1, 0.1, 0.5))) and answer(10, 0.1, 0.3, 0.9, 3) == _fewest(10, 0.1, 0.3, 0.9, 3), [
        "service_s = 0.1, objective_s = 0.1: an idle pod misses it for exp(−1), more than a third.",
        "Then no rate is small enough: m is 0 or negative.",
        "if most <= 0: raise ValueError(…)",
    ])  # fmt: skip


@EXERCISES.add("18.4", "An autoscaler that a cluster of today accepts")
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
    yield ("the API server accepts its name", lambda: re.fullmatch(NAME, document()["metadata"]["name"]) is not None, [
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
    yield ("requests_in_flight of the pods, 4 on average", lambda: [(m["metric"]["name"], m["target"]["type"], amount(m["target"]["averageValue"]))
           for m in metric("Pods", "pods")] == [("requests_in_flight", "AverageValue", 4)], [
        "A metric of the pods' own is of type Pods.",
        "The mean over the pods is an AverageValue.",
        'pods: {metric: {name: requests_in_flight}, target: {type: AverageValue, averageValue: "4"}}',
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


@EXERCISES.add("18.5", "What did yesterday cost?")
def yesterday(answer: Callable) -> Iterator[Property]:
    """answer(rates, pods, step_s, each_per_s, objective_s) -> (pod_hours, late_share)."""

    def gives(hours: float, late: float, *arguments: object) -> bool:
        found = answer(*arguments)
        return math.isclose(found[0], hours, abs_tol=1e-9) and math.isclose(found[1], late, abs_tol=1e-9)

    yield ("pod-hours: pods times time", lambda: gives(1.5, 0, [1, 1, 1], [1, 2, 3], 900, 10, 0.5) and gives(24 * 7, 0, [0.5] * 24, [7] * 24, 3600, 10, 0.5), [
        "Steps are in seconds, the answer in hours.",
        "Sum the pods, times the step.",
        "sum(pods) * step_s / 3600",
    ])  # fmt: skip
    yield ("a queue that one step leaves makes the next one's requests wait", lambda: gives(2 / 360, 0.2, [20, 5], [1, 1], 10, 10, 1) and gives(2 / 360, 0.0, [20, 5], [1, 1], 10, 10, 10), [
        "20 a second for 10 s, 10 a second can be done: 100 are left. The first step itself found nobody waiting.",
        "100 / 10 a second = 10 s of waiting for the 50 requests of the second step, of 250.",
        "wait_s = queue / (pods * each_per_s), before the queue changes",
    ])  # fmt: skip
    yield ("the share is of requests, not of steps; waiting exactly as long as the objective is in time", lambda: gives(3 / 3600, 0.0, [30, 10, 30], [1, 1, 1], 1, 10, 2)
           and gives(3 / 3600, 40 / 70, [30, 10, 30], [1, 1, 1], 1, 10, 1.9), [
        "Busy steps hold more requests.",
        "Add rate · step_s for those that are late, and for all.",
        "late += rate * step_s * (wait_s > objective_s)",
    ])  # fmt: skip
    yield ("more pods work the queue off, and it is never below nothing", lambda: gives(7 / 3600, 10 / 52, [30, 10, 1, 1, 10], [1, 2, 2, 1, 1], 1, 10, 0.9)
           and gives(12 / 3600, 10 / 41, [1, 30, 10], [10, 1, 1], 1, 10, 0.5), [
        "Ten idle pods do not store work for later.",
        "max(0, …)",
        "queue = max(0.0, queue + (rate - can) * step_s)",
    ])  # fmt: skip
    yield ("no pods: whoever comes waits for ever", lambda: gives(1 / 3600, 0.5, [5, 5], [0, 1], 1, 10, 2) and gives(1 / 3600, 1.0, [5, 5], [0, 1], 1, 10, 0.4)
           and gives(0, 1.0, [3], [0], 10, 10, 1e9), [
        "0 / 0 is no waiting time.",
        "With no pods the wait is infinite, even if nobody is before you.",
        "wait_s = queue / can if can else math.inf",
    ])  # fmt: skip
    yield ("nobody came: a share of 0; nothing at all: nothing; floats, from arrays too", lambda: gives(1, 0, [0, 0], [1, 1], 1800, 10, 1) and gives(0, 0, [], [], 60, 10, 1)
           and all(isinstance(x, float) for x in answer([0, 0], [1, 1], 1800, 10, 1)) and _arrays(answer), [
        "What is late / came where nobody came?",
        "Convert what you return.",
        "float(late / came if came else 0)",
    ])  # fmt: skip
    yield ("two lengths are refused", lambda: raises(ValueError, answer, [1, 2, 3], [1, 2], 60, 10, 1) and raises(ValueError, answer, [], [1], 60, 10, 1), [
        "What does zip do with the third?",
        "Compare the lengths first.",
        "if len(rates) != len(pods): raise ValueError(…)",
    ])  # fmt: skip


def _arrays(answer: Callable) -> bool:
    import numpy as np

    found = answer(np.array([20.0, 5.0]), np.array([1, 1]), 10, 10, 1)
    return all(isinstance(x, float) for x in found) and math.isclose(found[1], 0.2)
