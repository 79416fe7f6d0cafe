"""What a learner would type into a terminal beside a lesson, and its answers."""

import shlex
import time
from collections.abc import Callable

from course_lib.ops.kubernetes import KubectlFailed, kubectl, pods


def said(namespace: str, line: str, timeout: float = 150) -> str:
    """What `line`, a whole `kubectl …` command, answers in the namespace: its output, or the words of its error.

    timeout: seconds.
    """
    try:
        return kubectl("-n", namespace, *shlex.split(line)[1:], timeout=timeout).strip()
    except KubectlFailed as refused:
        return str(refused).partition(": ")[2]


def shown(session: dict[str, str]) -> None:
    """Prints commands with their answers, {command: answer}, as a terminal would."""
    print("\n\n".join(f"$ {line}\n{answer}" for line, answer in session.items()))


def until(condition: Callable[[], object], seconds: float = 120) -> None:
    """Asks again and again until `condition()` holds. Raises TimeoutError after so many seconds."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"the cluster did not get there within {seconds} s")
        time.sleep(0.2)


def ready(namespace: str, app: str = "digits") -> list[str]:
    """The names of the pods with the label app=`app` that are ready and not about to go."""
    return [each["name"] for each in pods(namespace, f"app={app}") if each["ready"] and not each["leaving"]]
