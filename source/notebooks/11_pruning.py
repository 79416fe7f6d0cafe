# %% [markdown]
# # 11 Pruning and sparsity
#
# At 3 a.m. the edge devices run out of disk again. The team shipped a model with 80 % of its weights removed. The
# new file has the same number of bytes as the old one, and answers in the same time.
#
# ## You will be able to
#
# - remove weights by magnitude, in each layer or over the whole network, and give the cost with its spread over seeds;
# - derive a gradual schedule, and tell one-shot pruning, gradual pruning and rewinding apart by what they reach;
# - say when zeros save bytes and when they save time: plain file, gzip, CSR, 2:4;
# - take whole filters out of a network by hand, and count the parameters, operations and milliseconds that go;
# - compress a network by pruning, clustering and Huffman coding into a file, and decode it to the same logits.
#
# ## Before you start
#
# Lesson 04 trains the network that is pruned here and explains validation, seeds and epochs; lesson 09 explains a
# codebook's simpler cousin, the quantization grid. *Pruning* sets weights to zero or takes parts of a network out;
# *sparsity* is the share of weights that are zero.

# %%
import copy

import matplotlib.pyplot as plt
import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

from course_lib import data, measure, torch_models
from course_lib.idioms import begin, claim, ledger, observe, path, show

scratch = begin("11")
torch.set_num_threads(1)  # the networks are small, and one thread is the same everywhere
path.picture(here="11")

# %% [markdown]
# ## Which weights can go?
#
# Let the loss be $L(w)$ for weights $w \in \mathbb{R}^n$, and let pruning add a change $\delta \in \mathbb{R}^n$. To second
# order,
#
# $$L(w + \delta) - L(w) \approx g^\top \delta + \tfrac12\, \delta^\top H \delta,$$
#
# with the gradient $g \in \mathbb{R}^n$ and the matrix of second derivatives $H \in \mathbb{R}^{n \times n}$. After training $g \approx 0$.
# Setting weight $i$ to zero means $\delta_i = -w_i$ and all other $\delta_j = 0$, so that
#
# $$L(w + \delta) - L(w) \approx \tfrac12 H_{ii} w_i^2 .$$
#
# LeCun's *optimal brain damage* estimates $H_{ii}$ for each weight. If nothing is known about $H_{ii}$, the best guess is
# that they are alike, and then the weights with the smallest magnitude $|w_i|$ cost least. This is *magnitude
# pruning*. Before the next cell: half of the weights go. What accuracy do you expect if they are the smallest, if they are drawn at random, if
# they are the largest?

# %%
train_part, test = data.digits()
fit, validation = data.hold_out(train_part)
network = torch_models.load_digits_cnn()  # lesson 04's, trained on `fit`


def accuracy_of(network, part=test):
    return float((torch_models.logits_of(network, part.images).argmax(1) == part.labels).mean())


def weights_of(network):  # the layers' weights; the few biases stay
    return [layer.weight for layer in network if hasattr(layer, "weight")]


# %%
def masks_by(scores, sparsity):
    """One mask for each score tensor: False for the smallest scores over all of them."""
    every = torch.cat([score.flatten() for score in scores])
    lowest = every.argsort()[: round(sparsity * len(every))]
    keep = torch.ones(len(every), dtype=torch.bool)
    keep[lowest] = False
    parts = keep.split([score.numel() for score in scores])
    return [part.reshape(score.shape) for part, score in zip(parts, scores)]


def pruned(network, masks):
    network = copy.deepcopy(network)
    with torch.no_grad():
        for weight, mask in zip(weights_of(network), masks):
            weight *= mask
    return network


# %%
torch.manual_seed(0)
scores = {
    "smallest": [w.detach().abs() for w in weights_of(network)],
    "drawn at random": [torch.rand_like(w) for w in weights_of(network)],
    "largest": [-w.detach().abs() for w in weights_of(network)],
}
half = {who: pruned(network, masks_by(score, 0.5)) for who, score in scores.items()}
after = {who: accuracy_of(each) for who, each in half.items()}
rows = [[who, f"{a:.1%}"] for who, a in [("none", accuracy_of(network)), *after.items()]]
show.table(["half of the weights that go", "test accuracy"], rows)

