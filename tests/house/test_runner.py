"""What `./course test` and `./course bench` count, print and return, over a small folder of notebooks."""

import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from course_lib.ops import reach
from course_lib.places import CHECKOUT
from tools import instruction_sets, offline, processes, twice
from tools.bench import lessons as bench
from tools.test import __main__ as runner
from tools.test import jobs as testing
from tools.test.outcomes import mode
from tools.test.running import NOWHERE

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
runtimes = false
holds = "nothing"
"""
TIMINGS = "# Small\n\n## Measured\n\n<!-- bench -->\nold\n<!-- bench -->\n\nThe rest: `<!-- bench -->`.\n"
SAY_REPLAYED = "import os; open(os.environ['COURSE_LIVE_LOG'], 'a').write('{\"mode\": \"replayed\"}\\n')"
STRICT = "import os; assert os.environ['COURSE_STRICT'] == '1'"
NOT_STRICT = "import os; assert os.environ['COURSE_STRICT'] != '1'"


def write(path: Path, *cells: str) -> None:
    path.parent.mkdir(exist_ok=True)
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(new_notebook(cells=[new_code_cell(each) for each in cells], metadata=kernel), path)


@pytest.fixture(autouse=True)
def neither_engine_nor_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reach, "probe", lambda need: reach.Found(False, reason="none"))


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
    shutil.copy(twice.__file__, tmp_path / "tools/twice.py")
    (tmp_path / "tools/build/__main__.py").write_text("import sys; assert sys.argv[1:] == ['--check']")
    (tmp_path / "tests").mkdir()
    tests = "import pytest\ndef test_one(): pass\n@pytest.mark.skip\ndef test_two(): pass\n"
    (tmp_path / "tests/test_service.py").write_text(tests)
    (tmp_path / "tests/test_wrong_answers_02.py").write_text("def test_three(): pass\n")
    (tmp_path / "TIMINGS.md").write_text(TIMINGS)
    return tmp_path


EXERCISES = """
import pytest
@pytest.mark.parametrize("number", ["00.1", "01.1", "01.2", "01b.1", "10.1", "21.01"])
def test_check(number):
    assert number.startswith("01.")
@pytest.mark.parametrize("number", ["00.1", "01.1"])
@pytest.mark.parametrize("empty", [None, "01"])
def test_empty(number, empty):
    assert number.startswith("01.")
@pytest.mark.parametrize("lesson", ["00", "01", "01b"])
def test_stub(lesson):
    assert lesson == "01"
"""


def names(jobs: list[testing.Job]) -> list[str]:
    return [f"{job.kind} {job.name}" for job in jobs]


def test_everything_is_counted_and_a_failure_is_shown_and_returned(
    checkout: Path, capsys: pytest.CaptureFixture
) -> None:
    assert runner.main([], checkout) == 1
    lines = capsys.readouterr().out.splitlines()
    # two notebooks, an exercise and its solution, two unit tests and one skipped, the build check
    assert lines[-1] == "6 passed, 1 failed, 1 skipped"
    bad = next(line for line in lines if "02_bad" in line)
    assert re.fullmatch(r"FAILED   lesson    02_bad +-  +\d+\.\d s", bad)
    assert any(line.startswith("    | ") and "ValueError: on purpose" in line for line in lines)
    assert not any("never_reached" in line for line in lines)
    good = next(line for line in lines if "lesson    01_good" in line)
    assert re.fullmatch(r"passed   lesson    01_good +replayed +\d+\.\d s", good)


def test_what_passes_returns_zero(checkout: Path, capsys: pytest.CaptureFixture) -> None:
    assert runner.main(["1"], checkout) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "3 passed, 0 failed"


def test_words_choose_lessons_kinds_and_test_files(checkout: Path) -> None:
    good, bad = "lesson 01_good", "lesson 02_bad"
    own = ["solution 01_good", "exercise 01_good"]
    assert names(runner.choose([], checkout)) == ["units tests", "build --check", good, bad, *own]
    assert names(runner.choose(["02"], checkout)) == ["units 02", bad]
    assert names(runner.choose(["live"], checkout)) == [good]
    assert names(runner.choose(["rest"], checkout)) == ["units tests", "build --check", bad, *own]
    assert names(runner.choose(["units"], checkout)) == ["units tests"]
    assert names(runner.choose(["service", "1", "01_good"], checkout)) == ["units service", good, *own]


def test_the_hub_on_a_cluster_is_tested_where_it_is_asked_for(checkout: Path) -> None:
    file = checkout / testing.ASKED_FOR[0]
    assert (CHECKOUT / testing.ASKED_FOR[0]).is_file()
    file.parent.mkdir()
    file.write_text("def test_four(): assert False\n")
    assert runner.main(["units"], checkout) == 0
    assert runner.main(["hub"], checkout) == 1


def change(checkout: Path, number: str, before: str, after: str) -> None:
    """Changes one lesson's entry."""
    path = checkout / "syllabus.toml"
    first, lesson, rest = path.read_text().partition(f'number = "{number}"')
    path.write_text(first + lesson + rest.replace(before, after, 1))


