"""How long a lesson takes a reader: counted in its source, never typed."""

import math
import re
from dataclasses import dataclass
from pathlib import Path

import jupytext

from course_lib.places import CHECKOUT
from course_lib.syllabus import Lesson

WORDS, LINES = 150, 12
"""What is read in a minute: words of prose, lines of code."""

LIMITS = {"00": (10, 15), "01": (0, 45)}
"""The least and the most minutes of a lesson without its exercises, where they are not 0 to 60."""

NOT_REMADE = ("16", "17")
"""Lessons that are still longer than their limit, or lack what newer ones have: each is taken out when it is remade."""


@dataclass(frozen=True)
class Minutes:
    """A lesson's own and those of its exercises."""

    lesson: int
    exercises: int

    def __str__(self) -> str:
        return f"{self.lesson} minutes" + (f", exercises {self.exercises} more" if self.exercises else "")


def of(lesson: Lesson, checkout: Path = CHECKOUT) -> Minutes:
    """The minutes of a written lesson: words / 150 + lines of code / 12, to the next 5; exercises as their titles say."""
    cells = jupytext.read(checkout / "source" / "notebooks" / f"{lesson.stem}.py", fmt="py:percent").cells
    spent = sum(
        words(cell.source) / WORDS if cell.cell_type == "markdown" else lines(cell.source) / LINES for cell in cells
    )
    practice = checkout / "source" / "solutions" / f"{lesson.stem}.py"
    text = practice.read_text(encoding="utf-8") if practice.exists() else ""
    exercises = sum(int(each) for each in re.findall(r"^# #+ \d\d[a-z]?\.\d .*★.* · (\d+) minutes", text, re.M))
    return Minutes(5 * math.ceil(spent / 5 - 1e-9), exercises)


def words(markdown: str) -> int:
    """Words of prose: without fenced and inline code, formulas and the addresses of links."""
    text = re.sub(r"^(```|~~~).*?^\1", " ", markdown, flags=re.M | re.S)
    text = re.sub(r"\$\$.*?\$\$|\$[^$]+\$|`[^`]*`", " ", text, flags=re.S)
    text = re.sub(r"\]\([^)]*\)|<[^>]*>", " ", text)
    return sum(any(letter.isalnum() for letter in word) for word in text.split())


def lines(code: str) -> int:
    """Lines of code that are neither blank nor a comment alone."""
    return sum(bool(line.strip()) and not line.strip().startswith("#") for line in code.splitlines())


def limit(lesson: Lesson) -> tuple[int, int]:
    """The least and the most minutes that a lesson may take, its exercises not counted."""
    return LIMITS.get(lesson.number, (0, 60))
