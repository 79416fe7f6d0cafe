"""What each pod asks for, held against its image, its server's own command line, and the rest of its overlay."""

import argparse
import json
import re
import shlex
from collections.abc import Iterator

from course_lib.ops.public import ALERTMANAGER
from course_lib.services import gateway, process
from course_lib.serving import __main__ as server
from tests.deploy.tree import Pod, Tree, last_stage, named, of, pods, quantity, taken_apart

PARSERS = {"course_lib.serving": server._parser, "course_lib.services.gateway": gateway.options}
SHUTDOWN = {"course_lib.serving": server.SHUTDOWN_SECONDS, "course_lib.services.gateway": process.SHUTDOWN_SECONDS}
"""By module, what a container starts: its command line, and how long it may take to end once it has stopped listening."""

CANDIDATE = "candidate"
"""The tag of a version that is tried beside the one in use; whoever tries one builds it."""

READY, LIVE = "/v2/health/ready", "/v2/health/live"
OTHERS = {"prometheus": ("/-/ready", "/-/healthy"), "alertmanager": ("/-/ready", "/-/healthy")}
"""Images that others make, and what their probes ask."""

GRACE_SECONDS = 30  # Kubernetes' own, where a pod names none


class Wrong(ValueError):
    """A command line that its own program would refuse."""


def every(tree: Tree) -> Iterator[tuple[str, Pod, dict, list[dict]]]:
    """(where, pod, container, the overlay's objects) of each container."""
    for overlay, documents in tree.overlays.items():
        for pod in pods(documents):
            for container in pod.spec["containers"]:
                yield f"{overlay}: {pod}, container {container['name']}", pod, container, documents


def dockerfile(tree: Tree, container: dict) -> dict[str, str] | None:
    """The last stage of the Dockerfile that a container's image is built from; None where there is none."""
    name = taken_apart(container["image"]).name
    file = tree.dockerfiles.get(name.removeprefix("digits-")) if name not in OTHERS else None
    return last_stage(file) if file else None


def others(tree: Tree) -> set[str]:
    """The images of others that docker/ names, to be run by the compose file or to be built upon, and Alertmanager's."""
    run = {each.get("image", "") for each in tree.compose.get("services", {}).values()}
    bases = {rest.partition("=")[2] or rest for file in tree.dockerfiles.values()
             for word, rest in file if word in ("ARG", "FROM")}  # fmt: skip
    return run | bases | {ALERTMANAGER}


def images(tree: Tree) -> Iterator[str]:
    for where, _, container, _ in every(tree):
        overlay, image = where.partition(":")[0], taken_apart(container["image"])
        if image.name in OTHERS:
            if container["image"] not in others(tree):
                yield f"{where}: {container['image']} is not the one that docker/ names"
            continue
        if dockerfile(tree, container) is None:
            yield f"{where}: no Dockerfile makes the image {image.name}"
        if not image.digest and image.tag in ("", "latest"):
            yield f"{where}: {container['image']} is another image from one day to the next"
        if overlay == "local" and f"{image.name}:{image.tag}" != tree.image:
            yield f"{where}: {container['image']} is not {tree.image}, which lesson 01 builds"
        if overlay != "local" and image.tag not in (tree.version, CANDIDATE):
            yield f"{where}: {container['image']} is not of version {tree.version}"
        policy = "Always" if image.registry else "IfNotPresent"
        if container.get("imagePullPolicy") != policy:
            yield f"{where}: imagePullPolicy is not {policy}, though {container['image']} " + (
                "has a registry" if image.registry else "is in no registry"
            )


def environment(container: dict, documents: list[dict]) -> dict[str, str]:
    """A container's variables, filled in from the overlay's ConfigMaps. Raises Wrong for a key that none has."""
    found = {}
    for variable in container.get("env", []):
        source = variable.get("valueFrom", {}).get("configMapKeyRef")
        if source:
            config = named(source["name"], "ConfigMap", documents)
            if config is None or source["key"] not in config.get("data", {}):
                raise Wrong(f"no ConfigMap {source['name']} has the key {source['key']}")
            found[variable["name"]] = config["data"][source["key"]]
        elif "value" in variable:
            found[variable["name"]] = variable["value"]
    return found


