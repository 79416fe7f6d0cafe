"""The tests of `./course update` run with git as it comes, whatever this machine's settings are."""

import os
import shutil
from pathlib import Path

import pytest

from tests.update.clones import Course


@pytest.fixture(scope="session")
def first_version(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Upstream and clone, made once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
        patch.setenv("GIT_CONFIG_NOSYSTEM", "1")
        folder = tmp_path_factory.mktemp("first")
        Course(folder).publish()
    return folder


@pytest.fixture
def course(tmp_path: Path, first_version: Path, monkeypatch: pytest.MonkeyPatch) -> Course:
    if not shutil.which("git"):
        pytest.skip("git makes the clone")
    if os.name == "nt":
        pytest.skip("stands shell scripts in for git")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    folder = tmp_path / "on disk"
    shutil.copytree(first_version, folder, symlinks=True)
    course = Course(folder)
    course.git("remote", "set-url", "origin", course.upstream.as_uri())
    return course
