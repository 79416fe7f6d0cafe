# %% [markdown]
# # 04b How sure is an accuracy?
#
# At 3 a.m. the new model is rolled back, because it scored 98.9 % and the old one 99.3 %. In the morning a colleague
# trains it again with another seed. Now it scores 99.6 %. Was the rollback right?
#
# ## You will be able to
#
# - derive an interval for an accuracy, and compute how often it contains the truth;
# - separate two sources of uncertainty: other test images, and another seed;
# - test whether one model is better than another, and say how many test images that takes;
# - find four kinds of leakage, and measure how much each one raises an accuracy;
# - check whether a model's probabilities can be trusted, and repair them with a temperature.
#
# ## Before you start
#
# You need lesson 04: three parts of the data, the training, and the meaning of a 95 % interval. You also need the
# *standard deviation*, and the *binomial distribution*: how often a coin shows heads in $n$ tosses, for any chance of
# heads.

# %%
from itertools import combinations

import matplotlib.pyplot as plt
import numpy as np
import torch
from scipy import stats
from sklearn.datasets import load_digits
from sklearn.neighbors import KNeighborsClassifier

from course_lib import data, models, torch_models
from course_lib.idioms import begin, claim, guess, path, reveal, show
from course_lib.measure import disagreements
from course_lib.pipeline import open_session

scratch = begin("04b")
torch.set_num_threads(1)  # the network is so small that more threads would only wait
path.picture(here="04b")

# %% [markdown]
# ## How do I compute a 95 % interval for an accuracy?
#
# A model is right on $k$ of $n$ test images. The measured accuracy is $\hat a = k/n$. The true accuracy $a$ is the
# share of all images of this kind that it would get right. By the binomial distribution, $\hat a$ scatters around $a$
# with standard deviation $\sqrt{a(1-a)/n}$. If this scatter is like a bell curve, $\hat a$ lies within $z = 1.96$
# standard deviations of $a$ in about 95 % of the cases.
#
# In practice we know $\hat a$ and not $a$. So we keep every $a$ from which the measured $\hat a$ is at most $z$
# standard deviations away:
#
# $$(\hat a - a)^2 \le z^2\,\frac{a(1-a)}{n} \;\Longleftrightarrow\;
# \Bigl(1 + \frac{z^2}{n}\Bigr)a^2 - \Bigl(2\hat a + \frac{z^2}{n}\Bigr)a + \hat a^2 \le 0 .$$
#
# The last expression is a parabola in $a$ that opens upwards. It is negative between its two zeros. These zeros are the
# ends of *Wilson's interval*. Many textbooks use a shorter formula, $\hat a \pm z\sqrt{\hat a(1-\hat a)/n}$. It has the
# measured accuracy under the root in place of the true one.


# %%
def wilson(right, count, z=1.959964):
    share = right / count
    A, B, C = 1 + z**2 / count, 2 * share + z**2 / count, share**2
    root = np.sqrt(np.maximum(B**2 - 4 * A * C, 0))
    return (B - root) / (2 * A), (B + root) / (2 * A)


def textbook(right, count, z=1.959964):
    share = right / count
    reach = z * np.sqrt(share * (1 - share) / count)
    return share - reach, share + reach


# %%
counts = np.arange(451)
of_scipy = [stats.binomtest(k, 450).proportion_ci(method="wilson") for k in counts]
difference = np.abs(np.transpose(wilson(counts, 450)) - np.array(of_scipy)).max()
claim("for every count of 450, ours is SciPy's", difference < 1e-6, f"{difference:.0e}")

# %% [markdown]
# Does the short formula matter? Say the true accuracy is 99.8 %, and 1,000 teams each test on 450 images of their own.
# Each reports the textbook's 95 % interval. How many of these intervals contain 99.8 %?

# %%
guess(
    "covered",
    "Which share of the textbook's 95 % intervals contains a true accuracy of 99.8 %?",
    share=True,
)

# %% [markdown]
# We do not need 1,000 teams. The binomial distribution gives the probability of each count of right answers, and each
# count has its interval.


# %%
def coverage(interval, a, count=450):
    """The share of all test sets of this size whose interval contains the true accuracy a."""
    right = np.arange(count + 1)
    low, high = interval(right, count)
    return stats.binom.pmf(right, count, a)[(low <= a) & (a <= high)].sum()


reveal("covered", coverage(textbook, 0.998))

