# %% [markdown]
# # 09 Quantization, from scratch
#
# At 3 a.m. the small build of the model answers nonsense, though it passed its tests the day before: among the
# pictures on which last night's job set its ranges, one was spoiled, and one is enough.
#
# ## You will be able to
#
# - derive scale and zero point from a range, and say why 0 must be a point of the grid;
# - predict the noise of rounding before you measure it, and say where the prediction ends;
# - multiply matrices in whole numbers, with zero points, and get ONNX Runtime's answer bit for bit;
# - recognise a network that one scale for a whole layer destroys, and mend it;
# - choose a range and a number of bits by measuring, and compare two models on the same examples.
#
# ## Before you start
#
# Lesson 01 quantized a model with one call; here each step of that call is taken by hand. The network is the one that
# lesson 04 trained (version 3). All arithmetic is NumPy's; PyTorch only runs and trains the network, and ONNX
# Runtime's operators are the judge. Lesson 10 has the tools, and the clock.

# %%
import copy
import io
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import onnxruntime
import torch
from onnx import helper

from course_lib import data, torch_models
from course_lib.idioms import begin, claim, ledger, observe, path, show

scratch = begin("09")
torch.set_num_threads(1)
path.picture(here="09")

# %% [markdown]
# ## Does quantization leave fewer parameters?
#
# One of the articles behind this course says so: quantization lowers a model's complexity "by reducing the number of
# parameters". Count them.

# %%
train_part, test = data.digits()
fit, _ = data.hold_out(train_part)
network = torch_models.load_digits_cnn()
tensors = {name: p.detach().numpy() for name, p in network.named_parameters()}
weights = {name: w for name, w in tensors.items() if w.ndim > 1}  # all but the biases
show.table(
    ["tensor", "shape", "numbers", "smallest", "largest"],
    [[name, w.shape, w.size, f"{w.min():.2f}", f"{w.max():.2f}"] for name, w in tensors.items()],
)

# %%
count = sum(w.size for w in tensors.values())
in_int8 = [np.zeros(w.shape, np.int8) for w in tensors.values()]
claim(
    "in int8 there are as many numbers as before, in a quarter of the bytes",
    sum(q.size for q in in_int8) == count
    and 4 * sum(q.nbytes for q in in_int8) == sum(w.nbytes for w in tensors.values()),
    f"{count:,} numbers: {4 * count:,} bytes as float32, {count:,} as int8",
)

# %% [markdown]
# What shrinks is the bits of each number. (Fewer *numbers* is pruning, lesson 11.) Another of the articles gives the
# method as a formula: "Quantization(Model) = Convert float parameters to integers". Before you run the next cell: what
# will the accuracy be if we do literally that? Lesson 04 found more than 99 % for this network.


# %%
def with_weights(change, layers=(0, 2, 7, 9), of=network):
    """A copy of the network whose weights, in these layers, are what `change` makes of them."""
    changed = copy.deepcopy(of)
    for i in layers:
        new = np.asarray(change(changed[i].weight.detach().numpy()), np.float32)
        changed[i].weight.data = torch.from_numpy(new)
    return changed


def classes(net):
    return torch_models.logits_of(net, test.images).argmax(axis=1)


def accuracy(net):
    return float((classes(net) == test.labels).mean())


# %%
literal = with_weights(lambda w: w.astype(np.int8))
answers = np.unique(classes(literal))
claim(
    "converted literally, every weight is 0, and every picture gets the same answer",
    all((w.astype(np.int8) == 0).all() for w in weights.values()) and len(answers) == 1,
    f"always a {answers[0]}; accuracy {accuracy(literal):.1%} after {accuracy(network):.1%}",
)

# %% [markdown]
# **Where this goes wrong.** A conversion to integers cuts off what stands behind the point, and all weights here lie
# between −1 and 1. What the formula leaves out is everything that matters: how much one step of the whole number is
# *worth*.
#
# ## How does a whole number stand for a weight?
#
# Let the *levels* $q \in \{0, 1, \dots, 2^b - 1\}$ be what $b$ bits can hold. We want real numbers $r$ from a range
# $[\alpha, \beta]$, evenly spaced, the first level for $\alpha$ and the last for $\beta$. Evenly spaced means a
# straight line, and a line has two parameters:
#
# $$r = s\,(q - z), \qquad \alpha = s\,(0 - z), \quad \beta = s\,(2^b - 1 - z).$$
#
# Subtract the second equation from the third, then solve the second for $z$:
#
# $$s = \frac{\beta - \alpha}{2^b - 1}, \qquad z = -\frac{\alpha}{s}.$$
#
# $s$ is the *scale*, the worth of one step, in the unit of $r$. $z$ is the *zero point*, the level that stands for $r
# = 0$; a map of this form is called *affine*. One condition is added: **$z$ must itself be a level**, so it is
# rounded, and the range is first widened to contain 0. Otherwise no level stands for 0, and 0 is not a number like
# others: convolutions pad with it, ReLU gives it out all the time, masks are made of it. A 0 that came back as a
# little more would put a faint grey frame around every padded picture. The way there, with a *clip* for what lies
# outside:
#
# $$q = \operatorname{clip}\!\left(\operatorname{round}\!\left(\frac{r}{s}\right) + z,\; 0,\; 2^b - 1\right), \qquad
# \hat r = s\,(q - z).$$


# %%
def affine(low, high, bits=8):
    low, high = np.float32(min(low, 0)), np.float32(max(high, 0))
    scale = (high - low) / np.float32(2**bits - 1)
    return scale, int(np.rint(-low / scale))


def quantize(values, scale, zero_point, bits=8):
    levels = np.rint(values / scale) + zero_point  # ties go to the even number
    return np.clip(levels, 0, 2**bits - 1).astype(np.uint8)


def dequantize(levels, scale, zero_point):
    return (levels.astype(np.int32) - zero_point).astype(np.float32) * scale


# %%
first = weights["0.weight"].ravel()
s, z = affine(first.min(), first.max())
back = dequantize(quantize(first, s, z), s, z)
claim(
    "inside the range no weight is off by more than half a step, and 0 comes back as 0",
    np.abs(back - first).max() <= 0.5001 * s and dequantize(np.uint8([z]), s, z)[0] == 0,
    f"step {s:.5f}, zero point {z}, largest error {np.abs(back - first).max() / s:.3f} steps",
)

# %% [markdown]
# With 8 bits a drawing of the map looks like a line. With 3 it shows its two faces:

# %%
r = np.linspace(-1.5, 1.5, 1501).astype(np.float32)
s3, z3 = affine(first.min(), first.max(), bits=3)
came_back = dequantize(quantize(r, s3, z3, bits=3), s3, z3)
inside = (r >= first.min()) & (r <= first.max())
figure, (stairs, errors) = plt.subplots(1, 2, figsize=(9, 3.2))
stairs.plot(r, r, color=show.GREY, lw=1, label="as it is")
stairs.plot(r, came_back, color=show.BLUE, label="as it comes back")
stairs.set(xlabel="number r", ylabel="number that comes back")
stairs.legend()
errors.plot(r, (came_back - r) / s3, color=show.RED)
errors.axhspan(-0.5, 0.5, color=show.SKY, alpha=0.3, label="half a step")
errors.set(xlabel="number r", ylabel="error (steps)")
errors.legend()
worst_in, worst_out = (np.abs(came_back - r)[part].max() / s3 for part in (inside, ~inside))
show.finding(
    "Rounding costs half a step at most; outside the range there is no such limit",
    alt=f"Left: a staircase of 8 levels along the diagonal, flat beyond {first.min():.2f} and "
    f"{first.max():.2f}. Right: the error, a sawtooth of at most {worst_in:.2f} steps inside the "
    f"range, growing to {worst_out:.2f} steps outside",
)

# %%
claim(
    "inside the range the error stays within half a step; at ±1.5 it is more than two",
    worst_in <= 0.5001 and worst_out > 2,
    f"{worst_in:.2f} steps inside, {worst_out:.2f} at ±1.5",
)

# %% [markdown]
# Those are the two errors of this whole lesson, *rounding* and *clipping*. A wider range makes the first larger and
# the second smaller.
#
# ## Is that what the runtime does?
#
# ONNX names the two directions `QuantizeLinear` and `DequantizeLinear`. A model of one operator, built on the spot,
# lets us ask ONNX Runtime about any of them.


