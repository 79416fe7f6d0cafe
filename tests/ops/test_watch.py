"""The cluster's stream of changes, with a stand-in for kubectl."""

import json
import shlex
import time
from pathlib import Path

import pytest

from course_lib.ops.kubernetes import KubectlFailed, pod_state
from course_lib.ops.watch import autoscaler_state, autoscalers, metrics_window, watching
from tests.ops.stand_ins import asked, posix, stand_in

pytestmark = posix


def change(kind: str, name: str) -> dict:
    """As the API sends it; a brace at a line's end inside text is no end."""
    return {"type": kind, "object": {"metadata": {"name": name, "annotations": {"note": "a }\n}"}}}}


def prints(folder: Path, *changes: dict, indent: int | None, then: str = "exec /bin/sleep 60") -> None:
    text = folder / "changes"
    text.write_text("".join(json.dumps(each, indent=indent) + "\n" for each in changes))
    stand_in(folder, "kubectl", f"/bin/cat {shlex.quote(str(text))}; {then}")


def name(found: dict) -> dict:
    return {"name": found["metadata"]["name"]}


def wait_for(count: int, changes: list[dict]) -> None:
    until = time.monotonic() + 20
    while len(changes) < count and time.monotonic() < until:
        time.sleep(0.01)


@pytest.mark.parametrize("indent", [None, 4], ids=["a line each", "indented"])
def test_changes_come_in_order_with_their_times(path, indent):
    prints(path, change("ADDED", "a"), change("MODIFIED", "a"), change("DELETED", "b"), indent=indent)
    before = time.time()
    with watching("digits", "pods", name, "app=digits") as changes:
        wait_for(3, changes)
    assert [(each["type"], each["name"]) for each in changes] == [("ADDED", "a"), ("MODIFIED", "a"), ("DELETED", "b")]
    assert all(before <= each["at"] <= time.time() for each in changes)
    assert asked(path, "kubectl") == ["get pods -n digits --watch --output-watch-events -o json -l app=digits"]


def test_without_a_selector_all_are_followed(path):
    prints(path, change("ADDED", "a"), indent=4)
    with watching("digits", "hpa", name) as changes:
        wait_for(1, changes)
    assert asked(path, "kubectl") == ["get hpa -n digits --watch --output-watch-events -o json"]


def test_a_kubectl_that_ended_is_no_quiet_cluster(path):
    stand_in(path, "kubectl", "echo 'error: the server does not have a resource type \"pot\"' >&2; exit 1")
    with pytest.raises(KubectlFailed, match='pot .*ended too early; it said: error: .* resource type "pot"'):
        with watching("digits", "pot", name):
            time.sleep(1)


def test_what_the_block_raises_is_not_covered_up(path):
    stand_in(path, "kubectl", "exit 1")
    with pytest.raises(ZeroDivisionError):
        with watching("digits", "pods", name):
            time.sleep(0.5)
            raise ZeroDivisionError


def test_what_read_raises_is_raised_and_the_rest_is_kept(path):
    status = {"type": "ERROR", "object": {"kind": "Status", "metadata": {}}}
    prints(path, change("ADDED", "a"), status, change("ADDED", "b"), indent=None)
    with pytest.raises(KeyError, match="name"):
        with watching("digits", "pods", name) as changes:
            wait_for(2, changes)
    assert [each["name"] for each in changes] == ["a", "b"]


def test_pods_are_put_in_a_line():
    pod = {
        "metadata": {"name": "digits-a", "deletionTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"containers": [{"image": "digits-service:local"}]},
        "status": {
            "phase": "Running",
            "conditions": [{"type": "Ready", "status": "False"}, {"type": "PodScheduled", "status": "True"}],
            "containerStatuses": [
                {"restartCount": 2, "state": {"running": {"startedAt": "x"}},
                 "lastState": {"terminated": {"reason": "OOMKilled", "exitCode": 137}}},
            ],
        },
    }  # fmt: skip
    assert pod_state(pod) == {"name": "digits-a", "phase": "Running", "ready": False, "leaving": True, "restarts": 2,
                              "reason": "OOMKilled", "image": "digits-service:local"}  # fmt: skip
    new = {"metadata": {"name": "digits-b"}, "spec": pod["spec"], "status": {"phase": "Pending"}}
    assert pod_state(new) == {"name": "digits-b", "phase": "Pending", "ready": False, "leaving": False, "restarts": 0,
                              "reason": "", "image": "digits-service:local"}  # fmt: skip


@pytest.mark.parametrize(("has", "kind"), [("autoscaling/v2", "v2"), ("autoscaling/v2beta2", "v2beta2")])
def test_autoscalers_are_watched_in_a_version_whose_status_tells_the_metric(path, has, kind):
    stand_in(path, "kubectl", f"echo autoscaling/v1; echo {has}")
    assert autoscalers() == f"horizontalpodautoscalers.{kind}.autoscaling"


def test_an_autoscaler_that_has_looked_at_nothing_yet_knows_no_metric():
    assert autoscaler_state({"metadata": {"name": "digits"}}) == {
        "name": "digits",
        "percent": None,
        "pods": 0,
        "wanted": 0,
        "trouble": "",
    }


def test_an_autoscaler_tells_metric_pods_and_trouble():
    current = {"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": 92}}}
    conditions = [
        {"type": "AbleToScale", "status": "False", "message": "no"},
        {"type": "ScalingActive", "status": "False", "message": "missing request for cpu"},
    ]
    status = {"currentMetrics": [current], "currentReplicas": 1, "desiredReplicas": 2, "conditions": conditions}
    found = autoscaler_state({"metadata": {"name": "digits"}, "status": status})
    assert found == {"name": "digits", "percent": 92, "pods": 1, "wanted": 2, "trouble": "missing request for cpu"}
    conditions[1]["status"] = "True"
    assert autoscaler_state({"metadata": {"name": "digits"}, "status": status})["trouble"] == ""


@pytest.mark.parametrize(
    ("windows", "seconds"), [(["10s"], 10), (["15.28s", "1m0.5s"], 60.5), ([], 15)], ids=["one", "two", "none yet"]
)
def test_the_window_of_the_metrics_is_the_longest_of_the_pods(path, windows, seconds):
    text = json.dumps({"items": [{"window": each} for each in windows]})
    stand_in(path, "kubectl", f"echo {shlex.quote(text)}")
    assert metrics_window("digits-18") == seconds
    assert asked(path, "kubectl") == ["get --raw /apis/metrics.k8s.io/v1beta1/namespaces/digits-18/pods"]


def test_a_cluster_without_metrics_gets_the_command_that_adds_them(path):
    stand_in(path, "kubectl", "echo 'Error from server (NotFound)' >&2; exit 1")
    with pytest.raises(RuntimeError, match=r"no metrics API.*minikube addons enable metrics-server.*NotFound"):
        metrics_window("digits-18")
