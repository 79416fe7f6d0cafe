# %% [markdown]
# # 06 Export from PyTorch
#
# At 3 a.m. the new app misreads nearly every scan that arrives as a negative. In the notebook the model reads them. The
# test of the exported model was green. A month ago the export printed one warning, and nobody read it.
#
# ## You will be able to
#
# - say what a model file must hold before someone else can run it, and check that it does;
# - export a network to ONNX, in evaluation mode and for batches of any size, and test whether its answers are the same;
# - find what a trace has silently frozen, and rewrite code that cannot be exported;
# - replace an operator that the exporter does not know;
# - read the two version numbers of an ONNX file, and make a file for an older runtime.
#
# ## Before you start
#
# You need the network of lesson 04 and the idea of a runtime (lesson 01). Lesson 01 exported a network in one call. In
# this lesson we look closely at that call, and at what can go wrong.

# %%
import contextlib
import importlib.util
import io
import logging
import re
import warnings

import matplotlib.pyplot as plt
import numpy as np
import onnx
import onnx_ir
import onnxruntime
import torch
import torch.onnx.verification
from safetensors.numpy import load_file
from torch import nn

from course_lib import data, measure, models, onnx_files, torch_models
from course_lib.idioms import begin, claim, guess, ledger, observe, path, reveal, show

scratch = begin("06")
torch.set_num_threads(1)  # this network is small: more threads would only wait
path.picture(here="06")

# %% [markdown]
# Some cells below fail on purpose. The function `refusal` runs a call that must fail, and returns the beginning of its
# error. It leaves out what the frameworks print beside the error, which is often pages long.


# %%
def refusal(call, lines=1):
    logging.getLogger("torch").setLevel(logging.CRITICAL)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            call()
    except Exception as error:
        said = [line for line in str(error).splitlines() if line.strip()][:lines]
        return f"{type(error).__name__}: " + "\n".join(said)
    finally:
        logging.getLogger("torch").setLevel(logging.WARNING)
    raise AssertionError("expected an error, and none came")


# %% [markdown]
# ## Can a colleague run this file?
#
# Someone sends you a file named `weights.safetensors`. What can you do with it? Let us look inside.

# %%
held = load_file(models.path("digits_cnn", 3, "weights.safetensors"))
rows = [[name, array.shape, array.dtype] for name, array in held.items()]
show.table(["name", "shape", "dtype"], rows, caption="All that weights.safetensors holds")

# %% [markdown]
# The file holds names, shapes and numbers. It does not say that a ReLU stands between layers 0 and 2, or that a picture
# has 8 × 8 points. That information is in Python code. You cannot run the model without that code and PyTorch.
#
# The articles that this course grew from call the next step *conversion* (模型转换). One form of it is *freezing*
# (模型固化): "save the parameters and the structure in a file". PyTorch has a call that seems to do just that. We try it
# with a network that has one step in front: it turns negatives, pictures with light ink on dark paper, into positives.


# %%
class Upright(nn.Module):
    """Turns negatives into positives, then reads them."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, pixels):
        if pixels.mean() > 0.5:  # more ink than paper: a negative
            pixels = 1 - pixels
        return self.network(pixels)


# %%
network = torch_models.load_digits_cnn()  # version 3, in evaluation mode
upright = Upright(network).eval()
torch.save(upright, scratch / "whole.pt")

# %% [markdown]
# **Where this goes wrong.** A colleague opens the file in another program. Here it is a fresh Python. It even switches
# off the check against foreign code, which lesson 04 explains.

# %%
colleague = f"""
import torch
try:
    torch.load({str(scratch / "whole.pt")!r}, weights_only=False)
    result = "loaded"
except Exception as error:
    result = type(error).__name__ + ": " + str(error).split(". ")[0]
