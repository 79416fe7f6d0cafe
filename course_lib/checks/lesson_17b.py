"""Checks of lesson 17b."""

import copy
import re
from collections.abc import Callable, Iterator

from course_lib.checks import Register
from course_lib.idioms.exercises import Property

EXERCISES = Register()


@EXERCISES.add("17b.1", "Whom does the kernel kill first?")
def quality(answer: Callable) -> Iterator[Property]:
    """answer(pod spec) -> class."""

    def container(requests: dict | None = None, limits: dict | None = None) -> dict:
        given = {"requests": requests, "limits": limits}
        return {"name": "c", "resources": {kind: each for kind, each in given.items() if each is not None}}

    def of(*containers: dict, init: tuple = ()) -> str:
        return answer({"containers": list(containers), **({"initContainers": list(init)} if init else {})})

    full = {"cpu": "500m", "memory": "256Mi"}
    yield ("a pod that asks for nothing is BestEffort", lambda: of({"name": "c"}) == of(container()) == of(container({}, {})) == "BestEffort", [
        "A container may lack `resources`, or have empty ones.",
        "container.get(\"resources\", {}).get(\"limits\", {}) never fails.",
        "No request and no limit anywhere: \"BestEffort\".",
    ])  # fmt: skip
    yield ("requests equal to limits, for cpu and memory: Guaranteed; less: Burstable", lambda: of(container(full, full)) == "Guaranteed"
           and of(container(full | {"cpu": "100m"}, full)) == of(container({"cpu": "1m"})) == of(container(None, {"memory": "1Gi"})) == "Burstable", [
        "Which of the two resources must have a limit?",
        "A limit on memory alone is not enough for Guaranteed.",
        "both = all(name in limits and requests[name] == limits[name] for name in (\"cpu\", \"memory\"))",
    ])  # fmt: skip
    yield ("a request that is not given is the limit's", lambda: of(container(None, full)) == of(container({"cpu": "500m"}, full)) == "Guaranteed"
           and of(container({"memory": "1Mi"}, full)) == "Burstable", [
        "Limits alone: what does the API server fill in as requests?",
        "It does so for each resource by itself.",
        "requests = limits | requests",
    ])  # fmt: skip
    yield ("numbers are compared, not texts", lambda: of(container({"cpu": "1000m", "memory": "1Gi"}, {"cpu": 1, "memory": "1024Mi"})) == "Guaranteed"
           and of(container({"cpu": "0.5", "memory": "1024Ki"}, {"cpu": "500m", "memory": "1Mi"})) == "Guaranteed", [
        "One CPU is 1, and \"1000m\".",
        "quantity(…) gives numbers that compare.",
        "{name: quantity(text) for name, text in limits.items()}",
    ])  # fmt: skip
    yield ("every container counts", lambda: of(container(full, full), container(None, full)) == "Guaranteed"
           and of(container(full, full), container()) == of(container(), container(full, full)) == "Burstable"
           and of(container(), container({"cpu": "1m"})) == "Burstable", [
        "A sidecar without limits beside a container with.",
        "Guaranteed takes all of them; BestEffort takes that none asks.",
        "Loop over the containers, and decide at the end.",
    ])  # fmt: skip
    yield ("init containers count as well", lambda: of(container(full, full), init=(container(),)) == "Burstable"
           and of(container(), init=(container(full, full),)) == "Burstable" and of(container(full, full), init=(container(full, full),)) == "Guaranteed"
           and of(container(full, full), init=(container(full, full), container())) == "Burstable", [
        "A pod may have `initContainers`, which run before the others.",
        "They take part in the rule like the others.",
        "[*pod[\"containers\"], *pod.get(\"initContainers\", [])]",
    ])  # fmt: skip
    other = {"nvidia.com/gpu": 1, "ephemeral-storage": "1Gi"}
    yield ("only cpu and memory count, and only above 0", lambda: of(container(other, other)) == "BestEffort"
           and of(container({"cpu": "0", "memory": 0}, None)) == "BestEffort" and of(container(full, full | other)) == of(container(full | other, full)) == "Guaranteed"
           and of(container(None, {"cpu": "500m", "memory": "0"})) == "Burstable", [
        "A GPU has a limit too; and somebody may have asked for \"0\".",
        "Keep of requests and limits what counts, before you compare.",
        "if name in (\"cpu\", \"memory\") and quantity(text) > 0",
    ])  # fmt: skip
    yield ("a request that is given as 0 is not filled in", lambda: of(container({"cpu": "0"}, full)) == of(container({"memory": 0}, full)) == "Burstable"
           and of(container({"cpu": "0m", "memory": "0"}, full)) == of(container(full, full), container({"cpu": 0}, full)) == "Burstable"
           and of(container({"cpu": "0"}, {"cpu": "0"})) == "BestEffort", [
        "A request of \"0\" under a limit of \"500m\": is it given, or not?",
        "First the requests that are not given become the limits'; only then zeros are left out.",
        "requests = limits | requests, and after that: keep what is above 0.",
    ])  # fmt: skip
    pod = {
        "containers": [container(None, dict(full)), container(dict(full), dict(full))],
        "initContainers": [container({}, dict(full))],
    }
    kept = copy.deepcopy(pod)
    yield ("the pod is left as it was", lambda: answer(pod) == "Guaranteed" and pod == kept, [
        "Does your function write into `pod`?",
        "requests.update(…) and += change what the caller gave.",
        "limits | requests makes a new dict; [*a, *b] a new list.",
    ])  # fmt: skip


