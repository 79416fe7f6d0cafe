# %% [markdown]
# # 02 Loss functions
#
# At 3 a.m. the nightly retraining writes `loss=nan`, or, worse, a loss that looks fine on a model that is not. Whoever
# knows what the number must be, at the start, at best and at worst, finds the fault by reading the log.
#
# ## You will be able to
#
# - derive squared error and cross-entropy from what you assume about the data, and say what each assumption costs;
# - say what a model that knows nothing must cost, and what the best possible model still costs;
# - derive the gradient of softmax and cross-entropy, and prove a gradient right with finite differences;
# - write a loss that neither overflows nor loses its digits in 16 or 32 bits;
# - recognise, by its numbers, a loss that raises no error and is wrong.
#
# ## Before you start
#
# You need logarithms, the chain rule, and NumPy arrays. PyTorch serves as the judge of what we derive. Vectors are
# written with their shape: $z \in \mathbb{R}^C$ is a vector of $C$ numbers. $\ln$ is the natural logarithm, so losses
# come in *nats*; one nat is $1/\ln 2 \approx 1.44$ bits.

# %%
import matplotlib.pyplot as plt
import numpy as np
import torch
from torch.nn import functional as F

from course_lib import data
from course_lib.idioms import begin, claim, path, show

scratch = begin("02")
torch.set_num_threads(1)  # these computations are small: more threads would only wait
path.picture(here="02")

# %% [markdown]
# ## Why squared error, of all things?
#
# An article prints $\frac1N\sum_i (y_i - \hat y_i)^2$ as *the* objective of "model optimisation", whatever the task.
# Why the square? Because of a silent assumption, and it is worth knowing which. Take 2,000 readings $y_i \in
# \mathbb{R}$ of a sensor at settings $x_i$. The model $f_\theta$ predicts $\hat y_i = f_\theta(x_i)$, with weights
# $\theta$; here a line, slope and intercept.
#
# Assume that each reading is the prediction plus *Gaussian noise* of variance $\sigma^2$, the bell curve, each reading
# independent of the others. Then one reading has the density
#
# $$p_\theta(y_i) = \frac{1}{\sqrt{2\pi\sigma^2}}\, \exp\!\Big(-\frac{(y_i-\hat y_i)^2}{2\sigma^2}\Big),$$
#
# and all of them together have the product $\prod_i p_\theta(y_i)$, called the *likelihood* of $\theta$. *Maximum
# likelihood* chooses the weights under which the data that we saw are the most probable. How large is that product?

# %%
random = np.random.default_rng(0)
settings = random.uniform(-1, 1, 2000)
readings = 1 + 2 * settings + random.normal(scale=0.5, size=2000)


def density(slope, sigma=0.5):
    errors = readings - (1 + slope * settings)
    return np.exp(-(errors**2) / (2 * sigma**2)) / np.sqrt(2 * np.pi * sigma**2)


print(
    f"likelihood of the true slope {np.prod(density(2.0))}, of a wrong one {np.prod(density(3.0))}"
)

# %% [markdown]
# Both are zero, the true one as well: 2,000 factors, none above 0.8, leave what a float64 can hold. So the first
# reason for the logarithm is plain: it turns the product into a sum, and it is increasing, so the best $\theta$ stays
# the best. With a minus sign, to have something to lower, and divided by $N$:
#
# $$-\frac1N \ln \prod_{i=1}^N p_\theta(y_i) \;=\; -\frac1N\sum_{i=1}^N \ln p_\theta(y_i) \;=\;
# \underbrace{\tfrac12 \ln(2\pi\sigma^2)}_{\text{without } \theta} \;+\; \frac{1}{2\sigma^2}\cdot
# \underbrace{\frac1N\sum_{i=1}^N (y_i-\hat y_i)^2}_{\text{mean squared error}} .$$
#
# For a fixed $\sigma$ the *negative log-likelihood* is the mean squared error, stretched and shifted. Both have their
# minimum at the same $\theta$.

# %%
slopes = np.linspace(1, 3, 201)
nll = np.array([-np.log(density(slope)).mean() for slope in slopes])
mse = np.array([((readings - 1 - slope * settings) ** 2).mean() for slope in slopes])
gap = np.abs(nll - (np.log(2 * np.pi * 0.5**2) / 2 + mse / (2 * 0.5**2))).max()

# %%
claim(
    "for every slope tried, the negative log-likelihood is the derived line in the squared error",
    gap < 1e-9 and nll.argmin() == mse.argmin(),
    f"they differ by at most {gap:.0e}; both are lowest at the slope {slopes[mse.argmin()]:.2f}",
)

# %% [markdown]
# What does the assumption cost? Gaussian noise calls a reading ten standard deviations off all but impossible, so the
# fit does everything to avoid one. Sensors do send such readings: many write −999 for "no value". Predict a room's
# temperature by one constant. Squared error is lowest at the *mean*, the absolute error $|y-\hat y|$ at the *median*.
# (It follows, by the same steps, from *Laplace* noise, whose density falls as $e^{-|y-\hat y|/b}$.)

# %%
clean = random.normal(21, 0.5, 100)
broken = clean.copy()
broken[0] = -999
moved = {
    "squared": abs(broken.mean() - clean.mean()),
    "absolute": abs(np.median(broken) - np.median(clean)),
}

# %%
claim(
    "one −999 among 100 readings moves the best constant by more than 10 degrees under squared "
    "error, by less than one under absolute error",
    moved["squared"] > 10 and moved["absolute"] < 1,
    f"{moved['squared']:.1f} against {moved['absolute']:.3f} degrees",
)

# %% [markdown]
# So a loss is a statement about how the data err. When someone changes the loss, ask which noise they now believe in.
#
# ## And what if the answer is a class?
#
# A *label* $y \in \{0,\dots,C-1\}$ is no number to be near to: a 7 is not closer to an 8 than to a 1. The model
# answers a distribution instead, $\hat y \in \mathbb{R}^C$ with $\hat y_j \ge 0$ and $\sum_j \hat y_j = 1$. Write the
# label as a *one-hot* vector $y \in \{0,1\}^C$, a single 1 at the right class. Under a *categorical* distribution, a
# die with $C$ sides of which the model sets the odds, the probability of the label is
#
# $$p_\theta(y) = \prod_{j=0}^{C-1} \hat y_j^{\,y_j}, \qquad\text{so}\qquad
# L = -\ln p_\theta(y) = -\sum_{j=0}^{C-1} y_j \ln \hat y_j .$$
#
# All factors but one are $\hat y_j^0 = 1$. What is left is minus the logarithm of the probability that the right class
# got: *cross-entropy*. The assumption is the same as before, only with a die in place of a bell curve.

# %%
for given in (1.0, 0.9, 0.5, 0.1, 0.001):
    print(f"probability of the right class {given:<5}: loss {-np.log(given) + 0:.3f}")

# %% [markdown]
# To be right and sure costs nothing. To be wrong and sure has no upper limit, and that is what will hurt later.
#
# ## What does a model cost that knows nothing?
#
# It gives each of $C$ classes $1/C$, whatever the image: $L = -\ln\frac1C = \ln C$. That is the first number to look
# at in any training log, since an untrained network should be near it. Here is one: a single matrix,
# from the 64 points of a digit to ten *logits*, raw scores of which *softmax* makes probabilities (further down we derive
# how). PyTorch's `cross_entropy` takes the logits. We take the matrix twice, as PyTorch initialises it and with weights 30 times as large.

# %%
train, test = data.digits()
images, labels = torch.from_numpy(train.images.reshape(-1, 64)), torch.from_numpy(train.labels)
test_images = torch.from_numpy(test.images.reshape(-1, 64))


def fresh_model(seed=0, times=1):
    torch.manual_seed(seed)
    model = torch.nn.Linear(64, 10)
    with torch.no_grad():
        model.weight *= times
    return model


