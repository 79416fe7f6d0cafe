"""The doctor, on machines that lack what this one may have."""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from course_lib import doctor
from course_lib.doctor import Finding, engines, machine
from course_lib.places import CHECKOUT

NAMES = ["Python", "Packages", "Memory", "Disk", "Docker", "kubectl", "Kubernetes", "GPU", "Ports"]

posix = pytest.mark.skipif(os.name == "nt", reason="stands shell scripts in for programs")


def stand_in(folder: Path, program: str, does: str) -> None:
    """A program of that name that does only this."""
    (folder / program).write_text(f"#!/bin/sh\n{does}\n")
    (folder / program).chmod(0o755)


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder on PATH, empty; and no engine behind any socket."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no.sock")
    return folder


def test_each_thing_says_what_for_how_to_get_it_and_what_works_without(path: Path) -> None:
    findings = doctor.examine()
    assert [each.name for each in findings] == NAMES
    for each in findings:
        assert each.found, each
        assert each.purpose, each
        assert each.get, each
        assert each.without, each


def test_without_docker_and_kubectl_lessons_can_still_run(path: Path) -> None:
    found = {each.name: each for each in doctor.examine()}
    assert found["Docker"].found == "no docker command, no engine within reach"
    assert found["kubectl"].found == "no kubectl command"
    assert found["Kubernetes"].found == "no kubectl command to ask with"
    assert not any(found[name].there or found[name].needed for name in ("Docker", "kubectl", "Kubernetes"))
    assert doctor.ready([found["Docker"], found["kubectl"], found["Kubernetes"]])


@posix
def test_versions_of_docker_kubectl_and_the_cluster_are_read(path: Path) -> None:
    docker = json.dumps({"Client": {"Version": "28.1"}, "Server": {"Version": "27.5"}})
    client = {"clientVersion": {"gitVersion": "v1.32.4"}, "serverVersion": {"gitVersion": "v1.29.1"}}
    stand_in(path, "docker", f"echo '{docker}'")
    view = {"current-context": "kind-course", "clusters": [{"cluster": {"server": "https://127.0.0.1:1"}}]}
    stand_in(path, "kubectl", f"[ \"$1\" = config ] && echo '{json.dumps(view)}' || echo '{json.dumps(client)}'")
    assert engines.docker().found == "client 28.1, engine 27.5"
    assert engines.kubectl().found == "1.32.4"
    assert engines.kubernetes().found == "1.29.1, context kind-course"


@posix
def test_a_cluster_elsewhere_counts_as_absent_as_it_does_for_the_lessons(path: Path, monkeypatch) -> None:
    version = json.dumps({"serverVersion": {"gitVersion": "v1.29.1"}})
    view = json.dumps({"current-context": "work", "clusters": [{"cluster": {"server": "https://cluster.example.com"}}]})
    stand_in(path, "kubectl", f"[ \"$1\" = config ] && echo '{view}' || echo '{version}'")
    found = engines.kubernetes()
    assert not found.there and "not on this machine: lessons leave it alone unless COURSE_CONTEXT=work" in found.found
    monkeypatch.setenv("COURSE_CONTEXT", "work")
    found = engines.kubernetes()
    assert (
        found.there and "not on this machine: others may use it. COURSE_CONTEXT=work allows each lesson" in found.found
    )


@posix
def test_a_client_whose_engine_or_cluster_is_down_is_told_from_none(path: Path) -> None:
    stand_in(path, "docker", """echo '{"Client": {"Version": "28.1"}, "Server": null}'; exit 1""")
    view = json.dumps({"current-context": "kind-a", "clusters": [{"cluster": {"server": "https://127.0.0.1:1"}}]})
    version = """{"clientVersion": {"gitVersion": "v1.32.4"}}'; echo 'connection refused' >&2; exit 1"""
    stand_in(path, "kubectl", f"[ \"$1\" = config ] && echo '{view}' || {{ echo '{version}; }}")
    assert (engines.docker().there, engines.docker().found) == (False, "client 28.1, no engine within reach")
    assert engines.kubectl().there
    found = engines.kubernetes()
    assert not found.there
    assert found.found == "no Kubernetes cluster answers to kubectl (connection refused), context kind-a"


