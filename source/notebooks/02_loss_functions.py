# %% [markdown]
# # 02 Loss functions
#
# At 3 a.m. a program trains the model again. Its log file says `loss=nan`, “not a number”. Or worse: the loss looks
# fine, and the model is bad. If you know which loss to expect, you find the fault in the log.
#
# ## You will be able to
#
# - say what a loss measures, and find its lowest point by walking downhill;
# - derive squared error and cross-entropy from an assumption about the data;
# - compute the loss of a model that knows nothing, and say how low a loss can get;
# - derive the gradient of cross-entropy, and train a classifier with it in NumPy alone;
# - recognise a wrong loss by its numbers, even when it raises no error.
#
# ## Before you start
#
# You need some Python with NumPy arrays, and the derivatives of $x^2$, $e^x$ and $\ln x$. You need no machine
# learning: the lesson starts with one number. Each symbol is defined with its *shape*, that is, how many numbers it
# holds. $\mathbb{R}^C$ means $C$ numbers in a row. $\ln$ is the natural logarithm, in code `np.log`.

# %%
import matplotlib.pyplot as plt
import numpy as np

from course_lib.idioms import begin, claim, guess, path, reveal, show

scratch = begin("02")
path.picture(here="02")

# %% [markdown]
# ## What does a loss measure?
#
# Start with the smallest model: one number. A restaurant delivers food. The code lists the minutes of its last seven
# deliveries. The website should say "delivered in about $m$ minutes". Which number should $m$ be?
#
# To compare candidates we need a rule that says how wrong each one is. Such a rule is called a *loss*. It takes what
# the model predicts and what really happened, and returns one number: the lower, the better.

# %%
minutes = np.array([28, 31, 29, 35, 30, 33, 59])


def squared_loss(m):
    errors = minutes - m
    return (errors**2).mean()


for m in (25, 30, 40, 50):
    print(f"promise {m} minutes: loss {squared_loss(m):.0f}")

# %% [markdown]
# This loss takes each error, squares it, and averages the squares. It is called the *mean squared error*. We draw it
# for many candidates.

# %%
candidates = np.linspace(minutes.min() - 5, minutes.max() + 5, 401)
losses = np.array([squared_loss(m) for m in candidates])
best = candidates[losses.argmin()]
plt.plot(candidates, losses)
plt.plot(best, losses.min(), "o", color=show.ORANGE)
plt.plot(minutes, np.full(len(minutes), -8), "|", color="black", ms=12, label="the deliveries")
plt.xlabel("promised minutes m")
plt.ylabel("mean squared error (minutes²)")
plt.legend(loc="upper center")
show.finding(
    f"The loss is lowest at a promise of {best:.0f} minutes",
    alt=f"The loss over the promised minutes is a bowl with its lowest point, {losses.min():.0f}, "
    f"at {best:.0f} minutes, between six deliveries on its left and one far to its right",
)

# %%
claim(
    "the mean squared error is lowest at the mean of the deliveries",
    abs(best - minutes.mean()) <= candidates[1] - candidates[0],
    f"lowest at {best:.1f}, the mean is {minutes.mean():.1f} minutes",
)

# %% [markdown]
# Six of the seven deliveries were at least as fast as this promise. The seventh, with 59 minutes, pulled it up. **Your
# turn:** change 59 to 590 in the list of minutes, and run the cells down to here again. How far does the promise move?
# Then change it back.
#
# The same rule as a formula: $r_i$ is the $i$-th reading, here the minutes of one delivery. $N$ is the number of
# readings, and $\sum$ adds up the terms for all $i$:
#
# $$L(m) = \frac1N\sum_{i=1}^N (r_i - m)^2 .$$
#
# **Now do exercise 02.1.** There you write this loss, and it refuses arrays that do not fit together.
#
# ## How does a program find the lowest point?
#
# We tried 401 candidates for one number. A *neural network*, the kind of model that this course deploys, has thousands
# of such numbers. They are called its *weights*, and nobody can try all combinations. A program walks downhill instead.
# The slope of the loss gives the direction. The derivative of $(r_i - m)^2$ with respect to $m$ is $2(m - r_i)$, so
#
# $$\frac{dL}{dm} = \frac2N\sum_{i=1}^N (m - r_i).$$
#
# Where the slope is positive, the loss rises to the right, so the program steps to the left.

# %%
m = 55.0
for step in range(31):
    slope = 2 * (m - minutes).mean()
    if step % 6 == 0:
        print(f"step {step:>2}: m = {m:.2f}, slope {slope:+.2f}")
    m = m - 0.1 * slope

# %%
claim("31 steps downhill end at the mean", abs(m - minutes.mean()) < 0.1, f"m = {m:.2f} minutes")

