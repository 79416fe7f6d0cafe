"""Servers under test: started until they are ready, stopped while others are measured, weighed, and ended whole."""

import http.client
import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

from course_lib.places import CHECKOUT
from tools.bench.wrk import Request

READY_SECONDS = 90
END_SECONDS = 10


class NotReady(Exception):
    """A server ended, or did not answer in time; says the end of its log."""


def free_port() -> int:
    """A port of this machine that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def ask(port: int, method: str, path: str, request: Request | None = None) -> tuple[int, dict[str, str], bytes]:
    """One request on a connection of its own: status, headers (names in lower case), body. Raises OSError or
    HTTPException where there is no answer."""
    wire = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        body, headers = (request.body, dict(request.headers)) if request else (None, {})
        wire.request(method, path, body, headers)
        answer = wire.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
    finally:
        wire.close()


class Server:
    """One server's processes. ready_seconds: from its start to its first 200."""

    def __init__(
        self, command: Sequence[str], port: int, ready: str, log: Path, more: Mapping[str, str] | None = None
    ) -> None:
        self.port, self.log = port, log
        environment = {**os.environ, "PYTHONPATH": str(CHECKOUT), **(more or {})}
        began = time.perf_counter()
        with log.open("wb") as kept:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=kept, stderr=kept, env=environment, start_new_session=True
            )
        try:
            self.ready_seconds = self._wait(began, ready)
        except BaseException:
            self.stop()
            raise

    def _wait(self, began: float, ready: str) -> float:
        while self.process.poll() is None and time.perf_counter() - began < READY_SECONDS:
            try:
                if ask(self.port, "GET", ready)[0] == 200:
                    return time.perf_counter() - began
            except (OSError, http.client.HTTPException):
                pass
            time.sleep(0.01)
        why = f"was not ready within {READY_SECONDS} s" if self.process.poll() is None else "ended"
        raise NotReady(f"{why}; its log ends: {self.log.read_text(errors='replace')[-600:]}")

    def tree(self) -> list[psutil.Process]:
        """The first process and all that it started."""
        try:
            first = psutil.Process(self.process.pid)
            return [first, *first.children(recursive=True)]
        except psutil.Error:
            return []

    def pause(self) -> None:
        """Stops all of them (SIGSTOP), so that what is not measured takes no processor."""
        self._all("suspend")

    def resume(self) -> None:
        self._all("resume")

    def _all(self, what: str) -> None:
        for each in self.tree():
            try:
                getattr(each, what)()
            except psutil.Error:
                continue

    def memory_mib(self) -> float:
        """Resident memory: the first process's, and of the others what is theirs alone, shared libraries counted once."""
        sizes = []
        for number, each in enumerate(self.tree()):
            try:
                sizes.append(each.memory_full_info().uss if number else each.memory_info().rss)
            except psutil.Error:
                continue
        return sum(sizes) / 2**20

    def cpu_seconds(self) -> float:
        """Processor time of all of them so far, their own and the system's for them."""
        spent = 0.0
        for each in self.tree():
            try:
                times = each.cpu_times()
            except psutil.Error:
                continue
            spent += times.user + times.system
        return spent

    def stop(self) -> None:
        """Interrupts the first process, waits, and kills what is left: LitServe's workers outlive a SIGTERM."""
        tree = self.tree()
        self.resume()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
        for each in tree:
            try:
                each.kill()
            except psutil.Error:
                continue
        self.process.wait()
