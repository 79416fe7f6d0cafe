# %% [markdown]
# # 10 Quantize the models
#
# At 3 a.m. the release that was to halve the bill has tripled the latency. It is the same network in int8, with the
# same accuracy, in a file of a quarter of the size. Nobody had timed it on the machines that serve.
#
# ## You will be able to
#
# - quantize a model with ONNX Runtime and with LiteRT, and say which numbers are whole and which are not;
# - choose calibration images, and see in the logits what the classes hide;
# - find, with a profiler, which operator makes an int8 model slow, and which instructions make it fast;
# - train with the rounding in the loop, and tell when that is worth it;
# - compare forms of a model on the same images, with an interval, and leave out the ones that no one should ship.
#
# ## Before you start
#
# Lesson 09 derives the *scale* and the *zero point* that this lesson's tools compute: a number $x$ is kept as the
# whole number $q$ with $x \approx s\,(q - z)$. *int8* means −128 to 127, *uint8* 0 to 255. Lesson 01 made one int8
# model with one call; here we ask what the call did, what it cost, and what else there is.

# %%
import inspect
import json
from collections import Counter

import matplotlib.pyplot as plt
import numpy as np
import onnx
import onnxruntime

from course_lib import data, measure, models
from course_lib.idioms import begin, claim, ledger, observe, path, quiet, show

scratch = begin("10")
path.picture(here="10")

# %% [markdown]
# ## On what can one measure speed at all?
#
# In the digits network there is so little to compute that the call itself takes a good part of the time. To learn
# something about arithmetic we need more of it. Two networks, over the same digits enlarged to 32 × 32 points:
#
# - `wide`, five dense layers, four of them 1,024 × 1,024: little else than matrix products;
# - `small_resnet`, nine convolutions in three *residual blocks* (a block adds its result to its input) and one small
#   dense layer: little else than convolutions.
#
# Both are trained here, side by side, each in a process of its own, which ends and takes PyTorch's memory with it. (On
# a slow or busy machine that takes minutes.)
# What stays are files: the ONNX model, and the weights alone.

# %%
TRAIN = """
import numpy as np, torch
from course_lib import data, onnx_files, torch_models
torch.set_num_threads(1)
fit, _ = data.hold_out(data.digits()[0])
large = data.upscaled(fit.images)  # float32 (1122, 32, 32)
network, file = torch_models.train_{name}(large, fit.labels, seed=0), {folder!r} + "/{name}"
np.savez(file + ".npz", **{{k: v.numpy() for k, v in network.state_dict().items()}})
torch.onnx.export(
    network, (torch.zeros(2, 1, 32, 32),), file + ".onnx", verbose=False,
    input_names=["pixels"], output_names=["logits"], external_data=False,
    dynamic_shapes=({{0: torch.export.Dim.DYNAMIC}},),
)
onnx_files.remove_notes(file + ".onnx")
"""

# %%
from concurrent.futures import ThreadPoolExecutor

LARGE = ("wide", "small_resnet")
codes = [TRAIN.format(name=name, folder=str(scratch)) for name in LARGE]
with ThreadPoolExecutor(2) as both:
    trained = list(both.map(lambda code: measure.fresh_process(code, timeout_s=600), codes))

# %%
train_part, test = data.digits()
fit, _ = data.hold_out(train_part)
NETWORKS = ("digits_cnn", *LARGE)
fp32 = {name: scratch / f"{name}.onnx" for name in NETWORKS}
fp32["digits_cnn"] = models.path("digits_cnn", 3)  # lesson 06's file


def pixels(name, part):
    """The pictures as the network takes them: (N, 1, 8, 8), or (N, 1, 32, 32)."""
    return (part.images if name == "digits_cnn" else data.upscaled(part.images))[:, None]


# %% [markdown]
# All times in this lesson are taken with one thread, for every runtime alike. (How many threads to use is a question
# for lesson 13.)


# %%
def session(file, **settings):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    for name, value in settings.items():
        setattr(options, name, value)
    return onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])


def logits_of(name, file):
    return session(file).run(None, {"pixels": test_pixels[name]})[0]


# %%
def accuracy_of(logits):
    return float((logits.argmax(axis=1) == test.labels).mean())


# %%
test_pixels = {name: pixels(name, test) for name in NETWORKS}
reference = {name: logits_of(name, file) for name, file in fp32.items()}
bytes_of = {name: file.stat().st_size for name, file in fp32.items()}
weights_of = {
    name: sum(int(np.prod(each.dims)) for each in onnx.load(file).graph.initializer)
    for name, file in fp32.items()
}
show.table(
    ["network", "numbers in the file", "file", "test accuracy"],
    [[n, f"{weights_of[n]:,}", show.bytes_text(bytes_of[n]), f"{accuracy_of(reference[n]):.2%}"]
     for n in NETWORKS],
)  # fmt: skip

# %%
claim(
    "both large networks read more than 94 % of the test digits",
    min(accuracy_of(reference[name]) for name in LARGE) > 0.94,
    ", ".join(f"{name} {accuracy_of(reference[name]):.2%}" for name in LARGE),
)

# %%
observe(
    "training and exporting took less than a minute",
    max(each.seconds for each in trained) < 60,
    " and ".join(
        f"{each.seconds:.0f} s, {each.resident_mib:.0f} MiB at its end" for each in trained
    ),
    either=True,
)

# %% [markdown]
# ## One line: what does dynamic quantization do?
#
# *Dynamic* quantization rounds the weights once, when the file is made. The *activations*, the numbers between the
# layers, stay float32 in the file; at every call the runtime looks how large they are just now, rounds them to uint8,
# multiplies in whole numbers, and turns the sums back into floats. No data are needed.
#
# **Where this goes wrong.** One line is what the documentation shows. We try it on the digits model that lesson 06
# exported, in a process of its own.

# %%
ONE_LINE = f"""
from onnxruntime.quantization import quantize_dynamic
from course_lib import models
try:
    quantize_dynamic(models.path("digits_cnn", 3), {str(scratch)!r} + "/one_line.onnx")
    result = "it worked"
except Exception as error:
    result = f"{{type(error).__name__}}: {{error}}"
"""
tried = measure.fresh_process(ONE_LINE).result
print(tried)

# %%
claim(
    "as it was exported, the model cannot be quantized",
    tried.startswith("InferenceError"),
    "PyTorch's exporter noted shapes; the quantizer infers them again, and the two disagree",
    pinned="onnx",
)

# %% [markdown]
# What mends it: take the exporter's notes on shapes out, and let `quant_pre_process` merge operators and infer shapes
# anew. The quantizer asks for this step anyway. And `reduce_range` keeps the weights in 7 of the 8 bits: on x86
# processors without VNNI, sums of 8-bit products are cut off (lesson 09b), and the same file would answer differently
# from machine to machine.

# %%
from onnxruntime.quantization import QuantType, quant_pre_process, quantize_dynamic

prepared = {name: scratch / f"{name}_prepared.onnx" for name in NETWORKS}
dynamic = {name: scratch / f"{name}_dynamic.onnx" for name in NETWORKS}
for name in NETWORKS:
    model = onnx.load(fp32[name])
    del model.graph.value_info[:]
    onnx.save(model, prepared[name])
    quant_pre_process(prepared[name], prepared[name], skip_symbolic_shape=True)
    quantize_dynamic(prepared[name], dynamic[name], weight_type=QuantType.QInt8, reduce_range=True)

# %% [markdown]
# Before you run the next cells: which of the two large networks will become faster, and by how much?

