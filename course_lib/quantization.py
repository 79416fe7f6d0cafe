"""Numbers in fewer bits. Lesson 09 derives each piece; NumPy alone, so that it holds for weights of any framework."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Grid:
    """The numbers that `bits` bits can stand for: scale · (q − zero_point), q a whole number from least to greatest.

    scale: float32, positive, a single number or one for each channel, in a shape that broadcasts with the values.
    zero_point: int32, the shape of scale. Source: B. Jacob et al., Quantization and Training of Neural Networks for
    Efficient Integer-Arithmetic-Only Inference, CVPR 2018, section 2.1.
    """

    scale: np.ndarray
    zero_point: np.ndarray
    least: int
    greatest: int

    def quantize(self, values: np.ndarray) -> np.ndarray:
        """The nearest q of each value, ties to the even one, values outside the range at its ends.

        values: float array. Returns uint8 or int8, of the values' shape. Raises ValueError for NaN, which is nowhere.
        """
        with np.errstate(over="ignore"):  # what overflows is far outside, and ends up at an end
            steps = np.asarray(values, np.float32) / self.scale
        if np.isnan(steps).any():
            raise ValueError("expected numbers, got NaN: there is no nearest whole number to it")
        kind = np.int8 if self.least < 0 else np.uint8
        return np.clip(np.rint(steps) + self.zero_point, self.least, self.greatest).astype(kind)

    def dequantize(self, q: np.ndarray) -> np.ndarray:
        """What whole numbers q stand for; float32."""
        return (q.astype(np.int32) - self.zero_point).astype(np.float32) * self.scale

    def rounded(self, values: np.ndarray) -> np.ndarray:
        """The values as they come back: quantized and dequantized; float32."""
        return self.dequantize(self.quantize(values))


def affine(low: np.ndarray | float, high: np.ndarray | float, bits: int = 8) -> Grid:
    """The grid of unsigned q over a range, which is widened to hold 0, so that 0 is a point of the grid.

    low, high: the range, a number or one for each channel. bits: 1 to 8. Raises ValueError for a range that is not
    finite or whose ends are swapped, and for other bits.
    """
    low, high = np.minimum(np.float32(low), np.float32(0)), np.maximum(np.float32(high), np.float32(0))
    _need(bits, np.isfinite(low).all() and np.isfinite(high).all())
    greatest = 2**bits - 1
    scale = _positive((high - low) / np.float32(greatest))
    return Grid(scale, np.clip(np.rint(-low / scale), 0, greatest).astype(np.int32), 0, greatest)


def symmetric(peak: np.ndarray | float, bits: int = 8) -> Grid:
    """The grid of signed q over −peak to peak, zero point 0, as many steps above 0 as below (int8: −127 to 127).

    peak: 0 or more, a number or one for each channel. bits: 2 to 8. Raises ValueError for other peaks and bits.
    """
    peak = np.asarray(peak, np.float32)
    _need(bits, np.isfinite(peak).all() and (peak >= 0).all(), fewest=2)
    greatest = 2 ** (bits - 1) - 1
    scale = _positive(peak / np.float32(greatest))
    return Grid(scale, np.zeros(scale.shape, np.int32), -greatest, greatest)


def least_error(weights: np.ndarray, bits: int = 8) -> Grid:
    """The symmetric grid of each output channel (axis 0) that has the least squared error on these weights.

    weights: float (channels, …). bits: 2 to 8. Each grid ends at a share of the channel's largest |w|, from 20 to 100 %
    in steps of 2 %: the best of these. Raises ValueError as `symmetric` does. Lesson 09b shows why.
    """
    rest = tuple(range(1, weights.ndim))
    peak, shares = np.abs(weights).max(axis=rest, keepdims=True), np.linspace(0.2, 1, 41)
    tried = [((symmetric(share * peak, bits).rounded(weights) - weights) ** 2).sum(axis=rest) for share in shares]
    best = shares[np.argmin(tried, axis=0)].reshape(peak.shape)
    return symmetric(best * peak, bits)


def least_error_clip(values: np.ndarray, bits: int = 8, tries: int = 50) -> float:
    """Where an unsigned grid from 0 ends best for these values: at the least mean squared error.

    values: float array, 0 or more, of any shape. bits: 1 to 8. tries: how many ends are tried, evenly spaced up to the
    largest value. Raises ValueError as `affine` does, and for no value.
    """
    ends = np.linspace(0, np.max(values), tries + 1)[1:]
    return float(ends[np.argmin([((affine(0, end, bits).rounded(values) - values) ** 2).mean() for end in ends])])


def levels_for_output(weights: np.ndarray, grid: Grid, rows: np.ndarray, sweeps: int = 3) -> np.ndarray:
    """The weights on their grid, at levels that change a layer's output least; float32, of the weights' shape.

    The nearest level is best for a weight alone; these are found one weight after another (coordinate descent), so that
    the mean squared error of the output is never larger than with the nearest ones. Lesson 09b derives it.

    weights: float (channels, …), K numbers in each channel. grid: symmetric, a scale for each channel. rows: float
    (n, K), n from 1, what the layer multiplies its weights with, as calibration saw it. Raises ValueError for other rows.
    """
    flat, scale = weights.reshape(len(weights), -1).astype(np.float64), grid.scale.ravel().astype(np.float64)
    if rows.ndim != 2 or rows.shape[1] != flat.shape[1] or len(rows) == 0:
        raise ValueError(f"expected inputs (n, {flat.shape[1]}), n from 1, got {rows.shape}")
    H = (rows.T @ rows / len(rows)).astype(np.float64)
    levels = grid.quantize(weights).reshape(flat.shape).astype(np.float64)
    pull = (levels * scale[:, None] - flat) @ H
    for k in [*range(flat.shape[1])] * sweeps:
        if H[k, k] > 0:  # the level of an input that is always 0 does not matter
            wish = np.clip(np.rint(levels[:, k] - pull[:, k] / (scale * H[k, k])), grid.least, grid.greatest)
            move = scale * (wish - levels[:, k])
            levels[:, k] = wish
            pull += np.outer(move, H[k])
    return (levels * scale[:, None]).astype(np.float32).reshape(weights.shape)


def _positive(scale: np.ndarray) -> np.ndarray:
    """The scale, and 1 where it is 0: for zeros alone, or a range too small for a float32 scale, any step will do."""
    return np.where(scale > 0, scale, np.float32(1)).astype(np.float32)


def _need(bits: int, finite: bool, fewest: int = 1) -> None:
    if not fewest <= bits <= 8:
        raise ValueError(f"expected {fewest} to 8 bits, got {bits}")
    if not finite:
        raise ValueError("expected a range of finite numbers, its ends in order: is there a NaN among the values?")
