"""What all drills have in common, on drill 1."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from course_lib import places, progress, syllabus
from course_lib.drills import begin_drill, frame, records
from course_lib.drills.wording import words_of
from tests.drills.conftest import assert_gone, kind_of

NUMBERS = [each.number for each in syllabus.load().drills if each.written]


@pytest.mark.parametrize("number", NUMBERS)
def test_each_drill_has_three_faults_with_hints_a_story_and_described_evidence(number):
    kind, words = kind_of(number), words_of(number)
    assert kind.number == number and tuple(words) == tuple(kind.faults) and len(words) >= 3
    drill = kind(0)
    for name, fault in words.items():
        assert fault.says.endswith(".") and len(fault.hints) >= 3 and "**Taught in**" in fault.story, name
        assert drill._wanted(name)
    assert {kind.drawn(seed) for seed in range(100)} == set(kind.faults)
    assert kind.title == next(each.title for each in syllabus.load().drills if each.number == number)


def test_untouched_it_says_not_yet_and_goes_on(begin):
    drill = begin(1, "labels")
    drill.diagnose(cause=None, evidence={})
    assert "not yet diagnosed" in drill.said
    drill.diagnose("gremlins", {"request": 1})
    assert "not on the list" in drill.said
    drill.diagnose("labels", {"request": 1})
    assert "not complete" in drill.said and "service: the name" in drill.said
    drill.diagnose("labels", {})
    assert "not complete" in drill.said
    drill.diagnose("labels", {"request": "one", "model": 1, "service": "one"})
    assert "could not be examined" in drill.said and "a whole number" in drill.said
    assert "once the drill is solved" in drill.postmortem().text
    drill.end()
    assert "not solved yet" in drill.said and drill.services


def test_hints_come_one_by_one_and_are_kept_with_the_time_for_the_same_seed_alone(begin, monkeypatch):
    monkeypatch.setattr(kind_of(1), "build", lambda drill, fault: None)  # hints need nothing that runs
    drill = begin(1, "labels")
    first = [drill.hint() or drill.said for _ in range(5)]
    assert len(set(first)) == 4 and "hint 4 of 4" in first[-1]
    kept = records.open_run(1)
    assert kept["hints"] == 4 and kept["seed"] == drill.seed
    again = begin_drill(1)
    assert (again.seed, again.hints) == (drill.seed, 4) and again.seconds >= kept["seconds"]
    again.end(anyway=True)
    other = begin(1, "contract")
    assert other.hints == 0


def test_a_service_that_no_longer_starts_is_told_and_a_repair_without_a_diagnosis_does_not_count(begin):
    drill = begin(1, "contract")
    file = drill.folder / "reader/contract.json"
    good = file.read_text().replace("255", "16")
    file.write_text("{")
    drill.restart("reader")
    assert "does not run" in drill.said and "JSONDecodeError" in drill.said
    file.write_text(good)
    drill.restart("reader")
    drill.repaired()
    assert "the system is well again" in drill.said and not drill.solved
    (drill.folder / "services.toml").write_text("[model")
    drill.restart("reader")
    assert "does not run" in drill.said


def test_the_next_fault_is_one_that_was_met_least_often(begin):
    kind = kind_of(1)
    for fault in kind.faults[1:]:
        records.keep_solved(1, 0, fault, 600, 1)
    assert {kind.drawn(frame.draw(kind)) for _ in range(20)} == {kind.faults[0]}


def test_the_progress_page_lists_what_was_solved():
    assert "Drills" not in progress.progress().text
    records.keep_solved(1, 17, "labels", 660, 2)
    (row,) = (line for line in progress.progress().text.splitlines() if "Right answers in the notebook" in line)
    assert row.split()[-4:-1] == ["17", "11", "2"]


KERNEL = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell that starts tests in the background ignores it
from pathlib import Path
from course_lib.idioms import lesson
lesson.SCRATCH = Path(sys.argv[1])
from course_lib.drills import begin_drill
drill = begin_drill(1, 0)
print(*[each.process.pid for each in drill.services.values()], flush=True)
{end}
"""


ENDS = {"": None, "time.sleep(60)": signal.SIGINT, "time.sleep(61)": getattr(signal, "SIGKILL", None)}
"""The last line of a kernel's program -> the signal that ends it."""


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_a_drill_broken_off_cleans_up(tmp_path, request):
    kernels = {end: _begun(tmp_path / str(at), end) for at, end in enumerate(ENDS)}
    for kernel in kernels.values():
        request.addfinalizer(lambda kernel=kernel: (kernel.kill(), kernel.communicate()))
    for at, (end, kernel) in enumerate(kernels.items()):
        while not (line := kernel.stdout.readline()).strip().replace(" ", "").isdigit():
            assert kernel.poll() is None or line
        pids = [int(each) for each in line.split()]
        if ENDS[end]:
            kernel.send_signal(ENDS[end])
        kernel.wait(30)
        until = time.monotonic() + 30
        while any(map(psutil.pid_exists, pids)) and time.monotonic() < until:
            time.sleep(0.05)
        assert_gone(dict.fromkeys(pids, "http://127.0.0.1:1"))
        if ENDS[end] != signal.SIGKILL:  # the folder of a killed kernel goes at the next `begin`
            assert not list((tmp_path / str(at) / "scratch").iterdir()), end


def _begun(folder: Path, end: str) -> subprocess.Popen:
    """A kernel that begins drill 1. They start side by side: most of it is waiting."""
    folder.mkdir()
    return subprocess.Popen(
        [sys.executable, "-c", KERNEL.format(end=end), str(folder / "scratch")],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=places.CHECKOUT,
        env=os.environ | {"COURSE_PROGRESS": str(folder / "progress.json")},
        text=True,
    )