# %%
true = np.linspace(0.9, 0.999, 400)
covered = {f.__name__: np.array([coverage(f, a) for a in true]) for f in (wilson, textbook)}
plt.plot(100 * true, 100 * covered["wilson"], color=show.BLUE, label="Wilson")
plt.plot(100 * true, 100 * covered["textbook"], "--", color=show.ORANGE, label="textbook")
plt.axhline(95, color=show.GREY, lw=0.8, ls=":", label="promised, 95 %")
plt.xlabel("true accuracy (%)")
plt.ylabel("intervals that contain it (%)")
plt.legend(loc="lower left")
show.finding(
    "Near 100 %, the textbook's interval breaks its promise",
    alt="Coverage of two intervals for 450 images. Wilson's zigzags around 95 %; the textbook's "
    f"falls to {100 * covered['textbook'].min():.0f} % as the true accuracy nears 100 %",
)

# %%
claim(
    "on average over these accuracies, Wilson's interval keeps its promise within half a point, "
    "the textbook's misses by more than 2",
    abs(covered["wilson"].mean() - 0.95) < 0.005 and covered["textbook"].mean() < 0.93,
    f"{100 * covered['wilson'].mean():.1f} % and {100 * covered['textbook'].mean():.1f} %",
)

# %% [markdown]
# The textbook's interval fails near 100 %, where good models are. If a model makes no mistake, its interval goes from
# 100 % to 100 %. With a true accuracy of 99.8 % this happens to 41 % of the teams, because $0.998^{450} \approx 0.41$.
# None of their intervals contains 99.8 %. Both curves zigzag because only whole numbers of images can be right.
#
# ## What does a seed fix?
#
# The interval above is about other test images. The seed is a second source of uncertainty, because another seed gives
# another network. What exactly does a seed fix? We train for one epoch, twice with the same seed.

# %%
train_part, test = data.digits()
fit, validation = data.hold_out(train_part)


def weights_of(network):
    return torch.cat([p.detach().ravel() for p in network.parameters()])


short = {"images": fit.images, "labels": fit.labels, "epochs": 1}
one, again = (weights_of(torch_models.train(seed=0, **short)) for _ in range(2))
claim("here, the same seed gives the same weights, bit for bit", torch.equal(one, again))

# %% [markdown]
# "Here" means on this machine, with these versions and one thread. A seed fixes the *sequence* of random numbers. It
# does not fix which part of the program uses which number. If a colleague adds one draw at the start, everything after
# it changes:

# %%
torch.manual_seed(0)
undisturbed = weights_of(torch_models.digits_cnn())
torch.manual_seed(0)
torch.rand(1)  # the colleague's line
disturbed = weights_of(torch_models.digits_cnn())
moved = float((undisturbed != disturbed).float().mean())
claim("one extra draw changes more than 99 % of the weights", moved > 0.99, f"{100 * moved:.1f} %")

# %% [markdown]
# A seed does not fix the order of additions either. That order depends on the library, the processor and the number of
# threads. In floating point it matters:

# %%
numbers = np.float32([1e8, 1, -1e8])
forwards = (numbers[0] + numbers[1]) + numbers[2]
otherwise = (numbers[0] + numbers[2]) + numbers[1]
claim("two orders, two sums", (forwards, otherwise) == (0, 1), f"{forwards:g} and {otherwise:g}")

# %% [markdown]
# Training can make such a small difference larger, step by step. So do not promise "the same bits". Promise "as good,
# within the spread over seeds", and measure the spread.
#
# ## How much do seeds change the accuracy?
#
# We train 20 networks: ten seeds with shifted images, and the same ten without. To save time, each trains for ten
# epochs and not for thirty as in lesson 04, so they read less well than the network there.


# %%
def ten_seeds(shift):
    return [
        torch_models.train(fit.images, fit.labels, seed=seed, epochs=10, shift=shift)
        for seed in range(10)
    ]


def logits_of_all(networks, images):
    return np.array([torch_models.logits_of(network, images) for network in networks])


def accuracy_of(logits):
    return (logits.argmax(axis=-1) == test.labels).mean(axis=-1)


with_shifts, without = ten_seeds(0.5), ten_seeds(0.0)

# %%
test_logits = logits_of_all(with_shifts, test.images)  # (10, 450, 10)
accuracies, plain = accuracy_of(test_logits), accuracy_of(logits_of_all(without, test.images))
print("with shifts:", *(f"{100 * a:.2f}" for a in sorted(accuracies)))
print("without:    ", *(f"{100 * a:.2f}" for a in sorted(plain)))

