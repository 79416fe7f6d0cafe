"""Answers to the exercises of lesson 18b that people write, each with the property at which its check must catch it."""

import math

# 18b.1


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


# 18b.2


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


# 18b.3


def _price(price, each_per_s, utilisation, *, seconds=3600, refuse=True, share=True, nan=True):
    bad = price < 0 or each_per_s <= 0 or utilisation <= 0 or (share and utilisation > 1)
    if refuse and (bad or (nan and any(math.isnan(x) for x in (price, each_per_s, utilisation)))):
        raise ValueError
    return price / (each_per_s * utilisation * seconds or 1) * 1e6


def a_minute_long_hour(price, each_per_s, utilisation):
    return _price(price, each_per_s, utilisation, seconds=60)


def full_all_day(price, each_per_s, utilisation):
    _price(price, each_per_s, utilisation)
    return _price(price, each_per_s, 1)


def idle_is_cheaper(price, each_per_s, utilisation):
    _price(price, each_per_s, utilisation)
    return _price(price, each_per_s, 1) * utilisation


def refuses_nothing(price, each_per_s, utilisation):
    return _price(price, each_per_s, utilisation, refuse=False)


def takes_percent(price, each_per_s, utilisation):
    return _price(price, each_per_s, utilisation, share=False)


def lets_nan_through(price, each_per_s, utilisation):
    return _price(price, each_per_s, utilisation, nan=False)


WRONG = {
    "18b.1": {
        no_node_fails: "the pods that are left keep up",
        mean_only: "and keep the objective for the tail",
        emptiest_fails: "the pods that are left keep up",
        one_more: "the fullest node is the one that fails",
        never_refuses: "an objective that even an idle pod misses is refused",
    },
    "18b.2": {
        pod_minutes: "pod-hours: pods times time",
        queue_first: "a queue that one step leaves makes the next one's requests wait",
        counts_steps: "the share is of requests, not of steps; waiting exactly as long as the objective is in time",
        edge_is_late: "a queue that one step leaves makes the next one's requests wait",
        stores_idleness: "more pods work the queue off, and it is never below nothing",
        first_waits_not: "no pods: whoever comes waits for ever",
        divides_by_nobody: "nobody came: a share of 0; nothing at all: nothing; floats, from arrays too",
        zips_over_it: "two lengths are refused",
    },
    "18b.3": {
        a_minute_long_hour: "a full pod: an hour's price over an hour's answers, for a million",
        full_all_day: "a pod that is half idle costs twice as much an answer",
        idle_is_cheaper: "a pod that is half idle costs twice as much an answer",
        refuses_nothing: "what makes no price is refused",
        takes_percent: "what makes no price is refused",
        lets_nan_through: "NaN is refused too",
    },
}
