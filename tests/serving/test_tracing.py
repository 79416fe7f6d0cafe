"""Spans, where they are asked for: what they tell, whose they are, and what they never hold."""

import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from course_lib.places import CHECKOUT
from course_lib.serving.tracing import read_traceparent
from tests.ops.stand_ins import posix
from tests.serving.conftest import DIGITS, IMAGE, Server, start, until

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
KEPT, NOT_KEPT = f"00-{TRACE}-{PARENT}-01", f"00-{TRACE}-{PARENT}-00"
OPENMETRICS = {"Accept": "application/openmetrics-text; version=1.0.0"}


@pytest.mark.parametrize("header, found", [
    (KEPT, (int(TRACE, 16), int(PARENT, 16), True)),
    (NOT_KEPT, (int(TRACE, 16), int(PARENT, 16), False)),
    (f" {KEPT[:-2]}03\t", (int(TRACE, 16), int(PARENT, 16), True)),
    (f"cc{KEPT[2:]}-more", (int(TRACE, 16), int(PARENT, 16), True)),
    *[(broken, None) for broken in (
        "", "-", KEPT[:-1], KEPT + "-more", KEPT.upper(), "ff" + KEPT[2:], f"00-{'0' * 32}-{PARENT}-01",
        f"00-{TRACE}-{'0' * 16}-01", KEPT + "\n", KEPT + "," + KEPT, f"00-{TRACE}-{PARENT}-0x", "é", f"cc{KEPT[2:]}more",
    )],
])  # fmt: skip
def test_a_traceparent_is_read_as_the_standard_has_it(header, found):
    assert read_traceparent(header) == found


def test_opentelemetry_is_imported_only_where_spans_are_asked_for():
    code = "import sys, course_lib.serving.__main__; sys.exit('opentelemetry' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=CHECKOUT).returncode == 0


def spans(file: Path) -> list[dict]:
    return [json.loads(line) for line in file.read_text().splitlines()]


@pytest.fixture(scope="module")
def traced(models, tmp_path_factory):
    """(a server that keeps each trace that begins there, the file of its spans)."""
    folder = tmp_path_factory.mktemp("traced")
    server = start(folder / "log", models, "--traces", str(folder / "spans"), "--threads", "1", "--reload-seconds", "0")
    yield server, folder / "spans"
    assert server.stop() == 0 and "traceback" not in server.log.read_text()


def kept_of(traced: tuple[Server, Path], request_id: str, count: int) -> dict[str, dict]:
    """The spans of a request by name, once so many of its trace are there."""
    (line,) = [line for line in traced[0].lines("request") if line["request_id"] == request_id]
    trace = line["trace_id"]
    found = until(
        lambda: len(mine := [each for each in spans(traced[1]) if each["trace_id"] == trace]) >= count and mine
    )
    assert len(found) == count and line["span_id"] in [each["span_id"] for each in found]
    return {each["name"]: each for each in found}


def test_a_request_s_spans_are_its_queue_its_batch_and_its_computation(traced):
    asked = {"traceparent": KEPT, "X-Request-Id": "way"}
    assert traced[0].ask("POST", DIGITS, {"instances": [IMAGE, IMAGE]}, asked).status == 200
    found = kept_of(traced, "way", 4)
    root, queue, batch, compute = (found[name] for name in ("v1", "queue", "batch", "compute"))
    assert (root["trace_id"], root["parent_id"], root["kind"]) == (TRACE, PARENT, "SERVER")
    assert queue["parent_id"] == batch["parent_id"] == root["span_id"] and compute["parent_id"] == batch["span_id"]
    moments = [each[key] for each, key in (
        (root, "start_ns"), (queue, "start_ns"), (queue, "end_ns"), (batch, "start_ns"), (compute, "start_ns"),
        (compute, "end_ns"), (batch, "end_ns"), (root, "end_ns"),
    )]  # fmt: skip
    assert moments == sorted(moments)
    assert root["attributes"] == {"http.response.status_code": 200, "model.name": "digits", "model.version": "10"}
    assert batch["attributes"]["batch.samples"] == 2 and batch["attributes"]["batch.requests"] == 1
    assert {each["service"] for each in found.values()} == {"model-server"}


