# %% [markdown]
# # 07 Convert from TensorFlow
#
# At 3 a.m. the new replica is killed for want of memory before it has answered once. The model in it weighs 61 kB.
# What filled the machine was the framework that had trained it and came along.
#
# ## You will be able to
#
# - say which of TensorFlow's files holds layers, which a computation with names, and which can hold a program, and
#   look for it in the file;
# - replace the conversion calls of old tutorials, which fail today, by those that work;
# - convert to LiteRT and to ONNX, and say which answers the difference can change;
# - carry weights from one framework's layout to the other's, and notice when it went wrong without an error;
# - choose a format by what it costs: seconds to start, memory, bytes, difference.
#
# ## Before you start
#
# Lesson 05 trained the Keras twin, the network that is converted here. Lesson 06 converted the PyTorch one; its terms
# *operator* (one kind of operation in a model file) and *parity* (agreement before and after conversion, as a measured
# difference) come back, and are explained again where they do.

# %%
import contextlib
import io
import json
import logging
import textwrap
import zipfile
from importlib import metadata
from pathlib import Path

# %%
import matplotlib.pyplot as plt
import numpy as np

from course_lib import data, measure, models
from course_lib.idioms import begin, claim, ledger, observe, path, quiet, show

scratch = begin("07")
path.picture(here="07")

# %% [markdown]
# ## What does it cost to answer one request?
#
# Guess before you run the cell. The twin has 15,270 weights of 4 bytes each. A process starts, loads it with the
# framework that trained it, and answers one picture. How many megabytes does it hold then?
#
# Each measurement gets a new Python process, since what is imported once stays. We measure the two frameworks first,
# before this notebook imports TensorFlow itself. *Resident* memory is what the process holds in RAM at the end; 1 MiB
# is $2^{20}$ bytes. The measuring also imports psutil, so we measure Python with NumPy alone too.

# %%
KERAS_FILE = str(models.path("digits_keras", 1, "model.keras"))
ANSWER_ONCE = {
    "Python with NumPy": "import numpy as np; result = len(np.zeros(10)), 0",
    "TensorFlow": f"""
from course_lib.idioms import quiet
quiet.frameworks()
import keras, numpy as np
import_s = time.perf_counter() - start
model = keras.models.load_model({KERAS_FILE!r}, compile=False)
result = len(np.asarray(model(np.zeros((1, 8, 8, 1), "float32")))[0]), import_s
""",
    "PyTorch": """
import torch
from course_lib.torch_models import load_digits_cnn
import_s = time.perf_counter() - start
network = load_digits_cnn()
with torch.inference_mode():
    result = len(network(torch.zeros(1, 1, 8, 8))[0]), import_s
""",
}


# %%
STOPWATCH = "import time; start = time.perf_counter()\n"


def three_times(code):
    return [measure.fresh_process(STOPWATCH + code) for _ in range(3)]


def middle(runs, what):
    return float(np.median([getattr(run, what) for run in runs]))


# %%
costs = {name: three_times(code) for name, code in ANSWER_ONCE.items()}
for name, runs in costs.items():
    mib, seconds = middle(runs, "resident_mib"), middle(runs, "seconds")
    print(f"{name:<18} {mib:4.0f} MiB, {seconds:.2f} s")

# %%
weight_bytes = 4 * 15_270
times = {name: middle(runs, "resident_mib") * 2**20 / weight_bytes for name, runs in costs.items()}
observe(
    "to answer once, either framework holds more than 1,000 times the bytes of the weights",
    min(times["TensorFlow"], times["PyTorch"]) > 1000,
    f"TensorFlow {times['TensorFlow']:,.0f} times, PyTorch {times['PyTorch']:,.0f} times",
)

# %% [markdown]
# A framework can differentiate, distribute and train. A service needs none of that. Is there something smaller that
# computes the same numbers? That is what a conversion is for, and it leaves two questions: does the file still compute
# the same, and what else did it take along?
#
# ## Which of the old calls still run?
#
# Now TensorFlow comes into this notebook: the twin, the test images, and its *logits* (a classifier's raw outputs, one
# for each class), to which every converted form will be held.

# %%
import keras
import tensorflow as tf

twin = keras.models.load_model(KERAS_FILE, compile=False)
_, test = data.digits()
pixels = test.images[..., None].copy()  # (450, 8, 8, 1): Keras has the channel last
reference = np.asarray(twin(pixels))
print(f"Keras {keras.__version__}, TensorFlow {tf.__version__}; logits {reference.shape}")


# %%
def accuracy_of(logits):
    return float((logits.argmax(axis=1) == test.labels).mean())


def attempt(call):
    """Runs a call that may fail; shows the first line of its error, and returns the error."""
    try:
        return call()
    except Exception as error:
        said = str(error).strip().splitlines()[0].replace(str(scratch), "scratch")
        print(f"{type(error).__name__}: {textwrap.shorten(said, 170)}")
        return error


# %% [markdown]
# **Where this goes wrong.** One of the articles behind this course saves the model as `.h5` and converts that file.
# Another quantizes it in one call and hands the result to a server in a second one. Many tutorials save a *folder*.
# Here are those calls as they stand, but for the paths.

# %%
no_converter = attempt(lambda: tf.lite.TFLiteConverter.from_keras_model_file("model.h5"))
no_quantizer = attempt(lambda: tf.quantization.quantize_model(twin))
no_server = attempt(lambda: tf.serving.Server.load)
no_folder = attempt(lambda: twin.save(scratch / "folder"))

# %%
gone = [type(error).__name__ for error in (no_converter, no_quantizer, no_server, no_folder)]
claim(
    "none of the four runs: three names do not exist, and `save` takes no folder any more",
    gone == ["AttributeError"] * 3 + ["ValueError"],
    ", ".join(gone),
    pinned="keras",
)

# %% [markdown]
# `from_keras_model_file` was TensorFlow 1's. `tf.quantization` has no `quantize_model`, and `tf.serving` does not
# exist: the server is a program of its own, and lesson 14 speaks its protocol. The mended forms, one for one:
#
# | the articles' call | today |
# | --- | --- |
# | `model.save("model.h5")` | `model.save("model.keras")` |
# | `TFLiteConverter.from_keras_model_file(…)` | `….from_keras_model(model)`, or `….from_saved_model(folder)` |
# | `tf.quantization.quantize_model(model)` | `model.quantize("int8")`, or the converter's `optimizations` (below) |
# | `tf.saved_model.save(model, folder)`, `model.save(folder)` | `model.export(folder)` |
#
# Does `quantize("int8")` do what one of the articles says of quantization, that it "reduces the number of parameters"?
# (Keras warns of each layer that it passes over, here all that are not dense. The types below show it, so we drop the
# lines.)

# %%
import warnings

small = keras.models.load_model(KERAS_FILE, compile=False)
with warnings.catch_warnings():
    warnings.simplefilter("ignore", UserWarning)
    small.quantize("int8")

