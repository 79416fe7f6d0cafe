# %% [markdown]
# # 18 Autoscaling: exercises
#
# Five small pieces of what decides how many pods there are. None needs a cluster. Fill in what is missing, run the
# cell, then its check.

# %%
import math

from course_lib.idioms import begin, check

scratch = begin("18")

# %% [markdown]
# ## 18.1 The rule, with pods that say nothing ★★☆ · 20 minutes
#
# "We were at 90 % and it did not scale!" Two of the four pods had just started and had not been measured. The
# controller is cautious about such pods, in both directions. Write its rule as it is.


# %%
def wanted_pods(usages, request, target, low, high, tolerance=0.1):
    """How many pods the autoscaler wants.

    usages: one number for each pod, one pod or more: its CPU in millicores, or None where it has
    not been measured. request: millicores that each pod requests, above 0. target: a share of the
    request, above 0. low, high: the answer never leaves low … high, whatever is said below.

    The ratio is the measured pods' mean usage over (request · target). No change where no pod is
    measured, or the ratio is at most `tolerance` away from 1. Otherwise, if some pods are not
    measured, the ratio is computed anew over all pods, those counting as 0 if the ratio was above
    1, and as their whole request if it was below; and there is no change where the new ratio is
    within the tolerance or on the other side of 1. Wanted are ratio · pods, rounded up; what is
    within 1e-9 of a whole number counts as that number. "No change" means len(usages) pods.
    """
    # SOLUTION
    pods, measured = len(usages), [each for each in usages if each is not None]

    def decide():
        if not measured:
            return pods
        ratio = sum(measured) / len(measured) / (request * target)
        if abs(ratio - 1) <= tolerance + 1e-9:
            return pods
        if len(measured) < pods:
            guess = 0 if ratio > 1 else request
            filled = sum(measured) + guess * (pods - len(measured))
            again = filled / pods / (request * target)
            if abs(again - 1) <= tolerance + 1e-9 or (again > 1) != (ratio > 1):
                return pods
            ratio = again
        return math.ceil(ratio * pods - 1e-9)

    return min(max(decide(), low), high)


# %%
check("18.1", wanted_pods)

# %% [markdown] tags=["solution"]
# Both guesses lean towards no change. Upwards, a pod that has just come may soon take its share, so it counts as idle;
# downwards, it may be about to be busy, so it counts as full. Four pods of which two show 90 % at a target of 60 %:
# the ratio 1.5 becomes 0.75, on the other side of 1, and nothing happens until they are measured. That is the
# complaint above, and it is right so: the help had already been ordered.

# %% [markdown]
# ## 18.2 Two windows ★★☆ · 15 minutes
#
# After each news bulletin your pods went from 8 to 40 and back, four times an hour. `behavior` has a window for each
# direction. Write what both do, so that you can try windows on last week's recommendations.


# %%
def stabilised(looks, pods, up_s, down_s):
    """How many pods there are after each look of the autoscaler.

    looks: [(now_s, recommended), …] in order of time, perhaps empty. pods: how many there are at
    first. up_s, down_s: the windows in seconds, 0 or more. At each look, the recommendations that
    count for a direction are this one and those before that are less than the window old. Pods
    rise to the smallest recommendation of the window `up_s`, if that is more than there are; they
    fall to the largest of the window `down_s`, if that is less than there are; otherwise nothing
    changes. Returns a list of ints, one for each look. Does not change `looks`.
    """
    # SOLUTION
    after = []
    for i, (now, recommended) in enumerate(looks):
        before = looks[:i]
        rise = min([n for at, n in before if now - at < up_s] + [recommended])
        fall = max([n for at, n in before if now - at < down_s] + [recommended])
        pods = rise if rise > pods else fall if fall < pods else pods
        after.append(pods)
    return after


# %%
check("18.2", stabilised)

