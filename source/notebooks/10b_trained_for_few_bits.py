# %% [markdown]
# # 10b Trained for few bits
#
# At 3 a.m. a training job is in its third night. It teaches the model to live with weights of 2 bits, because "rounding
# it afterwards gave 14 %". Nobody asked how it was rounded. A better rounding gives 97 % within a minute, without
# training.
#
# ## You will be able to
#
# - say which numbers float16, bfloat16, FP8 and FP4 can hold, and when a float type is better than int8;
# - name the two mistakes that turn numbers in FP8 into 0 or NaN, and avoid them with a scale;
# - compare the speed of two types fairly, with one library for both;
# - train a network with rounding in the forward pass, and compare it with the best rounding without training;
# - find the layers that should stay in float.
#
# ## Before you start
#
# You need lesson 09 (scale, symmetric grid, signal-to-noise ratio). From 09b we take three methods, which are in the
# course's library. They choose grids of least error for weights, clips (upper ends) of least error for activations, and
# levels that keep a layer's output. The network is again version 3 of the digits network. Its layers with weights have
# the numbers 0, 2, 7 and 9.

# %%
import copy

import matplotlib.pyplot as plt
import ml_dtypes
import numpy as np
import torch
from torch import nn

from course_lib import data, measure, models, torch_models
from course_lib.idioms import begin, claim, guess, ledger, observe, path, reveal, show
from course_lib.quantization import least_error, least_error_clip, levels_for_output, symmetric

scratch = begin("10b")
torch.set_num_threads(1)  # the network is small: more threads would only wait
path.picture(here="10b")

# %%
train_part, test = data.digits()
fit, validation = data.hold_out(train_part)
network = torch_models.load_digits_cnn()
LAYERS = {0: "first convolution", 2: "second convolution", 7: "first dense", 9: "second dense"}


# %%
def accuracy(net, part=test):
    return float((torch_models.logits_of(net, part.images).argmax(axis=1) == part.labels).mean())


def percent(share):
    return f"{100 * share:.1f} %"


# %% [markdown]
# ## Which numbers can a small float hold?
#
# A float has a sign, $E$ bits for the *exponent* $e$ and $M$ bits for the *fraction* $m$. With the *bias* $B = 2^{E-1} - 1$
# it stands for
#
# $$x = \pm \Big(1 + \frac{m}{2^M}\Big)\, 2^{\,e - B} \quad (e \ge 1), \qquad
# x = \pm\, \frac{m}{2^M}\, 2^{\,1 - B} \quad (e = 0) .$$
#
# The numbers above 0 with $e = 0$ are called *subnormal*. They are evenly spaced, up to the smallest normal number.
# Above that, the spacing doubles with each exponent. *FP8* is the name of two floating-point types with 8 bits, E4M3
# and E5M2. *FP4* has 4 bits, E2M1. The name gives $E$ and $M$.


# %%
def numbers(E, M):
    """All numbers from 0 on that these bits stand for, if no code is set aside."""
    bias = 2 ** (E - 1) - 1
    e, m = np.divmod(np.arange(2 ** (E + M)), 2**M)
    return np.where(e > 0, (1 + m / 2**M) * 2.0 ** (e - bias), m / 2**M * 2.0 ** (1 - bias))


print("E2M1:", numbers(2, 1))

# %% [markdown]
# That is all of FP4: eight numbers and their negatives. In the larger types some codes do not stand for numbers. float16,
# bfloat16 and E5M2 use the last exponent for infinity and NaN ("not a number"). E4M3 sets only its last code aside, for
# NaN. So what is its largest number?

# %%
guess("largest", "What is the largest number in E4M3?", low=1, high=100_000)

# %%
TYPES = {  # the exponent's bits, the fraction's, codes set aside at the end, the type in ml_dtypes
    "float16": (5, 10, 2**10, np.float16),
    "bfloat16": (8, 7, 2**7, ml_dtypes.bfloat16),
    "FP8 E5M2": (5, 2, 2**2, ml_dtypes.float8_e5m2),
    "FP8 E4M3": (4, 3, 1, ml_dtypes.float8_e4m3fn),
    "FP4 E2M1": (2, 1, 0, ml_dtypes.float4_e2m1fn),
}
ours = {name: numbers(E, M)[: 2 ** (E + M) - aside] for name, (E, M, aside, _) in TYPES.items()}

