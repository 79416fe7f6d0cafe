"""Traffic from inside the cluster: its client as a process here, against a server that answers as it is told."""

import contextlib
import json
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from course_lib.ops import traffic as module
from course_lib.ops import traffic_client
from course_lib.ops.kubernetes import KubectlFailed
from tests.ops.stand_ins import Answers, posix

BODY = '{"instances": ["é"]}'


class Cluster:
    """Runs the client that `traffic` would start in a pod as a process of this machine."""

    def __init__(self, folder: Path) -> None:
        self.said, self.process, self.deleted = folder / "said", None, []

    def run_pod(self, namespace: str, name: str, image: str, command: list[str]) -> None:
        assert command[:2] == ["python", "-c"]
        with self.said.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-I", "-W", "error", *command[1:]], stdout=output, stderr=subprocess.STDOUT
            )

    def wait_for_log(self, namespace: str, name: str, word: str, seconds: float = 60) -> str:
        until = time.monotonic() + seconds
        while word not in self.said.read_text():
            if self.process.poll() not in (None, 0) or time.monotonic() > until:
                raise KubectlFailed(self.said.read_text())
            time.sleep(0.01)
        return self.said.read_text()

    def finished_pod_log(self, namespace: str, name: str, seconds: float = 60) -> str:
        if self.process.wait(timeout=seconds):
            raise KubectlFailed(f"pod {name} failed: {self.said.read_text()[-500:]}")
        return self.said.read_text()

    def kubectl(self, *words: str) -> str:
        if words[0] == "delete":
            self.deleted.append(words[2])
            self.process.kill()
            self.process.wait()
        elif words[0] == "exec":
            assert words[4:] == ("--", "sh", "-c", "kill -TERM 1"), "the client is the pod's first process"
            self.process.terminate()
        return ""


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    stand_in = Cluster(tmp_path)
    for name in ("run_pod", "wait_for_log", "finished_pod_log", "kubectl"):
        monkeypatch.setattr(module, name, getattr(stand_in, name))
    yield stand_in
    if stand_in.process:
        stand_in.process.kill()
        stand_in.process.wait()


def sent(port: int, **options: object) -> dict:
    asked = {"bodies": [BODY], "host": "127.0.0.1", "port": port, "seconds": 0 if "steps" in options else 0.7}
    with module.traffic("digits", "digits-service:1", **{**asked, **options}) as under_way:
        return under_way.result()


def noting(seen: list) -> type[Answers]:
    """A handler that notes (connection, client, body, path) of each request, and keeps connections."""

    class Noting(Answers):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            seen.append((self.client_address[1], self.headers.get("X-Client-Id"), body, self.path))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.send_header("X-Model-Version", "3")
            self.end_headers()

    return Noting


def test_answers_are_counted_by_pod_and_failures_by_reason(cluster, served):
    found = sent(served(200, 500, 0, 503, 500, 200), workers=2)
    assert found["failed"].pop("500") == 2 and found["failed"].pop("503") == 1
    assert sum(found["failed"].values()) == 1  # the one that was hung up on, under the name of what broke
    assert list(found["by_half_second"]) == ["pod-a"] and len(found["by_half_second"]["pod-a"]) == 2
    assert sum(found["by_half_second"]["pod-a"]) == found["answered"] > 0
    assert found["by_version"] == {"?": found["answered"]}
    assert found["version_by_half_second"] == {"?": found["by_half_second"]["pod-a"]}
    assert sum(found["failed_by_half_second"]) == 4 and found["failed_by_half_second"][0] >= 1
    assert 0 < found["p50_ms"] <= found["p99_ms"] >= found["mean_ms"] > 0 and len(found["p50_ms_by_half_second"]) == 2
    assert found["retried"] == 0 and cluster.deleted == ["traffic"]


def test_where_nobody_answers_all_fail_and_nothing_is_computed_from_nothing(cluster):
    found = sent(9, seconds=0.1, workers=1)
    assert found["answered"] == 0 and found["failed"]["ConnectionRefusedError"] > 0
    assert [found[each] for each in ("by_half_second", "mean_ms", "p50_ms", "p99_ms")] == [{}, None, None, None]
    assert found["p99_ms_by_half_second"] == [None]


