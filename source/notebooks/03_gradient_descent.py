# %% [markdown]
# # 03 Gradient descent
#
# At 3 a.m. the nightly retraining ends without an error, and its loss is 2.30: the cost of a blind guess among ten
# digits. Somebody had raised one number, the step size. This lesson computes how large that number may be.
#
# ## You will be able to
#
# - say from a loss's curvature which step size diverges, and how many steps a smaller one takes;
# - write momentum, Nesterov's method and Adam, and hold each to the framework's own steps;
# - write back-propagation for a two-layer network, check it, and train the network with NumPy alone;
# - measure how noisy a mini-batch's gradient is, and choose a batch size for a reason;
# - find a step size with a range test, and plan its way with warm-up and a schedule.
#
# ## Before you start
#
# From lesson 02: the gradient, cross-entropy, softmax, and $\partial \ell/\partial z = \hat y - y$. From algebra: a
# symmetric matrix has orthogonal eigenvectors. A *step size* is what most code calls the *learning rate*, `lr`.

# %%
import time

import matplotlib.pyplot as plt
import numpy as np

from course_lib import data, models
from course_lib.idioms import begin, claim, observe, path, show

scratch = begin("03")
path.picture(here="03")

# %% [markdown]
# ## Which way is down, and how far do I go?
#
# Write all weights of a model as one vector $\theta \in \mathbb{R}^d$ and its loss as $J(\theta)$. The gradient
# $\nabla J(\theta) \in \mathbb{R}^d$ points where $J$ rises fastest. *Gradient descent* steps the other way:
#
# $$\theta_{t+1} = \theta_t - \alpha\, \nabla J(\theta_t).$$
#
# $t$ counts steps and $\alpha > 0$ is the step size. One of the articles that this course grew from prints this
# formula, and says nothing about $\alpha$ but its name. To learn what $\alpha$ does we take a loss whose lowest point
# is known:
#
# $$J(\theta) = \tfrac12\, \theta^\top A\, \theta, \qquad \nabla J(\theta) = A\theta,$$
#
# with $A$ symmetric, of shape $(d, d)$, and all of its eigenvalues positive. The lowest point is $\theta = 0$. The
# *Hessian*, the matrix of second derivatives, is $A$ itself. Its eigenvalues are the *curvatures*: how fast the slope
# grows along each eigenvector. Ours are 10 and 1, in two dimensions: a valley, steep across and flat along.

# %%
L, mu = 10.0, 1.0  # the largest and the smallest curvature
turn = np.deg2rad(30)
directions = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
A = directions @ np.diag([L, mu]) @ directions.T  # columns of directions: steepest, flattest


def gradient(theta):
    return A @ theta


# %%
def descend(gradient, start, step_size, steps):
    points = [np.array(start, dtype=float)]
    for _ in range(steps):
        points.append(points[-1] - step_size * gradient(points[-1]))
    return np.array(points)  # (steps + 1, d)


# %%
start = directions @ np.array([1.0, 4.0])
print(np.linalg.norm(descend(gradient, start, 0.1, 30), axis=1)[[0, 1, 10, 30]].round(4))

# %% [markdown]
# The four numbers are distances from the lowest point, at the start and after 1, 10 and 30 steps. To see how they
# come about, draw the path on the surface: lines of equal loss, and each step a line between two points. The panel
# beside it shows the loss.


# %%
def draw_surface(axes):
    x, y = np.meshgrid(np.linspace(-5, 3.5, 120), np.linspace(-2.5, 6, 120))
    points = np.stack([x, y])
    J = 0.5 * (points * np.tensordot(A, points, 1)).sum(axis=0)
    axes.contour(x, y, J, levels=np.geomspace(0.1, 100, 12), colors=show.GREY, linewidths=0.6)
    axes.plot(0, 0, "*", ms=12, color=show.GREEN)
    axes.set(xlim=(-5, 3.5), ylim=(-2.5, 6), aspect="equal")
    axes.set(xlabel="first weight, θ₁", ylabel="second weight, θ₂")


# %%
def draw_descent(step_size):
    points = descend(gradient, start, step_size, 25)
    J = 0.5 * np.einsum("ti,ij,tj->t", points, A, points)
    figure, (surface, curve) = plt.subplots(1, 2, figsize=(9, 4))
    draw_surface(surface)
    surface.plot(*points.T, "o-", ms=4, lw=1.2, color=show.RED)
    curve.semilogy(J, "o-", ms=4, color=show.RED)
    curve.set(xlabel="step, t", ylabel="loss, J")
    outcome = "falls" if J[-1] < J[0] else "rises"
    return f"With step size {step_size:g} the loss {outcome} from {J[0]:.3g} to {J[-1]:.3g}"


# %%
told = draw_descent(0.17)
show.finding(
    f"Every step crosses the valley. {told}",
    alt="Path of gradient descent on the lines of equal loss of a narrow valley: it crosses the "
    f"valley at every step and comes closer to the lowest point. Beside it the loss. {told}",
)

# %%
across = descend(gradient, start, 0.17, 25) @ directions[:, 0]  # the coordinate across the valley
claim(
    "at 0.17 every step ends on the other side of the valley",
    np.all(across[1:] * across[:-1] < 0),
    f"across: {across[0]:.2f}, {across[1]:.2f}, {across[2]:.2f}, …",
)

# %% [markdown]
# At 0.17 the path crosses the valley at every step: across, where the curvature is 10, a step goes 0.17 · 10 = 1.7
# times the way to the middle; along, where it is 1, only 17 % of the way. Turn the knob in a running notebook. Find
# the step size at which the zigzag stops shrinking, and keep it in mind for the next section.

# %%
import io

import ipywidgets

slider = ipywidgets.FloatSlider(0.17, min=0.01, max=0.22, step=0.005, readout_format=".3f")
slider.description, says, drawing = "step size", ipywidgets.Label(), ipywidgets.Image(width=800)


# %%
def redraw(change=None):
    png, says.value = io.BytesIO(), draw_descent(slider.value)
    plt.tight_layout()
    plt.savefig(png, format="png", facecolor="white")
    plt.close()
    drawing.value = png.getvalue()


redraw()
slider.observe(redraw, names="value")
ipywidgets.VBox([slider, says, drawing])

# %% [markdown]
# ## At which step size does it blow up?
#
# Put $\nabla J = A\theta$ into the update, and write the start in eigenvectors, $\theta_t = \sum_i c_{t,i}\, q_i$
# with $A q_i = \lambda_i q_i$:
#
# $$\theta_{t+1} = \theta_t - \alpha A \theta_t = (I - \alpha A)\,\theta_t$$
# $$c_{t+1,i} = (1 - \alpha\lambda_i)\, c_{t,i} \quad\text{for each direction } i \text{ by itself}$$
# $$c_{t,i} = (1 - \alpha\lambda_i)^t\, c_{0,i}.$$
#
# Each direction is multiplied by its own constant at each step. All of them shrink exactly if
# $|1 - \alpha\lambda_i| < 1$ for every $i$, that is if $0 < \alpha\lambda_i < 2$. The largest curvature, called $L$,
# decides:
#
# $$\boxed{\;\alpha < \frac{2}{L}\;}$$
#
# Is that what happens? Suppose that we did not know $A$ and could only try. We halve the interval between a step size
# that shrinks and one that grows until float64 cannot tell the two apart.


# %%
def grows(step_size):
    far = np.linalg.norm(descend(gradient, start, step_size, 150)[-2:], axis=1)
    return far[1] > far[0]


# %%
safe, unsafe = 0.0, 1.0
for _ in range(60):
    middle = (safe + unsafe) / 2
    safe, unsafe = (safe, middle) if grows(middle) else (middle, unsafe)

# %%
claim(
    "the largest step size that trying finds is 2/L to ten digits",
    abs(safe / (2 / L) - 1) < 1e-10,
    f"{safe:.13f} found by trying, {2 / L:.13f} computed",
)

