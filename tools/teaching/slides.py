"""`./course slides [NN …]`: slides cut from built lessons, so that they say what the lessons say.

A deck is a file of HTML that needs no network; formulas also need tex-svg.js beside it. Its headings, guesses, figures,
tables and claims are those of the notebook as it is now; the speaker's notes are the lesson's own text around them.
"""

import html
import json
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import mistune

from course_lib.places import KEPT
from course_lib.syllabus import Lesson
from course_lib.teaching.export import Refused
from tools.site import run
from tools.site.cells import markup_of, text_of, words_of

FOLDER = KEPT / "slides"
TEMPLATE = Path(__file__).with_name("deck.html")
WHOLE = ("You will be able to", "What to remember", "Where this breaks down")
"""Sections that become a slide as they stand."""

NO_SLIDE = ("Before you start", "What real teams use", "Further reading", "Clean up")
ROWS = 9
"""A table with more rows is left to the lesson."""

ASK = "Ask before you run the next cell, and let everybody commit to an answer."
MARKS = {"claim": "✓", "observed here": "●", "otherwise here": "○"}

_render = mistune.create_markdown(escape=False, plugins=["math", "table"])


NOT_SHOWN = re.compile(
    "You kept no guess|Your guess|Your first guess|The first measurement that you saw|This was not kept"
)
"""How a card begins to speak of the reader's own guess."""

ROOM = {"figure": 2, "table": 3, "reveal": 3, "formulas": 2, "claims": 5}
"""How many claims a slide of this kind takes."""


@dataclass
class Slide:
    """kind: of ROOM, or "title", "ask", "text". heading and notes: Markdown. body and claims: HTML."""

    kind: str
    heading: str
    body: str = ""
    notes: str = ""
    claims: list[str] = field(default_factory=list)

    def html(self, footer: str) -> str:
        level = "h1" if self.kind == "title" else "h2"
        listed = f'<ul class="claims">{"".join(self.claims)}</ul>' if self.claims else ""
        inside = self.body if self.kind == "title" else f'<div class="rest">{self.body}{listed}</div>'
        return (
            f"<section><{level}>{inline(self.heading)}</{level}>{inside}<aside>{block(self.notes)}</aside>"
            f"<footer>{footer}</footer></section>"
        )


def make(lessons: list[Lesson], folder: Path = FOLDER) -> list[str]:
    """Writes a deck for each lesson; returns what to tell. Raises Refused for one that is not built."""
    folder.mkdir(parents=True, exist_ok=True)
    told = []
    for lesson in lessons:
        slides = cut(lesson)
        count = len(slides)
        name = html.escape(f"{lesson.number} {lesson.title}")
        page = "\n".join(
            each.html(
                f"{name} · ✓ holds on every machine · ● measured where the lesson last ran<span>{at} / {count}</span>"
            )
            for at, each in enumerate(slides, 1)
        )
        math = ""
        if '<span class="math">' in page or '<div class="math">' in page:
            try:
                shutil.copy(run.MATHJAX.fetched(KEPT / "site" / "files"), folder)
                math = '<script src="tex-svg.js"></script>'
            except run.Unreachable as why:
                told.append(f"{lesson.number}: formulas stay as they are typed: {why}")
        path = folder / f"{lesson.stem}.html"
        text = TEMPLATE.read_text(encoding="utf-8")
        for mark, filling in (("{{title}}", name), ("{{mathjax}}", math), ("{{slides}}", page)):
            text = text.replace(mark, filling)
        path.write_text(text, encoding="utf-8")
        told.append(f"{path}: {count} slides")
    return told


def cut(lesson: Lesson) -> list[Slide]:
    """A built lesson's slides, in the lesson's order."""
    path = lesson.notebook()
    if not path.exists():
        raise Refused(
            f"expected a built lesson, and notebooks/{path.name} is not there: ./course build {lesson.number}"
        )
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    slides, heading, said = [], "", ""
    for cell in cells:
        if cell["cell_type"] != "markdown":
            if heading not in (*WHOLE, *NO_SLIDE):
                for output in cell.get("outputs", []):
                    _add(slides, output, heading, said)
            continue
        for piece in re.split(r"(?m)^(?=#+ )", text_of(cell)):
            found = re.match(r"(#+) (.*)\n*", piece)
            said = piece[found.end() if found else 0 :].strip()
            heading = found[2].strip() if found else heading
            if found and found[1] == "#":
                opening, _, rest = said.partition("\n\n")
                slides.append(Slide("title", heading, block(opening), rest))
            elif found and heading in WHOLE:
                slides.append(Slide("text", heading, block(said), "Ask which line is new to whom."))
            elif "$$" in said and heading not in NO_SLIDE:
                slides.append(Slide("formulas", heading, formulas(said), said))
            elif slides and not found:
                slides[-1].notes = f"{slides[-1].notes}\n\n{said}".strip()
    return slides + _exercises(lesson)


