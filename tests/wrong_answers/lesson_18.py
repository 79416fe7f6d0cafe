"""Answers to the exercises of lesson 18 that people write, each with the property at which its check must catch it."""

import math

# 18.1


def _wanted(usages, request, target, low, high, tolerance=0.1, **how):
    pods, off = len(usages), "not ready"
    measured = [each for each in usages if each is not None and each != off]

    def decide():
        if not measured:
            return 0 if how.get("nobody") else pods
        aim = how.get("of", request) * target
        ratio = sum(measured) / len(measured) / aim
        if abs(ratio - 1) <= tolerance + (0 if how.get("strict") else 1e-9) and not how.get("nervous"):
            return pods
        missing = [how.get("missing", 0 if ratio > 1 else request)] * usages.count(None)
        unready = [how.get("unready", 0)] * usages.count(off) if ratio > 1 or how.get("unready_down") else []
        counted = measured if how.get("ignores") else measured + missing + unready
        again = sum(counted) / len(counted) / aim
        if not how.get("turns") and (abs(again - 1) <= tolerance + 1e-9 or (again > 1) != (ratio > 1)):
            return pods
        round_up = round if how.get("rounds") else math.ceil
        return round_up(again * (pods if how.get("all") else len(counted)) - (0 if how.get("raw") else 1e-9))

    found = decide()
    if how.get("late_clip") and found == pods:
        return found
    return min(max(found, low), high)


def rounds(usages, request, target, low, high, tolerance=0.1):
    return _wanted(usages, request, target, low, high, tolerance, rounds=True)


def idle_is_missing(usages, request, target, low, high, tolerance=0.1):
    """`if each` takes a pod at 0 millicores for one without a metric."""
    return _wanted([each or None for each in usages], request, target, low, high, tolerance)


def percent_of_a_core(usages, request, target, low, high, tolerance=0.1):
    return _wanted(usages, request, target, low, high, tolerance, of=100)


def no_tolerance(usages, request, target, low, high, tolerance=0.1):
    return _wanted(usages, request, target, low, high, tolerance, nervous=True, turns=True)


def edge_of_the_tolerance(usages, request, target, low, high, tolerance=0.1):
    return _wanted(usages, request, target, low, high, tolerance, strict=True, turns=True)


def float_rounds_up(usages, request, target, low, high, tolerance=0.1):
    return _wanted(usages, request, target, low, high, tolerance, raw=True)


def clips_changes_only(usages, request, target, low, high, tolerance=0.1):
    return _wanted(usages, request, target, low, high, tolerance, late_clip=True)


def nothing_without_metrics(usages, request, target, low, high, tolerance=0.1):
    return _wanted(usages, request, target, low, high, tolerance, nobody=True)


def ignores_the_silent(usages, request, target, low, high, tolerance=0.1):
    return _wanted(usages, request, target, low, high, tolerance, ignores=True)


def silent_are_idle(usages, request, target, low, high, tolerance=0.1):
    return _wanted(usages, request, target, low, high, tolerance, missing=0)


def not_ready_are_full(usages, request, target, low, high, tolerance=0.1):
    """What this exercise itself once asked for: pods that are not ready held the number up on the way down."""
    above = sum(x for x in usages if x is not None and x != "not ready") > 0 and _above(usages, request, target)
    return _wanted(usages, request, target, low, high, tolerance, unready_down=True, unready=0 if above else request)


def _above(usages, request, target):
    measured = [each for each in usages if each is not None and each != "not ready"]
    return sum(measured) / len(measured) > request * target


def not_ready_are_idle_downwards(usages, request, target, low, high, tolerance=0.1):
    return _wanted(usages, request, target, low, high, tolerance, unready_down=True)


def times_all_pods(usages, request, target, low, high, tolerance=0.1):
    return _wanted(usages, request, target, low, high, tolerance, all=True)


def turns_round(usages, request, target, low, high, tolerance=0.1):
    return _wanted(usages, request, target, low, high, tolerance, turns=True)


# 18.2


def _stable(looks, pods, up_s, down_s, **how):
    after, done = [], []
    for i, (now, recommended) in enumerate(looks):
        before = done if how.get("memory") else looks[:i]

        def within(at, window, now=now):
            return now - at <= window if how.get("edge") and window else now - at < window

        up = [n for at, n in before if within(at, up_s)] + [recommended]
        down = [n for at, n in before if within(at, how.get("one", down_s))] + [recommended]
        rise, fall = (max if how.get("up_max") else min)(up), max(down)
        if how.get("down_only"):
            rise = recommended
        if how.get("down_min"):
            fall = min(down)
        pods = rise if rise > pods else fall if fall < pods else pods
        after.append(pods)
        done.append((now, pods))
    return after


def as_recommended(looks, pods, up_s, down_s):
    return [n for _, n in looks]


