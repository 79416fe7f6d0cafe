# %% [markdown]
# # 07 Convert from TensorFlow
#
# At 3 a.m. a new replica is killed, because it uses more memory than it may. Its model weighs 61 kB. The framework that
# trained the model takes nearly all of the memory. The service uses almost nothing of this framework.
#
# ## You will be able to
#
# - replace the saving and converting calls of old tutorials, which fail today, with calls that work;
# - read the signature of a SavedModel, and say how it must be called;
# - convert a Keras model to LiteRT and to ONNX, and measure what the conversion changed;
# - find the images whose class a conversion can change;
# - choose a format by memory, start-up time, bytes and difference.
#
# ## Before you start
#
# Lesson 05 trained the network that we convert here. We call it the *twin*: it has the same layers as the PyTorch
# network of lesson 04. You need some Python and NumPy. Lesson 06 asked the same questions about the PyTorch network.
# Here the traps are different.

# %%
import contextlib
import io
import json
import logging
import textwrap
import warnings
import zipfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from course_lib import data, measure, models
from course_lib.idioms import begin, claim, guess, ledger, observe, path, quiet, reveal, show

scratch = begin("07")
path.picture(here="07")

# %% [markdown]
# ## How much memory does it take to answer one request?
#
# A new Python process imports TensorFlow, loads the twin, and answers one image. The twin has 15,270 weights of 4 bytes
# each, together 61 kB. How much memory does the process hold then? We count *resident* memory, the part of the process's
# memory that lies in RAM. One MiB is $2^{20}$ bytes.

# %%
guess(
    "mib",
    "TensorFlow has loaded 61 kB of weights and answered one image. How much memory does it hold?",
    low=1,
    high=10_000,
    unit="MiB",
)

# %% [markdown]
# We answer the same request in three ways. *LiteRT* and *ONNX Runtime* are *runtimes*: libraries that compute the
# answers of a trained model, and do little else. Each reads a file format of its own. The course ships these files,
# and you make them yourself below. A fourth process runs no model. It shows what Python and NumPy take by themselves.
#
# Each way gets a new process and one thread.

# %%
shipped = {
    name: str(models.path("digits_keras", 1, name))
    for name in ("model.keras", "model.tflite", "model.onnx")
}

# %%
IMAGE = 'import numpy as np; image = np.zeros((1, 8, 8, 1), "float32")\n'
LOAD = {
    "TensorFlow": f"""
import keras, tensorflow as tf
tf.config.threading.set_intra_op_parallelism_threads(1)
model = keras.models.load_model({shipped["model.keras"]!r}, compile=False)
answer = lambda: np.asarray(model(image, training=False))
""",
    "LiteRT": f"""
from ai_edge_litert.compiled_model import CompiledModel
model = CompiledModel.from_file({shipped["model.tflite"]!r})
given, got = model.create_input_buffers(0), model.create_output_buffers(0)
answer = lambda: (given[0].write(image), model.run_by_index(0, given, got), got[0].read(10, "f4"))
""",
    "ONNX Runtime": f"""
import onnxruntime as ort
options = ort.SessionOptions()
options.intra_op_num_threads = 1
session = ort.InferenceSession({shipped["model.onnx"]!r}, options)
answer = lambda: session.run(None, {{"pixels": image}})
""",
    "NumPy alone": "answer = lambda: image.sum()",
}

# %% [markdown]
# `MEASURE` is the program that each process runs, with one of the four parts in place of the word LOAD. After the first
# answer it times 50 more and keeps the fastest: other programs can only slow an answer down. `measure.fresh_process`
# runs a program in a new Python and returns its memory at the end.

# %%
MEASURE = """
import time
start = time.perf_counter()
LOAD
answer()
first_s = time.perf_counter() - start
def took_ms():
    begin = time.perf_counter()
    answer()
    return 1000 * (time.perf_counter() - begin)
result = first_s, min(took_ms() for _ in range(50))
"""
costs = {
    name: measure.fresh_process(MEASURE.replace("LOAD", IMAGE + load))
    for name, load in LOAD.items()
}
mib = {name: run.resident_mib for name, run in costs.items()}
first_s = {name: run.result[0] for name, run in costs.items()}
later_ms = {name: run.result[1] for name, run in costs.items()}
reveal("mib", mib["TensorFlow"])

# %%
show.table(
    ["with", "MiB", "seconds to the first answer", "ms for a later answer, fastest"],
    [
        [name, f"{mib[name]:.0f}", f"{first_s[name]:.2f}", f"{later_ms[name]:.3f}"]
        for name in costs
    ],
    caption="One image, in a new process",
)

# %%
small = ("LiteRT", "ONNX Runtime")
observe(
    "each of the two runtimes takes less than a fifth of TensorFlow's memory, and less than a "
    "fifth of its time to the first answer",
    5 * max(mib[name] for name in small) < mib["TensorFlow"]
    and 5 * max(first_s[name] for name in small) < first_s["TensorFlow"],
    ", ".join(f"{mib['TensorFlow'] / mib[name]:.0f} times the memory of {name}" for name in small),
)

