"""Checks of lesson 17."""

import re
from collections.abc import Callable, Iterator
from decimal import Decimal
from numbers import Integral

from course_lib.checks import Register, raises
from course_lib.idioms.exercises import Property

EXERCISES = Register()


@EXERCISES.add("17.1", "How many pods during an update?")
def during(answer: Callable) -> Iterator[Property]:
    """answer(replicas, max_surge, max_unavailable) -> (fewest, most, everything)."""

    def gives(fewest: int, most: int, *arguments: object) -> bool:
        found = tuple(answer(*arguments))
        return found[:2] == (fewest, most) and len(found) == 3 and all(isinstance(each, Integral) for each in found)

    yield ("whole numbers are added and taken away", lambda: gives(4, 5, 4, 1, 0) and gives(8, 13, 10, 3, 2), [
        "Four pods, one more allowed, none missing.",
        "The fewest are replicas less max_unavailable, the most replicas and max_surge together. Three whole numbers.",
        "return replicas - max_unavailable, replicas + max_surge, …",
    ])  # fmt: skip
    yield ("percentages are shares of replicas, and the default is 25 % of both", lambda: gives(3, 5, 4) and gives(10, 30, 20, "50%", "50%") and gives(0, 5, 4, "25%", "100%"), [
        "What is 25 % of four pods?",
        "A string that ends in % holds the share before it.",
        "replicas * int(text[:-1]) / 100, then rounded.",
    ])  # fmt: skip
    yield ("max_surge is rounded up, max_unavailable down", lambda: gives(8, 13, 10) and gives(2, 3, 2) and gives(10, 11, 10, "1%", "1%"), [
        "25 % of ten pods is 2.5. What do the two become?",
        "Rather one pod too many than one missing.",
        "-(-x // 100) rounds up, x // 100 down.",
    ])  # fmt: skip
    yield ("7 % of 100 is 7", lambda: gives(93, 107, 100, "7%", "7%") and gives(71, 129, 100, "29%", "29%") and gives(42, 158, 100, "58%", "58%"), [
        "Print 100 * 0.07.",
        "0.07 is not exactly 0.07 in floating point; whole numbers are exact.",
        "Multiply by the whole percentage first, and divide by 100 in whole numbers.",
    ])  # fmt: skip
    yield ("where both come out as 0, one may be missing", lambda: gives(2, 3, 3, 0, "25%") and gives(2, 3, 3, "0%", "33%") and gives(3, 4, 3, "1%", "25%"), [
        "Three pods, max_surge 0, max_unavailable 25 %: how could the update begin?",
        "25 % of three, rounded down, is 0.",
        "After the rounding: if surge == missing == 0: missing = 1",
    ])  # fmt: skip
    yield ("no fewer than none are available", lambda: gives(0, 2, 2, 0, 5) and gives(0, 0, 0, 0, 1) and gives(0, 0, 0), [
        "Try two pods, five of which may be missing, and no pods at all.",
        "A number of available pods is never negative.",
        "max(0, replicas - missing)",
    ])  # fmt: skip
    yield ("the new pods are no more than replicas", lambda: gives(1, 4, 2, "250%", 1) and gives(2, 4, 2, 5, 0) and gives(0, 0, 0, 1, 1), [
        "Two pods, five more allowed: how many new pods does the update make?",
        "Two old pods and two new ones are four, whatever max_surge allows.",
        "replicas + min(surge, replicas)",
    ])  # fmt: skip
    yield ("pods that are ending count, until the update is over", lambda: [tuple(answer(*each))[2] for each in (
        (10, 1, 0), (10, "25%", "25%"), (4, 0, 1), (1, 1, 0), (3, 0, "25%"), (2, 5, 0), (7, "50%", 2), (0, 1, 1))] == [20, 20, 8, 2, 6, 4, 14, 0], [
        "At the end of the update all old pods have been told to end. How many new ones are there?",
        "All new pods, and all old ones that are not gone yet. max_surge does not count the latter.",
        "The third number is 2 * replicas.",
    ])  # fmt: skip
    yield ("what the API server refuses is refused", lambda: all(raises(ValueError, answer, *bad) for bad in (
        (4, 0, 0), (4, "0%", 0), (4, 0, "0%"), (-1, 1, 1), (4, -1, 1), (4, 1, -1), (4, "25", 1), (4, 1, "a%"), (4, 1, "-5%"), (4, 1, "101%"), (0, 0, 0))), [
        "Both 0; negative numbers; texts without a %; more than all missing.",
        "\"0%\" is 0 too, and given as 0 is not the same as rounded to 0.",
        "Check before you round: text[:-1].isdecimal(), numbers >= 0, not both 0, at most 100 % missing.",
    ])  # fmt: skip


