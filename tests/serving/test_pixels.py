"""What the preprocessing service takes for a picture: numbers that stand for what they should, and nothing else."""

import copy

import numpy as np
import pytest

from course_lib import data
from course_lib.services import preprocess, process

BITMAP = [[0] * 31 + [1]] * 32
RGB = [[[255, 255, 255]] * 31 + [[0, 10, 0]]] * 32
STROKES = [[[1, 2], [3.5, 4]]]


@pytest.mark.parametrize("wrong", [None, "0", "", 1.0, 0.5, True, -1, 256, 10**30, float("nan"), [], {}])
def test_a_channel_that_is_no_whole_number_to_255_is_refused(wrong):
    picture = copy.deepcopy(RGB)
    picture[3][4] = [0, 0, wrong]
    with pytest.raises(process.Refused) as refused:
        preprocess.to_pixels({"rgb": [RGB, picture]})
    assert refused.value.status == 400 and refused.value.message.startswith("rgb[1]: ")


@pytest.mark.parametrize("white", [1, 1.0])
def test_a_picture_whose_white_is_1_is_refused(white):
    with pytest.raises(process.Refused, match="rgb"):
        preprocess.to_pixels({"rgb": [[[[white] * 3] * 32] * 32]})


@pytest.mark.parametrize("wrong", [None, "0", "", 0.0, 1.0, 2, 255, -1, [], {}])
def test_a_point_of_a_bitmap_that_is_neither_paper_nor_ink_is_refused(wrong):
    with pytest.raises(process.Refused, match="bitmap"):
        preprocess.to_pixels({"bitmaps": [[[wrong, *BITMAP[0][1:]], *BITMAP[1:]]]})


@pytest.mark.parametrize("wrong", [None, "1", True, [], {}, float("inf"), float("nan"), 10**400])
def test_a_coordinate_that_is_no_finite_number_is_refused(wrong):
    for strokes in ([[[1, wrong], [2, 3]]], [[[1, 2], [3, 4]], [[wrong, 1]]]):
        with pytest.raises(process.Refused, match="strokes"):
            preprocess.to_pixels({"strokes": [strokes]})


@pytest.mark.parametrize("wrong", [None, "text", 5, {}, [None], [5], ["x"], [[]], [[1, 2]]])
def test_what_is_no_list_of_strokes_is_refused(wrong):
    with pytest.raises(process.Refused, match="strokes"):
        preprocess.to_pixels({"strokes": [wrong]})


def test_what_is_right_is_read():
    ink = np.array(BITMAP)
    for body in ({"bitmaps": [BITMAP]}, {"bitmaps": [(ink > 0).tolist()]}, {"rgb": [RGB]}):
        np.testing.assert_array_equal(preprocess.to_pixels(body)[0, 0], data.from_bitmap(ink))
    np.testing.assert_array_equal(preprocess.to_pixels({"strokes": [STROKES, []]})[0, 0], data.from_strokes(STROKES))
