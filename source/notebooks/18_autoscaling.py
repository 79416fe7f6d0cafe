# %% [markdown]
# # 18 Autoscaling
#
# At 3 a.m. a link to your service spreads on another continent, and traffic rises eightfold within a second. The
# autoscaler works as it should. Half a minute later there are several pods instead of one. Users still wait, because a
# queue grew in that half minute. You can compute that wait in advance, and choose settings that make it shorter.
#
# ## You will be able to
#
# - compute from a service's own counters how many requests are inside it, and how many a second one pod can handle;
# - predict most decisions of Kubernetes' autoscaler, and say where its seconds go;
# - recognise a service whose overload does not show in its CPU, and choose a metric that shows it;
# - break a cold start down into its parts;
# - find the two mistakes in a Deployment that keep an autoscaler from working.
#
# ## Before you start
#
# Lesson 17 explains the Deployment, its pods and its Service. A *CPU limit* makes a container stand still for the rest
# of each tenth of a second in which it has used up its share (16b measures it). A *core* is one processor's whole time.
# Kubernetes writes a thousandth of it as `1m`, a *millicore*. Our traffic is an open loop, as in lesson 15.

# %%
import contextlib
import copy
import json
import math
import shutil
import time
from collections import deque

# %%
import matplotlib.pyplot as plt
import numpy as np
import yaml

from course_lib import data, models, show
from course_lib.idioms import begin, claim, claim_gone, guess, live, observe, own, path, reveal
from course_lib.ops.http import DIRECT, ask

scratch = begin("18")
path.picture(here="18")

# %% [markdown]
# ## How many requests are inside the service?
#
# Lesson 15 used *Little's law* to count the requests that wait. Here is its proof. Watch a system for $T$ seconds. In
# that time $n$ requests come, and all of them leave. Request $i$ stays for $w_i$ seconds. Let $N(t)$ be the number
# inside at time $t$. You can compute the area under $N$ in two ways. The first adds up moments. The second adds up
# requests: each is a strip of height one and length $w_i$.
#
# $$\int_0^T N(t)\,dt = \sum_{i=1}^n w_i .$$
#
# Divide both sides by $T$. The right side is then $\frac{n}{T} \cdot \frac{1}{n}\sum w_i$:
#
# $$L = \lambda W .$$
#
# $L$ is the mean number inside, $\lambda = n/T$ is the arrivals a second, and $W$ is the mean stay in seconds. The law
# assumes nothing about the order or the spacing of requests. (In practice a few requests are inside at the beginning
# and at the end. Over a long time this hardly matters.)
#
# Do a client and a server measure the same $L$? We start one pod of our service and give it a tenth of a core. Then we
# measure $L$ twice: by the client's clock and by the server's counters.

# %%
NAMESPACE = own("digits-18-autoscaling")
IMAGE = own("digits-service:lesson-18")
OURS = {"course-lesson": own("18")}
CPU_MILLI = 100  # what a pod requests, and its limit: its capacity is small and certain
IMAGES = 200  # a page of drawings in each request, so that it costs a few milliseconds of CPU

_, test = data.digits()
rows = [[image.tolist()] for image in test.images[:IMAGES]]

# %%
BODY = (
    json.dumps({"instances": rows}, separators=(",", ":")).replace(".0,", ",").replace(".0]", "]")
)
served = scratch / "models" / "digits_cnn" / "3"
served.mkdir(parents=True, exist_ok=True)
_ = shutil.copy(models.path("digits_cnn", 3), served / "model.onnx")


# %% [markdown]
# We remove what an earlier run left, and build the image. As typed, this would be `docker build` with the service's
# Dockerfile.


# %%
@live("docker")
def image():
    from course_lib.ops.docker import build_service, clear, docker_client

    client = docker_client()
    clear(client, OURS, IMAGE, namespace=NAMESPACE)  # what an earlier run left, if it broke off
    built = build_service(client, scratch / "context", scratch / "models", tag=IMAGE)
    return {"bytes": built.attrs["Size"]}


# %%
_ = image()

# %% [markdown]
# We also start two other Deployments, for later sections. `waits` is a service that hardly computes. It holds each
# request for half a second, as if it asked a database or a GPU. It has four places, and other requests wait. A GET
# request returns how many requests are inside. `article` is a Deployment as one of the articles writes it, without
# `resources`. Both are copies of our Deployment with another command.

# %%
WAITER = """
import json, threading, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

places, lock, inside = threading.Semaphore(4), threading.Lock(), [0, 0]

class Waiter(BaseHTTPRequestHandler):
    def do_GET(self):
        self.answer(json.dumps(inside))
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        with lock: inside[0] += 1
        with places: time.sleep(0.5)
        with lock: inside[0] -= 1; inside[1] += 1
        self.answer("{}")
    def answer(self, text):
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())
    def log_message(self, *_): pass

ThreadingHTTPServer.request_queue_size = 128
ThreadingHTTPServer(("", 8501), Waiter).serve_forever()
"""


# %%
def another(deployment, name, script):
    """A copy of the Deployment under another name, which runs a few lines of Python instead."""
    made = copy.deepcopy(deployment)
    made["metadata"]["name"], template = name, made["spec"]["template"]
    made["spec"]["selector"]["matchLabels"] = template["metadata"]["labels"] = {"app": name}
    template["spec"]["terminationGracePeriodSeconds"] = 1
    container = template["spec"]["containers"][0]
    for key in ("args", "env", "lifecycle"):
        del container[key]
    container["command"] = ["python", "-c", script]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        container[probe]["httpGet"]["path"] = "/"
    return made


