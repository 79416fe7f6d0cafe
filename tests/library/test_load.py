"""Load: arrivals as theory has them, and latencies that count from when a request was due. No test here asserts a speed."""

import http.server
import threading
import time

import numpy as np
import pytest

from course_lib.measure import load


def test_gaps_between_arrivals_are_exponential():
    from scipy import stats

    gaps = np.diff(load.poisson_arrivals(200, 50_000, seed=0), prepend=0)
    assert abs(200 * gaps.mean() - 1) < 0.02
    assert abs(200**2 * gaps.var() - 1) < 0.05
    assert stats.kstest(gaps, stats.expon(scale=1 / 200).cdf).pvalue > 0.01


def test_arrivals_follow_their_seed_and_rise():
    one, again, other = (load.poisson_arrivals(10, 100, seed) for seed in (1, 1, 2))
    assert np.array_equal(one, again) and not np.array_equal(one, other)
    assert (np.diff(one) >= 0).all() and one[0] > 0
    assert load.poisson_arrivals(10, 0, seed=1).shape == (0,)


@pytest.mark.parametrize("rate", [0, -1, float("nan"), float("inf")])
def test_a_rate_that_is_none_is_refused(rate):
    with pytest.raises(ValueError, match="expected a rate"):
        load.poisson_arrivals(rate, 10, seed=0)


def test_a_percentile_is_the_smallest_measurement_that_the_share_does_not_exceed():
    ten = np.arange(10, 0, -1.0)
    assert [load.percentile(ten, share) for share in (0.05, 0.1, 0.5, 0.9, 0.91, 1)] == [1, 1, 5, 9, 10, 10]
    assert load.percentile(np.array([1.0, np.inf]), 0.99) == np.inf
    for measurements, share in ((np.array([]), 0.5), (ten, 0), (ten, 99)):
        with pytest.raises(ValueError, match="expected measurements"):
            load.percentile(measurements, share)


def test_a_request_that_waits_in_the_queue_is_charged_for_it():
    outcome = load.simulate(np.array([0.0, 1.0, 2.0, 10.0]), np.array([3.0, 1.0, 1.0, 1.0]))
    assert outcome.started_s.tolist() == [0, 3, 4, 10]
    assert outcome.latency_ms.tolist() == [3000, 3000, 3000, 1000]
    assert outcome.service_ms.tolist() == [3000, 1000, 1000, 1000]
    assert outcome.throughput_per_s == 4 / 11


def test_one_worker_and_several_agree_with_a_plain_loop():
    random = np.random.default_rng(0)
    due, service = np.sort(random.uniform(-5, 45, 200)), random.exponential(0.5, 200)
    for workers in (1, 2, 5):
        free, done = [-np.inf] * workers, []
        for arrives, takes in zip(due, service):
            first = free.index(min(free))
            free[first] = max(arrives, free[first]) + takes
            done.append(free[first])
        assert np.allclose(load.simulate(due, service, workers=workers).done_s, done)


def test_the_simulated_queue_waits_as_long_as_queueing_theory_says():
    due = load.poisson_arrivals(80, 400_000, seed=3)
    service = np.random.default_rng(4).exponential(1 / 100, len(due))
    mean_s = load.simulate(due, service).latency_ms.mean() / 1000
    assert abs(mean_s * (100 - 80) - 1) < 0.1  # M/M/1: 1 / (μ − λ)


def test_an_open_loop_keeps_its_schedule_and_a_stall_is_seen_by_those_behind_it():
    due = np.arange(20) * 0.01
    outcome = load.open_loop(lambda number: time.sleep(0.2 if number == 5 else 0), due)
    assert np.array_equal(outcome.due_s, due)
    assert (outcome.started_s >= due - 1e-9).all() and (outcome.done_s >= outcome.started_s).all()
    behind = outcome.latency_ms[6:15]
    assert (behind > 50).all() and not outcome.failed.any()
    closed = load.closed_loop(lambda number: time.sleep(0.2 if number == 5 else 0), 20)
    assert np.array_equal(closed.due_s, closed.started_s)
    assert (closed.latency_ms >= 200).sum() >= 1 and np.array_equal(closed.latency_ms, closed.service_ms)


