"""An engine that accepts and never answers, in the middle of a live function."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from course_lib.ops import hang, reach
from course_lib.ops.hang import Hangs, broken_off
from course_lib.ops.reach import Found
from tests.ops.stand_ins import posix

pytestmark = posix


class Engine(BaseHTTPRequestHandler):
    """Tells its version, until `server.hangs`: from then on it takes every request and answers none."""

    def do_GET(self):
        if self.server.hangs.is_set():
            self.server.ended.wait(60)
            return
        body = json.dumps({"Version": "28.1", "ApiVersion": "1.44"}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def engine(monkeypatch):
    """An engine that DOCKER_HOST names; the questions to it and the patience with it are short."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Engine)
    server.hangs, server.ended, server.daemon_threads = threading.Event(), threading.Event(), True
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    monkeypatch.setenv("DOCKER_HOST", f"tcp://127.0.0.1:{server.server_port}")
    monkeypatch.setattr(reach, "SECONDS", 0.3)
    for name, seconds in (("PATIENCE_S", 1.0), ("PAUSE_S", 0.1), ("AGAIN_S", 0.2)):
        monkeypatch.setattr(hang, name, seconds)
    yield server
    server.ended.set()
    server.shutdown()
    server.server_close()


def test_a_call_that_waits_for_it_is_ended_and_so_is_the_one_that_cleans_up(engine):
    client, began = reach.docker_client(), time.monotonic()
    with pytest.raises(Hangs, match="no answer for 1.0 s"), broken_off(("docker",)):
        engine.hangs.set()
        try:
            client.info()
        finally:
            client.info()
    assert 0.9 < time.monotonic() - began < 20, "not the 300 s of the client"


def test_a_long_silence_of_one_call_is_none_of_an_engine_that_answers_others(engine):
    with broken_off(("docker",)):
        time.sleep(2)
    time.sleep(0.3)  # and nothing comes afterwards


def test_a_learners_own_interrupt_stays_one(engine):
    with pytest.raises(KeyboardInterrupt), broken_off(("docker",)):
        raise KeyboardInterrupt


def test_in_another_thread_it_only_runs(engine):
    engine.hangs.set()
    ran = []

    def act():
        with broken_off(("docker",)):
            ran.append(True)

    thread = threading.Thread(target=act)
    thread.start()
    thread.join()
    assert ran


def test_a_cluster_is_asked_as_well(monkeypatch, engine):
    monkeypatch.setattr(reach, "cluster_version", lambda *_: Found(False, reason="it hangs"))
    with pytest.raises(Hangs), broken_off(("docker", "kubernetes")):
        time.sleep(30)
