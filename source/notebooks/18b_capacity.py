# %% [markdown]
# # 18b Capacity
#
# At 3 a.m. traffic is low, and three thousand pods are running. Last month a slow service woke somebody at this hour,
# and they raised the *floor*, the least number of pods. The bill comes at the end of the month. How low may the floor
# be, and what do a million answers cost? You cannot try it out on a thousand nodes. You can simulate it, and check the
# simulator against a real cluster first.
#
# ## You will be able to
#
# - write a simulator of an autoscaler, and say how far you may trust it;
# - explain flapping, and choose a window that prevents it;
# - choose between a lower target and a higher floor for a day with spikes;
# - compute how many nodes the pods need, and when zero pods are cheaper;
# - say what a million answers cost, from measured throughput and your own price.
#
# ## Before you start
#
# Lesson 18 explains Little's law and the autoscaler: its rule, its target and its window. Nothing here needs a cluster.

# %%
import math
from collections import deque
from dataclasses import dataclass, replace

# %%
import matplotlib.pyplot as plt
import numpy as np

from course_lib import data, models, show
from course_lib.idioms import begin, claim, guess, ledger, observe, path, reveal
from course_lib.idioms.live import recorded
from course_lib.measure import latencies_ms, spread
from course_lib.pipeline import open_session

scratch = begin("18b")
path.picture(here="18b")

# %% [markdown]
# ## Can we try a policy without a cluster?
#
# Lesson 18's run on the cluster took a minute and tried one policy. So we write a simulator. In each step, requests
# come and pods work on them. At fixed intervals the simulator measures CPU and applies the rule. New pods take time to
# start. Requests that are not done wait in a queue, and the oldest are served first. A request that is not done when
# the simulation ends has an infinite wait. `World` holds what you cannot choose tonight, `Policy` what you can. If you
# do not want to read a simulator, read these two classes and go on with the next section.


# %%
@dataclass(frozen=True)
class World:
    cpu_s: float  # CPU seconds of a request
    cores: float  # a pod's request, and its limit
    idle: float = 0.0  # cores that a pod uses for itself
    start_s: float = 60.0  # from the decision to a ready pod
    measure_s: float = (
        15.0  # between two measurements of CPU, each over the time since the one before
    )
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
# First comes the rule itself. A pod that is not measured yet gives no reason to ask for more pods. Then come the
# limits: the window on the way down, and the default pace on the way up.


# %%
def rule(policy, pods, counted, usage):
    """What the autoscaler recommends, from pods, how many are measured, and their mean usage."""
    ratio = usage / policy.target
    if abs(ratio - 1) <= policy.tolerance:
        return pods
    raw = math.ceil(counted * ratio - 1e-9)
    return min(max(max(raw, pods) if ratio > 1 else raw, policy.low), policy.high)


# %%
def limited(policy, pods, counted, usage, past, advice, now):
    """The rule, then the window (down) and the pace (up: 4 more or twice as many in 15 s)."""
    recommended = rule(policy, pods, min(counted, pods), usage)
    while advice and advice[0][0] <= now - policy.window_s:
        advice.popleft()
    advice.append((now, recommended))
    while len(past) > 1 and past[1][0] <= now - 15:
        past.popleft()
    down = min(pods, max(n for _, n in advice))
    up = min(recommended, max(pods, 2 * past[0][1], past[0][1] + 4))
    past.append((now, down if recommended < pods else up))
    return past[-1][1]


# %% [markdown]
# Now the loop. In each step, starting pods become ready, and the ready pods do as many requests as they can. When a
# measurement or a look is due, it happens. The metric is the CPU used since the last measurement, divided by the CPU
# that the ready pods had.


