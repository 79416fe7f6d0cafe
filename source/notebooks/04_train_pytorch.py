# %% [markdown]
# # 04 Train in PyTorch
#
# At 3 a.m. the retrained model is rolled back. It answers worse than the old one, although its training log said 99 %.
# Nobody can say which images that number was measured on, or in which mode the network was.
#
# ## You will be able to
#
# - split the data into three parts, and say what each part is for;
# - write a training loop in PyTorch, and explain each of its lines;
# - read a loss curve, and stop a training at the right epoch;
# - tell `eval()` from `inference_mode()`, and measure what happens without them;
# - save a training so that it survives a restart, and open a file of weights that you do not trust.
#
# ## Before you start
#
# You need the loss *cross-entropy* (lesson 02), and its *gradient*, the optimizer *Adam* and the *learning rate*
# (lesson 03). Lesson 01 trained a small network in passing. Here we train the same network with care. The result is the
# model that later lessons export, compress and serve.

# %%
import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from course_lib import data, measure, models, torch_models
from course_lib.idioms import begin, claim, guess, ledger, path, reveal, show

scratch = begin("04")
torch.set_num_threads(1)  # the network is so small that more threads would only wait
path.picture(here="04")

# %% [markdown]
# ## Why does the loss fall although there is nothing to learn?
#
# One of the articles behind this course explains training with the listing below. We added a seed, and we print four
# digits.

# %%
torch.manual_seed(0)


class SimpleModel(nn.Module):
    def __init__(self):
        super(SimpleModel, self).__init__()
        self.fc = nn.Linear(10, 2)

    def forward(self, x):
        return self.fc(x)


model = SimpleModel()
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)

# %%
x_train, y_train = torch.randn(100, 10), torch.randint(0, 2, (100,))
x_val, y_val = torch.randn(10, 10), torch.randint(0, 2, (10,))
for epoch in range(10):
    optimizer.zero_grad()
    output = model(x_train)
    loss = criterion(output, y_train)
    loss.backward()
    optimizer.step()
    output = model(x_val)
    val_loss = criterion(output, y_val)
    print(f"Epoch {epoch + 1}, train_loss: {loss.item():.4f}, val_loss: {val_loss.item():.4f}")

# %% [markdown]
# Both losses fall, so the listing seems to work. We train it for another 1,000 steps and test it on 100,000 new
# examples, made in the same way. What share of them will it get right?

# %%
guess(
    "tosses", "What share of 100,000 new examples does the listing's model get right?", share=True
)

# %%
for step in range(1000):
    optimizer.zero_grad()
    loss = criterion(model(x_train), y_train)
    loss.backward()
    optimizer.step()
x_new, y_new = torch.randn(100_000, 10), torch.randint(0, 2, (100_000,))
new_logits = model(x_new).detach()
new_loss = criterion(new_logits, y_new).item()
new_accuracy = (new_logits.argmax(dim=1) == y_new).float().mean().item()
reveal("tosses", new_accuracy)

# %%
claim(
    "the loss is below ln 2 on the 100 training examples, and above ln 2 on new ones",
    loss.item() < np.log(2) < new_loss,
    f"{loss.item():.3f} and {new_loss:.3f}; ln 2 = {np.log(2):.3f}",
)

# %% [markdown]
# The labels come from `randint(0, 2)`: they are coin tosses and do not depend on `x`. The best possible answer is a
# probability of one half for each class, and its loss is $\ln 2$. The random weights at the start cost more, so both
# losses can fall at first. Later the model adapts to its own 100 tosses, and this only harms it on new ones.
#
# **Your turn:** give the listing something to learn. Below the line that makes `y_train`, add
# `y_train = (x_train[:, 0] > 0).long()`. Do the same for `y_val` and `y_new`, and run the cells of this section again.
# The claim about new examples fails now, as it should. Then change it back.
#
# **Where this goes wrong.** With random labels, no validation loss can show that a model has learned anything. Ten
# validation examples are too few: their accuracy moves in steps of ten points. The listing also measures in training
# mode, and it does extra work for gradients that it does not use. A later section shows what harm this does. So we need
# real images, and we must keep enough of them out of the training.
#
# ## How do I split the data?
#
# Split them into three parts, each with its own purpose:
#
# - the *training part*: the network learns its weights from it;
# - the *validation part*: we make choices with it, such as settings, or when to stop;
# - the *test part*: we measure on it once, when nothing is left to choose.
#
# Why not choose and measure on the same images? We pick the setting that looks best on them. Part of its lead is luck,
# and the luck does not repeat on new images. So the number that you report must come from images that played no part in
# any choice.

