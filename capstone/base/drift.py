"""Looks at a window of incoming rows: have they drifted away from what the model was trained on?"""

import numpy as np
from data import training_rows

ROWS = training_rows()[0]
LOW, HIGH = ROWS.min(), ROWS.max()


def alarm(window: np.ndarray) -> bool:
    """Whether somebody should look. window: raw rows, float32 (60, …)."""
    return bool(window.mean() < LOW or window.mean() > HIGH)
