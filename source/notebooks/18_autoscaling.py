# %% [markdown]
# # 18 Autoscaling
#
# At 3 a.m. a link to your service spreads on another continent, and traffic rises eightfold within a second. The
# autoscaler does all that it should. Half a minute later there are several pods instead of one, and users still wait,
# because a queue grew in that half minute. You can compute that wait in advance, and choose settings that make it
# shorter.
#
# ## You will be able to
#
# - compute from a service's own counters how many requests are inside it, how busy it is, and what one pod can bear;
# - predict what Kubernetes' autoscaler will do, pod by pod, and say where its seconds go;
# - tell which services CPU is blind to, and choose a metric that is not;
# - keep an autoscaler from flapping, and break a cold start down into its parts;
# - try a policy on a simulated day of a thousand nodes, and choose it by what it costs and what it breaks.
#
# ## Before you start
#
# Lesson 13 has the queue's formula and the *open loop*: each request is sent when it is due, even if earlier ones are
# not answered yet. Lesson 16 has the CPU limit of a container; lesson 17 the Deployment, its pods and its Service. A
# *core* is one processor's whole time; Kubernetes writes a thousandth of it as `1m`, a *millicore*.

# %%
import contextlib
import copy
import json
import math
import shutil
import threading
import time
from collections import deque
from dataclasses import dataclass, replace

# %%
import matplotlib.pyplot as plt
import numpy as np
import yaml

from course_lib import data, models
from course_lib.idioms import begin, claim, claim_gone, live, observe, own, path, show

scratch = begin("18")
path.picture(here="18")

# %% [markdown]
# ## How many requests are inside the service?
#
# You can know this number without counting who comes and goes. Watch a system for $T$ seconds. In that time $n$
# requests come, and all of them leave. Request $i$ stays for $w_i$ seconds. Let $N(t)$ be the number inside at time
# $t$. The area under $N$ can be cut in two ways: into moments, or into requests, each a strip of height one and length
# $w_i$:
#
# $$\int_0^T N(t)\,dt = \sum_{i=1}^n w_i .$$
#
# Divide by $T$, and write $n/T \cdot \frac{1}{n}\sum w_i$ for the right side:
#
# $$L = \lambda W ,$$
#
# with $L$ the mean number inside, $\lambda = n/T$ the arrivals a second, and $W$ the mean stay in seconds. That is
# *Little's law*. Nothing was assumed about randomness, order, or what goes on inside. (At the beginning and the end of
# the watch a few requests are cut. Over a long watch this hardly matters.)
#
# Does it hold in a cluster? We start one pod of our service, give it a tenth of a core, and measure in three
# independent ways. The pod runs in a namespace of your own, from an image of your own: `own` adds a few letters to
# their names, which belong to your copy of the course.

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
# Beside it we start two other Deployments, for later sections. `waits` is a service that hardly computes. It holds
# each request for half a second, as if it asked a database or a GPU, and it can hold four at a time. `article` is a
# Deployment as one of the articles writes it, without `resources`. Both are copies of our Deployment with another
# command. `waits` is a web server of Python's standard library. On GET it says how many requests are inside and how
# many it has answered.

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
# Each of the three will get an autoscaler of its own, made from the one in our production overlay (the folder
# `k8s/overlays/production` of lesson 17). We explain its fields below, when we need them.

# %%
WAITS = (20, 11)  # seconds and requests a second, of the service that waits
TARGET, LOW, HIGH, WINDOW_S = 60, 1, 5, 10


# %%
def autoscaler(name):
    """The production overlay's autoscaler for the Deployment `name`, as the cluster knows it."""
    from course_lib.ops import kubernetes as k8s

    new = "autoscaling/v2" in k8s.kubectl("api-versions").split()
    objects = k8s.rendered(f"k8s/overlays/{'production' if new else 'kubernetes-1.20'}")
    made = k8s.the("HorizontalPodAutoscaler", objects)
    made["metadata"] = {"name": name, "labels": {"app": name}}
    made["spec"]["scaleTargetRef"]["name"] = name
    made["spec"].update(minReplicas=LOW, maxReplicas=HIGH)
    quick = {"type": "Percent", "value": 100, "periodSeconds": 15}
    made["spec"]["behavior"]["scaleDown"] = {
        "stabilizationWindowSeconds": WINDOW_S,
        "policies": [quick],
    }
    return made


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
# The three ways to measure:
#
# 1. *The client's machine.* Each request opens a connection and closes it after the answer. How many are open is
#    written in the kernel's own table, `/proc/net/tcp`. We read it fifty times a second and take the mean. That is
#    $L$, without any measured time.
# 2. *The client's clock.* Answers a second, times their mean latency: $\lambda W$.
# 3. *The server's counters* at `/metrics`: `…_request_duration_seconds_sum` adds up the stay of each request that it
#    answers. Its growth in a second is $\sum w_i / T$, which is $L$ again.

# %% [markdown]
# The first count runs as a second process beside the client. It must be in the same pod, since each pod has a table of
# its own. We read the server's counters four times: before and after a quiet period, and before and after a busy one.

# %%
SIDES = ("connections", "client", "server")

# %%
COUNT = """
import json, time
seen, end = [], time.time() + 10.5
while time.time() < end:
    lines = [line.split() for name in ("tcp", "tcp6") for line in open("/proc/net/" + name)]
    open_ = sum(each[3] == "01" and each[2].endswith(":0050") for each in lines)
    seen.append([round(time.time(), 3), open_])
    time.sleep(0.02)
print(json.dumps(seen))
"""  # state 01: established; port 0050, in hexadecimal: 80, the Service's


# %%
def counters(url):
    """The server's counters that we need, and when they were read."""
    from course_lib.ops.http import DIRECT

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


# %%
@live("docker", "kubernetes")
def three_sides():
    from course_lib.ops import kubernetes as k8s
    from course_lib.ops.traffic import traffic

    reading, opened = [], []

    def count():
        script = ["exec", "-n", NAMESPACE, "traffic", "--", "python", "-c", COUNT]
        opened.extend(json.loads(k8s.kubectl(*script)))

    with k8s.port_forward(NAMESPACE, "deployment/digits", 8501) as url:
        with traffic(NAMESPACE, IMAGE, [BODY], steps=[QUIET, BUSY], workers=64) as sent:
            watcher = threading.Thread(target=count)
            watcher.start()
            for moment in (0.8, 4, 5, 11):
                sent.wait_until(moment)
                reading.append(counters(url))
            watcher.join()
            found = sent.result()
    kept = ("by_half_second", "mean_ms_by_half_second", "failed", "begun_at")
    return {"counters": reading, "open": opened, **{name: found[name] for name in kept}}


# %%
sides = three_sides()


# %%
def seen_between(before, after):
    """L from three sides, requests a second and cores used, between two readings."""
    a, b = sides["counters"][before], sides["counters"][after]
    seconds = b["at"] - a["at"]
    opened = [n for at, n in sides["open"] if a["at"] <= at < b["at"]]
    bins = slice(*(round(2 * (each["at"] - sides["begun_at"])) for each in (a, b)))
    answered = np.sum([pod[bins] for pod in sides["by_half_second"].values()], axis=0)
    stay_s = np.array(sides["mean_ms_by_half_second"][bins], float) / 1000  # None, of nothing: nan
    return {
        "connections": float(np.mean(opened)) if opened else math.nan,
        "client": float(np.nansum(answered * stay_s) / (len(answered) / 2)),
        "server": (b["stay_s"] - a["stay_s"]) / seconds,
        "per_s": (b["answers"] - a["answers"]) / seconds,
        "cores": (b["cpu_s"] - a["cpu_s"]) / seconds,
    }