# %%
with torch.inference_mode():
    usual = [F.cross_entropy(fresh_model(seed)(images), labels).item() for seed in range(5)]
    large = [F.cross_entropy(fresh_model(seed, 30)(images), labels).item() for seed in range(5)]

# %%
claim(
    "five untrained models each cost ln 10 to within 0.3; with weights 30 times as large, over 6",
    max(abs(cost - np.log(10)) for cost in usual) < 0.3 and min(large) > 6,
    f"ln 10 = {np.log(10):.3f}; {min(usual):.2f} to {max(usual):.2f}; {min(large):.1f} to "
    f"{max(large):.1f}",
)

# %% [markdown]
# A first loss far above $\ln C$ means a model that is sure and wrong before it saw anything: weights too large, inputs
# not scaled. A last loss near $\ln C$ means probabilities that say hardly more than a guess does.
#
# But is $1/C$ the *best* guess without looking? Not where some classes are rare. Of 1,000 payments 10 are fraud; let
# $q$ be the probability of fraud that the model answers every time. Which $q$ is the cheapest?

# %%
guesses = np.linspace(0.001, 0.999, 999)
cost = -(0.99 * np.log(1 - guesses) + 0.01 * np.log(guesses))
claim(
    "the cheapest constant answer is the frequency itself, at less than a tenth of ln 2",
    np.isclose(guesses[cost.argmin()], 0.01) and cost.min() < np.log(2) / 10,
    f"q = {guesses[cost.argmin()]:.3f}, {cost.min():.3f} nats; ln 2 = {np.log(2):.3f}",
)

# %% [markdown]
# So a fraud model that reports a loss of 0.06 may have learned nothing, although $\ln 2$ is far away. The number to beat
# has a name.
#
# ## What does the best model still cost?
#
# Let $p \in \mathbb{R}^C$ be the true probabilities of the labels *given what the model sees*, $q \in \mathbb{R}^C$
# what the model answers. Three quantities hang together:
#
# $$\underbrace{H(p) = -\sum_j p_j \ln p_j}_{\text{entropy}}, \qquad
# \underbrace{H(p,q) = -\sum_j p_j \ln q_j}_{\text{cross-entropy}}, \qquad
# \underbrace{\mathrm{KL}(p\,\|\,q) = \sum_j p_j \ln \frac{p_j}{q_j}}_{\text{Kullback–Leibler divergence}} .$$
#
# Take the logarithm of the quotient apart, and $H(p,q) = H(p) + \mathrm{KL}(p\,\|\,q)$. The last term is never
# negative. (Where $q_j = 0 < p_j$ it is infinite.) For every $t > 0$ we have $\ln t \le t-1$, and so
#
# $$-\mathrm{KL}(p\,\|\,q) = \sum_{p_j>0} p_j \ln\frac{q_j}{p_j} \;\le\; \sum_{p_j>0} p_j\Big(\frac{q_j}{p_j}-1\Big)
# = \sum_{p_j>0} q_j - 1 \;\le\; 0 .$$
#
# Hence cross-entropy is lowest at $q = p$, and there it costs $H(p)$: the entropy is a floor that no model which sees
# no more goes below in the long run. The 0.06 nats were the entropy of (0.99, 0.01), the floor for whoever sees
# nothing. A model that looks at each payment has its own $p$ for each; its floor is the mean of their entropies,
# which is never higher, and lower if the payments tell anything. For one-hot $p$ the floor is 0.


# %%
def cross_entropy_between(p, q):
    return float(-(p[p > 0] * np.log(q[p > 0])).sum())  # 0 ln 0 counts as 0, its limit


pairs = random.dirichlet(np.ones(6), size=(1000, 2))  # 1,000 pairs of distributions over 6 classes
excess = np.array([cross_entropy_between(p, q) - cross_entropy_between(p, p) for p, q in pairs])
kl = F.kl_div(torch.from_numpy(pairs[:, 1]).log(), torch.from_numpy(pairs[:, 0]), reduction="none")

# %%
claim(
    "over 1,000 random pairs, cross-entropy exceeds the entropy, by PyTorch's KL divergence",
    excess.min() >= 0 and np.allclose(excess, kl.sum(dim=1).numpy(), atol=1e-9),
    f"by {excess.min():.3f} to {excess.max():.2f} nats",
)

# %% [markdown]
# ### Where this goes wrong: one letter for two things
#
# An article that this course grew from prints the loss as $-\sum_i y_i \log y_i$, and says of the same $y_i$ that it is
# the label and that it is the prediction. Only one of them can be meant, so try both. First, the label.

# %%
one_hot = F.one_hot(labels, 10).double()
loss = -(one_hot * one_hot.log()).sum(dim=1).mean()
print("loss:", loss.item())
try:
    loss.backward()
except RuntimeError as error:
    print("RuntimeError:", error)

# %% [markdown]
# A loss of `nan`, since $0 \cdot \ln 0$ is computed as $0 \cdot (-\infty)$, and no *gradient*, the vector of the
# loss's derivatives by the weights, written $\nabla L$, since no weight occurs in it. That mistake is loud. Second,
# the prediction: now the formula is the *entropy of the answer*. It has a gradient, it falls, and the training below
# runs to its end. We train the matrix with it and with cross-entropy, by *Adam*, a way of stepping against the
# gradient (lesson 03).


