"""Traces through the gateway and the services: who is whose parent, what is kept, and what is never told."""

import json
import socket

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from tests.services.conftest import PIXELS, send
from tests.serving.conftest import until

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
KEPT, NOT_KEPT = f"00-{TRACE}-{PARENT}-01", f"00-{TRACE}-{PARENT}-00"
BITMAP = {"bitmaps": [[[0] * 32] * 32]}


@pytest.fixture
def traced(run, behind, tmp_path):
    """(`traced(…)` starts a gateway with these options in front of a predictor; both; its spans, once it was stopped)."""

    def start(*options: str, predictors: int = 1):
        stand_ins = [behind() for _ in range(predictors)]
        where = [word for each in stand_ins for word in ("--predictor", each.url)]
        gate = run("gateway", *where, "--traces", str(tmp_path / "gateway.spans"), *options)

        def spans() -> list[dict]:
            gate.stop()
            return [json.loads(line) for line in (tmp_path / "gateway.spans").read_text().splitlines()]

        return gate, stand_ins, spans

    return start


def came(predictor, number: int = -1) -> str | None:
    return predictor.seen[number][1].get("traceparent")


def test_the_predictor_s_parent_is_the_gateway_s_call_and_the_gateway_s_is_the_client(traced, tmp_path):
    gate, (predictor,), spans = traced()
    assert send(gate.url, "POST", "/digits", PIXELS, traceparent=KEPT, X_Request_Id="r-1")[0] == 200
    version, trace, parent, flags = came(predictor).split("-")
    call, own = spans()
    assert (version, trace, flags) == ("00", TRACE, "01") and parent == call["span_id"]
    assert (call["name"], call["kind"], call["parent_id"]) == ("predictor-0", "CLIENT", own["span_id"])
    assert (own["name"], own["kind"], own["parent_id"], own["trace_id"]) == ("digits", "SERVER", PARENT, TRACE)
    assert own["start_ns"] <= call["start_ns"] < call["end_ns"] <= own["end_ns"]
    assert own["attributes"] == {"http.response.status_code": 200} and call["attributes"] == {"outcome": "200"}
    lines = [json.loads(line) for line in (tmp_path / "gateway-0.log").read_text().splitlines()]
    (line,) = [line for line in lines if line.get("request_id") == "r-1"]
    assert (line["trace_id"], line["span_id"], line["trace_flags"]) == (TRACE, own["span_id"], "01")


def test_each_try_is_a_span_of_its_own(traced):
    gate, (one, other), spans = traced(predictors=2)
    one.plan, other.plan = ["hang up"], ["hang up"]
    assert send(gate.url, "POST", "/digits", PIXELS, traceparent=KEPT)[0] in (200, 503)
    tries = [each for each in spans() if each["kind"] == "CLIENT"]
    assert len(tries) >= 2 and {each["attributes"]["outcome"] for each in tries[:2]} == {"broken"}
    assert all(each["error"] for each in tries[:2])
    parents = {came(each, i).split("-")[2] for each in (one, other) for i in range(len(each.seen))}
    assert parents == {each["span_id"] for each in tries}


def test_a_trace_that_is_not_kept_travels_on_as_such(traced):
    gate, (predictor,), spans = traced()
    send(gate.url, "POST", "/digits", PIXELS, traceparent=NOT_KEPT)
    _, trace, _, flags = came(predictor).split("-")
    assert (trace, flags) == (TRACE, "00") and spans() == []


def test_a_share_of_the_traces_that_begin_here_is_kept_and_the_flag_says_which(traced):
    gate, (predictor,), spans = traced("--trace-ratio", "0.5")
    for _ in range(40):
        assert send(gate.url, "POST", "/digits", PIXELS)[0] == 200
    flags = {each[1]["traceparent"].split("-")[1]: each[1]["traceparent"][-2:] for each in predictor.seen}
    assert len(flags) == 40 and set(flags.values()) == {"00", "01"}
    assert {each["trace_id"] for each in spans()} == {trace for trace, flag in flags.items() if flag == "01"}


