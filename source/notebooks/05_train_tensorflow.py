# %% [markdown]
# # 05 Train in TensorFlow
#
# At 3 a.m. the support line rings: the service misreads digits that it read yesterday. The new model's training ended
# with exit code 0, and its loss fell from epoch to epoch. A label had the wrong shape, or a loss had the wrong flag,
# and nothing raised an error.
#
# ## You will be able to
#
# - translate a PyTorch network to Keras, and test that both compute the same;
# - match labels and losses, and recognise two mismatches that train without an error;
# - put shuffle, cache and augmentation in the right order, and keep validation images out of training;
# - say what `fit` does in one step, when it should stop, and when `tf.function` traces again;
# - compare two models on the same images, and keep one of them in a file.
#
# ## Before you start
#
# You need lesson 02 (logits, cross-entropy, and its gradient) and lesson 04 (the training loop, validation, dropout).
# As in lesson 02, $k$ is the label, and $y$ is the same label as a one-hot vector. This notebook loads TensorFlow,
# and not PyTorch. The PyTorch network comes as a file.

# %%
import re
import time
import warnings
import zipfile

import matplotlib.pyplot as plt
import numpy as np
import onnx
import onnxruntime

from course_lib import data, measure, models
from course_lib.idioms import begin, claim, guess, ledger, observe, path, reveal, show

scratch = begin("05")
path.picture(here="05")

# %% [markdown]
# ## How do I build a PyTorch network in Keras?
#
# TensorFlow computes with tensors and finds gradients. *Keras* is the layer above: networks, losses and training. Up to
# version 2.3 Keras was a package of its own and ran on several frameworks. Then it belonged to TensorFlow. Version 3 is a
# package of its own again, and runs on TensorFlow, JAX or PyTorch. Here it runs on TensorFlow.

# %%
import keras
import tensorflow as tf

from course_lib import keras_models

train, test = data.digits()
images, labels = train.images[..., None], train.labels  # (1347, 8, 8, 1), (1347,)
test_images = test.images[..., None]
print(f"TensorFlow {tf.__version__}, Keras {keras.__version__} on {keras.backend.backend()}")

# %% [markdown]
# We build the network of lessons 01 and 04, layer by layer. One thing differs. PyTorch keeps a batch of images as
# (number, channel, height, width). TensorFlow keeps it as (number, height, width, channel), *channels last*.


# %%
def build_twin(dropout=0.3):
    layers = keras.layers
    look = [layers.Conv2D(16, 3, padding="same", activation="relu"),
            layers.Conv2D(32, 3, padding="same", activation="relu"), layers.MaxPooling2D(2)]  # fmt: skip
    decide = [layers.Flatten(), layers.Dropout(dropout), layers.Dense(20, activation="relu")]
    pixels = keras.Input((8, 8, 1), name="pixels")
    return keras.Sequential([pixels, *look, *decide, layers.Dense(10, name="logits")])


keras.utils.set_random_seed(5)
twin = build_twin()
start_weights = twin.get_weights()

# %% [markdown]
# Is it the same network? We compare it with version 1 of `digits_cnn`, the network that lesson 01 trained in PyTorch.
# Its ONNX file holds the weights as plain arrays.

# %%
pytorch_file = models.path("digits_cnn", 1)
arrays = [onnx.numpy_helper.to_array(each) for each in onnx.load(pytorch_file).graph.initializer]
stored = {array.shape: array for array in arrays if array.dtype == np.float32}
count = sum(array.size for array in stored.values())
print("PyTorch:", *stored)
print("Keras:  ", *(weight.shape for weight in start_weights))

# %%
claim("both have the same number of weights", count == twin.count_params(), f"{count:,}")

# %% [markdown]
# Equal counts say little: a network with its layers in another order can have the same count. A better test gives the
# twin the weights of the PyTorch network. It must then give the same answers. The shapes above show what to do. The
# weights of a convolution have the axes (out, in, height, width) in PyTorch and (height, width, in, out) in Keras. A
# dense layer's matrix is transposed. So we turn the axes and copy all 15,270 weights. Nothing raises an error.

# %%
guess(
    "turned",
    "The PyTorch network reads 98 % of the test images. What share does the twin read now?",
    share=True,
)

# %% [markdown]
# Each bias stays as it is.


# %%
def give_weights(model, flattened_dense):
    kernels = [stored[shape].transpose(2, 3, 1, 0) for shape in ((16, 1, 3, 3), (32, 16, 3, 3))]
    dense = [flattened_dense, stored[(10, 20)].T]
    biases = [stored[(size,)] for size in (16, 32, 20, 10)]
    model.set_weights([each for pair in zip(kernels + dense, biases) for each in pair])


def accuracy_of(logits):
    return float((np.asarray(logits).argmax(axis=1) == test.labels).mean())


# %%
session = onnxruntime.InferenceSession(pytorch_file)
pytorch_logits = session.run(["logits"], {"pixels": test.images[:, None]})[0]
give_weights(twin, stored[(20, 512)].T)
turned = accuracy_of(twin(test_images))
reveal("turned", turned)

# %%
claim(
    "every weight was copied, and the twin is far worse than the original",
    turned < accuracy_of(pytorch_logits) - 0.2,
    f"accuracy {100 * turned:.1f} % against {100 * accuracy_of(pytorch_logits):.1f} %",
)

