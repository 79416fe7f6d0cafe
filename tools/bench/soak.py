"""`./course bench soak`: the model server at 80 % of its capacity for minutes, its versions replaced all the while.

The capacity is what the same client gets answered in a closed loop of 64 connections: the client shares the machine, and
its own needs belong to what is measured. Then an open loop sends 80 % of it as a Poisson process, latencies counted from
when each request was due; the client, the releases and the sampling of the server's memory share one event loop. It
passes where every request got a 200 with the right answer,
every version was picked up, every broken one refused, and memory stayed flat.
"""

import argparse
import asyncio
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import psutil
import uvloop

from course_lib.places import MODELS
from tools import processes
from tools.bench import lessons, samples
from tools.bench.candidates import Place, ours
from tools.bench.open_loop import Counts, Kind, OpenLoop
from tools.bench.releases import Releases
from tools.bench.samples import NAME
from tools.bench.servers import NotReady, Server, ask, free_port

LOAD, CONNECTIONS = 0.8, 64
CAPACITY_SECONDS = 20
RELEASE_SECONDS = 10
GROWTH = 0.10
"""By which share the memory of the last minute may exceed that of the first."""
WARM_SECONDS = 20
"""Left out of the first minute: buffers and pools fill."""


def mix() -> list[Kind]:
    """What is asked, and how often: most of it one image, a fifth of it eight."""
    one, eight = samples.labels(), samples.labels(8)
    labelled = {name: f"/v1/models/{NAME}/labels/{name}:predict" for name in ("stable", "canary")}
    return [
        Kind("v1 rows", 5, samples.rows(), samples.rows_answer, one),
        Kind("v1 rows, stable", 2, samples.rows(path=labelled["stable"]), samples.rows_answer, one),
        Kind("v1 rows, canary", 1, samples.rows(path=labelled["canary"]), samples.rows_answer, one),
        Kind("v1 rows, 8 images", 2, samples.rows(8), samples.rows_answer, eight),
        Kind("v2 JSON", 4, samples.v2(), samples.v2_answer, one),
        Kind("v2 JSON, 8 images", 1, samples.v2(8), samples.v2_answer, eight),
        Kind("v2 binary", 4, samples.v2_binary(), samples.v2_binary_answer, one),
        Kind("v2 binary, 8 images", 1, samples.v2_binary(8), samples.v2_binary_answer, eight),
    ]


def checked(port: int, kinds: Sequence[Kind]) -> None:
    """Asks each kind once. Raises NotReady where an answer is not what it should be: there is nothing to soak then."""
    for kind in kinds:
        status, _, body = ask(port, "POST", kind.request.path, kind.request)
        if status != 200 or kind.answer(body) != list(kind.expects):
            raise NotReady(f"the server answers {kind.name} with {status}: {body[:200].decode(errors='replace')}")


async def weigh(server: Server, samples_mib: list[tuple[float, float]]) -> None:
    """Notes the server's resident memory every second, with the moment."""
    while True:
        samples_mib.append((time.monotonic(), server.memory_mib()))
        await asyncio.sleep(1)


async def soak(
    server: Server, releases: Releases, kinds: Sequence[Kind], rate: float, seconds: float
) -> tuple[Counts, list[tuple[float, float]]]:
    """The load, the releases and the sampling, together."""
    sizes: list[tuple[float, float]] = []
    load = OpenLoop(server.port, kinds, rate, CONNECTIONS)
    weighing = asyncio.create_task(weigh(server, sizes))
    releasing = asyncio.create_task(releases.run(RELEASE_SECONDS, time.monotonic() + seconds))
    counts = await load.run(seconds)
    weighing.cancel()
    await releasing
    return counts, sizes


def processor_seconds(server: Server) -> tuple[float, float]:
    """What the server and this process have taken of the processors so far; 0 for a server that has ended."""
    own = time.process_time()
    try:
        its = psutil.Process(server.process.pid).cpu_times()
    except psutil.Error:
        return 0.0, own
    return its.user + its.system, own