def test_a_broken_header_begins_a_new_trace_and_takes_its_tracestate_along(traced):
    gate, (predictor,), _ = traced()
    send(gate.url, "POST", "/v1/models/m:predict", PIXELS, traceparent=KEPT, tracestate="v=1")
    assert predictor.seen[-1][1]["tracestate"] == "v=1"
    for broken in ("00-abc-01", "ff" + KEPT[2:], KEPT + "-more"):
        status = send(gate.url, "POST", "/v1/models/m:predict", PIXELS, traceparent=broken, tracestate="v=1")[0]
        assert status == 200 and TRACE not in came(predictor) and "tracestate" not in predictor.seen[-1][1]


def test_health_and_metrics_are_not_traced(traced):
    gate, _, spans = traced()
    for path in ("/v2/health/ready", "/v2/health/live", "/metrics"):
        send(gate.url, "GET", path, traceparent=KEPT)
    assert spans() == []


def test_the_bucket_of_a_request_leads_to_its_trace(traced):
    gate, _, _ = traced()
    send(gate.url, "POST", "/digits", PIXELS, traceparent=KEPT)
    text = until(
        lambda: (
            TRACE in (told := send(gate.url, "GET", "/metrics", Accept="application/openmetrics-text")[1]["text"])
            and told
        )
    )
    found = [
        each.exemplar.labels["trace_id"]
        for family in text_string_to_metric_families(text)
        for each in family.samples
        if each.exemplar and family.name == "service_request_duration_seconds"
    ]
    assert found == [TRACE] and TRACE not in send(gate.url, "GET", "/metrics")[1]["text"]


def test_preprocessing_is_a_span_below_the_gateway_s_call(run, traced, tmp_path):
    file = tmp_path / "preprocess.spans"
    preprocess = run("preprocess", "--traces", str(file))
    gate, _, spans = traced("--preprocess", preprocess.url)
    assert send(gate.url, "POST", "/digits", BITMAP, traceparent=KEPT)[0] == 200
    call = next(each for each in spans() if each["name"] == "preprocess")
    preprocess.stop()
    (own,) = [json.loads(line) for line in file.read_text().splitlines()]
    assert (own["service"], own["name"], own["trace_id"]) == ("preprocess", "pixels", TRACE)
    assert own["parent_id"] == call["span_id"]
    assert call["start_ns"] <= own["start_ns"] < own["end_ns"] <= call["end_ns"]


def test_nothing_of_what_was_asked_is_in_logs_spans_or_metrics(run, traced, tmp_path):
    preprocess = run("preprocess", "--traces", str(tmp_path / "preprocess.spans"))
    feedback = run("feedback", "--file", str(tmp_path / "store"), "--traces", str(tmp_path / "feedback.spans"))
    gate, (predictor,), _ = traced("--preprocess", preprocess.url, "--feedback", feedback.url)
    mark = "alice-1987"
    headers = dict.fromkeys(("Authorization", "Cookie", "X_Client_Id", "User_Agent", "traceparent"), mark)
    headers |= {"tracestate": f"v={mark}", "baggage": f"user={mark}", "Idempotency_Key": mark}
    marked = {**BITMAP, mark: mark}
    for path in ("/digits", f"/digits?user={mark}", "/feedback", f"/feedback?{mark}", f"/v1/models/m:predict?{mark}"):
        for body in (marked, {"bitmaps": [mark]}, {"pixels": mark}, {"label": 3, "comment": mark}, mark.encode()):
            predictor.plan = [503, 504]  # the predictor's own words do not count, whatever they hold
            predictor.text = json.dumps({"predictions": [[0.0] * 10], "said": mark}).encode()
            send(gate.url, "POST", path, body, **headers)
            send(gate.url, "POST", path, body, **headers, X_Request_Timeout_Ms=mark)
    for raw in (
        f"{mark} / HTTP/1.1",
        f"GET {mark} HTTP/1.1",
        f"GET http://[{mark}/ HTTP/1.1",
        f"GET / HTTP/1.1\r\n{mark}",
    ):
        with socket.create_connection(("127.0.0.1", int(gate.url.rpartition(":")[2])), timeout=10) as client:
            client.sendall(f"{raw}\r\n\r\n".encode())
            assert b" 400 " in client.recv(1 << 16)
    for each in (gate, preprocess, feedback):
        assert mark not in send(each.url, "GET", "/metrics", Accept="application/openmetrics-text")[1]["text"]
        each.stop()
    files = [*tmp_path.glob("*.log"), *tmp_path.glob("*.spans")]
    assert len(files) == 6 and all(file.stat().st_size for file in files)
    assert [file.name for file in files if mark in file.read_text()] == []
