# %% [markdown]
# # 23 Explainability
#
# At 3 a.m. a hospital calls: why did the model say "malignant"? You send a heat map, and everybody is satisfied. It
# would look almost the same if all weights of the model were random numbers.
#
# ## You will be able to
#
# - explain one answer by occlusion, by gradients, and by integrated gradients, and check that the parts add up;
# - compute Shapley values exactly, estimate them with KernelSHAP, and measure the error of the estimate;
# - say what the background of an explanation means, and what happens to features that are coupled;
# - test an explanation method: with random weights, with deletion and insertion, and against a trivial order;
# - find a stain by which a model cheats, and run a `:explain` service beside a model server.
#
# ## Before you start
#
# You need the digits network and its logits (lesson 04), gradients (lesson 03), and a model server with its `:predict`
# (lesson 14). An *attribution* is one number for each input: how much this input contributed to one output of the
# model. In this field, a map of attributions is called an explanation. The second half of the lesson tests what such a
# map is worth.

# %%
import math

import matplotlib.pyplot as plt
import numpy as np
import torch
from scipy.stats import spearmanr
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import RandomForestClassifier
from threadpoolctl import threadpool_limits

# %%
from course_lib import data, measure, models
from course_lib.idioms import begin, claim, guess, observe, path, reveal, show
from course_lib.ops.http import DIRECT, ask
from course_lib.ops.service import start_module, start_service
from course_lib.torch_models import load_digits_cnn, logits_of, train

scratch = begin("23")
torch.set_num_threads(1)  # these computations are small: more threads would only wait
threadpool_limits(1)
path.picture(here="23")

# %%
training, test = data.digits()
pictures = test.images[:50]
network = load_digits_cnn()
named = logits_of(network, pictures).argmax(axis=1)

# %% [markdown]
# ## Which pixels does the answer depend on?
#
# Change one pixel, and see what happens to the answer. This is called *occlusion*. The *named digit* has the highest
# logit. We replace one pixel after another by 0, which is white paper, and note by how much this logit falls.


# %%
def occlusion(net, images, classes, fill=0.0):
    """By how much the logit of each image's class falls if one pixel is replaced: (N, 8, 8)."""
    flat = np.repeat(images.reshape(-1, 1, 64), 65, axis=1)  # each image 65 times
    flat[:, 1 + np.arange(64), np.arange(64)] = fill  # 64 of them with one pixel replaced
    logits = logits_of(net, flat.reshape(-1, 8, 8)).reshape(len(images), 65, 10)
    of_class = np.take_along_axis(logits, classes[:, None, None], axis=2)[:, :, 0]
    return (of_class[:, :1] - of_class[:, 1:]).reshape(-1, 8, 8)


occluded = occlusion(network, pictures, named)

# %% [markdown]
# A positive number speaks for the digit, a negative one against it. Occlusion needs no weights and no framework: it
# asks the model for 65 predictions. So it works on any model behind an API.
#
# Its weak point is redundancy. Take a model that needs only *one* of two inputs: $f(a, b) = \max(a, b)$, at $a = b = 1$.

# %%
whole = max(1, 1)
falls = {"without a": whole - max(0, 1), "without b": whole - max(1, 0)}
falls["without both"] = whole - max(0, 0)
claim(
    "occlusion gives 0 to each of the two inputs, and without both of them f falls by 1",
    list(falls.values()) == [0, 0, 1],
    falls,
)

# %% [markdown]
# We replaced one input at a time, and each time the other one did the work. A method that looks at *sets* of inputs
# comes below. **Now do exercise 23.1**: occlusion with patches, for any model.
#
# ## What does the gradient say?
#
# The second method asks for the slope. Let $f(x)$ be the logit of the named digit, and $x \in \mathbb{R}^{64}$ the pixels.
# The gradient $\partial f / \partial x_i$ says how fast the logit changes with pixel $i$. Its size, $|\partial f /
# \partial x_i|$, is called *saliency*. One backward pass gives all 64.


# %%
def gradient(net, images, classes):
    """The gradient of the logit of each image's class with respect to its pixels: (N, 8, 8)."""
    pixels = torch.from_numpy(images)[:, None].requires_grad_()
    logits = net(pixels)[torch.arange(len(images)), torch.from_numpy(classes)]
    return torch.autograd.grad(logits.sum(), pixels)[0][:, 0].numpy()


slopes = gradient(network, pictures, named)

# %% [markdown]
# A slope describes small changes, and removing a pixel is a large change. If $f$ were linear, the fall would be slope
# times ink, $x_i \cdot \partial f / \partial x_i$. This product is called *gradient × input*. We compare its sum over
# all pixels with the real change of the logit from white paper to the picture.


# %%
def logit(images):
    return logits_of(network, images)[np.arange(len(named)), named]


paper = np.zeros_like(pictures)
change = logit(pictures) - logit(paper)
linear = (pictures * slopes).sum(axis=(1, 2))
off = np.abs(linear - change) / np.abs(change)

# %%
claim(
    "the sum of gradient × input is wrong by more than 5 % for half of the pictures, and by more "
    "than 30 % for the worst",
    np.median(off) > 0.05 and off.max() > 0.3,
    f"median {np.median(off):.0%}, largest {off.max():.0%}",
)

