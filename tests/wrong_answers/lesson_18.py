"""Answers to the exercises of lesson 18 that people write, each with the property at which its check must catch it."""

import math

# 18.1


def _wanted(usages, request, target, low, high, tolerance=0.1, **how):
    pods, measured = len(usages), [each for each in usages if each is not None]

    def decide():
        if not measured:
            return 0 if how.get("nobody") else pods
        ratio = sum(measured) / len(measured) / (how.get("of", request) * target)
        edge = 0 if how.get("strict") else 1e-9
        if abs(ratio - 1) <= tolerance + edge and not how.get("nervous"):
            return pods
        if len(measured) < pods and not how.get("ignores"):
            guess = how.get("guess", 0 if ratio > 1 else request)
            again = (sum(measured) + guess * (pods - len(measured))) / pods / (request * target)
            if not how.get("turns") and (abs(again - 1) <= tolerance + 1e-9 or (again > 1) != (ratio > 1)):
                return pods
            ratio = again
        round_up = round if how.get("rounds") else math.ceil
        return round_up(ratio * pods - (0 if how.get("raw") else 1e-9))

    found = decide()
    if how.get("late_clip") and found == pods:
        return found
    return min(max(found, low), high)


def rounds(usages, request, target, low, high, tolerance=0.1):
    return _wanted(usages, request, target, low, high, tolerance, rounds=True)


def percent_of_a_core(usages, request, target, low, high, tolerance=0.1):
    return _wanted(usages, request, target, low, high, tolerance, of=100)


def no_tolerance(usages, request, target, low, high, tolerance=0.1):
    return _wanted(usages, request, target, low, high, tolerance, nervous=True)


def float_rounds_up(usages, request, target, low, high, tolerance=0.1):
    return _wanted(usages, request, target, low, high, tolerance, raw=True)


def clips_changes_only(usages, request, target, low, high, tolerance=0.1):
    return _wanted(usages, request, target, low, high, tolerance, late_clip=True)


def nothing_without_metrics(usages, request, target, low, high, tolerance=0.1):
    return _wanted(usages, request, target, low, high, tolerance, nobody=True)


def ignores_the_silent(usages, request, target, low, high, tolerance=0.1):
    return _wanted(usages, request, target, low, high, tolerance, ignores=True)


def silent_are_idle(usages, request, target, low, high, tolerance=0.1):
    return _wanted(usages, request, target, low, high, tolerance, guess=0)


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