# %% [markdown]
# The library `ml_dtypes` adds the four that NumPy lacks. We let these types turn the same codes into numbers.

# %%
theirs = {}
for name, (E, M, aside, kind) in TYPES.items():
    codes = np.arange(len(ours[name]), dtype=np.uint8 if E + M < 8 else np.uint16)
    theirs[name] = codes.view(kind).astype(np.float64)
claim(
    "code by code, our numbers are those of NumPy and ml_dtypes, in all five types",
    all(np.array_equal(ours[name], theirs[name]) for name in TYPES),
    ", ".join(f"{name}: {len(each):,}" for name, each in ours.items()),
)

# %%
reveal("largest", float(ours["FP8 E4M3"][-1]))
show.table(
    ["type", "largest", "smallest normal", "smallest above 0", "next after 1"],
    [[name, f"{x[-1]:.6g}", f"{x[2**M]:.2g}", f"{x[1]:.2g}", f"1 + {x[x > 1][0] - 1:.3g}"]
     for (name, x), (_, M, *_) in zip(ours.items(), TYPES.values())],
    caption="Five small floating-point types",
)  # fmt: skip

# %% [markdown]
# bfloat16 has as many exponent bits as float32, and about two decimal digits. float16 has about three digits, and ends
# at 65,504. So float16 is more exact for a finished network, if its numbers stay in that range. Gradients in training
# may leave it, so training usually takes bfloat16.
#
# ## Is FP8 better than int8?
#
# Both have 8 bits. An integer grid has equal steps, so its error is about as large everywhere. A float's step grows
# with the number, so its error is about the same *share* of the number. We round numbers of all sizes, and measure the
# error as a share of the number. An *octave* is a factor of two. We count octaves downwards from the largest number.


# %%
def as_float(values, name):
    """Values rounded to a type, with a scale for each row that brings its peak to the largest."""
    scale = peaks(values) / np.float32(ours[name][-1])
    return (values / scale).astype(TYPES[name][3]).astype(np.float32) * scale


# %%
def as_int(values, bits=8):
    return symmetric(peaks(values), bits).rounded(values)


def peaks(values):
    return np.abs(values).max(axis=tuple(range(1, values.ndim)), keepdims=True)


# %% [markdown]
# The numbers cover 16 octaves, 2,000 in each.

# %%
octaves = np.arange(16)
between = 2.0 ** np.linspace(-1, 0, 2001)[1:]  # one octave, up to 1
sizes = np.float32([[*(between * 2.0**-k for k in octaves)]]).reshape(1, -1)
rounded_to = {"int8": as_int(sizes), **{n: as_float(sizes, n) for n in ("FP8 E4M3", "FP8 E5M2")}}
error = {
    name: np.sqrt((((back - sizes) / sizes) ** 2).reshape(16, -1).mean(axis=1))
    for name, back in rounded_to.items()
}

# %%
for (name, each), colour, mark in zip(error.items(), show.PALETTE, "osD"):
    plt.plot(octaves, 100 * each, f"{mark}-", color=colour, label=name)
plt.yscale("log")
plt.gca().yaxis.set_major_formatter("{x:g}")
plt.xlabel("octaves below the largest number")
plt.ylabel("typical error (% of the number)")
plt.legend()
show.finding(
    "int8 is more exact near the largest number, E4M3 below a sixteenth of it",
    alt="Typical rounding error in percent of the number, against octaves below the largest. "
    + "; ".join(f"{n}: {100 * e[0]:.3g} % at the top, {100 * e[8]:.3g} % eight octaves down"
                for n, e in error.items()),
)  # fmt: skip

# %%
claim(
    "int8 is more exact in the top three octaves, E4M3 from the fifth on",
    (error["int8"] < error["FP8 E4M3"])[:3].all()
    and (error["int8"] > error["FP8 E4M3"])[4:].all(),
    f"second octave {100 * error['int8'][1]:.2f} and {100 * error['FP8 E4M3'][1]:.2f} %, "
    f"sixth {100 * error['int8'][5]:.1f} and {100 * error['FP8 E4M3'][5]:.2f} %",
)

