# %% [markdown]
# # 13 Performance
#
# At 3 a.m. the service is too slow, and somebody has already ordered machines that do twice the operations a second.
# They will not help, because the processor waits for memory most of the time. The p99 on the dashboard looks fine,
# because it leaves out the time that requests spend in the queue.
#
# ## You will be able to
#
# - predict how long a layer takes on a machine that you have measured, and say what limits it;
# - measure a time that you can trust: after a warm-up, with its spread, counted from when the request was due;
# - read a profile, and say how much a change can gain at most;
# - choose an optimisation level and a number of threads by measuring them, within a container's limit.
#
# ## Before you start
#
# Lesson 01 measured a first latency. Lessons 04 and 06 train and export the digits network. All *times* on this page
# were taken on the machine that built it, and yours will differ. A sentence marked "observed" may come out otherwise on
# your machine. A sentence marked "claim" must hold there too.

# %%
import json
import math
import os
import time
from collections import Counter, defaultdict
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import onnx
import onnxruntime
from matplotlib.ticker import LogLocator, NullLocator
from onnx import helper, numpy_helper

from course_lib import data, measure, models, onnx_files
from course_lib.idioms import begin, claim, guess, ledger, observe, path, reveal, show
from course_lib.measure import load

scratch = begin("13")
path.picture(here="13")

# %% [markdown]
# ## How long should an answer take?
#
# One of the articles behind this course gives a formula, with an image model as the example:
#
# $$\text{inference time} = \frac{\text{number of operations}}{\text{speed of the hardware}} = \frac{10^8}{2 \times 10^9 \text{ per second}} = 50 \text{ ms}.$$
#
# It needs two numbers from two data sheets. Is it right? To find out, we take the three networks of lesson 10:
#
# - `digits_cnn`, the course's small model;
# - `wide`, five dense layers, four of them 1,024 × 1,024;
# - `small_resnet`, nine convolutions.
#
# A separate process exports the two large ones. When it ends, the memory that PyTorch took is free again. They stay
# untrained: we ask how long they take, not what they answer. The process also returns how many operations PyTorch
# counts in each.

# %%
EXPORT = f"""
import torch
from torch.utils.flop_counter import FlopCounterMode
from course_lib import torch_models
torch.set_num_threads(1)
result = {{}}
for make in (torch_models.wide, torch_models.small_resnet):
    torch.manual_seed(0)
    network, two = make().eval(), torch.zeros(2, 1, 32, 32)
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        network(two)
    result[make.__name__] = counter.get_total_flops()
    torch.onnx.export(
        network, (two,), {str(scratch)!r} + "/" + make.__name__ + ".onnx", verbose=False,
        input_names=["pixels"], output_names=["logits"], external_data=False,
        dynamic_shapes=({{0: torch.export.Dim.DYNAMIC}},),
    )
"""

# %%
files = {name: scratch / f"{name}.onnx" for name in ("digits_cnn", "wide", "small_resnet")}
if not files["small_resnet"].exists():
    by_torch = measure.fresh_process(EXPORT, timeout_s=600).result
    files["digits_cnn"].write_bytes(models.path("digits_cnn", 3).read_bytes())  # lesson 06's file
    for file in files.values():
        onnx_files.remove_notes(file)
_, test = data.digits()
pictures = {name: data.upscaled(test.images)[:, None] for name in files}  # (450, 1, 32, 32)
pictures["digits_cnn"] = test.images[:, None].copy()  # (450, 1, 8, 8)

# %% [markdown]
# Now count the operations. By convention a multiplication and an addition are two operations. They are called FLOPs,
# *floating-point operations*. FLOP/s, also written FLOPS, means operations *per second*. (Lesson 11 and some papers
# count both as one MAC, and report half as many.)
#
# - One output of a dense layer is a sum over $N_{in}$ products: $F = 2\,b\,N_{in} N_{out}$ for a batch of $b$.
# - One output of a convolution is a sum over $C_{in} k^2$ products, for a window of $k \times k$ points in $C_{in}$
#   channels. With $C_{out}$ output channels of $H \times W$ points, $F = 2\,b\,C_{out} H W\,C_{in} k^2$.
# - For every other operator we count one operation for each number that it writes. This is rough, but they do little
#   work.
#
# We also count the *bytes* that each operator reads and writes, 4 for each float32 number. Many people skip this count.
# It decides much of this lesson. `shapes_of` asks ONNX's *shape inference* how large each tensor is.


# %%
def shapes_of(file, batch):
    """Every tensor's shape, by name, and the graph's operators."""
    model = onnx.load(file)
    del model.graph.value_info[:]  # the exporter's own notes hold a symbol for the batch
    for end in (*model.graph.input, *model.graph.output):
        end.type.tensor_type.shape.dim[0].dim_value = batch
    graph = onnx.shape_inference.infer_shapes(model, data_prop=True, strict_mode=True).graph
    shapes = {each.name: tuple(each.dims) for each in graph.initializer}
    for each in (*graph.input, *graph.value_info, *graph.output):
        shapes[each.name] = tuple(d.dim_value for d in each.type.tensor_type.shape.dim)
    return shapes, list(graph.node)