# %%
bits = {layer.name: layer.kernel.dtype for layer in small.layers if hasattr(layer, "kernel")}
claim(
    "quantized, the model has more parameters than before, and some of them have fewer bits",
    small.count_params() > twin.count_params() and list(bits.values()).count("int8") == 2,
    f"{twin.count_params():,} before, {small.count_params():,} after; {bits}",
)

# %% [markdown]
# Quantization keeps a number in fewer bits, and adds a *scale*, the factor that turns the small whole numbers back
# into weights. Here that is one for each output of the two dense layers, so the count rises. (Lesson 09 derives it,
# lesson 10 does it to whole models.) The same articles also print a "formula" of conversion, "conversion =
# f(parameters, structure, method)", and elsewhere the formula of one neuron. Neither can be contradicted by a
# measurement. This can: the largest difference between the outputs before and after. It is what this lesson measures.
#
# ## What can a caller call?
#
# A *SavedModel* is a folder: the computation as a graph in `saved_model.pb`, the weights beside it under `variables/`.
# An article writes one with `tf.saved_model.save` and then calls it like a model. Its own lines, with our digit as the
# image:

# %%
tf.saved_model.save(twin, str(scratch / "as_the_article"))
model = tf.saved_model.load(str(scratch / "as_the_article"))
no_channel = attempt(lambda: tf.image.resize(tf.constant(test.images[0]), (224, 224)))
image = tf.image.resize(tf.constant(pixels[0]), (224, 224))  # with a channel, it goes on
refused = attempt(lambda: tf.keras.applications.vgg16.preprocess_input(image))
uncallable = attempt(lambda: model(image))

# %%
VGG = tf.keras.applications.vgg16.preprocess_input
white = float(np.asarray(VGG(np.ones((1, 8, 8, 3), np.float32))).min())
claim(
    "none of the three lines runs on our digit; on a colour picture VGG's preprocessing would run, "
    "and turn ink of 1 into less than −100",
    [type(error).__name__ for error in (no_channel, uncallable)] == ["ValueError", "TypeError"]
    and isinstance(refused, Exception)
    and white < -100,
    f"{white:.1f}",
)

# %% [markdown]
# Three failures in three lines. A picture without a channel axis is no image to `resize`. VGG's preprocessing expects
# the three colours on which *that* network was trained; given three, it would have fed a custom network numbers that
# it never saw (lesson 08 measures what that costs). And what comes back from `load` is not a Keras model and cannot be
# called.
#
# So what is in there? A *signature* is a named entry into the graph: names, shapes and types of what goes in and what
# comes out.


# %%
def print_signatures(folder):
    for name, entry in tf.saved_model.load(str(folder)).signatures.items():
        takes = entry.structured_input_signature[1]
        ends = [*takes.items(), *entry.structured_outputs.items()]
        print(name, *(f"{end}: {t.dtype.name} {t.shape}" for end, t in ends), sep="  ")


print_signatures(scratch / "as_the_article")
by_its_name = attempt(lambda: model.signatures["serving_default"](pixels=tf.constant(pixels[:1])))
claim("`pixels` is refused by that file", isinstance(by_its_name, TypeError), "TypeError")

# %% [markdown]
# The batch axis is `None`, any number. But our input was called `pixels`, and this file calls it `inputs`. A caller
# who says `pixels` is refused. The call that Keras 3 made for this keeps the name:

# %%
exported = scratch / "exported"
twin.export(exported, verbose=False)
print_signatures(exported)

# %%
served = tf.saved_model.load(str(exported))
serve = served.signatures["serving_default"]
answer = serve(pixels=tf.constant(pixels[:1]))  # one image is a batch of one
print({name: tensor.shape for name, tensor in answer.items()})

# %%
wrong_name = attempt(lambda: serve(inputs=tf.constant(pixels[:1])))
no_batch = attempt(lambda: served.serve(tf.constant(pixels[0])))
saved_logits = serve(pixels=tf.constant(pixels))["output_0"].numpy()
saved_parity = measure.parity(reference, saved_logits)
claim(
    "by its signature the file answers as the twin does; another name, or no batch axis, is "
    "refused",
    isinstance(wrong_name, TypeError)
    and isinstance(no_batch, TypeError)
    and saved_parity.max_abs_diff < 1e-3
    and saved_parity.agreement == 1,
    f"largest difference {saved_parity.max_abs_diff:.1e}, classes agree on "
    f"{saved_parity.agreement:.0%} of {saved_parity.examples}",
)

# %% [markdown]
# The output's name is another matter: our last layer is called `logits`, and both folders say `output_0`. Names are
# the contract between a model and its callers, so look at them before somebody depends on them.
#
# One more look, because the folder is larger than it should be. How often does it hold the weights?

# %%
stored = tf.train.list_variables(str(exported / "variables" / "variables"))
numbers = sum(int(np.prod(shape)) for name, shape in stored if "VARIABLE_VALUE" in name)
for name, shape in stored[1:]:
    print(f"{name.removesuffix('/.ATTRIBUTES/VARIABLE_VALUE'):<18} {shape}")

# %%
extra = numbers - 2 * twin.count_params()
claim(
    "the export holds every weight twice, and dropout's random state besides",
    extra == 2 and any(list(shape) == [2] for _, shape in stored),
    f"{numbers:,} numbers = 2 × {twin.count_params():,} + {extra}",
)

# %% [markdown]
# Keras lists its variables under two names, and the checkpoint writes both. With 61 kB nobody minds. With 6 GB
# somebody will.
#
# ## What is in a Keras file?
#
# `.keras` is a zip archive, so the standard library opens it.

# %%
with zipfile.ZipFile(KERAS_FILE) as archive:
    for part in archive.infolist():
        print(f"{part.filename:<18} {part.file_size:>6,} bytes")
    config = json.loads(archive.read("config.json"))
for layer in config["config"]["layers"][:3]:
    print(layer["class_name"], {key: layer["config"].get(key) for key in ("name", "activation")})

# %% [markdown]
# The configuration lists the layers by class and setting; the weights lie beside it in *HDF5*, a file format of
# folders and arrays. There is no graph: whoever loads the file must have Keras, and Keras rebuilds the layers from
# class and settings.
#
# The older form, `.h5`, puts both into one HDF5 file. Keras still writes it, and says something while it does:

# %%
heard = []
# `append` returns None, which a filter understands as "do not print": we print it ourselves
logging.getLogger("absl").addFilter(note := lambda record: heard.append(record.getMessage()))
legacy = scratch / "model.h5"
twin.save(legacy)
logging.getLogger("absl").removeFilter(note)
print(textwrap.fill(heard[0], 110))

# %%
import h5py

with h5py.File(legacy) as file:
    found = []
    file.visititems(
        lambda name, item: found.append((name, item)) if hasattr(item, "shape") else None
    )
    for name, item in found:
        print(f"{name:<45} {item.shape}")
    print("model_config:", file.attrs["model_config"][:70], "…")

