# %% [markdown]
# # 03b Curvature and noise
#
# At 3 a.m. a training diverges. For a year it had caused no trouble. Someone used batches of 512 instead of 32, and
# raised the learning rate by the same factor, as a common rule says. Two things decide whether this works: the
# curvature of the loss, and the noise of the gradient. This lesson derives both and measures both.
#
# ## You will be able to
#
# - compute from the curvatures which learning rate diverges, and how many steps a smaller one takes;
# - explain what momentum gains, and when Adam gains little;
# - derive back-propagation for a network of two layers, and check it in two ways;
# - measure the noise of a gradient, and say what it means for batch size and learning rate;
# - measure the largest curvature of a network, and say what warm-up is for.
#
# ## Before you start
#
# You need lesson 03, and $\hat y - y$ from lesson 02. From linear algebra: a symmetric matrix has *eigenvectors* $q_i$
# that are orthogonal to each other, and *eigenvalues* $\lambda_i$ with $A q_i = \lambda_i q_i$.

# %%
import matplotlib.pyplot as plt
import numpy as np
from threadpoolctl import threadpool_limits

from course_lib import data
from course_lib.idioms import begin, claim, guess, path, reveal, show

scratch = begin("03b")
threadpool_limits(1)  # these computations are small: more threads would only wait
path.picture(here="03b")

# %% [markdown]
# ## Which learning rate diverges?
#
# Take a loss whose lowest point is known, $\theta = 0$:
#
# $$J(\theta) = \tfrac12\, \theta^{\mathsf T} A\, \theta, \qquad \nabla J(\theta) = A\theta, \qquad \theta \in \mathbb{R}^d .$$
#
# $A \in \mathbb{R}^{d \times d}$ is symmetric, and all its eigenvalues are positive. The matrix of second derivatives
# of a loss is called its *Hessian*. Here it is $A$. Its eigenvalues are the *curvatures*: along the eigenvector $q_i$
# the slope grows at the rate $\lambda_i$. Ours are 10 and 1, and the valley is turned by 30°.


# %%
def turned_valley(curvatures, degrees):
    """The Hessian (2, 2) of a valley, and its eigenvectors as columns, steepest first."""
    angle = np.deg2rad(degrees)
    q = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return q @ np.diag(curvatures) @ q.T, q


# %%
A, q = turned_valley([10.0, 1.0], 30)


def descend(learning_rate, steps):
    points = [q @ np.array([1.0, 4.0])]
    for _ in range(steps):
        points.append(points[-1] - learning_rate * A @ points[-1])
    return np.array(points)  # (steps + 1, 2)


# %% [markdown]
# Write a point in eigenvectors: $\theta_t = \sum_i c_{t,i}\, q_i$. One step of gradient descent is
#
# $$\theta_{t+1} = \theta_t - \alpha A \theta_t = (I - \alpha A)\,\theta_t ,$$
# $$c_{t+1,i} = (1 - \alpha\lambda_i)\, c_{t,i} \quad\Rightarrow\quad c_{t,i} = (1 - \alpha\lambda_i)^t\, c_{0,i} .$$
#
# So the directions do not influence each other. At each step, each coordinate is multiplied by its own constant. All of
# them shrink if $|1 - \alpha\lambda_i| < 1$ for every $i$. This means $0 < \alpha\lambda_i < 2$, so the largest
# curvature decides:
#
# $$\boxed{\;\alpha < \frac{2}{\lambda_{\max}}\;}$$
#
# The figure shows the two coordinates $c_{t,i}$ for $\alpha = 0.17$, and the derived lines.

# %%
alpha = 0.17
coordinates = np.abs(descend(alpha, 25) @ q)
for i, (curvature, marker) in enumerate(((10, "o"), (1, "s"))):
    derived = abs(1 - alpha * curvature) ** np.arange(26) * coordinates[0, i]
    plt.semilogy(coordinates[:, i], marker, label=f"curvature {curvature}")
    plt.semilogy(derived, color=show.GREY, lw=1)
plt.xlabel("step t")
plt.ylabel("distance |c| along this eigenvector")
plt.legend()
show.finding(
    "Each direction shrinks by its own factor",
    alt="Distance from the lowest point along each eigenvector over 25 steps, logarithmic: two "
    "straight lines on the derived ones, steeper for curvature 1 than for curvature 10",
)

# %% [markdown]
# **Your turn:** set `alpha` to 2/11 and run the cell again. Both lines now have the same slope. The next section says
# why this is the best learning rate here.
#
# Does trying find the same limit? We start with a learning rate that works and one that diverges. Then we halve the
# interval between them 60 times.


# %%
def diverges(learning_rate):
    last = np.linalg.norm(descend(learning_rate, 150)[-2:], axis=1)
    return last[1] > last[0]


works, fails = 0.0, 1.0
for _ in range(60):
    middle = (works + fails) / 2
    works, fails = (works, middle) if diverges(middle) else (middle, fails)

# %%
claim(
    "the largest learning rate that trying finds is 2/λ to ten digits",
    abs(works / (2 / 10) - 1) < 1e-10,
    f"{works:.13f} found by trying, {2 / 10} derived",
)

