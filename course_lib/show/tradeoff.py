"""The ledger's picture: accuracy against bytes, a panel for each model, with labels that cover nothing."""

import itertools
import math
import textwrap
import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np

from course_lib.show.colours import BLUE, GREEN, GREY, PURPLE, RED
from course_lib.show.figures import finding
from course_lib.show.page import bytes_text, put, table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Box = tuple[float, float, float, float]
"""Left, bottom, right, top; in points."""

LOOKS = {
    "digits_cnn": (BLUE, "o"), "digits_keras": (RED, "s"), "digits_pipeline": (GREEN, "D"),
    "lenet_300_100": (PURPLE, "^"), "digits_student": (GREY, "v"),
}  # fmt: skip
"""A model's colour and mark, the same in every lesson. The panels stand in this order."""

OTHER_LOOKS = [(BLUE, "P"), (RED, "X"), (GREEN, "h"), (PURPLE, "<"), (GREY, "p")]

TURNS = (0, 4, 12, 8, 2, 6, 14, 10, 1, 7, 9, 15, 3, 5, 11, 13)
"""Where a label is tried, in sixteenths of a turn: right, above, below, left, then between these."""

WIDTH_IN, TEXT_PT, SMALL_PT = 4.5, 9.5, 8.5
"""Narrow, so that a phone of 360 pixels shrinks the text to 10 and 9 pixels, no further."""


class Form(Protocol):
    """A model in one form: a row of the ledger."""

    model: str
    form: str
    accuracy: float
    bytes: int


def look(model: str) -> tuple[str, str]:
    """The model's colour and mark; those of a model without an entry depend on its name alone."""
    return LOOKS.get(model) or OTHER_LOOKS[zlib.crc32(model.encode()) % len(OTHER_LOOKS)]


def picture(own: Sequence[Form], earlier: Sequence[Form], title: str, also: Sequence[Form] = ()) -> None:
    """Draws this lesson's forms as filled marks, those of earlier lessons as hollow ones.

    Each mark has its form's name beside it; where there is no room for all names, this lesson's forms and those in
    `also` alone have theirs; where there is none for these, they have numbers, which a table below explains, and a crowd
    of marks has one label. title: the finding. Raises RuntimeError where even so there is no room.
    """
    import matplotlib.pyplot as plt

    every = sorted([*own, *earlier], key=lambda row: (row.bytes, -row.accuracy))
    order = list(dict.fromkeys([*LOOKS, *(row.model for row in every)]))
    panels = {model: rows for model in order if (rows := [row for row in every if row.model == model])}
    some = [*own, *also]
    for labelled, numbered, height_in, crowd_pt in (
        (every, False, 0.12, 3), (some, False, 0.12, 3), (some, False, 0.2, 3),
        (some, True, 0.12, 3), (some, True, 0.2, 8), (some, True, 0.2, 30), (some, True, 0.2, 1000),
    ):  # fmt: skip
        numbers: dict[Form, int] = {}
        room_in = [sum(height_in if row in labelled else height_in / 4 for row in rows) for rows in panels.values()]
        axes = _axes(panels, own, room_in)
        if all(_label(axis, rows, own, [row for row in rows if row in labelled], crowd_pt, numbers if numbered else None)
                for axis, rows in zip(axes, panels.values())):  # fmt: skip
            break
        plt.close(axes[0].figure)
    else:
        raise RuntimeError(f"expected forms that one picture has room for, got {len(own)}: name one `model`")
    finding(textwrap.fill(title, 60), alt=_in_words(panels, own))
    if numbers:
        put(table(["number", "model", "form", "accuracy", "bytes"], [
            [number, row.model, row.form, f"{100 * row.accuracy:.1f} %", f"{row.bytes:,}"]
            for row, number in numbers.items()
        ], caption="The numbers in the picture"))  # fmt: skip


