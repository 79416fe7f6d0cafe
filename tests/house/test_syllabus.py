"""The map, read from files that do not hold together, and asked for lessons by their numbers."""

from pathlib import Path

import pytest

from course_lib import syllabus

LESSON = """
[[part]]
number = 0
name = "Start"
[[lesson]]
number = "{number}"
name = "welcome"
title = "Welcome"
part = {part}
{more}
"""


def written(folder: Path, number: str = "00", part: int = 0, more: str = "", course: str = 'title = "A"') -> Path:
    path = folder / "syllabus.toml"
    path.write_text(f"[course]\n{course}\n" + LESSON.format(number=number, part=part, more=more))
    return path


def test_a_map_is_read(tmp_path: Path) -> None:
    course = syllabus.load(written(tmp_path, more='live = ["docker"]'))
    assert (course.title, course.repository, course.version) == ("A", "", "")
    assert [(lesson.stem, lesson.live) for lesson in course.lessons] == [("00_welcome", ("docker",))]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"course": ""}, r"\[course\] must have a title"),
        ({"course": 'title = ""'}, r"\[course\] must have a title"),
        ({"number": "7"}, "two digits"),
        ({"number": "02x"}, "two digits"),
        ({"number": "02b"}, "above 02, which is not listed"),
        ({"part": 9}, "part 9, which is not listed"),
        ({"more": 'live = ["podman"]'}, "live knows"),
        ({"more": 'colour = "red"'}, "a key too many or too few"),
    ],
)
def test_what_does_not_hold_together_is_said(tmp_path: Path, wrong: dict[str, str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        syllabus.load(written(tmp_path, **wrong))


def test_a_file_without_a_course_is_said(tmp_path: Path) -> None:
    (tmp_path / "syllabus.toml").write_text("")
    with pytest.raises(ValueError, match="must have a title"):
        syllabus.load(tmp_path / "syllabus.toml")


def test_a_floor_above_is_found_and_knows_what_it_stands_on() -> None:
    course = syllabus.load()
    deeper = course.lesson("2b")
    assert deeper == course.lesson("02b") == course.lesson(deeper.stem)
    assert (deeper.floor, course.below(deeper).number) == (2, "02")
    assert course.deeper(course.lesson("02")) == (deeper,) and course.deeper(deeper) == ()


@pytest.mark.parametrize("number", ["01", "1", "01_grand_tour"])
def test_a_lesson_is_found_by_its_number_or_name(number: str) -> None:
    assert syllabus.load().lesson(number).stem == "01_grand_tour"


@pytest.mark.parametrize("number", ["99", "", "1x", "01_nonsense", "01_", "1_grand_tour", "units"])
def test_what_is_no_lesson_is_refused_with_the_valid_ones(number: str) -> None:
    with pytest.raises(LookupError, match="the lessons are 00, 01, 02"):
        syllabus.load().lesson(number)
