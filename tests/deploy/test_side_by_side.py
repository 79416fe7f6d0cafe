"""Two copies of the course on one real engine and one real cluster: neither touches what the other made."""

import contextlib
import json
import os
import secrets
import subprocess
import sys
import time

import pytest

from course_lib.idioms import begin, claim_gone, live, own
from course_lib.ops import docker, kubernetes
from course_lib.ops.kubernetes import NotOurs, kubectl
from course_lib.ops.reach import BASE_IMAGE, probe
from course_lib.places import CHECKOUT
from tests.deploy.tree import absent

LESSON = """
import io, json, sys
from course_lib.idioms import begin, own
from course_lib.ops import docker, kubernetes
begin("17")
OURS, IMAGE, NAMESPACE = {"course-lesson": own("17")}, own("digits-test:beside"), own("digits-test")
client = docker.docker_client()
docker.clear(client, OURS, IMAGE, namespace=NAMESPACE)
docker.build_image(client, fileobj=io.BytesIO(b"FROM BASE\\nRUN touch /made"), tag=IMAGE, labels=OURS, rm=True, forcerm=True)
container = client.containers.run(IMAGE, ["sleep", "600"], detach=True, labels=OURS)
kubernetes.fresh_namespace(NAMESPACE)
print(json.dumps([container.id, IMAGE, NAMESPACE]), flush=True)
sys.stdin.readline()
print(json.dumps(docker.clear(client, OURS, IMAGE, namespace=NAMESPACE)), flush=True)
""".replace("BASE", BASE_IMAGE)


@pytest.fixture
def both() -> None:
    """An engine and a cluster. Skips where one is not within reach."""
    for need in ("docker", "kubernetes"):
        if not probe(need).there:
            absent(probe(need).reason)


@pytest.fixture
def kernel(both):
    """`kernel(name)` starts another kernel of the learner `name` that runs a lesson; returns it."""
    with contextlib.ExitStack() as started:

        def start(name: str) -> subprocess.Popen:
            process = subprocess.Popen(
                [sys.executable, "-c", LESSON],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env={**os.environ, "PYTHONPATH": str(CHECKOUT), "COURSE_NAME": name},
            )
            started.enter_context(process)
            started.callback(process.kill)
            started.callback(ended, process)
            return process

        yield start


def ended(process: subprocess.Popen) -> None:
    """At the end of its standard input a kernel that lives cleans up and ends."""
    if process.poll() is None:
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            process.stdin.close()
            process.wait(120)


def told(process: subprocess.Popen) -> list[str]:
    return json.loads(process.stdout.readline())


def end(process: subprocess.Popen) -> list[str]:
    """Lets a kernel clean up, and waits for it; returns what it has left."""
    process.stdin.write("\n")
    process.stdin.flush()
    return told(process)


def there(made: list[str]) -> list[bool]:
    """Whether a container runs, an image has its name, a namespace is not about to go."""
    client, (container, image, namespace) = docker.docker_client(), made
    phase = kubectl("get", "namespace", namespace, "--ignore-not-found", "-o", "jsonpath={.status.phase}")
    running = [each.id for each in client.containers.list()]
    return [container in running, bool(client.images.list(image)), phase == "Active"]


@pytest.mark.parametrize("same", [False, True], ids=["two learners", "one learner twice"])
def test_two_kernels_of_one_lesson_do_not_touch_each_others_things(kernel, same):
    name = f"test-{secrets.token_hex(3)}x"
    first, second = kernel(name), kernel(name if same else f"{name}y")
    one, other = told(first), told(second)
    assert not set(one) & set(other)
    assert there(one) == there(other) == [True] * 3
    assert end(first) == []
    assert (there(one), there(other)) == ([False] * 3, [True] * 3)
    assert end(second) == []
    assert there(other) == [False] * 3


def test_what_a_killed_kernel_left_goes_with_the_next_run_of_the_same_learner(kernel):
    name = f"test-{secrets.token_hex(3)}x"
    first = kernel(name)
    one = told(first)
    first.kill()
    first.wait()
    assert there(one) == [True] * 3
    second = kernel(name)
    other = told(second)
    assert one[1:] == other[1:] and not there(one)[0], "the same names; the old container is gone"
    assert end(second) == [] and there(other) == [False] * 3


def test_a_namespace_that_is_not_labelled_as_ones_own_is_left_alone(both, monkeypatch):
    name = f"digits-test-{secrets.token_hex(3)}x"
    kubectl("create", "namespace", name)
    try:
        for act in (kubernetes.remove_namespace, kubernetes.fresh_namespace):
            with pytest.raises(NotOurs, match=f"got none.*kubectl delete namespace {name}"):
                act(name)
        kubectl("label", "namespace", name, "course-owner=bob")
        monkeypatch.setenv("COURSE_NAME", "anna")
        with pytest.raises(NotOurs, match="expected the label course-owner=anna on .*, got bob"):
            kubernetes.remove_namespace(name)
        monkeypatch.setenv("COURSE_NAME", "bob")
        assert kubernetes.remove_namespace(name) == []
    finally:
        kubectl("delete", "namespace", name, "--ignore-not-found", "--wait=false")


def test_what_stays_when_an_engine_stops_in_mid_lesson_is_told_and_goes_with_the_next_run(both, monkeypatch, capsys):
    begin("16")
    monkeypatch.setenv("COURSE_NAME", f"test-{secrets.token_hex(3)}x")
    ours, engine = {"course-lesson": own("16")}, os.environ.get("DOCKER_HOST")

    @live("docker")
    def run():
        client = docker.docker_client()
        left = docker.clear(client, ours)
        started = client.containers.run(BASE_IMAGE, ["sleep", "600"], detach=True, labels=ours)
        return {"left": left, "id": started.id}

    @live("docker")
    def remove():
        return docker.clear(docker.docker_client(), ours)

    monkeypatch.setenv("COURSE_RECORD", "1")
    assert remove() == []
    id = run()["id"]
    monkeypatch.delenv("COURSE_RECORD")
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    capsys.readouterr()
    began = time.monotonic()
    claim_gone("nothing is left", remove())
    assert time.monotonic() - began < 15
    said = capsys.readouterr().out
    assert "stopped in the middle of the lesson" in said and "Nothing was removed here" in said and "✓" not in said
    if engine:
        monkeypatch.setenv("DOCKER_HOST", engine)
    else:
        monkeypatch.delenv("DOCKER_HOST")
    assert [each.id for each in docker.docker_client().containers.list()].count(id) == 1, "it stayed, as was said"
    assert run()["id"] != id
    claim_gone("nothing is left", remove())
    assert "✓ nothing is left" in capsys.readouterr().out
    assert docker.docker_client().containers.list(all=True, filters={"label": f"course-lesson={own('16')}"}) == []
