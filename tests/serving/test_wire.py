"""What comes over the wire: HTTP that is odd, broken, too much, or none at all."""

import http.client
import json
import random
import socket

import pytest

from tests.serving.conftest import BODY_LIMIT, DIGITS, IMAGE, as_bytes, finish

GOOD = as_bytes({"instances": [IMAGE]})
LOOKUP = as_bytes({"instances": [1]})


def post(
    body: bytes = LOOKUP, path: str = "/v1/models/lookup:predict", *headers: str, length: int | None = None
) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: x", *headers]
    if not any("Transfer-Encoding" in header for header in headers):
        lines.append(f"Content-Length: {len(body) if length is None else length}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def last(request: bytes = b"GET /v2 HTTP/1.1\r\nHost: x\r\n") -> bytes:
    return request + b"Connection: close\r\n\r\n"


def test_a_body_in_chunks_is_taken(server):
    chunks = post(b"", "/v1/models/lookup:predict", "Transfer-Encoding: chunked")
    for byte in LOOKUP:
        chunks += b"1\r\n" + bytes([byte]) + b"\r\n"
    answer = server.raw(chunks + b"0\r\n\r\n" + last())
    assert answer.count(b"HTTP/1.1 200") == 2 and b'{"predictions":[2.0]}' in answer


def test_a_body_in_pieces_is_put_together(server):
    asked = post(as_bytes({"instances": [1, 2] * 9000}))
    answer = server.raw(asked[:200], asked[200:30_000], asked[30_000:], last())
    assert answer.count(b"HTTP/1.1 200") == 2 and answer.count(b"3.0") == 9000


def test_a_body_of_unknown_length_is_bounded_too(server):
    answer = server.ask("POST", DIGITS, iter([b" " * 50_000] * 40))
    assert answer.status == 413 and "at most" in answer.error


@pytest.mark.parametrize("size", [BODY_LIMIT + 1, 20 * BODY_LIMIT])
def test_a_body_that_is_too_large_leaves_the_connection_usable(server, size):
    answer = server.raw(post(b" " * size), last())
    assert answer.startswith(b"HTTP/1.1 413") and answer.count(b"HTTP/1.1 200") == 1


def test_a_body_that_nobody_asked_for_leaves_the_connection_usable(server):
    asked = b"GET /v2 HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n" + b"x" * 100_000
    answer = server.raw(asked, post(b"x" * 100_000, "/nowhere"), post(path="/v2/health/ready"), last())
    assert [part[:3] for part in answer.split(b"HTTP/1.1 ")[1:]] == [b"200", b"404", b"405", b"200"]


def test_a_client_that_waits_to_be_told_to_go_on_is_told(server):
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as client:
        client.sendall(post(b"", "/v1/models/lookup:predict", "Expect: 100-continue", length=len(LOOKUP)))
        assert client.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(LOOKUP)
        answer = http.client.HTTPResponse(client)
        answer.begin()
        assert json.load(answer) == {"predictions": [2.0]}


def test_a_client_that_waits_behind_its_own_requests_is_told_to_go_on_in_its_turn(server):
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as client:
        waits = post(b"", "/v1/models/lookup:predict", "Expect: 100-continue", length=len(LOOKUP))
        client.sendall(post(as_bytes({"instances": [[1, 2, 3, 4]]}), "/v1/models/slow:predict") + waits)
        got = b""
        while not got.endswith(b"100 Continue\r\n\r\n"):
            got += client.recv(1000)
        assert got.startswith(b"HTTP/1.1 200") and got.count(b"HTTP/1.1") == 2
        client.sendall(LOOKUP)
        assert client.recv(1000).startswith(b"HTTP/1.1 200")


def test_a_client_that_says_no_more_is_answered(server):
    slow = post(as_bytes({"instances": [[1, 2, 3, 4]]}), "/v1/models/slow:predict")
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as client:
        client.sendall(slow + post() + post(b"{", length=100))
        client.shutdown(socket.SHUT_WR)
        answer = b""
        while more := client.recv(1 << 16):
            answer += more
    assert answer.count(b"HTTP/1.1 200") == 2 and answer.endswith(b'{"predictions":[2.0]}')
    assert answer.count(b"HTTP/1.1") == 2, "the third request was never whole"


def test_pipelined_requests_are_answered_in_their_order(server):
    many = b"".join(post(as_bytes({"instances": [number % 3]})) for number in range(200))
    answer = server.raw(many + last())
    assert answer.count(b"HTTP/1.1 200") == 201
    values = [json.loads(b"{" + part.split(b"{")[1])["predictions"][0] for part in answer.split(b"HTTP/1.1 ")[1:-1]]
    assert values == [number % 3 + 1.0 for number in range(200)]


GARBAGE = {
    "no HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 50,
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a word": b"hello\r\n\r\n",
    "no path": b"GET HTTP/1.1\r\nHost: x\r\n\r\n",
    "bytes in the path": b"GET /\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n",
    "only an authority": b"GET http://x HTTP/1.1\r\nHost: x\r\n\r\n",
    "a tunnel": b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n",
    "a header without a name": b"GET / HTTP/1.1\r\n: x\r\n\r\n",
    "a header with a zero": b"GET / HTTP/1.1\r\nA: \x00\r\n\r\n",
    "a length that is none": post(b"", "/v2", "Content-Length: x"),
    "a negative length": post(b"", "/v2", "Content-Length: -1"),
    "two lengths": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "a length beyond all": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: " + b"9" * 30 + b"\r\n\r\n",
    "length and chunks": b"POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a chunk that is none": post(b"xyz\r\n", "/v1/models/lookup:predict", "Transfer-Encoding: chunked"),
    "an unknown version": b"GET / HTTP/9.9\r\nHost: x\r\n\r\n",
}


@pytest.mark.parametrize("case", GARBAGE)
def test_what_is_no_http_gets_a_400_in_the_protocols_form_and_the_connection_ends(server, case):
    answer = server.raw(GARBAGE[case])
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\nconnection: close")
    assert list(json.loads(body)) == ["error"]
    assert server.works()


@pytest.mark.parametrize(
    "head",
    [
        b"GET /" + b"a" * (1 << 20),
        b"GET / HTTP/1.1\r\nA: " + b"a" * (1 << 20),
        b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 200_000,
        b"A" * (1 << 20),
        b"\r\n" * (1 << 19),
    ],
)
def test_a_head_of_a_megabyte_is_refused(server, head):
    pieces = [head[at : at + 10_000] for at in range(0, len(head), 10_000)]
    answer = server.raw(*pieces, wait=5)
    assert b"200" not in answer[:15] and len(answer) < 1000
    assert server.works()


def test_a_head_that_is_too_long_is_refused_though_its_end_came_with_the_rest(server):
    answer = server.raw(b"GET /v2 HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 70_000 + b"\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400 ") and b"at most 65536 bytes were expected, more came" in answer


def test_a_request_that_is_none_is_counted_and_its_address_not_logged(server):
    assert server.raw(b"GET secret?who=me HTTP/1.1\r\nHost: x\r\n\r\n").startswith(b"HTTP/1.1 400 ")
    assert server.lines("request refused")[-1]["reason"] == "Expected a request of HTTP/1.1"
    assert "secret" not in server.log.read_text()


def test_trailers_without_end_are_refused(server):
    trailers = [b"a: b\r\n" * 10_000] * 50
    chunks = post(b"", "/v1/models/lookup:predict", "Transfer-Encoding: chunked") + b"1\r\n{\r\n0\r\n"
    answer = server.raw(chunks, *trailers)
    assert answer.startswith(b"HTTP/1.1 400") or not answer  # not where it reset the connection under what still came
    assert server.works()


def test_garbage_after_a_good_request_does_not_take_its_answer(server):
    answer = server.raw(post() + b"garbage\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200") and b'{"predictions":[2.0]}' in answer


@pytest.mark.parametrize("upgrade", ["websocket", "h2c"])
@pytest.mark.parametrize("chunked", [False, True])
def test_an_upgrade_is_ignored_and_the_body_read(server, upgrade, chunked):
    wanted = [f"Upgrade: {upgrade}", "Connection: Upgrade, HTTP2-Settings", "HTTP2-Settings: AAMAAABkAAQAAP__"]
    body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(LOOKUP), LOOKUP) if chunked else LOOKUP
    wanted += ["Transfer-Encoding: chunked"] if chunked else []
    asked = post(body, "/v1/models/lookup:predict", *wanted)
    bare = "\r\n".join(["GET /v2 HTTP/1.1", "Host: x", *wanted[:3], "", ""]).encode()
    whole = asked + bare + asked + last()
    for pieces in ([whole], [whole[at : at + 1] for at in range(len(whole))]):
        answer = server.raw(*pieces)
        assert answer.count(b'{"predictions":[2.0]}') == 2 and answer.count(b"course model server") == 2
        assert answer.count(b"HTTP/1.1 200") == answer.count(b"HTTP/1.1") == 4


def test_an_upgrade_that_ends_the_connection_ends_it(server):
    wanted = ["Upgrade: h2c", "Connection: Upgrade, close"]
    answer = server.raw(post(LOOKUP, "/v1/models/lookup:predict", *wanted) + post())
    assert answer.count(b"HTTP/1.1 200") == 1 and b"connection: close" in answer


@pytest.mark.parametrize("version", ["HTTP/1.0", "HTTP/1.1"])
def test_a_host_that_no_parser_takes_and_old_versions_are_answered(server, version):
    answer = server.raw(f"GET /v1/models/x {version}\r\nHost: [::\r\nConnection: close\r\n\r\n".encode())
    assert b" 404 Not Found" in answer


def test_an_answer_to_head_has_no_body(server):
    answer = server.raw(last(b"HEAD /v2/health/ready HTTP/1.1\r\nHost: x\r\n"))
    assert answer.startswith(b"HTTP/1.1 200") and answer.endswith(b"\r\n\r\n") and b"content-length: 14" in answer


def test_a_path_may_be_quoted_and_absolute(server):
    quoted = b"GET http://host/v1/mod%65ls/digits?x=/v2 HTTP/1.1\r\nHost: x\r\n"
    assert server.raw(last(quoted)).startswith(b"HTTP/1.1 200")


def test_clients_that_leave_do_no_harm(server):
    for sent in (b"", b"GET", post(GOOD, DIGITS)[:300], post(b"{", length=100), post(GOOD, DIGITS)):
        with socket.create_connection(("127.0.0.1", server.port)) as leaver:
            leaver.sendall(sent)
            leaver.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # a reset, not a goodbye
    assert server.works()


def test_hundreds_of_garbled_requests_leave_it_well(server):
    chance, good = random.Random(0), post(GOOD, DIGITS, "Connection: close")
    for _ in range(300):
        garbled = bytearray(good)
        for _ in range(chance.randint(1, 6)):
            at = chance.randrange(len(garbled)) if chance.random() < 0.5 else chance.randrange(120)
            if chance.random() < 0.3:
                del garbled[at : at + chance.randint(1, 20)]
            else:
                garbled[at] = chance.choice(b'[]{},:"0.-eEN\\ \r\n\t/%\x00\xff')
        with socket.create_connection(("127.0.0.1", server.port), timeout=20) as client:
            client.sendall(garbled)
            client.shutdown(socket.SHUT_WR)
            status = client.recv(1 << 16)[9:12]
            assert status in (b"", b"200", b"400", b"404", b"405", b"408", b"413", b"415"), bytes(garbled)
    assert server.works()


def test_many_connections_at_once_are_all_answered(server):
    asked = [server.begin("POST", "/v1/models/lookup:predict", {"instances": [1]}) for _ in range(200)]
    for connection in asked:
        assert finish(connection).json == {"predictions": [2.0]}
        connection.close()