# %%
def simulate(rates, step_s, policy, world, pods=None):
    """(4, steps): pods wanted, pods ready, metric (share of the request), arrivals' wait (s)."""
    ready = total = counted = pods or policy.low
    each = (world.cores - world.idle) / world.cpu_s  # requests a second that a pod can do
    starting, advice, past = deque(), deque(), deque([(-math.inf, total)])
    queue = used = there = usage = 0.0
    to_measure, to_sync = world.first_measure_s, world.first_sync_s
    kept = np.empty((4, len(rates)))
    for i, (now, rate) in enumerate(zip(step_s * np.arange(len(rates)), rates)):
        while starting and starting[0][0] <= now:
            ready += starting.popleft()[1]
        if now >= to_measure:
            usage, counted = used / max(there, 1e-9), ready
            used, there, to_measure = 0.0, 0.0, to_measure + world.measure_s
        if now >= to_sync and usage:
            wish = limited(policy, total, counted, usage, past, advice, now)
            ready, total = rescale(wish, total, ready, starting, now + world.start_s)
            to_sync += world.sync_s
        done = min(queue + rate * step_s, ready * each * step_s)
        queue += rate * step_s - done
        kept[:, i] = total, ready, usage, done
        used += done * world.cpu_s + ready * world.idle * step_s
        there += ready * world.cores * step_s
    kept[3] = waits(np.cumsum(rates) * step_s, np.cumsum(kept[3]), step_s)
    return kept


# %% [markdown]
# Waiting times come from two running sums: the requests that arrived, and the requests that are done. The request
# number $k$ arrives when the first sum reaches $k$. It is done when the second sum reaches $k$.


# %%
def waits(arrived, finished, step_s):
    """How long after each step the last request that came in it is done, (steps,), s."""
    ends = np.searchsorted(finished, arrived * (1 - 1e-9) - 1e-6)  # sums are rounded
    late = (ends - np.arange(len(arrived))) * step_s
    return np.where(ends < len(finished), late, math.inf)


# %%
def rescale(wish, total, ready, starting, ready_at):
    """Starts pods, or ends some: first those that are still starting."""
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
# ## How far can you trust the simulator?
#
# We compare it with the run that lesson 18 recorded. There, the load jumped to twice the capacity of one pod, and fell
# again after thirty seconds.

# %%
run = recorded("18", "follow")
STEP, pod = run["load"], run["pod"]
STEP_S, TARGET, HIGH, WINDOW_S = 0.5, 0.6, 5, 10  # as in lesson 18

# %%
looks = [d for d in run["decisions"] if d["name"] == "digits" and d["percent"] is not None]
at = np.array([d["at"] for d in looks])
moments = np.arange(0, sum(s for s, _ in STEP), STEP_S)
offered = np.repeat([rate for _, rate in STEP], [int(s / STEP_S) for s, _ in STEP])
seen = np.array([[d["wanted"] for d in looks if d["at"] <= max(t, at[0])][-1] for t in moments])
p50_s = np.array(run["traffic"]["p50_ms_by_half_second"], float) / 1000  # nan: nothing was due

# %% [markdown]
# Most values of `World` are known. Lesson 18 measured the CPU of a request, and we know the pod's limit. The times at
# which the autoscaler's status changed show when it looks. The recorded changes of the pods show how long a new pod
# takes to start.


# %%
def start_of(name):
    """Seconds from a pod's first event until it is ready; None if it was there before."""
    events = [p for p in run["pods"] if p["name"] == name]
    ready = [p["at"] for p in events if p["ready"]]
    return ready[0] - events[0]["at"] if ready and events[0]["phase"] == "Pending" else None


# %%
starts = [start_of(name) for name in {p["name"] for p in run["pods"]}]
sync_s = float(np.diff(at).min().round(1))
known = World(
    cpu_s=pod["cpu_s"],
    cores=pod["cores"],
    idle=pod["idle_cores"],
    start_s=float(np.median([s for s in starts if s is not None])),
    measure_s=run["measured_over_s"],
    sync_s=sync_s,
    first_sync_s=float(at[at > 0][0] % sync_s),
)
print(known)

# %% [markdown]
# Two values are unknown: when CPU was first measured, and how much more a request costs when all pods share the
# processors. We fit these two to the *climb* alone, until the load falls. The rest of the run is the test. What should
# we compare? A sum of pod-seconds hides errors: a path that is too high and then too low can have the right sum. So we
# compare the *path*: at each moment, by how many pods is the simulation off? The fit also compares the waits. It adds
# up two means: the distance of the paths in pods, and that of the waits in seconds.

# %%
policy = Policy(target=TARGET, low=1, high=HIGH, window_s=WINDOW_S)
climb = moments < STEP[0][0] + STEP[1][0]


