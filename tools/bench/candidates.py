"""What `./course bench serving` compares, in the order of its table."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tools.bench import environments, samples
from tools.bench.samples import Answer
from tools.bench.servers import free_port
from tools.bench.wrk import Request

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Place:
    """What a server is given: the folder of models, the one model's file, the answer to repeat, and a port."""

    models: Path
    model: Path
    answer: Path
    port: int

    @property
    def own(self) -> Path:
        """A folder for the server's own settings."""
        folder = self.models.parent / f"settings-{self.port}"
        folder.mkdir(exist_ok=True)
        return folder


@dataclass(frozen=True)
class Target:
    """One way to ask a server: a row of the table. answer: reads the classes that it tells."""

    title: str
    request: Request
    answer: Answer


@dataclass(frozen=True)
class Candidate:
    """A server. command: what starts it, from a Place. ready: the path that answers 200 once it is. peer: whether it has
    an environment of its own, of that name."""

    name: str
    command: Callable[[Place], Sequence[str]]
    ready: str
    targets: tuple[Target, ...]
    peer: bool = False


def _limit(name: str) -> Callable[[Place], list[str]]:
    return lambda at: [sys.executable, str(HERE / "limits" / f"{name}.py"), str(at.port), str(at.answer)]


def _peer(name: str, *more: Callable[[Place], str]) -> Callable[[Place], list[str]]:
    script = str(HERE / "peers" / f"serve_{name}.py")
    return lambda at: [
        environments.python(name), script, str(at.model), str(at.port), *(each(at) for each in more)
    ]  # fmt: skip


def ours(at: Place) -> list[str]:
    """The model server with its defaults, on this machine alone."""
    where = ["--models", str(at.models), "--host", "127.0.0.1", "--port", str(at.port)]
    return [sys.executable, "-m", "course_lib.serving", *where]


RUNTIME = "runtime"
"""The runtime in a loop: no server, so not among SERVERS."""
RUNTIME_TITLE = "ONNX Runtime alone, a batch of 1, 8, 64 a call"

OURS = Candidate(
    "ours",
    ours,
    "/v2/health/ready",
    (
        Target("**this course's server**, v1 rows", samples.rows(), samples.rows_answer),
        Target("**this course's server**, v2 JSON", samples.v2(), samples.v2_answer),
    ),
)
SERVERS = (
    Candidate(
        "client", _limit("client"), "/", (Target("wrk against ready bytes", samples.rows(), samples.rows_answer),)
    ),
    Candidate(
        "asgi", _limit("asgi"), "/", (Target("bare uvicorn, the same bytes", samples.rows(), samples.rows_answer),)
    ),
    OURS,
    Candidate(
        "mlserver",
        _peer("mlserver", lambda at: str(free_port()), lambda at: str(at.own)),
        "/v2/models/digits_cnn/ready",
        (Target("MLServer, v2 JSON", samples.v2(), samples.v2_answer),),
        peer=True,
    ),
    Candidate(
        "kserve",
        _peer("kserve"),
        "/v2/models/digits_cnn/ready",
        (Target("KServe, v1 rows", samples.rows(), samples.rows_answer),),
        peer=True,
    ),
    Candidate(
        "litserve",
        _peer("litserve"),
        "/health",
        (Target("LitServe, its own path", samples.own("pixels", wrapped=False), samples.own_answer),),
        peer=True,
    ),
    Candidate(
        "bentoml",
        _peer("bentoml"),
        "/readyz",
        (Target("BentoML, its own path", samples.own("pixels", wrapped=True), samples.own_answer),),
        peer=True,
    ),
    Candidate(
        "mosec",
        _peer("mosec"),
        "/",
        (
            Target("mosec, its own path", samples.own("pixels", wrapped=False), samples.own_answer),
            Target("mosec with batches", samples.own("pixels", wrapped=False, path="/batched"), samples.own_answer),
        ),
        peer=True,
    ),
    Candidate(
        "nvidia-pytriton",
        _peer("nvidia-pytriton", lambda at: str(at.own)),
        "/v2/models/digits_cnn/ready",
        (Target("PyTriton, v2 JSON", samples.v2(), samples.v2_answer),),
        peer=True,
    ),
)
NAMES = (RUNTIME, *(each.name for each in SERVERS))
