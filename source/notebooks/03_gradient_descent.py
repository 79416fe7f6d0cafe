# %% [markdown]
# # 03 Gradient descent
#
# At 3 a.m. the nightly training ends without an error, with a loss of 2.5. A blind guess among ten digits has 2.3. The
# day before, someone raised one number: the learning rate. This lesson shows what that number does and how to choose
# it.
#
# ## You will be able to
#
# - find the learning rate at which training blows up, and explain why;
# - recognise a missing `zero_grad()` and a learning rate that killed a network;
# - write momentum and Adam, and compare their paths;
# - choose a batch size, and a learning rate that suits it;
# - find a learning rate with one short run, and lower it with a schedule.
#
# ## Before you start
#
# You need lesson 02: the loss, the gradient, cross-entropy, and PyTorch's `backward()`. From algebra you need the
# product of a matrix and a vector.

# %%
import time

import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from course_lib import data
from course_lib.idioms import begin, claim, guess, observe, path, reveal, show

scratch = begin("03")
torch.set_num_threads(1)  # these computations are small: more threads would only wait
path.picture(here="03")

# %% [markdown]
# ## What does the learning rate do?
#
# We start with a model of two weights, because we can draw its loss. The restaurant of lesson 02 wants to predict how
# many minutes a delivery takes. It knows the distance in km and the temperature outside in °C. All three numbers are
# given as differences from their averages. So $x \in \mathbb{R}^{N \times 2}$ holds the inputs of $N$ deliveries, one
# row each, and $r \in \mathbb{R}^N$ holds their minutes. The weights are $\theta = (\theta_1, \theta_2)$: minutes per
# km, and minutes per °C. The model predicts $x\theta$, and its loss is half of the mean squared error:
#
# $$J(\theta) = \frac{1}{2N}\sum_{n=1}^N (x_n\theta - r_n)^2, \qquad \nabla J(\theta) = \frac1N\, x^{\mathsf T}(x\theta - r).$$
#
# The half cancels the 2 that comes from the square.

# %%
N = 200
random = np.random.default_rng(0)
x = random.normal(size=(N, 2)) * [1, 10]  # km and °C, as differences from the average
r = x @ [5.0, -0.5] + random.normal(0, 3, N)  # minutes


# %%
def loss(theta):
    """Weights (..., 2) to their losses (...)."""
    return ((theta @ x.T - r) ** 2).mean(axis=-1) / 2


def gradient(theta, rows=slice(None)):
    """The gradient over all deliveries, or over the chosen rows."""
    return x[rows].T @ (x[rows] @ theta - r[rows]) / len(x[rows])


# %% [markdown]
# *Gradient descent* starts at some weights, here zeros. At each step it moves them against the gradient:
#
# $$\theta_{t+1} = \theta_t - \alpha\, \nabla J(\theta_t).$$
#
# $t$ counts the steps, and $\alpha > 0$ is the *learning rate*. Code calls it `lr`, and books on optimisation call it
# the *step size*. One of the articles that this course grew from prints this formula. It names $\alpha$, but does not
# say how to choose it. How large may $\alpha$ be?

# %%
guess(
    "limit",
    "From which learning rate on does the loss of this model grow instead of fall?",
    low=0.0001,
    high=10,
)


# %%
def descend(learning_rate, steps=60):
    points = [np.zeros(2)]
    for _ in range(steps):
        points.append(points[-1] - learning_rate * gradient(points[-1]))
    return np.array(points)  # (steps + 1, 2)


# %%
lowest = np.linalg.lstsq(x, r)[0]  # for this loss, algebra gives the lowest point
for learning_rate in (0.001, 0.01, 0.1):
    losses = loss(descend(learning_rate)[[0, 1, 2, 60]])
    print(f"learning rate {learning_rate}: " + ", ".join(f"{each:.3g}" for each in losses))

# %% [markdown]
# Each line shows the loss, at the start and after 1, 2 and 60 steps. The first learning rate is slow, the second works,
# and the third blows up. To see why, we draw the loss as a map. The grey lines connect weights of equal loss. The map
# is a narrow valley: steep across, flat along. On it we draw the path of each training.


# %%
def draw_map(low=(-1, -1.6), high=(10, 0.8)):
    first, second = (np.linspace(a, b, 80) for a, b in zip(low, high))
    J = loss(np.stack(np.meshgrid(first, second), axis=-1))
    levels = loss(lowest) + np.geomspace(0.05, 100, 10)
    plt.contour(first, second, J, levels=levels, colors=show.GREY, linewidths=0.6)
    plt.plot(*lowest, "*", ms=14, mfc="none", zorder=3, color="black", label="lowest point")
    plt.xlabel("θ₁, minutes per km")
    plt.ylabel("θ₂, minutes per °C")


# %%
draw_map()
rates = {0.02: (show.RED, "^"), 0.0175: (show.BLUE, "o"), 0.001: (show.ORANGE, "s")}
for learning_rate, (colour, marker) in rates.items():
    points = descend(learning_rate)
    plt.plot(*points.T, marker + "-", ms=4, lw=1, color=colour, label=f"α = {learning_rate}")
