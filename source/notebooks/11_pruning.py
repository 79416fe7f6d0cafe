# %% [markdown]
# # 11 Pruning and sparsity
#
# At 3 a.m. the edge devices run out of disk again. The team shipped a model with 80 % of its weights removed. The new
# file has the same number of bytes as the old one, and the model answers in the same time.
#
# ## You will be able to
#
# - remove weights by magnitude, and say how far each layer can be pruned with a sensitivity scan;
# - retrain a pruned network without losing its zeros, and choose a schedule for deep cuts;
# - say when zeros save bytes and when they save time;
# - take whole filters out of a network, and measure the parameters, operations and time that this saves.
#
# ## Before you start
#
# Lesson 04 trains the network that we prune here. It explains validation, seeds and epochs. *Pruning* sets weights to
# zero, or takes parts of a network out. *Sparsity* is the share of the weights that are zero.

# %%
import copy
import gzip

import matplotlib.pyplot as plt
import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

from course_lib import data, measure, torch_models, torch_stacks
from course_lib.idioms import begin, claim, guess, ledger, observe, path, reveal, show

scratch = begin("11")
torch.set_num_threads(1)  # the networks are small, and one thread is the same everywhere
path.picture(here="11")

# %% [markdown]
# ## Which weights can be removed?
#
# Let the loss be $L(w)$ for weights $w \in \mathbb{R}^n$. Pruning adds a change $\delta \in \mathbb{R}^n$ to the
# weights. To second order,
#
# $$L(w + \delta) - L(w) \approx g^\top \delta + \tfrac12\, \delta^\top H \delta,$$
#
# with the gradient $g \in \mathbb{R}^n$ and the matrix of second derivatives $H \in \mathbb{R}^{n \times n}$. After
# training, $g \approx 0$. To set weight $i$ to zero, choose $\delta_i = -w_i$ and all other $\delta_j = 0$. Then
#
# $$L(w + \delta) - L(w) \approx \tfrac12 H_{ii} w_i^2 .$$
#
# If we know nothing about $H_{ii}$, we assume that it is similar for all weights. Then the weights with the smallest
# magnitude $|w_i|$ cost the least. This is *magnitude pruning*. We remove half of the weights of lesson 04's network
# and do not train it afterwards.

# %%
guess(
    "half", "The smaller half of the weights becomes zero. What is the test accuracy?", share=True
)

# %%
train_part, test = data.digits()
fit, validation = data.hold_out(train_part)
network = torch_models.load_digits_cnn()  # lesson 04's, trained on `fit`


# %%
def accuracy_of(network, part=test):
    return float((torch_models.logits_of(network, part.images).argmax(1) == part.labels).mean())


def weights_of(network):  # the layers' weights; the few biases stay
    return [layer.weight for layer in network if hasattr(layer, "weight")]


# %% [markdown]
# Two small functions do the work. `masks_by` takes a tensor of scores for each layer, ranks all scores together, and
# marks the lowest ones. A *mask* holds one truth value for each weight: True stays. `pruned` multiplies a copy of the
# network by its masks.


# %%
def masks_by(scores, sparsity):
    """One mask for each score tensor: False for the smallest scores over all of them."""
    every = torch.cat([score.flatten() for score in scores])
    lowest = every.topk(round(sparsity * len(every)), largest=False, sorted=False).indices
    keep = torch.ones(len(every), dtype=torch.bool)
    keep[lowest] = False
    parts = keep.split([score.numel() for score in scores])
    return [part.reshape(score.shape) for part, score in zip(parts, scores)]


# %%
def pruned(network, masks):
    network = copy.deepcopy(network)
    with torch.no_grad():
        for weight, mask in zip(weights_of(network), masks):
            weight *= mask
    return network


def magnitudes(network):
    return [weight.detach().abs() for weight in weights_of(network)]


# %% [markdown]
# We compare three ways to choose half of the weights.

# %%
torch.manual_seed(0)
scores = {
    "smallest": magnitudes(network),
    "drawn at random": [torch.rand_like(w) for w in weights_of(network)],
    "largest": [-m for m in magnitudes(network)],
}

# %%
after = {who: accuracy_of(pruned(network, masks_by(score, 0.5))) for who, score in scores.items()}
reveal("half", after["smallest"])
rows = [[who, f"{100 * a:.1f} %"] for who, a in [("none", accuracy_of(network)), *after.items()]]
show.table(["removed", "test accuracy"], rows, caption="The network without half of its weights")

# %%
claim(
    "without the smaller half of its weights, the network loses at most 2 points; without a "
    "random half, or without the larger half, it loses more than 20",
    accuracy_of(network) - after["smallest"] <= 0.02
    and accuracy_of(network) - max(after["drawn at random"], after["largest"]) > 0.2,
    ", ".join(f"{who} {100 * a:.1f} %" for who, a in after.items()),
)

# %% [markdown]
# The answers of this network hardly depend on the smaller half of its weights.
#
# ## What does "weights below a threshold" remove?
#
# **Where this goes wrong.** One of the articles that this course grew from gives pruning as a formula: *remove
# neurons with weights less than threshold*. It has two mistakes. A weight of −3 is *less than* 0.1, but its magnitude
# is large. And a neuron has many weights: the formula does not say which of them count. We apply it to single
# weights, as written:

# %%
threshold = float(torch.cat([m.flatten() for m in magnitudes(network)]).median())
as_written = pruned(network, [w >= threshold for w in weights_of(network)])
by_magnitude = pruned(network, [m >= threshold for m in magnitudes(network)])

