"""What the objects of an overlay say of each other: names, labels, ports, and what autoscaler, budget and quota allow."""

import json
import re
from collections.abc import Iterator

from tests.deploy.tree import Pod, Tree, named, of, pods, quantity, selects

SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")  # RFC 1123
DNS_LABEL = re.compile("[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
SERVICE = re.compile("[a-z]([-a-z0-9]{0,61}[a-z0-9])?")  # RFC 1035: no digit first
LABEL = re.compile("([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
PORT = re.compile("(?=.*[a-z])(?!.*--)[a-z0-9]([-a-z0-9]{0,13}[a-z0-9])?")  # RFC 6335
ADDRESS = re.compile(r"\bhttp://([a-z0-9-]+)(?::(\d+))?(?=[/=,\s\"']|$)")
"""A Service of the same namespace, in some command line or setting."""


def name(document: dict) -> str:
    return f"{document['kind']}/{document['metadata']['name']}"


def scaled(tree: Tree) -> Iterator[tuple[str, list[dict], Pod]]:
    """(overlay, its objects, pod) of each pod that a Deployment or its like asks for."""
    for overlay, documents in tree.overlays.items():
        for pod in pods(documents):
            if "template" in pod.owner["spec"]:
                yield overlay, documents, pod


def names(tree: Tree) -> Iterator[str]:
    """Every name and label is one that a cluster takes."""
    for overlay, documents in tree.overlays.items():
        for each in documents:
            pattern = {"Service": SERVICE, "Namespace": DNS_LABEL}.get(each["kind"], SUBDOMAIN)
            own = each["metadata"]["name"]
            if not pattern.fullmatch(own) or len(own) > 253:
                yield f"{overlay}: {name(each)} is no name that a cluster takes"
            for key, value in each["metadata"].get("labels", {}).items():
                if not isinstance(value, str) or not LABEL.fullmatch(value) or not LABEL.fullmatch(key.split("/")[-1]):
                    yield f"{overlay}: {name(each)}: {key}={value} is no label that a cluster takes"
        for pod in pods(documents):
            for container in pod.spec["containers"]:
                ports = [port["name"] for port in container.get("ports", []) if "name" in port]
                if not DNS_LABEL.fullmatch(container["name"]) or not all(PORT.fullmatch(each) for each in ports):
                    yield f"{overlay}: {pod}: {container['name']} or one of {ports} is no name that a cluster takes"


def namespaces(tree: Tree) -> Iterator[str]:
    """An overlay's objects stand in one namespace, which it makes, or it names none."""
    for overlay, documents in tree.overlays.items():
        made = [each["metadata"]["name"] for each in of("Namespace", documents)]
        used = {each["metadata"].get("namespace", "") for each in documents if each["kind"] != "Namespace"}
        if used - {""} != set(made) or len(used) != 1:
            yield f"{overlay}: objects in the namespaces {sorted(used)}, made: {made}"
        if overlay == "local" and used != {tree.namespace}:
            yield f"{overlay}: the namespace is not {tree.namespace}, which lesson 01 deletes"
        for each in of("Namespace", documents):
            label = each["metadata"].get("labels", {}).get("pod-security.kubernetes.io/enforce")
            if label != "restricted" and overlay != "local":
                yield f"{overlay}: {name(each)} does not enforce the restricted standard"


def labels(tree: Tree) -> Iterator[str]:
    """Each selector selects what it is meant for: its own pods, and nobody else's."""
    for overlay, documents, pod in scaled(tree):
        selector = pod.owner["spec"]["selector"]
        if not selects(selector, pod.labels):
            yield f"{overlay}: {pod} does not select its own pods"
        for other in pods(documents):
            if other.owner is not pod.owner and selects(selector, other.labels):
                yield f"{overlay}: {pod} selects the pods of {other} too"
        for spread in pod.spec.get("topologySpreadConstraints", []):
            if not selects(spread.get("labelSelector"), pod.labels):
                yield f"{overlay}: {pod} is spread among pods that it is none of"
    for overlay, documents in tree.overlays.items():
        among = list(pods(documents))
        for each in documents:
            field = {"Service": "selector", "NetworkPolicy": "podSelector", "PodDisruptionBudget": "selector"}.get(
                each["kind"]
            )
            if field is None:
                continue
            selector = each["spec"].get(field)
            if (each["kind"] == "Service" and not selector) or not any(selects(selector, pod.labels) for pod in among):
                yield f"{overlay}: {name(each)} selects no pod"


def ports(tree: Tree) -> Iterator[str]:
    """What a Service sends on to, and a NetworkPolicy lets in, is a port of each pod that it selects."""
    for overlay, documents in tree.overlays.items():
        for each in documents:
            if each["kind"] == "Service":
                asked = [port.get("targetPort", port["port"]) for port in each["spec"]["ports"]]
                selector = each["spec"].get("selector")
            elif each["kind"] == "NetworkPolicy":
                asked = [port["port"] for rule in each["spec"].get("ingress", []) for port in rule.get("ports", [])]
                selector = each["spec"]["podSelector"]
            else:
                continue
            for pod in pods(documents):
                own = [port[key] for one in pod.spec["containers"] for port in one.get("ports", [])
                       for key in ("name", "containerPort") if key in port]  # fmt: skip
                for port in asked:
                    if selects(selector, pod.labels) and port not in own:
                        yield f"{overlay}: {name(each)} names the port {port}, {pod} has {own}"


def addresses(tree: Tree) -> Iterator[str]:
    """A Service that a pod is told to ask is there, and has that port."""
    for overlay, documents in tree.overlays.items():
        told = [(str(pod), pod.spec) for pod in pods(documents)]
        told += [(name(each), each.get("data", {})) for each in of("ConfigMap", documents)]
        for where, what in told:
            for host, port in ADDRESS.findall(json.dumps(what)):
                if host == "localhost":
                    continue
                service = named(host, "Service", documents)
                if service is None or int(port or 80) not in [each["port"] for each in service["spec"]["ports"]]:
                    yield f"{overlay}: {where} asks {host}:{port or 80}, and no Service has it"


def autoscalers(tree: Tree) -> Iterator[str]:
    for overlay, documents in tree.overlays.items():
        for each in of("HorizontalPodAutoscaler", documents):
            spec = each["spec"]
            target = named(spec["scaleTargetRef"]["name"], spec["scaleTargetRef"]["kind"], documents)
            if target is None or target["apiVersion"] != spec["scaleTargetRef"].get("apiVersion"):
                yield f"{overlay}: {name(each)} scales {spec['scaleTargetRef']}, which is not there"
            elif "replicas" in target["spec"]:
                yield f"{overlay}: {name(target)} names its replicas, which {name(each)} decides"
            if not 2 <= spec.get("minReplicas", 1) <= spec["maxReplicas"]:
                yield f"{overlay}: {name(each)}: from {spec.get('minReplicas', 1)} to {spec['maxReplicas']} replicas"


def replicas(pod: Pod, documents: list[dict]) -> tuple[int, int]:
    """The fewest and the most replicas that a Deployment is asked for."""
    for each in of("HorizontalPodAutoscaler", documents):
        if each["spec"]["scaleTargetRef"]["name"] == pod.owner["metadata"]["name"]:
            return each["spec"].get("minReplicas", 1), each["spec"]["maxReplicas"]
    asked = pod.owner["spec"].get("replicas", 1)
    return asked, asked


def share(number: int | str, whole: int, up: bool) -> int:
    """Kubernetes' "25%" or 1 of so many pods, rounded up or down."""
    if isinstance(number, int):
        return number
    exact = whole * int(number.rstrip("%"))
    return -(-exact // 100) if up else exact // 100


def rollouts(tree: Tree) -> Iterator[str]:
    """A rolling update never goes below what is asked for, and can go on."""
    for overlay, _, pod in scaled(tree):
        update = pod.owner["spec"].get("strategy", {}).get("rollingUpdate", {})
        if pod.owner["spec"].get("strategy", {}).get("type") == "Recreate" and pod.owner["spec"].get("replicas") == 1:
            continue  # of what there must not be two, as of a Prometheus and its files
        if pod.owner["kind"] == "Deployment" and (
            update.get("maxUnavailable") not in (0, "0%") or update.get("maxSurge") in (None, 0, "0%")
        ):
            yield f"{overlay}: {pod} takes a pod away before its successor is ready"


def budgets(tree: Tree) -> Iterator[str]:
    """A disruption budget lets a pod go, and keeps one."""
    for overlay, documents, pod in scaled(tree):
        fewest, _ = replicas(pod, documents)
        found = [each for each in of("PodDisruptionBudget", documents) if selects(each["spec"]["selector"], pod.labels)]
        if len(found) > 1:
            yield f"{overlay}: {pod} has {len(found)} disruption budgets: the API then evicts none of its pods"
        for each in found:
            spec = each["spec"]
            if "maxUnavailable" in spec:
                may_go = share(spec["maxUnavailable"], fewest, up=True)
            else:
                may_go = fewest - share(spec["minAvailable"], fewest, up=True)
            if may_go < 1:
                yield f"{overlay}: {name(each)} forbids every eviction of {pod}: a node could not be drained"
            if may_go >= fewest:
                yield f"{overlay}: {name(each)} lets all {fewest} pods of {pod} go at once"


def quotas(tree: Tree) -> Iterator[str]:
    """The namespace may hold every pod that an autoscaler may ask for, a rolling update's on top, and as many that end.

    A pod counts until its processes have ended, and a rolling update does not wait for that before it starts the next.
    """
    for overlay, documents in tree.overlays.items():
        needed: dict[str, float] = {}
        for _, _, pod in (each for each in scaled(tree) if each[0] == overlay):
            _, most = replicas(pod, documents)
            surge = pod.owner["spec"].get("strategy", {}).get("rollingUpdate", {}).get("maxSurge", "25%")
            count = 2 * most + share(surge, most, up=True)
            needed["pods"] = needed.get("pods", 0) + count
            for container in pod.spec["containers"]:
                for side, amounts in container.get("resources", {}).items():
                    for what, amount in amounts.items():
                        key = f"{side}.{what}"
                        needed[key] = needed.get(key, 0) + count * quantity(amount)
        for each in of("ResourceQuota", documents):
            for what, hard in each["spec"]["hard"].items():
                if needed.get(what, 0) > quantity(hard):
                    yield f"{overlay}: {name(each)}: {what} of {hard} is less than {needed[what]:g}, the most at once"


RULES = [names, namespaces, labels, ports, addresses, autoscalers, rollouts, budgets, quotas]
