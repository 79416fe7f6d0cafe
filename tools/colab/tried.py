"""`./course test colab`: the first cell and the lessons of parts 0 to IV in an environment like Google Colab's.

A copy of the checkout is cloned as the first cell does it, into a folder that stands for /content. The network is there
for pip alone: lessons run as everywhere else, offline and replayed.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from packaging.utils import canonicalize_name

from course_lib import syllabus
from course_lib.places import CHECKOUT
from tools import environments, offline, processes
from tools.build.source import COLAB_CHECKOUT
from tools.colab import environment
from tools.test.jobs import Job, nbval
from tools.test.outcomes import summary
from tools.test.running import run_all

LAST_PART = 4
"""From the part after it on, lessons build containers, and Colab has no engine."""

FIRST_CELL_SECONDS = 120
"""How long the first cell may take."""

KERNEL = [
    "-Xfrozen_modules=off",  # or the debugger writes a warning
    *("-c", "import google.colab; from ipykernel.kernelapp import launch_new_instance as start; start()"),
    *("-f", "{connection_file}"),
]
"""Colab's kernel has its module imported when the first cell starts."""

IMPORTS = """from course_lib.idioms import quiet
quiet.frameworks()
import numpy, torch, tensorflow, keras, onnx, onnxruntime, tf2onnx, ai_edge_litert.interpreter, starlette"""
"""What the lessons import, as they do it: TensorFlow's own messages at its start are switched off."""


def main(words: list[str], checkout: Path = CHECKOUT) -> int:
    """Returns 0 where everything passed, 1 where something failed, 2 where a word names no lesson.

    words: numbers of lessons, none for all of the first parts.
    """
    try:
        chosen = [syllabus.load(checkout / "syllabus.toml").lesson(word) for word in words]
    except LookupError as wrong:
        print(f"course test colab: {wrong}", file=sys.stderr)
        return 2
    version, date = environment.about()
    print(f"Google Colab as of {date}: Python {version}", flush=True)
    try:
        program = environment.python()
    except (environment.NotInstalled, environment.course.Stop) as why:
        print(f"course test colab: {why}", file=sys.stderr)
        return 1
    for name in environment.course.SEARCH:
        os.environ.pop(name, None)
    with tempfile.TemporaryDirectory(prefix="course-colab-", ignore_cleanup_errors=True) as folder:
        content = Path(folder, "content")
        content.mkdir()
        os.environ["JUPYTER_PATH"] = str(kernel(program, Path(folder, "jupyter")))
        wrong = first_cell(program, publish(checkout, Path(folder, "published")), content)
        print("\n".join(f"FAILED   first cell: {each}" for each in wrong) or "passed   first cell", flush=True)
        if not (content / "course").is_dir():
            return 1
        with processes.signals_interrupt():
            outcomes = run_all(jobs(content, chosen), content / "course", lambda text: print(text, flush=True))
    print(summary(outcomes))
    return int(bool(wrong) or any(outcome.counts["failed"] for outcome in outcomes))