def windows(sizes: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """The median memory of the first minute after the warm-up and of the last one, in MiB; of thirds in a short run."""
    begin, end = sizes[0][0], sizes[-1][0]
    warm = min(WARM_SECONDS, (end - begin) / 4)
    window = min(60.0, (end - begin - warm) / 2)
    first = [size for moment, size in sizes if begin + warm <= moment <= begin + warm + window]
    last = [size for moment, size in sizes if moment >= end - window]
    return statistics.median(first), statistics.median(last)


def report(counts: Counts, sizes: Sequence[tuple[float, float]], releases: Releases, seconds: float) -> list[str]:
    """Prints what happened; returns why it failed, a sentence each."""
    failed = sum(counts.failures.values())
    first, last = windows(sizes)
    p50, p99, worst = np.percentile(counts.latencies_ms, [50, 99, 100]) if counts.latencies_ms else [np.nan] * 3
    late50, late99 = np.percentile(counts.late_ms, [50, 99]) if counts.late_ms else [np.nan] * 2
    per_version = {version: counts.versions[version] for version in sorted(counts.versions)}
    rows = [
        ("requests", f"{counts.answered + failed:,} in {seconds:.0f} s, {counts.answered / seconds:,.0f} answers/s"),
        ("failures", f"{failed} {dict(counts.failures) if failed else ''}".strip()),
        ("latency from due", f"p50 {p50:.2f} ms, p99 {p99:.2f} ms, largest {worst:.0f} ms"),
        ("of it in the client", f"p50 {late50:.2f} ms, p99 {late99:.2f} ms, from due to sent"),
        ("answers by kind", ", ".join(f"{name} {count:,}" for name, count in sorted(counts.kinds.items()))),
        ("memory", f"first minute {first:.1f} MiB, last {last:.1f} MiB, largest {max(s for _, s in sizes):.1f} MiB"),
        ("versions", f"{releases.published} published, {releases.withdrawn} withdrawn, {releases.refused} refused; "
                     f"told of within {releases.slowest_seconds:.1f} s"),
        ("versions seen", f"{len(per_version)}: {', '.join(f'{v} ({count:,})' for v, count in per_version.items())}"),
    ]  # fmt: skip
    for name, told in rows:
        print(f"{name:20}  {told}")
    wrong = [f"{failed} of {counts.answered + failed} requests failed; the first: {counts.first_failure}"] * bool(
        failed
    )
    wrong += [f"{counts.refused} connections were refused; first: {counts.first_failure}"] * bool(counts.refused)
    wrong += releases.problems
    if last > first * (1 + GROWTH):
        wrong.append(f"memory grew by {last / first - 1:.0%}, from {first:.1f} to {last:.1f} MiB")
    if releases.published and len(per_version) < releases.published:
        wrong.append(f"{releases.published} versions were published, answers came from {len(per_version)}")
    return wrong


def run(minutes: float, rate: float | None, folder: Path) -> list[str]:
    """The whole soak; returns why it failed, a sentence each. Raises NotReady where it cannot begin."""
    models, file = folder / "models", MODELS / NAME / "1" / "model.onnx"
    for version in (1, 2):
        (models / NAME / str(version)).mkdir(parents=True)
        shutil.copy(file, models / NAME / str(version) / "model.onnx")
    port, kinds = free_port(), mix()
    releases = Releases(models, NAME, file, port)
    releases.label({"stable": 1, "canary": 2})
    command = ours(Place(models, file, folder / "answer.json", port))
    server = Server(command, port, "/v2/health/ready", folder / "server.log")
    try:
        checked(port, kinds)
        if rate is None:
            best = uvloop.run(OpenLoop(port, kinds, None, CONNECTIONS).run(CAPACITY_SECONDS))
            if best.failures:
                return [f"at full load: {dict(best.failures)}; the first: {best.first_failure}"]
            capacity = best.answered / CAPACITY_SECONDS
            rate = LOAD * capacity
            print(f"{'capacity':20}  {capacity:,.0f} answers/s at {CONNECTIONS} connections; {LOAD:.0%} of it is sent")
        print(f"{'server':20}  ready in {server.ready_seconds:.2f} s; on {lessons.machine()}", flush=True)
        began, used = time.monotonic(), processor_seconds(server)
        counts, sizes = uvloop.run(soak(server, releases, kinds, rate, 60 * minutes))
        seconds = time.monotonic() - began
        shares = [(after - before) / seconds for before, after in zip(used, processor_seconds(server))]
        wrong = report(counts, sizes, releases, seconds)
        print(f"{'processor':20}  server {shares[0]:.2f} cores, client {shares[1]:.2f}")
        if counts.waiting > rate:
            wrong.append(f"the load was more than the server could take: {counts.waiting} requests waited at its end")
        if server.process.poll() is not None:
            wrong.append(f"the server ended: {server.log.read_text(errors='replace')[-600:]}")
        return wrong
    finally:
        server.stop()


def main(words: list[str] | None = None) -> int:
    """Returns 0 where it passes, 1 where it fails, 2 for a wrong word."""
    parser = argparse.ArgumentParser("./course bench soak", description="The model server under load and releases.")
    parser.add_argument("--minutes", type=float, default=10, help="(default: 10)")
    parser.add_argument("--rate", type=float, help="requests a second (default: 80 %% of the measured capacity)")
    options = parser.parse_args(words)
    try:
        if options.minutes <= 0 or (options.rate is not None and options.rate <= 0):
            raise LookupError("expected --minutes and --rate above 0")
    except LookupError as wrong:
        print(f"course bench soak: {wrong.args[0]}", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="course-soak-", ignore_cleanup_errors=True) as folder:
        try:
            with processes.signals_interrupt():
                problems = run(options.minutes, options.rate, Path(folder))
        except KeyboardInterrupt:
            print("course bench soak: stopped", file=sys.stderr)
            return 130
        except NotReady as wrong:
            problems = [str(wrong)]
    for problem in problems:
        print(f"course bench soak: {problem}", file=sys.stderr)
    print("FAILED" if problems else "passed")
    return 1 if problems else 0
