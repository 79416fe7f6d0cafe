"""A learner's progress as a file that they may hand to their instructor; teaching/README.md describes its fields."""

import json
import secrets
from datetime import UTC, datetime
from pathlib import Path

from course_lib import syllabus
from course_lib.idioms import store
from course_lib.idioms.exercises import exercises_of
from course_lib.progress import scored_guesses

FORMAT, VERSION = "from-loss-to-load-balancer progress", 1
"""What an export says that it is. The version is raised where an older course could not read it rightly."""

NAME_LETTERS = 80


class Refused(Exception):
    """What was asked for cannot be done; the message says what was expected, what came, and what to do."""


def write(path: Path, name: str = "") -> dict:
    """Writes the learner's progress to `path` and returns it. Their older export there is replaced, nothing else is.

    name: of the learner, where they want it in the file. Raises Refused.
    """
    if path.is_dir():
        raise Refused(f"expected the name of a file, got the folder {path}; write, say, {path / 'progress.json'}")
    if not path.parent.is_dir():
        raise Refused(f"expected a folder that is there, got {path.parent}; make it first")
    if path.exists() and not is_export(path):
        raise Refused(f"{path} is there and holds something else. Nothing was written; choose another name")
    content = exported(name)
    if path.exists() and not _may_be_of(content["learner"], path):
        raise Refused(f"{path} is there and holds another learner's export. Nothing was written; choose another name")
    try:
        path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    except OSError as refused:
        raise Refused(f"{path} cannot be written: {refused.strerror or refused}") from None
    return content


def exported(name: str = "") -> dict:
    """The learner's progress as an export holds it. Raises Refused for a name that is none."""
    name = name.strip()
    if len(name) > NAME_LETTERS or not name.isprintable():
        raise Refused(f"expected a name of at most {NAME_LETTERS} letters, on one line, got {name!r:.100}")
    course, kept = syllabus.load(), _kept()
    solved, tries, drills = kept["solved"], kept.get("tries", {}), kept.get("drills", {})
    known = [number for lesson in course.lessons for number in exercises_of(lesson.number)]
    return {
        "format": FORMAT,
        "version": VERSION,
        "course": course.version,
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
        "learner": kept.get("learner"),
        "name": name or None,
        "exercises": {
            number: {"solved": solved.get(number), "tries": tries.get(number)}
            for number in known
            if number in solved or number in tries
        },
        "guesses": [
            {"lesson": each.lesson, "name": each.name, "kind": each.form.kind, "guess": each.value,
             "measured": each.truth, "good": each.good}
            for each in scored_guesses()
        ],
        "drills": drills if isinstance(drills, dict) else {},
    }  # fmt: skip


def is_export(path: Path) -> bool:
    """Whether this file is an export, of any version."""
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))["format"] == FORMAT
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return False


def _may_be_of(learner: str | None, path: Path) -> bool:
    """Whether the export there is this learner's; one without a number may be."""
    there = json.loads(path.read_text(encoding="utf-8-sig")).get("learner")
    return None in (there, learner) or there == learner


def _kept() -> dict:
    """The learner's progress, with a random number, made once, by which two exports of one learner are recognised."""
    store.change(lambda kept: kept.setdefault("learner", secrets.token_hex(8)))  # where refused, there is none
    return store.read()
