# %% [markdown]
# # 15 Microservices
#
# At 3 a.m. the service that turns drawings into pixels hangs. Soon nobody gets an answer, not even the clients that
# send pixels and do not need it. Somebody restarts it. Now all clients try again at once, and it goes down a second
# time.
#
# ## You will be able to
#
# - split a service into processes, measure what each hop costs, and say when not to split;
# - keep one part's failure from spreading: time-outs, deadlines, bulkheads;
# - retry without starting a storm: back-off, jitter, a retry budget, a circuit breaker;
# - make a repeated request harmless with an idempotency key.
#
# ## Before you start
#
# Lesson 14 builds the model server; we call it the *predictor* here. You should know HTTP's status codes from that
# lesson. All services of this lesson are processes on your machine.

# %%
import contextlib
import heapq
import http.client
import json
import shutil
import socket
import sys
import time
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import aiohttp
import matplotlib.pyplot as plt
import numpy as np
import onnxruntime
import psutil
import tenacity
from prometheus_client.parser import text_string_to_metric_families

# %%
from course_lib import data, measure, models
from course_lib.idioms import begin, claim, guess, observe, path, reveal, show
from course_lib.measure import load
from course_lib.ops.http import DIRECT, ask
from course_lib.ops.service import start_module, start_service

scratch = begin("15")
path.picture(here="15")

# %% [markdown]
# ## When should I split a service into several?
#
# Start with one program, a *monolith*. Here is ours as one function. A drawing of 32 × 32 points comes in, and a digit
# comes out. A call inside a program cannot time out, it cannot arrive twice, and the function it calls is always there.

# %%
_, test = data.digits()
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession(models.path("digits_cnn", 3), options)


# %%
def read_digit(bitmap):
    pixels = data.from_bitmap(bitmap)  # (8, 8): counts the ink in blocks of 4 × 4
    return int(session.run(None, {"pixels": pixels[None, None]})[0].argmax())


# %% [markdown]
# Our test images hold the ink of each block, not drawings. To get drawings, we go back: a count of 5 becomes 5 black
# points in its block.


# %%
def bitmap_of(image):
    points = np.arange(16).reshape(1, 4, 1, 4)  # the points of a block, numbered
    return (points < np.round(16 * image)[:, None, :, None]).astype(int).reshape(32, 32)


bitmaps = [bitmap_of(image) for image in test.images]

# %% [markdown]
# With *microservices*, an application is split into processes that call each other over a network. There are four good
# reasons to split:
#
# - the parts need different *machines*, such as a GPU for the model alone;
# - they need different *numbers of copies*;
# - they are *released* at different times, by different teams;
# - one of them must be able to *fail* without the others.
#
# If none of these applies, do not split. We split in order to see the costs and the gains:
#
# - the *gateway* is the one address that clients know (`course_lib/services/gateway.py` and `upstream.py`);
# - *preprocessing* turns drawings into pixels (`preprocess.py`);
# - the *predictor* is lesson 14's server, unchanged;
# - the *feedback store* keeps the users' corrections in a database (`feedback.py`).
#
# In a terminal, start each of these in a window of its own. The last command is too long for
# this page. Add `--feedback http://127.0.0.1:8082` to its end.
#
# ```bash
# python -m course_lib.serving --models models --port 8501
# python -m course_lib.services.preprocess --port 8081
# python -m course_lib.services.feedback --port 8082 --file feedback.db
# python -m course_lib.services.gateway --port 8080 --predictor http://127.0.0.1:8501 --preprocess http://127.0.0.1:8081
# ```

# %%
served = scratch / "models" / "digits_cnn" / "3"
served.mkdir(parents=True, exist_ok=True)
shutil.copy(models.path("digits_cnn", 3), served / "model.onnx")
predictor = start_service(scratch / "models", scratch / "predictor.log")


# %%
def start(name, *arguments, **more):
    log = scratch / f"{name}-{time.monotonic_ns()}.log"
    return start_module(f"course_lib.services.{name}", arguments, log, **more)


preprocess = start("preprocess")
feedback = start("feedback", "--file", str(scratch / "feedback.db"))
behind = ["--preprocess", preprocess.url, "--feedback", feedback.url]
patient = ["--timeout-ms", "5000", "--breaker-seconds", "1", "--max-under-way", "200"]
gateway = start("gateway", "--predictor", predictor.url, *behind, *patient)

# %% [markdown]
# Does the split service give the same answers? We send it the first drawing. In a terminal, with the drawing in the
# file `drawing.json` as `{"bitmaps": [[[0, 0, 1, …], …]]}`, you would type:
#
# ```bash
# curl -d @drawing.json http://127.0.0.1:8080/digits
# ```

# %%
drawings = [{"bitmaps": [each.tolist()]} for each in bitmaps]
pixels = [{"pixels": image[None, None].tolist()} for image in test.images]
answer = ask(gateway.url + "/digits", drawings[0])
claim(
    "the split service gives the answer of the one function",
    answer["digits"] == [read_digit(bitmaps[0])],
    answer["digits"],
)

