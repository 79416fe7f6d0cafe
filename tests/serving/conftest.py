"""What the server's tests share: small models made on the spot, the server as a process of its own on a free port, and
the application alone, asked without a socket."""

import asyncio
import http.client
import json
import logging
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
import pytest
from onnx import TensorProto, helper, numpy_helper

from course_lib.places import CHECKOUT
from course_lib.serving.app import App, Request
from course_lib.serving.limits import Limits
from course_lib.serving.models import Model
from course_lib.serving.store import Store
from course_lib.serving.telemetry import Log

DIGITS = "/v1/models/digits:predict"
BODY_LIMIT = 100_000
WEIGHTS = np.random.default_rng(0).normal(size=(64, 10)).astype(np.float32)
IMAGE = np.random.default_rng(1).random((1, 8, 8)).round(2).tolist()

TEXTS = {
    "pair": "(float[N,2] a, int64[N] b) => (float[N,2] twice, int64[N] same) { twice = Add (a, a)  same = Identity (b) }",
    "lookup": "(int64[N] index) => (float[N] value) <float[3] table = {1.0, 2.0, 3.0}> { value = Gather (table, index) }",
    "copy": "(float[N,M] x) => (float[N,M] y) { y = Identity (x) }",
    "bytes": "(uint8[N,4] x) => (uint8[N,4] y) { y = Identity (x) }",
    "text": "(string[N] text) => (string[N] same) { same = Identity (text) }",
    "flags": "(bool[N] flag) => (bool[N] other) { other = Not (flag) }",
    "halves": "(float16[N,2] x) => (float16[N,2] y) { y = Add (x, x) }",
    "fixed": "(float[2,3] x) => (float[2,3] y) { y = Neg (x) }",
    "scalar": "(float x) => (float y) { y = Neg (x) }",
    "total": "(float[N,2] x) => (float[N,2] y, float sum) { y = Identity (x)  sum = ReduceSum <keepdims = 0> (x) }",
    "log": "(float[N,1] x) => (float[N,1] y) { y = Log (x) }",
    "constant": "() => (float[2] y) { y = Constant <value_floats = [1.0, 2.0]> () }",
    "dynamic": """(float[N,2] x) => (float[N,2] y) {
        quantized, scale, zero = DynamicQuantizeLinear (x)
        y = DequantizeLinear (quantized, scale, zero)
    }""",
}
SLOW = """(float[N,4] x) => (float[N,4] y)
<int64[2] size = {700, 700}, int64 trips = {TRIPS}, bool go = {1}, float small = {0.001}> {
  ones = ConstantOfShape <value = float[1] {1.0}> (size)
  total = ReduceSum <keepdims = 0> (x)
  start = Mul (ones, total)
  last = Loop (trips, go, start) <body = step (int64 i, bool c, float[700,700] a) => (bool d, float[700,700] b)
    { d = Identity (c)  product = MatMul (a, ones)  b = Mul (product, small) }>
  mean = ReduceMean <keepdims = 0> (last)
  zero = Sub (mean, mean)
  y = Add (x, zero)
}"""


def save(folder: Path, name: str, version: int = 1, text: str = "") -> Path:
    """One of the models above, or that of `text`, as NAME/VERSION/model.onnx. Returns its file."""
    head = f'<ir_version: 10, opset_import: ["" : 21]> {name} '
    model = onnx.parser.parse_model(head + (text or TEXTS[name]))
    return write(folder / name / str(version) / "model.onnx", model.SerializeToString())


def save_slow(folder: Path, trips: int = 40) -> Path:
    """A model that computes for some milliseconds a trip; its answer is its input."""
    return save(folder, "slow", text=SLOW.replace("TRIPS", str(trips)))