# %%
def work(file, batch):
    """Of each operator: kind, FLOPs in products, FLOPs in all, bytes moved."""
    shapes, nodes = shapes_of(file, batch)
    numbers = {name: math.prod(shape) for name, shape in shapes.items()}
    rows = []
    for node in nodes:
        outputs = sum(numbers[name] for name in node.output)
        weights = shapes[node.input[1]] if len(node.input) > 1 else ()
        each = {"Gemm": weights[-1:], "Conv": weights[1:]}.get(node.op_type)
        products = 2 * outputs * math.prod(each) if each else 0
        if node.op_type in ("Reshape", "Flatten"):
            outputs, moved = 0, 0  # the same numbers, read as another shape
        else:
            moved = 4 * (outputs + sum(numbers[name] for name in node.input if name))
        rows.append((node.op_type, products, products + outputs, moved))
    return rows


# %% [markdown]
# For one picture, `wide` needs this:

# %%
show.table(
    ["operator", "FLOPs", "bytes moved", "FLOPs a byte"],
    [
        [kind, f"{flops:,}", f"{moved:,}", f"{flops / moved:.2f}" if moved else ""]
        for kind, _, flops, moved in work(files["wide"], 1)
    ],
    caption="The operators of wide, for one picture",
)

# %%
counted = {name: sum(row[1] for row in work(files[name], 2)) for name in by_torch}
claim(
    "our count of the products is PyTorch's own, operation for operation",
    counted == by_torch,
    ", ".join(f"{name} {count:,}" for name, count in counted.items()),
)

# %% [markdown]
# ## How fast is this machine?
#
# The "speed of the hardware" on a data sheet is a product: cores × clock × operations a cycle. We measure instead what
# a program can reach. ONNX Runtime, which will run our networks too, multiplies two large matrices. Such a product
# keeps the processor's arithmetic busy. The function `alone` wraps single operators as a model.


# %%
def session(model, threads=1, **settings):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    for name, value in settings.items():
        setattr(options, name, value)
    where = ["CPUExecutionProvider"]
    return onnxruntime.InferenceSession(model, options, providers=where)


# %%
def alone(nodes, weights, shape):
    """Operators, the first of which reads a float32 input of `shape`, as a model in bytes."""
    kind = onnx.TensorProto.FLOAT
    read = {name for node in nodes for name in node.input}
    given = [name for node in nodes for name in node.output if name not in read]
    ends = [helper.make_tensor_value_info(name, kind, None) for name in given]
    start = helper.make_tensor_value_info(nodes[0].input[0], kind, shape)
    graph = helper.make_graph(nodes, "alone", [start], ends, weights)
    versions = [helper.make_opsetid("", 20)]
    return helper.make_model(graph, opset_imports=versions, ir_version=10).SerializeToString()


# %%
def fastest_s(call, times=12):
    return measure.latencies_ms({"call": call}, rounds=times, warm_up=2)["call"].min() / 1000


random, side = np.random.default_rng(0), 512
square = random.normal(size=(side, side)).astype(np.float32)
product = helper.make_node("MatMul", ["x", "w"], ["y"])
multiply = session(alone([product], [numpy_helper.from_array(square, "w")], [side, side]))
peak = 2 * side**3 / fastest_s(lambda: multiply.run(None, {"x": square}), times=60)  # FLOP/s
print(f"{peak / 1e9:.0f} GFLOP/s with one thread")

# %% [markdown]
# Here we take the *best* of several runs on purpose. A limit is what the machine can do when nothing disturbs it.
#
# And how many bytes a second? Between the processor and its memory lie the *caches*, small fast memories that keep what
# was used last. So the answer depends on how much data there is. We read arrays of growing size, again and again.


