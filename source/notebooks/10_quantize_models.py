# %% [markdown]
# # 10 Quantize the models
#
# At 3 a.m. the latency has tripled. Last night's release replaced the model by its int8 version, to halve the bill. The
# accuracy is the same, and the file has a quarter of the bytes. Nobody timed it on the machines that serve.
#
# ## You will be able to
#
# - quantize a model with ONNX Runtime and with LiteRT, and say which numbers in the file are whole;
# - find, with a profiler, the operator that makes an int8 model slow, and the setting that changes it;
# - choose calibration images, and find in the logits the errors that the predicted classes do not show;
# - prepare the input of a model that takes int8, with the scale and the zero point in its file;
# - compare forms of a model on the same images, with an interval, and drop those that nobody should ship.
#
# ## Before you start
#
# You need lesson 09. A number $x$ is kept as a whole number $q$ (an integer), with $x \approx s\,(q - z)$. Here $s$ is
# the *scale* and $z$ the *zero point*. *int8* holds −128 to 127, *uint8* holds 0 to 255. In lesson 09 we did each step
# by hand. Now the tools do them, and we measure bytes, accuracy and time. By a *form* of a model we mean the same
# trained network in one type of numbers, for one runtime.

# %%
import inspect
import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import onnx
import onnxruntime

from course_lib import data, measure, models
from course_lib.idioms import begin, claim, guess, ledger, observe, path, quiet, reveal, show

scratch = begin("10")
path.picture(here="10")

# %% [markdown]
# ## Which networks show what int8 does to the speed?
#
# The digits network is so small that other costs can hide the cost of its arithmetic. So we also train two larger
# networks, on the same digits enlarged to 32 × 32 points:
#
# - `wide` has five dense layers, four of them of 1,024 × 1,024. Nearly all of its work is matrix products.
# - `small_resnet` has nine convolutions, eight of them in *residual blocks*. Such a block adds its input to its
#   result. Nearly all of its work is convolutions.
#
# Each is trained in a process of its own, which gives PyTorch's memory back when it ends. The results are files: an
# ONNX model, and the weights alone. This takes half a minute or more.

# %%
TRAIN = """
import numpy as np, torch
from course_lib import data, onnx_files, torch_models
torch.set_num_threads(1)
fit, _ = data.hold_out(data.digits()[0])
large = data.upscaled(fit.images)  # float32 (1122, 32, 32)
network, file = torch_models.train_{name}(large, fit.labels, seed=0, epochs={epochs}), {file!r}
np.savez(file + ".npz", **{{k: v.numpy() for k, v in network.state_dict().items()}})
torch.onnx.export(
    network, (torch.zeros(2, 1, 32, 32),), file + ".onnx", verbose=False,
    input_names=["pixels"], output_names=["logits"], external_data=False,
    dynamic_shapes=({{0: torch.export.Dim.DYNAMIC}},),
)
onnx_files.remove_notes(file + ".onnx")
"""

# %%
LARGE = {"wide": 3, "small_resnet": 4}  # and for how many epochs they are trained
NETWORKS = ("digits_cnn", *LARGE)
fp32 = {name: scratch / f"{name}.onnx" for name in LARGE}
missing = [name for name in LARGE if not fp32[name].exists()]
codes = [TRAIN.format(name=n, file=str(scratch / n), epochs=LARGE[n]) for n in missing]
with ThreadPoolExecutor(2) as both:
    list(both.map(lambda code: measure.fresh_process(code, timeout_s=600), codes))
fp32["digits_cnn"] = models.path("digits_cnn", 3)  # lesson 06's file

# %%
train_part, test = data.digits()
fit, _ = data.hold_out(train_part)


def pixels(name, part):
    """The images as the network takes them: (N, 1, 8, 8), or (N, 1, 32, 32)."""
    return (part.images if name == "digits_cnn" else data.upscaled(part.images))[:, None]


test_pixels = {name: pixels(name, test) for name in NETWORKS}
fit_pixels = {name: pixels(name, fit) for name in NETWORKS}

# %% [markdown]
# All times in this lesson are taken with one thread, in both runtimes. (Lesson 13 asks how many threads to use.)


# %%
def session(file, profile=False, entries=()):
    """An ONNX Runtime session with one thread. entries: its further settings, by their names."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.enable_profiling = 1, profile
    options.profile_file_prefix = str(scratch / "profile")
    for key, value in dict(entries).items():
        options.add_session_config_entry(key, value)
    return onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])


# %%
def logits_of(name, file):
    return session(file).run(None, {"pixels": test_pixels[name]})[0]


def accuracy_of(logits):
    return float((logits.argmax(axis=1) == test.labels).mean())


def percent(share):
    return f"{100 * share:.1f} %"


# %% [markdown]
# We compare everything else with the float32 files.

# %%
reference = {name: logits_of(name, fp32[name]) for name in NETWORKS}
bytes_of = {name: fp32[name].stat().st_size for name in NETWORKS}
numbers = {
    name: sum(int(np.prod(each.dims)) for each in onnx.load(fp32[name]).graph.initializer)
    for name in NETWORKS
}

# %%
show.table(
    ["network", "numbers in the file", "file", "test accuracy"],
    [[n, f"{numbers[n]:,}", show.bytes_text(bytes_of[n]), percent(accuracy_of(reference[n]))]
     for n in NETWORKS],
    caption="Three networks in float32",
)  # fmt: skip

# %% [markdown]
# ## What does dynamic quantization do?
#
# *Dynamic* quantization rounds the weights once, when the file is made. The *activations*, the numbers between the
# layers, stay float32 in the file. At each call the runtime looks at their range, rounds them to uint8, multiplies in
# whole numbers, and turns the sums back into floats. This method needs no data.
#
# **Where this goes wrong.** The documentation shows a single line, `quantize_dynamic(model, new_model)`. We try it on
# lesson 06's digits model.

# %%
ONE_LINE = f"""
from onnxruntime.quantization import quantize_dynamic
from course_lib import models
try:
    quantize_dynamic(models.path("digits_cnn", 3), {str(scratch / "one_line.onnx")!r})
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
    "two shapes of one tensor disagree",
    pinned="onnx",
)

