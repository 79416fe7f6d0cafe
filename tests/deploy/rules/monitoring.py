"""How the counters are found: Prometheus by DNS, the Operator by labels; and that what asks for a counter names one."""

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

COUNTER = re.compile(r"\b(?:model_server|gateway)_\w+")
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


def queries(tree: Tree) -> Iterator[str]:
    """Who asks Prometheus asks for a counter that there is, of a Service that there is."""
    known = exposed()
    asking = [(where, files.get("alerts.yml", ""), documents) for where, files, documents in configurations(tree)]
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


RULES = [discovery, service_monitors, queries]
