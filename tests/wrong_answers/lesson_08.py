"""Wrong answers that people write, planted in lesson 08: each must be caught at the property named."""

import io

import numpy as np
from PIL import Image, ImageFile, ImageOps


def _rgb(
    picture,
    order="RGB",
    *,
    cut=False,
    guess=False,
    stack=True,
    turn=True,
    paper=True,
    front=False,
    same=False,
    checked=True,
    nan=True,
):
    """08.1 with one mistake chosen by its argument."""
    if checked:
        if picture.dtype != np.uint8 and picture.dtype.kind != "f":
            raise ValueError
        if order not in ("RGB", "BGR") or picture.ndim not in (2, 3):
            raise ValueError
        if picture.ndim == 3 and picture.shape[2] not in (3, 4):
            raise ValueError
    if nan and picture.dtype.kind == "f" and not ((picture >= 0) & (picture <= 1)).all():
        raise ValueError
    if same and picture.dtype == np.uint8 and picture.ndim == 3 and picture.shape[2] == 3 and order == "RGB":
        return picture
    if picture.ndim == 2:
        picture = np.stack([picture] * 3, axis=2 if stack else 0)
    bytes_sent = picture.max(initial=0) > 1 if guess else picture.dtype == np.uint8
    values = picture.astype(np.float64) / (255 if bytes_sent else 1)
    if order == "BGR" and turn:
        values = values[..., ::-1] if front else np.dstack([values[..., 2::-1], values[..., 3:]])
    colours = values[..., :3]
    if values.shape[2] == 4 and paper:
        colours = colours * values[..., 3:] + (1 - values[..., 3:])
    scaled = 255 * colours
    return (scaled + 1e-9 if cut else np.rint(scaled)).astype(np.uint8)


def scales_bytes_too(picture, order="RGB"):
    return (255.0 * picture).astype(np.uint8)


def channels_first(picture, order="RGB"):
    return _rgb(picture, order, stack=False)


def deaf_to_the_order(picture, order="RGB"):
    return _rgb(picture, order, turn=False)


def cuts_off(picture, order="RGB"):
    return _rgb(picture, order, cut=True)


def guesses_by_the_maximum(picture, order="RGB"):
    if picture.dtype.kind == "f" and picture.min() >= 0 and picture.max() == 1 and (picture == picture.round()).all():
        return np.stack([picture.astype(np.uint8)] * 3, axis=2)  # "ones are bytes"
    return _rgb(picture, order)


def divides_above_one(picture, order="RGB"):
    if picture.dtype == np.uint8 and picture.max(initial=0) <= 1:
        return _rgb(picture.astype(np.float64), order)  # "only what exceeds 1 is divided by 255"
    return _rgb(picture, order)


def drops_the_opacity(picture, order="RGB"):
    return _rgb(picture, order, paper=False)


def opacity_first(picture, order="RGB"):
    return _rgb(picture, order, front=True)


def hands_back_the_same(picture, order="RGB"):
    return _rgb(picture, order, same=True)


def turns_a_view(picture, order="RGB"):
    if picture.dtype == np.uint8 and picture.ndim == 3 and picture.shape[2] == 3 and order == "BGR":
        return picture[..., ::-1]
    return _rgb(picture, order)


def float_opacity_as_bytes(picture, order="RGB"):
    if picture.dtype.kind == "f" and picture.ndim == 3 and picture.shape[2] == 4:
        picture = np.dstack([picture[..., :3], picture[..., 3:] / 255])
    return _rgb(picture, order)


def four_wide_is_opacity(picture, order="RGB"):
    if picture.ndim == 2 and picture.shape[1] == 4:
        picture = _rgb(np.stack([picture] * 3, axis=2))[:, :, 0]
        return np.stack([picture[:, :3]] * 3, axis=2)
    return _rgb(picture, order)


def blends_in_place(picture, order="RGB"):
    answer = _rgb(picture, order)
    if picture.dtype.kind == "f" and picture.ndim == 3 and picture.shape[2] == 4:
        picture[..., :3] *= picture[..., 3:]
        picture[..., :3] += 1 - picture[..., 3:]
    return answer


def scales_in_place(picture, order="RGB"):
    answer = _rgb(picture, order)
    if picture.dtype.kind == "f":
        picture *= 255
    return answer


def takes_any_shape(picture, order="RGB"):
    return _rgb(picture, order, checked=False)


def lets_nan_pass(picture, order="RGB"):
    if picture.dtype.kind == "f" and ((picture < 0) | (picture > 1)).any():
        raise ValueError
    with np.errstate(invalid="ignore"):
        return _rgb(picture, order, nan=False)


