# %% [markdown]
# # 13 Performance
#
# At 3 a.m. the service is too slow, and somebody has already ordered machines with twice the FLOPS. They will be no
# faster: the processor was never the limit, and the p99 on the dashboard never counted the requests that had to wait.
#
# ## You will be able to
#
# - predict how long a layer takes on a machine that you have measured, and say what limits it;
# - measure a latency so that it means what it says: warm, with its spread, counted from when the request was due;
# - compute how many requests a p99 needs before it may be quoted;
# - read a profile, and choose optimisation level, threads, batch size and memory settings by measuring them;
# - say which hardware would help, and what it may cost at most.
#
# ## Before you start
#
# Lesson 01 measured a first latency. Lessons 04 and 06 train and export the digits network. Whatever here is a *time*
# was taken on the machine that built this page. Run it on yours: the sentences marked "observed" may come out
# otherwise, those marked "claim" may not.

# %%
import json
import math
import os
import time
import warnings
from collections import Counter, defaultdict
from pathlib import Path
from statistics import NormalDist

import matplotlib.pyplot as plt
import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper

from course_lib import data, measure, models, onnx_files
from course_lib.idioms import begin, claim, ledger, observe, path, show
from course_lib.measure import load

scratch = begin("13")
path.picture(here="13")

# %% [markdown]
# ## How long should an answer take?
#
# One of the articles that this course grew from gives a formula, and an example of an image model:
#
# $$\text{inference time} = \frac{\text{number of operations}}{\text{speed of the hardware}} = \frac{10^8}{2 \times 10^9 \text{ per second}} = 50 \text{ ms}.$$
#
# It is tempting: two numbers from two data sheets. Is it right? To find out we need networks, their operations, and
# the speed of this machine. Three networks:
#
# - `digits_cnn`, the course's model, tiny;
# - `wide`, five *dense* layers (each output is a weighted sum of all inputs), four of them 1,024 × 1,024;
# - `small_resnet`, nine *convolutions* (each output is a weighted sum of a small window).
#
# The two large ones are exported in a process of its own, which takes PyTorch's memory with it when it ends. They stay
# untrained: we ask how long they take, not what they say. The process also reports how many operations PyTorch counts,
# and whether it sees a GPU.

