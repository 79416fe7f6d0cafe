"""From a source file (py:percent) to the cells of a notebook, before anything is executed."""

import hashlib
import json
import platform
import re
from pathlib import Path

import jupytext
import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell

from course_lib.places import CHECKOUT
from course_lib.syllabus import ENGINES, Drill, Lesson, Syllabus
from tools.build import minutes, stubs

KINDS = ("notebooks", "exercises", "solutions")
"""The three folders of a lesson's built notebooks. Exercises are cut out of the sources of solutions."""

DRILLS = "drills"
"""The folder of drills. They are built without outputs, as exercises are: an output would tell what is broken."""

UNRUN = ("exercises", DRILLS)

LANGUAGE = {
    "codemirror_mode": {"name": "ipython", "version": 3},
    "file_extension": ".py",
    "mimetype": "text/x-python",
    "name": "python",
    "nbconvert_exporter": "python",
    "pygments_lexer": "ipython3",
    "version": platform.python_version(),
}
"""What the kernel says of itself: JupyterLab writes it into a notebook that lacks it, and so changes one that was only opened."""

COLAB_CHECKOUT = "/content/course"
"""Where the first cell clones the course on Google Colab."""


class SourceError(Exception):
    """A source file that cannot be built; the message says where and what to do."""


def source_path(kind: str, lesson: Lesson | Drill, checkout: Path = CHECKOUT) -> Path:
    """The file that a notebook of `kind` is built from; it need not exist."""
    folder = kind if kind in ("notebooks", DRILLS) else "solutions"
    return checkout / "source" / folder / f"{lesson.stem}.py"


def everything(syllabus: Syllabus) -> list[tuple[str, Lesson | Drill]]:
    """Each notebook that has a source: its kind, and its lesson or drill."""
    lessons = [(kind, each) for each in syllabus.lessons if each.written for kind in KINDS]
    return [pair for pair in lessons if source_path(*pair).exists()] + [
        (DRILLS, each) for each in syllabus.drills if each.written
    ]


def read(kind: str, lesson: Lesson | Drill, syllabus: Syllabus, checkout: Path = CHECKOUT) -> nbformat.NotebookNode:
    """The notebook of `kind` for `lesson`, unexecuted. Raises SourceError for a source that cannot be built."""
    path = source_path(kind, lesson, checkout)
    parsed = jupytext.reads(path.read_text(encoding="utf-8"), fmt="py:percent")
    cells = [_plain(cell) for cell in parsed.cells]
    try:
        cells = stubs.cut(cells) if kind == "exercises" else [stubs.without_marker(cell) for cell in cells]
    except ValueError as wrong:
        raise SourceError(f"{path.relative_to(checkout)}: {wrong}") from None
    head = _drill_head(lesson, syllabus) if kind == DRILLS else _head(kind, lesson, syllabus, checkout)
    foot = _drill_foot(lesson, syllabus) if kind == DRILLS else _foot(kind, lesson, syllabus)
    cells = [head, _colab(syllabus), *cells, foot]
    _number(cells)
    return nbformat.v4.new_notebook(cells=cells, metadata={
        "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
        "language_info": LANGUAGE,
    })  # fmt: skip


def fingerprint(notebook: nbformat.NotebookNode) -> str:
    """A digest of a notebook's cells and outputs: tells what the build wrote from what was edited since."""
    cells = [[c.id, c.cell_type, c.source, c.metadata.get("tags", []), c.get("outputs", [])] for c in notebook.cells]
    return hashlib.sha256(json.dumps(cells, sort_keys=True).encode()).hexdigest()


