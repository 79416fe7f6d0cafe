"""What `./course test` and `./course bench` count, print and return, over a small folder of notebooks."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from course_lib.places import CHECKOUT
from tools import processes
from tools import test as runner
from tools.bench import lessons as bench

SYLLABUS = """
[course]
title = "Small"
version = "1"
repository = ""
[[part]]
number = 0
name = "Only"
"""
LESSON = """
[[lesson]]
number = "{}"
name = "{}"
title = "{}"
part = 0
live = {}
timed = false
holds = "nothing"
"""
README = "# Small\n\n## Measured\n\n<!-- bench -->\nold\n<!-- bench -->\n\nThe rest: `<!-- bench -->`.\n"
SAY_REPLAYED = "import os; open(os.environ['COURSE_LIVE_LOG'], 'a').write('{\"mode\": \"replayed\"}\\n')"
STRICT = "import os; assert os.environ['COURSE_STRICT'] == '1'"
NOT_STRICT = "import os; assert os.environ['COURSE_STRICT'] != '1'"


def write(path: Path, *cells: str) -> None:
    path.parent.mkdir(exist_ok=True)
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(new_notebook(cells=[new_code_cell(each) for each in cells], metadata=kernel), path)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Lesson 01 is live, 02 fails, 03 is not written."""
    lessons = [LESSON.format("01", "good", "Good", '["docker"]'), LESSON.format("02", "bad", "Bad", "[]")]
    lessons.append(LESSON.format("03", "unwritten", "Unwritten", "[]"))
    (tmp_path / "syllabus.toml").write_text(SYLLABUS + "".join(lessons))
    write(tmp_path / "notebooks/01_good.ipynb", SAY_REPLAYED, NOT_STRICT)
    write(tmp_path / "solutions/01_good.ipynb", STRICT)
    write(tmp_path / "exercises/01_good.ipynb", NOT_STRICT)
    write(tmp_path / "notebooks/02_bad.ipynb", "1 + 1", "raise ValueError('on purpose')", "never_reached")
    (tmp_path / "tools/build").mkdir(parents=True)
    (tmp_path / "tools/__init__.py").touch()
    (tmp_path / "tools/build/__init__.py").touch()
    (tmp_path / "tools/build/__main__.py").write_text("import sys; assert sys.argv[1:] == ['--check']")
    (tmp_path / "tests").mkdir()
    tests = "import pytest\ndef test_one(): pass\n@pytest.mark.skip\ndef test_two(): pass\n"
    (tmp_path / "tests/test_service.py").write_text(tests)
    (tmp_path / "tests/test_wrong_answers_02.py").write_text("def test_three(): pass\n")
    (tmp_path / "README.md").write_text(README)
    return tmp_path


EXERCISES = """
import pytest
@pytest.mark.parametrize("number", ["00.1", "01.1", "01.2", "10.1", "21.01"])
def test_check(number):
    assert number[:2] == "01"
@pytest.mark.parametrize("number", ["00.1", "01.1"])
@pytest.mark.parametrize("empty", [None, "01"])
def test_empty(number, empty):
    assert number[:2] == "01"
@pytest.mark.parametrize("lesson", ["00", "01"])
def test_stub(lesson):
    assert lesson == "01"
"""


def names(jobs: list[runner.Job]) -> list[str]:
    return [f"{job.kind} {job.name}" for job in jobs]


def test_everything_is_counted_and_a_failure_is_shown_and_returned(
    checkout: Path, capsys: pytest.CaptureFixture
) -> None:
    assert runner.main([], checkout) == 1
    lines = capsys.readouterr().out.splitlines()
    # two notebooks, an exercise and its solution, two unit tests and one skipped, the build check
    assert lines[-1] == "6 passed, 1 failed, 1 skipped"
    bad = next(line for line in lines if "02_bad" in line)
    assert re.fullmatch(r"FAILED  lesson    02_bad +-  +\d+\.\d s", bad)
    assert any(line.startswith("    | ") and "ValueError: on purpose" in line for line in lines)
    assert not any("never_reached" in line for line in lines)
    good = next(line for line in lines if "lesson    01_good" in line)
    assert re.fullmatch(r"passed  lesson    01_good +replayed +\d+\.\d s", good)


def test_what_passes_returns_zero(checkout: Path, capsys: pytest.CaptureFixture) -> None:
    assert runner.main(["1"], checkout) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "3 passed, 0 failed"


def test_words_choose_lessons_kinds_and_test_files(checkout: Path) -> None:
    good, bad = "lesson 01_good", "lesson 02_bad"
    own = ["solution 01_good", "exercise 01_good"]
    assert names(runner.choose([], checkout)) == ["units tests", "build --check", good, bad, *own]
    assert names(runner.choose(["02"], checkout)) == ["units 02", bad]
    assert names(runner.choose(["live"], checkout)) == [good, "solution 01_good"]
    assert names(runner.choose(["rest"], checkout)) == ["units tests", "build --check", bad, "exercise 01_good"]
    assert names(runner.choose(["units"], checkout)) == ["units tests"]
    assert names(runner.choose(["service", "1", "01_good"], checkout)) == ["units service", good, *own]