# %%
EXPORT = f"""
import torch
from torch.utils.flop_counter import FlopCounterMode
from course_lib import torch_models
torch.set_num_threads(1)
result = {{"gpu": torch.cuda.is_available()}}
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
by_torch = measure.fresh_process(EXPORT, timeout_s=600).result

# %%
files = {name: scratch / f"{name}.onnx" for name in ("digits_cnn", "wide", "small_resnet")}
files["digits_cnn"].write_bytes(models.path("digits_cnn", 3).read_bytes())  # lesson 06's file
for file in files.values():
    onnx_files.remove_notes(file)
_, test = data.digits()
pictures = {name: data.upscaled(test.images)[:, None] for name in files}  # (450, 1, 32, 32)
pictures["digits_cnn"] = test.images[:, None].copy()  # (450, 1, 8, 8)

# %% [markdown]
# Now the operations. An ONNX file lists its operators and the tensors between them; *shape inference* fills in how
# large each tensor is, for a batch of our choice. By convention a multiplication and an addition are two operations.
# They are called FLOPs, *floating-point operations*; FLOPS, or FLOP/s, are those *per second*. (Papers that count a
# multiply-add as one report half: look before you compare.)
#
# - One output of a dense layer is a sum over $N_{in}$ products: $F = 2\,b\,N_{in} N_{out}$ for a batch of $b$.
# - One output of a convolution is a sum over $C_{in} k^2$ products, and there are $b\,C_{out} H W$ outputs.
# - Everything else does about one operation for each number that it writes.
#
# We also count the *bytes* that each operator must read and write, at 4 bytes for a float32 number. Most people skip
# this column. It decides the rest of this lesson.


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


# %%
show.table(
    ["operator of wide, one picture", "FLOPs", "bytes moved", "FLOPs a byte"],
    [
        [kind, f"{flops:,}", f"{moved:,}", f"{flops / moved:.2f}" if moved else ""]
        for kind, _, flops, moved in work(files["wide"], 1)
    ],
)

# %%
counted = {name: sum(row[1] for row in work(files[name], 2)) for name in ("wide", "small_resnet")}
claim(
    "our count of the products is PyTorch's own, operation for operation",
    all(counted[name] == by_torch[name] for name in counted),
    ", ".join(f"{name} {count:,}" for name, count in counted.items()),
)

# %% [markdown]
# ## How fast is this machine?
#
# "Speed of the hardware" on a data sheet is a product: cores × clock × operations a cycle. We would rather have what a
# program can reach, and measure it with the friendliest work there is: a large matrix product, in the same library
# that will run our networks. `alone` wraps a single operator as a model; we will need it again.


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
    """Operators that all read one input, (float32, `shape`), as a model in bytes."""
    kind = onnx.TensorProto.FLOAT
    ends = [helper.make_tensor_value_info(node.output[0], kind, None) for node in nodes]
    start = helper.make_tensor_value_info(nodes[0].input[0], kind, shape)
    graph = helper.make_graph(nodes, "alone", [start], ends, weights)
    versions = [helper.make_opsetid("", 20)]
    return helper.make_model(graph, opset_imports=versions, ir_version=10).SerializeToString()


# %%
def fastest_s(call, times=8):
    return measure.latencies_ms({"call": call}, rounds=times, warm_up=2)["call"].min() / 1000


# %%
random = np.random.default_rng(0)
peak = {}  # FLOP/s


# %%
for threads in (1, 2):
    for n in (512, 1024):
        square = random.normal(size=(n, n)).astype(np.float32)
        product = helper.make_node("MatMul", ["x", "w"], ["y"])
        s = session(alone([product], [numpy_helper.from_array(square, "w")], [n, n]), threads)
        reached = 2 * n**3 / fastest_s(lambda: s.run(None, {"x": square}))  # noqa: B023
        peak[threads] = max(peak.get(threads, 0), reached)
print(", ".join(f"{t} thread(s): {each / 1e9:.0f} GFLOP/s" for t, each in peak.items()))

# %% [markdown]
# Here we take the *best* of several runs, on purpose: a limit is what the machine can do when nothing disturbs it.
# With two threads the figure doubles only where a second core is free (on a busy or shared machine it is not).
#
# So much for arithmetic. And the bytes? Between the processor and its memory lie the *caches*, small fast memories
# that keep what was used last. So "how many bytes a second" has no single answer; it depends on how much data there
# is. We read arrays of growing size, over and over.


# %%
def reading_speed(size):
    """Bytes a second, of `size` bytes that are read again and again by one thread."""
    numbers = np.ones(size // 4, np.float32)
    repeat = max(1, 4_000_000 // size)
    seconds = fastest_s(lambda: [numbers.max() for _ in range(repeat)], times=6)
    return size * repeat / seconds


# %%
def copying_speed(size):
    """Bytes a second, each byte counted twice: it is read and written."""
    numbers = np.ones(size // 4, np.float32)
    copy = np.empty_like(numbers)
    return 2 * size / fastest_s(lambda: np.copyto(copy, numbers))


# %%
sizes = 2 ** np.arange(15, 28)  # bytes: 32 KiB to 128 MiB
reading = np.array([reading_speed(int(size)) for size in sizes])
copying = copying_speed(2**27)


def bandwidth(size):
    """Bytes a second when `size` bytes are read again and again, between the sizes measured."""
    return float(np.exp(np.interp(np.log(size), np.log(sizes), np.log(reading))))


# %%
memory, caches = reading[-1], reading[:-4].max()

# %%
plt.semilogx(sizes, reading / 1e9, "o-", base=2)
plt.axhline(copying / 1e9, color=show.GREY, ls="--")
plt.text(sizes[6], copying / 1e9, "copying 128 MiB", va="bottom", ha="center", color=show.GREY)
shown = [f"{s // 2**10} KiB" if s < 2**20 else f"{s // 2**20} MiB" for s in sizes[::2].tolist()]
plt.xticks(sizes[::2], shown, fontsize="small")
plt.ylim(0)
plt.xlabel("bytes that are read again and again")
plt.ylabel("GB/s, one thread")
show.finding(
    f"What fits into the caches was read up to {caches / memory:.0f} times as fast as memory",
    alt=f"Reading speed by array size: at most {caches / 1e9:.0f} GB/s while the array fits into "
    "the caches, "
    f"{memory / 1e9:.0f} GB/s from memory at 128 MiB; copying 128 MiB moves {copying / 1e9:.0f} "
    "GB/s.",
)

# %%
observe(
    "memory is read at less than half of the caches' speed",
    memory < caches / 2,
    f"{memory / 1e9:.1f} and {caches / 1e9:.1f} GB/s",
)

# %% [markdown]
# Where the curve starts low, we likely time Python more than memory: the smallest arrays are read in a microsecond or
# two, and every reading is a call.
#
# The last constant is that call itself. What does ONNX Runtime take to do nothing?

# %%
nothing = session(alone([helper.make_node("Identity", ["x"], ["y"])], [], [1, 1]))
one = np.zeros((1, 1), np.float32)
idle = measure.latencies_ms({"nothing": lambda: nothing.run(None, {"x": one})}, rounds=400)
overhead = float(np.median(idle["nothing"])) / 1000
print(
    f"a call that computes nothing: {measure.spread(1000 * idle['nothing'])} µs, median "
    "(quartiles)"
)

# %% [markdown]
# ## Which of them decides?
#
# A layer has $F$ operations to do and $B$ bytes to move. With $P$ operations and $W$ bytes a second at the best,
#
# $$t \ge \frac{F}{P}, \qquad t \ge \frac{B}{W}, \qquad\text{so}\qquad t \ge \max\left(\frac{F}{P}, \frac{B}{W}\right).$$
#
# The processor does both at the same time, so the larger one counts, not the sum. Add the call, $t_0$, and we have a
# prediction. This is the *roofline model*. Its name comes from the picture: divide $F$ by $t$ and write $I = F/B$ for
# the *intensity*, operations a byte:
#
# $$\frac{F}{t} \le \min(P,\; W \cdot I).$$
#
# A slope, then a flat roof. They meet at the *ridge*, $I^* = P/W$. A layer left of it is *memory-bound*: more FLOPS do
# nothing for it. Only right of it the article's formula is the right one.
#
# Where does a dense layer lie? With $N \times M$ float32 weights and a batch of $b$,
#
# $$I = \frac{2\,b\,N M}{4\,(N M + b N + b M)} \;\longrightarrow\; \frac{b}{2} \quad\text{for}\quad N, M \gg b.$$
#
# Each weight is read once and used $b$ times. Before you go on: at which batch does a dense layer reach the ridge of
# this machine, read from memory? And from the caches?

# %%
ridge = {"memory": peak[1] / memory, "caches": peak[1] / caches}
for where, intensity in ridge.items():
    print(
        f"weights in {where}: ridge at {intensity:.1f} FLOPs a byte, "
        f"so at a batch of {math.ceil(2 * intensity)}"
    )
dense = [row for row in work(files["wide"], 1) if row[0] == "Gemm"]

# %%
intensities = [flops / moved for _, flops, _, moved in dense]
claim(
    "one picture at a time, every dense layer of wide does half an operation a byte, or less",
    all(0.4 < each <= 0.5 for each in intensities),
    ", ".join(f"{each:.3f}" for each in intensities),
)

# %% [markdown]
# Now the test. Each dense layer and each convolution becomes a model of its own. We predict its time, then take it.
# The layers of a network take turns, as they do inside it, so what must stay in the caches is all of their weights
# together: the bandwidth in the prediction is the one measured for as many bytes. (Each time includes one call. Inside
# a network, the layers share it.)


# %%
def layers(name, batch):
    """Of each operator with weights: a session of its own, its input, its FLOPs and bytes."""
    shapes, nodes = shapes_of(files[name], batch)
    weights = {each.name: each for each in onnx.load(files[name]).graph.initializer}
    for node, (_, _, flops, moved) in zip(nodes, work(files[name], batch)):
        if node.op_type in ("Gemm", "Conv"):
            own = [weights[each] for each in node.input[1:] if each]
            pixels = random.normal(size=shapes[node.input[0]]).astype(np.float32)
            yield session(alone([node], own, pixels.shape)), node.input[0], pixels, flops, moved


# %%
def roofline_s(flops, moved, bytes_per_s):
    return overhead + max(flops / peak[1], moved / bytes_per_s)


# %%
measured = []  # network, batch, article's prediction, roofline's, measured: all in seconds
for name, batch in (
    ("wide", 1),
    ("wide", 8),
    ("wide", 64),
    ("small_resnet", 1),
    ("small_resnet", 16),
):
    every = list(layers(name, batch))
    calls = {
        i: lambda s=s, at=at, x=x: s.run(None, {at: x}) for i, (s, at, x, _, _) in enumerate(every)
    }
    taken = measure.latencies_ms(calls, rounds=20, warm_up=3)
    in_use = sum(moved for *_, moved in every)
    for i, (*_, flops, moved) in enumerate(every):
        expected = roofline_s(flops, moved, bandwidth(in_use))
        seconds = np.percentile(taken[i], 25) / 1000  # a neighbour on the machine can only add
        measured.append((name, batch, flops / peak[1], expected, seconds))

# %%
header = ["layer", "batch", "article (ms)", "roofline (ms)", "measured (ms)", "off by", "off by"]
rows = [
    [1 + i % 5, b, *[f"{1e3 * each:.3f}" for each in (a, r, t)], f"{t / a:.1f}", f"{t / r:.1f}"]
    for i, (name, b, a, r, t) in enumerate(measured)
    if name == "wide"
]
show.table(header, rows, "wide; off by: measured over the article's, and over the roofline's")

# %%
figure, axes = plt.subplots(1, 2, figsize=(9, 4), sharex=True, sharey=True)
span = np.array([1e-4, 30])
for axis, column, said in zip(axes, (2, 3), ("operations / speed", "roofline")):
    for name, colour in (("wide", show.BLUE), ("small_resnet", show.ORANGE)):
        points = np.array(
            [[1e3 * row[column], 1e3 * row[4]] for row in measured if row[0] == name]
        )
        axis.loglog(*points.T, "o", color=colour, label=name, alpha=0.7)
    band = axis.fill_between(span, span / 2, span * 2, color=show.GREY, alpha=0.2, lw=0)
    band.set_label("within a factor of two")
    axis.set_xlabel(f"predicted by {said} (ms)")
axes[0].set_ylabel("measured (ms)")
axes[0].legend()
off = {name: [] for name in ("wide", "small_resnet")}  # by what factor, article and roofline
for name, _, *expected, seconds in measured:
    off[name].append([max(each / seconds, seconds / each) for each in expected])
off = {name: np.array(each) for name, each in off.items()}
near = {n: (each <= 2).sum(axis=0) for n, each in off.items()}  # article's, roofline's
show.finding(
    f"Within a factor of two: {near['wide'][1]} of wide's {len(off['wide'])} layers with the "
    "roofline, "
    f"{near['wide'][0]} with the article's formula",
    alt="Measured against predicted time of each layer, with a grey band of a factor of two. In "
    "the band lie "
    f"{near['wide'][0]} of wide's {len(off['wide'])} points with operations / speed and "
    f"{near['wide'][1]} with the "
    f"roofline; of small_resnet's {len(off['small_resnet'])}, {near['small_resnet'][0]} and "
    f"{near['small_resnet'][1]}.",
)

# %%
within = off["wide"][:, 1] <= 2
observe(
    "for four fifths of wide's layers, at every batch, the roofline is right within a factor of "
    "two or so",
    np.mean(off["wide"][:, 1] <= 2.2) >= 0.8,
    f"{within.sum()} of {len(within)} within 2; the worst is off by {off['wide'][:, 1].max():.1f}",
)

# %%
small = np.array([t / a for name, b, a, _, t in measured if name == "wide" and b == 1])
observe(
    "at batch 1 the article's formula promises every layer of wide more than twice too fast",
    small.min() > 2,
    f"{small.min():.1f} to {small.max():.0f} times too fast",
)

# %% [markdown]
# At batch 1 the formula of the article promises what no such layer can keep; at batch 64 the two agree for the four
# large layers, since those are then limited by arithmetic, and both are a little too optimistic: kernels stay below
# the peak.
#
# For the convolutions of `small_resnet` the two pictures differ less. Each of their weights is used for every point of
# the picture, so that bytes seldom decide; what keeps them above the line is likely their kernels.
#
# The outlier is the last layer, with its ten outputs. It is small, and still slow. A processor multiplies whole
# *vector registers* at once, 4, 8 or 16 numbers wide, and a kernel that is made for full ones has to fill them with
# something. If that is the cause, ten outputs should cost as much as sixteen, and the seventeenth should be dear. Do
# they?

# %%
pixels, calls = random.normal(size=(64, 1024)).astype(np.float32), {}
for count in (10, 16, 17, 32):
    own = numpy_helper.from_array(random.normal(size=(count, 1024)).astype(np.float32), "w")
    node = helper.make_node("Gemm", ["x", "w"], ["y"], transB=1)
    s = session(alone([node], [own], [64, 1024]))
    calls[count] = lambda s=s: s.run(None, {"x": pixels})
taken = measure.latencies_ms(calls, rounds=80)
by_outputs = {count: 1000 * each.min() for count, each in taken.items()}

# %%
observe(
    "the seventeenth output costs more than the six before it together",
    by_outputs[17] - by_outputs[16] > by_outputs[16] - by_outputs[10],
    ", ".join(f"{count} outputs: {each:.0f} µs" for count, each in by_outputs.items()),
    either=True,
)

# %% [markdown]
# A step at seventeen speaks for registers that must be full. Where there is none, or where ten outputs are cheaper than
# sixteen all the same, the registers are not the whole of it.
#
# The roofline, then, is no law for each kernel. It is what the machine *could* do, a bound that is often close. The
# article's formula is the same bound without the bytes and without the call, and it is off most where serving happens:
# one small request at a time.
#
# **Where this goes wrong: a benchmark that keeps its weights warm.** We called the layers again and again. In a
# service with three models, or between two rare requests, the weights have left the caches. What does the same layer
# cost then? We give one model 24 such layers with weights of their own, 96 MiB, which it uses in turn; against it
# stand 24 calls in a row of a model with one. (Of their own, since a runtime may notice equal copies and keep one.)
# Predict the factor before you look: the two bandwidths are a few cells above.

# %%
layer = {"transB": 1}
weights = random.normal(size=(1024, 1024)).astype(np.float32)
bias = numpy_helper.from_array(np.zeros(1024, np.float32), "b")
nodes = [helper.make_node("Gemm", ["x", f"w{i}", "b"], [f"y{i}"], **layer) for i in range(24)]
copies = [numpy_helper.from_array((i + 1) * weights, f"w{i}") for i in range(24)]
warm = session(alone(nodes[:1], [*copies[:1], bias], ["n", 1024]))
cold = session(alone(nodes, [*copies, bias], ["n", 1024]))
del copies, weights

# %%
batches, by_warmth = (1, 2, 4, 8, 16, 64), {"warm": [], "cold": []}
for b in batches:
    feed = {"x": random.normal(size=(b, 1024)).astype(np.float32)}
    calls = {
        "warm": lambda feed=feed: [warm.run(None, feed) for _ in range(24)],
        "cold": lambda feed=feed: cold.run(None, feed),
    }
    for warmth, taken in measure.latencies_ms(calls, rounds=8, warm_up=2).items():
        by_warmth[warmth].append(np.median(taken) / 24)

# %%
flops, moved = np.array([(2 * b * 2**20, 4 * (2**20 + 2 * b * 2**10)) for b in batches]).T
roof = np.geomspace(0.2, 200, 100)
slopes = {"caches": (bandwidth(4e6), show.BLUE), "memory": (memory, show.ORANGE)}
for where, (speed, colour) in slopes.items():
    limit = np.minimum(peak[1], speed * roof) / 1e9
    plt.loglog(roof, limit, color=colour, label=f"roof, weights in {where}")
for warmth, colour, mark in (("warm", show.BLUE, "o"), ("cold", show.ORANGE, "s")):
    speed = flops / np.array(by_warmth[warmth]) / 1e6
    plt.plot(flops / moved, speed, mark, color=colour, label=f"measured, {warmth}")
for b, at in zip(batches, flops / moved):
    plt.text(at, 1.2 * peak[1] / 1e9, f"b={b}", ha="center", fontsize="small")
plt.xlabel("intensity (operations a byte)")
plt.ylabel("GFLOP/s")
plt.ylim(top=2 * peak[1] / 1e9)
plt.legend(loc="lower right", fontsize="small")
colder = np.array(by_warmth["cold"]) / np.array(by_warmth["warm"])
show.finding(
    f"Weights from memory: batch 1 takes {colder[0]:.1f} times as long, batch 64 "
    f"{colder[-1]:.1f} times",
    alt="Roofline of this machine with two slopes, for weights in the caches and in memory, and "
    "a dense layer at batches from 1 to 64. "
    f"At batch 1 it reaches {flops[0] / by_warmth['warm'][0] / 1e6:.0f} GFLOP/s warm and "
    f"{flops[0] / by_warmth['cold'][0] / 1e6:.0f} cold, at batch 64 "
    f"{flops[-1] / by_warmth['warm'][-1] / 1e6:.0f} and "
    f"{flops[-1] / by_warmth['cold'][-1] / 1e6:.0f}.",
)

# %%
observe(
    "cold weights cost one picture more than twice its time, and 64 pictures much less than that",
    colder[0] > 2 and colder[-1] < 0.75 * colder[0],
    ", ".join(f"batch {b}: {each:.1f} times" for b, each in zip(batches, colder)),
    either=True,
)

# %% [markdown]
# How much colder weights cost depends on how fast the memory is beside the processor, and on who else uses both. Where
# one picture takes clearly longer with cold weights, it waits for memory. There int8 can pay even where the processor
# multiplies no faster: a memory-bound layer with weights of one byte has a quarter of the bytes to fetch. A large
# language model, whose weights fit in no cache, lives on that slope.
#
# Move the batch: where does it stop paying?


# %%
def roofline_picture(batch):
    """The roof of this machine, and one dense layer at this batch: what it could reach."""
    at = 2 * batch * 2**20 / (4 * (2**20 + 2 * batch * 2**10))
    could = min(peak[1], memory * at)
    plt.figure(figsize=(6, 3))
    plt.loglog(roof, np.minimum(peak[1], memory * roof) / 1e9, color=show.ORANGE)
    plt.plot(at, could / 1e9, "s", color=show.BLUE, ms=10)
    plt.xlabel("intensity (operations a byte)")
    plt.ylabel("GFLOP/s")
    bound = "memory-bound" if could < peak[1] else "compute-bound"
    each = 1e6 * 2 * 2**20 / could
    share = f"{could / peak[1]:.0%} of the peak"
    return f"batch {batch}: {bound}, {each:.0f} µs a picture at the best, {share}"


# %%
import io

import ipywidgets

knob = ipywidgets.IntSlider(value=4, min=1, max=64, description="batch")
drawn = ipywidgets.Image(format="png")


def redraw(change=None):
    plt.title(roofline_picture(knob.value))
    buffer = io.BytesIO()
    plt.savefig(buffer, format="png", bbox_inches="tight", facecolor="white")
    plt.close()
    drawn.value = buffer.getvalue()


knob.observe(redraw, "value")
redraw()
ipywidgets.VBox([knob, drawn])

# %%
said = roofline_picture(4)
show.finding(
    f"A dense layer from memory, {said}",
    alt="The slider's first picture: the roof with weights from memory, and the layer on it. "
    f"{said}.",
)

# %% [markdown]
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
# One number, of the first call, by a clock that may be set. Here is what it hides: the same model, 300 calls from the
# first on.

# %%
start = time.perf_counter()
served = session(files["small_resnet"])
loading_ms = 1000 * (time.perf_counter() - start)
picture = {"pixels": pictures["small_resnet"][:1]}
first = load.closed_loop(lambda _: served.run(None, picture), 300).latency_ms

# %%
plt.semilogy(np.arange(1, 301), first, ".", ms=4)
plt.plot(1, first[0], "o", color=show.ORANGE, label="the first call")
plt.axhline(np.median(first), color=show.GREY, lw=1, label="median")
ticks = [0.05, 0.1, 0.2, 0.3, 0.5, 1, 2, 5, 10, 20]
plt.yticks(ticks, ticks)
plt.minorticks_off()
plt.ylim(first.min() / 1.3, 1.3 * first.max())
plt.legend()
plt.xlabel("call")
plt.ylabel("time (ms, logarithmic)")
show.finding(
    f"One call may take anything from {first.min():.2f} to {first.max():.2f} ms; the median is "
    f"{np.median(first):.2f} ms",
    alt=f"The times of 300 calls. The first took {first[0]:.2f} ms, the median "
    f"{np.median(first):.2f} ms, the slowest {first.max():.2f} ms.",
)

# %%
observe(
    "the first call takes longer than the typical one, and loading the model longer than either",
    loading_ms > first[0] > np.median(first),
    f"loading {loading_ms:.1f} ms, first call {first[0]:.2f} ms, median {np.median(first):.2f} ms",
)

# %% [markdown]
# What to do about it, and what `measure.latencies_ms` does:
#
# - *Warm up*: leave the first calls out. They allocate memory and fill caches. (Report them apart, if a cold start
#   matters to you.)
# - *Repeat, and give the spread*: a median with quartiles. The mean follows the worst disturbance.
# - *Take turns*: compare two forms call by call, in random order. The machine of the second minute is not that of the
#   first.
# - *Use a clock that only goes forwards.* `time.time()` is the wall clock, and a time server may set it back.

# %%
wall, steady = time.get_clock_info("time"), time.get_clock_info("perf_counter")
claim(
    "the clock of time.time() may be set while you measure, that of perf_counter() may not",
    not wall.monotonic and steady.monotonic and not steady.adjustable,
    f"monotonic: {wall.monotonic} and {steady.monotonic}",
)

# %% [markdown]
# The articles also call a "response time" of 0.5 what is a time divided by an objective: 50 ms of 100 ms. That is a
# ratio, and it has no unit. And they call *effect* the relative change: −50 % of time. Two such figures cannot be
# added, nor undone by their opposites:

# %%
halved = 100 * (1 - 0.5)
back = halved * (1 + 0.5)
claim(
    "50 % off, then 50 % on, does not lead back",
    back == 75,
    f"100 ms → {halved:.0f} ms → {back:.0f} ms",
)

# %% [markdown]
# Say the factor ("twice as fast"), and say both times with their unit.
#
# ## How many requests make a p99?
#
# The *p99* is the time that 99 of 100 requests stay below. A dashboard computes one from any number of requests. From
# how many may you believe it? Take 100 requests whose true p99 we know, ten thousand times. (Times that are
# exponential have their p99 at $\ln 100$ means.)

# %%
draws = np.sort(np.random.default_rng(0).exponential(1.0, (10_000, 100)), axis=1)
quoted = draws[:, 98] / np.log(100)  # the 99th of 100, over the true p99
low, high = np.percentile(quoted, [5, 95])
claim(
    "from 100 requests, one quoted p99 in ten is off by more than a quarter",
    np.mean(abs(quoted - 1) > 0.25) > 0.1,
    f"90 % of them lie between {low:.2f} and {high:.2f} of the truth",
)

# %% [markdown]
# The benchmark *MLPerf Inference* asks the question the other way round. Fix a bound $T$. Each of $n$ requests is
# below it with probability $p$, each for itself, so the number that are is *binomial*, and the share $\hat p$ that are
# has
#
# $$\operatorname{mean}(\hat p) = p, \qquad \operatorname{sd}(\hat p) = \sqrt{p(1-p)/n}.$$
#
# For large $n$ it is near to a normal distribution, so it lies within $m$ of $p$ with confidence $C$ if
#
# $$z \sqrt{\frac{p(1-p)}{n}} \le m, \qquad z = \Phi^{-1}\!\left(\frac{1 + C}{2}\right), \qquad\text{hence}\qquad n = \frac{z^2\, p (1 - p)}{m^2}.$$
#
# What margin $m$? Half a percent is much for a p99 and little for a median. MLPerf takes a twentieth of what is left
# above $p$: $m = (1 - p)/20$. Then $n = 400\, z^2\, p/(1-p)$. With $C$ = 99 %:


# %%
def queries_needed(share, confidence=0.99):
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    margin = (1 - share) / 20
    return z**2 * share * (1 - share) / margin**2


# %%
needed = {share: queries_needed(share) for share in (0.90, 0.95, 0.99)}
rounded_up = {share: math.ceil(count / 2**13) * 2**13 for share, count in needed.items()}
show.table(
    ["percentile", "queries", "up to a multiple of 2¹³"],
    [[f"p{100 * s:.0f}", f"{n:,.2f}", f"{rounded_up[s]:,}"] for s, n in needed.items()],
)

# %%
claim(
    "rounded, these are the query counts of MLPerf's paper (table IV), and so are the multiples "
    "that it asks for",
    [round(count) for count in needed.values()] == [23_886, 50_425, 262_742]
    and list(rounded_up.values()) == [24_576, 57_344, 270_336],
    ", ".join(f"p{100 * share:.0f}: {count:,.0f}" for share, count in needed.items()),
)

# %% [markdown]
# Derived from an approximation; does it hold? Twenty thousand benchmarks of that size each:

# %%
runs = np.random.default_rng(0)
inside = {}
for share, count in needed.items():
    count = round(count)
    below = runs.binomial(count, share, 20_000) / count
    inside[share] = np.mean(abs(below - share) <= (1 - share) / 20)


# %%
claim(
    "with so many queries the share lies within the margin in 99 % of the benchmarks",
    all(abs(each - 0.99) < 0.003 for each in inside.values()),
    ", ".join(f"p{100 * share:.0f}: {each:.2%}" for share, each in inside.items()),
)

# %% [markdown]
# Two things to keep in mind. The derivation needs requests that do not influence each other; in a queue they do, and a
# stall hits hundreds at once, so that real data are worth less than their number. And without a quarter of a million
# requests you can still be honest: quote an interval. The same normal distribution says between which *ranks* of the
# sorted times the true p99 lies.


# %%
def p99_interval(times, confidence=0.95):
    z, n = NormalDist().inv_cdf((1 + confidence) / 2), len(times)
    reach = z * math.sqrt(n * 0.99 * 0.01)
    ranks = np.clip([math.floor(0.99 * n - reach), math.ceil(0.99 * n + reach)], 1, n)
    return tuple(np.sort(times)[ranks - 1])


# %%
rows = np.random.default_rng(1).exponential(1.0, (2_000, 2_000))
intervals = np.array([p99_interval(row) for row in rows])
covered = np.mean((intervals[:, 0] <= np.log(100)) & (np.log(100) <= intervals[:, 1]))
claim(
    "a 95 % interval from 2,000 times holds the true p99 in about 95 % of the cases",
    abs(covered - 0.95) < 0.025,
    f"{covered:.1%}",
)

# %% [markdown]
# ## Why does the dashboard show a millisecond while users wait for a second?
#
# A client sends a request, waits for the answer, then sends the next one. That is a *closed loop*. Once in a while the
# server stalls, for a collection of garbage, say. The client waits, and notes *one* slow request. But in the meantime
# a hundred other users would have come, and did not, because our client was polite. Real users do not wait for each
# other: theirs is an *open loop*. To leave out just those that would have waited is called *coordinated omission*.
#
# First without a clock. A request every 10 ms for a minute, 1 ms of work each, and one stall of two seconds. In the
# open loop a request that is due while the server is busy waits, and its time counts from when it was *due*:
#
# $$\text{done}_i = \max(\text{due}_i,\ \text{done}_{i-1}) + s_i, \qquad \text{latency}_i = \text{done}_i - \text{due}_i.$$

# %%
due = np.arange(6_000) * 0.010
service = np.full(6_000, 0.001)
service[2_000] = 2.0
done, previous = np.empty(6_000), 0.0
for i in range(6_000):
    previous = done[i] = max(due[i], previous) + service[i]
open_ms, closed_ms = 1000 * (done - due), 1000 * service

# %%
p99 = {"closed": load.percentile(closed_ms, 0.99), "open": load.percentile(open_ms, 0.99)}
claim(
    "one stall of 2 s in a minute: the closed loop's p99 is 1 ms, the open loop's more than a "
    "second",
    p99["closed"] < 1.01 and p99["open"] > 1000,
    f"{p99['closed']:.0f} and {p99['open']:.0f} ms; slow by more than 10 ms: "
    f"{np.sum(closed_ms > 10)} and {np.sum(open_ms > 10)}",
)

# %%
plt.plot(due, closed_ms, "s", ms=6, color=show.BLUE, label="closed loop")
plt.plot(due, open_ms, ".", ms=4, color=show.ORANGE, label="open loop, from when it was due")
plt.xlim(18, 25)
plt.xlabel("time (s)")
plt.ylabel("latency (ms)")
plt.legend()
show.finding(
    f"The same stall is {np.sum(closed_ms > 10)} slow request or {np.sum(open_ms > 10)}, "
    "depending on who counts",
    alt="Latency over time around a stall of two seconds. The open loop shows a slope of "
    f"{np.sum(open_ms > 10)} requests that waited, "
    "from two seconds down to one millisecond; the closed loop shows a single point.",
)

# %% [markdown]
# `course_lib/measure/load.py` holds the same in a form that later lessons use: `simulate` is the loop above, `closed_loop` and
# `open_loop` make real calls, with several workers if asked. Is it the same computation?

# %%
simulated = load.simulate(due, service)
claim(
    "the library's queue has the times of our loop",
    np.allclose(simulated.latency_ms, open_ms, atol=1e-6),
    f"largest difference {abs(simulated.latency_ms - open_ms).max():.1e} ms",
)


# %%
def stalls_once(number):
    if number == 60:
        time.sleep(0.3)
    served.run(None, picture)


# %%
real = {
    "closed": load.closed_loop(stalls_once, 200),
    "open": load.open_loop(stalls_once, np.arange(200) * 0.005),
}
real_p99 = {name: load.percentile(outcome.latency_ms, 0.99) for name, outcome in real.items()}

# %%
observe(
    "on a real model with one real stall of 0.3 s, the closed loop's p99 does not see it and the "
    "open loop's does",
    real_p99["closed"] < 50 < real_p99["open"],
    f"{real_p99['closed']:.1f} and {real_p99['open']:.0f} ms",
)

# %% [markdown]
# ## Which load should a benchmark send?
#
# MLPerf sends four, since four kinds of customers ask. Each is a line or two over our load generator:
#
# | scenario | stands for | sends | quotes |
# | --- | --- | --- | --- |
# | SingleStream | one camera | the next picture after each answer | p90 of the latency |
# | MultiStream | a car with eight cameras | eight pictures after each answer | p99 of the latency |
# | Server | many users | pictures at random times, as they come | the rate at which p99 keeps a bound |
# | Offline | a night's archive | everything at once | pictures a second |
#
# "At random times" means that users do not agree with each other: in each short moment $dt$ a request arrives with
# probability $\lambda\,dt$, whatever came before. Such arrivals are a *Poisson process*. The chance that nothing
# arrives for a time $t$ is $(1 - \lambda\,dt)^{t/dt} \to e^{-\lambda t}$, so the gaps are *exponential*, with mean
# $1/\lambda$ and variance $1/\lambda^2$. Is our generator's schedule one? The *Kolmogorov–Smirnov test* compares two
# curves: which share of our gaps is shorter than $t$, and which share should be, $1 - e^{-\lambda t}$.

# %%
from scipy import optimize, stats

gaps = np.diff(load.poisson_arrivals(200, 50_000, seed=13), prepend=0)
fits = stats.kstest(gaps, stats.expon(scale=1 / 200).cdf)


# %%
claim(
    "200 a second: the gaps have the exponential distribution's mean, variance, and shape",
    abs(200 * gaps.mean() - 1) < 0.02
    and abs(200**2 * gaps.var() - 1) < 0.05
    and fits.pvalue > 0.01,
    f"mean {1e3 * gaps.mean():.3f} ms, variance {1e6 * gaps.var():.2f} ms², largest gap between "
    f"the curves {fits.statistic:.4f}",
)

# %%
per_second = np.bincount(np.floor(np.cumsum(gaps)).astype(int))[:-1]
even = stats.kstest(np.full(50_000, 1 / 200), stats.expon(scale=1 / 200).cdf)


# %%
claim(
    "the counts of each second have variance and mean alike, as Poisson's have; an even schedule "
    "fails the same test",
    abs(per_second.var() / per_second.mean() - 1) < 0.35 and even.pvalue < 1e-6,
    f"mean {per_second.mean():.1f}, variance {per_second.var():.1f}; even: {even.statistic:.2f} "
    "apart",
)

# %% [markdown]
# Now the four, on `wide`, one thread, one worker. A real benchmark runs a minute or more; ours run a second or two and
# say so.

# %%
wide = session(files["wide"])
x = pictures["wide"]


def answer(count):
    return lambda number: wide.run(None, {"pixels": x[number % 400 : number % 400 + count]})


# %%
def capacity(service_ms):
    return 1000 / service_ms.mean()  # requests a second that one worker can do


# %%
single = load.closed_loop(answer(1), 1500)
multi = load.closed_loop(answer(8), 300)
offline = load.open_loop(
    lambda i: wide.run(None, {"pixels": x[64 * i : 64 * i + 64]}), np.zeros(7)
)

# %%
rate = 0.5 * capacity(single.service_ms)
server = load.open_loop(answer(1), load.poisson_arrivals(rate, int(1.5 * rate), seed=0))


# %%
show.table(
    ["scenario", "queries", "quoted"],
    [
        ["SingleStream", 1500, f"p90 {load.percentile(single.latency_ms, 0.9):.2f} ms"],
        [
            "MultiStream",
            300,
            f"p99 {load.percentile(multi.latency_ms, 0.99):.2f} ms for eight pictures",
        ],
        [
            "Server",
            len(server.due_s),
            f"p99 {load.percentile(server.latency_ms, 0.99):.2f} ms at {rate:,.0f} a second",
        ],
        ["Offline", 7, f"{64 * offline.throughput_per_s:,.0f} pictures a second, by 64"],
    ],
    caption="wide here, in runs far shorter than MLPerf's",
)

# %%
waiting_ms = 1000 * (server.started_s - server.due_s)
observe(
    "at half load a request waits, on average, for a quarter of a call's time or more before its "
    "call begins",
    waiting_ms.mean() > 0.25 * server.service_ms.mean(),
    f"waits {waiting_ms.mean():.2f} ms for calls of {server.service_ms.mean():.2f} ms",
)

# %%
low, high = p99_interval(server.latency_ms)
print(
    f"and the p99 of so short a run is somewhere between {low:.2f} and {high:.2f} ms (95 % "
    "interval)"
)

# %% [markdown]
# Why waiting, at half load? Because users do not come evenly: two within one service time, and the second waits.
# Queueing theory has the mean. With rate $\lambda$, service time $S$ and *utilisation* $\rho = \lambda
# \operatorname{E}[S] < 1$, one worker and Poisson arrivals (Pollaczek and Khinchine, 1930):
#
# $$\operatorname{E}[\text{latency}] = \operatorname{E}[S] + \frac{\lambda \operatorname{E}[S^2]}{2 (1 - \rho)}.$$
#
# The second moment says: a few slow calls hurt more than the mean shows. The $1 - \rho$ below says: the last bit of
# utilisation is the dearest. For exponential $S$ with mean $1/\mu$ the formula becomes $1/(\mu - \lambda)$. First the
# theory against the simulated queue, then the measured service times against real requests.


# %%
def mean_latency(rate, service):
    busy = rate * service.mean()
    return service.mean() + rate * (service**2).mean() / (2 * (1 - busy))


# %%
exponential = np.random.default_rng(1).exponential(0.01, 400_000)  # μ = 100 a second
simulated = (
    load.simulate(load.poisson_arrivals(80, 400_000, seed=2), exponential).latency_ms.mean() / 1000
)

# %%
claim(
    "simulated, formula, and 1/(μ − λ) agree within 5 %",
    abs(simulated / 0.05 - 1) < 0.05 and abs(mean_latency(80, exponential) / 0.05 - 1) < 0.05,
    f"{1e3 * simulated:.1f}, {1e3 * mean_latency(80, exponential):.1f} and "
    f"{1e3 / (100 - 80):.1f} ms",
)

# %%
service = single.service_ms / 1000
drawn = np.random.default_rng(3).choice(service, 40_000)
shares = np.array([0.1, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95])
rates = shares * capacity(single.service_ms)
schedules = [load.poisson_arrivals(rate, 40_000, seed=4) for rate in rates]
latencies = [load.simulate(due, drawn).latency_ms for due in schedules]


# %%
tried = {0.3: None, 0.5: server.latency_ms, 0.7: None}
for share in (0.3, 0.7):
    rate = share * capacity(single.service_ms)
    tried[share] = load.open_loop(
        answer(1), load.poisson_arrivals(rate, int(rate), seed=5)
    ).latency_ms

# %%
for share, colour, mark in ((0.5, show.BLUE, "o"), (0.99, show.ORANGE, "s")):
    name = "median" if share == 0.5 else "p99"
    plt.semilogy(
        shares,
        [load.percentile(each, share) for each in latencies],
        color=colour,
        label=f"{name}, simulated",
    )
    real_ms = [load.percentile(each, share) for each in tried.values()]
    plt.plot(list(tried), real_ms, mark, color=colour, label=f"{name}, real requests")
plt.xlabel("utilisation (share of the time in which the worker is busy)")
plt.ylabel("latency (ms, logarithmic)")
plt.legend()
knee = [load.percentile(each, 0.99) for each in latencies]
show.finding(
    f"From 30 % to 90 % busy the simulated p99 grows {knee[5] / knee[1]:.0f}-fold",
    alt=f"Latency against utilisation. The simulated p99 is {knee[1]:.2f} ms at 30 %, "
    f"{knee[3]:.2f} ms at 70 % and {knee[5]:.2f} ms at 90 %; "
    "with real requests it was "
    f"{', '.join(f'{load.percentile(e, 0.99):.2f} ms at {s:.0%}' for s, e in tried.items())}.",
)

# %%
own = server.service_ms / 1000  # of that same run, its slow calls included
expected = 1000 * mean_latency(0.5 * capacity(single.service_ms), own)
observe(
    "from the service times of the run at half load, the formula gives its mean latency within a "
    "factor of two",
    0.5 < server.latency_ms.mean() / expected < 2,
    f"{expected:.3f} ms expected, {server.latency_ms.mean():.3f} ms measured; a call took "
    f"{1000 * own.mean():.2f} ms on average, in SingleStream {1000 * service.mean():.2f} ms",
)

# %% [markdown]
# Do the real requests lie above the curves? The curves are drawn from the calls of the SingleStream run, and the line
# above says what a call took in the other one. Calls that come after a pause, on a machine with neighbours, may well
# be slower than calls in a row. Then the worker is busier than the axis says, and the tail grows as if the load were
# higher. A queue computed from a benchmark's service times is a hope, until real requests have been sent.
#
# So the answer to "how many requests a second can it do?" is a question back: within which p99? MLPerf's figure for a
# server is the highest rate at which the p99 keeps its bound. For a bound of our own choice, from the simulated curve:

# %%
bound_ms = 15 * np.median(single.service_ms)
kept_at = [share for share, p99_ms in zip(shares, knee) if p99_ms <= bound_ms]
best_rate = max(kept_at, default=0) * capacity(single.service_ms)
most = f"{best_rate:,.0f} a second or a little more" if kept_at else "at none of these rates"
print(f"simulated, p99 within {bound_ms:.1f} ms: {most}")
tried_p99 = {share: load.percentile(each, 0.99) for share, each in tried.items()}
kept_real = [f"{share:.0%}" for share, p99_ms in tried_p99.items() if p99_ms <= bound_ms]
print(f"real requests kept it at these shares of the capacity: {', '.join(kept_real) or 'none'}")
print(f"Offline, without any bound: {64 * offline.throughput_per_s:,.0f} pictures a second")

# %% [markdown]
# A rate within a bound and a rate without one: two figures for one model on one machine. Whoever quotes the second for
# the first has promised what no user will see, and so has who quotes a simulation that real requests do not bear out.
# Lesson 18 lets an autoscaler keep the bound.
#
# ## Where does the time go inside the model?
#
# ONNX Runtime has a profiler. Switched on, it writes a JSON list of events: when each operator of each call began
# (`ts`) and how long it took (`dur`), in microseconds.

# %%
profiled = session(
    files["small_resnet"], enable_profiling=True, profile_file_prefix=str(scratch / "profile")
)
many = {"pixels": pictures["small_resnet"][:32]}
for _ in range(20):
    profiled.run(None, many)
events = json.loads(Path(profiled.end_profiling()).read_text(encoding="utf-8"))
one = next(e for e in events if e["cat"] == "Node" and e["args"]["op_name"] == "Gemm")
print({key: one[key] for key in ("name", "ts", "dur")}, {"op_name": one["args"]["op_name"]})

# %%
by_node, runs = defaultdict(list), [e["dur"] for e in events if e["name"] == "model_run"]
for e in events:
    if e["cat"] == "Node" and e["name"].endswith("_kernel_time"):
        by_node[e["args"]["node_index"], e["args"]["op_name"]].append(e["dur"])
node_ms = {key: np.median(each[3:]) / 1000 for key, each in by_node.items()}  # three warm up


# %%
in_nodes = sum(node_ms.values())
covered = sum(sum(each[3:]) for each in by_node.values()) / sum(runs[3:])
by_kind = Counter()
for (_, kind), each in node_ms.items():
    by_kind[kind] += each

# %%
ordered = sorted(node_ms.items(), key=lambda each: int(each[0][0]))
colours = [show.BLUE if kind == "Conv" else show.ORANGE for (_, kind), _ in ordered]
plt.barh([f"{kind} {i}" for (i, kind), _ in ordered], [each for _, each in ordered], color=colours)
plt.gca().invert_yaxis()
plt.xlabel("ms a call, 32 pictures (median)")
top = by_kind.most_common(1)[0]
show.finding(
    f"{top[1] / in_nodes:.0%} of the operators' time goes into {top[0]}",
    alt="Time of each operator of small_resnet: "
    + ", ".join(f"{k} {i} {t:.2f} ms" for (i, k), t in ordered),
)

# %%
observe(
    "the operators' times add up to 80 % of the call or more; the rest is the runtime between "
    "them",
    0.8 < covered < 1.01,
    f"{covered:.1%} of the time of all calls",
)

# %% [markdown]
# Among the short bars are the two 1 × 1 convolutions, with a ninth of the products of a 3 × 3 one. Not all of these
# names stand in the file: the runtime has rewritten the graph, and the next section looks at how.
#
# A list like this ends most discussions: what takes 1 % of the time cannot save 2 %. It is *Amdahl's law*: if a share
# $f$ of the time becomes $k$ times as fast, the whole becomes $1/(1 - f + f/k)$ times as fast, at most $1/(1-f)$.


# %%
def amdahl(share, times):
    """How many times as fast the whole becomes if a share of its time becomes `times` as fast."""
    return 1 / (1 - share + share / times)


for kind, times in (("Gemm", 1e9), ("Conv", 4)):
    gain = amdahl(by_kind[kind] / in_nodes, times)
    print(f"all {kind} operators {times:g} times as fast: the whole {gain:.3f} times")

# %%
claim(
    "half of the time made a billion times as fast makes the whole at most twice as fast",
    1.99 < amdahl(0.5, 1e9) <= 2,
    f"{amdahl(0.5, 1e9):.6f} times",
)

# %% [markdown]
# ## What does the runtime do to the graph?
#
# The profile names operators that the file does not hold, or lacks some that it does. When a session is made, ONNX
# Runtime rewrites the graph, on four levels:
#
# - *disabled*: as in the file;
# - *basic*: what changes nothing but the graph: constants computed ahead, operators without effect dropped;
# - *extended*: *fusion*, two operators in one (a convolution that applies its ReLU as it writes), operators that only
#   ONNX Runtime knows;
# - *all*: also the order of numbers in memory, to suit this processor's vector registers.
#
# Where do you expect the gain?

# %%
LEVEL = onnxruntime.GraphOptimizationLevel
levels = {
    "disabled": LEVEL.ORT_DISABLE_ALL, "basic": LEVEL.ORT_ENABLE_BASIC,
    "extended": LEVEL.ORT_ENABLE_EXTENDED, "all": LEVEL.ORT_ENABLE_ALL,
}  # fmt: skip
by_level, kinds = {}, {}


# %%
for said, level in levels.items():
    settings = {"graph_optimization_level": level}
    by_level[said] = session(files["small_resnet"], **settings)
    settings["optimized_model_filepath"] = str(scratch / f"{said}.onnx")
    settings["log_severity_level"] = 3  # level "all" warns that its file suits this machine alone
    session(files["small_resnet"], **settings)
    nodes = onnx.load(scratch / f"{said}.onnx").graph.node
    kinds[said] = Counter(f"{node.domain} {node.op_type}".strip() for node in nodes)

# %%
calls = {said: lambda s=s: s.run(None, many) for said, s in by_level.items()}
level_ms = measure.latencies_ms(calls, rounds=20)
show.table(
    ["level", "operators", "ms for 32 pictures", "which"],
    [[said, kinds[said].total(), measure.spread(level_ms[said]),
      ", ".join(f"{n} {kind}" for kind, n in kinds[said].most_common(4))] for said in levels],
)  # fmt: skip

# %%
answers = {said: s.run(None, many)[0] for said, s in by_level.items()}
size = abs(answers["disabled"]).max()
apart = max(abs(each - answers["disabled"]).max() / size for each in answers.values())


# %%
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
    "what gains is the order of the numbers in memory; fusion alone gains less",
    arranged > max(fused, 1.05),
    f"fusion {fused:.2f} times, the order {arranged:.2f} times as fast",
    either=True,
)

# %% [markdown]
# Where the runtime knows no better order for a processor, *all* does what *extended* does, and fusion is all the gain.
#
# Level *all* is the default, and there is seldom a reason to change it. One is start-up: a service that loads a large
# model can keep the optimised graph in a file, so that it need not be made again. We do it for the digits network, at
# level *extended*, and enter it into the ledger.

# %%
kept = scratch / "extended.onnx"
extended = session(
    files["digits_cnn"],
    graph_optimization_level=LEVEL.ORT_ENABLE_EXTENDED,
    optimized_model_filepath=str(kept),
)
digits = {"pixels": pictures["digits_cnn"]}
before = session(files["digits_cnn"]).run(None, digits)[0]
after = session(kept).run(None, digits)[0]


# %%
same = measure.parity(before, after)
accuracy = float((after.argmax(axis=1) == test.labels).mean())
ledger.record(
    "digits_cnn",
    "onnx extended",
    accuracy=accuracy,
    bytes=kept.stat().st_size,
    max_abs_diff=same.max_abs_diff,
)

# %%
claim(
    "the same answers to all 450 test pictures",
    same.agreement == 1,
    f"largest difference {same.max_abs_diff:.1e}",
)

# %% [markdown]
# **Where this goes wrong: the optimised file is shipped.** It is an ONNX file by its name. But a fused operator is no
# operator of the ONNX standard. Another runtime, here ONNX's own reference implementation, cannot read it:

# %%
from onnx.reference import ReferenceEvaluator

domains = {node.domain or "ai.onnx" for node in onnx.load(kept).graph.node}


# %%
try:
    ReferenceEvaluator(str(kept)).run(None, {"pixels": pictures["digits_cnn"][:1]})
    refused = ""
except Exception as wrong:
    refused = f"{type(wrong).__name__}: {str(wrong).splitlines()[0][:90]}"
print(refused)

# %%
claim(
    "the optimised file holds operators outside the standard, and the reference implementation "
    "refuses it",
    len(domains) > 1 and refused != "",
    ", ".join(sorted(domains)),
)

# %% [markdown]
# Fused at level *all*, it would also be tied to processors like this one. Ship the plain file and optimise where it
# runs.
#
# ## How many threads, and how many processors has a container?
#
# An operator's work can be shared among threads (*intra-op*). More threads than processors share nothing: they take
# turns. (For once we do not measure in turns: ONNX Runtime's idle threads stay awake for a while, waiting for work,
# and those of one session would disturb the next.)

# %%
thread_ms, thread_ms_one = {}, {}
for count in (1, 2, 4, 8):
    s = session(files["small_resnet"], threads=count)
    calls = {"many": lambda s=s: s.run(None, many)}
    thread_ms[count] = measure.latencies_ms(calls, rounds=10, warm_up=2)["many"]
    calls = {"one": lambda s=s: s.run(None, picture)}
    thread_ms_one[count] = measure.latencies_ms(calls, rounds=40)["one"]
    del s, calls


# %%
show.table(
    ["threads", "32 pictures (ms)", "one picture (ms)", "speed-up for 32"],
    [[t, measure.spread(thread_ms[t]), measure.spread(thread_ms_one[t]),
      f"{np.median(thread_ms[1]) / np.median(thread_ms[t]):.2f}"] for t in thread_ms],
)  # fmt: skip

# %%
median_at = {count: np.median(each) for count, each in thread_ms.items()}
observe(
    "eight threads are slower than the best number of threads by a fifth or more",
    median_at[8] > 1.2 * min(median_at.values()),
    f"{median_at[8]:.1f} ms with 8, {min(median_at.values()):.1f} ms with "
    f"{min(median_at, key=median_at.get)}",
    either=True,
)

# %% [markdown]
# With eight processors or more, eight threads may be the best number; with fewer they are too many.
#
# How many processors are there? There are four answers, and in a container they differ:
#
# - `os.cpu_count()`: those of the machine;
# - the *affinity*: those on which this process may run (`os.process_cpu_count()` from Python 3.13 on);
# - the *quota* of its *control group* (cgroup): so many microseconds of processor time in each period. It is what
#   `docker run --cpus` and a Kubernetes CPU limit set. A process with a quota of 2 on 64 processors *sees* 64;
# - what ONNX Runtime makes of it, when it is not told.


# %%
def quota():
    """Processors' worth of time that this container may use; None where nothing limits it."""
    new, old = Path("/sys/fs/cgroup/cpu.max"), Path("/sys/fs/cgroup/cpu/cpu.cfs_quota_us")
    if new.is_file():
        most, period = new.read_text().split()
    elif old.is_file():
        most, period = old.read_text(), old.with_name("cpu.cfs_period_us").read_text()
    else:
        return None
    return None if most.strip() in ("max", "-1") else int(most) / int(period)