def test_a_trace_that_is_not_kept_elsewhere_is_not_kept_here_and_the_log_says_so(traced):
    traced[0].ask("POST", DIGITS, {"instances": [IMAGE]}, {"traceparent": NOT_KEPT, "X-Request-Id": "dropped"})
    before = len([each for each in spans(traced[1]) if each["trace_id"] == TRACE])
    traced[0].ask("POST", DIGITS, {"instances": [IMAGE]}, {"X-Request-Id": "after"})
    kept_of(traced, "after", 4)
    (line,) = [line for line in traced[0].lines("request") if line["request_id"] == "dropped"]
    assert (line["trace_id"], line["trace_flags"]) == (TRACE, "00")
    assert len([each for each in spans(traced[1]) if each["trace_id"] == TRACE]) == before


@pytest.mark.parametrize("broken", ["", "00-abc", KEPT + "-more", "\xff" * 55, "ff" + KEPT[2:]])
def test_a_traceparent_that_is_none_begins_a_new_trace(traced, broken):
    name = f"broken-{len(broken)}-{broken[:2] == 'ff'}"
    asked = {"traceparent": broken.encode("latin-1"), "X-Request-Id": name}
    assert traced[0].ask("POST", DIGITS, {"instances": [IMAGE]}, asked).status == 200
    root = kept_of(traced, name, 4)["v1"]
    assert root["parent_id"] is None and root["trace_id"] != TRACE


def test_what_is_refused_has_a_span_and_health_has_none(traced):
    traced[0].ask("POST", DIGITS, {"instances": []}, {"X-Request-Id": "refused"})
    found = kept_of(traced, "refused", 1)
    assert found["v1"]["attributes"]["http.response.status_code"] == 400 and not found["v1"]["error"]
    (line,) = [line for line in traced[0].lines("request") if line["path"] == "/v2/health/ready"] or [{}]
    assert "trace_id" not in line


def test_one_that_gave_up_in_the_queue_was_in_the_queue(traced):
    server = traced[0]
    slow = threading.Thread(
        target=server.ask, args=("POST", "/v1/models/slow:predict", {"instances": [[0.0] * 4] * 30})
    )
    slow.start()
    answers = []
    for number in range(200):  # until one meets the thread busy
        asked = {"X-Request-Timeout-Ms": "1", "X-Request-Id": f"late-{number}"}
        answers.append(server.ask("POST", "/v1/models/slow:predict", {"instances": [[0.0] * 4]}, asked).status)
        (line,) = [line for line in server.lines("request") if line["request_id"] == f"late-{number}"]
        if answers[-1] == 504:
            break
    slow.join()
    assert answers[-1] == 504
    mine = until(lambda: [each for each in spans(traced[1]) if each["trace_id"] == line["trace_id"]])
    root = next(each for each in mine if each["name"] == "v1")
    assert root["error"] and "queue" in [each["name"] for each in mine]


def test_the_share_holds_for_traces_that_begin_here(models, tmp_path):
    file = tmp_path / "spans"
    server = start(tmp_path / "log", models, "--traces", str(file), "--trace-ratio", "0", "--reload-seconds", "0")
    for asked in ({}, {"traceparent": "broken"}, {"traceparent": KEPT}):
        assert server.ask("POST", DIGITS, {"instances": [IMAGE]}, asked).status == 200
    assert server.stop() == 0
    assert {each["trace_id"] for each in spans(file)} == {TRACE} and len(spans(file)) == 4


