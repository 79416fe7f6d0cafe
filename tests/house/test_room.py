"""`./course doctor --room`, on machines that lack what a workshop wants."""

import collections
import json
import os
import socket
import subprocess
import sys
import webbrowser
from pathlib import Path

import nbformat
import pytest
from packaging import tags

from course_lib import doctor, syllabus
from course_lib.doctor import Finding, engines, machine, room
from course_lib.ops import reach
from course_lib.places import CHECKOUT


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of this machine's own settings."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name.startswith("PIP_"):
            monkeypatch.delenv(name)


def found(finding: Finding, there: bool, words: str) -> None:
    assert (finding.there, words in finding.found) == (there, True), finding
    assert finding.purpose and finding.get and finding.without


PINS = (
    "torch==2.13.0\nOne.Two==1.0\ntriton==3.7 ; sys_platform == 'linux'\nelsewhere==1.0 ; sys_platform == 'nowhere'\n"
)


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that holds what a tiny course pins, on a machine where nothing is installed."""
    (tmp_path / "checkout").mkdir()
    (tmp_path / "checkout/constraints.txt").write_text(PINS)
    monkeypatch.setattr(room, "CHECKOUT", tmp_path / "checkout")
    monkeypatch.setattr(machine, "misfits", lambda authors=False: (["torch"], [], 1))
    folder = tmp_path / "the wheels"
    folder.mkdir()
    here = str(next(iter(tags.sys_tags())))
    (folder / f"torch-2.13.0+cpu-{here}.whl").touch()
    (folder / "one_two-1.0.0-py3-none-any.whl").touch()
    (folder / "not a wheel.whl").touch()
    monkeypatch.setenv("PIP_FIND_LINKS", folder.as_uri())
    return folder


def test_wheels_of_all_pins_for_this_python_are_enough(wheels: Path) -> None:
    found(room.wheels(), True, "2 of 2 pins")


@pytest.mark.parametrize("instead", ["", "one_two-1.1-py3-none-any.whl", "one_two-1.0-cp39-cp39-win32.whl"])
def test_a_missing_wheel_is_named_be_it_absent_of_another_version_or_for_another_machine(
    wheels: Path, instead: str
) -> None:
    (wheels / "one_two-1.0.0-py3-none-any.whl").unlink()
    if instead:
        (wheels / instead).touch()
    missing = room.wheels()
    found(missing, False, "1 of 2 pins have no wheel")
    assert missing.needed and missing.found.endswith(": one-two")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="CUDA's packages are pinned for Linux")
def test_pytorch_s_cuda_build_wants_its_own_packages_too(wheels: Path) -> None:
    here = str(next(iter(tags.sys_tags())))
    (wheels / f"torch-2.13.0+cpu-{here}.whl").rename(wheels / f"torch-2.13.0-{here}.whl")
    found(room.wheels(), False, "1 of 3 pins have no wheel")


def test_a_folder_with_a_space_is_told_apart_as_pip_does(wheels: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    found(room.wheels(), False, "no folder ")
    assert "pip splits the variable at spaces" in room.wheels().found


def test_without_a_folder_installed_packages_are_enough(wheels: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PIP_FIND_LINKS")
    found(room.wheels(), False, "is not set")
    monkeypatch.setattr(machine, "misfits", lambda authors=False: ([], [], 1))
    found(room.wheels(), True, "the packages are installed")


def test_a_missing_wheel_does_not_stop_a_machine_where_all_is_installed_but_is_shown(
    wheels: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "misfits", lambda authors=False: ([], [], 1))
    (wheels / "one_two-1.0.0-py3-none-any.whl").unlink()
    found(room.wheels(), False, "the packages are installed; 1 of 2 pins have no wheel")
    assert not room.wheels().needed


def test_a_full_disk_little_memory_and_an_occupied_port_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda path: collections.namedtuple("Usage", "free")(1e9))
    monkeypatch.setattr(machine, "_total_memory", lambda: 2**30)
    monkeypatch.setattr(machine, "_free", lambda port: port != 8888)
    for check, words in ((room.disk, "1.0 GB free"), (room.memory, "for 0 open lessons"), (room.ports, "8888 in use")):
        found(check(), False, words)
        assert check().needed


def test_memory_is_told_in_open_lessons(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_total_memory", lambda: 4 * 2**30)
    monkeypatch.setattr(machine, "_memory_limit", lambda: None)
    found(room.memory(), True, "4.0 GiB, for 2 open lessons")


@pytest.mark.parametrize(
    ("set_to", "there", "words"),
    [
        ({}, True, "127.0.0.1 can be reached"),
        (
            {"HTTP_PROXY": "http://proxy:3128"},
            False,
            "a proxy is set (http), and NO_PROXY lacks localhost and 127.0.0.1",
        ),
        ({"all_proxy": "http://proxy:3128", "no_proxy": "localhost"}, False, "NO_PROXY lacks 127.0.0.1"),
        ({"http_proxy": "http://proxy:3128", "no_proxy": "localhost,127.0.0.1"}, True, "can be reached"),
    ],
)
def test_a_proxy_that_would_be_asked_for_this_machine_is_seen(
    set_to: dict[str, str], there: bool, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in set_to.items():
        monkeypatch.setenv(name, value)
    found(room.localhost(), there, words)


def test_a_machine_that_does_not_reach_itself_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*words: object, **more: object) -> None:
        raise ConnectionRefusedError(111, "Connection refused")

    monkeypatch.setattr(socket, "create_connection", refuse)
    found(room.localhost(), False, "127.0.0.1 cannot be reached (Connection refused)")


def test_a_missing_browser_is_said_and_is_no_obstacle(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> None:
        raise webbrowser.Error("could not locate runnable browser")

    monkeypatch.setattr(webbrowser, "get", none)
    found(room.browser(), False, "none that Python can open")
    assert not room.browser().needed


class ImageNotFound(Exception):
    """What the docker package raises."""


@pytest.mark.parametrize(
    ("raised", "there", "words"),
    [
        (None, True, "is on this engine"),
        (ImageNotFound(), False, f"{reach.BASE_IMAGE} is not on this engine"),
        (ConnectionRefusedError(), True, "not needed: no engine answers"),
        (ModuleNotFoundError(), False, "the packages are not installed"),
    ],
)
def test_an_engine_without_the_base_image_is_seen(
    raised: Exception | None, there: bool, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Client:
        images = property(lambda self: self)

        def get(self, name: str) -> None:
            assert name == reach.BASE_IMAGE
            if raised:
                raise raised

        def close(self) -> None:
            pass

    monkeypatch.setattr(reach, "docker_client", lambda timeout: Client())
    monkeypatch.delenv("COURSE_REPLAY", raising=False)
    found(room.base_image(), there, words)
    monkeypatch.setenv("COURSE_REPLAY", "1")
    found(room.base_image(), True, "not needed: COURSE_REPLAY is 1")


@pytest.mark.parametrize(
    ("code", "there", "words"),
    [
        ("import os; assert os.environ['COURSE_REPLAY'] == '1'", True, "lesson 02 ran, "),
        ("raise ValueError('planted')", False, "lesson 02 failed: ValueError: planted"),
        ("import time; time.sleep(600)", False, "no end within 20 s"),
    ],
)
def test_a_lesson_is_run_and_one_that_fails_or_hangs_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, there: bool, words: str
) -> None:
    path = next(each for each in syllabus.load().lessons if each.number == "02").notebook("notebooks", tmp_path)
    path.parent.mkdir()
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)]), path)
    monkeypatch.setattr(room, "CHECKOUT", tmp_path)
    monkeypatch.setattr(machine, "misfits", lambda authors=False: ([], [], 1))
    if not there:
        monkeypatch.setattr(room, "LESSON_SECONDS", 20 if "sleep" in code else 300)
    found(room.lesson(), there, words)


def test_a_python_whose_kernel_does_not_start_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "misfits", lambda authors=False: ([], [], 1))
    monkeypatch.setattr(engines, "ask", lambda command, seconds: "")
    found(room.lesson(), False, "the kernel does not start")


@pytest.mark.parametrize("fault", ["", "wheels", "lesson", "browser"])
def test_the_room_is_ready_unless_something_that_it_needs_is_missing(
    fault: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def line(name: str, needed: bool) -> Finding:
        return Finding(name, name != fault, "as found", "for", f"get {name}", "without", needed)

    def broken() -> Finding:
        raise ImportError("no pip")

    lines = [lambda name=name: line(name, name != "browser") for name in ("wheels", "lesson", "browser")]
    monkeypatch.setattr(room, "CHECKS", lines)
    assert doctor.main(["--room"]) == (1 if fault in ("wheels", "lesson") else 0)
    said = capsys.readouterr().out
    assert (f"Not ready for a workshop: {fault}." if fault in ("wheels", "lesson") else "Ready for a workshop") in said
    assert not fault or f"get {fault}" in said
    monkeypatch.setattr(room, "CHECKS", [broken])
    assert doctor.main(["--room"]) == 1


def test_before_anything_is_installed_it_says_what_it_could_not_look_at(wheels: Path) -> None:
    code = "import runpy, sys; sys.argv = ['doctor', '--room', '--json']; runpy.run_module('course_lib.doctor', run_name='__main__')"
    command = [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, {str(CHECKOUT)!r}); {code}"]
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    told = {each["name"]: each for each in json.loads(said.stdout)}
    assert said.returncode == 1
    assert list(told) == ["Python", "Packages", "Wheels", "Memory", "Disk", "Ports", "Localhost", "Browser", "Docker",
                          "Base image", "kubectl", "Kubernetes", "Lesson"]  # fmt: skip
    assert told["Lesson"]["found"] == "not looked at: the packages are not installed"
    assert "pins have no wheel for Python" in told["Wheels"]["found"]  # asked by the packaging within ensurepip's pip


def test_help_and_readme_name_it() -> None:
    assert "`doctor --room`" in (CHECKOUT / "course").read_text(encoding="utf-8")
    assert "./course doctor --room" in (CHECKOUT / "README.md").read_text(encoding="utf-8")
