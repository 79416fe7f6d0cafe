# %% [markdown]
# # 15 Microservices
#
# At 3 a.m. the store that keeps feedback is slow, and nobody can get a digit read, although reading a digit needs no
# feedback. Somebody restarts it. Now every client tries again at once, and what was slow is dead.
#
# ## You will be able to
#
# - split a service into processes, say hop by hop what the split costs, and when not to split;
# - keep one part's failure from becoming everybody's: time-outs, bulkheads, circuit breakers;
# - retry without a storm: back-off with jitter, a budget, and keys that make a repeated request harmless;
# - put work into a queue, kill the worker, and lose nothing;
# - say what a cache gains, what its key must hold, and where a database file ends and a server begins.
#
# ## Before you start
#
# Lesson 14 builds the model server that is called the *predictor* here. Lesson 13 shows how load is sent: an *open
# loop* sends each request when it is due, and its latency counts from then. *p99* is the latency that 99 % of the
# requests do not exceed. Where the point is waiting, and not computing, we use fakes that sleep, which depend little
# on the machine.

# %%
import asyncio
import contextlib
import heapq
import http.client
import inspect
import json
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter, OrderedDict

import aiohttp
import matplotlib.pyplot as plt
import numpy as np
import onnxruntime
import psutil
import tenacity
from aiohttp import web
from matplotlib.ticker import LogLocator

# %%
from course_lib import data, measure, models
from course_lib.idioms import begin, claim, claim_gone, live, observe, own, path, show
from course_lib.measure import load
from course_lib.ops.http import DIRECT, ask
from course_lib.ops.service import start_module, start_service

scratch = begin("15")
path.picture(here="15")

# %% [markdown]
# ## Does it have to be more than one program?
#
# No. Here is the whole application as one function: a drawing of 32 × 32 points comes in, a digit goes out. Most teams
# should begin like this, with one program, a *monolith*: a call inside a program cannot time out, be sent twice, or
# find nobody there.

# %%
_, test = data.digits()
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession(models.path("digits_cnn", 3), options)


def read_digit(bitmap):
    pixels = data.from_bitmap(bitmap)  # (8, 8): counts the ink in blocks of 4 × 4
    return int(session.run(None, {"pixels": pixels[None, None]})[0].argmax())


# %% [markdown]
# The test images are counts of ink already. To have drawings, we go back: each count becomes as many black points in
# its block.


# %%
def bitmap_of(image):
    points = np.arange(16).reshape(1, 4, 1, 4)  # the points of a block, numbered
    return (points < np.round(16 * image)[:, None, :, None]).astype(int).reshape(32, 32)


bitmaps = [bitmap_of(image) for image in test.images]
back = np.array([data.from_bitmap(each) for each in bitmaps])

# %%
claim("the way back loses nothing", np.array_equal(back, test.images), f"{len(back)} drawings")

# %% [markdown]
# What could make you split it? Four reasons hold up in practice: the parts need different *machines* (a GPU for the
# model, none for the rest), different *numbers of copies*, different *days of release*, or one must be able to *fail*
# without the others. If none applies, stop here. We split, to see what it costs and what it buys:
#
# - the **gateway**, the one address that clients know (`course_lib/services/gateway.py`; how it asks those behind it
#   stands in `upstream.py`);
# - **preprocessing**, from drawings to pixels (`preprocess.py`), with the very function of the training;
# - the **predictor**, lesson 14's server, as it is;
# - the **feedback store** (`feedback.py`), which keeps what users say the digit was, in a SQLite file.

# %%
served = scratch / "models" / "digits_cnn" / "3"
served.mkdir(parents=True, exist_ok=True)
shutil.copy(models.path("digits_cnn", 3), served / "model.onnx")
predictor = start_service(scratch / "models", scratch / "predictor.log")


def start(name, *arguments, **more):
    log = scratch / f"{name}-{time.monotonic_ns()}.log"
    return start_module(f"course_lib.services.{name}", arguments, log, **more)


preprocess = start("preprocess")
feedback = start("feedback", "--file", str(scratch / "feedback.db"))
behind = ["--preprocess", preprocess.url, "--feedback", feedback.url]
patient = ["--timeout-ms", "5000", "--breaker-seconds", "1", "--max-under-way", "200"]
gateway = start("gateway", "--predictor", predictor.url, *behind, *patient)

# %%
answer = ask(gateway.url + "/digits", {"bitmaps": [bitmaps[0].tolist()]})
claim(
    "through three services comes the answer of the one function",
    answer["digits"] == [read_digit(bitmaps[0])],
    answer["digits"],
)

# %% [markdown]
# The answer also carries a *request id*. The gateway gives each request one, or takes the one that the client sent in
# the header `X-Request-Id`, and hands it on to each service that it calls; each writes it to its log. It is how one
# finds out, at 3 a.m., what happened to one request in four processes.

# %%
for name in ("preprocess", "gateway"):
    logs = [log.read_text() for log in scratch.glob(f"{name}-*.log")]
    lines = [json.loads(line) for log in logs for line in log.splitlines()]
    mine = [line for line in lines if line.get("request_id") == answer["request_id"]]
    print(name, [(line["path"], line["status"], line["ms"]) for line in mine])

# %% [markdown]
# Now traffic. Clients arrive at random, 60 a second: of five, three send a drawing, one sends pixels, one sends
# feedback. Requests run beside each other in one thread, as *coroutines*: functions that may wait without holding up
# the others.

# %%
loop = asyncio.new_event_loop()
threading.Thread(target=loop.run_forever, daemon=True).start()


def run(coroutine):
    return asyncio.run_coroutine_threadsafe(coroutine, loop).result()


# %%
async def post(wire, url, body, seconds=10.0, headers=None):
    """The status of the answer, or in a word why there is none."""
    try:
        limit = aiohttp.ClientTimeout(total=seconds)
        async with wire.post(url, json=body, timeout=limit, headers=headers) as found:
            await found.read()
            return found.status
    except TimeoutError:
        return "no answer in time"
    except aiohttp.ClientError:
        return "nobody there"


# %%
async def open_loop(due_s, send):
    """Sends request i at due_s[i]; what `send` gave, and latencies in ms from when it was due."""
    begin_s = time.perf_counter()
    found, taken_ms = [None] * len(due_s), np.zeros(len(due_s))
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as wire:

        async def one(i):
            await asyncio.sleep(due_s[i] - (time.perf_counter() - begin_s))
            found[i] = await send(wire, i)
            taken_ms[i] = 1000 * (time.perf_counter() - begin_s - due_s[i])

        await asyncio.gather(*(one(i) for i in range(len(due_s))))
    return np.array(found, dtype=object), taken_ms


# %%
drawings = [{"bitmaps": [each.tolist()]} for each in bitmaps]
pixels = [{"pixels": image[None, None].tolist()} for image in test.images]


async def mixed(wire, i):
    if i % 5 == 4:
        key = {"Idempotency-Key": f"traffic-{start_s}-{i}"}  # a later section says what for
        return await post(wire, gateway.url + "/feedback", {"label": i % 10}, headers=key)
    return await post(wire, gateway.url + "/digits", pixels[i] if i % 5 == 3 else drawings[i])


# %% [markdown]
# Each service counts what it does, in numbers that anybody may read at `/metrics`. The picture is drawn from these
# counts alone, as a monitoring system would.

# %%
from prometheus_client.parser import text_string_to_metric_families


def counts(url):
    text = DIRECT.open(url + "/metrics").read().decode()
    families = text_string_to_metric_families(text)
    return Counter({(s.name, *s.labels.values()): s.value for f in families for s in f.samples})


before, start_s = counts(gateway.url), time.perf_counter()
found, _ = run(open_loop(load.poisson_arrivals(60, 200, seed=1), mixed))
lasted_s, seen = time.perf_counter() - start_s, counts(gateway.url)
seen.subtract(before)

# %%
told = {
    name: (seen["gateway_tries_total", code, name], code)
    for name, code in (("preprocess", "200"), ("predictor-0", "200"), ("feedback", "201"))
}
claim(
    "all 200 are answered, and each service has seen exactly its part of them",
    Counter(found) == {200: 160, 201: 40} and [n for n, _ in told.values()] == [120, 160, 40],
    ", ".join(f"{name} {n:.0f}" for name, (n, _) in told.items()),
)


# %%
def mean_ms(name, *labels):
    return 1000 * seen[name + "_sum", *labels] / seen[name + "_count", *labels]


inside = "gateway_try_duration_seconds"
came = sum(
    seen["service_requests_total", str(found), way]
    for found, way in ((200, "digits"), (201, "to_feedback"))
)
traffic = {
    ("clients", "gateway"): (came, mean_ms("service_request_duration_seconds", "digits")),
    ("gateway", "preprocessing"): (told["preprocess"][0], mean_ms(inside, "preprocess")),
    ("gateway", "predictor"): (told["predictor-0"][0], mean_ms(inside, "predictor-0")),
    ("gateway", "feedback store"): (told["feedback"][0], mean_ms(inside, "feedback")),
}

