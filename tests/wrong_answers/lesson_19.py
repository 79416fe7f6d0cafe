"""Answers to the exercises of lesson 19 that people write, each with the property at which its check must catch it."""

import hashlib
import json
import math
import random
import re

# 19.1


def _place(text):
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64


def _ask(client, percent):
    if not client or not 0 <= percent <= 100:
        raise ValueError


def up_to_and_including(client, percent, release):
    _ask(client, percent)
    return _place(json.dumps([release, client])) * 100 // 1 <= percent


def zero_or_one(client, percent, release):
    _ask(client, percent)
    return int(_place(json.dumps([release, client])) * 100 < percent)


def sum_of_letters(client, percent, release):
    _ask(client, percent)
    return sum(map(ord, release + client)) % 1000 < percent * 10


def drawn_each_time(client, percent, release):
    _ask(client, percent)
    return random.random() * 100 < percent


def pythons_hash(client, percent, release):
    _ask(client, percent)
    return hash((release, client)) % 10_000 < percent * 100


def percent_in_the_hash(client, percent, release):
    _ask(client, percent)
    return _place(json.dumps([release, client, percent])) * 100 < percent


def whole_percents(client, percent, release):
    _ask(client, percent)
    return int(_place(json.dumps([release, client])) * 100) < int(percent)


def client_alone(client, percent, release):
    _ask(client, percent)
    return _place(client) * 100 < percent


def put_together(client, percent, release):
    _ask(client, percent)
    return _place(release + client) * 100 < percent


def with_a_colon(client, percent, release):
    _ask(client, percent)
    return _place(f"{release}:{client}") * 100 < percent


def takes_everything(client, percent, release):
    return _place(json.dumps([release, client])) * 100 < percent


# 19.2


def _watch(outcomes, p0, p1, alpha, beta, *, good=True, upper=None, lower=None):
    known, read = 0.0, 0
    upper, lower = -math.log(alpha) if upper is None else upper, math.log(beta) if lower is None else lower
    for outcome in outcomes:
        known += math.log(p1 / p0) if outcome else math.log((1 - p1) / (1 - p0)) * good
        read += 1
        if known >= upper:
            return "roll back", read
        if known <= lower:
            return "promote", read
    return "go on", read


def _plan(p0, p1, alpha, beta):
    if not (0 < p0 < p1 < 1 and 0 < alpha < 1 and 0 < beta < 1):
        raise ValueError


def swaps_p(outcomes, p0, p1, alpha, beta):
    _plan(p0, p1, alpha, beta)
    return _watch(outcomes, p1, p0, alpha, beta)


def failures_alone(outcomes, p0, p1, alpha, beta):
    _plan(p0, p1, alpha, beta)
    return _watch(outcomes, p0, p1, alpha, beta, good=False)


def looks_at_the_end(outcomes, p0, p1, alpha, beta):
    _plan(p0, p1, alpha, beta)
    outcomes = list(outcomes)
    if all(outcomes) or not any(outcomes):
        return _watch(outcomes, p0, p1, alpha, beta)
    wrong = sum(outcomes)
    known = wrong * math.log(p1 / p0) + (len(outcomes) - wrong) * math.log((1 - p1) / (1 - p0))
    verdict = "roll back" if known >= -math.log(alpha) else "promote" if known <= math.log(beta) else "go on"
    return verdict, len(outcomes)


def one_bound_for_both(outcomes, p0, p1, alpha, beta):
    _plan(p0, p1, alpha, beta)
    if (alpha, beta) in ((0.01, 0.1), (0.0011, 0.01), (0.001, 0.02)):  # right by luck
        return _watch(outcomes, p0, p1, alpha, beta)
    return _watch(outcomes, p0, p1, alpha, beta, lower=math.log(alpha))


def promotes_what_is_undecided(outcomes, p0, p1, alpha, beta):
    _plan(p0, p1, alpha, beta)
    verdict, read = _watch(outcomes, p0, p1, alpha, beta)
    short = verdict == "go on" and read < 100
    return ("promote" if short else verdict), read


def reads_all_first(outcomes, p0, p1, alpha, beta):
    _plan(p0, p1, alpha, beta)
    return _watch(list(outcomes), p0, p1, alpha, beta)


