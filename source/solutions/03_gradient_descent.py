# %% [markdown]
# # 03 Gradient descent: exercises
#
# Four pieces of a training loop that look simple and go wrong in real ones: the path of a training, a batch in pieces,
# an optimizer that continues after a break, and the choice of a learning rate. Fill in what is missing, run the cell,
# then run its check.

# %%
import numpy as np

from course_lib.idioms import begin, check

scratch = begin("03")

# %% [markdown]
# ## 03.1 Keep the path ★☆☆ · 5 minutes
#
# Last night a training went wrong. You want to find the step at which it happened, so you need every point of the path,
# and not only the last one. Write gradient descent so that it returns all points it visited.


# %%
def path_of_descent(gradient, start, learning_rate, steps):
    """The points of gradient descent.

    gradient: function from an array (d,) to its gradient, an array (d,). start: float array
    (d,), float32 or float64; it stays as it was. learning_rate: positive float. steps: int, 0
    or more. Calls gradient once a step. Returns an array (steps + 1, d) in the dtype of start;
    its first row is start. It always takes all steps, and a NaN in the gradient stays.
    """
    # SOLUTION
    points = np.empty((steps + 1, len(start)), start.dtype)
    points[0] = start
    for step in range(steps):
        points[step + 1] = points[step] - learning_rate * gradient(points[step])
    return points


# %%
check("03.1", path_of_descent)

# %% [markdown] tags=["solution"]
# A common mistake is `theta -= learning_rate * gradient(theta)` together with `points.append(theta)`. The list then
# holds the same array many times, and every row shows the last point. It also changes the array of the caller. An
# assignment to a row copies the numbers, so this cannot happen here. A second way is a list and `theta = theta - …`,
# which makes a new array at each step.

# %% [markdown]
# ## 03.2 A batch in pieces ★★☆ · 10 minutes
#
# "A batch of 256 does not fit into memory," says a colleague. "So I take pieces of 60 and average their gradients. Is
# that the same?" The last piece has only 16 images. Combine the gradients of the pieces so that it is the same.


# %%
def accumulate(pieces):
    """The gradient of the mean loss of a whole batch, from those of its pieces.

    pieces: iterable, perhaps a generator, of pairs (gradient, count). gradient: that of the
    mean loss of this piece, a float array; all have one shape, which may be any. count: the
    number of its examples, 0 or more. A piece without examples may hold NaN and does not count.
    A NaN in any other piece stays in the result. Returns a float64 array of that shape, and
    leaves the arrays as they were. Raises ValueError if there is no example at all.
    """
    # SOLUTION
    total, examples = 0.0, 0
    for gradient, count in pieces:
        if count:
            total = total + np.asarray(gradient, np.float64) * count
            examples += count
    if not examples:
        raise ValueError("expected pieces with one example or more in all, got none")
    return np.asarray(total / examples)


# %%
check("03.2", accumulate)

# %% [markdown] tags=["solution"]
# A mean of means is the mean only if all counts are equal. With pieces of 60, 60, 60, 60 and 16, each example of the
# last piece would weigh almost four times as much as any other. In language models the counts are numbers of tokens,
# which differ in every piece. A second way: let each piece compute its *sum* of losses, divided by the count of the
# whole batch. Then `.backward()` adds up the right gradient by itself.
#
# Do not remove a NaN with `np.nan_to_num`. It shows that a piece has failed. A zero in its place hides that, and
# changes the gradient.

# %% tags=["solution"]
pieces = [(np.array([1.0]), 60)] * 4 + [(np.array([5.0]), 16)]
print(f"weighted {accumulate(pieces)[0]:.2f}, mean of means {np.mean([g for g, _ in pieces]):.2f}")

