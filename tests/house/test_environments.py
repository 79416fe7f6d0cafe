"""Environments of their own for tools whose packages conflict with the course's."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from course_lib.places import CHECKOUT
from tools import environments
from tools.environments import NotInstalled

CHECKOV = CHECKOUT / "tests/deploy/policy/checkov.txt"


@pytest.fixture
def pinned(tmp_path: Path) -> Path:
    file = tmp_path / "tool.txt"
    file.write_text("# Pinned from tool==1.2\ntool==1.2\ncolorama==0.4.6 ; sys_platform == 'win32'\n")
    return file


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The commands that would have run; `venv` makes the folder, as the real one does."""
    commands = []

    def call(command: list[str], **options: object) -> int:
        commands.append(command)
        if "venv" in command:
            Path(command[-1]).mkdir(parents=True)
        else:
            assert "PYTHONPATH" not in options["env"], "what is installed there must not be found elsewhere"
        return 0

    monkeypatch.setattr(subprocess, "call", call)
    monkeypatch.setenv("PYTHONPATH", str(CHECKOUT))
    return commands


def test_pins_are_read_without_markers(pinned):
    assert environments.pins(pinned) == {"tool": "1.2", "colorama": "0.4.6"}


def test_an_environment_is_made_once_and_anew_when_its_pins_change(pinned, called, tmp_path):
    program = environments.python(pinned, tmp_path / "kept")
    assert Path(program).is_relative_to(tmp_path / "kept/peers/tool")
    assert [command[2] for command in called] == ["venv", "pip"] and called[0][0] == sys.executable
    assert called[1][-2:] == ["-r", str(pinned)]
    assert environments.python(pinned, tmp_path / "kept") == program and len(called) == 2
    pinned.write_text(pinned.read_text().replace("1.2", "1.3"))
    environments.python(pinned, tmp_path / "kept")
    assert len(called) == 4


def test_one_that_broke_off_is_made_again(pinned, tmp_path, monkeypatch, called):
    working = subprocess.call
    monkeypatch.setattr(subprocess, "call", lambda command, **more: 1 if "pip" in command else working(command, **more))
    with pytest.raises(NotInstalled, match="pip could not install tool; .* The same command tries again"):
        environments.python(pinned, tmp_path / "kept")
    monkeypatch.setattr(subprocess, "call", working)
    environments.python(pinned, tmp_path / "kept")
    assert [command[2] for command in called] == ["venv", "venv", "pip"]


def test_without_venv_it_says_how_to_get_it(pinned, tmp_path, monkeypatch):
    monkeypatch.setattr(environments.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(NotInstalled, match="apt install python3-venv"):
        environments.python(pinned, tmp_path / "kept")


def test_the_scanner_is_pinned_to_the_last_package_and_to_no_index():
    lines = CHECKOV.read_text(encoding="utf-8").splitlines()
    assert all(line.startswith("#") or re.match(r"[\w.-]+==[\w.]+( ; .+)?$", line) for line in lines)
    assert f"from checkov=={environments.pins(CHECKOV)['checkov']}" in lines[0]
