"""The model server, as its users meet it: a process of its own, asked over HTTP."""

import asyncio
import http.client
import json
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest
from onnx import TensorProto, helper, numpy_helper

from course_lib.places import CHECKOUT
from course_lib.serving import app
from course_lib.serving.__main__ import listen
from course_lib.serving.limits import Limits, cpu_limit
from course_lib.serving.models import Model
from course_lib.serving.store import Store
from course_lib.serving.telemetry import Log

PREDICT = "/v1/models/digits_cnn:predict"
LIMIT = 100_000
WEIGHTS = np.random.default_rng(0).normal(size=(64, 10)).astype(np.float32)
IMAGE = np.random.default_rng(1).random((1, 8, 8)).round(2).tolist()

PAIR = """<ir_version: 10, opset_import: ["" : 21]>
pair (float[N,2] a, int64[N] b) => (float[N,2] twice, int64[N] same) { twice = Add (a, a)  same = Identity (b) }"""
LOOKUP = """<ir_version: 10, opset_import: ["" : 21]>
lookup (int64[N] index) => (float[N] value) <float[3] table = {1.0, 2.0, 3.0}> { value = Gather (table, index) }"""
SLOW = """<ir_version: 10, opset_import: ["" : 21]>
slow (float[N,4] x) => (float[N,4] y)
<int64[2] size = {700, 700}, int64 trips = {120}, bool go = {1}, float small = {0.001}> {
  ones = ConstantOfShape <value = float[1] {1.0}> (size)
  total = ReduceSum <keepdims = 0> (x)
  start = Mul (ones, total)
  last = Loop (trips, go, start) <body = step (int64 i, bool c, float[700,700] a) => (bool d, float[700,700] b)
    { d = Identity (c)  product = MatMul (a, ones)  b = Mul (product, small) }>
  mean = ReduceMean <keepdims = 0> (last)
  zero = Sub (mean, mean)
  y = Add (x, zero)
}"""


def save_digits(path: Path, scale: float = 1.0) -> None:
    """A linear model with the course's interface: `pixels` (N, 1, 8, 8) to `logits` (N, 10), times `scale`."""
    weights = [numpy_helper.from_array(WEIGHTS * np.float32(scale), "w"), numpy_helper.from_array(WEIGHTS[0] * 0, "b")]
    nodes = [
        helper.make_node("Flatten", ["pixels"], ["flat"]),
        helper.make_node("Gemm", ["flat", "w", "b"], ["logits"]),
    ]
    pixels = helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["batch", 1, 8, 8])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 10])
    graph = helper.make_graph(nodes, "digits", [pixels], [logits], weights)
    path.parent.mkdir(parents=True)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), path)


@dataclass
class Server:
    process: subprocess.Popen
    log: Path
    port: int

    def ask(self, method: str, path: str, body: object = None, headers: dict | None = None) -> tuple[int, dict, dict]:
        """Returns status, answer, headers; `body` goes as JSON unless it is bytes or an iterator."""
        if isinstance(body, dict):
            body = json.dumps(body).encode()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            return response.status, json.loads(response.read() or b"null"), dict(response.getheaders())
        finally:
            connection.close()

    def lines(self) -> list[dict]:
        return [json.loads(line) for line in self.log.read_text().splitlines()]


def start(folder: Path, models: Path, *arguments: str, how: tuple[str, ...] = ("-m", "course_lib.serving")) -> Server:
    """Starts the server on a port that it chooses itself, and waits for the log line that tells it."""
    log = folder / "log"
    command = [
        sys.executable,
        *how,
        "--models",
        str(models),
        "--host",
        "127.0.0.1",
        "--port",
        "0",
    ]
    with log.open("w") as out:
        process = subprocess.Popen([*command, *arguments], cwd=CHECKOUT, stdout=out, stderr=subprocess.STDOUT)
    while process.poll() is None:
        for line in log.read_text().splitlines():
            if '"event":"ready"' in line:
                return Server(process, log, json.loads(line)["port"])
        time.sleep(0.02)
    raise AssertionError(log.read_text())


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    save_digits(folder / "digits_cnn/1/model.onnx")
    save_digits(folder / "digits_cnn/10/model.onnx", scale=10)
    (folder / "digits_cnn/card.md").write_text("Not a version.")
    for text in (PAIR, LOOKUP, SLOW):
        model = onnx.parser.parse_model(text)
        (folder / model.graph.name / "1").mkdir(parents=True)
        onnx.save(model, folder / model.graph.name / "1/model.onnx")
    return folder