# %%
DEFAULT = f"""
import os, psutil, onnxruntime
if {{narrow}} and hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {{{{min(os.sched_getaffinity(0))}}}})
before = psutil.Process().num_threads()
session = onnxruntime.InferenceSession({str(files["wide"])!r}, providers=["CPUExecutionProvider"])
allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
result = [allowed, psutil.Process().num_threads() - before + 1]
"""

# %%
allowed, made = measure.fresh_process(DEFAULT.format(narrow=False)).result
one_allowed, made_on_one = measure.fresh_process(DEFAULT.format(narrow=True)).result


# %%
show.table(
    ["who says", "processors"],
    [["the machine", os.cpu_count()], ["affinity of this process", allowed],
     ["quota of its control group", quota() or "none that we can read"],
     ["threads that ONNX Runtime uses by default", made],
     [f"the same, the process kept on {one_allowed}", made_on_one]],
)  # fmt: skip

# %%
observe(
    "kept on one processor, ONNX Runtime makes as many threads as before",
    one_allowed == 1 and made_on_one == made > 1,
    f"{made_on_one} threads on {one_allowed} processor(s)",
    either=True,
)

# %% [markdown]
# (On a machine of one processor, or where a process cannot be kept on one, there is nothing to see.) On a machine of 64
# cores that means 64 threads in a pod that was granted two. The quota is counted in periods,
# of 100 ms by default. When it is used up, the kernel stops all threads until the next period. That is *throttling*.
# How long do 64 busy threads run?

