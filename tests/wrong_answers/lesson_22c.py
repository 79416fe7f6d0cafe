"""Wrong answers to lesson 22c, as people write them."""

import hashlib
import json

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap


def _refuse(arrivals, rate, burst):
    if rate <= 0 or burst < 0 or any(late < early for early, late in zip(arrivals, arrivals[1:])):
        raise ValueError


def _bucket(arrivals, rate, burst, *, below=False, floor=0.0, count_refused=False, clock_refused=False, first=0.0):
    _refuse(arrivals, rate, burst)
    passed, last, excess = [], None, first
    for at in arrivals:
        would = first if last is None else max(floor, excess - rate * (at - last) + 1)
        fits = would < burst if below else would <= burst
        passed.append(fits)
        if fits or count_refused:
            excess = would
        if fits or clock_refused:
            last = at
    return passed


def burst_is_all_that_passes(arrivals, rate, burst):
    return _bucket(arrivals, rate, burst, first=1.0)


def strictly_below(arrivals, rate, burst):
    return _bucket(arrivals, rate, burst, below=True)


def since_the_last_that_came(arrivals, rate, burst):
    return _bucket(arrivals, rate, burst, clock_refused=True)


def refused_ones_count(arrivals, rate, burst):
    return _bucket(arrivals, rate, burst, count_refused=True, clock_refused=True)


def saves_up(arrivals, rate, burst):
    return _bucket(arrivals, rate, burst, floor=float("-inf"))


def a_window_of_one_second(arrivals, rate, burst):
    _refuse(arrivals, rate, burst)
    passed, counts = [], {}
    for at in arrivals:
        passed.append(counts.setdefault(int(at), 0) <= burst)
        counts[int(at)] += 1
    return passed


def zero_means_never(arrivals, rate, burst):
    _refuse(arrivals, rate, burst)
    passed, last, excess = [], 0, 0.0
    for at in arrivals:
        would = max(0.0, excess - rate * (at - last) + 1) if last else 0.0
        passed.append(would <= burst)
        if would <= burst:
            last, excess = at, would
    return passed


def always_two_a_second(arrivals, rate, burst):
    _refuse(arrivals, rate, burst)
    return _bucket(arrivals, 2.0, burst)


def as_numbers(arrivals, rate, burst):
    return [int(each) for each in _bucket(arrivals, rate, burst)]


def sorts_them(arrivals, rate, burst):
    if rate <= 0 or burst < 0:
        raise ValueError
    return _bucket(sorted(arrivals), rate, burst)


def only_the_indices(arrivals, rate, burst):
    return [row for row, passed in enumerate(_bucket(arrivals, rate, burst)) if passed]


REFUSALS = (KeyError, InvalidUnwrap, InvalidTag, IndexError)


def _cut(envelope):
    size = envelope[0]
    return envelope[1 : 1 + size].decode(), envelope[1 + size :][:40], envelope[41 + size :][:12], envelope[53 + size :]


def lets_every_error_out(envelope, keks, name):
    kek, wrapped, nonce, text = _cut(envelope)
    return AESGCM(aes_key_unwrap(keks[kek], wrapped)).decrypt(nonce, text, name)


def without_the_name(envelope, keks, name):
    kek, wrapped, nonce, text = _cut(envelope)
    return AESGCM(aes_key_unwrap(keks[kek], wrapped)).decrypt(nonce, text, None)


def names_of_four_letters(envelope, keks, name):
    kek, wrapped, nonce, text = envelope[1:5].decode(), envelope[5:45], envelope[45:57], envelope[57:]
    try:
        return AESGCM(aes_key_unwrap(keks[kek], wrapped)).decrypt(nonce, text, name)
    except REFUSALS:
        raise ValueError from None


def tries_all_keks(envelope, keks, name):
    try:
        _, wrapped, nonce, text = _cut(envelope)
    except IndexError:
        raise ValueError from None
    for kek in keks.values():
        try:
            return AESGCM(aes_key_unwrap(kek, wrapped)).decrypt(nonce, text, name)
        except (InvalidUnwrap, InvalidTag):
            continue
    raise ValueError


def none_for_failure(envelope, keks, name):
    try:
        return lets_every_error_out(envelope, keks, name)
    except Exception:
        return None


