"""Cuts the exercises' stubs out of the solutions, and proves that nothing of a solution is left in them."""

import ast
import re

import nbformat

MARKER = "# SOLUTION"
TAG = "solution"
"""Cells with this tag stand in the solutions only."""


def cut(cells: list[nbformat.NotebookNode]) -> list[nbformat.NotebookNode]:
    """The cells of an exercise: solution cells dropped, and from each marker to its cell's end the stub's one line.

    Raises ValueError for a marker outside a function, for two in one cell, and where a solution would leak.
    """
    kept = [cell for cell in cells if TAG not in cell.metadata.get("tags", [])]
    stubbed = [_stub(cell) for cell in kept]
    if leaked := leaks(cells, stubbed):
        raise ValueError(
            f"the solution's statement {leaked[0]!r} survives in the exercise: take it out of what is kept"
        )
    return stubbed


def without_marker(cell: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """The cell as the solution shows it."""
    lines = [line for line in cell.source.splitlines() if line.strip() != MARKER]
    if cell.cell_type == "code":
        cell = nbformat.v4.new_code_cell("\n".join(lines), metadata=cell.metadata)
    return cell


def leaks(solution: list[nbformat.NotebookNode], exercise: list[nbformat.NotebookNode]) -> list[str]:
    """Statements below a marker or in a solution cell that also stand in the exercise, normalised."""
    hidden: set[str] = set()
    for cell in solution:
        if cell.cell_type != "code":
            continue
        at = _marker_line(cell.source)
        if TAG in cell.metadata.get("tags", []):
            hidden |= {each for each in _statements(cell.source, 0) if not each.startswith(("import ", "from "))}
        elif at:
            hidden |= _statements(cell.source, at)
    shown = set().union(*[_statements(cell.source, 0) for cell in exercise if cell.cell_type == "code"], set())
    return sorted(hidden & shown)


def _stub(cell: nbformat.NotebookNode) -> nbformat.NotebookNode:
    if cell.cell_type != "code" or not (at := _marker_line(cell.source)):
        return cell
    lines = cell.source.splitlines()
    indent = lines[at - 1][: -len(lines[at - 1].lstrip())]
    if not indent:
        raise ValueError(
            f"`{MARKER}` stands outside a function: an exercise runs to its end unsolved, so put it inside"
        )
    stub = "\n".join([*lines[: at - 1], f"{indent}raise NotImplementedError"])
    return nbformat.v4.new_code_cell(stub, metadata=cell.metadata)


def _marker_line(source: str) -> int:
    """The marker's line, from 1; 0 where there is none."""
    lines = source.splitlines()
    at = [i for i, line in enumerate(lines, start=1) if line.strip() == MARKER]
    if misspelt := [line for line in lines if re.match(r"\s*#\s*solution\b", line, re.I) and line.strip() != MARKER]:
        raise ValueError(f"{misspelt[0].strip()!r} is no marker, and the solution would be published: write `{MARKER}`")
    if len(at) > 1:
        raise ValueError(f"{len(at)} lines `{MARKER}` in one cell: one exercise a cell")
    return at[0] if at else 0


def _statements(source: str, after_line: int) -> set[str]:
    try:
        tree = ast.parse(source)
    except SyntaxError as wrong:
        raise ValueError(f"line {wrong.lineno} of a cell is no plain Python: {(wrong.text or '').strip()}") from None
    found = [n for n in ast.walk(tree) if isinstance(n, ast.stmt) and n.lineno > after_line]
    return {ast.unparse(each) for each in found}
