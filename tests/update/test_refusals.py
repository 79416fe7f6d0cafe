"""Where `./course update` changes nothing, and what it says."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable

import pytest

from tests.update.clones import EXERCISE, MANIFEST, Course


def test_without_git_s_folder_it_says_what_to_do(course: Course) -> None:
    shutil.rmtree(course.mine / ".git")
    for inside_another in (False, True):
        if inside_another:
            course.git("init", "-q", where=course.folder)
        said = subprocess.run([sys.executable, str(course.mine / "course"), "update"], capture_output=True, text=True)
        assert said.returncode == 1 and "was not cloned with git" in said.stderr
        assert "the folder .course, which holds your progress" in said.stderr


def test_without_git_it_says_so(course: Course) -> None:
    assert "git is not on PATH" in said_without_git(course)


def said_without_git(course: Course) -> str:
    (course.folder / "empty").mkdir()
    done = subprocess.run([sys.executable, str(course.mine / "course"), "update"], capture_output=True, text=True,
                          env={**os.environ, "PATH": str(course.folder / "empty")}, check=False)  # fmt: skip
    assert done.returncode == 1
    return done.stderr


def unreachable(course: Course) -> None:
    course.git("remote", "set-url", "origin", "http://127.0.0.1:9/course")


def no_remote(course: Course) -> None:
    course.git("remote", "remove", "origin")


def branch_gone(course: Course) -> None:
    course.git("branch", "-m", "main", "other", where=course.upstream)


def unfinished_merge(course: Course) -> None:
    course.git("checkout", "-qb", "side")
    course.write(MANIFEST, b"replicas: 5\n")
    course.git("commit", "-qam", "side")
    course.git("checkout", "-q", "main")
    course.write(MANIFEST, b"replicas: 6\n")
    course.git("commit", "-qam", "main")
    with pytest.raises(subprocess.CalledProcessError):
        course.git("merge", "side")


def unfinished_rebase(course: Course) -> None:
    unfinished_merge(course)
    course.git("merge", "--abort")
    with pytest.raises(subprocess.CalledProcessError):
        course.git("rebase", "side")


def another_git(course: Course) -> None:
    (course.mine / ".git/index.lock").touch()


def folder_in_a_file_s_place(course: Course) -> None:
    course.write("new.txt/mine", b"mine\n")


def file_in_a_folder_s_place(course: Course) -> None:
    course.write("new", b"mine\n")


def folder_is_a_link(course: Course) -> None:
    shutil.move(course.mine / "k8s", course.folder / "elsewhere")
    (course.mine / "k8s").symlink_to(course.folder / "elsewhere")


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (unreachable, "nothing could be fetched from 'origin'"),
        (no_remote, "git remote add origin ADDRESS"),
        (branch_gone, "nothing could be fetched from 'origin'"),
        (unfinished_merge, "a git merge is unfinished here"),
        (unfinished_rebase, "a git rebase is unfinished here"),
        (another_git, "another git works here"),
        (folder_in_a_file_s_place, "new.txt is a folder here"),
        (file_in_a_folder_s_place, "new is no folder here"),
        (folder_is_a_link, "k8s is no folder here"),
    ],
)
def test_what_cannot_be_done_is_said_and_nothing_changes(
    course: Course, spoil: Callable[[Course], None], says: str
) -> None:
    course.write(EXERCISE, b"mine")
    course.release({MANIFEST: b"replicas: 3\n", "new.txt": b"new\n", "new/one.txt": b"new\n", EXERCISE: b"theirs"})
    spoil(course)
    said = course.refused()
    assert says in said and "Nothing was changed" in said


def test_an_update_takes_nothing_more(course: Course) -> None:
    done = subprocess.run(
        [sys.executable, str(course.mine / "course"), "update", "now"], capture_output=True, text=True
    )
    assert done.returncode == 2 and "`update` takes nothing more" in done.stderr