# %%
def trained(loss_of, seed=0, times=1, steps=200):
    """Adam, all images at once. Returns each step's loss, and then the test images' logits."""
    model = fresh_model(seed, times)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    losses = []
    for _ in range(steps):
        loss = loss_of(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    with torch.inference_mode():
        return np.array(losses), model(test_images).numpy()


# %%
def accuracy(logits):
    return float((logits.argmax(axis=1) == test.labels).mean())


def one_letter(logits, labels):
    return -(logits.softmax(dim=1) * logits.log_softmax(dim=1)).sum(dim=1).mean()


# %%
(wrong_losses, wrong_logits), (right_losses, right_logits) = map(
    trained, (one_letter, F.cross_entropy)
)
wrong_accuracy, right_accuracy = accuracy(wrong_logits), accuracy(right_logits)

# %%
claim(
    "with one letter for both, the loss ends below that of the right training, with at most a "
    "third of the answers right; with cross-entropy more than 90 % are right",
    wrong_losses[-1] < right_losses[-1] and wrong_accuracy < 1 / 3 and right_accuracy > 0.9,
    f"loss {wrong_losses[-1]:.1e}, accuracy {wrong_accuracy:.1%}; loss {right_losses[-1]:.2f}, "
    f"accuracy {right_accuracy:.1%}",
)

# %% [markdown]
# The lower loss belongs to the useless model. The picture shows why. Let a class have the true probability 0.3, and
# let the model answer $q$.

# %%
q = np.linspace(0.002, 0.998, 499)
cross = -(0.3 * np.log(q) + 0.7 * np.log(1 - q))
entropy_of_answer = -(q * np.log(q) + (1 - q) * np.log(1 - q))
floor = -(0.3 * np.log(0.3) + 0.7 * np.log(0.7))
plt.plot(q, cross, label="cross-entropy with the truth, 0.3")
plt.plot(q, entropy_of_answer, color=show.RED, ls="--", label="one letter: entropy of the answer")
plt.axhline(floor, color=show.GREY, lw=0.8, label=f"entropy of the truth, {floor:.2f}")
plt.plot(0.3, floor, "o", color=show.BLUE)
plt.ylim(0, 2)
plt.xlabel("answered probability q")
plt.ylabel("loss (nats)")
plt.legend(loc="upper center")
show.finding(
    "Cross-entropy is lowest at the truth, the entropy of the answer wherever it is sure",
    alt="Two losses against the answered probability. Cross-entropy has one minimum, "
    f"{floor:.2f} nats, at the true probability 0.3. The entropy of the answer is highest at 0.5 "
    "and falls to 0 at both ends, wherever the truth lies",
)

# %% [markdown]
# The entropy of the answer asks the model to be sure, and does not say of what. The label, which does, is not in the
# formula.
#
# ## Why softmax?
#
# A network's outputs $z \in \mathbb{R}^C$, the logits, may be any numbers. What should they mean? Let a difference of
# logits be a difference of log-probabilities, $\ln \hat y_i - \ln \hat y_j = z_i - z_j$: then adding evidence adds to a
# logit. This one wish fixes the rest. Take the exponential, $\hat y_i = \hat y_j\, e^{z_i - z_j}$, and sum over $i$;
# the left side is 1:
#
# $$1 = \hat y_j \sum_i e^{z_i - z_j} \quad\Longrightarrow\quad
# \hat y_j = \frac{1}{\sum_i e^{z_i-z_j}} = \frac{e^{z_j}}{\sum_i e^{z_i}} .$$
#
# That is *softmax*. Only differences count, so a constant added to all logits changes nothing.


# %%
def softmax(logits):
    """logits: (..., C). Returns probabilities of the same shape."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))  # a shift, which changes nothing
    return powers / powers.sum(axis=-1, keepdims=True)


logits = random.normal(scale=3, size=(8, 10))
difference = np.abs(softmax(logits) - F.softmax(torch.from_numpy(logits), dim=1).numpy()).max()
shifted = np.abs(softmax(logits) - softmax(logits + 100)).max()

# %%
claim(
    "ours is PyTorch's softmax, and 100 more on every logit changes nothing beyond rounding",
    difference < 1e-12 and shifted < 1e-12,
    f"differences {difference:.0e} and {shifted:.0e}",
)

# %% [markdown]
# How do the probabilities move when a logit does? With $S = \sum_k e^{z_k}$, and $\delta_{ij}$ for 1 where $i=j$ and 0
# elsewhere, the quotient rule gives the *Jacobian*, the matrix of all derivatives, of shape $(C, C)$:
#
# $$\frac{\partial \hat y_i}{\partial z_j} = \frac{\delta_{ij}\, e^{z_i} S - e^{z_i} e^{z_j}}{S^2}
# = \hat y_i\,(\delta_{ij} - \hat y_j), \qquad J = \operatorname{diag}(\hat y) - \hat y \hat y^{\mathsf T} .$$
#
# Every row sums to $\hat y_i (1 - \sum_j \hat y_j) = 0$: moving all logits together moves no probability, again. And
# each column does, since $J$ is symmetric: what one class gains, the others lose.

# %%
y_hat = softmax(logits[0])
jacobian = np.diag(y_hat) - np.outer(y_hat, y_hat)
theirs = torch.autograd.functional.jacobian(lambda z: z.softmax(0), torch.from_numpy(logits[0]))

# %%
claim(
    "the derived Jacobian is autograd's, and its rows and columns sum to zero",
    np.allclose(jacobian, theirs.numpy(), atol=1e-12)
    and np.abs(jacobian.sum(axis=1)).max() < 1e-12
    and np.abs(jacobian.sum(axis=0)).max() < 1e-12,
    f"largest difference {np.abs(jacobian - theirs.numpy()).max():.0e}",
)

# %% [markdown]
# *Autograd* is the framework's bookkeeping: it notes each operation on the way forward and applies the chain rule to
# the notes on the way back. We now do that by hand, once.
#
# ## What does the loss ask of each logit?
#
# The chain rule, through all probabilities, with the Jacobian in place:
#
# $$\frac{\partial L}{\partial z_j} = \sum_i \frac{\partial L}{\partial \hat y_i}\frac{\partial \hat y_i}{\partial z_j}
# = \sum_i \Big(-\frac{y_i}{\hat y_i}\Big)\, \hat y_i (\delta_{ij} - \hat y_j)
# = -\sum_i y_i \delta_{ij} + \hat y_j \sum_i y_i = \hat y_j - y_j .$$
#
# The $\hat y_i$ in the denominator cancels, and the labels sum to 1. What is left could hardly be simpler: *answer
# minus truth*, $\nabla_z L = \hat y - y \in \mathbb{R}^C$. It holds for any $y$ that sums to 1, one-hot or not. For the
# mean over $N$ examples each row is divided by $N$.


# %%
def cross_entropy(logits, labels):
    """logits: (N, C), labels: (N,). Returns the N losses."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    return np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(labels)), labels]


# %%
def gradient_of_mean(logits, labels):
    """The same shapes. Returns (N, C): the gradient of the mean loss."""
    truth = np.eye(logits.shape[1])[labels]
    return (softmax(logits) - truth) / len(labels)


# %% [markdown]
# ### How do you know that a gradient is right?
#
# Ask the loss itself. The derivative at $z$ in the direction of one logit is about
# $\frac{L(z+h) - L(z-h)}{2h}$, a *central difference*. Which step $h$? Taylor's formula around $z$ has
#
# $$L(z \pm h) = L \pm hL' + \tfrac{h^2}{2} L'' \pm \tfrac{h^3}{6}L''' + \dots$$
#
# In the difference the even terms cancel, and an error of $\frac{h^2}{6}|L'''|$ is left: a small $h$ is good. But a
# computer rounds each $L$ by a share of up to about $\varepsilon$, the *machine precision*, and dividing by $h$
# magnifies that to about $\varepsilon |L| / h$: a small $h$ is bad. The sum of both is lowest where its derivative by
# $h$ is zero,
#
# $$\frac{h}{3}|L'''| = \frac{\varepsilon |L|}{h^2} \quad\Longrightarrow\quad
# h^* = \Big(\frac{3\varepsilon |L|}{|L'''|}\Big)^{1/3} \;\sim\; \varepsilon^{1/3} .$$
#
# The one-sided difference $\frac{L(z+h)-L(z)}{h}$ errs by $\frac h2|L''|$ instead. We measure all of it, on 400
# random logit vectors.

# %%
points, their_labels = random.normal(size=(400, 10)), random.integers(10, size=400)
direction = np.eye(10)[random.integers(10, size=400)]  # one logit of each vector is moved


# %%
def slope_error(kind, step, central):
    """The median error of a finite difference computed in the dtype `kind`."""
    z, move = points.astype(kind), (step * direction).astype(kind)
    back = z - move if central else z
    rise = cross_entropy(z + move, their_labels) - cross_entropy(back, their_labels)
    exact = len(z) * (gradient_of_mean(z.astype(float), their_labels) * direction).sum(axis=1)
    return float(np.median(np.abs(rise / kind(step * (1 + central)) - exact)))


# %%
steps = 10.0 ** np.arange(-12, 0.1, 0.25)
errors = {
    (kind, central): np.array([slope_error(kind, step, central) for step in steps])
    for kind in (np.float32, np.float64)
    for central in (True, False)
}
best = {key: float(steps[error.argmin()]) for key, error in errors.items()}

# %%
for (kind, central), error in errors.items():
    colour = show.ORANGE if kind is np.float32 else show.BLUE
    name = f"{np.dtype(kind).name}, {'central' if central else 'one-sided'}"
    plt.loglog(steps, error, color=colour, ls="-" if central else ":", label=name)
    if central:
        third = float(np.finfo(kind).eps) ** (1 / 3)
        plt.axvline(third, color=colour, lw=0.8, ls="--")
        plt.annotate("$\\epsilon^{1/3}$", (third, 5), color=colour, ha="right")
plt.ylim(1e-12, 20)
plt.xlabel("step h (in units of a logit)")
plt.ylabel("median error of the derivative")
plt.legend(loc="lower left", fontsize="small")
show.finding(
    "Smaller steps are better only down to about the cube root of the machine precision",
    alt="Error of finite differences against the step, logarithmic, four U-shaped curves. "
    f"Central differences are best near {best[np.float64, True]:.0e} in float64, error "
    f"{errors[np.float64, True].min():.0e}, and near {best[np.float32, True]:.0e} in float32, "
    f"error {errors[np.float32, True].min():.0e}; one-sided ones are worse",
)


# %%
def slope_of(error, low, high):
    chosen = (steps > low) & (steps < high)
    return float(np.polyfit(np.log(steps[chosen]), np.log(error[chosen]), 1)[0])


central, one_sided = errors[np.float64, True], errors[np.float64, False]
powers = {
    "central": slope_of(central, 1e-3, 0.2),
    "one-sided": slope_of(one_sided, 1e-5, 0.2),
    "rounding": slope_of(central, 1e-12, 1e-7),
}

# %%
claim(
    "right of the minimum the error grows as h² (central) and as h (one-sided); left of it as 1/h",
    np.allclose(list(powers.values()), [2, 1, -1], atol=0.2),
    "powers of h: " + ", ".join(f"{name} {power:.2f}" for name, power in powers.items()),
)

# %%
ratio = {
    np.dtype(kind).name: best[kind, True] / float(np.finfo(kind).eps) ** (1 / 3)
    for kind in (np.float32, np.float64)
}

# %%
claim(
    "in float32 and in float64, the best central step lies within a factor of 15 of the cube root",
    all(1 / 15 < each < 15 for each in ratio.values()),
    "; ".join(f"{name}: {each:.1f} times it" for name, each in ratio.items()),
)

# %% [markdown]
# In float64 both halves of the U are as derived. The float32 curves go flat at the left, below about $10^{-7}$: there
# $z + h$ is rounded back to $z$, and the difference is 0. In practice: check in float64, with central differences and
# a step near $10^{-5}$, and expect about ten digits of agreement. Ours, against that and against autograd:

# %%
some_labels, by_differences = random.integers(10, size=8), np.zeros_like(logits)
for index in np.ndindex(*logits.shape):
    move = np.zeros_like(logits)
    move[index] = 1e-5
    up, down = (cross_entropy(logits + sign * move, some_labels).mean() for sign in (1, -1))
    by_differences[index] = (up - down) / 2e-5

# %%
z = torch.from_numpy(logits).requires_grad_()
F.cross_entropy(z, torch.from_numpy(some_labels)).backward()
ours = gradient_of_mean(logits, some_labels)
to_differences = np.abs(ours - by_differences).max()
to_autograd = np.abs(ours - z.grad.numpy()).max()

# %%
claim(
    "ŷ − y agrees with finite differences to 1e-9 and with PyTorch's autograd to 1e-12",
    to_differences < 1e-9 and to_autograd < 1e-12,
    f"{to_differences:.0e} and {to_autograd:.0e}",
)

# %% [markdown]
# And with TensorFlow? Two frameworks in one process cost memory and can disturb each other, so TensorFlow runs in one
# of its own, for a few seconds. Numbers go there as a file and come back as a file. It also computes a mean with a
# weight for each example, which we need further down.

# %%
import subprocess
import sys

program = """
import sys
import numpy as np, tensorflow as tf
given = np.load(sys.argv[1] + "/given.npz")
logits, labels = tf.constant(given["logits"]), given["labels"]
with tf.GradientTape() as tape:
    tape.watch(logits)
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
    mean = tf.reduce_mean(losses)
keras_loss = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)
weighted = keras_loss(labels, logits, sample_weight=given["weights"])
np.savez(sys.argv[1] + "/tensorflow.npz", losses=losses, gradient=tape.gradient(mean, logits),
         weighted=weighted)
"""
class_weights = np.linspace(1, 5, 10)
np.savez(
    scratch / "given.npz", logits=logits, labels=some_labels, weights=class_weights[some_labels]
)
run = [sys.executable, "-c", program, str(scratch)]
done = subprocess.run(run, capture_output=True, text=True)
if done.returncode:
    raise RuntimeError(done.stderr)

# %%
tensorflow = np.load(scratch / "tensorflow.npz")
of_loss = np.abs(tensorflow["losses"] - cross_entropy(logits, some_labels)).max()
of_gradient = np.abs(tensorflow["gradient"] - ours).max()
claim(
    "TensorFlow gives the same losses and the same gradient, to 1e-9",
    of_loss < 1e-9 and of_gradient < 1e-9,
    f"{of_loss:.0e} and {of_gradient:.0e}",
)

# %% [markdown]
# One step more, and the gradient reaches the weights. For a linear layer $z = xW + b$, with $x \in \mathbb{R}^{N\times
# D}$, $W \in \mathbb{R}^{D\times C}$, $b \in \mathbb{R}^C$, the number $W_{dj}$ occurs in $z_{nj} = \sum_d x_{nd}
# W_{dj} + b_j$ for every $n$, with the factor $x_{nd}$. So $\partial L/\partial W_{dj} = \sum_n x_{nd}\, (\hat y -
# y)_{nj} / N$, or
#
# $$\nabla_W L = \tfrac1N\, x^{\mathsf T}(\hat y - y) \in \mathbb{R}^{D\times C}, \qquad
# \nabla_b L = \tfrac1N \textstyle\sum_n (\hat y - y)_n \in \mathbb{R}^{C} .$$

# %%
model = fresh_model()
F.cross_entropy(model(images), labels).backward()
with torch.inference_mode():
    errors_of_answer = gradient_of_mean(model(images).double().numpy(), train.labels)
by_hand = train.images.reshape(-1, 64).T @ errors_of_answer
theirs = model.weight.grad.numpy().T  # PyTorch keeps W as (C, D)

# %%
claim(
    "on the digits, the gradient of the weights is PyTorch's to 1e-5",
    np.abs(by_hand - theirs).max() < 1e-5,
    f"largest difference {np.abs(by_hand - theirs).max():.0e}, of a largest "
    f"{np.abs(theirs).max():.2f}",
)

# %% [markdown]
# ### Drag the logits
#
# Three classes, a label, and what softmax and the loss make of them. First as a picture.


# %%
def state(logits, label):
    """Probabilities (3,), loss and gradient (3,) for three logits."""
    z = np.array(logits, dtype=float)
    answered = softmax(z)
    return answered, float(cross_entropy(z[None], [label])[0]), answered - np.eye(3)[label]


# %%
start, start_label = (2.0, 1.0, -1.0), 1
answered, cost, gradient = state(start, start_label)
figure, axes = plt.subplots(1, 3, figsize=(8, 2.2), sharey=True)
names = [f"class {j}" + (" (label)" if j == start_label else "") for j in range(3)]
bars = {"logit z": start, "probability ŷ": answered, "gradient ŷ − y": gradient}
for axis, (name, values), colour in zip(axes, bars.items(), (show.GREY, show.BLUE, show.ORANGE)):
    axis.barh(names, values, color=colour)
    axis.axvline(0, color="black", lw=0.8)
    axis.set_xlabel(name)
axes[0].invert_yaxis()
show.finding(
    "Every wrong class is pushed down by its probability, the label up by what it lacks (loss "
    f"{cost:.2f} nats)",
    alt="; ".join(
        f"{name}: {', '.join(f'{value:.2f}' for value in values)}" for name, values in bars.items()
    )
    + f". The label is class {start_label}, the loss {cost:.2f} nats",
)

# %% [markdown]
# Then with sliders. Try: move all three by the same amount. Make the label win by 5, then lose by 5. When is the
# gradient as large as it can be?

# %%
import ipywidgets

AXIS = "linear-gradient(#7F7F7F,#7F7F7F) no-repeat"  # a grey line, one pixel wide


def bar(value, colour, zero):  # zero: where on the bar the value 0 lies, in percent
    left, width = zero + (100 - zero) * min(value, 0), (100 - zero) * abs(value)
    inner = f"background:{colour};height:14px;margin-left:{left:.1f}%;width:{width:.1f}%"
    outer = f"width:200px;background:{AXIS} {zero}%/1px 100%"
    return f"<td><div style='{outer}'><div style='{inner}'></div></div></td>"


def page(logits, label):
    answered, cost, gradient = state(logits, label)
    rows = "".join(
        f"<tr><td>class {j}{' ←' if j == label else ''}&nbsp;</td><td>ŷ "
        f"{answered[j]:.3f}&nbsp;</td>{bar(answered[j], show.BLUE, 0)}<td>&nbsp;ŷ − y "
        f"{gradient[j]:+.3f}&nbsp;</td>{bar(gradient[j], show.ORANGE, 50)}</tr>"
        for j in range(3)
    )
    return f"<table>{rows}</table>loss {cost:.3f} nats, blind guess {np.log(3):.3f}"


# %%
sliders = [
    ipywidgets.FloatSlider(value=start[j], min=-8, max=8, step=0.1, description=f"z of {j}")
    for j in range(3)
]
chosen = ipywidgets.Dropdown(options=[0, 1, 2], value=start_label, description="label")
drawn = ipywidgets.HTML(page(start, start_label))


def redraw(_):
    drawn.value = page([slider.value for slider in sliders], chosen.value)


for knob in (*sliders, chosen):
    knob.observe(redraw, names="value")
ipywidgets.VBox([*sliders, chosen, drawn])

# %% [markdown]
# What you can see there holds in general: no entry of the gradient is larger than 1, however wrong the answer, and the
# entries sum to 0.

# %%
wild = random.normal(scale=50, size=(10_000, 5))
pull = len(wild) * gradient_of_mean(wild, random.integers(5, size=10_000))
claim(
    "over 10,000 wild answers, no logit is pulled by more than 1, and the pulls sum to 0",
    np.abs(pull).max() <= 1 and np.abs(pull.sum(axis=1)).max() < 1e-12,
    f"largest pull {np.abs(pull).max():.3f}",
)

# %% [markdown]
# ## Why does the loss print `nan` on a model that works?
#
# The service answers, with the old weights, and last night's retraining logged `loss=nan` from step 40,000 on. Up to
# that step nothing was wrong with the model. Its logits grew, as they do when a model becomes sure of itself, and the
# loss was written as it stands in the textbook,
#
# $$\ell(z, y) = -\ln \frac{e^{z_y}}{\sum_{j=0}^{C-1} e^{z_j}}, \qquad z \in \mathbb{R}^C \text{ the logits},\; y \in \{0,\dots,C-1\} \text{ the label.}$$
#
# NumPy would warn here. We switch the warnings off, because a framework on its way through a million steps gives none.


# %%
def label_of(values, labels):
    return values[np.arange(len(labels)), labels]


# %%
@np.errstate(over="ignore", invalid="ignore", divide="ignore")
def as_written(logits, labels):
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return -np.log(label_of(probabilities, labels))


for size in (10, 80, 90):
    twice = np.array([[size, 0, 0], [size, 0, 0]], dtype=np.float32)
    right, wrong = as_written(twice, [0, 1])
    print(f"logit {size}: loss of the right class {abs(right):.2g}, of a wrong one {wrong:.3g}")

# %% [markdown]
# Between 80 and 90 both answers break. The reason is not subtle: $e^{z}$ leaves float32 at the largest number that it
# can hold. There is a second limit, at the other end: a probability smaller than the smallest number becomes 0, and
# $-\ln 0$ is infinite. Both limits can be computed rather than discovered in production.

# %%
limits = {}
for kind in (np.float16, np.float32, np.float64):
    told = np.finfo(kind)
    limits[kind] = float(np.log(float(told.max))), float(np.log(float(told.smallest_subnormal)))
    print(
        f"{np.dtype(kind).name}: eᶻ overflows above z = {limits[kind][0]:.1f}; the smallest "
        f"number above 0 is e to the {limits[kind][1]:.1f}"
    )

# %%
claim(
    "a logit of 88 is the limit of float32, one of 11 that of float16",
    88 < limits[np.float32][0] < 89 and 11 < limits[np.float16][0] < 12,
    f"{limits[np.float32][0]:.2f} and {limits[np.float16][0]:.2f}",
)

# %%
half, single = (
    as_written(np.array([large], kind), [y])[0]
    for kind, large, y in ((np.float16, [12, 0], 0), (np.float32, [0, -110], 1))
)

# %%
claim(
    "as written, a logit of 12 gives nan in float16; one of −110 gives ln 0 in float32, without "
    "any overflow",
    np.isnan(half) and np.isposinf(single),
    f"{half} for a loss of {np.log1p(np.exp(-12.0)):.1e}, {single} for a loss of 110",
)

# %% [markdown]
# Is twelve a large logit? Look at the matrix that we trained for 200 steps.

# %%
too_large = float((right_logits.max(axis=1) > limits[np.float16][0]).mean())
claim(
    "more than one test image in ten already has a logit that float16 cannot exponentiate",
    too_large > 0.1,
    f"{too_large:.0%}; the largest logit is {right_logits.max():.1f}",
)

# %% [markdown]
# So in half precision the textbook's form is useless.
#
# The way out costs one subtraction. For any constant $m$,
#
# $$\ln \sum_j e^{z_j} = \ln \Big(e^m \sum_j e^{z_j - m}\Big) = m + \ln \sum_j e^{z_j - m},$$
#
# a trick that goes by the name of *log-sum-exp*. Choose $m = \max_j z_j$: the largest power becomes $e^0 = 1$, so
# nothing overflows, and the sum is at least 1, so its logarithm is never $\ln 0$. The loss is then
# $\ell = \ln\sum_j e^{z_j} - z_y$, with no division and no probability in sight.


# %%
def shift_added_back(logits, labels):
    largest = logits.max(axis=1)
    sums = np.exp(logits - largest[:, None]).sum(axis=1)
    return largest + np.log(sums) - label_of(logits, labels)


huge = {kind: np.array([[1e4, 0, 0]] * 2, kind) for kind in (np.float16, np.float32)}

# %%
claim(
    "with the shift, logits of 10,000 give 0 for the right class and 10,000 for a wrong one, in "
    "16 and 32 bits",
    all(shift_added_back(z, [0, 1]).tolist() == [0, 1e4] for z in huge.values()),
    f"as written: {as_written(huge[np.float32], [0, 1]).tolist()}",
)

# %% [markdown]
# The gradient has the same weak spot. Through the probability it is $\frac{1}{\hat y} \cdot \hat y(\dots)$, and where
# $\hat y$ has become 0 that is $\infty \cdot 0$. Written as $\hat y - y$ there is nothing to divide.

# %%
by_form = {}
for name in ("log of softmax", "cross_entropy"):
    z = torch.tensor([[0.0, -110.0]], requires_grad=True)
    loss = (
        -z.softmax(1).log()[0, 1]
        if name == "log of softmax"
        else F.cross_entropy(z, torch.tensor([1]))
    )
    loss.backward()
    by_form[name] = z.grad.tolist()[0]

# %%
claim(
    "the gradient of the logarithm of a softmax is nan where that of PyTorch's cross_entropy is "
    "right",
    bool(np.isnan(by_form["log of softmax"]).any()) and by_form["cross_entropy"] == [1, -1],
    f"{by_form['log of softmax']} and {by_form['cross_entropy']}",
)

# %% [markdown]
# And it does not stay with one example. Let one image in a batch of 64 come unscaled, with a label far from the answer.

# %%
batch, batch_labels, spoiled = images[:64].clone(), labels[:64].clone(), {}
batch[0] *= 10_000
batch_labels[0] = fresh_model()(batch)[0].argmin()
for name in ("log of softmax", "cross_entropy"):
    model = fresh_model()
    loss = F.cross_entropy(model(batch), batch_labels)
    if name == "log of softmax":
        loss = -model(batch).softmax(dim=1).log()[torch.arange(64), batch_labels].mean()
    loss.backward()
    spoiled[name] = float(model.weight.grad.isnan().float().mean())

# %%
claim(
    "one bad image makes every weight's gradient nan through the probability, none directly",
    spoiled == {"log of softmax": 1, "cross_entropy": 0},
    ", ".join(f"{name}: {share:.0%} nan" for name, share in spoiled.items()),
)

# %% [markdown]
# One step later every weight is `nan`, and with it every loss from then on: the log of the beginning.
#
# ### How many digits are left before that?
#
# Overflow is the loud failure. The quiet one is at the other end: long before `nan`, digits are lost. The formula can
# be read in two orders, the same to a mathematician: take $m$ away at the end, as just now, or from every logit at the
# start, as `cross_entropy` did further up. We draw the relative error of all three forms, against float64, over logits
# that a healthy model produces.

# %%
sizes = np.arange(1, 25)
forms = {
    "as written": as_written,
    "shift added back at the end": shift_added_back,
    "shifted first": cross_entropy,
}


# %%
def relative_error(form, size, repeats=500):
    z = np.zeros((repeats, 3), np.float32)
    z[:, 0] = size + np.random.default_rng(size).uniform(-0.5, 0.5, repeats)  # the label's
    exact = np.log1p(2 * np.exp(-z[:, 0].astype(float)))
    return float(np.median(np.abs(form(z, np.zeros(repeats, int)) - exact) / exact))


# %%
lost = {
    name: np.array([relative_error(form, size) for size in sizes]) for name, form in forms.items()
}

# %%
for (name, error), style in zip(lost.items(), ("o-", "s-", "^-")):
    plt.semilogy(sizes, error, style, ms=4, label=name)
plt.axhline(1, color=show.GREY, lw=0.8, ls="--")
plt.xlabel("logit of the right class, the other two at 0")
plt.ylabel("median relative error of its loss")
plt.legend()
gone = {name: int(sizes[error > 0.9].min()) for name, error in lost.items()}
show.finding(
    "Small losses lose digits in every form, soonest with the shift added back at the end",
    alt="Relative error of the float32 loss against the logit of the right class, logarithmic: "
    "all three forms rise to 1, where nothing is left of the loss. That is at a logit of "
    f"{gone['shift added back at the end']} where the shift is added back at the end, of "
    f"{gone['shifted first']} where it comes first, of {gone['as written']} as written",
)

# %%
middle = (sizes >= 9) & (sizes <= 13)
typical = {name: float(np.exp(np.log(error[middle]).mean())) for name, error in lost.items()}
times = typical["shift added back at the end"] / typical["shifted first"]

# %%
claim(
    "for logits of 9 to 13, adding the shift back at the end errs more than twice as much as "
    "shifting first",
    times > 2,
    f"{times:.1f} times; shifted first errs "
    f"{typical['shifted first'] / typical['as written']:.1f} times as much as the form as written",
)

# %% [markdown]
# Our own first stable loss is the least accurate of the three. $m + \ln(1 + \text{little}) - z_y$ adds the little to a
# number of the size of $m$, and float32 keeps seven digits of the sum. Shifted first, the two large numbers never
# meet. So the damage must grow with $m$, even where the differences of the logits stay as they are. Put 1,000 on each:

# %%
z = np.zeros((500, 3), np.float32)
z[:, 0] = random.uniform(5.5, 6.5, 500)
z += 1000
exact = np.log1p(2 * np.exp(z[:, 1].astype(float) - z[:, 0]))
far = {
    name: float(np.median(np.abs(form(z, np.zeros(500, int)) - exact) / exact))
    for name, form in forms.items()
}

# %%
claim(
    "with 1,000 on every logit, the shift added back errs more than 50 times as much",
    far["shift added back at the end"] > 50 * far["shifted first"] and np.isnan(far["as written"]),
    ", ".join(f"{name}: {error:.0e}" for name, error in far.items()),
)

# %% [markdown]
# Does PyTorch know?

# %%
z = torch.linspace(5, 13, 8001)[:, None] * torch.tensor([1.0, 0.0, 0.0])
zeros = torch.zeros(len(z), dtype=torch.long)
of_torch = F.cross_entropy(z, zeros, reduction="none").numpy()
between = {
    name: float(np.mean(np.abs(form(z.numpy(), zeros.numpy()) - of_torch) / of_torch))
    for name, form in forms.items()
}

# %%
claim(
    "of the three forms, PyTorch's losses lie closest to the one that shifts first",
    between["shifted first"] == min(between.values()),
    ", ".join(f"{name}: {difference:.0e}" for name, difference in between.items()),
)

# %% [markdown]
# Even so, from a logit of about 17 on the loss of a right answer is exactly zero: $1 + e^{-17}$ is 1 in float32. Does
# that stop the training?

# %%
z = torch.tensor([[20.0, 0.0, 0.0]], requires_grad=True)
loss = F.cross_entropy(z, torch.tensor([0]))
loss.backward()
claim(
    "at a logit of 20 the loss is exactly 0, and the gradient on the other logits is not",
    loss.item() == 0 and z.grad[0, 1].item() > 0,
    f"gradient {z.grad[0, 1].item():.1e} on each of the others",
)

# %% [markdown]
# It does not, since the gradient is computed without the loss. Whatever *ranks* examples by their loss does suffer
# (exercise 02.3).
#
# ### Where this goes wrong: softmax, twice
#
# The articles' Keras models end in a softmax layer. Carry one over to PyTorch, give its output to `cross_entropy`,
# which applies softmax itself, and nothing raises. What does it cost?


# %%
def softmax_twice(logits, labels):
    return F.cross_entropy(logits.softmax(dim=1), labels)


doubled = [trained(softmax_twice, seed) for seed in range(4)]
correct = [trained(F.cross_entropy, seed) for seed in range(4)]
show.table(
    ["softmax", *(f"seed {seed}" for seed in range(4))],
    [
        [name, *(f"loss {losses[-1]:.3f}, accuracy {accuracy(z):.1%}" for losses, z in runs)]
        for name, runs in (("once", correct), ("twice", doubled))
    ],
)

# %%
behind = [accuracy(right[1]) - accuracy(wrong[1]) for right, wrong in zip(correct, doubled)]
claim(
    "at least one run with softmax twice reads as well as its twin, to 2 points",
    min(behind) < 0.02,
    "points behind: " + ", ".join(f"{100 * each:.1f}" for each in behind),
)

# %% [markdown]
# So the accuracy may hide it. The loss does not. Probabilities lie between 0 and 1, so as logits they are at best a
# one-hot vector, for which the second softmax gives the right class $\frac{e}{e + (C-1)}$. The loss cannot go below
# $\ln(e + C - 1) - 1$, however long you train.

# %%
least, surest = np.log(np.e + 9) - 1, np.e / (np.e + 9)
for (losses, _), colour, name in (
    (correct[0], show.BLUE, "once"),
    (doubled[0], show.ORANGE, "twice"),
):
    plt.plot(losses, color=colour, label=f"softmax {name}")
plt.axhline(np.log(10), color=show.GREY, ls=":", label="ln 10, a blind guess")
plt.axhline(least, color=show.GREY, ls="--", label=f"ln(e + 9) − 1 = {least:.2f}")
plt.xlabel("step")
plt.ylabel("training loss (nats)")
plt.legend(loc="lower right", bbox_to_anchor=(1, 0.15))
show.finding(
    f"With softmax twice, the loss of ten classes never comes below {least:.2f}",
    alt=f"Training loss by step. With one softmax it falls to {correct[0][0][-1]:.2f}; with two "
    f"it levels off at {doubled[0][0][-1]:.2f}, above its limit of {least:.2f}",
)

# %%
claim(
    "with softmax twice, no step of four runs has a loss below ln(e + 9) − 1; once, all end "
    "below a fifth of it",
    min(losses.min() for losses, _ in doubled) > least
    and max(losses[-1] for losses, _ in correct) < least / 5,
    f"{min(losses.min() for losses, _ in doubled):.3f} at best, and "
    f"{max(losses[-1] for losses, _ in correct):.3f} at worst",
)

# %% [markdown]
# In production the same mistake looks like this: a service applies softmax to outputs that are probabilities already,
# and no answer is ever surer than 23 %, so that every threshold above that turns everything away.

# %%
answers = softmax(random.normal(scale=20, size=(10_000, 10)))
again = softmax(answers)
claim(
    "after a second softmax over ten classes, no answer of 10,000 is surer than e / (e + 9), 23 %",
    again.max() <= surest + 1e-12 and round(100 * surest) == 23,
    f"{again.max():.1%} at most; the first softmax gave {np.median(answers.max(axis=1)):.1%} at "
    "the median",
)

# %% [markdown]
# The opposite mistake gives logits to a loss that wants log-probabilities, such as PyTorch's `nll_loss`. It then just
# adds up minus the logits of the labels, and the way to lower that is to make logits large, for ever.

# %%
raw_losses, raw_logits = trained(F.nll_loss)
claim(
    "logits given to nll_loss make a loss below zero, which no cross-entropy of labels can be",
    raw_losses[-1] < 0,
    f"loss {raw_losses[-1]:.0f} after {len(raw_losses)} steps, accuracy "
    f"{accuracy(raw_logits):.1%}",
)

# %% [markdown]
# ## Why not squared error on the probabilities?
#
# One can also compare the probabilities with the one-hot label by squares, $B = \sum_j (\hat y_j - y_j)^2$, the *Brier
# score*. It is lowest at the truth too. The trouble is the way there. The chain rule, through the Jacobian $J$:
#
# $$\nabla_z B = J^{\mathsf T}\, 2(\hat y - y), \qquad
# \frac{\partial B}{\partial z_j} = 2 \hat y_j \Big( (\hat y_j - y_j) - \sum_i (\hat y_i - y_i)\, \hat y_i \Big) .$$
#
# In cross-entropy the division by $\hat y$ cancelled the Jacobian. Here nothing does: every entry carries its own
# $\hat y_j$, so a class that got no probability gets no gradient, even if it is the right one.


# %%
def brier(logits, labels):
    return ((logits.softmax(dim=1) - F.one_hot(labels, logits.shape[1])) ** 2).sum(dim=1).mean()


# %%
def brier_gradient(logits, labels):
    answered, truth = softmax(logits), np.eye(logits.shape[1])[labels]
    off = answered - truth
    return 2 * answered * (off - (off * answered).sum(axis=1, keepdims=True)) / len(labels)


z = torch.from_numpy(logits).requires_grad_()
brier(z, torch.from_numpy(some_labels)).backward()
difference = np.abs(brier_gradient(logits, some_labels) - z.grad.numpy()).max()

claim("the derived gradient is autograd's, to 1e-12", difference < 1e-12, f"{difference:.0e}")

# %% [markdown]
# Two classes are enough to see it. Let the right class lead by a *margin* of $m = z_{\text{right}} - z_{\text{other}}$.
# At the left, the model is sure and wrong, and should learn the most. Beside it, what that means for training: plain
# steps against the gradient, $m \leftarrow m - \partial L/\partial m$, from $m = -8$.

# %%
margins = np.linspace(-10, 10, 201)
pair = np.stack([margins, np.zeros(201)], axis=1)
first = np.zeros(201, int)
pulls = {
    "cross-entropy": -len(pair) * gradient_of_mean(pair, first)[:, 0],
    "squared error": -len(pair) * brier_gradient(pair, first)[:, 0],
}


# %%
def walk(gradient, steps=2000):
    margin, seen = -8.0, []
    for _ in range(steps):
        seen.append(margin)
        margin -= gradient(np.array([[margin, 0.0]]), [0])[0, 0]
    return np.array(seen)


walks = {"cross-entropy": walk(gradient_of_mean), "squared error": walk(brier_gradient)}
mended = {name: int(np.argmax(seen > 0)) for name, seen in walks.items()}

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(8.5, 3.3))
for name in pulls:
    left.plot(margins, pulls[name], label=name)
    right.semilogx(np.arange(1, 2001), walks[name])
