# %% [markdown]
# # 03b Curvature and noise: exercises
#
# The backward pass of a layer, the noise of a gradient from two batch sizes, and the largest learning rate that is
# safe. Fill in what is missing, run the cell, then run its check.

# %%
import numpy as np

from course_lib.idioms import begin, check

scratch = begin("03b")

# %% [markdown]
# ## 03b.1 Backwards through a layer ★☆☆ · 10 minutes
#
# A device has NumPy and no framework, and its small network uses tanh instead of ReLU. Its layer computes $h =
# \tanh(xW + b)$. You get $\partial J / \partial h$ from the layer behind it, and $h$ was kept from the forward pass.
# The slope of $\tanh$ at $a$ is $1 - \tanh^2 a$. Write the layer's backward pass.


# %%
def tanh_layer_backward(x, W, h, dJ_dh):
    """The gradients of J with respect to the inputs, weights and biases of h = tanh(x W + b).

    x: inputs (N, D). W: weights (D, H). h: the layer's output (N, H). dJ_dh: the gradient of J
    with respect to h, (N, H). All are float64, N may be 0. J is already a mean, so nothing is
    divided by N here. Returns (dJ_dx, dJ_dW, dJ_db) of shapes (N, D), (D, H), (H,). Leaves the
    arrays as they were.
    """
    # SOLUTION
    delta = dJ_dh * (1 - h**2)
    return delta @ W.T, x.T @ delta, delta.sum(axis=0)


# %%
check("03b.1", tanh_layer_backward)

# %% [markdown] tags=["solution"]
# First comes the activation, entry by entry: $\delta = \frac{\partial J}{\partial h} \odot (1 - h^2)$. With $\delta$
# the three gradients are those of the lesson. The shapes help: only $x^{\mathsf T}\delta$ has the shape of $W$. The
# layer kept $h$, so $a$ is not needed. A second way is `np.einsum("nd,nh->dh", x, delta)`, which says the sum over the
# images in its letters.

# %% [markdown]
# ## 03b.2 Noise from two batch sizes ★★☆ · 15 minutes
#
# "Would a larger batch help us?" asks the team that trains on four machines. Nobody has the gradient of each image. But
# every step has two gradients anyway: that of one machine's small batch, and the mean over all machines. Their lengths
# are enough.
# For a batch of $B$ images, the squared length is on average $\lVert g\rVert^2 + \sigma^2/B$. Two batch sizes give two
# equations for the two unknowns.


# %%
def signal_and_noise(small, small_batch, large, large_batch):
    """Estimates of |g|² and σ² from the squared lengths of mini-batch gradients.

    small, large: float arrays (S,) and (L,), the squared lengths of gradients of batches of
    small_batch and of large_batch images; one or more of each. small_batch, large_batch:
    positive ints. Returns (signal, noise), two plain floats, computed in float64. Either may
    come out negative by chance and is returned as it is. Raises ValueError if the two batch
    sizes are equal.
    """
    # SOLUTION
    if small_batch == large_batch:
        raise ValueError(f"expected two different batch sizes, got {small_batch} twice")
    of_small, of_large = (float(np.mean(each, dtype=np.float64)) for each in (small, large))
    noise = (of_small - of_large) / (1 / small_batch - 1 / large_batch)
    return of_small - noise / small_batch, noise


# %%
check("03b.2", signal_and_noise)

# %% [markdown] tags=["solution"]
# Subtract the two equations: $\lVert g\rVert^2$ cancels, and $\sigma^2$ is the difference divided by $\frac{1}{B_1} -
# \frac{1}{B_2}$. Then put $\sigma^2$ into either equation. Squared lengths must be averaged, not lengths: the mean of the
# squares is what the equations are about. The simple noise scale is noise divided by signal. Do not average the
# *ratios* of many steps: where the signal is small by chance, the ratio is huge. Average signal and noise over many
# steps first, and divide last. This is also why negative estimates must not be cut off at 0: they balance those that
# are too large.

# %% [markdown]
# ## 03b.3 The largest safe learning rate ★★★ · 15 minutes
#
# A training diverged. Before anyone tries learning rates at random, compute the limit $2/\lambda_{\max}$ from the
# gradient function alone. For a quadratic loss, $\nabla J(\theta + r) - \nabla J(\theta) = A r$ holds exactly. So a
# product with the Hessian $A$ costs two gradients. Repeat the product with its own result, scaled to length 1 each
# time. Then the length of the product approaches $\lambda_{\max}$.


# %%
def largest_learning_rate(gradient, theta, iterations=200):
    """The learning rate above which gradient descent diverges on a quadratic loss.

    It is 2 / (largest curvature).

    gradient: function from a float64 array (d,) to the gradient of a quadratic loss there,
    (d,); all curvatures are 0 or positive. theta: float64 array (d,), any point; it stays as it
    was. Calls gradient at most iterations + 1 times. Returns a float, infinity where the loss
    has no curvature. Within 1 % where the largest curvature is at least 1.1 times the second,
    for d up to 1,000, for curvatures from 1e-6 to 1e6 and points of a size near 1.
    """
    # SOLUTION
    here = gradient(theta)
    r = np.random.default_rng(0).normal(size=len(theta))  # at random, so orthogonal to nothing
    curvature = 0.0
    for _ in range(iterations):
        r = r / np.linalg.norm(r)
        product = gradient(theta + r) - here
        curvature = float(np.linalg.norm(product))
        if curvature == 0:
            return float("inf")
        r = product
    return 2 / curvature


# %%
check("03b.3", largest_learning_rate)

# %% [markdown] tags=["solution"]
# Two choices matter. The first is the random start. A fixed one, such as $(1, 0, \dots, 0)$, may be orthogonal to the
# steepest direction, and then it never finds it. The second is the difference of *two* gradients. Away from the lowest
# point $\nabla J(\theta)$ is not 0, so the gradient at $\theta + r$ alone is not $Ar$.
#
# For other losses, take $r$ of length $10^{-4}$ and divide by that length, or let autograd compute the product, as the
# lesson does. A second way is
# `scipy.sparse.linalg.eigsh` with a `LinearOperator`, which needs fewer products.