# %% [markdown]
# A real loss is not a parabola, but near any point it almost is. Let $\lambda_{\max}$ now be the largest curvature that
# occurs anywhere along a step $s$. Taylor's formula gives the first line, and $s = -\alpha\nabla J$ the second:
#
# $$J(\theta + s) \;\le\; J(\theta) + \nabla J(\theta)^{\mathsf T} s + \tfrac{\lambda_{\max}}{2}\,\lVert s \rVert^2$$
# $$J(\theta_{t+1}) \;\le\; J(\theta_t) - \alpha\left(1 - \tfrac{\alpha \lambda_{\max}}{2}\right)\lVert\nabla J\rVert^2 .$$
#
# For $\alpha < 2/\lambda_{\max}$ the bracket is positive, so the loss falls at every step.
#
# ## How many steps does it take?
#
# The steepest direction forbids large steps, and the flattest direction needs them. The distance shrinks by the larger
# of $|1 - \alpha \lambda_{\max}|$ and $|1 - \alpha\lambda_{\min}|$. As $\alpha$ grows, the second falls, and the first
# falls to 0 and rises again. The best $\alpha$ makes them equal:
#
# $$\alpha \lambda_{\max} - 1 = 1 - \alpha\lambda_{\min} \;\;\Rightarrow\;\; \alpha = \frac{2}{\lambda_{\max} + \lambda_{\min}},
# \qquad \text{factor per step } \frac{\kappa - 1}{\kappa + 1}, \qquad \kappa = \frac{\lambda_{\max}}{\lambda_{\min}} .$$
#
# $\kappa$ is the *condition number*. To shrink a distance to the share $\varepsilon$ takes
# $\ln(1/\varepsilon) / \ln\frac{\kappa+1}{\kappa-1}$ steps. For large $\kappa$ this is about
# $\tfrac{\kappa}{2}\ln(1/\varepsilon)$. We count the steps to a millionth, from equal distances in both directions.


# %%
def steps_needed(update, kappa, at_most=200_000):
    """Steps to a millionth in a valley along the axes, curvatures kappa and 1."""
    curvatures, distance, memory = np.array([kappa, 1.0]), np.ones(2), np.zeros(2)
    for step in range(at_most):
        if np.linalg.norm(distance) < 1e-6 * np.sqrt(2):
            return step
        distance, memory = update(distance, curvatures * distance, memory)
    return at_most


def plain(learning_rate):
    return lambda theta, g, memory: (theta - learning_rate * g, memory)


# %%
kappas = np.array([10, 100, 1000, 10_000])
counted = [steps_needed(plain(2 / (k + 1)), k) for k in kappas]
predicted = np.log(1e6) / np.log((kappas + 1) / (kappas - 1))
claim(
    "the formula predicts the number of steps to within one",
    np.all(np.abs(counted - predicted) <= 1),
    "; ".join(f"κ = {k:,}: {n:,} steps" for k, n in zip(kappas, counted)),
)

# %% [markdown]
# Ten times the condition number takes ten times as many steps. On a map the difference looks smaller: the lines of
# equal loss are ellipses whose axes have the ratio $\sqrt\kappa$, so the valley is only about three times as narrow.
#
# ## What does momentum gain?
#
# (You may skip the algebra of this section. Its result is the last formula: $\sqrt\kappa$ takes the place of $\kappa$.)
# Begin with the missing `zero_grad()` of lesson 03. Let $v$ be the sum of all gradients, and look along one direction
# of curvature $\lambda$. There $v_t = v_{t-1} + \lambda\theta_t$ and $\theta_{t+1} = \theta_t - \alpha v_t$. From the
# step before we know $v_{t-1} = (\theta_{t-1}-\theta_t)/\alpha$. Put it in:
#
# $$\theta_{t+1} - (2 - \alpha\lambda)\,\theta_t + \theta_{t-1} = 0 .$$
#
# Sequences $\theta_t = z^t$ solve this if $z^2 - (2-\alpha\lambda) z + 1 = 0$. The product of the two roots is 1. For
# $0 < \alpha\lambda < 4$ they are complex and conjugate, so both have modulus 1. Nothing shrinks: the swing keeps its
# size.
#
# Momentum keeps the share $\beta$ of $v$. The same steps lead to $z^2 - (1 + \beta - \alpha\lambda)\,z + \beta = 0$,
# where the product of the roots is $\beta$. As long as the roots are complex, *every* direction shrinks by $|z| =
# \sqrt\beta$ per step, whatever its curvature. They are complex or equal where
#
# $$(1 + \beta - \alpha\lambda)^2 \le 4\beta \quad\Leftrightarrow\quad (1-\sqrt\beta)^2 \le \alpha\lambda \le (1+\sqrt\beta)^2 .$$
#
# Let $\lambda_{\min}$ meet the left end and $\lambda_{\max}$ the right end. Divide the two equations, and take the
# root:
#
# $$\sqrt\kappa = \frac{1+\sqrt\beta}{1-\sqrt\beta} \;\;\Rightarrow\;\; \sqrt\beta = \frac{\sqrt\kappa-1}{\sqrt\kappa+1},
# \qquad \alpha = \frac{(1+\sqrt\beta)^2}{\lambda_{\max}} .$$
#
# Compare this with the factor of plain descent, $\frac{\kappa-1}{\kappa+1}$. The condition number has become its square
# root. How many steps does that save?

# %%
guess(
    "gain",
    "κ = 10,000, both methods at their best: how many times fewer steps does momentum take?",
    low=1,
    high=10_000,
)


# %%
def momentum(learning_rate, beta):
    def update(theta, g, v):
        v = beta * v + g
        return theta - learning_rate * v, v

    return update


best_beta = ((np.sqrt(kappas) - 1) / (np.sqrt(kappas) + 1)) ** 2
heavy = [momentum((1 + b**0.5) ** 2 / k, b) for b, k in zip(best_beta, kappas)]
steps = {"plain": counted, "momentum": [steps_needed(u, k) for u, k in zip(heavy, kappas)]}
reveal("gain", steps["plain"][-1] / steps["momentum"][-1])

# %% [markdown]
# The figure shows the steps of both methods for four condition numbers. A straight line of slope 1 means "in proportion
# to $\kappa$", and one of slope ½ "in proportion to its root".