"""

# %%
answer = measure.fresh_process(colleague).result
claim(
    "the file asks for a class named Upright, and does not hold what the class does",
    "Can't get attribute 'Upright'" in answer,
    answer,
)

# %% [markdown]
# The "structure" in this file is a tree of attributes and *names* of classes. The classes stay in your code. If
# you rename the class, even you cannot load the file. So what must a file hold?
#
# | | what | who has it |
# | --- | --- | --- |
# | 1 | the weights | every file in this lesson |
# | 2 | the graph: which operations, in which order | exported files |
# | 3 | what the operations mean: a version of the operators | exported files |
# | 4 | names, shapes and dtypes of inputs and outputs, and which sizes may vary | exported files, if you ask for it |
# | 5 | what the numbers mean: units, classes, preprocessing | none; lesson 08 adds it |
#
# There are two ways to get the graph.
#
# - *Tracing* runs the program once, on an example, and writes down the operations that happened.
# - *Exporting* runs the program with stand-ins for the tensors. A stand-in has a shape and a dtype, but no values. The
#   exporter writes down what must happen for every such input. If it cannot know this, it refuses.
#
# ## What is in an ONNX file?
#
# *ONNX* (Open Neural Network Exchange) is a file format for a graph of operations and its weights. A public
# specification says what each operation means. PyTorch's exporter writes such files. Its arguments fill lines 1 to 4 of
# the table above.

# %%
_, test = data.digits()
images, labels = test.images.reshape(-1, 1, 8, 8), test.labels  # (450, 1, 8, 8), (450,)
two = (torch.from_numpy(images[:2]),)
any_batch = [{0: torch.export.Dim("batch")}]  # axis 0 of the input may vary


# %%
ENDS = {"input_names": ["pixels"], "output_names": ["logits"]}


def to_onnx(module, file, example=two, dynamic_shapes=any_batch, **more):
    more = {"opset_version": 18, "external_data": False, "verbose": False} | more
    return torch.onnx.export(module, example, file, dynamic_shapes=dynamic_shapes, **ENDS, **more)


# %%
onnx_file = scratch / "digits_cnn.onnx"
to_onnx(network, onnx_file)
stamped = onnx.load(onnx_file).ir_version

# %% [markdown]
# `opset_version` chooses the version of the operators, and `external_data=False` puts the weights inside the file.
# Otherwise they go into a second file.
#
# The exporter also notes where in your Python code each operation came from. These notes contain folder names of your
# machine, so we remove them. They are also the reason for a newer *IR version* ("intermediate representation": the
# version of the file format itself). Without them, an older IR version is enough, and more runtimes can read the file.

# %%
onnx_files.remove_notes(onnx_file)
model = onnx.load(onnx_file)
model.ir_version = onnx.helper.find_min_ir_version_for(model.opset_import)
onnx.checker.check_model(model, full_check=True)  # raises where the file breaks the specification
onnx.save(model, onnx_file)
print(f"IR {stamped} from the exporter, IR {model.ir_version} is enough")

# %% [markdown]
# A model is a list of *nodes* (operations), the *initialisers* (constants, mostly weights), and the declared inputs and
# outputs. A size is a number, or a name if it may vary. A size with a name is a *dynamic axis*.


# %%
guess(
    "operations",
    "The network has 10 layers in Python: how many operations has the file?",
    low=1,
    high=100,
)


# %%
def sizes(value):
    return [each.dim_param or each.dim_value for each in value.type.tensor_type.shape.dim]


graph, nodes = model.graph, list(model.graph.node)
constants = {each.name: onnx.numpy_helper.to_array(each) for each in graph.initializer}

# %%
facts = {
    "operators": f"version {model.opset_import[0].version} of the standard set",
    "file format": f"IR {model.ir_version}",
    "input": f"{graph.input[0].name}, {sizes(graph.input[0])}",
    "output": f"{graph.output[0].name}, {sizes(graph.output[0])}",
    "initialisers": f"{len(constants)}, {sum(each.nbytes for each in constants.values()):,} bytes",
}
show.table(["part", "in this file"], facts.items(), caption="What digits_cnn.onnx declares")

# %% [markdown]
# The best way to understand such a file is to look at its graph. *Netron* draws it: open [netron.app](https://netron.app)
# and drop the file on the page, or install it with `pip install netron` and type `netron digits_cnn.onnx`. A click on a
# node shows its attributes and weights. The drawing itself is simple. We make one from the file alone.

# %%
inferred = onnx.shape_inference.infer_shapes(model).graph
shapes = {each.name: sizes(each) for each in [*inferred.value_info, *inferred.output]}


def times(numbers):
    return " × ".join(map(str, numbers))


reveal("operations", len(nodes))


# %%
figure, axes = plt.subplots(figsize=(5.6, 5.6))
axes.set_axis_off()
axes.set(xlim=(0.8, 8), ylim=(-len(nodes) - 0.3, 1.4))
axes.text(2, 0.8, f"pixels  {times(sizes(graph.input[0]))}", ha="center")
for row, node in enumerate(nodes):
    own = [name for name in node.input if name in constants]
    learnt = any(constants[name].dtype == np.float32 for name in own)
    colour = show.BLUE if learnt else "dimgrey"
    box = {"boxstyle": "round", "facecolor": colour, "edgecolor": "none"}
    axes.annotate("", (2, 0.3 - row), (2, 0.7 - row), arrowprops={"arrowstyle": "->"})
    axes.text(2, -row, node.op_type, color="white", ha="center", va="center", bbox=box)
    axes.text(2.2, -row - 0.5, times(shapes[node.output[0]]), va="center")
    held_here = ",  ".join(f"{name} {times(constants[name].shape)}" for name in own)
    axes.text(3.6, -row, held_here, va="center", color=colour)
axes.annotate(
    "logits", (2, -row - 0.3), (2, -row - 1), ha="center", arrowprops={"arrowstyle": "<-"}
)
show.finding(
    f"{len(nodes)} operations from pixels to logits, and dropout is not among them",
    alt="The graph from pixels to logits, from top to bottom: "
    + ", ".join(f"{node.op_type} gives {times(shapes[node.output[0]])}" for node in nodes)
    + ". Weights and biases stand beside the Conv and Gemm operations.",
)

# %%
kept = sum(array.size for array in constants.values() if array.dtype == np.float32)
claim(
    "every weight of the network is in the file, and dropout is not",
    kept == sum(each.numel() for each in network.parameters())
    and not any(node.op_type == "Dropout" for node in nodes),
    f"{kept:,} weights; {len(network)} layers in Python, {len(nodes)} operations in the file",
)

# %% [markdown]
# `Gemm` is a matrix product with a bias. Dropout is gone, because the network was in evaluation mode. `Flatten` became a
# `Reshape`, and its target, the grey constant, is in the file too. It holds a −1 for "whatever is left", here the batch.
#
# ## Does the exported file give the same answers?
#
# One of the articles ends its conversion with the step "make sure that the converted model runs". Another asks to
# check that "no key information was lost". What would that mean? Conversion changes the form of a computation. It
# must not change its value. This property is called *parity*. With $f$ the network in PyTorch and $g$ the exported
# model,
#
# $$g(x) \approx f(x) \quad \text{for every input } x \text{ that can come.}$$
#
# We run the file in ONNX Runtime and compare it with PyTorch on all 450 test pictures.


# %%
def run(file, pixels=images):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    source = file if isinstance(file, bytes) else str(file)
    session = onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    return session.run(["logits"], {"pixels": pixels})[0]


# %%
def answers(module, pixels=images):
    with torch.inference_mode():
        return module(torch.from_numpy(pixels)).numpy()


def accuracy_of(logits):
    return float((logits.argmax(axis=1) == labels).mean())


reference, converted = answers(network), run(onnx_file)
print(measure.parity(reference, converted))

# %% [markdown]
# Two programs may add the same numbers in another order, and a sum in float32 then rounds differently. On some
# processors the difference here is exactly 0, on others it is not. How large may it be? Here is a simple rule. float32
# keeps about seven decimal digits. Leave two of them to rounding and ask for five:
#
# > *For each picture, no logit may be off by more than 0.00001 of that picture's largest logit.*
#
# With $f_j(x)$ logit $j$ of picture $x$, the rule says
#
# $$\rho = \max_x \frac{\max_j |g_j(x) - f_j(x)|}{\max_j |f_j(x)|} \;\le\; 10^{-5}.$$
#
# The scale is the picture's largest logit. A logit near 0 is what large terms of both signs leave over, and it has the
# rounding errors of the large terms. Lesson 06b derives how large they can be.

# %%
TOLERANCE = 1e-5


def rho(reference, answer):
    apart, scale = np.abs(answer - reference).max(axis=1), np.abs(reference).max(axis=1)
    return float((apart / scale).max())


# %%
claim(
    "the ONNX file, run by ONNX Runtime, is within the tolerance on all 450 pictures",
    rho(reference, converted) <= TOLERANCE,
    f"{rho(reference, converted) / TOLERANCE:.3f} of what the rule allows",
)

# %% [markdown]
# A tolerance is only as good as the faults that it catches. We spoil the network in four ways that happen in practice.
# A converter rounds all weights to float16 or to bfloat16 (16-bit formats with about three and two decimal digits),
# though nobody asked for it. One bias comes from an older checkpoint and is off by 0.001. Dropout is left on. Suppose
# that a team only tests whether the classes agree. Would it notice?

# %%
guess(
    "changed", "All weights rounded to float16: how many of 450 classes change?", low=0, high=450
)


# %%
def spoiled(change):
    module = torch_models.load_digits_cnn()
    with torch.no_grad():
        change(module)
    return answers(module)


def rounded(kind):
    return lambda module: [each.copy_(each.to(kind)) for each in module.parameters()]


# %%
torch.manual_seed(0)
faults = {
    "none (ONNX Runtime)": converted,
    "one bias off by 0.001": spoiled(lambda module: module[9].bias[3].add_(0.001)),
    "weights in float16": spoiled(rounded(torch.float16)),
    "weights in bfloat16": spoiled(rounded(torch.bfloat16)),
    "dropout left on": spoiled(lambda module: module.train()),
}

# %% [markdown]
# How many classes change?

# %%
changed = {
    fault: int((logits.argmax(axis=1) != reference.argmax(axis=1)).sum())
    for fault, logits in faults.items()
}
reveal("changed", changed["weights in float16"])

# %% [markdown]
# And what does the rule see? A value above 1 means that the test is red.

# %%
rows = [
    [fault, f"{rho(reference, logits) / TOLERANCE:,.1f}", changed[fault]]
    for fault, logits in faults.items()
]
show.table(["fault", "ρ / tolerance", "classes changed"], rows, caption="What a parity test sees")

# %%
caught = [fault for fault, logits in faults.items() if rho(reference, logits) > TOLERANCE]
claim(
    "the tolerance passes the export and catches all four faults",
    caught == list(faults)[1:],
)

# %%
claim(
    "in three of the four, at most one class of 450 changes",
    sum(changed[fault] <= 1 for fault in caught) >= 3,
    ", ".join(f"{fault}: {changed[fault]}" for fault in caught),
)

# %% [markdown]
# A test of the classes sees little, because this network is sure of its answers. Test the logits.
#
# **Change** the bias's 0.001 to 0.00001, and run the cells again from there. Which claim fails? A fault that is smaller
# than the tolerance passes. Change it back before you go on.
#
# One input slips through many parity tests. A broken sensor sends a NaN ("not a number"), and the logits become NaN.

# %%
sick = images[:1].copy()
sick[0, 0, 3, 3] = np.nan
nothing = run(onnx_file, sick)
claim(
    "a NaN in one point leaves NaN in every logit, and the class is then 0",
    bool(np.isnan(nothing).all()) and int(nothing.argmax()) == 0,
)

# %%
claim(
    "a test that looks for large differences is green",
    not (np.abs(nothing - reference[:1]) > TOLERANCE).any(),
    f"though {int(np.isnan(nothing).sum())} of {nothing.size} logits are NaN",
)

# %% [markdown]
# A comparison with NaN is always false, so "is any difference too large?" answers no. Ask instead whether *all*
# differences are small enough. **Now do exercise 06.1**, the test that a NaN passed.
#
# ### What does the exporter check itself?
#
# The export call has two arguments for checks. `verify=True` runs the new file in ONNX Runtime and compares. `report=True`
# writes a report in Markdown, with the graph and each step of the export.

# %%
exported = to_onnx(network, None, verify=True, report=True, artifacts_dir=scratch)
report = sorted(scratch.glob("onnx_export_*_success.md"))[-1].read_text(encoding="utf-8")
print(report.split("```")[1].strip())
print(report.split("## Verification results")[1].split(", `abs_diff_hist")[0].strip())

# %% [markdown]
# This is useful, and costs one argument. But it has limits. It compares on your example alone, here two pictures. It
# compares the file with the exported graph, not with your module. It allows an absolute difference of 0.005 and a
# relative one of 0.1, and beyond these it only logs a warning. We repeat the comparison on a model with a fault: the
# bias that is off by 0.001.

# %%
bias = network[9].bias.detach().numpy().copy()
bias[3] += 0.001
exported.model.graph.initializers["9.bias"].const_value = onnx_ir.tensor(bias)
again = torch.onnx.verification.verify_onnx_program(exported)[0]
claim(
    "`verify=True` would pass a bias that is off by 0.001",
    0.0005 < again.max_abs_diff < 0.005 and again.max_rel_diff < 0.1,
    f"it measures {again.max_abs_diff:.4f} and {again.max_rel_diff:.4f}",
)

# %% [markdown]
# So use `verify=True` at every export, and your own test on real pictures before every release.
#
# ## Why does the file work with one picture and fail with seven?
#
# **Where this goes wrong.** The example is a single picture, and nothing is said about sizes. In the notebook the file
# works.

# %%
baked_file = scratch / "baked.onnx"
to_onnx(network, baked_file, (two[0][:1],), None)
print("one picture:", run(baked_file, images[:1]).shape)
print(refusal(lambda: run(baked_file, images[:7]), lines=3))

# %% [markdown]
# The example's size is now part of the file. A service that collects requests into batches cannot use it. Our first
# export had the argument that repairs it: `dynamic_shapes` names the axis that may vary.

# %%
counts = {count: run(onnx_file, images[:count]).shape for count in (1, 2, 7, 450)}
claim(
    "with a named axis the same file takes one picture, two, seven and all",
    all(shape == (count, 10) for count, shape in counts.items()),
    counts,
)

# %% [markdown]
# The example itself still matters. `torch.export` is the call underneath, and it treats a size of 1 as special, because
# tensors of size 1 broadcast. Give it an example of one picture and a named axis, and it refuses:

# %%
one = (two[0][:1],)
print(refusal(lambda: torch.export.export(network, one, dynamic_shapes=any_batch), lines=2))

# %% [markdown]
# Three rules avoid all of this. Name the axis. Use an example of two pictures or more. Then run the file with sizes that
# were not in the example.
#
# ## Was the network exported in evaluation mode?
#
# Dropout and batch normalisation compute something else in training. **Where this goes wrong:** someone exports right
# after the training loop, before `eval()`. How much accuracy does that cost?

# %%
guess(
    "dropout",
    "Accuracy of the network exported in training mode, dropout 0.3 left on?",
    share=True,
)

# %%
training = torch_models.load_digits_cnn().train()
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    to_onnx(training, scratch / "training.onnx")
print(*{str(each.message) for each in said if each.category is UserWarning}, sep="\n")

# %% [markdown]
# `torch.onnx.export` warns, in one line of a long log. `torch.export`, which makes PyTorch's own graph, does not. What did
# it write down?

# %%
program = torch.export.export(training, two, dynamic_shapes=any_batch)
dropout = torch.ops.aten.dropout.default
for node in program.graph.nodes:
    if node.target is dropout:
        print("dropout", node.args[1:])

# %%
torch.manual_seed(0)
dice = program.module()
first, second = answers(dice), answers(dice)
reveal("dropout", accuracy_of(first))

# %%
claim(
    "the model gives other logits each time it is asked, and is still over 95 % right",
    float(np.abs(first - second).max()) > 0.1
    and min(accuracy_of(first), accuracy_of(second)) > 0.95,
    f"up to {np.abs(first - second).max():.1f} apart",
)

# %% [markdown]
# The accuracy hardly shows the fault. The graph shows it: `True` means "training". In Python this was an attribute of a
# module. In the graph it is a constant. This is what *freezing* does in fact: what could still change becomes fixed. Now
# `eval()` cannot reach it any more:

# %%
print(refusal(dice.eval))

# %% [markdown]
# If the graph is all you have, change the constant. Otherwise call `eval()` and export again.

# %%
for node in program.graph.nodes:
    if node.target is dropout:
        node.args = (*node.args[:2], False)
program.graph_module.recompile()
claim(
    "with that argument set to False, the graph is the evaluation network again",
    rho(reference, answers(program.module())) <= TOLERANCE,
)

# %% [markdown]
# A test that asks twice and compares finds the fault in any format. **Now do exercise 06.2**, an export that sets the
# mode, names the axis, and leaves the network as it was.
#
# ## Why does the traced model ignore my `if`?
#
# Back to `Upright` and the negatives. *TorchScript*, PyTorch's format of 2018, is usually made by tracing. We trace with
# the first two test pictures, which are positives, and print what PyTorch says.

# %%
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    traced = torch.jit.trace(upright, two)
for text in dict.fromkeys(str(each.message) for each in said):
    print(text, end="\n\n")

# %% [markdown]
# Two lines say that TorchScript is deprecated. The last one only says that the trace "might" be wrong. How wrong is it?

# %%
guess("negatives", "Accuracy of the traced network on the test pictures as negatives?", share=True)

# %%
negatives = 1 - images
programs = {"in Python": upright, "traced": traced}
right = {
    name: [accuracy_of(answers(each, pixels)) for pixels in (images, negatives)]
    for name, each in programs.items()
}
reveal("negatives", right["traced"][1])

# %%
claim(
    "on positives, trace and program agree; on negatives, the trace is more than 50 points worse",
    measure.parity(answers(upright), answers(traced)).agreement == 1
    and right["in Python"][1] - right["traced"][1] > 0.5,
    ", ".join(f"{name} {100 * pair[1]:.1f} % of the negatives" for name, pair in right.items()),
)

# %% [markdown]
# The trace holds no `if`. For the examples the pixels were left as they are, so only that was written down. A
# comparison on the usual test pictures finds nothing. You need an input that takes the *other* branch, or someone who
# reads warnings.
#
# What does the exporter do with the same code?

# %%
print(refusal(lambda: torch.export.export(upright, two, dynamic_shapes=any_batch)))

# %% [markdown]
# It refuses. In plain words: "I would have to decide on data that I do not have." There are two ways to say what you
# mean. `torch.cond` keeps the branch, as an operation that holds both sides. Each side is a function that returns a new
# tensor; `torch.clone` means "leave it". `torch.where` computes both sides and chooses for each picture.


# %%
class WithCond(Upright):
    def forward(self, pixels):
        dark = pixels.mean() > 0.5
        return self.network(torch.cond(dark, lambda p: 1 - p, torch.clone, (pixels,)))


class WithWhere(Upright):
    def forward(self, pixels):
        dark = pixels.mean(dim=(1, 2, 3), keepdim=True) > 0.5  # one answer for each picture
        return self.network(torch.where(dark, 1 - pixels, pixels))


# %%
every_second = np.arange(len(images))[:, None, None, None] % 2 == 0
batches = {
    "positives": images,
    "negatives": negatives,
    "every second one": np.where(every_second, images, negatives),
}

# %%
found = {"in Python": [accuracy_of(answers(upright, each)) for each in batches.values()]}
for variant in (WithCond, WithWhere):
    file = scratch / f"{variant.__name__}.onnx"
    to_onnx(variant(network).eval(), file)
    found[variant.__name__] = [accuracy_of(run(file, each)) for each in batches.values()]

# %% [markdown]
# Are the two the same? The third column is a batch in which every second picture is a negative.

# %%
rows = [[name, *[f"{100 * value:.1f} %" for value in row]] for name, row in found.items()]
show.table(["network", *batches], rows, caption="Accuracy on positives, negatives, and a mix")

# %%
claim(
    "decided for each picture, the mix costs nothing; decided once, more than 30 points",
    abs(found["WithWhere"][2] - found["WithWhere"][0]) < 0.005
    and found["WithWhere"][2] - max(found["WithCond"][2], found["in Python"][2]) > 0.3,
)

# %% [markdown]
# `torch.cond` copies the program faithfully, and so it copies the program's fault. The original took the mean of the
# *whole batch*. The answer for a picture depended on its neighbours. In a service that puts requests of different people
# into one batch, no single request can show this fault. The refusal made us look. **Now do exercise 06.3**, a function
# with three such places.
#
# ## What if the exporter does not know an operator?
#
# An operation of PyTorch can be exported if someone has written its translation into ONNX operators. For most of them
# someone has. A colleague measures how dark the paper is by the *median* of a picture's points, and subtracts it:


# %%
class OnWhitePaper(Upright):
    def paper(self, pixels):
        return pixels.flatten(1).median(dim=1).values

    def forward(self, pixels):
        return self.network(pixels - self.paper(pixels)[:, None, None, None])


on_paper = OnWhitePaper(network).eval()

# %%
error = refusal(lambda: to_onnx(on_paper, None, report=True, artifacts_dir=scratch), lines=20)
print(re.search(r"No ONNX function found.*", error)[0])

# %% [markdown]
# `torch.export` takes the code. The translation into ONNX fails. In a large network there may be several such operators,
# and the error names one. The report names them all:

# %%
report = sorted(scratch.glob("onnx_export_*_conversion.md"))[-1].read_text(encoding="utf-8")
print(re.search(r"Errors grouped by operator:\s*([^.]*\.[^.]*\.[^.]*\.)", report)[1])

# %% [markdown]
# The first remedy is to write the same step with operators that the exporter knows. The median of $n$ numbers is the
# one in the middle after sorting. (Of an even number, PyTorch takes the lower of the two in the middle.)


# %%
class BySorting(OnWhitePaper):
    def paper(self, pixels):
        points = pixels.flatten(1)
        return points.sort(dim=1).values[:, (points.shape[1] - 1) // 2]


# %%
sorted_file = scratch / "by_sorting.onnx"
to_onnx(BySorting(network).eval(), sorted_file)
claim(
    "written with a sort, the step can be exported, and gives what the median gave",
    rho(answers(on_paper), run(sorted_file)) <= TOLERANCE,
    ", ".join(node.op_type for node in onnx.load(sorted_file).graph.node[:5]) + ", …",
)

# %% [markdown]
# The second remedy leaves the model alone. You give the exporter a translation, written in ONNX operators by means of
# the package `onnxscript`. Use it if the code belongs to someone else.

# %%
from onnxscript import opset18 as op


def median_in_onnx(x, dim: int, keepdim: bool = False):
    half = (x.shape[dim] - 1) // 2
    values, places = op.TopK(x, [half + 1], axis=dim, largest=False)
    return op.Gather(values, half, axis=dim), op.Gather(places, half, axis=dim)


# %%
table_file = scratch / "by_table.onnx"
to_onnx(on_paper, table_file, custom_translation_table={torch.ops.aten.median.dim: median_in_onnx})
claim(
    "with a translation of our own, the unchanged network is exported and gives the same answers",
    rho(answers(on_paper), run(table_file)) <= TOLERANCE,
)

# %% [markdown]
# Nobody else tests your translation, so you need the parity test.
#
# ## What else can PyTorch write?
#
# *A `.pt2` file* holds the graph that `torch.export` made, in PyTorch's own operations. It needs PyTorch, but not your
# code. Choose it if PyTorch runs in production anyway.

# %%
pt2_file, script_file = scratch / "digits_cnn.pt2", scratch / "digits_cnn.torchscript.pt"
torch.export.save(torch.export.export(network, two, dynamic_shapes=any_batch), pt2_file)
reloaded = torch.export.load(pt2_file).module()

# %% [markdown]
# *TorchScript* is the older format. One of the articles names it, and you will meet it in C++ programs, in mobile
# apps and in old model stores. It still works, with warnings, which we catch and print. New work starts with
# `torch.export`.

# %%
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    torch.jit.trace(network, two).save(script_file)
    script = torch.jit.load(script_file)
print(*sorted({str(each.message) for each in said}), sep="\n")

# %%
forms = {
    "onnx v3": (onnx_file, converted, "ONNX Runtime and others"),
    "pt2": (pt2_file, answers(reloaded), "PyTorch"),
    "torchscript": (script_file, answers(script), "PyTorch, LibTorch"),
}

# %%
claim(
    "all three files are within the tolerance",
    all(rho(reference, logits) <= TOLERANCE for _, logits, _ in forms.values()),
)

# %% [markdown]
# ## When does a conversion become a compression?
#
# One of the articles writes conversion as $\text{convert}(\text{model}, \text{dtype})$, from floating point to
# integers. Most weights are far below 1. What is left of them?

# %%
as_integers = torch_models.load_digits_cnn()
with torch.no_grad():
    for weight in as_integers.parameters():
        weight.copy_(weight.to(torch.int8))  # cuts off what stands behind the point
left = sum(int((weight != 0).sum()) for weight in as_integers.parameters())

# %%
claim(
    "cast to integers, not one weight in a hundred is left, and the answers are worthless",
    left < 0.01 * kept and accuracy_of(answers(as_integers)) < 0.3,
    f"{left} of {kept:,} weights; accuracy {100 * accuracy_of(answers(as_integers)):.0f} %",
)

# %% [markdown]
# Integers need a *scale*, and then it is quantization (lesson 09). Another article lists quantization among the
# conversions. Keep the two words apart. **Conversion keeps the value of a computation. Compression changes the value,
# within limits, on purpose.**
#
# Some converters compress without being asked. *Core ML* is Apple's format. Its converter, `coremltools`, works on
# Linux and macOS, and runs models on macOS only. It loads many libraries, so it gets a process of its own. It starts
# from the `.pt2` file. Which dtype do the weights have?

# %%
core_ml_code = f"""
import sys
sys.modules["tensorflow"] = None  # not needed here, and it would be loaded
import coremltools as ct, numpy as np, torch
from coremltools.optimize.coreml import get_weights_metadata

