"""Dockerfiles, the compose file and what Prometheus reads: ports, users, health checks and names agree."""

import json
import re
from collections.abc import Iterator
from fnmatch import fnmatch

from course_lib.places import CHECKOUT
from tests.deploy.rules.pods import READY, SHUTDOWN, Wrong, parsed
from tests.deploy.tree import Tree, last_stage, of, seconds, taken_apart

OURS = ("service", "gateway")
"""The Dockerfiles of servers of the course."""


def dockerfiles(tree: Tree) -> Iterator[str]:
    for name in OURS:
        if name not in tree.dockerfiles:
            continue
        stage = last_stage(tree.dockerfiles[name])
        where = f"{name}.Dockerfile"
        try:
            _, options = parsed(json.loads(stage["CMD"]))
        except (Wrong, ValueError) as refused:
            yield f"{where}: CMD: {refused}"
            continue
        if str(options.port) != stage["EXPOSE"]:
            yield f"{where}: listens on {options.port} and exposes {stage['EXPOSE']}"
        if f"127.0.0.1:{options.port}{READY}" not in stage.get("HEALTHCHECK", ""):
            yield f"{where}: the health check does not ask port {options.port} for {READY}"
        if not re.fullmatch(r"[1-9]\d*:[1-9]\d*", stage.get("USER", "")):
            yield f"{where}: USER is no number that is not root's"
        if f'org.opencontainers.image.version="{tree.version}"' not in stage.get("LABEL", ""):
            yield f"{where}: its label tells another version than {tree.version}"


def kept(path: str, ignore: list[str]) -> bool:
    """Whether the classic builder sends a path: the last line of .dockerignore that matches it decides."""
    sent = True
    for line in ignore:
        pattern = line.strip().removeprefix("!")
        if pattern and not pattern.startswith("#") and (fnmatch(path, pattern) or fnmatch(path, f"{pattern}/*")):
            sent = line.startswith("!")
    return sent


def context(tree: Tree) -> Iterator[str]:
    """What a server's Dockerfile copies out of the checkout reaches the engine."""
    for name in (*OURS, "prometheus", "proxy"):
        for word, rest in tree.dockerfiles.get(name, []):
            if word != "COPY" or rest.startswith("--from="):
                continue
            for source in [each for each in rest.split() if not each.startswith("--")][:-1]:
                if not kept(source, tree.dockerignore):
                    yield f"{name}.Dockerfile copies {source}, which .dockerignore keeps back"


def started(service: dict, stage: dict[str, str]) -> Iterator[str]:
    """How a server of ours is started, asked whether it is well, and ended."""
    image, own = json.loads(stage["CMD"]), service.get("command")
    try:
        module, options = parsed(image if own is None else own if "-m" in own else [*image[:3], *own])
    except (Wrong, TypeError) as refused:
        yield str(refused)
        return
    if str(options.port) != stage["EXPOSE"]:
        yield f"listens on {options.port}, the image exposes {stage['EXPOSE']}"
    if "healthcheck" in service and f":{stage['EXPOSE']}{READY}" not in str(service["healthcheck"].get("test")):
        yield f"its health check does not ask port {stage['EXPOSE']} for {READY}"
    given, needed = seconds(service.get("stop_grace_period", "10s")), options.drain_seconds + SHUTDOWN[module]
    if given <= needed:
        yield f"is killed after {given:g} s, and may take {needed:g} s to end"