# %% [markdown]
# TensorFlow can differentiate, train and distribute. All of that is loaded to answer one image. A new replica with a
# small runtime starts sooner, more replicas fit on one machine, and there is less code that can have a security hole.
#
# *Conversion* writes the model's computation in a form that such a runtime can read. The rest of this lesson asks two
# questions about each form. Does it still compute the same? And how must a client call it?
#
# ## Which calls of old tutorials still work?
#
# Now we import TensorFlow in this notebook. We load the twin and compute its logits for the 450 test images. Every
# form below is compared with them.

# %%
import keras
import tensorflow as tf

twin = keras.models.load_model(shipped["model.keras"], compile=False)
_, test = data.digits()
pixels = test.images[..., None].copy()
reference = np.asarray(twin(pixels))
print(f"Keras {keras.__version__}: images {pixels.shape}, logits {reference.shape}")


# %%
def accuracy_of(logits):
    return float((logits.argmax(axis=1) == test.labels).mean())


def attempt(call):
    """Makes a call that may fail. Prints the first line of its error, and returns the error."""
    try:
        return call()
    except Exception as error:
        first = str(error).strip().splitlines()[0].replace(str(scratch), "scratch")
        print(f"{type(error).__name__}: {textwrap.shorten(first, 150)}")
        return error


# %% [markdown]
# The images have the shape (450, 8, 8, 1). The last axis is the *channel*, here one grey value. Keras puts the channel
# last. PyTorch puts it directly after the first axis, which counts the images. With one channel, `reshape` can turn one
# order into the other. With colours, `reshape` scrambles the picture, and no error is raised. **Now do exercise 07.1**, which
# turns colour pictures correctly.
#
# The order matters for weights too, if you carry them from PyTorch to Keras. Each framework flattens the pictures in
# its own order. So the first dense layer after the flattening gets its inputs in another order. If you only transpose
# its weights, all shapes fit and no error is raised. In lesson 05 such a model read 6 % of the images. **Exercise
# 07.2** moves such a layer.
#
# ### Where this goes wrong: calls that do not exist
#
# One of the articles behind this course saves the model as `.h5` and converts this file. Another one quantizes the model
# in one call, and serves it with a second one. Many tutorials save a folder. These are their calls, with our paths.

# %%
errors = [
    attempt(lambda: tf.lite.TFLiteConverter.from_keras_model_file("model.h5")),
    attempt(lambda: tf.quantization.quantize_model(twin)),
    attempt(lambda: tf.serving.Server.load),
    attempt(lambda: twin.save(scratch / "folder")),
]
claim(
    "none of the four calls works: three names do not exist, and `save` does not write a folder",
    [type(error).__name__ for error in errors] == ["AttributeError"] * 3 + ["ValueError"],
    ", ".join(type(error).__name__ for error in errors),
    pinned="keras",
)

# %% [markdown]
# `from_keras_model_file` belonged to TensorFlow 1. `quantize_model` is a function of another package,
# `tensorflow-model-optimization`. The server is a separate program, and lesson 14 speaks its protocol. Use these calls
# instead:
#
# | to | the old call | use today |
# | --- | --- | --- |
# | keep the layers | `model.save("model.h5")` | `model.save("model.keras")` |
# | keep the computation, for a server | `model.save(folder)`, `tf.saved_model.save(model, folder)` | `model.export(folder)` |
# | convert to LiteRT | `TFLiteConverter.from_keras_model_file(…)` | `TFLiteConverter.from_saved_model(folder)` |
# | quantize | `tf.quantization.quantize_model(model)` | the converter's `optimizations` (below, and lesson 10) |
# | convert to ONNX | `tf2onnx.convert.from_keras(model)` | `model.export("model.onnx", format="onnx")` |
#
# **Your turn:** in the last of the four calls, change `"folder"` to `"again.keras"` and run the cell again. The call
# now works, so the claim is false and stops the cell. Then change it back.
#
# ## Which calls does a SavedModel accept?
#
# A *SavedModel* is a folder. The file `saved_model.pb` holds the computation as a *graph* of operators, and the folder
# `variables/` holds the weights. TensorFlow Serving reads this form. One article writes such a folder with
# `tf.saved_model.save`, loads it, and calls the result like a function:

# %%
tf.saved_model.save(twin, str(scratch / "as_the_article"))
loaded = tf.saved_model.load(str(scratch / "as_the_article"))
not_callable = attempt(lambda: loaded(pixels[:1]))

# %% [markdown]
# `load` does not return a Keras model. It returns an object with *signatures*. A signature is a function of the graph
# that a client can call by its name. It lists the arguments and the results, each with a name, a type and a shape. The
# twin's input layer is called `pixels`. Which argument does the signature in this folder take?

