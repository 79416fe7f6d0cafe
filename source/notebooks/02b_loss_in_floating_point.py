# %% [markdown]
# # 02b A loss in floating point
#
# At 3 a.m. the retraining logs `loss=nan`, from step 40,000 on. The model was fine until then, and so was the formula
# of its loss. But a computer does not calculate with real numbers, and this lesson is about the difference.
#
# ## You will be able to
#
# - compute from which logit on a loss fails in float16 or float32, and repair it with log-sum-exp;
# - say which of three equal formulas loses the most digits, and why;
# - test a gradient with finite differences, and choose their step;
# - say what label smoothing and class weights do to a loss and to the probabilities;
# - find out which loss a framework really computes, and where PyTorch and Keras differ.
#
# ## Before you start
#
# You need lesson 02: logits, softmax, cross-entropy, and its gradient $\hat y - y$. As there, $z \in \mathbb{R}^C$ are
# the logits of $C$ classes, $k \in \{0, \dots, C-1\}$ is the label, and $y \in \mathbb{R}^C$ is its one-hot vector. From
# calculus we use Taylor's formula once.

# %%
import matplotlib.pyplot as plt
import numpy as np
import torch
from torch.nn import functional as F

from course_lib import data
from course_lib.idioms import begin, claim, guess, path, reveal, show

scratch = begin("02b")
torch.set_num_threads(1)  # these computations are small: more threads would only wait
path.picture(here="02b")

# %% [markdown]
# ## Why does the loss print `nan` on a model that works?
#
# A *floating-point number* has a limited number of digits and a limited range. `float32` keeps about seven digits and
# ends near $3.4 \times 10^{38}$. `float16` keeps about three and ends at 65,504. Another 16-bit type, `bfloat16`, has
# the range of float32 and keeps two. `nan` means "not a number". It results from operations such as $\infty/\infty$.
#
# The training code computed the loss as the textbook writes it:
#
# $$\ell(z, k) = -\ln \frac{e^{z_k}}{\sum_{j=0}^{C-1} e^{z_j}} .$$
#
# As a model becomes more certain, its logits grow. How large can a logit get before this formula fails?

# %%
guess("overflow", "From which logit on does this formula fail in float32?", low=1, high=10_000)


# %%
def of_label(values, labels):
    return values[np.arange(len(labels)), labels]


@np.errstate(over="ignore", invalid="ignore", divide="ignore")  # frameworks do not warn either
def as_written(logits, labels):
    """Logits (N, C) and labels (N,) to N losses; the next two forms likewise."""
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return -np.log(of_label(probabilities, labels))


# %%
for size in (10, 80, 90):
    twice = np.array([[size, 0, 0], [size, 0, 0]], dtype=np.float32)
    right, wrong = as_written(twice, [0, 1])
    right = abs(right)  # -ln 1 would print as -0
    print(f"logit {size}: loss of the right class {right:.2g}, of a wrong one {wrong:.3g}")

# %% [markdown]
# Both losses break somewhere between 80 and 90. There $e^z$ becomes larger than the largest number that float32 can
# hold. This is called an *overflow*. You can compute the limit before you meet it in production.

# %%
limit = {kind: float(np.log(float(np.finfo(kind).max))) for kind in (np.float16, np.float32)}
reveal("overflow", limit[np.float32])


def works(kind, logit):
    return bool(np.isfinite(as_written(np.array([[logit, 0]], kind), [0])[0]))


claim(
    "in float32 the formula works at a logit of 88.6 and fails at 88.8; in float16, at 11 and 11.2",
    (works(np.float32, 88.6), works(np.float32, 88.8)) == (True, False)
    and (works(np.float16, 11), works(np.float16, 11.2)) == (True, False),
    f"computed limits: {limit[np.float32]:.2f} and {limit[np.float16]:.2f}",
)

# %% [markdown]
# There is a second limit, at the other end. A probability below the smallest positive number becomes 0, and $-\ln 0$ is
# infinite.

# %%
in_float16 = as_written(np.array([[12, 0]], np.float16), [0])[0]
in_float32 = as_written(np.array([[0, -110]], np.float32), [1])[0]
claim(
    "a logit of 12 for the right class gives nan in float16, one of −110 gives inf in float32",
    np.isnan(in_float16) and np.isposinf(in_float32),
    f"{in_float16} instead of {np.log1p(np.exp(-12.0)):.1e}, {in_float32} instead of 110",
)

# %% [markdown]
# Is 12 a large logit? We train the linear model of lesson 02 for 200 steps and look.

