"""`check`: says whether an exercise is solved, and if not, which property fails first, with one more hint each time."""

import importlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from course_lib import show
from course_lib.idioms import store
from course_lib.idioms.answers import Watch, described
from course_lib.idioms.time_limit import within

Property = tuple[str, Callable[[], object], list[str]]
"""What must hold; a function that says whether it does; three hints, from gentle to nearly the answer."""


@dataclass(frozen=True)
class Exercise:
    """An exercise's check, as `course_lib/checks/lesson_NN.py` registers it."""

    number: str
    title: str
    properties: Callable[[object], Iterator[Property]]
    seconds: float = 20
    """How long one property may take, whatever the answer does."""
    may_change: tuple[int, ...] = ()
    """Positions of the arguments that the answer is asked to change in place."""

    @property
    def contract(self) -> tuple[str, str]:
        """How an answer is called and what it hands back, from the first line of the check's docstring."""
        called, _, promised = (self.properties.__doc__ or "").strip().partition("\n")[0].rstrip(".").partition(" -> ")
        return called, promised


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
    failed: the first that does not; reasons: sentences that say why, as far as that can be told; hints: its hints;
    remarks: what else was seen."""

    state: str
    passed: tuple[str, ...] = ()
    failed: str = ""
    reasons: tuple[str, ...] = ()
    hints: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


def examine(number: str, answer: object) -> Outcome:
    """Checks an answer without showing or keeping anything. Raises ValueError for an unknown exercise.

    Whatever the answer raises, prints or never ends with becomes part of the outcome; KeyboardInterrupt alone goes on.
    """
    asked = exercise(number)
    called, promised = asked.contract
    if called.startswith("answer(") and not callable(answer):
        how = f'write `check("{number}", your_function)`, without parentheses after its name.'
        why = f"Expected the function itself, got {described(answer)}: {how}"
        return Outcome("not yet", failed="the answer is a function", reasons=(why,))
    called = called.replace("answer", getattr(answer, "__name__", "answer").replace("<lambda>", "answer"), 1)
    watch, passed, remarks = Watch(answer, asked.may_change), [], ()
    properties = asked.properties(watch.handed)
    while True:
        what, hints, wrong = "the check can go on", [], None
        try:
            following = next(properties, None)
            if following is None:
                return Outcome("solved", tuple(passed), remarks=remarks)
            what, holds, hints = following
            with watch.listening():
                held = within(asked.seconds, holds)
            remarks = remarks or watch.remarks()
            if held:
                passed.append(what)
                continue
        except KeyboardInterrupt:
            raise
        except BaseException as raised:  # an answer may fail in any way, SystemExit too, and each is an outcome to show
            wrong = raised
        if wrong is not None and not passed and watch.is_stub(wrong):
            return Outcome("not started")
        why = watch.reasons(wrong, called, promised, asked.seconds)
        return Outcome("not yet", tuple(passed), what, why, tuple(hints), watch.remarks(why))


def check(number: str, answer: object) -> None:
    """Checks an answer, shows the outcome, and keeps on disk what is solved and the number of tries.

    number: the exercise's, `"02.3"`. answer: what the exercise asks for, most often a function.
    Shows "not started" for an answer that still is the stub; else the first property that fails, with what the answer
    raised or did, and one hint more at each try. A property that takes longer than the exercise allows is stopped. A
    wrong answer never raises, except under COURSE_STRICT=1. Raises ValueError for an unknown number.
    """
    found = examine(number, answer)
    name = f"{number} {exercise(number).title}"
    if found.state != "solved" and os.environ.get("COURSE_STRICT") == "1":
        raise CheckFailed(" ".join([f"{number}: {found.state} {found.failed}", *found.reasons]))
    held = [f"✓ {each}" for each in found.passed]
    if found.state == "solved":
        store.keep_solved(number)
        show.put(show.card("✓", show.GREEN, f"{name}: solved", *held, *found.remarks, label="check"))
    elif found.state == "not started":
        detail = "Replace `raise NotImplementedError` by your answer, run that cell, then this one."
        show.put(show.card("…", show.GREY, f"{name}: not started", detail, label="check"))
    else:
        store.keep_try(number)
        tries = _hints_given[number, found.failed] = _hints_given.get((number, found.failed), 0) + 1
        details = [*held, *found.reasons, *found.remarks]
        details += [f"hint {i}: {hint}" for i, hint in enumerate(found.hints[:tries], start=1)]
        details += ["run the check again for one more hint"] * (tries < len(found.hints))
        show.put(show.card("✗", show.RED, f"{number}, not yet true: {found.failed}", *details, label="check"))


def exercise(number: str) -> Exercise:
    """The exercise of that number. Raises ValueError, naming those of its lesson, where there is none."""
    known = exercises_of(str(number).partition(".")[0])
    if number not in known:
        raise ValueError(f"expected an exercise's number{_examples(known)}, got {number!r}")
    return known[number]


def _examples(known: dict) -> str:
    return f" of this lesson ({', '.join(known)})" if known else ' such as "01.1"'
