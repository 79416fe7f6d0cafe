# %% [markdown]
# # 13b Under load
#
# At 3 a.m. the alarm says that answers are late. The load test had promised 1,700 answers a second, and tonight only
# 1,400 requests a second come. But the test sent each request after the last one had been answered. Tonight's users do
# not wait for each other.
#
# ## You will be able to
#
# - send the four loads of the benchmark MLPerf, and say which question each of them answers;
# - compute how many requests a percentile needs, and give an interval that holds in a queue;
# - predict how long requests wait, and find the highest rate that keeps a p99 within a bound;
# - choose a batch size, and compare hardware by its roofline;
# - check which processor really computes each operator.
#
# ## Before you start
#
# Lesson 13 explains the roofline, the open loop and the p99. It also says why a latency counts from when a request was
# *due*. Times below are those of the machine that built this page.

# %%
import math
import warnings
from collections import Counter
from statistics import NormalDist

import matplotlib.pyplot as plt
import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper

from course_lib import measure, models
from course_lib.idioms import begin, claim, guess, observe, path, reveal, show
from course_lib.measure import load

scratch = begin("13b")
path.picture(here="13b")

# %% [markdown]
# ## Which load should a benchmark send?
#
# The benchmark MLPerf Inference has four *scenarios*, one for each way in which customers use a model.
#
# | scenario | stands for | sends | reports |
# | --- | --- | --- | --- |
# | SingleStream | one camera | the next picture after each answer | p90 of the latency |
# | MultiStream | a car with eight cameras | eight pictures after each answer | p99 of the latency |
# | Server | many users | pictures at random times | the rate at which the p99 keeps a bound |
# | Offline | an archive, computed overnight | everything at once | pictures a second |
#
# We need a model whose calls take a while. Four dense layers of 1,024 × 1,024 will do. They have random weights, 16.8
# MB, like lesson 13's `wide`.

# %%
WIDTH = 1024
random = np.random.default_rng(0)


def dense_layers(count):
    """pixels (batch, 1024) through so many dense layers, each with its ReLU, as an ONNX model."""
    nodes, weights = [], []
    for i in range(count):
        w = random.normal(0, (2 / WIDTH) ** 0.5, size=(WIDTH, WIDTH)).astype(np.float32)
        weights.append(numpy_helper.from_array(w, f"w{i}"))
        nodes.append(helper.make_node("MatMul", [f"x{i}", f"w{i}"], [f"y{i}"]))
        nodes.append(helper.make_node("Relu", [f"y{i}"], [f"x{i + 1}"]))
    ends = ("x0", f"x{count}")
    ends = [helper.make_tensor_value_info(e, onnx.TensorProto.FLOAT, ["n", WIDTH]) for e in ends]
    graph = helper.make_graph(nodes, "dense", ends[:1], ends[1:], weights)
    versions = [helper.make_opsetid("", 20)]
    return helper.make_model(graph, opset_imports=versions, ir_version=10).SerializeToString()


# %%
def session(model, *, providers=("CPUExecutionProvider",), **config):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4  # what we provoke below is shown by us
    for key, value in config.items():
        options.add_session_config_entry(f"session.{key}", value)
    return onnxruntime.InferenceSession(model, options, providers=list(providers))


wide = session(dense_layers(4))
pictures = random.random((512, WIDTH), np.float32)


def answer(count):
    return lambda number: wide.run(None, {"x0": pictures[number % 400 : number % 400 + count]})


# %% [markdown]
# "At random times" means that users decide independently of each other. In each short moment $dt$ a request arrives
# with probability $\lambda\,dt$, whatever came before. Such arrivals are a *Poisson process* of the rate $\lambda$. The
# chance that nothing arrives for a time $t$ is $(1 - \lambda\,dt)^{t/dt} \to e^{-\lambda t}$. So the gaps between
# arrivals are *exponential*, with mean $1/\lambda$ and variance $1/\lambda^2$. Do the arrivals of our generator have
# such gaps?

# %%
gaps = np.diff(load.poisson_arrivals(200, 50_000, seed=13), prepend=0)
shorter = np.mean(gaps < 0.5 / 200)
claim(
    "at 200 a second, the gaps have the exponential distribution's mean and variance, and its "
    "share below half of the mean",
    abs(200 * gaps.mean() - 1) < 0.02
    and abs(200**2 * gaps.var() - 1) < 0.05
    and abs(shorter - (1 - math.exp(-0.5))) < 0.01,
    f"mean {1e3 * gaps.mean():.2f} ms, variance {1e6 * gaps.var():.1f} ms², {100 * shorter:.1f} % "
    f"below 2.5 ms for {100 * (1 - math.exp(-0.5)):.1f} %",
)