def _axes(panels: dict[str, list[Form]], own: Sequence[Form], room_in: list[float]) -> "list[Axes]":
    """A panel for each model, one above the other, with its marks; room_in: the panels' heights above the least."""
    import matplotlib.pyplot as plt
    from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator

    heights = [0.6 + room for room in room_in]
    figure, grid = plt.subplots(
        len(panels), figsize=(WIDTH_IN, sum(heights) + 0.3 * len(panels) + 0.7), sharex=True, sharey=True,
        squeeze=False, height_ratios=heights,
    )  # fmt: skip
    axes = list(grid[:, 0])
    rows = [row for each in panels.values() for row in each]
    low, high = _reach([row.bytes for row in rows])
    percent = [100 * row.accuracy for row in rows]
    room = max(1.5, 0.15 * (max(percent) - min(percent)))  # a smaller range would make noise look like a loss
    axes[0].set(xscale="log", xlim=(low, high), ylim=(max(0, min(percent) - room), min(100, max(percent) + room)))
    for axis, (model, forms) in zip(axes, panels.items()):
        colour, mark = look(model)
        for row in forms:
            filled = row in own
            axis.plot(row.bytes, 100 * row.accuracy, mark, ms=8 if filled else 5, mec="white" if filled else colour,
                      mfc=colour if filled else "none", zorder=3, clip_on=False)  # fmt: skip
        axis.grid(color="0.93")
        axis.tick_params(labelsize=SMALL_PT, length=3)
        axis.set_title(model, loc="center", x=0, ha="left", fontsize=TEXT_PT, fontweight="bold", pad=5)
        axis.xaxis.set_major_locator(FixedLocator(_ticks(low, high)))
        axis.xaxis.set_minor_locator(NullLocator())
        axis.xaxis.set_major_formatter(lambda size, _: bytes_text(round(size)).replace(".0 ", " "))
        axis.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 2.5, 5, 10]))
        axis.yaxis.set_major_formatter(lambda share, _: f"{share:g} %")
    both = 0 < len(own) < len(rows)
    key = "\nfilled: this lesson; hollow: earlier lessons" if both else ""
    axes[-1].set_xlabel(f"size of the file (logarithmic){key}", fontsize=TEXT_PT)
    figure.supylabel("test accuracy", fontsize=TEXT_PT)
    figure.tight_layout()
    return axes


def _in_words(panels: dict[str, list[Form]], own: Sequence[Form]) -> str:
    """What is seen: in each panel this lesson's forms, and how far those of earlier lessons reach."""
    said = []
    for model, forms in panels.items():
        filled, hollow = [row for row in forms if row in own], [row for row in forms if row not in own]
        parts = [f"filled, this lesson's forms: {_these(filled)}"] if filled else []
        parts += [f"hollow, forms of earlier lessons: {_these(hollow, 1)}"] if hollow else []
        said.append(f"{model}: {'; '.join(parts)}.")
    return " ".join([f"Test accuracy against the file's size; panels: {len(panels)}, a model in each.", *said])


def _these(forms: list[Form], most: int = 6) -> str:
    """Up to `most` forms one by one, else how far they reach."""
    if len(forms) <= most:
        return ", ".join(f"{row.form} at {bytes_text(row.bytes)} and {100 * row.accuracy:.1f} %" for row in forms)
    sizes, shares = [row.bytes for row in forms], [100 * row.accuracy for row in forms]
    return (f"{len(forms)} from {bytes_text(min(sizes))} to {bytes_text(max(sizes))} and from {min(shares):.1f} % "
            f"to {max(shares):.1f} %")  # fmt: skip


def _reach(sizes: list[int]) -> tuple[float, float]:
    """From where to where the axis of bytes goes: at least from 1 to 6, so that it has two ticks."""
    low, high = min(sizes) / 1.25, max(sizes) * 1.25
    wider = max(1, math.sqrt(6 * low / high))
    return low / wider, high * wider