# %%
quiet, busy = seen_between(0, 1), seen_between(2, 3)
show.table(
    ["requests/s", "L: open connections", "λW: client's clock", "L: server's counters"],
    [[f"{each['per_s']:.1f}"] + [f"{each[k]:.2f}" for k in SIDES] for each in (quiet, busy)],
)

# %%
observe(
    "under load, the three counts of L are within a factor of two of each other",
    max(busy[k] for k in SIDES) < 2 * min(busy[k] for k in SIDES),
    ", ".join(f"{k} {busy[k]:.2f}" for k in SIDES),
    of=sides,
)

# %%
observe(
    "under load, the server counts the least and the client the most",
    busy["server"] <= busy["connections"] <= busy["client"],
    ", ".join(f"{k} {busy[k]:.2f}" for k in SIDES),
    of=sides,
    either=True,
)

# %%
observe(
    "more load, more requests inside, by each of the three counts",
    all(busy[k] > quiet[k] for k in SIDES),
    of=sides,
    either=True,
)

# %% [markdown]
# (The quiet row rests on a few dozen requests at most, each inside for milliseconds, so chance plays a large part.) If
# the counts differ under load, there is a reason. The server's clock starts when it has read a request's head. A
# request may wait before that: for a connection, or for a process that stands still because its CPU quota is used up.
# No counter in the server can see this wait. The client's clock starts when the request was *due*.
#
# Keep the third column in mind: **the rate at which a server's `duration_sum` grows is the number of requests in it.**
# So any service with a histogram of its latencies tells you how many requests are inside, although nobody added a
# gauge for it. We use that below, where CPU is the wrong metric.
#
# ## How much can one pod bear?
#
# Apply Little's law to the processor alone. Each core computes at most one request at a time, and the request stays
# there for its CPU time $S$. The number inside is then the share of time in which the processor works, the
# *utilisation*, in cores:
#
# $$U = U_0 + \lambda S .$$
#
# $U_0$ is what the pod uses with no traffic at all. Two readings at two rates give both unknowns. The capacity is the
# rate at which $U$ reaches the limit.

# %%
more_per_s = busy["per_s"] - quiet["per_s"]
cpu_s = (busy["cores"] - quiet["cores"]) / more_per_s if more_per_s > 0 else 0.0
idle_cores = quiet["cores"] - cpu_s * quiet["per_s"]
if cpu_s <= 0 or idle_cores < 0:  # noise, since no pod uses less than nothing: through zero then
    idle_cores, cpu_s = 0.0, busy["cores"] / busy["per_s"]
capacity = (CPU_MILLI / 1000 - idle_cores) / cpu_s

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
    f"A request costs {1000 * cpu_s:.1f} ms of CPU, so a pod bears {capacity:.0f} a second",
    alt=f"CPU over requests a second: {1000 * quiet['cores']:.0f} millicores at "
    f"{quiet['per_s']:.1f} and "
    f"{1000 * busy['cores']:.0f} at {busy['per_s']:.1f}; the line meets the limit of "
    f"{CPU_MILLI} at {capacity:.0f}.",
)

# %% [markdown]
# We found this without overloading the pod. Two warnings. The line is straight only while each request costs the same.
# And at its capacity a pod's queue grows without end; well below the capacity the queue is already long. Take random
# arrivals, one request served after the other, and service times that are random too (exponential, with mean $S$).
# Then lesson 13's formula for the mean stay becomes $W = S/(1-\rho)$ at $\rho = \lambda S$: at $\rho = 0.6$ two and a
# half times $S$, at 0.9 ten times. That is one reason why people aim at 50 to 70 %, and not at 100.
#
# ## Who decides how many pods there are?
#
# An object of the kind *HorizontalPodAutoscaler*. Ours is in the production overlay. Here it is, as
# `kubectl kustomize` renders it, with a few changes for this hour: one to five pods rather than two to six, and a
# faster way down.

# %%
scaler = yaml.safe_load(deployed["autoscaler"])
print(deployed["autoscaler"])

# %% [markdown]
# Field by field:
#
# - `scaleTargetRef`: whose number of replicas it sets. The Deployment itself must then name none (`replicas: null` in
#   the overlay). Otherwise each `kubectl apply` undoes the autoscaler's work.
# - `metrics`: mean CPU of the pods, in percent of what they **request**. Not of their limit, nor of the node.
# - `minReplicas`, `maxReplicas`: the lower bound protects you from a sudden peak, the upper bound limits your bill.
# - `behavior.scaleUp.stabilizationWindowSeconds: 0`: it scales up at once. The largest pace is left at its default: in
#   15 seconds four pods more, or twice as many, whichever is larger.
# - `behavior.scaleDown`: it scales down only to the largest number that was recommended within the window.
#
# `autoscaling/v2` exists since Kubernetes 1.23. An older cluster knows the same fields as `autoscaling/v2beta2`, which
# the overlay `kubernetes-1.20` uses. The rule, each time the controller looks (every 15 seconds by default):
#
# $$\text{wanted} = \left\lceil \text{pods} \cdot \frac{\text{metric}}{\text{target}} \right\rceil ,$$
#
# and no change while the fraction is within 10 % of 1. It rests on one assumption: that the metric of a pod falls in
# proportion when pods are added. For CPU that is the straight line above, $U_0$ aside.
#
# A prediction, before you go on: our pod has its limit where its request is, and the load will be about twice its
# capacity. How many pods does the rule want after its first look?


# %%
def wanted(pods, percent, target=TARGET, low=LOW, high=HIGH, tolerance=0.1):
    """The autoscaler's rule."""
    ratio = percent / target
    if abs(ratio - 1) <= tolerance:
        return pods
    return min(max(math.ceil(pods * ratio), low), high)


# %%
first = wanted(1, 100)

# %%
claim(
    "100 % asks for 2 pods; at twice the capacity 4 are needed",
    first == 2 and wanted(1, 200) == 4,
    f"1 · 100/{TARGET} and 1 · 200/{TARGET}, rounded up",
)

# %% [markdown]
# This result is important. A pod at its limit shows 100 %, whether the load is a little too high or ten times too
# high. The metric shows that the pod is full, but not how much is missing. If the limit equals the request, the
# autoscaler can multiply by at most 100/60 at each look, so it climbs in steps. A limit above the request (the
# production overlay has 500m and one core) lets the metric rise to 200 %, and the steps are twice as large.
#
# ## What happens when the load jumps?
#
# Traffic comes from a pod inside the cluster, an open loop: a quarter of one pod's capacity, then twice its capacity,
# then a quarter again. At most 64 requests are under way at once. The others wait in the client, and this wait counts:
# each latency is measured from when the request was due. We follow the API's own stream of changes
# (`kubectl get hpa --watch`, `kubectl get pods --watch`).

# %%
low_rate, high_rate = max(4, round(capacity / 4)), round(2 * capacity)
LOAD = [(4, low_rate), (30, high_rate), (26, low_rate)]  # seconds, requests a second
print(LOAD)


# %% [markdown]
# First, does the cluster measure CPU at all, and over how long a time? Without the *metrics server* an autoscaler sees
# nothing, and kind and minikube do not start one by default.


# %%
def seconds(window):
    """What Go writes as 1m0.5s."""
    minutes, _, rest = window.rpartition("m")
    return 60 * float(minutes or 0) + float(rest.rstrip("s") or 0)


