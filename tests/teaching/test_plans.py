"""The plans and the assessments: what they name is there, their minutes add up, and answers stay where they belong."""

import re
from datetime import datetime, timedelta

import nbformat
import pytest

from course_lib import syllabus
from course_lib.places import CHECKOUT
from tools.build import minutes
from tools.site.book import Book
from tools.teaching import plans, room

MAP = syllabus.load()
TIMED = ("half_day", "two_days", "six_weeks")


def built(name: str, folder: str = "plans") -> str:
    return (CHECKOUT / "teaching" / folder / f"{name}.md").read_text(encoding="utf-8")


def page(text: str) -> str:
    return plans.Pages(MAP, touched=True).filled(text)


def blocks(name: str) -> list[plans.Block]:
    read = plans.Pages(MAP, touched=True)
    read.filled((plans.SOURCE / "plans" / f"{name}.md").read_text(encoding="utf-8"))
    return read.blocks


def _forget():
    plans._cells.cache_clear()
    plans._measured.cache_clear()


def test_every_page_is_what_its_source_says():
    made, wrong = plans._pages(MAP)
    assert wrong == []
    assert {
        path.relative_to(CHECKOUT).as_posix() for path, text in made.items() if path.read_text("utf-8") != text
    } == set()
    there = {
        path for folder in ("plans", "assessments", "answers") for path in (CHECKOUT / "teaching" / folder).glob("*")
    }
    assert there >= made.keys()


def test_no_page_is_left_over():
    names = {path.name for path in (plans.SOURCE / "plans").glob("*.md")}
    assert names == {path.name for path in (CHECKOUT / "teaching" / "plans").glob("*")}


@pytest.mark.parametrize("name", ("half_day", "two_days"))
def test_the_clock_of_each_day_adds_up(name):
    tables = re.findall(r"((?:^\|.*\n)+)\n(\d+) minutes: (.*)\.", built(name), re.M)
    assert len(tables) == {"half_day": 1, "two_days": 2}[name]
    for table, said, kinds in tables:
        rows = [line.strip("|\n ").split(" | ") for line in table.strip().splitlines()[2:]]
        spent = [int(row[1]) for row in rows[:-1]]
        clock = [datetime.strptime(row[0].strip(), "%H:%M") for row in rows]
        assert [after - before for before, after in zip(clock, clock[1:])] == [
            timedelta(minutes=each) for each in spent
        ]
        assert sum(spent) == int(said) == sum(map(int, re.findall(r"\d+", kinds)))


def test_each_sentence_of_the_six_weeks_adds_up():
    told = re.findall(r"^\*\*.*?, (\d+) minutes:\*\* (.*)", built("six_weeks"), re.M)
    assert len(told) == 19
    for said, items in told:
        assert int(said) == sum(map(int, re.findall(r"\((\d+)\)(?:;|\.$)", items)))


@pytest.mark.parametrize("name", TIMED)
def test_a_row_takes_what_the_course_says_of_its_lesson_or_exercise(name):
    text, titles = built(name), (CHECKOUT / "README.md").read_text(encoding="utf-8")
    for number, title, spent in re.findall(r"lesson (\d\d) ([^(|“:]+?)(?::[^(|]*)? \((\d+)\)", text):
        own = re.search(rf"\| {number} \| \[{re.escape(title)}\]\S+ \| (\d+)", titles)
        assert own and int(own[1]) == int(spent), number
    for spent, number in re.findall(r"\| (\d+) \| exercise (\d\d\.\d) ", text):
        assert plans.Pages(MAP).exercise(number)[1] == int(spent), number


@pytest.mark.parametrize("name", TIMED)
def test_nobody_sits_for_more_than_100_minutes(name):
    for block in blocks(name):
        assert block.total <= block.at_most <= 480
        assert "At home" in block.line or block.longest <= 100


def test_the_six_weeks_hold_each_lesson_of_the_first_floor_once_and_before_its_exercises():
    words = [row.words for block in blocks("six_weeks") for row in block.rows if row.kind != "talk"]
    lessons = [found[1] for found in (re.match(r"lesson (\d\d)", each) for each in words) if found]
    assert sorted(lessons) == [each.number for each in MAP.lessons if each.floor == 1]
    for at, each in enumerate(words):
        if each.startswith("exercise"):
            assert any(before.startswith(f"lesson {each[9:11]}") for before in words[:at]), each
    exercises = [each.split()[1] for each in words if each.startswith("exercise")]
    assert len(exercises) == len(set(exercises))


