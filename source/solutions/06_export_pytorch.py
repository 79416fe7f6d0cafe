# %% [markdown]
# # 06 Export from PyTorch: exercises
#
# Four tools for the day on which a model goes into production. Fill in what is missing, run the cell, then its check.

# %%

import numpy as np
import onnx
import torch

from course_lib.idioms import begin, check

scratch = begin("06")
torch.set_num_threads(1)

# %% [markdown]
# ## 06.1 The test that a NaN passed ★☆☆ · 10 minutes
#
# A team's parity test was green for a month: `assert not (abs(a - b) > tolerance).any()`. The converted model had
# answered NaN all that time, and a NaN is not greater than anything. Write the comparison again, on the scale of the
# lesson's $\rho$, and let nothing slip through.


# %%
def at_parity(reference, answer, tolerance):
    """Whether a converted model answers as the reference does.

    reference, answer: float arrays (N, C) of any float dtypes, N from 1. tolerance: 0 or more. An
    example whose reference logits are all finite passes where its largest |answer − reference| is
    at most `tolerance` times its own largest |reference|. An example with a NaN or an infinity in
    the reference passes where every entry is the same, NaN for NaN, each infinity for its like.
    Compares in float64. Returns a plain bool: whether all examples pass. Raises ValueError for
    shapes that differ, that are not (N, C), and for no example.
    """
    # SOLUTION
    if reference.shape != answer.shape or reference.ndim != 2 or len(reference) == 0:
        raise ValueError(f"expected one shape (N, C), got {reference.shape}, {answer.shape}")
    expected, got = reference.astype(np.float64), answer.astype(np.float64)
    plain = np.isfinite(expected).all(axis=1)
    apart = np.abs(got[plain] - expected[plain]).max(axis=1, initial=0.0)
    close = apart <= tolerance * np.abs(expected[plain]).max(axis=1, initial=0.0)
    return bool(close.all() and np.array_equal(expected[~plain], got[~plain], equal_nan=True))


# %%
check("06.1", at_parity)

# %% [markdown] tags=["solution"]
# The comparison asks what must be *true* (`<=`, then `all`), not whether something is wrong (`>`, then `any`). Every
# comparison with a NaN is false, so a NaN fails. NumPy's maximum of a row that holds a NaN is NaN, which carries it to
# the comparison. Python's own `max` does not: its answer depends on the place of the NaN.
# `np.array_equal(…, equal_nan=True)` compares the odd rows, because the difference of two equal infinities is NaN.
# `np.testing.assert_allclose` treats both the same way, but its scale is each entry's own, not the example's.

# %% [markdown]
# ## 06.2 An export that nobody can get wrong ★★☆ · 15 minutes
#
# "We exported in training mode. Again." Write the function that the team calls from now on. The network belongs to
# someone else, perhaps in the middle of its training. Leave it as it was.


# %%
def exported(network, example):
    """Exports a network for batches of any size, in evaluation mode.

    network: a torch module that maps inputs (N, …) to outputs (N, …), in any mode. example: a
    tensor (N, …), N from 1. Returns a torch.export.ExportedProgram whose axis 0 may have any size
    from 1; every other axis keeps the example's size. Afterwards every module of the network is in
    the mode in which it was, also where the export raised an error, which goes on to the caller.
    Raises ValueError for an example without a picture.
    """
    # SOLUTION
    if len(example) == 0:
        raise ValueError("expected an example of one picture or more, got none")
    if len(example) == 1:  # a size of 1 would become part of the program
        example = torch.cat([example, example])
    modes = [(module, module.training) for module in network.modules()]
    try:
        network.eval()
        return torch.export.export(
            network, (example,), dynamic_shapes=[{0: torch.export.Dim("batch")}]
        )
    finally:
        for module, training in modes:
            module.training = training


# %%
check("06.2", exported)

# %% [markdown] tags=["solution"]
# `network.train(was_training)` at the end would set *every* module to one mode, and some may have been frozen on
# purpose: batch normalisation layers in a network that is being fine-tuned, for example. So each module's own switch is
# kept. `finally` sets them back whatever happens. A second way is to export a copy, `copy.deepcopy(network).eval()`; it
# needs no setting back, and memory for two networks.

# %% [markdown]
# ## 06.3 No branch left behind ★★☆ · 20 minutes
#
# A colleague's preparation step works in the notebook and cannot be exported. It also has a fault: it decides once for
# the whole batch.
#
# ```python
# def prepare(pixels):
#     if pixels.max() > 1:  # 0 to 255
#         pixels = pixels / 255
#     if pixels.mean() > 0.5:  # a negative
#         pixels = 1 - pixels
#     if pixels.max() > 0:  # faint ink
#         pixels = pixels / pixels.max()
#     return pixels
# ```
#
# Write it so that each picture is treated on its own, and `torch.export` takes it for batches of any size.