# %%
claim(
    "as written, the formula removes every negative weight and ruins the network; with the "
    "same threshold on the magnitude, the network loses at most 2 points",
    all(bool((w >= 0).all()) for w in weights_of(as_written))
    and accuracy_of(as_written) < 0.5
    and accuracy_of(network) - accuracy_of(by_magnitude) <= 0.02,
    f"accuracy {100 * accuracy_of(as_written):.1f} % and {100 * accuracy_of(by_magnitude):.1f} %",
)

# %% [markdown]
# The formula mixes two methods:
#
# - *Unstructured* pruning removes single weights by their magnitude. The shapes stay. The zeros are scattered.
# - *Structured* pruning removes whole neurons or filters, by a norm of all their weights. The shapes shrink.
#
# Smaller shapes can save time with ordinary software. Scattered zeros need special software. We measure both below.
#
# ## How far can each layer be pruned?
#
# A *sensitivity scan* answers this question. Prune a single layer at rising sparsity, leave all others whole, and
# measure the accuracy. We use the validation data, because we will choose by the result. One network could mislead
# us, so we train two more from other seeds.

# %%
networks = [network] + [
    torch_models.train(fit.images, fit.labels, seed=seed, epochs=15) for seed in (1, 2)
]
dense = np.array([accuracy_of(each) for each in networks])
names = ["first filters", "second filters", "first dense", "second dense"]
sizes = np.array([w.numel() for w in weights_of(network)])


# %% [markdown]
# `cut` prunes each layer to its own sparsity. `s * np.eye(4)[k]` means: `s` for layer `k`, 0 for the others.


# %%
def cut(network, shares):
    """Prunes layer k to the sparsity shares[k], by magnitude."""
    return pruned(network, [masks_by([m], s)[0] for m, s in zip(magnitudes(network), shares)])


# %%
steps = np.array([0, 0.2, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95])
alone = np.array(  # (network, layer, sparsity)
    [
        [[accuracy_of(cut(each, s * np.eye(4)[k]), validation) for s in steps] for k in range(4)]
        for each in networks
    ]
)

# %% [markdown]
# The curves are means over the three networks.

# %%
for curve, name, size, marker in zip(alone.mean(0), names, sizes, "os^D"):
    plt.plot(100 * steps, 100 * curve, marker + "-", ms=4, label=f"{name}, {size:,} weights")
plt.xlabel("sparsity of this layer alone (%)")
plt.ylabel("validation accuracy (%)")
plt.legend(loc="lower left")
show.finding(
    "The large first dense layer can be pruned furthest",
    alt="Validation accuracy by the sparsity of one layer, mean of three networks. At 80 %: "
    + ", ".join(f"{name} {100 * a:.0f} %" for name, a in zip(names, alone.mean(0)[:, 6])),
)

# %%
claim(
    "at 80 % of one layer, the large first dense layer loses less than the small first filters "
    "and the small second dense layer, in every network",
    bool((alone[:, 2, 6] > np.maximum(alone[:, 0, 6], alone[:, 3, 6])).all()),
    ", ".join(f"{name} {100 * a:.0f} %" for name, a in zip(names, alone.mean(0)[:, 6])),
)

# %% [markdown]
# The scan suggests a rule: prune each layer as long as this layer *alone* costs at most one point. How many points
# does the network lose if all four layers are pruned that far at once?

# %%
guess("together", "Each layer alone costs 1 point at most. What do all four cost?", low=0, high=50)


# %% [markdown]
# `chosen_shares` takes the last step of each curve before the accuracy falls by more than one point. We compare the
# result with two other rules, at the same total sparsity.


# %%
def chosen_shares(curves, tolerance=0.01):
    """For each layer's curve, the last step before it first loses more than the tolerance."""
    too_far = curves[:, :1] - curves > tolerance
    too_far[:, -1] = True  # never all of the way
    return steps[np.maximum(too_far.argmax(axis=1) - 1, 0)]


def over_all(network, sparsity):
    return pruned(network, masks_by(magnitudes(network), sparsity))


# %%
by_scan = [chosen_shares(curves) for curves in alone]
total = [float(shares @ sizes / sizes.sum()) for shares in by_scan]
rules = {
    "the same share in each layer": [cut(n, 4 * [t]) for n, t in zip(networks, total)],
    "shares from the scan": [cut(n, shares) for n, shares in zip(networks, by_scan)],
    "smallest over all layers": [over_all(n, t) for n, t in zip(networks, total)],
}

# %% [markdown]
# How accurate are the nine pruned networks on the test data?

# %%
test_of = {rule: np.array([accuracy_of(each) for each in cuts]) for rule, cuts in rules.items()}
lost = 100 * (dense - test_of["shares from the scan"])
reveal("together", lost.mean())

# %%
rows = [
    [rule, *(f"{100 * a:.1f} %" for a in each), f"{100 * each.mean():.1f} %"]
    for rule, each in test_of.items()
]
totals = ", ".join(f"{100 * t:.0f} %" for t in total)
show.table(
    ["which weights go", "network 1", "2", "3", "mean"],
    rows,
    caption=f"Test accuracy without training, at a total sparsity of {totals}",
)

# %%
ahead = 100 * (test_of["shares from the scan"] - test_of["the same share in each layer"])
claim(
    "at the same total sparsity, the scan's shares are better than equal shares in every "
    "network, by more than 10 points on average; and yet they lose more than 4 points",
    bool((ahead > 0).all()) and ahead.mean() > 10 and lost.mean() > 4,
    f"{ahead.mean():.1f} points ahead, {lost.mean():.1f} points lost; shares of "
    + "; ".join(", ".join(f"{100 * s:.0f} %" for s in shares) for shares in by_scan),
)

