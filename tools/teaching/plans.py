"""teaching/plans, teaching/assessments and teaching/answers: their text from source/teaching, their numbers from lessons.

A fence ```plan holds TOML: a block of time, which becomes a table whose minutes are counted. `{{02 surest}}` is what the
lesson's reveal of that name measured, `{{04 unstable+}}` what the card says below, `{{02: words of a claim}}` that claim's
figure, `{{lessons 1}}` a part's lessons. 02 “A heading” and 02.4 must name a heading and an exercise that exist. What
follows "**Answer.**" under a question goes to a page of its own.
"""

import functools
import math
import re
import tomllib
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import nbformat

from course_lib.places import CHECKOUT
from course_lib.syllabus import Lesson, Syllabus
from tools.build import minutes, source

SOURCE = CHECKOUT / "source" / "teaching"
BUILT = CHECKOUT / "teaching"
ANSWER = "**Answer.**"
KINDS = ("lessons", "exercises", "talk", "breaks")


class Wrong(Exception):
    """A page names what no lesson has, or its minutes do not fit."""


class Touched(Exception):
    """Somebody has run or edited a notebook since it was built, so its numbers are theirs."""


@dataclass(frozen=True)
class Row:
    """A line of a plan: minutes, words, and of what of KINDS."""

    minutes: int
    kind: str
    words: str


@dataclass(frozen=True)
class Block:
    """A day, a meeting or a week's work at home. begins: "09:00", or "" where no clock runs. at_most: its minutes.
    line: its name, where it is written as a sentence and not as a table."""

    rows: tuple[Row, ...]
    at_most: int
    begins: str = ""
    line: str = ""

    @property
    def total(self) -> int:
        return sum(row.minutes for row in self.rows)

    @property
    def longest(self) -> int:
        """The most minutes between two breaks."""
        stretches = [0]
        for row in self.rows:
            stretches = [*stretches, 0] if row.kind == "breaks" else [*stretches[:-1], stretches[-1] + row.minutes]
        return max(stretches)

    def written(self) -> str:
        """The block as Markdown: a table with its sums, or a sentence."""
        if self.line:
            return f"**{self.line}, {self.total} minutes:** {'; '.join(f'{row.words} ({row.minutes})' for row in self.rows)}."
        lines, at = [], datetime.strptime(self.begins, "%H:%M")
        for row in self.rows:
            lines.append(f"| {at:%H:%M} | {row.minutes} | {row.words} |\n")
            at += timedelta(minutes=row.minutes)
        sums = {kind: sum(row.minutes for row in self.rows if row.kind == kind) for kind in KINDS}
        told = ", ".join(f"{kind} {spent}" for kind, spent in sums.items() if spent)
        head = "| from | minutes | what |\n| --- | --- | --- |\n"
        return f"{head}{''.join(lines)}| {at:%H:%M} | | end |\n\n{self.total} minutes: {told}."