# %%
train_part, test = data.digits()
fit, validation = data.hold_out(train_part, count=225)
parts = {"training": fit, "validation": validation, "test": test}
counts = {name: np.bincount(part.labels) for name, part in parts.items()}
rows = [[name, count.sum(), count.min(), count.max()] for name, count in counts.items()]
show.table(
    ["part", "images", "fewest of a digit", "most of a digit"], rows, caption="The three parts"
)

# %%
pictures = [{image.tobytes() for image in part.images} for part in parts.values()]
shared = sum(len(a & b) for a, b in zip(pictures, pictures[1:] + pictures[:1]))
claim("no image lies in two parts", shared == 0, f"{shared} shared")

# %% [markdown]
# Both splits are *stratified*: each digit has almost the same share in every part. *Leakage* means that the parts share
# information that they should not share. Three rules help against it:
#
# - Split first. Copies, scaling and the selection of features come after the split.
# - Fit everything that learns from data, such as a mean, on the training part alone.
# - Keep together what belongs together: all pictures of one patient, all digits of one writer.
#
# We break the third rule ourselves. Thirteen people wrote these digits ([data card](../DATA_CARD.md)), and the file
# does not name the writer of a digit. So each part may contain digits of all thirteen. Our accuracy holds for new
# digits of the same people. For digits of other people it is probably lower. Lesson 04b measures how much leakage can
# raise an accuracy.
#
# **Now do exercise 04.1**: a split that keeps groups together.
#
# ## How do images reach the training loop?
#
# A PyTorch *Dataset* knows how many examples there are and returns one of them. A *DataLoader* shuffles the examples
# and collects them into *batches*. It can use other processes for this work. That helps if images must be read from
# disk and decoded.

# %%
from torch.utils.data import DataLoader, Dataset


class Images(Dataset):
    def __init__(self, part):
        self.pixels = torch.from_numpy(part.images.reshape(-1, 1, 8, 8))
        self.labels = torch.from_numpy(part.labels)

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, i):
        return self.pixels[i], self.labels[i]


# %%
loader = DataLoader(Images(fit), batch_size=64, shuffle=True, drop_last=True)
sizes = [len(labels) for pixels, labels in loader]
claim(
    "the loader gives 17 full batches; `drop_last` leaves out the rest",
    sizes == [64] * 17 and 0 <= len(fit.labels) - sum(sizes) < 64,
    f"{len(fit.labels)} images, {len(fit.labels) - sum(sizes)} left out",
)

# %% [markdown]
# Each epoch shuffles again and therefore leaves out other images. Our images fit into memory, so three lines can do the
# same work. They fetch a whole batch with one index:


# %%
def batches(pixels, labels, size=64):
    full = len(pixels) // size * size
    for chosen in torch.randperm(len(pixels))[:full].split(size):
        yield pixels[chosen], labels[chosen]


# %% [markdown]
# ## What does the network consist of?
#
# It is the network of lesson 01. A *convolution* with $C_{in}$ input channels, $C_{out}$ output channels and
# $k \times k$ points has $C_{in} k^2$ weights and one bias for each output channel. A *fully connected* layer,
# `Linear`, has one weight for each pair of input and output, and one bias for each output:
#
# $$n_{conv} = (C_{in} k^2 + 1)\, C_{out}, \qquad n_{linear} = (N_{in} + 1)\, N_{out}.$$


# %%
def digits_cnn():
    look = [nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 32, 3, padding=1), nn.ReLU()]
    decide = [nn.Dropout(0.3), nn.Linear(512, 20), nn.ReLU(), nn.Linear(20, 10)]
    return nn.Sequential(*look, nn.MaxPool2d(2), nn.Flatten(), *decide)


# %%
network = digits_cnn()
by_formula = (1 * 9 + 1) * 16 + (16 * 9 + 1) * 32 + (512 + 1) * 20 + (20 + 1) * 10
counted = sum(p.numel() for p in network.parameters())
claim("the formulas count every weight", by_formula == counted, f"{counted:,}")

# %%
x, rows = torch.zeros(64, 1, 8, 8), []
for layer in network:
    x = layer(x)
    weights = sum(p.numel() for p in layer.parameters())
    rows.append([type(layer).__name__, tuple(x.shape), weights or ""])
show.table(["layer", "output shape", "weights"], rows, caption="The network, for a batch of 64")

# %% [markdown]
# `MaxPool2d` keeps the largest of each 2 × 2 points, and `Flatten` makes one row of 512 numbers out of 32 × 4 × 4.
# *Dropout* sets each of these numbers to zero with a probability of 30 %, and divides the others by 0.7. This happens
# in training only.
#
# ## How do I write a training loop?
#
# PyTorch has no ready-made loop, so you write each step yourself. The loop calls a function `shifted`, which we define
# in the next section. Python looks it up only when the loop runs.