# %% [markdown]
# This loop is called *gradient descent*, and running it is called *training*. The *gradient*, written $\nabla L$,
# holds one slope for each weight; here it holds one. The factor 0.1 is the *learning rate* (lesson 03). At the lowest
# point the slope is zero. Then $\sum_i (m - r_i) = 0$, so $m$ is the mean, as in the picture.
#
# The loop knows nothing about the task but the slope of the loss. So a wrong loss is a wrong goal, and training
# reaches it without any error message.
#
# ## How much harm does one broken reading do?
#
# Many sensors send −999 when they have no value. Take 100 room temperatures near 21 °C, and replace one of them by
# −999. Again we look for the best single number $m$, once with squared errors and once with *absolute errors*, $|r_i -
# m|$. How far does the broken reading move the best number under squared error?

# %%
guess(
    "moved",
    "By how many degrees does one −999 among 100 readings move the best number, squared error?",
    low=0.01,
    high=100,
    unit="°C",
)

# %%
random = np.random.default_rng(1)
temperatures = random.normal(21, 0.5, 100)
broken = temperatures.copy()
broken[0] = -999
moved = {
    "squared": abs(broken.mean() - temperatures.mean()),
    "absolute": abs(np.median(broken) - np.median(temperatures)),
}
reveal("moved", moved["squared"])

# %%
claim(
    "one −999 moves the best number by more than 10 degrees under squared error, and by less than "
    "one under absolute error",
    moved["squared"] > 10 and moved["absolute"] < 1,
    f"{moved['squared']:.1f} against {moved['absolute']:.3f} degrees",
)

# %% [markdown]
# Under absolute error the best number is the *median*, the value in the middle. The slope of $|r_i - m|$ is $+1$ or
# $-1$, however far away the reading is. The slopes cancel where as many readings lie above as below. Under squared
# error the slope of a reading grows with its distance: a far reading pulls harder. So one broken reading can outweigh
# the other 99.
#
# ## Where does the square come from?
#
# Each of the two losses follows from an assumption about the errors.
#
# Assume that a reading is the true value $m$ plus *Gaussian noise*: random errors that follow the bell curve. The
# width of the curve is the *standard deviation* $\sigma$: about two thirds of the errors lie between $-\sigma$ and
# $\sigma$. How likely is a reading near $r$? The height of the curve, the *density*, tells us:
#
# $$p_m(r) = \frac{1}{\sqrt{2\pi\sigma^2}}\; e^{-(r-m)^2 / (2\sigma^2)} .$$
#
# With a good $m$, our readings are likely. If no reading influences another, the density of all of them is the product
# $p_m(r_1) \cdot p_m(r_2) \cdots p_m(r_N)$. Seen as a function of $m$, this product is called the *likelihood*.
# *Maximum likelihood* means: choose the $m$ that makes it largest. We compute it for 2,000 readings of a sensor, at
# the true value 21 and at a wrong one.

# %%
readings = np.random.default_rng(0).normal(21, 0.5, 2000)


def density(m, sigma=0.5):
    return np.exp(-((readings - m) ** 2) / (2 * sigma**2)) / np.sqrt(2 * np.pi * sigma**2)


typical = np.exp(np.log(density(21)).mean())  # the factors' geometric mean
print(f"likelihood of m = 21: {np.prod(density(21))}, of m = 22: {np.prod(density(22))}")
print(f"a typical factor is {typical:.3f}, and {typical:.3f} to the power of {len(readings)}")
print(f"is about 10 to the power of {len(readings) * np.log10(typical):.0f}")

# %% [markdown]
# Both products are zero, even the one for the true value. The smallest positive number that Python's `float` can hold
# is about $5 \cdot 10^{-324}$, and the true product is much smaller than that. **Your turn:** change 2,000 to 500 and run
# the cell again. Which of the two products is no longer zero?
#
# The logarithm solves this problem. It turns a product into a sum: $\ln(ab) = \ln a + \ln b$. It also keeps the order:
# where the product is largest, its logarithm is largest. We put a minus sign in front, so that lower is better, and
# divide by $N$. The result is called the *negative log-likelihood*. Put in the density, and use $\ln e^x = x$:
#
# $$-\frac1N\sum_{i=1}^N \ln p_m(r_i) \;=\; \underbrace{\tfrac12 \ln(2\pi\sigma^2)}_{\text{does not depend on } m}
# \;+\; \frac{1}{2\sigma^2}\cdot \underbrace{\frac1N\sum_{i=1}^N (r_i-m)^2}_{\text{mean squared error}} .$$
#
# The right side is the mean squared error, times a positive constant, plus another constant. So both are lowest at the
# same $m$.

# %%
values = np.linspace(20, 22, 201)
nll = np.array([-np.log(density(m)).mean() for m in values])
mse = np.array([((readings - m) ** 2).mean() for m in values])
derived = np.log(2 * np.pi * 0.5**2) / 2 + mse / (2 * 0.5**2)

# %%
claim(
    "the negative log-likelihood is what we derived, and lowest where the squared error is",
    np.abs(nll - derived).max() < 1e-9 and nll.argmin() == mse.argmin(),
    f"they differ by {np.abs(nll - derived).max():.0e}; lowest at m = {values[mse.argmin()]:.2f}",
)

