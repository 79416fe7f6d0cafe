"""`./course build --check`: what is committed comes from its source, and a lesson has all of its parts."""

import ast
import html
import json
import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import nbformat

from course_lib import models, places
from course_lib.idioms.live import recording_path, source_hash
from course_lib.places import CHECKOUT
from course_lib.show.path import words as map_in_words
from course_lib.syllabus import Drill, Lesson, Syllabus
from tools import edge
from tools.build import pages, source, style
from tools.teaching import plans

BYTES = 500_000
"""A built notebook is no larger."""


@dataclass
class Outcome:
    """problems fail the check; notes are for the reader alone."""

    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def everything(syllabus: Syllabus) -> Outcome:
    """Runs every check over the checkout."""
    outcome = Outcome()
    written = [lesson for lesson in syllabus.lessons if lesson.written]
    for kind, lesson in source.everything(syllabus):
        notebook_problems(kind, lesson, syllabus, outcome)
    for lesson in written:
        outcome.problems += style.lesson_problems(lesson) + engine_problems(lesson) + recording_problems(lesson)
    for path, text in pages.wanted(syllabus).items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            outcome.problems.append(f"{path.relative_to(CHECKOUT)} is not what its source says: ./course build")
    outcome.problems += (
        models.problems() + edge.problems() + plans.problems(syllabus) + orphans(syllabus) + link_problems()
    )
    return outcome


def notebook_problems(kind: str, lesson: Lesson | Drill, syllabus: Syllabus, outcome: Outcome) -> None:
    """A built notebook against its source. One that is edited and not committed is its reader's own: a note."""
    path = lesson.notebook(kind)
    name = f"{kind}/{path.name}"
    word = kind if kind == source.DRILLS else lesson.number
    if not path.exists():
        outcome.problems.append(f"{name} is not built: ./course build {word}")
        return
    built = nbformat.read(path, as_version=4)
    if built.metadata.get("course", {}).get("fingerprint") != source.fingerprint(built):
        if _differs_from_commit(path):
            outcome.notes.append(f"{name} was run or edited here since it was built; that is yours and stays")
        else:
            outcome.problems.append(f"{name} holds what the build did not write: ./course build {word}")
        return
    if not source.same_cells(built, source.read(kind, lesson, syllabus)):
        outcome.problems.append(f"{name} differs from its source: ./course build {word}")
    if path.stat().st_size > BYTES:
        outcome.problems.append(f"{name} has {path.stat().st_size:,} bytes; at most {BYTES:,}")
    code = [cell for cell in built.cells if cell.cell_type == "code"]
    if kind in source.UNRUN and any(cell.outputs for cell in code):
        outcome.problems.append(f"{name} carries outputs; {kind} carry none")
    if kind not in source.UNRUN and any(cell.execution_count is None for cell in code):
        outcome.problems.append(f"{name} has cells that were never run: ./course build {lesson.number}")
    outcome.problems += [
        f"{name} {problem}" for problem in output_problems(kind, lesson, code) + heading_problems(built)
    ]


def output_problems(kind: str, lesson: Lesson | Drill, code: list[nbformat.NotebookNode]) -> list[str]:
    """What the committed outputs say that they should not, or do not say that they should."""
    outputs = [output for cell in code for output in cell.outputs]
    markup = "\n".join(output.get("data", {}).get("text/html", "") for output in outputs)
    said = "\n".join(output.get("data", {}).get("text/plain", "") for output in outputs)
    problems = []
    if any(output.output_type == "error" or output.get("name") == "stderr" for output in outputs):
        problems.append("carries an error or a warning in an output")
    pictures = [words for words in re.findall(r"<img\b([^>]*)", markup) if not re.search(r'alt="[^"]+"', words)]
    if pictures or any("image/png" in output.get("data", {}) for output in outputs):
        problems.append("has a figure without alternative text: use show.finding(…, alt=…)")
    if kind == "notebooks" and map_in_words(lesson.number) not in html.unescape(markup):
        problems.append("shows another map than syllabus.toml's")
    for sentence in re.findall(r"^○ (.*)  \[not so ", said, re.M):
        problems.append(f"observed otherwise: “{sentence}”. Measure again on a quiet machine, or write for both outcomes "
                        "and say either=True")  # fmt: skip
    if markup.count("<table") > markup.count("<caption"):
        problems.append("has a table without a caption")
    return problems