# %%
def train(images, labels, seed, epochs=30, shift=0.5, after_epoch=None):
    pixels, answers = torch.from_numpy(images.reshape(-1, 1, 8, 8)), torch.from_numpy(labels)
    torch.manual_seed(seed)  # first weights, order, dropout and shifts follow from it
    network = digits_cnn()
    optimizer = torch.optim.Adam(network.parameters())
    steps = epochs * (len(pixels) // 64)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=6e-3, total_steps=steps)
    for epoch in range(epochs):
        network.train()  # dropout on
        losses = []
        for batch, label in batches(pixels, answers):
            logits = network(shifted(batch, shift))  # (64, 10)
            loss = F.cross_entropy(logits, label)  # the mean over the batch, in nats
            optimizer.zero_grad()  # remove the gradients of the last step
            loss.backward()  # compute p.grad for every weight p
            optimizer.step()  # move every weight
            schedule.step()  # set the learning rate of the next step
            losses.append(loss.item())
        if after_epoch:
            after_epoch(epoch, network, np.mean(losses))
    return network.eval()  # dropout off


# %% [markdown]
# `backward()` *adds* to the gradients that are already there (lesson 03), so `zero_grad()` must come before it.
#
# The *one-cycle* schedule raises the learning rate in the first 30 % of the steps, and then lowers it almost to zero.
# Lesson 03 showed why it falls. The schedule also changes Adam's β₁, the factor with which Adam averages past
# gradients:

# %%
optimizer = torch.optim.Adam(digits_cnn().parameters())
schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=6e-3, total_steps=510)
rates, beta1 = [], []
for step in range(510):
    rates.append(optimizer.param_groups[0]["lr"])
    beta1.append(optimizer.param_groups[0]["betas"][0])
    optimizer.step()
    schedule.step() if step < 509 else None

# %%
for step in (0, 75, 152, 330, 509):
    print(f"step {step:>3}: learning rate {rates[step]:.6f}, β₁ {beta1[step]:.3f}")

# %%
claim(
    "β₁ falls from 0.95 to 0.85 while the learning rate rises, and then returns",
    np.allclose([beta1[0], min(beta1), beta1[-1]], [0.95, 0.85, 0.95])
    and abs(np.argmin(beta1) - np.argmax(rates)) <= 1,
    f"the turn is at step {np.argmax(rates)} of 510",
)

# %% [markdown]
# ## How can I get more out of few images?
#
# Change the images in ways that keep the label right. This is called *augmentation*. Our function `shifted` picks each
# image of a batch with a probability of one half. It moves a picked image at random: by at most one point to the left
# or right, and by at most one up or down. Pixels that leave the image are lost.


# %%
def shifted(pixels, share=0.5):
    count, _, height, width = pixels.shape
    room = nn.functional.pad(pixels, (1, 1, 1, 1))  # an empty border
    moved = torch.rand(count) < share
    start = torch.where(moved[:, None], torch.randint(0, 3, (count, 2)), 1)  # 1: not moved
    rows = start[:, :1] + torch.arange(height)  # (count, height)
    columns = start[:, 1:] + torch.arange(width)
    picture = torch.arange(count)[:, None, None]
    return room[picture, 0, rows[:, :, None], columns[:, None, :]][:, None]


# %%
torch.manual_seed(1)  # a seed with which all seven copies move
seven = torch.from_numpy(fit.images[fit.labels == 7][:1])[:, None]
moved = shifted(seven.repeat(7, 1, 1, 1), share=1.0)[:, 0].numpy()
show.images(
    [0.1 + 0.9 * image for image in (seven[0, 0].numpy(), *moved)],  # grey, to show the edge
    ["as it is", *["moved"] * 7],
    finding_title="A seven that moves by at most one point is still a seven",
    alt="A handwritten seven of 8 by 8 points, and seven copies, each moved by at most one point",
)

# %% [markdown]
# To measure, we need the opposite of what training needs: dropout off, and no gradients.


# %%
def logits_of(network, images):
    network.eval()
    with torch.inference_mode():
        return network(torch.from_numpy(images.reshape(-1, 1, 8, 8))).numpy()


def loss_of(logits, labels):
    return F.cross_entropy(torch.from_numpy(logits), torch.from_numpy(labels)).item()


def accuracy_of(logits, labels):
    return float((logits.argmax(axis=1) == labels).mean())


# %% [markdown]
# ## Does augmentation help?
#
# We train three networks with shifts and three without. Each uses one of the *seeds* 0, 1 and 2. A seed is the number
# from which all random choices follow. After each epoch we record both losses.


