# %% [markdown]
# # 19b Deciding early
#
# At 3 a.m. somebody looks at the dashboard of the canary. It has been red for one minute, so the version goes back. It
# was a good version, the third one this month that went back. At noon a bad version stays, because "twenty requests
# went well". Both decisions came too early, for different reasons.
#
# ## You will be able to
#
# - compute how many requests a canary needs for a given regression;
# - show that an ordinary test breaks its promise if you look at it every minute, and use a test that allows it;
# - test without choosing the size of the regression, and say at any moment how sure you are;
# - say what a controller with three tests and a deadline can promise, and what it cannot;
# - compare two versions at the same time without knowing the usual share of errors, and name the two mistakes that spoil
#   such a comparison.
#
# ## Before you start
#
# Lesson 19 uses these tests on a cluster. Lesson 04b explains intervals and the binomial distribution. Everything here
# is simulation, so it needs no engine and no cluster. A *canary* is a new version that gets a small share of the real
# requests. The new version is the *candidate*. The version that answers the other requests is the *stable* one. A
# *regression* is something that the new version does worse.

# %%
import math
from statistics import NormalDist

import matplotlib.pyplot as plt
import numpy as np

from course_lib import show
from course_lib.idioms import begin, claim, guess, path, reveal
from course_lib.release import canary

scratch = begin("19b")
random = np.random.default_rng(19)
path.picture(here="19b")

# %% [markdown]
# ## How many requests does a canary need?
#
# Teams often write down "ten minutes at 5 % of the traffic". Is that enough? A request *goes wrong* if it ends in an
# error, is too slow, or gets another answer than before. For a good candidate, the probability of that is $p_0$. For a
# candidate with the regression that we want to notice, it is $p_1 > p_0$. Of $n$ independent requests, $K$ go wrong. If
# $np$ is large, $K$ is nearly normal with mean $np$ and variance $np(1-p)$.
#
# We raise an alarm if $K$ is above a bound $c$. A *false alarm* sends a good candidate back. We want its probability to
# be $\alpha$. Let $z_q$ be the number that a standard normal variable exceeds with probability $q$. Then
#
# $$c = n p_0 + z_\alpha \sqrt{n p_0 (1-p_0)} .$$
#
# A *miss* lets a bad candidate pass: $K \le c$ although $p = p_1$. We want its probability to be $\beta$. Then
#
# $$c = n p_1 - z_\beta \sqrt{n p_1 (1-p_1)} .$$
#
# Set the two equal, and divide by $\sqrt n$:
#
# $$\sqrt n = \frac{z_\alpha \sqrt{p_0(1-p_0)} + z_\beta \sqrt{p_1(1-p_1)}}{p_1 - p_0} .$$
#
# The numerator is the noise, the denominator is the signal. We take $\alpha$ = 5 % and $\beta$ = 10 %.

# %%
guess(
    "tenth",
    "How many times as many requests does 1 % → 1.1 % need as 1 % → 2 %?",
    low=1,
    high=1000,
)


# %%
def needed(p0, p1, alpha=0.05, beta=0.1):
    z = NormalDist().inv_cdf
    spread = z(1 - alpha) * math.sqrt(p0 * (1 - p0)) + z(1 - beta) * math.sqrt(p1 * (1 - p1))
    return math.ceil((spread / (p1 - p0)) ** 2)


# %% [markdown]
# The derivation used an approximation, so we test the formula. We draw 20,000 canaries with $p_0$ and 20,000 with
# $p_1$, and count how often each of the two mistakes happens.


# %%
def mistakes(p0, p1, alpha=0.05, runs=20_000):
    """The number of requests, and the shares of false alarms and of misses with so many."""
    n = needed(p0, p1)
    bound = n * p0 + NormalDist().inv_cdf(1 - alpha) * math.sqrt(n * p0 * (1 - p0))
    false, missed = random.binomial(n, p0, runs) > bound, random.binomial(n, p1, runs) <= bound
    return n, false.mean(), missed.mean()


# %% [markdown]
# Five regressions, from tiny to gross:

# %%
regressions = [(0.001, 0.002), (0.01, 0.011), (0.01, 0.02), (0.01, 0.05), (0.02, 0.2)]
drawn = [mistakes(*each) for each in regressions]
fixed = needed(0.01, 0.02)

