"""`ledger`: one row for each form of a model, and the picture that the rows make together.

Rows of lessons that were built before lie in `source/recordings/ledger.json`; a lesson adds its own, in this kernel. The build
alone writes the file. Latency is not kept: it is measured anew where it is compared.
"""

import json
import os
from collections.abc import Collection
from dataclasses import asdict, dataclass

from course_lib import places, show
from course_lib.idioms.lesson import current
from course_lib.show import tradeoff


@dataclass(frozen=True)
class Row:
    """A model in one form. accuracy: share of the test set, 0 to 1; bytes: of the file; max_abs_diff: of the logits
    from those of the form that it was made from, None for the first."""

    lesson: str
    model: str
    form: str
    accuracy: float
    bytes: int
    max_abs_diff: float | None = None


_own: dict[tuple[str, str], Row] = {}


def record(model: str, form: str, *, accuracy: float, bytes: int, max_abs_diff: float | None = None) -> None:
    """Adds a row, or replaces the row of the same model and form.

    model, form: names, `"digits_cnn"`, `"onnx"`. accuracy: 0 to 1. bytes: of the file. max_abs_diff: see Row.
    Raises ValueError for an accuracy outside 0 to 1 or a size that is no positive whole number.
    """
    if not 0 <= float(accuracy) <= 1:
        raise ValueError(f"expected an accuracy from 0 to 1, got {accuracy}: a share, not a percentage")
    if int(bytes) != bytes or bytes <= 0:
        raise ValueError(f"expected a file's size in bytes, a positive whole number, got {bytes}")
    difference = None if max_abs_diff is None else float(max_abs_diff)
    row = Row(current(), model, form, float(accuracy), int(bytes), difference)
    _own[model, form] = row
    if os.environ.get("COURSE_RECORD") == "1":
        _write([each for each in kept() if each.lesson != current()] + list(_own.values()))


def rows(model: str | None = None) -> list[Row]:
    """The rows so far: those of earlier lessons, then this lesson's own; of one model, if named.

    On the first floor without those of the second, which a reader may not have seen.
    """
    here = current()
    first_floor = here.isdigit()
    earlier = [row for row in kept() if row.lesson < here and (row.lesson.isdigit() or not first_floor)]
    return [row for row in earlier + list(_own.values()) if model in (None, row.model)]


def table(model: str | None = None) -> show.Block:
    """The rows as a table."""
    header = ["lesson", "model", "form", "accuracy", "bytes", "largest difference from the form before"]
    return show.table(header, [
        [r.lesson, r.model, r.form, f"{r.accuracy:.4f}", f"{r.bytes:,}",
         "" if r.max_abs_diff is None else f"{r.max_abs_diff:.1e}"]
        for r in rows(model)
    ], caption="The ledger: each form of a model so far")  # fmt: skip


def picture(title: str, *, model: str | Collection[str] | None = None, also: Collection[tuple[str, str]] = ()) -> None:
    """Draws accuracy against bytes for the rows so far, a panel for each model, under a title that states what it shows.

    This lesson's rows are filled and named; those of earlier lessons are hollow, and named where there is room. A model
    keeps its colour and its mark in every lesson. model: draws this one alone, or these. also: model and form of earlier
    rows that have to be named, since the title speaks of them.
    Raises RuntimeError where there is no row yet.
    """
    models = [model] if isinstance(model, str) else model
    every = [row for row in rows() if models is None or row.model in models]
    drawn = list({(row.model, row.form): row for row in every}.values())  # the newest of each form
    if not drawn:
        raise RuntimeError("the ledger has no row yet: `ledger.record(…)` adds one")
    own = [row for row in drawn if row.lesson == current()]
    earlier = [row for row in drawn if row not in own]
    tradeoff.picture(own, earlier, title, [row for row in earlier if (row.model, row.form) in also])


def kept() -> list[Row]:
    """The rows that the build has kept, of every lesson, in the lessons' order."""
    path = places.RECORDINGS / "ledger.json"
    return [Row(**row) for row in json.loads(path.read_text(encoding="utf-8"))] if path.exists() else []


def _write(every: list[Row]) -> None:
    ordered = sorted(every, key=lambda row: row.lesson)
    places.RECORDINGS.mkdir(parents=True, exist_ok=True)
    text = json.dumps([asdict(row) for row in ordered], indent=1) + "\n"
    (places.RECORDINGS / "ledger.json").write_text(text, encoding="utf-8")
