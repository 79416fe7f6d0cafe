"""What is within reach: an engine, a cluster of one's own, and no other."""

import gc
import json
import socket
import time
import warnings
from pathlib import Path

import pytest

from course_lib.ops import reach
from course_lib.ops.reach import Found
from tests.ops.stand_ins import asked, posix, stand_in


@pytest.fixture
def forgetful(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reach, "_there", {})
    monkeypatch.setattr(reach, "_hung", {})
    monkeypatch.delenv("COURSE_CONTEXT", raising=False)


def kubeconfig(path: Path, context: str, server: str, answers: bool = True) -> None:
    config = {"current-context": context, "clusters": [{"name": "c", "cluster": {"server": server}}]}
    version = {"serverVersion": {"gitVersion": "v1.33.1"}} if answers else {}
    stand_in(path, "kubectl", f"[ \"$1\" = config ] && echo '{json.dumps(config)}' || echo '{json.dumps(version)}'")


@pytest.mark.parametrize(
    ("context", "server", "own"),
    [
        ("kind-course", "https://127.0.0.1:41001", True),
        ("minikube", "https://192.168.49.2:8443", True),
        ("docker-desktop", "https://kubernetes.docker.internal:6443", True),
        ("rancher-desktop", "https://192.168.5.15:6443", True),
        ("k3d-course", "https://0.0.0.0:41001", True),
        ("mine", "https://127.0.0.1:6443", True),
        ("mine", "https://localhost:6443", True),
        ("mine", "https://[::1]:6443", True),
        ("mine", "https://192.168.49.2:8443", False),
        ("mine", "https://10.0.0.1:6443", False),
        ("mine", "https://localhost.example.org", False),
        ("mine", "https://127.0.0.1.example.org", False),
        ("arn:aws:eks:eu-west-1:1:cluster/prod", "https://ABC.gr7.eu-west-1.eks.amazonaws.com", False),
        ("minikube-prod", "https://prod.example.org", False),
        ("mine", "", False),
    ],
)
def test_a_cluster_of_ones_own_is_told_by_its_name_or_its_address(context, server, own):
    assert reach.on_this_machine(context, server) is own


@posix
def test_a_cluster_that_others_may_use_is_named_and_ones_own_is_not(path, forgetful):
    kubeconfig(path, "prod", "https://prod.example.org")
    assert reach.shared_context() == "prod"
    kubeconfig(path, "kind-course", "https://127.0.0.1:6443")
    assert reach.shared_context() == ""
    stand_in(path, "kubectl", "echo 'error: current-context must exist' >&2; exit 1")
    assert reach.shared_context() == ""


@posix
def test_another_cluster_is_left_alone_unless_the_learner_allows_it(path, forgetful, monkeypatch):
    kubeconfig(path, "prod", "https://prod.example.org")
    refused = "the context prod is not a cluster on this machine; COURSE_CONTEXT=prod allows it"
    assert reach.probe("kubernetes") == Found(False, reason=refused)
    assert all(line.startswith("config ") for line in asked(path, "kubectl")), "it was not even asked"
    monkeypatch.setenv("COURSE_CONTEXT", "staging")
    assert reach.probe("kubernetes").reason == refused
    monkeypatch.setenv("COURSE_CONTEXT", "prod")
    assert reach.probe("kubernetes") == Found(True, "Kubernetes 1.33.1")


@posix
def test_a_context_that_changes_later_is_noticed(path, forgetful):
    kubeconfig(path, "kind-course", "https://127.0.0.1:41001")
    assert reach.probe("kubernetes").there
    kubeconfig(path, "prod", "https://prod.example.org")
    assert not reach.probe("kubernetes").there


