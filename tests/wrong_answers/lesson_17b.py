"""Wrong answers that people write, planted in lesson 17b: each must be caught at the property named."""

import copy
import hashlib
import json
from decimal import Decimal


def quantity(text):
    units = {"m": Decimal("0.001"), "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
    units |= {"k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
    for unit, size in units.items():
        if str(text).endswith(unit):
            return Decimal(str(text)[: -len(unit)]) * size
    return Decimal(str(text))


def of_containers(
    containers, *, default=True, number=quantity, names=("cpu", "memory"), positive=True, write=False, late=True
):
    asked, guaranteed = False, True
    for container in containers:
        both = []
        for kind in ("limits", "requests"):
            given = container.get("resources", {}).get(kind, {})
            counted = {name: number(given[name]) for name in (names or given) if name in given}
            both.append(counted if late else {name: each for name, each in counted.items() if not positive or each > 0})
        limits, requests = both
        if write and "resources" in container:
            container["resources"]["requests"] = dict(container["resources"].get("limits", {}))
        requests = limits | requests if default else requests
        if late:
            limits, requests = ({n: each for n, each in some.items() if each > 0} for some in (limits, requests))
        asked = asked or bool(requests) or bool(limits)
        guaranteed = guaranteed and {"cpu", "memory"} <= set(limits) and requests == limits
    return "BestEffort" if not asked else "Guaranteed" if guaranteed else "Burstable"


def every(pod):
    return [*pod["containers"], *pod.get("initContainers", [])]


def trusts_the_keys(pod):
    return of_containers([{"resources": each["resources"]} for each in pod["containers"]])


def memory_alone(pod):
    limits = [each.get("resources", {}).get("limits", {}) for each in every(pod)]
    requests = [each.get("resources", {}).get("requests", {}) for each in every(pod)]
    if not any(limits) and not any(requests):
        return "BestEffort"
    return "Guaranteed" if all("memory" in each for each in limits) else "Burstable"


def needs_requests(pod):
    return of_containers(every(pod), default=False)


def texts(pod):
    return of_containers(every(pod), number=str, positive=False, late=False)


def the_first(pod):
    return of_containers(pod["containers"][:1])


def without_init(pod):
    return of_containers(pod["containers"])


def the_first_init(pod):
    return of_containers(every({**pod, "initContainers": pod.get("initContainers", [])[:1]}))


def disk_counts(pod):
    asks = of_containers(every(pod))
    alike = of_containers(every(pod), names=()) == "Guaranteed"
    return "Burstable" if asks == "Guaranteed" and not alike else asks


def whatever_has_a_limit(pod):
    return of_containers(every(pod), names=None)


def zero_counts(pod):
    return of_containers(every(pod), positive=False, late=False)


def fills_in(pod):
    return of_containers(every(pod), write=True)


def zeros_are_filled_in(pod):
    return of_containers(every(pod), late=False)


def a_sum_over_containers(pod):
    total = {"limits": {}, "requests": {}}
    for each in every(pod):
        given = each.get("resources", {})
        limits = given.get("limits", {})
        for kind, amounts in (("limits", limits), ("requests", limits | given.get("requests", {}))):
            for name in ("cpu", "memory"):
                total[kind][name] = total[kind].get(name, 0) + quantity(amounts.get(name, 0))
    return of_containers([{"resources": total}])


def marks(deployment, text, *, place=None, digits=64, name="digits/config", copies=True):
    found = copy.deepcopy(deployment) if copies else deployment
    meta = found["metadata"] if place == "deployment" else found["spec"]["template"]["metadata"]
    if place == "fresh":
        meta["annotations"] = {}
    meta.setdefault("annotations", {})[name] = hashlib.sha256(text.encode()).hexdigest()[:digits]
    return found


def parts_of(configuration, *, ordered=True, what=("kind", "name", "data", "binaryData")):
    parts = [{**each, "name": each["metadata"]["name"]} for each in configuration]
    parts = [[part.get(key, {}) for key in what] for part in parts]
    return sorted(parts, key=str) if ordered else parts


def as_json(configuration, **reads):
    return json.dumps(parts_of(configuration, **reads), sort_keys=True)


def on_the_deployment(deployment, configuration):
    return marks(deployment, as_json(configuration), place="deployment")


def sixteen_digits(deployment, configuration):
    return marks(deployment, as_json(configuration), digits=16)


def pythons_hash(deployment, configuration):
    found = marks(deployment, "")
    found["spec"]["template"]["metadata"]["annotations"]["digits/config"] = str(hash(as_json(configuration)))
    return found


def keys_as_they_come(deployment, configuration):
    return marks(deployment, json.dumps(sorted(parts_of(configuration), key=lambda part: part[:2])))


def objects_as_they_come(deployment, configuration):
    return marks(deployment, as_json(configuration, ordered=False))


def whole_objects(deployment, configuration):
    return marks(
        deployment, json.dumps(sorted(configuration, key=lambda e: (e["kind"], e["metadata"]["name"])), sort_keys=True)
    )


def without_kinds(deployment, configuration):
    return marks(deployment, as_json(configuration, what=("name", "data", "binaryData")))


def without_names(deployment, configuration):
    return marks(deployment, as_json(configuration, what=("kind", "data", "binaryData")))


def without_binary(deployment, configuration):
    return marks(deployment, as_json(configuration, what=("kind", "name", "data")))


def one_dict_for_all(deployment, configuration):
    whole = {}
    for each in configuration:
        whole |= each.get("data", {}) | each.get("binaryData", {})
    return marks(deployment, json.dumps(whole, sort_keys=True))


def lines_joined(deployment, configuration):
    lines = []
    for kind, name, data, binary in parts_of(configuration):
        lines += [f"{kind} {name}", *(f"{k}={v}" for k, v in sorted(data.items())), "-"]
        lines += [f"{k}={v}" for k, v in sorted(binary.items())]
    return marks(deployment, "\n".join(lines))


def annotations_anew(deployment, configuration):
    return marks(deployment, as_json(configuration), place="fresh")


def the_older_checksum(deployment, configuration):
    marked = marks(deployment, as_json(configuration))
    older = deployment["spec"]["template"]["metadata"].get("annotations", {})
    marked["spec"]["template"]["metadata"]["annotations"] |= older
    return marked


def writes_into_it(deployment, configuration):
    return marks(deployment, as_json(configuration), copies=False)


def sorts_the_list(deployment, configuration):
    configuration.sort(key=lambda each: (each["kind"], each["metadata"]["name"]))
    return marks(deployment, as_json(configuration, ordered=False))


WRONG = {
    "17b.1": {
        trusts_the_keys: "a pod that asks for nothing is BestEffort",
        memory_alone: "requests equal to limits, for cpu and memory: Guaranteed; less: Burstable",
        needs_requests: "a request that is not given is the limit's",
        texts: "numbers are compared, not texts",
        the_first: "every container counts",
        without_init: "init containers count as well",
        whatever_has_a_limit: "only cpu and memory count, and only above 0",
        the_first_init: "init containers count as well",
        disk_counts: "only cpu and memory count, and only above 0",
        zero_counts: "only cpu and memory count, and only above 0",
        zeros_are_filled_in: "a request that is given as 0 is not filled in",
        a_sum_over_containers: "every container counts",
        fills_in: "the pod is left as it was",
    },
    "17b.2": {
        on_the_deployment: "the template has the 64 digits of a SHA-256",
        sixteen_digits: "the template has the 64 digits of a SHA-256",
        pythons_hash: "the template has the 64 digits of a SHA-256",
        keys_as_they_come: "the same configuration gives the same mark, in whichever order",
        objects_as_they_come: "the same configuration gives the same mark, in whichever order",
        whole_objects: "other metadata does not count",
        without_kinds: "another kind, name, key or value gives another mark",
        without_names: "another kind, name, key or value gives another mark",
        without_binary: "another kind, name, key or value gives another mark",
        one_dict_for_all: "another kind, name, key or value gives another mark",
        lines_joined: "another kind, name, key or value gives another mark",
        annotations_anew: "all else stays, other annotations too",
        the_older_checksum: "all else stays, other annotations too",
        writes_into_it: "both arguments are left as they were",
        sorts_the_list: "both arguments are left as they were",
    },
}