# %%
def trained(seed, shift):
    curve = []

    def note(epoch, network, train_loss):
        logits = logits_of(network, validation.images)
        curve.append([train_loss, loss_of(logits, validation.labels)])

    return train(fit.images, fit.labels, seed, shift=shift, after_epoch=note), np.array(curve)


# %%
with_shifts = [trained(seed, 0.5) for seed in range(3)]
without = [trained(seed, 0.0) for seed in range(3)]


# %%
def mistakes(runs, images):
    labels = validation.labels
    return [int((logits_of(network, images).argmax(1) != labels).sum()) for network, _ in runs]


rows = [["with shifts", mistakes(with_shifts, validation.images)],
        ["without shifts", mistakes(without, validation.images)]]  # fmt: skip
show.table(["training", "mistakes, by seed"], rows, caption="Of 225 validation images")

# %% [markdown]
# Each network makes a few mistakes, so 225 images are too few to choose by. We need a harder test. In production, a
# scanner may be off by one point. What happens then? We move all validation images one point to the right.

# %%
guess(
    "off",
    "All 225 images move by one point. How many does a network without augmentation misread?",
    low=0,
    high=225,
)

# %%
off_by_one = np.zeros_like(validation.images)
off_by_one[:, :, 1:] = validation.images[:, :, :-1]
robust, fragile = mistakes(with_shifts, off_by_one), mistakes(without, off_by_one)
reveal("off", np.mean(fragile), "mean of three seeds")
claim(
    "on images that are one point off, augmentation avoids more than half of the mistakes",
    np.mean(robust) < 0.5 * np.mean(fragile),
    f"{np.mean(robust):.1f} against {np.mean(fragile):.1f} of 225, mean of three seeds",
)

# %% [markdown]
# So we choose the training with shifts. The test part played no role in this choice. The network has seen such shifts
# in training, so this says nothing about other changes, such as a rotation.
#
# ## Can the validation loss be below the training loss?
#
# Training and validation loss both fall during the thirty epochs. Which of them is lower at the end?

# %%
names = ["on the training batches", "on the validation part"]
guess("lower", "After 30 epochs, which loss in the log is lower?", choices=names)

# %%
curves = np.array([curve for _, curve in with_shifts])  # (seed, epoch, training or validation)
last = curves[:, -1].mean(axis=0)
reveal("lower", names[last.argmin()])

# %%
for k, colour in enumerate([show.ORANGE, show.BLUE]):
    low, high = curves[:, :, k].min(axis=0), curves[:, :, k].max(axis=0)
    plt.fill_between(np.arange(1, 31), low, high, color=colour, alpha=0.25)
    plt.semilogy(
        np.arange(1, 31), curves[:, :, k].mean(0), "-" if k else "--", color=colour, label=names[k]
    )
plt.axhline(np.log(10), color=show.GREY, ls=":", label="a blind guess, ln 10")
plt.xlabel("epoch")
plt.ylabel("loss (nats)")
plt.legend(loc=(0.55, 0.55))
show.finding(
    "The validation loss ends below the training loss",
    alt="Loss by epoch, mean and range of three seeds, logarithmic. Both fall from near 2.3; at "
    f"the end they are {last[0]:.3f} on the training batches, {last[1]:.3f} on the validation part",
)

# %% [markdown]
# This surprises people, and some suspect leakage. But the two losses are not measured in the same way. The training
# loss is computed on shifted images with dropout on, which is harder. It is also a mean over the epoch, while the
# weights still change. We now measure both losses in the same way, after the training:

# %%
alike = np.mean(
    [
        [loss_of(logits_of(net, p.images), p.labels) for p in (fit, validation)]
        for net, _ in with_shifts
    ],
    axis=0,
)
claim(
    "measured alike, the loss on the training part is lower than on the validation part",
    alike[0] < alike[1],
    f"{alike[0]:.4f} against {alike[1]:.4f} nats, means of three seeds",
)

# %% [markdown]
# ## When should training stop?
#
# Our schedule has a fixed number of steps. Many trainings have no fixed end. Here is a harder case: we have only 400
# images, and about three labels in ten are wrong. The learning rate is constant, and there is no dropout and no
# augmentation.

