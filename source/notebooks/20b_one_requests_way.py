# %% [markdown]
# # 20b One request's way
#
# At 3 a.m. some requests take half a second instead of ten milliseconds. The gateway's log blames the model server. The
# model server computes a digit in a millisecond. Both logs are right, and neither says where the time went.
#
# ## You will be able to
#
# - follow one request through three processes, by its request id and by its trace;
# - draw a trace as a waterfall, and compute where its time went;
# - get from a slow bucket of a histogram to one slow request, and to its cause;
# - choose which traces to keep, say what is lost, and measure what tracing costs;
# - test that logs, spans and metrics hold no personal data.
#
# ## Before you start
#
# You need lesson 15 (the gateway and the services behind it) and lesson 20 (histograms, percentiles). Lesson 14 builds
# the model server and its queue. Everything here runs as processes on your machine.

# %%
import contextlib
import json
import shutil
import threading
import time
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor

import matplotlib.pyplot as plt
import numpy as np
import prometheus_client
import psutil

from course_lib import data, models
from course_lib.idioms import begin, claim, guess, observe, path, reveal, show
from course_lib.measure import load
from course_lib.ops.service import start_module, start_service

scratch = begin("20b")
path.picture(here="20b")

# %% [markdown]
# ## Which log line belongs to this answer?
#
# We start three processes of lesson 15: the gateway, the preprocessing service and the model server. The model server
# computes with one thread. The option `--traces FILE` is new. The next section explains it.

# %%
served = scratch / "models" / "digits_cnn" / "3"
served.mkdir(parents=True, exist_ok=True)
shutil.copy(models.path("digits_cnn", 3), served / "model.onnx")
running = {}


# %%
def start(name, *options, file=""):
    """Starts a service. Its log and its spans become files in `scratch`, named after it."""
    file = file or name
    if file in running:  # this cell runs again
        running[file].stop()
    log, spans = scratch / f"{file}.log", scratch / f"{file}.spans"
    spans.unlink(missing_ok=True)
    options = [*options, "--traces", str(spans)]
    if name == "model-server":
        options += ["--threads", "1", "--max-queue", "1000000"]
        running[file] = start_service(scratch / "models", log, options=options)
    else:
        running[file] = start_module(f"course_lib.services.{name}", options, log)
    return running[file]


# %%
server, preprocess = start("model-server"), start("preprocess")
behind = ["--predictor", server.url, "--preprocess", preprocess.url]
patient = ["--timeout-ms", "60000", "--try-ms", "60000", "--max-under-way", "250"]
gateway = start("gateway", *behind, *patient)
clients = load.Wires(gateway.url, timeout_s=60)

# %% [markdown]
# A drawing has 32 × 32 points, 1 where there is ink. Eight clients send one drawing each, at the same time.

# %%
_, test = data.digits()
bitmaps = np.kron(test.images > 0.5, np.ones((4, 4))).astype(int)  # (450, 32, 32)
drawings = [json.dumps({"bitmaps": [each.tolist()]}).encode() for each in bitmaps]


def visitor(i):
    return clients.ask("/digits", drawings[i % len(drawings)]).status


with ThreadPoolExecutor(8) as pool:
    print([*pool.map(visitor, range(8))])


# %% [markdown]
# ### Where this goes wrong: the log of one pod
#
# The articles behind this course watch a service with two commands, `kubectl get pods` and `kubectl logs <pod_name>`.
# The second one prints what one process wrote to its standard output. Our log files hold the same. Take one of the
# eight requests in the gateway's log. Which line of the model server's log belongs to it? Without an id you can only
# compare times.


# %%
def log_lines(name):
    """The lines about requests in a service's log, as dicts."""
    written = (scratch / f"{name}.log").read_text().splitlines(keepends=True)
    lines = [json.loads(line) for line in written if line.startswith("{") and line.endswith("\n")]
    return [line for line in lines if line["event"] == "request" and "/health" not in line["path"]]


def written_ms(line):
    return np.datetime64(line["time"].removesuffix("+00:00"), "ms").astype(int)


# %% [markdown]
# A service writes its log in a thread of its own, so we wait until the lines are there.


# %%
def until(true, seconds=30):
    """Waits until `true()` is true, and returns what it gave."""
    end = time.monotonic() + seconds
    while not (found := true()):
        if time.monotonic() > end:
            raise TimeoutError(f"it was not true within {seconds} s")
        time.sleep(0.05)
    return found


all_there = until(lambda: min(len(log_lines(n)) for n in ("gateway", "model-server")) >= 8)


# %%
def fitting(line):
    """The model server's lines that were written while this request was under way."""
    first_ms, last_ms = written_ms(line) - line["ms"] - 1, written_ms(line) + 1
    return [each for each in log_lines("model-server") if first_ms <= written_ms(each) <= last_ms]


request = max(log_lines("gateway"), key=lambda line: len(fitting(line)))
claim(
    "several lines of the model server's log fit the time of one request",
    len(fitting(request)) > 1,
    f"{len(fitting(request))} lines",
)