def test_a_quiet_end_is_told_too_so_that_the_lists_are_as_long_as_the_plan(cluster, served):
    found = sent(served(200), steps=[(0.3, 60), (0.8, 0)], workers=8)
    lists = (found["failed_by_half_second"], found["p50_ms_by_half_second"], found["by_half_second"]["pod-a"])
    assert [len(each) for each in lists] == [3, 3, 3] and lists[1][2] is None


def test_a_retry_turns_a_failure_into_an_answer_and_is_counted(cluster, served):
    found = sent(served(500, 0, 200), workers=1, retries=2)
    assert found["failed"] == {} and found["retried"] == 2 and found["answered"] > 0


def test_a_retry_waits_for_the_pause(cluster, served):
    found = sent(served(500, 200), workers=1, retries=1, retry_pause_s=0.4, seconds=0.5)
    assert found["failed"] == {} and found["retried"] == 1 and found["p99_ms"] >= 400


def test_a_service_that_fails_for_good_fails_once_a_request_whatever_the_retries(cluster, served):
    found = sent(served(503), workers=1, retries=3, seconds=0.3)
    assert found["answered"] == 0 and found["retried"] == 3 * found["failed"]["503"]


def test_open_loop_sends_what_is_due_when_it_is_due(cluster, served):
    found = sent(served(200), steps=[(0.5, 20), (0.5, 0), (0.5, 60)], workers=8)
    due = traffic_client.due_times([[0.5, 20], [0.5, 0], [0.5, 60]], seed=0)
    assert found["answered"] == len(due) and found["failed"] == {}
    expected = [sum(int(2 * at) == half for at in due) for half in range(3)]
    assert found["by_half_second"]["pod-a"] == expected and expected[1] == 0 < expected[0] < expected[2]


def test_arrivals_are_those_of_a_poisson_process():
    due = traffic_client.due_times([[100, 50], [100, 5]], seed=1)
    assert due == sorted(due) and due == traffic_client.due_times([[100, 50], [100, 5]], seed=1)
    first = [at for at in due if at < 100]
    assert abs(len(first) - 5000) < 4 * 5000**0.5 and abs(len(due) - len(first) - 500) < 4 * 500**0.5
    gaps = [later - sooner for sooner, later in zip(first, first[1:])]
    mean = sum(gaps) / len(gaps)
    spread = sum((gap - mean) ** 2 for gap in gaps) / len(gaps)
    assert 0.9 < spread / mean**2 < 1.1, "exponential gaps vary as much as they last"
    assert traffic_client.due_times([[5, 0]], seed=1) == []


class Slow(Answers):
    """Takes a tenth of a second."""

    def do_POST(self) -> None:
        time.sleep(0.1)
        super().do_POST()


def test_a_request_that_waits_for_a_worker_is_late_from_when_it_was_due(cluster, served, monkeypatch):
    monkeypatch.setattr("tests.ops.conftest.Answers", Slow)
    found = sent(served(200), steps=[(0.5, 40)], workers=1)
    assert found["answered"] > 8, "those that were due are sent, late"
    assert found["p99_ms"] > 100 * (found["answered"] - 6), "the last one waited for all before it"
    assert len(found["by_half_second"]["pod-a"]) == 1, "and counts in the half second in which it was due"


def test_clients_take_turns_and_bodies_too(cluster, served, monkeypatch):
    seen: list = []
    monkeypatch.setattr("tests.ops.conftest.Answers", noting(seen))
    found = sent(served(200), workers=2, clients=3, bodies=["0", "1", BODY], path="/v1/models/a:predict", seconds=0.5)
    assert {client for _, client, _, _ in seen} == {"client-0", "client-1", "client-2"}
    assert {body for _, _, body, _ in seen} == {b"0", b"1", BODY.encode()}
    assert {path for _, _, _, path in seen} == {"/v1/models/a:predict"}
    assert found["by_version"] == {"3": found["answered"]}


