# %% [markdown]
# # 03 Gradient descent: exercises
#
# Four pieces of a training loop that look too simple to get wrong, and do go wrong in real ones. Fill in what is
# missing, run the cell, then its check.

# %%
import numpy as np

from course_lib.idioms import begin, check

scratch = begin("03")

# %% [markdown]
# ## 03.1 Keep the path ★☆☆ · 5 minutes
#
# A training run went astray last night. To find the step at which it did, you want every point of the path, not only
# the last. Write gradient descent so that the points it returns are the points it visited.


# %%
def path_of_descent(gradient, start, step_size, steps):
    """The points of gradient descent.

    gradient: function from an array (d,) to its gradient, an array (d,). start: float array
    (d,), float32 or float64; it stays as it was. step_size: positive float. steps: int, 0 or
    more. Calls gradient once a step. Returns an array (steps + 1, d) in the dtype of start; its
    first row is start.
    """
    # SOLUTION
    points = np.empty((steps + 1, len(start)), start.dtype)
    points[0] = start
    for step in range(steps):
        points[step + 1] = points[step] - step_size * gradient(points[step])
    return points


# %%
check("03.1", path_of_descent)

# %% [markdown] tags=["solution"]
# The trap is `theta -= step_size * gradient(theta)` with `points.append(theta)`: the list then holds one array many
# times, and every row shows the last point. It also writes into the caller's start. Rows of an array made beforehand
# copy by nature. The other way is a list and `theta = theta - …`, which makes a new array at each step.

# %% [markdown]
# ## 03.2 The largest safe step ★★☆ · 15 minutes
#
# The run diverged. Before anybody tries step sizes at random, compute the limit $2/L$ from the gradient function
# alone. For a loss that is quadratic, $\nabla J(\theta + r) - \nabla J(\theta) = H r$ exactly: a product with the
# Hessian $H$ costs two gradients. Repeat the product with the result, each time scaled to length 1, and its length
# comes to $L$.


# %%
def largest_step_size(gradient, theta, iterations=200):
    """The step size above which gradient descent diverges on a quadratic loss.

    It is 2 / (largest curvature).

    gradient: function from a float64 array (d,) to the gradient of a quadratic loss there,
    (d,); all curvatures are 0 or positive. theta: float64 array (d,), any point; it stays as it
    was. Calls gradient at most iterations + 1 times. Returns a float, infinity where the loss
    has no curvature. Within 1 % where the largest curvature is 1.1 times the second or more,
    for d up to 1,000, for curvatures from 1e-6 to 1e6 and points of a size near 1.
    """
    # SOLUTION
    here = gradient(theta)
    r = np.random.default_rng(0).normal(size=len(theta))  # at random, so orthogonal to nothing
    L = 0.0
    for _ in range(iterations):
        r = r / np.linalg.norm(r)
        product = gradient(theta + r) - here
        L = float(np.linalg.norm(product))
        if L == 0:
            return float("inf")
        r = product
    return 2 / L


# %%
check("03.2", largest_step_size)

# %% [markdown] tags=["solution"]
# Two choices matter. The random start: a fixed one, such as (1, 0, …, 0), may be orthogonal to the steepest direction
# or lie in a flat one, and then never sees it. And the difference of *two* gradients: away from the lowest point
# $\nabla J(\theta)$ is not 0, and the gradient at $\theta + r$ alone is not $Hr$.
#
# For a loss that is not quadratic, take $r$ of length $10^{-4}$ or so and divide by that length; or let autograd
# compute $Hr$ exactly, as the lesson did. `scipy.sparse.linalg.eigsh` with a `LinearOperator` gets there in fewer
# products.

# %% [markdown]
# ## 03.3 A batch in pieces ★★☆ · 10 minutes
#
# "A batch of 256 does not fit into memory," says a colleague. "So I take pieces of 60 and average their gradients. Is
# that the same?" The last piece has 16. Combine the pieces' gradients so that it is the same.


# %%
def accumulate(pieces):
    """The gradient of the mean loss of a whole batch, from those of its pieces.

    pieces: iterable, a generator perhaps, of pairs (gradient, count): the gradient of the
    piece's own mean loss, a float array of any shape, the same for all; and the number of its
    examples, 0 or more. A piece of no examples may hold NaN, and does not count. Returns a
    float64 array of that shape; the arrays that came stay as they were. Raises ValueError where
    there is no example at all.
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
check("03.3", accumulate)

# %% [markdown] tags=["solution"]
# A mean of means is the mean only where all counts are equal. With pieces of 60, 60, 60, 60 and 16, each example of
# the last one would weigh almost four times as much as the others. In language models the counts are numbers of
# tokens, they differ in every piece, and widely used training loops had this error for years. The second way is the
# one that frameworks suggest: let each piece compute its *sum* of losses divided by the whole batch's count, and let
# `.backward()` add the gradients up.

# %% tags=["solution"]
pieces = [(np.array([1.0]), 60)] * 4 + [(np.array([5.0]), 16)]
print(f"weighted {accumulate(pieces)[0]:.2f}, mean of means {np.mean([g for g, _ in pieces]):.2f}")

# %% [markdown]
# ## 03.4 Adam, resumed ★★★ · 15 minutes
#
# A job was preempted and went on from its checkpoint, and the loss jumped: the weights had been saved, the
# optimizer's state had not. Write one step of AdamW (Loshchilov and Hutter 2019) as a function of weights *and
# state*. The W is *weight decay*: first, and apart from the gradient, $\theta \leftarrow (1 - \alpha w)\,\theta$ for
# a decay $w$; then Adam's step of the lesson, from the gradient as it came.


# %%
def adamw_step(
    theta, gradient, state, step_size=1e-3, beta1=0.9, beta2=0.999, epsilon=1e-8, decay=0.01
):
    """One step of AdamW.

    theta, gradient: float arrays of one shape and dtype. state: None before the first step;
    afterwards what the step before returned. Returns (new theta, new state), new theta in the
    dtype of theta; what came in stays as it was, the state too. Agrees with torch.optim.AdamW
    to rounding.
    """
    # SOLUTION
    t, m, s = state if state is not None else (0, np.zeros_like(theta), np.zeros_like(theta))
    t = t + 1
    m = beta1 * m + (1 - beta1) * gradient
    s = beta2 * s + (1 - beta2) * gradient**2
    m_hat, s_hat = m / (1 - beta1**t), s / (1 - beta2**t)
    moved = (1 - step_size * decay) * theta - step_size * m_hat / (np.sqrt(s_hat) + epsilon)
    return moved.astype(theta.dtype, copy=False), (t, m, s)


# %%
check("03.4", adamw_step)

# %% [markdown] tags=["solution"]
# The state is the count of steps and two arrays of the weights' size, so a checkpoint that can be resumed is three
# times as large as the weights. Forget it, and $t$ starts at 1 again: each weight then takes a step of full length,
# as the first step always does.
#
# Why apart from the gradient? Adding $w\,\theta$ to the gradient (`torch.optim.Adam(weight_decay=…)` does) sends the
# decay through the division by $\sqrt{\hat s}$: weights with large gradients then hardly decay, which nobody asked
# for. A second way to write the step folds both corrections into the step size,
# $\alpha\sqrt{1-\beta_2^t}/(1-\beta_1^t)$; $\epsilon$ must then be scaled as well to be the same method.
