# %% [markdown]
# # 08 The inference pipeline: exercises
#
# Four functions that stand between a caller and a model. Fill in what is missing, run the cell, then its check.

# %%
import unicodedata
import zlib

import numpy as np

from course_lib.idioms import begin, check

scratch = begin("08")

# %% [markdown]
# ## 08.1 Pictures as they come ★☆☆ · 15 minutes
#
# Your service wants bytes in the order red, green, blue. The web team sends PNGs with transparency, the video team
# frames from OpenCV, the archive grey scans, and the research team numbers from 0 to 1. Write the line at the door,
# once, for all of them.


# %%
def as_rgb(picture, order="RGB"):
    """Brings a picture to bytes, height × width × (red, green, blue).

    picture: array (H, W), or (H, W, 3), or (H, W, 4) with opacity last; uint8, 0 to 255, or
    float, 0 to 1. order: "RGB" or "BGR", the order of its colours; opacity is last in both. What
    is transparent shows white paper: colour × opacity + white × (1 − opacity). Numbers from 0 to
    1 become the nearest byte. Returns a new uint8 array (H, W, 3); `picture` stays as it was.
    Raises ValueError for another shape, dtype or order, and for floats outside 0 to 1 or NaN.
    """
    # SOLUTION
    if picture.dtype != np.uint8 and picture.dtype.kind != "f":
        raise ValueError(f"expected uint8 or float, got {picture.dtype}: convert it knowingly")
    if picture.ndim == 2:
        picture = np.stack([picture] * 3, axis=2)
    if order not in ("RGB", "BGR") or picture.ndim != 3 or picture.shape[2] not in (3, 4):
        raise ValueError(
            f"expected (H, W), (H, W, 3) or (H, W, 4) in RGB or BGR, got {picture.shape}, {order}"
        )
    if picture.dtype.kind == "f" and not ((picture >= 0) & (picture <= 1)).all():
        raise ValueError("expected floats from 0 to 1: divide by 255, or send bytes")
    values = picture.astype(np.float64) / (255 if picture.dtype == np.uint8 else 1)
    colours = values[..., :3] if order == "RGB" else values[..., 2::-1]
    if values.shape[2] == 4:
        colours = colours * values[..., 3:] + (1 - values[..., 3:])
    return np.rint(255 * colours).astype(np.uint8)


# %%
check("08.1", as_rgb)

# %% [markdown] tags=["solution"]
# The order is an argument because it cannot be seen in the array. Two traps: `picture[..., ::-1]` on four channels
# moves the opacity to the front, while `[..., 2::-1]` counts down from the third; and `astype(np.uint8)` cuts off, so
# that 0.999 becomes 254. NaN is refused without a line of its own, because every comparison with it is false and `not
# (…).all()` turns that around; `(picture < 0) | (picture > 1)` would let it pass. Pillow's `Image.convert("RGB")` does
# much of this, but drops the opacity instead of showing paper.

# %% [markdown]
# ## 08.2 Say what was wrong ★★☆ · 15 minutes
#
# A partner's nightly job sends patients as JSON objects. It failed, they mended one column, it failed at the next, for
# five nights. Write the check that names everything at once, and puts the columns into the model's order.


# %%
def rows_from_records(records, fields):
    """Turns records into a model's input, or says everything that is wrong with them.

    records: list of N dicts, column name to number. fields: list of K triples (name, low, high);
    a number may equal low or high. A number is an int or a float, of Python or NumPy, but no
    bool and not NaN. Returns a float32 array (N, K), columns in the order of `fields`, rows in
    that of `records`; N may be 0. Raises ValueError with one line for each problem, in the order
    of the records and in each of `fields`, unknown columns last: "row R, NAME: …", where R counts
    from 0. A missing column's line ends in "missing", an unknown one's in "unknown"; every other
    line holds repr() of what came, and for a number also low and high as they are printed.
    """
    # SOLUTION
    problems, known = [], {name for name, _, _ in fields}
    for r, record in enumerate(records):
        for name, low, high in fields:
            value = record.get(name)
            if name not in record:
                problems.append(f"row {r}, {name}: missing")
            elif isinstance(value, bool | np.bool_) or not isinstance(
                value, int | float | np.integer | np.floating
            ):
                problems.append(f"row {r}, {name}: expected a number, got {value!r}")
            elif not low <= value <= high:
                problems.append(f"row {r}, {name}: expected {low} to {high}, got {value!r}")
        problems += [f"row {r}, {name}: unknown" for name in record if name not in known]
    if problems:
        raise ValueError("\n".join(problems))
    table = [[record[name] for name, _, _ in fields] for record in records]
    return np.array(table, dtype=np.float32).reshape(len(records), len(fields))


# %%
check("08.2", rows_from_records)

