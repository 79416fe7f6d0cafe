"""What there is to test: a job for each run of a notebook, for the unit tests, for the build check."""

import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from course_lib import syllabus
from course_lib.ops import reach
from tools import instruction_sets

CELL_SECONDS = 300
"""How long a cell may run before its notebook counts as hung; the longest cell of a live lesson takes half of it."""

JOB_SECONDS, UNITS_SECONDS = 900, 3600
"""How long a job may take before it is ended: notebooks and the build check, and unit tests."""

ASKED_FOR = ("tests/hub/test_on_the_cluster.py",)
"""What only a word of its own runs, `hub`: five minutes and more, for what instructors with a cluster use."""

FOLDERS = {"lesson": "notebooks", "solution": "solutions", "exercise": "exercises"}

DRILLS = "drills"


class NothingToRun(Exception):
    """There is nothing to test. `code`: 2 where a word was wrong, 1 where no notebook is built."""

    def __init__(self, why: str, code: int) -> None:
        super().__init__(why)
        self.code = code


@dataclass(frozen=True)
class Job:
    """One subprocess: a notebook, some unit tests or the build check.

    strict: whether an unsolved `check` fails it; a lesson may show one, a solution may not. alone: whether nothing may
    run beside it. live: whether it is of a lesson with live cells. offline: whether it must do without an engine, a
    cluster and a network. setting: its instruction set, by its name in `instruction_sets`. skipped: why it cannot run.
    """

    kind: str
    name: str
    command: tuple[str, ...]
    strict: bool = False
    alone: bool = False
    live: bool = False
    offline: bool = True
    setting: str = ""
    skipped: str = ""

    @property
    def seconds(self) -> int:
        """How long it may take."""
        return UNITS_SECONDS if self.kind == "units" else JOB_SECONDS


def notebooks(course: syllabus.Syllabus, checkout: Path) -> list[Job]:
    """Every run of every built notebook, lessons first, exercises last: the slowest start first."""
    jobs = []
    for kind, folder in FOLDERS.items():
        there = [each for each in course.lessons if each.notebook(folder, checkout).is_file()]
        for lesson in there:
            path, live = lesson.notebook(folder, checkout), kind == "lesson" and bool(lesson.live)
            if live and runs_live(lesson):
                jobs.append(Job(kind, lesson.stem, nbval(path), alone=True, live=True, offline=False))
            alone = lesson.timed and kind != "exercise"  # whose stubs time nothing
            jobs.append(Job(kind, lesson.stem, nbval(path, "-p", "tools.twice"), kind == "solution", alone, live))
        if kind == "lesson":
            jobs += [
                Job("isa", each.stem, nbval(each.notebook(folder, checkout)), setting=setting, skipped=why_not)
                for why_not in [instruction_sets.reason()]
                for each in there
                if each.runtimes
                for setting in instruction_sets.SETTINGS
            ]
    return jobs + drills(course, checkout)


def drills(course: syllabus.Syllabus, checkout: Path) -> list[Job]:
    """Every run of every built drill, untouched. Each has processes of its own, so nothing runs beside it."""
    jobs = []
    for drill in course.drills:
        path = drill.notebook(checkout=checkout)
        if path.is_file():
            if drill.live and runs_live(drill):
                jobs.append(Job("drill", drill.stem, nbval(path), alone=True, live=True, offline=False))
            command = nbval(path, "-p", "tools.twice")
            jobs.append(Job("drill", drill.stem, command, alone=True, live=bool(drill.live)))
    return jobs


def nbval(notebook: Path, *more: str) -> tuple[str, ...]:
    """The command that runs a notebook's cells; pytest gets `more` too."""
    options = ("--nbval-lax", "--nbval-current-env", f"--nbval-cell-timeout={CELL_SECONDS}", *more)
    return (sys.executable, "-m", "pytest", *options, "-p", "no:cacheprovider", "-q", "-x", str(notebook))