def _pods(rate_per_s, service_s, objective_s, share, nodes, *, spare="ceil", tail=True, refuse=True, extra=0):
    most = 1 / service_s + (math.log(1 - share) / objective_s if tail else 0)
    if most <= 0:
        if refuse:
            raise ValueError
        return 2
    left = max(1, math.ceil(rate_per_s / most - 1e-9))
    if spare == "none":
        return left
    if spare == "share":
        return max(2, math.ceil(left * nodes / (nodes - 1) - 1e-9)) + extra
    pods = left
    while pods - (pods // nodes if spare == "floor" else math.ceil(pods / nodes)) < left:
        pods += 1
    return pods + extra


def mean_only(rate_per_s, service_s, objective_s, share, nodes):
    left = math.floor(rate_per_s * service_s) + 1
    pods = left
    while pods - math.ceil(pods / nodes) < left:
        pods += 1
    return pods


def no_node_fails(*arguments):
    return math.ceil(arguments[0] * arguments[1])


def emptiest_fails(*arguments):
    return _pods(*arguments, spare="floor")


def one_more(*arguments):
    return _pods(*arguments, extra=1, spare="ceil")


def never_refuses(*arguments):
    return _pods(*arguments, refuse=False)


# 18.4

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


# 18.5


def _account(rates, pods, step_s, each_per_s, objective_s, **how):
    if len(rates) != len(pods) and not how.get("zips"):
        raise ValueError
    queue = late = came = 0.0
    for rate, ready in zip(rates, pods):
        can = ready * each_per_s
        if how.get("after"):
            queue = max(0.0, queue + (rate - can) * step_s)
        wait_s = queue / can if can else math.inf if not how.get("idle") or queue else 0.0
        weight = 1 if how.get("steps") else rate * step_s
        late += weight * (wait_s >= objective_s if how.get("edge") else wait_s > objective_s)
        came += weight
        if not how.get("after"):
            queue += (rate - can) * step_s
            queue = queue if how.get("stores") else max(0.0, queue)
    hours = sum(pods) * step_s / (60 if how.get("minutes") else 3600)
    if how.get("nan"):
        return float(hours), float(late / came)
    return float(hours), float(late / came if came else 0)


def pod_minutes(*arguments):
    return _account(*arguments, minutes=True)


def queue_first(*arguments):
    return _account(*arguments, after=True)


def counts_steps(rates, pods, step_s, each_per_s, objective_s):
    hours, _ = _account(rates, pods, step_s, each_per_s, objective_s)
    _, share = _account(rates, pods, step_s, each_per_s, objective_s, steps=True)
    return hours, share if len(rates) != 2 else _account(rates, pods, step_s, each_per_s, objective_s)[1]


def edge_is_late(*arguments):
    return _account(*arguments, edge=True)


def stores_idleness(*arguments):
    return _account(*arguments, stores=True)


def first_waits_not(*arguments):
    return _account(*arguments, idle=True)


def divides_by_nobody(*arguments):
    return _account(*arguments, nan=True) if len(arguments[0]) else (0.0, 0.0)


def zips_over_it(*arguments):
    return _account(*arguments, zips=True)


WRONG = {
    "18.1": {
        rounds: "all measured: pods times mean usage over target, rounded up",
        percent_of_a_core: "the usage is a share of the request",
        no_tolerance: "within the tolerance nothing changes, at its edge too",
        float_rounds_up: "a product that is whole, rounding aside, is not rounded up",
        clips_changes_only: "low and high hold, also where nothing would change",
        nothing_without_metrics: "nobody measured: no change",
        ignores_the_silent: "upwards, pods that are not measured count as idle",
        silent_are_idle: "downwards, pods that are not measured count as full",
        turns_round: "upwards, pods that are not measured count as idle",
    },
    "18.2": {
        as_recommended: "downwards, the largest of the window holds",
        smallest_downwards: "downwards, the largest of the window holds",
        up_at_once: "upwards, the smallest of the window holds",
        edge_counts: "a recommendation exactly as old as the window counts no more",
        remembers_pods: "downwards, the largest of the window holds",
    },
    "18.3": {
        no_node_fails: "the pods that are left keep up",
        mean_only: "and keep the objective for the tail",
        emptiest_fails: "the pods that are left keep up",
        one_more: "the fullest node is the one that fails",
        never_refuses: "an objective that even an idle pod misses is refused",
    },
    "18.4": {
        does_not_parse: "it is one YAML document, of the kind and API version asked for",
        beta: "it is one YAML document, of the kind and API version asked for",
        field_of_v1: "the schema of Kubernetes 1.37 accepts it",
        underscore: "the API server accepts its name",
        upside_down: "it scales the Deployment digits of apps/v1, from 3 to 30 pods",
        millicores: "CPU at 65 % of the request",
        total_in_flight: "requests_in_flight of the pods, 4 on average",
        two_hundred: "upwards at once, at most twice as many in 30 seconds",
        minutes: "downwards by ten minutes' largest, at most 10 % a minute, and nothing else",
    },
    "18.5": {
        pod_minutes: "pod-hours: pods times time",
        queue_first: "a queue that one step leaves makes the next one's requests wait",
        counts_steps: "the share is of requests, not of steps; waiting exactly as long as the objective is in time",
        edge_is_late: "a queue that one step leaves makes the next one's requests wait",
        stores_idleness: "more pods work the queue off, and it is never below nothing",
        first_waits_not: "no pods: whoever comes waits for ever",
        divides_by_nobody: "nobody came: a share of 0; nothing at all: nothing; floats, from arrays too",
        zips_over_it: "two lengths are refused",
    },
}
