"""The Kubernetes cluster, through `kubectl`, which is what the learner types as well."""

import contextlib
import json
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from course_lib import places
from course_lib.ops import leash, names

OWNER = "course-owner"
"""The label that a namespace of the course bears; its value is `names.owner()`."""


class NotOurs(RuntimeError):
    """A namespace that this learner's course did not make."""


class KubectlFailed(RuntimeError):
    """kubectl ended with an error; the message holds what it said, `code` its exit status (None: it did not end)."""

    def __init__(self, message: str, code: int | None = None) -> None:
        super().__init__(message)
        self.code = code


def kubectl(*words: str, stdin: str | None = None, timeout: float = 150) -> str:
    """Runs `kubectl` with `words` in the checkout and returns what it printed.

    stdin: text for `-f -`. timeout: seconds. Raises KubectlFailed with kubectl's own words.
    """
    try:
        done = subprocess.run(["kubectl", *words], input=stdin, capture_output=True, text=True, timeout=timeout,
                              cwd=places.CHECKOUT)  # fmt: skip
    except subprocess.TimeoutExpired:
        raise KubectlFailed(f"kubectl {' '.join(words)}: no end after {timeout} s") from None
    if done.returncode:
        raise KubectlFailed(f"kubectl {' '.join(words)}: {done.stderr.strip() or done.stdout.strip()}", done.returncode)
    return done.stdout


def can_i(question: str, namespace: str, account: str = "") -> str:
    """What `kubectl auth can-i` says: "yes" or "no".

    question: "get pods", or with a namespace of its own, "get pods -n kube-system". account: a ServiceAccount of
    `namespace` to ask for; "" for oneself. Raises KubectlFailed for any other answer.
    """
    who = [f"--as=system:serviceaccount:{namespace}:{account}"] if account else []
    try:
        return kubectl("auth", "can-i", "-n", namespace, *question.split(), *who).strip()
    except KubectlFailed as refused:  # the command ends with 1 where the answer is no
        if not str(refused).endswith(": no"):
            raise
        return "no"


