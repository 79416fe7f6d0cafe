"""What live lessons send to a cluster and read of it, with a stand-in for kubectl."""

import json
import shlex
from pathlib import Path

import pytest
import yaml

from course_lib.ops import kubernetes
from course_lib.ops.kubernetes import KubectlFailed
from tests.ops.stand_ins import asked, posix, stand_in

pytestmark = posix

DEPLOYMENT = {
    "kind": "Deployment",
    "apiVersion": "apps/v1",
    "metadata": {"name": "digits", "namespace": "digits"},
    "spec": {"template": {"spec": {"containers": [{"name": "service", "image": "digits-service:0.1.0"}]}}},
}
NAMESPACE = {"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": "digits"}}


def prints(folder: Path, text: str) -> None:
    """A kubectl that keeps what it reads in `kubectl.read`, and prints this."""
    (folder / "said").write_text(text)
    read = shlex.quote(str(folder / "kubectl.read"))
    stand_in(folder, "kubectl", f"[ -t 0 ] || /bin/cat > {read}; /bin/cat {shlex.quote(str(folder / 'said'))}")


def read(folder: Path) -> dict:
    return json.loads((folder / "kubectl.read").read_text())


@pytest.mark.parametrize(
    ("image", "becomes"),
    [
        ("digits-service:0.1.0", "digits-service:lesson-17"),
        ("digits-service", "digits-service:lesson-17"),
        ("registry.example.com:5000/team/digits-service:0.1.0", "digits-service:lesson-17"),
        ("registry.example.com/digits-service@sha256:00", "digits-service:lesson-17"),
        ("redis:8", "redis:8"),
        ("digits-service-tools:1", "digits-service-tools:1"),
    ],
)
def test_what_is_rendered_bears_the_image_that_was_built(path, image, becomes):
    other = json.loads(json.dumps(DEPLOYMENT))
    other["spec"]["template"]["spec"]["containers"][0]["image"] = image
    prints(path, yaml.safe_dump_all([NAMESPACE, other]) + "---\n")
    documents = kubernetes.rendered("k8s/base", "digits-service:lesson-17")
    assert [each["kind"] for each in documents] == ["Namespace", "Deployment"], "and no empty document"
    assert documents[1]["spec"]["template"]["spec"]["containers"][0]["image"] == becomes
    assert kubernetes.rendered("k8s/base")[1] == other
    assert asked(path, "kubectl") == ["kustomize k8s/base"] * 2


def test_the_one_object_of_a_kind_is_given_itself():
    canary = {"kind": "Deployment", "metadata": {"name": "digits-canary"}}
    documents = [NAMESPACE, DEPLOYMENT, canary]
    assert kubernetes.the("Namespace", documents) is NAMESPACE
    assert kubernetes.the("Deployment", documents, "digits-canary") is canary
    for kind, name, found in (("Deployment", None, 2), ("Service", None, 0), ("Deployment", "x", 0)):
        with pytest.raises(LookupError, match=f"got {found} among Namespace/digits, Deployment/digits, Deployment/"):
            kubernetes.the(kind, documents, name)


def test_what_is_applied_goes_to_the_namespace_that_was_asked_for(path):
    prints(path, "deployment.apps/digits created\nservice/digits created\n")
    said = kubernetes.apply([NAMESPACE, DEPLOYMENT], "digits-17-kubernetes")
    assert said == ["deployment.apps/digits created", "service/digits created"]
    assert asked(path, "kubectl") == ["apply -n digits-17-kubernetes -f -"]
    (sent,) = read(path)["items"]
    assert sent["metadata"] == {"name": "digits", "namespace": "digits-17-kubernetes"}
    assert DEPLOYMENT["metadata"]["namespace"] == "digits", "the caller's own object stays"


