"""Checks of lesson 19."""

import copy
import math
import random
import re
from collections.abc import Callable, Iterator
from unittest import mock

from course_lib.checks import Register, raises
from course_lib.idioms.exercises import Property

EXERCISES = Register()


@EXERCISES.add("19.1", "Which clients meet the canary?")
def canary_members(answer: Callable) -> Iterator[Property]:
    """answer(client, percent, release) -> bool."""
    clients = [f"client-{i}" for i in range(4000)]

    def members(percent: float, release: str = "2026-11", among: list[str] = clients) -> set[str]:
        return {each for each in among if answer(each, percent, release)}

    yield ("nobody at 0 %, everybody at 100 %", lambda: members(0) == set() and members(100) == set(clients), [
        "Try percent = 0 and percent = 100.",
        "A place from 0 (inclusive) to 1 (exclusive), below the percentage: strictly.",
        "number * 100 < percent * 2**64, for a number of 64 bits",
    ])  # fmt: skip
    yield ("a bool comes back", lambda: all(type(answer(each, p, "r")) is bool for each in clients[:20] for p in (0, 50, 100)), [
        "What is the type of your answer?",
        "A comparison is a bool.",
        "return … < …",
    ])  # fmt: skip
    yield ("the share is the percentage, within what chance allows",
           lambda: all(abs(len(members(p)) - 40 * p) <= 5 * math.sqrt(40 * p) + 1 for p in (1, 5, 25, 50)), [
        "Of 4,000 clients, 25 % should be near 1,000.",
        "The hash must be spread evenly: all of its bits, not a letter's code.",
        "int.from_bytes(hashlib.sha256(…).digest()[:8], 'big')",
    ])  # fmt: skip

    def stays() -> bool:
        before = members(20)
        with mock.patch("builtins.hash", lambda each: 12345), mock.patch("random.random", lambda: 0.5):
            salted = members(20)
        return before == members(20) == salted

    yield ("the same client gets the same answer, in another process too", stays, [
        "Ask twice. And start Python twice: does hash('client-1') stay?",
        "Python salts hash() anew in each process, and random draws anew each time.",
        "hashlib.sha256 of the names",
    ])  # fmt: skip
    yield ("who is in at 5 % is in at 25 % and at 60 %", lambda: members(1) <= members(5) <= members(25) <= members(60), [
        "Raise the percentage: does anybody leave?",
        "The percentage must not go into the hash.",
        "One place for each client and release, compared with the percentage.",
    ])  # fmt: skip
    fine = [f"c{i}" for i in range(50_000)]

    def coarse() -> bool:
        """Whether the percentages at which clients come in are all multiples of 0.01."""
        found = []
        for client in clients[:20]:
            low, high = 0.0, 100.0
            for _ in range(45):
                middle = (low + high) / 2
                low, high = (low, middle) if answer(client, middle, "r") else (middle, high)
            found.append(abs(100 * high - round(100 * high)) < 1e-6)
        return all(found)

    yield ("a tenth of a percent is not nothing, nor is a thousandth", lambda: 20 <= len(members(0.1, among=fine)) <= 90 and not coarse(), [
        "Of 50,000 clients, 0.1 % should be near 50.",
        "A hundred places are too few: `% 100` knows whole percents alone, `% 10_000` hundredths of one.",
        "Use 64 bits of the hash.",
    ])  # fmt: skip

    def independent(first: str, second: str) -> bool:
        return 100 <= len(members(20, first) & members(20, second)) <= 230  # 160 of 4,000 by chance

    def each_other() -> bool:
        """Also names that differ in a letter's case, in an accent, at the end of a long name, or by a space."""
        long = "release-of-the-digits-service-2026-11-30-build-"
        pairs = (("a", "b"), ("2026-11", "2026-12"), ("1", "2"), ("v3", "V3"), ("ä", "ö"), (long + "1", long + "2"),
                 ("1" + long, "2" + long), ("web", "web "), ("a b", "b a"), ("", "x"))  # fmt: skip
        return all(independent(*each) for each in pairs) and not members(5, "a") <= members(20, "b")

    yield ("another release draws anew", each_other, [
        "How many are in both canaries of two releases at 20 %? By chance 4 %.",
        "The release's name belongs into the hash, all of it: not cut off, not in lower case, no letter left out.",
        "sha256 of release and client together",
    ])  # fmt: skip

    def alike(pairs: list[tuple[tuple[str, str], tuple[str, str]]]) -> bool:
        """Whether all of these pairs of (client, release) get the same answers: by chance once in 2**(number of pairs)."""
        return all(answer(c, 50, r) == answer(d, 50, s) for (c, r), (d, s) in pairs)

    def joined() -> bool:
        """Whatever one puts between the two names may stand in one of them."""
        single = [chr(i) for i in range(0x250)] + ["\u200b", "\u2192", "\ue000", "\U0001f600"]
        marks = ["", *single, *(2 * each for each in single[:128]), "::", ": ", " : ", ", ", " - ", " | ", "->", "=>", "---",
                 "--", "\r\n", "||", "/client/", " client ", "-client-", ":client:", "client", "&client=", "_canary_"]  # fmt: skip
        for mark in marks:
            before = [((f"b{mark}{i}", "a"), (f"{i}", f"a{mark}b")) for i in range(40)]
            after = [((f"a{mark}b", f"{i}"), ("a", f"b{mark}{i}")) for i in range(40)]
            if alike(before) or alike(after):
                return False
        return True

    def swapped() -> bool:
        same = [answer(each, 50, each) for each in clients[:40]]
        return not alike([((f"x{i}", f"y{i}"), (f"y{i}", f"x{i}")) for i in range(40)]) and len(set(same)) == 2

    def other_clients() -> bool:
        kinds = (
            ("Ana{}", "ana{}"),
            ("{}ä", "{}ö"),
            ("{}", "{} "),
            ("{:0>50}1", "{:0>50}2"),
            ("{}a", "{}b"),
            ("{}", "0{}"),
        )
        return not any(alike([((a.format(i), "r"), (b.format(i), "r")) for i in range(40)]) for a, b in kinds)

    yield ("names that look alike are not alike", lambda: joined() and swapped() and other_clients(), [
        'Release "web1" and client "7"; release "web" and client "17". And release "a" with client "b", and the reverse.',
        "A mark between the two helps only if it can stand in neither, and any character may stand in a name.",
        "json.dumps([release, client])",
    ])  # fmt: skip
    yield ("an empty id and other percentages are refused", lambda: all(raises(ValueError, answer, *each, "r") for each in (
        ("", 5), ("a", -1), ("a", 100.5), ("a", float("nan")))) and answer("x", 100, "") is True, [
        "Try an empty id: all such clients would be one.",
        "Also -1, 100.5, and a number that is none.",
        "if not client or not 0 <= percent <= 100: raise ValueError(…)",
    ])  # fmt: skip