# %% [markdown]
# The fault is in the matrix after *Flatten*. Flatten lists the 4 × 4 × 32 numbers in the order of their axes, and that
# order differs. Channel $c$, row $u$, column $v$ is at place $16c + 4u + v$ in PyTorch, and at place $32(4u + v) + c$ in
# Keras. All shapes agree, so nothing raises an error. We unfold the matrix, turn its axes, and fold it again.

# %%
unfolded = stored[(20, 512)].reshape(20, 32, 4, 4)  # (out, channel, row, column)
give_weights(twin, unfolded.transpose(2, 3, 1, 0).reshape(512, 20))
difference = float(np.abs(twin(test_images).numpy() - pytorch_logits).max())
claim(
    "with the inputs in Keras's order, both give the same logits for all 450 test images, up to "
    "rounding",
    difference < 1e-3,
    f"largest difference {difference:.1e}",
)

# %% [markdown]
# So the two networks compute the same on these images. Keep this test: it takes one line, and it finds faults that shapes
# and counts do not show.
#
# ### Where this goes wrong: a batch with the channel first
#
# Someone sends Keras a batch in PyTorch's order. A new layer adapts to the first batch that it gets. A network with an
# `Input` knows its shape, and refuses the batch.

# %%
channels_first = train.images[:2, None]  # (2, 1, 8, 8)
layer = keras.layers.Conv2D(16, 3, padding="same")
layer(channels_first)
print(f"the new layer took 8 columns for 8 channels: {layer.count_params():,} weights, not 160")
try:
    twin(channels_first)
    refused = False
except ValueError as error:
    refused = True
    print("the network:", re.search(r"expected axis.*\)", str(error))[0])
claim("a network with an Input refuses channels first", refused)

# %% [markdown]
# ## Which loss fits which labels?
#
# One of the articles behind this course trains a network for MNIST: pictures of 28 × 28 points, in which a digit of
# about 20 × 20 has an empty margin of four. We bring our digits to this form. (If you have MNIST's four files,
# `data.mnist("folder")` reads them.) Below is the article's listing, with one change: Keras 3 warns about its argument
# `input_shape=`, so we use an `Input`.


# %%
def as_mnist(pictures):
    framed = np.pad(data.upscaled(pictures, side=20), ((0, 0), (4, 4), (4, 4)))
    return framed.reshape(-1, 784)


x_train, x_test = as_mnist(train.images), as_mnist(test.images)


# %%
def article_network(last="softmax", dropout=0.2):
    hidden = [keras.layers.Dense(128, activation="relu"), keras.layers.Dropout(dropout)]
    return keras.Sequential(
        [keras.Input((784,)), *hidden, keras.layers.Dense(10, activation=last)]
    )


# %%
model = article_network()
model.compile(optimizer="adam", loss="categorical_crossentropy", metrics=["accuracy"])
try:
    model.fit(x_train, labels, epochs=5, verbose=0)
    said = ""
except ValueError as error:
    said = str(error)
    print(said)
claim("the article's listing raises an error", "rank" in said, pinned="keras")

# %% [markdown]
# A label has two forms, and there is a loss for each. It can be a number, $k \in \{0, \dots, 9\}$. Or it can be a
# one-hot vector, $y \in \{0, 1\}^{10}$, with its single one at $k$. Let $\hat y$ be the probabilities that the network
# gives. Then
#
# $$-\sum_{j=0}^{9} y_j \ln \hat y_j = -\ln \hat y_k .$$
#
# The left side, `categorical_crossentropy`, needs one-hot vectors. The right side,
# `sparse_categorical_crossentropy`, needs the numbers. Both give the same loss.

# %%
one_hot = keras.utils.to_categorical(labels, 10)
probabilities = model(x_train)
from_vectors = float(keras.losses.CategoricalCrossentropy()(one_hot, probabilities))
from_numbers = float(keras.losses.SparseCategoricalCrossentropy()(labels, probabilities))

# %%
claim(
    "one-hot vectors and numbers give the same loss, each with its own function",
    abs(from_vectors - from_numbers) < 1e-5,
    f"{from_vectors:.6f} and {from_numbers:.6f}",
)

# %% [markdown]
# So one word repairs the listing: `sparse_categorical_crossentropy`. (Another article trains 784-128-64-10, and uses that
# word.) **Now do exercise 05.1**: a conversion to one-hot that does not turn an unreadable label into a nine.
#
# ### Where this goes wrong: the network for photographs
#
# Another article builds three blocks of convolution and pooling for pictures of 224 × 224. Where are its weights, and
# does it fit our 8 × 8?


# %%
def three_blocks(shape):
    blocks = []
    for filters in (32, 64, 128):
        blocks += [
            keras.layers.Conv2D(filters, 3, activation="relu"),
            keras.layers.MaxPooling2D(2),
        ]
    dense = [keras.layers.Dense(128, activation="relu"), keras.layers.Dense(10)]
    return keras.Sequential([keras.Input(shape), *blocks, keras.layers.Flatten(), *dense])


# %%
counts = [layer.count_params() for layer in three_blocks((224, 224, 3)).layers]
try:
    three_blocks((8, 8, 1))
    said = ""
except ValueError as error:
    said = str(error)

# %%
claim(
    "more than 98 % of its weights are in the layer after Flatten",
    counts[7] == max(counts) > 0.98 * sum(counts),
    f"{counts[7]:,} of {sum(counts):,}",
)
claim("it cannot be built for 8 × 8 pictures", "zero or negative" in said, pinned="keras")

