"""The programs of lesson 24's pipeline: what is to be scanned is listed whole, or the pipeline stops."""

import json
import subprocess
import sys

import pytest

from course_lib.places import CHECKOUT


def sbom(folder, requirements):
    """Runs sbom.py over this text in a folder; its exit status and what it said."""
    (folder / "requirements.txt").write_text(requirements)
    command = [sys.executable, CHECKOUT / "course_lib/release/project/sbom.py"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def test_every_package_of_the_service_is_listed(tmp_path):
    text = (CHECKOUT / "docker/service-requirements.txt").read_text()
    code, said = sbom(tmp_path, text)
    parts = json.loads((tmp_path / "sbom.json").read_text())["components"]
    assert code == 0 and len(parts) == text.count("==") and f"{len(parts)} packages" in said


@pytest.mark.parametrize("line", ["onnx", "onnx>=1.20", "onnx==1.*", "-r other.txt", "onnx @ file:///onnx.whl"])
def test_a_package_that_could_not_be_scanned_stops_the_pipeline(tmp_path, line):
    code, said = sbom(tmp_path, f"numpy==2.4.6\n{line}\n")
    assert code == 1 and f"expected NAME==VERSION in requirements.txt, got {line}" in said
    assert not (tmp_path / "sbom.json").exists()


def test_an_empty_list_stops_the_pipeline(tmp_path):
    assert sbom(tmp_path, "# nothing\n") == (1, "requirements.txt names no package\n")
