# %% [markdown]
# # 20 Monitoring: exercises
#
# Four functions that you can take to work: a share of errors that is 0 and not empty, a percentile over several
# replicas with the bounds of its error, the alerts of an objective, and the rule that decides whether somebody is woken.
# Fill in what is missing, run the cell, then run its check.

# %%
import numpy as np

from course_lib.idioms import begin, check

scratch = begin("20")

# %% [markdown]
# ## 20.1 Zero, not empty ★☆☆ · 10 minutes
#
# A dashboard computes the share of failed requests from two looks at a counter. It shows nothing at all while the
# service is well, −300 % after a restart, and 0 % while nobody can reach the service. Write the share so that none of
# the three happens. A request has failed if its status is 429 or from 500 on. Treat each code's counter by itself, as
# Prometheus does: where it is smaller than before, it began again at zero.


# %%
def failed_share(before, after):
    """The share of the requests between two looks that failed.

    before, after: {status code: count}, as in {"200": 1041, "503": 2}. A code that is missing
    has not been counted yet.
    Returns a plain float from 0 to 1; None if no request came in between. Leaves both as they were.
    """
    # SOLUTION
    grew = {}
    for code, count in after.items():
        was = before.get(code, 0)
        grew[code] = count if count < was else count - was
    total = sum(grew.values())
    if not total:
        return None
    return float(sum(n for code, n in grew.items() if code == "429" or code >= "500") / total)


# %%
check("20.1", failed_share)

# %% [markdown] tags=["solution"]
# A sum over no code is 0 in Python, so the share is 0 where nothing failed. In PromQL such a sum is empty, so you need
# `or 0 * …` there. No traffic is a state of its own. "0 % failed" would be a lie if nobody could get through, and "100
# %" would wake somebody each night at four. Codes are strings of three digits, so `code >= "500"` gives the same answer
# as `int(code) >= 500`. A code that is missing in `after` adds nothing: it has not occurred since the restart.

# %% [markdown]
# ## 20.2 A percentile over replicas ★★☆ · 20 minutes
#
# Each replica has a histogram, and your team averages the replicas' percentiles. You know better: add the counts, and
# only then look for the percentile. Count what came between two looks. A replica whose total is smaller than before has
# restarted, and all of its counts in `after` are new. Also return the two bounds between which the true value lies.


# %%
def percentile_between(q, bounds, before, after):
    """What a share q of all requests between two looks did not exceed, as Prometheus estimates it.

    q: from above 0 to 1. bounds: float array (K,), the buckets' upper bounds in seconds, rising.
    before, after: int arrays (R, K + 1). A row is a replica. A column holds how many requests took
    at most that bound; the last column holds how many there were in all.
    Returns (estimate, low, high) in seconds. The true value lies above `low` and is at most `high`.
    The first bucket begins at 0. Above the last bound the estimate is that bound, and `high` is
    infinite. Returns None if no request came in between. Leaves its arguments as they were.
    """
    # SOLUTION
    restarted = after[:, -1:] < before[:, -1:]
    counts = (after - np.where(restarted, 0, before)).sum(axis=0)
    if not counts[-1]:
        return None
    rank = q * counts[-1]
    i = int(np.searchsorted(counts[:-1], rank))
    if i == len(bounds):
        return float(bounds[-1]), float(bounds[-1]), float("inf")
    low, below = (bounds[i - 1], counts[i - 1]) if i else (0.0, 0)
    estimate = low + (bounds[i] - low) * (rank - below) / (counts[i] - below)
    return float(estimate), float(low), float(bounds[i])


# %%
check("20.2", percentile_between)

# %% [markdown] tags=["solution"]
# Counts can be added up, over replicas and over time. Percentiles cannot. `searchsorted` finds the first bucket whose
# count reaches the rank, so empty buckets before it are passed over, and `counts[i] - below` is never zero. A loop over
# the bounds does the same. In PromQL this function is `histogram_quantile(q, sum by (le) (rate(…_bucket[5m])))`. It does
# not tell you `low` and `high`, so look at the list of bounds before you believe it.

