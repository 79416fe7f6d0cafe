"""What code takes in an interpreter of its own, where nothing is imported yet."""

import json
import subprocess
import sys
from dataclasses import dataclass


@dataclass(frozen=True)
class Fresh:
    """What code took in an interpreter of its own. seconds: to run it, the interpreter's start not counted.
    resident_mib: memory in use when it had ended, interpreter included. result: what it left under the name `result`.
    """

    seconds: float
    resident_mib: float
    result: object


_CHILD = """
import json, sys, time
import psutil
names = {}
code = compile(sys.stdin.read(), "<fresh>", "exec")
start = time.perf_counter()
exec(code, names)
seconds = time.perf_counter() - start
resident = psutil.Process().memory_info().rss / 2**20
print("\\n" + json.dumps([seconds, resident, names.get("result")]))
"""


def fresh_process(code: str, *, timeout_s: float = 120) -> Fresh:
    """Runs Python code in a new interpreter, where nothing is imported yet, and measures it.

    code: Python source; what it leaves under the name `result`, as far as JSON can hold it, comes back. timeout_s: how
    long it may take. Raises RuntimeError with what it said where it fails; subprocess.TimeoutExpired.
    """
    command = [sys.executable, "-c", _CHILD]
    done = subprocess.run(command, input=code, capture_output=True, text=True, encoding="utf-8", timeout=timeout_s)
    if done.returncode:
        raise RuntimeError(f"the code failed in its own interpreter:\n{done.stderr[-2000:]}")
    return Fresh(*json.loads(done.stdout.splitlines()[-1]))