# %%
train, test = data.digits()
images, labels = torch.from_numpy(train.images.reshape(-1, 64)), torch.from_numpy(train.labels)
test_images = torch.from_numpy(test.images.reshape(-1, 64))


def fresh_model(seed=0):
    torch.manual_seed(seed)
    return torch.nn.Linear(64, 10)


# %%
model = fresh_model()
optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
for _ in range(200):
    optimizer.zero_grad()
    F.cross_entropy(model(images), labels).backward()
    optimizer.step()
with torch.inference_mode():
    largest = model(test_images).max(dim=1).values.numpy()
share = float((largest > limit[np.float16]).mean())

# %%
claim(
    "after 200 steps, more than one test image in ten has a logit that overflows float16",
    share > 0.1,
    f"{100 * share:.0f} % of the images; the largest logit is {largest.max():.1f}",
)

# %% [markdown]
# In float16 the textbook's formula fails on an ordinary model.
#
# ## How does log-sum-exp repair it?
#
# One subtraction repairs it. For any number $m$,
#
# $$\ln \sum_j e^{z_j} = \ln \Big(e^m \sum_j e^{z_j - m}\Big) = m + \ln \sum_j e^{z_j - m} .$$
#
# Choose $m = \max_j z_j$. The largest term is then $e^0 = 1$, so nothing overflows. The sum is at least 1, so its
# logarithm is never $\ln 0$. This is known as *log-sum-exp*. The loss becomes $\ell = \ln\sum_j e^{z_j} - z_k$, without
# any probability.


# %%
def shift_added_back(logits, labels):
    m = logits.max(axis=1)
    return m + np.log(np.exp(logits - m[:, None]).sum(axis=1)) - of_label(logits, labels)


huge = {kind: np.array([[1e4, 0, 0]] * 2, kind) for kind in (np.float16, np.float32)}

# %%
claim(
    "with the shift, logits of 10,000 give 0 for the right class and 10,000 for a wrong one, in "
    "float16 and float32",
    all(shift_added_back(z, [0, 1]).tolist() == [0, 1e4] for z in huge.values()),
    f"as written: {as_written(huge[np.float32], [0, 1]).tolist()}",
)

# %% [markdown]
# **Now do exercise 02b.1**: log-sum-exp for any shape, and for classes that are masked with $-\infty$.
#
# ### Where this goes wrong: the logarithm of a softmax
#
# In PyTorch the textbook's form is `z.softmax(1).log()`. Softmax itself is safe, because it subtracts the maximum. But
# a probability can still round to 0, and the logarithm comes after that. Autograd then multiplies $\frac1{\hat y} =
# \infty$ by 0. The gradient $\hat y - y$ needs no division.

# %%
gradients = {}
for name in ("log of softmax", "cross_entropy"):
    z = torch.tensor([[0.0, -110.0]], requires_grad=True)
    if name == "cross_entropy":
        F.cross_entropy(z, torch.tensor([1])).backward()
    else:
        (-z.softmax(1).log()[0, 1]).backward()
    gradients[name] = z.grad.tolist()[0]

# %%
claim(
    "the gradient through the log of a softmax is nan where cross_entropy's is right",
    bool(np.isnan(gradients["log of softmax"]).any()) and gradients["cross_entropy"] == [1, -1],
    f"{gradients['log of softmax']} and {gradients['cross_entropy']}",
)

# %% [markdown]
# One such example spoils the whole model. In a batch of 64 images, one arrives 10,000 times too bright, and its label is
# not what the model answers.

# %%
batch, batch_labels, spoiled = images[:64].clone(), labels[:64].clone(), {}
batch[0] *= 10_000
batch_labels[0] = fresh_model()(batch)[0].argmin()
for name in ("log of softmax", "cross_entropy"):
    model = fresh_model()
    if name == "cross_entropy":
        F.cross_entropy(model(batch), batch_labels).backward()
    else:
        F.nll_loss(model(batch).softmax(dim=1).log(), batch_labels).backward()
    spoiled[name] = float(model.weight.grad.isnan().float().mean())

# %%
claim(
    "one bad image makes the gradient of every weight nan in one form, and of none in the other",
    spoiled == {"log of softmax": 1, "cross_entropy": 0},
    ", ".join(f"{name}: {100 * share:.0f} % nan" for name, share in spoiled.items()),
)

