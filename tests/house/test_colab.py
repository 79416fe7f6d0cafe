"""Google Colab: its list of packages, what the first cell installs there, and the environment to try it in."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from course_lib.places import CHECKOUT
from tools import environments
from tools.build import pages, source
from tools.colab import environment, first_cell, tried
from tools.test import __main__ as runner

MISSING = CHECKOUT / "tools/colab/missing.txt"
COLAB = {canonicalize_name(name): version for name, version in environments.pins(environment.RUNTIME).items()}
COURSE = environments.pins(CHECKOUT / "constraints.txt")
PROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_colabs_list_has_its_date_its_python_and_what_the_lessons_stand_on():
    version, date = environment.about()
    assert version in ("3.11", "3.12", "3.13") and re.fullmatch(r"20\d\d-\d\d-\d\d", date)
    assert {"torch", "tensorflow", "keras", "numpy", "protobuf", "ipykernel", "ipython"} <= set(COLAB)


def test_the_first_cell_asks_for_no_package_that_colab_has():
    asked = environments.pins(MISSING)
    assert not {name: asked[name] for name in asked if name in COLAB}


def test_what_lessons_import_is_on_colab_or_is_installed_there():
    needed = {canonicalize_name(Requirement(each).name) for each in PROJECT["dependencies"]}
    assert needed == set(environments.pins(MISSING)) | pages.ELSEWHERE_ON_COLAB | (needed & set(COLAB))


def test_what_the_first_cell_installs_has_the_courses_versions_except_where_colab_needs_older_ones():
    asked = environments.pins(MISSING)
    assert {name for name in asked if asked[name] != COURSE[name]} == set(pages.COLAB_PINS)


def test_an_installed_package_keeps_its_version_and_the_courses_pins_hold_for_others():
    installed = {"numpy": "2.1.3", "ml_dtypes": "0.6.0", "torch": "2.11.0+cpu"}
    pins = "# pins\nnumpy==2.4.6\nml-dtypes==0.7.0\nonnx==1.23.2\ncattrs==26.2.1 ; sys_platform != 'win32'\n"
    assert first_cell.fixed(installed, pins, "# asked\nonnx==1.22.0\n") == [
        *("numpy==2.1.3", "ml_dtypes==0.6.0", "torch==2.11.0+cpu"),
        "cattrs==26.2.1 ; sys_platform != 'win32'",
    ]


@pytest.fixture
def pip(monkeypatch: pytest.MonkeyPatch) -> dict:
    """What pip is asked in place of the real one, and the constraints that it would read; `code` is its answer."""
    asked = {"code": 0}

    def run(command: list[str], **options: object) -> subprocess.CompletedProcess:
        asked["command"] = command
        asked["constraints"] = Path(command[command.index("-c") + 1]).read_text(encoding="utf-8")
        return subprocess.CompletedProcess(command, asked["code"], "", "ERROR: no such version")

    monkeypatch.setattr(subprocess, "run", run)
    return asked


def test_pip_is_asked_quietly_and_told_every_installed_version(pip, capfd):
    first_cell.install()
    assert pip["command"][:4] == [sys.executable, "-m", "pip", "install"] and "--quiet" in pip["command"]
    assert f"pytest=={pytest.__version__}\n" in pip["constraints"]
    assert capfd.readouterr() == ("", "")


def test_where_pip_fails_the_message_says_what_it_said_and_what_to_do(pip):
    pip["code"] = 1
    with pytest.raises(RuntimeError, match=r"(?s)ERROR: no such version.*delete runtime.*README"):
        first_cell.install()


def test_the_environment_gets_what_the_lessons_need_in_colabs_versions():
    whole, beside = environment.names()
    assert {"torch", "tensorflow", "keras", "numpy", "ipykernel", "starlette"} <= set(whole)
    assert {canonicalize_name(name) for name in whole + beside} <= set(COLAB)
    assert not set(whole) & set(beside)


def test_an_environment_loses_what_was_added_and_is_made_anew_where_something_else_changed(tmp_path, monkeypatch):
    packages, asked = {"numpy": "2.1.3"}, []
    monkeypatch.setattr(environment, "interpreter", lambda: "python")
    monkeypatch.setattr(environment, "_install", lambda folder: folder.mkdir())
    monkeypatch.setattr(environment, "installed", lambda program: dict(packages))
    monkeypatch.setattr(subprocess, "call", lambda command: asked.append(command[2]))  # of `python -m venv`: "venv"
    monkeypatch.setattr(subprocess, "run", lambda command, **options: asked.append(command[3:]))
    environment.python(tmp_path / "colab")
    packages["onnx"] = "1.22.0"
    environment.python(tmp_path / "colab")
    assert asked == ["venv", ["uninstall", "-y", "-q", "onnx"]]
    packages["numpy"] = "2.4.6"
    environment.python(tmp_path / "colab")
    assert asked[-1] == "venv"


def test_where_no_python_of_colabs_version_is_there_the_message_names_it(monkeypatch):
    monkeypatch.setattr(environment.course, "version_of", lambda *command: "3.9")
    with pytest.raises(environment.NotInstalled, match=f"python{environment.about()[0]} is on PATH"):
        environment.interpreter()


def test_the_lessons_of_the_first_parts_run_in_colabs_kernel_and_their_first_cells_find_the_clone(tmp_path):
    lesson = tmp_path / "course/notebooks/13_performance.ipynb"
    later = tmp_path / "course/notebooks/14_api.ipynb"
    lesson.parent.mkdir(parents=True)
    for file in (lesson, later):
        file.write_text(f'run_path("{source.COLAB_CHECKOUT}/tools")')
    (tmp_path / "course/syllabus.toml").write_text((CHECKOUT / "syllabus.toml").read_text(encoding="utf-8"))
    (job,) = tried.jobs(tmp_path, [])
    assert job.name == "13_performance" and job.offline and job.alone
    assert "--nbval-kernel-name=colab" in job.command and "--nbval-current-env" not in job.command
    assert lesson.read_text() == f'run_path("{(tmp_path / "course").as_posix()}/tools")'


def test_a_word_that_names_no_lesson_is_told_before_anything_is_installed(monkeypatch, capsys):
    monkeypatch.setattr(environment, "python", lambda: pytest.fail("nothing is to be installed"))
    assert runner.main(["colab", "99"]) == 2
    assert "no lesson '99'" in capsys.readouterr().err
