# %% [markdown]
# # 05 Train in TensorFlow
#
# At 3 a.m. the nightly retraining ends with exit code 0 and a loss that fell all night; in the morning the service
# misreads what it read yesterday. A label had the wrong shape, or a loss the wrong flag, and nothing raised. This lesson
# trains the course's network a second time, in TensorFlow, and collects the mistakes that pass silently.
#
# ## You will be able to
#
# - build a network in Keras that provably computes the same as one from PyTorch, and say why an equal count of weights
#   proves nothing;
# - match labels and losses, and recognise the two mismatches that train without an error;
# - feed a model with `tf.data` without leaking the validation images into training;
# - write out what `model.fit` does in one step, and hold its gradient against the formula of lesson 02;
# - say how far an accuracy from 450 images can be trusted, keep the model, and read MNIST's own files.
#
# ## Before you start
#
# Lesson 01 for the network and the words *epoch*, *batch*, *logits* and *dropout*. Lesson 02 derives the gradient that
# is used here, and lesson 04 trains the same network in PyTorch; a formula is repeated where it is needed. This kernel
# holds TensorFlow alone. What comes from PyTorch comes as a file.

# %%
import tempfile
from pathlib import Path
from statistics import NormalDist

import matplotlib.pyplot as plt
import numpy as np

from course_lib import data, measure, models
from course_lib.idioms import begin, claim, ledger, observe, path, show

scratch = begin("05")
path.picture(here="05")

# %% [markdown]
# TensorFlow computes with tensors and finds gradients. *Keras* is the layer above it: networks, losses, training. Since
# version 3 Keras is a package of its own, which can stand on other frameworks too; here it stands on TensorFlow.

# %%
import keras
import tensorflow as tf

train, test = data.digits()
images, labels = train.images[..., None], train.labels  # (1347, 8, 8, 1): the channel comes last
test_images = test.images[..., None]
print(f"TensorFlow {tf.__version__}, Keras {keras.__version__}; images {images.shape}")

# %% [markdown]
# ## 1. Is it the same network?
#
# The network of lesson 01, layer by layer. One thing differs: PyTorch keeps a batch as (number, channel, height, width),
# TensorFlow as (number, height, width, channel), *channels last*.


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

# %% [markdown]
# How many weights should it have? A convolution with a window of $k \times k$ from $c$ channels to $d$ has, for each of
# its $d$ outputs, $k \cdot k \cdot c$ weights and one bias; a *dense* layer (a matrix product) from $n$ numbers to $m$
# has, for each of its $m$ outputs, $n$ weights and one bias:
#
# $$\text{convolution: } (k^2 c + 1)\,d \qquad\qquad \text{dense: } (n + 1)\,m.$$
#
# Padding "same" keeps 8 × 8, pooling halves it to 4 × 4, so the first dense layer sees $n = 4 \cdot 4 \cdot 32 = 512$.

# %%
by_formula = [(9 * 1 + 1) * 16, (9 * 16 + 1) * 32, (512 + 1) * 20, (20 + 1) * 10]
by_keras = [layer.count_params() for layer in twin.layers if layer.count_params()]
claim(
    "formula and Keras count the same weights, layer by layer",
    by_formula == by_keras,
    f"{' + '.join(map(str, by_keras))} = {sum(by_keras):,}",
)

# %% [markdown]
# The PyTorch network crosses as its ONNX file: version 1 of `digits_cnn`, from lesson 01's own, shorter training.
# (Lesson 04's weights are version 3, the same architecture trained otherwise, and kept without ONNX.) The weights lie
# in it as plain arrays.

# %%
import onnx

shipped_file = models.path("digits_cnn", 1)
arrays = [onnx.numpy_helper.to_array(each) for each in onnx.load(shipped_file).graph.initializer]
stored = {array.shape: array for array in arrays if array.dtype == np.float32}
count = sum(array.size for array in stored.values())
claim("the PyTorch network has as many", count == twin.count_params(), f"{count:,}")
print(*stored, sep="  ")

# %% [markdown]
# An equal count is a weak proof: a network with its layers in another order could have it too. The strong one: give the
# twin the *other's* weights. It must then give the other's answers. The kernels of a convolution lie as (out, in,
# height, width) in PyTorch and as (height, width, in, out) in Keras; a dense matrix is transposed. Is that all?


# %%
def give_weights(model, flattened_dense):
    kernels = [stored[shape].transpose(2, 3, 1, 0) for shape in ((16, 1, 3, 3), (32, 16, 3, 3))]
    dense = [flattened_dense, stored[(10, 20)].T]
    biases = [stored[(size,)] for size in (16, 32, 20, 10)]
    model.set_weights([each for pair in zip(kernels + dense, biases) for each in pair])


def accuracy_of(logits):
    return float((np.asarray(logits).argmax(axis=1) == test.labels).mean())


# %%
import onnxruntime

session = onnxruntime.InferenceSession(shipped_file)
shipped_logits = session.run(["logits"], {"pixels": test.images[:, None]})[0]
give_weights(twin, stored[(20, 512)].T)
transposed_only = accuracy_of(twin(test_images))
claim(
    "same count, every weight carried over, and the answers are not the same",
    transposed_only < accuracy_of(shipped_logits) - 0.2,
    f"accuracy {transposed_only:.1%} against {accuracy_of(shipped_logits):.1%}",
)

# %% [markdown]
# No, it is not all. *Flatten* reads the 4 × 4 × 32 numbers in the order of their axes, and that order differs:
# PyTorch's number $(c, i, j)$, channel, row and column, stands at place $16c + 4i + j$, Keras's at $32\,(4i + j) + c$.
# All shapes agree, so nothing raises. The matrix has to be unfolded, turned, and folded again.

# %%
unfolded = stored[(20, 512)].reshape(20, 32, 4, 4)  # (out, channel, row, column)
give_weights(twin, unfolded.transpose(2, 3, 1, 0).reshape(512, 20))
difference = float(np.abs(twin(test_images).numpy() - shipped_logits).max())
claim(
    "with the flattened axes in order, the twin computes what the PyTorch network computes",
    difference < 1e-3,
    f"logits differ by {difference:.1e} at most, accuracy {accuracy_of(twin(test_images)):.1%}",
)

