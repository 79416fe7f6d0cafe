"""Right answers to lesson 17's exercises that differ from the solutions."""

import math
from fractions import Fraction

import numpy as np
import yaml


def _share(given):
    if isinstance(given, str):
        if given[-1:] != "%" or not given[:-1].isdecimal():
            raise ValueError("expected a percentage such as 25%")
        return Fraction(int(given[:-1]), 100)
    if given < 0:
        raise ValueError("expected a number from 0")
    return None


def by_fractions(replicas, max_surge="25%", max_unavailable="25%"):
    surge, missing = _share(max_surge), _share(max_unavailable)
    if replicas < 0 or (missing or 0) > 1 or {max_surge, max_unavailable} <= {0, "0%"}:
        raise ValueError("expected an update that can begin")
    surge = max_surge if surge is None else math.ceil(surge * replicas)
    missing = max_unavailable if missing is None else math.floor(missing * replicas)
    missing = missing or (1 if surge == 0 else 0)
    return max(replicas - missing, 0), min(replicas + surge, 2 * replicas), replicas + replicas


def as_numpy(replicas, max_surge="25%", max_unavailable="25%"):
    return np.array(by_fractions(replicas, max_surge, max_unavailable))


def as_a_list(replicas, max_surge="25%", max_unavailable="25%"):
    return [np.int64(each) for each in by_fractions(replicas, max_surge, max_unavailable)]


def by_divmod(replicas, max_surge="25%", max_unavailable="25%"):
    by_fractions(replicas, max_surge, max_unavailable)  # for its refusals
    up = down = 0
    if isinstance(max_surge, str):
        whole, rest = divmod(int(max_surge.rstrip("%")) * replicas, 100)
        up = whole + (rest > 0)
    else:
        up = max_surge
    down = int(max_unavailable[:-1]) * replicas // 100 if isinstance(max_unavailable, str) else max_unavailable
    if not up and not down:
        down = 1
    return sorted([0, replicas - down])[1], replicas + sorted([up, replicas])[0], 2 * replicas


def step_by_step(replicas, max_surge="25%", max_unavailable="25%"):
    fewest, most, _ = by_fractions(replicas, max_surge, max_unavailable)
    old, new, ending, everything = replicas, 0, 0, replicas
    while old:
        new = min(replicas, most - old)
        old, ending = old - min(old, max(old + new - fewest, 0)), ending + min(old, max(old + new - fewest, 0))
        everything = max(everything, old + new + ending)
    new = replicas
    return fewest, most, max(everything, new + ending)


def longest_by_search(load_s, unready_s, hung_s):
    def longest(promise, tries, timeout):
        fitting = [p for p in range(timeout, promise + 1) if tries * p + timeout <= promise]
        if not fitting:
            raise ValueError("this cannot be promised")
        return fitting[-1]

    if load_s < 0:
        raise ValueError("expected a load from 0 s")
    ready = {"path": "/v2/health/ready", "port": "http"}
    return {
        "livenessProbe": {"httpGet": {"path": "/v2/health/live", "port": "http", "scheme": "HTTP"},
                          "periodSeconds": longest(hung_s, 3, 2), "timeoutSeconds": 2, "failureThreshold": 3},
        "readinessProbe": {"httpGet": ready, "periodSeconds": longest(unready_s, 2, 1), "timeoutSeconds": 1,
                           "failureThreshold": 2, "successThreshold": 1},
        "startupProbe": {"httpGet": ready, "periodSeconds": 1, "timeoutSeconds": 1, "failureThreshold": 2 * load_s or 1},
    }  # fmt: skip