# %% [markdown] tags=["solution"]
# Names decide, never positions: a dict's own order is whatever the caller wrote. `not low <= value <= high` refuses
# NaN as well. A bool is an int in Python, so `isinstance(True, int)` holds, and a True in the column "age" would be a
# patient of one year. The `reshape` is for no records: `np.array([])` has the shape (0,), not (0, K). A validation
# library such as pydantic collects all problems in the same way, and for the same reason.

# %% [markdown]
# ## 08.3 What to do, by what it costs ★★☆ · 15 minutes
#
# "Above 0.5 we approve." Why 0.5? And what of a third choice, to ask a person? A decision is an *action*, and there
# may be more or fewer actions than classes. Write the rule from which Chow's rule and the tumour's threshold both
# follow.


# %%
def cheapest_action(probabilities, costs):
    """For each example the action with the lowest expected cost.

    probabilities: float array (N, C), calibrated; row n holds P(class c) for example n. N may be
    0. costs: float array (C, K); costs[c, k] is what action k costs where class c is the truth,
    in any one unit, gains negative. The expected cost of action k is the sum over c of
    P(class c) × costs[c, k], in float64. Of equal ones the first is taken. Returns (actions,
    expected): int64 (N,), and float64 (N,) in the unit of costs. Raises ValueError where the
    shapes do not fit, where a number is not finite, where a probability is negative, and where a
    row's sum is further than 0.001 from 1.
    """
    # SOLUTION
    p, costs = np.asarray(probabilities, np.float64), np.asarray(costs, np.float64)
    if p.ndim != 2 or costs.ndim != 2 or p.shape[1] != costs.shape[0] or costs.shape[1] == 0:
        raise ValueError(f"expected (N, C) and (C, K), got {p.shape} and {costs.shape}")
    if not (np.isfinite(p).all() and np.isfinite(costs).all()):
        raise ValueError("expected finite probabilities and costs")
    if (p < 0).any() or (np.abs(p.sum(axis=1) - 1) > 0.001).any():
        raise ValueError("expected rows of probabilities that add up to 1: apply a softmax first")
    expected = p @ costs
    actions = expected.argmin(axis=1)
    return actions, expected[np.arange(len(p)), actions]


# %%
check("08.3", cheapest_action)

# %% [markdown] tags=["solution"]
# One product of matrices. With costs 0 on the diagonal and 1 elsewhere it is the largest probability. One column more,
# all of it $c_{ask}$, is the person who is asked: Chow's rule. Two classes and two actions give the tumour's
# threshold. The check of the sums matters more than it looks: logits have the right shape too, and would be multiplied
# without complaint. A second way to see it: `min` over the actions of linear functions of $p$, so that the regions of
# equal decision are convex polygons.

# %% [markdown]
# ## 08.4 The same buckets tomorrow ★★★ · 20 minutes
#
# The search team rewrites your text model's preparation in another language, from the description below alone. Write
# it in Python so that both count the same, bit for bit, in every process and for every spelling.


# %%
def hashed_counts(texts, sizes=(1, 2, 3), buckets=1024):
    """Counts the n-grams of each text in buckets that are the same in every process.

    texts: list of N str; N may be 0. Each is first brought to NFC, then case-folded, then brought
    to NFC again, and gets one blank in front and one behind. sizes: the n of the n-grams, in
    characters (Unicode code points, not bytes). buckets: how many, from 1. An n-gram's bucket is
    zlib.crc32 of its UTF-8 bytes, modulo buckets. Returns float32 (N, buckets). Raises TypeError
    where `texts` is itself a str, and ValueError for fewer than one bucket.
    """
    # SOLUTION
    if isinstance(texts, str):
        raise TypeError("expected a list of texts, got one: put it into a list")
    if buckets < 1:
        raise ValueError(f"expected one bucket or more, got {buckets}")
    counts = np.zeros((len(texts), buckets), np.float32)
    for row, text in zip(counts, texts):
        folded = unicodedata.normalize("NFC", text).casefold()
        text = f" {unicodedata.normalize('NFC', folded)} "
        for n in sizes:
            for start in range(len(text) - n + 1):
                row[zlib.crc32(text[start : start + n].encode("utf-8")) % buckets] += 1
    return counts


# %%
check("08.4", hashed_counts)

# %% [markdown] tags=["solution"]
# Every word of the docstring is a way to be wrong: `hash()` instead of a checksum, bytes instead of characters,
# `lower()` instead of `casefold()` ("Straße" and "STRASSE" should meet). Why NFC twice? Folding can take a character
# apart: "ǰ" folds to "j" and a hook, and only the second NFC joins them again. A str is refused because it is a
# sequence of str, and would be counted letter by letter without an error. A second way: `np.bincount` or `np.add.at`
# over a list of buckets; `counts[row, list_of_buckets] += 1` counts a repeated bucket once.