def command(container: dict, documents: list[dict], stage: dict[str, str] | None) -> list[str]:
    """The whole command line, as Kubernetes makes it of image, command, args and variables. Raises Wrong."""
    words = [*container.get("command", []), *container.get("args", [])]
    if not words and stage:
        words = json.loads(stage["CMD"])
    variables = environment(container, documents)
    filled = [re.sub(r"\$\((\w+)\)", lambda found: variables.get(found[1], found[0]), word) for word in words]
    if unknown := re.findall(r"\$\(\w+\)", " ".join(filled)):
        raise Wrong(f"nothing fills in {', '.join(unknown)}")
    return filled


def parsed(words: list[str]) -> tuple[str, argparse.Namespace]:
    """(module, options) of `python -m module options`. Raises Wrong with what the program would say."""
    if words[:2] != ["python", "-m"] or words[2] not in PARSERS:
        raise Wrong(f"`{shlex.join(words)}` starts none of {', '.join(PARSERS)}")
    parser = PARSERS[words[2]]()

    def refuse(message: str) -> None:
        raise Wrong(f"{words[2]} would not start: {message}")

    parser.error, parser.allow_abbrev = refuse, False  # what is written in files is written in full
    return words[2], parser.parse_args(words[3:])


def commands(tree: Tree) -> Iterator[str]:
    for where, pod, container, documents in every(tree):
        stage = dockerfile(tree, container)
        if stage is None:
            continue
        try:
            module, options = parsed(command(container, documents, stage))
            built_for, default = parsed(json.loads(stage["CMD"]))
        except Wrong as refused:
            yield f"{where}: {refused}"
            continue
        if module != built_for:
            yield f"{where}: runs {module}, the image is for {built_for}"
        elif getattr(options, "models", None) != getattr(default, "models", None):
            yield f"{where}: looks for models in {options.models}, the image has them in {default.models}"
        numbers = [port["containerPort"] for port in container.get("ports", [])]
        if not options.port == default.port == int(stage["EXPOSE"]) or numbers != [options.port]:
            yield f"{where}: listens on {options.port}, declares {numbers}, the image exposes {stage['EXPOSE']}"
        if options.host in ("127.0.0.1", "localhost"):
            yield f"{where}: listens on {options.host}, which nobody outside the pod reaches"
        cpu = container.get("resources", {}).get("limits", {}).get("cpu", "1000")
        if (threads := getattr(options, "threads_per_call", 1)) > quantity(cpu):
            yield f"{where}: {threads} threads share one call, and the CPU limit is less"
        yield from (f"{where}: {each}" for each in grace(pod, container, options.drain_seconds, SHUTDOWN[module]))


def grace(pod: Pod, container: dict, drain: float, ending: float) -> Iterator[str]:
    """The cluster waits longer than the server takes to end; the address leaves the Service before it begins to."""
    pause = container.get("lifecycle", {}).get("preStop", {}).get("exec", {}).get("command", ["sleep", "0"])
    given = pod.spec.get("terminationGracePeriodSeconds", GRACE_SECONDS)
    if pause[0] != "sleep" or float(pause[1]) < 1:
        yield "the server is told to stop before its address has left the Service: no preStop sleep"
        return
    if drain:
        yield f"two pauses before the end: preStop's, and --drain-seconds={drain:g}"
    if given <= float(pause[1]) + drain + ending:
        yield f"a grace of {given} s is not more than preStop's {pause[1]} s and the server's {drain + ending:g} s"


def configuration(tree: Tree) -> Iterator[str]:
    """Every key of a ConfigMap is read by some pod; but for dashboards, which Grafana's sidecar finds by their label."""
    for overlay, documents in tree.overlays.items():
        references = json.dumps([pod.spec for pod in pods(documents)])
        for config in of("ConfigMap", documents):
            name = config["metadata"]["name"]
            if config["metadata"].get("labels", {}).get("grafana_dashboard") == "1":
                continue
            if f'"configMap": {{"name": "{name}"' in references:  # mounted whole
                continue
            for key in config.get("data", {}):
                if f'"{key}"' not in references:
                    yield f"{overlay}: nothing reads {key} of the ConfigMap {name}"


