# %% [markdown]
# # 25b On a phone and a microcontroller: exercises
#
# Three sums that you do before you have the board. Fill in what is missing, run the cell, then its check. Nothing here
# needs TensorFlow.

# %%
import math

import numpy as np

from course_lib.idioms import begin, check

scratch = begin("25b")

# %% [markdown]
# ## 25b.1 Prepare the input as the board does ★☆☆ · 10 minutes
#
# The camera's driver gives the count of dark points in each block, 0 to 16. The model wants int8.


# %%
def quantized_input(counts, scale, zero_point):
    """The counts of dark points, as the int8 model takes them.

    counts: whole numbers 0 to 16, an array of any shape and integer type. The float model takes
    counts / 16. scale: a float above 0. zero_point: an int, -128 to 127. Returns an int8 array
    of the same shape: q = round(x / scale) + zero_point, cut off at -128 and 127. Ties may
    round either way. Raises ValueError for a scale that is not above 0.
    """
    # SOLUTION
    if not scale > 0:
        raise ValueError(f"expected a scale above 0, got {scale}")
    q = np.round(np.asarray(counts, np.float64) / 16 / scale) + zero_point
    return np.clip(q, -128, 127).astype(np.int8)


# %%
check("25b.1", quantized_input)

# %% [markdown] tags=["solution"]
# Cut off first, convert afterwards: a float of 128 does not become 127 as int8, and on many machines it becomes −128, so
# that the darkest point turns into paper. There are only 17 possible counts. A board therefore has a second way: a table
# of 17 bytes, made once on the desktop, and no float at all.

# %% [markdown]
# ## 25b.2 How many multiplications, and how much flash? ★★☆ · 15 minutes
#
# A colleague sends a network as a list of layers and asks whether the board can take it.


# %%
def macs_and_flash(layers):
    """The multiply-accumulates of one answer, and the bytes of the constants in int8.

    layers: dicts, in order.
    {"kind": "conv", "out": (height, width, c_out), "filter": (height, width, c_in)}
    {"kind": "depthwise", "out": (height, width, c), "filter": (height, width)}: a filter a channel
    {"kind": "dense", "in": n_in, "out": n_out}
    {"kind": "pool"} and {"kind": "reshape"}: no products, no constants
    Weights take 1 byte. The first three kinds have a bias of 4 bytes for each output channel, or
    for each output of a dense layer. Products with padding count like others. Biases are no MACs.
    Returns (macs, flash_bytes), ints. Raises ValueError for another kind.
    """
    # SOLUTION
    macs = flash = 0
    for layer in layers:
        if layer["kind"] in ("pool", "reshape"):
            continue
        if layer["kind"] == "dense":
            weights, places, biases = layer["in"] * layer["out"], 1, layer["out"]
        elif layer["kind"] in ("conv", "depthwise"):
            height, width, channels = layer["out"]
            weights = math.prod(layer["filter"]) * channels
            places, biases = height * width, channels
        else:
            raise ValueError(f"expected a kind of the description, got {layer['kind']!r}")
        macs += weights * places
        flash += weights + 4 * biases
    return macs, flash


# %%
check("25b.2", macs_and_flash)

# %% [markdown] tags=["solution"]
# A filter's weights are read once for each place of the output, so MACs are weights times places. A dense layer has one
# place. That is why the dense layer fills the flash and the convolution takes the time. A depthwise filter looks at one
# channel only, which saves a factor of the number of input channels: the idea of MobileNet.

# %% [markdown]
# ## 25b.3 What is the smallest arena? ★★★ · 20 minutes
#
# The firmware engineer wants to know how much RAM to reserve, before anything is built. In a chain of operators the
# answer is the largest sum of input and output. With a residual connection another tensor stays alive meanwhile.


# %%
def least_arena(operators, bytes_of, inputs, outputs):
    """The least number of bytes that hold the activations at every moment.

    operators: in the order in which they run, pairs (names read, names written). bytes_of: the
    bytes of each activation by name; a name that is not in it is a constant in flash and takes
    none. inputs: names that are filled before the first operator. outputs: names that are read
    after the last one. While an operator runs, all that it reads and writes is there, and so is
    everything that was written before (or is an input) and is read later (or is an output). A
    tensor counts once, however often it is read. Returns an int; 0 where there are no
    operators.
    """
    # SOLUTION
    most = 0
    there = set(inputs)
    for now, (read, written) in enumerate(operators):
        there |= set(written)
        later = set(outputs).union(*(names for names, _ in operators[now + 1 :]))
        needed = there & (later | set(read) | set(written))
        most = max(most, sum(bytes_of.get(name, 0) for name in needed))
    return most


# %%
check("25b.3", least_arena)

# %% [markdown] tags=["solution"]
# Walk along the operators and ask at each: what is there, and who still needs it? The largest sum is a lower bound. A
# planner may need more, since each tensor wants one connected place, and freed places leave holes. For a chain the bound
# is reached by putting inputs and outputs at the two ends in turns. The bound also tells what to change: split the
# operator at the peak, or compute the branch with the smaller tensor last.
