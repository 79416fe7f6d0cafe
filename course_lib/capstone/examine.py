"""The examination: a worker attacks a copy of the project behind walls; containers are looked at where an engine answers."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from course_lib import places
from course_lib.capstone import cage, cases, projects
from course_lib.capstone.running import Failed, Server, Skipped, copied, kill, tail

WORKER_SECONDS = 200
MOST_PROCESSES, MOST_BYTES = 200, 1 << 30
"""How many processes the worker may have below it, and how much disk its folder may take, before all of it is ended."""


class Exam:
    """What the criteria share: the copy, its settings, the case's data, and one running server."""

    def __init__(self, place: Path) -> None:
        self.place, self.folder = place, place / "project"
        self.settings = projects.settings(self.folder)
        self.case = cases.CASES[self.settings.case]()
        self._servers: list[Server] = []

    def serve(self, folder: Path | None = None, name: str = "server", words: list[str] | None = None) -> Server:
        """Starts `serve.py` of a folder, the copy where None; it ends with the exam."""
        server = Server(folder or self.folder, self.settings.model, self.place / f"{name}.log", words)
        self._servers.append(server)
        return server

    @cached_property
    def server(self) -> Server:
        """The project's server, started once. Raises Failed where it is not ready."""
        server = self.serve()
        if not server.ready:
            raise Failed(f"`python serve.py` {server.why_not()}")
        return server

    @cached_property
    def served(self) -> Any:
        """The served probabilities of all held-out rows that are asked for, 450 at most."""
        return self.server.probabilities(self.case.rows[:450])

    def close(self) -> None:
        for server in self._servers:
            server.stop()


@dataclass(frozen=True)
class Criterion:
    """One line of the report. read: where the course teaches it. look(exam) returns what was seen, or raises Failed."""

    name: str
    title: str
    points: int
    read: str
    look: Callable[[Any], str]
    engine: bool = False


def criteria() -> list[Criterion]:
    """All criteria, in the order in which they are looked at."""
    from course_lib.capstone import containers, files, service

    return [
        Criterion("runs", "the server starts and answers", 5, "14", service.runs),
        Criterion("quality", "it is right often enough", 5, "04, 08", service.quality),
        Criterion("parity", "what is served is what was trained", 7, "06, 08", service.parity),
        Criterion("contract", "the contract says what goes in and comes out", 5, "08", files.contract),
        Criterion("bad-inputs", "bad inputs are refused, and only they", 6, "08, 14, 22", service.bad_inputs),
        Criterion("latency", "an answer takes no longer than it must", 5, "13, 14", service.latency),
        Criterion("cost", "what a million answers cost", 4, "18b, 27", service.cost),
        Criterion("alerts", "the alerts ask for what the service tells", 4, "20", files.alerts),
        Criterion("explanation", "an explanation depends on the model", 5, "23", files.explanation),
        Criterion("logs", "logs help, and hold nothing personal", 5, "20, 22", service.logs),
        Criterion("rollback", "back to the version before, under load", 5, "19", service.rollback),
        Criterion("drain", "no request is lost when it ends", 6, "16, 17", service.drain),
        Criterion("signature", "what is not signed is not served", 5, "22", service.signature),
        Criterion("drift", "drift raises an alarm, its absence none", 6, "21", files.drift),
        Criterion("tests", "its tests notice a broken model", 4, "24", files.tests),
        Criterion("manifests", "the manifests are fit for a cluster", 5, "17, 22", files.manifests),
        Criterion("card", "the card says what is true", 2, "04, 23", files.card),
        Criterion("size", "the image holds what it needs, no more", 4, "16", containers.size, engine=True),
        Criterion("non-root", "the container runs without rights", 4, "16, 22", containers.non_root, engine=True),
        Criterion("start", "it starts within its limits, offline", 4, "16", containers.start, engine=True),
        Criterion("stop", "`docker stop` ends it cleanly", 4, "16, 17", containers.stop, engine=True),
    ]


@dataclass
class Line:
    """What became of one criterion. passed: None where it could not be examined here."""

    criterion: Criterion
    passed: bool | None
    seen: str


@dataclass
class Result:
    """A whole examination. notes: what the reader must know about how it was done."""

    name: str
    case: str
    digest: str
    lines: list[Line]
    seconds: float
    walls: list[str]
    notes: list[str] = field(default_factory=list)

    @property
    def points(self) -> int:
        return sum(line.criterion.points for line in self.lines if line.passed)

    @property
    def of(self) -> int:
        """The points of what was examined."""
        return sum(line.criterion.points for line in self.lines if line.passed is not None)