def _judged(candidate: tuple, stable: tuple, p0: float, p1: float, alpha: float, beta: float) -> tuple[str, float]:
    """By probabilities of single requests, an independent second way; and how near a bound the evidence comes."""

    def known(wrong: int, fine: int, low: float, high: float) -> float:
        return wrong * (math.log(high) - math.log(low)) + fine * (math.log1p(-high) - math.log1p(-low))

    (k, n), (j, m) = candidate, stable
    alone = compared = known(k, n - k, p0, p1)
    if m:
        odds = n / m  # of the candidate against the stable version
        q0, q1 = odds / (1 + odds), odds * p1 / p0 / (1 + odds * p1 / p0)
        compared = known(k, j, q0, q1) if n else 0.0
    upper, lower = -math.log(alpha), math.log(beta)
    near = min(abs(each - bound) for each in (alone, compared) for bound in (upper, lower))
    if not n:
        return "unknown", 1.0
    if min(alone, compared) <= lower:
        return "fine", near
    return ("bad" if compared >= upper else "unknown"), near


@EXERCISES.add("19.2", "Whose requests go wrong?")
def at_the_same_time(answer: Callable) -> Iterator[Property]:
    """answer(candidate, stable, p0, p1, alpha, beta) -> "fine", "bad" or "unknown"."""
    usual = (0.005, 0.05, 0.001, 0.01)
    yield ("no failure among 20 requests says nothing, among 300 it is fine", lambda: answer((0, 20), (0, 80), *usual) == "unknown"
           and answer((0, 300), (0, 1200), *usual) == "fine", [
        "Alone: each good request takes ln((1 - p1) / (1 - p0)) away.",
        "Nothing went wrong, so the comparison is 0, and the first evidence decides.",
        'if min(alone, compared) <= math.log(beta): return "fine"',
    ])  # fmt: skip
    yield ("a candidate that fails, beside a stable version that does not, is bad", lambda: answer((10, 100), (0, 400), *usual) == "bad"
           and answer((7, 40), (1, 160), *usual) == "bad", [
        "Nearly all that failed were the candidate's, which has a fifth of the requests.",
        "q0 = 0.2, q1 = 10 · 0.2 / (10 · 0.2 + 0.8); K are the candidate's failures, n those of both.",
        'compared = evidence(k, k + j, q0, q1); compared >= -math.log(alpha) is "bad"',
    ])  # fmt: skip
    yield ("on a day on which everything fails, the candidate is not to blame", lambda: answer((8, 100), (32, 400), *usual) == "fine"
           and answer((80, 1000), (320, 4000), *usual) == "fine" and answer((2, 20), (8, 80), *usual) != "bad", [
        "8 % of the candidate's requests failed, and 8 % of the others'.",
        "Its evidence alone is high, and yet only the comparison may say `bad`.",
        'Nothing but `compared` is held against ln(1/alpha).',
    ])  # fmt: skip

    def shares_of_any_size() -> bool:
        return (answer((30, 400), (6, 100), *usual) == "fine" and answer((5, 10), (20, 990), *usual) == "bad"
                and answer((20, 500), (1, 500), *usual) == "bad" and answer((10, 500), (9, 500), *usual) == "fine")  # fmt: skip

    yield ("the candidate's share of the requests counts: 1 %, 50 % or 80 %", shares_of_any_size, [
        "The counts of requests say what share is the candidate's.",
        "q0 = n / (n + m), and not 0.2 each time.",
        "q0 = candidate[1] / (candidate[1] + stable[1])",
    ])  # fmt: skip
    yield ("by the limits fine is fine, also beside a stable version that never fails", lambda: answer((9, 9000), (0, 36000), *usual) == "fine", [
        "1 of 1,000 is less than the 5 of 1,000 that are fine.",
        "The comparison may call it worse; which question comes first?",
        'First "fine", then "bad".',
    ])  # fmt: skip
    yield ("without a request of the stable version, the evidence alone decides; without one of the candidate's, nothing does", lambda: (
        answer((10, 100), (0, 0), *usual), answer((0, 300), (0, 0), *usual), answer((0, 0), (5, 100), *usual),
        answer((0, 0), (0, 0), *usual), answer((0, 0), (500, 1000), *usual)) == ("bad", "fine", "unknown", "unknown", "unknown"), [
        "Try (0, 0) for the stable version, then for the candidate.",
        "Nothing may be divided by zero, and no logarithm of zero.",
        'if not candidate[1]: return "unknown"; and `compared = alone` where stable[1] is 0',
    ])  # fmt: skip

    def drawn() -> bool:
        random_ = random.Random(19)
        tried = 0
        while tried < 400:
            p0 = random_.choice([0.001, 0.01, 0.1])
            p1 = min(p0 * random_.choice([1.5, 3, 10]), 0.99)
            n, m = random_.choice([5, 50, 500]), random_.choice([1, 50, 2000])
            candidate = (random_.randint(0, max(1, n // random_.choice([1, 5, 30]))), n)
            stable = (random_.randint(0, max(1, m // random_.choice([1, 5, 30]))), m)
            how = (p0, p1, random_.choice([0.2, 0.05, 1e-6]), random_.choice([0.2, 0.05, 1e-6]))
            expected, near = _judged(candidate, stable, *how)
            if near > 1e-6:
                tried += 1
                if answer(candidate, stable, *how) != expected:
                    return False
        return True

    yield ("the same verdict for 400 drawn counts and limits", drawn, [
        "alpha belongs to the upper bound, beta to the lower one.",
        "r is p1 / p0, whatever they are. `fine` asks both kinds of evidence.",
        "min(alone, compared) <= math.log(beta); compared >= -math.log(alpha)",
    ])  # fmt: skip
    yield ("what is no test, or no count, is refused", lambda: all(raises(ValueError, answer, (1, 9), (1, 9), *each) for each in (
        (0.1, 0.01, 0.05, 0.1), (0.1, 0.1, 0.05, 0.1), (0, 0.1, 0.05, 0.1), (0.1, 1, 0.05, 0.1), (0.1, 0.2, 0, 0.1),
        (0.1, 0.2, 1, 0.1), (0.1, 0.2, 0.1, 0), (0.1, 0.2, 0.1, 1.5))) and all(raises(ValueError, answer, *each, *usual) for each in (
        ((10, 9), (0, 9)), ((0, 9), (10, 9)), ((-1, 9), (0, 9)), ((0, 9), (-1, 9)), ((1, 0), (0, 9)))), [
        "Try p0 above p1, 0 and 1 for each of the four, and more wrong requests than requests.",
        "Also where the candidate has no request.",
        "if not (0 < p0 < p1 < 1 and …): raise ValueError(…), before anything else",
    ])  # fmt: skip


def _flat(tree: object, path: tuple = ()) -> Iterator[tuple[tuple, object]]:
    if isinstance(tree, dict):
        for key in tree:
            yield from _flat(tree[key], (*path, key))
    else:
        yield path, tree


@EXERCISES.add("19.3", "What will the next apply change?")
def next_apply(answer: Callable) -> Iterator[Property]:
    """answer(files, last_applied, live) -> {path: (before, after)}."""
    files = {"metadata": {"name": "digits", "labels": {"app": "digits"}}, "spec": {"replicas": 2, "image": "digits:1"}}
    live = {
        "metadata": {"name": "digits", "labels": {"app": "digits"}, "uid": "7f"},
        "spec": {"replicas": 2, "image": "digits:1"},
        "status": {"ready": 2},
    }

    def ask(*given: dict) -> dict:
        return answer(*copy.deepcopy(given))

    def with_(tree: dict, path: tuple, *value: object) -> dict:
        """A copy with another value there, or without it."""
        tree = copy.deepcopy(tree)
        inside = tree
        for key in path[:-1]:
            inside = inside.setdefault(key, {})
        if value:
            inside[path[-1]] = value[0]
        else:
            del inside[path[-1]]
        return tree

    image, replicas = ("spec", "image"), ("spec", "replicas")
    yield ("nothing changed, nothing changes", lambda: ask(files, files, live) == {} and ask({}, {}, live) == {} and ask({}, {}, {}) == {}, [
        "The uid and the status stand in no file. Does apply touch them?",
        "What neither the files nor the last apply hold stays.",
        "Look at the values of the files first.",
    ])  # fmt: skip

    def tuples() -> bool:
        found = ask(files, files, with_(live, image, "digits:3"))
        return len(found) == 1 and all(isinstance(each, tuple) for pair in found.items() for each in pair)

    yield ("a path is a tuple of keys, and beside it stand two values: before and after", tuples, [
        "The image differs: one entry is expected.",
        "Not a text with dots, and not a list, which cannot be a key.",
        '{("spec", "image"): (before, after)}',
    ])  # fmt: skip
    yield ("a promotion that stands in the cluster alone is taken back", lambda: ask(files, files, with_(live, image, "digits:3")) == {image: ("digits:3", "digits:1")}
           and ask(files, files, with_(live, replicas, 9)) == {replicas: (9, 2)}, [
        "The files are as they were. And yet the live value differs from them.",
        "Compare the files with the live object, not with the last apply.",
        "{path: (live value, files' value)} where the two differ",
    ])  # fmt: skip
    yield ("a change of the files is applied, and what is new is set", lambda: ask(with_(files, image, "digits:2"), files, live) == {image: ("digits:1", "digits:2")}
           and ask(with_(files, ("spec", "strategy", "surge"), 1), files, live) == {("spec", "strategy", "surge"): (None, 1)}
           and ask(files, {}, {}) == {path: (None, value) for path, value in _flat(files)}, [
        "Before is what is live, after is what the files say.",
        "None stands for a value that is not there yet.",
        "now.get(path), for flat dicts {path: value}",
    ])  # fmt: skip
    yield ("what was applied and is no longer in the files is removed", lambda: ask(with_(files, replicas), files, with_(live, replicas, 9)) == {replicas: (9, None)}
           and ask(with_(files, ("metadata", "labels")), files, live) == {("metadata", "labels", "app"): ("digits", None)}, [
        "The line `replicas` was deleted from the file. What becomes of the nine pods?",
        "The last apply held it, the files do not: it goes.",
        "for each path of last_applied that is not in files and is live: (live value, None)",
    ])  # fmt: skip
    yield ("what somebody else set, and what is gone already, stays as it is", lambda: ask(with_(files, replicas), with_(files, replicas), with_(live, replicas, 9)) == {}
           and ask(with_(files, replicas), files, with_(live, replicas)) == {}
           and ask(files, with_(files, replicas), live) == {}, [
        "An autoscaler set replicas, which no file ever named.",
        "And a value that was applied once, but is not live any more, cannot be removed.",
        "path in before and path not in wanted and path in now",
    ])  # fmt: skip
    yield ("0, False, an empty text and a list are values", lambda: ask({"a": 0, "b": False, "c": "", "d": [1, 2]}, {}, {"a": 1, "b": True, "c": "x", "d": [2, 1]}) == {
        ("a",): (1, 0), ("b",): (True, False), ("c",): ("x", ""), ("d",): ([2, 1], [1, 2])}
           and ask({"a": 0}, {}, {}) == {("a",): (None, 0)} and ask({}, {"a": 0, "b": []}, {"a": 0, "b": []}) == {("a",): (0, None), ("b",): ([], None)}, [
        "`if value` is False for 0.",
        "A list is compared as a whole.",
        "`path in now`, and not `if now.get(path)`",
    ])  # fmt: skip
    yield ("a value where a dict was, a dict where a value was, and an empty dict", lambda: ask({"a": 1}, {"a": {"b": 2}}, {"a": {"b": 2}}) == {("a",): (None, 1), ("a", "b"): (2, None)}
           and ask({"a": {"b": 2}}, {"a": 1}, {"a": 1}) == {("a", "b"): (None, 2), ("a",): (1, None)}
           and ask({"a": {}}, {"a": {"b": 1}}, {"a": {"b": 1}}) == {("a", "b"): (1, None)} and ask({"a": {}}, {}, {}) == {}, [
        "emptyDir: {} is such a dict.",
        "Each value has its path; a dict has none of its own.",
        "Make flat dicts {path: value} of all three first.",
    ])  # fmt: skip

    def unchanged() -> bool:
        given = [with_(files, image, "digits:2"), copy.deepcopy(files), with_(live, replicas, 9)]
        kept = copy.deepcopy(given)
        found = answer(*given)
        return found == {image: ("digits:1", "digits:2"), replicas: (9, 2)} and given == kept

    yield ("all changes are found at once, and no argument is changed", unchanged, [
        "Do not stop at the first change.",
        "pop() and update() change the caller's dicts.",
        "Collect into a new dict.",
    ])  # fmt: skip


@EXERCISES.add("19.4", "The same split, as a route")
def gateway_route(answer: Callable) -> Iterator[Property]:
    """answer(name, gateway, stable, candidate, percent) -> HTTPRoute."""
    import yaml

    def made(percent: int = 5) -> dict:
        text = yaml.safe_dump(answer("digits", "public", "digits", "digits-canary", percent))
        return yaml.safe_load(text)

    def rules(percent: int = 5) -> tuple[list, list]:
        """Those that match a header, and those that match everything."""
        found = made(percent)["spec"]["rules"]
        with_header = [each for each in found if any(match.get("headers") for match in each.get("matches", []))]
        return with_header, [each for each in found if each not in with_header]

    yield ("it is an HTTPRoute with a name", lambda: made()["apiVersion"] == "gateway.networking.k8s.io/v1" and made()["kind"] == "HTTPRoute"
           and made()["metadata"]["name"] == "digits" and made().keys() <= {"apiVersion", "kind", "metadata", "spec"}, [
        "apiVersion, kind, metadata, spec: as every object.",
        "gateway.networking.k8s.io/v1",
        '{"apiVersion": …, "kind": "HTTPRoute", "metadata": {"name": name}, "spec": …}',
    ])  # fmt: skip
    yield ("it hangs on the Gateway", lambda: [each["name"] for each in made()["spec"]["parentRefs"]] == ["public"]
           and made()["spec"]["parentRefs"][0].keys() <= {"name", "kind", "group"}, [
        "Without a parent no traffic reaches it; a section, a port or a namespace was not asked for.",
        "spec.parentRefs is a list.",
        '"parentRefs": [{"name": gateway}]',
    ])  # fmt: skip

    def split(percent: int) -> dict:
        _, (rest,) = rules(percent)
        return {each["name"]: each["weight"] for each in rest["backendRefs"] if type(each["weight"]) is int}

    yield ("one rule splits everything, stable and candidate", lambda: split(5) == {"digits": 95, "digits-canary": 5} and split(50) == {"digits": 50, "digits-canary": 50}, [
        "A rule without `matches` takes all requests.",
        "Two backendRefs with weights.",
        '{"name": stable, "port": 80, "weight": 100 - percent}',
    ])  # fmt: skip

    def everything() -> bool:
        """No condition but the header; the path that every path begins with is none."""
        root = {"type": "PathPrefix", "value": "/"}
        found = [match for group in rules() for rule in group for match in rule.get("matches", [])]
        return not made()["spec"].get("hostnames") and all(
            match.keys() <= {"headers", "path"} and match.get("path", root) == root for match in found
        )

    def nothing_else() -> bool:
        """A filter answers itself, sends elsewhere or changes the request: in a rule or at a backend."""
        every = [rule for group in rules() for rule in group]
        backends = [each for rule in every for each in rule["backendRefs"]]
        return (made()["spec"].keys() <= {"parentRefs", "hostnames", "rules"}
                and all(rule.keys() <= {"name", "matches", "backendRefs"} for rule in every)
                and all(each.keys() <= {"name", "port", "weight", "kind", "group"} for each in backends)
                and all(each.get("kind", "Service") == "Service" and each.get("group", "") == "" for each in backends))  # fmt: skip

    yield ("no other condition, on a path, a method or a host, keeps requests away", everything, [
        "Which requests does your rule not take?",
        "A path /v1 leaves the requests to /v2 without a backend.",
        "The one with the header has that condition alone; the other none.",
    ])  # fmt: skip
    yield ("and nothing else is done to a request: no redirect, no filter", nothing_else, [
        "A rule with a redirect never reaches its backends.",
        "filters, in a rule or at a backend, are not asked for.",
        "A rule holds `matches` and `backendRefs`; a backend `name`, `port` and `weight`.",
    ])  # fmt: skip
    yield ("at 0 % and at 100 % both stay in the list", lambda: split(0) == {"digits": 100, "digits-canary": 0} and split(100) == {"digits": 0, "digits-canary": 100}, [
        "Try percent = 0.",
        "A backend without a weight has weight 1.",
        "Write weight 0; leave nobody out.",
    ])  # fmt: skip
    yield ("each backend has its port", lambda: all(each["port"] == 80 and type(each["port"]) is int for group in rules() for rule in group for each in rule["backendRefs"]), [
        "A Service needs a port, in both rules.",
        "A number, not a text.",
        '"port": 80',
    ])  # fmt: skip

    def testers(percent: int) -> bool:
        (rule,), _ = rules(percent)
        (match,) = rule["matches"]
        (header,) = match["headers"]
        backends = [each for each in rule["backendRefs"] if each.get("weight", 1) > 0]
        return (header["name"].lower(), header["value"], header.get("type", "Exact")) == ("x-canary", "always", "Exact") and [
            each["name"] for each in backends] == ["digits-canary"]  # fmt: skip

    yield ("testers with X-Canary: always meet the candidate alone, whatever the weights", lambda: all(testers(p) for p in (0, 5, 100)), [
        "A second rule, with `matches`.",
        "matches is a list of conditions; headers in it a list of name and value.",
        '"matches": [{"headers": [{"type": "Exact", "name": "X-Canary", "value": "always"}]}]',
    ])  # fmt: skip
    yield ("other percentages are refused", lambda: all(raises(ValueError, answer, "a", "b", "c", "d", each) for each in (-1, 101, 5.0, 2.5, "5", True, None)), [
        "Try -1, 101, 2.5, and True.",
        "Weights are whole numbers; isinstance(True, int) holds.",
        "if type(percent) is not int or not 0 <= percent <= 100: raise ValueError(…)",
    ])  # fmt: skip

    def names() -> bool:
        bad = ("", "model_deploy", "Digits", "-a", "a-", "a.b", "a" * 64, "ä", "a\n")
        good = ("a", "9", "a-b", "a" * 63)
        assert all(re.fullmatch("[a-z0-9]([-a-z0-9]*[a-z0-9])?", each) for each in good)
        places = range(4)
        refused = all(
            raises(ValueError, answer, *["x" if at != place else each for at in places], 5)
            for each in bad
            for place in places
        )
        return refused and all(
            answer(*["x" if at != place else each for at in places], 5) for each in good for place in places
        )

    yield ("names that a cluster refuses are refused here, all four", names, [
        "Try model_deploy, in each of the four places.",
        "Lower case, digits and -, 1 to 63, not at an end. Mind that `$` in a pattern also matches before a line's end.",
        're.fullmatch("[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", name)',
    ])  # fmt: skip