def decodes_what_it_can(envelope, keks, name):
    try:
        _, wrapped, nonce, text = _cut(envelope[:1] + b"k" * envelope[0] + envelope[1 + envelope[0] :])
        kek = envelope[1 : 1 + envelope[0]].decode(errors="ignore")
        return AESGCM(aes_key_unwrap(keks[kek], wrapped)).decrypt(nonce, text, name)
    except REFUSALS:
        raise ValueError from None


def trusts_the_ring(envelope, keks, name):
    try:
        return lets_every_error_out(envelope, keks, name)
    except (InvalidUnwrap, InvalidTag):
        raise ValueError from None


def forgets_the_wrapped_key(envelope, keks, name):
    try:
        return lets_every_error_out(envelope, keks, name)
    except (KeyError, InvalidTag, IndexError):
        raise ValueError from None


def forgets_the_empty_one(envelope, keks, name):
    try:
        return lets_every_error_out(envelope, keks, name)
    except (KeyError, InvalidUnwrap, InvalidTag):
        raise ValueError from None


def without_a_tag(envelope, keks, name):
    """Decrypts by counter mode alone, as if the tag were none of its business."""
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    try:
        kek, wrapped, nonce, text = _cut(envelope)
        key = aes_key_unwrap(keks[kek], wrapped)
        worker = Cipher(algorithms.AES(key), modes.CTR(nonce + b"\0\0\0\2")).decryptor()
        return worker.update(text[:-16])
    except REFUSALS:
        raise ValueError from None


def _digest(entry):
    text = json.dumps({name: entry[name] for name in sorted(entry) if name != "hash"})
    return hashlib.sha256(text.encode()).hexdigest()


def _walk(lines, *, content=True, order=True, start=0):
    """(the first row that is wrong or None, hashes)."""
    previous, hashes = "", []
    for row, line in enumerate(lines):
        try:
            entry = json.loads(line)
            wrong = content and entry["hash"] != _digest(entry)
            wrong |= order and row >= start and entry["previous"] != previous
        except (ValueError, KeyError, TypeError, RecursionError):
            return row, hashes
        if wrong:
            return row, hashes
        previous = entry["hash"]
        hashes.append(previous)
    return None, hashes


def _by_anchor(hashes, anchor):
    if len(hashes) < anchor["rows"]:
        return len(hashes)
    return None if hashes[anchor["rows"] - 1] == anchor["hash"] else anchor["rows"] - 1


def _after(walked, anchor):
    row, hashes = walked
    return _by_anchor(hashes, anchor) if row is None else row


def contents_alone(lines, anchor):
    return _after(_walk(lines, order=False), anchor)


def links_alone(lines, anchor):
    return _after(_walk(lines, content=False), anchor)


def the_first_row_has_no_previous(lines, anchor):
    return _after(_walk(lines, start=1), anchor)


def the_chain_is_enough(lines, anchor):
    return _walk(lines)[0]


def counts_and_no_more(lines, anchor):
    row, hashes = _walk(lines)
    if row is not None:
        return row
    return len(hashes) if len(hashes) < anchor["rows"] else None


def the_anchor_first(lines, anchor):
    return len(lines) if len(lines) < anchor["rows"] else _after(_walk(lines), anchor)


def the_last_row_is_the_anchored_one(lines, anchor):
    row, hashes = _walk(lines)
    if row is not None:
        return row
    if len(hashes) < anchor["rows"]:
        return len(hashes)
    return None if hashes[-1] == anchor["hash"] else anchor["rows"] - 1


def stops_at_junk(lines, anchor):
    for line in lines:
        json.loads(line)["hash"]
    return _after(_walk(lines), anchor)


def skips_junk(lines, anchor):
    kept = []
    for line in lines:
        try:
            json.loads(line)["hash"]
            kept.append(line)
        except (ValueError, KeyError, TypeError, RecursionError):
            continue
    return _after(_walk(kept), anchor)


def true_or_false(lines, anchor):
    return _after(_walk(lines), anchor) is None


POD_MAKERS = {
    "": ["pods", "replicationcontrollers"],
    "apps": ["deployments", "statefulsets", "daemonsets", "replicasets"],
    "batch": ["jobs", "cronjobs"],
}