# %% [markdown]
# Squared error therefore assumes Gaussian noise. Under the bell curve a reading of −999 is practically impossible, so
# the best $m$ moves far towards it. Absolute error follows in the same way from *Laplace noise*, whose density falls
# only as $e^{-|r-m|/b}$ (with $b$ for its width). Large errors are less surprising there.
#
# So every loss assumes something about the errors. When a colleague changes the loss, ask which errors they expect.
#
# ## What is the loss when the answer is a class?
#
# A classifier for digits chooses one of $C = 10$ *classes*. The number of the right class is called the *label*, $k
# \in \{0, \dots, C-1\}$. Labels cannot be subtracted from each other in a useful way: a 7 is not closer to an 8 than
# to a 1. So the model does not answer with a label. It gives each class a probability. These form $\hat y$, “y hat”:
#
# $$\hat y \in \mathbb{R}^C, \qquad \hat y_j \ge 0, \qquad \sum_{j=0}^{C-1} \hat y_j = 1 .$$
#
# Now follow the same steps as before. The likelihood of one example is $\hat y_k$, the probability that the model gave
# to the right class. The loss is minus its logarithm:
#
# $$\ell = -\ln \hat y_k .$$
#
# This loss is called *cross-entropy*. Over $N$ examples we take the mean again.

# %%
for probability in (1.0, 0.9, 0.5, 0.2, 0.001):
    print(f"the right class got {probability:<5}: loss {abs(np.log(probability)):.3f}")

# %% [markdown]
# A model that is right and sure pays nothing. A model that is sure and wrong pays a lot, and there is no upper limit.
# The unit is called *nat*, because the logarithm is the natural one.
#
# Papers write the same loss with a sum. They turn the label into a *one-hot* vector $y \in \mathbb{R}^C$, which has a
# 1 at the right class ($y_k = 1$) and 0 everywhere else. All terms of the sum but one are zero:
#
# $$\ell = -\sum_{j=0}^{C-1} y_j \ln \hat y_j .$$
#
# ## How large is the loss of a model that knows nothing?
#
# Such a model gives each of ten digits the same probability, whatever the image shows. How large is its loss?

# %%
guess(
    "blind",
    "How large is the cross-entropy of a blind guess among ten digits?",
    low=0.1,
    high=10,
    unit="nats",
)

# %%
blind = -np.log(1 / 10)
reveal("blind", blind)

# %% [markdown]
# In general it is $-\ln\frac1C = \ln C$. This is the first number to look for in a training log. An untrained network
# should start near it.
#
# But $1/C$ for each class is not always the best blind answer. Some classes are rare. Say 10 of 1,000 payments are
# fraud. A model that sees nothing gives every payment the same probability $q$ of fraud. Then a fraud costs $-\ln q$,
# and any other payment $-\ln(1-q)$. Which $q$ has the lowest mean loss?

# %%
q = np.linspace(0.001, 0.999, 999)
fraud_loss = -(0.01 * np.log(q) + 0.99 * np.log(1 - q))
claim(
    "the best constant answer is the frequency, and its loss is less than a tenth of ln 2",
    np.isclose(q[fraud_loss.argmin()], 0.01) and fraud_loss.min() < np.log(2) / 10,
    f"q = {q[fraud_loss.argmin()]:.3f}, loss {fraud_loss.min():.3f}; ln 2 = {np.log(2):.3f}",
)

# %% [markdown]
# A fraud model that reports a loss of 0.056 may have learned nothing, although this is far below $\ln 2$, the loss of
# $q = 1/2$. The number to beat is the loss of the best constant answer. **Now do exercise 02.2**, which computes it
# from the labels.
#
# ## How low can the loss get?
#
# Some images can be read in two ways. Say 100 people drew the same unclear sign: 30 of them meant a 1, and 70 meant a
# 7. Even a perfect model cannot know which. Let $p \in \mathbb{R}^C$ be the true probabilities for this image, and $q \in
# \mathbb{R}^C$ the model's answer. Class $j$ is right in a share $p_j$ of the cases, and then costs $-\ln q_j$. The
# average loss is
#
# $$H(p,q) = -\sum_j p_j \ln q_j ,$$
#
# the cross-entropy of $p$ and $q$. We draw it for the unclear sign: $p = (0.3,\, 0.7)$, and the model answers $(q,\,
# 1-q)$.

# %%
expected = -(0.3 * np.log(q) + 0.7 * np.log(1 - q))
plt.plot(q, expected)
plt.plot(0.3, expected.min(), "o", color=show.ORANGE)
plt.annotate(f"{expected.min():.2f} nats", (0.3, expected.min()), xytext=(0.27, 0.35))
plt.ylim(0, 2.5)
plt.xlabel("answered probability q of a 1")
plt.ylabel("average loss (nats)")
show.finding(
    "The loss is lowest at the true probability, 0.3, and even there it is not zero",
    alt="The average loss over the answered probability is a bowl. Its lowest point is "
    f"{expected.min():.2f} nats at an answer of 0.3, and it rises steeply towards 0 and 1",
)