@pytest.mark.parametrize("has", ["policy/v1", "policy/v1beta1", "autoscaling/v2", "autoscaling/v2beta2"])
def test_an_object_is_applied_in_the_version_of_the_api_that_the_cluster_has(path, has):
    version = has.partition("beta")[0]
    given = {"kind": "Any", "apiVersion": version, "metadata": {"name": "digits"}}
    prints(path, f"apps/v1\n{has}\n")
    kubernetes.apply([given], "digits-17")
    assert asked(path, "kubectl") == ["api-versions", "apply -n digits-17 -f -"]
    assert read(path)["items"][0]["apiVersion"] == has and given["apiVersion"] == version


def test_a_fresh_namespace_bears_the_standard_and_its_owner(path, monkeypatch):
    monkeypatch.setenv("COURSE_NAME", "anna")
    prints(path, "")
    kubernetes.fresh_namespace("digits-18-anna")
    there = "get namespace digits-18-anna --ignore-not-found -o"
    said = [f"{there} json", f"{there} name", "create -f -"]
    assert asked(path, "kubectl") == said, "none was there, so nothing was deleted; and nobody's is taken over"
    assert read(path)["metadata"] == {
        "name": "digits-18-anna",
        "labels": {"pod-security.kubernetes.io/enforce": "restricted", "course-owner": "anna"},
    }


@pytest.mark.parametrize(("labels", "got"), [({}, "none"), (None, "none"), ({"course-owner": "bob"}, "bob")])
def test_a_namespace_that_somebody_else_made_is_left_alone(path, monkeypatch, labels, got):
    monkeypatch.setenv("COURSE_NAME", "anna")
    metadata = {"name": "digits-18"} | ({} if labels is None else {"labels": labels})
    prints(path, json.dumps({"metadata": metadata}))
    wanted = f"expected the label course-owner=anna on the namespace digits-18, got {got}: .* `kubectl delete namespace digits-18`"
    for act in (kubernetes.remove_namespace, kubernetes.fresh_namespace):
        with pytest.raises(kubernetes.NotOurs, match=wanted):
            act("digits-18")
    assert asked(path, "kubectl") == ["get namespace digits-18 --ignore-not-found -o json"] * 2


def test_of_a_namespace_go_first_who_replaces_pods_then_the_pods_by_force(path, monkeypatch):
    monkeypatch.setenv("COURSE_NAME", "anna")
    prints(path, json.dumps({"metadata": {"name": "digits", "labels": {"course-owner": "anna"}}}))
    assert kubernetes.remove_namespace("digits"), "what kubectl still finds is told"
    assert asked(path, "kubectl")[1:-1] == [
        "delete hpa,deployments,replicasets --all -n digits --cascade=orphan",
        "delete pods --all -n digits --grace-period=0 --force",
        "delete namespace digits --ignore-not-found",
    ]


def test_objects_are_listed_by_kind_namespace_and_label(path):
    pod = {"metadata": {"name": "digits-a"}, "spec": {"containers": [{"image": "i:1"}]}, "status": {"phase": "Running"}}
    prints(path, json.dumps({"items": [pod]}))
    assert kubernetes.listed("pods", "digits", "app=digits") == [pod]
    assert [each["name"] for each in kubernetes.pods("digits", "app=digits")] == ["digits-a"]
    assert asked(path, "kubectl") == ["get pods -n digits -l app=digits -o json"] * 2


def test_a_rollout_is_waited_for_and_timed(path):
    prints(path, "successfully rolled out")
    assert 0 < kubernetes.wait_for_rollout("digits", "digits-canary", seconds=7) < 20
    assert asked(path, "kubectl") == ["rollout status deployment/digits-canary -n digits --timeout=7s"]
    stand_in(path, "kubectl", "echo 'error: timed out waiting for the condition' >&2; exit 1")
    with pytest.raises(KubectlFailed, match="rollout status deployment/digits .* timed out waiting"):
        kubernetes.wait_for_rollout("digits")


