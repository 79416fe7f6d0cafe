"""The learner's progress: several kernels at once, files that cannot be read or written, and how it is shown."""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from filelock import FileLock

from course_lib import places
from course_lib.idioms import guess, reveal, store
from course_lib.progress import calibration_picture, progress, scored_guesses


def test_two_kernels_that_keep_at_once_lose_nothing(tmp_path):
    code = """
import pathlib, sys, time
from course_lib.idioms import store
who, go = sys.argv[1], pathlib.Path(sys.argv[2])
print("ready", flush=True)
while not go.exists():
    time.sleep(0.001)
for i in range(20):
    store.keep_solved(f"{who}.{i}")
    assert not store.change(lambda kept: kept["guesses"].setdefault(who, {}).setdefault(f"g{i}", {"value": i}))
"""
    env = {**os.environ, "COURSE_PROGRESS": str(tmp_path / "progress.json")}
    kernels = [subprocess.Popen([sys.executable, "-c", code, who, str(tmp_path / "go")], cwd=places.CHECKOUT, env=env,
                                stdout=subprocess.PIPE, text=True) for who in ("01", "02")]  # fmt: skip
    try:
        assert [kernel.stdout.readline() for kernel in kernels] == ["ready\n"] * 2
        (tmp_path / "go").touch()
        assert [kernel.communicate(timeout=120)[0] for kernel in kernels] == ["", ""]
    finally:
        for kernel in kernels:
            kernel.kill()
            kernel.wait()
    kept = json.loads((tmp_path / "progress.json").read_text())
    assert len(kept["solved"]) == 40
    assert {who: len(named) for who, named in kept["guesses"].items()} == {"01": 20, "02": 20}


def test_a_kernel_that_holds_the_file_stops_nobody_for_long(monkeypatch, capsys):
    store.keep_solved("01.1")
    monkeypatch.setattr(store, "PATIENCE_S", 0.2)
    began = time.monotonic()
    with FileLock(places.PROGRESS.with_suffix(".lock")):
        store.keep_solved("01.2")
        assert list(store.solved()) == ["01.1"]  # reading goes on
    assert time.monotonic() - began < 5
    assert "Another kernel has held" in capsys.readouterr().out
    store.keep_solved("01.2")
    assert list(store.solved()) == ["01.1", "01.2"]


def test_a_kernel_that_was_killed_while_it_wrote_holds_nobody_up(tmp_path):
    code = """
import os, signal
from course_lib.idioms import store
store.change(lambda kept: os.kill(os.getpid(), signal.SIGKILL if os.name != "nt" else signal.SIGTERM))
"""
    env = {**os.environ, "COURSE_PROGRESS": str(places.PROGRESS)}
    subprocess.run([sys.executable, "-c", code], cwd=places.CHECKOUT, env=env, timeout=60)
    began = time.monotonic()
    store.keep_solved("01.1")
    assert list(store.solved()) == ["01.1"] and time.monotonic() - began < store.PATIENCE_S


def test_the_first_date_stays_and_what_a_newer_course_kept_too():
    places.PROGRESS.parent.mkdir()
    places.PROGRESS.write_text(json.dumps({"solved": {"01.1": "2026-01-01"}, "newer": [1]}))
    store.keep_solved("01.1")
    store.keep_solved("00.1")
    kept = json.loads(places.PROGRESS.read_text())
    assert kept["solved"]["01.1"] == "2026-01-01" and kept["newer"] == [1] and list(kept["solved"]) == ["00.1", "01.1"]


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"solved": 3}', '{"guesses": {}}', '{"solved": {}, "guesses": []}',
                                  '{"solved": {}, "guesses": {"01": 3}}', '{"solved": {}, "guesses": {"01": {"a": 3}}}',
                                  "[" * 100_000])  # fmt: skip
def test_a_file_that_makes_no_sense_is_set_aside_and_said_once(text, capsys):
    places.PROGRESS.parent.mkdir()
    places.PROGRESS.write_text(text)
    guess("lost", "How many?", low=0, high=10, mine=3)
    reveal("lost", 3)
    assert capsys.readouterr().out.count("could not be read") == 1
    assert places.PROGRESS.with_suffix(".unreadable.json").read_text() == text
    assert store.guesses()["01"]["lost"]["scored"]["good"] is True


def test_bytes_that_are_no_text_are_set_aside_beside_an_earlier_one():
    places.PROGRESS.parent.mkdir()
    for broken in (b"\xff\xfe", b"\x80"):
        places.PROGRESS.write_bytes(broken)
        assert store.solved() == {}
    assert places.PROGRESS.with_suffix(".unreadable.json").read_bytes() == b"\xff\xfe"
    assert places.PROGRESS.with_suffix(".unreadable-2.json").read_bytes() == b"\x80"


