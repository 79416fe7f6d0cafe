"""Where a request's time went: spans, joined from process to process by `traceparent`, made by OpenTelemetry.

Off unless a process is started with `--traces FILE`: only then is opentelemetry-sdk imported. A span holds names, sizes,
times and statuses, nothing of what was asked or answered: no body, header, query or path, and no error's message.

Sources: W3C Trace Context, level 1; OpenTelemetry's specification of tracing, and its names of attributes.
"""

import argparse
import re
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import orjson

WRITE_MS = 200
"""How long an ended span waits for others, so that they are written together."""
MOST_SPANS = 1 << 14
"""How many may wait to be written; of more, the oldest are lost. No request waits for the file."""
NONE: Mapping[str, Any] = MappingProxyType({})
TRACEPARENT = re.compile(r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")


def read_traceparent(header: str) -> tuple[int, int, bool] | None:
    """(trace, parent, sampled) of a `traceparent`; None for anything else: its reader then begins a new trace.

    A version above 00 may say more than we know; what it has in common with ours is read (W3C Trace Context, 4.3).
    """
    found = TRACEPARENT.fullmatch(header.strip(" \t"))
    if not found or (found[1] == "00" and found[5]):
        return None
    return int(found[2], 16), int(found[3], 16), bool(int(found[4], 16) & 1)


class Span:
    """A part of a request's time. Moments are those of time.perf_counter(), in seconds.

    kept: whether it is written; if not, it only tells the next process that its trace is not kept. continues: whether
    the trace began elsewhere. trace_id, span_id: 32 and 16 hexadecimal digits.
    """

    __slots__ = ("_otel", "_tracing", "_zero_ns", "continues", "kept", "span_id", "trace_id")

    def __init__(self, tracing: "Tracing", otel: Any, zero_ns: int, continues: bool) -> None:
        """otel: OpenTelemetry's own. zero_ns: when perf_counter was 0, in nanoseconds since 1970."""
        self._tracing, self._otel, self._zero_ns, self.continues = tracing, otel, zero_ns, continues
        told = otel.get_span_context()
        self.trace_id, self.span_id, self.kept = f"{told.trace_id:032x}", f"{told.span_id:016x}", otel.is_recording()

    @property
    def traceparent(self) -> str:
        """The header that makes this span the parent of the next process's."""
        return f"00-{self.trace_id}-{self.span_id}-0{self.kept:d}"

    @property
    def in_log(self) -> dict[str, str]:
        """Its fields in a log line, by OpenTelemetry's names."""
        return {"trace_id": self.trace_id, "span_id": self.span_id, "trace_flags": f"0{self.kept:d}"}

    def child(self, name: str, start: float | None = None, kind: str = "INTERNAL") -> "Span":
        """A part of it, from `start` or from now on. kind: CLIENT where it waits for another process."""
        if not self.kept:
            return self
        otel = self._tracing.start(name, self._otel, kind, self._epoch_ns(start))
        return Span(self._tracing, otel, self._zero_ns, True)

    def end(
        self, at: float | None = None, name: str = "", error: bool = False, attributes: Mapping[str, Any] = NONE
    ) -> None:
        """Ends it at `at`, or now. name: in the place of its first one."""
        if not self.kept:
            return
        self._otel.set_attributes(attributes)
        if name:
            self._otel.update_name(name)
        if error:
            self._otel.set_status(self._tracing.failed)
        self._otel.end(self._epoch_ns(at))

    def _epoch_ns(self, moment: float | None) -> int:
        return self._zero_ns + int((time.perf_counter() if moment is None else moment) * 1e9)


class Tracing:
    """The spans of one process. They become lines of JSON in a file, written by a thread of OpenTelemetry's."""

    def __init__(self, service: str, file: Path, ratio: float = 1.0) -> None:
        """service: its name in each span. file: lines are added at its end. ratio: the share that is kept of the traces
        that begin here; whether one that began elsewhere is kept was decided there.

        Raises ImportError without opentelemetry-sdk, OSError where the file cannot be opened.
        """
        try:
            from opentelemetry import trace
            from opentelemetry.context import Context
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter
            from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio
        except ImportError as missing:
            raise ImportError(f"--traces needs a package ({missing}): pip install opentelemetry-sdk") from None
        self._otel, self._nothing, self._batches = trace, Context(), 0
        self._service, self._instance = service, uuid.uuid4().hex[:12]
        self.failed = trace.StatusCode.ERROR
        self._provider = TracerProvider(ParentBasedTraceIdRatio(ratio), shutdown_on_exit=False)
        exporter = ConsoleSpanExporter(out=file.open("a", encoding="utf-8"), formatter=self._line)
        self._provider.add_span_processor(BatchSpanProcessor(exporter, MOST_SPANS, WRITE_MS))
        self._tracer = self._provider.get_tracer("course_lib")

    def begin(self, traceparent: str | None, started: float) -> Span:
        """The span of a request that came with this header, from `started` on."""
        came, parent = read_traceparent(traceparent) if traceparent else None, None
        if came:
            flags = self._otel.TraceFlags(came[2])
            parent = self._otel.NonRecordingSpan(self._otel.SpanContext(*came[:2], is_remote=True, trace_flags=flags))
        # Where the process is interrupted between the two clocks, the difference is too small: the largest is the best.
        zero_ns = max([time.time_ns() - time.perf_counter_ns() for _ in range(3)])
        otel = self.start("request", parent, "SERVER", zero_ns + int(started * 1e9))
        return Span(self, otel, zero_ns, bool(came))

    def start(self, name: str, parent: Any, kind: str, start_ns: int) -> Any:
        """A span of OpenTelemetry's. What a thread or a task does beside it plays no part: the parent is named."""
        context = self._otel.set_span_in_context(parent, self._nothing) if parent else self._nothing
        return self._tracer.start_span(name, context, self._otel.SpanKind[kind], start_time=start_ns)

    def batched(self, calls: list, left: float, began: float | None = None, seconds: float = 0.0) -> None:
        """Tells each request of `calls` (batching.Call) when it left its queue, and what its batch was.

        began, seconds: of the computation; None where it was given up before.
        """
        now, self._batches = time.perf_counter(), self._batches + 1
        told = {"batch.id": self._batches, "batch.requests": len(calls), "batch.samples": sum(c.samples for c in calls)}
        for call in calls:
            span = call.owner.span
            if not (span and span.kept):
                continue
            span.child("queue", call.arrived).end(left)
            if began is not None:
                batch = span.child("batch", left)
                batch.child("compute", began).end(began + seconds)
                batch.end(now, attributes=told)

    def close(self) -> None:
        """Writes what waits: the end of a process asks for it."""
        self._provider.shutdown()

    def _line(self, span: Any) -> str:
        context, parent = span.context, span.parent
        told = {
            "trace_id": f"{context.trace_id:032x}",
            "span_id": f"{context.span_id:016x}",
            "parent_id": f"{parent.span_id:016x}" if parent else None,
            "service": self._service,
            "instance": self._instance,
            "name": span.name,
            "kind": span.kind.name,
            "start_ns": span.start_time,
            "end_ns": span.end_time,
            "error": span.status.status_code is self.failed,
            "attributes": dict(span.attributes),
        }
        return orjson.dumps(told, option=orjson.OPT_APPEND_NEWLINE).decode()


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of a process that can trace."""
    parser.add_argument("--traces", type=Path, metavar="FILE", help="add spans to it as JSON lines (default: none)")
    parser.add_argument(
        "--trace-ratio", type=_share, default=1.0, help="share kept of the traces that begin here (default: 1)"
    )


def asked_for(options: argparse.Namespace, service: str) -> Tracing | None:
    """What the options ask for. Raises as Tracing does."""
    return Tracing(service, options.traces, options.trace_ratio) if options.traces else None


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"expected a number from 0 to 1, got '{text}'")
    return value
