"""Checks of lesson 19."""

import copy
import itertools
import math
import random
import re
from collections.abc import Callable, Iterator
from unittest import mock

from course_lib.checks import Register, raises
from course_lib.idioms.exercises import Property

EXERCISES = Register()


@EXERCISES.add("19.1", "Who is in the canary?")
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
    yield ("a tenth of a percent is not nothing", lambda: 20 <= len(members(0.1, among=fine)) <= 90, [
        "Of 50,000 clients, 0.1 % should be near 50.",
        "A hundred places are too few: `% 100` knows whole percents alone.",
        "Use 64 bits of the hash.",
    ])  # fmt: skip

    def independent(first: str, second: str) -> bool:
        return 100 <= len(members(20, first) & members(20, second)) <= 230  # 160 of 4,000 by chance

    yield ("another release draws anew", lambda: independent("a", "b") and independent("2026-11", "2026-12")
           and not (members(5, "a") <= members(20, "b")), [
        "How many are in both canaries of two releases at 20 %? By chance 4 %.",
        "The release's name belongs into the hash.",
        "sha256 of release and client together",
    ])  # fmt: skip

    def borders() -> bool:
        a = [answer(f"{i}", 50, "web1") for i in range(1000)]
        return all(sum(x == y for x, y in zip(a, [answer(f"{joint}1{i}" if joint else f"1{i}", 50, "web") for i in range(1000)])) < 800
                   for joint in ("", "-", ":", "/", "|"))  # fmt: skip

    def joined() -> bool:
        """Whatever one puts between the two names may stand in one of them."""
        same = []
        for mark in (":", "-", "/", "|", "\n", " ", "_", "."):
            a = [answer(f"b{mark}{i}", 50, "a") for i in range(300)]
            same.append(sum(x == answer(f"{i}", 50, f"a{mark}b") for i, x in enumerate(a)))
        return max(same) < 250

    yield ("names that look alike when put together are not alike", lambda: borders() and joined(), [
        'Release "web1" and client "7"; release "web" and client "17".',
        "A mark between the two helps only if it can stand in neither.",
        "json.dumps([release, client])",
    ])  # fmt: skip
    yield ("an empty id and other percentages are refused", lambda: all(raises(ValueError, answer, *each, "r") for each in (
        ("", 5), ("a", -1), ("a", 100.5), ("a", float("nan")))) and answer("x", 100, "") is True, [
        "Try an empty id: all such clients would be one.",
        "Also -1, 100.5, and a number that is none.",
        "if not client or not 0 <= percent <= 100: raise ValueError(…)",
    ])  # fmt: skip


def _watched(outcomes: list[bool], p0: float, p1: float, alpha: float, beta: float) -> tuple[str, int]:
    """By counts, all prefixes at once: an independent second way."""
    wrong = list(itertools.accumulate(map(int, outcomes)))
    for n, k in enumerate(wrong, start=1):
        ratio = k * (math.log(p1) - math.log(p0)) + (n - k) * (math.log1p(-p1) - math.log1p(-p0))
        if ratio >= -math.log(alpha) or ratio <= math.log(beta):
            return ("roll back" if ratio > 0 else "promote"), n
    return "go on", len(outcomes)