# %%
reveal("tenth", needed(0.01, 0.011) / fixed)
show.table(
    ["regression", "requests", "minutes at 5 % of 100 a second", "false alarms", "missed"],
    [
        [f"{a:.1%} → {b:.1%}", f"{n:,}", f"{n / 5 / 60:,.1f}", f"{f:.1%}", f"{m:.1%}"]
        for (a, b), (n, f, m) in zip(regressions, drawn)
    ],
    caption="Planned: 5 % false alarms, 10 % missed",
)

# %%
claim(
    "where many requests go wrong, false alarms are near 5 % and misses near 10 %, as planned",
    all(abs(f - 0.05) < 0.02 and abs(m - 0.1) < 0.02 for _, f, m in drawn[:3]),
)

# %% [markdown]
# The difference is squared, and it is in the denominator. So a tenth of the difference would need 100 times as many
# requests if the noise were the same. The noise is smaller at 1.1 % than at 2 %, so here it takes only 75 times as
# many. Ten minutes at 5 % of 100 requests a second are 3,000 requests. That is enough to see errors double from 1 % to
# 2 %, and far too few to see 1.1 %. A canary guards against accidents. Slow decay needs monitoring over weeks (lessons
# 20 and 21).
#
# In the last two rows a good candidate has about one wrong request, or none, so the normal approximation is rough. In
# the fourth row both shares are off. The fifth row is close, but by luck. For such cases, compute with the binomial
# distribution itself. **Now do exercise 19b.1.**
#
# ## May I look before the end?
#
# The rule says "decide after 3,000 requests", but the dashboard is open from the first one. Take candidates that are
# exactly as good as the stable version, with $p = 1$ %. We look after every 100 requests, and stop as soon as the test
# above raises an alarm. A single look, after many requests, is wrong in about 5 % of the cases.

# %%
guess(
    "peeking",
    "Which share of the good candidates is sent back within 10,000 requests, by 100 looks?",
    share=True,
)

# %%
LOOKS, EVERY, RUNS = 100, 100, 4000  # 4,000 good candidates, 10,000 requests each
wrong = random.binomial(EVERY, 0.01, (RUNS, LOOKS)).cumsum(axis=1)
n = EVERY * np.arange(1, LOOKS + 1)
alarmed = wrong > n * 0.01 + NormalDist().inv_cdf(0.95) * np.sqrt(n * 0.01 * 0.99)
peeking = np.maximum.accumulate(alarmed, axis=1).mean(axis=0)  # alarmed at this look or before

# %%
reveal("peeking", peeking[-1])
claim(
    "looking 100 times sends more than 25 % of the good candidates back",
    peeking[-1] > 0.25,
    f"{peeking[-1]:.0%}; by the last look alone {alarmed[:, -1].mean():.1%}",
)

# %% [markdown]
# Each look is another chance of a false alarm, and one alarm is enough. A fixed test makes its promise for one look, at
# a time that was chosen in advance. Looking earlier and stopping at an alarm is called *peeking*.
#
# ## Which test may I look at all the time?
#
# Do not follow the count. Follow how much likelier the data are under $p_1$ than under $p_0$. (If you only want to use
# the test, read the definition of $\Lambda_n$, and go on at *Ville's inequality*.) Let $x_i$ be 1 if request $i$ went
# wrong, else 0. After $n$ requests, with $K_n$ of them wrong:
#
# $$\Lambda_n = \prod_{i=1}^n \frac{p_1^{x_i}(1-p_1)^{1-x_i}}{p_0^{x_i}(1-p_0)^{1-x_i}}, \qquad
#   \ln\Lambda_n = K_n \ln\frac{p_1}{p_0} + (n-K_n)\ln\frac{1-p_1}{1-p_0} .$$
#
# Suppose that $p = p_0$. Then the next factor is $p_1/p_0$ with probability $p_0$, else $(1-p_1)/(1-p_0)$. Its mean is
#
# $$p_0\cdot\frac{p_1}{p_0} + (1-p_0)\cdot\frac{1-p_1}{1-p_0} = p_1 + (1 - p_1) = 1 .$$
#
# So whatever came before, the next request leaves $\Lambda$ unchanged on average. It began at 1. Such a sequence is
# called a *martingale*. Think of your money in a fair game. Stop the game at the first $n$ with $\Lambda_n \ge a$, or
# after $N$ requests, however large $N$ is. Let $q$ be the probability that $\Lambda$ reaches $a$. At the stop, the mean
# of $\Lambda$ is still 1, since the game is fair. It is also at least $q\cdot a$, since $\Lambda$ is never negative.
# Hence
#
# $$q\, a \le 1, \qquad q \le 1/a .$$
#
# This is *Ville's inequality*. Take $a = 1/\alpha$. Send the candidate back at $\Lambda_n \ge 1/\alpha$. Then the
# probability that a good candidate *ever* goes back is at most $\alpha$, however often we look. If the candidate is
# better than $p_0$, the mean of the factor is below 1, and the bound still holds.
#
# The same argument works in the other direction: $1/\Lambda$ is a fair game under $p_1$. So promoting at
# $\Lambda_n \le \beta$ lets a bad candidate pass with probability $\beta$ at most. This is A. Wald's *sequential
# probability ratio test*, with slightly wider bounds. In `course_lib`, `canary.evidence` computes $\ln\Lambda$. First
# we look at a few candidates.

