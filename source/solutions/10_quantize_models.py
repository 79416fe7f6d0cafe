# %% [markdown]
# # 10 Quantize the models: exercises
#
# Four small tools for a quantized model: for its input, its profile, its accuracy, and the choice between its forms. Fill
# in what is missing, run the cell, then run its check.

# %%
import numpy as np

from course_lib.idioms import begin, check

scratch = begin("10")

# %% [markdown]
# ## 10.1 Floats for an int8 input ★☆☆ · 10 minutes
#
# A camera's new firmware calls the int8 model itself. The first version used `astype`, and every pixel below 1 became 0.
# The second version multiplied by `1 / scale`, "because a product is faster". A test against LiteRT then found levels
# that were off by one. Write the step between the image and the model, with the scale and the zero point of the file.


# %%
def to_int8(values, scale, zero_point):
    """The whole numbers that stand for values.

    values: float16, float32 or float64, of any shape, empty too. They stay as they were. scale:
    float, finite, above 0. zero_point: int, -128 to 127. Divides by the scale in float64,
    rounds to the nearest whole number, ties to the even one, and then adds the zero point. What
    lies outside -128 to 127, infinities included, goes to the nearer end. Returns a new int8
    array of the same shape. Raises ValueError for NaN among the values, for another scale and
    for another zero point.
    """
    # SOLUTION
    if not 0 < scale < np.inf or not -128 <= zero_point <= 127:
        raise ValueError(
            f"expected a scale above 0 and a zero point in int8, got {scale}, {zero_point}"
        )
    wide = np.asarray(values, np.float64)
    if np.isnan(wide).any():
        raise ValueError("expected numbers, got NaN: no whole number stands for it")
    with np.errstate(over="ignore"):  # what overflows goes to an end
        steps = np.rint(wide / scale)
    return np.clip(steps + zero_point, -128, 127).astype(np.int8)


# %%
check("10.1", to_int8)

# %% [markdown] tags=["solution"]
# The order matters. Round first, because `astype` cuts off the fraction. Clip *before* the conversion, because `astype`
# wraps around: 128 becomes −128, and a white pixel black. NaN would become some number, and which one depends on the
# processor. With `1 / scale` there are two roundings, that of the inverse and that of the product. For
# `v = 20.5 * 0.1`, `v / 0.1` is 20.5, a tie, and `v * (1 / 0.1)` is a little more. A second way on the device is a
# table: the camera has 256 grey levels, so 256 int8 numbers, computed once, are enough.

# %% [markdown]
# ## 10.2 Who takes the time? ★★☆ · 15 minutes
#
# The monthly performance review wants a table for each model: which operator takes which share of the time? There are
# profiles of four versions of the runtime, and some have entries that others do not have. Write the reader.


# %%
def share_by_operator(events):
    """The share of the operators' time that each kind of operator took.

    events: a list of dicts, an ONNX Runtime profile as JSON holds it. An operator's run is an
    event with "cat" equal to "Node" and a "name" that ends in "_kernel_time"; it has "dur", in
    microseconds, and its kind in "args", under "op_name". All other events are passed over;
    they may lack any of these keys, and their durations count nowhere. Returns a list of
    (operator, share), the largest share first, equal shares by name; shares are plain floats,
    not rounded, that add up to 1. events stay as they are. Raises ValueError where no operator
    ran, or all took 0.
    """
    # SOLUTION
    took = {}
    for event in events:
        if event.get("cat") == "Node" and event.get("name", "").endswith("_kernel_time"):
            operator = event["args"]["op_name"]
            took[operator] = took.get(operator, 0) + event["dur"]
    total = sum(took.values())
    if total <= 0:
        raise ValueError(
            "expected operators that took time, got none: did the profiled session run?"
        )
    shares = [(operator, dur / total) for operator, dur in took.items()]
    return sorted(shares, key=lambda each: (-each[1], each[0]))


# %%
check("10.2", share_by_operator)

# %% [markdown] tags=["solution"]
# Most of the work is to leave events out. `model_run` and `SequentialExecutor::Execute` contain the time of all operators
# once more. Older versions wrote `_fence_before` and `_fence_after` events, also of the category `Node`. If you add up
# every `dur`, you count most of the time twice. The shares are of the time *inside* operators. Compare their total with
# the latency from outside: the difference is what the runtime itself takes.