# %%
claim(
    "without the smaller half of its weights the network loses at most 2 points, without a "
    "random half or the larger half more than 20",
    accuracy_of(network) - after["smallest"] <= 0.02
    and accuracy_of(network) - max(after["drawn at random"], after["largest"]) > 0.2,
    ", ".join(f"{who} {a:.1%}" for who, a in after.items()),
)

# %% [markdown]
# No training followed. Half of the multiplications in this network were by numbers that its answers hardly needed.
#
# ## What does "weights below a threshold" delete?
#
# **Where this goes wrong.** Another of the articles that this course grew from gives pruning as a formula, *remove neurons with
# weights less than threshold*. The sentence holds two mistakes. A weight of −3 is *less than* 0.1; and a neuron has hundreds of weights, so
# "a neuron with weights less than" does not say which. Run the formula as written, on weights:

# %%
threshold = float(torch.cat([w.flatten() for w in scores["smallest"]]).median())
as_written = pruned(network, [w >= threshold for w in weights_of(network)])
gone = 1 - float(torch.cat([(w >= threshold).flatten() for w in weights_of(network)]).float().mean())
negative = float(torch.cat([(w < 0).flatten() for w in weights_of(network)]).float().mean())
claim(
    "the formula as written deletes every negative weight, and the network with it",
    all(bool((w >= 0).all()) for w in weights_of(as_written)) and accuracy_of(as_written) < 0.5,
    f"{gone:.0%} of the weights go, {negative:.0%} were negative; accuracy {accuracy_of(as_written):.1%}",
)

# %% [markdown]
# With the same threshold on the *magnitude*, half of the weights went, and the accuracy stayed (the table above). Two methods hide in
# that formula:
#
# - *unstructured* pruning: single weights, by their magnitude. Shapes stay; zeros are scattered anywhere.
# - *structured* pruning: whole neurons or filters, by a norm of all of their weights, such as the sum of
#   magnitudes, $\lVert w \rVert_1 = \sum_i |w_i|$. Shapes shrink.
#
# Which of the two you mean decides whether anything becomes faster. Later sections do both.
#
# ## The same share in each layer, or the smallest anywhere?
#
# `masks_by` ranked all weights together: *global* pruning. Libraries often ask for a share *per layer*. One network could mislead,
# so train three more, which differ by their seed, and prune all four at rising sparsity, still without training afterwards.

# %%
networks = [network] + [
    torch_models.train(fit.images, fit.labels, seed=seed, epochs=15) for seed in (1, 2, 3)
]
dense = np.array([accuracy_of(each) for each in networks])


def magnitudes(network):
    return [w.detach().abs() for w in weights_of(network)]


def over_all(network, sparsity):
    return masks_by(magnitudes(network), sparsity)


def per_layer(network, sparsity):
    return [masks_by([m], sparsity)[0] for m in magnitudes(network)]


# %%
sparsities = np.array([0, 0.2, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95])
curves = {
    name: np.array([[accuracy_of(pruned(n, rule(n, s))) for s in sparsities] for n in networks])
    for name, rule in (("over all layers", over_all), ("in each layer", per_layer))
}

# %%
for (name, curve), colour in zip(curves.items(), (show.BLUE, show.ORANGE)):
    plt.fill_between(sparsities, *100 * np.quantile(curve, [0, 1], axis=0), color=colour, alpha=0.2)
    plt.plot(sparsities, 100 * curve.mean(0), "o-", color=colour, label=f"smallest {name}")
plt.xlabel("sparsity (share of the weights set to zero)")
plt.ylabel("test accuracy (%)")
plt.legend(loc="lower left")
at = list(sparsities).index(0.6)
lead = 100 * (curves["over all layers"] - curves["in each layer"])[:, at]
show.finding(
    f"Without training, global pruning leads by {lead.mean():.0f} points at 60 % sparsity",
    alt="Test accuracy by sparsity, mean and range of four networks. Global: "
    + ", ".join(f"{100 * a:.0f} % at {s:.0%}" for s, a in zip(sparsities, curves["over all layers"].mean(0)))
    + ". Per layer: "
    + ", ".join(f"{100 * a:.0f} % at {s:.0%}" for s, a in zip(sparsities, curves["in each layer"].mean(0))),
)

# %%
claim(
    "at 60 % the global choice is ahead in every one of the four networks",
    bool((lead > 0).all()),
    "ahead by " + ", ".join(f"{each:.1f}" for each in lead) + " points",
)