# %%
from_h5 = keras.models.load_model(legacy, compile=False)
h5_parity = measure.parity(reference, np.asarray(from_h5(pixels)))
claim(
    "reloaded from .h5, the twin answers as before",
    h5_parity.max_abs_diff < 1e-4 and h5_parity.agreement == 1,
    f"largest difference {h5_parity.max_abs_diff:.1g}",
)

# %% [markdown]
# Legacy, but it works. Why not use it?
#
# ## May you open a stranger's .h5?
#
# Lesson 04 showed a pickle that ran a stranger's code. These files hold JSON and arrays. Can they do that too?
#
# A `Lambda` layer wraps a Python function, and Keras saves the function by saving its *bytecode*, the instructions of
# Python's own machine. The one below leaves an empty file in the scratch folder. It could be any function.

# %%
sign = scratch / "a_stranger_was_here"


def visitor(where):
    return lambda x: (open(where, "w").close(), x)[1]  # calls open, then hands x on


# %%
first = [keras.Input((8, 8, 1)), keras.layers.Lambda(visitor(str(sign)))]
gift = keras.Sequential([*first, *twin.layers])
sign.unlink()  # building the model called it as well
gift.save(scratch / "gift.keras")
logging.getLogger("absl").addFilter(note)
gift.save(scratch / "gift.h5")
logging.getLogger("absl").removeFilter(note)

# %% [markdown]
# What does the configuration of that file say? (`marshal` reads bytecode and is safe only on our own file.)

# %%
import base64
import marshal

with h5py.File(scratch / "gift.h5") as file:
    layers = json.loads(file.attrs["model_config"])["config"]["layers"]
hidden = next(layer for layer in layers if layer["class_name"] == "Lambda")["config"]["function"]
code = hidden["config"]["code"]
print(textwrap.shorten(code, 90, placeholder=" …"))
print("names that it uses:", marshal.loads(base64.b64decode(code)).co_names)

# %% [markdown]
# Four ways to load it: two formats, each as Keras loads by default (`safe_mode=True`) and with the protection switched
# off.

# %%
outcomes = {}
for name in ("gift.keras", "gift.h5"):
    for safe in (True, False):
        print(f"{name}, safe_mode={safe}")
        kwargs = {"safe_mode": safe, "compile": False}
        loaded = attempt(lambda: keras.models.load_model(scratch / name, **kwargs))  # noqa: B023
        outcomes[name, safe] = (isinstance(loaded, ValueError), sign.exists())
        sign.unlink(missing_ok=True)

# %%
claim(
    "by default this Keras refuses both; with safe_mode off, loading alone ran the stranger's "
    "code",
    all(outcomes[name, True] == (True, False) for name in ("gift.keras", "gift.h5"))
    and all(outcomes[name, False] == (False, True) for name in ("gift.keras", "gift.h5")),
    f"Keras {keras.__version__}",
    pinned="keras",
)

# %% [markdown]
# "This Keras" matters. In Keras 3.0.0 to 3.11.2, `load_model` took `safe_mode=True` for an `.h5` file and *ignored*
# it: the default did what `safe_mode=False` did above, without a word. That is CVE-2025-9905, mended in 3.11.3 (a CVE
# is an entry in the public list of vulnerabilities). The `.keras` format had its own: CVE-2025-1550, before 3.9, and
# CVE-2025-9906, before 3.11, in which the configuration itself switched the protection off. The list went on:
# CVE-2026-1462 got past it in 3.13.0, with a layer that loads a SavedModel. We do not run the old versions beside this
# one; the advisories at the end describe them.
#
# An HDF5 file can also point out of itself. Here the weights are a link to another file:

# %%
import shutil

shutil.copy(legacy, scratch / "links.h5")
with h5py.File(scratch / "links.h5", "a") as file:
    del file["model_weights"]
    file["model_weights"] = h5py.ExternalLink("model.h5", "/model_weights")

# %%
with h5py.File(scratch / "links.h5") as file:
    followed = len(file["model_weights"])
linked = attempt(lambda: keras.models.load_model(scratch / "links.h5", compile=False))
claim(
    "plain HDF5 follows a link into another file; this Keras refuses it",
    followed > 0 and isinstance(linked, ValueError),
    f"{followed} groups seen through the link",
    pinned="keras",
)

# %% [markdown]
# A lesson in two lines: the flag protects as well as the version behind it, and a file that is *described* as data may
# still be a program. Exercise 07.4 looks into a Keras file for such layers without loading it.
#
# Is a SavedModel safer? It holds no Python. But a graph is a program too, in TensorFlow's operators, and one of them
# is `WriteFile`:


# %%
class Guest(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec((None, 8, 8, 1), tf.float32, name="pixels")])
    def serve(self, pixels):
        tf.io.write_file(str(sign), "hello")
        return {"logits": tf.zeros((tf.shape(pixels)[0], 10))}


# %%
sign.unlink(missing_ok=True)
guest = Guest()
tf.saved_model.save(guest, str(scratch / "guest"), {"serving_default": guest.serve})
invited = tf.saved_model.load(str(scratch / "guest"))
after_loading = sign.exists()
given = invited.signatures["serving_default"](pixels=tf.constant(pixels[:1]))

# %%
claim(
    "loading wrote nothing; the first request wrote a file",
    not after_loading and sign.exists(),
    f"{sign.name}: {sign.read_text()!r}",
)

# %% [markdown]
# `tf.saved_model.load` has no safe mode. TensorFlow's documentation says it plainly: a model is a program, run those
# you trust. You can at least look. The graph's operators are listed in the file, and listing them runs nothing:

# %%
from tensorflow.core.protobuf import saved_model_pb2


def operators(folder):
    saved = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    graphs = [meta.graph_def for meta in saved.meta_graphs]
    functions = [function for graph in graphs for function in graph.library.function]
    nodes = [graph.node for graph in graphs] + [function.node_def for function in functions]
    return {node.op for each in nodes for node in each}


suspicious = {"WriteFile", "ReadFile", "PyFunc", "EagerPyFunc"}
ours = operators(exported)
print("ours: ", ours & suspicious or "none of them", "among", ", ".join(sorted(ours)))
print("guest:", operators(scratch / "guest") & suspicious)

# %%
import onnx
from ai_edge_litert import schema_py_generated as litert_schema

words = ("FILE", "EXEC", "PYFUNC")
of_onnx = [schema.name for schema in onnx.defs.get_all_schemas()]
of_litert = [name for name in dir(litert_schema.BuiltinOperator) if name.isupper()]
claim(
    "the search tells the two folders apart, and overlooks SaveV2 in ours; of ONNX's and "
    "LiteRT's own operators, none is named after files or execution",
    not ours & suspicious
    and operators(scratch / "guest") & suspicious == {"WriteFile"}
    and "SaveV2" in ours
    and not [n for n in of_onnx + of_litert if any(word in n.upper() for word in words)],
    f"{len(of_onnx)} operators in ONNX, {len(of_litert)} in LiteRT",
)