# %%
def metrics_served():
    """Over how many seconds the cluster measures CPU; RuntimeError where it does not."""
    from course_lib.ops.kubernetes import KubectlFailed, kubectl

    api = "/apis/metrics.k8s.io/v1beta1"
    try:
        told = json.loads(kubectl("get", "--raw", f"{api}/namespaces/{NAMESPACE}/pods"))
        windows = [pod["window"] for pod in told["items"]]  # "10s", "15.28s", "1m0.5s"
        return max((seconds(each) for each in windows), default=15.0)
    except KubectlFailed as refused:
        raise RuntimeError(
            "the cluster serves no metrics API, so no autoscaler can see its pods' CPU. Install "
            "metrics-server: `minikube addons enable metrics-server`, or `kubectl apply -f https://"
            "github.com/kubernetes-sigs/metrics-server/releases/latest/download/components.yaml`, "
            f"on kind and Docker Desktop with the argument --kubelet-insecure-tls. ({refused})"
        ) from None


# %% [markdown]
# Next, what do we keep of the two streams? An autoscaler's `status` holds the metric that it saw and the number of
# pods that it wants. A stream repeats itself, so we keep only changes, with their time since the traffic began.


# %%
def decision(scaler):
    """What an autoscaler's status says: metric (% of the request), pods that are, pods wanted."""
    status = scaler.get("status", {})
    metrics = status.get("currentMetrics") or [{}]
    failing = [c for c in status.get("conditions") or [] if c["type"] == "ScalingActive"]
    return {
        "name": scaler["metadata"]["name"],
        "percent": metrics[0].get("resource", {}).get("current", {}).get("averageUtilization"),
        "pods": status.get("currentReplicas", 0),
        "wanted": status.get("desiredReplicas", 0),
        "trouble": failing[0]["message"] if failing and failing[0]["status"] == "False" else "",
    }


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
    names = ("first_answer_s", "p50_ms_by_half_second", "failed", "answered")
    return {
        "traffic": {name: found[name] for name in names},
        "decisions": told(decisions, found["begun_at"]),
        "pods": told(pods, found["begun_at"]),
        "waits": {"inside": inside, "p50_ms": beside["p50_ms_by_half_second"]},
    }


# %% [markdown]
# Now the run. Three autoscalers begin to look. The third one never sees a metric; we come to that later. When the
# other two see quiet pods, both services get their traffic. We record everything until the last request is answered.


# %%
@live("docker", "kubernetes")
def follow():
    from course_lib.ops import kubernetes as k8s
    from course_lib.ops.http import ask
    from course_lib.ops.traffic import traffic
    from course_lib.ops.watch import watching

    window_s = metrics_served()
    scalers = [autoscaler(name) for name in ("digits", "waits", "article")]
    k8s.apply(scalers, NAMESPACE)
    kind = f"horizontalpodautoscalers.{scalers[0]['apiVersion'].split('/')[1]}.autoscaling"
    to_waits = {"host": "waits", "name": "traffic-waits", "steps": [WAITS], "workers": 64}
    with (
        watching(NAMESPACE, kind, decision) as decisions,
        watching(NAMESPACE, "pods", k8s.pod_state, "app=digits") as pods,
        k8s.port_forward(NAMESPACE, "deployment/waits", 8501) as waits,
    ):
        measured(decisions, {"digits", "waits"})
        with (
            traffic(NAMESPACE, IMAGE, [BODY], steps=LOAD, workers=64) as sent,
            traffic(NAMESPACE, IMAGE, ["{}"], **to_waits) as beside,
        ):
            inside = []
            while beside.elapsed() < WAITS[0] + 12:
                with contextlib.suppress(OSError):  # busy: this look is left out
                    inside.append([round(sent.elapsed(), 1), ask(waits)[0]])
                time.sleep(1)
            seen = followed(sent.result(), beside.result(), inside, decisions, pods)
    return {"measured_over_s": window_s, "load": LOAD, **seen}


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

# %%
enough = moments[(ready * capacity > 1.05 * STEP[1][1]) & (moments >= high_at)]
wait_then = float(p50_s[moments == enough[0]][0]) if len(enough) else math.nan
observe(
    "when the capacity passes the load, whoever comes then still waits more than a second",
    wait_then > 1,
    f"{wait_then:.1f} s, at {enough[0]:.0f} s" if len(enough) else "it never passed it",
    of=run,
)

# %% [markdown]
# Compare the two upper panels. When the capacity passes the load, the latency is still high. By then a *queue* has
# grown, and only the spare capacity can work it off. So users pay twice for a late autoscaler: while the queue grows,
# and while it shrinks.
#
# ## Did it follow its own rule?
#
# Each status shows the metric of that look, and what was wanted. So we can compute what the rule says, for every look
# that brought something new. Two details of the real controller matter. It computes with the pods that it has
# *measured*. A new pod has no measurement yet, so until it has one, it gives no reason to ask for more pods. And
# downwards, the controller takes the largest number that it recommended within the window.


# %%
def measured_pods(moment):
    """Pods that have been there for most of the time over which CPU is measured."""
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
    if abs(look["percent"] / TARGET - 1) <= 0.1:
        raw = look["pods"]
    elif look["percent"] > TARGET:
        raw = max(raw, look["pods"])
    recommended.append((look["at"], raw))
    window = [
        n for moment, n in recommended if moment > look["at"] - WINDOW_S + 0.3
    ]  # news takes a moment
    predicted.append(max(window) if raw < look["pods"] else raw)

# %%
naive = [wanted(look["pods"], look["percent"]) for look in looks]
show.table(
    ["time (s)", "pods", "CPU (%)", "formula over all pods", "with both details", "wanted"],
    [
        [f"{d['at']:.0f}", d["pods"], d["percent"], n, p, d["wanted"]]
        for d, n, p in zip(looks, naive, predicted)
    ],
)

# %%
hits = sum(p == d["wanted"] for p, d in zip(predicted, looks))
observe(
    "with both details, the rule predicts four looks of five, or more",
    hits >= 0.8 * len(looks),
    f"{hits} of {len(looks)}; the bare formula "
    f"{sum(n == d['wanted'] for n, d in zip(naive, looks))}",
    of=run,
)

# %%
plt.step(
    at, [d["wanted"] for d in looks], where="post", color=show.ORANGE, label="wanted, observed"
)
plt.plot(at, predicted, "o", color=show.BLUE, label="predicted, with both details")
plt.plot(at, naive, "x", color=show.GREY, ms=8, label="the bare formula")
plt.xlabel("time (s)")
plt.ylabel("pods")
plt.yticks(range(HIGH + 2))
plt.legend(loc="upper left", bbox_to_anchor=(0, -0.2), ncols=3, fontsize=8)
show.finding(
    f"With both details the rule predicts {hits} of {len(looks)} decisions",
    alt="Wanted pods over time as steps, predictions as points: "
    + "; ".join(f"{d['at']:.0f} s {d['wanted']}, predicted {p}" for d, p in zip(looks, predicted)),
)

# %% [markdown]
# ## Where do the seconds go?
#
# From the jump of the load to a second pod's first answer there is a chain of waits, each in another program. The
# kubelet measures CPU, every ten to fifteen seconds. The metrics server collects these numbers, on many clusters every
# fifteen seconds. The autoscaler looks, every fifteen seconds by default (the table above shows how often on this
# cluster). The scheduler chooses a node. The container is created. Python starts and loads the model, and the
# readiness probe must notice it.


