"""`begin`: what every lesson does first; `own`: names for what it makes on an engine or a cluster."""

import atexit
import contextlib
import os
import shutil
import tempfile
from pathlib import Path
from typing import TextIO

from course_lib import show, syllabus
from course_lib.idioms import quiet
from course_lib.ops import names
from course_lib.places import SCRATCH

try:
    import fcntl
except ImportError:  # Windows, where a file that is open cannot be removed: that is lock enough
    fcntl = None

_current: str | None = None


def begin(number: str) -> Path:
    """Starts a lesson: sets the figures' style, switches off what the frameworks say for no reason.

    number: the lesson's, as in the syllabus (`"01"`).
    Returns a scratch folder of this kernel's own, empty, removed when the kernel ends; a lesson writes nowhere else.
    Folders of kernels that were killed go at the next `begin`. Raises ValueError for a number not in the syllabus.
    """
    known = [lesson.number for lesson in syllabus.load().lessons]
    if number not in known:
        raise ValueError(f"expected a lesson's number, {known[0]} to {known[-1]}, got {number!r}")
    return begin_as(number)


def begin_as(number: str) -> Path:
    """What `begin` does, for a drill too, whose number is "drill-1": it stands in no list of lessons."""
    global _current
    _current = number
    quiet.frameworks()
    show.style_figures()
    elsewhere = Path(tempfile.gettempdir())
    for base, prefix in ((SCRATCH, ""), (elsewhere, "course-")):
        _sweep(base, prefix)
    try:
        SCRATCH.mkdir(parents=True, exist_ok=True)
        return _scratch(SCRATCH, f"{number}-")
    except OSError:  # a checkout that cannot be written to, a workshop's shared one, say
        return _scratch(elsewhere, f"course-{number}-")


def _scratch(base: Path, prefix: str) -> Path:
    """A new folder in `base`, with a lock beside it, FOLDER.lock, that this kernel holds as long as it lives.

    A lock, since a process number means nothing in another container, and is given again. Where the file system knows no
    locks, the folder has none, and is never swept.
    """
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=base))
    lock = folder.with_name(f"{folder.name}.lock")
    with contextlib.suppress(OSError):
        file = lock.open("x", encoding="utf-8")
        atexit.register(_let_go, file, lock)
        if fcntl:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        file.write(folder.name)  # only now does it count: a sweep that finds an empty one leaves it alone
        file.flush()
    atexit.register(shutil.rmtree, folder, ignore_errors=True)  # what is registered last runs first
    return folder


def _let_go(file: TextIO, lock: Path) -> None:
    """At the kernel's end. Until then it keeps the lock's file open; a kernel that is killed lets go all the same."""
    file.close()
    with contextlib.suppress(OSError):
        lock.unlink()


def _sweep(base: Path, prefix: str) -> None:
    """Removes this user's scratch folders in `base` whose kernel is gone. Raises nothing."""
    locks = []
    with contextlib.suppress(OSError):
        locks = list(base.glob(f"{prefix}*.lock"))
    for lock in locks:
        with contextlib.suppress(OSError, ValueError):
            if hasattr(os, "getuid") and lock.lstat().st_uid != os.getuid():
                continue
            with lock.open("r+", encoding="utf-8") as file:
                if fcntl:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # refused while its kernel lives
                if file.read(300) != lock.stem:
                    continue
            lock.unlink()  # on Windows, this is what is refused
            shutil.rmtree(lock.with_suffix(""), ignore_errors=True)


def current() -> str:
    """The number of the lesson that this kernel runs. Raises RuntimeError before `begin`."""
    if _current is None:
        raise RuntimeError('no lesson has begun in this kernel: run its first cell, `begin("…")`, before this one')
    return _current


def own(name: str) -> str:
    """`name` with an ending of this learner's own, and of this kernel's: own("digits-17") is "digits-17-kmrwqd".

    For images, namespaces and labels on an engine or a cluster that others may use. The ending is COURSE_NAME's, or made
    at random once and kept. Raises ValueError where COURSE_NAME is no name; RuntimeError before `begin`.
    """
    return names.own(name, current())