left.set_xlabel("margin of the right class")
left.set_ylabel("pull on its logit")
left.legend()
right.axhline(0, color=show.GREY, lw=0.8)
right.set_xlabel("step (logarithmic)")
right.set_ylabel("margin")
show.finding(
    f"Sure and wrong: cross-entropy mends it in {mended['cross-entropy']} steps, squared error "
    f"in {mended['squared error']}",
    alt="Left: the pull on the right class's logit against its margin. Cross-entropy pulls with "
    "nearly 1 at margin −10 and falls to 0 at 10; squared error has a bump in the middle and is "
    "nearly 0 on both sides. Right: from margin −8, cross-entropy crosses 0 after "
    f"{mended['cross-entropy']} steps, squared error after {mended['squared error']}",
)

# %%
claim(
    "at a margin of −10, cross-entropy pulls more than 1,000 times as hard; from −8 it is right "
    "more than 50 times as soon",
    pulls["cross-entropy"][0] > 1000 * pulls["squared error"][0]
    and mended["squared error"] > 50 * mended["cross-entropy"] > 0,
    f"{pulls['cross-entropy'][0] / pulls['squared error'][0]:,.0f} times as hard, "
    f"{mended['squared error'] / mended['cross-entropy']:.0f} times as soon",
)

# %% [markdown]
# A vanishing gradient, then, where it is needed most. Do the digits suffer? From a sensible start, hardly: the model is
# never sure and wrong. From the start with large weights it is.

