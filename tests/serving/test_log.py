"""A log that nobody reads, or that has no room: serving goes on, and the lines that are lost are counted."""

import io
import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from course_lib.places import CHECKOUT
from course_lib.serving.telemetry import MOST_LINES, Log
from tests.serving.conftest import Server, save_digits, until

MANY = 2 * MOST_LINES + 3000
"""More than wait and than the thread has taken to write."""
FLOOD = f"""
import sys
from course_lib.serving.telemetry import Log
log = Log()
for number in range({MANY}):
    log.write("info", "flood", number=number, pad="p" * 100)
log.flush()
print(log.lost, file=sys.stderr)
"""


def flood(out: object) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", FLOOD], cwd=CHECKOUT, stdout=out, stderr=subprocess.PIPE, text=True)


def lost(server: Server) -> float:
    text = server.ask("GET", "/metrics").body.decode()
    (family,) = [each for each in text_string_to_metric_families(text) if each.name == "log_lines_lost"]
    return family.samples[0].value


def test_a_log_that_nobody_reads_holds_nobody_up_and_its_lost_lines_are_counted():
    with flood(subprocess.PIPE) as process:
        assert int(process.stderr.read()) > 0 and process.wait(60) == 0


def test_a_log_on_a_full_disk_is_lost_line_by_line_and_counted():
    with open("/dev/full", "wb") as full, flood(full) as process:
        assert int(process.stderr.read()) == MANY and process.wait(60) == 0


def test_a_log_that_is_read_loses_nothing_until_the_end(tmp_path):
    code = FLOOD.replace(str(MANY), str(MOST_LINES))
    with (tmp_path / "log").open("wb") as out:
        ended = subprocess.run(
            [sys.executable, "-c", code], cwd=CHECKOUT, stdout=out, stderr=subprocess.PIPE, check=True
        )
    assert ended.stderr == b"0\n" and len((tmp_path / "log").read_text().splitlines()) == MOST_LINES


def test_after_half_a_line_the_next_one_is_whole(monkeypatch):
    class Disk:
        """Room for ten bytes, then none, then enough."""

        written, room = b"", 10

        def write(self, text: bytes) -> int:
            if not self.room:
                self.room = 1 << 20
                raise OSError(28, "No space left on device")
            taken = text[: self.room]
            self.written, self.room = self.written + taken, self.room - len(taken)
            return len(taken)

    log, disk = Log(), Disk()
    monkeypatch.setattr(log, "_out", disk)
    for event in ("first", "second"):
        log.write("info", event)
        log.flush()
    torn, second = disk.written.splitlines()
    assert len(torn) == 10 and b'"event":"second"' in second and log.lost == 1


@pytest.mark.parametrize("what", ["\udcff", float("nan"), {1: 2}, Path("x"), b"bytes"])
def test_whatever_a_line_holds_it_is_written(monkeypatch, what):
    log, out = Log(), io.BytesIO()
    monkeypatch.setattr(log, "_out", out)
    log.write("info", "odd", what=what)
    log.flush()
    assert json.loads(out.getvalue())["event"] == "odd" and log.lost == 0


@pytest.mark.parametrize("kind", ["a pipe that nobody reads", "a full disk"])
def test_the_server_answers_and_stops_whatever_becomes_of_its_log(tmp_path, kind):
    save_digits(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "course_lib.serving", "--models", str(tmp_path), "--port", str(port)]
    full = kind == "a full disk"
    with (
        open("/dev/full", "wb") as disk,
        subprocess.Popen(command, cwd=CHECKOUT, stdout=disk if full else subprocess.PIPE) as process,
    ):
        server = Server(process, tmp_path, port)
        until(lambda: answers(server), 60)
        for _ in range(20 if full else 600):  # a pipe holds 64 KiB, a line has more than 200 bytes
            server.ask("GET", f"/{'long' * 50}")
        if full:
            until(lambda: lost(server) > 20)
        else:
            assert lost(server) == 0, "lines wait for a reader until there are too many"
        assert server.works()
        assert server.stop() == 0


def answers(server: Server) -> bool:
    try:
        return server.ask("GET", "/v2/health/ready").status == 200
    except ConnectionError:
        return False