# %% [markdown]
# Without padding, a 3 × 3 window shortens each side by two, and pooling halves the rest: 8 → 6 → 3 → 1. One point has no
# pair to pool. `padding="same"` repairs it.
#
# ## Why does the loss fall while the answers stay bad?
#
# The article's mistake was a lucky one: it raised an error. Two similar mistakes raise none:
#
# - **Logits taken for probabilities.** The network ends without softmax. But a loss that is named by a string has the
#   default `from_logits=False`.
# - **Squared error on a column.** One article uses the mean of (label − prediction)² for every model. Many data sets hold
#   the labels as a column, of shape (N, 1). The subtraction then repeats each label for all ten outputs.
#
# We train the article's network for five epochs. With the correct loss it reads more than 90 % of the test images.

# %%
guess("logits", "Logits taken for probabilities: what share does it read then?", share=True)

# %%
right_loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
cases = {
    "logits, from_logits=True": (None, right_loss, labels),
    "logits taken for probabilities": (None, "sparse_categorical_crossentropy", labels),
    "squared error on a column": ("softmax", "mse", labels[:, None]),
}
curves, reached = {}, {}
for name, (last, loss, targets) in cases.items():
    keras.utils.set_random_seed(5)
    model = article_network(last)
    model.compile(optimizer="adam", loss=loss)
    curves[name] = np.array(model.fit(x_train, targets, epochs=5, verbose=0).history["loss"])
    reached[name] = accuracy_of(model(x_test))
right, as_probabilities, column = reached.values()
reveal("logits", as_probabilities)

# %% [markdown]
# Does the training log show it? The three losses have different scales, so we divide each by its first value.

# %%
for (name, curve), mark in zip(curves.items(), "os^"):
    label = f"{name}: reads {100 * reached[name]:.0f} %"
    plt.plot(range(1, 6), curve / curve[0], f"{mark}-", label=label)
plt.xticks(range(1, 6))
plt.xlabel("epoch")
plt.ylabel("loss / loss of the first epoch")
plt.ylim(0, 1.65)
plt.legend(loc="upper right")
mistake = curves["logits taken for probabilities"]
fell = 100 - 100 * mistake[-1] / mistake[0]
show.finding(
    f"Logits taken for probabilities: the loss falls by {fell:.0f} %, "
    f"yet only {100 * as_probabilities:.0f} % are read",
    alt="Training loss over five epochs, divided by that of the first. "
    + "; ".join(
        f"{name}: down to {curves[name][-1] / curves[name][0]:.2f}, reads {100 * share:.0f} %"
        for name, share in reached.items()
    ),
)

# %%
claim(
    "the right loss: more than 90 % read; logits taken for probabilities: at least 5 points fewer, "
    "though the loss falls by a third or more",
    right > 0.9 and right - as_probabilities > 0.05 and mistake[-1] < mistake[0] * 2 / 3,
    f"{100 * as_probabilities:.1f} % against {100 * right:.1f} %",
)

# %%
claim("the squared error on a column learns almost nothing", column < 0.3, f"{100 * column:.1f} %")

# %% [markdown]
# Why does the column teach nothing? Write out the mean over the ten outputs. The probabilities add up to 1:
#
# $$\frac1{10}\sum_j (k - \hat y_j)^2 = k^2 - \frac{2k}{10}\underbrace{\sum_j \hat y_j}_{1} + \frac1{10}\sum_j \hat y_j^2 .$$
#
# The label is only in the first two terms, and no weight can change those. So the gradient does not depend on the label.
# Why does the network with the logits learn something, but not enough? Keras *clips* what it takes for a probability: it
# moves each number into the range from $10^{-7}$ to $1 - 10^{-7}$. A number that was moved has no gradient.

# %%
z = tf.Variable([[-2.0, -0.5, 0.3, 0.7, 3.0, 6.0]])
with tf.GradientTape() as tape:
    loss = keras.losses.SparseCategoricalCrossentropy()(np.array([0]), z)  # the label is class 0
gradient = tape.gradient(loss, z).numpy()[0]
inside = (z.numpy()[0] > 0) & (z.numpy()[0] < 1)

# %%
claim(
    "a logit gets a gradient only where it lies between 0 and 1",
    bool((gradient[~inside] == 0).all() and (gradient[inside] != 0).all()),
    "gradient " + ", ".join(f"{g:.2f}" for g in gradient),
)

# %% [markdown]
# The right class, at −2, gets no gradient. This image only lowers two wrong logits. **Your turn:** move the right class
# from −2 to 0.5, and run both cells again. Does it get a gradient now?
#
# The opposite mistake is a softmax layer *and* `from_logits=True`. Keras can detect that one: a tensor remembers that a
# softmax made it.

# %%
network = article_network("softmax")
probabilities = network(x_train)
from_probabilities = float(keras.losses.SparseCategoricalCrossentropy()(labels, probabilities))
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    mistaken = float(right_loss(labels, network(x_train)))
print(caught[0].message if caught else "no warning")

# %%
claim(
    "Keras warns, and still computes the right loss",
    bool(caught) and abs(mistaken - from_probabilities) < 1e-5,
    f"{mistaken:.6f} and {from_probabilities:.6f}",
    pinned="keras",
)

