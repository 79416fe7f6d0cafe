"""Runs a stranger's code: in a copy, as process groups with limits, never for longer than it was given."""

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from course_lib.capstone import cage

CPU_SECONDS, MEMORY_BYTES, FILE_BYTES = 120, 4 << 30, 64 << 20
"""What one process may use: seconds of CPU, address space, and the size of a file, its own output among them."""
MOST_BYTES, MOST_FILES = 200 << 20, 2000
"""How large a project may be, caches and version control aside."""
LEFT_OUT = (".git", ".venv", "__pycache__", ".pytest_cache", ".ruff_cache", ".ipynb_checkpoints", "report")
START_SECONDS = 60
TAIL = 4000
SIGN = ". After each change in models/, sign again: `./course capstone sign NAME`"


class Failed(Exception):
    """A criterion is not met; the message says what was seen."""


class Skipped(Exception):
    """A criterion cannot be examined on this machine; the message says why."""


def files_of(project: Path) -> list[Path]:
    """The project's regular files, sorted, without caches. Raises ValueError for a link, or for too many."""
    found, size = [], 0
    for folder, names, files in os.walk(project):
        names[:] = [name for name in names if name not in LEFT_OUT]
        for name in names + files:
            path = Path(folder, name)
            if path.is_symlink():
                raise ValueError(f"{path} is a link, which the copy cannot hold: put the file itself there")
        for name in files:
            path = Path(folder, name)
            if path.is_file():
                found.append(path)
                size += path.stat().st_size
        if len(found) > MOST_FILES or size > MOST_BYTES:
            raise ValueError(
                f"{project} holds more than {MOST_FILES} files or {MOST_BYTES >> 20} MiB: keep data outside"
            )
    return sorted(found, key=lambda path: path.relative_to(project).as_posix())


@contextlib.contextmanager
def copied(project: Path) -> Iterator[Path]:
    """A temporary folder with a copy of the project in `project/`, gone in the end."""
    folder = Path(tempfile.mkdtemp(prefix="capstone-"))
    try:
        for source in files_of(project):
            target = folder / "project" / source.relative_to(project)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _limit() -> None:
    if os.name == "nt":
        return
    import resource

    for what, most in (("CPU", CPU_SECONDS), ("AS", MEMORY_BYTES), ("FSIZE", FILE_BYTES), ("CORE", 0)):
        with contextlib.suppress(ValueError, OSError):  # macOS refuses some
            resource.setrlimit(getattr(resource, f"RLIMIT_{what}"), (most, most))


def start(words: list[str], folder: Path, log: Path) -> subprocess.Popen:
    """Starts a command of the project's in `folder`, in a process group of its own, with limits and few variables."""
    kept = ("PATH", "SYSTEMROOT", "LANG", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    environ = {name: os.environ[name] for name in kept if name in os.environ}
    environ |= {"PYTHONPATH": str(folder / "server"), "HOME": str(folder), "TMPDIR": str(folder), "TEMP": str(folder)}
    environ |= {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONUTF8": "1", "ORT_DISABLE_TELEMETRY": "1"}
    apart = {"start_new_session": True, "preexec_fn": _limit} if os.name != "nt" else {}
    with log.open("ab") as kept_log:
        return subprocess.Popen(words, cwd=folder, env=environ, stdin=subprocess.DEVNULL, stdout=kept_log,
                                stderr=subprocess.STDOUT, **apart)  # fmt: skip


def kill(process: subprocess.Popen) -> None:
    """Ends a process and its group, now."""
    if os.name == "nt":
        subprocess.run(["taskkill", "/f", "/t", "/pid", str(process.pid)], capture_output=True)
    else:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    process.wait(10)


def finish(words: list[str], folder: Path, seconds: float) -> tuple[int | None, str]:
    """Runs a command to its end: (exit code, end of its output). The code is None where the time was over."""
    log = folder / ".output"
    log.unlink(missing_ok=True)
    process = start(words, folder, log)
    try:
        code = process.wait(seconds)
    except subprocess.TimeoutExpired:
        code = None
    finally:
        kill(process)
    return code, tail(log)


def tail(log: Path, size: int = TAIL) -> str:
    """The end of a file, as text."""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - size))
        return file.read(size).decode("utf-8", "replace")


def ask(folder: Path, what: str, seconds: float = 30, **arrays: np.ndarray) -> Mapping[str, np.ndarray]:
    """What the project's functions answer, see `cage.ask`. Raises Failed where no answer comes."""
    question, answer = folder / "question.npz", folder / "answer.npz"
    answer.unlink(missing_ok=True)
    np.savez(question, what=np.array(what), **arrays)
    code, said = finish([sys.executable, "-P", cage.__file__, "ask", str(question)], folder, seconds)
    last = (said.strip().splitlines() or ["nothing"])[-1][:200]
    if code is None:
        raise Failed(f"{what}.py gave no answer within {seconds:g} s")
    if code or not answer.is_file():
        raise Failed(f"{what}.py gave no answer; its process ended with {code} and said: {last}")
    try:
        with np.load(answer, allow_pickle=False) as found:
            return dict(found)
    except Exception as error:  # whatever it wrote there
        raise Failed(f"{what}.py left an answer that cannot be read: {error}") from None