# %% [markdown]
# The exporter also notes the shape of each weight in the file. The quantizer transposes the weights of the dense layers,
# keeps the old notes, and then checks the shapes. Take the notes out, and it works. `quant_pre_process`, the quantizer's
# own preparation, should run first in any case: it merges operators and infers the shapes of the activations.
#
# `reduce_range` uses 7 of the 8 bits for the weights. Without it, some x86 processors cut off sums of 8-bit products
# (lesson 09b).

# %%
from onnxruntime.quantization import QuantType, quant_pre_process, quantize_dynamic

prepared = {name: scratch / f"{name}_prepared.onnx" for name in NETWORKS}
dynamic = {name: scratch / f"{name}_dynamic.onnx" for name in NETWORKS}
for name in NETWORKS:
    model = onnx.load(fp32[name])
    del model.graph.value_info[:]  # the notes
    onnx.save(model, prepared[name])
    quant_pre_process(prepared[name], prepared[name], skip_symbolic_shape=True)
    quantize_dynamic(prepared[name], dynamic[name], weight_type=QuantType.QInt8, reduce_range=True)

# %% [markdown]
# An int8 takes a quarter of the bytes of a float32. How large is the whole file?

# %%
guess("share", "The digits network's int8 file, as a share of its float32 file?", share=True)

# %%
small = {name: file.stat().st_size for name, file in dynamic.items()}
reveal("share", small["digits_cnn"] / bytes_of["digits_cnn"])
show.table(
    ["network", "float32 bytes", "int8 bytes", "share", "a byte for each number", "all else"],
    [[n, f"{bytes_of[n]:,}", f"{small[n]:,}", percent(small[n] / bytes_of[n]),
      f"{numbers[n]:,}", f"{small[n] - numbers[n]:,}"] for n in NETWORKS],
    caption="Dynamic int8",
)  # fmt: skip

# %%
claim(
    "the wide network's file shrinks to 26 % or less, the digits network's to more than 30 %",
    small["wide"] <= 0.26 * bytes_of["wide"]
    and small["digits_cnn"] > 0.3 * bytes_of["digits_cnn"],
    ", ".join(f"{n} {percent(small[n] / bytes_of[n])}" for n in NETWORKS),
)

# %% [markdown]
# The graph with its names and the biases do not shrink, and new operators and scales are added. Beside four million
# weights this hardly counts. In a small model it does.
#
# What about the time? Think of `wide`, which multiplies matrices, and of `small_resnet`, which convolves.

# %%
options = ["both", "only wide", "only small_resnet", "neither"]
guess("faster", "Which of the two becomes faster by dynamic int8?", choices=options)


# %% [markdown]
# We time the two forms of a network in turns, so that a slow moment of the machine affects both.


# %%
def onnx_call(file, name, batch):
    """A function that answers a batch of test images."""
    run, given = session(file), {"pixels": test_pixels[name][:batch]}
    return lambda: run.run(None, given)


def timed(calls, rounds=10):
    """Median and quartiles in ms of each call, all of them measured in turns."""
    taken = measure.latencies_ms(calls, rounds=rounds, warm_up=2)
    return {form: measure.spread(ms) for form, ms in taken.items()}


# %%
first = {}
for name in NETWORKS:
    for batch in (1, 32):
        both = {"float32": fp32[name], "int8": dynamic[name]}
        calls = {form: onnx_call(file, name, batch) for form, file in both.items()}
        first[name, batch] = {form: ms.median for form, ms in timed(calls).items()}
gained = {key: ms["float32"] / ms["int8"] for key, ms in first.items()}

# %% [markdown]
# We time calls with one image, and calls with 32:

# %%
show.table(
    ["network", "images a call", "float32 (ms)", "dynamic int8 (ms)", "times as fast"],
    [[n, b, f"{ms['float32']:.3f}", f"{ms['int8']:.3f}", f"{gained[n, b]:.2f}"]
     for (n, b), ms in first.items()],
    caption="Median time of a call, one thread",
)  # fmt: skip

