# %% [markdown]
# # 13 Performance: exercises
#
# Three questions about time. Fill in what is missing, run the cell, then run its check. None of them needs a clock: the
# checks compare with figures that can be computed.

# %%
import numpy as np

from course_lib.idioms import begin, check

scratch = begin("13")

# %% [markdown]
# ## 13.1 What will this convolution cost? ★★☆ · 15 minutes
#
# Somebody wants to swap a convolution for a *depthwise* one (each input channel has filters of its own, `groups` equal
# to the channels), "because it has a fraction of the FLOPs", and is disappointed: it is hardly faster. Count both
# sides of the roofline for any convolution.


# %%
def convolution_work(batch, c_in, height, width, c_out, k, stride=1, padding=0, groups=1):
    """Operations and bytes of a two-dimensional convolution without bias, in float32.

    batch, c_in, height, width: of the input, whole numbers; batch from 0, the others from 1.
    c_out: output channels. k: the filter is k × k. stride, padding: the same in both
    directions; padding is added on every side and not stored. groups: the channels are split
    into so many groups, and an output sees the inputs of its own group alone. Each side of the
    output has floor((side + 2 × padding − k) / stride) + 1 points. A multiplication and an
    addition are two operations; every number of input, weights and output is moved once.
    Returns (operations, bytes), two ints. Raises ValueError where `groups` does not divide both
    channel numbers, and where the filter is larger than the padded picture.
    """
    # SOLUTION
    if c_in % groups or c_out % groups:
        raise ValueError(f"expected groups that divide {c_in} and {c_out} channels, got {groups}")
    if k > min(height, width) + 2 * padding:
        raise ValueError(f"expected a filter that fits the padded picture, got {k} × {k}")
    high, wide = ((side + 2 * padding - k) // stride + 1 for side in (height, width))
    weights = c_out * (c_in // groups) * k * k
    outputs = batch * c_out * high * wide
    operations = 2 * outputs * (c_in // groups) * k * k
    moved = 4 * (batch * c_in * height * width + weights + outputs)
    return operations, moved


# %%
check("13.1", convolution_work)

# %% [markdown] tags=["solution"]
# For 64 channels, 32 × 32 points, k = 3 and a batch of 1 the plain convolution does about 110 operations a byte, the
# depthwise one about 2. It has a 64th of the operations and three quarters of the bytes: on many machines it has
# crossed the ridge, and its time is that of the bytes. A second way to count is `onnx.shape_inference` on a graph of
# one node, as in the lesson; a third is PyTorch's `FlopCounterMode`, which counts operations only.

# %% [markdown]
# ## 13.2 What the users waited ★★☆ · 15 minutes
#
# The server's log has for each request when it was due and how long the work took, and its dashboard shows a p99 of
# the work. Support has other numbers. Compute what the users saw.


# %%
def latencies_from_schedule(due, service, workers=1):
    """What each user waited, from when the request was due until it was done.

    due: float array (N,), seconds, rising; N may be 0. service: float array (N,), seconds that
    the work of each takes, 0 or more. workers: requests that can be worked on at once, from 1.
    Requests are taken in the order of `due`, each by the worker that is free first; none starts
    before it is due. Neither array is changed. Returns a float64 array (N,), seconds. Raises
    ValueError where the lengths differ, where `due` falls anywhere, and for no worker.
    """
    # SOLUTION
    due, service = np.asarray(due, float), np.asarray(service, float)
    if due.shape != service.shape or workers < 1 or (np.diff(due) < 0).any():
        raise ValueError(f"expected rising times, got {due.shape}, {service.shape}, {workers}")
    free, waited = np.full(workers, -np.inf), np.empty(len(due))
    for i, (at, takes) in enumerate(zip(due, service)):
        worker = free.argmin()
        free[worker] = max(at, free[worker]) + takes
        waited[i] = free[worker] - at
    return waited


# %%
check("13.2", latencies_from_schedule)

# %% [markdown] tags=["solution"]
# A worker is a number: when it will be free. The `max` is the whole of queueing: who comes to a busy worker starts
# when it is free. Workers start free at minus infinity, since a schedule may begin before zero. With one worker the
# loop unrolls into a running maximum, as in `load.simulate`; with many workers a heap finds the first free one faster
# than `argmin`.

# %% [markdown]
# ## 13.3 How many threads may I use? ★☆☆ · 10 minutes
#
# A pod with a CPU limit of 2 runs on a machine of 64 processors. Its p99 is 100 ms, although the model takes 5. The
# runtime made 64 threads and is throttled. Write the function that the service calls when it starts. It gets what the
# file `cpu.max` of the container's control group says, and the affinity.


# %%
def threads_for(cpu_max, affinity):
    """How many intra-op threads a session should have in a container.

    cpu_max: the text of cgroup version 2's `cpu.max`, "QUOTA PERIOD": whole numbers, the
    microseconds of processor time that all threads together may use in each period, and the
    microseconds of the period. "max" in place of the quota means no limit. There may be white
    space around and between. None where there is no such file: no limit. affinity: on how many
    processors the process may run, a whole number from 1.
    Returns the largest whole number of threads that the quota can keep running all the time, at
    most `affinity`, at least 1, an int. Raises ValueError for an affinity below 1, and for a text
    that is not of this form or whose numbers are not above 0.
    """
    # SOLUTION
    if affinity < 1:
        raise ValueError(f"expected an affinity from 1, got {affinity}")
    if cpu_max is None:
        return affinity
    quota, period = cpu_max.split()  # more or fewer than two words: ValueError
    if int(period) <= 0 or (quota != "max" and int(quota) <= 0):
        raise ValueError(f"expected QUOTA PERIOD, such as '200000 100000', got {cpu_max!r}")
    return affinity if quota == "max" else max(1, min(affinity, int(quota) // int(period)))


# %%
check("13.3", threads_for)

# %% [markdown] tags=["solution"]
# The quota over the period is a number of processors. It is rounded *down*: two threads on a quota of 1.5 are busy for 75
# ms of each 100 and then stand still, and a request that comes then waits. Below one processor there is no choice, since
# one thread is the least. Both limits hold at once, so the smaller one counts. A whole-number division avoids the
# question whether 300000 / 100000 is 3 or 2.9999.
#
# Pass the result to `SessionOptions.intra_op_num_threads`. Kubernetes' `limits.cpu` becomes this file; `requests.cpu`
# does not.