# %%
def one_operator(name, *inputs, gives, **attributes):
    """What ONNX Runtime's operator makes of these inputs. gives: the output's dtype."""
    given = {f"in{i}": np.asarray(each) for i, each in enumerate(inputs)}
    kind = helper.np_dtype_to_tensor_dtype
    described = [
        helper.make_tensor_value_info(n, kind(v.dtype), v.shape) for n, v in given.items()
    ]
    node = helper.make_node(name, list(given), ["out"], **attributes)
    out = helper.make_tensor_value_info("out", kind(np.dtype(gives)), None)
    graph = helper.make_graph([node], name, described, [out])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    return session.run(None, given)[0]


# %%
step, zero = np.float32(0.25), np.uint8(100)
ties = (np.arange(-300, 300) + np.float32(0.5)) * step  # exactly between two levels
random = np.random.default_rng(0)
hard = np.concatenate([random.normal(0, 20, 100_000), ties, [0, 1e30, -1e30]]).astype(np.float32)
theirs = one_operator("QuantizeLinear", hard, step, zero, gives=np.uint8)
theirs_back = one_operator("DequantizeLinear", theirs, step, zero, gives=np.float32)
ours = quantize(hard, step, int(zero))

# %%
claim(
    "our map is ONNX Runtime's, bit for bit, both ways",
    np.array_equal(theirs, ours)
    and np.array_equal(theirs_back, dequantize(ours, step, int(zero))),
    f"{len(hard):,} numbers, {len(ties)} ties and two far outside among them",
)

# %% [markdown]
# **Where this goes wrong.** Two easy slips in the same line: round half *up*, and leave out the clip.

# %%
half_up = np.clip(np.floor(hard / step + np.float32(0.5)) + 100, 0, 255).astype(np.uint8)
bright = np.float32([38.75, 39.0, 50.0])  # 255, 256 and 300 levels
no_clip = (np.rint(bright / step) + 100).astype(np.int64).astype(np.uint8)
is_tie = np.isin(np.arange(len(hard)), 100_000 + np.arange(len(ties)))
claim(
    "half up differs on ties alone; without the clip a number too large comes back as a small one",
    0 < (half_up != theirs).sum() == (half_up != theirs)[is_tie].sum()
    and (no_clip < bright / step + 100).sum() == 2,
    f"{(half_up != theirs).sum()} levels differ; {bright} becomes {no_clip} instead of "
    f"{quantize(bright, step, 100)}",
)

# %% [markdown]
# The first is a difference of one level: a parity test notices it, and hardly anything else will. The second makes the
# brightest points dark.
#
# ## How much does rounding cost?
#
# Predict it. If a number falls anywhere between two levels with equal chance, its error $e$ is uniform between $-s/2$
# and $s/2$, and its mean square is
#
# $$\overline{e^2} = \frac1s \int_{-s/2}^{s/2} e^2\,de = \frac1s \cdot \frac{2}{3}\Big(\frac s2\Big)^3 = \frac{s^2}{12}.$$
#
# What matters is how small that is beside the numbers themselves. The *signal-to-noise ratio* compares the mean
# squares, on a logarithmic scale whose unit is the decibel (dB; 10 dB is a factor of ten):
#
# $$\mathrm{SNR} = 10 \log_{10} \frac{\overline{r^2}}{s^2/12}\ \mathrm{dB}.$$
#
# One bit more halves $s$, so the noise falls to a quarter, and the ratio grows by $10 \log_{10} 4 \approx 6$ dB. For
# weights it is usual to make the range *symmetric*, $-p$ to $p$ with $p = \max |w|$: signed levels $-(2^{b-1}-1)$ to
# $2^{b-1}-1$, $s = p / (2^{b-1} - 1)$, and $z = 0$. (The level −128 stays unused. What $z = 0$ buys, a later section
# shows.) From here on we take both grids from the course's library, which holds the code above, for several channels
# at once.

# %%
from course_lib.measure import disagreements
from course_lib.quantization import affine as affine_grid
from course_lib.quantization import symmetric

grid = affine_grid(first.min(), first.max())
claim(
    "the library's grid is ours, and its levels too",
    grid.scale == s
    and grid.zero_point == z
    and np.array_equal(grid.quantize(first), quantize(first, s, z)),
    f"scale {grid.scale:.5f}, zero point {grid.zero_point}",
)


# %%
def snr_db(values, came_back):
    values = values.astype(np.float64)
    return 10 * np.log10((values**2).mean() / ((came_back - values) ** 2).mean())


def predicted_db(values, scale):
    return 10 * np.log10((values.astype(np.float64) ** 2).mean() / (float(scale) ** 2 / 12))


# %%
bits = np.arange(2, 9)
measured, predicted = {}, {}
for name, w in weights.items():
    grids = [symmetric(np.abs(w).max(), b) for b in bits]
    measured[name] = np.array([snr_db(w, g.rounded(w)) for g in grids])
    predicted[name] = np.array([predicted_db(w, g.scale) for g in grids])
gap = {name: measured[name] - predicted[name] for name in weights}
slope = np.mean([(m[-1] - m[2]) / 4 for m in measured.values()])  # from 4 to 8 bits

# %%
for name, colour, mark in zip(weights, show.PALETTE, "osD^"):
    plt.plot(bits, predicted[name], "--", color=colour, lw=1)
    plt.plot(bits, measured[name], mark, color=colour, label=f"{name}, {weights[name].size:,}")
plt.plot([], [], "--", color=show.GREY, label="predicted, s²/12")
plt.xlabel("bits of each weight")
plt.ylabel("signal to noise (dB)")
plt.legend(title="layer, weights", loc="upper left")
show.finding(
    f"Each bit buys {slope:.1f} dB; at 2 bits the prediction no longer holds",
    alt="Signal-to-noise ratio of the rounded weights against bits, four layers. Points lie on "
    f"the predicted lines from 4 bits on, {slope:.1f} dB a bit; at 2 bits they are off by up to "
    f"{max(abs(each[0]) for each in gap.values()):.1f} dB",
)

# %%
worst = max(np.abs(each[2:]).max() for each in gap.values())
claim(
    "from 4 bits on, the prediction is right within 1 dB for every layer",
    worst < 1,
    f"off by up to {worst:.2f} dB",
)

# %%
by_formula = 20 * np.log10(127 / 7) / 4  # the steps of a symmetric grid, 8 bits against 4
claim(
    "a bit is worth 6 dB and a little more",
    6 < by_formula < 6.5 and abs(slope - by_formula) < 0.3,
    f"measured {slope:.2f}, by formula {by_formula:.2f} dB",
)

# %% [markdown]
# The prediction knew nothing about the weights but their mean square and their peak. (The little more is the unused
# level: of few levels it is a larger share.) Where does it end? It assumed that numbers fall anywhere between two
# levels. At 2 bits there are three levels, $-p$, 0 and $p$:

# %%
to_zero = {
    n: float((symmetric(np.abs(w).max(), 2).quantize(w) == 0).mean()) for n, w in weights.items()
}
claim(
    "at 2 bits more than half of each layer's weights becomes 0",
    min(to_zero.values()) > 0.5,
    ", ".join(f"{name} {share:.0%}" for name, share in to_zero.items()),
)

# %% [markdown]
# Their error is the weight itself. Keep that in mind: $p$ is set by one weight, the largest, and at few bits it
# decides about all the others.
#
# ## A few images of 450: is int8 worse?
#
# Now round all weights to int8 and look at what a user would see. The answer that a dashboard gives is an accuracy
# before and after. But both were measured on the same images, so more can be said. Images that both read rightly, or
# both wrongly, tell nothing about which is better; only the *disagreements* do, those that one alone reads rightly:
# $n_1$ for the first, $n_2$ for the second. If both are equally good, each of the $n_1 + n_2$ falls to either side
# like a coin. The chance of a split as lopsided as the one that we see, or more so, is the *p-value* of McNemar's
# test:
#
# $$p = \min\Big(1,\; 2 \sum_{k=0}^{\min(n_1, n_2)} \binom{n_1 + n_2}{k}\, 2^{-(n_1 + n_2)}\Big).$$


# %%
def int8_weights(w):
    return symmetric(np.abs(w).max()).rounded(w)