@EXERCISES.add("19.2", "Stop as soon as you know")
def sequential(answer: Callable) -> Iterator[Property]:
    """answer(outcomes, p0, p1, alpha, beta) -> (verdict, requests read)."""

    def gives(outcomes: list[bool], *how: float) -> bool:
        return tuple(answer(list(outcomes), *how)) == _watched(outcomes, *how)

    yield ("three failures in a row are enough at 1 % against 10 %, with alpha 0.001", lambda: tuple(answer([True] * 9, 0.01, 0.1, 0.0011, 0.01)) == ("roll back", 3), [
        "Each failure makes p1 ten times as likely.",
        "10 · 10 · 10 ≥ 1 / 0.0011",
        "Add math.log(p1 / p0) for each failure and compare with math.log(1 / alpha).",
    ])  # fmt: skip
    yield ("good requests alone promote, after as many as it takes", lambda: gives([False] * 300, 0.01, 0.05, 0.001, 0.02), [
        "A good request makes p1 a little less likely.",
        "By (1 - p1) / (1 - p0).",
        "Add math.log((1 - p1) / (1 - p0)) for each; promote at math.log(beta).",
    ])  # fmt: skip

    def random_streams(alpha: float, beta: float) -> bool:
        for seed in range(40):
            drawn = random.Random(seed)
            outcomes = [drawn.random() < drawn.choice([0.01, 0.05, 0.1]) for _ in range(400)]
            if not gives(outcomes, 0.02, 0.08, alpha, beta):
                return False
        return True

    yield ("failures among good requests, as they come", lambda: random_streams(0.01, 0.1), [
        "Compare after each request, not at the end.",
        "Both kinds of requests change the evidence; beta is the lower bound, 1 / alpha the upper one.",
        "known += wrong if outcome else fine; then the two comparisons",
    ])  # fmt: skip
    yield ("alpha belongs to the upper bound, beta to the lower one", lambda: random_streams(0.2, 0.001) and random_streams(0.001, 0.2), [
        "Try alpha = 0.2 with beta = 0.001, and the reverse.",
        "Is one of the two in both bounds?",
        "Upper: -math.log(alpha). Lower: math.log(beta).",
    ])  # fmt: skip
    yield ("where it ends undecided, it says so", lambda: tuple(answer([], 0.01, 0.1, 0.001, 0.01)) == ("go on", 0)
           and tuple(answer([True, True], 0.01, 0.1, 0.001, 0.01)) == ("go on", 2), [
        "Try no request at all, and two.",
        "Neither bound is reached.",
        'return "go on", read, after the loop',
    ])  # fmt: skip

    def reads_no_more() -> bool:
        taken = []

        def stream() -> Iterator[bool]:
            while True:
                taken.append(1)
                if len(taken) > 5000:
                    raise RuntimeError("the decision was made long ago, and still more is read")
                yield True

        return tuple(answer(stream(), 0.01, 0.1, 0.0011, 0.01)) == ("roll back", 3) and len(taken) == 3

    yield ("an endless stream is read as far as needed", reads_no_more, [
        "list(outcomes) never ends.",
        "A generator gives one at a time.",
        "for outcome in outcomes: …, and return inside the loop",
    ])  # fmt: skip
    yield ("what NumPy calls True counts, and so does 1", lambda: tuple(answer([1, 1, 1], 0.01, 0.1, 0.0011, 0.01)) == ("roll back", 3), [
        "Try 1 and 0 instead of True and False.",
        "`outcome is True` is too much to ask.",
        "if outcome: …",
    ])  # fmt: skip

    def long() -> bool:
        """No decision for thousands of requests, and then one: a product would have run out of its range on the way."""
        fair = [True] * 2000 + [False] * 2000
        return gives(fair, 0.4, 0.6, 1e-307, 1e-307) and gives([True] * 1500, 0.5, 0.8, 1e-300, 0.1)

    yield ("a bound of 10³⁰⁰ is reached when it is reached", long, [
        "Try alpha = 1e-307: 1 / alpha is near the largest float.",
        "Sums of logarithms do not overflow.",
        "-math.log(alpha) instead of 1 / alpha",
    ])  # fmt: skip
    yield ("what is no test is refused", lambda: all(raises(ValueError, answer, [], *each) for each in (
        (0.1, 0.01, 0.05, 0.1), (0.1, 0.1, 0.05, 0.1), (0, 0.1, 0.05, 0.1), (0.1, 1, 0.05, 0.1), (0.1, 0.2, 0, 0.1),
        (0.1, 0.2, 1, 0.1), (0.1, 0.2, 0.1, 0), (0.1, 0.2, 0.1, 1.5))), [
        "Try p0 above p1, and 0 and 1 for each of the four.",
        "Also before any request was read.",
        "if not (0 < p0 < p1 < 1 and …): raise ValueError(…)",
    ])  # fmt: skip


def _tail(most: int, n: int, p: float) -> float:
    """P(K > most), by adding one request at a time: an independent second way."""
    chances = [1.0]
    for _ in range(n):
        chances = [(1 - p) * a + p * b for a, b in zip([*chances, 0.0], [0.0, *chances])]
    return sum(chances[most + 1 :])


