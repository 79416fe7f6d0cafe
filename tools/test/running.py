"""Runs jobs as processes, two at a time, and the ones that must be alone one by one."""

import os
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import replace
from pathlib import Path
from typing import Any

from tools import instruction_sets, processes
from tools.test.jobs import Job
from tools.test.outcomes import Outcome, line, mode, tail_of, unit_counts

MOST_AGAIN = 5
"""If more unit tests than these fail, it is not the machine, and none is tried once more."""

WORKERS = 2

NOWHERE = {
    "DOCKER_HOST": "unix:///nonexistent/docker.sock",
    "KUBECONFIG": "/nonexistent/kubeconfig",
    "COURSE_BROWSER": "/nonexistent/chromium",
}
"""An engine, a cluster and a browser that are out of reach."""


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
        counts = unit_counts(xml, code)
    said = output.read_text(encoding="utf-8", errors="replace")
    tail = tail_of(said, job.kind) if counts["failed"] else ""
    if code is None:
        tail += f"\nended, since it took more than {job.seconds:,} s"
    return Outcome(job, counts, mode(log), seconds, tail)


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
