# %% [markdown]
# # 09 Quantization, from scratch
#
# At 3 a.m. the int8 build of the model answers nonsense. The float32 model behind it is fine, and last week's int8 build
# worked. One line was added to the export since then, and in float32 it does not change a single answer.
#
# ## You will be able to
#
# - derive scale and zero point from a range, and say why 0 must be a level;
# - predict how much noise rounding adds, and say where the prediction fails;
# - compare two models image by image, on the same images;
# - multiply matrices in whole numbers, with zero points, and get ONNX Runtime's answer bit for bit;
# - recognise a network that cannot live with one scale for a whole layer, and repair it.
#
# ## Before you start
#
# Lesson 01 quantized a model with one call. Here we take each step of that call by hand. The network is version 3 of
# the digits network (lesson 04). It has two convolutions and two dense layers, with a ReLU after each but the last. NumPy
# does the arithmetic, PyTorch runs the network, and ONNX Runtime's operators are the judge. Lesson 10 uses the tools,
# and measures the speed.

# %%
import copy

import matplotlib.pyplot as plt
import numpy as np
import onnxruntime
import torch
from onnx import helper

from course_lib import data, models, torch_models
from course_lib.idioms import begin, claim, guess, ledger, observe, path, reveal, show

scratch = begin("09")
torch.set_num_threads(1)  # the network is small: more threads would only wait
path.picture(here="09")

# %% [markdown]
# ## Does quantization reduce the number of parameters?
#
# One of the articles behind this course says so: quantization makes a model simpler "by reducing the number of
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
    caption="All parameters of the digits network",
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
# The count stays the same. Each number gets fewer bits. (Fewer *numbers* is pruning, lesson 11.)
#
# Another of the articles gives quantization as a formula: "Quantization(Model) = Convert float parameters to
# integers". In NumPy that is one call, `w.astype(np.int8)`. Lesson 06 tried it in passing. Our network reads more
# than 99 % of the test images correctly. Do you remember how many it reads after that call?

# %%
guess("literal", "What is the accuracy after `w.astype(np.int8)` for every weight?", share=True)

# %% [markdown]
# A function changes the weights of a copy, and two more count the correct answers.


# %%
def with_weights(change, layers=(0, 2, 7, 9), of=network):
    """A copy of the network; `change` is applied to the weights of these layers."""
    changed = copy.deepcopy(of)
    for i in layers:
        new = np.asarray(change(changed[i].weight.detach().numpy()), np.float32)
        changed[i].weight.data = torch.from_numpy(new)
    return changed


# %%
def classes(net):
    return torch_models.logits_of(net, test.images).argmax(axis=1)


def accuracy(net):
    return float((classes(net) == test.labels).mean())


def percent(share):
    return f"{100 * share:.1f} %"


# %%
literal = with_weights(lambda w: w.astype(np.int8))
answers = np.unique(classes(literal))
reveal("literal", accuracy(literal))
claim(
    "converted literally, every weight is 0, and every image gets the same answer",
    all((w.astype(np.int8) == 0).all() for w in weights.values()) and len(answers) == 1,
    f"always a {answers[0]}; the accuracy was {percent(accuracy(network))} before",
)

# %% [markdown]
# **Where this goes wrong.** The conversion to integers cuts off everything after the decimal point. All our weights
# lie between −1 and 1. The formula leaves out the important part: how much one step of an integer is *worth*.
#
# ## What are scale and zero point?
#
# With $b$ bits we can write the whole numbers from 0 to $2^b - 1$. We call them *levels*, $q$. We want them to stand for
# real numbers $r$ in a range from $\alpha$ to $\beta$, evenly spaced. Level 0 stands for $\alpha$, and the last level
# stands for $\beta$. Even spacing means a straight line, and a line has two parameters, $s$ and $z$:
#
# $$r = s\,(q - z), \qquad \alpha = s\,(0 - z), \qquad \beta = s\,(2^b - 1 - z) .$$
#
# Subtract the second equation from the third. Then solve the second for $z$:
#
# $$s = \frac{\beta - \alpha}{2^b - 1}, \qquad z = -\frac{\alpha}{s} .$$
#
# $s$ is the *scale*: the worth of one step, in the unit of $r$. $z$ is the *zero point*: the level that stands for $r
# = 0$. A map of this form is called *affine*.
#
# We add one condition: **$z$ must be a level**. So we widen the range until it contains 0, and round $z$. Otherwise
# no level may stand for 0. But 0 is special: convolutions pad with it, ReLU returns it, and masks are made of it. If
# 0 came back as a small positive number, every padded image would get a faint grey frame.
#
# To quantize, divide by the scale, round, add the zero point, and *clip*: what lies outside is set to the nearest
# end. $\hat r$ is what comes back:
#
# $$q = \operatorname{clip}\!\left(\operatorname{round}\!\left(\frac{r}{s}\right) + z,\; 0,\; 2^b - 1\right), \qquad
# \hat r = s\,(q - z) .$$