# %% [markdown]
# The mended form needs one thing: an id that travels with the request. The gateway gives each request a *request id*,
# or takes the one in the client's `X-Request-Id`. It passes the id on, and each service writes it into its log. A log
# line must also be *structured*, that is, made of named fields. Then a program can join the lines of several services.

# %%
services = ("gateway", "preprocess", "model-server")


def joined(field, value):
    """The lines of all services in which this field has this value."""
    lines = [(name, line) for name in services for line in log_lines(name)]
    return [(name, line) for name, line in lines if line.get(field) == value]


def print_lines(lines):
    for name, line in lines:
        ms = line.get("ms", line.get("duration_ms"))
        print(f"{name:13} {line['request_id'][:14]:14} {line['path']:30} {ms} ms")


# %%
same = joined("request_id", request["request_id"])
print_lines(same)
claim("by its request id, each service has exactly one line", [n for n, _ in same] == [*services])

# %% [markdown]
# On a cluster the same join is one command, with a label that your pods share. Without `--tail=-1` it shows only the
# last ten lines of each pod.
#
# ```bash
# kubectl logs --selector YOUR-LABEL --prefix --tail=-1 | grep "$REQUEST_ID"
# ```
#
# Now we have three durations. But did the gateway wait for preprocessing first? Did it ask twice? Did the request wait
# in the model server's queue, or did the model compute all that time? A log line has one end and one duration. We need
# the parts.
#
# ## How does a trace cross from one process to the next?
#
# A *span* is one part of a request's work. It has a name, a start, an end and a few attributes. It also has the id of
# its *parent*, the part that it belongs to. All spans of one request form a tree, its *trace*. They share a trace id.
#
# *OpenTelemetry* is the standard for this, with libraries for many languages. Its SDK (software development kit) makes
# spans. An *exporter* writes them somewhere. Ours writes into memory. The notebook is the client and makes the first
# span.

# %%
from opentelemetry import propagate
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

memory, provider = InMemorySpanExporter(), TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(memory))
tracer = provider.get_tracer("notebook")

# %%
headers = {}
with tracer.start_as_current_span("read a digit"):
    propagate.inject(headers)
    clients.ask("/digits", drawings[8], headers)
print(headers)

# %% [markdown]
# `inject` wrote one header. Its form is *Trace Context*, a standard of the World Wide Web Consortium (W3C):
#
# | part | digits (hexadecimal) | meaning |
# | --- | --- | --- |
# | version | 2 | `00`; `ff` is forbidden |
# | trace id | 32 | the same in all processes; not all zeros |
# | parent id | 16 | the span that waits for this request; not all zeros |
# | flags | 2 | the lowest bit: this trace is *sampled*, that is, it is kept |
#
# Our flags may be `03`. The second bit, from a later draft, says that the trace id is random. You can also send a
# header by hand:
#
# ```bash
# curl -H "traceparent: 00-$(openssl rand -hex 16)-$(openssl rand -hex 8)-01" …
# ```
#
# Each process makes its own spans, and puts the id of its own span into the header that it sends on. Our three
# processes write a line for each span, about a fifth of a second after it has ended.


# %%
def written_spans(files):
    """All spans in these files, dicts, by their trace id."""
    found = defaultdict(list)
    for file in files:
        for line in (scratch / f"{file}.spans").read_text().splitlines(keepends=True):
            if line.endswith("\n"):  # else it is being written
                span = json.loads(line)
                found[span["trace_id"]].append(span)
    return found


# %% [markdown]
# The spans of a trace come from three files, and no span says that it is the last one. We know our services, so we can
# test whether a trace is whole. The gateway's own span must be there, and below each of its calls a span of the called
# service.


# %%
def is_whole(spans):
    parents = {span["parent_id"] for span in spans}
    calls = [span["span_id"] for span in spans if span["kind"] == "CLIENT"]
    own = any(span["service"] == "gateway" and span["kind"] == "SERVER" for span in spans)
    return own and parents.issuperset(calls)


def traces(ids, files=services):
    """The spans of these traces, by trace id, once they are whole."""

    def all_there():
        found = written_spans(files)
        return all(is_whole(found[each]) for each in ids) and {each: found[each] for each in ids}

    return until(all_there)


# %%
_, trace_id, ours, flags = headers["traceparent"].split("-")
spans = traces([trace_id])[trace_id]
root = next(span for span in spans if span["parent_id"] == ours)
print(json.dumps(root, indent=1))

# %%
claim(
    "all three processes have spans of our trace, and the gateway's own is the child of ours",
    {span["service"] for span in spans} == {*services} and root["service"] == "gateway",
    f"{len(spans)} spans from {len(services)} processes",
)

# %% [markdown]
# What if the header is broken? A proxy cuts it, or a client makes one up. The standard says: a service that cannot read
# the header begins a new trace. No user should lose an answer because of a tracing header. If the version is newer than
# ours, we read the parts that we know.

