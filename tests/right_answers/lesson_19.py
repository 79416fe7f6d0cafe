"""Right answers to lesson 19's exercises that differ from the solutions."""

import hashlib
import hmac
import math
from fractions import Fraction

# 19.1


def _asked(client, percent):
    if not client or not 0 <= percent <= 100:
        raise ValueError("expected an id and 0 to 100 percent")


def by_length(client, percent, release):
    _asked(client, percent)
    text = f"{len(release)}:{release}{client}".encode()
    return int(hashlib.md5(text).hexdigest(), 16) / 2**128 < percent / 100


def by_key(client, percent, release):
    _asked(client, percent)
    place = hmac.new(release.encode(), client.encode(), "sha512").digest()
    return Fraction(int.from_bytes(place, "little"), 2**512) < Fraction(percent) / 100


def by_digest_of_digests(client, percent, release):
    _asked(client, percent)
    both = hashlib.sha256(client.encode()).digest() + hashlib.sha256(release.encode()).digest()
    return int.from_bytes(hashlib.sha256(both).digest()[:7], "big") < percent / 100 * 2**56


def by_repr(client, percent, release):
    _asked(client, percent)
    place = hashlib.blake2b(repr((client, release)).encode(), digest_size=8).hexdigest()
    return int(place, 16) % 10**9 < percent * 10**7


def by_person(client, percent, release):
    if client == "" or percent != percent or percent < 0 or percent > 100:
        raise ValueError
    salt = hashlib.sha256(release.encode("utf-16")).digest()[:16]
    digest = hashlib.blake2s(client.encode(), key=salt).digest()
    return bool(sum(byte / 256 ** (at + 1) for at, byte in enumerate(digest)) * 100 < percent)


# 19.2


def _checked(candidate, stable, p0, p1, alpha, beta):
    if not 0 < p0 < p1 < 1 or not 0 < alpha < 1 or not 0 < beta < 1:
        raise ValueError
    for wrong, count in (candidate, stable):
        if wrong < 0 or wrong > count:
            raise ValueError


def by_counts_of_fine_ones(candidate, stable, p0, p1, alpha, beta):
    _checked(candidate, stable, p0, p1, alpha, beta)
    (k, n), (j, m) = candidate, stable
    if n == 0:
        return "unknown"
    alone = k * (math.log(p1) - math.log(p0)) + (n - k) * (math.log1p(-p1) - math.log1p(-p0))
    compared = alone
    if m > 0:
        r, q = p1 / p0, n / (n + m)
        total = r * q + 1 - q
        compared = k * math.log(r / total) + j * math.log(1 / total)
    if alone <= math.log(beta) or compared <= math.log(beta):
        return "fine"
    return "bad" if compared >= math.log(1 / alpha) else "unknown"


def in_numpy(candidate, stable, p0, p1, alpha, beta):
    import numpy as np

    _checked(candidate, stable, p0, p1, alpha, beta)
    counts = np.array([candidate, stable], float)
    if counts[0, 1] == 0:
        return "unknown"

    def of(wrong, count, p, q):
        return np.dot([wrong, count - wrong], np.log([q / p, (1 - q) / (1 - p)]))

    known = [of(*counts[0], p0, p1)]
    if counts[1, 1]:
        share = counts[0, 1] / counts[:, 1].sum()
        known.append(of(counts[0, 0], counts[:, 0].sum(), share, 1 / (1 + (1 - share) / share * p0 / p1)))
    return str(np.where(min(known) <= np.log(beta), "fine", np.where(known[-1] >= -np.log(alpha), "bad", "unknown")))


def in_two_functions(candidate, stable, p0, p1, alpha, beta):
    _checked(candidate, stable, p0, p1, alpha, beta)

    def ratio(k, n, a, b):  # in bits
        return k * math.log2(b / a) + (n - k) * math.log2((1 - b) / (1 - a))

    def compared():
        odds = candidate[1] / stable[1]
        a, b = odds / (1 + odds), odds * p1 / (odds * p1 + p0)
        return ratio(candidate[0], candidate[0] + stable[0], a, b)

    if not candidate[1]:
        return "unknown"
    first = ratio(*candidate, p0, p1)
    second = compared() if stable[1] else first
    if first <= math.log2(beta) or second <= math.log2(beta):
        return "fine"
    if second >= -math.log2(alpha):
        return "bad"
    return "unknown"


