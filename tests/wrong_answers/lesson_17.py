"""Wrong answers that people write, planted in lesson 17: each must be caught at the property named."""

import math

import yaml


def share(text, replicas, rounded):
    return rounded(replicas * int(text[:-1]) / 100) if isinstance(text, str) else text


def whole_numbers_alone(replicas, max_surge=1, max_unavailable=1):
    return replicas - max_unavailable, replicas + max_surge, 2 * replicas


def swapped(replicas, max_surge="25%", max_unavailable="25%"):
    surge, missing = share(max_unavailable, replicas, math.ceil), share(max_surge, replicas, math.floor)
    return replicas - missing, replicas + surge, 2 * replicas


def both_up(replicas, max_surge="25%", max_unavailable="25%"):
    surge, missing = share(max_surge, replicas, math.ceil), share(max_unavailable, replicas, math.ceil)
    return replicas - missing, replicas + surge, 2 * replicas


def rounded_to_the_nearest(replicas, max_surge="25%", max_unavailable="25%"):
    surge, missing = share(max_surge, replicas, round), share(max_unavailable, replicas, round)
    return replicas - missing, replicas + surge, 2 * replicas


def in_floating_point(replicas, max_surge="25%", max_unavailable="25%"):
    parts = [float(each[:-1]) / 100 if isinstance(each, str) else each for each in (max_surge, max_unavailable)]
    surge = math.ceil(parts[0] * replicas) if isinstance(max_surge, str) else max_surge
    missing = math.floor(parts[1] * replicas) if isinstance(max_unavailable, str) else max_unavailable
    return replicas - missing, replicas + surge, 2 * replicas


