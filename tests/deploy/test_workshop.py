"""The workshop image's Dockerfile, read. It takes minutes to build, so no test does."""

import json
import re
import subprocess
import sys

from packaging.requirements import Requirement

import course_lib
from course_lib.places import CHECKOUT
from tests.deploy.test_dockerfile import pins, recipe
from tests.deploy.tree import last_stage

INSTRUCTIONS = recipe("workshop")
LAST = last_stage(INSTRUCTIONS)


def test_any_builder_understands_it():
    text = (CHECKOUT / "docker/workshop.Dockerfile").read_text()
    for unknown in ("--mount", "# syntax", "--link", "--chmod", "<<", "ADD "):
        assert unknown not in text


def test_the_label_tells_the_version_of_the_course():
    assert f'version="{course_lib.__version__}"' in LAST["LABEL"]


def test_the_workshop_starts_from_the_base_of_the_service():
    assert INSTRUCTIONS[:2] == [recipe("service")[0], ("FROM", "${BASE_IMAGE}")]


def test_the_workshop_runs_as_a_numbered_user_in_exec_form_and_is_asked_on_its_port():
    assert LAST["USER"] == "10001:10001" and LAST["EXPOSE"] == "8888"
    command = json.loads(LAST["CMD"])
    assert command[:2] == ["jupyter", "lab"] and {"--ip=0.0.0.0", "--port=8888", "--no-browser"} <= set(command)
    check = json.loads(LAST["HEALTHCHECK"].split("CMD", 1)[1])
    compile(check[-1], "HEALTHCHECK", "exec")
    assert check[0] == "python" and "127.0.0.1:8888/api" in check[-1]


def test_the_workshop_asks_for_a_token():
    assert "token" not in " ".join(rest for _, rest in INSTRUCTIONS).lower()  # none is set, so one is made


def test_the_workshop_installs_nothing_anew_for_a_changed_lesson():
    words = INSTRUCTIONS
    course = words.index(("COPY", "--chown=10001:10001 . ./"))
    installs = [i for i, (word, rest) in enumerate(words) if word == "RUN" and "pip install" in rest]
    assert [i < course for i in installs] == [True, True, False] and "--no-deps" in words[installs[2]][1]
    assert ("COPY", "--chown=10001:10001 pyproject.toml constraints.txt ./") in words[:course]


def test_the_workshop_takes_the_pinned_torch_for_cpus_and_everything_else_by_the_constraints():
    torch, rest = (
        text
        for word, text in INSTRUCTIONS
        if word == "RUN" and "pip install --no-cache" in text and "editable" not in text
    )
    pattern = re.search(r"grep -o '(.+?)' constraints.txt", torch)[1]
    found = re.findall(pattern, (CHECKOUT / "constraints.txt").read_text(), re.M)
    assert found == [f"torch=={pins('constraints.txt')['torch']}"] and 'constraints.txt)+cpu"' in torch
    assert "download.pytorch.org/whl/cpu" in dict(INSTRUCTIONS)["ARG"] and "${TORCH_FROM}" in torch
    assert "--constraint constraints.txt --requirement /tmp/requirements.txt" in rest and "pip check" in rest


def test_the_workshop_reads_what_the_course_needs_from_its_own_list():
    (code,) = [re.search(r'python -c "(.+?)" >', rest)[1] for _, rest in INSTRUCTIONS if "tomllib" in rest]
    done = subprocess.run([sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True, check=True)
    names = {Requirement(line).name for line in done.stdout.splitlines()}
    assert names >= {"setuptools", "torch", "jupyterlab", "onnxruntime"}


def test_the_workshops_settings_are_json():
    (text,) = [re.search(r"echo '(.+?)'", rest)[1] for _, rest in INSTRUCTIONS if "overrides.json" in rest]
    assert json.loads(text)["@jupyterlab/apputils-extension:notification"]["fetchNews"] == "false"


def test_the_workshop_is_built_from_what_is_committed_without_the_services_dockerignore():
    head = (CHECKOUT / "docker/workshop.Dockerfile").read_text().split("ARG")[0]
    assert 'git archive HEAD -- . ":^.dockerignore" | docker build -f docker/workshop.Dockerfile' in head
