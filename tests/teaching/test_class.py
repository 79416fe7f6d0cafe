"""`./course class`: a folder of other people's files, as it comes."""

import csv
import io
import json
import os
import random
import string
import warnings

import pytest
from PIL import Image

from course_lib.teaching import classroom, reading
from course_lib.teaching.export import Refused
from tests.teaching.exports import close, made, put
from tools.teaching.__main__ import main


def reasons(folder) -> dict[str, str]:
    learners, skipped = reading.folder(folder)
    assert learners == []
    return dict(skipped)


def test_who_is_where_what_takes_the_most_tries_and_how_guesses_fell(tmp_path):
    put(tmp_path, "a.json", learner="1")
    put(
        tmp_path,
        "b.json",
        learner="2",
        name="Béla",
        exercises={"02.1": {"solved": "2026-05-01", "tries": 2}},
        guesses=[],
    )
    put(tmp_path, "sub/c.json", learner="3", name=None, exercises={}, guesses=[])
    said = classroom.tables(*reading.folder(tmp_path)).splitlines()
    assert said[0].startswith("3 learners: exercises solved, by part, and of all ")
    assert said[1].split()[:5] == ["learner", "last", "at", "0", "I"]
    rows = [line.split() for line in said[2:5]]
    assert [row[:2] for row in rows] == [["Ana", "02"], ["Béla", "02"], ["sub/c", "–"]]
    assert [row[2].partition("/")[0] for row in rows] == ["1", "0", "0"] and rows[0][-3:] == ["2", "1", "2026-05-04"]
    assert [line.split()[0] for line in said if line.strip()[:3] == "02."] == ["02.2", "02.1"]
    assert any(line.split()[-4:] == ["2", "2", "3", "4"] for line in said)  # 02.1: tried, solved, median, most
    assert "Guesses: 1 of 2 were good (50 %)." in said


def test_the_grade_book_has_a_row_for_each_learner_and_a_column_for_each_lesson(tmp_path):
    put(tmp_path, "a.json", learner="1")
    put(tmp_path, "b.json", learner="2", name="=1+1", exercises={}, guesses=[], drills={})
    rows = list(csv.DictReader(io.StringIO(classroom.grade_book(reading.folder(tmp_path)[0]))))
    assert [row["learner"] for row in rows] == ["'=1+1", "Ana"]  # a spreadsheet must not calculate a name
    assert (rows[1]["solved"], rows[1]["tries"], rows[1]["guesses good"], rows[1]["drills"]) == ("2", "12", "1", "1")
    lesson = next(name for name in rows[1] if name.startswith("lesson 02 (of "))
    assert rows[1][lesson] == "1" and rows[0][lesson] == "0"


@pytest.mark.parametrize(
    "name", ["=1+1", "+1", "-1", "@SUM(A1)", " =1+1", "\uff1d1+1", "Ana;=1+1", 'Ana, "B"', "=1,\n=2"]
)
def test_a_spreadsheet_calculates_no_name_whatever_ends_its_cells(tmp_path, name):
    put(tmp_path, f"{name.strip()}.json", name=name)
    text = classroom.grade_book(reading.folder(tmp_path)[0])
    for delimiter in ",;\t":
        cells = [cell for row in csv.reader(io.StringIO(text), delimiter=delimiter) for cell in row]
        assert not [cell for cell in cells if cell.strip()[:1] in tuple("=+-@\uff1d")]
    assert len(list(csv.reader(io.StringIO(text)))) == 2


def test_a_drill_counts_when_it_is_solved(tmp_path):
    put(
        tmp_path,
        "a.json",
        drills={"1": {"open": {"seed": 3}}, "2": {"solved": []}, "3": {"solved": [{"seed": 1}]}, "4": 7},
    )
    assert reading.folder(tmp_path)[0][0].drills == 1


def test_a_long_file_name_leaves_its_reason_in_sight_and_says_what_to_do(tmp_path):
    (tmp_path / ("y" * 240 + ".json")).write_text(json.dumps(made())[:200])
    said = classroom.tables(*reading.folder(tmp_path))
    assert max(map(len, said.splitlines())) < 200 and "broken: no JSON" in said
    assert (
        said.startswith("1 file not counted") and "Ask for a broken or an empty file again: ./course progress" in said
    )


