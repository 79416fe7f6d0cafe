"""The stub that is cut out of a solution: without a trace of it."""

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell

from course_lib import syllabus
from tools.build import source, stubs

WRITTEN = [lesson for lesson in syllabus.load().lessons if lesson.written]

SOLUTION = '''def double(x):
    """Twice x."""
    # SOLUTION
    result = x + x
    for _ in range(0):
        result = None
    return result'''


def cells(code, **metadata):
    return [new_code_cell(code, metadata=metadata)]


def test_the_stub_keeps_what_stands_above_the_marker_and_raises():
    (stub,) = stubs.cut(cells(SOLUTION))
    assert stub.source == 'def double(x):\n    """Twice x."""\n    raise NotImplementedError'


def test_the_solution_loses_the_marker_alone():
    assert stubs.without_marker(cells(SOLUTION)[0]).source == SOLUTION.replace("    # SOLUTION\n", "")


def test_cells_with_the_solution_tag_are_dropped():
    kept = stubs.cut(
        [
            *cells(SOLUTION),
            new_markdown_cell("Why", metadata={"tags": ["solution"]}),
            *cells("x = 1", tags=["solution"]),
        ]
    )
    assert len(kept) == 1


def test_a_statement_of_the_solution_that_survives_is_an_error_whatever_its_spacing():
    with pytest.raises(ValueError, match="survives in the exercise"):
        stubs.cut([*cells(SOLUTION), *cells("x = 2\nresult=(x+x)  # twice")])


def test_a_statement_of_a_solution_cell_that_survives_is_an_error():
    with pytest.raises(ValueError, match="survives"):
        stubs.cut([*cells("answer = 42", tags=["solution"]), *cells("answer   =   42")])


@pytest.mark.parametrize("marker", ["#SOLUTION", "# Solution", "# SOLUTION:", "# solution below"])
def test_a_misspelt_marker_is_an_error_rather_than_a_published_solution(marker):
    with pytest.raises(ValueError, match="is no marker"):
        stubs.cut(cells(SOLUTION.replace("# SOLUTION", marker)))


def test_what_is_no_plain_python_gets_a_sentence():
    with pytest.raises(ValueError, match="no plain Python: !kubectl get pods"):
        stubs.cut([*cells(SOLUTION), *cells("!kubectl get pods")])


def test_a_marker_outside_a_function_or_twice_in_a_cell_is_an_error():
    with pytest.raises(ValueError, match="outside a function"):
        stubs.cut(cells("# SOLUTION\nx = 1"))
    with pytest.raises(ValueError, match="2 lines"):
        stubs.cut(cells(SOLUTION + "\n    # SOLUTION"))


@pytest.mark.parametrize("lesson", WRITTEN, ids=lambda lesson: lesson.stem)
def test_no_statement_of_a_solution_stands_in_the_built_exercise(lesson):
    import jupytext

    solution = jupytext.reads(
        source.source_path("solutions", lesson).read_text(encoding="utf-8"), fmt="py:percent"
    ).cells
    exercise = nbformat.read(lesson.notebook("exercises"), as_version=4).cells
    hidden = [cell for cell in solution if stubs.MARKER in cell.source]
    assert hidden and not stubs.leaks(solution, exercise)
    assert sum(cell.source.endswith("raise NotImplementedError") for cell in exercise) == len(hidden)