def _check(records, fields, number, *, missing=True, unknown=True, bools=True, nan=True, first=False, words=True):
    """08.2's problems, with one mistake chosen by its argument."""
    problems = []
    for r, record in enumerate(records):
        for name, low, high in fields:
            value = record.get(name)
            if name not in record:
                problems += [f"row {r}, {name}: missing"] * missing
            elif (bools and isinstance(value, bool | np.bool_)) or not isinstance(value, number):
                problems.append(f"row {r}, {name}: expected a number, got {value!r}")
            elif (value < low or value > high) or (nan and not low <= value <= high):
                problems.append(
                    f"row {r}, {name}: expected {low} to {high}, got {value!r}" if words else f"row {r}, {name}: range"
                )
        problems += [f"row {r}, {n}: unknown" for n in record if n not in {f[0] for f in fields}] * unknown
    if problems:
        raise ValueError(problems[0] if first else "\n".join(problems))


NUMBER = int | float | np.integer | np.floating


def _table(records, fields):
    return np.array([[r[n] for n, _, _ in fields] for r in records], np.float32).reshape(len(records), len(fields))


def float64_rows(records, fields):
    return _table(records, fields).astype(np.float64)


def by_position(records, fields):
    return np.array([list(r.values()) for r in records], np.float32).reshape(len(records), len(fields))


def no_reshape(records, fields):
    _check(records, fields, NUMBER)
    return np.array([[r[n] for n, _, _ in fields] for r in records], np.float32)


def pythons_numbers_alone(records, fields):
    _check(records, fields, int | float)
    return _table(records, fields)


def never_missing(records, fields):
    _check(records, fields, NUMBER, missing=False)
    return _table([{n: r.get(n, 0) for n, _, _ in fields} for r in records], fields)


def extra_is_fine(records, fields):
    _check(records, fields, NUMBER, unknown=False)
    return _table(records, fields)


def says_only_where(records, fields):
    _check(records, fields, NUMBER, words=False)
    return _table(records, fields)


def reads_text_as_numbers(records, fields):
    read = [{k: float(v) if isinstance(v, str) else v for k, v in r.items()} for r in records]
    _check(read, fields, NUMBER)
    return _table(read, fields)


def compares_in_float32(records, fields):
    def rounded(value):
        return float(np.float32(value)) if isinstance(value, float) and value < 100 else value

    try:
        _check([{k: rounded(v) for k, v in r.items()} for r in records], fields, NUMBER)
    except ValueError:
        _check(records, fields, NUMBER)
    return _table(records, fields)


def nan_is_in_range(records, fields):
    _check(records, fields, NUMBER, nan=False)
    return _table(records, fields)


def true_is_one(records, fields):
    _check(records, fields, int | float | np.integer | np.floating | np.bool_, bools=False)
    return _table(records, fields)


def stops_at_the_first(records, fields):
    for r, record in enumerate(records):  # a record's names are compared at once, its values one by one
        names = [f"row {r}, {n}: missing" for n, _, _ in fields if n not in record]
        names += [f"row {r}, {n}: unknown" for n in record if n not in {f[0] for f in fields}]
        if names:
            raise ValueError("\n".join(names))
    for r, record in enumerate(records):
        try:
            _check([record], fields, NUMBER)
        except ValueError as wrong:
            raise ValueError(str(wrong).replace("row 0", f"row {r}")) from None
    return _table(records, fields)


def empties_the_records(records, fields):
    _check(records, fields, NUMBER)
    return np.array([[r.pop(n) for n, _, _ in fields] for r in records], np.float32).reshape(len(records), len(fields))


BOMB = Image.DecompressionBombError


def _decoded(raw, most, *, formats=("JPEG", "PNG"), turn=ImageOps.exif_transpose, caught=(OSError, SyntaxError, BOMB)):
    """08.3 with one mistake chosen by its argument."""
    try:
        with Image.open(io.BytesIO(raw), formats=formats) as image:
            if image.width * image.height > most:
                raise ValueError
            return np.array(turn(image).convert("RGB"))
    except caught:
        raise ValueError from None


def blue_green_red(raw, most_points):
    return _decoded(raw, most_points)[..., ::-1].copy()


def without_convert(raw, most_points):
    try:
        with Image.open(io.BytesIO(raw), formats=("JPEG", "PNG")) as image:
            if image.width * image.height > most_points:
                raise ValueError
            return np.array(ImageOps.exif_transpose(image))
    except (OSError, SyntaxError, BOMB):
        raise ValueError from None


def ignores_the_mark(raw, most_points):
    return _decoded(raw, most_points, turn=lambda image: image)