# %% [markdown]
# Now we run the four scenarios, with one thread and one worker. For Server we choose a rate, half of what the worker
# can do, and look at the p99. MLPerf demands runs of at least 600 seconds. Ours take a second or two, so their
# percentiles are rough. If other programs slow the worker down in that time, requests pile up, and the p99 shows it.

# %%
for _ in range(20):
    answer(1)(0)  # warm up
single = load.closed_loop(answer(1), 1000)
multi = load.closed_loop(answer(8), 200)
offline = load.open_loop(lambda i: wide.run(None, {"x0": pictures[:64]}), np.zeros(6))
capacity = 1000 / np.median(single.service_ms)  # requests a second if the worker never rests
half = load.poisson_arrivals(capacity / 2, int(0.75 * capacity), seed=0)
server = load.open_loop(answer(1), half)

# %%
show.table(
    ["scenario", "queries", "result"],
    [
        ["SingleStream", 1000, f"p90 {load.percentile(single.latency_ms, 0.9):.2f} ms"],
        ["MultiStream", 200, f"p99 {load.percentile(multi.latency_ms, 0.99):.2f} ms for eight"],
        ["Server", len(half), f"p99 {load.percentile(server.latency_ms, 0.99):.2f} ms "
         f"at {capacity / 2:,.0f} a second"],
        ["Offline", 6, f"{64 * offline.throughput_per_s:,.0f} pictures a second, by 64"],
    ],
    caption="One model, four answers to \"how fast is it?\"",
)  # fmt: skip

# %%
waits_ms = 1000 * (server.started_s - server.due_s)
observe(
    "at half of the rate that the worker can do, requests still wait before their call begins",
    waits_ms.mean() > 0.2 * server.service_ms.mean(),
    f"{waits_ms.mean():.2f} ms on average, for calls of {server.service_ms.mean():.2f} ms",
    either=True,
)

# %% [markdown]
# ## How many requests does a p99 need?
#
# A dashboard computes a p99 from any number of requests. How many does it take until you can believe the p99? MLPerf
# fixes a margin of error, and computes how many requests keep it.

# %%
guess(
    "needed",
    "How many requests does a p99 need, if its share may be wrong by 0.05 percentage points, with "
    "99 % confidence?",
    low=100,
    high=10_000_000,
)

# %% [markdown]
# Fix a bound $T$. Each of $n$ requests is below it with probability $p$, independently of the others. So the number of
# requests below $T$ is *binomial*, and their share $\hat p$ has
#
# $$\operatorname{mean}(\hat p) = p, \qquad \operatorname{sd}(\hat p) = \sqrt{p(1-p)/n}.$$
#
# For large $n$ the share is nearly normal. Let $\Phi$ be the distribution function of the normal distribution with mean
# 0 and variance 1. With confidence $C$ it lies within $m$ of $p$ if
#
# $$z \sqrt{\frac{p(1-p)}{n}} \le m, \qquad z = \Phi^{-1}\!\left(\frac{1 + C}{2}\right), \qquad\text{hence}\qquad n = \frac{z^2\, p (1 - p)}{m^2}.$$
#
# MLPerf takes a twentieth of the share above $p$ as the margin, $m = (1-p)/20$, and $C$ = 99 %. For a p99 the margin is
# 0.05 percentage points.


# %%
def queries_needed(share, confidence=0.99):
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    margin = (1 - share) / 20
    return z**2 * share * (1 - share) / margin**2


# %%
needed = {share: round(queries_needed(share)) for share in (0.90, 0.95, 0.99)}
reveal("needed", needed[0.99])
claim(
    "these are the query counts in table IV of MLPerf's paper",
    list(needed.values()) == [23_886, 50_425, 262_742],
    ", ".join(f"p{100 * share:.0f}: {count:,}" for share, count in needed.items()),
)

# %% [markdown]
# Newer rounds of MLPerf accept fewer queries by *early stopping*: a short run is judged by a slightly higher
# percentile, to make up for its uncertainty. **Now do exercise 13b.1**, for any percentile and margin.
#
# **Where this goes wrong: the formula is used for a queue.** The formula assumes that requests do not influence each
# other. In a queue they do, since one slow call delays all behind it. To see how much this matters, we need a queue
# whose true p99 is known. A queue with one worker, Poisson arrivals and exponential times of the calls is called
# *M/M/1*. The mean time of a call is the unit of time. Queueing theory says that the latency is then exponential too.
# At the rate $\lambda$ its p99 is $\ln 100 / (1 - \lambda)$.
#
# The same normal distribution gives an interval for the p99. Sort the latencies, and number them by *rank*. The
# interval says between which two ranks the true p99 should lie.

# %%
guess(
    "covered",
    "20,000 requests, the worker busy 74 % of the time. How often does a 95 % interval that "
    "assumes independence contain the true p99?",
    share=True,
)


