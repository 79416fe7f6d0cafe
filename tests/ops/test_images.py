"""What goes into an image."""

import os
import stat
from types import SimpleNamespace

import pytest
from docker.errors import APIError

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


def test_the_gateways_context_holds_its_code_and_nothing_else(tmp_path, monkeypatch):
    built = []
    monkeypatch.setattr(docker, "_build", lambda *given: built.append(given))
    docker.build_gateway(None, tmp_path / "context", "digits-gateway:test")
    (_, folder, recipe, tag), found = built[0], sorted((tmp_path / "context/course_lib").rglob("*.py"))
    assert (folder / recipe).exists() and tag == "digits-gateway:test"
    names = [
        "__init__.py",
        "services/__init__.py",
        "services/gateway.py",
        "services/process.py",
        "services/upstream.py",
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
