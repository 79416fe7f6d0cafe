"""within: whatever a function does, it ends, and leaves things as they were."""

import os
import queue
import signal
import sys
import threading
import time

import pytest

from course_lib.idioms import time_limit
from course_lib.idioms.time_limit import TimeUp, by_alarm, by_thread, within

WAYS = [
    pytest.param(by_alarm, marks=pytest.mark.skipif(not hasattr(signal, "SIGALRM"), reason="no alarms here")),
    by_thread,
]


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    monkeypatch.setattr(time_limit, "AGAIN_S", 0.05)


def loops():
    while True:
        pass


def sleeps():
    time.sleep(60)


def waits_for_a_lock():
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()


def waits_for_a_queue():
    queue.Queue().get()


def waits_for_a_thread():
    thread = threading.Thread(target=time.sleep, args=(5,), daemon=True)
    thread.start()
    thread.join()


def reads():
    from_nobody, _ = os.pipe()
    os.read(from_nobody, 1)


def swallows_exceptions():
    while True:
        try:
            time.sleep(0.01)
        except Exception:
            pass


def swallows_everything():
    while True:
        try:
            time.sleep(0.01)
        except:  # noqa: E722
            pass


ENDLESS = [loops, sleeps, waits_for_a_lock, waits_for_a_queue, waits_for_a_thread, reads, swallows_exceptions,
           swallows_everything]  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("endless", ENDLESS)
def test_what_never_returns_is_stopped_and_named(way, endless):
    began = time.monotonic()
    with pytest.raises(TimeUp) as up:
        way(0.1, endless)
    assert time.monotonic() - began < 5
    assert endless.__code__ in [code for code, _ in up.value.lines]


@pytest.mark.parametrize("way", WAYS)
def test_what_ends_in_time_returns_and_raises_as_ever(way):
    assert way(5, lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        way(5, lambda: 1 / 0)
    with pytest.raises(KeyboardInterrupt):
        way(5, lambda: (_ for _ in ()).throw(KeyboardInterrupt))


@pytest.mark.parametrize("way", WAYS)
def test_what_the_function_opened_is_closed(way):
    closed = []

    def answer():
        try:
            loops()
        finally:
            closed.append(True)

    with pytest.raises(TimeUp):
        way(0.1, answer)
    assert closed == [True]


def test_within_takes_a_thread_where_there_is_no_alarm(monkeypatch):
    monkeypatch.delattr(signal, "SIGALRM", raising=False)
    assert within(5, threading.current_thread) is not threading.main_thread()


def test_within_works_outside_of_the_main_thread():
    seen = []

    def elsewhere():
        try:
            within(0.1, loops)
        except TimeUp:
            seen.append("up")

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join(5)
    assert seen == ["up"]


alarms = pytest.mark.skipif(not hasattr(signal, "SIGALRM"), reason="no alarms here")


@alarms
@pytest.mark.parametrize("function", [lambda: 1, swallows_everything, loops])
def test_handler_timer_and_tracer_are_as_before(function):
    before, tracer = signal.getsignal(signal.SIGALRM), sys.gettrace()
    try:
        within(0.1, function)
    except TimeUp:
        pass
    assert signal.getsignal(signal.SIGALRM) is before
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)
    assert sys.gettrace() is tracer


@alarms
def test_the_inner_limit_ends_and_the_outer_one_goes_on():
    def outer():
        with pytest.raises(TimeUp):
            within(0.1, loops)
        assert 0 < signal.getitimer(signal.ITIMER_REAL)[0] <= 0.9
        loops()

    began = time.monotonic()
    with pytest.raises(TimeUp):
        within(0.6, outer)
    assert 0.5 < time.monotonic() - began < 3


@alarms
def test_the_outer_limit_holds_inside_of_a_longer_one():
    began = time.monotonic()
    with pytest.raises(TimeUp):
        within(0.1, lambda: within(60, loops))
    assert time.monotonic() - began < 3
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


@alarms
def test_an_alarm_of_somebody_elses_still_rings():
    rang = []
    before = signal.signal(signal.SIGALRM, lambda *_: rang.append(True))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        with pytest.raises(TimeUp):
            within(0.1, loops)
        until = time.monotonic() + 2
        while not rang and time.monotonic() < until:
            time.sleep(0.01)
        assert rang == [True]
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