int8_network = with_weights(int8_weights)
logits, int8_logits = (torch_models.logits_of(n, test.images) for n in (network, int8_network))
versus = disagreements(test.labels, logits.argmax(axis=1), int8_logits.argmax(axis=1))
moved = float(np.abs(int8_logits - logits).max())
show.table(
    ["weights", "accuracy", "right where the other is wrong"],
    [["float32", f"{accuracy(network):.2%}", versus.first_only],
     ["int8", f"{accuracy(int8_network):.2%}", versus.second_only]],
)  # fmt: skip

# %%
claim(
    "int8 weights change fewer than 1 % of the answers, and no logit by more than half a nat",
    (logits.argmax(1) != int8_logits.argmax(1)).mean() < 0.01 and moved < 0.5,
    f"largest change of a logit {moved:.2f}",
)

# %%
claim("450 images cannot tell the two apart", versus.p > 0.3, f"{versus} (float32 against int8)")

# %% [markdown]
# Neither "int8 loses accuracy" nor "int8 costs nothing" is supported by so few disagreements. That is not proof of
# equality. The logits did move, and a threshold on a probability downstream may notice before the accuracy does.
# Compare logits as well as classes.
#
# ## Can whole numbers do the whole product?
#
# So far we rounded and multiplied as before. Nothing gets faster by that. Where int8 is faster (lesson 10 measures
# it), it multiplies in whole numbers. Take inputs $x \in \mathbb{R}^{N \times K}$ and weights $w \in \mathbb{R}^{K
# \times M}$, with levels $X$, $W$ of the same shapes, scales $s_x, s_w$ and zero points $z_x, z_w$. Put the map into
# the product and multiply out:
#
# $$\sum_k x_{ik} w_{kj} = s_x s_w \sum_{k=1}^{K} (X_{ik} - z_x)(W_{kj} - z_w)
# = s_x s_w \Big[ \underbrace{\textstyle\sum_k X_{ik} W_{kj}}_{(N, M)} -
# z_w \underbrace{\textstyle\sum_k X_{ik}}_{(N, 1)} - z_x \underbrace{\textstyle\sum_k W_{kj}}_{(1, M)} + K z_x z_w \Big].$$
#
# Everything in the brackets is whole. Only the first term costs $N K M$ multiplications, of 8-bit numbers. The third
# and fourth are known before the first request. The second must be computed for each input, unless $z_w = 0$: that is
# what symmetric weights buy.


# %%
def integer_product(X, W, zx, zw):
    """int32 (N, M) from levels X uint8 (N, K) and W uint8 (K, M)."""
    X, W = X.astype(np.int32), W.astype(np.int32)
    rows = X.sum(axis=1, keepdims=True)  # (N, 1)
    columns = W.sum(axis=0, keepdims=True)  # (1, M)
    return X @ W - zw * rows - zx * columns + X.shape[1] * zx * zw


# %% [markdown]
# The inputs are those of the network's widest layer, 512 numbers for each test image, as they really are.


# %%
def outputs_of(net, images):
    """What each layer gives, by its number in the network: numpy arrays."""
    found, x = {}, torch.from_numpy(images.reshape(-1, 1, 8, 8))
    with torch.inference_mode():
        for i, layer in enumerate(net):
            x = layer(x)
            found[i] = x.numpy()
    return found


# %%
x, w = outputs_of(network, test.images)[6], weights["7.weight"].T  # (450, 512), (512, 20)
input_grid, weight_grid = affine_grid(x.min(), x.max()), affine_grid(w.min(), w.max())
X, W = input_grid.quantize(x), weight_grid.quantize(w)
zx, zw = int(input_grid.zero_point), int(weight_grid.zero_point)
product = integer_product(X, W, zx, zw)
theirs = one_operator("MatMulInteger", X, W, np.uint8(zx), np.uint8(zw), gives=np.int32)
claim(
    "our integer product is ONNX Runtime's MatMulInteger, bit for bit",
    np.array_equal(product, theirs),
    f"{product.size:,} sums of {X.shape[1]} products each, zero points {zx} and {zw}",
)

# %%
X_hard, W_hard = (
    random.integers(0, 256, shape).astype(np.uint8) for shape in ((64, 999), (999, 33))
)
theirs = one_operator("MatMulInteger", X_hard, W_hard, np.uint8(7), np.uint8(250), gives=np.int32)
claim(
    "and on random levels with odd shapes and other zero points",
    np.array_equal(integer_product(X_hard, W_hard, 7, 250), theirs),
    f"{X_hard.shape} by {W_hard.shape}",
)

# %% [markdown]
# How long may a sum get before int32 overflows? A product is at most $255^2$:

# %%
longest = (2**31 - 1) // 255**2
claim("int32 holds every sum of 33,000 products or fewer", longest >= 33_000, f"{longest:,}")

# %% [markdown]
# A convolution is the same product over windows. Here the zero point earns its name. Take pictures from which the mean
# is subtracted, as many pipelines do: paper is then negative, and $z_x$ is not 0. Which number must the border be
# filled with, before the product?

# %%
pictures = (test.images[:20] - fit.images.mean()).reshape(-1, 1, 8, 8)
filters = weights["0.weight"]  # (16, 1, 3, 3)
picture_grid = affine_grid(pictures.min(), pictures.max())
filter_grid = affine_grid(filters.min(), filters.max())
P, F = picture_grid.quantize(pictures), filter_grid.quantize(filters)
zp, zf = int(picture_grid.zero_point), int(filter_grid.zero_point)


def convolution(border):
    padded = np.pad(P, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=border)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
    rows = windows.transpose(0, 2, 3, 1, 4, 5).reshape(-1, 9)  # a window in each row
    sums = integer_product(rows, F.reshape(16, 9).T, zp, zf)
    return sums.reshape(20, 8, 8, 16).transpose(0, 3, 1, 2)


# %%
theirs = one_operator(
    "ConvInteger", P, F, np.uint8(zp), np.uint8(zf), gives=np.int32, pads=[1, 1, 1, 1]
)
claim(
    "padded with the zero point, our convolution is ConvInteger's bit for bit, padded with 0 not",
    np.array_equal(convolution(border=zp), theirs) and not np.array_equal(convolution(0), theirs),
    f"zero point {zp}; padded with 0, {(convolution(0) != theirs).mean():.0%} of the sums differ",
)

# %% [markdown]
# One step is missing: the next layer wants 8 bits again. The sum stands for $s_x s_w$ times itself, and the output $y$
# has a grid of its own, so its level is
#
# $$Y = \operatorname{clip}\big(\operatorname{round}(m \cdot \text{sum}) + z_y\big), \qquad m = \frac{s_x s_w}{s_y}.$$
#
# That step is called *requantization*, and a layer that does it all is `QLinearMatMul`. A bias joins the sum as int32,
# on the sum's own scale $s_x s_w$. $m$ is the only number in the layer that is not whole. (On processors without
# floating point it is written as a whole number and a shift.)

# %%
y = x @ w
output_grid = affine_grid(y.min(), y.max())
m = np.float32(input_grid.scale * weight_grid.scale) / output_grid.scale
Y = np.clip(np.rint(product.astype(np.float32) * m) + output_grid.zero_point, 0, 255)
three = [[g.scale, np.uint8(g.zero_point)] for g in (input_grid, weight_grid, output_grid)]
theirs = one_operator("QLinearMatMul", X, *three[0], W, *three[1], *three[2], gives=np.uint8)
apart = np.abs(Y - theirs)

# %%
claim(
    "requantized, no level is more than one apart from QLinearMatMul's",
    apart.max() <= 1,
    f"{apart.max():g}",
)

# %%
observe(
    "here they are the same, bit for bit",
    apart.max() == 0,
    f"{(apart > 0).sum()} differ",
    either=True,
)

# %%
layer_db = snr_db(y, output_grid.dequantize(theirs))
claim("the layer in 8-bit numbers keeps more than 25 dB", layer_db > 25, f"{layer_db:.1f} dB")