# %%
def p99_interval(latencies, reach):
    """The latencies whose ranks lie `reach`, a share, on either side of the p99's."""
    n, ordered = len(latencies), np.sort(latencies)
    ranks = [math.floor(n * (0.99 - reach)), math.ceil(n * (0.99 + reach))]
    return ordered[np.clip(ranks, 1, n) - 1]


def reach_if_independent(latencies):
    return 1.96 * math.sqrt(0.99 * 0.01 / len(latencies))


# %% [markdown]
# There is a remedy for requests that influence each other. Cut the run into 20 *blocks*, each far longer than the queue
# needs to recover from a slow call. Then the blocks hardly influence each other, although the requests within a block
# do. In each block, count the share of requests that are slower than the p99 of the whole run. The more these 20 shares
# differ, the less certain the p99 is. (2.09 is Student's factor for 20 values, in place of 1.96.)


# %%
def reach_by_blocks(latencies, blocks=20):
    slow = latencies > load.percentile(latencies, 0.99)
    shares = slow.reshape(blocks, -1).mean(axis=1)
    return 2.09 * shares.std(ddof=1) / math.sqrt(blocks)


# %%
def queue_run(seed, rate=0.74, count=20_000):
    """Latencies in an M/M/1 queue with work of mean 1, after a start that is left out."""
    due = load.poisson_arrivals(rate, count + 1000, seed)
    service = np.random.default_rng(seed + 10**6).exponential(1.0, count + 1000)
    return load.simulate(due, service).latency_ms[1000:] / 1000


# %% [markdown]
# Now we simulate 200 runs of 20,000 requests each, and compute both intervals for each run.

# %%
true_p99 = math.log(100) / (1 - 0.74)
held = {reach_if_independent: [], reach_by_blocks: []}
for seed in range(200):
    latencies = queue_run(seed)
    for reach_of, inside in held.items():
        low, high = p99_interval(latencies, reach_of(latencies))
        inside.append(low <= true_p99 <= high)
independent, by_blocks = (np.mean(inside) for inside in held.values())
reveal("covered", independent)

# %%
claim(
    "of 200 intervals of 95 %, fewer than 4 in 10 contain the true p99 if independence is assumed, "
    "and more than 8 in 10 do with blocks",
    independent < 0.4 and by_blocks > 0.8,
    f"{100 * independent:.0f} % and {100 * by_blocks:.0f} %",
)
worth = [0.99 * 0.01 / (reach_by_blocks(queue_run(seed)) / 2.09) ** 2 for seed in range(20)]
print(f"20,000 requests of this queue are worth about {np.median(worth):,.0f} independent ones")

# %% [markdown]
# A busier queue takes longer to recover from a slow call, and needs longer blocks. So make long runs and use blocks, or
# make several independent runs. A run of a second or two, like ours above, is too short for an honest interval.
#
# ## Why do requests wait at half load?
#
# Users do not come at even intervals. Sometimes two come within the time of one call, and the second waits. How long?
# We begin with a law that assumes no distribution of arrivals or calls. Take a time $T$ that begins and ends with an
# empty system. Let $L$ be the mean number of requests in the system, $\lambda$ the rate of arrivals, and $W$ the mean
# latency. Each request adds 1 to the number in the system for as long as it stays. So the area under that number is the
# sum of all latencies, $L\,T = \lambda T \cdot W$. This is *Little's law*, $L = \lambda W$.

# %%
due = load.poisson_arrivals(80, 20_000, seed=2)
service = np.random.default_rng(1).exponential(0.01, len(due))
run = load.simulate(due, service)
moments = np.linspace(0, run.done_s.max(), 100_000)
inside = np.searchsorted(due, moments, "right") - np.searchsorted(
    np.sort(run.done_s), moments, "right"
)
through = len(due) / run.done_s.max() * run.latency_ms.mean() / 1000  # λW
claim(
    "Little's law: the mean number in the system is rate times latency",
    abs(inside.mean() / through - 1) < 0.01,
    f"{inside.mean():.3f} seen at 100,000 moments, λW = {through:.3f}",
)

# %% [markdown]
# If you know the rate and the latency, the law tells you how many workers, connections or slots are in use. **Now do
# exercise 13b.2**, which takes this number from a log. The law does not tell you $W$ itself. For one worker and Poisson
# arrivals, queueing theory has its mean. Let $S$ be the time of a call, and $\rho = \lambda \operatorname{E}[S] < 1$
# the *utilisation*, the share of time in which the worker is busy. Then (Pollaczek 1930, Khinchine 1932)
#
# $$\operatorname{E}[\text{latency}] = \operatorname{E}[S] + \frac{\lambda \operatorname{E}[S^2]}{2 (1 - \rho)}.$$
#
# The second moment $\operatorname{E}[S^2]$ says that a few slow calls hurt more than the mean shows. The $1 - \rho$ in
# the denominator says that the last percents of utilisation cost most. If all calls take the same time,
# $\operatorname{E}[S^2] = \operatorname{E}[S]^2$. If their times are exponential, $\operatorname{E}[S^2]$ is twice
# that, and the formula becomes $\operatorname{E}[S]/(1 - \rho)$.

