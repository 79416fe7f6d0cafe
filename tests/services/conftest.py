"""What the services' tests share: a service as a process, a stand-in for what is behind the gateway, and the model
server's own models and process."""

import http.client
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import numpy as np
import pytest

from course_lib.ops.service import start_module
from tests.serving.conftest import models, server

__all__ = ["models", "server"]

ROWS = np.eye(10)[[7, 2]].tolist()
PIXELS = {"pixels": np.zeros((2, 1, 8, 8)).tolist()}


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
    """A stand-in for a service behind the gateway.

    plan: what the next POST requests meet, then 200: a status, seconds until a 200, "hang up", or "hang" until it is let
    go. seen: their path, headers and body; asked: method and address of every request. more: further headers of its
    answers. text: its answers to POST in the place of `rows`.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.plan, self.seen, self.asked, self.more = [], [], [], {}
        self.version, self.rows, self.text, self.let_go = "3", ROWS, None, threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}"
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        self.let_go.set()
        self.shutdown()
        self.server_close()

    def handle_error(self, *_: object) -> None:
        """A client that left is no news."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self.server.asked.append((self.command, self.path))
        states = [{"version": self.server.version, "state": "AVAILABLE"}]
        self.reply(200, {"model_version_status": states})

    do_HEAD = do_OPTIONS = do_GET

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.asked.append((self.command, self.path))
        self.server.seen.append((self.path, self.headers, body))
        step = self.server.plan.pop(0) if self.server.plan else 200
        if step == "hang":
            self.server.let_go.wait(30)
        if step in ("hang up", "hang"):
            self.close_connection = True
            self.connection.close()
        elif isinstance(step, float):
            time.sleep(step)
            self.reply(200, {"predictions": self.server.rows})
        else:
            self.reply(step, {"predictions": self.server.rows} if step == 200 else {"error": f"a {step}"})

    def reply(self, status: int, content: dict) -> None:
        raw = self.server.text if self.server.text is not None and status == 200 else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": len(raw), **self.server.more}.items():
            for each in value if isinstance(value, list) else [value]:
                self.send_header(name, str(each))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(raw)


@pytest.fixture
def behind():
    servers = []

    def start() -> Behind:
        servers.append(Behind())
        return servers[-1]

    yield start
    for each in servers:
        each.stop()


@pytest.fixture
def run(tmp_path):
    """`run("gateway", …)` starts a service; it is stopped in the end."""
    running = []

    def start(name: str, *arguments: str):
        if name == "gateway" and "--timeout-ms" not in arguments:
            arguments += ("--timeout-ms", "20000")  # on a busy machine, a second is soon over
        log = tmp_path / f"{name}-{len(running)}.log"
        running.append(start_module(f"course_lib.services.{name}", arguments, log))
        return running[-1]

    yield start
    for each in running:
        each.stop()