# %%
few, size = fit.images[:400], 50
noisy_labels = fit.labels[:400].copy()
spoiled = np.random.default_rng(1).random(400) < 0.3
noisy_labels[spoiled] = (noisy_labels[spoiled] + 1) % 10
pixels, labels = torch.from_numpy(few)[:, None], torch.from_numpy(noisy_labels)
torch.manual_seed(0)
network, history = digits_cnn(), []
network[6].p = 0.0  # no dropout
optimizer = torch.optim.Adam(network.parameters(), lr=6e-3)
for epoch in range(60):
    network.train()
    for batch, label in batches(pixels, labels, size):
        loss = F.cross_entropy(network(batch), label)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    seen = loss_of(logits_of(network, few), noisy_labels)
    history.append([seen, loss_of(logits_of(network, validation.images), validation.labels)])
known, unseen = np.array(history).T

# %% [markdown]
# *Early stopping* keeps the weights of the epoch with the lowest validation loss. The training ends when this loss has
# not improved for a number of epochs, the *patience*.


# %%
def best_before_patience_ends(losses, patience=5):
    best = 0
    for epoch, loss in enumerate(losses):
        if loss < losses[best]:
            best = epoch
        if epoch - best >= patience:
            break
    return best, epoch


best, stopped = best_before_patience_ends(unseen)

# %%
epochs = np.arange(1, 61)
plt.plot(epochs, known, "--", color=show.ORANGE, label="training images, some labels wrong")
plt.plot(epochs, unseen, color=show.BLUE, label="validation images, labels right")
plt.plot(best + 1, unseen[best], "o", color=show.BLUE, ms=9, label="the epoch that is kept")
plt.axvline(stopped + 1, color=show.GREY, ls=":", label="the training would stop here")
plt.xlabel("epoch")
plt.ylabel("loss (nats)")
plt.ylim(-0.1, 3)  # room for the legend
plt.legend(loc="upper right")
show.finding(
    "As the network learns the wrong labels, the validation loss rises",
    alt=f"Loss by epoch. On the training images it falls to {known[-1]:.2f}. On the validation "
    f"images it is lowest, {unseen[best]:.2f}, in epoch {best + 1}, and rises to {unseen[-1]:.2f}",
)

# %%
claim(
    "the kept epoch has a validation loss below two thirds of that after 60 epochs",
    unseen[best] < 2 / 3 * unseen[-1],
    f"{unseen[best]:.2f} in epoch {best + 1} against {unseen[-1]:.2f} nats",
)

# %% [markdown]
# **Your turn:** change `patience=5` to 1, then to 20. Which epoch is kept, and when does the training end?
#
# We chose the epoch on the validation part, so its validation loss is probably a little too low. Report a number from
# the test part. **Now do exercise 04.2**: the same rule, for losses that are NaN and for tiny improvements.
#
# ## How good is the model?
#
# Now we use the test part. (Lesson 01 measured on it too, but no choice in this lesson depends on it.)

# %%
test_logits = np.array([logits_of(net, test.images) for net, _ in with_shifts])  # (3, 450, 10)
accuracies = [accuracy_of(logits, test.labels) for logits in test_logits]
claim(
    "each of the three networks reads more than 98 % of the test images correctly",
    min(accuracies) > 0.98,
    ", ".join(f"{100 * accuracy:.2f} %" for accuracy in accuracies),
)

# %% [markdown]
# That is about a point more than in lesson 01, with fewer images, but shifted ones.
#
# Other test images would give another number. The *true accuracy* is the share of all such images that the network
# reads correctly. How far may it be from our number? A *95 % interval* answers this. If 100 teams each drew 450 new
# test images and computed one, about 95 of these intervals would contain the true accuracy. `measure.wilson` needs
# two numbers: how many answers were right, and of how many. (Lesson 04b derives the formula.)

# %%
right = round(accuracies[0] * 450)
low, high = measure.wilson(right, 450)
print(f"seed 0: {right} of 450 right, 95 % interval {100 * low:.1f} % to {100 * high:.1f} %")
three_wrong, perfect = measure.wilson(447, 450), measure.wilson(450, 450)
claim(
    "with three mistakes, the interval contains both 99.0 % and 99.5 %; with no mistake, it still "
    "begins below 99.5 %",
    three_wrong[0] < 0.99 < 0.995 < three_wrong[1] and perfect[0] < 0.995,
    f"{100 * three_wrong[0]:.1f} % to {100 * three_wrong[1]:.1f} %; from {100 * perfect[0]:.1f} %",
)

# %% [markdown]
# Write the interval beside each accuracy that you report. It says nothing about other seeds, or about new writers.
#
# A percentage hides what went wrong, so look at the images. Here are the eight with the highest loss, averaged over
# the three networks. Above an image, `3 as 7/9` means: its label is 3, and the networks answered 7 or 9.

# %%
every_loss = F.cross_entropy(
    torch.from_numpy(test_logits).flatten(0, 1),
    torch.from_numpy(test.labels).repeat(3),
    reduction="none",
)
cost = every_loss.reshape(3, 450).mean(dim=0).numpy()
answers = test_logits.argmax(axis=2)  # (3, 450)