# %% [markdown]
# Pruned together, the layers cost more than four points, the sum of what each may cost alone. So a scan tells you
# where there is room. It does not tell you the accuracy of the whole network; measure that afterwards.
#
# The last row needs no scan. *Global* pruning ranks all weights of the network together. In our table it has the best
# mean. But it compares weights of different layers, and that comparison can be meaningless. Divide the weights and
# biases of the first layer by 64, and multiply the second layer's weights by 64. No answer changes, as with lesson
# 09's twin: $\mathrm{ReLU}(cx) = c\,\mathrm{ReLU}(x)$ for $c > 0$. How does each rule prune this network?

# %%
rescaled = copy.deepcopy(network)
with torch.no_grad():
    rescaled[0].weight /= 64
    rescaled[0].bias /= 64
    rescaled[2].weight *= 64
same = [torch_models.logits_of(each, test.images) for each in (network, rescaled)]
emptied = over_all(rescaled, total[0])
kept = float((weights_of(emptied)[0] != 0).float().mean())
scanned = accuracy_of(cut(rescaled, by_scan[0]))

# %%
claim(
    "the rescaled network gives the same answers; global pruning removes all of its first "
    "filters; with the scan's shares it is as accurate as before, to within 1 point",
    bool(np.allclose(*same, atol=1e-3))
    and kept == 0
    and abs(scanned - test_of["shares from the scan"][0]) < 0.01,
    f"global: {100 * kept:.0f} % of the first filters kept, accuracy "
    f"{100 * accuracy_of(emptied):.0f} %; by the scan's shares {100 * scanned:.1f} %",
)

# %% [markdown]
# So look at the shares that global pruning keeps in each layer before you trust it. Scales can differ like this if
# batch normalisation follows a layer, because it divides the layer's scale out. **Now do exercises 11.1 and 11.2**:
# an exact mask, and shares from a scan.
#
# ## Does retraining repair the damage?
#
# After the cut we train the network further. This is called *fine-tuning*. The optimizer does not know which weights
# should stay zero.


# %%
pixels, labels = torch.from_numpy(fit.images)[:, None], torch.from_numpy(fit.labels)


def tune(network, after_step=None, *, epochs=6, seed=0):
    """Lesson 04's loop, on a copy. after_step(network, share of the steps done) may prune."""
    network, steps, done = copy.deepcopy(network).train(), 17 * epochs, 0
    torch.manual_seed(seed)
    optimizer = torch.optim.Adam(network.parameters(), fused=True)
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    for _ in range(epochs):
        for chosen in torch.randperm(len(pixels))[: 17 * 64].split(64):
            optimizer.zero_grad()
            logits = network(torch_models.shifted(pixels[chosen]))
            nn.functional.cross_entropy(logits, labels[chosen]).backward()
            optimizer.step()
            cycle.step()
            done += 1
            if after_step:
                with torch.no_grad():
                    after_step(network, done / steps)
    return network.eval()


# %% [markdown]
# An epoch has 17 batches of 64 pictures. The only addition to lesson 04's loop is `after_step`, called after each
# step of the optimizer. It may set weights to zero again. `holding` makes such a function from masks. First we tune
# one network for one epoch without masks. Then we tune all three with masks, cut to 80 % over all layers.


# %%
def holding(masks):
    def after_step(network, _):
        for weight, mask in zip(weights_of(network), masks):
            weight *= mask

    return after_step


def zeros_in(network):
    return float((torch.cat([w.flatten() for w in weights_of(network)]) == 0).float().mean())


# %%
cuts = [over_all(each, 0.8) for each in networks]
forgetful = tune(cuts[0], epochs=1)
held = [tune(each, holding([w != 0 for w in weights_of(each)])) for each in cuts]
damaged, repaired = ([accuracy_of(each) for each in some] for some in (cuts, held))

# %%
claim(
    "without masks, fewer than half of the zeros are left after one epoch; with masks, all are",
    zeros_in(forgetful) < 0.4 and abs(zeros_in(held[0]) - 0.8) < 0.001,
    f"{100 * zeros_in(forgetful):.0f} % and {100 * zeros_in(held[0]):.0f} % of the weights",
)

# %% [markdown]
# A weight of zero has a gradient like any other weight, so the optimizer moves it. You must hold the zeros that
# should stay.

# %%
claim(
    "with masks, fine-tuning brings the networks back to within 3 points, on average",
    np.mean(dense - repaired) <= 0.03,
    f"{100 * dense.mean():.1f} % dense, {100 * np.mean(damaged):.1f} % cut, "
    f"{100 * np.mean(repaired):.1f} % tuned",
)

# %% [markdown]
# PyTorch's module for this is `torch.nn.utils.prune`. It keeps the mask beside the weights and multiplies at each
# call. Is the file of such a network smaller?

# %%
from torch.nn.utils import prune

library = copy.deepcopy(network)
layers = [(layer, "weight") for layer in library if hasattr(layer, "weight")]
prune.global_unstructured(layers, pruning_method=prune.L1Unstructured, amount=0.8)
same = all(torch.equal(layer.weight, w) for (layer, _), w in zip(layers, weights_of(cuts[0])))
save_file(library.state_dict(), scratch / "with_masks.safetensors")
save_file(network.state_dict(), scratch / "dense.safetensors")


# %%
def bytes_of(name):
    return (scratch / name).stat().st_size


# %%
with_masks = bytes_of("with_masks.safetensors") / bytes_of("dense.safetensors")
claim(
    "the library's weights equal ours; its file is nearly twice as large as the dense one",
    same and with_masks > 1.9,
    f"{with_masks:.2f} times: {', '.join(sorted(library.state_dict())[1:3])}, …",
)