plt.legend(loc="upper right", ncols=2, frameon=True, edgecolor="white")
show.finding(
    "Too small hardly moves, too large swings out of the valley",
    alt="Paths of 60 steps on a map of the loss, a narrow valley. Learning rate 0.001 stays near "
    "the start. 0.0175 crosses the valley, then goes most of the way to the lowest point. 0.02 "
    "crosses the valley at every step, and each crossing is wider than the one before",
)

# %% [markdown]
# **Your turn:** change 0.02 to 0.021 and run the cell again. Then find the largest learning rate at which
# the crossings do not get wider. **Then do exercise 03.1**, where you write this loop so that it keeps its path.
#
# ### Why is there a limit?
#
# Look at one direction alone, across the valley. There the loss is a parabola. Its slope is $\lambda\,d$: $d$ is the
# distance from the lowest point, and $\lambda$ is the *curvature*, which says how fast the slope grows. One step gives
#
# $$d_{t+1} = d_t - \alpha\,\lambda\, d_t = (1 - \alpha\lambda)\, d_t .$$
#
# So each step multiplies the distance by $1 - \alpha\lambda$. If $\alpha\lambda$ is between 1 and 2, this factor is
# negative: the step crosses the valley and ends closer. Above 2 it ends farther away than it began. The steepest
# direction decides:
#
# $$\alpha < \frac{2}{\lambda_{\max}} .$$
#
# The curvatures of this loss, along its steepest and its flattest direction, are the *eigenvalues* of the matrix
# $\frac1N x^{\mathsf T}x$. NumPy computes them.

# %%
curvatures = np.linalg.eigvalsh(x.T @ x / N)
limit = 2 / curvatures.max()
reveal("limit", limit)


# %%
def still_grows(learning_rate):
    distances = np.linalg.norm(descend(learning_rate, steps=3000) - lowest, axis=1)
    return bool(distances[-1] > distances[0])


# %%
claim(
    "1 % below 2/λ the distance shrinks, 1 % above it grows",
    (still_grows(0.99 * limit), still_grows(1.01 * limit)) == (False, True),
    f"curvatures {curvatures[0]:.2f} and {curvatures[1]:.1f}, limit {limit:.4f}",
)

# %% [markdown]
# ### Why should I scale the inputs?
#
# The steep direction limits the learning rate, and the flat direction then needs many steps. How steep a direction is
# depends on the units. The temperature varies by about 10 °C, and the distance by about 1 km. Dividing each input by
# its *standard deviation*, the typical size of its differences, makes both vary alike. How many steps does that save?


# %%
def steps_needed(inputs):
    """Steps until the distance from the lowest point is 1 % of the first, at half of the limit."""
    matrix = inputs.T @ inputs / N  # the gradient is this matrix times the distance
    best, theta, steps = np.linalg.lstsq(inputs, r)[0], np.zeros(2), 0
    start = np.linalg.norm(best)
    while np.linalg.norm(theta - best) > 0.01 * start:
        theta = theta - matrix @ (theta - best) / np.linalg.eigvalsh(matrix).max()
        steps += 1
    return steps


# %%
needed = {"km and °C": steps_needed(x), "scaled": steps_needed(x / x.std(axis=0))}
claim(
    "scaled inputs need less than a tenth of the steps",
    needed["scaled"] < needed["km and °C"] / 10,
    "; ".join(f"{name}: {steps} steps" for name, steps in needed.items()),
)

# %% [markdown]
# The valley has become a round bowl. (Inputs that are correlated would leave some of the valley.) Scale the inputs
# before you tune anything else.
#
# ### Where this goes wrong: 0.01 out of habit
#
# Too small is also a mistake, and no error tells you. One article trains a model for ten steps with a learning rate of
# 0.01. Here is its training loop without the validation. We try 0.01 and then larger values, each ten times the one
# before.


# %%
def article(learning_rate, steps=10):
    """The losses before each step and after the last one."""
    torch.manual_seed(0)
    model, losses = nn.Linear(10, 2), []
    x_train, y_train = torch.randn(100, 10), torch.randint(0, 2, (100,))
    optimizer = torch.optim.SGD(model.parameters(), lr=learning_rate)
    for _ in range(steps):
        optimizer.zero_grad()
        error = F.cross_entropy(model(x_train), y_train)
        error.backward()
        optimizer.step()
        losses.append(error.item())
    return [*losses, F.cross_entropy(model(x_train), y_train).item()]


# %%
bottom = min(article(1.0, steps=1000))
way = {}
for learning_rate in (0.01, 0.1, 1.0, 10.0):
    losses = article(learning_rate)
    way[learning_rate] = (losses[0] - losses[-1]) / (losses[0] - bottom)
    print(f"learning rate {learning_rate}: {100 * way[learning_rate]:.0f} % of the way down")

