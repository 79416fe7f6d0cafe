# %% [markdown]
# # 25b On a phone and a microcontroller
#
# At 3 a.m. the build of the sensor's firmware fails: "region RAM overflowed by 1,204 bytes". The new model has fewer
# weights than the old one. Somebody counted the weights, but nobody counted the numbers between the layers.
#
# ## You will be able to
#
# - say what a phone's runtimes want, and which of them can be tested without the phone;
# - convert a model to int8 for one image at a time, and say which operators are left;
# - prepare the input and read the answer in whole numbers, as a board does;
# - count flash and memory of a model before you have the board;
# - check a micro interpreter's answers against a desktop's.
#
# ## Before you start
#
# You need lesson 07 (LiteRT) and 10 (int8, scale and zero point). A *microcontroller* is a processor, its memory and its
# connections on one chip, without an operating system. Programs and constants stand in *flash*, which keeps its content
# without power. Everything that changes stands in *RAM*.

# %%
import importlib.util
import re

import matplotlib.pyplot as plt
import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType

# %%
from course_lib import data, measure, models, show
from course_lib.idioms import begin, claim, guess, ledger, observe, path, quiet, reveal

scratch = begin("25b")
path.picture(here="25b")

# %% [markdown]
# ## What does a phone want?
#
# (If you ship to no phone, you may skip this section.) A phone runs a model through a runtime that is part of the app
# or of the system. Each has a file format, and a way to hand parts of the graph to faster hardware.
#
# | runtime | file | made from | faster hardware through | tried in this course |
# | --- | --- | --- | --- | --- |
# | LiteRT (was TensorFlow Lite) | `.tflite` | Keras, SavedModel, PyTorch | *delegates*: XNNPACK (CPU), GPU, NPU | here, CPU |
# | Core ML (Apple) | `.mlpackage` | PyTorch, TensorFlow | the system chooses CPU, GPU or Neural Engine | lesson 06: converted and read |
# | ExecuTorch (PyTorch) | `.pte` | `torch.export` | *partitioners*: XNNPACK, Core ML, vendors' NPUs | no |
# | ONNX Runtime Mobile | `.onnx`, `.ort` | ONNX | execution providers: NNAPI, Core ML, XNNPACK | no; its build for browsers in lesson 25 |
#
# An *NPU*, neural processing unit, is hardware for matrix products, mostly in few bits. Three things surprise people:
#
# - A delegate takes only the operators that it knows. The rest stays on the CPU, and each change between the two
#   costs time. A graph that is split into many parts can be slower than without a delegate.
# - A delegate may accept only some types. LiteRT's Core ML delegate takes float32 and float16 models, but not int8.
# - The interfaces change. Android's NNAPI was for years the way to a phone's NPU. It is deprecated since Android 15. In
#   LiteRT, the newer `CompiledModel` interface chooses the hardware.
#
# ExecuTorch follows the same idea in PyTorch. `torch.export` gives a graph, a partitioner marks what a backend takes
# (`to_edge_transform_and_lower`), and the rest runs in portable kernels. Its Python package needs an environment of its
# own, so we leave it out here.
#
# Without a phone you *can* test conversion, operators, parity and bytes. You cannot test speed, heat, battery, or
# whether a delegate really takes the graph. For those you need devices of several years and makers.
#
# ## What does a delegate change?
#
# LiteRT on this machine uses XNNPACK by default. We switch it off and compare, with lesson 05's model in float32.

# %%
train_part, test = data.digits()
fit, _ = data.hold_out(train_part)


def interpreter(content, delegate=True):
    """A LiteRT interpreter with one thread, with or without XNNPACK."""
    kind = OpResolverType.BUILTIN if delegate else OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    with quiet.native():  # the first model of a process announces the delegate
        made = Interpreter(
            model_content=content, num_threads=1, experimental_op_resolver_type=kind
        )
        made.allocate_tensors()
    return made


# %%
def answer(run, image):
    """The output of one image. image: as the model takes it, without the batch."""
    run.set_tensor(run.get_input_details()[0]["index"], image[None])
    run.invoke()
    return run.get_tensor(run.get_output_details()[0]["index"])[0]


# %% [markdown]
# We answer the 450 test images with both, one at a time.

# %%
float_file = models.path("digits_keras", 1, "model.tflite").read_bytes()
images = test.images[..., None]
both = {name: interpreter(float_file, name == "XNNPACK") for name in ("XNNPACK", "plain")}
float_logits = {name: np.array([answer(run, one) for one in images]) for name, run in both.items()}

