"""What the server tells about itself: metrics for Prometheus, and a line of JSON for each request."""

import re
from datetime import datetime

import pytest
from prometheus_client.parser import text_string_to_metric_families

from course_lib.serving.telemetry import SAMPLES, SECONDS, Tally
from tests.serving.conftest import DIGITS, IMAGE, Local

LOOKUP = "/v1/models/lookup:predict"


def families(local: Local) -> dict:
    answer = local.ask("GET", "/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    return {family.name: family for family in text_string_to_metric_families(answer.body.decode())}


def sample(local: Local, name: str, **labels: str) -> float | None:
    found = [each for family in families(local).values() for each in family.samples if each.name == name]
    return next((each.value for each in found if labels.items() <= each.labels.items()), None)


@pytest.fixture
def fresh(models):
    with Local(models) as application:
        yield application


def test_names_units_and_labels_follow_the_conventions(fresh):
    fresh.ask("POST", LOOKUP, {"instances": [1]})
    ours = {name: family for name, family in families(fresh).items() if name.startswith("model_server_")}
    assert {name: (family.type, family.documentation[-1]) for name, family in ours.items()} == {
        "model_server_requests": ("counter", "."),
        "model_server_request_duration_seconds": ("histogram", "."),
        "model_server_queue_duration_seconds": ("histogram", "."),
        "model_server_inference_duration_seconds": ("histogram", "."),
        "model_server_batch_size": ("histogram", "."),
        "model_server_queue_samples": ("gauge", "."),
        "model_server_model_loaded": ("gauge", "."),
        "model_server_model_refused": ("gauge", "."),
        "model_server_last_look_timestamp_seconds": ("gauge", "."),
    }
    for family in ours.values():
        for each in family.samples:
            assert each.labels.keys() <= {"model", "version", "protocol", "code", "le"}
            assert family.type != "counter" or each.name.endswith(("_total", "_created"))
    assert "process_resident_memory_bytes" in families(fresh)


def test_requests_are_counted_by_model_version_protocol_and_status(fresh):
    for value in (1, 2, 9):
        fresh.ask("POST", LOOKUP, {"instances": [value]})
    fresh.ask("GET", "/v2/models/lookup")
    told = {"model": "lookup", "version": "1"}
    assert sample(fresh, "model_server_requests_total", **told, protocol="v1", code="200") == 2
    assert sample(fresh, "model_server_requests_total", **told, protocol="v1", code="400") == 1
    assert sample(fresh, "model_server_requests_total", **told, protocol="v2", code="200") == 1
    assert sample(fresh, "model_server_request_duration_seconds_count", **told) == 4
    assert sample(fresh, "model_server_inference_duration_seconds_count", **told) == 3
    assert sample(fresh, "model_server_queue_duration_seconds_count", **told) == 3
    assert sample(fresh, "model_server_batch_size_sum", **told) == 3
    assert sample(fresh, "model_server_queue_samples") == 0
    assert sample(fresh, "model_server_model_loaded", model="digits", version="10") == 1


def test_what_clients_make_up_makes_no_labels(fresh):
    for number in range(50):
        fresh.ask("POST", f"/v1/models/made-up-{number}:predict", {"instances": [1]})
        fresh.ask("GET", f"/v2/models/made-up-{number}/ready")
        fresh.ask("GET", f"/made/up/{number}")
        fresh.ask("MADE-UP", f"/v1/models/digits/versions/{number + 50}")
    requests = families(fresh)["model_server_requests"].samples
    assert len(requests) <= 8 and not [each for each in requests if "made" in str(each.labels).lower()]
    assert sample(fresh, "model_server_requests_total", model="", protocol="v1", code="404") == 50


def test_a_histogram_counts_what_is_at_its_bound_into_its_bucket():
    for bounds in (SECONDS, SAMPLES):
        tally = Tally(bounds)
        for bound in bounds:
            tally.observe(bound)
        tally.observe(1e9)
        assert [count for _, count in tally.buckets()] == [*range(1, len(bounds) + 1), len(bounds) + 1]
        assert tally.buckets()[-1][0] == "+Inf"


def test_a_request_id_is_returned_and_told(server):
    answer = server.ask("GET", "/", headers={"X-Request-Id": "trace-7.a_B"})
    assert answer.headers["x-request-id"] == "trace-7.a_B" and answer.headers["x-served-by"]
    assert [line["path"] for line in server.lines("request") if line["request_id"] == "trace-7.a_B"] == ["/"]


@pytest.mark.parametrize("unfit", ["", "a b", "{}", "a" * 129, "é", "a,b", '"', "a;b"])
def test_a_request_id_that_is_unfit_for_a_log_is_replaced_by_one_of_its_own(server, unfit):
    headers = {"X-Request-Id": unfit.encode("latin-1")}
    first, second = (server.ask("GET", "/", headers=headers).headers["x-request-id"] for _ in range(2))
    assert re.fullmatch("[A-Za-z0-9._-]{1,128}", first) and first not in (second, unfit)


def test_the_log_has_one_line_a_request_and_no_data(server):
    image = [[[0.123456] * 8] * 8]
    server.ask("POST", DIGITS + "?secret=0.123456", {"instances": [image]}, {"X-Request-Id": "logged"})
    refused = {"X-Request-Id": "refused"}
    server.ask("POST", "/v1/models/text:predict", {"instances": [["0.123456"]]}, refused)
    (line,) = [line for line in server.lines() if line.get("request_id") == "logged"]
    assert line.keys() == {"time", "level", "event", "request_id", "method", "path", "status", "duration_ms"}
    assert (line["event"], line["method"], line["path"], line["status"]) == ("request", "POST", DIGITS, 200)
    assert line["duration_ms"] > 0 and datetime.fromisoformat(line["time"]).utcoffset().total_seconds() == 0
    assert "0.123456" not in server.log.read_text()


def test_the_log_tells_what_was_loaded_and_where_it_listens(server):
    events = [line["event"] for line in server.lines()]
    ready = events.index("ready")
    assert events[:ready].count("version loaded") == ready - 1 and events[:ready].count("labels set") == 1
    assert server.lines()[ready]["port"] == server.port
    assert server.lines()[ready]["models"]["digits"] == [10, 1]


@pytest.mark.parametrize(
    "path", ["/%FF%00", "/v1/models/%E2%82%AC%0A:predict", "/v2/models/%22%7B/infer", "/%ED%A0%80"]
)
def test_an_odd_path_is_answered_and_told_in_one_line_of_json(server, path):
    before = len(server.lines())
    answer = server.ask("POST", path, {"instances": [IMAGE]})
    assert answer.status == 404 and answer.error
    assert len(server.lines()) == before + 1
    assert len(server.ask("GET", "/" + "a" * 5000).error) < 1000 and len(server.lines()[-1]["path"]) == 200
