# %% [markdown]
# # 21 Drift
#
# At 3 a.m. an alert says "the inputs have drifted, p = 10⁻⁴⁰". You wake the team, and the model is as good as ever. A
# month later there is no alert, and every fifth answer is wrong.
#
# ## You will be able to
#
# - tell covariate, label and concept drift apart, and say which of them a test of the inputs can see;
# - compare two samples by four tests, and measure how often each one raises a false alarm;
# - choose a threshold for your sample size, your number of features and your number of looks;
# - estimate accuracy and class shares without labels, and say when the estimate is wrong;
# - stop broken inputs at the door, before any statistics.
#
# ## Before you start
#
# You need a trained classifier (lesson 04), its contract (lesson 08), and the meaning of a 95 % interval (lesson 04).
# The model here is version 3 of the digits network. It was trained without the 225 pictures that we call the
# *reference*, and without the 450 test pictures, which stand for *today*.

# %%
import matplotlib.pyplot as plt
import numpy as np
from scipy import optimize, stats
from sklearn.datasets import load_digits
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import LeaveOneGroupOut, StratifiedKFold, cross_val_score
from threadpoolctl import threadpool_limits

from course_lib import data, models
from course_lib.flights import flights
from course_lib.idioms import begin, claim, guess, path, reveal, show
from course_lib.measure import wilson
from course_lib.pipeline import Field, open_session

threadpool_limits(1)  # these computations are small: more threads would only wait
scratch = begin("21")
path.picture(here="21")

# %%
session = open_session(models.path("digits_cnn", 3).read_bytes(), threads=1)
train, today = data.digits()
reference = data.hold_out(train)[1]


def logits(images):
    return session.run(None, {"pixels": images[:, None].astype(np.float32)})[0]


def accuracy(images, labels):
    return float((logits(images).argmax(axis=1) == labels).mean())


# %% [markdown]
# ## What can drift?
#
# *Drift* means that today's data come from another source than the data of training. Call the input $x$ and the label
# $y$. Training saw pairs from one distribution, which can be written in two ways:
#
# $$P(x, y) \;=\; P(x)\, P(y \mid x) \;=\; P(y)\, P(x \mid y) .$$
#
# So three things can change:
#
# - *Covariate drift*: the inputs $P(x)$ change. The right answer to an input, $P(y \mid x)$, stays the same.
#   Example: a new camera adds noise, but a 7 is still a 7.
# - *Label drift*: the classes' shares $P(y)$ change. The look of a class, $P(x \mid y)$, stays the same.
#   Example: it is tax season, and the forms hold more 8s and 9s.
# - *Concept drift*: $P(y \mid x)$ changes. The same input now has another right answer. Example: the post office
#   exchanges the numbers of two districts, 3 and 8.
#
# We make all three with the test pictures, the covariate drift once with little noise and once with much.


# %%
def noisy(images, size, seed=0):
    noise = np.random.default_rng(seed).normal(0, size, images.shape)
    return np.clip(images + noise, 0, 1).astype(np.float32)


# %%
often = np.where(today.labels >= 8, 10.0, 1.0)
drawn = np.random.default_rng(0).choice(450, 450, p=often / often.sum())
exchanged = np.array([0, 1, 2, 8, 4, 5, 6, 7, 3, 9])
worlds = {
    "no drift": (today.images, today.labels),
    "little noise": (noisy(today.images, 0.05), today.labels),
    "much noise": (noisy(today.images, 0.30), today.labels),
    "mostly 8 and 9": (today.images[drawn], today.labels[drawn]),
    "3 and 8 exchanged": (today.images, exchanged[today.labels]),
}
right = {name: accuracy(*world) for name, world in worlds.items()}
rows = [[name, f"{share:.3f}"] for name, share in right.items()]
show.table(["today", "accuracy"], rows, caption="What drift made by hand does to the accuracy")

# %%
lost = {name: right["no drift"] - share for name, share in right.items()}
claim(
    "little noise and other class shares cost at most 3 points, the other two more than 10",
    max(lost["little noise"], lost["mostly 8 and 9"]) < 0.03
    and min(lost["much noise"], lost["3 and 8 exchanged"]) > 0.1,
    ", ".join(f"{100 * points:.1f}" for points in lost.values()) + " points",
)

# %% [markdown]
# Drift and harm are different things. To compute these accuracies we needed labels. In production there are none when
# the answer goes out. So people test the inputs instead.
#
# ## How do I test whether two samples come from the same source?
#
# Start with one number for each picture, the *confidence*: the largest probability in the model's answer. Sort the
# confidences of the reference. The share of pictures up to the value $v$ is the *cumulative share* $F(v)$. Let $G(v)$ be
# the same for today's pictures. The *Kolmogorov–Smirnov test*, KS for short, takes the largest gap between the two
# curves:
#
# $$D = \max_v |F(v) - G(v)| .$$


# %%
def probabilities(images, temperature=1.0):
    scaled = logits(images) / temperature
    powers = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def confidence(images):
    return probabilities(images).max(axis=1)


# %%
before, after = confidence(reference.images), confidence(noisy(today.images, 0.15))
values = np.sort(np.concatenate([before, after]))
F = np.searchsorted(np.sort(before), values, side="right") / len(before)
G = np.searchsorted(np.sort(after), values, side="right") / len(after)

# %%
widest = np.abs(F - G).argmax()
plt.plot(values, F, label="F: reference")
plt.plot(values, G, "--", label="G: today, noise 0.15")
plt.vlines(values[widest], F[widest], G[widest], color="black", label="D")
plt.xscale("logit")  # most confidences are close to 1: this scale spreads them out
plt.xlim(0.4, 0.99999)
plt.xlabel("confidence v")
plt.ylabel("share of pictures up to v")
plt.legend()
show.finding(
    f"The largest gap between the curves is D = {abs(F - G)[widest]:.2f}",
    alt="Two rising curves over the confidence. The curve of the noisy pictures lies above that of "
    f"the reference; the widest vertical gap is {abs(F - G)[widest]:.2f}",
)

