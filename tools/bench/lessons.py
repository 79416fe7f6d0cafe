"""`./course bench`: the seconds and the peak memory that each notebook takes, as a table that TIMINGS.md can hold.

A notebook whose live cells ran live is run once more with them replayed, as they are for a learner without an engine.
Each notebook runs in a fresh process; the memory is that of its kernel and everything that the kernel starts, sampled
every tenth of a second. Where the system tells it (Linux), memory that processes share is divided among them.
"""

import argparse
import json
import os
import platform
import re
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import psutil

from course_lib import syllabus
from course_lib.places import CHECKOUT
from tools import processes

SECONDS, LIVE_SECONDS, MIB = 60, 150, 1536
"""What a lesson may take (DESIGN: budgets); a live lesson that replays is held to the shorter time."""

EVERY_SECONDS = (
    0.4  # each look at a large process takes it some hundredths of a second: more often slows what it measures
)

MARK = "<!-- bench -->"
"""Stands in a line of its own before and after the table in TIMINGS.md."""

EXECUTE = """
import sys, time
import nbformat
from nbclient import NotebookClient

path, seconds = sys.argv[1:]
notebook = nbformat.read(path, as_version=4)
client = NotebookClient(notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": "."}})
began = time.monotonic()
client.execute()
open(seconds, "w").write(str(time.monotonic() - began))
"""


@dataclass(frozen=True)
class Measured:
    """One notebook's figures. `error` is empty where it ran to its end; `mode` as in `./course test`."""

    name: str
    seconds: float
    peak_mib: float
    mode: str
    error: str = ""

    @property
    def budget_seconds(self) -> int:
        """What its seconds are held to."""
        return LIVE_SECONDS if self.mode.startswith("live") else SECONDS

    @property
    def verdict(self) -> str:
        """What the last column says."""
        over = [
            *(["seconds"] if self.seconds > self.budget_seconds else []),
            *(["memory"] if self.peak_mib > MIB else []),
        ]
        return "FAILED" if self.error else f"over: {' and '.join(over)}" if over else "within"


def footprint(process: psutil.Process) -> int:
    """The bytes of memory that a process answers for; 0 where it is gone."""
    try:
        full = process.memory_full_info()
        return getattr(full, "pss", 0) or full.uss
    except psutil.AccessDenied:
        try:
            return process.memory_info().rss
        except psutil.Error:
            return 0
    except psutil.Error:
        return 0


def kernel_bytes(runner: psutil.Process) -> int:
    """The memory of everything that the runner started: the kernel and its children, the runner itself left out."""
    try:
        return sum(footprint(each) for each in runner.children(recursive=True))
    except psutil.NoSuchProcess:
        return 0


def measure(path: Path, replay: bool = False) -> Measured:
    """Run one notebook in a fresh process and take its figures; `replay` keeps its live cells from running live."""
    with tempfile.TemporaryDirectory(prefix="course-bench-", ignore_cleanup_errors=True) as folder:
        scratch = Path(folder)
        log, taken, errors = scratch / "live.jsonl", scratch / "seconds", scratch / "errors.txt"
        environment = {
            **os.environ,
            "COURSE_LIVE_LOG": str(log),
            "COURSE_PROGRESS": str(scratch / "progress.json"),
            "IPYTHONDIR": str(scratch / "ipython"),
            **({"COURSE_REPLAY": "1", "COURSE_REQUIRE_LIVE": ""} if replay else {}),
        }
        command = [sys.executable, "-c", EXECUTE, str(path), str(taken)]
        peak, began = 0, time.monotonic()
        with errors.open("wb") as file:
            process = processes.start(command, cwd=path.parent, env=environment, stdout=file, stderr=file)
            try:
                runner = psutil.Process(process.pid)
                while process.poll() is None:
                    peak = max(peak, kernel_bytes(runner))
                    time.sleep(EVERY_SECONDS)
            finally:
                processes.stop([process])
        seconds = float(taken.read_text()) if taken.exists() else time.monotonic() - began
        modes = {json.loads(line)["mode"] for line in log.read_text().splitlines()} if log.exists() else set()
        said = re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", errors.read_text(encoding="utf-8", errors="replace")).strip()
        error = "" if process.returncode == 0 else (said.splitlines() or [f"exit code {process.returncode}"])[-1]
        return Measured(path.stem, seconds, peak / 2**20, " and ".join(sorted(modes)) or "-", error)


HEAD = ("notebook", "seconds", "peak MiB", "ran", "budget", "")
WIDTHS = (26, 8, 9, 17, 16, 6)


def row(cells: Iterable[str]) -> str:
    """A row of the table; it is Markdown, and lines up in a terminal too."""
    return "| " + " | ".join(f"{cell:<{width}}" for cell, width in zip(cells, WIDTHS, strict=True)) + " |"


