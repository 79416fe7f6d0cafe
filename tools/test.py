"""`./course test`: every notebook, exercise and solution, the unit tests and the build check, with a readable summary.

A lesson's live cells run live where an engine or a cluster is within reach, and once more replayed. Every run that is
not live is offline: with neither engine nor cluster, with the network cut where that can be, and each cell twice in a
row. Lessons that compare runtimes run once more under each of several instruction sets. A live run or a unit test that
fails is tried once more, since it shares the machine with whatever else runs there, and the summary tells of both tries.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from course_lib import syllabus
from course_lib.ops import reach
from course_lib.places import CHECKOUT
from tools import instruction_sets, offline, processes

CELL_SECONDS = 300
"""How long a cell may run before its notebook counts as hung; the longest cell of a live lesson takes half of it."""

JOB_SECONDS, UNITS_SECONDS = 900, 3600
"""How long a job may take before it is ended: notebooks and the build check, and unit tests."""

TAIL_LINES = 60
MOST_AGAIN = 5
"""If more unit tests than these fail, it is not the machine, and none is tried once more."""

WORKERS = 2

ASKED_FOR = ("tests/hub/test_on_the_cluster.py",)
"""What only a word of its own runs, `hub`: five minutes and more, for what instructors with a cluster use."""

FOLDERS = {"lesson": "notebooks", "solution": "solutions", "exercise": "exercises"}
DRILLS = "drills"

NOWHERE = {
    "DOCKER_HOST": "unix:///nonexistent/docker.sock",
    "KUBECONFIG": "/nonexistent/kubeconfig",
    "COURSE_BROWSER": "/nonexistent/chromium",
}
"""An engine, a cluster and a browser that are out of reach."""


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


@dataclass(frozen=True)
class Outcome:
    """How a job went. `counts` has passed, failed and skipped; a notebook counts as one. again: at the second try."""

    job: Job
    counts: Counter
    mode: str
    seconds: float
    tail: str
    again: bool = False


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


class Running:
    """The processes of jobs under way, in several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._processes: list[subprocess.Popen] = []
        self._stopped = False

    def call(self, command: list[str], seconds: float, **options: Any) -> int | None:
        """Run a process to its end and return its exit code, None where it took too long; once stopped, start none."""
        with self._lock:
            if self._stopped:
                return 1
            process = processes.start(command, **options)
            self._processes.append(process)
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            processes.stop([process], quiet=True)
            return None

    @property
    def stopped(self) -> bool:
        """Whether `stop` was called."""
        with self._lock:
            return self._stopped

    def stop(self) -> None:
        """Interrupt all, and wait until they have ended."""
        with self._lock:
            self._stopped = True
        processes.stop(self._processes)


def run(job: Job, checkout: Path, scratch: Path, running: Running, *more: str) -> Outcome:
    """Run one job and say how it went. `scratch` takes what it leaves behind; the learner's progress is not touched.
    more: what its command gets too."""
    if job.skipped:
        return Outcome(job, Counter(skipped=1), "-", 0, "")
    own = Path(tempfile.mkdtemp(dir=scratch))
    log, xml, output = own / "live.jsonl", own / "units.xml", own / "output.txt"
    environment = {
        **os.environ,
        "COURSE_LIVE_LOG": str(log),
        "COURSE_PROGRESS": str(own / "progress.json"),
        "IPYTHONDIR": str(own / "ipython"),
        "PYTEST_DEBUG_TEMPROOT": str(own),  # two pytests that share one trip over each other when they clean up
        "COURSE_STRICT": "1" if job.strict else "0",
        **({**NOWHERE, "COURSE_REQUIRE_LIVE": "0"} if job.offline else {}),
        **instruction_sets.SETTINGS.get(job.setting, {}),
    }
    command = [*job.command, *more]
    if job.kind == "units":
        command += [f"--junitxml={xml}", f"-ocache_dir={scratch / job.name}"]  # where pytest notes what failed
    began = time.monotonic()
    with output.open("wb") as file:
        code = running.call(command, job.seconds, cwd=checkout, env=environment, stdout=file, stderr=subprocess.STDOUT)
    seconds = time.monotonic() - began
    counts = Counter(passed=int(code == 0), failed=int(code != 0))
    if job.kind == "units":
        counts = _unit_counts(xml, code)
    said = output.read_text(encoding="utf-8", errors="replace")
    tail = _tail(said, job.kind) if counts["failed"] else ""
    if code is None:
        tail += f"\nended, since it took more than {job.seconds:,} s"
    return Outcome(job, counts, _mode(log), seconds, tail)