# %%
granted, machine, period_ms = 2, 64, 100.0
runs_ms = granted * period_ms / machine
claim(
    "64 busy threads on a quota of 2 run for about 3 ms of each 100, and stand still for the "
    "others",
    runs_ms == 3.125,
    f"{runs_ms:.1f} ms, then {period_ms - runs_ms:.1f} ms of nothing",
)

# %% [markdown]
# A request that meets the pause waits for it: the p99 may come near the period, however fast the model is. Set
# `intra_op_num_threads` to the limit, in every container.
#
# And should one request use two threads, or two requests one each? Sharing an operator has a cost, so for throughput
# one thread a request is rarely beaten; for the latency of a single request more threads may help, and the table above
# says whether they do here.
#
# ## What does a batch buy?
#
# A call has a part that does not depend on the batch (the call itself, fetching the weights) and one for each picture:
#
# $$t(b) = \alpha + \beta b, \qquad \text{throughput}(b) = \frac{b}{\alpha + \beta b} \;\longrightarrow\; \frac{1}{\beta}.$$
#
# At $b = \alpha/\beta$ half of the limit is reached. We fit both by least squares, with relative errors (a tenth of a
# millisecond counts more at batch 1 than at batch 64), and leave one batch out to test the prediction with.

# %%
measured_at, held_out = np.array([1, 2, 4, 8, 16, 32, 64]), 48
batch_ms = {}
for name, file in files.items():
    s = session(file)
    feeds = {int(b): {"pixels": pictures[name][:b]} for b in [*measured_at, held_out]}
    calls = {b: lambda s=s, feed=feed: s.run(None, feed) for b, feed in feeds.items()}
    taken = measure.latencies_ms(calls, rounds=12, warm_up=2)
    batch_ms[name] = {b: float(np.median(each)) for b, each in taken.items()}