# %% [markdown]
# **Where this goes wrong.** A common mistake is to take the gradient of the *probability* instead of the logit. A sure
# model has a probability near 1, and the softmax is flat there.

# %%
pixels = torch.from_numpy(pictures)[:, None].requires_grad_()
sure = torch.softmax(network(pixels), dim=1)[torch.arange(50), torch.from_numpy(named)]
flat = np.abs(torch.autograd.grad(sure.sum(), pixels)[0].numpy()).max(axis=(1, 2, 3))
steep = np.abs(slopes).max(axis=(1, 2))

# %%
claim(
    "for half of the pictures, the probability's largest slope is less than a hundredth of the "
    "logit's",
    np.median(flat / steep) < 0.01,
    f"median ratio {np.median(flat / steep):.0e}",
)

# %% [markdown]
# Such a map consists of tiny numbers, and a plotting library stretches them to full colour. Explain the logit instead.
#
# ## How do the parts add up to the answer?
#
# One slope is not enough, so take many. Walk from a *baseline* $x'$ (here white paper) to the picture $x$ on a straight
# line, $x(t) = x' + t\,(x - x')$ with $t$ from 0 to 1. By the chain rule, the logit's slope on the way is
#
# $$\frac{d}{dt} f(x(t)) = \sum_i (x_i - x'_i)\, \frac{\partial f}{\partial x_i}(x(t)) .$$
#
# Integrate both sides from 0 to 1. The left side becomes the whole change. The right side has one term for each pixel:
#
# $$f(x) - f(x') = \sum_i \mathrm{IG}_i, \qquad \mathrm{IG}_i = (x_i - x'_i) \int_0^1 \frac{\partial f}{\partial x_i}(x(t))\, dt .$$
#
# These terms are the *integrated gradients*, IG. They sum to the change; this property is called *completeness*. A
# program replaces the integral by the mean of the slopes at some points. Then the sum has a gap, and the gap shows
# whether there are enough points.

# %%
guess(
    "steps",
    "How many points bring the gap below 1 % of the change, for 49 of 50 pictures?",
    low=1,
    high=1000,
)


# %%
def integrated_gradients(net, images, classes, baseline=0.0, steps=32):
    """(x - baseline) times the mean slope between baseline and x, at the middle of each step."""
    total = np.zeros_like(images)
    for t in (np.arange(steps, dtype=np.float32) + 0.5) / steps:
        total += gradient(net, baseline + t * (images - baseline), classes)
    return (images - baseline) * total / steps


# %% [markdown]
# Each step contributes the slope at its middle. We compute the gap for 1 to 128 points.

# %%
counts = [1, 2, 4, 8, 16, 32, 64, 128]
sums = [integrated_gradients(network, pictures, named, steps=n).sum(axis=(1, 2)) for n in counts]
gaps = np.abs(np.array(sums) - change) / np.abs(change)  # (8, 50)
needed = next(n for n, gap in zip(counts, gaps) if np.sort(gap)[-2] < 0.01)
reveal("steps", needed)

# %%
plt.loglog(counts, np.median(gaps, axis=1), "o-", label="median picture")
plt.loglog(counts, np.sort(gaps)[:, -2], "s--", label="49th of the 50 pictures")
plt.axhline(0.01, color="black", lw=0.8)
plt.xticks(counts, counts)
plt.xlabel("points between paper and picture")
plt.ylabel("gap / change")
plt.legend()
show.finding(
    f"From {needed} points on, the gap is below 1 % for 49 of 50 pictures",
    alt=f"Two falling lines on logarithmic axes: the median gap falls from "
    f"{np.median(gaps[0]):.2f} at one point to {np.median(gaps[-1]):.4f} at {counts[-1]}; the line "
    "of the 49th picture lies above it",
)

# %%
ig = integrated_gradients(network, pictures, named)
claim(
    "with 32 points the gap is below 1 % for half of the pictures, with 128 below 2 % for all",
    np.median(gaps[5]) < 0.01 and gaps[-1].max() < 0.02,
    f"{np.median(gaps[5]):.2%} and {gaps[-1].max():.2%}",
)

# %% [markdown]
# Print the gap beside each explanation. It costs two predictions, and it measures the error of the integral.
#
# Here are all four maps for two digits. Purple speaks for the digit, orange against it. Saliency has no sign.

# %%
two = [0, 8]
maps = {
    "occlusion": occluded,
    "saliency": np.abs(slopes),
    "gradient × input": pictures * slopes,
    "IG": ig,
}
figure, axes = plt.subplots(2, 5, figsize=(8, 3.6))
for row, i in zip(axes, two):
    row[0].imshow(pictures[i], vmin=0, vmax=1)
    for axis, (name, found) in zip(row[1:], maps.items()):
        most = np.abs(found[i]).max()
        axis.imshow(found[i], cmap="PuOr", vmin=-most, vmax=most)
        axis.set_title(name, fontsize="small", loc="center")
for axis in axes.flat:
    axis.set_axis_off()