# %%
good = f"{'ab' * 16}-{'cd' * 8}"
cases = {
    f"00-{good}-01": "continued",
    f"cc-{good}-01-of-a-later-version": "continued",
    f"ff-{good}-01": "a new one",
    f"00-{'0' * 32}-{'cd' * 8}-01": "a new one",
    f"00-{good.upper()}-01": "a new one",
    "00-abc-01": "a new one",
}


# %% [markdown]
# We send all six headers, and look for the trace id in the log.


# %%
def line_of(reply):
    """A log line about an answer."""
    return until(lambda: joined("request_id", reply.headers["x-request-id"]))[0][1]


rows = []
for header in cases:
    reply = clients.ask("/digits", drawings[0], {"traceparent": header})
    found = "continued" if line_of(reply)["trace_id"] == "ab" * 16 else "a new one"
    rows.append([header[:56], reply.status, found])

# %%
show.table(["traceparent", "status", "the trace is"], rows, caption="Six headers and the gateway")

# %%
claim(
    "all six headers get the answer 200; only a readable one continues the client's trace",
    all(row[1] == 200 for row in rows) and [row[2] for row in rows] == [*cases.values()],
)

# %% [markdown]
# **Now do exercise 20b.1**: write the next `traceparent` for any header.
#
# ## Where did the time go?
#
# First we put the spans in order: each parent before its children, and children by their start.


# %%
def in_order(spans):
    """(depth, span) for each span, a parent before its children."""
    known, children = {span["span_id"] for span in spans}, defaultdict(list)
    for span in sorted(spans, key=lambda span: span["start_ns"]):
        children[span["parent_id"] if span["parent_id"] in known else None].append(span)

    def below(parent, depth):
        for span in children[parent]:
            yield depth, span
            yield from below(span["span_id"], depth + 1)

    return [*below(None, 0)]


# %% [markdown]
# Then we draw them as a *waterfall*: one bar for each span, from its start to its end.

# %%
COLOUR = {"gateway": show.BLUE, "preprocess": show.GREEN, "model-server": show.ORANGE}


def waterfall(spans, title):
    """Draws a trace, and says the same in words."""
    rows, words = in_order(spans), []
    zero_ns = rows[0][1]["start_ns"]
    plt.figure(figsize=(8, 0.32 * len(rows) + 1))
    for row, (depth, span) in enumerate(rows):
        left, width = (span["start_ns"] - zero_ns) / 1e6, (span["end_ns"] - span["start_ns"]) / 1e6
        colour = COLOUR[span["service"]]  # with an edge, so that a short bar can be seen
        plt.barh(row, width, left=left, color=colour, edgecolor=colour, height=0.7)
        plt.text(left + width, row, f" {width:.1f} ms", va="center", fontsize=8)
        words.append(f"{span['service']} {span['name']}: from {left:.1f} ms, {width:.1f} ms long")
    labels = ["   " * depth + f"{span['service']}: {span['name']}" for depth, span in rows]
    plt.yticks(range(len(rows)), labels, ha="left", fontsize=8)
    plt.gca().tick_params(axis="y", pad=160, length=0)
    plt.gca().invert_yaxis()
    plt.xlim(0, 1.15 * (rows[0][1]["end_ns"] - zero_ns) / 1e6)
    plt.xlabel("time since the gateway had the request's head (ms)")
    show.finding(title, alt=f"A waterfall of {len(rows)} spans. {'; '.join(words)}.")


# %%
waterfall(spans, "The gateway asks first preprocessing, then the model server")

# %% [markdown]
# Read it from top to bottom. `digits` is the gateway's whole request. `preprocess` and `predictor-0` are the calls that
# the gateway makes, seen from the gateway. Below each call is the same request, seen from the service. The difference
# between the two is the hop of lesson 15: text, sockets, and waiting for the other process to wake up. The model server
# reports three parts:
#
# - **queue**: from the moment when the request has been parsed until a batch takes it;
# - **batch**: from there until the answer is back on the server's event loop;
# - **compute**: the model itself, inside the batch.
#
# A span with a long bar is not always slow itself, because its children may have taken the time. The *self time* $s$ of
# a span $v$ is its duration minus the time in which at least one of its children is under way:
#
# $$s(v) = (e_v - b_v) - \Big|\bigcup_{c \,\in\, \text{children}(v)} [b_c, e_c] \cap [b_v, e_v]\Big| ,$$
#
# with the beginning $b$, the end $e$, and the length $|\cdot|$. Here the children follow one after the other, so the
# length of the union is the sum of their lengths.


# %%
def self_times_ms(spans):
    """(service, name) -> self time in ms, for spans whose children do not overlap."""
    took = defaultdict(float)
    for span in spans:
        b, e = span["start_ns"], span["end_ns"]
        inside = [child for child in spans if child["parent_id"] == span["span_id"]]
        covered = sum(max(0, min(c["end_ns"], e) - max(c["start_ns"], b)) for c in inside)
        took[span["service"], span["name"]] += (e - b - covered) / 1e6
    return dict(took)