# %% [markdown]
# The file holds `weight_orig` and `weight_mask` in place of `weight`. Call `prune.remove(layer, "weight")` before you
# save: it multiplies once and drops the mask. The file then has its old size. A later section explains why it is not
# smaller.
#
# ## Should I prune at once or gradually?
#
# *One-shot* pruning cuts once and then trains. *Gradual* pruning cuts a little, trains a little, and cuts again. A
# *schedule* says how sparse the network is at each time. Let $\tau$ be the time as a share of the pruning phase, from 0
# to 1, and let $s_i$ and $s_f$ be the sparsity at its start and end. Zhu and Gupta (2017) use
#
# $$s(\tau) = s_f + (s_i - s_f)\,(1-\tau)^p, \qquad p = 3 .$$
#
# With $p = 1$ this is a straight line. With $p = 3$ it is steep at the start, while there are many weights to choose
# from, and flat at the end.


# %%
def sparsity_at(tau, final, initial=0.0, power=3):
    return final + (initial - final) * (1 - np.clip(tau, 0, 1)) ** power


# %% [markdown]
# We compare the methods in a race with equal conditions: the same trained networks and the same number of steps. Only
# the schedule of the cuts differs. That takes many trainings, so we use a smaller network: 64 inputs, dense layers of
# 100 and 50, and 10 outputs. `course_lib.torch_stacks` trains many of these side by side. It ranks the weights of
# each network over all layers and holds the masks, as we did above.
#
# Six networks from six seeds are trained for 20 epochs and then pruned to 80 % and to 98 %, during 16 epochs more. The
# gradual schedules reach the final sparsity after 70 % of these steps. All methods renew their masks every 4 steps.

# %%
flat, flat_test = fit.images.reshape(-1, 64), test.images.reshape(-1, 64)
trained = torch_stacks.train(
    torch_stacks.fresh(range(6), [64, 100, 50, 10]), flat, fit.labels, epochs=20
)
goal = np.repeat([0.8, 0.98], 6)
twice = [each.repeat(2, 1, 1) for each in trained]  # each network once for each goal

# %%
schedules = {
    "one shot": lambda share: goal,
    "line": lambda share: sparsity_at(share / 0.7, goal, power=1),
    "cubic": lambda share: sparsity_at(share / 0.7, goal),
}


# %%
def race(schedule, every):
    """Test accuracies after pruning, (goal, network)."""
    done = torch_stacks.train(
        twice, flat, fit.labels, epochs=16, seed=1, sparsity=schedule, every=every
    )
    return torch_stacks.accuracies(done, flat_test, test.labels).reshape(2, 6)


# %% [markdown]
# First a cut every 4 steps.

# %%
often = {name: race(schedule, every=4) for name, schedule in schedules.items()}

# %%
rows = [
    [name, *(f"{100 * each.mean():.1f} % ({100 * each.min():.0f} to {100 * each.max():.0f})"
             for each in reached)]
    for name, reached in often.items()
]  # fmt: skip
show.table(
    ["method", "80 % zeros", "98 % zeros"],
    rows,
    caption="Test accuracy, mean (lowest to highest) of six networks, a cut every 4 steps",
)

# %%
lead = 100 * (often["cubic"] - often["one shot"]).mean(axis=1)
claim(
    "at 98 % the cubic schedule leads one shot and the line by more than 10 points; at 80 % the "
    "three are within 2 points",
    min(lead[1], 100 * (often["cubic"] - often["line"])[1].mean()) > 10
    and np.ptp([100 * each[0].mean() for each in often.values()]) < 2,
    f"cubic against one shot: {lead[0]:+.1f} points at 80 %, {lead[1]:+.1f} at 98 %",
)

# %% [markdown]
# The schedule matters where pruning is hard. This network does not need one for 80 %.
#
# Why does the cubic schedule lead at 98 %? A common explanation is that the other methods have too little training
# left after their large cuts. But one shot makes its cut at the very start and trains on for 16 epochs. And line and
# cubic stop cutting at the same time. We test another explanation: a cut does harm if it removes a large share of
# *the weights that are left*. If so, larger cuts must shrink the cubic schedule's lead. So we cut every 17 steps,
# once in an epoch. All schedules end as sparse as before, and at about the same time.

# %%
seldom = {name: race(schedule, every=17) for name, schedule in schedules.items()}


def largest_cut(schedule, every):
    shares = np.arange(0, 17 * 16, every) / (17 * 16)
    left = np.array([1, *(1 - schedule(share)[-1] for share in shares)])
    return (1 - left[1:] / left[:-1]).max()


# %%
rows = [
    [name, every, f"{100 * largest_cut(schedules[name], every):.0f} %",
     f"{100 * reached[name][1].mean():.1f} %"]
    for name in schedules for every, reached in ((4, often), (17, seldom))
]  # fmt: skip
show.table(
    ["method", "steps between cuts", "largest cut, of what was left", "test accuracy"],
    rows,
    caption="98 % zeros, mean of six networks",
)

# %%
change = {name: 100 * (seldom[name] - often[name])[1].mean() for name in schedules}
claim(
    "with a cut every 17 steps the cubic schedule loses more than 5 points, and more than one "
    "shot does; its largest cut takes more than twice as much as before",
    change["cubic"] < min(-5, change["one shot"])
    and largest_cut(schedules["cubic"], 17) > 2 * largest_cut(schedules["cubic"], 4),
    f"cubic {change['cubic']:+.1f} points, one shot {change['one shot']:+.1f}; the lead is now "
    f"{100 * (seldom['cubic'] - seldom['one shot'])[1].mean():.1f} instead of {lead[1]:.1f}",
)

