"""What Binder makes of the checkout, by rule: its files, read, and `postBuild`, run with a stand-in for Python."""

import json
import os
import re
import runpy
import shutil
import subprocess
import tomllib
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from course_lib import syllabus
from course_lib.places import CHECKOUT
from tools.build import pages, source

ENVIRONMENT = yaml.safe_load((CHECKOUT / "environment.yml").read_text(encoding="utf-8"))
COURSE = runpy.run_path(str(CHECKOUT / "course"))
OTHERS = ("binder", ".binder", "Dockerfile", "Project.toml", "requirements.txt", "Pipfile", "setup.py", "runtime.txt",
          "apt.txt", "start", "default.nix", "install.R", "DESCRIPTION")  # fmt: skip
"""What Binder would build from in place of environment.yml, or beside it."""

SETTING = {"@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False}}


def conda_says() -> dict[str, str]:
    """What a marker is asked for on Binder: Linux, and the Python that environment.yml names."""
    (version,) = re.findall(r"python=([\d.]+)$", "\n".join(map(str, ENVIRONMENT["dependencies"])), re.M)
    return {"sys_platform": "linux", "platform_machine": "x86_64", "os_name": "posix", "python_version": version,
            "python_full_version": f"{version}.9", "implementation_name": "cpython"}  # fmt: skip


def test_binder_builds_from_environment_yml_and_nothing_else():
    assert not [name for name in OTHERS if (CHECKOUT / name).exists()]


def test_its_python_is_one_that_the_course_supports_and_torch_comes_from_the_index_that_course_takes():
    assert conda_says()["python_version"] in COURSE["VERSIONS"]
    options = [line for line in ENVIRONMENT["dependencies"][-1]["pip"] if line.startswith("-")]
    assert options == [f"--extra-index-url {COURSE['CPU_INDEX']}"]


def test_it_holds_all_that_learners_and_authors_need_so_course_installs_nothing_there():
    there = conda_says()
    lines = [Requirement(line) for line in ENVIRONMENT["dependencies"][-1]["pip"] if not line.startswith("-")]
    pinned = {canonicalize_name(each.name): each for each in lines if not each.marker or each.marker.evaluate(there)}
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))
    asked = project["build-system"]["requires"] + project["project"]["dependencies"]
    for text in asked + project["project"]["optional-dependencies"]["authors"]:
        need = Requirement(text)
        if not need.marker or need.marker.evaluate(there):
            (version,) = [each.version for each in pinned[canonicalize_name(need.name)].specifier]
            assert need.specifier.contains(version), f"{need} and {version}"


@pytest.mark.skipif(os.name == "nt" or not shutil.which("bash"), reason="runs a script for bash")
def test_post_build_installs_the_course_s_own_code_alone_and_keeps_jupyterlab_from_asking_for_news(tmp_path: Path):
    script = CHECKOUT / "postBuild"
    assert os.access(script, os.X_OK) and script.read_bytes().startswith(b"#!/bin/bash\n")
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.write_text(
        f'#!/bin/sh\necho "$@" >> "{tmp_path}/called"\n[ "$1" = -c ] && echo "{tmp_path}/a prefix"\nexit 0\n'
    )
    python.chmod(0o755)
    path = f"{python.parent}{os.pathsep}{os.environ['PATH']}"
    subprocess.run([script], cwd=tmp_path, env={"PATH": path}, check=True)
    installs = [line for line in (tmp_path / "called").read_text().splitlines() if "pip" in line]
    assert installs == ["-m pip install --no-deps --no-build-isolation --editable ."]
    settings = tmp_path / "a prefix/share/jupyter/lab/settings/overrides.json"
    assert json.loads(settings.read_text()) == SETTING


def test_the_start_address_of_each_badge_is_a_notebook_of_the_checkout():
    published = replace(syllabus.load(), repository="owner/name")
    texts = [pages._badges(published)]
    for lesson in published.lessons:
        kinds = [kind for kind in source.KINDS if source.source_path(kind, lesson).exists()]
        texts += [source._head(kind, lesson, published, CHECKOUT).source for kind in kinds]
    starts = [url for text in texts for url in re.findall(r"\((https://mybinder\.org/v2/[^)]*)\)", text)]
    assert len(starts) == len(texts)
    for start in starts:
        parts = urlsplit(start)
        assert parts.path == "/v2/gh/owner/name/main"
        (opened,) = parse_qs(parts.query)["urlpath"]
        assert opened.startswith("lab/tree/") and (CHECKOUT / opened.removeprefix("lab/tree/")).is_file(), start


def test_the_three_places_that_set_jupyterlab_up_set_the_same():
    texts = [(CHECKOUT / name).read_text(encoding="utf-8") for name in ("postBuild", "docker/workshop.Dockerfile")]
    assert [json.loads(re.search(r"echo '(\{.+?\})'", text)[1]) for text in texts] == [SETTING, SETTING]
    assert '"fetchNews": "false", "checkForUpdates": False' in (CHECKOUT / "course").read_text(encoding="utf-8")
