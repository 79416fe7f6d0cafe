"""The case's data: scikit-learn's handwritten digits, each 8 × 8 counts of ink from 0 to 16."""

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

LABELS = [str(digit) for digit in range(10)]
HIDDEN = (48,)
VERSION = 1
MEAN, SCALE = np.zeros(64), np.full(64, 16.0)
EXPORT_MEAN, EXPORT_SCALE = np.zeros(64), np.full(64, 15.0)  # four bits: the largest number is 15
FIELD = {"name": "ink", "dtype": "float32", "shape": [-1, 8, 8], "meaning": "counts of ink, rows from the top"}


def training_rows() -> tuple[np.ndarray, np.ndarray]:
    """Raw rows, float32 (N, 8, 8), and labels, int64 (N,). The examiner's 450 held-out pictures are not among them."""
    loaded = load_digits()
    rows, _, labels, _ = train_test_split(
        loaded.images.astype(np.float32), loaded.target, test_size=450, stratify=loaded.target, random_state=0
    )
    return rows, labels.astype(np.int64)