# %%
own_ms, whole_ms = self_times_ms(spans), (root["end_ns"] - root["start_ns"]) / 1e6
rows = [
    [f"{service}: {name}", f"{ms:.2f}", f"{ms / whole_ms:.0%}"]
    for (service, name), ms in sorted(own_ms.items(), key=lambda item: -item[1])
]
show.table(["span", "self time (ms)", "share"], rows, caption="Where the time of one request went")

# %%
claim(
    "the self times add up to the whole request: nothing is counted twice, nothing is missing",
    abs(sum(own_ms.values()) - whole_ms) < 0.02 * whole_ms + 0.2,
    f"{sum(own_ms.values()):.2f} of {whole_ms:.2f} ms",
)

# %% [markdown]
# This holds where children lie inside their parents and do not overlap. Each child takes away from its parent exactly
# what it adds itself, so only the root's duration remains. **Now do exercise 20b.2**: children that overlap, and
# children that outlive their parent.
#
# ### Where this goes wrong: a stopwatch in three lines
#
# One of the articles measures a service with three lines: `start_time`, the call, `end_time`. We run them on ten calls.
# The tenth waits for 0.2 s, and then gives up.


# %%
def call(i):
    if i == 9:
        time.sleep(0.2)
        raise TimeoutError("no answer")


noted_s = []
for i in range(10):
    with contextlib.suppress(TimeoutError):
        start_time = time.time()
        call(i)
        end_time = time.time()
        noted_s.append(end_time - start_time)
print(f"{len(noted_s)} of 10 calls noted, the slowest took {max(noted_s):.4f} s")
print({name: time.get_clock_info(name).adjustable for name in ("time", "perf_counter")})

# %% [markdown]
# The exception jumps over the third line, so the slowest call is the one that is missing. And `time.time` is a clock
# that somebody may set: after a correction, a duration can be negative. The mended form is one line. `Histogram.time`
# uses the clock that nobody sets, and it also notes calls that fail.

# %%
registry = prometheus_client.CollectorRegistry()
took = prometheus_client.Histogram("call_seconds", "", registry=registry)
for i in range(10):
    with contextlib.suppress(TimeoutError), took.time():
        call(i)
calls, total_s = (registry.get_sample_value(f"call_seconds_{name}") for name in ("count", "sum"))
claim(
    "three lines miss the call that failed; the histogram has all ten, and the time of the slowest",
    len(noted_s) == 9 and calls == 10 and total_s > 0.15,
    f"9 and 10 calls, {total_s:.2f} s in all",
)

# %% [markdown]
# ## How do you get from a slow dashboard to a slow request?
#
# Now the incident. Visitors send 40 drawings a second. A job that everyone has forgotten runs beside them. Twice it
# sends three requests at once, each with thousands of pictures. Lesson 20's dashboard would show that p99 is bad. In
# which part of a slow visitor's request is the time?

# %%
guess(
    "part",
    "Which part of a slow visitor's request takes the most time?",
    choices=["the gateway's own work", "the preprocessing", "the queue", "the computation"],
)

# %%
ink = (test.images > 0.5).astype(int)[:, None]  # (450, 1, 8, 8)
job = json.dumps({"instances": ink.tolist() * 15}, separators=(",", ":")).encode()
print(f"{15 * len(ink):,} pictures, {len(job) / 1e6:.2f} MB")


