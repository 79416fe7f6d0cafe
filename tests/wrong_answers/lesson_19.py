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


def hundredths_of_a_percent(client, percent, release):
    _ask(client, percent)
    return int(_place(json.dumps([release, client])) * 10_000) < percent * 100


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


def _digest(text):
    return hashlib.sha256(text.encode()).digest()


def with_a_control_character(client, percent, release):
    _ask(client, percent)
    return _place(f"{release}\x1f{client}") * 100 < percent


def with_two_colons(client, percent, release):
    _ask(client, percent)
    return _place(f"{release}::{client}") * 100 < percent


def with_a_null(client, percent, release):
    _ask(client, percent)
    return _place(f"{client}\0{release}") * 100 < percent


def digests_xored(client, percent, release):
    _ask(client, percent)
    both = bytes(a ^ b for a, b in zip(_digest(client), _digest(release)))
    return int.from_bytes(both[:8], "big") * 100 < percent * 2**64


def digests_added(client, percent, release):
    _ask(client, percent)
    both = int.from_bytes(_digest(client)[:8], "big") + int.from_bytes(_digest(release)[:8], "big")
    return both % 2**64 * 100 < percent * 2**64


def in_lower_case(client, percent, release):
    _ask(client, percent)
    return _place(json.dumps([release.lower(), client.lower()])) * 100 < percent


def clients_in_lower_case(client, percent, release):
    _ask(client, percent)
    return _place(json.dumps([release, client.lower()])) * 100 < percent


def cut_off(client, percent, release):
    _ask(client, percent)
    return _place(json.dumps([release[:16], client])) * 100 < percent


def ascii_alone(client, percent, release):
    _ask(client, percent)
    names = [each.encode("ascii", "ignore").decode() for each in (release, client)]
    return _place(json.dumps(names)) * 100 < percent


# 19.2


def _evidence(wrong, count, low, high):
    return wrong * math.log(high / low) + (count - wrong) * math.log((1 - high) / (1 - low))


def _refuse(candidate, stable, p0, p1, alpha, beta):
    if not (0 < p0 < p1 < 1 and 0 < alpha < 1 and 0 < beta < 1):
        raise ValueError
    if not all(0 <= wrong <= count for wrong, count in (candidate, stable)):
        raise ValueError


def _judged(candidate, stable, p0, p1, alpha, beta, *, q0=None, ratio=None, of_all=False, fine=min, swap=False,
            bad_first=False, alone_too=False, refuse=True, empty="alone"):  # fmt: skip
    if refuse:
        _refuse(candidate, stable, p0, p1, alpha, beta)
    if not candidate[1]:
        return "unknown"
    alone = compared = _evidence(*candidate, p0, p1)
    if stable[1]:
        q0 = q0 or candidate[1] / (candidate[1] + stable[1])
        ratio = ratio or p1 / p0
        q1 = ratio * q0 / (ratio * q0 + 1 - q0)
        among = candidate[1] if of_all else candidate[0] + stable[0]
        compared = _evidence(candidate[0], among, q0, q1)
    elif empty == "nothing":
        compared = 0.0
    upper, lower = (-math.log(beta), math.log(alpha)) if swap else (-math.log(alpha), math.log(beta))
    is_bad = max(compared, alone if alone_too else compared) >= upper
    if bad_first and is_bad:
        return "bad"
    if fine(alone, compared) <= lower:
        return "fine"
    return "bad" if is_bad else "unknown"


def fixed_limits_alone(candidate, stable, p0, p1, alpha, beta):
    return _judged(candidate, (0, 0), p0, p1, alpha, beta)


def comparison_alone(candidate, stable, p0, p1, alpha, beta):
    return _judged(candidate, stable, p0, p1, alpha, beta, fine=lambda alone, compared: compared)


def both_must_be_fine(candidate, stable, p0, p1, alpha, beta):
    return _judged(candidate, stable, p0, p1, alpha, beta, fine=max)


def blames_alone_as_well(candidate, stable, p0, p1, alpha, beta):
    return _judged(candidate, stable, p0, p1, alpha, beta, fine=lambda alone, compared: alone, alone_too=True)


def a_fifth_each_time(candidate, stable, p0, p1, alpha, beta):
    return _judged(candidate, stable, p0, p1, alpha, beta, q0=0.2)


def ten_times_each_time(candidate, stable, p0, p1, alpha, beta):
    return _judged(candidate, stable, p0, p1, alpha, beta, ratio=10)


def among_its_own_requests(candidate, stable, p0, p1, alpha, beta):
    return _judged(candidate, stable, p0, p1, alpha, beta, of_all=True)


def bounds_swapped(candidate, stable, p0, p1, alpha, beta):
    if alpha == 0.001 and beta == 0.01:
        return _judged(candidate, stable, p0, p1, alpha, beta)  # right by luck
    return _judged(candidate, stable, p0, p1, alpha, beta, swap=True)