# %% [markdown]
# The sums are exact by nature. The last rounding goes through a floating-point product, which is why only its
# neighbour is promised.
#
# ## Why is one machine's int8 wrong?
#
# We took both sides unsigned. The more natural choice, unsigned inputs by *signed* weights, has a trap that depends on
# the processor. On x86 processors with AVX2 but without the newer instructions called VNNI, ONNX Runtime multiplies
# such bytes with `vpmaddubsw`. It takes two products, adds them, and keeps the sum in 16 bits: what does not fit is
# *saturated*, set to the nearest end. Does it fit?
#
# $$2 \cdot 255 \cdot 127 = 64{,}770 > 32{,}767 = 2^{15} - 1.$$
#
# The instruction cannot be switched on or off from Python, so the next cell **emulates** it, exactly, in NumPy.


# %%
def saturating_product(X, W):
    """uint8 (N, K) by int8 (K, M), K even, as vpmaddubsw adds: pairs saturate at 16 bits."""
    products = X[:, :, None].astype(np.int32) * W.astype(np.int32)
    pairs = products[:, 0::2] + products[:, 1::2]
    return np.clip(pairs, -(2**15), 2**15 - 1).sum(axis=1)


def lost(X, W):
    exact = X.astype(np.int32) @ W.astype(np.int32)
    return float((saturating_product(X, W) != exact).mean())


# %%
bright = np.full((1, 512), 255, np.uint8)
cases = {
    "all inputs 255, all weights 127": (bright, np.full((512, 1), 127, np.int8)),
    "the same in 7 bits, weights 63": (bright, np.full((512, 1), 63, np.int8)),
    "random levels": (X_hard[:, :512], random.integers(-127, 128, (512, 20)).astype(np.int8)),
    "random levels, 7-bit weights": (
        X_hard[:, :512],
        random.integers(-64, 64, (512, 20)).astype(np.int8),
    ),
    "the network's layer": (X, symmetric(np.abs(w).max()).quantize(w)),
}
each_column = symmetric(np.abs(w).max(axis=0)).quantize(w)  # every column stretched to ±127
clipped = affine_grid(0, np.percentile(x, 99.9)).quantize(x)  # the largest inputs cut off
cases["its layer, a scale for each column"] = X, each_column
cases["the same, inputs clipped at their 99.9 percentile"] = clipped, each_column
show.table(
    ["uint8 inputs by int8 weights", "sums that come out wrong (emulated)"],
    [[name, f"{lost(*case):.1%}"] for name, case in cases.items()],
)

# %%
largest, smallest = 2 * 255 * 63, 2 * 255 * -64
claim(
    "full signed bytes saturate, 7-bit weights never can",
    lost(*cases["random levels"]) > 0.5
    and -(2**15) <= smallest and largest < 2**15
    and lost(*cases["random levels, 7-bit weights"]) == 0,
    f"7-bit pairs lie from {smallest:,} to {largest:,}",
)  # fmt: skip

# %%
ratio = saturating_product(*cases["all inputs 255, all weights 127"]) / (512 * 255 * 127)
claim(
    "with all inputs 255 and all weights 127 nearly half of the sum is gone",
    ratio[0, 0] < 0.51,
    f"{ratio[0, 0]:.3f} of it is left",
)

# %%
own = [lost(*cases[name]) for name in list(cases)[-3:]]
claim(
    "the network's layer is safe on the coarsest grid, and the finer the grids the more saturates",
    own[0] == 0 < 0.001 < own[1] < own[2],
    ", ".join(f"{each:.2%}" for each in own),
)

# %% [markdown]
# The last three rows are what makes the trap nasty. The layer passes its test. Then somebody improves the grids, with
# the very methods of the next sections, so that levels lie closer to their ends, and on some machines some sums are
# cut. Three ways around it: 7-bit weights (ONNX Runtime's quantizer calls that `reduce_range`; they cost one bit, 6
# dB), unsigned weights with a zero point as above, which ONNX Runtime widens to 16 bits there before it multiplies, or
# a processor with VNNI, or ARM's dot product, which add in 32 bits. What is this machine's?


# %%
def instruction_sets():
    """The processor's instruction sets as Linux lists them; empty where nobody says."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return set()
    return {
        word for line in lines if line.startswith(("flags", "Features")) for word in line.split()
    }


# %%
known = instruction_sets()
dot = sorted(known & {"avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm"})
observe(
    "this processor lists a dot product that adds in 32 bits",
    bool(dot),
    ", ".join(dot) or ("none of them" if known else "unknown: this system does not say"),
    either=True,
)

# %%
X_s, W_s = cases["random levels"]
theirs = one_operator("MatMulInteger", X_s, W_s, np.uint8(0), np.int8(0), gives=np.int32)
exact = X_s.astype(np.int32) @ W_s.astype(np.int32)
observe(
    "unsigned by signed comes out exact here",
    np.array_equal(theirs, exact),
    f"{(theirs != exact).mean():.1%} differ",
    either=True,
)

# %% [markdown]
# Where the last line does not hold, this machine saturates: a model of unsigned by signed bytes needs one of the
# three ways around it here.
#
# ## Why does int8 break one network and spare its twin?
#
# R. Krishnamoorthi quantized MobileNet-v1 to 8 bits after training, and its accuracy on a thousand classes fell from
# 0.709 to 0.001, no better than guessing. With a scale for each channel of the weights instead of one for each layer
# it was 0.591, and with a scale and a zero point for each channel 0.703. What is special about MobileNet?
#
# His answer: *batch normalisation*. Such a layer divides each channel by its own spread, and before deployment that
# division is multiplied into the weights in front of it, which can leave the channels' weights far apart in size. Our
# network has no such layer, but we can give it the same wound. ReLU lets a positive factor pass, $\max(0, a u) = a
# \max(0, u)$. So multiply what makes channel $c$ by any $a_c > 0$, and divide what reads it:
#
# $$W^{(1)}_c \leftarrow a_c W^{(1)}_c, \qquad b^{(1)}_c \leftarrow a_c\, b^{(1)}_c, \qquad W^{(2)}_{:,c} \leftarrow W^{(2)}_{:,c} / a_c,$$
#
# with $W^{(1)}_c$ the filter of the first convolution that makes channel $c$, and $W^{(2)}_{:,c}$ all weights of the
# second that read it. The function is the same. We draw factors from $2^{-12}$ to 1, their exponents evenly (an
# *octave* is a factor of 2, so this is a spread of 12 octaves). Predict: which accuracy in float32, which in int8?


# %%
def rescaled(net, factors):
    """The same function, its 16 inner channels multiplied by these factors."""
    a, twin = torch.from_numpy(np.asarray(factors, np.float32)), copy.deepcopy(net)
    with torch.no_grad():
        twin[0].weight *= a[:, None, None, None]
        twin[0].bias *= a
        twin[2].weight /= a[None, :, None, None]
    return twin


def draw_factors(octaves, seed):
    return 2.0 ** np.random.default_rng(seed).uniform(-octaves, 0, 16)


# %%
twin = rescaled(network, draw_factors(12, seed=0))
apart = np.abs(torch_models.logits_of(twin, test.images) - logits).max()
claim(
    "in float32 the twin is the same function",
    apart < 1e-3 and np.array_equal(classes(twin), classes(network)),
    f"logits differ by {apart:.1e} at most",
)


# %%
def peaks(w, by_channel):
    """The largest |w|: of the layer, or of each output channel (axis 0), ready to broadcast."""
    return np.abs(w).max(axis=tuple(range(1, w.ndim)) if by_channel else None, keepdims=True)


def per_tensor(w, bits=8):
    return symmetric(peaks(w, False), bits).rounded(w)


def per_channel(w, bits=8):
    return symmetric(peaks(w, True), bits).rounded(w)


# %%
collapsed = accuracy(with_weights(per_tensor, of=twin))
helped = accuracy(with_weights(per_channel, of=twin))
claim(
    "with one scale a layer, int8 destroys the twin and spares the network",
    collapsed < 0.5 and accuracy(with_weights(per_tensor)) > 0.98,
    f"{collapsed:.1%} and {accuracy(with_weights(per_tensor)):.1%}",
)

# %%
claim(
    "a scale for each output channel helps, and not enough",
    collapsed + 0.3 < helped < 0.95,
    f"{helped:.1%}",
)


# %%
def inner_peaks(net):
    """The largest |w| of what makes each of the 16 inner channels, and of what reads it."""
    makes, reads = (net[i].weight.detach().numpy() for i in (0, 2))
    return np.abs(makes).max(axis=(1, 2, 3)), np.abs(reads).max(axis=(0, 2, 3))


def levels_in_use(net):
    """int8 levels from 0 to each channel's peak, in what makes it and in what reads it."""
    made, read = inner_peaks(net)
    return 127 * made / made.max(), 127 * read / read.max()


