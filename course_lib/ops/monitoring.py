"""Prometheus, Alertmanager and a pager on the cluster, as k8s/overlays/monitoring has them, in minutes instead of days; what
they are asked, and what they tell."""

import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlencode

import yaml

from course_lib.ops import docker, public
from course_lib.ops.http import ask
from course_lib.ops.kubernetes import kubectl, rendered, run_pod, the
from course_lib.places import CHECKOUT

FOLDER = CHECKOUT / "k8s/components/monitoring"
WINDOWS = {"[1h]": "[20s]", "[5m]": "[5s]"}
"""The windows of rules and panels that a lesson has time for, and what stands in their place."""

PAGER = """
import http.server, json, time
class Pager(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        told = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        print(json.dumps([time.time(), self.path, told["alerts"]]), flush=True)
        self.send_response(200)
        self.end_headers()
    def log_message(self, *words): pass
http.server.HTTPServer(("", 8080), Pager).serve_forever()
"""


def in_seconds(query: str) -> str:
    """A query of rules or dashboard, with WINDOWS' short windows."""
    for window, short in WINDOWS.items():
        query = query.replace(window, short)
    return query


def files() -> dict[str, str]:
    """The component's files by name, as a lesson can wait for them: rules over WINDOWS alone, a look each second, a page at
    once, to `start_pager`'s pod."""
    names = ("objectives.yml", "prometheus.yml", "alertmanager.yml")
    rules, scraping, telling = (yaml.safe_load((FOLDER / name).read_text(encoding="utf-8")) for name in names)
    for group in rules["groups"]:
        kept = [rule for rule in group["rules"] if not re.search("6h|3d|30m", rule["expr"])]
        group["rules"] = [rule | {"expr": in_seconds(rule["expr"])} for rule in kept]
    scraping["global"] = {"scrape_interval": "1s", "scrape_timeout": "900ms", "evaluation_interval": "1s"}
    for receiver in telling["receivers"]:
        for hook in receiver["webhook_configs"]:
            hook["url"] = hook["url"].replace("https://pager.example.com/", "http://pager:8080/")
    telling["route"] |= {"group_wait": "1s", "group_interval": "1s"}
    return {name: yaml.safe_dump(each) for name, each in zip(names, (rules, scraping, telling))}


def images(client, folder: Path, models: Path, tags: dict[str, str]) -> tuple[dict[str, str], list[str]]:
    """Builds what `manifests` starts, and gets what others publish: ({part: image}, a sentence for each of those).

    client: `docker_client()`. folder: where builds are laid out. models: NAME/VERSION/model.onnx. tags: {"digits-service": …,
    "digits-gateway": …, "prometheus": …, "alertmanager": …}, the last two for stand-ins. Raises as `public.image` does.
    """
    docker.build_service(client, folder, models, tags["digits-service"])
    docker.build_gateway(client, folder, tags["digits-gateway"])
    found = {part: public.image(client, name, tags[part]) for name, part in public.STAGES.items()}
    return tags | {part: image for part, (image, _) in found.items()}, [said for _, said in found.values()]


def manifests(images: dict[str, str]) -> list[dict]:
    """k8s/overlays/monitoring with one pod of each kind, both versions behind the gateway with equal weights, and `files`.

    images: {"digits-service": tag, "digits-gateway": …, "prometheus": …, "alertmanager": …}.
    """
    documents = rendered("k8s/overlays/monitoring", image=images["digits-service"])
    for each in documents:
        if each["kind"] == "Deployment":
            each["spec"]["replicas"] = 1
            (container,) = each["spec"]["template"]["spec"]["containers"]
            container["image"] = images.get(each["metadata"]["name"], container["image"])
        elif each["kind"] == "ConfigMap":
            each["data"] = {name: files().get(name, text) for name, text in each["data"].items()}
    (gateway,) = the("Deployment", documents, "digits-gateway")["spec"]["template"]["spec"]["containers"]
    weights = ["--predictor=http://digits", "--predictor=http://digits-canary"]
    gateway["args"] = [each for each in gateway["args"] if not each.startswith("--predictor")] + weights
    return documents