# %% [markdown]
# E4M3 has about the same error over many octaves, because it always has three bits of fraction. int8 is more exact at
# the top. With each octave its error about doubles, until it rounds all numbers to 0: an error of 100 %. So the answer
# depends on how widely the numbers spread. We take our largest layer, the same layer with an outlier in each row, and
# numbers with a long tail (Student's t distribution with 3 degrees of freedom).

# %%
dense = network[7].weight.detach().numpy()  # (20, 512)
with_outlier, usual = dense.copy(), np.arange(512) != 100
with_outlier[:, 100] = 8 * np.abs(dense).max(axis=1)
long_tail = np.random.default_rng(0).standard_t(3, (20, 5120)).astype(np.float32)
cases = {"our layer": dense, "with an outlier in each row": with_outlier, "long tail": long_tail}


# %% [markdown]
# For the layer with outliers, we compute the signal-to-noise ratio of all other numbers.


# %%
def snr_db(values, back):
    if values is with_outlier:
        values, back = values[:, usual], back[:, usual]
    return 10 * np.log10((values.astype(np.float64) ** 2).mean() / ((back - values) ** 2).mean())


# %%
roundings = {
    "int8": as_int,
    "FP8 E4M3": lambda w: as_float(w, "FP8 E4M3"),
    "FP8 E5M2": lambda w: as_float(w, "FP8 E5M2"),
    "int4": lambda w: as_int(w, 4),
    "FP4 E2M1": lambda w: as_float(w, "FP4 E2M1"),
}
db = {(kind, case): snr_db(w, f(w)) for kind, f in roundings.items() for case, w in cases.items()}

# %%
show.table(
    ["type, a scale for each row", *cases],
    [[kind, *(f"{db[kind, case]:.1f}" for case in cases)] for kind in roundings],
    caption="Signal to noise (dB)",
)

# %% [markdown]
# Compare the first two rows of the table, and then the last two.

# %%
claim(
    "int8 beats E4M3 on our layer by 6 dB or more; with outliers and on the long tail E4M3 wins",
    db["int8", "our layer"] > db["FP8 E4M3", "our layer"] + 6
    and all(db["FP8 E4M3", case] > db["int8", case] + 3 for case in list(cases)[1:]),
    f"E4M3: {min(db['FP8 E4M3', c] for c in cases):.1f} to "
    f"{max(db['FP8 E4M3', c] for c in cases):.1f} dB in the three cases",
)

# %%
claim(
    "with 4 bits, FP4 beats int4 in all three",
    all(db["FP4 E2M1", case] > db["int4", case] for case in cases),
    ", ".join(f"{db['FP4 E2M1', c] - db['int4', c]:+.1f} dB" for c in cases),
)

# %% [markdown]
# E4M3 has nearly the same ratio in all three cases, although the largest number alone sets its scale. That makes it
# attractive where outliers are common, as in transformers. Our weights have no outliers, so int8 is more exact for
# them. With 4 bits, FP4 puts more of its few numbers near 0, where most weights are.
#
# ### Where this goes wrong: FP8 without a scale
#
# A cast needs no scale: `w.astype(float8_e4m3fn)`. What happens to numbers that are too large or too small for it?

# %%
large = np.float32([448, 460, 500])
by_numpy = large.astype(ml_dtypes.float8_e4m3fn).astype(np.float32)
by_torch = torch.from_numpy(large).to(torch.float8_e4m3fn).float().numpy()
print("ml_dtypes:", by_numpy, " PyTorch:", by_torch)

# %%
claim(
    "beyond the end one library returns NaN, the other the largest number",
    np.isnan(by_numpy[2]) and by_torch[2] == 448,
    "500 becomes NaN in ml_dtypes, 448 in PyTorch",
    pinned="torch",
)

