"""Projects: made, refused, signed, recorded; and what the three cases start from."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest

from course_lib.capstone import __main__ as command
from course_lib.capstone import cases, examine, projects, report


@pytest.mark.parametrize("case", projects.cases())
def test_a_new_project_runs_and_leaves_much_to_mend(case, tmp_path):
    folder = projects.new("mine", case, tmp_path)
    result = examine.examine(folder, only=["runs", "contract", "parity", "card", "explanation", "drift"], engine=False)
    met = {line.criterion.name for line in result.lines if line.passed}
    assert {"runs", "contract"} <= met and not met & {"parity", "explanation", "drift"}, result.lines


@pytest.mark.parametrize("name", ["", "A", "a", "../up", "with space", "-a", "a-", "a" * 41])
def test_a_bad_name_is_refused(name, tmp_path):
    with pytest.raises(projects.Refused, match="expected a name"):
        projects.new(name, "digits", tmp_path)


def test_an_unknown_case_and_a_folder_that_is_there_are_refused_and_left_alone(tmp_path):
    with pytest.raises(projects.Refused, match="digits, flights, medical"):
        projects.new("mine", "horses", tmp_path)
    (tmp_path / "mine").mkdir()
    with pytest.raises(projects.Refused, match="nothing is overwritten"):
        projects.new("mine", "digits", tmp_path)
    assert list((tmp_path / "mine").iterdir()) == []


@pytest.mark.parametrize(
    "text", ["", "case = 1", 'case = "horses"\nmodel = "a"', 'case = "digits"\nmodel = "../a"', "\x00"]
)
def test_a_strange_project_file_is_refused(text, tmp_path):
    (tmp_path / "project.toml").write_text(text)
    with pytest.raises(projects.Refused, match=r"project\.toml"):
        projects.settings(tmp_path)


def test_the_command_says_what_is_wrong_and_returns_2(capsys, tmp_path):
    assert command.main(["examine", str(tmp_path / "nowhere")]) == 2
    assert "expected a project" in capsys.readouterr().err
    assert command.main(["new", "UPPER", "--case", "digits"]) == 2
    (tmp_path / "project.toml").write_text('case = "digits"\nmodel = "digits"\n')
    assert command.main(["verify", str(tmp_path)]) == 2
    assert "expected a record" in capsys.readouterr().err


def test_an_edition_without_the_reference_says_so(capsys, monkeypatch, tmp_path):
    (tmp_path / "cases").mkdir()
    monkeypatch.setattr(projects, "SOURCE", tmp_path)
    assert command.main(["examine", "reference"]) == 2
    assert "holds no reference" in capsys.readouterr().err


def test_a_key_inside_the_project_is_refused_and_one_outside_is_kept(tmp_path):
    folder = projects.new("mine", "digits", tmp_path)
    with pytest.raises(projects.Refused, match="keep it outside"):
        projects.sign(folder, folder / "key.pem")
    projects.sign(folder, tmp_path / "key.pem")
    first = (folder / "trust.pem").read_bytes()
    projects.sign(folder, tmp_path / "key.pem")
    assert (folder / "trust.pem").read_bytes() == first
    assert (tmp_path / "key.pem").stat().st_mode & 0o077 == 0


def test_a_record_fits_its_files_alone(tmp_path):
    folder = projects.reference(tmp_path / "mine")
    result = examine.examine(folder, only=["card", "manifests"])
    page = report.write(result, folder / "report")
    assert report.total(report.as_data(result)) == "7 of 7 points; 2 of 21 criteria examined"
    record = json.loads(page.with_name("record.json").read_text())
    assert report.verify(record, folder) == []
    assert "record was changed" in report.verify(record | {"points": 100}, folder)[0]
    (folder / "CARD.md").write_text("another")
    assert "not those that were examined" in report.verify(record, folder)[0]
    assert report.verify([], folder) and report.verify({}, folder)
    for strange in (
        {},
        {"criteria": 1},
        {"criteria": [1]},
        {"criteria": [{"points": 1}]},
        {"criteria": None, "points": None},
    ):
        assert report.verify(strange | {"record_sha256": report._sum(strange)}, folder)


def test_the_page_names_each_criterion_and_escapes_what_was_seen(tmp_path):
    result = examine.examine(projects.reference(tmp_path / "mine"), only=["card", "size"], engine=False)
    result.lines[0].seen = "<script>"
    page = report.write(result, tmp_path / "out").read_text()
    assert "<script>" not in page and "&lt;script&gt;" in page and "not examined here" in page and "<title>" in page


@pytest.mark.parametrize("case", [*projects.cases(), "reference"])
def test_training_makes_the_model_that_is_kept(case, tmp_path):
    folder = projects.reference(tmp_path / "mine") if case == "reference" else projects.new("mine", case, tmp_path)
    kept = tmp_path / "kept.npz"
    shutil.move(folder / "original.npz", kept)
    subprocess.run([sys.executable, "train.py"], cwd=folder, check=True, timeout=120)
    rows = cases.CASES["digits" if case == "reference" else case]().rows[:200]
    ask = "import sys, numpy as np, original; np.save(sys.argv[2], original.predict(np.load(sys.argv[1])))"
    np.save(tmp_path / "rows.npy", rows)
    found = []
    for weights in (folder / "original.npz", kept):
        if weights == kept:
            shutil.copy(kept, folder / "original.npz")
        subprocess.run(
            [sys.executable, "-c", ask, str(tmp_path / "rows.npy"), str(tmp_path / "out.npy")], cwd=folder, check=True
        )
        found.append(np.load(tmp_path / "out.npy"))
    assert (found[0].argmax(axis=1) == found[1].argmax(axis=1)).mean() > 0.98  # processors round differently
