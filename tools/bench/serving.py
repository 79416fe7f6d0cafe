"""`./course bench serving`: the model server beside its limits and its peers, under wrk, on one machine.

All servers run from the begin; those not under test are stopped by SIGSTOP. Each round measures every one of them, in an
order drawn anew, at 1, 8 and 64 connections; the table has the medians over the rounds. No processor is set aside: wrk
and the server under test share the machine, as they do for every candidate.
"""

import argparse
import datetime
import importlib.metadata
import json
import random
import shutil
import subprocess
import sys
import tempfile
from http.client import HTTPException
from pathlib import Path

from course_lib.places import CHECKOUT, MODELS
from tools import processes
from tools.bench import candidates, environments, lessons, samples, table, wrk
from tools.bench.candidates import OURS, RUNTIME, RUNTIME_TITLE, SERVERS, Candidate, Place, Target
from tools.bench.servers import NotReady, Server, ask, free_port
from tools.bench.table import CONNECTIONS, Row

WARM_SECONDS = 1


def say(text: str) -> None:
    """What goes on, for who waits."""
    print(text, file=sys.stderr, flush=True)


class Bench:
    """One comparison, as it goes on. folder: scratch, gone afterwards."""

    def __init__(self, names: list[str], seconds: float, folder: Path) -> None:
        self.names, self.seconds, self.folder = names, seconds, folder
        self.model = folder / "models" / samples.NAME / "1" / "model.onnx"
        self.model.parent.mkdir(parents=True)
        shutil.copy(MODELS / samples.NAME / "1" / "model.onnx", self.model)
        self.answer = folder / "answer.json"
        self.servers: dict[str, Server] = {}
        self.rows: dict[str, Row] = {RUNTIME_TITLE: Row(RUNTIME_TITLE, RUNTIME)} if RUNTIME in names else {}
        self.jobs: list[tuple[Candidate, Target]] = []

    def start(self) -> None:
        """Starts every server twice (the second start finds its files in memory) and asks each what it will be asked."""
        chosen = [each for each in SERVERS if each.name in self.names]
        repeats = any(each.name in ("asgi", "client") for each in chosen)
        if repeats and OURS not in chosen:
            self._begin(OURS)
        for each in sorted(chosen, key=lambda each: each is not OURS):  # the others repeat its answer
            problem = self._begin(each)
            for target in each.targets:
                row = Row(target.title, each.name, each.peer, problem=problem)
                self.rows[target.title] = row
                if problem:
                    continue
                row.ready_seconds = self.servers[each.name].ready_seconds
                row.problem = self._checked(each, target)
                if not row.problem:
                    self.jobs.append((each, target))
            if each.name in self.servers:
                self.servers[each.name].pause()
        order = [RUNTIME_TITLE, *(target.title for each in SERVERS for target in each.targets)]
        self.rows = {title: self.rows[title] for title in order if title in self.rows}

    def _begin(self, candidate: Candidate) -> str:
        """Starts one server; returns why it does not run, "" where it does."""
        say(f"starting {candidate.name} ...")
        more = {"PYTHONPATH": ""} if candidate.peer else {}
        try:
            for last in (False, True):
                place = Place(self.folder / "models", self.model, self.answer, free_port())
                log = self.folder / f"{candidate.name}.log"
                server = Server(candidate.command(place), place.port, candidate.ready, log, more)
                if not last:
                    server.stop()
            self.servers[candidate.name] = server
            if candidate is OURS:
                _, headers, body = ask(server.port, "POST", samples.rows().path, samples.rows())
                self.answer.write_text(json.dumps({"headers": headers, "body": body.decode()}), encoding="utf-8")
        except (NotReady, environments.NotInstalled) as wrong:
            return str(wrong)
        return ""

    def _checked(self, candidate: Candidate, target: Target) -> str:
        """Asks once; returns what is wrong with the answer, "" where nothing is."""
        try:
            status, _, body = ask(self.servers[candidate.name].port, "POST", target.request.path, target.request)
        except (OSError, HTTPException) as wrong:
            return f"did not answer: {wrong!r}"
        if status != 200:
            return f"answers {status}: {body[:200].decode(errors='replace')}"
        try:
            told = target.answer(body)
        except (ValueError, KeyError, IndexError, TypeError):
            return f"answers what cannot be read: {body[:200].decode(errors='replace')}"
        return "" if told == samples.labels() else f"says {told} where the digit is {samples.labels()}"

    def round(self, number: int) -> None:
        """Measures everything once, in an order of its own."""
        for connections in CONNECTIONS:
            jobs: list[tuple[Candidate, Target] | None] = [*self.jobs]
            jobs += [None] if RUNTIME in self.names else []
            random.shuffle(jobs)
            for job in jobs:
                row, run, cpu_seconds = self.load(connections, *job) if job else self.loop(connections)
                row.add(connections, run, cpu_seconds)
                figures = f"{run.per_s:9,.0f}/s  p50 {run.p50_ms:7.2f}  p99 {run.p99_ms:7.2f} ms"
                say(f"round {number}  {connections:3} connections  {figures}  {row.title} {row.problem}")

    def load(self, connections: int, candidate: Candidate, target: Target) -> tuple[Row, wrk.Run, float]:
        """One run against one server, the others stopped, and the processor time that it took of the server."""
        server, row = self.servers[candidate.name], self.rows[target.title]
        url = f"http://127.0.0.1:{server.port}{target.request.path}"
        server.resume()
        try:
            wrk.run(url, [target.request], connections, WARM_SECONDS, self.folder)
            before = server.cpu_seconds()
            run = wrk.run(url, [target.request], connections, self.seconds, self.folder)
            spent = server.cpu_seconds() - before
            row.memory_mib = max(row.memory_mib, server.memory_mib())
        finally:
            server.pause()
        return row, run, spent

    def loop(self, batch: int) -> tuple[Row, wrk.Run, None]:
        """The runtime alone; its answers are images, and its one thread computes all the time."""
        script = Path(__file__).parent / "limits" / "runtime.py"
        command = [sys.executable, str(script), str(self.model), str(self.seconds), str(batch)]
        said = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        row = self.rows[RUNTIME_TITLE]
        row.memory_mib = max(row.memory_mib, said["mib"])
        return row, wrk.Run(said["calls"] * batch, said["seconds"], said["p50_ms"], said["p99_ms"], {}), None

    def stop(self) -> None:
        """Ends every server."""
        for server in self.servers.values():
            server.stop()