# %%
guess(
    "busy",
    "Calls take 1 ms on average, exponential, and the worker is busy 90 % of the time. What is "
    "the mean latency?",
    low=1,
    high=100,
    unit="ms",
)


# %%
def mean_latency(rate, service):
    busy = rate * service.mean()
    return service.mean() + rate * (service**2).mean() / (2 * (1 - busy))


# %% [markdown]
# We simulate half a million requests at each of six rates, with both kinds of calls.

# %%
shares = np.array([0.1, 0.3, 0.5, 0.7, 0.8, 0.9])
random_calls = np.random.default_rng(3).exponential(1.0, 500_000)
means, p99s, theory = {}, {}, {}
for kind, calls in (("exponential", random_calls), ("equal", np.ones(500_000))):
    arrivals = [load.poisson_arrivals(rho, len(calls), seed=4) for rho in shares]
    runs = [load.simulate(due, calls).latency_ms / 1000 for due in arrivals]
    means[kind] = np.array([each.mean() for each in runs])
    p99s[kind] = np.array([load.percentile(each, 0.99) for each in runs])
    theory[kind] = np.array([mean_latency(rho, calls) for rho in shares])
reveal("busy", means["exponential"][-1])

# %%
claim(
    "the simulated means are the formula's, within a tenth",
    all(np.all(abs(means[kind] / theory[kind] - 1) < 0.1) for kind in means),
    f"at 90 % busy: {means['exponential'][-1]:.1f} calls where they are exponential, "
    f"{means['equal'][-1]:.1f} where they are equal",
)

# %%
smooth = np.linspace(0.02, 0.93, 100)
looks = {"exponential": (show.ORANGE, "s", 2), "equal": (show.BLUE, "o", 1)}
for kind, (colour, mark, moment) in looks.items():
    plt.semilogy(smooth, 1 + smooth * moment / (2 * (1 - smooth)), color=colour)
    plt.plot(shares, means[kind], mark, color=colour, label=f"mean, {kind} calls")
    plt.plot(shares, p99s[kind], mark, color=colour, mfc="white", label=f"p99, {kind} calls")
ticks = [1, 2, 5, 10, 20, 50]
plt.yticks(ticks, ticks)
plt.minorticks_off()
plt.xlabel("utilisation (share of the time in which the worker is busy)")
plt.ylabel("latency (mean calls, logarithmic)")
plt.legend(fontsize="small")
worst = p99s["exponential"]
show.finding(
    f"Exponential calls: p99 of {worst[2]:.0f} mean calls at 50 % busy, {worst[-1]:.0f} at 90 %",
    alt="Latency in units of a mean call, against utilisation. Lines: the formula's means. At 90 % "
    f"busy, exponential calls have a mean of {means['exponential'][-1]:.1f} and a p99 of "
    f"{worst[-1]:.0f}, equal calls {means['equal'][-1]:.1f} and {p99s['equal'][-1]:.0f}.",
)

# %% [markdown]
# (Lines are the formula, filled marks the simulated means, hollow marks the simulated p99.) Does the formula hold for
# real requests too? We send them at three rates. For each run we put its own service times into the formula.

# %%
rows = []
for rho in (0.3, 0.5, 0.7):
    rate = rho * capacity
    out = load.open_loop(answer(1), load.poisson_arrivals(rate, int(rate), seed=5))
    taken = out.service_ms / 1000
    busy = rate * taken.mean()
    expected = 1000 * mean_latency(rate, taken) if busy < 1 else math.inf
    found = (1000 * taken.mean(), expected, out.latency_ms.mean())
    ms = [f"{each:.2f}" for each in (*found, load.percentile(out.latency_ms, 0.99))]
    rows.append([f"{100 * rho:.0f} %", f"{100 * busy:.0f} %", *ms])

# %%
show.table(
    ["planned", "rate × call", "mean call", "formula's mean", "measured mean", "measured p99"],
    rows,
    caption="Real requests for about a second each; times in ms",
)

# %% [markdown]
# Compare the first two columns. The plan took the time of a call from the closed loop. The second column is the rate
# times the mean call of *this* run. (Above 100 %, more work came than the worker could do. The formula then has no
# finite mean, and the table says inf.) Calls after a pause, or beside other programs, are often slower. The closed loop
# may have met a disturbance of its own.
#
# Where the measured mean lies far above the formula's, look for calls that were slow together. The formula assumes that
# each call is slow or fast independently of the others. So do not rely on a queue that was computed from a benchmark's
# service times, until real requests have been sent.
#
# ## How many requests a second can it do?
#
# That depends on the p99 that you allow. For a server, MLPerf reports the highest rate at which the p99 keeps its
# bound.