# %%
guess(
    "name",
    "The input layer is called `pixels`. By which name must a caller pass the images?",
    choices=["pixels", "inputs", "keras_tensor"],
)


# %%
def print_signatures(folder):
    for name, entry in tf.saved_model.load(str(folder)).signatures.items():
        for what, ends in (
            ("takes", entry.structured_input_signature[1]),
            ("returns", entry.structured_outputs),
        ):
            for end, tensor in ends.items():
                print(f"{name} {what} {end}: {tensor.dtype.name} {tensor.shape}")


# %%
print_signatures(scratch / "as_the_article")
entry = loaded.signatures["serving_default"]
reveal("name", next(iter(entry.structured_input_signature[1])))
refused = attempt(lambda: entry(pixels=tf.constant(pixels[:1])))
claim("this folder refuses the name `pixels`", isinstance(refused, TypeError), pinned="keras")

# %% [markdown]
# The first axis has the size `None`: any number of images is allowed. But the input's name is lost. A client that
# passes `pixels` gets an error. Keras has its own call for this purpose, `export`. It keeps the name:

# %%
exported = scratch / "exported"
twin.export(exported, verbose=False)
print_signatures(exported)

# %% [markdown]
# In a terminal you read the same with TensorFlow's own program:
#
# ```bash
# saved_model_cli show --dir exported --tag_set serve --signature_def serving_default
# ```
#
# Now we call it: correctly, with the other folder's name, and with one image without a batch axis.

# %%
served = tf.saved_model.load(str(exported))
serve = served.signatures["serving_default"]
saved_logits = serve(pixels=tf.constant(pixels))["output_0"].numpy()
wrong_name = attempt(lambda: serve(inputs=tf.constant(pixels[:1])))
no_batch = attempt(lambda: served.serve(tf.constant(pixels[0])))

# %% [markdown]
# Does the folder compute the same as the twin? One article answers with a "formula": conversion = f(parameters,
# structure, method). It predicts nothing that we could test. So we test *parity* as in lesson 06: we compare the
# outputs before and after the conversion, on the same inputs. `measure.parity` returns the largest difference of a
# logit, and the share of the images that keep their class.

# %%
parities = {"SavedModel": measure.parity(reference, saved_logits)}
claim(
    "called by its signature, the SavedModel answers like the twin; it refuses the two wrong calls",
    parities["SavedModel"].max_abs_diff < 1e-3
    and parities["SavedModel"].agreement == 1
    and all(isinstance(error, TypeError) for error in (wrong_name, no_batch)),
    f"largest difference {parities['SavedModel'].max_abs_diff:.1g}",
)

# %% [markdown]
# The output has lost its name in both folders: our last layer is called `logits`, and its result is called `output_0`.
# Every client depends on these names. Check them before the first client uses them.
#
# **Your turn:** print `serve(pixels=tf.constant(pixels[:3]))`. How many rows does it have?
#
# The folder takes more bytes than the weights need. We count the numbers under `variables/`.

# %%
stored = tf.train.list_variables(str(exported / "variables" / "variables"))
numbers = sum(int(np.prod(shape)) for name, shape in stored if "VARIABLE_VALUE" in name)
extra = numbers - 2 * twin.count_params()
claim(
    "the folder holds each weight twice, and the two numbers of dropout's random state",
    extra == 2 and any(list(shape) == [2] for _, shape in stored),
    f"{numbers:,} numbers = 2 × {twin.count_params():,} + {extra}",
    pinned="keras",
)

# %% [markdown]
# Keras lists each weight under two names, and the folder stores it twice. For a model of 6 GB this matters.
#
# ## What is in a .keras file, and in an old .h5 file?
#
# Lesson 05 looked into a `.keras` file: it is a zip archive of three parts. Now we also read the configuration.

# %%
with zipfile.ZipFile(shipped["model.keras"]) as archive:
    for part in archive.infolist():
        print(f"{part.filename:<17} {part.file_size:>6,} bytes")
    config = json.loads(archive.read("config.json"))
for layer in config["config"]["layers"][:3]:
    print(layer["class_name"], {key: layer["config"].get(key) for key in ("name", "activation")})

# %% [markdown]
# `config.json` lists the layers: their class and their settings. The weights are in *HDF5*, a file format with folders
# and arrays. There is no graph in this archive. Keras builds the layers again from their classes, so you need Keras to
# load it.
#
# The older form, `.h5`, keeps both in one HDF5 file. Does Keras still write it, and read it?

# %%
heard = []
# `append` returns None. A filter that returns None keeps the message from being printed.
logging.getLogger("absl").addFilter(note := lambda record: heard.append(record.getMessage()))
legacy = scratch / "model.h5"
twin.save(legacy)
logging.getLogger("absl").removeFilter(note)
print(textwrap.fill(heard[0], 100))