# %%
def fit(sizes, times_ms):
    """α and β, in ms and not below 0, by least squares on the relative errors."""
    sizes, times_ms = np.asarray(sizes, float), np.asarray(times_ms, float)
    columns = np.stack([np.ones_like(sizes), sizes], axis=1) / times_ms[:, None]
    return optimize.nnls(columns, np.ones_like(sizes))[0]


# %%
claim(
    "from exact times the fit gives α and β back",
    np.allclose(fit([1, 2, 8], [1.25, 1.5, 3.0]), [1.0, 0.25]),
    "1 ms and 0.25 ms",
)

# %%
lines = {n: fit(measured_at, [t[int(b)] for b in measured_at]) for n, t in batch_ms.items()}
predicted = {n: held_out / (a + b * held_out) for n, (a, b) in lines.items()}  # pictures a ms
reached = {n: held_out / t[held_out] for n, t in batch_ms.items()}
header = ["network", "α (µs)", "β (µs)", "batch 1", "batch 48", "predicted", "limit 1/β"]


# %%
rows = []
for n, (a, b) in lines.items():
    speeds = [1 / batch_ms[n][1], reached[n], predicted[n], 1 / b if b else math.inf]
    rows.append(
        [n, f"{1000 * a:.0f}", f"{1000 * b:.0f}", *[f"{1000 * each:,.0f}" for each in speeds]]
    )