@pytest.mark.parametrize("number", range(1, 8))
def test_each_part_has_a_page_that_says_what_to_ask_what_to_skip_and_what_to_discuss(number):
    text = built(f"part_{number}")
    part = next(each for each in MAP.parts if each.number == number)
    assert text.startswith(f"# Part {part.roman}, {part.name}")
    asked = re.findall(r"^\| .*“", text, re.M)
    assert len(asked) >= 3 and len(text.split()) <= 720
    for heading in ("## When you are late, skip", "## Discuss"):
        assert heading in text
    assert 4 <= len(re.findall(r"^- \*.+", text, re.M)) <= 6
    own = {each.number for each in MAP.in_part(part) if each.floor == 1}
    assert set(re.findall(r"^\| (\d\d) “", text, re.M)) >= own - {"05"} or number == 6
    total = sum(minutes.of(MAP.lesson(each)).lesson for each in own)
    assert f"In all {total} + " in text


@pytest.mark.parametrize("number", range(1, 8))
def test_each_part_has_five_to_eight_questions_and_their_answers_stand_apart(number):
    asked, answered = built(f"part_{number}", "assessments"), built(f"part_{number}", "answers")
    questions = re.findall(r"^## (\d)\. .+", asked, re.M)
    assert questions == re.findall(r"^## (\d)\. .+", answered, re.M) == [str(at) for at in range(1, len(questions) + 1)]
    assert 5 <= len(questions) <= 8
    for page_ in (asked, answered):
        parts = re.split(r"^## .+$", page_, flags=re.M)[1:]
        assert all(len(each.split()) >= 15 for each in parts)
    assert plans.ANSWER not in asked + answered
    for paragraph in answered.split("\n\n"):
        assert paragraph.startswith("#") or paragraph not in asked


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{{02 nothing}}", "lesson 02 has no guess “nothing”"),
        ("{{02: no claim says this}}", "0 claims of lesson 02 hold"),
        ("{{02: the}}", "claims of lesson 02 hold"),
        ("{{91 surest}}", "no lesson '91'"),
        ("{{surest}}", "{{surest}} is no number of a lesson"),
        ("02 “How high is the moon?”", "lesson 02 has no heading"),
        ("skip 02 from “How low can the loss get?” to\n“the moon”", "lesson 02 has no heading “the moon”"),
        ("Now do 02.9", "there is no exercise 02.9"),
        ('```plan\nat_most = 40\nline = "x"\nitems = [{ lesson = "02" }]\n```\n', "of at most 40 minutes holds 50"),
        ('```plan\nat_most = 40\nline = "x"\nitems = [{ exercise = "02.8" }]\n```\n', "there is no exercise 02.8"),
    ],
)
def test_what_no_lesson_has_is_refused(text, says):
    with pytest.raises(plans.Wrong, match=re.escape(says)):
        page(text)


def test_a_wrong_page_is_named_and_not_written(tmp_path, monkeypatch):
    (tmp_path / "plans").mkdir()
    (tmp_path / "plans" / "mine.md").write_text("{{02 nothing}}")
    monkeypatch.setattr(plans, "SOURCE", tmp_path)
    monkeypatch.setattr(plans, "_name", lambda path: path.name)
    assert plans.pages(MAP) == {}
    assert plans.problems(MAP) == ["mine.md: lesson 02 has no guess “nothing”"]


def test_a_notebook_that_was_run_since_leaves_the_page_alone(tmp_path, monkeypatch):
    (tmp_path / "notebooks").mkdir()
    notebook = MAP.lesson("02").notebook()
    held = nbformat.read(notebook, as_version=4)
    next(cell for cell in held.cells if cell.cell_type == "code").source += "\n# mine"
    nbformat.write(held, tmp_path / "notebooks" / notebook.name)
    monkeypatch.setattr(plans, "CHECKOUT", tmp_path)
    _forget()
    with pytest.raises(plans.Touched):
        plans.Pages(MAP).filled("{{02 surest}}")
    _forget()


def test_a_number_is_the_one_that_the_lesson_shows():
    shown = (MAP.lesson("02").notebook()).read_text(encoding="utf-8")
    assert f"Measured: {page('{{02 surest}}')}  [reveal]" in shown
    assert page("{{02: a second softmax}}") in shown


def test_neither_the_site_nor_a_workshops_edition_holds_answers():
    held = [each for each in Book(MAP).pages if each.startswith("teaching/")]
    assert not [each for each in held if "assessments" in each or "answers" in each or "part_" in each]
    for folder in ("teaching/plans/part_1.md", "teaching/assessments/part_1.md", "teaching/answers/part_1.md",
                   "source/teaching/assessments/part_1.md"):  # fmt: skip
        assert any(room.fnmatchcase(folder, pattern) for pattern in room.LEFT_OUT) and folder not in room.KEPT