@posix
def test_what_is_absent_is_asked_again_and_what_is_there_is_not(path, forgetful):
    assert reach.probe("kubernetes").reason == "kubectl is not installed"
    stand_in(path, "kubectl", "exit 1")
    assert "no current context" in reach.probe("kubernetes").reason
    kubeconfig(path, "kind-course", "https://127.0.0.1:41001", answers=False)
    assert reach.probe("kubernetes").reason == "no Kubernetes cluster answers to kubectl"
    kubeconfig(path, "kind-course", "https://127.0.0.1:41001")
    assert reach.probe("kubernetes").there and reach.probe("kubernetes").there
    assert sum(line.startswith("version") for line in asked(path, "kubectl")) == 2


def test_an_engine_that_came_later_is_found(forgetful, monkeypatch):
    class Engine:
        def version(self) -> dict:
            return {"Version": "28.1"}

        def close(self) -> None:
            pass

    def nobody(timeout: float) -> None:
        raise OSError("connection refused")

    monkeypatch.setattr(reach, "docker_client", nobody)
    assert reach.probe("docker") == Found(False, reason="no Docker engine answers (connection refused)")
    monkeypatch.setattr(reach, "docker_client", lambda timeout: Engine())
    assert reach.probe("docker") == Found(True, "Docker Engine 28.1")
    monkeypatch.setattr(reach, "docker_client", nobody)
    assert reach.probe("docker").there


def test_an_engine_is_asked_anew_where_that_matters(forgetful, monkeypatch):
    asked = []

    def probe() -> Found:
        asked.append(1)
        return reach._until_there(("docker",), lambda: Found(len(asked) == 1))

    monkeypatch.setitem(reach.PROBES, "docker", probe)
    assert reach.probe("docker").there and reach.probe("docker").there
    assert not reach.probe("docker", fresh=True).there
    assert not reach.probe("docker").there, "and what it was before is forgotten"


def test_what_did_not_answer_in_time_is_not_asked_again_for_a_minute(forgetful, monkeypatch):
    clock, asked = [1000.0], []

    def hangs() -> Found:
        asked.append(clock[0])
        clock[0] += reach.SECONDS
        return Found(False, reason="no answer")

    monkeypatch.setattr(reach.time, "monotonic", lambda: clock[0])
    monkeypatch.setitem(reach.PROBES, "docker", hangs)
    for _ in range(15):
        assert reach.probe("docker") == Found(False, reason="no answer")
    assert len(asked) == 1
    reach.probe("docker", fresh=True)
    clock[0] += reach.AGAIN_S
    reach.probe("docker")
    assert len(asked) == 3


@posix
def test_a_kubectl_whose_children_hold_its_output_does_not_hang_the_lesson(path, forgetful, monkeypatch):
    monkeypatch.setattr(reach, "SECONDS", 0.2)
    stand_in(path, "kubectl", "/bin/sleep 20")
    began = time.monotonic()
    assert reach.probe("kubernetes").reason == "kubectl does not say which cluster it speaks to (no answer within 5 s)"
    assert reach.probe("kubernetes").reason.startswith("kubectl does not say")
    assert time.monotonic() - began < 10 and len(asked(path, "kubectl")) == 1


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("('Connection aborted.', FileNotFoundError(2, 'No such file or directory'))", "nothing is there at its address"),
        ("('Connection aborted.', PermissionError(13, 'Permission denied'))", "permission denied"),
        ("HTTPConnectionPool(host='h', port=9): Max retries exceeded with url: /version (Caused by NewConnectionError("
         "'<urllib3.connection.HTTPConnection object at 0x7f>: [Errno 111] Connection refused'))", "connection refused"),
        ("UnixHTTPConnectionPool(host='localhost', port=None): Read timed out. (read timeout=5)", "no answer within 5 s"),
        ("Unable to connect to the server: net/http: TLS handshake timeout", "no answer within 5 s"),
        ("E0730 memcache.go:265] x\nThe connection to the server localhost:8080 was refused - did you …?", "connection refused"),
        ("Unable to connect to the server: x509: certificate has expired", "its certificate is not accepted"),
        ("error: You must be logged in to the server (Unauthorized)", "it wants other credentials"),
        ("error: unknown flag: --minify", "unknown flag: --minify"),
        ("FooPool(host='localhost'): something new", ""),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_plainly_without_classes_and_addresses(message, said):
    assert reach.plainly(message) == said