# %% [markdown] tags=["solution"]
# The windows hold *recommendations*, not pods: what counts is what the rule asked for, whether it was done or not. The
# smallest upwards and the largest downwards means that a change is made only as far as the whole window agrees on. For
# a long history keep a queue whose ends are dropped, as the lesson's simulator does; this form is quadratic, and
# readable.

# %% [markdown]
# ## 18.3 One node may go ★★☆ · 15 minutes
#
# "How many pods for the sale on Friday?" The answer must hold at the peak, with one node down, and for the tail, not
# for the mean.


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
check("18.3", pods_for)

# %% [markdown] tags=["solution"]
# Solve $e^{-(1/s - m)t} \le 1 - q$ for $m$: a pod may have at most $m = 1/s + \ln(1-q)/t$. With $s = 20$ ms, $t = 250$
# ms and $q = 0.99$ that is 31.6 of the 50 a second that it could do: the objective itself sets the utilisation, 63 %.
# Then $n - \lceil n/k \rceil = \lfloor n(k-1)/k \rfloor$ pods must suffice. A second way, without the loop, solves that
# too: $n = \lceil \text{left} \cdot k/(k-1) \rceil$. A model in which more than one request is served at a time (M/M/c)
# asks for a little less.

# %% [markdown]
# ## 18.4 An autoscaler that a cluster of today accepts ★★☆ · 15 minutes
#
# You inherit this file. `kubectl apply` says: `no matches for kind "HorizontalPodAutoscaler" in version
# "autoscaling/v2beta2"`.
#
# ```yaml
# apiVersion: autoscaling/v2beta2
# kind: HorizontalPodAutoscaler
# metadata:
#   name: digits_autoscaler
# spec:
#   scaleTargetRef:
#     kind: Deployment
#     name: digits
#   minReplicas: 30
#   maxReplicas: 3
#   targetCPUUtilizationPercentage: 65
# ```


# %%
def autoscaler():
    """The manifest, as YAML text of one document, for Kubernetes 1.37.

    API version autoscaling/v2, a name that the API server accepts, for the Deployment digits of
    apps/v1: 3 to 30 pods, at a mean CPU of 65 % of the request, and at a mean of 4 of the pods'
    own metric requests_in_flight, whichever wants more. Upwards without a window, at most twice
    as many pods in 30 seconds. Downwards by the largest recommendation of 10 minutes, at most
    10 % of the pods in a minute. Nothing else in `behavior`.
    """
    # SOLUTION
    return """
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  name: digits
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: digits}
  minReplicas: 3
  maxReplicas: 30
  metrics:
  - type: Resource
    resource:
      name: cpu
      target: {type: Utilization, averageUtilization: 65}
  - type: Pods
    pods:
      metric: {name: requests_in_flight}
      target: {type: AverageValue, averageValue: "4"}
  behavior:
    scaleUp:
      stabilizationWindowSeconds: 0
      policies:
      - {type: Percent, value: 100, periodSeconds: 30}
    scaleDown:
      stabilizationWindowSeconds: 600
      policies:
      - {type: Percent, value: 10, periodSeconds: 60}
"""


# %%
check("18.4", autoscaler)

# %% [markdown] tags=["solution"]
# `targetCPUUtilizationPercentage` is `autoscaling/v1`'s field. 100 % more is twice as many. `averageValue` is a
# *quantity*, a text such as `"4"` or `"500m"`. An underscore is no part of a name by RFC 1123: the schema lets it
# pass, the API server does not. And 10 % of three pods: Kubernetes rounds up, so one pod may still go.

# %% [markdown]
# ## 18.5 What did yesterday cost? ★★☆ · 15 minutes
#
# Finance sees the pods, the users feel the queue. From a day's trace say both, so that two policies can be compared.


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
check("18.5", account)

# %% [markdown] tags=["solution"]
# A fluid: requests are no longer whole, which is fair where there are thousands. With a price for a pod-hour and one
# for a late request both become money, and the policy's best target a minimum that can be looked up; agreeing on the
# second price is the hard part. The lesson's simulator adds the waiting by chance within a pod, which a fluid does not
# have.