def take_outputs(fresh: nbformat.NotebookNode, built: nbformat.NotebookNode) -> bool:
    """Gives `fresh` the outputs of `built` where both hold the same code, Colab's cell aside; returns whether they do."""

    def code(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
        return [c for c in notebook.cells if c.cell_type == "code"]

    def lines(notebook: nbformat.NotebookNode) -> list[str]:
        return [c.source for c in code(notebook) if "colab" not in c.metadata.get("tags", [])]

    if lines(fresh) != lines(built) or len(code(fresh)) != len(code(built)):
        return False
    for new, old in zip(code(fresh), code(built)):
        new.outputs, new.execution_count = old.outputs, old.execution_count
        if "mystnb" in old.metadata:
            new.metadata["mystnb"] = old.metadata["mystnb"]
    return True


def same_cells(built: nbformat.NotebookNode, source: nbformat.NotebookNode) -> bool:
    """Whether two notebooks hold the same cells, outputs aside."""

    def stripped(notebook: nbformat.NotebookNode) -> list:
        return [(c.id, c.cell_type, c.source, c.metadata.get("tags", [])) for c in notebook.cells]

    return stripped(built) == stripped(source)


def without_marks(code: str) -> str:
    """Code without what only its formatter reads."""
    return re.sub(r"  # fmt: skip$", "", code, flags=re.M)


def _plain(cell: nbformat.NotebookNode) -> nbformat.NotebookNode:
    metadata = {"tags": cell.metadata["tags"]} if cell.metadata.get("tags") else {}
    make = new_code_cell if cell.cell_type == "code" else new_markdown_cell
    return make(without_marks(cell.source), metadata=metadata)


def _number(cells: list[nbformat.NotebookNode]) -> None:
    """Gives each cell an id out of its own text, so that an edit changes the ids of the edited cells alone."""
    seen: dict[str, int] = {}
    for cell in cells:
        key = hashlib.sha256(f"{cell.cell_type}\n{cell.source}".encode()).hexdigest()[:10]
        seen[key] = seen.get(key, 0) + 1
        cell.id = key if seen[key] == 1 else f"{key}-{seen[key]}"


def _head(kind: str, lesson: Lesson, syllabus: Syllabus, checkout: Path) -> nbformat.NotebookNode:
    part = syllabus.part_of(lesson)
    line = f"**Lesson {lesson.number}** · part {part.roman} “{part.name}”".replace("part  ", "part ")
    if lesson.floor > 1:
        below = syllabus.below(lesson)
        line += f" · second floor, deeper than [{below.number} {below.title}](../notebooks/{below.stem}.ipynb)"
    line += {"notebooks": f" · {minutes.of(lesson, checkout)}"}.get(kind, f" · {kind}")
    line += " · [map of the course](../README.md#the-map)"
    if lesson.live and kind == "notebooks":
        engines = " and ".join(ENGINES[name] for name in lesson.live)
        line += f" · live cells run on {engines}, or replay a recording"
    if kind != "notebooks":
        line += f" · [the lesson](../notebooks/{lesson.stem}.ipynb)"
    badges = _badges(f"{kind}/{lesson.stem}.ipynb", syllabus)
    return new_markdown_cell(f"{line}\n\n{badges}" if badges else line)


def _drill_head(drill: Drill, syllabus: Syllabus) -> nbformat.NotebookNode:
    line = f"**Drill {drill.number}** · 20 to 30 minutes · [map of the course](../README.md#the-map)"
    if drill.live:
        engines = " and ".join(name.capitalize() for name in drill.live)
        line += f" · runs on {engines}, or replays a recording"
    badges = _badges(f"{DRILLS}/{drill.stem}.ipynb", syllabus)
    return new_markdown_cell(f"{line}\n\n{badges}" if badges else line)


def _drill_foot(drill: Drill, syllabus: Syllabus) -> nbformat.NotebookNode:
    written = [each for each in syllabus.drills if each.written]
    at = written.index(drill)
    links = [f"← [drill {each.number} {each.title}]({each.stem}.ipynb)" for each in written[max(0, at - 1) : at]]
    links += [f"**Next:** [drill {each.number} {each.title}]({each.stem}.ipynb) →" for each in written[at + 1 : at + 2]]
    line = " · ".join(links or ["[map of the course](../README.md#the-map)"])
    return new_markdown_cell(f"---\n\n{line}" + _on_colab(line, DRILLS, syllabus.repository))


def _badges(path: str, syllabus: Syllabus) -> str:
    if not syllabus.repository:
        return ""
    colab = f"https://colab.research.google.com/github/{syllabus.repository}/blob/main/{path}"
    binder = f"https://mybinder.org/v2/gh/{syllabus.repository}/main?urlpath=lab/tree/{path}"
    return (f"[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]({colab}) "
            f"[![Open in Binder](https://mybinder.org/badge_logo.svg)]({binder})")  # fmt: skip


def _colab(syllabus: Syllabus) -> nbformat.NotebookNode:
    code = f"""# On Google Colab this fetches the course and what Colab lacks; anywhere else it does nothing.
import sys

if "google.colab" in sys.modules:
    import os, runpy, subprocess
    if not os.path.isdir("{COLAB_CHECKOUT}"):
        clone = ["git", "clone", "-q", "https://github.com/{syllabus.repository}"]
        subprocess.run([*clone, "{COLAB_CHECKOUT}"], check=True)
    runpy.run_path("{COLAB_CHECKOUT}/tools/colab/first_cell.py", run_name="__main__")"""
    return new_code_cell(code, metadata={"tags": ["colab"], "jupyter": {"source_hidden": True}})


def _foot(kind: str, lesson: Lesson, syllabus: Syllabus) -> nbformat.NotebookNode:
    """Links: practise; back; deeper, where a floor stands above; next, which is the next lesson of the first floor."""
    links = []
    if kind == "notebooks":
        first = [each for each in syllabus.lessons if each.written and each.floor == 1]
        at = first.index(syllabus.below(lesson))
        if source_path("exercises", lesson).exists():
            links.append(f"**Practise:** [exercises {lesson.number}](../exercises/{lesson.stem}.ipynb)")
        if lesson.floor > 1:
            links.append(_link("← ", first[at]))
        elif at > 0:
            links.append(_link("← ", first[at - 1]))
        links += [_link("**Deeper:** ", each) for each in syllabus.deeper(lesson) if each.written]
        if at + 1 < len(first):
            links.append(_link("**Next:** ", first[at + 1]) + " →")
        else:
            left = [each for each in syllabus.lessons if not each.written and each.floor == 1]
            words = "the lessons that follow are still to be written; the map says which come first"
            links.append(f"**Next:** {words}" if left else "This is the last lesson. Now build your own service.")
    elif kind == "exercises":
        links.append(f"[solutions {lesson.number}](../solutions/{lesson.stem}.ipynb), once you have tried")
    else:
        links.append(f"[exercises {lesson.number}](../exercises/{lesson.stem}.ipynb)")
    line = " · ".join(links)
    return new_markdown_cell(f"---\n\n{line}" + _on_colab(line, kind, syllabus.repository))


def _on_colab(line: str, kind: str, repository: str) -> str:
    """The same links with whole addresses, once there are any: Colab opens a notebook without those beside it."""
    start = f"https://colab.research.google.com/github/{repository}/blob/main"

    def whole(link: re.Match) -> str:
        return f"]({start}/{link[1] or kind}/{link[2]})"

    return "\n\nOn Colab: " + re.sub(r"\]\((?:\.\./(\w+)/)?(\w+\.ipynb)\)", whole, line) if repository else ""


def _link(before: str, lesson: Lesson) -> str:
    return f"{before}[{lesson.number} {lesson.title}]({lesson.stem}.ipynb)"