def test_a_folder_in_the_files_place_is_said_and_left_alone(capsys):
    (places.PROGRESS / "mine").mkdir(parents=True)
    store.keep_solved("01.1")
    assert store.solved() == {} and store.solved() == {}
    said = capsys.readouterr().out
    assert "solved, but not kept on disk" in said and "is a folder" in said
    assert said.count("your progress cannot be read") == 1
    assert (places.PROGRESS / "mine").is_dir()


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such permissions")
@pytest.mark.parametrize("mode", [0o755, 0o555])
def test_what_belongs_to_another_user_is_said_and_left_alone(mode):
    code = """
import os
from course_lib.idioms import begin, guess, reveal, store
from course_lib.progress import progress
begin("01")
progress()  # imports what another user may not be allowed to read
if os.geteuid() == 0:
    os.seteuid(65534)
store._said.clear()
print("as another user")
store.keep_solved("01.2")
guess("lost", "How many?", low=0, high=10, mine=3)
reveal("lost", 3)
print(progress())
"""
    with tempfile.TemporaryDirectory() as folder:  # root's own, and for others no more than `mode` allows
        file = Path(folder) / "progress.json"
        file.write_text('{"solved": {"01.1": "2026-01-01"}}')
        file.chmod(0)
        os.chmod(folder, mode)
        env = {**os.environ, "COURSE_PROGRESS": str(file)}
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=places.CHECKOUT, env=env, capture_output=True, text=True
        )
        assert done.returncode == 0 and not done.stderr, done.stderr
        said = done.stdout.partition("as another user")[2]
        assert said.count("your progress cannot be read") == 1 and "it may belong to another user" in said
        assert "That is a good guess" in said
        os.chmod(folder, 0o755)
        file.chmod(0o600)
        assert json.loads(file.read_text()) == {"solved": {"01.1": "2026-01-01"}}


def test_a_home_that_cannot_be_written_to_is_said_and_may_still_be_read(monkeypatch, capsys):
    store.keep_solved("01.1")

    def refused(*_, **__):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(store.FileLock, "acquire", refused)
    store.keep_solved("01.2")
    assert list(store.solved()) == ["01.1"]
    said = capsys.readouterr().out
    assert "solved, but not kept on disk" in said and "Read-only file system" in said
    progress()
    said = capsys.readouterr().out
    assert said.count("what you solve is not kept") == 1 and "Read-only file system" in said


def test_the_progress_names_its_columns_and_marks_what_is_solved_by_more_than_colour():
    store.keep_solved("01.1")
    text = repr(progress())
    assert text.splitlines()[1].split() == ["lesson", "title", "exercises", "solved"]
    assert "●○○○       1 of 4" in text and "none has been compared" in text
    assert '<th scope="col" align="left"' in progress().markup and "●○○○" in progress().markup


def test_the_progress_counts_the_guesses_of_each_lesson_that_were_compared():
    for name, mine in (("a", 3), ("b", 9), ("c", 4)):
        guess(name, "How many?", low=0, high=10, mine=mine)
    guess("open", "How many?", low=0, high=10, mine=3)
    for name in "abc":
        reveal(name, 3)
    reveal("late", 3)
    guess("late", "How many?", low=0, high=10, mine=3)
    assert "The grand tour  3 guesses, 2 good" in repr(progress())
    assert "2 of 3 were good" in repr(progress()) and "3 guesses, 2 good" in progress().markup


def test_the_picture_of_guesses_says_in_words_what_it_shows(capsys):
    calibration_picture()
    assert "No guess of yours has been compared" in capsys.readouterr().out
    guess("some", "How many?", low=1, high=1000, unit="ms", mine=30)
    guess("none", "How many?", low=0, high=1000, mine=0)  # zero has no place on a logarithmic axis
    guess("part", "Which share?", share=True, mine=90)
    reveal("some", 40)
    reveal("none", 0)
    reveal("part", 0.5)
    capsys.readouterr()
    calibration_picture()
    said = capsys.readouterr().out
    assert "2 of your 3 guesses were good" in said
    assert "01 some: guessed 30 ms, measured 40 ms." in said and "a number: 2 of 2 good; a share: 0 of 1 good" in said


def test_entries_edited_by_hand_draw_nothing_and_stop_nothing():
    places.PROGRESS.parent.mkdir()
    odd = {"a": {"scored": 3}, "b": {"kind": "number", "scored": {"value": 3}}, "c": {"kind": "order", "options": 3},
           "d": {"kind": [], "value": 1}, "e": {"question": "?", "kind": "share", "scored": {"value": "x", "truth": 1}},
           "f": {"question": "?", "kind": "share", "scored": {"value": 1, "truth": "x"}}}  # fmt: skip
    places.PROGRESS.write_text(json.dumps({"solved": {}, "guesses": {"01": odd}}))
    assert scored_guesses() == []
    for name in odd:
        reveal(name, 0.5)