# %% [markdown]
# Why? A guess: some layers bear much less than others, and a common share ignores it. The guess can be tested. Prune 80 % of a
# *single* layer and leave the others whole.

# %%
names = ["first filters", "second filters", "first dense", "second dense"]
alone = np.zeros((4, 4))  # network, layer
for i, each in enumerate(networks):
    masks, full = per_layer(each, 0.8), [torch.ones_like(w) for w in weights_of(each)]
    for k in range(4):
        alone[i, k] = accuracy_of(pruned(each, full[:k] + [masks[k]] + full[k + 1 :]))
kept = [[float(m.float().mean()) for m in over_all(each, 0.8)] for each in networks]
rows = [
    [name, w.numel(), f"{a:.1%}", f"{k:.0%}"]
    for name, w, a, k in zip(names, weights_of(network), alone.mean(0), np.mean(kept, axis=0))
]
show.table(
    ["layer", "weights", "accuracy, 80 % of it alone pruned", "kept by global pruning at 80 %"], rows
)

# %%
claim(
    "the large first dense layer bears its 80 % better than the small first filters bear theirs, in every "
    "network; global pruning keeps a larger share of those filters",
    bool((alone[:, 2] > alone[:, 0]).all()) and all(k[0] > k[2] for k in kept),
    f"mean accuracy {alone[:, 2].mean():.1%} against {alone[:, 0].mean():.1%}",
)

# %% [markdown]
# The guess holds here: a layer with ten thousand weights has room, one with 144 has not, and global ranking finds that out without being told.
# It has a danger of its own: in a network whose layers differ in scale, it may empty one layer completely, and then
# nothing passes. Look at the shares that it keeps.
#
# ## Does training repair the damage?
#
# After the cut, train on: *fine-tuning*. One trap first. The optimizer knows nothing of zeros. What share of them
# survives one epoch?


# %%
def tune(network, masks=None, *, seed=0, epochs=8, rate=3e-3, before_step=None):
    """Trains on, one cycle, with lesson 04's shifts; where there are masks, zeros stay zero."""
    pixels, labels = torch.from_numpy(fit.images)[:, None], torch.from_numpy(fit.labels)
    torch.manual_seed(seed)
    network.train()
    optimizer = torch.optim.Adam(network.parameters(), fused=True)
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=17 * epochs)
    for step in range(17 * epochs):
        if step % 17 == 0:
            order = torch.randperm(len(pixels))
        chosen = order[64 * (step % 17) :][:64]
        logits = network(torch_models.shifted(pixels[chosen]))
        optimizer.zero_grad()
        nn.functional.cross_entropy(logits, labels[chosen]).backward()
        optimizer.step()
        cycle.step()
        with torch.no_grad():
            for weight, mask in zip(weights_of(network), masks or []):
                weight *= mask
    return network.eval()


def share_of_zeros(network):
    every = torch.cat([w.flatten() for w in weights_of(network)])
    return float((every == 0).float().mean())


# %%
masks = over_all(network, 0.8)
forgetful = tune(pruned(network, masks), epochs=1)
held = [tune(pruned(each, over_all(each, 0.8)), over_all(each, 0.8)) for each in networks]
before = np.array([accuracy_of(pruned(each, over_all(each, 0.8))) for each in networks])
repaired = np.array([accuracy_of(each) for each in held])

# %%
claim(
    "without the mask, fewer than half of the zeros are left after one epoch; with it, all are",
    share_of_zeros(forgetful) < 0.4 and abs(share_of_zeros(held[0]) - 0.8) < 0.001,
    f"{share_of_zeros(forgetful):.1%} and {share_of_zeros(held[0]):.1%} of the weights are zero",
)

# %%
claim(
    "with the mask held, fine-tuning brings a network without 80 % of its weights back to within "
    "3 points, on average over four",
    (dense - repaired).mean() <= 0.03,
    f"{dense.mean():.1%} dense, {before.mean():.1%} cut, {repaired.mean():.1%} tuned "
    f"({repaired.min():.1%} to {repaired.max():.1%})",
)

# %% [markdown]
# PyTorch has this as `torch.nn.utils.prune`. It keeps the mask beside the weights and multiplies at each call. Is the file of such a
# network smaller?

# %%
from torch.nn.utils import prune