# %%
def off_by(world, where):
    """Mean distance from the real path in pods, and from the real median latency in seconds."""
    found = simulate(offered, STEP_S, policy, world)
    late = np.minimum(found[3], 60)  # infinite: not within the time
    return np.abs(found[0] - seen)[where].mean(), np.nanmean(np.abs(late - p50_s)[where])


# %% [markdown]
# We try a grid of pairs of the two unknown values, and keep the pair whose sum is smallest on the climb:

# %%
tried = [
    replace(known, cpu_s=slower * known.cpu_s, first_measure_s=first)
    for slower in (0.8, 1, 1.2, 1.4, 1.6, 1.8, 2.2)
    for first in np.arange(0.5, known.measure_s + 0.1, 0.5)
]
fitted = min(tried, key=lambda world: sum(off_by(world, climb)))
again = simulate(offered, STEP_S, policy, fitted)
pods_off, after_off = off_by(fitted, climb)[0], off_by(fitted, ~climb)[0]
sums = abs(again[0].sum() / seen.sum() - 1)

# %%
figure, axes = plt.subplots(2, 1, figsize=(7, 5), sharex=True)
axes[0].step(moments, seen, where="post", color=show.ORANGE, label="on the cluster")
axes[0].step(moments, again[0], where="post", color=show.BLUE, ls="--", label="simulated")
axes[0].set_ylabel("pods wanted")
axes[1].plot(moments, p50_s, color=show.ORANGE, label="on the cluster (median)")
axes[1].plot(moments, again[3], color=show.BLUE, ls="--", label="simulated")
axes[1].set(ylabel="wait (s)", xlabel="time (s)")
for each in axes:
    each.axvline(STEP[0][0] + STEP[1][0], color=show.GREY, ls=":", label="end of what was fitted")
    each.legend(fontsize=8)
show.finding(
    f"The simulated path is off by {pods_off:.1f} pods in the climb and {after_off:.1f} after it",
    alt="Two panels over a minute: pods wanted and waits, on the cluster and simulated. The "
    f"simulated pods are off by {pods_off:.2f} on average in the climb, by {after_off:.2f} "
    f"after it.",
)

# %%
observe(
    "after the climb, which was not fitted, the path is off by less than one pod on average",
    after_off < 1,
    f"{after_off:.2f} pods after, {pods_off:.2f} in the climb; the sums alone: {sums:.0%} apart",
    of=run,
    either=True,
)

# %% [markdown]
# So the simulator contains the mechanism. Its pods climb in steps, as on the cluster, and the queue grows for the same
# reasons. It does not contain the details of a cluster: pods that start at different speeds, requests that cost
# different amounts, other programs on the same processors. Use it to compare two policies. Do not use it to promise a
# figure.
#
# ## Why not scale down at once?
#
# The simulator can answer this. We let the load go up and down every four minutes. We try no window, one of 60 seconds,
# and one of 300 seconds, which is Kubernetes' default:

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

# %% [markdown]
# A window keeps pods that are not needed at the moment. What does each window cost, and how long do users wait?

# %%
over = {w: float((each[3] > 0.25).mean()) for w, each in swung.items()}
cost = {w: float(each[0].mean()) for w, each in swung.items()}
show.table(
    ["window (s)", "changes in an hour", "pods on average", "time with a wait over 250 ms"],
    [[w, changes[w], f"{cost[w]:.1f}", f"{over[w]:.1%}"] for w in swung],
    caption="What a window costs, and what it saves",
)

# %%
claim(
    "a longer window means fewer changes, and more pods that run",
    changes[300] < changes[60] < changes[0] and cost[300] > cost[60] > cost[0],
)

# %% [markdown]
# Without a window the pods go up and down with each swing of the load. This is *flapping*. New pods are ready 45
# seconds after the decision, when the load has already changed. A window of 60 seconds helps little here, because the
# load takes 240 seconds to go up and down. By the bottom of each swing, the last peak is out of the window. The window
# of 300 seconds still holds it. It costs idle pods, and it saves cold starts.
#
# ## What does a day on a thousand nodes look like?
#
# Now we take a larger cluster: a thousand nodes of eight cores. Seven pods of one core fit on each node, and the rest
# is for the node itself. We simulate a day with a quiet night, a busy afternoon, and noise. Then we simulate the same
# day with six spikes. At each spike a push notification goes out, and within half a minute the load doubles.

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