# %%
def prepare(pixels):
    """The three steps above, each decided for each picture by itself, in the same order.

    pixels: float tensor (N, C, H, W), of any float dtype and strides, N from 1. Returns a new
    tensor of the same shape and dtype; the input is left alone. Where no ink is
    left after the second step the picture is 0; else, however faint, its largest value becomes 1.
    torch.export takes it with a dynamic batch, from an example of two pictures.
    """
    # SOLUTION
    each = (1, 2, 3)
    pixels = torch.where(pixels.amax(dim=each, keepdim=True) > 1, pixels / 255, pixels)
    pixels = torch.where(pixels.mean(dim=each, keepdim=True) > 0.5, 1 - pixels, pixels)
    largest = pixels.amax(dim=each, keepdim=True)
    return torch.where(largest > 0, pixels / largest, pixels)


# %%
check("06.3", prepare)

# %% [markdown] tags=["solution"]
# `torch.where` computes both sides and chooses, so the exporter has no decision to make. In the empty picture
# `pixels / largest` is 0/0, a NaN, and it is not chosen. A second way is to divide by
# `torch.where(largest > 0, largest, 1)`; choose it if gradients are needed, because a NaN would come back through them.
# Dividing by `largest.clamp(min=1e-8)` also avoids 0/0, but it leaves the faintest pictures faint. A Python loop over the
# pictures gives the right numbers and cannot be exported: it runs as many times as the example has pictures.

# %% [markdown]
# ## 06.4 Before it goes on the server ★★★ · 25 minutes
#
# "Someone dropped `final_v2.onnx` into the bucket. Which inputs does it want? Does it take batches? Will our runtime
# read it?" Write the inspector that the release pipeline runs before it loads anything.


# %%
FLOATS = {
    onnx.TensorProto.FLOAT,
    onnx.TensorProto.FLOAT16,
    onnx.TensorProto.DOUBLE,
    onnx.TensorProto.BFLOAT16,
}


def inspect_model(raw):
    """What a server must know about an ONNX model before it loads it.

    raw: bytes, of an ONNX file. Returns a plain dict with these keys:
    "inputs", "outputs": {name: (dtype, sizes)}. dtype is NumPy's name, "float32"; sizes is a
    tuple with an int for a fixed size, the name for one that varies, None for one of which nothing
    is said, and is None itself where not even the number of axes is declared. A value that is no
    tensor has its kind as dtype, "sequence", "map" or "optional", and None for sizes:
    scikit-learn's converter returns probabilities as a sequence of maps. Initialisers that are
    listed among the graph's inputs, as in old files, are no inputs.
    "operator_sets": {domain: version}; the standard domain, which may be written "", is "ai.onnx".
    "ir_version": int.
    "operators": sorted list of the operators used, each once; those inside subgraphs (the branches
    of an If, say, at any depth, and attributes that hold a list of graphs) count.
    "weights": entries of all initialisers with a dtype in FLOATS, subgraphs included.
    "external": True where an initialiser's numbers lie in another file.
    Raises ValueError for bytes that are no ONNX model: they cannot be parsed, or name no operator
    set.
    """
    # SOLUTION
    try:
        model = onnx.load_from_string(raw)
    except Exception as error:  # protobuf's own error types differ from version to version
        raise ValueError(f"expected an ONNX model: {error}") from None
    if not model.opset_import:
        raise ValueError(f"expected an ONNX model, got {len(raw)} bytes without an operator set")
    constants = {each.name for each in model.graph.initializer}
    graphs = list(_all_graphs(model.graph))
    tensors = [tensor for graph in graphs for tensor in graph.initializer]
    sizes = [int(np.prod(t.dims, dtype=object)) for t in tensors if t.data_type in FLOATS]
    return {
        "inputs": _declared(each for each in model.graph.input if each.name not in constants),
        "outputs": _declared(model.graph.output),
        "operator_sets": {each.domain or "ai.onnx": each.version for each in model.opset_import},
        "ir_version": model.ir_version,
        "operators": sorted({node.op_type for graph in graphs for node in graph.node}),
        "weights": sum(sizes),
        "external": any(t.data_location == onnx.TensorProto.EXTERNAL for t in tensors),
    }


def _all_graphs(graph):
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            inner = [attribute.g] if attribute.HasField("g") else []
            for each in [*inner, *attribute.graphs]:
                yield from _all_graphs(each)


def _declared(values):
    found = {}
    for value in values:
        kind = value.type.WhichOneof("value")
        if kind != "tensor_type":
            found[value.name] = (kind.removesuffix("_type") if kind else None, None)
            continue
        tensor = value.type.tensor_type
        dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type).name
        found[value.name] = (dtype, None)
        if tensor.HasField("shape"):
            found[value.name] = (dtype, tuple(_size(each) for each in tensor.shape.dim))
    return found


def _size(dimension):
    kind = dimension.WhichOneof("value")
    return getattr(dimension, kind) if kind else None


# %%
check("06.4", inspect_model)

# %% [markdown] tags=["solution"]
# Most people first write `dim_value or dim_param`. Where nothing is declared, protobuf answers with 0 or an empty string,
# a default that looks like a value. `WhichOneof` and `HasField` tell "0" from "not said", and a tensor from a sequence.
# The empty file is the same trap once more: zero bytes parse as a valid message in which nothing is set. A graph may hold
# graphs, so the walk over the nodes must go down. A second way to load is `onnx.load(file, load_external_data=False)`.
# Never let an inspector follow paths that a stranger's file names.