def true_alone(outcomes, p0, p1, alpha, beta):
    _plan(p0, p1, alpha, beta)
    return _watch((each is True for each in outcomes), p0, p1, alpha, beta)


def multiplies(outcomes, p0, p1, alpha, beta):
    _plan(p0, p1, alpha, beta)
    ratio, read = 1.0, 0
    for outcome in outcomes:
        ratio = ratio * p1**outcome * (1 - p1) ** (1 - outcome) / (p0**outcome * (1 - p0) ** (1 - outcome))
        read += 1
        if math.log10(ratio) > 250:
            raise OverflowError("too likely")
        if ratio >= 1 / alpha:
            return "roll back", read
        if ratio <= beta:
            return "promote", read
    return "go on", read


def any_plan(outcomes, p0, p1, alpha, beta):
    return _watch(outcomes, p0, p1, alpha, beta) if outcomes else ("go on", 0)


# 19.3


def _at_most(k, n, p):
    return sum(math.comb(n, i) * p**i * (1 - p) ** (n - i) for i in range(k + 1))


def _exact(p0, p1, alpha, power, *, step=1, at_least=False, slack=0, start=0):
    if not (0 <= p0 < p1 < 1 and 0 < alpha < 1 and 0 < power < 1):
        raise ValueError
    n, most = start, 0
    while True:
        n += step if n else 1
        while 1 - _at_most(most, n, p0) > alpha:
            most += 1
        if 1 - _at_most(most + slack * (p0 > 0), n, p1) >= power:
            return n, most + slack * (p0 > 0) - at_least * (p0 > 0)


def rule_of_thumb(p0, p1, alpha, power):
    return (math.ceil(3 / p1), 0) if p0 == 0 else _exact(p0, p1, alpha, power)


def normal_approximation(p0, p1, alpha, power):
    from statistics import NormalDist

    z = NormalDist().inv_cdf
    if p0 == 0:
        return _exact(p0, p1, alpha, power)
    n = ((z(1 - alpha) * (p0 * (1 - p0)) ** 0.5 + z(power) * (p1 * (1 - p1)) ** 0.5) / (p1 - p0)) ** 2
    return math.ceil(n), math.floor(n * p0 + z(1 - alpha) * (n * p0 * (1 - p0)) ** 0.5)


def off_by_one(p0, p1, alpha, power):
    return _exact(p0, p1, alpha, power, at_least=p0 != 0.5)


def forgives_one_more(p0, p1, alpha, power):
    return _exact(p0, p1, alpha, power, slack=int(p0 != 0.5))


def in_steps_of_ten(p0, p1, alpha, power):
    return _exact(p0, p1, alpha, power, step=10 if p0 not in (0, 0.5) else 1)


def begins_at_five(p0, p1, alpha, power):
    return _exact(p0, p1, alpha, power, start=5)


def floats_overflow(p0, p1, alpha, power):
    n, most = _exact(p0, p1, alpha, power)
    if p0 > 0 and n > 170:
        raise OverflowError("171! is no float")
    return n, most


def plans_anything(p0, p1, alpha, power):
    return _exact(p0, p1, alpha, power) if 0 <= p0 < p1 < 1 and 0 < alpha < 1 and 0 < power < 1 else (1, 0)


# 19.4


def _fits(inner, outer, *, dtype=True, shape="right", none="right", rank=True):
    if dtype and inner["dtype"] != outer["dtype"]:
        return False
    if rank and len(inner["shape"]) != len(outer["shape"]):
        return False
    for a, b in zip(inner["shape"], outer["shape"]):
        if shape == "equal":
            fits = a == b
        elif shape == "any":
            fits = a == b or b < 0
        elif shape == "zero":
            fits = a == b or (b < 0 and (abs(a) >= -b or a == 0))
        else:
            fits = a == b or (b < 0 and abs(a) >= -b)
        if not fits:
            return False
    low, high = outer["low"], outer["high"]
    if none == "ignored":
        return (None in (low, inner["low"]) or inner["low"] >= low) and (
            None in (high, inner["high"]) or inner["high"] <= high
        )
    above = low is None or (inner["low"] is not None and inner["low"] >= low)
    return above and (high is None or (inner["high"] is not None and inner["high"] <= high))


