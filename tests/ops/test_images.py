"""What goes into an image."""

import os
import stat

import pytest

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
