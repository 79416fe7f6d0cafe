"""When a service is left alone, and how often it is asked again: a circuit breaker and a budget for retries."""

import time
from collections import deque
from collections.abc import Callable


class Breaker:
    """Whether a service may be asked, judged by how its last tries ended.

    Closed, it lets every try through, and opens once `failures` of the last `failures / rate` tries have failed: with 10
    and 0.5 that is half of the last 20, and ten tries at least. Open, it lets none through for `seconds`. Then one try
    may pass: success closes it, failure opens it again. A try that began before the last change counts no more.
    """

    def __init__(self, failures: int, rate: float, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._failures, self._seconds, self._clock = failures, seconds, clock
        self._failed: deque[bool] = deque(maxlen=max(failures, round(failures / rate)))
        self._era, self._probing, self._opened_at = 0, False, 0.0
        self.open = False

    def wait(self) -> float:
        """Seconds until a try may pass, 0 for now."""
        left = self._opened_at + self._seconds - self._clock() if self.open else 0.0
        return max(left, self._seconds if self.open and self._probing else 0.0)

    def begin(self) -> int:
        """Notes a try, which `wait` has allowed. Returns what `end` must be told."""
        self._probing = self.open
        return self._era

    def end(self, era: int, failed: bool | None) -> None:
        """Notes how a try ended. failed: None where it shows nothing about the service, such as one that was cancelled."""
        if era != self._era:
            return
        self._probing = False
        if failed is None:
            return
        self._failed.append(failed)
        if self.open or sum(self._failed) >= self._failures:
            self.open, self._opened_at, self._era = failed, self._clock(), era + 1
            self._failed.clear()


class RetryBudget:
    """Each request earns `share` of a retry, up to `reserve`: in the long run retries add no more than that share."""

    def __init__(self, share: float, reserve: float = 10.0) -> None:
        self.share, self.reserve, self.left = share, reserve, reserve

    def earn(self) -> None:
        self.left = min(self.reserve, self.left + self.share)

    def spend(self) -> bool:
        """Takes one retry, or says that none is left."""
        if self.left < 1:
            return False
        self.left -= 1
        return True