# %%
losses_of = {
    "cross-entropy": F.cross_entropy,
    "squared error": brier,
    "softmax twice": softmax_twice,
}
reached = {
    (name, times): np.mean([accuracy(trained(loss_of, seed, times)[1]) for seed in range(3)])
    for name, loss_of in losses_of.items()
    for times in (1, 30)
}
show.table(
    ["loss", "accuracy from a sensible start", "from weights 30 times as large"],
    [[name, f"{reached[name, 1]:.1%}", f"{reached[name, 30]:.1%}"] for name in losses_of],
    caption="After 200 steps, mean of three seeds",
)

# %%
ahead = {name: reached["cross-entropy", 30] - reached[name, 30] for name in losses_of}
claim(
    "from the bad start, cross-entropy ends more than 5 points ahead of both",
    min(ahead["squared error"], ahead["softmax twice"]) > 0.05,
    f"{100 * ahead['squared error']:.0f} and {100 * ahead['softmax twice']:.0f} points",
)

# %% [markdown]
# Softmax twice suffers from the same: between the loss and the logits stands a Jacobian that nothing cancels. In
# fairness to the Brier score: it is bounded, so one wrong *label* cannot cost much, and it is a fine number to *report*
# (lesson 04 does, for calibration).
#
# ## What do label smoothing and class weights change?
#
# Two knobs that every framework's loss has. Both change what the probabilities mean, which is why they belong here and
# not in a tuning guide.
#
# *Label smoothing* trains towards $y' = (1-\alpha)\,y + \alpha/C$ instead of $y$. We know where cross-entropy is
# lowest: at $\hat y = y'$. There the right class leads by a finite margin,
#
# $$m^* = \ln\frac{1-\alpha+\alpha/C}{\alpha/C},$$
#
# while without smoothing the margin may grow for ever. The floor of the loss is no longer 0 but the entropy of $y'$.