def runs_live(lesson: syllabus.Lesson | syllabus.Drill) -> bool:
    """Whether some of its live cells can run live here, or must."""
    if os.environ.get("COURSE_REQUIRE_LIVE") == "1":
        return True
    return os.environ.get("COURSE_REPLAY") != "1" and any(reach.probe(need).there for need in lesson.live)


def unit_tests(files: list[Path], name: str = "tests", *more: str) -> Job:
    """The unit tests in these files or folders, as one job; pytest gets `more` too."""
    options = ("-q", "--tb=short", *more)
    return Job("units", name, (sys.executable, "-m", "pytest", *options, *map(str, files)), offline=False)


def lesson_tests(lesson: syllabus.Lesson, tests: list[Path], checkout: Path) -> list[Job]:
    """The unit tests of one lesson: the files named after it, and its exercises' part of tests/test_exercises.py
    and tests/test_right_answers.py.

    Those files' tests bear the exercise's number, as in [01.2-rounded] or [None-01.2], or the lesson's, as in [01].
    """
    number = lesson.number
    jobs = []
    if own := [each for each in tests if re.search(rf"_{number}(?![0-9a-z])", each.stem)]:
        jobs.append(unit_tests(own, number))
    shared = [each for each in tests if each.name in ("test_exercises.py", "test_right_answers.py")]
    if shared and lesson.notebook("exercises", checkout).is_file():
        only = f"[{number}. or -{number}. or [{number}]"
        jobs.append(unit_tests(shared, f"{number} exercises", "-k", only))
    return jobs


def build_check() -> Job:
    """Whether what is built and its sources agree."""
    return Job("build", "--check", (sys.executable, "-m", "tools.build", "--check"))


def choose(words: list[str], checkout: Path) -> list[Job]:
    """The jobs that the words name. Raises NothingToRun, saying in one line what the words can be."""
    course = syllabus.load(checkout / "syllabus.toml")
    every = notebooks(course, checkout)
    tests = sorted((checkout / "tests").rglob("test_*.py"))
    ignored = [f"--ignore={checkout / each}" for each in ASKED_FOR if (checkout / each).exists()]
    units = [unit_tests([checkout / "tests"], "tests", *ignored)] if tests else []
    if not every:
        raise NothingToRun(f"{checkout / 'notebooks'} holds no lesson of syllabus.toml; run `./course build` first", 1)
    if not words:
        return [*units, build_check(), *every]
    chosen: list[Job] = []
    for word in words:
        try:
            lesson = course.lesson(word)
        except LookupError:
            lesson = None
        own = [job for job in every if lesson and job.name == lesson.stem]
        numeric = word[:1].isdigit()
        part = re.compile(rf"(^|_){re.escape(word)}(?![0-9a-z])")
        matching = [each for each in tests if not numeric and (part.search(each.stem) or each.parent.name == word)]
        if word == "units":
            chosen += units
        elif word == "live":
            chosen += [job for job in every if job.live]
        elif word == "isa":
            chosen += [job for job in every if job.kind == "isa"]
        elif word == "rest":
            chosen += [*units, build_check(), *(job for job in every if not job.live)]
        elif word == DRILLS:
            chosen += [unit_tests(matching, word)] * bool(matching) + [job for job in every if job.kind == "drill"]
        elif own:
            chosen += lesson_tests(lesson, tests, checkout) + own
        elif matching:
            chosen.append(unit_tests(matching, word))
        else:
            numbers = sorted({job.name.partition("_")[0] for job in every})
            parts = sorted({each.parent.name for each in tests} - {"tests", DRILLS} | {each.stem[5:] for each in tests})
            drilled = [DRILLS] * any(job.kind == "drill" for job in every)
            valid = ["live", "rest", "units", "isa", "colab", *drilled, *numbers, *parts]
            raise NothingToRun(f"nothing is called {word!r}; there are {', '.join(valid)}", 2)
    return list(dict.fromkeys(chosen))