# %%
places = {"clients": (0.7, 2), "gateway": (3.9, 2), "predictor": (8.4, 2)}
places |= {"preprocessing": (8.4, 3.8), "feedback store": (8.4, 0.2)}
axes = plt.figure(figsize=(8, 3.4)).gca()
axes.set_axis_off()
axes.set(xlim=(-0.2, 9.6), ylim=(-0.4, 4.3))
box = {"boxstyle": "round,pad=0.6", "fc": "white", "ec": show.BLUE, "lw": 1.5}
for name, (x, y) in places.items():
    axes.text(x, y, name, ha="center", va="center", bbox=box, zorder=3)
for (a, b), (n, each_ms) in traffic.items():
    (x0, y0), (x1, y1) = places[a], places[b]
    style = {"arrowstyle": "-|>", "lw": n / 40, "color": show.ORANGE}
    axes.annotate("", (x1 - 1.1, y1), (x0 + 0.75, y0), arrowprops=style)
    label = f"{n / lasted_s:.0f} a second, {each_ms:.1f} ms"
    at = ((x0 + x1) / 2, y0 + 0.52 * (y1 - y0) + (0.35 if y1 == y0 else 0))
    axes.text(*at, label, ha="center", va="center", fontsize=8, bbox={"fc": "white", "ec": "none"})
words = [
    f"{a} to {b}: {n:.0f} requests, {t:.1f} ms on average" for (a, b), (n, t) in traffic.items()
]
show.finding(
    f"Of {came:.0f} requests at the gateway, {told['predictor-0'][0]:.0f} go on to the predictor",
    alt=f"Boxes and arrows, the arrows as thick as the traffic. {'; '.join(words)}.",
)


# %% [markdown]
# The time on the first arrow is that of `/digits`, and holds what the gateway waits for the others. Services and
# arrows are drawn here by hand, the figures on them are measured; with request ids and times from every service, a
# *tracing* system draws all of it by itself.
#
# ## What does a hop cost?
#
# A *hop* is one request from a process to another. Between two functions an array is handed over by its address.
# Between two processes it becomes text, crosses two network stacks, and becomes an array again. Three designs, the
# same digit; guess their times before you run the cell. Connections are kept open, so that none is set up anew.


# %%
class Wire:
    def __init__(self, url):
        self.connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=10)

    def post(self, path, body):
        self.connection.request("POST", path, json.dumps(body))
        return json.loads(self.connection.getresponse().read())


# %%
to_predictor, to_preprocess, to_gateway = map(Wire, (predictor.url, preprocess.url, gateway.url))
one, ready = drawings[0], {"instances": test.images[:1, None].tolist()}
PREDICT = "/v1/models/digits_cnn:predict"

# %%
taken = measure.latencies_ms(
    {
        "transform": lambda: data.from_bitmap(bitmaps[0]),
        "model": lambda: session.run(None, {"pixels": test.images[:1, None]}),
        "predictor": lambda: to_predictor.post(PREDICT, ready),
        "preprocess": lambda: to_preprocess.post("/pixels", one),
        "gateway": lambda: to_gateway.post("/digits", one),
    },
    rounds=200,
)
ms = {name: measure.spread(each).median for name, each in taken.items()}

# %% [markdown]
# The *latency budget* says where the time of a request goes. With the transform's time $t_p$, the model's $t_m$, and
# $h$ hops whose own times (text, sockets, waking up the other process) are $c_1 \dots c_h$:
#
# $$T = t_p + t_m + \sum_{i=1}^{h} c_i .$$
#
# We measure $T$, $t_p$ and $t_m$, and each of the two inner services alone, from here. What is left of the gateway's
# time is the hop to it, and its own work.

# %%
designs = {
    "in one process": ms["transform"] + ms["model"],
    "predictor apart": ms["transform"] + ms["predictor"],
    "gateway and two services": ms["gateway"],
}
to_pre, to_model = ms["preprocess"] - ms["transform"], ms["predictor"] - ms["model"]
outer = ms["gateway"] - ms["preprocess"] - ms["predictor"]
parts = {
    "transform": (show.GREEN, [ms["transform"]] * 3),
    "model": (show.BLUE, [ms["model"]] * 3),
    "hop to the predictor": (show.ORANGE, [0, to_model, to_model]),
    "hop to preprocessing": (show.YELLOW, [0, 0, to_pre]),
    "hop to the gateway, and its work": (show.PURPLE, [0, 0, max(0, outer)]),
}
hops = {name: total - ms["transform"] - ms["model"] for name, total in designs.items()}

# %%
left = np.zeros(3)
for name, (colour, widths) in parts.items():
    plt.barh(list(designs), widths, left=left, label=name, color=colour)
    left += widths
for row, total in enumerate(designs.values()):
    plt.text(left[row], row, f" {total:.2f} ms", va="center", fontsize=9)
plt.gca().invert_yaxis()
plt.xlim(0, 1.2 * left.max())
plt.xlabel("median time to the answer for one drawing (ms)")
plt.legend(loc="upper left", bbox_to_anchor=(0, -0.22), ncols=2)
share = hops["gateway and two services"] / designs["gateway and two services"]
words = [
    f"{name}: {t:.2f} ms, of it hops and gateway {hops[name]:.2f} ms"
    for name, t in designs.items()
]
show.finding(
    f"Of the split service's time, {share:.0%} is hops and the gateway",
    alt=f"Stacked bars. {'; '.join(words)}.",
)

# %%
observe(
    "three hops and the gateway cost more than ten times what the model computes, for a model this "
    "small",
    hops["gateway and two services"] > 10 * ms["model"],
    f"{hops['gateway and two services']:.2f} ms against {ms['model']:.3f} ms",
)

# %%
observe(
    "one hop costs less than three and the gateway",
    hops["predictor apart"] < hops["gateway and two services"],
    f"{hops['predictor apart']:.2f} and {hops['gateway and two services']:.2f} ms",
)

# %% [markdown]
# Beside a model that computes for 50 ms hops like these would hardly be seen. The bytes tell a part of it: the drawing
# as text, and what it was in memory.

# %%
as_text, as_bits = len(json.dumps(one)), 32 * 32 // 8
claim(
    "as JSON the drawing takes more than 20 times the bytes of its 1,024 bits",
    as_text > 20 * as_bits,
    f"{as_text:,} and {as_bits} bytes",
)

# %% [markdown]
# Time is not the only cost. If a request needs all of several parts, and each answers with probability $a$,
# independently of the others, then all of them answer with probability $a \cdot a \cdots = a^n$: parts *in series*.

# %%
alone = 0.999
claim(
    "three parts at 99.9 % make 99.7 %: three times the failures",
    abs((1 - alone**3) / (1 - alone) - 3) < 0.01,
    f"{alone**3:.4%}",
)


# %% [markdown]
# ## What does the split buy?
#
# A part can die, and the others go on, if they were built to. We send drawings and pixels, 20 a second of each, kill
# the preprocessing service after 0.8 seconds, and start it again as much later, on its old address. Pixels do not need
# it. What will those who send drawings see?