@dataclass
class Pages:
    """The course as these pages see it. touched: with numbers of notebooks that were run since they were built, too."""

    syllabus: Syllabus
    touched: bool = False
    blocks: list[Block] = field(default_factory=list)

    def filled(self, text: str) -> str:
        """A page's text, with every number in it. Raises Wrong or Touched."""
        for number, *headings in re.findall(r"(\d\d[a-z]?)(?:,| from)?\s“([^”]+)”(?: to\s“([^”]+)”)?", text):
            for heading in filter(None, headings):
                self.section(self._lesson(number), " ".join(heading.split()))
        for number in re.findall(
            r"(?<![\d.:{])\b(\d\d[a-z]?\.\d)(?![\d])(?! ?[%a-z])", re.sub(r"\{\{.*?\}\}", "", text)
        ):
            self.exercise(number)
        text = re.sub(r"^```plan\n(.*?)^```$", self._block, text, flags=re.M | re.S)
        text = re.sub(r"\{\{lessons (\d)\}\}", lambda found: self._lessons(int(found[1])), text)
        text = re.sub(r"\{\{(\d\d[a-z]?)(:?)\s([^}]+)\}\}", self._number, text)
        if "{{" in text:
            raise Wrong(f"{text[text.index('{{') :].partition('}}')[0]}}}}} is no number of a lesson")
        return text

    def section(self, lesson: Lesson, heading: str) -> float:
        """How long a section takes: what stands under its heading, smaller headings included. Raises Wrong."""
        found = _sections(lesson.stem, self.touched).get(heading)
        if found is None:
            raise Wrong(f"lesson {lesson.number} has no heading “{heading}”")
        return found

    def exercise(self, number: str) -> tuple[str, int]:
        """An exercise's title and minutes. Raises Wrong."""
        lesson = self._lesson(number.partition(".")[0])
        text = (CHECKOUT / "source" / "solutions" / f"{lesson.stem}.py").read_text(encoding="utf-8")
        found = re.search(rf"^# #+ {re.escape(number)} (.*?) ★.* · (\d+) minutes", text, re.M)
        if not found:
            raise Wrong(f"there is no exercise {number}")
        return found[1], int(found[2])

    def _lesson(self, number: str) -> Lesson:
        try:
            return self.syllabus.lesson(number)
        except LookupError as unknown:
            raise Wrong(unknown.args[0]) from None

    def _lessons(self, part: int) -> str:
        lessons = [each for each in self.syllabus.lessons if each.part == part and each.floor == 1 and each.written]
        spent = [(each, _minutes(each)) for each in lessons]
        told = "; ".join(f"{each.number} {each.title}, {took.lesson} + {took.exercises}" for each, took in spent)
        whole = sum(took.lesson for _, took in spent), sum(took.exercises for _, took in spent)
        return f"Minutes, lesson + exercises: {told}. In all {whole[0]} + {whole[1]}."

    def _number(self, found: re.Match) -> str:
        lesson, name = self._lesson(found[1]), " ".join(found[3].split())
        told = _measured(lesson.stem, self.touched)
        if not found[2]:
            if name not in told["reveals"]:
                raise Wrong(f"lesson {lesson.number} has no guess “{name}”")
            return told["reveals"][name]
        figures = [figure for sentence, figure in told["claims"] if name in sentence]
        if len(figures) != 1:
            raise Wrong(f"{len(figures)} claims of lesson {lesson.number} hold “{name}”")
        return figures[0]

    def _block(self, found: re.Match) -> str:
        told = tomllib.loads(found[1])
        block = Block(
            tuple(map(self._row, told["items"])), told["at_most"], told.get("begins", ""), told.get("line", "")
        )
        self.blocks.append(block)
        if block.total > block.at_most:
            raise Wrong(f"a block of at most {block.at_most} minutes holds {block.total}")
        return block.written()

    def _row(self, item: dict) -> Row:
        note = f": {item['note']}" if "note" in item else ""
        if "break" in item:
            return Row(item["break"], "breaks", item.get("note", "break"))
        if "talk" in item:
            return Row(item["minutes"], "talk", item["talk"])
        if "exercise" in item:
            title, spent = self.exercise(item["exercise"])
            return Row(spent, "exercises", f"exercise {item['exercise']} “{title}”{note}")
        lesson = self._lesson(item["lesson"])
        if "sections" not in item:
            return Row(_minutes(lesson).lesson, "lessons", f"lesson {lesson.number} {lesson.title}{note}")
        spent = sum(self.section(lesson, each) for each in item["sections"])
        named = ", ".join(f"“{each}”" for each in item["sections"])
        return Row(5 * math.ceil(spent / 5 - 1e-9), "lessons", f"lesson {lesson.number}, {named}{note}")


def pages(syllabus: Syllabus) -> dict[Path, str]:
    """Every page as the build writes it. One that is wrong is left out (`problems` says why), one whose numbers were
    touched stays as it is."""
    return _pages(syllabus)[0]


