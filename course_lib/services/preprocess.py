"""The preprocessing service: bitmaps, colour pictures or pen strokes in, the model's pixels out.

POST /pixels takes {"bitmaps": […]} (each 32 × 32, 0 for paper, 1 for ink), {"rgb": […]} (each 32 × 32 × 3, 0 to 255,
dark ink) or {"strokes": […]} (each a list of strokes, a stroke a list of [x, y]) and answers {"pixels": […]}, shape
(N, 1, 8, 8).
"""

import sys
from collections.abc import Callable

import numpy as np
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from course_lib import data
from course_lib.services import process
from course_lib.serving import errors, tensors

MOST, MOST_POINTS = 256, 2000
"""Pictures in one request, and points in one drawing."""


def array(name: str, value: object, *shape: int, dtype: str = "uint8") -> np.ndarray:
    """Nested lists as an array, where they hold numbers of this type and nothing else: NumPy alone would take a null for
    a number, and a text too. Raises errors.Refused."""
    types = {"uint8": "UINT8", "float64": "FP64"}
    return tensors.to_array(value, tensors.Tensor(name, np.dtype(dtype), "", types[dtype], shape))


def from_bitmap(bitmap: object) -> np.ndarray:
    """`data.from_bitmap` for a stranger's points. bitmap: (32, 32), 0 or 1, or false or true. Returns (8, 8)."""
    if isinstance(bitmap, list):
        bitmap = [
            [int(x) if isinstance(x, bool) else x for x in row] if isinstance(row, list) else row for row in bitmap
        ]
    points = array("bitmap", bitmap, 32, 32)
    if points.max() > 1:
        raise ValueError(f"expected points of 0 (paper) or 1 (ink), got {points.max()}; send a grey picture as rgb")
    return data.from_bitmap(points)


def from_rgb(picture: object) -> np.ndarray:
    """Ink is where the luminance (ITU-R BT.601) is below one half. picture: (32, 32, 3), 0 to 255. Returns (8, 8)."""
    picture = array("rgb", picture, 32, 32, 3)
    if picture.max() <= 1:
        raise ValueError(f"expected channels from 0 to 255, white paper as 255, got none above {picture.max()}")
    return data.from_bitmap(picture @ [0.299, 0.587, 0.114] < 127.5)


def from_strokes(strokes: object) -> np.ndarray:
    """`data.from_strokes` for a stranger's strokes, which may be endless or nowhere. Returns (8, 8)."""
    if not isinstance(strokes, list):
        raise ValueError("expected a list of strokes, each a list of points [x, y]")
    points = [array("strokes", stroke, -1, 2, dtype="float64") for stroke in strokes]
    if not all(np.isfinite(each).all() for each in points):
        raise ValueError("expected strokes to be lists of points [x, y], finite numbers")
    if sum(map(len, points)) > MOST_POINTS:
        raise ValueError(f"expected at most {MOST_POINTS} points in a drawing")
    return data.from_strokes(points)


READ: dict[str, Callable] = {"bitmaps": from_bitmap, "rgb": from_rgb, "strokes": from_strokes}


def to_pixels(body: dict) -> np.ndarray:
    """The one picture list of a request's body, as float32 (N, 1, 8, 8). Raises Refused (400) for anything else."""
    kinds = [kind for kind in READ if kind in body]
    if len(kinds) != 1:
        raise process.Refused(400, f"expected exactly one of {', '.join(READ)}, got {', '.join(kinds) or 'none'}")
    pictures = body[kinds[0]]
    if not isinstance(pictures, list) or not 0 < len(pictures) <= MOST:
        raise process.Refused(400, f"expected {kinds[0]} to be a list of 1 to {MOST}")
    pixels = np.empty((len(pictures), 1, 8, 8), np.float32)
    for i, picture in enumerate(pictures):
        try:
            pixels[i, 0] = READ[kinds[0]](picture)
        except (ValueError, errors.Refused) as wrong:
            raise process.Refused(400, f"{kinds[0]}[{i}]: {wrong}") from None
    return pixels


async def pixels(request: Request) -> Response:
    body = await process.json_body(request)
    process.seconds_left(request, 1.0)  # refuses what is no time; the work itself takes well under a millisecond
    return process.answer({"pixels": (await run_in_threadpool(to_pixels, body)).tolist()})


def main(words: list[str] | None = None) -> int:
    asked = process.options("preprocess", "Turns drawings into the model's pixels.").parse_args(words)
    return process.serve(process.application([Route("/pixels", pixels, methods=["POST"])]), asked)


if __name__ == "__main__":
    sys.exit(main())