# %% [markdown]
# A list of forbidden words is never complete. Ours lacks `SaveV2`, by which every SavedModel can write its own weights
# to a path, and which stands in our own folder. A list of what *is* allowed is the stronger rule.
#
# The last result is one argument for the small runtimes: by its names, their vocabulary has no such word. (It ends
# where somebody adds operators of their own, and both runtimes let you. An ONNX file may also name *other* files that
# hold its weights, and a parser can have holes.)
#
# ## What does LiteRT ask for?
#
# *LiteRT*, until 2024 *TensorFlow Lite* and still `.tflite` in file names, is TensorFlow's runtime for phones and
# small machines. The converter takes the exported folder.

# %%
converter = tf.lite.TFLiteConverter.from_saved_model(str(exported))
lite_file = scratch / "model.tflite"
lite_file.write_bytes(converter.convert())
print(show.bytes_text(lite_file.stat().st_size))

# %% [markdown]
# **Where this goes wrong.** Another article converts with the call that still exists, `from_keras_model`, and then
# predicts: `Interpreter(…)`, `set_tensor`, `invoke`, `get_tensor`. We run these with one image. (`tflite` is
# `tensorflow.lite` there. Its `load_image`, `process_input` and `postprocess_output` are defined nowhere, and what it
# prunes in between belongs to lesson 11.)

# %%
with warnings.catch_warnings(record=True) as warned:
    warnings.simplefilter("always")
    interpreter = tf.lite.Interpreter(model_path=str(lite_file))
index = interpreter.get_input_details()[0]["index"]
unset = attempt(lambda: interpreter.set_tensor(index, pixels[:1]))
not_ready = attempt(interpreter.invoke)
notice = next(str(each.message) for each in warned if "tf.lite.Interpreter" in str(each.message))
print("and a warning:", textwrap.shorten(notice, 130))

# %% [markdown]
# The listing lacks `allocate_tensors()`, so there is nowhere to put the image. And the class itself is on notice; its
# successor is the package `ai_edge_litert`, which needs no TensorFlow. (`quiet.native` drops a line that LiteRT writes
# to standard error at the first model, about which of its parts will compute.)

# %%
from ai_edge_litert.interpreter import Interpreter

interpreter = Interpreter(model_path=str(lite_file), num_threads=1)
with quiet.native():
    interpreter.allocate_tensors()
interpreter.set_tensor(index, pixels[:1])
interpreter.invoke()
single = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
print(single.shape, "class", single.argmax(), "label", test.labels[0])

# %%
two_images = attempt(lambda: interpreter.set_tensor(index, pixels[:2]))
doubles = attempt(lambda: interpreter.set_tensor(index, pixels[:1].astype(np.float64)))

# %% [markdown]
# Memory is laid out for the shape of the moment, one image. More than one needs a new layout. The *signature runner*
# does that, and goes by names instead of indices:


# %%
def lite_runner(content):
    model = Interpreter(model_content=content, num_threads=1)
    with quiet.native():
        model.allocate_tensors()
    return model.get_signature_runner("serving_default")


run_lite = lite_runner(lite_file.read_bytes())
lite_logits = run_lite(pixels=pixels)["output_0"]
lite_parity = measure.parity(reference, lite_logits)

# %%
largest = np.abs(reference).max()
ulp = np.spacing(largest)  # the distance from this float32 to the next
claim(
    "LiteRT's logits are within 100 steps of the twin's, each step the gap between float32 numbers "
    "at the largest logit; no class changed",
    lite_parity.max_abs_diff <= 100 * ulp and lite_parity.agreement == 1,
    f"largest difference {lite_parity.max_abs_diff:.1e} = {lite_parity.max_abs_diff / ulp:.0f} "
    f"steps of {ulp:.1e}, beside a logit of {largest:.1f}",
)

# %% [markdown]
# Where do those steps come from, if there are any? Most likely from additions in another order: each sum of 512
# products is rounded as it grows, and every library adds in its own order. Lesson 06 derives how large such rounding may be.
#
# ## How large may a difference be?
#
# Ask the converter for smaller numbers and the differences grow. Here are half precision (*float16*: 2 bytes, about
# three digits) and *dynamic range* quantization (8-bit weights), the mended form of the article's quantizing call:


# %%
def converted(**settings):
    converter = tf.lite.TFLiteConverter.from_saved_model(str(exported))
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_types = settings.get("types", [])
    return converter.convert()


contents = {
    "LiteRT": lite_file.read_bytes(),
    "LiteRT float16": converted(types=[tf.float16]),
    "LiteRT 8-bit": converted(),
}
logits = {
    name: lite_runner(content)(pixels=pixels)["output_0"] for name, content in contents.items()
}
parities = {name: measure.parity(reference, answer) for name, answer in logits.items()}

# %%
show.table(
    ["form", "bytes", "largest difference", "classes agree"],
    [
        [name, f"{len(contents[name]):,}", f"{p.max_abs_diff:.1e}", f"{p.agreement:.2%}"]
        for name, p in parities.items()
    ],
)

# %% [markdown]
# Is the last of these differences much? It depends on how close the race was. Let $r \in \mathbb{R}^{C}$ be the
# reference's logits for an image, $k$ its class (the largest), $a \in \mathbb{R}^{C}$ the converted model's, and
# $|a_j - r_j| \le \varepsilon$ for all $j$. Suppose that another class $j$ wins after conversion, $a_j \ge a_k$. Then
#
# $$r_j + \varepsilon \ge a_j \ge a_k \ge r_k - \varepsilon \qquad\Longrightarrow\qquad r_k - r_j \le 2\varepsilon.$$
#
# The left side is at least the image's *margin* $m = r_k - \max_{j \ne k} r_j$, by how much the winner leads. So a
# class can change only where $m \le 2\varepsilon$. That says where it *can* change, not that it does. The margins are
# the reference's own: they can be counted before anything is converted.

# %%
ordered = np.sort(reference, axis=1)
margins = ordered[:, -1] - ordered[:, -2]
within = {name: int((margins <= 2 * p.max_abs_diff).sum()) for name, p in parities.items()}
flips = {
    name: int((answer.argmax(1) != reference.argmax(1)).sum()) for name, answer in logits.items()
}
claim(
    "in each form, no more classes changed than images lie within reach",
    all(flips[name] <= within[name] for name in flips),
    "; ".join(f"{name}: {flips[name]} of {within[name]} within reach" for name in flips),
)

# %%
figure, axes = plt.subplots()
axes.step(np.sort(margins), np.arange(1, len(margins) + 1), where="post", color=show.GREY, lw=2)
for (name, p), colour in zip(parities.items(), (show.BLUE, show.PURPLE, show.RED)):
    if p.max_abs_diff == 0:
        continue  # nothing differs, and a logarithmic axis has no 0
    axes.axvline(2 * p.max_abs_diff, color=colour, ls="--")
    at = (1.8 * p.max_abs_diff, 1.2)
    axes.text(*at, f"2ε of {name}", color=colour, rotation=90, va="bottom", ha="right")
