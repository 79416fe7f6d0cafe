"""The reference wins every point; each planted weak project loses exactly its own."""

from pathlib import Path

import pytest

from course_lib.capstone import examine, projects
from course_lib.ops.reach import probe

WEAK = sorted(projects.SOURCE.glob("weak/*"))
NAMES = [each.name for each in examine.criteria()]
ENGINE = [each.name for each in examine.criteria() if each.engine]
TOGETHER = [
    ("bad-inputs", "drift", "alerts"),
    ("drain", "parity", "cost", "contract"),
    ("latency", "quality"),
    ("rollback", "tests", "card", "logs"),
    ("signature", "explanation", "manifests"),
]


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
def test_a_weak_project_loses_its_points(weak, tmp_path):
    own = (weak / "loses").read_text().split()[0]
    if own in ENGINE and not probe("docker").there:
        pytest.skip("no Docker engine within reach")
    only = ENGINE if own in ENGINE else [own]
    result = examine.examine(projects.reference(tmp_path / "weak", weak), only=only)
    assert [*lost(result)] == [own], lost(result)


@pytest.mark.parametrize("together", TOGETHER, ids="+".join)
def test_weak_projects_laid_over_one_another_lose_their_own_points_and_no_others(together, tmp_path):
    """An exam of its own for each would take ten minutes. Weaknesses of one file are never laid over one another."""
    folder = projects.reference(tmp_path / "weak", *(projects.SOURCE / "weak" / each for each in together))
    result = examine.examine(folder, only=[name for name in NAMES if name not in ENGINE])
    assert {*lost(result)} == {*together}, lost(result)


def test_every_weakness_without_an_engine_is_laid_over_others():
    assert sorted(sum(TOGETHER, ())) == sorted({*NAMES} - {*ENGINE, "runs"})
    for together in TOGETHER:
        layers = [projects.SOURCE / "weak" / each for each in together]
        files = [path.relative_to(layer) for layer in layers for path in layer.rglob("*") if path.is_file()]
        assert len({*files} - {Path("loses")}) == len(files) - len(layers), together


def test_the_points_of_all_criteria_are_100():
    assert sum(each.points for each in examine.criteria()) == 100