# %% [markdown]
# SciPy computes the same gap and adds a *p-value*. It answers one question: if both samples came from the same source,
# how often would chance alone make a gap of this size or larger?

# %%
test = stats.ks_2samp(before, after, method="asymp")
claim(
    "our D is SciPy's, and its p-value is below 0.001",
    np.isclose(np.abs(F - G).max(), test.statistic) and test.pvalue < 0.001,
    f"D = {test.statistic:.3f}, p = {test.pvalue:.0e}",
)

# %% [markdown]
# We raise an alarm if p is below a *level* such as 0.05. Then 5 % of the comparisons *without* drift raise an alarm too.
# These are *false alarms*. The share of real drifts that raise an alarm is called the *power* of the test.
#
# A picture has 64 pixels, and KS takes one number. So we run KS on each pixel, take the smallest p, and multiply it by
# 64. A section below explains the factor.
#
# ## Does an alarm mean that the model is worse?
#
# We add noise with a standard deviation of 0.05. You would hardly see it. KS will find it: its p-value is below
# 10⁻²⁰. How much accuracy does the model lose?

# %%
guess("lost", "p is below 10⁻²⁰. How many points of accuracy are lost?", low=0, high=50)


# %%
def smallest_p(ours, theirs):
    """KS on each of the 64 pixels: the smallest p-value, times 64."""
    flat = (each.reshape(len(each), 64) for each in (ours, theirs))
    p = stats.ks_2samp(*flat, axis=0, method="asymp").pvalue
    return float(min(1, 64 * p.min()))


p_of = {name: smallest_p(reference.images, images) for name, (images, _) in worlds.items()}
reveal("lost", max(0, 100 * lost["little noise"]))

# %%
rows = [[name, f"{p:.1g}", p < 0.05, f"{right[name]:.3f}"] for name, p in p_of.items()]
show.table(["today", "p (64 pixels)", "alarm", "accuracy"], rows, caption="Alarm is not harm")

# %% [markdown]
# Look at the second row and at the last one.

# %%
claim(
    "little noise raises the alarm without harm, the concept drift does harm without an alarm",
    p_of["little noise"] < 1e-20 and p_of["3 and 8 exchanged"] > 0.5,
    f"p = {p_of['little noise']:.0e} and {p_of['3 and 8 exchanged']:.2f}",
)

# %% [markdown]
# Both errors happen. Some pixels at the rim are exactly 0 in every picture. With noise, such a pixel is larger in half
# of the pictures. The model does not care. But KS compares order and not size, so it sees a large gap. Label
# drift raises an alarm too, since 8s and 9s have ink in other places. The concept drift changed no pixel at all. A test
# that gets only $x$ cannot see a change of $P(y \mid x)$: it gets the same numbers as before. The same is true for every
# method that works without labels.
#
# Compare also little noise and much noise. Their p-values are equal, and their harm is not. A p-value says how sure we
# can be that *something* changed. It does not say how much.
#
# **Your turn:** replace 0.05 by 0.01 in `worlds` and run the cells down to here again. Is there still an alarm?
#
# ## How does drift look when nobody made it?
#
# The digits' file holds a natural drift. People wrote the digits on forms, and the rows stand in the order of the
# forms. Most forms begin with 0, 1, …, 9 three times. We look for this pattern.

# %%
ordered = load_digits()
x, y = ordered.data / 16, ordered.target
pattern = np.tile(np.arange(10), 3)
starts = [i for i in range(len(y) - 29) if (y[i : i + 30] == pattern).all()]
writer = np.searchsorted(starts, np.arange(len(y)), side="right")
claim("the pattern begins 12 times, first in row 0", len(starts) == 12 and starts[0] == 0, starts)

# %%
show.images(
    [ordered.images[start + 4] / 16 for start in starts],
    finding_title="Twelve blocks of the file, twelve ways to write a 4",
    alt="Twelve small pictures of the digit 4, one from each block: open and closed at the top, "
    "with strokes of different thickness and slope",
)

# %% [markdown]
# Lesson 04 split the file at random, so the same people wrote training and test pictures. In production a new customer
# writes differently. We train a small model, a logistic regression, once split by order and once at random.

# %%
model, half = LogisticRegression(max_iter=1000), len(y) // 2
first_then_second = model.fit(x[:half], y[:half]).score(x[half:], y[half:])
mixed = []
for seed in range(5):
    order = np.random.default_rng(seed).permutation(len(y))
    one, other = order[:half], order[half:]
    mixed.append(model.fit(x[one], y[one]).score(x[other], y[other]))

# %%
new_hands = cross_val_score(model, x, y, groups=writer, cv=LeaveOneGroupOut())
same_hands = cross_val_score(model, x, y, cv=StratifiedKFold(12, shuffle=True, random_state=0))

# %%
claim(
    "a model of the first half reads the second half worse than models read a random half; a "
    "block left out of training is read worse than a twelfth drawn at random",
    first_then_second < np.mean(mixed) - 0.01 and new_hands.mean() < same_hands.mean() - 0.01,
    f"{first_then_second:.3f} against {np.mean(mixed):.3f}, {new_hands.mean():.3f} against "
    f"{same_hands.mean():.3f}",
)

# %% [markdown]
# The random split promised an accuracy that new writers did not get. If your data have an order (time, customer,
# hospital), split them by that order. Otherwise you hide the drift from yourself. Now the file arrives as a stream: we
# train on the first 900 rows, then read 128 pictures a day.