# %% [markdown]
# ## 10.3 Did it lose anything? ★★☆ · 15 minutes
#
# "The int8 model has 98.9 %, the old one 99.1 %, so we lost accuracy", says the release note. Of 450 images that is one.
# Write the comparison that the release gate should print: on the same images, with an interval.


# %%
def paired_change(labels, before, after):
    """How a model's accuracy changed, on the same examples, with a 95 % interval.

    labels, before, after: int arrays (N,), N from 1: what is right, what the old form answered,
    what the new form answered. Returns (lost, won, low, high): plain ints, how many examples
    only the old form, only the new form got right; and plain floats, the interval of the
    change of the accuracy, new minus old, as shares. With b = lost + 1/2, c = won + 1/2 and
    m = N + 2 it is (c - b) / m, plus and minus 1.96 / m times the root of
    b + c - (c - b)^2 / m. (Agresti and Min, 2005.) Raises ValueError for no example, shapes
    that differ, and more than one axis (logits are no answers).
    """
    # SOLUTION
    labels, before, after = np.asarray(labels), np.asarray(before), np.asarray(after)
    if not labels.shape == before.shape == after.shape or labels.ndim != 1 or len(labels) == 0:
        raise ValueError(
            f"expected three arrays (N,), N from 1, got {labels.shape}, {before.shape} and "
            f"{after.shape}"
        )
    was, now = before == labels, after == labels
    lost, won = int((was & ~now).sum()), int((now & ~was).sum())
    b, c, m = lost + 0.5, won + 0.5, len(labels) + 2
    reach = 1.96 * np.sqrt(b + c - (c - b) ** 2 / m) / m
    return lost, won, float((c - b) / m - reach), float((c - b) / m + reach)


# %%
check("10.3", paired_change)

# %% [markdown] tags=["solution"]
# Two intervals, one around each accuracy, would be wider, and they answer another question. They allow for the luck of
# hard images, which both forms had alike. Only disagreements count. The added halves keep the interval from shrinking to
# a point if nothing disagreed. Without them, 450 equal answers would "prove" that no image ever changes. A second way is
# the *bootstrap*: draw the examples anew, with replacement, some thousand times, and take quantiles of $(c - b)/N$. With
# no disagreement it has the same problem.

# %% [markdown]
# ## 10.4 Which ones may go? ★★☆ · 10 minutes
#
# The model store holds forty forms of one model. Each has its bytes, its latency on three processors and its error rate.
# The storage team wants to delete those that nobody could prefer. Write the rule, for any number of costs.


# %%
def worth_keeping(costs):
    """Which forms are on the Pareto front.

    costs: float array (N, K), K from 1, a row for each form, a column for each cost; less is
    better. N may be 0; infinity is allowed. A form may go if another form is at most as
    costly in every column and less costly in at least one. Forms with equal rows do not remove
    each other. Returns a bool array (N,), True for those to keep. Raises ValueError for
    NaN, for K = 0 and for other than two axes.
    """
    # SOLUTION
    costs = np.asarray(costs)
    if costs.ndim != 2 or costs.shape[1] == 0 or np.isnan(costs).any():
        raise ValueError(
            f"expected numbers (N, K), K from 1, without NaN, got shape {costs.shape}"
        )
    no_worse = (costs[:, None] <= costs).all(axis=2)  # [i, j]: i at most as costly as j everywhere
    better = (costs[:, None] < costs).any(axis=2)
    return ~(no_worse & better).any(axis=0)


# %%
check("10.4", worth_keeping)

# %% [markdown] tags=["solution"]
# This compares all pairs at once, N² K comparisons. For forty forms that is nothing. For many more, sort by the first cost
# and sweep. Two things go wrong in practice. A missing measurement (NaN) compares as neither less nor more, so such a form
# would always stay. It is better to refuse it. And if costs are noisy, as latencies are, chance decides which are on the
# front. Round them to what you can tell apart, before you ask which form is beaten.