# %%
worst = np.argsort(-cost)[:8]
share = cost[worst].sum() / cost.sum()
votes = [f"{test.labels[i]} as " + "/".join(map(str, np.unique(answers[:, i]))) for i in worst]
show.images(
    test.images[worst],
    votes,
    finding_title=f"Eight of 450 images carry {100 * share:.0f} % of the loss",
    alt=f"The eight test images of highest loss, label and answers: {'; '.join(votes)}",
)

# %% [markdown]
# Look at such images before you plan another week of training. Some may be unreadable, and some may be labelled
# wrongly.
#
# ## What is the difference between `eval()` and `inference_mode()`?
#
# They switch different things. `eval()` switches the *layers*: dropout, for example, then passes every number on.
# `inference_mode()` switches *autograd*, the part of PyTorch that computes gradients. Autograd then keeps no *graph*,
# which is its record of operations. We try all four combinations.

# %%
network, image = with_shifts[0][0], torch.from_numpy(test.images[:1])[:, None]
seen = {}
for mode in ("train", "eval"):
    for autograd in ("recording", "inference_mode"):
        network.train(mode == "train")
        with torch.inference_mode(autograd == "inference_mode"):
            first, second = network(image), network(image)
        seen[mode, autograd] = (not torch.equal(first, second), first.requires_grad)
network.eval()
rows = [[*combination, *outcome] for combination, outcome in seen.items()]
show.table(
    ["layers", "autograd", "two calls differ", "graph kept"], rows, caption="One image, read twice"
)

# %%
claim(
    "answers differ only in training mode, and a graph is kept only while autograd records",
    all(seen[m, a] == (m == "train", a == "recording") for m, a in seen),
    "four combinations",
)

# %% [markdown]
# ### Where this goes wrong: a service without `eval()`
#
# Someone deploys the network and forgets `eval()`. We send each test image 20 times.

# %%
guess(
    "unstable",
    "Without eval(): of 450 test images, how many get different answers in 20 calls?",
    low=0,
    high=450,
)

# %%
torch.manual_seed(0)
repeated = torch.from_numpy(test.images)[:, None].repeat(20, 1, 1, 1)
network.train()
with torch.inference_mode():
    unstable = network(repeated).argmax(dim=1).reshape(20, 450).numpy()
network.eval()
changing = int((unstable != unstable[0]).any(axis=0).sum())
forgotten = float((unstable == test.labels).mean())
reveal(
    "unstable",
    changing,
    f"accuracy {100 * forgotten:.2f} % instead of {100 * accuracies[0]:.2f} %",
)
claim("without eval(), some answers change from call to call", changing > 0, f"{changing} images")

# %% [markdown]
# Another layer also behaves differently in training mode. There, *batch normalisation* subtracts the mean of the batch
# and divides by its standard deviation. So the answer to one image depends on the other images of the batch. In
# evaluation mode the layer uses averages that it has stored. Each call in training mode changes these averages, even
# without gradients:

# %%
layer = nn.BatchNorm1d(1)  # in training mode, like every new module
with torch.inference_mode():
    a = layer(torch.tensor([[1.0], [2.0]]))[0].item()
    b = layer(torch.tensor([[1.0], [2.0], [30.0]]))[0].item()
claim(
    "in training mode, batch normalisation depends on the batch, and its averages change",
    abs(a - b) > 0.1 and layer.running_mean.item() > 0.1,
    f"the same example gives {a:.2f} and {b:.2f}; stored mean {layer.running_mean.item():.2f}",
)

# %% [markdown]
# ### Where this goes wrong: a service without `inference_mode()`
#
# With `eval()` alone the answers are correct, but each call keeps the tensors that a gradient would need. PyTorch can
# call a function of ours, a *hook*, for each of them. Ours adds up their bytes.


# %%
def bytes_kept(mode):
    kept = {}

    def keep(tensor):
        kept[tensor.data_ptr()] = tensor.numel() * tensor.element_size()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor), mode:
        network(torch.from_numpy(test.images)[:, None])
    return sum(kept.values())


# %%
recording, inferring = bytes_kept(torch.enable_grad()), bytes_kept(torch.inference_mode())
claim(
    "with eval() alone, autograd keeps more than 20 times the bytes of the images",
    recording > 20 * test.images.nbytes and inferring == 0,
    f"{show.bytes_text(recording)} for {show.bytes_text(test.images.nbytes)} of images; with "
    f"inference_mode() {inferring} B",
)