# %%
claim(
    "with 0.01, ten steps go less than a fifth of the way to the lowest loss; with 1.0, over 90 %",
    way[0.01] < 0.2 and way[1.0] > 0.9,
    f"{100 * way[0.01]:.0f} % and {100 * way[1.0]:.0f} %",
)

# %% [markdown]
# The line that repairs it is `lr=1.0`. With 10 the number is negative: the loss ends above its start. On any model,
# first try values that differ by factors of ten. (The labels in the article are random, so there is nothing to learn
# even at the lowest loss. Lesson 04 returns to this.)
#
# ## What happens if I forget zero_grad()?
#
# PyTorch *adds* each new gradient to `.grad`. `optimizer.zero_grad()` clears it. Without this line each step follows
# the sum of all gradients so far, and no error is raised.

# %%
guess(
    "forgotten",
    "The gradient is never cleared. What does the training do?",
    choices=["it arrives sooner", "it arrives later", "it swings and does not settle", "nan"],
)

# %% [markdown]
# We take the gradient from autograd and make each step by hand, once with and once without clearing.


# %%
def with_autograd(clear, learning_rate=0.015, steps=300):
    """The distance from the lowest point after each step, as a share of the first."""
    theta, distances = torch.zeros(2, dtype=torch.float64, requires_grad=True), []
    for _ in range(steps):
        if clear:
            theta.grad = None  # what zero_grad() does
        ((torch.from_numpy(x) @ theta - torch.from_numpy(r)) ** 2).mean().div(2).backward()
        with torch.no_grad():
            theta -= learning_rate * theta.grad
        distances.append(np.linalg.norm(theta.detach().numpy() - lowest))
    return np.array(distances) / np.linalg.norm(lowest)


cleared, kept = with_autograd(clear=True), with_autograd(clear=False)

# %%
plt.plot(cleared, label="cleared before each step")
plt.plot(kept, "--", color=show.RED, label="never cleared")
plt.xlabel("step")
plt.ylabel("distance (1 at the start)")
plt.ylim(-0.05, 1.45)
plt.legend(loc="upper center", ncols=2)
show.finding(
    "Without zero_grad() the weights swing and do not settle",
    alt=f"Distance from the lowest point over 300 steps. With cleared gradients it falls to "
    f"{cleared[-1]:.2f} of the start's. Never cleared, it swings up to "
    f"{kept[200:].max():.1f} again and again",
)

# %%
settles = kept[200:].max() < 0.5
reveal("forgotten", "it arrives later" if settles else "it swings and does not settle")
claim(
    "cleared, the distance falls below 5 %; never cleared, it is back above 90 % after 200 steps",
    cleared[-1] < 0.05 and kept[200:].max() > 0.9,
    f"{100 * cleared[-1]:.1f} %, and up to {100 * kept[200:].max():.0f} %",
)

# %% [markdown]
# The sum of gradients acts like a speed. A ball without friction in a bowl behaves the same way: it rolls through the
# lowest point and up the other side. If the loss of your training swings in slow waves, look for the missing line.
#
# The sum also has a good use: a large batch that does not fit into memory can be computed in pieces. **Now do exercise
# 03.2**, which does this and weighs the pieces correctly.
#
# ## What does momentum change?
#
# Give the ball some friction. *Momentum* keeps a share $\beta < 1$ of its speed $v$ at each step:
#
# $$v_t = \beta\, v_{t-1} + \nabla J(\theta_t), \qquad \theta_{t+1} = \theta_t - \alpha\, v_t, \qquad v_{-1} = 0 .$$
#
# Across the valley the gradient changes its sign again and again, so most of it cancels in $v$. Along the valley it
# keeps its sign, so it adds up. The usual choice is $\beta = 0.9$. With $\beta = 0$ this is plain gradient descent.


# %%
class Momentum:
    def __init__(self, learning_rate, beta=0.9):
        self.learning_rate, self.beta, self.v = learning_rate, beta, 0.0

    def step(self, theta, g):
        """The next weights, from these and from the gradient g here."""
        self.v = self.beta * self.v + g
        return theta - self.learning_rate * self.v


# %% [markdown]
# An optimizer like this has a *state*, here $v$. If you save a training to continue it later, save this state too.
#
# ## What does Adam change?
#
# One learning rate for all weights is the problem of the valley. *Adam* divides the step of each weight by the typical
# size of this weight's own gradient. It keeps two running averages for each weight, of the gradient $g_t$ and of its
# square. All operations are done for each weight separately:
#
# $$m_t = \beta_1 m_{t-1} + (1-\beta_1)\, g_t, \qquad s_t = \beta_2 s_{t-1} + (1-\beta_2)\, g_t^2, \qquad m_0 = s_0 = 0.$$
#
# Both averages start at 0, so they are too small at first. If all gradients were equal to $g$, then
#
# $$m_t = (1-\beta_1)\,(1 + \beta_1 + \dots + \beta_1^{t-1})\, g = (1 - \beta_1^{\,t})\, g .$$
#
# So Adam divides $m_t$ by $1 - \beta_1^{\,t}$ and $s_t$ by $1 - \beta_2^{\,t}$. A small $\epsilon$ prevents a division
# by zero:
#
# $$\theta_{t+1} = \theta_t - \alpha\,\frac{\hat m_t}{\sqrt{\hat s_t} + \epsilon}, \qquad
# \hat m_t = \frac{m_t}{1-\beta_1^{\,t}}, \quad \hat s_t = \frac{s_t}{1-\beta_2^{\,t}} .$$