# %%
model.fit(x[:900], y[:900])
days = [slice(at, at + 128) for at in range(900, len(y) - 127, 128)]
stream = np.array([model.score(x[day], y[day]) for day in days])
spread = 100 * (stream.max() - stream.min())
by_chance = stats.chi2_contingency([128 * stream, 128 * (1 - stream)]).pvalue

# %%
plt.plot(range(1, len(days) + 1), stream, "o-", label="a day's accuracy")
plt.axhline(np.mean(mixed), color=show.ORANGE, ls="--", label="mean of the random splits")
plt.ylim(0.8, 1)
plt.xlabel("day (128 pictures each)")
plt.ylabel("accuracy")
plt.legend(loc="upper right")
show.finding(
    f"The worst day is {spread:.0f} points below the best, and nobody changed anything",
    alt="A curve of the accuracy on seven days: " + ", ".join(f"{share:.2f}" for share in stream),
)

# %%
claim(
    "days of equal accuracy would differ this much in less than 5 % of the cases",
    by_chance < 0.05,
    f"best and worst day are {spread:.1f} points apart, chi-squared test: p = {by_chance:.3f}",
)

# %% [markdown]
# The accuracy falls and rises again. Drift can be like this: a difficult customer, a weekend, a season. If you retrain
# because of day 6, its problem may be over on day 7.
#
# ### A year of flights
#
# The second example is larger: 60,000 flights that left New York in 2013, 5,000 of each month, with the weather at
# departure. The model answers one question: will the flight arrive more than 15 minutes late? We train on January and
# February, hold back 30 % of them, and then ask month by month.

# %%
year = flights()
winter = year.month <= 2
held_back = np.random.default_rng(0).random(len(year.late)) < 0.3
forecast = HistGradientBoostingClassifier(random_state=0)
forecast.fit(year.features[winter & ~held_back], year.late[winter & ~held_back])
chance = forecast.predict_proba(year.features)[:, 1]

# %%
parts = {"held back": winter & held_back} | {month: year.month == month for month in range(3, 13)}
late = {name: float(year.late[part].mean()) for name, part in parts.items()}
expected = {name: float(chance[part].mean()) for name, part in parts.items()}
auc = {name: roc_auc_score(year.late[part], chance[part]) for name, part in parts.items()}

# %% [markdown]
# The mean of the model's probabilities is the share of late flights that it expects. We draw it beside what happened. We
# also compute the *AUC*: the probability that a late flight gets a higher score than a punctual one.

# %%
months = list(range(3, 13))
gap = {month: 100 * (expected[month] - late[month]) for month in months}
plt.plot(months, [100 * late[month] for month in months], "o-", label="were late")
plt.plot(months, [100 * expected[month] for month in months], "s--", label="expected by the model")
plt.xticks(months)
plt.xlabel("month of 2013")
plt.ylabel("late flights (%)")
plt.legend()
show.finding(
    f"The winter model is off by {min(gap.values()):+.0f} to {max(gap.values()):+.0f} points",
    alt="Two curves over the months March to December. The share of late flights has peaks in "
    "April, summer and December; the expected share stays near 20 % and misses all of them",
)

# %%
off = sum(abs(points) > 4 for points in gap.values())
claim(
    "on flights held back, the model expects the share of late ones within 2 points; in at least "
    "three later months it is off by more than 4",
    abs(expected["held back"] - late["held back"]) < 0.02 and off >= 3,
    f"{100 * (expected['held back'] - late['held back']):+.1f} points, then {off} months",
)

# %%
worse = [month for month in months if auc[month] < auc["held back"] - 0.03]
claim(
    "in at least three later months the AUC is more than 0.03 below that of the flights held back",
    len(worse) >= 3,
    f"AUC {auc['held back']:.3f}, later down to {min(auc.values()):.3f}; {len(worse)} months",
)

# %% [markdown]
# Natural drift is a mixture. The weather changed, and so did the share of late flights. Label drift alone would leave the
# AUC as it was: it changes only how many flights are late, not what late and punctual flights look like. Here the AUC
# fell in several months, so more than $P(y)$ changed. Note also that the model expected about the same share all year.
# The true share was between 13 and 34 %. We come back to this below.
#
# ## Which PSI is too large?
#
# Dashboards often show the *population stability index*, PSI. Cut the reference's values into $B$ bins with equal
# counts. Let $p_b$ be the reference's share in bin $b$, and $q_b$ today's share. Then
#
# $$\text{PSI} = \sum_{b=1}^{B} (q_b - p_b)\, \ln\frac{q_b}{p_b} .$$
#
# The usual rule says: below 0.1 all is well, above 0.25 raise an alarm. The rule does not name a sample size. Take 100
# pictures, 100 others from the same source, and ten bins. How often is PSI above 0.25?

# %%
guess("psi", "100 against 100, no drift, ten bins: how often is PSI above 0.25?", share=True)


# %%
def psi(ours, theirs, bins=10):
    """PSI of two samples, with the edges of the bins at the quantiles of `ours`."""
    edges = [-np.inf, *np.quantile(ours, np.arange(1, bins) / bins), np.inf]
    p, q = (np.histogram(each, edges)[0] / len(each) for each in (ours, theirs))
    p, q = np.maximum(p, 1e-4), np.maximum(q, 1e-4)  # the logarithm of 0 is not a number
    return float(((q - p) * np.log(q / p)).sum())


# %%
random = np.random.default_rng(0)
no_drift = {
    n: np.array([psi(random.normal(size=n), random.normal(size=n)) for _ in range(1000)])
    for n in (50, 100, 300, 1000)
}
reveal("psi", (no_drift[100] > 0.25).mean())

