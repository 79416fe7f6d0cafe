"""What is kept of a learner's drills: which seed is open, the time and the hints that it took, and what is solved.

{"1": {"open": {"seed": 7, "seconds": 312.0, "hints": 1}, "solved": [{"seed": 3, "fault": "labels", …}, …]}}
"""

from datetime import date

from course_lib import show
from course_lib.idioms import store


def open_run(number: int) -> dict | None:
    """The run of a drill that was begun and is not solved: seed, seconds, hints. None where there is none."""
    return store.drills().get(str(number), {}).get("open")


def solved_runs(number: int) -> list[dict]:
    """The solved runs of a drill, the oldest first: seed, fault, minutes, hints, date."""
    return store.drills().get(str(number), {}).get("solved", [])


def keep_open(number: int, seed: int, seconds: float, hints: int) -> None:
    """Keeps how far the run is; says nothing where that cannot be, since every hint would say it again."""
    run = {"seed": seed, "seconds": round(seconds, 1), "hints": hints}
    store.change(lambda kept: _of(kept, number).update(open=run))


def keep_solved(number: int, seed: int, fault: str, seconds: float, hints: int) -> None:
    """Moves the run from what is open to what is solved."""
    run = {"seed": seed, "fault": fault, "minutes": max(1, round(seconds / 60)), "hints": hints}

    def edit(kept: dict) -> None:
        own = _of(kept, number)
        own.pop("open", None)
        own.setdefault("solved", []).append(run | {"date": date.today().isoformat()})

    if refused := store.change(edit):
        show.put(show.card("!", show.ORANGE, "solved, but not kept on disk", refused, label="progress"))


def _of(kept: dict, number: int) -> dict:
    return kept.setdefault("drills", {}).setdefault(str(number), {})
