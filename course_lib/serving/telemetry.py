"""What the server tells about itself: log lines and metrics. Neither holds anything of what was asked or answered.

Conventions: prometheus.io/docs/practices/naming (base units, `_total`, bounded labels).
"""

import json
import logging
import queue
import sys
import threading
import time
import traceback
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from itertools import accumulate
from typing import Any

import orjson
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.samples import Exemplar
from prometheus_client.utils import floatToGoString

SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
SAMPLES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
MOST_LINES = 10_000
"""How many lines of the log may wait to be written."""
PIECE = 1 << 16
GATHER_SECONDS = 0.005
"""How long the first line waits for others, so that the thread wakes once for all of them."""
FLUSH_SECONDS = 1.0


class Log(logging.Handler):
    """One JSON object a line, on standard output, for machines that collect logs. Libraries' records come here too.

    A thread writes. Whoever logs never waits for what becomes of the lines: where nobody reads them, or the disk is
    full, they are dropped, and `lost` counts them (for Prometheus: `collect`).
    """

    lost = 0

    def __init__(self) -> None:
        super().__init__()
        self._out = getattr(sys.stdout.buffer, "raw", sys.stdout.buffer)  # without a buffer: no line is held back
        self._lines: queue.SimpleQueue[bytes | threading.Event] = queue.SimpleQueue()
        threading.Thread(target=self._write, name="log", daemon=True).start()

    def write(self, level: str, event: str, **fields: Any) -> None:
        """Adds one line."""
        self.write_all(level, event, [fields])

    def write_all(self, level: str, event: str, lines: list[dict[str, Any]]) -> None:
        """Adds lines that differ in their fields."""
        now = time.time()
        said = {"time": f"{_clock(int(now))}.{int(now % 1 * 1000):03}+00:00", "level": level, "event": event}
        for fields in lines:
            if self._lines.qsize() >= MOST_LINES:
                self.lost += 1
            else:
                self._lines.put(_as_json(said | fields))

    def flush(self) -> None:
        """Waits until all that was added is written, at most FLUSH_SECONDS: the end of a process asks for it."""
        written = threading.Event()
        self._lines.put(written)
        written.wait(FLUSH_SECONDS)

    def collect(self) -> Iterator[Metric]:
        """prometheus_client's protocol of a collector: `registry.register(log)`."""
        yield CounterMetricFamily("log_lines_lost", "Lines of the log that could not be written.", value=self.lost)

    def _write(self) -> None:
        """The thread's life: all lines that wait, in one piece."""
        torn = b""  # after half a line, the next one begins on a line of its own
        while True:
            taken = [self._lines.get()]
            time.sleep(GATHER_SECONDS)
            while not self._lines.empty():
                taken.append(self._lines.get())
            text = torn + b"".join(each for each in taken if isinstance(each, bytes))
            done = 0
            try:
                while done < len(text):
                    count = self._out.write(text[done : done + PIECE])
                    done += count or 0
                    if count is None:  # somebody made it non-blocking, and it is full
                        time.sleep(0.01)
            except (OSError, ValueError):  # whoever read the log has left, or the disk is full: serving goes on
                self.lost += text.count(b"\n", max(done, len(torn)))
            if done:
                torn = b"" if text[:done].endswith(b"\n") else b"\n"
            for each in taken:
                if isinstance(each, threading.Event):
                    each.set()

    def failure(self, event: str, error: BaseException, **fields: Any) -> None:
        """An error of the server's own, with its traceback."""
        self.write("error", event, **fields, traceback="".join(traceback.format_exception(error)))

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info and record.exc_info[1]:
            self.failure(record.getMessage().strip(), record.exc_info[1])
        else:
            self.write(record.levelname.lower(), record.getMessage().strip())


def _as_json(line: dict[str, Any]) -> bytes:
    try:
        return orjson.dumps(line, default=str, option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_NON_STR_KEYS)
    except TypeError:  # a name of a file may hold what no UTF-8 can
        return json.dumps(line, default=str).encode() + b"\n"


@lru_cache(maxsize=2)
def _clock(second: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))


