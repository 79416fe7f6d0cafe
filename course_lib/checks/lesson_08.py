"""Checks of lesson 08, the inference pipeline."""

import io
import math
import struct
import zlib
from collections.abc import Callable, Iterator
from unittest import mock

import numpy as np
from PIL import Image, ImageFile

from course_lib.checks import Register, raises
from course_lib.idioms.exercises import Property

EXERCISES = Register()


@EXERCISES.add("08.1", "Pictures as they come")
def pictures(answer: Callable) -> Iterator[Property]:
    """answer(picture, order="RGB") -> uint8 (H, W, 3)."""
    random = np.random.default_rng(8)
    colours = random.integers(0, 256, (5, 7, 3), dtype=np.uint8)
    grey = colours[..., 0]

    def is_(got: object, expected: np.ndarray) -> bool:
        return isinstance(got, np.ndarray) and got.dtype == np.uint8 and np.array_equal(got, expected)

    yield ("bytes in red, green, blue stay as they are", lambda: is_(answer(colours), colours), [
        "The easiest case: what goes in is what should come out.",
        "Does every byte survive the way to 0 … 1 and back? Round, do not cut off.",
        "np.rint(255 * values).astype(np.uint8)",
    ])  # fmt: skip
    yield ("grey becomes three equal channels", lambda: is_(answer(grey), np.dstack([grey] * 3)), [
        "A grey picture has two axes.",
        "Which axis do the channels lie on?",
        "np.stack([picture] * 3, axis=2)",
    ])  # fmt: skip
    yield ("a grey picture that is 3 or 4 points wide is still grey", lambda: all(
        is_(answer(grey[:, :wide]), np.dstack([grey[:, :wide]] * 3)) for wide in (3, 4)
    ), [
        "A grey picture may be 4 points wide. Are these its channels?",
        "The number of axes says whether a picture is grey, not the length of the last one.",
        "Ask picture.ndim == 2 before you look at picture.shape[-1].",
    ])  # fmt: skip
    yield ("blue, green, red is turned around", lambda: is_(answer(colours, "BGR"), colours[..., ::-1]), [
        "Nothing in the array says in which order its colours are: the argument does.",
        "Turn the last axis, not the rows.",
        "picture[..., ::-1] for three channels",
    ])  # fmt: skip
    steps = np.array([0, 0.1, 0.5, 0.9985, 1])[None, :, None].repeat(3, axis=2)
    nearest = np.array([0, 26, 128, 255, 255], np.uint8)[None, :, None].repeat(3, axis=2)
    yield ("numbers from 0 to 1 become the nearest byte", lambda: all(
        is_(answer(steps.astype(kind)), nearest) for kind in (np.float32, np.float64)
    ), [
        "Try 0.9985: 255 times that is 254.6.",
        "astype(np.uint8) cuts off what is behind the point.",
        "np.rint before astype (np.rint(127.5) is 128)",
    ])  # fmt: skip
    yield ("a float picture of zeros and ones is not taken for bytes", lambda: is_(
        answer(np.float32([[0, 1], [1, 1]])), np.uint8([[0, 255], [255, 255]])[..., None].repeat(3, axis=2)
    ), [
        "A float picture whose largest number is 1: black and white, or almost black?",
        "The dtype says which it is, not the largest number.",
        "Divide by 255 where picture.dtype == np.uint8, and only there.",
    ])  # fmt: skip
    yield ("a dark picture of bytes 0 and 1 is not taken for numbers from 0 to 1", lambda: is_(
        answer(np.uint8([[0, 1], [1, 1]])), np.uint8([[0, 1], [1, 1]])[..., None].repeat(3, axis=2)
    ), [
        "A picture taken in the dark: its largest byte is 1.",
        "The dtype says which it is, not the largest number. Bytes stay bytes.",
        "Divide by 255 where picture.dtype == np.uint8, also where picture.max() is 1.",
    ])  # fmt: skip
    opacity = np.uint8([[0, 255, 51, 128]])[..., None]
    over = np.concatenate([np.full((1, 4, 3), (200, 100, 0), np.uint8), opacity], axis=2)
    share = opacity / 255.0
    paper = np.rint(np.array([200.0, 100.0, 0.0]) * share + 255 * (1 - share)).astype(np.uint8)
    yield ("what is transparent shows white paper", lambda: is_(answer(over), paper) and is_(answer(over / 255.0), paper), [
        "Opacity 0: what should one see?",
        "Dropping the fourth channel shows colours that were never meant to be seen.",
        "colour * opacity + 1 * (1 - opacity), with opacity from 0 to 1, also where floats came; keep the axis: values[..., 3:]",
    ])  # fmt: skip
    swapped = over[..., [2, 1, 0, 3]]
    yield ("with BGR and opacity, the opacity stays last", lambda: is_(answer(swapped, "BGR"), paper), [
        "Four channels in the order blue, green, red, opacity.",
        "[..., ::-1] would put the opacity first.",
        "values[..., 2::-1] counts down from the third channel.",
    ])  # fmt: skip

    def leaves_it() -> bool:
        kept = colours.copy()
        for order in ("RGB", "BGR"):
            answer(colours, order)[...] = 0
        answer(grey)[...] = 0
        strided = np.asfortranarray(colours)[::-2, ::3]
        return np.array_equal(colours, kept) and is_(answer(strided), strided)

    def leaves_floats() -> bool:
        sent = [over / 255.0, (over / 255.0).astype(np.float32), colours / 255.0, over.copy()]
        kept = [each.copy() for each in sent]
        for each, order in zip(sent, ("RGB", "BGR", "RGB", "BGR")):
            answer(each, order)
        return all(map(np.array_equal, sent, kept))

    yield ("the result is the caller's own, and strides do not matter", leaves_it, [
        "Write into the result: does `picture` change?",
        "An array that needs no conversion must be copied all the same.",
        "picture.copy(), or any arithmetic, makes a new array.",
    ])  # fmt: skip
    yield ("floats and pictures with opacity stay as they were", leaves_floats, [
        "Keep a copy of the float picture. Is it the same after the call?",
        "picture *= 255 and picture[..., :3] *= opacity change the caller's array.",
        "picture * 255 makes a new array; picture *= 255 does not.",
    ])  # fmt: skip
    yield ("other shapes, dtypes and orders are refused", lambda: all(raises(ValueError, answer, *bad) for bad in (
        (colours[0, :, 0],), (colours[..., :2],), (colours[None],), (colours.transpose(2, 0, 1)[:, :, :5],),
        (colours.astype(np.int64),), (colours > 9,), (colours, "GRB"), (colours, "rgb"), (grey, "XYZ"),
    )), [
        "Two channels, five, a batch, int64, booleans, the order GRB: what does yours say to each?",
        "int64 may hold bytes or anything: the docstring takes uint8 and floats alone.",
        "Check dtype, ndim, shape[2] in (3, 4) and order in ('RGB', 'BGR') before you compute.",
    ])  # fmt: skip
    yield ("floats outside 0 to 1, and NaN, are refused", lambda: all(
        raises(ValueError, answer, np.full((2, 2, 3), value)) for value in (-0.1, 1.5, 255.0, math.nan, math.inf)
    ) and raises(ValueError, answer, np.full((1, 1, 4), (0.5, 0.5, 0.5, 1.5))), [
        "A float picture from 0 to 255 is the commonest mistake of all.",
        "Every comparison with NaN is false: (x < 0) | (x > 1) lets it pass.",
        "if not ((picture >= 0) & (picture <= 1)).all(): raise ValueError(…)",
    ])  # fmt: skip