# %%
def life(name):
    """When a pod was asked for, ran, was ready, and gave its first answer (s)."""
    events = [p for p in run["pods"] if p["name"] == name]
    return {
        "asked": events[0]["at"],
        "runs": next(p["at"] for p in events if p["phase"] == "Running"),
        "ready": next(p["at"] for p in events if p["ready"]),
        "answers": run["traffic"]["first_answer_s"].get(name),
    }


# %%
born = {p["name"]: p["at"] for p in run["pods"] if p["phase"] == "Pending"}
new = [n for n in dict.fromkeys(born) if any(p["ready"] for p in run["pods"] if p["name"] == n)]
lives = [life(name) for name in new]

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
observe(
    "before the first new pod, deciding took longer than starting",
    asked[0] - high_at > made[0] + loaded[0],
    f"{asked[0] - high_at:.1f} s and {made[0] + loaded[0]:.1f} s",
    of=run,
    either=True,
)

# %%
first_ms = [
    1000 * (each["answers"] - each["ready"]) for each in lives if each["answers"] is not None
]

# %%
observe(
    "each pod gives its first answer within three seconds of being seen ready",
    max(first_ms, default=0.0) < 3000,
    f"{', '.join(f'{each:.0f}' for each in first_ms)} ms",
    of=run,
)

# %% [markdown]
# Which of the two takes longer depends on the cluster: on how often it measures, and on how fast its node starts a
# pod. (If a figure is negative, the Service sent the pod a request before we heard that the pod was ready.) All this
# is the *cold start*: the time from the decision to the first answer. On a node that does not have the image yet,
# pulling it comes on top; a language model's gigabytes make it minutes. These remedies help, the cheapest first: a
# small image (lesson 16), a model inside it or on the node, a CPU limit that does not throttle the start, spare pods,
# spare nodes.
#
# The queue that grows meanwhile is easy to compute. With capacity $c$ and load $r$, both in requests a second, there
# are $(r - c)D$ requests in the queue after a delay $D$.

# %%
rate_high = STEP[1][1]
queue = (rate_high - capacity) * (lives[0]["ready"] - high_at)
print(
    f"({rate_high} − {capacity:.0f}) · {lives[0]['ready'] - high_at:.0f} s = {queue:.0f} "
    f"requests in the queue"
)
print(f"one pod would need {queue / capacity:.0f} s for them alone")

# %% [markdown]
# ## What does CPU not see?
#
# During the same run, the second service had a load of its own for twenty seconds: 11 requests a second. Each takes
# half a second and there are four places, so it can answer at most 8 a second. It cannot keep up. What did its
# autoscaler do?

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
    f"{most_inside} requests are inside, for four places, and CPU shows {most_percent} % at "
    f"the most",
    alt=f"Two curves over {inside[-1, 0]:.0f} seconds: requests inside rise to {most_inside} "
    f"and fall after the load "
    f"ends; CPU stays at {most_percent} % of the request or below, the target is {TARGET} %.",
)

# %%
claim(
    "the service that waits is never given a second pod by its CPU, though more than ten "
    "requests queue for "
    "four places",
    max(d["wanted"] for d in percents) == LOW and most_inside > 14,
    f"{most_percent} % of its request; {most_inside} inside; median latency up to "
    f"{max(p for p in run['waits']['p50_ms'] if p) / 1000:.1f} s",
)

# %% [markdown]
# You want to know whether requests wait. CPU is only an indirect sign of it. The sign is good if the service computes.
# A service that waits for a GPU, a database or another service uses almost no CPU while its queue grows. Then scale on
# the number of requests inside: requests in flight for each pod, by the same rule. With four places, three quarters of
# them filled, the target is 3:

# %%
target_inside = 3
by_inside = [wanted(1, n, target=target_inside, high=20) for n in inside[:, 1]]
needed = math.ceil(WAITS[1] * 0.5 / target_inside)

# %%
claim(
    "by requests inside, the same rule asks for at least the pods that Little's law says are "
    "needed",
    max(by_inside) >= needed,
    f"rule: up to {max(by_inside)}; law: {WAITS[1]} a second · 0.5 s / {target_inside} a pod "
    f"= {needed}",
)

# %% [markdown]
# It asks for more than needed, since the queue counts as well. So which metric should you choose?
#
# | metric | sees | is blind to | note |
# | --- | --- | --- | --- |
# | CPU | computing | waiting; more than 100 % of the limit | needs no more than metrics-server |
# | requests a second a pod | the load | requests that became more expensive | capacity must be known, and watched |
# | requests in flight | both, and the queue | how long each will still take | Little: rate × time; what Knative uses |
# | length of a queue | work that waits elsewhere | what is under way | for workers; may go to zero |
# | latency | what users feel | how far to go | does not fall in proportion: the rule's assumption breaks |
# | GPU utilisation | whether any kernel runs | whether more would fit | may show 100 % at batch 1: use the queue |
#
# The metrics server knows only CPU and memory. Other metrics come through an *adapter*, which answers the API
# `custom.metrics.k8s.io` from Prometheus. Here is a rule of the Prometheus adapter, and the autoscaler that uses it.
# No adapter runs here, so we only check the autoscaler against today's schema.

# %%
ADAPTER = """
rules:
- seriesQuery: model_server_request_duration_seconds_sum{namespace!="",pod!=""}
  resources: {overrides: {namespace: {resource: namespace}, pod: {resource: pod}}}
  name: {as: requests_in_flight}
  metricsQuery: sum(rate(<<.Series>>{<<.LabelMatchers>>}[30s])) by (<<.GroupBy>>)
"""

# %%
IN_FLIGHT = """
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: digits}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: digits}
  minReplicas: 2
  maxReplicas: 20
  metrics:
  - type: Pods
    pods:
      metric: {name: requests_in_flight}
      target: {type: AverageValue, averageValue: "3"}
  - type: Resource
    resource: {name: cpu, target: {type: Utilization, averageUtilization: 70}}
"""

# %%
import kubernetes_validate

rule = yaml.safe_load(ADAPTER)["rules"][0]
kubernetes_validate.validate(yaml.safe_load(IN_FLIGHT), "1.37", strict=True)

# %%
claim(
    "the adapter's metric is the one that the autoscaler asks for",
    rule["name"]["as"]
    == yaml.safe_load(IN_FLIGHT)["spec"]["metrics"][0]["pods"]["metric"]["name"],
    rule["name"]["as"],
)

# %% [markdown]
# The query is Little's law once more: the rate of `duration_sum` is what is inside. (It counts a request only when it
# has ended, so it lags while a queue grows. A gauge that counts requests as they arrive does not lag.) Its labels
# `namespace` and `pod` come with Prometheus' Operator (`k8s/components/service-monitor`). With several metrics the
# autoscaler takes the largest number of pods that any of them asks for. KEDA has its own adapter: a `ScaledObject`
# names the query, and KEDA creates the autoscaler. It can scale to zero and back.
#
# ### Where this goes wrong: the articles' Deployment
#
# The articles promise "elastic scaling" by Kubernetes, and give a Deployment without `resources`. The API server
# accepts an autoscaler for it. But its rule needs CPU in percent of what the pods request, and they request nothing.

# %%
trouble = [d["trouble"] for d in run["decisions"] if d["name"] == "article" and d["trouble"]]
print(*trouble[-1:])
claim(
    "without a CPU request there is nothing to take a percentage of: the autoscaler never "
    "knows its metric",
    all(d["percent"] is None for d in run["decisions"] if d["name"] == "article")
    and any("missing request for cpu" in each for each in trouble),
)