# %%
from_h5 = keras.models.load_model(legacy, compile=False)
h5_logits = np.asarray(from_h5(pixels))
parities[".h5"] = measure.parity(reference, h5_logits)
claim(
    "Keras writes .h5 with a warning, reads it, and the model answers as before",
    "legacy" in heard[0] and parities[".h5"].max_abs_diff < 1e-4,
    f"largest difference {parities['.h5'].max_abs_diff:.1g}",
    pinned="keras",
)

# %% [markdown]
# If you find an old `.h5` file that you trust, load it once and save it as `.keras`. There is one more reason to move
# on: before version 3.11.3, Keras did not apply its protection against hidden code to `.h5` files (lesson 22).
#
# ## How do I convert a Keras model to LiteRT?
#
# LiteRT is Google's runtime for phones and small devices. Until 2024 it was called *TensorFlow Lite*, and its files
# still end in `.tflite`. There are converters from TensorFlow and Keras, from PyTorch (the package `litert-torch`),
# and from JAX, by way of a SavedModel. We convert the folder that `export` wrote.

# %%
converter = tf.lite.TFLiteConverter.from_saved_model(str(exported))
lite_file = scratch / "model.tflite"
lite_file.write_bytes(converter.convert())
print(show.bytes_text(lite_file.stat().st_size))

# %% [markdown]
# ### Where this goes wrong: tensors without memory
#
# Another article runs the converted file with the next calls. We pass one of our images.

# %%
with warnings.catch_warnings(record=True) as warned:
    warnings.simplefilter("always")
    interpreter = tf.lite.Interpreter(model_path=str(lite_file))
index = interpreter.get_input_details()[0]["index"]
unset = attempt(lambda: interpreter.set_tensor(index, pixels[:1]))
not_ready = attempt(interpreter.invoke)
notice = [str(each.message) for each in warned if "tf.lite.Interpreter" in str(each.message)]
print(textwrap.shorten(notice[0], 110))

# %%
claim(
    "both calls of the listing fail, and the class announces its own removal",
    isinstance(unset, ValueError)
    and isinstance(not_ready, RuntimeError)
    and "deprecated" in notice[0],
)

# %% [markdown]
# The article's listing lacks the line `interpreter.allocate_tensors()`. Without it the image has no place in memory.
# Besides, `tf.lite.Interpreter` needs all of TensorFlow, and its warning says that it will be removed.
#
# Today LiteRT is a package of its own, `ai-edge-litert`, with two interfaces. `Interpreter` has the calls of the
# listing, and is kept for old programs. `CompiledModel` is the present one. It can also run a model on a phone's GPU or
# NPU (a processor made for neural networks). You create *buffers* once, pieces of memory for the input and the output.
# For each image you write the input, run, and read the output.

# %%
from ai_edge_litert.compiled_model import CompiledModel
from ai_edge_litert.interpreter import Interpreter


def lite_logits(content, images):
    """Logits (N, 10) of images (N, 8, 8, 1), one call each. content: bytes of a .tflite file."""
    model = CompiledModel.from_buffer(content)
    given, got = model.create_input_buffers(0), model.create_output_buffers(0)
    logits = []
    for image in images:
        given[0].write(image)
        model.run_by_index(0, given, got)
        logits.append(got[0].read(10, np.float32))
    return np.array(logits)


# %%
with quiet.native():  # LiteRT writes to standard error which of its parts it loads
    by_lite = lite_logits(lite_file.read_bytes(), pixels)
parities["LiteRT"] = measure.parity(reference, by_lite)
ulp = np.spacing(np.abs(reference).max())
claim(
    "LiteRT's logits are within 100 rounding steps of the twin's, and no class changed",
    parities["LiteRT"].max_abs_diff <= 100 * ulp and parities["LiteRT"].agreement == 1,
    f"largest difference {parities['LiteRT'].max_abs_diff:.1e}, one step is {ulp:.1e}",
)

# %% [markdown]
# A *rounding step* is here the distance from the largest logit to the next number that float32 can hold. Why do the
# answers differ by a few steps? Most likely, each library adds the products of a layer in another order, and rounds
# after each addition.
#
# **Your turn:** run `twin.export(scratch / "own.tflite", format="litert")`. It is Keras's own call for the same
# conversion. How large is the file?
#
# Why one call for each image? `CompiledModel` can resize its input, but look at its buffers afterwards:

# %%
with quiet.native():
    model = CompiledModel.from_buffer(lite_file.read_bytes())
    model.resize_input_tensor_by_name("serving_default", "pixels", (7, 8, 8, 1))
    given, got_back = model.create_input_buffers(0), model.create_output_buffers(0)
    shapes = [buffers[0].get_tensor_details()["shape"] for buffers in (given, got_back)]
    del model, given, got_back