def by_floor(load_s, unready_s, hung_s):
    if min(load_s, unready_s - 3, hung_s - 8) < 0:
        raise ValueError("this cannot be promised")
    made = {}
    for name, path, period, timeout, failures in (
        ("startupProbe", "ready", 1, 1, max(2 * load_s, 1)),
        ("readinessProbe", "ready", math.floor((unready_s - 1) / 2), 1, 2),
        ("livenessProbe", "live", math.floor((hung_s - 2) / 3), 2, 3),
    ):
        made[name] = dict(periodSeconds=period, timeoutSeconds=timeout, failureThreshold=failures)
        made[name]["httpGet"] = dict(port="http", path="/v2/health/" + path)
    return made


def by_counting_down(load_s, unready_s, hung_s):
    unready, hung = unready_s, hung_s
    while 2 * unready + 1 > unready_s and unready > 0:
        unready -= 1
    while 3 * hung + 2 > hung_s and hung > 1:
        hung -= 1
    if load_s < 0 or not unready or hung < 2:
        raise ValueError("this cannot be promised")
    return by_floor(load_s, 2 * unready + 1, 3 * hung + 2)


def from_yaml(load_s, unready_s, hung_s):
    by_floor(load_s, unready_s, hung_s)  # for its refusals
    return yaml.safe_load(f"""
startupProbe: &ready
  httpGet: {{path: /v2/health/ready, port: http}}
  periodSeconds: 1
  timeoutSeconds: 1
  failureThreshold: {load_s + load_s if load_s else 1}
readinessProbe: {{<<: *ready, periodSeconds: {divmod(unready_s - 1, 2)[0]}, failureThreshold: 2}}
livenessProbe:
  httpGet: {{path: /v2/health/live, port: http}}
  periodSeconds: {divmod(hung_s - 2, 3)[0]}
  timeoutSeconds: 2
  failureThreshold: 3
""")


def with_a_grace_of_its_own(load_s, unready_s, hung_s):
    found = by_floor(load_s, unready_s, hung_s)
    found["livenessProbe"]["terminationGracePeriodSeconds"] = 20
    return found


def with_defaults_spelled_out(load_s, unready_s, hung_s):
    found = by_floor(load_s, unready_s, hung_s)
    for probe in found.values():
        probe |= {"initialDelaySeconds": 0, "successThreshold": 1}
        probe["httpGet"]["scheme"] = "HTTP"
    return found


def _deployment(image, port="http", **resources):
    probe = lambda name: {"httpGet": {"path": f"/v2/health/{name}", "port": port}}  # noqa: E731
    container = {
        "name": "c",
        "image": image,
        "ports": [{"name": "http", "containerPort": 8501}],
        "readinessProbe": probe("ready"),
        "livenessProbe": probe("live"),
        "startupProbe": probe("ready") | {"failureThreshold": 60, "periodSeconds": 1},
        "resources": resources,
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "digits", "labels": {"app": "digits"}},
        "spec": {
            "replicas": 3,
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "0%", "maxSurge": "50%"}},
            "selector": {"matchLabels": {"app": "digits"}},
            "template": {
                "metadata": {"labels": {"app": "digits", "tier": "model"}},
                "spec": {"containers": [container], "terminationGracePeriodSeconds": 20},
            },
        },
    }


def _service(target="http", **spec):
    ports = [{"name": "web", "protocol": "TCP", "port": 80, "targetPort": target}]
    spec = {"selector": {"app": "digits"}, "ports": ports, **spec}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "digits"}, "spec": spec}


def dumped(image):
    cpu = {"cpu": 0.1, "memory": "256Mi"}
    return yaml.safe_dump_all([_service(), _deployment(image, requests=cpu, limits={"memory": "0.25Gi"})])


def memory_in_powers_of_ten(image):
    return yaml.safe_dump_all(
        [
            _deployment(image, 8501, requests={"cpu": "1e-1", "memory": "256e6"}, limits={"memory": "256e6"}),
            _service(8501),
        ]
    )


def limits_alone(image):
    return yaml.safe_dump_all([_deployment(image, limits={"cpu": "1", "memory": "268435456"}), _service()])