def save_digits(folder: Path, version: int = 1, scale: float = 1.0) -> Path:
    """A linear model with the course's interface: `pixels` (N, 1, 8, 8) to `logits` (N, 10), times `scale`."""
    weights = [numpy_helper.from_array(WEIGHTS * np.float32(scale), "w"), numpy_helper.from_array(WEIGHTS[0] * 0, "b")]
    nodes = [
        helper.make_node("Flatten", ["pixels"], ["flat"]),
        helper.make_node("Gemm", ["flat", "w", "b"], ["logits"]),
    ]
    pixels = helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["batch", 1, 8, 8])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 10])
    graph = helper.make_graph(nodes, "digits", [pixels], [logits], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    return write(folder / "digits" / str(version) / "model.onnx", model.SerializeToString())


def write(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def logits(images: list, scale: float = 1.0) -> np.ndarray:
    return np.array(images, dtype=np.float32).reshape(-1, 64) @ WEIGHTS * scale


@dataclass
class Answer:
    """What came back; `headers` by their names in small letters."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> str:
        """The message, where the body is the protocols' error and nothing else."""
        assert self.headers["content-type"] == "application/json" and list(self.json) == ["error"], self.body
        return self.json["error"]


def as_bytes(body: object) -> Any:
    return json.dumps(body).encode() if isinstance(body, dict | list) else body


@dataclass
class Server:
    """The server as a process."""

    process: subprocess.Popen
    log: Path
    port: int

    def ask(self, method: str, path: str, body: object = None, headers: dict | None = None) -> Answer:
        """`body` goes as JSON where it is an object or a list; bytes and iterators go as they are."""
        connection = self.begin(method, path, body, headers)
        try:
            return finish(connection)
        finally:
            connection.close()

    def begin(self, method: str, path: str, body: object = None, headers: dict | None = None) -> Any:
        """Sends a request, and leaves its answer to `finish`."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        connection.request(method, path, as_bytes(body), headers or {})
        return connection

    def raw(self, *pieces: bytes, wait: float = 20) -> bytes:
        """Sends bytes as they are, and returns all that comes until the server closes, or until `wait` is over."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=wait) as client:
            answer = b""
            try:
                for piece in pieces:
                    client.sendall(piece)
                while more := client.recv(1 << 16):
                    answer += more
            except (TimeoutError, ConnectionError):
                pass
            return answer

    def lines(self, event: str = "") -> list[dict]:
        """The log, or its lines about an event. Those of what has been answered are there: a last request asks for one
        line more, and they are written in their order."""
        if self.process.poll() is None:
            mark = f"mark-{uuid.uuid4().hex}"
            self.ask("GET", "/v2/health/live", headers={"X-Request-Id": mark})
            until(lambda: mark in self.log.read_text())
        lines = [json.loads(line) for line in self.log.read_text().splitlines()]
        lines = [line for line in lines if not line.get("request_id", "").startswith("mark-")]
        return [line for line in lines if not event or line["event"] == event]

    def works(self) -> bool:
        """Whether a good request is answered right."""
        answer = self.ask("POST", "/v1/models/digits/versions/1:predict", {"instances": [IMAGE]})
        return answer.status == 200 and np.allclose(answer.json["predictions"], logits([IMAGE]), rtol=1e-5, atol=1e-4)

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(20)


def finish(connection: http.client.HTTPConnection) -> Answer:
    with connection.getresponse() as response:
        headers = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, headers, response.read())


def until(true: Callable[[], Any], seconds: float = 20) -> Any:
    """Waits until `true()` is; returns it."""
    end = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < end, "it did not come true"
        time.sleep(0.01)
    return found


def start(log: Path, models: Path, *arguments: str, how: tuple[str, ...] = ("-m", "course_lib.serving")) -> Server:
    """Starts the server on a port that it chooses itself, and waits for the log line that tells it."""
    command = [sys.executable, *how, "--models", str(models), "--host", "127.0.0.1", "--port", "0", *arguments]
    with log.open("w") as out:
        process = subprocess.Popen(command, cwd=CHECKOUT, stdout=out, stderr=subprocess.STDOUT)
    while process.poll() is None:
        for line in log.read_text().splitlines():
            if '"event":"ready"' in line and line.endswith("}"):
                return Server(process, log, json.loads(line)["port"])
        time.sleep(0.01)
    raise AssertionError(log.read_text())


@dataclass
class KeptLog(Log):
    """A log whose lines stay here."""

    lines: list[dict] = field(default_factory=list)

    def __post_init__(self) -> None:
        logging.Handler.__init__(self)

    def __hash__(self) -> int:
        return id(self)

    def write_all(self, level: str, event: str, lines: list[dict]) -> None:
        self.lines += [{"level": level, "event": event, **fields} for fields in lines]

    def flush(self) -> None:
        """Nothing waits."""

    def told(self, event: str) -> list[dict]:
        return [line for line in self.lines if line["event"] == event]


def open_store(folder: Path, latest: int = 0) -> tuple[Store, KeptLog]:
    log = KeptLog()
    return Store(folder, lambda name, version, path, sums: Model(name, version, path, 1, sums), latest, log), log


class Local:
    """The application without a socket, within an event loop of its own."""

    def __init__(self, folder: Path, limits: Limits | None = None) -> None:
        self.store, self.log = open_store(folder)
        self.app = App(self.store, self.log, limits or Limits(max_body_bytes=BODY_LIMIT))
        self.loop = asyncio.Runner()

    def __enter__(self) -> "Local":
        return self

    def __exit__(self, *_: object) -> None:
        self.loop.close()

    def ask(self, *request: Any, **more: Any) -> Answer:
        """As `send`, from where no event loop runs."""
        return self.loop.run(self.send(*request, **more))

    async def send(self, method: str, path: str, body: object = b"", headers: dict | None = None) -> Answer:
        """`body`: as for Server.ask; None: one that is too large."""
        given = {name.lower().encode(): value.encode("latin-1") for name, value in (headers or {}).items()}
        answered = asyncio.get_running_loop().create_future()
        self.app.take(Request(method, path, given, as_bytes(body), time.perf_counter(), answered.set_result))
        response = await answered
        told = {name.decode(): value.decode() for name, value in response.headers}
        return Answer(response.status, told, response.body)


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All models of this file: digits with the versions 1 and 10, and labels on them; slow computes for long."""
    folder = tmp_path_factory.mktemp("models")
    save_digits(folder, 1)
    save_digits(folder, 10, scale=10)
    (folder / "digits/card.md").write_text("Not a version.")
    (folder / "digits/serving.json").write_text('{"labels": {"stable": 1, "canary": 10}}')
    for name in TEXTS:
        save(folder, name)
    save_slow(folder)
    return folder


@pytest.fixture(scope="session")
def server(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One process for all tests that leave it as it is. It must never have failed, and ends as it should."""
    log = tmp_path_factory.mktemp("server") / "log"
    started = start(log, models, "--max-body-bytes", str(BODY_LIMIT), "--threads", "1", "--reload-seconds", "0")
    yield started
    assert started.stop() == 0
    assert not [line for line in started.lines() if line.get("status") == 500 or "traceback" in line]


@pytest.fixture(scope="session")
def local(models: Path) -> Iterator[Local]:
    """For tests that leave the application as it is."""
    with Local(models) as application:
        yield application
