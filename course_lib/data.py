"""The course's data: scikit-learn's 1,797 real handwritten digits, and drawings brought to the same form.

Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository, 1998.
Each digit was a black-and-white bitmap of 32 × 32 points; each of the 8 × 8 numbers counts the black points of one
block of 4 × 4, so it lies in 0 to 16. Here the counts are divided by 16.

MNIST does not ship with the course: `mnist` reads its files from a folder that the learner names.
"""

import gzip
import math
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

SIDE, BLOCK = 8, 4
PEN = 2.5
"""Half the width of a drawn line, in points of the 32 × 32 bitmap; with it a drawing holds as much ink as the data."""


class Digits(NamedTuple):
    """images: float32 (N, 8, 8), from MNIST (N, 28, 28), 0 (paper) to 1 (ink). labels: int64 (N,), 0 to 9."""

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


def upscaled(images: np.ndarray, side: int = 32) -> np.ndarray:
    """The same pictures with more points, interpolated linearly between the old ones: larger work, not more knowledge.

    images: float32 (N, H, H), H from 2. side: points along a side of the result, H or more.
    Returns float32 (N, side, side). Raises ValueError for pictures that are not square, or a smaller side.
    """
    if images.ndim != 3 or images.shape[1] != images.shape[2] or not 2 <= images.shape[1] <= side:
        raise ValueError(f"expected square pictures (N, H, H), H from 2 to {side}, got shape {images.shape}")
    old = images.shape[1]
    at = np.clip((np.arange(side) + 0.5) * old / side - 0.5, 0, old - 1)  # each new point, measured in old ones
    left = np.minimum(at.astype(int), old - 2)
    between = np.zeros((side, old), np.float32)
    between[np.arange(side), left] = 1 - (at - left)
    between[np.arange(side), left + 1] = at - left
    return between @ images @ between.T


def mnist(folder: Path | str) -> tuple[Digits, Digits]:
    """MNIST, from its four IDX files, as they are or with .gz: train-images-idx3-ubyte, train-labels-idx1-ubyte,
    t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte.

    folder: where the files lie. Returns (train, test), the images divided by 255.
    Raises FileNotFoundError for a missing folder or file; ValueError for a file that is no such IDX file, is cut off or
    too long, for labels outside 0 to 9, and for images and labels that differ in number.
    Source: Y. LeCun, C. Cortes, C. J. C. Burges, The MNIST Database of Handwritten Digits, 1998, "File formats".
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise FileNotFoundError(f"expected a folder that holds MNIST's four IDX files, found none at {folder}")
    return _mnist_part(folder, "train"), _mnist_part(folder, "t10k")


def _mnist_part(folder: Path, name: str) -> Digits:
    images = _read_idx(_idx_file(folder, f"{name}-images-idx3-ubyte"), dimensions=3)
    labels_file = _idx_file(folder, f"{name}-labels-idx1-ubyte")
    labels = _read_idx(labels_file, dimensions=1)
    if len(images) != len(labels):
        raise ValueError(
            f"expected a label for each image, found {len(images)} images and {len(labels)} labels in the "
            f"{name} files of {folder}: the two come from different downloads; fetch both again"
        )
    if labels.size and labels.max() > 9:
        raise ValueError(f"{labels_file.name}: expected labels from 0 to 9, found {labels.max()}: is this MNIST?")
    return Digits(images.astype(np.float32) / 255, labels.astype(np.int64))


def _idx_file(folder: Path, name: str) -> Path:
    for file in (folder / name, folder / f"{name}.gz"):
        if file.is_file():
            return file
    there = ", ".join(sorted(each.name for each in folder.iterdir())[:8]) or "nothing"
    raise FileNotFoundError(f"expected {name} or {name}.gz in {folder}, which holds {there}")


def _read_idx(file: Path, dimensions: int) -> np.ndarray:
    """Reads an IDX file of unsigned bytes: 0, 0, 8 for uint8, the number of dimensions; each length as four bytes,
    the most significant first; then the values."""
    try:
        content = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
    except (EOFError, gzip.BadGzipFile, zlib.error) as broken:
        raise ValueError(f"{file.name}: not a whole gzip file ({broken}): fetch it again") from None
    magic = bytes([0, 0, 8, dimensions])
    if content[:4] != magic:
        packed = ": it is a gzip file; name it .gz" if content[:2] == b"\x1f\x8b" else ": is it the right file?"
        raise ValueError(f"{file.name}: expected the magic number {magic.hex()}, found {content[:4].hex()!r}{packed}")
    header = 4 + 4 * dimensions
    if len(content) < header:
        raise ValueError(
            f"{file.name}: expected a header of {header} bytes, the file has {len(content)}: fetch it again"
        )
    shape = tuple(np.frombuffer(content, ">u4", dimensions, offset=4).tolist())
    if len(content) - header != math.prod(shape):
        raise ValueError(
            f"{file.name}: its header announces {' × '.join(map(str, shape))} values of a byte each, but "
            f"{len(content) - header:,} bytes follow: fetch it again"
        )
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


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