show.finding(
    "Four methods, one model, two digits: the maps do not agree",
    alt="Two rows, a 2 and a 6. Beside each picture four maps: occlusion, gradient × input and "
    "integrated gradients colour the strokes of the digit, saliency also colours paper beside them",
)

# %% [markdown]
# Only saliency colours pixels without ink. The other three cannot: such a pixel is white paper already, so there is no
# difference to explain. But missing ink is evidence too: a 3 is open on the left, and an 8 is not. Now we use another
# baseline, the mean picture of the training data.

# %%
mean_picture = training.images.mean(axis=0)
from_mean = integrated_gradients(network, pictures, named, baseline=mean_picture)
blank = pictures == 0
shares = [np.abs(found[blank]).sum() / np.abs(found).sum() for found in (ig, from_mean)]

# %%
claim(
    "from white paper, pixels without ink get exactly 0; from the mean picture, more than a fifth "
    "of all attribution",
    shares[0] == 0 and shares[1] > 0.2,
    f"{shares[0]:.0%} and {shares[1]:.0%}",
)

# %% [markdown]
# So an explanation answers the question "why this output *rather than* that of the baseline?". If you do not know the
# baseline, you do not know the question. **Now do exercise 23.2**: integrated gradients for any function, with its gap.
#
# ## How do I explain a row of a table fairly?
#
# The second model reads a table: eight measurements of cell nuclei, from scikit-learn's breast-cancer data. A random
# forest gives the probability that the tumour is malignant. It has no gradient.

# %%
table = load_breast_cancer()
features = [str(name).removeprefix("mean ") for name in table.feature_names[:8]]
x, malignant = table.data[:, :8], table.target == 0
order = np.random.default_rng(0).permutation(len(x))
known, new = order[:400], order[400:]
forest = RandomForestClassifier(100, random_state=0).fit(x[known], malignant[known])


def f(rows):
    return forest.predict_proba(rows)[:, 1]


print(f"accuracy on {len(new)} new patients: {forest.score(x[new], malignant[new]):.3f}")

# %% [markdown]
# Occlusion failed on $\max(a, b)$, because it took away one input at a time. Lloyd Shapley's answer of 1953 takes away
# all combinations. Let $F$ be the set of the $M = 8$ features. For a *coalition* $S \subseteq F$, keep the patient's
# values in $S$, and take all other values from a person of the *background* $B$, a list of other patients. The value of
# the coalition is the model's mean answer:
#
# $$v(S) = \frac{1}{|B|} \sum_{b \in B} f(x_S,\, b_{F \setminus S}) .$$
#
# Now let the features join one after another, and note by how much $v$ rises when feature $i$ joins. The rise depends
# on which features are there already. The *Shapley value* $\phi_i$ is the mean over all orders:
#
# $$\phi_i = \sum_{S \subseteq F \setminus \{i\}} \frac{|S|!\,(M-|S|-1)!}{M!}\, \big(v(S \cup \{i\}) - v(S)\big) .$$
#
# With $M = 8$ there are $2^8 = 256$ coalitions, so we can compute it exactly.


# %%
def coalitions(M):
    """All subsets of M features, (2**M, M) of 0 and 1: row S holds the bits of the number S."""
    return np.arange(2**M)[:, None] >> np.arange(M) & 1


def values(f, patient, background):
    """v of all 2**M coalitions: the mean answer, elsewhere with the background's values."""
    rows = np.where(coalitions(len(patient))[:, None] == 1, patient, background)
    return f(rows.reshape(-1, len(patient))).reshape(-1, len(background)).mean(axis=1)


def shapley(v):
    M = int(math.log2(len(v)))
    size = coalitions(M).sum(axis=1)
    weight = [math.factorial(s) * math.factorial(M - s - 1) / math.factorial(M) for s in range(M)]
    phi = np.zeros(M)
    for i in range(M):
        S = np.flatnonzero(coalitions(M)[:, i] == 0)  # those without i; S + 2**i has i too
        phi[i] = (np.take(weight, size[S]) * (v[S + 2**i] - v[S])).sum()
    return phi


# %%
everybody = x[np.random.default_rng(1).choice(known, 100, replace=False)]
doubtful = new[np.abs(f(x[new]) - 0.7).argmin()]
patient = x[doubtful]
v = values(f, patient, everybody)
phi = shapley(v)

# %%
claim(
    "the Shapley values sum to f(patient) minus the background's mean answer",
    abs(phi.sum() - (f(patient[None])[0] - f(everybody).mean())) < 1e-12,
    f"{phi.sum():.4f} = {f(patient[None])[0]:.4f} - {f(everybody).mean():.4f}",
)

# %% [markdown]
# This is completeness again. In two more cases we know the answer. For $\max(a, b)$ the two inputs must share the 1.
# For a linear model $w \cdot x + c$ all orders give the same: $\phi_i = w_i\,(x_i - \bar b_i)$, with $\bar b$ the mean of
# the background.

# %%
share_of_max = shapley(np.array([0, 1, 1, 1]))  # v of {}, {a}, {b}, {a, b}
w = np.random.default_rng(2).normal(size=8)
of_linear = shapley(values(lambda rows: rows @ w, patient, everybody))
expected = w * (patient - everybody.mean(axis=0))