# %% [markdown]
# This memory is freed together with the output. But a sum such as `total += loss` keeps the graph of every batch, so
# the memory in use grows until you delete `total`. Write `total += loss.item()`. `torch.no_grad()` is an older form of
# `inference_mode()`. A tensor made under `no_grad()` may take part in training later. One made under `inference_mode()`
# raises an error if a gradient needs it.
#
# **Now do exercise 04.3**: an evaluation that leaves the network as it was.
#
# ## What must a checkpoint contain?
#
# A *checkpoint* is a file from which a training can continue after a restart, as if nothing had happened. The weights
# are in `state_dict()`, a dictionary from names to tensors. Is that enough? We train for two epochs without a break,
# and compare with one epoch, a restart, and a second epoch.


# %%
def fresh():
    torch.manual_seed(0)
    network = digits_cnn()
    optimizer = torch.optim.Adam(network.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=6e-3, total_steps=2 * 17)
    return {"network": network, "optimizer": optimizer, "schedule": schedule}


# %%
def one_epoch(network, optimizer, schedule):
    for batch, label in batches(Images(fit).pixels, Images(fit).labels):
        loss = F.cross_entropy(network(shifted(batch)), label)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()


def weights_of(network):
    return torch.cat([p.detach().ravel() for p in network.parameters()])


# %%
training = fresh()
one_epoch(**training)
state = {name: part.state_dict() for name, part in training.items()}
torch.save(state | {"random": torch.get_rng_state()}, scratch / "checkpoint.pt")
one_epoch(**training)
without_a_break = weights_of(training["network"])

# %% [markdown]
# The checkpoint holds four things. We restart with one of them, with three, and with all four.

# %%
apart = {}
for count in (1, 3, 4):
    kept = torch.load(scratch / "checkpoint.pt", weights_only=True)
    training = fresh()
    restored = list(kept)[:count]
    for name in restored:
        if name == "random":
            torch.set_rng_state(kept[name])
        else:
            training[name].load_state_dict(kept[name])
    one_epoch(**training)
    difference = (weights_of(training["network"]) - without_a_break).abs().max().item()
    apart[", ".join(restored)] = difference
show.table(
    ["restored", "largest difference of a weight"],
    [[restored, f"{difference:.4f}"] for restored, difference in apart.items()],
    caption="A training after a restart, against one without a break",
)

# %%
weights_alone, without_random, complete = apart.values()
claim(
    "with all four parts the restart changes no bit; with fewer it changes weights",
    complete == 0 and min(weights_alone, without_random) > 1e-3,
    f"{complete} with all four",
)

# %% [markdown]
# Adam stores two averages for each weight and the number of steps. The schedule stores its position. The random state
# decides the order, dropout and shifts. A real training also stores the number of the epoch.
#
# ## Is it safe to load a model file from the internet?
#
# `torch.save` writes a zip archive that contains a *pickle*, Python's format for objects. A pickle is a small program,
# and one of its instructions means "call this function with these arguments". Any class can ask for such a call in its
# method `__reduce__`. Our call is harmless: it creates an empty file.

# %%
import io
import pickle

sign = scratch / "a_stranger_was_here"


class Surprise:
    def __reduce__(self):
        return io.open, (str(sign), "w")  # a function, and what to call it with


torch.save({"network": kept["network"], "notes": Surprise()}, scratch / "downloaded.pt")
sign.unlink(missing_ok=True)

# %%
torch.load(scratch / "downloaded.pt", weights_only=False)["notes"].close()
claim("loading the file called the function", sign.exists(), f"{sign.name} exists")

# %%
sign.unlink(missing_ok=True)
try:
    torch.load(scratch / "downloaded.pt", weights_only=True)
except pickle.UnpicklingError as refused:
    reasons = [line.strip() for line in str(refused).splitlines() if "Unsupported" in line]
    print(*reasons, sep="\n")
claim("with weights_only=True it is refused, and nothing is called", not sign.exists(), "no file")

# %% [markdown]
# Loading was enough: nobody used the object. Any other function could have been called in the same way, with your
# rights. `weights_only=True` is the default since PyTorch 2.6. It allows only a short list of functions and classes,
# enough for tensors and plain containers. The error message explains how to load the file anyway. Do not follow it for
# files from strangers. (Lesson 22 treats hostile files in full.)
#
# For weights there is a format that cannot contain calls. A *safetensors* file starts with 8 bytes, the length of a
# header. The header is JSON: name, type, shape and place of each tensor. The numbers follow. We save the network of
# seed 0, because it is the first. We do not pick the network with the best test accuracy, because that would be a
# choice by the test part.

# %%
import json

from safetensors.torch import save_file

