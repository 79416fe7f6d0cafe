"""Clients as they are published, with their defaults, through the gateway: they must not notice that it is there."""

import json
import shutil
import subprocess
import urllib.request

import numpy as np
import pytest

from course_lib.ops.service import start_module
from tests.services.conftest import send
from tests.serving.conftest import DIGITS, IMAGE, logits

PIXELS = np.array([IMAGE, IMAGE], np.float32)
ROWS = {"instances": [IMAGE]}
NEAR = {"rtol": 1e-5, "atol": 1e-4}


@pytest.fixture(scope="module")
def gate(server, tmp_path_factory):
    """A gateway in front of the model server, which must never have failed."""
    log = tmp_path_factory.mktemp("gateway") / "log"
    words = ["--predictor", f"http://127.0.0.1:{server.port}", "--timeout-ms", "20000", "--breaker-failures", "3"]
    started = start_module("course_lib.services.gateway", words, log)
    yield started
    started.stop()
    assert "traceback" not in log.read_text()


@pytest.fixture(scope="module")
def triton(gate):
    httpclient = pytest.importorskip("tritonclient.http")
    with httpclient.InferenceServerClient(gate.url.removeprefix("http://")) as client:
        yield client


def given(name: str, array: np.ndarray, **how: bool):
    httpclient = pytest.importorskip("tritonclient.http")
    tensor = httpclient.InferInput(name, list(array.shape), "FP32")
    tensor.set_data_from_numpy(array, **how)
    return tensor


def test_triton_asks_for_health_and_metadata(triton):
    assert triton.is_server_live() and triton.is_server_ready()
    assert (
        triton.is_model_ready("digits") and triton.is_model_ready("digits", "10") and not triton.is_model_ready("none")
    )
    assert "extensions" in triton.get_server_metadata()
    assert triton.get_model_metadata("digits", "1")["versions"] == ["10", "1"]


@pytest.mark.parametrize("binary", [True, False])
def test_triton_infers(triton, binary):
    result = triton.infer("digits", [given("pixels", PIXELS, binary_data=binary)], request_id="seven")
    np.testing.assert_allclose(result.as_numpy("logits"), logits([IMAGE] * 2, 10), **NEAR)
    assert result.get_response()["id"] == "seven"


def test_triton_s_own_time_out_is_told_as_its_own_and_opens_nothing(triton, gate):
    slow = [given("x", np.ones((1, 4), np.float32))]
    for _ in range(5):
        with pytest.raises(Exception, match="by the request's parameters.timeout: .*no answer within 1 ms"):
            triton.infer("slow", slow, timeout=1000)
    assert triton.infer("slow", slow).as_numpy("y").shape == (1, 4)
    assert 'gateway_breaker_open{upstream="predictor-0"} 0.0' in send(gate.url, "GET", "/metrics")[1]["text"]


def test_triton_may_ask_for_a_compressed_answer(triton):
    result = triton.infer("digits", [given("pixels", PIXELS)], response_compression_algorithm="gzip")
    assert result.as_numpy("logits").shape == (2, 10)


def check(answer: dict) -> None:
    np.testing.assert_allclose(answer["predictions"], logits([IMAGE], 10), **NEAR)


@pytest.mark.parametrize("module", ["requests", "httpx"])
def test_a_python_client(gate, module):
    client = pytest.importorskip(module)
    found = client.post(gate.url + DIGITS, json=ROWS)
    assert found.status_code == 200 and found.headers["content-type"] == "application/json"
    check(found.json())
    assert client.get(gate.url + "/v2/models/digits").json()["name"] == "digits"


def test_urllib(gate):
    with urllib.request.urlopen(gate.url + DIGITS, json.dumps(ROWS).encode(), timeout=20) as found:
        check(json.load(found))


@pytest.mark.parametrize(
    "words", [[], ["--http2"], ["--http1.0"], ["-H", "Transfer-Encoding: chunked"], ["-H", "Expect: 100-continue"]]
)
def test_curl(gate, words):
    if not shutil.which("curl"):
        pytest.skip("there is no curl here")
    command = ["curl", "-sS", "--fail", "--noproxy", "*", *words, "-d", "@-", gate.url + DIGITS]
    found = subprocess.run(command, input=json.dumps(ROWS), capture_output=True, text=True, timeout=60)
    assert not found.stderr
    check(json.loads(found.stdout))


JAVA = """
import java.net.URI;
import java.net.http.*;

public class Ask {
    public static void main(String[] words) throws Exception {
        var request = HttpRequest.newBuilder(URI.create(words[0]))
            .POST(HttpRequest.BodyPublishers.ofString(words[1])).build();
        var client = HttpClient.newHttpClient();
        for (int i = 0; i < 2; i++) {
            var answer = client.send(request, HttpResponse.BodyHandlers.ofString());
            System.out.println(answer.statusCode() + " " + answer.body());
        }
    }
}
"""


def test_java_s_client_which_offers_another_protocol(gate, tmp_path):
    if not shutil.which("javac"):
        pytest.skip("there is no Java compiler here")
    (tmp_path / "Ask.java").write_text(JAVA)
    command = ["java", str(tmp_path / "Ask.java"), gate.url + DIGITS, json.dumps(ROWS)]
    found = subprocess.run(command, capture_output=True, text=True, timeout=240)
    lines = found.stdout.splitlines()
    assert [line[:4] for line in lines] == ["200 "] * 2, found.stderr
    check(json.loads(lines[1][4:]))


def offered(protocol: str) -> dict[str, str]:
    return {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": protocol, "HTTP2_Settings": "AAMAAABkAAQA"}


@pytest.mark.parametrize("protocol", ["h2c", "websocket"])
def test_an_offer_of_another_protocol_is_ignored_and_the_body_read(gate, protocol):
    status, found, _ = send(gate.url, "POST", DIGITS, ROWS, **offered(protocol))
    assert status == 200
    check(found)