@EXERCISES.add("17.2", "Probes for a model that loads for minutes")
def three_probes(answer: Callable) -> Iterator[Property]:
    """answer(load_s, unready_s, hung_s) -> probes."""
    names = ("startupProbe", "readinessProbe", "livenessProbe")

    def worst_s(probe: dict) -> int:
        """Trouble begins right after a try at second 0; when the last of the failing tries has failed."""
        tries = [probe["periodSeconds"] * (i + 1) for i in range(probe["failureThreshold"])]
        return tries[-1] + probe["timeoutSeconds"]

    def longest(probe: dict, promise: int) -> bool:
        longer = probe | {"periodSeconds": probe["periodSeconds"] + 1}
        return worst_s(probe) <= promise < worst_s(longer)

    def valid(probes: dict) -> bool:
        import kubernetes_validate

        container = {"name": "c", "image": "digits:1", "ports": [{"name": "http", "containerPort": 8501}], **probes}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": [container]}}
        late = any(probe.get("initialDelaySeconds", 0) for probe in probes.values())
        numbers = [value for probe in probes.values() for name, value in probe.items() if name != "httpGet"]
        if not all(isinstance(value, Integral) and not isinstance(value, bool) for value in numbers):
            raise TypeError(f"expected whole numbers, got {numbers}")
        return kubernetes_validate.validate(pod, "1.37", strict=True) == "1.37" and not late

    def plain(probe: dict) -> bool:
        get = probe["httpGet"]
        usual = get.get("scheme", "HTTP") == "HTTP" and "host" not in get and probe.get("successThreshold", 1) == 1
        return get["port"] == "http" and usual

    yield ("three probes, as today's schema knows them", lambda: set(answer(90, 10, 30)) == set(names) and valid(answer(90, 10, 30)), [
        "Return a dict with the three names of a container's probes.",
        "Each has httpGet with path and port, periodSeconds, timeoutSeconds, failureThreshold, in whole numbers, and no delay.",
        '{"startupProbe": {"httpGet": {"path": "…", "port": "http"}, "periodSeconds": 1, …}, …}',
    ])  # fmt: skip
    yield ("each asks its own question", lambda: [answer(90, 10, 30)[n]["httpGet"]["path"] for n in names]
           == ["/v2/health/ready"] * 2 + ["/v2/health/live"] and all(plain(answer(90, 10, 30)[n]) for n in names), [
        "Which of them must not fail while the model loads, or while the server is too busy?",
        "Liveness asks whether the process lives; a restart does not make a model load faster.",
        "/v2/health/ready for startup and readiness, /v2/health/live for liveness; port \"http\".",
    ])  # fmt: skip

    def started(load_s: int, threshold: int) -> bool:
        probe = answer(load_s, 10, 30)["startupProbe"]
        return (probe["periodSeconds"], probe["timeoutSeconds"], probe["failureThreshold"]) == (1, 1, threshold)

    yield ("the load may take twice as long as the slowest seen", lambda: started(90, 180) and started(7, 14), [
        "One try a second: how many may fail in 180 seconds?",
        "failureThreshold · periodSeconds is the time that it gives.",
        '"periodSeconds": 1, "failureThreshold": 2 * load_s',
    ])  # fmt: skip
    yield ("a load of no time takes a threshold all the same", lambda: started(0, 1) and valid(answer(0, 10, 30)), [
        "Try load_s = 0.",
        "A failureThreshold of 0 is refused by the API server.",
        "max(1, 2 * load_s)",
    ])  # fmt: skip
    yield ("a pod that is not ready is taken out in time, with as few questions as possible", lambda: all(
        longest(p := answer(90, s, 30)["readinessProbe"], s) and (p["failureThreshold"], p["timeoutSeconds"]) == (2, 1) for s in (3, 4, 10, 11, 61)), [
        "The trouble begins right after a try. When has the second failing try failed?",
        "A period until the first one, one more until the second, and its time-out: 2 · p + 1.",
        "(unready_s - 1) // 2",
    ])  # fmt: skip
    yield ("a pod that hangs is restarted in time, with as few questions as possible", lambda: all(
        longest(p := answer(90, 10, s)["livenessProbe"], s) and (p["failureThreshold"], p["timeoutSeconds"]) == (3, 2) for s in (8, 9, 10, 11, 30, 32, 600)), [
        "Three failures in a row, and two seconds until the last of them has failed.",
        "3 · p + 2 must not exceed hung_s.",
        "(hung_s - 2) // 3",
    ])  # fmt: skip
    yield ("what cannot be promised is refused", lambda: all(raises(ValueError, answer, *bad) for bad in ((90, 2, 30), (90, 10, 4), (90, 10, 7), (-1, 10, 30), (90, 0, 30)))
           and answer(0, 3, 8)["livenessProbe"]["periodSeconds"] == 2, [
        "Two seconds are not enough for two tries, a second apart, and a time-out; seven not for three tries of two seconds.",
        "A period is at least its time-out: 1 for readiness, 2 for liveness. And no load takes less than no time.",
        "if load_s < 0 or readiness < 1 or liveness < 2: raise ValueError(…)",
    ])  # fmt: skip