def run_twice_if_needed(job: Job, checkout: Path, scratch: Path, running: Running) -> Outcome:
    """Like `run`; but a live run, or a few unit tests, that failed are tried once more. The first failure stays in the
    tail."""
    first = run(job, checkout, scratch, running)
    units = job.kind == "units" and first.counts["failed"] <= MOST_AGAIN
    if not first.counts["failed"] or running.stopped or not (units or (job.live and not job.offline)):
        return first
    second = run(job, checkout, scratch, running, *["--last-failed", "--last-failed-no-failures=none"] * units)
    tail = f"the first try, after {first.seconds:.1f} s:\n{first.tail}"
    if second.tail:
        tail += f"\n\nthe second try:\n{second.tail}"
    counts = second.counts
    if units:
        counts = first.counts + counts
        counts["failed"] = second.counts["failed"]
    return replace(second, counts=counts, seconds=first.seconds + second.seconds, tail=tail, again=True)


def _unit_counts(xml: Path, code: int | None) -> Counter:
    """What pytest counted; a run that ended without a count, or failed without a failed test, is one failure."""
    counts: Counter = Counter()
    try:
        for suite in ElementTree.parse(xml).getroot().iter("testsuite"):
            failed = int(suite.get("failures", 0)) + int(suite.get("errors", 0))
            skipped = int(suite.get("skipped", 0))
            counts.update(failed=failed, skipped=skipped, passed=int(suite.get("tests", 0)) - failed - skipped)
    except (OSError, ElementTree.ParseError):
        pass
    if code != 0 and not counts["failed"]:
        counts["failed"] += 1
    return counts


def _mode(log: Path) -> str:
    """Whether the live cells of a notebook ran: "live", "replayed", both, or "-" where it has none."""
    if not log.exists():
        return "-"
    modes = {json.loads(line)["mode"] for line in log.read_text(encoding="utf-8").splitlines() if line.strip()}
    return " and ".join(sorted(modes)) or "-"