# %%
def affine(low, high, bits=8):
    low, high = np.float32(min(low, 0)), np.float32(max(high, 0))
    scale = (high - low) / np.float32(2**bits - 1)
    return scale, int(np.rint(-low / scale))


# %%
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
# Drawn with 8 bits, this map looks like a straight line. With 3 bits you see its two errors.

# %%
r = np.linspace(-1.5, 1.5, 1501).astype(np.float32)
s3, z3 = affine(first.min(), first.max(), bits=3)
came_back = dequantize(quantize(r, s3, z3, bits=3), s3, z3)
inside = (r >= first.min()) & (r <= first.max())
worst_in, worst_out = (np.abs(came_back - r)[part].max() / s3 for part in (inside, ~inside))
figure, (stairs, errors) = plt.subplots(2, 1, figsize=(7, 5.2), sharex=True)
stairs.plot(r, r, color=show.GREY, lw=1, label="r")
stairs.plot(r, came_back, color=show.BLUE, label="what comes back")
stairs.set_ylabel("number that comes back")
errors.plot(r, (came_back - r) / s3, color=show.RED)
errors.axhspan(-0.5, 0.5, color=show.SKY, alpha=0.3, label="half a step")
errors.set(xlabel="number r", ylabel="error (steps)")
for axes in (stairs, errors):
    axes.legend()
show.finding(
    "Rounding costs at most half a step; outside the range the error has no limit",
    alt=f"Above: a staircase of 8 levels along the diagonal, flat below {first.min():.2f} and "
    f"above {first.max():.2f}. Below: the error, a sawtooth of at most {worst_in:.2f} steps inside "
    f"the range; outside it grows to {worst_out:.2f} steps",
)

# %%
claim(
    "inside the range the error stays within half a step; at ±1.5 it is more than two steps",
    worst_in <= 0.5001 and worst_out > 2,
    f"{worst_in:.2f} steps inside, {worst_out:.2f} at ±1.5",
)

# %% [markdown]
# These are the two errors of every quantizer, *rounding* and *clipping*. A wider range makes rounding worse and
# clipping better. **Now do exercise 09.1**: the same map for many channels, with the ranges that break it.
#
# ## Does ONNX Runtime compute the same?
#
# ONNX calls the two directions `QuantizeLinear` and `DequantizeLinear`. We build a model of a single operator, so that
# we can ask ONNX Runtime about any of them.


# %%
def one_operator(name, *inputs, gives, **attributes):
    """What ONNX Runtime's operator returns for these inputs. gives: the output's dtype."""
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
    "our map is ONNX Runtime's, bit for bit, in both directions",
    np.array_equal(theirs, ours)
    and np.array_equal(theirs_back, dequantize(ours, step, int(zero))),
    f"{len(hard):,} numbers; {len(ties)} of them are ties, two are far outside",
)

# %% [markdown]
# **Where this goes wrong.** Two mistakes are easy to make in that one line: to round ties *up*, and to forget the clip.

# %%
half_up = np.clip(np.floor(hard / step + np.float32(0.5)) + 100, 0, 255).astype(np.uint8)
is_tie = np.isin(np.arange(len(hard)), 100_000 + np.arange(len(ties)))

# %%
bright = np.float32([38.75, 39.0, 50.0])  # these want levels 255, 256 and 300
no_clip = (np.rint(bright / step) + 100).astype(np.int64).astype(np.uint8)
claim(
    "ties rounded up differ at ties alone; without the clip, two large numbers come back small",
    0 < (half_up != theirs).sum() == (half_up != theirs)[is_tie].sum()
    and (no_clip < bright / step + 100).sum() == 2,
    f"{(half_up != theirs).sum()} levels differ; {bright} become {no_clip} instead of "
    f"{quantize(bright, step, 100)}",
)

# %% [markdown]
# The first mistake changes a few levels by one. A parity test (lesson 06) finds it. The second mistake turns the
# brightest points of an image dark.
#
# ## How much noise does rounding add?
#
# We can predict it. Assume that a number falls anywhere between two levels with equal probability. Then its error $e$ is
# uniform between $-s/2$ and $s/2$, and the mean of its square is
#
# $$\overline{e^2} = \frac1s \int_{-s/2}^{s/2} e^2\,de = \frac1s \cdot \frac{2}{3}\Big(\frac s2\Big)^3 = \frac{s^2}{12} .$$
#
# The size of this noise matters only in comparison with the numbers. The *signal-to-noise ratio* (SNR) compares the two
# mean squares on a logarithmic scale. Its unit is the decibel (dB), and 10 dB are a factor of ten:
#
# $$\mathrm{SNR} = 10 \log_{10} \frac{\overline{r^2}}{s^2/12}\ \mathrm{dB} .$$
#
# One more bit halves $s$. The noise falls to a quarter, so the SNR grows by $10 \log_{10} 4 \approx 6$ dB.
#
# For weights the range is usually *symmetric*, from $-\beta$ to $\beta$ with $\beta = \max |w|$. The levels are signed,
# from $-(2^{b-1}-1)$ to $2^{b-1}-1$, so $s = \beta / (2^{b-1} - 1)$ and $z = 0$. (Level −128 is not used. We will see
# what $z = 0$ saves.) From here on we take both grids from the course's library. It holds the code above, for many
# channels at once.