@EXERCISES.add("17.3", "Mend the manifest")
def mended(answer: Callable) -> Iterator[Property]:
    """answer(image) -> YAML text."""
    image = "registry.example.com/team/digits:1.4.2"

    def objects(of: str = image) -> list[dict]:
        import yaml

        text = answer(of)
        if not isinstance(text, str):
            raise TypeError(f"expected the text of a YAML file, got {type(text).__name__}")
        return [each for each in yaml.safe_load_all(text) if each is not None]

    def the(kind: str, of: str = image) -> dict:
        return next(each for each in objects(of) if each["kind"] == kind)

    def template() -> dict:
        return the("Deployment")["spec"]["template"]

    def container(of: str = image) -> dict:
        return the("Deployment", of)["spec"]["template"]["spec"]["containers"][0]

    def here() -> str | None:
        return the("Deployment")["metadata"].get("namespace")

    def valid() -> bool:
        import kubernetes_validate

        return all(kubernetes_validate.validate(each, "1.37", strict=True) == "1.37" for each in objects())

    def number(port: object) -> object:
        ports = [each for each in container().get("ports", []) if each.get("protocol", "TCP") == "TCP"]
        named = {each["name"]: each["containerPort"] for each in reversed(ports) if "name" in each}
        return named.get(port, port) if isinstance(port, str) else port

    yield ("a Deployment and a Service, in YAML that can be read", lambda: sorted(each["kind"] for each in objects()) == ["Deployment", "Service"], [
        "Two documents in one text, with a line of three hyphens between them.",
        "In YAML, indentation says what belongs to what; spaces only, and a space after each colon.",
        "In an f-string, braces that belong to YAML are doubled: {{app: digits}}.",
    ])  # fmt: skip
    yield ("both are valid in Kubernetes 1.37, without unknown fields", valid, [
        "The message names what is missing, or is too much.",
        "A Deployment needs spec.selector; and fields are spelled in camelCase.",
        "selector: {matchLabels: {app: digits}}, ports: [{containerPort: 8501}]",
    ])  # fmt: skip
    rule = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
    yield ("all names keep to the rule", lambda: all(rule.fullmatch(each["metadata"]["name"]) for each in objects()) and bool(rule.fullmatch(container()["name"])), [
        "Which characters may a name hold, and which may come first?",
        "Look at three names: the Deployment's, its container's, the Service's.",
        "No underscore, no digit at the begin: digits, service, digits.",
    ])  # fmt: skip

    def finds(selector: dict) -> bool:
        labels = template()["metadata"]["labels"]
        fits = {"In": lambda key, values: labels.get(key) in values, "NotIn": lambda key, values: labels.get(key) not in values,
                "Exists": lambda key, _: key in labels, "DoesNotExist": lambda key, _: key not in labels}  # fmt: skip
        asked = [
            fits[each["operator"]](each["key"], each.get("values")) for each in selector.get("matchExpressions", [])
        ]
        asked += [labels.get(key) == value for key, value in selector.get("matchLabels", {}).items()]
        return bool(asked) and all(asked)

    yield ("the selectors find the pods", lambda: finds(the("Deployment")["spec"]["selector"]) and finds({"matchLabels": the("Service")["spec"]["selector"]}), [
        "Which labels do the pods have? They stand in the template.",
        "The Deployment's selector and the Service's must both match them.",
        "app: digits in all three places.",
    ])  # fmt: skip
    yield ("the Service's port 80 leads to the server's 8501", lambda: [(p["port"], number(p.get("targetPort", p["port"]))) for p in the("Service")["spec"]["ports"]] == [(80, 8501)]
           and the("Service")["spec"]["ports"][0].get("protocol", "TCP") == "TCP"
           and the("Service")["spec"].get("clusterIP", "") != "None" and the("Service")["spec"].get("type", "ClusterIP") != "ExternalName", [
        "Follow a request: which port does it come to, and which does the server listen on?",
        "targetPort is a number, or the name of one of the container's ports.",
        "ports: [{port: 80, targetPort: 8501}]",
    ])  # fmt: skip
    yield ("the Service is where the pods are, and leads to those that are ready", lambda: the("Service")["metadata"].get("namespace") == the("Deployment")["metadata"].get("namespace")
           and not the("Service")["spec"].get("publishNotReadyAddresses") and template()["metadata"].get("namespace", here()) == here(), [
        "A Service finds pods of its own namespace only.",
        "Give both the same namespace, or none. And a pod that is not ready gets no requests by default: leave it so.",
        "metadata: {name: digits} for both, without namespace, and no publishNotReadyAddresses",
    ])  # fmt: skip
    yield ("no port of the node is taken", lambda: not template()["spec"].get("hostNetwork")
           and not any("hostPort" in port for port in container().get("ports", [])), [
        "How many pods with this port fit on one node?",
        "The Service leads to the pods' own addresses: a port of the node is not needed, and two pods cannot share it.",
        "Leave out hostPort and hostNetwork.",
    ])  # fmt: skip
    yield ("its one container runs the image that was passed", lambda: all(container(each)["image"] == each for each in (image, "digits-service:0.1.0", "10.0.0.7:5000/d@sha256:" + 64 * "a"))
           and len(template()["spec"]["containers"]) == 1, [
        "Does the argument stand in your text?",
        "An f-string puts it there; quotes around it keep the colon harmless.",
        'image: "{image}"',
    ])  # fmt: skip
    yield ("the image's own command starts the server", lambda: not container().get("command") and not container().get("args")
           and not template()["spec"].get("initContainers") and template()["spec"].get("restartPolicy", "Always") == "Always", [
        "What does the container run: the server, or something else?",
        "`command` and `args` take the place of what the image says. A Deployment's containers run on and on.",
        "Leave out command, args, initContainers and restartPolicy.",
    ])  # fmt: skip
    yield ("two pods or more, none missing in an update", lambda: the("Deployment")["spec"].get("replicas", 1) >= 2
           and the("Deployment")["spec"].get("strategy", {}).get("type", "RollingUpdate") == "RollingUpdate"
           and the("Deployment")["spec"].get("strategy", {}).get("rollingUpdate", {}).get("maxUnavailable") in (0, "0%")
           and the("Deployment")["spec"]["strategy"]["rollingUpdate"].get("maxSurge", 1) not in (0, "0%") and not the("Deployment")["spec"].get("paused"), [
        "How many pods does a Deployment without `replicas` have?",
        "Exercise 17.1: which of the two numbers says how many may be missing?",
        "replicas: 2, strategy: {rollingUpdate: {maxUnavailable: 0, maxSurge: 1}}",
    ])  # fmt: skip

    def asks(probe: str) -> tuple:
        asked = container().get(probe, {})
        get = asked.get("httpGet", {})
        other = get.get("host") or {"exec", "tcpSocket", "grpc"} & asked.keys()
        if probe != "readinessProbe" and asked.get("successThreshold", 1) != 1:
            other = "successThreshold"  # which the API server refuses here
        return get.get("path"), number(get.get("port")), other or get.get("scheme", "HTTP")

    yield ("the probes ask the right questions, at the right port", lambda: asks("readinessProbe") == ("/v2/health/ready", 8501, "HTTP")
           and asks("livenessProbe") == ("/v2/health/live", 8501, "HTTP")
           and ("startupProbe" not in container() or asks("startupProbe")[1:] == (8501, "HTTP")), [
        "Two probes, each with httpGet: a path and a port.",
        "Readiness asks for the model, liveness for the process alone.",
        "readinessProbe: {httpGet: {path: /v2/health/ready, port: 8501}}",
    ])  # fmt: skip

    def amount(quantity: object) -> Decimal:
        found = re.fullmatch(r"(\+?(?:\d+\.?\d*|\.\d+))(?:[eE]([+-]?\d+)|([numkMGTPE]|[KMGTPE]i|))", str(quantity))
        if not found:
            raise ValueError(f"expected a quantity such as 100m or 256Mi, got {quantity!r}")
        number, exponent, unit = found.groups()
        if unit and unit.endswith("i"):
            return Decimal(number) * 1024 ** ("KMGTPE".index(unit[0]) + 1)
        return Decimal(number).scaleb(int(exponent) if exponent else 3 * ("num kMGTPE".index(unit or " ") - 3))

    def resources_fit() -> bool:
        given = container().get("resources", {})
        limits = {name: amount(each) for name, each in given.get("limits", {}).items()}
        requests = limits | {name: amount(each) for name, each in given.get("requests", {}).items()}
        enough = 0 < requests.get("cpu", 0) <= 2 and 2**27 <= requests.get("memory", 0) <= 2**30
        below = all(requests[name] <= limit for name, limit in limits.items())
        return enough and below and requests["memory"] == limits.get("memory")

    yield ("cpu and memory are requested, memory is limited to its request", resources_fit, [
        "What is requested is set aside for the pod; a limit is where it is stopped, and never below the request.",
        "Memory: the same in requests and limits, 128Mi to 1Gi. CPU: a request above 0, at most 2, and a limit if you like.",
        "resources: {requests: {cpu: 100m, memory: 256Mi}, limits: {memory: 256Mi}}",
    ])  # fmt: skip