@posix
@pytest.mark.parametrize("by_context", [True, False])
def test_an_engine_over_ssh_is_none_that_lessons_can_use(
    path: Path, monkeypatch: pytest.MonkeyPatch, by_context: bool
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "" if by_context else "ssh://me@far")
    version = json.dumps({"Client": {"Version": "28.1"}, "Server": {"Version": "27.5"}})
    stand_in(path, "docker", f"[ \"$1\" = context ] && echo ssh://me@far || echo '{version}'")
    monkeypatch.setattr(engines.importlib.util, "find_spec", lambda name: None)
    found = engines.docker()
    assert not found.there
    assert found.found.startswith("client 28.1, engine 27.5 over ssh://me@far, where lessons do not reach it")
    monkeypatch.setattr(engines.importlib.util, "find_spec", lambda name: name)  # somebody installed paramiko
    assert engines.docker().there


@posix
def test_a_docker_command_that_prints_something_else_is_told(path: Path) -> None:
    stand_in(path, "docker", "echo null")
    assert engines.docker().found == "the docker command does not answer, no engine within reach"


@posix
def test_a_kubectl_older_than_1_27_is_not_enough(path: Path) -> None:
    stand_in(path, "kubectl", """echo '{"clientVersion": {"gitVersion": "v1.9.11"}}'""")
    found = engines.kubectl()
    assert (found.there, found.found) == (False, "1.9.11, older than 1.27")


@posix
@pytest.mark.parametrize(
    ("does", "client", "cluster"),
    [
        ("echo 'Insufficient permissions to access MicroK8s.' >&2; echo 'newgrp microk8s' >&2; exit 1",
         "does not tell its version (permission denied)", "kubectl does not say which cluster it speaks to (permission denied)"),
        ("echo 'microk8s is not running.'; exit 1",
         "does not tell its version (it prints no JSON object but 'microk8s is not running.')",
         "kubectl does not say which cluster it speaks to (it prints no JSON object but 'microk8s is not running.')"),
        ("""[ "$1" = config ] && { echo 'error: current-context must exist in order to minify' >&2; exit 1; }
echo '{"clientVersion": "4.17", "releaseClientVersion": "4.17.3"}'""",
         "does not tell its version (it names none)",
         "no Kubernetes cluster is chosen (kubectl has no current context)"),
        ("echo '[]'", "does not tell its version (it prints no JSON object but '[]')",
         "kubectl does not say which cluster it speaks to (it prints no JSON object but '[]')"),
    ],
    ids=["no rights", "not running", "other fields", "a list"],
)  # fmt: skip
def test_what_another_makers_kubectl_says_is_told_rightly(path: Path, does: str, client: str, cluster: str) -> None:
    stand_in(path, "kubectl", does)
    assert engines.kubectl().found == f"the kubectl command {client}"
    found = engines.kubernetes()
    assert (found.there, found.found) == (False, cluster)


@posix
def test_a_kubectl_that_asks_the_cluster_for_its_own_version_tells_it_though_none_answers(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "SECONDS", 0.5)
    version = json.dumps({"clientVersion": {"gitVersion": "v1.32.4-dispatcher"}})
    stand_in(path, "kubectl", f"[ \"$KUBECONFIG\" = {os.devnull} ] || exec /bin/sleep 600\necho '{version}'")
    assert engines.kubectl().there
    assert engines.kubernetes().found == "kubectl does not say which cluster it speaks to (no answer within 0.5 s)"


@posix
def test_what_hangs_is_left_behind_and_all_questions_are_asked_side_by_side(
    tmp_path: Path, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "SECONDS", 4.0)
    for program in ("docker", "kubectl", "nvidia-smi"):
        stand_in(path, program, "/bin/sleep 600 & /bin/sleep 600")  # its child holds the output open
    monkeypatch.setattr(doctor, "CHECKS", (engines.docker, engines.kubectl, engines.kubernetes, engines.gpu))
    with socket.socket(socket.AF_UNIX) as listening:  # accepts, and never answers
        listening.bind(f"{tmp_path}/no.sock")
        listening.listen()
        began = time.monotonic()
        found = {each.name: each for each in doctor.examine()}
        took = time.monotonic() - began
    assert took < 1.9 * engines.SECONDS, "two in a row would take twice as long"
    assert found["Docker"].found == "the docker command does not answer, no engine within reach"
    assert found["kubectl"].found == "the kubectl command does not tell its version (no answer within 4 s)"
    assert found["Kubernetes"].found == "kubectl does not say which cluster it speaks to (no answer within 4 s)"