# %% [markdown]
# We can compute this. Without drift, $p_b$ and $q_b$ are both near $1/B$, and $\ln(q/p) \approx (q-p)/p$ for $q$ near $p$.
# So PSI is about $\sum_b (q_b - p_b)^2 / p_b$. A share from $n$ draws has the variance $p(1-p)/n$. The difference of two
# shares, from $n$ and $m$ draws, has $p(1-p)(\frac1n + \frac1m)$. Divide by $p$ and add up all bins:
#
# $$\mathbb{E}[\text{PSI}] \;\approx\; \sum_b (1 - p_b)\Big(\frac1n + \frac1m\Big) \;=\; (B-1)\Big(\frac1n + \frac1m\Big).$$
#
# PSI divided by $\frac1n + \frac1m$ approximately follows the *chi-squared distribution* with $B - 1$ degrees of freedom,
# as in the textbook test for counts. Its 95th percentile gives a threshold with 5 % false alarms.


# %%
def psi_threshold(n, m, bins=10, level=0.05):
    return float(stats.chi2.ppf(1 - level, bins - 1) * (1 / n + 1 / m))


# %%
rows = []
for n, sample in no_drift.items():
    row = [sample.mean(), 18 / n, np.quantile(sample, 0.95), psi_threshold(n, n)]
    rows.append([n, *(f"{each:.3f}" for each in [*row, (sample > 0.25).mean()])])
header = ["n = m", "mean", "computed", "95th percentile", "also computed", "share above 0.25"]
show.table(header, rows, caption="PSI where nothing drifts, 1,000 repetitions, ten bins")

# %%
ratios = [
    (no_drift[n].mean() / (18 / n), np.quantile(no_drift[n], 0.95) / psi_threshold(n, n))
    for n in (100, 300, 1000)
]
claim(
    "from 100 on, mean and 95th percentile are within a quarter of the computed ones; 0.25 raises "
    "an alarm in more than half of the cases at 50, and in none at 1,000",
    np.abs(np.array(ratios) - 1).max() < 0.25
    and (no_drift[50] > 0.25).mean() > 0.5 > (no_drift[1000] > 0.25).sum(),
    f"measured over computed: {np.min(ratios):.2f} to {np.max(ratios):.2f}",
)

# %% [markdown]
# With 50 pictures, the rule of 0.25 raises an alarm on most days on which nothing happened. With 1,000, chance alone
# stays below 0.04 on 95 % of the days, and a drift with a PSI of 0.2 goes unnoticed. So compute the threshold from $n$,
# $m$ and $B$. **Now do exercise 21.1**: a PSI that survives real data.
#
# ## Which test finds a drift, and how often is its alarm false?
#
# KS and PSI see one number. Two other tests see the whole picture:
#
# - *Maximum mean discrepancy*, MMD, compares similarities. Let $k(a, b) = e^{-\lVert a-b \rVert^2/s}$: it is 1 for equal
#   pictures and near 0 for very different ones; $s$ is the median squared distance. MMD² is the mean $k$ within the
#   reference, plus the mean $k$ within today, minus twice the mean $k$ between the two. Without drift these means are
#   similar. To get a p-value, we mix both samples and split them at random, 100 times. This is a *permutation test*: p is
#   the share of splits, the real one included, with an MMD² at least as large.
# - A *classifier two-sample test* trains a classifier on half of the pictures to answer "reference or today?". Without
#   drift it gets half of the other pictures right, like a coin. The binomial distribution gives p.


# %%
def mmd_p(kernel, n, random, splits=100):
    """kernel: (2n, 2n), the first n rows the reference. Returns the p-value of MMD²."""
    signs = np.repeat(np.array([1, -1], np.float32) / n, n)
    signs = np.stack([signs, *random.permuted(np.tile(signs, (splits, 1)), axis=1)])
    values = ((signs @ kernel) * signs).sum(axis=1)  # +1/n and −1/n: the three means in one sum
    return float((values >= values[0] * (1 - 1e-5)).mean())


# %%
def classifier_p(flat, n, random):
    """Least squares with a small penalty, trained on half of the rows. Returns p of its hits."""
    side = np.repeat([1.0, -1.0], n)
    order = random.permutation(2 * n)
    fit, rest = order[:n], order[n:]
    weights = np.linalg.solve(flat[fit].T @ flat[fit] + np.eye(64), flat[fit].T @ side[fit])
    hits = int((np.sign(flat[rest] @ weights) == side[rest]).sum())
    return float(stats.binom.sf(hits - 1, n, 0.5))


# %% [markdown]
# Now the measurement. We draw $n$ clean pictures and $n$ other pictures with noise of a given size, 200 times, and count
# alarms. With size 0 each alarm is false. KS and PSI look at the confidence; MMD and the classifier look at the pixels,
# centred around the mean picture.

# %%
pool = np.concatenate([reference.images, today.images])
centre = pool.reshape(-1, 64).mean(axis=0)
tests = ["KS", "PSI > 0.25", "PSI computed", "MMD", "classifier"]


def five_alarms(sure, flat, kernel, random):
    """Confidence (2n,), pixels (2n, 64), kernel (2n, 2n): which of the tests raise an alarm?"""
    n = len(sure) // 2
    index = psi(sure[:n], sure[n:])
    return [
        stats.ks_2samp(sure[:n], sure[n:], method="asymp").pvalue < 0.05,
        index > 0.25,
        index > psi_threshold(n, n),
        mmd_p(kernel, n, random) < 0.05,
        classifier_p(flat, n, random) < 0.05,
    ]