# %%
small = {name: file.stat().st_size for name, file in dynamic.items()}
show.table(
    ["network", "float32", "int8", "share", "a byte for each number", "all else"],
    [[n, f"{bytes_of[n]:,}", f"{small[n]:,}", f"{small[n] / bytes_of[n]:.3f}",
      f"{weights_of[n]:,}", f"{small[n] - weights_of[n]:,}"] for n in NETWORKS],
)  # fmt: skip

# %%
claim(
    "in int8 the wide network takes at most 0.26 of the bytes, the digits network more than 0.3",
    small["wide"] <= 0.26 * bytes_of["wide"]
    and small["digits_cnn"] > 0.3 * bytes_of["digits_cnn"],
    ", ".join(f"{small[n] / bytes_of[n]:.3f} ({n})" for n in NETWORKS),
)

# %% [markdown]
# One byte for each number would be exactly a quarter. The rest is what does not shrink: the graph with its names, new
# operators for each layer, scales, and biases that stay float32. For four million weights that is nothing; in the
# digits network it counts. A small model gains less from quantization than the promise says.
#
# And the clock?


# %%
def timed(files, name, batch, rounds=20):
    """Median latency in ms of each form, all of them measured in turns."""
    given = {"pixels": test_pixels[name][:batch]}
    runs = {form: session(file) for form, file in files.items()}
    calls = {form: (lambda run=run: run.run(None, given)) for form, run in runs.items()}
    return {form: np.median(ms) for form, ms in measure.latencies_ms(calls, rounds=rounds).items()}


# %%
first = {}
for name in NETWORKS:
    for batch in (1, 32):
        first[name, batch] = timed({"fp32": fp32[name], "int8": dynamic[name]}, name, batch)
show.table(
    ["network", "batch", "float32 (ms)", "dynamic int8 (ms)", "times as fast"],
    [[n, b, f"{ms['fp32']:.3f}", f"{ms['int8']:.3f}", f"{ms['fp32'] / ms['int8']:.2f}"]
     for (n, b), ms in first.items()],
)  # fmt: skip


# %%
def speedup(name, batch):
    return first[name, batch]["fp32"] / first[name, batch]["int8"]


observe(
    "dynamic int8 makes the wide network more than 1.5 times as fast",
    min(speedup("wide", 1), speedup("wide", 32)) > 1.5,
    f"{speedup('wide', 1):.1f} times with one image, {speedup('wide', 32):.1f} with 32",
    either=True,
)

# %%
observe(
    "and makes the residual network more than twice as slow",
    max(speedup("small_resnet", 1), speedup("small_resnet", 32)) < 0.5,
    f"{1 / speedup('small_resnet', 1):.1f} times as slow with one image, "
    f"{1 / speedup('small_resnet', 32):.1f} with 32",
    either=True,
)

# %%
from onnx import TensorProto, helper

ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in ("pixels", "logits")]
copy = helper.make_node("Identity", ["pixels"], ["logits"])
graph = helper.make_graph([copy], "nothing to compute", ends[:1], ends[1:])
nothing = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)

# %%
files = {"nothing": nothing.SerializeToString(), "float32": fp32["digits_cnn"]}
call = timed(files, "digits_cnn", 1)
observe(
    "a call that computes nothing takes over a fifth of the digits network's time for one image",
    call["nothing"] > 0.2 * call["float32"],
    f"{1000 * call['nothing']:.0f} µs of {1000 * call['float32']:.0f} µs",
    either=True,
)

# %% [markdown]
# The same call to the quantizer, the same machine, the same runtime. "int8 is faster" is a statement about a
# network, a runtime and a processor together, never about int8. Where a line above does not hold, yours is
# another processor than that of this build.
#
# ## Which operator takes the time?
#
# ONNX Runtime has a profiler built in. The code with which the runtime computes an operator, for given types and on
# a given processor, is the operator's *kernel*. The profiler writes a list of events; those of the category `Node`
# whose names end in `_kernel_time` say how many microseconds an operator took, in `dur`. (Exercise 10.2 has you read
# such a list with care.)


# %%
def profile(name, file, calls=10, batch=32):
    """By operator, most expensive first: its name, ms a call, and how many of it there are."""
    run = session(file, enable_profiling=True, profile_file_prefix=str(scratch / "profile"))
    for _ in range(calls):
        run.run(None, {"pixels": test_pixels[name][:batch]})
    with open(run.end_profiling(), encoding="utf-8") as kept:
        events = json.load(kept)
    runs = {}
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            node = (event["args"]["op_name"], event["name"])
            runs.setdefault(node, []).append(event["dur"] / 1000)
    took, count = Counter(), Counter()
    for (operator, _), each in runs.items():
        took[operator] += np.median(each)  # a call that was disturbed does not count
        count[operator] += 1
    return [(operator, ms, count[operator]) for operator, ms in took.most_common()]


# %%
def top(profiled, most=4):
    return ", ".join(f"{count} × {op} {ms:.2f} ms" for op, ms, count in profiled[:most])


profiles = {
    "float32": profile("small_resnet", prepared["small_resnet"]),
    "dynamic, weights int8": profile("small_resnet", dynamic["small_resnet"]),
}
show.table(
    ["small_resnet", "batch of 32, by operator"], [[k, top(p)] for k, p in profiles.items()]
)

# %%
operator, ms, count = profiles["dynamic, weights int8"][0]
all_of_it = sum(ms for _, ms, _ in profiles["dynamic, weights int8"])
observe(
    "one kind of operator, ConvInteger, takes more than 80 % of the dynamic model's time",
    operator == "ConvInteger" and ms > 0.8 * all_of_it,
    f"{operator}: {ms / all_of_it:.0%}",
    either=True,
)

# %% [markdown]
# Where that holds, it is not the conversion to whole numbers and back that costs, as one might guess: the integer
# convolution itself is slow. (Where it does not, the table names the operator that is.) Its maintainers say as much: they recommend the static method for convolutions and had not optimised
# `ConvInteger` (ONNX Runtime issue 12854). Can we find out more? Change one thing, the type of the weights:

# %%
unsigned = scratch / "small_resnet_dynamic_unsigned.onnx"
quantize_dynamic(
    prepared["small_resnet"], unsigned, weight_type=QuantType.QUInt8, reduce_range=True
)
profiles["dynamic, weights uint8"] = profile("small_resnet", unsigned)
of_conv = {k: dict((op, ms) for op, ms, _ in p).get("ConvInteger") for k, p in profiles.items()}
ratio = of_conv["dynamic, weights int8"] / of_conv["dynamic, weights uint8"]

# %%
observe(
    "the same nine ConvIntegers take more than twice as long with signed weights as with unsigned",
    ratio > 2,
    f"{ratio:.1f} times: {of_conv['dynamic, weights int8']:.1f} ms against "
    f"{of_conv['dynamic, weights uint8']:.1f} ms",
    either=True,
)

# %%
in_float = dict((op, ms) for op, ms, _ in profiles["float32"])["Conv"]
observe(
    "and with unsigned weights they still take longer than the nine float convolutions",
    of_conv["dynamic, weights uint8"] > in_float,
    f"{of_conv['dynamic, weights uint8']:.1f} ms against {in_float:.1f} ms",
    either=True,
)