# %%
slopes = {name: np.polyfit(np.log(kappas[1:]), np.log(n[1:]), 1)[0] for name, n in steps.items()}
for (name, n), marker in zip(steps.items(), "os"):
    plt.loglog(kappas, n, marker + "-", label=f"{name}: κ to the power of {slopes[name]:.2f}")
plt.xlabel("condition number κ")
plt.ylabel("steps to a millionth")
plt.legend()
show.finding(
    "With momentum the steps grow as the square root of κ",
    alt="Steps against the condition number, both logarithmic, two straight lines: "
    + "; ".join(
        f"{name} grows as κ to the power of {slope:.2f}" for name, slope in slopes.items()
    ),
)

# %%
claim(
    "plain descent's steps grow as κ, those of momentum about as its root",
    abs(slopes["plain"] - 1) < 0.05 and abs(slopes["momentum"] - 0.5) < 0.1,
    "; ".join(f"{name}: {', '.join(f'{each:,}' for each in n)}" for name, n in steps.items()),
)

# %% [markdown]
# The best $\beta$ depends on $\kappa$, which is rarely known for a network. The formula tells for which condition
# number the usual $\beta = 0.9$ is the best.

# %%
suits = ((1 + np.sqrt(0.9)) / (1 - np.sqrt(0.9))) ** 2
claim("0.9 suits a κ between 1,000 and 2,000", 1000 < suits < 2000, f"κ = {suits:,.0f}")

# %% [markdown]
# ## Does Adam make the condition number harmless?
#
# Adam gives each *weight* its own step. If the valley lies along the axes, each weight has one curvature. If the valley
# is turned, each weight is a mixture of directions. How many more steps does Adam then take?

# %%
guess(
    "turned",
    "Adam, κ = 1,000: how many times the steps does it take in a valley turned by 45°?",
    low=0.1,
    high=100,
)

# %% [markdown]
# We count the steps until the distance stays below a thousandth.


# %%
def adam_steps(kappa, degrees, learning_rate=0.1, at_most=4000):
    """Steps after which the distance stays below a thousandth."""
    hessian, q = turned_valley([kappa, 1.0], degrees)
    theta, m, s, last = q @ np.ones(2), np.zeros(2), np.zeros(2), 0
    for t in range(1, at_most + 1):
        g = hessian @ theta
        m, s = 0.9 * m + 0.1 * g, 0.999 * s + 0.001 * g**2
        m_hat, s_hat = m / (1 - 0.9**t), s / (1 - 0.999**t)
        theta = theta - learning_rate * m_hat / (np.sqrt(s_hat) + 1e-8)
        last = t if np.linalg.norm(theta) > 1e-3 else last
    return last + 1


# %%
counts = {degrees: [adam_steps(k, degrees) for k in (10, 100, 1000)] for degrees in (0, 10, 45)}
reveal("turned", counts[45][2] / counts[0][2])
show.table(
    ["valley turned by", "κ = 10", "κ = 100", "κ = 1,000"],
    [[f"{degrees}°", *n] for degrees, n in counts.items()],
    caption="Adam's steps until the distance stays below a thousandth",
)

# %%
claim(
    "along the axes Adam's steps do not depend on κ; at 45° and κ = 1,000 it takes over five "
    "times as many",
    np.ptp(counts[0]) <= 2 and counts[45][2] > 5 * counts[0][2],
    f"{counts[0]} along the axes, {counts[45]} at 45°",
)

# %% [markdown]
# So Adam helps most where the weights have different scales. It helps much less where the valley lies across the axes.
#
# ## How does back-propagation compute a gradient?
#
# It applies the chain rule from the loss backwards, layer by layer. Our network reads $N$ digits at a time, with $H$
# hidden units and $C = 10$ classes. As in lesson 02, $k_n$ is the label of image $n$, and the row $y_n \in
# \mathbb{R}^C$ is its one-hot vector.
#
# | symbol | shape | meaning |
# | --- | --- | --- |
# | $x$ | $(N, 64)$ | images, one row each |
# | $a = xW_1 + b_1$ | $(N, H)$ | weighted sums; $W_1$ has shape $(64, H)$, $b_1$ $(H,)$ |
# | $h = \max(a, 0)$ | $(N, H)$ | hidden units (ReLU) |
# | $z = hW_2 + b_2$ | $(N, C)$ | logits; $W_2$ has shape $(H, C)$, $b_2$ $(C,)$ |
# | $J = \frac1N\sum_n \ell(z_n, k_n)$ | a number | mean cross-entropy |
#
# One article prints such a layer, activation of $xW + b$, as a formula of "model conversion". It is the forward pass.
# Now we go backwards, one row of the table at a time. Lesson 02 gives the first line:
#
# $$\delta_2 := \frac{\partial J}{\partial z} = \frac{1}{N}(\hat y - y) \qquad (N, C)$$
#
# Each weight $W_2[i,c]$ enters the logit $z[n,c]$ of every image, with the factor $h[n,i]$. So we sum over the images:
#
# $$\frac{\partial J}{\partial W_2[i,c]} = \sum_n \delta_2[n,c]\, h[n,i] \;\Rightarrow\;
# \frac{\partial J}{\partial W_2} = h^{\mathsf T} \delta_2 \quad (H, C), \qquad
# \frac{\partial J}{\partial b_2} = \sum_n \delta_2[n,:] \quad (C,)$$
#
# Each hidden unit $h[n,i]$ enters all logits of its image, with the factors $W_2[i,c]$. So we sum over the classes:
#
# $$\frac{\partial J}{\partial h} = \delta_2 W_2^{\mathsf T} \quad (N, H), \qquad
# \delta_1 := \frac{\partial J}{\partial a} = \delta_2 W_2^{\mathsf T} \odot [a > 0] \quad (N, H)$$
#
# $\odot$ multiplies entry by entry. $[a > 0]$ is 1 where a unit is on and 0 where it is off: this is the slope of ReLU.
# The first layer then looks like the second one:
#
# $$\frac{\partial J}{\partial W_1} = x^{\mathsf T} \delta_1 \quad (64, H), \qquad
# \frac{\partial J}{\partial b_1} = \sum_n \delta_1[n,:] \quad (H,)$$