# %% [markdown]
# After the next step all weights are `nan`, and so is every loss from then on. The log at 3 a.m. looks like this.
#
# ## How many digits are left before the overflow?
#
# Overflow is the failure that you notice. Digits get lost long before it, unnoticed. Consider an image that the
# model reads correctly, with a growing logit of the right class. The true loss gets small. There are now three forms,
# which are equal in mathematics:
#
# 1. *as written*, with probabilities;
# 2. *shift added back at the end*, as above;
# 3. *shifted first*: subtract $m$ from every logit, and compute everything with the shifted logits.


# %%
def shifted_first(logits, labels):
    shifted = logits - logits.max(axis=1, keepdims=True)
    return np.log(np.exp(shifted).sum(axis=1)) - of_label(shifted, labels)


forms = {
    "as written": as_written,
    "shift added back at the end": shift_added_back,
    "shifted first": shifted_first,
}

# %%
guess(
    "form",
    "Which form has the largest relative error for a sure, right answer, say a logit of 10?",
    choices=list(forms),
)

# %% [markdown]
# We compute the three forms in float32 and compare them with float64, for logits from 1 to 24.


# %%
def relative_error(form, size, repeats=500):
    """Median over `repeats` logits near `size`; the other two logits are 0."""
    z = np.zeros((repeats, 3), np.float32)
    z[:, 0] = size + np.random.default_rng(size).uniform(-0.5, 0.5, repeats)
    exact = np.log1p(2 * np.exp(-z[:, 0].astype(float)))
    return float(np.median(np.abs(form(z, np.zeros(repeats, int)) - exact) / exact))


sizes = np.arange(1, 25)
lost = {name: np.array([relative_error(form, s) for s in sizes]) for name, form in forms.items()}

# %%
for (name, error), style in zip(lost.items(), ("o-", "s-", "^-")):
    plt.semilogy(sizes, error, style, ms=4, label=name)
plt.axhline(1, color=show.GREY, lw=0.8, ls="--", label="no digit left")
plt.xlabel("logit of the right class, the other two at 0")
plt.ylabel("median relative error of its loss")
plt.legend()
gone = {name: int(sizes[error > 0.9].min()) for name, error in lost.items()}
show.finding(
    "Small losses lose digits in every form, soonest with the shift added back at the end",
    alt="Relative error of the float32 loss against the logit of the right class, logarithmic. All "
    "three forms rise to 1, where no correct digit is left: at a logit of "
    f"{gone['shift added back at the end']} with the shift added back at the end, "
    f"{gone['shifted first']} shifted first, {gone['as written']} as written",
)

# %%
middle = (sizes >= 9) & (sizes <= 13)
typical = {name: float(np.exp(np.log(error[middle]).mean())) for name, error in lost.items()}
reveal("form", max(typical, key=typical.get))
claim(
    "for logits of 9 to 13, adding the shift back errs more than twice as much as shifting first, "
    "and the form as written errs least",
    typical["shift added back at the end"] > 2 * typical["shifted first"]
    and typical["shifted first"] > typical["as written"],
    ", ".join(f"{name}: {error:.1e}" for name, error in typical.items()),
)

# %% [markdown]
# The form with the shift added back is the least accurate here, although it is often called "stable". It computes the
# loss as $m + \ln(1 + \text{little}) - z_k$. The sum has the size of $m$, and float32 keeps seven digits of it. The
# digits of the little term are rounded away. If we shift first, no large number enters the sum. The form as written is
# even more accurate, until it overflows.
#
# If this explanation is right, the damage must grow with $m$, even if all differences stay the same. We add 1,000 to
# every logit.

# %%
z = np.zeros((500, 3), np.float32)
z[:, 0] = np.random.default_rng(5).uniform(5.5, 6.5, 500)
z += 1000
exact = np.log1p(2 * np.exp(z[:, 1].astype(float) - z[:, 0]))
far = {
    name: float(np.median(np.abs(form(z, np.zeros(500, int)) - exact) / exact))
    for name, form in forms.items()
}

# %%
claim(
    "with 1,000 on every logit, adding the shift back errs more than 50 times as much as shifting "
    "first, and the form as written gives nan",
    far["shift added back at the end"] > 50 * far["shifted first"] and np.isnan(far["as written"]),
    ", ".join(f"{name}: {error:.0e}" for name, error in far.items()),
)

# %% [markdown]
# Which form does PyTorch use? We compare its losses with ours.

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
    "PyTorch's losses are more than twice as close to shifting first as to adding the shift back",
    between["shift added back at the end"] > 2 * between["shifted first"],
    ", ".join(f"{name}: {difference:.0e}" for name, difference in between.items()),
)

