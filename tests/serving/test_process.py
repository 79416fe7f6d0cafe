"""The process: its command line, its signals, and what it may use of the machine."""

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

from course_lib.places import CHECKOUT
from course_lib.serving.__main__ import listen, main
from course_lib.serving.limits import cpu_limit
from tests.serving.conftest import DIGITS, IMAGE, as_bytes, finish, save, save_digits, start, until, write

FOUR = as_bytes({"instances": [[1, 2, 3, 4]]})


def refusal(*arguments: str) -> str:
    """The one line that the process says, where it ends with 2."""
    command = [sys.executable, "-m", "course_lib.serving", "--host", "127.0.0.1", "--port", "0", *arguments]
    ended = subprocess.run(command, check=False, cwd=CHECKOUT, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 2 and "raceback" not in ended.stderr
    return ended.stderr


def test_a_folder_without_a_model_that_it_can_serve_is_refused_in_one_line(tmp_path):
    for folder, said in ((tmp_path / "none", "is not a folder"), (tmp_path, "holds no NAME/VERSION/model.onnx")):
        message = refusal("--models", str(folder))
        assert said in message and message.count("\n") == 1
    broken = write(tmp_path / "digits/1/model.onnx", b"not a model")
    message = refusal("--models", str(tmp_path))
    assert f"{broken} is not a model that this server can serve" in message and message.count("\n") == 1


def test_a_pipe_in_the_place_of_a_model_holds_nothing_up(tmp_path):
    save_digits(tmp_path)
    server = start(tmp_path / "log", tmp_path, "--reload-seconds", "0.05")
    (tmp_path / "digits/2").mkdir()
    os.mkfifo(tmp_path / "digits/2/model.onnx")  # whoever reads it waits for somebody to write
    time.sleep(0.5)
    assert server.works() and server.stop() == 0


@pytest.mark.parametrize("kind", ["no UTF-8", "a folder"])
def test_checksums_that_cannot_be_read_are_refused_in_one_line(tmp_path, kind):
    save_digits(tmp_path)
    if kind == "a folder":
        (tmp_path / "SHA256SUMS").mkdir()
    else:
        write(tmp_path / "SHA256SUMS", b"\xff\xfe")
    message = refusal("--models", str(tmp_path))
    assert "SHA256SUMS" in message and message.count("\n") == 1 and "cannot listen" not in message


def test_an_address_that_it_cannot_have_is_refused_in_one_line(models):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        message = refusal("--models", str(models), "--port", str(taken.getsockname()[1]))
    assert "cannot listen on 127.0.0.1" in message and message.count("\n") == 1
    for wrong in (("--port", "99999"), ("--host", "256.0.0.1")):
        message = refusal("--models", str(models), *wrong)
        assert "cannot listen on" in message and message.count("\n") == 1


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
def test_all_addresses_of_ipv6_are_those_of_ipv4_too():
    with listen("::", 0) as listener:
        for host in ("127.0.0.1", "::1"):
            socket.create_connection((host, listener.getsockname()[1]), timeout=20).close()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--threads", "0"), "expected a positive whole number, got '0'"),
        (("--max-queue", "many"), "expected a positive whole number, got 'many'"),
        (("--batch-wait-ms", "-1"), "expected a number from 0, got '-1'"),
        (("--reload-seconds", "nan"), "expected a number from 0, got 'nan'"),
        (("--drain-seconds", "inf"), "expected a number from 0, got 'inf'"),
    ],
)
def test_options_that_make_no_sense_are_refused(arguments, expected, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--models", ".", *arguments])
    assert ended.value.code == 2 and expected in capsys.readouterr().err


@pytest.fixture(autouse=True)
def own_signals():
    """`main` takes over SIGTERM; the tests' own process gets it back."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def test_sigterm_lowers_readiness_at_once_and_answers_while_it_drains(models, tmp_path):
    server = start(tmp_path / "log", models, "--drain-seconds", "1")
    server.process.send_signal(signal.SIGTERM)
    until(lambda: server.ask("GET", "/v2/health/ready").status == 503)
    assert server.ask("GET", "/v2/health/ready").json == {"ready": False}
    assert server.ask("GET", "/v2/health/live").status == 200
    answer = server.ask("POST", DIGITS, {"instances": [IMAGE]})
    assert answer.status == 200 and answer.headers["connection"] == "close"
    assert server.process.wait(20) == 0 and server.lines()[-1]["event"] == "stopped"


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_the_drain(models, tmp_path, sign):
    server = start(tmp_path / "log", models, "--drain-seconds", "600")
    server.process.send_signal(sign)
    until(lambda: server.ask("GET", "/v2/health/ready").status == 503)
    server.process.send_signal(sign)
    assert server.process.wait(20) == 0


def test_what_was_accepted_before_sigterm_is_answered(models, tmp_path):
    server = start(tmp_path / "log", models, "--threads", "1")
    body = as_bytes({"instances": [IMAGE]})
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as half:
        head = f"POST {DIGITS} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
        half.sendall(head.encode() + body[:50])
        computed = [server.begin("POST", "/v1/models/slow:predict", FOUR) for _ in range(3)]
        assert server.ask("GET", "/v2/health/ready").status == 200  # by now the others were taken in as well
        server.process.send_signal(signal.SIGTERM)
        until(lambda: refuses(server.port))
        half.sendall(body[50:])
        answer = http.client.HTTPResponse(half)
        answer.begin()
        assert answer.status == 200 and len(json.load(answer)["predictions"]) == 1
    for connection in computed:
        assert finish(connection).json == {"predictions": [[1, 2, 3, 4]]}
        connection.close()
    assert server.process.wait(20) == 0


def refuses(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=20).close()
    except ConnectionError:
        return True
    return False


def shorter(**seconds: float) -> tuple[str, str]:
    """How to start the process with other times than it has."""
    lines = [f"for each in (m, c): setattr(each, {name!r}, {value})" for name, value in seconds.items()]
    imports = "import sys; from course_lib.serving import __main__ as m, connection as c"
    return ("-c", "\n".join([imports, *lines, "sys.exit(m.main())"]))


def test_a_request_that_the_shutdown_cuts_off_gets_a_503_and_no_traceback(models, tmp_path):
    server = start(tmp_path / "log", models, "--threads", "1", how=shorter(SHUTDOWN_SECONDS=0.1))
    asked = []
    for _ in range(3):  # not joined, since each waits for the thread alone
        asked.append(server.begin("POST", "/v1/models/slow:predict", FOUR))
        assert server.ask("GET", "/v2/health/live").status == 200
    server.process.send_signal(signal.SIGTERM)
    answers = []
    for connection in asked:
        answers.append(finish(connection))
        connection.close()
    assert {answer.status for answer in answers} <= {200, 503}
    assert answers[-1].status == 503 and "try again" in answers[-1].error and answers[-1].headers["retry-after"] == "1"
    assert server.process.wait(20) == 0
    assert "raceback" not in server.log.read_text()
    assert {line["status"] for line in server.lines("request")} <= {200, 503}


@pytest.mark.parametrize(
    "sent",
    [
        f"POST {DIGITS} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n".encode(),
        f"POST {DIGITS} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{{".encode(),
        f"POST {DIGITS} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{{\r\n".encode(),
        b"POST /v1/mod",
        b"GET / HTTP/1.1\r\nHo",
    ],
)
def test_a_client_that_stalls_in_the_middle_of_a_request_is_given_up(stalling, sent):
    answer = stalling.raw(sent)
    assert answer.startswith(b"HTTP/1.1 408 Request Timeout") and b"Expected a whole request within 0.2 s" in answer
    assert answer.count(b"HTTP/1.1") == 1
    assert stalling.works()
    assert [line["status"] for line in stalling.lines("request refused")][-1] == 408
    metrics = stalling.raw(b"GET /metrics HTTP/1.0\r\n\r\n").decode()
    assert 'model_server_requests_total{code="408",model="",protocol="",version=""}' in metrics


def test_a_body_without_end_is_given_up(stalling):
    head = f"POST {DIGITS} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    chunk = b"4000\r\n" + b" " * 0x4000 + b"\r\n"
    with socket.create_connection(("127.0.0.1", stalling.port), timeout=10) as client:
        client.sendall(head)
        with pytest.raises(ConnectionError):
            while True:
                client.sendall(chunk)
    assert stalling.works()


def test_what_a_client_asked_that_broke_off_is_not_computed(models, tmp_path):
    server = start(tmp_path / "log", models, "--threads", "1", "--max-batch-size", "1")
    asked = [server.begin("POST", "/v1/models/slow:predict", FOUR) for _ in range(3)]
    assert server.ask("GET", "/v2/health/ready").status == 200
    asked[1].sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    asked[1].close()  # by a reset: after a mere goodbye it may still listen
    for connection in (asked[0], asked[2]):
        assert finish(connection).status == 200
        connection.close()
    told = {line["status"] for line in server.lines("request") if line["method"] == "POST"}
    assert told == {200, 499}
    computed = server.ask("GET", "/metrics").body
    assert b'model_server_inference_duration_seconds_count{model="slow",version="1"} 2.0' in computed
    assert server.stop() == 0


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this system has no socket for both")
def test_all_addresses_are_those_of_both_versions_of_ip():
    with listen("::", 0) as listener:
        for host in ("127.0.0.1", "::1"):
            socket.create_connection((host, listener.getsockname()[1]), timeout=5).close()


@pytest.fixture(scope="module")
def stalling(models, tmp_path_factory):
    log = tmp_path_factory.mktemp("stalling") / "log"
    server = start(log, models, "--threads", "1", how=shorter(REQUEST_SECONDS=0.2, KEEP_ALIVE_SECONDS=0.3))
    yield server
    assert server.stop() == 0
    assert not [line for line in server.lines() if line.get("status", 0) >= 500 or "traceback" in line]


@pytest.mark.parametrize("sent", [b"", b"GET /v2 HTTP/1.1\r\nHost: x\r\n\r\n"])
def test_a_connection_on_which_nothing_is_asked_is_closed_without_a_word(stalling, sent):
    with socket.create_connection(("127.0.0.1", stalling.port), timeout=10) as client:
        client.sendall(sent)
        if sent:
            answer = b""
            while not answer.endswith(b"}"):  # head and body may come one after the other
                answer += client.recv(10_000)
            client.sendall(b"\r\n")  # no request: what lies between two of them
        assert client.recv(100) == b""


def test_an_answer_that_its_client_does_not_read_is_not_kept_for_ever(tmp_path):
    save_digits(tmp_path)
    wide = """(float[N] x) => (float[N,M] y) <int64[2] size = {1, 300}> {
        one = Constant <value_ints = [1]> ()  column = Unsqueeze (x, one)  y = Expand (column, size)
    }"""
    save(tmp_path, "wide", text=wide)
    server = start(tmp_path / "log", tmp_path, how=shorter(REQUEST_SECONDS=0.2, KEEP_ALIVE_SECONDS=0.5))
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(20)
        client.connect(("127.0.0.1", server.port))
        body = as_bytes({"inputs": [0.123456] * 30_000})
        client.sendall(
            f"POST /v1/models/wide:predict HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        )
        client.sendall(body)
        until(lambda: server.lines("request"))
        time.sleep(1.5)
        read = 0
        with contextlib.suppress(ConnectionError):
            while more := client.recv(1 << 20):
                read += len(more)
    assert read < 30_000 * 300 * 4, "the rest was given up"
    assert server.works() and server.stop() == 0


def test_a_request_that_is_computed_for_long_does_not_count_as_a_stall(stalling):
    body = as_bytes({"instances": [[1, 2, 3, 4]]})
    one = b"POST /v1/models/slow:predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    answer = stalling.raw(one, one + b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert answer.count(b"HTTP/1.1 200") == 3


def test_health_and_metrics_answer_while_a_prediction_computes(models, tmp_path):
    server = start(tmp_path / "log", models, "--threads", "1")
    asked = ("POST", "/v1/models/slow:predict", FOUR)
    slow = threading.Thread(target=lambda: server.ask(*asked))
    slow.start()
    answered = 0
    while slow.is_alive():
        answered += server.ask("GET", ("/v2/health/live", "/metrics")[answered % 2]).status == 200
    assert answered >= 5, "a busy event loop would have answered one or two, before the prediction or after it"
    assert server.stop() == 0


def test_answers_do_not_wait_for_acknowledgements():
    with listen("127.0.0.1", 0) as listener, socket.create_connection(listener.getsockname()):
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"cpu.max": "100000 100000"}, 1),
        ({"cpu.max": "50000 100000"}, 1),
        ({"cpu/cpu.cfs_quota_us": "100000", "cpu/cpu.cfs_period_us": "100000"}, 1),
        ({"cpu.max": "250000 100000"}, 2),
        ({"cpu.max": "max 100000"}, None),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
        ({"cpu.max": "nonsense"}, None),
        ({"cpu.max": "100000 0"}, None),
        ({"cpu.max": "99900000 100000"}, None),
        ({}, None),
    ],
)
def test_threads_follow_the_containers_limit_or_else_the_machine(tmp_path: Path, monkeypatch, files, expected):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(8), raising=False)
    for name, text in files.items():
        write(tmp_path / name, f"{text}\n".encode())
    assert cpu_limit(tmp_path) == (expected or 8)
