"""Looks at a window of incoming rows: have they drifted away from what the model was trained on?

Each number's mean over the window is compared with its mean in training, in standard errors, and the squares are summed.
How large the sum gets without drift was tried out on windows of training rows: `python drift.py` does it again.
"""

from pathlib import Path

import numpy as np

FILE = Path(__file__).with_name("drift.npz")
WINDOW, TRIES, FALSE_ALARMS = 60, 2000, 0.01


def distance(window: np.ndarray, mean: np.ndarray, deviation: np.ndarray) -> float:
    """The sum over all numbers of (difference of means / standard error)²."""
    return abs(float(window.mean() - mean.mean()))


def learn(rows: np.ndarray) -> dict[str, np.ndarray]:
    """Mean and deviation of each number, and the distance that a window without drift exceeds once in a hundred times."""
    flat, generator = rows.reshape(len(rows), -1).astype(np.float64), np.random.default_rng(0)
    mean, deviation = flat.mean(axis=0), flat.std(axis=0) + 0.1  # a point that is always white has a deviation of 0
    tried = [distance(flat[generator.permutation(len(flat))[:WINDOW]], mean, deviation) for _ in range(TRIES)]
    return {"mean": mean, "deviation": deviation, "most": np.quantile(tried, 1 - FALSE_ALARMS)}


def alarm(window: np.ndarray) -> bool:
    """Whether somebody should look. window: raw rows, float32 (60, …)."""
    with np.load(FILE) as known:
        return distance(window, known["mean"], known["deviation"]) > known["most"]


if __name__ == "__main__":
    from data import training_rows

    np.savez(FILE, **learn(training_rows()[0]))