# %% [markdown]
# The answer also holds a *request id*. The gateway makes one, or takes it from the client's header `X-Request-Id`. It
# sends the id on with each call, and every service writes it to its log. With this id you can follow one request
# through all processes that work on it. Two of the three logs of our request:

# %%
time.sleep(0.5)  # a service writes its log beside its work
for name in ("preprocess", "gateway"):
    logs = [log.read_text() for log in scratch.glob(f"{name}-*.log")]
    lines = [json.loads(line) for log in logs for line in log.splitlines()]
    mine = [line for line in lines if line.get("request_id") == answer["request_id"]]
    print(name, [(line["path"], line["status"], line["ms"]) for line in mine])

# %% [markdown]
# The numbers are the status and the time in ms. The first request takes longer than later ones.
#
# Which service calls which, and how often? Each service counts its requests and shows the counts at `/metrics`:
#
# ```bash
# curl http://127.0.0.1:8080/metrics | grep gateway_tries_total
# ```
#
# We send 200 requests. Of every five, three are drawings, one is pixels, and one is feedback.


# %%
def tries(gate):
    """How many requests a gateway has sent to each service behind it, by outcome."""
    text = DIRECT.open(gate.url + "/metrics").read().decode()
    samples = [s for family in text_string_to_metric_families(text) for s in family.samples]
    found = [s for s in samples if s.name == "gateway_tries_total"]
    return Counter({(s.labels["upstream"], s.labels["outcome"]): int(s.value) for s in found})


# %%
def post(wires, path, body, headers=None):
    return wires.ask(path, json.dumps(body).encode(), headers).status


def mixed(i):
    if i % 5 == 4:
        key = {"Idempotency-Key": uuid.uuid4().hex}  # explained below
        return said.append(post(clients, "/feedback", {"label": i % 10}, key))
    said.append(post(clients, "/digits", pixels[i] if i % 5 == 3 else drawings[i]))


# %%
clients, said, before = load.Wires(gateway.url), [], tries(gateway)
load.closed_loop(mixed, 200, workers=4)
seen = tries(gateway) - before
sent = {"preprocessing": seen["preprocess", "200"], "predictor": seen["predictor-0", "200"]}
sent["feedback store"] = seen["feedback", "201"]
claim(
    "all 200 requests are answered, and each service has got exactly its part of them",
    Counter(said) == {200: 160, 201: 40} and list(sent.values()) == [120, 160, 40],
    ", ".join(f"{name} {n}" for name, n in sent.items()),
)

# %% [markdown]
# A map of the calls:

# %%
axes = plt.figure(figsize=(7, 2.8)).gca()
axes.set_axis_off()
axes.set(xlim=(-0.6, 7.4), ylim=(-0.5, 4.5))
box = {"boxstyle": "round,pad=0.5", "fc": "white", "ec": show.BLUE, "lw": 1.5}
ends = {"preprocessing": 4, "predictor": 2, "feedback store": 0}
for name, (x, y) in {"clients": (0, 2), "gateway": (3, 2)}.items():
    axes.text(x, y, name, ha="center", va="center", bbox=box)
for name, y in ends.items():
    axes.text(6.6, y, name, ha="center", va="center", bbox=box)
arrows = [((0.35, 2), (2.5, 2), 200), *(((3.5, 2), (5.75, y), sent[n]) for n, y in ends.items())]
for (x0, y0), (x1, y1), n in arrows:
    axes.annotate("", (x1, y1), (x0, y0), arrowprops={"arrowstyle": "-|>", "color": show.GREY})
    up = 0.25 if y1 == y0 else 0.45
    axes.text((x0 + x1) / 2 + 0.1, (y0 + y1) / 2 + up, n, ha="center", weight="bold")
show.finding(
    f"Of 200 requests at the gateway, {sent['predictor']} need the predictor",
    alt="Boxes and arrows with numbers of requests. Clients to gateway: 200. Gateway to "
    + ", to ".join(f"{name}: {n}" for name, n in sent.items()),
)

# %% [markdown]
# The numbers come from the metrics; we placed the boxes by hand. A *tracing* system records the path of each request.
# It can draw such maps without your help, with times (lesson 20b).
#
# ## What does a network hop cost?
#
# A *hop* is one request from one process to another. Inside a program, a function gets only the array's address.
# Between our processes, the array is written as text, sent through the network software of both sides, and read again.

# %%
guess(
    "hops",
    "One drawing goes through the split service. What share of the time is hops and gateway?",
    share=True,
)

# %% [markdown]
# We time five calls, one after the other, 200 times. `load.Wires` keeps connections open, so no call pays for a new
# connection.

# %%
to_predictor, to_preprocess = load.Wires(predictor.url), load.Wires(preprocess.url)
PREDICT = "/v1/models/digits_cnn:predict"
ready = {"instances": test.images[:1, None].tolist()}
taken = measure.latencies_ms(
    {
        "transform": lambda: data.from_bitmap(bitmaps[0]),
        "model": lambda: session.run(None, {"pixels": test.images[:1, None]}),
        "predictor": lambda: post(to_predictor, PREDICT, ready),
        "preprocess": lambda: post(to_preprocess, "/pixels", drawings[0]),
        "gateway": lambda: post(clients, "/digits", drawings[0]),
    },
    rounds=200,
)
ms = {name: measure.spread(each).median for name, each in taken.items()}