# %%
steps = np.arange(0, 3001, 20)
for truth, colour, style in (
    (0.01, show.BLUE, "-"),
    (0.015, show.GREY, "--"),
    (0.03, show.RED, "-."),
):
    for run in range(4):
        failures = np.append(0, random.binomial(20, truth, len(steps) - 1)).cumsum()
        walk = canary.evidence(failures, steps, 0.01, 0.02)
        label = f"true share {100 * truth:g} %" if run == 0 else None
        plt.plot(steps, walk, color=colour, ls=style, lw=1, label=label)
for bound, text in ((math.log(1 / 0.05), "roll back"), (math.log(0.1), "promote")):
    plt.axhline(bound, color="black", lw=1)
    plt.text(3060, bound, text, va="center", fontsize=9)
plt.xlim(0, 3000)
plt.ylim(-21, 21)
plt.xlabel("requests to the canary")
plt.ylabel("evidence ln Λ for 2 % against 1 %")
plt.legend(loc="lower left")
show.finding(
    "Good candidates drift down, bad ones up, and those in between wander",
    alt="Evidence against requests for four simulated candidates each: with a true share of 1 % it "
    "falls, with 3 % it rises, with 1.5 % it stays near zero and wanders.",
)

# %% [markdown]
# Now we take the 4,000 good candidates from before. Does the sequential test keep its promise with 100 looks?

# %%
known = canary.evidence(wrong, n, 0.01, 0.02)
over = np.maximum.accumulate(known, axis=1) >= math.log(1 / 0.05)
sequential = over.mean(axis=0)
claim(
    "looking as often at ln Λ sends at most 5 % back (we allow 1.5 points for chance)",
    sequential[-1] <= 0.05 + 0.015,
    f"{sequential[-1]:.1%}",
)

# %%
plt.plot(n, 100 * peeking, color=show.RED, label="the fixed test, looked at every 100 requests")
plt.plot(n, 100 * sequential, color=show.BLUE, ls="-.", label="the sequential test")
plt.axhline(5, color="black", lw=1, ls="--")
plt.text(n[-1], 5.6, "5 %, as promised", ha="right", fontsize=9)
plt.xlabel("requests to the canary")
plt.ylabel("good canaries sent back (%)")
plt.ylim(0)
plt.legend(loc="center right")
show.finding(
    f"Peeking at a fixed test sends {peeking[-1]:.0%} of the good canaries back",
    alt=f"Share of good canaries sent back against requests. Fixed test: from {peeking[0]:.0%} at "
    f"the first look to {peeking[-1]:.0%} after 10,000 requests. Sequential test: "
    f"{sequential[-1]:.1%}, below the promised 5 %.",
)

