"""What stands between the lessons and Docker, Kubernetes, the network: with stand-ins for what may not be here."""

import contextlib
import json
import os
import re
import shlex
import signal
import stat
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from matplotlib import pyplot

from course_lib.idioms import pictures
from course_lib.ops import docker, http, kubernetes, load, reach, service
from course_lib.ops.kubernetes import KubectlFailed
from course_lib.ops.reach import Found

CHECKOUT = Path(__file__).resolve().parent.parent
posix = pytest.mark.skipif(os.name == "nt", reason="stands shell scripts in for programs")


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder on PATH, and empty."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


def stand_in(folder: Path, program: str, does: str) -> None:
    """A program of that name that notes its arguments in PROGRAM.asked, and then does only this."""
    note = f'echo "$@" >> {shlex.quote(str(folder / program))}.asked'
    (folder / program).write_text(f"#!/bin/sh\n{note}\n{does}\n")
    (folder / program).chmod(0o755)


def asked(folder: Path, program: str) -> list[str]:
    return (folder / f"{program}.asked").read_text().splitlines()


class Answers(BaseHTTPRequestHandler):
    """Gives what `server.plan` holds, one status after the other, the last for ever; 0 hangs up."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        plan = self.server.plan
        with self.server.lock:
            status = plan.pop(0) if len(plan) > 1 else plan[0]
        if status:
            self.send_response(status)
            self.send_header("X-Served-By", "pod-a")
            self.end_headers()
            self.wfile.write(b'{"fine": true}')

    do_GET = do_POST

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def served():
    """`served(200, 500)` starts a server that gives these statuses; returns its port."""
    with contextlib.ExitStack() as ending:

        def begin(*plan: int) -> int:
            server = ending.enter_context(ThreadingHTTPServer(("127.0.0.1", 0), Answers))
            server.plan, server.lock = list(plan), threading.Lock()
            threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
            ending.callback(server.shutdown)
            return server.server_port

        yield begin


# Requests


def test_the_local_service_is_asked_directly_whatever_proxy_is_set(served, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    url = f"http://127.0.0.1:{served(200)}"
    assert http.answers(url)
    assert http.ask(url, {"instances": []}) == {"fine": True}


def test_a_refusal_comes_with_its_status_and_words(served):
    with pytest.raises(RuntimeError, match='^400 from /: {"fine": true}$'):
        http.ask(f"http://127.0.0.1:{served(400)}", {})
    assert not http.answers(f"http://127.0.0.1:{served(503)}")


# The server as a process

KERNEL = """
import sys, time
from pathlib import Path
from course_lib.ops.http import answers
from course_lib.ops.service import start_service
running = start_service(Path("models"), Path(sys.argv[1]))
try:
    print("ready", flush=True)
    time.sleep(60)
except KeyboardInterrupt:
    time.sleep(0.5)  # for a server that takes the signal to end
    print("answers" if answers(running.url + "/v2/health/ready") else "gone", flush=True)
running.stop()
print(running.process.returncode, flush=True)
"""


@posix
def test_interrupting_a_cell_leaves_the_server_running(tmp_path):
    command = [sys.executable, "-c", KERNEL, str(tmp_path / "log")]
    kernel = subprocess.Popen(command, cwd=CHECKOUT, stdout=subprocess.PIPE, text=True, start_new_session=True)
    with kernel:
        assert kernel.stdout.readline() == "ready\n"
        os.killpg(kernel.pid, signal.SIGINT)  # as Jupyter does
        assert kernel.stdout.read().split() == ["answers", "0"]


@posix
def test_a_server_that_does_not_end_is_killed(monkeypatch):
    monkeypatch.setattr(service, "STOP_SECONDS", 0.1)
    deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); signal.pause()"
    with subprocess.Popen([sys.executable, "-c", deaf], stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        service.Service("", process).stop()
        assert process.poll() == -signal.SIGKILL


def test_a_server_that_cannot_start_says_why(tmp_path):
    with pytest.raises(RuntimeError, match="holds no NAME/VERSION/model.onnx"):
        service.start_service(tmp_path, tmp_path / "log")


# What goes into an image


@posix
def test_everybody_may_read_the_build_context_whatever_the_umask(tmp_path):
    model = tmp_path / "models/digits_cnn/1/model.onnx"
    before = os.umask(0o077)
    try:
        model.parent.mkdir(parents=True)
        model.write_bytes(b"a model")
        folder = docker.context(tmp_path / "context", tmp_path / "models")
    finally:
        os.umask(before)
    assert (folder / "models/digits_cnn/1/model.onnx").read_bytes() == b"a model"
    assert (folder / "course_lib/serving/__main__.py").exists()
    for each in (folder, *folder.rglob("*")):
        assert stat.S_IMODE(each.stat().st_mode) == (0o755 if each.is_dir() else 0o644), each


def test_a_build_without_a_model_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="save the model there first"):
        docker.context(tmp_path / "context", tmp_path)


# kubectl


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


# What is within reach


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


# The load client, and the picture of what it saw


def test_the_load_client_counts_answers_by_pod_and_failures_by_reason(served):
    port = served(200, 500, 0, 503, 500, 200)
    found = load.run("127.0.0.1", port, "/predict", 0.7, 2, "{}")
    assert found["failed"].pop("500") == 2 and found["failed"].pop("503") == 1
    assert sum(found["failed"].values()) == 1  # the one that was hung up on, under the name of what broke
    assert list(found["by_half_second"]) == ["pod-a"] and len(found["by_half_second"]["pod-a"]) == 2
    assert sum(found["by_half_second"]["pod-a"]) == found["answered"] > 0
    assert 0 < found["p50_ms"] <= found["p99_ms"]


def test_the_load_client_says_so_where_nobody_answers():
    found = load.run("127.0.0.1", 9, "/predict", 0.1, 1, "{}")
    assert found["answered"] == 0 and found["failed"]["ConnectionRefusedError"] > 0
    assert (found["by_half_second"], found["p50_ms"], found["p99_ms"]) == ({}, None, None)


def test_the_load_client_runs_from_its_text_alone(served):
    client = [
        sys.executable,
        "-I",
        "-c",
        Path(load.__file__).read_text(),
        "127.0.0.1",
        str(served(200)),
        "/",
        "0.1",
        "1",
    ]
    said = subprocess.run([*client, "{}"], capture_output=True, text=True, check=True, timeout=60)
    first, last = said.stdout.splitlines()
    assert first == "begin" and json.loads(last)["answered"] > 0


def test_the_picture_is_drawn_and_says_in_words_what_it_shows(monkeypatch):
    drawn = {}
    monkeypatch.setattr(pictures.show, "finding", lambda title, alt: drawn.update(title=title, alt=alt))
    counts = {"digits-abcde": [4, 5, 0], "digits-fghij": [0, 1, 6]}
    outcome = {"by_half_second": counts, "deleted": "digits-abcde", "deleted_after_s": 0.6, "failed": {}}
    pictures.answers_by_pod(outcome, "One takes over")
    pyplot.close()
    assert drawn["title"] == "One takes over"
    assert "over 1.5 seconds" in drawn["alt"] and "digits-abcde (deleted): 9; digits-fghij: 7" in drawn["alt"]


def test_without_an_answer_there_is_no_picture_and_a_reason():
    outcome = {"by_half_second": {}, "deleted": "a", "deleted_after_s": 3.0, "failed": {"ConnectionRefusedError": 12}}
    with pytest.raises(ValueError, match=r"expected answers by pod, got none \(failed: 12 × ConnectionRefusedError\)"):
        pictures.answers_by_pod(outcome, "Nothing")