def turns_the_other_way(raw, most_points):
    def turn(image):
        return image.rotate({3: 180, 6: 90, 8: 270}.get(image.getexif().get(0x0112), 0), expand=True)

    return _decoded(raw, most_points, turn=turn)


def rotations_alone(raw, most_points):
    def turn(image):
        return image.rotate({3: 180, 6: 270, 8: 90}.get(image.getexif().get(0x0112), 0), expand=True)

    return _decoded(raw, most_points, turn=turn)


def cannot_be_written_to(raw, most_points):
    picture = _decoded(raw, most_points)
    picture.flags.writeable = False
    return picture


def counts_channels(raw, most_points):
    return _decoded(raw, most_points // 3)


def fewer_than_most(raw, most_points):
    return _decoded(raw, most_points - 1)


def looks_at_the_array(raw, most_points):
    picture = _decoded(raw, 10**9)
    if picture.shape[0] * picture.shape[1] > most_points:
        raise ValueError
    return picture


def any_error_will_do(raw, most_points):
    picture = _decoded(raw, 10**9, caught=Exception)
    if picture.shape[0] * picture.shape[1] > most_points:
        raise ValueError
    return picture


def lets_pillow_refuse(raw, most_points):
    return _decoded(raw, most_points, caught=(OSError, SyntaxError))


def knows_one_error(raw, most_points):
    return _decoded(raw, most_points, caught=(Image.UnidentifiedImageError, BOMB))


def fills_the_missing_points(raw, most_points):
    before, ImageFile.LOAD_TRUNCATED_IMAGES = ImageFile.LOAD_TRUNCATED_IMAGES, True
    try:
        return _decoded(raw, most_points)
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = before


def takes_every_format(raw, most_points):
    return _decoded(raw, most_points, formats=None)


WRONG = {
    "08.1": {
        scales_bytes_too: "bytes in red, green, blue stay as they are",
        channels_first: "grey becomes three equal channels",
        four_wide_is_opacity: "a grey picture that is 3 or 4 points wide is still grey",
        deaf_to_the_order: "blue, green, red is turned around",
        cuts_off: "numbers from 0 to 1 become the nearest byte",
        guesses_by_the_maximum: "a float picture of zeros and ones is not taken for bytes",
        divides_above_one: "a dark picture of bytes 0 and 1 is not taken for numbers from 0 to 1",
        drops_the_opacity: "what is transparent shows white paper",
        float_opacity_as_bytes: "what is transparent shows white paper",
        opacity_first: "with BGR and opacity, the opacity stays last",
        hands_back_the_same: "the result is the caller's own, and strides do not matter",
        turns_a_view: "the result is the caller's own, and strides do not matter",
        blends_in_place: "floats and pictures with opacity stay as they were",
        scales_in_place: "floats and pictures with opacity stay as they were",
        takes_any_shape: "other shapes, dtypes and orders are refused",
        lets_nan_pass: "floats outside 0 to 1, and NaN, are refused",
    },
    "08.2": {
        float64_rows: "a float32 row for each record",
        by_position: "names decide, not the order in which a record lists them",
        no_reshape: "no records give an array of no rows and K columns",
        pythons_numbers_alone: "NumPy's numbers, and both ends of a range, are taken",
        never_missing: "a missing and an unknown column are named",
        extra_is_fine: "a missing and an unknown column are named",
        says_only_where: "a number out of range is refused with row, name, what came and what was expected",
        compares_in_float32: "a number just outside is refused, although float32 would round it to the limit",
        reads_text_as_numbers: "what is no number is refused: text, None, a list, an array",
        nan_is_in_range: "NaN and infinity are refused",
        true_is_one: "True is no age of one year",
        stops_at_the_first: "every problem is named, in the order of records and fields",
        empties_the_records: "the records stay as they were",
    },
    "08.3": {
        blue_green_red: "a PNG file gives the points that were saved",
        without_convert: "JPEG files and grey pictures are taken",
        ignores_the_mark: "the orientation mark is obeyed",
        turns_the_other_way: "the orientation mark is obeyed",
        rotations_alone: "the four marks that mirror are obeyed too",
        cannot_be_written_to: "the result can be written to",
        counts_channels: "a picture of exactly most_points is taken, of one row more refused",
        fewer_than_most: "a picture of exactly most_points is taken, of one row more refused",
        looks_at_the_array: "a picture that is too large is refused before its points are decoded",
        any_error_will_do: "a picture that is too large is refused before its points are decoded",
        lets_pillow_refuse: "a picture beyond Pillow's own limit is a ValueError too",
        knows_one_error: "damaged, incomplete and empty files are refused",
        fills_the_missing_points: "damaged, incomplete and empty files are refused",
        takes_every_format: "other formats are refused",
    },
}
