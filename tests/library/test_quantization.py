"""Grids of few bits."""

import numpy as np
import pytest

from course_lib.quantization import affine, symmetric


@pytest.mark.parametrize("bits", range(1, 9))
@pytest.mark.parametrize(("low", "high"), [(-1.0, 2.0), (0.5, 3.0), (-3.0, -0.5), (0.0, 0.0), (-1e-30, 1e30)])
def test_zero_is_a_point_of_every_affine_grid(low, high, bits):
    grid = affine(low, high, bits)
    assert grid.least <= grid.zero_point <= grid.greatest == 2**bits - 1
    assert grid.rounded(np.zeros(3, np.float32)).tolist() == [0, 0, 0]


def test_inside_the_range_the_error_is_half_a_step_at_the_most():
    values = np.linspace(-1, 2, 1001).astype(np.float32)
    grid = affine(-1, 2, 4)
    assert np.abs(grid.rounded(values) - values).max() <= 0.5001 * grid.scale
    assert grid.quantize(values).dtype == np.uint8


def test_values_outside_stay_at_the_ends_and_do_not_wrap_around():
    assert affine(-1, 2).quantize(np.float32([-1e30, 1e30, np.inf])).tolist() == [0, 255, 255]
    assert symmetric(2.0).quantize(np.float32([-9, 9])).tolist() == [-127, 127]
    assert affine(0, 1e-10).quantize(np.float32([1e30])).tolist() == [255]


def test_ties_go_to_the_even_number():
    assert symmetric(127.0).quantize(np.float32([0.5, 1.5, 2.5, -0.5, -1.5])).tolist() == [0, 2, 2, 0, -2]


def test_a_channel_each_has_a_scale_of_its_own():
    values = np.float32([[1, -2], [100, -50]])
    grid = symmetric(np.abs(values).max(axis=1, keepdims=True))
    assert grid.scale.shape == (2, 1)
    assert np.abs(grid.rounded(values) - values).max(axis=1) == pytest.approx([0, 0], abs=0.4)
    assert np.abs(grid.rounded(values)[0] - values[0]).max() < 0.01


def test_a_channel_of_zeros_stays_zeros():
    values = np.float32([[0, 0], [1, 2]])
    assert symmetric(np.abs(values).max(axis=1, keepdims=True)).rounded(values)[0].tolist() == [0, 0]


@pytest.mark.parametrize("make", [lambda: affine(np.nan, 1), lambda: affine(0, np.inf), lambda: affine(0, 1, 9),
                                  lambda: affine(0, 1, 0), lambda: symmetric(-1.0), lambda: symmetric(1.0, 1),
                                  lambda: symmetric(np.nan), lambda: affine(0, 1).quantize(np.float32([np.nan]))])  # fmt: skip
def test_what_has_no_grid_is_refused(make):
    with pytest.raises(ValueError, match="expected"):
        make()