# %% [markdown]
# But Keras cannot detect that a tensor does *not* hold probabilities. So:
#
# - let the network end in logits, and write `from_logits=True` out in full;
# - give labels the shape (N,);
# - look at the accuracy on images that were held out, and not only at the loss.
#
# ## Does Keras switch dropout off for me?
#
# In training, dropout sets each number to zero with probability $r$, the *rate*, and divides the others by $1 - r$. So the
# mean stays the same: $r \cdot 0 + (1 - r) \cdot \frac{x}{1 - r} = x$. In use, the layer does nothing. PyTorch has a
# switch for this, `train()` and `eval()`. Keras has an argument.

# %%
layer, ones = keras.layers.Dropout(0.3, seed=5), np.ones((1, 100_000), np.float32)
dropped = layer(ones, training=True).numpy()

# %%
claim(
    "with training=True 30 % become zero, the others 1/0.7, and the mean stays 1",
    abs((dropped == 0).mean() - 0.3) < 0.01
    and np.allclose(dropped[dropped > 0], 1 / 0.7)
    and abs(dropped.mean() - 1) < 0.02,
    f"{100 * (dropped == 0).mean():.1f} % zero, mean {dropped.mean():.3f}",
)

# %%
claim("a plain call changes nothing", np.array_equal(layer(ones).numpy(), ones))

# %% [markdown]
# `fit` passes `training=True`. `predict`, `evaluate` and a plain call do not. So in Keras you cannot forget `eval()`.
# The danger is the opposite one: your own training loop calls `model(batch)`, and dropout is off all the time. Write
# `model(batch, training=True)` there. **Now do exercise 05.2**: write this layer yourself.
#
# ## In which order do shuffle, cache and augmentation go?
#
# `tf.data` describes how batches are made. Each step is a method: read, shuffle, cache, change, batch, and *prefetch*,
# which prepares the next batch while the model works on this one.


# %%
def batches_of(images, labels, size=64, seed=5):
    examples = tf.data.Dataset.from_tensor_slices((images, labels))
    return examples.shuffle(len(labels), seed=seed).batch(size).prefetch(tf.data.AUTOTUNE)


some_images, some_labels = next(iter(batches_of(images, labels)))
print("one batch:", some_images.shape, some_labels.shape)

# %% [markdown]
# `cache` keeps what comes out of the steps before it, and repeats it in every later pass. Augmentation (lesson 04)
# should make a new variant of each picture in every pass. Here it moves each picture by up to one point. We count
# over five passes through 100 pictures.


# %%
def moved(number, picture):
    padded = tf.pad(picture, [[1, 1], [1, 1], [0, 0]])
    return number, tf.image.random_crop(padded, (8, 8, 1))


# %%
def five_passes(examples):
    """How many different pictures come, and how many different orders."""
    passes = [list(examples.as_numpy_iterator()) for _ in range(5)]
    pictures = {(number, each.tobytes()) for one in passes for number, each in one}
    return len(pictures), len({tuple(number for number, _ in one) for one in passes})


# %% [markdown]
# Now the same three steps in three orders.

# %%
tf.random.set_seed(5)
hundred = tf.data.Dataset.from_tensor_slices((np.arange(100), images[:100]))
found = {
    "augment, cache, shuffle": five_passes(hundred.map(moved).cache().shuffle(100)),
    "shuffle, cache, augment": five_passes(hundred.shuffle(100).cache().map(moved)),
    "cache, shuffle, augment": five_passes(hundred.cache().shuffle(100).map(moved)),
}

# %%
claim(
    "a cache keeps what the steps before it made in the first pass: the variants, or the order",
    found["augment, cache, shuffle"] == (100, 5)
    and found["shuffle, cache, augment"][1] == 1
    and found["cache, shuffle, augment"][0] > 200
    and found["cache, shuffle, augment"][1] == 5,
)

# %%
rows = [[order, *counted] for order, counted in found.items()]
show.table(["order of the steps", "different pictures", "different orders"], rows,
           caption="Five passes through 100 pictures")  # fmt: skip

# %% [markdown]
# Only the last order gives new variants and a new order in every pass. The first one trains on the same 100 variants in
# every epoch, and no message says so. The rule: cache first, then shuffle, then augment.
#
# `shuffle` itself has two more traps. The first is a small buffer. `shuffle(32)` holds only 32 examples, and draws from
# those. So a file that is sorted by label stays almost sorted.

# %%
in_order = np.sort(labels)
for size in (32, len(labels)):
    examples = tf.data.Dataset.from_tensor_slices(in_order).shuffle(size, seed=5)
    first = np.unique(next(iter(examples.batch(64))).numpy())
    print(f"buffer of {size:>4}: the first batch of 64 holds the digits {first.tolist()}")
    if size == 32:
        claim("through a small buffer, the first batch holds zeros only", first.tolist() == [0])
claim("through a buffer for all, the classes mix", len(first) > 5, f"{len(first)} classes")

# %% [markdown]
# The second trap is a split after a shuffle: `take` the first 225 images for validation, and `skip` them for training. We
# number the images, and follow the 225 that the first validation used. What share of them has training seen after five
# epochs?

# %%
guess("leaked", "What share of the first 225 validation images has training seen?", share=True)


# %%
def share_seen(epochs, **options):
    shuffled = tf.data.Dataset.range(len(labels)).shuffle(len(labels), seed=5, **options)
    held_out = set(shuffled.take(225).as_numpy_iterator())
    seen, shares = set(), []
    for _ in range(epochs):
        seen |= set(shuffled.skip(225).as_numpy_iterator())
        shares.append(len(held_out & seen) / len(held_out))
    return shares