library = copy.deepcopy(network)
layers = [(layer, "weight") for layer in library if hasattr(layer, "weight")]
prune.global_unstructured(layers, pruning_method=prune.L1Unstructured, amount=0.8)
same = all(
    torch.equal(layer.weight, ours)
    for (layer, _), ours in zip(layers, weights_of(pruned(network, masks)))
)
save_file(library.state_dict(), scratch / "with_masks.safetensors")
save_file(network.state_dict(), scratch / "dense.safetensors")


# %%
def bytes_of(name):
    return (scratch / name).stat().st_size


claim(
    "the library's weights are ours, and its file is nearly twice as large as the dense one",
    same and bytes_of("with_masks.safetensors") > 1.9 * bytes_of("dense.safetensors"),
    f"{', '.join(sorted(library.state_dict())[1:3])}: {bytes_of('with_masks.safetensors'):,} against "
    f"{bytes_of('dense.safetensors'):,} bytes",
)

# %% [markdown]
# `weight_orig` and `weight_mask` in place of `weight`: pruning doubled the file. `prune.remove(layer, "weight")` multiplies once and drops
# the mask. That ends the surprise, not the problem: the zeros are still written out. First, though, how to get more of them.
#
# ## How fast should weights go?
#
# *One-shot* pruning cuts once. *Gradual* pruning cuts a little, trains a little, cuts again, so that the network can adapt. How much when?
# Let $\tau \in [0, 1]$ be the time since pruning began, as a share of its length, $s(\tau)$ the sparsity, $s_i$ and $s_f$ where it begins and
# ends, and $r = s_f - s$ what is still to be pruned. Pruning at a constant pace so as to finish in time needs the rate
# $r / (1 - \tau)$: what is left, over the time that is left. Early on there are many weights to choose from, so prune $p$ times as fast as that:
#
# $$\frac{dr}{d\tau} = -p\,\frac{r}{1-\tau} \;\Longrightarrow\; \frac{dr}{r} = -p\,\frac{d\tau}{1-\tau}
# \;\Longrightarrow\; \ln r = p \ln(1-\tau) + c .$$
#
# At $\tau = 0$, $r = s_f - s_i$, which fixes $c$, and with $s = s_f - r$
#
# $$s(\tau) = s_f + (s_i - s_f)\,(1-\tau)^p .$$
#
# With $p = 1$ this is a straight line. With $p = 3$ and $\tau = (t - t_0)/(n \Delta t)$, for a cut every $\Delta t$ steps from step $t_0$ on, $n$ cuts long, it
# is the schedule of Zhu and Gupta (2017).


# %%
def sparsity_at(tau, final, initial=0.0, power=3):
    return final + (initial - final) * (1 - np.clip(tau, 0, 1)) ** power


# %%
tau = np.linspace(0, 1, 200)
for power, colour in ((1, show.ORANGE), (3, show.BLUE)):
    plt.plot(tau, 100 * sparsity_at(tau, 0.97, power=power), color=colour, label=f"power {power}")
plt.xlabel("time, as a share of the pruning phase")
plt.ylabel("sparsity (%)")
plt.legend(loc="lower right")
a_third = float(sparsity_at(1 / 3, 0.97) / 0.97)
show.finding(
    f"The cubic schedule has done {a_third:.0%} of its pruning after a third of the time",
    alt=f"Sparsity from 0 to 97 % over time: the line of power 1 is straight, that of power 3 rises steeply and flattens; at one third it has done {a_third:.0%} of the way",
)

# %% [markdown]
# Does it pay? A fair race: the same trained networks, the same number of steps, only the moment of the cuts differs. Six seeds, four sparsities
# and three methods are 72 trainings. Small dense networks can be trained side by side, with one more axis in front:
# weights $(M, in, out)$ for $M$ networks, and `torch.baddbmm` multiplies all of them in one call.

# %%
SIZES = [64, 100, 50, 10]  # pixels, two hidden layers, classes
flat = torch.from_numpy(fit.images.reshape(-1, 64))
flat_labels = torch.from_numpy(fit.labels)
flat_test, test_labels = torch.from_numpy(test.images.reshape(-1, 64)), torch.from_numpy(test.labels)


def fresh_stack(seeds):
    """[weights (M, in, out), biases (M, 1, out), …] for M seeds, drawn as PyTorch draws weights."""
    stack = []
    for rows, columns in zip(SIZES, SIZES[1:]):
        draws = [torch.Generator().manual_seed(1000 * seed + rows) for seed in seeds]
        weights = [(2 * torch.rand(rows, columns, generator=g) - 1) / rows**0.5 for g in draws]
        stack += [torch.stack(weights), torch.zeros(len(seeds), 1, columns)]
    return stack