# %%
alpha, classes = 0.1, 10
margins = np.linspace(0, 12, 1201)
z = torch.zeros(len(margins), classes, dtype=torch.float64)
z[:, 0] = torch.from_numpy(margins)
zeros = torch.zeros(len(z), dtype=torch.long)
curves = {
    smoothing: F.cross_entropy(z, zeros, reduction="none", label_smoothing=smoothing).numpy()
    for smoothing in (0.0, alpha)
}
derived = np.log((1 - alpha + alpha / classes) / (alpha / classes))
smooth = np.full(classes, alpha / classes) + np.eye(classes)[0] * (1 - alpha)
floor = cross_entropy_between(smooth, smooth)

# %%
plt.plot(margins, curves[0.0], label="plain labels")
plt.plot(margins, curves[alpha], label=f"smoothed, α = {alpha}")
plt.plot(derived, floor, "o", color=show.ORANGE)
plt.annotate(
    f"margin {derived:.2f}, loss {floor:.2f}",
    (derived, floor),
    xytext=(-10, -18),
    textcoords="offset points",
)
plt.xlabel("margin of the right class over nine equal others")
plt.ylabel("loss (nats)")
plt.legend(loc="upper center")
show.finding(
    "With smoothed labels the loss is lowest at a finite margin, and not at zero",
    alt="Loss against margin, ten classes: with plain labels it falls to 0; with smoothing of "
    f"{alpha} it has its minimum, {floor:.2f} nats, at a margin of {derived:.2f}, and rises "
    "again after it",
)

