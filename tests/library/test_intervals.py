"""Intervals for a share, held against SciPy's."""

import pytest
from scipy.stats import binomtest

from course_lib.measure import wilson


@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.99])
@pytest.mark.parametrize(("right", "count"), [(0, 1), (1, 1), (0, 450), (446, 450), (450, 450), (7, 20)])
def test_the_interval_is_scipys(right, count, confidence):
    expected = binomtest(right, count).proportion_ci(confidence, method="wilson")
    assert wilson(right, count, confidence) == pytest.approx((expected.low, expected.high), abs=1e-12)


@pytest.mark.parametrize(("right", "count", "confidence"), [(-1, 4, 0.95), (5, 4, 0.95), (0, 0, 0.95), (1.5, 4, 0.95),
                                                            (1, 4, 95), (1, 4, 0)])  # fmt: skip
def test_what_is_no_share_of_a_sample_is_refused(right, count, confidence):
    with pytest.raises(ValueError, match="expected"):
        wilson(right, count, confidence)