def test_the_picture_is_a_png_that_says_in_words_what_it_shows(tmp_path):
    for at, name in enumerate(("Ana", "陈晓明", "$x^{", "y" * 60)):
        put(tmp_path, f"{at}.json", learner=str(at), name=name)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        words = classroom.picture(reading.folder(tmp_path)[0], tmp_path / "class.png")
    with Image.open(tmp_path / "class.png") as image:
        assert image.format == "PNG" and image.text["Description"] == words
    assert "陈晓明: 2 solved, last at 02" in words and "02.2: 7, 7" in words and "4 of 8 guesses were good" in words


@pytest.mark.parametrize("guesses", [[], [{"kind": "number", "guess": 0, "measured": 3, "good": False}],
                                     [{"kind": "share", "guess": 1e308, "measured": 5e-324, "good": False}]])  # fmt: skip
def test_a_picture_of_little_is_drawn_too(tmp_path, guesses):
    put(tmp_path, "a.json", exercises={}, guesses=guesses)
    assert "No exercise has taken more than one try" in classroom.picture(
        reading.folder(tmp_path)[0], tmp_path / "class.png"
    )


def test_files_that_are_no_exports_are_named_with_a_reason(tmp_path):
    for name, raw in {"empty.json": b"", "blank.json": b" \n", "half.json": b'{"solved":', "thesis.docx": b"PK\x03\x04\xff",
                      "list.json": b"[1]", "nan.json": b'{"a": NaN}', "deep.json": b"[" * 100_000,
                      "big.json": b" " * 2_000_001, "long.json": b"1" * 5000}.items():  # fmt: skip
        (tmp_path / name).write_bytes(raw)
    put(tmp_path, "other.json", format="somebody's own")
    put(tmp_path, "newer.json", version=2)
    found = reasons(tmp_path)
    assert found["empty.json"] == found["blank.json"] == "empty"
    assert all(found[name].startswith("broken: ") for name in ("half.json", "nan.json", "deep.json", "long.json"))
    assert all(found[name].startswith("foreign: ") for name in ("thesis.docx", "list.json", "big.json", "other.json"))
    assert found["newer.json"] == "newer: format 2; this course reads format 1: ./course update"
    assert len(found) == 11


@pytest.mark.parametrize("field, value", [
    ("version", "1"), ("version", 0), ("version", True), ("version", ...), ("name", ["Ana"]), ("name", "x" * 81),
    ("learner", 3), ("course", None), ("written", "yesterday"), ("written", ...), ("exercises", []), ("exercises", ...),
    ("exercises", {"01.1": True}), ("exercises", {"01.1": {"solved": "soon"}}), ("exercises", {"01.1": {"solved": True}}),
    ("exercises", {"01.1": {"tries": -1}}), ("exercises", {"01.1": {"tries": 10**400}}),
    ("exercises", {"01.1": {"tries": True}}), ("guesses", {}), ("guesses", ["a"]), ("guesses", [{"good": 1}]),
    ("guesses", [{"good": True, "kind": "feeling"}]), ("guesses", [{"good": True, "kind": ["number"]}]),
    ("guesses", [{"good": True, "kind": "number", "guess": "3", "measured": 3}]),
    ("guesses", [{"good": True, "kind": "number", "guess": 10**400, "measured": 3}]), ("drills", [1]),
])  # fmt: skip
def test_a_field_that_does_not_fit_is_named(tmp_path, field, value):
    put(tmp_path, "a.json", **{field: value})
    assert reasons(tmp_path)["a.json"].startswith("broken: ")


def test_of_one_learner_the_newest_export_counts(tmp_path):
    put(tmp_path, "a.json", learner="1", written="2026-05-01T10:00:00+00:00")
    put(tmp_path, "b.json", learner="1", written="2026-05-02T10:00:00+02:00", name="Ana B")
    put(tmp_path, "c.json", learner="1", written="2026-05-02T09:00:00+02:00")
    put(tmp_path, "d.json", learner=None, name="Other")
    put(tmp_path, "e.json", learner=None, name="Other")
    learners, skipped = reading.folder(tmp_path)
    assert [each.label for each in learners] == ["Ana B", "Other"]
    newer = "duplicate: b.json is a newer export of the same learner"
    assert [name for name, _ in skipped[:2]] == ["a.json", "c.json"]
    assert all(why.startswith(f"{newer}, there Ana B, here Ana; if these are two people") for _, why in skipped[:2])
    assert skipped[2][1].startswith("duplicate: the same as ")