# %% [markdown]
# The lowest value is $H(p,p)$. It is called the *entropy* of $p$, written $H(p)$. The rest of the loss is called the
# *Kullback–Leibler divergence*:
#
# $$H(p,q) = H(p) + \mathrm{KL}(p\,\|\,q), \qquad \mathrm{KL}(p\,\|\,q) = \sum_j p_j \ln \frac{p_j}{q_j} .$$
#
# Why is the divergence never negative? (You may skip this proof.) The line $t - 1$ touches the curve $\ln t$ at $t =
# 1$, and lies above it everywhere else: $\ln t \le t - 1$. Put in $t = q_j / p_j$, for all $j$ with $p_j > 0$. These
# $p_j$ add up to 1, these $q_j$ to at most 1:
#
# $$-\mathrm{KL}(p\,\|\,q) = \sum_j p_j \ln\frac{q_j}{p_j} \;\le\; \sum_j p_j\Big(\frac{q_j}{p_j}-1\Big)
# = \sum_j q_j - \sum_j p_j \;\le\; 0 .$$
#
# The two sides are equal only where $q = p$. So on average no model with the same inputs can do better than the entropy,
# and only the true probabilities reach it.


# %%
def cross_entropy_between(p, q):
    return float(-(p[p > 0] * np.log(q[p > 0])).sum())


pairs = np.random.default_rng(2).dirichlet(np.ones(6), size=(1000, 2))  # over six classes
divergence = np.array(
    [cross_entropy_between(p, q) - cross_entropy_between(p, p) for p, q in pairs]
)

# %%
claim(
    "for 1,000 random pairs of distributions, the cross-entropy is above the entropy",
    divergence.min() >= 0,
    f"by {divergence.min():.3f} to {divergence.max():.2f} nats",
)

# %% [markdown]
# ## How do scores become probabilities?
#
# The last layer of a network computes one score for each class. The scores $z \in \mathbb{R}^C$ are called *logits*,
# and each can be any number. How do we make probabilities out of them? We ask for one property: a difference of logits
# is a difference of logarithms of probabilities (*log-probabilities*):
#
# $$\ln \hat y_i - \ln \hat y_j = z_i - z_j .$$
#
# Only one formula has this property. Apply the exponential function: $\hat y_i = \hat y_j\, e^{z_i - z_j}$. Now sum
# over $i$. The left side gives 1, so
#
# $$1 = \hat y_j \sum_i e^{z_i - z_j} \quad\Longrightarrow\quad
# \hat y_j = \frac{1}{\sum_i e^{z_i-z_j}} = \frac{e^{z_j}}{\sum_i e^{z_i}} .$$
#
# This function is called *softmax*. Only differences of logits count, so we may subtract the same number from all of
# them. The code subtracts the largest logit, because $e^z$ of a large $z$ is too large for a `float` (lesson 02b).


# %%
def softmax(logits):
    """Logits of shape (N, C) to probabilities of shape (N, C)."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


# %%
print(softmax(np.array([[2.0, 1.0, -1.0]])).round(3))
print(softmax(np.array([[102.0, 101.0, 99.0]])).round(3))

# %% [markdown]
# **Your turn:** change the three logits until two classes get the same probability and the third gets almost none.
#
# Put softmax into the loss $-\ln \hat y_k$, and use $\ln e^{z_k} = z_k$:
#
# $$\ell = -\ln \frac{e^{z_k}}{\sum_j e^{z_j}} = \ln \sum_j e^{z_j} - z_k .$$
#
# So we can compute the loss from the logits, without the probabilities. `cross_entropy` in PyTorch, a library for
# networks, does this. We compare ours with it.

# %%
import torch
from torch.nn import functional as F

torch.set_num_threads(1)  # these computations are small: more threads would only wait


def cross_entropy(logits, labels):
    """Logits (N, C) and labels (N,) to N losses."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    return np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(labels)), labels]


# %%
random = np.random.default_rng(3)
some_logits, some_labels = random.normal(scale=3, size=(8, 10)), random.integers(10, size=8)
of_torch = F.cross_entropy(
    torch.from_numpy(some_logits), torch.from_numpy(some_labels), reduction="none"
).numpy()
difference = np.abs(cross_entropy(some_logits, some_labels) - of_torch).max()
claim("our losses are PyTorch's, to 1e-12", difference < 1e-12, f"{difference:.0e}")

# %% [markdown]
# ### Does an untrained network start at ln C?
#
# Here is the course's data: images of handwritten digits, each with 64 grey values between 0 and 1. As a network we
# take a single matrix, $z = xW + b$ (in code `x @ W + b`). The images are $x \in \mathbb{R}^{N \times 64}$, the
# weights $W \in \mathbb{R}^{64 \times 10}$. The *biases* $b \in \mathbb{R}^{10}$ are weights too: one is added to
# each logit. We draw the weights at random, as PyTorch does, and then 30 times as large.

