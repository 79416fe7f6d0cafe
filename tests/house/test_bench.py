"""`./course bench serving` and `bench soak`, as far as they can be tried without measuring: words, wrk, tables, pins."""

import asyncio
import contextlib
import json
import re
from pathlib import Path

import pytest

from course_lib.places import CHECKOUT
from tools.bench import __main__ as bench
from tools.bench import candidates, environments, open_loop, releases, samples, serving, soak, table, wrk
from tools.bench.table import Row

PEERS = [each.name for each in candidates.SERVERS if each.peer]
OUTPUT = """Running 1s test @ http://127.0.0.1:1/
  1 threads and 8 connections
course-bench: {"requests": 3000, "duration_us": 1500000, "p50_us": 250.0, "p99_us": 1500.0, "errors": {"connect": 0, \
"read": 0, "write": 0, "timeout": 2, "status": 0}}
"""
REQUEST = wrk.Request("/a", b'{"a": "\\"\x00\xff"}', {"Content-Type": "application/json"})


def run(per_s: float, p99_ms: float = 2.0, errors: dict[str, int] | None = None) -> wrk.Run:
    return wrk.Run(int(per_s), 1.0, 1.0, p99_ms, errors or {})


def row(title: str, candidate: str, per_s: float, p99_ms: float = 2.0, peer: bool = False) -> Row:
    made = Row(title, candidate, peer, memory_mib=99.6, ready_seconds=0.51)
    for connections in table.CONNECTIONS:
        made.add(connections, run(per_s, p99_ms))
    return made


def test_without_wrk_it_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert bench.main(["serving"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("course bench serving: wrk, the load generator, is not installed")
    assert "apt install wrk" in said and said.count("\n") == 1


@pytest.fixture
def with_wrk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wrk, "program", lambda: "wrk")


@pytest.mark.usefixtures("with_wrk")
@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["nginx"], "no candidate 'nginx'; there are runtime, client, asgi, ours, mlserver"),
        (["--write", "ours"], "--write takes all candidates"),
        (["--seconds", "0"], "of 1 or more"),
        (["--write"], "must hold two lines <!-- bench serving -->"),
    ],
)
def test_a_wrong_word_starts_nothing(
    words: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert serving.main(words, tmp_path) == 2
    assert says in capsys.readouterr().err


@pytest.mark.usefixtures("with_wrk")
def test_a_soak_of_no_time_is_refused(capsys: pytest.CaptureFixture) -> None:
    assert soak.main(["--minutes", "0"]) == 2
    assert "above 0" in capsys.readouterr().err


def test_what_wrk_counted_is_read() -> None:
    assert wrk.parse(OUTPUT) == wrk.Run(3000, 1.5, 0.25, 1.5, {"timeout": 2})
    assert wrk.parse(OUTPUT).per_s == 2000


def test_output_of_wrk_without_figures_is_an_error() -> None:
    with pytest.raises(ValueError, match="unable to connect"):
        wrk.parse("unable to connect to 127.0.0.1:1 Connection refused\n")


def test_a_body_of_any_bytes_becomes_a_lua_string() -> None:
    assert wrk.quoted(b'a"\\\n\x00\xff1') == '"a\\034\\092\\010\\000\\2551"'


def test_one_request_is_built_once_and_many_are_sent_in_turn() -> None:
    one, two = wrk.script([REQUEST]), wrk.script([REQUEST, REQUEST])
    assert "wrk.body" in one and "function request" not in one
    assert two.count('wrk.format("POST"') == 2 and "function request" in two
    assert all("function done" in each for each in (one, two))


def test_an_error_in_one_round_makes_the_row_worthless() -> None:
    row = Row("some server", "some")
    row.add(8, run(1000))
    row.add(8, run(9000, errors={"status": 12}))
    assert row.problem == "errors at 8 connections: 12 status"
    assert row.median(8) is None
    assert "9,000" not in table.markdown([row])


def test_a_row_without_an_answer_is_worthless() -> None:
    row = Row("some server", "some")
    row.add(1, run(0))
    assert row.problem == "errors at 1 connections: no answer"


def test_the_table_has_medians_and_lines_up() -> None:
    row = Row("some server", "some", memory_mib=99.6, ready_seconds=0.51)
    for per_s in (1000, 5000, 3000):
        row.add(1, run(per_s))
    lines = table.markdown([row]).splitlines()
    assert len({len(line) for line in lines}) == 1
    cells = [cell.strip() for cell in lines[2].split("|")]
    assert cells == ["", "some server", "3,000 · 1.00 · 2.00", "–", "–", "–", "100", "0.5", ""]


def test_the_table_tells_the_processor_time_of_an_answer_at_the_most_connections() -> None:
    row = Row("some server", "some")
    for connections, spent in ((1, 0.9), (64, 0.2), (64, 0.5), (64, 0.3)):
        row.add(connections, run(1000), spent)
    assert [cell.strip() for cell in table.markdown([row]).splitlines()[2].split("|")][5] == "300"


def test_the_aims_are_held_against_every_peer_and_the_bare_application() -> None:
    rows = [row("ours", "ours", 3000, 2), row("bare", "asgi", 7000), row("slow", "slow", 1000, 3, peer=True)]
    rows.append(row("quick", "quick", 2000, 3, peer=True))
    said = {line.split("beside ")[-1].split(":")[0]: line for line in table.aims(rows)}
    assert said["slow"].startswith("holds: ours beside slow: 3.0 times the answers and 0.67 of the p99 at 1")
    assert said["quick"].startswith("MISSED")  # not twice as many at 64
    assert any(line.startswith("MISSED: ours to bare") and "0.43 at 64" in line for line in table.aims(rows))


@pytest.mark.usefixtures("with_wrk")
def test_the_table_is_written_between_its_own_marks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    page = tmp_path / "TIMINGS.md"
    page.write_text(
        "<!-- bench -->\nlessons\n<!-- bench -->\n<!-- bench serving -->\nold\n<!-- bench serving -->\nend\n"
    )
    monkeypatch.setattr(serving.Bench, "start", lambda self: self.rows.update(a=row("ours", "ours", 3000)))
    monkeypatch.setattr(serving.Bench, "round", lambda self, number: None)
    monkeypatch.setattr(wrk, "version", lambda: "4.1.0")
    assert serving.main(["--write"], tmp_path) == 0
    before, written, after = re.split("\n?<!-- bench serving -->\n", page.read_text())
    assert (before, after) == ("<!-- bench -->\nlessons\n<!-- bench -->", "end\n")
    assert "3,000 · 1.00 · 2.00" in written and "mlserver 1.7.1" in written and "wrk 4.1.0" in written
    assert written.strip() in capsys.readouterr().out


@pytest.mark.usefixtures("with_wrk")
def test_a_failed_row_leaves_the_timings_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "TIMINGS.md").write_text(text := "<!-- bench serving -->\nold\n<!-- bench serving -->\n")
    monkeypatch.setattr(serving.Bench, "start", lambda self: self.rows.update(a=Row("ours", "ours", problem="ended")))
    monkeypatch.setattr(serving.Bench, "round", lambda self, number: None)
    monkeypatch.setattr(wrk, "version", lambda: "4.1.0")
    assert serving.main(["--write"], tmp_path) == 1
    assert (tmp_path / "TIMINGS.md").read_text() == text


