"""A clone holds the committed bytes, also where git is set to convert line ends, as it often is on Windows."""

import shutil
import subprocess
from pathlib import Path

import pytest

from course_lib import models
from course_lib.places import CHECKOUT

pytestmark = pytest.mark.skipif(not shutil.which("git"), reason="git makes the clone")

SAMPLES = ("course", "postBuild", ".ci/run", "pyproject.toml", "docker/service.Dockerfile", "README.md", "models",
           "notebooks/00_welcome.ipynb")  # fmt: skip


def git(*words: str | Path) -> None:
    subprocess.run(["git", "-c", "user.name=t", "-c", "user.email=t@t", *words], check=True, capture_output=True)


def clone(tmp_path: Path, *parts: str) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """Commits these parts of the checkout and clones them with core.autocrlf=true; returns both trees."""
    origin, copy = tmp_path / "origin", tmp_path / "copy"
    for part in parts:
        source, target = CHECKOUT / part, origin / part
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(source, target) if source.is_dir() else shutil.copy(source, target)
    (origin / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    git("init", "-q", origin)
    git("-C", origin, "add", ".")
    git("-C", origin, "commit", "-qm", "all")
    git("clone", "-q", "-c", "core.autocrlf=true", origin, copy)
    return tree(origin), tree(copy)


def tree(folder: Path) -> dict[str, bytes]:
    files = [each for each in folder.rglob("*") if each.is_file() and ".git" not in each.relative_to(folder).parts]
    return {each.relative_to(folder).as_posix(): each.read_bytes() for each in files}


def test_a_clone_that_converts_line_ends_holds_the_same_bytes(tmp_path, monkeypatch):
    committed, cloned = clone(tmp_path, ".gitattributes", *SAMPLES)
    assert cloned == committed
    monkeypatch.setattr(models, "MODELS", tmp_path / "copy/models")
    assert models.problems() == []


def test_without_the_attributes_it_would_not(tmp_path):
    committed, cloned = clone(tmp_path, *SAMPLES)
    assert {name for name in committed if cloned[name] != committed[name]} >= {
        "course",
        "models/digits_pipeline/1/contract.json",
    }


def test_a_converted_model_comes_back_as_the_message_says(tmp_path):
    committed, _ = clone(tmp_path, ".gitattributes", "models")
    contract = tmp_path / "copy/models/digits_pipeline/1/contract.json"
    contract.write_bytes(contract.read_bytes().replace(b"\n", b"\r\n"))
    contract.unlink()
    git("-C", tmp_path / "copy", "checkout", "models")
    assert contract.read_bytes() == committed["models/digits_pipeline/1/contract.json"]