# %% [markdown]
# Even shifted first, the loss of a right answer is exactly 0 from a logit of about 17 on, because $1 + e^{-17}$ rounds
# to 1 in float32. Does training stop there?

# %%
z = torch.tensor([[20.0, 0.0, 0.0]], requires_grad=True)
loss = F.cross_entropy(z, torch.tensor([0]))
loss.backward()
claim(
    "at a logit of 20 the loss is exactly 0, and the gradient of the other logits is not",
    loss.item() == 0 and z.grad[0, 1].item() > 0,
    f"gradient {z.grad[0, 1].item():.1e} on each of the others",
)

# %% [markdown]
# It does not stop, because the gradient is computed without the loss. Code that *ranks* examples by their loss is
# affected. **Now do exercise 02b.2**, which keeps such small losses apart.
#
# ## How do you know that a gradient is right?
#
# Someone writes a *fused kernel*: one function that does the work of several. Its *backward pass*, the code for its
# gradient, is written by hand. How do you test it? Compare it with differences of the loss. Move one logit by a small
# step $h$ in both directions, and divide the difference of the two losses by $2h$. This is a *central difference*, one
# kind of *finite difference*:
#
# $$\frac{\partial \ell}{\partial z_j} \approx \frac{\ell(z + h e_j) - \ell(z - h e_j)}{2h}, \qquad e_j \in \mathbb{R}^C
# \text{ has a 1 at position } j \text{ and 0 elsewhere.}$$
#
# The *one-sided difference* is cheaper: $\frac{\ell(z + he_j) - \ell(z)}{h}$. Which step $h$ gives the smallest error?

# %%
guess("step", "The best step h for a central difference, float64?", low=1e-12, high=1)

# %% [markdown]
# There are two errors. (You may skip their derivation. Its result: the best step is near $\varepsilon^{1/3}$, the cube
# root of the machine precision.) The first error comes from the formula. Let $\ell'$ be the derivative with respect to
# this logit. Taylor's formula says
#
# $$\ell(z \pm h e_j) = \ell \pm h\,\ell' + \tfrac{h^2}{2}\, \ell'' \pm \tfrac{h^3}{6}\,\ell''' + \dots$$
#
# In the central difference the even terms cancel, and an error of $\frac{h^2}{6}|\ell'''|$ remains. The second error is
# rounding. Each loss is off by a share of about $\varepsilon$, the *machine precision*: the distance from 1 to the next
# larger number. Divided by $h$, this gives about $\varepsilon |\ell| / h$. The first error shrinks with $h$, and the
# second grows. Their sum is smallest where its derivative with respect to $h$ is 0:
#
# $$\frac{h}{3}|\ell'''| = \frac{\varepsilon |\ell|}{h^2} \quad\Longrightarrow\quad
# h = \Big(\frac{3\varepsilon |\ell|}{|\ell'''|}\Big)^{1/3} \sim\; \varepsilon^{1/3} .$$
#
# For the one-sided difference, $\frac h2|\ell''|$ takes the place of the first error, and the best step is near
# $\varepsilon^{1/2}$. We measure all of this on 400 random logit vectors.


