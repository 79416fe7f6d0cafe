"""How long calls take, measured in turns, so that the figures may be compared."""

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np


def latencies_ms(
    calls: Mapping[str, Callable[[], object]], *, rounds: int = 50, warm_up: int = 5
) -> dict[str, np.ndarray]:
    """How long each call takes, in milliseconds, all of them measured in turns.

    A machine is not equally fast at all times. In each round every call runs once, in an order that is drawn anew, so
    that a slow moment meets all of them alike.

    calls: by name, functions without arguments. rounds: measurements of each. warm_up: rounds that are run first and
    not counted. Returns, by name, float64 (rounds,), in the order of the rounds: entries of one index belong together.
    Raises ValueError where there is nothing to call or no round.
    """
    if not calls or rounds < 1:
        raise ValueError(f"expected one call and one round or more, got {len(calls)} calls and {rounds} rounds")
    order = list(calls)
    drawn = random.Random(0)
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(warm_up + rounds):
        drawn.shuffle(order)
        for name in order:
            start = time.perf_counter()
            calls[name]()
            spent = time.perf_counter() - start
            if number >= warm_up:
                taken[name].append(1000 * spent)
    return {name: np.array(each) for name, each in taken.items()}


@dataclass(frozen=True)
class Spread:
    """The median of measurements and their quartiles, in the measurements' unit."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.3g} ({self.low:.3g} to {self.high:.3g})"


def spread(measurements: np.ndarray) -> Spread:
    """Median and quartiles of measurements, (N,). Raises ValueError for none."""
    if len(measurements) == 0:
        raise ValueError("expected one measurement or more, got none")
    low, median, high = np.percentile(measurements, [25, 50, 75])
    return Spread(float(median), float(low), float(high))