def examine(
    folder: Path, name: str = "", only: Sequence[str] = (), engine: bool = True, say: Callable[[str], object] = print
) -> Result:
    """Examines the project in `folder`, which stays as it is. only: names of criteria, all where empty. engine: whether
    containers are looked at. say: takes a line for each criterion as it is known. Raises Refused for what is no project."""
    told, began = projects.settings(folder), time.monotonic()
    wanted = criteria()
    if unknown := sorted({*only} - {each.name for each in wanted}):
        raise projects.Refused(
            f"expected criteria of {', '.join(each.name for each in wanted)}; got {', '.join(unknown)}"
        )
    wanted = [each for each in wanted if not only or each.name in only]
    try:
        before = projects.digest(folder)
    except ValueError as wrong:
        raise projects.Refused(str(wrong)) from None
    result = Result(name or folder.name, told.case, before, [], 0.0, walls())

    def note(line: Line) -> None:
        result.lines.append(line)
        say(line_text(line))

    with copied(folder) as place, tempfile.TemporaryDirectory() as apart:
        inside = [each for each in wanted if not each.engine]
        for line in _work(place, Path(apart), inside):
            note(line)
    if outside := [each for each in wanted if each.engine]:
        from course_lib.capstone import containers

        for line in containers.look(folder, outside, engine):
            note(line)
    if projects.digest(folder) != before:
        result.notes.append("The project's files changed during the exam: what was seen may belong to another state.")
    result.seconds = time.monotonic() - began
    return result


def line_text(line: Line) -> str:
    """A criterion's line for a terminal."""
    mark = {True: "✓", False: "✗", None: "–"}[line.passed]
    won = line.criterion.points if line.passed else 0
    where = "" if line.passed else f" (lesson{'s' if ',' in line.criterion.read else ''} {line.criterion.read})"
    return f"{mark} {won}/{line.criterion.points}  {line.criterion.name} ({line.criterion.title}): {line.seen}{where}"


def walls() -> list[str]:
    """Which walls stand on this machine, of `cage.WALLS`."""
    asked = subprocess.run([sys.executable, "-I", cage.__file__, "walls"], capture_output=True, text=True)
    return json.loads(asked.stdout) if asked.returncode == 0 else []


def _work(place: Path, apart: Path, wanted: list[Criterion]) -> Iterator[Line]:
    """Has the worker look at the criteria; a line for each, whatever happens to the worker.

    apart: a folder for what the worker says, away from the project's code, which may write and remove what it likes.
    """
    out, log = apart / "lines.jsonl", apart / "worker.log"
    out.touch()
    words = [sys.executable, "-m", "course_lib.capstone.examine", str(place), str(out), *(each.name for each in wanted)]
    group = {"start_new_session": True} if os.name != "nt" else {}
    environ = os.environ | {"PYTHONPATH": str(places.CHECKOUT)}
    with log.open("wb") as kept:
        worker = subprocess.Popen(cage.command(*words), cwd=places.CHECKOUT, env=environ, stdin=subprocess.DEVNULL,
                                  stdout=kept, stderr=subprocess.STDOUT, **group)  # fmt: skip
    waiting, stopped, until = {each.name: each for each in wanted}, "", time.monotonic() + WORKER_SECONDS
    try:
        with out.open() as lines:
            while waiting:
                if text := lines.readline():
                    told = json.loads(text)
                    yield Line(waiting.pop(told["name"]), told["passed"], told["seen"])
                elif worker.poll() is not None or stopped:
                    break
                else:
                    time.sleep(0.1)
                    stopped = _why_stop(worker.pid, place, until)
    finally:
        kill(worker)
    if waiting and not stopped:
        said = (tail(log).strip().splitlines() or ["nothing"])[-1][:300]
        stopped = f"the examiner's worker ended with {worker.returncode}: {said}"
    for each in waiting.values():
        yield Line(each, False, f"not reached: {stopped}")


def _why_stop(worker: int, place: Path, until: float) -> str:
    if time.monotonic() > until:
        return f"the exam took longer than {WORKER_SECONDS} s and was ended"
    if _bytes(place) > MOST_BYTES:
        return "the project's code wrote more than 1 GiB, and was ended"
    if _below(worker) > MOST_PROCESSES:
        return f"the project's code started more than {MOST_PROCESSES} processes, and was ended"
    return ""


def _bytes(place: Path) -> int:
    """How large the files below a folder are, while somebody adds and removes some."""
    size = 0
    for folder, _, files in os.walk(place):
        for name in files:
            with contextlib.suppress(OSError):
                size += os.lstat(os.path.join(folder, name)).st_size
    return size


def _below(worker: int) -> int:
    """How many processes stand below the worker, its own included; those that it lost count on Linux alone."""
    import psutil

    try:
        return len(psutil.Process(worker).children(recursive=True))
    except psutil.Error:
        return 0


def main(place: Path, lines: Path, names: list[str]) -> None:
    """The worker: looks at the criteria of these names and adds a line for each to the file `lines`."""
    exam = Exam(place)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.closing(exam), lines.open("a", buffering=1) as out:
        for each in criteria():
            if each.name in names:
                try:
                    passed, seen = True, each.look(exam)
                except Failed as failed:
                    passed, seen = False, str(failed)
                except Skipped as skipped:
                    passed, seen = None, str(skipped)
                except Exception as error:  # the project did what nobody thought of: it is not met, and we say how
                    passed, seen = False, f"{type(error).__name__}: {error}"[:300]
                out.write(json.dumps({"name": each.name, "passed": passed, "seen": seen}) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