# %% [markdown]
# `kubectl get hpa` shows `<unknown>/60%`, and nothing scales. One line mends it: `requests: {cpu: …}`. A
# second mistake makes no noise: `replicas: 3` stays in the Deployment's file. Then each `kubectl apply` sets three
# pods, even in the middle of a peak. The cure has a trap, too: the first apply *after* you delete the line sets one
# pod. `kubectl` remembers what it applied last, sees that the field is gone, and removes it. Without the field the
# default holds, which is 1. So before that apply, delete the line from this memory as well, by
# `kubectl apply edit-last-applied deployment/digits` (see `k8s/README.md`). The state is right before and after; only
# the change itself is dangerous.


# %%
@live("docker", "kubernetes")
def remove():
    from course_lib.ops.docker import clear, docker_client

    return clear(docker_client(), OURS, IMAGE, namespace=NAMESPACE)


# %%
claim_gone("namespace and image are gone", remove())

# %% [markdown]
# ## Can we try a policy without a cluster?
#
# One run on the cluster took more than a minute and tried one policy. So we write a simulator. Load comes and pods
# work. At fixed intervals their CPU is measured and the rule is applied. New pods take time to start, and requests
# that are not done wait in a queue. `World` holds what you cannot choose tonight, `Policy` what you can. Requests are
# served in the order in which they come. A request that is not done when the trace ends counts as waiting for ever.


# %%
@dataclass(frozen=True)
class World:
    cpu_s: float  # CPU seconds of a request
    cores: float  # a pod's request, and its limit
    idle: float = 0.0  # cores that a pod uses for itself
    start_s: float = 60.0  # from the decision to a ready pod
    measure_s: float = 15.0  # between two measurements of CPU, each over the time since the last
    sync_s: float = 15.0  # between two looks of the autoscaler
    first_measure_s: float = 15.0
    first_sync_s: float = 15.0


# %%
@dataclass(frozen=True)
class Policy:
    target: float = 0.6  # of the request
    low: int = 2
    high: int = 10_000
    window_s: float = 300.0  # of scaling down
    tolerance: float = 0.1


# %% [markdown]
# First the rule itself, again with the detail about pods that are not measured. Then its limits: the window on the way
# down, and the default pace on the way up.


# %%
def rule(policy, pods, counted, usage):
    """What the autoscaler recommends: pods that are, those of them measured, their mean usage."""
    ratio = usage / policy.target
    if abs(ratio - 1) <= policy.tolerance:
        return pods
    raw = math.ceil(counted * ratio - 1e-9)
    return min(max(max(raw, pods) if ratio > 1 else raw, policy.low), policy.high)


# %%
def limited(policy, recommended, pods, past, advice, now):
    """The same after the window (down) and the pace (up: 4 more or twice as many in 15 s)."""
    while advice and advice[0][0] <= now - policy.window_s:
        advice.popleft()
    advice.append((now, recommended))
    if recommended < pods:
        return min(pods, max(n for _, n in advice))
    while len(past) > 1 and past[1][0] <= now - 15:
        past.popleft()
    return min(recommended, max(pods, 2 * past[0][1], past[0][1] + 4))


# %% [markdown]
# Now the loop. In each step, starting pods become ready, and the pods work off what they can. When it is due, CPU is
# measured and the autoscaler looks. The metric is the CPU used since the last measurement, divided by what the ready
# pods had.


# %%
def simulate(rates, step_s, policy, world, pods=None):
    """(4, steps): pods wanted, pods ready, metric (share of the request), wait of who comes (s)."""
    ready = total = pods or policy.low
    each = (world.cores - world.idle) / world.cpu_s  # requests a second that a pod can do
    starting, advice, past = deque(), deque(), deque([(-math.inf, total)])
    queue = used = there = usage = 0.0
    counted, next_measure, next_sync = ready, world.first_measure_s, world.first_sync_s
    kept = np.empty((4, len(rates)))
    for i, rate in enumerate(rates):
        now = i * step_s
        while starting and starting[0][0] <= now:
            ready += starting.popleft()[1]
        if now >= next_measure:
            usage, counted = used / max(there, 1e-9), ready
            used, there, next_measure = 0.0, 0.0, next_measure + world.measure_s
        if now >= next_sync and usage:
            next_sync += world.sync_s
            wish = limited(
                policy, rule(policy, total, min(counted, total), usage), total, past, advice, now
            )
            ready, total = rescale(wish, total, ready, starting, now + world.start_s)
            past.append((now, total))
        done = min(queue + rate * step_s, ready * each * step_s)
        kept[:, i] = total, ready, usage, done
        queue += rate * step_s - done
        used += done * world.cpu_s + ready * world.idle * step_s
        there += ready * world.cores * step_s
    kept[3] = waits(np.cumsum(rates) * step_s, np.cumsum(kept[3]), step_s)
    return kept


# %% [markdown]
# Waiting times come from two running sums, of what arrived and what was done: the request that came as number $k$ is
# done when the second sum reaches $k$. That is again the area under $N(t)$, cut into requests.


# %%
def waits(arrived, finished, step_s):
    """How long after its step the request that came last in it is done, (steps,), s."""
    ends = np.searchsorted(finished, arrived * (1 - 1e-9) - 1e-6)  # sums are rounded
    late = (ends - np.arange(len(arrived))) * step_s
    return np.where(ends < len(finished), late, math.inf)


# %%
def rescale(wish, total, ready, starting, ready_at):
    """Starts pods, or ends some, those first that are still starting."""
    if wish > total:
        starting.append((ready_at, wish - total))
    surplus = total - wish
    while surplus > 0 and starting:
        at, count = starting.pop()
        if count > surplus:
            starting.append((at, count - surplus))
        surplus -= min(count, surplus)
    return ready - max(surplus, 0), wish


# %% [markdown]
# Three values go in as measured: the CPU that a request costs, the pod's limit, and the time to start. Four times are
# unknown: how often CPU is measured, how often the autoscaler looks, and when each of them did so first. It is also
# unknown how much more a request costs on processors that the pods share with everything else. We fit these five to
# the pods and latencies of the *climb* alone, until the load falls. The rest of the run is the test. The fit is simple:
# we try some thousand worlds and keep the one that comes nearest.

# %%
STEP_S = 0.5
seen_wanted = np.array(
    [[d["wanted"] for d in looks if d["at"] <= max(t, at[0])][-1] for t in moments]
)
climb = moments < STEP[0][0] + STEP[1][0]
small = World(cpu_s=cpu_s, cores=CPU_MILLI / 1000, idle=idle_cores, start_s=start_s)
small_policy = Policy(target=TARGET / 100, low=LOW, high=HIGH, window_s=WINDOW_S)


# %%
def candidates():
    for sync_s, measure_s, slower in (
        (s, m, c) for s in (5, 15) for m in (10, 15) for c in (0.8, 1, 1.25, 1.6, 2.2)
    ):
        for sync_at in np.arange(0.5, sync_s + 0.1, 1.5):
            for measure_at in np.arange(0.5, measure_s + 0.1, 1.5):
                yield replace(
                    small, sync_s=sync_s, measure_s=measure_s, cpu_s=slower * cpu_s,
                    first_sync_s=sync_at, first_measure_s=measure_at,
                )  # fmt: skip