# %%
def alarm_shares(size, counts=(50, 100, 300), repeats=200):
    """{n: the share of repeats in which each test raises an alarm}, for noise of this size."""
    both = np.concatenate([pool, noisy(pool, size)])
    sure, flat = confidence(both), both.reshape(-1, 64) - centre
    squares = (flat**2).sum(axis=1)
    distances = squares[:, None] + squares - 2 * flat @ flat.T
    kernel = np.exp(-distances / np.median(distances))
    random, found = np.random.default_rng(1), {n: [] for n in counts}
    for n in list(counts) * repeats:
        order = random.permutation(len(pool))
        rows = np.concatenate([order[:n], order[n : 2 * n] + len(pool)])
        found[n].append(five_alarms(sure[rows], flat[rows], kernel[np.ix_(rows, rows)], random))
    return {n: np.mean(flags, axis=0) for n, flags in found.items()}


# %% [markdown]
# In one comparison, no picture is in both samples.

# %%
measured = {size: alarm_shares(size) for size in (0, 0.1, 0.15, 0.2)}
rows = [
    [size, n, *(f"{share:.2f}" for share in shares)]
    for size, by_n in measured.items()
    for n, shares in by_n.items()
]
header = ["noise", "n", *tests]
show.table(header, rows, caption="Share of 200 comparisons with an alarm, level 0.05")

# %%
exact = [0, 3, 4]  # the tests with a p-value: KS, MMD, classifier
false = max(shares[exact].max() for shares in measured[0].values())
power = np.array([[measured[size][n] for n in (50, 100, 300)] for size in (0.1, 0.15, 0.2)])
claim(
    "without drift, KS, MMD and the classifier raise an alarm in at most 10 %",
    false <= 0.1,
    f"at most {false:.3f}",
)
claim(
    "the power of these three grows with the sample and with the drift",
    (np.diff(power[:, :, exact], axis=1) > -0.08).all()
    and (np.diff(power[:, :, exact], axis=0) > -0.08).all()
    and (power[2, 2] - power[0, 0])[exact].min() > 0.5,
    f"from {power[0, 0, exact].round(2)} to {power[2, 2, exact].round(2)}",
)
claim(
    "at noise 0.1, PSI above 0.25 raises fewer alarms with more pictures",
    (np.diff(power[0, :, 1]) < 0).all(),
    f"{power[0, :, 1].round(3)}",
)

# %% [markdown]
# Read the table from the top:
#
# - *False alarms.* KS, MMD and the classifier stay near the promised 0.05. PSI above 0.25 does not: it raises an alarm
#   most of the time at 50 pictures, and hardly ever at 300. Its computed threshold is right from 100 on. At 50 there are
#   only five pictures in a bin, some bins are empty, and the formula no longer holds.
# - *Power.* It grows with the sample and with the drift. At noise 0.1, PSI above 0.25 does the opposite: with *more*
#   pictures it raises fewer alarms, since most of its alarms were chance.
# - *No test wins everywhere.* KS needs only the confidence and is good with 50 pictures already. The classifier is best
#   from 100 on. MMD needs the most pictures.
#
# Published results are similar. Rabanser and colleagues (see below) compared tests on larger images: power grew with the
# sample and the drift. Tests on the output of a trained classifier were best.
#
# Does the classifier see the natural drift too? We draw 300 digits from each half of the file, 50 times.

# %%
flat, random = x - x.mean(axis=0), np.random.default_rng(0)
seen = []
for _ in range(50):
    first, second = (random.choice(half, 300, replace=False) for _ in range(2))
    seen.append(classifier_p(flat[[*first, *(half + second)]], 300, random) < 0.05)
claim(
    "the classifier tells early writers from late ones in more than 80 % of the draws",
    np.mean(seen) > 0.8,
    f"{np.mean(seen):.2f}",
)

# %% [markdown]
# ## What happens with many features and a look each day?
#
# A level of 0.05 holds for one test. We have 64 pixels, and the job runs each day. If the tests were independent, the
# chance that all 64 stay silent would be $0.95^{64}$. On what share of days without drift does at least one of the 64
# pixels raise an alarm?

# %%
guess("days", "64 pixels, each tested at 0.05, no drift: share of days with an alarm?", share=True)

# %%
random = np.random.default_rng(2)
levels = np.arange(17) / 16  # the values that a pixel can have
below = pool.reshape(-1, 64)[:, :, None] <= levels  # (675, 64, 17)
largest = []
for _ in range(1500):
    order = random.permutation(len(pool))
    gaps = below[order[:225]].mean(axis=0) - below[order[225:325]].mean(axis=0)
    largest.append(np.abs(gaps).max(axis=1))
p = stats.kstwobign.sf(np.array(largest) * np.sqrt(225 * 100 / 325))  # (1500, 64)
smallest = p.min(axis=1)
reveal("days", (smallest < 0.05).mean())
print(f"64 independent tests: {1 - 0.95**64:.3f}; a single pixel: {(p < 0.05).mean():.3f}")

# %% [markdown]
# It is less than for independent tests, and still far too much. Most pixels have many equal values, and with those KS
# raises fewer false alarms than the level allows: a single pixel is far below 0.05. Pixels also change together. We try
# smaller levels, for a day and for a month.

# %%
rules = {"0.05": 0.05, "0.05 / 64": 0.05 / 64, "0.05 / (64 · 30)": 0.05 / 64 / 30}
by_day = {name: (smallest < level).mean() for name, level in rules.items()}
months = smallest.reshape(50, 30).min(axis=1)
by_month = {name: (months < level).mean() for name, level in rules.items()}
rows = [[name, f"{by_day[name]:.3f}", f"{by_month[name]:.2f}"] for name in rules]
header = ["level of one test", "days with an alarm", "months with an alarm"]
show.table(header, rows, caption="50 months of 30 days in which nothing drifts")