# %%
from course_lib.measure import disagreements
from course_lib.quantization import affine as affine_grid
from course_lib.quantization import symmetric

# %%
grid = affine_grid(first.min(), first.max())
claim(
    "the library computes our scale, our zero point and our levels",
    grid.scale == s
    and grid.zero_point == z
    and np.array_equal(grid.quantize(first), quantize(first, s, z)),
    f"scale {grid.scale:.5f}, zero point {grid.zero_point}",
)

# %% [markdown]
# We measure the noise of all four layers, with 2 to 8 bits.


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
worst = max(np.abs(each[2:]).max() for each in gap.values())

# %%
for name, colour, mark in zip(weights, show.PALETTE, "osD^"):
    plt.plot(bits, predicted[name], "--", color=colour, lw=1)
    plt.plot(bits, measured[name], mark, color=colour, label=f"{name}, {weights[name].size:,}")
plt.plot([], [], "--", color=show.GREY, label="predicted, s²/12")
plt.xlabel("bits of each weight")
plt.ylabel("signal to noise (dB)")
plt.legend(title="layer, number of weights", loc="upper left")
show.finding(
    f"Each bit adds {slope:.1f} dB; at 2 bits the prediction fails",
    alt="Signal-to-noise ratio of the rounded weights against bits, four layers. The points lie on "
    f"the predicted lines from 4 bits on, {slope:.1f} dB a bit. At 2 bits they are off by up to "
    f"{max(abs(each[0]) for each in gap.values()):.1f} dB",
)

# %% [markdown]
# The points lie on the predicted lines from 8 bits down to 4.

# %%
by_formula = 20 * np.log10(127 / 7) / 4  # the steps of a symmetric grid: 8 bits against 4
claim(
    "from 4 bits on the prediction is right within 1 dB, and a bit is worth a little more than 6",
    worst < 1 and 6 < by_formula < 6.5 and abs(slope - by_formula) < 0.3,
    f"off by up to {worst:.2f} dB; a bit: measured {slope:.2f} dB, by formula {by_formula:.2f}",
)

# %% [markdown]
# The prediction knew only the mean square of the weights and their peak. (A bit is worth a little more than 6 dB
# because one level is unused, and the fewer levels there are, the more it counts.) Why does it fail at 2 bits? Three
# numbers are left, $-\beta$, 0 and $\beta$.

# %%
to_zero = {
    n: float((symmetric(np.abs(w).max(), 2).quantize(w) == 0).mean()) for n, w in weights.items()
}
claim(
    "at 2 bits more than half of each layer's weights become 0",
    min(to_zero.values()) > 0.5,
    ", ".join(f"{name} {percent(share)}" for name, share in to_zero.items()),
)

# %% [markdown]
# Such a weight does not fall "anywhere between two levels". It lies near 0, and its error is the weight itself. In
# the wide layers that is less noise than $s^2/12$, but hardly any signal is left. One weight, the largest, sets
# $\beta$ for all the others. Lesson 09b chooses better ranges for few bits.
#
# **Your turn:** does the prediction always fail at 2 bits? Try numbers that are spread evenly:
#
# ```python
# even, grid = np.random.default_rng(0).uniform(-1, 1, 10_000), symmetric(1, 2)
# snr_db(even, grid.rounded(even)), predicted_db(even, grid.scale)
# ```
#
# ## Is the int8 model worse than the float32 model?
#
# Now round all weights to int8, and look at the answers. A dashboard shows two accuracies, before and after. But both
# were measured on the same images, so we can say more. As in lesson 05, only the *disagreements* count: $n_1$ images
# that only the first model reads correctly, and $n_2$ that only the second does. If both models are equally good,
# each of these is like the toss of a coin. Here is McNemar's p-value as a formula:
#
# $$p = \min\Big(1,\; 2 \sum_{k=0}^{\min(n_1, n_2)} \binom{n_1 + n_2}{k}\, 2^{-(n_1 + n_2)}\Big) .$$


# %%
def int8_weights(w):
    return symmetric(np.abs(w).max()).rounded(w)


int8_network = with_weights(int8_weights)
logits, int8_logits = (torch_models.logits_of(n, test.images) for n in (network, int8_network))
versus = disagreements(test.labels, logits.argmax(axis=1), int8_logits.argmax(axis=1))
moved = float(np.abs(int8_logits - logits).max())

# %%
show.table(
    ["weights", "accuracy", "correct where the other is wrong"],
    [["float32", percent(accuracy(network)), versus.first_only],
     ["int8", percent(accuracy(int8_network)), versus.second_only]],
    caption="The digits network, 450 test images",
)  # fmt: skip

