"""Names of a learner's own, for what lessons make on an engine or a cluster that other people may use as well.

A name ends in its owner: COURSE_NAME, or six letters that are made at random once and kept in the checkout's `.course`,
so that the next run finds, and clears, what a run that broke off has left. A second kernel that runs the same lesson at
the same time gets names that end in "-2". What a killed kernel has left is cleared by the next one with its names.
"""

import contextlib
import functools
import os
import re
import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from course_lib import places

OWNER = re.compile(r"(?=.{1,30}$)[a-z0-9]+(-[a-z0-9]+)*(?<!-[0-9])")
"""What may end the name of an image and of a namespace; not in "-2", as the names of a second kernel do."""

LETTERS = "abcdefghjkmnpqrstuvwxyz"
KERNELS = 9
"""How many may run one lesson at a time, under one owner's name."""

LONGEST = 63
"""Characters that a namespace's name may have (RFC 1123)."""

NO_LOCKS = (OSError, NotImplementedError)
"""What a file system answers that cannot be written to or knows no locks."""

_held: dict[str, tuple[int, FileLock | None]] = {}
"""This kernel's number among those that run a lesson, and the lock that keeps it, until the kernel ends."""


def own(name: str, lesson: str) -> str:
    """`name` with this kernel's own ending: own("digits-17", "17") is "digits-17-kmrwqd".

    name: an image ("digits-service:lesson-17"), a namespace or the value of a label. Raises ValueError where COURSE_NAME
    is no name, or the whole would be longer than a namespace's name may be; RuntimeError where nine kernels run the lesson.
    """
    owned = owner()
    number = _number(f"{lesson}-{owned}", lesson)
    made = f"{name}-{owned}" + (f"-{number}" if number > 1 else "")
    if len(re.split("[/:]", made)[-1]) > LONGEST:
        raise ValueError(f"expected a name of at most {LONGEST} characters, got {made}: take a shorter COURSE_NAME")
    return made


def owner() -> str:
    """COURSE_NAME, or what this checkout keeps instead. Raises ValueError where COURSE_NAME is no name."""
    given = os.environ.get("COURSE_NAME")
    if not given:
        return _kept(places.KEPT)
    if not OWNER.fullmatch(given):
        raise ValueError(
            "COURSE_NAME: expected at most 30 lower-case letters, digits and single hyphens between them, with no hyphen "
            f'and single digit at the end, such as "anna" or "room-12"; got {given!r}'
        )
    return given


@functools.cache
def _kept(base: Path) -> str:
    made = "".join(secrets.choice(LETTERS) for _ in range(6))
    for folder in _folders(base):
        with contextlib.suppress(*NO_LOCKS), FileLock(folder / "owner.lock", timeout=3):
            file = folder / "owner"
            kept = file.read_text(encoding="utf-8", errors="replace").strip() if file.exists() else ""
            if not OWNER.fullmatch(kept):
                file.write_text(f"{made}\n", encoding="utf-8")
                return made
            return kept
    return made


def _number(key: str, lesson: str) -> int:
    """1, or 2 to 9 where other kernels hold the numbers before; 1 as well where no file system knows locks."""
    if key in _held:
        return _held[key][0]
    _held[key] = _taken(key, lesson)
    return _held[key][0]


def _taken(key: str, lesson: str) -> tuple[int, FileLock | None]:
    for folder in _folders(places.KEPT):
        with contextlib.suppress(*NO_LOCKS):
            for number in range(1, KERNELS + 1):
                lock = FileLock(folder / f"{key}-{number}.lock")
                try:
                    lock.acquire(timeout=0)
                except Timeout:
                    continue
                return number, lock
            raise RuntimeError(
                f"{KERNELS} kernels run lesson {lesson} at this time, more than get names of their own: shut one of them down"
            )
    return 1, None


def _folders(base: Path) -> Iterator[Path]:
    """Where names and locks may be kept: in the checkout, or, where that cannot be written to, beside scratch folders."""
    user = os.getuid() if hasattr(os, "getuid") else None
    for folder in (base / "names", Path(tempfile.gettempdir()) / f"course-names-{user}"):
        with contextlib.suppress(OSError):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if user in (None, folder.stat().st_uid):  # another user's holds another's name
                yield folder
