"""`within`: calls a function and stops it where it takes too long, whether it computes, sleeps, reads or waits.

In the main thread of Linux and macOS an alarm raises TimeUp in the midst of whatever runs. Elsewhere (Windows, or
another thread) there is no such alarm: the function runs in a thread of its own, which is told to stop and left behind
where it does not listen. What computes in C without a look at Python, `sum(range(10**15))`, is beyond both.
"""

import contextvars
import ctypes
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import CodeType, FrameType

AGAIN_S = 0.5
"""After the limit, how long until a function that swallowed the first TimeUp (a bare `except:`) gets the next."""


class TimeUp(BaseException):
    """The time is over. Not an Exception, so that `except Exception` in the function does not swallow it.

    lines: what ran when the time was over, innermost first, each with the number of its line.
    """

    def __init__(self, frame: FrameType | None = None) -> None:
        super().__init__("the time is over")
        self.lines: list[tuple[CodeType, int]] = []
        while frame:
            self.lines.append((frame.f_code, frame.f_lineno))
            frame = frame.f_back


def within(seconds: float, function: Callable[[], object]) -> object:
    """What `function` returns or raises; raises TimeUp where that takes longer than `seconds`."""
    in_main_thread = threading.current_thread() is threading.main_thread()
    return (by_alarm if in_main_thread and hasattr(signal, "SIGALRM") else by_thread)(seconds, function)


def by_alarm(seconds: float, function: Callable[[], object]) -> object:
    """`within`, by a signal. An alarm that was set before keeps its time and its handler."""
    handler, began, rings, tracer = signal.getsignal(signal.SIGALRM), time.monotonic(), 0, sys.gettrace()
    left = signal.setitimer(signal.ITIMER_REAL, 0)[0]  # seconds, of an alarm that was set before; 0 for none

    def ring(number: int, frame: FrameType | None) -> None:
        nonlocal rings
        rings += 1
        signal.setitimer(signal.ITIMER_REAL, AGAIN_S)
        if left and time.monotonic() - began >= left and callable(handler):
            handler(number, frame)
        if rings > 1:
            _insist(frame, until=by_alarm.__code__)
        raise TimeUp(frame)

    try:
        signal.signal(signal.SIGALRM, ring)
        signal.setitimer(signal.ITIMER_REAL, min(seconds, left or seconds))
        return function()
    finally:
        while True:
            try:
                signal.setitimer(signal.ITIMER_REAL, 0)
                signal.signal(signal.SIGALRM, handler or signal.SIG_DFL)
                if rings > 1:
                    sys.settrace(tracer)
                break
            except TimeUp:  # it rang in here
                continue
        if left:
            signal.setitimer(signal.ITIMER_REAL, max(left - (time.monotonic() - began), 0.001))


def _insist(frame: FrameType | None, until: CodeType) -> None:
    """Raises TimeUp at the next line of what runs by now, also in the `except:` that swallows the one before."""

    def stop(frame: FrameType, event: str, argument: object) -> object:
        if event == "line":
            raise TimeUp(frame)
        return stop  # "exception" is the one that is on its way

    while frame and frame.f_code is not until:
        frame.f_trace = stop
        frame = frame.f_back
    sys.settrace(lambda *_: None)  # what is called from here on is not traced


def by_thread(seconds: float, function: Callable[[], object]) -> object:
    """`within`, by a thread of its own."""
    results: list[object] = []
    raised: list[BaseException] = []

    def work() -> None:
        try:
            results.append(function())
        except BaseException as wrong:
            raised.append(wrong)

    worker = threading.Thread(target=contextvars.copy_context().run, args=(work,), daemon=True)
    worker.start()
    until = time.monotonic() + seconds
    try:
        while worker.is_alive() and time.monotonic() < until:
            worker.join(0.1)  # in turns, so that the learner's own interrupt gets through on Windows
    except BaseException:
        _tell(worker, KeyboardInterrupt)
        raise
    if worker.is_alive():
        up = TimeUp(sys._current_frames().get(worker.ident))
        for _ in range(3):
            _tell(worker, TimeUp)
            worker.join(AGAIN_S)
        raise up
    if raised:
        raise raised[0]
    return results[0]


def _tell(thread: threading.Thread, what: type[BaseException]) -> None:
    """Raises `what` in a thread as soon as it comes back to Python."""
    if thread.is_alive():
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(what))
