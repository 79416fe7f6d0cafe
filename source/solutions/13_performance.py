# %% [markdown]
# # 13 Performance: exercises
#
# Four questions about time. Fill in what is missing, run the cell, then its check. None of them needs a clock: the
# checks compare with figures that can be computed.

# %%
import math
from statistics import NormalDist

import numpy as np

from course_lib.idioms import begin, check

scratch = begin("13")

# %% [markdown]
# ## 13.1 Is this p99 worth anything? ★☆☆ · 10 minutes
#
# A contract promises p99.9 below 50 ms, and a colleague "has tested it with a thousand requests". Write the number
# that the test would have needed, for any percentile, confidence and margin.


# %%
def queries_needed(share, confidence=0.99, margin=None):
    """How many requests a benchmark needs before it may quote a percentile.

    share: the percentile as a share, 0.99 for p99. confidence: the share of benchmarks in which
    the measured share shall lie within `margin` of `share`, on either side. margin: a share too;
    None stands for MLPerf's, a twentieth of what is left above `share`. Uses the normal
    approximation of the binomial distribution. Returns the smallest whole number of requests
    that is enough, an int. Raises ValueError where share or confidence does not lie between 0
    and 1, both excluded, or where a margin is given that is not above 0.
    """
    # SOLUTION
    if not (0 < share < 1 and 0 < confidence < 1):
        raise ValueError(f"expected shares between 0 and 1, got {share} and {confidence}")
    if margin is None:
        margin = (1 - share) / 20
    if not margin > 0:
        raise ValueError(f"expected a margin above 0, got {margin}")
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    return math.ceil(z**2 * share * (1 - share) / margin**2)


# %%
check("13.1", queries_needed)

# %% [markdown] tags=["solution"]
# The confidence is two-sided: with 99 %, half a percent may lie beyond each end, so $z$ is taken at 99.5 %. "The
# smallest that is enough" is rounded up; MLPerf's table rounds to the nearest, which is why its p95 has one request
# less. For p99.9 the default margin asks for more than two and a half million. A second way, without the
# approximation, searches the smallest $n$ for which the binomial distribution itself (`scipy.stats.binom.cdf`) puts
# the confidence inside the margin.

# %% [markdown]
# ## 13.2 What will this convolution cost? ★★☆ · 15 minutes
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
check("13.2", convolution_work)

# %% [markdown] tags=["solution"]
# For 64 channels, 32 × 32 points, k = 3 and a batch of 1 the plain convolution does about 110 operations a byte, the
# depthwise one about 2. It has a 64th of the operations and three quarters of the bytes: on many machines it has
# crossed the ridge, and its time is that of the bytes. A second way to count is `onnx.shape_inference` on a graph of
# one node, as in the lesson; a third is PyTorch's `FlopCounterMode`, which counts operations only.

# %% [markdown]
# ## 13.3 What the users waited ★★☆ · 15 minutes
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
check("13.3", latencies_from_schedule)

# %% [markdown] tags=["solution"]
# A worker is a number: when it will be free. The `max` is the whole of queueing: who comes to a busy worker starts
# when it is free. Workers start free at minus infinity, since a schedule may begin before zero. With one worker the
# loop unrolls into a running maximum, as in `load.simulate`; with many workers a heap finds the first free one faster
# than `argmin`.

# %% [markdown]
# ## 13.4 The batch that keeps the promise ★★★ · 20 minutes
#
# "Batch 64 has the best throughput, so I set 64." At forty requests a second the first of a batch then waits for more
# than a second before anything starts. Find the batch size that a service should wait for.


# %%
def best_batch(sizes, times_ms, rate_per_s, deadline_ms):
    """The batch size to wait for, so that even the first of a batch keeps its deadline.

    sizes: batch sizes that were measured, whole numbers from 1, at least two different ones, in
    any order. times_ms: float (N,), the time of a call at each size, exact or nearly.
    rate_per_s: requests that come in a second, evenly, above 0. deadline_ms: what each request
    may take, from its arrival to the end of its call. Fit t(b) = alpha + beta b to the
    measurements by ordinary least squares. A batch of b is allowed if its first request, which
    waits for the b − 1 others and then for the call, keeps the deadline, and if calls of b can
    do at least `rate_per_s`. Of the sizes 1, 2, 3, … up to the largest measured one that are
    allowed (measured or not), returns the one of the highest throughput, the smaller one of two
    equal ones, an int; None where no size is allowed. Raises ValueError where the lengths
    differ, for fewer than two different sizes, and for a rate that is not above 0.
    """
    # SOLUTION
    sizes, times_ms = np.asarray(sizes), np.asarray(times_ms, float)
    if sizes.shape != times_ms.shape or len(set(sizes.tolist())) < 2 or not rate_per_s > 0:
        raise ValueError("expected two different sizes or more, a time for each, a rate above 0")
    beta, alpha = np.polyfit(sizes, times_ms, 1)
    b = np.arange(1, sizes.max() + 1)
    call_ms = alpha + beta * b
    fits = (b - 1) * 1000 / rate_per_s + call_ms <= deadline_ms * (1 + 1e-9)
    keeps_up = b >= rate_per_s * call_ms / 1000 * (1 - 1e-9)
    allowed = b[fits & keeps_up]
    if len(allowed) == 0:
        return None
    throughput = allowed / (alpha + beta * allowed)
    best = throughput >= throughput.max() * (1 - 1e-9)
    return int(allowed[best][0])


# %%
check("13.4", best_batch)

# %% [markdown] tags=["solution"]
# Two conditions pull in opposite directions. A large batch waits long for its last member; a small one cannot keep up,
# and then the queue grows without end whatever the deadline says. Where $\alpha > 0$ the throughput rises with $b$, so
# the answer is the largest allowed batch; where $\alpha = 0$ batching gains nothing and 1 wins. The tiny factors
# absorb rounding at an exact equality. A second way solves both inequalities for $b$: $b \le (D + 1/\lambda -
# \alpha)/(\beta + 1/\lambda)$ and $b \ge \lambda\alpha/(1 - \lambda\beta)$, times in seconds. In practice a server
# waits for a batch *or* for a time-out, whichever comes first.
