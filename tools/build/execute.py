"""Executes a notebook and leaves in it only what belongs in a repository."""

import base64
import html
import io
import os
import re
import tempfile
from contextlib import contextmanager
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from PIL import Image
from traitlets.config import Config

from course_lib.show.path import words as map_in_words
from tools.build.source import LANGUAGE

WIDGET = "application/vnd.jupyter.widget-view+json"


PICTURE = r"(src=\"data:image/png;base64,)([A-Za-z0-9+/=]+)"

COLOURS = 256
"""Of a compressed figure: with 64, lines that mean different things came out in one colour."""


class BuildFailed(Exception):
    """A notebook did not run to its end, or said something on stderr."""


def execute(notebook: nbformat.NotebookNode, folder: Path, env: dict[str, str]) -> None:
    """Runs every cell of `notebook` in `folder` and cleans what came out. Changes the notebook.

    env: variables for the kernel. Raises BuildFailed for an error or a warning in any cell.
    """
    with _environment(env), tempfile.TemporaryDirectory() as sockets:
        # Over TCP the kernel warns that anybody on this machine can listen; Windows has nothing else.
        local = {} if os.name == "nt" else {"transport": "ipc", "ip": f"{sockets}/kernel"}
        client = NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(folder)}}, record_timing=False,
                                store_widget_state=False, config=Config(KernelManager=local))  # fmt: skip
        try:
            client.execute()
        except CellExecutionError as failed:
            raise BuildFailed(re.sub(r"\x1b\[[0-9;]*m", "", str(failed))) from None
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = [clean(output, cell) for output in cell.outputs if not _empty(output)]
            if words := pictures_in_words(cell):
                cell.metadata["mystnb"] = {"image": {"alt": words}}  # where the site's tool looks for it
    notebook.metadata.pop("widgets", None)
    notebook.metadata.language_info = nbformat.from_dict(LANGUAGE)


def redraw_map(notebook: nbformat.NotebookNode, number: str, folder: Path) -> bool:
    """Draws the map of a built lesson anew where it shows another one than syllabus.toml's; returns whether it did.

    The map depends on that file alone, so a new row of it need not run the whole lesson.
    """
    shown = [(cell, i) for cell in notebook.cells for i, output in enumerate(cell.get("outputs", []))
             if "The map of the course" in output.get("data", {}).get("text/html", "")]  # fmt: skip
    if not shown or map_in_words(number) in pictures_in_words(shown[0][0]):
        return False
    (cell, i), code = shown[0], f'from course_lib.idioms import path\npath.picture(here="{number}")'
    drawn = nbformat.v4.new_notebook(metadata=notebook.metadata, cells=[nbformat.v4.new_code_cell(code)])
    with tempfile.TemporaryDirectory() as empty:
        execute(drawn, folder, {"COURSE_PROGRESS": f"{empty}/progress.json"})
    (cell.outputs[i],) = drawn.cells[0].outputs
    if "execution_count" in cell.outputs[i]:
        cell.outputs[i].execution_count = cell.execution_count
    cell.metadata["mystnb"] = {"image": {"alt": pictures_in_words(cell)}}
    return True


def clean(output: nbformat.NotebookNode, cell: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """An output without what changes from run to run, its figures compressed. Raises BuildFailed for stderr."""
    if output.output_type == "stream" and output.name == "stderr":
        raise BuildFailed(f"a cell wrote to stderr; mend the cause:\n{output.text}\nThe cell:\n{cell.source}")
    data = output.get("data", {})
    if WIDGET in data:  # without its state, which is not kept, a viewer would show an error in its place
        del data[WIDGET]
        data["text/plain"] = "(a widget: run the lesson to use it)"
    if "text/html" in data:
        data["text/html"] = re.sub(PICTURE, lambda found: found[1] + _compressed(found[2]), data["text/html"])
    return output


def pictures_in_words(cell: nbformat.NotebookNode) -> str:
    """The alternative texts of a cell's pictures, one after the other; empty where it has none."""
    found = [re.findall(r'<img alt="([^"]*)"', output.get("data", {}).get("text/html", "")) for output in cell.outputs]
    return html.unescape(" ".join(words for each in found for words in each))


def _empty(output: nbformat.NotebookNode) -> bool:
    return output.output_type == "stream" and not output.text.strip()


def _compressed(encoded: str) -> str:
    picture = Image.open(io.BytesIO(base64.b64decode(encoded))).convert("RGB")
    picture = picture.quantize(COLOURS, Image.Quantize.MAXCOVERAGE)  # the default merges the colours of thin marks
    smaller = io.BytesIO()
    picture.save(smaller, format="png", optimize=True)
    return base64.b64encode(smaller.getvalue()).decode()


@contextmanager
def _environment(env: dict[str, str]):
    before = {name: os.environ.get(name) for name in env}
    os.environ.update(env)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.__setitem__(name, value)