# %%
calls = {name: (lambda run=run: answer(run, images[0])) for name, run in both.items()}
median_ms = {
    name: measure.spread(ms).median
    for name, ms in measure.latencies_ms(calls, rounds=200, warm_up=20).items()
}
gap = float(np.abs(float_logits["XNNPACK"] - float_logits["plain"]).max())
labels = {name: logits.argmax(axis=1) for name, logits in float_logits.items()}
claim(
    "both give the same label to each of the 450 images",
    (labels["XNNPACK"] == labels["plain"]).all(),
    f"logits differ by {gap:.1e}",
)
observe(
    "the delegate makes this small model faster",
    median_ms["XNNPACK"] < median_ms["plain"],
    f"{1000 * median_ms['XNNPACK']:.0f} µs against {1000 * median_ms['plain']:.0f} µs",
    either=True,
)

# %% [markdown]
# A delegate changes the order of the sums, so the float logits may move in their last digits. Run the parity test with
# each delegate that you ship.
#
# ## How do you convert for a board?
#
# A board runs one image at a time, in whole numbers. So we fix the batch to 1, and let weights, activations, input and
# output all be int8. The converter runs in a process of its own. TensorFlow's memory is free again when that process ends.

# %%
CONVERT = f"""
import keras, tensorflow as tf
from course_lib import data, models
network = keras.models.load_model(models.path("digits_keras", 1, "model.keras"))
fit, _ = data.hold_out(data.digits()[0])

def int8(model):
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([one[None, ..., None]] for one in fit.images)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    return converter.convert()

one_image = keras.models.clone_model(
    network, input_tensors=keras.Input(network.input_shape[1:], batch_size=1))
one_image.set_weights(network.get_weights())
open({str(scratch / "any.tflite")!r}, "wb").write(int8(network))
open({str(scratch / "one.tflite")!r}, "wb").write(int8(one_image))
"""

# %%
if not (scratch / "one.tflite").exists():
    converted = measure.fresh_process(CONVERT, timeout_s=300)
files = {name: (scratch / f"{name}.tflite").read_bytes() for name in ("any", "one")}

# %% [markdown]
# We list the operators of both files, with the delegate off, since a delegate adds an operator of its own.


# %%
def operators(content):
    return [each["op_name"] for each in interpreter(content, delegate=False)._get_ops_details()]


show.table(
    ["batch", "bytes", "operators"],
    [[name, f"{len(content):,}", " ".join(operators(content))] for name, content in files.items()],
    caption="The same model in int8, for any batch and for one image",
)

# %%
extra = set(operators(files["any"])) - set(operators(files["one"]))
claim(
    "a free batch size costs three more kinds of operators, which only compute shapes",
    extra == {"SHAPE", "STRIDED_SLICE", "PACK"},
    f"{', '.join(sorted(extra))}; {len(files['any']) - len(files['one']):,} bytes",
    pinned="keras",
)

# %% [markdown]
# On a board each kind of operator is code that you link into the program. Four kinds are left: `CONV_2D`,
# `MAX_POOL_2D`, `RESHAPE` and `FULLY_CONNECTED`. Dropout does nothing when the model answers, so it is gone.
#
# ## How does a board prepare the input and read the answer?
#
# The board has no float image. A camera gives whole numbers, and the model wants int8 with a scale and a zero point,
# $q = \operatorname{round}(x / s) + z$, cut off at −128 and 127. The answer is int8 as well. For a label the board needs
# no floats at all: the scale is positive, so the largest $q$ belongs to the largest logit.

# %%
micro_file = files["one"]
run = interpreter(micro_file)
takes, gives = run.get_input_details()[0], run.get_output_details()[0]
scale, zero_point = takes["quantization"]
print(f"input:  q = round(x / {scale:.6f}) + ({zero_point})")
print(f"output: x = {gives['quantization'][0]:.4f} (q - ({gives['quantization'][1]}))")

# %%
quantized = np.clip(np.round(images / scale) + zero_point, -128, 127).astype(np.int8)
lite = np.array([answer(run, one) for one in quantized])  # int8 (450, 10)
accuracy = float((lite.argmax(1) == test.labels).mean())
same = float((lite.argmax(1) == labels["plain"]).mean())
claim("the int8 model gives the float model's label to at least 98 % of the images", same >= 0.98,
      f"{100 * same:.1f} %, accuracy {100 * accuracy:.1f} %")  # fmt: skip