# %%
from course_lib import data

train, test = data.digits()
x, labels = train.images.reshape(-1, 64).astype(np.float64), train.labels
x_test = test.images.reshape(-1, 64).astype(np.float64)


def random_weights(seed, times=1):
    drawn = np.random.default_rng(seed).uniform(-1 / 8, 1 / 8, (65, 10))  # 1 / 8 is 1 / √64
    return times * drawn[:64], drawn[64]


# %%
def first_loss(seed, times):
    W, b = random_weights(seed, times)
    return float(cross_entropy(x @ W + b, labels).mean())


usual = [first_loss(seed, 1) for seed in range(5)]
large = [first_loss(seed, 30) for seed in range(5)]

# %%
claim(
    "five untrained networks start within 0.3 of ln 10; with weights 30 times as large, above 6",
    max(abs(loss - np.log(10)) for loss in usual) < 0.3 and min(large) > 6,
    f"{min(usual):.2f} to {max(usual):.2f}, and {min(large):.1f} to {max(large):.1f}",
)

# %% [markdown]
# A first loss far above $\ln C$ means that the model is sure and wrong before it has seen anything. Either the weights
# are too large, or the inputs are: grey values from 0 to 255 have the same effect.
#
# ## What does the loss ask of each logit?
#
# Training needs the slope of the loss with respect to each logit $z_j$. It is written $\partial \ell / \partial z_j$:
# all other logits stay fixed. Start from $\ell = \ln \sum_i e^{z_i} - z_k$. The derivative of $\ln S$ is $S'/S$, so
#
# $$\frac{\partial \ell}{\partial z_j} = \frac{e^{z_j}}{\sum_i e^{z_i}} - \frac{\partial z_k}{\partial z_j}
# = \hat y_j - y_j .$$
#
# The first term is softmax again. The second is 1 where $j$ is the right class and 0 elsewhere, so it is the one-hot
# $y_j$. The whole gradient is *answer minus truth*, $\nabla_z \ell = \hat y - y \in \mathbb{R}^C$. For the mean over $N$
# examples, divide by $N$.
#
# PyTorch finds gradients by *autograd*: it records each operation, and `backward()` applies the chain rule to the record.
# Does it find the same?


# %%
def gradient_of_mean(logits, labels):
    """Logits (N, C) and labels (N,) to the gradient of their mean loss, (N, C)."""
    one_hot = np.eye(logits.shape[1])[labels]
    return (softmax(logits) - one_hot) / len(labels)


z = torch.from_numpy(some_logits).requires_grad_()
F.cross_entropy(z, torch.from_numpy(some_labels)).backward()
difference = np.abs(gradient_of_mean(some_logits, some_labels) - z.grad.numpy()).max()

# %%
claim("our gradient is PyTorch's, to 1e-12", difference < 1e-12, f"{difference:.0e}")

# %% [markdown]
# What does the gradient look like for one image and three classes?


# %%
def draw(logits, label):
    z, one_hot = np.array([logits], dtype=float), np.eye(3)[label]
    answered, loss = softmax(z)[0], cross_entropy(z, [label])[0]
    bars = {"answer ŷ": answered, "truth y": one_hot, "gradient ŷ − y": answered - one_hot}
    for i, (name, values) in enumerate(bars.items()):
        colour = (show.BLUE, show.GREY, show.ORANGE)[i]
        plt.bar(np.arange(3) + 0.25 * (i - 1), values, 0.25, color=colour, label=name)
    plt.axhline(0, color="black", lw=0.8)
    plt.ylim(-1.1, 1.1)
    plt.xticks(range(3), [f"class {j}" + " (right)" * (j == label) for j in range(3)])
    plt.ylabel("probability and gradient")
    plt.legend()
    said = "; ".join(f"{name}: {', '.join(f'{v:.2f}' for v in bars[name])}" for name in bars)
    show.finding(f"The gradient is the gap between answer and truth (loss {loss:.2f})", alt=said)


draw(logits=(2.0, 1.0, -1.0), label=1)

# %% [markdown]
# A step downhill subtracts the gradient. So each wrong class is pushed down by the probability that it got. The right
# class is pushed up by what it lacks to 1. **Your turn:** change the last line and run the cell again. Add 5 to all
# three logits. Make the right class win by 5, then lose by 5. How large can an entry become?

# %%
random = np.random.default_rng(4)
wild, wild_labels = random.normal(scale=50, size=(10_000, 5)), random.integers(5, size=10_000)
pulls = len(wild) * gradient_of_mean(wild, wild_labels)
claim(
    "over 10,000 wild answers, no entry of the gradient exceeds 1, and each gradient sums to 0",
    np.abs(pulls).max() <= 1 and np.abs(pulls.sum(axis=1)).max() < 1e-12,
    f"largest entry {np.abs(pulls).max():.3f}",
)