def exact(replicas, max_surge, max_unavailable):
    surge = -(-replicas * int(max_surge[:-1]) // 100) if isinstance(max_surge, str) else max_surge
    missing = replicas * int(max_unavailable[:-1]) // 100 if isinstance(max_unavailable, str) else max_unavailable
    return surge, missing


def in_all(replicas, surge, missing, *, least=0, most=None, everything=None):
    most = replicas + min(surge, replicas) if most is None else most
    return max(least, replicas - missing), most, 2 * replicas if everything is None else everything


def never_begins(replicas, max_surge="25%", max_unavailable="25%"):
    return in_all(replicas, *exact(replicas, max_surge, max_unavailable))


def begun(replicas, max_surge, max_unavailable):
    surge, missing = exact(replicas, max_surge, max_unavailable)
    return surge, missing if surge or missing else 1


def fewer_than_none(replicas, max_surge="25%", max_unavailable="25%"):
    return in_all(replicas, *begun(replicas, max_surge, max_unavailable), least=-replicas)


def more_new_pods_than_asked_for(replicas, max_surge="25%", max_unavailable="25%"):
    surge, missing = begun(replicas, max_surge, max_unavailable)
    return in_all(replicas, surge, missing, most=replicas + surge)


def two_numbers(replicas, max_surge="25%", max_unavailable="25%"):
    return in_all(replicas, *begun(replicas, max_surge, max_unavailable))[:2]


def ending_pods_forgotten(replicas, max_surge="25%", max_unavailable="25%"):
    surge, missing = begun(replicas, max_surge, max_unavailable)
    return in_all(replicas, surge, missing, everything=replicas + min(surge, replicas))


def ending_pods_of_one_step(replicas, max_surge="25%", max_unavailable="25%"):
    surge, missing = begun(replicas, max_surge, max_unavailable)
    return in_all(replicas, surge, missing, everything=replicas + 2 * surge + missing)


def ending_pods_and_the_surge(replicas, max_surge="25%", max_unavailable="25%"):
    surge, missing = begun(replicas, max_surge, max_unavailable)
    return in_all(replicas, surge, missing, everything=2 * replicas + surge)


def never_all_of_them(replicas, max_surge="25%", max_unavailable="25%"):
    if max_unavailable == "100%":
        raise ValueError("expected less than all")
    return in_all(replicas, *begun(replicas, max_surge, max_unavailable))


def takes_anything(replicas, max_surge="25%", max_unavailable="25%"):
    return in_all(replicas, *begun(replicas, max_surge, max_unavailable))


def three(load_s, readiness, liveness, *, live="/v2/health/live", least=1, factor=2):
    kinds = {
        "startupProbe": ("/v2/health/ready", 1, 1, max(least, factor * load_s)),
        "readinessProbe": ("/v2/health/ready", readiness, 1, 2),
        "livenessProbe": (live, liveness, 2, 3),
    }
    return {
        name: {
            "httpGet": {"path": path, "port": "http"},
            "periodSeconds": period,
            "timeoutSeconds": timeout,
            "failureThreshold": threshold,
        }
        for name, (path, period, timeout, threshold) in kinds.items()
    }


def fractions_of_seconds(load_s, unready_s, hung_s):
    return three(load_s, (unready_s - 1) / 2, (hung_s - 2) / 3)


def seconds_with_a_point(load_s, unready_s, hung_s):
    return three(load_s, float((unready_s - 1) // 2), float((hung_s - 2) // 3))


def without_startup(load_s, unready_s, hung_s):
    found = three(load_s, (unready_s - 1) // 2, (hung_s - 2) // 3)
    del found["startupProbe"]
    return found


def ready_as_liveness(load_s, unready_s, hung_s):
    return three(load_s, (unready_s - 1) // 2, (hung_s - 2) // 3, live="/v2/health/ready")


def asks_by_https(load_s, unready_s, hung_s):
    found = three(load_s, (unready_s - 1) // 2, (hung_s - 2) // 3)
    found["readinessProbe"]["httpGet"]["scheme"] = "HTTPS"
    return found


def waits_first(load_s, unready_s, hung_s):
    found = three(load_s, (unready_s - 1) // 2, (hung_s - 2) // 3)
    found["livenessProbe"]["initialDelaySeconds"] = load_s
    return found


def once_the_load(load_s, unready_s, hung_s):
    return three(load_s, (unready_s - 1) // 2, (hung_s - 2) // 3, factor=1)


def a_threshold_of_nothing(load_s, unready_s, hung_s):
    return three(load_s, (unready_s - 1) // 2, (hung_s - 2) // 3, least=0)


def forgets_the_time_out(load_s, unready_s, hung_s):
    return three(load_s, unready_s // 2, (hung_s - 2) // 3)


def one_period_less(load_s, unready_s, hung_s):
    return three(load_s, unready_s - 1, (hung_s - 2) // 2)


def every_second(load_s, unready_s, hung_s):
    return three(load_s, (unready_s - 1) // 2, 1)


def tries_that_overlap(load_s, unready_s, hung_s):
    readiness, liveness = (unready_s - 1) // 2, (hung_s - 2) // 3
    if load_s < 0 or min(readiness, liveness) < 1:
        raise ValueError("a period below a second")
    return three(load_s, readiness, liveness)


def promises_anything(load_s, unready_s, hung_s):
    return three(max(load_s, 0), max(1, (unready_s - 1) // 2), max(1, (hung_s - 2) // 3))


GOOD = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: digits}
spec:
  replicas: 2
  strategy: {rollingUpdate: {maxUnavailable: 0, maxSurge: 1}}
  selector: {matchLabels: {app: digits}}
  template:
    metadata: {labels: {app: digits}}
    spec:
      containers:
      - name: service
        image: "IMAGE"
        ports: [{name: http, containerPort: 8501}]
        readinessProbe: {httpGet: {path: /v2/health/ready, port: http}, periodSeconds: 2}
        livenessProbe: {httpGet: {path: /v2/health/live, port: http}}
        resources: {requests: {cpu: 100m, memory: 256Mi}, limits: {memory: 256Mi}}
---
apiVersion: v1
kind: Service
metadata: {name: digits}
spec:
  selector: {app: digits}
  ports: [{port: 80, targetPort: http}]
"""


def written(*changes):
    def manifest(image):
        text = GOOD
        for old, new in changes:
            assert old in text, old
            text = text.replace(old, new)
        return text.replace("IMAGE", image)

    return manifest


tabs = written(("      containers:", "\tcontainers:"))
deployment_alone = written((GOOD[GOOD.index("---") :], ""))
no_selector = written(("  selector: {matchLabels: {app: digits}}\n", ""))
lower_case = written(("containerPort", "containerport"))
underscore = written(
    ("metadata: {name: digits}\nspec:\n  replicas", "metadata: {name: model_deploy}\nspec:\n  replicas")
)
digit_first = written(
    ("metadata: {name: digits}\nspec:\n  selector", "metadata: {name: 2nd-digits}\nspec:\n  selector")
)
container_name = written(("name: service", "name: digits_service"))
service_selects_others = written(("  selector: {app: digits}", "  selector: {app: model-deploy}"))
deployment_selects_others = written(("matchLabels: {app: digits}", "matchLabels: {app: model}"))
port_of_the_article = written(("targetPort: http", "targetPort: 8080"))
port_of_the_node = written(("containerPort: 8501}", "containerPort: 8501, hostPort: 8501}"))
network_of_the_node = written(("      containers:\n", "      hostNetwork: true\n      containers:\n"))
port_not_named = written(("{name: http, containerPort: 8501}", "{containerPort: 8501}"))
other_protocol = written(("{port: 80, ", "{port: 80, protocol: UDP, "))
same_port = written(("port: 80, ", "port: 8501, "))
latest = written(("IMAGE", "model-deploy:latest"))
one_pod = written(("  replicas: 2\n", ""))
default_strategy = written(("  strategy: {rollingUpdate: {maxUnavailable: 0, maxSurge: 1}}\n", ""))
no_probes = written(("        readinessProbe: {httpGet: {path: /v2/health/ready, port: http}, periodSeconds: 2}\n", ""))
same_question = written(("/v2/health/live", "/v2/health/ready"))
requests_alone = written((", limits: {memory: 256Mi}", ""))
half_a_request = written(("memory: 256Mi}, limits", "memory: 128Mi}, limits"))

resources = "resources: {requests: {cpu: 100m, memory: 256Mi}, limits: {memory: 256Mi}}"
request_above_its_limit = written((resources, resources.replace("limits: {", 'limits: {cpu: "0.05", ')))
no_cpu_at_all = written(("cpu: 100m", 'cpu: "0"'))
too_little_memory = written(("256Mi", "64Ki"))
more_than_a_node = written(("cpu: 100m", "cpu: 1000"))
limit_below_its_request = written(("limits: {memory: 256Mi}", "limits: {memory: 128Mi}"))
service_elsewhere = written(
    ("metadata: {name: digits}\nspec:\n  selector", "metadata: {name: digits, namespace: public}\nspec:\n  selector")
)
unready_too = written(("  ports: [{port: 80", "  publishNotReadyAddresses: true\n  ports: [{port: 80"))
not_the_server = written(('image: "IMAGE"\n', "image: \"IMAGE\"\n        command: ['true']\n"))
other_arguments = written(('image: "IMAGE"\n', 'image: "IMAGE"\n        args: [--help]\n'))
never_past_its_first = written(
    (
        "      containers:\n",
        '      initContainers: [{name: wait, image: "IMAGE", command: [sleep, inf]}]\n      containers:\n',
    )
)
name_of_an_udp_port = written(("containerPort: 8501}", "containerPort: 8501, protocol: UDP}"))
another_name = written(
    ("  selector: {app: digits}", "  type: ExternalName\n  externalName: example.com\n  selector: {app: digits}")
)
asks_another_host = written(
    ("{path: /v2/health/live, port: http}", "{path: /v2/health/live, port: http, host: 10.0.0.7}")
)
two_questions = written(("livenessProbe: {httpGet", "livenessProbe: {exec: {command: ['true']}, httpGet"))
not_this_one = written(
    ("{matchLabels: {app: digits}}", "{matchExpressions: [{key: app, operator: NotIn, values: [digits]}]}")
)
never_rolls = written(("  replicas: 2", "  paused: true\n  replicas: 2"))


twice_alive = written(("livenessProbe: {", "livenessProbe: {successThreshold: 2, "))


def as_objects(image):
    return list(yaml.safe_load_all(GOOD.replace("IMAGE", image)))


def open_s(container, *, new=True, drain=True):
    hook = container.get("lifecycle", {}).get("preStop", {})
    seconds = 0.0
    if "exec" in hook and len(hook["exec"]["command"]) > 1 and hook["exec"]["command"][0] == "sleep":
        seconds = float(hook["exec"]["command"][1])
    elif "sleep" in hook and new:
        seconds = float(hook["sleep"]["seconds"])
    words = " ".join(container.get("args", [])).replace("=", " ").split()
    if drain and "--drain-seconds" in words:
        seconds += float(words[words.index("--drain-seconds") + 1])
    return seconds


def last(pod, spread_s, longest_s, *, grace=30, own=10, first=False, strict=True, **reads):
    lost, end = set(), pod.get("terminationGracePeriodSeconds", grace)
    for container in pod["containers"][: 1 if first else None]:
        seconds = open_s(container, **reads)
        if seconds < spread_s:
            lost.add("refused")
        over = seconds + longest_s >= end if strict else seconds + longest_s > end
        if longest_s > own or over:
            lost.add("cut off")
    return lost


def all_is_well(pod, spread_s, longest_s):
    return set()


def strictly_longer(pod, spread_s, longest_s):
    return {"refused"} if any(open_s(each) <= spread_s for each in pod["containers"]) else set()


def old_spelling_alone(pod, spread_s, longest_s):
    return last(pod, spread_s, longest_s, new=False)


def without_drain(pod, spread_s, longest_s):
    return last(pod, spread_s, longest_s, drain=False)


def grace_after_sigterm(pod, spread_s, longest_s):
    lost = last(pod, spread_s, longest_s)
    return lost - {"cut off"} if longest_s < pod.get("terminationGracePeriodSeconds", 30) else lost


def just_in_time(pod, spread_s, longest_s):
    return last(pod, spread_s, longest_s, strict=False)


def no_default(pod, spread_s, longest_s):
    return last(pod, spread_s, longest_s, grace=float("inf"))


def patient_server(pod, spread_s, longest_s):
    return last(pod, spread_s, longest_s, own=float("inf"))


def one_door(pod, spread_s, longest_s):
    return last(pod, spread_s, longest_s, first=True)


def no_grace_is_thirty(pod, spread_s, longest_s):
    grace_s = pod.get("terminationGracePeriodSeconds") or 30
    return last({**pod, "terminationGracePeriodSeconds": grace_s}, spread_s, longest_s)


def every_lifecycle_ends(pod, spread_s, longest_s):
    for container in pod["containers"]:
        if "lifecycle" in container:
            container["lifecycle"]["preStop"]
    return last(pod, spread_s, longest_s)


def any_hook(pod, spread_s, longest_s):
    return last(pod, spread_s, longest_s)


WRONG = {
    "17.1": {
        whole_numbers_alone: "percentages are shares of replicas, and the default is 25 % of both",
        swapped: "whole numbers are added and taken away",
        both_up: "max_surge is rounded up, max_unavailable down",
        rounded_to_the_nearest: "max_surge is rounded up, max_unavailable down",
        in_floating_point: "7 % of 100 is 7",
        never_begins: "where both come out as 0, one may be missing",
        fewer_than_none: "no fewer than none are available",
        more_new_pods_than_asked_for: "the new pods are no more than replicas",
        two_numbers: "whole numbers are added and taken away",
        ending_pods_forgotten: "pods that are ending count, until the update is over",
        ending_pods_of_one_step: "pods that are ending count, until the update is over",
        ending_pods_and_the_surge: "pods that are ending count, until the update is over",
        never_all_of_them: "percentages are shares of replicas, and the default is 25 % of both",
        takes_anything: "what the API server refuses is refused",
    },
    "17.2": {
        seconds_with_a_point: "three probes, as today's schema knows them",
        fractions_of_seconds: "three probes, as today's schema knows them",
        without_startup: "three probes, as today's schema knows them",
        waits_first: "three probes, as today's schema knows them",
        ready_as_liveness: "each asks its own question",
        asks_by_https: "each asks its own question",
        once_the_load: "the load may take twice as long as the slowest seen",
        a_threshold_of_nothing: "a load of no time takes a threshold all the same",
        forgets_the_time_out: "a pod that is not ready is taken out in time, with as few questions as possible",
        one_period_less: "a pod that is not ready is taken out in time, with as few questions as possible",
        every_second: "a pod that hangs is restarted in time, with as few questions as possible",
        promises_anything: "what cannot be promised is refused",
        tries_that_overlap: "what cannot be promised is refused",
    },
    "17.3": {
        as_objects: "a Deployment and a Service, in YAML that can be read",
        tabs: "a Deployment and a Service, in YAML that can be read",
        deployment_alone: "a Deployment and a Service, in YAML that can be read",
        no_selector: "both are valid in Kubernetes 1.37, without unknown fields",
        lower_case: "both are valid in Kubernetes 1.37, without unknown fields",
        underscore: "all names keep to the rule",
        digit_first: "all names keep to the rule",
        container_name: "all names keep to the rule",
        service_selects_others: "the selectors find the pods",
        deployment_selects_others: "the selectors find the pods",
        port_of_the_article: "the Service's port 80 leads to the server's 8501",
        port_not_named: "the Service's port 80 leads to the server's 8501",
        other_protocol: "the Service's port 80 leads to the server's 8501",
        same_port: "the Service's port 80 leads to the server's 8501",
        port_of_the_node: "no port of the node is taken",
        network_of_the_node: "no port of the node is taken",
        latest: "its one container runs the image that was passed",
        one_pod: "two pods or more, none missing in an update",
        default_strategy: "two pods or more, none missing in an update",
        no_probes: "the probes ask the right questions, at the right port",
        same_question: "the probes ask the right questions, at the right port",
        requests_alone: "cpu and memory are requested, memory is limited to its request",
        half_a_request: "cpu and memory are requested, memory is limited to its request",
        request_above_its_limit: "cpu and memory are requested, memory is limited to its request",
        no_cpu_at_all: "cpu and memory are requested, memory is limited to its request",
        too_little_memory: "cpu and memory are requested, memory is limited to its request",
        more_than_a_node: "cpu and memory are requested, memory is limited to its request",
        limit_below_its_request: "cpu and memory are requested, memory is limited to its request",
        service_elsewhere: "the Service is where the pods are, and leads to those that are ready",
        unready_too: "the Service is where the pods are, and leads to those that are ready",
        not_the_server: "the image's own command starts the server",
        other_arguments: "the image's own command starts the server",
        never_past_its_first: "the image's own command starts the server",
        name_of_an_udp_port: "the Service's port 80 leads to the server's 8501",
        another_name: "the Service's port 80 leads to the server's 8501",
        asks_another_host: "the probes ask the right questions, at the right port",
        two_questions: "the probes ask the right questions, at the right port",
        twice_alive: "the probes ask the right questions, at the right port",
        not_this_one: "the selectors find the pods",
        never_rolls: "two pods or more, none missing in an update",
    },
    "17.4": {
        all_is_well: "a sleep that is long enough: nothing is lost; without it, requests are refused",
        strictly_longer: "a sleep that is long enough: nothing is lost; without it, requests are refused",
        old_spelling_alone: "the newer spelling sleeps as well",
        without_drain: "the server's own wait counts, in both spellings",
        grace_after_sigterm: "the grace period holds all of it, and begins with the deletion",
        just_in_time: "the grace period holds all of it, and begins with the deletion",
        no_default: "without a number it is 30 seconds",
        patient_server: "the server itself gives up after 10 seconds",
        one_door: "each container has its own door; both things may go wrong",
        no_grace_is_thirty: "without a number it is 30 seconds",
        every_lifecycle_ends: "a sleep that is long enough: nothing is lost; without it, requests are refused",
        any_hook: "a preStop that does something else is refused",
    },
}
