"""What a cluster says while something happens to it: its own stream of changes, read beside the lesson."""

import contextlib
import json
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator

from course_lib.ops import leash
from course_lib.ops.kubernetes import KubectlFailed


@contextlib.contextmanager
def watching(namespace: str, kind: str, read: Callable[[dict], dict], selector: str = "") -> Iterator[list[dict]]:
    """Follows every change of the namespace's objects of a kind ("pods", "endpoints", "hpa") while the block runs.

    read: what to keep of an object; `kubernetes.pod_state` for pods. selector: "app=digits"; "" for all. Gives a list that
    grows: {"at": seconds since 1970, "type": ADDED (at the begin: those that are there), MODIFIED or DELETED, **read(object)}.
    At the block's end raises KubectlFailed where kubectl had ended before it, and what `read` raised.
    """
    command = ["kubectl", "get", kind, "-n", namespace, "--watch", "--output-watch-events", "-o", "json"]
    errors = tempfile.TemporaryFile("w+")
    command += ["-l", selector] if selector else []
    running = leash.start(command, stdout=subprocess.PIPE, stderr=errors, text=True)
    changes: list[dict] = []
    wrong: list[Exception] = []

    def follow() -> None:
        lines: list[str] = []
        for line in running.stdout:
            lines.append(line)
            # One change a line, or, as other releases of kubectl write it, indented: then its last line is a brace.
            if line.startswith("}") or (len(lines) == 1 and line.rstrip().endswith("}")):
                change = json.loads("".join(lines))
                lines.clear()
                try:
                    changes.append({"at": time.time(), "type": change["type"], **read(change["object"])})
                except Exception as raised:  # in a thread of its own it would be lost
                    wrong.append(raised)

    reader = threading.Thread(target=follow, daemon=True)
    reader.start()
    with errors:
        try:
            yield changes
        finally:
            ended = running.poll() is not None
            leash.end([running], 5)
            reader.join()
            running.stdout.close()
        if ended:
            errors.seek(0)
            raise KubectlFailed(f"{' '.join(command)}: ended too early; it said: {errors.read().strip() or 'nothing'}")
    if wrong:
        raise wrong[0]


def lives(changes: list[dict], end: float) -> dict[str, list[tuple[float, float, str]]]:
    """{pod: [(begin, end, "starting", "ready" or "leaving"), …]} from changes that `pod_state` read.

    changes: as `watching` gives them, `at` in seconds of a clock of which `end` is the last moment.
    """
    found: dict[str, list[tuple[float, float, str]]] = {}
    now: dict[str, tuple[str | None, float]] = {}
    for each in changes:
        name = each["name"]
        state = "leaving" if each["leaving"] else "ready" if each["ready"] else "starting"
        before, since = now.get(name, (None, 0))
        if each["type"] == "DELETED" or before != state:
            if before:
                found.setdefault(name, []).append((since, each["at"], before))
            now[name] = (None if each["type"] == "DELETED" else state, each["at"])
    for name, (state, since) in now.items():
        if state:
            found.setdefault(name, []).append((since, end, state))
    return found