# %% [markdown]
# Take $r$ runs, here the first five with shifts. Their mean is $\bar a$, and their standard deviation is $s$. Two
# questions are easily confused. If runs scatter like a bell curve, their answers are two 95 % intervals:
#
# - *Where will the next run land?* In $\bar a \pm t\, s\sqrt{1 + 1/r}$.
# - *Where is the mean over all seeds?* In $\bar a \pm t\, s / \sqrt{r}$.
#
# Here $t$ replaces 1.96, because $s$ itself is estimated from few runs. It is the point below which 97.5 % of
# *Student's distribution* lies. This bell-shaped curve has wider tails if its number of *degrees of freedom*, here
# $r - 1$, is small.

# %%
runs = np.array([2, 3, 5, 10, 20, 1000])
t = stats.t.ppf(0.975, runs - 1)
next_run, mean_of_all = t * np.sqrt(1 + 1 / runs), t / np.sqrt(runs)
rows = [[r, f"{a:.2f} s", f"{b:.2f} s"] for r, a, b in zip(runs, next_run, mean_of_all)]
show.table(["runs", "the next run: ±", "the mean: ±"], rows, caption="95 % intervals over seeds")

# %%
every = np.arange(2, 1001)
reach = stats.t.ppf(0.975, every - 1) * np.sqrt(1 + 1 / every)
claim(
    "for 2 to 1,000 runs, the interval for the next run never falls below ±1.96 s",
    bool((reach > 1.9599).all()) and mean_of_all[-1] < 0.07,
    f"with 1,000 runs ±{reach[-1]:.3f} s, and ±{mean_of_all[-1]:.2f} s for the mean",
)

# %% [markdown]
# More runs make the interval for the mean as narrow as you like. The interval for the next run has a limit: for every
# number of runs, $t$ is above 1.96 and the root is above 1. The next run still scatters, even if you know the mean
# exactly.
#
# Some reports show another band: from the lowest to the highest of five runs. How often does the next run land in it?

# %%
guess(
    "between",
    "How often does the next run land between the lowest and the highest of five?",
    share=True,
)

# %%
many = np.random.default_rng(1).normal(size=(100_000, 6))  # five runs, and the next one
low, high = many[:, :5].min(axis=1), many[:, :5].max(axis=1)
inside = float(((low < many[:, 5]) & (many[:, 5] < high)).mean())
reveal("between", inside, "100,000 times five runs and the next one")
claim(
    "the range of five runs holds the next one in two of three cases", abs(inside - 2 / 3) < 0.01
)

# %% [markdown]
# Why two of three? Each of the six runs is equally likely to be the lowest of all six, and equally likely to be the
# highest. So the next run is the lowest or the highest in two of six cases. A range of five runs is a 67 % interval. Do
# not compare it with a 95 % interval.
#
# You deploy one run, so you need the interval for the next run. We draw it beside Wilson's. Both are 95 % intervals, so
# we may compare them.

# %%
five = accuracies[:5]
mean, s = five.mean(), five.std(ddof=1)
spans = {
    "other test images,\nsame network": wilson(round(five[0] * 450), 450),
    "another seed,\nsame test images": mean + np.array([-1, 1]) * next_run[2] * s,
    "mean over seeds,\nsame test images": mean + np.array([-1, 1]) * mean_of_all[2] * s,
}
widths = [100 * (high - low) for low, high in spans.values()]

# %%
plt.figure(figsize=(6, 2.8))
for row, (low, high) in enumerate(spans.values()):
    colour = (show.BLUE, show.ORANGE, show.GREEN)[row]
    plt.plot([100 * low, 100 * high], [-row, -row], color=colour, lw=7, solid_capstyle="butt")
    plt.text(100 * low, 0.2 - row, f"{widths[row]:.1f} points")
plt.plot(100 * five, np.full(5, -1), "|", color="black", ms=12)
plt.yticks([0, -1, -2], spans)
plt.ylim(-2.5, 0.7)
plt.xlabel("accuracy (%); black lines: the five runs, equal ones coincide")
said = [f"{name}: {100 * a:.1f} % to {100 * b:.1f} %" for name, (a, b) in spans.items()]
show.finding(
    f"95 % intervals: {widths[0]:.1f} points (other images), {widths[1]:.1f} (another seed)",
    alt="; ".join(said).replace("\n", " "),
)

