"""The workflows on GitHub: their files fit the schema, and their commands say what `./course` understands.

No run on GitHub is tested here.
"""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

from course_lib import syllabus
from course_lib.places import CHECKOUT
from tests.deploy.tree import absent
from tools import environments
from tools.teaching import newest
from tools.test import jobs

WORKFLOWS = sorted((CHECKOUT / ".github/workflows").glob("*.yml"))
SYSTEMS = yaml.safe_load((CHECKOUT / ".github/workflows/systems.yml").read_text(encoding="utf-8"))
PINS = Path(__file__).parent / "workflows" / "check-jsonschema.txt"


def commands() -> list[tuple[str, str]]:
    """Every command of every workflow, with the file's name."""
    found = []
    for path in WORKFLOWS:
        for job in yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"].values():
            found += [(path.name, step["run"]) for step in job["steps"] if "run" in step]
    return found


@pytest.fixture(scope="module")
def validator() -> list[str]:
    """check-jsonschema, with GitHub's schema of workflows in it, in an environment of its own."""
    try:
        python = environments.python(PINS)
    except environments.NotInstalled as why:
        absent(f"check-jsonschema is not installed and cannot be now: {why}")
    return [python, "-I", "-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows"]


def test_every_workflow_fits_githubs_schema(validator):
    done = subprocess.run([*validator, *map(str, WORKFLOWS)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("old, new", [("runs-on:", "run-on:"), ("timeout-minutes: 120", "timeout-minutes: long"),
                                      ("- run: python course setup", "- ran: python course setup")])  # fmt: skip
def test_a_misspelt_workflow_is_refused(validator, tmp_path, old, new):
    text = (CHECKOUT / ".github/workflows/systems.yml").read_text(encoding="utf-8")
    assert old in text
    (tmp_path / "bad.yml").write_text(text.replace(old, new), encoding="utf-8")
    done = subprocess.run([*validator, str(tmp_path / "bad.yml")], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1, done.stderr


def test_every_call_of_the_course_is_one_that_it_knows():
    called = 0
    for name, command in commands():
        for words in re.findall(r"(?:\./course|python course|python -m tools\.test)((?: [\w=.-]+)*)", command):
            words = ["test", *words.split()] if "tools.test" in command else words.split()
            source = (CHECKOUT / "course").read_text(encoding="utf-8")
            assert f"\n  {words[0]} " in source, f"{name}: {command}"
            if words[0] == "test" and words[1:2] != ["colab"]:
                assert jobs.choose(words[1:], CHECKOUT), f"{name}: {command}"  # raises where a word names nothing
            called += 1
    assert called >= 10


def test_three_systems_three_pythons_and_a_lesson_of_each_part():
    matrix = SYSTEMS["jobs"]["systems"]["strategy"]["matrix"]
    assert {each.partition("-")[0] for each in matrix["system"]} == {"ubuntu", "macos", "windows"}
    assert matrix["python"] == ["3.11", "3.12", "3.13"]
    course = syllabus.load()
    for command in (run for name, run in commands() if name == "systems.yml" and re.search(r"test 0", run)):
        parts = [course.part_of(course.lesson(word)).roman for word in re.findall(r"\b\d\d\b", command)]
        assert parts == ["", "I", "II", "III", "IV", "V", "VI"]


def test_the_newest_packages_are_those_of_the_project_without_versions():
    done = subprocess.run([sys.executable, "tools/teaching/newest.py"], cwd=CHECKOUT, capture_output=True, text=True)
    named = [Requirement(line) for line in done.stdout.splitlines()]
    assert {"torch", "numpy", "jupytext", "setuptools", "tritonclient"} <= {each.name for each in named}
    assert not any(each.specifier for each in named) and any(each.marker for each in named)


def test_extras_and_markers_stay_where_a_version_goes():
    text = """
[build-system]
requires = ["setuptools>=64"]
[project]
dependencies = ["a==1; sys_platform == 'linux'", "b[c]~=2", "d"]
[project.optional-dependencies]
authors = ["e<3"]
"""
    assert newest.requirements(text) == ["setuptools", "a; sys_platform == 'linux'", "b[c]", "d", "e"]