# %% [markdown]
# A real loss is not quadratic, but near any point it is nearly so. Let $L$ now be the largest curvature met anywhere
# on the way. Taylor's formula to second order, then the step $-\alpha\nabla J$ put into it:
#
# $$J(\theta + s) \;\le\; J(\theta) + \nabla J(\theta)^\top s + \tfrac{L}{2}\,\lVert s \rVert^2$$
# $$J(\theta_{t+1}) \;\le\; J(\theta_t) - \alpha\,\lVert\nabla J\rVert^2 + \tfrac{L}{2}\alpha^2\lVert\nabla J\rVert^2
# \;=\; J(\theta_t) - \alpha\left(1 - \tfrac{\alpha L}{2}\right)\lVert\nabla J\rVert^2 .$$
#
# The loss must fall for $\alpha < 2/L$, again, and the guarantee is best at $\alpha = 1/L$.
#
# **Where this goes wrong.** Too small is a mistake as well, and a quiet one. An article's training listing takes ten
# steps of 0.01, the number that everybody types. Here is its training loop, without the validation, and with the step
# size as an argument.

# %%
import torch

torch.set_num_threads(1)  # such small networks wait for threads longer than they compute


# %%
def article(step_size, steps=10):
    torch.manual_seed(0)
    model = torch.nn.Linear(10, 2)
    criterion = torch.nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=step_size)
    x_train = torch.randn(100, 10)
    y_train = torch.randint(0, 2, (100,))
    losses = []
    for epoch in range(steps):
        optimizer.zero_grad()
        loss = criterion(model(x_train), y_train)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses + [criterion(model(x_train), y_train).item()], x_train.numpy()


# %% [markdown]
# What would a step size chosen for a reason be? For this model $L$ has a bound that needs no training. With $x_n$ the
# inputs (a 1 appended for the bias) and $\hat y$ the probabilities, the Hessian is a mean of products (in Kronecker's
# sense) of $\operatorname{diag}(\hat y) - \hat y \hat y^\top$ and $x_n x_n^\top$. In row $i$ of the first factor, the
# diagonal entry and the absolute values of the others add up to $2\hat y_i(1 - \hat y_i) \le \tfrac12$, so none of
# its eigenvalues is above $\tfrac12$ (Gershgorin's theorem). Therefore
#
# $$L \;\le\; \tfrac12\, \lambda_{\max}\!\Big(\tfrac1N \textstyle\sum_n x_n x_n^\top\Big).$$

# %%
losses, x = article(0.01)
x = np.column_stack([x, np.ones(len(x))])
L_bound = 0.5 * np.linalg.eigvalsh(x.T @ x / len(x))[-1]
reasoned, _ = article(1 / L_bound)

# %%
lowest = article(1 / L_bound, steps=2000)[0][-1]
share = {"0.01": losses, f"1/L = {1 / L_bound:.2f}": reasoned}
share = {name: (each[0] - each[-1]) / (each[0] - lowest) for name, each in share.items()}

# %%
small, large = share.values()
claim(
    "ten of the article's steps go less than a fifth of the way to the lowest loss, "
    "ten steps of 1/L more than nine tenths",
    small < 0.2 and large > 0.9,
    "; ".join(f"step size {name}: {each:.1%}" for name, each in share.items()),
)

# %% [markdown]
# The line that mends it is `lr=1 / L_bound`. That the listing's labels are random, so that there is nothing to learn
# even at the lowest loss, is another matter (lesson 04).
#
# ## How many steps does it take?
#
# The steepest direction forbids large steps, and the flattest needs them. The error shrinks by the larger of
# $|1 - \alpha L|$ and $|1 - \alpha\mu|$, where $\mu$ is the smallest curvature. The first falls to 0 as $\alpha$
# grows and rises again, the second falls; the best $\alpha$ makes them equal:
#
# $$\alpha L - 1 = 1 - \alpha\mu \;\;\Rightarrow\;\; \alpha = \frac{2}{L + \mu}, \qquad
# \text{shrinking by}\;\; 1 - \frac{2\mu}{L+\mu} = \frac{\kappa - 1}{\kappa + 1}, \qquad \kappa = \frac{L}{\mu}.$$
#
# $\kappa$ is the *condition number*, how narrow the valley is. To shrink an error to the part $\varepsilon$ takes
# $\ln(1/\varepsilon) / \ln\frac{\kappa+1}{\kappa-1} \approx \tfrac{\kappa}{2}\ln(1/\varepsilon)$ steps. We count, to
# one part in a million, starting with equal errors in both directions.


# %%
def steps_needed(update, curvatures, at_most=200_000):
    error, memory = np.ones(2), np.zeros(2)
    for step in range(at_most):
        if np.linalg.norm(error) < 1e-6 * np.sqrt(2):
            return step
        error, memory = update(error, curvatures * error, memory)
    return at_most


# %%
def plain(step_size):
    return lambda error, slope, memory: (error - step_size * slope, memory)


# %%
kappas = np.array([10, 100, 1000, 10_000])
counted = [steps_needed(plain(2 / (1 + k)), np.array([k, 1.0])) for k in kappas]
predicted = np.log(1e6) / np.log((kappas + 1) / (kappas - 1))

# %%
claim(
    "the formula predicts the number of steps to within one",
    np.all(np.abs(counted - predicted) <= 1),
    "; ".join(f"κ = {k:,}: {n:,}" for k, n in zip(kappas, counted)),
)

# %% [markdown]
# A valley ten times as narrow takes ten times as many steps. This is why inputs are scaled: a feature in millimetres
# beside one in kilometres makes a narrow valley out of any loss.
#
# ## What if I forget to clear the gradient?
#
# **Where this goes wrong.** PyTorch *adds* each new gradient to `.grad`. Without `zero_grad()` every step follows the
# sum of all gradients so far, and nothing complains.


# %%
def with_autograd(clear, step_size=0.1, steps=200):
    theta = torch.tensor(start, requires_grad=True)
    distance = []
    for _ in range(steps):
        if clear:
            theta.grad = None  # what optimizer.zero_grad() does
        (0.5 * theta @ torch.from_numpy(A) @ theta).backward()
        with torch.no_grad():
            theta -= step_size * theta.grad
        distance.append(float(theta.detach().norm()))
    return np.array(distance)


# %%
cleared, kept = with_autograd(clear=True), with_autograd(clear=False)

# %%
plt.plot(cleared, label="gradient cleared before each step")
plt.plot(kept, color=show.RED, label="never cleared")
plt.xlabel("step")
plt.ylabel("distance from the lowest point")
plt.ylim(-0.2, 5.4)
plt.legend(loc="upper center", ncols=2)
show.finding(
    "Without zero_grad() descent swings for ever",
    alt=f"Distance from the lowest point over 200 steps: {cleared[-1]:.0e} at the end where the "
    f"gradient is cleared; where it is not, it swings up to {kept[100:].max():.1f} without end",
)

# %%
claim(
    "cleared, the distance falls below a millionth; never cleared, it comes back to half "
    "of the start's or more after 100 steps",
    cleared[-1] < 1e-6 and kept[100:].max() > 0.5 * np.linalg.norm(start),
    f"{cleared[-1]:.1e} and {kept[100:].max():.2f}, from {np.linalg.norm(start):.2f}",
)

