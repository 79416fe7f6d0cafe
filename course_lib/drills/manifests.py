"""The files of drill 4: what they say, broken by a fault, and whether they let every request be answered."""

import json
import random
import re
from collections.abc import Iterable
from pathlib import Path

import yaml

from course_lib.drills.cluster import patience, start
from course_lib.drills.evidence import Unwell

IMAGE = "python:3.13-slim-trixie"
COLLECTORS, PODS_ALLOWED, MEMORY_ALLOWED, HANG_ALLOWED_S, START_ALLOWED_S = 4, 14, 256, 60, 120
PROGRAM_MIB = 32
"""What the server's program needs beside its model, with some room."""

DEPLOYMENT = """\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {name}
spec:
  replicas: {replicas}
  selector:
    matchLabels: {labels}
  strategy:
    rollingUpdate: {{maxSurge: 1, maxUnavailable: 1}}
  template:
    metadata:
      labels: {labels}
    spec:
      automountServiceAccountToken: false
      terminationGracePeriodSeconds: 2
      securityContext:
        {{runAsNonRoot: true, runAsUser: 10001, seccompProfile: {{type: RuntimeDefault}}}}
      volumes:
        - {{name: program, configMap: {{name: program}}}}
      containers:
        - name: {part}
          image: {image}
          command: {command}
          volumeMounts:
            - {{name: program, mountPath: /app}}
          securityContext:
            {{allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {{drop: [ALL]}}}}
          resources:
            requests: {{cpu: 10m, memory: 16Mi}}
            limits: {{memory: {memory}Mi}} # a node has at most 256Mi for a pod
"""
PORT = """\
          ports:
            - {{name: http, containerPort: {port}}}
"""
PROBES = """\
          readinessProbe: # may this pod have requests?
            httpGet: {{path: /ready, port: http}}
            periodSeconds: 1
            timeoutSeconds: 2
          livenessProbe: # must its container be restarted? One that hangs is restarted within a minute.
            httpGet: {{path: /live, port: http}}
            initialDelaySeconds: {delay}
            periodSeconds: {period}
            failureThreshold: 3
            timeoutSeconds: 2
"""
SERVICE = """\
apiVersion: v1
kind: Service
metadata:
  name: digits
spec:
  selector: {selector}
  ports:
    - {{name: http, port: 80, targetPort: {target}}}
"""
QUOTA = """\
apiVersion: v1
kind: ResourceQuota
metadata:
  name: team-digits
spec:
  hard:
    pods: {pods} # the owners of the cluster let us have up to 14
"""


def story(draw: random.Random, fault: str) -> dict:
    """What the seed and the fault decide. Whatever a fault breaks looks well in the stories of the others."""
    old, ports = draw.randrange(4, 8), draw.sample(range(8500, 8600), 2)
    told = {"old": old, "new": old + 1, "ports": ports, "load_s": draw.randrange(8, 11), "model_mib": draw.randrange(80, 100),
            "collector": draw.choice(["statistics", "feedback", "archive"])}  # fmt: skip
    label = "{app: digits}" if fault == "label" else "{app: digits, part: server}"
    new = (3, 1) if fault == "probe" else (draw.choice([20, 25, 30]), 5)
    return told | {"selector": label, "target": ports[0] if fault == "port" else "http", "probe": new,
                   "memory": 64 if fault == "memory" else 160, "quota": 7 if fault == "quota" else 12}  # fmt: skip


def servers(told: dict) -> tuple[str, str]:
    """The names of the two Deployments of servers."""
    return f"digits-{told['old']}", f"digits-{told['new']}"


def files(told: dict) -> dict[str, str]:
    """The files of the folder, by name."""
    kinds = [("old", told["old"], told["ports"][0], 2, 16, 64, (20, 5)),
             ("new", told["new"], told["ports"][1], told["load_s"], told["model_mib"], told["memory"], told["probe"])]  # fmt: skip
    made = {"service.yaml": SERVICE.format(**told), "quota.yaml": QUOTA.format(pods=told["quota"])}
    for which, version, port, load_s, model, memory, (delay, period) in kinds:
        words = ["server", f"--version={version}", f"--port={port}", f"--load-s={load_s}", f"--model-mib={model}"]
        labels = f'{{app: digits, part: server, version: "{version}"}}'
        made[f"server-{which}.yaml"] = _deployment(f"digits-{version}", 2, labels, "server", words, memory, port)
        made[f"server-{which}.yaml"] += PROBES.format(delay=delay, period=period)
    part, copied = told["collector"], told["ports"][0]  # its file was copied from a server's, the port with it
    labels = f"{{app: digits, part: {part}}}"
    made[f"{part}.yaml"] = _deployment(part, COLLECTORS, labels, "collector", ["collector"], 64, copied)
    return made | {"users.yaml": _deployment("users", 1, "{app: users}", "users", ["users"], 128)}


def _deployment(
    name: str, replicas: int, labels: str, part: str, words: list[str], memory: int, port: int | None = None
) -> str:
    told = {"name": name, "replicas": replicas, "labels": labels, "part": part, "image": IMAGE, "memory": memory}
    command = json.dumps(["python", "/app/pod.py", *words])
    return DEPLOYMENT.format(command=command, **told) + (PORT.format(port=port) if port else "")


def program() -> dict:
    """The ConfigMap with the program that runs in the pods."""
    text = (Path(__file__).parent / "programs" / "pod.py").read_text(encoding="utf-8")
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "program"}, "data": {"pod.py": text}}