# %% [markdown]
# Each of the three will get an autoscaler of its own. We start from the one in `k8s/overlays/production`. An *overlay*
# is a folder of changes to a base, here lesson 17's `k8s/base`. We allow one to five pods, and let it remove pods
# faster. Its fields are explained below.

# %%
WAITS = (20, 11)  # seconds and requests a second, of the service that waits
TARGET, LOW, HIGH, WINDOW_S = 60, 1, 5, 10


# %%
def autoscaler(name):
    """The production overlay's autoscaler for the Deployment `name`, changed for this hour."""
    from course_lib.ops import kubernetes as k8s

    made = k8s.the("HorizontalPodAutoscaler", k8s.rendered("k8s/overlays/production"))
    made["metadata"] = {"name": name, "labels": {"app": name}}
    made["spec"]["scaleTargetRef"]["name"] = name
    made["spec"].update(minReplicas=LOW, maxReplicas=HIGH)
    quick = {"type": "Percent", "value": 100, "periodSeconds": 15}
    made["spec"]["behavior"]["scaleDown"] = {
        "stabilizationWindowSeconds": WINDOW_S,
        "policies": [quick],
    }
    return made


# %% [markdown]
# Everything is ready to be sent to the cluster:


# %%
@live("docker", "kubernetes")
def deploy():
    from course_lib.ops import kubernetes as k8s

    k8s.fresh_namespace(NAMESPACE)
    seen = {"image": k8s.load_image(IMAGE)}
    objects = k8s.rendered("k8s/base", IMAGE)
    settings = k8s.the("ConfigMap", objects)["data"]
    settings["max-queue"] = "30000"  # images: let it queue, not refuse
    digits = k8s.the("Deployment", objects)
    digits["spec"]["replicas"] = 1
    amount = {"cpu": f"{CPU_MILLI}m", "memory": "256Mi"}
    container = digits["spec"]["template"]["spec"]["containers"][0]
    container["resources"] = {"requests": amount, "limits": amount}
    waits, article = another(digits, "waits", WAITER), another(digits, "article", WAITER)
    del article["spec"]["template"]["spec"]["containers"][0]["resources"]
    service = copy.deepcopy(k8s.the("Service", objects))
    service["metadata"]["name"], service["spec"]["selector"] = "waits", {"app": "waits"}
    seen["applied"] = k8s.apply([*objects, waits, article, service], NAMESPACE)
    seen["autoscaler"] = yaml.safe_dump(autoscaler("digits"), sort_keys=False)
    seen["seconds"] = k8s.wait_for_rollout(NAMESPACE)
    k8s.wait_for_rollout(NAMESPACE, "waits")
    return seen


# %%
deployed = deploy()
print(*deployed["applied"], deployed["image"], sep="\n")
print(f"the first pod was ready {deployed['seconds']:.0f} s after the rest was applied")

# %% [markdown]
# As typed, this would be `kubectl apply -k k8s/base` and `kubectl rollout status deployment/digits`.
#
# Now the two ways to measure $L$:
#
# 1. *The client's clock.* The answers a second, times their mean latency, are $\lambda W$.
# 2. *The server's counters* at `/metrics`: `…_request_duration_seconds_sum` adds up the stay of each answered request.
#    Its growth per second is $\sum w_i / T$, which is $L$ again.
#
# We read the counters four times: before and after a quiet period, and before and after a busy one.


# %%
def counters(url):
    """The server's counters that we need, and when they were read."""
    wanted = {
        "process_cpu_seconds_total": "cpu_s",
        "model_server_request_duration_seconds_sum": "stay_s",
        "model_server_request_duration_seconds_count": "answers",
    }
    found = dict.fromkeys(wanted.values(), 0.0)
    for line in DIRECT.open(url + "/metrics", timeout=60).read().decode().splitlines():
        if (name := line.split("{")[0].split(" ")[0]) in wanted:
            found[wanted[name]] += float(line.split()[-1])
    return {"at": time.time(), **found}


# %%
QUIET, BUSY = (4, 6), (8.5, 18)  # seconds, requests a second


# %% [markdown]
# The traffic comes from a pod of its own, and the counters are read through `kubectl port-forward`:


# %%
@live("docker", "kubernetes")
def two_loads():
    from course_lib.ops import kubernetes as k8s
    from course_lib.ops.traffic import traffic

    reading = []
    with k8s.port_forward(NAMESPACE, "deployment/digits", 8501) as url:
        with traffic(NAMESPACE, IMAGE, [BODY], steps=[QUIET, BUSY], workers=64) as sent:
            for moment in (0.8, 4, 5, 11):
                sent.wait_until(moment)
                reading.append(counters(url))
            found = sent.result()
    kept = ("by_half_second", "mean_ms_by_half_second", "failed", "begun_at")
    return {"counters": reading, **{name: found[name] for name in kept}}


# %%
loads = two_loads()


# %% [markdown]
# Between two readings, we compute $L$ from both sides, the rate of requests, and the cores used:


# %%
def seen_between(before, after):
    """L from both sides, requests a second and cores used, between two readings."""
    a, b = loads["counters"][before], loads["counters"][after]
    seconds = b["at"] - a["at"]
    bins = slice(*(round(2 * (each["at"] - loads["begun_at"])) for each in (a, b)))
    answered = np.sum([pod[bins] for pod in loads["by_half_second"].values()], axis=0)
    stay_s = np.array(loads["mean_ms_by_half_second"][bins], float) / 1000  # None, of nothing: nan
    return {
        "client": float(np.nansum(answered * stay_s) / (len(answered) / 2)),
        "server": (b["stay_s"] - a["stay_s"]) / seconds,
        "per_s": (b["answers"] - a["answers"]) / seconds,
        "cores": (b["cpu_s"] - a["cpu_s"]) / seconds,
    }


# %%
quiet, busy = seen_between(0, 1), seen_between(2, 3)
show.table(
    ["load", "requests/s", "L by the client's clock", "L by the server's counters"],
    [
        [name, f"{each['per_s']:.1f}", f"{each['client']:.2f}", f"{each['server']:.2f}"]
        for name, each in (("quiet", quiet), ("busy", busy))
    ],
    caption="Requests inside, counted from both sides",
)

# %%
observe(
    "under load, the client counts more requests inside than the server does",
    busy["client"] > busy["server"],
    f"{busy['client']:.2f} and {busy['server']:.2f}",
    of=loads,
    either=True,
)

# %% [markdown]
# (The quiet row rests on a few dozen requests at most, so chance plays a large part.) The two can differ under load,
# because the two clocks start at different moments. The server's clock starts when it has read a request's head. A
# request may wait before that: for a connection, or because the server's process has used up its CPU quota and stands
# still. Its counter misses that wait. The client's clock starts when the request was *due*.
#
# So **the rate at which a server's `duration_sum` grows is the mean number of requests in it.** Any service with a
# *histogram* of its latencies (lesson 20) shows how many requests are inside. It needs no *gauge*, a metric that rises
# and falls with the number. We use this below, where CPU is the wrong metric.
#
# ## How many requests a second can one pod handle?
#
# Apply Little's law to the processor alone. A request stays on a core for its CPU time $S$, and a core computes one
# request at a time. So the mean number inside is the mean number of busy cores. This is the *utilisation* $U$, in
# cores:
#
# $$U = U_0 + \lambda S .$$
#
# $U_0$ is what the pod uses with no traffic at all. Two readings at two rates give both unknowns, $U_0$ and $S$. The
# pod's *capacity* is the rate at which $U$ reaches the CPU limit.

# %%
more_per_s = busy["per_s"] - quiet["per_s"]
cpu_s = (busy["cores"] - quiet["cores"]) / more_per_s if more_per_s > 0 else 0.0
idle_cores = quiet["cores"] - cpu_s * quiet["per_s"]
if cpu_s <= 0 or idle_cores < 0:  # noise: then let the line go through zero
    idle_cores, cpu_s = 0.0, busy["cores"] / busy["per_s"]
POD = {"cpu_s": cpu_s, "idle_cores": idle_cores, "cores": CPU_MILLI / 1000}
capacity = (POD["cores"] - idle_cores) / cpu_s

# %%
rates = np.linspace(0, 1.15 * capacity, 50)
plt.plot(rates, 1000 * (idle_cores + cpu_s * rates), color=show.BLUE, label="$U_0 + λS$")
for each, mark, name in ((quiet, "o", "measured, quiet"), (busy, "s", "measured, busy")):
    plt.plot(each["per_s"], 1000 * each["cores"], mark, ms=8, color=show.ORANGE, label=name)
plt.axhline(CPU_MILLI, color=show.RED, ls="--", label="the limit")
plt.axvline(capacity, color=show.GREY, ls=":", label="capacity")
plt.xlabel("requests a second")
plt.ylabel("CPU used (millicores)")
plt.legend()
show.finding(
    f"A request costs {1000 * cpu_s:.1f} ms of CPU, so a pod can handle {capacity:.0f} a second",
    alt=f"CPU over requests a second: {1000 * quiet['cores']:.0f} millicores at "
    f"{quiet['per_s']:.1f} and "
    f"{1000 * busy['cores']:.0f} at {busy['per_s']:.1f}; the line meets the limit of "
    f"{CPU_MILLI} at {capacity:.0f}.",
)

# %% [markdown]
# We found the capacity without overloading the pod. Two warnings. The line is straight only while each request costs
# the same. And requests already wait for each other well below the capacity. Take random arrivals, one request served
# after the other, and service times that are random too (exponential, with mean $S$). In this queue the mean stay is
# $W = S/(1-\rho)$, where $\rho = \lambda S$ (13b derives it). At $\rho = 0.6$ the mean stay is two and a half times $S$,
# and at $\rho = 0.9$ it is ten times $S$. That is one reason why people aim at 50 to 70 %, and not at 100 %.
#
# ## Who decides how many pods there are?
#
# An object of the kind *HorizontalPodAutoscaler* does. Here is ours, with its changes for this hour:

# %%
print(deployed["autoscaler"])