def compose(tree: Tree) -> Iterator[str]:
    for name, service in tree.compose.get("services", {}).items():
        where = f"compose: {name}"
        image = taken_apart(service.get("image", ""))
        if image.tag in ("", "latest") and not image.digest:
            yield f"{where}: {service.get('image')} is another image from one day to the next"
        if "build" in service:
            built = image.name.removeprefix("digits-")
            file = (service["build"] if isinstance(service["build"], dict) else {}).get("dockerfile", "")
            if file.rpartition("/")[2] != f"{built}.Dockerfile" or built not in tree.dockerfiles:
                yield f"{where}: {service['image']} is built from {file or 'no named file'}"
                continue
            stage = last_stage(tree.dockerfiles[built])
            if image.tag != tree.version:
                yield f"{where}: {service['image']} is not of version {tree.version}"
            if service.get("user", stage["USER"]) != stage["USER"]:
                yield f"{where}: runs as {service['user']}, the image's user is {stage['USER']}"
            for port in service.get("ports", []):
                inner = str(port["target"] if isinstance(port, dict) else port.rpartition(":")[2].partition("/")[0])
                if inner != stage["EXPOSE"]:
                    yield f"{where}: publishes {inner}, the image exposes {stage['EXPOSE']}"
            if built in OURS:
                yield from (f"{where}: {each}" for each in started(service, stage))
        if service.get("logging", {}).get("options", {}).get("mode") != "non-blocking":
            yield f"{where}: stands still where its log is not read: no logging mode non-blocking"
        if service.get("read_only") is not True or service.get("cap_drop") != ["ALL"]:
            yield f"{where}: may write to its file system, or has privileges"
        if not (
            service.get("mem_limit") or service.get("deploy", {}).get("resources", {}).get("limits", {}).get("memory")
        ):
            yield f"{where}: has no memory limit"
        needs = service.get("depends_on", [])
        for other in needs:
            if other not in tree.compose["services"]:
                yield f"{where}: waits for {other}, which is no service"


def prometheus(tree: Tree) -> Iterator[str]:
    """Prometheus asks services of the compose file, on the ports on which they answer."""
    services = tree.compose.get("services", {})
    for job in tree.prometheus.get("scrape_configs", []):
        for target in (one for group in job.get("static_configs", []) for one in group["targets"]):
            host, _, port = target.partition(":")
            if host == "localhost":
                continue
            service = services.get(host)
            if service is None:
                yield f"prometheus: asks {target}, and the compose file has no {host}"
            elif "build" in service:
                built = taken_apart(service["image"]).name.removeprefix("digits-")
                exposed = last_stage(tree.dockerfiles[built])["EXPOSE"] if built in tree.dockerfiles else ""
                if port != exposed or job.get("metrics_path", "/metrics") != "/metrics":
                    yield f"prometheus: asks {target}{job.get('metrics_path', '/metrics')}, {host} exposes {exposed}"


def texts(tree: Tree) -> Iterator[str]:
    """What people read and copy names images, versions, ports and files that there are."""
    exposed = last_stage(tree.dockerfiles["service"])["EXPOSE"]
    others = {port for file in tree.dockerfiles.values() if (port := last_stage(file).get("EXPOSE"))}
    forwarded = {
        (f"service/{each['metadata']['name']}", str(port["port"]))
        for documents in tree.overlays.values() for each in of("Service", documents) for port in each["spec"]["ports"]
    }  # fmt: skip
    for name, text in tree.texts.items():
        folders = "k8s" if name.startswith("source/") else "k8s|docker"  # lessons also show what went wrong elsewhere
        for path in re.findall(rf"(?<![\w./])(?:{folders})/[\w./-]*\w", text):
            if not (CHECKOUT / path).exists():
                yield f"{name}: there is no {path}"
        if name.startswith("source/"):
            continue
        for tag in re.findall(r"digits-service:([\w.-]*\w)", text):
            if tag not in (tree.version, taken_apart(tree.image).tag):
                yield f"{name}: nothing builds digits-service:{tag}"
        local = set()
        for service, near, far in re.findall(r"port-forward(?: -n \S+)? (service/[\w-]+) (?:(\d+):)?(\d+)", text):
            local.add(near or far)
            if (service, far) not in forwarded:
                yield f"{name}: no {service} has the port {far}"
        for port in re.findall(r"(?:--port |localhost:|127\.0\.0\.1:|-p \d+:)(\d+)", text):
            if name == "docker/README.md" and port in others:
                continue
            if "/" in name and port not in {exposed, *local}:  # the others speak of Jupyter too
                yield f"{name}: the service listens on {exposed}, not {port}"


RULES = [dockerfiles, context, compose, prometheus, texts]