@pytest.mark.parametrize("keep", [False, True])
def test_a_kept_connection_is_one_and_otherwise_each_request_has_its_own(cluster, served, monkeypatch, keep):
    seen: list = []
    monkeypatch.setattr("tests.ops.conftest.Answers", noting(seen))
    found = sent(served(200), workers=2, keep=keep, seconds=0.5)
    connections = {connection for connection, _, _, _ in seen}
    assert len(connections) == (2 if keep else found["answered"]) and found["answered"] == len(seen) > 4


def test_a_kept_connection_is_renewed_once_it_is_old(cluster, served, monkeypatch):
    seen: list = []
    monkeypatch.setattr("tests.ops.conftest.Answers", noting(seen))
    sent(served(200), workers=1, keep=True, max_age_s=0.2, seconds=0.7)
    order = [connection for connection, _, _, _ in seen]
    assert 3 <= len(set(order)) <= 4 < len(order)
    assert len(set(order)) == 1 + sum(one != other for one, other in zip(order, order[1:])), "none comes back"


@posix
@pytest.mark.parametrize(
    "plan", [{"seconds": 60}, {"steps": [(0.4, 20), (60, 0.02), (60, 20)]}], ids=["closed", "open"]
)
def test_traffic_that_is_stopped_ends_with_what_there_was(cluster, served, plan):
    asked = {"host": "127.0.0.1", "port": served(200), **plan}
    with module.traffic("digits", "digits-service:1", [BODY], **asked) as under_way:
        under_way.wait_until(0.6)
        begin = time.monotonic()
        under_way.stop()
        found = under_way.result()
    assert time.monotonic() - begin < 30, "nobody waits for what would have been due"
    assert found["answered"] > 0 and found["failed"] == {}
    assert sum(found["by_half_second"]["pod-a"]) == found["answered"]
    assert 2 <= len(found["failed_by_half_second"]) < 60


def test_a_service_that_never_answers_fails_by_the_time_out(cluster):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        found = sent(silent.getsockname()[1], workers=1, seconds=0.3, timeout_s=0.5)
    assert found["answered"] == 0 and found["failed"].keys() == {"TimeoutError"}


def test_the_block_can_wait_for_a_moment_of_the_traffic(cluster, served):
    asked = {"host": "127.0.0.1", "port": served(200), "seconds": 0.6}
    with module.traffic("digits", "digits-service:1", [BODY], **asked) as under_way:
        under_way.wait_until(0.3)
        assert 0.3 <= under_way.elapsed() < 5
        begin = time.monotonic()
        under_way.wait_until(0.1)
        assert time.monotonic() - begin < 0.1
        assert under_way.result() is under_way.result(), "asked once"


def test_a_block_that_fails_takes_the_pod_away(cluster, served):
    with contextlib.suppress(ZeroDivisionError):
        with module.traffic("digits", "i:1", [BODY], host="127.0.0.1", port=served(200), seconds=60, name="mine"):
            raise ZeroDivisionError
    assert cluster.deleted == ["mine"] and cluster.process.poll() is not None


def test_a_client_that_breaks_down_says_why(cluster):
    with pytest.raises(KubectlFailed, match="division|expovariate|Error"):
        sent(9, steps=[(1, "fast")])


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"bodies": []}, "expected bodies"),
        ({"seconds": 1, "steps": [(1, 1)]}, "either seconds or steps"),
        ({"seconds": 0}, "either seconds or steps"),
        ({"bodies": ["x" * 1000] * 200}, "less than 131071 bytes in all, got 2"),
    ],
)
def test_orders_that_cannot_be_carried_out_are_refused_before_a_pod_starts(cluster, options, says):
    with pytest.raises(ValueError, match=re.escape(says)):
        sent(9, **options)
    assert cluster.process is None


def test_percentiles_are_values_that_were_measured():
    values = [float(each) for each in range(1, 101)]
    assert [traffic_client.percentile(values, share) for share in (0, 0.5, 0.99, 1)] == [1, 50, 99, 100]
    assert traffic_client.percentile([3.0], 0.99) == 3 and traffic_client.percentile([], 0.5) is None


def test_the_clients_own_text_says_what_it_did_in_one_line(cluster, served):
    sent(served(200), seconds=0.2)
    first, last = cluster.said.read_text().splitlines()
    assert first.split()[0] == "begin" and json.loads(last)["answered"] > 0