# %%
claim(
    "int8 weights change fewer than 1 % of the answers, and no logit by more than 0.5",
    (logits.argmax(1) != int8_logits.argmax(1)).mean() < 0.01 and moved < 0.5,
    f"largest change of a logit {moved:.2f}",
)
claim("450 images cannot tell the two apart", versus.p > 0.3, f"{versus} (float32 against int8)")

# %% [markdown]
# With so few disagreements we can say neither "int8 loses accuracy" nor "int8 costs nothing". And the logits did
# move. A service that compares a probability with a threshold may notice that first. So compare logits as well as
# classes.
#
# ## How does int8 multiply matrices?
#
# So far we rounded the weights, and then multiplied floats as before. That is not faster. Int8 can be faster where
# the product itself runs in whole numbers (lesson 10 measures it). Take inputs $x \in \mathbb{R}^{N \times K}$ and
# weights $w \in \mathbb{R}^{K \times M}$. Their levels $X$ and $W$ have the same shapes. The scales are $s_x$ and
# $s_w$, the zero points $z_x$ and $z_w$. Write $x$ and $w$ by their levels, and multiply out:
#
# $$\sum_k x_{ik} w_{kj} = s_x s_w \sum_{k=1}^{K} (X_{ik} - z_x)(W_{kj} - z_w)
# = s_x s_w \Big[ \underbrace{\textstyle\sum_k X_{ik} W_{kj}}_{(N, M)} -
# z_w \underbrace{\textstyle\sum_k X_{ik}}_{(N, 1)} - z_x \underbrace{\textstyle\sum_k W_{kj}}_{(1, M)} + K z_x z_w \Big].$$
#
# All numbers in the brackets are whole. Only the first term needs $N K M$ products, and these are products of 8-bit
# numbers. The third and fourth terms are known before the first request. The second must be computed for each input,
# unless $z_w = 0$. That is what symmetric weights save.
#
# The sum is kept in an int32, the *accumulator*. How many products of two unsigned bytes fit in before it can
# overflow?

# %%
guess("terms", "How many products of two bytes, 0 to 255, fit into an int32?", low=10, high=10**7)


# %%
def integer_product(X, W, zx, zw):
    """int32 (N, M) from levels X uint8 (N, K) and W uint8 (K, M)."""
    X, W = X.astype(np.int32), W.astype(np.int32)
    rows = X.sum(axis=1, keepdims=True)  # (N, 1)
    columns = W.sum(axis=0, keepdims=True)  # (1, M)
    return X @ W - zw * rows - zx * columns + X.shape[1] * zx * zw


# %%
reveal("terms", (2**31 - 1) // 255**2, "Few layers have more inputs than this.")

# %% [markdown]
# We try it on the network's widest layer, with the 512 inputs that it gets from each test image. Then we try random
# levels, odd shapes and other zero points.


# %%
def outputs_of(net, images):
    """What each layer returns, by its number in the network: numpy arrays."""
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
X_hard, W_hard = (
    random.integers(0, 256, shape).astype(np.uint8) for shape in ((64, 999), (999, 33))
)
pairs = [(X, W, zx, zw), (X_hard, W_hard, 7, 250)]

# %%
ours = [integer_product(*each) for each in pairs]
theirs = [
    one_operator("MatMulInteger", a, b, np.uint8(za), np.uint8(zb), gives=np.int32)
    for a, b, za, zb in pairs
]
claim(
    "our integer product is ONNX Runtime's MatMulInteger, bit for bit, on both",
    all(np.array_equal(a, b) for a, b in zip(ours, theirs)),
    ", ".join(f"{a.size:,} sums of {X.shape[1]} products" for a, (X, *_) in zip(ours, pairs)),
)

# %% [markdown]
# **Now do exercise 09.2**: a zero point for each column, and sums that float32 gets wrong.
#
# ### Which number pads a quantized convolution?
#
# A convolution is the same product, over windows. Many pipelines subtract the mean from their images. White paper is
# then negative, and $z_x$ is not 0. Which level must stand in the border?

# %%
pictures = (test.images[:20] - fit.images.mean()).reshape(-1, 1, 8, 8)
filters = weights["0.weight"]  # (16, 1, 3, 3)
picture_grid = affine_grid(pictures.min(), pictures.max())
filter_grid = affine_grid(filters.min(), filters.max())
P, F = picture_grid.quantize(pictures), filter_grid.quantize(filters)
zp, zf = int(picture_grid.zero_point), int(filter_grid.zero_point)


# %%
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
    "padded with the zero point, our convolution is ConvInteger's bit for bit; padded with 0 not",
    np.array_equal(convolution(border=zp), theirs) and not np.array_equal(convolution(0), theirs),
    f"zero point {zp}; padded with 0, {percent((convolution(0) != theirs).mean())} of the sums "
    "differ",
)