# %%
train, test = data.digits()
x, x_test = (part.images.reshape(-1, 64).astype(np.float64) for part in (train, test))
labels = train.labels


def new_network(seed=0, hidden=32):
    random = np.random.default_rng(seed)
    W1 = random.normal(0, np.sqrt(2 / 64), (64, hidden))  # this size keeps the signals as large
    W2 = random.normal(0, np.sqrt(2 / hidden), (hidden, 10))  # behind a layer as before it
    return {"W1": W1, "b1": np.zeros(hidden), "W2": W2, "b2": np.zeros(10)}


# %%
def forward(p, x):
    a = x @ p["W1"] + p["b1"]
    return a, np.maximum(a, 0) @ p["W2"] + p["b2"]


def loss_and_delta(z, labels):
    """The mean cross-entropy, and its gradient with respect to the logits z (lesson 02)."""
    rows, powers = np.arange(len(z)), np.exp(z - z.max(axis=1, keepdims=True))
    answers = powers / powers.sum(axis=1, keepdims=True)
    loss = -np.log(np.maximum(answers[rows, labels], 1e-300)).mean()
    return float(loss), (answers - np.eye(10)[labels]) / len(z)


def loss_and_gradients(p, x, labels):
    a, z = forward(p, x)
    loss, delta2 = loss_and_delta(z, labels)
    delta1 = (delta2 @ p["W2"].T) * (a > 0)
    W1, W2 = x.T @ delta1, np.maximum(a, 0).T @ delta2
    return loss, {"W1": W1, "b1": delta1.sum(axis=0), "W2": W2, "b2": delta2.sum(axis=0)}


# %% [markdown]
# The code takes the logarithm of a softmax, against the advice of lesson 02b. Here it does no harm: the gradient does
# not pass through this logarithm, and a probability of 0 is replaced by a tiny number.
#
# A derivation can contain a mistake, so we check the result in two ways. PyTorch's autograd gives every entry. A
# *central difference* $\frac{J(\theta+\varepsilon e) - J(\theta-\varepsilon e)}{2\varepsilon}$ uses nothing but the
# loss. (Lesson 02b derives its best step, there called $h$.) We take it along random directions $e$ through all
# weights.

# %%
import torch

torch.set_num_threads(1)
network, few = new_network(), slice(0, 50)
derived = loss_and_gradients(network, x[few], labels[few])[1]
of_torch = {name: torch.tensor(w, requires_grad=True) for name, w in network.items()}
hidden = torch.relu(torch.from_numpy(x[few]) @ of_torch["W1"] + of_torch["b1"])
z = hidden @ of_torch["W2"] + of_torch["b2"]
torch.nn.functional.cross_entropy(z, torch.from_numpy(labels[few])).backward()
off_autograd = max(np.abs(derived[name] - w.grad.numpy()).max() for name, w in of_torch.items())


# %%
def moved(p, direction, by):
    return {name: w + by * direction[name] for name, w in p.items()}


random, off_differences = np.random.default_rng(0), 0.0
for _ in range(20):
    e = {name: random.normal(size=w.shape) / 50 for name, w in network.items()}
    up, down = (
        loss_and_gradients(moved(network, e, by), x[few], labels[few])[0] for by in (1e-5, -1e-5)
    )
    slope = sum((derived[name] * e[name]).sum() for name in e)
    off_differences = max(off_differences, abs((up - down) / 2e-5 - slope))

# %%
claim(
    "the derived gradient is autograd's to 1e-12, and has the slopes of differences to 1e-6",
    off_autograd < 1e-12 and off_differences < 1e-6,
    f"{off_autograd:.0e} and {off_differences:.0e}",
)

# %% [markdown]
# **Now do exercise 03b.1**, which goes backwards through a layer with another activation.
#
# With this gradient a dozen lines of NumPy train the network.


# %%
def fit(learning_rate, epochs=10, batch=32, beta=0.0, seed=0, factor=lambda t, steps: 1.0):
    random, p, t = np.random.default_rng(100 + seed), new_network(seed), 0
    velocity = {name: np.zeros_like(w) for name, w in p.items()}
    per_epoch = len(x) // batch
    for _ in range(epochs):
        order = random.permutation(len(x))[: per_epoch * batch]
        for chosen in order.reshape(per_epoch, batch):
            _, gradients = loss_and_gradients(p, x[chosen], labels[chosen])
            for name, g in gradients.items():
                velocity[name] = beta * velocity[name] + g
            p, t = moved(p, velocity, -learning_rate * factor(t, epochs * per_epoch)), t + 1
    return p


# %%
trained = fit(0.3, epochs=20)
right = float((forward(trained, x_test)[1].argmax(axis=1) == test.labels).mean())
claim(
    "with NumPy alone, over 93 % of the test images are read", right > 0.93, f"{100 * right:.1f} %"
)

