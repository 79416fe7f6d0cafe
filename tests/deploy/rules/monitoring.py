"""How the counters are found: Prometheus by DNS, the Operator by labels; that what asks for a counter names one; and that
each alert reaches somebody who can read what to do."""

import json
import re
from collections.abc import Iterator
from functools import cache

import yaml
from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families

from course_lib.services import gateway
from course_lib.serving.telemetry import Log, Metrics
from tests.deploy.rules.pods import OTHERS
from tests.deploy.tree import Tree, named, of, pods, selects, taken_apart

COUNTER = re.compile(r"\b(?:model_server|gateway|service)_\w+")
RECORDED = re.compile(r"\b\w+:\w+:\w+")
RUNBOOKS = "k8s/components/monitoring/runbooks.md"
SAYS = ("**Users see**", "**Look", "**Do**")
"""What each paragraph of the runbooks has."""
SERVICE = re.compile(r'\bservice="([^"]+)"')


@cache
def exposed() -> set[str]:
    """The names of all that server and gateway count, without the endings of counters and histograms."""
    assert gateway  # its counters are the module's
    server = text_string_to_metric_families(Metrics(lambda: 0, Log()).expose({}, {}).decode())
    return {each.name for each in (*server, *REGISTRY.collect())}


def configurations(tree: Tree) -> Iterator[tuple[str, dict[str, str], list[dict]]]:
    """(where, files, the overlay's objects) of each ConfigMap that holds a Prometheus' configuration."""
    for overlay, documents in tree.overlays.items():
        for each in of("ConfigMap", documents):
            if "prometheus.yml" in each.get("data", {}):
                yield f"{overlay}: prometheus.yml", each["data"], documents


def discovery(tree: Tree) -> Iterator[str]:
    """Each name has one address for each pod of one kind of ours, at its port, and becomes a Service's name; none is left out."""
    for where, files, documents in configurations(tree):
        told, reached = yaml.safe_load(files["prometheus.yml"]), set()
        for file in told.get("rule_files", []):
            if file not in files:
                yield f"{where}: reads {file}, which is not beside it"
        for job in told["scrape_configs"]:
            relabels = {each["target_label"]: each for each in job.get("relabel_configs", [])}
            relabel = relabels.get("service")
            if relabel is None or relabel["source_labels"] != ["__meta_dns_name"]:
                yield f"{where}: {job['job_name']}: no label `service` tells the versions apart"
                continue
            for asked, host in ((one, host) for one in job["dns_sd_configs"] for host in one["names"]):
                service = named(host, "Service", documents)
                if service is None or service["spec"].get("clusterIP") != "None":
                    yield f"{where}: {host} is no Service with an address for each pod"
                    continue
                found = [pod for pod in pods(documents) if selects(service["spec"]["selector"], pod.labels)]
                reached |= {str(pod) for pod in found}
                numbers = {port["containerPort"] for pod in found for port in pod.spec["containers"][0]["ports"]}
                if asked.get("type") != "A" or numbers != {asked.get("port")}:
                    yield f"{where}: {host} is asked at {asked.get('port')}, its pods listen on {sorted(numbers)}"
                label = re.fullmatch(relabel["regex"], host)
                if not label or named(label[1], "Service", documents) is None:
                    yield f"{where}: {host} does not become the name of a Service"
        for pod in pods(documents):
            if taken_apart(pod.spec["containers"][0]["image"]).name not in OTHERS and str(pod) not in reached:
                yield f"{where}: nobody reads the counters of {pod}"


def service_monitors(tree: Tree) -> Iterator[str]:
    """The Operator: a ServiceMonitor selects Services, none of them headless, by a port that each has by that name."""
    for overlay, documents in tree.overlays.items():
        for each in of("ServiceMonitor", documents):
            where = f"{overlay}: ServiceMonitor/{each['metadata']['name']}"
            if each["apiVersion"] != "monitoring.coreos.com/v1":
                yield f"{where}: the Operator has none in {each['apiVersion']}"
            found = [one for one in of("Service", documents)
                     if selects(each["spec"]["selector"], one["metadata"].get("labels", {}))]  # fmt: skip
            if not found:
                yield f"{where}: selects no Service"
            for service in found:
                name, ports = service["metadata"]["name"], [port.get("name") for port in service["spec"]["ports"]]
                if service["spec"].get("clusterIP") == "None":
                    yield f"{where}: {name} is Prometheus' own name for pods that another Service has"
                for endpoint in each["spec"]["endpoints"]:
                    if endpoint.get("port") not in ports or endpoint.get("path", "/metrics") != "/metrics":
                        yield f"{where}: asks {endpoint.get('port')}{endpoint.get('path', '')}, {name} has {ports}"