claim(
    "resized to 7 images, the input has room for 7 images, and the output for 1",
    shapes == [[7, 8, 8, 1], [1, 10]],
    shapes,
    pinned="ai-edge-litert",
)

# %% [markdown]
# In this version, seven answers would have room for one only. We do not run it: writing beyond the room could crash the
# process. (Issue 5774 of google-ai-edge/LiteRT reports the same from C++.) For batches, use the signature runner of
# `Interpreter`, as we do below.
#
# ## How large may the difference be?
#
# The converter can write smaller files, but then the differences grow. *float16* stores each weight in 2 bytes.
# *Dynamic range* quantization stores most weights in 1 byte, as whole numbers with a common factor (lesson 09).


# %%
def converted(types=()):
    converter = tf.lite.TFLiteConverter.from_saved_model(str(exported))
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_types = list(types)
    return converter.convert()


contents = {
    "LiteRT": lite_file.read_bytes(),
    "LiteRT float16": converted([tf.float16]),
    "LiteRT 8-bit": converted(),
}

# %%
with quiet.native():
    logits = {name: lite_logits(content, pixels) for name, content in contents.items()}
lite_parities = {name: measure.parity(reference, each) for name, each in logits.items()}
show.table(
    ["form", "bytes", "largest difference", "classes that agree"],
    [
        [name, f"{len(contents[name]):,}", f"{p.max_abs_diff:.1e}", f"{100 * p.agreement:.2f} %"]
        for name, p in lite_parities.items()
    ],
    caption="The twin in three LiteRT files",
)

# %% [markdown]
# Look at the largest difference of the 8-bit file. For how many of the 450 images could a difference of this size
# change the class?

# %%
guess(
    "reach",
    "For how many of 450 images could the 8-bit file's differences change the class?",
    low=0,
    high=450,
)

# %% [markdown]
# It depends on how far the chosen class leads. For one image, let $r \in \mathbb{R}^C$ be the twin's logits, and
# $a \in \mathbb{R}^C$ the converted model's. Let $\varepsilon$ be the largest difference, so
# $|a_j - r_j| \le \varepsilon$ for each class $j$. The twin chooses class $k$. Suppose that the converted model
# chooses another class $j$, so $a_j \ge a_k$. Then
#
# $$r_j + \varepsilon \;\ge\; a_j \;\ge\; a_k \;\ge\; r_k - \varepsilon , \qquad\text{so}\qquad r_k - r_j \;\le\; 2\varepsilon .$$
#
# The *margin* of an image is the lead of its class over the second: $m = r_k - \max_{j \ne k} r_j$. It is at most
# $r_k - r_j$. So a class can change only where $m \le 2\varepsilon$. The margins are the twin's own, so we can count
# these images.

# %%
ordered = np.sort(reference, axis=1)
margins = ordered[:, -1] - ordered[:, -2]
reach = {n: int((margins <= 2 * p.max_abs_diff).sum()) for n, p in lite_parities.items()}
changed = {n: int((a.argmax(1) != reference.argmax(1)).sum()) for n, a in logits.items()}
reveal("reach", reach["LiteRT 8-bit"])
claim(
    "in each form, at most as many classes changed as images are within reach",
    all(changed[name] <= reach[name] for name in reach),
    "; ".join(f"{name}: {changed[name]} of {reach[name]}" for name in reach),
)

# %%
axes = plt.gca()
axes.step(np.sort(margins), np.arange(1, len(margins) + 1), where="post", color=show.GREY, lw=2)
for (name, p), colour in zip(lite_parities.items(), (show.BLUE, show.PURPLE, show.RED)):
    if p.max_abs_diff > 0:  # a logarithmic axis has no place for 0
        at = 2 * p.max_abs_diff
        axes.axvline(at, color=colour, ls="--")
        axes.text(0.9 * at, 1.2, f"2ε, {name}", color=colour, rotation=90, va="bottom", ha="right")
axes.set(xscale="log", yscale="log", ylim=(0.7, 600))
axes.set_xlabel("margin of the twin, in logits (logarithmic)")
axes.set_ylabel("images with at most this margin")
show.finding(
    f"Images whose class the 8-bit file can change: {reach['LiteRT 8-bit']} of {len(margins)}",
    alt=f"Number of test images over their margin, from {margins.min():.2g} to "
    f"{margins.max():.2g}. A dashed line for each LiteRT file, at twice its largest difference. "
    "Images to the left of the lines: " + ", ".join(f"{n} {count}" for n, count in reach.items()),
)