# %%
sure = np.sqrt(4 / stats.chi2.ppf([0.975, 0.025], 4))
claim(
    "five runs leave s itself uncertain by a factor of more than 4 from end to end",
    sure[1] / sure[0] > 4,
    f"95 % interval for the true spread: {sure[0]:.2f} s to {sure[1]:.2f} s",
)

# %% [markdown]
# The first two widths are close, and $s$ is uncertain. So these data cannot tell which of the two uncertainties is
# larger. Report both. More seeds do not make the test part larger, because all runs read the same 450 images.
#
# ## Is the new model better than the old one?
#
# The folder `models/digits_cnn` holds two trained networks. Version 1 comes from lesson 01, and version 2 is the same
# network in int8. Version 3 comes from lesson 04, where it was trained for longer and with shifts. Versions 1 and 3,
# the old and the new model, read the same test images.

# %%
old = open_session(models.path("digits_cnn", 1).read_bytes(), threads=1)
old_logits = old.run(None, {"pixels": test.images[:, None]})[0]
new_logits = torch_models.logits_of(torch_models.load_digits_cnn(), test.images)
versus = disagreements(test.labels, old_logits.argmax(axis=1), new_logits.argmax(axis=1))
for name, logits in (("old", old_logits), ("new", new_logits)):
    right = int((logits.argmax(axis=1) == test.labels).sum())
    low, high = wilson(right, 450)
    print(f"{name}: {right} of 450 right, {100 * low:.1f} % to {100 * high:.1f} %")
print(f"only the old one right: {versus.first_only}, only the new one right: {versus.second_only}")

# %% [markdown]
# The two intervals overlap, but this comparison wastes information. Both models read the same images, and an image that
# is hard for one is often hard for the other. Images on which both are right, or both wrong, say nothing about which
# model is better. Only the *discordant* images count. On these, exactly one model is right.
#
# If both models were equally good, each discordant image would be a toss of a fair coin. Let $d$ be the number of
# discordant images. One model alone is right on $m$ of them, the other on $d - m$, and $m$ is the smaller count. The
# chance of a split at least as uneven is
#
# $$p = \min\Bigl(1,\; 2\sum_{i=0}^{m} \binom{d}{i}\, 2^{-d}\Bigr).$$
#
# It is called the *p-value* of *McNemar's test*. By custom, people claim a difference only if $p$ is below 0.05.

# %%
for d in (4, 5, 6):
    print(f"{d} against 0: p = {2 * 0.5**d:.4f}")
claim(
    "the p-value is above 0.05: we may not claim that the new model is more accurate",
    versus.p > 0.05,
    f"{versus}",
)

# %% [markdown]
# Even five against none is not enough, and six would be. This does not show that the two models are equally good. It
# only shows that these 450 images cannot tell them apart.
#
# Was the rollback at 3 a.m. right? On 450 images, 98.9 % and 99.3 % are five mistakes and three. At the least, the
# discordant images are two against none, and then $p = 2 \cdot 2^{-2} = 0.5$. Every other split of these mistakes gives
# a larger $p$. So the two numbers gave no reason for the rollback.
#
# How many images would be enough? Say the old model is truly right on 98.5 % and the new one on 99.5 %. On 1.2 % of the
# images only the new one is right, on 0.2 % only the old one. Both models read the same test images. How many images
# give us a chance of 80 % to notice the difference? This chance is called the *power* of the test.

# %%
guess(
    "enough",
    "98.5 % against 99.5 %: how many test images give McNemar's test a power of 80 %?",
    low=100,
    high=100_000,
)


# %%
def power(count, new_only=0.012, old_only=0.002):
    """The chance of p < 0.05 on `count` images, given the two shares of discordant images."""
    both, d = new_only + old_only, np.arange(300)
    most = stats.binom.ppf(0.025, d, 0.5) - 1  # so many for the old model still give p < 0.05
    noticed = stats.binom.cdf(most, d, old_only / both)
    return float((stats.binom.pmf(d, count, both) * noticed).sum())


# %% [markdown]
# What if each model had its own test images? Then there are no pairs, and every error counts: 1.5 % for the old model,
# 0.5 % for the new one. If both were equally good, each error would be equally likely to come from either model. So the
# same function answers this question too.