leaking, fixed = share_seen(5), share_seen(5, reshuffle_each_iteration=False)
reveal("leaked", leaking[-1])

# %%
claim(
    "by default, training sees most validation images within one epoch; with a fixed order, none",
    leaking[0] > 0.5 and leaking[-1] > 0.9 and fixed[-1] == 0,
    f"{100 * leaking[0]:.1f} % after one epoch, {100 * leaking[-1]:.1f} % after five",
)

# %% [markdown]
# By default, `shuffle` draws a new order in every pass. So every pass makes another split, and the validation
# accuracy becomes a training accuracy. Split the arrays before any pipeline begins. **Now do exercise 05.4**, a split
# that stays the same when new images arrive. (05.3 belongs to the next section.) Here the course's own split does it:

# %%
fit_part, held_part = data.hold_out(train)  # 1,122 and 225 images, every digit in its share
fit_batches = batches_of(fit_part.images[..., None], fit_part.labels)
held_batches = tf.data.Dataset.from_tensor_slices((held_part.images[..., None], held_part.labels))
held_batches = held_batches.batch(225)

# %% [markdown]
# ## What does `model.fit` do in one step?
#
# It does what your loop in lesson 04 did: compute the loss of a batch, find the gradients, move the weights. In
# TensorFlow a *tape* records every operation, and then goes through them backwards to find the gradients. Here is
# its core.


# %%
def fit_by_hand(model, images, labels, optimizer, size=64):
    for start in range(0, len(images), size):
        chosen = slice(start, start + size)
        with tf.GradientTape() as tape:
            loss = right_loss(labels[chosen], model(images[chosen], training=True))
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables))


# %% [markdown]
# We train the article's network twice, by hand and with `fit`. Nothing random takes part: both start with the same weights,
# there is no dropout and no shuffle, and we use plain gradient descent (SGD).

# %%
keras.utils.set_random_seed(5)
ours, theirs = (article_network(last=None, dropout=0.0) for _ in range(2))
before = ours.get_weights()

# %%
for network in (ours, theirs):
    network.set_weights(before)
fit_by_hand(ours, x_train, labels, keras.optimizers.SGD(0.1))
theirs.compile(optimizer=keras.optimizers.SGD(0.1), loss=right_loss)
_ = theirs.fit(x_train, labels, epochs=1, batch_size=64, shuffle=False, verbose=0)

# %%
apart, moved_by = (
    max(float(np.abs(mine - other).max()) for mine, other in zip(ours.get_weights(), others))
    for others in (theirs.get_weights(), before)
)
claim(
    "one epoch by hand and one epoch of fit give the same weights, up to rounding",
    apart < 0.01 * moved_by,
    f"at most {apart:.1e} apart, after moves of up to {moved_by:.2f}",
)

# %% [markdown]
# What does the tape find? Take the last layer, and $N$ images. $H \in \mathbb{R}^{N \times 128}$ goes in, and the
# logits $Z = HW + b$ come out. Lesson 02 had a single layer, and derived its gradient from answer minus truth. Here
# $H$ takes the place of the images. Write $D = (\hat Y - Y)/N$ for answer minus truth, with a row for each image.
# Then, as in lesson 02,
#
# $$\frac{\partial L}{\partial W_{ij}} = \sum_n h_{ni} D_{nj}, \quad\text{that is}\quad \frac{\partial L}{\partial W} = H^\top D .$$

# %%
batch, batch_labels = x_train[:64], labels[:64]
with tf.GradientTape() as tape:
    logits = ours(batch)
    loss = right_loss(batch_labels, logits)
by_tape = tape.gradient(loss, ours.layers[-1].kernel).numpy()
hidden = keras.Sequential(ours.layers[:-1])(batch).numpy()  # H, (64, 128)
D = (tf.nn.softmax(logits).numpy() - one_hot[:64]) / 64
off = float(np.abs(hidden.T @ D - by_tape).max())
claim("the tape finds what the formula says", off < 1e-5, f"largest difference {off:.1e}")

# %% [markdown]
# **Now do exercise 05.3**: this gradient in NumPy, for a phone that trains its last layer only.
#
# ## When should training stop?
#
# `fit` calls back after every epoch. A *callback* can then log, save, or stop. `EarlyStopping` watches the loss on
# the validation images. It stops by the rule of lesson 04, with its patience. Without `restore_best_weights=True` you
# would keep the weights of the last epoch, and not of the best one.

# %%
keras.utils.set_random_seed(5)
watched = build_twin()
watched.compile(optimizer=keras.optimizers.Adam(3e-3), loss=right_loss)
stop = keras.callbacks.EarlyStopping(monitor="val_loss", patience=3, restore_best_weights=True)
history = watched.fit(fit_batches, validation_data=held_batches, epochs=20, shuffle=False,
                      verbose=0, callbacks=[stop]).history  # fmt: skip
best = int(np.argmin(history["val_loss"]))
restored = watched.evaluate(held_batches, verbose=0)