# %% [markdown]
# Why for ever? Call the sum of gradients $v$. Along a direction of curvature $\lambda$,
# $v_t = v_{t-1} + \lambda\theta_t$ and $\theta_{t+1} = \theta_t - \alpha v_t$. Take
# $v_{t-1} = (\theta_{t-1}-\theta_t)/\alpha$ from the step before:
#
# $$\theta_{t+1} - (2 - \alpha\lambda)\,\theta_t + \theta_{t-1} = 0 .$$
#
# Solutions are $\theta_t = z^t$ with $z^2 - (2-\alpha\lambda) z + 1 = 0$. The product of the two roots is 1. For
# $\alpha\lambda < 4$ they are complex and conjugate, so each has modulus exactly 1: a swing without friction. A
# framework that adds gradients up has its use, when a large batch comes in pieces (exercise 03.3).
#
# ## What does a memory buy?
#
# Give the swing some friction. *Momentum* (Polyak 1964) keeps the share $\beta < 1$ of the sum at each step:
#
# $$v_t = \beta v_{t-1} + \nabla J(\theta_t), \qquad \theta_{t+1} = \theta_t - \alpha v_t .$$
#
# Across the valley, gradients of opposite sign cancel in $v$; along it they add up. The same steps as above give
# $z^2 - (1 + \beta - \alpha\lambda)\,z + \beta = 0$, with a root product of $\beta$. While the roots are complex,
# every direction shrinks by the same $|z| = \sqrt\beta$, whatever its curvature. They are complex (or just meet)
# where
#
# $$(1 + \beta - \alpha\lambda)^2 \le 4\beta \quad\Leftrightarrow\quad (1-\sqrt\beta)^2 \le \alpha\lambda \le (1+\sqrt\beta)^2 .$$
#
# Let $\mu$ meet the left end and $L$ the right one; divide the two, and take the root:
#
# $$\sqrt\kappa = \frac{1+\sqrt\beta}{1-\sqrt\beta} \;\;\Rightarrow\;\; \sqrt\beta = \frac{\sqrt\kappa-1}{\sqrt\kappa+1},
# \qquad \alpha = \frac{(1+\sqrt\beta)^2}{L} .$$
#
# Compare the rate of plain descent, $\frac{\kappa-1}{\kappa+1}$: the condition number has become its square root.


# %%
def momentum(step_size, beta, nesterov=False):
    def update(theta, gradient, velocity):
        velocity = beta * velocity + gradient
        ahead = gradient + beta * velocity if nesterov else velocity
        return theta - step_size * ahead, velocity

    return update


# %% [markdown]
# The flag `nesterov` is a variant (Nesterov 1983): take the gradient where the momentum is about to carry you. In
# books it has two sequences, $\theta$ and a point ahead of it, $y$:
#
# $$y_t = \theta_t - \alpha\beta v_{t-1}, \qquad v_t = \beta v_{t-1} + \nabla J(y_t), \qquad \theta_{t+1} = \theta_t - \alpha v_t .$$
#
# Frameworks keep only $y$, where they know the gradient anyway. With $g_t = \nabla J(y_t)$:
#
# $$y_{t+1} = \theta_{t+1} - \alpha\beta v_t = \theta_t - \alpha v_t - \alpha\beta v_t
# = y_t + \alpha\beta v_{t-1} - \alpha v_t - \alpha\beta v_t$$
# $$\phantom{y_{t+1}} = y_t - \alpha\,(g_t + \beta v_t), \qquad\text{since } \beta v_{t-1} = v_t - g_t .$$
#
# That is the line `ahead = …`. So the weights in a framework's checkpoint are the book's $y$. Do the two forms walk
# the same points?

# %%
y, theta, v, y_velocity, alpha, beta = start, start, 0 * start, 0 * start, 0.05, 0.9
nesterov, largest = momentum(alpha, beta, nesterov=True), 0.0
for _ in range(100):
    book_y = theta - alpha * beta * v
    largest = max(largest, np.abs(book_y - y).max())
    v = beta * v + gradient(book_y)
    theta = theta - alpha * v
    y, y_velocity = nesterov(y, gradient(y), y_velocity)
claim(
    "the framework's weights are the book's point ahead", largest < 1e-12, f"{largest:.0e} apart"
)

# %% [markdown]
# Now count steps again: plain descent and momentum with their best settings, Nesterov's method with its customary
# ones, $\alpha = 1/L$ and $\beta = \frac{\sqrt\kappa-1}{\sqrt\kappa+1}$ (for a quadratic there are slightly better
# ones).

# %%
roots = np.sqrt(kappas)
heavy = [momentum(4 / (r + 1) ** 2, ((r - 1) / (r + 1)) ** 2) for r in roots]
ahead = [momentum(1 / r**2, (r - 1) / (r + 1), nesterov=True) for r in roots]
steps = {"plain": counted}
for name, updates in (("momentum", heavy), ("Nesterov", ahead)):
    steps[name] = [steps_needed(u, np.array([k, 1.0])) for u, k in zip(updates, kappas)]

# %%
show.table(
    ["condition number", *steps], [[f"{k:,}", *row] for k, *row in zip(kappas, *steps.values())]
)

# %%
slopes = {name: np.polyfit(np.log(kappas[1:]), np.log(n[1:]), 1)[0] for name, n in steps.items()}

# %%
for (name, n), marker in zip(steps.items(), "os^"):
    plt.loglog(kappas, n, marker + "-", label=f"{name}: slope {slopes[name]:.2f}")
plt.xlabel("condition number, κ")
plt.ylabel("steps to a millionth of the error")
plt.legend()
show.finding(
    "A memory turns κ into its square root",
    alt="Steps against the condition number, both logarithmic, straight lines: "
    + "; ".join(f"{name} has slope {slope:.2f}" for name, slope in slopes.items()),
)

# %%
claim(
    "plain descent's steps grow in proportion to κ, with momentum or Nesterov to about its root",
    abs(slopes["plain"] - 1) < 0.05
    and abs(slopes["momentum"] - 0.5) < 0.1
    and abs(slopes["Nesterov"] - 0.5) < 0.1,
    ", ".join(f"{name} {slope:.3f}" for name, slope in slopes.items()),
)

# %% [markdown]
# Momentum needs $\beta$ and $\alpha$ to fit $\kappa$, which nobody knows for a network. The customary $\beta = 0.9$
# is the best for one condition number, and the formula says which: $\sqrt\kappa = (1+\sqrt{0.9})/(1-\sqrt{0.9})$.

# %%
suits = ((1 + np.sqrt(0.9)) / (1 - np.sqrt(0.9))) ** 2
claim("0.9 suits a κ between 1,000 and 2,000", 1000 < suits < 2000, f"{suits:,.0f}")

# %% [markdown]
# ## Can each weight have a step size of its own?
#
# One step size for all weights is what makes $\kappa$ hurt. *Adam* (Kingma and Ba 2015) divides each weight's step by
# the typical size of that weight's own gradient. It keeps two running means, of the gradient $g_t$ and of its square,
# for each weight by itself (all operations are elementwise, all shapes $(d,)$):
#
# $$m_t = \beta_1 m_{t-1} + (1-\beta_1)\, g_t, \qquad s_t = \beta_2 s_{t-1} + (1-\beta_2)\, g_t^2, \qquad m_0 = s_0 = 0.$$
#
# Both start at 0 and are too small at first. By how much? Unroll the mean, and let the gradients have the same
# expectation $g$:
#
# $$m_t = (1-\beta_1)\sum_{i=1}^{t} \beta_1^{\,t-i} g_i \quad\Rightarrow\quad
# \mathbb{E}[m_t] = g\,(1-\beta_1)\,\frac{1-\beta_1^{\,t}}{1-\beta_1} = (1-\beta_1^{\,t})\, g .$$
#
# So divide by that factor, and the same for $s$; $\epsilon$ keeps the divisor above 0:
#
# $$\theta_{t+1} = \theta_t - \alpha\,\frac{\hat m_t}{\sqrt{\hat s_t} + \epsilon}, \qquad
# \hat m_t = \frac{m_t}{1-\beta_1^{\,t}}, \quad \hat s_t = \frac{s_t}{1-\beta_2^{\,t}} .$$


