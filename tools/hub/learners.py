"""A namespace for each learner, for lessons 17 to 19, with the rights and the limits that belong to it.

    python -m tools.hub.learners FOLDER | kubectl apply -f -
    python -m tools.hub.learners FOLDER | kubectl delete -f -      # when the workshop is over

FOLDER holds hub.toml. The instructor runs this: the hub itself may make no namespace and give no rights.
"""

import json
import sys
from pathlib import Path

from tools.hub import settings

HARD = {"pods": "12", "requests.cpu": "2", "requests.memory": "2Gi", "limits.memory": "4Gi",
        "services.nodeports": "0", "services.loadbalancers": "0", "persistentvolumeclaims": "2"}  # fmt: skip
"""What all of a learner's pods may have together: lessons 17 to 19 have up to ten pods of 128 MiB."""

EACH = {"default": {"cpu": "500m", "memory": "256Mi"}, "defaultRequest": {"cpu": "50m", "memory": "64Mi"}}
"""What a container gets that asks for nothing."""


def objects(name: str, hub: str) -> list[dict]:
    """The objects of one learner. hub: the namespace in which the learner's own pod runs."""
    space, account = f"course-{name}", f"learner-{name}"
    labels = {"app.kubernetes.io/part-of": "course-hub"}

    def each(version: str, kind: str, called: str, **more: object) -> dict:
        return {"apiVersion": version, "kind": kind,
                "metadata": {"name": called, "namespace": space, "labels": labels}, **more}  # fmt: skip

    guarded = {**labels, "pod-security.kubernetes.io/enforce": "restricted"}
    inside = {"from": [{"podSelector": {}}]}
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": space, "labels": guarded}},
        {"apiVersion": "v1", "kind": "ServiceAccount",
         "metadata": {"name": account, "namespace": hub, "labels": labels}},
        each("rbac.authorization.k8s.io/v1", "RoleBinding", "learner",
             subjects=[{"kind": "ServiceAccount", "name": account, "namespace": hub}],
             roleRef={"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "edit"}),
        each("v1", "ResourceQuota", "learner", spec={"hard": HARD}),
        each("v1", "LimitRange", "learner", spec={"limits": [{"type": "Container", **EACH}]}),
        each("networking.k8s.io/v1", "NetworkPolicy", "own-pods-alone",
             spec={"podSelector": {}, "policyTypes": ["Ingress"], "ingress": [inside]}),
    ]  # fmt: skip


def everyone(room: settings.Room) -> dict:
    """The objects of all names in the room, as one list that kubectl takes."""
    hub = room.cluster.namespace if room.cluster else settings.Cluster.namespace
    items = [each for name in (*room.instructors, *room.learners) for each in objects(name, hub)]
    return {"apiVersion": "v1", "kind": "List", "items": items}


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("tools.hub.learners: expected the folder that holds hub.toml")
    try:
        print(json.dumps(everyone(settings.read(Path(sys.argv[1]))), indent=1))
    except settings.Wrong as wrong:
        sys.exit(f"tools.hub.learners: {wrong}")