# %%
async def both_kinds(wire, i):
    return await post(wire, gateway.url + "/digits", (drawings if i % 2 else pixels)[i // 2])


# %%
def kill_and_restart():
    time.sleep(0.8)
    preprocess.process.kill()
    preprocess.process.wait()
    time.sleep(0.8)
    meanwhile = DIRECT.open(gateway.url + "/v2/health/ready").status
    port = int(preprocess.url.rpartition(":")[2])
    return start("preprocess", port=port), meanwhile


# %%
def plain_log(axes):
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("")


due_s = np.arange(160) / 40
acting = asyncio.run_coroutine_threadsafe(open_loop(due_s, both_kinds), loop)
preprocess, gateway_ready = kill_and_restart()
found, taken_ms = acting.result()
drawn = np.arange(160) % 2 == 1
found_pixels, fine = found[~drawn], found == 200
for kind, name, colour in ((~drawn, "pixels", show.BLUE), (drawn, "drawings", show.ORANGE)):
    for which, mark, end in ((kind & fine, ".", "answered"), (kind & ~fine, "x", "refused")):
        plt.plot(due_s[which], taken_ms[which], mark, color=colour, label=f"{name}, {end}")
plain_log(plt.gca())
plt.xlabel("when the request was due (s)")
plt.ylabel("time to the answer (ms)")
plt.legend(loc="upper left", bbox_to_anchor=(1, 1))
refused, others = int((found[drawn] != 200).sum()), int((found_pixels != 200).sum())
show.finding(
    f"While preprocessing is down, {refused} drawings are refused, and {others or 'no'} pixels",
    alt=f"Latency of each request over time. {refused} of {drawn.sum()} drawings were refused, "
    f"{others} of {len(found_pixels)} requests with pixels.",
)

# %%
claim(
    "everybody who sent pixels was answered, and the gateway stayed ready",
    (found_pixels == 200).all() and gateway_ready == 200,
    len(found_pixels),
)

# %%
time.sleep(1.1)  # longer than the gateway leaves a failing service alone
again = ask(gateway.url + "/digits", drawings[0])["digits"]
claim(
    "drawings were refused with 503 while it was away, and are answered again now",
    set(found[drawn]) == {200, 503} and again == [read_digit(bitmaps[0])],
    f"{dict(Counter(found[drawn]))}, {again}",
)

# %%
refusal_ms, answer_ms = (np.median(taken_ms[drawn & each]) for each in (~fine, fine))
observe(
    "who is refused knows it sooner than who is answered",
    refusal_ms < answer_ms,
    f"{refusal_ms:.1f} and {answer_ms:.1f} ms at the median of the drawings",
)

# %% [markdown]
# 503 means "not now", and `Retry-After` says when to ask again. Once ten of the last twenty calls have failed, the
# gateway stops asking for a second (a *circuit breaker*, below). So drawings come back a little after the service
# does. The gateway itself stayed ready throughout, since its readiness depends on nothing but itself. If it asked the
# services behind it, one dead part would take the gateway out of the load balancer, and pixels with it.
#
# ## Does a slow part harm more than a dead one?
#
# A dead service refuses at once. A frozen one accepts the request and says nothing, so whoever waits is stuck. How
# many get stuck? *Little's law* (lesson 13): requests under way = arrival rate × time in the system.

# %%
rate, limits_s = 100, (30, 1, 0.2)
stuck = [rate * limit for limit in limits_s]
show.table(["time-out (s)", "requests held up at 100 a second"], list(zip(limits_s, stuck)))


# %% [markdown]
# Every request that is held up keeps memory, a connection, a place in some limit. When a limit is reached, requests
# are refused that never needed the frozen part. We freeze the preprocessing service and use two gateways. Each gets 60
# drawings and, as soon as ten of these are refused, 20 requests with pixels. Both gateways admit 50 requests at once.
# The second also has a *bulkhead*: at most 20 requests at once may be under way to any one service. The word comes
# from ships, where such walls keep one leak from filling the hull.


# %%
async def drawings_then_pixels(url):
    async with aiohttp.ClientSession() as wire:
        stuck = [asyncio.create_task(post(wire, url + "/digits", drawings[i])) for i in range(60)]
        while sum(each.done() for each in stuck) < 10:  # of 60 drawings, 50 are admitted
            await asyncio.sleep(0.01)
        said = [await post(wire, url + "/digits", pixels[i]) for i in range(20)]  # one by one
        return Counter(await asyncio.gather(*stuck)), Counter(said)


# %%
common = ["--predictor", predictor.url, *behind, "--max-requests", "50", "--timeout-ms", "4000"]
open_plan = start("gateway", *common, "--max-under-way", "50", "--breaker-failures", "1000")
walled = start("gateway", *common, "--max-under-way", "20", "--breaker-failures", "1000")
frozen = psutil.Process(preprocess.process.pid)
frozen.suspend()


async def through_both():
    return await asyncio.gather(*(drawings_then_pixels(gate.url) for gate in (open_plan, walled)))


seen_by = dict(zip(["no bulkhead", "bulkhead of 20"], run(through_both())))
frozen.resume()
show.table(
    ["gateway", "60 drawings", "20 requests with pixels"],
    [[name, dict(a), dict(b)] for name, (a, b) in seen_by.items()],
)

# %%
without, bulkhead = seen_by["no bulkhead"][1], seen_by["bulkhead of 20"][1]
claim(
    "without a bulkhead, pixels are refused although nothing that they need is frozen; with it, "
    "none are",
    without == {429: 20} and bulkhead == {200: 20},
    f"{dict(without)}, {dict(bulkhead)}",
)

# %%
for each in (open_plan, walled):
    each.stop()

# %% [markdown]
# The drawings fail either way, as they must; the difference is the *blast radius*: what else one failure takes with
# it. Two status codes tell two stories: 429, "too many requests are in this gateway already", and 503, "the part that
# you need is not there". The time-out ended the wait with 504. And the time-out travels: each service is told, in
# `X-Request-Timeout-Ms`, how long the one that asks will still wait, so that it need not compute for a client that has
# left. A moment that travels with the request is called its *deadline*.
#
# **Where this goes wrong.** In many libraries waiting has no end unless you set one. First, what two clients wait by
# default; then a server that accepts and says nothing, and a client that was told when to stop:

# %%
import socket as sockets

print("http.client:", sockets.getdefaulttimeout())
print("aiohttp:    ", aiohttp.client.DEFAULT_TIMEOUT.total, "s")

# %%
with sockets.create_server(("127.0.0.1", 0)) as silent:
    mended = http.client.HTTPConnection("127.0.0.1", silent.getsockname()[1], timeout=0.2)
    start_s = time.perf_counter()
    mended.request("GET", "/")
    try:
        mended.getresponse()
    except TimeoutError as ended:
        waited_s = time.perf_counter() - start_s
        print(f"TimeoutError: {ended}, after {waited_s:.1f} s")
    mended.close()

# %%
claim(
    "where no time-out is given, one of the two waits for ever",
    sockets.getdefaulttimeout() is None and aiohttp.client.DEFAULT_TIMEOUT.total is not None,
)

# %% [markdown]
# ## Should one try again?
#
# Many failures pass: a process is being replaced, a connection was cut. If each try fails with probability $p$,
# independently of the others, then $k$ tries all fail with probability $p^k$. The number of tries that are made is
#
# $$1 + p + p^2 + \dots + p^{k-1} = \frac{1 - p^k}{1 - p},$$
#
# since the second is made with probability $p$, the third with $p^2$. Cheap, where failures are rare. But where
# everything fails, $p = 1$, each request becomes $k$. And if each of $L$ layers retries, the last one gets $k^L$.

# %%
k = 3
rows = [[f"{p:g}", f"{p**k:.3g}", f"{sum(p**i for i in range(k)):.2f}"] for p in (0.01, 0.5, 1.0)]
show.table(["one try fails", "all 3 fail", "tries a request"], rows)

# %%
rng = np.random.default_rng(0)
fails = rng.random((200_000, 3)) < 0.5
tries = 1 + fails[:, 0] + fails[:, :2].all(axis=1)
claim(
    "simulated at p = 0.5, three tries fail with 1/8, and make 1.75 tries a request",
    abs(fails.all(axis=1).mean() - 1 / 8) < 0.005 and abs(tries.mean() - 1.75) < 0.01,
    f"{fails.all(axis=1).mean():.4f}, {tries.mean():.3f}",
)


# %%
def ask_layer(layers, reached):
    """Everything fails: each layer tries three times. Counts what reaches the last one."""
    if layers == 0:
        return reached + 1
    for _ in range(3):
        reached = ask_layer(layers - 1, reached)
    return reached


claim("three layers with three tries each send 27 requests for one", ask_layer(3, 0) == 27, 27)


# %% [markdown]
# Independent failures are the harmless case. Overload is the other one: tries fail *because* there are too many of
# them. A simulation, so that it comes out alike everywhere: a server that answers 100 requests a second in the order
# in which they came; clients that send 80 a second, give up after one second, and then try again. For two seconds the
# server stands still. It does not know that a client has given up, and computes all the same.


# %%
def simulate(attempts, wait_s=lambda k, rng: 0.0, budget=None, seconds=60, least_s=None):
    """When tries were made, and when those that were answered in time had been made (s)."""
    rng = np.random.default_rng(15)
    due = load.poisson_arrivals(80, 80 * seconds, seed=15)
    coming = [(t, 0) for t in due[due < seconds]]
    made, good, free_at, tokens = [], [], 0.0, 10.0
    while coming:
        now, tried = heapq.heappop(coming)
        if now > seconds:
            break
        made.append(now)
        if budget is not None and tried == 0:
            tokens = min(10.0, tokens + budget)
        begins = max(now, free_at)
        if 10 <= begins < 12:
            begins = 12.0  # the server stands still
        if least_s is None or now + 1 - begins >= least_s:  # else dropped: too little time is left
            free_at = begins + 0.01
        if begins + 0.01 <= now + 1:
            good.append(now)
        elif tried + 1 < attempts and (budget is None or tokens >= 1):
            tokens -= budget is not None
            heapq.heappush(coming, (now + 1 + wait_s(tried, rng), tried + 1))
    return np.array(made), np.array(good)


# %% [markdown]
# Five ways to try again. *Exponential back-off* waits longer each time, 0.1 s, 0.2 s, 0.4 s …; *full jitter* draws the
# wait at random between 0 and that, so that those who failed together do not come back together. A *retry budget*
# allows retries as a share of first tries, here one for ten. In the last, clients retry at once, but the server looks
# at the deadline that came with each request, and drops those that it cannot finish in time.


# %%
def full_jitter(k, rng):
    return rng.uniform(0, 0.1 * 2**k)


ways = {
    "no retry": simulate(1),
    "4 tries, at once": simulate(4),
    "4 tries, back-off with full jitter": simulate(4, full_jitter),
    "… and a budget of one in ten": simulate(4, full_jitter, budget=0.1),
    "4 tries at once, late ones dropped": simulate(4, least_s=0.01),
}

# %%
seconds = np.arange(0, 61)
figure, panels = plt.subplots(1, 2, figsize=(10, 3.6), sharex=True)
looks = [
    (show.GREY, "-"),
    (show.RED, "-"),
    (show.PURPLE, "--"),
    (show.GREEN, "-"),
    (show.SKY, "--"),
]
for (colour, style), (name, times) in zip(looks, ways.items()):
    for axes, each in zip(panels, times):
        height = np.histogram(each, seconds)[0]
        axes.plot(seconds[:-1] + 0.5, height, color=colour, ls=style, label=name, lw=1.5)
for axes, what in zip(panels, ("tries a second", "tries a second answered in time")):
    axes.axhline(100, color="black", ls=":", lw=1)
    axes.set(xlabel="time (s); the server stands still from 10 to 12", ylabel=what, ylim=(0, None))
panels[1].legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize="small")
offered = {name: (made > 50).sum() / 10 for name, (made, _) in ways.items()}
answered = {name: (good > 50).sum() / 10 for name, (_, good) in ways.items()}
words = [f"{n}: {offered[n]:.0f} offered, {answered[n]:.0f} answered" for n in ways]
show.finding(
    "The server stands still for 2 seconds; with retries at once it is still lost 48 seconds later",
    alt="Tries a second, and those answered in time, over a minute; dotted: what the server can "
    f"do. In the last ten seconds, each second: {'; '.join(words)}.",
)

# %%
claim(
    "in the last ten seconds, retries at once, or with jitter alone, leave fewer than 1 in 10 "
    "tries answered",
    all(answered[n] < 0.1 * offered[n] for n in list(ways)[1:3]),
    ", ".join(f"{answered[n]:.0f} of {offered[n]:.0f} a second" for n in list(ways)[1:3]),
)

# %%
calm = [list(ways)[i] for i in (0, 3, 4)]
claim(
    "without retries, with a budget, or where what cannot be in time is dropped, it has come back",
    all(answered[n] > 0.99 * offered[n] for n in calm),
    ", ".join(f"{answered[n]:.0f} of {offered[n]:.0f}" for n in calm),
)

# %% [markdown]
# This state has a name, a *metastable failure*: what started it is long over, and the retries keep it alive. Jitter
# alone did not help, a budget did: the retries were too many, not too synchronous. And how the server drops matters.
# Let it drop what is *already* too late when its turn comes, and no more:

# %%
made, good = simulate(4, least_s=0.0)
answered_late = (good > 50).sum() / 10
claim(
    "a server that drops only what is already late does not come back either",
    answered_late < 40,
    f"{answered_late:.0f} a second of 80",
)

# %% [markdown]
# The two servers treat one kind of request differently: those with less than a hundredth of a second left. This one
# takes them up, and finishes them too late. A server must drop what it *cannot finish* in time.
#
# What is jitter for, then? For those who failed at one moment, and so would return at one moment. A thousand clients
# lose their connection at the same time; how many come back in the busiest hundredth of a second?

# %%
together = np.full(1000, 0.4)
jittered = np.random.default_rng(1).uniform(0, 0.4, 1000)
busiest = [
    int(np.histogram(each, np.arange(0, 0.42, 0.01))[0].max()) for each in (together, jittered)
]

# %%
claim(
    "with full jitter the busiest hundredth of a second gets less than a tenth of the clients",
    busiest[0] == 1000 and busiest[1] < 100,
    f"{busiest[0]} without, {busiest[1]} with",
)


# %% [markdown]
# Does it happen outside a simulation? Here is a server in this notebook that takes one request at a time, sleeps 4 ms
# for each, and stands still from 0.4 s to 0.9 s. `tenacity` is a library for retries; the budget is the gateway's.


# %%
class Fake:
    """A server in this process; `handle` says what it does. `seen`: when a request reached it,
    `tries`: how many a client says that it sent."""

    def __init__(self, handle):
        self.handle, self.seen, self.tries = handle, [], 0

    async def start(self):
        app = web.Application(client_max_size=2**20)
        app.router.add_route("*", "/{rest:.*}", self.answer)
        self.runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self.runner.setup()
        site = web.TCPSite(self.runner, "127.0.0.1", 0)
        await site.start()
        port = self.runner.addresses[0][1]
        self.url = f"http://127.0.0.1:{port}"
        self.line, self.begin_s = asyncio.Lock(), time.perf_counter()
        return self

    async def answer(self, request):
        self.seen.append(time.perf_counter() - self.begin_s)
        return await self.handle(self, request)

    def now(self):
        return time.perf_counter() - self.begin_s


# %%
async def one_at_a_time(self, request):
    async with self.line:  # in the order in which they came
        stands_still = 0.9 - self.now() if 0.4 < self.now() < 0.9 else 0
        await asyncio.sleep(0.004 + max(0, stands_still))
    return web.Response(text="done")


# %%
def insistent(fake, budget):
    def again(error):
        return isinstance(error, TimeoutError) and (budget is None or budget.spend())

    async def send(wire, i):
        if budget:
            budget.earn()
        try:
            async for attempt in tenacity.AsyncRetrying(
                stop=tenacity.stop_after_attempt(5),
                retry=tenacity.retry_if_exception(again),
                reraise=True,
            ):
                with attempt:
                    fake.tries += 1
                    async with wire.get(
                        fake.url, timeout=aiohttp.ClientTimeout(total=0.15)
                    ) as found:
                        return found.status
        except TimeoutError:
            return "no answer in time"

    return send


# %%
from course_lib.services.upstream import RetryBudget

due_s = np.arange(240) / 100
storms = {}
for name, budget in (("5 tries at once", None), ("a budget of one in ten", RetryBudget(0.1))):
    fake = run(Fake(one_at_a_time).start())
    found, _ = run(open_loop(due_s, insistent(fake, budget)))
    storms[name] = (np.array(fake.seen), found, fake.tries)
    run(fake.runner.cleanup())

# %%
every_s = np.arange(0, 2.41, 0.2)
for colour, (name, (reached, found, _)) in zip((show.RED, show.GREEN), storms.items()):
    plt.stairs(
        np.histogram(reached, every_s)[0] / 0.2,
        every_s,
        color=colour,
        lw=1.5,
        label=f"{name}: {(found[160:] == 200).mean():.0%} of the last third answered",
    )
plt.axvspan(0.4, 0.9, color=show.GREY, alpha=0.2, lw=0)
plt.xlabel("time (s); grey: the server stands still")
plt.ylabel("tries a second that reach it")
plt.ylim(bottom=0)
plt.legend(loc="upper left", bbox_to_anchor=(0, -0.2))
peaks = [np.histogram(reached, every_s)[0].max() / 0.2 for reached, _, _ in storms.values()]
show.finding(
    f"100 requests a second become {peaks[0]:.0f} tries at the peak, with a budget {peaks[1]:.0f}",
    alt=f"Tries a second that reach the server: at most {peaks[0]:.0f} without, {peaks[1]:.0f} "
    "with a budget.",
)

# %%
naive, budgeted = ((found[160:] == 200).mean() for _, found, _ in storms.values())
observe(
    "of the last third, due 0.7 s and more after the standstill, retries at once get fewer than "
    "half answered, a budget more than 90 %",
    naive < 0.5 and budgeted > 0.9,
    f"{naive:.0%} and {budgeted:.0%}",
)

# %%
claim(
    "retries at once make more tries than a budget allows",
    storms["5 tries at once"][2] > storms["a budget of one in ten"][2],
    " and ".join(f"{tries}" for _, _, tries in storms.values()),
)

# %% [markdown]
# ## When should one stop asking at all?
#
# A *circuit breaker* stands before a call. *Closed*, it lets calls through and counts failures in a row. At a
# threshold it *opens*: calls fail at once, and nothing is sent. After a while it is *half-open*: a call may try;
# success closes it, failure opens it again. It helps both sides: users do not wait for a time-out that is sure to
# come, and the broken service gets time to recover. `purgatory` is a library for it.

# %%
from purgatory import AsyncCircuitBreakerFactory
from purgatory.domain.model import OpenedState


async def dead_for_a_while(self, request):
    await asyncio.sleep(0.5 if 0.5 < self.now() < 1.4 else 0.002)
    return web.Response(text="done")


# %%
def guarded(fake, breakers):
    async def send(wire, i):
        try:
            guard = await breakers.get_breaker("fake") if breakers else contextlib.AsyncExitStack()
            async with guard:
                fake.tries += 1
                async with wire.get(fake.url, timeout=aiohttp.ClientTimeout(total=0.1)) as found:
                    return found.status
        except OpenedState:
            return "refused at once"
        except TimeoutError:
            return "no answer in time"

    return send


# %%
def note(name, kind, event):
    if kind == "state_changed":
        states.append((guarded_fake.now(), event.state))


async def both_ways():
    each = ((bare, None), (guarded_fake, breakers))
    return await asyncio.gather(*(open_loop(due_s, guarded(*pair)) for pair in each))


# %%
due_s, states = np.arange(144) / 60, [(0.0, "closed")]
breakers = AsyncCircuitBreakerFactory(default_threshold=5, default_ttl=0.3)
breakers.add_listener(note)
bare, guarded_fake = (run(Fake(dead_for_a_while).start()) for _ in range(2))
guarding = {}
for name, fake, (found, taken_ms) in zip(
    ("no breaker", "breaker"), (bare, guarded_fake), run(both_ways())
):
    guarding[name] = (found, taken_ms)
    run(fake.runner.cleanup())

# %%
figure, (top, below) = plt.subplots(2, 1, figsize=(8, 4.6), sharex=True, height_ratios=(3, 1))
for colour, mark, (name, (_, taken_ms)) in zip((show.GREY, show.BLUE), "x.", guarding.items()):
    top.plot(due_s, taken_ms, mark, color=colour, ms=5, label=name)
top.set(ylabel="time until the user knows (ms)")
plain_log(top)
top.legend(loc="upper left", bbox_to_anchor=(1, 1))
levels = {"closed": 0, "half-opened": 1, "opened": 2}
at, height = [t for t, _ in states] + [2.4], [levels[s] for _, s in states]
below.step(at, [*height, height[-1]], where="post", color=show.BLUE)
below.set(yticks=list(levels.values()), yticklabels=list(levels), xlabel="time (s); grey: dead")
for axes in (top, below):
    axes.axvspan(0.5, 1.4, color=show.GREY, alpha=0.2, lw=0)
slow = {name: int((said == "no answer in time").sum()) for name, (said, _) in guarding.items()}
show.finding(
    f"The breaker turns {slow['no breaker']} waits for a time-out into {slow['breaker']}",
    alt="Above: how long each user waits, without and with a breaker; until a time-out: "
    f"{slow['no breaker']} and {slow['breaker']}. The breaker's states: "
    f"{', '.join(state for _, state in states)}.",
)

# %%
claim(
    "with the breaker fewer calls are sent",
    guarded_fake.tries < bare.tries == len(due_s),
    f"{guarded_fake.tries} against {bare.tries}",
)

# %%
observe(
    "in the end the breaker is closed again",
    states[-1][1] == "closed",
    ", ".join(state for _, state in states),
)


# %% [markdown]
# This library reports the half-open state only when it is over, so the picture shows each as a short stroke. And while
# it is half-open it lets more than one call through: all calls pass until the first of them has ended. Exercise 15.3
# lets one pass, and so does our gateway (`breaker.py`, 40 lines). The price of any breaker is a false alarm: after
# five unlucky failures it refuses requests that would have been answered. A service that fails often, but not always,
# is the opposite problem. If every fifth call succeeds, a count of failures in a row never reaches five. So our
# gateway counts a *rate*: its breaker opens when ten of the last twenty calls have failed. You set this by two
# arguments, `--breaker-failures 10` and `--breaker-rate 0.5`.
#
# Count failures of the *service* alone (time-outs, 5xx), never of the client (400). Otherwise one client's bad
# requests shut everybody out. If a client's own deadline passes, the service has not failed either: a client that
# waits only a millisecond would open the breaker for everybody. So the gateway's 504 says whose time ran out. Does our
# gateway tell a client's mistakes from the service's failures?


# %%
async def nonsense(wire, i):
    return await post(wire, gateway.url + "/digits", {"bitmaps": [[1]]} if i < 20 else drawings[i])


found, _ = run(open_loop(np.arange(30) / 40, nonsense))

# %%
claim(
    "twenty bad requests do not open the gateway's breaker",
    Counter(found) == {400: 20, 200: 10},
    dict(Counter(found)),
)


# %% [markdown]
# ## What if the answer got lost, and not the request?
#
# Then the work is done, and the client does not know. Asking for a digit twice does no harm: prediction is
# *idempotent*, done twice is as done once. Feedback is not; stored twice, it counts twice when the model is trained
# again. The remedy is an *idempotency key*: the client makes up a random name for what it wants to say, and sends the
# same name with each try. The store has one row for each key, and the database itself sees to it (`UNIQUE` in
# `feedback.py`).
#
# We put a faulty proxy before the store: it passes each request on, and drops the first answer to it. So half of all
# calls fail, on purpose. We set this gateway's breaker to a thousand failures, so that it stays closed.


# %%
async def drops_first_answers(self, request):
    headers = {k: request.headers[k] for k in ("Idempotency-Key", "Content-Type")}
    body = await request.read()
    async with aiohttp.ClientSession() as wire:
        async with wire.post(feedback.url + "/feedback", data=body, headers=headers) as found:
            text, status = await found.text(), found.status
    if body not in self.dropped:
        self.dropped.add(body)
        request.transport.abort()
    return web.Response(text=text, status=status)


# %%
lossy = run(Fake(drops_first_answers).start())
lossy.dropped = set()
through_loss = start(
    "gateway",
    "--predictor",
    predictor.url,
    "--feedback",
    lossy.url,
    "--retry-share",
    "1",
    "--breaker-failures",
    "1000",
    *patient,
)


def stored():
    return len(ask(feedback.url + "/feedback?limit=1000")["feedback"])


# %%
async def say(wire, i):
    key = {"Idempotency-Key": f"user-7-{visit}-picture-{i}"}
    news = {"label": i % 10, "request_id": f"{visit}-{i}"}
    return await post(wire, through_loss.url + "/feedback", news, headers=key)


before, visit = stored(), time.time_ns()
lossy.seen.clear()
found, _ = run(open_loop(np.arange(10) / 20, say))

# %%
claim(
    "each of ten answers was lost once, each request was sent twice, and each is stored once",
    stored() - before == 10 and len(lossy.seen) == 20 and set(found) == {200},
    f"{len(lossy.seen)} requests, {stored() - before} rows",
)

# %% [markdown]
# (All ten end in 200, not 201: the try that created the row is the one whose answer was lost.)
#
# **Where this goes wrong.** The key must belong to what is said, not to the try. A fresh one for each try, made by a
# library deep inside the retry loop, looks just as random:

# %%
import uuid


# %%
async def say_with_fresh_keys(wire, i):
    for _ in range(3):
        key = {"Idempotency-Key": uuid.uuid4().hex}
        news = {"label": i % 10, "request_id": f"{visit}-{i}"}
        if (status := await post(wire, lossy.url + "/feedback", news, headers=key)) in (200, 201):
            return status


before, visit = stored(), time.time_ns()
_ = run(open_loop(np.arange(10) / 20, say_with_fresh_keys))

# %%
claim(
    "with a fresh key for each try, ten pieces of news are twenty rows",
    stored() - before == 20,
    stored() - before,
)

# %%
through_loss.stop()
run(lossy.runner.cleanup())

# %% [markdown]
# ## What if the work takes longer than anybody waits?
#
# Reading an archive of scans takes hours, and no time-out fits. Then the service answers 202, "accepted", with an
# address where the result will be, and the work waits in a *queue*. Between the two lies a promise: what was accepted
# is done, even if the worker dies.
#
# A queue needs three operations: put, take, finish. *Take* must not remove: a worker that dies after taking would lose
# the job. It *leases* the job for some time. If the worker has not finished by then, the next one gets it. A job may
# so be done twice, never not at all: *at-least-once delivery*. SQLite is enough for it, on one machine:

# %%
TABLE = """
CREATE TABLE IF NOT EXISTS jobs (id INTEGER PRIMARY KEY, image INTEGER,
                                 leased_until REAL DEFAULT 0, deliveries INTEGER DEFAULT 0,
                                 digit INTEGER)"""
queue_file = scratch / "jobs.db"


# %%
def take(queue, now_s, lease_s):
    """Leases the oldest job that is neither done nor leased; (id, image), or None."""
    return queue.execute(
        "UPDATE jobs SET leased_until = ?, deliveries = deliveries + 1 WHERE id = ("
        "SELECT id FROM jobs WHERE digit IS NULL AND leased_until <= ? ORDER BY id LIMIT 1) "
        "RETURNING id, image",
        (now_s + lease_s, now_s),
    ).fetchone()


# %%
def finish(queue, job, digit):
    """Keeps the result, and so acknowledges the job; a second time changes nothing."""
    queue.execute("UPDATE jobs SET digit = ? WHERE id = ? AND digit IS NULL", (digit, job))


# %% [markdown]
# One statement finds a job and leases it, so that two workers cannot take the same one. The worker is a process of its
# own, and slow on purpose. One of its threads waits until a pipe from this notebook closes. So the worker ends with
# the notebook, even if the notebook is killed.

# %%
WORKER = f"""
import json, os, sqlite3, sys, threading, time, urllib.request
threading.Thread(target=lambda: os.read(0, 1) or os._exit(1), daemon=True).start()
{inspect.getsource(take)}
{inspect.getsource(finish)}
images, url = json.load(open({str(scratch / "images.json")!r})), sys.argv[1]
queue = sqlite3.connect({str(queue_file)!r}, isolation_level=None, timeout=10)
direct = urllib.request.build_opener(urllib.request.ProxyHandler({{}}))  # to this machine itself
while queue.execute("SELECT count(*) FROM jobs WHERE digit IS NULL").fetchone()[0]:
    time.sleep(0.01)
    if job := take(queue, time.time(), lease_s=1.0):
        body = json.dumps({{"pixels": [[images[job[1]]]]}}).encode()
        try:
            answer = json.load(direct.open(url + "/digits", body, timeout=10))
            finish(queue, job[0], answer["digits"][0])
        except OSError:
            pass  # refused or cut off: the lease runs out, and the job comes again
"""
(scratch / "images.json").write_text(json.dumps(test.images[:150].tolist()))
queue = sqlite3.connect(queue_file, isolation_level=None, timeout=5, check_same_thread=False)
queue.execute("PRAGMA journal_mode = WAL")
_ = queue.execute(TABLE)


# %%
def start_worker():
    command = [sys.executable, "-c", WORKER, gateway.url]
    return subprocess.Popen(command, stdin=subprocess.PIPE)


def one_number(question):
    return queue.execute(question).fetchone()[0]


# %%
async def accept(self, request):
    if request.method == "POST":
        image = (await request.json())["image"]
        job = queue.execute("INSERT INTO jobs (image) VALUES (?)", (image,)).lastrowid
        return web.json_response({"job": job}, status=202, headers={"Location": f"/jobs/{job}"})
    job = int(request.path.rpartition("/")[2])
    (digit,) = queue.execute("SELECT digit FROM jobs WHERE id = ?", (job,)).fetchone()
    return web.json_response({"digit": digit}, status=202 if digit is None else 200)


# %%
async def submit(wire, i):
    return await post(wire, desk.url + "/jobs", {"image": i})


queue.execute("DELETE FROM jobs")
desk = run(Fake(accept).start())
found, taken_ms = run(open_loop(np.arange(150) / 300, submit))
print(dict(Counter(found)), f"median {np.median(taken_ms):.1f} ms")
print("/jobs/1:", DIRECT.open(desk.url + "/jobs/1").status, ask(desk.url + "/jobs/1"))

# %% [markdown]
# 150 jobs were accepted before any worker ran. Now a worker begins, and when 40 jobs are done we kill it in the middle
# of its work. Nothing tells the queue.

# %%
queue.execute("UPDATE jobs SET digit = NULL, leased_until = 0, deliveries = 0")
worker, until_s = start_worker(), time.monotonic() + 60
while one_number("SELECT count(digit) FROM jobs") < 40 and time.monotonic() < until_s:
    time.sleep(0.005)
held = "SELECT count(*) FROM jobs WHERE digit IS NULL AND leased_until > "
while not one_number(f"{held}{time.time()}") and time.monotonic() < until_s:
    time.sleep(0.001)  # until it holds a job
worker.kill()
worker.wait()
done_at_kill = one_number("SELECT count(digit) FROM jobs")
_ = start_worker().wait(timeout=60)  # it ends when no job is left

# %%
results = [digit for (digit,) in queue.execute("SELECT digit FROM jobs ORDER BY image")]
deliveries = one_number("SELECT sum(deliveries) FROM jobs")
mine = session.run(None, {"pixels": test.images[:150, None]})[0].argmax(axis=1).tolist()
claim(
    "every job that was accepted has its result, and the right one",
    results == mine,
    f"{len(results)} jobs",
)

# %%
fetched = DIRECT.open(desk.url + "/jobs/1")
image = one_number("SELECT image FROM jobs WHERE id = 1")
claim(
    "who asks at the address from before finds the digit, now with 200",
    fetched.status == 200 and json.load(fetched) == {"digit": mine[image]},
    mine[image],
)

# %%
observe(
    "one job was delivered a second time",
    deliveries == 151,
    f"{deliveries} deliveries; the worker was killed when {done_at_kill} were done",
    either=True,
)

# %%
run(desk.runner.cleanup())

# %% [markdown]
# The job that the dead worker held is delivered again, unless the worker finished it just before the kill. "Exactly
# once" exists only as at-least-once delivery of work that is idempotent, as `finish` is. A lease that is too short
# makes healthy workers compete for a job; too long, and a dead one's job lies around.
#
# A queue must also end somewhere. If more comes in than goes out, a longer queue only means that everything in it is
# older: the wait in a queue of $n$ jobs at a rate of $\mu$ a second is $n / \mu$. So queues are *bounded*, and a full
# one says 429: *back-pressure*, which tells the sender to slow down, while it can still choose what to drop.

# %%
arrive = load.poisson_arrivals(120, 2400, seed=3)  # 120 a second, and 100 a second can be done
endless = load.simulate(arrive, 0.01)
free_at, waits = 0.0, []
for now in arrive:
    if max(0.0, free_at - now) < 0.5:  # at most 50 jobs in the queue
        free_at = max(now, free_at) + 0.01
        waits.append(free_at - now)

# %%
claim(
    "in 20 s of overload the endless queue makes the last jobs wait more than 5 times as long as "
    "the bounded one lets any wait",
    endless.latency_ms[-100:].mean() / 1000 > 5 * max(waits),
    f"{endless.latency_ms[-100:].mean() / 1000:.1f} s and {max(waits):.2f} s; "
    f"{len(arrive) - len(waits)} of {len(arrive)} refused",
)

# %% [markdown]
# ## Why compute an answer twice?
#
# A *cache* keeps answers. What it gains depends on how often a question comes back, the *hit rate* $h$:
#
# $$\bar{T} = h\,t_{hit} + (1 - h)\,t_{miss}.$$
#
# In many services the $i$-th most popular question is asked about $1/i$ times as often as the first (*Zipf's law*). We
# let our users ask for the 450 test images so. Where each question is drawn independently, a cache with room for $k$
# answers that cannot see the future does no better, on average, than to keep the $k$ most popular. Ours does not know
# which they are, and throws out the one that was used longest ago, *LRU*.

# %%
popularity = 1 / np.arange(1, 451)
popularity /= popularity.sum()
asked_for = np.random.default_rng(2).choice(450, 20_000, p=popularity)


# %%
def lru_hits(questions, room):
    kept, hits = OrderedDict(), 0
    for each in questions:
        hits += each in kept
        kept[each] = True
        kept.move_to_end(each)
        if len(kept) > room:
            kept.popitem(last=False)
    return hits


# %%
rooms = (5, 10, 20, 45, 90, 180, 450)
rates = [lru_hits(asked_for.tolist(), room) / len(asked_for) for room in rooms]
bounds = [popularity[:room].sum() for room in rooms]
claim(
    "a tenth of the room gives more than four tenths of the hits, and no room more than the bound "
    "(give or take two points)",
    rates[3] > 0.4 and all(r < b + 0.02 for r, b in zip(rates, bounds)),
    f"{rates[3]:.0%}",
)

# %% [markdown]
# Our gateway has such a cache (`--cache 45`). The same first 400 questions go to it, one after the other. Its counter
# must agree with the simulation, hit for hit.

# %%
caching = start(
    "gateway", "--predictor", predictor.url, "--cache", "45", "--version-seconds", "0.1", *patient
)
to_cache, by_kind = Wire(caching.url), {"hit": [], "miss": []}
for image in asked_for[:400]:
    start_s = time.perf_counter()
    to_cache.connection.request("POST", "/digits", json.dumps(pixels[image]))
    response = to_cache.connection.getresponse()
    response.read()
    by_kind[response.headers["X-Cache"]].append(1000 * (time.perf_counter() - start_s))

# %%
hits = counts(caching.url)["gateway_cache_lookups_total", "yes"]
claim(
    "the gateway's cache hits exactly where the simulated one does",
    hits == len(by_kind["hit"]) == lru_hits(asked_for[:400].tolist(), 45),
    f"{hits:.0f} of 400",
)

# %%
hit_ms, miss_ms = (np.median(by_kind[kind]) for kind in ("hit", "miss"))
observe(
    "a hit is answered faster than a miss", hit_ms < miss_ms, f"{hit_ms:.2f} and {miss_ms:.2f} ms"
)

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.4))
left.plot(
    rooms, 100 * np.array(bounds), "o-", color=show.GREY, label="the most popular, kept for ever"
)
left.plot(rooms, 100 * np.array(rates), "o-", color=show.BLUE, label="LRU")
left.set(xscale="log", xlabel="room in the cache (answers)", ylabel="hit rate (%)", ylim=(0, 100))
left.legend()
h = np.linspace(0, 1, 50)
for cost, name, colour in (
    (miss_ms, "a miss as measured", show.ORANGE),
    (miss_ms + 50, "with a model of 50 ms more", show.PURPLE),
):
    right.plot(100 * h, h * hit_ms + (1 - h) * cost, color=colour, label=name)
