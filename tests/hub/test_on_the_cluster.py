"""JupyterHub whose learners' servers are pods: a real hub with no more rights than teaching/hub/kubernetes gives it.

The pods run a stand-in for the workshop's image, which takes minutes and 3 GB: `stand_in.Dockerfile`.
"""

import base64
import contextlib
import json
import secrets
import shutil
import signal
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml

from course_lib.ops import docker
from course_lib.ops.kubernetes import KubectlFailed, kubectl, load_image
from course_lib.ops.reach import probe
from course_lib.places import CHECKOUT
from tests.deploy.tree import absent
from tests.hub import rooms
from tests.hub.learner import Learner, solve
from tools.hub import learners, settings

KUBERNETES = CHECKOUT / "teaching/hub/kubernetes"
PASSWORD = "a long password"
END = secrets.token_hex(3) + "x"
SPACE, ANA, BEN, EVA = (f"{name}-{END}" for name in ("course-hub", "ana", "ben", "eva"))


@pytest.fixture(scope="module")
def address() -> str:
    """The node's address, which is this machine's: so pods reach the hub here, and its proxy reaches pods."""
    rooms.node()
    if not (CHECKOUT / ".git").exists() or not shutil.which("git"):
        pytest.skip("the edition needs a clone")
    for need in ("docker", "kubernetes"):
        if not probe(need).there:
            absent(probe(need).reason)
    node = json.loads(kubectl("get", "nodes", "-o", "json"))["items"][0]
    (found,) = [each["address"] for each in node["status"]["addresses"] if each["type"] == "InternalIP"]
    with socket.socket() as tried:
        try:
            tried.bind((found, 0))
        except OSError:
            absent(f"the cluster's node, {found}, is not this machine: a hub that runs here does not reach its pods")
    return found