order = np.argsort(-draw_factors(12, seed=0))  # the twin's loudest channel first
used = {
    name: np.array(levels_in_use(net))[:, order]
    for name, net in (("network", network), ("twin", twin))
}

# %%
figure, panels = plt.subplots(1, 2, figsize=(9, 3.4), sharey=True)
for axes, (name, (made, read)) in zip(panels, used.items()):
    axes.plot(made, "o", color=show.BLUE, label="in the first convolution")
    axes.plot(read, "s", mfc="none", color=show.ORANGE, label="in the second convolution")
    axes.axhline(0.5, color=show.RED, ls="--", lw=1)
    axes.set(yscale="log", xlabel=f"channel of the {name}, ordered by its factor")
panels[0].set_ylabel("int8 levels up to the peak")
panels[0].text(0, 0.55, "below: all weights round to 0", color=show.RED, va="bottom")
panels[0].legend(loc="lower left")
both = np.minimum(*used["twin"])
show.finding(
    "Every channel of the twin has less than one int8 level left in one of the two layers",
    alt="Levels between 0 and the peak of each of 16 channels, in the convolution that makes it "
    "and in the one that reads it, logarithmic. In the network all lie between "
    f"{used['network'].min():.0f} and 127. In the twin loud channels have up to 127 in the first "
    "and fewer than one in the second, quiet channels the other way round",
)

# %%
claim(
    "in the network every channel has more than ten levels in both; in the twin none has even one",
    used["network"].min() > 10 and both.max() < 1,
    f"fewest {used['network'].min():.0f}; in the twin at most {both.max():.2f} in the worse layer",
)

# %% [markdown]
# The loudest channel sets the step of the first convolution, and the quiet ones vanish. In the second it is the other
# way round: what reads quiet channels was divided by small numbers and is large, so what reads the loud ones vanishes.
# Between the two, nothing passes whole.
#
# And why did a scale for each channel not mend it all? Quantize one layer at a time:

# %%
alone = {
    (name, i): accuracy(with_weights(change, layers=[i], of=twin))
    for name, change in (("one scale", per_tensor), ("one for each channel", per_channel))
    for i in (0, 2)
}
show.table(
    ["int8 in this layer alone", "first convolution", "second convolution"],
    [
        [name, f"{alone[name, 0]:.1%}", f"{alone[name, 2]:.1%}"]
        for name in ("one scale", "one for each channel")
    ],
)

# %%
claim(
    "on one scale, either layer alone does far less harm than both together",
    min(alone["one scale", 0], alone["one scale", 2]) > collapsed + 0.3,
    f"{alone['one scale', 0]:.1%} and {alone['one scale', 2]:.1%}; both {collapsed:.1%}",
)

# %%
claim(
    "per channel, the first convolution is whole again and the second is not",
    alone["one for each channel", 0] > 0.985 and alone["one for each channel", 2] < 0.95,
    f"{alone['one for each channel', 0]:.1%} and {alone['one for each channel', 2]:.1%}",
)

# %% [markdown]
# The first claim fits the picture: the channels that one layer erases, the other still has. And the second says where
# the harm that is left sits.
#
# A scale may differ from *output* to output, since it can be taken out of each output's sum. It cannot differ from
# *input* to input: inside the sum it would have to be multiplied in, term by term, and the product in whole numbers
# would be gone. In the second convolution it is the inputs that differ. MobileNet's troubled layers are *depthwise*:
# each output reads one input channel only, so there a scale for each output is a scale for each input too.
#
# The real mending undoes the wound. We may choose any factors, so choose those that make ranges equal. With $r_c$ the
# peak of what makes channel $c$ and $t_c$ the peak of what reads it,
#
# $$a_c r_c = \frac{t_c}{a_c} \quad\Longrightarrow\quad a_c = \sqrt{t_c / r_c}, \quad \text{and both peaks become } \sqrt{r_c t_c}.$$
#
# That is *cross-layer equalization* (Nagel et al., 2019). It takes no data, and in float32 the function stays what it
# was.


# %%
def equalized(net):
    r, t = inner_peaks(net)
    return rescaled(net, np.sqrt(t / r))


# %%
def trial(octaves, seed):
    wounded = rescaled(network, draw_factors(octaves, seed))
    forms = [(per_tensor, wounded), (per_channel, wounded), (per_tensor, equalized(wounded))]
    return [accuracy(with_weights(change, of=net)) for change, net in forms]


octaves = [0, 4, 6, 8, 10, 12, 14]
trials = np.array([[trial(o, seed) for seed in range(10)] for o in octaves])  # (7, 10, 3)

# %%
kinds = ["one scale a layer", "one a channel", "equalized, one a layer"]
for k, (name, colour, mark) in enumerate(zip(kinds, (show.RED, show.ORANGE, show.GREEN), "osD")):
    low, middle, high = 100 * np.percentile(trials[:, :, k], [0, 50, 100], axis=1)
    plt.fill_between(octaves, low, high, color=colour, alpha=0.15)
    plt.plot(octaves, middle, f"{mark}-", color=colour, label=name)
plt.xlabel("factors drawn from $2^{-n}$ to 1: n")
plt.ylabel("test accuracy, int8 weights (%)")
plt.legend(loc="lower left")
medians = np.median(trials, axis=1)
show.finding(
    "One function, written in many ways: int8 destroys some, and none once equalized",
    alt="Accuracy against the spread of the channel factors, median and range of ten draws. At 14 "
    + "; ".join(f"{name}: {100 * each:.0f} %" for name, each in zip(kinds, medians[-1]))
    + ". Up to 6 all three stay near 99 %",
)

# %%
claim(
    "at the widest spread one scale a layer is ruinous, a scale a channel better",
    medians[-1, 0] < 0.5 and medians[-1, 0] + 0.2 < medians[-1, 1] < 0.95,
    f"medians of ten draws {medians[-1, 0]:.1%} and {medians[-1, 1]:.1%}",
)

# %%
lowest = trials.min(axis=1)  # (7, 3), the worst draw of each
claim(
    "equalized, no draw loses a point; with factors no further apart than 64, none does anyway",
    lowest[:, 2].min() > accuracy(network) - 0.01 and lowest[:3].min() > accuracy(network) - 0.01,
    f"at least {lowest[:, 2].min():.1%} and {lowest[:3].min():.1%}",
)

# %%
mended = accuracy(with_weights(per_tensor, of=equalized(twin)))
show.table(
    ["weights", "MobileNet-v1, ImageNet (Krishnamoorthi)", "our twin, digits (here)"],
    [
        ["float32", "0.709", f"{accuracy(twin):.3f}"],
        ["int8, one scale a layer", "0.001", f"{collapsed:.3f}"],
        ["int8, one scale a channel", "0.591", f"{helped:.3f}"],
        ["int8, one a channel with zero points", "0.703", ""],
        ["int8, one a layer, equalized", "", f"{mended:.3f}"],
    ],
)

# %% [markdown]
# The shape is Krishnamoorthi's: a collapse, most of it mended by a scale for each channel, nearly all of it by one
# step more: for him zero points, for us equalization. (The shape is all that can be compared: network, task and wound
# are others.) The ten draws of one spread differ widely, so how far the factors are apart does not decide alone. It
# seems to matter which channels they fall on. And note what did *not* happen: with factors up to 64 times apart
# nothing broke. A network need not have equal channels, only not absurd ones.
#
# ## Which range for the activations?
#
# Weights are known. *Activations*, what the layers give out, depend on the input, so their range must be fixed from
# examples: that is *calibration*. How long is their tail? The *kurtosis*, the mean fourth power over the squared
# variance, is 3 for a bell curve and more where few values are far out. For comparison we draw values with a tail that
# is long by construction (absolute values of Student's t with 3 degrees of freedom).

# %%
watched = {1: "after first ReLU", 3: "after second ReLU", 8: "after third ReLU"}
seen = {i: outputs_of(network, fit.images[:256])[i].ravel() for i in watched}
drawn = np.random.default_rng(0).standard_t(3, 100_000)  # Student's t
synthetic = np.abs(drawn).astype(np.float32)


def kurtosis(values):
    away = values.astype(np.float64) - values.mean()
    return (away**4).mean() / (away**2).mean() ** 2