# %% [markdown]
# **Where this goes wrong.** Somebody sends the pixels 0 to 16 as they are, cast to int8. There is no error. What is
# the accuracy?

# %%
guess("cast", "What is the accuracy if the scale and the zero point are forgotten?", share=True)

# %%
cast = np.round(16 * images).astype(np.int8)
forgotten = np.array([answer(run, one) for one in cast])
wrong_accuracy = float((forgotten.argmax(1) == test.labels).mean())
reveal("cast", wrong_accuracy)
claim("the accuracy falls by more than a tenth, without any error", wrong_accuracy < accuracy - 0.1,
      f"{100 * wrong_accuracy:.1f} %")  # fmt: skip

# %% [markdown]
# The model reads the int8 values 0 to 16 as greys between about 0.50 and 0.56. In exercise 25b.1 you write the correct
# conversion.
#
# ## How does the model get into the flash?
#
# A board has no files. The model becomes a constant array in the C++ source, and the linker puts it into flash. The
# usual tool on a terminal is `xxd`:
#
# ```bash
# xxd -i one.tflite > model.h
# ```
#
# You add two words by hand. `const` keeps the array in flash: without it, the array is copied into RAM at start.
# `alignas(16)` makes the array start at a multiple of 16, since the interpreter reads whole words from it in place.


# %%
def c_array(content, name="model"):
    """The bytes as a C++ header."""
    rows = [content[i : i + 12] for i in range(0, len(content), 12)]
    body = ",\n".join("  " + ", ".join(f"0x{byte:02x}" for byte in row) for row in rows)
    head = f"alignas(16) const unsigned char {name}[] = {{\n{body}\n}};\n"
    return head + f"const unsigned int {name}_len = {len(content)};\n"


header = c_array(micro_file)
print(header[:170], "…")

# %%
back = bytes(int(each, 16) for each in re.findall(r"0x([0-9a-f]{2})", header))
claim("the array holds the file, byte for byte", back == micro_file,
      f"{len(header):,} letters of source, {len(back):,} bytes of flash")  # fmt: skip

# %% [markdown]
# ## How much RAM does it need?
#
# The weights stay in flash. RAM is needed for the *activations*, the numbers between the layers, and for the
# interpreter's own bookkeeping. A micro interpreter takes both from one block that you reserve in advance, the *arena*.
# It never asks for more memory later, since a board that runs for years must not run out of it.
#
# While a convolution runs, its input and its output must both be in RAM. Before and after that, other tensors can use
# the same bytes. So a plan needs at least the largest sum of input and output. Simple operators such as `RESHAPE` may
# write over their own input, but they are not the largest here. Which operator needs the most?

# %%
guess(
    "arena",
    "How many bytes do the input and output of the largest operator take together?",
    low=64,
    high=65536,
)

# %%
plain = interpreter(micro_file, delegate=False)
tensors = {each["index"]: each for each in plain.get_tensor_details()}
ops = plain._get_ops_details()
made_here = {takes["index"]} | {int(i) for op in ops for i in op["outputs"]}


def activation_bytes(index):
    """int8: one byte each. Weights and biases are constants in flash and count as 0."""
    return int(np.prod(tensors[index]["shape"])) if index in made_here else 0


needs = [(op["op_name"], sum(activation_bytes(int(i)) for i in op["inputs"]),
          sum(activation_bytes(int(i)) for i in op["outputs"])) for op in ops]  # fmt: skip
least = max(before + after for _, before, after in needs)
reveal("arena", least)

# %%
at = np.arange(len(needs))
plt.figure(figsize=(6.4, 3.4))
plt.bar(at, [b for _, b, _ in needs], color=show.BLUE, label="input")
plt.bar(
    at, [a for *_, a in needs], bottom=[b for _, b, _ in needs], color=show.ORANGE, label="output"
)
plt.axhline(least, color=show.GREY, linestyle="--", linewidth=1)
plt.annotate(f"{least:,} bytes", (len(at) - 0.5, least), ha="right", va="bottom")
plt.xticks(at, [name.replace("_", "\n", 1) for name, *_ in needs], fontsize=8)
plt.xlabel("operators, in the order in which they run")
plt.ylabel("activations (bytes)")
plt.ylim(0, 1.18 * least)
plt.legend(loc="center right", frameon=False)
show.finding(
    "One operator decides how much memory is needed: the second convolution",
    alt="Bars for six operators, input and output stacked. The second convolution is the highest, "
    f"with {least:,} bytes.",
)

