"""An audit log: a JSON object a line, each with its own hash and that of the line before (lesson 22c).

The writer keeps the last hash in memory, and takes it from the file when it starts. A second file, on another machine's
disk in earnest, gets each line too.
"""

import hashlib
import json
from pathlib import Path


def digest(row: dict) -> str:
    """The hash of a row: SHA-256 of its fields but `hash`, in the order of their names."""
    text = json.dumps({name: row[name] for name in sorted(row) if name != "hash"})
    return hashlib.sha256(text.encode()).hexdigest()


def chained(rows: list[dict], previous: str = "") -> list[dict]:
    """The same rows, each with the hash of the one before and its own."""
    found = []
    for row in rows:
        row = row | {"previous": previous}
        previous = digest(row)
        found.append(row | {"hash": previous})
    return found


def read(file: Path) -> list[dict]:
    """The rows of a file; {} for what is no JSON object, and none for a last line that is still being written."""
    try:
        text = file.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return []
    return [_row(line) for line in text.rpartition("\n")[0].splitlines()]


def first_wrong(rows: list[dict]) -> int | None:
    """The first row that is not as it was written, or does not fit the row before; None where all do."""
    previous = ""
    for number, row in enumerate(rows):
        if row.get("previous") != previous or row.get("hash") != digest(row):
            return number
        previous = row["hash"]
    return None


class Audit:
    """The writer. Raises ValueError where the two files end in different lines: no line could follow both."""

    def __init__(self, file: Path, copy: Path) -> None:
        self.files, ends = (file, copy), [(read(each) or [{"hash": ""}])[-1].get("hash") for each in (file, copy)]
        if ends[0] != ends[1] or not isinstance(ends[0], str):
            raise ValueError(f"{file} and {copy} end in different lines: no line could follow both")
        self.previous = ends[0]

    def append(self, row: dict) -> None:
        (row,) = chained([row], self.previous)
        self.previous = row["hash"]
        for file in self.files:  # opened anew, so that on Windows too the file can be replaced in between
            with file.open("a", encoding="utf-8", newline="\n") as out:
                out.write(json.dumps(row) + "\n")


def _row(line: str) -> dict:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        found = None
    return found if isinstance(found, dict) else {}