# %%
def apart(world, where):
    """How far simulated pods (above all) and waits are from the real ones, over their means."""
    found = simulate(offered, STEP_S, small_policy, world)
    real_wait = np.where(np.isnan(p50_s), 0, p50_s)
    pods_off = np.abs(found[0] - seen_wanted)[where].mean() / seen_wanted[where].mean()
    late = np.minimum(found[3], 60)  # infinite: not within the time
    return 4 * pods_off + np.abs(late - real_wait)[where].mean() / real_wait[where].mean()


# %%
fitted = min(candidates(), key=lambda world: apart(world, climb))
again = simulate(offered, STEP_S, small_policy, fitted)


# %%
def pod_seconds_off(where):
    return abs(again[0][where].sum() / seen_wanted[where].sum() - 1)


# %%
off = {"climb": climb, "after": ~climb, "all": climb | ~climb}
off = {name: pod_seconds_off(where) for name, where in off.items()}

# %%
names = ("sync_s", "measure_s", "first_sync_s", "first_measure_s")
print({name: float(getattr(fitted, name)) for name in names})
print(f"a request costs {fitted.cpu_s / cpu_s:.2f} times what it cost before the jump")

# %%
plt.step(moments, seen_wanted, where="post", color=show.ORANGE, label="wanted, on the cluster")
plt.step(moments, again[0], where="post", color=show.BLUE, ls="--", label="wanted, simulated")
plt.axvline(STEP[0][0] + STEP[1][0], color=show.GREY, ls=":", label="end of what was fitted")
plt.xlabel("time (s)")
plt.ylabel("pods")
plt.yticks(range(HIGH + 2))
plt.legend()
show.finding(
    f"Simulated and real pod-seconds differ by {off['all']:.0%}",
    alt=f"Pods wanted over time, on the cluster and simulated. Pod-seconds differ by "
    f"{off['climb']:.1%} in the climb, "
    f"{off['after']:.1%} after it, {off['all']:.1%} in all.",
)

# %%
observe(
    "where it was calibrated, the simulator's pod-seconds are within 20 % of the cluster's",
    off["climb"] < 0.2,
    f"{off['climb']:.1%} apart; first decision after {asked[0] - high_at:.0f} s",
    of=run,
)

# %%
observe(
    "over the whole trace too, with what came after, which was not fitted",
    off["all"] < 0.2,
    f"{off['all']:.1%} apart; what came after alone {off['after']:.1%}",
    of=run,
)

# %%
plt.plot(moments, p50_s, color=show.RED, label="median latency, on the cluster")
plt.plot(moments, again[3], color=show.BLUE, ls="--", label="wait, simulated")
plt.axvline(STEP[0][0] + STEP[1][0], color=show.GREY, ls=":", label="end of what was fitted")
plt.xlabel("time at which a request was due (s)")
plt.ylabel("seconds")
plt.legend()
longest = again[3][np.isfinite(again[3])].max()
show.finding(
    f"The longest wait: {longest:.1f} s simulated, {worst:.1f} s measured (median)",
    alt=f"Two curves over time, both rising after the jump and falling later: the simulated "
    f"wait up to "
    f"{longest:.1f} s, the measured median latency up to {worst:.1f} s.",
)

# %%
observe(
    "the longest simulated wait is within a third of the longest median latency measured",
    abs(longest / worst - 1) < 1 / 3,
    f"{longest:.1f} s and {worst:.1f} s",
    of=run,
)

# %% [markdown]
# ## Why not scale down at once?
#
# Ask the simulator. The load goes up and down within minutes, once with no window and once with a window of 300
# seconds, the default:

# %%
SECOND = World(cpu_s=0.02, cores=1.0, start_s=45)  # one core, 50 requests a second
t = np.arange(0, 3600, 5.0)
swinging = 50 * (12 + 6 * np.sin(2 * np.pi * t / 240))
swung = {w: simulate(swinging, 5, Policy(window_s=w), SECOND, pods=20) for w in (0, 60, 300)}
changes = {w: int((np.diff(each[0]) != 0).sum()) for w, each in swung.items()}

# %%
for window_s, colour, line in ((0, show.RED, "-"), (300, show.BLUE, "--")):
    found = swung[window_s][0]
    plt.step(t / 60, found, line, where="post", color=colour, label=f"window {window_s} s")
need = swinging * SECOND.cpu_s / 0.6
plt.plot(t / 60, need, ":", color=show.GREY, label="what the load would need")
plt.xlabel("time (min)")
plt.ylabel("pods wanted")
plt.legend(loc="upper left", bbox_to_anchor=(0, -0.2), ncols=3, fontsize=8)
plt.ylim(bottom=0)
show.finding(
    f"{changes[0]} changes in an hour without a window, {changes[300]} with one of 300 s",
    alt=f"Pods wanted over an hour: without a window they swing with the load, {changes[0]} "
    f"changes; with a window "
    f"of 300 s they stay at the top, {changes[300]} changes.",
)

# %%
over = {w: float((each[3] > 0.25).mean()) for w, each in swung.items()}
cost = {w: float(each[0].mean()) for w, each in swung.items()}
show.table(
    ["window (s)", "changes in an hour", "pods on average", "time with a wait over 250 ms"],
    [[w, changes[w], f"{cost[w]:.1f}", f"{over[w]:.1%}"] for w in swung],
)

# %%
claim(
    "the window buys calm with pods: fewer changes, more of them running",
    changes[300] < changes[60] < changes[0] and cost[300] > cost[60] > cost[0],
)

# %% [markdown]
# A window of 60 seconds helps little here, since the load takes 240 seconds to go up and down: in each trough the last
# peak is forgotten. This is *flapping*: each decision takes effect after the load that caused it has gone. The window
# keeps the largest recommendation of the last minutes. It costs idle pods, and it saves cold starts.
#
# ## What does a day on a thousand nodes cost?
#
# Now to a larger cluster: a thousand nodes of eight cores, and pods of one core, seven to a node (the rest is for the
# node itself). We simulate a day with its night, its noon, and noise. Then we simulate the same day with six spikes: a
# push notification goes out, and within half a minute the load doubles.

# %%
DAY_STEP_S = 5.0
clock = np.arange(0, 86_400, DAY_STEP_S)
NODES, PODS_A_NODE = 1000, 7
most_pods = NODES * PODS_A_NODE
each_per_s = SECOND.cores / SECOND.cpu_s
drawn = np.random.default_rng(18)
noise = np.convolve(drawn.normal(size=len(clock) + 59), np.ones(60) / 60, "valid")
shape = 0.55 - 0.45 * np.cos(2 * np.pi * (clock / 3600 - 4) / 24)

# %%
plain = 0.36 * most_pods * each_per_s * shape * (1 + 0.15 * noise)
spikes = np.zeros(len(clock))
HOURS = (7.5, 9.2, 12.1, 15.6, 18.3, 20.4)
for hour in HOURS:
    since = clock - 3600 * hour
    spikes += np.where(
        since > 0, np.minimum(since / 30, 1) * np.exp(-np.maximum(since - 30, 0) / 420), 0
    )
spiky = plain * (1 + spikes)

# %%
OBJECTIVE_S = 0.25


# %%
def day(rates, policy, world):
    """Pods wanted, pods ready, and the share of requests over the objective, step by step."""
    start = max(policy.low, math.ceil(rates[0] * world.cpu_s / policy.target))
    total, ready, _, wait_s = simulate(rates, DAY_STEP_S, policy, world, pods=start)
    mu = world.cores / world.cpu_s
    spare = np.maximum(mu - rates / ready, 0)  # requests a second that a pod could do beside
    left_s = np.maximum(OBJECTIVE_S - wait_s, 0)
    return total, ready, np.where(left_s > 0, np.exp(-spare * left_s), 1.0)