def test_the_timings_have_a_place_for_the_table() -> None:
    assert (CHECKOUT / "TIMINGS.md").read_text(encoding="utf-8").count(f"\n{table.MARK}\n") == 2


@pytest.mark.parametrize("peer", PEERS)
def test_a_peer_is_pinned_to_the_last_package_and_has_its_start_script(peer: str) -> None:
    lines = (environments.PINS / f"{peer}.txt").read_text(encoding="utf-8").splitlines()
    assert all(line.startswith("#") or re.match(r"[\w.-]+==[\w.]+( ; .+)?$", line) for line in lines)
    pins = environments.pins(peer)
    assert {peer, "onnxruntime", "numpy"} <= pins.keys()
    own = (CHECKOUT / "constraints.txt").read_text(encoding="utf-8")
    assert f"onnxruntime=={pins['onnxruntime']}" in own  # the same runtime as ours, or servers are not what differs
    assert (environments.PINS / f"serve_{peer}.py").is_file()


def test_there_are_at_least_two_peers() -> None:
    assert len(PEERS) >= 2


def test_an_answer_is_read_in_every_form() -> None:
    logits = [0.0] * 7 + [9.0] + [0.0] * 2
    assert samples.rows_answer(json.dumps({"predictions": [logits, logits]}).encode()) == [7, 7]
    assert samples.v2_answer(json.dumps({"outputs": [{"data": logits}]}).encode()) == [7]
    assert samples.own_answer(json.dumps({"logits": logits}).encode()) == [7]
    assert samples.own_answer(json.dumps([logits]).encode()) == [7]
    raw = samples.np.array(logits, "<f4").tobytes()
    head = json.dumps({"outputs": [{"parameters": {"binary_data_size": 40}}]}).encode()
    assert samples.v2_binary_answer(head + raw) == [7]


