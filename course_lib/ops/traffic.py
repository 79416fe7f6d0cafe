"""Traffic from inside the cluster, while something happens to the service."""

import contextlib
import json
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from course_lib.ops.kubernetes import KubectlFailed, finished_pod_log, kubectl, run_pod, wait_for_log

ARGUMENT_BYTES = 128 * 1024 - 1
"""The longest argument that Linux takes; the pod would otherwise not start."""


class Traffic:
    """Requests that are being sent. `begun_at`: when they began, in seconds since 1970."""

    def __init__(self, namespace: str, name: str, seconds: float, begun_at: float) -> None:
        self.namespace, self.name, self.seconds, self.begun_at = namespace, name, seconds, begun_at
        self._result: dict | None = None

    def elapsed(self) -> float:
        """Seconds since the first request."""
        return time.time() - self.begun_at

    def wait_until(self, seconds: float) -> None:
        """Sleeps until that many seconds after the first request; returns at once where they are over."""
        time.sleep(max(0, seconds - self.elapsed()))

    def stop(self) -> None:
        """Asks for the end of the traffic before its time: no request begins any more, `result` tells of those until now."""
        with contextlib.suppress(KubectlFailed):  # it has ended by itself in the meantime
            kubectl("exec", self.name, "-n", self.namespace, "--", "sh", "-c", "kill -TERM 1")

    def result(self) -> dict:
        """Waits for the end of the traffic. Raises KubectlFailed where the client broke down.

        answered: int. failed: counts by status or name of the exception. by_half_second: {pod: answers in each half second},
        failed_by_half_second, and mean_ms, p50_ms, p99_ms likewise (None where nothing was answered): lists, by the half
        second in which the request was due. first_answer_s: {pod: seconds after the first request}. by_version:
        {X-Model-Version: answers}, version_by_half_second: the same, as lists. mean_ms, p50_ms, p99_ms: over all, from
        when a request was due to its answer. retried: how many second and further attempts were made. begun_at.
        """
        if self._result is None:
            log = finished_pod_log(self.namespace, self.name, max(0, self.seconds - self.elapsed()) + 60)
            self._result = json.loads(log.splitlines()[-1])
        return self._result


@contextlib.contextmanager
def traffic(
    namespace: str,
    image: str,
    bodies: Sequence[str],
    *,
    path: str = "/v1/models/digits_cnn:predict",
    host: str = "digits",
    port: int = 80,
    seconds: float = 0,
    steps: Sequence[tuple[float, float]] = (),
    workers: int = 4,
    keep: bool = False,
    max_age_s: float = 3600,
    retries: int = 0,
    retry_pause_s: float = 0,
    clients: int = 0,
    timeout_s: float = 10,
    name: str = "traffic",
) -> Iterator[Traffic]:
    """Starts a pod that posts `bodies` in turn to `host`, a Service of the namespace, and waits until it has begun.

    image: one with Python 3. seconds: how long, each worker sending its next request 20 ms after its last answer; or
    steps: [(seconds, requests a second), …], Poisson arrivals whatever became of those before. workers: at most so many
    under way at once. keep: each worker keeps its connection; otherwise each request opens one, and the Service chooses a
    pod anew. max_age_s: a kept connection that is older is replaced before the next request. retries: further attempts,
    each retry_pause_s after the one before. clients: so many values of X-Client-Id, in turn. The pod goes when the block
    ends. Raises ValueError for neither or both of seconds and steps, for no body and for too many; KubectlFailed.
    """
    if bool(seconds) == bool(steps) or not bodies:
        raise ValueError(f"expected bodies, and either seconds or steps; got {len(bodies)} bodies, {seconds}, {steps}")
    seconds = seconds or sum(length for length, _ in steps)
    orders = {"host": host, "port": port, "path": path, "bodies": list(bodies), "seconds": seconds, "steps": steps,
              "workers": workers, "keep": keep, "max_age_s": max_age_s, "retries": retries,
              "retry_pause_s": retry_pause_s, "clients": clients, "timeout_s": timeout_s,
              "pause_s": 0.02, "seed": 0}  # fmt: skip
    client = Path(__file__).with_name("traffic_client.py").read_text(encoding="utf-8")
    if (size := len(json.dumps(orders))) > ARGUMENT_BYTES:
        raise ValueError(
            f"expected bodies of less than {ARGUMENT_BYTES} bytes in all, got {size}: give fewer, they take turns"
        )
    run_pod(namespace, name, image, ["python", "-c", client, json.dumps(orders)])
    try:
        begun_at = float(wait_for_log(namespace, name, "begin ").split()[1])
        yield Traffic(namespace, name, seconds, begun_at)
    finally:
        kubectl("delete", "pod", name, "-n", namespace, "--ignore-not-found", "--grace-period=0", "--wait=false")


@contextlib.contextmanager
def clients(
    namespace: str, image: str, bodies: Sequence[str], kinds: dict[str, dict], **common: object
) -> Iterator[dict[str, Traffic]]:
    """Several clients at once; gives {name: its traffic}.

    kinds: {name: what is special about it, arguments of `traffic`}. common: arguments of `traffic` for all of them.
    """
    with contextlib.ExitStack() as stack, ThreadPoolExecutor() as pool:

        def start(name: str) -> Traffic:
            orders = {"seconds": 90, "timeout_s": 5, "name": name, **common, **kinds[name]}
            return stack.enter_context(traffic(namespace, image, bodies, **orders))

        yield dict(zip(kinds, pool.map(start, kinds)))


def results(streams: dict[str, Traffic]) -> dict[str, dict]:
    """Stops the clients and collects what they saw: {name: `Traffic.result`}."""
    for stream in streams.values():
        stream.stop()
    return {name: stream.result() for name, stream in streams.items()}
