"""What this machine has for the course: what each thing is for, whether it is there, how to get it, what works without.

Standard library only: it runs before anything is installed.
"""

import argparse
import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from course_lib.doctor import engines, machine, room
from course_lib.doctor.machine import Finding

__all__ = ["Finding", "examine", "main", "ready", "report"]

CHECKS = (
    machine.python,
    machine.packages,
    machine.memory,
    machine.disk,
    engines.docker,
    engines.kubectl,
    engines.kubernetes,
    engines.gpu,
    machine.ports,
)
"""In the order in which a learner needs them."""


def examine(checks: Sequence[Callable[[], Finding]] = (), needed: bool = False) -> list[Finding]:
    """Look at everything, side by side. Takes a few seconds at the most; raises nothing.

    checks: what to look at in the place of CHECKS. needed: whether one that breaks counts as missing.
    """
    checks = checks or CHECKS
    with ThreadPoolExecutor(len(checks)) as pool:
        return [each.result() for each in [pool.submit(_guarded, check, needed) for check in checks]]


def ready(findings: list[Finding]) -> bool:
    """Whether lessons can run."""
    return all(each.there for each in findings if each.needed)


def main(words: list[str] | None = None) -> int:
    """Print what was found. Returns 0 where lessons can run (with --room: where a workshop can), else 1."""
    parser = argparse.ArgumentParser("./course doctor", description="What this machine has for the course.")
    parser.add_argument("--all", action="store_true", help="also say how to get what is there already")
    parser.add_argument(
        "--room", action="store_true", help="whether this machine is ready for a workshop; runs a lesson"
    )
    parser.add_argument("--json", action="store_true", help="the same, for programs")
    options = parser.parse_args(words)
    findings = examine(room.CHECKS, needed=True) if options.room else examine()
    if options.json:
        print(json.dumps([vars(each) for each in findings], indent=1))
    else:
        colours = sys.stdout.isatty() and "NO_COLOR" not in os.environ
        print(report(findings, everything=options.all, colours=colours, workshop=options.room))
    return 0 if ready(findings) else 1


def report(
    findings: list[Finding],
    everything: bool = False,
    colours: bool = False,
    columns: int = 110,
    workshop: bool = False,
) -> str:
    """The findings as a table; under each thing that is missing, how to get it and what works without.

    workshop: the verdict is about a workshop, not about whether lessons can run.
    """
    no, yes = (
        ("Not ready for a workshop", "Ready for a workshop")
        if workshop
        else ("Lessons cannot run yet", "Lessons can run")
    )
    width = max(len(each.name) for each in findings)
    lines = []
    for each in findings:
        mark, colour = ("ok", 32) if each.there else ("MISSING", 31) if each.needed else ("absent", 33)
        painted = f"\033[{colour}m{mark:<7}\033[0m" if colours else f"{mark:<7}"
        lines.append(f"{painted}  {each.name:<{width}}  {each.found}")
        notes = {"for": each.purpose}
        if everything or not each.there:
            notes |= {"get it": each.get, "without": each.without}
        for label, text in notes.items():
            start = " " * (11 + width) + f"{label}: "
            lines += textwrap.wrap(text, columns, initial_indent=start, subsequent_indent=" " * len(start))
    missing = [each.name for each in findings if each.needed and not each.there]
    absent = [each.name for each in findings if not each.needed and not each.there]
    if missing:
        lines += ["", f"{no}: {', '.join(missing)}."]
    elif absent:
        lines += ["", f"{yes}. Absent, and not needed to start: {', '.join(absent)}."]
    else:
        lines += ["", f"{yes}, with everything that lessons can use."]
    return "\n".join(lines)


def _guarded(check: Callable[[], Finding], needed: bool) -> Finding:
    try:
        return check()
    except (OSError, ValueError, LookupError, TypeError, ImportError, subprocess.SubprocessError) as broken:
        found = f"could not be examined: {broken!r}"
        return Finding(check.__name__, False, found, "-", "tell the course's authors", "-", needed)
