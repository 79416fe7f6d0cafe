"""Checks of lesson 22c, walls and keys."""

import copy
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator

import numpy as np
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.keywrap import aes_key_wrap

from course_lib.checks import Register, raises
from course_lib.idioms.exercises import Property

EXERCISES = Register()


def tokens(arrivals: Iterable[float], rate: float, burst: int) -> list[bool]:
    """The leaky bucket's other form, which gives the same: burst + 1 tokens, full at first."""
    held, last, passed = burst + 1.0, None, []
    for at in arrivals:
        held = min(burst + 1.0, held + (0 if last is None else rate * (at - last)))
        passed.append(held >= 1)
        held, last = held - passed[-1], at
    return passed


def same(found: object, expected: list[bool]) -> bool:
    """Whether these are the same answers, as bools or NumPy's, in a list, a tuple or an array."""
    return len(found) == len(expected) and all(
        isinstance(each, (bool, np.bool_)) and each == wanted for each, wanted in zip(found, expected)
    )


@EXERCISES.add("22c.1", "How many get through?")
def limit(answer: Callable) -> Iterator[Property]:
    """answer(arrivals, rate, burst) -> list of bools."""
    yield ("30 requests at once, 2 a second, burst 5: the first 6 pass", lambda: same(
        answer([3.0] * 30, 2.0, 5), [True] * 6 + [False] * 24
    ), [
        "The first request sets the excess to 0. What does the second one make of it, at the same time?",
        "A request passes if the excess that it would give is at most the burst: 0, 1, 2, 3, 4 and 5.",
        "would = max(0, excess - rate * (at - last) + 1); passed if would <= burst",
    ])  # fmt: skip
    steady = [each / 2 for each in range(40)]
    yield ("two a second, evenly, all pass, also with burst 0", lambda: same(
        answer(steady, 2.0, 0), [True] * 40
    ), [
        "After half a second at 2 a second, how much has drained?",
        "The excess stays 0: 0 - 2 · 0.5 + 1 = 0.",
        "Compare with <=, not with <.",
    ])  # fmt: skip
    hasty = [0.0, 0.25, 0.5, 0.75, 1.0]
    yield ("four a second, with burst 0: every second one passes", lambda: same(
        answer(hasty, 2.0, 0), [True, False, True, False, True]
    ), [
        "Does the third request pass? Half a second has gone since the first.",
        "The time runs from the last request that passed, not from the last one that came.",
        "Set `last = at` for a request that passes, and not for one that is refused.",
    ])  # fmt: skip
    crowd = [0.0] * 12 + [1.0] * 5
    yield ("what was refused does not count later", lambda: same(
        answer(crowd, 2.0, 3), [True] * 4 + [False] * 8 + [True, True, False, False, False]
    ), [
        "Twelve at once, then five a second later. How large is the excess after the twelve?",
        "It is 3, that of the last one that passed. After a second 2 of it have drained.",
        "Change `excess` only where the request passes.",
    ])  # fmt: skip
    pause = [0.0] * 4 + [1000.0] * 9
    yield ("a long pause empties the bucket, and saves nothing up beyond that", lambda: same(
        answer(pause, 2.0, 3), [True] * 4 + [True] * 4 + [False] * 5
    ), [
        "After a long pause, how many pass at once: as many as at the very first?",
        "The excess is never below 0.",
        "max(0, …) around the excess that a request would give",
    ])  # fmt: skip
    random = np.random.default_rng(0)
    yield ("random arrivals, rates and bursts", lambda: all(
        same(answer(list(arrivals), rate, burst), tokens(arrivals, rate, burst))
        for rate in (0.5, 2.0, 8.0)
        for burst in (0, 1, 7)
        for arrivals in [np.sort(random.integers(0, 64 * 20, 60)) / 64]
    ), [
        "Draw a few arrivals by hand, with rate 0.5 and burst 1.",
        "Is a constant rate or burst left in your function? Does the clock start at the first request?",
        "Another form: a bucket of burst + 1 tokens, full at first, that gets rate tokens a second.",
    ])  # fmt: skip
    yield ("no request, a single one, and one at time 0 after others below 0", lambda: (
        same(answer([], 2.0, 5), []) and same(answer([7.5], 0.25, 0), [True])
        and same(answer([-4.0, 0.0], 0.25, 0), [True, True])
    ), [
        "Try an empty list.",
        "If 0 means \"no request so far\" in your function, what does a request at time 0 do?",
        "last = None at first",
    ])  # fmt: skip
    yield ("times out of order, a rate of 0 and a burst below 0 are refused", lambda: all(
        raises(ValueError, answer, *wrong)
        for wrong in (([1.0, 0.5], 2.0, 5), ([0.0, 1.0, 0.5, 3.0], 2.0, 5), ([0.0], 0.0, 5), ([0.0], -1.0, 5), ([], 2.0, -1))
    ), [
        "The docstring names three cases for ValueError.",
        "Look at each pair of neighbours, and at rate and burst also if there is no request.",
        "if rate <= 0 or burst < 0 or any(b < a for a, b in zip(arrivals, arrivals[1:])): raise ValueError(…)",
    ])  # fmt: skip