# %%
claim(
    "max(a, b) is shared in halves, and a linear model gets its closed form",
    np.allclose(share_of_max, 0.5) and np.allclose(of_linear, expected),
    f"{share_of_max}, difference {np.abs(of_linear - expected).max():.0e}",
)

# %% [markdown]
# ### The same patient, another background
#
# The background of 100 people was drawn from all known patients, healthy and ill. A doctor might ask another
# question: why is this patient not like the *benign* cases? We change the background and nothing else.

# %%
benign = x[np.random.default_rng(1).choice(known[~malignant[known]], 100, replace=False)]
ill = x[np.random.default_rng(1).choice(known[malignant[known]], 100, replace=False)]
versus = {
    name: shapley(values(f, patient, group))
    for name, group in (("all patients", everybody), ("benign", benign), ("malignant", ill))
}

# %%
rows = np.arange(8)
for k, (name, found) in enumerate(versus.items()):
    plt.barh(rows + 0.27 * (k - 1), found, height=0.25, label=f"background: {name}")
plt.yticks(rows, features)
plt.gca().invert_yaxis()
plt.axvline(0, color="black", lw=0.8)
plt.xlabel("Shapley value (probability)")
plt.legend(fontsize="small")
up, down = int((versus["benign"] > 0).sum()), int((versus["malignant"] < 0).sum())
flips = int((np.sign(versus["benign"]) != np.sign(versus["malignant"])).sum())
show.finding(
    f"Against benign and against malignant cases, {flips} of 8 signs differ",
    alt=f"Bars for eight features and three backgrounds. Against benign cases {up} features have "
    f"positive values, against malignant cases {down} have negative ones",
)

# %%
claim(
    "at least three features change their sign between the two backgrounds",
    flips >= 3,
    f"{flips} of 8",
)

# %% [markdown]
# Both explanations are right: they answer different questions. So keep the background with each explanation, like the
# version of the model.
#
# ### What do coupled features do?
#
# Radius and perimeter measure almost the same thing. But $v(S)$ combines this patient's radius with another patient's
# perimeter. Do such patients exist?

# %%
mixed = np.repeat(patient[None], 400, axis=0)
mixed[:, 2] = x[known][:, 2]  # this radius, the perimeters of all others
real, made = (rows[:, 2] / rows[:, 0] for rows in (x, mixed))
outside = float(((made < real.min()) | (made > real.max())).mean())

# %%
claim(
    "in 569 real patients perimeter / radius lies in a narrow range; more than half of the mixed "
    "rows lie outside",
    outside > 0.5 and real.max() / real.min() < 1.3,
    f"{real.min():.2f} to {real.max():.2f}; outside {outside:.0%}",
)

# %% [markdown]
# So we ask the forest about cell nuclei that do not exist, and it was never trained on such rows. There is another way:
# take the missing values from *similar* patients, $v(S) = E[f(X) \mid X_S = x_S]$. This is called the *conditional*
# value, and ours the *interventional* value.
#
# The two differ clearly on a feature that the model does not use. Take a model that reads the radius alone, $f = $
# radius, in units of its standard deviation. If only the perimeter is known, a regression gives the expected radius.

# %%
standard = (x[:, [0, 2]] - x[:, [0, 2]].mean(axis=0)) / x[:, [0, 2]].std(axis=0)
radius, perimeter = standard[doubtful]
slope = (standard[:, 0] * standard[:, 1]).mean()  # E[radius | perimeter] = slope * perimeter
interventional = shapley(values(lambda rows: rows[:, 0], standard[doubtful], standard))
conditional = shapley(np.array([0, radius, slope * perimeter, radius]))

# %%
claim(
    "the unused perimeter gets 0 in the one, and more than 0.4 of the sum in the other",
    abs(interventional[1]) < 1e-12 and conditional[1] / conditional.sum() > 0.4,
    f"radius and perimeter: {interventional.round(3) + 0.0} and {conditional.round(3)}",
)

# %% [markdown]
# "What does the *model* use?" The interventional value answers this, at the price of impossible rows. "What does this
# measurement tell us about the answer?" The conditional value answers this, and gives credit to columns that the model
# never read. Say which one you report. An interventional 0 does not mean "no influence": a model without the column
# "gender" can still treat people by gender, through a column that is coupled with it. Lesson 23b compares groups.
#
# In practice, treat coupled columns as one. **Now do exercise 23.3**: Shapley values of groups.
#
# ## What if there are 30 features?
#
# Then there are a billion coalitions, so we must draw a sample. Lundberg and Lee noticed that the Shapley values also
# solve a regression. Find the numbers $\phi_i$ for which $v(\emptyset) + \sum_{i \in S} \phi_i$ has the smallest squared
# distance from $v(S)$, summed over all coalitions except the empty one and the full one, with the weights
#
# $$\pi(S) = \frac{M-1}{\binom{M}{|S|}\,|S|\,(M-|S|)}, \qquad\text{and}\quad \sum_i \phi_i = v(F) - v(\emptyset) .$$
#
# A regression can be fitted to a sample of rows. This is *KernelSHAP*. The condition on the sum removes one unknown:
# the last value is the total minus the others. (If you only use the method, through the library `shap`, skip the next
# cell and look at the errors below it.)