def read(folder: Path, names: Iterable[str]) -> list[dict]:
    """The objects in these files. Raises Unwell where kubectl could not read them."""
    try:
        texts = [(folder / name).read_text(encoding="utf-8") for name in names]
        return [each for text in texts for each in yaml.safe_load_all(text) if each]
    except (OSError, ValueError, yaml.YAMLError) as wrong:
        raise Unwell(f"kubectl could not read the files: {wrong}") from None


def _named(objects: list[dict], kind: str) -> dict[str, dict]:
    return {each["metadata"]["name"]: each for each in objects if isinstance(each, dict) and each.get("kind") == kind}


def _container(deployment: dict) -> dict:
    return deployment["spec"]["template"]["spec"]["containers"][0]


def nothing_is_pretended(objects: list[dict], plan: dict[str, list[dict]]) -> None:
    """Raises Unwell where less runs than the plan asks for, or what protects others is gone."""
    before = [each for documents in plan.values() for each in documents]
    there = _named(objects, "Deployment")
    for name, old in _named(before, "Deployment").items():
        new = there.get(name)
        if not new:
            raise Unwell(f"There is no Deployment {name} any more.")
        if new["spec"].get("replicas", 1) != old["spec"]["replicas"]:
            raise Unwell(f"{name} has to have {old['spec']['replicas']} pods, as it was planned.")
        if new["spec"]["selector"] != old["spec"]["selector"]:
            raise Unwell(f"A cluster refuses another selector for {name}: it cannot be changed.")
        if any(
            new["spec"]["template"]["metadata"]["labels"].get(k) != v
            for k, v in old["spec"]["selector"]["matchLabels"].items()
        ):
            raise Unwell(f"A cluster refuses {name}: its selector does not match its pods.")
        one, other = _container(old), _container(new)
        if _command(one) != _command(other) or one["image"] != other["image"]:
            raise Unwell(f"{name} has another image or command. The program and its model are what they are.")
        if not start(other)["limit_mib"] or start(other)["limit_mib"] > MEMORY_ALLOWED:
            raise Unwell(f"{name} needs a memory limit of at most {MEMORY_ALLOWED}Mi.")
        for probe in ("livenessProbe", "readinessProbe"):
            if probe in one and "httpGet" not in other.get(probe, {}):
                raise Unwell(f"{name}: no {probe} asks the server.")
        if live := "livenessProbe" in one and other["livenessProbe"]:
            slower = max(1, live.get("timeoutSeconds", 1) / live.get("periodSeconds", 10))  # a hung server answers none
            if start(other)["hang_s"] * slower > HANG_ALLOWED_S:
                raise Unwell(f"{name}: a server that hangs would not be restarted within a minute.")
            if start(other)["delay_s"] > START_ALLOWED_S:
                raise Unwell(f"{name}: the livenessProbe would begin to ask only after more than two minutes.")
    quota, service = _named(objects, "ResourceQuota").get("team-digits"), _named(objects, "Service").get("digits")
    if not quota or not service:
        raise Unwell(f"The {'quota' if not quota else 'Service'} is gone.")
    if (
        not re.fullmatch(r"\d+", allowed := str(quota["spec"].get("hard", {}).get("pods", "")))
        or int(allowed) > PODS_ALLOWED
    ):
        raise Unwell(f"The quota has to be a number of pods, {PODS_ALLOWED} at most: the rest belongs to others.")


def _command(container: dict) -> list[str]:
    return [word for word in container["command"] if not word.startswith("--port=")]


def wrong(objects: list[dict], told: dict) -> str:
    """Why the objects let requests fail, read as a cluster reads them; "" where they do not."""
    there = _named(objects, "Deployment")
    (service,) = _named(objects, "Service").values()
    selector = (service["spec"].get("selector") or {}).items()
    port = next((each for each in service["spec"]["ports"] if each["port"] == 80), None)
    if not port:
        return "The users call the Service at port 80, and it has no such port."
    ours = servers(told)
    for name, each in there.items():
        chosen = bool(selector) and selector <= each["spec"]["template"]["metadata"]["labels"].items()
        if chosen != (name in ours):
            return f"The Service {'sends requests to' if chosen else 'does not find'} the pods of {name}."
    for name in ours:
        container = _container(there[name])
        found, names = (
            start(container),
            {each.get("name"): each["containerPort"] for each in container.get("ports", [])},
        )
        first = container.get("startupProbe")
        asks = {probe: container[probe]["httpGet"]["port"] for probe in ("readinessProbe", "livenessProbe")}
        if first and (asked := first.get("httpGet") or first.get("tcpSocket")):
            asks["startupProbe"] = asked["port"]
        for what, target in {"Service": port.get("targetPort", port["port"]), **asks}.items():
            if names.get(target, target) != found["port"]:
                return f"{name} listens on port {found['port']}, and the {what} asks another one."
        needs = (
            next(int(w.partition("=")[2]) for w in container["command"] if w.startswith("--model-mib=")) + PROGRAM_MIB
        )
        if found["limit_mib"] < needs:
            return f"{name} has {found['limit_mib']:.0f} Mi. Its model and its program need about {needs}."
        until = sum(patience(first)) if first else found["delay_s"] + found["hang_s"]
        if until <= found["load_s"] + 1:
            return f"{name} loads for {found['load_s']} s. Its probes wait {until} s: that is too short, or too close."
    wanted = sum(each["spec"].get("replicas", 1) for each in there.values())
    if int(_named(objects, "ResourceQuota")["team-digits"]["spec"]["hard"]["pods"]) < wanted:
        return f"The quota allows fewer than the {wanted} pods that are planned."
    return ""