def sealed(plain: bytes, kek_name: str, kek: bytes, name: bytes) -> bytes:
    """An envelope as the exercise lays it out."""
    key, nonce, text = AESGCM.generate_key(256), os.urandom(12), kek_name.encode()
    return bytes([len(text)]) + text + aes_key_wrap(kek, key) + nonce + AESGCM(key).encrypt(nonce, plain, name)


@EXERCISES.add("22c.2", "An envelope that names its key")
def envelope(answer: Callable) -> Iterator[Property]:
    """answer(envelope, keks, name) -> bytes."""
    keks = {"2026": os.urandom(32), "2027": os.urandom(32), "Schlüssel": os.urandom(32)}
    model, name = bytes(range(256)) * 3, b"digits_cnn/3"

    def made(kek_name: str, plain: bytes = model) -> bytes:
        return sealed(plain, kek_name, keks[kek_name], name)

    def refused(spoiled: bytes, ring: dict | None = None, called: bytes = name) -> bool:
        return raises(ValueError, answer, spoiled, keks if ring is None else ring, called)

    yield ("an envelope under 2026 gives the model back", lambda: answer(made("2026"), keks, name) == model, [
        "Cut the envelope into its five parts, and print their lengths.",
        "The length of the KEK's name is envelope[0]; the name follows, then 40, 12 and the rest.",
        "AESGCM(aes_key_unwrap(kek, wrapped)).decrypt(nonce, ciphertext, name)",
    ])  # fmt: skip
    yield ("names of other lengths, with other letters, and an empty model", lambda: (
        answer(made("Schlüssel"), keks, name) == model and answer(made("2027", b""), keks, name) == b""
        and answer(sealed(model, "k" * 255, keks["2026"], name), {"k" * 255: keks["2026"]}, name) == model
    ), [
        "Try a KEK whose name has one letter, and one with 255.",
        "The first byte counts bytes of the name, not letters. `ü` has two.",
        "kek_name = envelope[1 : 1 + envelope[0]].decode()",
    ])  # fmt: skip
    yield ("another model's name is refused", lambda: refused(made("2026"), called=b"digits_cnn/2"), [
        "What is the third argument of `decrypt`?",
        "InvalidTag is no ValueError. Catch it, and raise one.",
        "except InvalidTag: raise ValueError(…) from None",
    ])  # fmt: skip
    without = {each: kek for each, kek in keks.items() if each != "2026"}
    yield ("a KEK that is not in keks is refused", lambda: refused(made("2026"), without) and refused(made("2026"), {}), [
        "What does a dict raise for a key that it does not have?",
        "A KeyError is no ValueError.",
        "except KeyError: raise ValueError(…) from None",
    ])  # fmt: skip
    yield ("an envelope that names another KEK is refused, also if the right one is in keks", lambda: refused(
        made("2026").replace(b"2026", b"2027", 1)
    ), [
        "The envelope says 2027 and was made under 2026, which is in keks, too.",
        "Use the KEK that the envelope names. Do not try the others.",
        "aes_key_unwrap raises InvalidUnwrap for the wrong KEK. Raise ValueError in its place.",
    ])  # fmt: skip

    def each_bit_is_held() -> bool:
        whole = made("2027", b"a small model")
        changed = (bytearray(whole) for _ in whole)
        for position, each in enumerate(changed):
            each[position] ^= 1 << (position % 8)
            if not refused(bytes(each)):
                return False
        return True

    yield ("a changed bit anywhere is refused", each_bit_is_held, [
        "Change one byte after the other, and look what your function raises.",
        "Three things can go wrong: the name (KeyError, UnicodeDecodeError), the wrapped key (InvalidUnwrap), the tag "
        "(InvalidTag).",
        "except (KeyError, InvalidUnwrap, InvalidTag): raise ValueError(…) from None",
    ])  # fmt: skip
    yield ("an envelope that ends anywhere is refused, the empty one too", lambda: all(
        refused(whole[:end]) for whole in [made("2026", b"a small model")] for end in range(len(whole))
    ), [
        "What does envelope[0] do for b\"\"?",
        "An IndexError is no ValueError. Slices never raise: they are only shorter.",
        "size = envelope[0] if envelope else 0",
    ])  # fmt: skip
    yield ("bytes that are no envelope are refused, a name with a byte that is not UTF-8 too", lambda: refused(
        made("2026").replace(b"\x042026", b"\x0520\xff26", 1)
    ) and all(
        refused(junk) for junk in (b"\x00", b"\x04\xff\xfe\xfd\xfc" + bytes(80), b"\xff" * 300, bytes(100), b"\x042026")
    ), [
        "Try 300 bytes of 255.",
        "A name that is not UTF-8 raises UnicodeDecodeError, which is a ValueError. Let it pass, or raise your own.",
        "header.decode() inside your try, without errors=…",
    ])  # fmt: skip