def by_products(candidate, stable, p0, p1, alpha, beta):
    """Logarithms of each request, one by one."""
    _checked(candidate, stable, p0, p1, alpha, beta)

    def known(wrong, fine, low, high):
        return sum([math.log(high / low)] * wrong) + sum([math.log((1 - high) / (1 - low))] * fine)

    (k, n), (j, m) = map(tuple, (candidate, stable))
    if n == 0:
        return "unknown"
    both = [known(k, n - k, p0, p1)]
    if m:
        q0 = n / (n + m)
        both += [known(k, j, q0, 1 / (1 + (1 / q0 - 1) * p0 / p1))]
    return "fine" if min(both) <= math.log(beta) else "bad" if both[-1] >= -math.log(alpha) else "unknown"


def by_named_counts(candidate, stable, p0, p1, alpha, beta):
    from collections import namedtuple

    Counts = namedtuple("Counts", "wrong count")
    mine, other = Counts(*candidate), Counts(*stable)
    if any(each.wrong < 0 or each.count < each.wrong for each in (mine, other)):
        raise ValueError("no counts")
    if not (0 < p0 and p0 < p1 and p1 < 1 and alpha > 0 and alpha < 1 and beta > 0 and beta < 1):
        raise ValueError("no test")
    if mine.count == 0:
        return "unknown"
    good = mine.count - mine.wrong
    alone = mine.wrong * math.log(p1 / p0) + good * math.log((1 - p1) / (1 - p0))
    if alone <= math.log(beta):
        return "fine"
    if other.count == 0:
        return "bad" if alone >= math.log(1 / alpha) else "unknown"
    q0 = mine.count / (mine.count + other.count)
    q1 = (p1 / p0) * q0 / ((p1 / p0) * q0 + 1 - q0)
    compared = mine.wrong * math.log(q1 / q0) + other.wrong * math.log((1 - q1) / (1 - q0))
    if compared <= math.log(beta):
        return "fine"
    return "bad" if compared >= math.log(1 / alpha) else "unknown"


# 19.3


def by_recursion(files, last_applied, live, path=()):
    found = {}
    sides = [each if isinstance(each, dict) else {} for each in (files, last_applied, live)]
    for key in dict.fromkeys(key for side in sides for key in side):
        new, old, now = (side.get(key) for side in sides)
        place = (*path, key)
        if any(isinstance(each, dict) for each in (new, old, now)):
            found.update(by_recursion(new, old, now, place))
        leaf = [None if isinstance(each, dict) else each for each in (new, old, now)]
        if leaf[0] is not None and leaf[0] != leaf[2]:
            found[place] = (leaf[2], leaf[0])
        elif leaf[0] is None and leaf[1] is not None and leaf[2] is not None:
            found[place] = (leaf[2], None)
    return found


def _values(tree):
    found, todo = {}, [((), tree)]
    while todo:
        path, each = todo.pop()
        if isinstance(each, dict):
            todo += [((*path, key), value) for key, value in each.items()]
        else:
            found[path] = each
    return found


def by_a_stack(files, last_applied, live):
    wanted, before, now = _values(files), _values(last_applied), _values(live)
    after = {path: value for path, value in now.items() if path not in before or path in wanted} | wanted
    paths = now.keys() | after.keys()
    return {path: (now.get(path), after.get(path)) for path in paths if now.get(path) != after.get(path)}


def in_one_loop(files, last_applied, live):
    wanted, before, now = map(_values, (files, last_applied, live))
    found = {}
    for path in [*wanted, *before]:
        if path in wanted:
            if path not in now or now[path] != wanted[path]:
                found[path] = (now.get(path), wanted[path])
        elif path in now:
            found[path] = (now[path], None)
    return found


def by_json_paths(files, last_applied, live):
    def walk(tree):
        for key, value in tree.items():
            if isinstance(value, dict):
                for rest, leaf in walk(value):
                    yield [key, *rest], leaf
            else:
                yield [key], value

    wanted, before, now = ({tuple(path): leaf for path, leaf in walk(tree)} for tree in (files, last_applied, live))
    missing = object()
    found = {path: (now.get(path), value) for path, value in wanted.items() if now.get(path, missing) != value}
    found.update({path: (now[path], None) for path in before.keys() & now.keys() - wanted.keys()})
    return found


