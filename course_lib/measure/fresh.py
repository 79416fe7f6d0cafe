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
import json, os, sys, threading, time
import psutil
names = {}
code = compile(json.loads(sys.stdin.readline()), "<fresh>", "exec")
threading.Thread(target=lambda: os.read(0, 1) or os._exit(1), daemon=True).start()  # a killed kernel lets go of the pipe
start = time.perf_counter()
exec(code, names)
seconds = time.perf_counter() - start
resident = psutil.Process().memory_info().rss / 2**20
print("\\n" + json.dumps([seconds, resident, names.get("result")]))
"""


def fresh_process(code: str, *, timeout_s: float = 120) -> Fresh:
    """Runs Python code in a new interpreter, where nothing is imported yet, and measures it.

    code: Python source; what it leaves under the name `result`, as far as JSON can hold it, comes back. timeout_s: how
    long it may take; a kernel that ends, killed or not, takes it along. Raises RuntimeError with what it said where it
    fails; subprocess.TimeoutExpired.
    """
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, "-c", _CHILD], stdin=pipe, stdout=pipe, stderr=pipe, text=True, encoding="utf-8"
    ) as child:
        kernel, child.stdin = child.stdin, None  # or `communicate` would close it
        with kernel:
            try:
                print(json.dumps(code), file=kernel, flush=True)
                said, complaint = child.communicate(timeout=timeout_s)
            finally:
                child.kill()
    if child.returncode:
        raise RuntimeError(f"the code failed in its own interpreter:\n{complaint[-2000:]}")
    return Fresh(*json.loads(said.splitlines()[-1]))
