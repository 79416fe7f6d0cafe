"""The learner's progress, what is solved and what was guessed, in one JSON file that several kernels may change at once.

    {"solved": {"02.1": "2026-03-01", …}, "guesses": {"02": {"lost": {…}, …}, …}, "drills": {"1": {…}, …}}

Nothing here raises: what stands in the way is said in a sentence, and the lesson goes on.
"""

import contextlib
import json
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path

from filelock import FileLock, Timeout

from course_lib import places, show

PATIENCE_S = 3
"""How long to wait for another kernel that is writing; a write takes a few milliseconds."""

NOT_KEPT = (OSError, NotImplementedError)
"""What a file system answers that does not let itself be locked or written to."""

_said: set[str] = set()


def solved() -> dict[str, str]:
    """The exercises that this learner has solved, by number, each with its date (ISO 8601)."""
    return read()["solved"]


def guesses() -> dict[str, dict[str, dict]]:
    """What this learner has guessed and seen, by lesson and name; `guesses.py` says what an entry holds."""
    return read()["guesses"]


def drills() -> dict[str, dict]:
    """What this learner has done of each drill, by number; `course_lib.drills.records` says what an entry holds."""
    return read().get("drills", {})


def tries() -> dict[str, int]:
    """How often this learner has checked an answer of theirs until it was solved, by exercise: {"02.1": 3, …}."""
    return read().get("tries", {})


def keep_solved(number: str) -> None:
    """Keeps the date at which an exercise was first solved, and that try; says so where that cannot be."""

    def first(kept: dict) -> None:
        _count_try(kept, number)
        kept["solved"].setdefault(number, date.today().isoformat())

    if refused := change(first):
        show.put(show.card("!", show.ORANGE, "solved, but not kept on disk", refused, label="progress"))


def keep_try(number: str) -> None:
    """Counts an answer that was checked and is not right yet; where that cannot be kept, `begin` has said so."""
    change(lambda kept: _count_try(kept, number))


def _count_try(kept: dict[str, dict], number: str) -> None:
    """One try more, unless the exercise is solved already."""
    if number not in kept["solved"]:
        counts = kept.setdefault("tries", {})
        counts[number] = (counts[number] if isinstance(counts.get(number), int) else 0) + 1


def read() -> dict[str, dict]:
    """The whole file, or an empty one where there is none or it cannot be read, which a card then says."""
    try:
        with _alone():
            return _read()
    except NOT_KEPT:
        pass  # whoever may not write here, or waits for another kernel in vain, may still read
    try:
        return _read()
    except NOT_KEPT as refused:
        reason = _reason(refused)
        if reason not in _said:  # each guess and each reveal would say it again
            show.put(show.card("!", show.ORANGE, "your progress cannot be read", reason, label="progress"))
            _said.add(reason)
        return _empty()


def change(edit: Callable[[dict[str, dict]], object]) -> str:
    """Applies `edit` to the file's content and writes it, while every other kernel waits.

    Returns "" where it was kept, else why it was not, in a sentence.
    """
    try:
        with _alone():
            kept = _read()
            edit(kept)
            kept["solved"] = dict(sorted(kept["solved"].items()))
            draft = places.PROGRESS.with_suffix(".draft")  # a crash leaves the old file or the new one
            draft.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
            draft.replace(places.PROGRESS)
        return ""
    except NOT_KEPT as refused:
        return _reason(refused)


def say_if_not_kept() -> None:
    """Says in a card where nothing that is solved or guessed from here on would be kept."""
    try:
        with _alone():
            draft = places.PROGRESS.with_suffix(".draft")
            draft.touch()
            draft.unlink()
    except NOT_KEPT as refused:
        if not _said:
            show.put(show.card("!", show.ORANGE, "what you solve is not kept", _reason(refused), label="progress"))


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    places.PROGRESS.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(places.PROGRESS.with_suffix(".lock"), timeout=PATIENCE_S):
        yield


def _empty() -> dict[str, dict]:
    return {"solved": {}, "guesses": {}}


def _read() -> dict[str, dict]:
    """What the file holds; one that is half-written or edited by hand is set aside. Raises OSError."""
    try:
        kept = json.loads(places.PROGRESS.read_text(encoding="utf-8"))
        for part in [
            kept,
            kept["solved"],
            kept.setdefault("guesses", {}),
            *kept["guesses"].values(),
            kept.get("tries", {}),
        ]:
            dict.keys(part)
        for entry in [entry for named in kept["guesses"].values() for entry in named.values()]:
            dict.keys(entry)
        for part in [(drilled := kept.get("drills", {})), *drilled.values()]:
            dict.keys(part)
        return kept
    except FileNotFoundError:
        return _empty()
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as unreadable:
        aside = _set_aside(places.PROGRESS)
        what = f"{type(unreadable).__name__}: {unreadable}. The file is kept as {aside}; a new one is begun."
        show.put(show.card("!", show.ORANGE, "your progress could not be read", what, label="progress"))
        return _empty()


def _set_aside(path: Path) -> Path:
    """Renames the file, so that nothing is lost, to a name that no earlier one has."""
    names = [".unreadable.json", *(f".unreadable-{i}.json" for i in range(2, 100))]
    aside = next((path.with_suffix(name) for name in names if not path.with_suffix(name).exists()), None)
    if aside is None:
        raise FileExistsError(f"{path} cannot be read, and a hundred unreadable ones lie beside it")
    path.replace(aside)
    return aside


def _reason(refused: Exception) -> str:
    """In a sentence, what the file system would not do, and what to do about it."""
    path = places.PROGRESS
    if isinstance(refused, Timeout):
        return f"Another kernel has held {path} for {PATIENCE_S} seconds. Run the cell again."
    if path.is_dir():
        return f"{path} is a folder; the course keeps a file of that name. Rename the folder and run the cell again."
    if isinstance(refused, PermissionError):
        return (
            f"You may not read or write {path}; it may belong to another user. COURSE_PROGRESS can name another file."
        )
    return f"{path}: {refused}"