# %% [markdown]
# Nothing but the type of the weights differs. The byte instructions of x86 multiply unsigned by
# signed numbers; a convolution takes its weights as the first factor, which should be the unsigned one. That is a
# likely reason for the gap, not one that we have tested; where you see none, the processor or its kernels are others.
# Two ways out: leave convolutions alone
# (`op_types_to_quantize=["MatMul", "Gemm"]`), or fix the activations' scales beforehand.
#
# ## What does static quantization fix beforehand?
#
# *Static* quantization runs some images through the float network, once, and notes how large each activation becomes.
# That is *calibration*. Scales and zero points then stand in the file, and nothing is measured at a call any more.

# %%
from onnxruntime.quantization import CalibrationDataReader, quantize_static


class Images(CalibrationDataReader):
    """Hands out images in batches, as the calibration asks for them."""

    def __init__(self, images, size=50):
        self.batches = iter(
            [{"pixels": images[i : i + size]} for i in range(0, len(images), size)]
        )

    def get_next(self):
        return next(self.batches, None)


# %%
def static(name, images, activations=QuantType.QUInt8, label="static"):
    file = scratch / f"{name}_{label}.onnx"
    quantize_static(
        prepared[name], file, Images(images),
        activation_type=activations, weight_type=QuantType.QInt8, per_channel=True,
        reduce_range=True,
    )  # fmt: skip
    return file


# %%
fit_pixels = {name: pixels(name, fit) for name in NETWORKS}
qdq = {name: static(name, fit_pixels[name][:200]) for name in NETWORKS}
nodes = Counter(node.op_type for node in onnx.load(qdq["small_resnet"]).graph.node)
show.table(["operator in the file", "how many"], nodes.most_common())

# %% [markdown]
# Where are the integer operators? There are none. The file holds the float network, and round every operator a pair of
# `QuantizeLinear` and `DequantizeLinear`: this form is called *QDQ*. Read literally it rounds each tensor to a grid
# and computes in float32. The runtime recognises the pairs when it loads the model and puts an integer operator in
# their place, if it has one. What it really did, only the profile says.

# %%
profiles["static, uint8 × int8"] = profile("small_resnet", qdq["small_resnet"])
signed = static("small_resnet", fit_pixels["small_resnet"][:200], QuantType.QInt8, "signed")
profiles["static, int8 × int8"] = profile("small_resnet", signed)
show.table(
    ["small_resnet", "batch of 32, by operator"], [[k, top(p)] for k, p in profiles.items()]
)


# %%
def how_many(form, operator):
    return sum(count for op, _, count in profiles[form] if op == operator)


claim(
    "the file holds no integer convolution",
    nodes["Conv"] == 9 and nodes["QLinearConv"] == 0,
    f"{nodes['Conv']} Conv, {nodes['QuantizeLinear']} QuantizeLinear",
)

# %%
observe(
    "with unsigned activations the runtime makes integer convolutions of all nine",
    how_many("static, uint8 × int8", "QLinearConv") == 9,
    f"{how_many('static, uint8 × int8', 'QLinearConv')} QLinearConv ran",
    either=True,
)

# %%
by_default = inspect.signature(quantize_static).parameters["activation_type"].default
claim("the tool's default is signed activations", by_default == QuantType.QInt8, by_default)

# %%
observe(
    "with signed activations most of them still run in float32",
    how_many("static, int8 × int8", "Conv") > how_many("static, int8 × int8", "QLinearConv"),
    f"{how_many('static, int8 × int8', 'Conv')} Conv and "
    f"{how_many('static, int8 × int8', 'QLinearConv')} QLinearConv ran",
    either=True,
)

