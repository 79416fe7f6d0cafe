"""`python -m course_lib.drills.programs.janitor NAMESPACE OWNER`: waits, and removes a drill's namespace when it is ended.

`leash.start` starts it, so it is ended with the kernel, killed or not. Windows gives it no time: there the kernel's own
end removes the namespace, or the drill's next begin.
"""

import signal
import sys
import threading

from course_lib.ops.kubernetes import OWNER, kubectl


def main(namespace: str, owner: str) -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        while True:
            threading.Event().wait(3600)
    finally:
        only = ["-l", f"{OWNER}={owner}", f"--field-selector=metadata.name={namespace}"]
        kubectl("delete", "namespace", *only, "--wait=false", timeout=10)


if __name__ == "__main__":
    main(*sys.argv[1:3])