# %% [markdown]
# The first dense layer has two thirds of the weights, and needs little RAM. The second convolution has fewer weights and
# large maps of activations. That is how a model with fewer weights can overflow the RAM.
#
# ## What does a real micro interpreter need?
#
# *TensorFlow Lite Micro* (TFLM) is the interpreter that runs on boards. Its makers also publish it as a Python package,
# `tflite-micro`, compiled for Linux on x86-64. It is the same C++ code with the same planner. On other
# machines this cell says that it is missing, and the lesson goes on with the numbers from the machine of the build.

# %%
MICRO = f"""
import os, tempfile
import numpy as np
from tflite_micro import runtime
made = runtime.Interpreter.from_bytes(open({str(scratch / "one.tflite")!r}, "rb").read())
images = np.load({str(scratch / "quantized.npy")!r})
answers = []
for one in images:
    made.set_input(one[None], 0)
    made.invoke()
    answers.append(made.get_output(0)[0].tolist())
kept = os.dup(2), os.dup(1)
with tempfile.TemporaryFile() as told:  # C++ prints past Python
    os.dup2(told.fileno(), 2), os.dup2(told.fileno(), 1)
    made.print_allocations()
    os.dup2(kept[0], 2), os.dup2(kept[1], 1)
    told.seek(0)
    result = {{"answers": answers, "told": told.read().decode()}}
"""

# %%
np.save(scratch / "quantized.npy", quantized)
micro = None
if importlib.util.find_spec("tflite_micro") is None:
    print("tflite-micro is not installed here: it exists for Linux on x86-64 alone")
else:
    micro = measure.fresh_process(MICRO).result
    print(re.sub(r"\[Recording\w+\] ", "", micro["told"]))

# %%
BUILT = {"total": 5744, "head": 3072}  # tflite-micro 0.dev20261023182759, Linux x86-64
arena = dict(BUILT)
if micro:
    sizes = re.findall(r"allocation (total|head|tail) (\d+) bytes", micro["told"])
    arena |= {name: int(size) for name, size in sizes}
claim(
    "the planner reaches the least that is possible for the activations",
    arena["head"] == least,
    f"head {arena['head']:,} bytes, least possible {least:,}"
    + ("" if micro else " (head: not measured here)"),
)

# %% [markdown]
# The *head* holds the activations, the *tail* what the interpreter keeps about tensors and operators. Our sum predicted
# the head without any board. The tail has to be measured, and its size depends on the width of an address. A board with
# 32 bits needs less for its pointers than this machine with 64.
#
# ### Does it give the same answers?

# %%
if micro:
    micro_logits = np.array(micro["answers"])
    agree = int((micro_logits.argmax(axis=1) == lite.argmax(axis=1)).sum())
    steps = int(np.abs(micro_logits - lite).max())
    claim(
        "both give the same label to at least 445 of 450 images", agree >= 445, f"{agree} of 450"
    )
    apart = f"at most {steps} steps apart"
    observe("they agree in each of the 4,500 numbers", steps == 0, apart, either=True)

# %% [markdown]
# Two integer programs may still differ by a step, since they may round differently when they rescale a sum. So test the
# interpreter that you ship, not only the desktop's.
#
# ## Does it fit on a board?
#
# We take three boards from their makers' datasheets. TFLM's documentation states 16 kB for the core of the interpreter on an
# Arm Cortex-M3. The operators' code comes on top. We reserve 60 kB for all code, which is our assumption. Your linker
# reports the real number.

# %%
KB = 1024
BOARDS = [  # name, flash and RAM in bytes
    ("Arduino Uno R3 (ATmega328P, 8 bits)", 32 * KB, 2 * KB),
    ("Arduino Nano 33 BLE Sense (nRF52840)", 1024 * KB, 256 * KB),
    ("Raspberry Pi Pico (RP2040)", 2048 * KB, 264 * KB),
]

# %% [markdown]
# We also assume 8 kB of RAM for the stack and the rest of the program:

# %%
CODE, OTHER_RAM = 60 * KB, 8 * KB  # our assumptions: interpreter and operators; stack and the rest
flash, ram = len(micro_file) + CODE, arena["total"] + OTHER_RAM

# %%
rows, fits = [], []
for name, has_flash, has_ram in BOARDS:
    fits.append(flash <= has_flash and ram <= has_ram)
    shares = [f"{100 * flash / has_flash:.0f} %", f"{100 * ram / has_ram:.0f} %"]
    rows.append([name, *shares, "yes" if fits[-1] else "no"])