# %% [markdown]
# Now it is proven on 450 images: one function, written in two frameworks.
#
# ### Where this goes wrong: channels first
#
# Somebody sends Keras the batch that PyTorch takes. A convolution does not mind.

# %%
channels_first = train.images[:, None]  # (1347, 1, 8, 8)
layer = keras.layers.Conv2D(16, 3, padding="same")
answer = layer(channels_first[:2])
claim(
    "without an error the layer takes 8 columns for 8 channels",
    answer.shape == (2, 1, 8, 16) and layer.count_params() == (9 * 8 + 1) * 16,
    f"output {tuple(answer.shape)}, {layer.count_params():,} weights instead of {by_formula[0]}",
)

# %% [markdown]
# The layer had no shape yet and took what came. An explicit `Input` names the shape once, and a network that has one
# refuses the wrong batch instead of adapting to it.

# %%
import re

try:
    twin(channels_first[:2])
    refused = False
except ValueError as error:
    refused = True
    print(re.search(r"expected axis.*\)", str(error))[0])
claim("a network with an Input refuses channels first", refused)

# %% [markdown]
# ## 2. What are the articles' three networks?
#
# Three networks stand in the articles that this course grew from: 784-128-10 with dropout and 784-128-64-10, for MNIST's
# 28 × 28 images, and three blocks of convolution and pooling for colour photographs of 224 × 224. We build them as they
# stand and count. (The articles pass `input_shape=` to the first layer; Keras 3 warns about that and asks for `Input`.)


# %%
def dense_network(inputs, hidden, dropout=0.0, last="softmax"):
    layers = [keras.layers.Dense(size, activation="relu") for size in hidden]
    layers += [keras.layers.Dropout(dropout)] * (dropout > 0)
    return keras.Sequential(
        [keras.Input((inputs,)), *layers, keras.layers.Dense(10, activation=last)]
    )


def three_blocks(shape, padding="valid"):
    model = keras.Sequential([keras.Input(shape)])
    for filters in (32, 64, 128):
        model.add(keras.layers.Conv2D(filters, 3, padding=padding, activation="relu"))
        model.add(keras.layers.MaxPooling2D(2))
    model.add(keras.layers.Flatten())
    model.add(keras.layers.Dense(128, activation="relu"))
    model.add(keras.layers.Dense(10, activation="softmax"))
    return model


# %%
as_written = {
    "784-128-10, dropout": dense_network(784, [128], dropout=0.2),
    "784-128-64-10": dense_network(784, [128, 64]),
    "three blocks, 224 × 224": three_blocks((224, 224, 3)),
}
counts = {name: model.count_params() for name, model in as_written.items()}
show.table(["network", "weights", "times the twin's"],
           [[name, f"{n:,}", f"{n / twin.count_params():.1f}"] for name, n in counts.items()])  # fmt: skip

# %%
claim(
    "the formula counts the dense networks too",
    counts["784-128-10, dropout"] == 785 * 128 + 129 * 10
    and counts["784-128-64-10"] == 785 * 128 + 129 * 64 + 65 * 10,
)
photographs = as_written["three blocks, 224 × 224"]
each = {layer.name: layer.count_params() for layer in photographs.layers if layer.count_params()}
names = ["conv 32", "conv 64", "conv 128", "dense 128", "dense 10"]

# %%
plt.barh(names[::-1], list(each.values())[::-1])
plt.xscale("log")
plt.xlabel("weights (logarithmic)")
for row, size in enumerate(list(each.values())[::-1]):
    plt.text(size * 1.1, row, f"{size:,}", va="center", fontsize="small")
plt.xlim(500, 1e8)
share = max(each.values()) / sum(each.values())
show.finding(
    f"{share:.0%} of the photographs' network is one dense layer",
    alt="Weights by layer, logarithmic: "
    + ", ".join(f"{name} {size:,}" for name, size in zip(names, each.values())),
)

# %%
claim(
    "of the network for photographs, more than 98 of 100 weights are in the layer after Flatten",
    share > 0.98 and list(each.values()).index(max(each.values())) == names.index("dense 128"),
    f"{share:.2%} of {sum(each.values()):,}",
)

# %% [markdown]
# After three blocks a photograph is still 26 × 26 × 128 numbers, and each of them is tied to each of 128 units. Whoever
# has to make this network smaller (lessons 10 to 12) knows where to look.
#
# ### Where this goes wrong: a network for larger images
#
# We size them to our data. The dense networks take 64 numbers instead of 784. And the three blocks?

# %%
try:
    three_blocks((8, 8, 1))
    said = ""
except ValueError as error:
    said = str(error)
    print(*re.findall(r"Computed.*?\.", said))
claim("the article's blocks do not fit 8 × 8 images", "zero or negative" in said, pinned="keras")

# %% [markdown]
# A 3 × 3 window without padding takes two points from each side's length, pooling halves the rest: 8 → 6 → 3 → 1, and
# of one point no pair can be pooled. `padding="same"` mends it: 8 → 4 → 2 → 1.

# %%
sized = {
    "64-128-10, dropout": dense_network(64, [128], dropout=0.2),
    "64-128-64-10": dense_network(64, [128, 64]),
    "three blocks, same padding": three_blocks((8, 8, 1), padding="same"),
}
for name, model in sized.items():
    print(f"{name:<28} {model.count_params():>7,} weights, output {model.output_shape}")

# %% [markdown]
# ## 3. Which labels belong to which loss?
#
# The article trains 784-128-10 with `categorical_crossentropy` on MNIST's labels, which are whole numbers. Its call:

# %%
flat, test_flat = train.images.reshape(-1, 64), test.images.reshape(-1, 64)
model = sized["64-128-10, dropout"]
model.compile(optimizer="adam", loss="categorical_crossentropy", metrics=["accuracy"])
try:
    model.fit(flat, labels, epochs=5, verbose=0)
    said = ""
except ValueError as error:
    said = str(error)
    print(said)
claim("the article's call does not train: it raises", "rank" in said, pinned="keras")

# %% [markdown]
# There are two forms of the same label, and a loss for each. As a number, $y \in \{0, \dots, 9\}$. Or *one-hot*, as a
# vector $t \in \{0, 1\}^{10}$ with a single one, $t_j = 1$ exactly where $j = y$. With the probabilities
# $\hat y \in \mathbb{R}^{10}$, cross-entropy over one-hot labels is
#
# $$-\sum_{j=0}^{9} t_j \log \hat y_j = -\log \hat y_y,$$
#
# since every term but one is zero. The right side needs only the number: that is the *sparse* form. Both must give the
# same loss.

