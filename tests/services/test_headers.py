"""The gateway is transparent: what must not travel does not, everything else does."""

import gzip
import http.client
import json
from urllib.parse import urlsplit

import pytest

from course_lib.ops.service import start_module
from tests.services.conftest import PIXELS, Behind, send


@pytest.fixture(scope="module")
def one_pair(tmp_path_factory):
    """A gateway and the predictor behind it, for all tests of this file."""
    predictor = Behind()
    log = tmp_path_factory.mktemp("gateway") / "log"
    gate = start_module("course_lib.services.gateway", ["--predictor", predictor.url, "--timeout-ms", "20000"], log)
    yield gate, predictor
    gate.stop()
    predictor.stop()
    assert "traceback" not in log.read_text()


@pytest.fixture
def pair(one_pair):
    """The same, with nothing planned and nothing seen."""
    predictor = one_pair[1]
    predictor.plan, predictor.seen, predictor.more, predictor.text = [], [], {}, None
    yield one_pair
    predictor.more, predictor.text = {}, None


def exchange(gate, method: str, path: str, headers: list[tuple[str, str]], body: bytes = b"") -> tuple:
    """Status, all headers as they came, and body."""
    connection = http.client.HTTPConnection(urlsplit(gate.url).netloc, timeout=30)
    connection.putrequest(method, path, skip_accept_encoding=True)
    for name, value in headers:
        connection.putheader(name, value)
    connection.putheader("Content-Length", str(len(body)))
    connection.endheaders(body)
    response = connection.getresponse()
    found = response.status, [(name.lower(), value) for name, value in response.getheaders()], response.read()
    connection.close()
    return found


OF_ONE_CONNECTION = {
    "Keep-Alive": "timeout=5", "Proxy-Connection": "keep-alive", "TE": "trailers", "Trailer": "X-Sum",
    "Upgrade": "h2c", "HTTP2-Settings": "AAMAAABkAAQ", "X-Mine-Alone": "1",
}  # fmt: skip
OPTIONS = "keep-alive, HTTP2-Settings, x-mine-alone"


def test_a_request_s_headers_travel_but_for_those_of_one_connection(pair):
    gate, predictor = pair
    travel = [("Accept", "application/x-own"), ("traceparent", "00-a-b-01"), ("Inference-Header-Content-Length", "2"),
              ("Content-Encoding", "identity"), ("Authorization", "Bearer x"), ("X-Twice", "1"), ("X-Twice", "2"),
              ("User-Agent", "me/1"), ("X-Greek", "α".encode().decode("latin-1")), ("Cookie", "a=b"), ("Content-Type", "x/y")]  # fmt: skip
    sent = [*travel, ("Connection", OPTIONS), *OF_ONE_CONNECTION.items(), ("X-Request-Id", "seven")]
    assert exchange(gate, "POST", "/v2/models/m/infer", sent, b"{}")[0] == 200
    _, headers, body = predictor.seen[0]
    came = [(name.lower(), value) for name, value in headers.items()]
    assert [
        pair for pair in ((name.lower(), value) for name, value in travel) if pair not in came
    ] == [] and body == b"{}"
    assert not {name.lower() for name in OF_ONE_CONNECTION} & {name for name, _ in came}
    rest = {name for name, _ in came} - {name.lower() for name, _ in travel}
    assert rest == {"host", "content-length", "via", "x-request-id", "x-request-timeout-ms"}
    assert headers["Host"] == urlsplit(predictor.url).netloc and headers["X-Request-Id"] == "seven"


def test_what_a_client_leaves_out_is_not_made_up(pair):
    gate, predictor = pair
    exchange(gate, "POST", "/v1/models/m:predict", [], b"{}")
    names = {name.lower() for name in predictor.seen[0][1]}
    assert names == {"host", "content-length", "via", "x-request-id", "x-request-timeout-ms"}


def test_an_answer_s_headers_travel_but_for_those_of_one_connection(pair):
    gate, predictor = pair
    predictor.text = gzip.compress(b'{"predictions": []}')
    travel = {"Content-Encoding": "gzip", "Inference-Header-Content-Length": "7", "X-Served-By": "pod-1",
              "Content-Type": "application/x-own", "Set-Cookie": ["a=1", "b=2"], "Cache-Control": "no-store"}  # fmt: skip
    predictor.more = {**travel, "Connection": OPTIONS, **OF_ONE_CONNECTION, "X-Upstream": "a lie"}
    status, headers, body = exchange(gate, "POST", "/v2/models/m/infer", [], b"{}")
    assert (status, body) == (200, predictor.text)
    for name, value in travel.items():
        told = [each for key, each in headers if key == name.lower()]
        assert told == (value if isinstance(value, list) else [value])
    assert not {name.lower() for name in OF_ONE_CONNECTION} & {name for name, _ in headers}
    for once in ("date", "content-length", "x-request-id", "x-upstream"):
        assert [name for name, _ in headers].count(once) == 1
    assert dict(headers)["x-upstream"] == "predictor-0"
    predictor.more = {}
    exchange(gate, "POST", "/v2/models/m/infer", [], b"{}")
    assert "Cookie" not in predictor.seen[1][1], "one client's cookie is not sent with another's request"


@pytest.mark.parametrize(("method", "path"), [
    ("GET", "/v2"), ("GET", "/v2/"), ("GET", "/v2/models/m"), ("GET", "/v2/models/m/ready"), ("GET", "/v1/models"),
    ("GET", "/v2/models/m/versions/2/ready"), ("GET", "/v1/models/m"), ("GET", "/v1/models/m/metadata?a=b&c"),
    ("HEAD", "/v2/models/m"), ("OPTIONS", "/v1/models/m:predict"), ("POST", "/v2/repository/index"),
])  # fmt: skip
def test_every_address_of_both_protocols_goes_to_the_predictor(pair, method, path):
    gate, predictor = pair
    status, headers, body = exchange(gate, method, path, [])
    assert status == 200 and predictor.asked[-1] == (method, path)
    assert (body == b"") == (method == "HEAD") and int(dict(headers)["content-length"]) > 20


@pytest.mark.parametrize("status", [500, 503, 404, 301, 418])
def test_an_answer_that_is_no_success_comes_back_as_it_is(pair, status):
    gate, predictor = pair
    predictor.plan, predictor.more = [status] * 3, {"Retry-After": "7", "Location": "/elsewhere"}
    found = send(gate.url, "POST", "/v1/models/m:predict", {})
    assert found[:2] == (status, {"error": f"a {status}"}) and found[2]["retry-after"] == "7"


@pytest.mark.parametrize("path", [
    "/v1/models/../../metrics", "/v1/models/%2e%2e/%2E./metrics", "/v2/models/a%3fb/infer", "/v2/models/a%2Fb/infer?x=%20y",
])  # fmt: skip
def test_what_is_passed_on_keeps_its_path(pair, path):
    gate, predictor = pair
    assert send(gate.url, "POST", path, {})[0] == 200
    assert predictor.seen[-1][0] == path


def test_the_gateway_s_own_answers_are_json_whatever_the_predictor_s_were(pair):
    gate, predictor = pair
    predictor.more = {"Content-Language": "en", "X-Served-By": "pod-1"}
    status, headers, body = exchange(gate, "POST", "/digits", [("Accept-Encoding", "br")], json.dumps(PIXELS).encode())
    assert status == 200 and json.loads(body)["digits"] == [7, 2]
    told = dict(headers)
    assert told["content-type"] == "application/json" and told["x-served-by"] == "pod-1"
    assert "content-language" not in told and "Accept-Encoding" not in predictor.seen[0][1]