def problems(syllabus: Syllabus) -> list[str]:
    """What is wrong in the sources of these pages, a line each."""
    return _pages(syllabus)[1]


def _pages(syllabus: Syllabus) -> tuple[dict[Path, str], list[str]]:
    made, wrong = {}, []
    for path in sorted(SOURCE.glob("*/*.md")):
        try:
            text = Pages(syllabus).filled(path.read_text(encoding="utf-8"))
        except Wrong as reason:
            wrong.append(f"{_name(path)}: {reason}")
            continue
        except Touched:
            continue
        if ANSWER in text:
            made[BUILT / "answers" / path.name] = _answers(text)
            text = re.sub(rf"^{re.escape(ANSWER)}.*?(?=^## |\Z)", "", text, flags=re.M | re.S)
        made[BUILT / path.parent.name / path.name] = text.rstrip() + "\n"
    return made, wrong


def _answers(text: str) -> str:
    """The answers of an assessment, each under its question's heading."""
    title = text.partition("\n")[0]
    found = re.findall(rf"^(## .+?)$(?:(?!^## ).)*?^{re.escape(ANSWER)} (.*?)(?=^## |\Z)", text, re.M | re.S)
    return (
        "\n\n".join(
            [
                title.replace(": questions", ": answers"),
                *(f"{heading}\n\n{answer.strip()}" for heading, answer in found),
            ]
        )
        + "\n"
    )


@functools.cache
def _minutes(lesson: Lesson) -> minutes.Minutes:
    return minutes.of(lesson)


@functools.cache
def _cells(stem: str, touched: bool) -> list[nbformat.NotebookNode]:
    """The cells of a built lesson. Raises Touched or Wrong."""
    path = CHECKOUT / "notebooks" / f"{stem}.ipynb"
    if not path.exists():
        raise Wrong(f"{path.name} is not built")
    built = nbformat.v4.reads(path.read_text(encoding="utf-8"))  # not validated: three times as fast
    if not touched and built.metadata.get("course", {}).get("fingerprint") != source.fingerprint(built):
        raise Touched(stem)
    return built.cells


@functools.cache
def _sections(stem: str, touched: bool) -> dict[str, float]:
    """Minutes of each section of a built lesson, by heading."""
    spent, opened = {}, []
    for cell in _cells(stem, touched):
        code = cell.cell_type != "markdown"
        for piece in [cell.source] if code else re.split(r"(?m)^(?=##+ )", cell.source):
            heading = None if code else re.match(r"(##+) (.*)", piece)
            if heading:
                depth = len(heading[1])
                opened = [*(each for each in opened if each[0] < depth), (depth, heading[2].strip())]
            took = minutes.lines(piece) / minutes.LINES if code else minutes.words(piece) / minutes.WORDS
            for _, name in opened:
                spent[name] = spent.get(name, 0.0) + took
    return spent


@functools.cache
def _measured(stem: str, touched: bool) -> dict:
    """What a built lesson revealed, by the guess's name, and its claims with their figures."""
    reveals, claims = {}, []
    for cell in (each for each in _cells(stem, touched) if each.cell_type == "code"):
        said = [each.get("data", {}).get("text/plain", "") for each in cell.outputs]
        names = re.findall(r"\breveal\(\s*[\"']([^\"']+)", cell.source)
        for name, text in zip(names, (each for each in said if each.startswith("◆ Measured:"))):
            first, *more = text.splitlines()
            reveals[name] = first[11:].partition("  [reveal]")[0].strip()
            reveals[f"{name}+"] = more[-1].strip() if len(more) > 2 else ""
        for text in said:
            found = re.match(r"[✓●○] (.*?)  \[[a-z ]+\]\n? *(.*)", text, re.S)
            if found:
                claims.append((found[1], " ".join(found[2].split())))
    return {"reveals": reveals, "claims": claims}


def _name(path: Path) -> str:
    return path.relative_to(CHECKOUT).as_posix()