# %%
one_hot = keras.utils.to_categorical(labels, 10)
guess = model(flat)
dense_form = float(keras.losses.CategoricalCrossentropy()(one_hot, guess))
sparse_form = float(keras.losses.SparseCategoricalCrossentropy()(labels, guess))

# %%
claim(
    "one-hot labels and sparse labels cost the same",
    abs(dense_form - sparse_form) < 1e-5,
    f"{dense_form:.6f} and {sparse_form:.6f}",
)

# %% [markdown]
# The mending is one word, `sparse_categorical_crossentropy`. With it the three networks train. Ours is a
# problem for which they are all large enough.


# %%
def trained(model, loss="sparse_categorical_crossentropy", targets=labels, inputs=flat, epochs=5):
    model.compile(optimizer="adam", loss=loss, metrics=["accuracy"])
    return model.fit(inputs, targets, epochs=epochs, verbose=0).history


rows = []
for name, model in sized.items():
    blocks = len(model.input_shape) == 4
    keras.utils.set_random_seed(5)
    model = keras.models.clone_model(model)  # the same layers, with new weights
    trained(model, inputs=images if blocks else flat, epochs=6)
    reached = accuracy_of(model(test_images if blocks else test_flat))
    rows.append([name, f"{model.count_params():,}", f"{reached:.1%}", reached])

# %%
claim(
    "each of the three reads more than 85 % of the test images",
    min(row[-1] for row in rows) > 0.85,
)
show.table(
    ["network, sized to the data", "weights", "test accuracy after 6 epochs"],
    [r[:3] for r in rows],
)

# %% [markdown]
# ### Where this goes wrong, silently
#
# The error above was the lucky case. Two relatives of it raise nothing.
#
# **Logits as probabilities.** The network ends without softmax and the loss is named by a string, whose default is
# `from_logits=False`. **A column of labels with a squared error.** One of the articles offers the mean of (label −
# prediction)² for every model; with labels of shape (N, 1), as many data sets hold them, the subtraction stretches one
# label over ten outputs.

# %%
right_loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
cases = {
    "logits, and the loss knows": (None, right_loss, labels),
    "logits, taken for probabilities": (None, "sparse_categorical_crossentropy", labels),
    "squared error on a column": ("softmax", "mse", labels[:, None]),
}
curves, reached = {}, {}
for name, (last, loss, targets) in cases.items():
    keras.utils.set_random_seed(5)
    model = dense_network(64, [128], dropout=0.2, last=last)
    curves[name] = trained(model, loss, targets)["loss"]
    reached[name] = accuracy_of(model(test_flat))

# %%
figure, axes = plt.subplots(1, 3, figsize=(9, 3), sharex=True)
for axis, (name, curve), colour in zip(axes, curves.items(), show.PALETTE):
    axis.plot(range(1, len(curve) + 1), curve, "o-", color=colour)
    axis.set_title(f"{name}\ntest accuracy {reached[name]:.0%}", fontsize="small")
    axis.set_xlabel("epoch")
    axis.set_ylim(0, 1.1 * max(curve))
axes[0].set_ylabel("training loss")
show.finding(
    "No error anywhere, and the networks read " + ", ".join(f"{x:.0%}" for x in reached.values()),
    alt="Training loss by epoch for three set-ups. "
    + "; ".join(f"{name}: {curves[name][0]:.2f} to {curves[name][-1]:.2f}, accuracy {share:.0%}"
                for name, share in reached.items()),
)  # fmt: skip

# %%
right, as_probabilities, column = reached.values()
falling = [curve[-1] < 0.8 * curve[0] for curve in list(curves.values())[:2]]
claim(
    "with the right loss and with the wrong one, the loss falls by a fifth and more", all(falling)
)
claim(
    "logits taken for probabilities cost more than 5 points of accuracy",
    right - as_probabilities > 0.05,
    f"{as_probabilities:.1%} against {right:.1%}",
)
claim("the squared error on a column learns next to nothing", column < 0.3, f"{column:.1%}")

# %% [markdown]
# The column is soon explained. With the label $y$ against all ten probabilities $\hat y_j$, which add up to 1,
#
# $$\frac{1}{10} \sum_j (y - \hat y_j)^2 = y^2 - \frac{2y}{10} \sum_j \hat y_j + \frac{1}{10} \sum_j \hat y_j^2 = y^2 - \frac{y}{5} + \frac{1}{10} \sum_j \hat y_j^2.$$
#
# The label stands in the constant part alone. The gradient does not know it, and what is left to learn is to make all
# ten probabilities equal.


# %%
def gradient_of(loss, label, z):
    z = tf.Variable(z)
    with tf.GradientTape() as tape:
        value = loss(label, tf.nn.softmax(z))
    return tape.gradient(value, z).numpy()


some = np.random.default_rng(5).normal(size=(1, 10)).astype(np.float32)
for_0, for_9 = (
    gradient_of(keras.losses.MeanSquaredError(), np.array([[y]]), some) for y in (0, 9)
)
apart, largest = np.abs(for_0 - for_9).max(), np.abs(for_0).max()
claim("for a 0 and for a 9 the gradient is the same, up to rounding", apart < 0.02 * largest,
      f"{apart:.1e} apart, where the largest entry is {largest:.1e}")  # fmt: skip

# %% [markdown]
# And the logits, why do they teach anything at all? Keras clips what it takes for probabilities to $c_j \in [10^{-7},
# 1 - 10^{-7}]$ and divides by their sum, so the loss is $-\log c_y + \log \sum_j c_j$. What is clipped gets no
# gradient; each other logit, unless it is the label's, gets $1 / \sum_j c_j$, here one third. We ask for it, with six
# logits and the label on a negative one.

# %%
z = tf.Variable([[-2.0, -0.5, 0.3, 0.7, 3.0, 6.0]])
with tf.GradientTape() as tape:
    loss = keras.losses.SparseCategoricalCrossentropy()(np.array([0]), z)