# %% [markdown]
# The lead falls because the cubic schedule gets worse; one shot changes less. Both races leave the same amount of
# training, so that cannot be the reason. Larger cuts can be. But the largest cut does not explain everything. Compare
# the line, cut every 4 steps, with the cubic schedule, cut every 17: their largest cuts are alike, their accuracies
# are not. So it may also matter when the large cuts come.
#
# **Your turn:** run `race(schedules["cubic"], every=8)[1].mean()` in a new cell. Guess first: is it closer to the
# accuracy with 4 steps or to that with 17?
#
# ### Where this goes wrong: the article's pruning call
#
# One of the articles prints this listing, for the library tensorflow-model-optimization:
#
# ```python
# pruned_model = tfmot.sparsity.keras.prune_low_magnitude(model, begin_step=1000, end_step=2000, ratio=0.5)
# pruned_model.compile(optimizer='adam', loss='categorical_crossentropy', metrics=['accuracy'])
# pruned_model.fit(x_train, y_train, epochs=10, batch_size=32, validation_data=(x_val, y_val))
# ```
#
# The library works on Keras 2 only, and the course's models are Keras 3, so it is not installed here. We ran the
# listing in an environment of its own:
#
# - It refuses a Keras 3 model: *ValueError: `prune_low_magnitude` can only prune an object of the following types:
#   keras.models.Sequential, …* (tensorflow/model-optimization, issue 1172).
# - With a Keras 2 model, it silently ignores `begin_step`, `end_step` and `ratio`. It has no such parameters.
# - Then `fit` stops: *Prune() wrapper requires the UpdatePruningStep callback to be provided during training*.
# - Without `strip_pruning` at the end, the masks stay in the model, as in PyTorch.
#
# There is one more mistake, and arithmetic finds it: on our data the training ends before pruning begins.