def _add(slides: list[Slide], output: dict, heading: str, said: str) -> None:
    """Puts an output on a slide: a guess, what was measured, a figure, a table, a claim. Anything else has none."""
    words, markup = words_of(output), markup_of(output)
    lines = [line.strip() for line in words.splitlines()] or [""]
    last = slides[-1] if slides and slides[-1].heading == heading else Slide("none", heading)
    if "[guess]" in lines[0]:
        question = plain(lines[0][2:].partition("  [guess]")[0])
        body = f'<p class="ask">{question}</p><p>{plain(" ".join(lines[1:-1]))}</p>'
        slides.append(Slide("ask", heading, body, f"**{ASK}**\n\n{said}"))
    elif "[reveal]" in lines[0]:
        value = plain(lines[0].removeprefix("◆ Measured:").partition("  [reveal]")[0].strip())
        more = plain(" ".join(line for line in lines[2:] if not NOT_SHOWN.match(line)))
        body = f'<p>{plain(lines[1])}</p><p class="value">{value}</p>' + (f"<p>{more}</p>" if more else "")
        slides.append(Slide("reveal", heading, body, "**Whose guess was close, and why?**"))
    elif any(f"[{mark}]" in lines[0] for mark in MARKS):
        if len(last.claims) >= ROOM.get(last.kind, 0):
            last = Slide("claims", heading, notes=said)
            slides.append(last)
        last.claims.append(claim(words))
    else:
        picture, table = words.startswith("Figure:"), "<table" in markup and "course-card" not in markup
        if picture and "<img" in markup:
            kind, body = "figure", f'<div class="picture">{image(markup)}</div>'
            said = f"*The picture in words:* {lines[0].removeprefix('Figure: ')}\n\n{said}"
        elif table and markup.count("<tr") <= ROWS + 1:
            kind, body = "table", bare(markup)
        else:
            return
        if last.kind == "claims" and len(last.claims) <= 2:  # what the claims are about
            last.kind, last.body, last.notes = kind, body, said
        else:
            slides.append(Slide(kind, heading, body, said))


def _exercises(lesson: Lesson) -> list[Slide]:
    path = lesson.notebook("exercises")
    if not path.exists():
        return []
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    titles = [
        found
        for cell in cells
        if cell["cell_type"] == "markdown"
        for found in re.findall(r"(?m)^## (\d\d.*)", text_of(cell))
    ]
    listed = "".join(f"<li>{inline(title)}</li>" for title in titles)
    return [Slide("text", "Now you", f"<ul>{listed}</ul>", f"They stand in exercises/{path.name}.")] if titles else []


def formulas(text: str) -> str:
    """The first three formulas that stand on lines of their own."""
    return "".join(block(each) for each in re.findall(r"\$\$.*?\$\$", text, re.S)[:3])


def image(markup: str) -> str:
    """A figure with its alternative text, in the size of its slide."""
    return re.sub(r'\s(style|width|height)="[^"]*"', "", re.search(r"<img\b[^>]*>", markup)[0])


def claim(words: str) -> str:
    """A claim or an observation as an item of a list: its mark, its sentence, its figure."""
    sentence, mark, figure = re.match(r"\S (.*?)  \[([a-z ]+)\]\s*(.*)", words, re.S).groups()
    more = f'<br><span class="figure">{plain(" ".join(figure.split()))}</span>' if figure.strip() else ""
    return f"<li>{MARKS.get(mark, '●')} {plain(' '.join(sentence.split()))}{more}</li>"


def bare(markup: str) -> str:
    """A table without the styles of a notebook."""
    table = re.search(r"<table.*</table>", markup, re.S)[0]
    return re.sub(r'\s(style|class)="[^"]*"', "", table)


def plain(text: str) -> str:
    """Text of an output as HTML: code between backticks."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(text, quote=False))


def block(markdown: str) -> str:
    """Markdown as HTML, its links as their words: a deck stands alone."""
    return re.sub(r"</?a\b[^>]*>", "", _render(markdown))


def inline(markdown: str) -> str:
    """A heading as HTML."""
    return re.sub(r"^<p>|</p>\s*$", "", block(markdown))