gradient = tape.gradient(loss, z).numpy()[0]
inside = (z.numpy()[0] > 0) & (z.numpy()[0] < 1)
claim(
    "a logit gets a gradient only between 0 and 1; the label's own, at −2, gets none",
    bool((gradient[~inside] == 0).all() and (gradient[inside] != 0).all()),
    "gradient " + ", ".join(f"{g:.2f}" for g in gradient),
)

# %% [markdown]
# The right class stands at −2 and its logit gets no pull of its own. All that this image still does is push down the
# wrong logits between 0 and 1; whether that lifts the right one, through the weights that they share, is chance. The
# reverse mistake, a softmax layer *and* `from_logits=True`, is noticed by Keras, which warns and undoes it.

# %%
import warnings

with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    keras.utils.set_random_seed(5)
    model = dense_network(64, [128], dropout=0.2, last="softmax")
    trained(model, right_loss)
told = [str(each.message) for each in caught if "from_logits" in str(each.message)]
print(told[0] if told else "no warning")
undone = accuracy_of(model(test_flat))
claim(
    "softmax and from_logits=True: warned of, and as good as the right pair",
    bool(told) and abs(undone - right) < 0.05,
    f"{undone:.1%} and {right:.1%}",
    pinned="keras",
)

# %% [markdown]
# Keras sees it because the tensor remembers that a softmax made it. It cannot see that a tensor is *not* probabilities.
# So: logits out of the network, `from_logits=True` written in full, and a test of the trained model's accuracy before
# anything is shipped.
#
# ## 4. What does dropout do, and when?
#
# Two of these networks have dropout. In training it sets each activation $x$ to zero with probability $p$, and divides
# the survivors by $1 - p$; so the mean stays,
#
# $$\mathbb{E}[\text{dropout}(x)] = p \cdot 0 + (1 - p) \cdot \frac{x}{1 - p} = x,$$
#
# and in use the layer does nothing at all. Does Keras's layer keep to that?

# %%
layer, ones = keras.layers.Dropout(0.3, seed=5), np.ones((1, 100_000), np.float32)
dropped = layer(ones, training=True).numpy()

# %%
claim(
    "in training 30 % become zero, the rest 1/0.7, and the mean stays 1",
    abs((dropped == 0).mean() - 0.3) < 0.01
    and np.allclose(dropped[dropped > 0], 1 / 0.7)
    and abs(dropped.mean() - 1) < 0.02,
    f"{(dropped == 0).mean():.1%} zero, mean {dropped.mean():.3f}",
)

# %%
claim("in use it changes nothing", np.array_equal(layer(ones, training=False).numpy(), ones))

# %% [markdown]
# There is no `eval()` to forget in Keras: `fit` trains with `training=True`, `predict` and a plain call use `False`. What
# can be forgotten is the reverse: a loop of one's own that calls `model(batch)` trains without dropout, unless it says
# `training=True`.
#
# ## 5. Can the input pipeline spoil the training?
#
# `tf.data` describes how batches come about: read, shuffle, batch, and *prefetch*, which prepares the next batch while
# the model works on this one. Each line is harmless. The order and one default are not.


# %%
def batches_of(images, labels, size=64, seed=5):
    examples = tf.data.Dataset.from_tensor_slices((images, labels))
    return examples.shuffle(len(labels), seed=seed).batch(size).prefetch(tf.data.AUTOTUNE)


some_images, some_labels = next(iter(batches_of(images, labels)))
print(some_images.shape, some_labels.shape)

# %% [markdown]
# **A small buffer.** `shuffle(b)` holds $b$ examples and draws from those. A file that is sorted by label, as exports
# often are, stays nearly sorted.

# %%
in_order = np.sort(labels)
for size in (32, len(labels)):
    examples = tf.data.Dataset.from_tensor_slices(in_order).shuffle(size, seed=5)
    first = np.unique(next(iter(examples.batch(64))).numpy())
    print(f"buffer of {size:>4}: the first batch of 64 holds the digits {first.tolist()}")
    if size == 32:
        claim("through a small buffer the first batch is of one class", first.tolist() == [0])
claim("through a buffer of all examples the classes mix", len(first) > 5, f"{len(first)} classes")

# %% [markdown]
# **A split that moves.** Shuffle, then `take` some for validation and `skip` them for training. The default is to
# shuffle anew at each pass, so each pass draws another split. We follow the *numbers* of the images through five
# epochs: how many that the first validation saw has training seen since?


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

# %%
plt.plot(range(1, 6), [100 * share for share in leaking], "o-", label="default")
plt.plot(
    range(1, 6), [100 * share for share in fixed], "s--", label="reshuffle_each_iteration=False"
)
plt.xlabel("epoch")
plt.xticks(range(1, 6))
plt.ylabel("validation images trained on (%)")
plt.legend()
show.finding(
    f"Split after shuffling, and five epochs see {leaking[-1]:.0%} of the validation images",
    alt="Share of the first validation images that training has seen, by epoch: by default "
    + ", ".join(f"{share:.0%}" for share in leaking) + "; with a fixed order 0 % throughout",
)  # fmt: skip

# %%
claim(
    "by default most validation images are trained on within one epoch, with a fixed order none",
    leaking[0] > 0.5 and leaking[-1] > 0.9 and fixed[-1] == 0,
    f"{leaking[0]:.0%} after one epoch, {leaking[-1]:.0%} after five",
)

# %% [markdown]
# The validation accuracy of such a run is a training accuracy, and nothing says so. We split the arrays before any
# pipeline begins, every digit in the same share; exercise 05.4 makes a split that stays when data are added.

# %%
from sklearn.model_selection import train_test_split

parts = train_test_split(images, labels, test_size=225, stratify=labels, random_state=5)
fit_images, held_images, fit_labels, held_labels = parts
fit_batches = batches_of(fit_images, fit_labels)
held_batches = tf.data.Dataset.from_tensor_slices((held_images, held_labels)).batch(225)