# %%
class Adam:
    def __init__(self, learning_rate, beta1=0.9, beta2=0.999, epsilon=1e-8):
        self.learning_rate, self.beta1, self.beta2 = learning_rate, beta1, beta2
        self.epsilon, self.t, self.m, self.s = epsilon, 0, 0.0, 0.0

    def step(self, theta, g):
        self.t += 1
        self.m = self.beta1 * self.m + (1 - self.beta1) * g
        self.s = self.beta2 * self.s + (1 - self.beta2) * g**2
        m_hat, s_hat = self.m / (1 - self.beta1**self.t), self.s / (1 - self.beta2**self.t)
        return theta - self.learning_rate * m_hat / (np.sqrt(s_hat) + self.epsilon)


# %%
first = [np.abs(Adam(0.1).step(np.zeros(2), size * gradient(np.zeros(2)))) for size in (1, 1000)]
claim(
    "Adam's first step moves each weight by the learning rate, however large the gradient",
    np.allclose(first, 0.1, rtol=1e-6),
    f"{first[0].round(6)}, and {first[1].round(6)} with a gradient 1,000 times as large",
)

# %% [markdown]
# So the learning rate means something else in Adam: it is roughly how far a weight moves in one step. Do our optimizers
# take the same steps as PyTorch's?


# %%
def walk(optimizer, steps=60):
    points = [np.zeros(2)]
    for _ in range(steps):
        points.append(optimizer.step(points[-1], gradient(points[-1])))
    return np.array(points)


# %%
def torch_walk(make_optimizer, steps=60):
    theta = nn.Parameter(torch.zeros(2, dtype=torch.float64))
    optimizer, points = make_optimizer([theta]), [np.zeros(2)]
    for _ in range(steps):
        theta.grad = torch.from_numpy(gradient(theta.detach().numpy()))
        optimizer.step()
        points.append(theta.detach().numpy().copy())
    return np.array(points)


# %% [markdown]
# Our optimizer and PyTorch's walk 60 steps each, with the same settings.

# %%
pairs = {
    "plain": (lambda: Momentum(0.01, 0), lambda p: torch.optim.SGD(p, lr=0.01)),
    "momentum": (lambda: Momentum(0.01), lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9)),
    "Adam": (lambda: Adam(0.1), lambda p: torch.optim.Adam(p, lr=0.1)),
}


# %%
apart = {
    name: np.abs(walk(ours()) - torch_walk(theirs)).max() for name, (ours, theirs) in pairs.items()
}
claim(
    "our three methods take PyTorch's steps, to a millionth",
    max(apart.values()) < 1e-6,
    ", ".join(f"{name} {each:.0e}" for name, each in apart.items()),
)

# %% [markdown]
# **Now do exercise 03.3**: one step of Adam with its state, for a training that must continue after a break.
#
# ## Which optimizer gets there first?
#
# A comparison is fair only if each method has a learning rate that suits it. So we try 60 learning rates for each, from
# 0.0001 to 10. For each rate we count the steps until the loss has gone 99 % of the way down and stays
# there. We keep the best rate.


# %%
def steps_to_stay(points):
    """The step from which on less than 1 % of the way down to the lowest loss is left."""
    left = (loss(points) - loss(lowest)) / (loss(points[0]) - loss(lowest))
    outside = np.flatnonzero(~(left < 0.01))
    return int(outside[-1]) + 1


# %%
methods = {"plain": lambda a: Momentum(a, 0), "momentum": Momentum, "Adam": Adam}
fewest, chosen = {}, {}
with np.errstate(over="ignore", invalid="ignore"):  # the largest learning rates overflow
    for name, method in methods.items():
        counts = {a: steps_to_stay(walk(method(a), 300)) for a in np.geomspace(1e-4, 10, 60)}
        chosen[name] = min(counts, key=counts.get)
        fewest[name] = counts[chosen[name]]

# %% [markdown]
# The map shows the best path of each method.

# %%
draw_map()
for (name, rate), style in zip(chosen.items(), ("o-", "s-", "^-")):
    points = walk(methods[name](rate), fewest[name])
    plt.plot(*points.T, style, ms=3, lw=1, label=f"{name}, α = {rate:.2g}")
plt.legend(loc="upper right", ncols=2, frameon=True, edgecolor="white")
show.finding(
    f"Plain descent zigzags for {fewest['plain']} steps; momentum takes {fewest['momentum']}, "
    f"Adam {fewest['Adam']}",
    alt="Paths of the three methods on the map of the loss, each until it stays close to the "
    "lowest point. " + "; ".join(f"{name}: {count} steps" for name, count in fewest.items()),
)

