"""`./course progress --export`: what stands in the file, what never does, and what is not written over."""

import json
from datetime import datetime

import pytest

from course_lib import places
from course_lib.idioms import check, guess, reveal, store
from course_lib.teaching import export, reading
from course_lib.teaching.export import Refused
from tests.teaching.exports import close
from tools.teaching.__main__ import main


def wrong(*_):
    return -1.0


def stub(*_):
    raise NotImplementedError


def test_a_check_counts_its_tries_until_the_exercise_is_solved(capsys):
    check("02.1", stub)  # not started is no try
    check("02.1", wrong)
    check("02.1", wrong)
    store.keep_solved("02.1")
    check("02.1", wrong)
    store.keep_solved("02.1")
    check("02.2", wrong)
    assert store.tries() == {"02.1": 3, "02.2": 1}


@pytest.mark.parametrize("held", [None, "many", 2.5, [1]])
def test_a_count_that_was_edited_by_hand_begins_anew(held):
    places.PROGRESS.parent.mkdir()
    places.PROGRESS.write_text(json.dumps({"solved": {}, "tries": {"02.1": held}}))
    store.keep_try("02.1")
    assert store.tries() == {"02.1": 1}


def test_the_export_holds_exercises_tries_and_guesses_and_no_name(tmp_path, capsys):
    store.keep_try("02.1")
    store.keep_solved("02.1")
    store.keep_try("02.2")
    guess("lost", "How many?", low=1, high=1000, mine=30)
    guess("open", "How many?", low=1, high=1000, mine=30)
    reveal("lost", 40)
    export.write(tmp_path / "mine.json")
    held = json.loads((tmp_path / "mine.json").read_text(encoding="utf-8"))
    assert held["exercises"]["02.1"]["tries"] == 2 and held["exercises"]["02.2"] == {"solved": None, "tries": 1}
    assert held["guesses"] == [
        {"lesson": "01", "name": "lost", "kind": "number", "guess": 30, "measured": 40, "good": True}
    ]
    assert (held["format"], held["version"], held["name"], held["drills"]) == (export.FORMAT, 1, None, {})
    assert datetime.fromisoformat(held["written"]).tzinfo and set(held) == {
        "format", "version", "course", "written", "learner", "name", "exercises", "guesses", "drills"
    }  # fmt: skip


def test_what_was_solved_before_tries_were_kept_has_none():
    places.PROGRESS.parent.mkdir()
    places.PROGRESS.write_text(json.dumps({"solved": {"01.1": "2026-01-01"}}))
    assert export.exported()["exercises"] == {"01.1": {"solved": "2026-01-01", "tries": None}}


def test_drills_go_along_whatever_they_hold():
    places.PROGRESS.parent.mkdir()
    places.PROGRESS.write_text(json.dumps({"solved": {}, "drills": {"1": {"solved": "2026-01-01"}}}))
    assert export.exported()["drills"] == {"1": {"solved": "2026-01-01"}}


def test_two_exports_of_one_learner_bear_one_number_that_says_nothing_else():
    first, second = export.exported(), export.exported("Ana")
    assert first["learner"] == second["learner"] and len(first["learner"]) == 16


def test_progress_that_cannot_be_kept_is_exported_without_a_number(monkeypatch, capsys):
    monkeypatch.setattr(store, "change", lambda edit: "read-only")
    assert export.exported()["learner"] is None


def test_an_older_export_is_replaced_and_nothing_else_is(tmp_path):
    path = tmp_path / "mine.json"
    export.write(path)
    export.write(path, "Ana")
    assert json.loads(path.read_text())["name"] == "Ana"
    for name, text in (("thesis.docx", "years of work"), ("other.json", "[1]"), ("bytes", "\udcff")):
        other = tmp_path / name
        other.write_bytes(text.encode("utf-8", "surrogateescape"))
        with pytest.raises(Refused, match="holds something else. Nothing was written"):
            export.write(other)
        assert other.read_bytes() == text.encode("utf-8", "surrogateescape")


def test_another_learners_export_is_not_replaced(tmp_path):
    path = tmp_path / "progress.json"
    path.write_text(json.dumps({"format": export.FORMAT, "learner": "somebody else"}))
    before = path.read_bytes()
    with pytest.raises(Refused, match="another learner's export. Nothing was written; choose another name"):
        export.write(path)
    assert path.read_bytes() == before
    path.write_text(json.dumps({"format": export.FORMAT, "learner": None}))
    assert export.write(path)["learner"]


def test_a_folder_that_may_not_be_written_is_named(tmp_path):
    close(tmp_path)
    with pytest.raises(Refused, match="mine.json cannot be written: Permission denied"):
        export.write(tmp_path / "mine.json")
    tmp_path.chmod(0o700)


@pytest.mark.parametrize("name", ["a\nb", "\x1b[2J", "x" * 81])
def test_a_name_is_one_short_line(name, tmp_path):
    with pytest.raises(Refused, match="expected a name of at most 80 letters"):
        export.write(tmp_path / "mine.json", name)
    assert not (tmp_path / "mine.json").exists()


def test_the_command_looks_from_where_it_was_called_and_says_what_it_wrote(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("COURSE_CALLER", str(tmp_path))
    assert main(["progress", "--export", "mine.json"]) == 0
    said = capsys.readouterr().out
    assert f"Wrote {tmp_path / 'mine.json'}: exercises solved: 0, guesses: 0" in said and "under no name" in said
    assert reading.export(tmp_path / "mine.json", "mine.json").label == "mine"


def test_the_command_says_what_it_expected(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("COURSE_CALLER", str(tmp_path))
    for word, expected in ((".", "expected the name of a file, got the folder"), ("no/such.json", "make it first")):
        assert main(["progress", "--export", word]) == 1
        said = capsys.readouterr().err
        assert said.startswith("course progress: expected") and expected in said
    with pytest.raises(SystemExit, match="2"):
        main(["progress", "--name", "Ana"])


def test_without_words_the_progress_is_shown(capsys):
    assert main(["progress"]) == 0
    assert "Exercises: ● solved" in capsys.readouterr().out