def publish(checkout: Path, folder: Path) -> Path:
    """A repository with one commit: the files of this checkout that git knows or would take. Returns its folder."""
    listed = subprocess.run(["git", "ls-files", "-coz", "--exclude-standard"], cwd=checkout, stdout=-1, check=True)
    for name in filter(None, os.fsdecode(listed.stdout).split("\0")):
        if (checkout / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(checkout / name, folder / name)
    author = ["-c", "user.name=course", "-c", "user.email=course@example.org"]
    for words in (["init", "-q"], ["add", "-A"], [*author, "commit", "-q", "-m", "the checkout"]):
        subprocess.run(["git", *words], cwd=folder, check=True)
    return folder


def kernel(program: Path, folder: Path) -> Path:
    """A kernel named "colab" for Jupyter to find: this interpreter's, with Colab's module. Returns `folder`."""
    spec = folder / "kernels" / "colab"
    spec.mkdir(parents=True)
    argv = [str(program), *KERNEL]
    (spec / "kernel.json").write_text(json.dumps({"argv": argv, "display_name": "Colab", "language": "python"}))
    return folder


def first_cell(program: Path, published: Path, content: Path) -> list[str]:
    """Runs the first cell of lesson 00 and then the imports; what is wrong with what was seen, a sentence each.

    The cell asks for the course's address and for /content; it gets `published` and `content` in their places.
    """
    before, complaints = environment.installed(program), check(program)
    book = nbformat.read(published / "notebooks" / "00_welcome.ipynb", as_version=4)
    cell = next(each for each in book.cells if "colab" in each.metadata.get("tags", []))
    address = f"https://github.com/{syllabus.load(published / 'syllabus.toml').repository}"
    cell.source = placed(cell.source, content).replace(json.dumps(address), json.dumps(str(published)))
    cells = [cell, nbformat.v4.new_code_cell(IMPORTS)]
    client = NotebookClient(nbformat.v4.new_notebook(cells=cells), timeout=600, kernel_name="colab")
    wrong, took = [], []
    with client.setup_kernel(cwd=str(content), env=environment.clean_variables()):
        for number, each in enumerate(cells):
            began = time.monotonic()
            try:
                client.execute_cell(each, number)
            except CellExecutionError as error:
                wrong.append(str(error)[-2000:])
            took.append(time.monotonic() - began)
    print(f"first cell: {took[0]:.0f} s, imports after it: {took[1]:.0f} s")
    said = ["".join(output.get("text", str(output)) for output in each.outputs).strip() for each in cells]
    print("\n".join(f"    | {line}" for line in said[0].splitlines()))
    if took[0] > FIRST_CELL_SECONDS:
        wrong.append(f"it takes more than {FIRST_CELL_SECONDS} s")
    if len(said[0].splitlines()) > 1:
        wrong.append("it says more than one line")
    if said[1]:
        wrong.append(f"the imports after it say:\n{said[1]}")
    after = environment.installed(program)
    changed = [f"{name} {before[name]} to {after.get(name)}" for name in before if after.get(name) != before[name]]
    if changed:
        wrong.append(f"it changes packages of Colab's: {', '.join(changed)}")
    new = {name: version for name, version in after.items() if name not in before}
    colabs = {canonicalize_name(name) for name in environments.pins(environment.RUNTIME)}
    if lacking := [name for name in new if canonicalize_name(name) in colabs]:
        wrong.append(f"the environment lacks what Colab has; KERNEL should name it: {', '.join(lacking)}")
    if more := sorted(check(program) - complaints):
        wrong.append("`pip check` has new complaints:\n" + "\n".join(more))
    print("    installed: " + ", ".join(f"{name} {version}" for name, version in sorted(new.items())))
    return wrong


def placed(source: str, content: Path) -> str:
    """A first cell with another folder in the place of /content."""
    return source.replace(COLAB_CHECKOUT, (content / "course").as_posix())


def check(program: Path) -> set[str]:
    """What `pip check` complains about, a line each."""
    command = [program, "-m", "pip", "check", "--disable-pip-version-check"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment.clean_variables())
    return set(done.stdout.splitlines()) if done.returncode else set()


def jobs(content: Path, chosen: list[syllabus.Lesson]) -> list[Job]:
    """The chosen lessons, or those of the first parts, each to run in Colab's kernel. Their first cells find `content`."""
    course, made = content / "course", []
    for lesson in chosen or syllabus.load(course / "syllabus.toml").lessons:
        path = lesson.notebook("notebooks", course)
        if path.is_file() and (chosen or lesson.part <= LAST_PART):
            path.write_text(placed(path.read_text(encoding="utf-8"), content), encoding="utf-8")
            command = nbval(path, "--nbval-kernel-name=colab")
            command = tuple(each for each in command if each != "--nbval-current-env")
            command = command if offline.reason() else offline.command(command)
            made.append(Job("colab", lesson.stem, command, alone=lesson.timed))
    return made
