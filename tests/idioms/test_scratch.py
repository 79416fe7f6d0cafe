"""Scratch folders: a kernel's own while it lives, gone soon after, however it ended."""

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from course_lib.idioms import begin, lesson
from course_lib.places import CHECKOUT

KERNEL = """
import sys
from pathlib import Path
from course_lib.idioms import lesson
lesson.SCRATCH = Path(sys.argv[1])
folder = lesson.begin("01")
(folder / "model.onnx").write_text("x")
print(folder, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def base(tmp_path, monkeypatch):
    """Where this kernel and the others have their folders; nothing else is swept."""
    monkeypatch.setattr(lesson, "SCRATCH", tmp_path / "scratch")
    monkeypatch.setattr(lesson.tempfile, "tempdir", str(tmp_path))
    return tmp_path / "scratch"


@pytest.fixture
def kernel(base):
    """`kernel()` starts another kernel that has begun a lesson; returns its process and its folder."""
    started = contextlib.ExitStack()

    def start() -> tuple[subprocess.Popen, Path]:
        process = subprocess.Popen(
            [sys.executable, "-c", KERNEL, str(base)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        )
        started.enter_context(process)
        started.callback(process.kill)
        return process, Path(process.stdout.readline().strip())

    with started:
        yield start


def test_the_folder_of_a_kernel_that_was_killed_is_swept_and_that_of_one_that_lives_stays(base, kernel):
    living, theirs = kernel()
    killed, left = kernel()
    killed.kill()
    killed.wait()
    assert (left / "model.onnx").exists(), "a killed kernel cleans nothing up"
    first, second = begin("02"), begin("02")
    assert sorted(base.iterdir()) == sorted(
        each for folder in (theirs, first, second) for each in (folder, folder.with_name(f"{folder.name}.lock"))
    )
    assert (theirs / "model.onnx").exists() and living.poll() is None
    living.stdin.close()
    living.wait()
    assert not theirs.exists() and not list(base.glob(f"{theirs.name}*")), "one that ends takes its own along"


@pytest.mark.parametrize("content", ["", "another", b"\xff\xfe"])
def test_a_lock_that_is_not_a_scratch_folders_own_removes_nothing(base, content):
    (base / "01-kept").mkdir(parents=True)
    lock = base / "01-kept.lock"
    lock.write_bytes(content) if isinstance(content, bytes) else lock.write_text(content)
    begin("01")
    assert (base / "01-kept").exists() and lock.exists()


def test_what_belongs_to_another_user_is_left_alone(base, monkeypatch):
    (base / "01-theirs").mkdir(parents=True)
    (base / "01-theirs.lock").write_text("01-theirs")
    own = (base / "01-theirs.lock").stat().st_uid
    monkeypatch.setattr(os, "getuid", lambda: own + 1, raising=False)
    begin("01")
    assert (base / "01-theirs").exists()
    monkeypatch.setattr(os, "getuid", lambda: own, raising=False)
    begin("01")
    assert not (base / "01-theirs").exists()


@pytest.mark.skipif(lesson.fcntl is None, reason="on Windows an open file is lock enough")
def test_a_file_system_without_locks_stops_no_lesson(base, monkeypatch):
    def refuse(*_: object) -> None:
        raise OSError("no locks available")

    monkeypatch.setattr(lesson.fcntl, "flock", refuse)
    first, second = begin("01"), begin("01")
    assert first.is_dir() and second.is_dir()


def test_a_checkout_that_cannot_be_written_to_is_swept_elsewhere(base, tmp_path):
    base.write_text("a file where the folder should be")
    (tmp_path / "course-01-left").mkdir()
    (tmp_path / "course-01-left.lock").write_text("course-01-left")
    folder = begin("01")
    assert folder.parent == tmp_path and folder.name.startswith("course-01-")
    assert not (tmp_path / "course-01-left").exists()