# %% [markdown]
# Field by field:
#
# - `scaleTargetRef`: the object whose number of replicas it sets. The Deployment itself must then give no number
#   (`replicas: null` in the overlay). Otherwise each `kubectl apply` undoes the autoscaler's work.
# - `metrics`: the pods' mean CPU, in percent of what they **request**. It is not in percent of their limit or of the
#   node.
# - `minReplicas`, `maxReplicas`: the lower bound keeps some pods ready for a sudden peak, the upper bound limits your
#   bill.
# - `behavior.scaleUp.stabilizationWindowSeconds: 0`: it scales up at once. The pace keeps its default: within 15
#   seconds the pods may double, or grow by four, whichever is more.
# - `behavior.scaleDown`: it scales down only to the largest number that was recommended within the window. (Exercise
#   18.2 has both windows.)
#
# (`autoscaling/v2` exists since Kubernetes 1.23. Our `apply` sends the older name to an older cluster.)
#
# The controller looks at each autoscaler every 15 seconds by default, and computes:
#
# $$\text{wanted} = \left\lceil \text{pods} \cdot \frac{\text{metric}}{\text{target}} \right\rceil .$$
#
# Nothing changes while the fraction metric/target is within 10 % of 1. The rule rests on one assumption: with twice as
# many pods, each pod's metric falls to half. For CPU this follows from the straight line above, if $U_0$ is small.

# %%
guess(
    "first_look",
    "Each pod's limit is its request, the target is 60 %, and the load is ten times one pod's "
    "capacity. One pod is there. How many pods does the rule want after its first look?",
    choices=["2", "4", "10", "17"],
)


# %%
def wanted(pods, percent, target=TARGET, low=LOW, high=HIGH, tolerance=0.1):
    """The autoscaler's rule."""
    ratio = percent / target
    if abs(ratio - 1) <= tolerance + 1e-9:  # 66 / 60 is a little more than 1.1 in floats
        return pods
    return min(max(math.ceil(pods * ratio - 1e-9), low), high)


# %% [markdown]
# A pod at its limit shows 100 % of its request here:

# %%
first = wanted(1, 100, high=100)
reveal("first_look", str(first))

# %%
claim(
    "one full pod makes the rule want 2, whatever the load; at twice the capacity 4 are needed",
    first == 2 and wanted(1, 200) == 4,
    f"1 · 100/{TARGET} and 1 · 200/{TARGET}, rounded up",
)

# %% [markdown]
# A pod at its limit shows 100 %, whether the load is a little too high or ten times too high. The metric shows that the
# pod is full, but not how much capacity is missing. If the limit equals the request, the autoscaler can multiply by at
# most 100/60 at each look (rounded up to whole pods). So it climbs in steps. The production overlay requests 500m with
# a limit of one core. There the metric can rise to 200 %, and the steps can be twice as large, as far as the pace
# allows.
#
# ## What happens when the load jumps?
#
# Traffic comes from a pod inside the cluster: a quarter of one pod's capacity, then twice its capacity, then a quarter
# again. At most 64 requests are under way at once. The others wait in the client, and this wait counts: each latency is
# measured from when the request was due. We follow the API server's stream of changes. As typed, this would be
# `kubectl get hpa --watch` and `kubectl get pods --watch`.

# %%
low_rate, high_rate = max(4, round(capacity / 4)), round(2 * capacity)
TO_WAITS = {"host": "waits", "name": "traffic-waits", "steps": [WAITS], "workers": 64}
LOAD = [(4, low_rate), (30, high_rate), (26, low_rate)]  # seconds, requests a second
print(LOAD)


# %% [markdown]
# An autoscaler's `status` holds the metric that it saw and the number of pods that it wants. The stream often repeats
# the same state. So we keep only changes, with their time since the traffic began.


# %%
def told(changes, begun_at):
    """Changes with their time since the traffic's begin, without those that say nothing new."""
    kept, last, left_out = [], {}, ("at", "type", "image", "restarts")
    for change in changes:
        what = {key: value for key, value in change.items() if key not in left_out}
        if last.get(change["name"]) != what:
            last[change["name"]] = what
            kept.append({"at": round(change["at"] - begun_at, 2), **what})
    return kept


# %%
def measured(decisions, names):
    """Waits until the autoscalers of these names know their metric, that of quiet pods."""
    until = time.monotonic() + 120
    while not names <= {d["name"] for d in decisions if d["percent"] in range(TARGET - 10)}:
        if time.monotonic() > until:
            raise TimeoutError(f"no quiet metric in two minutes; the last: {decisions[-3:]}")
        time.sleep(0.2)


# %%
def followed(found, beside, inside, decisions, pods):
    """What the recording keeps."""
    names = ("p50_ms_by_half_second", "failed", "answered")
    return {
        "traffic": {name: found[name] for name in names},
        "decisions": told(decisions, found["begun_at"]),
        "pods": told(pods, found["begun_at"]),
        "waits": {"inside": inside, "p50_ms": beside["p50_ms_by_half_second"]},
    }


# %% [markdown]
# Now the run. Three autoscalers start. (The one for `article` comes later.) When the other two report quiet pods, both
# services get their traffic. We record everything until the last request is answered.

# %%
guess(
    "ready_s",
    "From the jump of the load until a second pod is ready: how long?",
    low=1,
    high=300,
    unit="s",
)


