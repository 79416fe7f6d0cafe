"""One running server of the language model for all tests of this folder."""

import pytest

from course_lib.ops.service import start_module


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """Four slots, six waiting."""
    log = tmp_path_factory.mktemp("language") / "server.log"
    service = start_module("course_lib.language.server", ["--slots", "4", "--most-waiting", "6"], log)
    yield service
    service.stop()
    assert "Traceback" not in log.read_text(encoding="utf-8")
