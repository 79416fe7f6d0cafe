"""`./course` in folders of its own: a tiny checkout, and a folder of tiny wheels in the place of a package index."""

import ast
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from course_lib.places import CHECKOUT

pytestmark = pytest.mark.skipif(os.name == "nt", reason="drives POSIX shells and signals")

HAS_GPU = Path("/proc/driver/nvidia").exists() or shutil.which("nvidia-smi")
on_linux_without_gpu = pytest.mark.skipif(
    not sys.platform.startswith("linux") or bool(HAS_GPU), reason="the CPU build is chosen on Linux without a GPU"
)

PYPROJECT = """
[build-system]
requires = ["tinybackend"]
build-backend = "tinybackend"
[project]
name = "tinycourse"
version = "1"
dependencies = ["torch==2.13.0", "jupyterlab", "tinydep", "elsewhere; sys_platform == 'nowhere'"]
[project.optional-dependencies]
authors = ["tinytool"]
"""
CONSTRAINTS = "jupyterlab==1.0\ntinydep==1.0\ntinytool==1.0\ntorch==2.13.0\n"
BACKEND = """
import os, pathlib, time, zipfile
def build_editable(folder, config_settings=None, metadata_directory=None):
    pathlib.Path("building").touch()
    time.sleep(float(os.environ.get("TINY_SLEEP", 0)))
    name = "tinycourse-1-py3-none-any.whl"
    with zipfile.ZipFile(pathlib.Path(folder) / name, "w") as wheel:
        wheel.writestr("tinycourse.pth", os.getcwd())
        wheel.writestr("tinycourse-1.dist-info/METADATA", "Metadata-Version: 2.1\\nName: tinycourse\\nVersion: 1\\n")
        wheel.writestr("tinycourse-1.dist-info/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr("tinycourse-1.dist-info/RECORD", "")
    return name
"""

LAB = """
import os, sys
if sys.argv[0] == "-m":  # while `python -m` looks for what to run
    print("lab", os.getcwd(), sys.orig_argv[3:])
"""


def make_wheel(folder: Path, name: str, version: str, code: str = "", needs: tuple[str, ...] = ()) -> Path:
    """A wheel of one module, small enough to be made for a test."""
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(f"{name}/__init__.py", f"VERSION = {version!r}\n{code}")
        wheel.writestr(f"{name}/__main__.py", "")
        wheel.writestr(f"{info}/METADATA", metadata + "".join(f"Requires-Dist: {each}\n" for each in needs))
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    return path


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("index") / "wheels"
    make_wheel(folder, "torch", "2.13.0", needs=("nvidia_cublas",))
    make_wheel(folder, "torch", "2.13.0+cpu")
    make_wheel(folder, "nvidia_cublas", "1.0")
    make_wheel(folder, "jupyterlab", "1.0", LAB)
    make_wheel(folder, "tinydep", "1.0")
    make_wheel(folder, "tinydep", "2.0")
    make_wheel(folder, "tinytool", "1.0")
    make_wheel(folder, "tinybackend", "1.0", BACKEND)
    return folder


@pytest.fixture(scope="module")
def bare_venv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with pip alone, made once: making one takes seconds."""
    folder = tmp_path_factory.mktemp("bare") / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    return folder


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    """A checkout in which nothing was set up."""
    checkout = tmp_path / "check out"  # with a space, as learners have it
    (checkout / "tools").mkdir(parents=True)
    shutil.copy(CHECKOUT / "course", checkout / "course")
    (checkout / "pyproject.toml").write_text(PYPROJECT)
    (checkout / "constraints.txt").write_text(CONSTRAINTS)
    (checkout / "tools" / "__init__.py").touch()
    tests = "import sys; print('tests', sys.argv[1:], '●'); sys.exit(3)"
    (checkout / "tools" / "test.py").write_text(tests, encoding="utf-8")
    return checkout


@pytest.fixture
def checkout(empty: Path, bare_venv: Path) -> Path:
    """A checkout with an environment that has pip and no packages."""
    shutil.copytree(bare_venv, empty / ".venv", symlinks=True)
    return empty


def environment(wheels: Path, **more: str) -> dict[str, str]:
    """No index, no network, no settings of this machine's own pip: only the folder of wheels."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PIP_", "COURSE_", "VIRTUAL_ENV"))}
    pip = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": wheels.as_uri(), "PIP_RETRIES": "0", "PIP_NO_CACHE_DIR": "1"}
    return {**kept, **pip, "PIP_CONFIG_FILE": os.devnull, **more}