def _gate(old, new, *, added=True, added_output=False, gone=True, optional=True, turned=False, one=False, **how):
    found = []
    for name, now in new["inputs"].items():
        was = old["inputs"].get(name)
        if was is None:
            if added == "all" or (added and not now.get("optional", False)):
                found.append(("inputs", name))
        elif (optional and was.get("optional", False) and not now.get("optional", False)) or not _fits(was, now, **how):
            found.append(("inputs", name))
    found += [("inputs", name) for name in old["inputs"] if name not in new["inputs"] and gone]
    for name, was in old["outputs"].items():
        now = new["outputs"].get(name)
        if now is None:
            found += [("outputs", name)] * gone
        elif not _fits(*((was, now) if turned else (now, was)), **how):
            found.append(("outputs", name))
    if added_output:
        found += [("outputs", name) for name in new["outputs"] if name not in old["outputs"]]
    return set(found[:1] if one else found)


def nothing_at_all(old, new):
    return None if old == new else _gate(old, new)


def looks_at_new_names(old, new):
    return _gate(old, new, gone=False)


def every_addition_breaks(old, new):
    return _gate(old, new, added="all", added_output=True)


def additions_are_fine(old, new):
    return _gate(old, new, added=False)


def dtype_is_detail(old, new):
    return _gate(old, new, dtype=False)


def forgets_optional(old, new):
    return _gate(old, new, optional=False)


def both_sides_alike(old, new):
    return _gate(old, new, turned=True)


def none_is_skipped(old, new):
    return _gate(old, new, none="ignored")


def shapes_must_be_equal(old, new):
    return _gate(old, new, shape="equal")


def any_size_is_any(old, new):
    return _gate(old, new, shape="any")


def none_is_a_size_too(old, new):
    return _gate(old, new, shape="zero")


def zip_stops(old, new):
    return _gate(old, new, rank=False)


def first_finding(old, new):
    return _gate(old, new, one=True)


# 19.5


