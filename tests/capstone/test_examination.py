"""The reference wins every point; each planted weak project loses exactly its own."""

import tomllib
from pathlib import Path

import pytest

from course_lib.capstone import examine, projects
from course_lib.ops.reach import probe

HERE = Path(__file__).parent
WEAK = tomllib.loads((HERE / "weak.toml").read_text(encoding="utf-8"))
NAMES = [each.name for each in examine.criteria()]
ENGINE = [each.name for each in examine.criteria() if each.engine]
TOGETHER = [
    ("bad-inputs", "drift", "alerts"),
    ("drain", "parity", "cost", "contract"),
    ("latency", "quality"),
    ("rollback", "tests", "card", "logs"),
    ("signature", "explanation", "manifests"),
]


def weak(folder: Path, *names: str) -> Path:
    """The reference solution with these weaknesses, made in `folder`."""
    files = [HERE / "weak" / name for name in names]
    projects.reference(folder, *[each for each in files if each.is_dir()])
    for change in (change for name in names for change in WEAK[name].get("changes", [])):
        path = folder / change["file"]
        text = path.read_text(encoding="utf-8")
        assert text.count(change["old"]) == 1, change
        path.write_text(text.replace(change["old"], change["new"]), encoding="utf-8")
    return folder


def lost(result: examine.Result) -> dict[str, str]:
    """The criteria that were looked at and not met, and what was seen."""
    return {line.criterion.name: line.seen for line in result.lines if line.passed is False}


def test_the_reference_wins_every_point_that_can_be_examined_here(tmp_path):
    result = examine.examine(projects.reference(tmp_path / "reference"))
    assert lost(result) == {} and [line.criterion.name for line in result.lines] == NAMES
    assert result.points == result.of == (100 if probe("docker").there else 84)
    assert result.seconds < 300


def test_each_criterion_has_a_weak_project_that_loses_it():
    assert {*WEAK} == {*NAMES} - {"runs"}  # a server that does not start loses all that needs one: test_strangers.py


@pytest.mark.parametrize("own", WEAK)
def test_a_weak_project_loses_its_points(own, tmp_path):
    if own in ENGINE and not probe("docker").there:
        pytest.skip("no Docker engine within reach")
    result = examine.examine(weak(tmp_path / "weak", own), only=ENGINE if own in ENGINE else [own])
    assert [*lost(result)] == [own], (WEAK[own]["why"], lost(result))


@pytest.mark.parametrize("together", TOGETHER, ids="+".join)
def test_weaknesses_of_one_project_lose_their_own_points_and_no_others(together, tmp_path):
    """An exam of its own for each would take ten minutes."""
    result = examine.examine(weak(tmp_path / "weak", *together), only=[name for name in NAMES if name not in ENGINE])
    assert {*lost(result)} == {*together}, lost(result)


def test_every_weakness_without_an_engine_is_among_others():
    assert sorted(sum(TOGETHER, ())) == sorted({*NAMES} - {*ENGINE, "runs"})


def test_the_points_of_all_criteria_are_100():
    assert sum(each.points for each in examine.criteria()) == 100