def course(checkout: Path, wheels: Path, *words: str, **more: str) -> subprocess.CompletedProcess:
    command = [sys.executable, str(checkout / "course"), *words]
    return subprocess.run(
        command, env=environment(wheels, **more), capture_output=True, encoding="utf-8", cwd="/", check=False
    )


def faked(checkout: Path, wheels: Path, fake: str, *words: str, **more: str) -> subprocess.CompletedProcess:
    """`course` on a machine that lacks something: `fake` is Python that runs before it, in its process."""
    script = f"import sys; sys.argv = ['course', *{words!r}]\n{fake}\nimport runpy\n"
    command = [sys.executable, "-c", script + f"runpy.run_path({str(checkout / 'course')!r}, run_name='__main__')"]
    return subprocess.run(command, env=environment(wheels, **more), capture_output=True, text=True, check=False)


def installed(checkout: Path, module: str) -> str:
    """The version of a tiny package in the checkout's environment; empty where it is not there."""
    command = [checkout / ".venv" / "bin" / "python", "-c", f"import {module}; print({module}.VERSION)"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def one_message(said: subprocess.CompletedProcess) -> bool:
    return said.stderr.count("course: ") == 1 and "Traceback" not in said.stderr


def test_an_empty_folder_is_set_up_as_pinned_and_a_second_start_installs_nothing(empty: Path, wheels: Path) -> None:
    first = course(empty, wheels, "setup")
    assert first.returncode == 0, first.stdout + first.stderr
    assert all(stage in first.stdout for stage in ("[1/3]", "[2/3]", "[3/3]"))
    assert installed(empty, "tinydep") == "1.0"  # constraints.txt holds it back from 2.0
    assert installed(empty, "tinytool") == "1.0"
    settings = json.loads((empty / ".venv/share/jupyter/lab/settings/overrides.json").read_text())
    assert settings["@jupyterlab/apputils-extension:notification"]["fetchNews"] == "false"

    second = course(empty, empty / "no such folder", "setup")
    assert (second.returncode, second.stdout) == (0, f"Ready: {empty / '.venv'}\n")


def test_what_is_pinned_anew_is_installed_at_the_next_start(checkout: Path, wheels: Path) -> None:
    course(checkout, wheels, "setup")
    (checkout / "constraints.txt").write_text(CONSTRAINTS.replace("tinydep==1.0", "tinydep==2.0"))
    assert course(checkout, wheels, "setup").returncode == 0
    assert installed(checkout, "tinydep") == "2.0"


def test_arguments_and_exit_codes_pass_through(checkout: Path, wheels: Path) -> None:
    lab = course(checkout, wheels, "lab", "--no-browser")
    assert lab.returncode == 0
    line = lab.stdout.splitlines()[-1]
    assert line.startswith(f"lab {checkout} ['notebooks/00_welcome.ipynb'")
    assert "--no-browser" in line
    # A pipe whose encoding has no "●", as cp1252 on Windows has none.
    poor = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    tests = course(checkout, wheels, "test", "02", "units", **poor)
    assert (tests.returncode, tests.stdout) == (3, "tests ['02', 'units'] ●\n"), tests.stderr


@on_linux_without_gpu
def test_the_cpu_build_is_taken_and_said(checkout: Path, wheels: Path) -> None:
    said = course(checkout, wheels, "setup")
    assert "PyTorch: a CPU build that pip finds" in said.stdout
    assert installed(checkout, "torch") == "2.13.0+cpu"
    assert not installed(checkout, "nvidia_cublas")


@on_linux_without_gpu
def test_no_cpu_build_within_reach_names_the_way_out_and_installs_no_cuda(checkout: Path, tmp_path: Path) -> None:
    folder = tmp_path / "cuda only"
    make_wheel(folder, "torch", "2.13.0", needs=("nvidia_cublas",))
    said = course(checkout, folder, "setup")
    assert said.returncode == 1
    assert one_message(said)
    assert "COURSE_TORCH" in said.stderr
    assert "https://download.pytorch.org/whl/cpu" in said.stdout
    assert not installed(checkout, "torch")


def test_course_torch_default_takes_what_pip_finds_and_is_remembered(
    checkout: Path, wheels: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "no cpu build"
    shutil.copytree(wheels, folder, ignore=shutil.ignore_patterns("*+cpu*"))
    assert course(checkout, folder, "setup", COURSE_TORCH="default").returncode == 0
    assert installed(checkout, "torch") == "2.13.0"
    assert installed(checkout, "nvidia_cublas") == "1.0"
    assert course(checkout, folder, "setup").stdout.startswith("Ready")


def test_course_torch_names_a_wheel(checkout: Path, wheels: Path, tmp_path: Path) -> None:
    own = make_wheel(tmp_path / "own", "torch", "2.13.0+own")
    said = course(checkout, wheels, "setup", COURSE_TORCH=str(own))
    assert said.returncode == 0, said.stderr
    assert installed(checkout, "torch") == "2.13.0+own"


def test_course_torch_names_an_index(checkout: Path, wheels: Path, tmp_path: Path) -> None:
    index = tmp_path / "simple"
    own = make_wheel(tmp_path / "own", "torch", "2.13.0+idx")
    (index / "torch").mkdir(parents=True)
    (index / "torch" / "index.html").write_text(f'<a href="{own.as_uri()}">{own.name}</a>')
    nothing = (tmp_path / "nothing").as_uri()
    more = {"PIP_NO_INDEX": "0", "PIP_INDEX_URL": nothing, "COURSE_TORCH": index.as_uri()}
    said = course(checkout, wheels, "setup", **more)
    assert said.returncode == 0, said.stderr
    assert installed(checkout, "torch") == "2.13.0+idx"


def test_course_torch_that_is_neither_is_refused(checkout: Path, wheels: Path) -> None:
    said = course(checkout, wheels, "setup", COURSE_TORCH="cuda")
    assert said.returncode == 1
    assert said.stderr.startswith("course: COURSE_TORCH is")


def test_a_failed_step_is_repeated_and_those_before_it_are_not(checkout: Path, wheels: Path, tmp_path: Path) -> None:
    folder = tmp_path / "one is missing"
    shutil.copytree(wheels, folder, ignore=shutil.ignore_patterns("tinytool*"))
    broken = course(checkout, folder, "test")
    assert broken.returncode == 1
    assert one_message(broken)
    assert "ERROR: " in broken.stderr  # pip's own words, which differ from one pip to the next
    assert "tinytool" in broken.stderr
    again = course(checkout, wheels, "setup")
    assert again.returncode == 0
    assert "[1/3]" not in again.stdout
    assert "[2/3]" in again.stdout


@pytest.mark.parametrize("by", [signal.SIGKILL, signal.SIGINT])
def test_an_install_that_is_killed_goes_on_where_it_stopped(checkout: Path, wheels: Path, by: signal.Signals) -> None:
    process = subprocess.Popen(
        [sys.executable, str(checkout / "course"), "setup"],
        env=environment(wheels, TINY_SLEEP="60"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 120
    while not (checkout / "building").exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    second = course(checkout, wheels, "setup")
    assert second.returncode == 1
    expected = f"another ./course is installing (process {process.pid}); wait for it, or remove .course/setup.lock"
    assert second.stderr == f"course: {expected}\n"
    os.killpg(process.pid, by)
    _, said = process.communicate(timeout=60)
    if by == signal.SIGINT:
        assert process.returncode == 130
        assert "goes on where this one stopped" in said
    lock = checkout / ".course" / "setup.lock"
    assert lock.exists() == (by == signal.SIGKILL)  # which leaves no time to remove it: the next takes it over
    again = course(checkout, wheels, "setup")
    assert again.returncode == 0, again.stderr
    assert "[2/3]" not in again.stdout
    assert "[3/3]" in again.stdout
    assert not lock.exists()


def test_a_package_that_a_killed_pip_left_unfinished_is_installed_again(checkout: Path, wheels: Path) -> None:
    course(checkout, wheels, "setup")
    packages = next((checkout / ".venv" / "lib").glob("python*/site-packages"))
    (packages / "tinydep-1.0.dist-info" / "RECORD").unlink()  # pip writes it last
    (packages / "tinydep" / "__init__.py").write_text("")
    (packages / "~inydep").mkdir()
    stamp = checkout / ".venv" / "course.json"
    stamp.write_text(json.dumps({**json.loads(stamp.read_text()), "stages": 1}))
    assert course(checkout, wheels, "setup").returncode == 0
    assert installed(checkout, "tinydep") == "1.0"
    assert not (packages / "~inydep").exists()


def dangling(folder: Path) -> None:
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").symlink_to("/no/such/python3")


def without_pip(folder: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)


@pytest.mark.parametrize("half_made", [dangling, without_pip])
def test_a_half_made_environment_is_made_anew(empty: Path, wheels: Path, half_made: Callable[[Path], None]) -> None:
    half_made(empty / ".venv")
    said = course(empty, wheels, "setup")
    assert said.returncode == 0, said.stderr
    assert installed(empty, "tinydep") == "1.0"


def test_an_environment_whose_python_was_replaced_is_made_anew(checkout: Path, wheels: Path) -> None:
    (checkout / ".venv" / "course.json").write_text('{"python": "3.10", "stages": 3}')
    said = course(checkout, wheels, "setup")
    assert said.returncode == 0, said.stderr
    assert "Making .venv" in said.stdout
    assert installed(checkout, "tinydep") == "1.0"


def test_without_network_one_message_and_the_next_try_works(checkout: Path, wheels: Path, tmp_path: Path) -> None:
    dead = "http://127.0.0.1:9"
    more = {"PIP_NO_INDEX": "0", "PIP_INDEX_URL": dead + "/simple", "HTTPS_PROXY": dead, "HTTP_PROXY": dead}
    said = course(checkout, tmp_path / "nothing", "lab", **more)
    assert said.returncode == 1
    assert one_message(said)
    assert "no network" in said.stderr
    assert "PIP_FIND_LINKS" in said.stderr
    assert course(checkout, wheels, "setup").returncode == 0


OLD = "sys.version_info = (3, 8, 18, 'final', 0)"


def test_too_old_a_python_gets_one_message_and_makes_nothing(empty: Path, wheels: Path, tmp_path: Path) -> None:
    said = faked(empty, wheels, OLD, "lab", PATH=str(tmp_path))
    assert said.returncode == 1
    assert said.stderr.startswith("course: Python 3.11, 3.12 or 3.13 is needed; this is 3.8")
    assert said.stderr.count("\n") == 1
    assert not (empty / ".venv").exists()


def test_too_old_a_python_hands_over_to_one_on_the_path_that_starts(empty: Path, wheels: Path, tmp_path: Path) -> None:
    for name, does in {
        "python3.13": "exit 127",
        "python3.12": '[ "$1" = -c ] && echo 3.12 || echo "took over: $2"',
    }.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{does}\n")
        (tmp_path / name).chmod(0o755)
    said = faked(empty, wheels, OLD, "lab", PATH=str(tmp_path))
    assert (said.returncode, said.stdout) == (0, "took over: lab\n")


def test_the_file_can_be_read_by_an_old_python() -> None:
    ast.parse((CHECKOUT / "course").read_text(encoding="utf-8"), feature_version=(3, 6))
    assert os.access(CHECKOUT / "course", os.X_OK)


def test_no_venv_module_names_the_package_that_brings_it(empty: Path, wheels: Path) -> None:
    said = faked(empty, wheels, "sys.modules['ensurepip'] = None", "test")
    assert said.returncode == 1
    assert "python3-venv" in said.stderr
    assert one_message(said)
    assert not (empty / ".venv").exists()


def test_too_little_disk_is_said_before_anything_is_made(empty: Path, wheels: Path) -> None:
    fake = "import shutil, types; shutil.disk_usage = lambda _: types.SimpleNamespace(free=10**9)"
    said = faked(empty, wheels, fake, "lab")
    assert said.returncode == 1
    assert "6 GB of free disk" in said.stderr
    assert one_message(said)
    assert not (empty / ".venv").exists()


@pytest.mark.parametrize("words", [["tset"], ["--frob"], ["clean", "all"], ["setup", "now"]])
def test_wrong_words_get_one_line_and_exit_2(empty: Path, wheels: Path, words: list[str]) -> None:
    said = course(empty, wheels, *words)
    assert said.returncode == 2
    assert said.stderr.count("\n") == 1
    assert said.stdout == ""
    assert not (empty / ".venv").exists()


def test_help_fits_a_screen_and_names_every_command(empty: Path, wheels: Path) -> None:
    said = course(empty, wheels, "--help")
    lines = said.stdout.splitlines()
    assert said.returncode == 0
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80
    for command in ("lab", "test", "doctor", "progress", "build", "bench", "setup", "clean"):
        assert f"\n  {command} " in said.stdout


def test_clean_keeps_the_progress_and_says_so(checkout: Path, wheels: Path) -> None:
    for made in (".course/scratch/01", "notebooks/.ipynb_checkpoints", "tools/__pycache__"):
        (checkout / made).mkdir(parents=True)
    progress = checkout / ".course" / "progress.json"
    progress.write_text("{}")
    said = course(checkout, wheels, "clean")
    assert said.returncode == 0
    assert f"Kept your progress: {progress}" in said.stdout
    assert progress.exists()
    for gone in (".venv", ".course/scratch", "notebooks/.ipynb_checkpoints", "tools/__pycache__"):
        assert not (checkout / gone).exists()


@pytest.mark.parametrize("command", ["lab", "clean"])
def test_nothing_is_made_or_removed_beside_another_that_installs(empty: Path, wheels: Path, command: str) -> None:
    lock = empty / ".course" / "setup.lock"
    lock.parent.mkdir()
    lock.write_text(str(os.getpid()))
    (empty / "tools/__pycache__").mkdir()
    said = course(empty, wheels, command)
    assert said.returncode == 1
    assert one_message(said)
    assert f"(process {os.getpid()})" in said.stderr
    assert lock.exists() and (empty / "tools/__pycache__").exists()
    assert not (empty / ".venv").exists()


def test_the_doctor_speaks_before_anything_is_set_up(empty: Path, wheels: Path) -> None:
    shutil.copytree(CHECKOUT / "course_lib", empty / "course_lib", ignore=shutil.ignore_patterns("__pycache__"))
    said = course(empty, wheels, "doctor")
    assert said.returncode in (0, 1)  # 0 where this very Python happens to have the tiny packages
    assert "Packages" in said.stdout
    assert not (empty / ".venv").exists()


CI = """#!/bin/sh
echo "$COURSE_REQUIRE_LIVE $COURSE_REQUIRE_OFFLINE $DOCKER_HOST $KUBECONFIG $*" >> said
"""


@pytest.mark.parametrize(("ci", "offline"), [("true", "1"), ("", "")])
def test_ci_runs_the_readme_s_test_command_once(tmp_path: Path, ci: str, offline: str) -> None:
    (tmp_path / ".ci").mkdir()
    shutil.copy(CHECKOUT / ".ci" / "run", tmp_path / ".ci" / "run")
    (tmp_path / "course").write_text(CI)
    (tmp_path / "course").chmod(0o755)
    environ = {"PATH": os.environ["PATH"], "DOCKER_HOST": "engine", "KUBECONFIG": "cluster", "CI": ci}
    subprocess.run(["bash", str(tmp_path / ".ci" / "run")], env=environ, check=True)
    assert (tmp_path / "said").read_text() == f"1 {offline} engine cluster test\n"
    assert "| run every test | `./course test` |" in (CHECKOUT / "README.md").read_text(encoding="utf-8")
