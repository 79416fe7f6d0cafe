"""`./course update` that fails half-way, is killed, stopped, or not alone."""

import errno
import os
import signal
import subprocess
import sys
import time

import pytest

from tests.update.clones import (
    ANSWER,
    EXERCISE,
    LESSON,
    MANIFEST,
    OTHER_STUB,
    STUB,
    Course,
    name_of,
    notebook,
    texts,
)


def edit(course: Course) -> str:
    """Edits of each kind, and a new version that meets them all."""
    course.write(EXERCISE, notebook(ANSWER, OTHER_STUB, ids=(name_of(STUB),)))
    course.write(MANIFEST, b"replicas: 7\n")
    course.git("add", MANIFEST)
    course.write(MANIFEST, b"replicas: 1\n")
    course.write("extra.txt", b"mine\n")
    (course.mine / "constraints.txt").unlink()
    return course.release(
        {EXERCISE: notebook("# new", STUB), MANIFEST: b"replicas: 3\n", "extra.txt": b"theirs\n", "gone.txt": None,
         "constraints.txt": b"one==2\n", LESSON: notebook("a = 2"), "fresh/one.txt": b"new\n"}
    )  # fmt: skip


STEPS = ("checkout-index", "update-index", "update-ref")


@pytest.mark.parametrize("step", STEPS)
def test_a_step_that_fails_leaves_everything_as_it_was(course: Course, step: str) -> None:
    edit(course)
    path = course.git_that(f'case "$*" in *" {step} "*)\n[ -e "{course.folder}/failed" ] || {{ touch '
                           f'"{course.folder}/failed"; "$REAL" "$@"; echo "No space left on device" >&2; exit 128; }};;\nesac')  # fmt: skip
    if step == "update-ref":
        path = course.git_that('case "$*" in *" update-ref "*) echo "No space left on device" >&2; exit 128;; esac')
    said = course.refused(**path)
    assert "the update stopped, and everything is as it was" in said and "No space left on device" in said
    course.update()
    assert texts(course.read(EXERCISE)) == ["# new", ANSWER]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("step", STEPS)
def test_an_update_that_is_killed_can_be_run_again(course: Course, step: str, when: str) -> None:
    commit = edit(course)
    run = '"$REAL" "$@"; ' if when == "after" else ""
    path = course.git_that(f'case "$*" in *" {step} "*) {run}kill -9 $PPID; exit 1;; esac')
    course.update(code=-signal.SIGKILL, **path)
    (course.mine / ".git/course-update-index.lock").touch()  # as a git that is killed too leaves it
    said = course.update()
    assert course.at(commit) and course.git("diff", "--cached", "--name-only") == ""
    assert texts(course.read(EXERCISE)) == ["# new", ANSWER]
    assert course.read(MANIFEST) == b"replicas: 3\n" and course.read("constraints.txt") == b"one==2\n"
    assert course.kept(MANIFEST) == b"replicas: 1\n" and course.kept("extra.txt") == b"mine\n"
    assert course.kept(f"{MANIFEST}.staged") == b"replicas: 7\n"
    assert MANIFEST in said and EXERCISE in said
    assert len(list((course.mine / "kept").iterdir())) == 1
    assert not (course.mine / ".course/update.json").exists()


def test_an_edit_made_after_a_killed_update_is_kept_beside_the_first_copy(course: Course) -> None:
    edit(course)
    course.update(
        code=-signal.SIGKILL, **course.git_that('case "$*" in *" update-ref "*) kill -9 $PPID; exit 1;; esac')
    )
    course.write(MANIFEST, b"replicas: 4\n")
    course.update()
    (folder,) = (course.mine / "kept").iterdir()
    assert (folder / MANIFEST).read_bytes() == b"replicas: 1\n"
    assert (folder / "k8s/deployment.2.yaml").read_bytes() == b"replicas: 4\n"


def test_too_little_disk_is_said_before_anything_is_touched(course: Course) -> None:
    edit(course)
    before = course.state()
    fake = "import shutil, collections; shutil.disk_usage = lambda path: collections.namedtuple('U', 'free')(10)"
    code = f"import sys, runpy; sys.argv = ['course', 'update']; {fake}; runpy.run_path({str(course.mine / 'course')!r}, run_name='__main__')"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert said.returncode == 1 and "MB of free disk" in said.stderr and "Nothing was changed" in said.stderr
    assert course.state() == before


def test_ctrl_c_while_files_move_waits_until_they_have_moved(course: Course) -> None:
    commit = edit(course)
    path = course.git_that('case "$*" in *" checkout-index "*) kill -2 $PPID; kill -2 $$;; esac')
    course.update(**path)
    assert course.at(commit)


def test_of_two_updates_at_once_one_is_turned_away(course: Course) -> None:
    edit(course)
    path = course.git_that(f'case "$*" in *" fetch "*) touch "{course.folder}/fetching"; sleep 3;; esac')
    first = subprocess.Popen([sys.executable, str(course.mine / "course"), "update"], env={**os.environ, **path},
                             stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
    while not (course.folder / "fetching").exists():
        time.sleep(0.05)
    second = subprocess.run([sys.executable, str(course.mine / "course"), "update"], capture_output=True, text=True)
    assert second.returncode == 1 and "another ./course is at work" in second.stderr
    assert first.wait() == 0


def test_a_disk_that_runs_full_while_copies_are_made_leaves_everything_as_it_was(course: Course) -> None:
    edit(course)
    before = course.state()
    fake = f"import shutil; real = shutil.copy2\ndef full(a, b, **k):\n    real(a, b, **k); raise OSError({errno.ENOSPC}, 'No space left on device')\nshutil.copy2 = full\n"
    code = f"import sys, runpy; sys.argv = ['course', 'update']\n{fake}runpy.run_path({str(course.mine / 'course')!r}, run_name='__main__')"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert said.returncode == 1 and "everything is as it was" in said.stderr, said.stderr
    after = course.state()
    assert {path: raw for path, raw in after[0].items() if not path.startswith("kept/")} == before[0]
    assert after[1:] == before[1:]


def test_ctrl_c_while_git_fetches_changes_nothing(course: Course) -> None:
    edit(course)
    before = course.state()
    said = course.update(code=130, **course.git_that('case "$*" in *" fetch "*) kill -2 $PPID; exit 130;; esac'))
    assert "stopped. The same command goes on" in said and course.state() == before
