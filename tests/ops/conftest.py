"""What the tests of this folder share: an empty PATH, and a server that answers as it is told."""

import contextlib
import threading
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.ops.stand_ins import Answers


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder on PATH, and empty."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


@pytest.fixture
def served():
    """`served(200, 500)` starts a server that gives these statuses; returns its port."""
    with contextlib.ExitStack() as ending:

        def begin(*plan: int) -> int:
            server = ending.enter_context(ThreadingHTTPServer(("127.0.0.1", 0), Answers))
            server.plan, server.lock = list(plan), threading.Lock()
            threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
            ending.callback(server.shutdown)
            return server.server_port

        yield begin