def probes(tree: Tree) -> Iterator[str]:
    """Readiness asks for the model, liveness does not, and a busy pod has time to answer."""
    for where, pod, container, _ in every(tree):
        own = ("startupProbe", "readinessProbe", "livenessProbe")
        needed = own[1:] if pod.owner["kind"] == "InferenceService" else own
        for name in needed:
            asked = container.get(name, {}).get("httpGet")
            if asked is None:
                yield f"{where}: no {name}"
                continue
            ready, live = OTHERS.get(taken_apart(container["image"]).name, (READY, LIVE))
            if asked["path"] != (live if name == "livenessProbe" else ready):
                yield f"{where}: {name} asks {asked['path']}"
            ports = [
                each[key] for each in container.get("ports", []) for key in ("name", "containerPort") if key in each
            ]
            if asked["port"] not in ports:
                yield f"{where}: {name} asks the port {asked['port']}, and the pod has {ports}"
            if container[name].get("timeoutSeconds", 1) < 3:
                yield f"{where}: {name} gives a busy pod less than 3 s to answer"


def resources(tree: Tree) -> Iterator[str]:
    """Memory that is asked for is what may be used, and CPU is asked for as well."""
    for where, _, container, _ in every(tree):
        asked, most = (container.get("resources", {}).get(each, {}) for each in ("requests", "limits"))
        if not {"cpu", "memory"} <= asked.keys() & most.keys():
            yield f"{where}: requests and limits do not both name cpu and memory"
        elif quantity(asked["memory"]) != quantity(most["memory"]):
            yield f"{where}: a memory request of {asked['memory']} is not the limit, {most['memory']}"
        elif quantity(asked["cpu"]) > quantity(most["cpu"]):
            yield f"{where}: requests more CPU than its limit"


def restricted(pod: dict, user: str | None) -> Iterator[str]:
    """Kubernetes' Pod Security Standard of that name, and the image's own user, "10001:10001"."""
    outer = pod.get("securityContext", {})
    if not outer.get("runAsNonRoot") or outer.get("seccompProfile") != {"type": "RuntimeDefault"}:
        yield "may run as root, or without the runtime's seccomp profile"
    if user not in (None, f"{outer.get('runAsUser')}:{outer.get('runAsGroup')}"):
        yield f"runs as {outer.get('runAsUser')}:{outer.get('runAsGroup')}, the image's user is {user}"
    if pod.get("automountServiceAccountToken") is not False:
        yield "has a token for the Kubernetes API"
    if shared := {"hostNetwork", "hostPID", "hostIPC"} & pod.keys():
        yield f"shares {', '.join(sorted(shared))}"
    for volume in pod.get("volumes", []):
        if not {"configMap", "emptyDir", "secret", "projected", "downwardAPI"} & volume.keys():
            yield f"mounts {', '.join(sorted(volume))}"
    for container in [*pod.get("initContainers", []), *pod["containers"]]:
        inner = container.get("securityContext", {})
        if inner.get("allowPrivilegeEscalation") is not False or inner.get("capabilities") != {"drop": ["ALL"]}:
            yield "may gain privileges"
        if inner.get("readOnlyRootFilesystem") is not True:
            yield "may write to its file system"
        if inner.get("privileged") or {"runAsUser", "runAsNonRoot", "seccompProfile"} & inner.keys():
            yield "a container's own securityContext undoes the pod's"
        if any("hostPort" in port for port in container.get("ports", [])):
            yield "takes a port of the node"


def security(tree: Tree) -> Iterator[str]:
    for overlay, documents in tree.overlays.items():
        for pod in pods(documents):
            stage = dockerfile(tree, pod.spec["containers"][0])
            yield from (f"{overlay}: {pod}: {each}" for each in restricted(pod.spec, stage and stage["USER"]))
            account = pod.spec.get("serviceAccountName")
            if account is None:
                if pod.owner["kind"] in ("Deployment", "Rollout"):
                    yield f"{overlay}: {pod}: runs under the namespace's default ServiceAccount"
            elif (found := named(account, "ServiceAccount", documents)) is None:
                yield f"{overlay}: {pod}: there is no ServiceAccount {account}"
            elif found.get("automountServiceAccountToken") is not False:
                yield f"{overlay}: ServiceAccount/{account} hands out a token"


RULES = [images, commands, configuration, probes, resources, security]
