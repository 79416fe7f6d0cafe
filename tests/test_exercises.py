"""check: hints instead of scolding, progress on disk, and every check held to planted wrong answers."""

import dataclasses
import json
import re

import numpy as np
import pytest

from course_lib import idioms, places, syllabus
from course_lib.idioms import check
from course_lib.idioms.exercises import CheckFailed, examine, exercises_of
from course_lib.idioms.store import solved
from course_lib.progress import progress
from tests.wrong_answers import WRONG, lesson_11b
from tools.build import source

MAP = syllabus.load()
ALL = {number: each for lesson in MAP.lessons for number, each in exercises_of(lesson.number).items()}


def unfinished(*_, **__):
    raise NotImplementedError


def right(availability, days=30):
    if not 0 <= availability <= 1:
        raise ValueError
    return (1 - availability) * days * 1440


def test_there_are_exercises():
    assert len(ALL) >= 5


@pytest.mark.parametrize("number", ALL)
def test_an_unfinished_answer_is_not_started(number):
    assert examine(number, unfinished).state == "not started"


@pytest.mark.parametrize("number", ALL)
@pytest.mark.parametrize("empty", [None, ..., "", 0, lambda *_, **__: None, lambda *_, **__: "", lambda *_, **__: [],
                                   lambda *_, **__: np.zeros(0), lambda first, *_, **__: first], ids=repr)  # fmt: skip
def test_an_empty_answer_never_passes(number, empty):
    assert examine(number, empty).state == "not yet"


@pytest.mark.parametrize("number", ALL)
def test_each_exercise_has_two_planted_wrong_answers_or_more(number):
    assert len(WRONG.get(number, {})) >= 2


@pytest.mark.parametrize(("number", "answer", "caught_at"),
                         [pytest.param(number, answer, at, id=f"{number}-{answer.__name__}")
                          for number, planted in WRONG.items() for answer, at in planted.items()])  # fmt: skip
def test_a_planted_wrong_answer_is_caught_at_its_property(number, answer, caught_at):
    found = examine(number, answer)
    assert (found.state, found.failed) == ("not yet", caught_at)
    assert len(found.hints) == 3 and all(found.hints)


@pytest.mark.parametrize("number", ALL)
def test_each_check_is_called_in_its_exercise_and_titled_alike(number):
    lesson = MAP.lesson(number.partition(".")[0])
    text = source.source_path("solutions", lesson).read_text(encoding="utf-8")
    assert f'check("{number}", ' in text
    assert f"## {number} {ALL[number].title} ★" in text


@pytest.mark.parametrize("number", ALL)
def test_each_check_says_how_the_answer_is_called_and_what_it_returns(number):
    called, returned = ALL[number].contract
    assert called.startswith("answer(") and called.endswith(")") and returned


def test_an_answer_that_looks_for_a_code_beyond_the_last_byte_is_stopped(monkeypatch):
    def never_at_an_end(lengths, raw, count):
        codes, bits, symbols, begun = lesson_11b._codes(lengths), lesson_11b._bits(raw), [], 0
        while len(symbols) < count:
            place = begun + 1
            while bits[begun:place] not in codes:
                place += 1
            symbols.append(codes[bits[begun:place]])
            begun = place
        return np.array(symbols, np.int64)

    known = exercises_of("11b")
    monkeypatch.setitem(known, "11b.3", dataclasses.replace(known["11b.3"], seconds=1))
    found = examine("11b.3", never_at_an_end)
    assert (found.state, found.failed) == ("not yet", "bytes that end too early are refused")
    assert found.reasons[0].startswith("It did not end within 1 seconds")


@pytest.mark.parametrize("number", ALL)
def test_a_value_in_place_of_the_function_is_told_so(number):
    found = examine(number, 3.5)
    assert (found.state, found.failed) == ("not yet", "the answer is a function")
    assert found.reasons == (f'Expected the function itself, got float 3.5: write `check("{number}", your_function)`, '
                             "without parentheses after its name.",)  # fmt: skip


@pytest.mark.parametrize("number", ALL)
def test_an_answer_is_called_by_properties_alone_where_its_time_is_limited(number):
    properties, called = ALL[number].properties(lambda *_, **__: called.append(1)), []
    list(properties)
    assert not called


@pytest.mark.parametrize("lesson", sorted({number.partition(".")[0] for number in ALL}))
def test_every_stub_as_it_is_cut_is_not_started(lesson, monkeypatch):
    answers = {}
    monkeypatch.setattr(idioms, "check", answers.__setitem__)
    cut = source.read("exercises", MAP.lesson(lesson), MAP)
    namespace = {}
    for cell in cut.cells:
        if cell.cell_type == "code":
            exec(cell.source, namespace)
    assert list(answers) == list(exercises_of(lesson))
    assert {examine(number, answer).state for number, answer in answers.items()} == {"not started"}


def test_a_solved_exercise_is_kept_with_its_date_and_shown_in_the_progress(capsys):
    check("00.1", right)
    said = capsys.readouterr().out
    assert "✓ 00.1 How long may it be down?: solved" in said
    assert "\n    ✓ 99.9 % over 30 days leaves 43.2 minutes\n" in said
    assert list(solved()) == ["00.1"]
    assert re.search(r"● +1 of 1", repr(progress()))


def test_a_property_that_does_not_hold_reads_as_one_and_those_before_it_have_ticks(capsys):
    check("01.1", lambda before, after: np.abs(before - after).max())
    said = capsys.readouterr().out
    assert said.startswith("✗ 01.1, not yet true: it is a plain float  [check]\n    ✓ it is the largest difference")


def test_each_failed_try_gives_one_more_hint_up_to_three(capsys):
    shown = []
    for _ in range(4):
        check("00.1", lambda availability, days=30: 0)
        shown.append(capsys.readouterr().out.count("hint "))
    assert shown == [1, 2, 3, 3]
    assert not solved()


def test_what_an_answer_raises_is_shown_and_does_not_stop_the_notebook(capsys):
    check("00.1", lambda availability, days=30: 1 / 0)
    said = capsys.readouterr().out
    assert "Your answer raised ZeroDivisionError: division by zero, in line " in said and "`check(" in said


def test_strict_a_check_that_is_not_satisfied_raises(monkeypatch):
    monkeypatch.setenv("COURSE_STRICT", "1")
    for answer in (unfinished, lambda availability, days=30: 0):
        with pytest.raises(CheckFailed, match="00.1"):
            check("00.1", answer)
    check("00.1", right)


@pytest.mark.parametrize("number", ["00.9", "77.1", "", "first", "00"])
def test_an_unknown_number_says_which_there_are(number):
    with pytest.raises(ValueError, match="expected an exercise's number"):
        check(number, right)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"solved": 3}', "null"])
def test_an_unreadable_progress_file_is_set_aside_and_said(text, capsys):
    places.PROGRESS.parent.mkdir(parents=True)
    places.PROGRESS.write_text(text)
    check("00.1", right)
    assert "could not be read" in capsys.readouterr().out
    assert places.PROGRESS.with_suffix(".unreadable.json").read_text() == text
    assert list(json.loads(places.PROGRESS.read_text())["solved"]) == ["00.1"]


def test_progress_that_cannot_be_written_is_said_and_the_answer_still_counts(capsys):
    places.PROGRESS.parent.parent.mkdir(exist_ok=True)
    places.PROGRESS.parent.write_text("a file where the folder should be")
    check("00.1", right)
    said = capsys.readouterr().out
    assert "not kept on disk" in said and "solved" in said