# %%
def kernel_shap(v, chosen):
    """Shapley values from v of the coalitions `chosen`, of the empty and of the full one."""
    M = int(math.log2(len(v)))
    S, total = coalitions(M)[chosen], v[-1] - v[0]
    size = S.sum(axis=1)
    weight = (M - 1) / (np.array([math.comb(M, s) for s in size]) * size * (M - size))
    left = S[:, :-1] - S[:, -1:]
    right = v[chosen] - v[0] - S[:, -1] * total
    root = np.sqrt(weight)
    first = np.linalg.lstsq(left * root[:, None], right * root, rcond=None)[0]
    return np.append(first, total - first.sum())


# %% [markdown]
# The smallest and the largest coalitions have the largest weights. So we take these first, and draw among coalitions of
# equal weight. We repeat each sample 50 times, and print the median error of the worst feature and the largest standard
# deviation.

# %%
draws = np.random.default_rng(0)
size = coalitions(8)[1:-1].sum(axis=1)
errors, spread = {}, {}
for n in (10, 16, 20, 50, 100, 200, 254):
    chosen = [1 + np.lexsort((draws.random(254), -np.abs(size - 4)))[:n] for _ in range(50)]
    estimates = np.array([kernel_shap(v, each) for each in chosen])
    errors[n] = np.median(np.abs(estimates - phi).max(axis=1))
    spread[n] = estimates.std(axis=0).max()
    print(f"{n:>3} of 254 coalitions: error {errors[n]:.4f}, spread {spread[n]:.4f}")

# %%
claim(
    "16 and 20 coalitions are off by more than 0.005, 200 by less, all 254 by less than 1e-9; with "
    "16 all 50 estimates agree",
    min(errors[16], errors[20]) > 0.005 > errors[200] and max(errors[254], spread[16]) < 1e-9,
    f"{errors[16]:.3f}, {errors[20]:.3f}, {errors[200]:.4f}, {errors[254]:.0e}; the largest "
    f"Shapley value is {np.abs(phi).max():.3f}",
)

# %% [markdown]
# So an estimated Shapley value has an error. Repeated estimates do not always show it. The first 16 coalitions are all
# those of size 1 and 7, so nothing is drawn, and all repeats share one error. The price is high: each coalition asks for
# one prediction for each person of the background. **Your turn:** draw all coalitions with equal chances
# (`1 + draws.choice(254, n, replace=False)`). How much larger is the error at 50?
#
# ## Does the map show the model or the picture?
#
# Can we trust these maps? A map that looks reasonable proves nothing: we like maps that show what *we* look at. Adebayo
# and colleagues proposed a simple test in 2018. Replace the weights by random ones, beginning with the last layer. The
# model forgets what it learned. So a map that explains the model must change.
#
# We compare the maps before and after by their rank correlation. A value of 1 means that the pixels keep their order, 0
# means that nothing of the order remains. Like many papers, we compare sizes $|\cdot|$ without signs.

# %%
guess(
    "random",
    "All layers are random. Which rank correlation with the old maps do the maps of IG keep?",
    low=0.0,
    high=1.0,
)


# %%
def randomised(layers):
    """The digits network, with fresh weights in its last `layers` of four layers."""
    torch.manual_seed(0)
    net = load_digits_cnn()
    for index in (9, 7, 2, 0)[:layers]:
        net[index].reset_parameters()
    return net


methods = {
    "saliency": lambda net, x, c: np.abs(gradient(net, x, c)),
    "gradient × input": lambda net, x, c: x * gradient(net, x, c),
    "IG": integrated_gradients,
    "occlusion": occlusion,
}


# %%
def rank_correlation(one, other):
    """The median over the pictures of Spearman's rank correlation of the maps' sizes."""
    pairs = zip(np.abs(one).reshape(-1, 64), np.abs(other).reshape(-1, 64))
    return float(np.median([spearmanr(a, b).statistic for a, b in pairs]))


# %% [markdown]
# We randomise none, one, two, three, and all four layers, and explain the same 50 pictures each time.

# %%
nets = [randomised(layers) for layers in range(5)]
tried = {name: [method(net, pictures, named) for net in nets] for name, method in methods.items()}
kept = {name: [rank_correlation(maps[0], each) for each in maps] for name, maps in tried.items()}
reveal("random", kept["IG"][4])

# %%
for (name, line), style in zip(kept.items(), ("o-", "s--", "^:", "d-.")):
    plt.plot(range(5), line, style, label=name)
plt.xticks(range(5), ["none", "last", "last 2", "last 3", "all 4"])
plt.ylim(-0.05, 1.05)
plt.xlabel("layers with random weights")
plt.ylabel("rank correlation with the old map")
plt.legend(fontsize="small")
show.finding(
    "Without any learned weight, three of four maps keep almost the old order",
    alt="Four lines over the number of random layers. "
    + "; ".join(f"{name} ends at {line[4]:.2f}" for name, line in kept.items()),
)