# %%
@live("docker", "kubernetes")
def follow():
    from course_lib.ops import kubernetes as k8s
    from course_lib.ops.traffic import traffic
    from course_lib.ops.watch import autoscaler_state, autoscalers, metrics_window, watching

    window_s = metrics_window(NAMESPACE)
    k8s.apply([autoscaler(name) for name in ("digits", "waits", "article")], NAMESPACE)
    inside = []
    with (
        watching(NAMESPACE, autoscalers(), autoscaler_state) as decisions,
        watching(NAMESPACE, "pods", k8s.pod_state, "app=digits") as pods,
        k8s.port_forward(NAMESPACE, "deployment/waits", 8501) as waits,
    ):
        measured(decisions, {"digits", "waits"})
        with (
            traffic(NAMESPACE, IMAGE, [BODY], steps=LOAD, workers=64) as sent,
            traffic(NAMESPACE, IMAGE, ["{}"], **TO_WAITS) as beside,
        ):
            while beside.elapsed() < WAITS[0] + 12:
                with contextlib.suppress(OSError):  # busy: this look is left out
                    inside.append([round(sent.elapsed(), 1), ask(waits)[0]])
                time.sleep(1)
            seen = followed(sent.result(), beside.result(), inside, decisions, pods)
    return {"measured_over_s": window_s, "load": LOAD, "pod": POD, **seen}


# %% [markdown]
# On a live cluster, this takes a minute or two:

# %%
run = follow()
STEP = run["load"]

# %%
observe(
    "every request was answered, however late",
    run["traffic"]["failed"] == {},
    f"{run['traffic']['answered']:,} answered, failed {run['traffic']['failed'] or 'none'}",
    of=run,
)

# %% [markdown]
# From the two streams we read, for each moment: the metric that the autoscaler reported, the pods that it wanted, and
# the pods that were ready.


# %%
def ready_at(moments):
    """How many pods were ready, at each of the moments."""
    state = {}
    events, counts = deque(sorted(run["pods"], key=lambda p: p["at"])), []
    for moment in moments:
        while events and events[0]["at"] <= moment:
            event = events.popleft()
            state[event["name"]] = event["ready"] and not event["leaving"]
        counts.append(sum(state.values()))
    return np.array(counts)


# %%
def of(name):
    return [d for d in run["decisions"] if d["name"] == name and d["percent"] is not None]


# %%
moments = np.arange(0, sum(s for s, _ in STEP), 0.5)
offered = np.repeat([rate for _, rate in STEP], [int(2 * s) for s, _ in STEP])
ready = ready_at(moments)
looks = of("digits")
p50_s = np.array(run["traffic"]["p50_ms_by_half_second"], float) / 1000

# %% [markdown]
# The four panels share their time axis:

# %%
figure, axes = plt.subplots(4, 1, figsize=(8, 7.6), sharex=True)
at = [d["at"] for d in looks]
axes[0].plot(moments, offered, "--", color=show.GREY, drawstyle="steps-post")
axes[0].plot(moments, ready * capacity, color=show.GREEN, drawstyle="steps-post")
axes[0].set_ylabel("offered (dashed),\ncapacity (solid)\n(requests/s)")
axes[1].plot(moments, p50_s, color=show.RED)
axes[1].set_ylabel("median latency,\nby due time (s)")
axes[2].step(at, [d["percent"] for d in looks], where="post", color=show.BLUE, marker="o")
axes[2].axhline(TARGET, color=show.GREY, ls="--")
axes[2].set_ylabel("CPU, as the\nautoscaler saw it\n(% of request)")
axes[3].step(
    at, [d["wanted"] for d in looks], where="post", color=show.ORANGE, marker="o", label="wanted"
)
axes[3].step(moments, ready, where="post", color=show.GREEN, label="ready")
axes[3].set(ylabel="pods", xlabel="time (s)", xlim=(0, moments[-1] + 1))
axes[3].legend(loc="upper left")
worst, high_at = np.nanmax(p50_s), STEP[0][0]
show.finding(
    f"The median latency reaches {worst:.0f} s on the way from {ready[0]} pod to {max(ready)}",
    alt=f"Over {moments[-1]:.0f} seconds: the load jumps from {STEP[0][1]} to {STEP[1][1]} "
    f"requests a second and "
    f"back; the median latency rises to {worst:.1f} s; the CPU metric rises to "
    f"{max(d['percent'] for d in looks)} %; "
    f"wanted pods rise to {max(d['wanted'] for d in looks)}, and ready ones after them.",
)

# %%
claim(
    "the autoscaler asked for more pods under the load, never for more than its ceiling, and pods "
    "came",
    1 < max(d["wanted"] for d in looks) <= HIGH and max(ready) > 1,
    " → ".join(
        str(d["wanted"])
        for i, d in enumerate(looks)
        if i == 0 or d["wanted"] != looks[i - 1]["wanted"]
    ),
)

# %% [markdown]
# The capacity passes the load when enough pods are ready, or when the load falls. Is the trouble over then?

# %%
enough = moments[(ready * capacity > 1.05 * offered) & (moments >= high_at)]
wait_then = p50_s[(moments >= enough[0]) & ~np.isnan(p50_s)][0] if len(enough) else math.nan
observe(
    "requests that arrive when the capacity passes the load still wait more than a second (median)",
    wait_then > 1,
    f"{wait_then:.1f} s, at {enough[0]:.0f} s" if len(enough) else "it never passed it",
    of=run,
)