# %%
show.table(header, rows, "Pictures a second")

# %%
for (name, (a, b)), colour in zip(lines.items(), show.PALETTE):
    smooth = np.geomspace(1, 64, 50)
    once = 1 / batch_ms[name][1]
    plt.semilogx(smooth, smooth / (a + b * smooth) / once, color=colour, base=2)
    plt.plot(
        measured_at,
        [x / batch_ms[name][x] / once for x in measured_at.tolist()],
        "o",
        color=colour,
        label=name,
    )
    plt.plot(held_out, reached[name] / once, "s", color=colour, mfc="white", ms=8)
plt.xlabel("batch (hollow squares: left out of the fit)")
plt.ylabel("throughput, over that of batch 1")
plt.xticks(measured_at, measured_at)
plt.legend()
gains = {name: reached[name] * batch_ms[name][1] for name in files}
said = ", ".join(f"{name} {gain:.1f}" for name, gain in gains.items())
show.finding(
    f"A batch of 48 gives {said} times batch 1's throughput",
    alt="Throughput over that of batch 1, against the batch, with the fitted curves. At batch "
    f"48, times batch 1's: {said}.",
)

# %%
errors = {name: predicted[name] / reached[name] for name in files}
observe(
    "the fitted line predicts the throughput of the batch that it has not seen within a quarter",
    all(0.75 < each < 1.33 for each in errors.values()),
    ", ".join(f"{name} {each:.2f} of it" for name, each in errors.items()),
)

# %% [markdown]
# Why do the three gain so differently? The table at the end of this lesson splits their times by the roofline. At
# batch 1 `digits_cnn` is mostly overhead, which the batch shares; `wide` is memory-bound, and a batch fetches its
# weights once for all; `small_resnet` uses most weights for dozens or hundreds of points of a single picture, so it
# was nearer to the arithmetic roof from the start.
#
# A batch must be collected before it can be computed. The easiest way waits for nothing: while the model works,
# requests pile up; when it is free, it takes all of them, up to a most. That is *dynamic batching*, and lesson 14
# builds it into a server. What does it change when more requests come than one at a time can be done?


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


# %%
alpha, beta = lines["digits_cnn"]
one_by_one = 1 / (alpha + beta)  # requests a ms
comes = np.array([0.5, 0.8, 0.95, 1.2, 1.5, 2.0])


# %%
tail = {
    most: [
        load.percentile(
            batching(load.poisson_arrivals(c * one_by_one, 15_000, seed=6), alpha, beta, most),
            0.99,
        )
        for c in comes
    ]
    for most in (1, 32)
}

# %%
for (most, values), colour in zip(tail.items(), (show.ORANGE, show.BLUE)):
    plt.semilogy(comes, values, "o-", color=colour, label=f"at most {most} at once")
plt.axvline(1, color=show.GREY, ls="--")
plt.xlabel("requests that come, over what the model can do one by one")
plt.ylabel("p99 of the latency (ms, logarithmic)")
plt.legend()
said = [f"{c:g}: {a:.2f} ms and {b:.2f} ms" for c, a, b in zip(comes, tail[1], tail[32])]
show.finding(
    f"At load 1.5, taking all that wait keeps the p99 at {tail[32][4]:.2f} ms, not "
    f"{tail[1][4]:.0f} ms",
    alt="Simulated p99 against load, for digits_cnn's fitted α and β, one by one and in batches. "
    f"At load {'; '.join(said)}.",
)

