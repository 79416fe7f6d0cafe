"""The cluster's stream of changes, with a stand-in for kubectl."""

import json
import shlex
import time
from pathlib import Path

import pytest

from course_lib.ops.kubernetes import KubectlFailed, pod_state
from course_lib.ops.watch import watching
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