def pod_state(pod: dict) -> dict:
    """A pod as the API gives it, in a line: name, phase, ready (bool), leaving (bool), restarts (int), reason ("" or why a
    container waits or ended last), image (of the first container).
    """
    status = pod.get("status", {})
    containers = status.get("containerStatuses", [])
    states = [state for each in containers for state in (*each["state"].values(), *each.get("lastState", {}).values())]
    return {
        "name": pod["metadata"]["name"],
        "phase": status.get("phase", ""),
        "ready": any(c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions", [])),
        "leaving": "deletionTimestamp" in pod["metadata"],
        "restarts": sum(each["restartCount"] for each in containers),
        "reason": next((state["reason"] for state in states if state.get("reason")), ""),
        "image": pod["spec"]["containers"][0]["image"],
    }


def pods(namespace: str, selector: str) -> list[dict]:
    """The pods that `selector` ("app=digits") matches, as `pod_state` puts them."""
    return [pod_state(pod) for pod in listed("pods", namespace, selector)]


def listed(kind: str, namespace: str, selector: str = "") -> list[dict]:
    """The namespace's objects of a kind, as the API gives them. selector: "app=digits"; "" for all."""
    return json.loads(kubectl("get", kind, "-n", namespace, "-l", selector, "-o", "json"))["items"]


def rendered(folder: str, image: str | None = None) -> list[dict]:
    """The objects that `kubectl apply -k folder` would send, to be changed before `apply` sends them.

    folder: of the checkout, "k8s/base". image: takes the place of digits-service in every container. Raises KubectlFailed.
    """
    import yaml

    documents = [each for each in yaml.safe_load_all(kubectl("kustomize", folder)) if each]
    for document in documents:
        template = document.get("spec", {}).get("template", {}).get("spec", {}) if image else {}
        for container in template.get("containers", []):
            if re.fullmatch("(.+/)?digits-service([:@][^/]+)?", container["image"]):
                container["image"] = image
    return documents


def the(kind: str, documents: list[dict], name: str | None = None) -> dict:
    """The object of that kind (and name), itself and no copy. Raises LookupError where there is none, or more than one."""
    found = [each for each in documents if each["kind"] == kind and name in (None, each["metadata"]["name"])]
    if len(found) != 1:
        names = ", ".join(f"{each['kind']}/{each['metadata']['name']}" for each in documents)
        raise LookupError(f"expected one {kind} {name or ''}, got {len(found)} among {names}")
    return found[0]


OLDER = {"policy/v1": "policy/v1beta1", "autoscaling/v2": "autoscaling/v2beta2"}
"""What stood for a version of the API, with the same fields, before Kubernetes 1.21 and 1.23."""


def served(version: str) -> str:
    """This version of the API where the cluster has it, else the one before it. Raises KubectlFailed."""
    return version if version in kubectl("api-versions").split() else OLDER[version]


def apply(documents: list[dict], namespace: str) -> list[str]:
    """`kubectl apply` of these objects in the namespace, whichever they name; what it said, line by line.

    Namespaces among them are left out: `fresh_namespace` makes the one. A version of the API that the cluster does not have
    yet becomes the one before it: see `served`. Raises KubectlFailed.
    """
    placed = [{**each, "metadata": {**each["metadata"], "namespace": namespace}} for each in documents]
    asked = {version: served(version) for version in {each.get("apiVersion") for each in placed} & OLDER.keys()}
    placed = [{**each, "apiVersion": asked[version]} if (version := each.get("apiVersion")) in asked else each
              for each in placed]  # fmt: skip
    items = [each for each in placed if each["kind"] != "Namespace"]
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
    return kubectl("apply", "-n", namespace, "-f", "-", stdin=text).splitlines()


def fresh_namespace(name: str) -> None:
    """An empty namespace of that name, under the "restricted" Pod Security Standard; an old one goes first, with all in it.

    It is labelled as this learner's. Raises NotOurs where the old one is not.
    """
    remove_namespace(name)
    labels = {"pod-security.kubernetes.io/enforce": "restricted", OWNER: names.owner()}
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
    kubectl("create", "-f", "-", stdin=json.dumps(namespace))  # create, since apply would take over another's


def remove_namespace(name: str) -> list[str]:
    """Removes a namespace with all that is in it; returns what is left of it, []. None of that name is no error.

    First goes who would replace a pod, then the pods, by force: a kubelet may keep one that has ended for up to a minute,
    and the namespace would wait for it. Raises NotOurs, and removes nothing, where its label does not say that `owner()`
    made it.
    """
    if found := kubectl("get", "namespace", name, "--ignore-not-found", "-o", "json").strip():
        made_by = json.loads(found)["metadata"].get("labels", {}).get(OWNER)
        if made_by != names.owner():
            raise NotOurs(
                f"expected the label {OWNER}={names.owner()} on the namespace {name}, got "
                f"{made_by or 'none'}: it was not made by this copy of the course, which leaves it alone. If nothing in it is "
                f"needed any more, remove it with `kubectl delete namespace {name}` and run this again"
            )
        kubectl("delete", "hpa,deployments,replicasets", "--all", "-n", name, "--cascade=orphan")
        kubectl("delete", "pods", "--all", "-n", name, "--grace-period=0", "--force")
        kubectl("delete", "namespace", name, "--ignore-not-found")
    return kubectl("get", "namespace", name, "--ignore-not-found", "-o", "name").split()


def wait_for_rollout(namespace: str, deployment: str = "digits", seconds: float = 300) -> float:
    """Waits until a Deployment has what it asks for; returns the seconds that it took. Raises KubectlFailed."""
    start = time.monotonic()
    kubectl("rollout", "status", f"deployment/{deployment}", "-n", namespace, f"--timeout={seconds:.0f}s",
            timeout=seconds + 30)  # fmt: skip
    return time.monotonic() - start


def deploy(namespace: str, documents: list[dict]) -> None:
    """Puts these objects in the place of what runs, and waits for the one Deployment among them.

    All its pods go at once: quicker than a rolling update. Raises KubectlFailed.
    """
    name = the("Deployment", documents)["metadata"]["name"]
    kubectl("delete", "deployment", name, "-n", namespace, "--ignore-not-found")
    apply(documents, namespace)
    wait_for_rollout(namespace, name)


def load_image(tag: str) -> str:
    """Makes a local image known to the cluster's nodes; returns, in a sentence, how.

    kind and minikube have their own image stores; a cluster whose node runs on this machine's Docker engine shares it.
    Raises RuntimeError for a cluster that can only pull from a registry, saying what to do.
    """
    context = kubectl("config", "current-context").strip()
    if context.startswith("kind-"):
        _run("kind", "load", "docker-image", tag, "--name", context.removeprefix("kind-"))
        return f"`kind load docker-image {tag}` copied the image onto the cluster's node."
    nodes = json.loads(kubectl("get", "nodes", "-o", "json"))["items"]
    if any("minikube.k8s.io/name" in node["metadata"]["labels"] for node in nodes):
        _run("minikube", "image", "load", tag, "--profile", context)
        return f"`minikube image load {tag}` copied the image onto the cluster's node."
    runtimes = {node["status"]["nodeInfo"]["containerRuntimeVersion"] for node in nodes}
    if context in ("docker-desktop", "rancher-desktop") or all(each.startswith("docker:") for each in runtimes):
        return "The cluster's node runs on this Docker engine, so it has the image already."
    raise RuntimeError(
        f"the cluster {context!r} can only pull images from a registry, and {tag} lies on this machine alone: "
        "use kind, minikube or Docker Desktop's cluster for this lesson"
    )


def _run(*command: str) -> None:
    if not shutil.which(command[0]):
        raise RuntimeError(f"the cluster was made by {command[0]}, but the command {command[0]} is not on the PATH")
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")


@contextlib.contextmanager
def port_forward(namespace: str, target: str, port: int, seconds: float = 15) -> Iterator[str]:
    """Makes `target` ("service/digits") answer on this machine while the block runs; gives its URL.

    port: the target's. Raises KubectlFailed where the connection does not come up within `seconds`.
    """
    command = ["kubectl", "port-forward", "-n", namespace, target, f":{port}"]
    with tempfile.TemporaryDirectory() as folder:
        said = (
            Path(folder) / "said"
        )  # kubectl prints a line a connection: a pipe that nobody reads would fill and stall it
        with said.open("wb") as output:
            running = leash.start(command, stdout=output, stderr=subprocess.STDOUT)
        try:
            yield f"http://127.0.0.1:{_forwarded_port(running, said, ' '.join(command), seconds)}"
        finally:
            leash.end([running], 5)


def _forwarded_port(running: subprocess.Popen, said: Path, command: str, seconds: float) -> str:
    """Waits for kubectl's "Forwarding from 127.0.0.1:41235 -> 8501"."""
    until = time.monotonic() + seconds
    while True:
        ended, late = running.poll() is not None, time.monotonic() >= until
        text = said.read_text(errors="replace")
        if found := re.search(r"127\.0\.0\.1:(\d+) ->", text):
            return found[1]
        if ended or late:
            why = "it ended" if ended else f"no connection within {seconds} s"
            raise KubectlFailed(f"{command}: {why}; it said: {text.strip() or 'nothing'}")
        time.sleep(0.02)


def run_pod(
    namespace: str, name: str, image: str, command: list[str], *, account: str = "", container: dict | None = None,
    spec: dict | None = None,
) -> None:  # fmt: skip
    """Starts a pod beside the service that runs `command` once, as no privileged user. An old one of the name goes.

    account: a ServiceAccount of the namespace in whose name the pod is created (`kubectl --as`); "" for one's own.
    container, spec: further fields of the container and of the pod, in place of what stands here.
    """
    kubectl("delete", "pod", name, "-n", namespace, "--ignore-not-found", "--grace-period=1")
    secure = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, "readOnlyRootFilesystem": True}
    main = {"name": name, "image": image, "imagePullPolicy": "IfNotPresent", "command": command,
            "securityContext": secure,
            "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"cpu": "1", "memory": "256Mi"}}}  # fmt: skip
    user = {"runAsNonRoot": True, "runAsUser": 10001, "runAsGroup": 10001,
            "seccompProfile": {"type": "RuntimeDefault"}}  # fmt: skip
    whole = {"restartPolicy": "Never", "containers": [main | (container or {})], "automountServiceAccountToken": False,
             "securityContext": user}  # fmt: skip
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": namespace},
           "spec": whole | (spec or {})}  # fmt: skip
    who = ["--as", f"system:serviceaccount:{namespace}:{account}"] if account else []
    kubectl("create" if account else "apply", *who, "-f", "-", stdin=json.dumps(pod))