# %%
guess(
    "within",
    "The p99 may be ten mean calls. How busy may the worker be, if calls are exponential?",
    share=True,
)

# %% [markdown]
# In the M/M/1 queue the latency is exponential with the rate $\mu - \lambda$, where $\mu = 1/\operatorname{E}[S]$. So the
# p99 is $\ln 100 / (\mu - \lambda)$. We solve $\text{p99} \le T$ for the rate:
#
# $$\lambda \le \mu - \frac{\ln 100}{T}, \qquad\text{so}\qquad \rho \le 1 - \frac{\ln 100}{T/\operatorname{E}[S]}.$$

# %%
allowed = {calls: 1 - math.log(100) / calls for calls in (5, 10, 20, 50)}
reveal("within", allowed[10])
arrivals = [load.poisson_arrivals(rho, len(random_calls), seed=7) for rho in allowed.values()]
runs = [load.simulate(due, random_calls).latency_ms / 1000 for due in arrivals]
at_bound = [load.percentile(each, 0.99) for each in runs]
show.table(
    ["p99 allowed (mean calls)", "the worker may be busy", "simulated p99 at that rate"],
    [[c, f"{100 * rho:.0f} %", f"{p:.1f}"] for (c, rho), p in zip(allowed.items(), at_bound)],
    caption="One worker, Poisson arrivals, exponential calls",
)

# %%
claim(
    "at the rates of the formula, the simulated p99 is the bound, within 15 %",
    all(abs(p / calls - 1) < 0.15 for calls, p in zip(allowed, at_bound)),
)

# %% [markdown]
# So one model on one machine has two rates: one within a bound, and a higher one without a bound. If users need the
# bound, report the first.
#
# Does a second worker do more than double the rate? Let several workers take their requests from one queue, each busy
# 80 % of the time.

# %%
by_workers = {}
for workers in (1, 2, 4, 8):
    due = load.poisson_arrivals(0.8 * workers, 100_000, seed=8)
    run = load.simulate(due, random_calls[:100_000], workers=workers)
    by_workers[workers] = load.percentile(run.latency_ms, 0.99) / 1000
show.table(
    ["workers on one queue", "p99 (mean calls)"],
    [[workers, f"{p99:.1f}"] for workers, p99 in by_workers.items()],
    caption="Each worker busy 80 % of the time, exponential calls",
)

# %%
p99s_by_workers = list(by_workers.values())
claim(
    "at the same utilisation, more workers on one queue have a lower p99",
    all(more < fewer for fewer, more in zip(p99s_by_workers, p99s_by_workers[1:])),
)

# %% [markdown]
# A slow call blocks only one of several workers. The first row is also what each worker gives if it has its own queue,
# so a shared queue is better. And within the same p99, a service with two workers can run at a higher utilisation than
# one with a single worker. So yes, the second worker more than doubles the rate. In lesson 18 an autoscaler chooses the
# number of workers.
#
# ## What does a batch buy?
#
# A call has a part that does not depend on the batch (the call itself, fetching the weights) and a part for each
# picture:
#
# $$t(b) = \alpha + \beta b, \qquad \text{throughput}(b) = \frac{b}{\alpha + \beta b} \;\longrightarrow\; \frac{1}{\beta}.$$
#
# At $b = \alpha/\beta$ half of the limit is reached. We fit $\alpha$ and $\beta$ to the fastest of 15 calls. The fit
# minimises relative errors, so that small batches count as much as large ones. One batch is left out, to test the
# prediction.

# %%
measured_at, held_out = np.array([1, 2, 4, 8, 16, 32, 64]), 48
digits = session(models.path("digits_cnn", 3).read_bytes())
inputs = {"digits_cnn": (digits, "pixels", random.random((64, 1, 8, 8), np.float32)),
          "dense layers": (wide, "x0", pictures)}  # fmt: skip
batch_ms = {}
for name, (s, start, x) in inputs.items():
    calls = {
        int(b): lambda s=s, feed={start: x[:b]}: s.run(None, feed)
        for b in [*measured_at, held_out]
    }
    taken = measure.latencies_ms(calls, rounds=15)
    batch_ms[name] = {b: float(each.min()) for b, each in taken.items()}


# %%
def fit(sizes, times_ms):
    """α and β, in ms and not below 0, by least squares on the relative errors."""
    beta, alpha = np.polyfit(sizes, times_ms, 1, w=1 / np.asarray(times_ms))
    return max(float(alpha), 0.0), max(float(beta), 1e-9)


lines = {n: fit(measured_at, [t[int(b)] for b in measured_at]) for n, t in batch_ms.items()}
claim(
    "from exact times the fit gives α and β back",
    np.allclose(fit([1, 2, 8], [1.25, 1.5, 3.0]), [1.0, 0.25]),
)

# %% [markdown]
# How well does the line predict the batch that was left out?