def _has(rule, field, *values):
    return not {"*", *values}.isdisjoint(rule.get(field) or [])


def _gives(rule, verbs=("get", "list", "watch"), group=True):
    if (
        _has(rule, "verbs", *verbs)
        and (not group or _has(rule, "apiGroups", ""))
        and _has(rule, "resources", "secrets")
    ):
        return True
    makes = (_has(rule, "apiGroups", each) and _has(rule, "resources", *names) for each, names in POD_MAKERS.items())
    return _has(rule, "verbs", "create") and any(makes)


def _readers(objects, namespace, gives=_gives, key=None, here=None, title=None):
    key = key or (lambda kind, where, name: (kind, where, name))
    here = here or (lambda each: each["metadata"]["namespace"] == namespace)
    roles = {
        key(each["kind"], each["metadata"].get("namespace", ""), each["metadata"]["name"]): each
        for each in objects
        if each["kind"] in ("Role", "ClusterRole")
    }
    found = set()
    for each in objects:
        if each["kind"] == "ClusterRoleBinding" or (each["kind"] == "RoleBinding" and here(each)):
            kind = each["roleRef"]["kind"]
            role = roles.get(key(kind, namespace if kind == "Role" else "", each["roleRef"]["name"]))
            if role and any(gives(rule) for rule in role.get("rules") or []):
                found |= {(title or _title)(who) for who in each.get("subjects") or []}
    return sorted(found)


def _title(who):
    return f"{who['kind']}:" + (f"{who['namespace']}/" if who["kind"] == "ServiceAccount" else "") + who["name"]


def get_alone(objects, namespace):
    return _readers(objects, namespace, lambda rule: _gives(rule, ("get",)))


def of_any_group(objects, namespace):
    return _readers(objects, namespace, lambda rule: _gives(rule, group=False))


def secrets_alone(objects, namespace):
    return _readers(
        objects, namespace,
        lambda rule: (
            _has(rule, "verbs", "get", "list", "watch") and _has(rule, "apiGroups", "") and _has(rule, "resources", "secrets")
        ),
    )  # fmt: skip


def pods_alone(objects, namespace):
    def gives(rule):
        if _has(rule, "verbs", "create") and _has(rule, "apiGroups", "") and _has(rule, "resources", "pods"):
            return True
        return _gives({**rule, "verbs": [verb for verb in rule["verbs"] if verb != "create"]})

    return _readers(objects, namespace, gives)


def parts_of_words(objects, namespace):
    def gives(rule):
        return _gives(rule | {"resources": [each.partition("/")[0] for each in rule.get("resources") or []]})

    return _readers(objects, namespace, gives)


def stars_are_letters(objects, namespace):
    def gives(rule):
        plain = {
            field: [each for each in rule.get(field) or [] if each != "*"]
            for field in ("apiGroups", "resources", "verbs")
        }
        return _gives(plain)

    return _readers(objects, namespace, gives)


def adds_up_all_rules(objects, namespace):
    merged = []
    for each in objects:
        if each["kind"] in ("Role", "ClusterRole"):
            rules, fields = each.get("rules") or [], ("apiGroups", "resources", "verbs")
            each = {
                **each,
                "rules": [{field: [x for rule in rules for x in rule.get(field) or []] for field in fields}],
            }
        merged.append(each)
    return _readers(merged, namespace)


def roles_by_name(objects, namespace):
    return _readers(objects, namespace, key=lambda kind, where, name: name)


def namespaces_do_not_matter(objects, namespace):
    return _readers(objects, namespace, here=lambda each: True)


def role_bindings_alone(objects, namespace):
    return _readers([each for each in objects if each["kind"] != "ClusterRoleBinding"], namespace)


def names_without_a_kind(objects, namespace):
    return _readers(objects, namespace, title=lambda who: who["name"])


def once_for_each_binding(objects, namespace):
    found = []
    for each in objects:
        if each["kind"].endswith("Binding"):
            roles = [other for other in objects if not other["kind"].endswith("Binding")]
            found += _readers([*roles, each], namespace)
    return sorted(found)


