"""The services around the model server, each a process of its own, asked over HTTP."""

import asyncio
import http.client
import json
import os
import signal
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

import numpy as np
import pytest

from course_lib import data
from course_lib.ops.service import start_module
from course_lib.services import feedback, gateway, preprocess, process, upstream
from tests.ops.stand_ins import posix

ROWS = np.eye(10)[[7, 2]].tolist()


def send(url: str, method: str, path: str, body: object = None, **headers: str) -> tuple[int, dict, dict]:
    """Status, answer and headers; underscores in a header's name stand for hyphens."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=10)
    try:
        raw = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        connection.request(method, path, raw, {name.replace("_", "-"): value for name, value in headers.items()})
        response = connection.getresponse()
        text = response.read()
        return (
            response.status,
            json.loads(text) if text[:1] in (b"{", b"[") else {"text": text.decode()},
            dict(response.headers),
        )
    finally:
        connection.close()


class Behind(ThreadingHTTPServer):
    """A stand-in for a service behind the gateway. plan: what the next requests meet, then 200; seen: what came; more:
    further headers of its answers."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.plan, self.seen, self.version, self.rows, self.more = [], [], "3", ROWS, {}
        self.url = f"http://127.0.0.1:{self.server_port}"
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        states = [{"version": self.server.version, "state": "AVAILABLE"}]
        self.reply(200, {"model_version_status": states})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.seen.append((self.path, dict(self.headers), body))
        step = self.server.plan.pop(0) if self.server.plan else 200
        if step == "hang up":
            self.close_connection = True
            self.connection.close()
        elif isinstance(step, float):
            time.sleep(step)
            self.reply(200, {"predictions": self.server.rows})
        else:
            self.reply(step, {"predictions": self.server.rows} if step == 200 else {"error": f"a {step}"})

    def reply(self, status: int, content: dict) -> None:
        raw = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(raw)))
        for name, value in self.server.more.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(raw)


@pytest.fixture
def behind():
    servers = []

    def start() -> Behind:
        servers.append(Behind())
        return servers[-1]

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def run(tmp_path):
    """`run("gateway", …)` starts a service; it is stopped in the end."""
    running = []

    def start(name: str, *arguments: str):
        log = tmp_path / f"{name}-{len(running)}.log"
        running.append(start_module(f"course_lib.services.{name}", arguments, log))
        return running[-1]

    yield start
    for each in running:
        each.stop()


PIXELS = {"pixels": np.zeros((2, 1, 8, 8)).tolist()}


# Preprocessing


def test_bitmaps_colour_pictures_and_strokes_become_the_training_s_pixels():
    bitmap = np.random.default_rng(0).random((32, 32)) < 0.3
    colours = np.where(bitmap[..., None], 20, 240).repeat(3, axis=2)
    strokes = [[[0, 0], [1, 3]], [[1, 1], [2, 0]]]
    for body, expected in (
        ({"bitmaps": [bitmap.astype(int).tolist()]}, data.from_bitmap(bitmap)),
        ({"rgb": [colours.tolist()]}, data.from_bitmap(bitmap)),
        ({"strokes": [strokes]}, data.from_strokes(strokes)),
    ):
        found = preprocess.to_pixels(body)
        assert found.shape == (1, 1, 8, 8) and found.dtype == np.float32 and np.array_equal(found[0, 0], expected)


@pytest.mark.parametrize("body", [
    {}, {"bitmaps": []}, {"bitmaps": 3}, {"bitmaps": [[1]]}, {"bitmaps": [None]}, {"bitmaps": [["a"]]}, {"rgb": [[[1, 2, 3]]]},
    {"strokes": [[[1, 2], [3]]]}, {"strokes": [5]}, {"strokes": [["x"]]}, {"bitmaps": [[1]], "rgb": [[1]]},
    {"bitmaps": [[[0] * 32] * 31 + [[0] * 31]]}, {"bitmaps": [[[0] * 32] * 32] * 257}, {"strokes": [[[[float("inf"), 1], [2, 3]]]]},
])  # fmt: skip
def test_what_is_no_drawing_is_refused_with_a_sentence(body):
    with np.errstate(invalid="ignore"), pytest.raises(process.Refused) as refused:
        preprocess.to_pixels(body)
    assert refused.value.status == 400 and refused.value.message