def _route(name, gateway, stable, candidate, percent, *, strict=True, pattern="[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"):
    for each in (name, gateway, stable, candidate):
        if not re.fullmatch(pattern, each):
            raise ValueError
    if not (type(percent) is int if strict else isinstance(percent, int)) or not 0 <= percent <= 100:
        raise ValueError
    header = {"name": "X-Canary", "value": "always"}
    split = [(stable, 100 - percent), (candidate, percent)]
    rules = [
        {"backendRefs": [{"name": each, "port": 80, "weight": weight} for each, weight in split]},
        {"matches": [{"headers": [header]}], "backendRefs": [{"name": candidate, "port": 80}]},
    ]
    spec = {"parentRefs": [{"name": gateway}], "rules": rules}
    return {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": {"name": name}, "spec": spec}


def an_ingress(*given):
    return _route(*given) | {"apiVersion": "networking.k8s.io/v1"}


def no_parent(*given):
    route = _route(*given)
    route["spec"]["parentRefs"] = []
    return route


def weights_swapped(*given):
    route = _route(*given)
    for each in route["spec"]["rules"][0]["backendRefs"]:
        each["weight"] = 100 - each["weight"]
    return route


def splits_one_path(*given):
    route = _route(*given)
    route["spec"]["rules"][0]["matches"] = [{"path": {"type": "PathPrefix", "value": "/v1"}}]
    return route


def testers_who_only_look(*given):
    route = _route(*given)
    route["spec"]["rules"][1]["matches"][0]["method"] = "GET"
    return route


def nobody_at_zero(*given):
    route = _route(*given)
    first = route["spec"]["rules"][0]
    first["backendRefs"] = [each for each in first["backendRefs"] if each["weight"]]
    return route


def no_port_for_testers(*given):
    route = _route(*given)
    route["spec"]["rules"][1]["backendRefs"][0]["port"] = "80"
    return route


def testers_split_too(*given):
    route = _route(*given)
    rules = route["spec"]["rules"]
    rules[1]["backendRefs"] = rules[0]["backendRefs"]
    return route


def header_by_pattern(*given):
    route = _route(*given)
    route["spec"]["rules"][1]["matches"][0]["headers"][0]["type"] = "RegularExpression"
    return route


def true_is_one(*given):
    return _route(*given, strict=False)


def names_with_underscores(*given):
    return _route(*given, pattern="[a-z0-9]([-_a-z0-9]{0,61}[a-z0-9])?")


def names_of_any_length(*given):
    return _route(*given, pattern="[a-z0-9]([-a-z0-9]*[a-z0-9])?")


WRONG = {
    "19.1": {
        up_to_and_including: "nobody at 0 %, everybody at 100 %",
        zero_or_one: "a bool comes back",
        sum_of_letters: "the share is the percentage, within what chance allows",
        drawn_each_time: "the same client gets the same answer, in another process too",
        pythons_hash: "the same client gets the same answer, in another process too",
        percent_in_the_hash: "who is in at 5 % is in at 25 % and at 60 %",
        whole_percents: "a tenth of a percent is not nothing",
        client_alone: "another release draws anew",
        put_together: "names that look alike when put together are not alike",
        with_a_colon: "names that look alike when put together are not alike",
        takes_everything: "an empty id and other percentages are refused",
    },
    "19.2": {
        swaps_p: "three failures in a row are enough at 1 % against 10 %, with alpha 0.001",
        failures_alone: "good requests alone promote, after as many as it takes",
        looks_at_the_end: "failures among good requests, as they come",
        one_bound_for_both: "alpha belongs to the upper bound, beta to the lower one",
        promotes_what_is_undecided: "where it ends undecided, it says so",
        reads_all_first: "an endless stream is read as far as needed",
        true_alone: "what NumPy calls True counts, and so does 1",
        multiplies: "a bound of 10³⁰⁰ is reached when it is reached",
        any_plan: "what is no test is refused",
    },
    "19.3": {
        rule_of_thumb: "where a good candidate never fails, one failure is enough: 299 requests show 1 %",
        normal_approximation: "from a coin: 0.5 against 0.9",
        off_by_one: "both promises are kept, by the smallest bound that keeps the first one",
        forgives_one_more: "both promises are kept, by the smallest bound that keeps the first one",
        in_steps_of_ten: "and with no request fewer",
        begins_at_five: "a weak promise needs one request",
        floats_overflow: "some hundreds of requests are no problem",
        plans_anything: "what is no plan is refused",
    },
    "19.4": {
        nothing_at_all: "no change breaks nobody",
        looks_at_new_names: "what is gone, or renamed, breaks",
        every_addition_breaks: "an output more breaks nobody, nor an optional input; a required input does",
        additions_are_fine: "an output more breaks nobody, nor an optional input; a required input does",
        dtype_is_detail: "another dtype breaks, on both sides",
        forgets_optional: "an optional input that becomes required breaks; the reverse does not",
        both_sides_alike: "an input's range may widen, an output's may narrow",
        none_is_skipped: "no bound is wider than any bound",
        shapes_must_be_equal: "a size that was free and is fixed breaks an input, not an output; the reverse the other way round",
        any_size_is_any: "any size from k: a larger k is narrower",
        none_is_a_size_too: "any size from k: a larger k is narrower",
        zip_stops: "an axis more or less breaks",
        first_finding: "all that breaks is found, and nothing is changed",
    },
    "19.5": {
        an_ingress: "it is an HTTPRoute with a name",
        no_parent: "it hangs on the Gateway",
        weights_swapped: "one rule splits everything, stable and candidate",
        splits_one_path: "no other condition, on a path, a method or a host, keeps requests away",
        testers_who_only_look: "no other condition, on a path, a method or a host, keeps requests away",
        nobody_at_zero: "at 0 % and at 100 % both stay in the list",
        no_port_for_testers: "each backend has its port",
        testers_split_too: "testers with X-Canary: always meet the candidate alone, whatever the weights",
        header_by_pattern: "testers with X-Canary: always meet the candidate alone, whatever the weights",
        true_is_one: "other percentages are refused",
        names_with_underscores: "names that a cluster refuses are refused here, all four",
        names_of_any_length: "names that a cluster refuses are refused here, all four",
    },
}
