"""Right answers to lesson 08's exercises that differ from the solutions."""

import io
import math
import numbers

import numpy as np
from PIL import Image, ImageOps


def _refuse(picture, order):
    floats = np.issubdtype(picture.dtype, np.floating)
    if order not in {"RGB", "BGR"} or not (floats or picture.dtype == np.uint8):
        raise ValueError("order or dtype")
    if not (picture.ndim == 2 or (picture.ndim == 3 and picture.shape[-1] in {3, 4})):
        raise ValueError("shape")
    if floats and picture.size and not (picture.min() >= 0 and picture.max() <= 1):
        raise ValueError("range")


def in_whole_numbers(picture, order="RGB"):
    _refuse(picture, order)
    if picture.dtype != np.uint8:
        return in_loops(picture, order)
    if picture.ndim == 2:
        return np.repeat(picture[:, :, None], 3, axis=2)
    colours = picture[..., [0, 1, 2] if order == "RGB" else [2, 1, 0]].astype(int)
    if picture.shape[2] == 4:
        opacity = picture[..., 3:].astype(int)
        colours = (colours * opacity + 255 * (255 - opacity) + 127) // 255
    return colours.astype(np.uint8)


def in_loops(picture, order="RGB"):
    _refuse(picture, order)
    result = np.empty((*picture.shape[:2], 3), np.uint8)
    for y in range(picture.shape[0]):
        for x in range(picture.shape[1]):
            point = np.atleast_1d(picture[y, x]).astype(float)
            point = point / 255 if picture.dtype == np.uint8 else point
            point = np.full(3, point[0]) if len(point) == 1 else point
            colours = point[:3][::-1] if order == "BGR" else point[:3]
            opacity = point[3] if len(point) == 4 else 1.0
            result[y, x] = [math.floor(255 * (c * opacity + 1 - opacity) + 0.5) for c in colours]
    return result


def in_float32(picture, order="RGB"):
    _refuse(picture, order)
    values = picture.astype(np.float32)
    if picture.dtype == np.uint8:
        values /= np.float32(255)
    if values.ndim == 2:
        values = np.dstack([values] * 3)
    first, green, last, *rest = np.moveaxis(values, -1, 0)
    red, blue = (last, first) if order == "BGR" else (first, last)
    opacity = rest[0] if rest else np.float32(1)
    return np.dstack([np.round((c * opacity + 1 - opacity) * 255) for c in (red, green, blue)]).astype(np.uint8)


def with_numbers_real(records, fields):
    lines, table = [], np.zeros((len(records), len(fields)), "f4")
    for r, record in enumerate(records):
        for k, (name, low, high) in enumerate(fields):
            try:
                value = record[name]
            except KeyError:
                lines.append(f"row {r}, {name}: missing")
                continue
            if isinstance(value, bool) or not isinstance(value, numbers.Real):
                lines.append(f"row {r}, {name}: {value!r} is no number, send {low} to {high}")
            elif math.isnan(value) or value < low or value > high:
                lines.append(f"row {r}, {name}: got {value!r}, not in [{low}, {high}]")
            else:
                table[r, k] = value
        lines.extend(f"row {r}, {name}: unknown" for name in sorted(set(record) - {f[0] for f in fields}))
    if lines:
        raise ValueError("\n".join(lines))
    return table


def a_problem_at_a_time(records, fields):
    def problem(value, low, high):
        if type(value) not in (int, float) and not isinstance(value, (np.integer, np.floating)):
            return f"not a number: {value!r}"
        return None if low <= value <= high else f"{value!r} is outside {low}..{high}"

    wrong = []
    for r, record in enumerate(records):
        rest = dict(record)
        for name, low, high in fields:
            said = problem(rest.pop(name), low, high) if name in rest else "missing"
            wrong += [f"row {r}, {name}: {said}"] if said else []
        wrong += [f"row {r}, {name}: column is unknown" for name in rest]
    if wrong:
        raise ValueError("\n".join(wrong))
    columns = [np.array([record[name] for record in records], np.float32) for name, _, _ in fields]
    return np.stack(columns, axis=1) if columns else np.zeros((len(records), 0), np.float32)


def converted_first(raw, most_points):
    try:
        image = Image.open(io.BytesIO(raw), formats=["png", "jpeg"])
    except Exception as error:
        raise ValueError("no picture") from error
    if np.prod(image.size) > most_points:
        raise ValueError(f"at most {most_points} points")
    try:
        return np.asarray(ImageOps.exif_transpose(image.convert("RGB"))).copy()
    except Exception as error:
        raise ValueError("damaged") from error


def by_its_first_bytes(raw, most_points):
    if not raw.startswith((b"\x89PNG\r\n\x1a\n", b"\xff\xd8")):
        raise ValueError("expected a JPEG or PNG file")
    try:
        image = Image.open(io.BytesIO(raw))
        width, height = image.size
        if width * height > most_points:
            raise ValueError("too many points")
        image.load()
        ImageOps.exif_transpose(image, in_place=True)
        return np.array(image.convert("RGB"), dtype=np.uint8)
    except Image.DecompressionBombError as error:
        raise ValueError("too many points") from error
    except (OSError, SyntaxError) as error:
        raise ValueError("damaged") from error


def with_a_table_of_turns(raw, most_points):
    turns = dict(enumerate([(), (0,), (3,), (1,), (5,), (4,), (6,), (2,)], start=1))
    try:
        with Image.open(io.BytesIO(raw), formats=("JPEG", "PNG")) as image:
            if image.height > most_points // image.width:
                raise ValueError("too many points")
            rgb = image.convert("RGB")
            for turn in turns.get(image.getexif().get(0x0112, 1), ()):
                rgb = rgb.transpose(Image.Transpose(turn))
            return np.array(rgb)
    except ValueError:
        raise
    except Exception as error:
        raise ValueError("damaged") from error


RIGHT = {
    "08.1": [in_whole_numbers, in_loops, in_float32],
    "08.2": [with_numbers_real, a_problem_at_a_time],
    "08.3": [converted_first, by_its_first_bytes, with_a_table_of_turns],
}
