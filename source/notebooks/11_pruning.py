# %% [markdown]
# # 11 Pruning and sparsity
#
# At 3 a.m. the edge devices run out of disk again. The team shipped a model with 80 % of its weights removed. The new
# file has the same number of bytes as the old one, and answers in the same time.
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
# Let the loss be $L(w)$ for weights $w \in \mathbb{R}^n$, and let pruning add a change $\delta \in \mathbb{R}^n$. To
# second order,
#
# $$L(w + \delta) - L(w) \approx g^\top \delta + \tfrac12\, \delta^\top H \delta,$$
#
# with the gradient $g \in \mathbb{R}^n$ and the matrix of second derivatives $H \in \mathbb{R}^{n \times n}$. After
# training $g \approx 0$. Setting weight $i$ to zero means $\delta_i = -w_i$ and all other $\delta_j = 0$, so that
#
# $$L(w + \delta) - L(w) \approx \tfrac12 H_{ii} w_i^2 .$$
#
# LeCun's *optimal brain damage* estimates $H_{ii}$ for each weight. If nothing is known about $H_{ii}$, the best guess
# is that they are alike, and then the weights with the smallest magnitude $|w_i|$ cost least. This is *magnitude
# pruning*. Before the next cell: half of the weights go. What accuracy do you expect if they are the smallest, if they
# are drawn at random, if they are the largest?

# %%
train_part, test = data.digits()
fit, validation = data.hold_out(train_part)
network = torch_models.load_digits_cnn()  # lesson 04's, trained on `fit`


def accuracy_of(network, part=test):
    return float((torch_models.logits_of(network, part.images).argmax(1) == part.labels).mean())


def weights_of(network):  # the layers' weights; the few biases stay
    return [layer.weight for layer in network if hasattr(layer, "weight")]


# %% [markdown]
# Two small functions do the work of the whole lesson. `masks_by` takes one tensor of scores for each weight tensor,
# lays all scores end to end, marks the lowest as gone, and cuts the row back into the old shapes. A *mask* is thus a
# tensor of truth values, one for each weight: True stays. `pruned` multiplies a copy of the network by its masks, and
# multiplying by False is multiplying by 0. What "lowest" means is left to the scores, so that one function serves
# three rules.


# %%
def masks_by(scores, sparsity):
    """One mask for each score tensor: False for the smallest scores over all of them."""
    every = torch.cat([score.flatten() for score in scores])
    lowest = every.topk(round(sparsity * len(every)), largest=False, sorted=False).indices
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
# No training followed. Half of the weights in this network are numbers that its answers hardly need.
#
# ## What does "weights below a threshold" delete?
#
# **Where this goes wrong.** Another of the articles that this course grew from gives pruning as a formula, *remove
# neurons with weights less than threshold*. The sentence holds two mistakes. A weight of −3 is *less than* 0.1; and a
# neuron has hundreds of weights, so "a neuron with weights less than" does not say which. Run the formula as written,
# on weights:

# %%
threshold = float(torch.cat([w.flatten() for w in scores["smallest"]]).median())
as_written = pruned(network, [w >= threshold for w in weights_of(network)])
gone = 1 - float(
    torch.cat([(w >= threshold).flatten() for w in weights_of(network)]).float().mean()
)
negative = float(torch.cat([(w < 0).flatten() for w in weights_of(network)]).float().mean())

# %%
claim(
    "the formula as written deletes every negative weight, and the network with it",
    all(bool((w >= 0).all()) for w in weights_of(as_written)) and accuracy_of(as_written) < 0.5,
    f"{gone:.0%} of the weights go, {negative:.0%} were negative; "
    f"accuracy {accuracy_of(as_written):.1%}",
)

# %% [markdown]
# With the same threshold on the *magnitude*, half of the weights went, and the accuracy stayed (the table above). Two
# methods hide in that formula:
#
# - *unstructured* pruning: single weights, by their magnitude. Shapes stay; zeros are scattered anywhere.
# - *structured* pruning: whole neurons or filters, by a norm of all of their weights, such as the sum of magnitudes,
#   $\lVert w \rVert_1 = \sum_i |w_i|$. Shapes shrink.
#
# Which of the two you mean decides whether anything becomes faster. Later sections do both.
#
# ## The same share in each layer, or the smallest anywhere?
#
# `masks_by` ranked all weights together: *global* pruning. Libraries often ask for a share *per layer*. One network
# could mislead, so train three more, from other seeds and for fewer epochs, and prune all four at rising sparsity,
# still without training afterwards.

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


# %% [markdown]
# Each network is cut anew at each sparsity, once with one ranking over all layers, once with a ranking for each layer.
# That is 72 pruned networks, and no training, so it takes little time. `curves` holds two arrays of accuracies, (4
# networks, 9 sparsities); the figure draws their mean and, as a band, the range from the worst network to the best.

# %%
sparsities = np.array([0, 0.2, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95])
curves = {
    name: np.array([[accuracy_of(pruned(n, rule(n, s))) for s in sparsities] for n in networks])
    for name, rule in (("over all layers", over_all), ("in each layer", per_layer))
}

# %%
for (name, curve), colour, marker in zip(curves.items(), (show.BLUE, show.ORANGE), ("o-", "s--")):
    plt.fill_between(
        sparsities, *100 * np.quantile(curve, [0, 1], axis=0), color=colour, alpha=0.2
    )
    plt.plot(sparsities, 100 * curve.mean(0), marker, color=colour, label=f"smallest {name}")
plt.xlabel("sparsity (share of the weights set to zero)")
plt.ylabel("test accuracy (%)")
plt.legend(loc="lower left")
at = list(sparsities).index(0.6)
lead = 100 * (curves["over all layers"] - curves["in each layer"])[:, at]
show.finding(
    f"Without training, global pruning leads by {lead.mean():.0f} points at 60 % sparsity",
    alt="Test accuracy by sparsity, mean and range of four networks. Global: "
    + ", ".join(
        f"{100 * a:.0f} % at {s:.0%}"
        for s, a in zip(sparsities, curves["over all layers"].mean(0))
    )
    + ". Per layer: "
    + ", ".join(
        f"{100 * a:.0f} % at {s:.0%}" for s, a in zip(sparsities, curves["in each layer"].mean(0))
    ),
)

# %% [markdown]
# The bands are wide where the curves fall: at the same sparsity one network still works while another is lost. A
# single network, and a single sparsity, could have told nearly any story.

# %%
claim(
    "at 60 % the global choice is ahead in every one of the four networks",
    bool((lead > 0).all()),
    "ahead by " + ", ".join(f"{each:.1f}" for each in lead) + " points",
)

# %% [markdown]
# Why? A guess: some layers bear much less than others, and a common share ignores it. The guess can be tested. Prune
# 80 % of a *single* layer and leave the others whole.

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
    ["layer", "weights", "accuracy, 80 % of it alone pruned", "kept by global pruning at 80 %"],
    rows,
)

# %%
claim(
    "the large first dense layer bears its 80 % better than the small first filters bear theirs, "
    "in every "
    "network; global pruning keeps a larger share of those filters",
    bool((alone[:, 2] > alone[:, 0]).all()) and all(k[0] > k[2] for k in kept),
    f"mean accuracy {alone[:, 2].mean():.1%} against {alone[:, 0].mean():.1%}",
)

# %% [markdown]
# The guess holds here: a layer with ten thousand weights has room, one with 144 has not, and global ranking finds that
# out without being told. It has a danger of its own: in a network whose layers differ in scale, it may empty one layer
# completely, and then nothing passes. Look at the shares that it keeps.
#
# ## Does training repair the damage?
#
# After the cut, train on: *fine-tuning*. One trap first. The optimizer knows nothing of zeros. What share of them
# survives one epoch?