# %%
sizes = np.arange(100, 3501, 50)
paired = np.array([power(n) for n in sizes])
apart = np.array([power(n, new_only=0.015, old_only=0.005) for n in sizes])
enough, enough_apart = (int(sizes[values >= 0.8][0]) for values in (paired, apart))
reveal("enough", enough, f"with test images of their own, {enough_apart:,} for each model")
plt.plot(sizes, 100 * paired, color=show.BLUE, label="same images, paired")
plt.plot(sizes, 100 * apart, "--", color=show.ORANGE, label="other images for each model")
plt.axhline(80, color=show.GREY, lw=0.8, ls=":", label="wanted, 80 %")
plt.axvline(450, color="black", lw=0.8, label="our test part")
plt.xlabel("test images")
plt.ylabel("chance to notice the difference (%)")
plt.legend(loc="lower right")
show.finding(
    "One point of difference needs more than twice our test part, even paired",
    alt="Power against the number of test images. The paired test reaches 80 % at "
    f"{enough:,} images, two separate test sets at {enough_apart:,} each; with 450 images the "
    f"paired test has {100 * power(450):.0f} %",
)

# %%
claim(
    "with 450 images the paired test misses a difference of one point more often than not",
    power(450) < 0.5,
    f"power {100 * power(450):.0f} %",
)

# %% [markdown]
# ## How do I get an interval for a loss, or for any other measure?
#
# Wilson's formula is only for answers that are right or wrong. The *bootstrap* works for many other measures. Draw 450
# of the 450 test images *with replacement*: some come twice, some not at all. Compute the measure on them, and repeat
# this 2,000 times. The middle 95 % of the results are the interval. We use it for the loss. The loss has a value for
# each image, so it may tell us more than five discordant images.


# %%
def losses_of(logits, labels):
    """Logits (..., N, C) and labels (N,) to the cross-entropy of each example, (..., N)."""
    z = logits - logits.max(axis=-1, keepdims=True)
    of_label = np.take_along_axis(z, np.broadcast_to(labels, z.shape[:-1])[..., None], -1)
    return np.log(np.exp(z).sum(axis=-1)) - of_label[..., 0]


def bootstrap(values, draws=2000):
    """A value for each image to the 95 % interval of its mean."""
    rows = np.random.default_rng(0).integers(0, len(values), (draws, len(values)))
    return np.quantile(values[rows].mean(axis=1), [0.025, 0.975])


# %%
of_old, of_new = (losses_of(logits, test.labels) for logits in (old_logits, new_logits))
both = {"old": of_old, "new": of_new, "old minus new, image by image": of_old - of_new}
rows = [
    [name, f"{values.mean():.3f}", "{:.3f} to {:.3f}".format(*bootstrap(values))]
    for name, values in both.items()
]
show.table(["loss of", "mean (nats)", "95 % interval"], rows, caption="Two models, one test part")

# %%
low, high = bootstrap(of_old - of_new)
claim(
    "the interval for the paired difference of the losses lies above 0, the separate ones overlap",
    low > 0 and bootstrap(of_old)[0] < bootstrap(of_new)[1],
    f"the old model costs {low:.3f} to {high:.3f} nats more",
)

# %% [markdown]
# So we may claim a lower loss for the new model, but not a higher accuracy. To compare two models, draw images, and
# take both models' losses on each drawn image, as in the third row. The bootstrap also has a limit. If a model makes no
# mistake on the test part, no draw contains a mistake, and the interval for its accuracy goes from 100 % to 100 %.
#
# ## Is the training better, or only this network?
#
# McNemar's test compares two *networks*. To compare two *ways to train*, such as with shifts and without, you need
# several seeds of each. Then one run is one measurement. The *permutation test* does not assume a bell curve. If shifts
# had no effect, every division of the runs into two groups would be equally likely. For each division, compute the
# difference of the two means. The p-value is the share of divisions with a difference at least as large as the measured
# one.


# %%
def permutation_p(first, second):
    """Two arrays of runs to the two-sided p-value, over all ways to deal the runs."""
    every, size = np.concatenate([first, second]), len(first)
    groups = np.array(list(combinations(range(len(every)), size)))
    means = every[groups].mean(axis=1)
    others = (every.sum() - size * means) / (len(every) - size)
    return float((np.abs(means - others) >= abs(first.mean() - second.mean()) - 1e-12).mean())


# %%
smallest = {}
for r in (2, 3, 4, 5):
    ranks = np.arange(2.0 * r)  # each run of the second group is better than each of the first
    smallest[r] = permutation_p(ranks[:r], ranks[r:])
claim(
    "three runs against three cannot give a p-value below 0.05, four against four can",
    smallest[3] > 0.05 > smallest[4],
    ", ".join(f"{r} against {r}: {p:.3f}" for r, p in smallest.items()),
)