def test_live_and_timed_lessons_and_solutions_run_alone_and_their_exercises_do_not(checkout: Path) -> None:
    syllabus = checkout / "syllabus.toml"
    for text in (syllabus.read_text(), syllabus.read_text().replace('["docker"]\ntimed = false', "[]\ntimed = true")):
        syllabus.write_text(text)
        alone = [f"{job.kind} {job.name}" for job in runner.choose([], checkout) if job.alone]
        assert alone == ["lesson 01_good", "solution 01_good"]


def test_a_lesson_runs_the_tests_of_its_own_exercises_and_no_others(
    checkout: Path, capsys: pytest.CaptureFixture
) -> None:
    (checkout / "tests/test_exercises.py").write_text(EXERCISES)
    assert names(runner.choose(["02"], checkout)) == ["units 02", "lesson 02_bad"]  # it has no exercises
    assert names(runner.choose(["01"], checkout))[0] == "units 01 exercises"
    assert runner.main(["1"], checkout) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "8 passed, 0 failed"  # three notebooks, 2 + 2 + 1 tests


def test_each_lesson_selects_some_of_the_courses_own_exercise_tests() -> None:
    job = next(job for job in runner.choose(["01"], CHECKOUT) if job.name == "01 exercises")
    said = subprocess.run([*job.command, "--collect-only"], cwd=CHECKOUT, capture_output=True, text=True, check=True)
    chosen = [line for line in said.stdout.splitlines() if line.startswith("tests/test_exercises.py::")]
    assert any("test_a_planted_wrong_answer" in line for line in chosen)
    assert all("[01" in line or "-01." in line for line in chosen)


ENDLESS = """
import pathlib, time
pathlib.Path({0!r}, "began").touch()
try:
    time.sleep(300)
finally:
    time.sleep(1)  # longer than the 0.25 s that subprocess.call leaves
    pathlib.Path({0!r}, "cleaned up").touch()
"""


@pytest.mark.skipif(os.name == "nt", reason="sends POSIX signals")
@pytest.mark.parametrize(
    ("tool", "lesson", "by"),
    [("test", "01", signal.SIGINT), ("test", "02", signal.SIGTERM), ("bench", "01", signal.SIGTERM)],
)
def test_a_lesson_that_is_stopped_cleans_up_first(checkout: Path, tool: str, lesson: str, by: signal.Signals) -> None:
    for path in (checkout / "notebooks").iterdir():
        write(path, ENDLESS.format(str(checkout)), "never_reached")
    module = {"test": "tools.test", "bench": "tools.bench.lessons"}[tool]
    program = f"import pathlib, sys; from {module} import main; sys.exit(main([{lesson!r}], pathlib.Path(sys.argv[1])))"
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(checkout)], cwd=CHECKOUT, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 120
    while not (checkout / "began").exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(by)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130, said
    assert f"course {tool}: stopped" in said
    assert (checkout / "cleaned up").exists()


@pytest.mark.skipif(os.name == "nt", reason="sends POSIX signals")
def test_what_does_not_end_when_interrupted_is_ended() -> None:
    deaf = "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); print(flush=True); time.sleep(300)"
    process = processes.start([sys.executable, "-c", deaf], stdout=subprocess.PIPE)
    process.stdout.readline()
    processes.stop([process], seconds=0.5)
    process.stdout.close()
    assert process.returncode == -signal.SIGTERM


@pytest.mark.parametrize("word", ["03", "99", "lab", "1x", "01_nonsense"])
def test_a_word_that_names_nothing_gets_one_line_with_the_valid_ones(
    checkout: Path, word: str, capsys: pytest.CaptureFixture
) -> None:
    assert runner.main([word], checkout) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "live, rest, units, 01, 02, service, wrong_answers_02" in said


def test_no_notebook_at_all_is_an_error(checkout: Path, capsys: pytest.CaptureFixture) -> None:
    for folder in ("notebooks", "exercises", "solutions"):
        for path in (checkout / folder).iterdir():
            path.unlink()
    assert runner.main([], checkout) == 1
    assert "./course build" in capsys.readouterr().err


def test_unit_tests_that_break_before_they_are_counted_are_a_failure(
    checkout: Path, capsys: pytest.CaptureFixture
) -> None:
    (checkout / "tests/test_broken.py").write_text("import no_such_module\n")
    assert runner.main(["broken"], checkout) == 1
    said = capsys.readouterr().out
    assert "no_such_module" in said
    assert said.splitlines()[-1] == "0 passed, 1 failed"


