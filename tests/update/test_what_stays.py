"""What `./course update` does with each kind of file, commit and history that a learner may have."""

import shutil
import subprocess
import sys

import pytest

from tests.update.clones import ANSWER, EXERCISE, LESSON, MANIFEST, OTHER_STUB, STUB, Course, name_of, notebook, texts


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
