"""The gateway's own addresses, its weights and its bounds."""

import json
import threading
import time

import numpy as np
import pytest

from course_lib.services import gateway, process
from tests.services.conftest import PIXELS, ROWS, send


def test_a_drawing_goes_through_preprocessing_and_the_request_id_all_the_way(run, behind):
    predictor = behind()
    gate = run("gateway", "--predictor", predictor.url, "--preprocess", run("preprocess").url)
    drawing = {"bitmaps": [np.ones((32, 32), int).tolist()] * 2}
    status, found, headers = send(gate.url, "POST", "/digits", drawing, X_Request_Id="r-7", X_Request_Timeout_Ms="9000")
    assert (status, found) == (200, {"digits": [7, 2], "request_id": "r-7"}) and headers["x-request-id"] == "r-7"
    path, sent, body = predictor.seen[0]
    assert path == "/v1/models/digits_cnn:predict" and json.loads(body) == {"instances": np.ones((2, 1, 8, 8)).tolist()}
    assert sent["X-Request-Id"] == "r-7" and 0 < int(sent["X-Request-Timeout-Ms"]) <= 9000
    status, said, _ = send(gate.url, "POST", "/digits", {"bitmaps": [[1]]})
    assert status == 400 and "bitmaps[0]" in said["error"]  # the service's own words


def test_without_its_service_a_route_is_not_there(run, behind):
    gate = run("gateway", "--predictor", behind().url)
    assert send(gate.url, "POST", "/digits", {"bitmaps": []})[0] == 404
    assert send(gate.url, "POST", "/feedback", {"label": 1})[0] == 404
    assert send(gate.url, "POST", "/digits", PIXELS)[0] == 200


def test_a_predictor_is_asked_as_it_is_asked_directly_and_its_errors_come_back(run, behind):
    predictor = behind()
    gate = run("gateway", "--predictor", predictor.url)
    assert send(gate.url, "POST", "/v1/models/m/versions/2:predict", b'{"x": 1}')[:2] == (200, {"predictions": ROWS})
    assert predictor.seen[0][0] == "/v1/models/m/versions/2:predict" and predictor.seen[0][2] == b'{"x": 1}'
    predictor.plan = [429, 404]
    assert send(gate.url, "POST", "/v2/models/m/infer", b"{}")[:2] == (429, {"error": "a 429"})
    assert send(gate.url, "POST", "/digits", PIXELS)[:2] == (404, {"error": "a 404"})
    assert len(predictor.seen) == 3  # none of these is tried again


def test_a_body_that_is_too_large_is_refused_on_every_way_in(run, behind):
    gate = run("gateway", "--predictor", behind().url, "--feedback", behind().url)
    large = b" " * (process.MAX_BODY_BYTES + 1)
    for path in ("/digits", "/feedback", "/v1/models/m:predict"):
        assert send(gate.url, "POST", path, large)[0] == 413


def test_a_full_bulkhead_and_a_full_gateway_refuse_at_once(run, behind):
    slow, other = behind(), behind()
    gate = run("gateway", "--predictor", slow.url, "--feedback", other.url, "--max-under-way", "1", "--max-requests", "2",
               "--timeout-ms", "3000")  # fmt: skip
    slow.plan = [1.0]
    waiting = threading.Thread(target=send, args=(gate.url, "POST", "/digits", PIXELS))
    waiting.start()
    while not slow.seen:
        time.sleep(0.01)
    assert send(gate.url, "POST", "/digits", PIXELS)[0] == 503
    assert send(gate.url, "POST", "/feedback", {"label": 1}, Idempotency_Key="k")[0] == 200
    other.plan = [1.0]
    also = threading.Thread(
        target=send, args=(gate.url, "POST", "/feedback", {"label": 1}), kwargs={"Idempotency_Key": "l"}
    )
    also.start()
    while len(other.seen) < 2:
        time.sleep(0.01)
    status, _, headers = send(gate.url, "POST", "/feedback", {"label": 1}, Idempotency_Key="m")
    assert status == 429 and headers["retry-after"] == "1"
    waiting.join()
    also.join()


@pytest.mark.parametrize("rows", [[[float("nan")] * 10], [[1.0, 2.0]], [["a"] * 10], "nonsense", None])
def test_an_answer_that_no_user_should_get_is_a_502(run, behind, rows):
    predictor = behind()
    predictor.rows = rows
    gate = run("gateway", "--predictor", predictor.url)
    assert send(gate.url, "POST", "/digits", PIXELS)[0] == 502


def test_weights_share_out_the_clients_and_each_keeps_its_predictor(run, behind):
    stable, canary, never = behind(), behind(), behind()
    gate = run(
        "gateway",
        "--predictor",
        f"{stable.url}=0.75",
        "--predictor",
        f"{canary.url}=0.25",
        "--predictor",
        f"{never.url}=0",
    )
    met = [send(gate.url, "POST", "/digits", PIXELS, X_Client_Id=f"c{i % 100}")[2]["x-upstream"] for i in range(200)]
    assert met[:100] == met[100:] and set(met) == {"predictor-0", "predictor-1"}
    assert 10 <= met[:100].count("predictor-1") <= 40
    assert len(canary.seen) == met.count("predictor-1") and not never.seen


@pytest.mark.parametrize("text", ["nonsense", "ftp://a", "http://a=-1", "http://a=x", ""])
def test_a_predictor_that_is_no_address_is_refused(text):
    with pytest.raises(gateway.argparse.ArgumentTypeError, match="expected URL or URL=weight"):
        gateway.weighted(text)