right.set(xlabel="hit rate (%)", ylabel="mean latency (ms)")
plain_log(right)
right.legend()
show.finding(
    f"Room for a tenth of the answers catches {rates[3]:.0%} of the questions",
    alt="Left: hit rate against room: "
    + ", ".join(f"{k}: {r:.0%}" for k, r in zip(rooms, rates))
    + f". Right: mean latency against hit rate, from {miss_ms:.2f} ms to {hit_ms:.2f} ms, and for "
    "a model that takes 50 ms more.",
)

# %% [markdown]
# **Where this goes wrong.** "There are two hard things", goes the saying, and one is to know when a kept answer is no
# longer right. For a model it is when the *model* changes. A cache whose key is the question alone goes on giving the
# old model's answers. We keep one such answer, then replace the model by its 8-bit version, at the same address.

# %%
careless = {}


def cached(body):
    key = json.dumps(body)
    if key not in careless:
        careless[key] = Wire(predictor.url).post(PREDICT, body)
    return careless[key]


def careful(body):
    return Wire(caching.url).post(PREDICT, body)


# %%
old = [cached(ready), careful(ready)]

# %%
newer = scratch / "newer" / "digits_cnn" / "4"
newer.mkdir(parents=True, exist_ok=True)
shutil.copy(models.path("digits_cnn", 2), newer / "model.onnx")
port = int(predictor.url.rpartition(":")[2])
predictor.stop()
predictor = start_module(
    "course_lib.serving", ["--models", str(newer.parent.parent)], scratch / "newer.log", port=port
)
new, until_s = Wire(predictor.url).post(PREDICT, ready), time.monotonic() + 10
while careful(ready) != new and time.monotonic() < until_s:
    time.sleep(0.1)  # as often as the gateway looks