# %%
epochs = np.arange(1, len(history["loss"]) + 1)
plt.semilogy(epochs, history["loss"], "o-", ms=3, label="training, with dropout")
plt.semilogy(epochs, history["val_loss"], "s-", ms=3, label="validation")
plt.axvline(best + 1, color=show.GREY, ls="--", label="best epoch")
plt.xlabel("epoch")
plt.ylabel("loss (nats)")
plt.legend()
show.finding(
    f"The validation loss is lowest at epoch {best + 1}; those weights are kept",
    alt=f"Training and validation loss over {len(epochs)} epochs. Training ends at "
    f"{history['loss'][-1]:.3f}, validation at {history['val_loss'][-1]:.3f}. "
    f"A dashed line marks epoch {best + 1}",
)

# %%
claim(
    "the weights in the model are those of the best epoch",
    abs(restored - history["val_loss"][best]) < 1e-3,
    f"validation loss {restored:.4f}, of epoch {best + 1} of {len(epochs)}",
)

# %% [markdown]
# `fit` cannot shuffle a `tf.data` pipeline, and without `shuffle=False` it would warn. As in lesson 04, the two
# losses are not measured alike. So the training loss may be the higher one, and that is no sign of a mistake. **Your
# turn:** set `patience=1`. How many epochs does the training run now?
#
# ## Is the Keras twin as accurate as the PyTorch network?
#
# The twin that we keep trains on all 1,347 images. So no image is left for early stopping, and we fix 25 epochs. We
# compare it with lesson 01's network, which saw the same images, without shifts. Lesson 04's network had shifts, so
# that comparison would not be fair. The learning rate rises first and then falls, as in lesson 01.