# %%
def train_on(forward, parameters, *, inputs=None, epochs=6, rate=3e-3, seed=0, after_step=None):
    """The loop of lesson 04, one cycle; after_step(share of the steps done) may change weights."""
    inputs = torch.from_numpy(fit.images)[:, None] if inputs is None else inputs
    labels, total, done = torch.from_numpy(fit.labels), 17 * epochs, 0
    torch.manual_seed(seed)
    optimizer = torch.optim.Adam(parameters, fused=True)
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=total)
    for _ in range(epochs):
        for chosen in torch.randperm(len(inputs))[: 17 * 64].split(64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(forward(inputs[chosen]), labels[chosen]).backward()
            optimizer.step()
            cycle.step()
            done += 1
            if after_step:
                with torch.no_grad():
                    after_step(done / total)


# %% [markdown]
# It is lesson 04's loop with two openings, because this lesson trains many things with it. `forward` is what is
# trained: for now the network behind random shifts of the pictures, later a network that is made of a codebook.
# `after_step` is where pruning comes in: it is called when the optimizer has moved the weights, and may put zeros
# back.


# %% [markdown]
# `hold` is the mask's half of the work: multiply the weights by it again, so that what was cut returns to zero after
# every step. `tune` puts the pieces together: dropout on, train with the masks held, dropout off. Called without masks
# it is ordinary training, which is what the trap needs.


# %%
def behind_shifts(network):
    return lambda pixels: network(torch_models.shifted(pixels))


def hold(network, masks):
    for weight, mask in zip(weights_of(network), masks):
        weight *= mask


def tune(network, masks=(), **how):
    network.train()  # dropout on
    train_on(
        behind_shifts(network),
        network.parameters(),
        after_step=lambda _: hold(network, masks),
        **how,
    )
    return network.eval()


def share_of_zeros(network):
    every = torch.cat([w.flatten() for w in weights_of(network)])
    return float((every == 0).float().mean())


# %% [markdown]
# `forgetful` is the network without 80 % of its weights, trained for one epoch with no mask. `held` are all four
# networks cut to the same sparsity, each with its own mask held.

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

# %% [markdown]
# A weight of zero has a gradient like any other: the loss would change if the weight did. So the first step of the
# optimizer moves it. Weights that never had a gradient stay at zero, likely because what they multiply is always 0.
# Zeros that should stay must be held.

# %%
claim(
    "with the mask held, fine-tuning brings a network without 80 % of its weights back to within "
    "3 points, on average over four",
    (dense - repaired).mean() <= 0.03,
    f"{dense.mean():.1%} dense, {before.mean():.1%} cut, {repaired.mean():.1%} tuned "
    f"({repaired.min():.1%} to {repaired.max():.1%})",
)

# %% [markdown]
# PyTorch has this as `torch.nn.utils.prune`. It keeps the mask beside the weights and multiplies at each call. Is the
# file of such a network smaller?

# %% [markdown]
# The library is asked for the same cut, 80 % over all layers by magnitude (it calls the sum of magnitudes *L1*).
# Compare its weights with ours, tensor by tensor, then write both networks into files.

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


with_masks = bytes_of("with_masks.safetensors") / bytes_of("dense.safetensors")

# %%
claim(
    "the library's weights are ours, and its file is nearly twice as large as the dense one",
    same and with_masks > 1.9,
    f"{with_masks:.2f} times: {', '.join(sorted(library.state_dict())[1:3])}, …",
)

# %% [markdown]
# `weight_orig` and `weight_mask` in place of `weight`: pruning doubled the file. `prune.remove(layer, "weight")`
# multiplies once and drops the mask. That ends the surprise, not the problem: the zeros are still written out. First,
# though, how to get more of them.
#
# ## How fast should weights go?
#
# *One-shot* pruning cuts once. *Gradual* pruning cuts a little, trains a little, cuts again, so that the network can
# adapt. How much when? Let $\tau \in [0, 1]$ be the time since pruning began, as a share of its length, $s(\tau)$ the
# sparsity, $s_i$ and $s_f$ where it begins and ends, and $r = s_f - s$ what is still to be pruned. Pruning at a
# constant pace so as to finish in time needs the rate $r / (1 - \tau)$: what is left, over the time that is left.
# Early on there are many weights to choose from, so prune $p$ times as fast as that:
#
# $$\frac{dr}{d\tau} = -p\,\frac{r}{1-\tau} \;\Longrightarrow\; \frac{dr}{r} = -p\,\frac{d\tau}{1-\tau}
# \;\Longrightarrow\; \ln r = p \ln(1-\tau) + c .$$
#
# At $\tau = 0$, $r = s_f - s_i$, which fixes $c$, and with $s = s_f - r$
#
# $$s(\tau) = s_f + (s_i - s_f)\,(1-\tau)^p .$$
#
# With $p = 1$ this is a straight line. With $p = 3$ and $\tau = (t - t_0)/(n \Delta t)$, for a cut every $\Delta t$
# steps from step $t_0$ on, $n$ cuts long, it is the schedule of Zhu and Gupta (2017).


# %%
def sparsity_at(tau, final, initial=0.0, power=3):
    return final + (initial - final) * (1 - np.clip(tau, 0, 1)) ** power


# %%
tau = np.linspace(0, 1, 200)
for power, line, colour in ((1, "--", show.ORANGE), (3, "-", show.BLUE)):
    s = 100 * sparsity_at(tau, 0.98, power=power)
    plt.plot(tau, s, line, color=colour, label=f"power {power}")
plt.xlabel("time, as a share of the pruning phase")
plt.ylabel("sparsity (%)")
plt.legend(loc="lower right")
a_third = float(sparsity_at(1 / 3, 0.98) / 0.98)
show.finding(
    f"The cubic schedule has done {a_third:.0%} of its pruning after a third of the time",
    alt=f"Sparsity from 0 to 98 % over time: the line of power 1 is straight, that of power 3 "
    f"rises steeply and flattens; at one third it has done {a_third:.0%} of the way",
)

# %% [markdown]
# Does it pay? A fair race: the same trained networks, the same number of steps, only the moment of the cuts differs.
# Six seeds, three sparsities and three methods are 54 trainings. Small dense networks can be trained side by side,
# with one more axis in front: weights $(M, in, out)$ for $M$ networks, and `torch.baddbmm` multiplies all of them in
# one call.

# %% [markdown]
# Such a *stack* is a list: the weights and biases of the first layer for all $M$ networks, then those of the second,
# and so on. Each network has a random generator of its own, so that seed 3 begins with the same numbers whatever
# stands beside it. `torch.rand` gives numbers from 0 to 1; the cell spreads them evenly from $-1/\sqrt{n}$ to
# $1/\sqrt{n}$ for $n$ inputs, as `nn.Linear` does for its weights.

# %%
SIZES = [64, 100, 50, 10]  # pixels, two hidden layers, classes
flat = torch.from_numpy(fit.images.reshape(-1, 64))
flat_labels = torch.from_numpy(fit.labels)
flat_test, test_labels = (
    torch.from_numpy(test.images.reshape(-1, 64)),
    torch.from_numpy(test.labels),
)


def fresh_stack(seeds):
    """[weights (M, in, out), biases (M, 1, out), …] for M seeds, drawn as PyTorch does."""
    stack = []
    for rows, columns in zip(SIZES, SIZES[1:]):
        draws = [torch.Generator().manual_seed(1000 * seed + rows) for seed in seeds]
        weights = [(2 * torch.rand(rows, columns, generator=g) - 1) / rows**0.5 for g in draws]
        stack += [torch.stack(weights), torch.zeros(len(seeds), 1, columns)]
    return stack


# %% [markdown]
# Three functions on stacks. `answers` is the forward pass: `baddbmm(b, x, W)` computes $b + xW$ for each network with
# its own $W$. `accuracies` gives one number for each network. `stack_masks` is global pruning again, but every network
# may have a sparsity of its own: `kthvalue` finds, in each row, the smallest magnitude that stays, and everything from
# there upwards is kept.


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
    least = [row.kthvalue(k + 1).values for row, k in zip(every, count.tolist())]
    keep = (
        (every >= torch.stack(least)[:, None])
        .float()
        .split([w[0].numel() for w in stack[::2]], dim=1)
    )
    return [k.reshape(w.shape) for k, w in zip(keep, stack[::2])]


# %% [markdown]
# The training loop does in each step what the loop above did: masks on, a batch of 64 for each network (each in its
# own random order), loss, step. With a `schedule`, it asks every 4 steps how sparse each network should be by now, and
# ranks the weights anew. The loss is summed over all networks and divided by 64, not by $64M$: the networks share no
# weight, so each receives the gradient of its own mean loss, as if it were alone.


# %%
def train_stack(stack, epochs, masks=None, schedule=None, seed=0, look_after=-1):
    """Trains M networks at once. schedule: share of the steps done -> sparsities (M,)."""
    stack = [each.clone().requires_grad_() for each in stack]
    optimizer = torch.optim.Adam(stack, lr=4e-3, fused=True)
    draws, seen = torch.Generator().manual_seed(seed), None
    for step in range(17 * epochs):
        if step % 17 == 0:
            seen = accuracies(stack) if step == 17 * look_after else seen
            order = torch.rand(len(stack[0]), len(flat), generator=draws).argsort(1)
        if schedule and step % 4 == 0:
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
    return final, masks, seen


# %% [markdown]
# Each of the six networks is trained for 20 epochs, then copied three times, once for each final sparsity. All methods
# get 16 epochs more. One shot asks for the final sparsity from the first step. The gradual ones reach it after 70 % of
# the steps (hence `share / 0.7`), and use the rest to recover.

# %%
seeds, levels = range(6), np.array([0.8, 0.95, 0.98])
start = fresh_stack(seeds)
trained, _, _ = train_stack(start, epochs=20)
three_times = [each.repeat(3, 1, 1) for each in trained]  # each seed once for each level
goal = levels.repeat(6)
methods = {"one shot": lambda share: goal}
for name, power in (("gradual, power 1", 1), ("gradual, power 3", 3)):
    methods[name] = lambda share, power=power: sparsity_at(share / 0.7, goal, power=power)
race = {
    name: accuracies(train_stack(three_times, 16, schedule=rule, seed=1)[0]).reshape(3, 6)
    for name, rule in methods.items()
}

# %%
places = np.arange(3)
for i, (name, marker) in enumerate(zip(race, "os^")):
    middle, low, high = (f(100 * race[name], axis=1) for f in (np.mean, np.min, np.max))
    at = places + 0.2 * (i - 1)
    colour = (show.GREY, show.ORANGE, show.BLUE)[i]
    plt.errorbar(at, middle, [middle - low, high - middle], fmt=marker, color=colour, label=name)
plt.xticks(places, [f"{level:.0%}" for level in levels])
plt.xlabel("sparsity at the end")
plt.ylabel("test accuracy (%)")
plt.legend(loc="lower left")
gain = 100 * (race["gradual, power 3"] - race["one shot"]).mean(1)
show.finding(
    f"Cubic against one shot: {gain[0]:+.1f} points at 80 %, {gain[2]:+.1f} at 98 %",
    alt="Test accuracy after 16 epochs, mean and range of six seeds. "
    + "; ".join(
        f"{n}: " + ", ".join(f"{100 * a:.1f} % at {s:.0%}" for s, a in zip(levels, r.mean(1)))
        for n, r in race.items()
    ),
)

# %%
line = 100 * (race["gradual, power 3"] - race["gradual, power 1"]).mean(1)
claim(
    "at 98 % the cubic schedule is more than 10 points ahead of one shot and of the line; at 80 % "
    "it is within 2 points of both",
    min(gain[2], line[2]) > 10 and max(abs(gain[0]), abs(line[0])) < 2,
    f"at 98 %: {gain[2]:+.1f} and {line[2]:+.1f} points; "
    f"at 80 %: {gain[0]:+.1f} and {line[0]:+.1f}",
)

# %% [markdown]
# The schedule matters where pruning is hard, and hardly elsewhere. Why does the straight line, which is gradual too,
# not help at 98 %? Count how much of *what is left* the largest single cut takes.

# %%
steps, largest = np.arange(0, 17 * 16, 4) / (17 * 16), {}  # a cut every 4 steps
for name, rule in methods.items():
    left = 1 - np.append(0, [np.max(rule(share)) for share in steps])
    cuts = 1 - left[1:] / left[:-1]
    largest[name] = cuts.max()
    print(
        f"{name:<17} takes up to {cuts.max():.0%}, at {steps[cuts.argmax()]:.0%} of the training"
    )

# %%
claim(
    "of what is left, the line's largest cut takes three times as much as the cubic's, or more",
    largest["gradual, power 1"] > 3 * largest["gradual, power 3"],
    f"{largest['gradual, power 1']:.0%} and {largest['gradual, power 3']:.0%}",
)

# %% [markdown]
# One shot takes almost everything at once, but has the whole training to recover. The line takes its largest share in
# its last cut, when little training is left and the steps are small. The cubic schedule never takes much at once. That
# is a plausible reason, not a proof. You can test it: with a cut every 17 steps in place of every 4, each is larger.
# What happens to the cubic schedule's lead?
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
    import tensorflow_model_optimization  # noqa: F401
except ModuleNotFoundError as missing:
    print(missing)

# %% [markdown]
# The library is kept out on purpose. It works on Keras 2 models alone, brings `tf_keras`, a second Keras, with it, and
# the course's models are Keras 3. What happens where it is installed can be read in its source
# (`sparsity/keras/prune.py` and `pruning_wrapper.py`) and its issues, and we have run it in an environment of its own:
#
# - a Keras 3 model is refused: *ValueError: `prune_low_magnitude` can only prune an object of the following types:
#   keras.models.Sequential, …* (tensorflow/model-optimization, issue 1172), although a `Sequential` is what it got:
#   one of the other Keras;
# - with a Keras 2 model, `begin_step`, `end_step` and `ratio` are silently ignored. The function has no such
#   parameters, and for a whole model it drops what it does not know. A constant sparsity of 50 % from step 0 stays in
#   force;
# - `fit` then stops: *Prune() wrapper requires the UpdatePruningStep callback to be provided during training*;
# - without `strip_pruning` at the end, the masks stay in the model, as in PyTorch above.
#
# One more point needs no library, only arithmetic. Were the keywords obeyed, when would pruning begin on our data?

# %%
steps = 10 * -(-len(fit.labels) // 32)  # 10 epochs in batches of 32, rounded up
claim(
    "the training is over before pruning begins",
    steps < 1000,
    f"{steps} steps; the first cut at step 1000",
)

# %% [markdown]
# The repaired intention, *half of the weights, gradually*, takes a schedule, a mask that is renewed, and a mask that
# is held. In PyTorch, on the digits network, from a tenth to seven tenths of the steps:


# %%
def gradually(network, final, every=8, begin=0.1, end=0.7, total=17 * 6):
    """For `train_on`, after each step: renew the masks now and then, hold them always."""
    masks = []

    def after_step(share):
        if not masks or round(share * total) % every == 0:
            masks[:] = over_all(network, sparsity_at((share - begin) / (end - begin), final))
        hold(network, masks)

    return after_step


# %%
mended = copy.deepcopy(network).train()
train_on(behind_shifts(mended), mended.parameters(), after_step=gradually(mended, 0.5))
mended = mended.eval()

# %%
claim(
    "half of the weights are zero, and at most 2 points of accuracy went",
    abs(share_of_zeros(mended) - 0.5) < 0.001
    and accuracy_of(network) - accuracy_of(mended) <= 0.02,
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
# A pruned network has a fraction of the weights and works. Then why train the large one? Take the mask of a pruned
# network, and train with that mask from the beginning. Frankle and Carbin did it in two ways. *Rewinding*: every
# surviving weight gets back the value that it had *before* training. *Reinitialising*: it gets a new random value. If
# only the wiring mattered, the two would do alike. What do you expect?
#
# *Iterative* pruning finds the mask: train, cut the smallest 45 % of what is left, rewind, train again.

# %% [markdown]
# Twelve networks are trained side by side in each round: six from their first values (`start`), six from new ones
# (`others`), both with the masks of the same six trained networks. $0.55^6$ is less than three hundredths, so six
# rounds lead to about 3 % of the weights. The accuracy after three epochs is noted as well, for the question of who
# learns sooner.

# %%
ticket_masks, current = None, trained
others = fresh_stack([100 + seed for seed in seeds])
both = [torch.cat(pair) for pair in zip(start, others)]  # six rewound, six reinitialised
shares, rewound, reinitialised, early = [1.0], [accuracies(trained)], [], []
for _ in range(6):
    shares.append(0.55 * shares[-1])
    ticket_masks = stack_masks(current, np.full(6, 1 - shares[-1]))
    twice = [mask.repeat(2, 1, 1) for mask in ticket_masks]
    result, _, after_three = train_stack(both, 20, masks=twice, seed=2, look_after=3)
    final = accuracies(result)
    rewound.append(final[:6])
    reinitialised.append(final[6:])
    early.append(after_three.reshape(2, 6))
    current = [each[:6] for each in result]

# %%
kept = 100 * np.array(shares)
for name, reached, colour, marker in (
    ("rewound to its first values", rewound, show.BLUE, "o-"),
    ("new random values", [rewound[0], *reinitialised], show.ORANGE, "s--"),
):
    percent = 100 * np.array(reached)
    plt.fill_between(kept, percent.min(1), percent.max(1), color=colour, alpha=0.2)
    plt.plot(kept, percent.mean(1), marker, color=colour, label=name)
plt.gca().invert_xaxis()
plt.xscale("log")
plt.xticks(kept, [f"{k:.3g}" for k in kept])
plt.minorticks_off()
plt.xlabel("weights that are left (%), logarithmic")
plt.ylabel("test accuracy (%)")
plt.legend(loc="lower left")
apart = 100 * (np.array(rewound[1:]) - np.array(reinitialised))
show.finding(
    f"With {kept[-2]:.1f} % of the weights, the first values are worth {apart[-2].mean():.0f} "
    "points",
    alt="Test accuracy by weights left, mean and range of six seeds. Rewound: "
    + ", ".join(f"{100 * np.mean(a):.1f} % at {k:.3g} %" for k, a in zip(kept, rewound))
    + ". Reinitialised: "
    + ", ".join(f"{100 * np.mean(a):.1f} % at {k:.3g} %" for k, a in zip(kept[1:], reinitialised)),
)

# %% [markdown]
# Three readings of the figure, each as a claim: how far one can go from the first values, how much worse new values
# do, and whether the difference shows early in the training.

# %%
few = (rewound[0] - rewound[4]).mean()
claim(
    "with a tenth of the weights, trained from their first values, the networks stay within "
    "3 points of the dense ones, on average",
    few < 0.03 and kept[4] < 10,
    f"{np.mean(rewound[0]):.1%} dense, {np.mean(rewound[4]):.1%} with {kept[4]:.1f} %",
)

# %%
claim(
    "with the same mask and new values they are worse: by more than a point on average at the "
    "last two sparsities, and at the last in every one of the six seeds",
    bool((apart[-2:].mean(1) > 1).all() and (apart[-1] > 0).all()),
    f"by {apart[-2].mean():.1f} and {apart[-1].mean():.1f} points on average, at the last by "
    f"{apart[-1].min():.1f} or more",
)

# %%
sooner = np.array(early)[3].mean(axis=1)  # after four rounds
claim(
    f"after three epochs, with {kept[4]:.0f} % of the weights, the rewound networks are more "
    "than 10 points ahead",
    sooner[0] - sooner[1] > 0.1,
    f"{sooner[0]:.1%} against {sooner[1]:.1%}",
)

# %% [markdown]
# The mask alone is not the secret; mask and first values belong together. Frankle and Carbin call such a pair a
# *winning ticket*. Two cautions. To find it, the last networks were trained seven times, so no training was saved. And
# in larger networks rewinding to step 0 fails; one rewinds to an early step instead, or goes on from the trained
# weights with the learning rate rewound.

# %% [markdown]
# ## What did all those zeros buy?
#
# Back to the digits network with 80 % of zeros, fine-tuned. Guess before you run: how many bytes has its file, and how
# much faster is it?

# %%
import gzip

sparse = held[0]
save_file(sparse.state_dict(), scratch / "pruned.safetensors")
for name in ("dense", "pruned"):
    content = (scratch / f"{name}.safetensors").read_bytes()
    (scratch / f"{name}.safetensors.gz").write_bytes(gzip.compress(content, mtime=0))
files = [
    "dense.safetensors",
    "pruned.safetensors",
    "dense.safetensors.gz",
    "pruned.safetensors.gz",
]
show.table(["file", "bytes"], [[name, f"{bytes_of(name):,}"] for name in files])

# %% [markdown]
# Then the time. `measure.latencies_ms` calls both networks in turn, in random order within each round, so that a busy
# moment of the machine meets both. The ratio is taken within each round, and its median over the rounds counts.

# %%
pictures = torch.from_numpy(test.images)[:, None]


def runs(network, pixels):
    def call():
        with torch.inference_mode():
            return network(pixels)

    return call


taken = measure.latencies_ms(
    {"dense": runs(network, pictures), "80 % zeros": runs(sparse, pictures)}, rounds=30
)
ratio = np.median(taken["dense"] / taken["80 % zeros"])  # each round against itself

# %%
observe(
    "the network with 80 % zeros is as fast as the dense one, to within a fifth",
    5 / 6 < ratio < 6 / 5,
    f"{ratio:.2f} times as fast: "
    + "; ".join(f"{name} {measure.spread(ms)} ms" for name, ms in taken.items()),
)

# %%
claim(
    "the file has exactly as many bytes as the dense one; packed by gzip, it has less than half "
    "of the dense one's",
    bytes_of(files[1]) == bytes_of(files[0]) and bytes_of(files[3]) < 0.5 * bytes_of(files[2]),
    f"{bytes_of(files[1]):,}; packed {bytes_of(files[3]):,} against {bytes_of(files[2]):,}",
)

# %% [markdown]
# A zero takes four bytes like any other number, and is multiplied like any other number. Savings come only from
# something that *uses* the zeros: a packer, for the file on its way (unpacked in memory, it is as large as ever); a
# sparse format; a kernel, which is what libraries call the routine that does the arithmetic. For what we built, the
# ledger takes the files as they lie on disk.

# %%
logits = {
    name: torch_models.logits_of(each, test.images)
    for name, each in (("dense", network), ("80 %", sparse))
}
difference = float(np.abs(logits["dense"] - logits["80 %"]).max())
for form, file in (("80 % zeros", files[1]), ("80 % zeros, gzip", files[3])):
    ledger.record(
        "digits_cnn",
        form,
        accuracy=accuracy_of(sparse),
        bytes=bytes_of(file),
        max_abs_diff=difference,
    )

# %% [markdown]
# ## When does a sparse format pay?
#
# *CSR* (compressed sparse rows) stores the values that are not zero, the column of each, and where each row begins. A
# float32 matrix with $R$ rows, $C$ columns and density $d$ (the share that is *not* zero) then has, with 4-byte
# columns and row starts,
#
# $$\underbrace{4\,dRC}_{\text{values}} + \underbrace{4\,dRC}_{\text{columns}}
# + \underbrace{4\,(R+1)}_{\text{row starts}} \quad\text{bytes, instead of}\quad 4\,RC .$$
#
# So it breaks even just below $d = 1/2$. For time there is no such formula: a dense product reads memory in order,
# with the processor's widest instructions; a sparse one jumps. Measure, with a layer of 1,024 × 1,024 and one picture,
# then 32.

# %% [markdown]
# An example by hand. The matrix with rows $(0, 5, 0)$, $(0, 0, 0)$ and $(7, 0, 9)$ becomes the values 5, 7, 9, their
# columns 1, 0, 2, and the row starts 0, 1, 1, 3: row 0 owns the values from 0 up to 1, row 1 those from 1 up to 1,
# which are none, row 2 those from 1 up to 3. There is one start more than rows, so that the last row has an end too.
#
# The layer of the measurement is random, since neither bytes nor time depend on what the values mean.

# %%
from scipy import sparse as formats

random = np.random.default_rng(0)
layer = random.normal(size=(1024, 1024)).astype(np.float32)
sparse_layers, rows = {}, [["dense", f"{layer.nbytes:,}", ""]]
for zeros in (0.5, 0.9, 0.98):
    cut = np.where(np.abs(layer) > np.quantile(np.abs(layer), zeros), layer, 0)
    matrix = formats.csr_matrix(cut)
    formats.save_npz(scratch / f"{zeros}.npz", matrix, compressed=False)
    held_bytes = matrix.data.nbytes + matrix.indices.nbytes + matrix.indptr.nbytes
    rows.append([f"CSR, {zeros:.0%} zeros", f"{held_bytes:,}", f"{bytes_of(f'{zeros}.npz'):,}"])
    sparse_layers[zeros] = matrix, held_bytes
show.table(["form", "bytes in memory", "bytes of the file"], rows)

# %%
in_memory = {zeros: size for zeros, (_, size) in sparse_layers.items()}
by_formula = {zeros: 8 * matrix.nnz + 4 * 1025 for zeros, (matrix, _) in sparse_layers.items()}
claim(
    "the formula gives the bytes; at 50 % zeros CSR is larger than the dense layer, at 90 % "
    "about a fifth of it",
    in_memory == by_formula
    and in_memory[0.5] > layer.nbytes
    and 0.19 < in_memory[0.9] / layer.nbytes < 0.22,
    ", ".join(f"{zeros:.0%}: {size / layer.nbytes:.3f}" for zeros, size in in_memory.items()),
)

# %% [markdown]
# The bytes come out as computed; the file adds a header of about a kilobyte. Now the time, for each form and two sizes
# of batch. The inputs stand in columns, $(1024, 1)$ and $(1024, 32)$, and each call is a matrix times that.

# %%
timed, dense_layer = {}, torch.from_numpy(layer)
for batch in (1, 32):
    x = random.normal(size=(1024, batch)).astype(np.float32)
    same_x = torch.from_numpy(x)
    calls = {"dense": lambda same_x=same_x: dense_layer @ same_x}
    for zeros, (matrix, _) in sparse_layers.items():
        calls[f"CSR {zeros:.0%}"] = lambda x=x, matrix=matrix: matrix @ x
    timed[batch] = {
        name: measure.spread(ms) for name, ms in measure.latencies_ms(calls, rounds=40).items()
    }
rows = [[name, *(str(timed[batch][name]) for batch in timed)] for name in timed[1]]
show.table(["form", "1 picture: ms", "32 pictures: ms"], rows, "median and quartiles")

# %%
speed = {b: {n: t["dense"].median / s.median for n, s in t.items()} for b, t in timed.items()}
observe(
    "with 32 pictures, CSR at 50 % is slower than dense, at 98 % faster",
    speed[32]["CSR 50%"] < 1 < speed[32]["CSR 98%"],
    f"{speed[32]['CSR 50%']:.2f} and {speed[32]['CSR 98%']:.1f} times the dense speed",
    either=True,
)

# %%
observe(
    "with one picture, CSR at 90 % is faster than dense",
    speed[1]["CSR 90%"] > 1,
    f"{speed[1]['CSR 90%']:.1f} times; with 32 pictures {speed[32]['CSR 90%']:.2f} times",
    either=True,
)

# %% [markdown]
# Both products use one thread: the dense one is PyTorch's, the sparse one SciPy's. The wider the processor's
# instructions, the more the dense product gains: with narrow ones, CSR at 50 % may be as fast as dense. The density
# from which sparse is faster is therefore no property of the matrix alone: batch, kernel and processor decide with
# it. Measure with yours.
#
# ## What is 2:4, and what would it save?
#
# Hardware dislikes zeros that may lie anywhere. The compromise of NVIDIA's sparse tensor cores: *of every four
# neighbouring weights in a row, two are zero*. Then each survivor needs only 2 bits to say where in its group it lies,
# and the kernel knows in advance how much work each group is. PyTorch's 2:4 kernels run on CUDA GPUs only, so no time
# is measured here; pattern, accuracy and bytes can be had anywhere.


# %%
def two_of_four(weight):
    """True for the two largest magnitudes of each four neighbours along the inputs."""
    groups = weight.detach().abs().reshape(-1, 4)
    best = groups.topk(2, dim=1).indices
    return torch.zeros_like(groups, dtype=torch.bool).scatter(1, best, True).reshape(weight.shape)


# %% [markdown]
# `topk(2)` finds the two largest of each group of four, and `scatter` writes True in their places. To see what the
# pattern costs, cut half of the weights freely, then half of them in the pattern, then tune the latter for three
# epochs with the pattern held.


# %%
def masks_2_4(network):  # the first filters have 9 inputs each, which no four divides: left whole
    first, *rest = weights_of(network)
    return [torch.ones_like(first), *map(two_of_four, rest)]


free = [np.mean([accuracy_of(pruned(n, over_all(n, 0.5))) for n in networks])]
bound = [np.mean([accuracy_of(pruned(n, masks_2_4(n))) for n in networks])]
bound.append(
    np.mean([accuracy_of(tune(pruned(n, masks_2_4(n)), masks_2_4(n), epochs=3)) for n in networks])
)
rows = [
    ["half of the weights, anywhere", f"{free[0]:.1%}", ""],
    ["2:4", *(f"{b:.1%}" for b in bound)],
]
show.table(["zeros", "cut", "cut and tuned"], rows, "mean test accuracy of four networks")

# %%
claim(
    "tuned, the four 2:4 networks are within 2 points of the dense ones, on average",
    dense.mean() - bound[1] <= 0.02,
    f"{dense.mean():.1%} dense, {bound[0]:.1%} cut to 2:4, {bound[1]:.1%} tuned",
)

# %% [markdown]
# The bytes can be written down, and written out. Per group of four numbers of $b$ bits: two of $b$ bits and two places
# of 2 bits, so
#
# $$\frac{2b + 4}{4b} = \frac12 + \frac1b: \qquad b = 32:\ 0.531, \quad b = 16:\ 0.5625, \quad b = 8:\ 0.625 .$$

# %% [markdown]
# Writing it out takes little. The survivors go into `values`, row by row. Their places within the groups are numbers
# from 0 to 3, two bits each, and four of them share a byte: `<<` shifts a number to the left by that many bits, `|`
# lays the four over one another. The cell after it goes back: shift to the right, keep the lowest two bits with `& 3`,
# and put each value at its place in its group.

# %%
mask = two_of_four(network[7].weight).numpy()  # the first dense layer
values = network[7].weight.detach().numpy()[mask]
places = np.nonzero(mask.reshape(-1, 4))[1].astype(np.uint8)  # 0 to 3, two to a group
packed = places[0::4] | places[1::4] << 2 | places[2::4] << 4 | places[3::4] << 6

# %%
unpacked = np.stack([packed >> shift & 3 for shift in (0, 2, 4, 6)], axis=1).ravel()
again = np.zeros((mask.size // 4, 4), np.float32)
again[np.arange(len(unpacked)) // 2, unpacked] = values

# %%
claim(
    "unpacked, the layer is the pruned one bit for bit, from 17/32 of the bytes",
    np.array_equal(again.reshape(mask.shape), network[7].weight.detach().numpy() * mask)
    and 32 * (values.nbytes + packed.nbytes) == 17 * 4 * mask.size,
    f"{values.nbytes:,} + {packed.nbytes:,} bytes for {4 * mask.size:,}",
)

# %% [markdown]
# Never less than half, then, and the gain shrinks as numbers get shorter. What one buys with the accuracy is a pattern
# that a machine can multiply.
#
# ## What if the zeros are whole filters?
#
# Then no format and no kernel are needed: build a smaller network. Output channel $j$ of a convolution is made by
# filter $j$ alone, so three things belong to it: its filter and bias, the slice of the *next* layer's weights that
# reads the channel, and, behind `Flatten`, the columns of the dense layer, $4 \times 4 = 16$ of them in a row for each
# channel here.

# %%
first, second, hidden = network[0], network[2], network[7]
for name, layer in (("first filters", first), ("second filters", second), ("first dense", hidden)):
    print(f"{name:<15} weight {tuple(layer.weight.shape)}")


# %% [markdown]
# `narrower` does that for both convolutions. `strongest` says which filters stay. For the second convolution both axes
# shrink: `[two]` takes the filters that stay, `[:, one]` what they read of the first convolution's channels. The dense
# layer keeps all of its neurons and loses columns. `|=` replaces entries in the dictionary of weights, and
# `load_state_dict` refuses any shape that does not fit, which catches the most common slip.


# %%
def strongest(weight, count):  # filters by the sum of their magnitudes, in their old order
    return weight.detach().abs().flatten(1).sum(1).topk(count).indices.sort().values


def narrower(network, first_count, second_count):
    """The digits network with the strongest filters only: smaller layers, no zeros."""
    one, two = (
        strongest(network[0].weight, first_count),
        strongest(network[2].weight, second_count),
    )
    columns = (
        16 * two[:, None] + torch.arange(16)
    ).flatten()  # channel c: columns 16 c to 16 c + 15
    state, small = network.state_dict(), torch_models.digits_cnn()
    small[0] = nn.Conv2d(1, first_count, 3, padding=1)
    small[2] = nn.Conv2d(first_count, second_count, 3, padding=1)
    small[7] = nn.Linear(16 * second_count, 20)
    state |= {"0.weight": state["0.weight"][one], "0.bias": state["0.bias"][one]}
    state |= {"2.weight": state["2.weight"][two][:, one], "2.bias": state["2.bias"][two]}
    state |= {"7.weight": state["7.weight"][:, columns]}
    small.load_state_dict(state)
    return small.eval()


# %% [markdown]
# Is that the network that we think it is? An independent witness: leave the large network as it is and set the same
# filters *and their biases* to zero. A channel without filter and bias is 0 everywhere, and adds nothing to what
# follows.

# %%
small, zeroed = narrower(network, 8, 16), copy.deepcopy(network)
with torch.no_grad():
    for layer, count in ((zeroed[0], 8), (zeroed[2], 16)):
        dropped = np.setdiff1d(np.arange(len(layer.weight)), strongest(layer.weight, count))
        layer.weight[dropped], layer.bias[dropped] = 0, 0
apart = np.abs(
    torch_models.logits_of(small, test.images) - torch_models.logits_of(zeroed, test.images)
).max()

# %%
claim(
    "small network and zeroed network give the same logits", apart < 1e-4, f"apart by {apart:.0e}"
)

# %% [markdown]
# Now count. A multiplication with its addition is one *multiply-accumulate*, MAC. A convolution does $C_{out} C_{in}
# k^2$ of them for each of $H \times W$ points, a dense layer $N_{out} N_{in}$.


# %%
def count(network, pixels):
    """Parameters, and MACs for one picture: a hook on each layer sees the shape that leaves it."""
    total = []

    def note(layer, _, output):
        points = output.shape[2:].numel()  # H × W; 1 behind a dense layer
        total.append(layer.weight.numel() * points)

    layers = [m for m in network.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    hooks = [layer.register_forward_hook(note) for layer in layers]
    with torch.inference_mode():
        network(pixels[:1])
    for hook in hooks:
        hook.remove()
    return sum(p.numel() for p in network.parameters()), sum(total)


# %%
by_hand = 16 * 9 * 64 + 32 * 16 * 9 * 64 + 20 * 512 + 10 * 20
claim(
    "the count agrees with the formulas",
    count(network, pictures)[1] == by_hand,
    f"{by_hand:,} MACs",
)

# %% [markdown]
# Take half of the filters out of three of the networks, note the accuracy before and after, and tune. No mask has to
# be held this time: what is gone has no place to come back to.

# %%
smaller, narrow_runs = [], []
for each in networks[:3]:
    cut = narrower(each, 8, 16)
    smaller.append(tune(copy.deepcopy(cut), seed=1))
    narrow_runs.append([accuracy_of(each), accuracy_of(cut), accuracy_of(smaller[-1])])
counts = {"dense": count(network, pictures), "half": count(smaller[0], pictures)}
save_file(smaller[0].state_dict(), scratch / "half_the_filters.safetensors")
rows = [[name, f"{parameters:,}", f"{macs:,}"] for name, (parameters, macs) in counts.items()]
show.table(["filters", "parameters", "MACs for a picture"], rows)

# %%
fewer_parameters, fewer_macs = (h / d for h, d in zip(counts["half"], counts["dense"]))
claim(
    "half of the filters less: fewer than half of the parameters, a quarter of the operations or "
    "little more",
    fewer_parameters < 0.5 and 0.2 < fewer_macs < 0.3,
    f"{fewer_parameters:.2f} and {fewer_macs:.2f}",
)

# %%
before, cut, tuned = np.array(narrow_runs).T
claim(
    "and after tuning, within 2 points of the dense network, mean of three",
    (before - tuned).mean() <= 0.02,
    f"{before.mean():.1%} dense, {cut.mean():.1%} cut, {tuned.mean():.1%} tuned",
)

# %% [markdown]
# Operations fall with the product of the widths: half the inputs times half the outputs is a quarter. And the time?

# %%
calls = {}
for batch in (1, 450):
    for name, each in (("dense", network), ("half", smaller[0])):
        calls[f"{name}, {batch}"] = runs(each, pictures[:batch])
taken = measure.latencies_ms(calls, rounds=40)
gain = {b: np.median(taken[f"dense, {b}"]) / np.median(taken[f"half, {b}"]) for b in (1, 450)}
rows = [
    [b, *(str(measure.spread(taken[f"{n}, {b}"])) for n in ("dense", "half"))] for b in (1, 450)
]
show.table(["pictures", "dense: ms", "half of the filters: ms"], rows, "median and quartiles")

# %%
observe(
    "with 450 pictures at once the narrow network gains more than with one",
    gain[450] > gain[1],
    f"{gain[450]:.1f} times as fast with 450, {gain[1]:.1f} times with one",
)

# %%
ledger.record(
    "digits_cnn",
    "half of the filters",
    accuracy=tuned[0],
    bytes=bytes_of("half_the_filters.safetensors"),
    max_abs_diff=np.abs(torch_models.logits_of(smaller[0], test.images) - logits["dense"]).max(),
)

# %% [markdown]
# With one picture a call is mostly overhead, which knows nothing of filters. To see what pruning does where arithmetic
# decides, take a network that is large enough: the course's `small_resnet`, on digits drawn with 32 × 32 points
# (`data.upscaled`).
#
# It has *residual* blocks: two convolutions, whose result is *added* to the block's input. So the block's outputs must
# match its inputs channel by channel, and only the channels *between* its two convolutions are free to go. And each
# convolution is followed by *batch normalisation*, which subtracts a mean $\mu$, divides by $\sqrt{v + \epsilon}$, and
# multiplies by a learned $\gamma$, channel by channel. The size of a filter alone says little then; what counts is the
# filter times its factor, $\lVert w \rVert_1\, |\gamma| / \sqrt{v + \epsilon}$.


# %% [markdown]
# A block's `body` is convolution, normalisation, ReLU, convolution, normalisation. `thin` ranks the first
# convolution's filters by that product, and then shortens everything that has an entry for each inner channel: the
# filters, the four vectors of the first normalisation, and the second convolution's inputs.


# %%
def thin(block, count):
    """Keeps the strongest `count` channels between a block's two convolutions."""
    conv, norm, _, after, _ = block.body
    factor = norm.weight / (norm.running_var + norm.eps).sqrt()
    keep = strongest(conv.weight * factor[:, None, None, None], count)
    conv.weight, after.weight = (
        nn.Parameter(w.detach().clone()) for w in (conv.weight[keep], after.weight[:, keep])
    )
    for name in ("weight", "bias"):
        setattr(norm, name, nn.Parameter(getattr(norm, name).detach()[keep]))
    norm.running_mean, norm.running_var = norm.running_mean[keep], norm.running_var[keep]
    conv.out_channels = norm.num_features = after.in_channels = count


# %% [markdown]
# The network is trained on the larger pictures, and three quarters of the inner channels are taken out of each of its
# three blocks.


# %%
def upscaled(part):
    return data.Digits(data.upscaled(part.images), part.labels)


large_fit, large_test = upscaled(fit), upscaled(test)
large = torch_models.train_small_resnet(*large_fit, seed=0)
thinner = copy.deepcopy(large)
for block in thinner[3:6]:
    thin(block, len(block.body[0].weight) // 4)
cut_accuracy = accuracy_of(thinner, large_test)


# %%
thinner.train()
train_on(
    thinner,
    thinner.parameters(),
    inputs=torch.from_numpy(large_fit.images)[:, None],
    epochs=5,
    rate=4e-3,
)
thinner = thinner.eval()

# %%
large_pictures = torch.from_numpy(large_test.images[:32])[:, None]
large_counts = [count(each, large_pictures) for each in (large, thinner)]
large_right = [
    torch_models.logits_of(each, large_test.images).argmax(1) == large_test.labels
    for each in (large, thinner)
]
large_accuracies = [each.mean() for each in large_right]
gone_wrong, won_back = (int((a & ~b).sum()) for a, b in (large_right, large_right[::-1]))

# %%
claim(
    "three quarters of the inner channels less: fewer than 45 % of the parameters and "
    "operations, within 2 points of accuracy",
    all(after < 0.45 * before for before, after in zip(*large_counts))
    and large_accuracies[0] - large_accuracies[1] <= 0.02,
    f"parameters {large_counts[0][0]:,} → {large_counts[1][0]:,}, MACs {large_counts[0][1]:,} → "
    f"{large_counts[1][1]:,}; "
    f"accuracy {large_accuracies[0]:.1%} → {cut_accuracy:.1%} cut → {large_accuracies[1]:.1%} "
    f"tuned: {gone_wrong} of 450 pictures lost, {won_back} won",
)

# %% [markdown]
# Look at the accuracy in the middle: cut so deep and not tuned, the network only guesses. (Tuning took five epochs,
# the training of the whole network four.) And the clock?

# %%
taken = measure.latencies_ms(
    {"whole": runs(large, large_pictures), "thinned": runs(thinner, large_pictures)}, rounds=25
)
gain_large = np.median(taken["whole"]) / np.median(taken["thinned"])
fewer = large_counts[0][1] / large_counts[1][1]
fewer_large = large_counts[1][0] / large_counts[0][0]

# %%
observe(
    "the thinned network answers faster here",
    gain_large > 1.2,
    f"{gain_large:.1f} times as fast, with {fewer:.1f} times fewer operations: "
    + ", ".join(f"{name} {measure.spread(ms)} ms" for name, ms in taken.items())
    + " for 32 pictures",
)

# %% [markdown]
# Fewer parameters, fewer operations and less time, with an ordinary file and ordinary kernels. That is why teams that
# need speed on ordinary processors prune filters, though unstructured pruning usually removes more weights at the same
# accuracy.

# %% [markdown]
# ## How small can the file become?
#
# *Deep Compression* (Han, Mao and Dally, 2016) stacks three ideas, each on what the one before left over: prune; let
# the survivors *share* a few values; give frequent symbols short codes. The paper's small example is LeNet-300-100,
# 784 inputs, hidden layers of 300 and 100, 10 outputs, on MNIST's 28 × 28 pictures. MNIST does not ship with the
# course, so we draw our digits with 28 × 28 points. What that changes is asked at the end.

# %% [markdown]
# Enlarging is interpolation: each of the 784 new points is a weighted mean of old ones. Such a map is linear, hence a
# matrix $E$ of shape $(64, 784)$, and its row $i$ is what becomes of the picture that has a 1 at point $i$ and is 0
# elsewhere. So enlarge the 64 pictures of the identity matrix once; from then on, a product enlarges whole batches.
# The shifts of the training are done on the small pictures, before it.

# %%
enlarge = torch.from_numpy(data.upscaled(np.eye(64, dtype=np.float32).reshape(64, 8, 8), 28))
enlarge = enlarge.reshape(64, 784)  # interpolation is linear: a matrix


def lenet():
    return nn.Sequential(
        nn.Linear(784, 300), nn.ReLU(), nn.Linear(300, 100), nn.ReLU(), nn.Linear(100, 10)
    )


test_rows = torch.from_numpy(test.images.reshape(-1, 64)) @ enlarge  # (450, 784)


def logits_28(network):
    with torch.inference_mode():
        return network(test_rows).numpy()


def right(network):
    return logits_28(network).argmax(1) == test.labels  # (450,), True where right


# %%
def enlarged(forward):  # shifted, drawn with 28 × 28 points, then into the network
    return lambda x: forward(torch_models.shifted(x).reshape(-1, 64) @ enlarge)


# %% [markdown]
# First the dense network. It gets more epochs than the pruning after it, since a poor baseline would flatter the
# compression. Its file is the 100 % of everything that follows.

# %%
torch.manual_seed(0)
whole = lenet()
train_on(enlarged(whole), whole.parameters(), epochs=32, rate=5e-3)
save_file(whole.state_dict(), scratch / "lenet.safetensors")
size = {"dense": bytes_of("lenet.safetensors")}
print(f"{right(whole).mean():.1%} right, {size['dense']:,} bytes")

# %% [markdown]
# ### Stage 1: prune, and say where the survivors are
#
# Nine weights in ten go, on the cubic schedule. (The paper pruned this network to 8 % of its weights.)


# %%
def pruned_28(network, epochs=24):
    network = copy.deepcopy(network)
    rule = gradually(network, 0.9, every=17, begin=0, end=0.6, total=17 * epochs)
    train_on(enlarged(network), network.parameters(), epochs=epochs, rate=5e-3, after_step=rule)
    return network


lean = pruned_28(whole)
shares = [float((w != 0).float().mean()) for w in weights_of(lean)]
print(f"{right(lean).mean():.1%} right; layers keep", ", ".join(f"{s:.1%}" for s in shares))

# %% [markdown]
# CSR spent 32 bits on a place. The paper spends 5: read the matrix row by row, and write for each survivor how many
# zeros precede it, the *gap*. Gaps are mostly small; with 5 bits, up to 31. Where more zeros follow one another, a
# *filler*, a stored zero, bridges 31 of them (and takes a place itself). If every weight survives with probability
# $d$, independently of the others, a gap has 32 zeros or more with probability $(1-d)^{32}$. Such a gap needs one
# filler, each 32 zeros more another one, so that the share of fillers among all entries comes to the same
# $(1-d)^{32}$. Does it?
#
# As an example, take gaps of 2 bits, up to 3, and the row 0 0 5 0 0 0 0 0 7. The 5 has two zeros before it: gap 2.
# Five zeros precede the 7, too many: a filler after three of them stands on the fourth (gap 3), and one zero is left
# (gap 1). Stored are the gaps 2, 3, 1 and the values 5, 0, 7.


# %%
def relative(matrix, bits=5):
    """The gap before each entry, and its place in `matrix.ravel()`, −1 for a filler."""
    longest, gaps, where, at = 2**bits - 1, [], [], -1
    for place in np.flatnonzero(matrix):
        gap = int(place) - at - 1
        while gap > longest:
            gaps.append(longest)
            where.append(-1)
            gap -= longest + 1
        gaps.append(gap)
        where.append(int(place))
        at = int(place)
    return np.array(gaps), np.array(where)


matrices = [w.detach().numpy() for w in weights_of(lean)]
coded = [relative(matrix) for matrix in matrices]
fillers = [(where < 0).mean() for _, where in coded]
expected = (1 - shares[0]) ** 32
none = (coded[0][0] == 0).mean()  # gap 0: a survivor next to a survivor
columns = np.random.default_rng(0).permutation(784)
mixed = (relative(matrices[0][:, columns])[0] == 0).mean()
of_a_row = (matrices[0] != 0).mean(1)  # (300,), the share that each neuron keeps
uneven = (of_a_row**2).sum() / of_a_row.sum()
print(f"first layer: {fillers[0]:.1%} of the entries are fillers, {expected:.1%} expected")
print(f"gap 0: {none:.1%}; expected {shares[0]:.1%}, by each row's own share {uneven:.1%}")
print(f"gap 0 with the columns in random order: {mixed:.1%}")

# %%
claim(
    "survivors stand next to each other, more than twice as often as in a random order of the "
    "inputs",
    none > 2 * mixed,
    f"{none:.1%} against {mixed:.1%}",
)

# %% [markdown]
# Two things stand out. With the inputs in random order there are still more gaps of 0 than expected, because neurons
# keep different shares: where a row keeps the share $d_r$, a survivor's neighbour survives with $d_r$, and full rows
# have more survivors to ask. The row's own shares predict that figure. What is left of the difference is order:
# survivors come in runs, with long gaps between them: hence the many fillers, and the many gaps of 0, which will be
# cheap to code. A likely reason: neighbouring inputs were interpolated from the same points, and so bear almost the
# same news. What does a place cost now?

# %%
survivors = sum(np.count_nonzero(matrix) for matrix in matrices)
bits_for_places = 5 * sum(len(gaps) for gaps, _ in coded) / survivors
claim(
    "places cost 5 bits and a few fillers, not CSR's 32: less than a fifth",
    bits_for_places < 32 / 5,
    f"{bits_for_places:.2f} bits for each weight that is left",
)

# %% [markdown]
# Now into a file. A number of $b$ bits is $b$ characters `0` or `1`; eight of them make a byte.


# %%
def fixed(symbols, bits):  # symbols as a string of zeros and ones
    return "".join(f"{int(symbol):0{bits}b}" for symbol in symbols)


def to_bytes(bits):  # the last byte is filled with zeros
    return np.packbits(np.frombuffer(bits.encode(), np.uint8) - ord("0")).tobytes()


def head(network, k):  # what every stage stores: the shape, the number of entries, the biases
    rows_columns = network[2 * k].weight.shape
    counts = np.array([*rows_columns, len(coded[k][0])], "<u4")
    return counts.tobytes() + network[2 * k].bias.detach().numpy().tobytes()


# %% [markdown]
# For each layer, then: rows, columns and the number of entries, 4 bytes each; the biases; the gaps, 5 bits each; the
# values, 4 bytes each, fillers included. A reader who knows this order needs no separators. `"<u4"` and `"<f4"` are
# NumPy's names for unsigned integers and floats of 4 bytes, the lowest byte first, on every machine.

# %%
parts = []
for k, (matrix, (gaps, where)) in enumerate(zip(matrices, coded)):
    values = np.where(where < 0, 0, matrix.ravel()[where]).astype("<f4")
    parts += [head(lean, k), to_bytes(fixed(gaps, 5)), values.tobytes()]
(scratch / "1_pruned.bin").write_bytes(b"".join(parts))
size["pruned"] = bytes_of("1_pruned.bin")
print(f"{size['pruned']:,} bytes, {size['dense'] / size['pruned']:.1f} times smaller")

# %% [markdown]
# ### Stage 2: let weights share their values
#
# Of the bytes that are left, most are float32 values. Replace each layer's values by 31 *centroids*; a weight then is
# a number of 5 bits, its *cluster*. (31, since the filler's zero takes one of 32 numbers.) For $n$ weights of $b$ bits
# and $k$ clusters the rate is
#
# $$r = \frac{n b}{n \log_2 k + k b},$$
#
# codebook included. *k-means* finds the centroids: assign each value to the nearest, move each centroid to the mean of
# its values, repeat. In one dimension, "nearest" is a search between midpoints. The paper starts with centroids spread
# evenly from the smallest value to the largest, so that the few large weights, which matter most, get centroids of
# their own.


# %%
def clustered(values, count=31, rounds=40):
    """Centroids (count,), ascending, and each value's cluster."""
    centroids = np.linspace(values.min(), values.max(), count)
    for _ in range(rounds):
        owner = np.searchsorted((centroids[1:] + centroids[:-1]) / 2, values)
        many = np.bincount(owner, minlength=count)
        sums = np.bincount(owner, values, minlength=count)
        centroids = np.where(many > 0, sums / np.maximum(many, 1), centroids)
    return centroids.astype(np.float32), owner


# %% [markdown]
# `bincount` with a second argument sums the values of each cluster, so that sums over counts are the means; a cluster
# without values keeps its centroid. Each layer has a codebook of its own. `clusters` holds, in the layer's shape,
# which of 32 numbers each weight became, and `with_codebooks` looks them up again.

# %%
codebooks, clusters = [], []
for matrix in matrices:
    centroids, owner = clustered(matrix[matrix != 0])
    number = np.zeros(matrix.shape, np.int64)  # 0: a zero; 1 to 31: a cluster
    number[matrix != 0] = owner + 1
    codebooks.append(centroids)
    clusters.append(number)


def with_codebooks(network, codebooks, clusters):
    network = copy.deepcopy(network)
    with torch.no_grad():
        for weight, book, number in zip(weights_of(network), codebooks, clusters):
            weight.copy_(torch.from_numpy(np.concatenate([[0], book]).astype(np.float32)[number]))
    return network


# %%
shared = with_codebooks(lean, codebooks, clusters)
both = zip(matrices, weights_of(shared))
worst = max(np.abs(matrix - weight.detach().numpy()).max() for matrix, weight in both)

# %%
claim(
    "31 values for each layer are enough: at most 1 point of accuracy goes",
    right(lean).mean() - right(shared).mean() <= 0.01,
    f"{right(lean).mean():.2%} → {right(shared).mean():.2%}; "
    f"a weight moved by {worst:.3f} at most",
)

# %% [markdown]
# The centroids can be trained. A weight in cluster $c$ is $w_{ij} = q_{c}$ for $I_{ij} = c$, with centroids $q$ and
# the table of clusters $I$. By the chain rule the gradient of a centroid is the sum over its weights:
#
# $$\frac{\partial L}{\partial q_c}
# = \sum_{i,j} \frac{\partial L}{\partial w_{ij}}\, \frac{\partial w_{ij}}{\partial q_c}
# = \sum_{i,j:\, I_{ij} = c} \frac{\partial L}{\partial w_{ij}} .$$
#
# Indexing `q[I]` makes autograd do this sum. Hold the formula against it:

# %% [markdown]
# `by_codebook` is the network with the codebooks as its only parameters. Entry 0 of each is fixed at zero, so that
# what was pruned stays so. The tables of clusters are fixed too: a weight's value may move, but only together with all
# weights of its cluster.

# %%
books = [torch.from_numpy(book.copy()).requires_grad_() for book in codebooks]
tables = [torch.from_numpy(number) for number in clusters]


def by_codebook(x):
    for k, (book, table) in enumerate(zip(books, tables)):
        weight = torch.cat([torch.zeros(1), book])[table]
        x = nn.functional.linear(x, weight, lean[2 * k].bias)
        x = x.relu() if k < 2 else x
    return x


# %% [markdown]
# One backward pass through `by_codebook` gives autograd's $\partial L / \partial q$. Another, through the ordinary
# network with the same weights, gives $\partial L / \partial w$, and `bincount` sums it by cluster: the right side of
# the formula.

# %%
labels = torch.from_numpy(test.labels)
loss = nn.functional.cross_entropy(by_codebook(test_rows), labels)
of_books = torch.autograd.grad(loss, books)
shared.zero_grad()
nn.functional.cross_entropy(shared(test_rows), labels).backward()
apart = [
    np.abs(np.bincount(n.ravel(), w.grad.numpy().ravel(), 32)[1:] - of_book.numpy()).max()
    for n, w, of_book in zip(clusters, weights_of(shared), of_books)
]

# %%
claim(
    "autograd's gradient of the centroids is the formula's", max(apart) < 1e-4, f"{max(apart):.0e}"
)

# %% [markdown]
# Train the codebooks for a few epochs, then write the file: where stage 1 had 32 bits for a value, there are 5 now,
# and the 31 centroids once for each layer.

# %%
train_on(enlarged(by_codebook), books, epochs=5, rate=2e-3, seed=1)
codebooks = [book.detach().numpy() for book in books]
shared = with_codebooks(lean, codebooks, clusters)
streams = []  # for each layer: gaps, clusters (0 where there is a filler)
for (gaps, where), number in zip(coded, clusters):
    streams.append((gaps, np.where(where < 0, 0, number.ravel()[where])))

# %%
parts = []
for k, (gaps, symbols) in enumerate(streams):
    parts += [
        head(shared, k),
        codebooks[k].tobytes(),
        to_bytes(fixed(gaps, 5) + fixed(symbols, 5)),
    ]
(scratch / "2_clustered.bin").write_bytes(b"".join(parts))
size["clustered"] = bytes_of("2_clustered.bin")
print(f"{right(shared).mean():.2%} right, {size['clustered']:,} bytes")

# %% [markdown]
# ### Stage 3: short codes for what is frequent
#
# Every symbol still takes 5 bits, whether it is frequent or rare.

# %%
figure, axes = plt.subplots(1, 2, figsize=(9, 3))
for axis, which, name in zip(
    axes, (0, 1), ("gap before the entry", "cluster of the entry (0: filler)")
):
    counts = np.bincount(streams[0][which], minlength=32)
    axis.bar(np.arange(32), 100 * counts / counts.sum(), color=(show.BLUE, show.ORANGE)[which])
    axis.set_xlabel(name)
    axis.set_ylabel("share (%)")
gap, cluster = (np.bincount(stream, minlength=32) / len(stream) for stream in streams[0])
show.finding(
    f"{gap[0]:.0%} of the gaps are 0; 32 symbols used evenly would have {1 / 32:.1%} each",
    alt=f"Two bar charts for the first layer. Gaps: 0 has {gap[0]:.1%}, 31, which holds the "
    f"fillers, {gap[31]:.1%}, all between at most {gap[1:31].max():.1%}. Clusters: the filler has "
    f"{cluster[0]:.1%}; the others form two humps on either side of zero, with next to nothing "
    "between them and at the ends.",
)

# %% [markdown]
# If symbol $s$ has probability $p_s$ and a code of $\ell_s$ bits, the mean length is $\bar\ell = \sum_s p_s \ell_s$.
# Codes that can be told apart without separators (none begins another) obey *Kraft's inequality*, $\sum_s 2^{-\ell_s}
# \le 1$. Then
#
# $$H - \bar\ell = \sum_s p_s \log_2 \frac{1}{p_s} - \sum_s p_s \ell_s = \sum_s p_s \log_2 \frac{2^{-\ell_s}}{p_s}
# \;\le\; \log_2 \sum_s 2^{-\ell_s} \;\le\; 0,$$
#
# where the first "≤" holds because the logarithm is concave (the mean of logarithms is at most the logarithm of the
# mean). So no code is shorter than the *entropy* $H$. *Huffman's* code comes within one bit of it: join the two rarest
# symbols to one, again and again; each join makes the codes of what is in it one bit longer.

# %% [markdown]
# Try it on counts of 8, 4, 2, 1, 1, for the symbols a to e. The rarest are d and e: joined, they count 2, and take one
# bit to tell apart. Now c and (d, e) are the rarest, 2 and 2: joined, 4. Then b with those: 8. Then a with those: 16,
# the end. Symbol a was in one join, b in two, c in three, d and e in four, and those are the lengths of their codes.
#
# A *heap* is a list that yields its smallest element quickly. Each entry of ours is a count, a symbol to break ties in
# the same way everywhere, and the symbols joined in it.

# %%
import heapq


def huffman_lengths(counts):
    """Bits for each symbol; 0 for a symbol that never comes."""
    heap = [(int(c), s, [s]) for s, c in enumerate(counts) if c]
    lengths = np.zeros(len(counts), np.uint8)
    lengths[[s for _, s, _ in heap]] = len(heap) == 1  # a lone symbol still takes one bit
    heapq.heapify(heap)
    while len(heap) > 1:
        (a, first, some), (b, _, others) = heapq.heappop(heap), heapq.heappop(heap)
        lengths[some + others] += 1
        heapq.heappush(heap, (a + b, first, some + others))
    return lengths


# %% [markdown]
# The lengths are not yet codes. Assign them in order of length, then of symbol, by counting: the first is all zeros,
# each next one is the one before plus 1, with zeros appended where the length grows. For lengths 1, 2, 3, 4, 4 that
# gives 0, 10, 110, 1110, 1111, of which none begins another.


# %%
def canonical(lengths):
    """The codes that belong to these lengths, counted upwards. {symbol: "0101"}"""
    code, before, codes = 0, 0, {}
    for length, symbol in sorted((int(n), s) for s, n in enumerate(lengths) if n):
        code <<= length - before
        codes[symbol] = f"{code:0{length}b}"
        code, before = code + 1, length
    return codes


# %%
example = huffman_lengths([8, 4, 2, 1, 1])
print("lengths", example, "codes", canonical(example))

# %% [markdown]
# Because codes are counted upwards, the lengths alone determine them: 32 bytes are all that a reader needs. That is a
# *canonical* Huffman code, as in gzip's format.

# %% [markdown]
# Six streams are to be coded, gaps and clusters of three layers. For each, compare the entropy of its frequencies with
# the mean length that Huffman's code reaches.

# %%
rows, bounds = [], []
for k, layer_streams in enumerate(streams):
    for name, symbols in zip(("gaps", "clusters"), layer_streams):
        counts = np.bincount(symbols, minlength=32)
        p = counts[counts > 0] / counts.sum()
        entropy = float(-(p * np.log2(p)).sum())
        length = float((counts * huffman_lengths(counts)).sum() / counts.sum())
        bounds.append(entropy <= length + 1e-9 and length < entropy + 1)
        rows.append([f"layer {k + 1}, {name}", len(symbols), f"{entropy:.3f}", f"{length:.3f}"])
show.table(["stream", "symbols", "entropy (bits)", "Huffman (bits)"], rows)

# %%
claim(
    "each of the six codes lies between its entropy and one bit more",
    all(bounds),
    f"5 bits before; {rows[0][3]} and {rows[1][3]} for the first layer's gaps and clusters",
)

# %% [markdown]
# The last file has, for each layer, the head as before, the 31 centroids, the lengths of the two codes (32 bytes
# each), and then the codes of all gaps and all clusters in one row of bits.

# %%
parts = []
for k, layer_streams in enumerate(streams):
    lengths = [huffman_lengths(np.bincount(symbols, minlength=32)) for symbols in layer_streams]
    bits = ""
    for each, symbols in zip(lengths, layer_streams):
        codes = canonical(each)
        bits += "".join(codes[int(symbol)] for symbol in symbols)
    parts += [
        head(shared, k),
        codebooks[k].tobytes(),
        *(n.tobytes() for n in lengths),
        to_bytes(bits),
    ]
(scratch / "3_huffman.bin").write_bytes(b"".join(parts))
size["Huffman"] = bytes_of("3_huffman.bin")
print(f"{size['Huffman']:,} bytes")

# %% [markdown]
# ### Back again, from the file alone
#
# A compressed file is worth what a reader can get out of it. This one knows the format and nothing else.


# %%
class Reader:
    def __init__(self, raw):
        self.raw, self.at = raw, 0

    def array(self, dtype, count):
        taken = np.frombuffer(self.raw, dtype, count, offset=self.at)
        self.at += taken.nbytes
        return taken

    def decoded(self, all_lengths, entries):
        """`entries` symbols of each code, one stream after the other; ends on a whole byte."""
        bits = "".join(map(str, np.unpackbits(np.frombuffer(self.raw[self.at :], np.uint8))))
        place, streams = 0, []
        for lengths in all_lengths:
            symbol_of = {code: symbol for symbol, code in canonical(lengths).items()}
            symbols, begun = [], place
            while len(symbols) < entries:
                place += 1
                if bits[begun:place] in symbol_of:
                    symbols.append(symbol_of[bits[begun:place]])
                    begun = place
            streams.append(np.array(symbols))
        self.at += -(-place // 8)
        return streams


# %% [markdown]
# `Reader` walks through the bytes. `array` takes numbers of a fixed size. `decoded` takes codes: it adds one bit after
# another until what it has is a code, notes the symbol, and begins again. That is unambiguous because no code begins
# another. Exercise 11.4 asks what has to be checked if the file may be damaged.
#
# From gaps to places is one line: an entry lies its gap and one place further than the entry before, so the running
# sum of `gaps + 1`, less 1, is the place in the flattened matrix. Fillers write the zero that is there already.


# %%
def read_compressed(raw):
    reader, network = Reader(raw), lenet()
    for layer in (network[0], network[2], network[4]):
        rows, columns, entries = map(int, reader.array("<u4", 3))
        bias, book = reader.array("<f4", rows), reader.array("<f4", 31)
        gaps, symbols = reader.decoded([reader.array("u1", 32), reader.array("u1", 32)], entries)
        matrix = np.zeros(rows * columns, np.float32)
        matrix[np.cumsum(gaps + 1) - 1] = np.concatenate([[0], book])[symbols]
        layer.weight = nn.Parameter(torch.from_numpy(matrix.reshape(rows, columns)))
        layer.bias = nn.Parameter(torch.from_numpy(bias.astype(np.float32)))
    assert reader.at == len(raw)  # every byte was used
    return network


# %%
decoded = read_compressed((scratch / "3_huffman.bin").read_bytes())
same = all(torch.equal(a, b) for a, b in zip(decoded.parameters(), shared.parameters()))
apart = np.abs(logits_28(decoded) - logits_28(shared)).max()
claim(
    "the decoded network has the clustered network's numbers, bit for bit, and so its logits, to "
    "rounding",
    same and apart < 1e-4,
    f"{logits_28(decoded).size:,} logits of 450 pictures, apart by {apart:.0e}",
)

# %% [markdown]
# All four stages side by side: the bytes as they lie on disk, and the accuracy of the network that the stage leaves.

# %%
stages = {"dense": whole, "pruned": lean, "clustered": shared, "Huffman": decoded}
rate = {name: size["dense"] / size[name] for name in stages}
rows = [
    [name, f"{size[name]:,}", f"{rate[name]:.1f}", f"{right(each).mean():.2%}"]
    for name, each in stages.items()
]
show.table(["stage", "bytes of the file", "times smaller", "test accuracy"], rows)

# %%
claim(
    "the file is 25 times smaller or more, by pruning alone less than 10 times",
    rate["Huffman"] >= 25 and rate["pruned"] < 10,
    ", ".join(f"{name} {r:.1f} times" for name, r in rate.items()),
)

# %% [markdown]
# And the accuracy? On 450 pictures one mistake is 0.22 points, and both networks are right about nearly all pictures.
# So count the pictures on which exactly one of the two is right (*paired disagreements*), and do it for three seeds,
# since one could be lucky. (For the two further seeds the centroids are not trained, and nothing is written: decoding
# changes no bit, as we saw.)


# %%
def compressed(seed):
    """Another seed: which test pictures the dense and the clustered network read rightly."""
    torch.manual_seed(seed)
    dense = lenet()
    train_on(enlarged(dense), dense.parameters(), epochs=32, rate=5e-3, seed=seed)
    lean = pruned_28(dense)
    pairs = [clustered(m[m != 0]) for m in (w.detach().numpy() for w in weights_of(lean))]
    with torch.no_grad():
        for weight, (book, owner) in zip(weights_of(lean), pairs):
            weight[weight != 0] = torch.from_numpy(book[owner])
    return right(dense), right(lean)


pairs = [(right(whole), right(decoded))]
pairs += [compressed(seed) for seed in (1, 2)]
lost = [int((a & ~b).sum()) for a, b in pairs]
won = [int((b & ~a).sum()) for a, b in pairs]
show.table(
    ["seed", "only the dense one is right", "only the compressed one is right"],
    [[seed, *each] for seed, each in enumerate(zip(lost, won))],
)

# %%
change = (sum(won) - sum(lost)) / (3 * 450)
claim(
    "over three seeds, compression costs at most 1 point of accuracy",
    change >= -0.01,
    f"{100 * change:+.2f} points: {sum(lost)} pictures lost, {sum(won)} won, of 3 × 450",
)

# %% [markdown]
# Read it with care. The compressed network was trained longer in all, which may pay for part of what pruning costs.
# What is shown is a loss of less than a point, on this task, with 1,350 answers; "no loss" would need many more.
#
# ### Is that as good as the paper's 40 times?
#
# The paper reports 1,070 kB → 27 kB for this architecture on MNIST, at an error that did not rise.

# %%
ours = [
    f"{size['dense'] / 1000:.0f} kB",
    f"{size['Huffman'] / 1000:.0f} kB",
    f"{rate['Huffman']:.0f}",
]
paper = ["1070 kB", "27 kB", "40"]
show.table(
    ["LeNet-300-100", "before", "after", "times smaller"],
    [["Han, Mao, Dally, MNIST", *paper], ["here, digits drawn with 28 × 28 points", *ours]],
)

# %% [markdown]
# The figures look alike, and should be read with suspicion. Our pictures have 784 numbers, but how many of them are
# *news*? They were interpolated from 64.

# %% [markdown]
# The *rank* of a matrix is the number of its rows that are independent: how many numbers a picture really has. A
# linear layer behind a linear map can absorb it, $W(Ex) = (WE)x$, here with $x$ as a column and $E$ turned
# accordingly. So the trained network can be folded into one that reads the 64 original points. Are its answers the
# same?

# %%
# X E has at most the rank of X, (1122, 64), whatever E, (64, 784), is
rank = int(np.linalg.matrix_rank(fit.images.reshape(-1, 64)))
folded = nn.Sequential(nn.Linear(64, 300), *copy.deepcopy(list(whole[1:])))
with torch.no_grad():
    folded[0].weight.copy_(whole[0].weight @ enlarge.T)  # W (E x) = (W E) x
    folded[0].bias.copy_(whole[0].bias)
    same = folded(flat_test).numpy()
save_file(folded.state_dict(), scratch / "folded.safetensors")
free = size["dense"] / bytes_of("folded.safetensors")
apart = np.abs(same - logits_28(whole)).max()

# %%
claim(
    "a network with 64 inputs gives the same logits, to rounding, from a file more than 5 times "
    "smaller",
    rank <= 64 and apart < 1e-3 and free > 5,
    f"rank at most {rank} of 784; {free:.1f} times smaller; logits apart by {apart:.0e}",
)

# %% [markdown]
# A factor of five was there for nothing, without pruning one weight: the baseline was blown up. MNIST's 784 points
# carry more, though its border is empty as well. Our error, too, is measured on 450 pictures and not on 10,000, so
# that it is known to about a point only. A compression rate says as much about what you divide as about what you
# divide by. Ask: *smaller than what?*
#
# And what is gained when the model runs?

# %%
in_use = sum(p.numel() * p.element_size() for p in decoded.parameters())
claim(
    "decoded, the network takes as many bytes of memory as the dense one",
    in_use == sum(p.numel() * p.element_size() for p in whole.parameters()),
    f"{in_use:,} bytes",
)

# %%
seen = {name: logits_28(each) for name, each in stages.items()}
previous = None
for name in stages:
    gap = None if previous is None else float(np.abs(seen[name] - seen[previous]).max())
    ledger.record(
        "lenet_300_100",
        name,
        accuracy=right(stages[name]).mean(),
        bytes=size[name],
        max_abs_diff=gap,
    )
    previous = name

# %% [markdown]
# Deep Compression makes a file for the shop window of an app store, a modem, a firmware update. To gain time from it
# takes hardware that computes on the compressed form; the authors built one, *EIE*. On an ordinary processor, remove
# filters.
#
# ## What we measured


# %%
def against(after, before):
    return f"{after:.1%} for {before:.1%}"


whole_bytes, half_bytes = bytes_of(files[0]), bytes_of("half_the_filters.safetensors")
zeros, last = against(repaired[0], dense[0]), against(pairs[0][1].mean(), pairs[0][0].mean())
resnet = against(*large_accuracies[::-1])
rows = [
    ["80 % zeros", f"{bytes_of(files[1]) / whole_bytes:.0%}", zeros, f"{1 / ratio:.2f}"],
    ["80 % zeros, gzip", f"{bytes_of(files[3]) / whole_bytes:.0%}", zeros, "unpacked: as above"],
    [
        "half of the filters",
        f"{half_bytes / whole_bytes:.0%}",
        against(tuned[0], before[0]),
        f"{1 / gain[450]:.2f}",
    ],
    ["ResNet, inner channels", f"{fewer_large:.0%}, parameters", resnet, f"{1 / gain_large:.2f}"],
    ["Deep Compression", f"{1 / rate['Huffman']:.1%}", last, "not timed"],
]
show.table(["what", "bytes, of the dense", "accuracy", "time, of the dense"], rows)

# %% [markdown]
# Read the rows against each other. The first has all of the bytes and none of the speed; packing it changes the bytes
# alone; the narrow networks change both. The columns are not to be compared between tasks: the ResNet's share counts
# parameters, and the last row is another network.

# %%
ledger.picture("Zeros alone make no file smaller; formats that use them, and smaller networks, do")

# %% [markdown]
# ## What to remember
#
# - Zeros save something only where a format or a kernel uses them; ask for the file and the time, not for the
#   sparsity.
# - Small cuts need no method. For hard ones: rank over all layers, follow the cubic schedule, hold the masks, train
#   on.
# - For bytes: prune, share values, code. For time on ordinary processors: remove filters, and let arithmetic decide.
#
# ## Where this breaks down
#
# These networks are far too large for their task, and such networks prune well. A compact one (MobileNet, say) has
# less to give. Accuracy is a mean: pruning tends to hurt rare classes and unusual examples first, which 450 balanced
# digits cannot show; measure your own groups. Ranking by magnitude assumes that scales are comparable, which batch
# normalisation and shared layers break. And in a language model of billions of weights no one retrains after each cut.
#
# ## What real teams use
#
# `torch.nn.utils.prune` for experiments; Torch-Pruning, which follows residual additions and concatenations by itself
# when filters go; on NVIDIA GPUs 2:4 with cuSPARSELt through `torch.sparse` or TensorRT. For language models SparseGPT
# and Wanda prune in one shot with calibration data. On phones XNNPACK has sparse kernels for 1 × 1 convolutions. Far
# more often than all of these, teams quantize first (lessons 09 and 10), train a smaller network (lesson 12), or
# choose a smaller architecture, and prune last.
#
# ## Further reading
#
# - Y. LeCun, J. S. Denker, S. A. Solla, *Optimal Brain Damage*, NIPS 1989.
# - S. Han, J. Pool, J. Tran, W. J. Dally, *Learning both Weights and Connections for Efficient Neural Networks*, NIPS
#   2015.
# - S. Han, H. Mao, W. J. Dally, *Deep Compression: Compressing Deep Neural Networks with Pruning, Trained Quantization
#   and Huffman Coding*, ICLR 2016.
# - H. Li et al., *Pruning Filters for Efficient ConvNets*, ICLR 2017; Z. Liu et al., *Learning Efficient Convolutional
#   Networks through Network Slimming*, ICCV 2017.
# - M. Zhu, S. Gupta, *To Prune, or Not to Prune: Exploring the Efficacy of Pruning for Model Compression*, 2017,
#   arXiv:1710.01878.
# - J. Frankle, M. Carbin, *The Lottery Ticket Hypothesis: Finding Sparse, Trainable Neural Networks*, ICLR 2019; J.
#   Frankle et al., *Linear Mode Connectivity and the Lottery Ticket Hypothesis*, ICML 2020; A. Renda, J. Frankle, M.
#   Carbin, *Comparing Rewinding and Fine-tuning in Neural Network Pruning*, ICLR 2020.
# - A. Mishra et al., *Accelerating Sparse Deep Neural Networks*, 2021, arXiv:2104.08378.
# - D. A. Huffman, *A Method for the Construction of Minimum-Redundancy Codes*, Proceedings of the IRE 40(9), 1952; RFC
#   1951, section 3.2.2, for canonical codes.
# - D. Blalock et al., *What is the State of Neural Network Pruning?*, MLSys 2020.
