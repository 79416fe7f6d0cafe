"""The case's data: scikit-learn's handwritten digits, each 8 × 8 counts of ink from 0 to 16."""

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

LABELS = [str(digit) for digit in range(10)]
HIDDEN = (48,)
VERSION = 2
# Each count is of the 16 points of a block, so the largest is 16, not the 15 that four bits would hold.
MEAN, SCALE = np.zeros(64), np.full(64, 16.0)
EXPORT_MEAN, EXPORT_SCALE = MEAN, SCALE
FIELD = {
    "name": "ink",
    "dtype": "float32",
    "shape": [-1, 8, 8],
    "meaning": "black points in each block of 4 × 4, rows from the top, columns from the left",
    "low": 0,
    "high": 16,
    "most": 64 * 256,
}


def training_rows() -> tuple[np.ndarray, np.ndarray]:
    """Raw rows, float32 (N, 8, 8), and labels, int64 (N,). The examiner's 450 held-out pictures are not among them."""
    loaded = load_digits()
    rows, _, labels, _ = train_test_split(
        loaded.images.astype(np.float32), loaded.target, test_size=450, stratify=loaded.target, random_state=0
    )
    return rows, labels.astype(np.int64)
