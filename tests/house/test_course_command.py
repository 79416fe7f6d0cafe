"""`./course` in folders of its own: a tiny checkout, and a folder of tiny wheels in the place of a package index."""

import ast
import hashlib
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
from tools.caller import AT_HOME

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
requires-python = ">=3.11"
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

TESTS = """
import os, sys
for name in os.environ.get("TINY_SAY", "").split():
    print(name, os.environ.get(name))
print("tests", sys.argv[1:], "●")
sys.exit(3)
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
    shutil.copy(CHECKOUT / "tools" / "caller.py", checkout / "tools")
    (checkout / "tools" / "test.py").write_text(TESTS, encoding="utf-8")
    return checkout


@pytest.fixture
def checkout(empty: Path, bare_venv: Path) -> Path:
    """A checkout with an environment that has pip and no packages."""
    shutil.copytree(bare_venv, empty / ".venv", symlinks=True)
    return empty


@pytest.fixture
def ready(checkout: Path) -> Path:
    """A checkout whose environment counts as set up, though it holds no packages."""
    pins = b"".join((checkout / name).read_bytes() for name in ("pyproject.toml", "constraints.txt"))
    stamp = {"pins": hashlib.sha256(pins).hexdigest(), "checkout": str(checkout), "torch": "", "stages": 3}
    python = "{}.{}".format(*sys.version_info)
    (checkout / ".venv" / "course.json").write_text(json.dumps({**stamp, "python": python}))
    return checkout


def environment(wheels: Path, **more: str) -> dict[str, str]:
    """No index, no network, no settings of this machine's own pip: only the folder of wheels."""
    not_ours = ("PIP_", "COURSE_", "VIRTUAL_ENV", "PYTHONPATH", *AT_HOME)
    kept = {key: value for key, value in os.environ.items() if not key.startswith(not_ours)}
    pip = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": wheels.as_uri(), "PIP_RETRIES": "0", "PIP_NO_CACHE_DIR": "1"}
    return {**kept, **pip, "PIP_CONFIG_FILE": os.devnull, **more}