# %% [markdown]
# Compare the two upper panels. By the time the capacity passes the load, a *queue* has grown. Only the spare capacity,
# above the load, can work it off. So a late autoscaler makes users wait twice: while the queue grows, and while it
# shrinks.
#
# ## Did the autoscaler follow its rule?
#
# Each recorded status shows the metric of one look, and the number of pods wanted. So we can compute what the rule says
# at each of these looks. Two details of the real controller matter. First, it multiplies the number of pods that it has
# *measured*. A new pod has no measurement yet, and until then it gives no reason to ask for more pods. Second, on the
# way down the controller takes the largest number that it recommended within the window. (Exercises 18.1 and 18.2 have
# the whole rule.)


# %%
def measured_pods(moment):
    """How many pods are old enough to have a CPU measurement at this moment."""
    first, gone = {}, set()
    for pod in (p for p in run["pods"] if p["at"] <= moment):
        first.setdefault(pod["name"], pod["at"] if pod["phase"] == "Pending" else -math.inf)
        gone |= {pod["name"]} if pod["leaving"] else set()
    return sum(
        moment - born >= 0.8 * run["measured_over_s"]
        for name, born in first.items()
        if name not in gone
    )


# %%
recommended, predicted = [], []
for look in looks:
    counted = min(measured_pods(look["at"] - 0.05), look["pods"])
    raw = wanted(counted, look["percent"])
    if abs(look["percent"] / TARGET - 1) <= 0.1 + 1e-9:
        raw = look["pods"]
    elif look["percent"] > TARGET:
        raw = max(raw, look["pods"])
    recommended.append((look["at"], raw))
    window = [
        n for moment, n in recommended if moment > look["at"] - WINDOW_S + 0.3
    ]  # 0.3 s: a status arrives a moment after its look
    predicted.append(max(window) if raw < look["pods"] else raw)

# %% [markdown]
# We compare three answers: the bare formula, the rule with both details, and what the autoscaler wanted.

# %%
naive = [wanted(look["pods"], look["percent"]) for look in looks]
show.table(
    ["time (s)", "pods", "CPU (%)", "formula over all pods", "with both details", "wanted"],
    [
        [f"{d['at']:.0f}", d["pods"], d["percent"], n, p, d["wanted"]]
        for d, n, p in zip(looks, naive, predicted)
    ],
    caption="What the rule says, and what the autoscaler wanted",
)

# %%
hits = sum(p == d["wanted"] for p, d in zip(predicted, looks))
observe(
    "with both details, the rule predicts at least four of five looks",
    hits >= 0.8 * len(looks),
    f"{hits} of {len(looks)}; the bare formula "
    f"{sum(n == d['wanted'] for n, d in zip(naive, looks))}",
    of=run,
)

# %% [markdown]
# ## Where do the seconds go?
#
# From the jump of the load to a second pod's first answer, five things happen one after the other:
#
# 1. The kubelet measures CPU, every ten to fifteen seconds.
# 2. The metrics server collects these measurements, on many clusters every fifteen seconds.
# 3. The autoscaler looks, by default every fifteen seconds. (The table above shows how often on this cluster.)
# 4. The scheduler chooses a node, and the container is created.
# 5. Python starts and loads the model, and the readiness probe succeeds.


# %%
def life(name):
    """When a pod was asked for, when it ran, and when it was ready (s)."""
    events = [p for p in run["pods"] if p["name"] == name]
    return {
        "asked": events[0]["at"],
        "runs": next(p["at"] for p in events if p["phase"] == "Running"),
        "ready": next(p["at"] for p in events if p["ready"]),
    }


# %%
born = {p["name"]: p["at"] for p in run["pods"] if p["phase"] == "Pending"}
new = [n for n in dict.fromkeys(born) if any(p["ready"] for p in run["pods"] if p["name"] == n)]
lives = [life(name) for name in new]

# %% [markdown]
# Each bar is one new pod, from the jump of the load to its being ready:

# %%
asked = np.array([each["asked"] for each in lives])
made = np.array([each["runs"] for each in lives]) - asked
loaded = np.array([each["ready"] - each["runs"] for each in lives])
plt.barh(range(len(new)), asked - high_at, color=show.GREY, label="measuring and deciding")
plt.barh(
    range(len(new)), made, left=asked - high_at, color=show.ORANGE, label="scheduling, container"
)
left = asked - high_at + made
plt.barh(range(len(new)), loaded, left=left, color=show.BLUE, label="start, model, probe")
plt.yticks(range(len(new)), [f"pod {i + 2}" for i in range(len(new))])
plt.gca().invert_yaxis()
plt.xlabel("time since the load jumped (s)")
plt.legend(loc="upper left", bbox_to_anchor=(0, -0.2), ncols=3)
start_s = float(np.median(made + loaded))
show.finding(
    f"The first new pod is decided on after {asked[0] - high_at:.0f} s and ready "
    f"{made[0] + loaded[0]:.0f} s later",
    alt="Stacked bars a pod: "
    + "; ".join(
        f"asked for after {a - high_at:.1f} s, container after {m:.1f} more, ready after "
        f"{r:.1f} more"
        for a, m, r in zip(asked, made, loaded)
    ),
)

# %%
reveal("ready_s", lives[0]["ready"] - high_at)