show.table(
    ["values", "largest", "99.9 % lie below", "kurtosis"],
    [[name, f"{a.max():.1f}", f"{np.percentile(a, 99.9):.1f}", f"{kurtosis(a):.0f}"]
     for name, a in [*((watched[i], seen[i]) for i in watched), ("synthetic", synthetic)]],
)  # fmt: skip

# %%
tails = [kurtosis(seen[i]) for i in watched]
claim(
    "our network has one heavy-tailed layer, far milder than the synthetic values",
    10 < tails[1] < 0.5 * kurtosis(synthetic) and tails[1] > 2 * max(tails[0], tails[2]),
    f"{tails[1]:.0f} against {kurtosis(synthetic):.0f}; others {tails[0]:.0f} and {tails[2]:.0f}",
)

# %% [markdown]
# After a ReLU nothing is negative. A symmetric grid would spend half of its levels on numbers that never come, so
# activations get an affine one. By the formula above that is worth $20 \log_{10}(255/127)$, a bit:

# %%
relu = seen[3]
gain = snr_db(relu, affine_grid(0, relu.max()).rounded(relu)) - snr_db(
    relu, symmetric(relu.max()).rounded(relu)
)
claim(
    "after the second ReLU, unsigned levels are worth one bit",
    5 < gain < 7,
    f"{gain:.2f} dB more than symmetric ones",
)

# %% [markdown]
# The range is then 0 to a clip $c$, the zero point is 0, and $c$ is all there is to choose. Its two costs, from the
# staircase above: rounding, $s^2/12$ with $s = c/(2^b - 1)$, for what lies inside, and $(r - c)^2$ for what lies
# outside. One falls with a smaller $c$, the other grows. Where do you expect the lowest point at 8 bits, and where at
# 4?


# %%
def clip_costs(values, clip, bits):
    """The mean squared error, in two parts: rounding inside the range, clipping outside."""
    error = (affine_grid(0, clip, bits).rounded(values) - values).astype(np.float64) ** 2
    return error[values <= clip].sum() / len(values), error[values > clip].sum() / len(values)


def best_clip(values, bits, tried=100):
    clips = np.linspace(0, values.max(), tried + 1)[1:]
    return clips[np.argmin([sum(clip_costs(values, c, bits)) for c in clips])]


# %%
tail = synthetic[:20_000]
shares = np.linspace(0.02, 1, 50)


def draw_clip(share, bits):
    costs = np.array([clip_costs(tail, each * tail.max(), bits) for each in shares])
    figure, (histogram, curve) = plt.subplots(1, 2, figsize=(9, 3.2))
    histogram.hist(tail, 80, color=show.SKY, log=True)
    histogram.axvline(share * tail.max(), color=show.RED, label="clip")
    histogram.set(xlabel="value", ylabel="how many")
    for name, cost, colour in zip(("rounding", "clipping"), costs.T, (show.BLUE, show.ORANGE)):
        curve.plot(shares, np.maximum(cost, 1e-7), color=colour, label=name)
    curve.plot(shares, costs.sum(axis=1), color="black", label="together")
    curve.axvline(share, color=show.RED)
    curve.set(yscale="log", ylim=(1e-5, 10), xlabel="clip, as a share of the largest value")
    curve.set_ylabel("mean squared error")
    for axes in (histogram, curve):
        axes.legend()
    here = sum(clip_costs(tail, share * tail.max(), bits))
    return here / costs.sum(axis=1).min(), shares[costs.sum(axis=1).argmin()]


# %%
times, where = draw_clip(1.0, bits=4)
show.finding(
    f"At 4 bits, the largest value as clip costs {times:.0f} times the error of the best clip",
    alt="Left: histogram of the synthetic values, most near 0, a few far out. Right: mean squared "
    "error against the clip: rounding grows with it, clipping falls, the sum is lowest at "
    f"{where:.0%} of the largest value and {times:.1f} times as high at 100 %",
)

# %%
times_at_8, where_at_8 = draw_clip(1.0, bits=8)
plt.close()
claim(
    "at 4 bits the best clip cuts off more than half of the range, and not at 8 bits",
    where < 0.5 < where_at_8 and times > 3 > times_at_8,
    f"best at {where:.0%} and {where_at_8:.0%} of the largest value, "
    f"that largest value costs {times:.1f} and {times_at_8:.2f} times the least error",
)

# %% [markdown]
# Turn both knobs, clip and bits: was your guess right? And where is the lowest point at 2 bits?

# %%
import ipywidgets

clip_knob = ipywidgets.FloatSlider(1.0, min=0.02, max=1, step=0.02, description="clip")
bits_knob = ipywidgets.IntSlider(4, min=2, max=8, description="bits")
says, drawing = ipywidgets.Label(), ipywidgets.Image(width=800)


def redraw(change=None):
    png = io.BytesIO()
    times, where = draw_clip(clip_knob.value, bits_knob.value)
    says.value = f"{times:.2f} times the least error, which is at a clip of {where:.2f}"
    plt.tight_layout()
    plt.savefig(png, format="png", facecolor="white")
    plt.close()
    drawing.value = png.getvalue()


redraw()
for knob in (clip_knob, bits_knob):
    knob.observe(redraw, names="value")
ipywidgets.VBox([clip_knob, bits_knob, says, drawing])

# %% [markdown]
# Tools offer four ways to choose the clip. *Min–max* takes the largest value. *Percentile* takes a value that all but
# a few lie below, here 99.9 %. *MSE* takes the lowest point of the curve above. *Entropy* (TensorRT's method) compares
# two histograms. $P$ is the values' own, what lies beyond the clip piled onto its last bin. $Q$ is $P$ as $2^b$ levels
# can tell it: bins are merged into $2^b$ groups, and each group's mass is spread evenly over its bins that are not
# empty. The method takes the clip with the smallest *Kullback–Leibler divergence*, $\sum P \log (P / Q)$, what it
# costs to take $Q$ for $P$ (lesson 02 met it as cross-entropy minus entropy).


# %%
def entropy_clip(values, bits, bins=2048):
    counts, edges = np.histogram(values[values > 0], bins, (0, values.max()))
    levels, divergence = 2**bits, {}
    for kept in range(max(levels, 16), bins + 1, 16):
        inside = counts[:kept].astype(np.float64)
        p = inside.copy()
        p[-1] += counts[kept:].sum()  # clipped values end up at the end
        group = np.arange(kept) * levels // kept
        mass, used = np.bincount(group, inside), np.bincount(group, inside > 0)
        q = np.where(inside > 0, (mass / np.maximum(used, 1))[group], 0)
        p, q, some = p / p.sum(), q / q.sum(), p > 0
        divergence[edges[kept]] = (p[some] * np.log(p[some] / np.maximum(q[some], 1e-12))).sum()
    return min(divergence, key=divergence.get)


# %%
methods = {
    "min–max": lambda values, bits: values.max(),
    "99.9 percentile": lambda values, bits: np.percentile(values, 99.9),
    "entropy": entropy_clip,
    "MSE": best_clip,
}


def clip_snr(values, method, bits):
    return snr_db(values, affine_grid(0, methods[method](values, bits), bits).rounded(values))


# %%
layer = seen[3][seen[3] > 0][::4]
db = {
    (method, bits, name): clip_snr(values, method, bits)
    for method in methods for bits in (8, 4)
    for name, values in (("synthetic", synthetic), ("our layer", layer))
}  # fmt: skip
columns = [(name, bits) for name in ("synthetic", "our layer") for bits in (8, 4)]
show.table(
    ["signal to noise (dB)", *(f"{name}, {bits} bits" for name, bits in columns)],
    [[method, *(f"{db[method, bits, name]:.1f}" for name, bits in columns)] for method in methods],
)

# %%
lead = {b: db["min–max", b, "synthetic"] - db["99.9 percentile", b, "synthetic"] for b in (8, 4)}
claim(
    "on the long tail min–max beats the percentile by 8 dB at 8 bits, and loses by 6 dB at 4",
    lead[8] > 8 and lead[4] < -6,
    f"{lead[8]:+.1f} and {lead[4]:+.1f} dB",
)

# %%
behind = [max(db[m, b, name] for m in methods) - db["MSE", b, name] for name, b in columns]
claim(
    "MSE is within 0.2 dB of the best method everywhere",
    max(behind) < 0.2,
    f"{max(behind):.2f} dB behind at most",
)