@posix
@pytest.mark.parametrize(
    ("does", "reason"),
    [
        ("echo 'error: current-context must exist in order to minify' >&2; exit 1",
         "no Kubernetes cluster is chosen (kubectl has no current context)"),
        ("echo 'error: error loading config file \"/k3s.yaml\": permission denied' >&2; exit 1",
         "kubectl does not say which cluster it speaks to (permission denied)"),
        ("echo 'microk8s is not running. Use …'; exit 1", "kubectl does not say which cluster it speaks to "
         "(it prints no JSON object but 'microk8s is not running. Use …')"),
        ("echo null", "kubectl does not say which cluster it speaks to (it prints no JSON object but 'null')"),
        ("echo 'Insufficient permissions to access MicroK8s.' >&2; echo 'run: newgrp microk8s' >&2; exit 1",
         "kubectl does not say which cluster it speaks to (permission denied)"),
        ("echo '{\"current-context\": \"\", \"clusters\": null}'",
         "no Kubernetes cluster is chosen (kubectl has no current context)"),
    ],
)  # fmt: skip
def test_a_kubectl_that_names_no_cluster_is_quoted_rightly(path, forgetful, does, reason):
    stand_in(path, "kubectl", does)
    assert reach.probe("kubernetes").reason == reason


@posix
def test_a_cluster_that_does_not_answer_is_said_with_kubectls_own_reason(path, forgetful):
    config = {"current-context": "kind-a", "clusters": [{"cluster": {"server": "https://127.0.0.1:1"}}]}
    refused = "The connection to the server 127.0.0.1:1 was refused - did you specify the right host or port?"
    stand_in(
        path, "kubectl", f"[ \"$1\" = config ] && echo '{json.dumps(config)}' || {{ echo '{refused}' >&2; exit 1; }}"
    )
    assert reach.probe("kubernetes").reason == "no Kubernetes cluster answers to kubectl (connection refused)"


@posix
@pytest.mark.parametrize("there", ["nothing", "nobody", "no engine"])
def test_an_engine_out_of_reach_leaves_no_socket_open(tmp_path, path, forgetful, monkeypatch, there):
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/engine.sock")
    with socket.socket(socket.AF_UNIX) as listening, warnings.catch_warnings(record=True, action="always") as said:
        listening.settimeout(10)
        if there != "nothing":
            listening.bind(f"{tmp_path}/engine.sock")
        if there == "no engine":
            listening.listen()
            monkeypatch.setattr(reach, "SECONDS", 0.2)
        assert not reach.probe("docker").there
        gc.collect()
    assert [each.message for each in said if each.category is ResourceWarning] == []


def test_a_client_whose_engine_fails_is_closed(forgetful, monkeypatch):
    engine = Images(None)
    engine.version = lambda: {"message": "starting"}
    monkeypatch.setattr(reach, "docker_client", lambda timeout: engine)
    assert not reach.probe("docker").there and engine.closed


class Images:
    """A Docker client that knows one image, or is too busy to tell."""

    def __init__(self, digests: list[str] | None) -> None:
        self.images, self.digests, self.closed = self, digests, False

    def get(self, name: str) -> "Images":
        if self.digests is None:
            raise TimeoutError("read timed out")
        self.attrs = {"RepoDigests": self.digests}
        return self

    def close(self) -> None:
        self.closed = True


@pytest.mark.parametrize(("digests", "sentences"), [([], 1), (["python@sha256:1"], 0), (None, 0)])
def test_a_base_image_without_a_digest_is_told_and_a_busy_engine_loses_no_work(monkeypatch, digests, sentences):
    engine = Images(digests)
    monkeypatch.setattr(reach, "docker_client", lambda timeout: engine)
    said = reach.stand_ins(("docker", "kubernetes"))
    assert len(said) == sentences and engine.closed
    assert all("was made or loaded on this machine, not pulled" in each for each in said)
    assert reach.stand_ins(("kubernetes",)) == []