# %%
observe(
    "before the first new pod, deciding took longer than starting",
    asked[0] - high_at > made[0] + loaded[0],
    f"{asked[0] - high_at:.1f} s and {made[0] + loaded[0]:.1f} s",
    of=run,
    either=True,
)

# %% [markdown]
# Which of the two takes longer depends on the cluster: on how often it measures, and on how fast its node starts a pod.
# The time from the decision to the first answer is the *cold start*. A node without the image must pull it first. For a
# language model of many gigabytes this can take minutes. These remedies help, the cheapest first:
#
# - a small image (lesson 16), with the model inside it or already on the node;
# - a CPU limit that does not slow the start down;
# - spare pods, then spare nodes.
#
# You can compute the queue that grows in the meantime. Let the capacity be $c$ and the load $r$, both in requests a
# second. After a delay of $D$ seconds, $(r - c)D$ requests are in the queue.

# %%
rate_high = STEP[1][1]
queue = (rate_high - capacity) * (lives[0]["ready"] - high_at)
print(
    f"({rate_high} − {capacity:.0f}) · {lives[0]['ready'] - high_at:.0f} s = {queue:.0f} "
    f"requests in the queue"
)
print(f"one pod would need {queue / capacity:.0f} s for these requests alone")

# %% [markdown]
# ## Which overload does CPU not show?
#
# During the same run, the second service had a load of its own for twenty seconds: 11 requests a second. Each takes
# half a second and there are four places, so the service can answer at most 8 a second. It cannot keep up, and a queue
# grows.

# %%
guess(
    "waits_cpu",
    "What is the highest CPU that the autoscaler reports for this service? (The target is 60 %.)",
    share=True,
)

# %%
inside = np.array(run["waits"]["inside"])
percents = of("waits")
figure, axes = plt.subplots(2, 1, figsize=(7, 4.4), sharex=True)
axes[0].plot(inside[:, 0], inside[:, 1], color=show.RED)
axes[0].set_ylabel("requests\ninside")
axes[1].step(
    [d["at"] for d in percents],
    [d["percent"] for d in percents],
    color=show.BLUE,
    where="post",
    marker="o",
)
axes[1].axhline(TARGET, color=show.GREY, ls="--")
axes[1].set(ylabel="CPU (% of request)", xlabel="time (s)", ylim=(0, 100), xlim=(0, inside[-1, 0]))
axes[1].text(0.5, TARGET + 4, "target", color=show.GREY)
most_inside, most_percent = int(inside[:, 1].max()), max(d["percent"] for d in percents)
show.finding(
    f"Up to {most_inside} requests share four places, while CPU shows at most {most_percent} %",
    alt=f"Two curves over {inside[-1, 0]:.0f} seconds: requests inside rise to {most_inside} "
    f"and fall after the load "
    f"ends; CPU stays at {most_percent} % of the request or below, the target is {TARGET} %.",
)

# %%
reveal("waits_cpu", most_percent / 100)
observe(
    "by its CPU, the service that waits never gets a second pod, though more than ten requests "
    "queue for its four places",
    max(d["wanted"] for d in percents) == LOW and most_inside > 14,
    f"{most_percent} % of its request; {most_inside} inside; median latency up to "
    f"{max(p for p in run['waits']['p50_ms'] if p) / 1000:.1f} s",
    of=run,
)

# %% [markdown]
# You want to know whether requests wait. CPU is only an indirect sign of that. It is a good sign if the service
# computes. A service that waits for a GPU, a database or another service uses almost no CPU while its queue grows. Such
# a service should scale on its *requests in flight*, the requests that have come and are not yet answered. The rule
# stays the same. A pod has four places, and we want three of them filled, so the target is 3:

# %%
target_inside = 3
by_inside = [wanted(1, n, target=target_inside, high=20) for n in inside[:, 1]]
needed = math.ceil(WAITS[1] * 0.5 / target_inside)

# %%
claim(
    "with requests inside as its metric, the same rule asks for at least as many pods as Little's "
    "law says are needed",
    max(by_inside) >= needed,
    f"rule: up to {max(by_inside)}; law: {WAITS[1]} a second · 0.5 s / {target_inside} a pod "
    f"= {needed}",
)