# %% [markdown]
# The time of a request is the sum of the transform's time $t_p$, the model's time $t_m$, and the costs
# $c_1, \dots, c_h$ of $h$ hops. A hop's cost is all the rest: writing and reading text, sockets, waking the other
# process, and here also the gateway's own work.
#
# $$T = t_p + t_m + \sum_{i=1}^{h} c_i .$$

# %%
computing = ms["transform"] + ms["model"]
designs = {
    "one process": computing,
    "predictor apart": ms["transform"] + ms["predictor"],
    "gateway and two services": ms["gateway"],
}
extra = [max(0, total - computing) for total in designs.values()]
share = extra[2] / designs["gateway and two services"]
reveal("hops", share, f"{ms['gateway']:.2f} ms, of it {computing:.2f} ms are transform and model")

# %%
plt.barh(list(designs), computing, color=show.BLUE, label="transform and model")
plt.barh(list(designs), extra, left=computing, color=show.ORANGE, label="hops and gateway")
for row, total in enumerate(designs.values()):
    plt.text(max(total, computing), row, f" {total:.2f} ms", va="center", fontsize=9)
plt.gca().invert_yaxis()
plt.xlim(0, 1.2 * max(designs.values()))
plt.xlabel("median time to the answer for one drawing (ms)")
plt.legend(loc="upper left", bbox_to_anchor=(0, -0.22), ncols=2)
show.finding(
    f"Hops and the gateway take {100 * share:.0f} % of the split service's time",
    alt="; ".join(f"{name}: {total:.2f} ms" for name, total in designs.items()),
)

# %%
observe(
    "hops and the gateway cost more than ten times what this small model computes",
    extra[2] > 10 * ms["model"],
    f"{extra[2]:.2f} ms against {ms['model']:.3f} ms",
)

# %% [markdown]
# Our model is tiny. If it computed for 50 ms, the hops would be a much smaller share of the time.
#
# Time is not the only cost. Let each part answer with probability $a$, independently of the others. If a request needs
# $n$ parts, all of them answer with probability $a^n$. Three parts with 99.9 % give 99.7 %: three times the failures.
# **Now do exercise 15.1**: compute the availability and the longest time of a whole call graph.
#
# ## What does the split buy?
#
# One part can die while the others go on, if they were built for it. We send 20 drawings and 20 requests with pixels a
# second. After 0.8 s we kill the preprocessing service. Another 0.8 s later we start it again.

# %%
due_s = np.arange(160) / 40
drawn = np.arange(160) % 2 == 1
found = np.zeros(160, int)


