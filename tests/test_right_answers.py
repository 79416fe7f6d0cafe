"""check accepts every right answer, also those that are written otherwise than the solution."""

import pytest

from course_lib.idioms.exercises import examine
from tests.right_answers import RIGHT


@pytest.mark.parametrize(("number", "answer"), [pytest.param(number, answer, id=f"{number}-{answer.__name__}")
                                                for number, answers in RIGHT.items() for answer in answers])  # fmt: skip
def test_a_right_answer_of_another_shape_is_accepted(number, answer):
    found = examine(number, answer)
    assert (found.state, found.failed, found.reasons) == ("solved", "", ())
