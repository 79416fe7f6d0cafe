"""`begin`: what every lesson does first."""

import atexit
import shutil
import tempfile
from pathlib import Path

from course_lib import show, syllabus
from course_lib.idioms import quiet
from course_lib.places import SCRATCH

_current: str | None = None


def begin(number: str) -> Path:
    """Starts a lesson: sets the figures' style, switches off what the frameworks say for no reason.

    number: the lesson's, as in the syllabus (`"01"`).
    Returns a scratch folder of this kernel's own, empty, removed when the kernel ends; a lesson writes nowhere else.
    Raises ValueError for a number that is not in the syllabus.
    """
    global _current
    known = [lesson.number for lesson in syllabus.load().lessons]
    if number not in known:
        raise ValueError(f"expected a lesson's number, {known[0]} to {known[-1]}, got {number!r}")
    _current = number
    quiet.frameworks()
    show.style_figures()
    try:
        SCRATCH.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f"{number}-", dir=SCRATCH))
    except OSError:  # a checkout that cannot be written to, a workshop's shared one, say
        folder = Path(tempfile.mkdtemp(prefix=f"course-{number}-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def current() -> str:
    """The number of the lesson that this kernel runs. Raises RuntimeError before `begin`."""
    if _current is None:
        raise RuntimeError('no lesson has begun in this kernel: run its first cell, `begin("…")`, before this one')
    return _current
