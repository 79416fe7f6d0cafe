# %% [markdown]
# # 19b Deciding early: exercises
#
# Three functions about the numbers behind a canary. Fill in what is missing, run the cell, then its check.

# %%
import math

import numpy as np

from course_lib.idioms import begin, check

scratch = begin("19b")

# %% [markdown]
# ## 19b.1 How many requests, exactly? ★★☆ · 20 minutes
#
# "Twenty requests, no failure, ship it." For twenty requests the normal approximation is useless. Compute the number from
# the binomial distribution itself.


# %%
def requests_needed(p0, p1, alpha, power):
    """The shortest canary that keeps both promises, and how many failures it forgives.

    Of n independent requests, K fail. The candidate goes back if K > most. p0 < p1: the chance of a
    failure if the candidate is fine (0 allowed), and if it is not (below 1).
    Promises: P(K > most | p0) ≤ alpha and P(K > most | p1) ≥ power, both between 0 and 1. Returns
    (n, most): the smallest n for which some `most` keeps both, and the smallest such `most`.
    An n of some hundreds takes a few seconds at most.
    Raises ValueError unless 0 ≤ p0 < p1 < 1, 0 < alpha < 1 and 0 < power < 1.
    """
    # SOLUTION
    if not (0 <= p0 < p1 < 1 and 0 < alpha < 1 and 0 < power < 1):
        raise ValueError("expected 0 ≤ p0 < p1 < 1, and alpha and power between 0 and 1")

    def at_most(k, n, p):
        return sum(math.comb(n, i) * p**i * (1 - p) ** (n - i) for i in range(k + 1))

    n = most = 0
    while True:
        n += 1
        while 1 - at_most(most, n, p0) > alpha:  # the bound grows with n, and never falls
            most += 1
        if 1 - at_most(most, n, p1) >= power:
            return n, most


# %%
check("19b.1", requests_needed)

# %% [markdown] tags=["solution"]
# The smallest bound that keeps the first promise is the one with the most power, so no other needs to be tried. With
# p0 = 0 it is 0, and the second promise reads $1 - (1-p_1)^n \ge$ power: to see a failure rate of 1 % with 95 %
# power takes 299 requests, about $3/p_1$ (the *rule of three*). Twenty good requests exclude no more than 14 %. A
# second way to the probabilities: add one request at a time, $P_{n+1}(k) = (1-p)P_n(k) + p\,P_n(k-1)$.

# %% [markdown]
# ## 19b.2 Stop as soon as you know ★★☆ · 15 minutes
#
# The dashboard refreshes every second, and somebody is always looking. Write the test that may be looked at after each
# request, over a stream that need not end.


# %%
def watch(outcomes, p0, p1, alpha, beta):
    """Wald's sequential test, one request after the other.

    outcomes: an iterable of truth values, True if the request went wrong. It may be endless, so
    nothing is read after the decision. p0 < p1: the share that is fine, and the share to be
    noticed. alpha, beta: the chances of a false alarm and of a miss. All are between 0 and 1.
    After each request, Λ is the probability of what was seen under p1, divided by that under p0. At
    Λ ≥ 1/alpha the answer is "roll back", at Λ ≤ beta "promote".
    Returns (answer, requests read), or ("go on", n) if the n outcomes end before that.
    Thousands of requests may pass. Raises ValueError unless 0 < p0 < p1 < 1, 0 < alpha < 1 and
    0 < beta < 1.
    """
    # SOLUTION
    if not (0 < p0 < p1 < 1 and 0 < alpha < 1 and 0 < beta < 1):
        raise ValueError("expected 0 < p0 < p1 < 1, and alpha and beta between 0 and 1")
    wrong, fine = math.log(p1 / p0), math.log((1 - p1) / (1 - p0))
    known, read = 0.0, 0
    for outcome in outcomes:
        known, read = known + (wrong if outcome else fine), read + 1
        if known >= -math.log(alpha):
            return "roll back", read
        if known <= math.log(beta):
            return "promote", read
    return "go on", read


# %%
check("19b.2", watch)

# %% [markdown] tags=["solution"]
# We add logarithms instead of multiplying, so that nothing overflows. A good request counts as well: it takes a little of
# the evidence away, and without that no candidate is ever promoted. Wald's own bounds, (1 − β)/α and β/(1 − α), are a
# little closer together and decide a little sooner. Ours need one line of proof. With counters instead of a stream,
# `K ln(p1/p0) + (n − K) ln((1 − p1)/(1 − p0))` gives the same number, since the order does not matter.

# %% [markdown]
# ## 19b.3 How often does the deadline decide? ★★★ · 20 minutes
#
# "Our canary has ten minutes. What will it have decided by then?" Simulation gives an answer with noise. Compute it
# exactly.


# %%
def by_deadline(p, n, p0, p1, alpha, beta):
    """How the sequential test of 19b.2 stands after n requests, as probabilities.

    p: the probability that a request goes wrong, from 0 to 1, each independent of the others. n: a
    whole number from 0. After each request the test compares ln Λ with its bounds: ln(1/alpha) or
    more is "roll back", ln(beta) or less "promote". Either ends it.
    Returns {"promote": …, "roll back": …, "go on": …}, which add up to 1.
    n = 2000 takes a few seconds at most. Raises ValueError unless 0 <= p <= 1, n >= 0,
    0 < p0 < p1 < 1, 0 < alpha < 1 and 0 < beta < 1.
    """
    # SOLUTION
    if not (0 <= p <= 1 and n >= 0 and 0 < p0 < p1 < 1 and 0 < alpha < 1 and 0 < beta < 1):
        raise ValueError(
            "expected p from 0 to 1, n from 0, 0 < p0 < p1 < 1, alpha and beta in between"
        )
    wrong, fine = math.log(p1 / p0), math.log((1 - p1) / (1 - p0))
    found = {"promote": 0.0, "roll back": 0.0}
    alive = np.zeros(n + 1)  # alive[k]: not decided yet, and k requests went wrong
    alive[0] = 1
    for seen in range(1, n + 1):
        alive[1:] = (1 - p) * alive[1:] + p * alive[:-1]
        alive[0] *= 1 - p
        k = np.arange(n + 1)
        known = k * wrong + (seen - k) * fine
        for verdict, over in (
            ("roll back", known >= -math.log(alpha)),
            ("promote", known <= math.log(beta)),
        ):
            found[verdict] += float(alive[over].sum())
            alive[over] = 0
    return found | {"go on": float(alive.sum())}


# %%
check("19b.3", by_deadline)

# %% [markdown] tags=["solution"]
# The order of the outcomes does not matter for ln Λ, only how many went wrong. So after each request there are at most
# n + 1 states, and not $2^n$ histories. What crosses a bound leaves the table, since the test has ended there. In
# `alive[1:] = …` the right side is computed before anything is written; a loop over k in place would have to run from
# above. A canary with a deadline sends back "roll back" and "go on" together.