# %% [markdown]
# ## How noisy is the gradient of a mini-batch?
#
# The full gradient $g$ is the mean of $N$ gradients $g_n$, one for each image. A mini-batch takes the mean of $B$ of
# them, drawn at random. Each drawn $g_n$ is $g$ plus a deviation of mean 0. Deviations of independent draws are not
# correlated, so their squares add up:
#
# $$\mathbb{E}\,\Big\lVert \frac1B\sum_{b=1}^{B} g_{n_b} - g \Big\rVert^2
# = \frac{1}{B^2}\sum_{b=1}^{B} \mathbb{E}\,\lVert g_{n_b} - g\rVert^2 = \frac{\sigma^2}{B},
# \qquad \sigma^2 := \frac1N\sum_n \lVert g_n - g\rVert^2 .$$
#
# The noise is $\sigma/\sqrt B$. To halve it, you need four times as many images. (This holds for draws with
# replacement. Without replacement, the noise falls faster as $B$ comes near $N$.) To measure it we need the gradient of
# each image. The same lines give it without the sums over $n$.


# %%
def gradient_of_each(p, x, labels):
    """One row for each image: its own gradient, all weights in a row."""
    a, z = forward(p, x)
    delta2 = loss_and_delta(z, labels)[1] * len(x)
    delta1 = (delta2 @ p["W2"].T) * (a > 0)
    W1 = x[:, :, None] * delta1[:, None, :]
    W2 = np.maximum(a, 0)[:, :, None] * delta2[:, None, :]
    return np.concatenate([W1.reshape(len(x), -1), delta1, W2.reshape(len(x), -1), delta2], axis=1)


# %%
each = gradient_of_each(new_network(), x, labels)  # (1347, 2410)
g = each.mean(axis=0)
sigma = np.sqrt(((each - g) ** 2).sum(axis=1).mean())
sizes, noise, random = 2 ** np.arange(0, 11), [], np.random.default_rng(0)
for B in sizes:
    times = random.multinomial(B, np.full(len(x), 1 / len(x)), size=100)  # 100 batches
    noise.append(np.sqrt(((times @ each / B - g) ** 2).sum(axis=1).mean()))

# %% [markdown]
# The figure compares the measured noise with $\sigma/\sqrt B$ and with the length of the full gradient.

# %%
slope = np.polyfit(np.log(sizes), np.log(noise), 1)[0]
plt.loglog(sizes, noise, "o", label="measured, 100 batches each")
plt.loglog(sizes, sigma / np.sqrt(sizes), color=show.GREY, label="σ/√B")
plt.axhline(np.linalg.norm(g), color=show.ORANGE, ls="--", label="length of the full gradient")
plt.xlabel("batch size B")
plt.ylabel("noise of the gradient (RMS)")
plt.yticks([0.1, 0.2, 0.5, 1, 2, 5], ["0.1", "0.2", "0.5", "1", "2", "5"])
plt.minorticks_off()
plt.legend()
show.finding(
    "Half of the noise costs four times the images",
    alt="Noise of the gradient against the batch size, both logarithmic: points on a straight line "
    f"of slope {slope:.2f}, from {noise[0]:.1f} at 1 to {noise[-1]:.2f} at {sizes[-1]}; the full "
    f"gradient has a length of {np.linalg.norm(g):.2f}",
)

# %%
claim(
    "the noise falls as the root of the batch size, and is σ/√B to 10 %",
    abs(slope + 0.5) < 0.03 and np.allclose(noise, sigma / np.sqrt(sizes), rtol=0.1),
    f"B to the power of {slope:.3f}",
)

# %% [markdown]
# Where the points cross the dashed line, noise and signal have the same length. In much smaller batches the gradient is
# mostly noise. In much larger ones more images hardly change it. The batch size at the crossing,
# $\sigma^2/\lVert g\rVert^2$, is called the *simple noise scale* (McCandlish et al. 2018). It is "simple" because it
# leaves the curvature out. How does it change during training?

# %%
guess(
    "scale",
    "After 20 epochs, the simple noise scale is …",
    choices=["smaller", "about the same", "larger"],
)

# %%
rows = {}
for when, p in (("at the start", new_network()), ("after 20 epochs", trained)):
    each = gradient_of_each(p, x, labels)
    g = each.mean(axis=0)
    rows[when] = np.linalg.norm(g), np.sqrt(((each - g) ** 2).sum(axis=1).mean())
scale = {when: (sigma / signal) ** 2 for when, (signal, sigma) in rows.items()}
change = scale["after 20 epochs"] / scale["at the start"]
reveal("scale", "larger" if change > 2 else "smaller" if change < 0.5 else "about the same")
show.table(
    ["network", "length of the gradient", "noise σ of one image", "simple noise scale"],
    [[when, f"{s:.3f}", f"{n:.2f}", f"{scale[when]:,.0f}"] for when, (s, n) in rows.items()],
    caption="Signal and noise of the gradient",
)

# %%
noise_left = rows["after 20 epochs"][1] / rows["at the start"][1]
claim(
    "after 20 epochs the noise of one image is smaller, but the simple noise scale is over five "
    "times as large",
    noise_left < 1 and change > 5,
    f"noise {noise_left:.2f} times, noise scale {change:.0f} times what it was",
)

# %% [markdown]
# The noise shrinks: the network fits more and more images, and a fitted image has almost no gradient. That is why a
# constant learning rate still made progress in lesson 03. But the full gradient shrinks faster. So late in training, a
# mini-batch of the same size is noisier *compared with the signal*. Larger batches or smaller steps help then.
#
# **Now do exercise 03b.2**, which estimates both numbers from two batch sizes, without the gradient of each image.
#
# ## If I enlarge the batch, should I enlarge the learning rate?
#
# A common rule says: twice the batch, twice the learning rate. The noise scale tells us how far to trust it. Below it,
# noise limits the learning rate, and larger batches have less noise. Far above it, there is hardly any noise left to
# remove, and the curvature limits the rate. We look for the best rate of each batch size: the one with the lowest loss
# after 20 steps from the start.