def heading_problems(notebook: nbformat.NotebookNode) -> list[str]:
    """Headings that skip a level: a screen reader's list of them has a hole."""
    text = "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    levels = [len(marks) for marks in re.findall(r"^(#+) ", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S), re.M)]
    steps = zip([0, *levels], levels)
    return ["has a heading that skips a level"] if any(after > before + 1 for before, after in steps) else []


def engine_problems(lesson: Lesson) -> list[str]:
    """What the syllabus says that a lesson runs on, against what its live functions name."""
    engines = {engine for kind in ("notebooks", "solutions") for engine in _engines(kind, lesson)}
    if engines == set(lesson.live):
        return []
    return [f"syllabus.toml says that lesson {lesson.number} runs on {sorted(lesson.live)}, its live functions on "
            f"{sorted(engines)}"]  # fmt: skip


def _engines(kind: str, lesson: Lesson) -> set[str]:
    """What the live functions of a source run on."""
    path = source.source_path(kind, lesson)
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    calls = [mark for _, mark in _live_marks(text)]
    return {argument.value for call in calls for argument in call.args if isinstance(argument, ast.Constant)}


def recording_problems(lesson: Lesson) -> list[str]:
    """Live functions without a recording, with a stale one, and recordings without a function."""
    text = source.source_path("notebooks", lesson).read_text(encoding="utf-8")
    functions = live_functions(text)
    problems = []
    for name, code in functions.items():
        path = recording_path(lesson.number, name)
        if not path.exists():
            problems.append(
                f"lesson {lesson.number}: {name} has no recording: ./course build {lesson.number} --require-live"
            )
        elif json.loads(path.read_text(encoding="utf-8"))["source_sha256"] != source_hash(code):
            problems.append(f"lesson {lesson.number}: the recording of {name} is stale, since the function was changed: "
                            f"./course build {lesson.number} --require-live")  # fmt: skip
    for path in sorted((places.RECORDINGS / lesson.number).glob("*.json")):
        if path.stem not in functions:
            problems.append(f"{path.relative_to(CHECKOUT)} is a recording of no live function: remove it")
    return problems


def live_functions(text: str) -> dict[str, str]:
    """The functions that a source marks with @live, each with its code, as a running kernel sees it."""
    found = {}
    text = source.without_marks(text)
    for node, _ in _live_marks(text):
        first = node.decorator_list[0].lineno
        found[node.name] = "\n".join(text.splitlines()[first - 1 : node.end_lineno])
    return found


def _live_marks(text: str) -> list[tuple[ast.FunctionDef, ast.Call]]:
    """Each function with a decorator `@live(…)`, and the decorator's call."""
    return [
        (node, mark)
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef)
        for mark in node.decorator_list
        if isinstance(mark, ast.Call) and isinstance(mark.func, ast.Name) and mark.func.id == "live"
    ]


def orphans(syllabus: Syllabus) -> list[str]:
    """Built notebooks without a source."""
    problems = []
    for kind in (*source.KINDS, source.DRILLS):
        stems = {lesson.stem for own, lesson in source.everything(syllabus) if own == kind}
        folder = CHECKOUT / kind
        problems += [
            f"{kind}/{path.name} has no source" for path in sorted(folder.glob("*.ipynb")) if path.stem not in stems
        ]
    return problems


def link_problems() -> list[str]:
    """Relative links that lead nowhere and pictures without alternative text, in pages and in notebooks."""
    problems = []
    texts = {
        path: path.read_text(encoding="utf-8") for path in [*CHECKOUT.glob("*.md"), *CHECKOUT.glob("models/*/*.md")]
    }
    for kind in (*source.KINDS, source.DRILLS):
        for path in (CHECKOUT / kind).glob("*.ipynb"):
            cells = nbformat.read(path, as_version=4).cells
            texts[path] = "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    for path, text in texts.items():
        name = path.relative_to(CHECKOUT)
        for picture, words, target in re.findall(
            r"(!?)\[([^\]]*)\]\(([^)\s]+)\)", re.sub(r"```.*?```|`[^`]*`", "", text, flags=re.S)
        ):
            if picture and not words.strip():
                problems.append(f"{name}: the picture {target} has no alternative text")
            if re.match(r"[a-z]+:", target):
                continue
            file, _, anchor = target.partition("#")
            aim = (path.parent / file).resolve() if file else path
            if not aim.exists():
                problems.append(f"{name}: the link to {target} leads nowhere")
            elif anchor and aim.suffix == ".md" and anchor not in _anchors(aim.read_text(encoding="utf-8")):
                problems.append(f"{name}: {aim.name} has no heading #{anchor}")
    return problems


def _anchors(text: str) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def _differs_from_commit(path: Path) -> bool:
    """Whether the file differs from what git has committed; True where git cannot tell."""
    done = subprocess.run(["git", "diff", "--quiet", "HEAD", "--", str(path)], cwd=CHECKOUT, capture_output=True)
    return done.returncode != 0