# %%
observe(
    "one by one, the queue grows without end above load 1; in batches the p99 stays below twenty "
    "single calls",
    tail[1][4] > 100 * (alpha + beta) and tail[32][4] < 20 * (alpha + beta),
    f"a single call takes {alpha + beta:.3f} ms",
)

# %% [markdown]
# ## Why does the service never give its memory back?
#
# ONNX Runtime takes memory from the system in large pieces and keeps it for the next call. Such a store is called an
# *arena*. It is meant to make calls faster, and it does not shrink by itself: after one batch of 1,024, once, does the
# pod stay as large as it was then? In two fresh processes, with the arena and without:

# %%
ARENA = f"""
import numpy as np, onnxruntime, psutil
options = onnxruntime.SessionOptions()
options.intra_op_num_threads, options.enable_cpu_mem_arena = 1, {{arena}}
file, where = {str(files["small_resnet"])!r}, ["CPUExecutionProvider"]
session = onnxruntime.InferenceSession(file, options, providers=where)
resident = lambda: psutil.Process().memory_info().rss / 2**20
one, many = np.zeros((1, 1, 32, 32), "f4"), np.zeros((1024, 1, 32, 32), "f4")
result = []
for pixels in (one, many, one):
    session.run(None, {{{{"pixels": pixels}}}})
    result.append(resident())
if {{arena}}:
    shrink = onnxruntime.RunOptions()
    shrink.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
    session.run(None, {{{{"pixels": one}}}}, shrink)
    result.append(resident())
"""
arena_mib = {on: measure.fresh_process(ARENA.format(arena=on)).result for on in (True, False)}


# %%
show.table(
    ["resident memory (MiB) after", "with arena", "without"],
    [[said, f"{a:.0f}", f"{b:.0f}" if b else ""] for said, a, b in zip(
        ("one picture", "a batch of 1,024", "one picture again", "one with shrinkage asked for"),
        arena_mib[True], arena_mib[False] + [None])],
)  # fmt: skip

# %%
grown = {on: each[2] - each[0] for on, each in arena_mib.items()}
observe(
    "after the large batch the process with an arena keeps more than the other, and shrinkage "
    "gives most of it back",
    grown[True] > grown[False] and arena_mib[True][3] - arena_mib[True][0] < 0.5 * grown[True],
    f"{grown[True]:.0f} and {grown[False]:.0f} MiB kept; "
    f"{arena_mib[True][3] - arena_mib[True][0]:.0f} MiB after shrinkage",
)

# %% [markdown]
# What the arena is there for is time, at every call; whether it saves any for your model, measure. In either case,
# bound the batch that a server accepts: it bounds the memory as well, and the memory limit of a pod must hold the
# largest. The shrinkage is a run option, asked for with a call now and then.
#
# ## What has the operating system to do with it?
#
# Another of the articles advises to "optimise the operating system by tuning kernel parameters", and leaves it there.
# Here is what matters for inference, and what this machine says. Reading needs no rights; setting mostly needs root.


# %%
def told(place):
    try:
        return Path(place).read_text().strip() or "(empty)"
    except OSError:
        return "not to be seen here"


# %%
show.table(
    ["what", "what it does", "here"],
    [
        ["frequency governor", "“powersave” clocks down between requests: slow first calls",
         told("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")],
        ["transparent huge pages", "pages of 2 MiB, not 4 KiB: fewer look-ups of addresses",
         told("/sys/kernel/mm/transparent_hugepage/enabled")],
        ["memory nodes (NUMA)", "memory of another socket is slower: pin a process to one node",
         told("/sys/devices/system/node/online")],
        ["hyper-threading (SMT)", "two processors of one core are not two",
         told("/sys/devices/system/cpu/smt/control")],
        ["swapping", "a model in swap answers in seconds; how eager, from 0",
         told("/proc/sys/vm/swappiness")],
    ],
)  # fmt: skip

# %% [markdown]
# Without root a process can choose its processors (`os.sched_setaffinity`, `taskset`), its number of threads, its
# priority downwards (`os.nice`), and ask for huge pages where the table says `madvise`. Everything else is the node's:
# ask for it there, and measure before and after. macOS and Windows show none of these files.
#
# ## Which hardware would help?
#
# The roofline answers before anything is bought. The peaks and bandwidths below are not measured here: they are
# *catalogue figures*, theoretical peaks at the precision named. Those of the GPU come from AMD's ROCm documentation
# (page "MI250 microarchitecture": matrix units, both dies of a module together), those of the TPUs from Google's Cloud
# TPU documentation (pages "TPU v3" and "TPU v4", one chip). Add a row for yours, from its maker's page. (bf16,
# *bfloat16*, is a float of two bytes.) We take the best case of each, $\min(P, W I)$, for one dense layer.

# %%
CATALOGUE = {  # name: (operations a second, bytes of memory a second, bytes of a weight, source)
    "GPU, AMD MI250, fp32": (90.5e12, 3_200e9, 4, "rocm.docs.amd.com"),
    "GPU, AMD MI250, bf16": (362.1e12, 3_200e9, 2, "rocm.docs.amd.com"),
    "TPU v3, bf16": (123e12, 900e9, 2, "cloud.google.com/tpu/docs/v3"),
    "TPU v4, bf16": (275e12, 1_200e9, 2, "cloud.google.com/tpu/docs/v4"),
    "TPU v4, int8": (275e12, 1_200e9, 1, "cloud.google.com/tpu/docs/v4"),
}


# %%
machines = {"this machine, one thread": (peak[1], memory, 4, "measured above"), **CATALOGUE}


def pictures_a_second(machine, batch):
    """At the best, through one layer of 1,024 × 1,024 whose weights come from memory."""
    speed, wide_bytes, each, _ = machines[machine]
    moved = each * (2**20 + 2 * batch * 2**10)
    return batch / max(2 * batch * 2**20 / speed, moved / wide_bytes)


# %%
base = "this machine, one thread"
show.table(
    ["machine", "ridge (operations a byte)", "batch 1: times this machine", "batch 512", "source"],
    [[name, f"{p / w:,.0f}", f"{pictures_a_second(name, 1) / pictures_a_second(base, 1):,.0f}",
      f"{pictures_a_second(name, 512) / pictures_a_second(base, 512):,.0f}", source]
     for name, (p, w, _, source) in machines.items()],
    caption="At the best, by roofline: a bound on what they could do, not a measurement",
)  # fmt: skip

# %%
gain_one = {n: pictures_a_second(n, 1) / pictures_a_second(base, 1) for n in CATALOGUE}
gain_many = {n: pictures_a_second(n, 512) / pictures_a_second(base, 512) for n in CATALOGUE}


# %%
claim(
    "at batch 1 the bandwidth and the bytes a weight decide on each catalogue machine, not the "
    "operations",
    all(2 * 2**20 / p < each * 2**20 / w for p, w, each, _ in CATALOGUE.values()),
    ", ".join(
        f"{name}: {gain_one[name]:.0f} times, at batch 512 {gain_many[name]:.0f}"
        for name in CATALOGUE
    ),
)

# %% [markdown]
# A processor made for matrices has a ridge of dozens or hundreds of operations a byte. It is fed by batches, or it
# waits. An *FPGA*, a chip whose circuits are programmed for one model, goes the other way: it keeps the weights in
# memory on the chip, as Microsoft's Brainwave does, so that a batch of one is enough, as long as the model fits. (And
# a small model with a call overhead, like `digits_cnn`, gains little on any of them: most of its time at batch 1 is in
# neither roof, as the table at the end shows.)
#
# Is it worth its price? We invent no prices. They change by the month; put yours in. A machine that costs $c$ an hour
# and does $r$ pictures a second costs $10^6\,c / (3600\,r)$ for a million. So a machine pays off if it costs *at most*
# as many times more as it does more pictures. That factor needs no price at all:

# %%
price_an_hour = {base: None, "GPU, AMD MI250, bf16": None}  # yours, in any currency


def a_million(price, rate):
    return 1e6 * price / (3600 * rate)


# %%
for name in CATALOGUE:
    print(
        f"{name}: may cost up to {gain_one[name]:,.0f} times one core at batch 1, "
        f"{gain_many[name]:,.0f} times at 512"
    )


# %%
for name, price in price_an_hour.items():
    if price is not None:
        print(
            f"{name}: {a_million(price, pictures_a_second(name, 512)):.6f} for a million "
            "pictures, batch 512"
        )

# %%
rates, costs = np.array([1000.0, 8000.0]), np.array([1.0, 8.0])
claim(
    "eight times the pictures for eight times the price cost the same each",
    np.allclose(a_million(costs[0], rates[0]), a_million(costs[1], rates[1])),
    f"{a_million(1.0, 1000.0):.3f} a million at 1 an hour and 1,000 a second",
)

# %% [markdown]
# ## And on a GPU?
#
# The cell below measures one where PyTorch finds one. The trap is in its middle. A call on a GPU only *orders* the
# work and returns; a clock stopped there times the order. `synchronize()` waits for the work.

# %%
GPU = """
import time, torch
from course_lib import torch_models
network = torch_models.wide().eval().cuda()
result = []
for batch in (1, 64, 1024):
    x, seconds = torch.rand(batch, 1, 32, 32, device="cuda"), []
    with torch.inference_mode():
        for _ in range(30):
            torch.cuda.synchronize(); start = time.perf_counter()
            network(x); ordered = time.perf_counter() - start
            torch.cuda.synchronize(); seconds.append((ordered, time.perf_counter() - start))
    result.append([batch, *[1000 * sorted(each)[15] for each in zip(*seconds)]])
"""


# %%
on_gpu = measure.fresh_process(GPU).result if by_torch["gpu"] else []
if on_gpu:
    rows = [[b, f"{ordered:.3f}", f"{done:.3f}"] for b, ordered, done in on_gpu]
    show.put(show.table(["batch", "call returns (ms)", "work done (ms)"], rows))
else:
    print("No GPU here. With one: wide at batches 1, 64 and 1,024,")
    print("the time until a call returns, and the time until its work is done.")

# %% [markdown]
# ## TensorRT, OpenVINO, Core ML: what does each need?
#
# ONNX Runtime hands parts of a graph to an *execution provider*, an adapter to a vendor's library. The build that is
# installed decides which exist.