# %%
guess(
    "larger",
    "Batches of 512 instead of 32: by which factor does the best learning rate grow?",
    low=0.1,
    high=100,
)


# %%
def loss_after(learning_rate, batch, steps=20):
    """The training loss after so many steps, the geometric mean of four networks."""
    losses = []
    for seed in range(4):
        random, p = np.random.default_rng(seed), new_network(seed)
        for _ in range(steps):
            chosen = random.integers(len(x), size=batch)
            p = moved(p, loss_and_gradients(p, x[chosen], labels[chosen])[1], -learning_rate)
        losses.append(loss_and_gradients(p, x, labels)[0])
    return np.exp(np.log(losses).mean())


# %%
tried = 2.0 ** np.arange(-5, 2.1, 0.5)
best = {
    batch: float(tried[np.argmin([loss_after(rate, batch) for rate in tried])])
    for batch in (1, 2, 4, 8, 32, 128, 512)
}
reveal("larger", best[512] / best[32])

# %% [markdown]
# The dashed line follows the rule. It starts at the best rate for single images.

# %%
batches = np.array(list(best))
plt.loglog(batches, list(best.values()), "o-", label="best learning rate after 20 steps")
plt.loglog(
    batches, best[1] * batches, "--", color=show.GREY, label="twice the batch, twice the rate"
)
plt.axvline(scale["at the start"], color=show.ORANGE, label="simple noise scale at the start")
plt.ylim(0.03, 6)
plt.xticks(batches, batches)
plt.yticks([0.05, 0.1, 0.2, 0.5, 1, 2, 5], ["0.05", "0.1", "0.2", "0.5", "1", "2", "5"])
plt.minorticks_off()
plt.xlabel("batch size")
plt.ylabel("learning rate")
plt.legend(loc="upper left")
show.finding(
    "The rule holds for small batches and fails for large ones",
    alt="Best learning rate against the batch size, both logarithmic. It follows the dashed line "
    "of the rule at small batches, and is almost level at large ones: "
    + ", ".join(f"{rate:.2g} at {batch}" for batch, rate in best.items()),
)

# %%
claim(
    "from 1 to 8 images the best rate grows more than threefold, from 32 to 512 less than fourfold",
    best[8] > 3 * best[1] and best[512] < 4 * best[32],
    f"{best[8] / best[1]:.1f} times for 8 times the batch, {best[512] / best[32]:.1f} times for 16",
)

# %% [markdown]
# **Your turn:** let `loss_after` take 40 steps, and run the cells from there on again. Does the rule hold farther to
# the right?
#
# The next cell repeats the accident of 3 a.m.: batches of 512, with 16 times the best rate of batches of 32.

# %%
with np.errstate(over="ignore", invalid="ignore"):
    accident = loss_after(16 * best[32], 512)
claim(
    "batches of 512 with 16 times the rate end with more than twice the loss of their best rate",
    accident > 2 * loss_after(best[512], 512),
    f"{accident:.2f}, and {loss_after(best[512], 512):.2f} at the best rate",
)

# %% [markdown]
# The larger batch removed noise, but the curvature stayed. Which rate does the curvature allow? We have to measure it.
#
# ## How large is the curvature of a network?
#
# The Hessian of this network has $2410^2$ entries, but we need only its largest eigenvalue. *Power iteration*
# multiplies a vector by the Hessian again and again. Each time the part along the steepest direction grows most, so the
# vector turns towards it. Autograd multiplies a vector $r$ by the Hessian without forming it: the product is the
# gradient of the number $\nabla J(\theta)^{\mathsf T} r$.


# %%
all_images, all_labels = torch.from_numpy(x), torch.from_numpy(labels)


def largest_curvature(p, rounds=20):
    """The largest curvature of the training loss at the weights p."""
    weights = [torch.tensor(p[name], requires_grad=True) for name in ("W1", "b1", "W2", "b2")]
    W1, b1, W2, b2 = weights
    z = torch.relu(all_images @ W1 + b1) @ W2 + b2
    error = torch.nn.functional.cross_entropy(z, all_labels)
    slopes = torch.autograd.grad(error, weights, create_graph=True)
    generator = torch.Generator().manual_seed(0)
    r = [torch.randn(w.shape, generator=generator, dtype=torch.float64) for w in weights]
    for _ in range(rounds):
        length = torch.sqrt(sum((part**2).sum() for part in r))
        r = [part / length for part in r]
        product = torch.autograd.grad(slopes, weights, r, retain_graph=True)
        found = float(sum((a * b).sum() for a, b in zip(r, product)))  # rᵀ H r, where |r| = 1
        r = product
    return found


# %%
curvature = largest_curvature(trained)
limit = 2 / curvature
claim(
    "twenty products settle the largest curvature to 5 %",
    abs(largest_curvature(trained, rounds=40) / curvature - 1) < 0.05,
    f"λ = {curvature:.2f}, so the limit is 2/λ = {limit:.2f}",
)

# %% [markdown]
# Is this the limit of the learning rate? We continue the training with all images at each step, once at half of the
# limit and once at twice the limit.


# %%
def descend_all(p, learning_rate, steps, every=0):
    """Full-batch descent. Returns the losses, and the curvature at every so many steps."""
    losses, found = [], []
    for t in range(steps + 1):
        error, g = loss_and_gradients(p, x, labels)
        losses.append(error)
        if every and t % every == 0:
            found.append(largest_curvature(p))
        p = moved(p, g, -learning_rate)
    return np.array(losses), np.array(found)