@EXERCISES.add("08.2", "Say what was wrong")
def records(answer: Callable) -> Iterator[Property]:
    """answer(records, fields) -> float32 (N, K)."""
    fields = [("age", 0, 120), ("bmi", 10.0, 80.0), ("bp", 30, 250)]

    def good() -> list[dict]:
        return [{"age": 50, "bmi": 22.5, "bp": 80}, {"bp": 120.0, "age": 0, "bmi": 80.0}]

    def said(some: list[dict]) -> list[str]:
        try:
            answer(some, fields)
        except NotImplementedError:
            raise
        except ValueError as refused:
            return str(refused).splitlines()
        return []

    yield ("a float32 row for each record", lambda: answer(good()[:1], fields).dtype == np.float32
           and answer(good()[:1], fields).tolist() == [[50, 22.5, 80]], [
        "One record, three columns.",
        "What dtype does the docstring promise?",
        "np.array([[record[name] for name, _, _ in fields] for record in records], dtype=np.float32)",
    ])  # fmt: skip
    yield ("names decide, not the order in which a record lists them", lambda: answer(good(), fields).tolist()
           == [[50, 22.5, 80], [0, 80, 120]], [
        "The second record lists bp first.",
        "record.values() is in the caller's order.",
        "record[name] for each name of `fields`",
    ])  # fmt: skip
    yield ("no records give an array of no rows and K columns", lambda: answer([], fields).shape == (0, 3), [
        "A night without patients is no error.",
        "What is the shape of np.array([])?",
        ".reshape(len(records), len(fields))",
    ])  # fmt: skip
    numpy_record = {"age": np.int64(120), "bmi": np.float32(10), "bp": np.float64(30)}
    yield ("NumPy's numbers, and both ends of a range, are taken", lambda: answer([numpy_record], fields).tolist() == [[120, 10, 30]], [
        "np.int64 is no int, and np.float32 no float.",
        "low <= value <= high, with both ends.",
        "isinstance(value, int | float | np.integer | np.floating)",
    ])  # fmt: skip
    yield ("a missing and an unknown column are named", lambda: [
        (line.partition(": ")[0], line.split()[-1]) for line in said([{"age": 1, "bmi": 20.0, "weight": 70}])
    ] == [("row 0, bp", "missing"), ("row 0, weight", "unknown")], [
        "bp is missing, weight is not asked for.",
        "The lines are 'row 0, bp: missing' and 'row 0, weight: unknown', in this order.",
        "First walk through fields, then through the record's names that are no field's.",
    ])  # fmt: skip

    def line_of(value: object) -> str:
        lines = said([good()[0], {"age": 1, "bmi": value, "bp": 100}])
        return lines[0] if len(lines) == 1 else ""

    def named(value: object, *words: str) -> bool:
        line = line_of(value)
        return line.startswith("row 1, bmi: ") and all(word in line for word in (repr(value), *words))

    yield ("a number out of range is refused with row, name, what came and what was expected", lambda: named(220.0, "10.0", "80.0")
           and named(9.999, "10.0", "80.0"), [
        "The second record's bmi is 220.0; its line begins with 'row 1, bmi: '.",
        "Whoever reads the line should see 10.0, 80.0 and 220.0 in it.",
        'f"row {r}, {name}: expected {low} to {high}, got {value!r}"',
    ])  # fmt: skip
    yield ("a number just outside is refused, although float32 would round it to the limit", lambda: named(80.000001, "10.0", "80.0"), [
        "80.000001 is larger than 80. What is np.float32(80.000001)?",
        "Compare the number that came, before it becomes a float32.",
        "if not low <= record[name] <= high: …, and np.array(…, dtype=np.float32) at the end",
    ])  # fmt: skip
    yield ("what is no number is refused: text, None, a list, an array", lambda: all(
        named(value) for value in ("22.5", None, [22.5], np.array([22.5]))
    ), [
        'A JSON job sends "22.5" as text sooner or later.',
        "float('22.5') works, and hides that the sender is broken. A comparison with None is a TypeError, not a ValueError.",
        "if not isinstance(value, int | float | np.integer | np.floating): …",
    ])  # fmt: skip
    yield ("NaN and infinity are refused", lambda: named(math.nan) and named(math.inf) and named(np.float32("nan")), [
        "JSON readers take the token NaN.",
        "Every comparison with NaN is false: value < low or value > high lets it pass.",
        "if not low <= value <= high:",
    ])  # fmt: skip
    truths = (True, np.True_)
    yield ("True is no age of one year", lambda: all(
        [line[:12] for line in said([{"age": truth, "bmi": 20.0, "bp": 80}])] == ["row 0, age: "] for truth in truths
    ), [
        "isinstance(True, int) is True in Python.",
        "Ask for a bool before you ask for a number, NumPy's own too.",
        "isinstance(value, bool | np.bool_)",
    ])  # fmt: skip
    many = [{"bmi": "x", "age": 300, "sex": 1}, good()[0], {"bp": 1000, "bmi": None}]
    yield ("every problem is named, in the order of records and fields", lambda: [line.split(":")[0] for line in said(many)]
           == ["row 0, age", "row 0, bmi", "row 0, bp", "row 0, sex", "row 2, age", "row 2, bmi", "row 2, bp"], [
        "Five nights, five mended columns: a check that stops at the first problem causes that.",
        "Collect lines in a list, and raise once, after the last record.",
        'raise ValueError("\\n".join(problems))',
    ])  # fmt: skip

    def unchanged() -> bool:
        sent = good()
        answer(sent, fields)
        return sent == good()

    yield ("the records stay as they were", unchanged, [
        "Does your function take entries out of the records?",
        "record.pop changes the caller's dict.",
        "Read with record[name] or record.get(name).",
    ])  # fmt: skip