# %% [markdown]
# ## 20.3 The alerts of an objective ★★☆ · 15 minutes
#
# Your service promises 99.5 % over 28 days, and the table of the lesson is for 99.9 % over 30. Compute it for any
# promise. The table does not show one thing. For a modest promise an alert can ask for more errors than there are
# requests. Nobody notices that such an alert never fires. Refuse it.


# %%
def alerts_of(objective, days, pairs):
    """What the alerts over an objective must ask for.

    objective: the share that is promised, above 0 and below 1. days: the period of the promise.
    pairs: [(share of the budget, long window in hours), ...].
    Returns a list with a dict for each pair:
      "burn"       the burn rate at which this share of the budget goes in the window;
      "threshold"  the share of failed requests at that burn rate;
      "short_h"    the short window, a twelfth of the long one;
      "lasts_h"    how many hours the whole budget lasts at that burn rate;
      "outage_s"   after how many seconds the long window reaches it if everything fails.
    Raises ValueError for an objective that is no promise, and for a threshold of 1 or more.
    """
    # SOLUTION
    if not 0 < objective < 1:
        raise ValueError(f"expected an objective above 0 and below 1, got {objective}")
    budget, period_h, rules = 1 - objective, 24 * days, []
    for share, long_h in pairs:
        burn = share * period_h / long_h
        threshold = burn * budget
        if threshold >= 1:
            raise ValueError(
                f"expected an alert that can fire; {share:.0%} of the budget in {long_h} h asks "
                f"for {threshold:.0%} of failed requests: take a longer window"
            )
        rule = {"burn": burn, "threshold": threshold, "short_h": long_h / 12}
        rules.append(rule | {"lasts_h": period_h / burn, "outage_s": 3600 * long_h * threshold})
    return rules


# %%
check("20.3", alerts_of)

# %% [markdown] tags=["solution"]
# All five follow from $b = fT/w$. The budget lasts $T/b = w/f$: an hour, divided by 2 %, is 50 hours for every objective
# and every period. With everything failing, the window reaches $b\,\varepsilon$ after $w\,b\,\varepsilon$, which is
# $f\,T\,\varepsilon$: the longer the period, the later the page. With an objective of 90 %, 14.4 asks for 144 % of failed
# requests.

# %% [markdown]
# ## 20.4 Is this page warranted? ★★★ · 20 minutes
#
# The rule with two pairs works for 600 requests a minute. A colleague uses it for a service with ten requests an hour.
# There one failure is a burn rate of 100, and somebody is woken. Write the rule with a guard: a pair of windows may call
# only if `least` requests failed in its long window.


# %%
def pages(requests, failures, objective, least=10):
    """In which minutes somebody is woken.

    requests, failures: int arrays (N,), of any width and length, also 0: what came and what failed
    in each minute.
    objective: the share that is promised, as 0.999. least: how many must have failed.
    A pair calls if the burn rates over its long and its short window, which end with this minute,
    are both above its threshold: 1 h and 5 min above 14.4, or 6 h and 30 min above 6. A window
    without a request has a burn rate of 0. At the beginning a window holds what there is.
    Returns a bool array (N,).
    """
    # SOLUTION
    budget = 1 - objective

    def over(values, minutes):
        ends = np.concatenate([np.zeros(minutes), np.cumsum(np.asarray(values, float))])
        return ends[minutes:] - ends[:-minutes]

    def burns(minutes, threshold):
        return over(failures, minutes) > threshold * budget * over(requests, minutes)

    calls = np.zeros(len(requests), bool)
    for long, short, threshold in ((60, 5, 14.4), (360, 30, 6)):
        enough = over(failures, long) >= least
        calls |= burns(long, threshold) & burns(short, threshold) & enough
    return calls


# %%
check("20.4", pages)

# %% [markdown] tags=["solution"]
# A window's share is a ratio of sums. The mean of the minutes' shares is something else: a quiet minute with one failed
# request of one would count as much as a busy one. The rule is written as a product, so no minute divides by zero: 0 >
# 0 is false. A running sum gives all windows at once; a loop over slices, `failures[max(0, i - 59) : i + 1].sum()`, is
# slower and equally correct. The guard has a price. The service with ten requests an hour must fail for an hour before
# somebody hears of it. If that is too late, send it test requests.
