"""What a cluster says while something happens to it: its own stream of changes, read beside the lesson."""

import contextlib
import json
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator

from course_lib.ops import leash
from course_lib.ops.kubernetes import KubectlFailed, kubectl, served


def autoscalers() -> str:
    """The kind to watch for autoscalers: the plain "hpa" would give the old v1, which tells no metric in its status."""
    return f"horizontalpodautoscalers.{served('autoscaling/v2').split('/')[1]}.autoscaling"


def autoscaler_state(scaler: dict) -> dict:
    """What an autoscaler's status says: name, percent (mean CPU, % of the request; None while it knows none), pods that
    there are, pods wanted, trouble (why it is not active, else "")."""
    status = scaler.get("status", {})
    metrics = status.get("currentMetrics") or [{}]
    failing = [c for c in status.get("conditions") or [] if c["type"] == "ScalingActive" and c["status"] == "False"]
    return {
        "name": scaler["metadata"]["name"],
        "percent": metrics[0].get("resource", {}).get("current", {}).get("averageUtilization"),
        "pods": status.get("currentReplicas", 0),
        "wanted": status.get("desiredReplicas", 0),
        "trouble": failing[0]["message"] if failing else "",
    }


def metrics_window(namespace: str) -> float:
    """Over how many seconds the cluster measures its pods' CPU. Raises RuntimeError where it does not: no metrics API."""
    api = "/apis/metrics.k8s.io/v1beta1"
    try:
        windows = [
            pod["window"] for pod in json.loads(kubectl("get", "--raw", f"{api}/namespaces/{namespace}/pods"))["items"]
        ]
    except KubectlFailed as refused:
        raise RuntimeError(
            "the cluster serves no metrics API, so no autoscaler can see its pods' CPU. Install metrics-server: `minikube "
            "addons enable metrics-server`, or `kubectl apply -f https://github.com/kubernetes-sigs/metrics-server/releases/"
            f"latest/download/components.yaml`, on kind and Docker Desktop with the argument --kubelet-insecure-tls. ({refused})"
        ) from None
    return max((_seconds(each) for each in windows), default=15.0)


def _seconds(window: str) -> float:
    """What Go writes as 10s, 15.28s or 1m0.5s."""
    minutes, _, rest = window.rpartition("m")
    return 60 * float(minutes or 0) + float(rest.rstrip("s") or 0)


@contextlib.contextmanager
def watching(namespace: str, kind: str, read: Callable[[dict], dict], selector: str = "") -> Iterator[list[dict]]:
    """Follows every change of the namespace's objects of a kind ("pods", "endpoints", "hpa") while the block runs.

    read: what to keep of an object; `kubernetes.pod_state` for pods. selector: "app=digits"; "" for all. Gives a list that
    grows: {"at": seconds since 1970, "type": ADDED (at the begin: those that are there), MODIFIED or DELETED, **read(object)}.
    At the block's end raises KubectlFailed where kubectl had ended before it, and what `read` raised.
    """
    command = ["kubectl", "get", kind, "-n", namespace, "--watch", "--output-watch-events", "-o", "json"]
    errors = tempfile.TemporaryFile("w+")
    command += ["-l", selector] if selector else []
    running = leash.start(command, stdout=subprocess.PIPE, stderr=errors, text=True)
    changes: list[dict] = []
    wrong: list[Exception] = []

    def follow() -> None:
        lines: list[str] = []
        for line in running.stdout:
            lines.append(line)
            # One change a line, or, as other releases of kubectl write it, indented: then its last line is a brace.
            if line.startswith("}") or (len(lines) == 1 and line.rstrip().endswith("}")):
                change = json.loads("".join(lines))
                lines.clear()
                try:
                    changes.append({"at": time.time(), "type": change["type"], **read(change["object"])})
                except Exception as raised:  # in a thread of its own it would be lost
                    wrong.append(raised)

    reader = threading.Thread(target=follow, daemon=True)
    reader.start()
    with errors:
        try:
            yield changes
        finally:
            ended = running.poll() is not None
            leash.end([running], 5)
            reader.join()
            running.stdout.close()
        if ended:
            errors.seek(0)
            raise KubectlFailed(f"{' '.join(command)}: ended too early; it said: {errors.read().strip() or 'nothing'}")
    if wrong:
        raise wrong[0]


def lives(changes: list[dict], end: float) -> dict[str, list[tuple[float, float, str]]]:
    """{pod: [(begin, end, "starting", "ready" or "leaving"), …]} from changes that `pod_state` read.

    changes: as `watching` gives them, `at` in seconds of a clock of which `end` is the last moment.
    """
    found: dict[str, list[tuple[float, float, str]]] = {}
    now: dict[str, tuple[str | None, float]] = {}
    for each in changes:
        name = each["name"]
        state = "leaving" if each["leaving"] else "ready" if each["ready"] else "starting"
        before, since = now.get(name, (None, 0))
        if each["type"] == "DELETED" or before != state:
            if before:
                found.setdefault(name, []).append((since, each["at"], before))
            now[name] = (None if each["type"] == "DELETED" else state, each["at"])
    for name, (state, since) in now.items():
        if state:
            found.setdefault(name, []).append((since, end, state))
    return found