# %%
def adam(step_size, beta1=0.9, beta2=0.999, epsilon=1e-8):
    def update(theta, gradient, memory):
        t, m, s = memory if isinstance(memory, tuple) else (0, 0 * theta, 0 * theta)
        t, m = t + 1, beta1 * m + (1 - beta1) * gradient
        s = beta2 * s + (1 - beta2) * gradient**2
        m_hat, s_hat = m / (1 - beta1**t), s / (1 - beta2**t)
        return theta - step_size * m_hat / (np.sqrt(s_hat) + epsilon), (t, m, s)

    return update


# %%
def walk(update, gradient, start, steps):
    theta, memory, points = start, 0 * start, [start]
    for _ in range(steps):
        theta, memory = update(theta, gradient(theta), memory)
        points.append(theta)
    return np.array(points)


# %%
once = walk(adam(0.1), gradient, start, 1)
large = walk(adam(0.1), lambda theta: 1000 * gradient(theta), start, 1)
first = [np.abs(points[1] - points[0]) for points in (once, large)]
claim(
    "Adam's first step moves every weight by the step size, however large the gradient",
    np.allclose(first, 0.1, rtol=1e-6),
    f"{first[0].round(6)}, and {first[1].round(6)} with a gradient 1,000 times as large",
)

# %% [markdown]
# Are these the steps that the framework takes? We give PyTorch's optimizers our gradients and compare 100 points of
# each path.


# %%
def torch_walk(make_optimizer, gradient, start, steps):
    theta = torch.nn.Parameter(torch.tensor(start))
    optimizer, points = make_optimizer([theta]), [start]
    for _ in range(steps):
        theta.grad = torch.from_numpy(gradient(theta.detach().numpy()))
        optimizer.step()
        points.append(theta.detach().numpy().copy())
    return np.array(points)


# %%
sgd = torch.optim.SGD
pairs = {
    "plain": (momentum(0.05, 0), lambda p: sgd(p, 0.05)),
    "momentum": (momentum(0.05, 0.9), lambda p: sgd(p, 0.05, momentum=0.9)),
    "Nesterov": (
        momentum(0.05, 0.9, nesterov=True),
        lambda p: sgd(p, 0.05, momentum=0.9, nesterov=True),
    ),
    "Adam": (adam(0.05), lambda p: torch.optim.Adam(p, 0.05)),
}
apart = {
    name: np.abs(walk(ours, gradient, start, 100) - torch_walk(theirs, gradient, start, 100)).max()
    for name, (ours, theirs) in pairs.items()
}

# %%
claim(
    "our four methods take the framework's own steps, to a millionth",
    max(apart.values()) < 1e-6,
    "; ".join(f"{name} {each:.0e}" for name, each in apart.items()),
)

# %% [markdown]
# Does Adam make the condition number harmless? It gives each *weight* its own step. If the valley lies along the
# axes, weights and eigenvectors are the same thing. If it lies at an angle, they are not.


# %%
def adam_steps(kappa, degrees, at_most=4000):
    turn = np.deg2rad(degrees)
    q = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    valley = q @ np.diag([kappa, 1.0]) @ q.T
    points = walk(adam(0.1), lambda theta: valley @ theta, q @ np.ones(2), at_most)
    return int(np.flatnonzero(np.linalg.norm(points, axis=1) > 1e-3)[-1]) + 1


# %%
counts = {degrees: [adam_steps(k, degrees) for k in (10, 100, 1000)] for degrees in (0, 10, 45)}
show.table(
    ["valley at an angle of", "κ = 10", "κ = 100", "κ = 1,000"],
    [[f"{degrees}°", *n] for degrees, n in counts.items()],
    caption="Adam's steps until the error stays below a thousandth",
)

# %%
claim(
    "along the axes Adam does not notice κ; at 45° and κ = 1,000 it takes five times as long",
    np.ptp(counts[0]) <= 2 and counts[45][2] > 5 * counts[0][2],
    f"{counts[0]} steps along the axes, {counts[45]} at 45°",
)

# %% [markdown]
# Adam mends badly scaled weights, the common case, and costs two more numbers for each weight. It does not mend what
# no choice of scales for the single weights could.
#
# ## Where does a network's gradient come from?
#
# From the chain rule, applied from the loss backwards: *back-propagation*. One layer of a network is
# $\text{activation}(xW + b)$ (an article prints this as the formula of "model conversion", which it is not). Two
# layers read our digits, $N$ images at a time, with $H$ hidden units and $C = 10$ classes:
#
# | symbol | shape | |
# | --- | --- | --- |
# | $x$ | $(N, 64)$ | images, a row each |
# | $a = xW_1 + b_1$ | $(N, H)$ | $W_1$: $(64, H)$, $b_1$: $(H,)$ |
# | $h = \max(a, 0)$ | $(N, H)$ | the activation, *ReLU* |
# | $z = hW_2 + b_2$ | $(N, C)$ | logits; $W_2$: $(H, C)$, $b_2$: $(C,)$ |
# | $J = \frac1N\sum_n \ell(z_n, y_n)$ | one number | mean cross-entropy |
#
# Go backwards, one row of the table at a time. Lesson 02 gives the first line, with $y$ one-hot:
#
# $$\delta_2 := \frac{\partial J}{\partial z} = \frac{1}{N}(\hat y - y) \qquad (N, C)$$
# $$\frac{\partial J}{\partial W_2[k,c]} = \sum_n \frac{\partial J}{\partial z[n,c]}\,\frac{\partial z[n,c]}{\partial W_2[k,c]}
# = \sum_n \delta_2[n,c]\, h[n,k] \;\Rightarrow\; \frac{\partial J}{\partial W_2} = h^\top \delta_2 \qquad (H, C)$$
# $$\frac{\partial J}{\partial b_2} = \sum_n \delta_2[n,:] \qquad (C,)$$
# $$\frac{\partial J}{\partial h[n,k]} = \sum_c \delta_2[n,c]\, W_2[k,c] \;\Rightarrow\; \frac{\partial J}{\partial h} = \delta_2 W_2^\top \qquad (N, H)$$
# $$\delta_1 := \frac{\partial J}{\partial a} = \delta_2 W_2^\top \odot [a > 0] \qquad (N, H)$$
# $$\frac{\partial J}{\partial W_1} = x^\top \delta_1 \qquad (64, H), \qquad \frac{\partial J}{\partial b_1} = \sum_n \delta_1[n,:] \qquad (H,)$$
#
# $\odot$ multiplies elementwise; $[a > 0]$ is 1 where a unit was on and 0 where it was off. The last line is the one
# for $W_2$ with other letters: every layer is the same.

# %%
train, test = data.digits()
x_train, x_test = (part.images.reshape(-1, 64).astype(np.float64) for part in (train, test))
y_train, y_test = train.labels, test.labels


# %%
def new_network(seed=0, hidden=32):
    random = np.random.default_rng(seed)
    W1 = random.normal(0, np.sqrt(2 / 64), (64, hidden))  # keeps the size of a signal from
    W2 = random.normal(0, np.sqrt(2 / hidden), (hidden, 10))  # layer to layer (He et al. 2015)
    return {"W1": W1, "b1": np.zeros(hidden), "W2": W2, "b2": np.zeros(10)}


# %%
def forward(p, x):
    a = x @ p["W1"] + p["b1"]
    return a, np.maximum(a, 0) @ p["W2"] + p["b2"]


# %%
def loss_and_delta(z, y):
    shifted = z - z.max(axis=1, keepdims=True)  # lesson 02: shift first
    weights = np.exp(shifted)
    total, rows = weights.sum(axis=1), np.arange(len(y))
    delta = weights / total[:, None]
    delta[rows, y] -= 1
    return float((np.log(total) - shifted[rows, y]).mean()), delta / len(y)


