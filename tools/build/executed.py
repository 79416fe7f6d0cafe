"""Where each lesson was executed last: the build notes it in the notebook, and TIMINGS.md shows it."""

import json
import platform
import re
from datetime import date

from course_lib.syllabus import Syllabus

BEGIN, END = "<!-- executed: written by ./course build -->\n", "<!-- executed: end -->"
SYSTEMS = {"Darwin": "macOS"}
"""What `platform` calls otherwise than its users do."""


def here() -> dict[str, str]:
    """Today, on this machine."""
    system = SYSTEMS.get(platform.system(), platform.system())
    python = ".".join(platform.python_version_tuple()[:2])
    return {"where": f"{system}, {platform.machine()}, Python {python}", "day": f"{date.today():%Y-%m-%d}"}


def page(text: str, syllabus: Syllabus) -> str:
    """TIMINGS.md with the table as it should be. text: the page as it is; one without the two marks stays so."""
    return re.sub(f"(?<={re.escape(BEGIN)}).*?(?={END})", lambda _: table(syllabus), text, flags=re.DOTALL)


def table(syllabus: Syllabus) -> str:
    """A row for each place and day, the newest first, with its lessons."""
    rows: dict[tuple[str, str], list[str]] = {}
    for lesson in syllabus.lessons:
        if lesson.written and lesson.notebook("notebooks").exists():
            built = json.loads(lesson.notebook("notebooks").read_text(encoding="utf-8"))
            noted = (
                built["metadata"].get("course", {}).get("executed", {"day": "", "where": "before the build noted it"})
            )
            rows.setdefault((noted["day"], noted["where"]), []).append(lesson.number)
    lines = ["| day | where | lessons |", "| --- | --- | --- |"]
    lines += [
        f"| {day or '–'} | {where} | {', '.join(rows[day, where])} |" for day, where in sorted(rows, reverse=True)
    ]
    return "\n".join(lines) + "\n"