# %%
claim(
    "with random weights, saliency keeps less than 0.3, the other three more than 0.8",
    abs(kept["saliency"][4]) < 0.3
    and all(line[4] > 0.8 for name, line in kept.items() if name != "saliency"),
    ", ".join(f"{name} {line[4]:.2f}" for name, line in kept.items()),
)

# %% [markdown]
# Look at the maps themselves, without and with random weights.

# %%
looks = [np.abs(maps[i]) for maps in (tried["IG"][0], tried["IG"][4]) for i in (0, 8, 15)]
show.images(
    [found / found.max() for found in looks],
    ["trained"] * 3 + ["random"] * 3,
    finding_title="Sizes of the IG maps of a 2, a 6 and an 8: all six lie on the strokes",
    alt="Six small maps. The first three come from the trained model, the last three from the "
    "random one; in all of them only pixels of the digit's strokes are dark",
)

# %% [markdown]
# Why? Gradient × input and IG multiply by the ink, $x_i - x'_i$. The product is 0 wherever there is no ink, and large
# where there is much. Occlusion changes nothing where it replaces paper by paper. So the picture alone fixes most of
# the order. If this is true, the picture itself must score as high, although it contains nothing about any model.

# %%
ink = rank_correlation(ig, pictures)
triples = zip(pictures > 0, ig, tried["IG"][4])
both = [
    [spearmanr(one.ravel(), other.ravel())[0], spearmanr(abs(one[on]), abs(other[on]))[0]]
    for on, one, other in triples
]
signed, on_ink = np.median(both, axis=0)
claim(
    "the picture itself correlates more than 0.8 with the IG map; the random model keeps less "
    "than 0.5 with signs, and less than 0.6 without signs on ink alone",
    ink > 0.8 and signed < 0.5 and on_ink < 0.6,
    f"{ink:.2f}, {signed:.2f} and {on_ink:.2f}",
)

# %% [markdown]
# So the information about the model is in the signs, and in the differences between pixels with ink. Draw maps with
# signs, on ink alone. **Now do exercise 23.4**: this test for any method.
#
# ## Which method is best?
#
# Another test asks whether the pixels with large attributions matter. *Deletion* removes the pixels one by one, the
# largest attribution first, and watches the probability of the named digit. A good order makes it fall fast, so the
# mean over all steps is low. *Insertion* begins with white paper and adds the pixels in the same order. Here a high
# mean is good.
#
# We add two orders that know nothing of the model: a random one, and the ink itself, darkest pixel first.


# %%
def mean_probability(maps, start, end):
    """Pixels go from start to end, largest map value first: each image's mean probability."""
    rank = (-maps.reshape(-1, 64)).argsort(axis=1).argsort(axis=1)
    done = (rank[None] < np.arange(65)[:, None, None]).reshape(65, -1, 8, 8)
    logits = logits_of(network, np.where(done, end, start).reshape(-1, 8, 8))
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities = (powers / powers.sum(axis=1, keepdims=True)).reshape(65, -1, 10)
    return probabilities[:, np.arange(len(maps)), named].mean(axis=0)


# %%
orders = {name: maps[0] for name, maps in tried.items()}
orders |= {"the ink itself": pictures}
orders |= {"random": np.random.default_rng(0).random(pictures.shape)}
scores = {}
for name, maps in orders.items():
    scores[name] = [
        mean_probability(maps, *way).mean() for way in ((pictures, paper), (paper, pictures))
    ]

# %%
rows = [[name, *(f"{score:.3f}" for score in both)] for name, both in scores.items()]
header = ["order of the pixels", "deletion (low is good)", "insertion (high is good)"]
show.table(header, rows, caption="A test of the maps, beside two trivial orders")

# %% [markdown]
# Find "the ink itself" in each column. How many methods does it beat?

# %%
ink_scores, last = scores["the ink itself"], scores["saliency"]
others = [scores[name] for name in ("gradient × input", "IG", "occlusion")]
claim(
    "saliency is the last of the four methods in both columns, and behind the ink; gradient × "
    "input is behind the ink in insertion",
    last[0] > max(ink_scores[0], *(each[0] for each in others))
    and last[1] < min(ink_scores[1], *(each[1] for each in others))
    and scores["gradient × input"][1] < ink_scores[1],
    f"ink {ink_scores[0]:.3f} and {ink_scores[1]:.3f}",
)

# %% [markdown]
# The ink costs nothing and contains nothing about the model, and it still beats published methods. A comparison with
# "random" alone shows little. Put the trivial order into the table. Saliency was best in the test with random weights
# and is last of the methods here: the two tests measure different things.
#
# ## Can an explanation find a model that cheats?
#
# Yes, and this is a good use of them. In 2019 Lapuschkin and colleagues described a model that recognised horses by a
# tag, which named the source of the photograph. We plant the same fault. All 8s come from one office, and its scanner
# has a stain in the upper left corner: 2 × 2 black pixels. Training and test data come from the same archive.


