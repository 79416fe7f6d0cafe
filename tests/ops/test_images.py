"""What goes into an image."""

import io
import os
import stat
from types import SimpleNamespace

import pytest
from docker.errors import APIError, BuildError

from course_lib.ops import docker
from tests.ops.stand_ins import posix


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
    assert {each.name for each in (folder / "course_lib").iterdir()} == {"__init__.py", "pipeline.py", "serving"}
    for each in (folder, *folder.rglob("*")):
        assert stat.S_IMODE(each.stat().st_mode) == (0o755 if each.is_dir() else 0o644), each


def test_a_build_without_a_model_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="save the model there first"):
        docker.context(tmp_path / "context", tmp_path)


def test_the_proxys_context_holds_its_configuration_and_no_code_but_the_packages_name(tmp_path, monkeypatch):
    built = []
    monkeypatch.setattr(docker, "_build", lambda *given: built.append(given))
    docker.build_proxy(None, tmp_path / "context", "digits-proxy:test")
    (_, folder, recipe, tag) = built[0]
    assert (folder / recipe).exists() and (folder / "docker/nginx.conf").exists() and tag == "digits-proxy:test"
    assert [each.name for each in (folder / "course_lib").iterdir()] == ["__init__.py"]


def test_the_gateways_context_holds_its_code_and_nothing_else(tmp_path, monkeypatch):
    built = []
    monkeypatch.setattr(docker, "_build", lambda *given: built.append(given))
    docker.build_gateway(None, tmp_path / "context", "digits-gateway:test")
    (_, folder, recipe, tag), found = built[0], sorted((tmp_path / "context/course_lib").rglob("*.py"))
    assert (folder / recipe).exists() and tag == "digits-gateway:test"
    names = [
        "__init__.py",
        "services/__init__.py",
        "services/access.py",
        "services/answers.py",
        "services/breaker.py",
        "services/connection.py",
        "services/gateway.py",
        "services/process.py",
        "services/upstream.py",
        "serving/__init__.py",
        "serving/keys.py",
        "serving/telemetry.py",
        "serving/tracing.py",
    ]
    assert [each.relative_to(folder / "course_lib").as_posix() for each in found] == names
    assert not (folder / "models").exists()


class Images:
    """An engine's images: one name, held for a while by a container that runs."""

    def __init__(self, refusals: int) -> None:
        self.refusals, self.there = refusals, True

    def list(self, tag: str) -> list[SimpleNamespace]:
        return [SimpleNamespace(id="sha256:1")] if self.there else []

    def remove(self, tag: str, force: bool) -> None:
        assert (tag, force) == ("digits-service:lesson-17", True), "by id it would take other names along"
        if self.refusals:
            self.refusals -= 1
            raise APIError("conflict: a running container uses it")
        self.there = False


def test_an_image_goes_once_no_container_runs_it_any_more():
    assert docker.remove_image(SimpleNamespace(images=Images(refusals=1)), "digits-service:lesson-17") == []


def test_an_image_that_stays_in_use_is_told():
    client = SimpleNamespace(images=Images(refusals=99))
    assert docker.remove_image(client, "digits-service:lesson-17", seconds=0.1) == ["sha256:1"]


class Thing:
    """A container or an image of an engine; `busy`: how often it refuses to go."""

    def __init__(self, shelf: list, id: str, labels: dict[str, str], busy: int = 0) -> None:
        self.shelf, self.id, self.labels, self.busy = shelf, id, labels, busy
        shelf.append(self)

    def remove(self, force: bool = False) -> None:
        if self.busy:
            self.busy -= 1
            raise APIError("conflict: removal is already in progress")
        self.shelf.remove(self)


class Network(Thing):
    """The one thing that an engine has no force for."""

    def remove(self) -> None:
        super().remove()


class Shelf(list):
    """What an engine lists, by label."""

    def list(self, name: str | None = None, all: bool = False, filters: dict | None = None) -> list[Thing]:
        wanted = {tuple(each.split("=", 1)) for each in (filters or {}).get("label", [])}
        return [] if name else [each for each in self if wanted <= set(each.labels.items())]


def engine() -> SimpleNamespace:
    return SimpleNamespace(containers=Shelf(), images=Shelf(), networks=Shelf(), volumes=Shelf())


def test_what_bears_the_lessons_label_goes_and_what_others_made_stays():
    client = engine()
    ours, theirs = {"course-lesson": "16-anna"}, {"course-lesson": "16-bob"}
    for kind, shelf in vars(client).items():
        make = Network if kind == "networks" else Thing
        make(shelf, "ours", {**ours, "more": "1"}, busy=1)
        make(shelf, "theirs", theirs)
        make(shelf, "nobody's", {})
    assert docker.clear(client, ours) == []
    for shelf in vars(client).values():
        assert [each.id for each in shelf] == ["theirs", "nobody's"]
    Thing(client.images, "stuck", ours, busy=999)
    assert docker.clear(client, ours, seconds=0.2) == ["stuck"], "what stays is told"