# %%
runs = {share: descend_all(trained, share * limit, 30)[0] for share in (0.5, 2)}
claim(
    "at half of the limit the loss falls at every step; at twice the limit it grows more than "
    "tenfold",
    np.all(np.diff(runs[0.5]) < 0) and runs[2].max() > 10 * runs[2][0],
    f"from {runs[0.5][0]:.4f} to {runs[0.5][-1]:.4f}, and up to {runs[2].max():.2f}",
)

# %% [markdown]
# So the limit is right near this point. But the curvature changes while the network learns. We train from the start
# with all images, at two constant learning rates, and measure the curvature along the way.

# %%
trainings = {rate: descend_all(new_network(), rate, 400, every=20) for rate in (0.25, 1.0)}

# %%
for (rate, (_, found)), style in zip(trainings.items(), ("o-", "s-")):
    plt.plot(np.arange(0, 401, 20), found, style, ms=4, label=f"learning rate {rate:g}")
plt.axhline(2, color=show.GREY, ls="--", label="2/α for a rate of 1")
plt.ylim(0, 6)
plt.xlabel("step of full-batch descent")
plt.ylabel("largest curvature")
plt.legend()
show.finding(
    "The curvature rises, then falls; at a rate of 1 it falls below 2/α",
    alt="Largest curvature over 400 steps. At a learning rate of 0.25 it rises to "
    f"{trainings[0.25][1].max():.1f} and falls slowly to {trainings[0.25][1][-1]:.1f}. At 1 it "
    f"falls below the dashed line at 2, to {trainings[1.0][1][-1]:.1f}",
)

# %%
small, large = trainings[0.25][1], trainings[1.0][1]
claim(
    "at 0.25 the curvature rises first and then falls; at 1 it is below 2/α = 2 from step 200 on, "
    "where at 0.25 it is above",
    small.max() > 1.1 * max(small[0], small[-1]) and large[10:].max() < 2 < small[10:].min(),
    f"0.25: {small[0]:.1f}, {small.max():.1f} at the peak, {small[-1]:.1f} at the end; "
    f"1: {large[-1]:.1f} at the end",
)

# %% [markdown]
# The claim prints the curvature at the start, right after "0.25:". Divide 2 by it. The result is close to the best rate
# for large batches, and the accident of 3 a.m. used about ten times as much. At a rate of 1 the first steps are above
# the limit too, and the training still works. The loss is not a parabola: a step that is too long leaves the steep
# place and ends in a flatter one. Cohen et al. (2021) studied this for larger networks, also with all images at each
# step and a constant rate. There the curvature often rises until it is just above $2/\alpha$, and then stays near this
# value. Their result is about full batches. With mini-batches the curvature must be measured anew.
#
# **Now do exercise 03b.3**, which computes the limit from the gradient function alone.
#
# ## Can I trust a picture of a loss surface?
#
# Papers draw the loss of a network along random directions through its trained weights. Some readers take a wide valley
# in such a picture as a sign of a robust network. But multiply $W_1$ and $b_1$ by 10 and divide $W_2$ by 10: the
# network still computes the same. What happens to the picture?


# %%
def direction(p, normalised):
    """A random direction; where normalised, each unit's part is as long as the unit's weights."""
    random = np.random.default_rng(1)
    d = {name: random.normal(size=w.shape) * (w.ndim > 1) for name, w in p.items()}
    if normalised:
        for name in ("W1", "W2"):
            d[name] *= np.linalg.norm(p[name], axis=0) / np.linalg.norm(d[name], axis=0)
    return d


rescaled = {
    "W1": 10 * trained["W1"],
    "b1": 10 * trained["b1"],
    "W2": trained["W2"] / 10,
    "b2": trained["b2"],
}


# %%
def profile(p, normalised):
    d, reach = direction(p, normalised), 1.0 if normalised else 0.15
    ahead = [moved(p, d, u) for u in np.linspace(-reach, reach, 31)]
    return np.array([loss_and_gradients(each, x, labels)[0] for each in ahead])


forms = {"as trained": trained, "rescaled, the same function": rescaled}
raw, normal = ([profile(p, each) for p in forms.values()] for each in (False, True))

# %% [markdown]
# Both networks compute the same. Now look at their losses along one plain random direction.

# %%
for name, losses, style in zip(forms, raw, ("-", "--")):
    plt.semilogy(np.linspace(-0.15, 0.15, 31), losses, style, label=name)
plt.xlabel("position along a random direction")
plt.ylabel("training loss (nats)")
plt.yticks([0.1, 1, 10], ["0.1", "1", "10"])
plt.minorticks_off()
plt.legend(loc="upper center")
show.finding(
    "One function, two pictures: a wide valley and a narrow one",
    alt="Training loss along a random direction, logarithmic, for the trained network and for the "
    "rescaled one, which computes the same. Both have their lowest point in the middle; the curve "
    f"of the rescaled one is up to {(raw[1] / raw[0]).max():.0f} times as high",
)

# %%
claim(
    "along a plain random direction the rescaled network looks more than twice as steep; along a "
    "normalised direction the two pictures are equal",
    (raw[1] / raw[0]).max() > 2 and np.allclose(normal[1], normal[0], rtol=1e-6),
    f"{(raw[1] / raw[0]).max():.1f} times; {np.abs(normal[1] / normal[0] - 1).max():.0e} apart",
)

# %% [markdown]
# A step of one length is small for large weights and huge for small ones. Li et al. (2018) therefore give each unit's
# part of the direction the length of the unit's own weights. If a picture does not say how its directions were scaled,
# do not compare widths. And a picture shows one or two directions out of 2,410: the loss may fall along one that you
# did not draw.
#
# ## What is warm-up for?
#
# The figure of the curvature gives a reason. Early in training the curvature goes through a peak. So a learning rate
# that suits the rest of the training can be too large for its beginning. *Warm-up* raises the rate from near 0 in the
# first $w$ steps. Then it falls as a cosine, as in lesson 03:
#
# $$\alpha_t = \alpha \cdot \min\!\Big(1, \frac{t+1}{w}\Big)
# \cdot \frac12\Big(1 + \cos\frac{\pi t}{T}\Big), \qquad t = 0, \dots, T-1 .$$
#
# We train with mini-batches and momentum, with and without a warm-up of two epochs, and compare the losses after ten
# epochs.


