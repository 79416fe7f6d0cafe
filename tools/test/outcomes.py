"""How jobs went: their counts, what failed, and the lines that say so."""

import json
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from tools.test.jobs import Job

TAIL_LINES = 60


@dataclass(frozen=True)
class Outcome:
    """How a job went. `counts` has passed, failed and skipped; a notebook counts as one. again: at the second try."""

    job: Job
    counts: Counter
    mode: str
    seconds: float
    tail: str
    again: bool = False


def unit_counts(xml: Path, code: int | None) -> Counter:
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


def mode(log: Path) -> str:
    """Whether the live cells of a notebook ran: "live", "replayed", both, or "-" where it has none."""
    if not log.exists():
        return "-"
    modes = {json.loads(line)["mode"] for line in log.read_text(encoding="utf-8").splitlines() if line.strip()}
    return " and ".join(sorted(modes)) or "-"


def tail_of(said: str, kind: str) -> str:
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