@dataclass
class Reply:
    """status, body (at most 4 MiB of it), headers by their names in small letters, and how long it took."""

    status: int
    body: bytes
    headers: dict[str, str]
    ms: float

    def json(self) -> Any:
        """The body, parsed; None where it is no JSON."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None


class Server:
    """`python serve.py` of a project, on a port of its own."""

    def __init__(self, folder: Path, model: str, log: Path, words: list[str] | None = None) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.folder, self.model, self.log = folder, model, log
        log.unlink(missing_ok=True)
        words = words or [sys.executable, "serve.py"]
        began = time.monotonic()
        self.process = start([*words, "--host", "127.0.0.1", "--port", str(self.port)], folder, log)
        self.ready = self._wait()
        self.start_s = time.monotonic() - began

    def _wait(self) -> bool:
        until = time.monotonic() + START_SECONDS
        while self.process.poll() is None and time.monotonic() < until:
            with contextlib.suppress(OSError, http.client.HTTPException):
                if self.get("/v2/health/ready", seconds=2).status == 200:
                    return True
            time.sleep(0.05)
        return False

    @property
    def lives(self) -> bool:
        return self.process.poll() is None

    def end_of_log(self) -> str:
        """The last line of what it printed; of a line of JSON only what went wrong."""
        last = (tail(self.log).strip().splitlines() or ["nothing"])[-1]
        with contextlib.suppress(ValueError, TypeError, KeyError):
            told = json.loads(last)
            last = f"{told['event']}: {told['reason']}"
        return last[:300]

    def why_not(self) -> str:
        """Why it is not ready, for a line of the report."""
        code, sign = self.process.poll(), SIGN if "SHA256SUMS" in tail(self.log) else ""
        when = f"took longer than {START_SECONDS} s" if code is None else f"ended with {code}"
        return f"was not ready: it {when}. The last line of its log: {self.end_of_log()}{sign}"

    def ask(self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] = {},
            seconds: float = 10) -> Reply:  # fmt: skip
        """One request on a connection of its own. Raises OSError or HTTPException where no answer comes."""
        began = time.perf_counter()
        wire = http.client.HTTPConnection("127.0.0.1", self.port, timeout=seconds)
        try:
            wire.request(method, path, body, dict(headers))
            answer = wire.getresponse()
            told = {name.lower(): value for name, value in answer.getheaders()}
            return Reply(answer.status, answer.read(4 << 20), told, 1000 * (time.perf_counter() - began))
        finally:
            wire.close()

    def get(self, path: str, seconds: float = 10) -> Reply:
        return self.ask("GET", path, seconds=seconds)

    def predict(self, body: bytes, label: str = "", headers: Mapping[str, str] = {}) -> Reply:
        """POST …:predict, of the version that bears the label."""
        where = f"/labels/{label}" if label else ""
        return self.ask("POST", f"/v1/models/{self.model}{where}:predict", body,
                        {"Content-Type": "application/json", **headers})  # fmt: skip

    def probabilities(self, rows: np.ndarray, batch: int = 100) -> np.ndarray:
        """The answers to raw rows, float64 (N, classes). Raises Failed where they are none."""
        found = []
        for begin in range(0, len(rows), batch):
            part = rows[begin : begin + batch]
            reply = self.predict(json.dumps({"instances": part.tolist()}).encode())
            told = reply.json()
            if reply.status != 200 or not isinstance(told, dict) or "predictions" not in told:
                raise Failed(
                    f"rows of the case were answered with {reply.status}: {reply.body[:200].decode('utf-8', 'replace')}"
                )
            try:
                array = np.array(told["predictions"], np.float64)
            except (ValueError, TypeError):
                array = np.zeros(0)
            if array.ndim != 2 or len(array) != len(part) or not np.isfinite(array).all():
                raise Failed(
                    f"expected one list of probabilities for each of {len(part)} rows, got shape {array.shape}"
                )
            found.append(array)
        return np.concatenate(found)

    def stop(self) -> None:
        kill(self.process)


def body_of(rows: np.ndarray) -> bytes:
    """A request's body for raw rows."""
    return json.dumps({"instances": rows.tolist()}).encode()


class Load:
    """Requests from several threads, each on a connection of its own, for as long as the block lasts.

    statuses: what came back, in the order of the answers; None for a request without one. versions: as the server names them.
    """

    def __init__(self, server, body: bytes, label: str = "", threads: int = 4) -> None:
        self.statuses, self.versions, self._stop = [], [], threading.Event()
        self._ask = lambda: server.predict(body, label)
        self._threads = [threading.Thread(target=self._go, daemon=True) for _ in range(threads)]

    def _go(self) -> None:
        while not self._stop.is_set():
            try:
                reply = self._ask()
                self.versions.append(reply.headers.get("x-model-version"))
                self.statuses.append(reply.status)
            except (OSError, ValueError) as error:
                self.statuses.append(type(error).__name__)
                time.sleep(0.01)
            except Exception as error:  # http.client's own
                self.statuses.append(type(error).__name__)

    def __enter__(self) -> "Load":
        self._began = time.monotonic()
        for each in self._threads:
            each.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for each in self._threads:
            each.join(15)
        self.seconds = time.monotonic() - self._began

    def check(self, when: str) -> str:
        """How many were answered. Raises Failed where one was not, or none was asked."""
        bad = [each for each in self.statuses if each != 200]
        if bad or not self.statuses:
            raise Failed(
                f"{len(bad)} of {len(self.statuses)} requests {when} failed, the first with {(bad or ['no answer'])[0]}"
            )
        return f"{len(self.statuses)} requests {when}, none failed"