# %%
show.table(
    ["network", "α (µs)", "β (µs)", "batch 1", "batch 48", "predicted for 48", "limit 1/β"],
    [
        [n, f"{1000 * a:.0f}", f"{1000 * b:.1f}", f"{1000 / batch_ms[n][1]:,.0f}",
         f"{1000 * held_out / batch_ms[n][held_out]:,.0f}",
         f"{1000 * held_out / (a + b * held_out):,.0f}", f"{1000 / b:,.0f}"]
        for n, (a, b) in lines.items()
    ],
    caption="Pictures a second; batch 48 was left out of the fit",
)  # fmt: skip

# %%
gains = {n: held_out * t[1] / t[held_out] for n, t in batch_ms.items()}
observe(
    "a batch of 48 gives more than twice the throughput of batch 1, for both",
    all(each > 2 for each in gains.values()),
    ", ".join(f"{name} {each:.1f} times" for name, each in gains.items()),
    either=True,
)

# %% [markdown]
# Lesson 13 explains the gain. `digits_cnn` is small, so with one picture the cost of the call is a large part of the
# time, and the pictures of a batch share it. The dense layers wait for bytes, and a batch fetches their weights once
# for all its pictures. A network that is bound by its arithmetic from the first picture on gains little.
#
# A batch must be collected before it can be computed. The simplest way does not wait for a full batch. While the model
# works, requests pile up. When it is free, it takes all of them, up to a maximum. This is *dynamic batching*, and
# lesson 14 builds it into a server.


# %%
def batching(due, alpha, beta, most):
    """Latencies (ms) where the free model takes all that wait, at most `most`. All times in ms."""
    done, now, first = np.empty(len(due)), 0.0, 0
    while first < len(due):
        now = max(now, due[first])
        waiting = np.searchsorted(due, now, side="right") - first
        taken = min(most, waiting)
        now += alpha + beta * taken
        done[first : first + taken] = now
        first += taken
    return done - due


# %% [markdown]
# We simulate a model whose call takes 1 ms for one picture and 0.1 ms for each further one.

# %%
alpha, beta = 0.9, 0.1  # ms
comes, tail = np.array([0.5, 0.8, 0.95, 1.2, 1.5, 2.0, 4.0]), {}
for most in (1, 32):
    runs = [batching(load.poisson_arrivals(c, 15_000, seed=6), alpha, beta, most) for c in comes]
    tail[most] = [load.percentile(each, 0.99) for each in runs]

# %%
for most, colour, mark in ((1, show.ORANGE, "s"), (32, show.BLUE, "o")):
    plt.semilogy(comes, tail[most], mark + "-", color=colour, label=f"at most {most} at once")
plt.axvline(1, color=show.GREY, ls="--", label="what one by one can do")
ticks = [1, 10, 100, 1000, 10_000]
plt.yticks(ticks, [f"{each:,}" for each in ticks])
plt.minorticks_off()
plt.xlabel("arrivals in a millisecond")
plt.ylabel("p99 of the latency (ms, logarithmic)")
plt.legend()
said = ", ".join(f"{c:g}: {a:.1f} and {b:.1f}" for c, a, b in zip(comes, tail[1], tail[32]))
show.finding(
    f"At 1.5 arrivals a ms, batches give a p99 of {tail[32][4]:.1f} ms, not {tail[1][4]:,.0f} ms",
    alt="Simulated p99 in ms against arrivals in a millisecond, one by one and in batches. "
    f"{said}.",
)

# %%
claim(
    "at 1.5 arrivals a ms the p99 one by one is more than a second; in batches it stays below "
    "10 ms up to 4 arrivals a ms",
    tail[1][4] > 1000 and max(tail[32]) < 10,
    f"p99 {tail[1][4]:,.0f} ms after 15,000 requests, and {max(tail[32]):.1f} ms at most",
)

# %% [markdown]
# Beyond the dashed line, one by one, the queue grows as long as the load lasts. A longer run would show a larger p99.
# With batches the maximum matters. A batch of $b$ takes $\alpha + \beta b$, and its first request has waited before
# that. **Now do exercise 13b.3**. There the server waits until a batch is full, and you choose its size for a deadline.
#
# ## Which hardware would help?
#
# The roofline gives a first answer before you buy. First we measure the two constants of this machine, with one thread,
# as in lesson 13.


# %%
def fastest_s(call):
    return measure.latencies_ms({"call": call}, rounds=8, warm_up=2)["call"].min() / 1000


many, long = pictures[:256], np.ones(2**25, np.float32)  # `long`: 128 MiB
flops = 2 * 4 * 256 * WIDTH**2
here = (
    flops / fastest_s(lambda: wide.run(None, {"x0": many})),
    long.nbytes / fastest_s(long.max),
    4,
)
print(f"{here[0] / 1e9:.0f} GFLOP/s, {here[1] / 1e9:.1f} GB/s")