# %%
def answers(stack, x):  # x: (M, N, 64), gives logits (M, N, 10)
    for k in range(0, len(stack), 2):
        x = torch.baddbmm(stack[k + 1], x, stack[k])
        x = x.relu() if k + 2 < len(stack) else x
    return x


def accuracies(stack):
    with torch.inference_mode():
        chosen = answers(stack, flat_test.expand(len(stack[0]), -1, -1)).argmax(2)
        return (chosen == test_labels).float().mean(1).numpy()


def stack_masks(stack, sparsity):  # sparsity: (M,); global in each network
    every = torch.cat([w.abs().flatten(1) for w in stack[::2]], dim=1)
    count = (torch.as_tensor(sparsity) * every.shape[1]).round().long()
    ranks = every.argsort(1).argsort(1)  # 0 for the smallest
    keep = (ranks >= count[:, None]).float().split([w[0].numel() for w in stack[::2]], dim=1)
    return [k.reshape(w.shape) for k, w in zip(keep, stack[::2])]


# %%
def train_stack(stack, epochs, masks=None, schedule=None, seed=0):
    """Trains M networks at once. schedule: share of the steps done -> sparsities (M,)."""
    stack = [each.clone().requires_grad_() for each in stack]
    optimizer = torch.optim.Adam(stack, lr=4e-3, fused=True)
    draws, history = torch.Generator().manual_seed(seed), []
    for step in range(17 * epochs):
        if step % 17 == 0:
            history.append(accuracies(stack))
            order = torch.rand(len(stack[0]), len(flat), generator=draws).argsort(1)
        if schedule and step % 8 == 0:
            masks = stack_masks(stack, schedule(step / (17 * epochs)))
        if masks:
            with torch.no_grad():
                for weight, mask in zip(stack[::2], masks):
                    weight *= mask
        chosen = order[:, 64 * (step % 17) :][:, :64]
        logits = answers(stack, flat[chosen]).flatten(0, 1)
        loss = nn.functional.cross_entropy(logits, flat_labels[chosen].flatten(), reduction="sum")
        optimizer.zero_grad()
        (loss / 64).backward()
        optimizer.step()
    final = [w.detach() for w in stack]
    for weight, mask in zip(final[::2], masks or []):
        weight *= mask
    return final, masks, np.array(history)


# %%
seeds, levels = range(6), np.array([0.8, 0.9, 0.94, 0.97])
start = fresh_stack(seeds)
trained, _, _ = train_stack(start, epochs=20)
four_times = [each.repeat(4, 1, 1) for each in trained]  # each seed once for each level
goal = levels.repeat(6)
methods = {"one shot": lambda share: goal}
for name, power in (("gradual, power 1", 1), ("gradual, power 3", 3)):
    methods[name] = lambda share, power=power: sparsity_at(share / 0.7, goal, power=power)
race = {
    name: accuracies(train_stack(four_times, 16, schedule=rule, seed=1)[0]).reshape(4, 6)
    for name, rule in methods.items()
}

# %%
places = np.arange(4)
for i, (name, colour) in enumerate(zip(race, (show.GREY, show.ORANGE, show.BLUE))):
    middle, low, high = (f(100 * race[name], axis=1) for f in (np.mean, np.min, np.max))
    at = places + 0.2 * (i - 1)
    plt.errorbar(at, middle, [middle - low, high - middle], fmt="o", color=colour, label=name)
plt.xticks(places, [f"{level:.0%}" for level in levels])
plt.xlabel("sparsity at the end")
plt.ylabel("test accuracy (%)")
plt.legend(loc="lower left")
gain = 100 * (race["gradual, power 3"] - race["one shot"]).mean(1)
show.finding(
    f"Cubic against one shot: {gain[0]:+.1f} points at 80 %, {gain[3]:+.1f} at 97 %",
    alt="Test accuracy after 16 epochs, mean and range of six seeds. "
    + "; ".join(f"{n}: " + ", ".join(f"{100 * a:.1f} % at {s:.0%}" for s, a in zip(levels, r.mean(1))) for n, r in race.items()),
)

