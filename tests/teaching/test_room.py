"""`./course room`: what learners need comes along, no solution does, and it runs from there."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from course_lib import syllabus
from course_lib.places import CHECKOUT
from course_lib.teaching.export import Refused
from tools.build import source
from tools.teaching import room
from tools.teaching.__main__ import main

pytestmark = pytest.mark.skipif(not (CHECKOUT / ".git").exists() or not shutil.which("git"), reason="needs a clone")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("workshop") / "the room"
    return folder, room.make(folder)


def inside(folder: Path, *words: str) -> subprocess.CompletedProcess:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("COURSE_", "PYTHONPATH"))}
    return subprocess.run(words, cwd=folder, env=kept, capture_output=True, text=True, timeout=120)


def bodies() -> dict[str, str]:
    """The code below each `# SOLUTION`, without its indentation, comments and blank lines, by the place where it stands."""
    found = {}
    for path in sorted((CHECKOUT / "source/solutions").glob("*.py")):
        for at, body in enumerate(
            re.findall(r"^ +# SOLUTION\n((?: .*\n|\n)+)", path.read_text(encoding="utf-8"), re.M)
        ):
            found[f"{path.stem} {at}"] = plain(body)
    return found


def plain(code: str) -> str:
    return "\n".join(line.strip() for line in code.splitlines() if line.strip() and not line.strip().startswith("#"))


def code_of(path: Path) -> str:
    if path.suffix == ".ipynb":
        return "\n".join(cell.source for cell in nbformat.read(path, as_version=4).cells)
    return path.read_text(encoding="utf-8")


def test_what_a_learner_opens_comes_along(made):
    folder, _ = made
    for lesson in syllabus.load().lessons:
        for kind in ("notebooks", "exercises"):
            assert lesson.notebook(kind, folder).exists() == lesson.notebook(kind).exists()
    for each in (
        "course",
        "README.md",
        "models/SHA256SUMS",
        "course_lib/checks/lesson_02.py",
        "docker",
        "k8s",
        "LICENSE",
    ):
        assert (folder / each).exists(), each
    assert (folder / "course").stat().st_mode & 0o111 or os.name == "nt"


def test_no_solution_of_three_lines_or_more_stands_anywhere_in_it(made):
    folder, _ = made
    texts = {path.relative_to(folder).as_posix(): plain(code_of(path)) for path in folder.rglob("*")
             if path.suffix in (".py", ".ipynb", ".md", ".json")}  # fmt: skip
    hidden = {place: body for place, body in bodies().items() if body.count("\n") >= 2}
    assert len(hidden) > 50
    assert {(place, name) for place, body in hidden.items() for name, text in texts.items() if body in text} == set()
    assert not [name for name in texts if "solution" in name.casefold()]


def test_every_exercise_is_the_stub_and_holds_no_output(made):
    folder, _ = made
    for path in folder.glob("exercises/*.ipynb"):
        cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
        assert not any(cell.outputs or cell.execution_count for cell in cells)
        assert sum("raise NotImplementedError" in cell.source for cell in cells) >= 1


def test_no_link_leads_to_what_was_left_out(made):
    folder, _ = made
    for path in [*folder.rglob("*.md"), *folder.rglob("*.ipynb")]:
        text = "\n".join(cell.source for cell in nbformat.read(path, as_version=4).cells
                         if cell.cell_type == "markdown") if path.suffix == ".ipynb" else code_of(path)  # fmt: skip
        for target in re.findall(r"\[[^\]\[]*\]\(([^)\s:#]+)[)#]", re.sub(r"```.*?```|`[^`]*`", "", text, flags=re.S)):
            assert (path.parent / target).exists(), f"{path.relative_to(folder)}: {target}"


def test_it_says_what_was_left_out_and_what_does_not_work(made):
    folder, said = made
    note = (folder / "ROOM.md").read_text(encoding="utf-8")
    for words in ("`solutions/`", "`source/solutions/`", "`tests/`", "third hint is nearly the answer"):
        assert words in said and words in note
    count = len(list((CHECKOUT / "solutions").glob("*.ipynb")))
    assert f"| `solutions/` | the solutions | {count} |" in note


def test_every_module_of_it_finds_what_it_imports(made):
    folder, _ = made
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [node.module] if isinstance(node, ast.ImportFrom) and not node.level else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            for name in names:
                if name and name.split(".")[0] in ("course_lib", "tools", "tests"):
                    there = folder / name.replace(".", "/")
                    assert there.is_dir() or there.with_suffix(".py").exists(), f"{path.relative_to(folder)}: {name}"


def test_a_check_and_the_progress_run_from_there(made, tmp_path):
    folder, _ = made
    code = "from course_lib.idioms import check; import course_lib; print(course_lib.__file__); check('02.1', print)"
    said = inside(folder, sys.executable, "-c", code)
    assert said.returncode == 0 and str(folder) in said.stdout and "02.1, not yet true" in said.stdout, said.stderr
    said = inside(folder, sys.executable, "-m", "tools.teaching", "progress", "--export", str(tmp_path / "mine.json"))
    assert said.returncode == 0, said.stderr
    assert json.loads((tmp_path / "mine.json").read_text())["exercises"] == {"02.1": {"solved": None, "tries": 1}}


def test_the_doctor_runs_from_there(made):
    said = inside(made[0], sys.executable, "-m", "course_lib.doctor")
    assert "Traceback" not in said.stderr and "Python" in said.stdout


@pytest.mark.parametrize("command", ["test", "build", "bench", "update", "room", "hub", "site"])
def test_what_needs_the_full_course_says_so(made, command):
    said = inside(made[0], sys.executable, "course", command)
    assert said.returncode == 1 and said.stderr.startswith("course: this is an edition for a workshop (ROOM.md)")
    assert said.stderr.count("\n") == 1


@pytest.mark.parametrize("there", ["a file in it", "a file of that name"])
def test_nothing_is_written_over(tmp_path, monkeypatch, capsys, there):
    monkeypatch.setenv("COURSE_CALLER", str(tmp_path))
    mine = tmp_path / "room" if "name" in there else tmp_path / "room" / "mine.txt"
    mine.parent.mkdir(exist_ok=True)
    mine.write_text("mine")
    assert main(["room", "room"]) == 1
    assert "expected a new or an empty folder" in capsys.readouterr().err
    assert [each for each in tmp_path.rglob("*") if each.is_file()] == [mine] and mine.read_text() == "mine"


def test_a_folder_within_the_checkout_is_refused():
    with pytest.raises(Refused, match="expected a folder outside of"):
        room.make(CHECKOUT / "room")
    assert not (CHECKOUT / "room").exists()


def test_what_breaks_off_leaves_nothing(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(room, "_unlink", full)
    with pytest.raises(Refused, match="No space left"):
        room.make(tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_without_a_clone_it_says_why_it_needs_one(tmp_path, monkeypatch):
    monkeypatch.setattr(room, "CHECKOUT", tmp_path / "checkout")
    (tmp_path / "checkout").mkdir()
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    with pytest.raises(Refused, match="is no clone"):
        room.make(tmp_path / "room")


def test_the_stub_and_the_solution_are_told_apart():
    assert any(body.count("\n") >= 2 for body in bodies().values())
    assert source.KINDS == (
        "notebooks",
        "exercises",
        "solutions",
    )  # a new kind of notebook: decide here if it comes along
