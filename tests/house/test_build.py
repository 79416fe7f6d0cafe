"""The builder: stubs without a trace of the solution, stable ids, clean outputs, and what the check finds."""

import json
import os
import shutil
import subprocess
import sys

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from course_lib import places, syllabus
from course_lib.idioms.live import source_hash
from tests.house.test_stubs import SOLUTION
from tools.build import execute, executed, source

MAP = syllabus.load()
WRITTEN = [lesson for lesson in MAP.lessons if lesson.written]


@pytest.fixture
def checkout(tmp_path):
    """A course of one lesson in a folder of its own, with this checkout's code, under git."""
    for folder in ("course_lib", "tools"):
        shutil.copytree(places.CHECKOUT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("pyproject.toml", "constraints.txt", "syllabus.toml", ".gitignore"):
        shutil.copy(places.CHECKOUT / file, tmp_path)
    edit(tmp_path / "syllabus.toml", 'live = ["docker"]', "live = []")  # lesson 00's, which here has no live cell
    edit(tmp_path / "tools/build/style.py", "in hour_problems(lesson, cells)", "in ()")  # so short a lesson is no hour
    marks = [
        f"<!-- {name}: written by ./course build from syllabus.toml -->\n<!-- {name}: end -->"
        for name in ("map", "badges", "clone")
    ]
    (tmp_path / "README.md").write_text("\n\n".join(["# The course", "## The map", *marks]) + "\n")
    for folder, text in (("notebooks", LESSON), ("solutions", f"# %% [markdown]\n# # Exercise\n\n# %%\n{SOLUTION}\n")):
        (tmp_path / "source" / folder).mkdir(parents=True)
        (tmp_path / "source" / folder / "00_welcome.py").write_text(text)
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    return tmp_path


LESSON = """# %% [markdown]
# # 00 Welcome
#
# ## You will be able to
#
# - do one thing;
# - do another;
# - do a third.
#
# ## Before you start
#
# Nothing.

# %%
from course_lib.idioms import begin, path

begin("00")
path.picture(here="00")

# %%
print(6 * 7)
"""


def commit(checkout):
    subprocess.run(["git", "add", "."], cwd=checkout, check=True)
    subprocess.run(
        ["git", "-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", "next"], cwd=checkout, check=True
    )


def build(checkout, *words):
    """Runs `./course build` there; gives its exit code and what it printed."""
    env = {**os.environ, "PYTHONPATH": str(checkout)}
    done = subprocess.run(
        [sys.executable, "-m", "tools.build", *words], cwd=checkout, env=env, capture_output=True, text=True
    )
    return done.returncode, done.stdout + done.stderr


def edit(path, old, new):
    assert old in path.read_text(encoding="utf-8")
    path.write_text(path.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")


# Ids


def test_an_edit_changes_the_id_of_the_edited_cell_alone():
    before = [new_markdown_cell(text) for text in "abca"]
    after = [new_markdown_cell(text) for text in ("new", "a", "b", "c!", "a")]
    source._number(before)
    source._number(after)
    assert [cell.id for cell in after[1:3]] == [cell.id for cell in before[:2]]
    assert after[4].id == before[3].id and after[3].id != before[2].id
    assert len({cell.id for cell in after}) == 5


# Outputs


def output(**data):
    return new_output("display_data", data=data)


def test_stderr_fails_the_build():
    with pytest.raises(execute.BuildFailed, match="wrote to stderr"):
        execute.clean(new_output("stream", name="stderr", text="UserWarning: old"), new_code_cell("warn()"))


def test_a_widget_leaves_words_in_its_place():
    kept = execute.clean(output(**{execute.WIDGET: {"model_id": "1"}, "text/plain": "Pad()"}), new_code_cell(""))
    assert dict(kept.data) == {"text/plain": "(a widget: run the lesson to use it)"}


def test_a_cell_that_fails_stops_the_build_with_its_error(tmp_path):
    with pytest.raises(execute.BuildFailed, match="ZeroDivisionError"):
        execute.execute(new_notebook(cells=[new_code_cell("1 / 0")]), tmp_path, {})


# The command


def test_build_then_check_agree_and_a_second_build_does_nothing(checkout):
    code, said = build(checkout)
    assert code == 0 and "built   notebooks/00_welcome.ipynb" in said
    built = nbformat.read(checkout / "notebooks/00_welcome.ipynb", as_version=4)
    assert any("42" in out.get("text", "") for cell in built.cells if cell.cell_type == "code" for out in cell.outputs)
    assert "execution" not in json.dumps([cell.metadata for cell in built.cells])
    assert not any(cell.outputs for cell in nbformat.read(checkout / "exercises/00_welcome.ipynb", as_version=4).cells
                   if cell.cell_type == "code")  # fmt: skip
    assert build(checkout) == (0, "built and source agree\n")
    assert build(checkout, "--check") == (0, "built and source agree\n")


def test_a_notebook_that_jupyter_opens_and_saves_stays_as_it_was_built(checkout):
    build(checkout)
    for path in (checkout / "notebooks/00_welcome.ipynb", checkout / "exercises/00_welcome.ipynb"):
        built = nbformat.read(path, as_version=4)
        assert path.read_text(encoding="utf-8") == nbformat.writes(built) + "\n"
        assert isinstance(json.loads(path.read_text(encoding="utf-8"))["cells"][0]["source"], list)
        assert built.metadata.language_info == source.LANGUAGE  # what a kernel would write into it


def test_the_language_that_the_build_writes_is_what_the_kernel_says_of_itself():
    from ipykernel.ipkernel import IPythonKernel

    assert IPythonKernel.language_info == source.LANGUAGE


def test_the_check_finds_sources_and_outputs_that_were_changed_after_the_build(checkout):
    build(checkout)
    commit(checkout)
    edit(checkout / "source/notebooks/00_welcome.py", "6 * 7", "6 * 8")
    edit(checkout / "solutions/00_welcome.ipynb", "Twice x", "Thrice x")
    commit(checkout)
    code, said = build(checkout, "--check")
    assert code == 1
    assert "notebooks/00_welcome.ipynb differs from its source" in said
    assert "solutions/00_welcome.ipynb holds what the build did not write" in said


def test_timings_say_where_a_lesson_was_executed_last_and_an_edit_of_its_text_changes_that_not(checkout):
    timings, notebook = checkout / "TIMINGS.md", checkout / "notebooks/00_welcome.ipynb"
    timings.write_text(f"# Timings\n\n{executed.BEGIN}{executed.END}\n\nThe rest.\n")
    build(checkout)
    noted = nbformat.read(notebook, as_version=4).metadata["course"]["executed"]
    assert f"| {noted['day']} | {noted['where']} | 00 |\n{executed.END}\n\nThe rest.\n" in timings.read_text()
    edit(notebook, noted["day"], "2020-02-02")  # as if it had been another day
    edit(checkout / "source/notebooks/00_welcome.py", "# Nothing.", "# Nothing at all.")
    assert "running" not in build(checkout)[1]
    assert f"| 2020-02-02 | {noted['where']} | 00 |" in timings.read_text()
    edit(timings, "2020-02-02", "2021-02-02")
    assert build(checkout, "--check")[0] == 1


def test_an_edit_of_the_text_runs_nothing_anew(checkout):
    build(checkout)
    before = nbformat.read(checkout / "notebooks/00_welcome.ipynb", as_version=4).cells
    edit(checkout / "source/notebooks/00_welcome.py", "# Nothing.", "# Nothing at all.")
    code, said = build(checkout)
    assert code == 0 and "running" not in said and "built   notebooks/00_welcome.ipynb" in said
    after = nbformat.read(checkout / "notebooks/00_welcome.ipynb", as_version=4).cells
    assert sum(old != new for old, new in zip(before, after, strict=True)) == 1


@pytest.mark.parametrize("edited", [False, True])
def test_a_new_row_of_the_map_redraws_it_and_runs_nothing_else(checkout, edited):
    build(checkout)
    before = nbformat.read(checkout / "notebooks/00_welcome.ipynb", as_version=4).cells
    new = '[[lesson]]\nnumber = "28"\nname = "encore"\ntitle = "Encore"\npart = 7\nholds = "more"\n'
    with (checkout / "syllabus.toml").open("a") as file:
        file.write(new)
    if edited:
        edit(checkout / "source/notebooks/00_welcome.py", "# Nothing.", "# Nothing at all.")
    code, said = build(checkout)
    assert code == 0 and "running" not in said and ("built" if edited else "redrew") in said, said
    after = nbformat.read(checkout / "notebooks/00_welcome.ipynb", as_version=4).cells
    changed = [new for old, new in zip(before, after, strict=True) if old != new]
    assert len(changed) == 1 + edited and "27, 28." in changed[-1].metadata["mystnb"]["image"]["alt"]
    assert build(checkout) == (0, "built and source agree\n")


def test_a_lesson_that_fails_leaves_models_and_recordings_as_they_were(checkout):
    build(checkout)
    model = checkout / "models/m/1/model.onnx"
    model.parent.mkdir(parents=True)
    model.write_bytes(b"old")
    text = "from course_lib import models\n\nopen('new', 'w').write('new')\nmodels.keep('new', 'm', 1)\n1 / 0"
    edit(checkout / "source/notebooks/00_welcome.py", "print(6 * 7)", text)
    assert build(checkout)[0] == 1 and model.read_bytes() == b"old"


def test_a_learner_s_own_edits_are_a_note_and_survive_the_next_build(checkout):
    build(checkout)
    commit(checkout)
    edit(checkout / "exercises/00_welcome.ipynb", "raise NotImplementedError", "return 2 * x")
    code, said = build(checkout, "--check")
    assert code == 0 and "that is yours and stays" in said
    assert "kept " in build(checkout)[1]
    (kept,) = (checkout / ".course/kept").glob("*.ipynb")
    assert "return 2 * x" in kept.read_text(encoding="utf-8")


def test_the_check_names_all_that_a_lesson_lacks(checkout):
    path = checkout / "source/notebooks/00_welcome.py"
    edit(path, "## Before you start", "## Before")
    edit(path, "# - do another;\n# - do a third.\n", "")
    edit(path, "# Nothing.", "# ![](../README.md) [there](nowhere.md) [here](../README.md#no-such-heading)")
    long = "\n".join(["print()"] * 31)
    edit(path, "print(6 * 7)", f"{long}\n\n# %%\nimport matplotlib.pyplot as plt\n\nplt.plot([1, 2])")
    code, said = build(checkout)
    assert code == 1
    edit(path, 'path.picture(here="00")', "")
    said += build(checkout, "--check")[1]
    for finding in (
        "does not show where on the path", "lacks the part '## Before you start'", "lists 1 points; 3 to 5 are asked for", "has no alternative text",
                    "the link to nowhere.md leads nowhere", "README.md has no heading #no-such-heading", "and 31 at the most",
                    "a figure without alternative text"):  # fmt: skip
        assert finding in said


def test_a_missing_a_stale_and_an_orphaned_recording_are_found(checkout):
    code = '@live("docker")\ndef pull():\n    return 1'
    text = f"from course_lib.idioms import live\n\n# %%\n{code}\n"
    edit(checkout / "source/notebooks/00_welcome.py", "print(6 * 7)", text)
    said = build(checkout)[1]
    assert "syllabus.toml says that lesson 00 runs on [], its live functions on ['docker']" in said
    edit(checkout / "syllabus.toml", "live = []", 'live = ["docker"]')
    folder = checkout / "source/recordings/00"
    folder.mkdir(parents=True)
    (folder / "gone.json").write_text("{}")
    said = build(checkout)[1]
    assert "pull has no recording" in said and "gone.json is a recording of no live function" in said
    (folder / "pull.json").write_text(json.dumps({"source_sha256": "other"}))
    assert "the recording of pull is stale" in build(checkout, "--check")[1]
    (folder / "pull.json").write_text(json.dumps({"source_sha256": source_hash(code)}))
    (folder / "gone.json").unlink()
    assert build(checkout, "--check") == (0, "built and source agree\n")


def test_a_lesson_that_fails_or_warns_is_not_built_and_says_why(checkout):
    path = checkout / "source/notebooks/00_welcome.py"
    edit(path, "print(6 * 7)", "import warnings\n\nwarnings.warn('old')")
    code, said = build(checkout)
    assert code == 1 and "wrote to stderr" in said and not (checkout / "notebooks/00_welcome.ipynb").exists()


def test_an_unknown_lesson_gets_one_line_and_exit_2(checkout):
    code, said = build(checkout, "77")
    assert code == 2 and "no lesson '77'" in said.splitlines()[-1]