# %% [markdown]
# ## 6. What does `model.fit` do in one step?
#
# Four things: compute the loss of a batch while a *tape* records every operation; run the tape backwards for the
# gradients; let the optimizer move the weights; add to the metrics. The tape first, by hand, on the twin's last layer.
#
# Let $H \in \mathbb{R}^{N \times 20}$ be what enters that layer for $N$ images, $W \in \mathbb{R}^{20 \times 10}$ and
# $b \in \mathbb{R}^{10}$ its weights, $Z = HW + \mathbf{1}b^\top$ the logits, $T \in \{0,1\}^{N \times 10}$ the one-hot
# labels, and $L$ the mean cross-entropy. Lesson 02 derives, for one image, $\partial \ell / \partial z = \hat y - t$.
# The mean over $N$ images divides by $N$:
#
# $$D := \frac{\partial L}{\partial Z} = \frac{\hat Y - T}{N} \in \mathbb{R}^{N \times 10}.$$
#
# A weight $W_{ij}$ enters $z_{nj}$ of every image $n$, with the factor $h_{ni}$, and no other logit; a bias $b_j$ enters
# with the factor 1. By the chain rule
#
# $$\frac{\partial L}{\partial W_{ij}} = \sum_n h_{ni} D_{nj}, \text{ that is } \frac{\partial L}{\partial W} = H^\top D, \qquad \frac{\partial L}{\partial b} = D^\top \mathbf{1}.$$

# %%
keras.utils.set_random_seed(5)
twin = build_twin()
batch, batch_labels = images[:64], labels[:64]
with tf.GradientTape() as tape:
    loss = right_loss(batch_labels, twin(batch, training=False))
gradients = tape.gradient(loss, twin.trainable_variables)

# %%
hidden = batch
for layer in twin.layers[:-1]:
    hidden = layer(hidden)
hidden = hidden.numpy()  # H, (64, 20)
probabilities = tf.nn.softmax(twin(batch)).numpy()
D = (probabilities - one_hot[:64]) / 64
off = max(
    np.abs(hidden.T @ D - gradients[-2].numpy()).max(),
    np.abs(D.sum(0) - gradients[-1].numpy()).max(),
)
claim("lesson 02's formula is what the tape finds", off < 1e-5, f"largest difference {off:.1e}")

# %% [markdown]
# Now the whole of `fit`, unrolled: epochs, batches, tape, optimizer. Against the original, from the same weights, in the
# same order of the batches. Plain gradient descent (SGD) and no dropout, so that nothing is left to chance.


# %%
def fit_by_hand(model, images, labels, optimizer, epochs=2, size=64):
    for epoch in range(epochs):
        for start in range(0, len(images), size):
            chosen = slice(start, start + size)
            with tf.GradientTape() as tape:
                loss = right_loss(labels[chosen], model(images[chosen], training=True))
            gradients = tape.gradient(loss, model.trainable_variables)
            optimizer.apply_gradients(zip(gradients, model.trainable_variables))


# %%
keras.utils.set_random_seed(5)
ours, theirs = (dense_network(64, [128], last=None) for _ in range(2))
theirs.set_weights(ours.get_weights())
before = ours.get_weights()
fit_by_hand(ours, flat, labels, keras.optimizers.SGD(0.1))
theirs.compile(optimizer=keras.optimizers.SGD(0.1), loss=right_loss)
log = theirs.fit(flat, labels, epochs=2, batch_size=64, shuffle=False, verbose=0)

# %%
pairs = list(zip(before, ours.get_weights(), theirs.get_weights()))
apart = max(float(np.abs(mine - keras_).max()) for _, mine, keras_ in pairs)
moved = max(float(np.abs(mine - old).max()) for old, mine, _ in pairs)
claim(
    "two epochs by hand and two epochs of fit end at the same weights",
    apart < 1e-4 < moved,
    f"at most {apart:.1e} apart, after moving by up to {moved:.2f}",
)

# %% [markdown]
# What `fit` adds is not in the arithmetic: it compiles the step into a graph, which we time in section 9, and it calls
# back.
#
# ## 7. When should training stop?
#
# A *callback* is an object whose methods `fit` calls, after each epoch for instance. `EarlyStopping` watches the loss on
# the validation images, stops when it has not fallen for a number of epochs (*patience*), and puts the best weights
# back. A second one we write ourselves: it logs each epoch in the format of *TensorBoard*, the browser page on which
# training runs are usually watched. (`shuffle=False` tells `fit` that the pipeline shuffles already.)

# %%
SCALAR = tf.compat.v1.SummaryMetadata(
    plugin_data=tf.compat.v1.SummaryMetadata.PluginData(plugin_name="scalars")
)


class EventLog(keras.callbacks.Callback):
    def __init__(self, folder):
        super().__init__()
        self.writer = tf.summary.create_file_writer(str(folder))

    def on_epoch_end(self, epoch, logs=None):
        with self.writer.as_default():
            for name, value in (logs or {}).items():
                tf.summary.write(name, np.float32(value), step=epoch, metadata=SCALAR)
        self.writer.flush()


# %%
log_folder = Path(tempfile.mkdtemp(dir=scratch))  # a new one for each run
keras.utils.set_random_seed(5)
watched = build_twin()
watched.compile(optimizer=keras.optimizers.Adam(3e-3), loss=right_loss, metrics=["accuracy"])
stop = keras.callbacks.EarlyStopping(monitor="val_loss", patience=3, restore_best_weights=True)
history = watched.fit(fit_batches, validation_data=held_batches, epochs=20, shuffle=False,
                      verbose=0, callbacks=[stop, EventLog(log_folder)]).history  # fmt: skip

# %%
best = int(np.argmin(history["val_loss"]))
restored = watched.evaluate(held_batches, verbose=0)[0]
claim(
    "the weights that are left are those of the best epoch",
    abs(restored - history["val_loss"][best]) < 1e-3,
    f"validation loss {restored:.4f}, of epoch {best + 1} of {len(history['loss'])}",
)

# %% [markdown]
# Keras has a callback for TensorBoard of its own, `keras.callbacks.TensorBoard`; it needs the package `tensorboard`,
# which TensorFlow no longer brings along. The file format belongs to TensorFlow itself: a sequence of records, each an
# *event* with a step and named values. So the log can be read back without the page, and drawn.

# %%
from tensorflow.core.util import event_pb2


def read_events(folder):
    series = {}
    for file in sorted(map(str, folder.iterdir())):
        for record in tf.data.TFRecordDataset(file):
            event = event_pb2.Event.FromString(record.numpy())
            for value in event.summary.value:
                series.setdefault(value.tag, []).append(float(tf.make_ndarray(value.tensor)))
    return series


logged = read_events(log_folder)
same = all(np.array_equal(np.float32(history[name]), np.float32(logged[name])) for name in history)
claim("the log holds what fit reported, number by number", same, f"{len(history)} series")