def test_packages_are_held_against_the_pins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pyproject.toml").write_text(
        '[project]\ndependencies = ["pytest", "No_Such.Package>=1", "x86only; sys_platform == \'nowhere\'"]\n'
    )
    (tmp_path / "constraints.txt").write_text("# a comment\npytest==0.1 ; python_version < '3'\npytest==0.2\n")
    monkeypatch.setattr(machine, "CHECKOUT", tmp_path)
    found = machine.packages()
    assert not found.there
    assert found.found.startswith("missing: no-such-package; pytest ")
    assert found.found.endswith(", not 0.1 or 0.2")


def test_a_local_build_counts_as_its_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pyproject.toml").write_text('[project]\ndependencies = ["torch"]\n')
    (tmp_path / "constraints.txt").write_text("torch==2.13.0\n")
    monkeypatch.setattr(machine, "CHECKOUT", tmp_path)
    monkeypatch.setattr(machine.importlib.metadata, "version", lambda name: "2.13.0+cpu")
    assert machine.packages().there


@pytest.mark.parametrize(
    ("marker", "wanted"),
    [
        (f"sys_platform == '{sys.platform}'", True),
        (f"sys_platform != '{sys.platform}'", False),
        (f"sys_platform == '{sys.platform}' and platform_machine == 'vax'", False),
        (f"sys_platform != '{sys.platform}' or platform_machine != 'vax'", True),
    ],
)
def test_markers_of_pyproject_are_understood(marker: str, wanted: bool) -> None:
    assert machine._required(f"Some.Name==1.0; {marker}") == ("some-name" if wanted else None)


def test_the_smallest_memory_limit_of_the_control_groups_counts(tmp_path: Path) -> None:
    group = tmp_path / "sys/fs/cgroup/user.slice/session"
    group.mkdir(parents=True)
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("0::/user.slice/session\n")
    (group / "memory.max").write_text("max\n")
    (group.parent / "memory.max").write_text(f"{2**31}\n")
    assert machine._memory_limit(tmp_path) == 2**31
    (group / "memory.max").write_text(f"{2**30}\n")
    assert machine._memory_limit(tmp_path) == 2**30
    assert machine._memory_limit(tmp_path / "elsewhere") is None


def test_a_port_that_is_taken_is_seen() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        assert not machine._free(server.getsockname()[1])
    assert machine._free(0)


def finding(name: str, there: bool, needed: bool = False) -> Finding:
    return Finding(name, there, f"{name} as found", f"{name} is for", f"get {name}", f"without {name}", needed)


def test_the_report_explains_what_is_missing_and_is_short_on_the_rest() -> None:
    text = doctor.report([finding("Here", True), finding("Gone", False)])
    assert "get it: get Gone" in text
    assert "without: without Gone" in text
    assert "get Here" not in text
    assert "get Here" in doctor.report([finding("Here", True)], everything=True)
    assert "\033[" not in text
    assert "\033[" in doctor.report([finding("Here", True)], colours=True)


def test_the_exit_code_says_whether_lessons_can_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(doctor, "examine", lambda: [finding("Python", True, True), finding("Docker", False)])
    assert doctor.main([]) == 0
    assert "Lessons can run. Absent, and not needed to start: Docker." in capsys.readouterr().out
    monkeypatch.setattr(doctor, "examine", lambda: [finding("Packages", False, True)])
    assert doctor.main([]) == 1
    assert "Lessons cannot run yet: Packages." in capsys.readouterr().out


def test_a_check_that_breaks_does_not_take_the_others_along(monkeypatch: pytest.MonkeyPatch) -> None:
    def memory() -> Finding:
        raise OSError("no such device")

    monkeypatch.setattr(doctor, "CHECKS", (memory, machine.python))
    broken, python = doctor.examine()
    assert (broken.there, python.there) == (False, True)
    assert "no such device" in broken.found


def test_it_needs_the_standard_library_alone() -> None:
    code = (
        "import runpy, sys; sys.argv = ['doctor', '--json']; runpy.run_module('course_lib.doctor', run_name='__main__')"
    )
    command = [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, {str(CHECKOUT)!r}); {code}"]
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    assert [each["name"] for each in json.loads(said.stdout)] == NAMES
    assert said.returncode == 1  # -S hides what is installed
