"""The first page: site/landing.md, with what it promises filled in from built lessons, so that it cannot go stale."""

import html
import json
import re
from pathlib import Path

from course_lib.syllabus import Lesson
from tools.site.cells import Reader, markup_of, text_of, words_of

ROUTES = {
    "Backend engineer": ("a model behind an HTTP API that stays up", "00 01 08 14 15 16 17 18 19 20"),
    "Data scientist": ("from a trained model to a file that is small, fast and correct", "00 01 02 04 06 08 09 10 13 21 23"),
    "Platform engineer": ("images, clusters, releases, alarms, access", "00 01 13 16 17 18 19 20 22 22c 24"),
    "Instructor": ("a half-day workshop, with its plan", "00 01"),
}  # fmt: skip

PATH = ("Loss function", "Train", "Convert", "Compress", "Serve", "Container", "Kubernetes", "Load balancer", "Operate")


class Missing(Exception):
    """A built lesson no longer has what the first page shows of it."""


def page(reader: Reader, template: Path) -> str:
    """The first page's Markdown, without the book's tree."""
    text = re.sub(r"<!--.*?-->\n*", "", template.read_text(encoding="utf-8"), flags=re.S)
    filled = {
        "path": path, "map": lambda: reader.map("index"), "routes": lambda: routes(reader), "drill": lambda: drill(reader),
        "clone": lambda: clone(reader), "counts": lambda: counts(reader),
    }  # fmt: skip

    def fill(found: re.Match) -> str:
        name, lesson, says = found.groups()
        return filled[name]() if name in filled else shown(reader, lesson, says)

    text = re.sub(r"\{\{(\w+)(?: (\w+) “([^”]+)”)?\}\}", fill, text)
    return reader.book.relinked(text, reader.book.checkout / "index.md", "index")


def path() -> str:
    """The picture of the path: boxes in a row, or in a column where the screen is narrow; words that can be read out."""
    stops = "".join(f"<li>{each}</li>" for each in PATH)
    return (
        f'<div class="course-path"><ol aria-label="The path of a model">{stops}</ol>'
        "<p>What is seen in operation, drift and feedback, leads back to training.</p></div>"
    )


def shown(reader: Reader, number: str, says: str) -> str:
    """The output of a lesson whose words begin so: a figure or a claim. Raises Missing."""
    lesson = reader.book.syllabus.lesson(number)
    cells = json.loads(lesson.notebook("notebooks", reader.book.checkout).read_text(encoding="utf-8"))["cells"]
    for output in (output for cell in cells for output in cell.get("outputs", [])):
        if re.sub(r"^(Figure:|✓) ", "", words_of(output)).startswith(says):
            return reader.pictures.placed(markup_of(output), "index")
    raise Missing(f"site/landing.md shows “{says}” of lesson {number}, which no output of that lesson begins with")


def minutes(reader: Reader, lesson: Lesson) -> tuple[int, int]:
    """What a built lesson's first line says: its own minutes, and those of its exercises."""
    text = lesson.notebook("notebooks", reader.book.checkout).read_text(encoding="utf-8")
    own = re.search(r"· (\d+) minutes(?:, exercises (\d+) more)?", text)
    return (int(own.group(1)), int(own.group(2) or 0)) if own else (0, 0)


def hours(spent: int) -> str:
    """Minutes as a reader plans them."""
    whole, rest = divmod(spent, 60)
    return f"{spent} min" if spent < 100 else f"{whole} h" + (f" {rest:02} min" if rest else "")


def routes(reader: Reader) -> str:
    """Who takes which lessons, and how long that takes: a box each."""
    boxes = []
    for who, (why, numbers) in ROUTES.items():
        lessons = [each for each in map(reader.book.syllabus.lesson, numbers.split()) if reader.book.has(each)]
        own, practice = (sum(each) for each in zip(*(minutes(reader, each) for each in lessons)))
        links = " · ".join(f"[{each.number} {each.title}](notebooks/{each.stem}.ipynb)" for each in lessons)
        if who == "Instructor":
            takes = f"{hours(planned(reader))} with talk and a break: [the plan](teaching/plans/half_day.md)"
            takes += " · [more for instructors](teaching/README.md)"
        else:
            takes = f"{hours(own + practice)}: {hours(own)} of lessons, {hours(practice)} of exercises"
        boxes.append(f"- **{who}**: {why}\n\n  {links}\n\n  {takes}")
    listed = reader.book.relinked("\n".join(boxes), reader.book.checkout / "index.md", "index")
    return "```{container} course-routes\n" + listed + "\n```"


def planned(reader: Reader) -> int:
    """The minutes of the half-day plan, as its last line under the table adds them up. Raises Missing."""
    plan = reader.book.checkout / "teaching" / "plans" / "half_day.md"
    told = re.search(r"^(\d+) minutes: ", plan.read_text(encoding="utf-8"), re.M) if plan.is_file() else None
    if told is None:
        raise Missing(f"{plan.name}: no line says “… minutes: …”, which the first page shows")
    return int(told.group(1))


def drill(reader: Reader) -> str:
    """The first drill: its title and how it opens. Empty before there is one."""
    for path in reader.book.drills:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        told = [text_of(each) for each in cells if each["cell_type"] == "markdown"]
        opening = next(each for each in told if each.startswith("# "))
        title, _, rest = opening[2:].partition("\n")
        first = next((each for each in re.split(r"\n\s*\n", rest) if each.strip() and each[0] not in "#>|*-"), "")
        return f"## One drill\n\n{' '.join(first.split())}\n\n[{html.escape(title.strip())}](drills/{path.name})"
    return ""


def clone(reader: Reader) -> str:
    """The two commands."""
    repository = reader.book.syllabus.repository
    address = f"https://github.com/{repository}" if repository else "ADDRESS"
    more = (
        ""
        if repository
        else "\n\nADDRESS is the address of the course's repository: the page where you found it shows it."
    )
    return f"```bash\ngit clone {address} course && cd course\n./course lab\n```{more}"


def counts(reader: Reader) -> str:
    """How much there is."""
    lessons = reader.book.lessons
    spent = [minutes(reader, each) for each in lessons]
    first = [each for each in lessons if each.floor == 1]
    return (
        f"{len(first)} lessons of at most an hour, {len(lessons) - len(first)} that go deeper, "
        f"{round(sum(map(sum, spent)) / 60)} hours in all with their exercises."
    )
