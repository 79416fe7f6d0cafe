"""Right answers to lesson 17b's exercises that differ from the solutions."""

import copy
import hashlib
import json
import pickle
import re
from fractions import Fraction

UNITS = {"m": Fraction(1, 1000), "": 1, "k": 10**3, "M": 10**6, "G": 10**9, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30}


def _number(text):
    number, unit = re.fullmatch(r"([\d.]+)([A-Za-z]*)", str(text)).groups()
    return Fraction(number) * UNITS[unit]


def _amounts(container, name):
    resources = container.get("resources") or {}
    limit = (resources.get("limits") or {}).get(name)
    request = (resources.get("requests") or {}).get(name, limit)
    return [_number(each) if each is not None else 0 for each in (request, limit)]


def resource_by_resource(pod):
    everyone = pod["containers"] + pod.get("initContainers", [])
    pairs = [_amounts(each, name) for each in everyone for name in ("cpu", "memory")]
    if not any(number for pair in pairs for number in pair):
        return "BestEffort"
    return "Guaranteed" if all(request == limit > 0 for request, limit in pairs) else "Burstable"


def in_floating_point(pod):
    everyone = list(pod["containers"])
    everyone.extend(pod.get("initContainers", ()))
    classes = set()
    for each in everyone:
        pairs = [[float(number) for number in _amounts(each, name)] for name in ("cpu", "memory")]
        if not any(map(any, pairs)):
            classes.add("BestEffort")
        elif all(limit and abs(request - limit) < 1e-9 * limit for request, limit in pairs):
            classes.add("Guaranteed")
        else:
            classes.add("Burstable")
    return classes.pop() if len(classes) == 1 else "Burstable"


def on_a_copy(pod):
    pod = copy.deepcopy(pod)
    for each in pod["containers"] + pod.get("initContainers", []):
        resources = each.setdefault("resources", {})
        resources["requests"] = dict(resources.get("limits", {})) | resources.get("requests", {})
    return resource_by_resource(pod)


def by_a_verdict_each(pod):
    def verdict(container):
        request, limit = zip(*(_amounts(container, name) for name in ("cpu", "memory")))
        if not any(request + limit):
            return 0
        return 2 if all(limit) and request == limit else 1

    verdicts = [verdict(each) for part in ("containers", "initContainers") for each in pod.get(part, [])]
    if not sum(verdicts):
        return "BestEffort"
    return "Guaranteed" if min(verdicts) == 2 else "Burstable"


def by_sets(pod):
    pairs = set()
    for each in [*pod.get("initContainers", []), *pod["containers"]]:
        pairs |= {tuple(_amounts(each, name)) for name in ("memory", "cpu")}
    if pairs == {(0, 0)}:
        return "BestEffort"
    return "Guaranteed" if all(len(set(pair)) == 1 and 0 not in pair for pair in pairs) else "Burstable"


def _marked(deployment, raw):
    spec = deployment["spec"]
    template = spec["template"]
    meta = template["metadata"]
    notes = {**meta.get("annotations", {}), "digits/config": hashlib.sha256(raw).hexdigest()}
    template = {**template, "metadata": {**meta, "annotations": notes}}
    return {**deployment, "spec": {**spec, "template": template}}


def _content(each):
    return {key: each.get(key, {}) for key in ("kind", "data", "binaryData")} | {"name": each["metadata"]["name"]}


def without_deepcopy(deployment, configuration):
    texts = sorted(json.dumps(_content(each), sort_keys=True) for each in configuration)
    return _marked(deployment, json.dumps(texts).encode())


def hash_of_hashes(deployment, configuration):
    each = [hashlib.sha256(json.dumps(_content(c), sort_keys=True).encode()).digest() for c in configuration]
    return _marked(deployment, b"".join(sorted(each)))


def as_a_mapping(deployment, configuration):
    whole = {f"{c['kind']}/{c['metadata']['name']}": [c.get("data"), c.get("binaryData")] for c in configuration}
    return _marked(deployment, json.dumps(whole, sort_keys=True, indent=1).encode())


def as_repr(deployment, configuration):
    parts = sorted(
        (c["kind"], c["metadata"]["name"], sorted(c.get("data", {}).items()), sorted(c.get("binaryData", {}).items()))
        for c in configuration
    )
    return _marked(deployment, repr(parts).encode())


def by_json_and_back(deployment, configuration):
    marked = json.loads(json.dumps(deployment))
    lines = sorted(
        json.dumps([c["kind"], c["metadata"]["name"], part, key, value])
        for c in configuration
        for part in ("data", "binaryData")
        for key, value in [("", ""), *c.get(part, {}).items()]
    )
    notes = marked["spec"]["template"]["metadata"].setdefault("annotations", {})
    notes.update({"digits/config": hashlib.new("sha256", "\n".join(lines).encode()).hexdigest()})
    return marked


def by_pickle(deployment, configuration):
    raw = without_deepcopy(pickle.loads(pickle.dumps(deployment)), tuple(configuration))
    return pickle.loads(pickle.dumps(raw))


RIGHT = {
    "17b.1": [resource_by_resource, in_floating_point, on_a_copy, by_a_verdict_each, by_sets],
    "17b.2": [without_deepcopy, hash_of_hashes, as_a_mapping, as_repr, by_json_and_back, by_pickle],
}