# %% [markdown]
# So there are two tolerances, for two questions. Lesson 06 asked: does the converted model compute the same, up to
# rounding? Its rule is strict, and 8 bits break it on purpose. Here we ask: can the change turn an answer? For this
# question, choose a tolerance well below half of the smallest margin that you care about.
#
# You also see why "the classes agree on 450 images" is weak evidence. Most of these images have large margins, so a
# larger error could stay hidden. The next image may have a smaller margin. **Now do exercise 07.3**, a gate for a
# release pipeline that compares the numbers.
#
# ## How do I convert a Keras model to ONNX?
#
# Many runtimes read *ONNX* files (lesson 06). Keras 3 exports them through the library `tf2onnx`. The library's own
# call for Keras models is older than Keras 3, and fails.

# %%
import onnx
import onnxruntime as ort
import tf2onnx

with contextlib.redirect_stderr(io.StringIO()):
    too_old = attempt(lambda: tf2onnx.convert.from_keras(twin))
onnx_file = scratch / "model.onnx"
twin.export(onnx_file, format="onnx", verbose=False)


# %%
def print_ends(file):
    graph = onnx.load(file).graph
    for end in [*graph.input, *graph.output]:
        print(end.name, [d.dim_param or d.dim_value for d in end.type.tensor_type.shape.dim])


print_ends(onnx_file)

# %% [markdown]
# In a terminal, the library also converts a SavedModel:
#
# ```bash
# python -m tf2onnx.convert --saved-model exported --output model.onnx
# ```
#
# Keras's export worked, but look at the names. The output is named after the exporter's last operator. The batch axis
# has one invented name at the input and another at the output, as if their sizes could differ. In ONNX a name is only a
# label, so we change these three.


# %%
def name_ends(file, output, batch="batch"):
    model = onnx.load(file)
    graph = model.graph
    old = graph.output[0].name
    for node in graph.node:
        node.output[:] = [output if name == old else name for name in node.output]
    graph.output[0].name = output
    for end in (graph.input[0], graph.output[0]):
        end.type.tensor_type.shape.dim[0].dim_param = batch
    onnx.checker.check_model(model)
    onnx.save(model, file)


name_ends(onnx_file, "logits")
print_ends(onnx_file)

# %%
options = ort.SessionOptions()
options.intra_op_num_threads = 1
session = ort.InferenceSession(onnx_file, options)
onnx_logits = session.run(["logits"], {"pixels": pixels})[0]
parities["ONNX"] = measure.parity(reference, onnx_logits)
few = [session.run(None, {"pixels": pixels[:n]})[0] for n in (1, 2, 7)]
claim(
    "ONNX Runtime's logits are within 100 rounding steps too, also for 1, 2 and 7 images",
    parities["ONNX"].max_abs_diff <= 100 * ulp
    and parities["ONNX"].agreement == 1
    and all(np.abs(some - reference[: len(some)]).max() <= 100 * ulp for some in few),
    f"largest difference {parities['ONNX'].max_abs_diff:.1e}",
)

# %% [markdown]
# Later lessons use the two converted files. The next cell keeps them in the course's build; in yours it does nothing.

# %%
models.keep(onnx_file, "digits_keras", 1)
models.keep(lite_file, "digits_keras", 1, "model.tflite")

# %% [markdown]
# ## Is a picture of the wrong shape refused?
#
# A client sends the 450 pictures in the shape 4 × 16 instead of 8 × 8. Each still holds 64 numbers. We can call the
# same model in six ways. How many of them refuse these pictures?

# %%
guess("refuse", "How many of the six ways refuse pictures of 4 × 16?", low=0, high=6)

# %%
squeezed = pixels.reshape(-1, 4, 16, 1)
runner = Interpreter(model_content=contents["LiteRT"], num_threads=1).get_signature_runner()
entries = {
    "the Keras model": lambda x: np.asarray(twin(x)),
    "SavedModel, its function serve": lambda x: served.serve(tf.constant(x)).numpy(),
    "SavedModel, its signature": lambda x: serve(pixels=tf.constant(x))["output_0"].numpy(),
    "LiteRT, Interpreter": lambda x: runner(pixels=x)["output_0"],
    "LiteRT, CompiledModel": lambda x: lite_logits(contents["LiteRT"], x),
    "ONNX Runtime": lambda x: session.run(["logits"], {"pixels": x})[0],
}
got = {}
for name, call in entries.items():
    with quiet.native():
        got[name] = attempt(lambda: call(squeezed))  # noqa: B023 - called at once

# %% [markdown]
# Two errors are printed above. The table shows which calls raised them.

# %%
refusing = [name for name, result in got.items() if isinstance(result, Exception)]
reveal("refuse", len(refusing))
rows = [
    [name, "refuses", "–"]
    if name in refusing
    else [name, "answers", f"{100 * accuracy_of(result):.0f} %"]
    for name, result in got.items()
]
show.table(
    ["called by", "pictures of 4 × 16", "right"], rows, caption="One model, called in six ways"
)