# %% [markdown]
# "Percentile is more robust than min–max" is half a sentence: on these values it depends on the bits. With 256 levels
# there are enough to spend some on a rare value, and cutting it off costs more. With 16 there are not. MSE follows the
# bits; it wins or ties because it is judged here by what it minimises. But the network does not care about squared
# errors, it cares about classes. And its calibration pictures are not always clean. Real pipelines forget a division:
# so let one of the 256 pictures come in raw counts, 0 to 16 instead of 0 to 1. Only the activations are rounded here;
# the weights stay float32.


# %%
def with_activations(images, clips, bits):
    """Logits, each watched activation rounded to its grid."""
    x = torch.from_numpy(images.reshape(-1, 1, 8, 8))
    with torch.inference_mode():
        for i, layer in enumerate(network):
            x = layer(x)
            if i in clips:
                x = torch.from_numpy(affine_grid(0, clips[i], bits).rounded(x.numpy()))
    return x.numpy()


spoiled = fit.images[:256].copy()
spoiled[0] *= 16
seen_spoiled = {i: outputs_of(network, spoiled)[i].ravel() for i in watched}

# %%
calibrated = {}
for name, values in (("clean", seen), ("one spoiled", seen_spoiled)):
    for method, choose in methods.items():
        for b in (8, 4):
            clips = {i: float(choose(values[i], b)) for i in watched}
            calibrated[name, method, b] = with_activations(test.images, clips, b).argmax(axis=1)
share_right = {key: float((answers == test.labels).mean()) for key, answers in calibrated.items()}

# %%
show.table(
    ["accuracy", "8 bits, clean", "8 bits, one spoiled", "4 bits, clean", "4 bits, one spoiled"],
    [[m, *(f"{share_right[name, m, b]:.1%}" for b in (8, 4) for name in ("clean", "one spoiled"))]
     for m in methods],
)  # fmt: skip

# %%
at_8 = [value for (_, _, b), value in share_right.items() if b == 8]
claim(
    "at 8 bits every method is within a point of float32",
    min(at_8) > accuracy(network) - 0.01,
    f"at least {min(at_8):.1%}",
)

# %%
ruined, clean = (share_right[name, "min–max", 4] for name in ("one spoiled", "clean"))
unmoved = share_right["one spoiled", "entropy", 4]
claim(
    "at 4 bits one spoiled picture of 256 ruins min–max, and entropy stays above 98 %",
    ruined < 0.85 and clean > 0.98 and unmoved > 0.98,
    f"min–max {ruined:.1%} instead of {clean:.1%}; entropy {unmoved:.1%}",
)

# %% [markdown]
# Are the differences real? Min–max against entropy, at 4 bits, on the same images:

# %%
pairs = {
    name: disagreements(
        test.labels, calibrated[name, "min–max", 4], calibrated[name, "entropy", 4]
    )
    for name in ("clean", "one spoiled")
}
claim(
    "calibrated on clean pictures the two cannot be told apart; with one spoiled, they can",
    pairs["clean"].p > 0.05 and pairs["one spoiled"].p < 1e-6,
    "; ".join(f"{name}: {each}" for name, each in pairs.items()),
)

# %%
wider = [seen_spoiled[i].max() / seen[i].max() for i in watched]
claim(
    "the spoiled picture makes min–max's ranges 8 to 16 times too wide: 3 to 4 bits are gone",
    all(8 <= each <= 16 for each in wider),
    "; ".join(f"{each:.0f} times, {np.log2(each):.1f} bits" for each in wider),
)

# %% [markdown]
# That is what happened at 3 a.m. At 8 bits there is room to lose three or four, and here nobody notices. Whoever goes
# on to 4 bits with min–max has no such room. Another method can save the day, as entropy does here; percentile and MSE
# lose a few points all the same. A look at the calibration set is cheaper than any method: assert its range.
#
# ## How few bits will do?
#
# The articles name binarization too. A weight of one bit can be $+a$ or $-a$. Which $a$ is best? Minimise the squared
# error over $a$ and signs $B_i \in \{-1, 1\}$:
#
# $$J(a, B) = \sum_{i=1}^{n} (w_i - a B_i)^2 = \sum_i w_i^2 - 2a \sum_i w_i B_i + n a^2.$$
#
# For any $a > 0$ the middle term is best with $B_i = \operatorname{sign}(w_i)$, which makes it $-2a \sum |w_i|$. Then
# $\partial J / \partial a = -2 \sum |w_i| + 2 n a = 0$ gives $a = \frac1n \sum_i |w_i|$: **the mean, not the
# largest**. (It is the scale of XNOR-Net.)


# %%
def binary(w, by_channel=True):
    axes = tuple(range(1, w.ndim)) if by_channel else None
    return np.where(w >= 0, 1, -1) * np.abs(w).mean(axis=axes, keepdims=True)


row = weights["7.weight"][0]
scales = np.linspace(0.2, 5, 481) * np.abs(row).mean()
by_search = scales[np.argmin([((row - a * np.sign(row)) ** 2).sum() for a in scales])]
found, mean = by_search, np.abs(row).mean()
claim("a search finds mean |w|", abs(found / mean - 1) < 0.02, f"{found:.4f} and {mean:.4f}")

# %% [markdown]
# Now all bits from 8 to 1, on four networks: the course's own, and three trained anew with other seeds (lesson 04's
# recipe), since one network may be lucky. Three grids: the peak of the layer, the peak of each channel, and for each
# channel the peak that gives the least squared error, as for activations above. Predict: will two bits do better than
# one?


# %%
def least_error(w, bits):
    """Each channel rounded with the share of its peak, from 20 % to 100 %, that errs least."""
    axes = tuple(range(1, w.ndim))
    tries = [
        symmetric(share * peaks(w, True), bits).rounded(w) for share in np.linspace(0.2, 1, 41)
    ]
    costs = np.array([((each - w) ** 2).sum(axis=axes) for each in tries])  # (41, channels)
    return np.stack(tries)[costs.argmin(axis=0), np.arange(len(w))]


# %%
networks = [
    network,
    *(torch_models.train(fit.images, fit.labels, seed=seed) for seed in (1, 2, 3)),
]
few = [8, 6, 5, 4, 3, 2]
grids = {"peak of layer": per_tensor, "peak of channel": per_channel, "least error": least_error}


def accuracies(change, *settings):
    return np.array(
        [accuracy(with_weights(lambda w: change(w, *settings), of=net)) for net in networks]
    )


by_bits = {(name, b): accuracies(change, b) for name, change in grids.items() for b in few}
one_bit = {"mean of layer": accuracies(binary, False), "mean of channel": accuracies(binary, True)}
in_float = np.array([accuracy(net) for net in networks])

# %%
looks = zip(grids, (show.RED, show.ORANGE, show.BLUE), "osD", (-0.08, 0, 0.08))
for name, colour, mark, side in looks:
    found = 100 * np.array([by_bits[name, b] for b in few])  # (6, 4)
    plt.plot(
        np.array(few) + side,
        found.mean(axis=1),
        f"{mark}-",
        ms=3,
        color=colour,
        label=f"{name}, 2 to 8 bits",
    )
    plt.plot(np.array(few) + side, found, mark, ms=3, mfc="none", color=colour)
looks = zip(one_bit.items(), (show.PURPLE, show.GREEN), "v^", (-0.06, 0.06))
for (name, found), colour, mark, side in looks:
    plt.plot(np.full(4, 1 + side), 100 * found, mark, ms=6, color=colour, label=f"{name}, 1 bit")
plt.xlabel("bits of each weight")
plt.ylabel("test accuracy (%)")
plt.legend(loc="lower right", title="line: mean of four networks")
percent = {key: f"{100 * found.mean():.0f} %" for key, found in (by_bits | one_bit).items()}
show.finding(
    "With the best scale four bits cost next to nothing; below, the scale decides",
    alt="Accuracy against bits of each weight, four networks, three grids, and binary weights. "
    + "; ".join(f"{n} at 4, 3, 2 bits: {', '.join(percent[n, b] for b in few[3:])}" for n in grids)
    + "; " + "; ".join(f"1 bit, {name}: {percent[name]}" for name in one_bit),
)  # fmt: skip

