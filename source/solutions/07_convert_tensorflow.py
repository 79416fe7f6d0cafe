# %% [markdown]
# # 07 Convert from TensorFlow: exercises
#
# Fill in what is missing, run the cell, then its check. The exercises need NumPy and the standard library only.

# %%
import io
import json
import zipfile

import numpy as np

from course_lib.idioms import begin, check

scratch = begin("07")

# %% [markdown]
# ## 07.1 Turn the pictures ★☆☆ · 5 minutes
#
# A camera's driver delivers colour pictures with the channel first, (N, C, H, W). The Keras model wants the channel
# last, (N, H, W, C). A colleague used `reshape`: the shapes fitted, and every picture was scrambled. Another
# colleague used `transpose`. That is right in NumPy, but a runtime that copies raw memory still saw the old order. So
# your answer needs memory of its own.


# %%
def channels_last(batch):
    """Brings a batch of pictures from channels first to channels last.

    batch: array (N, C, H, W), of any dtype; it may be a view with gaps, and N may be 0. Returns
    a new array (N, H, W, C) of the same dtype, with memory of its own, in row-major order with
    the strides that a fresh array of that shape has; `batch` is left as it was. Raises
    ValueError for another number of axes.
    """
    # SOLUTION
    if batch.ndim != 4:
        raise ValueError(f"expected four axes (N, C, H, W), got shape {batch.shape}")
    turned = batch.transpose(0, 2, 3, 1)
    fresh = np.empty(turned.shape, batch.dtype)
    fresh[...] = turned
    return fresh


# %%
check("07.1", channels_last)

# %% [markdown] tags=["solution"]
# `reshape` leaves the numbers where they are in memory, and counts them in another way. `transpose` leaves them too. It
# changes the *strides*: how far it is in memory to the next number along each axis. Only a copy moves the numbers.
# `np.ascontiguousarray` looks like the short way, but it copies only if it must. With one channel the turned array
# already counts as contiguous. Then you get the caller's own memory back, with unusual strides. `np.array(turned,
# order="C")` always copies.

# %% [markdown]
# ## 07.2 The layer after the flattening ★★☆ · 10 minutes
#
# A team moves from PyTorch to Keras and wants to keep a trained network. They transposed the weights of all layers. All
# shapes fit, and the new model reads hardly a picture.
#
# The reason is the first dense layer after the flattening. Its inputs are the activations at channel $c$, row $h$,
# column $w$. PyTorch flattens them with the channel first, Keras with the channel last, so one activation is input
# number
#
# $$p = c\,HW + h\,W + w \quad\text{in PyTorch, and}\qquad q = h\,WC + w\,C + c \quad\text{in Keras.}$$
#
# A dense layer's weight has the shape (outputs, inputs) in PyTorch, and (inputs, outputs) in Keras. Write the step that
# moves it.


# %%
def keras_kernel(weight, channels, height, width):
    """The Keras kernel of the first dense layer after a flattening, from PyTorch's weight.

    weight: array (M, C·H·W), from activations that were flattened channels first to M outputs; any
    floating dtype; it may be a view with gaps. channels, height, width: C, H, W of the
    activations before they were flattened. Returns an array (H·W·C, M) of the same dtype: with
    activations flattened channels last, it gives the same M outputs. Raises ValueError where
    weight has another number of axes than two, or its second axis is not C·H·W long.
    """
    # SOLUTION
    if weight.ndim != 2 or weight.shape[1] != channels * height * width:
        raise ValueError(
            f"expected (M, {channels * height * width}) for {channels} × {height} × {width}, "
            f"got {weight.shape}"
        )
    outputs = len(weight)
    by_place = weight.reshape(outputs, channels, height, width)
    return by_place.transpose(2, 3, 1, 0).reshape(height * width * channels, outputs)


# %%
check("07.2", keras_kernel)

# %% [markdown] tags=["solution"]
# The solution gives the flat axis its three axes back, turns all four, and flattens again. A second way follows the
# formulas: compute $p$ and $q$ for all $c$, $h$, $w$, and write `kernel[q] = weight.T[p]`. A third is shorter. The
# places keep their order among themselves, so `weight.reshape(M, C, H * W).transpose(2, 1, 0).reshape(-1, M)` is
# enough. A good test needs none of this: take random activations and flatten them both ways. The outputs must be the
# same.

# %% [markdown]
# ## 07.3 A gate for conversions ★★★ · 20 minutes
#
# A release pipeline converts the model every night. Its gate compares the classes of a few hundred images. One night it
# let a broken conversion pass, because no class of these images had changed. Write a gate that compares the logits, and
# that lists the images whose class such a difference could change.


