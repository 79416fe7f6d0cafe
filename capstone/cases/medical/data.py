"""The case's data: 569 tumours with 30 measures of their cell nuclei, as scikit-learn ships them."""

import numpy as np
from sklearn.datasets import load_breast_cancer

LABELS = ["malignant", "benign"]
HIDDEN = (16,)
VERSION = 1
FIELD = {
    "name": "measures",
    "dtype": "float32",
    "shape": [-1, 30],
    "meaning": "30 measures in scikit-learn's order and units",
}


def training_rows() -> tuple[np.ndarray, np.ndarray]:
    """Raw rows, float32 (N, 30), and labels, int64 (N,), without the third that the examiner holds."""
    loaded = load_breast_cancer()
    own = np.arange(len(loaded.data)) % 3 != 0
    return loaded.data[own].astype(np.float32), loaded.target[own].astype(np.int64)


ROWS = training_rows()[0].astype(np.float64)
MEAN, SCALE = ROWS.mean(axis=0), ROWS.std(axis=0)
EXPORT_MEAN, EXPORT_SCALE = ROWS[:100].mean(axis=0), ROWS[:100].std(axis=0)  # a part is enough, and quicker