def digest(entry: dict) -> str:
    text = json.dumps({name: entry[name] for name in sorted(entry) if name != "hash"})
    return hashlib.sha256(text.encode()).hexdigest()


def chained(entries: list[dict], previous: str = "") -> list[dict]:
    """The entries as rows of a log, each with the hash of the one before."""
    rows = []
    for entry in entries:
        row = {**{name: value for name, value in entry.items() if name != "hash"}, "previous": previous}
        rows.append(row | {"hash": digest(row)})
        previous = rows[-1]["hash"]
    return rows


@EXERCISES.add("22c.3", "Which row was touched?")
def audit(answer: Callable) -> Iterator[Property]:
    """answer(lines, anchor) -> int or None."""
    rows = chained([{"who": f"c{row % 3}", "what": "predict", "model": "digits_cnn/3", "n": row} for row in range(9)])
    anchor = {"rows": 9, "hash": rows[-1]["hash"]}

    def asked(rows: list, anchor: dict = anchor) -> object:
        return answer([each if isinstance(each, str) else json.dumps(each) for each in rows], anchor)

    def found(rows: list, row: int, anchor: dict = anchor) -> bool:
        said = asked(rows, anchor)
        return isinstance(said, (int, np.integer)) and not isinstance(said, bool) and said == row

    def with_row(row: int, entry: object) -> list:
        return [*rows[:row], entry, *rows[row + 1 :]]

    yield ("a log that nobody touched gives None", lambda: asked(rows) is None, [
        "Compute the digest of row 0, and compare it with its hash.",
        "Then compare row 1's \"previous\" with row 0's \"hash\". Row 0's \"previous\" is \"\".",
        "previous = \"\" at first; after each row previous = entry[\"hash\"]",
    ])  # fmt: skip
    yield ("a changed row is named, the first and the last one too", lambda: all(
        found(with_row(row, rows[row] | {"model": "digits_cnn/2"}), row) for row in (4, 0, 8)
    ), [
        "Does your function compute the digest of each row?",
        "entry[\"hash\"] must be digest(entry).",
        "if entry[\"hash\"] != digest(entry): return row",
    ])  # fmt: skip
    forged = rows[4] | {"model": "digits_cnn/2"}
    yield ("of a changed row with a fitting hash the row after it is named", lambda: found(
        with_row(4, forged | {"hash": digest(forged)}), 5
    ), [
        "Row 4 is right in itself. What does row 5 say about it?",
        "Row 5's \"previous\" is the old hash of row 4.",
        "if entry[\"previous\"] != previous: return row",
    ])  # fmt: skip
    yield ("removed, exchanged and doubled rows are found", lambda: (
        found(rows[:4] + rows[5:], 4) and found(rows[1:], 0)
        and found([*rows[:2], rows[3], rows[2], *rows[4:]], 2) and found([*rows[:6], *rows[5:]], 6)
    ), [
        "Remove row 0. Does anything remain of it in the log?",
        "Row 0 must have the \"previous\" \"\". Compare it as you compare all others.",
        "for row, line in enumerate(lines): … compare with previous, which is \"\" before row 0",
    ])  # fmt: skip
    yield ("rows that are missing at the end are found by the anchor", lambda: (
        found(rows[:6], 6) and found(rows[:8], 8) and found([], 0)
    ), [
        "The chain of the first six rows fits. What does the anchor say?",
        "If there are fewer rows than anchor[\"rows\"], return the number of rows that there are.",
        "if len(lines) < anchor[\"rows\"]: return len(lines)",
    ])  # fmt: skip
    anew = rows[:3] + chained([{**rows[3], "model": "digits_cnn/2"}, *rows[4:]], rows[2]["hash"])
    yield ("rows that were all made anew are found by the anchor's hash", lambda: (
        found(anew, 8) and found([*anew, *chained([{"n": 9}], anew[-1]["hash"])], 8)
    ), [
        "The chain fits, and there are nine rows. What else does the anchor hold?",
        "Compare the hash of row anchor[\"rows\"] - 1 with the anchor's.",
        "if hashes[anchor[\"rows\"] - 1] != anchor[\"hash\"]: return anchor[\"rows\"] - 1",
    ])  # fmt: skip
    longer = rows + chained([{"n": 9}, {"n": 10}], rows[-1]["hash"])
    yield ("rows that came after the anchor are fine, and are checked as well", lambda: (
        asked(longer) is None and asked(rows, {"rows": 1, "hash": rows[0]["hash"]}) is None
        and found([*longer[:10], longer[10] | {"n": 11}], 10) and found(rows[:4] + rows[5:], 4, {"rows": 2, "hash": rows[1]["hash"]})
    ), [
        "The anchor is an hour old. Since then two rows were added.",
        "More rows than anchor[\"rows\"] are no fault. Do not compare the last hash of the log, but that of the anchored row.",
        "hashes[anchor[\"rows\"] - 1]",
    ])  # fmt: skip
    twice_wrong = [*rows[:4], *rows[5:7]]
    yield ("the first fault counts: a broken chain before a missing end", lambda: (
        found(twice_wrong, 4) and found([*anew[:5], anew[5] | {"n": 0}, *anew[6:]], 5)
    ), [
        "Here a row is missing in the middle, and rows at the end.",
        "Walk through the chain first, then look at the anchor.",
        "The two comparisons with the anchor come after the loop.",
    ])  # fmt: skip
    del (bare := dict(rows[3]))["hash"]
    junk = ("", "not JSON", "[1, 2]", "7", "null", '"hash"', json.dumps(bare), '{"hash": ', "[" * 100_000)
    yield ("a line that is no such object is named, and stops nothing", lambda: all(
        found(with_row(3, line), 3) for line in junk
    ) and found(with_row(0, "{}"), 0) and found([*rows, "not JSON"], 9), [
        "What does json.loads do with \"\" and with \"[1, 2]\"?",
        "It may raise (for very many \"[\", RecursionError), or give a list, a number or None, which have no \"hash\".",
        "except (ValueError, KeyError, TypeError, RecursionError): return row",
    ])  # fmt: skip