# %%
line = 100 * (race["gradual, power 3"] - race["gradual, power 1"]).mean(1)
claim(
    "at 97 % the cubic schedule is ahead of one shot and of the straight line, at 80 % none of the "
    "three is 2 points from another",
    gain[3] > 2 and line[3] > 2 and abs(gain[0]) < 2 and abs(line[0]) < 2,
    f"at 97 %: {gain[3]:+.1f} and {line[3]:+.1f} points; at 80 %: {gain[0]:+.1f} and {line[0]:+.1f}",
)

# %% [markdown]
# So the schedule matters where pruning is hard, and nowhere else. That the straight line comes last has a plain reading:
# its last, painful cuts come late, and few steps are left to recover.
#
# ## What does the article's pruning call do?
#
# **Where this goes wrong.** This is the article's listing, which uses the library tensorflow-model-optimization:
#
# ```python
# pruned_model = tfmot.sparsity.keras.prune_low_magnitude(model, begin_step=1000, end_step=2000, ratio=0.5)
# pruned_model.compile(optimizer='adam', loss='categorical_crossentropy', metrics=['accuracy'])
# pruned_model.fit(x_train, y_train, epochs=10, batch_size=32, validation_data=(x_val, y_val))
# ```
#
# It cannot be run here:

# %%
try:
    import tensorflow_model_optimization
except ModuleNotFoundError as missing:
    print(missing)

# %% [markdown]
# The library is kept out on purpose. It works on Keras 2 models alone, brings `tf_keras`, a second Keras, with it, and the course's models are Keras 3. What
# happens where it is installed can be read in its source (`sparsity/keras/prune.py` and `pruning_wrapper.py`) and its issues, and we have run
# it in an environment of its own:
#
# - a Keras 3 model is refused: *ValueError: `prune_low_magnitude` can only prune an object of the following types: keras.models.Sequential,
#   …* (tensorflow/model-optimization, issue 1172), although a `Sequential` is what it got: one of the other Keras;
# - with a Keras 2 model, `begin_step`, `end_step` and `ratio` are silently ignored. The function has no such
#   parameters, and for a whole model it drops what it does not know. A constant sparsity of 50 % from step 0 stays in force;
# - `fit` then stops: *Prune() wrapper requires the UpdatePruningStep callback to be provided during training*;
# - without `strip_pruning` at the end, masks are saved beside the weights, as in PyTorch above.
#
# And one that needs no library, only arithmetic. Were the keywords obeyed, when would pruning begin on our data?

