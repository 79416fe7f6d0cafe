# %% [markdown]
# # 07 Convert from TensorFlow: exercises
#
# Four pieces of a conversion that can be trusted. Fill in what is missing, run the cell, then its check. They need
# NumPy and the standard library only.

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
# A camera's driver delivers pictures channels first, the model wants them channels last. Somebody wrote `reshape`; the
# shapes fit, and every colour picture was scrambled. Somebody else wrote `transpose`, and a runtime that reads raw
# memory saw the old order.


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
# `reshape` keeps the numbers in memory where they are and counts them anew. `transpose` keeps them too and changes the
# *strides*, how far it is to the next number along each axis. Only a copy moves them. `np.ascontiguousarray` looks
# like the short way, and copies only where it must: with one channel the turned array already counts as contiguous, so
# you get the caller's own memory back, with unusual strides. `np.array(turned, order="C")` is the one-liner that
# always copies.

# %% [markdown]
# ## 07.2 The layer after the flattening ★★☆ · 10 minutes
#
# A team moves from PyTorch to Keras and wants to keep a year of training. Convolutions and dense layers were
# transposed, all shapes fit, and the model reads hardly a picture. You know why: write the step as it should have been.


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
# Give the flat axis its three axes back, turn all four, flatten again: the formulas of the lesson without a single
# index. The second way is the lesson's own: compute $p$ and $q$ and write `kernel[q] = weight.T[p]`. A third is
# shorter than both: the places keep their order among themselves, so `weight.reshape(M, C, H * W).transpose(2, 1, 0)`
# does it. The test that catches a mistake needs no knowledge of any: random activations, flattened both ways, must
# give the same outputs.

# %% [markdown]
# ## 07.3 A gate for conversions ★★★ · 20 minutes
#
# The release pipeline converts the model every night. Its gate compares classes on a few hundred images, and one night
# it let a broken scale pass, because no class had changed *yet*. Write the gate that compares the numbers, and names
# the images whose class hangs in the balance.


# %%
def gate(reference, answer, tolerance):
    """Whether a conversion may pass, and which examples a difference so large could turn.

    reference, answer: real numbers (N, C), any dtype, N from 1, C from 2. tolerance: 0 or more,
    finite. Differences are taken in float64. Returns (passes, at_risk): `passes`, a plain bool,
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
# The theorem of the lesson in code: within the tolerance, only the examples in `at_risk` can change their class. So
# read both results. A gate that passes with a long list says that the tolerance is too coarse for this model; one with
# an empty list needs no comparison of classes at all. Float64 matters: two float16 logits of 60,000 and −60,000 are
# infinitely far apart in float16, and unsigned bytes wrap around. `np.sort` in place of `np.partition` does as well;
# `partition` finds the two largest without ordering the rest.

# %% [markdown]
# ## 07.4 Look before you load ★★★ · 20 minutes
#
# "A partner sent us a `.keras` file. May I load it?" Safe mode is one answer, and its record is mixed. Another is to
# look: the archive's `config.json` lists every layer, and bytecode must stand in it somewhere.


# %%
def layers_with_code(raw):
    """The names of what carries Python code in a Keras archive.

    raw: bytes of a .keras file, a zip archive whose `config.json` is a JSON object. In it, at
    any depth, inside lists too, an object {"class_name": …, "config": {"name": …, …}, …} is a
    part with a name. A part carries code where its class is "Lambda", or where an object of class
    "__lambda__" lies in it and in no smaller part. Returns these parts' names in the order in
    which they begin in the file, each once. Runs and loads nothing. Raises ValueError for bytes
    that are no zip archive, and for a config.json that is missing or no JSON object.
    """
    # SOLUTION
    try:
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            config = json.loads(archive.read("config.json"))
    except (zipfile.BadZipFile, KeyError) as broken:
        raise ValueError(f"expected a zip archive with a config.json: {broken}") from None
    if not isinstance(config, dict):
        raise ValueError(f"expected a JSON object, got {type(config).__name__}")
    carriers = {}  # name → whether it carries code, in the order in which they begin

    def visit(item, part):
        if isinstance(item, dict):
            settings = item.get("config")
            if "class_name" in item and isinstance(settings, dict) and "name" in settings:
                part = settings["name"]
                carriers.setdefault(part, False)
            if item.get("class_name") in ("Lambda", "__lambda__") and part is not None:
                carriers[part] = True
        for each in (
            item.values() if isinstance(item, dict) else item if isinstance(item, list) else ()
        ):
            visit(each, part)

    visit(config, None)
    return [name for name, carries in carriers.items() if carries]


# %%
check("07.4", layers_with_code)

# %% [markdown] tags=["solution"]
# The walk visits everything, because a layer may sit in a model in a model, in a wrapper such as `TimeDistributed`, or
# not be a layer at all: an activation may be a lambda. It looks at classes, not at text, so a dense layer that
# somebody named "Lambda" raises no alarm. And it turns the errors of `zipfile` into the promised one: `BadZipFile` and
# `KeyError` are no ValueErrors, and a scanner that crashes on a strange file is a scanner that somebody will switch
# off. It finds this one trick. A list of what *is* allowed (Keras's own classes, by module) is the stronger rule, and
# the one to use for files from outside.
