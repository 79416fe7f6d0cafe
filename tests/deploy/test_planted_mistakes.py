"""The rules of tests/deploy/rules, each shown mistakes that people make: none of them goes unseen."""

import copy
from collections.abc import Callable

import pytest

from tests.deploy.rules import wrong
from tests.deploy.tree import Tree, of


def the(kind: str, overlay: str = "production") -> Callable[[Tree], dict]:
    return lambda deployed: of(kind, deployed.overlays[overlay])[0]


def pod(deployed: Tree) -> dict:
    return the("Deployment")(deployed)["spec"]["template"]["spec"]


def container(deployed: Tree) -> dict:
    return pod(deployed)["containers"][0]


def setting(find: Callable[[Tree], dict], path: str, value: object) -> Callable[[Tree], None]:
    """Plants a value at "spec.ports.0.port" below what `find` finds; `...` takes what is there away."""

    def plant(deployed: Tree) -> None:
        *way, last = [int(each) if each.isdecimal() else each for each in path.split("/")]
        found = find(deployed)
        for each in way:
            found = found[each]
        if value is ...:
            del found[last]
        else:
            found[last] = value

    return plant


def line(name: str, word: str, text: str) -> Callable[[Tree], None]:
    """Plants another instruction of that word into the last stage of a Dockerfile."""

    def plant(deployed: Tree) -> None:
        last = max(index for index, (each, _) in enumerate(deployed.dockerfiles[name]) if each == word)
        deployed.dockerfiles[name][last] = (word, text)

    return plant


def second_deployment(deployed: Tree) -> None:
    """A canary whose pods bear the label that the stable Deployment selects by."""
    canary = copy.deepcopy(the("Deployment")(deployed))
    canary["metadata"]["name"] = "digits-canary"
    canary["spec"]["selector"]["matchLabels"]["track"] = "canary"
    canary["spec"]["template"]["metadata"]["labels"]["track"] = "canary"
    deployed.overlays["production"].append(canary)


def text(name: str, old: str, new: str) -> Callable[[Tree], None]:
    def plant(deployed: Tree) -> None:
        assert old in deployed.texts[name]
        deployed.texts[name] = deployed.texts[name].replace(old, new)

    return plant


DEPLOYMENT, SERVICE, CONFIG = the("Deployment"), the("Service"), the("ConfigMap")
SCALER, BUDGET, QUOTA, NETWORK = (
    the(each) for each in ("HorizontalPodAutoscaler", "PodDisruptionBudget", "ResourceQuota", "NetworkPolicy")
)
KSERVE = the("InferenceService", "kserve")

