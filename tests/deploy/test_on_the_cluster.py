"""The manifests, sent to a real API server, which checks all and keeps nothing (`--dry-run=server`)."""

import copy
import json
import os
import re
import time
from collections.abc import Callable, Iterator

import pytest

from course_lib.ops import kubernetes
from course_lib.ops.kubernetes import KubectlFailed
from course_lib.ops.reach import probe
from tests.deploy.rules import schemas
from tests.deploy.rules.pods import restricted
from tests.deploy.tree import Tree, absent, named, pods

Send = Callable[[list[dict]], list[str]]


@pytest.fixture(scope="module")
def version() -> tuple[int, ...]:
    """The cluster's, as (1, 33). Skips where none is within reach."""
    found = probe("kubernetes")
    if not found.there:
        absent(f"no cluster is within reach: {found.reason}")
    return tuple(int(each) for each in re.findall(r"\d+", found.version)[:2])


@pytest.fixture(scope="module")
def send(version: tuple[int, ...]) -> Iterator[Send]:
    """`send(objects)` says what the API server says of them in a namespace that is made, and removed, for these tests."""
    namespace = f"digits-deploy-{os.getpid()}"
    kubernetes.fresh_namespace(namespace)
    until = time.monotonic() + 30
    while not kubernetes.kubectl("get", "serviceaccount", "default", "-n", namespace, "--ignore-not-found"):
        assert time.monotonic() < until, "a controller makes the account that pods need"
        time.sleep(0.2)

    def dry_run(documents: list[dict]) -> list[str]:
        placed = [{**each, "metadata": {**each["metadata"], "namespace": namespace}} for each in documents
                  if each["kind"] != "Namespace"]  # fmt: skip
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": placed})
        return kubernetes.kubectl("apply", "--dry-run=server", "-f", "-", stdin=text).splitlines()

    yield dry_run
    kubernetes.kubectl("delete", "namespace", namespace, "--ignore-not-found", "--wait=false")


@pytest.fixture(scope="module")
def production(version: tuple[int, ...]) -> str:
    """The overlay that the cluster's API versions can hold."""
    served = kubernetes.kubectl("api-versions").split()
    return "production" if {"autoscaling/v2", "policy/v1"} <= set(served) else schemas.OLD


def test_the_api_server_takes_each_overlay(send, production, deployed):
    other = {"production", schemas.OLD} - {production}
    served = set(kubernetes.kubectl("api-versions").split())
    older = {each["kind"]: each["apiVersion"] for each in deployed.overlays[schemas.OLD]}
    tried = set()
    for overlay in sorted(deployed.overlays.keys() - other):
        documents = [each for each in deployed.overlays[overlay]
                     if schemas.group(each) not in schemas.FOREIGN and each["kind"] != "Namespace"]  # fmt: skip
        for at, each in enumerate(documents):
            if each["apiVersion"] not in served:  # as the overlay for old clusters has it
                documents[at] = {**each, "apiVersion": older[each["kind"]]}
        if documents:
            said = send(documents)
            assert len(said) == len(documents), said
            assert all("(server dry run)" in each for each in said), said
            tried.add(overlay)
    assert {"base", "local", production, "production-canary", "monitoring"} <= tried


def test_the_overlay_for_other_clusters_is_refused(send, production, deployed):
    """Which shows that both are needed, and that this server does check."""
    if production == "production":
        served = kubernetes.kubectl("api-versions").split()
        if {"autoscaling/v2beta2", "policy/v1beta1"} <= set(served):
            return  # Kubernetes 1.23 and 1.24 serve both
        other = schemas.OLD
    else:
        other = "production"
    with pytest.raises(KubectlFailed, match="no matches for kind"):
        send(deployed.overlays[other])


def test_the_articles_name_is_refused_though_the_schema_takes_it(send, deployed):
    article = copy.deepcopy(named("digits", "Deployment", deployed.overlays["base"]))
    article["metadata"]["name"] = "model_deploy"
    assert dict(schemas.refusals([article], schemas.RECENT[-1])) == {}
    with pytest.raises(KubectlFailed, match="model_deploy.*RFC 1123"):
        send([article])


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        (("spec", "selector", "matchLabels", "app"), "other", "`selector` does not match template `labels`"),
        (("spec", "template", "spec", "containers", 0, "resources", "requests", "memory"), "1Gi", "memory limit"),
    ],
    ids=["a selector of other pods", "a request beyond the limit"],
)
def test_the_server_sees_mistakes_that_schemas_do_not(send, deployed, path, value, says):
    wrong = copy.deepcopy(named("digits", "Deployment", deployed.overlays["base"]))
    found = wrong
    for each in path[:-1]:
        found = found[each]
    found[path[-1]] = value
    assert dict(schemas.refusals([wrong], schemas.RECENT[-1])) == {}
    with pytest.raises(KubectlFailed, match=says):
        send([wrong])


def test_the_restricted_standard_lets_the_pods_in_and_keeps_others_out(send, version, deployed: Tree):
    for overlay, documents in deployed.overlays.items():
        for pod in pods(documents):
            account = {"serviceAccountName": "default"}  # none other is there
            alone = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "digits", "labels": pod.labels},
                     "spec": {**{key: value for key, value in pod.spec.items()
                                 if not key.endswith("Replicas") and not key.startswith("scale")}, **account}}  # fmt: skip
            assert list(restricted(alone["spec"], None)) == [], overlay
            assert "(server dry run)" in send([alone])[0], overlay
    alone["spec"] = copy.deepcopy(alone["spec"])
    alone["spec"]["containers"][0]["securityContext"]["allowPrivilegeEscalation"] = True
    assert list(restricted(alone["spec"], None)) == ["may gain privileges"]
    if version >= (1, 23):  # before, nobody reads the namespace's labels
        with pytest.raises(KubectlFailed, match="violates PodSecurity"):
            send([alone])
