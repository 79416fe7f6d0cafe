"""Clients that do not keep to the rules, or to their word: none of them gets a 5xx, a traceback, or keeps others waiting."""

import json
import socket
import threading
from urllib.parse import urlsplit

import pytest

from course_lib.ops.service import start_module
from tests.services.conftest import PIXELS, ROWS, Behind, send
from tests.serving.conftest import until

GOOD = b"POST /v1/models/m:predict HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}"
ASKS = b"POST /v1/models/m:predict HTTP/1.1\r\nHost: a\r\n"


@pytest.fixture(scope="module")
def gate(tmp_path_factory):
    """A gateway for all tests of this file, which must end well, and must never have failed."""
    predictor = Behind()
    log = tmp_path_factory.mktemp("gateway") / "log"
    started = start_module("course_lib.services.gateway", ["--predictor", predictor.url, "--timeout-ms", "20000"], log)
    started.predictor, started.log = predictor, log
    yield started
    assert send(started.url, "POST", "/digits", PIXELS)[0] == 200
    started.stop()
    predictor.stop()
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert not [line for line in lines if "traceback" in line or line.get("status", 0) >= 500]


def said_to(gate, *pieces: bytes, ends: bool = False, wait: float = 20) -> bytes:
    """What comes back for these bytes until the gateway closes, or has said nothing more for a while."""
    with socket.create_connection(("127.0.0.1", urlsplit(gate.url).port), timeout=wait) as client:
        for piece in pieces:
            client.sendall(piece)
        if ends:
            client.shutdown(socket.SHUT_WR)
        answer = b""
        try:
            while more := client.recv(1 << 16):
                answer += more
        except (TimeoutError, ConnectionError):
            pass
        return answer


def close(raw: bytes) -> bytes:
    """The same request, with no other after it."""
    return raw.replace(b"Host: a\r\n", b"Host: a\r\nConnection: close\r\n", 1)