axes.set(xscale="log", yscale="log", ylim=(0.7, 600))
axes.set_xlabel("margin of the reference, in logits (logarithmic)")
axes.set_ylabel("images with at most this margin")
reach = ", ".join(f"{count} for {name}" for name, count in within.items())
show.finding(
    f"How many of {len(margins)} images a conversion can change: {reach}",
    alt="Count of test images against their margin, which begins at "
    f"{margins.min():.2g} and ends at {margins.max():.2g}. Lines at twice each form's largest "
    f"difference. Images left of the line: {reach}.",
)

# %% [markdown]
# This is how to set a tolerance: not "1e-5 because the tutorial has it", but well below half of the smallest margin
# that you care about. It also says what the agreement on 450 images is worth. It can hide a difference that the next
# image, closer to the border, will show. Exercise 07.3 makes a gate of this.
#
# ## What does Keras write as ONNX?
#
# *ONNX* is a file format for a computation, as a graph of operators that many runtimes know. Keras 3 exports it
# through the library tf2onnx. That library's own call for Keras models predates Keras 3:

# %%
import onnxruntime as ort
import tf2onnx

# %%
with contextlib.redirect_stderr(io.StringIO()):
    too_old = attempt(lambda: tf2onnx.convert.from_keras(twin))
onnx_file = scratch / "model.onnx"
twin.export(onnx_file, format="onnx", verbose=False)


# %%
def print_ends(file):
    graph = onnx.load(file).graph
    for end in [*graph.input, *graph.output]:
        kind = end.type.tensor_type
        print(end.name, [d.dim_param or d.dim_value for d in kind.shape.dim])


print_ends(onnx_file)

# %% [markdown]
# It works, and look at the names: an output called after the exporter's last operator, and two batch axes with two
# invented names, as if they could differ. We give the file the names that its callers expect. In ONNX, names are only
# labels of the graph's edges.


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
def session_of(file):
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return ort.InferenceSession(file, options, providers=["CPUExecutionProvider"])


session = session_of(onnx_file)
onnx_logits = session.run(["logits"], {"pixels": pixels})[0]
onnx_parity = measure.parity(reference, onnx_logits)

# %%
sizes = [session.run(None, {"pixels": pixels[:n]})[0] for n in (1, 2, 7)]
claim(
    "ONNX Runtime answers within 100 such steps of the twin, for batches of 1, 2 and 7 too",
    onnx_parity.max_abs_diff <= 100 * ulp
    and onnx_parity.agreement == 1
    and all(np.abs(some - reference[: len(some)]).max() <= 100 * ulp for some in sizes),
    f"largest difference {onnx_parity.max_abs_diff:.1e}",
)

# %% [markdown]
# The two files go to the lessons that come after, beside the Keras file. (In the course's own build; in your notebook
# `keep` does nothing.)

# %%
models.keep(onnx_file, "digits_keras", 1)
models.keep(lite_file, "digits_keras", 1, "model.tflite")
claim(
    "each is small enough to keep beside the code, under 200 kB",
    max(file.stat().st_size for file in (onnx_file, lite_file)) < 200_000,
    f"{show.bytes_text(onnx_file.stat().st_size)}, {show.bytes_text(lite_file.stat().st_size)}",
)

# %% [markdown]
# ## Who notices a picture of the wrong shape?
#
# A picture of 4 × 16 has 64 points, like one of 8 × 8. A client sends 450 of those. Guess, before you run the cell,
# which of the five entries refuse them.

# %%
squeezed = pixels.reshape(-1, 4, 16, 1)
entries = {
    "the Keras model": lambda x: np.asarray(twin(x)),
    "SavedModel, its function serve": lambda x: served.serve(tf.constant(x)).numpy(),
    "SavedModel, its signature": lambda x: serve(pixels=tf.constant(x))["output_0"].numpy(),
    "LiteRT, its signature runner": lambda x: run_lite(pixels=x)["output_0"],
    "ONNX Runtime": lambda x: session.run(["logits"], {"pixels": x})[0],
}
got = {}
for name, entry in entries.items():
    print(name, end=": ")
    got[name] = attempt(lambda: entry(squeezed))  # noqa: B023 - called at once
    if isinstance(got[name], np.ndarray):
        print(f"answers, {accuracy_of(got[name]):.0%} right")

# %%
answering = [name for name, result in got.items() if isinstance(result, np.ndarray)]
claim(
    "three of the five answer, and are right far less often",
    answering == ["the Keras model", "SavedModel, its signature", "LiteRT, its signature runner"]
    and all(len(got[name]) == len(pixels) for name in answering)
    and all(accuracy_of(got[name]) < accuracy_of(reference) - 0.1 for name in answering),
    f"{accuracy_of(reference):.0%} are right in the shape of training",
)

# %% [markdown]
# The signature *states* 8 × 8, as you saw above, and its caller is not held to it. Nothing in the computation minds
# either: convolutions take any size, and all that the dense layer needs is 512 numbers, which 2 × 8 places of 32
# channels give as well as 4 × 4. So whether a wrong shape is refused depends on the entry that the client happens to
# use. Check shapes in your own code, before the runtime; lesson 08 builds that.
#
# ## Same network, two exporters: what differs?
#
# The PyTorch twin has an ONNX file too. The architecture is the same, and both now run in ONNX Runtime. So what is
# different?

# %%
TORCH_FILE = models.path("digits_cnn", 3)  # the PyTorch twin, as lesson 06 exported it
files = {"PyTorch": TORCH_FILE, "Keras": onnx_file}
graphs = {name: onnx.load(file).graph for name, file in files.items()}
show.table(
    ["from", "producer", "operator set", "takes", "operators", "bytes"],
    [
        [
            name,
            onnx.load(file).producer_name,
            onnx.load(file).opset_import[0].version,
            [d.dim_value or "batch" for d in graphs[name].input[0].type.tensor_type.shape.dim],
            len(graphs[name].node),
            f"{file.stat().st_size:,}",
        ]
        for name, file in files.items()
    ],
)

# %%
COMPUTE = {"Conv", "Relu", "MaxPool", "Gemm", "MatMul", "Add"}
kinds = {name: [node.op_type for node in graph.node] for name, graph in graphs.items()}
figure, axes = plt.subplots(1, 2, figsize=(8, 4.6))
for axis, (name, operators_of) in zip(axes, kinds.items()):
    for i, kind in enumerate(operators_of):
        colour = show.BLUE if kind in COMPUTE else show.ORANGE
        axis.barh(i, 1, color=colour, height=0.82)
        axis.text(
            0.5,
            i,
            kind,
            ha="center",
            va="center",
            fontsize=8,
            color="white" if kind in COMPUTE else "black",
        )
    axis.set(
        ylim=(19.5, -0.7), xlim=(-0.4, 1.4), title=f"from {name}: {len(operators_of)} operators"
    )
    axis.set_axis_off()