network = with_shifts[0][0]
weights_file = scratch / "weights.safetensors"
save_file(network.state_dict(), weights_file)
raw = weights_file.read_bytes()
length = int.from_bytes(raw[:8], "little")
for name, entry in list(json.loads(raw[8 : 8 + length]).items())[:3]:
    print(f"{name:<10} {entry}")

# %%
claim(
    "the file is its header and 4 bytes for each weight, nothing else",
    len(raw) == 8 + length + 4 * counted,
    f"8 + {length} + 4 × {counted:,} = {len(raw):,} bytes",
)

# %% [markdown]
# The file does *not* contain the architecture, or how to prepare the pixels. The code and the model card describe
# these. Lesson 06 puts the computation into the file as well. **Now do exercise 04.4**: read such a file with NumPy
# alone.
#
# ## What do later lessons get?
#
# They get these weights, as version 3 in `models/digits_cnn/3/`, with a checksum. (Only the course's own build writes
# there; in your notebook the line does nothing.) Architecture and loop are in `course_lib/torch_models.py`. Is that the
# same code?

# %%
models.keep(weights_file, "digits_cnn", 3, "weights.safetensors")
short = {"images": fit.images, "labels": fit.labels, "seed": 0, "epochs": 1}
ours, theirs = weights_of(train(**short)), weights_of(torch_models.train(**short))
claim(
    "the library trains the same weights, bit for bit", torch.equal(ours, theirs), f"{len(ours):,}"
)

# %%
shipped = torch_models.load_digits_cnn()  # checks the file's checksum first
shipped_answers = logits_of(shipped, test.images).argmax(axis=1)
agree = float((shipped_answers == answers[0]).mean())
claim(
    "your network and the shipped one agree on more than 97 % of the test images",
    agree > 0.97,
    f"{100 * agree:.2f} %",
)

# %% [markdown]
# Processors round differently, so your weights may differ a little from the shipped ones. Read [the model's
# card](../models/digits_cnn/card.md) now: what the model is for, what it was trained and measured on, and what not to
# use it for.
#
# ## What we measured

# %%
ledger.record("digits_cnn", "safetensors", accuracy=accuracies[0], bytes=len(raw))
rows = [
    ["accuracy, seed 0", "450 test images", f"{100 * accuracies[0]:.2f} %"],
    ["its 95 % interval", "450 test images", f"{100 * low:.1f} % to {100 * high:.1f} %"],
    ["accuracy, `eval()` forgotten", "450 test images, 20 times", f"{100 * forgotten:.2f} %"],
    ["misread with augmentation", "225 moved validation images", f"{np.mean(robust):.1f}"],
    ["misread without", "225 moved validation images", f"{np.mean(fragile):.1f}"],
    ["file of weights", "safetensors", show.bytes_text(len(raw))],
]
show.table(["what", "measured on", "figure"], rows, caption="The training of this lesson")

# %% [markdown]
# ## What to remember
#
# - Learn on one part, choose on another, and measure once on the third. Split before you do anything else.
# - `eval()` switches the layers, and `inference_mode()` switches autograd. A service needs both.
# - A checkpoint holds weights, optimizer, schedule and random state. Take weights from strangers only in a format that
#   cannot contain calls.
#
# ## Where this breaks down
#
# The same people wrote all three parts, so the accuracy is probably lower for new writers (lesson 04b). A test part
# loses its value if it is used again and again, because people start to choose by it. Everything here fits into memory.
# With a million images, fast loading becomes a task of its own. On GPUs a restart may differ in the last bits, because
# some operations add in an order that changes from run to run. `torch.use_deterministic_algorithms(True)` replaces or
# refuses such operations.
#
# ## What real teams use
#
# They use the same loop inside a library: PyTorch Lightning, Hugging Face Accelerate, or the Trainer of Transformers.
# These help with several GPUs, mixed precision and restarts. Large data come in shards (WebDataset, Parquet). A tracker
# such as MLflow records the data version, commit, seed and results of each training. Weights are exchanged as
# safetensors. For tables, many teams train gradient-boosted trees instead of a network.
#
# ## Further reading
#
# - N. Srivastava et al., *Dropout: A Simple Way to Prevent Neural Networks from Overfitting*, JMLR 15, 2014.
# - L. N. Smith, N. Topin, *Super-Convergence: Very Fast Training of Neural Networks Using Large Learning Rates*, 2018
#   (the one-cycle schedule).
# - M. Mitchell et al., *Model Cards for Model Reporting*, FAT* 2019; T. Gebru et al., *Datasheets for Datasets*,
#   Communications of the ACM 64(12), 2021.
# - PyTorch documentation, notes *Autograd mechanics*, *Reproducibility* and *Serialization semantics*.