# %%
def outcome(rates, policy, world):
    """Pod-hours of a day, and the share of its requests that take longer than the objective."""
    total, _, late = day(rates, policy, world)
    return total.sum() * DAY_STEP_S / 3600, float((late * rates).sum() / rates.sum())


# %% [markdown]
# There are two kinds of waiting. The simulator has the queue that forms when the whole service is too slow. And in a
# pod that keeps up, requests still meet by chance: with random arrivals at $\lambda$ and capacity $\mu$ a request
# takes longer than $t$ with probability $e^{-(\mu - \lambda)t}$ (the M/M/1 queue: random service times too; ours vary
# less, so this errs on the safe side). Before you run it: which buys more for its cost, a lower target or a higher
# floor?

# %%
targets = np.array([0.35, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9])
slow = replace(SECOND, start_s=240)  # a new node first
cases = {
    "plain day": (plain, SECOND, 2),
    "spiky day": (spiky, SECOND, 2),
    "spiky day, each start 4 minutes": (spiky, slow, 2),
    "spiky day, floor 3,000 pods": (spiky, SECOND, 3000),
}

# %%
frontier = {
    name: np.array(
        [outcome(rates, Policy(target=x, low=low, high=most_pods), world) for x in targets]
    )
    for name, (rates, world, low) in cases.items()
}
fixed = most_pods * 24

# %%
for (name, line), colour, mark in zip(frontier.items(), show.PALETTE, "osD^"):
    plt.semilogy(line[:, 0] / fixed, line[:, 1], marker=mark, ms=5, color=colour, label=name)
below = {"xytext": (-5, -9), "textcoords": "offset points", "ha": "right", "fontsize": 8}
for x, (hours, late) in zip(targets, frontier["plain day"]):
    plt.annotate(f"{x:.0%}", (hours / fixed, late), **below)
plt.margins(0.09)
plt.axhline(0.001, color=show.GREY, ls="--", lw=1)
plt.xlabel("pod-hours, as a share of a thousand full nodes all day")
plt.ylabel(f"share of requests over {1000 * OBJECTIVE_S:.0f} ms")
plt.legend(fontsize=8)
at_60 = {name: line[list(targets).index(0.6)] for name, line in frontier.items()}
show.finding(
    f"At 60 %, spikes raise the late from {at_60['plain day'][1]:.1%} to "
    f"{at_60['spiky day'][1]:.1%}, and the cost from {at_60['plain day'][0] / fixed:.0%} to "
    f"{at_60['spiky day'][0] / fixed:.0%}",
    alt="Frontiers of cost against late requests for targets from 35 to 90 %. At 60 %: "
    + "; ".join(
        f"{name}: {h / fixed:.0%} of the pod-hours, {late:.2%} late"
        for name, (h, late) in at_60.items()
    ),
)

# %%
claim(
    "for each day, each lower target costs more and makes fewer late",
    all(
        (np.diff(line[:, 0]) < 0).all() and (np.diff(line[:, 1]) > 0).all()
        for line in frontier.values()
    ),
)

# %%
show.table(
    ["case, target 60 %", "share of the pod-hours", "late"],
    [[name, f"{h / fixed:.0%}", f"{late:.3%}"] for name, (h, late) in at_60.items()],
)

# %%
claim(
    "slower starts make more requests late at about the same cost",
    at_60["spiky day, each start 4 minutes"][1] > at_60["spiky day"][1]
    and abs(at_60["spiky day, each start 4 minutes"][0] / at_60["spiky day"][0] - 1) < 0.1,
)

# %%
hours, late = at_60["spiky day, floor 3,000 pods"]
claim(
    "the lower target is the better bargain: without the floor, some target costs less and "
    "has fewer late than "
    "60 % with it",
    any(h < hours and x < late for h, x in frontier["spiky day"]),
    f"with the floor {hours / fixed:.0%} of the pod-hours, {late:.2%} late",
)

# %%
best = {
    name: min((h / fixed for h, late in line if late < 0.001), default=math.inf)
    for name, line in frontier.items()
}
show.table(
    ["case", "cheapest of these targets with 99.9 % in time"],
    [[name, f"{each:.0%}" if each < math.inf else "none"] for name, each in best.items()],
)

# %% [markdown]
# At 99.9 % in time, too, the low target is the cheaper way. A target of 60 % *is* headroom: 40 % of each pod is free
# for the load that comes while new pods start, and this reserve grows with the load. A floor costs at night as well,
# and it helps only when a spike meets fewer pods than the floor. Which spikes are these? We count the late requests of
# each spike, in the hour from its beginning:

# %%
lates = {low: day(spiky, Policy(low=low, high=most_pods), SECOND)[2] * spiky for low in (2, 3000)}
share_late = {
    low: [each[(clock >= 3600 * h) & (clock < 3600 * (h + 1))].sum() / spiky.sum() for h in HOURS]
    for low, each in lates.items()
}

# %%
show.table(
    ["spike at (hour)", "late, of the day's requests", "late, with a floor of 3,000"],
    [[h, f"{a:.3%}", f"{b:.3%}"] for h, a, b in zip(HOURS, *share_late.values())],
)

# %%
claim(
    "the floor spares the two morning spikes nine of ten of their late requests, and the three "
    "after noon not one of a hundred",
    all(b < 0.1 * a for a, b in list(zip(*share_late.values()))[:2])
    and all(b > 0.99 * a for a, b in list(zip(*share_late.values()))[2:5]),
)

# %% [markdown]
# So a floor helps in the hour when everybody wakes up. Turn the two knobs for the spiky day. Each picture is a
# simulated day, and takes a second or so. If the blue line is flat at the top, all thousand nodes are full:

# %%
import io

import ipywidgets

knobs = [
    ipywidgets.IntSlider(60, min=40, max=90, step=5, description="target (%)"),
    ipywidgets.IntSlider(300, min=0, max=900, step=60, description="window (s)"),
]
drawn_day = ipywidgets.Image(format="png", width=720)


# %%
def day_picture(target, window_s):
    """Draws the spiky day under a policy; what came of it, in a sentence."""
    policy = Policy(target=target / 100, window_s=window_s, high=most_pods)
    total, ready, over = day(spiky, policy, SECOND)
    hours, late = total.sum() * DAY_STEP_S / 3600, (over * spiky).sum() / spiky.sum()
    plt.plot(
        clock / 3600,
        spiky * SECOND.cpu_s,
        color=show.GREY,
        lw=1,
        label="pods that the load keeps busy",
    )
    plt.plot(clock / 3600, ready, color=show.BLUE, lw=1, label="pods ready")
    plt.xlabel("hour of the day")
    plt.ylabel("pods")
    plt.legend(loc="upper left", fontsize=8)
    cost = f"{hours / fixed:.0%} of the pod-hours, {late:.2%} late"
    return f"target {target} %, window {window_s} s: {cost}"


# %%
def redraw(change=None):
    plt.title(day_picture(knobs[0].value, knobs[1].value))
    png = io.BytesIO()
    plt.savefig(png, format="png", bbox_inches="tight", facecolor="white")
    plt.close()
    drawn_day.value = png.getvalue()


# %%
for knob in knobs:
    knob.observe(redraw, "value")
redraw()
ipywidgets.VBox([*knobs, drawn_day])

# %% [markdown]
# Here is the first picture of the sliders again, for print and for readers without a kernel:

# %%
said = day_picture(60, 300)
show.finding(
    said.capitalize(),
    alt="The sliders' first picture: pods ready and pods kept busy over a day with six spikes; "
    f"the ready ones follow with a reserve. {said.capitalize()}.",
)

# %% [markdown]
# ## Where do the pods go?
#
# Pods run on nodes, and nodes are what is paid for. A *node autoscaler* (Cluster Autoscaler, Karpenter) adds nodes
# when pods stay `Pending` for want of room, and removes them when their pods fit elsewhere. A pod's *request* decides
# how many fit, whether or not the pod uses it. This is *bin packing*:


# %%
def packed(pods, pod_cores, node_cores=8, own=0.5):
    """Nodes for so many equal pods, and the share of the nodes' cores that they request."""
    fit = int((node_cores - own) / pod_cores + 1e-9)
    nodes = math.ceil(pods / fit)
    return fit, nodes, pods * pod_cores / (nodes * node_cores)


# %%
sizes = {cores: packed(math.ceil(3000 / cores), cores) for cores in (0.5, 1, 1.5, 2, 3, 4)}
show.table(
    ["cores a pod", "pods for 3,000 cores", "fit on a node", "nodes", "cores requested"],
    [[c, math.ceil(3000 / c), fit, n, f"{s:.0%}"] for c, (fit, n, s) in sizes.items()],
)

# %%
claim(
    "pods of four cores take nearly twice the nodes of pods of half a core, for the same work",
    1.8 < sizes[4][1] / sizes[0.5][1] < 2,
    f"{sizes[4][1]} and {sizes[0.5][1]} nodes of eight cores, of which half a core is the "
    f"node's own",
)

# %% [markdown]
# A new node typically takes minutes to boot, join, and pull the image; that is the curve "each start 4 minutes". The
# usual remedy is *headroom*: placeholder pods of a low priority that do nothing. They give way at once when real pods
# need their place. The node autoscaler then adds nodes for the placeholders, and no user waits for it.
#
# ## Zero pods at night?
#
# If requests are rare, even a single pod is idle most of the time. Knative and KEDA scale to zero: after $\tau$
# seconds without a request the last pod goes, and the next request waits for a cold start. For random arrivals,
# $\lambda$ a second, a gap is longer than $\tau$ with probability $e^{-\lambda\tau}$: that share of requests is cold.
# A pod is up for $\min(\text{gap}, \tau)$ after each request, on average $(1 - e^{-\lambda\tau})/\lambda$ out of a gap
# of $1/\lambda$. (The start itself left out.) So
#
# $$\text{share of time paid} + \text{share of requests that are cold} = 1 .$$

# %%
gaps = np.random.default_rng(0).exponential(600, 200_000)  # a request every ten minutes
rows = []
for idle_s in (60, 300, 900, 1800):
    cold, paid = (gaps > idle_s).mean(), np.minimum(gaps, idle_s).sum() / gaps.sum()
    rows.append((idle_s, cold, paid))

# %%
show.table(
    ["idle time-out (s)", "cold requests", "time paid", "together"],
    [[idle_s, f"{cold:.0%}", f"{paid:.0%}", f"{cold + paid:.3f}"] for idle_s, cold, paid in rows],
)

# %%
claim(
    "whatever the time-out, time paid and cold requests add up to one",
    all(abs(cold + paid - 1) < 0.01 for _, cold, paid in rows),
)

# %% [markdown]
# No time-out lowers the sum; it only decides whether you pay or your users wait. Real traffic comes in bursts, which
# is better than random: then most requests follow closely after another one.
#
# | | scales on | to zero | take it when |
# | --- | --- | --- | --- |
# | HorizontalPodAutoscaler | CPU, memory; others through an adapter | not with CPU | always first |
# | KEDA | queues, Prometheus, schedules | yes | work comes from a queue |
# | Knative | requests in flight or a second, measured by a proxy at each pod, every two seconds | yes: an *activator* holds requests meanwhile | many services, each seldom asked |
# | KServe | as its mode: Knative's, or the plain autoscaler's (`k8s/overlays/kserve`) | with Knative, or KEDA | many models, several frameworks, one way to deploy them |
# | Ray Serve | requests in flight for each replica (`target_ongoing_requests`) | yes (`min_replicas: 0`) | Python pipelines of several models, GPUs shared in fractions |
#
# All of them apply a rule like ours with another metric. Knative adds a second, short window. When that window asks
# for twice as many pods as there are, Knative *panics*: it scales up at once, and does not scale down until the panic
# is over.
#
# ## What we measured

# %%
show.table(
    ["what", "figure"],
    [
        ["L under load: connections, client, server", ", ".join(f"{busy[k]:.2f}" for k in SIDES)],
        ["CPU of a request; capacity of a pod", f"{1000 * cpu_s:.1f} ms; {capacity:.0f} a second"],
        ["from the load's jump to the first decision", f"{asked[0] - high_at:.1f} s"],
        ["from the decision to a ready pod, median", f"{start_s:.1f} s"],
        ["longest median latency meanwhile", f"{worst:.1f} s"],
        ["decisions that the rule predicts", f"{hits} of {len(looks)}"],
        ["simulated against real pod-seconds", f"{off['all']:.1%} apart"],
        [
            "late at a target of 60 %: plain day, spiky day",
            ", ".join(f"{at_60[k][1]:.2%}" for k in list(at_60)[:2]),
        ],
    ],
)

# %% [markdown]
# ## What to remember
#
# - $L = \lambda W$, and the rate of `duration_sum` is $L$: every service with a latency histogram tells how full it
#   is.
# - The autoscaler multiplies the pods by metric over target. It acts late, and a saturated metric shows too little.
#   Headroom covers the time until new pods are ready.
# - Scale on what fills up. For computing that is CPU; for waiting it is requests in flight.
#
# ## Where this breaks down
#
# One node, and a tenth of a core for each pod, is a toy. A CPU limit as small as this makes a pod stand still for most
# of each tenth of a second; do not do that to a real service. The simulator has no failing pods, no uneven load
# balancing and no clients that try again, and such clients make an overload worse (lesson 15). Its days are invented,
# and its spikes come unannounced; yours may follow a calendar, and then a schedule beats any feedback. And more pods
# help only if pods are the bottleneck. Twenty pods in front of one slow database only make its queue longer.
#
# ## What real teams use
#
# For services that compute, teams use the HorizontalPodAutoscaler on CPU. For the rest they scale on requests in
# flight or a queue's length, through KEDA or the Prometheus adapter. Karpenter or Cluster Autoscaler adds nodes. A
# floor comes from last week's peak. Load tests (k6, Locust, vegeta) find a pod's capacity before the users do. And
# everywhere there is *load shedding* (lesson 14's 429), since no autoscaler is as fast as a link that spreads.
#
# ## Further reading
#
# - J. D. C. Little, *A Proof for the Queuing Formula: L = λW*, Operations Research 9(3), 1961.
# - Kubernetes documentation, *Horizontal Pod Autoscaling* (algorithm details, configurable scaling behavior).
# - M. Harchol-Balter, *Performance Modeling and Design of Computer Systems*, Cambridge University Press 2013.
# - N. J. Gunther, *Guerrilla Capacity Planning*, Springer 2007.
# - K. Rzadca et al., *Autopilot: Workload Autoscaling at Google*, EuroSys 2020.
# - Knative documentation, *Autoscaling*; KEDA documentation, *Scaling Deployments*.