def rules_of(files: dict[str, str]) -> Iterator[dict]:
    """The rules of the files that a Prometheus' configuration reads."""
    for name in yaml.safe_load(files["prometheus.yml"]).get("rule_files", []):
        for group in yaml.safe_load(files.get(name, "{}")).get("groups", []):
            yield from group["rules"]


def panels(documents: list[dict]) -> Iterator[tuple[str, str]]:
    """(title, query) of each query of the dashboards among these objects."""
    for each in of("ConfigMap", documents):
        for name, text in each.get("data", {}).items():
            for panel in json.loads(text)["panels"] if name == "dashboard.json" else []:
                yield from ((panel["title"], target["expr"]) for target in panel["targets"])


def queries(tree: Tree) -> Iterator[str]:
    """Who asks Prometheus asks for a counter that there is, of a Service that there is, or for what a rule records."""
    known = exposed()
    asking = [(where, "\n".join(rule["expr"] for rule in rules_of(files)), documents)
              for where, files, documents in configurations(tree)]  # fmt: skip
    for where, files, documents in configurations(tree):
        recorded = {rule["record"] for rule in rules_of(files) if "record" in rule}
        asked = [(f"panel {title!r}", query) for title, query in panels(documents)]
        asking += [(f"{where}: {title}", query, documents) for title, query in asked]
        asked += [(f"alert {rule['alert']}", rule["expr"]) for rule in rules_of(files) if "alert" in rule]
        for who, query in asked:
            for name in set(RECORDED.findall(query)) - recorded:
                yield f"{where}: {who} asks for {name}, which no rule records"
    asking += [(f"{overlay}: AnalysisTemplate/{each['metadata']['name']}",
                "\n".join(metric["provider"]["prometheus"]["query"] for metric in each["spec"]["metrics"]), documents)
               for overlay, documents in tree.overlays.items() for each in of("AnalysisTemplate", documents)]  # fmt: skip
    for where, text, documents in asking:
        for name in COUNTER.findall(text):
            if re.sub("_(total|bucket|sum|count)$", "", name) not in known:
                yield f"{where}: asks for {name}, which nobody counts"
        for service in SERVICE.findall(text):
            if named(service, "Service", documents) is None:
                yield f"{where}: asks for the counters of {service}, and no Service has that name"


def runbooks(tree: Tree) -> Iterator[str]:
    """Each alert says how urgent it is and names a paragraph that says what to do; no paragraph is for an alert of old."""
    text = tree.texts[RUNBOOKS]
    paragraphs = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL))
    for name, told in paragraphs.items():
        if missing := [each for each in SAYS if each not in told and "**Look and do**" not in told]:
            yield f"{RUNBOOKS}: {name} does not say {' '.join(missing)}"
    for where, files, _ in configurations(tree):
        alerts = {rule["alert"]: rule for rule in rules_of(files) if "alert" in rule}
        for name, rule in alerts.items():
            link = rule.get("annotations", {}).get("runbook", "")
            if name not in paragraphs or link != f"runbooks.md#{name.lower()}":
                yield f"{where}: whoever {name} calls at night finds no runbook at {link or 'no address'}"
            if rule.get("labels", {}).get("severity") not in ("page", "ticket"):
                yield f"{where}: {name} does not say whether it is a page or a ticket"
            if not rule.get("annotations", {}).get("summary"):
                yield f"{where}: {name} does not say what it has seen"
        for name in paragraphs.keys() - alerts.keys():
            yield f"{where}: no alert is called {name}, which has a runbook"


def delivery(tree: Tree) -> Iterator[str]:
    """Where there are alerts, Prometheus knows an Alertmanager that is there, and that one tells of repairs too."""
    for where, files, documents in configurations(tree):
        told = yaml.safe_load(files["prometheus.yml"]).get("alerting", {}).get("alertmanagers", [])
        targets = [each for one in told for static in one.get("static_configs", []) for each in static["targets"]]
        if not targets:
            yield f"{where}: nobody hears of its alerts"
        for host, port in (each.split(":") for each in targets):
            service = named(host, "Service", documents)
            if service is None or int(port) not in [each["port"] for each in service["spec"]["ports"]]:
                yield f"{where}: tells {host}:{port} of its alerts, and nobody listens there"
        for each in of("ConfigMap", documents):
            if "alertmanager.yml" in each.get("data", {}):
                for receiver in yaml.safe_load(each["data"]["alertmanager.yml"])["receivers"]:
                    hooks = receiver.get("webhook_configs", [])
                    if not hooks or not all(hook.get("send_resolved", True) for hook in hooks):
                        yield f"{where}: {receiver['name']} does not hear when it is over"


RULES = [discovery, service_monitors, queries, runbooks, delivery]