# %%
claim(
    "at 0.05 a test, more than a third of the days and every month have a false alarm; divided by "
    "features and looks, at most one month in ten",
    by_day["0.05"] > 1 / 3 and by_month["0.05"] == 1 and by_month["0.05 / (64 · 30)"] <= 0.1,
    f"{by_day['0.05']:.2f}, {by_month['0.05']:.2f}, {by_month['0.05 / (64 · 30)']:.2f}",
)

# %% [markdown]
# The repair is called *Bonferroni's correction*: divide the level by the number of tests. The reason is simple. The
# chance that at least one of $T$ tests raises a false alarm is at most the sum of their chances, $T \cdot \frac{0.05}{T}$.
# It also holds if the tests depend on each other, as neighbouring pixels do. Count the looks as well: 64 features on 30
# days are 1,920 tests. **Now do exercise 21.2**.
#
# ## Can I know the accuracy without labels?
#
# A *calibrated* model is right in 90 % of the cases in which it says 0.9. Then the mean confidence *is* the accuracy.
# Two methods build on this:
#
# - *Confidence-based performance estimation*, CBPE: first divide the logits by a temperature $T$, fitted on the
#   reference (lesson 04b). The estimate is today's mean confidence.
# - *Average thresholded confidence*, ATC: choose a threshold such that as many answers of the reference lie below it as
#   are wrong. The estimate is the share of today's answers above it.

# %%
raw = logits(reference.images)


def log_loss(temperature):
    scaled = raw / temperature
    return (np.logaddexp.reduce(scaled, axis=1) - scaled[np.arange(225), reference.labels]).mean()


T = optimize.minimize_scalar(log_loss, bounds=(0.2, 5), method="bounded").x
errors = 1 - accuracy(reference.images, reference.labels)
threshold = np.quantile(confidence(reference.images), errors)
print(f"temperature {T:.2f}; {100 * errors:.1f} % errors; ATC's threshold {threshold:.3f}")

# %% [markdown]
# We compute both estimates for the worlds from above, and for two new ones: a lamp gets weaker and dims the pictures, or
# the camera moves by a pixel.

# %%
worlds["dimmed to 0.4"] = (0.4 * today.images, today.labels)
worlds["moved by a pixel"] = (np.roll(today.images, 1, axis=2), today.labels)
said = {}
for name, (images, labels) in worlds.items():
    cbpe = probabilities(images, T).max(axis=1).mean()
    atc = (confidence(images) >= threshold).mean()
    said[name] = np.array([accuracy(images, labels), cbpe, atc])

# %%
rows = [[name, *(f"{share:.3f}" for share in shares)] for name, shares in said.items()]
show.table(["today", "accuracy", "CBPE", "ATC"], rows, caption="Two estimates that see no label")

# %%
too_high = {name: shares[1:] - shares[0] for name, shares in said.items()}
claim(
    "without drift both are within 2 points; under much noise CBPE is more than 5 too high, for "
    "dimmed pictures both are more than 5 too low, for exchanged labels both more than 10 too high",
    np.abs(too_high["no drift"]).max() < 0.02
    and too_high["much noise"][0] > 0.05
    and too_high["dimmed to 0.4"].max() < -0.05
    and too_high["3 and 8 exchanged"].min() > 0.1,
    f"CBPE {too_high['much noise'][0]:+.2f}, {too_high['dimmed to 0.4'][0]:+.2f}, "
    f"{too_high['3 and 8 exchanged'][0]:+.2f}",
)

# %% [markdown]
# The estimates are right where there is no problem. With much noise, ATC happens to be near the truth and CBPE is too high.
# With dimmed pictures both are too low: you would stop a model that works. Calibration was measured on the
# reference, and nothing promises that it holds elsewhere. The flights showed the same: the expected share was right in
# winter and 10 points too low in June and July. Use such an estimate as a reason to look, not as the number in a report.
#
# ### How many labels do I have to buy?
#
# Few, if the loss is large. Draw 100 of today's pictures at random and let a person label them.

# %%
audited = np.random.default_rng(0).choice(450, 100, replace=False)
highest = {}
for name in ("no drift", "much noise", "3 and 8 exchanged"):
    images, labels = worlds[name]
    share = accuracy(images[audited], labels[audited])
    low, highest[name] = wilson(round(100 * share), 100)
    print(f"{name}: {share:.2f}, 95 % interval {low:.2f} to {highest[name]:.2f}")

# %%
claim(
    "100 random labels show both losses: their intervals end below the accuracy without drift",
    sum(high < right["no drift"] - 0.03 for high in highest.values()) == 2,
    f"accuracy without drift {right['no drift']:.3f}",
)

# %% [markdown]
# Both losses have intervals 16 points wide, so a loss of a few points needs more labels.
#
# "At random" is important. Labels that arrive by themselves are not a random sample. Suppose 95 % of the answers are
# right. A customer complains about a wrong answer after two days on average. A right answer is confirmed when the
# invoice is paid, after ten days on average. What is the accuracy among the labels that are known so far?

# %%
random = np.random.default_rng(0)
is_right = random.random(20_000) < 0.95
delay_days = random.exponential(np.where(is_right, 10, 2))
known = {day: float(is_right[delay_days <= day].mean()) for day in (1, 3, 10, 30)}
print(", ".join(f"day {day}: {share:.3f}" for day, share in known.items()))

# %%
claim(
    "after one day the known labels show an accuracy that is more than 8 points too low",
    known[1] < 0.95 - 0.08 and abs(known[30] - 0.95) < 0.02,
    f"{known[1]:.3f}, after 30 days {known[30]:.3f}",
)

