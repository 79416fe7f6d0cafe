"""What the tests of drills share: a drill with a given fault, which leaves nothing behind."""

import socket
from collections.abc import Callable

import psutil
import pytest

from course_lib.drills import begin_drill, frame, records
from course_lib.idioms import lesson

SHORTER = {
    1: {"watched": 5},
    2: {"watched": 5},
    3: {"begun": 30, "watched": (20, 30), "drain_s": 4.0},
    5: {"second": 0.1, "quiet_s": 5},
    6: {"begun": 50, "watched_s": 1.4},
}
"""Drill -> its windows, shorter than a learner's: a test does not watch as long."""


@pytest.fixture
def begin(tmp_path, monkeypatch):
    """Starts a drill with a fault of a given name. After the test its processes, addresses and folder are gone."""
    monkeypatch.setattr(lesson, "SCRATCH", tmp_path / "scratch")
    monkeypatch.setattr(frame, "STOP_SECONDS", 1)
    for number, windows in SHORTER.items():
        for name, value in windows.items():
            monkeypatch.setattr(kind_of(number), name, value)
    begun = []

    def start(number: int, fault: str) -> frame.Drill:
        kind = kind_of(number)
        begun.append(begin_drill(number, next(seed for seed in range(1000) if kind.drawn(seed) == fault)))
        return begun[-1]

    yield start
    for drill in begun:
        ran = {each.process.pid: each.url for each in drill.services.values()}
        ran |= {each.pid: "http://127.0.0.1:1" for each in drill.unseen}
        drill.end(anyway=True)
        assert_gone(ran)


def kind_of(number: int) -> type[frame.Drill]:
    return __import__(f"course_lib.drills.drill_{number}", fromlist=["TheDrill"]).TheDrill


def assert_gone(ran: dict[int, str]) -> None:
    """ran: number of a process -> its address."""
    assert not [pid for pid in ran if psutil.pid_exists(pid)]
    for url in ran.values():
        with pytest.raises(OSError):
            socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), timeout=1).close()


def examined(drill: frame.Drill, fault: str, evidence: dict[str, dict]) -> None:
    """Tries every cause with honest readings: the fault's own is accepted, each other one has a message of its own."""
    said = {}
    for cause in drill.faults:
        if cause != fault:
            drill.diagnose(cause, evidence[cause])
            assert not drill.diagnosed, f"{cause} was accepted where {fault} is broken: {drill.said}"
            assert "is not shown" in drill.said and "could not be examined" not in drill.said, drill.said
            said[cause] = drill.said
    assert len(set(said.values())) == len(said)
    drill.diagnose(fault, evidence[fault])
    assert drill.diagnosed, drill.said


def mended(drill: frame.Drill, fault: str, hide: Callable, repair: Callable) -> None:
    """A repair that hides the symptom is refused, with what `hide` returns in its message, or with one of what it returns
    where that depends on how busy the machine is; the real one solves the drill."""
    says = hide(drill, fault)
    drill.repaired()
    says = (says,) if isinstance(says, str) else says
    assert "not repaired" in drill.said and any(each in drill.said for each in says), drill.said
    repair(drill, fault)
    drill.repaired()
    assert drill.solved, drill.said
    assert [run["fault"] for run in records.solved_runs(drill.number)] == [fault]