# %%
wrong = [
    n for n in got if n not in refusing and accuracy_of(got[n]) < accuracy_of(reference) - 0.1
]
claim(
    "two of six refuse; three answer, and are wrong far more often; one ignores the shape",
    refusing == ["SavedModel, its function serve", "ONNX Runtime"]
    and wrong == ["the Keras model", "SavedModel, its signature", "LiteRT, Interpreter"]
    and np.array_equal(got["LiteRT, CompiledModel"], by_lite),
    f"right in the shape of training: {100 * accuracy_of(reference):.0f} %",
)

# %% [markdown]
# The signature *says* 8 × 8, as we saw above, but TensorFlow does not check it. Only the folder's function `serve`
# does. The computation itself raises no error: a convolution takes pictures of any size, and the dense layer only needs
# 512 numbers. TensorFlow Serving does not check shapes either (its maintainers say so in issue 1436 of
# tensorflow/serving).
#
# `CompiledModel` ignores the shape. It copies the numbers into its buffer, row by row, and reads them as 8 × 8. What
# happens if the numbers do not fill the buffer? We send a whole picture, and then the upper half of another one.

# %%
with quiet.native():
    model = CompiledModel.from_buffer(contents["LiteRT"])
    given, got_back = model.create_input_buffers(0), model.create_output_buffers(0)
    for sent in (pixels[0], pixels[1, :4]):  # all of one picture, the upper half of the next
        given[0].write(np.ascontiguousarray(sent))
        model.run_by_index(0, given, got_back)
    half_answer = got_back[0].read(10, np.float32)
    mixed = lite_logits(contents["LiteRT"], [np.concatenate([pixels[1, :4], pixels[0, 4:]])])[0]
    del model, given, got_back

# %%
claim(
    "half a picture gets an answer; the other half came from the picture before it",
    np.array_equal(half_answer, mixed),
    f"class {half_answer.argmax()}",
    pinned="ai-edge-litert",
)

# %% [markdown]
# No error is raised. If two customers share the buffers, one customer's answer depends on the other's picture. So check
# shape and type in your own code, before any runtime sees the numbers. Lesson 08 builds this check.
#
# ## Can a model file run code on my machine?
#
# A Keras file can. A `Lambda` layer holds a Python function, and Keras saves its *bytecode*, the instructions of
# Python's own machine. [Lesson 22](22_security.ipynb) builds such files, and shows which protection of Keras holds in
# which version. **Now do exercise 07.4**: it finds such layers without loading the file.
#
# A SavedModel holds no Python. But its graph is a program too, written in TensorFlow's operators. One of them is
# `WriteFile`. The next model accepts our images, and it also writes a file to your disk:

# %%
left_behind = scratch / "a_stranger_was_here"


class Guest(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec((None, 8, 8, 1), tf.float32, name="pixels")])
    def serve(self, pixels):
        tf.io.write_file(str(left_behind), "hello")
        return {"logits": tf.zeros((tf.shape(pixels)[0], 10))}


# %%
left_behind.unlink(missing_ok=True)
guest = Guest()
tf.saved_model.save(guest, str(scratch / "guest"), {"serving_default": guest.serve})
invited = tf.saved_model.load(str(scratch / "guest"))
after_loading = left_behind.exists()
invited.signatures["serving_default"](pixels=tf.constant(pixels[:1]))
claim(
    "loading this SavedModel wrote nothing; the first request wrote a file",
    not after_loading and left_behind.exists(),
    f"it says {left_behind.read_text()!r}",
)

# %% [markdown]
# So load a stranger's model only where it can do no harm. Do the two small runtimes have such operators? We search the
# names of all their operators.

# %%
from ai_edge_litert import schema_py_generated as litert_schema

names = {
    "ONNX": [schema.name for schema in onnx.defs.get_all_schemas()],
    "LiteRT": [name for name in dir(litert_schema.BuiltinOperator) if name.isupper()],
    "TensorFlow": [name for name in dir(tf.raw_ops) if name[0].isupper()],
}
of_files = {
    kind: [
        name for name in each if any(word in name.upper() for word in ("FILE", "EXEC", "PYFUNC"))
    ]
    for kind, each in names.items()
}

# %%
claim(
    "no built-in operator of ONNX or LiteRT has a name with FILE, EXEC or PYFUNC; TensorFlow has "
    "several",
    not of_files["ONNX"] and not of_files["LiteRT"] and "WriteFile" in of_files["TensorFlow"],
    ", ".join(f"{kind}: {len(of_files[kind])} of {len(each)}" for kind, each in names.items()),
)

# %% [markdown]
# Names prove little. Both runtimes can load additional operators, and lesson 22 shows an ONNX file that reads another
# file. But fewer operators give an attacker fewer tools.
#
# ## Which format should I choose?
#
# One more property matters. Which forms open again as *layers*, so that you can train on or change the model?