@EXERCISES.add("19.3", "How many requests, exactly?", seconds=60)
def exact_sample(answer: Callable) -> Iterator[Property]:
    """answer(p0, p1, alpha, power) -> (n, most)."""

    def is_smallest(p0: float, p1: float, alpha: float, power: float) -> bool:
        n, most = answer(p0, p1, alpha, power)
        keeps = _tail(most, n, p0) <= alpha + 1e-12 and _tail(most, n, p1) >= power - 1e-12
        tighter = most == 0 or _tail(most - 1, n, p0) > alpha
        for fewer in range(max(1, n - 40), n):
            bound = next(k for k in range(fewer + 1) if _tail(k, fewer, p0) <= alpha)
            if _tail(bound, fewer, p1) >= power:
                return False
        return keeps and tighter

    yield ("where a good candidate never fails, one failure is enough: 299 requests show 1 %",
           lambda: tuple(answer(0, 0.01, 0.05, 0.95)) == (299, 0) and tuple(answer(0, 0.2, 0.01, 0.9)) == (11, 0), [
        "With p0 = 0, most is 0. When is at least one failure nearly certain?",
        "1 - 0.99ⁿ ≥ 0.95",
        "P(K > 0 | p1) = 1 - (1 - p1)**n",
    ])  # fmt: skip
    yield ("from a coin: 0.5 against 0.9", lambda: is_smallest(0.5, 0.9, 0.05, 0.8), [
        "Try n = 1, 2, 3, … and for each the smallest bound that keeps the first promise.",
        "P(K ≤ most) is a sum of math.comb(n, i) * p**i * (1 - p)**(n - i).",
        "Raise `most` while 1 - P(K ≤ most | p0) > alpha; then look at the second promise.",
    ])  # fmt: skip
    cases = [
        (0.01, 0.1, 0.05, 0.9),
        (0.05, 0.2, 0.05, 0.8),
        (0.02, 0.2, 0.01, 0.9),
        (0.1, 0.3, 0.1, 0.9),
        (0.3, 0.5, 0.05, 0.8),
    ]
    yield ("both promises are kept, by the smallest bound that keeps the first one",
           lambda: all(_tail(m, n, a) <= alpha and _tail(m, n, b) >= power and (m == 0 or _tail(m - 1, n, a) > alpha)
                       for a, b, alpha, power in cases for n, m in [answer(a, b, alpha, power)]), [
        "Compute P(K > most) for your answer, under p0 and under p1.",
        "K > most, not K ≥ most. alpha is for p0, power for p1.",
        "1 - at_most(most, n, p0) <= alpha and 1 - at_most(most, n, p1) >= power",
    ])  # fmt: skip
    yield ("and with no request fewer", lambda: all(is_smallest(*each) for each in cases), [
        "Is there a smaller n that would do?",
        "The power goes up and down with n, as the bound jumps: no halving, no steps of ten.",
        "Count n up from 1, one at a time.",
    ])  # fmt: skip
    yield ("a weak promise needs one request", lambda: tuple(answer(0.01, 0.6, 0.05, 0.5)) == (1, 0), [
        "Try p1 = 0.6 with a power of 0.5.",
        "One request fails with probability 0.6: enough.",
        "n begins at 1.",
    ])  # fmt: skip
    yield ("some hundreds of requests are no problem", lambda: is_smallest(0.01, 0.035, 0.05, 0.9), [
        "Which factor overflows, or which loop is too long?",
        "math.comb is exact; the bound never falls as n grows, so it need not begin at 0 again.",
        "Keep `most` from one n to the next.",
    ])  # fmt: skip
    yield ("what is no plan is refused", lambda: all(raises(ValueError, answer, *each) for each in (
        (0.1, 0.1, 0.05, 0.9), (0.2, 0.1, 0.05, 0.9), (-0.1, 0.1, 0.05, 0.9), (0.1, 1, 0.05, 0.9), (0.1, 0.2, 0, 0.9),
        (0.1, 0.2, 0.05, 1), (0.1, 0.2, 1, 0.9), (0.1, 0.2, 0.05, 0))), [
        "Try p0 = p1: no number of requests tells them apart.",
        "And promises of 0 or 1.",
        "if not (0 <= p0 < p1 < 1 and 0 < alpha < 1 and 0 < power < 1): raise ValueError(…)",
    ])  # fmt: skip


def field(
    dtype: str = "float32", shape: tuple = (-1, 8, 8), low: float | None = 0, high: float | None = 1, **more: bool
) -> dict:
    return {"dtype": dtype, "shape": shape, "low": low, "high": high, **more}


