"""What is asked of a lesson's source, as far as a program can tell."""

import ast
import re
import statistics

from course_lib.idioms.exercises import exercises_of
from course_lib.syllabus import Lesson
from tools.build import minutes, source

COLUMNS = 100
"""A line of code is no wider; a notebook's page is narrower than an editor."""

PARTS = (
    "## You will be able to", "## Before you start", "## What we measured", "## What to remember",
    "## Where this breaks down", "## What real teams use", "## Further reading",
)  # fmt: skip
"""The headings that every lesson has, in this order (welcome, which measures nothing, has the first two alone)."""


def lesson_problems(lesson: Lesson) -> list[str]:
    """What STYLE asks of a lesson's source: its parts in order, three to five goals, short cells."""
    path = source.source_path("notebooks", lesson)
    cells = source.jupytext.reads(path.read_text(encoding="utf-8"), fmt="py:percent").cells
    text = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    name, problems = path.name, []
    needed = PARTS[:2] if lesson.number == "00" else PARTS
    places_of = [text.find(part) for part in needed]
    problems += [f"{name} lacks the part {part!r}" for part, at in zip(needed, places_of) if at < 0]
    if not problems and places_of != sorted(places_of):
        problems.append(f"{name}: its parts stand in another order than {', '.join(needed)}")
    for part, least, most in (("## You will be able to", 3, 5), ("## What to remember", 3, 3)):
        if part in text:
            count = len(re.findall(r"^(?:-|\d\.) ", text.split(part)[1].split("\n## ")[0], re.M))
            if not least <= count <= most:
                problems.append(f"{name}: {part!r} lists {count} points; {least} to {most} are asked for")
    lengths = [len(cell.source.splitlines()) for cell in cells if cell.cell_type == "code"]
    if statistics.median(lengths) > 8 or max(lengths) > 25:
        problems.append(f"{name}: code cells have {statistics.median(lengths)} lines at the median and {max(lengths)} at "
                        "the most; 8 and 25 are asked for")  # fmt: skip
    problems += [f"{name}: {problem}" for problem in hour_problems(lesson, cells)]
    unseen = [line for cell in cells if cell.cell_type == "code" for line in unseen_tables(cell.source)]
    problems += [f"{name}: a table that is not its cell's last line is not shown: {line}" for line in unseen]
    for kind in ("notebooks", "solutions"):
        problems += _wide_lines(kind, lesson)
    if f'path.picture(here="{lesson.number}")' not in path.read_text(encoding="utf-8"):
        problems.append(f'{name} does not show where on the path it stands: path.picture(here="{lesson.number}")')
    count = len(exercises_of(lesson.number))
    if not (count == 1 if lesson.number == "00" else 2 <= count <= 5):
        problems.append(f"lesson {lesson.number} has {count} exercises; 2 to 5 are asked for (welcome: 1)")
    if count and not source.source_path("solutions", lesson).exists():
        problems.append(f"lesson {lesson.number} has checks and no source/solutions/{lesson.stem}.py")
    return problems


def unseen_tables(code: str) -> list[str]:
    """The calls of `show.table` in a cell whose result nobody sees, since something stands behind them."""
    calls = [each.value for each in ast.parse(code).body[:-1] if isinstance(each, ast.Expr)]
    return [
        ast.unparse(call)[:60]
        for call in calls
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "show.table"
    ]


def hour_problems(lesson: Lesson, cells: list) -> list[str]:
    """What keeps a lesson within its hour, and the reader awake."""
    problems = []
    least, most = minutes.limit(lesson)
    spent = minutes.of(lesson).lesson
    if not least <= spent <= most:
        problems.append(f"takes {spent} minutes; {least} to {most} are asked for")
    words = sum(minutes.words(cell.source) for cell in cells if cell.cell_type == "markdown")
    lines = sum(minutes.lines(cell.source) for cell in cells if cell.cell_type == "code")
    if not 4 <= words / lines <= 15:
        problems.append(f"has {words / lines:.1f} words of text to a line of code; 4 to 15 are asked for")
    kinds = "".join(cell.cell_type[0] for cell in cells)
    if "cccc" in kinds:
        problems.append("has four code cells in a row without a sentence between them; three at the most")
    questions = sum(len(re.findall(r"^guess\(", cell.source, re.M)) for cell in cells if cell.cell_type == "code")
    if not (1 if lesson.number == "00" else 2) <= questions <= 4:
        problems.append(f"asks for {questions} guesses; 2 to 4 are asked for (welcome: 1 or more)")
    return problems


def _wide_lines(kind: str, lesson: Lesson) -> list[str]:
    """Code that a notebook's page would cut off."""
    path = source.source_path(kind, lesson)
    cells = source.jupytext.read(path, fmt="py:percent").cells if path.exists() else []
    wide = [
        line
        for cell in cells
        if cell.cell_type == "code"
        for line in source.without_marks(cell.source).splitlines()
        if len(line) > COLUMNS
    ]
    return [
        f"{kind}/{path.name}: a line of code has {len(line)} columns, {COLUMNS} fit: {line.strip()[:60]} …"
        for line in wide
    ]