# %%
figure, axes = plt.subplots(1, 2, figsize=(9, 3.2))
epochs = np.arange(1, len(logged["loss"]) + 1)
for axis, name, label in zip(axes, ("loss", "accuracy"), ("loss", "accuracy (%)")):
    scale = 100 if name == "accuracy" else 1
    axis.plot(epochs, scale * np.array(logged[name]), "o-", ms=3, label="training, with dropout")
    axis.plot(epochs, scale * np.array(logged[f"val_{name}"]), "s-", ms=3, label="validation")
    axis.axvline(best + 1, color=show.GREY, ls="--", label="best epoch")
    axis.set_xlabel("epoch")
    axis.set_ylabel(label)
axes[0].set_yscale("log")
axes[1].legend()
final = {name: series[-1] for name, series in logged.items()}
show.finding(
    f"The validation loss is lowest at epoch {best + 1}; those weights are kept",
    alt=f"Loss and accuracy by epoch, from the log. At the end: training loss {final['loss']:.3f}, "
    f"validation loss {final['val_loss']:.3f}; accuracy {final['accuracy']:.1%}, validation "
    f"{final['val_accuracy']:.1%}. A dashed line marks epoch {best + 1}",
)

# %% [markdown]
# Mind what the two curves are: the training curve is measured *with* dropout and as a mean over the epoch, while the
# weights still improved; the validation curve without, at the epoch's end. Training can look worse than validation, and
# it is no sign of a mistake.
#
# ## 8. Is the twin as good as the original?
#
# The held-out images have done their work. The twin that is kept trains on all 1,347 training images, for a
# fixed number of epochs, with steps that grow first and shrink towards the end, as in lesson 01.