@EXERCISES.add("19.4", "Does this break a client?")
def schema_gate(answer: Callable) -> Iterator[Property]:
    """answer(old, new) -> set of (side, name)."""
    old = {"inputs": {"pixels": field(), "pen": field(shape=(-1,), optional=True)},
           "outputs": {"logits": field(shape=(-1, 10), low=None, high=None), "sure": field(shape=(-1,))}}  # fmt: skip

    def changed(side: str, name: str, now: dict | None = None, **to: object) -> dict:
        new = copy.deepcopy(old)
        if now is not None or to:
            new[side][name] = now if now is not None else new[side][name] | to
        else:
            del new[side][name]
        return new

    def broken(new: dict) -> set:
        return set(answer(old, new))

    yield ("no change breaks nobody", lambda: broken(copy.deepcopy(old)) == set() and set(answer({"inputs": {}, "outputs": {}}, {"inputs": {}, "outputs": {}})) == set(), [
        "Compare a version with itself.",
        "An empty set is set().",
        "Collect (side, name) only where something breaks.",
    ])  # fmt: skip
    yield ("what is gone, or renamed, breaks", lambda: broken(changed("inputs", "pixels")) == {("inputs", "pixels")}
           and broken(changed("outputs", "sure")) == {("outputs", "sure")} and broken(changed("inputs", "pen")) == {("inputs", "pen")}, [
        "Remove an input; remove an output.",
        "An optional input that is gone breaks those who send it.",
        "name not in new[side]",
    ])  # fmt: skip
    yield ("an output more breaks nobody, nor an optional input; a required input does",
           lambda: broken(changed("outputs", "more", field())) == set() and broken(changed("inputs", "hint", field(optional=True))) == set()
           and broken(changed("inputs", "hint", field())) == {("inputs", "hint")}
           and broken(changed("inputs", "hint", field(optional=False))) == {("inputs", "hint")}, [
        "Which of the three must an old client know?",
        "Without the key `optional`, an input is required.",
        'not new_field.get("optional", False)',
    ])  # fmt: skip
    yield ("another dtype breaks, on both sides", lambda: broken(changed("inputs", "pixels", dtype="float64")) == {("inputs", "pixels")}
           and broken(changed("outputs", "logits", dtype="float64")) == {("outputs", "logits")}, [
        "float64 holds every float32, and yet.",
        "Bytes are read as what they were.",
        'old["dtype"] != new["dtype"]',
    ])  # fmt: skip
    yield ("an optional input that becomes required breaks; the reverse does not", lambda: broken(changed("inputs", "pen", optional=False)) == {("inputs", "pen")}
           and broken(changed("inputs", "pixels", optional=True)) == set(), [
        "Some clients leave it out.",
        "Compare the two values of `optional`.",
        "was optional and is not any more",
    ])  # fmt: skip
    yield ("an input's range may widen, an output's may narrow", lambda: broken(changed("inputs", "pixels", low=-1, high=None)) == set()
           and broken(changed("inputs", "pixels", high=0.5)) == {("inputs", "pixels")} and broken(changed("inputs", "pixels", low=0.1)) == {("inputs", "pixels")}
           and broken(changed("outputs", "sure", low=0.2, high=0.9)) == set() and broken(changed("outputs", "sure", high=100)) == {("outputs", "sure")}
           and broken(changed("outputs", "sure", low=-1)) == {("outputs", "sure")}, [
        "Who must cope with whose range?",
        "What clients send must fit into the new inputs; what the model answers, into the old outputs.",
        "One function within(inner, outer): within(old, new) for inputs, within(new, old) for outputs.",
    ])  # fmt: skip
    yield ("no bound is wider than any bound", lambda: broken(changed("outputs", "logits", low=-50, high=50)) == set()
           and broken(changed("outputs", "sure", high=None)) == {("outputs", "sure")} and broken(changed("outputs", "sure", low=None)) == {("outputs", "sure")}
           and set(answer(changed("inputs", "pixels", low=None), old)) == {("inputs", "pixels")}, [
        "None stands for infinity.",
        "The outer side None allows everything; the inner side None fits into None alone.",
        "low is None or (inner['low'] is not None and inner['low'] >= low)",
    ])  # fmt: skip
    yield ("a size that was free and is fixed breaks an input, not an output; the reverse the other way round",
           lambda: broken(changed("inputs", "pixels", shape=(1, 8, 8))) == {("inputs", "pixels")}
           and broken(changed("inputs", "pixels", shape=(-1, -8, 8))) == set()
           and broken(changed("outputs", "logits", shape=(1, 10))) == set()
           and broken(changed("outputs", "logits", shape=(-1, -10))) == {("outputs", "logits")}, [
        "-1 is any size from 1; 1 is 1.",
        "A fixed size s fits into -k where s ≥ k.",
        "a == b or (b < 0 and abs(a) >= -b), for inner a and outer b",
    ])  # fmt: skip
    yield ("any size from k: a larger k is narrower", lambda: broken(changed("inputs", "pixels", shape=(-2, 8, 8))) == {("inputs", "pixels")}
           and broken(changed("outputs", "logits", shape=(-2, 10))) == set()
           and set(answer(changed("inputs", "pixels", shape=(-2, 8, 8)), old)) == set()
           and broken(changed("inputs", "pixels", shape=(-1, -9, 8))) == {("inputs", "pixels")}
           and broken(changed("outputs", "logits", shape=(0, 10))) == {("outputs", "logits")}, [
        "-2 does not allow one picture; -1 does, but not none: 0 is a size of its own.",
        "-2 fits into -1, not the other way round.",
        "b < 0 and abs(a) >= -b",
    ])  # fmt: skip
    yield ("an axis more or less breaks", lambda: broken(changed("inputs", "pixels", shape=(-1, 8))) == {("inputs", "pixels")}
           and broken(changed("outputs", "logits", shape=(-1, 10, 1))) == {("outputs", "logits")}, [
        "zip() stops at the shorter one.",
        "Compare the numbers of axes first.",
        'len(inner["shape"]) != len(outer["shape"])',
    ])  # fmt: skip

    def all_at_once() -> bool:
        new = {
            "inputs": {"pixels": field(high=0.5), "hint": field()},
            "outputs": {"logits": old["outputs"]["logits"], "sure": field(shape=(-1,), high=2), "x": field()},
        }
        kept = copy.deepcopy((old, new))
        found = broken(new)
        return found == {("inputs", "pixels"), ("inputs", "pen"), ("inputs", "hint"), ("outputs", "sure")} and kept == (
            old,
            new,
        )

    yield ("all that breaks is found, and nothing is changed", all_at_once, [
        "Several changes at once.",
        "Do not return at the first.",
        "Collect into a set.",
    ])  # fmt: skip