# %% [markdown]
# We want two things: few late requests, and few *pod-hours*. Pod-hours are the hours of all pods added up, and you pay
# for them. A request is late if it takes more than a quarter of a second.


# %%
def day(rates, policy, world):
    """Pods wanted, pods ready, and the share of requests over the objective, step by step."""
    start = max(policy.low, math.ceil(rates[0] * world.cpu_s / policy.target))
    total, ready, _, wait_s = simulate(rates, DAY_STEP_S, policy, world, pods=start)
    mu = world.cores / world.cpu_s
    spare = np.maximum(mu - rates / ready, 0)  # requests a second that a pod could do in addition
    left_s = np.maximum(OBJECTIVE_S - wait_s, 0)
    return total, ready, np.where(left_s > 0, np.exp(-spare * left_s), 1.0)


# %%
def outcome(rates, policy, world):
    """Pod-hours of a day, and the share of its requests that take longer than the objective."""
    total, _, late = day(rates, policy, world)
    return total.sum() * DAY_STEP_S / 3600, float((late * rates).sum() / rates.sum())


# %% [markdown]
# There are two kinds of waiting. The simulator has the queue that forms when the whole service is too slow. And in a
# pod that keeps up, requests still meet by chance. With random arrivals at $\lambda$ a second and a pod's capacity
# $\mu$, a request takes longer than $t$ seconds with probability $e^{-(\mu - \lambda)t}$. (This is the M/M/1 queue,
# whose service times are random too. Service times that vary less give shorter waits.)
#
# With a floor, a higher target may be enough. So the question is which of two ways costs less: a low target alone, or a
# floor with a higher target.

# %%
guess(
    "bargain",
    "99.9 % of a spiky day's requests must be in time. Which costs less: a lower target alone, "
    "or a floor with the target that then suffices?",
    choices=["a lower target", "a floor of 3,000 pods", "both cost about the same"],
)

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

# %% [markdown]
# Each line below is one case, and each mark on it is one target. Lower is better for users, and further left is
# cheaper:

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
    f"At 60 %, spikes raise late requests from {at_60['plain day'][1]:.1%} to "
    f"{at_60['spiky day'][1]:.1%}, the cost from {at_60['plain day'][0] / fixed:.0%} to "
    f"{at_60['spiky day'][0] / fixed:.0%}",
    alt="Frontiers of cost against late requests for targets from 35 to 90 %. At 60 %: "
    + "; ".join(
        f"{name}: {h / fixed:.0%} of the pod-hours, {late:.2%} late"
        for name, (h, late) in at_60.items()
    ),
)

# %%
claim(
    "in each case, each lower target costs more and makes fewer requests late",
    all(
        (np.diff(line[:, 0]) < 0).all() and (np.diff(line[:, 1]) > 0).all()
        for line in frontier.values()
    ),
)

# %% [markdown]
# If each new pod first needs a new node, a start takes minutes. What does that change?

# %%
claim(
    "slower starts make more requests late at about the same cost",
    at_60["spiky day, each start 4 minutes"][1] > at_60["spiky day"][1]
    and abs(at_60["spiky day, each start 4 minutes"][0] / at_60["spiky day"][0] - 1) < 0.1,
)

# %%
hours, late = at_60["spiky day, floor 3,000 pods"]
claim(
    "some target without the floor costs less, and makes fewer requests late, than 60 % with it",
    any(h < hours and x < late for h, x in frontier["spiky day"]),
    f"with the floor {hours / fixed:.0%} of the pod-hours, {late:.2%} late",
)

# %% [markdown]
# A manager asks it in another way: what is the cheapest way to have 99.9 % of the requests in time?

# %%
best = {
    name: min((h / fixed for h, late in line if late < 0.001), default=math.inf)
    for name, line in frontier.items()
}
show.table(
    ["case", "cheapest of these targets with 99.9 % in time"],
    [[name, f"{each:.0%}" if each < math.inf else "none"] for name, each in best.items()],
    caption="Pod-hours, as a share of a thousand full nodes all day",
)