def both_kinds(i):
    found[i] = post(clients, "/digits", (drawings if drawn[i] else pixels)[i // 2])


# %%
with ThreadPoolExecutor(1) as background:
    running = background.submit(load.open_loop, both_kinds, due_s, workers=32)
    time.sleep(0.8)
    preprocess.process.kill()
    preprocess.process.wait()
    time.sleep(0.8)
    gateway_ready = DIRECT.open(gateway.url + "/v2/health/ready").status
    preprocess = start("preprocess", port=int(preprocess.url.rpartition(":")[2]))
taken_ms, fine = running.result().latency_ms, found == 200
refused, others = int((~fine & drawn).sum()), int((~fine & ~drawn).sum())

# %% [markdown]
# In a terminal the kill is `kill -KILL PID`. The requests come from an *open loop*: it sends each request when it is
# due, whatever happened to the ones before. Many users who do not know each other behave like this.

# %%
for kind, name, colour in ((~drawn, "pixels", show.BLUE), (drawn, "drawings", show.ORANGE)):
    for which, mark, end in ((kind & fine, ".", "answered"), (kind & ~fine, "x", "refused")):
        if which.any():
            plt.plot(due_s[which], taken_ms[which], mark, color=colour, label=f"{name}, {end}")
plt.axvspan(0.8, 1.6, color=show.GREY, alpha=0.2, lw=0)
plt.yscale("log")
plt.xlabel("when the request was due (s); grey: from the kill to the start command")
plt.ylabel("time to the answer (ms)")
plt.legend(loc="upper left", bbox_to_anchor=(1, 1))
show.finding(
    f"Preprocessing is down: {refused} drawings and {others} requests with pixels are refused",
    alt=f"Time to the answer of each request. {refused} of {drawn.sum()} drawings and {others} of "
    f"{(~drawn).sum()} requests with pixels were refused.",
)

# %%
time.sleep(1.1)  # longer than the gateway leaves a failing service alone
again = ask(gateway.url + "/digits", drawings[0])["digits"]
claim(
    "all pixels were answered and the gateway stayed ready; drawings were refused with 503 for a "
    "while, and are answered again",
    others == 0 and gateway_ready == 200
    and set(found[drawn].tolist()) == {200, 503} and again == [read_digit(bitmaps[0])],
    dict(Counter(found[drawn].tolist())),
)  # fmt: skip

# %% [markdown]
# Drawings get a 503 for longer than the grey part, for two reasons. The new process needs time to start. And the
# gateway has a *circuit breaker*: after too many failures it does not ask the service for one second (see below).
#
# The gateway's readiness depends on the gateway alone. Suppose that the gateway were ready only if all services behind
# it are. Then one dead service would take the gateway out of the load balancer, and requests with pixels would fail
# too.
#
# ## What happens when a service hangs?
#
# A service can be out of reach in two ways. If a *process* is dead, its host refuses the connection at once. If a
# process is frozen, or if the whole *host* is dead, no answer comes at all, and the client waits. How many clients wait
# at the same time?
#
# At a rate of $\lambda$ requests a second, $\lambda T$ requests arrive in $T$ seconds. Each stays for $W$ seconds on
# average. Together they spend $\lambda T W$ seconds inside. So the average number inside at one time is
#
# $$L = \lambda W .$$
#
# This is *Little's law* (lesson 18 proves and measures it). Let 100 requests a second go to a frozen service. With a
# time-out of 30 s, 3,000 requests wait. With a time-out of 0.2 s, 20 wait.
#
# Each waiting request holds memory, a connection, and one of the places that the gateway has. Here the gateway admits
# 50 requests at once. When drawings that wait for the frozen service hold all 50 places, none is left for pixels.
#
# A *bulkhead* is a smaller limit for each service behind the gateway. Ours: at most 20 requests may be under way to one
# service. (In a ship, bulkheads are the walls that keep one leak from filling the hull.)
#
# We freeze the preprocessing service and compare two gateways, one without and one with a bulkhead. Each gets 60
# drawings first. As soon as 10 of them are refused, it gets 20 requests with pixels.

# %%
guess(
    "bulkhead", "Without a bulkhead, how many of the 20 requests with pixels fail?", low=0, high=20
)


# %%
@contextlib.contextmanager
def frozen(service):
    """Stops a process for a while; it keeps its port and its connections."""
    process = psutil.Process(service.process.pid)
    process.suspend()
    try:
        yield
    finally:
        process.resume()


# %%
def drawings_then_pixels(gate):
    wires = load.Wires(gate.url)
    with ThreadPoolExecutor(60) as users:
        waiting = [users.submit(post, wires, "/digits", drawings[i]) for i in range(60)]
        while sum(each.done() for each in waiting) < 10:  # the gateway admits 50
            time.sleep(0.01)
        said = Counter(post(wires, "/digits", pixels[i]) for i in range(20))
    return Counter(each.result() for each in waiting), said


# %% [markdown]
# In a terminal you would freeze and wake the process with `kill -STOP PID` and `kill -CONT PID`.

# %%
limits = ["--max-requests", "50", "--timeout-ms", "4000", "--breaker-failures", "1000"]
gates = [
    start("gateway", "--predictor", predictor.url, *behind, *limits, "--max-under-way", most)
    for most in ("50", "20")
]
with frozen(preprocess), ThreadPoolExecutor(2) as both:
    without, bulkhead = both.map(drawings_then_pixels, gates)
for gate in gates:
    gate.stop()

# %%
reveal("bulkhead", 20 - without[1][200], f"with a bulkhead {20 - bulkhead[1][200]}")
show.table(
    ["gateway", "60 drawings", "20 requests with pixels"],
    [[name, *map(dict, each)]
     for name, each in (("no bulkhead", without), ("bulkhead of 20", bulkhead))],
    caption="Statuses of the answers while preprocessing is frozen, and how often each came",
)  # fmt: skip

# %%
claim(
    "without a bulkhead all requests with pixels are refused, although they do not need the frozen "
    "service; with a bulkhead none is",
    without[1] == {429: 20} and bulkhead[1] == {200: 20},
    f"{dict(without[1])}, {dict(bulkhead[1])}",
)

# %% [markdown]
# The drawings fail in both cases. The difference is the *blast radius*: what else fails because of one failure. The
# status tells you which limit was reached:
#
# | status | what our gateway means by it |
# | --- | --- |
# | 429 | too many requests are inside the gateway |
# | 503 | the service behind cannot be reached, its bulkhead is full, or its circuit breaker is open |
# | 504 | no answer came within the time-out |
#
# ## Which time-outs should I set?
#
# **Where this goes wrong.** Some HTTP clients wait without end unless you set a time-out. The defaults of two:

# %%
print("http.client:", socket.getdefaulttimeout())
print("aiohttp:    ", aiohttp.client.DEFAULT_TIMEOUT.total, "s")
claim(
    "by default, Python's http.client sets no time-out, and aiohttp sets one of minutes",
    socket.getdefaulttimeout() is None and aiohttp.client.DEFAULT_TIMEOUT.total >= 60,
)

# %% [markdown]
# Set two time-outs, a short one for the connection and one for the whole request. A healthy host on your network
# usually accepts a connection within milliseconds:
#
# ```bash
# curl --connect-timeout 0.5 --max-time 2 -d @drawing.json http://127.0.0.1:8080/digits
# ```
#
# Also send lesson 14's *deadline* along with each request. Otherwise the services behind the gateway go on computing
# for a client that has left. Our services send each other the time left, in the header `X-Request-Timeout-Ms`. A client
# may set it too, with `curl -H "X-Request-Timeout-Ms: 100"`:

# %%
with frozen(preprocess):
    late = clients.ask(
        "/digits", json.dumps(drawings[0]).encode(), {"X-Request-Timeout-Ms": "100"}
    )
said = json.loads(late.body)["error"]
claim(
    "the answer is 504, and its message names the client's own deadline",
    late.status == 504 and "client" in said,
    said,
)

# %% [markdown]
# gRPC (lesson 14b) has deadlines in its protocol. But a call has no deadline until you set one. In Java and Go, gRPC
# passes the deadline on to the next service by default. In C++, you must switch that on.
#
# ## Should a client try again?
#
# Many failures are short: a process is replaced, a connection is cut. Let each try fail with probability $p$,
# independently of the others. Then all of $k$ tries fail with probability $p^k$. The second try is made with
# probability $p$, the third with $p^2$. So the mean number of tries is
#
# $$1 + p + p^2 + \dots + p^{k-1} = \frac{1 - p^k}{1 - p} \quad (p < 1).$$

# %%
rows = [[f"{p:g}", f"{p**3:.3g}", f"{sum(p**i for i in range(3)):.2f}"] for p in (0.01, 0.5, 1.0)]
show.table(
    ["one try fails", "all 3 fail", "tries a request"], rows, caption="Three tries at the most"
)

# %% [markdown]
# When failures are rare, retries help and cost little. When everything fails, each request becomes three. And layers
# multiply: if a client, a gateway and a service each make three tries, then 27 requests reach the database.
#
# The formula assumes independent failures. In an overload the tries fail *because* there are so many of them. We
# simulate an overload, so that the result is the same on every machine:
#
# - The server answers 100 requests a second, in the order of arrival.
# - Clients send 80 a second. After one second without an answer they give up, and try again if they may.
# - The server does not know which clients have given up. It computes for them too.
# - From second 10 to 12 the server begins no work.

# %%
guess(
    "storm",
    "Clients make up to 4 tries, without a wait. Which share is answered in time 40 s later?",
    share=True,
)


# %%
def simulate(attempts, wait_s=lambda k, rng: 0.0, budget=None, seconds=60):
    """Times in s at which tries were made; and those of the tries that were answered in time."""
    rng = np.random.default_rng(15)
    due = load.poisson_arrivals(80, 80 * seconds, seed=15)
    coming = [(t, 0) for t in due[due < seconds]]
    made, good, free_at, tokens = [], [], 0.0, 10.0
    while coming and coming[0][0] <= seconds:
        now, tried = heapq.heappop(coming)
        made.append(now)
        if budget is not None and tried == 0:
            tokens = min(10.0, tokens + budget)
        begins = max(now, free_at)
        begins = 12.0 if 10 <= begins < 12 else begins  # the server stands still
        free_at = begins + 0.01
        if free_at <= now + 1:
            good.append(now)
        elif tried + 1 < attempts and (budget is None or tokens >= 1):
            tokens -= budget is not None
            heapq.heappush(coming, (now + 1 + wait_s(tried, rng), tried + 1))
    return np.array(made), np.array(good)


# %% [markdown]
# We compare four rules:
#
# - no retry;
# - up to 4 tries, without a wait;
# - *exponential back-off with full jitter*: the longest wait doubles, 0.1 s, 0.2 s, 0.4 s. The wait itself is drawn at
#   random, evenly between 0 and that. So clients that failed together do not come back together;
# - the same with a *retry budget*: each first try earns a tenth of a retry, up to a reserve of 10. If less than one
#   retry is left, the client gives up.


# %%
def full_jitter(k, rng):
    return rng.uniform(0, 0.1 * 2**k)


# %%
ways = {
    "no retry": simulate(1),
    "4 tries, at once": simulate(4),
    "4 tries, full jitter": simulate(4, full_jitter),
    "jitter and a budget of 1 in 10": simulate(4, full_jitter, budget=0.1),
}

# %%
last = {name: [int((each >= 50).sum()) for each in times] for name, times in ways.items()}
naive = last["4 tries, at once"]
reveal("storm", naive[1] / naive[0], f"{naive[1]} of {naive[0]} in the last ten seconds")

# %% [markdown]
# The whole minute, second by second:

# %%
figure, panels = plt.subplots(1, 4, figsize=(11, 3), sharex=True, sharey=True)
for axes, (name, (made, good)) in zip(panels, ways.items()):
    axes.axvspan(10, 12, color=show.GREY, alpha=0.3, lw=0)
    tried = np.histogram(made, np.arange(61))[0]
    axes.stairs(tried, color=show.ORANGE, baseline=None, label="tries")
    axes.stairs(
        np.histogram(good, np.arange(61))[0], color=show.BLUE, fill=True, label="answered in time"
    )
    axes.set_title(name, fontsize="small")
    axes.set_xlabel("time (s)")
panels[0].set_ylabel("requests a second")
panels[0].legend(loc="upper left", fontsize="small")
show.finding(
    "The server stops for 2 seconds (grey). With retries it does not recover within the minute; "
    "with a retry budget it does",
    alt="Tries a second and those answered in time, over a minute. In the last ten seconds: "
    + "; ".join(f"{name}: {good} of {made} answered" for name, (made, good) in last.items()),
)

# %%
claim(
    "in the last ten seconds, fewer than 1 in 10 tries is answered in time with retries at once or "
    "with jitter alone; without retries or with a budget, more than 99 in 100",
    all(last[n][1] < 0.1 * last[n][0] for n in list(ways)[1:3])
    and all(last[n][1] > 0.99 * last[n][0] for n in (list(ways)[0], list(ways)[3])),
    "; ".join(f"{name}: {good} of {made}" for name, (made, good) in last.items()),
)

# %% [markdown]
# This is a *metastable failure*: its cause is over, but the retries keep the overload going. Jitter alone does not help
# here, because there are too *many* retries. Jitter helps against another problem, clients that come back *at the same
# moment*. You need both, jitter and a budget.
#
# Our gateway has a budget, 0.1 retries for each request and a reserve of 10. How many requests does it send to a dead
# service? We compare it with a gateway that may always make three tries. Their circuit breakers are switched off.

# %%
common = ["--predictor", predictor.url, *behind, "--breaker-failures", "1000", "--attempts", "3"]
generous, thrifty = (start("gateway", *common, "--retry-share", each) for each in ("2", "0.1"))
preprocess.process.kill()
preprocess.process.wait()
for wires in map(load.Wires, (generous.url, thrifty.url)):
    load.closed_loop(lambda i, to=wires: post(to, "/digits", drawings[i]), 60, workers=4)
sent_to_dead = [tries(gate)["preprocess", "unreachable"] for gate in (generous, thrifty)]

# %%
for gate in (generous, thrifty):
    gate.stop()
claim(
    "60 requests become 180 tries without a budget, and at most 76 with it",
    sent_to_dead[0] == 180 and 60 <= sent_to_dead[1] <= 60 + 10 + 6,
    f"{sent_to_dead[0]} and {sent_to_dead[1]}",
)

# %% [markdown]
# How do you write a retry in Python? The library `tenacity` has back-off with full jitter, but no budget. The service
# is still dead. We start it again, and meanwhile a client keeps trying for up to 30 seconds. It tries again only after
# 502 and 503. After 400 the next try would fail too, and after 504 the time is over.

# %%
patiently = tenacity.Retrying(
    retry=tenacity.retry_if_result(lambda status: status in (502, 503)),
    wait=tenacity.wait_random_exponential(multiplier=0.1, max=1),
    stop=tenacity.stop_before_delay(30),
)
preprocess.process.kill()
preprocess.process.wait()
with ThreadPoolExecutor(1) as background:
    port = int(preprocess.url.rpartition(":")[2])
    started = background.submit(start, "preprocess", port=port)
    status = patiently(post, clients, "/digits", drawings[0])
preprocess = started.result()

# %%
claim(
    "the client's first tries are refused, the last one is answered",
    status == 200 and patiently.statistics["attempt_number"] > 1,
    f"{patiently.statistics['attempt_number']} tries",
)

# %% [markdown]
# In a shell, `curl --retry 3` waits 1, 2 and 4 seconds. If the answer has a header `Retry-After`, as our gateway's 503
# has, curl waits as long as that says. **Now do exercise 15.2**: write a back-off that respects a deadline.
#
# ## When should a client stop asking?
#
# A *circuit breaker* decides before each call whether to send it. It has three states:
#
# - *closed*: calls go through, and failures are counted. After too many failures the breaker opens.
# - *open*: calls are refused at once, and nothing is sent.
# - *half-open*: after a while one call may try. If it succeeds the breaker closes, else it opens again.
#
# So users do not wait for a time-out that would come anyway, and the service gets time to recover.
#
# We freeze the preprocessing service for 1.5 s. Two gateways with a time-out of 200 ms get the same drawings, 40 a
# second. The first one's breaker is switched off. The second one's breaker opens for half a second when 5 of the last
# 10 calls have failed. Why does it count a share, and not failures in a row? A service that answers every fifth call
# never fails five times in a row.

# %%
hasty = ["--predictor", predictor.url, *behind, "--timeout-ms", "200", "--breaker-seconds", "0.5"]
gates = [start("gateway", *hasty, "--breaker-failures", failures) for failures in ("1000", "5")]
due_s = np.arange(160) / 40


# %%
def sent_to(gate, service):
    found = {outcome: n for (to, outcome), n in tries(gate).items() if to == service}
    return sum(n for outcome, n in found.items() if outcome not in ("open", "full"))


# %%
def under_a_freeze(gate):
    wires, said = load.Wires(gate.url), np.zeros(160, int)

    def one(i):
        said[i] = post(wires, "/digits", drawings[i])

    taken_ms = load.open_loop(one, due_s, workers=32).latency_ms
    return said, taken_ms, sent_to(gate, "preprocess")


# %% [markdown]
# `sent_to` counts only requests that the gateway sent on, not those that it refused itself. Now we freeze the service,
# from second 1 to 2.5:

# %%
with ThreadPoolExecutor(2) as both:
    running = [both.submit(under_a_freeze, gate) for gate in gates]
    time.sleep(1)
    with frozen(preprocess):
        time.sleep(1.5)

# %%
bare, guarded = (each.result() for each in running)
waits = [int((said == 504).sum()) for said, _, _ in (bare, guarded)]
for gate in gates:
    gate.stop()

# %%
figure, panels = plt.subplots(1, 2, figsize=(9, 3), sharex=True, sharey=True)
for axes, name, (said, taken_ms, _) in zip(panels, ("no breaker", "breaker"), (bare, guarded)):
    axes.axvspan(1, 2.5, color=show.GREY, alpha=0.2, lw=0)
    for status, mark, colour, what in (
        (200, ".", show.BLUE, "answered"), (504, "x", show.RED, "504, time is over"),
        (503, "+", show.ORANGE, "503, not sent"),
    ):  # fmt: skip
        axes.plot(due_s[said == status], taken_ms[said == status], mark, color=colour, label=what)
    axes.set_title(name, fontsize="small")
    axes.set(xlabel="when the request was due (s); grey: frozen", yscale="log")
panels[0].set_ylabel("time until the user knows (ms)")
panels[1].legend(loc="upper left", bbox_to_anchor=(1, 1))
show.finding(
    f"The breaker turns {waits[0]} waits for a time-out into {waits[1]}",
    alt=f"Time until each user knows, without and with a breaker. {waits[0]} and {waits[1]} users "
    f"wait for the time-out; with the breaker {(guarded[0] == 503).sum()} are refused before.",
)

# %% [markdown]
# The breaker does not notice the end of the freeze at once. It stays open until its next trial succeeds.

# %%
claim(
    "with the breaker fewer requests are sent to the frozen service",
    guarded[2] < bare[2],
    f"{guarded[2]} instead of {bare[2]}",
)

# %% [markdown]
# A breaker has a price, the false alarm. After a few unlucky failures it refuses requests that the service would have
# answered.
#
# Count only failures of the *service*: time-outs and statuses from 500 on. Do not count a client's mistakes. If you
# count status 400, one client with bad requests can shut everyone out. If you count deadlines that the client chose, a
# client that waits for one millisecond can do the same. Does our gateway get status 400 right?

# %%
nonsense = {"bitmaps": [[1]]}
found = [post(clients, "/digits", nonsense if i < 20 else drawings[i]) for i in range(30)]
claim(
    "after twenty bad requests in a row the gateway's breaker is still closed",
    Counter(found) == {400: 20, 200: 10},
    dict(Counter(found)),
)

# %% [markdown]
# **Now do exercise 15.3**: write a simpler breaker, which counts failures in a row, as a state machine. It is harder
# than it looks, because calls overlap.
#
# ## Why is everything slow when each part is fast?
#
# A page that asks $n$ services at once (*fan-out*) is as slow as the slowest of them. Let each be slow with probability
# $p$, independently. Then the page is slow with probability $1 - (1 - p)^n$. Take 100 services, and let each be slow
# once in 100 times. Then this is $1 - 0.99^{100}$, or 63 %.
#
# A *hedged request* helps: wait as long as 95 % of the answers need. If no answer has come by then, ask another copy of
# the service too, and take the answer that comes first. This costs one more request in twenty. We simulate times of
# about 3 ms, of which one in fifty is 100 ms longer. The two copies are slow independently of each other.

# %%
rng = np.random.default_rng(4)
usual_ms = rng.lognormal(1, 0.3, (2, 200_000))
two_copies_ms = np.where(rng.random(usual_ms.shape) < 0.02, usual_ms + 100, usual_ms)
first_ms, other_ms = two_copies_ms
patience_ms = np.quantile(first_ms, 0.95)
hedged_ms = np.where(
    first_ms > patience_ms, np.minimum(first_ms, patience_ms + other_ms), first_ms
)
p99_ms = np.quantile(first_ms, 0.99), np.quantile(hedged_ms, 0.99)
claim(
    "5 % more requests bring the p99 (99 % of the times are below it) to less than a fifth",
    p99_ms[1] < p99_ms[0] / 5,
    f"{p99_ms[0]:.0f} ms, then {p99_ms[1]:.0f} ms",
)

# %% [markdown]
# If both copies are slow for the same reason, hedging only adds load. A hedged request is a retry before the failure.
# So it needs a budget too, and the service must be able to do the same work twice without harm. When is that the case?
#
# ## What if the work was done, but the answer was lost?
#
# The client does not know that the work was done, and asks again. For a prediction this is harmless. A prediction is
# *idempotent*: doing it twice has the same effect as doing it once. Feedback is not. If it is stored twice, it counts
# twice in the next training.
#
# An *idempotency key* solves this. The client makes up a random name for each piece of feedback, and sends the same
# name with each try. The store keeps one row for each key, and the database enforces that (`UNIQUE` in `feedback.py`).
# Our gateway repeats feedback only if it has a key.
#
# ```bash
# curl -H "Idempotency-Key: 6f1c9b2e" -d @feedback.json http://127.0.0.1:8080/feedback
# ```
#
# We send feedback, wait until it is stored, and hang up without reading the answer. Then we send it again.


# %%
def stored():
    return len(ask(feedback.url + "/feedback?limit=1000")["feedback"])


# %%
def lose_the_answer(news, key):
    rows = stored()
    wire = http.client.HTTPConnection(gateway.url.removeprefix("http://"), timeout=10)
    wire.request("POST", "/feedback", json.dumps(news), {"Idempotency-Key": key})
    while stored() == rows and time.monotonic() < until_s:
        time.sleep(0.01)
    wire.close()  # nobody has read the answer


# %% [markdown]
# The second time, the client reads the answer.


# %%
def say_twice(label, first_key, second_key):
    lose_the_answer({"label": label}, first_key)
    return post(clients, "/feedback", {"label": label}, {"Idempotency-Key": second_key})


def new_key():
    return uuid.uuid4().hex


# %%
before, until_s = stored(), time.monotonic() + 60
keys = [new_key() for _ in range(10)]
statuses = [say_twice(i, key, key) for i, key in enumerate(keys)]
claim(
    "each of ten requests is sent twice and stored once; the second answer is 200, not 201",
    stored() - before == 10 and set(statuses) == {200},
    f"{stored() - before} rows, {dict(Counter(statuses))}",
)

# %% [markdown]
# **Where this goes wrong.** The key belongs to the piece of feedback, not to the try. If the code that makes the key
# stands inside the retry loop, each try gets a new key:

# %%
before, until_s = stored(), time.monotonic() + 60
_ = [say_twice(i, new_key(), new_key()) for i in range(10)]
claim(
    "with a new key for each try, ten requests become twenty rows",
    stored() - before == 20,
    stored() - before,
)

# %% [markdown]
# **Now do exercise 15.4**: write a handler that does each request once. What if two tries with one key arrive at the
# same moment?

# %%
everything = (gateway, predictor, preprocess, feedback)
for each in everything:
    each.stop()
claim(
    "told to end, all four services end with status 0",
    sys.platform == "win32" or all(each.process.returncode == 0 for each in everything),
)

# %% [markdown]
# ## What we measured

# %%
show.table(
    ["what", "without", "with"],
    [
        [
            "time for one drawing: the split",
            *(f"{list(designs.values())[i]:.2f} ms" for i in (0, 2)),
        ],
        [
            "requests with pixels refused while drawings hang: bulkhead",
            20 - without[1][200],
            20 - bulkhead[1][200],
        ],
        ["tries for 60 requests to a dead service: retry budget", *sent_to_dead],
        ["waits for a time-out: breaker", *waits],
        ["rows for ten pieces of feedback, each sent twice: one key for both tries", 20, 10],
    ],
    caption="Without and with each measure",
)

# %% [markdown]
# ## What to remember
#
# - Split for a reason. Each hop costs time, and each part that a request needs makes it less likely to succeed.
# - Set a time-out for every wait, a budget for retries, and a key for every write that may be repeated.
# - When a service fails, only its own feature should fail. That takes a bulkhead, a circuit breaker, and a gateway
#   whose readiness depends on itself alone.
#
# ## Where this breaks down
#
# All processes ran on one machine. No network was slow or cut in two, and all processes read the same clock. The
# formulas assume independence, but parts that share a machine, a network or a release can fail together. Our limits (20
# in a bulkhead, 5 failures of 10) fit our load; measure under yours. Budget and breaker belong to one gateway process:
# ten gateways have ten of each. And the gateway does not notice a predictor that answers *plausible* nonsense. For that
# you need a second version to compare with (lesson 19), and you must watch the predictions (lessons 20 and 21).
#
# ## What real teams use
#
# Often a monolith, for a long time. Then an existing gateway: Envoy, NGINX, or a cloud's own. Inside a cluster, a
# *service mesh* (Istio, Linkerd) puts a proxy beside each service; time-outs, retries and breakers are then
# configuration, not code. In Python, `tenacity` for retries and `purgatory` for breakers. For breaking things on
# purpose: Toxiproxy, Chaos Mesh, Litmus.
#
# ## Further reading
#
# - M. T. Nygard, *Release It!*, 2nd edition, Pragmatic Bookshelf 2018: time-outs, bulkheads, circuit breakers.
# - N. Bronson et al., *Metastable Failures in Distributed Systems*, HotOS 2021.
# - M. Brooker, *Exponential Backoff and Jitter*, AWS Architecture Blog, 2015; *Timeouts, retries, and backoff with
#   jitter*, Amazon Builders' Library.
# - J. Dean, L. A. Barroso, *The Tail at Scale*, Communications of the ACM 56(2), 2013.
# - B. Beyer et al. (eds.), *Site Reliability Engineering*, O'Reilly 2016, chapters 21 and 22.
# - gRPC documentation, *Deadlines*.
# - S. Newman, *Building Microservices*, 2nd edition, O'Reilly 2021.
# - J. D. C. Little, *A Proof for the Queuing Formula: L = λW*, Operations Research 9(3), 1961.