# %%
claim("the careless cache still gives the old model's answer", cached(ready) == old[0] != new)

# %%
claim(
    "the gateway gives the new one's, since the model's version is part of its key",
    careful(ready) == new != old[1],
    "key: server, version, path, body",
)

# %%
caching.stop()

# %% [markdown]
# Between the change and the gateway's next look there is a moment in which an old answer may still be given. Where
# that is not allowed, the version must be part of the *request*, as in `/versions/4:predict`.
#
# ## Why is everything slow, when each part is fast?
#
# A page that asks $n$ services at once is as slow as the slowest of them. If each is slow with probability $p$,
# independently, then none is slow with probability $(1-p)^n$, and the page is slow with probability
#
# $$1 - (1 - p)^n .$$

# %%
rng = np.random.default_rng(4)
n, p = 100, 0.01
slow_pages = (rng.random((20_000, n)) < p).any(axis=1).mean()
claim(
    "with 100 parts that are slow one time in a hundred, 63 % of the pages are slow",
    abs(slow_pages - (1 - (1 - p) ** n)) < 0.015,
    f"{slow_pages:.1%}, by the formula {1 - (1 - p) ** n:.1%}",
)

# %% [markdown]
# One cure is the *hedged request*: where the answer has not come after the time that 95 % of them take, ask another
# copy as well, and take what comes first. It costs about one request in twenty. (For what may be done twice; and
# within a budget, or it is a retry storm by another name.)

