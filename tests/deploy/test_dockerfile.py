"""The service's Dockerfile, read: what a builder and a cluster will ask of it. Lessons build it for real."""

import ast
import json
import re
import sys
from importlib.metadata import requires

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import course_lib
from course_lib.places import CHECKOUT


def instructions() -> list[tuple[str, str]]:
    """(word, rest) of each instruction, continuation lines joined, comments dropped."""
    lines = [line for line in (CHECKOUT / "docker/service.Dockerfile").read_text().splitlines() if line[:1] != "#"]
    joined = re.sub(r"\s*\\\n\s*", " ", "\n".join(lines))
    return [tuple(line.split(maxsplit=1)) for line in joined.splitlines() if line.strip()]


def last_stage() -> list[tuple[str, str]]:
    found = instructions()
    return found[max(index for index, (word, _) in enumerate(found) if word == "FROM") :]


def pins(name: str) -> dict[str, str]:
    lines = (CHECKOUT / name).read_text().splitlines()
    pairs = [line.split(";")[0].split("==") for line in lines if "==" in line and not line.startswith("#")]
    return {canonicalize_name(package): version.strip() for package, version in pairs}


def test_the_base_is_pinned_and_the_same_in_both_stages():
    found = instructions()
    assert ("ARG", "BASE_IMAGE=python:3.11-slim-bookworm") == found[0]
    assert [rest for word, rest in found if word == "FROM"] == ["${BASE_IMAGE} AS packages", "${BASE_IMAGE}"]


def test_any_builder_understands_it():
    text = (CHECKOUT / "docker/service.Dockerfile").read_text()
    for unknown in ("--mount", "# syntax", "--link", "--chmod", "<<", "ADD "):
        assert unknown not in text


def test_it_runs_as_a_numbered_user_in_exec_form():
    stage = dict(last_stage())
    assert stage["USER"] == "10001:10001" and stage["EXPOSE"] == "8501"
    command = json.loads(stage["CMD"])
    assert command[:3] == ["python", "-m", "course_lib.serving"] and command[-1] == stage["EXPOSE"]
    check = json.loads(stage["HEALTHCHECK"].split("CMD", 1)[1])
    assert check[0] == "python" and "8501/v2/health/ready" in check[-1]
    compile(check[-1], "HEALTHCHECK", "exec")


def test_nothing_runs_as_the_user_before_everything_is_copied():
    words = [word for word, _ in last_stage()]
    assert "RUN" not in words and max(i for i, word in enumerate(words) if word == "COPY") < words.index("USER")


def test_the_label_tells_the_version_of_the_course():
    assert f'version="{course_lib.__version__}"' in dict(last_stage())["LABEL"]


def test_the_container_holds_exactly_what_the_server_needs_at_the_courses_versions():
    held, course = pins("docker/service-requirements.txt"), pins("constraints.txt")
    assert held == {name: course[name] for name in held}
    needed, todo = set(), ["httptools", "numpy", "onnxruntime", "orjson", "prometheus-client", "uvicorn", "uvloop"]
    while todo:
        name = canonicalize_name(todo.pop())
        if name not in needed:
            needed.add(name)
            wanted = [Requirement(text) for text in requires(name) or []]
            environment = {"extra": "", "python_version": "3.11", "python_full_version": "3.11.9"}
            todo += [found.name for found in wanted if not found.marker or found.marker.evaluate(environment)]
    assert set(held) == needed


def copied() -> list[str]:
    """What is copied from the checkout, rather than from another stage."""
    copies = [rest.split() for word, rest in instructions() if word == "COPY"]
    return [source for sources in copies for source in sources[:-1] if not sources[0].startswith("--from=")]


@pytest.mark.parametrize("source", copied())
def test_what_is_copied_reaches_the_engine(source):
    kept = [line[1:] for line in (CHECKOUT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    assert source in kept
    assert source.split("/")[0] in ("docker", "course_lib", "models")


def test_the_server_imports_only_what_the_container_holds():
    held = {name.replace("-", "_") for name in pins("docker/service-requirements.txt")}
    for path in (CHECKOUT / "course_lib/pipeline.py", *(CHECKOUT / "course_lib/serving").glob("*.py")):
        for module in imported(path.read_text()):
            if module.startswith("course_lib"):
                copied = ("course_lib.__version__.", "course_lib.pipeline.", "course_lib.serving.")
                assert f"{module}.".startswith(copied), path
            else:
                assert module.split(".")[0] in held | sys.stdlib_module_names, path


def imported(source: str) -> list[str]:
    """What a file imports, wherever in it: "json", and for `from course_lib import data` "course_lib.data"."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "a relative import names its module in no way that this test can follow"
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return found


def test_imports_are_seen_wherever_they_stand():
    source = "def late():\n    import torch\nif 1:\n    from course_lib import data"
    assert sorted(imported(source)) == ["course_lib.data", "torch"]