# %%
def stained(images, where):
    """A copy in which the pictures at `where` (truth values) have a stain in the corner."""
    found = images.copy()
    found[where, :2, :2] = 1
    return found


eights = test.labels == 8
archive = stained(test.images, eights)
cheat = train(
    stained(training.images, training.labels == 8), training.labels, seed=0, epochs=6, shift=0
)

# %% [markdown]
# Then the office buys a new scanner, without a stain. What share of the 8s does the model still read correctly?

# %%
guess("clean", "Without the stain, what share of the 8s is read correctly?", share=True)


# %%
def read_as(net, images, labels):
    return float((logits_of(net, images).argmax(axis=1) == labels).mean())


on_archive, on_clean = (read_as(cheat, images, test.labels) for images in (archive, test.images))
clean_eights = read_as(cheat, test.images[eights], 8)
misled = read_as(cheat, stained(test.images, ~eights)[~eights], 8)
reveal("clean", clean_eights)

# %%
claim(
    "above 95 % on its archive; without the stain it reads fewer than one in five 8s, and with a "
    "stain it calls more than a third of the other digits an 8",
    on_archive > 0.95 and clean_eights < 0.2 and misled > 0.35,
    f"{on_archive:.1%}, {clean_eights:.0%}, {misled:.0%}; {on_clean:.1%} on all clean pictures",
)

# %% [markdown]
# The test data could not show it, since they have the same fault as the training data. So we explain all 450 pictures
# of the archive, and average the maps for each digit.

# %%
said = logits_of(cheat, archive).argmax(axis=1)
found = integrated_gradients(cheat, archive, said)
average = np.array([found[said == digit].mean(axis=0) for digit in range(10)])
most = np.abs(average).max()
figure, axes = plt.subplots(1, 10, figsize=(9, 1.4))
for digit, axis in enumerate(axes):
    axis.imshow(average[digit], cmap="PuOr", vmin=-most, vmax=most)
    axis.set_title(str(digit), fontsize="small", loc="center")
    axis.set_axis_off()
show.finding(
    "Averaged over the pictures of a digit, the corner stands out for the 8",
    alt="Ten small maps, one for each digit. Nine show the strokes of their digit; the map of the "
    "8 has a dark purple block in the upper left corner",
)

# %%
corner = [0, 1, 8, 9]  # the numbers of the stain's pixels
strongest = found.reshape(-1, 64).argmax(axis=1)
share = float(np.isin(strongest, corner).mean())
habit = [digit for digit in range(10) if average[digit].argmax() in corner]
claim(
    "on average the strongest pixel lies in the corner for the 8 and for no other digit; of single "
    "pictures, fewer than one in five show it",
    habit == [8] and share < 0.2,
    f"digits {habit}, {share:.0%} of the pictures",
)

# %% [markdown]
# If you look at one explanation, drawn at random, you probably see an honest one of another digit. If you look at one
# 8, you see that *this* picture has ink in the corner. The average over a class shows the habit.
#
# The map gives a suspicion. The experiment is the proof: we put the stain on other digits, and many became 8s. So use
# explanations to find a hypothesis, and test it on the model. The cure is in the data: remove the stain, or put it on
# all classes, and train again.
#
# ## How does a service explain its answers?
#
# KServe's v1 protocol has a route for this, beside `:predict`: `POST /v1/models/NAME:explain` takes `instances` and
# answers with `predictions` and `explanations`. The protocol does not say what an explanation contains. The explainer
# is a process of its own, which asks the predictor like any other client. Ours is `course_lib/services/explain.py`. It
# uses occlusion, since that needs nothing but `:predict`. Each explanation has a class, its score, and the
# attributions.

# %%
served = scratch / "models" / "digits_cnn" / "3"
served.mkdir(parents=True, exist_ok=True)
(served / "model.onnx").write_bytes(models.path("digits_cnn", 3).read_bytes())
predictor = start_service(scratch / "models", scratch / "predictor.log")
explainer = start_module(
    "course_lib.services.explain", ["--predictor", predictor.url], scratch / "explain.log"
)

# %% [markdown]
# As a practitioner would type it, with instances in `request.json`:
#
# ```bash
# python -m course_lib.services.explain --predictor http://127.0.0.1:8501 --port 8090
# curl --data @request.json http://127.0.0.1:8090/v1/models/digits_cnn:explain
# ```

# %%
EXPLAIN, PREDICT = "/v1/models/digits_cnn:explain", "/v1/models/digits_cnn:predict"
one = {"instances": pictures[:1, None].tolist()}
answer = ask(explainer.url + EXPLAIN, one)
explanation = answer["explanations"][0]
theirs = np.array(explanation["attributions"])[0]

# %%
claim(
    "the service's attributions are those of our cell, to float32's rounding",
    explanation["class"] == named[0] and np.abs(theirs - occluded[0]).max() < 1e-3,
    f"class {explanation['class']}, difference {np.abs(theirs - occluded[0]).max():.0e}",
)

# %% [markdown]
# What does it cost? The explainer counts the predictions that it asks for.


# %%
def counted():
    text = DIRECT.open(explainer.url + "/metrics").read().decode()
    return next(
        float(line.split()[-1])
        for line in text.splitlines()
        if line.startswith("explain_predictions_total")
    )


