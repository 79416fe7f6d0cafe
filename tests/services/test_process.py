"""A service as a process: its end, its address, its log."""

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from course_lib.ops.http import answers
from course_lib.ops.service import start_module
from course_lib.places import CHECKOUT
from tests.ops.stand_ins import posix
from tests.services.conftest import PIXELS, send
from tests.serving.conftest import until


@posix
def test_told_to_end_a_service_lowers_readiness_answers_what_it_has_and_ends_with_0(run, behind):
    predictor = behind()
    gate = run("gateway", "--predictor", predictor.url, "--drain-seconds", "0.6", "--timeout-ms", "3000")
    predictor.plan = [1.0]
    found = []
    waiting = threading.Thread(target=lambda: found.append(send(gate.url, "POST", "/digits", PIXELS)[0]))
    waiting.start()
    while not predictor.seen:
        time.sleep(0.01)
    os.kill(gate.process.pid, signal.SIGTERM)
    time.sleep(0.2)
    assert send(gate.url, "GET", "/v2/health/ready")[0] == 503 and send(gate.url, "GET", "/v2/health/live")[0] == 200
    waiting.join()
    assert gate.process.wait(timeout=10) == 0 and found == [200]


def test_a_service_that_cannot_listen_says_why(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(RuntimeError, match="cannot listen"):
        start_module("course_lib.services.preprocess", [], tmp_path / "log", seconds=10, port=taken.getsockname()[1])


def test_each_request_is_a_json_line_without_its_data(run, behind, tmp_path):
    gate = run("gateway", "--predictor", behind().url)
    send(gate.url, "POST", "/digits", PIXELS, X_Request_Id="r-1")
    gate.stop()
    lines = [json.loads(line) for line in (tmp_path / "gateway-0.log").read_text().splitlines()]
    mine = [line for line in lines if line.get("request_id") == "r-1"]
    assert len(mine) == 1 and mine[0]["status"] == 200 and mine[0]["path"] == "/digits"
    assert not any("pixels" in json.dumps(line) for line in lines)


@contextlib.contextmanager
def started(log: Path, *arguments: str, host: str = "127.0.0.1", out: object = subprocess.DEVNULL, **seconds: float):
    """(a gateway in front of nobody, the port on which it answers)."""
    with socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET) as free:
        port = free.getsockname()[1]
    changes = "; ".join(f"c.{name} = {value}" for name, value in seconds.items()) or "pass"
    code = f"import sys; from course_lib.services import connection as c, gateway; {changes}; sys.exit(gateway.main())"
    words = ["--predictor", "http://127.0.0.1:9", "--host", host, "--port", str(port), *arguments]
    with log.open("wb") as errors:
        process = subprocess.Popen([sys.executable, "-c", code, *words], cwd=CHECKOUT, stdout=out, stderr=errors)
    try:
        until(lambda: answers(f"http://127.0.0.1:{port}/v2/health/ready") or process.poll() is not None, 60)
        assert process.poll() is None, log.read_text()
        yield process, port
    finally:
        process.kill()
        process.communicate()


def live(port: int, host: str = "127.0.0.1") -> int:
    connection = http.client.HTTPConnection(host, port, timeout=20)
    connection.request("GET", "/v2/health/live")
    status = connection.getresponse().status
    connection.close()
    return status


def test_two_colons_stand_for_all_addresses_of_ipv4_too(tmp_path):
    with started(tmp_path / "log", host="::") as (_, port):
        assert live(port) == 200 and live(port, "::1") == 200


@posix
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_a_full_disk_under_the_log_costs_lines_and_nothing_else(tmp_path):
    with open("/dev/full", "wb") as full, started(tmp_path / "log", out=full) as (process, port):
        url = f"http://127.0.0.1:{port}"
        assert [send(url, "POST", "/digits", b"{")[0] for _ in range(5)] == [400] * 5
        until(lambda: "log_lines_lost_total 0.0" not in send(url, "GET", "/metrics")[1]["text"])
        process.terminate()
        assert process.wait(20) == 0
    assert (tmp_path / "log").read_text() == ""


@posix
def test_a_reader_of_the_log_that_stalls_stops_nothing(tmp_path):
    with started(tmp_path / "log", out=subprocess.PIPE) as (process, port):
        path = "/" + "a" * 1000
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        for _ in range(600):  # a pipe holds 64 KiB
            connection.request("GET", path)
            assert connection.getresponse().read()
        connection.close()
        assert live(port) == 200
        process.terminate()
        assert process.wait(30) == 0


def test_a_client_that_stalls_in_its_request_is_refused_and_one_that_is_idle_is_ended(tmp_path):
    out = tmp_path / "out"
    with (
        out.open("wb") as kept,
        started(tmp_path / "log", out=kept, REQUEST_SECONDS=0.3, KEEP_ALIVE_SECONDS=0.5) as (_, port),
    ):
        for begun, expected in ((b"POST /digits HTTP/1.1\r\nContent-Length: 5\r\n\r\n{", b"HTTP/1.1 408 "), (b"", b"")):
            with socket.create_connection(("127.0.0.1", port), timeout=30) as client:
                client.sendall(begun)
                said = b""
                while more := client.recv(1000):
                    said += more
                assert said.startswith(expected) and bool(said) == bool(expected)
        text = send(f"http://127.0.0.1:{port}", "GET", "/metrics")[1]["text"]
        assert 'service_requests_refused_total{code="408"} 1.0' in text
        until(lambda: "request refused, 408: Expected a whole request within 0.3 s." in out.read_text())