def test_over_http_mistakes_get_their_status_and_the_service_outlives_them(run):
    url = run("preprocess").url
    assert send(url, "POST", "/pixels", b"{")[0] == 400
    assert send(url, "POST", "/pixels", b"[1]")[0] == 400
    assert send(url, "POST", "/pixels", b" " * (process.MAX_BODY_BYTES + 1))[0] == 413
    assert send(url, "GET", "/pixels")[0] == 405
    assert send(url, "POST", "/nothing", {})[0] == 404
    good = {"bitmaps": [np.ones((32, 32), int).tolist()]}
    assert send(url, "POST", "/pixels", good, X_Request_Timeout_Ms="soon")[0] == 400
    status, found, headers = send(url, "POST", "/pixels", good, X_Request_Id="mine-1")
    assert status == 200 and np.array_equal(found["pixels"], np.ones((1, 1, 8, 8)))
    assert headers["x-request-id"] == "mine-1"
    for unfit in ("not mine\t!", "é", "a" * 129):
        assert len(send(url, "POST", "/pixels", good, X_Request_Id=unfit)[2]["x-request-id"]) == 32


# Feedback


def test_feedback_is_kept_once_for_each_key_and_listed_in_order(run, tmp_path):
    url = run("feedback", "--file", str(tmp_path / "f.db")).url
    news = {"label": 3, "prediction": 8, "request_id": "r1", "model_version": "2", "pixels": np.ones((8, 8)).tolist()}
    assert send(url, "POST", "/feedback", news, Idempotency_Key="a")[:2] == (201, {"id": 1})
    assert send(url, "POST", "/feedback", news, Idempotency_Key="a")[:2] == (200, {"id": 1})
    assert send(url, "POST", "/feedback", news | {"label": 4}, Idempotency_Key="a")[0] == 422
    assert send(url, "POST", "/feedback", {"label": 4}, Idempotency_Key="b")[:2] == (201, {"id": 2})
    assert send(url, "POST", "/feedback", news)[0] == 400
    rows = send(url, "GET", "/feedback")[1]["feedback"]
    assert (
        [row["label"] for row in rows] == [3, 4] and rows[0]["pixels"] == news["pixels"] and rows[1]["pixels"] is None
    )
    assert [row["id"] for row in send(url, "GET", "/feedback?after=1&limit=5")[1]["feedback"]] == [2]
    assert send(url, "GET", "/feedback?after=x")[0] == 400


@pytest.mark.parametrize("wrong", [
    {}, {"label": 10}, {"label": -1}, {"label": True}, {"label": "3"}, {"label": 2.0}, {"label": 1, "prediction": 11},
    {"label": 1, "request_id": 5}, {"label": 1, "model_version": "v" * 65}, {"label": 1, "pixels": [[1]]}, {"label": 1, "pixels": [["a"] * 8] * 8},
])  # fmt: skip
def test_what_is_no_feedback_is_refused(wrong):
    with pytest.raises(process.Refused):
        feedback.valid(wrong)


