"""teaching/placement.ipynb: its text from source/teaching, its exercises from where they stand, source/solutions."""

import re
from pathlib import Path

import jupytext
import nbformat

from course_lib.places import CHECKOUT
from course_lib.syllabus import Syllabus
from tools.build import source

SOURCE, BUILT = "source/teaching/placement.py", "teaching/placement.ipynb"


def notebook(syllabus: Syllabus) -> str:
    """The notebook's text, unexecuted. Raises SourceError for an exercise that is not found."""
    cells = []
    for cell in jupytext.reads((CHECKOUT / SOURCE).read_text(encoding="utf-8"), fmt="py:percent").cells:
        asked = re.fullmatch(r"EXERCISE (\S+)", cell.source.strip())
        cells += exercise(asked[1], syllabus) if asked else [source._plain(cell)]
    for cell in cells:
        cell.source = cell.source.removeprefix("# ruff: noqa: F401, F821\n")
    cells.insert(1, source._colab(syllabus))  # the site's button opens it there, alone
    source._number(cells)
    said = {key: value for key, value in source.LANGUAGE.items() if key != "version"}  # the same text on every machine
    kernel = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
    made = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel, "language_info": said})
    made.metadata["course"] = {"fingerprint": source.fingerprint(made)}
    return nbformat.writes(made) + "\n"


def pages(syllabus: Syllabus) -> dict[Path, str]:
    """The notebook as the build writes it; nothing without its source, or where somebody has worked in it since it was built."""
    path = CHECKOUT / BUILT
    if not (CHECKOUT / SOURCE).exists():
        return {}
    if path.exists():
        built = nbformat.read(path, as_version=4)
        if built.metadata.get("course", {}).get("fingerprint") != source.fingerprint(built):
            return {}
    return {path: notebook(syllabus)}


def exercise(number: str, syllabus: Syllabus) -> list[nbformat.NotebookNode]:
    """The cells of one exercise, as its own notebook of exercises has them."""
    cells = source.read("exercises", syllabus.lesson(number.partition(".")[0]), syllabus).cells
    heads = [at for at, cell in enumerate(cells) if re.match("## |---", cell.source) and cell.cell_type == "markdown"]
    for at, following in zip(heads, heads[1:]):
        if cells[at].source.startswith(f"## {number} "):
            return cells[at:following]
    raise source.SourceError(f"{SOURCE}: expected an exercise of the course, got {number}")