rest = {name: [kind for kind in each if kind not in COMPUTE] for name, each in kinds.items()}
show.finding(
    "Blue computes, orange moves numbers or asks for shapes: "
    f"{len(rest['PyTorch'])} orange operator from PyTorch, {len(rest['Keras'])} from Keras",
    alt="; ".join(f"from {name}, in order: {', '.join(each)}" for name, each in kinds.items()),
)

# %%
convolutions = {
    name: [k for k in each if k in ("Conv", "Relu", "MaxPool")] for name, each in kinds.items()
}
products = {name: each.count("Gemm") + each.count("MatMul") for name, each in kinds.items()}
claim(
    "both compute with the same convolutions, activations and pooling, in the same order, and two "
    "matrix products; Keras's file has more of the rest, a transposition among it",
    convolutions["PyTorch"] == convolutions["Keras"]
    and products == {"PyTorch": 2, "Keras": 2}
    and len(rest["Keras"]) > len(rest["PyTorch"])
    and "Transpose" in rest["Keras"],
    f"{rest['PyTorch']}; {rest['Keras']}",
)

# %% [markdown]
# ONNX's convolution knows one layout: number, *channel*, height, width (*NCHW*, channels first). PyTorch's order is
# that. Keras has the channel last (*NHWC*), so its exporter turns the picture at the entry (for one channel a reshape
# will do; exercise 07.1 is about three) and turns the activations back before they are flattened. Shape, Gather, Cast,
# Slice and Concat compute the batch size, for which PyTorch's exporter wrote −1 into its Reshape, "whatever remains".
# (`Gemm` is a matrix product with its bias added, `MatMul` and `Add` in one.)
#
# Do these two agree? They are two trainings, so this is no parity, only the agreement of two good readers:

# %%
torch_session = session_of(TORCH_FILE)
torch_pixels = test.images[:, None].copy()  # (450, 1, 8, 8)
torch_logits = torch_session.run(None, {"pixels": torch_pixels})[0]
two_readers = measure.parity(torch_logits, onnx_logits)
claim(
    "the twins read more than 95 % of the images alike, though their logits are far apart",
    two_readers.agreement > 0.95 and two_readers.max_abs_diff > 1,
    f"{two_readers.agreement:.2%} alike; logits up to {two_readers.max_abs_diff:.0f} apart",
)

# %% [markdown]
# ## Can the weights move house?
#
# To compare the files alone, the two should compute the same *function*. So we carry PyTorch's weights into Keras. A
# common need, too: a team changes frameworks, the weights are worth keeping.
#
# The orders of the axes differ. PyTorch's convolution keeps $T[d, c, i, j]$ (output channel, input channel, row,
# column), Keras $K[i, j, c, d]$: a transposition. A dense layer is $T[m, p]$ in PyTorch (output, input) and $K[q, m]$
# in Keras: a transposition again. We take the weights out of the ONNX file, transpose, and load them.

# %%
from onnx import numpy_helper

from course_lib.keras_models import digits_cnn  # the twin's architecture, untrained

# %%
values = {each.name: numpy_helper.to_array(each) for each in graphs["PyTorch"].initializer}
convs = [node for node in graphs["PyTorch"].node if node.op_type == "Conv"]
gemms = [node for node in graphs["PyTorch"].node if node.op_type == "Gemm"]
conv_weights = [
    array
    for node in convs
    for array in (values[node.input[1]].transpose(2, 3, 1, 0), values[node.input[2]])
]
dense_weights = [
    array for node in gemms for array in (values[node.input[1]].T, values[node.input[2]])
]

# %%
moved = digits_cnn()
moved.set_weights(conv_weights + dense_weights)
moved_accuracy = accuracy_of(np.asarray(moved(pixels)))

# %% [markdown]
# Every shape fits, nothing was refused. PyTorch's file reads the test images like this, and the moved weights like
# that:

# %%
claim(
    "every shape fitted, and the moved network reads fewer than 4 in 10",
    accuracy_of(torch_logits) > 0.95 and moved_accuracy < 0.4,
    f"{accuracy_of(torch_logits):.2%} in PyTorch's file, {moved_accuracy:.2%} after the move",
)

# %% [markdown]
# An article's check, "make sure that the converted model runs", would have passed. Where is the mistake? Between the
# convolutions and the first dense layer, the activations $a[c, h, w]$, $C \times H \times W = 32 \times 4 \times 4$,
# are flattened into a row. Row-major order counts the last axis fastest, and the last axis is not the same one:
#
# $$p(c,h,w) = c\,HW + h\,W + w \quad\text{(channels first)}, \qquad q(h,w,c) = h\,WC + w\,C + c \quad\text{(channels last)}.$$
#
# The dense layer's output $m$, without its bias, is a sum over all activations, whatever their order:
#
# $$z_m = \sum_{c,h,w} T[m,\, p(c,h,w)]\; a[c,h,w] \;=\; \sum_{h,w,c} K[q(h,w,c),\, m]\; a[c,h,w].$$
#
# The two agree for every $a$ if and only if $K[q(h,w,c), m] = T[m, p(c,h,w)]$. So besides being transposed, the 512
# inputs must be *reordered*:

# %%
C, H, W = 32, 4, 4
c, h, w = np.meshgrid(range(C), range(H), range(W), indexing="ij")
p, q = c * H * W + h * W + w, h * W * C + w * C + c
kernel = np.empty((C * H * W, 20), np.float32)
kernel[q.ravel()] = values[gemms[0].input[1]].T[p.ravel()]
moved.set_weights([*conv_weights, kernel, *dense_weights[1:]])
moved_parity = measure.parity(torch_logits, np.asarray(moved(pixels)))

# %%
kept_place = float((p == q).mean())
claim(
    "reordered, Keras computes PyTorch's function up to rounding",
    moved_parity.max_abs_diff < 1e-3 and moved_parity.agreement == 1,
    f"largest difference {moved_parity.max_abs_diff:.1e}; only {kept_place:.1%} of the inputs had "
    "stood in the right place",
)

# %% [markdown]
# Exercise 07.2 asks for this in one line. Now the comparison is fair: one function, one runtime, two files. Does
# Keras's longer graph cost time?

# %%
moved_file = scratch / "moved.onnx"
moved.export(moved_file, format="onnx", verbose=False)
moved_session = session_of(moved_file)
timed = {}
for count in (1, 32):
    first, last = torch_pixels[:count], pixels[:count]
    calls = {
        "PyTorch's file": lambda first=first: torch_session.run(None, {"pixels": first}),
        "Keras's file": lambda last=last: moved_session.run(None, {"pixels": last}),
    }
    timed[count] = measure.latencies_ms(calls, rounds=300, warm_up=20)

# %%
show.table(
    ["images", *timed[1]],
    [[count, *(str(measure.spread(ms)) for ms in by.values())] for count, by in timed.items()],
    caption="milliseconds a call: median (quartiles), one thread",
)