def role(name: str, rules: list | None, namespace: str | None = "digits") -> dict:
    """A Role, or a ClusterRole where namespace is None. A rule is (groups, resources, verbs), or a dict."""
    keys = ("apiGroups", "resources", "verbs")
    made = None if rules is None else [each if isinstance(each, dict) else dict(zip(keys, each)) for each in rules]
    meta = {"name": name} | ({"namespace": namespace} if namespace else {})
    return {"kind": "Role" if namespace else "ClusterRole", "metadata": meta, "rules": made}


def binding(to: str, *subjects: object, kind: str = "Role", namespace: str | None = "digits") -> dict:
    """A RoleBinding, or a ClusterRoleBinding where namespace is None. A subject that is text: a ServiceAccount's "ns/name"."""
    who = []
    for each in subjects:
        if isinstance(each, str):
            where, name = each.split("/")
            each = {"kind": "ServiceAccount", "namespace": where, "name": name}
        who.append(each)
    meta = {"name": f"{to}-binding"} | ({"namespace": namespace} if namespace else {})
    return {"kind": "RoleBinding" if namespace else "ClusterRoleBinding", "metadata": meta,
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": to}, "subjects": who}  # fmt: skip


@EXERCISES.add("22c.4", "Who can read the Secrets?")
def readers(answer: Callable) -> Iterator[Property]:
    """answer(objects, namespace) -> sorted list of texts."""

    def says(objects: list, *names: str, namespace: str = "digits") -> bool:
        said = answer(copy.deepcopy(objects), namespace)
        return isinstance(said, list) and said == list(names)

    def of_rule(*rule: object) -> list:
        return [role("r", [rule]), binding("r", "digits/a")]

    ours = "ServiceAccount:digits/a"
    yield ("a Role that may get Secrets, bound to an account: the account is named", lambda: says(
        of_rule([""], ["secrets"], ["get"]), ours
    ), [
        "Find the binding's role by its kind and name, then look at the role's rules.",
        "A rule gives Secrets if \"\" is among its apiGroups, \"secrets\" among its resources and \"get\" among its verbs.",
        "\"ServiceAccount:\" + subject[\"namespace\"] + \"/\" + subject[\"name\"]",
    ])  # fmt: skip
    yield ("one that may only read pods or ConfigMaps, or delete Secrets, is not", lambda: (
        says(of_rule([""], ["pods", "configmaps"], ["get", "list", "watch"])) and says(of_rule([""], ["secrets"], ["delete", "update"]))
        and says(of_rule(["apps"], ["secrets"], ["get"]))
    ), [
        "Group, resource and verb must all fit, in one rule.",
        "Secrets are in the group \"\". The same word in another group is something else.",
        "\"\" in rule[\"apiGroups\"] and \"secrets\" in rule[\"resources\"] and …",
    ])  # fmt: skip
    yield ("list or watch is enough", lambda: all(says(of_rule([""], ["secrets"], [verb]), ours) for verb in ("list", "watch")), [
        "What does the answer to a list hold?",
        "list and watch return the whole objects, values included.",
        "{\"get\", \"list\", \"watch\"} & set(rule[\"verbs\"])",
    ])  # fmt: skip
    yield ("a star stands for every verb, resource and group", lambda: all(
        says(of_rule(*rule), ours)
        for rule in (([""], ["secrets"], ["*"]), ([""], ["*"], ["get"]), (["*"], ["secrets"], ["list"]), (["*"], ["*"], ["*"]))
    ) and says(of_rule(["*"], ["*"], ["delete"])), [
        "Try a rule with the verbs [\"*\"].",
        "\"*\" may stand in each of the three lists, alone or beside others.",
        "not {\"*\", \"get\", \"list\", \"watch\"}.isdisjoint(rule[\"verbs\"])",
    ])  # fmt: skip
    makers = [
        ("", "pods"),
        ("", "replicationcontrollers"),
        ("apps", "deployments"),
        ("apps", "daemonsets"),
        ("batch", "cronjobs"),
    ]
    yield ("whoever may create pods, or what makes pods, is named", lambda: all(
        says(of_rule([group], [resource], ["create"]), ours) for group, resource in makers
    ) and says(of_rule(["batch"], ["*"], ["*"]), ours) and says(of_rule(["*"], ["jobs"], ["create"]), ours)
      and says(of_rule(["batch"], ["deployments"], ["create"])) and says(of_rule(["apps"], ["deployments"], ["get", "update"]))
      and says(of_rule([""], ["services", "pods/eviction"], ["create"])) and says(of_rule(["*"], ["*/scale"], ["create"])), [
        "deployer, in the lesson, may not read Secrets. How did it?",
        "POD_MAKERS says which resources of which group make pods. Only the verb create counts here.",
        "any(has(\"apiGroups\", group) and has(\"resources\", *names) for group, names in POD_MAKERS.items())",
    ])  # fmt: skip
    split = [role("r", [([""], ["secrets"], ["delete"]), ([""], ["pods"], ["get"])]), binding("r", "digits/a")]
    late = [role("r", [([""], ["pods"], ["get"]), ([""], ["secrets"], ["get"])]), binding("r", "digits/a")]
    yield ("each rule is judged by itself, and one is enough", lambda: says(split) and says(late, ours), [
        "A role with two rules: delete Secrets, get pods. May it get Secrets?",
        "Do not add up the verbs and resources of different rules.",
        "any(gives_secrets(rule) for rule in rules)",
    ])  # fmt: skip
    secrets_ = [([""], ["secrets"], ["get"])]
    yield ("a ClusterRole counts by a RoleBinding in the namespace, and by a ClusterRoleBinding", lambda: (
        says([role("r", secrets_, None), binding("r", "digits/a", kind="ClusterRole")], ours)
        and says([binding("r", "ops/b", kind="ClusterRole", namespace=None), role("r", secrets_, None)], "ServiceAccount:ops/b")
    ), [
        "roleRef.kind says whether it is a Role or a ClusterRole.",
        "A ClusterRole and a ClusterRoleBinding have no metadata.namespace.",
        "metadata.get(\"namespace\", \"\")",
    ])  # fmt: skip
    foreign = [role("r", secrets_, "other"), binding("r", "digits/a", namespace="other")]
    mixed = [role("r", secrets_, "other"), role("r", [([""], ["pods"], ["get"])]), binding("r", "digits/a")]
    twins = [role("r", secrets_, None), role("r", [([""], ["pods"], ["get"])]), binding("r", "digits/a")]
    yield ("bindings and roles of other namespaces, and a ClusterRole of a Role's name, do not count", lambda: (
        all(says(each) and says(each[::-1]) for each in (foreign, mixed, twins)) and says(foreign, ours, namespace="other")
        and says([role("r", secrets_, None), binding("r", "digits/a", kind="ClusterRole", namespace="other")])
    ), [
        "Two roles may have one name: in two namespaces, or as Role and ClusterRole.",
        "Look a role up by kind, namespace and name. A RoleBinding of another namespace gives nothing here.",
        "roles[(kind, namespace if kind == \"Role\" else \"\", name)]",
    ])  # fmt: skip
    people = (
        {"kind": "User", "name": "zoe"},
        {"kind": "Group", "name": "ops"},
        "other/z",
        "digits/a",
        {"kind": "User", "name": "anna"},
    )
    yield ("users, groups and accounts, sorted, each once", lambda: says(
        [role("r", secrets_), binding("r", *people), role("s", [([""], ["pods"], ["create"])]), binding("s", "digits/a")],
        "Group:ops", ours, "ServiceAccount:other/z", "User:anna", "User:zoe",
    ), [
        "One account may have the right by two bindings.",
        "Collect the texts in a set, then sort them.",
        "return sorted(found)",
    ])  # fmt: skip
    named = dict(zip(("apiGroups", "resources", "verbs", "resourceNames"), ([""], ["secrets"], ["get"], ["door"])))
    urls = {"nonResourceURLs": ["/metrics"], "verbs": ["get"]}
    none_of_it = binding("r", "digits/a")
    none_of_it["subjects"] = None
    del (without := binding("r", "digits/a"))["subjects"]
    yield ("resourceNames count; URLs, missing roles, empty rules and missing subjects give nothing and stop nothing", lambda: (
        says([role("r", [urls, named]), binding("r", "digits/a")], ours) and says([role("r", [urls]), binding("r", "digits/a")])
        and says([binding("gone", "digits/a")]) and says([role("r", None), binding("r", "digits/a")]) and says([])
        and says([role("r", secrets_), none_of_it, without]) and says([{**role("x", []), "kind": "Role"}, role("r", []), binding("r", "digits/a")])
    ), [
        "Real clusters hold roles whose \"rules\" is null, and bindings to roles that somebody deleted.",
        "Use .get(…) or [] for rules, subjects, apiGroups and resources.",
        "for rule in role.get(\"rules\") or []: …",
    ])  # fmt: skip
