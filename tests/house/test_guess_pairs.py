"""Each guess of a lesson has its reveal, of the same name, in a later cell, after the measurement."""

import ast
from collections import Counter

import jupytext
import pytest

from course_lib.places import CHECKOUT

LESSONS = sorted((CHECKOUT / "source" / "notebooks").glob("*.py"))


def pair_problems(source: str) -> list[str]:
    """What keeps the guesses and reveals of a lesson's source (py:percent) from being pairs; empty where they are."""
    cells = [cell.source for cell in jupytext.reads(source, fmt="py:percent").cells if cell.cell_type == "code"]
    calls: dict[str, dict[str, tuple[int, ast.Call]]] = {"guess": {}, "reveal": {}}
    bound: dict[str, int] = {}
    problems, counts = [], Counter()
    for at, cell in enumerate(cells):
        for node in ast.walk(ast.parse(cell)):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                bound[node.id] = at
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in calls):
                continue
            name = node.args[0].value if node.args and isinstance(node.args[0], ast.Constant) else None
            if not isinstance(name, str):
                problems.append(f"{ast.unparse(node)}: the name must be a text that stands there")
                continue
            calls[node.func.id].setdefault(name, (at, node))
            counts[node.func.id, name] += 1
    problems += [f"{count} times {call}({name!r}, …)" for (call, name), count in counts.items() if count > 1]
    problems += [f"guess({name!r}, …) has no reveal" for name in calls["guess"] if name not in calls["reveal"]]
    problems += [f"reveal({name!r}, …) has no guess" for name in calls["reveal"] if name not in calls["guess"]]
    for name in calls["guess"].keys() & calls["reveal"].keys():
        (asked, _), (shown, reveal) = calls["guess"][name], calls["reveal"][name]
        if shown <= asked:
            problems.append(f"guess({name!r}, …) must stand in a cell before its reveal's")
        nodes = [node for truth in reveal.args[1:2] for node in ast.walk(truth)]
        names = [node.id for node in nodes if isinstance(node, ast.Name)]
        if names and not any(isinstance(node, ast.Call) for node in nodes) and all(
            bound.get(each, -1) < asked for each in names
        ):  # fmt: skip
            problems.append(f"guess({name!r}, …) stands after the cell that measures {', '.join(names)}")
    return problems


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_each_guess_of_a_lesson_has_its_reveal(path):
    assert pair_problems(path.read_text(encoding="utf-8")) == []


RIGHT = """# %%
guess("lost", "How many?", low=0, high=9)
# %%
failed = measure()
# %%
reveal("lost", failed)
"""


@pytest.mark.parametrize(("source", "problem"), [
    (RIGHT, ""),
    (RIGHT.replace("failed)", "count(answers))"), ""),
    (RIGHT.replace('reveal("lost", failed)', ""), "guess('lost', …) has no reveal"),
    (RIGHT.replace('guess("lost", "How many?", low=0, high=9)', ""), "reveal('lost', …) has no guess"),
    (RIGHT.replace('reveal("lost"', 'reveal("lots"'), "guess('lost', …) has no reveal"),
    (RIGHT + 'reveal("lost", failed)\n', "2 times reveal('lost', …)"),
    (RIGHT + '# %%\nguess("lost", "And now?", share=True)\n', "2 times guess('lost', …)"),
    (RIGHT.replace('reveal("lost"', "reveal(name"), "reveal(name, failed): the name must be a text that stands there"),
    (RIGHT.replace("# %%\nfailed", "failed").replace("# %%\nreveal", "reveal"),
     "guess('lost', …) must stand in a cell before its reveal's"),
    ('# %%\nfailed = measure()\n' + RIGHT.replace("failed = measure()", "other = 3"),
     "guess('lost', …) stands after the cell that measures failed"),
], ids=range(10))  # fmt: skip
def test_what_keeps_a_guess_and_its_reveal_from_being_a_pair(source, problem):
    assert problem in pair_problems(source) if problem else pair_problems(source) == []