def versions(names: list[str]) -> str:
    """Of all that was measured."""
    own = [f"{name} {importlib.metadata.version(name)}" for name in ("onnxruntime", "uvicorn")]
    peers = [f"{each.name} {environments.pins(each.name)[each.name]}" for each in SERVERS if each.peer]
    return ", ".join([f"wrk {wrk.version()}", *own, *(each for each in peers if each.split()[0] in names)])


def footnote(names: list[str], seconds: float, rounds: int) -> str:
    """How and on what the table was taken."""
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    return (
        f"Medians of {rounds} rounds of {seconds:g} s, one image a request, wrk with one thread on the same machine "
        f"(a closed loop; latencies as wrk corrects them). CPU µs: the server's processor time for an answer at "
        f"{table.CONNECTIONS[-1]} connections. MiB: the largest resident memory.\n"
        f"Taken on {lessons.machine()}, {today}, with {versions(names)}."
    )


def main(words: list[str] | None = None, checkout: Path = CHECKOUT) -> int:
    """Returns 0 where everything was measured, whatever the figures; 1 where a row does not count; 2 for a wrong word,
    and where wrk is missing."""
    parser = argparse.ArgumentParser("./course bench serving", description="The model server beside limits and peers.")
    parser.add_argument("name", nargs="*", help=f"of {', '.join(candidates.NAMES)}; all of them where none is named")
    parser.add_argument("--seconds", type=float, default=4, help="of each run (default: 4)")
    parser.add_argument("--rounds", type=int, default=3, help="(default: 3)")
    parser.add_argument("--write", action="store_true", help="put what is measured into the table in TIMINGS.md")
    options = parser.parse_args(words)
    page, names = checkout / "TIMINGS.md", options.name or list(candidates.NAMES)
    try:
        wrk.program()
        if wrong := [name for name in names if name not in candidates.NAMES]:
            raise LookupError(f"no candidate {wrong[0]!r}; there are {', '.join(candidates.NAMES)}")
        if options.write and options.name:
            raise LookupError("--write takes all candidates: leave the names out")
        if options.write:
            lessons.written(page, "", table.MARK)
        if options.seconds < 1 or options.rounds < 1:
            raise LookupError("expected --seconds and --rounds of 1 or more")
    except (LookupError, wrk.Missing) as wrong:
        print(f"course bench serving: {wrong.args[0]}", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="course-bench-", ignore_cleanup_errors=True) as folder:
        bench = Bench(names, options.seconds, Path(folder))
        try:
            with processes.signals_interrupt():
                bench.start()
                for number in range(1, options.rounds + 1):
                    bench.round(number)
        except KeyboardInterrupt:
            print("course bench serving: stopped", file=sys.stderr)
            return 130
        finally:
            bench.stop()
    rows = list(bench.rows.values())
    text = f"{table.markdown(rows)}\n\n{footnote(names, options.seconds, options.rounds)}"
    print(text, *(["", *table.aims(rows)]), sep="\n")
    failed = [row for row in rows if row.problem]
    for row in failed:
        print(f"{row.title}: {row.problem}", file=sys.stderr)
    if options.write and failed:
        print("course bench serving: TIMINGS.md is left as it was; mend what failed and run it again", file=sys.stderr)
    elif options.write:
        page.write_text(lessons.written(page, text, table.MARK), encoding="utf-8")
    return 1 if failed else 0