# %%
usual = rng.lognormal(1, 0.3, (2, 200_000))
stuck_ms = np.where(rng.random(usual.shape) < 0.02, usual + 100, usual)  # one in fifty hangs
patience_ms = np.quantile(stuck_ms[0], 0.95)
hedged = np.where(
    stuck_ms[0] > patience_ms, np.minimum(stuck_ms[0], patience_ms + stuck_ms[1]), stuck_ms[0]
)
before_ms, after_ms = np.quantile(stuck_ms[0], 0.99), np.quantile(hedged, 0.99)

# %%
claim(
    "5 % more requests make the p99 less than a fifth",
    after_ms < before_ms / 5,
    f"{before_ms:.0f} → {after_ms:.0f} ms (simulated)",
)


# %% [markdown]
# ## What do users see when it breaks?
#
# All of it together, with faults put in on purpose. Between the gateway and the predictor stands a proxy that is well,
# slow (one answer in two, at random, takes 0.6 s more), dead (hangs up), or wrong (answers with NaN). Thirty
# requests each go straight to the proxy and, beside them, through the gateway with a deadline of 300 ms.


# %%
async def faulty(self, request):
    body = await request.read()
    if self.fault == "dead":
        request.transport.abort()
        return web.Response()
    if self.fault == "wrong":
        return web.json_response({"predictions": [[float("nan")] * 10]})
    if self.fault == "slow" and self.dice.random() < 0.5:
        await asyncio.sleep(0.6)
    async with self.wire.post(predictor.url + request.path, data=body) as found:
        return web.Response(
            body=await found.read(), status=found.status, content_type="application/json"
        )


