"""How two models' outputs, and two classifiers' answers, are compared."""

import numpy as np
import pytest

from course_lib.measure import Disagreements, Parity, disagreements, parity

LOGITS = np.array([[1.0, -2.0, 0.0], [4.0, 8.0, -1.0]], dtype=np.float32)


def test_equal_outputs_differ_by_nothing():
    assert parity(LOGITS, LOGITS) == Parity(examples=2, max_abs_diff=0.0, max_rel_diff=0.0, agreement=1.0)


def test_the_largest_differences_and_the_agreement_are_found():
    answer = LOGITS + np.array([[0, 0.5, 0.25], [6, 0, 0]], dtype=np.float32)
    assert parity(LOGITS, answer) == Parity(examples=2, max_abs_diff=6.0, max_rel_diff=1.5, agreement=0.5)


def test_a_zero_in_the_reference_has_no_relative_difference_and_an_absolute_one():
    said = parity(np.array([[0.0, 1.0]]), np.array([[0.25, 1.0]]))
    assert (said.max_abs_diff, said.max_rel_diff) == (0.25, 0.0)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_equals_itself_alone(value):
    odd = LOGITS.copy()
    odd[0, 1] = value
    assert parity(odd, odd).max_abs_diff == 0
    assert parity(odd, odd).max_rel_diff == 0
    for reference, answer in ((LOGITS, odd), (odd, LOGITS)):
        assert parity(reference, answer).max_abs_diff == np.inf
        assert parity(reference, answer).max_rel_diff == np.inf


def test_differences_of_float16_outputs_are_counted_without_overflow():
    assert parity(np.array([[-6e4]], np.float16), np.array([[6e4]], np.float16)).max_abs_diff == pytest.approx(
        1.2e5, 1e-3
    )


@pytest.mark.parametrize("shapes", [((2, 3), (2, 4)), ((3,), (3,)), ((0, 3), (0, 3))])
def test_outputs_that_cannot_be_compared_are_refused_with_their_shapes(shapes):
    with pytest.raises(ValueError, match=r"expected outputs of one shape .* got \("):
        parity(np.zeros(shapes[0]), np.zeros(shapes[1]))


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