def test_of_many_threads_with_one_key_one_is_the_first(tmp_path):
    store = feedback.Store(tmp_path / "f.db")
    found = []
    threads = [threading.Thread(target=lambda: found.append(store.keep("k", {"label": 1}))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    store.close()
    assert sorted(found) == [(1, False)] * 7 + [(1, True)]


# The gateway


def test_a_drawing_goes_through_preprocessing_and_the_request_id_all_the_way(run, behind):
    predictor = behind()
    gate = run("gateway", "--predictor", predictor.url, "--preprocess", run("preprocess").url)
    drawing = {"bitmaps": [np.ones((32, 32), int).tolist()] * 2}
    status, found, headers = send(gate.url, "POST", "/digits", drawing, X_Request_Id="r-7", X_Request_Timeout_Ms="900")
    assert (status, found) == (200, {"digits": [7, 2], "request_id": "r-7"}) and headers["x-request-id"] == "r-7"
    path, sent, body = predictor.seen[0]
    assert path == "/v1/models/digits_cnn:predict" and json.loads(body) == {"instances": np.ones((2, 1, 8, 8)).tolist()}
    assert sent["X-Request-Id"] == "r-7" and 0 < int(sent["X-Request-Timeout-Ms"]) <= 900
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


def test_retries_stay_within_their_budget():
    budget = upstream.RetryBudget(0.25, reserve=2)
    assert [budget.spend() for _ in range(3)] == [True, True, False]
    for _ in range(4):
        budget.earn()
    assert [budget.spend() for _ in range(2)] == [True, False]


def test_a_deadline_ends_the_wait_and_is_not_tried_again(run, behind):
    predictor = behind()
    gate = run("gateway", "--predictor", predictor.url)
    predictor.plan = [1.5]
    start = time.monotonic()
    assert send(gate.url, "POST", "/digits", PIXELS, X_Request_Timeout_Ms="100")[0] == 504
    assert time.monotonic() - start < 1.4 and len(predictor.seen) == 1
    for wrong in ("0", "-5", "soon", "1e3"):
        assert send(gate.url, "POST", "/digits", PIXELS, X_Request_Timeout_Ms=wrong)[0] == 400


def test_after_failures_in_a_row_the_service_is_left_alone_and_asked_again_later(run, behind):
    predictor = behind()
    gate = run(
        "gateway",
        "--predictor",
        predictor.url,
        "--attempts",
        "1",
        "--breaker-failures",
        "3",
        "--breaker-seconds",
        "0.5",
    )
    predictor.plan = [500] * 3
    assert [send(gate.url, "POST", "/digits", PIXELS)[0] for _ in range(3)] == [500] * 3
    status, said, headers = send(gate.url, "POST", "/digits", PIXELS)
    assert (
        status == 503 and "left alone" in said["error"] and headers["retry-after"] == "1" and len(predictor.seen) == 3
    )
    assert 'gateway_breaker_open{upstream="predictor-0"} 1.0' in send(gate.url, "GET", "/metrics")[1]["text"]
    time.sleep(0.6)
    assert send(gate.url, "POST", "/digits", PIXELS)[0] == 200


def test_one_hasty_client_does_not_open_the_breaker_for_all(run, behind):
    predictor = behind()
    gate = run("gateway", "--predictor", predictor.url, "--breaker-failures", "3", "--timeout-ms", "2000")
    predictor.plan = [0.2] * 5
    hasty = [send(gate.url, "POST", "/digits", PIXELS, X_Request_Timeout_Ms="20")[0] for _ in range(5)]
    assert hasty == [504] * 5 and send(gate.url, "POST", "/digits", PIXELS)[0] == 200


def test_nor_does_a_hasty_client_keep_it_closed(run, behind):
    predictor = behind()
    gate = run("gateway", "--predictor", predictor.url, "--breaker-failures", "3", "--timeout-ms", "2000",
               "--attempts", "1", "--breaker-seconds", "0.5")  # fmt: skip

    def ask(*plan: object) -> list[int]:
        predictor.plan = list(plan)
        hasty = [{"X_Request_Timeout_Ms": "20"} if isinstance(step, float) else {} for step in plan]
        return [send(gate.url, "POST", "/digits", PIXELS, **each)[0] for each in hasty]

    assert ask(500, 0.2, 500, 0.2, 500, 200) == [500, 504, 500, 504, 500, 503]
    time.sleep(0.6)
    assert ask(0.2, 500, 200) == [504, 500, 503]  # half-open, the hasty one has shown nothing
    time.sleep(0.6)
    assert ask(0.2, 200, 200) == [504, 200, 200]


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


def test_a_try_that_may_not_be_repeated_takes_nothing_from_the_budget(run, behind):
    predictor = behind()
    gate = run("gateway", "--predictor", predictor.url, "--attempts", "2", "--retry-share", "0",
               "--breaker-failures", "1000")  # fmt: skip
    predictor.plan = [503] * 100
    for _ in range(12):
        assert send(gate.url, "POST", "/digits", PIXELS)[0] == 503
    assert len(predictor.seen) == 12 + 10, "the reserve of ten pays for ten retries"


@pytest.mark.parametrize(
    "path", ["/v1/models/../../metrics", "/v1/models/%2e%2e/%2E./metrics", "/v2/models/a%3fb/infer"]
)
def test_what_is_passed_on_keeps_its_path(run, behind, path):
    predictor = behind()
    gate = run("gateway", "--predictor", predictor.url)
    assert send(gate.url, "POST", path, {})[0] == 200
    assert unquote(predictor.seen[0][0]) == unquote(path)


def test_the_version_that_answered_is_told_and_only_the_newest_is_kept(run, behind):
    predictor = behind()
    gate = run("gateway", "--predictor", predictor.url, "--cache", "9")
    for header in ("X-Model-Version", "x-model-version"):
        predictor.more = {header: "2"}  # the newest is 3
        for _ in range(2):
            headers = send(gate.url, "POST", "/digits", PIXELS)[2]
            assert (headers["x-model-version"], headers["x-cache"]) == ("2", "miss")


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


def test_a_server_that_answered_gets_no_copy_of_the_request(run, behind):
    stable, canary = behind(), behind()
    gate = run("gateway", "--predictor", f"{stable.url}=1", "--predictor", f"{canary.url}=1", "--shadow", canary.url)
    met = [send(gate.url, "POST", "/digits", PIXELS, X_Client_Id=f"c{i}")[2]["x-upstream"] for i in range(20)]
    until = time.monotonic() + 5
    while (text := send(gate.url, "GET", "/metrics")[1]["text"]) and time.monotonic() < until:
        if f'gateway_shadow_total{{answer="same"}} {met.count("predictor-0")}.0' in text:
            break
        time.sleep(0.02)
    assert "predictor-1" in met and f'{{answer="same"}} {met.count("predictor-0")}.0' in text
    assert len(canary.seen) == 20 and len(stable.seen) == met.count("predictor-0")


def test_a_shadow_gets_copies_and_its_failures_reach_nobody(run, behind):
    predictor, shadow = behind(), behind()
    gate = run("gateway", "--predictor", predictor.url, "--shadow", shadow.url, "--attempts", "1")
    kinds = ("same", "different", "failed")
    plans = ([], [[7, 3]], [500])

    def counted() -> dict[str, int]:
        text = send(gate.url, "GET", "/metrics")[1]["text"]
        return {kind: text.count(f'gateway_shadow_total{{answer="{kind}"}} 1.0') for kind in kinds}

    for number, plan in enumerate(plans, start=1):
        shadow.rows, shadow.plan = (np.eye(10)[plan[0]].tolist(), []) if plan and plan != [500] else (ROWS, list(plan))
        assert send(gate.url, "POST", "/digits", PIXELS)[1]["digits"] == [7, 2]
        until = time.monotonic() + 5
        while sum(counted().values()) < number and time.monotonic() < until:
            time.sleep(0.02)
        assert counted() == {kind: int(i < number) for i, kind in enumerate(kinds)}


def test_the_cache_answers_again_until_the_model_s_version_changes(run, behind):
    predictor = behind()
    gate = run("gateway", "--predictor", predictor.url, "--cache", "1", "--version-seconds", "0.05")
    other = {"pixels": np.ones((2, 1, 8, 8)).tolist()}

    def ask(body: dict) -> str:
        return send(gate.url, "POST", "/digits", body)[2]["x-cache"]

    assert [ask(PIXELS), ask(PIXELS), ask(other), ask(PIXELS), ask(PIXELS)] == ["miss", "hit", "miss", "miss", "hit"]
    predictor.version = "4"
    time.sleep(0.5)
    assert [ask(PIXELS), ask(PIXELS)] == ["miss", "hit"]
    assert send(gate.url, "POST", "/v1/models/digits_cnn/labels/stable:predict", b"{}")[2]["x-cache"] == "miss"
    assert send(gate.url, "POST", "/v1/models/digits_cnn/labels/stable:predict", b"{}")[2]["x-cache"] == "miss"
    predictor.plan = [404]
    assert send(gate.url, "POST", "/digits", other)[0] == 404 and ask(other) == "miss"  # a refusal is not kept


def test_a_cache_server_that_is_away_costs_no_answer(run, behind):
    gate = run("gateway", "--predictor", behind().url, "--cache", "redis://127.0.0.1:9")
    assert [send(gate.url, "POST", "/digits", PIXELS)[0] for _ in range(2)] == [200, 200]


@pytest.mark.parametrize("text", ["nonsense", "ftp://a", "http://a=-1", "http://a=x", ""])
def test_a_predictor_that_is_no_address_is_refused(text):
    with pytest.raises(gateway.argparse.ArgumentTypeError, match="expected URL or URL=weight"):
        gateway.weighted(text)


def test_memory_forgets_what_was_used_longest_ago():
    async def story() -> list:
        kept = gateway.Memory(2)
        for key in ("a", "b"):
            await kept.set(key, key.encode(), ex=1)
        await kept.get("a")
        await kept.set("c", b"c", ex=1)
        return [await kept.get(key) for key in ("a", "b", "c")]

    assert asyncio.run(story()) == [b"a", None, b"c"]


# The process


@posix
def test_told_to_end_a_service_lowers_readiness_answers_what_it_has_and_ends_with_0(run, behind):
    predictor = behind()
    gate = run("gateway", "--predictor", predictor.url, "--drain-seconds", "0.6", "--timeout-ms", "3000")
    predictor.plan = [1.0]
    found = []
    waiting = threading.Thread(target=lambda: found.append(send(gate.url, "POST", "/digits", PIXELS)[0]))
    waiting.start()
    while not predictor.seen:
        time.sleep(0.01)
    os.kill(gate.process.pid, signal.SIGTERM)
    time.sleep(0.2)
    assert send(gate.url, "GET", "/v2/health/ready")[0] == 503 and send(gate.url, "GET", "/v2/health/live")[0] == 200
    waiting.join()
    assert gate.process.wait(timeout=10) == 0 and found == [200]


def test_a_service_that_cannot_listen_says_why(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(RuntimeError, match="cannot listen"):
        start_module("course_lib.services.preprocess", [], tmp_path / "log", seconds=10, port=taken.getsockname()[1])


def test_each_request_is_a_json_line_without_its_data(run, behind, tmp_path):
    gate = run("gateway", "--predictor", behind().url)
    send(gate.url, "POST", "/digits", PIXELS, X_Request_Id="r-1")
    gate.stop()
    lines = [json.loads(line) for line in (tmp_path / "gateway-0.log").read_text().splitlines()]
    mine = [line for line in lines if line.get("request_id") == "r-1"]
    assert len(mine) == 1 and mine[0]["status"] == 200 and mine[0]["path"] == "/digits"
    assert not any("pixels" in json.dumps(line) for line in lines)