def smallest_downwards(looks, pods, up_s, down_s):
    return _stable(looks, pods, up_s, down_s, down_min=True)


def up_at_once(looks, pods, up_s, down_s):
    return _stable(looks, pods, up_s, down_s, down_only=True)


def edge_counts(looks, pods, up_s, down_s):
    return _stable(looks, pods, up_s, down_s, edge=True)


def remembers_pods(looks, pods, up_s, down_s):
    return _stable(looks, pods, up_s, down_s, memory=True)


# 18.3

GOOD = """
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  name: digits
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: digits}
  minReplicas: 3
  maxReplicas: 30
  metrics:
  - type: Resource
    resource: {name: cpu, target: {type: Utilization, averageUtilization: 65}}
  - type: Pods
    pods: {metric: {name: requests_in_flight}, target: {type: AverageValue, averageValue: "4"}}
  behavior:
    scaleUp:
      stabilizationWindowSeconds: 0
      policies: [{type: Percent, value: 100, periodSeconds: 30}]
    scaleDown:
      stabilizationWindowSeconds: 600
      policies: [{type: Percent, value: 10, periodSeconds: 60}]
"""


def beta():
    return GOOD.replace("autoscaling/v2", "autoscaling/v2beta2")


def field_of_v1():
    return GOOD.split("  metrics:")[0] + "  targetCPUUtilizationPercentage: 65\n"


def underscore():
    return GOOD.replace("  name: digits\nspec", "  name: digits_autoscaler\nspec")


def upside_down():
    return GOOD.replace("minReplicas: 3", "minReplicas: 30").replace("maxReplicas: 30", "maxReplicas: 3")


def millicores():
    return GOOD.replace("{type: Utilization, averageUtilization: 65}", '{type: AverageValue, averageValue: "65m"}')


def total_in_flight():
    return GOOD.replace('averageValue: "4"', 'averageValue: "12"')


def two_hundred():
    return GOOD.replace("value: 100", "value: 200")


def minutes():
    return GOOD.replace("stabilizationWindowSeconds: 600", "stabilizationWindowSeconds: 10")


def does_not_parse():
    return GOOD.replace("spec:\n", "spec\n", 1)


def a_third_metric():
    third = "  - {type: External, external: {metric: {name: queue}, target: {type: AverageValue, averageValue: '4'}}}\n"
    return GOOD.replace("  behavior:", third + "  behavior:")


def of_some_pods():
    return GOOD.replace(
        "{name: requests_in_flight}", "{name: requests_in_flight, selector: {matchLabels: {app: digits}}}"
    )


def long_name():
    return GOOD.replace("  name: digits\nspec", f"  name: {'digits' * 50}\nspec")


WRONG = {
    "18.1": {
        rounds: "all measured: pods times mean usage over target, rounded up",
        idle_is_missing: "a pod at 0 millicores is measured",
        percent_of_a_core: "the usage is a share of the request",
        no_tolerance: "within the tolerance nothing changes, at its edge too",
        edge_of_the_tolerance: "within the tolerance nothing changes, at its edge too",
        float_rounds_up: "a product that is whole, rounding aside, is not rounded up",
        clips_changes_only: "low and high hold, also where nothing would change",
        nothing_without_metrics: "nobody measured: no change",
        ignores_the_silent: "upwards, a pod that says nothing counts as idle, ready or not",
        turns_round: "upwards, a pod that says nothing counts as idle, ready or not",
        silent_are_idle: "downwards, a pod whose metric is missing counts as full",
        not_ready_are_full: "downwards, a pod that is not ready is left out",
        not_ready_are_idle_downwards: "on 400 random clusters it decides as the reference does, and changes nothing that it "
        "is given",
        times_all_pods: "downwards, a pod that is not ready is left out",
    },
    "18.2": {
        as_recommended: "downwards, the largest of the window holds",
        smallest_downwards: "downwards, the largest of the window holds",
        up_at_once: "upwards, the smallest of the window holds",
        edge_counts: "a recommendation exactly as old as the window counts no more",
        remembers_pods: "downwards, the largest of the window holds",
    },
    "18.3": {
        does_not_parse: "it is one YAML document, of the kind and API version asked for",
        beta: "it is one YAML document, of the kind and API version asked for",
        field_of_v1: "the schema of Kubernetes 1.37 accepts it",
        underscore: "the API server accepts its name",
        upside_down: "it scales the Deployment digits of apps/v1, from 3 to 30 pods",
        millicores: "CPU at 65 % of the request",
        a_third_metric: "it scales on these two metrics and on no other",
        of_some_pods: "requests_in_flight of the pods, 4 on average",
        long_name: "the API server accepts its name",
        total_in_flight: "requests_in_flight of the pods, 4 on average",
        two_hundred: "upwards at once, at most twice as many in 30 seconds",
        minutes: "downwards by ten minutes' largest, at most 10 % a minute, and nothing else",
    },
}
