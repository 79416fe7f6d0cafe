# %% [markdown]
# # 12 Distillation
#
# At 3 a.m. the cheap model that replaced the expensive one misreads every 3 that comes in. It was trained on the
# expensive one's answers, in a week without a 3, and checked in the same week. Its report praises the teacher, and
# does not say what the same cheap model would have reached alone.
#
# ## You will be able to
#
# - derive the loss with which a student follows a teacher, its gradient and the factor $T^2$, and check all three;
# - say what a teacher's answer holds beside the label, and show by a control that this is what helps;
# - compare a taught student with the same student alone over ten seeds, and say what the test does not cover;
# - name the settings in which a teacher does not help, before you pay for one;
# - find and mend what a student lacks of a class that it never saw.
#
# ## Before you start
#
# Softmax, cross-entropy and its gradient $\hat y - y$ are from lesson 02; temperature, validation part and spread
# over seeds from lesson 04. The teacher is lesson 04's network.

# %%
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from course_lib import data, torch_models
from course_lib.idioms import begin, claim, ledger, path, show

scratch = begin("12")
torch.set_num_threads(1)  # so small a network waits for its threads longer than it computes
path.picture(here="12")

# %% [markdown]
# ## What does a teacher say that a label does not?
#
# *Distillation* trains a small network, the *student*, on the answers of a large one, the *teacher*. Why not on the
# labels, which are right more often? Look at the teacher's answers first. It learned from the 1,122 images of the
# training part, the same split as in lesson 04; the 225 of the validation part and the 450 of the test part it has
# never seen.

# %%
train_part, test = data.digits()
fit, validation = data.hold_out(train_part)
teacher = torch_models.load_digits_cnn()  # models/digits_cnn, version 3
pixels = torch.from_numpy(fit.images.reshape(-1, 64))  # (1122, 64)
labels = torch.from_numpy(fit.labels)
teacher_logits = torch.tensor(torch_models.logits_of(teacher, fit.images))  # (1122, 10)
sure = F.softmax(teacher_logits, dim=1).max(dim=1).values
follows = float((teacher_logits.argmax(dim=1) == labels).float().mean())

# %%
claim(
    "on the images that it learned from, the teacher's first choice is the label in more than 99 "
    "of 100, and half of its answers are more than 99.5 % sure",
    follows > 0.99 and sure.median() > 0.995,
    f"agrees with {follows:.2%} of the labels; median {sure.median():.2%}",
)

# %% [markdown]
# So far it has told us the label again, at great cost. The rest of the answer is small, and differs from image to
# image. Two pictures with one label, and all ten probabilities of each on a logarithmic axis. To see more of it we
# divide the logits $v_j$ by a *temperature* $T$ before the softmax,
#
# $$q_j(T) = \frac{e^{v_j/T}}{\sum_{k=0}^{C-1} e^{v_k/T}}, \qquad v \in \mathbb{R}^C \text{ the teacher's logits},\; C = 10,\; T > 0 .$$


# %%
def softened(logits, temperature):
    return F.softmax(logits / temperature, dim=-1)


second = teacher_logits.topk(2, dim=1).indices[:, 1]  # the teacher's second choice
nines = []
for other in (3, 7):  # of the nines that it reads as nines, the one that comes nearest to `other`
    ours = (labels == 9) & (teacher_logits.argmax(dim=1) == 9) & (second == other)
    nines.append(int((softened(teacher_logits, 1.0)[:, other] * ours).argmax()))


# %%
def draw_answers(temperature):
    figure, axes = plt.subplots(1, 4, figsize=(9, 2.4), width_ratios=[1, 3, 1, 3])
    for k, image in enumerate(nines):
        axes[2 * k].imshow(fit.images[image], vmin=0, vmax=1)
        axes[2 * k].set_axis_off()
        bars = axes[2 * k + 1]
        colours = [show.BLUE if j != 9 else show.GREY for j in range(10)]
        bars.bar(range(10), softened(teacher_logits[image], temperature), color=colours)
        bars.set(yscale="log", ylim=(1e-8, 2), xticks=range(10), xlabel="digit")
    axes[1].set_ylabel("teacher's probability")


# %%
draw_answers(1.0)
likely = [softened(teacher_logits[i], 1.0)[[9, 3, 7]].tolist() for i in nines]
show.finding(
    "Two nines: the teacher finds one of them a little like a 3, the other a little like a 7",
    alt="Two handwritten nines, each with the teacher's ten probabilities at T = 1 on a "
    "logarithmic axis. Of 9, 3 and 7: "
    + "; ".join(", ".join(f"{p:.1e}" for p in each) for each in likely),
)

# %% [markdown]
# A label says the same of both. The teacher says which nine could nearly have been a 3. This part of the answer is
# called *dark knowledge*; at $T = 1$ it hardly weighs in a loss. Turn the temperature in a running notebook: at
# which $T$ do the wrong answers get a weight that a loss can feel, and when does the right one no longer stand out?

# %%
import io

import ipywidgets

slider = ipywidgets.FloatLogSlider(1.0, base=2, min=-1, max=6, step=0.5, description="T")
drawing = ipywidgets.Image(width=800)


# %%
def redraw(change=None):
    png = io.BytesIO()
    draw_answers(slider.value)
    plt.tight_layout()
    plt.savefig(png, format="png", facecolor="white")
    plt.close()
    drawing.value = png.getvalue()


redraw()
slider.observe(redraw, names="value")
ipywidgets.VBox([slider, drawing])

# %%
temperatures = [1, 2, 4, 8, 32]
beside = [float(1 - softened(teacher_logits, T).max(dim=1).values.mean()) for T in temperatures]
show.table(
    ["temperature", "probability beside the first choice, mean"],
    [[T, f"{share:.1%}"] for T, share in zip(temperatures, beside)],
)

# %%
claim(
    "at T = 1 the nine wrong classes share less than 2 %, at T = 4 between a tenth and a half, "
    "at T = 32 nearly what chance gives, 90 %",
    beside[0] < 0.02 and 0.1 < beside[2] < 0.5 and 0.75 < beside[-1] < 0.9,
    f"{beside[0]:.1%}, {beside[2]:.1%}, {beside[-1]:.1%}",
)