# %%
async def with_wire(fake):
    fake.wire, fake.fault, fake.dice = aiohttp.ClientSession(), "", np.random.default_rng(5)
    return fake


proxy = run(with_wire(run(Fake(faulty).start())))
strict = start(
    "gateway", "--predictor", proxy.url, "--timeout-ms", "300", "--breaker-seconds", "0.3"
)

# %%
users, faults = [], ("none", "slow", "dead", "wrong")
due_s = np.arange(30) / 60


async def straight(wire, i):
    return await post(wire, proxy.url + PREDICT, {"instances": pixels[i]["pixels"]})


async def by_gateway(wire, i):
    return await post(wire, strict.url + "/digits", pixels[i])


async def straight_and_by_gateway():
    return await asyncio.gather(open_loop(due_s, straight), open_loop(due_s, by_gateway))


for proxy.fault in faults:
    for way, (found, taken_ms) in zip(("straight", "gateway"), run(straight_and_by_gateway())):
        users.append([proxy.fault, way, Counter(map(str, found)), np.quantile(taken_ms, 0.95)])
    time.sleep(0.4)  # the breaker may close again

# %%
show.table(
    ["fault", "way", "what came back", "p95 (ms)"],
    [[fault, way, dict(what), f"{p95:.0f}"] for fault, way, what, p95 in users],
)

# %%
by = {(fault, way): (what, p95) for fault, way, what, p95 in users}
claim(
    "straight, nonsense comes with status 200; the gateway gives out none of it",
    by["wrong", "straight"][0] == {"200": 30} and by["wrong", "gateway"][0]["200"] == 0,
    dict(by["wrong", "gateway"][0]),
)

# %%
claim(
    "whatever the fault, all users of the gateway get an answer with a status",
    all(code.isdigit() for fault in faults for code in by[fault, "gateway"][0]),
)

# %%
observe(
    "when the predictor is slow, users of the gateway know within 400 ms what becomes of them",
    by["slow", "gateway"][1] < 400 < by["slow", "straight"][1],
    f"p95 {by['slow', 'gateway'][1]:.0f} ms, straight {by['slow', 'straight'][1]:.0f} ms",
)

# %%
strict.stop()
run(proxy.runner.cleanup())
run(proxy.wire.close())


# %% [markdown]
# Nothing of this makes a broken predictor well. It makes the failure short, and honest. And look at what no gateway
# can catch: a predictor that answers *plausible* nonsense, ten finite numbers of the wrong model. That takes a
# comparison with another version (lesson 19), and watching what comes out (lessons 20 and 21).
#
# ## Which database, which queue, which cache?
#
# One of the articles that this course grew from has one line for it: "install middleware, databases, message queues,
# caches". Which, and when? *Middleware* is what stands between programs so that they need not know each other. Begin
# with what needs no server: SQLite is a library that keeps a database in one file. So that a crash leaves no half
# change, it keeps the old content in a second file while it writes (the *rollback journal*, its default), or appends
# changes to a second file and moves them into the first from time to time, at a *checkpoint* (the *write-ahead log*,
# WAL). What is *synced* has been written through to the disk. How many pieces of feedback a second does that take?