def test_workers_share_the_requests_and_each_is_made_once():
    seen = []
    outcome = load.open_loop(seen.append, np.zeros(200), workers=4)
    assert sorted(seen) == list(range(200)) and len(outcome.done_s) == 200
    seen.clear()
    load.closed_loop(seen.append, 50, workers=3)
    assert sorted(seen) == list(range(50))


def test_a_call_that_fails_is_counted_by_name_and_no_percentile_hides_it():
    def call(number):
        if number % 2:
            raise TimeoutError("too late")

    outcome = load.open_loop(call, np.zeros(10))
    assert outcome.failed.tolist() == [False, True] * 5 and outcome.errors == {"TimeoutError": 5}
    assert np.isinf(outcome.latency_ms[1::2]).all() and load.percentile(outcome.latency_ms, 0.9) == np.inf


@pytest.mark.parametrize("arguments", [([],), ([2.0, 1.0],), ([[1.0]],)])
def test_what_is_no_schedule_is_refused(arguments):
    with pytest.raises(ValueError, match="expected"):
        load.open_loop(print, np.array(*arguments))
    with pytest.raises(ValueError, match="expected"):
        load.simulate(np.array(*arguments), 1.0)


def test_no_worker_no_request_and_negative_service_are_refused():
    with pytest.raises(ValueError, match="expected"):
        load.closed_loop(print, 0)
    with pytest.raises(ValueError, match="expected"):
        load.open_loop(print, np.zeros(1), workers=0)
    with pytest.raises(ValueError, match="expected"):
        load.simulate(np.zeros(1), -1.0)


class _Service(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.answer(b"", 200)

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if body == b"slow":
            time.sleep(0.5)
        self.answer(body, 429 if body == b"much" else 200)
        self.close_connection = body == b"last"  # without a word, as servers close what stood idle

    def answer(self, body, status):
        self.server.peers.add(self.client_address)
        said = f"{self.command} {self.headers['Content-Type']} {self.headers['X-Own']} ".encode() + body
        self.send_response(status)
        self.send_header("Retry-After", "3")
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def log_message(self, *_):
        pass


@pytest.fixture
def service():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Service)
    server.daemon_threads, server.block_on_close, server.peers = True, False, set()
    server.handle_error = lambda *_: None  # a client that gives up
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_a_wire_asks_keeps_its_connection_and_gives_each_thread_its_own(service):
    wires = load.Wires(f"http://127.0.0.1:{service.server_port}")
    assert wires.ask("/").body == b"GET None None "
    posted = wires.ask("/", b"much", {"X-Own": "1"})
    assert posted == load.Reply(429, posted.headers, b"POST application/json 1 much")
    assert posted.headers["retry-after"] == "3"
    assert len(service.peers) == 1
    outcome = load.closed_loop(lambda number: wires.ask("/"), 30, workers=3)
    assert not outcome.failed.any() and len(service.peers) <= 3
    wires.close()


def test_a_wire_gives_up_in_time_and_asks_again_on_a_new_connection(service):
    wires = load.Wires(f"http://127.0.0.1:{service.server_port}", timeout_s=0.1)
    with pytest.raises(TimeoutError):
        wires.ask("/", b"slow")
    assert wires.ask("/", b"again").body == b"POST application/json None again"
    wires.close()


def test_a_wire_that_the_service_has_closed_meanwhile_is_opened_anew(service):
    wires = load.Wires(f"http://127.0.0.1:{service.server_port}")
    wires.ask("/", b"last")
    time.sleep(0.1)
    assert wires.ask("/", b"again").status == 200 and len(service.peers) == 2
    wires.close()


@pytest.mark.parametrize("url", ["https://127.0.0.1:1", "127.0.0.1:80", "http://host"])
def test_a_wire_needs_an_address(url):
    with pytest.raises(ValueError, match="expected http"):
        load.Wires(url)
