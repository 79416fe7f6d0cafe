"""The flights: a row for each, five thousand of each month."""

import numpy as np
import pytest

from course_lib import flights


def test_each_month_has_as_many_flights_in_the_order_of_time():
    year = flights.flights()
    assert year.features.shape == (60_000, len(flights.FEATURES)) and year.features.dtype == np.float32
    assert np.bincount(year.month)[1:].tolist() == [5_000] * 12 and (np.diff(year.month) >= 0).all()
    assert year.late.dtype == bool and 0.2 < year.late.mean() < 0.3


def test_columns_hold_what_their_names_say():
    columns = dict(zip(flights.FEATURES, flights.flights().features.T))
    assert set(np.unique(columns["carrier"])) == set(range(16)) and set(np.unique(columns["origin"])) == {0, 1, 2}
    for name, least, most in (
        ("hour", 5, 23),
        ("distance_miles", 80, 4983),
        ("temperature_f", 10, 101),
        ("humidity", 12, 100),
    ):
        known = columns[name][~np.isnan(columns[name])]
        assert least <= known.min() and known.max() <= most, name
        assert len(known) > 59_000, name


def test_a_file_without_a_column_or_none_at_all_is_told(tmp_path):
    np.savez(tmp_path / "half.npz", month=np.ones(3))
    with pytest.raises(ValueError, match=r"half\.npz: expected the columns of tools/flights\.py, carrier, .* missing"):
        flights.flights(tmp_path / "half.npz")
    with pytest.raises(FileNotFoundError):
        flights.flights(tmp_path / "none.npz")