# %% [markdown]
# ### How do 32 bits become 8 again?
#
# The next layer wants 8 bits again. One step of the sum is worth $s_x s_w$. The output has its own scale $s_o$ and zero
# point $z_o$, so its level $O$ is
#
# $$O = \operatorname{clip}\big(\operatorname{round}(m \cdot \text{sum}) + z_o,\; 0,\; 255\big), \qquad m = \frac{s_x s_w}{s_o} .$$
#
# This step is called *requantization*. ONNX's operator `QLinearMatMul` does it all. A bias joins the sum as an int32
# on the scale $s_x s_w$. Here the output's range comes from the test images themselves. A service must fix it
# beforehand, from examples; that is *calibration* (lesson 10 does it with the tools, 09b compares the methods).

# %%
outputs = x @ w
output_grid = affine_grid(outputs.min(), outputs.max())
m = np.float32(input_grid.scale * weight_grid.scale) / output_grid.scale
levels = np.clip(np.rint(ours[0].astype(np.float32) * m) + output_grid.zero_point, 0, 255)
three = [[g.scale, np.uint8(g.zero_point)] for g in (input_grid, weight_grid, output_grid)]
theirs = one_operator("QLinearMatMul", X, *three[0], W, *three[1], *three[2], gives=np.uint8)
apart = np.abs(levels - theirs)
layer_db = snr_db(outputs, output_grid.dequantize(theirs))

# %%
claim(
    "requantized, no level is more than one away from QLinearMatMul's, and the layer keeps 25 dB",
    apart.max() <= 1 and layer_db > 25,
    f"{apart.max():g} at most; {layer_db:.1f} dB",
)

# %%
observe(
    "here they are the same, bit for bit",
    apart.max() == 0,
    f"{(apart > 0).sum()} differ",
    either=True,
)

# %% [markdown]
# The sums are exact on every machine that adds in 32 bits. (Some processors add signed bytes in 16; see 09b.) The
# requantization goes through a floating-point product. Near a tie, two correct implementations may end up one level
# apart. **Now do exercise 09.3**: the factor $m$ on a chip without floating point.
#
# ## Why does int8 destroy one network and not its twin?
#
# R. Krishnamoorthi rounded the weights of MobileNet-v1 to 8 bits after training. Its accuracy on a thousand classes
# fell from 0.709 to 0.001, which is a random guess. With a scale for each output channel, instead of one for each
# layer, it was 0.591. With a scale and a zero point for each channel it was 0.704. What is special about MobileNet?
#
# His answer is *batch normalisation*. Such a layer divides each channel by its own spread. Before deployment, this
# division is multiplied into the weights of the layer in front of it. After that, the channels' weights can differ
# widely in size.
#
# Our network has no batch normalisation, but we can do the same to it. ReLU lets a positive factor pass: $\max(0, a u) =
# a \max(0, u)$ for $a > 0$. So we multiply everything that makes channel $c$ by a factor $a_c > 0$, and divide everything
# that reads channel $c$ by the same factor:
#
# $$W^{(1)}_c \leftarrow a_c W^{(1)}_c, \qquad b^{(1)}_c \leftarrow a_c\, b^{(1)}_c, \qquad W^{(2)}_{:,c} \leftarrow W^{(2)}_{:,c} / a_c .$$
#
# Here $W^{(1)}_c$ is the filter of the first convolution that makes channel $c$, $b^{(1)}_c$ is its bias, and
# $W^{(2)}_{:,c}$ are all weights of the second convolution that read it. The function stays the same. We call the new
# network the *twin*. (It is not the Keras twin of lesson 05.) Its factors lie between $2^{-12}$ and 1, with evenly
# drawn exponents.


# %%
def rescaled(net, factors):
    """The same function, its 16 inner channels multiplied by these factors."""
    a, twin = torch.from_numpy(np.asarray(factors, np.float32)), copy.deepcopy(net)
    with torch.no_grad():
        twin[0].weight *= a[:, None, None, None]
        twin[0].bias *= a
        twin[2].weight /= a[None, :, None, None]
    return twin


# %%
def draw_factors(exponents, seed):
    return 2.0 ** np.random.default_rng(seed).uniform(-exponents, 0, 16)


# %%
twin = rescaled(network, draw_factors(12, seed=0))
apart = np.abs(torch_models.logits_of(twin, test.images) - logits).max()
claim(
    "in float32 the twin is the same function",
    apart < 1e-3 and np.array_equal(classes(twin), classes(network)),
    f"logits differ by {apart:.1e} at most",
)

# %% [markdown]
# Now quantize both to int8, with one scale for each layer. The network keeps its accuracy. Does the twin?

# %%
guess("twin", "What is the twin's accuracy in int8, with one scale for each layer?", share=True)


# %%
def peaks(w, by_channel):
    """The largest |w|: of the layer, or of each output channel (axis 0), ready to broadcast."""
    return np.abs(w).max(axis=tuple(range(1, w.ndim)) if by_channel else None, keepdims=True)


