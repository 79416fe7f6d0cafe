# %% [markdown]
# # 13b Under load: exercises
#
# Three questions about load. Fill in what is missing, run the cell, then run its check. None of them needs a clock.

# %%
import math
from statistics import NormalDist

import numpy as np

from course_lib.idioms import begin, check

scratch = begin("13b")

# %% [markdown]
# ## 13b.1 Is this p99 worth anything? ★☆☆ · 10 minutes
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
check("13b.1", queries_needed)

# %% [markdown] tags=["solution"]
# The confidence is two-sided: with 99 %, half a percent may lie beyond each end, so $z$ is taken at 99.5 %. "The
# smallest that is enough" is rounded up; MLPerf's table rounds to the nearest, which is why its p95 has one request
# less. For p99.9 the default margin asks for more than two and a half million. A second way, without the
# approximation, searches the smallest $n$ for which the binomial distribution itself (`scipy.stats.binom.cdf`) puts
# the confidence inside the margin.

# %% [markdown]
# ## 13b.2 How many at once? ★★☆ · 15 minutes
#
# "How many connections must the pool have?" asks the database's administrator. Nobody counted them, but the log has for
# each request when it came and when it was answered. Find the mean number of requests in the system, and the largest.


# %%
def in_flight(arrived, answered):
    """How many requests were in the system at once.

    arrived, answered: float arrays (N,), seconds, of the same requests, in any order; N from 1. A
    request is in the system from when it arrived until just before it is answered: one that arrives
    at the very moment at which another is answered does not meet it, and one of no length is
    never in the system.
    Returns (mean, most): the mean number over the time from the first arrival to the last answer, a
    float; and the largest number at any moment, an int. Where that time has no length both are 0.
    Neither array is changed. Raises ValueError for no request, unequal lengths, and where an answer
    comes before its arrival or a time is NaN.
    """
    # SOLUTION
    arrived, answered = np.asarray(arrived, float), np.asarray(answered, float)
    if arrived.shape != answered.shape or len(arrived) == 0 or not (answered >= arrived).all():
        raise ValueError("expected answers (N,) at or after their arrivals (N,), N from 1")
    stay = answered - arrived
    span = answered.max() - arrived.min()
    if span == 0:
        return 0.0, 0
    real = stay > 0
    moments = np.concatenate([arrived[real], answered[real]])
    change = np.repeat([1, -1], real.sum())
    order = np.lexsort((change, moments))  # at one moment, answers before arrivals
    return float(stay.sum() / span), int(max(0, change[order].cumsum().max(initial=0)))


# %%
check("13b.2", in_flight)

# %% [markdown] tags=["solution"]
# The mean needs no counting. It is Little's law: the sum of all stays is the area under the number in the system, so the
# mean is that sum over the time. For the maximum, go through all moments in order, add 1 at an arrival and take 1 away at
# an answer. The ties decide: at one moment the answers come first.
#
# A second way asks at each arrival how many came up to then and how many were answered up to then, with
# `np.searchsorted(…, side="right")` for both. The maximum is always reached at an arrival. For the pool's size take the
# maximum and a margin, not the mean: at the mean, half of the requests would find no connection.

# %% [markdown]
# ## 13b.3 The batch that keeps the promise ★★★ · 20 minutes
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
    equal ones, an int; None where no size is allowed. Rounding must not decide: a deadline or a
    rate that is missed by less than a billionth of it is kept, and throughputs that differ by
    less than that are equal. Raises ValueError where the lengths
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
check("13b.3", best_batch)

# %% [markdown] tags=["solution"]
# Two conditions pull in opposite directions. A large batch waits long for its last member; a small one cannot keep up,
# and then the queue grows without end whatever the deadline says. Where $\alpha > 0$ the throughput rises with $b$, so
# the answer is the largest allowed batch; where $\alpha = 0$ batching gains nothing and 1 wins. The tiny factors
# absorb rounding at an exact equality. A second way solves both inequalities for $b$: $b \le (D + 1/\lambda -
# \alpha)/(\beta + 1/\lambda)$ and $b \ge \lambda\alpha/(1 - \lambda\beta)$, times in seconds. In practice a server
# waits for a batch *or* for a time-out, whichever comes first.