# %%
article_steps = 10 * -(-len(fit.labels) // 32)  # 10 epochs in batches of 32, rounded up
claim(
    "10 epochs end before step 1000",
    article_steps < 1000,
    f"{article_steps} steps",
)

# %% [markdown]
# In PyTorch, we now do what the listing intends: remove half of the weights gradually. The schedule runs from a tenth
# to seven tenths of the steps.


# %%
def gradually(final, begin=0.1, end=0.7):
    """Renews the masks after each step, and holds them."""

    def after_step(network, share):
        sparsity = sparsity_at((share - begin) / (end - begin), final)
        holding(masks_by(magnitudes(network), sparsity))(network, share)

    return after_step


# %%
mended = tune(network, gradually(0.5))
claim(
    "half of the weights are zero, and at most 2 points of accuracy are lost",
    abs(zeros_in(mended) - 0.5) < 0.001 and accuracy_of(network) - accuracy_of(mended) <= 0.02,
    f"{100 * accuracy_of(network):.1f} %, then {100 * accuracy_of(mended):.1f} %",
)

# %% [markdown]
# In Keras 3, a callback can do the same: in `on_train_batch_end`, call `layer.kernel.assign(layer.kernel * mask)` for
# each layer.
#
# ## What do zeros buy?
#
# We return to the network with 80 % zeros, tuned with its masks held. We write its file and measure its time.

# %%
guess("bytes", "80 % zeros: how large is the file, compared with the dense one?", share=True)

# %% [markdown]
# We also pack both files with gzip.

# %%
sparse = held[0]
save_file(sparse.state_dict(), scratch / "pruned.safetensors")
for name in ("dense", "pruned"):
    content = (scratch / f"{name}.safetensors").read_bytes()
    (scratch / f"{name}.safetensors.gz").write_bytes(gzip.compress(content, mtime=0))

# %%
files = [f"{name}.safetensors{packed}" for packed in ("", ".gz") for name in ("dense", "pruned")]
reveal("bytes", bytes_of(files[1]) / bytes_of(files[0]))
show.table(
    ["file", "bytes"], [[name, f"{bytes_of(name):,}"] for name in files], caption="Files on disk"
)

# %%
claim(
    "the file has exactly as many bytes as the dense one; packed by gzip, it has less than half "
    "of the bytes of the packed dense one",
    bytes_of(files[1]) == bytes_of(files[0]) and bytes_of(files[3]) < 0.5 * bytes_of(files[2]),
    f"{bytes_of(files[1]):,}; packed {bytes_of(files[3]):,} against {bytes_of(files[2]):,}",
)

# %% [markdown]
# `measure.latencies_ms` calls both networks in turn, so a slow moment of the machine affects both. We take the ratio
# within each round, and then the median.

# %%
pictures = torch.from_numpy(test.images)[:, None]


def runs(network, pixels):
    def call():
        with torch.inference_mode():
            return network(pixels)

    return call


# %%
def times_as_fast(calls, rounds=30):
    """How many times as fast each call is as the first, the median over rounds."""
    taken = list(measure.latencies_ms(calls, rounds=rounds).items())
    return {name: float(np.median(taken[0][1] / each)) for name, each in taken}


# %%
speed = times_as_fast({"dense": runs(network, pictures), "zeros": runs(sparse, pictures)})
observe(
    "the network with 80 % zeros is as fast as the dense one, to within a fifth",
    5 / 6 < speed["zeros"] < 6 / 5,
    f"{speed['zeros']:.2f} times as fast",
)

# %% [markdown]
# A zero takes four bytes like any other number, and it is multiplied like any other number. Zeros save something only
# if a *format* leaves them out, or a kernel (lesson 10) skips them. gzip is such a format, for a file that is stored
# or sent. Unpacked in memory, the model is as large as before.

# %%
difference = np.abs(
    torch_models.logits_of(network, test.images) - torch_models.logits_of(sparse, test.images)
).max()
for form, file in (("80 % zeros", files[1]), ("80 % zeros, gzip", files[3])):
    ledger.record(
        "digits_cnn",
        form,
        accuracy=accuracy_of(sparse),
        bytes=bytes_of(file),
        max_abs_diff=difference,
    )

# %% [markdown]
# ### When does a sparse format pay?
#
# *CSR*, compressed sparse rows, stores three things: the values that are not zero, the column of each, and where each
# row begins. The matrix with the rows $(0, 5, 0)$, $(0, 0, 0)$ and $(7, 0, 9)$ becomes the values 5, 7, 9, their
# columns 1, 0, 2, and the row starts 0, 1, 1, 3. A float32 matrix with $R$ rows, $C$ columns and density $d$, the
# share that is *not* zero, then takes
#
# $$\underbrace{4\,dRC}_{\text{values}} + \underbrace{4\,dRC}_{\text{columns}}
# + \underbrace{4\,(R+1)}_{\text{row starts}} \quad\text{bytes instead of}\quad 4\,RC .$$
#
# So CSR breaks even just below $d = 1/2$. For time there is no such formula. A dense product reads memory in order
# and uses the processor's widest instructions. A sparse product jumps through memory. We measure a random layer of
# 1,024 × 1,024, with one picture and with 32: PyTorch's dense product against SciPy's CSR product.

# %%
from scipy import sparse as formats

random = np.random.default_rng(0)
layer = random.normal(size=(1024, 1024)).astype(np.float32)
in_csr = {
    zeros: formats.csr_matrix(
        np.where(np.abs(layer) > np.quantile(np.abs(layer), zeros), layer, 0)
    )
    for zeros in (0.5, 0.9, 0.98)
}

# %%
faster = {}
for batch in (1, 32):
    x = random.normal(size=(1024, batch)).astype(np.float32)
    both = {"dense": (torch.from_numpy(layer), torch.from_numpy(x))}
    both |= {zeros: (matrix, x) for zeros, matrix in in_csr.items()}
    calls = {name: lambda a=a, b=b: a @ b for name, (a, b) in both.items()}
    faster[batch] = times_as_fast(calls)

# %% [markdown]
# The table shows the bytes in memory, and the speed.

# %%
held_bytes = {z: m.data.nbytes + m.indices.nbytes + m.indptr.nbytes for z, m in in_csr.items()}
share = {z: size / layer.nbytes for z, size in held_bytes.items()}
rows = [
    [f"{100 * z:.0f} %", f"{share[z]:.3f}", *(f"{faster[batch][z]:.1f}" for batch in faster)]
    for z in in_csr
]
show.table(
    ["zeros", "bytes, of the dense", "times as fast, 1 picture", "32 pictures"],
    rows,
    caption="One layer in CSR, beside the dense layer",
)

# %%
claim(
    "the formula gives CSR's bytes: more than the dense layer at 50 % zeros, a fifth at 90 %",
    held_bytes == {z: 8 * m.nnz + 4 * 1025 for z, m in in_csr.items()}
    and share[0.5] > 1
    and 0.19 < share[0.9] < 0.22,
    ", ".join(f"{100 * z:.0f} %: {part:.3f}" for z, part in share.items()),
)

# %%
observe(
    "with 32 pictures, CSR is slower than dense at 50 % zeros and faster at 98 %",
    faster[32][0.5] < 1 < faster[32][0.98],
    f"{faster[32][0.5]:.2f} and {faster[32][0.98]:.1f} times as fast",
    either=True,
)

# %% [markdown]
# The sparsity from which a sparse product is faster depends on the batch, the kernel and the processor. Measure it with
# yours. **Now do exercise 11.3**: it compares CSR with a bitmap.
#
# ## What is 2:4 sparsity, and what does it cost?
#
# Hardware can skip zeros easily if their places follow a fixed pattern. In *2:4 sparsity*, two of every four
# neighbouring weights are zero. Each weight that is left needs 2 bits to say where in its group it lies. NVIDIA's
# sparse tensor cores multiply this pattern, and so do AMD's newer data-centre GPUs; PyTorch reaches both through its
# CUDA and ROCm builds. NVIDIA promises up to twice the arithmetic. Ordinary processors lack this, so we cannot
# measure the time here. We measure the accuracy that the pattern costs.
#
# For a fair comparison, both rules must remove the same share of each layer. So we compare 2:4 with removing the
# smaller half of *each layer*. The table also shows global pruning of half of the network, which may remove different
# shares.


# %%
def two_of_four(weight):
    """True for the two largest magnitudes of each four neighbours along the inputs."""
    groups = weight.detach().abs().reshape(-1, 4)
    best = groups.topk(2, dim=1).indices
    return torch.zeros_like(groups, dtype=torch.bool).scatter(1, best, True).reshape(weight.shape)


def in_pattern(network):  # the first filters have 9 inputs, which 4 does not divide: left whole
    first, *rest = weights_of(network)
    return [torch.ones_like(first), *map(two_of_four, rest)]


# %% [markdown]
# Only the last row is trained after the cut, with the pattern held.

# %%
patterned = [pruned(each, in_pattern(each)) for each in networks]
with_half = {
    "half of the network": [over_all(each, 0.5) for each in networks],
    "half of each layer but the first": [cut(each, [0, 0.5, 0.5, 0.5]) for each in networks],
    "2:4 in each layer but the first": patterned,
    "2:4, tuned for 3 epochs": [
        tune(cut_one, holding(in_pattern(each)), epochs=3)
        for each, cut_one in zip(networks, patterned)
    ],
}

# %%
mean_of = {rule: np.mean([accuracy_of(n) for n in some]) for rule, some in with_half.items()}
show.table(
    ["zeros", "test accuracy"],
    [[rule, f"{100 * mean:.1f} %"] for rule, mean in mean_of.items()],
    caption=f"Mean of three networks; dense: {100 * dense.mean():.1f} %",
)

# %%
whole, anywhere, pattern, tuned_pattern = mean_of.values()
claim(
    "without training, 2:4 is behind half of each layer, and further behind half of the network; "
    "tuned, it is within 2 points of the dense networks",
    0 < anywhere - pattern < whole - pattern and dense.mean() - tuned_pattern <= 0.02,
    f"{100 * (anywhere - pattern):.1f} and {100 * (whole - pattern):.1f} points; "
    f"tuned {100 * tuned_pattern:.1f} %",
)

# %% [markdown]
# And the bytes? Two of four numbers with $b$ bits, and two places with 2 bits, are
#
# $$\frac{2b + 4}{4b} = \frac12 + \frac1b \quad\text{of the dense bytes:}\qquad b = 16:\ 0.5625, \quad b = 8:\ 0.625 .$$
#
# (For float32, NVIDIA's pattern is 1:2, one of two neighbours.) We pack the first dense layer in float16. Four places
# of two bits share a byte: `<<` shifts bits to the left, `|` combines numbers bit by bit.

# %%
mask = two_of_four(network[7].weight).numpy()
half_precision = network[7].weight.detach().numpy().astype(np.float16)
values = half_precision[mask]
places = np.nonzero(mask.reshape(-1, 4))[1].astype(np.uint8)  # 0 to 3, two to a group
packed = places[0::4] | places[1::4] << 2 | places[2::4] << 4 | places[3::4] << 6

# %% [markdown]
# Unpacking goes the other way: `>>` shifts back, and `& 3` keeps the lowest two bits.

# %%
unpacked = np.stack([packed >> shift & 3 for shift in (0, 2, 4, 6)], axis=1).ravel()
again = np.zeros((mask.size // 4, 4), np.float16)
again[np.arange(len(unpacked)) // 2, unpacked] = values
claim(
    "unpacked, the layer is the pruned one bit for bit, from 9/16 of the bytes",
    np.array_equal(again.reshape(mask.shape), half_precision * mask)
    and 16 * (values.nbytes + packed.nbytes) == 9 * half_precision.nbytes,
    f"{values.nbytes:,} + {packed.nbytes:,} bytes for {half_precision.nbytes:,}",
)

# %% [markdown]
# By this formula the file keeps more than half of its bytes. In exchange, the hardware can multiply the packed form.
#
# ## What if I remove whole filters?
#
# Then you need no special format and no special kernel. You build a smaller network. Filter $j$ of a convolution
# makes output channel $j$. So three things go together: the filter with its bias, the slice of the *next* layer's
# weights that reads the channel, and, after `Flatten`, the columns of the dense layer that read it. Here a channel
# has $4 \times 4 = 16$ of them, in a row.
#
# We remove half of the filters in both convolutions.

# %%
guess("macs", "Half of the filters go. What share of the operations is left?", share=True)


# %%
def strongest(weight, count):  # the filters with the largest sums of magnitudes, in their order
    return weight.detach().abs().flatten(1).sum(1).topk(count).indices.sort().values


# %%
def narrower(network, first_count, second_count):
    """The digits network with the strongest filters only: smaller layers, no zeros."""
    one = strongest(network[0].weight, first_count)
    two = strongest(network[2].weight, second_count)
    columns = (16 * two[:, None] + torch.arange(16)).flatten()  # channel c: 16 c to 16 c + 15
    state, small = network.state_dict(), torch_models.digits_cnn()
    small[0] = nn.Conv2d(1, first_count, 3, padding=1)
    small[2] = nn.Conv2d(first_count, second_count, 3, padding=1)
    small[7] = nn.Linear(16 * second_count, 20)
    state |= {"0.weight": state["0.weight"][one], "0.bias": state["0.bias"][one]}
    state |= {"2.weight": state["2.weight"][two][:, one], "2.bias": state["2.bias"][two]}
    state |= {"7.weight": state["7.weight"][:, columns]}
    small.load_state_dict(state)  # refuses any shape that does not fit
    return small.eval()


# %% [markdown]
# Is this the network that we intended? We compare it with the large network, with the dropped filters *and their
# biases* set to zero. Such a channel is 0 everywhere and adds nothing to the next layer.

# %%
small, zeroed = narrower(network, 8, 16), copy.deepcopy(network)
with torch.no_grad():
    for layer, count in ((zeroed[0], 8), (zeroed[2], 16)):
        dropped = np.setdiff1d(np.arange(len(layer.weight)), strongest(layer.weight, count))
        layer.weight[dropped], layer.bias[dropped] = 0, 0
apart = np.abs(
    torch_models.logits_of(small, test.images) - torch_models.logits_of(zeroed, test.images)
).max()
claim("small and zeroed network give the same logits", apart < 1e-4, f"apart by {apart:.0e}")

# %% [markdown]
# Now we count. A multiplication with its addition is one *multiply-accumulate*, MAC. A layer does one for each of its
# weights, and a convolution repeats that at each of its $H \times W$ output points. A *hook*, a function that PyTorch
# calls after a layer, sees the shape of its output.


# %%
def count(network):
    """Parameters, and MACs for one picture."""
    macs = []

    def note(layer, _, output):
        macs.append(layer.weight.numel() * output.shape[2:].numel())  # H × W; 1 for a dense layer

    hooks = [m.register_forward_hook(note) for m in network if hasattr(m, "weight")]
    with torch.inference_mode():
        network(pictures[:1])
    for hook in hooks:
        hook.remove()
    return sum(p.numel() for p in network.parameters()), sum(macs)


# %%
narrow = [narrower(each, 8, 16) for each in networks]
tuned = [tune(each, seed=1) for each in narrow]  # no mask: what is gone cannot come back
save_file(tuned[0].state_dict(), scratch / "half_the_filters.safetensors")

# %%
fewer_parameters, fewer_macs = (h / d for h, d in zip(count(tuned[0]), count(network)))
reveal("macs", fewer_macs)
claim(
    "with half of the filters, fewer than half of the parameters are left, and about a quarter "
    "of the operations",
    fewer_parameters < 0.5 and 0.2 < fewer_macs < 0.3,
    f"parameters {count(network)[0]:,} → {count(tuned[0])[0]:,}, "
    f"MACs {count(network)[1]:,} → {count(tuned[0])[1]:,}",
)

# %% [markdown]
# The second convolution does most of the operations. Half of its inputs times half of its outputs is a quarter. What
# about accuracy and time?

# %%
narrow_accuracies = [np.array([accuracy_of(each) for each in some]) for some in (narrow, tuned)]
claim(
    "after tuning, the narrow networks are within 2 points of the dense ones, on average",
    (dense - narrow_accuracies[1]).mean() <= 0.02,
    f"{100 * dense.mean():.1f} % dense, {100 * narrow_accuracies[0].mean():.1f} % cut, "
    f"{100 * narrow_accuracies[1].mean():.1f} % tuned",
)

# %%
gain = {
    n: times_as_fast({"dense": runs(network, pictures[:n]), "half": runs(tuned[0], pictures[:n])})
    for n in (1, 450)
}
observe(
    "with 450 pictures at once, the network with half of the filters is faster",
    gain[450]["half"] > 1.2,
    f"{gain[450]['half']:.1f} times as fast with 450, {gain[1]['half']:.1f} times with one",
)

# %%
ledger.record(
    "digits_cnn",
    "half of the filters",
    accuracy=accuracy_of(tuned[0]),
    bytes=bytes_of("half_the_filters.safetensors"),
    max_abs_diff=np.abs(
        torch_models.logits_of(tuned[0], test.images)
        - torch_models.logits_of(network, test.images)
    ).max(),
)

# %% [markdown]
# This takes an ordinary file and ordinary kernels. But a quarter of the operations is not a quarter of the time: each
# call has overhead, which weighs most with one picture. **Now do exercise 11.4**: take the channels out.
#
# Larger networks have two more constraints. In a residual block the output is added to the input, so you can freely
# remove only the channels *inside* the block. If batch normalisation follows a filter, the filter's size alone says
# little. Rank by the size times $\gamma / \sigma$, the factor that the normalisation applies.
#
# ## What we measured


# %%
dense_bytes, narrow_bytes = bytes_of(files[0]), bytes_of("half_the_filters.safetensors")
rows = [
    ["dense", 1, dense[0], 1],
    ["80 % zeros", bytes_of(files[1]) / dense_bytes, repaired[0], speed["zeros"]],
    [
        "half of the filters",
        narrow_bytes / dense_bytes,
        narrow_accuracies[1][0],
        gain[450]["half"],
    ],
]
show.table(
    ["network", "bytes, of the dense", "test accuracy", "times as fast"],
    [[name, f"{100 * b:.0f} %", f"{100 * a:.1f} %", f"{t:.1f}"] for name, b, a, t in rows],
    caption="The digits network, pruned and tuned",
)

# %% [markdown]
# Zeros alone change neither the bytes nor the time. The narrow network changes both.
#
# ## What to remember
#
# - Zeros save something only if a format or a kernel uses them. Ask for the file's bytes and the time, not for the
#   sparsity.
# - A scan shows where there is room. Hold the masks, fine-tune, and keep single cuts small where pruning is hard.
# - To save time on ordinary processors, remove filters.
#
# ## Where this breaks down
#
# These networks are larger than their task needs, so they prune well. In a compact network, fewer weights can go.
# Accuracy is a mean. Pruning can hurt rare classes first, which 450 balanced digits cannot show; measure your own
# groups. Ranking by magnitude assumes comparable scales. Retraining needs data and time. SparseGPT and Wanda prune
# large language models without it.
#
# ## What real teams use
#
# Teams use `torch.nn.utils.prune` for experiments. For filters, Torch-Pruning follows residual additions and
# concatenations. On GPUs, `torch.sparse` and TensorRT support 2:4. For language models, Minitron removes whole parts
# and retrains the rest by distillation, with a small share of the original tokens. Quantization (lessons 09 and 10)
# or a smaller network (lesson 12) often takes less work, so try them first.
#
# ## Further reading
#
# - Y. LeCun, J. S. Denker, S. A. Solla, *Optimal Brain Damage*, NIPS 1989.
# - S. Han, J. Pool, J. Tran, W. J. Dally, *Learning both Weights and Connections for Efficient Neural Networks*, NIPS
#   2015.
# - H. Li et al., *Pruning Filters for Efficient ConvNets*, ICLR 2017; Z. Liu et al., *Learning Efficient Convolutional
#   Networks through Network Slimming*, ICCV 2017.
# - M. Zhu, S. Gupta, *To Prune, or Not to Prune: Exploring the Efficacy of Pruning for Model Compression*, 2017,
#   arXiv:1710.01878.
# - A. Mishra et al., *Accelerating Sparse Deep Neural Networks*, 2021, arXiv:2104.08378.
# - S. Muralidharan et al., *Compact Language Models via Pruning and Knowledge Distillation*, 2024, arXiv:2407.14679.
# - D. Blalock et al., *What is the State of Neural Network Pruning?*, MLSys 2020.
