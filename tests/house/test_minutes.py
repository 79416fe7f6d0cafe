"""The minutes of a lesson: counted, not typed; and what keeps it within its hour."""

import nbformat
import pytest

from course_lib import syllabus
from tools.build import check, minutes, style
from tools.build.source import source_path

MAP = syllabus.load()


@pytest.mark.parametrize(("text", "count"), [
    ("Three plain words.", 3),
    ("# A heading – and a dash", 5),
    ("Code `a b c` and\n\n```bash\ndocker build . -t x\n```\n\nafter.", 3),
    (r"A formula $x + y$ and $$\n\sum_i x_i$$ here.", 4),
    ("A [link of words](https://example.org/a-b) <br> and a picture.", 7),
    ("", 0),
])  # fmt: skip
def test_words_are_those_of_prose(text, count):
    assert minutes.words(text) == count


def test_lines_are_neither_blank_nor_a_comment_alone():
    assert minutes.lines("# why\nx = 1  # one\n\n    # more\ny = 2\n") == 2


def test_minutes_are_rounded_up_to_the_next_five_and_exercises_are_added_up(tmp_path):
    lesson = MAP.lesson("02")
    for kind, text in {
        "notebooks": "# %% [markdown]\n# " + "word " * 760 + "\n\n# %%\nx = 1\n",
        "solutions": "# %% [markdown]\n# ## 02.1 A ★☆☆ · 5 minutes\n#\n# ## 02.2 B ★★★ · 15 minutes\n",
    }.items():
        source_path(kind, lesson, tmp_path).parent.mkdir(parents=True)
        source_path(kind, lesson, tmp_path).write_text(text, encoding="utf-8")
    assert minutes.of(lesson, tmp_path) == minutes.Minutes(lesson=10, exercises=20)
    assert str(minutes.of(lesson, tmp_path)) == "10 minutes, exercises 20 more"


def test_each_lesson_is_within_its_limit():
    for lesson in (lesson for lesson in MAP.lessons if lesson.written):
        least, most = minutes.limit(lesson)
        assert least <= minutes.of(lesson).lesson <= most, lesson.stem


def test_the_exercises_of_every_lesson_say_their_minutes():
    for lesson in MAP.lessons:
        path = source_path("solutions", lesson)
        if path.exists():
            text = path.read_text(encoding="utf-8")
            assert text.count("\n# ## ") == len(style.exercises_of(lesson.number)), lesson.stem
            assert minutes.of(lesson).exercises >= 5 * text.count("\n# ## "), lesson.stem


def cells(*kinds: str):
    make = {"c": nbformat.v4.new_code_cell, "m": nbformat.v4.new_markdown_cell}
    return [make[kind]("guess(1)\n" if kind == "c" else "some words of prose here") for kind in kinds]


def test_cells_without_a_sentence_and_guesses_without_end_are_found():
    problems = " ".join(style.hour_problems(MAP.lesson("02"), cells(*"mccccmcc")))
    assert "four code cells in a row" in problems and "asks for 6 guesses" in problems
    problems = " ".join(style.hour_problems(MAP.lesson("02"), cells(*"mmccmmcc")))
    assert "in a row" not in problems and "guesses" not in problems


def test_a_heading_that_skips_a_level_is_found():
    def notebook(text):
        return nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(text)])

    assert check.heading_problems(notebook("# A\n\n### B")) == ["has a heading that skips a level"]
    assert check.heading_problems(notebook("# A\n\n## B\n\n### C\n\n## D\n\n```\n#### no heading\n```")) == []


def outputs(text="", markup=""):
    output = nbformat.v4.new_output("display_data", {"text/plain": text, "text/html": markup})
    return [nbformat.v4.new_code_cell("", outputs=[output])]


@pytest.mark.parametrize(("text", "markup", "found"), [
    ("○ it is faster  [not so here]\n    2 ms", "", "observed otherwise: “it is faster”"),
    ("○ it is faster  [otherwise here]\n    2 ms", "", ""),
    ("", '<img src="data:,">', "without alternative text"),
    ("", '<img alt="a curve that falls" src="data:,">', ""),
    ("", "<table></table>", "without a caption"),
    ("", "<table><caption>Sizes</caption></table>", ""),
])  # fmt: skip
def test_outputs_that_readers_cannot_use_are_found(text, markup, found):
    problems = check.output_problems("solutions", MAP.lesson("02"), outputs(text, markup))
    assert (found in problems[0] and len(problems) == 1) if found else problems == []


def test_another_map_than_the_syllabus_is_found():
    (problem,) = check.output_problems("notebooks", MAP.lesson("02"), outputs("", '<img alt="The map" src="data:,">'))
    assert "another map" in problem


def test_a_table_that_is_not_its_cells_last_line_is_told():
    assert style.unseen_tables("show.table(a, b)\nclaim('x', True)") == ["show.table(a, b)"]
    assert style.unseen_tables("x = 1\nshow.table(a, b)") == style.unseen_tables("x = show.table(a, b)\nx") == []