# %% [markdown]
# There are 20 ways to choose three of six runs, and at least two of them are as extreme as the best result:
# $2/20 = 0.1$. Lesson 04 trained three networks with shifts and three without, so this test could not have found a
# difference there. Plan at least four runs for each way. We have ten. We compare them on the test images, and again
# after we have moved all test images one point to the right.

# %%
moved_test = np.zeros_like(test.images)
moved_test[:, :, 1:] = test.images[:, :, :-1]
on_moved = [accuracy_of(logits_of_all(nets, moved_test)) for nets in (with_shifts, without)]
for name, (a, b) in {"as they are": (accuracies, plain), "moved": on_moved}.items():
    gained, p_value = 100 * (a.mean() - b.mean()), permutation_p(a, b)
    print(f"{name}: shifts change the mean accuracy by {gained:+.2f} points, p = {p_value:.2g}")

# %%
claim(
    "on moved images the difference between the two ways to train has a p-value below 0.001",
    permutation_p(*on_moved) < 0.001,
    f"means {100 * on_moved[0].mean():.1f} % and {100 * on_moved[1].mean():.1f} %",
)

# %% [markdown]
# Look at the first p-value. If it is above 0.05, you may not claim a difference on the unmoved test images, in either
# direction. On moved images the difference is clear. Both p-values are about other seeds and these 450 images, not
# about new writers. **Now do exercises 04b.1 and 04b.2**: the interval for the next run, and a test for two ways to
# train that share their seeds.
#
# ## How much can leakage raise an accuracy?
#
# *Leakage* means that the parts share information that they should not share. We measure four kinds. In the first two
# the labels are random. So an honest accuracy is one in ten for ten classes, and one half for two.
#
# ### Copies before the split
#
# To have more images, someone makes noisy copies first and splits afterwards. The model is the simplest one: it answers
# with the label of the most similar known image, its *nearest neighbour*.

# %%
flat = fit.images.reshape(-1, 64)
random = np.random.default_rng(0)
dice = random.integers(0, 10, len(flat))  # labels without meaning


def copies(rows, count=5):
    noisy = np.repeat(flat[rows], count, axis=0)
    return noisy + random.normal(0, 0.02, noisy.shape), np.repeat(dice[rows], count)


def neighbour_accuracy(learn, measure):
    return KNeighborsClassifier(1).fit(*learn).score(*measure)


# %%
pixels, labels = copies(np.arange(len(flat)))
first, second = np.array_split(random.permutation(len(labels)), 2)
copied_first = neighbour_accuracy((pixels[first], labels[first]), (pixels[second], labels[second]))
half, rest = np.array_split(random.permutation(len(flat)), 2)
split_first = neighbour_accuracy(copies(half), copies(rest))
claim(
    "copied first: over 90 % of random labels are predicted; split first: about one in ten",
    copied_first > 0.9 and 0.05 < split_first < 0.2,
    f"{100 * copied_first:.1f} % and {100 * split_first:.1f} %",
)

# %% [markdown]
# ### Selection before the split
#
# There are 100 patients with 5,000 measured values each, and the labels are coin tosses. Someone keeps the 20 values
# that correlate most with the labels. The patients are split into halves only after that.

# %%
guess("selected", "Selected first, split afterwards: which accuracy on coin tosses?", share=True)

# %%
nature = np.random.default_rng(0)
values, coins = nature.normal(size=(100, 5000)), nature.choice([-1, 1], 100)
learn, measure_on = np.arange(50), np.arange(50, 100)


def score(chosen_on):
    together = np.abs(values[chosen_on].T @ coins[chosen_on])
    best = np.argsort(-together)[:20]
    weights = values[learn][:, best].T @ coins[learn]
    return float((np.sign(values[measure_on][:, best] @ weights) == coins[measure_on]).mean())


everyone, learners = score(np.arange(100)), score(learn)
reveal("selected", everyone, f"selected on the learning half alone: {100 * learners:.0f} %")
claim(
    "selection before the split reaches over 75 % on coin tosses; after it, between 25 and 75 %",
    everyone > 0.75 and 0.25 < learners < 0.75,
    f"{100 * everyone:.0f} % and {100 * learners:.0f} %",
)

# %% [markdown]
# ### The best of many
#
# Twenty models are equally good, and each has a true accuracy of 97 %. Someone tests all of them on 225 images and
# reports the best result.