# %%
ratio = {
    count: measure.spread(by["Keras's file"]).median / measure.spread(by["PyTorch's file"]).median
    for count, by in timed.items()
}
observe(
    "the longer graph is slower at one image, and the more images, the less it matters",
    ratio[1] > 1 and abs(ratio[32] - 1) < abs(ratio[1] - 1),
    f"{ratio[1]:.2f} times PyTorch's at 1 image, {ratio[32]:.2f} times at 32",
    either=True,
)


# %%
def as_optimized(file):
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(scratch / "optimized.onnx")
    options.log_severity_level = 3  # it warns that the written file fits this kind of machine only
    ort.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    return [node.op_type for node in onnx.load(scratch / "optimized.onnx").graph.node]


# %%
after = {name: as_optimized(file) for name, file in files.items()}
claim(
    "at loading, ONNX Runtime fuses both graphs into fewer operators; Keras's stays the longer",
    all(len(after[name]) < len(kinds[name]) for name in after)
    and len(after["Keras"]) > len(after["PyTorch"]),
    "; ".join(f"{name} {len(kinds[name])} → {len(after[name])}" for name in after)
    + f"; Keras's: {', '.join(after['Keras'])}",
)

# %% [markdown]
# A runtime does not execute the file as written: it fuses first. Most of what Keras's graph has left over computes the
# batch size, and that work does not grow with the number of images. That is the likely reason why it shows at one
# image and fades in a batch, where it does; on your machine the difference may drown in the noise of the clock.
#
# ## What does the runtime cost?
#
# Back to the question of the beginning, with the two runtimes that need no framework. The same request, each in a new
# process. (The frameworks were measured at the start, the runtimes now. If the machine was busy at one of the two
# moments, the seconds show it; the memory does not.)

# %%
ANSWER_ONCE["ONNX Runtime"] = f"""
import numpy as np, onnxruntime
import_s = time.perf_counter() - start
session = onnxruntime.InferenceSession({str(onnx_file)!r})
result = len(session.run(None, {{"pixels": np.zeros((1, 8, 8, 1), "float32")}})[0][0]), import_s
"""

# %%
ANSWER_ONCE["LiteRT"] = f"""
import numpy as np
from ai_edge_litert.interpreter import Interpreter
import_s = time.perf_counter() - start
runner = Interpreter(model_path={str(lite_file)!r}).get_signature_runner()
result = len(runner(pixels=np.zeros((1, 8, 8, 1), "float32"))["output_0"][0]), import_s
"""

# %%
for name in ("ONNX Runtime", "LiteRT"):
    costs[name] = three_times(ANSWER_ONCE[name])
claim(
    "all four answered with ten logits",
    all(run.result[0] == 10 for runs in costs.values() for run in runs),
    ", ".join(name for name in costs if "NumPy" not in name),
)


# %% [markdown]
# How much of the seconds went into the import alone? Each process noted it on its way. One more cost is the package's
# own files on disk, without what it depends on in turn:

# %%
import_s = {
    name: float(np.median([run.result[1] for run in costs[name]]))
    for name in costs
    if "NumPy" not in name
}


# %%
def on_disk(package):
    files = metadata.distribution(package).files or []
    return sum(
        Path(file.locate()).stat().st_size for file in files if Path(file.locate()).exists()
    )


# %%
installed = {each.metadata["Name"] for each in metadata.distributions()}
packages = {
    "TensorFlow": "tensorflow" if "tensorflow" in installed else "tensorflow-cpu",
    "PyTorch": "torch",
    "ONNX Runtime": "onnxruntime",
    "LiteRT": "ai-edge-litert",
}
disk = {name: on_disk(package) for name, package in packages.items()}

# %%
names = list(disk)
show.table(
    ["runtime", "seconds to import", "seconds to the first answer", "resident MiB", "on disk"],
    [
        [
            name,
            f"{import_s[name]:.2f}" if name in import_s else "",
            f"{middle(costs[name], 'seconds'):.2f}",
            f"{middle(costs[name], 'resident_mib'):.0f}",
            show.bytes_text(disk[name]) if name in disk else "",
        ]
        for name in [*names, "Python with NumPy"]
    ],
)

# %%
figure, axes = plt.subplots(1, 2, figsize=(8, 3), sharey=True)
for axis, what, label in zip(
    axes, ("seconds", "resident_mib"), ("seconds to the first answer", "resident memory (MiB)")
):
    middles = [middle(costs[name], what) for name in names]
    axis.barh(names, middles, color=[show.ORANGE, show.ORANGE, show.BLUE, show.BLUE])
    axis.invert_yaxis() if axis is axes[0] else None
    for name, value in zip(names, middles):
        axis.text(
            value, name, f" {value:.2g}" if what == "seconds" else f" {value:.0f}", va="center"
        )
    axis.set_xlabel(label)
    axis.margins(x=0.15)
floor = middle(costs["Python with NumPy"], "resident_mib")
axes[1].axvline(floor, color=show.GREY, ls=":")
axes[1].text(floor + 90, 3, "dotted: Python with NumPy", fontsize="small", va="center")
memory = {name: middle(costs[name], "resident_mib") for name in names}
start = {name: middle(costs[name], "seconds") for name in names}
show.finding(
    "The same request, in a new process: TensorFlow holds "
    f"{memory['TensorFlow'] / memory['LiteRT']:.0f} times the memory of LiteRT",
    alt="Bars for each runtime. "
    + "; ".join(f"{name}: {start[name]:.2f} s, {memory[name]:.0f} MiB" for name in names)
    + f". A dotted line marks Python with NumPy, {floor:.0f} MiB.",
)

# %%
observe(
    "either small runtime starts at least 5 times as fast as either framework, in at most half of "
    "its memory",
    5 * max(start["ONNX Runtime"], start["LiteRT"]) <= min(start["TensorFlow"], start["PyTorch"])
    and 2 * max(memory["ONNX Runtime"], memory["LiteRT"])
    <= min(memory["TensorFlow"], memory["PyTorch"]),
    "; ".join(f"{name} {start[name]:.2f} s, {memory[name]:.0f} MiB" for name in names),
    either=True,
)

# %% [markdown]
# Five times and half are rough marks, which a slow disk or a busy machine can miss. The order in the table is the
# argument for shipping a runtime and not a framework: a new replica answers sooner, more of them fit on a
# machine, the image to pull is smaller, and there is less code in which a hole can be.
#
# ## Which format, then?
#
# We let the forms answer. Which of them opens again as *layers*, to train on or to change? What does a request of one
# image take, in this process, on one thread where the runtime lets us choose?

# %%
forms = {
    ".keras": Path(KERAS_FILE),
    ".h5": legacy,
    "SavedModel": exported,
    "LiteRT": lite_file,
    "ONNX": onnx_file,
}
with contextlib.redirect_stdout(io.StringIO()):  # three of the five refuse, as expected
    opened = {
        name: attempt(lambda: keras.models.load_model(file, compile=False))  # noqa: B023
        for name, file in forms.items()
    }
as_layers = {name: isinstance(result, keras.Model) for name, result in opened.items()}
claim(
    "two of the five open again as layers: Keras's own",
    [name for name, yes in as_layers.items() if yes] == [".keras", ".h5"],
    as_layers,
)