# %% [markdown]
# **Now do exercise 02.3**: loss and gradient in one function, for a device that has NumPy and no *framework* such as
# PyTorch.
#
# ## Can this gradient train a classifier?
#
# One step is missing: from the logits to the weights. Image $n$ has the logits $z_{nj} = \sum_d x_{nd} W_{dj} + b_j$.
# The weight $W_{dj}$ has the factor $x_{nd}$ there. The chain rule multiplies by this factor and adds up all images.
# Now $\hat y$ and $y$ have a row for each image, and $x^{\mathsf T}$ is $x$ with rows and columns swapped (`x.T`):
#
# $$\nabla_W L = \tfrac1N\, x^{\mathsf T}(\hat y - y) \in \mathbb{R}^{64\times 10}, \qquad
# \nabla_b L = \tfrac1N \textstyle\sum_n (\hat y - y)_n \in \mathbb{R}^{10} .$$
#
# The loop is the one from the beginning, with 650 weights instead of one. Then we measure the *accuracy*, the share of
# right answers, on *test images*, which are not used in training.

# %%
W, b = random_weights(seed=0)
by_step = []
for _ in range(300):
    logits = x @ W + b
    by_step.append(cross_entropy(logits, labels).mean())
    pull = gradient_of_mean(logits, labels)
    W, b = W - 0.5 * x.T @ pull, b - 0.5 * pull.sum(axis=0)


# %%
def accuracy(logits):
    return float((logits.argmax(axis=1) == test.labels).mean())


# %%
claim(
    "300 steps with ŷ − y start near ln 10 and end with over 90 % of the test images right",
    abs(by_step[0] - np.log(10)) < 0.3 and accuracy(x_test @ W + b) > 0.9,
    f"loss from {by_step[0]:.2f} to {by_step[-1]:.2f}, "
    f"accuracy {100 * accuracy(x_test @ W + b):.1f} %",
)

# %% [markdown]
# A dozen lines of NumPy read handwritten digits. Lesson 00 read even more of them without any training. But it kept
# all 1,347 training images and compared each of them for every answer. This model keeps 650 numbers, and lesson 04
# trains a better one. Frameworks add autograd, larger networks, and more ways to go wrong.
#
# ## Which wrong losses raise no error?
#
# The next losses run without an error, and train the model for a wrong goal. We train the same matrix in PyTorch, with
# *Adam*, which chooses the length of each step itself (lesson 03). Only the loss changes.

# %%
images, digits = torch.from_numpy(x), torch.from_numpy(labels)


def trained(loss_of, seed=0, times=1):
    """200 steps of Adam. Returns the loss at each step, and the test images' logits."""
    W, b = (torch.from_numpy(each).requires_grad_() for each in random_weights(seed, times))
    optimizer = torch.optim.Adam([W, b], lr=0.05)
    losses = []
    for _ in range(200):
        loss = loss_of(images @ W + b, digits)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return np.array(losses), x_test @ W.detach().numpy() + b.detach().numpy()


# %%
right_losses, right_logits = trained(F.cross_entropy)
print(f"cross-entropy: loss {right_losses[-1]:.3f}, accuracy {100 * accuracy(right_logits):.1f} %")

# %% [markdown]
# ### Where this goes wrong: softmax twice
#
# Many models in Keras, a framework, end in softmax. Someone rebuilds one in PyTorch and gives its output to
# `cross_entropy`. But `cross_entropy` applies softmax itself, so softmax is applied twice. The same happens in a
# service that applies softmax to a model's probabilities. How sure can an answer among ten classes be after the second
# softmax?

# %%
guess("surest", "Ten classes: how large can a probability be after softmax twice?", share=True)

# %%
surest = softmax(softmax(np.array([[1000.0, *[0.0] * 9]])))[0, 0]
reveal("surest", surest)
claim(
    "after a second softmax, the surest answer possible is e / (e + 9), less than 24 %",
    np.isclose(surest, np.e / (np.e + 9)) and surest < 0.24,
    f"{100 * surest:.1f} %",
)

# %% [markdown]
# The first softmax returns numbers between 0 and 1. Used as logits, they differ by at most 1. So the right class gets at
# most $\frac{e}{e + (C-1)}$. A service that waits for 90 % certainty then rejects everything. In training, the loss
# cannot go below $-\ln\frac{e}{e + C - 1} = \ln(e + C - 1) - 1$.


# %%
def softmax_twice(logits, labels):
    return F.cross_entropy(logits.softmax(dim=1), labels)


twice_losses, twice_logits = trained(softmax_twice)
least = np.log(np.e + 9) - 1
lower_by = accuracy(right_logits) - accuracy(twice_logits)
claim(
    "the accuracy hides the mistake: with softmax twice it is within 2 points",
    abs(lower_by) < 0.02,
    f"once {100 * accuracy(right_logits):.1f} %, twice {100 * accuracy(twice_logits):.1f} %",
)

