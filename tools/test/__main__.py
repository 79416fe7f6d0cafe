"""`./course test`: chooses the jobs, runs them, sums up."""

import argparse
import os
import sys
import time
from dataclasses import replace
from pathlib import Path

from course_lib.places import CHECKOUT
from tools import offline, processes
from tools.test import __doc__ as what
from tools.test.jobs import NothingToRun, choose
from tools.test.outcomes import summary
from tools.test.running import run_all


def main(words: list[str] | None = None, checkout: Path = CHECKOUT) -> int:
    """Returns 0 where everything passed, 1 where something failed, 2 where a word names nothing."""
    parser = argparse.ArgumentParser("./course test", description=what.partition(": ")[2])
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