# %% [markdown]
# ## 03.3 Adam, resumed ★★★ · 15 minutes
#
# A training was stopped and continued from its checkpoint, and the loss jumped up. The weights had been saved, but not
# the state of the optimizer. Write one step of AdamW (Loshchilov and Hutter 2019) as a function of the weights *and the
# state*. The W stands for *weight decay*. It is applied first and without the gradient: $\theta \leftarrow (1 - \alpha
# w)\,\theta$ for a decay $w$. Then follows Adam's step as in the lesson, with the gradient as it came.


# %%
def adamw_step(
    theta, gradient, state, learning_rate=1e-3, beta1=0.9, beta2=0.999, epsilon=1e-8, decay=0.01
):
    """One step of AdamW.

    theta, gradient: float arrays of one shape and dtype. state: None before the first step,
    afterwards what the previous step returned. Returns (new theta, new state), new theta in the
    dtype of theta. Leaves all that came in as it was, the state too. Agrees with
    torch.optim.AdamW to rounding: where the gradient holds NaN, the new theta does too.
    """
    # SOLUTION
    t, m, s = state if state is not None else (0, np.zeros_like(theta), np.zeros_like(theta))
    t = t + 1
    m = beta1 * m + (1 - beta1) * gradient
    s = beta2 * s + (1 - beta2) * gradient**2
    m_hat, s_hat = m / (1 - beta1**t), s / (1 - beta2**t)
    shrunk = (1 - learning_rate * decay) * theta
    moved = shrunk - learning_rate * m_hat / (np.sqrt(s_hat) + epsilon)
    return moved.astype(theta.dtype, copy=False), (t, m, s)


# %%
check("03.3", adamw_step)

# %% [markdown] tags=["solution"]
# The state is the number of steps and two arrays of the size of the weights. So a checkpoint that can be resumed is
# three times as large as the weights alone. If the state is lost, $t$ starts at 1 again, and each weight makes a step
# of full length, as the first step always does.
#
# Why is the decay kept apart from the gradient? `torch.optim.Adam(weight_decay=…)` adds $w\,\theta$ to the gradient.
# Then the decay is divided by $\sqrt{\hat s}$ as well, and weights with large gradients hardly decay. A second way to
# write the step puts both corrections into the learning rate, $\alpha\sqrt{1-\beta_2^t}/(1-\beta_1^t)$. Then $\epsilon$
# must be scaled too, or it is another method.

# %% [markdown]
# ## 03.4 Read a range test ★★☆ · 15 minutes
#
# Every week the service is trained on new data, and a script should choose the learning rate after a range test. Write
# this choice. A range test often ends in `inf` or `nan`, because the last rates are far too large.


# %%
def rate_from_range_test(rates, losses, window=9):
    """A third of the learning rate at which the smoothed loss is lowest.

    rates, losses: float arrays (T,), the rates in rising order. Only the losses before the
    first one that is not finite count. window: odd int, 1 or more. The smoothed loss at a step
    is the mean of `window` losses with this step in the middle; steps too close to either end
    have none. Where two are equally low, the smaller rate counts. Returns a plain float.
    Raises ValueError if fewer than `window` losses count.
    """
    # SOLUTION
    finite = np.isfinite(losses)
    count = len(losses) if finite.all() else int(finite.argmin())  # up to the first False
    if count < window:
        raise ValueError(f"expected {window} finite losses or more at the start, got {count}")
    kept = np.asarray(losses[:count], np.float64)
    smooth = np.array([kept[i : i + window].mean() for i in range(count - window + 1)])
    return float(rates[smooth.argmin() + window // 2]) / 3


# %%
check("03.4", rate_from_range_test)

# %% [markdown] tags=["solution"]
# Each step has a batch of its own, so single losses jump up and down. The lowest single loss is often luck, and the
# mean of a few is not. The mean of the losses $i$ to $i + w - 1$ belongs to the step in the middle, $i + \lfloor w/2
# \rfloor$; without this shift the rate comes out too small. `np.nanargmin` would jump over a `nan` and could choose a
# rate from behind the explosion. `np.convolve(kept, np.ones(window) / window, mode="valid")` is a second way to smooth.
# Its result differs in the last digits, which can decide between two equally low steps.
