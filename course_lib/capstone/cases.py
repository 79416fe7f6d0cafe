"""The data of each case, as the examiner holds it: rows that no project trained on, and rows that have drifted."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Case:
    """One case. title: what it is about. rows: float32 (N, …), raw as a client sends them, held out; labels: int64 (N,).
    floor: the measure that a service must reach. drifted: name -> rows that a drift alarm must notice. background: a row of
    usual values."""

    title: str
    rows: np.ndarray
    labels: np.ndarray
    floor: float
    drifted: dict[str, np.ndarray]
    background: np.ndarray
    measure: str = "accuracy"

    def score(self, probabilities: np.ndarray) -> float:
        """How good the answers to the first rows are: the accuracy, or for two classes the area under the ROC curve."""
        labels = self.labels[: len(probabilities)]
        if self.measure == "accuracy":
            return float((probabilities.argmax(axis=1) == labels).mean())
        late = probabilities[labels == 1, 1][:, None]
        other = probabilities[labels == 0, 1][None, :]
        return float((late > other).mean() + (late == other).mean() / 2)


def digits() -> Case:
    """Pictures: 1,797 real handwritten digits, each 8 × 8 counts of ink from 0 to 16."""
    from course_lib import data

    train, test = data.digits()
    rows = test.images * 16
    generator = np.random.default_rng(1)
    drifted = {
        "the scanner's lamp fades: half the ink": np.round(rows * 0.5),
        "the sheets lie upside down": rows[:, ::-1, ::-1],
        "dust: noise on each point": np.clip(rows + generator.normal(0, 4, rows.shape), 0, 16),
    }
    drifted = {name: each.astype(np.float32) for name, each in drifted.items()}
    return Case("pictures of digits", rows, test.labels, 0.93, drifted, (train.images * 16).mean(axis=0))


def flights() -> Case:
    """Traffic over a year: flights from New York in 2013, and whether each arrives more than 15 minutes late.

    Projects train on February to April; held out is a fifth of these months.
    """
    from course_lib.flights import flights as load

    loaded = load()
    whole = np.isfinite(loaded.features).all(axis=1)
    spring = whole & (loaded.month >= 2) & (loaded.month <= 4)
    held = spring & (np.arange(len(whole)) % 5 == 0)
    rows = loaded.features
    fahrenheit = rows[held].copy()
    fahrenheit[:, 4] = (fahrenheit[:, 4] - 32) / 1.8
    drifted = {
        "July in place of spring": rows[whole & (loaded.month == 7)],
        "a new feed sends °C in place of °F": fahrenheit,
        "only the evening's flights": rows[held & (rows[:, 0] >= 18)],
    }
    background = rows[spring].mean(axis=0)
    return Case(
        "late flights",
        rows[held],
        loaded.late[held].astype(np.int64),
        0.65,
        drifted,
        background,
        "area under the ROC curve",
    )


def medical() -> Case:
    """A medical table: 569 tumours, 30 measures of cell nuclei each, benign or malignant."""
    from sklearn.datasets import load_breast_cancer

    loaded = load_breast_cancer()
    rows, held = loaded.data.astype(np.float32), np.arange(len(loaded.data)) % 3 == 0
    inches, worst = rows[held].copy(), rows[held].copy()
    inches[:, [0, 2, 10, 12, 20, 22]] /= 2.54
    worst[:, 20:] = worst[:, :10]
    drifted = {
        "a laboratory sends inches": inches,
        "the worst cell is no longer looked for": worst,
        "only large tumours are sent on": rows[held & (rows[:, 3] > np.quantile(rows[:, 3], 0.6))],
    }
    return Case("tumours", rows[held], loaded.target[held].astype(np.int64), 0.92, drifted, rows.mean(axis=0))


CASES: dict[str, Callable[[], Case]] = {"digits": digits, "flights": flights, "medical": medical}
