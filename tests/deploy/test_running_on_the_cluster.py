"""Overlays that run on a real cluster, with the images that docker/ builds: updates, replicas, Prometheus."""

import os
import secrets
import time
from collections.abc import Callable, Iterator
from urllib.parse import urlencode

import pytest

from course_lib.ops import docker, kubernetes
from course_lib.ops.http import ask
from course_lib.ops.kubernetes import kubectl, rendered, the
from course_lib.ops.reach import probe
from course_lib.places import CHECKOUT
from tests.deploy import stand_ins
from tests.deploy.rules.objects import quotas
from tests.deploy.rules.schemas import OLD
from tests.deploy.tree import absent, of, pods, taken_apart


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """{"digits-service": a tag that was built for these tests, "digits-gateway": …}. Skips without engine and cluster."""
    for need in ("docker", "kubernetes"):
        if not probe(need).there:
            absent(probe(need).reason)
    client, end = docker.docker_client(), secrets.token_hex(3)
    tags = {name: f"{name}:deploy-test-{end}" for name in ("digits-service", "digits-gateway")}
    docker.build_service(client, tmp_path_factory.mktemp("service"), CHECKOUT / "models", tags["digits-service"])
    docker.build_gateway(client, tmp_path_factory.mktemp("gateway"), tags["digits-gateway"])
    with stand_ins.image("prometheus") as prometheus, stand_ins.image("alertmanager") as alertmanager:
        yield {**tags, "prometheus": prometheus, "alertmanager": alertmanager}
    for tag in tags.values():
        docker.remove_image(client, tag)


@pytest.fixture
def namespace() -> Iterator[str]:
    """An empty one, that goes with all that is in it."""
    name = f"digits-test-{os.getpid()}-{secrets.token_hex(2)}"
    kubernetes.fresh_namespace(name)
    yield name
    kubernetes.remove_namespace(name)


def small(documents: list[dict], images: dict[str, str]) -> list[dict]:
    """An overlay's objects with images that are here, asking for less CPU: two cores are enough for all."""
    served = kubectl("api-versions").split()
    old = {each["kind"]: each["apiVersion"] for each in rendered(f"k8s/overlays/{OLD}")}
    for each in documents:
        if each["apiVersion"] not in served:
            each["apiVersion"] = old[each["kind"]]
    for pod in pods(documents):
        (container,) = pod.spec["containers"]
        container["image"] = images.get(taken_apart(container["image"]).name, container["image"])
        container["imagePullPolicy"] = "IfNotPresent"
        container["resources"]["requests"]["cpu"] = "20m"
    return documents


def within(seconds: float, what: Callable[[], object]) -> object:
    """What `what` returns, once it is true. Fails with the last that it was."""
    until = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < until, f"after {seconds} s still {found}"
        time.sleep(0.5)
    return found


def refused(namespace: str) -> list[str]:
    """What the controllers could not create, and why."""
    events = kubernetes.listed("events", namespace)
    return [each["message"] for each in events if each["reason"] == "FailedCreate"]


def updated(namespace: str) -> None:
    """A rolling update of two pods, to its end."""
    kubectl("rollout", "restart", "deployment/digits", "-n", namespace)
    kubernetes.wait_for_rollout(namespace)


def test_production_rolls_over_under_its_quota_though_ending_pods_count(images, namespace):
    documents = small(rendered("k8s/overlays/production"), images)
    (scaler,), (quota,) = of("HorizontalPodAutoscaler", documents), of("ResourceQuota", documents)
    scaler["spec"]["maxReplicas"] = scaler["spec"]["minReplicas"]
    quota["spec"]["hard"] = {"pods": "5"}  # what the rule asks for two pods
    the("Deployment", documents)["spec"]["replicas"] = 2  # the autoscaler would take a while
    assert list(quotas(Overlay(documents))) == []
    kubernetes.apply(documents, namespace)
    kubernetes.wait_for_rollout(namespace)
    updated(namespace)
    assert refused(namespace) == []
    within(90, lambda: len(kubernetes.pods(namespace, "app=digits")) == 2)
    quota["spec"]["hard"] = {"pods": "3"}  # the pods and the update's one more, as if a pod ended at once
    (why,) = quotas(Overlay(documents))
    assert "pods of 3 is less than 5" in why
    kubernetes.apply([quota], namespace)
    within(30, lambda: kubernetes.listed("resourcequotas", namespace)[0]["status"].get("hard") == {"pods": "3"})
    updated(namespace)
    assert "exceeded quota" in refused(namespace)[0]


class Overlay:
    """What a rule reads of a tree."""

    def __init__(self, documents: list[dict]) -> None:
        self.overlays = {"these": documents}


@pytest.mark.parametrize("prepared", [False, True], ids=["as it is", "as k8s/README.md says"])
def test_a_deployment_that_stops_naming_its_replicas(prepared, images, namespace, monkeypatch):
    """At rest nothing is wrong with it; the first apply sets the default, 1, whatever the autoscaler had decided."""
    before, after = (small(rendered(f"k8s/{name}"), images) for name in ("base", "overlays/production"))
    the("Deployment", before)["spec"]["replicas"] = 3
    kubernetes.apply(before, namespace)
    if prepared:
        monkeypatch.setenv("KUBE_EDITOR", "sed -i '/^  replicas:/d'")
        kubectl("apply", "edit-last-applied", "deployment/digits", "-n", namespace)
    for _ in range(2):
        kubernetes.apply([the("Deployment", after)], namespace)
        assert the("Deployment", kubernetes.listed("deployments", namespace))["spec"]["replicas"] == (
            3 if prepared else 1
        )


def test_prometheus_finds_every_pod_by_dns_and_says_whose_it_is(images, namespace):
    documents = small(rendered("k8s/overlays/monitoring"), images)
    kubernetes.apply(documents, namespace)
    for name in ("digits", "digits-canary", "digits-gateway", "prometheus", "alertmanager"):
        kubernetes.wait_for_rollout(namespace, name)
    with (
        kubernetes.port_forward(namespace, "service/prometheus", 9090) as prometheus,
        kubernetes.port_forward(namespace, "service/digits-gateway", 80) as gateway,
    ):

        def counted(query: str) -> dict[str, float]:
            """{service: value}"""
            found = ask(f"{prometheus}/api/v1/query?{urlencode({'query': query})}")["data"]["result"]
            return {each["metric"]["service"]: float(each["value"][1]) for each in found}

        up = 'sum by (service) (up{job="digits"})'
        within(60, lambda: counted(up) == {"digits": 2, "digits-canary": 1, "digits-gateway": 2})
        kubectl("scale", "deployment/digits", "--replicas=3", "-n", namespace)
        within(60, lambda: counted(up)["digits"] == 3)
        body = {"instances": [[[[0.0] * 8] * 8]]}
        for _ in range(20):
            ask(f"{gateway}/v1/models/digits_cnn:predict", body)
        within(30, lambda: counted("sum by (service) (model_server_requests_total)").get("digits"))
        rules = ask(f"{prometheus}/api/v1/rules")["data"]["groups"]
        assert {each["name"] for group in rules for each in group["rules"] if each["type"] == "alerting"} == {
            "DigitsGone", "DigitsUnreachable", "DigitsFailing", "DigitsBudgetBurnsFast", "DigitsBudgetBurns", "DigitsBudgetLeaks"}  # fmt: skip
        assert ask(f"{prometheus}/api/v1/alertmanagers")["data"]["activeAlertmanagers"]
