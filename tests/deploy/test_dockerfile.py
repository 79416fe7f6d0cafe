"""The Dockerfiles, read: what a builder and a cluster will ask of them. Lessons build the service's for real."""

import ast
import json
import re
import subprocess
import sys
from importlib.metadata import requires

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import course_lib
from course_lib.places import CHECKOUT

SERVICE, WORKSHOP = "docker/service.Dockerfile", "docker/workshop.Dockerfile"
both = pytest.mark.parametrize("name", [SERVICE, WORKSHOP])


def instructions(name: str = SERVICE) -> list[tuple[str, str]]:
    """(word, rest) of each instruction, continuation lines joined, comments dropped."""
    lines = [line for line in (CHECKOUT / name).read_text().splitlines() if line[:1] != "#"]
    joined = re.sub(r"\s*\\\n\s*", " ", "\n".join(lines))
    return [tuple(line.split(maxsplit=1)) for line in joined.splitlines() if line.strip()]


def last_stage(name: str = SERVICE) -> list[tuple[str, str]]:
    found = instructions(name)
    return found[max(index for index, (word, _) in enumerate(found) if word == "FROM") :]


def ending(word: str, name: str = SERVICE) -> str:
    """What the last stage's last `word` says, of which there must be one."""
    return [rest for each, rest in last_stage(name) if each == word][-1]


def pins(name: str) -> dict[str, str]:
    lines = (CHECKOUT / name).read_text().splitlines()
    pairs = [line.split(";")[0].split("==") for line in lines if "==" in line and not line.startswith("#")]
    return {canonicalize_name(package): version.strip() for package, version in pairs}


def test_the_base_is_pinned_and_the_same_in_both_stages():
    found = instructions()
    assert ("ARG", "BASE_IMAGE=python:3.11-slim-bookworm") == found[0]
    assert [rest for word, rest in found if word == "FROM"] == ["${BASE_IMAGE} AS packages", "${BASE_IMAGE}"]


@both
def test_any_builder_understands_it(name):
    text = (CHECKOUT / name).read_text()
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


@both
def test_the_label_tells_the_version_of_the_course(name):
    assert f'version="{course_lib.__version__}"' in ending("LABEL", name)


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


def test_the_workshop_starts_from_the_base_of_the_service():
    assert instructions(WORKSHOP)[:2] == [instructions()[0], ("FROM", "${BASE_IMAGE}")]


def test_the_workshop_runs_as_a_numbered_user_in_exec_form_and_is_asked_on_its_port():
    assert ending("USER", WORKSHOP) == "10001:10001" and ending("EXPOSE", WORKSHOP) == "8888"
    command = json.loads(ending("CMD", WORKSHOP))
    assert command[:2] == ["jupyter", "lab"] and {"--ip=0.0.0.0", "--port=8888", "--no-browser"} <= set(command)
    check = json.loads(ending("HEALTHCHECK", WORKSHOP).split("CMD", 1)[1])
    compile(check[-1], "HEALTHCHECK", "exec")
    assert check[0] == "python" and "127.0.0.1:8888/api" in check[-1]


def test_the_workshop_asks_for_a_token():
    assert "token" not in " ".join(rest for _, rest in instructions(WORKSHOP)).lower()  # none is set, so one is made


def test_the_workshop_installs_nothing_anew_for_a_changed_lesson():
    words = instructions(WORKSHOP)
    course = words.index(("COPY", "--chown=10001:10001 . ./"))
    installs = [i for i, (word, rest) in enumerate(words) if word == "RUN" and "pip install" in rest]
    assert [i < course for i in installs] == [True, True, False] and "--no-deps" in words[installs[2]][1]
    assert ("COPY", "pyproject.toml constraints.txt ./") in words[:course]


def test_the_workshop_takes_the_pinned_torch_for_cpus_and_everything_else_by_the_constraints():
    torch, rest = (
        text
        for word, text in instructions(WORKSHOP)
        if word == "RUN" and "pip install --no-cache" in text and "editable" not in text
    )
    pattern = re.search(r"grep -o '(.+?)' constraints.txt", torch)[1]
    found = re.findall(pattern, (CHECKOUT / "constraints.txt").read_text(), re.M)
    assert found == [f"torch=={pins('constraints.txt')['torch']}"] and 'constraints.txt)+cpu"' in torch
    assert "download.pytorch.org/whl/cpu" in dict(instructions(WORKSHOP))["ARG"] and "${TORCH_FROM}" in torch
    assert "--constraint constraints.txt --requirement /tmp/requirements.txt" in rest and "pip check" in rest


def test_the_workshop_reads_what_the_course_needs_from_its_own_list():
    (code,) = [re.search(r'python -c "(.+?)" >', rest)[1] for _, rest in instructions(WORKSHOP) if "tomllib" in rest]
    done = subprocess.run([sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True, check=True)
    names = {Requirement(line).name for line in done.stdout.splitlines()}
    assert names >= {"setuptools", "torch", "jupyterlab", "onnxruntime"}


def test_the_workshops_settings_are_json():
    (text,) = [re.search(r"echo '(.+?)'", rest)[1] for _, rest in instructions(WORKSHOP) if "overrides.json" in rest]
    assert json.loads(text)["@jupyterlab/apputils-extension:notification"]["fetchNews"] == "false"


def test_the_workshop_is_built_from_what_is_committed_without_the_services_dockerignore():
    head = (CHECKOUT / WORKSHOP).read_text().split("ARG")[0]
    assert f"git archive HEAD -- . ':!.dockerignore' | docker build -f {WORKSHOP}" in head
