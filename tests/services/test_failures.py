"""What the gateway does where a service behind it fails: tries again, stops asking, gives up in time."""

import json
import time

import pytest

from tests.services.conftest import PIXELS, send


def test_what_fails_is_tried_again_where_that_does_no_harm(run, behind):
    predictor, store = behind(), behind()
    gate = run("gateway", "--predictor", predictor.url, "--feedback", store.url)
    predictor.plan = ["hang up", 503]
    assert send(gate.url, "POST", "/digits", PIXELS)[0] == 200 and len(predictor.seen) == 3
    store.plan = ["hang up"]
    assert send(gate.url, "POST", "/feedback", {"label": 1})[0] == 503 and len(store.seen) == 1
    store.plan = ["hang up"]
    assert send(gate.url, "POST", "/feedback", {"label": 1}, Idempotency_Key="k")[0] == 200
    assert [sent.get("Idempotency-Key") for _, sent, _ in store.seen[1:]] == ["k", "k"]


def test_a_deadline_ends_the_wait_and_is_not_tried_again(run, behind):
    predictor = behind()
    gate = run("gateway", "--predictor", predictor.url)
    predictor.plan = [1.5]
    start = time.monotonic()
    assert send(gate.url, "POST", "/digits", PIXELS, X_Request_Timeout_Ms="100")[0] == 504
    assert time.monotonic() - start < 1.4 and len(predictor.seen) == 1
    for wrong in ("0", "-5", "soon", "1e3"):
        assert send(gate.url, "POST", "/digits", PIXELS, X_Request_Timeout_Ms=wrong)[0] == 400


def test_a_try_that_may_not_be_repeated_takes_nothing_from_the_budget(run, behind):
    predictor = behind()
    gate = run("gateway", "--predictor", predictor.url, "--attempts", "2", "--retry-share", "0",
               "--breaker-failures", "1000")  # fmt: skip
    predictor.plan = [503] * 100
    for _ in range(12):
        assert send(gate.url, "POST", "/digits", PIXELS)[0] == 503
    assert len(predictor.seen) == 12 + 10, "the reserve of ten pays for ten retries"


def counted(gate, name: str, **labels: str) -> float:
    """The value of one of the gateway's metrics."""
    told = ",".join(f'{label}="{value}"' for label, value in labels.items())
    text = send(gate.url, "GET", "/metrics")[1]["text"]
    return next((float(line.split()[-1]) for line in text.splitlines() if line.startswith(f"{name}{{{told}}}")), 0.0)


def test_after_many_failures_the_service_is_left_alone_and_asked_again_later(run, behind):
    predictor = behind()
    gate = run("gateway", "--predictor", predictor.url, "--breaker-failures", "3", "--breaker-seconds", "4")
    predictor.plan = [500] * 3
    assert [send(gate.url, "POST", "/digits", PIXELS)[0] for _ in range(3)] == [500] * 3
    status, said, headers = send(gate.url, "POST", "/digits", PIXELS)
    assert status == 503 and "left alone" in said["error"] and 1 <= int(headers["retry-after"]) <= 4
    assert counted(gate, "gateway_breaker_open", upstream="predictor-0") == 1 and len(predictor.seen) == 3
    until = time.monotonic() + 30
    while send(gate.url, "POST", "/digits", PIXELS)[0] != 200:
        assert time.monotonic() < until
        time.sleep(0.1)
    assert counted(gate, "gateway_breaker_open", upstream="predictor-0") == 0


def test_a_deadline_that_the_client_set_is_no_failure_of_the_predictor(run, behind):
    predictor = behind()
    gate = run("gateway", "--predictor", predictor.url, "--breaker-failures", "2")
    for deadline in (20, 20, 20, 100, 100):
        predictor.plan = [0.5]
        status, said, _ = send(gate.url, "POST", "/digits", PIXELS, X_Request_Timeout_Ms=str(deadline))
        assert status == 504 and "the client's X-Request-Timeout-Ms" in said["error"]
    assert counted(gate, "gateway_breaker_open", upstream="predictor-0") == 0
    assert send(gate.url, "POST", "/digits", PIXELS)[0] == 200


@pytest.mark.parametrize("status", [501, 505, 429, 400])
def test_nor_is_a_request_that_it_does_not_know(run, behind, status):
    predictor = behind()
    gate = run("gateway", "--predictor", predictor.url, "--breaker-failures", "2")
    predictor.plan = [status] * 5
    for _ in range(5):
        assert send(gate.url, "POST", "/v2/models/m/infer", {})[:2] == (status, {"error": f"a {status}"})
    assert send(gate.url, "POST", "/digits", PIXELS)[0] == 200


@pytest.mark.parametrize(
    ("body", "headers", "whose", "opens"),
    [
        ({"parameters": {"timeout": 1}}, {}, "by the request's parameters.timeout: ", False),
        (
            {"parameters": {"timeout": 1}},
            {"Inference_Header_Content_Length": "30"},
            "the request's parameters.time",
            False,
        ),
        ({}, {"X_Request_Timeout_Ms": "9000"}, "by the client's X-Request-Timeout-Ms: ", False),
        ({"parameters": {"timeout": 10**12}}, {}, "by its own limit or the gateway's: ", True),
        ({}, {}, "by its own limit or the gateway's: ", True),
    ],
)
def test_a_predictor_s_504_says_whose_clock_ran_out(run, behind, body, headers, whose, opens):
    predictor = behind()
    gate = run("gateway", "--predictor", predictor.url, "--breaker-failures", "2")
    predictor.plan = [504] * 2
    raw = json.dumps(body).encode()
    assert "Inference_Header_Content_Length" not in headers or len(raw) == 30
    for _ in range(2):
        status, said, _ = send(gate.url, "POST", "/v2/models/m/infer", raw + b"binary" * (len(headers) > 0), **headers)
        assert status == 504 and whose in said["error"] and "a 504" in said["error"]
    assert counted(gate, "gateway_breaker_open", upstream="predictor-0") == opens and len(predictor.seen) == 2


def test_the_gateway_s_own_limit_is_named_and_counts(run, behind):
    predictor = behind()
    gate = run("gateway", "--predictor", predictor.url, "--breaker-failures", "1", "--timeout-ms", "200")
    predictor.plan = [3.0]
    status, said, _ = send(gate.url, "POST", "/digits", PIXELS)
    assert status == 504 and "200 ms, the gateway's limit" in said["error"]
    assert counted(gate, "gateway_breaker_open", upstream="predictor-0") == 1
