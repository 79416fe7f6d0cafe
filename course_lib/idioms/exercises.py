"""`check`: says whether an exercise is solved, and if not, which property fails first, with one more hint each time."""

import importlib
import os
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from course_lib import show
from course_lib.idioms import store

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
        store.keep_solved(number)
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