# %%
claim(
    "momentum needs less than half of the steps of plain descent",
    fewest["momentum"] < fewest["plain"] / 2,
    ", ".join(f"{name}: {count} steps" for name, count in fewest.items()),
)

# %% [markdown]
# **Your turn:** give `Momentum` a $\beta$ of 0.5, then 0.99 (`lambda a: Momentum(a, 0.5)` in `methods`), and run the
# cells from there on again. Which path looks like plain descent, and which one like the swing without friction?
#
# This valley lies almost along the axes, so each weight has its own curvature. That suits Adam. Lesson 03b turns the
# valley and counts again.
#
# ## Must every step see all of the data?
#
# The gradient is a mean over all deliveries. A step may also use the mean over a few of them, drawn at random. Such a
# sample is called a *mini-batch*. On average its gradient is the full one. It has a random error, which is smaller in a
# larger sample. In the next picture a step sees 10 deliveries instead of 200.

# %%
random = np.random.default_rng(1)
points = [np.zeros(2)]
for _ in range(200):
    rows = random.choice(N, 10, replace=False)
    points.append(points[-1] - 0.008 * gradient(points[-1], rows))
sampled, full = np.array(points), descend(0.008, 200)

# %%
draw_map()
plt.plot(*sampled.T, "-", lw=1, color=show.RED, label="10 deliveries a step")
plt.plot(*full.T, "--", lw=2, color=show.BLUE, label="all 200 deliveries a step")
plt.legend(loc="upper right", frameon=True, edgecolor="white")
show.finding(
    "Mini-batches follow the same path with noise",
    alt="Two paths of 200 steps on the map of the loss. With all deliveries it is smooth and ends "
    "close to the lowest point. With 10 deliveries a step it trembles around the same line",
)

# %%
end = {
    name: float(np.mean(loss(walked[-50:]) - loss(lowest)) / (loss(np.zeros(2)) - loss(lowest)))
    for name, walked in (("mini-batches", sampled), ("all", full))
}
claim(
    "with a twentieth of the data at each step, the loss falls more than 90 % of the way",
    end["mini-batches"] < 0.1,
    ", ".join(f"{name}: {100 * share:.1f} % of the way left" for name, share in end.items()),
)

# %% [markdown]
# Now a real task: the digits, and a small network with 64 grey values, 32 *hidden units* and 10 logits. A hidden unit
# computes $\max(0, a)$ of a weighted sum $a$. This function is called *ReLU*. An *epoch* is one pass through all
# training images in a new random order.

# %%
train, test = data.digits()
images, labels = torch.from_numpy(train.images.reshape(-1, 64)), torch.from_numpy(train.labels)
test_images = torch.from_numpy(test.images.reshape(-1, 64))
everything = len(images)


def new_network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))


# %%
def constant(t, steps):
    return 1.0


# %%
def plain(weights, learning_rate):
    return torch.optim.SGD(weights, lr=learning_rate)


def with_momentum(weights, learning_rate):
    return torch.optim.SGD(weights, lr=learning_rate, momentum=0.9)


def adam(weights, learning_rate):
    return torch.optim.Adam(weights, lr=learning_rate)


# %% [markdown]
# The training loop is that of lesson 02, with mini-batches. A *scheduler* multiplies the learning rate by a factor at
# each step. The factor `constant` leaves the rate as it is.


# %%
def fit(learning_rate, batch=32, epochs=10, make=plain, schedule=constant, seed=0):
    """Trains a network. Returns it, and the loss of the batch at each step."""
    network, losses = new_network(seed), []
    optimizer = make(network.parameters(), learning_rate)
    per_epoch = everything // batch
    rate = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda t: schedule(t, epochs * per_epoch))
    for _ in range(epochs):
        order = torch.randperm(everything)[: per_epoch * batch]
        for chosen in order.reshape(per_epoch, batch):
            optimizer.zero_grad()
            error = F.cross_entropy(network(images[chosen]), labels[chosen])
            error.backward()
            optimizer.step()
            rate.step()  # multiplies the learning rate by the schedule's next value
            losses.append(error.item())
    return network, np.array(losses)


# %%
@torch.inference_mode()
def training_loss(network):
    return F.cross_entropy(network(images), labels).item()


# %%
@torch.inference_mode()
def accuracy(network):
    return float((network(test_images).argmax(dim=1).numpy() == test.labels).mean())


# %% [markdown]
# One epoch is the same number of images, whatever the batch size. Does it take the same time?

# %%
guess(
    "slower",
    "One epoch, one image at a step: how many times as long as in batches of 32?",
    low=1,
    high=100,
)


# %%
def seconds_of_an_epoch(batch):
    begun = time.perf_counter()
    fit(0.01, batch, epochs=1)
    return time.perf_counter() - begun


