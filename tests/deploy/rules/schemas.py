"""Today's schemas, which the package kubernetes-validate carries: each object's fields, strictly."""

import functools
import json
from collections.abc import Iterator

import kubernetes_validate
from kubernetes_validate.utils import SchemaNotFoundError, ValidationError, all_versions

from tests.deploy.tree import Tree

RECENT = sorted(set(all_versions()), key=lambda version: [int(part) for part in version.split(".")[:2]])[-5:]
"""The last five Kubernetes versions that have schemas here."""

OLD = "kubernetes-1.20"
"""The overlay that is made for clusters which none of these schemas describe."""

FOREIGN = {"serving.kserve.io", "gateway.networking.k8s.io", "argoproj.io", "monitoring.coreos.com"}
"""Groups of objects that extensions define: Kubernetes has no schema for them."""


def group(document: dict) -> str:
    """What stands before the slash: "apps" of apps/v1, nothing of v1."""
    return document["apiVersion"].rpartition("/")[0]


def refusals(documents: list[dict], version: str) -> Iterator[tuple[str, str]]:
    """(object, why) of each object that the strict schemas of this version refuse."""
    for each in documents:
        if group(each) in FOREIGN:
            continue
        if why := _refusal(json.dumps(each), version):
            yield f"{each['kind']}/{each['metadata']['name']}", why


@functools.cache  # each call reads megabytes of schemas
def _refusal(text: str, version: str) -> str:
    document = json.loads(text)
    try:
        kubernetes_validate.validate(document, version, strict=True)
    except SchemaNotFoundError:
        return f"Kubernetes {version} has no {document['kind']} in {document['apiVersion']}"
    except ValidationError as refused:
        return f"{'.'.join(map(str, refused.path))}: {refused.message[:200]}"
    return ""


def today(tree: Tree) -> Iterator[str]:
    """The newest schemas refuse nothing."""
    for overlay, documents in tree.overlays.items():
        if overlay != OLD:
            for name, why in refusals(documents, RECENT[-1]):
                yield f"{overlay}: {name}: {why}"