# %%
measured = random.binomial(225, 0.97, size=(10_000, 20)) / 225
best = measured.max(axis=1).mean()
claim(
    "the best of 20 equal models shows more than 1.5 points too much, on average",
    best > 0.985,
    f"{100 * best:.1f} % instead of 97.0 %",
)

# %% [markdown]
# This is why you choose on the validation part and report from the test part. We assumed here that the models make
# their errors independently. If they make the same errors, the best result is less exaggerated.
#
# ### The same people on both sides
#
# The file does not say who wrote a digit. But it seems to keep the order in which the forms were scanned, so neighbours
# in the file often have the same writer. We cut the file into three blocks, learn from two and test on the third. Then
# we do the same with random thirds.

# %%
whole = load_digits()
pictures, digits = whole.data / 16, whole.target


def mistakes(third):
    learn = np.setdiff1d(np.arange(len(digits)), third)
    return 1 - neighbour_accuracy(
        (pictures[learn], digits[learn]), (pictures[third], digits[third])
    )


blocks = np.mean([mistakes(b) for b in np.array_split(np.arange(len(digits)), 3)])
mixed = np.mean([mistakes(b) for b in np.array_split(random.permutation(len(digits)), 3)])
claim(
    "blocks of the file give more than twice as many mistakes as random thirds",
    blocks > 2 * mixed,
    f"{100 * blocks:.1f} % against {100 * mixed:.1f} %",
)

# %% [markdown]
# If we are right about the order, the larger number is closer to what a new customer will see. (Lesson 21 tests the
# order.) **Now do exercise 04b.3**: find copies across two parts.
#
# ## If the model says 90 %, is it right nine times in ten?
#
# A model is *calibrated* if its probabilities agree with how often it is right. Of all answers to which it gives 90 %,
# nine in ten are right. (Quantization uses the word "calibration" for something else.) We take the answers of the ten
# networks with shifts, and sort them into five bins by their probability.


# %%
def softmax(logits):
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


EDGES = [0, 0.6, 0.8, 0.95, 0.99, 1]
right = (test_logits.argmax(axis=2) == test.labels).ravel()


def by_bin(claimed):
    """For each bin of probabilities: the number of answers, what they claim, how many are right."""
    which = np.digitize(claimed, EDGES[1:-1], right=True)
    bins = [which == each for each in range(len(EDGES) - 1)]
    return [(b.sum(), claimed[b].mean(), right[b].mean()) for b in bins if b.any()]


claimed = softmax(test_logits).max(axis=2).ravel()
rows = [[n, f"{100 * c:.1f} %", f"{100 * r:.1f} %"] for n, c, r in by_bin(claimed)]
show.table(["answers", "claimed", "right"], rows, caption="What the networks claim, in five bins")

# %%
claim(
    "on average the networks claim less than they reach",
    claimed.mean() < right.mean(),
    f"claimed {100 * claimed.mean():.2f} %, right {100 * right.mean():.2f} %",
)

# %% [markdown]
# These networks claim too little. Many claim too much: in 2017 Guo and others found this in the modern networks of that
# time. In 2021 Minderer and others measured newer networks. The most recent ones, above all those without convolutions,
# were among the best calibrated. So measure your own.
#
# A single number can repair much of this: divide all logits by a *temperature* $T$. Choose the $T$ with the lowest loss
# on the *validation* part. No answer changes, because division by a positive number keeps the order of the logits.


# %%
on_validation = logits_of_all(with_shifts, validation.images)
temperatures = np.geomspace(0.25, 4, 121)
losses = [losses_of(on_validation / T, validation.labels).mean() for T in temperatures]
T = temperatures[np.argmin(losses)]
before, after = (losses_of(test_logits / each, test.labels).mean() for each in (1, T))
claim(
    "a temperature below 1, chosen on the validation part, lowers the loss on the test part",
    T < 1 and after < before,
    f"T = {T:.2f}: from {before:.4f} to {after:.4f} nats",
)

# %%
repaired = softmax(test_logits / T).max(axis=2).ravel()
for values, style, name in ((claimed, "o--", "as trained"), (repaired, "s-", f"T = {T:.2f}")):
    points = 100 * np.array(by_bin(values))[:, 1:]
    plt.plot(*points.T, style, label=name)