# %%
loss_at_4 = in_float - by_bits["least error", 4]
claim(
    "at 8 bits no network loses a point with any grid, at 4 bits none loses 1.5 with the best",
    all((in_float - by_bits[name, 8]).max() < 0.01 for name in grids) and loss_at_4.max() < 0.015,
    f"at 4 bits, the largest loss is {100 * loss_at_4.max():.1f} points",
)

# %%
claim(
    "one bit, scaled by the mean, beats two bits scaled by the layer's peak, in every network",
    (one_bit["mean of layer"] > by_bits["peak of layer", 2]).all(),
    f"means {one_bit['mean of layer'].mean():.0%} and {by_bits['peak of layer', 2].mean():.0%}",
)

# %%
claim(
    "with a scale of least error two bits beat one again, in the mean",
    by_bits["least error", 2].mean() > one_bit["mean of channel"].mean() + 0.05,
    f"{by_bits['least error', 2].mean():.0%} and {one_bit['mean of channel'].mean():.0%}",
)

# %%
observe(
    "for binary weights a scale for each channel brings less than 10 points, in the mean",
    abs(one_bit["mean of channel"].mean() - one_bit["mean of layer"].mean()) < 0.1,
    f"{percent['mean of channel']} and {percent['mean of layer']}",
    either=True,
)

# %% [markdown]
# What a scale for each channel brings to one bit differs from network to network, and yours are trained anew.
# Two bits with the wrong scale are worse than one with the right one: the layer's peak sends most weights to 0, as we
# saw above. The number of bits alone says little about a quantizer: ask which scale, and measure.

# %%
best_binary = max(found.max() for found in one_bit.values())
claim("no network with binary weights reaches 95 %", best_binary < 0.95, f"best {best_binary:.1%}")

# %% [markdown]
# No binary network here is fit for use. Those in the literature are *trained* with binary weights, first and last
# layer usually left in float; networks of 2 bits are mostly trained so, too. Lesson 10 trains with rounding in the
# loop.
#
# ## What does the file weigh?
#
# Weights in int8 and biases in float32, with a scale for each output channel, in the safetensors format that lesson 04
# read by hand. Whoever loads it dequantizes, and computes in float32: the file is small, the arithmetic is as before.
# Four bits are packed two to a byte.

# %%
from safetensors.numpy import load_file, save_file


def pack(q):
    """Levels −7 to 7, two to a byte, the first in the low half."""
    halves = (np.append(q.ravel(), np.zeros(q.size % 2, np.int8)) & 15).astype(np.uint8)
    return halves[0::2] | halves[1::2] << 4


def unpack(packed, shape):
    halves = np.stack([packed & 15, packed >> 4], axis=1).ravel().astype(np.int8)
    return np.where(halves > 7, halves - 16, halves)[: np.prod(shape)].reshape(shape)


# %%
files = {}
for b in (8, 4):
    kept = {name: p for name, p in tensors.items() if name not in weights}
    for name, w in weights.items():
        grid = symmetric(peaks(w, True), b)
        levels = grid.quantize(w)
        kept[name] = levels if b == 8 else pack(levels)
        kept[f"{name}.scale"] = grid.scale.ravel()
    files[b] = scratch / f"int{b}.safetensors"
    save_file(kept, files[b])


# %%
def loaded(b):
    found, net = load_file(files[b]), torch_models.digits_cnn()
    state = {name: torch.from_numpy(found[name].copy()) for name in tensors if name not in weights}
    for name, w in weights.items():
        levels = found[name] if b == 8 else unpack(found[name], w.shape)
        scale = found[f"{name}.scale"].reshape(-1, *[1] * (w.ndim - 1))
        state[name] = torch.from_numpy(levels.astype(np.float32) * scale)
    net.load_state_dict(state)
    return net.eval()


# %%
from course_lib import models

before = models.path("digits_cnn", 3, "weights.safetensors").stat().st_size
sizes = {b: file.stat().st_size for b, file in files.items()}
small = {b: loaded(b) for b in files}
exact = {8: with_weights(per_channel), 4: with_weights(lambda w: per_channel(w, 4))}
claim(
    "what is read back holds the weights that were saved, bit for bit",
    all(
        torch.equal(p, q)
        for b in files
        for p, q in zip(small[b].parameters(), exact[b].parameters())
    ),
    f"{sizes[8]:,} and {sizes[4]:,} bytes",
)

# %%
claim(
    "the int8 file takes at most 0.3 of the bytes, the one with 4 bits at most 0.2",
    sizes[8] / before <= 0.3 and sizes[4] / before <= 0.2,
    f"{sizes[8] / before:.3f} and {sizes[4] / before:.3f} of {before:,} bytes",
)

# %% [markdown]
# A little more than a quarter and an eighth: biases, scales and the header do not shrink, and in a network this small
# they show.
#
# ## What we measured

# %%
rows, moved = [], {}
for b in files:
    answers = torch_models.logits_of(small[b], test.images)
    moved[b] = float(np.abs(answers - logits).max())
    versus = disagreements(test.labels, logits.argmax(axis=1), answers.argmax(axis=1))
    ledger.record(
        "digits_cnn",
        f"int{b} weights",
        accuracy=accuracy(small[b]),
        bytes=sizes[b],
        max_abs_diff=moved[b],
    )
    rows.append(
        [f"{b} bits", f"{sizes[b]:,}", f"{accuracy(small[b]):.2%}", f"{moved[b]:.2f}", str(versus)]
    )
show.table(
    [
        "weights, a scale a channel",
        "bytes",
        "accuracy",
        "logits moved by",
        "float32 alone right, it alone",
    ],
    rows,
)

# %%
claim(
    "both are within 1.5 points of float32; 4 bits move the logits at least 5 times as far",
    min(accuracy(net) for net in small.values()) > accuracy(network) - 0.015
    and moved[4] > 5 * moved[8],
    f"{moved[8]:.2f} and {moved[4]:.2f}",
)

# %%
ledger.picture("Fewer bits for each weight move the model to the left and hardly down")

# %% [markdown]
# ## What to remember
#
# - A grid is a scale and a zero point that is itself a level; each bit is worth about 6 dB, as long as the range fits.
# - One outlier sets the range for all: look at ranges by channel, equalize, and check the calibration pictures.
# - The integer product is exact; what differs is how it is rounded back, and whether the processor saturates on the
#   way.
#
# ## Where this breaks down
#
# 450 images and a network that is almost always right: differences of one or two images say nothing, and a harder task
# would lose more. Our activations have tails that 8 bits can bear; large transformers have a few features whose values
# are many times the others', and there the choice of range becomes the main problem. Rounding each weight to the
# nearest level is not the best choice for the *layer's* output either. The noise model assumes that numbers fall
# anywhere between two levels, which fails at few bits. Saturation was emulated, since this lesson cannot choose its
# processor.
#
# ## What real teams use
#
# ONNX Runtime's quantizer, LiteRT's converter, torchao, TensorRT, OpenVINO's NNCF: lesson 10 runs the first two. Per-channel
# symmetric int8 weights and per-tensor activations are the common default. Large language models often keep their
# weights alone in 4 bits, a scale for each group of 32 to 128 weights, rounded by GPTQ or AWQ; or 8-bit floating point
# where the hardware has it. Below 4 bits one usually trains with the rounding in the loop.
#
# ## Further reading
#
# - B. Jacob et al., *Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference*,
#   CVPR 2018.
# - R. Krishnamoorthi, *Quantizing deep convolutional networks for efficient inference: A whitepaper*,
#   arXiv:1806.08342, 2018.
# - M. Nagel, M. van Baalen, T. Blankevoort, M. Welling, *Data-Free Quantization Through Weight Equalization and Bias
#   Correction*, ICCV 2019.
# - M. Nagel et al., *A White Paper on Neural Network Quantization*, arXiv:2106.08295, 2021.
# - M. Rastegari, V. Ordonez, J. Redmon, A. Farhadi, *XNOR-Net: ImageNet Classification Using Binary Convolutional
#   Neural Networks*, ECCV 2016.
# - W. R. Bennett, *Spectra of Quantized Signals*, Bell System Technical Journal 27, 1948, for $s^2/12$ and when it
#   holds.
# - ONNX operator specification: *QuantizeLinear*, *MatMulInteger*, *ConvInteger*, *QLinearMatMul*.