@pytest.fixture(scope="module")
def image(address: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """teaching/hub/kubernetes/Dockerfile, built on the stand-in."""
    client, folder = docker.docker_client(), tmp_path_factory.mktemp("stand-in")
    base, tag = f"course-workshop:hub-{END}", f"course-hub:hub-{END}"
    for each in ("constraints.txt", "syllabus.toml", "course_lib", "exercises/02_loss_functions.ipynb"):
        source, target = CHECKOUT / each, folder / each
        target.parent.mkdir(exist_ok=True)
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(source, target, ignore=ignored) if source.is_dir() else shutil.copy(source, target)
    shutil.copy(CHECKOUT / "tests/hub/stand_in.Dockerfile", folder / "Dockerfile")
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    try:
        docker.build_image(client, path=str(folder), tag=base, rm=True, forcerm=True)
        docker.build_image(client, path=str(KUBERNETES), tag=tag, buildargs={"BASE_IMAGE": base}, rm=True, forcerm=True)
        load_image(tag)
        yield tag
    finally:
        for each in (tag, base):
            docker.remove_image(client, each, 90)


@pytest.fixture(scope="module")
def room(address: str, image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[rooms.Room]:
    """The hub at work, as the ServiceAccount of hub.yaml; all that it needs on the cluster goes in the end."""
    folder = tmp_path_factory.mktemp("cluster")
    cluster = {"image": image, "hub": address, "namespace": SPACE, "guarantee_mib": 128, "storage": "1Gi"}
    volumes = [] if default_storage() else local_volumes([ANA, BEN, EVA], Path("/var/tmp") / SPACE)
    if volumes:
        cluster["storage_class"] = SPACE
    made = rooms.Room(folder / "room", learners=[ANA, BEN], instructors=[EVA], memory_mib=1024, cluster=cluster)
    described = (KUBERNETES / "hub.yaml").read_text(encoding="utf-8").replace("course-hub", SPACE)
    spaces = learners.everyone(settings.read(made.folder))
    objects = {
        "apiVersion": "v1",
        "kind": "List",
        "items": [*yaml.safe_load_all(described), *spaces["items"], *volumes],
    }
    try:
        kubectl("apply", "-f", "-", stdin=json.dumps(objects))
        made.more = {"KUBECONFIG": str(as_the_hub(folder / "kubeconfig"))}
        yield made.start()
    finally:
        made.clear()
        kubectl("delete", "pods", "--all", "-n", SPACE, "--grace-period=0", "--force")
        kubectl("delete", "--ignore-not-found", "-f", "-", stdin=json.dumps(objects))
        shutil.rmtree(Path("/var/tmp") / SPACE, ignore_errors=True)
        left = kubectl("get", "namespaces,persistentvolumes", "-o", "name").split()
        assert [each for each in left if END in each] == []


def default_storage() -> bool:
    """Whether the cluster makes volumes by itself."""
    classes = json.loads(kubectl("get", "storageclasses", "-o", "json"))["items"]
    key = "storageclass.kubernetes.io/is-default-class"
    return any(each["metadata"].get("annotations", {}).get(key) == "true" for each in classes)


def local_volumes(names: list[str], folder: Path) -> list[dict]:
    """Volumes in folders of this machine, where the cluster makes none."""
    made = []
    for name in names:
        (folder / name).mkdir(parents=True)
        (folder / name).chmod(0o777)
        spec = {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": SPACE,
                "hostPath": {"path": str(folder / name)}}  # fmt: skip
        made.append(
            {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": f"course-{name}"}, "spec": spec}
        )
    return made


def as_the_hub(path: Path) -> Path:
    """A kubeconfig with the token of hub.yaml's ServiceAccount."""
    token = kubectl("create", "token", "hub", "-n", SPACE, "--duration=1h").strip()
    config = json.loads(kubectl("config", "view", "--raw", "--minify", "-o", "json"))
    (cluster,) = config["clusters"]
    if file := cluster["cluster"].pop("certificate-authority", None):
        cluster["cluster"]["certificate-authority-data"] = base64.b64encode(Path(file).read_bytes()).decode()
    config["users"] = [{"name": config["users"][0]["name"], "user": {"token": token}}]
    path.write_text(json.dumps(config), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def people(room: rooms.Room) -> Iterator[tuple[Learner, Learner]]:
    """The two learners, with a pod each."""
    both = Learner(room.url, ANA), Learner(room.url, BEN)
    assert [each.login(PASSWORD) for each in both] == ["", ""]
    with ThreadPoolExecutor() as threads:
        assert list(threads.map(Learner.start, both)) == ["", ""], room.said[-3000:]
    yield both
    for each in both:
        each.close()


MEMORY = """
from pathlib import Path
two, one = (Path("/sys/fs/cgroup", each) for each in ("memory.max", "memory/memory.limit_in_bytes"))
print((two if two.exists() else one).read_text())
"""
"""What the kernel allows the pod, in bytes, under cgroups of version 2 or 1."""


def pod(name: str) -> dict:
    return json.loads(kubectl("get", "pod", f"course-{name}", "-n", SPACE, "-o", "json"))


def test_each_runs_a_notebook_in_a_pod_of_their_own_within_its_limits(people):
    for each in people:
        kernel = solve(each)
        told = kernel.run("import os, course_lib; print(course_lib.__file__, os.environ['COURSE_NAME'], os.getuid())")
        assert told.split() == ["/home/learner/course/course_lib/__init__.py", each.name, "10001"]
        assert int(kernel.run(MEMORY)) == 1024 * 2**20
        (container,) = pod(each.name)["spec"]["containers"]
        assert container["resources"]["limits"]["memory"] == str(1024 * 2**20)
        assert container["resources"]["requests"]["memory"] == str(128 * 2**20)
    assert people[1].ask("GET", f"/user/{ANA}/api/contents").status_code == 403


def test_a_learner_rules_one_namespace_within_a_quota_and_no_other(people):
    kernel = people[0].kernel("exercises/02_loss_functions.ipynb")

    def typed(words: str) -> str:
        return kernel.run(f"!kubectl {words} 2>&1").strip()

    assert typed("create configmap mine --from-literal=a=b") == "configmap/mine created"
    assert json.loads(kubectl("get", "configmap", "mine", "-n", f"course-{ANA}", "-o", "json"))["data"] == {"a": "b"}
    assert typed("auth can-i create deployments.apps") == "yes"
    for other in (f"create deployments.apps -n course-{BEN}", f"get pods -n {SPACE}", "get secrets -n kube-system",
                  "create namespaces", "create rolebindings"):  # fmt: skip
        assert typed(f"auth can-i {other} 2>/dev/null").splitlines()[-1] == "no", other
    assert "exceeded quota" in typed("create service nodeport door --tcp=80")


def test_the_folder_is_kept_when_the_pod_and_when_the_hub_start_again(room, people):
    ana, _ = people
    room.stop(signal.SIGKILL)
    room.start()
    assert ana.running and pod(ANA)["status"]["phase"] == "Running", "a hub that comes back finds the pods"
    ana.stop()
    with pytest.raises(KubectlFailed, match="NotFound|not found"):
        pod(ANA)
    room.stop()
    room.start()
    again = Learner(room.url, ANA)
    assert again.login(PASSWORD) == "" and again.start() == ""
    with contextlib.closing(again):
        kernel = again.kernel("exercises/02_loss_functions.ipynb")
        assert kernel.run("from course_lib.idioms import store; print(store.solved())").startswith("{'02.1'")
