"""wrk, the load generator: a script for it, one run of it, and what it counted.

wrk is a closed loop: each of its connections sends its next request when it has its answer. Its latencies are corrected
(`stats_correct` in its stats.c): to each answer that took longer than a connection's mean interval it adds those that a
client which had not waited would have seen, one interval shorter each, so that a stall is not counted as one request.
"""

import json
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

MISSING = (
    "wrk, the load generator, is not installed. Get it: `sudo apt install wrk` on Debian and Ubuntu, "
    "`brew install wrk` on macOS; it does not run on Windows outside WSL"
)
MARK = "course-bench: "
TIMEOUT_SECONDS = 10

DONE = """
function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    '\\ncourse-bench: {"requests": %d, "duration_us": %d, "p50_us": %.1f, "p99_us": %.1f, "errors": '
      .. '{"connect": %d, "read": %d, "write": %d, "timeout": %d, "status": %d}}\\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    e.connect, e.read, e.write, e.timeout, e.status))
end
"""


class Missing(Exception):
    """wrk is not there; says how to install it."""


@dataclass(frozen=True)
class Request:
    """One POST. headers: besides Host and Content-Length, which wrk sets."""

    path: str
    body: bytes
    headers: Mapping[str, str]


@dataclass(frozen=True)
class Run:
    """What one run counted. errors: how many, by kind; "status": answers of 400 and above."""

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float
    errors: dict[str, int]

    @property
    def per_s(self) -> float:
        """Answers a second."""
        return self.requests / self.seconds


def program() -> str:
    """Where wrk is. Raises Missing where it is not on PATH."""
    found = shutil.which("wrk")
    if not found:
        raise Missing(MISSING)
    return found


def version() -> str:
    """What it calls itself, "4.1.0". wrk prints it above its usage, and ends with 1."""
    said = subprocess.run([program(), "-v"], capture_output=True, text=True, check=False)
    words = (said.stdout + said.stderr).split()
    return words[1].removeprefix("debian/") if len(words) > 1 else "unknown"


def quoted(data: bytes) -> str:
    """A Lua string of these bytes, whatever they are."""
    return '"' + "".join(chr(b) if 32 <= b < 127 and b not in b'"\\' else f"\\{b:03d}" for b in data) + '"'


def script(requests: Sequence[Request]) -> str:
    """The Lua program that sends these requests in turn; one alone is built once, which costs wrk the least."""
    if len(requests) == 1:
        (one,) = requests
        lines = ['wrk.method = "POST"', f"wrk.path = {quoted(one.path.encode())}", f"wrk.body = {quoted(one.body)}"]
        lines += [f"wrk.headers[{quoted(k.encode())}] = {quoted(v.encode())}" for k, v in one.headers.items()]
        return "\n".join(lines) + "\n" + DONE
    lines = ["local all, at = {}, 0", "function init(args)"]
    for each in requests:
        headers = ", ".join(f"[{quoted(k.encode())}] = {quoted(v.encode())}" for k, v in each.headers.items())
        # wrk.format adds wrk's own headers, Host among them, to a table that is left out only
        lines.append(
            f'  all[#all + 1] = wrk.format("POST", {quoted(each.path.encode())}, '
            f'{{["Host"] = wrk.headers["Host"], {headers}}}, {quoted(each.body)})'
        )
    lines += ["end", "function request()", "  at = at % #all + 1", "  return all[at]", "end"]
    return "\n".join(lines) + "\n" + DONE


def parse(output: str) -> Run:
    """The run that wrk's output tells. Raises ValueError, with its end, where the line of `DONE` is not in it."""
    told = [line.removeprefix(MARK) for line in output.splitlines() if line.startswith(MARK)]
    if len(told) != 1:
        raise ValueError(f"expected one line {MARK!r} of wrk, got {len(told)}; its output ends: {output[-300:]!r}")
    figures = json.loads(told[0])
    errors = {kind: count for kind, count in figures["errors"].items() if count}
    seconds = figures["duration_us"] / 1e6
    return Run(figures["requests"], seconds, figures["p50_us"] / 1e3, figures["p99_us"] / 1e3, errors)


def run(url: str, requests: Sequence[Request], connections: int, seconds: float, folder: Path) -> Run:
    """Sends these requests in turn from that many connections. folder: takes the script. Raises ValueError, as `parse`."""
    path = folder / "requests.lua"
    path.write_text(script(requests), encoding="ascii")
    whole = max(1, round(seconds))  # wrk takes whole seconds
    command = [program(), "-t1", f"-c{connections}", f"-d{whole}s", f"--timeout={TIMEOUT_SECONDS}s", "-s", str(path)]
    said = subprocess.run([*command, url], capture_output=True, text=True, check=False)
    return parse(said.stdout + said.stderr)
