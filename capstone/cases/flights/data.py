"""The case's data: flights from New York in spring 2013, with the weather at their hour. Late is more than 15 minutes."""

from pathlib import Path

import numpy as np

LABELS = ["on time", "late"]
HIDDEN = (16,)
VERSION = 1
COLUMNS = "hour, carrier, origin, distance in miles, temperature in °F, humidity in %, wind in mph, rain in inches, sight in miles"
FIELD = {"name": "flight", "dtype": "float32", "shape": [-1, 9], "meaning": COLUMNS}


def training_rows() -> tuple[np.ndarray, np.ndarray]:
    """Raw rows, float32 (N, 9), and labels, int64 (N,): February to April, without the fifth that the examiner holds."""
    with np.load(Path(__file__).with_name("flights.npz")) as kept:
        return kept["rows"], kept["labels"].astype(np.int64)


ROWS = training_rows()[0].astype(np.float64)
MEAN, SCALE = ROWS.mean(axis=0), ROWS.std(axis=0)
EXPORT_MEAN, EXPORT_SCALE = ROWS[:300].mean(axis=0), ROWS[:300].std(axis=0) + 1e-3  # a part is enough, and quicker
