"""checkov, a policy scanner, over Dockerfiles and rendered manifests: it finds nothing that is not explained.

It gets an environment of its own, made at the first run (300 MB): its packages conflict with the course's.
"""

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path

import pytest
import yaml

from course_lib.places import CHECKOUT
from tests.deploy.tree import Tree, absent, pods
from tools import environments

POLICY = Path(__file__).parent / "policy"
EXCUSES = yaml.safe_load((POLICY / "excuses.yaml").read_text(encoding="utf-8"))

BARE = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "bare"},
        "spec": {"selector": {"matchLabels": {"app": "bare"}},
                 "template": {"metadata": {"labels": {"app": "bare"}},
                              "spec": {"containers": [{"name": "bare", "image": "bare:latest"}]}}}}  # fmt: skip
BARE_DOCKERFILE = "FROM python:latest\nADD . /app\nCMD python /app/server.py\n"


@dataclass
class Report:
    """findings: {(check, file, resource): what it asks}. passed: {file: checks}. unread: files that were no files to it."""

    findings: dict[tuple[str, str, str], str] = field(default_factory=dict)
    passed: dict[str, int] = field(default_factory=dict)
    unread: list[str] = field(default_factory=list)


def as_pods(documents: list[dict]) -> list[dict]:
    """What the scanner knows: an InferenceService as the pod that KServe makes of it."""
    made = [{"apiVersion": "v1", "kind": "Pod", "metadata": pod.owner["metadata"], "spec": pod.spec}
            for pod in pods(documents) if pod.owner["kind"] == "InferenceService"]  # fmt: skip
    return [each for each in documents if each["kind"] != "InferenceService"] + made


@pytest.fixture(scope="module")
def report(deployed: Tree, tmp_path_factory: pytest.TempPathFactory) -> Report:
    """One run for all. A folder for each overlay, or one's NetworkPolicy would do for the pods of another."""
    try:
        python = environments.python(POLICY / "checkov.txt")
    except environments.NotInstalled as why:
        absent(f"checkov is not installed and cannot be now: {why}")
    folder = tmp_path_factory.mktemp("policy")
    overlays = {name: as_pods(documents) for name, documents in deployed.overlays.items() if name != "base"}
    for name, documents in {**overlays, "bare": [BARE]}.items():
        (folder / name).mkdir()
        (folder / name / f"{name}.yaml").write_text(yaml.safe_dump_all(documents))
    (folder / "docker").mkdir()
    for path in (CHECKOUT / "docker").glob("*.Dockerfile"):
        (folder / "docker" / path.name).write_text(path.read_text(encoding="utf-8"))
    (folder / "docker" / "bare.Dockerfile").write_text(BARE_DOCKERFILE)
    return scan(python, folder)


def scan(python: str, folder: Path) -> Report:
    """What checkov says of each folder's files. Without the network: its proxy leads nowhere."""
    program = Path(python).with_name("checkov.cmd" if os.name == "nt" else "checkov")
    nowhere = {name: "http://127.0.0.1:9" for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy")}
    folders = [word for each in sorted(folder.iterdir()) for word in ("-d", each.name)]
    options = ("--framework", "dockerfile", "kubernetes", "--skip-download", "--compact", "--soft-fail", "-o", "json")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run([python, str(program), *folders, *options], cwd=folder, env={**environment, **nowhere},
                          capture_output=True, text=True, timeout=300)  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    found = Report()
    for each in documents(done.stdout):
        results = each.get("results", {})
        found.unread += results.get("parsing_errors", [])
        for check in results.get("failed_checks", []):
            file = check["file_path"].rpartition("/")[2].removesuffix(".yaml")
            found.findings[check["check_id"], file, check["resource"]] = check["check_name"]
        for check in results.get("passed_checks", []):
            file = check["file_path"].rpartition("/")[2].removesuffix(".yaml")
            found.passed[file] = found.passed.get(file, 0) + 1
    return found


def documents(text: str) -> Iterator[dict]:
    """checkov prints one JSON text for each folder, an object or a list of them, one after the other."""
    decoder, text = json.JSONDecoder(), text.strip()
    while text:
        one, end = decoder.raw_decode(text)
        yield from one if isinstance(one, list) else [one]
        text = text[end:].lstrip()


def excused(check: str, file: str) -> bool:
    return any(each["check"] == check and any(fnmatch(file, where) for where in each["where"]) for each in EXCUSES)


def test_there_is_no_finding_that_is_not_explained(report):
    ours = {key: asks for key, asks in report.findings.items() if not key[1].startswith("bare")}
    assert {key: asks for key, asks in ours.items() if not excused(*key[:2])} == {}


def test_no_explanation_outlives_its_finding(report):
    ours = [(check, file) for check, file, _ in report.findings if not file.startswith("bare")]
    for each in EXCUSES:
        assert each["because"].strip()
        for where in each["where"]:
            assert any(check == each["check"] and fnmatch(file, where) for check, file in ours), (each["check"], where)


def test_every_file_was_read(report, deployed):
    assert report.unread == []
    files = {path.name for path in (CHECKOUT / "docker").glob("*.Dockerfile")}
    assert files | (deployed.overlays.keys() - {"base"}) <= report.passed.keys()
    assert min(report.passed[file] for file in files) > 20 and report.passed["production"] > 80


def test_the_scanner_is_not_blind(report):
    bare = {check for check, file, _ in report.findings if file == "bare"}
    assert {"CKV_K8S_8", "CKV_K8S_9", "CKV_K8S_14", "CKV_K8S_20", "CKV_K8S_22", "CKV_K8S_40"} <= bare
    dockerfile = {check for check, file, _ in report.findings if file == "bare.Dockerfile"}
    assert {"CKV_DOCKER_2", "CKV_DOCKER_3", "CKV_DOCKER_4", "CKV_DOCKER_7"} <= dockerfile