@EXERCISES.add("17b.2", "A configuration that rolls out by itself")
def checksum(answer: Callable) -> Iterator[Property]:
    """answer(deployment, configuration) -> Deployment."""

    def thing(kind: str, name: str, data: dict | None = None, binary: dict | None = None, **meta: object) -> dict:
        given = {"data": data, "binaryData": binary}
        parts = {key: each for key, each in given.items() if each is not None}
        return {"kind": kind, "metadata": {"name": name, **meta}, **parts}

    def deployment(**notes: str) -> dict:
        meta = {"labels": {"app": "digits"}, **({"annotations": notes} if notes else {})}
        pod = {"containers": [{"name": "service", "image": "digits:1"}]}
        return {"kind": "Deployment", "metadata": {"name": "digits", "annotations": {"team": "vision"}},
                "spec": {"replicas": 2, "template": {"metadata": meta, "spec": pod}}}  # fmt: skip

    def mark(*configuration: dict) -> str:
        found = answer(deployment(), list(configuration))
        return found["spec"]["template"]["metadata"]["annotations"]["digits/config"]

    one = thing("ConfigMap", "digits", {"timeout-ms": "10000", "max-queue": "256"})
    two = thing("ConfigMap", "more", {"level": "info"}, {"table": "AAEC"})
    key = thing("Secret", "store", {"password": "aHVudGVyMg=="})

    yield ("the template has the 64 digits of a SHA-256", lambda: bool(re.fullmatch("[0-9a-f]{64}", mark(one, two, key)))
           and bool(re.fullmatch("[0-9a-f]{64}", mark(thing("ConfigMap", "empty")))), [
        "Which of the two `metadata` belongs to the pods: the Deployment's, or the template's? And which function makes 64 digits?",
        "hashlib.sha256(bytes).hexdigest(); json.dumps(…).encode() makes bytes of data. `data` and `binaryData` may be missing.",
        'template["metadata"].setdefault("annotations", {})["digits/config"] = hashlib.sha256(text.encode()).hexdigest()',
    ])  # fmt: skip
    turned = thing("ConfigMap", "digits", {"max-queue": "256", "timeout-ms": "10000"})
    yield ("the same configuration gives the same mark, in whichever order", lambda: mark(one, two, key) == mark(key, one, two) == mark(two, turned, key)
           and mark(one, thing("Secret", "digits", {"a": "b"})) == mark(thing("Secret", "digits", {"a": "b"}), turned), [
        "Turn the list round, and the keys of `data`.",
        "json.dumps has sort_keys; the list needs a sort of its own, by kind and name.",
        'sorted(configuration, key=lambda each: (each["kind"], each["metadata"]["name"]))',
    ])  # fmt: skip
    noted = thing("ConfigMap", "digits", dict(one["data"]), resourceVersion="77", labels={"app": "digits"})
    yield ("other metadata does not count", lambda: mark(noted, two, key) == mark(one, two, key), [
        "Somebody adds a label to a ConfigMap. Must all pods be restarted?",
        "Of the metadata only the name belongs to the configuration.",
        'Keep of each object its kind, name, data and binaryData.',
    ])  # fmt: skip
    others = (
        (one, two, key), (one, two), (one,), (),
        (thing("ConfigMap", "digits", one["data"] | {"max-queue": "512"}), two, key),
        (thing("ConfigMap", "digits", {"timeout": "10000", "max-queue": "256"}), two, key),
        (thing("ConfigMap", "digits", {"timeout-ms": "256", "max-queue": "10000"}), two, key),
        (thing("ConfigMap", "other", one["data"]), two, key),
        (one, two, thing("ConfigMap", "store", key["data"])),
        (one, thing("ConfigMap", "more", {"level": "info"}, {"table": "AAED"}), key),
        (one, thing("ConfigMap", "more", {"level": "info", "table": "AAEC"}), key),
        (one, two, thing("Secret", "store", {"password": "aHVudGVyMw=="})),
        (thing("ConfigMap", "digits", two["data"], two["binaryData"]), thing("ConfigMap", "more", one["data"]), key),
        (thing("ConfigMap", "a", {"ab": "c"}),), (thing("ConfigMap", "a", {"a": "bc"}),), (thing("ConfigMap", "aa", {"b": "c"}),),
        (thing("ConfigMap", "a", {"x": "1\ny=2"}),), (thing("ConfigMap", "a", {"x": "1", "y": "2"}),), (thing("ConfigMap", "a", {"x=1": "2"}),),
    )  # fmt: skip
    yield ("another kind, name, key or value gives another mark", lambda: len({mark(*each) for each in others}) == len(others), [
        "Change a value, rename a key, move one to another object, take an object away: does the mark change each time?",
        'Joined texts meet: "ab" + "c" is "a" + "bc". binaryData and Secrets count as well.',
        "json.dumps([[kind, name, data, binaryData], …], sort_keys=True) keeps all of it apart.",
    ])  # fmt: skip

    def rest_stays() -> bool:
        found = answer(deployment(team="vision", port="8501"), [one, key])
        notes = found["spec"]["template"]["metadata"]["annotations"]
        number = notes.pop("digits/config")
        later = answer(answer(deployment(), [one]), [one, key])["spec"]["template"]["metadata"]["annotations"]
        return (
            found == deployment(team="vision", port="8501")
            and number == mark(one, key)
            and later == {"digits/config": number}
        )

    yield ("all else stays, other annotations too", rest_stays, [
        "The template may have annotations already, also an older checksum.",
        "Add to them, and change nothing else.",
        '.setdefault("annotations", {}) keeps those that are there.',
    ])  # fmt: skip

    def both_left() -> bool:
        given, configuration = deployment(port="8501"), [key, one]
        kept = copy.deepcopy((given, configuration))
        return answer(given, configuration) is not given and (given, configuration) == kept

    yield ("both arguments are left as they were", both_left, [
        "Does the Deployment that you were given have the annotation afterwards? Is the list still in its order?",
        "dict(deployment) copies the outermost level only; list.sort changes the list.",
        "copy.deepcopy(deployment), and sorted(…) instead of .sort()",
    ])  # fmt: skip
