"""The table of `./course bench serving`: Markdown that lines up in a terminal too, and what it says about the aims."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

from tools.bench.wrk import Run

CONNECTIONS = (1, 8, 64)
MARK = "<!-- bench serving -->"
"""Stands in a line of its own before and after the table in TIMINGS.md."""
HEAD = (
    "answers/s · p50 · p99 in ms, by connections:",
    *(str(each) for each in CONNECTIONS),
    "CPU µs",
    "MiB",
    "ready s",
)


@dataclass
class Row:
    """One row as it fills. runs: by connections, one a round. cpu_us: by connections, the server's processor time for an
    answer, in microseconds, one a round. problem: why its figures are none; "" where they are."""

    title: str
    candidate: str
    peer: bool = False
    runs: dict[int, list[Run]] = field(default_factory=dict)
    cpu_us: dict[int, list[float]] = field(default_factory=dict)
    memory_mib: float = 0.0
    ready_seconds: float | None = None
    problem: str = ""

    def add(self, connections: int, run: Run, cpu_seconds: float | None = None) -> None:
        """One more run; any error in it makes the whole row worthless, since errors are quick. cpu_seconds: what the
        server computed meanwhile."""
        self.runs.setdefault(connections, []).append(run)
        if cpu_seconds is not None and run.requests:
            self.cpu_us.setdefault(connections, []).append(cpu_seconds / run.requests * 1e6)
        if run.errors or not run.requests:
            told = ", ".join(f"{count} {kind}" for kind, count in run.errors.items()) or "no answer"
            self.problem = self.problem or f"errors at {connections} connections: {told}"

    def median(self, connections: int) -> tuple[float, float, float] | None:
        """The medians over the rounds of answers a second, p50 and p99 in ms; None where nothing counts."""
        runs = self.runs.get(connections)
        if self.problem or not runs:
            return None
        return tuple(statistics.median(each) for each in zip(*((run.per_s, run.p50_ms, run.p99_ms) for run in runs)))

    def cells(self) -> list[str]:
        """The row's cells."""
        if self.problem:
            return [self.title, "not counted: see below", *["–"] * (len(HEAD) - 2)]
        figures = [self.median(each) for each in CONNECTIONS]
        told = ["–" if each is None else f"{each[0]:,.0f} · {each[1]:.2f} · {each[2]:.2f}" for each in figures]
        ready = "–" if self.ready_seconds is None else f"{self.ready_seconds:.1f}"
        cpu = self.cpu_us.get(CONNECTIONS[-1])
        return [self.title, *told, f"{statistics.median(cpu):.0f}" if cpu else "–", f"{self.memory_mib:.0f}", ready]


def markdown(rows: Sequence[Row]) -> str:
    """The whole table."""
    lines = [list(HEAD), *(row.cells() for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEAD))]
    text = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths)).replace("\n", " ") + " |"
        for line in lines
    ]
    text.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(text)


def aims(rows: Sequence[Row]) -> list[str]:
    """What the figures say about the server's aims, a sentence each, as far as they were measured."""
    own = [row for row in rows if row.candidate == "ours" and not row.problem]
    said = []
    for row in own:
        name = row.title.replace("*", "")
        for peer in (each for each in rows if each.peer and not each.problem):
            pairs = {each: (row.median(each), peer.median(each)) for each in CONNECTIONS}
            pairs = {each: pair for each, pair in pairs.items() if all(pair)}
            told = ", ".join(
                f"{mine[0] / other[0]:.1f} times the answers and {mine[2] / other[2]:.2f} of the p99 at {each}"
                for each, (mine, other) in pairs.items()
            )
            ahead = all(mine[0] > other[0] and mine[2] < other[2] for mine, other in pairs.values())
            twice = 64 in pairs and pairs[64][0][0] >= 2 * pairs[64][1][0]
            said.append(f"{'holds' if ahead and twice else 'MISSED'}: {name} beside {peer.title}: {told}")
        for bare in (each for each in rows if each.candidate == "asgi" and not each.problem):
            shares = {each: (row.median(each), bare.median(each)) for each in CONNECTIONS}
            shares = {each: mine[0] / other[0] for each, (mine, other) in shares.items() if mine and other}
            told = ", ".join(f"{share:.2f} at {each}" for each, share in shares.items())
            holds = all(share >= 0.5 for share in shares.values())
            said.append(f"{'holds' if holds else 'MISSED'}: {name} to {bare.title}, share of the answers: {told}")
    return said