# %%
seconds_of_an_epoch(32)  # the first run is slower, so it does not count
seconds = {batch: seconds_of_an_epoch(batch) for batch in (1, 32, everything)}
reveal("slower", seconds[1] / seconds[32])
observe(
    "one image at a step takes more than 5 times as long for an epoch",
    seconds[1] > 5 * seconds[32],
    ", ".join(f"batch {batch}: {1000 * each:.0f} ms" for batch, each in seconds.items()),
)

# %% [markdown]
# Each step has a fixed cost in Python, and 1,347 steps pay it 1,347 times. But time is only half of the question. How
# far down does the loss get? An article says that stochastic gradient descent "raises training efficiency". It says
# neither how many images a step should see nor what it measured. We give each batch size the same three epochs. As
# above, each gets the best of several learning rates.

# %%
rates = {1: (0.01, 0.03, 0.1), 32: (0.2, 0.4, 0.8, 1.6), everything: (0.1, 1, 2, 4)}
results = {
    batch: {rate: training_loss(fit(rate, batch, epochs=3)[0]) for rate in tried}
    for batch, tried in rates.items()
}


# %%
suits = {batch: min(losses, key=losses.get) for batch, losses in results.items()}
reached = {batch: losses[suits[batch]] for batch, losses in results.items()}
show.table(
    ["images at a step", "best learning rate", "steps", "training loss"],
    [
        [batch, suits[batch], 3 * (everything // batch), f"{reached[batch]:.3f}"]
        for batch in results
    ],
    caption="Three epochs, the best of several learning rates for each batch size",
)

# %%
claim(
    "after three epochs batches of 32 have less than half of the full batch's loss, and the full "
    "batch's best learning rate is larger than that of single images",
    reached[32] < reached[everything] / 2 and suits[everything] > suits[1],
    f"loss {reached[32]:.2f} against {reached[everything]:.2f}",
)

# %% [markdown]
# "Efficiency" depends on what you count. For the same images, small batches got farther, because they took more steps.
# In seconds, single images were the slowest. A batch in the middle did well in both, and this is the usual choice.
# Note the second column: if you change the batch size, search the learning rate again.
#
# ## How do I find a learning rate?
#
# A *range test* needs one short run. It starts with a learning rate that is far too small. At each step it raises the
# rate a little, until it is far too large, and you watch the loss. From here on we use momentum with $\beta = 0.9$.

# %%
lowest_rate, highest_rate = 1e-3, 10.0


def rising(t, steps):
    return (lowest_rate / highest_rate) ** (1 - min(t, steps - 1) / (steps - 1))


# %%
_, tested = fit(highest_rate, epochs=5, make=with_momentum, schedule=rising)
tried = highest_rate * np.array([rising(t, len(tested)) for t in range(len(tested))])
smooth = np.convolve(tested, np.ones(9) / 9, mode="valid")  # the mean of 9 batches
at_lowest = float(tried[4:-4][smooth.argmin()])

# %%
plt.loglog(tried, tested, ".", ms=3, color=show.SKY, label="each batch")
plt.loglog(tried[4:-4], smooth, label="mean of 9 batches")
plt.axvline(at_lowest, color=show.GREY, ls="--", label=f"lowest loss, at {at_lowest:.2f}")
plt.axvspan(at_lowest / 10, at_lowest / 3, color=show.GREEN, alpha=0.2, label="usual choice")
plt.xlabel("learning rate (rises at each step)")
plt.ylabel("training loss (nats)")
plt.yticks([0.2, 0.5, 1, 2, 5], ["0.2", "0.5", "1", "2", "5"])
plt.minorticks_off()
plt.legend()
show.finding(
    "The loss falls, levels off, and explodes: choose before its lowest point",
    alt="Training loss against a learning rate that rises from 0.001 to 10, both logarithmic. "
    f"It is flat, then falls to its lowest value near {at_lowest:.2f}, then rises above the start. "
    "The range from a tenth to a third of the lowest point is marked",
)

# %% [markdown]
# At the lowest point the loss has already stopped falling. The usual choice keeps away from this point: a tenth to a
# third of its rate.

# %%
chosen_rate = at_lowest / 3
good = fit(chosen_rate, make=with_momentum)[0]
claim(
    "with a third of the lowest point's rate, the network reads over 93 % of the test images",
    accuracy(good) > 0.93,
    f"{100 * accuracy(good):.1f} % with a learning rate of {chosen_rate:.3f}",
)

# %% [markdown]
# **Now do exercise 03.4**: a script that reads a range test, also one that ends in `nan`.
#
# ### Can I keep the learning rate when I change the optimizer?
#
# We train for three epochs with each optimizer, at nine learning rates from 0.001 to 2.


# %%
ladder = np.geomspace(1e-3, 2, 9)
makers = {"plain": plain, "momentum": with_momentum, "Adam": adam}
curves = {
    name: np.array([training_loss(fit(rate, epochs=3, make=make)[0]) for rate in ladder])
    for name, make in makers.items()
}


# %%
favourite = {name: float(ladder[losses.argmin()]) for name, losses in curves.items()}

# %% [markdown]
# The figure shows the loss at the end of each of these 27 trainings.

# %%
for (name, losses), style in zip(curves.items(), ("o-", "s-", "^-")):
    plt.loglog(ladder, losses, style, label=f"{name}, lowest at {favourite[name]:.2g}")
plt.axhline(np.log(10), color=show.GREY, ls="--", label="a blind guess")
plt.xlabel("learning rate")
plt.ylabel("training loss after 3 epochs (nats)")
plt.ylim(0.09, 9)
plt.yticks([0.1, 0.2, 0.5, 1, 2, 5], ["0.1", "0.2", "0.5", "1", "2", "5"])
plt.minorticks_off()
plt.legend(loc="upper center", ncols=2)
show.finding(
    "Each optimizer has its own range of learning rates",
    alt="Training loss against the learning rate, both logarithmic. Each curve falls to a lowest "
    "point and then rises to a blind guess. Lowest: "
    + ", ".join(f"{name} at {rate:.2g}" for name, rate in favourite.items()),
)

# %%
place = int(curves["plain"].argmin())
claim(
    "at the best learning rate of plain descent, momentum and Adam have over twice its loss",
    min(curves[name][place] for name in ("momentum", "Adam")) > 2 * curves["plain"][place],
    ", ".join(f"{name} {losses[place]:.2f}" for name, losses in curves.items()),
)

# %% [markdown]
# A learning rate from a published recipe belongs to the optimizer of that recipe, and to its batch size. If you change
# one of them, test the learning rate again. Compare the curve of momentum with the range test: the search also finds
# larger rates that work. A range test is quick and careful; a search takes longer and tells more.
#
# ### Where this goes wrong: a loss that stays near ln 10
#
# Now we repeat the accident of 3 a.m. The figure says that 1.5 is far too large for momentum. We train with it anyway,
# and then count the hidden units that are above 0 for at least one training image. We call these units *on*.

# %%
guess(
    "accident",
    "A learning rate of 1.5: how many of the 32 hidden units are still on after the training?",
    low=0,
    high=32,
)


# %%
def units_on(network):
    """How many of the 32 hidden units are above 0 for at least one training image."""
    with torch.inference_mode():
        return int((network[:2](images) > 0).any(dim=0).sum())


# %%
ruined = fit(1.5, make=with_momentum)[0]
ends = training_loss(ruined)
reveal("accident", units_on(ruined), f"loss {ends:.2f}; a blind guess has {np.log(10):.2f}")
claim(
    "the ruined network ends between 2 and 3, and none of its hidden units is on for any image",
    2 < ends < 3 and units_on(ruined) == 0,
    f"loss {ends:.2f}; units on: {units_on(ruined)} of 32, with the good rate {units_on(good)}",
)

# %% [markdown]
# The steps were so long that every hidden unit got a negative sum for every image. There the ReLU returns 0, and its
# slope is 0 too. So no gradient reaches the first layer any more, and these units stay off. They are called *dead*.
# Only the bias of the last layer still learns. It sees no image, so it cannot do better than a blind guess. All numbers
# are finite, so the log shows no error. If a loss *stays* near $\ln C$, suspect the learning rate.
#
# ## Should the learning rate fall during training?
#
# Look again at the mini-batches of the restaurant. No model with two weights predicts every delivery exactly. So even
# at the lowest point each mini-batch pulls in a direction of its own. With a constant learning rate the weights keep
# moving around the lowest point. A *schedule* lowers the rate during training. A common one is half of a *cosine* wave.
# With $T$ steps in total,
#
# $$\alpha_t = \alpha \cdot \frac12\Big(1 + \cos\frac{\pi t}{T}\Big), \qquad t = 0, \dots, T-1 .$$


# %%
def cosine(t, steps):
    return 0.5 * (1 + np.cos(np.pi * t / steps))


# %%
def sampled_descent(schedule, steps=1500):
    random, points = np.random.default_rng(2), [np.zeros(2)]
    for t in range(steps):
        rows = random.choice(N, 10, replace=False)
        rate = 0.008 * schedule(t, steps)
        points.append(points[-1] - rate * gradient(points[-1], rows))
    return np.array(points)


late = {plan.__name__: sampled_descent(plan)[-200:] for plan in (constant, cosine)}

# %% [markdown]
# The next map is a small part of the first one. It shows the last 200 of 1,500 steps.

# %%
draw_map((lowest[0] - 1.2, lowest[1] - 0.12), (lowest[0] + 1.2, lowest[1] + 0.12))
for (name, points), (colour, marker) in zip(late.items(), ((show.RED, "."), (show.BLUE, "o"))):
    plt.plot(*points.T, marker, ms=4, color=colour, label=f"{name} learning rate")
plt.legend(loc="upper right", frameon=True, edgecolor="white")
show.finding(
    "A constant rate keeps moving around the lowest point, a falling one settles",
    alt="The last 200 of 1,500 steps, on a map of the loss close to its lowest point. With a "
    "constant learning rate the points form a wide cloud around it, with the cosine a small spot",
)

# %%
spread = {name: float(np.mean(loss(points[-50:]) - loss(lowest))) for name, points in late.items()}
claim(
    "over the last 50 steps the falling rate is ten times closer to the lowest loss",
    spread["cosine"] < spread["constant"] / 10,
    ", ".join(f"{name}: {each:.1e} above it" for name, each in spread.items()),
)

# %% [markdown]
# Does the network gain from this schedule, too? Again each plan gets the best of several learning rates. We train three
# networks for each and take the middle of their losses, the *median*.


# %%
def median_loss(rate, plan):
    runs = [fit(rate, make=with_momentum, schedule=plan, seed=seed)[0] for seed in range(3)]
    return float(np.median([training_loss(network) for network in runs]))


median = {
    (plan.__name__, rate): median_loss(rate, plan)
    for plan in (constant, cosine)
    for rate in (0.05, 0.1, 0.2)
}

# %%
best = {plan: min(v for (name, _), v in median.items() if name == plan) for plan in late}
longer = training_loss(fit(0.05, make=with_momentum, epochs=60)[0])

# %%
claim(
    "after ten epochs the cosine has the lower loss; but a constant 0.05 goes on: after 60 epochs "
    "its loss is less than a tenth of that after ten",
    best["cosine"] < best["constant"] and longer < median["constant", 0.05] / 10,
    f"constant {best['constant']:.3f}, cosine {best['cosine']:.3f}; at 0.05 from "
    f"{median['constant', 0.05]:.3f} to {longer:.4f}",
)

# %% [markdown]
# The cosine pays in a short training. But a constant rate did not get stuck: with more epochs the loss fell much
# further. Why is the network different from the restaurant? It can fit its training images. When an image is fitted,
# its gradient is almost zero, so the mini-batches hardly disagree any more. The restaurant's minutes contain noise that
# no weights can fit. A model that cannot fit all of its data is like the restaurant.
#
# PyTorch has this schedule as `torch.optim.lr_scheduler.CosineAnnealingLR`. Many schedules also begin with a *warm-up*,
# in which the rate rises from near 0. Lesson 03b measures why.
#
# ## What we measured
#
# This lesson made no model to keep, so the ledger stays as it is. The table shows what its cells counted.

# %%
show.table(
    ["question", "answer"],
    [
        ["limit of the learning rate, restaurant", f"{limit:.4f}"],
        ["steps with raw inputs, with scaled ones", f"{needed['km and °C']}, {needed['scaled']}"],
        ["steps in the valley: plain, momentum, Adam", ", ".join(map(str, fewest.values()))],
        ["best learning rate for 1, 32, all images", ", ".join(str(a) for a in suits.values())],
        ["range test: lowest loss at a rate of", f"{at_lowest:.2f}"],
        ["loss of the accident", f"{ends:.2f}"],
    ],
    caption="Gradient descent, measured",
)

# %% [markdown]
# ## What to remember
#
# - The steepest direction limits the learning rate. Scale the inputs, then try values by factors of ten.
# - Momentum adds up what stays the same, Adam gives each weight its own scale. Each of them needs its own learning
#   rate.
# - A loss that stays near $\ln C$ raises no error. Suspect a learning rate that is far too large or too small, or
#   labels without meaning.
#
# ## Where this breaks down
#
# The rule $2/\lambda_{\max}$ is exact only where the loss is a parabola. The curvature of a network changes while it
# learns (03b). A low training loss is also not the aim: the learning rate and the batch size influence which weights
# are found, and how well these work on new images. And our learning rates belong to one small network. The methods
# carry over to other networks, the numbers do not.
#
# ## What real teams use
#
# They use AdamW, a form of Adam (exercise 03.3), for transformers (the networks behind language models) and for many
# others. Many convolutional networks are trained with momentum. Both come with warm-up and a falling rate. Teams
# start from the settings of a published training of a similar model. Then they test a few learning rates, by factors
# of two or three. *Gradient clipping* shortens a gradient that is too long, as a protection against a bad batch. A
# linear model, such as that of the article, has a single valley. For it they use a solver that needs no learning
# rate: `LogisticRegression` in scikit-learn.
#
# ## Further reading
#
# - B. T. Polyak, *Some methods of speeding up the convergence of iteration methods*, USSR Computational Mathematics and
#   Mathematical Physics 4(5), 1964 (momentum).
# - D. P. Kingma, J. Ba, *Adam: A Method for Stochastic Optimization*, ICLR 2015, arXiv:1412.6980.
# - L. N. Smith, *Cyclical Learning Rates for Training Neural Networks*, WACV 2017, arXiv:1506.01186 (range test).
# - I. Loshchilov, F. Hutter, *SGDR: Stochastic Gradient Descent with Warm Restarts*, ICLR 2017, arXiv:1608.03983
#   (cosine).
