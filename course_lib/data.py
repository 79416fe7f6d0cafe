"""The course's data: scikit-learn's 1,797 real handwritten digits, and drawings brought to the same form.

Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository, 1998.
Each digit was a black-and-white bitmap of 32 × 32 points; each of the 8 × 8 numbers counts the black points of one
block of 4 × 4, so it lies in 0 to 16. Here the counts are divided by 16.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

SIDE, BLOCK = 8, 4
PEN = 2.5
"""Half the width of a drawn line, in points of the 32 × 32 bitmap; with it a drawing holds as much ink as the data."""


class Digits(NamedTuple):
    """images: float32 (N, 8, 8), 0 (paper) to 1 (ink). labels: int64 (N,), 0 to 9."""

    images: np.ndarray
    labels: np.ndarray


def digits(test_size: int = 450) -> tuple[Digits, Digits]:
    """The digits in two parts, training and test, every class in the same share in both; the same split at each call.

    test_size: number of images in the test part. Returns (train, test).
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    loaded = load_digits()
    images = (loaded.images / BLOCK**2).astype(np.float32)
    labels = loaded.target.astype(np.int64)
    parts = train_test_split(images, labels, test_size=test_size, stratify=labels, random_state=0)
    return Digits(parts[0], parts[2]), Digits(parts[1], parts[3])


def hold_out(digits: Digits, count: int = 225, seed: int = 0) -> tuple[Digits, Digits]:
    """Splits `count` images off, every class in the same share in both parts; the same split for the same seed.

    Returns (rest, held out). Split the training part with it to get images to validate on. Raises ValueError where
    a class would have no image in one of the two parts.
    """
    from sklearn.model_selection import train_test_split

    parts = train_test_split(digits.images, digits.labels, test_size=count, stratify=digits.labels, random_state=seed)
    return Digits(parts[0], parts[2]), Digits(parts[1], parts[3])


def from_bitmap(bitmap: np.ndarray) -> np.ndarray:
    """Brings a bitmap to the data's form by counting ink in each block of 4 × 4.

    bitmap: (32, 32), truth values or numbers that are 0 for paper. Returns float32 (8, 8), 0 to 1.
    Raises ValueError for another shape.
    """
    bitmap = np.asarray(bitmap) != 0
    if bitmap.shape != (SIDE * BLOCK, SIDE * BLOCK):
        raise ValueError(f"expected a bitmap of 32 × 32 points, got shape {bitmap.shape}: scale the drawing first")
    blocks = bitmap.reshape(SIDE, BLOCK, SIDE, BLOCK)
    return (blocks.sum(axis=(1, 3)) / BLOCK**2).astype(np.float32)


def from_strokes(strokes: Sequence[Sequence[tuple[float, float]]]) -> np.ndarray:
    """Brings pen strokes to the data's form, as its authors did: scaled to fill the bitmap's height, then counted.

    strokes: each a list of (x, y) points in any unit, y downwards. Returns float32 (8, 8), 0 to 1; all 0 for no stroke.
    """
    points = [np.asarray(stroke, dtype=float).reshape(-1, 2) for stroke in strokes if len(stroke)]
    side = SIDE * BLOCK
    if not points:
        return np.zeros((SIDE, SIDE), np.float32)
    every = np.concatenate(points)
    low, high = every.min(axis=0), every.max(axis=0)
    room = side - 2 * PEN
    scale = room / max(*(high - low), 1e-9) if (high - low).max() > 1e-9 else 0.0
    rows, columns = np.mgrid[0:side, 0:side] + 0.5
    ink = np.zeros((side, side), bool)
    for stroke in points:
        at = (stroke - (low + high) / 2) * scale + side / 2
        for (x0, y0), (x1, y1) in zip(at, at[1:] if len(at) > 1 else at):
            ink |= _distance(columns, rows, x0, y0, x1, y1) <= PEN
    return from_bitmap(ink)


def _distance(x: np.ndarray, y: np.ndarray, x0: float, y0: float, x1: float, y1: float) -> np.ndarray:
    """Distance of each point (x, y) from the line between two points."""
    dx, dy = x1 - x0, y1 - y0
    along = np.clip(((x - x0) * dx + (y - y0) * dy) / max(dx * dx + dy * dy, 1e-12), 0, 1)
    return np.hypot(x - (x0 + along * dx), y - (y0 + along * dy))