# %% [markdown]
# If late labels decide, compare answers of the same age: this week's answers after seven days with last week's after
# seven days.
#
# ## Which classes are more frequent today?
#
# One kind of drift can be estimated without labels: label drift. We assume that $P(x \mid y)$ is as before. Let $M_{ij}$
# be the share of answers $i$ among pictures of class $j$, measured on the reference: a *confusion matrix*, $M \in
# \mathbb{R}^{C \times C}$. If the classes have the shares $w_j$ today, then the answers have the shares
#
# $$a_i = \sum_j M_{ij}\, w_j, \qquad\text{so}\qquad w = M^{-1} a .$$
#
# This is *black-box shift estimation*, BBSE. We try it where the model makes many errors: the camera is noisy in the
# reference and today. Today most digits are 8 and 9.


# %%
def confusion(predicted, labels):
    counts = np.zeros((10, 10))
    np.add.at(counts, (predicted, labels), 1)
    return counts / counts.sum(axis=0)


# %%
M = confusion(logits(noisy(reference.images, 0.30)).argmax(axis=1), reference.labels)
often = np.where(today.labels >= 8, 10.0, 1.0)
drawn = np.random.default_rng(2).choice(450, 2000, p=often / often.sum())
now_images, now_labels = noisy(today.images[drawn], 0.30, seed=3), today.labels[drawn]

# %% [markdown]
# We count the answers, solve for the shares, and use the new shares to correct each answer.

# %%
answers = logits(now_images).argmax(axis=1)
counted = np.bincount(answers, minlength=10) / len(answers)
truth = np.bincount(now_labels, minlength=10) / len(now_labels)
solved = np.linalg.solve(M, counted)
old = np.bincount(reference.labels, minlength=10) / len(reference.labels)
corrected = (probabilities(now_images) * solved.clip(0) / old).argmax(axis=1)
gain = (corrected == now_labels).mean() - (answers == now_labels).mean()

# %%
errors_of = [np.abs(shares - truth).sum() for shares in (solved, counted)]
claim(
    "the solved shares are nearer to the truth than the counted ones, and the corrected answers "
    "are more often right, without any training",
    errors_of[0] < 0.6 * errors_of[1] and gain > 0.005,
    f"errors sum to {errors_of[0]:.2f} against {errors_of[1]:.2f}; {100 * gain:+.1f} points",
)

# %% [markdown]
# The correction follows from Bayes' rule: if only $P(y)$ changed, then today's $P(y \mid x)$ is the old one times
# $w_y$ divided by the old share, up to a constant. A second method, by Saerens and colleagues, finds $w$ from the
# probabilities instead of the confusion matrix; it needs a calibrated model.
#
# The assumption matters. If the camera got noisy and the shares did *not* change, $M$ of the clean camera is wrong:

# %%
clean = confusion(logits(reference.images).argmax(axis=1), reference.labels)
noisy_answers = logits(noisy(today.images, 0.30)).argmax(axis=1)
imagined = np.linalg.solve(clean, np.bincount(noisy_answers, minlength=10) / 450)
wrong_by = np.abs(imagined - np.bincount(today.labels, minlength=10) / 450).max()
claim(
    "with covariate drift, BBSE reports a label drift that does not exist",
    wrong_by > 0.03,
    f"a class of about 10 % is off by {100 * wrong_by:.0f} points",
)

# %% [markdown]
# So look at the inputs first. **Now do exercise 21.3**: you write this estimate for a service.
#
# ## Which drift can be stopped at the door?
#
# Many "drifts" are bugs: a changed unit, a swapped axis, a missing value. Most of them need no statistics. Lesson 08
# wrote a contract with names, types, shapes and ranges. We call its check the door. Seven deliveries of the same 450
# pictures arrive: one as agreed, and six with a bug.

# %%
door = Field("pixels", "float32", (-1, 1, 8, 8), "ink in each block, 0 to 1", 0, 1)
good = today.images[:, None]
hole = good.copy()
hole[7, 0, 3, 3] = np.nan
deliveries = {
    "as agreed": good,
    "counts 0 to 16 instead of shares": 16 * good,
    "0 to 255, as image files have them": 255 * good,
    "float64": good.astype(np.float64),
    "one missing value": hole,
    "rows and columns swapped": good.transpose(0, 1, 3, 2),
    "white ink on black paper": 1 - good,
}

# %%
rows = []
for name, batch in deliveries.items():
    images = batch.reshape(450, 8, 8)
    scores = [accuracy(images, today.labels), np.nanmean(confidence(images))]
    rows.append([name, *(f"{score:.3f}" for score in scores), door.problem(batch) or "–"])
header = ["delivery", "accuracy", "confidence", "what the door says"]
show.table(header, rows, caption="Seven deliveries of the same 450 pictures")

# %%
refused = {name: bool(door.problem(batch)) for name, batch in deliveries.items()}
unseen = ["rows and columns swapped", "white ink on black paper"]
p_unseen = max(smallest_p(reference.images, deliveries[name][:, 0]) for name in unseen)
claim(
    "the door refuses four of six bugs; KS on the pixels sees the two others",
    [name for name in deliveries if not refused[name]] == ["as agreed", *unseen]
    and p_unseen < 1e-20,
    "p below 1e-20",
)

# %% [markdown]
# The door names the field and says what to send. Look at the second row and the third. In the wrong unit the model keeps
# most of its accuracy, and it becomes *more* confident. An estimate from the confidence would report an improvement. The last
# two deliveries pass, since their numbers lie within the range. For those you need the tests.
#
# A door can be too strict. The float64 delivery is harmless, but it is refused. The message says what to send
# instead. **Now do exercise 21.4**: a guard for tables, with missing values and units.
#
# ## Where this goes wrong: "monitor the accuracy"
#
# Two of the articles from which this course grew list what to monitor: response time, accuracy, use of resources. A
# running service can report the first and the last. It cannot report the accuracy: that needs labels, and the articles
# do not say where labels come from. If you build the dashboard anyway, it still shows a number. Here are two ways to get
# one, for the model under much noise.