# %% [markdown]
# The others are *catalogue figures*, the makers' theoretical peaks at the precision named. NVIDIA's data sheets print
# peaks for sparse matrices. We halve them, as their footnotes say. Bandwidths come from the same sheets, from AMD's ROCm
# documentation and from Google's Cloud TPU documentation. (bf16, *bfloat16*, is a float of two bytes. A *TPU* is
# Google's processor for matrix products.) Add a row for yours.

# %%
CATALOGUE = {  # name: (operations a second, bytes of memory a second, bytes of a weight)
    "NVIDIA L4, bf16": (121e12, 300e9, 2),
    "NVIDIA H100 SXM, bf16": (989e12, 3_350e9, 2),
    "NVIDIA H100 SXM, int8": (1_979e12, 3_350e9, 1),
    "AMD MI250, bf16": (362.1e12, 3_200e9, 2),
    "Google TPU v5e, bf16": (197e12, 819e9, 2),
    "Google TPU v5e, int8": (393e12, 819e9, 1),
}
machines = {"this machine, one thread, fp32": here, **CATALOGUE}


# %%
def pictures_a_second(machine, batch):
    """At the best, through one layer of 1,024 × 1,024 whose weights come from memory."""
    speed, bandwidth, each = machines[machine]
    moved = each * (WIDTH**2 + 2 * batch * WIDTH)
    return batch / max(2 * batch * WIDTH**2 / speed, moved / bandwidth)


base = "this machine, one thread, fp32"
times = {
    n: [pictures_a_second(n, b) / pictures_a_second(base, b) for b in (1, 512)] for n in machines
}
show.table(
    ["machine", "ridge (operations a byte)", "batch 1: times as fast", "batch 512: times as fast"],
    [[n, f"{machines[n][0] / machines[n][1]:,.0f}", f"{a:,.0f}", f"{b:,.0f}"]
     for n, (a, b) in times.items()],
    caption="What one dense layer could reach at best, by roofline; not measured",
)  # fmt: skip

# %%
claim(
    "at batch 1, the bytes decide on each catalogue machine, not the operations",
    all(2 * WIDTH**2 / p < each * WIDTH**2 / w for p, w, each in CATALOGUE.values()),
)

# %% [markdown]
# Compare the last two columns. At batch 1 only the bandwidth counts, and the bytes of a weight. Most of the arithmetic
# units are idle, and only batches can use them. Suppose the table says "100 times as fast" at the batch that your
# deadline allows. Then the machine can pay if it costs less than 100 times as much, and if you have enough requests to
# keep it busy. (Lesson 18b counts the cost of a million answers.) A small model such as `digits_cnn` gains less on any
# of them, since no faster arithmetic shortens the call.
#
# On a GPU, a time is easily measured wrongly. A call only hands the work over to the GPU, and returns. If you stop the
# clock then, you have timed the hand-over, not the work. In PyTorch:
#
# ```python
# torch.cuda.synchronize(); start = time.perf_counter()
# network(x)
# torch.cuda.synchronize(); seconds = time.perf_counter() - start   # without this line: the hand-over alone
# ```
#
# ## Is the GPU used at all?
#
# ONNX Runtime hands parts of a graph to *execution providers*, which are adapters to vendors' libraries. The build that
# you install decides which of them exist.
#
# | provider | needs |
# | --- | --- |
# | CUDA | an NVIDIA GPU, driver, CUDA, cuDNN; the package onnxruntime-gpu |
# | TensorRT | the same and TensorRT; builds an engine at the start |
# | OpenVINO | an Intel processor or GPU; the package onnxruntime-openvino |
# | CoreML | an Apple device; in the package for macOS |
# | DirectML | Windows with a DirectX 12 GPU; the package onnxruntime-directml |
# | QNN | a Qualcomm accelerator; the package onnxruntime-qnn |
# | XNNPACK | mostly phones; in the packages for Android and iOS |
# | CPU | nothing: it is always there |
#
# **Where this goes wrong: the GPU that was never used.** First we ask for a provider that is not there. Do you expect an
# error?

# %%
available = onnxruntime.get_available_providers()
candidates = ("TensorrtExecutionProvider", "QNNExecutionProvider", "CoreMLExecutionProvider")
absent = next(name for name in candidates if name not in available)
two_layers = dense_layers(2)
with warnings.catch_warnings(record=True) as heard:
    warnings.simplefilter("always")
    asked = session(two_layers, providers=[absent])
print(*[str(each.message)[:70] for each in heard], asked.get_providers(), sep="\n")

# %%
claim(
    "a missing provider is no error: there is a warning, and the session runs on the CPU",
    len(heard) > 0 and asked.get_providers() == ["CPUExecutionProvider"],
    f"asked for {absent}",
)

