"""Lays out the book's pages under a folder, from what is built. A page that stays the same is not written again."""

import json
import re
import shutil
from pathlib import Path

from course_lib.syllabus import Lesson
from tools.site import landing, practice
from tools.site.book import Book
from tools.site.cells import Pictures, Reader, markdown, text_of
from tools.site.glossary import Glossary

SITE = Path("site")
NOTEBOOK = {
    "metadata": {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
                 "language_info": {"name": "python", "pygments_lexer": "ipython3"}},
    "nbformat": 4, "nbformat_minor": 5,
}  # fmt: skip


def lay_out(book: Book, pages: Path, files: Path) -> list[str]:
    """Writes the pages, and their pictures under `files`; returns what is wrong with them."""
    glossary = Glossary(book.checkout / "GLOSSARY.md")
    reader = Reader(book, glossary, Pictures(files / "figures"))
    wanted = {"index.md": landing.page(reader, book.checkout / SITE / "landing.md") + trees(book)}
    for lesson in book.lessons:
        page = f"notebooks/{lesson.stem}"
        cells = reader.notebook(lesson.notebook("notebooks", book.checkout), page, terms=lesson.number)
        if book.has(lesson, "exercises"):
            _add_to_head(cells, f"[exercises](/exercises/{lesson.stem}.ipynb)")
        tree = [f"exercises {lesson.number} </exercises/{lesson.stem}>"] * book.has(lesson, "exercises")
        tree += [f"/notebooks/{each.stem}" for each in book.syllabus.deeper(lesson) if book.has(each)]
        cells.append(markdown(steps(book, lesson) + toctree(tree), "steps"))
        wanted[f"{page}.ipynb"] = _notebook(cells)
        if book.has(lesson, "exercises"):
            own = [*practice.cells(reader, lesson), markdown(steps(book, lesson, of_exercises=True), "steps")]
            wanted[f"exercises/{lesson.stem}.ipynb"] = _notebook(own)
    for path in [*book.drills, *book.teaching]:
        page = f"{path.parent.name}/{path.stem}"
        wanted[f"{page}.ipynb"] = _notebook(reader.notebook(path, page))
    (files.parent / "extra").mkdir(parents=True, exist_ok=True)
    for path in book.live:
        _copied(path, files.parent / "extra" / "notebooks" / path.name)
    wanted["glossary.md"] = glossary.page(book)
    for path, name in book.pages.items():
        if path.endswith(".md") and name != "glossary":
            wanted[f"{name}.md"] = manual(book, path, name)
    _write(wanted, pages)
    reader.pictures.swept()
    return sorted(set(book.lost))


def manual(book: Book, path: str, name: str) -> str:
    """A page of Markdown: README loses what the first page shows already, its title and its drawing."""
    text = (book.checkout / path).read_text(encoding="utf-8")
    if path == "README.md":
        text = re.sub(r"```mermaid\n.*?```\n", "", text, flags=re.S)
        text = re.sub(r"^# .*$", "# The course's manual", text, count=1, flags=re.M)
        text = re.sub(
            r"^The course is also a web book.*?^!\[[^\]]*\]\(site/site\.png\)\n\n", "", text, flags=re.M | re.S
        )
    text = re.sub(r"<!--.*?-->\n?", "", text, flags=re.S)
    return book.relinked(text, book.checkout / path, name)


def steps(book: Book, lesson: Lesson, of_exercises: bool = False) -> str:
    """Where to go from a lesson or its exercises: previous, practice, deeper, next."""
    floor = [each for each in book.lessons if each.floor == 1]
    below = book.syllabus.below(lesson)
    at = next((i for i, each in enumerate(floor) if each == below), 0)

    def link(words: str, to: Lesson, folder: str = "notebooks") -> str:
        return f"- {words} [{to.number} {to.title}](/{folder}/{to.stem}.ipynb)"

    lines = []
    if of_exercises:
        lines.append(link("The lesson:", lesson))
    elif lesson != below:
        lines.append(link("First floor:", below))
    elif at:
        lines.append(link("Previous:", floor[at - 1]))
    if not of_exercises and book.has(lesson, "exercises"):
        lines.append(f"- Practise: [exercises {lesson.number}](/exercises/{lesson.stem}.ipynb)")
    after = [each for each in book.syllabus.deeper(below) if book.has(each) and each.number > lesson.number]
    lines += [link("Deeper:", each) for each in after[:1]]
    if at + 1 < len(floor):
        lines.append(link("Next:", floor[at + 1]))
    return "```{container} course-steps\n" + "\n".join(lines) + "\n```\n"


def toctree(names: list[str], caption: str = "") -> str:
    """A part of the book's tree, which the sidebar shows."""
    if not names:
        return ""
    head = f":caption: {caption}\n" if caption else ""
    return "\n```{toctree}\n:hidden:\n" + head + "\n" + "\n".join(names) + "\n```\n"


def trees(book: Book) -> str:
    """The book's order, from the syllabus: a caption a part; exercises and what goes deeper hang under their lesson."""
    made = []
    for part in book.syllabus.parts:
        lessons = [each for each in book.syllabus.in_part(part) if each.floor == 1 and book.has(each)]
        made.append(toctree([f"notebooks/{each.stem}" for each in lessons], f"{part.roman} {part.name}".strip()))
    made.append(toctree([f"drills/{each.stem}" for each in book.drills], "Drills"))
    manuals = [name for path, name in book.pages.items() if path.endswith(".md") and "/" not in name]
    made.append(toctree([each for each in manuals if each not in book.for_instructors], "Manuals"))
    made.append(toctree([*book.for_instructors, *(f"teaching/{each.stem}" for each in book.teaching)], "Teaching"))
    made.append(toctree([name for name in book.pages.values() if name.startswith("models/")], "Model cards"))
    return "\n" + "".join(made)


def swept(html: Path, pages: Path, extra: Path) -> None:
    """Removes built pages whose page is gone: Sphinx leaves them, and the search would list them."""
    for path in html.rglob("*.html"):
        name = path.relative_to(html)
        whole = (
            name.parts[0] == "_static"
            or name.as_posix() in ("search.html", "genindex.html")
            or (extra / name).is_file()
        )
        if not whole and not any((pages / name).with_suffix(ending).is_file() for ending in (".md", ".ipynb")):
            path.unlink()


def _copied(path: Path, to: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    if not to.exists() or to.read_bytes() != path.read_bytes():
        shutil.copyfile(path, to)


def _add_to_head(cells: list[dict], link: str) -> None:
    lines = text_of(cells[0]).split("\n")
    at = next((i for i, each in enumerate(lines) if each.startswith("**Lesson ")), None)
    if at is not None:
        lines[at] += f" · {link}"
    cells[0]["source"] = "\n".join(lines)


def _notebook(cells: list[dict]) -> str:
    return json.dumps({**NOTEBOOK, "cells": cells}, ensure_ascii=False, indent=1)


def _write(wanted: dict[str, str], pages: Path) -> None:
    for name, text in wanted.items():
        path = pages / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8", newline="\n")
    for path in [*pages.rglob("*.md"), *pages.rglob("*.ipynb")]:
        if path.relative_to(pages).as_posix() not in wanted:
            path.unlink()