def memory_as_a_number(image):
    some = {"memory": 256_000_000}
    return yaml.safe_dump_all(
        [_deployment(image, requests=some | {"cpu": 1}, limits=some | {"cpu": "1500m"}), _service()]
    )


def for_the_world_outside(image):
    some = {"cpu": "2", "memory": "1Gi"}
    return "---\n" + yaml.safe_dump_all([_deployment(image, requests=some, limits=some), _service(type="LoadBalancer")])


def both_elsewhere(image):
    some = {"cpu": "100m", "memory": "128Mi"}
    both = [_deployment(image, requests=some, limits={"memory": "131072Ki"}), _service(clusterIP="10.0.0.7")]
    for each in both:
        each["metadata"]["namespace"] = "serving"
    return yaml.safe_dump_all(both)


def found_by_an_expression(image):
    deployment = _deployment(image, requests={"cpu": "250m", "memory": "512Mi"}, limits={"memory": "512Mi"})
    deployment["spec"]["selector"] = {"matchExpressions": [{"key": "app", "operator": "In", "values": ["digits"]}]}
    return yaml.dump_all([deployment, _service()], explicit_start=True)


def _open_s(container):
    hook = container.get("lifecycle", {}).get("preStop", {"sleep": {"seconds": 0}})
    if list(hook) == ["sleep"]:
        seconds = hook["sleep"]["seconds"]
    elif list(hook) == ["exec"] and hook["exec"]["command"][:1] == ["sleep"] and len(hook["exec"]["command"]) == 2:
        seconds = float(hook["exec"]["command"][1])
    else:
        raise ValueError("expected a sleep")
    args = container.get("args", [])
    for i, word in enumerate(args):
        if word == "--drain-seconds":
            seconds += float(args[i + 1])
        elif word.startswith("--drain-seconds="):
            seconds += float(word.partition("=")[2])
    return seconds


def with_conditions(pod, spread_s, longest_s):
    doors = [_open_s(each) for each in pod["containers"]]
    grace = pod.get("terminationGracePeriodSeconds", 30)
    late = longest_s > 10 or not all(door + longest_s < grace for door in doors)
    return {*(["refused"] if min(doors) < spread_s else []), *(["cut off"] if late else [])}


def as_list_of_losses(pod, spread_s, longest_s):
    return sorted(with_conditions(pod, spread_s, longest_s))


def door_by_door(pod, spread_s, longest_s):
    lost, grace = set(), pod.get("terminationGracePeriodSeconds", 30)
    for each in pod["containers"]:
        closes = _open_s(each)
        lost |= {"refused"} if closes < spread_s else set()
        killed = min(closes + 10, grace)
        done = closes + longest_s
        lost |= {"cut off"} if done > killed or done >= grace else set()
    return lost


def worst_first(pod, spread_s, longest_s):
    doors = sorted(_open_s(each) for each in pod["containers"])
    grace = {"terminationGracePeriodSeconds": 30, **pod}["terminationGracePeriodSeconds"]
    lost = []
    if doors[0] < spread_s:
        lost.append("refused")
    if longest_s > 10 or doors[-1] + longest_s >= grace:
        lost.append("cut off")
    return set(lost)


def frozen(pod, spread_s, longest_s):
    return frozenset(with_conditions(pod, spread_s, longest_s))


RIGHT = {
    "17.1": [by_fractions, as_numpy, as_a_list, by_divmod, step_by_step],
    "17.2": [
        longest_by_search,
        by_floor,
        by_counting_down,
        from_yaml,
        with_a_grace_of_its_own,
        with_defaults_spelled_out,
    ],
    "17.3": [
        dumped,
        memory_in_powers_of_ten,
        limits_alone,
        memory_as_a_number,
        for_the_world_outside,
        both_elsewhere,
        found_by_an_expression,
    ],
    "17.4": [with_conditions, frozen, as_list_of_losses, door_by_door, worst_first],
}