# %%
def writes_a_second(journal, synchronous, rows_a_commit, rows=200):
    file = scratch / f"writes-{journal}-{synchronous}-{rows_a_commit}.db"
    with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as base:
        base.execute(f"PRAGMA journal_mode = {journal}")
        base.execute(f"PRAGMA synchronous = {synchronous}")
        base.execute("CREATE TABLE IF NOT EXISTS feedback (id INTEGER PRIMARY KEY, label INTEGER)")
        start_s = time.perf_counter()
        for _ in range(rows // rows_a_commit):
            base.execute("BEGIN")
            base.executemany("INSERT INTO feedback (label) VALUES (?)", [(7,)] * rows_a_commit)
            base.execute("COMMIT")
        return rows / (time.perf_counter() - start_s)


# %%
kinds = {
    "rollback journal": ("DELETE", "FULL", 1),
    "WAL": ("WAL", "FULL", 1),
    "WAL, synced at checkpoints": ("WAL", "NORMAL", 1),
    "the same, 50 rows a commit": ("WAL", "NORMAL", 50),
}
speed = {name: writes_a_second(*kind) for name, kind in kinds.items()}
show.table(["how", "rows a second"], [[name, f"{each:,.0f}"] for name, each in speed.items()])

# %%
observe(
    "a write-ahead log that is synced at checkpoints takes more than the default journal",
    speed["WAL, synced at checkpoints"] > speed["rollback journal"],
    f"{speed['WAL, synced at checkpoints'] / speed['rollback journal']:.0f} times",
)

# %% [markdown]
# Synced at checkpoints alone (`synchronous = NORMAL`), a power cut may cost the last rows, but does not damage the
# file: a choice, for feedback a fair one. Where is the limit? A file has one writer at a time:

# %%
base = scratch / "two.db"
first, second = (sqlite3.connect(base, isolation_level=None, timeout=0) for _ in range(2))
first.execute("PRAGMA journal_mode = WAL")
first.execute("DROP TABLE IF EXISTS feedback")
first.execute("CREATE TABLE feedback (label INTEGER)")
first.execute("BEGIN IMMEDIATE")
first.execute("INSERT INTO feedback VALUES (7)")
try:
    second.execute("BEGIN IMMEDIATE")
    said = ""
except sqlite3.OperationalError as refused:
    said = str(refused)
read_meanwhile = second.execute("SELECT count(*) FROM feedback").fetchone()[0]
_ = first.execute("COMMIT")

# %%
claim(
    "a second writer is refused while the first writes; a reader reads on, and sees what was "
    "there before",
    said == "database is locked" and read_meanwhile == 0,
    said,
)

# %%
for each in (first, second):
    each.close()

# %% [markdown]
# A time-out (`timeout=5` in the store) makes the second writer wait instead. What no setting mends: WAL needs memory
# that all processes share, so all of them must be on *one machine*; over a network file system it does not work. Two
# gateways on two machines that share a cache, a count or a queue need a *server* that keeps it.
#
# Redis is one: it keeps strings, counters and logs in memory, and does one command at a time, so that each is
# *atomic*: no other comes between. (Valkey is a fork of it under its former, open licence, with the same protocol.)
# Where an engine is within reach, we run it in a container. Its makers publish an image. This page was built where no
# image can be fetched, so we make a small one from Debian's package. `own` adds a few letters to the image's name.
# They belong to your copy of the course, so nobody else on the same engine uses or removes it.

# %%
DOCKERFILE = """\
FROM python:3.13-slim-trixie
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends redis-server \\
    && rm -rf /var/lib/apt/lists/*
USER 10001:10001
EXPOSE 6379
CMD ["redis-server", "--bind", "0.0.0.0", "--protected-mode", "no", "--save", ""]
"""
REDIS = own("course-redis:local")
OURS = {"course-lesson": own("15")}  # a label on the container


# %%
@contextlib.contextmanager
def redis_server():
    """A Redis in a container that cannot write to its disk; its port on this machine."""
    import io

    from course_lib.ops.docker import address, build_image, clear, docker_client

    client = docker_client()
    clear(client, OURS, REDIS)  # what an earlier run left, if it broke off
    build_image(client, fileobj=io.BytesIO(DOCKERFILE.encode()), tag=REDIS, rm=True, forcerm=True)
    limits = {
        "read_only": True,
        "mem_limit": "128m",
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges"],
    }
    published = {"6379/tcp": ("127.0.0.1", None)}
    container = client.containers.create(REDIS, ports=published, labels=OURS, **limits)
    try:
        container.start()
        yield int(address(container, 6379).rpartition(":")[2])
    finally:
        container.remove(force=True)


# %% [markdown]
# Three uses in one go. Two gateway processes share one *cache*. Two clients share one *rate limit*: 50 requests in a
# minute, whoever sends them, by a counter (`INCR`) that forgets itself. And a *stream* is a queue as ours was: entries
# are leased to a consumer and must be acknowledged; what a dead consumer held can be claimed by another.


# %%
def shared_cache(port):
    options = ["--predictor", predictor.url, "--cache", f"redis://127.0.0.1:{port}", *patient]
    gates, said = [start("gateway", *options) for _ in range(2)], []
    for gate in (gates[0], gates[1], gates[1]):
        wire = Wire(gate.url)
        wire.connection.request("POST", "/digits", json.dumps(pixels[0]))
        response = wire.connection.getresponse()
        response.read()
        said.append(response.headers["X-Cache"])
    for gate in gates:
        gate.stop()
    return said


# %%
def rate_limit(store, name, most):
    """Counts one request; whether it is among the first `most` of its minute."""
    key = f"rate:{name}"
    with store.pipeline(transaction=True) as both:  # both commands or neither
        count, _ = both.incr(key).expire(key, 60, nx=True).execute()
    return count <= most


# %%
def stream(store):
    """100 jobs; one consumer takes ten, acknowledges four and dies; another does the rest."""
    store.xgroup_create("jobs", "readers", id="0", mkstream=True)
    for image in range(100):
        store.xadd("jobs", {"image": image})
    [[_, taken]] = store.xreadgroup("readers", "dies", {"jobs": ">"}, count=10)
    done = Counter(entry[b"image"] for _, entry in taken[:4])
    store.xack("jobs", "readers", *[number for number, _ in taken[:4]])
    time.sleep(0.3)
    while new := store.xreadgroup("readers", "lives", {"jobs": ">"}, count=25):
        for number, entry in new[0][1]:
            done[entry[b"image"]] += 1
            store.xack("jobs", "readers", number)
    claimed = store.xautoclaim("jobs", "readers", "lives", min_idle_time=200)[1]
    for number, entry in claimed:
        done[entry[b"image"]] += 1
        store.xack("jobs", "readers", number)
    left = store.xpending("jobs", "readers")["pending"]
    return {
        "done": len(done),
        "claimed": len(claimed),
        "left": left,
        "twice": sum(n > 1 for n in done.values()),
    }


# %%
@live("docker")
def middleware():
    import redis

    with redis_server() as port:
        store = redis.Redis(port=port, socket_timeout=5)
        until_s = time.monotonic() + 20
        while True:
            with contextlib.suppress(redis.exceptions.RedisError):
                store.ping()
                break
            if time.monotonic() > until_s:
                raise TimeoutError("Redis did not answer within 20 s")
            time.sleep(0.02)
        seen = {"version": store.info()["redis_version"], "cache": shared_cache(port)}
        both, passed = [redis.Redis(port=port) for _ in range(2)], []
        load.closed_loop(
            lambda i: passed.append(rate_limit(both[i % 2], "user-7", 50)), 200, workers=2
        )
        seen["allowed"] = sum(passed)
        seen["command_ms"] = float(
            np.median(load.closed_loop(lambda i: store.ping(), 300).latency_ms)
        )
        return {**seen, "stream": stream(store)}


# %%
redis_seen = middleware()

# %%
hits = redis_seen["cache"]
claim(
    "what the first gateway computed, the second one finds", hits == ["miss", "hit", "hit"], hits
)

# %%
claim(
    "of 200 requests of two clients, the shared limit lets exactly 50 pass",
    redis_seen["allowed"] == 50,
    redis_seen["allowed"],
)

# %%
claim(
    "all 100 jobs are done, six of them claimed from the dead consumer, and none is left",
    redis_seen["stream"] == {"done": 100, "claimed": 6, "left": 0, "twice": 0},
    redis_seen["stream"],
)

# %%
observe(
    "a command to Redis takes less than a millisecond, the network of one machine included",
    redis_seen["command_ms"] < 1,
    f"{redis_seen['command_ms']:.2f} ms, Redis {redis_seen['version']}",
    of=redis_seen,
)


# %% [markdown]
# Mind what is *not* promised. A window that begins with its first request may let nearly twice as many pass in a
# minute that begins in its middle. This Redis keeps nothing on disk; stopped, it forgets the queue. A cache may
# forget, a queue that holds accepted work may not: then its log must be written and synced (`appendonly`), or it is
# the wrong tool. And when Redis is away, our gateway computes; it does not fail. A cache that must be there is no
# cache.


# %%
@live("docker")
def remove_image():
    from course_lib.ops.docker import clear, docker_client

    return clear(docker_client(), OURS, REDIS)


# %%
claim_gone("the container and the image are gone", remove_image())

# %%
queue.close()
for each in (gateway, predictor, preprocess, feedback):
    each.stop()
claim(
    "told to end, all four services end with status 0",
    sys.platform == "win32"
    or all(e.process.returncode == 0 for e in (gateway, predictor, preprocess, feedback)),
)

# %% [markdown]
# ## What we measured

# %%
show.table(
    ["what", "figure"],
    [
        [
            "one process / one hop / three hops",
            " / ".join(f"{each:.2f} ms" for each in designs.values()),
        ],
        ["pixels refused while preprocessing was dead", int((found_pixels != 200).sum())],
        [
            "pixels refused while it was frozen, without and with a bulkhead",
            f"{20 - without[200]} and {20 - bulkhead[200]}",
        ],
        [
            "peak of a storm at 100 a second, without and with a budget",
            f"{peaks[0]:.0f} and {peaks[1]:.0f} tries a second",
        ],
        [
            "waits for a time-out, without and with a breaker",
            f"{slow['no breaker']} and {slow['breaker']}",
        ],
        [
            "jobs accepted, done, deliveries with one worker killed",
            f"150, {len(results)}, {deliveries}",
        ],
        ["hit rate with room for a tenth", f"{rates[3]:.0%}"],
    ],
)

# %% [markdown]
# ## What to remember
#
# - Split for a reason, and count the hops; each part that a request needs makes it slower and less likely to succeed.
# - Every wait needs an end, every queue a bound, every retry a budget, and every write that may be repeated a key.
# - A dependency that fails must cost its own feature, not the whole service: bulkhead, breaker, and a readiness of
#   one's own.
#
# ## Where this breaks down
#
# All processes ran on one machine, so no network was slow, cut in two, or out of order, and all clocks were one clock;
# with several machines a lease may be held by two who each believe it is theirs. The independence in our formulas is
# the optimist's assumption: parts that share a machine, a network or a release fail together. Limits that fit our load
# (20 in a bulkhead, ten failures for the breaker) are guesses until they are measured under yours. And the budget,
# the breaker and the cache in memory are each gateway's own: ten gateways have ten of them.
#
# ## What real teams use
#
# Often a monolith, for longer than they admit. Then a gateway that exists: Envoy, NGINX or a cloud's own; inside a
# cluster a *service mesh* (Istio, Linkerd), which puts time-outs, retries with budgets and breakers beside each
# service, without a line in it. gRPC between services, since its deadlines travel by themselves. Kafka or RabbitMQ for
# queues that must last, Celery or a cloud's queue for jobs, Redis or Valkey for caches and limits, PostgreSQL for
# feedback. And Toxiproxy, Chaos Mesh or Litmus, to break things on a Tuesday morning rather than at 3 a.m.
#
# ## Further reading
#
# - M. T. Nygard, *Release It!*, 2nd edition, Pragmatic Bookshelf 2018: time-outs, bulkheads, circuit breakers.
# - J. Dean, L. A. Barroso, *The Tail at Scale*, Communications of the ACM 56(2), 2013.
# - N. Bronson et al., *Metastable Failures in Distributed Systems*, HotOS 2021.
# - M. Brooker, *Exponential Backoff and Jitter*, AWS Architecture Blog, 2015; *Timeouts, retries, and backoff with
#   jitter*, Amazon Builders' Library.
# - B. Beyer et al. (eds.), *Site Reliability Engineering*, O'Reilly 2016, chapters 21 and 22: overload, cascading
#   failures.
# - S. Newman, *Building Microservices*, 2nd edition, O'Reilly 2021.
# - SQLite documentation, *Write-Ahead Logging* and *Appropriate Uses For SQLite*.
