# %% [markdown]
# # 06b How far may a conversion move?: exercises
#
# Three questions that follow a red parity test: how far is the original itself off, where does the difference begin, and
# can it change an answer? Fill in what is missing, run the cell, then its check.

# %%
import copy

import numpy as np
import torch

from course_lib.idioms import begin, check

scratch = begin("06b")
torch.set_num_threads(1)

# %% [markdown]
# ## 06b.1 How far is float32 off? ★★☆ · 15 minutes
#
# "Which tolerance should I put into the release test?" Measure it: run the same network once more in float64, and see
# how far its own float32 answers are from that. The network belongs to someone else and is in use, so leave no trace in it.


# %%
def own_error(network, inputs):
    """The lesson's ρ of a float32 network against itself in float64.

    network: a torch module in float32 that maps inputs (N, …) to logits (N, C). inputs: float32
    tensor (N, …), N from 1. Both runs are in evaluation mode and record no graph. Afterwards the
    network is as it was: mode of every module, dtypes of parameters and buffers, values; also
    where its forward pass raised an error, which goes on to the caller. Returns, as a plain
    float, the largest over the examples of: largest |float32 − float64| of its logits, divided by
    its largest |float64 logit|. Raises ValueError for no example, and for logits that are not
    finite.
    """
    # SOLUTION
    if len(inputs) == 0:
        raise ValueError("expected one example or more, got none")
    single = copy.deepcopy(network).eval()
    double = copy.deepcopy(network).eval().double()
    with torch.inference_mode():
        answer, exact = single(inputs).double(), double(inputs.double())
    if not (torch.isfinite(answer).all() and torch.isfinite(exact).all()):
        raise ValueError("expected finite logits: there is no distance from NaN or infinity")
    largest = exact.abs().max(dim=1).values
    return float(((answer - exact).abs().max(dim=1).values / largest).max())


# %%
check("06b.1", own_error)

# %% [markdown] tags=["solution"]
# `network.double()` converts in place: it returns the same module, now in float64, and a service that was using it gets a
# dtype error. A second way, `torch.func.functional_call` with a dictionary of converted parameters and buffers,
# needs no copy of the module, only of the numbers. Going there and back with `.float()` restores most networks bit for
# bit, but not one that keeps a float64 buffer. The inputs are the same float32 numbers in both runs: the question is
# what float32 *arithmetic* costs.

# %% [markdown]
# ## 06b.2 Which layer began it? ★☆☆ · 10 minutes
#
# A converted network of 1,200 layers is off at its output. One look at a layer takes a minute: cut the model there, run
# it, compare. Find the first layer that differs before the release is due.


# %%
def first_bad(count, differs):
    """The first of `count` layers whose output differs, with few looks.

    count: how many layers, from 0; they are numbered from 0. differs: a function that takes a
    layer's number and returns True where its output differs. From the first layer that differs on,
    all do. Returns the number of the first, an int, or None where no layer differs. Looks at most
    `count.bit_length()` times (11 times for 1,200 layers), and at no number outside 0 to count − 1.
    """
    # SOLUTION
    low, high = 0, count  # the first that differs is in low to high; high = count means none
    while low < high:
        middle = (low + high) // 2
        if differs(middle):
            high = middle
        else:
            low = middle + 1
    return low if low < count else None


# %%
check("06b.2", first_bad)

# %% [markdown] tags=["solution"]
# There are `count + 1` possible answers, none among them. Each look halves what is left, so `count.bit_length()` looks
# are enough, and fewer are not. Python's library has it too: `bisect.bisect_left(range(count), True, key=differs)`.
# The assumption matters. A ReLU or a pooling may hide a small difference, so a layer after the fault can look right. Test
# the layer that you found alone, on a right input, as the lesson does.

# %% [markdown]
# ## 06b.3 Whose class is certain? ★★☆ · 15 minutes
#
# "Can the new runtime change any customer's answer?" Nobody has run it on all customers' pictures, but its tolerance is
# known. Say for which examples the class cannot change.


# %%
def certain(logits, tolerance):
    """For which examples no conversion within the tolerance can change the class.

    logits: float array (N, C) of any float dtype, the original's; N from 0, C from 1. tolerance: 0
    or more. Each converted logit may be off by up to `tolerance` times the example's largest
    |logit|, in either direction. Returns a bool array (N,): True where the same class has the
    largest logit, alone, whatever the conversion does. An example with a NaN or an infinity is
    never certain; one whose logits are finite always is where C is 1. Computes in float64.
    """
    # SOLUTION
    exact = logits.astype(np.float64)
    finite = np.isfinite(exact).all(axis=1)
    if exact.shape[1] == 1:
        return finite
    exact = np.where(finite[:, None], exact, 0.0)  # NaN and infinities would spread
    ordered = np.sort(exact, axis=1)
    margin = ordered[:, -1] - ordered[:, -2]
    return finite & (margin > 2 * tolerance * np.abs(exact).max(axis=1))


# %%
check("06b.3", certain)

# %% [markdown] tags=["solution"]
# The winner may lose $\varepsilon s$ and the second may gain as much, so the margin must be larger than $2 \varepsilon
# s$. It must be larger, not equal: at equality the two can meet, and then the order of the classes decides. The scale is
# the largest $|f_j|$, and that may belong to a very negative logit. `np.partition(exact, -2, axis=1)` finds the two
# largest without sorting all of them, which pays for a vocabulary of 100,000.