# %%
def loss_and_gradients(p, x, y):
    a, z = forward(p, x)
    loss, delta2 = loss_and_delta(z, y)
    delta1 = (delta2 @ p["W2"].T) * (a > 0)
    h = np.maximum(a, 0)
    return loss, {
        "W1": x.T @ delta1,
        "b1": delta1.sum(axis=0),
        "W2": h.T @ delta2,
        "b2": delta2.sum(axis=0),
    }


# %% [markdown]
# Never trust a gradient that was only derived. Lesson 02's central difference,
# $\frac{J(\theta+\varepsilon) - J(\theta-\varepsilon)}{2\varepsilon}$, checks it weight by weight, here for up to 25
# of each kind; and PyTorch's autograd checks all of them.


# %%
def central_difference(p, name, index, x, y, epsilon=1e-5):
    ends = []
    for sign in (+1, -1):
        moved = {key: value.copy() for key, value in p.items()}
        moved[name].flat[index] += sign * epsilon
        ends.append(loss_and_gradients(moved, x, y)[0])
    return (ends[0] - ends[1]) / (2 * epsilon)


# %%
network, few = new_network(), slice(0, 50)
_, derived = loss_and_gradients(network, x_train[few], y_train[few])
random, off = np.random.default_rng(0), {}
for name, g in derived.items():
    chosen = random.choice(g.size, min(25, g.size), replace=False)
    slopes = [central_difference(network, name, i, x_train[few], y_train[few]) for i in chosen]
    off[name] = np.abs(g.flat[chosen] - slopes).max() / np.abs(g).max()

# %%
weights = {name: torch.tensor(w, requires_grad=True) for name, w in network.items()}
hidden = torch.relu(torch.from_numpy(x_train[few]) @ weights["W1"] + weights["b1"])
z = hidden @ weights["W2"] + weights["b2"]
torch.nn.functional.cross_entropy(z, torch.from_numpy(y_train[few])).backward()

# %%
off_autograd = max(np.abs(derived[name] - w.grad.numpy()).max() for name, w in weights.items())
claim(
    "our gradients are those of differences, to 1e-6 of the largest, and of autograd, to 1e-12",
    max(off.values()) < 1e-6 and off_autograd < 1e-12,
    f"{max(off.values()):.0e} and {off_autograd:.0e}",
)

# %% [markdown]
# Now train. An *epoch* goes through all images once, in random order, some at a time: a *mini-batch*. A multiplier
# for the step size (`schedule`) and momentum are there for later; now they are 1 and 0.


# %%
def fit(step_size, batch=32, epochs=20, beta=0.0, seed=0, schedule=lambda t, total: 1.0):
    random, p = np.random.default_rng(100 + seed), new_network(seed)
    velocity = {name: np.zeros_like(w) for name, w in p.items()}
    per_epoch, losses = len(x_train) // batch, []
    for epoch in range(epochs):
        order = random.permutation(len(x_train))
        for chosen in order[: per_epoch * batch].reshape(per_epoch, batch):
            loss, gradients = loss_and_gradients(p, x_train[chosen], y_train[chosen])
            rate = step_size * schedule(len(losses), epochs * per_epoch)
            for name, g in gradients.items():
                velocity[name] = beta * velocity[name] + g
                p[name] = p[name] - rate * velocity[name]
            losses.append(loss)
    return p, np.array(losses)


# %%
def accuracy(p):
    return float((forward(p, x_test)[1].argmax(axis=1) == y_test).mean())


# %%
begun = time.perf_counter()
scores = [accuracy(fit(0.3, seed=seed)[0]) for seed in range(5)]
took_s = time.perf_counter() - begun
claim(
    "with NumPy alone each of five networks reads over 95 % of the test images",
    min(scores) > 0.95,
    ", ".join(f"{score:.1%}" for score in scores),
)

# %%
observe("all five learn within 10 seconds", took_s < 10, f"{took_s:.1f} s", either=True)

# %% [markdown]
# (A slow or busy machine takes longer. Nothing below depends on it.)
#
# ## Must every step see every image?
#
# The loss is a mean over $N$ images, so its gradient is a mean of $N$ gradients $g_n$. A mini-batch takes the mean of
# $B$ of them, drawn at random. Each $g_n$ is the full gradient $g$ plus a deviation of mean 0, and deviations of
# independent draws do not correlate:
#
# $$\mathbb{E}\,\Big\lVert \frac1B\sum_{b=1}^{B} g_{n_b} - g \Big\rVert^2 = \frac{1}{B^2}\sum_{b=1}^{B} \mathbb{E}\,\lVert g_{n_b} - g\rVert^2 = \frac{\sigma^2}{B},
# \qquad \sigma^2 := \frac1N\sum_n \lVert g_n - g\rVert^2 .$$
#
# The noise is $\sigma/\sqrt B$: half of it costs four times the images. (That holds for draws with replacement;
# without, it falls faster as $B$ nears $N$, to 0.) To measure it we need each image's own gradient, from the same
# lines without the sums.


# %%
def gradient_of_each(p, x, y):
    a, z = forward(p, x)
    delta2 = loss_and_delta(z, y)[1] * len(y)
    delta1 = (delta2 @ p["W2"].T) * (a > 0)
    W1 = x[:, :, None] * delta1[:, None, :]
    W2 = np.maximum(a, 0)[:, :, None] * delta2[:, None, :]
    return np.concatenate([W1.reshape(len(y), -1), delta1, W2.reshape(len(y), -1), delta2], axis=1)


# %%
each = gradient_of_each(new_network(), x_train, y_train)  # (1347, all weights)
full = each.mean(axis=0)
sigma = np.sqrt(((each - full) ** 2).sum(axis=1).mean())
sizes = 2 ** np.arange(0, 11)
noise, random = [], np.random.default_rng(0)
for B in sizes:
    times = random.multinomial(B, np.full(len(each), 1 / len(each)), size=200)
    drawn = times @ each / B  # (200, all weights): the gradients of 200 batches
    noise.append(np.sqrt(((drawn - full) ** 2).sum(axis=1).mean()))

# %%
slope = np.polyfit(np.log(sizes), np.log(noise), 1)[0]

# %%
plt.loglog(
    sizes, noise, "o", label=f"measured, 200 batches each: slope {slope:.2f}".replace("-", "−")
)
plt.loglog(sizes, sigma / np.sqrt(sizes), color=show.GREY, label="σ/√B")
plt.axhline(np.linalg.norm(full), color=show.ORANGE, ls="--", label="length of the full gradient")
plt.xlabel("batch size, B")
plt.ylabel("noise of the gradient (RMS)")
plt.yticks([0.1, 0.2, 0.5, 1, 2, 5], ["0.1", "0.2", "0.5", "1", "2", "5"])
plt.minorticks_off()
plt.legend()
show.finding(
    "Half of the noise costs four times the images",
    alt=f"Noise of the gradient against batch size, both logarithmic: points on a straight line of "
    f"slope {slope:.2f}, from {noise[0]:.1f} at 1 to {noise[-1]:.2f} at {sizes[-1]}; "
    f"the full gradient's length is {np.linalg.norm(full):.2f}",
)

# %%
claim(
    "the noise falls as the root of the batch size, and is the formula's to 10 %",
    abs(slope + 0.5) < 0.03 and np.allclose(noise, sigma / np.sqrt(sizes), rtol=0.1),
    f"slope {slope:.3f}",
)

# %% [markdown]
# Where the points cross the dashed line, noise and signal are equally long. Below that batch size, a step is mostly
# noise; well above it, more images hardly change the step's direction. McCandlish et al. (2018) call
# $\sigma^2/\lVert g\rVert^2$ the *noise scale*. As training goes on, $g$ shrinks and the noise scale grows: a trained
# network wants larger batches, or smaller steps.


# %%
def noise_scale(p):
    each = gradient_of_each(p, x_train, y_train)
    full = each.mean(axis=0)
    return ((each - full) ** 2).sum(axis=1).mean() / (full @ full)


