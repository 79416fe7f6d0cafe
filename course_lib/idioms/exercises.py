"""`check`: says whether an exercise is solved, and if not, which property fails first, with one more hint each time."""

import html
import importlib
import json
import os
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date

from course_lib import places, show, syllabus

Property = tuple[str, Callable[[], object], list[str]]
"""What must hold; a function that says whether it does; three hints, from gentle to nearly the answer."""


@dataclass(frozen=True)
class Exercise:
    """An exercise's check, as `course_lib/checks/lesson_NN.py` registers it."""

    number: str
    title: str
    properties: Callable[[object], Iterator[Property]]


class CheckFailed(AssertionError):
    """Raised instead of shown where COURSE_STRICT=1 is set: in the tests, for solutions."""


_hints_given: dict[tuple[str, str], int] = {}


def exercises_of(lesson: str) -> dict[str, Exercise]:
    """The exercises of a lesson (`"01"`) by number; empty where the lesson has none."""
    name = f"course_lib.checks.lesson_{lesson}"
    try:
        return importlib.import_module(name).EXERCISES
    except ModuleNotFoundError as missing:
        if missing.name != name:
            raise
        return {}


@dataclass(frozen=True)
class Outcome:
    """What a check found. state: "solved", "not started" or "not yet"; passed: the properties that hold, in order;
    failed: the first that does not, with what the answer raised, if anything, and its hints."""

    state: str
    passed: tuple[str, ...] = ()
    failed: str = ""
    reason: str = ""
    hints: tuple[str, ...] = ()


def examine(number: str, answer: object) -> Outcome:
    """Checks an answer without showing or keeping anything. Raises ValueError for an unknown exercise."""
    passed: list[str] = []
    for what, holds, hints in exercise(number).properties(answer):
        reason = ""
        try:
            if holds():
                passed.append(what)
                continue
        except NotImplementedError:
            return Outcome("not started")
        except Exception as wrong:  # an answer may fail in any way, and each is an outcome to show
            reason = f"checking it raised {type(wrong).__name__}: {textwrap.shorten(str(wrong), 200)}"
        return Outcome("not yet", tuple(passed), what, reason, tuple(hints))
    return Outcome("solved", tuple(passed))


def check(number: str, answer: object) -> None:
    """Checks an answer, shows the outcome, and keeps what is solved on disk.

    number: the exercise's, `"02.3"`. answer: what the exercise asks for, most often a function.
    Shows "not started" for an answer that still raises NotImplementedError; else the first property that fails, with
    one hint more at each try. A wrong answer never raises, except under COURSE_STRICT=1. Raises ValueError for an
    unknown number.
    """
    found = examine(number, answer)
    name = f"{number} {exercise(number).title}"
    if found.state != "solved" and os.environ.get("COURSE_STRICT") == "1":
        raise CheckFailed(f"{number}: {found.state} {found.failed} {found.reason}")
    if found.state == "solved":
        _keep(number)
        show.put(show.card("✓", show.GREEN, f"{name}: solved", *found.passed, label="check"))
    elif found.state == "not started":
        detail = "Replace `raise NotImplementedError` by your answer, run that cell, then this one."
        show.put(show.card("…", show.GREY, f"{name}: not started", detail, label="check"))
    else:
        tries = _hints_given[number, found.failed] = _hints_given.get((number, found.failed), 0) + 1
        details = [f"✓ {each}" for each in found.passed] + [found.reason] * bool(found.reason)
        details += [f"hint {i}: {hint}" for i, hint in enumerate(found.hints[:tries], start=1)]
        details += ["run the check again for one more hint"] * (tries < len(found.hints))
        show.put(show.card("✗", show.RED, f"{number}, not yet: {found.failed}", *details, label="check"))


def exercise(number: str) -> Exercise:
    """The exercise of that number. Raises ValueError, naming those of its lesson, where there is none."""
    known = exercises_of(str(number).partition(".")[0])
    if number not in known:
        raise ValueError(f"expected an exercise's number{_examples(known)}, got {number!r}")
    return known[number]


def _examples(known: dict) -> str:
    return f" of this lesson ({', '.join(known)})" if known else ' such as "01.1"'


def solved() -> dict[str, str]:
    """The exercises that this learner has solved, by number, each with its date (ISO 8601)."""
    try:
        kept = json.loads(places.PROGRESS.read_text(encoding="utf-8"))
        return dict(kept["solved"])
    except FileNotFoundError:
        return {}
    except (ValueError, KeyError, TypeError) as unreadable:
        aside = places.PROGRESS.with_suffix(".unreadable.json")
        places.PROGRESS.replace(aside)  # a half-written or hand-edited file is set aside, not overwritten
        show.put(show.card("!", show.ORANGE, "your progress could not be read", f"{unreadable}; kept as {aside}"))
        return {}


def _keep(number: str) -> None:
    """Adds to the progress file, through a temporary one, so that a crash loses nothing."""
    try:
        done = solved()
        done.setdefault(number, date.today().isoformat())
        places.PROGRESS.parent.mkdir(parents=True, exist_ok=True)
        draft = places.PROGRESS.with_suffix(f".{os.getpid()}")
        draft.write_text(json.dumps({"solved": dict(sorted(done.items()))}, indent=1) + "\n", encoding="utf-8")
        draft.replace(places.PROGRESS)
    except OSError as refused:
        show.put(show.card("!", show.ORANGE, "solved, but not kept on disk", f"{places.PROGRESS}: {refused}"))


def progress() -> show.Block:
    """The learner's progress: a line a lesson that has exercises."""
    done, lines, markup = solved(), [], []
    for lesson in syllabus.load().lessons:
        known = exercises_of(lesson.number)
        if not known:
            continue
        marks = "".join("●" if number in done else "○" for number in known)
        count = f"{sum(number in done for number in known)} of {len(known)}"
        lines.append(f"{lesson.number}  {lesson.title:<28} {marks:<6} {count}")
        markup.append(
            f"<tr><td>{lesson.number}</td><td>{html.escape(lesson.title)}</td>"
            f'<td style="color:{show.GREEN};letter-spacing:2px">{marks}</td><td>{count}</td></tr>'
        )
    text = "\n".join(lines) if lines else "no lesson has exercises yet"
    return show.Block("<table>" + "".join(markup) + "</table>", text)