def start_pager(namespace: str, image: str) -> None:
    """Starts the receiver that alertmanager.yml names: it prints what it is told. image: one with Python 3."""
    run_pod(namespace, "pager", image, ["python", "-c", PAGER])
    kubectl("label", "pod", "pager", "app=pager", "-n", namespace)
    kubectl("expose", "pod", "pager", "--port=8080", "-n", namespace)


def pages(namespace: str) -> list[dict]:
    """What the pager was told, pages alone, in order.

    [{"at": seconds since 1970, by the pager's clock, "status": "firing" or "resolved", "labels": …, "annotations": …}].
    """
    told = [json.loads(line) for line in kubectl("logs", "pager", "-n", namespace).splitlines()]
    return [{"at": at, **{name: each[name] for name in ("status", "labels", "annotations")}}
            for at, path, alerts in told for each in alerts if path == "/page"]  # fmt: skip


def change(namespace: str, deployment: str, options: list[str]) -> None:
    """Adds options to what a Deployment's pods are started with: a rolling update, which `rollout undo` takes back."""
    found = json.loads(kubectl("get", f"deployment/{deployment}", "-n", namespace, "-o", "json"))
    (container,) = found["spec"]["template"]["spec"]["containers"]
    new = {"name": container["name"], "args": [*container["args"], *options]}
    patch = {"spec": {"template": {"spec": {"containers": [new]}}}}
    kubectl("patch", f"deployment/{deployment}", "-n", namespace, "-p", json.dumps(patch))


def until(condition: Callable[[], object], seconds: float = 90) -> None:
    """Asks every half second until `condition()` holds. Raises TimeoutError after so many seconds."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"the cluster did not get there within {seconds} s")
        time.sleep(0.5)


def query(url: str, expression: str) -> dict[str, float]:
    """Prometheus' answer to a query, now: {the values of a series' labels, in a line: its value}.

    url: Prometheus'. Raises RuntimeError, with Prometheus' words, for what is no PromQL.
    """
    found = ask(f"{url}/api/v1/query?{urlencode({'query': expression})}")["data"]["result"]
    return {_line(each["metric"]): float(each["value"][1]) for each in found}


def drawn(url: str, start: float, end: float) -> dict[str, dict[str, list[list[float]]]]:
    """What the dashboard's panels show, a value a second: {title: {legend: [[seconds since `start`, value], …]}}.

    start, end: seconds since 1970. The queries are those of dashboard.json, `in_seconds`.
    """
    shown = {}
    for panel in dashboard()["panels"]:
        lines = shown.setdefault(panel["title"], {})
        for target in panel["targets"]:
            asked = {"query": in_seconds(target["expr"]), "start": start, "end": end, "step": 1}
            for each in ask(f"{url}/api/v1/query_range?{urlencode(asked)}")["data"]["result"]:
                legend = target["legendFormat"]
                for name, value in each["metric"].items():
                    legend = legend.replace("{{" + name + "}}", value)
                values = [[round(at - start, 1), float(f"{float(value):.4g}")] for at, value in each["values"]]
                lines[legend] = [[at, value] for at, value in values if value == value]  # 0 / 0 is nan: no traffic
    return shown


def dashboard() -> dict:
    """The component's dashboard, as Grafana reads it."""
    return json.loads((FOLDER / "dashboard.json").read_text(encoding="utf-8"))


def units() -> dict[str, str]:
    """{title of a panel: its unit, as Grafana calls it}."""
    return {panel["title"]: panel["fieldConfig"]["defaults"]["unit"] for panel in dashboard()["panels"]}


def _line(labels: dict[str, str]) -> str:
    return " ".join(value for name, value in labels.items() if name != "__name__")