@EXERCISES.add("19.5", "The same split, as a route")
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
           and made()["metadata"]["name"] == "digits", [
        "apiVersion, kind, metadata, spec: as every object.",
        "gateway.networking.k8s.io/v1",
        '{"apiVersion": …, "kind": "HTTPRoute", "metadata": {"name": name}, "spec": …}',
    ])  # fmt: skip
    yield ("it hangs on the Gateway", lambda: [each["name"] for each in made()["spec"]["parentRefs"]] == ["public"], [
        "Without a parent no traffic reaches it.",
        "spec.parentRefs is a list.",
        '"parentRefs": [{"name": gateway}]',
    ])  # fmt: skip

    def split(percent: int) -> dict:
        _, (rest,) = rules(percent)
        return {each["name"]: each["weight"] for each in rest["backendRefs"]}

    yield ("one rule splits everything, stable and candidate", lambda: split(5) == {"digits": 95, "digits-canary": 5} and split(50) == {"digits": 50, "digits-canary": 50}, [
        "A rule without `matches` takes all requests.",
        "Two backendRefs with weights.",
        '{"name": stable, "port": 80, "weight": 100 - percent}',
    ])  # fmt: skip

    def everything() -> bool:
        """No condition but the header; the path that every path begins with is none."""
        root = {"type": "PathPrefix", "value": "/"}
        found = [match for group in rules() for rule in group for match in rule.get("matches", [])]
        return "hostnames" not in made()["spec"] and all(
            match.keys() <= {"headers", "path"} and match.get("path", root) == root for match in found
        )

    yield ("no other condition, on a path, a method or a host, keeps requests away", everything, [
        "Which requests does your rule not take?",
        "A path /v1 leaves the requests to /v2 without a backend.",
        "The one with the header has that condition alone; the other none.",
    ])  # fmt: skip
    yield ("at 0 % and at 100 % both stay in the list", lambda: split(0) == {"digits": 100, "digits-canary": 0} and split(100) == {"digits": 0, "digits-canary": 100}, [
        "Try percent = 0.",
        "A backend without a weight has weight 1.",
        "Write weight 0; leave nobody out.",
    ])  # fmt: skip
    yield ("each backend has its port", lambda: all(each["port"] == 80 for group in rules() for rule in group for each in rule["backendRefs"]), [
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
