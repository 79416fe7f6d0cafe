"""A folder of exports, as it comes: what can be counted, and what cannot, each with its reason.

The files are other people's. Nothing in them is run or trusted; what does not fit the format is not counted.
"""

import hashlib
import json
import os
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path

from course_lib.idioms.guesses.forms import is_number
from course_lib.teaching.export import FORMAT, NAME_LETTERS, VERSION, Refused

MOST_BYTES = 2_000_000
"""A whole course's export has some 60 kB."""

KINDS = ("number", "share", "choice", "order")


@dataclass(frozen=True)
class Learner:
    """What one export says. solved: a date by exercise. tries: a count by exercise, where one was kept."""

    label: str
    file: str
    course: str
    written: datetime
    solved: dict[str, date]
    tries: dict[str, int]
    guesses: list[dict]
    drills: int  # with a solved run
    learner: str | None
    content: str
    named: bool

    @property
    def good(self) -> int:
        """How many of the guesses that count were good."""
        return sum(each["good"] for each in self.guesses)


def folder(path: Path) -> tuple[list[Learner], list[tuple[str, str]]]:
    """The exports under a folder, by label, and the files that were not counted, each with the reason.

    Raises Refused where there is no such folder.
    """
    if not path.is_dir():
        raise Refused(
            f"expected a folder of exports, got {path}, which is {'a file' if path.exists() else 'not there'}"
        )
    read, skipped, counted = [], [], []
    for where, folders, files in os.walk(path):
        folders.sort()
        for name in sorted(files):
            file = Path(where, name)
            shown = _printable(file.relative_to(path).as_posix())
            try:
                read.append(export(file, shown))
            except (ValueError, OverflowError, RecursionError) as wrong:
                kind = "broken" if file.suffix.casefold() == ".json" else "foreign"
                skipped.append((shown, str(wrong) if isinstance(wrong, Wrong) else f"{kind}: no JSON ({wrong})"))
            except OSError as refused:
                skipped.append((shown, f"cannot be read: {refused.strerror or refused}"))
    for one in sorted(read, key=lambda each: each.written, reverse=True):  # the newest counts
        same = next((each for each in counted if _same(each, one)), None)
        if same is None:
            counted.append(one)
        elif same.content == one.content:
            skipped.append((one.file, f"duplicate: the same as {same.file}"))
        else:
            other = f", there {same.label}, here {one.label}; if these are two people, see teaching/README.md, A class"
            told = other if one.named and same.named and one.label != same.label else ""
            skipped.append((one.file, f"duplicate: {same.file} is a newer export of the same learner{told}"))
    return _told_apart(sorted(counted, key=lambda each: (each.label.casefold(), each.file))), sorted(skipped)


class Wrong(ValueError):
    """A file that is not counted; the message is its reason."""


def export(path: Path, shown: str) -> Learner:
    """Reads one export. Raises Wrong with the reason, ValueError, RecursionError or OSError where it is none."""
    if not path.is_file():
        raise Wrong("foreign: no ordinary file")
    if path.stat().st_size > MOST_BYTES:
        raise Wrong(f"foreign: {path.stat().st_size:,} bytes; an export has at most {MOST_BYTES:,}")
    raw = path.read_bytes()
    if not raw.strip():
        raise Wrong("empty")
    held = json.loads(raw.decode("utf-8-sig"), parse_constant=_no_number)
    if not isinstance(held, dict) or held.get("format") != FORMAT:
        raise Wrong("foreign: JSON, but no export of this course's progress")
    version = held.get("version")
    if isinstance(version, int) and version > VERSION:
        raise Wrong(f"newer: format {version}; this course reads format {VERSION}: ./course update")
    _expect(version == VERSION and version is not True, "version", version, str(VERSION))
    name, learner = held.get("name") or "", held.get("learner")
    _expect(isinstance(name, str) and len(name) <= NAME_LETTERS, "name", name, f"at most {NAME_LETTERS} letters")
    _expect(learner is None or isinstance(learner, str) and len(learner) <= 64, "learner", learner, "letters")
    course = held.get("course")
    _expect(isinstance(course, str) and len(course) <= 40, "course", course, "the course's version")
    solved, tries = _exercises(held.get("exercises"))
    drills = held.get("drills", {})
    _expect(isinstance(drills, dict), "drills", drills, "an object")
    done = sum(isinstance(each, dict) and bool(each.get("solved")) for each in drills.values())
    return Learner(_printable(name).strip() or shown.removesuffix(".json"), shown, _printable(course),
                   _moment(held.get("written")), solved, tries, _guesses(held.get("guesses")), done, learner,
                   hashlib.sha256(raw).hexdigest(), bool(name.strip()))  # fmt: skip


def _exercises(held: object) -> tuple[dict[str, date], dict[str, int]]:
    _expect(isinstance(held, dict), "exercises", held, "an object")
    solved, tries = {}, {}
    for number, entry in held.items():
        _expect(isinstance(entry, dict), f"exercises, {number}", entry, "an object")
        if (day := entry.get("solved")) is not None:
            _expect(isinstance(day, str), f"{number}, solved", day, "a date")
            try:
                solved[number] = date.fromisoformat(day)
            except ValueError:
                raise Wrong(f"broken: {number}, solved: expected a date, got {day!r:.40}") from None
        if (count := entry.get("tries")) is not None:
            good = isinstance(count, int) and not isinstance(count, bool) and 1 <= count <= 1_000_000
            _expect(good, f"{number}, tries", count, "a count")
            tries[number] = count
    return solved, tries


def _guesses(held: object) -> list[dict]:
    _expect(isinstance(held, list), "guesses", held, "a list")
    for each in held:
        _expect(isinstance(each, dict) and isinstance(each.get("good"), bool), "guesses", each, "objects with `good`")
        _expect(each.get("kind") in KINDS, "guesses, kind", each.get("kind"), " or ".join(KINDS))
        if each["kind"] in ("number", "share"):
            for key in ("guess", "measured"):
                _expect(is_number(each.get(key)), f"guesses, {key}", each.get(key), "a number")
    return held


def _moment(held: object) -> datetime:
    try:
        moment = datetime.fromisoformat(held)
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (TypeError, ValueError):
        raise Wrong(f"broken: written: expected a date and a time, got {held!r:.40}") from None


def _expect(holds: bool, what: str, got: object, expected: str) -> None:
    if not holds:
        raise Wrong(f"broken: {_printable(what)}: expected {expected}, got {got!r:.40}")


def _no_number(name: str) -> None:
    raise Wrong(f"broken: {name} is no JSON")


def _printable(words: str) -> str:
    """Without what would move a terminal's cursor or break a line."""
    return "".join(letter if letter.isprintable() else "?" for letter in words)


def _same(one: Learner, other: Learner) -> bool:
    return one.content == other.content or one.learner is not None and one.learner == other.learner


def _told_apart(learners: list[Learner]) -> list[Learner]:
    """With the file's name after a label that two learners share."""
    labels = [each.label for each in learners]
    return [
        replace(each, label=f"{each.label} ({each.file})") if labels.count(each.label) > 1 else each
        for each in learners
    ]
