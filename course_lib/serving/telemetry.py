"""What the server tells about itself: log lines and metrics. Neither holds anything of what was asked or answered.

Conventions: prometheus.io/docs/practices/naming (base units, `_total`, bounded labels).
"""

import logging
import sys
import time
import traceback
from functools import cache
from typing import Any

import orjson
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.exposition import generate_latest

SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
SAMPLES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Log(logging.Handler):
    """One JSON object a line, on standard output, for machines that collect logs. Libraries' records come here too."""

    def __init__(self) -> None:
        super().__init__()
        self._out = sys.stdout.buffer

    def write(self, level: str, event: str, **fields: Any) -> None:
        """Writes one line at once, so that none is lost however the process ends."""
        now = time.time()
        moment = f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(now))}.{int(now % 1 * 1000):03}+00:00"
        line = {"time": moment, "level": level, "event": event, **fields}
        try:
            self._out.write(orjson.dumps(line, default=str, option=orjson.OPT_APPEND_NEWLINE))
            self._out.flush()
        except OSError:  # whoever read the log has left: no reason to stop serving
            pass

    def failure(self, event: str, error: BaseException, **fields: Any) -> None:
        """An error of the server's own, with its traceback."""
        self.write("error", event, **fields, traceback="".join(traceback.format_exception(error)))

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info and record.exc_info[1]:
            self.failure(record.getMessage().strip(), record.exc_info[1])
        else:
            self.write(record.levelname.lower(), record.getMessage().strip())


class Metrics:
    """The server's metrics, and `expose` for Prometheus to collect them.

    A request for a model that is not there counts under the empty name: labels are bounded by the folder, not by what
    clients make up.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        by_model = ["model", "version"]
        self._requests = Counter(
            "model_server_requests", "Requests answered.", [*by_model, "protocol", "code"], registry=self.registry
        )
        self._seconds = self._histogram("request_duration_seconds", "From the request's head to its answer.", SECONDS)
        self._queued = self._histogram("queue_duration_seconds", "From a whole request to its computation.", SECONDS)
        self._computed = self._histogram("inference_duration_seconds", "Computation of a batch.", SECONDS)
        self._sizes = self._histogram("batch_size", "Samples in a batch.", SAMPLES)
        self.waiting = Gauge("model_server_queue_samples", "Samples that wait.", registry=self.registry)
        self._loaded = Gauge("model_server_model_loaded", "1 for a version served.", by_model, registry=self.registry)
        self._there: set[tuple[str, str]] = set()
        self._keep_children()

    def _histogram(self, name: str, help_text: str, buckets: tuple[float, ...]) -> Histogram:
        labels = ["model", "version"]
        return Histogram(f"model_server_{name}", help_text, labels, buckets=buckets, registry=self.registry)

    def expose(self, loaded: dict[str, list[int]]) -> bytes:
        """The text that Prometheus collects. loaded: model -> versions that are served now."""
        there = {(name, str(version)) for name, versions in loaded.items() for version in versions}
        gone, self._there = self._there - there, there
        self._loaded.clear()
        for name, version in there:
            self._loaded.labels(name, version).set(1)
        text = generate_latest(self.registry)
        for name, version in gone:  # told once more, above; kept for ever, they would fill the memory
            for metric in (self._requests, self._seconds, self._queued, self._computed, self._sizes):
                metric.remove_by_labels({"model": name, "version": version})
        if gone:
            self._keep_children()
        return text

    def _keep_children(self) -> None:
        """A look-up by labels takes a lock and builds a tuple; what was looked up is kept."""
        self.requests, self.seconds = cache(self._requests.labels), cache(self._seconds.labels)
        self.queued, self.computed = cache(self._queued.labels), cache(self._computed.labels)
        self.sizes = cache(self._sizes.labels)