# %%
one, tensor = pixels[:1], tf.constant(pixels[:1])
calls = {
    ".keras": lambda: twin(one, training=False),
    ".h5": lambda: from_h5(one, training=False),
    "SavedModel": lambda: serve(pixels=tensor),
    "LiteRT": lambda: run_lite(pixels=one),
    "ONNX": lambda: session.run(None, {"pixels": one}),
}
request_ms = measure.latencies_ms(calls, rounds=50)
one_ms = {name: measure.spread(ms).median for name, ms in request_ms.items()}
observe(
    "for one image, both small runtimes are at least 5 times as fast as calling the Keras model",
    5 * max(one_ms["LiteRT"], one_ms["ONNX"]) <= one_ms[".keras"],
    ", ".join(f"{name} {ms:.2g} ms" for name, ms in one_ms.items()),
    either=True,
)

# %%
alone_ms = measure.latencies_ms({"ONNX": calls["ONNX"]}, rounds=50)
alone = measure.spread(alone_ms["ONNX"]).median
observe(
    "ONNX Runtime by itself is faster than in turns with the others",
    alone < one_ms["ONNX"],
    f"{alone:.2g} ms by itself, {one_ms['ONNX']:.2g} ms in turns",
    either=True,
)

# %% [markdown]
# The same call, the same file. Where it is slower in turns, each call likely finds its data pushed out of the
# processor's caches by the one before, and TensorFlow's threads still awake; where it is not, your caches hold them
# all. Either way, compare these numbers with one another, not with those of the
# two ONNX files above.

# %%
RUNTIME = {".keras": "TensorFlow", ".h5": "TensorFlow", "SavedModel": "TensorFlow"}
RUNTIME |= {"LiteRT": "LiteRT", "ONNX": "ONNX Runtime"}
form_bytes = {
    name: file.stat().st_size
    if file.is_file()
    else sum(each.stat().st_size for each in file.rglob("*") if each.is_file())
    for name, file in forms.items()
}
form_parity = {
    ".keras": None,
    ".h5": h5_parity,
    "SavedModel": saved_parity,
    "LiteRT": lite_parity,
    "ONNX": onnx_parity,
}
RAN = {".keras": "if allowed", ".h5": "if allowed", "SavedModel": "at the first request"}

# %%
show.table(
    [
        "form",
        "layers",
        "bytes",
        "difference",
        "ms",
        "needs",
        "start, s",
        "MiB",
        "a stranger's code ran",
    ],
    [
        [
            name,
            "yes" if as_layers[name] else "no",
            f"{form_bytes[name]:,}",
            f"{form_parity[name].max_abs_diff:.0e}" if form_parity[name] else "",
            f"{one_ms[name]:.2g}",
            RUNTIME[name],
            f"{start[RUNTIME[name]]:.2f}",
            f"{memory[RUNTIME[name]]:.0f}",
            RAN.get(name, "not tried"),
        ]
        for name in forms
    ],
)

# %% [markdown]
# Read it by the question that you have:
#
# | you want to | take | because, above |
# | --- | --- | --- |
# | train on, or change layers | `.keras` | it opens as layers; by default this version refused the Lambda |
# | serve in a process of your own | ONNX | it needs no framework, and its runtime refused the wrong shape |
# | run on a phone or a small board | LiteRT | it needs no framework, its files shrink further; check shapes |
# | hand it to TensorFlow Serving | SavedModel | that is what it reads; look at the operators first, and check shapes |
# | keep an old `.h5` | `.keras`: open it once, and save | legacy; use the newest Keras, and only files whose maker you know |
#
# ## What we measured
#
# Each converted form gets its row in the ledger, with the largest difference of a logit from the `.keras` file, which
# is "the form before" of all four.

# %%
answers = {"h5": np.asarray(from_h5(pixels)), "savedmodel": saved_logits, "tflite": lite_logits}
answers["onnx"] = onnx_logits
named = {"h5": ".h5", "savedmodel": "SavedModel", "tflite": "LiteRT", "onnx": "ONNX"}
for form, answer in answers.items():
    ledger.record(
        "digits_keras",
        form,
        accuracy=accuracy_of(answer),
        bytes=form_bytes[named[form]],
        max_abs_diff=form_parity[named[form]].max_abs_diff,
    )
ledger.table("digits_keras")

# %%
rows = [row for row in ledger.rows("digits_keras") if row.form in answers]
claim(
    "all four forms are as accurate as the twin, and differ in bytes",
    {row.accuracy for row in rows} == {accuracy_of(reference)}
    and len({r.bytes for r in rows}) == 4,
    f"{accuracy_of(reference):.2%}; {min(r.bytes for r in rows):,} to "
    f"{max(r.bytes for r in rows):,} bytes",
)

# %%
widest = max(rows, key=lambda row: row.bytes)
ledger.picture(
    f"Five forms of one twin, one accuracy; {widest.form} takes the most bytes",
    model="digits_keras",
)

# %% [markdown]
# ## What to remember
#
# - Layers, a computation with names, or a program: know which your file holds, and look into it before you load it.
# - That a conversion runs proves nothing. Measure the largest difference, and hold it against the margins.
# - Ship the runtime, not the framework; keep the `.keras` file for the day on which you train on.
#
# ## Where this breaks down
#
# The twin has a handful of common layers, and every converter knows them. Custom layers, control flow, strings and
# ragged tensors are where conversions fail, or fall back on operators that drag TensorFlow along again ("Select TF
# ops"). The memory of a large model is its weights, and then the framework's few hundred MiB matter less. Latencies of
# hundredths of a millisecond measure the call more than the network. The parity was measured on test images; inputs
# unlike these can lie closer to the border.
#
# ## What real teams use
#
# TensorFlow Serving reads SavedModels. Triton reads ONNX, and its TensorFlow backend is deprecated since release
# 25.03. ONNX Runtime, OpenVINO and TensorRT run ONNX files on servers; LiteRT runs on Android and on microcontrollers,
# Core ML on Apple's devices. The conversion is a step of the build, with the parity test as its gate, and the file
# that comes out is versioned like code. Registries scan uploads for Lambda layers and pickles (ModelScan, the scanners
# of Hugging Face), or take only formats without code.
#
# ## Further reading
#
# - Keras documentation, guide *Save, serialize, and export models*; TensorFlow guide *Using the SavedModel format*.
# - TensorFlow, *Using TensorFlow Securely* (`SECURITY.md` in its repository): models are programs.
# - GitHub advisory GHSA-36rr-ww3j-vrjv (CVE-2025-9905), and the entries of CVE-2025-1550, CVE-2025-9906 and
#   CVE-2026-1462 in the CVE list.
# - *Open Neural Network Exchange: ONNX Concepts* and its operator reference, onnx.ai.
# - R. David et al., *TensorFlow Lite Micro: Embedded Machine Learning on TinyML Systems*, MLSys 2021.
