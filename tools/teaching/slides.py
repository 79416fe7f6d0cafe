"""`./course slides [NN …]`: slides cut from built lessons, so that they say what the lessons say.

A deck is a file of HTML that needs no network; formulas also need tex-svg.js beside it. Its headings, guesses, figures,
tables and claims are those of the notebook as it is now; the speaker's notes are the lesson's own text around them.
"""

import base64
import html
import itertools
import json
import re
import shutil
import struct
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
TAIL = ("---", "**Practise")
"""How the cell with a lesson's links begins. No slide and no note shows it."""

ROWS = 9
"""A table with more rows is left to the lesson."""

ASK = "Ask before you run the next cell, and let everybody commit to an answer."
MARKS = {"claim": "✓", "observed here": "●", "otherwise here": "○"}

CODE_OR_MATH = re.compile(r"^```.*?^```|`[^`]*`|\$\$.*?\$\$|\$[^$]+\$", re.M | re.S)
"""A formula within a line may go on in the next; mistune wants it in one."""

_render = mistune.create_markdown(escape=False, plugins=["math", "table"])


NOT_SHOWN = re.compile(
    "You kept no guess|Your guess|Your first guess|The first measurement that you saw|This was not kept"
)
"""How a card begins to speak of the reader's own guess."""

ROOM = {"figure": 2, "tall": 0, "table": 3, "reveal": 3, "formulas": 2, "claims": 5}
"""How many claims a slide of this kind takes."""

TALL, SHRUNK = 0.8, 1000
"""From which height, as a share of its width, a figure gets a slide alone; of how many points it is too small on one."""

LEAD = 45
"""How many words before its formulas a slide shows, in whole sentences: they say what the symbols mean."""


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
            if heading not in (*WHOLE, *NO_SLIDE) and "claim_gone(" not in text_of(cell):
                for output in cell.get("outputs", []):
                    _add(slides, output, heading, said)
            continue
        if text_of(cell).startswith(TAIL):
            continue
        for piece in re.split(r"(?m)^(?=#+ )", text_of(cell)):
            found = re.match(r"(#+) (.*)\n*", piece)
            more = piece[found.end() if found else 0 :].strip()
            heading = found[2].strip() if found else heading
            begun = bool(slides) and slides[-1].heading == heading  # or the section has no slide yet
            said = more if found or begun else f"{said}\n\n{more}".strip()
            if found and found[1] == "#":
                opening, _, rest = said.partition("\n\n")
                slides.append(Slide("title", heading, block(opening), rest))
            elif found and heading in WHOLE:
                slides.append(Slide("text", heading, block(said), "Ask which line is new to whom."))
            elif "$$" in more and heading not in NO_SLIDE:
                slides.append(Slide("formulas", heading, formulas(said), said))
            elif begun and not found:
                slides[-1].notes = f"{slides[-1].notes}\n\n{more}".strip()
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
            width, height = size(markup)
            kind = "tall" if height > TALL * width else "figure"
            body = f'<div class="picture">{image(markup)}</div>'
            said = f"*The picture in words:* {lines[0].removeprefix('Figure: ')}\n\n{said}"
            said = (
                f"**Its letters are small on a slide: show it in the notebook.**\n\n{said}" if height > SHRUNK else said
            )
        elif table and markup.count("<tr") <= ROWS + 1:
            kind, body = "table", bare(markup)
        else:
            return
        if last.kind == "claims" and len(last.claims) <= min(2, ROOM[kind]):  # what the claims are about
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
    """The first three formulas that stand on lines of their own, each after the sentences that lead to it."""
    pieces = re.split(r"(\$\$.*?\$\$)", text, flags=re.S)
    shown = list(zip(pieces[::2], pieces[1::2]))[:3]
    return "".join(block(f"{lead(before, LEAD // len(shown))}\n{each}") for before, each in shown)


def lead(text: str, most: int) -> str:
    """The last sentences of a text, so many words at most; nothing that is a list, a table or code."""
    backwards = reversed(re.split(r"\n\s*\n", text.strip()))
    prose = [*itertools.takewhile(lambda each: not re.search(r"(?m)^(```|[-|] |\d\. )", each), backwards)][::-1]
    kept: list[str] = []
    for sentence in reversed(re.split(r"(?<=[.?!])\s+", " ".join(" ".join(prose).split()))):
        if kept and len(" ".join([sentence, *kept]).split()) > most:
            break
        kept.insert(0, sentence)
    return " ".join(kept)


def size(markup: str) -> tuple[int, int]:
    """Width and height of the PNG in a figure's markup, in points; (1, 0) where it is none."""
    found = re.search(r'src="data:image/png;base64,([^"]{32})', markup)
    return struct.unpack(">II", base64.b64decode(found[1])[16:24]) if found else (1, 0)


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
    joined = CODE_OR_MATH.sub(
        lambda found: " ".join(found[0].split()) if found[0][0] == "$" != found[0][1] else found[0], markdown
    )
    return re.sub(r"</?a\b[^>]*>", "", _render(joined))


def inline(markdown: str) -> str:
    """A heading as HTML."""
    return re.sub(r"^<p>|</p>\s*$", "", block(markdown))