MISTAKES = {
    # names
    "an underscore in a name": (setting(DEPLOYMENT, "metadata/name", "model_deploy"), "no name that a cluster takes"),
    "a Service whose name begins with a digit": (setting(SERVICE, "metadata/name", "5digits"), "no name that a cluster"),
    "a capital in a name": (setting(CONFIG, "metadata/name", "Digits"), "ConfigMap/Digits is no name"),
    "a space in a label": (setting(DEPLOYMENT, "metadata/labels/app", "the digits"), "is no label"),
    "a number as a label": (setting(DEPLOYMENT, "metadata/labels/app", 5), "is no label"),
    "a port's name that is too long": (setting(container, "ports/0/name", "http-of-the-digits"), "is no name"),
    "an object in another namespace": (setting(SERVICE, "metadata/namespace", "default"), "objects in the namespaces"),
    "a namespace that nobody makes": (
        lambda deployed: deployed.overlays["production"].remove(the("Namespace")(deployed)),
        "objects in the namespaces ['digits'], made: []"),
    "a namespace that enforces nothing": (setting(the("Namespace"), "metadata/labels", {}), "does not enforce"),
    "another namespace than lesson 01's": (
        lambda deployed: setattr(deployed, "namespace", "digits-here"), "is not digits-here, which lesson 01 deletes"),
    # labels
    "a label missing on the pod": (
        setting(DEPLOYMENT, "spec/template/metadata/labels", {"tier": "model"}), "does not select its own pods"),
    "a Service that selects nobody": (setting(SERVICE, "spec/selector/app", "digit"), "Service/digits selects no pod"),
    "a Service without a selector": (setting(SERVICE, "spec/selector", ...), "Service/digits selects no pod"),
    "a NetworkPolicy that selects nothing": (
        setting(NETWORK, "spec/podSelector/matchLabels/app", "digit"), "NetworkPolicy/digits selects no pod"),
    "a budget that selects nothing": (
        setting(BUDGET, "spec/selector/matchLabels/app", "digit"), "PodDisruptionBudget/digits selects no pod"),
    "a canary that its elder selects too": (second_deployment, "selects the pods of Deployment/digits-canary too"),
    "pods that are spread among others": (
        setting(pod, "topologySpreadConstraints/0/labelSelector/matchLabels/app", "x"), "spread among pods"),
    # ports
    "another port in the pod": (setting(container, "ports/0/containerPort", 8500), "declares [8500]"),
    "another port in the command": (setting(container, "args/1", "--port=8500"), "listens on 8500, declares [8501]"),
    "another port in the image": (line("service", "EXPOSE", "8500"), "the image exposes 8500"),
    "another port in the Service": (setting(SERVICE, "spec/ports/0/targetPort", 8500), "names the port 8500"),
    "another port in the NetworkPolicy": (
        setting(NETWORK, "spec/ingress/0/ports/0/port", "https"), "names the port https"),
    "a probe of another port": (setting(container, "livenessProbe/httpGet/port", "web"), "asks the port web"),
    "a health check of another port": (
        line("service", "HEALTHCHECK", 'CMD ["python", "-c", "http://127.0.0.1:8500/v2/health/ready"]'), "health check"),
    "a Service that nobody has": (
        setting(container, "env", [{"name": "NEXT", "value": "http://digits-canary:80"}]), "asks digits-canary:80"),
    "no port at all": (setting(container, "ports", ...), "listens on 8501, declares []"),
    "a port without its name": (setting(container, "ports/0/name", ...), "asks the port http, and the pod has [8501]"),
    # images
    "the tag latest": (setting(container, "image", "registry.example.com/digits-service:latest"), "one day to the next"),
    "no tag": (setting(container, "image", "registry.example.com/digits-service"), "one day to the next"),
    "an old version": (setting(container, "image", "r.example.com/digits-service:0.0.9"), "not of version"),
    "an image that nothing builds": (setting(container, "image", "r.example.com/digits-web:0.1.0"), "no Dockerfile makes"),
    "a local image that is pulled": (
        setting(the("Deployment", "local"), "spec/template/spec/containers/0/imagePullPolicy", "Always"), "in no registry"),
    "a version in the image's label that is another": (
        line("service", "LABEL", 'org.opencontainers.image.version="0.0.9"'), "its label tells another version"),
    "another local image than lesson 01's": (
        lambda deployed: setattr(deployed, "image", "digits-service:here"), "is not digits-service:here, which lesson 01"),
    # configuration and commands
    "a key misspelt where it is read": (
        setting(container, "env/1/valueFrom/configMapKeyRef/key", "max-batchsize"), "has the key max-batchsize"),
    "a key that nobody reads": (setting(CONFIG, "data/threads", "2"), "nothing reads threads"),
    "a ConfigMap of another name": (
        setting(container, "env/0/valueFrom/configMapKeyRef/name", "digit"), "no ConfigMap digit"),
    "a value that the server refuses": (setting(CONFIG, "data/max-queue", "many"), "would not start: argument --max-queue"),
    "an option that the server does not have": (setting(container, "args/0", "--model=models"), "would not start"),
    "a variable that nothing sets": (setting(container, "env/3/name", "TIMEOUT"), "nothing fills in $(TIMEOUT_MS)"),
    "another module": (setting(container, "command/2", "course_lib.server"), "starts none of course_lib.serving"),
    "models from elsewhere": (setting(container, "args/0", "--models=/models"), "looks for models in /models"),
    "more threads than CPU": (setting(CONFIG, "data/threads-per-call", "4"), "4 threads share one call"),
    "an image that starts something else": (line("service", "CMD", '["python", "app.py"]'), "CMD: `python app.py` starts"),
    # a user without privileges
    "another user than the image's": (setting(pod, "securityContext/runAsUser", 1000), "the image's user is 10001:10001"),
    "root in the image": (line("service", "USER", "0:0"), "USER is no number that is not root's"),
    "a name for the image's user": (line("service", "USER", "digits"), "USER is no number"),
    "no seccomp profile": (setting(pod, "securityContext/seccompProfile", ...), "seccomp"),
    "a token": (setting(pod, "automountServiceAccountToken", True), "has a token"),
    "an account that is not there": (setting(pod, "serviceAccountName", "digit"), "there is no ServiceAccount digit"),
    "the namespace's own account": (setting(pod, "serviceAccountName", ...), "the namespace's default ServiceAccount"),
    "an account with a token": (
        setting(the("ServiceAccount"), "automountServiceAccountToken", ...), "ServiceAccount/digits hands out a token"),
    "a port of the node": (setting(container, "ports/0/hostPort", 80), "takes a port of the node"),
    "privileges": (setting(container, "securityContext/capabilities", {"drop": ["NET_RAW"]}), "may gain privileges"),
    "privileges of the container's own": (setting(container, "securityContext/runAsUser", 0), "undoes the pod's"),
    "a root file system to write to": (setting(container, "securityContext/readOnlyRootFilesystem", False), "may write"),
    "the node's files": (setting(pod, "volumes", [{"name": "n", "hostPath": {"path": "/"}}]), "mounts hostPath"),
    "the node's network": (setting(pod, "hostNetwork", True), "shares hostNetwork"),
    # probes, ends and resources
    "no readiness": (setting(container, "readinessProbe", ...), "no readinessProbe"),
    "liveness that asks for the model": (
        setting(container, "livenessProbe/httpGet/path", "/v2/health/ready"), "livenessProbe asks /v2/health/ready"),
    "a probe of the default's second": (setting(container, "livenessProbe/timeoutSeconds", ...), "less than 3 s"),
    "a grace that is too short": (setting(pod, "terminationGracePeriodSeconds", 20), "a grace of 20 s is not more than"),
    "a drain that outlasts the grace": (
        lambda deployed: container(deployed)["args"].append("--drain-seconds=10"), "a grace of 30 s is not more than"),
    "two pauses before the end": (
        lambda deployed: container(deployed)["args"].append("--drain-seconds=3"), "two pauses before the end: preStop's"),
    "no pause before the end": (setting(container, "lifecycle", ...), "no preStop sleep"),
    "memory that is not asked for": (setting(container, "resources/requests/memory", "128Mi"), "is not the limit"),
    "no limit of memory": (setting(container, "resources/limits/memory", ...), "do not both name cpu and memory"),
    "no limit of CPU": (setting(container, "resources/limits/cpu", ...), "do not both name cpu and memory"),
    "no resources at all": (setting(container, "resources", ...), "do not both name cpu and memory"),
    "more CPU asked for than allowed": (setting(container, "resources/requests/cpu", 2), "requests more CPU"),
    # autoscaler, rollout, budget, quota
    "an autoscaler of another Deployment": (setting(SCALER, "spec/scaleTargetRef/name", "digit"), "which is not there"),
    "an autoscaler of another kind": (setting(SCALER, "spec/scaleTargetRef/kind", "StatefulSet"), "which is not there"),
    "replicas that the autoscaler decides": (setting(DEPLOYMENT, "spec/replicas", 2), "names its replicas"),
    "a single pod": (setting(SCALER, "spec/minReplicas", 1), "from 1 to 6 replicas"),
    "fewer at most than at least": (setting(SCALER, "spec/maxReplicas", 1), "from 2 to 1 replicas"),
    "a rollout that takes away first": (
        setting(DEPLOYMENT, "spec/strategy/rollingUpdate/maxUnavailable", 1), "before its successor is ready"),
    "the default's rollout": (setting(DEPLOYMENT, "spec/strategy", ...), "before its successor is ready"),
    "a budget that forbids every eviction": (setting(BUDGET, "spec/maxUnavailable", 0), "forbids every eviction"),
    "a budget that keeps all": (
        lambda deployed: BUDGET(deployed).update(spec={
            "minAvailable": "100%", "selector": {"matchLabels": {"app": "digits"}}}), "forbids every eviction"),
    "a budget that keeps none": (setting(BUDGET, "spec/maxUnavailable", 2), "lets all 2 pods"),
    "two budgets for one pod": (
        lambda deployed: deployed.overlays["production"].append(copy.deepcopy(BUDGET(deployed))), "has 2 disruption"),
    "a quota of too few pods": (setting(QUOTA, "spec/hard/pods", "12"), "pods of 12 is less than 13"),
    "a quota of too little memory": (setting(QUOTA, "spec/hard/limits.memory", "1Gi"), "limits.memory of 1Gi is less"),
    "a quota of too little CPU": (setting(QUOTA, "spec/hard/requests.cpu", "6"), "requests.cpu of 6 is less than 6.5"),
    "a quota that forgets the pods that are ending": (setting(QUOTA, "spec/hard/pods", "8"), "pods of 8 is less than 13"),
    # schemas and extensions
    "an API version that is gone": (setting(SCALER, "apiVersion", "autoscaling/v2beta2"), "has no HorizontalPodAutoscaler"),
    "a field misspelt": (setting(DEPLOYMENT, "spec/replica", 2), "replica"),
    "a number as text": (setting(SERVICE, "spec/ports/0/port", "80"), "Service/digits: spec.ports.0.port"),
    "a container that KServe does not know": (
        setting(KSERVE, "spec/predictor/containers/0/name", "service"), "KServe sends requests to"),
    "another port for KServe": (
        setting(KSERVE, "spec/predictor/containers/0/ports/0/containerPort", 8080), "declares [8080]"),
    "two ports for KServe": (
        lambda deployed: KSERVE(deployed)["spec"]["predictor"]["containers"][0]["ports"].append({"containerPort": 1}),
        "KServe takes one port"),
    "a version of KServe's that is none": (
        setting(KSERVE, "apiVersion", "serving.kserve.io/v1"), "KServe has no InferenceService in"),
    "replicas for KServe the wrong way round": (setting(KSERVE, "spec/predictor/minReplicas", 9), "from 9 to 6"),
    # the image's context, and what people copy
    "a file that the engine does not get": (
        lambda deployed: deployed.dockerignore.remove("!course_lib/serving"), ".dockerignore keeps back"),
    "a command with another port": (
        text("course_lib/serving/README.md", "localhost:8501", "localhost:8000"), "listens on 8501, not 8000"),
    "a command with another tag": (
        text("TROUBLESHOOTING.md", "digits-service:local", "digits-service:dev"), "nothing builds digits-service:dev"),
    "a folder that is not there": (text("README.md", "k8s/overlays/production", "k8s/production"), "there is no k8s/production"),
    "a lesson over a file that is not there": (
        text("source/notebooks/01_grand_tour.py", "k8s/overlays/local", "k8s/overlays/mine"), "no k8s/overlays/mine"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_planted_mistake_is_caught(mistake, deployed):
    plant, said = MISTAKES[mistake]
    changed = copy.deepcopy(deployed)
    plant(changed)
    found = wrong(changed)
    assert any(said in each for each in found), found


def test_without_a_mistake_nothing_is_said(deployed):
    assert wrong(deployed) == []