# %% [markdown]
# The sequential test keeps its promise at every look. **Now do exercise 19b.2**, in which you write the test for a
# stream of requests.
#
# ## What does it cost to look so often?
#
# A fixed test needs all of its requests. The sequential test stops as soon as it reaches a bound. When is that? Each
# request adds on average
#
# $$\mu(p) = p \ln\frac{p_1}{p_0} + (1-p)\ln\frac{1-p_1}{1-p_0}$$
#
# to $\ln\Lambda$. Let $N$ be the number of requests at the stop. *Wald's identity* says that
# $\mathbb{E}[\ln\Lambda_N] = \mathbb{E}[N]\,\mu(p)$. Most good candidates stop at the lower bound, and most bad ones at
# the upper bound. So
#
# $$\mathbb{E}[N \mid p_0] \approx \frac{\ln\beta}{\mu(p_0)}, \qquad
#   \mathbb{E}[N \mid p_1] \approx \frac{\ln(1/\alpha)}{\mu(p_1)} .$$
#
# We simulate 1,000 candidates for each of several true shares. Each test looks after every ten requests.


# %%
def stops(p, p0=0.01, p1=0.02, alpha=0.05, beta=0.1, longest=40_000, runs=1000):
    """When each test ends, and whether it sends back, where the truth is p."""
    wrong = random.binomial(10, p, (runs, longest // 10)).cumsum(axis=1)
    known = canary.evidence(wrong, 10 * np.arange(1, longest // 10 + 1), p0, p1)
    first = ((known >= math.log(1 / alpha)) | (known <= math.log(beta))).argmax(axis=1)
    return 10 * (first + 1), known[np.arange(runs), first] >= math.log(1 / alpha)


def drift(p, p0=0.01, p1=0.02):  # what a request adds on average
    return canary.evidence(p, 1, p0, p1)


# %%
ended = {p: stops(p) for p in (0.005, 0.01, 0.015, 0.02, 0.03, 0.05, 0.1)}
mean_n = {p: times.mean() for p, (times, _) in ended.items()}
show.table(
    ["truth", "sent back", "requests, on average", "9 of 10 within"],
    [
        [f"{p:.1%}", f"{back.mean():.1%}", f"{t.mean():,.0f}", f"{np.quantile(t, 0.9):,.0f}"]
        for p, (t, back) in ended.items()
    ],
    caption=f"The sequential test of 1 % against 2 %; the fixed test needs {fixed:,} requests",
)

# %%
claim(
    "on average it needs fewer requests than the fixed test, for good and for bad candidates",
    max(mean_n[0.01], mean_n[0.02]) < fixed,
    f"{mean_n[0.01]:,.0f} and {mean_n[0.02]:,.0f}; fixed {fixed:,}",
)

# %% [markdown]
# Does Wald's identity predict the averages?

# %%
by_wald = {0.01: math.log(0.1) / drift(0.01), 0.02: math.log(1 / 0.05) / drift(0.02)}
claim(
    "Wald's identity predicts the averages to within a fifth",
    all(abs(mean_n[p] / expected - 1) < 0.2 for p, expected in by_wald.items()),
    ", ".join(
        f"{p:.0%}: {expected:,.0f}, seen {mean_n[p]:,.0f}" for p, expected in by_wald.items()
    ),
)

# %% [markdown]
# On average, looking saves requests here, because the test stops early if the case is clear. The price is that you do
# not know in advance when it ends. The last column helps you to plan. At a true share of 1.5 %, between $p_0$ and
# $p_1$, the drift is near zero. There the test takes longest, and about half of the candidates go back. Neither answer
# is wrong there.
#
# ## What if I do not want to name a regression?
#
# The test above needs a value of $p_1$. You can avoid this choice. Each $p_1$ gives a fair game under $p_0$. An
# *average* of fair games is a fair game as well, so Ville's inequality holds for it too. Average over all $p_1$ from 0
# to 1, each with the same weight. The integral has a closed form with the *beta function* $B$:
#
# $$\Lambda_n = \int_0^1 \frac{q^{K_n}(1-q)^{n-K_n}}{p_0^{K_n}(1-p_0)^{n-K_n}}\,dq
#   = \frac{B(K_n+1,\; n-K_n+1)}{p_0^{K_n}(1-p_0)^{n-K_n}} .$$
#
# This test rejects $p_0$ at $\Lambda_n \ge 1/\alpha$, and you may look at it after every request. Now run it for
# *every* $p_0$. The values that are not rejected form an interval around the share that was seen. With a probability of
# at least $1-\alpha$, the intervals of *all* looks contain the true share. Such a sequence of intervals is called a
# *confidence sequence*. A usual confidence interval promises this for a single look only.


# %%
GRID = np.linspace(0.0001, 0.2, 2000)  # the shares that we ask about


def sequence(wrong, n, alpha=0.05):
    """The lowest and the highest share that are not rejected after n requests."""
    log_beta = math.lgamma(wrong + 1) + math.lgamma(n - wrong + 1) - math.lgamma(n + 2)
    known = log_beta - wrong * np.log(GRID) - (n - wrong) * np.log(1 - GRID)
    kept = GRID[known < math.log(1 / alpha)]
    return kept[0], kept[-1]


# %%
looks = 50 * np.arange(1, 61)
failures = random.binomial(50, 0.02, (300, 60)).cumsum(axis=1)  # 300 canaries, true share 2 %
bands = np.array([[sequence(k, n) for k, n in zip(each, looks)] for each in failures])
error = 1.96 * np.sqrt(failures / looks * (1 - failures / looks) / looks)
usual = np.abs(failures / looks - 0.02) <= error

# %%
always = ((bands[..., 0] <= 0.02) & (bands[..., 1] >= 0.02)).all(axis=1).mean()
claim(
    "at all 60 looks together the confidence sequence holds the truth in at least 95 % of the "
    "canaries (we allow 3 points for chance), usual intervals in less than 85 %",
    always >= 0.95 - 0.03 and usual.all(axis=1).mean() < 0.85,
    f"{always:.0%} and {usual.all(axis=1).mean():.0%}",
)

# %% [markdown]
# The next figure shows one of these canaries.

# %%
share = failures[0] / looks
plt.fill_between(
    looks, *(100 * bands[0].T), color=show.SKY, alpha=0.4, label="confidence sequence"
)
plt.plot(looks, 100 * share, color=show.BLUE, label="share seen")
for side in (-1, 1):
    ends = 100 * np.maximum(share + side * error[0], 0)
    plt.plot(
        looks, ends, color=show.GREY, ls="--", lw=1, label="usual interval" if side < 0 else None
    )
plt.axhline(2, color="black", lw=1, ls=":", label="true share")
plt.ylim(0, 12)
plt.xlabel("requests to the canary")
plt.ylabel("share that goes wrong (%)")
plt.legend()
show.finding(
    "An interval that holds at every look is wider than one for a single look",
    alt="Confidence sequence of one canary against requests. After 500 requests "
    f"{bands[0][9][0]:.1%} to {bands[0][9][1]:.1%}, after 3,000 {bands[0][-1][0]:.1%} to "
    f"{bands[0][-1][1]:.1%}; the usual interval is narrower at each look.",
)

# %% [markdown]
# The intervals of the sequence are wider. That is the price of looking whenever you like. You can report such an
# interval at any moment, for example: "between 1 % and 4 % of the requests go wrong". You may stop as soon as the whole
# interval lies above or below the share that you accept.
#
# ## What may a controller conclude from three tests?
#
# The controller of lesson 19 asks three questions. Does the candidate *fail*? Is it *slow*? Does it *differ* from the
# stable version? It sends the candidate back if one measure is bad, and promotes it if all are fine. With $\alpha$ =
# 0.001 and $\beta$ = 0.01 for each test, two sentences follow:
#
# - A candidate that is good in all three is sent back by the tests with probability $3\alpha$ at most. The probability of
#   any of three events is at most the sum of their probabilities.
# - A candidate that is bad in one measure is promoted only if *that* measure is called fine. This has probability
#   $\beta$ at most.
#
# A third sentence does not follow: "a good candidate is promoted with probability $1 - 3\alpha$". The controller also
# has a *deadline*. A candidate without a verdict by then goes back. How likely is that? The candidates here go wrong in
# exactly $p_0$ of their requests, in all three measures.

# %%
guess(
    "deadline",
    "Which share of these candidates has no verdict after 100 requests?",
    share=True,
)

# %%
LIMITS = {"failed": (0.005, 0.05), "slow": (0.02, 0.2), "different": (0.03, 0.1)}  # p0, p1


# %% [markdown]
# `verdicts` follows 4,000 candidates. It looks after every ten requests, and stops at the first verdict: all three
# tests fine, or one of them bad.


# %%


def verdicts(candidate, looks=50, every=10, runs=4000):
    """The shares with no verdict yet and sent back, after each look. Tests of the limits alone."""
    known = []
    n = every * np.arange(1, looks + 1)
    for what, (p0, p1) in LIMITS.items():
        wrong = random.binomial(every, candidate[what], (runs, looks)).cumsum(axis=1)
        known.append(canary.evidence(wrong, n, p0, p1))
    bad = (np.max(known, axis=0) >= math.log(1 / canary.ALPHA)).cumsum(axis=1) > 0
    fine = (np.max(known, axis=0) <= math.log(canary.BETA)).cumsum(axis=1) > 0
    return n, ~(bad | fine), bad & (bad.cumsum(axis=1) >= fine.cumsum(axis=1))


# %%
allowed = {what: p0 for what, (p0, _) in LIMITS.items()}
kinds = {
    "goes wrong exactly as often as allowed": allowed,
    "goes wrong half as often": {what: p0 / 2 for what, p0 in allowed.items()},
    "never goes wrong": dict.fromkeys(allowed, 0.0),
}
waits = {name: verdicts(each) for name, each in kinds.items()}

# %%
for (name, (n, waiting, _)), style in zip(waits.items(), ("-", "--", ":")):
    plt.plot(n, 100 * waiting.mean(axis=0), style, label=name)
plt.xlabel("requests to the canary when the deadline comes")
plt.ylabel("good candidates without a verdict (%)")
plt.legend()
at = {
    n: waits["goes wrong exactly as often as allowed"][1].mean(axis=0)[n // 10 - 1]
    for n in (100, 200, 400)
}
show.finding(
    "With few requests, the deadline decides and not the tests",
    alt="Share of good candidates without a verdict against requests. Just allowed: "
    + ", ".join(f"{share:.0%} after {n}" for n, share in at.items()),
)

# %% [markdown]
# How many of them are sent back by a test?

# %%
reveal("deadline", at[100])
false = waits["goes wrong exactly as often as allowed"][2][:, -1].mean()
claim(
    "false alarms stay below 3 α (we allow 0.3 points for chance), but after 100 requests more "
    "than half have no verdict",
    false <= 3 * canary.ALPHA + 0.003 and at[100] > 0.5 > at[400],
    f"false alarms {false:.2%}; without a verdict "
    + ", ".join(f"{share:.0%} after {n}" for n, share in at.items()),
)

# %% [markdown]
# So a promise about a controller needs three numbers: $\alpha$, $\beta$, and the requests until the deadline. Even a
# candidate that never goes wrong needs a minimum of requests: $\ln\beta$ divided by $\ln\frac{1-p_1}{1-p_0}$. For
# *failed* that is 99.5, the largest of the three. So no promotion comes before 100 requests, and there the dotted line
# falls. **Now do exercise 19b.3**, in which you compute such shares without simulation.
#
# ## How do I compare two versions at the same time?
#
# A fixed $p_0$ assumes that every day is a usual day. On a day on which everything fails more often, the test blames
# the candidate. The stable version answers at the same time, so we can compare the two. Suppose that $n_c$ requests
# went to the candidate and $n_s$ to the stable version, and that $K$ of them all went wrong. *Whose* were they?
#
# If both versions go wrong with the same probability $p$, each wrong request is the candidate's with probability
#
# $$q_0 = \frac{n_c\,p}{n_c\,p + n_s\,p} = \frac{n_c}{n_c + n_s} .$$
#
# The unknown $p$ cancels. If the candidate goes wrong with probability $r\,p$, then
#
# $$q_1 = \frac{n_c\,r\,p}{n_c\,r\,p + n_s\,p} = \frac{r\,q_0}{r\,q_0 + (1 - q_0)} .$$
#
# So take the wrong requests alone, and write 1 if the request was the candidate's, else 0. This is again a sequence of
# zeros and ones, with the probability $q_0$ or $q_1$. The same sequential test applies, with $q_0$ and $q_1$ in place
# of $p_0$ and $p_1$. `canary.blame` computes it. (If a large share goes wrong, the sequence is not quite independent:
# the candidate cannot go wrong more than $n_c$ times. Then the count varies less, and fewer good candidates go back.)
#
# We try it with good candidates on four different days, on which 0.3 % to 30 % of all requests go wrong. A fifth day
# turns bad halfway. The candidate gets 20 % of the requests.


# %%
def sent_back(p, times=1.0, looks=100, runs=2000, ratio=10):
    """Shares sent back at any look, by comparison and by p0 = 1 % against p1 = 10 %."""
    n, m = 10 * np.arange(1, looks + 1), 40 * np.arange(1, looks + 1)
    wrong = random.binomial(10, times * p, (runs, looks)).cumsum(axis=1)
    others = random.binomial(40, p, (runs, looks)).cumsum(axis=1)
    compared = np.transpose(
        [canary.blame((wrong[:, i], n[i]), (others[:, i], m[i]), ratio) for i in range(looks)]
    )
    alone = canary.evidence(wrong, n, 0.01, 0.1)
    return [(each.max(axis=1) >= math.log(1 / 0.05)).mean() for each in (compared, alone)]


# %%
shares = {"0.3 %": 0.003, "1 %": 0.01, "5 %": 0.05, "30 %": 0.3}
shares["1 %, later 20 %"] = np.repeat([0.01, 0.2], 50)  # a look each
days = {name: sent_back(p) for name, p in shares.items()}
show.table(
    ["of all requests fail", "sent back, compared", "sent back, fixed p0"],
    [[name, *(f"{share:.1%}" for share in each)] for name, each in days.items()],
    caption="Good candidates, 1,000 requests each, α = 5 %",
)

# %%
claim(
    "compared, at most 5 % of the good candidates go back on each of these days (we allow 1.5 "
    "points for chance); with a fixed p0 of 1 % "
    "most go back on a day with 5 %",
    max(compared for compared, _ in days.values()) <= 0.05 + 0.015 and days["5 %"][1] > 0.5,
)

# %% [markdown]
# Does the comparison still notice a bad candidate? This one fails in 5 % of its requests, the stable version in 0.5 %.

# %%
worse = sent_back(0.005, times=10)
claim(
    "a candidate that fails ten times as often still goes back", worse[0] > 0.9, f"{worse[0]:.1%}"
)

# %% [markdown]
# The comparison has a price. It counts only what goes wrong. If nothing goes wrong, it learns nothing and promotes no
# candidate. So the controller keeps the fixed limits as a second way to be called *fine*. Take a candidate that goes
# wrong in $p_1$ of its requests, and $r$ times as often as the stable version. It now has two ways to be called fine,
# each with probability $\beta$ at most. So it passes with probability $2\beta$ at most. That is the price of fairness
# on bad days.
#
# ## Where this goes wrong: counts from two shares
#
# The comparison needs one $q_0$, the candidate's share, for all the requests that it counts. Suppose that both versions
# are equally good. At night the candidate gets 5 % of the requests, and 1 % of all requests fail. In the morning it
# gets 50 %, and in a bad hour 10 % of all requests fail.

# %%
night = (2, 200), (38, 3800)  # candidate and stable: (how many failed, of how many)
morning = (100, 1000), (100, 1000)
pooled = tuple((a + c, b + d) for (a, b), (c, d) in zip(night, morning))
show.table(
    ["counts", "candidate fails in", "stable fails in", "evidence for three times as often"],
    [
        [name, f"{c[0] / c[1]:.1%}", f"{s[0] / s[1]:.1%}", f"{canary.blame(c, s, 3):.0f}"]
        for name, (c, s) in (("night", night), ("morning", morning), ("both in one", pooled))
    ],
    caption="Two equally good versions, counted apart and together",
)

# %%
apart, together = (
    sum(canary.blame(*each, 3) for each in (night, morning)),
    canary.blame(*pooled, 3),
)
claim(
    "counted apart, nothing speaks against the candidate; counted together, there is an alarm",
    apart < math.log(canary.BETA) and together > math.log(1 / canary.ALPHA),
    f"evidence {apart:.0f} apart, {together:.0f} together",
)

# %% [markdown]
# This is *Simpson's paradox*: the two versions are equal in each period, and look unequal in the sum. The reason is
# that the candidate got most of its requests in the bad hour. So do not add counts from periods with different shares.
# In lesson 19 a new share starts new gateways, which count from zero. A controller that changes weights without a
# restart must start a new count at each change.
#
# ## Are requests independent?
#
# All formulas so far treat each request as a new draw. Real requests are often related: a client with a broken file
# sends it ten times. Suppose that each client sends ten requests, and either all ten go wrong or none. All ten go wrong
# with probability $p_0$ = 1 %. The expected share of wrong requests is the same as before. Does the test still keep its
# promise of 5 %?

# %%
fates = random.random((4000, 400)) < 0.01  # 400 clients for each of 4,000 good candidates
clients = np.arange(1, 401)
by_request = canary.evidence(10 * fates.cumsum(axis=1), 10 * clients, 0.01, 0.02)
by_client = canary.evidence(fates.cumsum(axis=1), clients, 0.01, 0.02)
alarms = [(each.max(axis=1) >= math.log(1 / 0.05)).mean() for each in (by_request, by_client)]

# %%
claim(
    "counted by request, the test sends back more than 30 % of the good candidates; counted by "
    "client, at most 5 % (we allow 1.5 points for chance)",
    alarms[0] > 0.3 and alarms[1] <= 0.05 + 0.015,
    f"{alarms[0]:.0%} and {alarms[1]:.1%} of the good candidates are sent back",
)

# %% [markdown]
# Ten such requests tell you no more than one. So count units that are nearly independent: clients, sessions, or
# minutes. Then you need more traffic for the same certainty. If you cannot count clients, widen the bounds. Check them
# with canaries of the *stable* version against itself (*A/A tests*). The share of alarms is an estimate of your real
# $\alpha$.
#
# ## What we measured

# %%
show.table(
    ["what", "figure"],
    [
        ["requests that see errors double from 1 % to 2 %, fixed test", f"{fixed:,}"],
        ["the same, sequential test, good and bad", f"{mean_n[0.01]:,.0f}, {mean_n[0.02]:,.0f}"],
        ["good ones sent back by 100 looks: fixed, sequential",
         f"{peeking[-1]:.0%}, {sequential[-1]:.1%}"],
        ["good ones without a verdict after 100 requests", f"{at[100]:.0%}"],
        ["good ones sent back if 5 % of all requests fail: fixed p0, compared",
         f"{days['5 %'][1]:.0%}, {days['5 %'][0]:.1%}"],
        ["good ones sent back if ten requests go wrong together", f"{alarms[0]:.0%}"],
    ],
    caption="Deciding early",
)  # fmt: skip

# %% [markdown]
# ## What to remember
#
# - Compute the number of requests before you promise a number of minutes. For half the difference you need about four
#   times as many.
# - If you want to look all the time, use a test that allows it. A promise about a controller includes its deadline.
# - Compare the two versions at the same time and at one share, and count units that are independent.
#
# ## Where this breaks down
#
# $p_1$ and $r$ must be chosen before the release. If you choose them after you have seen the data, the promises no
# longer hold. A test for ten times as many failures may call twice as many fine. The limits say nothing about *which*
# clients suffer: 1 % of failures may be all the requests of one country. Our tests judge shares of yes and no. For
# latencies themselves, compare distributions. And an alarm does not name a cause. It says that something differs, not
# what.
#
# ## What real teams use
#
# Argo Rollouts and Flagger can compare a query with a fixed bound at intervals, and let a few looks fail. Netflix and
# Google published Kayenta. It can compare the candidate with a fresh *baseline* of the stable version that gets as many
# requests. Netflix also describes sequential tests that compare whole distributions of latencies. Experiment platforms
# use sequential tests with confidence sequences. An A/A test that runs all the time shows how often your own pipeline
# raises false alarms.
#
# ## Further reading
#
# - A. Wald, *Sequential Tests of Statistical Hypotheses*, Annals of Mathematical Statistics 16(2), 1945.
# - J. Przyborowski, H. Wilenski, *Homogeneity of Results in Testing Samples from Poisson Series*, Biometrika 31, 1940: the
#   comparison by shares.
# - R. Johari, P. Koomen, L. Pekelis, D. Walsh, *Peeking at A/B Tests: Why it matters, and what to do about it*, KDD
#   2017.
# - M. Lindon, C. Sanden, V. Shirikian, *Rapid Regression Detection in Software Deployments through Sequential Testing*,
#   2022, arXiv:2205.14762.
# - A. Ramdas, P. Grünwald, V. Vovk, G. Shafer, *Game-Theoretic Statistics and Safe Anytime-Valid Inference*,
#   Statistical Science 38(4), 2023.
# - B. Beyer et al. (eds.), *The Site Reliability Workbook*, O'Reilly 2018, chapter 16: Canarying Releases.