def test_the_memory_of_the_last_minute_is_held_against_the_first_after_the_warm_up() -> None:
    sizes = [(float(second), 50.0 if second < 20 else 100.0 if second < 300 else 130.0) for second in range(601)]
    assert soak.windows(sizes) == (100.0, 130.0)
    assert soak.windows([(0.0, 1.0), (1.0, 1.0), (2.0, 1.0), (3.0, 1.0), (4.0, 1.0)]) == (1.0, 1.0)


ANSWER = b"HTTP/1.1 %s\r\nX-Model-Version: 4\r\nContent-Length: %d\r\n\r\n%s"


@pytest.mark.parametrize(
    ("status", "body", "failures"),
    [
        (b"200 OK", b"2", set()),
        (b"503 Service Unavailable", b"2", {"503"}),
        (b"200 OK", b"3", {"wrong answer"}),
        (b"200 OK", b"no number", {"wrong answer"}),
    ],
)
def test_the_open_loop_counts_every_answer_and_reads_some(status: bytes, body: bytes, failures: set[str]) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                await reader.readexactly(2)
                writer.write(ANSWER % (status, len(body), body))
        except asyncio.IncompleteReadError:
            writer.close()

    async def load() -> open_loop.Counts:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        kind = open_loop.Kind("any", 1, wrk.Request("/", b"{}", {}), lambda body: [int(body)], [2])
        loop = open_loop.OpenLoop(server.sockets[0].getsockname()[1], [kind], rate=400, connections=4)
        counts = await loop.run(0.5)
        server.close()
        await asyncio.sleep(0.05)  # connections on both sides close
        return counts

    counts = asyncio.run(load())
    assert set(counts.failures) == failures
    assert counts.answered + sum(counts.failures.values()) == len(counts.latencies_ms) > 50
    if not failures:
        assert counts.versions == {4: counts.answered}


def test_without_a_rate_each_connection_sends_its_next_request_with_its_answer() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError):
            while await reader.readuntil(b"{}"):
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n2")
        writer.close()

    async def load() -> tuple[open_loop.Counts, int]:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        kind = open_loop.Kind("any", 1, wrk.Request("/", b"{}", {}), lambda body: [int(body)], [2])
        loop = open_loop.OpenLoop(server.sockets[0].getsockname()[1], [kind], rate=None, connections=3)
        counts = await loop.run(0.2)
        server.close()
        await asyncio.sleep(0.05)  # connections on both sides close
        return counts, loop.left

    counts, left = asyncio.run(load())
    assert counts.answered > 30 and not counts.failures and left == 0 and counts.waiting <= 3


def test_a_server_that_hangs_up_fails_the_request() -> None:
    async def load() -> open_loop.Counts:
        server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
        kind = open_loop.Kind("any", 1, wrk.Request("/", b"{}", {}), lambda body: [2], [2])
        loop = open_loop.OpenLoop(server.sockets[0].getsockname()[1], [kind], rate=50, connections=1)
        counts = await loop.run(0.3)
        server.close()
        await asyncio.sleep(0.05)  # connections on both sides close
        return counts

    open_loop_timeout, open_loop.TIMEOUT_SECONDS = open_loop.TIMEOUT_SECONDS, 1
    try:
        counts = asyncio.run(load())
    finally:
        open_loop.TIMEOUT_SECONDS = open_loop_timeout
    assert counts.answered == 0
    assert counts.failures["connection lost"] + counts.failures["no answer"] > 0


def test_releases_publish_label_and_withdraw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for version in ("1", "2"):
        (tmp_path / "m" / version).mkdir(parents=True)
    home, file = tmp_path / "m", tmp_path / "model.onnx"
    file.write_bytes(b"model")

    async def told(self: releases.Releases, version: int, wanted: str) -> bool:
        assert (home / str(version) / "model.onnx").read_bytes() == (b"model" if wanted == "AVAILABLE" else broken)
        return True

    broken = b"this is no model"
    monkeypatch.setattr(releases.Releases, "state", told)
    run = releases.Releases(tmp_path, "m", file, 1)
    for count in range(3):
        asyncio.run(run.step(count))
    assert (run.published, run.refused, run.withdrawn) == (3, 1, 2)
    assert sorted(path.name for path in home.iterdir()) == ["3", "4", "6", "serving.json"]  # 5 was broken
    assert json.loads((home / "serving.json").read_text()) == {"labels": {"stable": 4, "canary": 6}}
