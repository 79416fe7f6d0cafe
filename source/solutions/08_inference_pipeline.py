# %% [markdown]
# # 08 The inference pipeline: exercises
#
# Three functions that stand between a client and a model. Fill in what is missing, run the cell, then its check.

# %%
import io

import numpy as np
from PIL import Image, ImageOps

from course_lib.idioms import begin, check

scratch = begin("08")

# %% [markdown]
# ## 08.1 Pictures as they come ★☆☆ · 15 minutes
#
# Your service wants bytes in the order red, green, blue. The web team sends PNGs with transparency, the video team
# frames from OpenCV, the archive grey scans, and the research team numbers from 0 to 1. Write one function that accepts
# them all.


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
# The order is an argument because it cannot be seen in the array. Three traps: `picture[..., ::-1]` on four channels
# moves the opacity to the front, while `[..., 2::-1]` counts down from the third. `astype(np.uint8)` cuts off, so that
# 0.999 becomes 254. And the range follows from the dtype, not from the largest number: a photograph taken in the dark
# may hold only bytes 0 and 1, and "divide by 255 if the maximum exceeds 1" would make it white. NaN is refused without
# a line of its own, because every comparison with it is false and `not (…).all()` turns that around; `(picture < 0) |
# (picture > 1)` would let it pass. Pillow's `Image.convert("RGB")` does much of this, but drops the opacity instead of
# showing paper.

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
# ## 08.3 Files from strangers ★★☆ · 15 minutes
#
# The upload page is public. Since then your decoder has met photographs that lie on their side, half files from bad
# connections, GIFs with a .jpg at the end, and one file of 50 kB that ended the container. Write the decoder for all of
# them.


# %%
def picture_from_file(raw, most_points):
    """Decodes a stranger's picture file.

    raw: bytes, of any content. most_points: how many points (width × height) a picture may have,
    an int from 1. Returns a new, writable uint8 array (H, W, 3), red, green, blue, turned as the
    file's orientation mark says. Files of other modes are brought to RGB by Pillow's `convert`.
    Raises ValueError for anything but a JPEG or PNG file, for a damaged or incomplete file, and
    for too many points; the points of such a file are not decoded.
    """
    # SOLUTION
    try:
        with Image.open(io.BytesIO(raw), formats=("JPEG", "PNG")) as image:
            if image.width * image.height > most_points:
                size = f"{image.width} × {image.height}"
                raise ValueError(f"expected {most_points:,} points at most, got {size}: shrink it")
            return np.array(ImageOps.exif_transpose(image).convert("RGB"))
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"expected a whole JPEG or PNG file: {error}") from error


# %%
check("08.3", picture_from_file)

# %% [markdown] tags=["solution"]
# `Image.open` reads the header alone, so the size is known before memory is spent. Three kinds of errors must become
# one: `OSError` (an unknown format is a kind of it, and so is a file that ends too early), `SyntaxError` for a broken
# PNG, and Pillow's own `DecompressionBombError`, which is neither. A client should not learn which library you use.
# `np.array` copies; `np.asarray` would return an array that nobody may write to. `ImageOps.exif_transpose` obeys all
# eight marks. A second way is a decoder that turns by itself: `cv2.imdecode` does so for JPEG files, and returns blue,
# green, red.