# %%
def answer_minus_truth(logits, labels):
    """The gradient of each loss, (N, C)."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True) - np.eye(logits.shape[1])[labels]


random = np.random.default_rng(0)
points, their_labels = random.normal(size=(400, 10)), random.integers(10, size=400)
moved = np.eye(10)[random.integers(10, size=400)]  # which logit of each vector is moved


# %%
def difference_error(kind, sides, step):
    """The median error over the 400 vectors, computed in the dtype `kind`."""
    z, move = points.astype(kind), (step * moved).astype(kind)
    back = z - move if sides == 2 else z
    rise = shifted_first(z + move, their_labels) - shifted_first(back, their_labels)
    exact = (answer_minus_truth(z.astype(float), their_labels) * moved).sum(axis=1)
    return float(np.median(np.abs(rise / kind(sides * step) - exact)))


kinds = {
    "float64, central": (np.float64, 2),
    "float64, one-sided": (np.float64, 1),
    "float32, central": (np.float32, 2),
}
steps = 10.0 ** np.arange(-12, 0.1, 0.25)
errors = {name: np.array([difference_error(*of, h) for h in steps]) for name, of in kinds.items()}
best = {name: float(steps[error.argmin()]) for name, error in errors.items()}

# %%
for (name, error), style in zip(errors.items(), ("o-", "s-", "^-")):
    plt.loglog(steps, error, style, ms=3, label=name)
    plt.plot(best[name], error.min(), "o", color="black", mfc="none", ms=11)
plt.ylim(1e-12, 20)
plt.xlabel("step h (difference of a logit)")
plt.ylabel("median error of the derivative")
plt.legend(loc="lower left")
show.finding(
    "A smaller step is better only down to a point",
    alt="Error of finite differences against the step, logarithmic: three curves fall to a lowest "
    "point and rise again; at the left the float32 curve is flat. Lowest: "
    + "; ".join(f"{name} near {best[name]:.0e}, error {errors[name].min():.0e}" for name in kinds),
)

# %% [markdown]
# Is the best step of each curve where the derivation puts it?

# %%
epsilon = {kind: float(np.finfo(kind).eps) for kind in (np.float32, np.float64)}
expected = {
    "float64, central": epsilon[np.float64] ** (1 / 3),
    "float64, one-sided": epsilon[np.float64] ** (1 / 2),
    "float32, central": epsilon[np.float32] ** (1 / 3),
}
reveal("step", best["float64, central"])
claim(
    "each best step lies within a factor of 15 of the derived power of the machine precision",
    all(1 / 15 < best[name] / expected[name] < 15 for name in kinds),
    "; ".join(f"{name}: {best[name]:.1e} for {expected[name]:.1e}" for name in kinds),
)


# %%
def power_of(error, low, high):
    chosen = (steps > low) & (steps < high)
    return float(np.polyfit(np.log(steps[chosen]), np.log(error[chosen]), 1)[0])


powers = {
    "central": power_of(errors["float64, central"], 1e-3, 0.2),
    "one-sided": power_of(errors["float64, one-sided"], 1e-5, 0.2),
    "rounding": power_of(errors["float64, central"], 1e-12, 1e-7),
}
claim(
    "the central error grows as h², the one-sided as h; rounding grows as 1/h",
    np.allclose(list(powers.values()), [2, 1, -1], atol=0.2),
    ", ".join(f"{name}: h to the power of {power:.2f}" for name, power in powers.items()),
)

# %% [markdown]
# At the left the float32 curve is flat: there $z + h$ rounds to $z$, and the difference is 0. In practice, test
# gradients in float64, with central differences and a step near $10^{-5}$, and expect about nine digits of agreement.
# In float32 about four digits are left at the best step. Here is the test for $\hat y - y$.

# %%
some_logits, some_labels = random.normal(scale=3, size=(8, 10)), random.integers(10, size=8)
measured = np.zeros_like(some_logits)
for j in range(10):
    move = 1e-5 * np.eye(10)[j]  # moves logit j of all eight examples
    up, down = (shifted_first(some_logits + sign * move, some_labels) for sign in (1, -1))
    measured[:, j] = (up - down) / 2e-5
off = np.abs(answer_minus_truth(some_logits, some_labels) - measured).max()
claim("ŷ − y agrees with finite differences to 1e-8", off < 1e-8, f"{off:.0e}")

# %% [markdown]
# **Now do exercise 02b.3**, which tests the gradient of any function.
#
# ## What does label smoothing change?
#
# The loss functions of frameworks have two more knobs. Both change what the probabilities mean.
#
# *Label smoothing* trains towards $y' = (1-\alpha)\,y + \alpha/C$ instead of $y$, with a small $\alpha$ such as 0.1. So
# the right class should get $1-\alpha+\alpha/C$, and every other class $\alpha/C$. We know from lesson 02 where the
# cross-entropy is lowest: at $\hat y = y'$. The difference of two logits is the difference of the log-probabilities. So
# at the lowest point the right class leads every other class by a finite margin:
#
# $$u = \ln\frac{1-\alpha+\alpha/C}{\alpha/C} .$$
#
# Without smoothing a larger margin always has a lower loss.

# %%
alpha, classes = 0.1, 10
margins = np.linspace(0, 12, 1201)
z = torch.zeros(len(margins), classes, dtype=torch.float64)
z[:, 0] = torch.from_numpy(margins)
zeros = torch.zeros(len(z), dtype=torch.long)
curves = {
    a: F.cross_entropy(z, zeros, reduction="none", label_smoothing=a).numpy() for a in (0.0, alpha)
}
smoothed = np.full(classes, alpha / classes) + np.eye(classes)[0] * (1 - alpha)
lead = np.log(smoothed[0] / smoothed[1])
lowest = -(smoothed * np.log(smoothed)).sum()  # the entropy of y'

# %%
plt.plot(margins, curves[0.0], label="plain labels")
plt.plot(margins, curves[alpha], "--", label=f"smoothed, α = {alpha}")
plt.plot(lead, lowest, "o", color=show.ORANGE)
plt.annotate(f"margin {lead:.2f}, loss {lowest:.2f}", (lead, lowest), xytext=(3, 0.9))
plt.xlabel("margin of the right class (difference of logits)")
plt.ylabel("loss (nats)")
plt.legend(loc="upper center")
show.finding(
    "With smoothed labels the loss is lowest at a finite margin, and not zero there",
    alt="Loss against margin, ten classes. With plain labels it falls towards 0. With smoothing of "
    f"{alpha} it has its lowest point, {lowest:.2f} nats, at a margin of {lead:.2f}, and rises "
    "again after it",
)

# %%
claim(
    "PyTorch's smoothed loss is lowest at the derived margin, and is the entropy of y' there",
    abs(margins[curves[alpha].argmin()] - lead) < 0.01
    and abs(curves[alpha].min() - lowest) < 1e-4,
    f"margin {margins[curves[alpha].argmin()]:.2f}, loss {curves[alpha].min():.3f}; the right "
    f"class gets {100 * smoothed[0]:.0f} %",
)

# %% [markdown]
# When you read a log, remember two things. A loss with smoothing cannot be compared with a loss without. And a model
# with smoothed labels is trained to be 91 % sure, not 100 %. **Your turn:** set `alpha` to 0.3 and run the three cells
# again. Where is the lowest point now, and how sure should the right class be?
#
# ## What do class weights change?
#
# *Class weights* $w \in \mathbb{R}^C$ multiply the loss of each example by the weight of its label. People use them to
# make a rare class count more. Let $p$ be the true probabilities and $q$ the model's answer. The expected loss is then
# $-\sum_j w_j p_j \ln q_j$. This is a cross-entropy again, with $w_j p_j$ in place of $p_j$, up to a factor. So it is
# lowest at
#
# $$q_j = \frac{w_j\, p_j}{\sum_i w_i\, p_i} .$$
#
# The weighted model is *trained* to answer different probabilities. Take 1,000 payments, of which 10 are fraud, and give
# fraud the weight 10. The model is nothing but two logits. Which probability of fraud does it learn?

# %%
guess(
    "fraud",
    "1 % of the payments are fraud, with weight 10. What does the model answer?",
    share=True,
)

# %%
weight = torch.tensor([1.0, 10.0])
payments = torch.tensor([0] * 990 + [1] * 10)
z = torch.zeros(2, requires_grad=True)
optimizer = torch.optim.SGD([z], lr=2)
for _ in range(300):
    optimizer.zero_grad()
    F.cross_entropy(z.expand(1000, 2), payments, weight=weight).backward()
    optimizer.step()
answered, derived = z.detach().softmax(0)[1].item(), 10 * 0.01 / (1 * 0.99 + 10 * 0.01)
reveal("fraud", answered)

# %%
claim(
    "with weight 10 the trained answer for 1 % of fraud is the derived one, about 9 %",
    abs(answered - derived) < 1e-3 and round(100 * derived) == 9,
    f"trained {answered:.4f}, derived {derived:.4f}",
)

# %% [markdown]
# With two classes the payments keep their order, since $q$ grows with $p$. But a threshold of 50 % has another meaning:
# $q = \frac12$ where $p = \frac1{11}$. And as a probability the answer is nine times too large here. A report that
# multiplies it by amounts of money then shows nine times the fraud. **Now do exercise 02b.4**, which removes the effect
# of the weights from the answers.
#
# ## Which loss does my framework compute?
#
# Keras and PyTorch both have a cross-entropy. Do they compute the same? Two frameworks in one process need a lot of
# memory, so TensorFlow runs in a process of its own for a few seconds. Numbers go there and come back as files.

# %%
program = """
import inspect, json, sys
import keras, numpy as np, tensorflow as tf
given, Loss = np.load(sys.argv[1] + "/given.npz"), keras.losses.SparseCategoricalCrossentropy
logits, labels = tf.constant(given["logits"], tf.float32), given["labels"]
found = {"parameters": list(inspect.signature(Loss).parameters)}
with tf.GradientTape(persistent=True) as tape:
    tape.watch(logits)
    found["logits"] = Loss(from_logits=True, reduction=None)(labels, logits)
    found["own softmax"] = Loss(reduction=None)(labels, keras.ops.softmax(logits))
    found["probabilities"] = Loss(reduction=None)(labels, 1.0 * keras.ops.softmax(logits))