# %%
claim(
    "PyTorch's smoothed loss is lowest at the derived margin, and costs the entropy of y' "
    "there; the answer is then 91 % sure",
    abs(margins[curves[alpha].argmin()] - derived) < 0.01
    and abs(curves[alpha].min() - floor) < 1e-4
    and np.isclose(smooth[0], 0.91),
    f"margin {margins[curves[alpha].argmin()]:.2f}, loss {curves[alpha].min():.3f}",
)

# %% [markdown]
# Two consequences for whoever reads the log: losses with and without smoothing cannot be compared, and a smoothed model
# never means to be surer than $1-\alpha+\alpha/C$, here 91 %.
#
# *Class weights* $w \in \mathbb{R}^C$ multiply the loss of each example by the weight of its label, to make a rare
# class count. The expected loss of an answer $q$ is then $-\sum_j w_j p_j \ln q_j$. Up to a factor that is a
# cross-entropy again, with $w_j p_j$ in place of $p_j$, so it is lowest at
#
# $$q_j = \frac{w_j\, p_j}{\sum_k w_k\, p_k} .$$
#
# The model is *meant* to answer wrong probabilities. Fraud again, 10 in 1,000, with weight 10; the model is nothing
# but two logits.

# %%
weights = torch.tensor([1.0, 10.0])
payments = torch.tensor([0] * 990 + [1] * 10)
z = torch.zeros(2, requires_grad=True)
optimizer = torch.optim.SGD([z], lr=2)
for _ in range(300):
    optimizer.zero_grad()
    F.cross_entropy(z.expand(1000, 2), payments, weight=weights).backward()
    optimizer.step()
