# %% [markdown]
# # 18b Capacity: exercises
#
# Three answers that a capacity plan needs. Fill in what is missing, run the cell, then its check.

# %%
import math

from course_lib.idioms import begin, check

scratch = begin("18b")

# %% [markdown]
# ## 18b.1 One node may go ★★☆ · 15 minutes
#
# "How many pods for the sale on Friday?" The answer must hold at the peak and with one node down. It must hold for the
# slowest requests, not only for the mean.


# %%
def pods_for(rate_per_s, service_s, objective_s, share, nodes):
    """The fewest pods that keep the objective at a rate although one node fails.

    rate_per_s: requests a second, above 0, spread over the pods evenly and at random. service_s:
    seconds that a pod needs for one, on average. A pod with m requests a second answers later
    than t seconds with probability exp(−(1/service_s − m) · t), and never keeps up with
    m ≥ 1/service_s. objective_s: seconds. share: of the requests that must be answered by then,
    above 0 and below 1. nodes: 2 or more; pods are spread as evenly as can be, and the fullest
    node fails. Returns an int. Raises ValueError where no number of pods keeps the objective.
    """
    # SOLUTION
    most = (
        1 / service_s + math.log(1 - share) / objective_s
    )  # requests a second that a pod may have
    if most <= 0:
        raise ValueError(
            f"a pod alone misses {share:.1%} within {objective_s} s, even without a queue"
        )
    left = max(1, math.ceil(rate_per_s / most - 1e-9))
    pods = left
    while pods - math.ceil(pods / nodes) < left:
        pods += 1
    return pods


# %%
check("18b.1", pods_for)

# %% [markdown] tags=["solution"]
# Solve $e^{-(1/s - m)t} \le 1 - q$ for $m$: a pod may have at most $m = 1/s + \ln(1-q)/t$. With $s = 20$ ms, $t = 250$
# ms and $q = 0.99$ that is 31.6 of the 50 a second that it could do: the objective itself sets the utilisation, 63 %.
# Then $n - \lceil n/k \rceil = \lfloor n(k-1)/k \rfloor$ pods must suffice. A second way needs no loop:
# $n = \lceil \text{left} \cdot k/(k-1) \rceil$. If all pods took requests from one queue (the model M/M/c), you would
# often need fewer pods.

# %% [markdown]
# ## 18b.2 What did yesterday cost? ★★☆ · 15 minutes
#
# Finance pays for the pods, and the users wait in the queue. Compute both from a day's trace, so that you can compare
# two policies.


# %%
def account(rates, pods, step_s, each_per_s, objective_s):
    """Pod-hours of a trace, and the share of its requests that waited longer than an objective.

    rates: requests a second, pods: ready pods, for each step of step_s seconds; sequences of one
    length, perhaps empty. each_per_s: requests a second that a pod can do, above 0. The queue is
    empty at first. All requests of a step wait for what is in the queue when the step begins,
    worked off by that step's pods: queue / (pods · each_per_s) seconds (no pods: for ever, also
    where the queue is empty); they are late if that is more than objective_s. Then the queue
    grows or shrinks by what came and what could be done in the step, and is never below 0.
    Returns (pod_hours, late_share) as floats; the share is 0 where no request came. Raises
    ValueError where the lengths differ.
    """
    # SOLUTION
    if len(rates) != len(pods):
        raise ValueError(
            f"expected rates and pods of one length, got {len(rates)} and {len(pods)}"
        )
    queue = late = came = 0.0
    for rate, ready in zip(rates, pods):
        can = ready * each_per_s
        wait_s = queue / can if can else math.inf
        late += rate * step_s * (wait_s > objective_s)
        came += rate * step_s
        queue = max(0.0, queue + (rate - can) * step_s)
    return float(sum(pods) * step_s / 3600), float(late / came if came else 0)


# %%
check("18b.2", account)

# %% [markdown] tags=["solution"]
# This treats requests as a *fluid*: the queue may hold a fraction of a request. With thousands of requests that hardly
# matters. Put a price on a pod-hour and on a late request. Then both figures are money, and the best target is the one
# with the smallest sum. To agree on the second price is the hard part. The lesson also counts requests that meet by
# chance within a pod, and a fluid has none of these.

# %% [markdown]
# ## 18b.3 What do a million answers cost? ★☆☆ · 10 minutes
#
# A colleague divides the price of an hour by what a pod can do at its best. That is the price of a service whose pods
# are full all day. Compute the price of yours.


# %%
def per_million(price_per_pod_hour, each_per_s, utilisation):
    """The price of a million answers.

    price_per_pod_hour: in any currency, 0 or more. each_per_s: answers a second that a full pod
    gives, above 0. utilisation: the share of what the pods could do that is really asked of them,
    over the whole time that is paid for: above 0 and at most 1. Returns a float, in the same
    currency. Raises ValueError for a price below 0, a rate that is not above 0, or a utilisation
    outside its bounds; for NaN too.
    """
    # SOLUTION
    if not (price_per_pod_hour >= 0 and each_per_s > 0 and 0 < utilisation <= 1):
        raise ValueError(
            f"expected a price of 0 or more, a rate above 0 and a utilisation above 0 and up to 1; "
            f"got {price_per_pod_hour}, {each_per_s} and {utilisation}"
        )
    return 1e6 / (each_per_s * utilisation * 3600) * price_per_pod_hour


# %%
check("18b.3", per_million)

# %% [markdown] tags=["solution"]
# An hour of a pod gives `each_per_s · utilisation · 3600` answers. The utilisation is not the autoscaler's target. The
# floor at night and the window on the way down leave pods idle, and keep the utilisation below the target. NaN compares
# as false with everything. So the function asks whether all arguments are right, and refuses NaN as well.