# %%
forms = {
    ".keras": Path(shipped["model.keras"]),
    ".h5": legacy,
    "SavedModel": exported,
    "LiteRT": lite_file,
    "ONNX": onnx_file,
}
with contextlib.redirect_stdout(io.StringIO()):  # three of the five refuse
    opened = {
        name: attempt(lambda: keras.models.load_model(file, compile=False))  # noqa: B023
        for name, file in forms.items()
    }
as_layers = [name for name, result in opened.items() if isinstance(result, keras.Model)]
claim("only Keras's own two forms open as layers", as_layers == [".keras", ".h5"], as_layers)

# %%
RUNTIME = {"LiteRT": "LiteRT", "ONNX": "ONNX Runtime"}
CODE = {".keras": "Python", ".h5": "Python", "SavedModel": "file operators"}
form_bytes = {
    name: sum(f.stat().st_size for f in [file, *file.rglob("*")] if f.is_file())
    for name, file in forms.items()
}

# %%
rows = []
for name in forms:
    needs = RUNTIME.get(name, "TensorFlow")
    differs = f"{parities[name].max_abs_diff:.0e}" if name in parities else "–"
    layers, code = "yes" if name in as_layers else "no", CODE.get(name, "none seen")
    row = [name, layers, f"{form_bytes[name]:,}", differs, needs, f"{mib[needs]:.0f}"]
    rows.append([*row, f"{first_s[needs]:.2f}", code])
show.table(
    ["form", "layers", "bytes", "difference", "needs", "MiB", "start, s", "can hide"],
    rows,
    caption="Five forms of the twin; memory and start as in the first table",
)

# %% [markdown]
# `layers` says whether the form opens as layers. `difference` is the largest difference of a logit from the twin.
# `start` is the time to the first answer. `can hide` says which code a file of this form can hold; our own files hold
# none. Choose by what you want to do:
#
# | you want to | take | because |
# | --- | --- | --- |
# | train on, or change layers | `.keras` | it opens as layers, and Keras refuses a Lambda by default |
# | serve it in a process of your own | ONNX | its runtime is small, and refused the wrong shape |
# | run it on a phone or a small device | LiteRT | it took the least memory, and its files can shrink further |
# | give it to TensorFlow Serving | SavedModel | that is what it reads; check shapes before |
# | keep an old `.h5` | `.keras`: load it once, and save | the old form is legacy |
#
# ## What we measured
#
# Each converted form gets a row in the *ledger*, the course's table of models. "The form before" is the form that was
# converted: here, the `.keras` file in each row.

# %%
answers = {"h5": h5_logits, "savedmodel": saved_logits, "tflite": by_lite, "onnx": onnx_logits}
for (form, answer), name in zip(answers.items(), (".h5", "SavedModel", "LiteRT", "ONNX")):
    ledger.record(
        "digits_keras",
        form,
        accuracy=accuracy_of(answer),
        bytes=form_bytes[name],
        max_abs_diff=parities[name].max_abs_diff,
    )
ledger.table("digits_keras")

# %%
kept = {row.accuracy for row in ledger.rows("digits_keras") if row.form in answers}
claim(
    "all four forms are exactly as accurate as the twin",
    kept == {accuracy_of(reference)},
    f"{100 * accuracy_of(reference):.2f} %",
)

# %% [markdown]
# ## What to remember
#
# - Serve with a small runtime. Keep the `.keras` file for the day on which you train again.
# - A conversion that runs proves nothing. Measure the largest difference, and compare it with the margins.
# - The runtime decides which wrong calls are refused. Check names, shapes and types yourself.
#
# ## Where this breaks down
#
# - The twin has a few common layers, and every converter here knows them. Custom layers, control flow, strings and
#   ragged tensors often fail to convert, or they need TensorFlow's own operators again ("Select TF ops").
# - A large model's memory is mostly its weights. Then the framework's few hundred MiB matter less.
# - Such short calls are mostly overhead. These times say little about a large network.
# - We measured parity on test images. Other inputs may have smaller margins.
#
# ## What real teams use
#
# TensorFlow Serving reads SavedModels. Triton reads ONNX; its TensorFlow backend is deprecated since release 25.03.
# ONNX Runtime, OpenVINO and TensorRT run ONNX files on servers. LiteRT runs on Android, LiteRT for Microcontrollers on
# the smallest devices, and Core ML on Apple's devices. Many teams convert in the build, and the parity test is its gate.
# The converted file gets a version, like code. Scanners such as ModelScan search uploaded files for Lambda layers and
# pickles.
#
# ## Further reading
#
# - Keras documentation, guide *Save, serialize, and export models*; TensorFlow guide *Using the SavedModel format*.
# - TensorFlow, *Using TensorFlow Securely* (`SECURITY.md` in its repository): models are programs.
# - LiteRT documentation, *CompiledModel API*.
# - *Open Neural Network Exchange: ONNX Concepts* and its list of operators, onnx.ai.
# - R. David et al., *TensorFlow Lite Micro: Embedded Machine Learning for TinyML Systems*, MLSys 2021.