answered = z.detach().softmax(0)[1].item()
derived = 10 * 0.01 / (1 * 0.99 + 10 * 0.01)

# %%
claim(
    "with weight 10 the trained answer for 1 % of fraud is the derived one, about 9 %",
    abs(answered - derived) < 1e-3 and round(100 * derived) == 9,
    f"trained {answered:.4f}, derived {derived:.4f}",
)

# %% [markdown]
# With two classes the payments keep their order, since $q$ grows with $p$; but which class is the likelier may
# change, and with more classes so may the order within one answer. As a probability, in a sum of expected losses,
# say, it is wrong by a factor of nine. It can be undone: exercise 02.5.
#
# One more trap. What is the *mean* of weighted losses? PyTorch divides by the sum of the weights, Keras by
# the number of examples. The TensorFlow process above has already computed it.

# %%
w = class_weights[some_labels]
each = w * cross_entropy(logits, some_labels)
by_torch = F.cross_entropy(
    torch.from_numpy(logits), torch.from_numpy(some_labels), weight=torch.from_numpy(class_weights)
).item()
by_keras = float(tensorflow["weighted"])

# %%
claim(
    "PyTorch's weighted mean divides by the sum of the weights, Keras's by the number of examples",
    np.isclose(by_torch, each.sum() / w.sum(), rtol=1e-6)
    and np.isclose(by_keras, each.mean(), rtol=1e-6),
    f"{by_torch:.4f} and {by_keras:.4f} for the same eight examples and weights",
)

# %% [markdown]
# The same model, data and weights, two numbers, and, for plain gradient descent, two lengths of step for one learning
# rate (Adam divides a constant factor out again: lesson 03). Move a training script from one framework to the other,
# and this is among the first things to look for.
#
# ## What we measured
#
# No model left this lesson, so the ledger gets no row. What stays is a table to hold beside a training log.

# %%
frequencies = np.bincount(train.labels) / len(train.labels)
frequencies_cost = cross_entropy_between(frequencies, frequencies)
signs = {
    "ln C": (f"{np.log(10):.3f}", "a blind guess: the right start, a bad end"),
    "far above ln C, at the start": (
        f"{np.mean(large):.1f}",
        "sure and wrong: large weights or inputs",
    ),
    "entropy of the frequencies": (f"{frequencies_cost:.3f}", "the best constant answer"),
    "never below ln(e + C − 1) − 1": (f"{least:.3f}", "softmax twice"),
    "below 0": (f"{raw_losses[-1]:.0f}", "logits where log-probabilities belong"),
    "near 0, accuracy poor": (f"{wrong_losses[-1]:.0e}", "the label is not in the loss"),
    "never below the entropy of y'": (f"{floor:.3f}", f"label smoothing, α = {alpha}"),
    "nan or inf": ("", "softmax, then a logarithm: log-sum-exp is missing"),
    "exactly 0": ("", "float32 has no digits left for a sure, right answer"),
}
rows = [[seen, *figure_and_cause] for seen, figure_and_cause in signs.items()]
show.table(["the log says", "in this lesson", "the cause"], rows)

# %% [markdown]
# ## What to remember
#
# - A loss is minus the logarithm of a likelihood: Gaussian noise gives squared error, a categorical label gives
#   cross-entropy, and $\ln C$ and the entropy say what its values mean.
# - The gradient by the logits is answer minus truth. Compute loss and gradient from logits, never from probabilities.
# - A wrong loss seldom raises. Its value gives it away, if you know beforehand what it must be.
#
# ## Where this breaks down
#
# Maximum likelihood believes the labels. Where one in twenty is wrong, cross-entropy asks the model to be sure of
# errors, and has no limit to what one of them costs. It counts all mistakes alike, which no business does: what an
# error costs belongs into the decision after the model, or, with care, into class weights. A floor such as the entropy
# holds for the expectation; on a few examples a model can be below it by luck, and on its training set by memory. And
# the checks of a gradient by differences assume a smooth loss: at the kink of a ReLU, or with dropout switched on, they
# disagree without anything being wrong.
#
# ## What real teams use
#
# The framework's own loss on logits: `cross_entropy` and `binary_cross_entropy_with_logits` in PyTorch,
# `from_logits=True` in Keras, `torch.autograd.gradcheck` for a backward pass written by hand. They write their own
# where the task has its own likelihood (counts: Poisson; times until an event: survival models; ranking: pairwise
# losses), and then test it as this lesson did: value at a blind guess, gradient by differences, extreme logits in the
# precision that training uses. Squared error with a limit on what one reading may pull, *Huber's* loss, is the usual
# answer to −999 that somebody could not filter out.
#
# ## Further reading
#
# - C. M. Bishop, *Pattern Recognition and Machine Learning*, Springer 2006, sections 1.6, 4.3 and 5.2.
# - I. Goodfellow, Y. Bengio, A. Courville, *Deep Learning*, MIT Press 2016, chapters 3, 4.1, 5.5 and 6.2.
# - N. J. Higham, *Accuracy and Stability of Numerical Algorithms*, 2nd edition, SIAM 2002, chapters 1 and 2.
# - P. Blanchard, D. J. Higham, N. J. Higham, *Accurately Computing the Log-Sum-Exp and Softmax Functions*, IMA Journal of
#   Numerical Analysis 41(4), 2021.
# - C. Szegedy et al., *Rethinking the Inception Architecture for Computer Vision*, CVPR 2016, section 7 (label smoothing).
# - C. Guo, G. Pleiss, Y. Sun, K. Q. Weinberger, *On Calibration of Modern Neural Networks*, ICML 2017.
