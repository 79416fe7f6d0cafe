"""Mistakes planted in what is put together of parts: the canary in production, Prometheus beside it, Argo's objects."""

import copy
import json
from collections.abc import Callable

import pytest
import yaml

from tests.deploy.rules import wrong
from tests.deploy.rules.monitoring import RUNBOOKS
from tests.deploy.test_planted_mistakes import setting
from tests.deploy.tree import Tree, named


def of(kind: str, name: str, overlay: str) -> Callable[[Tree], dict]:
    return lambda deployed: named(name, kind, deployed.overlays[overlay])


def without(kind: str, name: str, overlay: str) -> Callable[[Tree], None]:
    def plant(deployed: Tree) -> None:
        deployed.overlays[overlay].remove(named(name, kind, deployed.overlays[overlay]))

    return plant


def scraping(path: str, value: object) -> Callable[[Tree], None]:
    """Plants a value in prometheus.yml as the cluster gets it."""

    def plant(deployed: Tree) -> None:
        (config,) = (each for each in deployed.overlays["monitoring"] if "prometheus.yml" in each.get("data", {}))
        told = yaml.safe_load(config["data"]["prometheus.yml"])
        setting(lambda _: told, path, value)(deployed)
        config["data"]["prometheus.yml"] = yaml.safe_dump(told)

    return plant


def told(file: str, path: str, value: object) -> Callable[[Tree], None]:
    """Plants a value in another file that Prometheus or Alertmanager gets."""

    def plant(deployed: Tree) -> None:
        (config,) = (each for each in deployed.overlays["monitoring"] if file in each.get("data", {}))
        text = yaml.safe_load(config["data"][file])
        setting(lambda _: text, path, value)(deployed)
        config["data"][file] = yaml.safe_dump(text) if file.endswith("yml") else json.dumps(text)

    return plant


def without_its_paragraph(deployed: Tree) -> None:
    text = deployed.texts[RUNBOOKS]
    deployed.texts[RUNBOOKS] = text.replace("## DigitsBudgetLeaks", "## DigitsBudgetDrips")


def in_which_nobody_does_anything(deployed: Tree) -> None:
    deployed.texts[RUNBOOKS] = deployed.texts[RUNBOOKS].replace("**Do** delete the pod", "Delete the pod")


def that_forwards_another_port(deployed: Tree) -> None:
    deployed.texts[RUNBOOKS] = deployed.texts[RUNBOOKS].replace("service/prometheus 9090", "service/prometheus 9091")


def asking(old: str, new: str) -> Callable[[Tree], None]:
    """Plants another query in the analysis."""

    def plant(deployed: Tree) -> None:
        provider = METRIC(deployed)["provider"]["prometheus"]
        assert old in provider["query"]
        provider["query"] = provider["query"].replace(old, new)

    return plant


def beside(deployed: Tree) -> None:
    """The HTTPRoute among the objects that each release applies."""
    route = copy.deepcopy(named("digits", "HTTPRoute", deployed.overlays["gateway-api"]))
    route["metadata"]["namespace"] = "digits"
    deployed.overlays["argo-rollouts"].append(route)


def METRIC(deployed: Tree) -> dict:
    return named("candidate-fails", "AnalysisTemplate", deployed.overlays["argo-rollouts"])["spec"]["metrics"][0]


ROLLOUT, ROUTE = of("Rollout", "digits", "argo-rollouts"), of("HTTPRoute", "digits", "gateway-api")
MONITOR = of("ServiceMonitor", "digits", "argo-rollouts")
PROMETHEUS = of("Deployment", "prometheus", "monitoring")
JOB = "scrape_configs/0"