# %% [markdown]
# Is it knowledge, or noise? Noise would know nothing of the pictures. We ask the pictures themselves: for each
# image, which is the most similar one *of another class*, point by point? A teacher that guessed its second choice
# would name that class one time in nine.

# %%
distances = torch.cdist(pixels, pixels)
distances[labels[:, None] == labels[None, :]] = torch.inf  # other classes only
nearest_class = labels[distances.argmin(dim=1)]
agrees = float((second == nearest_class)[teacher_logits.argmax(dim=1) == labels].float().mean())

# %%
claim(
    "the second choice is the class of the most similar other picture three times as often as "
    "chance would have it, or more",
    agrees > 3 / 9,
    f"{agrees:.0%} against {1 / 9:.0%}",
)

# %%
similarity = torch.stack(
    [softened(teacher_logits, 4.0)[labels == c].mean(dim=0) for c in range(10)]
)
similarity.fill_diagonal_(0)
plt.figure(figsize=(4.6, 3.8))
plt.imshow(100 * similarity, vmin=0)
plt.colorbar(label="mean probability at T = 4 (%)")
plt.xticks(range(10))
plt.yticks(range(10))
plt.xlabel("what the teacher also considers")
plt.ylabel("written digit")
top = similarity.flatten().topk(3).indices.tolist()
pairs = [f"{i // 10} for {i % 10}" for i in top]
show.finding(
    f"The teacher knows which digits look alike; it comes nearest to taking {pairs[0]}",
    alt="Ten by ten map of the teacher's mean probabilities at temperature 4 for the wrong "
    f"digits, by written digit. Largest: {', '.join(pairs)}",
)

# %%
from scipy import stats

off = ~torch.eye(10, dtype=torch.bool)
mutual = stats.spearmanr(similarity[off], similarity.T[off]).statistic
claim(
    "likeness is mutual: where the teacher half sees a 9 in 3s, it tends to half see a 3 in 9s",
    mutual > 0.3,
    f"rank correlation of the map with its mirror image: {mutual:.2f}",
)

# %% [markdown]
# ## What does the student minimise, and where does $T^2$ come from?
#
# The student has logits $z \in \mathbb{R}^C$ and, at the same temperature, answers $p = \mathrm{softmax}(z/T)$. It
# is asked for the teacher's distribution $q$ by cross-entropy:
#
# $$L_T(z) = -\sum_j q_j \log p_j .$$
#
# **The gradient.** Let $u = z/T$. Lesson 02 derived, for any target distribution $q$ that adds up to 1, that
# $\partial L/\partial u_j = p_j - q_j$: from $\log p_j = u_j - \log\sum_k e^{u_k}$ comes $L = -\sum_j q_j u_j + \log
# \sum_k e^{u_k}$, and its derivative by $u_j$ is $-q_j + p_j$. The chain rule adds $\partial u_j/\partial z_j =
# 1/T$:
#
# $$\frac{\partial L_T}{\partial z_j} = \frac{1}{T}\,(p_j - q_j).$$
#
# **Hot.** For large $T$, $e^{z_j/T} \approx 1 + z_j/T$. With the means $\bar z = \frac1C \sum_k z_k$ and $\bar v$,
#
# $$p_j \approx \frac{1 + z_j/T}{C + C\bar z/T} \approx \frac1C\Bigl(1 + \frac{z_j - \bar z}{T}\Bigr)
# \quad\Longrightarrow\quad
# \frac{\partial L_T}{\partial z_j} \approx \frac{1}{C\,T^2}\,\bigl[(z_j - \bar z) - (v_j - \bar v)\bigr].$$
#
# So the gradient shrinks like $1/T^2$: one $1/T$ from the chain rule, one because the two distributions come closer
# to each other. Multiplied by $T^2$ it goes to a limit, and the limit is the gradient of $\frac{1}{2C}\sum_j [(z_j -
# \bar z) - (v_j - \bar v)]^2$. At high temperature the student *matches logits*, each taken relative to its mean.
# Hinton's paper assumes means of zero; the derivation shows that softmax takes care of it.
#
# Three statements, each held against autograd, on the teacher's logits and those of an untrained student.


# %%
def new_student(seed, hidden=16):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(64, hidden), nn.ReLU(), nn.Linear(hidden, 10))


def soft_loss(z, v, temperature):  # a mean over the examples, in nats, without the factor
    return -(softened(v, temperature) * F.log_softmax(z / temperature, dim=1)).sum(dim=1).mean()


def gradient(z, v, temperature):
    z = z.detach().requires_grad_()
    soft_loss(z, v, temperature).backward()
    return z.grad


# %%
v = teacher_logits.double()
z = new_student(0)(pixels).detach().double()
wrong_by = 0.0
for T in (1.0, 4.0, 20.0):
    by_hand = (softened(z, T) - softened(v, T)) / T / len(z)  # the mean over the examples: / N
    wrong_by = max(wrong_by, float((gradient(z, v, T) - by_hand).abs().max()))
claim("(p − q) / T is autograd's gradient", wrong_by < 1e-15, f"apart by {wrong_by:.0e}")

# %%
hot = np.geomspace(0.5, 512, 21)
size = np.array([gradient(z, v, T).norm().item() for T in hot])
centred = (z - z.mean(dim=1, keepdim=True)) - (v - v.mean(dim=1, keepdim=True))
limit = centred / 10 / len(z)
distance = [float((T**2 * gradient(z, v, T) - limit).norm() / limit.norm()) for T in hot]

# %%
plt.loglog(hot, size, "o-", ms=4, label="the loss as it stands")
plt.loglog(hot, hot**2 * size, "s-", ms=4, label="multiplied by T²")
plt.axhline(float(limit.norm()), color=show.GREY, ls="--", label="matching logits")
plt.xlabel("temperature T (logarithmic)")
plt.ylabel("length of the gradient")
plt.legend(loc="lower left")
slope = np.log(size[-1] / size[-5]) / np.log(hot[-1] / hot[-5])
show.finding(
    "Without T² the teacher falls silent as it gets hot",
    alt=f"Length of the gradient by temperature, both logarithmic: as it stands it falls with "
    f"slope {slope:.2f} at the end; multiplied by T squared it levels out at the dashed line",
)

