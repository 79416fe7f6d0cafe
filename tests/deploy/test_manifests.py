"""The Kubernetes files, read: what holds between them, the Dockerfile and the lesson that uses them."""

import json
import re
from pathlib import Path

import pytest
import yaml

import course_lib
from course_lib.ops import kubernetes
from course_lib.places import CHECKOUT
from course_lib.serving import __main__ as server

FILES = sorted((CHECKOUT / "k8s").rglob("*.yaml"))
DNS_LABEL = re.compile("[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")  # RFC 1123
LABEL = re.compile("([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")


def documents(path: Path) -> list[dict]:
    return [each for each in yaml.safe_load_all(path.read_text(encoding="utf-8")) if each]


def the(kind: str) -> dict:
    (found,) = [each for path in FILES if "base" in path.parts for each in documents(path) if each["kind"] == kind]
    return found


@pytest.fixture
def pod() -> dict:
    return the("Deployment")["spec"]["template"]


@pytest.fixture
def container(pod: dict) -> dict:
    (only,) = pod["spec"]["containers"]
    return only


@pytest.fixture
def dockerfile() -> dict[str, str]:
    """Each instruction of the last stage that occurs once, by its word."""
    text = (CHECKOUT / "docker/service.Dockerfile").read_text().rsplit("\nFROM", 1)[1]
    return dict(re.findall(r"^([A-Z]+) (.*)$", text, re.MULTILINE))


def test_every_name_and_label_is_one_that_a_cluster_takes():
    for path in FILES:
        for each in documents(path):
            if each["kind"] == "Kustomization":
                assert each.get("namespace") is None or DNS_LABEL.fullmatch(each["namespace"]), path
                continue
            assert DNS_LABEL.fullmatch(each["metadata"]["name"]), path
            assert all(LABEL.fullmatch(value) for value in each["metadata"].get("labels", {}).values()), path


def test_kustomizations_name_files_that_are_there_and_leave_none_out():
    named = set()
    for path in FILES:
        if path.name == "kustomization.yaml":
            for resource in documents(path)[0]["resources"]:
                assert (path.parent / resource).exists(), f"{path}: {resource}"
                named.add((path.parent / resource).resolve())
    assert {path for path in FILES if path.name != "kustomization.yaml"} <= named


def test_the_deployment_and_the_service_select_the_pods_that_there_are(pod):
    labels = pod["metadata"]["labels"]
    assert the("Deployment")["spec"]["selector"]["matchLabels"].items() <= labels.items()
    selector = the("Service")["spec"]["selector"]
    assert selector and selector.items() <= labels.items()


def test_readiness_asks_for_the_model_and_liveness_does_not(container):
    asked = {name: container[name]["httpGet"] for name in ("startupProbe", "readinessProbe", "livenessProbe")}
    assert asked["readinessProbe"]["path"] == asked["startupProbe"]["path"] == "/v2/health/ready"
    assert asked["livenessProbe"]["path"] == "/v2/health/live"
    ports = [port["name"] for port in container["ports"]]
    assert all(probe["port"] in ports for probe in asked.values())
    assert all(container[name]["timeoutSeconds"] == 3 for name in asked), "1 s, the default, restarts a busy pod"


def test_the_port_is_the_same_in_the_image_the_pod_and_the_service(container, dockerfile):
    exposed = int(dockerfile["EXPOSE"])
    (port,) = container["ports"]
    assert port["containerPort"] == exposed
    assert json.loads(dockerfile["CMD"])[-2:] == ["--port", str(exposed)]
    (published,) = the("Service")["spec"]["ports"]
    assert published["targetPort"] in (port["name"], exposed)


def restricted(pod_spec: dict) -> None:
    """Kubernetes' Pod Security Standard of that name, and the image's own user."""
    (container,) = pod_spec["containers"]
    outer, inner = pod_spec["securityContext"], container["securityContext"]
    assert outer["runAsNonRoot"] is True and outer["seccompProfile"] == {"type": "RuntimeDefault"}
    user = f"USER {outer['runAsUser']}:{outer['runAsGroup']}\n"
    assert user in (CHECKOUT / "docker/service.Dockerfile").read_text()
    assert inner["allowPrivilegeEscalation"] is False and inner["capabilities"] == {"drop": ["ALL"]}
    assert inner["readOnlyRootFilesystem"] is True
    assert pod_spec["automountServiceAccountToken"] is False
    assert not {"hostNetwork", "hostPID", "hostIPC", "volumes"} & pod_spec.keys()


def test_the_service_runs_under_the_restricted_standard(pod):
    restricted(pod["spec"])


def test_so_does_the_pod_that_a_lesson_starts_beside_it(monkeypatch):
    given = []
    monkeypatch.setattr(kubernetes, "kubectl", lambda *words, stdin=None: given.append(stdin) or "")
    kubernetes.run_pod("digits-local", "load", "digits-service:local", ["true"])
    restricted(json.loads(given[-1])["spec"])


def test_the_cluster_waits_longer_than_the_server_takes_to_end(pod, container):
    pause = container["lifecycle"]["preStop"]["exec"]["command"]
    assert pause[0] == "sleep"
    options, _ = server._parser().parse_known_args(["--models", "models", *container.get("args", [])])
    needed = float(pause[1]) + options.drain_seconds + server.SHUTDOWN_SECONDS
    assert pod["spec"]["terminationGracePeriodSeconds"] > needed


def test_the_image_is_the_one_that_the_lesson_builds_and_the_namespace_the_one_it_deletes(container):
    lesson = (CHECKOUT / "source/notebooks/01_grand_tour.py").read_text(encoding="utf-8")
    name, tag = re.search(r'^IMAGE = "(.+):(.+)"$', lesson, re.MULTILINE).groups()
    assert container["image"] == f"{name}:{course_lib.__version__}"
    (overlay,) = documents(CHECKOUT / "k8s/overlays/local/kustomization.yaml")
    assert overlay["images"] == [{"name": name, "newTag": tag}]
    assert f'NAMESPACE = "{overlay["namespace"]}"' in lesson
    assert documents(CHECKOUT / "k8s/overlays/local/namespace.yaml")[0]["metadata"]["name"] == overlay["namespace"]
    assert container["imagePullPolicy"] == "IfNotPresent", "no registry has it"