def per_tensor(w):
    return symmetric(peaks(w, False)).rounded(w)


def per_channel(w):
    return symmetric(peaks(w, True)).rounded(w)


# %%
spared, collapsed = (accuracy(with_weights(per_tensor, of=net)) for net in (network, twin))
helped = accuracy(with_weights(per_channel, of=twin))
reveal("twin", collapsed)
claim(
    "one scale a layer destroys the twin and not the network; one a channel repairs only a part",
    collapsed < 0.5 and spared > 0.98 and collapsed + 0.3 < helped < 0.95,
    f"twin {percent(collapsed)}, network {percent(spared)}; twin with a scale for each output "
    f"channel {percent(helped)}",
)

# %% [markdown]
# The line from 3 a.m. did the same: it multiplied a batch normalisation into a convolution.
#
# ### How many int8 levels does each channel use?
#
# Count the int8 levels between 0 and each channel's largest weight. A channel that reaches less than half a level has
# all its weights rounded to 0.


# %%
def inner_peaks(net):
    """The largest |w| of what makes each of the 16 inner channels, and of what reads it."""
    makes, reads = (net[i].weight.detach().numpy() for i in (0, 2))
    return np.abs(makes).max(axis=(1, 2, 3)), np.abs(reads).max(axis=(0, 2, 3))


def levels_in_use(net):
    """int8 levels from 0 to each channel's peak, in what makes it and in what reads it."""
    made, read = inner_peaks(net)
    return np.array([127 * made / made.max(), 127 * read / read.max()])  # (2, 16)


order = np.argsort(-draw_factors(12, seed=0))  # the twin's largest factor first
made, read = levels_in_use(twin)[:, order]

# %%
plt.plot(made, "o", color=show.BLUE, label="in the first convolution, which makes the channel")
plt.plot(read, "s", mfc="none", color=show.ORANGE, label="in the second, which reads it")
plt.axhline(0.5, color=show.RED, ls="--", lw=1)
plt.text(0, 0.55, "below: all weights round to 0", color=show.RED, va="bottom")
plt.yscale("log")
plt.ylim(0.02, 1500)
plt.xlabel("channel of the twin, largest factor first")
plt.ylabel("int8 levels up to the peak")
plt.legend(loc="upper center")
show.finding(
    "Each channel of the twin has less than one int8 level in one of its layers",
    alt="Levels between 0 and the peak of each of 16 channels of the twin, logarithmic. Channels "
    f"with large factors have up to {made.max():.0f} levels in the first convolution and fewer "
    "than one in the second; channels with small factors the other way round",
)

# %% [markdown]
# How many levels do the network's own channels use?

# %%
claim(
    "in the network every channel has more than ten levels in both layers; in the twin none has",
    levels_in_use(network).min() > 10 and np.minimum(made, read).max() < 1,
    f"fewest in the network {levels_in_use(network).min():.0f}; in the twin, in the worse layer, "
    f"at most {np.minimum(made, read).max():.2f}",
)

# %% [markdown]
# The largest channel sets the step of the first convolution, and the small ones vanish. In the second convolution it is
# the other way round. The weights that read small channels were divided by small factors, so they are large. The
# weights that read large channels vanish beside them.
#
# Why does a scale for each output channel not repair both? Quantize one layer at a time.

# %%
alone = {
    (name, i): accuracy(with_weights(change, layers=[i], of=twin))
    for name, change in (("one scale a layer", per_tensor), ("one scale a channel", per_channel))
    for i in (0, 2)
}
show.table(
    ["int8 in one layer alone", "first convolution", "second convolution"],
    [[name, *(percent(alone[name, i]) for i in (0, 2))] for name, i in alone if i == 0],
    caption="Accuracy of the twin",
)

# %%
claim(
    "a scale for each output channel repairs the first convolution, and not the second",
    alone["one scale a channel", 0] > 0.985 and alone["one scale a channel", 2] < 0.95,
    f"{percent(alone['one scale a channel', 0])} and {percent(alone['one scale a channel', 2])}",
)

# %% [markdown]
# A scale can differ from *output* to output, because it can be taken out of each output's sum. It cannot differ from
# *input* to input. Inside the sum it would multiply each term differently, and the sum would no longer be in whole
# numbers. In the second convolution the inputs differ. MobileNet is luckier: its worst layers are *depthwise*. There
# each output reads one input channel only, so a scale for each output is also a scale for each input.
#
# ### Cross-layer equalization makes the ranges equal
#
# We can undo the damage, even if we do not know the factors. Let $g_c$ be the largest $|w|$ of what makes channel $c$
# ("gives"), and $t_c$ that of what reads it ("takes"). We choose the factor that makes both equal:
#
# $$a_c g_c = \frac{t_c}{a_c} \quad\Longrightarrow\quad a_c = \sqrt{t_c / g_c} \quad\text{and both become } \sqrt{g_c t_c} .$$
#
# This is *cross-layer equalization* (Nagel et al., 2019). It needs no data, and in float32 the function stays the same.