# %%
def cosine(t, steps):
    return 0.5 * (1 + np.cos(np.pi * t / steps))


def warm_up(t, steps):
    return min(1.0, (t + 1) / (0.2 * steps)) * cosine(t, steps)  # two epochs of ten


# %% [markdown]
# Each plan trains five networks at each of five learning rates.

# %%
rates = (0.1, 0.2, 0.3, 0.4, 0.5)
ends = {
    plan.__name__: np.array(
        [
            [
                loss_and_gradients(fit(rate, beta=0.9, seed=s, factor=plan), x, labels)[0]
                for s in range(5)
            ]
            for rate in rates
        ]
    )
    for plan in (cosine, warm_up)
}

# %%
for (name, losses), style, colour in zip(ends.items(), ("o", "s"), (show.ORANGE, show.BLUE)):
    plt.semilogy(rates, losses, style, ms=4, mfc="none", color=colour)
    label = "with warm-up" if name == "warm_up" else "without"
    plt.semilogy(rates, np.median(losses, axis=1), style + "-", color=colour, label=label)
plt.xticks(rates)
plt.yticks([0.02, 0.05, 0.1, 0.2, 0.5, 1], ["0.02", "0.05", "0.1", "0.2", "0.5", "1"])
plt.minorticks_off()
plt.xlabel("largest learning rate")
plt.ylabel("training loss after 10 epochs (nats)")
plt.legend(loc="upper left")
show.finding(
    "Warm-up helps at large learning rates",
    alt="Training losses of five networks at each of five learning rates, logarithmic, with lines "
    "through the medians: "
    + "; ".join(
        f"{rate:g}: {np.median(ends['cosine'][i]):.3f} without, "
        f"{np.median(ends['warm_up'][i]):.3f} with"
        for i, rate in enumerate(rates)
    ),
)

# %%
better = [float(np.exp(np.log(each[3:]).mean())) for each in ends.values()]
lowest = [float(np.median(each, axis=1).min()) for each in ends.values()]
claim(
    "at 0.4 and 0.5 the losses with warm-up are lower (geometric means of ten)",
    better[1] < better[0],
    f"{better[0]:.3f} without, {better[1]:.3f} with; each at its best rate: {lowest[0]:.4f} and "
    f"{lowest[1]:.4f}",
)

# %% [markdown]
# Read this figure with care. Warm-up allows larger learning rates. At small rates it changes little. With the best rate
# of each plan the two losses are close, as the last numbers of the claim show. So this network needs no warm-up.
# Warm-up protects the first steps where a large learning rate is wanted.
#
# ## What we measured
#
# No model came out of this lesson, so the ledger gets no row.

# %%
show.table(
    ["question", "answer"],
    [
        ["largest learning rate: tried, derived", f"{works:.10f}, {2 / 10:.10f}"],
        ["steps at κ = 10,000: plain", f"{steps['plain'][-1]:,}"],
        ["the same with momentum", f"{steps['momentum'][-1]:,}"],
        ["gradient by hand against autograd", f"{off_autograd:.0e}"],
        ["simple noise scale at the start", f"{scale['at the start']:,.0f} images"],
        ["the same after 20 epochs", f"{scale['after 20 epochs']:,.0f} images"],
        ["2/λ of the trained network", f"{limit:.2f}"],
    ],
    caption="Curvature and noise, measured",
)

# %% [markdown]
# ## What to remember
#
# - The largest curvature limits the learning rate, $2/\lambda_{\max}$. Its ratio to the smallest sets the number of
#   steps, and momentum takes the root of this ratio.
# - Check a derived gradient against autograd and against differences.
# - The noise of a mini-batch falls with the root of its size, and what counts is noise compared with signal.
#
# ## Where this breaks down
#
# The rates hold for parabolas, and approximately near a lowest point of a smooth loss whose curvatures are positive. A
# ReLU has a kink, where no second derivative exists. Our curvature was measured between the kinks. The noise was
# measured with independent draws: images that are sorted by writer or by time break that. The simple noise scale leaves
# the curvature out, so it gives the order of magnitude of a useful batch size, and not the best one.
#
# ## What real teams use
#
# They log the length of the gradient at each step, and clip it. With many machines they can estimate the noise scale
# from the gradients that each machine has anyway (exercise 03b.2). When they enlarge the batch, they search the
# learning rate again, and start from the rule of proportion. They use power iteration to analyse a training that
# diverges. `scipy.sparse.linalg.eigsh` finds several eigenvalues at once.
#
# ## Further reading
#
# - B. T. Polyak, *Some methods of speeding up the convergence of iteration methods*, USSR Computational Mathematics and
#   Mathematical Physics 4(5), 1964.
# - S. McCandlish et al., *An Empirical Model of Large-Batch Training*, 2018, arXiv:1812.06162.
# - P. Goyal et al., *Accurate, Large Minibatch SGD*, 2017, arXiv:1706.02677 (warm-up, and the rule of proportion).
# - H. Li et al., *Visualizing the Loss Landscape of Neural Nets*, NeurIPS 2018, arXiv:1712.09913.
# - J. Cohen et al., *Gradient Descent on Neural Networks Typically Occurs at the Edge of Stability*, ICLR 2021,
#   arXiv:2103.00065.