def test_a_bucket_leads_to_a_trace_that_is_kept(traced):
    other = TRACE[::-1]
    for header in (KEPT, NOT_KEPT.replace(TRACE, other)):
        traced[0].ask("POST", DIGITS, {"instances": [IMAGE]}, {"traceparent": header})
    answer = traced[0].ask("GET", "/metrics", headers=OPENMETRICS)
    assert answer.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    told = {family.name: family for family in text_string_to_metric_families(answer.body.decode())}
    seconds = told["model_server_request_duration_seconds"].samples
    found = [each.exemplar for each in seconds if each.exemplar]
    assert found and not [each for each in found if each.labels["trace_id"] == other]
    kept = {each["trace_id"] for each in until(lambda: spans(traced[1]))}
    assert {each.labels["trace_id"] for each in found} <= kept
    for each in seconds:  # the value lies in its bucket
        assert not each.exemplar or each.exemplar.value <= float(each.labels["le"])


def test_prometheus_own_format_stays_as_it_was(traced):
    answer = traced[0].ask("GET", "/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4") and b"trace_id" not in answer.body


def test_nothing_of_what_was_asked_is_in_logs_spans_or_metrics(traced):
    server, file = traced
    mark, number = "alice-1987", 0.7195837
    headers = dict.fromkeys(
        ("Authorization", "Cookie", "X-Client-Id", "User-Agent", "traceparent", "Content-Type"), mark
    )
    headers |= {"tracestate": f"v={mark}", "baggage": f"user={mark}"}
    image = [[[number] * 8] * 8]
    for path, body in (
        (DIGITS, {"instances": [image], mark: mark}),
        (DIGITS, {"instances": [mark]}),
        (DIGITS, mark.encode()),
        (f"{DIGITS}?user={mark}", {"instances": [image]}),
        ("/v1/models/text:predict", {"instances": [mark]}),
        ("/v2/models/digits/infer", {"inputs": [{"name": mark, "shape": [1], "datatype": mark, "data": [number]}]}),
        ("/v2/models/digits/infer", {"id": mark, "parameters": {mark: mark}, "inputs": []}),
    ):
        server.ask("POST", path, body, headers | {"X-Request-Id": "marked"})
        server.ask("POST", path, body, headers | {"X-Request-Timeout-Ms": mark})
        server.ask("POST", path, body, headers | {"Content-Encoding": mark})
    for raw in (f"{mark} / HTTP/1.1", f"GET {mark} HTTP/1.1", f"GET http://[{mark}/ HTTP/1.1", f"GET / {mark}/1.1"):
        server.raw(f"{raw}\r\n\r\n".encode(), wait=2)
    server.raw(f"GET / HTTP/1.1\r\n{mark}\r\n\r\n".encode(), wait=2)
    server.ask("POST", DIGITS, {"instances": [IMAGE]}, {"X-Request-Id": "end-of-marks"})
    kept_of(traced, "end-of-marks", 4)
    for text in (
        server.log.read_text(),
        file.read_text(),
        server.ask("GET", "/metrics", headers=OPENMETRICS).body.decode(),
    ):
        assert mark not in text and str(number) not in text and "marked" not in file.read_text()


@posix
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_a_full_disk_under_the_spans_costs_spans_and_nothing_else(models, tmp_path):
    server = start(tmp_path / "log", models, "--traces", "/dev/full", "--reload-seconds", "0")
    assert all(server.works() for _ in range(3))
    until(lambda: "Exception while exporting" in server.log.read_text())
    assert server.works() and server.stop() == 0


def refusal(models: Path, *arguments: str, before: str = "") -> tuple[int, str]:
    code = f"import sys; {before}from course_lib.serving.__main__ import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "--models", str(models), "--port", "0", *arguments]
    ended = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, timeout=60)
    return ended.returncode, ended.stderr


def test_what_cannot_be_traced_is_refused_at_the_start(models, tmp_path):
    code, said = refusal(models, "--traces", str(tmp_path / "no" / "spans"))
    assert code == 2 and "cannot trace" in said and "Traceback" not in said
    missing = "sys.modules['opentelemetry'] = None; "
    code, said = refusal(models, "--traces", str(tmp_path / "spans"), before=missing)
    assert code == 2 and "pip install opentelemetry-sdk" in said and "Traceback" not in said
    code, said = refusal(models, "--trace-ratio", "2")
    assert code == 2 and "expected a number from 0 to 1, got '2'" in said
