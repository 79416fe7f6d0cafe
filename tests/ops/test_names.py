"""Names of a learner's own: the same in the next run, another's for another learner or another kernel."""

import contextlib
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from course_lib import places
from course_lib.ops import names
from course_lib.places import CHECKOUT

KERNEL = """
import sys
from pathlib import Path
from course_lib import places
places.KEPT = Path(sys.argv[1])
from course_lib.ops import names
print(names.own("digits-17", "17"), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def kernel():
    """`kernel(folder)` starts another kernel in the checkout that keeps its own things there; returns it and its name."""
    with contextlib.ExitStack() as started:

        def start(folder: Path, **env: str) -> tuple[subprocess.Popen, str]:
            process = subprocess.Popen(
                [sys.executable, "-c", KERNEL, str(folder)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env={**os.environ, "PYTHONPATH": str(CHECKOUT), **env},
            )
            started.enter_context(process)
            started.callback(process.kill)
            return process, process.stdout.readline().strip()

        yield start


def test_a_name_ends_in_six_letters_that_are_kept(kernel):
    first = names.own("digits-17", "17")
    assert re.fullmatch("digits-17-[a-z]{6}", first) and names.own("digits-17", "17") == first
    assert (places.KEPT / "names" / "owner").read_text() == first.removeprefix("digits-17-") + "\n"
    assert kernel(places.KEPT)[1] == f"{first}-2", "another kernel of the same learner has the same letters"


def test_two_checkouts_have_different_names(tmp_path, kernel):
    (_, one), (_, other) = kernel(tmp_path / "a"), kernel(tmp_path / "b")
    assert one != other


def test_a_kernel_that_ended_or_was_killed_leaves_its_names_to_the_next(tmp_path, kernel):
    first, name = kernel(tmp_path)
    second, beside = kernel(tmp_path)
    assert beside == f"{name}-2"
    first.kill()
    first.wait()
    assert kernel(tmp_path)[1] == name
    second.stdin.close()
    second.wait()
    assert kernel(tmp_path)[1] == beside


def test_lessons_do_not_stand_in_each_others_way(kernel):
    _, name = kernel(places.KEPT)
    assert names.own("digits-18", "18") == name.replace("17", "18")


def test_one_kernel_too_many_is_told_what_to_do(monkeypatch, kernel):
    monkeypatch.setattr(names, "KERNELS", 1)
    _running = kernel(places.KEPT)
    with pytest.raises(RuntimeError, match="1 kernels run lesson 17 at this time.* shut one of them down"):
        names.own("digits-17", "17")


@pytest.mark.parametrize("name", ["a", "anna", "room-12", "7b", "a-402", "x" * 30])
def test_course_name_names_the_owner(monkeypatch, name):
    monkeypatch.setenv("COURSE_NAME", name)
    assert names.own("digits-service:lesson-17", "17") == f"digits-service:lesson-17-{name}"
    assert not (places.KEPT / "names" / "owner").exists()


@pytest.mark.parametrize("name", ["Anna", "a_b", "a.b", "-a", "a-", "a--b", "anna-2", "é", " ", "x" * 31, "a\n"])
def test_another_course_name_is_refused_with_what_was_expected(monkeypatch, name):
    monkeypatch.setenv("COURSE_NAME", name)
    with pytest.raises(
        ValueError, match="COURSE_NAME: expected at most 30 lower-case letters.* got " + re.escape(repr(name))
    ):
        names.own("digits-17", "17")


def test_a_name_that_no_namespace_may_have_is_refused(monkeypatch):
    monkeypatch.setenv("COURSE_NAME", "x" * 30)
    with pytest.raises(ValueError, match="at most 63 characters"):
        names.own("d" * 33, "17")


def test_a_checkout_that_cannot_be_written_to_keeps_the_name_elsewhere(tmp_path, monkeypatch, kernel):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    places.KEPT.write_text("a file where the folder should be")
    name = names.own("digits-17", "17")
    assert kernel(places.KEPT, TMPDIR=str(tmp_path / "tmp"))[1] == f"{name}-2"


def test_a_name_that_was_spoilt_on_disk_is_made_anew():
    (places.KEPT / "names").mkdir(parents=True)
    (places.KEPT / "names" / "owner").write_bytes(b"\xff\xfe Anna's")
    assert re.fullmatch("digits-17-[a-z]{6}", names.own("digits-17", "17"))


@pytest.mark.parametrize("wrong", [OSError, NotImplementedError])
def test_a_file_system_without_locks_stops_no_lesson(monkeypatch, wrong):
    def refuse(*_: object, **__: object) -> None:
        raise wrong("no locks available")

    monkeypatch.setattr(names.FileLock, "acquire", refuse)
    assert re.fullmatch("digits-17-[a-z]{6}", names.own("digits-17", "17"))
