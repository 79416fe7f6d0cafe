"""`python -m course_lib.ops.leash MODULE …` runs a module of the course as `python -m` would, as long as its parent lives.

The parent holds the other end of this process's standard input. When that end closes, because the parent has ended, was
killed, or says so, the module is told to end (SIGTERM), and ended where it does not.
"""

import os
import runpy
import signal
import sys
import threading
import time

GRACE_SECONDS = 15
"""How long the module may take for the requests that are under way; less than a minute, for a parent that is gone."""


def watch() -> None:
    """Waits for the end of standard input, then ends this process."""
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE_SECONDS)
    os._exit(1)


if __name__ == "__main__":
    threading.Thread(target=watch, daemon=True).start()
    sys.argv = sys.argv[1:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
