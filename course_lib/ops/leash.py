"""Programs that end with the kernel that started them, whether it ends or is killed.

`start` runs `python -m course_lib.ops.leash COMMAND…`, with a pipe from the kernel as its standard input. That becomes the
command itself, under the same process number, beside a small process that waits for the pipe to close, and then ends the
command. A process apart can do so whatever state the command is in: starting, draining, or stopped.
"""

import atexit
import os
import runpy
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Sequence
from typing import Any

from course_lib.places import CHECKOUT

GRACE_SECONDS = 15
"""How long a command may take to end: more than our servers give the requests that are under way."""

# Jupyter interrupts a cell by a signal to the kernel's whole process group; what runs beside the cell is no part of it.
APART = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP} if os.name == "nt" else {"start_new_session": True}

_started: list[subprocess.Popen] = []


def start(command: Sequence[str], **options: Any) -> subprocess.Popen:
    """Starts a command, in the checkout, that ends with this kernel and does not hear the interruption of a cell.

    command: a program and its arguments, or "-m", a module of the course and its arguments. options: of
    `subprocess.Popen`. The command reads nothing from its standard input. Where there is no such program, the process
    ends with 127 and says so. Stop it by `end`.
    """
    leash = [sys.executable, "-m", "course_lib.ops.leash", *command]
    process = subprocess.Popen(leash, stdin=subprocess.PIPE, cwd=CHECKOUT, **APART, **options)
    _started[:] = [*(each for each in _started if each.poll() is None), process]
    atexit.unregister(end)
    atexit.register(end, _started)  # once more, so that it comes before the removal of a folder that was made meanwhile
    return process


def end(processes: Iterable[subprocess.Popen], seconds: float | None = None) -> None:
    """Asks all of these to end (SIGTERM; Windows, which has no signals, ends them), then waits until they have.

    seconds: for all together, `GRACE_SECONDS` where None; what has not ended by then is killed.
    """
    until = time.monotonic() + (GRACE_SECONDS if seconds is None else seconds)
    processes = list(processes)
    for process in processes:
        if os.name == "nt":
            process.stdin.close()
        else:
            process.terminate()
            process.send_signal(signal.SIGCONT)  # one that is stopped hears nothing else
    for process in processes:
        try:
            process.wait(max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdin.close()


def _become(command: list[str]) -> None:
    """Turns this process into the command, and leaves one behind that watches it. Does not return, but from a module."""
    kernel, own = os.getppid(), os.getpid()
    if not os.fork():
        try:
            os.setsid()
            _only_the_pipe()
            _watch(own, kernel)
        finally:
            os._exit(0)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    if command[0] == "-m":
        _run_module(command[1:])
        return
    try:
        os.execvp(command[0], command)
    except OSError as wrong:
        print(f"{command[0]}: {wrong.strerror}", file=sys.stderr, flush=True)
        os._exit(127)


def _only_the_pipe() -> None:
    """Lets go of the command's output: who reads it waits until everybody has."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for output in (1, 2):
        os.dup2(nowhere, output)


def _watch(command: int, kernel: int) -> None:
    """Waits until the command has ended, or the kernel; then ends the command as well.

    The end of the pipe comes first, but a process that the kernel forked may hold it open, so we look for the kernel too.
    """
    while os.getppid() == command and not select.select([0], [], [], 0.5)[0] and _lives(kernel):
        pass
    until = time.monotonic() + GRACE_SECONDS
    numbers = [signal.SIGTERM, signal.SIGCONT]
    while os.getppid() == command:  # as long as it is our parent, its number is nobody else's
        if time.monotonic() > until:
            numbers = [signal.SIGKILL]
        for number in numbers:
            os.kill(command, number)
        numbers = []
        time.sleep(0.05)


def _lives(number: int) -> bool:
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _run_module(command: list[str]) -> None:
    sys.argv = command
    runpy.run_module(command[0], run_name="__main__", alter_sys=True)


def _run_beside(command: list[str]) -> None:
    """The same where a process cannot become another one, on Windows: the command is a child, or a module in this process."""
    if command[0] == "-m":
        threading.Thread(target=lambda: os._exit(1) if not os.read(0, 1) else None, daemon=True).start()
        _run_module(command[1:])
        return
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    threading.Thread(target=lambda: child.kill() if not os.read(0, 1) else None, daemon=True).start()
    sys.exit(child.wait())


if __name__ == "__main__":
    (_run_beside if os.name == "nt" else _become)(sys.argv[1:])
