"""Grids of few bits."""

import numpy as np
import pytest

from course_lib.quantization import affine, least_error, least_error_clip, levels_for_output, symmetric


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


@pytest.mark.parametrize("grid", [affine(-1e-44, 0.0), affine(0.0, 1e-44), symmetric(1e-44), affine(-5e-43, 1e-44)])
def test_a_range_too_small_for_a_float32_scale_has_a_scale_above_0(grid):
    assert grid.scale > 0
    assert grid.least <= grid.zero_point <= grid.greatest
    assert grid.rounded(np.zeros(2, np.float32)).tolist() == [0, 0]


def test_least_error_is_no_worse_than_the_peak_in_any_channel_and_much_better_at_two_bits():
    weights = np.random.default_rng(0).normal(size=(6, 4, 5, 5)).astype(np.float32)
    peak = np.abs(weights).max(axis=(1, 2, 3), keepdims=True)
    for bits in (2, 4, 8):
        best, plain = (
            ((grid.rounded(weights) - weights) ** 2).sum(axis=(1, 2, 3))
            for grid in (least_error(weights, bits), symmetric(peak, bits))
        )
        assert (best <= plain * (1 + 1e-6)).all()
        assert bits > 2 or (best < 0.6 * plain).all()


def test_least_error_keeps_zeros_and_has_a_grid_for_each_channel():
    weights = np.float32([[0, 0, 0], [1, -2, 0.5]])
    grid = least_error(weights, 4)
    assert grid.scale.shape == (2, 1)
    assert grid.rounded(weights)[0].tolist() == [0, 0, 0]


def test_the_clip_of_least_error_cuts_off_a_rare_value_at_few_bits_and_not_at_eight():
    values = np.append(np.random.default_rng(0).uniform(0, 1, 100_000), 10.0).astype(np.float32)
    assert least_error_clip(values, 2) < 2
    assert least_error_clip(values, 8) > 8
    assert least_error_clip(np.zeros(3), 4) == 0


def test_a_clip_of_no_values_is_refused():
    with pytest.raises(ValueError):
        least_error_clip(np.zeros(0), 4)


def outputs_error(weights, back, rows):
    return (((back - weights).reshape(len(weights), -1) @ rows.T) ** 2).mean()


def correlated_rows(count, width):
    random = np.random.default_rng(0)
    return (random.normal(size=(count, 4)) @ random.normal(size=(4, width))).astype(np.float32)


@pytest.mark.parametrize("bits", [2, 3, 8])
def test_levels_for_the_output_are_levels_and_change_it_less_than_the_nearest(bits):
    weights, rows = np.random.default_rng(1).normal(size=(6, 3, 4)).astype(np.float32), correlated_rows(100, 12)
    grid = least_error(weights, bits)
    back = levels_for_output(weights, grid, rows)
    assert back.shape == weights.shape and back.dtype == np.float32
    assert np.allclose(grid.rounded(back), back, atol=1e-6), "each is a level of its channel's grid"
    assert outputs_error(weights, back, rows) < 0.8 * outputs_error(weights, grid.rounded(weights), rows)


def test_levels_for_the_output_are_the_nearest_where_the_inputs_are_independent():
    weights = np.random.default_rng(2).normal(size=(5, 7)).astype(np.float32)
    grid = least_error(weights, 3)
    assert np.allclose(levels_for_output(weights, grid, np.eye(7, dtype=np.float32)), grid.rounded(weights), atol=1e-6)


def test_an_input_that_is_always_0_leaves_its_weight_at_the_nearest_level():
    weights, rows = np.random.default_rng(3).normal(size=(5, 12)).astype(np.float32), correlated_rows(50, 12)
    rows[:, 4] = 0
    grid = least_error(weights, 3)
    assert np.allclose(levels_for_output(weights, grid, rows)[:, 4], grid.rounded(weights)[:, 4], atol=1e-6)


@pytest.mark.parametrize("rows", [np.zeros((0, 12)), np.zeros((4, 11)), np.zeros(12)])
def test_inputs_of_another_width_or_none_are_refused(rows):
    weights = np.ones((2, 12), np.float32)
    with pytest.raises(ValueError):
        levels_for_output(weights, least_error(weights, 3), rows)