def _tail(said: str, kind: str) -> str:
    """What a failed job said: of unit tests the end, with the list of all that failed; else the one failure's begin and end."""
    said = re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", said)
    said = re.sub(r"^[.FEsxX]+ +\[ *\d+%\]\n", "", said, flags=re.MULTILINE)  # how far it was
    if kind != "units":
        said = re.split(r"^=+ short test summary info =+$", said, flags=re.MULTILINE)[0]
        said = re.split(r"^=+ FAILURES =+$", said, flags=re.MULTILINE)[-1]
    lines = said.rstrip().splitlines()
    if kind == "units" or len(lines) <= TAIL_LINES:
        return "\n".join(lines[-TAIL_LINES:])
    # Of a notebook, which cell failed stands first, and why it failed last.
    return "\n".join([*lines[: TAIL_LINES // 2], "…", *lines[-TAIL_LINES // 2 :]])


def line(outcome: Outcome) -> str:
    """An outcome in a line."""
    job, counts = outcome.job, outcome.counts
    verdict = "FAILED" if counts["failed"] else "skipped" if job.skipped else "passed"
    more = [job.skipped] if job.skipped else []
    if job.kind == "units":
        more += [f"{counts[each]} {each}" for each in ("passed", "failed", "skipped") if counts[each]]
    more += ["at the second try"] * outcome.again
    how = job.setting or outcome.mode
    return (
        f"{verdict:<7}  {job.kind:<8}  {job.name:<28}  {how:<17}  {outcome.seconds:7.1f} s  {', '.join(more)}".rstrip()
    )


def run_all(jobs: list[Job], checkout: Path, show: Callable[[str], None] = print) -> list[Outcome]:
    """Run the jobs, two at a time and then, one by one, those that must be alone; show a line as each ends."""
    outcomes = []
    running = Running()

    def await_all(pending: set[Future]) -> None:
        while pending:
            done, pending = wait(pending, timeout=1, return_when=FIRST_COMPLETED)  # endless, it is deaf on Windows
            for each in done:
                outcome = each.result()
                outcomes.append(outcome)
                show(line(outcome))
                if outcome.tail:
                    show("\n".join("    | " + each for each in outcome.tail.splitlines()))

    with (
        tempfile.TemporaryDirectory(prefix="course-test-", ignore_cleanup_errors=True) as scratch,
        ThreadPoolExecutor(WORKERS) as pool,
    ):
        try:
            await_all(
                {
                    pool.submit(run_twice_if_needed, job, checkout, Path(scratch), running)
                    for job in jobs
                    if not job.alone
                }
            )
            for job in jobs:
                if job.alone:
                    await_all({pool.submit(run_twice_if_needed, job, checkout, Path(scratch), running)})
        except BaseException:  # Ctrl-C; or nobody reads what is shown
            pool.shutdown(wait=False, cancel_futures=True)
            running.stop()
            raise
    return outcomes


def summary(outcomes: list[Outcome]) -> str:
    """The last lines: what failed, if only at the first try; how many passed, failed and were skipped, and how many jobs
    needed a second try."""
    total = sum((outcome.counts for outcome in outcomes), Counter())
    skipped = f", {total['skipped']} skipped" if total["skipped"] else ""
    again = sum(outcome.again and not outcome.counts["failed"] for outcome in outcomes)
    tries = f"; {again} of {len(outcomes)} jobs passed at the second try" if again else ""
    named = [
        each for outcome in outcomes for each in outcome.tail.splitlines() if each.startswith(("FAILED ", "ERROR "))
    ]
    return (
        "".join(f"{each}\n" for each in dict.fromkeys(named))
        + f"{total['passed']} passed, {total['failed']} failed{skipped}{tries}"
    )


def main(words: list[str] | None = None, checkout: Path = CHECKOUT) -> int:
    """Returns 0 where everything passed, 1 where something failed, 2 where a word names nothing."""
    parser = argparse.ArgumentParser("./course test", description=__doc__.partition(": ")[2])
    parser.add_argument(
        "what",
        nargs="*",
        help="numbers of lessons (02 is the first floor alone, 02b the second); live: the lessons with live cells; "
        "rest: all else; drills; isa: other instruction sets; units: the unit tests; a folder of tests/, or part of a test "
        "file's name; colab, alone or before numbers of lessons: in an environment like Google Colab's, which it makes",
    )
    options = parser.parse_args(words)
    if options.what[:1] == ["colab"]:
        from tools.colab import tried  # which imports this module

        return tried.main(options.what[1:], checkout)
    try:
        jobs = choose(options.what, checkout)
    except NothingToRun as nothing:
        print(f"course test: {nothing}", file=sys.stderr)
        return nothing.code
    why_not = offline.reason() if any(job.offline for job in jobs) else ""
    if why_not and os.environ.get("COURSE_REQUIRE_OFFLINE") == "1":
        print(f"course test: COURSE_REQUIRE_OFFLINE=1 asks for it, but {why_not}", file=sys.stderr)
        return 1
    if not why_not:
        jobs = [replace(job, command=offline.command(job.command)) if job.offline else job for job in jobs]
    network = f"with the network, since {why_not}" if why_not else "with the network cut"
    began = time.monotonic()
    try:
        with processes.signals_interrupt():
            outcomes = run_all(jobs, checkout, lambda text: print(text, flush=True))
    except KeyboardInterrupt:
        print("course test: stopped", file=sys.stderr)
        return 130
    print(f"\n{len(jobs)} jobs in {time.monotonic() - began:.0f} s")
    if count := sum(job.offline and not job.skipped for job in jobs):
        print(f"{count} of them without an engine, without a cluster, {network}")
    print(summary(outcomes))
    return 1 if any(outcome.counts["failed"] for outcome in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())