def test_a_kubectl_that_does_not_end_is_given_up(path):
    stand_in(path, "kubectl", "exec /bin/sleep 60")
    with pytest.raises(KubectlFailed, match="kubectl get pods: no end after 0.2 s"):
        kubernetes.kubectl("get", "pods", timeout=0.2)


def test_a_pod_that_has_ended_gives_its_log_and_one_that_failed_its_end(path):
    stand_in(path, "kubectl", '[ "$1" = get ] && printf Succeeded || echo done')
    assert kubernetes.finished_pod_log("digits", "load") == "done\n"
    assert kubernetes.finished_pod_log("digits", "load", seconds=0) == "done\n", "asked once even so"
    stand_in(path, "kubectl", '[ "$1" = get ] && printf Failed || echo no such file')
    with pytest.raises(KubectlFailed, match="pod load failed: no such file"):
        kubernetes.finished_pod_log("digits", "load")
    stand_in(path, "kubectl", "printf Running")
    with pytest.raises(KubectlFailed, match="pod load was still Running after 0.3 s"):
        kubernetes.finished_pod_log("digits", "load", seconds=0.3)


def test_a_word_in_a_pods_log_is_waited_for(path):
    count = shlex.quote(str(path / "count"))
    stand_in(path, "kubectl", f"echo x >> {count}; n=0; while read -r _; do n=$((n+1)); done < {count}\n"
                              "[ $n -gt 1 ] || exit 1; [ $n -gt 2 ] && echo begin; exit 0")  # fmt: skip
    kubernetes.wait_for_log("digits", "load", "begin", seconds=20)
    assert len(asked(path, "kubectl")) == 3, "a log that cannot be had yet, an empty one, the word"
    with pytest.raises(KubectlFailed, match="did not print 'end' within 0.3 s; `kubectl describe pod load -n digits`"):
        kubernetes.wait_for_log("digits", "load", "end", seconds=0.3)


def test_a_pod_may_be_made_in_an_accounts_name_and_with_fields_of_its_own(path):
    prints(path, "")
    kubernetes.run_pod("digits", "thief", "digits-service:1", ["true"], account="deployer",
                       container={"env": []}, spec={"automountServiceAccountToken": None, "volumes": []})  # fmt: skip
    assert asked(path, "kubectl")[1] == "create --as system:serviceaccount:digits:deployer -f -"
    spec = read(path)["spec"]
    assert spec["automountServiceAccountToken"] is None and spec["volumes"] == [] and spec["containers"][0]["env"] == []
    assert spec["securityContext"]["runAsNonRoot"] is True and spec["containers"][0]["command"] == ["true"]


@pytest.mark.parametrize(("said", "status", "answer"), [("yes", 0, "yes"), ("no", 1, "no")])
def test_a_right_is_asked_for_and_no_is_an_answer(path, said, status, answer):
    stand_in(path, "kubectl", f"echo {said}; exit {status}")
    assert kubernetes.can_i("get pods -n kube-system", "digits", "watcher") == answer
    (line,) = asked(path, "kubectl")
    assert line == "auth can-i -n digits get pods -n kube-system --as=system:serviceaccount:digits:watcher"


def test_a_question_that_failed_is_no_no(path):
    stand_in(path, "kubectl", "echo 'error: no connection' >&2; exit 1")
    with pytest.raises(KubectlFailed, match="no connection"):
        kubernetes.can_i("get pods", "digits")


def test_a_pod_beside_the_service_runs_once_and_replaces_the_one_before(path):
    prints(path, "")
    kubernetes.run_pod("digits", "load", "digits-service:1", ["python", "-c", "pass"])
    assert asked(path, "kubectl") == ["delete pod load -n digits --ignore-not-found --grace-period=1", "apply -f -"]
    pod = read(path)
    assert pod["metadata"] == {"name": "load", "namespace": "digits"} and pod["spec"]["restartPolicy"] == "Never"
    (container,) = pod["spec"]["containers"]
    assert container["image"] == "digits-service:1" and container["command"] == ["python", "-c", "pass"]
