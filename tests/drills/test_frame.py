"""What all drills have in common, on drill 1."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from course_lib import places, progress, syllabus
from course_lib.drills import begin_drill, frame, records
from tests.drills.conftest import assert_gone, kind_of

NUMBERS = [each.number for each in syllabus.load().drills if each.written]


@pytest.mark.parametrize("number", NUMBERS)
def test_each_drill_has_three_faults_with_hints_a_story_and_described_evidence(number):
    kind, words = kind_of(number), frame.words_of(number)
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
    drill.diagnose("labels", {"request": "one", "model": 1, "service": "one"})
    assert "could not be examined" in drill.said
    assert "once the drill is solved" in drill.postmortem().text
    drill.end()
    assert "not solved yet" in drill.said and drill.services


def test_hints_come_one_by_one_and_are_kept_with_the_time_for_the_same_seed_alone(begin):
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


def test_what_was_repaired_without_a_diagnosis_is_not_solved(begin):
    drill = begin(1, "contract")
    file = drill.folder / "reader/contract.json"
    file.write_text(file.read_text().replace("255", "16"))
    drill.restart("reader")
    drill.repaired()
    assert "the system is well again" in drill.said and not drill.solved


def test_a_service_that_no_longer_starts_is_told_with_its_log(begin):
    drill = begin(1, "contract")
    (drill.folder / "reader/contract.json").write_text("{")
    drill.restart("reader")
    assert "does not run" in drill.said and "JSONDecodeError" in drill.said
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
import sys, time
from pathlib import Path
from course_lib.idioms import lesson
lesson.SCRATCH = Path(sys.argv[1])
from course_lib.drills import begin_drill
drill = begin_drill(1, 0)
print(*[each.process.pid for each in drill.services.values()], flush=True)
{end}
"""


@pytest.mark.skipif(os.name == "nt", reason="signals")
@pytest.mark.parametrize(
    ("end", "number"), [("", None), ("time.sleep(60)", signal.SIGKILL), ("time.sleep(60)", signal.SIGINT)]
)
def test_a_drill_broken_off_cleans_up(tmp_path, end, number):
    command = [sys.executable, "-c", KERNEL.format(end=end), str(tmp_path / "scratch")]
    env = os.environ | {"COURSE_PROGRESS": str(tmp_path / "progress.json")}
    options = {
        "stdout": subprocess.PIPE,
        "stderr": subprocess.DEVNULL,
        "cwd": places.CHECKOUT,
        "env": env,
        "text": True,
    }
    with subprocess.Popen(command, **options) as kernel:
        while not (line := kernel.stdout.readline()).strip().replace(" ", "").isdigit():
            assert kernel.poll() is None or line
        pids = [int(each) for each in line.split()]
        if number:
            kernel.send_signal(number)
        kernel.wait(30)
    until = time.monotonic() + 30
    while any(map(psutil.pid_exists, pids)) and time.monotonic() < until:
        time.sleep(0.05)
    assert_gone(dict.fromkeys(pids, "http://127.0.0.1:1"))
    if number != signal.SIGKILL:  # the folder of a killed kernel goes at the next `begin`
        assert not list((tmp_path / "scratch").iterdir())