def _ticks(low: float, high: float) -> list[float]:
    """Round sizes from low to high, as many as have room for their labels."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for step, firsts in ((1, (1, 2, 5)), (1, (1, 3)), (1, (1,)), (2, (1,)), (3, (1,))):
        ticks = [first * 10.0**decade for decade in decades[::step] for first in firsts]
        ticks = [tick for tick in ticks if low <= tick <= high]
        nearest = min((b / a for a, b in zip(ticks, ticks[1:])), default=high)
        if math.log10(nearest) / math.log10(high / low) > 0.16:  # of the axis, which is about 260 points wide
            break
    return ticks


def _label(
    axis: "Axes", rows: list[Form], own: Sequence[Form], labelled: list[Form], crowd_pt: float,
    numbers: dict[Form, int] | None,
) -> bool:  # fmt: skip
    """Writes a name beside each mark, or with `numbers` the next number; False where one finds no room.

    Marks closer than crowd_pt have one label, those of this lesson one of their own.
    """
    point = axis.figure.dpi / 72
    at = dict(zip(rows, axis.transData.transform([(row.bytes, 100 * row.accuracy) for row in rows]) / point))
    groups: list[list[Form]] = []
    for row in labelled:
        near = [
            group for group in groups
            if math.dist(at[group[0]], at[row]) < crowd_pt and (group[0] in own) == (row in own)
        ]  # fmt: skip
        near[0].append(row) if near else groups.append([row])
    taken: list[Box] = []
    for group in groups:
        text = ", ".join(row.form for row in group)
        if numbers is not None:
            numbers |= {row: len(numbers) + i for i, row in enumerate(group, 1)}
            first, last = numbers[group[0]], numbers[group[-1]]
            text = str(first) if first == last else f"{first}–{last}"
        colour = "black" if group[0] in own else "0.35"
        note = axis.annotate(text, (group[0].bytes, 100 * group[0].accuracy), xytext=(0, 0), ha="center", va="center",
                             textcoords="offset points", fontsize=SMALL_PT, color=colour, zorder=4)  # fmt: skip
        extent = note.get_window_extent(axis.figure.canvas.get_renderer())
        crowd = [each for each in at.values() if math.dist(each, at[group[0]]) < crowd_pt]
        others = [each for each in at.values() if math.dist(each, at[group[0]]) >= crowd_pt]
        size, frame = (extent.width / point + 2, extent.height / point), axis.bbox.extents / point
        place = _place(at[group[0]], size, crowd, others, frame, taken)
        if place is None:
            return False
        box, line = place
        taken += [box, *line]
        note.set_position(((box[0] + box[2]) / 2 - at[group[0]][0], (box[1] + box[3]) / 2 - at[group[0]][1]))
        if line:
            ends = [at[group[0]] * point, np.add(line[-1][:2], 1) * point]
            axis.plot(*axis.transData.inverted().transform(ends).T, lw=0.8, color="0.35", zorder=2)
    return True


def _place(
    at: np.ndarray, size: tuple[float, float], crowd: list[np.ndarray], others: list[np.ndarray], frame: np.ndarray,
    taken: list[Box],
) -> tuple[Box, list[Box]] | None:  # fmt: skip
    """The nearest free box for a label of the mark `at`, and the line between them as small boxes; None without room.

    All in points. crowd: marks that the label must not cover, `at` among them. others: marks from which it keeps away,
    so that nobody takes it for theirs. frame: where it has to stay. taken: labels and lines so far.
    """
    marks = [_around(*mark, 4) for mark in crowd] + [_around(*mark, 7) for mark in others]
    beside = [_around(*mark, 4) for mark in others]
    for distance, turn in itertools.product((6, 10, 16, 24, 34, 46, 60, 76), TURNS):
        x = at[0] + math.cos(turn * math.pi / 8) * (size[0] / 2 + distance)
        y = at[1] + math.sin(turn * math.pi / 8) * (size[1] / 2 + distance)
        box = (x - size[0] / 2, y - size[1] / 2, x + size[0] / 2, y + size[1] / 2)
        if box[0] < frame[0] or box[1] < frame[1] or box[2] > frame[2] or box[3] > frame[3]:
            continue
        line = _line(at, box) if distance > 6 else []
        if not _overlap([box], [*taken, *marks]) and not _overlap(line, [*taken, *beside]):
            return box, line
    return None


def _around(x: float, y: float, reach: float) -> Box:
    return x - reach, y - reach, x + reach, y + reach


def _line(at: np.ndarray, box: Box) -> list[Box]:
    """Small boxes from outside of the mark to the label's nearest edge."""
    end = np.clip(at, box[:2], box[2:])
    length = max(math.dist(at, end), 7)
    return [_around(*(at + min(1, part / length) * (end - at)), 1) for part in np.arange(6, length + 2, 2)]


def _overlap(some: list[Box], others: list[Box]) -> bool:
    """Whether one of `some` covers a part of one of `others`."""
    if not some or not others:
        return False
    one, other = np.array(some)[:, None], np.array(others)[None]
    return bool(((one[..., :2] < other[..., 2:]) & (one[..., 2:] > other[..., :2])).all(axis=-1).any())