def test_an_engine_within_reach_adds_a_live_run_which_is_alone(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reach, "probe", lambda need: reach.Found(need == "docker"))
    live, replayed = runner.choose(["live"], checkout)
    assert names([live, replayed]) == ["lesson 01_good"] * 2
    assert (live.offline, live.alone) == (False, True) and "tools.twice" not in live.command
    assert (replayed.offline, replayed.alone) == (True, False) and "tools.twice" in replayed.command
    monkeypatch.setenv("COURSE_REPLAY", "1")
    assert runner.choose(["live"], checkout) == [replayed]


def test_a_live_run_that_is_required_is_tried_without_an_engine(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COURSE_REQUIRE_LIVE", "1")
    assert [job.offline for job in runner.choose(["live"], checkout)] == [False, True]


FAIL_ONCE = """
import os
from pathlib import Path
if os.environ["COURSE_REQUIRE_LIVE"] == "{}":
    tried = Path({!r})
    first = not tried.exists()
    tried.touch()
    assert not first
"""


@pytest.mark.parametrize("which", ["live", "replayed"])
def test_a_live_run_that_fails_is_tried_once_more_and_the_summary_tells_of_both_tries(
    which: str, checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    required = "1" if which == "live" else "0"
    write(checkout / "notebooks/01_good.ipynb", FAIL_ONCE.format(required, str(tmp_path / "tried")))
    monkeypatch.setenv("COURSE_REQUIRE_LIVE", required)
    code = runner.main(["01"], checkout)
    said = capsys.readouterr().out
    assert (code, "passed at the second try" in said, "the first try, after" in said) == (
        (0, True, True) if which == "live" else (1, False, False)
    )


def test_a_live_run_that_fails_twice_fails_and_shows_both_failures(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    write(checkout / "notebooks/01_good.ipynb", "raise ValueError('the engine is gone')")
    monkeypatch.setenv("COURSE_REQUIRE_LIVE", "1")
    assert runner.main(["01"], checkout) == 1
    said = capsys.readouterr().out
    assert said.count("the second try:") == 1 and "passed at the second try" not in said


@pytest.mark.parametrize("failing, code, tries", [(1, 0, 2), (5, 0, 2), (6, 1, 1)])
def test_a_few_unit_tests_that_fail_are_tried_once_more_and_named(
    failing: int, code: int, tries: int, checkout: Path, capsys: pytest.CaptureFixture
) -> None:
    test = checkout / "tests/test_shaky.py"
    test.write_text(
        "import pathlib, pytest\n"
        f"@pytest.mark.parametrize('n', range({failing + 1}))\n"
        "def test_it(n):\n"
        f"    tried = pathlib.Path({str(checkout)!r}, f'tried-{{n}}')\n"
        "    with tried.open('a') as file: file.write('x')\n"
        "    assert n == 0 or tried.read_text() == 'xx', n\n"
    )
    assert runner.main(["shaky"], checkout) == code
    said = capsys.readouterr().out.splitlines()
    assert (checkout / "tried-0").read_text() == "x"
    assert (checkout / "tried-1").read_text() == "x" * tries
    assert sum(each.startswith("FAILED ") and "test_shaky.py::test_it[" in each for each in said) == failing
    passed = failing + 1 if code == 0 else 1
    assert said[-1].startswith(f"{passed} passed, {failing + 1 - passed} failed")
    assert ("1 of 1 jobs passed at the second try" in said[-1]) == (code == 0)


def test_a_unit_test_that_fails_twice_fails(checkout: Path, capsys: pytest.CaptureFixture) -> None:
    (checkout / "tests/test_untrue.py").write_text("def test_it(): assert 1 == 2\n")
    assert runner.main(["untrue"], checkout) == 1
    said = capsys.readouterr().out
    assert "the second try:" in said and said.splitlines()[-1] == "0 passed, 1 failed"


def test_what_is_not_live_sees_neither_engine_nor_cluster_nor_network_and_need_not_run_live(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setenv("COURSE_REQUIRE_LIVE", "1")
    monkeypatch.setenv("DOCKER_HOST", "engine")
    look = "import os, socket; e = os.environ; host = e['DOCKER_HOST']"
    nothing = f"{look}; assert 'nonexistent' in host and 'nonexistent' in e['KUBECONFIG']; {REACHES_NOTHING}"
    write(checkout / "notebooks/02_bad.ipynb", f"{nothing}; assert e['COURSE_REQUIRE_LIVE'] != '1'")
    write(checkout / "notebooks/01_good.ipynb", f"{look}; open({str(checkout / 'hosts')!r}, 'a').write(host + ' ')")
    assert runner.main(["02_bad", "live"], checkout) == 0
    said = capsys.readouterr().out.splitlines()
    why_not = offline.reason()
    how = f"with the network, since {why_not}" if why_not else "with the network cut"
    assert said[-2:] == [f"2 of them without an engine, without a cluster, {how}", "4 passed, 0 failed"]
    hosts = (checkout / "hosts").read_text().split()
    assert sorted(hosts) == ["engine", *[NOWHERE["DOCKER_HOST"]] * 2]


REACHES_NOTHING = "pass" if offline.reason() else "assert socket.socket().connect_ex(('192.0.2.1', 9)) == 101"
"""101: network is unreachable. The address is one that documents may name (RFC 5737)."""


@pytest.mark.skipif(bool(offline.reason()), reason="the network cannot be cut here")
def test_with_the_network_cut_localhost_is_still_there_and_the_user_is_the_same() -> None:
    program = "import os, socket; a = socket.create_server(('127.0.0.1', 0)); "
    program += "socket.create_connection(a.getsockname()); print(os.getuid())"
    said = subprocess.run(offline.command((sys.executable, "-c", program)), capture_output=True, text=True, check=True)
    assert said.stdout.split() == [str(os.getuid())]


def test_where_the_network_cannot_be_cut_it_stays_unless_that_is_required(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(offline, "reason", lambda: "the sky is blue")
    ran = []
    monkeypatch.setattr(runner, "run_all", lambda jobs, *_: ran.extend(jobs) or [])
    assert runner.main(["1"], checkout) == 0
    assert ran == runner.choose(["1"], checkout)  # the commands as they are
    said = capsys.readouterr().out
    assert "3 of them without an engine, without a cluster, with the network, since the sky is blue" in said
    monkeypatch.setenv("COURSE_REQUIRE_OFFLINE", "1")
    assert runner.main(["1"], checkout) == 1
    said = capsys.readouterr()
    assert said.out == ""  # before anything has run
    assert said.err == "course test: COURSE_REQUIRE_OFFLINE=1 asks for it, but the sky is blue\n"


def test_timed_lessons_and_solutions_run_alone_and_their_exercises_do_not(checkout: Path) -> None:
    change(checkout, "01", "timed = false", "timed = true")
    assert names([job for job in runner.choose([], checkout) if job.alone]) == ["lesson 01_good", "solution 01_good"]


def test_a_cell_that_cannot_be_run_again_fails_and_the_report_says_that_it_was_the_second_run(
    checkout: Path, capsys: pytest.CaptureFixture
) -> None:
    write(checkout / "notebooks/02_bad.ipynb", "left = [1]", "left.pop()", "assert not left")
    assert runner.main(["02_bad"], checkout) == 1
    said = capsys.readouterr().out
    assert "IndexError: pop from empty list" in said and "This was its second run: the first passed" in said
    excepted = '[[cell]]\nnotebook = "02_bad"\nline = "left.pop()"\nreason = "what is eaten is eaten"\n'
    (checkout / "tests/once.toml").write_text(excepted)
    assert runner.main(["02_bad"], checkout) == 0


def test_each_exception_of_the_course_names_a_cell_and_has_a_reason() -> None:
    assert twice.unfounded(CHECKOUT) == []


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ('notebook = "02_bad"\nline = "left.pop()"\nreason = " "', "none of them empty"),
        ('notebook = "02_bad"\nline = "left.pop()"', "none of them empty"),
        ('notebook = "02_bad"\nline = "left"\nreason = "why"', "no cell of 02_bad has the line 'left'"),
        ('notebook = "03_gone"\nline = "left.pop()"\nreason = "why"', "no cell of 03_gone"),
        ('notebook = "02_bad"\nline = "left.pop()"\nreason = "why"', ""),
    ],
)
def test_an_exception_without_a_reason_or_about_no_cell_is_found(tmp_path: Path, entry: str, says: str) -> None:
    for folder in ("tests", "source/notebooks"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "source/notebooks/02_bad.py").write_text("# %%\nleft.pop()\n")
    (tmp_path / twice.EXCEPTIONS).write_text(f"[[cell]]\n{entry}\n")
    found = twice.unfounded(tmp_path)
    assert len(found) == bool(says) and says in "".join(found)


SAY_SETTING = "import os; assert (os.environ['ONEDNN_MAX_CPU_ISA'], os.environ['OMP_NUM_THREADS']) in {}"


def test_a_lesson_that_compares_runtimes_runs_once_under_each_instruction_set(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(instruction_sets, "reason", lambda: "")
    change(checkout, "02", "runtimes = false", "runtimes = true")
    expected = {("SSE41", "1"), ("AVX2", "2"), ("AVX512_CORE", "1")}
    write(
        checkout / "notebooks/02_bad.ipynb",
        "ran = []",
        SAY_SETTING.format(expected),
        "ran.append(1)",
        "assert ran == [1]",
    )
    jobs = runner.choose(["isa"], checkout)
    assert names(jobs) == ["isa 02_bad"] * 3 and not any(job.alone for job in jobs) and all(job.offline for job in jobs)
    assert set(jobs) <= set(runner.choose([], checkout)) & set(runner.choose(["02"], checkout))
    assert runner.main(["isa"], checkout) == 0
    said = capsys.readouterr().out
    assert re.search(r"^passed   isa       02_bad +avx2, 2 threads +\d+\.\d s$", said, re.MULTILINE)
    assert said.splitlines()[-1] == "3 passed, 0 failed"


def test_on_another_processor_the_instruction_sets_are_skipped_with_the_reason(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "arm64")
    change(checkout, "02", "runtimes = false", "runtimes = true")
    assert runner.main(["isa"], checkout) == 0
    first, *_, last = capsys.readouterr().out.splitlines()
    assert re.match(r"skipped  isa       02_bad  .*x86-64 processors alone have them; this one is arm64$", first)
    assert last == "0 passed, 0 failed, 3 skipped"


def test_the_settings_have_three_instruction_sets_both_kernels_of_tensorflow_and_one_thread_and_two() -> None:
    settings = instruction_sets.SETTINGS.values()
    assert len({each["ONEDNN_MAX_CPU_ISA"] for each in settings}) >= 3
    for name, least in (("TF_ENABLE_ONEDNN_OPTS", {"0", "1"}), ("OMP_NUM_THREADS", {"1", "2"})):
        assert {each[name] for each in settings} == least
    assert all(each["DNNL_MAX_CPU_ISA"] == each["ONEDNN_MAX_CPU_ISA"] for each in settings)


SHOW_ISA = """
import numpy, threadpoolctl, torch
print("aten", torch.backends.cpu.get_cpu_capability())
print("threads", torch.get_num_threads())
print(*(each.get("architecture") for each in threadpoolctl.threadpool_info()))
torch.ones(8, 8).to_mkldnn().relu()  # with ONEDNN_VERBOSE, oneDNN's first work prints what it is
"""


@pytest.mark.skipif(bool(instruction_sets.reason()), reason="x86-64 alone")
@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("sse4.1, 1 thread", {"aten DEFAULT", "threads 1", "Nehalem", "isa:Intel SSE4.1"}),
        ("avx2, 2 threads", {"aten AVX2", "threads 2", "Haswell", "isa:Intel AVX2"}),
    ],
)
def test_the_libraries_compute_as_a_setting_asks(name: str, says: set[str]) -> None:
    environment = {**os.environ, **instruction_sets.SETTINGS[name], "ONEDNN_VERBOSE": "1"}
    ran = subprocess.run([sys.executable, "-c", SHOW_ISA], env=environment, capture_output=True, text=True, check=True)
    assert {each for each in says if each not in ran.stdout} == set(), ran.stdout


def test_a_job_that_takes_too_long_is_ended_and_fails(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(testing, "JOB_SECONDS", 6)
    write(checkout / "notebooks/02_bad.ipynb", ENDLESS.format(str(checkout)))
    assert runner.main(["02_bad"], checkout) == 1
    said = capsys.readouterr().out
    assert "    | ended, since it took more than 6 s\n" in said
    assert said.splitlines()[-1] == "1 passed, 1 failed"


def test_the_second_floor_has_a_number_of_its_own(checkout: Path) -> None:
    (checkout / "syllabus.toml").write_text(
        SYLLABUS + LESSON.format("01", "good", "G", "[]") + LESSON.format("01b", "deep", "D", "[]")
    )
    write(checkout / "notebooks/01b_deep.ipynb", "1")
    write(checkout / "exercises/01b_deep.ipynb", "1")
    (checkout / "tests/test_exercises.py").write_text(EXERCISES)
    (checkout / "tests/test_wrong_answers_01b.py").write_text("def test_four(): pass\n")
    own = ["lesson 01_good", "solution 01_good", "exercise 01_good"]
    assert names(runner.choose(["01"], checkout)) == ["units 01 exercises", *own]
    above = ["units 01b", "units 01b exercises", "lesson 01b_deep", "exercise 01b_deep"]
    assert names(runner.choose(["01b"], checkout)) == above
    job = runner.choose(["01b"], checkout)[1]
    said = subprocess.run([*job.command, "--collect-only"], cwd=checkout, capture_output=True, text=True, check=True)
    assert re.findall(r"\[(.*)\]", said.stdout) == ["01b.1", "01b"]


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
    module = {"test": "tools.test.__main__", "bench": "tools.bench.lessons"}[tool]
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
    assert "live, rest, units, isa, colab, 01, 02, service, wrong_answers_02" in said


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
    assert mode(log) == "live and replayed"
    assert mode(tmp_path / "none") == "-"


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


def test_the_bench_writes_its_table_into_the_timings_with_both_figures_of_what_runs_live(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench, "measure", fake_measure)
    assert bench.main(["--write"], checkout) == 0
    before, table, after = (checkout / "TIMINGS.md").read_text().split("\n<!-- bench -->\n")
    assert (before, after) == ("# Small\n\n## Measured\n", "\nThe rest: `<!-- bench -->`.\n")
    rows = [[cell.strip() for cell in row.split("|")[1:5]] for row in table.splitlines() if row.startswith("| 0")]
    assert rows == [
        ["01_good", "12.2", "300", "live"],
        ["01_good", "12.2", "300", "replayed"],
        ["02_bad", "12.2", "300", "-"],
    ]
    machine = r"\d+ cores \(\w+\), \d+ GiB, \w+, Python [\w.+]+"  # and not its name
    assert re.fullmatch(rf"Taken on {machine}\.", table.splitlines()[-1])
    written = (checkout / "TIMINGS.md").read_text()
    assert bench.main(["--write"], checkout) == 0
    assert (checkout / "TIMINGS.md").read_text() == written


def test_a_table_with_a_failure_or_without_its_place_is_not_written(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(bench, "measure", lambda path, replay=False: bench.Measured(path.stem, 1, 1, "-", "ValueError"))
    assert bench.main(["--write"], checkout) == 1
    assert (checkout / "TIMINGS.md").read_text() == TIMINGS
    (checkout / "TIMINGS.md").write_text("# Small\n")
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
    before = (checkout / "TIMINGS.md").read_text()
    monkeypatch.setattr(bench, "measure", lambda path, replay=False: bench.Measured(path.stem, 99, 300, "-"))
    assert bench.main(["--write", "02"], checkout) == 0
    after = (checkout / "TIMINGS.md").read_text()
    assert after.count("12.2") == 2 and after == before.replace(
        bench.line(fake_measure(Path("02_bad"))), bench.line(bench.Measured("02_bad", 99, 300, "-"))
    )
    monkeypatch.setattr(bench, "machine", lambda: "another machine")
    assert bench.main(["--write", "02"], checkout) == 2
    assert "another machine: leave the numbers out" in capsys.readouterr().err
    assert (checkout / "TIMINGS.md").read_text() == after