# %%
def reading_speed(size):
    """Bytes a second, of `size` bytes that are read again and again by one thread."""
    numbers = np.ones(size // 4, np.float32)
    repeat = max(1, 4_000_000 // size)
    seconds = fastest_s(lambda: [numbers.max() for _ in range(repeat)])
    return size * repeat / seconds


# %%
sizes = 2 ** np.arange(15, 28)  # bytes: 32 KiB to 128 MiB
reading = np.array([reading_speed(int(size)) for size in sizes])
memory, caches = reading[-1], reading[:-4].max()


def bandwidth(size):
    """Bytes a second when `size` bytes are read again and again, between the sizes measured."""
    return float(np.exp(np.interp(np.log(size), np.log(sizes), np.log(reading))))


# %%
plt.semilogx(sizes, reading / 1e9, "o-", base=2)
shown = [f"{s // 2**10} KiB" if s < 2**20 else f"{s // 2**20} MiB" for s in sizes[::2].tolist()]
plt.xticks(sizes[::2], shown, fontsize="small")
plt.ylim(0)
plt.xlabel("bytes that are read again and again")
plt.ylabel("reading speed, one thread (GB/s)")
show.finding(
    f"What fits into the caches was read up to {caches / memory:.1f} times as fast as memory",
    alt=f"Reading speed by array size: at most {caches / 1e9:.0f} GB/s while the array fits into "
    f"the caches, {memory / 1e9:.0f} GB/s from memory at 128 MiB.",
)

# %% [markdown]
# The *bandwidth*, the bytes a second that can be moved, falls where the arrays outgrow a cache. (The left end says
# little about memory: those arrays are read in a microsecond or two, and each reading pays for a call from Python.)
#
# The last constant is the cost of a call. How long does ONNX Runtime take to do almost nothing, with 1 operator and
# with 21?


# %%
def relus(count):
    nodes = [helper.make_node("Relu", [f"x{i}"], [f"x{i + 1}"]) for i in range(count)]
    return session(alone(nodes, [], [1, 1]))


one_number = np.zeros((1, 1), np.float32)
chains = {n: relus(n) for n in (1, 21)}
calls = {n: lambda s=s: s.run(None, {"x0": one_number}) for n, s in chains.items()}
idle_ms = {n: np.median(each) for n, each in measure.latencies_ms(calls, rounds=300).items()}
call_ms, operator_ms = idle_ms[1], max(0, (idle_ms[21] - idle_ms[1]) / 20)
print(f"a call {1000 * call_ms:.1f} µs, each further operator {1000 * operator_ms:.2f} µs")

# %% [markdown]
# ## Is it the arithmetic or the memory?
#
# A layer has $F$ operations to do and $B$ bytes to move. At best, the machine does $P$ operations and moves $W$ bytes a
# second. Then
#
# $$t \ge \frac{F}{P}, \qquad t \ge \frac{B}{W}, \qquad\text{so}\qquad t \ge \max\left(\frac{F}{P}, \frac{B}{W}\right).$$
#
# The processor can do both at the same time, so the larger one counts, not the sum. This is the *roofline model*.
# Divide $F$ by $t$, and call $I = F/B$ the *intensity*, the operations for each byte:
#
# $$\frac{F}{t} \le \min(P,\; W \cdot I).$$
#
# Drawn over $I$, this is a slope and then a flat roof. They meet at the *ridge*, $I^* = P/W$. Left of the ridge a layer
# is *memory-bound*: it waits for bytes, and more FLOPS do nothing for it. Right of the ridge it is *compute-bound*.
# Only there does the article's formula give the bound that counts.
#
# Where does a dense layer lie? With $N \times M$ float32 weights and a batch of $b$,
#
# $$I = \frac{2\,b\,N M}{4\,(N M + b N + b M)} \;\longrightarrow\; \frac{b}{2} \quad\text{for}\quad N, M \gg b.$$
#
# Each weight of 4 bytes is read once, and takes part in $2b$ operations.

# %%
dense = [flops / moved for kind, flops, _, moved in work(files["wide"], 1) if kind == "Gemm"]
claim(
    "with one picture at a time, every dense layer of wide does half an operation a byte, or less",
    all(0.4 < each <= 0.5 for each in dense),
    ", ".join(f"{each:.3f}" for each in dense),
)
for where, speed in (("the caches", caches), ("memory", memory)):
    print(f"weights from {where}: the ridge is at {peak / speed:.1f} FLOPs a byte")

# %% [markdown]
# Now we test the roofline on one layer of 1,024 × 1,024, with batches from 1 to 64. Its weights take 4 MiB.

# %%
guess(
    "slower",
    "With one picture and weights in the cache, the layer takes how many times as long as the "
    "article's formula, F/P, predicts?",
    low=1,
    high=1000,
)

# %% [markdown]
# A benchmark calls the same layer again and again, so its weights may stay in a cache: they are *warm*. In a service
# with three models, or between two rare requests, the weights may have left the cache. Then they are *cold*. We measure
# both. The warm model is one layer. The cold model has 24 such layers, each with its own weights, 96 MiB together, and
# uses them in turn. We compare one call of the cold model with 24 calls of the warm one. (Each warm call also pays for
# the call itself, the few microseconds that we measured above.)

# %%
layer = random.normal(size=(1024, 1024)).astype(np.float32)
weights = [numpy_helper.from_array((i + 1) * layer, f"w{i}") for i in range(24)]
nodes = [helper.make_node("Gemm", ["x", f"w{i}"], [f"y{i}"], transB=1) for i in range(24)]
warm = session(alone(nodes[:1], weights[:1], ["n", 1024]))
cold = session(alone(nodes, weights, ["n", 1024]))
del weights

# %%
batches, taken_ms = np.array([1, 2, 4, 8, 16, 32, 64]), {"warm": [], "cold": []}
for b in batches.tolist():
    feed = {"x": random.normal(size=(b, 1024)).astype(np.float32)}
    calls = {
        "warm": lambda feed=feed: [warm.run(None, feed) for _ in range(24)],
        "cold": lambda feed=feed: cold.run(None, feed),
    }
    for warmth, each in measure.latencies_ms(calls, rounds=12, warm_up=2).items():
        taken_ms[warmth].append(each.min() / 24)


# %% [markdown]
# Again we keep the fastest round. In the same figure we draw what the arithmetic and the bytes predict.


# %%
def plain_ticks(axis):
    """Marks a logarithmic axis at 1, 2, 5, 10, 20, …, written out."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_locator(NullLocator())


# %%
flops, moved = 2 * batches * 2**20, 4 * (2**20 + 2 * batches * 2**10)
by_article = 1000 * flops / peak
by_bytes = {"warm": 1000 * moved / bandwidth(4 * 2**20), "cold": 1000 * moved / memory}
too_fast = taken_ms["warm"][0] / by_article[0]
reveal("slower", too_fast)

# %%
plt.loglog(batches, by_article, color=show.GREY, label="operations / speed")
for warmth, colour, mark in (("warm", show.BLUE, "o"), ("cold", show.ORANGE, "s")):
    plt.plot(batches, by_bytes[warmth], "--", color=colour, label=f"bytes / bandwidth, {warmth}")
    plt.plot(batches, taken_ms[warmth], mark, color=colour, label=f"measured, {warmth}")
plain_ticks(plt.gca().yaxis)
plt.xticks(batches, batches)
plt.gca().xaxis.set_minor_locator(NullLocator())
plt.ylim(top=10 * max(by_article.max(), *taken_ms["cold"]))  # room for the legend
plt.xlabel("batch (logarithmic)")
plt.ylabel("time of the layer (ms, logarithmic)")
plt.legend(fontsize="small", loc="upper left", ncols=2)
show.finding(
    f"With warm weights one picture takes {too_fast:.1f} times as long as operations / speed",
    alt="Time of a dense layer against the batch. Operations / speed is a rising line, bytes / "
    "bandwidth are two flat ones. Measured at batch 1: "
    f"{taken_ms['warm'][0]:.3f} ms warm and {taken_ms['cold'][0]:.3f} ms cold; at batch 64: "
    f"{taken_ms['warm'][-1]:.2f} and {taken_ms['cold'][-1]:.2f} ms.",
)

# %% [markdown]
# Read the figure from left to right. At first the measured times grow much more slowly than the batch: they follow the
# flat lines of the bytes, and further pictures cost little. Then they rise as the line of the operations does.

#
# Most points lie above their lines, because a kernel (lesson 10) rarely reaches the peak. (A point below its line
# means that the machine was slower while we measured its limits.) So the roofline is a bound, not a forecast. The
# article's formula is the same bound without the bytes. It is furthest from the truth where a service often works: at
# one request at a time.
#
# The same measurements make the picture that gave the roofline its name. The height of a point is the speed that the
# layer reaches. The roof above the point is the most that this machine allows.

# %%
speeds = {"warm": bandwidth(4 * 2**20), "cold": memory}
intensity, span = flops / moved, np.geomspace(0.3, 40, 100)
reached = {warmth: flops / np.array(each) / 1e6 for warmth, each in taken_ms.items()}  # GFLOP/s
share = {warmth: 100 * each[0] * 1e9 / peak for warmth, each in reached.items()}
for warmth, colour, mark in (("warm", show.BLUE, "o"), ("cold", show.ORANGE, "s")):
    roof = np.minimum(peak, speeds[warmth] * span) / 1e9
    plt.loglog(span, roof, color=colour, label=f"roof, {warmth} weights")
    plt.plot(intensity, reached[warmth], mark, color=colour, label=f"measured, {warmth}")
for b, at in zip(batches.tolist(), intensity):
    at_top = {"transform": plt.gca().get_xaxis_transform(), "ha": "center"}
    plt.text(at, 0.93, f"b={b}", fontsize="small", **at_top)
plt.ylim(reached["cold"].min() / 3, 2.5 * max(peak / 1e9, reached["warm"].max()))
plain_ticks(plt.gca().xaxis)
plain_ticks(plt.gca().yaxis)
plt.xlabel("intensity (operations a byte, logarithmic)")
plt.ylabel("GFLOP/s (logarithmic)")
plt.legend(loc="lower right", fontsize="small")
show.finding(
    f"At batch 1 the layer reaches {share['warm']:.0f} % of the peak with warm weights, "
    f"{share['cold']:.0f} % with cold ones",
    alt="Roofline of this machine with a slope for weights in the caches and one for weights in "
    f"memory, and a dense layer at batches 1 to 64. At batch 1 it reaches {share['warm']:.1f} % "
    f"of the peak warm and {share['cold']:.1f} % cold.",
)

# %%
colder = np.array(taken_ms["cold"]) / np.array(taken_ms["warm"])
observe(
    "cold weights make one picture slower, and 64 pictures less so",
    colder[0] > 1.2 and colder[-1] < colder[0],
    ", ".join(f"batch {b}: {each:.1f} times" for b, each in zip(batches, colder)),
    either=True,
)

# %% [markdown]
# **Where this goes wrong: a benchmark keeps its weights warm, and the service may not.** How much time cold weights
# cost depends on the memory, and on which other programs use it. Where one picture takes clearly longer with cold
# weights, it waits for memory. There, int8 can pay even if the processor multiplies no faster: each weight is one byte
# to fetch instead of four. A large language model that generates text for few users at a time is memory-bound too,
# since its weights fit into no cache. **Now do exercise 13.1**, which counts both sides for a convolution.
#
# ## How do you take a time that you can trust?
#
# The articles measure like this:
#
# ```python
# start_time = time.time()
# prediction = predict(image_data)
# end_time = time.time()
# print(f"Inference time: {end_time - start_time} seconds")
# ```
#
# This prints one number, the time of the first call, by a clock that may be set back. What does one number hide? We
# make 300 calls.

# %%
start = time.perf_counter()
served = session(files["small_resnet"])
loading_ms = 1000 * (time.perf_counter() - start)
picture = {"pixels": pictures["small_resnet"][:1]}
calls_ms = load.closed_loop(lambda _: served.run(None, picture), 300).latency_ms

# %%
named = {"median": 0.5, "p90": 0.9, "p99": 0.99, "slowest": 1}
found = [load.percentile(calls_ms, share) for share in named.values()]
show.table(
    ["loading", "first call", "fastest", *named],
    [[f"{each:.2f}" for each in (loading_ms, calls_ms[0], calls_ms.min(), *found)]],
    caption="300 calls of one model with one picture, in ms",
)

# %% [markdown]
# (*p90* is the time that 90 of 100 calls do not exceed. *p99* is the same for 99 of 100.) One call may take any of
# these times. So `measure.latencies_ms` does four things:
#
# - *Warm up*: leave the first calls out. They allocate memory and fill caches. Report them apart if a cold start
#   matters to you.
# - *Repeat, and give the spread*: a median with quartiles. One long disturbance moves the mean far, and the median
#   hardly.
# - *Take turns*: to compare two forms of a model, call them alternately, in random order. A machine is not equally fast
#   at all times.
# - *Use a clock that only goes forwards.* `time.time()` is the wall clock, and a time server may set it back.

# %%
wall, steady = time.get_clock_info("time"), time.get_clock_info("perf_counter")
claim(
    "the clock of time.time() may be set while you measure, that of perf_counter() may not",
    not wall.monotonic and steady.monotonic and not steady.adjustable,
    f"monotonic: {wall.monotonic} and {steady.monotonic}",
)

# %% [markdown]
# When you compare two times, give both with their unit, and the factor between them. Percentages are easily misread.
# From 100 ms to 50 ms is 50 % less time, but from 50 ms back to 100 ms is 100 % more. One of the articles gives 0.5 as
# a response time. That number is a ratio: 50 ms measured, divided by 100 ms allowed.
#
# ## Why does the dashboard show a millisecond while users wait for a second?
#
# A client sends a request, waits for the answer, and then sends the next one. That is a *closed loop*. Now and then the
# server stalls, for example while it collects garbage. The client waits, and notes *one* slow request. In the meantime
# hundreds of users would have sent theirs. Real users do not wait for each other. Their requests are an *open loop*.
#
# We simulate both, without a clock. A request is due every 10 ms, for a minute, and its work takes 1 ms. One request
# stalls for two seconds. The closed loop's client also sends every 10 ms, except while it waits for an answer.

# %%
guess(
    "waited",
    "6,000 requests, one stall of 2 s. How many users wait for more than 10 ms?",
    low=1,
    high=6000,
)

# %% [markdown]
# In the open loop a request that is due while the server is busy has to wait. Its latency counts from when it was *due*.
# With $s_i$ the work of request $i$,
#
# $$\text{done}_i = \max(\text{due}_i,\ \text{done}_{i-1}) + s_i, \qquad \text{latency}_i = \text{done}_i - \text{due}_i.$$

# %%
due = np.arange(6_000) * 0.010
service = np.full(6_000, 0.001)
service[2_000] = 2.0
done, previous = np.empty(6_000), 0.0
for i in range(6_000):
    previous = done[i] = max(due[i], previous) + service[i]

# %% [markdown]
# In the closed loop each latency is the work alone, and after the stall all requests are sent later.

# %%
open_ms, closed_ms = 1000 * (done - due), 1000 * service
sent = np.cumsum(np.maximum(service, 0.010)) - np.maximum(service, 0.010)
slow = int((open_ms > 10).sum())
reveal("waited", slow)

# %%
p99 = {"closed": load.percentile(closed_ms, 0.99), "open": load.percentile(open_ms, 0.99)}
claim(
    "the closed loop's p99 is 1 ms, and the open loop's is more than a second",
    p99["closed"] < 1.01 and p99["open"] > 1000,
    f"{p99['closed']:.0f} and {p99['open']:.0f} ms; {(closed_ms > 10).sum()} and {slow} requests "
    "took longer than 10 ms",
)

# %%
plt.plot(sent, closed_ms, "s", ms=6, color=show.BLUE, label="closed loop")
plt.plot(due, open_ms, ".", ms=4, color=show.ORANGE, label="open loop, from when it was due")
plt.xlim(18, 25)
plt.xlabel("time (s)")
plt.ylabel("latency (ms)")
plt.legend()
show.finding(
    f"One stall is {(closed_ms > 10).sum()} slow request in a closed loop, {slow} in an open one",
    alt="Latency over time around a stall of two seconds. The open loop shows a slope of "
    f"{slow} requests that waited, from two seconds down to one millisecond. The closed loop "
    "shows a single slow request, then a gap in which it sends nothing.",
)

# %% [markdown]
# Look at the gap between the blue squares after second 20. The closed loop sent nothing then. So exactly those requests
# that would have waited are missing from its measurement. This mistake is called *coordinated omission*. In the
# course's library, `load.simulate` is the loop above. `load.closed_loop` and `load.open_loop` send real requests.

# %%
claim(
    "the library's queue has the times of our loop",
    np.allclose(load.simulate(due, service).latency_ms, open_ms, atol=1e-6),
)

# %% [markdown]
# So measure a service with an open loop, and count from the schedule. **Now do exercise 13.2**: the same queue with
# several workers.
#
# ## Where does the time go inside the model?
#
# Lesson 10 compared forms of a model with ONNX Runtime's profiler. Here we read one profile closely. An event says
# which operator ran, when it began (`ts`), and how long it took (`dur`), in microseconds.

# %%
profiled = session(
    files["small_resnet"], enable_profiling=True, profile_file_prefix=str(scratch / "profile")
)
many = {"pixels": pictures["small_resnet"][:32]}
for _ in range(15):
    profiled.run(None, many)
events = json.loads(Path(profiled.end_profiling()).read_text(encoding="utf-8"))
one = next(e for e in events if e["name"].endswith("_kernel_time"))
print({key: one[key] for key in ("name", "ts", "dur")}, "…", one["args"]["op_name"])

# %%
by_node = defaultdict(list)
for e in events:
    if e["cat"] == "Node" and e["name"].endswith("_kernel_time"):
        by_node[int(e["args"]["node_index"]), e["args"]["op_name"]].append(e["dur"] / 1000)
node_ms = {key: np.median(each[3:]) for key, each in sorted(by_node.items())}  # three warm up
by_kind = Counter()
for (_, kind), each in node_ms.items():
    by_kind[kind] += each
in_nodes = by_kind.total()

# %% [markdown]
# In the figure, the number after an operator is its place in the graph's list, not its turn.

# %%
colours = [show.BLUE if kind == "Conv" else show.ORANGE for _, kind in node_ms]
plt.figure(figsize=(7, 4.2))
plt.barh([f"{kind} {i}" for i, kind in node_ms], list(node_ms.values()), color=colours)
plt.gca().invert_yaxis()
plt.xlabel("ms a call, 32 pictures (median)")
top, top_ms = by_kind.most_common(1)[0]
show.finding(
    f"{100 * top_ms / in_nodes:.0f} % of the operators' time goes into {top}",
    alt="Time of each operator of small_resnet: "
    + ", ".join(f"{kind} {each:.2f} ms" for (_, kind), each in node_ms.items()),
)

# %% [markdown]
# A list like this ends many discussions: an operator that takes 1 % of the time cannot save 2 %. *Amdahl's law* says it
# in general. If a share $f$ of the time becomes $k$ times as fast, the whole becomes $1/(1 - f + f/k)$ times as fast,
# and at most $1/(1-f)$.


# %%
def amdahl(share, times):
    """How many times as fast the whole becomes if a share of its time becomes `times` as fast."""
    return 1 / (1 - share + share / times)


for kind, times in (("Gemm", 1_000_000), ("Conv", 4)):
    gain = amdahl(by_kind[kind] / in_nodes, times)
    print(f"all {kind} operators {times:,} times as fast: the whole {gain:.3f} times")

# %% [markdown]
# ## What does the runtime do to the graph?
#
# The profile lists operators that are not in the file, and does not list all that are. ONNX Runtime rewrites the graph
# when it makes a session. You can choose among five levels, each of which includes those before it:
#
# - *disabled*: as in the file;
# - *basic*: constants are computed ahead, operators without effect are dropped, and the first *fusions* take place. A
#   fusion computes two operators in one;
# - *extended*: more fusions, into operators that only ONNX Runtime knows, such as a convolution that applies its ReLU
#   as it writes;
# - *layout*: the numbers are stored in an order that suits this processor's vector registers, and operators made for
#   this order fuse more;
# - *all*: everything that ONNX Runtime can do. It is the default.
#
# Which level do you expect to gain most?

# %%
LEVEL = onnxruntime.GraphOptimizationLevel
levels = {
    "disabled": LEVEL.ORT_DISABLE_ALL, "basic": LEVEL.ORT_ENABLE_BASIC,
    "extended": LEVEL.ORT_ENABLE_EXTENDED, "layout": LEVEL.ORT_ENABLE_LAYOUT,
    "all": LEVEL.ORT_ENABLE_ALL,
}  # fmt: skip
by_level, kinds = {}, {}
for said, level in levels.items():
    rewritten = scratch / f"{said}.onnx"
    by_level[said] = session(
        files["small_resnet"],
        graph_optimization_level=level,
        optimized_model_filepath=str(rewritten),
        log_severity_level=3,  # from "layout" on it warns that the file suits this machine alone
    )
    nodes = onnx.load(rewritten).graph.node
    kinds[said] = Counter(f"{node.domain} {node.op_type}".strip() for node in nodes)

# %%
calls = {said: lambda s=s: s.run(None, many) for said, s in by_level.items()}
level_ms = measure.latencies_ms(calls, rounds=15)
show.table(
    ["level", "operators", "ms for 32 pictures", "the most frequent ones"],
    [
        [said, found.total(), measure.spread(level_ms[said]),
         ", ".join(f"{n} {kind}" for kind, n in found.most_common(3))]
        for said, found in kinds.items()
    ],
    caption="small_resnet at each level, median and quartiles",
)  # fmt: skip

# %% [markdown]
# Do all levels compute the same?

# %%
answers = {said: s.run(None, many)[0] for said, s in by_level.items()}
size = abs(answers["disabled"]).max()
apart = max(abs(each - answers["disabled"]).max() / size for each in answers.values())
claim(
    "fusion leaves fewer operators, and no level moves a logit by more than a ten-thousandth of "
    "the largest",
    kinds["extended"].total() < kinds["disabled"].total() and apart < 1e-4,
    f"{kinds['disabled'].total()} operators, then {kinds['extended'].total()}; {apart:.1e} of "
    "the largest logit",
)

# %%
middle = {said: np.median(each) for said, each in level_ms.items()}
fused, arranged = middle["disabled"] / middle["extended"], middle["extended"] / middle["all"]
observe(
    "the steps after extended gain more than those up to it",
    arranged > max(fused, 1.05),
    f"up to extended {fused:.2f} times, from there to all {arranged:.2f} times as fast",
    either=True,
)

# %% [markdown]
# In the table, compare the operators of *extended* and *layout*. Where they differ, two things have changed at once:
# the order of the numbers, and the fusions that the new operators allow. Where the runtime knows no better order for a
# processor, the gain ends at *extended*. Leave the level at *all* unless a measurement says otherwise.
#
# A service that must start fast can keep the rewritten graph in a file. Then the runtime need not rewrite it at each
# start. We do this for the digits network at level *extended*, and enter the file into the ledger.

# %%
kept = scratch / "digits_extended.onnx"
session(
    files["digits_cnn"],
    graph_optimization_level=LEVEL.ORT_ENABLE_EXTENDED,
    optimized_model_filepath=str(kept),
)
digits = {"pixels": pictures["digits_cnn"]}
before, after = (session(file).run(None, digits)[0] for file in (files["digits_cnn"], kept))
same = measure.parity(before, after)

# %%
claim(
    "the rewritten file gives the same class for all 450 test pictures",
    same.agreement == 1,
    f"largest difference of a logit {same.max_abs_diff:.1e}",
)
ledger.record(
    "digits_cnn",
    "onnx extended",
    accuracy=float((after.argmax(axis=1) == test.labels).mean()),
    bytes=kept.stat().st_size,
    max_abs_diff=same.max_abs_diff,
)

# %% [markdown]
# **Where this goes wrong: the rewritten file is shipped.** Its name ends in `.onnx`, but a fused operator is not part
# of the ONNX standard. Another runtime, here ONNX's own reference implementation, cannot run it:

# %%
from onnx.reference import ReferenceEvaluator

domains = {node.domain or "ai.onnx" for node in onnx.load(kept).graph.node}
try:
    ReferenceEvaluator(str(kept)).run(None, {"pixels": pictures["digits_cnn"][:1]})
    refused = ""
except Exception as wrong:
    refused = f"{type(wrong).__name__}: {str(wrong).splitlines()[0][:90]}"
print(refused)

# %%
claim(
    "the rewritten file holds operators outside the standard, and the reference implementation "
    "refuses it",
    len(domains) > 1 and refused != "",
    ", ".join(sorted(domains)),
)

# %% [markdown]
# From level *layout* on, the file would also be tied to processors like this one. So ship the plain file, and let the
# runtime rewrite it where it runs. A rewritten file is a cache for the machine that made it.
#
# ## How many threads should I use?
#
# Several threads can share the work of one operator. ONNX Runtime calls them *intra-op* threads. If there are more
# threads than processors, the threads take turns.

# %%
guess(
    "eight",
    f"This machine has {os.cpu_count()} processors. 8 threads are how many times as fast as 1?",
    low=0.05,
    high=8,
)

# %% [markdown]
# For once we do not measure in turns. ONNX Runtime's idle threads stay awake for a while and wait for work, and those of
# one session would disturb the next.

# %%
thread_ms, one_ms = {}, {}
for count in (1, 2, 4, 8):
    s = session(files["small_resnet"], threads=count)
    calls = {"many": lambda s=s: s.run(None, many)}
    thread_ms[count] = measure.latencies_ms(calls, rounds=10, warm_up=2)["many"]
    calls = {"one": lambda s=s: s.run(None, picture)}
    one_ms[count] = measure.latencies_ms(calls, rounds=40)["one"]
    del s, calls

# %%
speedup = {t: np.median(thread_ms[1]) / np.median(each) for t, each in thread_ms.items()}
reveal("eight", speedup[8])
show.table(
    ["threads", "32 pictures (ms)", "one picture (ms)", "32 pictures: times as fast"],
    [
        [t, measure.spread(thread_ms[t]), measure.spread(one_ms[t]), f"{speedup[t]:.2f}"]
        for t in thread_ms
    ],
    caption="small_resnet, median and quartiles",
)

# %% [markdown]
# Look at the quartiles too. With more threads than processors, or with other programs on the machine, the times spread
# further. For throughput, start with one thread for each request, since it costs time to share an operator. More
# threads can shorten a single request. The table says whether they do here.
#
# How many processors are there? In a container four numbers play a part, and they may differ:
#
# - `os.cpu_count()` counts those of the machine.
# - The *affinity* counts those on which the operating system lets this process run.
# - The *quota* of the *control group* (cgroup) grants microseconds of processor time in each period. It is what
#   `docker run --cpus 2` and a Kubernetes CPU limit set. With a quota of 2 on a machine of 64, a process *sees* 64.
#   The limit stands in a file: `cat /sys/fs/cgroup/cpu.max` (cgroup version 2).
# - ONNX Runtime chooses its own number of threads if you name none: by its documentation, one for each physical core.
#   To see what it does, we start it in a process that we keep on one processor.

# %%
DEFAULT = f"""
import os, psutil, onnxruntime
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {{min(os.sched_getaffinity(0))}})
before = psutil.Process().num_threads()
session = onnxruntime.InferenceSession({str(files["wide"])!r}, providers=["CPUExecutionProvider"])
allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
result = [allowed, psutil.Process().num_threads() - before + 1]
"""
allowed, made = measure.fresh_process(DEFAULT).result

# %%
show.table(
    ["source", "processors"],
    [
        ["the machine has", os.cpu_count()],
        ["a process that we keep on one may use", allowed],
        ["threads that ONNX Runtime uses in it", made],
    ],
    caption="How many processors are there?",
)

# %%
observe(
    "kept on one processor, ONNX Runtime uses more threads than that",
    allowed == 1 < made,
    f"{made} threads on {allowed} processor(s)",
    either=True,
)

# %% [markdown]
# (On a machine of one core, or where a process cannot be kept on one processor, there is nothing to see.) On a machine
# of 64 cores that means 64 threads in a pod that was granted two processors. The quota is counted in periods, of 100 ms
# by default. When it is used up, the operating system stops all threads until the next period. That is *throttling*.
# With a quota of 2, 64 busy threads run for 2 × 100 / 64, about 3 ms, and stand still for the other 97 ms.
#
# A request that arrives in the pause waits for its end. So the p99 can come near the length of a period, however fast
# the model is. Set `intra_op_num_threads` from the limit in every container. **Now do exercise 13.3**, which reads the
# limit.
#
# ## What we measured
#
# For each network and batch we now know three lower bounds: what the calls cost, what the arithmetic needs, and what
# the bytes need. The bytes have two figures, one for data in the caches and one for data in memory.

# %%
workloads = [(name, batch) for name in files for batch in (1, 64)]
calls = {}
for name, batch in workloads:
    feed, s = {"pixels": pictures[name][:batch]}, session(files[name])
    calls[name, batch] = lambda s=s, feed=feed: s.run(None, feed)
network_ms = {each: ms.min() for each, ms in measure.latencies_ms(calls, rounds=15).items()}


# %%
def bounds_ms(name, batch):
    """Least times: of call and operators, of the arithmetic, of the bytes warm, and cold."""
    rows = work(files[name], batch)
    flops, moved = (sum(column) for column in list(zip(*rows))[2:])
    by_calls = call_ms + (len(rows) - 1) * operator_ms
    return by_calls, *(1000 * x for x in (flops / peak, moved / bandwidth(moved), moved / memory))


# %% [markdown]
# The largest of the bounds says what to try first. (For the bytes we take the warm figure. Numbers in brackets are
# lessons.)

# %%
REMEDY = {
    "calls": "batch, fuse, fewer and larger operators",
    "arithmetic": "int8 (10), a smaller network (12), threads, a GPU",
    "bytes": "batch, int8 weights (10), fewer neurons (11), bandwidth",
}
bounds = {each: bounds_ms(*each) for each in workloads}
limit = {each: list(REMEDY)[int(np.argmax(b[:3]))] for each, b in bounds.items()}
show.table(
    ["network, batch", "calls", "arithmetic", "bytes, warm to cold", "measured", "so try first"],
    [
        [f"{name}, {batch}", f"{c:.3f}", f"{a:.3f}", f"{w:.3f} to {m:.3f}",
         f"{network_ms[name, batch]:.3f}", REMEDY[limit[name, batch]]]
        for (name, batch), (c, a, w, m) in bounds.items()
    ],
    caption="Lower bounds and the fastest of 15 calls, in ms; remedies are for the largest bound",
)  # fmt: skip

# %%
observe(
    "the bytes are the largest bound of wide at batch 1, and the arithmetic at batch 64",
    limit["wide", 1] == "bytes" and limit["wide", 64] == "arithmetic",
    f"{limit['wide', 1]} and {limit['wide', 64]}",
    either=True,
)

# %% [markdown]
# If the table names another bound for `wide` on your machine, its caches or its arithmetic differ from ours. Where the
# measured time is far above all bounds, the bounds do not explain it. The weights may have been cold, the kernels may
# stay below the peak, or another program may have run. A profile tells more. Do not call the rest "overhead" before you
# have measured what the calls cost.

# %%
ledger.picture(
    "The rewritten graph has about the accuracy and the size of the file that it was made from",
    model="digits_cnn",
    also=[("digits_cnn", "onnx v3")],
)

# %% [markdown]
# ## What to remember
#
# - Time is at least the larger of operations over speed and bytes over bandwidth. Find out which before you buy or
#   optimise.
# - Count a latency from when the request was due, warm, with its spread.
# - Optimisation levels and threads can help and can hurt. Measure them on the machine that serves, within the
#   container's limit.
#
# ## Where this breaks down
#
# The roofline knows two limits. Real kernels have more: vector registers that are not full, several levels of cache,
# the translation of addresses, other programs on the machine. One thread read our arrays in order. Other patterns are
# slower. A machine with more than about 100 MiB of cache needs larger arrays. And a run of a second does not show how
# the machine behaves when it is hot, or at another hour.
#
# ## What real teams use
#
# For profiles: `perf`, Intel VTune and Advisor (which draws rooflines), NVIDIA Nsight, the PyTorch profiler, and
# Perfetto to view the JSON that ONNX Runtime writes. For load: wrk2, k6, Locust and Vegeta. Before you use one, find
# out whether it counts from the schedule. On Kubernetes, the static CPU policy can give a pod whole processors of its
# own. Some teams also test latency in continuous integration, against a budget with a tolerance.
#
# The next part puts the model behind an API.
#
# ## Further reading
#
# - S. Williams, A. Waterman, D. Patterson, *Roofline: An Insightful Visual Performance Model for Multicore
#   Architectures*, Communications of the ACM 52(4), 2009.
# - B. Schroeder, A. Wierman, M. Harchol-Balter, *Open Versus Closed: A Cautionary Tale*, NSDI 2006.
# - J. Dean, L. A. Barroso, *The Tail at Scale*, Communications of the ACM 56(2), 2013.
# - ONNX Runtime's documentation: *Graph Optimizations in ONNX Runtime* and *Thread management*.
# - N. P. Jouppi et al., *In-Datacenter Performance Analysis of a Tensor Processing Unit*, ISCA 2017.