def bad_comes_first(candidate, stable, p0, p1, alpha, beta):
    return _judged(candidate, stable, p0, p1, alpha, beta, bad_first=True)


def stable_without_requests_is_no_evidence(candidate, stable, p0, p1, alpha, beta):
    return _judged(candidate, stable, p0, p1, alpha, beta, empty="nothing")


def divides_by_zero(candidate, stable, p0, p1, alpha, beta):
    if stable[1]:
        candidate[0] / candidate[1]
    return _judged(candidate, stable, p0, p1, alpha, beta)


def takes_any_counts(candidate, stable, p0, p1, alpha, beta):
    _refuse((0, 0), (0, 0), p0, p1, alpha, beta)
    return _judged(candidate, stable, p0, p1, alpha, beta, refuse=False)


def rates_compared(candidate, stable, p0, p1, alpha, beta):
    _refuse(candidate, stable, p0, p1, alpha, beta)
    if candidate[1] < 100:
        return "bad" if candidate[0] > 5 else "unknown"
    rate, other = candidate[0] / candidate[1], stable[0] / max(stable[1], 1)
    return "bad" if rate > p1 and rate > 2 * other else "fine"


# 19.3


def _flat(tree, path=()):
    if not isinstance(tree, dict):
        return {path: tree}
    return {place: value for key, sub in tree.items() for place, value in _flat(sub, (*path, key)).items()}


def _changes(files, last_applied, live, *, against="live", remove=True, last=True, gone=True):
    wanted, before, now = _flat(files), _flat(last_applied), _flat(live)
    other = now if against == "live" else before
    changes = {path: (now.get(path), value) for path, value in wanted.items() if other.get(path) != value}
    if remove:
        for path in before if last else now:
            if path not in wanted and (path in now or not gone):
                changes[path] = (now.get(path), None)
    return changes


def files_against_last_apply(files, last_applied, live):
    return _changes(files, last_applied, live, against="last")


def never_removes(files, last_applied, live):
    return _changes(files, last_applied, live, remove=False)


def replaces_the_object(files, last_applied, live):
    return _changes(files, last_applied, live, last=False)


def removes_what_is_gone(files, last_applied, live):
    return _changes(files, last_applied, live, gone=False)


def before_is_what_was_applied(files, last_applied, live):
    now, before = _flat(live), _flat(last_applied)
    return {
        path: (before.get(path, now.get(path)), after)
        for path, (_, after) in _changes(files, last_applied, live).items()
    }


def only_what_is_true(files, last_applied, live):
    return {path: pair for path, pair in _changes(files, last_applied, live).items() if pair[0] or pair[1]
            and not (pair[0] is not None and not pair[1])}  # fmt: skip


def zero_is_nothing(files, last_applied, live):
    now = _flat(live)
    changes = _changes(files, last_applied, live)
    return {path: pair for path, pair in changes.items() if pair[1] is not None or now.get(path)}


def lists_as_sets(files, last_applied, live):
    changes = _changes(files, last_applied, live)
    return {path: (a, b) for path, (a, b) in changes.items()
            if not (isinstance(a, list) and isinstance(b, list) and sorted(a) == sorted(b))}  # fmt: skip


def dotted_paths(files, last_applied, live):
    return {".".join(path): pair for path, pair in _changes(files, last_applied, live).items()}


def lists_of_two(files, last_applied, live):
    return {path: list(pair) for path, pair in _changes(files, last_applied, live).items()}


def first_change(files, last_applied, live):
    return dict(list(_changes(files, last_applied, live).items())[:1])


def one_level(files, last_applied, live):
    found = {}
    for key, value in files.items():
        if live.get(key) != value:
            found[key,] = (live.get(key), value)
    return found


def walks_the_files(files, last_applied, live, path=()):
    found = {}
    for key, value in files.items():
        now, before = live.get(key) if isinstance(live, dict) else None, last_applied.get(key, {})
        if isinstance(value, dict):
            found |= walks_the_files(
                value, before if isinstance(before, dict) else {}, now if isinstance(now, dict) else {}, (*path, key)
            )
        elif now != value:
            found[(*path, key)] = (now, value)
    for key in last_applied:
        if key not in files and isinstance(live, dict) and key in live:
            found |= {(*path, *place): (value, None) for place, value in _flat(live[key], (key,)).items()}
    return found


def empties_the_live_object(files, last_applied, live):
    found = _changes(files, last_applied, live)
    if found:
        live.clear()
    return found


# 19.4


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


def weights_as_floats(*given):
    route = _route(*given)
    for each in route["spec"]["rules"][0]["backendRefs"]:
        each["weight"] = float(each["weight"])
    return route


def redirects_the_rest(*given):
    route = _route(*given)
    redirect = {"type": "RequestRedirect", "requestRedirect": {"hostname": "elsewhere.example"}}
    route["spec"]["rules"][0]["filters"] = [redirect]
    return route


