"""`ledger`: one row for each form of a model, and the picture that the rows make together.

Rows of lessons that were built before lie in `source/recordings/ledger.json`; a lesson adds its own, in this kernel. The build
alone writes the file. Latency is not kept: it is measured anew where it is compared.
"""

import json
import os
from dataclasses import asdict, dataclass

from course_lib import places, show
from course_lib.idioms.lesson import current


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


def picture(title: str, *, model: str | None = None) -> None:
    """Draws accuracy against bytes for the rows so far, under a title that states what it shows.

    This lesson's rows are numbered and named under the picture; those of earlier lessons stand behind them, small. A
    model keeps its colour and its mark in every lesson.
    Raises RuntimeError where there is no row yet.
    """
    import matplotlib.pyplot as plt
    from matplotlib.ticker import LogLocator, NullLocator

    drawn = list({(row.model, row.form): row for row in rows(model)}.values())  # the newest of each form
    if not drawn:
        raise RuntimeError("the ledger has no row yet: `ledger.record(…)` adds one")
    styles = dict(zip(dict.fromkeys(row.model for row in [*kept(), *drawn]), zip(show.PALETTE * 3, "osD^vPX" * 3)))
    own = sorted((row for row in drawn if row.lesson == current()), key=lambda row: (row.bytes, -row.accuracy))
    figure, axes = plt.subplots(figsize=(6.4, 4.2))
    for row in drawn:
        colour, marker = styles[row.model]
        size = {"ms": 5, "alpha": 0.6} if row not in own else {"ms": 9, "mec": "white"}
        axes.plot(row.bytes, 100 * row.accuracy, marker, color=colour, **size)
    axes.set_xscale("log")
    axes.margins(x=0.1)
    every = [100 * row.accuracy for row in drawn]
    room = max(1.5, 0.2 * (max(every) - min(every)))  # a smaller range would make noise look like a loss
    axes.set_ylim(min(every) - room, min(100, max(every) + room))
    wide = max(row.bytes for row in drawn) > 12 * min(row.bytes for row in drawn)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 3) if wide else (1, 2, 5)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(lambda size, _: show.bytes_text(size).replace(".0 ", " "))
    axes.set_xlabel("size of the file (logarithmic)")
    axes.set_ylabel("test accuracy (%)")
    for numbers, at in _apart(axes, [(row.bytes, 100 * row.accuracy) for row in own]):
        axes.annotate(numbers, at, xytext=(0, 7), textcoords="offset points", ha="center", fontsize="small")
    keys = [axes.plot([], [], styles[row.model][1], color=styles[row.model][0])[0] for row in own]
    said = [f"{i} {row.model}, {row.form}" for i, row in enumerate(own, start=1)]
    for name, (colour, marker) in styles.items():
        if any(row.model == name and row not in own for row in drawn):
            keys += axes.plot([], [], marker, ms=4, alpha=0.6, color=colour)
            said.append(f"{name}, earlier lessons")
    axes.legend(keys, said, loc="upper left", bbox_to_anchor=(0, -0.2), ncols=2, fontsize="small")
    words = "; ".join(f"{r.model} as {r.form}: {show.bytes_text(r.bytes)}, {100 * r.accuracy:.1f} %" for r in drawn)
    show.finding(title, alt=f"Test accuracy against file size, a point for each form. {words}.")


def _apart(axes, points: list[tuple[float, float]]) -> list[tuple[str, tuple[float, float]]]:
    """The points' numbers, from 1, and where they stand; those of points that nearly cover each other stand together."""
    groups: list[list[int]] = []
    placed = axes.transData.transform(points) if points else []
    for i, (x, y) in enumerate(placed):
        near = [group for group in groups if abs(placed[group[0]][0] - x) < 22 and abs(placed[group[0]][1] - y) < 14]
        if near:
            near[0].append(i)
        else:
            groups.append([i])
    return [(", ".join(str(i + 1) for i in group), points[group[0]]) for group in groups]


def kept() -> list[Row]:
    """The rows that the build has kept, of every lesson, in the lessons' order."""
    path = places.RECORDINGS / "ledger.json"
    return [Row(**row) for row in json.loads(path.read_text(encoding="utf-8"))] if path.exists() else []


def _write(every: list[Row]) -> None:
    ordered = sorted(every, key=lambda row: row.lesson)
    places.RECORDINGS.mkdir(parents=True, exist_ok=True)
    text = json.dumps([asdict(row) for row in ordered], indent=1) + "\n"
    (places.RECORDINGS / "ledger.json").write_text(text, encoding="utf-8")