# %%
plt.plot(right_losses, color=show.BLUE, label="softmax once")
plt.plot(twice_losses, "--", color=show.ORANGE, label="softmax twice")
plt.axhline(least, color=show.GREY, ls=":", label=f"ln(e + 9) − 1 = {least:.2f}")
plt.xlabel("step")
plt.ylabel("training loss (nats)")
plt.legend(loc="upper right")
show.finding(
    f"With softmax twice, the loss of ten classes stays above {least:.2f}",
    alt=f"Training loss by step. With one softmax it falls to {right_losses[-1]:.2f}; with two it "
    f"levels off at {twice_losses[-1]:.2f}, above the dotted limit of {least:.2f}",
)

# %%
claim(
    "with softmax twice no step has a loss below ln(e + 9) − 1; with softmax once the loss falls "
    "below a fifth of it",
    twice_losses.min() > least and right_losses[-1] < least / 5,
    f"{twice_losses.min():.3f} at best, against {right_losses[-1]:.3f}",
)

# %% [markdown]
# The accuracy hides this mistake, but the loss shows it. If the loss of ten classes stays near 1.5, look for a second
# softmax. **Now do exercise 02.4**, which recovers the lost probabilities from a service's log.
#
# ### Where this goes wrong: the label is not in the loss
#
# One of the articles that this course grew from prints the loss as $-\sum_i y_i \log y_i$. It uses one letter for the
# label and for the prediction. A reader who takes $y$ as the prediction trains with $-\sum_j \hat y_j \ln \hat y_j$.
# This runs, and the loss falls. Which of the two trainings ends with the lower loss?

# %%
guess(
    "lower",
    "Which training ends with the lower loss?",
    choices=["the right one, with the label", "the wrong one, without the label"],
)


# %%
def without_label(logits, labels):
    return -(logits.softmax(dim=1) * logits.log_softmax(dim=1)).sum(dim=1).mean()


wrong_losses, wrong_logits = trained(without_label)
ends = {
    "the right one, with the label": right_losses[-1],
    "the wrong one, without the label": wrong_losses[-1],
}
reveal("lower", min(ends, key=ends.get))

# %%
claim(
    "without the label the loss ends lower, and at most a third of the test images are right",
    wrong_losses[-1] < right_losses[-1] and accuracy(wrong_logits) < 1 / 3,
    f"loss {wrong_losses[-1]:.0e} and accuracy {100 * accuracy(wrong_logits):.1f} %, against "
    f"{right_losses[-1]:.2f} and {100 * accuracy(right_logits):.1f} %",
)

# %% [markdown]
# The formula without a label is the entropy of the answer. It is low when the model is sure, whatever the model is sure
# of. A low loss alone therefore proves nothing. Look at the accuracy beside it.
#
# ### Where this goes wrong: logits where log-probabilities belong
#
# PyTorch has a second loss, `nll_loss`. It expects log-probabilities, and it returns minus the entry of the right
# class. With logits, the loss has no lower limit: training makes the logits larger and larger.

# %%
raw_losses, raw_logits = trained(F.nll_loss)
claim(
    "logits given to nll_loss make a loss below zero; cross-entropy with labels never is",
    raw_losses[-1] < 0,
    f"loss {raw_losses[-1]:.0f} after 200 steps, accuracy {100 * accuracy(raw_logits):.1f} %",
)

# %% [markdown]
# A probability is at most 1, so $-\ln \hat y_k$ is at least 0. A negative loss proves that it did not come from
# probabilities.
#
# ## Why not squared error on the probabilities?
#
# One can also compare the answer with the one-hot truth by squares: $B = \sum_j (\hat y_j - y_j)^2$, the *Brier score*.
# It too is lowest at the true probabilities. But look at its slope. Take two classes, and let $u = z_{\text{right}} -
# z_{\text{wrong}}$ be the *margin*, the lead of the right class. Write $\hat y$ for the probability of the right class. By
# softmax, $\hat y = 1 / (1 + e^{-u})$, and its derivative is $\hat y (1 - \hat y)$. Then
#
# $$\frac{d}{du}\big(-\ln \hat y\big) = -(1 - \hat y), \qquad
# B = 2(1-\hat y)^2, \quad \frac{dB}{du} = -4\, \hat y\, (1-\hat y)^2 .$$
#
# The second slope has the factor $\hat y$. If the right class got almost no probability, there is almost no slope. We
# draw minus the slope, the *pull* on the margin.

# %%
margins = np.linspace(-10, 10, 201)


def slope_of(name, margin):
    answered = 1 / (1 + np.exp(-margin))
    return -(1 - answered) * (1 if name == "cross-entropy" else 4 * answered * (1 - answered))


for name, style in (("cross-entropy", "-"), ("squared error", "--")):
    plt.plot(margins, -slope_of(name, margins), style, label=name)
plt.xlabel("margin u of the right class (difference of logits)")
plt.ylabel("pull on the margin")
plt.legend()
show.finding(
    "Where the model is sure and wrong, squared error hardly pulls",
    alt="The pull on the margin. For cross-entropy it is near 1 at margin −10 and falls to 0 at "
    "10. For squared error it is a bump near 0, and almost zero at both ends",
)

