"""A registry of versions in one SQLite file, which lesson 19 explains and attacks: a version never changes; what goes live is a name."""

import sqlite3
from pathlib import Path

TABLES = """
CREATE TABLE IF NOT EXISTS versions (
    version INTEGER PRIMARY KEY, sha256 TEXT NOT NULL, parent INTEGER REFERENCES versions, learned_from TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS moves (
    id INTEGER PRIMARY KEY, alias TEXT NOT NULL, version INTEGER NOT NULL REFERENCES versions, why TEXT NOT NULL);
CREATE TRIGGER IF NOT EXISTS frozen BEFORE UPDATE ON versions
BEGIN SELECT RAISE(ABORT, 'a version never changes'); END;
CREATE TRIGGER IF NOT EXISTS kept BEFORE DELETE ON versions
BEGIN SELECT RAISE(ABORT, 'a version is never deleted'); END;
CREATE TRIGGER IF NOT EXISTS once BEFORE INSERT ON versions WHEN EXISTS (SELECT 1 FROM versions WHERE version = NEW.version)
BEGIN SELECT RAISE(ABORT, 'a version is registered once'); END;
CREATE TRIGGER IF NOT EXISTS descended BEFORE INSERT ON versions
WHEN NEW.parent IS NOT NULL AND NOT EXISTS (SELECT 1 FROM versions WHERE version = NEW.parent)
BEGIN SELECT RAISE(ABORT, 'a parent is a registered version'); END;
CREATE TRIGGER IF NOT EXISTS told BEFORE UPDATE ON moves
BEGIN SELECT RAISE(ABORT, 'a move never changes'); END;
CREATE TRIGGER IF NOT EXISTS remembered BEFORE DELETE ON moves
BEGIN SELECT RAISE(ABORT, 'a move is never deleted'); END;
CREATE TRIGGER IF NOT EXISTS appended BEFORE INSERT ON moves WHEN EXISTS (SELECT 1 FROM moves WHERE id = NEW.id)
BEGIN SELECT RAISE(ABORT, 'a move is added once'); END;
CREATE TRIGGER IF NOT EXISTS known BEFORE INSERT ON moves
WHEN NOT EXISTS (SELECT 1 FROM versions WHERE version = NEW.version)
BEGIN SELECT RAISE(ABORT, 'an alias points to a registered version'); END;
"""
"""In the file itself, so that they hold for every program that opens it: `INSERT OR REPLACE` would delete and insert, and
foreign keys hold for those connections alone that ask for them."""


class Registry:
    """Versions, and the aliases that point to them. One connection, for one thread at a time."""

    def __init__(self, file: Path) -> None:
        """file: the database; made where it is missing."""
        self._open = sqlite3.connect(file, isolation_level=None, timeout=5)
        self._open.execute("PRAGMA journal_mode = WAL")
        self._open.execute("PRAGMA foreign_keys = ON")
        self._open.executescript(TABLES)

    def register(self, version: int, sha256: str, parent: int | None, learned_from: str) -> None:
        """Enters a version. sha256: of its file. parent: the version that it replaces or was made of, None for the first.
        learned_from: which data, in words that a query can find again ("feedback up to id 640").

        Raises sqlite3.IntegrityError for a version that is there already and for a parent that is not.
        """
        self._open.execute("INSERT INTO versions VALUES (?, ?, ?, ?)", (version, sha256, parent, learned_from))

    def versions(self) -> list[tuple]:
        """(version, sha256, parent, learned_from) of each, in order."""
        return self._open.execute("SELECT * FROM versions ORDER BY version").fetchall()

    def moves(self, alias: str) -> list[tuple[int, str]]:
        """(version, why) of each move of the alias, the oldest first."""
        found = self._open.execute("SELECT version, why FROM moves WHERE alias = ? ORDER BY id", (alias,))
        return found.fetchall()

    def current(self, alias: str) -> int | None:
        """The version that an alias points to; None where it points nowhere yet."""
        moved = self.moves(alias)
        return moved[-1][0] if moved else None

    def move(self, alias: str, version: int, was: int | None, why: str) -> bool:
        """Points an alias to a version, if it still points to `was`; returns whether it did.

        Raises sqlite3.IntegrityError for a version that is not registered.
        """
        self._open.execute("BEGIN IMMEDIATE")  # nobody else writes between the look and the move
        with self._open:  # commits at its end, or takes everything back
            if self.current(alias) != was:
                return False
            self._open.execute("INSERT INTO moves (alias, version, why) VALUES (?, ?, ?)", (alias, version, why))
        return True

    def close(self) -> None:
        self._open.close()
