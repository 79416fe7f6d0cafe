"""A service as a process: its end, its address, its log."""

import json
import os
import signal
import socket
import threading
import time

import pytest

from course_lib.ops.service import start_module
from tests.ops.stand_ins import posix
from tests.services.conftest import PIXELS, send


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