# %%
def gate(reference, answer, tolerance):
    """Whether a conversion may pass, and which examples a difference so large could turn.

    reference, answer: real numbers (N, C), any dtype, N from 1, C from 2. tolerance: 0 or more,
    finite. Differences and leads are in float64. Returns (passes, at_risk): `passes`, a plain bool,
    True where every entry of both is finite and none differs by more than `tolerance`;
    `at_risk`, an int array with the indices, ascending, of the examples whose largest reference
    leads the second by at most 2·tolerance, and of those with an entry of the reference that is
    not finite. Raises ValueError for shapes that differ, another number of axes, no example,
    fewer than two classes, and another tolerance.
    """
    # SOLUTION
    if reference.shape != answer.shape or reference.ndim != 2:
        raise ValueError(f"expected one shape (N, C), got {reference.shape} and {answer.shape}")
    if len(reference) == 0 or reference.shape[1] < 2 or not 0 <= tolerance < np.inf:
        raise ValueError(
            f"expected examples, two classes, a tolerance; got {reference.shape}, {tolerance}"
        )
    expected, got = reference.astype(np.float64), answer.astype(np.float64)
    known = np.isfinite(expected).all(axis=1)
    safe = np.where(known[:, None], expected, 0.0)  # a row of zeros leads by nothing
    second, first = np.partition(safe, -2, axis=1)[:, -2:].T
    apart = np.full(expected.shape, np.inf)
    np.subtract(got, expected, out=apart, where=np.isfinite(got) & np.isfinite(expected))
    return bool((abs(apart) <= tolerance).all()), np.flatnonzero(first - second <= 2 * tolerance)


# %%
check("07.3", gate)

# %% [markdown] tags=["solution"]
# Within the tolerance only the examples in `at_risk` can change their class, as the lesson derives. So read both
# results. If the gate passes and the list is long, the tolerance is too coarse for this model. If the list is empty,
# no class can have changed. Float64 matters: in float16 the distance from 60,000 to −60,000 is infinite, and unsigned
# bytes wrap around. You may use `np.sort` instead of `np.partition`, which finds the two largest without ordering the
# rest.

# %% [markdown]
# ## 07.4 Look before you load ★★★ · 20 minutes
#
# A partner sends you a `.keras` file. May you load it? Keras's safe mode refuses code by default, but it had holes in
# some versions. You can also look into the file first, without Keras. The archive's `config.json` describes every
# layer, and Python code in the file must stand there too: as a layer of the class `Lambda`, or as an object of the
# class `__lambda__`, which holds bytecode.
#
# The file comes from a stranger, so expect damage and tricks. Your scanner must not crash with a surprising error.


# %%
def layers_with_code(raw):
    """The names of the parts that carry Python code in a Keras archive.

    raw: bytes of a .keras file, a zip archive whose `config.json` is a JSON object. In it, at
    any depth, inside lists too, an object {"class_name": …, "config": {"name": …, …}, …} whose
    name is a string is a part. A part carries code if its class is "Lambda", or if an object of
    class "Lambda" or "__lambda__" lies in it and in no smaller part. Returns the names of these
    parts in the order in which they begin in the file, each once. Runs and loads nothing.
    Raises ValueError for everything that it cannot read: bytes that are not a zip archive, an
    archive that is damaged or encrypted, a config.json that is missing, nested too deeply or
    not a JSON object. Raises ValueError also for code that lies in no part.
    """
    # SOLUTION
    carriers = {}  # name → whether it carries code, in the order in which they begin

    def visit(item, part):
        if isinstance(item, dict):
            settings = item.get("config")
            name = settings.get("name") if isinstance(settings, dict) else None
            if "class_name" in item and isinstance(name, str):
                part = name
                carriers.setdefault(part, False)
            if item.get("class_name") in ("Lambda", "__lambda__"):
                if part is None:
                    raise ValueError("expected code inside a part with a name only")
                carriers[part] = True
        inner = item.values() if isinstance(item, dict) else item if isinstance(item, list) else ()
        for each in inner:
            visit(each, part)

    try:
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            config = json.loads(archive.read("config.json"))
        if not isinstance(config, dict):
            raise ValueError(f"expected a JSON object, got {type(config).__name__}")
        visit(config, None)
    except Exception as broken:  # zipfile, zlib and json raise a dozen kinds of error
        raise ValueError(f"expected a readable Keras archive: {broken!r}") from None
    return [name for name, carries in carriers.items() if carries]


# %%
check("07.4", layers_with_code)

# %% [markdown] tags=["solution"]
# The walk visits everything. A layer may sit in a model inside a model, or in a wrapper such as `TimeDistributed`. And
# code need not be a layer: an activation can be a lambda. The walk looks at classes, not at text, so a dense layer that
# somebody named "Lambda" raises no alarm.
#
# `except Exception` is right here, and wrong almost everywhere else. A damaged archive raises `zlib.error`, an
# encrypted one `RuntimeError`, a strange compression method `NotImplementedError`, and deep nesting `RecursionError`.
# Nobody knows the full list, and a scanner that crashes on a strange file is a scanner that somebody will switch off.
#
# This finds one trick only. A list of what *is* allowed (Keras's own classes, by module) is the stronger rule for files
# from outside.