found["gradient"] = tape.gradient(found["probabilities"], logits)
for how in ("sum_over_batch_size", "mean_with_sample_weight"):
    loss = Loss(from_logits=True, reduction=how)
    found[how] = loss(labels, logits, sample_weight=given["weights"][labels])
plain = {name: np.asarray(value).tolist() for name, value in found.items()}
json.dump(plain, open(sys.argv[1] + "/found.json", "w"))
"""

# %%
import json
import subprocess
import sys

three, three_labels = np.array([[2.0, 0.0], [0.0, 10.0], [30.0, 0.0]], np.float32), [0, 0, 1]
weights = np.array([1.0, 10.0], np.float32)
np.savez(scratch / "given.npz", logits=three, labels=three_labels, weights=weights)
run = [sys.executable, "-c", program, str(scratch)]
done = subprocess.run(run, capture_output=True, text=True)
if done.returncode:
    raise RuntimeError(done.stderr)
keras = json.loads((scratch / "found.json").read_text())

# %%
each = shifted_first(three, three_labels)
show.table(
    ["loss of", "example 1", "example 2", "example 3"],
    [
        ["ours", *(f"{loss:.3f}" for loss in each)],
        ["Keras, from_logits=True", *(f"{loss:.3f}" for loss in keras["logits"])],
        ["Keras, its own softmax", *(f"{loss:.3f}" for loss in keras["own softmax"])],
        ["Keras, the same times 1.0", *(f"{loss:.3f}" for loss in keras["probabilities"])],
    ],
    caption="The same three examples, two classes",
)

# %% [markdown]
# With `from_logits=True` Keras computes our loss. Without it, Keras expects probabilities. It recognises the output of
# its own softmax and then uses the logits behind it. A multiplication by 1.0 hides those logits, and the third example
# gets another loss: Keras moves each probability to at least $10^{-7}$ before it takes the logarithm. So the loss stops
# near $-\ln 10^{-7} = 16.12$. How large is the gradient of the third example then? Guess before you run the cell.

# %%
claim(
    "from probabilities, Keras stops at a loss of 16.12, and the gradient of that example is 0",
    np.allclose([keras["logits"], keras["own softmax"]], [each, each], rtol=1e-4)
    and abs(keras["probabilities"][2] + np.log(1e-7)) < 0.01
    and np.abs(keras["gradient"][2]).max() == 0,
    f"loss {keras['probabilities'][2]:.2f} instead of {each[2]:.2f}, "
    f"gradient {keras['gradient'][2]}",
)

# %% [markdown]
# The example that is most wrong teaches the model nothing. The mean of two models' probabilities hides their logits in
# the same way. So let the model end in logits, and say `from_logits=True`. **Your turn:** change 30 to 15 in `three`,
# and run the cells from there on again. Which claim fails, and what is the gradient now? Change it back before you go
# on.
#
# The two knobs, label smoothing and class weights, also differ. Which parameters does Keras's loss for integer labels
# have?

# %%
claim(
    "Keras's SparseCategoricalCrossentropy has no label smoothing and no class weights",
    not {"label_smoothing", "weight", "class_weight"} & set(keras["parameters"]),
    ", ".join(keras["parameters"]),
)

# %% [markdown]
# In Keras, label smoothing needs one-hot labels and `CategoricalCrossentropy`. Class weights are an argument of `fit`,
# which turns them into a weight for each example. That raises a question: what is the *mean* of weighted losses?

# %%
w = weights[three_labels]
by_torch = F.cross_entropy(
    torch.from_numpy(three), torch.tensor(three_labels), weight=torch.from_numpy(weights)
).item()

# %%
claim(
    "PyTorch divides by the sum of the weights, Keras by the number of examples",
    np.isclose(by_torch, (w * each).sum() / w.sum(), rtol=1e-4)
    and np.isclose(keras["sum_over_batch_size"], (w * each).mean(), rtol=1e-4)
    and np.isclose(keras["mean_with_sample_weight"], by_torch, rtol=1e-4),
    f"{by_torch:.3f} and {keras['sum_over_batch_size']:.3f}; Keras with "
    f"`mean_with_sample_weight`: {keras['mean_with_sample_weight']:.3f}",
)

# %% [markdown]
# The same model, data and class weights give two losses. With plain gradient descent they also give steps of two
# lengths. You may answer that Adam removes a constant factor from its steps. That is true, but is the factor constant?
# It is the mean weight of a batch. We shuffle the payments and cut them into batches of 50.

# %%
shuffled = payments[torch.randperm(1000, generator=torch.Generator().manual_seed(0))]
factors = weight[shuffled].reshape(20, 50).mean(dim=1)
claim(
    "the factor between the two losses changes from batch to batch",
    factors.max() > 1.1 * factors.min(),
    f"{factors.min():.2f} to {factors.max():.2f} over {len(factors)} batches",
)


# %%
def adam_with(scale_of):
    """Two logits after 20 batches of Adam, each batch's loss multiplied by scale_of(batch)."""
    z = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([z], lr=0.05)
    for i, part in enumerate(shuffled.split(50)):
        loss = F.cross_entropy(z.expand(50, 2), part, weight=weight.double())
        optimizer.zero_grad()
        (scale_of(i) * loss).backward()
        optimizer.step()
    return z.detach()