@EXERCISES.add("17.4", "Is there time for a goodbye?")
def last_words(answer: Callable) -> Iterator[Property]:
    """answer(pod spec, spread_s, longest_s) -> set."""

    def container(hook: dict | None = None, args: list | None = None) -> dict:
        return {"name": "c", **({"lifecycle": {"preStop": hook}} if hook else {}), **({"args": args} if args else {})}

    def slept(seconds: str) -> dict:
        return container({"exec": {"command": ["sleep", seconds]}})

    def of(*containers: dict, spread: float = 2, longest: float = 1, grace: int | None = None) -> set:
        pod = {"containers": list(containers), **({} if grace is None else {"terminationGracePeriodSeconds": grace})}
        return set(answer(pod, spread, longest))

    yield ("a sleep that is long enough: nothing is lost; without it, requests are refused", lambda: of(slept("3")) == set() and of(slept("2")) == set()
           and of(container()) == of(slept("1")) == {"refused"} and of(container(), spread=0) == set()
           and of({"name": "c", "lifecycle": {"postStart": {"exec": {"command": ["sleep", "3"]}}}}) == {"refused"}, [
        "When does the server close its door, and until when do requests come?",
        "The door is open for as long as preStop sleeps. None where there is no preStop.",
        "if open_s < spread_s: lost.add(\"refused\")",
    ])  # fmt: skip
    yield ("the newer spelling sleeps as well", lambda: of(container({"sleep": {"seconds": 3}})) == set() and of(container({"sleep": {"seconds": 1}})) == {"refused"}
           and of(slept("2.5"), spread=2.5) == set(), [
        "Kubernetes 1.30 has a preStop that sleeps by itself.",
        'hook["sleep"]["seconds"] is a number, the word after sleep in a command a text.',
        'match hook: case {"exec": {"command": ["sleep", s]}} | {"sleep": {"seconds": s}}: open_s = float(s)',
    ])  # fmt: skip
    yield ("the server's own wait counts, in both spellings", lambda: of(container(args=["--port=8501", "--drain-seconds=2"])) == set()
           and of(container(args=["--drain-seconds", "2", "--port", "8501"])) == set()
           and of(container({"sleep": {"seconds": 1}}, ["--drain-seconds=1"])) == set() and of(container(args=["--drain-seconds=1"])) == {"refused"}
           and of(container(args=["--port=8501", "--timeout-ms=9000"])) == {"refused"}, [
        "After SIGTERM the server may still take requests for a while.",
        "preStop and --drain-seconds add up.",
        'Join the args, replace "=" by a space, split: the number follows the option.',
    ])  # fmt: skip
    yield ("the grace period holds all of it, and begins with the deletion", lambda: of(slept("3"), longest=4, grace=8) == set()
           and of(slept("3"), longest=5, grace=8) == of(slept("3"), longest=6, grace=8) == {"cut off"}
           and of(container({"sleep": {"seconds": 2}}, ["--drain-seconds=2"]), longest=4, grace=8) == {"cut off"}, [
        "SIGKILL comes so many seconds after the deletion, not after SIGTERM.",
        "A request may be accepted just before the door closes, and then takes longest_s.",
        'if open_s + longest_s >= grace_s: lost.add("cut off")',
    ])  # fmt: skip
    yield ("without a number it is 30 seconds", lambda: of(slept("20"), longest=9) == set() and of(slept("21"), longest=9) == {"cut off"}
           and of(slept("3"), grace=0) == {"cut off"}, [
        "terminationGracePeriodSeconds may be missing.",
        "Kubernetes then takes 30. A 0 that is given stays 0.",
        'pod.get("terminationGracePeriodSeconds", 30)',
    ])  # fmt: skip
    yield ("the server itself gives up after 10 seconds", lambda: of(slept("3"), longest=10, grace=60) == set() and of(slept("3"), longest=11, grace=60) == {"cut off"}, [
        "An hour of grace does not help a request that the server does not wait for.",
        "It finishes what it has, for at most 10 s.",
        "longest_s > 10 or …",
    ])  # fmt: skip
    yield ("each container has its own door; both things may go wrong", lambda: of(slept("3"), container()) == of(container(), slept("3")) == {"refused"}
           and of(container(), longest=12) == {"refused", "cut off"} and of(container(), slept("9"), longest=2, grace=10) == {"refused", "cut off"}, [
        "Two containers: the worse one counts.",
        "Collect over all of them.",
        "for container in pod[\"containers\"]: …, one set for all.",
    ])  # fmt: skip
    other = (
        {"httpGet": {"path": "/bye", "port": 8501}},
        {"exec": {"command": ["python", "bye.py"]}},
        {"exec": {"command": ["sleep"]}},
    )
    yield ("a preStop that does something else is refused", lambda: all(raises(ValueError, answer, {"containers": [container(hook)]}, 2, 1) for hook in other), [
        "How long does a call of /bye take? Nobody can read it off.",
        "Any preStop but the two kinds of sleep.",
        "case _: raise ValueError(…)",
    ])  # fmt: skip
