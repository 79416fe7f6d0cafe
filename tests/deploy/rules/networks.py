"""Who may ask whom: NetworkPolicies, which the cluster of these tests stores and does not enforce."""

import json
from collections.abc import Iterator

from tests.deploy.rules.objects import ADDRESS
from tests.deploy.tree import Pod, Tree, named, of, pods, selects


def lets(pod: Pod, side: str, port: int, other: Pod, documents: list[dict]) -> bool:
    """Whether the policies that select a pod let it talk to another pod of its namespace. side: "ingress", "egress"."""
    peer, known = {"ingress": "from", "egress": "to"}[side], (pod if side == "ingress" else other)
    numbers = {each.get("name"): each["containerPort"] for one in known.spec["containers"] for each in one["ports"]}
    rules = [each["spec"].get(side, []) for each in of("NetworkPolicy", documents)
             if selects(each["spec"]["podSelector"], pod.labels) and side.title() in each["spec"]["policyTypes"]]  # fmt: skip
    return not rules or any(
        ("ports" not in rule or port in [numbers.get(each["port"], each["port"]) for each in rule["ports"]])
        and (peer not in rule or any("namespaceSelector" not in one and selects(one["podSelector"], other.labels)
                                     for one in rule[peer]))
        for among in rules for rule in among
    )  # fmt: skip


def conversations(tree: Tree) -> Iterator[tuple[str, list[dict], Pod, Pod, int]]:
    """(overlay, its objects, who asks, who is asked, at which of its ports) where a pod is told another's Service."""
    for overlay, documents in tree.overlays.items():
        for asking in pods(documents):
            for host, _ in ADDRESS.findall(json.dumps(asking.spec)):
                service = named(host, "Service", documents)
                for asked in pods(documents) if service else []:
                    if selects(service["spec"]["selector"], asked.labels):
                        port = asked.spec["containers"][0]["ports"][0]["containerPort"]
                        yield overlay, documents, asking, asked, port


def policies(tree: Tree) -> Iterator[str]:
    """Where there are policies each pod has one, and those that are told to ask each other may."""
    for overlay, documents in tree.overlays.items():
        found = of("NetworkPolicy", documents)
        for pod in pods(documents) if found else []:
            if not any(selects(each["spec"]["podSelector"], pod.labels) for each in found):
                yield f"{overlay}: no NetworkPolicy is for {pod}, though others have one"
    for overlay, documents, asking, asked, port in conversations(tree):
        if not lets(asking, "egress", port, asked, documents):
            yield f"{overlay}: {asking} may not ask {asked}"
        if not lets(asked, "ingress", port, asking, documents):
            yield f"{overlay}: {asked} may not be asked by {asking}"


RULES = [policies]