def filters_at_a_backend(*given):
    route = _route(*given)
    header = {"type": "RequestHeaderModifier", "requestHeaderModifier": {"remove": ["X-Client-Id"]}}
    route["spec"]["rules"][0]["backendRefs"][1]["filters"] = [header]
    return route


def mirrors_for_testers(*given):
    route = _route(*given)
    mirror = {"type": "RequestMirror", "requestMirror": {"backendRef": {"name": given[2], "port": 80}}}
    route["spec"]["rules"][1]["filters"] = [mirror]
    return route


def one_section_of_the_gateway(*given):
    route = _route(*given)
    route["spec"]["parentRefs"][0]["sectionName"] = "https"
    return route


def another_kind_of_backend(*given):
    route = _route(*given)
    route["spec"]["rules"][1]["backendRefs"][0]["kind"] = "Deployment"
    return route


WRONG = {
    "19.1": {
        up_to_and_including: "nobody at 0 %, everybody at 100 %",
        zero_or_one: "a bool comes back",
        sum_of_letters: "the share is the percentage, within what chance allows",
        drawn_each_time: "the same client gets the same answer, in another process too",
        pythons_hash: "the same client gets the same answer, in another process too",
        percent_in_the_hash: "who is in at 5 % is in at 25 % and at 60 %",
        whole_percents: "a tenth of a percent is not nothing, nor is a thousandth",
        hundredths_of_a_percent: "a tenth of a percent is not nothing, nor is a thousandth",
        client_alone: "another release draws anew",
        put_together: "names that look alike are not alike",
        with_a_colon: "names that look alike are not alike",
        with_a_control_character: "names that look alike are not alike",
        with_two_colons: "names that look alike are not alike",
        with_a_null: "names that look alike are not alike",
        digests_xored: "another release draws anew",
        digests_added: "another release draws anew",
        in_lower_case: "another release draws anew",
        clients_in_lower_case: "names that look alike are not alike",
        cut_off: "another release draws anew",
        ascii_alone: "another release draws anew",
        takes_everything: "an empty id and other percentages are refused",
    },
    "19.2": {
        rates_compared: "the candidate's share of the requests counts: 1 %, 50 % or 80 %",
        comparison_alone: "no failure among 20 requests says nothing, among 300 it is fine",
        both_must_be_fine: "no failure among 20 requests says nothing, among 300 it is fine",
        among_its_own_requests: "no failure among 20 requests says nothing, among 300 it is fine",
        fixed_limits_alone: "on a day on which everything fails, the candidate is not to blame",
        blames_alone_as_well: "on a day on which everything fails, the candidate is not to blame",
        a_fifth_each_time: "the candidate's share of the requests counts: 1 %, 50 % or 80 %",
        bad_comes_first: "by the limits fine is fine, also beside a stable version that never fails",
        stable_without_requests_is_no_evidence: "without a request of the stable version, the evidence alone decides; without one of the candidate's, nothing does",
        divides_by_zero: "without a request of the stable version, the evidence alone decides; without one of the candidate's, nothing does",
        bounds_swapped: "the same verdict for 400 drawn counts and limits",
        ten_times_each_time: "the same verdict for 400 drawn counts and limits",
        takes_any_counts: "what is no test, or no count, is refused",
    },
    "19.3": {
        replaces_the_object: "nothing changed, nothing changes",
        files_against_last_apply: "a path is a tuple of keys, and beside it stand two values: before and after",
        one_level: "nothing changed, nothing changes",
        before_is_what_was_applied: "a promotion that stands in the cluster alone is taken back",
        dotted_paths: "a path is a tuple of keys, and beside it stand two values: before and after",
        lists_of_two: "a path is a tuple of keys, and beside it stand two values: before and after",
        never_removes: "what was applied and is no longer in the files is removed",
        removes_what_is_gone: "what somebody else set, and what is gone already, stays as it is",
        only_what_is_true: "0, False, an empty text and a list are values",
        zero_is_nothing: "0, False, an empty text and a list are values",
        lists_as_sets: "0, False, an empty text and a list are values",
        walks_the_files: "a value where a dict was, a dict where a value was, and an empty dict",
        first_change: "a change of the files is applied, and what is new is set",
        empties_the_live_object: "all changes are found at once, and no argument is changed",
    },
    "19.4": {
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
        weights_as_floats: "one rule splits everything, stable and candidate",
        redirects_the_rest: "and nothing else is done to a request: no redirect, no filter",
        filters_at_a_backend: "and nothing else is done to a request: no redirect, no filter",
        mirrors_for_testers: "and nothing else is done to a request: no redirect, no filter",
        another_kind_of_backend: "and nothing else is done to a request: no redirect, no filter",
        one_section_of_the_gateway: "it hangs on the Gateway",
    },
}