@pytest.fixture(scope="module")
def server(models: Path, tmp_path_factory: pytest.TempPathFactory):
    started = start(tmp_path_factory.mktemp("server"), models, "--max-body-bytes", str(LIMIT), "--threads", "1")
    yield started
    started.process.terminate()
    assert started.process.wait(20) == 0


def logits(images: list, scale: float = 1.0) -> np.ndarray:
    return np.array(images, dtype=np.float32).reshape(-1, 64) @ WEIGHTS * scale


def test_row_form_is_answered_by_predictions_of_the_latest_version(server):
    status, answer, headers = server.ask("POST", PREDICT, {"instances": [IMAGE, IMAGE, IMAGE]})
    assert status == 200 and list(answer) == ["predictions"] and headers["content-type"] == "application/json"
    np.testing.assert_allclose(answer["predictions"], logits([IMAGE] * 3, 10), rtol=1e-5, atol=1e-4)


def test_column_form_is_answered_by_outputs(server):
    for inputs in ([IMAGE, IMAGE], {"pixels": [IMAGE, IMAGE]}):
        status, answer, _ = server.ask("POST", PREDICT, {"inputs": inputs, "signature_name": "serving_default"})
        assert status == 200 and list(answer) == ["outputs"]
        np.testing.assert_allclose(answer["outputs"], logits([IMAGE] * 2, 10), rtol=1e-5, atol=1e-4)


def test_a_row_may_name_the_only_input(server):
    assert server.ask("POST", PREDICT, {"instances": [{"pixels": IMAGE}]})[0] == 200


def test_several_inputs_and_outputs_are_named_in_both_forms(server):
    rows = [{"a": [1, 2.5], "b": 7}, {"a": [3, 4], "b": 8}]
    assert server.ask("POST", "/v1/models/pair:predict", {"instances": rows})[1] == {
        "predictions": [{"twice": [2.0, 5.0], "same": 7}, {"twice": [6.0, 8.0], "same": 8}]
    }
    columns = {"a": [[1, 2.5], [3, 4]], "b": [7, 8]}
    assert server.ask("POST", "/v1/models/pair:predict", {"inputs": columns})[1] == {
        "outputs": {"twice": [[2.0, 5.0], [6.0, 8.0]], "same": [7, 8]}
    }


def test_a_version_is_chosen_by_its_address(server):
    _, answer, _ = server.ask("POST", "/v1/models/digits_cnn/versions/1:predict", {"instances": [IMAGE]})
    np.testing.assert_allclose(answer["predictions"], logits([IMAGE]), rtol=1e-5, atol=1e-5)


