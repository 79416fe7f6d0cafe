"""A built notebook as the book shows it: its own links, pictures as files, the map as words that can be clicked."""

import base64
import hashlib
import html
import json
import re
import struct
from pathlib import Path

from course_lib.syllabus import Lesson
from tools.site.book import Book
from tools.site.glossary import Glossary

PICTURE = re.compile(r'<img\b[^>]*?\bsrc="data:image/png;base64,([^"]+)"[^>]*>')


def text_of(cell: dict) -> str:
    """A cell's source, however the notebook holds it."""
    return cell["source"] if isinstance(cell["source"], str) else "".join(cell["source"])


def markup_of(output: dict) -> str:
    """An output's HTML; empty where it has none."""
    found = output.get("data", {}).get("text/html", "")
    return found if isinstance(found, str) else "".join(found)


def words_of(output: dict) -> str:
    """An output as plain text."""
    found = output.get("text") or output.get("data", {}).get("text/plain", "")
    return found if isinstance(found, str) else "".join(found)


def markdown(source: str, name: str) -> dict:
    """A new cell of Markdown; `name` is unlike any other in its notebook."""
    return {"cell_type": "markdown", "id": name, "metadata": {}, "source": source}


class Pictures:
    """The figures, each a file of its own named by its hash, under `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.kept = folder, set()
        folder.mkdir(parents=True, exist_ok=True)

    def placed(self, markup: str, page: str) -> str:
        """HTML with each picture in it as a link to its file, which shows it in full size."""
        return PICTURE.sub(lambda found: self._one(found, page), markup)

    def _one(self, found: re.Match, page: str) -> str:
        data = base64.b64decode(found.group(1))
        file = f"{hashlib.sha256(data).hexdigest()[:16]}.png"
        if not (self.folder / file).exists():
            (self.folder / file).write_bytes(data)
        self.kept.add(file)
        width, height = struct.unpack(">II", data[16:24])
        alt = re.search(r'\balt="([^"]*)"', found.group(0))
        address = "../" * page.count("/") + f"_static/figures/{file}"
        return (
            f'<a class="course-figure" href="{address}"><img alt="{alt.group(1) if alt else ""}" src="{address}" '
            f'width="{width}" height="{height}"></a>'
        )

    def swept(self) -> None:
        """Removes what no page shows any more."""
        for path in self.folder.glob("*.png"):
            if path.name not in self.kept:
                path.unlink()


class Reader:
    """Turns the checkout's notebooks and Markdown into pages of the book."""

    def __init__(self, book: Book, glossary: Glossary, pictures: Pictures) -> None:
        self.book, self.glossary, self.pictures = book, glossary, pictures

    def notebook(self, path: Path, page: str, terms: str = "") -> list[dict]:
        """The cells of a notebook for `page`: title first, without Colab's cell and the line of links at its end.

        terms: the lesson whose new words are linked to the glossary; without it none are.
        """
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        cells = [each for each in cells if "colab" not in each["metadata"].get("tags", [])]
        title = next(i for i, each in enumerate(cells) if text_of(each).startswith("# "))
        if title:  # the line above the title goes under it: the book's tree needs the title first
            heading, _, rest = text_of(cells[title]).partition("\n")
            head = "\n\n".join(text_of(each) for each in cells[:title] if each["cell_type"] == "markdown")
            cells[title]["source"] = f"{heading}\n\n{head}\n{rest}"
            del cells[:title]
        if text_of(cells[-1]).startswith("---"):
            del cells[-1]
        new = self.glossary.first_in(terms) if terms else []
        for cell in cells:
            cell["metadata"] = {}
            if cell["cell_type"] == "markdown":
                cell.pop("attachments", None)
                text = self.glossary.linked(text_of(cell), new) if new else text_of(cell)
                cell["source"] = self.book.relinked(text, path, page) + self._running(text, page)
            else:
                cell["outputs"] = [self._output(each, page) for each in cell.get("outputs", [])]
        return cells

    def _running(self, text: str, page: str) -> str:
        """Below a cell that links to a page which runs in the browser: that page, at work."""
        linked = [each.name for each in self.book.live if f"]({each.name})" in text and page.startswith("notebooks/")]
        return "".join(
            f'\n\n<iframe class="course-live" src="{name}" title="The page, running" loading="lazy"></iframe>'
            for name in linked
        )

    def _output(self, output: dict, page: str) -> dict:
        markup = markup_of(output)
        if markup:
            here = re.match(r"Figure: You are here: (\w+) ", words_of(output))
            shown = self.map(page, here.group(1)) if here else self.pictures.placed(markup, page)
            output["data"] = {"text/html": shown.replace("\n\n", "\n"), "text/plain": words_of(output)}
        return output

    def map(self, page: str, here: str = "") -> str:
        """The course's map as HTML: a row for each part, a link for each lesson, `here` marked."""
        course, rows = self.book.syllabus, []
        for part in course.parts:
            each = " ".join(self._stop(lesson, page, here) for lesson in course.in_part(part))
            label = f"{part.roman} {part.name}".strip()
            current = ' class="current"' if here and course.lesson(here).part == part.number else ""
            rows.append(f"<div{current}><b>{label}</b><span>{each}</span></div>")
        return f'<nav class="course-map" aria-label="Map of the course">{"".join(rows)}</nav>'

    def _stop(self, lesson: Lesson, page: str, here: str) -> str:
        name = html.escape(lesson.title, quote=True)
        floor = "deeper" if lesson.floor > 1 else "first"
        if not self.book.has(lesson):
            return f'<span class="{floor}" title="{name}, to come">{lesson.number}</span>'
        mark = ' aria-current="page"' if lesson.number == here else ""
        address = self.book.address(f"notebooks/{lesson.stem}", page)
        return f'<a class="{floor}" href="{address}" title="{name}"{mark}>{lesson.number}</a>'
