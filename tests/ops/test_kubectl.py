"""What the lessons ask of kubectl, with a stand-in for it."""

import json
import re
import shlex
import time
from pathlib import Path

import pytest

from course_lib.ops import kubernetes
from course_lib.ops.kubernetes import KubectlFailed
from tests.ops.stand_ins import asked, posix, stand_in


@posix
def test_port_forward_gives_the_address_and_survives_what_kubectl_prints(path, tmp_path):
    printed = tmp_path / "printed"
    stand_in(path, "kubectl", f"""echo 'Forwarding from 127.0.0.1:41235 -> 8501'
i=0; while [ $i -lt 9000 ]; do echo 'Handling connection for 41235'; i=$((i+1)); done
echo all > {shlex.quote(str(printed))}; exec /bin/sleep 60""")  # fmt: skip
    with kubernetes.port_forward("digits-local", "service/digits", 80) as url:
        assert url == "http://127.0.0.1:41235"
        until = time.monotonic() + 20
        while not printed.exists() and time.monotonic() < until:
            time.sleep(0.02)
        assert printed.exists(), "250 kB are more than a pipe holds: kubectl waits for somebody to read"
    assert asked(path, "kubectl") == ["port-forward -n digits-local service/digits :80"]


@posix
@pytest.mark.parametrize(
    ("does", "expected"),
    [
        ("echo 'error: services \"digits\" not found' >&2; exit 1", 'it ended; it said: error: services "digits" not'),
        ("exit 1", "it ended; it said: nothing"),
        ("echo waiting; exec /bin/sleep 60", "no connection within 0.3 s; it said: waiting"),
    ],
)
def test_port_forward_gives_up_and_says_why(path, does, expected):
    stand_in(path, "kubectl", does)
    seconds = 0.3 if "sleep" in does else 20
    with pytest.raises(KubectlFailed, match=re.escape(expected)):
        with kubernetes.port_forward("digits-local", "service/digits", 80, seconds):
            raise AssertionError("there is nothing to reach")


def cluster(path: Path, context: str, labels: dict[str, str] | None = None, runtime: str = "containerd://2.0") -> None:
    """A kubectl that tells of a cluster with one node."""
    nodes = {"items": [{"metadata": {"labels": labels or {}},
                        "status": {"nodeInfo": {"containerRuntimeVersion": runtime}}}]}  # fmt: skip
    stand_in(path, "kubectl", f"[ \"$1\" = config ] && echo {context} || echo '{json.dumps(nodes)}'")


@posix
def test_an_image_is_loaded_by_what_made_the_cluster(path):
    stand_in(path, "kind", "")
    stand_in(path, "minikube", "")
    cluster(path, "kind-course")
    assert "kind load docker-image digits:1" in kubernetes.load_image("digits:1")
    assert asked(path, "kind") == ["load docker-image digits:1 --name course"]
    cluster(path, "mine", {"minikube.k8s.io/name": "mine"})
    assert "minikube image load digits:1" in kubernetes.load_image("digits:1")
    assert asked(path, "minikube") == ["image load digits:1 --profile mine"]


@posix
@pytest.mark.parametrize(("context", "runtime"), [("docker-desktop", "containerd://2.0"), ("mine", "docker://28.1")])
def test_a_cluster_on_this_engine_has_the_image_already(path, context, runtime):
    cluster(path, context, runtime=runtime)
    assert "has the image already" in kubernetes.load_image("digits:1")


@posix
def test_where_an_image_cannot_be_loaded_it_says_so(path):
    cluster(path, "far-away")
    with pytest.raises(
        RuntimeError, match="'far-away' can only pull images from a registry, and digits:1 lies on this"
    ):
        kubernetes.load_image("digits:1")
    cluster(path, "kind-course")
    with pytest.raises(RuntimeError, match="made by kind, but the command kind is not on the PATH"):
        kubernetes.load_image("digits:1")
    stand_in(path, "kind", "echo 'no nodes found for cluster \"course\"' >&2; exit 1")
    with pytest.raises(RuntimeError, match="kind load docker-image .*: no nodes found"):
        kubernetes.load_image("digits:1")
    stand_in(path, "kubectl", "echo 'error: current-context is not set' >&2; exit 1")
    with pytest.raises(KubectlFailed, match="kubectl config current-context: error: current-context is not set"):
        kubernetes.load_image("digits:1")
