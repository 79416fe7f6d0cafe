# %% [markdown]
# # 04 Train in PyTorch: exercises
#
# Four pieces of a training that you can trust. Fill in what is missing, run the cell, then run its check.

# %%
import json

import numpy as np
import torch

from course_lib.idioms import begin, check

scratch = begin("04")
torch.set_num_threads(1)

# %% [markdown]
# ## 04.1 No writer on both sides ★☆☆ · 10 minutes
#
# A hospital's model read new X-rays perfectly, until it met a patient who was not in the training part. Several
# pictures of each patient had been spread over both parts. Write the split that keeps together what belongs together:
# the digits of one writer, the pictures of one patient.


# %%
def hold_out_groups(groups, share, seed):
    """Chooses whole groups, in random order, until they hold at least `share` of the examples.

    groups: int array (N,), the number of each example's group; any integers. share: above 0 and
    below 1. seed: int from 0; the same seed chooses the same, and NumPy's global random numbers
    are left alone. Every order of the groups is equally likely, whatever their sizes. Stops as
    soon as the share is reached. At least one group is not chosen, even if the share is then
    missed. Returns a bool array (N,), True for what is held out. Raises ValueError for another
    share, and for fewer than two groups.
    """
    # SOLUTION
    names, sizes = np.unique(groups, return_counts=True)
    if not 0 < share < 1 or len(names) < 2:
        raise ValueError(
            f"expected a share between 0 and 1 and two groups, got {share}, {len(names)}"
        )
    order = np.random.default_rng(seed).permutation(len(names))
    enough = int(np.searchsorted(np.cumsum(sizes[order]), share * len(groups))) + 1
    return np.isin(groups, names[order[: min(enough, len(names) - 1)]])


# %%
check("04.1", hold_out_groups)

# %% [markdown] tags=["solution"]
# The random choice is made among groups, not among examples. So the share is met only as closely as the sizes of the
# groups allow. `searchsorted` finds the first place where the running total reaches the share. A loop that adds one
# group after the other does the same. It is not enough to rotate the list of groups by the seed: neighbours in the list
# would then almost always be on the same side. scikit-learn has `GroupShuffleSplit`. It counts the share in groups, not
# in examples.

# %% [markdown]
# ## 04.2 When to stop ★★☆ · 10 minutes
#
# A training job costs money by the hour. Somebody set a patience, and the job never stopped: the loss kept improving in
# the seventh digit. Another job stopped at once, because its first loss was NaN. Write the rule for both.


# %%
def early_stop(losses, patience, least=0.0):
    """Which epoch's weights to keep, and after which epoch to stop.

    losses: validation losses in nats, one for each epoch, from epoch 0; any sequence of floats,
    NaN included. patience: a whole number from 1. least: in nats, 0 or more; a loss counts as an
    improvement only if it is below the best so far by more than this. A NaN never improves
    anything; the first finite loss always does. Returns (best, stopped). `best` is the epoch of
    the last improvement, None if there was none. `stopped` is the first epoch at which
    `patience` epochs in a row, itself included, brought no improvement, or the last epoch if
    that never happens. Raises ValueError for no loss and for a patience below 1.
    """
    # SOLUTION
    if len(losses) == 0 or patience < 1:
        raise ValueError(
            f"expected losses and a patience from 1, got {len(losses)} and {patience}"
        )
    best, lowest, waited = None, float("inf"), 0
    for epoch, loss in enumerate(losses):
        if loss < lowest - least:  # false for a NaN; infinity minus anything finite is infinity
            best, lowest, waited = epoch, loss, 0
        else:
            waited += 1
            if waited == patience:
                return best, epoch
    return best, len(losses) - 1


# %%
check("04.2", early_stop)

# %% [markdown] tags=["solution"]
# Every comparison with NaN is false. So `loss < lowest - least` refuses a NaN without a special case;
# `not loss >= lowest` would accept it. The search starts from infinity, so the first number is an improvement. Small
# steps add up. Each loss is compared with the best loss that was kept, so several steps below `least` together can
# count as an improvement.

# %% [markdown]
# ## 04.3 Evaluate, and leave no trace ★★☆ · 10 minutes
#
# A colleague added a validation run after every hundredth step, and from then on the model trained worse. The
# validation had left the network in `eval()`, so dropout stayed off. Write an evaluation that measures as in production
# and leaves everything as it was.