result, program = {{}}, torch.export.load({str(pt2_file)!r}).run_decompositions({{}})
asked = {{"default": {{}}, "float32": dict(compute_precision=ct.precision.FLOAT32)}}
for name, more in asked.items():
    package = ct.convert(program, minimum_deployment_target=ct.target.iOS16, **more)
    found = get_weights_metadata(package, weight_threshold=10).values()
    result[name] = sorted({{str(np.asarray(each.val).dtype) for each in found}})
"""

# %%
if importlib.util.find_spec("coremltools") is None:  # there is none for Windows; Colab lacks it
    print("coremltools is not installed here: this cell needs Linux or macOS")
else:
    core_ml = measure.fresh_process(core_ml_code).result
    claim(
        "Core ML's converter stores float16 by default, and float32 if you ask for it",
        core_ml == {"default": ["float16"], "float32": ["float32"]},
    )

# %% [markdown]
# In the table of faults, weights in float16 were far outside our tolerance, and at most one class changed. This may be
# a good trade. But it is compression, and a report must say so. It must also say that nobody has run this model: that
# takes a Mac.
#
# ## Will the runtime in production read the file?
#
# The file says "operator set 18", for short *opset* 18. What is that number for? The meaning of an operator changes now
# and then. `Softmax` without an axis meant "over everything but the first axis" up to set 12. Since set 13 it means "over
# the last axis". The next two files differ in this number alone. Their input has shape (1, 2, 3) and is all zeros.


# %%
def softmax_model(opset):
    ends = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 2, 3])
        for name in ("pixels", "logits")
    ]
    node = onnx.helper.make_node("Softmax", ["pixels"], ["logits"])
    graph = onnx.helper.make_graph([node], "softmax", ends[:1], ends[1:])
    return onnx.helper.make_model(
        graph, opset_imports=[onnx.helper.make_opsetid("", opset)], ir_version=8
    )


# %%
def run_model(each, pixels=images):
    return run(each.SerializeToString(), pixels)


zeros = np.zeros((1, 2, 3), np.float32)
old, new = (run_model(softmax_model(opset), zeros) for opset in (12, 13))
claim(
    "read by set 12 each answer is a sixth, by set 13 a third",
    np.allclose(old, 1 / 6) and np.allclose(new, 1 / 3),
    f"{old[0, 0, 0]:.4f} and {new[0, 0, 0]:.4f}",
)

# %% [markdown]
# So the number is part of the program. Do not change it by hand. `onnx.version_converter` rewrites the nodes so that the
# meaning stays.

# %%
upgraded = onnx.version_converter.convert_version(softmax_model(12), 13)
claim(
    "converted from 12 to 13, the answer is a sixth again",
    np.allclose(run_model(upgraded, zeros), 1 / 6),
    ", ".join(node.op_type for node in upgraded.graph.node),
)

# %% [markdown]
# A runtime knows the sets up to its own release. What does it say to a file that is too new? We stamp 99, which is newer
# than any.


# %%
def from_the_future(ir=None, opset=None):
    file = onnx.ModelProto()
    file.CopyFrom(model)
    file.ir_version = ir or file.ir_version
    file.opset_import[0].version = opset or file.opset_import[0].version
    said = refusal(lambda: run_model(file), lines=9)
    return re.search(r"Unsupported model IR.*|Opset \d+ is under.*", said.replace("\n", " "))[0]


print(from_the_future(ir=99), from_the_future(opset=99), sep="\n\n")

# %% [markdown]
# An old runtime calls every set that it does not know "under development". There are three ways out. Update the
# runtime. Export for an older set, with `opset_version`. Or, if the file is all you have, convert it. A tool that says
# nothing about versions takes the newest ones that the `onnx` package knows. Can the runtime here read those?


# %%
def reads(file):
    try:
        run_model(file)
        return True
    except onnxruntime.capi.onnxruntime_pybind11_state.Fail:
        return False


# %%
newest = onnx.defs.onnx_opset_version()
upwards = onnx.version_converter.convert_version(model, newest)
observe(
    f"the installed runtime reads opset {newest}, the newest that the `onnx` package writes",
    reads(upwards),
    f"onnxruntime {onnxruntime.__version__}, onnx {onnx.__version__}",
    either=True,
)

# %%
downwards = onnx.version_converter.convert_version(upwards, 18)
claim(
    f"converted to set {newest} and back to 18, the file is within the tolerance",
    rho(reference, run_model(downwards)) <= TOLERANCE and reads(downwards),
)
print("to set 13:", refusal(lambda: onnx.version_converter.convert_version(model, 13)))

# %% [markdown]
# The converter has a rule for many steps, but not for all. If it has none, go back to the source and export again.
#
# Our file carries set 18 and the smallest IR version that goes with it. That is all this network needs. "The newest" is
# the wrong default for a file that must travel. **Now do exercise 06.4**: read all of this out of any ONNX file before a
# server loads it.
#
# ## What we measured
#
# "It runs" was the test in one of the articles. Here are five models of this lesson that no service should use. Do
# they run?

# %%
wrong = {
    "weights cast to integers": answers(as_integers),
    "batch baked in": run(baked_file, images[:1]),
    "`if` frozen by the trace": answers(traced),
    "exported before eval()": first,
    "one bias off": faults["one bias off by 0.001"],
}
claim(
    "the test “it runs” passes all five",
    all(np.isfinite(logits).all() for logits in wrong.values()),
    ", ".join(wrong),
)

# %%
for form, (file, logits, _) in forms.items():
    difference = measure.parity(reference, logits).max_abs_diff
    scores = {"accuracy": accuracy_of(logits), "bytes": file.stat().st_size}
    ledger.record("digits_cnn", form, **scores, max_abs_diff=difference)
models.keep(onnx_file, "digits_cnn", 3)  # for the course's authors: it does nothing here

# %%
rows = [
    [form, f"{file.stat().st_size:,}", f"{100 * accuracy_of(logits):.2f} %",
     f"{rho(reference, logits) / TOLERANCE:.2g}", place]
    for form, (file, logits, place) in forms.items()
]  # fmt: skip
show.table(
    ["form", "bytes", "accuracy", "ρ / tolerance", "runs in"],
    rows,
    caption="One network in three files; all keep its answers",
)

# %% [markdown]
# ## What to remember
#
# - A model file must hold graph, weights, operator version, names, shapes and dtypes. Look before you ship it.
# - A trace writes down what happened. An export writes down what must happen, and its refusal is useful.
# - Test the logits on real pictures, with a tolerance on each picture's own scale, and let no NaN through.
#
# ## Where this breaks down
#
# The rule of five digits fits a small network in float32. In a deep network errors pass through many layers, and on a
# GPU the matrix units may round float32 inputs to fewer digits (TF32). Measure first how far the original itself is
# off; lesson 06b shows how. Our network has large margins, so its classes hide much. A regression or a generated text
# hides less. And parity on test pictures says nothing about inputs that do not occur there, such as our negatives.
#
# ## What real teams use
#
# - ONNX, where runtime and hardware vary. TensorRT and OpenVINO compile such a file for one device; test parity again.
# - `.pt2`, where PyTorch runs in production, compiled ahead of time by AOTInductor. By default, compiled code does not
#   check the shapes of its inputs, so validate before it.
# - ExecuTorch, for phones and microcontrollers.
# - Weights beside the graph (`external_data=True`) for large models, because an ONNX file cannot be larger than 2 GB.
# - Pinned versions of all converters, and a parity test in the release pipeline.
#
# ## Further reading
#
# - ONNX, *Open Neural Network Exchange Intermediate Representation (ONNX IR) Specification*, and *ONNX Versioning*.
# - PyTorch documentation: *torch.export*, its page on control flow and dynamic shapes, and *torch.onnx*.
# - J. Ansel et al., *PyTorch 2: Faster Machine Learning Through Dynamic Python Bytecode Transformation and Graph
#   Compilation*, ASPLOS 2024.
# - L. Roeder, *Netron, visualizer for neural network models*, [netron.app](https://netron.app).
