"""Processes that end gently: an interrupted lesson still takes down the containers and namespaces that it made."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psutil

GRACE_SECONDS = 60
"""How long an interrupted process may take to clean up: a Kubernetes namespace is gone in less."""


@contextmanager
def signals_interrupt() -> Iterator[None]:
    """Within it, SIGTERM and a closed terminal raise KeyboardInterrupt, as Ctrl-C does. For the main thread alone."""
    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    numbers = [number for number in numbers if signal.getsignal(number) is signal.SIG_DFL]  # nohup's ignoring stays
    for number in numbers:
        signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, signal.SIG_DFL)


def start(command: Sequence[str], **options: Any) -> subprocess.Popen:
    """A process that the terminal's Ctrl-C does not reach.

    It would end pytest, which kills the kernel at once, and no `finally` of a cell would run. `stop` interrupts instead.
    """
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True, **options)


def stop(processes: list[subprocess.Popen], seconds: float = GRACE_SECONDS, quiet: bool = False) -> None:
    """Interrupt these, wait until they have ended, and end what has not by then, or at a second Ctrl-C.

    quiet: say nothing, since nobody pressed Ctrl-C a first time.
    """
    running = [each for each in processes if each.poll() is None]
    if not running:
        return
    if not quiet:
        how = "Ctrl-C once more ends it at once"
        print(f"stopping: up to {seconds:.0f} s to clean up; {how}", file=sys.stderr, flush=True)
    deadline = time.monotonic() + seconds
    try:
        for process in running:
            _interrupt(process)
        for process in running:
            process.wait(max(0.0, deadline - time.monotonic()))
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        pass
    for process in running:
        if process.poll() is None:
            _end(process)


def _interrupt(process: subprocess.Popen) -> None:
    """Ctrl-C for the cell that its kernel runs, else for the process itself.

    Windows has done it: there, a console's Ctrl-C reaches all of its processes.
    """
    if os.name == "nt":
        return
    try:
        children = psutil.Process(process.pid).children()
    except psutil.Error:
        return
    kernels = [each.pid for each in children if _is_kernel(each)]
    for pid in kernels or [process.pid]:
        try:
            os.killpg(pid, signal.SIGINT)  # Jupyter too starts a kernel in a group of its own, and interrupts the group
        except (ProcessLookupError, PermissionError):
            continue


def _is_kernel(process: psutil.Process) -> bool:
    try:
        return any("ipykernel" in word for word in process.cmdline())
    except psutil.Error:
        return False


def _end(process: subprocess.Popen) -> None:
    try:
        tree = psutil.Process(process.pid).children(recursive=True)
    except psutil.Error:
        tree = []
    process.terminate()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
    for each in tree:
        try:
            each.kill()
        except psutil.Error:
            continue
