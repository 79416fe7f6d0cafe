"""Grids of few bits, and two classifiers on the same examples."""

import numpy as np
import pytest

from course_lib.compress import Disagreements, affine, disagreements, symmetric


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


def test_only_what_one_alone_got_right_counts():
    labels, first, second = np.zeros(10, int), np.zeros(10, int), np.zeros(10, int)
    first[:1], second[5:] = 1, 1
    said = disagreements(labels, first, second)
    assert (said.first_only, said.second_only) == (5, 1)
    assert said.p == pytest.approx(2 * (1 + 6) / 64)


def test_equal_classifiers_differ_by_nothing_and_thousands_do_not_overflow():
    labels = np.arange(5000) % 10
    assert disagreements(labels, labels, labels) == Disagreements(0, 0, 1.0)
    assert disagreements(labels, labels, labels + 1).p == 0.0


def test_shapes_that_differ_are_refused():
    with pytest.raises(ValueError, match="expected three arrays"):
        disagreements(np.zeros(3), np.zeros(3), np.zeros(1))