# %%
own_answers = logits(noisy(today.images, 0.30)).argmax(axis=1)
no_labels = np.full(450, -1)  # how many tables store "not known yet"
copied = own_answers.copy()  # a log that fills gaps with the model's answer
dashboards = {"missing stored as -1": no_labels, "gaps filled with the answer": copied}
shown = {name: float((own_answers == labels).mean()) for name, labels in dashboards.items()}
print(shown)

# %%
claim(
    "one dashboard shows 0, the other 1; both are the same for every model",
    list(shown.values()) == [0, 1],
    f"the truth is {right['much noise']:.2f}",
)

# %% [markdown]
# The mended form is the audit from above: random answers, labelled by a person, with an interval. Until the labels come,
# show "not known" and the number of answers that wait for a label.
#
# ## Where this goes wrong: metric = data / reference
#
# Lesson 20 met an article's formula for monitoring: monitored data divided by reference data. Applied to drift, this
# means: mean of today's pixels over mean of the reference's pixels. A value of 1.00 means that all is well. We try it
# with a camera that was pushed: all pictures are moved by three pixels, and what leaves on the right comes back on the
# left.

# %%
moved = np.roll(today.images, 3, axis=2)
usual = float(reference.images.mean())
ratio = float(moved.mean()) / usual
random = np.random.default_rng(0)
small = [today.images[random.choice(450, 20, replace=False)].mean() for _ in range(1000)]
least, most = (float(each(small)) / usual for each in (min, max))
worth = accuracy(moved, today.labels)
p_moved = smallest_p(reference.images, moved)

# %%
claim(
    "moved pictures have a ratio of 1.00, and less than half of them are read correctly; 20 "
    "pictures without drift have ratios from below 0.95 to above 1.05",
    abs(ratio - 1) < 0.005 and worth < 0.5 and least < 0.95 and most > 1.05,
    f"ratio {ratio:.3f}, accuracy {worth:.3f}; ratios of 20 from {least:.2f} to {most:.2f}",
)
claim("KS on the pixels sees the move", p_moved < 1e-20, "p below 1e-20")

# %% [markdown]
# A mean keeps one number of a distribution and drops the rest. And a ratio without a sample size says nothing about
# chance: 1.05 may be noise or a broken sensor. The mended form is a test: it compares whole distributions, and its
# threshold depends on $n$ and $m$.
#
# ## What we measured
#
# This lesson made no model, so it adds no row to the ledger. Keep this table beside the alerts.

# %%
rows = [
    ["a unit, a type, a missing value", "the contract at the door", "swapped axes, inverted ink"],
    ["P(x): covariate drift", "KS, PSI, MMD, a classifier", "whether it does harm"],
    ["P(y): label drift", "the answers, solved by BBSE", "a drift of P(x | y)"],
    ["P(y | x): concept drift", "only labels: 100 at random", "a loss of a few points"],
]
show.table(
    ["what changed", "what sees it", "what it misses"], rows, caption="Drift, and what sees it"
)

# %% [markdown]
# ## What to remember
#
# - An alarm is not harm, and silence is not health: a test of the inputs cannot see a change of $P(y \mid x)$.
# - A threshold without a sample size, a number of features and a number of looks means nothing. Measure false alarms
#   where you know that nothing drifts.
# - Estimates without labels tell you where to look. 100 random labels tell you whether the loss is large.
#
# ## Where this breaks down
#
# - Our tests assume that pictures are independent. Frames of one video, or rows of one customer, are not. Then there are
#   more false alarms: give the test one row for each customer, or permute whole customers.
# - With a very large sample every test raises an alarm, since no two days are exactly equal. There the size of the drift
#   counts, not p: choose the smallest drift that you would act on.
# - BBSE needs a confusion matrix that can be inverted. If the model cannot tell two classes apart, nobody can count them
#   from its answers.
# - If you renew the reference each week, a slow drift stays invisible. Keep the reference of the training fixed.
#
# ## What real teams use
#
# Evidently and Alibi Detect have tests like these, Evidently with reports. NannyML has CBPE, under this name.
# `river` has detectors that look at one answer at a time, such as ADWIN. Great Expectations, pandera and TensorFlow Data
# Validation check tables against a schema. Some have default thresholds: check these with your own data. A sensible rule:
# wake somebody for a broken delivery or for a loss of accuracy measured with labels. A drift test opens a ticket.
#
# ## Further reading
#
# - S. Rabanser, S. Günnemann, Z. C. Lipton, *Failing Loudly: An Empirical Study of Methods for Detecting Dataset Shift*,
#   NeurIPS 2019.
# - A. Gretton, K. Borgwardt, M. Rasch, B. Schölkopf, A. Smola, *A Kernel Two-Sample Test*, JMLR 13, 2012.
# - D. Lopez-Paz, M. Oquab, *Revisiting Classifier Two-Sample Tests*, ICLR 2017.
# - Z. C. Lipton, Y.-X. Wang, A. Smola, *Detecting and Correcting for Label Shift with Black Box Predictors*, ICML 2018.
# - S. Garg, S. Balakrishnan, Z. C. Lipton, B. Neyshabur, H. Sedghi, *Leveraging Unlabeled Data to Predict
#   Out-of-Distribution Performance*, ICLR 2022.
# - M. Saerens, P. Latinne, C. Decaestecker, *Adjusting the Outputs of a Classifier to New a Priori Probabilities: A
#   Simple Procedure*, Neural Computation 14, 2002.