def test_a_lesson_with_both_kinds_of_cells_says_so(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("".join(json.dumps({"mode": mode}) + "\n" for mode in ("live", "replayed", "live")))
    assert runner._mode(log) == "live and replayed"
    assert runner._mode(tmp_path / "none") == "-"


def test_the_bench_prints_a_table_of_seconds_and_memory(checkout: Path, capsys: pytest.CaptureFixture) -> None:
    write(
        checkout / "notebooks/01_good.ipynb", SAY_REPLAYED, "import time; big = bytearray(200 * 2**20); time.sleep(1)"
    )
    assert bench.main(["01"], checkout) == 0
    row = next(line for line in capsys.readouterr().out.splitlines() if "01_good" in line)
    _, name, seconds, peak, ran, budget, verdict, _ = (cell.strip() for cell in row.split("|"))
    assert (name, ran, budget, verdict) == ("01_good", "replayed", "60 s, 1536 MiB", "within")
    assert 1 <= float(seconds)
    assert 200 < float(peak) < 600  # the array and a kernel


def test_the_bench_counts_the_children_of_a_kernel(checkout: Path) -> None:
    child = "import time; big = bytearray(200 * 2**20); time.sleep(2)"
    write(
        checkout / "notebooks/01_good.ipynb",
        f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])",
    )
    assert bench.measure(checkout / "notebooks/01_good.ipynb").peak_mib > 200


def test_the_bench_marks_what_is_over_its_budget() -> None:
    assert bench.Measured("slow", 61, 100, "replayed").verdict == "over: seconds"
    assert bench.Measured("live", 61, 100, "live").verdict == "within"
    assert bench.Measured("both", 151, 2000, "live").verdict == "over: seconds and memory"
    assert bench.Measured("failed", 1, 1, "-", "ValueError").verdict == "FAILED"


def test_the_bench_returns_one_where_a_notebook_fails(checkout: Path, capsys: pytest.CaptureFixture) -> None:
    assert bench.main(["02"], checkout) == 1
    said = capsys.readouterr()
    assert "FAILED" in said.out
    assert "02_bad failed: ValueError: on purpose" in said.err


@pytest.mark.parametrize("word", ["03", "99", "lab", "01_nonsense"])
def test_the_bench_refuses_a_lesson_that_is_none(checkout: Path, word: str, capsys: pytest.CaptureFixture) -> None:
    assert bench.main([word], checkout) == 2
    assert capsys.readouterr().err == f"course bench: no lesson {word!r}; there are 01, 02\n"


def fake_measure(path: Path, replay: bool = False) -> bench.Measured:
    live = "live" if path.stem == "01_good" else "-"
    return bench.Measured(path.stem, 12.25, 300, "replayed" if replay else live)


def test_the_bench_writes_its_table_into_the_readme_with_both_figures_of_what_runs_live(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench, "measure", fake_measure)
    assert bench.main(["--write"], checkout) == 0
    before, table, after = (checkout / "README.md").read_text().split("\n<!-- bench -->\n")
    assert (before, after) == ("# Small\n\n## Measured\n", "\nThe rest: `<!-- bench -->`.\n")
    rows = [[cell.strip() for cell in row.split("|")[1:5]] for row in table.splitlines() if row.startswith("| 0")]
    assert rows == [
        ["01_good", "12.2", "300", "live"],
        ["01_good", "12.2", "300", "replayed"],
        ["02_bad", "12.2", "300", "-"],
    ]
    machine = r"\d+ cores \(\w+\), \d+ GiB, \w+, Python [\w.+]+"  # and not its name
    assert re.fullmatch(rf"Taken on {machine}\.", table.splitlines()[-1])
    written = (checkout / "README.md").read_text()
    assert bench.main(["--write"], checkout) == 0
    assert (checkout / "README.md").read_text() == written


def test_a_table_with_a_failure_or_without_its_place_is_not_written(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(bench, "measure", lambda path, replay=False: bench.Measured(path.stem, 1, 1, "-", "ValueError"))
    assert bench.main(["--write"], checkout) == 1
    assert (checkout / "README.md").read_text() == README
    (checkout / "README.md").write_text("# Small\n")
    capsys.readouterr()
    assert bench.main(["--write"], checkout) == 1
    said = capsys.readouterr()
    assert said.out == ""  # said before anything is measured
    assert "must hold two lines <!-- bench -->" in said.err


def test_a_lesson_s_row_is_renewed_among_the_others_unless_they_are_from_another_machine(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(bench, "measure", fake_measure)
    assert bench.main(["--write"], checkout) == 0
    before = (checkout / "README.md").read_text()
    monkeypatch.setattr(bench, "measure", lambda path, replay=False: bench.Measured(path.stem, 99, 300, "-"))
    assert bench.main(["--write", "02"], checkout) == 0
    after = (checkout / "README.md").read_text()
    assert after.count("12.2") == 2 and after == before.replace(
        bench.line(fake_measure(Path("02_bad"))), bench.line(bench.Measured("02_bad", 99, 300, "-"))
    )
    monkeypatch.setattr(bench, "machine", lambda: "another machine")
    assert bench.main(["--write", "02"], checkout) == 2
    assert "another machine: leave the numbers out" in capsys.readouterr().err
    assert (checkout / "README.md").read_text() == after