def course(
    checkout: Path, wheels: Path, *words: str, cwd: Path = Path("/"), **more: str
) -> subprocess.CompletedProcess:
    command = [sys.executable, str(checkout / "course"), *words]
    return subprocess.run(
        command, env=environment(wheels, **more), capture_output=True, encoding="utf-8", cwd=cwd, check=False
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


@pytest.mark.parametrize("named", ["absolute", "from the caller's folder"])
def test_a_folder_of_wheels_may_lie_in_a_path_with_a_space(
    checkout: Path, wheels: Path, tmp_path: Path, named: str
) -> None:
    shutil.copytree(wheels, tmp_path / "my wheels")
    folder = str(tmp_path / "my wheels") if named == "absolute" else "my wheels"
    said = course(checkout, wheels, "setup", cwd=tmp_path, PIP_FIND_LINKS=folder)
    assert said.returncode == 0, said.stderr
    assert installed(checkout, "tinydep") == "1.0"


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


def test_course_torch_that_is_neither_is_refused_before_anything_is_made(empty: Path, wheels: Path) -> None:
    said = course(empty, wheels, "setup", COURSE_TORCH="cuda")
    assert said.returncode == 1 and not (empty / ".venv").exists()
    assert said.stderr.startswith("course: COURSE_TORCH is") and one_message(said)


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
    expected = f"another ./course is at work (process {process.pid}); wait for it, or remove .course/setup.lock"
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


@pytest.mark.parametrize("not_yet", ["RECORD", "INSTALLER"])
def test_a_package_that_a_killed_pip_left_unfinished_is_installed_again(
    checkout: Path, wheels: Path, not_yet: str
) -> None:
    course(checkout, wheels, "setup")
    packages = next((checkout / ".venv" / "lib").glob("python*/site-packages"))
    (packages / "tinydep-1.0.dist-info" / not_yet).unlink()  # pip writes both at the end
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
    assert len(lines) <= 32
    assert max(map(len, lines)) <= 80
    for command in ("lab", "test", "doctor", "progress", "capstone", "class", "room", "hub", "build", "site", "bench",
                    "setup", "update", "clean"):  # fmt: skip
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


@pytest.fixture
def holds(empty: Path, tmp_path: Path) -> Callable[..., dict[str, str]]:
    """Gives the one Python on PATH these packages: a stand-in, which the checkout's own code finds them with."""
    shutil.copytree(CHECKOUT / "course_lib", empty / "course_lib", ignore=shutil.ignore_patterns("__pycache__"))

    def on_path(**packages: str) -> dict[str, str]:
        site = tmp_path / "site"
        for name, version in packages.items():
            make_wheel(tmp_path / "own", name, version, LAB if name == "jupyterlab" else "")
            with zipfile.ZipFile(tmp_path / "own" / f"{name}-{version}-py3-none-any.whl") as wheel:
                wheel.extractall(site)
        python = tmp_path / "bin" / "python3"
        python.parent.mkdir()
        python.write_text(f'#!/bin/sh\nPYTHONPATH="$PYTHONPATH:{site}" exec "{sys.executable}" -S "$@"\n')
        python.chmod(0o755)
        return {"PATH": f"{python.parent}:/usr/bin:/bin"}

    return on_path


def lab_words(said: subprocess.CompletedProcess) -> list[str]:
    """What the tiny lab was called with."""
    assert said.returncode == 0, said.stderr
    return ast.literal_eval(said.stdout[said.stdout.index("[") :])


PINNED = {"torch": "2.13.0+cpu", "jupyterlab": "1.0", "tinydep": "1.0"}
NO_NETWORK = "no such folder"


def test_without_venv_a_python_on_the_path_that_holds_the_pinned_packages_is_used(
    empty: Path, wheels: Path, holds: Callable[..., dict[str, str]]
) -> None:
    lab = course(empty, empty / NO_NETWORK, "lab", **holds(**PINNED))
    assert "notebooks/00_welcome.ipynb" in lab_words(lab)
    assert lab.stderr == f"course: no .venv; {empty.parent / 'bin/python3'} holds the packages.\n"
    assert not (empty / ".venv").exists()


def test_what_runs_in_another_python_finds_this_checkout_s_code(
    empty: Path, wheels: Path, holds: Callable[..., dict[str, str]]
) -> None:
    found = holds(**PINNED, tinytool="1.0")
    tests = course(empty, empty / NO_NETWORK, "test", "02", TINY_SAY="PYTHONPATH VIRTUAL_ENV", **found)
    assert tests.returncode == 3, tests.stderr
    path, venv, said = tests.stdout.splitlines()
    assert path.startswith(f"PYTHONPATH {empty}:") and venv == "VIRTUAL_ENV None" and said == "tests ['02'] ●"
    assert not (empty / ".venv").exists()


@pytest.mark.parametrize(
    ("command", "packages"),
    [
        ("lab", {**PINNED, "tinydep": "2.0"}),
        ("lab", {"torch": "2.13.0", "jupyterlab": "1.0"}),
        ("setup", {**PINNED, "tinytool": "1.0"}),
    ],
    ids=["another version", "one is missing", "setup"],
)
def test_a_python_without_all_that_a_command_needs_is_not_used_nor_is_any_for_setup(
    empty: Path, wheels: Path, holds: Callable[..., dict[str, str]], command: str, packages: dict[str, str]
) -> None:
    # Too little disk ends the command where the installation would begin.
    fake = "import shutil, types; shutil.disk_usage = lambda _: types.SimpleNamespace(free=10**9)"
    said = faked(empty, wheels, fake, command, **holds(**packages))
    assert said.returncode == 1
    assert "6 GB of free disk" in said.stderr


@pytest.mark.parametrize("command", ["test", "build", "bench"])
def test_where_only_the_authors_tools_are_missing_it_says_so_and_installs_nothing_by_itself(
    empty: Path, wheels: Path, holds: Callable[..., dict[str, str]], command: str
) -> None:
    said = course(empty, wheels, command, **holds(**PINNED))
    assert (said.returncode, said.stdout) == (2, "")
    assert f"{empty.parent / 'bin/python3'} holds what learners need; `./course {command}` needs" in said.stderr
    assert "`./course setup` installs both into .venv (3 GB)" in said.stderr and one_message(said)
    assert not (empty / ".venv").exists()


def test_a_venv_is_preferred_to_another_python_that_holds_the_packages(
    ready: Path, wheels: Path, holds: Callable[..., dict[str, str]]
) -> None:
    tests = course(ready, wheels, "test", TINY_SAY="VIRTUAL_ENV", **holds(**PINNED, tinytool="1.0"))
    assert tests.stdout.startswith(f"VIRTUAL_ENV {ready / '.venv'}\n")


@pytest.mark.parametrize("command", ["setup", "lab", "doctor", "clean"])
def test_a_venv_that_is_a_link_is_refused_and_left_as_it_is(ready: Path, wheels: Path, command: str) -> None:
    other = ready.parent / "other"
    other.mkdir()
    (ready / ".venv").rename(other / ".venv")
    (ready / ".venv").symlink_to(other / ".venv")
    stamp = (other / ".venv" / "course.json").read_text()
    said = course(ready, wheels, command)
    assert said.returncode == 1
    assert one_message(said) and said.stderr.count("\n") == 1
    assert f".venv is a link to {other / '.venv'}" in said.stderr and "remove the link" in said.stderr
    assert (ready / ".venv").is_symlink() and (other / ".venv" / "course.json").read_text() == stamp


@pytest.mark.parametrize(
    ("where", "word"),
    [("notebooks", "02_a.ipynb"), ("tools", "../notebooks/02_a.ipynb"), ("tools", "notebooks/02_a.ipynb")],
)
def test_a_notebook_is_looked_for_from_the_caller_s_folder_then_from_the_checkout_s(
    empty: Path, holds: Callable[..., dict[str, str]], where: str, word: str
) -> None:
    (empty / "notebooks").mkdir()
    (empty / "notebooks" / "02_a.ipynb").touch()
    more = ("--port", "8890", "--LabApp.default_url=/lab/tree/notebooks/02_a.ipynb")
    said = course(empty, empty / NO_NETWORK, "lab", word, *more, cwd=empty / where, **holds(**PINNED))
    words = lab_words(said)
    assert str(empty / "notebooks" / "02_a.ipynb") in words and word not in words
    assert words[-3:] == list(more) and "notebooks/00_welcome.ipynb" not in words


def test_a_notebook_that_is_nowhere_is_said_with_where_it_was_looked_for_and_nothing_is_made(
    empty: Path, wheels: Path
) -> None:
    said = course(empty, wheels, "lab", "02_b.ipynb", cwd=empty / "tools")
    assert said.returncode == 1
    assert said.stderr == f"course: there is no {empty / 'tools/02_b.ipynb'} and no {empty / '02_b.ipynb'}\n"
    assert not (empty / ".venv").exists()


def test_the_caller_s_pythonpath_and_pythonhome_do_not_reach_the_course(ready: Path, wheels: Path) -> None:
    own = ready.parent / "own"
    own.mkdir()
    (own / "json.py").write_text("raise ImportError('not ours')")
    inherited = {"PYTHONPATH": str(own), "PYTHONHOME": sys.base_prefix, "PYTHONSAFEPATH": "1"}
    # -I: what is tried is what `course` hands on, not how this Python itself starts.
    command = [sys.executable, "-I", str(ready / "course"), "test"]
    environ = environment(wheels, TINY_SAY=" ".join(inherited), **inherited)
    tests = subprocess.run(command, env=environ, capture_output=True, encoding="utf-8", cwd="/", check=False)
    assert tests.returncode == 3, tests.stderr
    assert tests.stdout.splitlines()[:3] == [f"{name} None" for name in inherited]
    assert tests.stderr == "course: PYTHONPATH is ignored; the course runs with its own packages.\n"


def test_what_cannot_be_written_at_home_is_moved_into_the_checkout_and_the_caller_s_choice_stays(
    ready: Path, wheels: Path, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    (home / ".local").mkdir(parents=True)
    for name in (".jupyter", ".ipython", ".config"):
        (home / name).touch()  # in the folder's place, and so for root, too, nowhere to write
    chosen = {"HOME": str(home), "IPYTHONDIR": "/mine"}
    tests = course(ready, wheels, "test", TINY_SAY=" ".join(AT_HOME), **chosen)
    assert tests.returncode == 3, tests.stderr
    said = dict(line.split(" ", 1) for line in tests.stdout.splitlines())
    own = ready / ".course" / "home"
    assert said["JUPYTER_CONFIG_DIR"] == str(own / ".jupyter") and (own / ".jupyter").is_dir()
    assert said["MPLCONFIGDIR"] == str(own / ".config/matplotlib")
    assert said["IPYTHONDIR"] == "/mine"
    assert said["JUPYTER_DATA_DIR"] == said["JUPYTER_RUNTIME_DIR"] == "None"
    moved = f"cannot write everywhere in {home}; using {own} for JUPYTER_CONFIG_DIR, MPLCONFIGDIR"
    assert tests.stderr == f"course: {moved}.\n"


def test_a_home_that_is_not_there_is_one_in_the_checkout(ready: Path, wheels: Path, tmp_path: Path) -> None:
    tests = course(ready, wheels, "test", TINY_SAY="HOME JUPYTER_DATA_DIR", HOME=str(tmp_path / "gone"))
    assert tests.stdout.startswith(f"HOME {ready / '.course/home'}\nJUPYTER_DATA_DIR None\n")
    assert one_message(tests)


def test_a_home_that_can_be_written_is_left_to_itself(ready: Path, wheels: Path, tmp_path: Path) -> None:
    tests = course(ready, wheels, "test", TINY_SAY="HOME JUPYTER_DATA_DIR", HOME=str(tmp_path))
    assert tests.stdout.startswith(f"HOME {tmp_path}\nJUPYTER_DATA_DIR None\n")
    assert not tests.stderr and not (ready / ".course" / "home").exists()


@pytest.mark.parametrize(("command", "code"), [("test", 1), ("doctor", 0)])
def test_where_neither_home_nor_the_checkout_can_be_written_only_what_needs_it_stops(
    ready: Path, wheels: Path, tmp_path: Path, command: str, code: int
) -> None:
    (ready / ".course").touch()
    (ready / "course_lib").mkdir()
    (ready / "course_lib" / "doctor.py").write_text("print('spoke')")
    said = course(ready, wheels, command, HOME=str(tmp_path / "gone"))
    assert said.returncode == code and "Traceback" not in said.stderr
    assert ("set HOME to a folder that can" in said.stderr) == (command == "test")


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
