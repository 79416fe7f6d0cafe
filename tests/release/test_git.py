"""The repository of lessons 24 and 24b: the same commits at each run, and nothing of the learner's own git."""

import pytest

from course_lib.release import git as module
from course_lib.release.git import GitFailed, Repository, git


def test_the_same_files_and_messages_make_the_same_commits(tmp_path):
    made = []
    for name in ("one", "two"):
        repository = Repository(tmp_path / name)
        first = repository.commit("main", "first", {"a/b.txt": "1\n", "c.txt": "2\n"})
        made.append((first, repository.commit("main", "second", {"a/b.txt": None, "c.txt": "3\n"}, first)))
    assert made[0] == made[1]
    assert repository.commit("main", "first", {"a/b.txt": "1\n", "c.txt": "2\n"}) == first


def test_a_branch_moves_forward_only(tmp_path):
    repository = Repository(tmp_path)
    first = repository.commit("main", "first", {"a": "1\n"})
    second = repository.commit("main", "second", {"a": "2\n"}, first)
    repository.push(first, "production")
    repository.push(second, "production")
    repository.push(second, "production")
    with pytest.raises(GitFailed, match="non-fast-forward"):
        repository.push(first, "production")
    assert repository.head("production") == second and repository.read(second, "a") == "2"


def test_a_clean_copy_holds_what_is_committed_alone(tmp_path):
    repository = Repository(tmp_path)
    first = repository.commit("main", "first", {"a": "1\n"})
    (repository.work / "forgotten").write_text("not committed")
    copy = repository.check_out(first, tmp_path / "copy")
    assert [each.name for each in copy.iterdir() if each.name != ".git"] == ["a"]


def test_the_learners_settings_names_and_hooks_count_for_nothing(tmp_path, monkeypatch):
    config = tmp_path / "config"
    config.write_text("[user]\n\tname = somebody\n[init]\n\tdefaultBranch = trunk\n[core]\n\thooksPath = /nowhere\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(config))
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "another"))
    repository = Repository(tmp_path / "here")
    commit = repository.commit("main", "first", {"a": "1\n"})
    assert git(repository.work, "show", "--no-patch", "--format=%an %ce", commit) == "learner learner@example.org"


def test_without_git_the_message_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(module.shutil, "which", lambda name: None)
    with pytest.raises(FileNotFoundError, match="install it"):
        git(tmp_path, "--version")
