"""What is done to the digits' pictures."""

import numpy as np
import pytest

from course_lib import data


def test_upscaled_pictures_keep_their_mean_and_their_range():
    images = np.random.default_rng(0).random((3, 8, 8), dtype=np.float32)
    large = data.upscaled(images)
    assert large.shape == (3, 32, 32) and large.dtype == np.float32
    assert images.min() <= large.min() and large.max() <= images.max()
    assert np.allclose(large.mean(), images.mean(), atol=0.05)


def test_upscaling_interpolates_between_points_and_repeats_the_border():
    ramp = np.tile(np.array([0.0, 1.0], np.float32), (1, 2, 1))
    assert np.allclose(data.upscaled(ramp, 4)[0, 0], [0, 0.25, 0.75, 1])
    assert np.array_equal(data.upscaled(ramp, 2), ramp)
    assert data.upscaled(np.zeros((0, 8, 8), np.float32)).shape == (0, 32, 32)


@pytest.mark.parametrize("shape", [(2, 8, 9), (8, 8), (2, 1, 1), (2, 64, 64)])
def test_what_cannot_be_upscaled_is_refused(shape):
    with pytest.raises(ValueError, match="expected square pictures"):
        data.upscaled(np.zeros(shape, np.float32))
