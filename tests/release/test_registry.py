"""The registry: versions stay as they are, aliases move only from where they were seen."""

import sqlite3

import pytest

from course_lib.release.registry import Registry


@pytest.fixture
def registry(tmp_path):
    made = Registry(tmp_path / "registry.db")
    made.register(1, "aa", None, "rows 0 to 385")
    made.register(2, "bb", 1, "feedback up to id 600")
    yield made
    made.close()


def test_an_alias_points_where_it_was_moved_last_and_keeps_its_history(registry):
    assert registry.current("production") is None
    assert registry.move("production", 1, None, "first")
    assert registry.move("production", 2, 1, "better")
    assert registry.current("production") == 2 and registry.moves("production") == [(1, "first"), (2, "better")]


def test_a_move_from_where_the_alias_is_no_more_is_refused_and_leaves_no_transaction_open(registry):
    assert not registry.move("production", 1, 2, "stale") and registry.current("production") is None
    assert registry.move("production", 1, None, "first")


def test_a_version_is_given_once_never_changed_and_has_a_parent_that_is_there(registry, tmp_path):
    for wrong in ((1, "cc", None, "again"), (3, "cc", 9, "an orphan")):
        with pytest.raises(sqlite3.IntegrityError):
            registry.register(*wrong)
    other = sqlite3.connect(tmp_path / "registry.db")
    with pytest.raises(sqlite3.IntegrityError, match="never changes"):
        other.execute("UPDATE versions SET sha256 = 'dd'")
    other.close()
    with pytest.raises(sqlite3.IntegrityError):
        registry.move("production", 9, None, "nowhere")
    assert [version for version, *_ in registry.versions()] == [1, 2]
    assert registry.move("production", 1, None, "a failed move took everything back")


@pytest.mark.parametrize("order", [
    "INSERT OR REPLACE INTO versions VALUES (1, 'dd', NULL, 'another')", "DELETE FROM versions", "DELETE FROM moves",
    "INSERT INTO versions VALUES (3, 'dd', 9, 'an orphan')", "UPDATE moves SET version = 2", "UPDATE versions SET parent = 2",
    "INSERT OR REPLACE INTO moves VALUES (1, 'production', 2, 'another')",
    "INSERT INTO moves (alias, version, why) VALUES ('production', 9, 'nowhere')",
])  # fmt: skip
def test_nobody_changes_deletes_or_replaces_a_record_from_another_connection_either(registry, tmp_path, order):
    registry.move("production", 1, None, "first")
    was = registry.versions(), registry.moves("production")
    other = sqlite3.connect(tmp_path / "registry.db")  # its foreign keys are off, as SQLite begins
    with pytest.raises(sqlite3.IntegrityError):
        other.execute(order)
    other.rollback()
    other.close()
    assert (registry.versions(), registry.moves("production")) == was


def test_it_is_there_when_it_is_opened_again(registry, tmp_path):
    registry.move("production", 1, None, "first")
    again = Registry(tmp_path / "registry.db")
    assert again.versions() == registry.versions() and again.current("production") == 1
    again.close()