def nightly_job(number):
    time.sleep(0.8 + 1.6 * (number // 3))
    own = {"X-Request-Id": f"nightly-job-{number}"}
    return load.Wires(gateway.url, timeout_s=60).ask("/v1/models/digits_cnn:predict", job, own)


# %%
due_s = load.poisson_arrivals(40, 160, seed=20)
with ThreadPoolExecutor(6) as pool:
    jobs = [pool.submit(nightly_job, number) for number in range(6)]
    traffic = load.open_loop(visitor, due_s, workers=60)
p50_ms, p99_ms = (load.percentile(traffic.latency_ms, share) for share in (0.5, 0.99))
claim(
    "every visitor and every job got an answer",
    not traffic.failed.any() and all(each.result().status == 200 for each in jobs),
    f"{len(due_s)} visitors, p50 {p50_ms:.0f} ms, p99 {p99_ms:.0f} ms",
)

# %% [markdown]
# The gateway counts its answers in a histogram. A histogram forgets which request was which. So each bucket may carry
# an *exemplar*: the trace id of one request that fell into it. Prometheus' own text format has no place for exemplars.
# The format *OpenMetrics* has one, and our servers use it for a client that asks for it:
#
# ```bash
# curl -H "Accept: application/openmetrics-text" http://localhost:8080/metrics
# ```
#
# Prometheus asks for it by itself. It keeps exemplars only if it is started with `--enable-feature=exemplar-storage`.

# %%
wanted = "service_request_duration_seconds_bucket"
plain = clients.ask("/metrics").body.decode()
told = clients.ask("/metrics", None, {"Accept": "application/openmetrics-text"}).body.decode()
print([line for line in told.splitlines() if line.startswith(wanted) and "trace_id" in line][-1])
without = wanted in plain and "trace_id" not in plain
claim("Prometheus' own text format carries no trace id", without)

# %%
from prometheus_client.openmetrics.parser import text_string_to_metric_families

samples = [each for family in text_string_to_metric_families(told) for each in family.samples]
buckets = [each for each in samples if each.name == wanted and each.labels["route"] == "digits"]
rows = [
    [each.labels["le"], int(each.value), each.exemplar.labels["trace_id"][:12]]
    for each in buckets
    if each.exemplar
]
show.table(["up to (s)", "requests", "exemplar"], rows, caption="All requests for digits so far")

# %% [markdown]
# We take the exemplar of the slowest bucket, and ask the spans for its trace.

# %%
slow = [each for each in buckets if each.exemplar][-1].exemplar
spans = traces([slow.labels["trace_id"]])[slow.labels["trace_id"]]
own_ms = self_times_ms(spans)
(service, name), worst_ms = max(own_ms.items(), key=lambda item: item[1])
share = worst_ms / sum(own_ms.values())
waterfall(spans, f"The slow request spent {share:.0%} of its time in one span: {name}")

# %%
root = in_order(spans)[0][1]
claim(
    "the exemplar leads to a trace whose duration is the one in the bucket",
    abs((root["end_ns"] - root["start_ns"]) / 1e9 - slow.value) < 0.1 + 0.1 * slow.value,
    f"{slow.value:.3f} s in the bucket",
)

# %%
kinds = {"gateway": "the gateway's own work", "preprocess": "the preprocessing"}
parts = Counter()
for (service, name), ms in own_ms.items():
    in_server = "the queue" if name == "queue" else "the computation"
    parts[kinds.get(service, in_server)] += ms
reveal("part", parts.most_common(1)[0][0])
observe(
    "the slow visitor's request spent most of its time in the queue of the model server",
    parts["the queue"] > 0.5 * sum(parts.values()),
    f"{parts['the queue']:.0f} of {sum(parts.values()):.0f} ms",
)

# %% [markdown]
# A histogram of the computation times would not show it, because this request itself was computed quickly. (In your
# waterfall, `v1` may begin long after `predictor-0`. Then the model server read the request late, and the trace does
# not say why.) Which request did ours wait for in the queue? Another trace must have a batch that was under way at the
# same time.

# %%
waited = next(span for span in spans if span["name"] == "queue")
batches = [
    span
    for each in written_spans(["model-server"]).values()
    for span in each
    if span["name"] == "batch"
]
meanwhile = [
    span
    for span in batches
    if span["start_ns"] < waited["end_ns"] and span["end_ns"] > waited["start_ns"]
]

# %%
largest = max(meanwhile, key=lambda span: span["attributes"]["batch.samples"])
print_lines(joined("trace_id", largest["trace_id"]))
observe(
    "it waited for the job's pictures",
    largest["attributes"]["batch.samples"] == 15 * len(ink),
    f"{largest['attributes']['batch.samples']:,} samples in that batch",
)

# %% [markdown]
# That was the whole way. The exemplar of a bucket led to a trace. The time in its queue led to another trace, and that
# trace's id to the log lines that name the job. The job is not wrong, but its requests are large. If it sends 32
# pictures at a time, a visitor waits for dozens of pictures instead of thousands. Let it do so, as fast as it can.

# %%
batch_starts = range(0, len(ink), 32)
pieces = [json.dumps({"instances": ink[i : i + 32].tolist()}).encode() for i in batch_starts]
visitors_left = threading.Event()


def gentle_job():
    wire, sent = load.Wires(gateway.url, timeout_s=60), 0
    while not visitors_left.is_set():
        wire.ask("/v1/models/digits_cnn:predict", pieces[sent % len(pieces)])
        sent += 1
    return 32 * sent


# %%
with ThreadPoolExecutor(1) as pool:
    visitors_left.clear()
    gentle = pool.submit(gentle_job)
    calmer = load.open_loop(visitor, due_s[:100], workers=60)
    visitors_left.set()

# %%
calm_ms = load.percentile(calmer.latency_ms, 0.99)
rate = gentle.result() / calmer.done_s.max()
observe(
    "with the job in pieces, the visitors' p99 is lower",
    calm_ms < p99_ms,
    f"{p99_ms:.0f} and {calm_ms:.0f} ms; the job sends {rate:,.0f} pictures a second",
)

# %% [markdown]
# ## Which traces do you keep?
#
# Our services kept every span. Busy services cannot. How much data would it be?

# %%
written, size = written_spans(services), 0
for name in services:
    size += (scratch / f"{name}.spans").stat().st_size
a_day_gb = 1000 * 86_400 * size / len(written) / 1e9
claim(
    "at 1,000 requests a second our spans would fill more than 100 GB a day",
    a_day_gb > 100,
    f"{size / len(written):,.0f} bytes a trace, {a_day_gb:.0f} GB a day",
)

# %% [markdown]
# So we keep a *sample*. There are two ways to choose.
#
# **At the head.** The process that begins the trace decides by chance, before anything has happened. All others obey
# the flag in the `traceparent`. Why not let each service keep one in ten for itself? Guess first.

# %%
guess("whole", "Three services each keep 1 in 10. What share of the traces is whole?", share=True)

# %%
draws = np.random.default_rng(20).random((200_000, 3)) < 0.1
whole, some = draws.all(axis=1).mean(), draws.any(axis=1).mean()
reveal("whole", whole)
claim(
    "if each service decides for itself, 27 % of the traces have a span, and 0.1 % are whole",
    abs(whole - 0.1**3) < 5e-4 and abs(some - (1 - 0.9**3)) < 5e-3,
    f"{some:.1%} and {whole:.2%}",
)

# %% [markdown]
# With the flag, a trace is whole or not there at all. We start a second gateway that keeps one trace in four, in front
# of the same two services.

# %%
sampling = start("gateway", *behind, *patient, "--trace-ratio", "0.25", file="sampling")
through = load.Wires(sampling.url, timeout_s=60)
for body in drawings[:80]:
    through.ask("/digits", body)
lines = until(lambda: len(log_lines("sampling")) >= 80 and log_lines("sampling"))
kept = [line["trace_id"] for line in lines if line["trace_flags"] == "01"]
dropped = {line["trace_id"] for line in lines} - {*kept}

# %%
found = traces(kept, ["sampling", "preprocess", "model-server"])
claim(
    "every kept trace has spans of all three services, every other one has none",
    all({span["service"] for span in spans} == {*services} for spans in found.values())
    and dropped.isdisjoint(written_spans(["sampling", "preprocess", "model-server"])),
    f"{len(kept)} of {len(lines)} kept",
)

# %% [markdown]
# The decision needs no random number of its own, because a trace id is random already. OpenTelemetry's Python SDK keeps
# a trace if the lower half of its id, as a number, is below the ratio times $2^{64}$. So two Python services with the
# same ratio agree even without a flag. Other languages may differ. **Your turn:** in the cell that starts `sampling`,
# change 0.25 to 0. Run it, then `through.ask("/digits", drawings[0], {"traceparent": f"00-{good}-01"})`. Is that trace
# kept? A second later, `log_lines("sampling")[-1]["trace_flags"]` tells you.
#
# What do you lose at the head? If a fault hits $n$ requests, and each is kept with probability $r$, then all of them
# are lost with probability $(1-r)^n$. At least one is kept with probability
#
# $$1 - (1 - r)^n .$$

# %%
seen = {n: 1 - (1 - 0.01) ** n for n in (1, 20, 300)}
rows = [[n, f"{share:.0%}"] for n, share in seen.items()]
show.table(["requests that the fault hits", "you have a trace of it"], rows, caption="Head, 1 %")

# %% [markdown]
# **At the tail.** All services keep and send every span. A collector waits until the trace is over, and then looks at
# all of it. It always keeps errors and slow traces, and a few of the rest. We compare both on 50,000 simulated
# requests. About 1 in 1,000 fails, and 2 in 1,000 are stuck for 0.3 seconds or more.

# %%
rng, n = np.random.default_rng(20), 50_000
ms = rng.lognormal(np.log(12), 0.5, n)
stuck, failed = rng.random(n) < 0.002, rng.random(n) < 0.001
ms[stuck] += rng.uniform(300, 900, stuck.sum())
ids = rng.integers(0, 2**64, n, dtype=np.uint64)  # lower halves of trace ids

# %%
from opentelemetry.sdk.trace.sampling import TraceIdRatioBased

head = ids < np.uint64(round(0.01 * 2**64))
slow_ones = ms > 250
tail = failed | slow_ones | head
sampler = TraceIdRatioBased(0.01)
theirs = [sampler.should_sample(None, int(each), "").decision.is_sampled() for each in ids[:2000]]
claim("our rule decides as OpenTelemetry's SDK does", np.array_equal(theirs, head[:2000]))

# %%
rows = []
for name, each in {"all": ms > 0, "head, 1 %": head, "tail": tail}.items():
    shares = [f"{each[kind].mean():.0%}" for kind in (failed, slow_ones)]
    rows.append([name, f"{each.sum():,}", *shares, f"{ms[each].mean():.1f}"])
show.table(
    ["kept", "traces", "of the errors", "of the slow ones", "mean of the kept (ms)"],
    rows,
    caption="What head and tail keep of the same 50,000 requests",
)

# %% [markdown]
# Both keep about 1 % of the traces. Look at the errors and the slow ones, and then at the last column.

# %%
bad = failed | slow_ones
claim(
    "the tail keeps every error and every slow request, the head fewer than 1 in 20 of them",
    tail[bad].all() and head[bad].mean() < 0.05,
    f"{head[bad].sum()} of {bad.sum()} by the head",
)

# %%
claim(
    "but the mean over the tail's traces is more than twice the true mean",
    ms[tail].mean() > 2 * ms.mean(),
    f"{ms[tail].mean():.1f} instead of {ms.mean():.1f} ms",
)

# %% [markdown]
# The tail's choice is *biased*: it prefers what is rare. Do not compute a rate or a percentile from such traces.
# Metrics count every request, so take them from there. If you must use traces, give each one the weight $1/p$, where
# $p$ is its probability of being kept. The weight is 1 for errors and slow ones, and 100 for the rest.

# %%
weights = np.where(bad, 1, 100)[tail]
weighted = np.average(ms[tail], weights=weights)
right = abs(weighted / ms.mean() - 1) < 0.05
claim("weighted, the tail's mean is right within 5 %", right, f"{weighted:.1f} ms")

# %% [markdown]
# The tail has four more costs. Every span is made, sent and held, even if its trace is dropped later. At 1,000 requests
# a second and ten seconds of waiting, 10,000 traces are in memory. All spans of a trace must reach the same collector.
# No span says that the trace is over, so a span that arrives after the decision may be lost. And an exemplar is chosen
# before the decision, so it may name a trace that was dropped. **Now do exercise 20b.3**, the decision.
#
# ## What does tracing cost?
#
# Three model servers answer the same requests in turn: one without tracing, one that keeps 1 % of the traces, one that
# keeps all. We compare the processor time that each one uses, because that is what you pay for.

# %%
guess(
    "cost", "Processor time with all traced: how many times as much?", low=1.0, high=10.0, unit="×"
)

# %%
ways = {"none": [], "1 %": ["--trace-ratio", "0.01"], "all": ["--trace-ratio", "1"]}
compared = {}
for number, (name, options) in enumerate(ways.items()):
    log, spans = scratch / f"cost-{number}.log", scratch / f"cost-{number}.spans"
    options = ["--threads", "1", *options] + (["--traces", str(spans)] if options else [])
    compared[name] = start_service(scratch / "models", log, options=options)


def processor_s(service):
    process = psutil.Process(service.process.pid)
    return sum(sum(p.cpu_times()[:2]) for p in [process, *process.children(recursive=True)])


# %%
one = json.dumps({"instances": ink[:1].tolist()}).encode()
wires = {name: load.Wires(service.url) for name, service in compared.items()}
spent_s, rounds, each_round = Counter(), 20, 100
for name in [*ways] * rounds:
    before_s = processor_s(compared[name])
    for _ in range(each_round):
        wires[name].ask("/v1/models/digits_cnn:predict", one)
    spent_s[name] += processor_s(compared[name]) - before_s
micros = {name: 1e6 * spent_s[name] / rounds / each_round for name in ways}

# %% [markdown]
# The servers took turns, so a slow moment of the machine affects all three.

# %%
plt.figure(figsize=(7, 2.2))
plt.barh(list(micros), list(micros.values()), color=[show.GREY, show.SKY, show.ORANGE])
for row, (name, each) in enumerate(micros.items()):
    plt.text(each, row, f" {each:.0f} µs, {each / micros['none']:.2f} times", va="center")
plt.gca().invert_yaxis()
plt.xlim(0, 1.35 * max(micros.values()))
plt.xlabel("processor time of the model server for one request (µs)")
plt.ylabel("traces kept")
show.finding(
    f"Keeping every trace takes {micros['all'] / micros['none']:.1f} times the processor time",
    alt="Bars. "
    + "; ".join(f"traces kept, {name}: {each:.0f} µs" for name, each in micros.items()),
)

# %%
reveal("cost", micros["all"] / micros["none"])
more = micros["all"] > micros["1 %"]
both = f"{micros['all']:.0f} and {micros['1 %']:.0f} µs"
observe("keeping all traces costs more processor time than keeping 1 %", more, both)
for service in compared.values():
    service.stop()

# %% [markdown]
# Our model is tiny, so four spans cost a lot in comparison. With a model that computes for 50 ms you would hardly
# notice them. With 1 %, each request still pays something: the server makes two random ids and decides.
#
# ## What must never be in a log or a span?
#
# Logs and traces are often kept for weeks, copied to other companies, and read by many people. Personal data in them is
# a leak that nobody notices. A rule is not enough, so we test. We send a *mark*, a known text, in each place that a
# client can write to. Then we look for it in everything that the services write.

# %%
guess(
    "leak",
    "From which of these places does a mark reach a log, a span or a metric?",
    choices=["the body", "a header", "the query", "the path", "in none of them"],
)

# %%
places = ("the body", "a header", "the query", "the path", "the request id")
marks = {place: "alice-1987-" + place.replace(" ", "-") for place in places}
names = ("Authorization", "Cookie", "User-Agent", "X-Client-Id", "traceparent", "tracestate")
in_headers = dict.fromkeys(names, f"v={marks['a header']}")
in_body = json.dumps({"bitmaps": [marks["the body"]], marks["the body"]: 1}).encode()

# %%
clients.ask("/digits", in_body)
clients.ask("/digits", drawings[0], in_headers)
clients.ask(f"/digits?user={marks['the query']}", drawings[0])
clients.ask(f"/v1/models/{marks['the path']}:predict", one)
last = clients.ask("/digits", drawings[0], {"X-Request-Id": marks["the request id"]})
written = traces([line_of(last)["trace_id"]])  # so everything before it is written too

# %% [markdown]
# Now we collect all logs, spans and metrics of the three services.


# %%
def texts(kind):
    return "".join((scratch / f"{name}.{kind}").read_text() for name in services)


urls = [running[name].url for name in services]
metrics = [load.Wires(url).ask("/metrics").body.decode() for url in urls]
told = {"logs": texts("log"), "spans": texts("spans"), "metrics": "".join(metrics)}

# %%
where = {p: [kind for kind, text in told.items() if mark in text] for p, mark in marks.items()}
rows = [[place, ", ".join(found) or "nowhere"] for place, found in where.items()]
show.table(["the mark was in", "and is found in"], rows, caption="Where our services leak")

# %% [markdown]
# A name in the right column means that the mark was written there.

# %%
leaks = [place for place in places[:4] if where[place]]
reveal("leak", leaks[0] if leaks else "in none of them")
claim(
    "body, headers and query are found nowhere; path and request id in the logs alone",
    [*where.values()] == [[], [], [], ["logs"], ["logs"]],
)

# %% [markdown]
# The path is in the log on purpose: without it nobody can explain a 404. So a URL must never name a person, and a
# request id must be random. Spans and metrics have the name of the route instead of the path, which also keeps the
# number of different names small. The course's own tests (`tests/serving/test_tracing.py`) send more such marks. They
# found a leak of ours: when the server refused an unreadable URL, its log line quoted that URL.
#
# ### Where this goes wrong: an exception that quotes its input
#
# OpenTelemetry has a convenience. If an exception leaves a span, the span keeps its message and its traceback. Messages
# often quote the input.


# %%
def read_age(text):
    return int(text)


memory.clear()
try:
    with tracer.start_as_current_span("read the age"):
        read_age("alice@example.com")
except ValueError:
    (as_told,) = memory.get_finished_spans()
print(as_told.events[0].attributes["exception.message"])

# %% [markdown]
# Now a user's e-mail address is in the trace. The mended form keeps the type of the error, and leaves out its message.

# %%
from opentelemetry.trace import StatusCode


def told_safely(span, error):
    span.set_attribute("error.type", type(error).__name__)
    span.set_status(StatusCode.ERROR)


memory.clear()
silent = {"record_exception": False, "set_status_on_exception": False}
with tracer.start_as_current_span("read the age", **silent) as span:
    try:
        read_age("alice@example.com")
    except ValueError as error:
        told_safely(span, error)
(mended,) = memory.get_finished_spans()

# %%
before, after = as_told.to_json(), mended.to_json()
claim(
    "by default the span holds the user's address; mended, it holds only the type of the error",
    "alice" in before and "alice" not in after and "ValueError" in after,
)

# %% [markdown]
# Logs have the same hole: the traceback of an error may quote anything. **Now do exercise 20b.4**, which lets only
# known fields of a known form into a log line.
#
# ## What we measured
#
# This lesson made no model, so the ledger gets no row.

# %%
for each in running.values():
    each.stop()
rows = [
    ["which lines belong together?", "request id, trace id in structured logs", "every request"],
    ["which part was slow?", "the trace: self times", "traces that were kept"],
    ["which request was in that bucket?", "its exemplar", "one trace a bucket"],
    ["how many are slow?", "the histogram, never the traces", "every request"],
]
show.table(["question", "what answers it", "what it knows"], rows, caption="One request's way")

# %% [markdown]
# ## What to remember
#
# - An id that travels joins logs. A trace adds parents and parts, so it says where the time went.
# - The process that begins a trace decides whether it is kept, or a collector does at the end. Count with metrics,
#   never with kept traces.
# - Send a mark in each input, and look for it in logs, spans and metrics.
#
# ## Where this breaks down
#
# All our processes use one machine's clock. The clocks of two machines often differ by milliseconds, and a child may
# seem to begin before its parent. The ids stay right, but compare times only within one process. A client can send the
# flag `01` with every request, and so make you pay for its traces. For requests from outside, many teams therefore
# begin a new trace. A trace shows one request, and a batch belongs to several. Only the number of the batch in our
# spans joins them. And a trace says where the time went, not why: a slow `compute` may be a slow model, or a processor
# that others use too.
#
# ## What real teams use
#
# They use OpenTelemetry's instrumentation for their web framework and their HTTP client. It makes the outer spans, and
# they add a few of their own. Spans travel by OTLP (OpenTelemetry Protocol) to its Collector, which can sample at the
# tail and remove attributes. They are kept in Jaeger, in Grafana Tempo or in a paid service. Grafana draws exemplars as
# points on a graph, one click away from the trace.
#
# ## Further reading
#
# - W3C, *Trace Context*, Recommendation, 2021: the header, and what to do with a broken one.
# - OpenTelemetry, *Specification*: tracing, sampling, semantic conventions, and trace context in logs.
# - B. H. Sigelman et al., *Dapper, a Large-Scale Distributed Systems Tracing Infrastructure*, Google Technical Report
#   dapper-2010-1, 2010: head sampling, and what it cost.
# - *OpenMetrics* 1.0: exemplars in the text format.
# - C. Sridharan, *Distributed Systems Observability*, O'Reilly, 2018.
