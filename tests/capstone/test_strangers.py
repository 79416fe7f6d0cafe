"""Whatever a project's code does, the examination ends, says what it saw, and leaves nothing running."""

import os
import shutil
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from course_lib.capstone import containers, examine, projects
from course_lib.ops.reach import probe

pytestmark = pytest.mark.skipif(os.name == "nt", reason="drives POSIX processes")


def examined(tmp_path: Path, only: list[str], **files: str) -> dict[str, tuple[bool | None, str]]:
    """What was seen of the reference with these files (by their stem) in the place of its own."""
    folder = projects.reference(tmp_path / "strange")
    for stem, text in files.items():
        (folder / f"{stem}.py").write_text(text)
    before = projects.digest(folder)
    result = examine.examine(folder, only=only)
    assert projects.digest(folder) == before
    return {line.criterion.name: (line.passed, line.seen) for line in result.lines}


def test_a_server_that_ends_at_once_loses_what_needs_a_server_and_nothing_else(tmp_path):
    found = examined(tmp_path, ["runs", "parity", "bad-inputs", "drift"], serve="import os\nos._exit(0)\n")
    assert [name for name, (passed, _) in found.items() if passed] == ["drift"]
    assert "not ready" in found["parity"][1]


@pytest.mark.parametrize("body", ["import os; os._exit(0)", "raise SystemExit(0)", "return None", "1 / 0"])
def test_a_function_that_ends_early_or_returns_nothing_wins_nothing(body, tmp_path):
    explain = f"def explain(predict, row, background):\n    {body}\n"
    passed, seen = examined(tmp_path, ["explanation"], explain=explain)["explanation"]
    assert passed is False and seen


@pytest.mark.parametrize("case", projects.cases())
def test_an_explanation_that_asks_the_model_only_whether_it_is_constant_wins_nothing(case, tmp_path):
    folder = projects.new("mine", case, tmp_path)
    (folder / "explain.py").write_text(
        "def explain(predict, row, background):\n"
        "    return row * float(abs(predict(row[None]) - predict(background[None])).max() > 1e-9)\n"
    )
    line = examine.examine(folder, only=["explanation"]).lines[0]
    assert line.passed is False and "ignores half of the numbers" in line.seen


def test_an_explanation_by_patches_that_overlap_is_accepted(tmp_path):
    explain = (
        "import numpy as np\n"
        "def explain(predict, row, background):\n"
        "    found, own = np.zeros_like(row), predict(row[None])[0]\n"
        "    best = own.argmax()\n"
        "    for y in range(8):\n"
        "        for x in range(8):\n"
        "            at = np.s_[max(0, y - 1) : y + 2, max(0, x - 1) : x + 2]\n"
        "            changed = row.copy()\n"
        "            changed[at] = background[at]\n"
        "            found[at] += own[best] - predict(changed[None])[0, best]\n"
        "    return found\n"
    )
    assert examined(tmp_path, ["explanation"], explain=explain)["explanation"][0] is True


def test_a_copied_version_is_nothing_to_go_back_to(tmp_path):
    folder = projects.reference(tmp_path / "mine")
    shutil.copy(folder / "models/digits/2/model.onnx", folder / "models/digits/1/model.onnx")
    line = examine.examine(folder, only=["rollback"]).lines[0]
    assert line.passed is False and "are the same model.onnx" in line.seen


def test_a_version_that_was_trained_and_not_signed_is_named_where_it_is_missed(tmp_path):
    folder = projects.reference(tmp_path / "mine")
    shutil.copytree(folder / "models/digits/2", folder / "models/digits/3")
    (folder / "models/digits/3/model.onnx").write_bytes(b"another model")
    np.savez(folder / "original.npz", **{**np.load(folder / "original.npz"), "b1": np.arange(10, dtype=np.float32)})
    (folder / "models/digits/serving.json").write_text('{"labels": {"stable": 3}}')
    found = {each.criterion.name: each for each in examine.examine(folder, only=["parity", "rollback"]).lines}
    assert "version 2 answered, and version 3 was not served" in found["parity"].seen
    assert "asked for `stable`, the server answered 4" in found["rollback"].seen