plt.plot([50, 100], [50, 100], color=show.GREY, lw=0.8, label="calibrated")
plt.xlabel("claimed (%), mean of a bin")
plt.ylabel("right (%)")
plt.legend(loc="lower right")
gaps = [100 * (right.mean() - values.mean()) for values in (claimed, repaired)]
show.finding(
    f"One temperature: the mean gap goes from {gaps[0]:.1f} points to {gaps[1]:.1f}",
    alt="Share of right answers against the claimed probability, in five bins. As trained, the "
    "points lie above the diagonal; after the temperature most of them lie nearer to it",
)

# %% [markdown]
# On digits, the probabilities are now right on average. The lowest bin holds few answers, so its point scatters. What
# do the networks say about an image that shows no digit? We give them random noise.

# %%
noise = np.random.default_rng(0).random((1000, 8, 8), dtype=np.float32)
on_noise = softmax(logits_of_all(with_shifts, noise) / T).max(axis=2)
confident = (on_noise > 0.9).mean(axis=1)
claim(
    "each network reads more than one noise image in twenty as a digit, with over 90 %",
    min(confident) > 0.05,
    f"between {100 * min(confident):.0f} % and {100 * max(confident):.0f} % of them",
)

# %% [markdown]
# Softmax divides 100 % among ten digits, and "none of these" is not one of them. So a threshold on the probability does
# not protect a service against other inputs (lesson 21). **Now do exercise 04b.4**: measure calibration in one number.
#
# ## What we measured
#
# No model came out of this lesson, so the ledger gets no row.

# %%
rows = [
    ["other test images", f"±{widths[0] / 2:.2f} points", "Wilson's interval, 450 images"],
    ["another seed", f"±{widths[1] / 2:.2f} points", "five runs, the next one"],
    ["one point of difference", f"{enough:,} images", "paired test, power 80 %"],
    ["copies before the split", f"{100 * copied_first:.0f} % on random labels", "honest: 10 %"],
    ["selection before the split", f"{100 * everyone:.0f} % on coin tosses", "honest: 50 %"],
    ["the best of 20", f"{100 * (best - 0.97):+.1f} points", "225 images, independent errors"],
    [
        "the same writers",
        f"{blocks / mixed:.1f} times the mistakes",
        "blocks against random thirds",
    ],
]
show.table(["uncertainty", "size", "measured with"], rows, caption="What an accuracy leaves open")

# %% [markdown]
# ## What to remember
#
# - An accuracy needs an interval. Near 100 %, use Wilson's interval.
# - Compare two networks with a paired test on the same images. Compare two ways to train over seeds, with four runs or
#   more of each.
# - Leakage can give a high accuracy even for random labels. Split first, and keep groups together.
#
# ## Where this breaks down
#
# All intervals here assume that production sends images of the same kind as the test part. They say nothing about drift
# (lesson 21). Accuracies near 100 % do not scatter like a bell curve, so Student's intervals are rough here, and may
# reach above 100 %. If you run many tests, some p-values fall below 0.05 by chance. The blocks of the file stand for
# writers only if we are right about the order. One temperature repairs an average. It cannot help if the model claims
# too much for one class and too little for another.
#
# ## What real teams use
#
# They fix the test part and the number of seeds before the first training. They publish the mean, the spread and the
# interval. For other measures than accuracy, such as the F1 score or the area under the ROC curve, they use the
# bootstrap (`scipy.stats.bootstrap`). scikit-learn has `GroupKFold` and `TimeSeriesSplit` against leakage, and
# `Pipeline`, which fits scaling and selection on the training part alone. `CalibratedClassifierCV` calibrates.
#
# ## Further reading
#
# - E. B. Wilson, *Probable Inference, the Law of Succession, and Statistical Inference*, Journal of the American
#   Statistical Association 22, 1927; L. D. Brown, T. T. Cai, A. DasGupta, *Interval Estimation for a Binomial
#   Proportion*, Statistical Science 16, 2001.
# - Q. McNemar, *Note on the Sampling Error of the Difference Between Correlated Proportions or Percentages*,
#   Psychometrika 12, 1947.
# - X. Bouthillier et al., *Accounting for Variance in Machine Learning Benchmarks*, MLSys 2021.
# - S. Kapoor, A. Narayanan, *Leakage and the Reproducibility Crisis in Machine-Learning-Based Science*, Patterns 4,
#   2023.
# - C. Guo, G. Pleiss, Y. Sun, K. Q. Weinberger, *On Calibration of Modern Neural Networks*, ICML 2017; M. Minderer et
#   al., *Revisiting the Calibration of Modern Neural Networks*, NeurIPS 2021.