def test_two_of_one_name_are_told_apart_by_their_files(tmp_path):
    put(tmp_path, "a.json", learner="1")
    put(tmp_path, "b.json", learner="2")
    assert [each.label for each in reading.folder(tmp_path)[0]] == ["Ana (a.json)", "Ana (b.json)"]


def test_a_name_moves_no_cursor_and_an_editors_mark_is_read(tmp_path):
    put(tmp_path, "a.json", name="\x1b[2JAna\n")
    (tmp_path / "b.json").write_text("\ufeff" + json.dumps(made(name="Béla")), encoding="utf-8")
    assert [each.label for each in reading.folder(tmp_path)[0]] == ["?[2JAna?", "Béla"]


def test_exercises_that_this_course_lacks_are_said_and_not_counted(tmp_path):
    put(tmp_path, "a.json", exercises={"99.1": {"solved": "2026-05-01", "tries": 2}})
    said = classroom.tables(*reading.folder(tmp_path))
    assert "lacks them: 99.1" in said and said.splitlines()[2].split()[1] == "–"


@pytest.mark.skipif(os.name == "nt" or not hasattr(os, "mkfifo"), reason="Windows has neither")
def test_a_pipe_a_loop_and_a_link_to_nowhere_hold_nobody_up(tmp_path):
    os.mkfifo(tmp_path / "pipe.json")
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "gone.json").symlink_to(tmp_path / "nowhere")
    assert reasons(tmp_path) == dict.fromkeys(["gone.json", "pipe.json"], "foreign: no ordinary file")


def test_no_bytes_bring_it_down(tmp_path):
    dice, whole = random.Random(7), json.dumps(made())
    for at in range(300):
        text = list(whole)
        for _ in range(dice.randint(1, 4)):
            text[dice.randrange(len(text))] = dice.choice(string.printable)
        (tmp_path / f"{at}.json").write_text("".join(text), encoding="utf-8")
    learners, skipped = reading.folder(tmp_path)
    assert len(learners) + len(skipped) == 300 and classroom.tables(learners, skipped)


def test_the_command_writes_what_is_asked_for_and_nothing_over_what_is_there(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("COURSE_CALLER", str(tmp_path))
    put(tmp_path, "in/a.json")
    assert main(["class", "in", "--csv", "class.csv", "--picture", "class.png"]) == 0
    assert (tmp_path / "class.csv").read_bytes().startswith(b"\xef\xbb\xbflearner,file,")
    assert b"\r\r" not in (tmp_path / "class.csv").read_bytes() and (tmp_path / "class.png").stat().st_size > 10_000
    capsys.readouterr()
    assert main(["class", "in", "--csv", "one", "--picture", "one"]) == 1
    assert "expected two files" in capsys.readouterr().err and not (tmp_path / "one").exists()
    assert main(["class", "in", "--csv", "class.csv"]) == 1
    assert "is there already. Nothing was written" in capsys.readouterr().err


def test_the_command_says_what_it_expected(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("COURSE_CALLER", str(tmp_path))
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    for words, expected in ((["empty"], "no export was found"), (["nowhere"], "which is not there"),
                            (["file"], "which is a file"), (["empty", "--csv", "no/such.csv"], "make it first")):  # fmt: skip
        assert main(["class", *words]) == 1
        assert expected in capsys.readouterr().err


def test_a_folder_that_may_only_be_read_is_read_and_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("COURSE_CALLER", str(tmp_path))
    folder = put(tmp_path, "a class/a.json").parent
    close(folder)
    assert main(["class", "a class"]) == 0
    assert main(["class", "a class", "--csv", "a class/b.csv"]) == 1
    assert "b.csv cannot be written: Permission denied" in capsys.readouterr().err
    folder.chmod(0o700)


def test_a_folder_that_is_none_is_refused(tmp_path):
    with pytest.raises(Refused, match="expected a folder of exports"):
        reading.folder(tmp_path / "nowhere")