# %% [markdown]
# In a log of thousands of lines that warning is lost. Many people therefore check that `session.get_providers()`
# contains the one that they want. This check is too weak, since it lists what is *registered*, not what is *used*. A
# provider takes only the operators that it knows, and the rest falls back to the CPU without an error. The common
# builds show this without a GPU: their provider for Azure calls a remote service and takes none of our operators.

# %%
partial = "AzureExecutionProvider" if "AzureExecutionProvider" in available else available[0]
both = list(dict.fromkeys([partial, "CPUExecutionProvider"]))
mixed = session(two_layers, providers=both, record_ep_graph_assignment_info="1")
print("registered:", ", ".join(mixed.get_providers()))

# %%
placed = Counter()
for part in mixed.get_provider_graph_assignment_info():
    for node in part.get_nodes():
        placed[part.ep_name, node.op_type] += 1
show.table(
    ["provider", "operator", "count"],
    [[provider, kind, count] for (provider, kind), count in placed.items()],
    caption="Which provider computes which operator",
)

# %%
on_cpu = sum(count for (provider, _), count in placed.items() if provider.startswith("CPU"))
claim(
    "get_providers() names every provider that was asked for, and the assignment says where each "
    "operator runs",
    mixed.get_providers() == both and placed.total() > 0,
    f"{on_cpu} of {placed.total()} operators on the CPU",
)

# %% [markdown]
# The option `session.record_ep_graph_assignment_info` makes the session remember the assignment. (The profile of lesson
# 13 shows it too: each event has a `provider`.) If a fallback must not happen, forbid it:

# %%
try:
    session(two_layers, providers=both[:1], disable_cpu_ep_fallback="1")
    refusal = ""
except Exception as wrong:
    refusal = f"{type(wrong).__name__}: {wrong}"
print(refusal[:190])

# %%
claim(
    "with the fallback forbidden, the session is refused instead of running on the CPU",
    refusal != "" or placed.total() > on_cpu,
)

# %% [markdown]
# Set `session.disable_cpu_ep_fallback` in the service, and leave the CPU out of `providers`. (ONNX Runtime refuses the
# two together as a contradiction.) Or read the assignment when the service starts, and stop if an operator that matters
# was placed on the CPU. Some may be there, such as those that only compute shapes.
#
# One of the articles says that TensorRT prunes models and ONNX Runtime converts them. Both *run* models, and rewrite
# graphs in order to run them.
#
# ## What we measured

# %%
show.table(
    ["question", "answer here"],
    [
        ["one after another, p90", f"{load.percentile(single.latency_ms, 0.9):.2f} ms"],
        ["all at once, by 64", f"{64 * offline.throughput_per_s:,.0f} pictures a second"],
        ["one by one without a bound", f"{capacity:,.0f} a second"],
        ["computed: p99 within ten calls, M/M/1", f"{allowed[10] * capacity:,.0f} a second"],
    ],
    caption="How fast is it? Four questions, four answers",
)

# %% [markdown]
# ## What to remember
#
# - Report a rate only together with the percentile that it keeps, the load that was sent, and the number of requests.
# - With Poisson arrivals, waiting grows like $1/(1 - \rho)$. With exponential calls, a p99 of ten mean calls leaves a
#   single worker nearly half idle.
# - Large machines need batches. Check that the machine is used at all: read the assignment, or forbid the fallback.
#
# ## Where this breaks down
#
# The formulas assume Poisson arrivals, independent service times and a steady load. Real traffic comes in bursts and
# has a daily rhythm, and clients repeat what fails, which adds load when there is least room. Service times change with
# the load: caches are shared, clock rates fall, other programs compete. The line $\alpha + \beta b$ bends where a batch
# no longer fits into a cache. A roofline says what a machine could do, not what its kernels and drivers do.
#
# ## What real teams use
#
# For load: MLPerf's own LoadGen, Triton's Perf Analyzer, k6, wrk2 and Locust. Triton's Model Analyzer searches batch
# sizes, instances and queue delays. Teams plan capacity with a margin, and replay recorded traffic to test it. Servers
# for language models, such as vLLM, form a new batch at each generated token (lesson 26).
#
# ## Further reading
#
# - V. J. Reddi et al., *MLPerf Inference Benchmark*, ISCA 2020 (arXiv:1911.02549); the rules in force:
#   `inference_rules.adoc` in mlcommons/inference_policies.
# - M. Harchol-Balter, *Performance Modeling and Design of Computer Systems*, Cambridge University Press, 2013.
# - A. M. Law, *Simulation Modeling and Analysis*, 5th edition, McGraw-Hill, 2015: batch means.
# - J. D. C. Little, *A Proof for the Queuing Formula: L = λW*, Operations Research 9(3), 1961.
# - J. Fowers et al., *A Configurable Cloud-Scale DNN Processor for Real-Time AI*, ISCA 2018: weights kept on the chip.
# - ONNX Runtime's documentation: *Execution Providers*.
