"""What is within reach: an engine, a cluster of one's own, and no other."""

import json
from pathlib import Path

import pytest

from course_lib.ops import reach
from course_lib.ops.reach import Found
from tests.ops.stand_ins import asked, posix, stand_in


@pytest.fixture
def forgetful(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reach, "_there", {})
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
    assert all("has no registry digest here: it was made or loaded on this machine" in each for each in said)
    assert reach.stand_ins(("kubernetes",)) == []