def _file(picture: np.ndarray, form: str, mark: int = 1) -> bytes:
    exif, file = Image.Exif(), io.BytesIO()
    exif[0x0112] = mark
    Image.fromarray(picture).save(file, form, exif=exif, **({"quality": 95} if form == "JPEG" else {}))
    return file.getvalue()


def _begun_png(width: int, height: int) -> bytes:
    """The first bytes of a PNG file: its header, and hardly any points."""
    chunks = ((b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)), (b"IDAT", zlib.compress(bytes(9))))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )


@EXERCISES.add("08.3", "Files from strangers")
def files(answer: Callable) -> Iterator[Property]:
    """answer(raw, most_points) -> uint8 (H, W, 3)."""
    colours = np.random.default_rng(8).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    png, much = _file(colours, "PNG"), 10_000

    def is_(got: object, expected: np.ndarray) -> bool:
        return isinstance(got, np.ndarray) and got.dtype == np.uint8 and np.array_equal(got, expected)

    yield ("a PNG file gives the points that were saved", lambda: is_(answer(png, much), colours), [
        "Pillow opens a file that lies in memory as io.BytesIO(raw).",
        "np.array of Pillow's picture is (H, W, 3), rows from the top.",
        "with Image.open(io.BytesIO(raw)) as image: return np.array(image.convert('RGB'))",
    ])  # fmt: skip
    grey = np.arange(0, 240, 8, np.uint8).reshape(5, 6)
    smooth = np.full((32, 24, 3), (200, 120, 40), np.uint8)

    def jpeg_is_taken() -> bool:
        got = answer(_file(smooth, "JPEG"), much)
        return got.shape == smooth.shape and bool((np.abs(got.astype(int) - smooth) < 9).all())

    yield ("JPEG files and grey pictures are taken", lambda: jpeg_is_taken()
           and is_(answer(_file(grey, "PNG"), much), np.dstack([grey] * 3)), [
        "A grey file has no third axis.",
        "Pillow's convert brings a picture of any mode to RGB.",
        'image.convert("RGB")',
    ])  # fmt: skip
    turned = {
        1: colours, 2: colours[:, ::-1], 3: colours[::-1, ::-1], 4: colours[::-1], 5: colours.transpose(1, 0, 2),
        6: np.rot90(colours, -1), 7: colours[::-1, ::-1].transpose(1, 0, 2), 8: np.rot90(colours),
    }  # fmt: skip
    yield ("the orientation mark is obeyed", lambda: all(is_(answer(_file(colours, "PNG", mark), much), turned[mark]) for mark in (1, 3, 6, 8))
           and answer(_file(smooth, "JPEG", 6), much).shape == (24, 32, 3), [
        "Mark 6 says: turn by 90° clockwise before you show this.",
        "Pillow does not turn by itself, but ImageOps has a function for it.",
        "ImageOps.exif_transpose(image)",
    ])  # fmt: skip
    yield ("the four marks that mirror are obeyed too", lambda: all(
        is_(answer(_file(colours, "PNG", mark), much), turned[mark]) for mark in (2, 4, 5, 7)
    ), [
        "There are eight marks: 2, 4, 5 and 7 mirror the picture.",
        "A table of your own needs all eight.",
        "ImageOps.exif_transpose(image) knows them all.",
    ])  # fmt: skip

    def own() -> bool:
        got = answer(png, much)
        got[...] = 0
        return is_(answer(png, much), colours)

    yield ("the result can be written to", own, [
        "Write a zero into your result.",
        "np.asarray of Pillow's picture may not be written to.",
        "np.array(image) copies.",
    ])  # fmt: skip
    yield ("a picture of exactly most_points is taken, of one row more refused", lambda: is_(answer(png, 35), colours)
           and raises(ValueError, answer, png, 34) and raises(ValueError, answer, png, 28), [
        "5 × 7 points, and the limit is 35.",
        "Points, not bytes: width × height, without the three channels.",
        "if image.width * image.height > most_points: raise ValueError(…)",
    ])  # fmt: skip

    def before_decoding() -> bool:
        with mock.patch.object(ImageFile.ImageFile, "load", side_effect=MemoryError("the points were decoded")) as load:
            refused = raises(ValueError, answer, png, 34) and raises(ValueError, answer, _begun_png(3000, 3000), much)
        return refused and not load.called  # an `except Exception` would hide the error

    yield ("a picture that is too large is refused before its points are decoded", before_decoding, [
        "The size stands in the file's header, and Image.open has read it.",
        "np.array, convert, exif_transpose and load decode the points. The comparison comes before all of them.",
        "Compare image.width * image.height with most_points as the first line inside `with Image.open(…)`.",
    ])  # fmt: skip
    yield ("a picture beyond Pillow's own limit is a ValueError too", lambda: raises(ValueError, answer, _begun_png(20_000, 20_000), much), [
        "20,000 × 20,000 points: which error does Image.open raise?",
        "Image.DecompressionBombError is no ValueError.",
        "except Image.DecompressionBombError as error: raise ValueError(…) from error",
    ])  # fmt: skip
    yield ("other formats are refused", lambda: all(raises(ValueError, answer, _file(colours, form), much) for form in ("GIF", "BMP", "TIFF")), [
        "A GIF does not become a JPEG by its name.",
        "Image.open tries all decoders that it has, unless you name some.",
        'Image.open(io.BytesIO(raw), formats=("JPEG", "PNG"))',
    ])  # fmt: skip
    jpeg = _file(np.tile(colours, (9, 9, 1)), "JPEG")
    broken = png[: len(png) // 2], jpeg[: len(jpeg) // 2], b"", b"hello", png[8:], png.replace(b"IDAT", b"IDAX")
    yield ("damaged, incomplete and empty files are refused", lambda: all(raises(ValueError, answer, raw, much) for raw in broken), [
        "Cut the last bytes off a file. Which error do you get?",
        "Pillow raises OSError for most of them, and SyntaxError for a broken PNG.",
        "except (OSError, SyntaxError) as error: raise ValueError(…) from error",
    ])  # fmt: skip