scale = {"at the start": noise_scale(new_network())}
scale["after 20 epochs"] = noise_scale(fit(0.3, epochs=20)[0])

# %%
claim(
    "the noise scale is more than five times as large after twenty epochs",
    scale["after 20 epochs"] > 5 * scale["at the start"],
    "; ".join(f"{when}: {images:,.0f} images" for when, images in scale.items()),
)

# %% [markdown]
# ## Is a noisy step worth it?
#
# One article says that stochastic gradient descent, on data chosen at random, "raises training efficiency". How many
# at a step, and efficiency in what, it does not say. Three networks see the same images five times over, 1, 32 or all
# of them (the *full batch*) at a step, each with a step size that suits it. We look at the loss by steps, and by
# seconds.


# %%
def race(batch, step_size, epochs=5):
    begun = time.perf_counter()
    p, losses = fit(step_size, batch, epochs)
    seconds = time.perf_counter() - begun
    window = max(1, len(losses) // 60)
    smooth = losses[: len(losses) // window * window].reshape(-1, window).mean(axis=1)
    final, _ = loss_and_gradients(p, x_train, y_train)
    return {"steps": len(losses), "seconds": seconds, "smooth": smooth, "final": final}


# %%
race(32, 0.3, epochs=1)  # a first run warms the processor up
N = len(x_train)
runs = {1: race(1, 0.03), 32: race(32, 0.3), N: race(N, 1.0)}

# %%
figure, axes = plt.subplots(1, 2, figsize=(9, 3.4), sharey=True)
for (batch, run), marker in zip(runs.items(), "os^"):
    part = (np.arange(len(run["smooth"])) + 1) / len(run["smooth"])
    for axis, total in zip(axes, (run["steps"], run["seconds"])):
        axis.loglog(part * total, run["smooth"], marker + "-", ms=3, label=f"{batch} at a step")
axes[0].set(xlabel="steps", ylabel="training loss (smoothed)")
axes[1].set(xlabel="seconds")
axes[0].legend()
show.finding(
    "Of the same images, small batches make many cheap steps, the full batch a few",
    alt="Training loss by steps and by seconds, both logarithmic, for five passes over the images. "
    + "; ".join(
        f"batches of {batch}: {run['steps']} steps, loss {run['final']:.2f}"
        for batch, run in runs.items()
    ),
)

# %%
claim(
    "after five epochs batches of 32 have less than half of the full batch's loss",
    runs[32]["final"] < 0.5 * runs[N]["final"],
    f"{runs[32]['final']:.2f} after {runs[32]['steps']} steps, "
    f"{runs[N]['final']:.2f} after {runs[N]['steps']}",
)

# %%
reached_s = {}
for batch, run in runs.items():
    below = np.flatnonzero(run["smooth"] < 0.5)
    part = (below[0] + 1) / len(run["smooth"]) if len(below) else np.inf
    reached_s[batch] = part * run["seconds"]
observe(
    "batches of 32 are the first to a smoothed loss of 0.5",
    min(reached_s, key=reached_s.get) == 32,
    "; ".join(f"{batch} at a step: {t:.3f} s" for batch, t in reached_s.items()),
    either=True,
)

# %% [markdown]
# (`inf`: not in five epochs.) Steps of one image are the noisiest and pay for the call of each small product, as
# lesson 00 saw; the full batch computes most for each step. By images seen, single ones end lowest here (the figure's
# description has the losses). By seconds it depends on the machine. Where the last line holds, neither end was first
# but a batch in the middle, which everybody uses and calls SGD; where it does not, a call of a small product costs
# less there, or another program was in the way. "Efficiency" says nothing until it names its unit.
#
# ## How do I find a step size without knowing L?
#
# By a *range test* (Smith 2017): raise the step size a little at every step, from far too small to far too large, and
# watch the loss. One run of five epochs is enough. From here on we use momentum, $\beta = 0.9$.

# %%
lowest_rate, highest_rate = 1e-3, 10.0


def rising(t, total):
    return (lowest_rate / highest_rate) ** (1 - t / (total - 1))


# %%
_, tested = fit(highest_rate, epochs=5, beta=0.9, schedule=rising)
rates = highest_rate * np.array([rising(t, len(tested)) for t in range(len(tested))])
smooth = np.convolve(tested, np.ones(9) / 9, mode="valid")  # the mean of 9 batches
centre = rates[4:-4]
at_lowest = float(centre[smooth.argmin()])

# %%
plt.loglog(rates, tested, ".", ms=3, color=show.SKY, label="each batch")
plt.loglog(centre, smooth, label="mean of 9")
plt.axvline(at_lowest, color=show.GREY, ls="--", label=f"lowest at {at_lowest:.2f}")
plt.axvspan(at_lowest / 10, at_lowest / 3, color=show.GREEN, alpha=0.2, label="a tenth to a third")
plt.xlabel("step size (rising with each step)")
plt.ylabel("training loss")
plt.legend()
show.finding(
    "The loss falls, stops falling, explodes: choose below the lowest point",
    alt=f"Loss against a step size that rises from 0.001 to 10: flat, then falling to its lowest "
    f"near {at_lowest:.2f}, then rising above where it began; "
    f"the range from a tenth to a third of the lowest point is marked",
)

# %%
chosen, excessive = at_lowest / 3, 10 * at_lowest
good, bad = fit(chosen, beta=0.9)[0], fit(excessive, beta=0.9)[0]
claim(
    "a third of the lowest point's step size reads over 95 %, ten times it less than half",
    accuracy(good) > 0.95 and accuracy(bad) < 0.5,
    f"{accuracy(good):.1%} with {chosen:.3f}, {accuracy(bad):.1%} with {excessive:.2f}",
)

# %% [markdown]
# Less than the lowest point, because there the loss has already stopped falling. And why did the run at 3 a.m. end at
# 2.30 instead of infinity? Take ten times the step size of the five networks above, and look at the hidden units.

# %%
dead, _ = fit(3.0)
alive = {
    f"step size {step_size}": int((forward(p, x_train)[0] > 0).any(axis=0).sum())
    for step_size, p in ((0.3, fit(0.3)[0]), (3.0, dead))
}

# %%
final, _ = loss_and_gradients(dead, x_train, y_train)
claim(
    "ten times the step size leaves no unit on for any image, at no less than a blind guess's cost",
    alive["step size 3.0"] == 0 and final > np.log(10) - 0.01,
    f"loss {final:.3f}, ln 10 = {np.log(10):.3f}; units on for some image, of 32: {alive}",
)

# %% [markdown]
# Steps that were too long threw the weights to where every $a$ is negative. There $[a > 0] = 0$, so $\delta_1 = 0$,
# and nothing that lies before the ReLU ever moves again. The loss is finite, the gradient is clean, the log shows no
# error. A loss that *stays* at $\ln C$ is the sign to look for.
#
# ## Should the step size stay the same?
#
# The noise of a step is proportional to $\alpha$, so a constant $\alpha$ rattles around the lowest point for ever.
# And early in training a network can pass steeper places than those where it ends (we do not measure that here).
# Hence the usual plan: *warm-up*, a rise from near 0, then a fall, here half a cosine, to 0. With $T$ steps in all
# and $w$ of warm-up,
#
# $$\alpha_t = \alpha \cdot \min\!\Big(1, \frac{t+1}{w}\Big) \cdot \frac12\Big(1 + \cos\frac{\pi t}{T}\Big), \qquad t = 0, \dots, T-1 .$$


# %%
def constant(t, total):
    return 1.0


def cosine(t, total):
    return 0.5 * (1 + np.cos(np.pi * t / total))


# %%
warm_up = 2 * (len(x_train) // 32)  # steps in two epochs of batches of 32


def warm_up_and_cosine(t, total):
    return min(1.0, (t + 1) / warm_up) * cosine(t, total)


# %%
def final_losses(step_size, schedule, seeds=8):
    losses = []
    for seed in range(seeds):
        p, _ = fit(step_size, epochs=10, beta=0.9, seed=seed, schedule=schedule)
        losses.append(loss_and_gradients(p, x_train, y_train)[0])
    return np.array(losses)


# %%
def typical(losses):
    return float(np.exp(np.log(losses).mean()))  # geometric mean: the middle on a log axis


plans = [(0.3, constant), (0.3, cosine), (0.5, cosine), (0.5, warm_up_and_cosine)]
outcome = {(size, plan.__name__): final_losses(size, plan) for size, plan in plans}

# %%
for place, ((size, plan), losses) in enumerate(outcome.items()):
    plt.semilogy(place + np.linspace(-0.15, 0.15, 8), losses, "o", color=show.PALETTE[place])
    plt.hlines(typical(losses), place - 0.3, place + 0.3, color=show.GREY)
labels = [f"{plan.replace('_', ' ')},\nstep size {size}" for size, plan in outcome]
plt.xticks(range(4), labels, fontsize="small")
plt.axhline(np.log(10), color=show.GREY, ls="--", lw=1, label="a blind guess, ln 10")
plt.ylabel("training loss after 10 epochs")
plt.legend()
means = [typical(losses) for losses in outcome.values()]
show.finding(
    "A falling step size settles; a warm-up survives a step size that is too large without",
    alt="Final losses of eight networks under each of four plans, logarithmic; geometric means: "
    + "; ".join(f"{name}: {m:.3f}" for name, m in zip(labels, means)).replace("\n", " "),
)

# %%
claim(
    "at 0.3 the falling step size has less than half of the constant one's loss, "
    "at 0.5 warm-up has less than none has (geometric means of eight)",
    means[1] < 0.5 * means[0] and means[3] < means[2],
    f"{means[1]:.3f} after {means[0]:.3f}; {means[3]:.3f} after {means[2]:.3f}",
)

# %% [markdown]
# The same idea has other shapes: steps down at chosen epochs, a straight line, one cycle (lesson 01 used PyTorch's
# `OneCycleLR`). We tried the cosine alone. And read the picture with care: at 0.5 the eight networks with and without
# warm-up overlap, none without it is at a blind guess, and the cosine from 0.3, without any warm-up, beats both on
# average.
#
# ## What does a real model's loss look like?
#
# The model that the course carries has thousands of weights, and paper has two directions. We take its weights
# $\theta^*$ from its file, two random directions $p$ and $q$ of the same shape, and draw $J(\theta^* + u\,p + v\,q)$.

# %%
import onnx
from onnx import numpy_helper
from torch import nn

look = [nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 32, 3, padding=1), nn.ReLU()]
decide = [nn.Identity(), nn.Linear(512, 20), nn.ReLU(), nn.Linear(20, 10)]  # no dropout here
network = nn.Sequential(*look, nn.MaxPool2d(2), nn.Flatten(), *decide)

# %%
held = onnx.load(models.path("digits_cnn", 1)).graph.initializer
held = {each.name: torch.from_numpy(numpy_helper.to_array(each).copy()) for each in held}
trained = {name: held[name] for name in network.state_dict()}
matched = network.load_state_dict(trained)
weights = sum(w.numel() for w in trained.values())
print(f"{weights:,} weights")

# %%
images, labels = torch.from_numpy(train.images[:256, None].copy()), torch.from_numpy(y_train[:256])
test_images = torch.from_numpy(test.images[:, None].copy())


# %%
def model_loss(weights):
    logits = torch.func.functional_call(network, weights, (images,))
    return nn.functional.cross_entropy(logits, labels)


# %%
with torch.inference_mode():
    right = float((network(test_images).argmax(1).numpy() == y_test).mean())
claim("it is the course's model, by its accuracy", right > 0.97, f"{right:.2%}")

# %% [markdown]
# How long should $p$ and $q$ be? A ReLU network computes the same after one layer's weights and biases are multiplied
# by 10 and the next layer's weights, but not its biases, divided by 10. A step of fixed length is small for the first
# and huge for the second, so a picture with plain random directions can be made narrow or wide at will. Li et al.
# (2018) scale each *filter* (the weights of one output unit) of a direction to the length of the model's own filter,
# and leave out the biases.


# %%
def plain_direction(weights, seed):
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(w.shape, generator=generator) * (w.dim() > 1)
        for name, w in weights.items()
    }


def normalised_direction(weights, seed):
    d = plain_direction(weights, seed)
    for name, w in weights.items():
        if w.dim() > 1:
            ratio = w.flatten(1).norm(dim=1) / d[name].flatten(1).norm(dim=1)
            d[name] *= ratio.reshape(-1, *[1] * (w.dim() - 1))
    return d


# %%
def along(weights, d, u):
    return {name: w + float(u) * d[name] for name, w in weights.items()}


rescaled = dict(trained)
rescaled["0.weight"], rescaled["0.bias"] = 10 * trained["0.weight"], 10 * trained["0.bias"]
rescaled["2.weight"] = trained["2.weight"] / 10

# %%
u = {plain_direction: np.linspace(-0.1, 0.1, 21), normalised_direction: np.linspace(-1, 1, 21)}
profile = {}
with torch.inference_mode():
    for way, steps_along in u.items():
        for form, w in (("as trained", trained), ("rescaled", rescaled)):
            d = way(w, seed=1)
            profile[way, form] = [float(model_loss(along(w, d, each))) for each in steps_along]

# %%
figure, axes = plt.subplots(1, 2, figsize=(9, 3.2), sharey=True)
for (way, form), losses in profile.items():
    axis = axes[int(way is normalised_direction)]
    axis.semilogy(u[way], losses, "o-" if form == "as trained" else "s--", ms=4, label=form)
axes[0].set(xlabel="u, along a plain random direction", ylabel="loss")
axes[1].set(xlabel="u, along the same with each filter normalised")
axes[0].set_xticks([-0.1, -0.05, 0, 0.05, 0.1])
axes[0].legend()
ratio = {
    way: float(np.max(np.divide(profile[way, "rescaled"], profile[way, "as trained"])))
    for way in u
}
show.finding(
    "Plain directions show two valleys for one and the same function",
    alt="Loss along one direction, for the model as trained and rescaled without changing what it "
    f"computes. Left, plain: the rescaled curve is up to {ratio[plain_direction]:.0f} times as "
    "high. Right, with normalised filters: the two lie on each other",
)

# %%
gap = {way: np.subtract(profile[way, "rescaled"], profile[way, "as trained"]) for way in u}
claim(
    "rescaled, the model has the same loss; its picture is more than three times as high along "
    "a plain direction, and the same along a normalised one",
    abs(gap[plain_direction][10]) < 1e-3
    and ratio[plain_direction] > 3
    and np.abs(gap[normalised_direction]).max() < 1e-2,
    f"{ratio[plain_direction]:.0f} times; {np.abs(gap[normalised_direction]).max():.0e} apart",
)

# %%
p, q = normalised_direction(trained, 1), normalised_direction(trained, 2)
side = np.linspace(-1, 1, 17)
with torch.inference_mode():
    surface = [[float(model_loss(along(along(trained, p, u), q, v))) for u in side] for v in side]
surface = np.array(surface)

# %%
lines = plt.contourf(
    side, side, surface, levels=np.geomspace(2e-3, 30, 16), norm="log", cmap="cividis"
)
plt.contour(side, side, surface, levels=[np.log(10)], colors="white", linestyles="--")
plt.plot(0, 0, "*", ms=12, color=show.ORANGE)
plt.colorbar(lines, label="loss", format="%.2g")
plt.gca().set(xlabel="u, along p", ylabel="v, along q", aspect="equal")
guess = float((surface < np.log(10)).mean())
show.finding(
    "On two directions the trained model lies at the bottom of a bowl",
    alt="Loss of the digits model on two normalised random directions through its weights, a star: "
    f"lowest near the star, rising on all sides to {surface.max():.0f}; the dashed line, the cost "
    f"of a blind guess, encloses {guess:.0%} of the square",
)

# %%
middle = np.unravel_index(surface.argmin(), surface.shape)
ring = np.concatenate([surface[0], surface[-1], surface[:, 0], surface[:, -1]])
claim(
    "the lowest loss is at the middle or next to it, and more than ten times as high all along "
    "the square's edge",
    np.abs(np.subtract(middle, 8)).max() <= 1 and ring.min() > 10 * surface[8, 8],
    f"{ring.min():.2f} or more, {surface[8, 8]:.4f} in the middle",
)

# %% [markdown]
# Two directions out of thousands are a keyhole. A bowl in them does not exclude a *saddle* in others, a place that
# falls in one direction while it rises in another.
#
# ## Does 2/L hold for it, too?
#
# Here the largest curvature can be measured. *Power iteration*: multiply a vector by the Hessian $H$ again and again,
# and it turns towards the steepest direction. $H$ itself has the square of as many entries as there are weights;
# autograd multiplies by it without forming it, as the gradient of the number $\nabla J(\theta)^\top r$.

# %%
parameters = list(network.parameters())
loss = nn.functional.cross_entropy(network(images), labels)
g = torch.autograd.grad(loss, parameters, create_graph=True)

# %%
generator = torch.Generator().manual_seed(0)
r = [torch.randn(w.shape, generator=generator) for w in parameters]
curvature = []
for _ in range(20):
    length = torch.sqrt(sum((each**2).sum() for each in r))
    r = [each / length for each in r]
    Hr = torch.autograd.grad(g, parameters, r, retain_graph=True)
    curvature.append(float(sum((a * b).sum() for a, b in zip(r, Hr))))  # rᵀHr, with |r| = 1
    r = Hr

# %%
limit = 2 / curvature[-1]
claim(
    "twenty products with the Hessian settle the largest curvature to 2 %",
    abs(curvature[-1] / curvature[-3] - 1) < 0.02 and curvature[-1] > 0,
    f"L = {curvature[-1]:.3f}, so 2/L = {limit:.3f}",
)


# %%
def descend_model(step_size, steps=30):
    weights = {name: w.clone().requires_grad_() for name, w in trained.items()}
    losses = []
    for _ in range(steps + 1):
        loss = model_loss(weights)
        losses.append(loss.item())
        slopes = torch.autograd.grad(loss, list(weights.values()))
        with torch.no_grad():
            for w, slope in zip(weights.values(), slopes):
                w -= step_size * slope
    return np.array(losses)


# %%
multiples = (0.5, 1.1, 2.0)
runs = {multiple: descend_model(multiple * limit) for multiple in multiples}

# %%
for (multiple, losses), marker in zip(runs.items(), "o^s"):
    plt.semilogy(losses, marker + "-", ms=4, label=f"{multiple:g} of 2/L")
plt.axhline(np.log(10), color=show.GREY, ls="--", label="a blind guess, ln 10")
plt.xlabel("step of full-batch descent, from the trained weights")
plt.ylabel("loss")
plt.legend()
show.finding(
    "Twice the limit destroys a trained model in a few steps",
    alt="Loss of the trained digits model over 30 steps: "
    + "; ".join(f"at {m:g} of 2/L it ends at {losses[-1]:.4f}" for m, losses in runs.items()),
)

# %%
claim(
    "at half of 2/L the loss falls at every step; at twice 2/L it passes a blind guess's",
    np.all(np.diff(runs[0.5]) < 0) and runs[2.0].max() > np.log(10),
    f"from {runs[0.5][0]:.4f} to {runs[0.5][-1]:.4f}; up to {runs[2.0].max():,.1f}",
)

# %%
observe(
    "slightly above the limit, at 1.1 of it, the loss falls all the same",
    runs[1.1][-1] < runs[1.1][0],
    f"from {runs[1.1][0]:.4f} to {runs[1.1][-1]:.4f}",
    either=True,
)

# %% [markdown]
# Where the last line holds: $L$ was measured at one point, and the path goes on to flatter places, which a quadratic
# does not have. Where it does not, the path met steeper places first. Cohen et al. (2021) found that training with a
# constant step size drives the curvature up until it hovers just above $2/\alpha$, so that descent lives at the limit
# rather than below it.
#
# ## What we measured
#
# No new form of the model, so the ledger stays as it is. What this lesson counted:

# %%
show.table(
    ["question", "answer"],
    [
        ["weights: the NumPy network, the digits model", f"{each.shape[1]:,}, {weights:,}"],
        ["largest step size on the quadratic", f"{safe:.10f}, computed {2 / L:.10f}"],
        [
            "steps at κ = 10,000: plain, momentum",
            f"{steps['plain'][-1]:,}, {steps['momentum'][-1]:,}",
        ],
        ["largest difference from PyTorch's steps", f"{max(apart.values()):.0e}"],
        ["gradient by hand against autograd", f"{off_autograd:.0e}"],
        ["test accuracy with NumPy alone, worst of five", f"{min(scores):.1%}"],
        ["noise against batch size, slope", f"{slope:.3f}"],
        ["range test's lowest point, with momentum", f"{at_lowest:.2f}"],
        ["the digits model's 2/L", f"{limit:.2f}"],
    ],
)

# %% [markdown]
# ## What to remember
#
# - The largest curvature limits the step size, 2/L, and its ratio to the smallest sets the number of steps.
# - A method that is written down is held to the framework's own steps; a gradient that is derived is held to differences.
# - A loss that stays at $\ln C$ raises no error. Too large a step is one cause; too small a step, or labels with
#   nothing to learn, look the same.
#
# ## Where this breaks down
#
# The rates hold for quadratics and near a lowest point of anything smooth; a network's $L$ changes as it learns, and
# a ReLU's kink has no second derivative at all. Low training loss is not the aim either: the step size and the batch
# size also decide which of many low points is reached, and how well it serves on new images. The noise was measured
# with independent draws; images sorted by writer or by time break that. And nearly all of our step sizes belong to
# one small network: the methods carry over, the numbers do not.
#
# ## What real teams use
#
# AdamW for transformers and most new networks (exercise 03.4 says what the W is), SGD with momentum for convolutional
# ones, both with warm-up and a cosine or linear fall; and the settings of the nearest published recipe before any
# search. A range test or a short sweep finds the step size; *gradient clipping*, which shortens a gradient that is
# too long, guards against a single bad batch; batches are as large as the memory or the noise scale allows, whichever
# is smaller. Where the loss is convex (a single valley, as in the article's model) and the data fit into memory,
# L-BFGS, which estimates curvature from past gradients, or a solver's own method is better than all of these: try
# `LogisticRegression` in scikit-learn first.
#
# ## Further reading
#
# - B. T. Polyak, *Some methods of speeding up the convergence of iteration methods*, USSR Computational Mathematics and
#   Mathematical Physics 4(5), 1964.
# - D. P. Kingma, J. Ba, *Adam: A Method for Stochastic Optimization*, ICLR 2015, arXiv:1412.6980.
# - L. N. Smith, *Cyclical Learning Rates for Training Neural Networks*, WACV 2017, arXiv:1506.01186.
# - S. McCandlish et al., *An Empirical Model of Large-Batch Training*, 2018, arXiv:1812.06162.
# - H. Li et al., *Visualizing the Loss Landscape of Neural Nets*, NeurIPS 2018, arXiv:1712.09913.
# - J. Cohen et al., *Gradient Descent on Neural Networks Typically Occurs at the Edge of Stability*, ICLR 2021,
#   arXiv:2103.00065.