# %% [markdown]
# Two libraries give two answers for one type, and neither raises an error. What happens at the other end, to small
# numbers? In lesson 09 we multiplied channels by a factor and divided the next layer by it. Here we multiply all
# weights by 1/1,000, cast them, and multiply them by 1,000.


# %%
def cast(net, name, factor, scaled):
    changed = copy.deepcopy(net)
    for i in LAYERS:
        w = network[i].weight.detach().numpy() * np.float32(factor)
        back = as_float(w, name) if scaled else w.astype(TYPES[name][3]).astype(np.float32)
        changed[i].weight.data = torch.from_numpy(back / np.float32(factor))
    return accuracy(changed)


# %% [markdown]
# We try three types and two sizes of weights, with and without a scale for each channel:

# %%
forms = [("as trained", 1), ("1,000 times smaller", 1e-3)]
casts = {
    (name, words, scaled): cast(network, name, factor, scaled)
    for name in ("FP8 E4M3", "FP8 E5M2", "FP4 E2M1")
    for words, factor in forms
    for scaled in (False, True)
}

# %%
show.table(
    ["type", *(f"{words}, {s} scale" for words, _ in forms for s in ("without", "with"))],
    [[name, *(percent(casts[name, words, s]) for words, _ in forms for s in (False, True))]
     for name in ("FP8 E4M3", "FP8 E5M2", "FP4 E2M1")],
    caption="Test accuracy, weights in small floats",
)  # fmt: skip

# %%
claim(
    "with a scale for each channel, FP8 and FP4 weights lose less than a point; without one, small "
    "weights vanish in E4M3",
    min(share for (*_, scaled), share in casts.items() if scaled) > accuracy(network) - 0.01
    and casts["FP8 E4M3", "1,000 times smaller", False] < 0.3,
    f"float32 {percent(accuracy(network))}",
)

# %% [markdown]
# So a small float usually needs a scale. E5M2 is the exception in this table: its range is so wide that it kept the
# accuracy without one. FP4 usually gets a scale for each small group. The MX formats of the Open Compute Project have a
# power of two for every 32 numbers. NVIDIA's NVFP4 has an E4M3 number for every 16. **Now do exercise 10b.1**, which
# reads the codes of such types.
#
# ## Is bfloat16 faster than float32?
#
# Compare like with like. On x86, PyTorch may multiply float32 matrices with one library (MKL) and bfloat16 matrices
# with another (oneDNN). Such a comparison measures two libraries, not only two types. A convolution goes to oneDNN in
# both types. (The environment variable `ONEDNN_VERBOSE=1` prints each call.) Another variable, `ONEDNN_MAX_CPU_ISA`,
# limits the instructions that oneDNN may use. So we can measure on one machine how an older processor would do.

# %%
CONVOLUTION = """
import os
os.environ["ONEDNN_MAX_CPU_ISA"] = {allowed!r}  # before PyTorch is imported
import numpy as np, torch
from course_lib import measure
torch.set_num_threads(1)
x, w = torch.randn(8, 128, 16, 16), torch.randn(128, 128, 3, 3)
calls = {{}}
for kind in (torch.float32, torch.bfloat16):
    a, b = (each.to(kind, memory_format=torch.channels_last) for each in (x, w))
    calls[str(kind)[6:]] = lambda a=a, b=b: torch.nn.functional.conv2d(a, b, padding=1)
with torch.inference_mode():
    ms = measure.latencies_ms(calls, rounds=8, warm_up=2)
result = {{kind: float(np.median(each)) for kind, each in ms.items()}}
"""

# %%
SETS = {"AVX512_CORE": "AVX-512 alone", "AVX512_CORE_BF16": "AVX-512 with bfloat16"}
ms = {name: measure.fresh_process(CONVOLUTION.format(allowed=name)).result for name in SETS}
show.table(
    ["oneDNN may use", "float32 (ms)", "bfloat16 (ms)", "times as fast"],
    [[words, f"{ms[n]['float32']:.1f}", f"{ms[n]['bfloat16']:.1f}",
      f"{ms[n]['float32'] / ms[n]['bfloat16']:.2f}"] for n, words in SETS.items()],
    caption="One convolution in two types, one thread",
)  # fmt: skip