# %%
claim(
    "at the hot end the gradient falls like T to the power −2",
    abs(slope + 2) < 0.05,
    f"power {slope:.3f} between T = {hot[-5]:.0f} and {hot[-1]:.0f}",
)

# %%
claim(
    "times T², it comes within 2 % of the gradient of matching logits, and a doubled T about "
    "halves the distance",
    distance[-1] < 0.02 and 1.8 < distance[-3] / distance[-1] < 2.2,
    f"at T = {hot[-3]:.0f} and {hot[-1]:.0f}: {distance[-3]:.2%} and {distance[-1]:.2%}",
)

# %% [markdown]
# Alone, the factor would only scale the loss. It matters where *two* terms meet. With the label $y$ and a weight $w$
# from 0 to 1, the student minimises
#
# $$(1 - w)\,\bigl(-\log \mathrm{softmax}(z)_y\bigr) \;+\; w\,T^2 L_T(z),$$
#
# and without $T^2$ every change of $T$ would secretly change $w$ too.
#
# **Where this goes wrong.** PyTorch has no loss of this name. People reach for `nn.KLDivLoss`. The *KL divergence*
# $\sum_j q_j \log(q_j/p_j)$ is $L_T$ minus the entropy of $q$, which does not depend on $z$: same gradient, and 0
# for a perfect student. Four ways to call it run without an error. Which is right?

# %%
import warnings

T = 4.0
p, q, log_p = softened(z, T), softened(v, T), F.log_softmax(z / T, dim=1)
entropy = -(q * q.log()).sum(dim=1).mean()
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    calls = {
        "KLDivLoss()(log_p, q)": nn.KLDivLoss()(log_p, q),
        'KLDivLoss(reduction="batchmean")(p, q)': nn.KLDivLoss(reduction="batchmean")(p, q),
        'KLDivLoss(reduction="batchmean")(q.log(), p)': F.kl_div(
            q.log(), p, reduction="batchmean"
        ),
        'KLDivLoss(reduction="batchmean")(log_p, q)': F.kl_div(log_p, q, reduction="batchmean"),
    }
right = float(soft_loss(z, v, T) - entropy)
show.table(
    ["call", "value", "cross-entropy minus entropy"],
    [[name, f"{value:.4f}", f"{right:.4f}"] for name, value in calls.items()],
)

# %%
print(said[0].message)

# %%
default, probabilities, swapped, mended = map(float, calls.values())
claim(
    "the default is ten times too small, a tenth for each class; probabilities in place of "
    "their logarithms give something negative; swapped, it is another number; the last is right",
    abs(10 * default / right - 1) < 1e-9
    and probabilities < 0
    and abs(swapped / right - 1) > 0.01
    and abs(mended / right - 1) < 1e-9,
    f"{default:.4f}, {probabilities:.4f}, {swapped:.4f}, {mended:.4f}",
)

# %% [markdown]
# The first argument wants *logarithms* of probabilities, the second probabilities. The default divides by the number
# of classes too, as PyTorch's own warning, printed above, says; `batchmean` by the number of examples alone. A
# training with a wrong call does not fail: it trains on something else, or with a tenth of the teacher's weight.
#
# ## How does one train a hundred students in seconds?
#
# One student proves nothing: lesson 04 showed how far seeds scatter. We want ten students for each setting, and many
# settings. Ours is tiny, so that one call can serve them all: `stack_module_state` gives each weight an axis in
# front, one entry for each student, and `vmap` runs the network along that axis.

# %%
student = new_student(0)


def run(weights, images):  # one student
    return torch.func.functional_call(student, weights, (images,))


run_all = torch.vmap(run)  # a crowd, each on its own images
run_on_same = torch.vmap(run, in_dims=(0, None))  # a crowd, all on the same images

counts = [sum(p.numel() for p in net.parameters()) for net in (teacher, student)]
products = [64 * 16 * 9 + 64 * 32 * 16 * 9 + 512 * 20 + 20 * 10, 64 * 16 + 16 * 10]

# %%
claim(
    "the student has less than a tenth of the teacher's weights, and under a hundredth of its "
    "multiplications",
    counts[1] < counts[0] / 10 and products[1] < products[0] / 100,
    f"{counts[1]:,} weights against {counts[0]:,}; {products[1]:,} multiplications for an image "
    f"against {products[0]:,}",
)

# %% [markdown]
# A *setting* says what a student is told: the weight $w$ of the teacher (0: alone), its temperature, and whose
# answers count as the teacher's. Students of one seed start from the same weights and see the same images in the
# same order in every setting, so that they may be compared in pairs.


# %%
class Setting(NamedTuple):
    weight: float = 1.0
    temperature: float = 4.0
    answers: torch.Tensor = teacher_logits  # (1122, 10), or (10, 1122, 10): by seed

    def targets(self):  # (10, 1122, 10)
        return softened(self.answers, self.temperature).expand(10, -1, -1)


# %%
def train(settings, rows, steps=600, batch=64, hidden=16):
    """rows: (10, n), by seed, the images it may see. Returns weights, settings × seeds in front."""
    seeds = list(range(10)) * len(settings)
    weights, _ = torch.func.stack_module_state([new_student(seed, hidden) for seed in seeds])
    w, T = torch.tensor([[s.weight, s.temperature] for s in settings]).T.repeat_interleave(10, 1)
    targets = torch.cat([s.targets() for s in settings])  # (students, 1122, 10)
    rows, who = rows.repeat(len(settings), 1), torch.arange(len(seeds))[:, None]
    draws = [torch.Generator().manual_seed(seed) for seed in seeds]
    order = torch.stack([torch.randint(rows.shape[1], (steps, batch), generator=g) for g in draws])
    optimizer = torch.optim.Adam(weights.values(), fused=True)  # the same steps, in one call
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1e-2, total_steps=steps)
    for step in range(steps):
        now = rows.gather(1, order[:, step])  # (students, batch)
        z = run_all(weights, pixels[now])
        hard = -F.log_softmax(z, -1).gather(2, labels[now][..., None])[..., 0]
        soft = -(targets[who, now] * F.log_softmax(z / T[:, None, None], -1)).sum(dim=-1)
        loss = ((1 - w) * hard.mean(dim=1) + w * T**2 * soft.mean(dim=1)).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return {name: weight.detach() for name, weight in weights.items()}