plain = adam_with(lambda i: 1.0)
constant = (adam_with(lambda i: 1.5) - plain).abs().max().item()
as_keras = (adam_with(lambda i: factors[i].item()) - plain).abs().max().item()

# %%
claim(
    "Adam removes a constant factor, but not the difference between the two frameworks",
    constant < 1e-6 and as_keras > 1e-3,
    f"logits differ by {constant:.0e} with a constant factor, by {as_keras:.3f} with Keras's mean",
)

# %% [markdown]
# If a training script moves from one framework to the other and behaves differently, compare these means. Keras computes
# PyTorch's mean with `reduction="mean_with_sample_weight"`.
#
# ## What we measured
#
# No model came out of this lesson, so the ledger gets no row. The table continues that of lesson 02.

# %%
rows = [
    ["nan or inf", "–", "an exponential without a shift, or the log of a softmax"],
    ["exactly 0", "from a logit of 17", "a sure, right answer in float32: harmless for training"],
    ["never below the entropy of y'", f"{lowest:.3f}", f"label smoothing, α = {alpha}"],
    ["never above −ln 10⁻⁷", f"{-np.log(1e-7):.2f}", "Keras, from probabilities"],
    [
        "another loss in another framework",
        f"up to {factors.max():.2f} times",
        "the mean of weighted losses",
    ],
]
show.table(["the log says", "here", "look first for"], rows, caption="Beside a training log")