# %%
old, new = (ms[name]["float32"] / ms[name]["bfloat16"] for name in SETS)
observe(
    "without its instructions bfloat16 is slower than float32, with them faster",
    old < 1 < new,
    f"{old:.2f} and {new:.2f} times as fast",
    either=True,
)

# %% [markdown]
# If that line holds on your machine, one library gives two answers. bfloat16 is faster than float32 if the library may
# use the instructions for bfloat16, and slower if it may not. (Not all x86 processors have AVX-512, and not all of
# those have instructions for bfloat16. Without them the two rows are alike. Newer processors from Intel also have AMX,
# which multiplies whole tiles.) Ask which library computes, and with which instructions, before you promise a speed.
#
# ## How does training with rounding work?
#
# Post-training quantization (PTQ, lesson 09b) rounds a network after its training. *Quantization-aware training* (QAT)
# rounds in the forward pass, so that the loss includes the rounding. The obstacle is the gradient. On a grid with step
# $s$ and levels $q_{min}$ to $q_{max}$,
#
# $$\hat x = s\,\operatorname{clip}\big(\operatorname{round}(x/s),\, q_{min},\, q_{max}\big), \qquad
# \frac{d\hat x}{dx} = 0 \text{ almost everywhere},$$
#
# because rounding is a staircase. With this gradient nothing would be learned. The *straight-through estimator* (Bengio
# et al., 2013) uses another slope in the backward pass. Inside the range of the grid it is 1, the average slope of the
# staircase. Outside it is 0. In code, we clip $x$, and add the rounding error as a constant.


# %%
def rounded(x, step, least, greatest):
    inside = torch.clamp(x, least * step, greatest * step)
    on_grid = (inside / step).round() * step
    return inside + (on_grid - inside).detach()  # the value of on_grid, the gradient of inside


# %%
x = torch.tensor([-2.0, -0.26, 0.1, 0.26, 0.9], requires_grad=True)
y = rounded(x, torch.tensor(0.25), -2, 2)
y.sum().backward()
show.table(
    ["x", *(f"{each:.2f}" for each in x.tolist())],
    [["rounded", *y.tolist()], ["gradient", *x.grad.tolist()]],
    caption="Rounded to quarters from −0.5 to 0.5",
)

# %% [markdown]
# **Now do exercise 10b.2**: the same in NumPy, with a step for each channel.
#
# We wrap each convolution and each dense layer. The weights get a symmetric grid with a step for each output channel.
# The inputs, which are never negative here, get an unsigned grid from 0 to a clip.


# %%
class Rounded(nn.Module):
    """A layer that rounds its weights and its inputs. bits: of the weights, of the inputs."""

    def __init__(self, layer, bits, step, clip):
        super().__init__()
        self.layer, self.step = layer, torch.from_numpy(step)
        self.of_weights, self.of_inputs = 2 ** (bits[0] - 1) - 1, 2 ** bits[1] - 1
        self.input_step = torch.tensor(clip / self.of_inputs, dtype=torch.float32)

    def forward(self, x):
        w = rounded(self.layer.weight, self.step, -self.of_weights, self.of_weights)
        x = rounded(x, self.input_step, 0, self.of_inputs)
        return torch.func.functional_call(self.layer, {"weight": w}, (x,))


# %%
def ranges(w, x, bits, way):
    """The grid of the weights and the clip of the inputs."""
    if way == "up to the largest":
        return symmetric(peaks(w), bits[0]), float(x.max())
    return least_error(w, bits[0]), least_error_clip(x, bits[1])


# %%
def quantized(net, bits, way="least error", in_float=()):
    """The network with rounded layers, all but those in_float; ranges from 256 images."""
    net, seen, layers = copy.deepcopy(net), torch_models.inputs_of(net, fit.images[:256]), []
    for i, layer in enumerate(net):
        if i in LAYERS and i not in in_float:
            w, x = layer.weight.detach().numpy(), seen[i]
            grid, clip = ranges(w, x, bits, way)
            if way == "levels for the output":
                levels = levels_for_output(w, grid, torch_models.rows_for(layer, x))
                layer.weight.data = torch.from_numpy(levels)
            layer = Rounded(layer, bits, grid.scale, clip)
        layers.append(layer)
    return nn.Sequential(*layers).eval()