# %%
EPOCHS, SIZE = 25, 64
steps = EPOCHS * -(-len(labels) // SIZE)
rise = int(0.3 * steps)
step_size = keras.optimizers.schedules.CosineDecay(
    2e-4, decay_steps=steps - rise, warmup_target=6e-3, warmup_steps=rise
)
keras.utils.set_random_seed(5)
twin = build_twin()
twin.compile(optimizer=keras.optimizers.Adam(step_size), loss=right_loss, metrics=["accuracy"])
log = twin.fit(batches_of(images, labels, SIZE), epochs=EPOCHS, shuffle=False, verbose=0)
logits = twin(test_images).numpy()
accuracy = accuracy_of(logits)
claim("the twin reads more than 96 % of the test images", accuracy > 0.96, f"{accuracy:.2%}")

# %% [markdown]
# The shipped model, version 1 from lesson 01, had another number. Which difference would chance explain? Suppose the
# model is right with probability $p$ on an image like these. Of $n$ images it gets a share $\hat p$, whose standard
# deviation is $\sqrt{p(1-p)/n}$. We keep every $p$ from which the observed share is at most $z$ standard deviations
# away. The usual $z = 1.96$ would err for one model in twenty by chance; whoever runs this notebook gets another
# model, so we take $z = 2.576$, which errs for one in a hundred:
#
# $$(\hat p - p)^2 \le z^2\, \frac{p(1-p)}{n}.$$
#
# Sorted by powers of $p$, that is $(1 + z^2/n)\,p^2 - (2\hat p + z^2/n)\,p + \hat p^2 \le 0$, and what lies between the
# two roots is *Wilson's interval*, which `measure.wilson` computes:
#
# $$p = \frac{\hat p + \frac{z^2}{2n} \pm z \sqrt{\frac{\hat p (1 - \hat p)}{n} + \frac{z^2}{4 n^2}}}{1 + z^2/n}.$$

# %%
n, z = len(test.labels), NormalDist().inv_cdf(0.995)  # 0.5 % lie beyond, on either side
interval = measure.wilson(round(accuracy * n), n, confidence=0.99)
for p in interval:
    reach = z * np.sqrt(p * (1 - p) / n)
    print(
        f"p = {p:.4f}: {abs(accuracy - p):.4f} away, {z:.3f} standard deviations are {reach:.4f}"
    )
off = max(abs((accuracy - p) ** 2 - z**2 * p * (1 - p) / n) for p in interval)
claim("both ends solve the equation", off < 1e-12, f"{interval[0]:.2%} to {interval[1]:.2%}")

# %%
original = accuracy_of(shipped_logits)
claim(
    "the shipped model's accuracy lies within the twin's 99 % interval",
    interval[0] <= original <= interval[1],
    f"{original:.2%} in {interval[0]:.2%} to {interval[1]:.2%}",
)
agree = float((logits.argmax(axis=1) == shipped_logits.argmax(axis=1)).mean())
claim("the two give the same digit for more than 95 % of the images", agree > 0.95, f"{agree:.2%}")

# %%
plt.figure(figsize=(7, 2.2))
both = {"the twin, Keras": accuracy, "shipped, PyTorch": original}
ends = {name: measure.wilson(round(share * n), n, 0.99) for name, share in both.items()}
for row, (name, share) in enumerate(both.items()):
    low, high = (100 * end for end in ends[name])
    plt.plot([low, high], [row, row], lw=4, alpha=0.5)
    plt.plot(100 * share, row, "ko")
plt.yticks(range(2), both)
plt.ylim(-0.6, 1.6)
plt.xlabel("accuracy (%), with its 99 % interval")
show.finding(
    "The twin's interval holds the shipped model's accuracy",
    alt="; ".join(
        f"{name}: {share:.2%}, interval {ends[name][0]:.2%} to {ends[name][1]:.2%}"
        for name, share in both.items()
    ),
)  # fmt: skip

# %% [markdown]
# With 450 images the two cannot be told apart, which is less than to say that they are equally good. And the interval
# wastes something: both models read the *same* images, so an image that is hard is hard for both. What tells them apart
# is only the images on which one is right and the other is not. Exercise 05.5 makes the sharper comparison.
#
# ## 9. What does `tf.function` save?
#
# TensorFlow runs a Python line at a time (*eager*), or it *traces* a function once, with placeholders for its tensors,
# into a graph that runs without Python. `fit` does the latter. What does it gain on our step?

# %%
keras.utils.set_random_seed(5)
timed = build_twin()
optimizer = keras.optimizers.Adam()
optimizer.build(timed.trainable_variables)
traces = []


def eager_step(images, labels):
    traces.append(
        images.shape
    )  # Python runs this line: each call when eager, once a trace in a graph
    with tf.GradientTape() as tape:
        loss = right_loss(labels, timed(images, training=True))
    gradients = tape.gradient(loss, timed.trainable_variables)
    optimizer.apply_gradients(zip(gradients, timed.trainable_variables))
    return loss


graph_step = tf.function(eager_step)

# %%
import time

batch, batch_labels = tf.constant(images[:64]), tf.constant(labels[:64])
start = time.perf_counter()
graph_step(batch, batch_labels)
tracing_ms = 1000 * (time.perf_counter() - start)
took_ms = {"eager": [], "graph": []}
for _ in range(20):
    for name, step in (("eager", eager_step), ("graph", graph_step)):
        start = time.perf_counter()
        step(batch, batch_labels).numpy()  # .numpy() waits for the result
        took_ms[name].append(1000 * (time.perf_counter() - start))
eager_ms, graph_ms = (float(np.median(took_ms[name])) for name in took_ms)

# %%
observe(
    "as a graph, a training step is faster than eagerly",
    graph_ms < eager_ms,
    f"{graph_ms:.1f} ms against {eager_ms:.1f} ms at the median, {eager_ms / graph_ms:.1f} times",
    either=True,
)
worth = tracing_ms / (eager_ms - graph_ms) if eager_ms > graph_ms else np.inf
observe(
    "tracing costs more than ten steps, and pays for itself within 500",
    tracing_ms > 10 * graph_ms and worth < 500,
    f"the first call took {tracing_ms:.0f} ms, the gain of {worth:.0f} steps",
    either=True,
)

# %% [markdown]
# A graph saves Python's share of a step. Where that is small, or another program was in the way, a line above does not
# hold.
#
# Tracing is paid for anew whenever something comes that the graph was not made for: another shape, another type, or
# another *Python* number, since a Python number is a constant of the graph. The last batch of an epoch, which is shorter,
# is enough.

# %%
graph_step = tf.function(eager_step)
graph_step(batch, batch_labels)  # traced for a full batch
traces.clear()
for start in range(0, len(labels), 64):
    graph_step(tf.constant(images[start : start + 64]), tf.constant(labels[start : start + 64]))

# %%
claim(
    "over an epoch with one short batch, one new trace",
    len(traces) == 1 and traces[0][0] == len(labels) % 64,
    f"shapes traced: {[tuple(shape) for shape in traces]}",
)

# %%
traced = []


@tf.function
def square(x):
    traced.append(x)
    return x * x


for number in (1.0, 2.0, 3.0):
    square(number)
by_python_number = len(traced)

# %%
for number in (1.0, 2.0, 3.0):
    square(tf.constant(number))
claim(
    "three Python numbers trace three times, three tensors once",
    (by_python_number, len(traced) - by_python_number) == (3, 1),
)

# %% [markdown]
# A learning rate passed as a Python number that changes at each step makes a graph for each step, and pays for
# tracing each time. TensorFlow warns when it sees that happen; the mending is `tf.constant`, or a variable. For the same reason a `print` in a graph prints once, and an `if` on a Python value is decided once.
#
# ## 10. What is in the file that is kept?
#
# `.keras` is a zip archive. A compiled model takes its optimizer's state along, so that training can go on; to serve the
# model it is ballast.
#
# An older Keras may have to read the file. Each Keras writes all settings that it knows, some of them as `null`, and an
# older one refuses a setting that it does not know. `remove_nulls` leaves them out: a missing setting takes its default.

# %%
import zipfile

from course_lib import keras_models

twin.save(scratch / "with_optimizer.keras")
kept = scratch / "digits_keras.keras"
slim = build_twin()
slim.set_weights(twin.get_weights())  # never compiled: it has no optimizer
slim.save(kept)
keras_models.remove_nulls(kept)

# %%
for entry in zipfile.ZipFile(kept).infolist():
    print(f"{entry.filename:<20} {entry.file_size:>7,} bytes")

# %%
heavy, light = (scratch / "with_optimizer.keras").stat().st_size, kept.stat().st_size
claim(
    "Adam's two numbers for each weight more than double the file",
    heavy > 2 * light,
    f"{show.bytes_text(heavy)} with the optimizer, {show.bytes_text(light)} without",
)
claim(
    "without it, more than a fifth of the file is still no weights",
    1 - 4 * twin.count_params() / light > 0.2,
    f"{show.bytes_text(light - 4 * twin.count_params())} of {show.bytes_text(light)}",
)

# %%
reloaded = keras.models.load_model(kept)
moved = float(np.abs(reloaded(test_images).numpy() - logits).max())
claim("read back, the file gives the same logits", moved < 1e-5, f"largest difference {moved:.1e}")

# %% [markdown]
# The weights are numbers and the configuration is JSON, but the JSON names the classes that loading builds. Keras
# checks those names and refuses a `Lambda` by default; such checks have failed before. Up to Keras 3.8 an altered
# configuration could call any function (CVE-2025-1550), and in the older `.h5` format, which one of the articles
# uses, the refusal of `Lambda` was not enforced (CVE-2025-9905). So: a current Keras, and a stranger's file only
# where it can do no harm. Lesson 07 looks at the formats.

# %%
ledger.record("digits_keras", "keras", accuracy=accuracy, bytes=light)
models.keep(
    kept, "digits_keras", 1, "model.keras"
)  # for the course's authors: it does nothing here

# %% [markdown]
# The course ships a twin that this notebook trained once. Bit for bit yours need not be the same; it must be as good, and
# mostly agree.

# %%
kept_twin = keras.models.load_model(models.path("digits_keras", 1, "model.keras"))
kept_logits = kept_twin(test_images).numpy()
agree = float((kept_logits.argmax(axis=1) == logits.argmax(axis=1)).mean())
claim(
    "your twin and the course's agree on 96 % of the test images or more, with similar accuracy",
    agree >= 0.96 and abs(accuracy_of(kept_logits) - accuracy) <= 0.02,
    f"they agree on {agree:.2%}; accuracy {accuracy:.2%} and {accuracy_of(kept_logits):.2%}",
)

# %% [markdown]
# Later lessons build the same network without repeating this lesson:

# %%
again = keras_models.digits_cnn()
again.set_weights(twin.get_weights())
moved = float(np.abs(again(test_images).numpy() - logits).max())
claim("`keras_models.digits_cnn` is this network", moved < 1e-5, f"largest difference {moved:.1e}")

# %% [markdown]
# ## 11. How is MNIST read?
#
# The article's networks want MNIST: 70,000 digits of 28 × 28. It does not ship with the course. `keras.datasets.mnist`
# would fetch it when called, and fail at 3 a.m. behind a firewall. The four original files do not: fetch them once, from
# the mirror of the Common Visual Data Foundation (`github.com/cvdfoundation/mnist` lists them), note their checksums, and
# name the folder.
#
# They are in *IDX* format, which is soon told: two zero bytes, a byte for the type (8: whole numbers from 0 to 255), a
# byte for the number of axes, the length of each axis in four bytes, the most significant first, then the values. So we
# can write a tiny MNIST ourselves, of our own digits, enlarged.


# %%
def write_idx(file, array):
    lengths = b"".join(length.to_bytes(4, "big") for length in array.shape)
    file.write_bytes(bytes([0, 0, 8, array.ndim]) + lengths + array.astype(np.uint8).tobytes())


folder = scratch / "mnist"
folder.mkdir(exist_ok=True)
for name, part in (("train", train), ("t10k", test)):
    enlarged = np.kron(part.images[:50], np.ones((1, 3, 3)))  # 24 × 24
    framed = np.pad(enlarged, ((0, 0), (2, 2), (2, 2)))  # 28 × 28, with MNIST's white margin
    write_idx(folder / f"{name}-images-idx3-ubyte", (255 * framed).round())
    write_idx(folder / f"{name}-labels-idx1-ubyte", part.labels[:50])

# %%
mnist_train, mnist_test = data.mnist(folder)
show.images(
    mnist_train.images[:8],
    mnist_train.labels[:8],
    finding_title="Our digits, written as MNIST's files and read back",
    alt="Eight digits of 28 by 28 points with their labels "
    + ", ".join(map(str, mnist_train.labels[:8])),
)
claim(
    "images and labels come back as they were written",
    mnist_train.images.shape == (50, 28, 28)
    and np.array_equal(mnist_train.labels, train.labels[:50])
    and np.abs(mnist_train.images[:, 2:-2:3, 2:-2:3] - train.images[:50]).max()
    <= 0.5 / 255 + 1e-6,
)

# %% [markdown]
# For the real files, `data.mnist("the folder that holds them")` is all that changes: 60,000 images to train on and 10,000
# to test. The article's first network takes ours as it stands, and, with the mended loss, learns from them. On fifty images that
# says nothing about MNIST; it says that shapes, types and ranges fit.

# %%
first = keras.models.clone_model(as_written["784-128-10, dropout"])
small = mnist_train.images.reshape(-1, 784)
losses = trained(first, inputs=small, targets=mnist_train.labels, epochs=8)["loss"]
claim("784-128-10 takes what the loader gives, and its loss falls", losses[-1] < losses[0],
      f"from {losses[0]:.2f} to {losses[-1]:.2f}")  # fmt: skip

# %% [markdown]
# A download that broke off is the usual trouble. The loader compares what the header announces with what follows, so
# that the error names the file today instead of showing up as a bad model tomorrow.

# %%
import shutil

cut_off = shutil.copytree(folder, scratch / "cut off", dirs_exist_ok=True)
broken = cut_off / "train-images-idx3-ubyte"
broken.write_bytes(broken.read_bytes()[:-1000])
try:
    data.mnist(cut_off)
    said = ""
except ValueError as error:
    said = str(error)
    print(said)
claim("a file that was cut off is refused, by name", broken.name in said)

# %% [markdown]
# ## What we measured
#
# The ledger has a model more. Beside lesson 01's ONNX file, with which we compared it, its accuracy is the same as
# far as these intervals can tell, and it needs more bytes for as many weights. The listing in section 10 says where:
# in the layers' description, and more of it in the HDF5 file around the weights.

# %%
ledger.table()

# %%
points = 100 * abs(accuracy - original)
more = light / shipped_file.stat().st_size
claim("the twin's file is larger than the shipped ONNX file", more > 1, f"{more:.2f} times")
ledger.picture(f"The twin: {points:.1f} points from the shipped model, {more:.1f} times its bytes")

# %% [markdown]
# ## What to remember
#
# - Equal shapes and an equal count of weights prove nothing; equal answers on real images do.
# - The mistakes that raise are the cheap ones. Logits for probabilities, a column for a vector, a split that moves: test
#   the trained model, on images that no pipeline could have touched.
# - An accuracy without its interval is half a number: with 450 images, a point up or down says nothing.
#
# ## Where this breaks down
#
# Wilson's interval is about images like these, drawn anew from the same thirteen writers; nothing in it covers another
# country's sevens. It speaks of one trained model: another seed gives another, and lesson 04 measures that spread. The
# comparison of speed holds for a network so small that Python's share of a step is large; on a large one, eager costs
# less in proportion. The traced graph fixes shapes and Python values, which is its gain and its trap.
#
# ## What real teams use
#
# `fit` with callbacks as long as it goes; a `train_step` of their own inside `keras.Model` where the loss is unusual;
# a whole loop by hand where several networks train each other. TensorBoard, MLflow or Weights & Biases for the logs.
# For data that do not fit in memory, TFRecord files and `tf.data` with `interleave`, or a loader such as Grain. Which
# framework? The one that the team, the model's source and the target already use. The model leaves it anyway: lessons 06
# and 07.
#
# ## Further reading
#
# - M. Abadi et al., *TensorFlow: A System for Large-Scale Machine Learning*, OSDI 2016.
# - A. Agrawal et al., *TensorFlow Eager: A Multi-Stage, Python-Embedded DSL for Machine Learning*, MLSys 2019.
# - D. G. Murray et al., *tf.data: A Machine Learning Data Processing Framework*, VLDB 14(12), 2021.
# - N. Srivastava et al., *Dropout: A Simple Way to Prevent Neural Networks from Overfitting*, JMLR 15, 2014.
# - E. B. Wilson, *Probable Inference, the Law of Succession, and Statistical Inference*, JASA 22(158), 1927.
# - Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, *Gradient-Based Learning Applied to Document Recognition*, Proceedings of
#   the IEEE 86(11), 1998 (MNIST).