# %%
groups = {
    "float convolution": ({"Conv"}, show.SKY),
    "integer convolution": ({"ConvInteger", "QLinearConv"}, show.BLUE),
    "rounding, and back": (
        {"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "Cast", "Mul"},
        show.ORANGE,
    ),
}
named = set().union(*(each for each, _ in groups.values()))
order = ["float32", "dynamic, weights int8", "dynamic, weights uint8", "static, int8 × int8",
         "static, uint8 × int8"]  # fmt: skip
totals = {form: sum(ms for _, ms, _ in profiles[form]) for form in order}

# %%
plt.figure(figsize=(8.5, 3))
left = np.zeros(len(order))
for group, (operators, colour) in [*groups.items(), ("all else", (None, show.GREY))]:
    inside = (lambda op: op not in named) if operators is None else operators.__contains__
    part = [sum(ms for op, ms, _ in profiles[form] if inside(op)) for form in order]
    plt.barh(order, part, left=left, color=colour, label=group)
    left += part
plt.gca().invert_yaxis()
plt.xlabel("milliseconds in operators, a batch of 32, one thread")
plt.legend(loc="upper left", bbox_to_anchor=(1, 1))
of_int8 = [totals[form] for form in order[1:]]
show.finding(
    f"Four int8 files of one network: the slowest takes {max(of_int8) / min(of_int8):.0f} times "
    "as long as the fastest",
    alt="Milliseconds in operators for a batch of 32 of the residual network. "
    + "; ".join(f"{form}: {totals[form]:.1f} ms" for form in order),
)

# %% [markdown]
# None of the slow ones says so: no error, no warning, and the file has the size that was promised. Which ones are slow,
# and which convolutions run in whole numbers, runtime and processor decide: look at the profile of what you deploy.
#
# **Where this goes wrong.** Calibration images must be prepared as the model's inputs are. Ours are divided by 16, so
# that they lie in 0 to 1. Somebody calibrates with pictures as they come out of a file, 0 to 255:

# %%
forgot = {name: static(name, 255 * fit_pixels[name][:200], label="forgot") for name in NETWORKS}
collapsed = {name: accuracy_of(logits_of(name, file)) for name, file in forgot.items()}
show.table(
    ["network", "calibrated as in use", "calibrated with 0 to 255"],
    [[n, f"{accuracy_of(logits_of(n, qdq[n])):.2%}", f"{collapsed[n]:.2%}"] for n in NETWORKS],
)

# %%
claim(
    "calibrated on pictures 255 times as bright, all three networks lose more than 50 points",
    all(collapsed[n] < accuracy_of(reference[n]) - 0.5 for n in NETWORKS),
    ", ".join(f"{n} {collapsed[n]:.1%}" for n in NETWORKS),
)

# %% [markdown]
# The grids are some 255 times too coarse: on the input's, an ordinary picture rounds to 0 or 1. Again no error. At
# least this failure shows in the accuracy. The next one does not.
#
# ## How many images does calibration need?
#
# TensorFlow's documentation says "a few hundred". Try one, a hundred, and all; look at what everybody looks at, the
# accuracy. Then look at the logits.

# %%
counts, effect = (1, 100, len(fit.labels)), {}
for name in NETWORKS:
    for many in counts:
        answer = logits_of(name, static(name, fit_pixels[name][:many], label="count"))
        effect[name, many] = (answer, measure.parity(reference[name], answer))
show.table(
    ["network", "images", "accuracy", "same class as float32", "largest change of a logit"],
    [[n, f"{many:,}", f"{accuracy_of(answer):.2%}", f"{p.agreement:.2%}", f"{p.max_abs_diff:.2f}"]
     for (n, many), (answer, p) in effect.items()],
)  # fmt: skip

# %%
claim(
    "from one image on, at least 97 % of the classes agree with float32's",
    min(p.agreement for _, p in effect.values()) > 0.97,
    f"at least {min(p.agreement for _, p in effect.values()):.1%}",
)

# %%
gain = {
    name: effect[name, 1][1].max_abs_diff / effect[name, counts[-1]][1].max_abs_diff
    for name in NETWORKS
}
claim(
    "and yet the largest change of a logit is, with all images, under a third of that with one",
    min(gain.values()) > 3,
    ", ".join(f"{name}: {each:.0f} times less" for name, each in gain.items()),
)

# %% [markdown]
# What happens to the logits? Plot each one before and after, for the wide network.

# %%
figure, axes = plt.subplots(1, 2, figsize=(8.5, 3.6), sharey=True)
was = reference["wide"]
limits = {}
for axis, many in zip(axes, (1, counts[-1])):
    now = effect["wide", many][0]
    limits[many] = (now.min(), now.max())
    axis.plot([was.min(), was.max()], [was.min(), was.max()], color=show.GREY, lw=1)
    axis.plot(was.ravel(), now.ravel(), ".", ms=3, color=show.BLUE, rasterized=True)
    for limit in limits[many]:
        axis.axhline(limit, color=show.ORANGE, ls="--", lw=1)
    axis.set_title(f"calibrated on {many:,} image{'s' * (many > 1)}", fontsize="small")
    axis.set_xlabel("logit in float32 (nats)")
axes[0].set_ylabel("logit in int8 (nats)")
show.finding(
    "Calibrated on too few images, large logits are cut off",
    alt="Logits of the wide network in int8 against those in float32. Calibrated on one image "
    f"they end at {limits[1][0]:.0f} and {limits[1][1]:.0f}, calibrated on all at "
    f"{limits[counts[-1]][0]:.0f} and {limits[counts[-1]][1]:.0f}; in float32 they reach from "
    f"{was.min():.0f} to {was.max():.0f}",
)

# %%
one = effect["wide", 1][0]
outside = (was < one.min()) | (was > one.max())
claim(
    "calibrated on one image, the wide network's largest change is of a logit outside the range",
    outside.ravel()[np.abs(one - was).argmax()],
    f"{outside.mean():.0%} of the logits lie outside {one.min():.1f} to {one.max():.1f}",
)

# %% [markdown]
# The grid ends where the largest calibrated value was; what lies beyond is set to the end (it *saturates*). The
# largest logit of a sure answer is cut, it mostly stays the largest, and the class is right. A threshold on
# probabilities, a temperature, a distillation loss: all of them read the logits and get another answer. Compare
# logits, and calibrate on many images. (The grids here reach from the smallest to the largest value seen, which is
# the tool's default. One odd image then stretches them; lesson 09b has other rules.)
#
# ## What does LiteRT make of the same networks?
#
# TensorFlow's way to small devices is LiteRT, once TFLite. Its converter knows four forms: float32; *float16* weights;
# *dynamic range*, which is what ONNX Runtime calls dynamic; and *full integer*, the static kind. It runs in a process
# of its own, on Keras twins of our networks that hold the same weights.
#
# **Where this goes wrong.** An article that this course grew from does it in one line,
# `tf.quantization.quantize_model(model)`. We try that there, too, and send back what it says.

# %%
CONVERT = f"""
import numpy as np, tensorflow as tf, keras
from course_lib import data, keras_models, models
folder = {str(scratch)!r}
fit, _ = data.hold_out(data.digits()[0])
images = {{"digits_keras": fit.images[..., None], "wide": data.upscaled(fit.images)[..., None]}}
images["small_resnet"] = images["wide"]


def kept(model, name, form, calibrate=100):
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    if form != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]  # alone: dynamic range
    if form == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if form.startswith("int8"):
        chosen = images[name][:calibrate]
        converter.representative_dataset = lambda: ([one[None]] for one in chosen)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    if form == "int8 inside out":
        converter.inference_input_type = converter.inference_output_type = tf.int8
    label = form if calibrate == 100 else form + f" {{calibrate}}"
    open(f"{{folder}}/{{name}} {{label}}.tflite", "wb").write(converter.convert())
"""

# %%
CONVERT_ALL = """
network = keras.models.load_model(models.path("digits_keras", 1, "model.keras"))
for form in ("float32", "float16", "dynamic", "int8", "int8 inside out"):
    kept(network, "digits_keras", form)
for count in (1, len(fit.labels)):
    kept(network, "digits_keras", "int8", count)
for make in (keras_models.wide, keras_models.small_resnet):
    twin = make(np.load(f"{folder}/{make.__name__}.npz"))
    for form in ("float32", "float16", "dynamic", "int8"):
        kept(twin, make.__name__, form)
try:
    tf.quantization.quantize_model(network)
except AttributeError as error:
    result = f"AttributeError: {error}"
"""
converted = measure.fresh_process(CONVERT + CONVERT_ALL, timeout_s=600)
print(converted.result)

# %%
claim(
    "the article's call does not exist",
    "quantize_model" in converted.result,
    "TensorFlow's quantization is in its converter, as above",
)

# %%
observe(
    "TensorFlow took the child process to more than 500 MiB",
    converted.resident_mib > 500,
    f"{converted.resident_mib:.0f} MiB at its end, after {converted.seconds:.0f} s",
)

# %% [markdown]
# To run the files, TensorFlow is not needed. A LiteRT interpreter has a fixed input shape; it is resized to the batch
# once and then called. (`quiet.native` drops a line that LiteRT writes to the terminal when it first starts.)

# %%
from ai_edge_litert.interpreter import Interpreter


def litert(name, form, batch):
    """An interpreter for a batch, one thread, with the details of its input and its output."""
    with quiet.native():
        lite = Interpreter(str(scratch / f"{name} {form}.tflite"), num_threads=1)
        given, answer = lite.get_input_details()[0], lite.get_output_details()[0]
        lite.resize_tensor_input(given["index"], [batch, *given["shape"][1:]])
        lite.allocate_tensors()
    return lite, given, answer


def called(lite, given, answer, values):
    lite.set_tensor(given["index"], values)
    lite.invoke()
    return lite.get_tensor(answer["index"])


# %%
LITE = ("float32", "float16", "dynamic", "int8")
last_axis = {name: x[:, 0, ..., None] for name, x in test_pixels.items()}
last_axis["digits_keras"] = last_axis["digits_cnn"]
lite_logits = {
    (name, form): called(*litert(name, form, len(test.labels)), last_axis[name])
    for name in ("digits_keras", *LARGE)
    for form in LITE
}

# %%
twins = max(
    measure.parity(reference[name], lite_logits[name, "float32"]).max_abs_diff for name in LARGE
)
claim(
    "LiteRT's float32 files give ONNX Runtime's logits, so both start from the same networks",
    twins < 1e-3,
    f"largest difference {twins:.0e}",
)

# %% [markdown]
# ### Which numbers are whole?
#
# A file lists its tensors and their types. Count them for the digits network, and look at the two ends:


# %%
def types(form):
    lite, given, answer = litert("digits_keras", form, 1)
    tensors = Counter(np.dtype(each["dtype"]).name for each in lite.get_tensor_details())
    size = (scratch / f"digits_keras {form}.tflite").stat().st_size
    ends = (np.dtype(given["dtype"]).name, np.dtype(answer["dtype"]).name)
    return [form, f"{size:,}", tensors["float32"], tensors["float16"], tensors["int8"], *ends]


rows = [types(form) for form in (*LITE, "int8 inside out")]
show.table(["form", "bytes", "float32 tensors", "float16", "int8", "input", "output"], rows)

# %%
claim(
    "“full integer” takes and returns float32, unless the converter is told otherwise",
    rows[3][5:] == ["float32", "float32"] and rows[4][5:] == ["int8", "int8"],
    f"{rows[3][0]}: {rows[3][5]}; {rows[4][0]}: {rows[4][5]}",
)

# %% [markdown]
# That is a service, not a fault: existing callers keep working, and the file begins with a step that rounds. An
# accelerator for whole numbers only cannot run that step. There one sets `inference_input_type`, as in our last
# form, and rounds the input oneself, with the scale and zero point that the file carries. The dynamic form leaves
# most tensors in float32. Two are int8. The converter's rule, in its source, is to leave weights of fewer than 1,024
# numbers as they are; in the digits network two sets of weights are larger.
#
# **Where this goes wrong.** The caller has floats, the model wants int8, and NumPy has `astype`:

# %%
whole, given, answer = litert("digits_keras", "int8 inside out", len(test.labels))
scale, zero_point = given["quantization"]
images = last_axis["digits_keras"]
by_the_file = np.clip(np.rint(images / scale) + zero_point, -128, 127).astype(np.int8)
ways = {
    "astype(int8)": images.astype(np.int8),
    "times 127": (127 * images).astype(np.int8),
    "x / scale + zero point": by_the_file,
}
read = {way: accuracy_of(called(whole, given, answer, values)) for way, values in ways.items()}
show.table(
    ["pixels turned to int8 by", "test accuracy"], [[w, f"{a:.2%}"] for w, a in read.items()]
)

# %%
claim(
    "only the file's own scale and zero point keep the accuracy; the others lose 5 points or more",
    read["x / scale + zero point"] > 0.97
    and max(read["astype(int8)"], read["times 127"]) < read["x / scale + zero point"] - 0.05,
    f"scale {scale:.5f}, zero point {zero_point}",
)

# %% [markdown]
# What if one passes the floats as they are?

# %%
try:
    whole.set_tensor(given["index"], images)
    refused = ""
except ValueError as error:
    refused = str(error)
print(refused)

# %%
claim("floats are refused, with the reason", "expected type INT8" in refused, "a ValueError")

# %% [markdown]
# It is the helpful `astype` that turns this error into a wrong answer: all pixels below 1 become 0. The second way is
# worse in a review, since a large part of the digits is still read. (Exercise 10.1.)
#
# And calibration? The same picture as before:

# %%
lite_effect = {}
for many, form in ((1, "int8 1"), (100, "int8"), (len(fit.labels), f"int8 {len(fit.labels)}")):
    logits = called(*litert("digits_keras", form, len(test.labels)), last_axis["digits_keras"])
    lite_effect[many] = measure.parity(lite_logits["digits_keras", "float32"], logits)
show.table(
    ["images", "same class as float32", "largest change of a logit"],
    [[many, f"{p.agreement:.2%}", f"{p.max_abs_diff:.2f}"] for many, p in lite_effect.items()],
)

# %%
most = lite_effect[len(fit.labels)]
few = lite_effect[1]
claim(
    "LiteRT too: with one image over 95 % of the classes agree, "
    "with all the largest change of a logit is under a third of that",
    few.agreement > 0.95 and 3 * most.max_abs_diff < few.max_abs_diff,
    f"{few.agreement:.2%}; {few.max_abs_diff:.2f} and {most.max_abs_diff:.2f}",
)

# %% [markdown]
# ## Is half precision the easy half?
#
# Sixteen bits need no calibration. There are two ways to spend them, on the exponent or on the fraction:

# %%
import ml_dtypes

kinds = {"float32": np.float32, "float16": np.float16, "bfloat16": ml_dtypes.bfloat16}
limits = {name: ml_dtypes.finfo(kind) for name, kind in kinds.items()}
show.table(
    ["type", "bits of the exponent", "bits of the fraction", "largest number", "next after 1"],
    [[n, f.bits - 1 - f.nmant, f.nmant, f"{float(f.max):.3g}", f"1 + {float(f.eps):.2g}"]
     for n, f in limits.items()],
)  # fmt: skip

# %% [markdown]
# bfloat16 has float32's range and two digits, float16 three digits and a range that training can leave: so one mostly
# trains in bfloat16. For a finished network, whose numbers are known, float16 is the more exact of the two.

# %%
from onnxruntime.transformers.float16 import convert_float_to_float16

half = {}
for name in NETWORKS:
    half[name] = scratch / f"{name}_float16.onnx"
    onnx.save(convert_float_to_float16(onnx.load(prepared[name]), keep_io_types=True), half[name])

# %%
half_parity = {n: measure.parity(reference[n], logits_of(n, half[n])) for n in NETWORKS}
show.table(
    ["network", "share of the bytes", "same class", "largest change of a logit"],
    [[n, f"{half[n].stat().st_size / bytes_of[n]:.2f}", f"{p.agreement:.2%}",
      f"{p.max_abs_diff:.4f}"] for n, p in half_parity.items()],
)  # fmt: skip

# %%
claim(
    "float16 keeps over 99 % of the classes, and moves no logit by more than 0.25",
    all(p.agreement > 0.99 and p.max_abs_diff < 0.25 for p in half_parity.values()),
    f"at most {max(p.max_abs_diff for p in half_parity.values()):.3f}",
)

# %% [markdown]
# Half of the bytes, almost nothing changed. Is it faster? The profile's events also say of which type an operator's
# inputs were:


# %%
def took_float16(name):
    """The operators that got a float16 input in one call."""
    run = session(half[name], enable_profiling=True, profile_file_prefix=str(scratch / "half"))
    run.run(None, {"pixels": test_pixels[name][:32]})
    with open(run.end_profiling(), encoding="utf-8") as kept:
        events = [e for e in json.load(kept) if e["name"].endswith("_kernel_time")]
    asked = [(e["args"]["op_name"], str(e["args"]["input_type_shape"])) for e in events]
    return sorted({operator for operator, inputs in asked if "float16" in inputs})


# %%
in_half = {name: took_float16(name) for name in NETWORKS}
observe(
    "only Cast and Reshape get float16 numbers: ONNX Runtime computes in float32 here",
    set().union(*in_half.values()) <= {"Cast", "Reshape"},
    in_half,
    either=True,
)

# %% [markdown]
# Where that is so, float16 saves disk and download and no time: the weights become float32 again when the file is
# loaded. (On ARM, ONNX Runtime has some float16 kernels.)
#
# And a matrix product in bfloat16?

# %%
x, y = (helper.make_tensor_value_info(name, TensorProto.BFLOAT16, [4, 4]) for name in "xy")
graph = helper.make_graph([helper.make_node("MatMul", ["x", "x"], ["y"])], "product", [x], [y])
product = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
try:
    session(product.SerializeToString())
    refused = ""
except onnxruntime.capi.onnxruntime_pybind11_state.NotImplemented as error:
    refused = str(error)
print(refused)

# %%
observe(
    "on the processor, ONNX Runtime has no bfloat16 matrix product",
    "MatMul" in refused,
    either=True,
)

# %% [markdown]
# PyTorch has one, whatever your ONNX Runtime says. Whether it is worth calling is the next question.
#
# ## What do the processor's instructions have to do with it?
#
# An int8 product moves a quarter of the bytes, and that helps any processor where bytes are the limit. To *compute*
# much faster, the processor needs an instruction for it. *AVX-512* is the base on x86 servers, arithmetic on 512
# bits at a time. Newer processors add to it: *VNNI* multiplies bytes and adds four products in one step;
# *AVX512_BF16* does two bfloat16 products. (The newest x86 servers have AMX, for whole tiles of a matrix; ARM has
# its own, SDOT and BFDOT.) One would have to buy several machines to see what that is worth. Or withhold the
# instructions: oneDNN, the library that computes PyTorch's matrix products on x86, reads from `ONEDNN_MAX_CPU_ISA`
# how new an instruction set it may use.

# %%
PRODUCT = """
import os
os.environ["ONEDNN_MAX_CPU_ISA"] = {allowed!r}  # before PyTorch is imported
import numpy as np, torch
from course_lib import measure
torch.set_num_threads(1)
a, b = torch.randn(256, 1024), torch.randn(1024, 1024)
qa = torch.randint(-127, 128, a.shape, dtype=torch.int8)
qb = torch.randint(-127, 128, b.shape, dtype=torch.int8)
ha, hb = a.bfloat16(), b.bfloat16()
calls = {{
    "float32": lambda: a @ b,
    "bfloat16": lambda: ha @ hb,
    "int8": lambda: torch._int_mm(qa, qb),
}}
result = {{k: float(np.median(v)) for k, v in measure.latencies_ms(calls, rounds=20).items()}}
"""

# %%
SETS = {
    "AVX512_CORE": "AVX-512 alone",
    "AVX512_CORE_VNNI": "and VNNI",
    "AVX512_CORE_BF16": "and VNNI and BF16",
}
products = {name: measure.fresh_process(PRODUCT.format(allowed=name)).result for name in SETS}
vnni = products["AVX512_CORE"]["int8"] / products["AVX512_CORE_VNNI"]["int8"]

# %%
plt.figure(figsize=(8.5, 3))
kinds = {"float32": show.SKY, "bfloat16": show.ORANGE, "int8": show.BLUE}
for k, (kind, colour) in enumerate(kinds.items()):
    took = [products[name][kind] for name in SETS]
    bars = plt.bar(np.arange(3) + 0.27 * (k - 1), took, 0.25, color=colour, label=kind)
    plt.bar_label(bars, fmt="%.1f", fontsize="small")
plt.xticks(range(3), SETS.values())
plt.ylabel("ms for a product\n(256 × 1024) · (1024 × 1024)")
plt.xlabel("instructions that oneDNN may use, at the newest")
plt.legend(loc="upper left", bbox_to_anchor=(1, 1))
show.finding(
    f"The same int8 product is {vnni:.1f} times as fast once VNNI is allowed",
    alt="Milliseconds for one matrix product by type and by allowed instructions. "
    + "; ".join(
        f"{SETS[name]}: " + ", ".join(f"{kind} {ms:.1f}" for kind, ms in products[name].items())
        for name in SETS
    ),
)

# %%
observe(
    "VNNI makes the int8 product more than 1.5 times as fast",
    vnni > 1.5,
    f"{vnni:.1f} times",
    either=True,
)

# %%
without = products["AVX512_CORE"]["float32"] / products["AVX512_CORE"]["bfloat16"]
newest = products["AVX512_CORE_BF16"]
with_bf16 = newest["float32"] / newest["bfloat16"]
observe(
    "without its instruction bfloat16 is slower than float32, with it faster",
    without < 1 < with_bf16,
    f"{without:.2f} and {with_bf16:.2f} times as fast as float32",
    either=True,
)

# %% [markdown]
# The same program, the same machine, another value of one environment variable. (Where the bars do not differ, this
# machine lacks the instructions, or oneDNN does not compute here, as on ARM. Where bfloat16 stays behind float32 with
# its instruction too, the library that multiplies in float32 makes more of this processor.) So ask two things before you promise a
# speed: does the serving processor have the instruction, and does the runtime have a kernel that uses it?
#
# ## When is it worth training with the rounding?
#
# All of the above is *post-training quantization* (PTQ): the network never learns that it will be rounded.
# *Quantization-aware training* (QAT) rounds in the forward pass, so that the loss feels it. The obstacle is the
# gradient. With a grid of step $s$ and levels $q_{min}$ to $q_{max}$,
#
# $$\hat x = s\,\operatorname{clip}\big(\operatorname{round}(x/s),\, q_{min},\, q_{max}\big), \qquad
# \frac{d\hat x}{dx} = 0 \text{ almost everywhere},$$
#
# because rounding is a staircase, and nothing would be learned. The *straight-through estimator* (Bengio and others,
# 2013) takes, on the way back only, the slope that the staircase has on average: 1 inside the grid's range, 0 outside.
# In code: add to the clipped $x$ the rounding error as a constant. The value is $\hat x$, the gradient that of the
# clip.

# %%
import torch
from torch import nn

from course_lib import torch_models

torch.set_num_threads(1)


def rounded(x, step, least, greatest):
    inside = x.clamp(least * step, greatest * step)
    on_grid = (inside / step).round() * step
    return inside + (on_grid - inside).detach()  # the value of on_grid, the gradient of inside


# %%
x = torch.tensor([-2.0, -0.26, 0.1, 0.26, 0.9], requires_grad=True)
y = rounded(x, torch.tensor(0.25), -2, 2)
y.sum().backward()
show.table(
    ["x", "rounded to quarters, −0.5 to 0.5", "gradient"],
    [
        [f"{a:.2f}", f"{b:.2f}", f"{c:.0f}"]
        for a, b, c in zip(x.tolist(), y.tolist(), x.grad.tolist())
    ],
)

# %% [markdown]
# Now wrap each convolution and each dense layer: weights on a symmetric grid, a step for each output channel;
# activations, which are never negative here, on an unsigned grid up to the largest value in calibration.


# %%
class Rounded(nn.Module):
    """A layer that rounds its weights and inputs, once `bits` is set; until then it calibrates."""

    def __init__(self, layer):
        super().__init__()
        self.layer, self.bits, self.peak = layer, None, torch.tensor(0.0)

    def forward(self, x):
        if self.bits is None:
            self.peak = torch.maximum(self.peak, x.max())
            return self.layer(x)
        for_weights, for_inputs = 2 ** (self.bits[0] - 1) - 1, 2 ** self.bits[1] - 1
        w = self.layer.weight
        largest = w.detach().abs().amax(dim=tuple(range(1, w.ndim)), keepdim=True)
        w = rounded(w, largest / for_weights, -for_weights, for_weights)
        x = rounded(x, self.peak / for_inputs, 0, for_inputs)
        return torch.func.functional_call(self.layer, {"weight": w}, (x,))


# %%
def wrapped(network, bits):
    """The network with each layer rounded to (weight bits, activation bits), calibrated."""
    layers = [Rounded(each) if hasattr(each, "weight") else each for each in network]
    new = nn.Sequential(*layers).eval()
    torch_models.logits_of(new, fit.images)  # calibrates
    for each in new:
        if isinstance(each, Rounded):
            each.bits = bits
    return new


# %%
def fine_tuned(network, seed, epochs=6):
    torch.manual_seed(seed)
    inputs, labels = torch.from_numpy(fit.images)[:, None], torch.from_numpy(fit.labels)
    optimizer = torch.optim.Adam(network.parameters())
    steps = epochs * (len(labels) // 64)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=2e-3, total_steps=steps)
    network.train()
    for step in range(steps):
        chosen = torch.randint(len(labels), (64,))
        loss = nn.functional.cross_entropy(
            network(torch_models.shifted(inputs[chosen])), labels[chosen]
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return network.eval()


# %% [markdown]
# Three ways to each pair of bits: PTQ; QAT, a few epochs that start from the trained network; and, to be fair, the
# same few epochs *without* rounding, then PTQ. If the third were as good as the second, QAT would owe its gain to more
# training.

# %%
BITS = [(8, 8), (3, 3), (2, 4)]
longer = fine_tuned(torch_models.load_digits_cnn(), seed=0)
answers = {}
for bits in BITS:
    start = wrapped(torch_models.load_digits_cnn(), bits)
    answers["PTQ", bits] = torch_models.logits_of(start, test.images)
    answers["QAT", bits] = torch_models.logits_of(fine_tuned(start, seed=0), test.images)
    answers["more training, then PTQ", bits] = torch_models.logits_of(
        wrapped(longer, bits), test.images
    )

# %%
WAYS = {"PTQ": show.ORANGE, "more training, then PTQ": show.GREY, "QAT": show.BLUE}
for (way, colour), marker in zip(WAYS.items(), ("s-", "^-", "o-")):
    shares = [100 * accuracy_of(answers[way, bits]) for bits in BITS]
    plt.plot(range(len(BITS)), shares, marker, color=colour, label=way)
plt.axhline(100 * accuracy_of(reference["digits_cnn"]), color=show.SKY, ls="--", label="float32")
plt.xticks(range(len(BITS)), [f"{w} and {a}" for w, a in BITS])
plt.xlabel("bits of the weights and of the activations")
plt.ylabel("test accuracy (%)")
plt.legend(loc="lower left")
gained = {b: accuracy_of(answers["QAT", b]) - accuracy_of(answers["PTQ", b]) for b in BITS}
show.finding(
    "Training with the rounding wins nothing at 8 bits, and wins back most of the loss at 2",
    alt="Test accuracy of the digits network by bits of weights and activations. "
    + "; ".join(
        f"{way}: " + ", ".join(f"{accuracy_of(answers[way, b]):.1%}" for b in BITS) for way in WAYS
    ),
)

# %%
claim(
    "at 8 bits QAT and PTQ are within 1 point of each other",
    abs(gained[8, 8]) <= 0.01,
    f"{100 * gained[8, 8]:+.2f} points",
)

# %%
least = (2, 4)
floor, control, reached = (accuracy_of(answers[way, least]) for way in WAYS)
lost = accuracy_of(reference["digits_cnn"]) - floor
claim(
    "at 2-bit weights QAT wins back more than two thirds of what PTQ lost, "
    "more training without rounding less than one third",
    reached - floor > 2 / 3 * lost and control - floor < 1 / 3 * lost,
    f"{floor:.1%}, with QAT {reached:.1%}, with more training {control:.1%}",
)

# %% [markdown]
# At 2 bits a symmetric grid has the levels −1, 0 and 1 only. And this is a simulation: the rounded numbers are
# computed in float32, and the biases are not rounded. At 8 bits its grids can be written into a QDQ file; for 3 bits
# neither of our runtimes has an operator. PTQ was given the simplest grid, up to the largest weight; lesson 09b shows
# that a tighter range helps it. The order of work that follows: PTQ at 8 bits first, look at the logits, then better
# calibration, and only then pay for training.
#
# ## Is any of them worse than float32?
#
# Lesson 09 asks whether two models differ at all. A release asks: by how much, at worst? Every form answered the same
# 450 images. The images on which both forms are right, or both wrong, cancel. Let $b$ count the images that only
# float32 read rightly, $c$ those that only the other form did, of $n$. The change in accuracy is $(c - b)/n$. An
# interval for it, good also where $b$ and $c$ are small, comes from Agresti and Min (2005): add half an image to each
# of the four counts (both right, both wrong, $b$, $c$), and use the usual standard error of a paired difference,
#
# $$\hat\delta = \frac{\tilde c - \tilde b}{\tilde n}, \qquad
# \hat\delta \pm 1.96\,\frac{1}{\tilde n}\sqrt{\tilde b + \tilde c - \frac{(\tilde c - \tilde b)^2}{\tilde n}},
# \qquad \tilde b = b + \tfrac12,\; \tilde c = c + \tfrac12,\; \tilde n = n + 2 .$$


# %%
def paired(before, after):
    """Images lost, images won, and the interval of the change in accuracy, in points."""
    was, now = before.argmax(axis=1) == test.labels, after.argmax(axis=1) == test.labels
    lost, won = int((was & ~now).sum()), int((now & ~was).sum())
    b, c, n = lost + 0.5, won + 0.5, len(was) + 2
    middle, reach = (c - b) / n, 1.96 * np.sqrt(b + c - (c - b) ** 2 / n) / n
    return lost, won, 100 * (middle - reach), 100 * (middle + reach)


# %%
FORMS = {
    "ONNX float32": fp32,
    "ONNX float16": half,
    "ONNX dynamic int8": dynamic,
    "ONNX static int8": qdq,
}
every = {}
for name in LARGE:
    for form, files in FORMS.items():
        every[name, form] = (logits_of(name, files[name]), files[name].stat().st_size)
    for form in LITE:
        size = (scratch / f"{name} {form}.tflite").stat().st_size
        every[name, f"LiteRT {form}"] = (lite_logits[name, form], size)
changes = {key: paired(reference[key[0]], logits) for key, (logits, _) in every.items()}

# %%
claim(
    "no form of the two networks changes the accuracy by more than 1 point",
    all(abs(won - lost) <= 0.01 * len(test.labels) for lost, won, _, _ in changes.values()),
    f"at most {max(abs(won - lost) for lost, won, _, _ in changes.values())} of 450 images",
)

# %% [markdown]
# That is about these 450 images. About others the interval in the table below speaks: even with no disagreement at all
# it leaves about half a point open, to either side.
#
# ## What we measured
#
# All forms of both networks, measured in turns, with one image and with 32. Compare times within this table; a table
# from some minutes ago may have met a busier machine.

# %%
latency = {}
for name in LARGE:
    for batch in (1, 32):
        calls = {}
        for form, files in FORMS.items():
            run, given = session(files[name]), {"pixels": test_pixels[name][:batch]}
            calls[form] = lambda run=run, given=given: run.run(None, given)
        for form in LITE:
            parts, values = litert(name, form, batch), last_axis[name][:batch]
            calls[f"LiteRT {form}"] = lambda parts=parts, values=values: called(*parts, values)
        for form, ms in measure.latencies_ms(calls, rounds=20).items():
            latency[name, form, batch] = measure.spread(ms)

# %%
show.table(
    ["network", "form", "file", "lost, won", "change (points, 95 %)",
     "batch 1 (ms)", "batch 32 (ms)"],
    [
        [name, form, show.bytes_text(size), f"{changes[name, form][0]}, {changes[name, form][1]}",
         "{2:+.1f} to {3:+.1f}".format(*changes[name, form]),
         str(latency[name, form, 1]), str(latency[name, form, 32])]
        for (name, form), (_, size) in every.items()
    ],
    caption="Latency: median and quartiles",
)  # fmt: skip

# %%
faster = {
    runtime: latency["small_resnet", f"{runtime} float32", 32].median
    / latency["small_resnet", f"{runtime} {form}", 32].median
    for runtime, form in (("ONNX", "dynamic int8"), ("LiteRT", "dynamic"))
}
observe(
    "the dynamic residual network is slower than float32 in ONNX Runtime, and faster in LiteRT",
    faster["ONNX"] < 1 < faster["LiteRT"],
    f"{faster['ONNX']:.2f} and {faster['LiteRT']:.2f} times as fast, 32 images",
    either=True,
)

# %% [markdown]
# The same method, under the same name, on the same processor. Where that line holds, LiteRT's kernels for it are fast,
# and ONNX Runtime's `ConvInteger` is not: what was slow was never the idea. Where it does not, your processor has
# another favourite.
#
# A form is worth keeping if no other is at least as small and at least as fast, and better in one of the two: those
# that remain are the *Pareto front*. (Their accuracies cannot be told apart, so two axes are enough.) Exercise 10.5
# has you write it for any number of axes.


# %%
def front(name, batch):
    cost = {
        form: (size, latency[name, form, batch].median)
        for (n, form), (_, size) in every.items()
        if n == name
    }

    def beaten(mine):
        return any(c[0] <= mine[0] and c[1] <= mine[1] and c != mine for c in cost.values())

    return [form for form, mine in cost.items() if not beaten(mine)]


fronts = {(name, batch): front(name, batch) for name in LARGE for batch in (1, 32)}

# %%
from matplotlib.ticker import LogLocator, NullLocator

forms = list(dict.fromkeys(form for _, form in every))
markers = dict(zip(forms, "osD^osD^"))
colours = {form: show.BLUE if form.startswith("ONNX") else show.ORANGE for form in forms}


def draw(axis, name, batch):
    for form in forms:
        filled = colours[form] if form in fronts[name, batch] else "white"
        at = (latency[name, form, batch].median, every[name, form][1])
        axis.plot(*at, markers[form], color=colours[form], mfc=filled, ms=9)
    axis.set(xscale="log", yscale="log", title=f"{name}, batch of {batch}")
    for side in (axis.xaxis, axis.yaxis):
        side.set_major_locator(LogLocator(subs=(1, 2, 5)))
        side.set_minor_locator(NullLocator())
    axis.xaxis.set_major_formatter(lambda ms, _: f"{ms:g}")
    axis.yaxis.set_major_formatter(lambda size, _: show.bytes_text(round(size)))
    axis.margins(0.2)


# %%
figure, axes = plt.subplots(2, 2, figsize=(9, 6.2), sharey="row")
for (name, batch), axis in zip(fronts, axes.ravel()):
    draw(axis, name, batch)
for axis in axes[1]:
    axis.set_xlabel("latency (ms, logarithmic)")
for axis in axes[:, 0]:
    axis.set_ylabel("file (logarithmic)")
keys = [plt.Line2D([], [], ls="", marker=markers[f], color=colours[f]) for f in forms]
figure.legend(keys, forms, loc="center left", bbox_to_anchor=(1, 0.5), fontsize="small")
best = {key: ", ".join(each) for key, each in fronts.items()}
of_float = sum("float" in form for each in fronts.values() for form in each)
show.finding(
    f"On the four Pareto fronts (filled) float forms hold {of_float} "
    f"of {sum(map(len, fronts.values()))} places",
    alt="File size against latency, both logarithmic, for each form of both networks, with one "
    "image and with 32. On the front: "
    + "; ".join(f"{name}, batch of {batch}: {each}" for (name, batch), each in best.items()),
)

# %%
claim(
    "int8 files of the wide network take at most 0.3 of the float32 bytes, in both runtimes",
    all(size <= 0.3 * every["wide", form.split()[0] + " float32"][1]
        for (name, form), (_, size) in every.items()
        if name == "wide" and ("int8" in form or "dynamic" in form)),
    ", ".join(f"{every['wide', f][1] / bytes_of['wide']:.3f}" for f in forms if "int8" in f),
)  # fmt: skip

# %%
observe(
    "no front holds a float form",
    of_float == 0,
    "; ".join(f"{name}, batch of {batch}: {each}" for (name, batch), each in best.items()),
    either=True,
)

# %%
by_size = sorted(forms, key=lambda form: every["small_resnet", form][1])
smallest, second = by_size[:2]
share = every["small_resnet", smallest][1] / every["small_resnet", second][1]
slow = latency["small_resnet", smallest, 32].median
quick = min(latency["small_resnet", form, 32].median for form in forms)
observe(
    "the residual network's smallest file is on its front, over 5 times as slow as the fastest",
    smallest in fronts["small_resnet", 32] and slow > 5 * quick,
    f"{smallest}: {slow / quick:.0f} times as slow, with {share:.1%} of the next file's bytes",
    either=True,
)

# %% [markdown]
# A front rules out what nobody should ship. Forms that lie closer together than their quartiles may change places in
# the next run: do not read an order into those. And a front does not choose: a few per cent of bytes can keep a form on
# it that is many times as slow. Say first what a byte and a millisecond are worth to you.
#
# The digits models' forms go into the ledger; each row's difference is that from the float32 file.

# %%
smaller = {}
for form, files in {"dynamic int8": dynamic, "static int8": qdq, "float16": half}.items():
    file = files["digits_cnn"]
    smaller["digits_cnn", form] = (reference["digits_cnn"], logits_of("digits_cnn", file), file)
for form in LITE[1:]:
    file = scratch / f"digits_keras {form}.tflite"
    was, now = (lite_logits["digits_keras", each] for each in ("float32", form))
    smaller["digits_keras", f"tflite {form}"] = (was, now, file)
for (name, form), (was, now, file) in smaller.items():
    moved = measure.parity(was, now).max_abs_diff
    size = file.stat().st_size
    ledger.record(name, form, accuracy=accuracy_of(now), bytes=size, max_abs_diff=moved)

# %%
claim(
    "in each of these files a digits model stays within 1 point of its float32 accuracy",
    all(abs(accuracy_of(now) - accuracy_of(was)) <= 0.01 for was, now, _ in smaller.values()),
    ", ".join(f"{form} {accuracy_of(now):.2%}" for (_, form), (_, now, _) in smaller.items()),
)

# %%
ledger.picture("Smaller files of the digits models, within a point of the same height")

# %% [markdown]
# ## What to remember
#
# - int8 is not fast; a kernel is fast. Profile the file that you deploy, on the processor that serves.
# - Calibrate on many images, prepared as in use, and compare logits: classes hide what rounding does.
# - Post-training quantization at 8 bits first. Train with the rounding when fewer bits are worth the trouble.
#
# ## Where this breaks down
#
# Networks that are nearly always right on 450 easy images lose no accuracy that could be seen here; harder tasks often
# do. The latencies are of one machine, one thread, and of inputs that fit the processor's caches; weights of gigabytes
# are limited by memory, and there even int8 that is only unpacked helps. The three oneDNN runs withhold instructions
# from that library, not from ONNX Runtime or LiteRT. QAT was shown with one seed, on one small network, and with
# simulated arithmetic.
#
# ## What real teams use
#
# ONNX Runtime's static quantization or OpenVINO's NNCF on servers with x86; LiteRT on phones and microcontrollers;
# TensorRT on NVIDIA GPUs, with int8 or 8-bit floats. In PyTorch, torchao: its `quantize_pt2e` does PTQ and QAT on
# exported programs. Large language models mostly keep weights in 4 or 8 bits and compute in bfloat16. Sensitive
# layers, mostly the first and the last, are left in float (`nodes_to_exclude`), chosen by measuring one layer at a
# time. A release then waits for a gate on parity, accuracy and latency, on the hardware that serves.
#
# ## Further reading
#
# - B. Jacob et al., *Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference*,
#   CVPR 2018.
# - R. Krishnamoorthi, *Quantizing deep convolutional networks for efficient inference: A whitepaper*,
#   arXiv:1806.08342, 2018.
# - Y. Bengio, N. Léonard, A. Courville, *Estimating or Propagating Gradients Through Stochastic Neurons for Conditional
#   Computation*, arXiv:1308.3432, 2013, for the straight-through estimator.
# - A. Agresti, Y. Min, *Simple improved confidence intervals for comparing matched proportions*, Statistics in Medicine
#   24, 2005.
# - ONNX Runtime's documentation, *Quantize ONNX models*; LiteRT's, *Post-training quantization*; oneDNN's, *CPU
#   dispatcher control*.