# %% [markdown]
# Training goes on for six epochs, with lesson 04's schedule and its shifted images.


# %%
def tuned(net, seed, epochs=6):
    """A copy of the network, trained further."""
    torch.manual_seed(seed)
    net, steps = copy.deepcopy(net), epochs * (len(fit.labels) // 64)
    inputs = torch.from_numpy(fit.images.reshape(-1, 1, 8, 8))
    labels = torch.from_numpy(fit.labels)
    optimizer = torch.optim.Adam(net.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=2e-3, total_steps=steps)
    net.train()
    for _ in range(steps):
        chosen = torch.randint(len(labels), (64,))
        logits = net(torch_models.shifted(inputs[chosen]))
        loss = nn.functional.cross_entropy(logits, labels[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return net.eval()


# %% [markdown]
# ## Does training beat the best rounding without it?
#
# We compare six ways. Three have no training:
#
# - ranges *up to the largest* value;
# - ranges of *least error*;
# - ranges of least error, with *levels for the output*: weights rounded so that the layer's output changes least.
#
# Three train, each with three seeds:
#
# - QAT on ranges up to the largest value;
# - QAT on ranges of least error;
# - a control: the float network gets the same six epochs, and is then rounded with levels for the output. If this
#   were as good as QAT, the gain would come from more training, not from the rounding in it.
#
# With weights of 2 bits and inputs of 4, which of these two is better?

# %%
options = ["QAT, ranges up to the largest", "no training, levels for the output"]
guess("better", "2-bit weights, 4-bit inputs: which network is better?", choices=options)

# %% [markdown]
# We run the whole comparison: three pairs of bits, six ways.

# %%
PAIRS, SEEDS, few = [(8, 8), (3, 3), (2, 4)], (0, 1, 2), (2, 4)
PTQ = ["up to the largest", "least error", "levels for the output"]
CONTROL, POOR, AWARE = "control, levels for the output", f"QAT, {PTQ[0]}", f"QAT, {PTQ[1]}"
longer = [tuned(network, seed) for seed in SEEDS]

# %%
reached = {(way, b): [accuracy(quantized(network, b, way))] for way in PTQ for b in PAIRS}
for b in PAIRS:
    reached[CONTROL, b] = [accuracy(quantized(each, b, PTQ[2])) for each in longer]
    for qat, way in ((POOR, PTQ[0]), (AWARE, PTQ[1])):
        start = quantized(network, b, way)
        reached[qat, b] = [accuracy(tuned(start, seed)) for seed in SEEDS]
mean = {key: float(np.mean(each)) for key, each in reached.items()}

# %%
reveal("better", options[int(mean[PTQ[2], few] > mean[POOR, few])])
WAYS = [*PTQ, CONTROL, POOR, AWARE]
show.table(
    ["way", *(f"{w} and {a} bits" for w, a in PAIRS)],
    [[way, *(percent(mean[way, b]) for b in PAIRS)] for way in WAYS],
    caption="Test accuracy: bits of weights and of inputs; with training: mean of three seeds",
)

# %% [markdown]
# The ways differ most in the last column. We draw it.

# %%
plt.figure(figsize=(8, 3))
colours = [show.BLUE] * 3 + [show.ORANGE] * 3
bars = plt.barh(WAYS, [100 * mean[way, few] for way in WAYS], color=colours)
plt.bar_label(bars, fmt="%.1f", padding=3)
plt.gca().invert_yaxis()
plt.xlim(0, 110)
plt.xlabel("test accuracy (%), weights of 2 bits, inputs of 4 (orange: with training)")
show.finding(
    "Training on a poor range does worse than good rounding without training",
    alt="Test accuracy at 2 and 4 bits. "
    + "; ".join(f"{w}: {percent(mean[w, few])}" for w in WAYS),
)

# %%
best, aware = mean[PTQ[2], few], mean[AWARE, few]
claim(
    "at 8 and 8 bits, and at 3 and 3, the better QAT is within 1 point of the best PTQ",
    all(abs(mean[AWARE, b] - max(mean[w, b] for w in PTQ)) <= 0.01 for b in PAIRS[:2]),
    "; ".join(percent(mean[AWARE, b]) for b in PAIRS[:2]),
)

# %%
claim(
    "at 2 and 4 bits, with each seed, QAT on ranges up to the largest is behind levels for the "
    "output, and QAT on ranges of least error is ahead of them, by less than 4 points",
    max(reached[POOR, few]) < best < min(reached[AWARE, few]) and aware - best < 0.04,
    f"levels {percent(best)}; QAT {', '.join(map(percent, reached[AWARE, few]))}",
)

# %% [markdown]
# So training on good ranges helps here: by about two points, or eight of 450 images. Does the gain come from the
# rounding in the training, or from more training?

# %%
control, first = mean[CONTROL, few], mean[PTQ[0], few]
claim(
    "the control stays a point or more behind QAT: more training alone does not explain the gain",
    control < aware - 0.01,
    f"{percent(control)} and {percent(aware)}",
)
print(f"Compared with the first way, QAT seems to win {100 * (aware - first):.0f} points.")

# %% [markdown]
# So ask three questions when someone reports a gain from QAT. Which rounding was it compared with? On which ranges did
# it train? And what did the same training do without the rounding? At 8 bits there was nothing left to gain here. All
# of this is a simulation: the rounded numbers are float32, and so are the products and the biases.
#
# ## Which layers should stay in float?
#
# Not all layers suffer alike. A sensitivity scan (lesson 11 does it for pruning) rounds one layer at a time. We choose
# layers by its result, so we use the validation images, not the test images. We take ranges of least error, at 2 and 4
# bits.

# %%
guess("layer", "Which layer suffers most?", choices=list(LAYERS.values()))

# %%
alone = {
    i: accuracy(quantized(network, few, in_float=[j for j in LAYERS if j != i]), validation)
    for i in LAYERS
}
worst = sorted(alone, key=alone.get)[:2]
reveal("layer", LAYERS[worst[0]])

# %% [markdown]
# How many weights does each layer have?

# %%
weights = {i: network[i].weight.numel() for i in LAYERS}
show.table(
    ["layer", "weights", "validation accuracy, only this layer rounded"],
    [[LAYERS[i], f"{weights[i]:,}", percent(alone[i])] for i in LAYERS],
    caption=f"A scan at 2 and 4 bits; float32 has {percent(accuracy(network, validation))}",
)

# %%
share = sum(weights[i] for i in worst) / sum(weights.values())
claim(
    "the first and the last layer suffer most, and hold less than 3 % of the weights",
    set(worst) == {0, 9} and share < 0.03,
    f"{100 * share:.1f} %",
)

# %% [markdown]
# They are cheap to keep in float. Why these two? A plausible reason: the first layer has only nine weights for each
# output, so the errors hardly average out. The last layer has nothing behind it that could correct its errors. What do
# we gain on the test images, without training and with it?

# %%
starts = {way: quantized(network, few, way, in_float=worst) for way in PTQ[1:]}
trained = [accuracy(tuned(starts["least error"], seed)) for seed in SEEDS]
with_floats = [*map(accuracy, starts.values()), float(np.mean(trained))]

# %%
columns = [*PTQ[1:], AWARE]
show.table(
    ["in float", *columns],
    [["no layer", *(percent(mean[way, few]) for way in columns)],
     ["first and last", *map(percent, with_floats)]],
    caption="Test accuracy at 2 and 4 bits; QAT: mean of three seeds",
)  # fmt: skip

# %%
claim(
    "with the first and the last layer in float, rounding for the output is within 1.5 points of "
    "float32, without training",
    with_floats[1] > accuracy(network) - 0.015,
    percent(with_floats[1]),
)

# %% [markdown]
# With two layers in float, no training was needed here. That is cheap, so try it before you train. But a scan looks at
# one layer at a time, and the errors of several layers can add up or cancel. **Now do exercise 10b.3**: a search that
# puts one layer after another back to float, until the accuracy is good enough.
#
# ## What we measured
#
# We store the weights in FP8 (E4M3) with a float32 scale for each channel, read the file back, and add it to the
# ledger.

# %%
from safetensors.torch import load_file, save_file

stored = {name: p.detach() for name, p in network.named_parameters() if name.endswith("bias")}
for i in LAYERS:
    w = network[i].weight.detach()
    scale = torch.from_numpy(peaks(w.numpy()) / np.float32(ours["FP8 E4M3"][-1]))
    stored[f"{i}.weight"], stored[f"{i}.scale"] = (w / scale).to(torch.float8_e4m3fn), scale
save_file(stored, scratch / "fp8.safetensors")

# %%
file, in_fp8 = load_file(scratch / "fp8.safetensors"), copy.deepcopy(network)
for i in LAYERS:
    in_fp8[i].weight.data = file[f"{i}.weight"].float() * file[f"{i}.scale"]

# %% [markdown]
# How much do the logits, the accuracy and the file change?

# %%
logits, before = (torch_models.logits_of(net, test.images) for net in (in_fp8, network))
size = (scratch / "fp8.safetensors").stat().st_size
moved = measure.parity(before, logits).max_abs_diff
ledger.record(
    "digits_cnn", "FP8 weights", accuracy=accuracy(in_fp8), bytes=size, max_abs_diff=moved
)

# %%
float_size = models.path("digits_cnn", 3, "weights.safetensors").stat().st_size
claim(
    "the FP8 file takes at most 0.3 of the bytes, and loses less than a point",
    size <= 0.3 * float_size and accuracy(in_fp8) > accuracy(network) - 0.01,
    f"{size:,} of {float_size:,} bytes; {percent(accuracy(in_fp8))}",
)

# %%
ledger.picture(
    "FP8 weights: about the bytes of int8, within a point of float32", model="digits_cnn"
)

# %% [markdown]
# ## What to remember
#
# - A float's error is a share of the number, an integer's is a share of the range. FP8 helps against outliers, and still
#   needs a scale.
# - Compare training with the best rounding without it, on the same ranges, with a control.
# - Before you train, scan. Here it was enough to keep the first and the last layer in float.
#
# ## Where this breaks down
#
# We used one small network, 450 easy images and three seeds. On other networks the order of the ways may differ, but
# the three questions stay. QAT needs the training data, the recipe, and time. The steps of our grids stayed fixed; with
# learned steps (LSQ) QAT may do better. The levels for the output need inputs that resemble those in use. The few bits
# were simulated. To save time with them, a runtime needs a kernel that unpacks them. We timed one shape of convolution,
# on one machine.
#
# ## What real teams use
#
# In PyTorch: torchao, for QAT and for PTQ of exported programs (`quantize_pt2e`). For Keras 2: the TensorFlow Model
# Optimization toolkit. Language models are often rounded after training, by GPTQ or AWQ, or to MXFP4 or NVFP4. NVIDIA's
# GPUs multiply FP8 since the H100. With a scale for each tensor, its Transformer Engine takes E4M3 for the forward pass
# and E5M2 for gradients by default. With a scale for each block it takes E4M3 for both. NNCF's
# `quantize_with_accuracy_control` keeps the layers that hurt most in float, until the accuracy is good enough. ONNX
# Runtime's `qdq_loss_debug` compares activations layer by layer.
#
# ## Further reading
#
# - Y. Bengio, N. Léonard, A. Courville, *Estimating or Propagating Gradients Through Stochastic Neurons for Conditional
#   Computation*, arXiv:1308.3432, 2013, for the straight-through estimator.
# - B. Jacob et al., *Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference*,
#   CVPR 2018.
# - S. Esser et al., *Learned Step Size Quantization*, ICLR 2020 (LSQ).
# - P. Micikevicius et al., *FP8 Formats for Deep Learning*, arXiv:2209.05433, 2022.
# - Open Compute Project, *OCP Microscaling Formats (MX) Specification*, version 1.0, 2023.
# - A. Kuzmin et al., *FP8 Quantization: The Power of the Exponent*, NeurIPS 2022.