HEADER = (row(HEAD), "|" + "|".join("-" * (width + 2) for width in WIDTHS) + "|")


def line(each: Measured) -> str:
    """One notebook's row."""
    budget = f"{each.budget_seconds} s, {MIB} MiB"
    return row((each.name, f"{each.seconds:8.1f}", f"{each.peak_mib:9.0f}", each.mode, budget, each.verdict))


def choose(words: list[str], everything: bool, checkout: Path) -> list[Path]:
    """The notebooks to run. Raises LookupError, naming the valid words, for a word that is no lesson."""
    course = syllabus.load(checkout / "syllabus.toml")
    folders = ("notebooks", "exercises", "solutions") if everything else ("notebooks",)
    there = [lesson for lesson in course.lessons if lesson.notebook("notebooks", checkout).is_file()]
    if not there:
        raise LookupError("no notebook is built; run `./course build` first")
    lessons = []
    for word in words:
        try:
            lessons.append(there[there.index(course.lesson(word))])
        except (LookupError, ValueError):
            raise LookupError(f"no lesson {word!r}; there are {', '.join(each.number for each in there)}") from None
    lessons = lessons or there
    paths = [lesson.notebook(folder, checkout) for folder in folders for lesson in dict.fromkeys(lessons)]
    return [path for path in paths if path.is_file()]


def machine() -> str:
    """On what the figures were taken."""
    memory = psutil.virtual_memory().total / 2**30
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{cores} cores ({platform.machine()}), {memory:.0f} GiB, {platform.system()}, Python {platform.python_version()}"


def written(page: Path, table: str, mark: str = MARK) -> str:
    """The page's text with this table between its two marks. Raises LookupError where they are not two."""
    text = page.read_text(encoding="utf-8") if page.is_file() else ""
    parts = re.split(rf"^{re.escape(mark)}$", text, flags=re.MULTILINE)
    if len(parts) != 3:
        raise LookupError(f"{page} must hold two lines {mark}, for the table between; it holds {len(parts) - 1}")
    return f"{parts[0]}{mark}\n{table}\n{mark}{parts[2]}"


def beside(page: Path, measured: list[Measured]) -> list[str]:
    """The rows of the page's table for lessons that were not measured now.

    Raises LookupError where they were taken on another machine: figures in one table are there to be compared.
    """
    table = page.read_text(encoding="utf-8").split(MARK)[1]
    now = {each.name for each in measured}
    rows = [
        row for row in table.splitlines() if re.match(r"\| \d\d[a-z]?_", row) and row.split("|")[1].strip() not in now
    ]
    if rows and f"Taken on {machine()}." not in table:
        raise LookupError(f"{page.name} was taken on another machine: leave the numbers out, to measure every lesson")
    return rows


def main(words: list[str] | None = None, checkout: Path = CHECKOUT) -> int:
    """Returns 0, over budget or not; 1 where a notebook fails, so that its figures are none; 2 for a wrong word."""
    parser = argparse.ArgumentParser("./course bench", description="Seconds and peak memory of each notebook.")
    parser.add_argument("lesson", nargs="*", help="numbers of lessons; all of them where none is named")
    parser.add_argument("--all", action="store_true", help="exercises and solutions too")
    parser.add_argument("--write", action="store_true", help="put what is measured into the table in TIMINGS.md")
    options = parser.parse_args(words)
    page = checkout / "TIMINGS.md"
    try:
        paths = choose(options.lesson, options.all, checkout)
        if options.write:
            written(page, "")
            if options.lesson:
                beside(page, [])
    except LookupError as wrong:
        print(f"course bench: {wrong.args[0]}", file=sys.stderr)
        return 2 if options.lesson else 1
    print(*HEADER, sep="\n", flush=True)
    measured: list[Measured] = []
    try:
        with processes.signals_interrupt():
            for path in paths:
                measured.append(measure(path))
                print(line(measured[-1]), flush=True)
                if measured[-1].mode.startswith("live") and not measured[-1].error:
                    measured.append(measure(path, replay=True))
                    print(line(measured[-1]), flush=True)
    except KeyboardInterrupt:
        print("course bench: stopped", file=sys.stderr)
        return 130
    last = f"{len(measured)} runs, {sum(each.seconds for each in measured):.0f} s, on {machine()}"
    print(f"\n{last}")
    failed = [each for each in measured if each.error]
    for each in failed:
        print(f"{each.name} failed: {each.error}", file=sys.stderr)
    if options.write and failed:
        print("course bench: TIMINGS.md is left as it was; mend what failed and run it again", file=sys.stderr)
    elif options.write:
        others = beside(page, measured) if options.lesson else []
        rows = sorted([*others, *map(line, measured)], key=lambda row: row.split("|")[1])
        table = "\n".join([*HEADER, *rows])
        page.write_text(written(page, f"{table}\n\nTaken on {machine()}."), encoding="utf-8")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