# %% [markdown]
# At the left the model is sure and wrong. It should learn most there, but squared error hardly changes it. This is
# called a *vanishing gradient*. How many steps, each as long as the slope, repair one such answer?


# %%
def steps_to_repair(name, margin=-8.0):
    for step in range(10_000):
        if margin > 0:
            return step
        margin = margin - slope_of(name, margin)


needed = {name: steps_to_repair(name) for name in ("cross-entropy", "squared error")}

# %%
claim(
    "from a margin of −8, squared error needs more than 50 times as many steps as cross-entropy",
    needed["squared error"] > 50 * needed["cross-entropy"],
    f"{needed['cross-entropy']} steps against {needed['squared error']}",
)

# %% [markdown]
# Does this matter for the digits? We train with both losses, from the usual start and from weights 30 times as large.


# %%
def brier(logits, labels):
    return ((logits.softmax(dim=1) - F.one_hot(labels, 10)) ** 2).sum(dim=1).mean()


reached = {
    (name, times): np.mean([accuracy(trained(loss_of, seed, times)[1]) for seed in range(3)])
    for name, loss_of in (("cross-entropy", F.cross_entropy), ("squared error", brier))
    for times in (1, 30)
}
ahead = {
    times: reached["cross-entropy", times] - reached["squared error", times] for times in (1, 30)
}

# %%
claim(
    "from the usual start both end within 3 points; from large weights cross-entropy is more than "
    "5 points ahead",
    abs(ahead[1]) < 0.03 and ahead[30] > 0.05,
    f"{100 * ahead[1]:+.1f} and {100 * ahead[30]:+.1f} points, mean of three seeds",
)

# %% [markdown]
# With a sensible start the choice hardly matters here. With a bad start it does. The Brier score also has a strength:
# a single wrong label can cost at most 2. That makes it a good number to report, beside the accuracy.
#
# ## What we measured
#
# This lesson made no model to keep, so it adds no row to the *ledger*, the course's table of models. Keep the next
# table beside a training log. Its numbers are those of this lesson, for ten digits.

# %%
frequencies = np.bincount(labels) / len(labels)
constant = cross_entropy_between(frequencies, frequencies)
rows = [
    ["ln C", f"{np.log(10):.3f}", "a blind guess: good at the start, bad at the end"],
    ["far above ln C at the start", f"{np.mean(large):.1f}", "weights or inputs too large"],
    ["entropy of the class frequencies", f"{constant:.3f}", "the best constant answer"],
    ["never below ln(e + C − 1) − 1", f"{least:.3f}", "softmax twice"],
    ["near 0, accuracy poor", f"{wrong_losses[-1]:.0e}", "the label is not in the loss"],
    ["below 0", f"{raw_losses[-1]:.0f}", "logits where log-probabilities belong"],
    ["nan or inf", "–", "a logarithm of a softmax, or a learning rate far too large"],
]
show.table(["the log says", "here", "look first for"], rows, caption="Beside a training log")

# %% [markdown]
# Lesson 02b produces the `nan` of the last row, explains it and repairs it.
#
# ## What to remember
#
# - A loss assumes something about the data: Gaussian noise gives squared error, and a label gives cross-entropy.
# - With respect to the logits, the gradient of cross-entropy is answer minus truth, $\hat y - y$.
# - Wrong losses often raise no error. Know $\ln C$ and the best constant answer before you read a log.
#
# ## Where this breaks down
#
# - Maximum likelihood believes the labels. If one label in twenty is wrong, cross-entropy asks the model to be sure of
#   wrong labels too. The cost of one has no limit.
# - Cross-entropy counts all mistakes alike, but in a business some cost more than others. That cost belongs in the
#   decision after the model (lesson 08b).
# - The entropy is a limit for the average. On a few examples a model can be below it by luck. On its training images
#   it can learn the answers by heart.
#
# ## What real teams use
#
# They use the framework's own loss on logits: `cross_entropy` and `binary_cross_entropy_with_logits` in PyTorch,
# `from_logits=True` in Keras. They write their own loss where the task needs another likelihood: counts (Poisson),
# times until an event (survival models), rankings (pairwise losses). Then they test it as this lesson did: its value
# at a blind guess, and its gradient against autograd. For readings such as −999 that nobody could filter out they use
# *Huber's loss*. It is squared for small errors and absolute for large ones.
#
# ## Further reading
#
# - C. M. Bishop, *Pattern Recognition and Machine Learning*, Springer 2006, sections 1.2.5, 1.6 and 4.3.
# - I. Goodfellow, Y. Bengio, A. Courville, *Deep Learning*, MIT Press 2016, sections 3.13, 5.5 and 6.2.
# - T. Gneiting, A. E. Raftery, *Strictly Proper Scoring Rules, Prediction, and Estimation*, Journal of the American
#   Statistical Association 102, 2007.
# - P. J. Huber, *Robust Estimation of a Location Parameter*, Annals of Mathematical Statistics 35, 1964.
