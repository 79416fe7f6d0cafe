"""A page of exercises: under each its hints and its solution, folded away."""

import ast
import html
import re
from pathlib import Path

from course_lib.syllabus import Lesson
from tools.site.cells import Reader, markdown, markup_of, text_of, words_of

EXERCISE = re.compile(r"#+ (\d\d[a-z]?\.\d)\b")
WHICH = ("First hint", "Second hint", "Third hint, nearly the answer")

Hints = dict[str, list[tuple[str, list[str]]]]


def hints(checks: Path) -> Hints:
    """What a file of checks tells by exercise: each property with its hints. Read, not run."""
    found: Hints = {}
    for node in ast.walk(ast.parse(checks.read_text(encoding="utf-8"))):
        for mark in node.decorator_list if isinstance(node, ast.FunctionDef) else []:
            if isinstance(mark, ast.Call) and getattr(mark.func, "attr", "") == "add":
                found[ast.literal_eval(mark.args[0])] = [
                    (_said(each.value.elts[0]), ast.literal_eval(each.value.elts[2]))
                    for each in sorted((n for n in ast.walk(node) if isinstance(n, ast.Yield)), key=lambda n: n.lineno)
                    if isinstance(each.value, ast.Tuple) and len(each.value.elts) == 3
                ]
    return found


def _said(sentence: ast.expr) -> str:
    """A property's sentence; where a loop fills it in, its fixed words."""
    if isinstance(sentence, ast.JoinedStr):
        return "".join(each.value if isinstance(each, ast.Constant) else "…" for each in sentence.values)
    return sentence.value if isinstance(sentence, ast.Constant) else "For each case"


def hint_fold(told: list[tuple[str, list[str]]]) -> str:
    """The hints of one exercise as folds within folds, so that a reader opens no more than is needed."""

    def words(text: str) -> str:
        return re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(" ".join(text.split())))

    properties = []
    for says, steps in told:
        inner = ""
        for which, step in reversed(list(zip(WHICH, steps))):
            inner = f"<details><summary>{which}</summary><p>{words(step)}</p>{inner}</details>"
        properties.append(f"<li>{words(says)}{inner}</li>")
    return (
        '<details class="course-fold"><summary>Hints: what the check asks for</summary>'
        f"<ol>{''.join(properties)}</ol></details>"
    )


def cells(reader: Reader, lesson: Lesson) -> list[dict]:
    """The page's cells: the exercises as built, each with its folds behind it."""
    checkout, page = reader.book.checkout, f"exercises/{lesson.stem}"
    stubs = reader.notebook(lesson.notebook("exercises", checkout), page)
    solved = lesson.notebook("solutions", checkout)
    known = {text_of(each) for each in stubs}
    parts = _parts(reader.notebook(solved, page)) if solved.is_file() else {}
    path = checkout / "course_lib" / "checks" / f"lesson_{lesson.number}.py"
    told = hints(path) if path.is_file() else {}
    made = []
    for number, part in _parts(stubs).items():
        made += part
        if not number:
            continue
        if told.get(number):
            made.append(markdown(_hidden(hint_fold(told[number])), f"hints-{number.replace('.', '-')}"))
        if solution := _solution([each for each in parts.get(number, []) if text_of(each) not in known]):
            made.append(markdown(solution, f"solution-{number.replace('.', '-')}"))
    return made


def _parts(cells: list[dict]) -> dict[str, list[dict]]:
    """The cells by exercise; what stands before the first is under ""."""
    parts: dict[str, list[dict]] = {"": []}
    number = ""
    for cell in cells:
        if cell["cell_type"] == "markdown" and (found := EXERCISE.match(text_of(cell))):
            number = found.group(1)
        parts.setdefault(number, []).append(cell)
    return parts


def _hidden(content: str) -> str:
    """Content that the search does not look into: conf.py leaves out what has this class."""
    return f"````{{container}} course-unsearched\n{content}\n````"


def _solution(cells: list[dict]) -> str:
    """What a solution adds to its stub, as one closed fold: code, what it printed, and why. Empty where there is none."""
    pieces = []
    for cell in cells:
        source = text_of(cell)
        pieces.append(source if cell["cell_type"] == "markdown" else f"```python\n{source}\n```")
        for output in cell.get("outputs", []):
            if "<img" in markup_of(output):
                pieces.append(markup_of(output))
            else:
                pieces.append("```text\n" + words_of(output).rstrip() + "\n```")
    if not pieces:
        return ""
    body = "\n\n".join(pieces)
    return _hidden(f'<details class="course-fold"><summary>Solution</summary>\n\n{body}\n\n</details>')
