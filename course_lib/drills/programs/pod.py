"""What runs in the pods of drill 4: `python pod.py server --version=8 …`, `python pod.py users`, `python pod.py collector`.

Standard library alone, since the image has nothing else. A server loads a "model", which is so much memory and so many
seconds, and listens only then. It answers one request at a time in WORK_S; LINE may wait, and more get 503. The users send
RATE requests a second to http://digits, each over a connection of its own, and print what became of each.
"""

import argparse
import http.client
import json
import signal
import socket
import sys
import threading
import time
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

WORK_S, LINE, RATE = 0.22, 12, 16
"""Four servers answer 18 requests a second, two of them 9."""

working, waiting = threading.Lock(), threading.Semaphore(LINE)


def tell(event: str, **more: object) -> None:
    print(json.dumps({"event": event} | more), flush=True)


class Handler(BaseHTTPRequestHandler):
    version = 0

    def do_GET(self) -> None:
        """/ready and /live: both answer as soon as the server listens."""
        self.answer(200, {})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if not waiting.acquire(blocking=False):
            return self.answer(503, {"error": "busy"})
        try:
            with working:
                time.sleep(WORK_S)
        finally:
            waiting.release()
        return self.answer(200, {"answer": 7})

    def answer(self, status: int, content: dict) -> None:
        body = json.dumps(content | {"pod": socket.gethostname(), "version": self.version}).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Says nothing of each request."""


def server(options: argparse.Namespace) -> None:
    tell("loading", version=options.version, seconds=options.load_s, model_mib=options.model_mib)
    parts = []
    for _ in range(options.model_mib):
        parts.append(b"x" * 2**20)
        time.sleep(options.load_s / options.model_mib)
    Handler.version = options.version
    listening = ThreadingHTTPServer(("", options.port), Handler)
    tell("ready", port=options.port)
    listening.serve_forever()


def collector(options: argparse.Namespace) -> None:
    """Counts drawings for the statistics. It serves nobody."""
    while True:
        tell("counted", drawings=0)
        time.sleep(30)


def users(options: argparse.Namespace) -> None:
    while True:
        threading.Thread(target=user, daemon=True).start()
        time.sleep(1 / RATE)


def user() -> None:
    began, seen = time.monotonic(), {}
    try:
        wire = http.client.HTTPConnection("digits", 80, timeout=5)
        wire.request("POST", "/predict", b"{}")
        reply = wire.getresponse()
        seen = {"status": reply.status} | {k: v for k, v in json.loads(reply.read()).items() if k in ("pod", "error")}
        wire.close()
    except Exception as wrong:
        seen = {"status": 0, "error": type(wrong).__name__}
    line = {"id": uuid.uuid4().hex[:8], **seen, "ms": round(1000 * (time.monotonic() - began))}
    sys.stdout.write(json.dumps(line) + "\n")  # a single write: threads do not mix their lines
    sys.stdout.flush()


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    parser = argparse.ArgumentParser()
    parser.add_argument("part", choices=["server", "collector", "users"])
    for name in ("version", "port", "load-s", "model-mib"):
        parser.add_argument(f"--{name}", type=int, default=1)
    options = parser.parse_args()
    {"server": server, "collector": collector, "users": users}[options.part](options)


if __name__ == "__main__":
    main()