def test_clearing_without_a_label_would_clear_everything_and_is_refused():
    client = engine()
    Thing(client.containers, "theirs", {})
    with pytest.raises(ValueError, match="expected the labels of what the lesson made"):
        docker.clear(client, {})
    assert len(client.containers) == 1


@pytest.mark.parametrize("there", [True, False])
def test_the_namespace_goes_first_where_a_cluster_is_within_reach(monkeypatch, there):
    went = []
    monkeypatch.setattr(docker, "probe", lambda need: SimpleNamespace(there=there))
    monkeypatch.setattr(docker, "remove_namespace", lambda name: went.append(name) or [f"namespace/{name}"])
    monkeypatch.setattr(docker, "remove_image", lambda client, tag, seconds: went.append(tag) or [])
    client = engine()
    left = docker.clear(client, {"course-lesson": "17-anna"}, "i:17-anna", namespace="digits-17-anna")
    assert (went, left) == (
        (["digits-17-anna", "i:17-anna"], ["namespace/digits-17-anna"]) if there else (["i:17-anna"], [])
    )


class Builder:
    """Fails as often as it has complaints, then builds what it can read."""

    def __init__(self, *complaints: str) -> None:
        self.complaints, self.read = list(complaints), []

    def build(self, fileobj: io.BytesIO, **settings: object) -> tuple[str, list]:
        self.read.append(fileobj.read())
        if self.complaints:
            raise BuildError(self.complaints.pop(0), [])
        return "image", []


def test_a_build_that_misses_an_image_that_somebody_else_just_removed_is_tried_once_more():
    gone = 'unable to find image "sha256:55ed"'
    images = Builder(gone)
    assert docker.build_image(SimpleNamespace(images=images), fileobj=io.BytesIO(b"FROM a"), tag="i")[0] == "image"
    assert images.read == [b"FROM a"] * 2
    for complaints in ((gone, gone), ("no space left on device",)):
        with pytest.raises(BuildError, match=complaints[-1]):
            docker.build_image(SimpleNamespace(images=Builder(*complaints)), fileobj=io.BytesIO(b"FROM a"), tag="i")


@posix
def test_files_are_built_from_a_folder_that_holds_them_alone_and_that_everybody_may_read(tmp_path):
    folder, built = tmp_path / "context", []

    def build(**settings):
        names = sorted(str(each.relative_to(folder)) for each in folder.rglob("*"))
        built.append(
            (settings, names, {stat.S_IMODE(each.stat().st_mode) for each in folder.rglob("*") if each.is_file()})
        )
        return "an image", [{"stream": "Step 1/1\n"}, {"aux": {}}, {"stream": "done\n"}]

    client = SimpleNamespace(images=SimpleNamespace(build=build))
    before = os.umask(0o077)
    try:
        docker.build_files(client, folder, {"Dockerfile": "FROM scratch", "old.py": ""}, tag="a:1")
        made = docker.build_files(client, folder, {"Dockerfile": "FROM scratch", "app/app.py": ""}, tag="a:1")
    finally:
        os.umask(before)
    assert made == ("an image", "Step 1/1\ndone\n")
    settings, names, rights = built[-1]
    assert names == ["Dockerfile", "app", "app/app.py"] and rights == {0o644}
    assert settings == {"path": str(folder), "rm": True, "forcerm": True, "tag": "a:1"}


def test_a_container_goes_also_when_what_used_it_fails():
    removed = []
    container = SimpleNamespace(remove=lambda force: removed.append(force))
    client = SimpleNamespace(containers=SimpleNamespace(run=lambda *_, **__: container))
    with pytest.raises(KeyError), docker.running(client, "an image", labels={"a": "b"}):
        raise KeyError
    assert removed == [True]


def test_a_word_that_is_not_printed_is_not_waited_for_without_end():
    container = SimpleNamespace(logs=lambda: b"starts\n")
    docker.wait_until_printed(container, "starts", seconds=0)
    with pytest.raises(TimeoutError, match="'listens' was not printed within 0 s; the log ends:\nstarts"):
        docker.wait_until_printed(container, "listens", seconds=0)


@posix
def test_a_command_that_fails_is_told_with_its_complaint_and_a_missing_one_is_lacking(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert docker.lacks("buildx")
    (tmp_path / "docker").write_text(
        '#!/bin/sh\n[ "$1" = buildx ] && echo "$DOCKER_BUILDKIT $*" && exit 0\necho no >&2; exit 1\n'
    )
    (tmp_path / "docker").chmod(0o755)
    assert not docker.lacks("buildx") and docker.lacks("compose")
    assert docker.typed("buildx", 1) == "1 buildx 1\n"
    with pytest.raises(RuntimeError, match="docker compose up … failed; it says:\nno"):
        docker.typed("compose", "up", "--wait")