def every_rule_has_resources(objects, namespace):
    for each in objects:
        if each["kind"].endswith("Role"):
            [rule["resources"] for rule in each["rules"]]
    return _readers(objects, namespace)


def every_role_is_there(objects, namespace):
    names = {each["metadata"]["name"] for each in objects if each["kind"].endswith("Role")}
    for each in objects:
        if each["kind"].endswith("Binding") and each["roleRef"]["name"] not in names:
            raise KeyError(each["roleRef"]["name"])
    return _readers(objects, namespace)


WRONG = {
    "22c.1": {
        burst_is_all_that_passes: "30 requests at once, 2 a second, burst 5: the first 6 pass",
        strictly_below: "30 requests at once, 2 a second, burst 5: the first 6 pass",
        only_the_indices: "30 requests at once, 2 a second, burst 5: the first 6 pass",
        as_numbers: "30 requests at once, 2 a second, burst 5: the first 6 pass",
        a_window_of_one_second: "two a second, evenly, all pass, also with burst 0",
        since_the_last_that_came: "four a second, with burst 0: every second one passes",
        refused_ones_count: "four a second, with burst 0: every second one passes",
        saves_up: "a long pause empties the bucket, and saves nothing up beyond that",
        always_two_a_second: "random arrivals, rates and bursts",
        zero_means_never: "four a second, with burst 0: every second one passes",
        sorts_them: "times out of order, a rate of 0 and a burst below 0 are refused",
    },
    "22c.2": {
        without_the_name: "an envelope under 2026 gives the model back",
        names_of_four_letters: "names of other lengths, with other letters, and an empty model",
        lets_every_error_out: "another model's name is refused",
        none_for_failure: "another model's name is refused",
        without_a_tag: "another model's name is refused",
        trusts_the_ring: "a KEK that is not in keks is refused",
        tries_all_keks: "an envelope that names another KEK is refused, also if the right one is in keks",
        forgets_the_wrapped_key: "an envelope that names another KEK is refused, also if the right one is in keks",
        decodes_what_it_can: "bytes that are no envelope are refused, a name with a byte that is not UTF-8 too",
        forgets_the_empty_one: "an envelope that ends anywhere is refused, the empty one too",
    },
    "22c.3": {
        true_or_false: "a log that nobody touched gives None",
        links_alone: "a changed row is named, the first and the last one too",
        contents_alone: "of a changed row with a fitting hash the row after it is named",
        the_first_row_has_no_previous: "removed, exchanged and doubled rows are found",
        the_chain_is_enough: "rows that are missing at the end are found by the anchor",
        counts_and_no_more: "rows that were all made anew are found by the anchor's hash",
        the_last_row_is_the_anchored_one: "rows that came after the anchor are fine, and are checked as well",
        the_anchor_first: "removed, exchanged and doubled rows are found",
        stops_at_junk: "a line that is no such object is named, and stops nothing",
        skips_junk: "a line that is no such object is named, and stops nothing",
    },
    "22c.4": {
        names_without_a_kind: "a Role that may get Secrets, bound to an account: the account is named",
        of_any_group: "one that may only read pods or ConfigMaps, or delete Secrets, is not",
        get_alone: "list or watch is enough",
        stars_are_letters: "a star stands for every verb, resource and group",
        secrets_alone: "whoever may create pods, or what makes pods, is named",
        parts_of_words: "whoever may create pods, or what makes pods, is named",
        pods_alone: "whoever may create pods, or what makes pods, is named",
        adds_up_all_rules: "each rule is judged by itself, and one is enough",
        role_bindings_alone: "a ClusterRole counts by a RoleBinding in the namespace, and by a ClusterRoleBinding",
        roles_by_name: "bindings and roles of other namespaces, and a ClusterRole of a Role's name, do not count",
        namespaces_do_not_matter: "bindings and roles of other namespaces, and a ClusterRole of a Role's name, do not count",
        once_for_each_binding: "users, groups and accounts, sorted, each once",
        every_rule_has_resources: "resourceNames count; URLs, missing roles, empty rules and missing subjects give nothing and "
        "stop nothing",
        every_role_is_there: "resourceNames count; URLs, missing roles, empty rules and missing subjects give nothing and stop "
        "nothing",
    },
}  # fmt: skip