# %%
faster = tuple(min(gained[name, batch] for batch in (1, 32)) > 1 for name in LARGE)
answers = dict(zip([(True, True), (True, False), (False, True), (False, False)], options))
reveal("faster", answers[faster])
observe(
    "dynamic int8 makes the wide network faster, and the residual network more than twice as slow",
    faster[0] and max(gained["small_resnet", batch] for batch in (1, 32)) < 0.5,
    f"32 images: {gained['wide', 32]:.1f} and {gained['small_resnet', 32]:.2f} times as fast",
    either=True,
)

# %% [markdown]
# Quantizer, runtime and machine were the same for both networks. So "int8 is faster" is a statement about a network, a
# runtime and a processor together. If the line above says "otherwise here", your processor differs from ours.
#
# ## Which operator takes the time?
#
# A runtime has code for each operator, for given types and processors. This code is the operator's *kernel*. ONNX
# Runtime has a *profiler*, which notes how long each part took. It writes a list of events. Events of the category `Node`
# whose names end in `_kernel_time` are the operators, and `dur` is the time in microseconds.


# %%
def profile(name, file, entries=(), calls=5):
    """By operator, slowest first: milliseconds of a call with 32 images, and how many ran."""
    run = session(file, profile=True, entries=entries)
    for _ in range(calls):
        run.run(None, {"pixels": test_pixels[name][:32]})
    took, ran = Counter(), Counter()
    for event in json.loads(Path(run.end_profiling()).read_text(encoding="utf-8")):
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            operator = event["args"]["op_name"]
            took[operator] += event["dur"] / 1000 / calls
            ran[operator] += 1
    return {operator: (ms, ran[operator] // calls) for operator, ms in took.most_common()}


# %%
def show_profiles(forms, most=4):
    """The slowest operators of each form: how many ran, and their milliseconds."""
    rows = []
    for form in forms:
        top = list(profiles[form].items())[:most]
        rows.append([form, ", ".join(f"{n} × {op} {ms:.2f} ms" for op, (ms, n) in top)])
    return show.table(["form", "operators"], rows, caption="small_resnet, a call with 32 images")


# %% [markdown]
# We profile the float file and the dynamic one. A third file differs from the second only in the type of its weights:
# uint8 instead of int8.

# %%
unsigned = scratch / "small_resnet_unsigned.onnx"
quantize_dynamic(prepared["small_resnet"], unsigned, weight_type=QuantType.QUInt8)
profiles = {
    "float32": profile("small_resnet", prepared["small_resnet"]),
    "dynamic, int8 weights": profile("small_resnet", dynamic["small_resnet"]),
    "dynamic, uint8 weights": profile("small_resnet", unsigned),
}
show_profiles(profiles)


# %%
def took(form, operator):
    return profiles[form].get(operator, (0, 0))[0]


# %% [markdown]
# Does one operator take most of the time? Does the type of the weights matter?

# %%
slow = took("dynamic, int8 weights", "ConvInteger")
total = sum(ms for ms, _ in profiles["dynamic, int8 weights"].values())
observe(
    "the integer convolution, ConvInteger, takes more than 80 % of the dynamic model's time",
    slow > 0.8 * total,
    f"{100 * slow / total:.0f} % of {total:.1f} ms",
    either=True,
)

# %%
in_float, unsigned_ms = took("float32", "Conv"), took("dynamic, uint8 weights", "ConvInteger")
observe(
    "with unsigned weights it takes less than half of that, and still more than the float Conv",
    in_float < unsigned_ms < slow / 2,
    f"{slow:.1f} ms, unsigned {unsigned_ms:.1f} ms; Conv {in_float:.1f} ms",
    either=True,
)

# %% [markdown]
# If the first line holds on your machine too, the steps around the convolution are cheap: rounding, and turning the
# sums back into floats. The integer convolution itself is slow. If the second line holds, the type of the weights
# decides how slow. A maintainer of ONNX Runtime wrote in 2022 that `ConvInteger` was not optimised yet, and recommended
# the static method for convolutional networks (issue 12854).
#
# ## What does static quantization fix in advance?
#
# *Static* quantization runs some images through the float network once, and notes the range of each activation. This is
# *calibration*. Scales and zero points are then written into the file, and no range is measured at a call.

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
qdq = {name: static(name, fit_pixels[name][:200]) for name in NETWORKS}
nodes = Counter(node.op_type for node in onnx.load(qdq["small_resnet"]).graph.node)
show.table(
    ["operator", "how many"], nodes.most_common(), caption="The static file of small_resnet"
)

# %% [markdown]
# Where are the integer operators? There are none. The file holds the float network, with pairs of `QuantizeLinear` and
# `DequantizeLinear` around its operators. This format is called *QDQ*. Read literally, it rounds each tensor to a grid
# and computes in float32. When the runtime loads the file, it looks for these pairs. Where it has an integer operator
# for them, it *fuses* them: that operator replaces the pairs and the float operator.
#
# People write *u8s8* for unsigned activations and signed weights, and *s8s8* if both are signed. We just made u8s8.
# Which one is the tool's default?

# %%
signed = static("small_resnet", fit_pixels["small_resnet"][:200], QuantType.QInt8, "signed")
by_default = inspect.signature(quantize_static).parameters["activation_type"].default
claim("the default of quantize_static is s8s8", by_default == QuantType.QInt8, by_default)

# %%
guess("fused", "In s8s8, how many of nine convolutions run in whole numbers?", low=0, high=9)

# %% [markdown]
# One setting of a session says whether pairs around int8 activations may be fused: `session.qdqisint8allowed`. We
# profile the s8s8 file twice, without this setting and with it.

# %%
allowed = {"session.qdqisint8allowed": "1"}
profiles["static, u8s8"] = profile("small_resnet", qdq["small_resnet"])
profiles["static, s8s8"] = profile("small_resnet", signed)
profiles["static, s8s8, allowed"] = profile("small_resnet", signed, allowed)
show_profiles(["static, u8s8", "static, s8s8", "static, s8s8, allowed"])


# %%
def ran(form, operator):
    return profiles[form].get(operator, (0, 0))[1]


reveal("fused", ran("static, s8s8", "QLinearConv"))
claim(
    "the file holds nine float convolutions and no integer one",
    nodes["Conv"] == 9 and nodes["QLinearConv"] == 0,
    f"{nodes['Conv']} Conv, {nodes['QuantizeLinear']} QuantizeLinear",
)

# %%
observe(
    "u8s8 runs all nine convolutions in whole numbers; s8s8 only when the setting allows it",
    ran("static, u8s8", "QLinearConv") == 9
    and ran("static, s8s8", "QLinearConv") < 9 == ran("static, s8s8, allowed", "QLinearConv"),
    ", ".join(f"{form[8:]}: {ran(form, 'QLinearConv')}" for form in profiles if "8s8" in form),
    either=True,
)

# %% [markdown]
# So we can make the runtime use its integer kernel for s8s8. Does that help?

# %%
slow, fast = (took(form, "QLinearConv") for form in ("static, s8s8, allowed", "static, u8s8"))
observe(
    "allowed, s8s8 takes more than five times as long as u8s8",
    slow > 5 * fast,
    f"{slow:.1f} and {fast:.1f} ms in QLinearConv",
    either=True,
)

# %% [markdown]
# By default the runtime allows this on ARM, and not on x86. Most byte instructions of x86 multiply unsigned by signed
# numbers, and on our machine the s8s8 convolution runs in a slow kernel. So on x86 the runtime leaves most of our s8s8
# file in float. That is still faster than its s8s8 kernel. (If the lines above say "otherwise here", your processor has
# other kernels.)
#
# The docstring of `quantize_static` recommends u8s8 for x86, and s8s8 for ARM and GPUs. But s8s8 is the default
# everywhere. No error and no warning tells you that most of the shipped model runs in float, with rounding added.

# %%
groups = {
    "float convolution": ({"Conv", "FusedConv"}, show.SKY),
    "integer convolution": ({"ConvInteger", "QLinearConv"}, show.BLUE),
}
convolutions = set().union(*(operators for operators, _ in groups.values()))
every_operator = {op for form in profiles.values() for op in form}
groups["everything else"] = (every_operator - convolutions, show.ORANGE)
totals = {form: sum(ms for ms, _ in each.values()) for form, each in profiles.items()}

# %%
plt.figure(figsize=(8.5, 3))
left = np.zeros(len(profiles))
for group, (operators, colour) in groups.items():
    part = [
        sum(ms for op, (ms, _) in each.items() if op in operators) for each in profiles.values()
    ]
    plt.barh(list(profiles), part, left=left, color=colour, label=group)
    left += part
plt.gca().invert_yaxis()
plt.xlabel("milliseconds in operators, 32 images, one thread")
plt.legend(loc="upper left", bbox_to_anchor=(1, 1))
of_int8 = [ms for form, ms in totals.items() if form != "float32"]
show.finding(
    f"Five int8 forms of one network: the slowest takes {max(of_int8) / min(of_int8):.0f} times "
    "as long as the fastest",
    alt="Milliseconds in operators for 32 images, small_resnet. "
    + "; ".join(f"{form}: {ms:.1f} ms" for form, ms in totals.items()),
)

# %% [markdown]
# **Now do exercise 10.2**, a reader for such profiles. (10.1 comes later.)
#
# **Your turn:** make `mine = static("wide", fit_pixels["wide"][:200], QuantType.QInt8, "mine")`, and look at
# `profile("wide", mine)`. Which operator multiplies now, and does the setting change it?
#
# ## How many images does calibration need?
#
# Calibration images must be prepared as the model's inputs are. Ours are divided by 16, so they lie in 0 to 1. What if
# somebody calibrates with pixels from 0 to 255?

# %%
too_bright = static("digits_cnn", 255 * fit_pixels["digits_cnn"][:200], label="bright")
collapsed = accuracy_of(logits_of("digits_cnn", too_bright))
claim(
    "calibrated on images 255 times as bright, the digits network loses more than 50 points",
    collapsed < accuracy_of(reference["digits_cnn"]) - 0.5,
    percent(collapsed),
)

# %% [markdown]
# The grids are 255 times too coarse. Nothing raised an error, but at least the accuracy shows the mistake. The next
# mistake does not show in the accuracy: too few images. LiteRT's documentation recommends 100 to 500. We try one, a
# hundred, and all.

# %%
counts, effect = (1, 100, len(fit.labels)), {}
for name in ("digits_cnn", "wide"):
    for many in counts:
        answer = logits_of(name, static(name, fit_pixels[name][:many], label="count"))
        effect[name, many] = (answer, measure.parity(reference[name], answer))

# %%
show.table(
    ["network", "images", "accuracy", "same class as float32", "largest change of a logit"],
    [[n, f"{many:,}", percent(accuracy_of(answer)), percent(p.agreement),
      f"{p.max_abs_diff:.2f}"] for (n, many), (answer, p) in effect.items()],
    caption="Static int8, by the number of calibration images",
)  # fmt: skip

# %%
less = [
    effect[n, 1][1].max_abs_diff / effect[n, counts[-1]][1].max_abs_diff
    for n in ("digits_cnn", "wide")
]
claim(
    "with one image 97 % of the classes agree with float32; with all of them the largest change "
    "of a logit is under a third of that with one",
    min(p.agreement for _, p in effect.values()) > 0.97 and min(less) > 3,
    ", ".join(f"{each:.0f} times less" for each in less),
)

# %% [markdown]
# What happens to the logits? Look at the wide network, calibrated on one image.

# %%
was, one = reference["wide"], effect["wide", 1][0]
outside = (was < one.min()) | (was > one.max())
claim(
    "the largest change is of a logit outside the range that the one image reached",
    outside.ravel()[np.abs(one - was).argmax()],
    f"float32 {was.min():.1f} to {was.max():.1f}, int8 {one.min():.1f} to {one.max():.1f}",
)

# %% [markdown]
# Values beyond the end of the grid are set to its end. If the model is sure, its largest logit is cut, but usually
# stays the largest. So the class stays the same. But a threshold on probabilities depends on the logits themselves, and
# so does a distillation loss. So compare logits, not only classes. (These grids reach from the smallest to the largest
# value seen. Lesson 09b has other rules.)
#
# ## What does LiteRT make of the same networks?
#
# LiteRT (lesson 07) is Google's runtime for phones and small devices. TensorFlow's converter writes its files, and can
# quantize on the way. Besides float32 we use four of its forms. *float16* keeps the weights in 2 bytes. *Dynamic range*
# is dynamic quantization. *Full integer* is static quantization. Its calibration images are called a *representative
# dataset*. The fourth form is full integer too, and it also takes and returns int8.
#
# The converter runs in a process of its own. It gets lesson 05's digits model, and Keras copies of the two large
# networks with the same weights.
#
# **Where this goes wrong.** The same process also tries the article's call from lesson 07,
# `tf.quantization.quantize_model(model)`.

# %%
CONVERT = f"""
import numpy as np, tensorflow as tf, keras
from course_lib import data, keras_models, models
folder = {str(scratch)!r}
fit, _ = data.hold_out(data.digits()[0])


def kept(name, model, images, forms):
    for form in forms:
        converter = tf.lite.TFLiteConverter.from_keras_model(model)
        if form != "float32":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]  # alone: dynamic range
        if form == "float16":
            converter.target_spec.supported_types = [tf.float16]
        if form.startswith("int8"):
            converter.representative_dataset = lambda: ([one[None]] for one in images)
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        if form == "int8 ends":
            converter.inference_input_type = converter.inference_output_type = tf.int8
        open(f"{{folder}}/{{name}} {{form}}.tflite", "wb").write(converter.convert())
"""

# %%
CONVERT_ALL = """
network = keras.models.load_model(models.path("digits_keras", 1, "model.keras"))
forms = ["float32", "float16", "dynamic", "int8", "int8 ends"]
kept("digits_keras", network, fit.images[..., None], forms)
for make in (keras_models.wide, keras_models.small_resnet):
    twin, images = make(np.load(f"{folder}/{make.__name__}.npz")), data.upscaled(fit.images[:200])
    kept(make.__name__, twin, images[..., None], ["float32", "dynamic", "int8"])
try:
    tf.quantization.quantize_model(network)
except AttributeError as error:
    result = f"AttributeError: {error}"
"""

# %% [markdown]
# This takes a while, but only once.

# %%
if not (scratch / "small_resnet int8.tflite").exists():
    said = measure.fresh_process(CONVERT + CONVERT_ALL, timeout_s=600).result
claim("the article's call does not exist", "quantize_model" in said, said)

# %% [markdown]
# To run the files you do not need TensorFlow. `CompiledModel` is LiteRT's present interface, and `Interpreter` the older
# one. In this version the buffers of `CompiledModel` hold one answer (lesson 07). We need batches, so we take
# `Interpreter` and resize its input. (`quiet.native` drops a line that LiteRT writes when it first starts.)

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


# %%
def called(lite, given, answer, values):
    lite.set_tensor(given["index"], values)
    lite.invoke()
    return lite.get_tensor(answer["index"])


# %% [markdown]
# First a check: do both runtimes start from the same networks?

# %%
LITE = ("float32", "dynamic", "int8")
last_axis = {name: test_pixels[name][:, 0, ..., None] for name in LARGE}
last_axis["digits_keras"] = test.images[..., None]


def lite_logits(name, form):
    return called(*litert(name, form, len(test.labels)), last_axis[name])


# %%
of_lite = {
    (name, form): lite_logits(name, form) for name in (*LARGE, "digits_keras") for form in LITE
}
apart = max(measure.parity(reference[n], of_lite[n, "float32"]).max_abs_diff for n in LARGE)
claim(
    "LiteRT's float32 files of the two large networks give ONNX Runtime's logits",
    apart < 1e-3,
    f"largest difference {apart:.0e}",
)

# %% [markdown]
# ### Which tensors in a LiteRT file are integers?
#
# A file lists its tensors and their types. We count them for the digits network, and look at the types of its input and
# output.


# %%
def types(form):
    lite, given, answer = litert("digits_keras", form, 1)
    tensors = Counter(np.dtype(each["dtype"]).name for each in lite.get_tensor_details())
    size = (scratch / f"digits_keras {form}.tflite").stat().st_size
    ends = (np.dtype(given["dtype"]).name, np.dtype(answer["dtype"]).name)
    return [form, f"{size:,}", *(tensors[kind] for kind in ("float32", "float16", "int8")), *ends]


# %%
rows = [types(form) for form in ("float32", "float16", "dynamic", "int8", "int8 ends")]
show.table(
    ["form", "bytes", "float32 tensors", "float16", "int8", "input", "output"],
    rows, caption="Tensors in the LiteRT files of the digits network",
)  # fmt: skip

# %%
claim(
    "“full integer” takes and returns float32, unless the converter is told otherwise",
    rows[3][5:] == ["float32", "float32"] and rows[4][5:] == ["int8", "int8"],
    f"{rows[3][0]}: {rows[3][5]}; {rows[4][0]}: {rows[4][5]}",
)

# %% [markdown]
# Such a file begins with a step that rounds the floats, so existing callers keep working. An accelerator for integers
# alone cannot run that step. For it, set `inference_input_type` and `inference_output_type`, as in our last form, and
# round the input yourself. The dynamic form rounds the weights of two of the four layers. By a rule in its source, the
# converter leaves layers with fewer than 1,024 weights in float.
#
# **Where this goes wrong.** A caller has floats, and the model wants int8. The first caller uses NumPy's `astype`. The
# second multiplies by 127 before that.

# %%
guess("times 127", "Accuracy if the pixels are `(127 * images).astype(np.int8)`?", share=True)

# %%
whole, given, answer = litert("digits_keras", "int8 ends", len(test.labels))
scale, zero_point = given["quantization"]
images = last_axis["digits_keras"]
by_the_file = np.clip(np.rint(images / scale) + zero_point, -128, 127).astype(np.int8)

# %% [markdown]
# We compare these two ways with the file's own scale and zero point:

# %%
ways = {
    "astype(int8)": images.astype(np.int8),
    "times 127": (127 * images).astype(np.int8),
    "x / scale + zero point": by_the_file,
}
read = {way: accuracy_of(called(whole, given, answer, values)) for way, values in ways.items()}
reveal("times 127", read["times 127"])

# %%
show.table(
    ["pixels turned into int8 by", "test accuracy"],
    [[way, percent(share)] for way, share in read.items()],
    caption="Three callers of one int8 model",
)

# %%
claim(
    "only the file's own scale and zero point keep the accuracy; the others lose 5 points or more",
    read["x / scale + zero point"] > 0.97
    and max(read["astype(int8)"], read["times 127"]) < read["x / scale + zero point"] - 0.05,
    f"scale {scale:.5f}, zero point {zero_point}",
)

# %% [markdown]
# What if you pass the floats as they are?

# %%
try:
    whole.set_tensor(given["index"], images)
    refused = ""
except ValueError as error:
    refused = str(error)
claim("floats as they are get refused, with the reason", "expected type INT8" in refused, refused)

# %% [markdown]
# The helpful `astype` turns this error into a wrong answer. The second way is worse, because a review of a few images may
# miss it. **Now do exercise 10.1**, which writes this step with its edges.
#
# ## Is a smaller form less accurate than float32?
#
# Before a release you want to know: how many points does the new form lose, at worst? All forms answered the same 450
# images. Images on which both are right, or both are wrong, do not change the difference. Let $b$ be the number of
# images that only float32 reads correctly, and $c$ the number that only the other form does. Of $n$ images, the
# accuracy changes by $(c - b)/n$. Agresti and Min (2005) give an interval that is good for small $b$ and $c$. Add half
# an image to each of the four counts (both right, both wrong, $b$, $c$):
#
# $$\tilde b = b + \tfrac12,\quad \tilde c = c + \tfrac12,\quad \tilde n = n + 2, \qquad
# \frac{\tilde c - \tilde b}{\tilde n} \;\pm\; 1.96\,\frac{1}{\tilde n}\sqrt{\tilde b + \tilde c - \frac{(\tilde c - \tilde b)^2}{\tilde n}} .$$


# %%
def paired(before, after):
    """Images lost, images won, and the 95 % interval of the change in accuracy, in points."""
    was, now = before.argmax(axis=1) == test.labels, after.argmax(axis=1) == test.labels
    lost, won = int((was & ~now).sum()), int((now & ~was).sum())
    b, c, n = lost + 0.5, won + 0.5, len(was) + 2
    middle, reach = (c - b) / n, 1.96 * np.sqrt(b + c - (c - b) ** 2 / n) / n
    return lost, won, 100 * (middle - reach), 100 * (middle + reach)


# %% [markdown]
# We add one more form for ONNX Runtime: float16. It needs no calibration and halves the file. But do not expect more
# speed on x86. There, ONNX Runtime computes nearly everything in float32.

# %%
from onnxruntime.transformers.float16 import convert_float_to_float16

half = {name: scratch / f"{name}_float16.onnx" for name in NETWORKS}
for name, file in half.items():
    onnx.save(convert_float_to_float16(onnx.load(prepared[name]), keep_io_types=True), file)
ONNX = {"float32": fp32, "float16": half, "dynamic int8": dynamic, "static int8": qdq}

# %%
every = {}  # (network, form): logits, bytes
for name in LARGE:
    for form, files in ONNX.items():
        size = files[name].stat().st_size
        every[name, f"ONNX {form}"] = (logits_of(name, files[name]), size)
    for form in LITE:
        size = (scratch / f"{name} {form}.tflite").stat().st_size
        every[name, f"LiteRT {form}"] = (of_lite[name, form], size)
changes = {key: paired(reference[key[0]], logits) for key, (logits, _) in every.items()}

# %%
most = max(abs(won - lost) for lost, won, _, _ in changes.values())
claim(
    "no form of the two networks changes the accuracy by more than 2 points",
    most <= 0.02 * len(test.labels),
    f"by {most} of 450 images at most",
)

# %% [markdown]
# That holds for these 450 images. The interval says what to expect on other such images. Even with no disagreement at
# all it reaches 0.4 points to each side. **Now do exercise 10.3**, which computes this interval for a release gate.
#
# ## What we measured
#
# We time all forms of both networks in turns.

# %%
latency = {}
for name in LARGE:
    for batch in (1, 32):
        calls = {
            f"ONNX {form}": onnx_call(files[name], name, batch) for form, files in ONNX.items()
        }
        for form in LITE:
            parts, values = litert(name, form, batch), last_axis[name][:batch]
            calls[f"LiteRT {form}"] = lambda parts=parts, values=values: called(*parts, values)
        latency |= {(name, form, batch): ms for form, ms in timed(calls).items()}

# %%
show.table(
    ["network", "form", "file", "lost, won", "change (points, 95 %)", "1 image (ms)",
     "32 images (ms)"],
    [
        [name, form, show.bytes_text(size), "{}, {}".format(*changes[name, form][:2]),
         "{:+.1f} to {:+.1f}".format(*changes[name, form][2:]),
         latency[name, form, 1], latency[name, form, 32]]
        for (name, form), (_, size) in every.items()
    ],
    caption="Each form against ONNX float32. Times: median (quartiles), one thread",
)  # fmt: skip

# %%
faster = {
    runtime: latency["small_resnet", f"{runtime} float32", 32].median
    / latency["small_resnet", f"{runtime} {form}", 32].median
    for runtime, form in (("ONNX", "dynamic int8"), ("LiteRT", "dynamic"))
}
observe(
    "small_resnet, dynamic: slower than float32 in ONNX Runtime, faster in LiteRT",
    faster["ONNX"] < 1 < faster["LiteRT"],
    f"{faster['ONNX']:.2f} and {faster['LiteRT']:.2f} times as fast, 32 images",
    either=True,
)

# %% [markdown]
# If that line holds on your machine, one method on one processor is slow in one runtime and fast in the other. Then
# int8 was not slow. One kernel was.
#
# Which forms are worth keeping? A form can go if another one is at least as small *and* at least as fast, and better in
# one of the two. The forms that remain are the *Pareto front*. (We leave the accuracies out, because we cannot tell them
# apart.) **Now do exercise 10.4**, which finds the front for any number of costs.


# %%
def front(name, batch):
    cost = {
        f: (size, latency[n, f, batch].median) for (n, f), (_, size) in every.items() if n == name
    }

    def beaten(mine):
        return any(c[0] <= mine[0] and c[1] <= mine[1] and c != mine for c in cost.values())

    return [form for form, mine in cost.items() if not beaten(mine)]


fronts = {name: front(name, 1) for name in LARGE}
forms = list(dict.fromkeys(form for _, form in every))
colours = {form: show.BLUE if form.startswith("ONNX") else show.ORANGE for form in forms}
marks = dict(zip(forms, "osD^oD^"))

# %%
from matplotlib.ticker import LogLocator, NullLocator

figure, axes = plt.subplots(1, 2, figsize=(9, 3.6))
for name, axis in zip(LARGE, axes):
    for form in forms:
        filled = colours[form] if form in fronts[name] else "white"
        at = (latency[name, form, 1].median, every[name, form][1])
        axis.plot(*at, marks[form], color=colours[form], mfc=filled, ms=9)
    axis.set(xscale="log", yscale="log", title=name, xlabel="ms for one image (logarithmic)")
    for side in (axis.xaxis, axis.yaxis):
        side.set_major_locator(LogLocator(subs=(1, 2, 5)))
        side.set_minor_locator(NullLocator())
    axis.xaxis.set_major_formatter(lambda ms, _: f"{ms:g}")
    axis.yaxis.set_major_formatter(lambda size, _: show.bytes_text(round(size)))
    axis.margins(0.2)
axes[0].set_ylabel("file (logarithmic)")
keys = [plt.Line2D([], [], ls="", marker=marks[f], color=colours[f]) for f in forms]
figure.legend(keys, forms, loc="center left", bbox_to_anchor=(1, 0.5), fontsize="small")
of_float = sum("float" in form for each in fronts.values() for form in each)
show.finding(
    f"Float forms hold {of_float} of the {sum(map(len, fronts.values()))} places "
    "on the two Pareto fronts (filled)",
    alt="File size against the time of one image, both logarithmic, each form of both networks. On "
    "the front: " + "; ".join(f"{name}: {', '.join(each)}" for name, each in fronts.items()),
)

# %% [markdown]
# The front rules out forms that nobody should ship. It does not choose among the others. The smallest file always stays
# on it, even if it is many times as slow. So decide what a byte and a millisecond are worth to you. And if the times of
# two forms differ by less than their quartiles, the order may change in the next run.
#
# The forms of the digits models go into the ledger. Each is compared with its own float32 file.

# %%
smaller = {}
for form in ("float16", "dynamic int8", "static int8"):
    file = ONNX[form]["digits_cnn"]
    smaller["digits_cnn", form] = (reference["digits_cnn"], logits_of("digits_cnn", file), file)
for form in ("float16", "dynamic", "int8"):
    was, now = (lite_logits("digits_keras", each) for each in ("float32", form))
    smaller["digits_keras", f"tflite {form}"] = (was, now, scratch / f"digits_keras {form}.tflite")
for (name, form), (was, now, file) in smaller.items():
    moved, size = measure.parity(was, now).max_abs_diff, file.stat().st_size
    ledger.record(name, form, accuracy=accuracy_of(now), bytes=size, max_abs_diff=moved)

# %%
float_bytes = {
    "digits_cnn": bytes_of["digits_cnn"],
    "digits_keras": (scratch / "digits_keras float32.tflite").stat().st_size,
}
shares = {
    (name, form): file.stat().st_size / float_bytes[name]
    for (name, form), (_, _, file) in smaller.items()
}
claim(
    "float16 takes 50 to 60 % of the bytes of float32, int8 30 to 40 %",
    all(0.5 < s < 0.6 if "16" in form else 0.3 < s < 0.4 for (_, form), s in shares.items()),
    ", ".join(f"{form} {percent(s)}" for (_, form), s in shares.items()),
)

# %%
claim(
    "in each of these files a digits model stays within 1 point of its float32 accuracy",
    all(abs(accuracy_of(now) - accuracy_of(was)) <= 0.01 for was, now, _ in smaller.values()),
    ", ".join(f"{form} {percent(accuracy_of(now))}" for (_, form), (_, now, _) in smaller.items()),
)
ledger.picture(
    "Half to a third of the bytes, within a point of the same accuracy",
    model=["digits_cnn", "digits_keras"],
)

# %% [markdown]
# ## What to remember
#
# - int8 is only as fast as its kernel. Profile the file that you deploy, on the processor that serves.
# - On x86 ask ONNX Runtime's static quantizer for u8s8. Its default, s8s8, runs mostly in float there.
# - Calibrate on a few hundred images, prepared as in use, and compare logits. The predicted classes can hide the
#   damage.
#
# ## Where this breaks down
#
# Our networks are right on nearly all of 450 easy images, so hardly any loss could be seen. On harder tasks int8 often
# costs accuracy. The times are those of one machine, one thread and small networks. If a model has gigabytes of
# weights, reading them from memory can take most of the time. Then int8 weights help even if each is turned into a
# float before the product. Much of int8's speed depends on whether the processor has the byte instructions of lesson
# 09b: VNNI on x86, dot products on ARM.
#
# ## What real teams use
#
# On x86 servers: ONNX Runtime's static quantization, or OpenVINO with NNCF. On NVIDIA GPUs: TensorRT, with int8 or FP8
# (lesson 10b). On phones and microcontrollers: LiteRT. Its migration guide calls quantization in the converter legacy.
# For a float32 file there is a separate tool, LiteRT Quantizer. In PyTorch: torchao. Teams leave sensitive layers in
# float, often the first and the last (`nodes_to_exclude`; lesson 10b has a scan). A release then has to pass a gate on
# parity, accuracy and latency, measured on the hardware that serves.
#
# ## Further reading
#
# - B. Jacob et al., *Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference*,
#   CVPR 2018.
# - R. Krishnamoorthi, *Quantizing deep convolutional networks for efficient inference: A whitepaper*,
#   arXiv:1806.08342, 2018.
# - A. Agresti, Y. Min, *Simple improved confidence intervals for comparing matched proportions*, Statistics in Medicine
#   24, 2005.
# - ONNX Runtime's documentation: *Quantize ONNX models*. Pull request 9961 of microsoft/onnxruntime, *enable s8s8 QDQ
#   fusion on ARM*.
# - LiteRT's documentation: *Post-training quantization*, and the migration guide to LiteRT Quantizer.
