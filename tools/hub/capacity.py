"""How many learners a machine holds, from the memory that TIMINGS.md measured. Standard library only.

python -m tools.hub.capacity [NUMBER ...]     # the table of teaching/hub/README.md
"""

import re
import sys
from math import ceil
from pathlib import Path
from statistics import median

TIMINGS = Path(__file__).parents[2] / "TIMINGS.md"
GIB = 1024
"""MiB in a GiB."""

SERVER_MIB = 160
"""A learner's JupyterLab server, without kernels: 120 to 150 MiB were measured here."""

HUB_MIB = 512
"""The hub, its proxy and its culler: 250 MiB with two learners; each further one adds little."""

SPARE = 0.2
"""The share of a machine's memory that stays free, for files in the page cache above all."""

RUNS_AN_HOUR, BUSY = 2, 0.5
"""A learner runs all cells of a lesson this often in its hour; the cores should be this busy on average."""


def lessons() -> dict[str, tuple[float, int]]:
    """Seconds and peak MiB of each lesson as a learner without engine and cluster runs it, by its name."""
    rows = re.findall(
        r"^\| (\w+) +\| +([\d.]+) \| +(\d+) \| (\w+|-) ", TIMINGS.read_text(encoding="utf-8"), re.MULTILINE
    )
    return {name: (float(seconds), int(mib)) for name, seconds, mib, ran in rows if ran != "live"}


def learner_mib() -> tuple[int, int]:
    """What one learner takes: in a lesson of median memory, and in the heaviest one."""
    peaks = [mib for _, mib in lessons().values()]
    return SERVER_MIB + round(median(peaks)), SERVER_MIB + max(peaks)


def fits(memory_mib: float) -> int:
    """How many learners a machine holds whose lessons are all of median memory, with one in eight in the heaviest."""
    return max(0, int((memory_mib * (1 - SPARE) - HUB_MIB) // mixed_mib()))


def mixed_mib() -> float:
    """A learner's share where one in eight is in the heaviest lesson and the others in one of median memory."""
    typical, heaviest = learner_mib()
    return (7 * typical + heaviest) / 8


def machine(learners: int, each_mib: float) -> int:
    """GiB of memory for so many learners of whom each takes `each_mib`."""
    return ceil((HUB_MIB + learners * each_mib) / (1 - SPARE) / GIB)


def cores(learners: int) -> int:
    """Cores for learners who all do the longest lesson in the same hour; TIMINGS.md has its seconds on two cores."""
    longest = max(seconds for seconds, _ in lessons().values())
    return max(2, ceil(learners * RUNS_AN_HOUR * 2 * longest / 3600 / BUSY))


def table(*rooms: int) -> str:
    """The capacity table, in Markdown."""
    typical, heaviest = learner_mib()
    rows = [
        ("each in a lesson of median memory", typical),
        ("one in eight in the heaviest lesson", round(mixed_mib())),
        ("all in the heaviest lesson at once", heaviest),
    ]
    lines = ["| memory | a learner | " + " | ".join(f"{count} learners" for count in rooms) + " |"]
    lines += ["| --- | --- |" + " --- |" * len(rooms)]
    lines += [f"| {what} | {mib:,} MiB | " + " | ".join(f"{machine(count, mib)} GiB" for count in rooms) + " |"
              for what, mib in rows]  # fmt: skip
    lines += ["| cores | | " + " | ".join(str(cores(count)) for count in rooms) + " |"]
    return "\n".join(lines)


if __name__ == "__main__":
    print(table(*(map(int, sys.argv[1:]) if sys.argv[1:] else (20, 200))))
