# %% [markdown]
# # 18 Autoscaling: exercises
#
# Three small parts of what decides the number of pods. None needs a cluster. Fill in what is missing, run the cell,
# then its check.

# %%
import math

from course_lib.idioms import begin, check

scratch = begin("18")

# %% [markdown]
# ## 18.1 The rule, with pods that say nothing ★★★ · 25 minutes
#
# "We were at 90 % and it did not scale!" Two of the four pods had just started and were not ready. The controller is
# cautious about pods that it knows nothing about. Write Kubernetes' rule for such pods.


# %%
def wanted_pods(usages, request, target, low, high, tolerance=0.1):
    """How many pods the autoscaler wants.

    usages: one entry for each pod, one pod or more: its CPU in millicores; None where the pod is
    ready and its metric is missing; the text "not ready" where the pod is not ready yet.
    request: millicores that each pod requests, above 0. target: a share of the request, above 0
    and at most 1. low, high: the answer is never below low or above high, also for "no change".

    A pod with a number is measured. The ratio is the measured pods' mean usage over
    (request · target). No change where no pod is measured, or where the ratio is at most
    `tolerance` away from 1. Then the other pods count:

    - a ratio above 1: missing and not ready pods count as 0;
    - a ratio below 1: missing pods count as their whole request, and pods that are not ready are
      left out.

    With them the ratio is computed anew, over all pods that count. No change where the new ratio
    is within the tolerance or on the other side of 1. Wanted are new ratio · pods that count,
    rounded up; what is within 1e-9 of a whole number counts as that number. "No change" means
    len(usages) pods.
    """
    # SOLUTION
    measured = [each for each in usages if isinstance(each, (int, float))]

    def decide():
        pods, aim = len(usages), request * target
        if not measured:
            return pods
        ratio = sum(measured) / len(measured) / aim
        if abs(ratio - 1) <= tolerance + 1e-9:
            return pods
        if ratio > 1:
            counted = measured + [0] * (pods - len(measured))
        else:
            counted = measured + [request for each in usages if each is None]
        again = sum(counted) / len(counted) / aim
        if abs(again - 1) <= tolerance + 1e-9 or (again > 1) != (ratio > 1):
            return pods
        return math.ceil(again * len(counted) - 1e-9)

    return min(max(decide(), low), high)


# %%
check("18.1", wanted_pods)

# %% [markdown] tags=["solution"]
# All these guesses lean towards no change. On the way up, a new pod may soon take its share of the load, so it counts
# as idle. On the way down, a pod whose metric is missing may be busy, so it counts as full. Take the complaint above:
# of four pods, two show 90 % at a target of 60 %, and two are not ready. The ratio of 1.5 becomes 0.75, on the other
# side of 1. So nothing happens until the two are ready. The controller is right: it had already asked for these two
# pods. (The controller first decides which pods are "not ready". For CPU, in a pod's first minutes, a pod also counts
# as not ready if its metric is older than its readiness.)

# %% [markdown]
# ## 18.2 Two windows ★★☆ · 15 minutes
#
# After each news bulletin your pods went from 8 to 40 and back, four times an hour. `behavior` has a window for each
# direction. Write a function that applies both, so that you can try windows on last week's recommendations.


# %%
def stabilised(looks, pods, up_s, down_s):
    """How many pods there are after each look of the autoscaler.

    looks: [(now_s, recommended), …] in order of time, perhaps empty. pods: how many there are at
    first. up_s, down_s: the windows in seconds, 0 or more. For each direction, this look's
    recommendation counts, and each earlier one that is less than that direction's window old. Pods
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
# The windows hold *recommendations*, not pods. A recommendation counts whether it was followed or not. The smallest
# upwards and the largest downwards mean that the pods change only as far as all recommendations in the window agree.
# This form is readable, but its time grows with the square of the history. For a long history, keep a queue and drop
# what is too old, as the simulator of lesson 18b does.

# %% [markdown]
# ## 18.3 An autoscaler that a cluster of today accepts ★★☆ · 15 minutes
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
check("18.3", autoscaler)

# %% [markdown] tags=["solution"]
# `targetCPUUtilizationPercentage` is `autoscaling/v1`'s field. 100 % more is twice as many. `averageValue` is a
# *quantity*, a text such as `"4"` or `"500m"`. RFC 1123 allows no underscore in a name. The schema accepts it, the API
# server does not. What is 10 % of three pods? Kubernetes rounds up, so one pod may still go.