# %%
NEEDS = {
    "CUDAExecutionProvider": "an NVIDIA GPU, driver, CUDA, cuDNN; package onnxruntime-gpu",
    "TensorrtExecutionProvider": "the same and TensorRT; builds an engine at the start",
    "OpenVINOExecutionProvider": "an Intel processor or GPU; the package onnxruntime-openvino",
    "CoreMLExecutionProvider": "an Apple device; in the package for macOS",
    "DmlExecutionProvider": "Windows with a DirectX 12 GPU; the package onnxruntime-directml",
    "QNNExecutionProvider": "a Qualcomm accelerator; the package onnxruntime-qnn",
    "XnnpackExecutionProvider": "Arm or x86, mostly phones; a build of your own",
    "CPUExecutionProvider": "nothing: it is always there",
}


# %%
available = onnxruntime.get_available_providers()

# %%
show.table(
    ["provider", "in this build", "needs"],
    [
        [name.removesuffix("ExecutionProvider"), "yes" if name in available else "no", need]
        for name, need in NEEDS.items()
    ],
)

# %% [markdown]
# **Where this goes wrong: the GPU that was never used.** Ask for a provider that is not there. What do you expect, an
# error?

# %%
absent = next(name for name in NEEDS if name not in available)
with warnings.catch_warnings(record=True) as heard:
    warnings.simplefilter("always")
    asked = onnxruntime.InferenceSession(files["wide"], providers=[absent])
print(*[str(each.message)[:110] for each in heard], asked.get_providers(), sep="\n")

# %%
claim(
    "a missing provider is no error: there is a warning, and the session runs on the CPU",
    len(heard) > 0 and asked.get_providers() == ["CPUExecutionProvider"],
    f"asked for {absent}, got {', '.join(asked.get_providers())}",
)

# %% [markdown]
# In a log of thousands of lines that warning is lost, and the service is "slow on the GPU". The line that mends it is
# a check at the start: `if wanted not in session.get_providers(): raise RuntimeError(…)`. One of the articles says
# that TensorRT prunes and ONNX Runtime converts. Both run models, and rewrite graphs in order to run them. Neither
# prunes; converters stand in lessons 06 and 07.
#
# ## What we measured
#
# Where does the time of each workload go? The roofline splits it: what the arithmetic needs, what the bytes need, and
# what is left over. Each share suggests another remedy.

# %%
WORKLOADS = (
    ("digits_cnn", 1),
    ("digits_cnn", 64),
    ("wide", 1),
    ("wide", 64),
    ("small_resnet", 1),
    ("small_resnet", 64),
)


# %%
REMEDY = {
    "calls and small operators": "batch, fuse, fewer and larger operators, a leaner client",
    "bytes": "batch, int8 weights (10), fewer neurons (11), more bandwidth",
    "arithmetic": "int8 with the right instructions (10), a smaller network (12), threads, a GPU",
}


# %%
def split(name, batch):
    """Of a workload: shares of its time that arithmetic and bytes need, and the rest, 0 or more."""
    rows = work(files[name], batch)
    every = sum(row[3] for row in rows)
    ms = {"arithmetic": 0.0, "bytes": 0.0}
    for _, _, flops, moved in rows:
        by_flops, by_bytes = 1e3 * flops / peak[1], 1e3 * moved / bandwidth(every)
        ms["arithmetic" if by_flops > by_bytes else "bytes"] += max(by_flops, by_bytes)
    ms["calls and small operators"] = max(batch_ms[name][batch] - sum(ms.values()), 0.0)
    return {said: each / sum(ms.values()) for said, each in ms.items()}


# %%
splits = {workload: split(*workload) for workload in WORKLOADS}
header = ["workload", "ms", "arithmetic", "bytes", "the rest", "so try first"]


# %%
rows = [
    [
        f"{n}, {b}",
        f"{batch_ms[n][b]:.3f}",
        *[f"{x:.0%}" for x in s.values()],
        REMEDY[max(s, key=s.get)],
    ]
    for (n, b), s in splits.items()
]

# %%
show.table(header, rows, "Workloads: network and batch")

# %% [markdown]
# The rest is also what our kernels stay below the roof. (Where the two roofs ask for more than the time measured, the
# rest is 0, and the shares are those of the prediction: for so few bytes our bandwidth is likely too low.) The second
# guide is about forms of one model: the ledger knows accuracy and bytes of each; time we take now, in turns, for the
# ONNX files that the course ships.

# %%
shipped = {
    ("digits_cnn", "onnx"): models.path("digits_cnn", 1),
    ("digits_cnn", "int8"): models.path("digits_cnn", 2),
    ("digits_cnn", "onnx v3"): models.path("digits_cnn", 3),
    ("digits_cnn", "onnx extended"): kept,
    ("digits_keras", "onnx"): models.path("digits_keras", 1),
}
rows = {(row.model, row.form): row for row in ledger.rows()}
calls = {}


# %%
for key, file in shipped.items():
    s = session(file)
    start = s.get_inputs()[0]
    flat = (test.images[:1, ..., None] if start.shape[-1] == 1 else test.images[:1, None]).copy()
    calls[key] = lambda s=s, name=start.name, flat=flat: s.run(None, {name: flat})
form_ms = measure.latencies_ms(calls, rounds=300)
candidates = {
    key: (rows[key].accuracy, rows[key].bytes, float(np.median(form_ms[key])))
    for key in shipped
    if key in rows
}

# %%
show.table(
    ["form", "accuracy", "bytes", "ms for one picture"],
    [
        [" ".join(k), f"{a:.4f}", f"{size:,}", measure.spread(form_ms[k])]
        for k, (a, size, _) in candidates.items()
    ],
)


# %%
small, plain = candidates["digits_cnn", "int8"], candidates["digits_cnn", "onnx"]
observe(
    "on so small a network int8 is not faster, in less than half of the bytes",
    small[2] > 0.95 * plain[2] and small[1] < 0.5 * plain[1],
    f"{small[1] / plain[1]:.2f} of the bytes, {small[2] / plain[2]:.2f} of the time",
    either=True,
)

# %% [markdown]
# Faster here or not, fewer bytes need not mean less time; lesson 10 finds out when it does. A guide must not mix up the two, nor may it
# rank by a single figure. It leaves out what does not fit, and then what is *beaten*: worse or equal in all three, and
# worse in one.


# %%
def beaten(one, other):
    """Whether `other` is as good in accuracy, bytes and time, and better in one of them."""
    no_worse = other[0] >= one[0] and other[1] <= one[1] and other[2] <= one[2]
    return no_worse and other != one


# %%
def advise(least_accuracy=0.0, most_bytes=math.inf, most_ms=math.inf):
    """The forms that fit, without those that another one beats; the most accurate first."""
    fitting = {
        key: c for key, c in candidates.items()
        if c[0] >= least_accuracy and c[1] <= most_bytes and c[2] <= most_ms
    }  # fmt: skip
    best = [
        key
        for key, c in fitting.items()
        if not any(beaten(c, other) for other in fitting.values())
    ]
    return sorted(best, key=lambda key: -candidates[key][0])


# %%
cases = {
    "nothing else is asked": {}, "30 kB of flash": {"most_bytes": 30_000},
    "at most one mistake in a hundred": {"least_accuracy": 0.99},
    "both": {"most_bytes": 30_000, "least_accuracy": 0.99},
}  # fmt: skip


# %%
show.table(
    ["what is needed", "forms to choose from"],
    [
        [said, "; ".join(" ".join(key) for key in advise(**case)) or "none: give way somewhere"]
        for said, case in cases.items()
    ],
)

# %%
claim(
    "nothing that the guide advises is beaten by another form in all three",
    not any(beaten(candidates[key], other) for key in advise() for other in candidates.values())
    and len(advise()) > 0,
    f"{len(advise())} of {len(candidates)} forms are left",
)

# %%
ledger.picture(
    "The optimised graph: about the accuracy and the size of the file that it was made from"
)

# %%
claim(
    "as the title says",
    abs(rows["digits_cnn", "onnx extended"].accuracy - rows["digits_cnn", "onnx v3"].accuracy)
    < 0.005
    and abs(rows["digits_cnn", "onnx extended"].bytes / rows["digits_cnn", "onnx v3"].bytes - 1)
    < 0.1,
    f"{rows['digits_cnn', 'onnx extended'].bytes:,} and {rows['digits_cnn', 'onnx v3'].bytes:,} "
    "bytes",
)

# %% [markdown]
# ## What to remember
#
# - Time is at least the larger of operations over speed and bytes over bandwidth, plus the call. Find out which it is
#   before you buy or optimise.
# - Count a latency from when the request was due, with its spread, over as many requests as its percentile needs.
# - Threads, batches, levels and arenas are knobs, and each can hurt: measure in turns, on the machine that serves,
#   within the container's limit.
#
# ## Where this breaks down
#
# The roofline knows two roofs. Real kernels have more: instructions that do not fill the vector registers, several
# levels of cache, look-ups of addresses, other tenants of the machine. The bandwidth was read by one thread with
# friendly strides; a machine with more than 128 MiB of cache needs larger arrays. $\alpha + \beta b$ bends where the
# batch leaves a cache. The queue formulas assume Poisson arrivals and independent service times; real traffic comes in
# bursts. Runs of a second show neither heat nor neighbours of another hour.
#
# ## What real teams use
#
# Load: `wrk2`, k6, Locust, Vegeta, NVIDIA's Perf Analyzer and GenAI-Perf, the MLPerf LoadGen itself; the question to
# each is whether it counts from the schedule. Profiles: `perf`, Intel VTune and Advisor (which draws rooflines),
# NVIDIA Nsight, the PyTorch profiler, Perfetto for the JSON that ONNX Runtime writes. Servers such as Triton batch
# dynamically, and its Model Analyzer searches batch, instances and threads. In clusters, static CPU management gives a
# pod whole processors. Budgets for latency stand in continuous integration, with a tolerance.
#
# ## Further reading
#
# - S. Williams, A. Waterman, D. Patterson, *Roofline: An Insightful Visual Performance Model for Multicore
#   Architectures*, Communications of the ACM 52(4), 2009.
# - V. J. Reddi et al., *MLPerf Inference Benchmark*, ISCA 2020 (arXiv:1911.02549): the scenarios, and the query
#   counts.
# - B. Schroeder, A. Wierman, M. Harchol-Balter, *Open Versus Closed: A Cautionary Tale*, NSDI 2006.
# - J. Dean, L. A. Barroso, *The Tail at Scale*, Communications of the ACM 56(2), 2013.
# - N. P. Jouppi et al., *In-Datacenter Performance Analysis of a Tensor Processing Unit*, ISCA 2017; *TPU v4*, ISCA
#   2023.
# - J. Fowers et al., *A Configurable Cloud-Scale DNN Processor for Real-Time AI*, ISCA 2018.
# - M. Harchol-Balter, *Performance Modeling and Design of Computer Systems*, Cambridge University Press, 2013.