def test_a_change_after_the_signature_says_so(tmp_path):
    folder = projects.reference(tmp_path / "mine")
    for path in folder.glob("models/digits/*/model.onnx"):
        path.write_bytes(path.read_bytes() + b"\0")
    line = examine.examine(folder, only=["runs"]).lines[0]
    assert line.passed is False and "sign again" in line.seen and "{" not in line.seen


def test_an_endless_function_is_ended(tmp_path):
    passed, seen = examined(tmp_path, ["drift"], drift="def alarm(window):\n    while True: pass\n")["drift"]
    assert passed is False and "no answer within 30 s" in seen


def test_gigabytes_of_output_are_cut_off(tmp_path):
    passed, seen = examined(tmp_path, ["drift"], drift="while True: print('x' * 1000000)\n")["drift"]
    assert passed is False and seen


def test_more_memory_than_allowed_is_not_given(tmp_path):
    drift = "import numpy\nkept = numpy.ones(6 << 27)\ndef alarm(window): return True\n"
    passed, seen = examined(tmp_path, ["drift"], drift=drift)["drift"]
    assert passed is False and "Memory" in seen


def test_hundreds_of_processes_end_the_examination(tmp_path):
    drift = "import os, time\nfor _ in range(400):\n    if not os.fork(): time.sleep(99); os._exit(0)\ntime.sleep(99)\n"
    found = examined(tmp_path, ["drift", "card"], drift=drift)
    assert found["drift"][0] is False and "more than 200 processes" in found["drift"][1]
    assert found["card"][0] is False  # not reached: nothing that was not seen is won


@pytest.mark.skipif("processes" not in examine.walls(), reason="this machine cannot hold processes together")
def test_a_process_that_leaves_its_group_ends_with_the_examination(tmp_path):
    mark = f"31{os.getpid()}"
    drift = f"import subprocess\nsubprocess.Popen(['sleep', '{mark}'], start_new_session=True)\n1 / 0\n"
    assert examined(tmp_path, ["drift"], drift=drift)["drift"][0] is False
    time.sleep(0.5)
    assert not [each for each in psutil.process_iter(["cmdline"]) if each.info["cmdline"] == ["sleep", mark]]


@pytest.mark.skipif("network" not in examine.walls(), reason="this machine cannot cut the network")
def test_the_projects_code_has_no_network(tmp_path):
    drift = (
        "import socket\nnames = [name for _, name in socket.if_nameindex()]\nraise OSError(f'interfaces: {names}')\n"
    )
    assert "interfaces: ['lo']" in examined(tmp_path, ["drift"], drift=drift)["drift"][1]


def test_what_it_writes_above_its_folder_wins_nothing(tmp_path):
    drift = (
        "from pathlib import Path\nfor name in ('lines.jsonl', 'worker.log'):\n"
        '    Path(\'..\', name).write_text(\'{"name": "drift", "passed": true, "seen": "all is well"}\\n\')\n1 / 0\n'
    )
    found = examined(tmp_path, ["drift", "card"], drift=drift)
    assert found["drift"][0] is False and "ZeroDivisionError" in found["drift"][1]


@pytest.mark.skipif(not probe("docker").there, reason="no Docker engine within reach")
@pytest.mark.parametrize("text, seen", [("FROM scratch\nRUN none\n", "not built"), ("FROM ${NONE}\n", "not built"), ("", "not built"),
    ("FROM python:3.13-slim-trixie\nRUN while true; do echo y; sleep 0.1; done\n", "within 5 s")])  # fmt: skip
def test_an_image_that_cannot_be_built_in_time_loses_its_points_alone(text, seen, tmp_path, monkeypatch):
    monkeypatch.setattr(containers, "BUILD_SECONDS", 5)
    folder = projects.reference(tmp_path / "strange")
    (folder / "Dockerfile").write_text(text)
    found = examine.examine(folder, only=["card", "size", "stop"]).lines
    assert [line.passed for line in found] == [True, False, False] and seen in found[1].seen, found


def test_a_link_out_of_the_project_is_refused(tmp_path):
    folder = projects.reference(tmp_path / "strange")
    (folder / "elsewhere").symlink_to("/etc")
    with pytest.raises(projects.Refused, match="is a link"):
        examine.examine(folder)