# %%
EPOCHS, SIZE = 25, 64
steps = EPOCHS * -(-len(labels) // SIZE)
rise = int(0.3 * steps)
learning_rate = keras.optimizers.schedules.CosineDecay(
    2e-4, decay_steps=steps - rise, warmup_target=6e-3, warmup_steps=rise
)

# %%
keras.utils.set_random_seed(5)
twin = build_twin()
twin.compile(optimizer=keras.optimizers.Adam(learning_rate), loss=right_loss, metrics=["accuracy"])
twin.fit(batches_of(images, labels, SIZE), epochs=EPOCHS, shuffle=False, verbose=0)
twin_logits = twin(test_images).numpy()
accuracy = accuracy_of(twin_logits)

# %%
claim(
    "the twin reads more than 96 % of the test images", accuracy > 0.96, f"{100 * accuracy:.2f} %"
)

# %% [markdown]
# Is it better or worse than the PyTorch network? Both answered the *same* 450 images. Where both are right, or both
# are wrong, they do not differ. So we count only the images on which exactly one of them is right. If both networks
# were equally good, each such image would be the toss of a fair coin. We ask how often fair coins would fall as
# unevenly as our count, or more unevenly. This share is the *p-value* of *McNemar's exact test*.

# %%
twin_digits, pytorch_digits = twin_logits.argmax(axis=1), pytorch_logits.argmax(axis=1)
pair = measure.disagreements(test.labels, twin_digits, pytorch_digits)
both_right = int(((twin_digits == test.labels) & (pytorch_digits == test.labels)).sum())
neither = len(test.labels) - both_right - pair.first_only - pair.second_only

# %%
claim("fair coins fall like this often enough: p > 0.01", pair.p > 0.01, f"p = {pair.p:.2f}")
rows = [["both", both_right], ["only the Keras twin", pair.first_only],
        ["only the PyTorch network", pair.second_only], ["neither", neither]]  # fmt: skip
show.table(["right is", "test images"], rows, caption="Two networks on the same 450 images")

# %% [markdown]
# These images cannot tell the two networks apart. That does not mean that they are equally good. With so few
# disagreements, a small real difference would stay hidden. **Now do exercise 05.5**: write this test.
#
# ## When does `tf.function` trace again?
#
# TensorFlow can run a Python function line by line. This is called *eager*. Or `tf.function` runs it once with
# placeholders, writes down the operations as a *graph*, and from then on runs the graph without Python. The first run
# is called *tracing*. `fit` uses a graph. What does a graph gain on our training step? (If you do not plan to train
# in TensorFlow, you may skip this section.)

# %%
keras.utils.set_random_seed(5)
timed = build_twin()
optimizer = keras.optimizers.Adam()
optimizer.build(timed.trainable_variables)
python_ran = []


# %%
def eager_step(images, labels):
    python_ran.append(images.shape)  # a graph does not contain this line: it runs when Python does
    with tf.GradientTape() as tape:
        loss = right_loss(labels, timed(images, training=True))
    gradients = tape.gradient(loss, timed.trainable_variables)
    optimizer.apply_gradients(zip(gradients, timed.trainable_variables))
    return loss


# %% [markdown]
# We time this step as it stands, and as a graph.

# %%
graph_step = tf.function(eager_step)
first_batch = tf.constant(images[:64]), tf.constant(labels[:64])
start = time.perf_counter()
graph_step(*first_batch)
tracing_ms = 1000 * (time.perf_counter() - start)

# %%
took_ms = {"eager": [], "graph": []}
for _ in range(20):
    for name, step in (("eager", eager_step), ("graph", graph_step)):
        start = time.perf_counter()
        step(*first_batch).numpy()  # .numpy() waits for the result
        took_ms[name].append(1000 * (time.perf_counter() - start))
eager_ms, graph_ms = (float(np.median(took)) for took in took_ms.values())

# %%
observe(
    "as a graph, a training step is faster",
    graph_ms < eager_ms,
    f"{graph_ms:.1f} ms against {eager_ms:.1f} ms; first call, with tracing: {tracing_ms:.0f} ms",
    either=True,
)

# %% [markdown]
# A graph saves Python's part of the time. In a small network such as ours, that can be most of a step. In a large one it
# is little. But tracing is slow, so it should happen once. An epoch has 22 batches, and the last one is shorter. How often
# does Python run the step?

# %%
guess("traces", "22 steps as a graph: how often does Python run the function?", low=1, high=22)

# %%
batches = batches_of(images, labels)
python_ran.clear()
graph_step = tf.function(eager_step)
for batch in batches:
    graph_step(*batch)
by_shape = len(python_ran)
reveal("traces", by_shape)

# %% [markdown]
# Python ran once for the full batches, and once more for the short one. A *signature* can leave the length open, with
# `None` in its place.

# %%
any_size = [tf.TensorSpec((None, 8, 8, 1), tf.float32), tf.TensorSpec((None,), tf.int64)]
graph_step = tf.function(eager_step, input_signature=any_size)
python_ran.clear()
for batch in batches:
    graph_step(*batch)

# %%
claim(
    "the short batch costs a second trace; with None for its length in the signature, it does not",
    (by_shape, len(python_ran)) == (2, 1),
    f"{by_shape} traces and {len(python_ran)}",
)

# %% [markdown]
# Without a signature, each new shape or type of a tensor means a new trace. Python numbers are worse: a Python number
# becomes a constant of the graph, so each new *value* means a new trace.

# %%
traced = []


@tf.function
def scaled(rate):
    traced.append(rate)
    return 2 * rate


for rate in (0.1, 0.2, 0.3):
    scaled(rate)
by_python = len(traced)

# %%
for rate in (0.4, 0.5, 0.6):
    scaled(tf.constant(rate))
claim(
    "three Python numbers: three traces; three tensors: one",
    (by_python, len(traced) - by_python) == (3, 1),
)

# %% [markdown]
# So a learning rate that changes in every step must be a tensor or a variable. For the same reason a `print` inside a
# graph prints only while tracing, and an `if` on a Python value is decided once.
#
# ## What is in a `.keras` file?
#
# A `.keras` file is a zip archive. If the network was compiled, it also holds the state of the optimizer, so that
# training can go on. A service does not need this state, so we save a copy of the network that was never compiled.

# %%
twin.save(scratch / "with_optimizer.keras")
slim_file = scratch / "digits_keras.keras"
slim = build_twin()
slim.set_weights(twin.get_weights())
slim.save(slim_file)
keras_models.remove_nulls(slim_file)  # settings that are null, which an older Keras may refuse
for entry in zipfile.ZipFile(slim_file).infolist():
    print(f"{entry.filename:<17} {entry.file_size:>7,} bytes")

# %%
with_optimizer, without = (
    file.stat().st_size for file in (scratch / "with_optimizer.keras", slim_file)
)
claim(
    "Adam keeps two numbers for each weight: they more than double the file",
    with_optimizer > 2 * without,
    f"{show.bytes_text(with_optimizer)} with the optimizer, {show.bytes_text(without)} without",
)

# %%
reloaded = keras.models.load_model(slim_file)(test_images).numpy()
off = float(np.abs(reloaded - twin_logits).max())
claim("read back, the file gives the same logits", off < 1e-5, f"largest difference {off:.1e}")

# %% [markdown]
# The weights are numbers, but the configuration names the classes that loading builds. Keras refuses suspicious ones, and
# such refusals have failed before. Before version 3.8, a manipulated configuration could call any function
# (CVE-2025-1550). Before version 3.11.3, Keras ignored `safe_mode=True` for the older `.h5` format, which one of the
# articles uses (CVE-2025-9905). So use a current Keras, and open a stranger's file only where it can do no harm.
#
# The course ships a twin that this notebook trained once. Yours may differ in rounding. It must be as good, and agree on
# almost all images.

# %%
shipped_file = models.path("digits_keras", 1, "model.keras")
shipped = keras.models.load_model(shipped_file)
shipped_logits = shipped(test_images).numpy()

# %%
agree = float((shipped_logits.argmax(axis=1) == twin_digits).mean())
its_accuracy = accuracy_of(shipped_logits)
claim(
    "your twin and the course's agree on 96 % of the test images or more",
    agree >= 0.96 and abs(its_accuracy - accuracy) <= 0.02,
    f"{100 * agree:.2f} %; accuracy {100 * accuracy:.2f} % and {100 * its_accuracy:.2f} %",
)

# %%
weights = zip(shipped.get_weights(), twin.get_weights())
if any(not np.array_equal(theirs, mine) for theirs, mine in weights):
    models.keep(slim_file, "digits_keras", 1, "model.keras")  # in the course's build alone
ledger.record("digits_keras", "keras", accuracy=accuracy, bytes=shipped_file.stat().st_size)

# %% [markdown]
# Later lessons build this network without repeating this one.

# %%
again = keras_models.digits_cnn()
again.set_weights(twin.get_weights())
off = float(np.abs(again(test_images).numpy() - twin_logits).max())
claim("`keras_models.digits_cnn` is this network", off < 1e-5, f"largest difference {off:.1e}")

# %% [markdown]
# ## Which line of PyTorch is which line of Keras?
#
# Use this table when you move a training script. Its figures come from the two frameworks' own objects. PyTorch is
# asked in a process of its own, so that this notebook loads one framework only.

# %%
ASK_PYTORCH = """
import torch
from torch import nn
torch.manual_seed(5)
layer, norm = nn.Linear(512, 20), nn.BatchNorm2d(8)
result = {"kernel": list(nn.Conv2d(1, 16, 3).weight.shape), "dense": list(layer.weight.shape),
          "start": [each.abs().max().item() for each in layer.parameters()],
          "norm": [norm.momentum, norm.eps], "training": layer.training,
          "adam": torch.optim.Adam(layer.parameters()).defaults["eps"]}
"""
pytorch = measure.fresh_process(ASK_PYTORCH).result
norm = keras.layers.BatchNormalization()

# %%
kernel, matrix, bias = start_weights[0], start_weights[4], start_weights[5]
start = "weights up to {:.2f}, biases to {:.2f}"
figures = [
    ["images", "(N, 1, 8, 8)", "(N, 8, 8, 1)", "where the channel stands"],
    ["kernel", tuple(pytorch["kernel"]), kernel.shape, "the order of the axes"],
    ["dense", tuple(pytorch["dense"]), matrix.shape, "transposed; after Flatten, reordered"],
    ["at the start", start.format(*pytorch["start"]),
     start.format(np.abs(matrix).max(), np.abs(bias).max()), "another distribution"],
    ["Adam's ε", pytorch["adam"], keras.optimizers.Adam().epsilon, "another default"],
    ["batch norm's ε", pytorch["norm"][1], norm.epsilon, "another default"],
    ["its momentum", pytorch["norm"][0], norm.momentum, "share of the new batch, share kept"],
    ["dropout on?", f"new: {pytorch['training']}", "plain call: False", "`eval()` or `training=`"],
]  # fmt: skip

# %%
idioms = [
    ["labels", "numbers, (N,)", "numbers, (N,)", "Keras: `sparse_…` in the loss"],
    ["loss", "`CrossEntropyLoss()`", "`…(from_logits=True)`", "Keras's default: probabilities"],
    ["data", "`DataLoader`", "arrays or `tf.data`", "`fit` shuffles only arrays"],
    ["training", "a loop of your own", "`compile` and `fit`", "Keras traces a graph"],
    ["file", "`state_dict`", "`.keras`", "Keras: layers and optimizer too"],
]
header = ["what", "PyTorch", "Keras", "what differs"]
show.table(header, figures + idioms, caption="The same training in two frameworks")

# %% [markdown]
# Two rows are easily overlooked. The first is a setting of batch normalisation (lesson 04), a layer that our network
# does not have. Both frameworks call it `momentum`. In PyTorch it is the share of the new batch, in Keras the share
# that is kept. The second is the start: the first weights differ, and equal settings do not mean equal training.
#
# ## What we measured
#
# The ledger has one more model. Its `.keras` file holds as many weights as the ONNX file, but it is larger: it also holds
# the layers' description, and the HDF5 file around the weights takes space.

# %%
claim(
    "the .keras file is larger than the ONNX file of the same network",
    shipped_file.stat().st_size > pytorch_file.stat().st_size,
    f"{shipped_file.stat().st_size / pytorch_file.stat().st_size:.2f} times",
)
ledger.table()

# %% [markdown]
# ## What to remember
#
# - Equal shapes and equal counts prove nothing. Test a translation by its answers on real images.
# - The mistakes that raise an error are the cheap ones. Write `from_logits=True`, keep labels at (N,), split before any
#   pipeline, and look at the accuracy on images held out.
# - Compare two models on the same images, and count only those on which exactly one is right.
#
# ## Where this breaks down
#
# - McNemar's test compares two trained networks. Another seed gives another network, and the test does not cover that.
# - The best validation loss is the lowest of many, so it is a little too low. Quote a number from images that chose nothing.
# - All images come from the same thirteen writers. None of these numbers covers other writers.
# - A graph gains most where the network is small. But it fixes shapes and Python values, and each new one costs a trace.
# - `cache` without a file name keeps everything in memory. Data that do not fit need a file, or no cache.
#
# ## What real teams use
#
# They use `fit` with callbacks as long as it suffices. Where the loss is unusual, they write their own `train_step`
# inside a `keras.Model`. They watch runs in TensorBoard (`keras.callbacks.TensorBoard`, with the package `tensorboard`),
# MLflow, or Weights & Biases. Data that do not fit into memory lie in TFRecord files, which `tf.data` reads in parallel
# (`interleave`), or come through a loader such as Grain. Which framework? The one that the team, the model's source and
# the target already use. For serving, the model leaves the framework anyway (lessons 06 and 07).
#
# ## Further reading
#
# - M. Abadi et al., *TensorFlow: A System for Large-Scale Machine Learning*, OSDI 2016.
# - A. Agrawal et al., *TensorFlow Eager: A Multi-Stage, Python-Embedded DSL for Machine Learning*, MLSys 2019.
# - D. G. Murray et al., *tf.data: A Machine Learning Data Processing Framework*, VLDB 14(12), 2021.
# - N. Srivastava et al., *Dropout: A Simple Way to Prevent Neural Networks from Overfitting*, JMLR 15, 2014.
# - Q. McNemar, *Note on the Sampling Error of the Difference between Correlated Proportions or Percentages*,
#   Psychometrika 12, 1947.
# - Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, *Gradient-Based Learning Applied to Document Recognition*, Proceedings of
#   the IEEE 86(11), 1998 (MNIST).
