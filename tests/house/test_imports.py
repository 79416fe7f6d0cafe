"""Which part of the course may import which: each rule in an interpreter of its own, so that no other test decides it."""

import ast
import json
import subprocess
import sys

import pytest

from course_lib.places import CHECKOUT

FRAMEWORKS = {"torch", "tensorflow", "keras", "onnxruntime", "onnx"}


def loaded_by(name: str) -> set[str]:
    """The modules that are there after `name`, and if it is a package all that it holds, have been imported."""
    code = f"""
import importlib, json, pkgutil, sys
package = importlib.import_module({name!r})
for each in pkgutil.walk_packages(getattr(package, "__path__", []), package.__name__ + "."):
    importlib.import_module(each.name)
print(json.dumps(sorted(sys.modules)))
"""
    command = [sys.executable, "-c", code]
    said = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=True, timeout=120)
    return set(json.loads(said.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    "name",
    [
        "course_lib.idioms",
        "course_lib.data",
        "course_lib.show",
        "course_lib.measure",
        "course_lib.ops",
        "course_lib.release",
    ],
)
def test_what_every_lesson_uses_imports_no_framework(name):
    loaded = loaded_by(name)
    assert name in loaded and not loaded & FRAMEWORKS


def test_the_server_imports_nothing_of_the_course_but_the_pipeline():
    course = {each for each in loaded_by("course_lib.serving") if each.split(".")[0] == "course_lib"}
    assert "course_lib.serving.__main__" in course
    others = {each for each in course if not f"{each}.".startswith("course_lib.serving.")}
    assert others == {"course_lib", "course_lib.pipeline"}


def test_the_services_import_little_of_the_rest():
    loaded = loaded_by("course_lib.services")
    course = {each for each in loaded if each.split(".")[0] == "course_lib"}
    assert "course_lib.services.gateway" in course and not loaded & {*FRAMEWORKS, "sklearn", "scipy", "matplotlib"}
    assert {each for each in course if not f"{each}.".startswith("course_lib.services.")} == {
        "course_lib",
        "course_lib.data",
        "course_lib.serving",
        "course_lib.serving.errors",
        "course_lib.serving.keys",
        "course_lib.serving.telemetry",
        "course_lib.serving.tensors",
        "course_lib.serving.tracing",
    }


def test_the_language_model_imports_pytorch_and_of_the_course_little():
    loaded = loaded_by("course_lib.language")
    assert loaded & FRAMEWORKS == {"torch"}
    course = {each for each in loaded if f"{each}.".startswith("course_lib.")}
    others = {each for each in course if not f"{each}.".startswith("course_lib.language.")}
    assert others == {"course_lib", "course_lib.models", "course_lib.places"}


def test_ops_stands_below_the_idioms_which_import_it():
    for path in (CHECKOUT / "course_lib/ops").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] == "course_lib":
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names if alias.name.split(".")[0] == "course_lib"]
            else:
                continue
            for name in names:
                assert name.startswith(("course_lib.places", "course_lib.ops.")), f"{path.name} imports {name}"