# %%
def equalized(net):
    gives, takes = inner_peaks(net)
    return rescaled(net, np.sqrt(takes / gives))


# %% [markdown]
# One draw proves little. We draw factors ten times, for each of six spreads.


# %%
def trial(exponents, seed):
    damaged = rescaled(network, draw_factors(exponents, seed))
    forms = [(per_tensor, damaged), (per_channel, damaged), (per_tensor, equalized(damaged))]
    return [accuracy(with_weights(change, of=net)) for change, net in forms]


spreads = [0, 6, 8, 10, 12, 14]
trials = np.array([[trial(n, seed) for seed in range(10)] for n in spreads])  # (6, 10, 3)

# %%
kinds = ["one scale a layer", "one scale a channel", "equalized, one a layer"]
for k, (name, colour, mark) in enumerate(zip(kinds, (show.RED, show.ORANGE, show.GREEN), "osD")):
    low, middle, high = 100 * np.percentile(trials[:, :, k], [0, 50, 100], axis=1)
    plt.fill_between(spreads, low, high, color=colour, alpha=0.15)
    plt.plot(spreads, middle, f"{mark}-", color=colour, label=name)
plt.xlabel("n: factors were drawn from $2^{-n}$ to 1")
plt.ylabel("test accuracy, int8 weights (%)")
plt.legend(loc="lower left", title="line: median, band: range of ten draws")
medians, lowest = np.median(trials, axis=1), trials.min(axis=1)
show.finding(
    "Int8 destroys some forms of the same function, and none of them once equalized",
    alt="Accuracy against the spread of the channel factors, median and range of ten draws. At 14 "
    + "; ".join(f"{name}: {100 * each:.0f} %" for name, each in zip(kinds, medians[-1]))
    + ". At 6 and below, all three stay near 99 %",
)

# %% [markdown]
# The bands are wide: for one spread, the ten draws differ by tens of points. So the spread alone does not decide.

# %%
claim(
    "at the widest spread one scale a layer is ruinous, and a scale a channel is better",
    medians[-1, 0] < 0.5 and medians[-1, 0] + 0.2 < medians[-1, 1] < 0.95,
    f"medians of ten draws {percent(medians[-1, 0])} and {percent(medians[-1, 1])}",
)

# %%
claim(
    "equalized, no draw loses a point; with factors up to 64 times apart, none does anyway",
    lowest[:, 2].min() > accuracy(network) - 0.01 and lowest[:2].min() > accuracy(network) - 0.01,
    f"at least {percent(lowest[:, 2].min())} and {percent(lowest[:2].min())}",
)

# %% [markdown]
# Here are Krishnamoorthi's numbers for MobileNet-v1 beside ours. (His single grid for a layer also has a zero point.)


# %%
def per_channel_affine(w):
    axes = tuple(range(1, w.ndim))
    low, high = w.min(axis=axes, keepdims=True), w.max(axis=axes, keepdims=True)
    return affine_grid(low, high).rounded(w)


with_zero_points = accuracy(with_weights(per_channel_affine, of=twin))
mended = accuracy(with_weights(per_tensor, of=equalized(twin)))

# %%
show.table(
    ["weights", "MobileNet-v1, ImageNet", "our twin, digits"],
    [
        ["float32", "0.709", f"{accuracy(twin):.3f}"],
        ["int8, one scale a layer", "0.001", f"{collapsed:.3f}"],
        ["int8, one scale a channel", "0.591", f"{helped:.3f}"],
        ["int8, one scale and zero point a channel", "0.704", f"{with_zero_points:.3f}"],
        ["int8, one scale a layer, equalized", "–", f"{mended:.3f}"],
    ],
    caption="Accuracy after quantization",
)

# %% [markdown]
# Both columns show a collapse, and a scale for each channel repairs most of it. Zero points did the rest for
# MobileNet. They cannot help our twin, because its ranges differ from input to input. Only the pattern can be
# compared, since network, task and damage are different. Note also what did *not* break: factors up to 64 times
# apart. A network does not need equal channels.
#
# One condition is easy to forget. A factor passes a ReLU, but not every activation. MobileNet-v1 has *ReLU6*, which
# also cuts off above 6:

# %%
u, a = np.linspace(-4, 20, 1000), 8.0
relu, relu6 = np.maximum(0, u), np.clip(u, 0, 6)
claim(
    "a factor of 8 passes ReLU, and does not pass ReLU6",
    np.array_equal(np.maximum(0, a * u), a * relu)
    and not np.allclose(np.clip(a * u, 0, 6), a * relu6),
    f"at u = 20: ReLU6(8u) = {np.clip(a * u[-1], 0, 6):g}, but 8 ReLU6(u) = {a * relu6[-1]:g}",
)

