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


class KubectlFailed(RuntimeError):
    """kubectl ended with an error; the message holds what it said."""


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
        raise KubectlFailed(f"kubectl {' '.join(words)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def pods(namespace: str, selector: str) -> list[dict]:
    """The pods that `selector` ("app=digits") matches: name, ready (bool), leaving (bool)."""
    listed = json.loads(kubectl("get", "pods", "-n", namespace, "-l", selector, "-o", "json"))["items"]
    return [
        {
            "name": pod["metadata"]["name"],
            "ready": any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions", [])),
            "leaving": "deletionTimestamp" in pod["metadata"],
        }
        for pod in listed
    ]


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
            running = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, cwd=places.CHECKOUT)
        try:
            yield f"http://127.0.0.1:{_forwarded_port(running, said, ' '.join(command), seconds)}"
        finally:
            running.terminate()
            try:
                running.wait(timeout=5)
            except subprocess.TimeoutExpired:
                running.kill()
                running.wait()


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


def run_pod(namespace: str, name: str, image: str, command: list[str]) -> None:
    """Starts a pod beside the service that runs `command` once, as no privileged user. An old one of the name goes."""
    kubectl("delete", "pod", name, "-n", namespace, "--ignore-not-found", "--grace-period=1")
    secure = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, "readOnlyRootFilesystem": True}
    container = {"name": name, "image": image, "imagePullPolicy": "IfNotPresent", "command": command,
                 "securityContext": secure}  # fmt: skip
    user = {"runAsNonRoot": True, "runAsUser": 10001, "runAsGroup": 10001, "seccompProfile": {"type": "RuntimeDefault"}}
    spec = {"restartPolicy": "Never", "containers": [container], "automountServiceAccountToken": False,
            "securityContext": user}  # fmt: skip
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": namespace}, "spec": spec}
    kubectl("apply", "-f", "-", stdin=json.dumps(pod))


def finished_pod_log(namespace: str, name: str, seconds: float = 60) -> str:
    """Waits until a pod that runs once has ended, and returns what it printed.

    Raises KubectlFailed where it fails or does not end within `seconds`.
    """
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        phase = kubectl("get", "pod", name, "-n", namespace, "-o", "jsonpath={.status.phase}")
        if phase == "Succeeded":
            return kubectl("logs", name, "-n", namespace)
        if phase == "Failed":
            raise KubectlFailed(f"pod {name} failed: {kubectl('logs', name, '-n', namespace)[-500:]}")
        time.sleep(0.2)
    raise KubectlFailed(f"pod {name} was still {phase} after {seconds} s")


def wait_for_log(namespace: str, name: str, word: str, seconds: float = 60) -> None:
    """Waits until a pod has printed `word`. Raises KubectlFailed where it has not within `seconds`."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        with contextlib.suppress(KubectlFailed):  # a container that is still being created has no log
            if word in kubectl("logs", name, "-n", namespace):
                return
        time.sleep(0.2)
    raise KubectlFailed(
        f"pod {name} did not print {word!r} within {seconds} s; `kubectl describe pod {name} -n {namespace}` says why"
    )