class Tally:
    """A histogram of one label set: how many observations fell into each bucket, their sum, and for a bucket the trace of
    the last one in it, its exemplar."""

    __slots__ = ("bounds", "counts", "exemplars", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds, self.counts, self.total = bounds, [0] * (len(bounds) + 1), 0.0
        self.exemplars: dict[int, Exemplar] = {}

    def observe(self, value: float, trace_id: str = "") -> None:
        """trace_id: of a trace that is kept."""
        bucket = bisect_left(self.bounds, value)
        self.counts[bucket] += 1
        self.total += value
        if trace_id:
            self.exemplars[bucket] = Exemplar({"trace_id": trace_id}, value, time.time())

    def buckets(self) -> list[tuple[str, int] | tuple[str, int, Exemplar]]:
        """Prometheus' form: for each bound, how many observations are not above it, and an exemplar if there is one."""
        bounds = [*map(floatToGoString, self.bounds), "+Inf"]
        exemplars = self.exemplars
        return [
            (bound, count, exemplars[i]) if i in exemplars else (bound, count)
            for i, (bound, count) in enumerate(zip(bounds, accumulate(self.counts)))
        ]


class VersionMetrics:
    """The metrics of one version of a model. `requests` counts by protocol and status."""

    __slots__ = ("batch_size", "computed", "queued", "requests", "seconds")

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, int]] = Counter()
        self.seconds, self.queued, self.computed = Tally(SECONDS), Tally(SECONDS), Tally(SECONDS)
        self.batch_size = Tally(SAMPLES)


class Metrics:
    """The server's metrics, and `expose` for Prometheus to collect them.

    They are plain numbers that the event loop alone changes: prometheus_client's own take a lock for each, which would
    cost a fifth of a request. A request for a model that is not there counts under the empty name: labels are bounded by
    the folder, not by what clients make up.
    """

    def __init__(self, waiting: Callable[[], int], log: Log) -> None:
        """waiting: tells how many samples wait now."""
        self._waiting, self._loaded, self._refused, self._looked_at = waiting, set(), set(), 0.0
        self._versions: dict[tuple[str, str], VersionMetrics] = {}
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._registry.register(self)
        self._registry.register(log)

    def of(self, name: str, version: str) -> VersionMetrics:
        """The metrics of a version, to be changed."""
        found = self._versions.get((name, version))
        if found is None:
            found = self._versions[name, version] = VersionMetrics()
        return found

    def expose(
        self,
        loaded: dict[str, Iterable[int]],
        refused: dict[str, Iterable[int]],
        looked_at: float = 0.0,
        exemplars: bool = False,
    ) -> bytes:
        """The text that Prometheus collects. loaded, refused: model -> versions that are served, and that are not.
        looked_at: when all folders were last looked at, in seconds since 1970. exemplars: write OpenMetrics, which has
        them, and not Prometheus' own format, which has none."""
        self._loaded, self._refused, self._looked_at = set(_pairs(loaded)), set(_pairs(refused)), looked_at
        text = (openmetrics.generate_latest if exemplars else generate_latest)(self._registry)
        # Those that are gone were told once more, above; kept for ever, they would fill the memory.
        for gone in self._versions.keys() - self._loaded - {("", "")}:
            del self._versions[gone]
        return text

    def collect(self) -> Iterator[Metric]:
        """prometheus_client's protocol of a collector."""
        labels = ["model", "version"]
        requests = CounterMetricFamily(
            "model_server_requests", "Requests answered.", labels=[*labels, "protocol", "code"]
        )
        histograms = {
            "seconds": ("request_duration_seconds", "From a request's head to its answer."),
            "queued": ("queue_duration_seconds", "From a whole request to its computation."),
            "computed": ("inference_duration_seconds", "Computation of a batch."),
            "batch_size": ("batch_size", "Samples in a batch."),
        }
        families = {
            name: HistogramMetricFamily(f"model_server_{told}", text, labels=labels)
            for name, (told, text) in histograms.items()
        }
        for version, kept in self._versions.items():
            for (protocol, status), count in kept.requests.items():
                requests.add_metric([*version, protocol, str(status)], count)
            for name, family in families.items():
                tally = getattr(kept, name)
                family.add_metric(list(version), tally.buckets(), tally.total)
        loaded = GaugeMetricFamily("model_server_model_loaded", "1 for a version that is served.", labels=labels)
        for version in self._loaded:
            loaded.add_metric(list(version), 1)
        refused = GaugeMetricFamily("model_server_model_refused", "1 for a version that is not served.", labels=labels)
        for version in self._refused:
            refused.add_metric(list(version), 1)
        yield from (requests, *families.values(), loaded, refused)
        text = "When all models' folders were last looked at."
        yield GaugeMetricFamily("model_server_last_look_timestamp_seconds", text, value=self._looked_at)
        yield GaugeMetricFamily("model_server_queue_samples", "Samples that wait.", value=self._waiting())


def _pairs(versions: dict[str, Iterable[int]]) -> Iterator[tuple[str, str]]:
    """Labels of versions by model."""
    return ((name, str(each)) for name, numbers in versions.items() for each in numbers)