def by_applying(files, last_applied, live):
    import copy

    after = _values(copy.deepcopy(live))
    for path in _values(last_applied):
        if path not in _values(files):
            after.pop(path, None)
    after.update(_values(files))
    now = _values(live)
    return {
        path: (now.get(path), after.get(path))
        for path in sorted({*now, *after}, key=str)
        if now.get(path) != after.get(path)
    }


# 19.4


def _label(text):
    ok = 1 <= len(text) <= 63 and all(c in "abcdefghijklmnopqrstuvwxyz0123456789-" for c in text)
    if not ok or text.startswith("-") or text.endswith("-"):
        raise ValueError(f"no RFC 1123 label: {text!r}")


def with_kinds_and_paths(name, gateway, stable, candidate, percent):
    for each in (name, gateway, stable, candidate):
        _label(each)
    if isinstance(percent, bool) or not isinstance(percent, int) or percent not in range(101):
        raise ValueError
    every = {"path": {"type": "PathPrefix", "value": "/"}}

    def to(service, weight):
        return {"group": "", "kind": "Service", "name": service, "port": 80, "weight": weight}

    rules = [
        {"name": "rest", "matches": [every], "backendRefs": [to(candidate, percent), to(stable, 100 - percent)]},
        {
            "matches": [{**every, "headers": [{"name": "x-canary", "value": "always"}]}],
            "backendRefs": [to(candidate, 100)],
        },
    ]
    parent = {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": gateway}
    return {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": {"name": name, "labels": {"app": name}},
            "spec": {"parentRefs": [parent], "rules": rules}}  # fmt: skip


def stable_at_zero_for_testers(name, gateway, stable, candidate, percent):
    route = with_kinds_and_paths(name, gateway, stable, candidate, percent)
    route["spec"]["rules"][1]["backendRefs"].append({"name": stable, "port": 80, "weight": 0})
    return route


def testers_first(name, gateway, stable, candidate, percent):
    route = with_kinds_and_paths(name, gateway, stable, candidate, percent)
    route["spec"]["rules"].reverse()
    return route


def without_weights_for_testers(name, gateway, stable, candidate, percent):
    import re

    for each in (name, gateway, stable, candidate):
        if len(each) > 63 or not re.fullmatch(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?", each):
            raise ValueError(each)
    if percent.__class__ is not int or percent < 0 or percent > 100:
        raise ValueError(percent)
    header = dict(name="X-CANARY", value="always")
    testers = dict(matches=[dict(headers=[header])], backendRefs=[dict(name=candidate, port=80)])
    weights = {stable: 100 - percent, candidate: percent}
    rest = dict(backendRefs=[dict(name=each, port=80, weight=weight) for each, weight in weights.items()])
    return dict(apiVersion="gateway.networking.k8s.io/v1", kind="HTTPRoute", metadata=dict(name=name),
                spec=dict(parentRefs=[dict(name=gateway)], rules=[testers, rest]))  # fmt: skip


def from_yaml(name, gateway, stable, candidate, percent):
    import yaml

    without_weights_for_testers(name, gateway, stable, candidate, percent)  # raises
    return yaml.safe_load(f"""
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: "{name}"}}
spec:
  parentRefs: [{{name: "{gateway}", kind: Gateway}}]
  rules:
    - matches: [{{headers: [{{name: X-Canary, value: always, type: Exact}}]}}]
      backendRefs: [{{name: "{candidate}", port: 80, weight: 1}}]
    - backendRefs:
        - {{name: "{stable}", port: 80, weight: {100 - percent}}}
        - {{name: "{candidate}", port: 80, weight: {percent}}}
""")


RIGHT = {
    "19.1": [by_length, by_key, by_digest_of_digests, by_repr, by_person],
    "19.2": [by_counts_of_fine_ones, in_numpy, in_two_functions, by_products, by_named_counts],
    "19.3": [by_recursion, by_a_stack, in_one_loop, by_json_paths, by_applying],
    "19.4": [with_kinds_and_paths, stable_at_zero_for_testers, testers_first, without_weights_for_testers, from_yaml],
}
