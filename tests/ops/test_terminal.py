"""What a lesson says beside its cluster, and what it makes of the answers, with a stand-in for kubectl."""

import json

import pytest

from course_lib.ops import kubernetes, terminal
from course_lib.ops.watch import lives
from tests.ops.stand_ins import asked, posix, stand_in

pytestmark = posix


def test_a_line_is_asked_in_the_lessons_namespace_and_its_answer_comes_without_line_ends(path):
    stand_in(path, "kubectl", "echo; echo 'NAME  READY'; echo")
    assert terminal.said("digits-17", "kubectl get pods -l 'app=digits'") == "NAME  READY"
    assert asked(path, "kubectl") == ["digits-17 get pods -l app=digits"]  # the stand-in's echo takes -n as its own


def test_what_kubectl_refuses_is_an_answer_too(path):
    stand_in(path, "kubectl", "echo 'error: no such: thing' >&2; exit 1")
    assert terminal.said("digits-17", "kubectl get thing") == "error: no such: thing"


def test_a_session_reads_like_a_terminal(capsys):
    terminal.shown({"kubectl get a": "1", "kubectl get b": "2"})
    assert capsys.readouterr().out == "$ kubectl get a\n1\n\n$ kubectl get b\n2\n"


def test_what_does_not_become_true_ends_in_time():
    answers = iter([False, True])
    terminal.until(lambda: next(answers))
    with pytest.raises(TimeoutError, match="within 0 s"):
        terminal.until(lambda: False, seconds=0)


def test_a_pod_that_is_told_to_end_is_not_ready_for_requests(path):
    def pod(name: str, ready: str, **metadata: str) -> dict:
        conditions = [{"type": "Ready", "status": ready}]
        return {
            "metadata": {"name": name, **metadata},
            "status": {"conditions": conditions},
            "spec": {"containers": [{"image": "d:1"}]},
        }

    pods = [pod("a", "True"), pod("b", "False"), pod("c", "True", deletionTimestamp="2026-01-01T00:00:00Z")]
    (path / "said").write_text(json.dumps({"items": pods}))
    stand_in(path, "kubectl", f"/bin/cat '{path / 'said'}'")
    assert terminal.ready("digits-17", "digits") == ["a"]


def test_what_runs_goes_before_its_successor_comes(path):
    stand_in(path, "kubectl", "[ -t 0 ] || /bin/cat > /dev/null")
    kubernetes.deploy("digits-17", [{"kind": "Deployment", "apiVersion": "apps/v1", "metadata": {"name": "abrupt"}}])
    assert asked(path, "kubectl") == [
        "delete deployment abrupt -n digits-17 --ignore-not-found",
        "apply -n digits-17 -f -",
        "rollout status deployment/abrupt -n digits-17 --timeout=300s",
    ]


def test_changes_become_lives():
    def change(at: float, name: str, ready: bool = False, leaving: bool = False, kind: str = "MODIFIED") -> dict:
        return {"at": at, "type": kind, "name": name, "ready": ready, "leaving": leaving}

    changes = [
        change(-1.0, "a", ready=True, kind="ADDED"),
        change(2.0, "b", kind="ADDED"),
        change(2.5, "b"),
        change(3.0, "b", ready=True),
        change(3.5, "a", ready=True, leaving=True),
        change(6.0, "a", leaving=True, kind="DELETED"),
    ]
    assert lives(changes, 9.0) == {
        "a": [(-1.0, 3.5, "ready"), (3.5, 6.0, "leaving")],
        "b": [(2.0, 3.0, "starting"), (3.0, 9.0, "ready")],
    }