# %% [markdown]
# While a queue is there, the rule asks for more pods than the load alone needs, because the queue counts as well. So
# which metric should you choose?
#
# | metric | shows | does not show | note |
# | --- | --- | --- | --- |
# | CPU | computing | waiting; load above the limit | needs only the metrics server |
# | requests a second a pod | the load | requests that became more expensive | capacity must be known, and watched |
# | requests in flight | the load, its cost, and the queue | how long each will still take | Little: rate × time; Knative uses it |
# | length of a queue | work that is not begun | work that is under way | for workers behind a queue |
# | latency | what users feel | how many pods are missing | does not fall in proportion: the rule's assumption breaks |
# | GPU utilisation | whether any kernel runs | whether more would fit | may show 100 % at batch 1: use the queue |
#
# The metrics server knows only CPU and memory. Other metrics come through an *adapter*, which answers the API
# `custom.metrics.k8s.io` from Prometheus (lesson 20). You need the next two listings only when you install one. A rule
# of the Prometheus adapter gives the metric its name:
#
# ```yaml
# rules:
# - seriesQuery: model_server_request_duration_seconds_sum{namespace!="",pod!=""}
#   resources: {overrides: {namespace: {resource: namespace}, pod: {resource: pod}}}
#   name: {as: requests_in_flight}
#   metricsQuery: sum(rate(<<.Series>>{<<.LabelMatchers>>}[2m])) by (<<.GroupBy>>)
# ```
#
# Then the autoscaler's `metrics` may ask for it:
#
# ```yaml
# - type: Pods
#   pods:
#     metric: {name: requests_in_flight}
#     target: {type: AverageValue, averageValue: "3"}
# ```
#
# The query is Little's law once more: the rate of `duration_sum` is the mean number inside. `rate` needs two readings
# within its range. Prometheus often reads the counters (*scrapes* them) only every 30 or 60 seconds, so `[30s]` would
# find nothing. (The sum counts a request only when it has ended, so it lags while a queue grows. A gauge that counts
# requests as they arrive does not lag.) No adapter runs here. In exercise 18.3 you write such an autoscaler, and the
# check validates it with a recent schema of Kubernetes.
#
# With several metrics the autoscaler takes the largest number of pods that any of them asks for. KEDA (Kubernetes
# Event-driven Autoscaling) brings its own adapter. You write the query into a `ScaledObject`, and KEDA creates the
# autoscaler.
#
# ### Where this goes wrong: the articles' Deployment
#
# The articles promise "elastic scaling" by Kubernetes, and give a Deployment without `resources`. The API server
# accepts an autoscaler for it. But the rule needs CPU in percent of the pods' request, and these pods request nothing.

# %%
trouble = [d["trouble"] for d in run["decisions"] if d["name"] == "article" and d["trouble"]]
print(*trouble[-1:])
claim(
    "without a CPU request there is no percentage to compute: the autoscaler never gets its metric",
    all(d["percent"] is None for d in run["decisions"] if d["name"] == "article")
    and any("missing request for cpu" in each for each in trouble),
)

# %% [markdown]
# `kubectl get hpa` shows `<unknown>/60%` (recent versions: `cpu: <unknown>/60%`), and nothing scales. One line fixes
# it: `requests: {cpu: …}`. The second mistake gives no message: `replicas: 3` stays in the Deployment's file. Then each
# `kubectl apply` sets the number back to three, even in the middle of a peak.
#
# Deleting that line has a trap, too: the first apply *after* it sets one pod. `kubectl` knows what it applied last. It
# sees that the field is gone, and removes it from the Deployment. Then the default holds, which is 1. So before that
# apply, delete the line from the stored copy as well, with `kubectl apply edit-last-applied deployment/digits` (see
# `k8s/README.md`).


# %%
@live("docker", "kubernetes")
def remove():
    from course_lib.ops.docker import clear, docker_client

    return clear(docker_client(), OURS, IMAGE, namespace=NAMESPACE)


# %%
claim_gone("namespace and image are gone", remove())

# %% [markdown]
# ## What we measured

# %%
show.table(
    ["what", "figure"],
    [
        ["L under load: client, server", f"{busy['client']:.2f}, {busy['server']:.2f}"],
        ["CPU of a request; a pod's capacity", f"{1000 * cpu_s:.1f} ms; {capacity:.0f} a second"],
        ["from the load's jump to the first decision", f"{asked[0] - high_at:.1f} s"],
        ["from the decision to a ready pod, median", f"{start_s:.1f} s"],
        ["highest median latency in a half second", f"{worst:.1f} s"],
        ["looks that the rule predicts", f"{hits} of {len(looks)}"],
        ["highest CPU of the service that waits", f"{most_percent} % of its request"],
    ],
    caption="What we measured",
)

# %% [markdown]
# ## What to remember
#
# - $L = \lambda W$, and the rate of `duration_sum` is $L$. So a latency histogram shows how many requests are inside.
# - The autoscaler multiplies the pods by metric over target. It acts late, and a saturated metric shows too little.
#   *Headroom* is capacity kept free for the time until new pods are ready.
# - Scale on what fills up first. A service that computes fills its CPU. A service that waits fills with requests in
#   flight.
#
# ## Where this breaks down
#
# One node, and a tenth of a core for each pod, is a toy. With so small a CPU limit, a busy pod stands still for most of
# each tenth of a second. Do not do that to a real service. Our clients do not retry. Clients that retry make an
# overload worse (lesson 15). And more pods help only if the pods are the bottleneck. Twenty pods in front of one slow
# database only make its queue longer.
#
# ## What real teams use
#
# For services that compute, teams use the HorizontalPodAutoscaler on CPU. Other services scale on requests in flight or
# on a queue's length, through KEDA or the Prometheus adapter. `minReplicas` often comes from last week's traffic. Load
# tests (k6, Locust, vegeta) find a pod's capacity before the users do. An autoscaler is too slow for a sudden jump. So
# the service also needs *load shedding*: it refuses what it cannot answer in time (lesson 14's 429).
#
# Next: 18b simulates policies for a large cluster and computes what they cost. Lesson 19 brings a new version to a few
# users first.
#
# ## Further reading
#
# - J. D. C. Little, *A Proof for the Queuing Formula: L = λW*, Operations Research 9(3), 1961.
# - Kubernetes documentation, *Horizontal Pod Autoscaling* (algorithm details, configurable scaling behavior).
# - KEDA documentation, *Scaling Deployments, StatefulSets & Custom Resources*.