MISTAKES = {
    # a canary in production
    "a quota that was not asked about the candidate": (
        setting(of("ResourceQuota", "digits", "production-canary"), "spec/hard/pods", "14"), "pods of 14 is less than 22"),
    "a gateway without a policy": (
        without("NetworkPolicy", "digits-gateway", "production-canary"), "no NetworkPolicy is for Deployment/digits-gateway"),
    "a gateway that may ask one of its two": (
        setting(of("NetworkPolicy", "digits-gateway", "production-canary"),
                "spec/egress/0/to/0/podSelector/matchExpressions/0/values", ["digits"]),
        "Deployment/digits-gateway may not ask Deployment/digits-canary"),
    "a candidate that nobody may ask": (
        setting(of("NetworkPolicy", "digits-canary", "production-canary"), "spec/ingress", []),
        "Deployment/digits-canary may not be asked by Deployment/digits-gateway"),
    "a policy for another port": (
        setting(of("NetworkPolicy", "digits-canary", "production-canary"), "spec/ingress/0/ports/0/port", 80),
        "may not be asked by"),
    # Prometheus
    "another Prometheus than that of docker/": (
        setting(PROMETHEUS, "spec/template/spec/containers/0/image", "prom/prometheus:v2.0.0"), "not the one that docker/ names"),
    "a probe that Prometheus does not answer": (
        setting(PROMETHEUS, "spec/template/spec/containers/0/livenessProbe/httpGet/path", "/"), "livenessProbe asks /"),
    "an ordinary Service to find pods by": (
        setting(of("Service", "digits-pods", "monitoring"), "spec/clusterIP", ...), "digits-pods is no Service with an"),
    "a name that is no Service's": (
        scraping(f"{JOB}/dns_sd_configs/0/names/0", "digits-all"), "digits-all is no Service with an address"),
    "the Service's port for the pod's": (scraping(f"{JOB}/dns_sd_configs/0/port", 80), "is asked at 80, its pods listen on"),
    "no label for the version": (scraping(f"{JOB}/relabel_configs", []), "no label `service` tells the versions apart"),
    "a label that is no Service's name": (
        scraping(f"{JOB}/relabel_configs/0/regex", "(.+)-canary-pods"), "digits-pods does not become the name of a Service"),
    "a version that nobody measures": (
        scraping(f"{JOB}/dns_sd_configs/0/names", ["digits-pods"]), "nobody reads the counters of Deployment/digits-canary"),
    "alerts that are not there": (scraping("rule_files", ["rules.yml"]), "reads rules.yml, which is not beside it"),
    "an alert without a runbook": (
        told("alerts.yml", "groups/0/rules/2/annotations/runbook", ...), "whoever DigitsFailing calls at night finds no runbook"),
    "an alert whose runbook has another name": (without_its_paragraph, "whoever DigitsBudgetLeaks calls at night"),
    "a runbook of an alert that is no more": (without_its_paragraph, "no alert is called DigitsBudgetDrips"),
    "a runbook that says nothing to do": (in_which_nobody_does_anything, "DigitsUnreachable does not say **Do**"),
    "a runbook that forwards a port which is none": (that_forwards_another_port, "no service/prometheus has the port 9091"),
    "an alert for nobody in particular": (
        told("objectives.yml", "groups/1/rules/0/labels/severity", "critical"), "does not say whether it is a page or a ticket"),
    "an alert that has seen nothing": (
        told("alerts.yml", "groups/0/rules/0/annotations/summary", ...), "DigitsGone does not say what it has seen"),
    "an alert over what nobody records": (
        told("objectives.yml", "groups/1/rules/0/expr", "digits:burn:rate10m > 14.4"), "asks for digits:burn:rate10m, which no rule"),
    "a panel over a counter that nobody counts": (
        told("dashboard.json", "panels/0/targets/0/expr", "rate(service_answers_total[5m])"), "service_answers_total, which nobody"),
    "objectives that are not there": (scraping("rule_files/1", "goals.yml"), "reads goals.yml, which is not beside it"),
    "alerts that reach nobody": (scraping("alerting", ...), "nobody hears of its alerts"),
    "an Alertmanager somewhere else": (
        scraping("alerting/alertmanagers/0/static_configs/0/targets", ["alerts:9093"]), "and nobody listens there"),
    "a pager that is not told when it is over": (
        told("alertmanager.yml", "receivers/0/webhook_configs/0/send_resolved", False), "pager does not hear when it is over"),
    "another Alertmanager than that of the lesson": (
        setting(of("Deployment", "alertmanager", "monitoring"), "spec/template/spec/containers/0/image", "prom/alertmanager:v0.1.0"),
        "not the one that docker/ names"),
    "an old version of the Operator": (
        setting(MONITOR, "apiVersion", "monitoring.coreos.com/v1alpha1"), "the Operator has none in"),
    "a monitor of nobody": (setting(MONITOR, "spec/selector", {"matchLabels": {"app": "digit"}}), "selects no Service"),
    "a monitor of a port that nobody names": (setting(MONITOR, "spec/endpoints/0/port", "metrics"), "asks metrics"),
    # the door, and Argo
    "a route of a Gateway somewhere": (setting(ROUTE, "spec/parentRefs/0/namespace", ...), "no namespace says where"),
    "a route that lets all paths in": (setting(ROUTE, "spec/rules/0/matches", ...), "lets everybody read /metrics"),
    "a route by the shortest prefix": (
        setting(ROUTE, "spec/rules/0/matches", [{"path": {"type": "PathPrefix", "value": "/"}}]), "read /metrics"),
    "a route that each release resets": (beside, "takes back the weights that Argo has set"),
    "a Deployment of none from the first": (
        setting(of("Deployment", "digits", "argo-rollouts"), "spec/replicas", 0), "names its replicas, which each apply"),
    "a Rollout that leaves the old pods": (setting(ROLLOUT, "spec/workloadRef/scaleDown", ...), "and not before"),
    "a query that a perfect candidate does not answer": (asking(" or vector(0)", ""), "without a failure there is no series"),
    "a query that does not count requests": (asking(" >= 1000", ""), "decides without having counted requests"),
    "a decision about nothing": (setting(METRIC, "successCondition", "result[0] < 0.01"), "without having counted requests"),
    "looks that are counted, whatever they saw": (setting(METRIC, "count", 10), "too few requests count as good"),
    "no patience": (setting(METRIC, "inconclusiveLimit", ...), "or stop it at once"),
    "a counter that nobody counts": (asking("model_server_requests_total", "model_server_answers_total"), "nobody counts"),
    "the counters of nobody": (asking("digits-canary", "digits-next"), "the counters of digits-next, and no Service"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_planted_mistake_is_caught(mistake, deployed):
    plant, said = MISTAKES[mistake]
    changed = copy.deepcopy(deployed)
    plant(changed)
    found = wrong(changed)
    assert any(said in each for each in found), found
