"""`./course update` with real git repositories: a tiny course, the clone of a learner, and a new version."""

import errno
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from course_lib.places import CHECKOUT

pytestmark = [
    pytest.mark.skipif(not shutil.which("git"), reason="git makes the clone"),
    pytest.mark.skipif(os.name == "nt", reason="stands shell scripts in for git"),
]

LESSON, EXERCISE, MANIFEST = "notebooks/02_loss.ipynb", "exercises/02_loss.ipynb", "k8s/deployment.yaml"


def notebook(*sources: str, output: str = "", ids: tuple[str, ...] = ()) -> bytes:
    """A notebook as JupyterLab saves it; a cell's id comes from its text, as in the build, unless `ids` has one."""
    cells = []
    for at, source in enumerate(sources):
        name = ids[at] if at < len(ids) else hashlib.sha256(source.encode()).hexdigest()[:10]
        outputs = [{"name": "stdout", "output_type": "stream", "text": [output]}] if output else []
        cells.append({"cell_type": "code", "execution_count": len(output) or None, "id": name, "metadata": {},
                      "outputs": outputs, "source": source.splitlines(keepends=True)})  # fmt: skip
    whole = {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    return (json.dumps(whole, indent=1) + "\n").encode()


def name_of(source: str) -> str:
    return hashlib.sha256(source.encode()).hexdigest()[:10]


def texts(raw: bytes) -> list[str]:
    return ["".join(cell["source"]) for cell in json.loads(raw)["cells"]]


STUB, OTHER_STUB = "def loss(): raise NotImplementedError", "def slope(): raise NotImplementedError"
ANSWER = "def loss():\n    return 'é'"
FIRST = {
    LESSON: notebook("a = 1", "b = 2"),
    EXERCISE: notebook(STUB, OTHER_STUB),
    MANIFEST: b"replicas: 2\n",
    "gone.txt": b"will go\n",
    "CHANGELOG.md": b"# Changelog\n",
    "constraints.txt": b"one==1\n",
    ".gitattributes": b"* text=auto eol=lf\n",
    ".gitignore": b"/.course/\n/kept/\n__pycache__/\n*.secret\n",
}


class Course:
    """An upstream repository, and a learner's clone of it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.upstream, self.mine = folder, folder / "up stream", folder / "my course"
        self.upstream.mkdir()
        for part in ("course", "tools/__init__.py", "tools/caller.py"):
            (self.upstream / part).parent.mkdir(exist_ok=True)
            shutil.copy(CHECKOUT / part, self.upstream / part)
        shutil.copytree(CHECKOUT / "tools/update", self.upstream / "tools/update",
                        ignore=shutil.ignore_patterns("__pycache__"))  # fmt: skip
        self.git("init", "-q", "-b", "main", where=self.upstream)
        self.release(FIRST)
        self.clone()

    def git(self, *words: str, where: Path | None = None) -> str:
        own = ("-c", "user.name=t", "-c", "user.email=t@t", "-c", "init.defaultBranch=main")
        done = subprocess.run(["git", *own, *words], cwd=where or self.mine, check=True, capture_output=True)
        return done.stdout.decode().strip()

    def clone(self, *options: str) -> None:
        shutil.rmtree(self.mine, ignore_errors=True)
        self.git("clone", "-q", *options, self.upstream.as_uri(), str(self.mine), where=self.folder)

    def release(self, files: dict[str, bytes | None], *options: str) -> str:
        """A commit upstream that has these files so; None removes one."""
        for path, raw in files.items():
            file = self.upstream / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.unlink() if raw is None else file.write_bytes(raw)
        self.git("add", "-A", "-f", where=self.upstream)
        self.git("commit", "-qm", "release", *options, where=self.upstream)
        return self.git("rev-parse", "HEAD", where=self.upstream)

    def write(self, path: str, raw: bytes) -> None:
        file = self.mine / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(raw)

    def read(self, path: str) -> bytes:
        return (self.mine / path).read_bytes()

    def files(self) -> dict[str, bytes]:
        """Every file of the learner's folder but git's, caches and what the update keeps for itself."""
        skipped = (".git", "__pycache__", ".course")
        found = {}
        for each in sorted(self.mine.rglob("*")):
            below = each.relative_to(self.mine)
            if not set(below.parts) & set(skipped) and (each.is_symlink() or each.is_file()):
                found[below.as_posix()] = os.readlink(each).encode() if each.is_symlink() else each.read_bytes()
        return found

    def state(self) -> tuple[dict[str, bytes], str, str]:
        """All that an update that is refused must leave alone."""
        return self.files(), self.git("rev-parse", "HEAD"), self.git("status", "--porcelain=v2")

    def within_reach(self) -> set[str]:
        """The content, as git names it, of every file in the folder, of every commit of a ref or HEAD, and of the index."""
        shas = {line.split()[0] for line in self.git("rev-list", "--objects", "--all", "HEAD").splitlines()}
        shas |= {line.split()[1] for line in self.git("ls-files", "-s").splitlines()}
        return shas | {hashlib.sha1(b"blob %d\0" % len(raw) + raw).hexdigest() for raw in self.files().values()}

    def update(self, code: int = 0, **environment: str) -> str:
        """Runs it. Whatever comes of it: nothing that was there before is out of reach afterwards."""
        before = self.within_reach()
        said = subprocess.run([sys.executable, str(self.mine / "course"), "update"], cwd="/", check=False,
                              env={**os.environ, **environment}, capture_output=True, encoding="utf-8")  # fmt: skip
        assert before <= self.within_reach(), "something of the learner's is lost"
        assert said.returncode == code, said.stdout + said.stderr
        assert "Traceback" not in said.stderr
        return said.stdout + said.stderr

    def refused(self, **environment: str) -> str:
        before = self.state()
        said = self.update(code=1, **environment)
        assert self.state() == before
        assert not (self.mine / ".course/update.json").exists()
        return said

    def at(self, commit: str) -> bool:
        return self.git("rev-parse", "HEAD") == commit

    def kept(self, path: str) -> bytes:
        (copy,) = self.mine.glob(f"kept/*/{path}")
        return copy.read_bytes()

    def git_that(self, does: str) -> dict[str, str]:
        """PATH with a git that first does this (a shell script; "$REAL" "$@" would run the true one)."""
        bin_folder = self.folder / "bin"
        bin_folder.mkdir(exist_ok=True)
        (bin_folder / "git").write_text(f'#!/bin/sh\nREAL={shutil.which("git")}\n{does}\nexec "$REAL" "$@"\n')
        (bin_folder / "git").chmod(0o755)
        return {"PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}"}


@pytest.fixture
def course(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Course:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    return Course(tmp_path)


def test_an_untouched_checkout_becomes_the_new_version_and_hears_what_is_new(course: Course) -> None:
    new = {"CHANGELOG.md": b"# Changelog\n\n- Lesson 20 is new.\n", "lessons/20.txt": b"new\n", "gone.txt": None,
           "constraints.txt": b"one==2\n"}  # fmt: skip
    commit = course.release(new)
    said = course.update()
    assert course.at(commit) and course.git("status", "--porcelain") == ""
    assert not (course.mine / "gone.txt").exists() and not (course.mine / "kept").exists()
    assert "  - Lesson 20 is new." in said and "the next command that needs them installs them" in said
    assert "Nothing new" in course.update()


def test_an_answer_in_an_exercise_that_the_new_version_did_not_touch_stays_in_place(course: Course) -> None:
    answered = notebook(ANSWER, OTHER_STUB, ids=(name_of(STUB),))
    course.write(EXERCISE, answered)
    course.write("notes of mine.md", b"mine\n")
    course.write(".course/progress.json", b"{}")
    course.release({LESSON: notebook("a = 1", "b = 3")})
    course.update()
    assert course.read(EXERCISE) == answered and course.read("notes of mine.md") == b"mine\n"
    assert course.read(".course/progress.json") == b"{}"
    assert not (course.mine / "kept").exists()


def test_an_answer_moves_into_a_new_version_that_has_its_stub_and_a_copy_is_kept_byte_for_byte(course: Course) -> None:
    answered = notebook(ANSWER, OTHER_STUB, "mine = 1", ids=(name_of(STUB),))
    course.write(EXERCISE, answered)
    course.release({EXERCISE: notebook("# said better", STUB, "def slope(): raise NotImplementedError  # new")})
    said = course.update()
    assert texts(course.read(EXERCISE)) == ["# said better", ANSWER, "def slope(): raise NotImplementedError  # new"]
    assert course.kept(EXERCISE) == answered
    assert f"{EXERCISE}  1 of your cells is in the new version; 1 is in the copy alone" in said


def test_an_answer_whose_stub_changed_is_kept_and_pointed_to(course: Course) -> None:
    course.write(EXERCISE, notebook(ANSWER, OTHER_STUB, ids=(name_of(STUB),)))
    new = notebook("def loss(x): raise NotImplementedError", OTHER_STUB)
    course.release({EXERCISE: new})
    said = course.update()
    assert course.read(EXERCISE) == new
    assert f"{EXERCISE}  of your cells 1 is in the copy alone" in said


def test_a_lesson_that_the_learner_edited_and_the_new_version_only_ran_anew_stays(course: Course) -> None:
    edited = notebook("a = 5", "b = 2", "c = 3", ids=(name_of("a = 1"),))
    course.write(LESSON, edited)
    commit = course.release({LESSON: notebook("a = 1", "b = 2", output="ran")})
    course.update()
    assert course.at(commit) and course.read(LESSON) == edited


def test_a_lesson_that_was_only_run_becomes_the_new_one_and_is_not_listed_as_edited(course: Course) -> None:
    ran, new = notebook("a = 1", "b = 2", output="mine"), notebook("a = 1", "b = 3", output="theirs")
    course.write(LESSON, ran)
    course.release({LESSON: new})
    said = course.update()
    assert course.read(LESSON) == new and course.kept(LESSON) == ran
    assert LESSON not in said and "notebooks that you ran without changing their text: 1" in said


def test_a_file_that_both_changed_is_replaced_and_kept(course: Course) -> None:
    course.write(MANIFEST, b"replicas: 1\n")
    course.release({MANIFEST: b"replicas: 3\n"})
    said = course.update()
    assert (course.read(MANIFEST), course.kept(MANIFEST)) == (b"replicas: 3\n", b"replicas: 1\n")
    assert f"{MANIFEST}  the new version took its place" in said


def test_an_edited_file_that_the_new_version_no_longer_has_is_kept(course: Course) -> None:
    course.write("gone.txt", b"mine\n")
    course.release({"gone.txt": None})
    assert "gone.txt  not in the new version" in course.update()
    assert course.kept("gone.txt") == b"mine\n" and not (course.mine / "gone.txt").exists()


def test_untracked_and_ignored_files_that_the_new_version_brings_are_kept(course: Course) -> None:
    course.write("extra.txt", b"mine\n")
    course.write("key.secret", b"mine too\n")
    course.write("equal.txt", b"same\n")
    course.release({"extra.txt": b"theirs\n", "key.secret": b"theirs\n", "equal.txt": b"same\n"})
    course.update()
    assert course.kept("extra.txt") == b"mine\n" and course.kept("key.secret") == b"mine too\n"
    assert not list(course.mine.glob("kept/*/equal.txt"))


def test_what_is_staged_is_kept_and_what_the_new_version_did_not_touch_stays_staged(course: Course) -> None:
    course.write(MANIFEST, b"replicas: 7\n")
    course.write("CHANGELOG.md", b"staged\n")
    course.git("add", MANIFEST, "CHANGELOG.md")
    course.write(MANIFEST, b"replicas: 8\n")
    course.release({MANIFEST: b"replicas: 3\n"})
    course.update()
    assert course.kept(MANIFEST) == b"replicas: 8\n" and course.kept(f"{MANIFEST}.staged") == b"replicas: 7\n"
    assert course.git("diff", "--cached", "--name-only") == "CHANGELOG.md"


def test_a_file_that_the_learner_deleted_comes_back_only_where_it_is_new(course: Course) -> None:
    (course.mine / MANIFEST).unlink()
    (course.mine / LESSON).unlink()
    course.release({MANIFEST: b"replicas: 3\n"})
    course.update()
    assert course.read(MANIFEST) == b"replicas: 3\n" and not (course.mine / LESSON).exists()


@pytest.mark.parametrize("branch", ["main", "mine"])
def test_own_commits_stay_in_the_history_and_are_joined_file_by_file(course: Course, branch: str) -> None:
    if branch != "main":
        course.git("checkout", "-qb", branch)
    course.write(EXERCISE, notebook(ANSWER, OTHER_STUB, ids=(name_of(STUB),)))
    course.write(MANIFEST, b"replicas: 1\n")
    course.write(LESSON, notebook("a = 5", "b = 2", ids=(name_of("a = 1"),)))
    course.git("commit", "-qam", "my answers")
    own = course.git("rev-parse", "HEAD")
    new = course.release({MANIFEST: b"replicas: 3\n", LESSON: notebook("a = 1", "b = 3")})
    said = course.update()
    assert course.git("symbolic-ref", "--short", "HEAD") == branch
    assert course.git("log", "-1", "--format=%P") == f"{own} {new}"
    assert texts(course.read(EXERCISE))[0] == ANSWER  # the learner's alone
    assert course.read(MANIFEST) == b"replicas: 3\n" and course.kept(MANIFEST) == b"replicas: 1\n"
    assert texts(course.read(LESSON)) == ["a = 5", "b = 3"]
    assert "Commits here that the new version does not have: 1. They stay" in said
    course.release({"more.txt": b"more\n"})  # and the next update goes on from there
    course.update()
    assert course.read("more.txt") == b"more\n" and texts(course.read(LESSON)) == ["a = 5", "b = 3"]


def test_a_detached_head_moves_and_stays_detached(course: Course) -> None:
    course.git("checkout", "-q", "--detach")
    commit = course.release({MANIFEST: b"replicas: 3\n"})
    course.update()
    assert course.at(commit) and course.git("rev-parse", "--abbrev-ref", "HEAD") == "HEAD"


def test_a_rewritten_upstream_is_followed_and_files_that_were_not_edited_are_not_taken_for_edited(
    course: Course,
) -> None:
    course.release({MANIFEST: b"replicas: 9\n"})
    course.update()
    course.write("extra.txt", b"mine\n")
    new = course.release({MANIFEST: b"replicas: 3\n"}, "--amend")
    course.update()
    assert course.read(MANIFEST) == b"replicas: 3\n" and course.git("diff", new, "--name-only") == ""
    assert course.read("extra.txt") == b"mine\n" and not (course.mine / "kept").exists()


def test_a_history_that_shares_nothing_with_the_new_one_loses_nothing(course: Course) -> None:
    course.write(MANIFEST, b"replicas: 1\n")
    shutil.rmtree(course.mine / ".git")  # a ZIP that somebody made a repository of
    course.git("init", "-q")
    course.git("add", "-A")
    course.git("commit", "-qm", "from a ZIP")
    course.git("remote", "add", "origin", course.upstream.as_uri())
    course.update()
    assert course.read(MANIFEST) == b"replicas: 2\n" and course.kept(MANIFEST) == b"replicas: 1\n"


def test_a_shallow_clone_is_updated(course: Course) -> None:
    course.release({MANIFEST: b"replicas: 2\n", "CHANGELOG.md": b"two\n"})
    course.clone("--depth", "1")
    course.write(MANIFEST, b"replicas: 1\n")
    commit = course.release({MANIFEST: b"replicas: 3\n"})
    course.update()
    assert course.at(commit) and course.kept(MANIFEST) == b"replicas: 1\n"


def test_line_ends_that_git_converted_are_no_edit(course: Course) -> None:
    course.clone("-c", "core.autocrlf=true")
    course.write(MANIFEST, b"replicas: 2\r\n")
    commit = course.release({MANIFEST: b"replicas: 3\n"})
    said = subprocess.run([sys.executable, str(course.mine / "course"), "update"], capture_output=True, check=False)
    assert said.returncode == 0 and course.at(commit)
    assert course.read(MANIFEST) == b"replicas: 3\n" and not (course.mine / "kept").exists()


def test_read_only_files_run_bits_and_links_are_no_obstacle(course: Course) -> None:
    course.write(MANIFEST, b"replicas: 1\n")
    (course.mine / MANIFEST).chmod(0o444)
    (course.mine / LESSON).chmod(0o755)
    (course.mine / "gone.txt").unlink()
    (course.mine / "gone.txt").symlink_to("CHANGELOG.md")
    commit = course.release({MANIFEST: b"replicas: 3\n", LESSON: notebook("a = 2"), "gone.txt": b"stays\n"})
    course.update()
    assert course.at(commit) and course.kept(MANIFEST) == b"replicas: 1\n"
    assert course.git("status", "--porcelain") == ""
    (folder,) = (course.mine / "kept").iterdir()
    assert (folder / "gone.txt").is_symlink()


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
    course.update(code=-signal.SIGKILL, **course.git_that('case "$*" in *" update-ref "*) kill -9 $PPID; exit 1;; esac'))
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


def test_an_update_takes_nothing_more(course: Course) -> None:
    done = subprocess.run(
        [sys.executable, str(course.mine / "course"), "update", "now"], capture_output=True, text=True
    )
    assert done.returncode == 2 and "`update` takes nothing more" in done.stderr


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