# %% [markdown]
# ## What to remember
#
# - Compute the loss from logits and shift first. Never take the logarithm of a softmax.
# - Test a gradient in float64, with central differences and a step near $10^{-5}$.
# - Label smoothing and class weights change what the probabilities mean, and frameworks average weighted losses
#   differently.
#
# ## Where this breaks down
#
# Finite differences assume a smooth function. At the kink of a ReLU, or with dropout switched on, they disagree with a
# correct gradient. They need two evaluations for each entry, so a large network is tested on a few entries or along
# random directions. Shifting first protects the loss alone: a network can overflow in any earlier layer, and then the
# logits are `inf` already. The derived answers of a smoothed or weighted model hold at the lowest point of the loss. A
# trained model is at best near it, so measure its calibration (lesson 04b).
#
# ## What real teams use
#
# They use the framework's fused loss on logits, and `torch.autograd.gradcheck` for a backward pass of their own. In
# mixed precision they let `torch.autocast` compute the loss in float32, even if the layers run in 16 bits. They stop at
# the first `nan` and keep the batch that caused it; `torch.autograd.set_detect_anomaly` names the operation. Against
# rare classes many teams leave the loss unweighted and move the threshold instead (lesson 08b).
#
# ## Further reading
#
# - N. J. Higham, *Accuracy and Stability of Numerical Algorithms*, 2nd edition, SIAM 2002, chapters 1 and 2.
# - P. Blanchard, D. J. Higham, N. J. Higham, *Accurately Computing the Log-Sum-Exp and Softmax Functions*, IMA Journal of
#   Numerical Analysis 41(4), 2021.
# - C. M. Bishop, *Pattern Recognition and Machine Learning*, Springer 2006, section 5.3.3 (finite differences).
# - C. Szegedy et al., *Rethinking the Inception Architecture for Computer Vision*, CVPR 2016, section 7 (label smoothing).
# - C. Elkan, *The Foundations of Cost-Sensitive Learning*, IJCAI 2001 (class weights and probabilities).