def finished_pod_log(namespace: str, name: str, seconds: float = 60) -> str:
    """Waits until a pod that runs once has ended, and returns what it printed.

    Raises KubectlFailed where it fails or does not end within `seconds`.
    """
    until, phase = time.monotonic() + seconds, ""
    while not phase or time.monotonic() < until:
        phase = kubectl("get", "pod", name, "-n", namespace, "-o", "jsonpath={.status.phase}")
        if phase == "Succeeded":
            return kubectl("logs", name, "-n", namespace)
        if phase == "Failed":
            raise KubectlFailed(f"pod {name} failed: {kubectl('logs', name, '-n', namespace)[-500:]}")
        time.sleep(0.2)
    raise KubectlFailed(f"pod {name} was still {phase} after {seconds} s")


def wait_for_log(namespace: str, name: str, word: str, seconds: float = 60) -> str:
    """Waits until a pod has printed `word`; returns what it has printed. Raises KubectlFailed where it has not within
    `seconds`."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        with contextlib.suppress(KubectlFailed):  # a container that is still being created has no log
            if word in (log := kubectl("logs", name, "-n", namespace)):
                return log
        time.sleep(0.2)
    raise KubectlFailed(
        f"pod {name} did not print {word!r} within {seconds} s; `kubectl describe pod {name} -n {namespace}` says why"
    )