# %%
def evaluate(network, inputs, labels, batch=256):
    """The share of examples whose largest logit is that of the label.

    network: a torch module that maps (n, …) to logits (n, C). inputs: float tensor (N, …).
    labels: int64 tensor (N,). batch: the most examples that go through the network at once.
    Measures in evaluation mode and records no graph. Afterwards every module inside the network
    is in the mode in which it was, also if the network raised an error, and gradients are
    recorded again if they were before. Returns a plain float. Raises ValueError for no example.
    """
    # SOLUTION
    if len(labels) == 0:
        raise ValueError(
            "expected one example or more, got none: an accuracy over nothing is no number"
        )
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        with torch.inference_mode():
            right = sum(
                int((network(some).argmax(dim=1) == truth).sum())
                for some, truth in zip(inputs.split(batch), labels.split(batch))
            )
    finally:
        for module, training in modes:
            module.training = training
    return right / len(labels)


# %%
check("04.3", evaluate)

# %% [markdown] tags=["solution"]
# There are two switches, as in the lesson. The `with` block sets the gradients back; the `finally` sets the modes back.
# Why not `network.train(was_training)`? It sets the mode of *every* module inside. So it would also change a layer that
# was frozen in `eval()` on purpose, as people do with batch normalisation in fine-tuning. A second way measures a copy,
# `copy.deepcopy(network).eval()`, and leaves the original alone. It needs the memory of the weights once more. We count
# right answers and do not average accuracies: the last batch may be smaller, and in a mean of batches its examples
# would count for more.

# %% [markdown]
# ## 04.4 What is in this file? ★★★ · 20 minutes
#
# "Somebody sent us weights. What is in there, and can I look without installing anything?" With safetensors you can: 8
# bytes, JSON, numbers. The file comes from a stranger, so do not believe anything that it says about itself.


# %%
DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4"}
DTYPES |= {"I8": "i1", "U8": "u1", "BOOL": "?"}


def read_safetensors(raw):
    """Reads a safetensors file with NumPy alone.

    raw: bytes. The first 8 are the header's length as an unsigned little-endian integer. The
    header is JSON and maps each tensor's name to {"dtype": a key of DTYPES, "shape": [...],
    "data_offsets": [begin, end]}. Offsets count from the header's end; numbers are
    little-endian, in row-major order. The key "__metadata__", if there, is no tensor. Returns a
    dict from name to array, of that dtype and shape. Raises ValueError for a file that ends too
    early, a header that is no JSON object, another dtype, and offsets that do not fit the shape
    or lie outside the file.
    """
    # SOLUTION
    length = int.from_bytes(raw[:8], "little")
    if len(raw) < 8 or length > len(raw) - 8:
        raise ValueError(f"expected a header of {length} bytes, the file has {len(raw)} in all")
    header, body = json.loads(raw[8 : 8 + length]), raw[8 + length :]
    if not isinstance(header, dict):
        raise ValueError(f"expected a JSON object as header, got {type(header).__name__}")
    arrays = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        if entry["dtype"] not in DTYPES:
            raise ValueError(f"{name}: expected one of {', '.join(DTYPES)}, got {entry['dtype']}")
        dtype, (begin_at, end_at) = np.dtype(DTYPES[entry["dtype"]]), entry["data_offsets"]
        size = int(np.prod(entry["shape"], dtype=object)) * dtype.itemsize  # object: no overflow
        if not 0 <= begin_at <= end_at <= len(body) or end_at - begin_at != size:
            raise ValueError(f"{name}: {size} bytes do not lie at {begin_at} to {end_at}")
        arrays[name] = np.frombuffer(body[begin_at:end_at], dtype).reshape(entry["shape"])
    return arrays


# %%
check("04.4", read_safetensors)

# %% [markdown] tags=["solution"]
# Two comparisons make it safe. First, the length is compared with the size of the file before anything is read. So a
# header that claims $2^{60}$ bytes is refused, and no memory is allocated for it. Second, the bytes of each tensor are
# compared with its shape: Python slices past the end without an error, and `frombuffer` would return a shorter array.
# The product of the shape is taken with Python's integers, because in int64 a shape such as $(2^{32}, 2^{32})$ has 0
# elements. `json.loads` raises `JSONDecodeError`, which is a ValueError. `safetensors.numpy.load` does all this. It
# also refuses gaps and overlaps between tensors.