# %%
bargain = best["spiky day"] / best["spiky day, floor 3,000 pods"]
winner = "a lower target" if bargain < 1 else "a floor of 3,000 pods"
reveal("bargain", "both cost about the same" if 0.97 < bargain < 1.03 else winner)

# %% [markdown]
# A target of 60 % *is* headroom: 40 % of each pod is free for the load that comes while new pods start. This reserve
# grows with the load. A floor costs money at night as well. It helps only at spikes that begin when fewer pods than the
# floor would run. Which spikes are these? We count the late requests of each spike, in the hour from its beginning:

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
    caption="Late requests of each spike",
)

# %%
claim(
    "the floor removes nine tenths of the late requests at the first two spikes, and less than a "
    "hundredth at the next three",
    all(b < 0.1 * a for a, b in list(zip(*share_late.values()))[:2])
    and all(b > 0.99 * a for a, b in list(zip(*share_late.values()))[2:5]),
)

# %% [markdown]
# So a floor helps in the morning, when few pods are running. **Now do exercise 18b.2**: the pod-hours and the late
# requests of any day.
#
# Now it is your turn: change the policy in the next cell, and run both cells below again. This takes a second or so.
# Where the blue line is flat at 7,000 pods, all thousand nodes are full.

# %%
mine = Policy(target=0.6, window_s=300, low=2, high=most_pods)

# %%
total, ready, over = day(spiky, mine, SECOND)
hours, late = total.sum() * DAY_STEP_S / 3600, (over * spiky).sum() / spiky.sum()
plt.plot(clock / 3600, spiky * SECOND.cpu_s, color=show.GREY, lw=1, label="pods kept busy")
plt.plot(clock / 3600, ready, color=show.BLUE, lw=1, label="pods ready")
plt.xlabel("hour of the day")
plt.ylabel("pods")
plt.legend(loc="upper left", fontsize=8)
show.finding(
    f"Target {mine.target:.0%}, window {mine.window_s:.0f} s: {hours / fixed:.0%} of the "
    f"pod-hours, {late:.2%} late",
    alt="Pods ready and pods kept busy over a day with six spikes; the ready ones follow with a "
    "reserve.",
)

# %% [markdown]
# ## How many nodes do the pods need?
#
# Pods run on nodes, and you pay for nodes. A *node autoscaler* (Cluster Autoscaler, Karpenter) adds nodes when pods
# stay `Pending` because no node has room. It removes a node when its pods fit elsewhere. A pod's *request* decides how
# many pods fit, whether or not the pod uses it. To place the pods on few nodes is a problem of *bin packing*:


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
    caption="3,000 cores, in pods of one size",
)

# %%
claim(
    "pods of four cores take nearly twice the nodes of pods of half a core, for the same work",
    1.8 < sizes[4][1] / sizes[0.5][1] < 2,
    f"{sizes[4][1]} and {sizes[0.5][1]} nodes of eight cores; half a core of each is for the "
    f"node itself",
)

# %% [markdown]
# A new node typically takes minutes to boot, join, and pull the image. The curve "each start 4 minutes" above shows
# such a case. The usual remedy is headroom again: placeholder pods of a low priority that do nothing. Kubernetes evicts
# them when real pods need their place. The node autoscaler then adds nodes for the placeholders, and no user waits for
# these nodes. **Now do exercise 18b.1**: how many pods are enough if one node fails?
#
# ## Zero pods at night?
#
# If requests are rare, even a single pod is idle most of the time. Knative and KEDA *scale to zero*: after $\tau$
# seconds without a request the last pod goes, and the next request waits for a cold start. Let requests arrive at
# random, $\lambda$ a second. A gap between two of them is longer than $\tau$ with probability $e^{-\lambda\tau}$. That
# share of requests is cold. After each request a pod is up for $\min(\text{gap}, \tau)$ seconds. On average this is
# $(1 - e^{-\lambda\tau})/\lambda$ seconds, and the mean gap is $1/\lambda$ seconds. So the share of time paid is
# $1 - e^{-\lambda\tau}$ (the start itself is left out), and
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
    caption="A request every ten minutes, on average",
)

# %%
claim(
    "for each time-out, the share of time paid and the share of cold requests add up to one",
    all(abs(cold + paid - 1) < 0.01 for _, cold, paid in rows),
)