show.table(
    ["board", "flash used", "RAM used", "fits"],
    rows,
    caption=f"{flash / KB:.0f} KiB of flash, {ram / KB:.1f} KiB of RAM",
)

# %%
claim(
    "the two 32-bit boards hold the model many times over, and the Uno does not",
    fits == [False, True, True],
    f"in float32 the activations alone would take {4 * least:,} bytes",
)

# %% [markdown]
# ### How long does an answer take there?
#
# We have no board, so we only estimate. Count the *MACs*. A MAC, multiply-accumulate, is one product that is added to a
# sum. A convolution needs one for each output number, input channel and point of its filter.

# %%
conv_1, conv_2 = 8 * 8 * 16 * (3 * 3 * 1), 8 * 8 * 32 * (3 * 3 * 16)
dense_1, dense_2 = 512 * 20, 20 * 10
macs = conv_1 + conv_2 + dense_1 + dense_2
CLOCK_HZ, MACS_PER_CYCLE = 64e6, 0.5  # nRF52840; the second is a guess, measure yours
print(f"{macs:,} MACs, {100 * conv_2 / macs:.0f} % in the second convolution")
print(f"about {1000 * macs / (CLOCK_HZ * MACS_PER_CYCLE):.0f} ms an answer, if the guess holds")

# %% [markdown]
# **Now do exercise 25b.2**: count MACs and flash for any list of layers.
#
# The guess may be wrong by a factor of ten or more. Portable kernels need many cycles for a MAC. Optimised ones, such
# as Arm's CMSIS-NN, do two at once on a Cortex-M4. An answer in 10 or 100 ms is fast enough for a keypad. It is too
# slow for a motor that needs a thousand answers a second. A faster answer also costs less energy, since the board can
# sleep for longer before the next one.
#
# ## What we measured

# %%
ledger.record("digits_keras", "LiteRT int8, batch 1", accuracy=accuracy, bytes=len(micro_file))
show.table(
    ["what", "value"],
    [
        ["float32 file", f"{len(float_file):,} bytes"],
        ["int8 file for one image, in flash", f"{len(micro_file):,} bytes"],
        ["accuracy in float32", f"{100 * (labels['plain'] == test.labels).mean():.1f} %"],
        ["accuracy in int8", f"{100 * accuracy:.1f} %"],
        ["activations, computed", f"{least:,} bytes"],
        ["arena of the micro interpreter", f"{arena['total']:,} bytes"],
    ],
    caption="This lesson in six numbers",
)  # fmt: skip

# %% [markdown]
# ## What to remember
#
# - A delegate or a partitioner takes the operators that it knows. Test parity with each one that you ship.
# - Weights need flash, activations need RAM. The largest sum of input and output is the least RAM for activations.
# - Scale and zero point belong to the input. Forgetting them gives wrong answers and no error.
#
# ## Where this breaks down
#
# The sum of one input and one output is enough for a chain of operators. With a residual connection a third tensor stays
# alive, and the planner has to fit tensors of different lifetimes into one block (exercise 25b.3). Large first layers are the usual problem in vision: an image of 96 × 96 with 8 channels
# already has 72 KiB. Then people compute the picture in strips, or choose another network. The Python package computes on a desktop:
# it shows answers and bytes, not the speed, the energy or the real size of the code.
#
# ## What real teams use
#
# On phones: LiteRT, Core ML, ExecuTorch or ONNX Runtime. The platform and the framework of training decide which. Teams
# test in a lab of devices, their own or a rented one. On boards: TFLM with CMSIS-NN, or a tool that turns the model into
# C code (emlearn for trees, vendors' tools such as STM32Cube.AI). For the first try, platforms such as Edge Impulse do
# the whole path.
#
# ## Further reading
#
# - R. David et al., *TensorFlow Lite Micro: Embedded Machine Learning on TinyML Systems*, MLSys 2021.
# - L. Lai, N. Suda, V. Chandra, *CMSIS-NN: Efficient Neural Network Kernels for Arm Cortex-M CPUs*, arXiv:1801.06601.
# - J. Lin et al., *MCUNet: Tiny Deep Learning on IoT Devices*, NeurIPS 2020.
# - Android's documentation: *NNAPI Migration Guide*. LiteRT's documentation: *Core ML delegate*.
# - Nordic Semiconductor, *nRF52840 Product Specification*. Raspberry Pi, *Raspberry Pi Pico Datasheet*, since
#   the flash is a chip of its own on the board, and *RP2040 Datasheet*. Microchip, *ATmega328P*.
