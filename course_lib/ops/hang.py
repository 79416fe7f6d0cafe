"""An engine or a cluster that accepts and never answers, in the middle of a live function."""

import contextlib
import signal
import threading
import time
from collections.abc import Iterator

from course_lib.ops import reach

PATIENCE_S = 90
"""How long there may be no answer at all; a build alone may be silent for longer, but then the engine answers others."""

PAUSE_S = 15
"""Between two questions; seldom, since a live function may be measuring."""

AGAIN_S = 5
"""After the first interrupt, how long until the next, for what cleans up and waits for the engine in its turn."""


class Hangs(TimeoutError):
    """What a live function runs on has stopped answering."""


@contextlib.contextmanager
def broken_off(needs: tuple[str, ...]) -> Iterator[None]:
    """Ends the block, by raising Hangs in it, where what it runs on has not answered for `PATIENCE_S`.

    needs: "docker", "kubernetes", "browser". Only in the main thread of Linux and macOS: elsewhere nothing wakes a waiting call, and
    the limits of the calls themselves must do.
    """
    main = threading.main_thread()
    if threading.current_thread() is not main or not hasattr(signal, "pthread_kill"):
        yield
        return
    over, hangs, sending = threading.Event(), threading.Event(), threading.Lock()

    def watch() -> None:
        answered = time.monotonic()
        while not over.wait(AGAIN_S if hangs.is_set() else PAUSE_S):
            if not hangs.is_set() and all(reach.asked(need).there for need in needs):
                answered = time.monotonic()
            elif time.monotonic() - answered > PATIENCE_S:
                with sending:
                    if not over.is_set():
                        hangs.set()
                        signal.pthread_kill(main.ident, signal.SIGINT)

    threading.Thread(target=watch, daemon=True).start()
    try:
        try:
            yield
        finally:
            with sending:
                over.set()
    except KeyboardInterrupt:
        if hangs.is_set():
            raise Hangs(f"no answer for {PATIENCE_S} s") from None
        raise