# %% [markdown]
# Nagel et al. therefore replace ReLU6 by ReLU first, and check that the accuracy survives. **Now do exercise 09.4**:
# equalization for any two convolutions, dead channels included.
#
# ## How large is the int8 file?
#
# We write the weights as int8 and the biases as float32, with a scale for each output channel. The format is
# safetensors (lesson 04). A program that loads this file dequantizes the weights and computes in float32, as before. So
# the file gets smaller, and the arithmetic does not get faster.

# %%
from safetensors.numpy import load_file, save_file

kept = {name: p for name, p in tensors.items() if name not in weights}  # the biases
for name, w in weights.items():
    grid = symmetric(peaks(w, True))
    kept[name], kept[f"{name}.scale"] = grid.quantize(w), grid.scale.ravel()
save_file(kept, scratch / "int8.safetensors")


# %%
def loaded(file):
    found, net = load_file(file), torch_models.digits_cnn()
    for name, values in net.named_parameters():
        back = found[name]
        if name in weights:  # int8 levels: times the scale of each channel
            back = back * found[f"{name}.scale"].reshape(-1, *[1] * (back.ndim - 1))
        values.data = torch.from_numpy(back.astype(np.float32))
    return net.eval()


small, exact = loaded(scratch / "int8.safetensors"), with_weights(per_channel)
size = (scratch / "int8.safetensors").stat().st_size
before = models.path("digits_cnn", 3, "weights.safetensors").stat().st_size

# %%
claim(
    "the file returns the rounded weights bit for bit, and takes at most 0.3 of the bytes",
    all(torch.equal(p, q) for p, q in zip(small.parameters(), exact.parameters()))
    and size / before <= 0.3,
    f"{size:,} of {before:,} bytes, {size / before:.3f}",
)

# %% [markdown]
# It is a little more than a quarter. Biases, scales and the header do not shrink, and in a network this small you
# notice them.
#
# ## What we measured

# %%
answers = torch_models.logits_of(small, test.images)
moved = float(np.abs(answers - logits).max())
versus = disagreements(test.labels, logits.argmax(axis=1), answers.argmax(axis=1))
ledger.record(
    "digits_cnn", "int8 weights", accuracy=accuracy(small), bytes=size, max_abs_diff=moved
)

# %%
show.table(
    ["weights", "bytes", "accuracy", "logits moved by", "only float32 correct, only int8"],
    [
        ["float32", f"{before:,}", percent(accuracy(network)), "–", "–"],
        ["int8, a scale a channel", f"{size:,}", percent(accuracy(small)), f"{moved:.2f}", versus],
    ],
    caption="The digits network before and after",
)

# %%
claim(
    "the int8 file is within a point of float32, and no logit moved by more than 0.5",
    accuracy(small) > accuracy(network) - 0.01 and moved < 0.5,
    f"{percent(accuracy(small))}; {moved:.2f}",
)

# %% [markdown]
# ## What to remember
#
# - A grid is a scale and a zero point, and the zero point must be a level. From 4 bits on, each bit is worth about 6
#   dB.
# - The product runs in whole numbers. Rounding its sums back to 8 bits is where two runtimes may differ by a level.
# - One large channel sets the step for all others. Look at the ranges of the channels, and equalize them.
#
# ## Where this breaks down
#
# We had 450 images and a network that is almost always right. A difference of one or two images says nothing there,
# and a harder task would lose more. The noise model assumes numbers that fall anywhere between two levels. At few
# bits they do not. Equalization needs an activation that lets a factor pass; it also changes the range of the
# *activations*, and a large bias can make them hard to quantize. In large transformers a few features are many times
# larger than the others, and there the choice of range becomes the main problem.
#
# ## What real teams use
#
# ONNX Runtime's quantizer, LiteRT's converter, torchao, TensorRT, OpenVINO's NNCF: lesson 10 runs the first two. Int8
# weights with a symmetric scale for each channel, and activations with one scale for each tensor, are a common default.
# Equalization is a call in Qualcomm's AIMET. The 8-bit floating-point types (FP8) and FP4 are an alternative where the
# hardware multiplies them (lesson 10b). Below 8 bits, see lesson 09b.
#
# ## Further reading
#
# - B. Jacob et al., *Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference*,
#   CVPR 2018.
# - R. Krishnamoorthi, *Quantizing deep convolutional networks for efficient inference: A whitepaper*,
#   arXiv:1806.08342, 2018, table 2.
# - M. Nagel, M. van Baalen, T. Blankevoort, M. Welling, *Data-Free Quantization Through Weight Equalization and Bias
#   Correction*, ICCV 2019.
# - M. Nagel et al., *A White Paper on Neural Network Quantization*, arXiv:2106.08295, 2021.
# - W. R. Bennett, *Spectra of Quantized Signals*, Bell System Technical Journal 27, 1948, for $s^2/12$ and when it
#   holds.
# - ONNX operator specification: *QuantizeLinear*, *MatMulInteger*, *ConvInteger*, *QLinearMatMul*.