# %% [markdown]
# With random arrivals, no time-out lowers the sum. It only decides whether you pay or your users wait. Real traffic
# often comes in bursts, and that is better: most requests then come soon after another one, and find a pod.
#
# ## What do a million answers cost?
#
# Three figures make the price: how many answers a core gives, what a core costs, and how much of it is used. We measure
# the first for three forms of the course's models, on one thread. You set the second. A core-hour of a rented machine
# costs a few cents. Take yours from your bill.

# %%
PRICE = 0.04  # of a core-hour, in your currency: change it, and run the rest again

# %%
guess(
    "million",
    "At 0.04 for a core-hour: what do a million answers of the model alone cost, one picture "
    "a call, on full cores?",
    low=0.00001,
    high=10,
)

# %% [markdown]
# We call each form with one picture, and with 64 pictures:

# %%
FORMS = {
    ("digits_cnn", "onnx"): models.path("digits_cnn", 1),
    ("digits_cnn", "int8"): models.path("digits_cnn", 2),
    ("digits_keras", "onnx"): models.path("digits_keras", 1),
}
_, test = data.digits()
inputs = {n: test.images[:n].astype(np.float32) for n in (1, 64)}


# %%
def call(session, images):
    """A function that runs the session on the images, in the layout that it takes."""
    name, layout = session.get_inputs()[0].name, session.get_inputs()[0].shape
    fed = images.reshape(-1, *layout[1:])
    return lambda: session.run(None, {name: fed})


# %% [markdown]
# We measure the forms in turns, so that a slow moment of the machine affects all of them alike:

# %%
sessions = {key: open_session(file.read_bytes(), 1) for key, file in FORMS.items()}
taken_ms = {
    n: latencies_ms({key: call(s, inputs[n]) for key, s in sessions.items()}, rounds=200)
    for n in inputs
}
each_per_s = {
    n: {key: 1000 * n / spread(ms).median for key, ms in found.items()}
    for n, found in taken_ms.items()
}


# %%
def per_million(each_per_s, utilisation=1.0):
    """The price of a million answers; each_per_s: of a core that is full."""
    return PRICE / (3600 * each_per_s * utilisation) * 1e6


# %% [markdown]
# The ledger of the course gets a column for the price of a million answers:

# %%
rows = {(row.model, row.form): row for row in ledger.rows()}
show.table(
    [
        "model",
        "form",
        "accuracy",
        "bytes",
        "answers/s a core, one by one",
        "price of a million",
        "in batches of 64",
    ],
    [
        [*key, f"{rows[key].accuracy:.1%}", f"{rows[key].bytes:,}", f"{each_per_s[1][key]:,.0f}"]
        + [f"{per_million(each_per_s[n][key]):.5f}" for n in (1, 64)]
        for key in FORMS
    ],
    caption="The ledger with a column for money: full cores, the model alone",
)

# %%
alone = per_million(each_per_s[1]["digits_cnn", "onnx"])
reveal("million", alone)

# %% [markdown]
# That is the price of the model alone, on cores that are always full. The calls followed each other without a pause.
# Right after other work the same call takes longer, as it did in lesson 14b. A service pays more, for two reasons.
# First, the pod also reads requests and writes answers. Lesson 18 measured a whole request of 200 pictures. How much of
# that would the model alone need here?

# %%
model_ms = 1000 * 200 / each_per_s[64]["digits_cnn", "onnx"]
print(f"a request of 200 pictures in lesson 18's recording: {1000 * pod['cpu_s']:.1f} ms of CPU")
print(f"the model alone for 200 pictures on this machine, in batches of 64: {model_ms:.1f} ms")

# %% [markdown]
# Second, pods are not full all day. The *utilisation* is the share of the paid capacity that is used. We compute it for
# the two days, whose requests need 20 ms of CPU each:

# %%
used = {
    name: float((rates * SECOND.cpu_s).sum() * DAY_STEP_S / 3600 / at_60[name][0])
    for name, rates in (("plain day", plain), ("spiky day", spiky))
}
served = 1 / SECOND.cpu_s  # answers a second of the day's pods, of one core each
show.table(
    ["what is paid for", "utilisation", "price of a million answers"],
    [["cores that are full all day", "100 %", f"{per_million(served):.2f}"]]
    + [
        [f"{name}, target 60 %", f"{share:.0%}", f"{per_million(served, share):.2f}"]
        for name, share in used.items()
    ]
    + [
        [
            "all thousand nodes all day, plain day",
            f"{plain.mean() / served / most_pods:.0%}",
            f"{per_million(served, plain.mean() / served / most_pods):.2f}",
        ]
    ],
    caption="A request that needs 20 ms of CPU",
)

# %%
claim(
    "on both days the utilisation is below the target of 60 %",
    all(share < 0.6 for share in used.values()),
    ", ".join(f"{name} {share:.0%}" for name, share in used.items()),
)

# %% [markdown]
# Compare the last two tables. For one picture, the model alone costs a tiny part of a request of 20 ms. There, int8 or
# a batch of 64 can save only a part of that tiny part. Most of the money goes into the code around the model, and into
# idle pods. In a request of 200 pictures, or with a large model, the model's share is larger. So measure the parts of
# your own request before you save on one of them. **Now do exercise 18b.3**, the price for your own utilisation.
#
# ## What we measured

# %%
show.table(
    ["what", "figure"],
    [
        [
            "simulated path, off by: in the climb, after it",
            f"{pods_off:.1f}, {after_off:.1f} pods",
        ],
        ["changes in an hour: window 0 s, 300 s", f"{changes[0]}, {changes[300]}"],
        [
            "late at 60 %: plain, spiky day",
            ", ".join(f"{at_60[k][1]:.2%}" for k in list(at_60)[:2]),
        ],
        [
            "cheapest with 99.9 % in time: target, floor",
            f"{best['spiky day']:.0%}, {best['spiky day, floor 3,000 pods']:.0%} of the pod-hours",
        ],
        ["nodes for 3,000 cores: pods of 0.5, of 4", f"{sizes[0.5][1]}, {sizes[4][1]}"],
        [
            "utilisation at 60 %: plain, spiky day",
            ", ".join(f"{each:.0%}" for each in used.values()),
        ],
    ],
    caption="What we measured",
)

# %% [markdown]
# ## What to remember
#
# - Check a simulator against one real run, by its path; then use it to compare policies.
# - A lower target is a reserve that grows with the load. A floor helps only while fewer pods than the floor would run.
# - The price of an answer is the price of the hours paid, divided by the answers given. Idle pods raise it. Utilisation
#   was below the target on both of our days.
#
# ## Where this breaks down
#
# The simulator has no failing pods, no uneven load balancing and no clients that retry. Its days are invented, and its
# spikes come without warning. Your spikes may follow a calendar. Then a schedule can start pods before the load comes.
# A rule that only reacts cannot. Our price counts only cores. Memory, traffic, storage and the people on call are
# missing.
#
# ## What real teams use
#
# | tool | scales on | to zero | take it when |
# | --- | --- | --- | --- |
# | HorizontalPodAutoscaler | CPU, memory; others through an adapter | not with CPU | always first |
# | KEDA | queues, Prometheus, schedules | yes | work comes from a queue |
# | Knative | requests in flight or a second, measured by a proxy at each pod | yes: an *activator* holds requests meanwhile | many services, each rarely used |
# | KServe | as its mode: Knative's, or the plain autoscaler's (`k8s/overlays/kserve`) | with Knative | many models, several frameworks, one way to deploy them |
# | Ray Serve | requests in flight for each replica (`target_ongoing_requests`) | yes (`min_replicas: 0`) | Python pipelines of several models, GPUs shared in fractions |
#
# Most of them apply a rule like ours to another metric. Karpenter or Cluster Autoscaler adds nodes. OpenCost divides
# the bill of a cluster among its pods.
#
# Next: lesson 19 brings a new version to a few users first.
#
# ## Further reading
#
# - M. Harchol-Balter, *Performance Modeling and Design of Computer Systems*, Cambridge University Press 2013.
# - N. J. Gunther, *Guerrilla Capacity Planning*, Springer 2007.
# - K. Rzadca et al., *Autopilot: Workload Autoscaling at Google*, EuroSys 2020.
# - Knative documentation, *Autoscaling*.