STATUSES = {
    "half a body, then the end": (ASKS + b"Content-Length: 9\r\n\r\n{}", {b""}),
    "no end of a head": (b"GET /v2 HTTP/1.1\r\nHost", {b""}),
    "nonsense": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", {b"400"}),
    "a method that nobody knows": (b"FETCH /v2 HTTP/1.1\r\nHost: a\r\n\r\n", {b"400"}),
    "TRACE": (close(b"TRACE /v2 HTTP/1.1\r\nHost: a\r\n\r\n"), {b"405"}),
    "CONNECT": (b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", {b"400"}),
    "OPTIONS of the server itself": (close(b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n"), {b"400", b"404"}),
    "an absolute address": (close(b"GET http://a.b/v2 HTTP/1.1\r\nHost: a\r\n\r\n"), {b"200"}),
    "an address with bytes above 127": (close(b"GET /v2/models/\xc3\xa9 HTTP/1.1\r\nHost: a\r\n\r\n"), {b"400"}),
    "a host that is none": (close(b"GET /nothing/ HTTP/1.1\r\nHost: a\r\nHost: [::\r\n\r\n"), {b"404", b"400"}),
    "one host that is none": (b"GET /nothing HTTP/1.1\r\nHost: [::\r\nConnection: close\r\n\r\n", {b"404"}),
    "two lengths that differ": (ASKS + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}", {b"400"}),
    "a length and chunks": (ASKS + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", {b"400"}),
    "a length below 0": (ASKS + b"Content-Length: -2\r\n\r\n{}", {b"400"}),
    "a chunk that is none": (ASKS + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", {b"400"}),
    "chunks": (close(ASKS) + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\nX-Trail: 1\r\n\r\n", {b"200"}),
    "a head of 70 kB": (ASKS + b"X: " + b"a" * 70_000 + b"\r\n\r\n", {b"400"}),
    "a header folded in two": (ASKS + b"X: a\r\n b\r\nContent-Length: 0\r\n\r\n", {b"400", b"200"}),
    "a header's name with a space": (ASKS + b"X : a\r\n\r\n", {b"400"}),
    "a header's value with a zero": (ASKS + b"X: a\x00b\r\n\r\n", {b"400"}),
    "headers that are not text": (close(ASKS) + b"X: \xff\xfe\r\nContent-Length: 0\r\n\r\n", {b"200"}),
    "Connection names what the gateway says": (
        ASKS + b"Connection: close, x-request-id, content-length, host\r\nContent-Length: 2\r\n\r\n{}", {b"200"}),
    "HTTP/1.0": (b"GET /v2 HTTP/1.0\r\n\r\n", {b"200"}),
    "HTTP/2 at once": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", {b"400"}),
    "no JSON, deeply": (close(b"POST /digits HTTP/1.1\r\nHost: a\r\nContent-Length: 20000\r\n\r\n") + b"[" * 20000, {b"400"}),
    "a time-out that is none": (close(ASKS) + b"X-Request-Timeout-Ms: 1e9\r\nContent-Length: 0\r\n\r\n", {b"400"}),
}  # fmt: skip


@pytest.mark.parametrize("what", STATUSES)
def test_a_mistake_is_told_as_the_client_s(gate, what):
    raw, expected = STATUSES[what]
    assert said_to(gate, raw, ends=True).partition(b"\r\n")[0][9:12] in expected


def test_requests_in_one_piece_are_answered_in_their_order(gate):
    wanted = b"GET /v2/health/live HTTP/1.1\r\nHost: a\r\n\r\n"
    answers = said_to(gate, GOOD + wanted + close(GOOD)).split(b"HTTP/1.1 200 OK")[1:]
    assert [b"predictions" in each for each in answers] == [True, False, True]


def test_who_waits_for_a_sign_to_go_on_gets_it(gate):
    head = close(ASKS) + b"Content-Length: 2\r\nExpect: 100-continue\r\n\r\n"
    with socket.create_connection(("127.0.0.1", urlsplit(gate.url).port), timeout=20) as client:
        client.sendall(head)
        assert client.recv(100).startswith(b"HTTP/1.1 100 ")
        client.sendall(b"{}")
        assert b"HTTP/1.1 200 " in client.recv(1000)


@pytest.mark.parametrize("path", [b"/digits", b"/v1/models/m:predict"])
def test_a_client_that_leaves_in_mid_body_is_no_error_of_the_gateway(gate, path):
    said_to(
        gate, b"POST " + path + b" HTTP/1.1\r\nHost: a\r\nX-Request-Id: left\r\nContent-Length: 99\r\n\r\n{", wait=0.01
    )

    def told() -> list[int]:
        lines = [json.loads(line) for line in gate.log.read_text().splitlines() if line.endswith("}")]
        return [
            line["status"] for line in lines if (line.get("request_id"), line.get("path")) == ("left", path.decode())
        ]

    assert until(told) == [408]


def test_nor_is_one_that_leaves_before_its_answer(gate):
    gate.predictor.plan = [0.3]
    said_to(gate, GOOD, wait=0.01)
    assert send(gate.url, "POST", "/v1/models/m:predict", {})[1] == {"predictions": ROWS}


def test_many_connections_that_say_nothing_keep_nobody_waiting(gate):
    idle = [socket.create_connection(("127.0.0.1", urlsplit(gate.url).port), timeout=20) for _ in range(300)]
    for each in idle[::2]:
        each.sendall(b"POST /digits HTTP/1.1\r\nContent-Le")
    assert send(gate.url, "POST", "/digits", PIXELS)[0] == 200
    for each in idle:
        each.close()


def test_many_at_once_are_answered_or_told_to_come_later(gate):
    found: list[int] = []
    threads = [
        threading.Thread(target=lambda: found.append(send(gate.url, "POST", "/digits", PIXELS)[0])) for _ in range(60)
    ]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert len(found) == 60 and set(found) <= {200, 429}