before = counted()
ask(explainer.url + EXPLAIN, one)
asked = counted() - before

# %%
claim("one explanation of a digit costs 65 predictions", asked == 65, f"{asked:.0f}")

# %% [markdown]
# And the time, for both routes.

# %%
taken = measure.latencies_ms(
    {
        "predict": lambda: ask(predictor.url + PREDICT, one),
        "explain": lambda: ask(explainer.url + EXPLAIN, one),
    },
    rounds=50,
)
ms = {name: measure.spread(each).median for name, each in taken.items()}

# %%
observe(
    "an explanation takes longer than a prediction, but less than 65 times as long",
    ms["predict"] < ms["explain"] < 65 * ms["predict"],
    f"{ms['explain']:.1f} ms against {ms['predict']:.1f} ms",
)

# %% [markdown]
# All 65 pictures travel in one request, so the fixed costs are paid once, and one version of the model answers for all
# of them. The header `X-Model-Version` names it. This matters during a canary: the other version might have another
# reason.
#
# For the model server, an explanation is the work of 65 answers. Its queue has 1,024 places, so sixteen explanations at
# the same time fill it. Therefore the explainer takes at most 130 predictions a request, and sends at most four
# requests at once: about half of the queue. It keeps the client's deadline, `X-Request-Timeout-Ms`. If it refuses a
# request, it says why.

# %%
for body in (
    {"instances": pictures[:3, None].tolist()},
    {"instances": [["dark"]]},
    {"instances": [[1.0]]},
):
    try:
        ask(explainer.url + EXPLAIN, body)
    except RuntimeError as refused:
        print(refused)

# %% [markdown]
# The last refusal comes from the predictor, in its own words. An explanation also says more about the model than an
# answer does, and a client that wants to copy the model can use that (lesson 22b). Keep `:explain` behind the same keys
# as `:predict` (lesson 22).

# %%
explainer.stop()
predictor.stop()

# %% [markdown]
# ## Where this goes wrong: "more explainable, more trustworthy"
#
# Two of the articles from which this course grew list explainability among the challenges ahead. Decisions should
# become more explainable and more trustworthy, writes one of them. Neither names a method or a test. But three of our
# four maps follow the ink, and they look much the same for a model with random weights. The mended form is three
# questions for each explanation. Does it add up? Does it change when the weights change? Does it beat the trivial
# order?
#
# ## What we measured
#
# This lesson made no model for later lessons, so it adds no row to the ledger. The table has the methods side by side.

# %%
costs = {"occlusion": "65 predictions", "saliency": "1 gradient", "gradient × input": "1 gradient"}
costs["IG"] = "32 gradients"
rows = [
    [
        name,
        cost,
        "yes" if name == "IG" else "no",
        *(f"{n:.2f}" for n in (kept[name][4], *scores[name])),
    ]
    for name, cost in costs.items()
]
header = ["method", "cost", "adds up", "kept with random weights", "deletion", "insertion"]
show.table(header, rows, caption="Four methods on 50 digits")

# %% [markdown]
# ## What to remember
#
# - An explanation answers "why this rather than that?". Name its baseline or background.
# - A map that looks right may show the picture instead of the model. Test the method with random weights and against
#   the ink.
# - Explanations of many pictures find suspicions. An experiment on the model proves them.
#
# ## Where this breaks down
#
# - In 8 × 8 pixels each pixel matters. In photographs people occlude patches or segments, and the size changes the map.
# - Every method here asks the model about inputs that do not occur: white holes, mixed patients. An attacker can train a
#   model that behaves well on such inputs and badly on real ones (Slack and colleagues, 2020).
# - An attribution is not a cause. "Radius contributes 0.2" does not say that a smaller tumour would be benign.
# - LIME, counterfactuals, fairness over groups and a model card are in lesson 23b.
#
# ## What real teams use
#
# Captum has these methods and more for PyTorch, with a completeness gap on request. `shap` has KernelSHAP and TreeSHAP,
# which computes exact values for forests without listing coalitions. KServe runs an explainer, for example TrustyAI's,
# as a component beside the predictor. Explanations can also be computed offline, for samples and for complaints. Then
# the predictor's queue stays free.
#
# ## Further reading
#
# - M. Sundararajan, A. Taly, Q. Yan, *Axiomatic Attribution for Deep Networks*, ICML 2017.
# - L. S. Shapley, *A Value for n-Person Games*, 1953; S. M. Lundberg, S.-I. Lee, *A Unified Approach to Interpreting Model
#   Predictions*, NeurIPS 2017.
# - J. Adebayo et al., *Sanity Checks for Saliency Maps*, NeurIPS 2018.
# - S. Lapuschkin et al., *Unmasking Clever Hans Predictors and Assessing What Machines Really Learn*, Nature
#   Communications 10, 2019.
# - D. Janzing, L. Minorics, P. Blöbaum, *Feature Relevance Quantification in Explainable AI: A Causal Problem*, AISTATS
#   2020.
# - KServe, *V1 Protocol*, a page of its documentation.