def test_status_lists_the_versions_latest_first(server):
    fine = {"state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
    both = [{"version": "10"} | fine, {"version": "1"} | fine]
    assert server.ask("GET", "/v1/models/digits_cnn")[:2] == (200, {"model_version_status": both})
    assert server.ask("GET", "/v1/models/digits_cnn/versions/1")[1] == {"model_version_status": both[1:]}


def test_metadata_tells_names_dtypes_and_shapes_in_both_protocols(server):
    answer = server.ask("GET", "/v1/models/digits_cnn/versions/1/metadata")[1]
    assert answer["model_spec"] == {"name": "digits_cnn", "signature_name": "", "version": "1"}
    signature = answer["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert signature["inputs"]["pixels"]["dtype"] == "DT_FLOAT" and "logits" in signature["outputs"]
    assert [dim["size"] for dim in signature["inputs"]["pixels"]["tensor_shape"]["dim"]] == ["-1", "1", "8", "8"]
    answer = server.ask("GET", "/v2/models/digits_cnn")[1]
    assert answer["versions"] == ["10", "1"]
    assert answer["inputs"] == [{"name": "pixels", "datatype": "FP32", "shape": [-1, 1, 8, 8]}]
    assert answer["outputs"] == [{"name": "logits", "datatype": "FP32", "shape": [-1, 10]}]


def test_health_and_the_root_answer(server):
    for path in ("/v2/health/live", "/v2/health/ready", "/v2", "/v2/models/digits_cnn/versions/1/ready"):
        assert server.ask("GET", path)[0] == 200
    assert server.ask("GET", "/")[1]["models"]["digits_cnn"] == [10, 1]
    assert server.ask("GET", "/v2/models/digits_cnn/ready")[1] == {"name": "digits_cnn", "ready": True}


def test_health_answers_while_a_prediction_computes(server):
    slow = threading.Thread(target=server.ask, args=("POST", "/v1/models/slow:predict", {"instances": [[1, 2, 3, 4]]}))
    slow.start()
    answered = 0
    while slow.is_alive():
        answered += server.ask("GET", "/v2/health/live")[0] == 200
    assert answered >= 5, "a busy event loop would have answered one or two, before the prediction or after it"


def images(value: object) -> dict:
    return {"instances": [[[[value] * 8] * 8]]}


TEN = [[[0.5] * 8] * 9]
RAGGED = [[[[0] * 8] * 7 + [[0] * 7]]]
BAD = {
    "not JSON": (PREDICT, b"{instances: 1}", 400, "JSON Parse error"),
    "not UTF-8": (PREDICT, b'{"instances": "\xff\xfe"}', 400, "JSON Parse error"),
    "an empty body": (PREDICT, b"", 400, "The document is empty"),
    "no object": (PREDICT, b"[1, 2]", 400, "got a list"),
    "nested too deeply": (PREDICT, b"[" * 50_000, 400, "nested too deeply"),
    "deep but closed": (PREDICT, b'{"instances": ' + b"[" * 40_000 + b"]" * 40_000 + b"}", 400, "nested too deeply"),
    "both forms": (PREDICT, {"instances": [IMAGE], "inputs": [IMAGE]}, 400, "only one of 'inputs' or 'instances'"),
    "neither form": (PREDICT, {"pixels": [IMAGE]}, 400, "Missing 'inputs' or 'instances' key"),
    "instances no list": (PREDICT, {"instances": 1.0}, 400, "Expecting 'instances' to be a list/array, got a decimal"),
    "no instances": (PREDICT, {"instances": []}, 400, "No values in 'instances' array"),
    "no inputs": (PREDICT, {"inputs": []}, 400, "expects shape [-1, 1, 8, 8] (-1: any number), got [0]"),
    "ragged rows": (
        PREDICT,
        {"instances": RAGGED},
        400,
        "ragged: expected a list of 8 as its first one is, got a list of 7",
    ),
    "a list among numbers": (PREDICT, {"instances": [[[[0] * 7 + [[1]]] * 8]]}, 400, "ragged"),
    "a number among lists": (PREDICT, {"instances": [IMAGE, 3]}, 400, "ragged"),
    "nine rows": (PREDICT, {"instances": [TEN]}, 400, "expects shape [-1, 1, 8, 8] (-1: any number), got [1, 1, 9, 8]"),
    "no batch": (PREDICT, {"instances": IMAGE}, 400, "got [1, 8, 8]"),
    "flat": (PREDICT, {"instances": [[0.5] * 64]}, 400, "got [1, 64]"),
    "a string": (PREDICT, images("0.5"), 400, "expects numbers (FP32), got a string"),
    "null": (PREDICT, images(None), 400, "got null"),
    "true": (PREDICT, images(True), 400, "got true or false"),
    "an object": (PREDICT, images({"b64": "AA=="}), 400, "got an object"),
    "NaN": (PREDICT, images(float("nan")), 400, "expects finite numbers within FP32, got NaN"),
    "Infinity": (PREDICT, images(float("-inf")), 400, "expects finite numbers"),
    "too large for float32": (PREDICT, images(1e39), 400, "expects finite numbers"),
    "too large for any float": (PREDICT, images(10**400), 400, "too large for FP32"),
    "thousands of digits": (PREDICT, b'{"instances": ' + b"1" * 5000 + b"}", 400, "JSON Parse error"),
    "answer not finite": (PREDICT, images(3e38), 400, "output 'logits' is not finite"),
    "decimals for whole numbers": (
        "/v1/models/lookup:predict",
        {"instances": [1.5]},
        400,
        "expects whole numbers (INT64)",
    ),
    "too large for int64": ("/v1/models/lookup:predict", {"instances": [2**70]}, 400, "too large for INT64"),
    "what the model refuses": ("/v1/models/lookup:predict", {"instances": [7]}, 400, "model 'lookup' cannot compute"),
    "an unknown input": (PREDICT, {"instances": [{"image": IMAGE}]}, 400, "keys must be equal to: pixels; got image"),
    "an unknown column": (PREDICT, {"inputs": {"image": [IMAGE]}}, 400, "Missing named input: pixels"),
    "unnamed rows for two inputs": ("/v1/models/pair:predict", {"instances": [1]}, 400, "expecting list of objects"),
    "unnamed columns for two inputs": ("/v1/models/pair:predict", {"inputs": [1]}, 400, "expecting an object"),
    "rows and objects mixed": (PREDICT, {"instances": [{"pixels": IMAGE}, IMAGE]}, 400, "got a list at item 1"),
    "an unknown signature": (
        PREDICT,
        {"instances": [IMAGE], "signature_name": "x"},
        400,
        '"x" not found in signature def',
    ),
    "a signature no string": (PREDICT, {"instances": [IMAGE], "signature_name": 3}, 400, "must be a string value"),
    "too large": (PREDICT, b" " * (LIMIT + 1), 413, f"at most {LIMIT} bytes"),
    "an unknown model": ("/v1/models/x:predict", images(1), 404, "Servable not found for request: Latest(x)"),
    "an unknown version": (
        "/v1/models/digits_cnn/versions/7:predict",
        images(1),
        404,
        "Servable not found for request: Specific(digits_cnn, 7)",
    ),
    "version 0": ("/v1/models/digits_cnn/versions/0:predict", images(1), 404, "Specific(digits_cnn, 0)"),
    "a huge version": ("/v1/models/digits_cnn/versions/" + "9" * 30 + ":predict", images(1), 400, "to numeric"),
    "no verb": ("/v1/models/digits_cnn", images(1), 400, "Malformed request: POST /v1/models/digits_cnn"),
    "an unknown verb": ("/v1/models/digits_cnn:guess", images(1), 400, "Malformed request: POST"),
    "no version number": ("/v1/models/digits_cnn/versions/one:predict", images(1), 400, "Malformed request: POST"),
    "another path": ("/v1/predict", images(1), 400, "Malformed request: POST /v1/predict"),
    "classify": ("/v1/models/digits_cnn:classify", {"examples": [{"x": 1}]}, 400, "Expected classify signature"),
    "nowhere": ("/predict", images(1), 404, "POST /predict: there is nothing here"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_request_gets_a_status_and_a_sentence(server, case):
    path, body, expected_status, sentence = BAD[case]
    status, answer, _ = server.ask("POST", path, body)
    assert status == expected_status
    assert list(answer) == ["error"] and sentence in answer["error"]


@pytest.mark.parametrize(
    ("path", "status", "sentence"),
    [
        ("/v1/models", 400, "Missing model name in request"),
        ("/v1/models/x", 404, "Could not find any versions of model x"),
        ("/v1/models/digits_cnn/versions/7", 404, "Could not find version 7 of model digits_cnn"),
        ("/v1/models/x/metadata", 404, "Servable not found for request: Latest(x)"),
        ("/v2/models/x", 404, "Latest(x)"),
        ("/v2/models/digits_cnn/versions/7/ready", 404, "Specific(digits_cnn, 7)"),
        ("/v2/models/digits_cnn/versions/one", 404, "got 'one'"),
    ],
)
def test_asking_for_what_is_not_there_says_so(server, path, status, sentence):
    got, answer, _ = server.ask("GET", path)
    assert got == status and sentence in answer["error"]


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", PREDICT, "POST"),
        ("DELETE", "/v1/models/digits_cnn", "GET, HEAD, POST"),
        ("POST", "/v2/health/ready", "GET, HEAD"),
        ("PUT", "/", "GET, HEAD"),
    ],
)
def test_a_wrong_method_is_a_405_that_names_the_right_one(server, method, path, allow):
    status, answer, headers = server.ask(method, path)
    assert status == 405 and allow.split(", ")[0] in answer["error"] and method in answer["error"]
    assert sorted(headers["allow"].split(", ")) == allow.split(", ")


def test_a_body_of_unknown_length_is_bounded_too(server):
    status, answer, _ = server.ask("POST", PREDICT, iter([b" " * 50_000] * 40))
    assert status == 413 and "error" in answer


def test_answers_do_not_wait_for_acknowledgements():
    with listen("127.0.0.1", 0) as listener, socket.create_connection(listener.getsockname()):
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_request_id_is_returned_and_one_unfit_for_a_log_replaced(server):
    assert server.ask("GET", "/", headers={"X-Request-Id": "trace-7"})[2]["x-request-id"] == "trace-7"
    assert len(server.ask("GET", "/", headers={"X-Request-Id": "a b{}"})[2]["x-request-id"]) == 32


def test_the_log_has_one_line_a_request_and_no_data(server):
    server.ask("POST", PREDICT + "?secret=0.123456", images(0.123456), headers={"X-Request-Id": "logged"})
    server.ask("GET", "/v2/health/live")  # a line is written before the next request is taken up
    (line,) = [line for line in server.lines() if line.get("request_id") == "logged"]
    assert (line["method"], line["path"], line["status"]) == ("POST", PREDICT, 200) and line["duration_ms"] > 0
    assert "0.123456" not in server.log.read_text()


def test_after_all_bad_requests_the_server_answers_right_and_never_said_500(server):
    for path, body, *_ in BAD.values():
        server.ask("POST", path, body)
    chance, good = random.Random(0), json.dumps({"instances": [IMAGE]}).encode()
    for _ in range(300):
        garbled = bytearray(good)
        for _ in range(chance.randint(1, 4)):
            garbled[chance.randrange(len(garbled))] = chance.choice(b'[]{},:"0.-eEN\\ \x00\xff')
        assert server.ask("POST", PREDICT, bytes(garbled))[0] in (200, 400)
    with socket.create_connection(("127.0.0.1", server.port)) as leaver:
        leaver.sendall(f"POST {PREDICT} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{{".encode())
    with socket.create_connection(("127.0.0.1", server.port)) as liar:  # a Host that no URL parser takes
        liar.sendall(b"GET /v1/models/x HTTP/1.1\r\nHost: [::\r\n\r\n")
        assert b"404 Not Found" in liar.recv(1000)
    _, answer, _ = server.ask("POST", PREDICT, {"instances": [IMAGE]})
    np.testing.assert_allclose(answer["predictions"], logits([IMAGE], 10), rtol=1e-5, atol=1e-4)
    assert all(line.get("status", 0) < 500 and "traceback" not in line for line in server.lines())


def test_a_body_that_stalls_is_given_up(models, monkeypatch):
    monkeypatch.setattr(app, "BODY_SECONDS", 0.05)
    store = Store(models, lambda name, version, path, sha256: Model(name, version, path, 1, sha256), 0, Log())
    service, sent = app.App(store, Log(), Limits()), []
    halves = iter([{"type": "http.request", "body": b"{", "more_body": True}])

    async def receive() -> dict:
        return next(halves, None) or await asyncio.sleep(60)

    async def send(message: dict) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": PREDICT, "headers": [], "query_string": b""}
    asyncio.run(service(scope, receive, send))
    assert sent[0]["status"] == 408 and "got 1 bytes of it" in json.loads(sent[1]["body"])["error"]


def test_sigterm_answers_what_was_accepted_and_exits_0(models, tmp_path):
    server = start(tmp_path, models)
    body = json.dumps({"instances": [IMAGE]}).encode()
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as client:
        head = f"POST {PREDICT} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
        client.sendall(head.encode() + body[:50])
        assert server.ask("GET", "/v2/health/ready")[0] == 200  # by now the first half was taken in as well
        server.process.send_signal(signal.SIGTERM)
        with pytest.raises(OSError):
            while True:
                server.ask("GET", "/v2/health/ready")
        client.sendall(body[50:])
        response = http.client.HTTPResponse(client)
        response.begin()
        assert response.status == 200 and len(json.loads(response.read())["predictions"]) == 1
    assert server.process.wait(20) == 0
    assert server.lines()[-1]["event"] == "stopped"


def test_a_request_that_the_shutdown_cuts_off_gets_a_503_and_no_traceback(models, tmp_path):
    shorter = "import sys; from course_lib.serving import __main__ as m; m.SHUTDOWN_SECONDS = 0.1; sys.exit(m.main())"
    server = start(tmp_path, models, "--threads", "1", how=("-c", shorter))
    asking = [http.client.HTTPConnection("127.0.0.1", server.port, timeout=20) for _ in range(3)]
    for connection in asking:
        connection.request("POST", "/v1/models/slow:predict", json.dumps({"instances": [[1, 2, 3, 4]]}))
    assert server.ask("GET", "/v2/health/live")[0] == 200  # by now the three were taken in as well
    server.process.send_signal(signal.SIGTERM)
    answers = []
    for connection in asking:
        with connection.getresponse() as response:
            answers.append((response.status, json.loads(response.read()), response.headers["Retry-After"]))
        connection.close()
    assert {status for status, *_ in answers} <= {200, 503}
    status, answer, retry_after = answers[-1]  # one thread, three predictions: the last has not begun
    assert status == 503 and "try again" in answer["error"] and retry_after == "1"
    assert server.process.wait(20) == 0
    assert "raceback" not in server.log.read_text()
    assert {line["status"] for line in server.lines() if line["event"] == "request"} <= {200, 503}


def test_more_predictions_than_may_wait_are_refused_and_later_ones_answered(models, monkeypatch):
    monkeypatch.setattr(app, "MAX_WAITING", 1)
    may_end = threading.Event()
    monkeypatch.setattr(app.protocol, "predict", lambda model, body: may_end.wait(20) and b"{}")
    service = app.create_app(Models.load(models, threads=1), LIMIT, workers=1)

    async def ask(path: str = PREDICT) -> dict:
        sent = []

        async def receive() -> dict:
            return {"type": "http.request", "body": b"{}", "more_body": False}

        async def send(message: dict) -> None:
            sent.append(message)

        method = "POST" if path == PREDICT else "GET"
        await service(
            {"type": "http", "method": method, "path": path, "headers": [], "query_string": b""}, receive, send
        )
        return {"status": sent[0]["status"], "body": sent[1]["body"], "headers": dict(sent[0]["headers"])}

    async def rush() -> None:
        taken = [asyncio.create_task(ask()) for _ in range(2)]
        await asyncio.sleep(0.05)
        refused, health = await ask(), await ask("/v2/health/ready")
        assert refused["status"] == 503 and refused["headers"][b"retry-after"] == b"1"
        assert "1 predictions wait already" in json.loads(refused["body"])["error"] and health["status"] == 200
        may_end.set()
        assert [answer["status"] for answer in await asyncio.gather(*taken)] == [200, 200]
        assert (await ask())["status"] == 200

    asyncio.run(rush())


def test_sigterm_lowers_readiness_at_once_and_answers_while_it_drains(models, tmp_path):
    server = start(tmp_path, models, "--drain-seconds", "1.5")
    server.process.send_signal(signal.SIGTERM)
    while server.ask("GET", "/v2/health/ready")[0] == 200:
        pass
    assert server.ask("GET", "/v2/health/ready")[:2] == (503, {"ready": False})
    assert server.ask("GET", "/v2/health/live")[0] == 200
    status, _, headers = server.ask("POST", PREDICT, {"instances": [IMAGE]})
    assert status == 200 and headers["connection"] == "close"
    assert server.process.wait(20) == 0


def refusal(*arguments: str) -> str:
    command = [sys.executable, "-m", "course_lib.serving", "--host", "127.0.0.1", *arguments]
    ended = subprocess.run(command, check=False, cwd=CHECKOUT, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 2 and not ended.stdout
    return ended.stderr


def test_it_refuses_to_start_without_a_model_that_it_can_serve(tmp_path):
    assert "is not a folder" in refusal("--models", str(tmp_path / "none"))
    assert "holds no NAME/VERSION/model.onnx" in refusal("--models", str(tmp_path))
    broken = tmp_path / "digits_cnn/1/model.onnx"
    broken.parent.mkdir(parents=True)
    broken.write_bytes(b"not a model")
    message = refusal("--models", str(tmp_path))
    assert f"{broken} is not a model that this server can serve" in message and message.count("\n") == 1


def test_it_refuses_a_taken_port_and_an_impossible_one(models):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        message = refusal("--models", str(models), "--port", str(taken.getsockname()[1]))
    assert "cannot listen on 127.0.0.1" in message and message.count("\n") == 1
    assert "cannot listen on" in refusal("--models", str(models), "--port", "99999")
    assert "expected a positive whole number" in refusal("--models", str(models), "--threads", "0")


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"cpu.max": "100000 100000"}, 1),
        ({"cpu.max": "50000 100000"}, 1),
        ({"cpu/cpu.cfs_quota_us": "100000", "cpu/cpu.cfs_period_us": "100000"}, 1),
        ({"cpu.max": "max 100000"}, None),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
        ({"cpu.max": "nonsense"}, None),
        ({"cpu.max": "99900000 100000"}, None),
        ({}, None),
    ],
)
def test_threads_follow_the_containers_limit_or_else_the_machine(tmp_path, files, expected):
    machine = cpu_limit(tmp_path)
    assert machine >= 1
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text + "\n")
    assert cpu_limit(tmp_path) == (expected or machine)
