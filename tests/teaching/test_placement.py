"""The placement test: built from the exercises' own text, judged by their own checks."""

import json

import nbformat
import pytest

from course_lib import syllabus
from course_lib.places import CHECKOUT
from course_lib.teaching.placement import ASKED, place
from tools.build import source
from tools.teaching import placement

MAP = syllabus.load()


def stub(*_):
    raise NotImplementedError


@pytest.fixture(scope="module")
def solved() -> list:
    """The six solutions, as the course has them."""
    found = []
    for number in ASKED:
        lesson, held = MAP.lesson(number.partition(".")[0]), {}
        cells = [cell for cell in source.read("solutions", lesson, MAP).cells if cell.cell_type == "code"]
        check = next(cell.source for cell in cells if cell.source.startswith(f'check("{number}"'))
        name = check.partition(", ")[2].strip(")\n ")
        exec("import math\nimport numpy as np", held)
        exec(next(cell.source for cell in cells if f"def {name}(" in cell.source), held)
        found.append(held[name])
    return found


def test_on_colab_the_notebook_fetches_the_course_before_it_imports_it():
    code = [
        each.source
        for each in nbformat.read(CHECKOUT / placement.BUILT, as_version=4).cells
        if each.cell_type == "code"
    ]
    assert "google.colab" in code[0] and "course_lib" in code[1]


def test_it_asks_for_one_exercise_of_each_part_in_the_maps_order():
    parts = [MAP.part_of(MAP.lesson(number.partition(".")[0])).roman for number in ASKED]
    assert parts == ["I", "II", "III", "IV", "V", "VI"]


def test_what_is_built_is_what_its_source_says_and_holds_stubs_alone():
    text = (CHECKOUT / placement.BUILT).read_text(encoding="utf-8")
    assert text == placement.notebook(MAP)
    cells = nbformat.reads(text, as_version=4).cells
    nbformat.validate(nbformat.reads(text, as_version=4))
    assert sum("raise NotImplementedError" in cell.source for cell in cells if cell.cell_type == "code") == len(ASKED)
    assert "SOLUTION" not in text and "EXERCISE" not in text
    assert [number for number in ASKED if f'check(\\"{number}\\"' not in text] == []


def test_unsolved_it_runs_to_its_end(capsys):
    held = {}
    for cell in nbformat.read(CHECKOUT / placement.BUILT, as_version=4).cells:
        if cell.cell_type == "code":
            exec(compile(cell.source, "cell", "exec"), held)
    said = capsys.readouterr().out
    assert said.count("not started") == 2 * len(ASKED)
    assert "Begin with part I Learn: lesson 02 Loss functions" in said


@pytest.mark.parametrize(
    "count, where", [(1, "II Convert: lesson 06"), (3, "IV Speed: lesson 13"), (5, "VI Operate: lesson 20")]
)
def test_the_first_part_whose_exercise_is_not_solved_is_where_to_begin(solved, count, where, capsys):
    place(*solved[:count], *[stub] * (len(ASKED) - count))
    said = capsys.readouterr().out
    assert f"Begin with part {where}" in said and "solved" in said


def test_a_gap_counts_even_if_later_ones_are_solved(solved, capsys):
    place(solved[0], lambda batch: batch, *solved[2:])
    assert "Begin with part II Convert" in capsys.readouterr().out


@pytest.mark.parametrize(
    "tried, where, known",
    [
        ({3: True, 4: False}, "V Serve: lesson 14", "I, II, III"),
        ({3: False, 2: True}, "IV Speed: lesson 13", "I, II"),
        ({3: False, 2: False}, "III Compress: lesson 09", "I, II"),
        ({2: True}, "IV Speed: lesson 13", "I, II"),
        ({0: True, 1: False}, "II Convert: lesson 06", ""),
    ],
)
def test_a_learner_may_begin_in_the_middle_and_what_was_not_tried_before_is_known(solved, tried, where, known, capsys):
    answers = [stub] * len(ASKED)
    for at, right in tried.items():
        answers[at] = solved[at] if right else lambda *_: None
    place(*answers)
    said = capsys.readouterr().out
    assert f"Begin with part {where}" in said
    assert ("taken as known" in said) == bool(known) and (not known or f"taken as known: {known}." in said)


def test_all_six_solved_leave_the_choice(solved, capsys):
    place(*solved)
    said = capsys.readouterr().out
    assert "You solved the last one" in said and said.count("  solved") == len(ASKED)


def test_another_number_of_answers_is_refused():
    with pytest.raises(ValueError, match="expected 6 answers, for 02.2"):
        place(stub)


def test_a_copy_that_somebody_works_in_is_theirs(tmp_path, monkeypatch):
    monkeypatch.setattr(placement, "CHECKOUT", tmp_path)
    (tmp_path / "teaching").mkdir()
    held = json.loads((CHECKOUT / placement.BUILT).read_text(encoding="utf-8"))
    held["cells"][-1]["source"] = ["print('mine')"]
    (tmp_path / placement.BUILT).write_text(json.dumps(held), encoding="utf-8")
    assert placement.pages(MAP) == {}


def test_an_exercise_that_the_course_lacks_is_named():
    with pytest.raises(source.SourceError, match="got 02.9"):
        placement.exercise("02.9", MAP)