# %% [markdown]
# The losses are added up, not averaged, so each student's gradient is its own, and Adam treats every weight by
# itself. Do they really not disturb each other? The taught student of seed 0 in two crowds, in different company:

# %%
alone, taught = Setting(weight=0.0), Setting()
everything = torch.arange(len(labels)).expand(10, -1)  # each seed may see every image
mixed_company = train([alone, taught], everything, steps=20)
own_kind = train([taught], everything, steps=20)
apart = max(float((mixed_company[n][10] - own_kind[n][0]).abs().max()) for n in own_kind)

# %%
claim("after 20 steps they are the same but for rounding", apart < 1e-3, f"apart by {apart:.1g}")

# %% [markdown]
# ## Does a teacher help where labels are few?
#
# Labels cost money. Say that there are 100 labelled images, ten of each digit, drawn anew for each seed. Twenty
# students: ten alone, ten taught on *the same hundred images*. $T = 4$ is taken from the paper, which found 2.5 to 4
# best for its smallest student, and $w = 1$ is the plainest choice; neither was searched for. Note what this setting
# grants: our teacher learned from all 1,122 labels, so it knows more than the hundred. No test image was seen by
# teacher or student. What do you expect: the same, one point, five?


# %%
def draw_images(seed, count):  # the same number of each digit
    random = np.random.default_rng(seed)
    of_each = [np.flatnonzero(fit.labels == c) for c in range(10)]
    return torch.tensor(np.concatenate([random.choice(c, count // 10, False) for c in of_each]))


def right_of(students, part=test):  # (settings, seeds, images), True where read rightly
    logits = run_on_same(students, torch.from_numpy(part.images.reshape(-1, 64)))
    return (logits.argmax(dim=-1).numpy() == part.labels).reshape(-1, 10, len(part.labels))


# %%
hundred = torch.stack([draw_images(seed, 100) for seed in range(10)])
students = train([alone, taught], hundred)
right = right_of(students)
accuracy = right.mean(axis=2)  # (2, 10)
gain = accuracy[1] - accuracy[0]

# %%
for seed in range(10):
    plt.plot([0, 1], 100 * accuracy[:, seed], "o-", color=show.BLUE, alpha=0.6)
plt.plot([0, 1], 100 * accuracy.mean(axis=1), "s-", color=show.ORANGE, ms=9, lw=3, label="mean")
plt.xticks([0, 1], ["alone: 100 labels", "taught: the same 100 images"])
plt.xlim(-0.3, 1.3)
plt.ylabel("test accuracy (%)")
plt.legend()
show.finding(
    f"The taught student is better in {(gain > 0).sum()} of 10 pairs",
    alt="Test accuracy of ten pairs of students joined by lines: alone "
    f"{100 * accuracy[0].min():.1f} to {100 * accuracy[0].max():.1f} %, taught "
    f"{100 * accuracy[1].min():.1f} to {100 * accuracy[1].max():.1f} %",
)

# %%
claim(
    "on the same hundred images the teacher is worth more than 2 points on average",
    gain.mean() > 0.02,
    f"{accuracy[0].mean():.1%} alone, {accuracy[1].mean():.1%} taught: "
    f"{100 * gain.mean():.1f} points, from {100 * gain.min():.1f} to {100 * gain.max():.1f}",
)

# %% [markdown]
# ## Could that be luck?
#
# Suppose that teaching did nothing. Then "alone" and "taught" would be mere names: in each pair they could be
# swapped, and the difference $d_s$ of seed $s$ would be as likely as $-d_s$. Ten signs can fall in $2^{10} = 1024$
# ways, all equally likely. The *p-value* is the share of these ways in which the mean is at least as far from 0 as
# the one that we saw:
#
# $$p = \frac{1}{2^{10}}\;\#\Bigl\{\,\epsilon \in \{-1, 1\}^{10} : \Bigl|\sum_s \epsilon_s d_s\Bigr| \ge \Bigl|\sum_s d_s\Bigr|\,\Bigr\}.$$
#
# If all ten differences have one sign, only two of the ways qualify: all plus, all minus. No bell curve is assumed.
# It is the *sign-flip test*, a *permutation test*; counting signs alone gives the *sign test*.


# %%
def sign_flip_p(differences):
    signs = np.array(np.meshgrid(*[[-1, 1]] * len(differences))).reshape(len(differences), -1)
    reached = np.abs(differences @ signs)
    return float((reached >= abs(differences.sum()) - 1e-12).mean())  # equal sums, rounded


# %%
rank = stats.permutation_test((gain,), np.mean, permutation_type="samples", n_resamples=np.inf)
tests = {
    "sign-flip, by hand": sign_flip_p(gain),
    "sign-flip, SciPy's": rank.pvalue,
    "sign test": stats.binomtest(int((gain > 0).sum()), int((gain != 0).sum())).pvalue,
    "paired t, assumes a bell curve": stats.ttest_1samp(gain, 0).pvalue,
}
show.table(["test", "p-value"], [[name, f"{value:.1e}"] for name, value in tests.items()])

# %%
claim(
    "by hand it is SciPy's, and far below 5 %",
    abs(tests["sign-flip, by hand"] - rank.pvalue) < 1e-9 and rank.pvalue < 0.02,
    f"{rank.pvalue:.2%}; the least that ten pairs can give is {2 / 1024:.2%}",
)

# %% [markdown]
# What did the test draw anew? Seeds: first weights, choice of the hundred, order. It did not draw other *test
# images*, nor another *teacher*: all twenty students were measured on one set of 450 images and have one teacher.
# Where there is any effect on these images, more seeds push $p$ as low as you like, and tell nothing about new ones.
# So draw anew what can be drawn, thousands of times, with replacement (the *bootstrap*): the seeds, the images, or
# both.

# %%
difference = right[1].astype(int) - right[0]  # (10 seeds, 450 images): −1, 0 or 1
random = np.random.default_rng(0)


def interval(draw_seeds, draw_images, times=2000):
    means = []
    for _ in range(times):
        s = random.integers(0, 10, 10) if draw_seeds else np.arange(10)
        i = random.integers(0, 450, 450) if draw_images else np.arange(450)
        means.append(difference[s][:, i].mean())
    return np.percentile(means, [2.5, 97.5])


# %%
kinds = {"seeds": (True, False), "test images": (False, True), "both": (True, True)}
intervals = {name: interval(*kind) for name, kind in kinds.items()}
show.table(
    ["drawn anew", "gain, 95 % interval (points)"],
    [[name, f"{100 * low:.1f} to {100 * high:.1f}"] for name, (low, high) in intervals.items()],
)

# %%
claim(
    "with both drawn anew, the whole interval is still above 0, and wider than with seeds alone",
    intervals["both"][0] > 0 and np.ptp(intervals["both"]) > np.ptp(intervals["seeds"]),
    f"{100 * intervals['both'][0]:.1f} to {100 * intervals['both'][1]:.1f} points",
)

# %% [markdown]
# ## Is it the teacher's knowledge, or are softer labels enough?
#
# A sceptic says: soft labels keep a student from being too sure, and any softness would do; *label smoothing*
# (lesson 02b) costs nothing. So we take the teacher's answers apart. On the same hundred images:
#
# - *hard*: the teacher's first choice only, which on these images is nearly always the label;
# - *even*: its probability for the first choice, and the rest spread evenly over the nine others;
# - *shuffled*: its own ten numbers, but those of the nine others in random order, anew for each image.
#
# The last two leave the first choice as much as the teacher does. Only *which* wrong class gets what is taken away.
# Which of them will come close?

# %%
T, first = 4.0, F.one_hot(teacher_logits.argmax(dim=1), 10).bool()
peak = softened(teacher_logits, T).max(dim=1, keepdim=True).values
even = T * torch.where(first, peak, (1 - peak) / 9).log()  # logits whose softmax at T is that
torch.manual_seed(0)
others = teacher_logits[~first].reshape(-1, 9)
mixed = others.gather(1, torch.rand(others.shape).argsort(dim=1))
shuffled = teacher_logits.masked_scatter(~first, mixed)
hard = Setting(temperature=1.0, answers=20.0 * first)  # softmax of 20 and 0: sure to 7 digits
controls = {"alone": alone, "hard": hard, "shuffled": Setting(answers=shuffled),
            "even": Setting(answers=even), "teacher": taught}  # fmt: skip

# %%
new = right_of(train([hard, controls["shuffled"], controls["even"]], hundred)).mean(axis=2)
by_control = np.concatenate([accuracy[:1], new, accuracy[1:]])  # the first and last are trained
means = dict(zip(controls, by_control.mean(axis=1)))
for k, runs in enumerate(by_control):
    plt.plot(100 * runs, k + np.linspace(-0.2, 0.2, 10), "o", color=show.BLUE, alpha=0.5)
    plt.plot(100 * runs.mean(), k, "|", ms=28, mew=3, color=show.ORANGE)
plt.yticks(range(5), controls)
plt.xlabel("test accuracy (%); bar: mean of ten seeds")
show.finding(
    "As soft as the teacher, but without its knowledge, is not as good as the teacher",
    alt="Test accuracy of ten students for each kind of target. Means: "
    + ", ".join(f"{name} {100 * mean:.1f} %" for name, mean in means.items()),
)

# %%
beyond = by_control[4] - by_control[3]
claim(
    "the teacher beats even smoothing of the same strength, by a sign-flip test; its own numbers "
    "in random order are worse on average than evenly spread ones",
    beyond.mean() > 0.005 and sign_flip_p(beyond) < 0.05 and means["shuffled"] < means["even"],
    f"teacher − even: {100 * beyond.mean():.1f} points, p = {sign_flip_p(beyond):.2%}; shuffled "
    f"{means['shuffled']:.1%}, even {means['even']:.1%}",
)

# %%
claim(
    "the teacher's first choice alone is worth less than half a point, even smoothing more",
    abs(means["hard"] - means["alone"]) < 0.005 < means["even"] - means["alone"],
    f"hard {means['hard']:.1%}, alone {means['alone']:.1%}, even {means['even']:.1%}",
)

# %% [markdown]
# So the sceptic is right in part, and even smoothing is the cheaper thing to try first. What it lacks is *which*
# wrong class comes near for *which* image. Strange as it sounds: the useful part of the answer is the part that is
# wrong.
#
# ## Which temperature, which weight?
#
# Papers give numbers for their own models. We sweep both, ten students a point (three points we have: alone, and
# taught at $T = 4$, $w = 1$, which is on both axes). To choose is the validation part's job (225 labelled images
# that this setting, strictly, cannot afford; real teams with 100 labels choose by habit or by cross-validation).

# %%
weights_swept = [0.0, 0.25, 0.5, 1.0]
new = train([Setting(temperature=1.0), Setting(temperature=2.0), Setting(temperature=8.0),
             Setting(temperature=32.0), Setting(weight=0.25), Setting(weight=0.5)], hundred)  # fmt: skip
swept = {"T": [], "w": []}
for part in (validation, test):
    known, found = (right_of(crowd, part).mean(axis=2) for crowd in (students, new))
    swept["T"].append(np.stack([found[0], found[1], known[1], found[2], found[3]]))
    swept["w"].append(np.stack([known[0], found[4], found[5], known[1]]))

# %%
figure, axes = plt.subplots(1, 2, figsize=(9, 3.4), sharey=True)
for axis, name, x in zip(axes, "Tw", (temperatures, weights_swept)):
    for runs, part, colour, mark in zip(
        swept[name], ("validation", "test"), (show.SKY, show.ORANGE), ("o--", "s-")
    ):
        mean, spread = 100 * runs.mean(axis=1), 100 * runs.std(axis=1, ddof=1)
        axis.plot(x, mean, mark, color=colour, label=part)
        axis.fill_between(x, mean - spread, mean + spread, color=colour, alpha=0.2, lw=0)
axes[0].set(xscale="log", xlabel="temperature T, at w = 1 (logarithmic)", ylabel="accuracy (%)")
axes[0].set_xticks(temperatures, temperatures)
axes[0].minorticks_off()
axes[1].set(xlabel="weight w of the teacher, at T = 4")
axes[1].legend(loc="lower right")
at_T, at_w = (100 * swept[name][1].mean(axis=1) for name in "Tw")
show.finding(
    "Warm is best, neither cold nor hot; a part of the weight is as good as all of it",
    alt="Accuracy by temperature, and by the teacher's weight, mean and standard deviation of "
    f"ten seeds. On the test part: T = 1 {at_T[0]:.1f} %, 4 {at_T[2]:.1f} %, 8 {at_T[3]:.1f} %, "
    f"32 {at_T[4]:.1f} %; w = 0 {at_w[0]:.1f} %, 0.5 {at_w[2]:.1f} %, 1 {at_w[3]:.1f} %",
)

# %%
chosen = temperatures[int(swept["T"][0].mean(axis=1).argmax())]
claim(
    "the validation part chooses a temperature from 2 to 8; on the test part T = 4 beats "
    "T = 1 and T = 32 on average",
    2 <= chosen <= 8 and at_T[2] > max(at_T[0], at_T[4]),
    f"T = {chosen}; {at_T[2]:.1f} % against {at_T[0]:.1f} and {at_T[4]:.1f} %",
)

# %%
claim(
    "from w = 0.25 on, the mean changes by less than half of what the teacher brings",
    np.ptp(at_w[1:]) < 0.5 * (at_w[3] - at_w[0]),
    f"{np.ptp(at_w[1:]):.1f} points of {at_w[3] - at_w[0]:.1f}",
)

# %% [markdown]
# At $T = 1$ the teacher hardly says more than the label, as the table above showed. Very hot, the loss asks for all
# ten logits with equal care, those of hopeless classes too. That this is what harms is Hinton's explanation; we did
# not test it. In between the curve is flat beside its spread: no need to spend a week on the search.
#
# ## What if images are plenty and only labels are few?
#
# The usual case: a day's traffic, unlabelled. The teacher can answer all 1,122 images, and the student never needs a
# label. Two questions that reports leave out. Does it need *soft* answers, or just the teacher's first choice, as
# cheap labels? And what if nobody had 1,122 labels, so that the teacher, too, has only the hundred? We train such a
# teacher for each seed, on its hundred.

# %%
modest = []
for seed, rows in enumerate(hundred.numpy()):
    net = torch_models.train(fit.images[rows], fit.labels[rows], seed=seed, epochs=120)
    modest.append([torch_models.logits_of(net, part.images) for part in (fit, test)])
modest_answers = torch.tensor(np.array([answers for answers, _ in modest]))  # (10, 1122, 10)
modest_right = np.mean([logits.argmax(axis=1) == test.labels for _, logits in modest], axis=1)

# %%
on_all = train([taught, hard, Setting(1.0, 1.0, modest_answers), alone], everything)
*by_answers, with_labels = right_of(on_all).mean(axis=2)  # the last, alone, is for later
by_answers = np.array(by_answers)
gains = by_answers - accuracy[0]  # against alone, with 100 labels
named = ["soft, of the teacher with 1,122 labels", "its first choice only",
         "of a teacher with the same 100 labels, T = 1"]  # fmt: skip
show.table(
    ["answers on 1,122 unlabelled images", "accuracy", "gain over alone (points)", "sign-flip p"],
    [[name, f"{runs.mean():.1%}", f"{100 * g.mean():.1f}", f"{sign_flip_p(g):.1e}"]
     for name, runs, g in zip(named, by_answers, gains)],
)  # fmt: skip

# %%
claim(
    "all three beat the student alone, by a sign-flip test; the first two by more than 5 points",
    all(g.mean() > 0 and sign_flip_p(g) < 0.05 for g in gains)
    and gains[:2].mean(axis=1).min() > 0.05,
    ", ".join(f"{100 * g.mean():.1f}" for g in gains),
)

# %%
claim(
    "softness buys less than half a point here, if anything, over first choices",
    by_answers[0].mean() < by_answers[1].mean() + 0.005,
    f"soft {by_answers[0].mean():.2%}, first choices {by_answers[1].mean():.2%}",
)

# %%
claim(
    "a teacher with the same hundred labels lifts the student too, and itself stays above it",
    gains[2].mean() > 0.01 and modest_right.mean() > by_answers[2].mean(),
    f"alone {accuracy[0].mean():.1%}, taught {by_answers[2].mean():.1%}, that teacher "
    f"{modest_right.mean():.1%}",
)

# %% [markdown]
# Two different gains, then, under one name. On few images the student profits from what the teacher says *beside*
# the label. On many unlabelled images it profits from *labels*, which the teacher gives for nothing; that is
# *pseudo-labelling*, and the softness is not what does it. The last row is the honest form of "a student that beats
# itself": nobody in it knew more than 100 labels. What makes that teacher better than its student is likely its
# convolutions and its shifted pictures.
#
# ## When does a teacher not help?
#
# Now the student that is alone gets all 1,122 images *and labels*; the taught one sees the same images. Same student,
# same teacher, same $T$. And in between: how many labels does it take to make the teacher superfluous?

# %%
by_labels = {100: accuracy, 1122: np.stack([with_labels, by_answers[0]])}
for count in (20, 400):
    some = torch.stack([draw_images(seed, count) for seed in range(10)])
    by_labels[count] = right_of(train([alone, taught], some)).mean(axis=2)
label_counts = sorted(by_labels)
curve = 100 * np.array([by_labels[count] for count in label_counts])  # (counts, 2, seeds)
by_count = curve[:, 1] - curve[:, 0]

# %%
reach = stats.t.ppf(0.975, 9) * by_count.std(axis=1, ddof=1) / np.sqrt(10)
plt.errorbar(label_counts, by_count.mean(axis=1), reach, fmt="o-", capsize=4)
plt.axhline(0, color=show.GREY, ls="--")
plt.xscale("log")
plt.xticks(label_counts, label_counts)
plt.minorticks_off()
plt.xlabel("labelled images, the same for both (logarithmic)")
plt.ylabel("gain from the teacher (points)")
show.finding(
    "The more labels, the less the teacher is worth to this student; with all of them, nothing",
    alt="Gain in test accuracy, taught minus alone, by number of labelled images, mean and 95 % "
    "interval over ten seeds: "
    + ", ".join(f"{n}: {g:.1f} points" for n, g in zip(label_counts, by_count.mean(axis=1))),
)

# %%
claim(
    "with 100 images or fewer the teacher gains more than 2 points on average, with all of them "
    "no more than half a point",
    by_count[:2].mean(axis=1).min() > 2 and by_count[-1].mean() < 0.5,
    f"{by_count[:2].mean(axis=1).round(1).tolist()}; all: {by_count[-1].mean():.1f}",
)

# %% [markdown]
# With all labels the taught students may even look *worse*. Before that becomes a finding: is it the teaching, or
# were they not done? The same comparison, trained twice as long:

# %%
longer = 100 * right_of(train([alone, taught], everything, steps=1200)).mean(axis=2)
longer_gain = longer[1] - longer[0]
rows, intervals = [], []
for steps, g in ((600, by_count[-1]), (1200, longer_gain)):
    reach = stats.t.ppf(0.975, 9) * g.std(ddof=1) / np.sqrt(10)
    intervals.append((g.mean() - reach, g.mean() + reach))
    rows.append(
        [
            steps,
            f"{g.mean():.2f}",
            "{:.2f} to {:.2f}".format(*intervals[-1]),
            f"{sign_flip_p(g):.2f}",
        ]
    )
show.table(["steps", "gain (points)", "95 % interval over seeds", "sign-flip p"], rows)

# %%
low = by_count[1].mean() - stats.t.ppf(0.975, 9) * by_count[1].std(ddof=1) / np.sqrt(10)
claim(
    "whichever length, with all labels the interval over seeds ends below 1.5 points, while with "
    "100 it begins above that",
    max(high for _, high in intervals) < 1.5 < low,
    f"all labels: at most {max(high for _, high in intervals):.2f}; 100 labels: from {low:.2f}",
)

# %% [markdown]
# Read the table with care. "Not significant" alone would prove nothing: a test with ten seeds can miss a small
# effect. The *interval* says more: whatever effect there is on these test images, it is small.
#
# But Hinton's student had all 60,000 labels of MNIST, and the teacher halved its mistakes: 146 alone, 74 taught, 67
# the teacher itself. His student had two layers of 800 units; ours has one of 16. Could it be that ours has no room
# for what it is told? Same images, same labels, same teacher, sixteen times the width:

# %%
wide = right_of(train([alone, taught], everything, hidden=256))
wide_gain = 100 * np.diff(wide.mean(axis=2), axis=0)[0]
mistakes = (~wide).sum(axis=2).mean(axis=1)
claim(
    "a student of 256 units gains from its teacher with all the labels too, by a sign-flip test",
    wide_gain.mean() > 0.2 and sign_flip_p(wide_gain) < 0.05,
    f"{mistakes[0]:.1f} mistakes of 450 alone, {mistakes[1]:.1f} taught; "
    f"{wide_gain.mean():.2f} points, p = {sign_flip_p(wide_gain):.2%}",
)

# %% [markdown]
# That is Hinton's result in small, and only the width was changed (600 steps again; other widths and lengths are
# yours to try). So "does distillation help?" has no answer without three others: how many labels, how many images,
# how much room in the student. The figure that every report should give is this one: the same student alone, on all
# the labels that there are, trained until it is done.
#
# **Where this goes wrong.** One of the articles that this course grew from lists distillation beside pruning and
# quantization, to be done by "using optimisation tools, executing the model optimisation command" (003, section
# 3.2). The other four do not mention it. There is no such command. Pruning and quantization *change a model*;
# distillation *trains another one*, which needs data, time, and its own test. Conversion is checked by parity
# (lesson 06). Is the student the teacher in another form?

# %%
from course_lib.measure import parity

kept = {name: weight[0].clone() for name, weight in on_all.items()}  # taught, seed 0
student.load_state_dict(kept)
flat = torch.from_numpy(test.images.reshape(-1, 64))
with torch.inference_mode():
    student_logits = student(flat).numpy()
test_logits = torch_models.logits_of(teacher, test.images)
close = parity(test_logits, student_logits)

# %%
claim(
    "it is not: logits differ by more than 1, and some answers are others",
    close.max_abs_diff > 1 and close.agreement < 1,
    f"by up to {close.max_abs_diff:.1f}; {close.agreement:.1%} of the answers agree",
)

# %% [markdown]
# ## What does a student know of a class that it never saw?
#
# Hinton left all 3s out of the student's images. From the student's view, 3 is a class that does not exist. It still
# read most 3s rightly: 133 mistakes on 1,010 test 3s, and 14 after one number had been changed. Can ours? Five kinds
# of students, none of which ever meets a 3: one that learns from labels, and four temperatures.

# %%
no_threes = torch.where(labels != 3)[0].expand(10, -1)
warmths = [1, 2, 4, 8]
kinds = ["labels", *[f"T = {T}" for T in warmths]]
unaware = train([alone, *[Setting(temperature=float(T)) for T in warmths]], no_threes)
threes = test.labels == 3
seen = right_of(unaware)
before = seen[:, :, threes].mean(axis=2)  # (kinds, seeds)

# %%
claim(
    "students of the labels read less than one 3 in a hundred; at T = 8 they read more than "
    "half of them, without ever having seen one",
    before[0].mean() < 0.01 and before[4].mean() > 0.5,
    f"{before[0].mean():.0%} and {before[4].mean():.0%} of {threes.sum()} test 3s",
)

# %%
most_of_a_3 = max(float(softened(teacher_logits, T)[labels != 3, 3].max()) for T in warmths)
claim(
    "no answer that they learned from gave a 3 more than half",
    most_of_a_3 < 0.5,
    f"at most {most_of_a_3:.0%}, over all pictures and temperatures",
)

# %% [markdown]
# What gave it away? Each picture of an 8, a 5 or a 9 came with a number for "how much of a 3". But no picture was
# ever *mostly* a 3. Hinton's diagnosis: the last layer's bias for 3 has been pushed too low. He raised that one
# bias, by 3.5, the value that was best *on the test set*; the paper says so. We do not choose there. We take the
# value that is best on the validation part. (That needs some labelled 3s, after all, if only to set one number.)

# %%
raises = np.linspace(0, 12, 121)


def raised(students, part, bias):  # bias: for each student (R,), added to its logit for 3
    logits = run_on_same(students, torch.from_numpy(part.images.reshape(-1, 64))).numpy().copy()
    logits[..., 3] += np.asarray(bias)[:, None]
    return (logits.argmax(axis=-1) == part.labels).reshape(-1, 10, len(part.labels))


# %%
on_validation = [raised(unaware, validation, np.full(50, b)).mean(axis=2) for b in raises]
best = raises[np.argmax(on_validation, axis=0)]  # (kinds, seeds)
mended = raised(unaware, test, best.ravel())
after = mended[:, :, threes].mean(axis=2)
show.table(
    ["student", "3s right", "bias added", "3s right after", "all right", "all right after"],
    [[kind, f"{before[k].mean():.0%}", f"{best[k].mean():.1f}", f"{after[k].mean():.0%}",
      f"{seen[k].mean():.1%}", f"{mended[k].mean():.1%}"] for k, kind in enumerate(kinds)],
)  # fmt: skip

# %%
x = np.arange(len(kinds))
for shift, values, name, colour in ((-0.2, before, "as trained", show.SKY),
                                    (0.2, after, "one bias raised", show.BLUE)):  # fmt: skip
    mean, low, high = 100 * np.array([values.mean(1), values.min(1), values.max(1)])
    spread = [mean - low, high - mean]
    plt.bar(x + shift, mean, 0.38, yerr=spread, capsize=3, color=colour, label=name)
plt.xticks(x, kinds)
plt.ylabel("test 3s read rightly (%)")
plt.legend(loc="upper left")
show.finding(
    "Never shown a 3: a warm teacher tells of it, one bias does most of the rest",
    alt="Share of the test 3s read rightly by students that never saw a 3, mean and range "
    "of ten seeds, as trained and with the bias for 3 raised: "
    + "; ".join(
        f"{kind}: {b:.0%}, {a:.0%}" for kind, b, a in zip(kinds, before.mean(1), after.mean(1))
    ),
)

# %%
claim(
    "with the bias raised, students at T = 4 and 8 read more than 80 % of the 3s, and more than "
    "students of the labels with theirs raised",
    after[3:5].mean(axis=1).min() > 0.8 and after[3:5].mean(axis=1).min() > after[0].mean(),
    f"{after[3].mean():.0%} and {after[4].mean():.0%}; labels {after[0].mean():.0%}",
)

# %% [markdown]
# The student at $T = 1$ is the incident of the first lines; warmth and one number mend most of it. Check what your
# transfer set lacks before you distil: the average accuracy of such a student hides a class.
#
# ## What we measured
#
# The student's file: safetensors, as in lesson 04. Read back, it must be the same student.

# %%
from safetensors.torch import load_file, save_file

file = scratch / "student.safetensors"
save_file(kept, file)
again = new_student(1)
again.load_state_dict(load_file(file))
with torch.inference_mode():
    same = bool((again(flat).numpy() == student_logits).all())
claim("read back from its file, it answers alike to the last bit", same, f"{len(flat)} images")

# %%
student_accuracy = float((student_logits.argmax(axis=1) == test.labels).mean())
ledger.record(
    "digits_student", "safetensors", accuracy=student_accuracy, bytes=file.stat().st_size
)
teacher_row = next(row for row in ledger.rows("digits_cnn") if row.form == "safetensors")
claim(
    "the student's file has less than a tenth of the teacher's bytes, for 1 to 5 points",
    file.stat().st_size < teacher_row.bytes / 10
    and 0.01 < teacher_row.accuracy - student_accuracy < 0.05,
    f"{show.bytes_text(file.stat().st_size)} against {show.bytes_text(teacher_row.bytes)}; "
    f"{student_accuracy:.1%} against {teacher_row.accuracy:.1%}",
)

# %%
ledger.picture("The student is a fraction of its teacher's size, and pays in accuracy")

# %%
summary = {
    "100 labels": (accuracy[0], None),
    "soft answers on the same 100 images": (accuracy[1], gain),
    "soft answers on 1,122 images": (by_answers[0], gains[0]),
    "all 1,122 labels": (curve[-1, 0] / 100, None),
    "soft answers on the same 1,122 images": (curve[-1, 1] / 100, by_count[-1] / 100),
    "256 units, all labels": (wide[0].mean(axis=1), None),
    "256 units, soft answers on the same images": (wide[1].mean(axis=1), wide_gain / 100),
}
show.table(
    ["what the student was given", "accuracy, mean of ten seeds", "gain over alone (points)"],
    [
        [name, f"{runs.mean():.1%}", "" if g is None else f"{100 * g.mean():.1f}"]
        for name, (runs, g) in summary.items()
    ],
)

# %% [markdown]
# ## What to remember
#
# - The loss is cross-entropy at temperature $T$, times $T^2$; its gradient before the factor is $(p - q)/T$.
# - Few images: soft answers help. Many unlabelled images: first choices do as well. All labels: only with room to
#   spare.
# - Compare with the same student alone, in pairs over seeds, and give the interval.
#
# ## Where this breaks down
#
# Small data, small models, one teacher, two widths of student, one test part. The gain depends on the length of
# training, and we fixed it. Our teacher had seen every image of the transfer set with its label; on traffic that is
# new to it, it is likely less sure and more often wrong. A student also inherits its teacher's mistakes and its
# gaps.
#
# ## What real teams use
#
# Distillation is how small language models are made: students train on text that a larger model wrote (first
# choices, no softness) or on its probabilities for each next token. DistilBERT and TinyBERT also match inner layers.
# Hugging Face's TRL and NVIDIA's Model Optimizer have it built in. It combines with what you know:
# quantization-aware training with the float model as teacher. Check the licence first: several providers forbid
# training competing models on their answers.
#
# ## Further reading
#
# - G. Hinton, O. Vinyals, J. Dean, *Distilling the Knowledge in a Neural Network*, arXiv:1503.02531, 2015.
# - C. Buciluǎ, R. Caruana, A. Niculescu-Mizil, *Model Compression*, KDD 2006.
# - J. Ba, R. Caruana, *Do Deep Nets Really Need to be Deep?*, NeurIPS 2014: matching logits.
# - S. Stanton et al., *Does Knowledge Distillation Really Work?*, NeurIPS 2021.
# - L. Beyer et al., *Knowledge Distillation: A Good Teacher Is Patient and Consistent*, CVPR 2022.
# - R. Müller, S. Kornblith, G. Hinton, *When Does Label Smoothing Help?*, NeurIPS 2019.
