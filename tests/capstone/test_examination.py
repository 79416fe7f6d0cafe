"""The reference wins every point; each planted weak project loses exactly its own."""

import pytest

from course_lib.capstone import examine, projects
from course_lib.ops.reach import probe

WEAK = sorted(projects.SOURCE.glob("weak/*"))
NAMES = [each.name for each in examine.criteria()]
ENGINE = [each.name for each in examine.criteria() if each.engine]


def lost(result: examine.Result) -> dict[str, str]:
    """The criteria that were looked at and not met, and what was seen."""
    return {line.criterion.name: line.seen for line in result.lines if line.passed is False}


def test_the_reference_wins_every_point_that_can_be_examined_here(tmp_path):
    result = examine.examine(projects.reference(tmp_path / "reference"))
    assert lost(result) == {} and [line.criterion.name for line in result.lines] == NAMES
    assert result.points == result.of == (100 if probe("docker").there else 84)
    assert result.seconds < 300


def test_each_criterion_has_a_weak_project_that_loses_it():
    loses = {(each / "loses").read_text().split()[0] for each in WEAK}
    assert loses == {*NAMES} - {"runs"}  # a server that does not start loses all that needs one: test_strangers.py


@pytest.mark.parametrize("weak", WEAK, ids=lambda each: each.name)
def test_a_weak_project_loses_exactly_its_points(weak, tmp_path):
    own = (weak / "loses").read_text().split()[0]
    if own in ENGINE and not probe("docker").there:
        pytest.skip("no Docker engine within reach")
    only = ENGINE if own in ENGINE else [name for name in NAMES if name not in ENGINE]
    result = examine.examine(projects.reference(tmp_path / "weak", weak), only=only)
    assert [*lost(result)] == [own], lost(result)


def test_the_points_of_all_criteria_are_100():
    assert sum(each.points for each in examine.criteria()) == 100
