"""Explains one answer by occlusion: how far its score falls when one number after the other is replaced."""

import numpy as np


def explain(predict, row: np.ndarray, background: np.ndarray) -> np.ndarray:
    """An attribution for each number, in the row's shape; large where a number speaks for the answer.

    predict: raw rows (N, …) → probabilities (N, classes). row: one raw row. background: a row of the usual values.
    """
    altered = np.repeat(row[None], 1 + row.size, axis=0).reshape(1 + row.size, row.size)
    at = np.arange(row.size)
    altered[1 + at, at] = background.ravel()
    scores = np.asarray(predict(altered.reshape(-1, *row.shape)))
    best = scores[0].argmax()
    return (scores[0, best] - scores[1:, best]).reshape(row.shape)
