"""What goes into an image."""

import os
import stat

import pytest

from course_lib.ops import docker
from tests.deploy.stand_ins import posix


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