# %%
steps = 10 * -(-len(fit.labels) // 32)  # 10 epochs in batches of 32, rounded up
claim(
    "the training is over before pruning begins",
    steps < 1000,
    f"{steps} steps; the first cut at step 1000",
)

# %% [markdown]
# The repaired intention, *half of the weights, gradually*, takes a schedule, a mask that is renewed, and a mask that is held. In PyTorch, on the
# digits network, with the begin at a tenth and the end at seven tenths of the steps:


# %%
def prune_gradually(network, final, epochs=8, seed=0):
    """Magnitude pruning over all layers, cubic from a tenth to seven tenths of the steps."""
    pixels, labels = torch.from_numpy(fit.images)[:, None], torch.from_numpy(fit.labels)
    network, total = copy.deepcopy(network).train(), 17 * epochs
    torch.manual_seed(seed)
    optimizer = torch.optim.Adam(network.parameters(), fused=True)
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=total)
    for step in range(total):
        chosen = torch.randperm(len(pixels))[:64]
        loss = nn.functional.cross_entropy(network(torch_models.shifted(pixels[chosen])), labels[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        cycle.step()
        if step % 8 == 0:  # renew the masks …
            masks = over_all(network, sparsity_at((step / total - 0.1) / 0.6, final))
        with torch.no_grad():  # … and hold them
            for weight, mask in zip(weights_of(network), masks):
                weight *= mask
    return network.eval()


# %%
mended = prune_gradually(network, 0.5)
claim(
    "half of the weights are zero, and at most 2 points of accuracy went",
    abs(share_of_zeros(mended) - 0.5) < 0.001 and accuracy_of(network) - accuracy_of(mended) <= 0.02,
    f"{share_of_zeros(mended):.1%} zeros; {accuracy_of(network):.2%} → {accuracy_of(mended):.2%}",
)

# %% [markdown]
# On Keras 3 the same fits into a callback, and needs no other library (`masks` maps each layer to its mask, 0 or 1):
#
# ```python
# class HoldMasks(keras.callbacks.Callback):
#     def __init__(self, masks):
#         super().__init__()
#         self.masks = masks
#
#     def on_train_batch_end(self, batch, logs=None):
#         for layer, mask in self.masks.items():
#             layer.kernel.assign(layer.kernel * mask)
# ```
#
# ## Was the small network hidden in the large one from the start?
#
# A pruned network has a fraction of the weights and works. Then why train the large one? Take the mask of a pruned network, and train with
# that mask from the beginning. Frankle and Carbin did it in two ways. *Rewinding*: every surviving weight gets back the value that it had
# *before* training. *Reinitialising*: it gets a new random value. If only the wiring mattered, the two would do alike. What do you expect?
#
# *Iterative* pruning finds the mask: train, cut the smallest 40 % of what is left, rewind, train again.

# %%
ticket_masks, current = None, trained
others = fresh_stack([100 + seed for seed in seeds])
both = [torch.cat(pair) for pair in zip(start, others)]  # six rewound, six reinitialised
shares, rewound, reinitialised, early = [1.0], [accuracies(trained)], [], []
for _ in range(7):
    shares.append(0.6 * shares[-1])
    ticket_masks = stack_masks(current, np.full(6, 1 - shares[-1]))
    twice = [mask.repeat(2, 1, 1) for mask in ticket_masks]
    result, _, history = train_stack(both, 20, masks=twice, seed=2)
    final = accuracies(result)
    rewound.append(final[:6])
    reinitialised.append(final[6:])
    early.append(history[3].reshape(2, 6))  # after three epochs
    current = [each[:6] for each in result]

# %%
kept = 100 * np.array(shares)
for name, runs, colour in (
    ("rewound to its first values", rewound, show.BLUE),
    ("new random values", [rewound[0], *reinitialised], show.ORANGE),
):
    runs = 100 * np.array(runs)
    plt.fill_between(kept, runs.min(1), runs.max(1), color=colour, alpha=0.2)
    plt.plot(kept, runs.mean(1), "o-", color=colour, label=name)
plt.gca().invert_xaxis()
plt.xscale("log")
plt.xticks(kept, [f"{k:.3g}" for k in kept])
plt.minorticks_off()
plt.xlabel("weights that are left (%), logarithmic")
plt.ylabel("test accuracy (%)")
plt.legend(loc="lower left")
apart = 100 * (np.array(rewound[1:]) - np.array(reinitialised))
show.finding(
    f"With {kept[-2]:.1f} % of the weights, the first values are worth {apart[-2].mean():.0f} points",
    alt="Test accuracy by weights left, mean and range of six seeds. Rewound: "
    + ", ".join(f"{100 * np.mean(a):.1f} % at {k:.3g} %" for k, a in zip(kept, rewound))
    + ". Reinitialised: "
    + ", ".join(f"{100 * np.mean(a):.1f} % at {k:.3g} %" for k, a in zip(kept[1:], reinitialised)),
)

# %%
claim(
    "with less than 8 % of the weights, trained anew, the rewound networks stay within 3 points of the dense ones, on average",
    100 * (rewound[0] - rewound[5]).mean() < 3 and kept[5] < 8,
    f"{np.mean(rewound[0]):.1%} dense, {np.mean(rewound[5]):.1%} with {kept[5]:.1f} %",
)

# %%
claim(
    "with the same mask and new values they are worse, in every one of the six seeds at "
    "the last two sparsities",
    bool((apart[-2:] > 0).all()),
    f"by {apart[-2].mean():.1f} and {apart[-1].mean():.1f} points on average",
)

# %%
sooner = np.array(early)[3].mean(axis=1)  # at 13 % of the weights
claim(
    f"after three epochs, with {kept[4]:.0f} % of the weights, the rewound networks are more than 10 points ahead",
    sooner[0] - sooner[1] > 0.1,
    f"{sooner[0]:.1%} against {sooner[1]:.1%}",
)

# %% [markdown]
# The mask alone is not the secret; mask and first values belong together. Frankle and Carbin call such a pair a *winning ticket*. Two cautions. To
# find it, the large network was trained eight times, so nothing was saved. And in larger networks rewinding to step 0 fails; one rewinds to an early
# step instead, or goes on from the trained weights with the learning rate rewound.
