"""What a cluster says while something happens to it: its own stream of changes, read beside the lesson."""

import contextlib
import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterator

from course_lib import places


@contextlib.contextmanager
def watching(namespace: str, kind: str, read: Callable[[dict], dict], selector: str = "") -> Iterator[list[dict]]:
    """Follows every change of the namespace's objects of a kind ("pods", "endpoints", "hpa") while the block runs.

    read: what to keep of an object; `kubernetes.pod_state` for pods. selector: "app=digits"; "" for all. Gives a list that
    grows: {"at": seconds since 1970, "type": ADDED (at the begin: those that are there), MODIFIED or DELETED, **read(object)}.
    """
    command = ["kubectl", "get", kind, "-n", namespace, "--watch", "--output-watch-events", "-o", "json"]
    running = subprocess.Popen(command + (["-l", selector] if selector else []), stdout=subprocess.PIPE,
                               stderr=subprocess.DEVNULL, text=True, cwd=places.CHECKOUT)  # fmt: skip
    changes: list[dict] = []

    def follow() -> None:
        lines: list[str] = []
        for line in running.stdout:
            lines.append(line)
            if line.startswith(("}", '{"')):  # the end of a document, or one that stands on a line of its own
                change = json.loads("".join(lines))
                lines.clear()
                changes.append({"at": time.time(), "type": change["type"], **read(change["object"])})

    reader = threading.Thread(target=follow, daemon=True)
    reader.start()
    try:
        yield changes
    finally:
        running.terminate()
        running.wait()
        reader.join()
        running.stdout.close()
