# %% [markdown]
# # 08 The inference pipeline
#
# At 3 a.m. every light is green: the service answers, in time, without one error in its log, and most of its answers
# are wrong. The model's file is the right one. A release last night changed a line in front of it.
#
# ## You will be able to
#
# - name the four steps from a request to a decision, and measure what one wrong line in each of them costs;
# - put preprocessing and postprocessing into the model's file, and prove that they compute what the code computed;
# - write a contract that refuses bad input with a sentence that helps, and know which mistakes it cannot see;
# - turn probabilities into decisions: calibrate, choose thresholds from costs, and hand doubtful cases to a person;
# - serve pictures, tables and text, a class or a number, behind one and the same object.
#
# ## Before you start
#
# Lesson 04 trained the network that is used here, and explains calibration and Wilson's interval. Lesson 06 exported
# it to ONNX, a file that ONNX Runtime executes. No training framework is needed in this notebook: a service does not
# have one either.

# %%
import matplotlib.pyplot as plt
import numpy as np
import onnx
import onnxruntime

from course_lib import data, measure, models
from course_lib.idioms import begin, claim, ledger, path, show

scratch = begin("08")
path.picture(here="08")

# %% [markdown]
# ## Why does this listing end in an error, and why is that good luck?
#
# One of the articles that this course grew from names the four steps of inference well: *load* the model, *preprocess*
# the input, *run*, *postprocess* the output. (It calls them conversion, which they are not.) Its listing does each in
# one or two lines, for a TensorFlow model that was saved with `tf.saved_model.save`. It runs here in a process of its
# own, with the course's small Keras network as the model and an empty picture of 48 × 64 points as `input_image`, and
# notes what each way of calling says.

# %%
LISTING = """
import os; os.environ["TF_ENABLE_ONEDNN_OPTS"] = "0"  # with it, a wrong shape ends the process
from course_lib.idioms import quiet; quiet.frameworks()
import numpy as np, tensorflow as tf
from course_lib import models
trained = tf.keras.models.load_model(models.path("digits_keras", 1, "model.keras"))
tf.saved_model.save(trained, "FOLDER")

model = tf.saved_model.load("FOLDER")                                        # load
input_image = np.zeros((48, 64, 3), np.uint8)
input_data = tf.constant(input_image)
input_data = tf.image.resize(input_data, (224, 224))                         # preprocess
input_data = tf.keras.applications.vgg16.preprocess_input(input_data)

signature, said = model.signatures["serving_default"], {}
small = tf.image.resize(input_data, (8, 8))[None, :, :, :1]
for how, call in {"as written": lambda: model(input_data),                   # run
                  "by its signature": lambda: signature(input_data),
                  "with a batch axis": lambda: signature(input_data[None]),
                  "8 × 8, one channel": lambda: signature(small)}.items():
    try:
        said[how] = "answers " + str(tf.argmax(list(call().values())[0], axis=-1).numpy())
    except Exception as error:
        lines = [line for line in str(error).splitlines() if line.strip()]
        said[how] = type(error).__name__ + ": " + (lines[-2] if len(lines) > 1 else lines[0])[:90]
ramp = np.arange(48, dtype=np.float32).reshape(4, 4, 3)
result = [said, tf.keras.applications.vgg16.preprocess_input(ramp).tolist()]
"""

# %%
said, keras_vgg = measure.fresh_process(
    LISTING.replace("FOLDER", (scratch / "saved").as_posix())
).result
for how, answer in said.items():
    print(f"{how:<20} {answer}")

# %%
claim(
    "as written the call fails; with the shape that the network wants, it answers",
    said["as written"].startswith("TypeError")
    and said["8 × 8, one channel"].startswith("answers"),
    said["8 × 8, one channel"],
)

# %% [markdown]
# **Where this goes wrong.** A reloaded SavedModel is no function; its *signature* is, the entry that was kept with
# names and types. Then the batch axis is missing: a model expects many pictures, $(N, H, W, C)$, and one picture is
# `x[None]`. Then size and channels do not fit. Each of these errors cost a minute, because something refused.
#
# The last line is the expensive one. It *answers*. The picture was prepared by VGG's recipe, which fits the network
# VGG and no other, and nothing in the file could object. What does that recipe do? We write it down and hold it
# against what Keras computed in the other process.


# %%
def vgg(rgb):
    """VGG-16's preparation: channels in the order blue, green, red, minus their means."""
    return rgb[..., ::-1].astype(np.float32) - np.float32([103.939, 116.779, 123.68])


ramp = np.arange(48).reshape(4, 4, 3)
apart = np.abs(vgg(ramp) - np.array(keras_vgg)).max()
claim("our three-number version is Keras's", apart < 1e-4, f"apart by {apart:.0e}")

# %% [markdown]
# It turns the channels around and takes the mean colour of ImageNet's photographs away. It does not divide by
# anything. A difference between what was done to the data in training and what is done in the service is called
# *training–serving skew*. How much does it cost?
#
# ## What does the service receive?
#
# Not arrays of 8 × 8. Somebody photographs a form. We have no such photographs, so we make some, and say what they
# are: real handwriting (the validation and test digits), enlarged and drawn with a blue pen on cream paper with light
# red lines, 32 to 64 points high and wide, with the grain of a small camera.


# %%
PAPER, LINES, PEN = (np.array(c) for c in ([245, 240, 225], [236, 120, 96], [30, 50, 140]))


def smooth(size):  # (size, 8): each point is a mixture of the two cells that are nearest
    at = np.clip((np.arange(size)[:, None] + 0.5) * 8 / size - 0.5, 0, 7)
    return np.clip(1 - np.abs(at - np.arange(8)), 0, 1)


def photograph(digit, random, grain):
    height, width = random.integers(32, 65, 2)
    ink = (smooth(height) @ digit @ smooth(width).T)[..., None]  # (H, W, 1)
    form = np.tile(PAPER, (height, width, 1))  # (H, W, 3): red, green, blue, 0 to 255
    form[:: height // 4] = LINES
    form[:, :2] = form[:, -2:] = LINES
    noise = random.uniform(0, grain) * random.normal(size=form.shape)
    return np.clip(np.rint(form * (1 - ink) + PEN * ink + noise), 0, 255).astype(np.uint8)


# %%
def photographs(digits, seed, grain=30):
    random = np.random.default_rng(seed)
    return [photograph(digit, random, grain) for digit in digits]


# %%
train_part, test = data.digits()
_, validation = data.hold_out(train_part)
taken = photographs(test.images, seed=8)
figure, axes = plt.subplots(1, 8, figsize=(9, 1.5))
for axis, picture in zip(axes, taken):
    axis.imshow(picture)
    axis.set_title(f"{picture.shape[0]} × {picture.shape[1]}", fontsize="small", loc="center")
    axis.set_axis_off()
sizes = {picture.shape for picture in taken}
show.finding(
    f"450 photographs of forms, in {len(sizes)} different sizes, and all to become 8 × 8",
    alt="Eight handwritten digits in blue on cream paper with light red lines and a red frame, "
    "each of another size",
)

# %% [markdown]
# Why red lines? It is an old trick of printed forms. Through a red filter, red lines look as bright as paper, and blue
# ink looks black. The *red channel* of a colour picture is that filter, so the lines drop out:
#
# $$\text{ink} = \operatorname{clip}\bigl((230 - \text{red}) / 200,\; 0,\; 1\bigr).$$
#
# Paper (red 245) and lines (236) give 0; the pen (30) gives 1. Now to the size. The training data were made by
# counting black points in equal blocks, so we must average over blocks too, also where 8 does not divide the height.
# Let row $i$ of the small picture cover the strip from $iH/8$ to $(i+1)H/8$ of the large one, and point $y$ the strip
# from $y$ to $y+1$. The weight of $y$ in row $i$ is the share of the strip that it fills:
#
# $$(A_H)_{iy} = \frac{8}{H}\,\Bigl|\,\bigl[\tfrac{iH}{8}, \tfrac{(i+1)H}{8}\bigr] \cap [y, y+1]\,\Bigr|, \qquad A_H \in \mathbb{R}^{8 \times H}.$$
#
# Averaging over rows is $A_H X$ with $X \in \mathbb{R}^{H \times W}$ the ink, averaging over columns the same from the
# right, and the whole resize is two matrix products: $A_H\,X\,A_W^\top \in \mathbb{R}^{8 \times 8}$.


# %%
def block_weights(size):  # (8, size), every row adds up to 1
    start, y = np.arange(8)[:, None] * size / 8, np.arange(size)
    shared = np.minimum(start + size / 8, y + 1) - np.maximum(start, y)
    return np.maximum(shared, 0) * 8 / size


def average(ink):  # (H, W) to (8, 8)
    return block_weights(ink.shape[0]) @ ink @ block_weights(ink.shape[1]).T


def ink_of(rgb):  # (H, W, 3) to (H, W)
    return np.clip((230.0 - rgb[..., 0]) / 200.0, 0, 1)


# %%
from PIL import Image

square = np.random.default_rng(0).random((64, 64), dtype=np.float32)
odd = np.random.default_rng(1).random((37, 53))
by_pillow = np.asarray(Image.fromarray(square).resize((8, 8), Image.Resampling.BOX))
by_repeating = odd.repeat(8, axis=0).repeat(8, axis=1).reshape(8, 37, 8, 53).mean(axis=(1, 3))
apart = [np.abs(average(square) - by_pillow).max(), np.abs(average(odd) - by_repeating).max()]

# %%
claim(
    "the formula agrees with Pillow's box filter, and for 37 × 53 with a count of its own",
    max(apart) < 1e-6,
    f"apart by {apart[0]:.0e} and {apart[1]:.0e}",
)

# %% [markdown]
# (The second reference repeats each point 8 times in both directions, so that 8 divides everything, and takes plain
# means.) Now the four steps stand together, as one would write them in a service:

# %%
session = onnxruntime.InferenceSession(models.path("digits_cnn", 3))  # load


def prepared(rgb):  # preprocess
    return average(ink_of(rgb))


def run(pixels):  # run
    batch = np.array(pixels, dtype=np.float32).reshape(-1, 1, 8, 8)
    return session.run(["logits"], {"pixels": batch})[0]


def softmax(logits):  # postprocess
    weight = np.exp(logits - logits.max(axis=1, keepdims=True))
    return weight / weight.sum(axis=1, keepdims=True)


# %%
def measured(pixels, labels=test.labels):
    """How many answers are right, and how sure the answers are on average."""
    probabilities = softmax(run(pixels))
    return int((probabilities.argmax(axis=1) == labels).sum()), probabilities.max(axis=1).mean()


scans, scans_sure = measured(test.images)
right, sure = measured([prepared(picture) for picture in taken])

# %%
claim(
    "of the photographs at least 97 % are read, nearly as many as of the scans",
    right >= 0.97 * 450 and right >= scans - 9,
    f"{right} and {scans} of 450",
)

# %% [markdown]
# ## What would you notice?
#
# Two skews, on two real photographs that ship with scikit-learn. On the left the file as it is;
# then its channels in the order blue, green, red, as OpenCV reads files; then shrunk by keeping every sixteenth point,
# and by averaging blocks of 16 × 16.

# %%
from sklearn.datasets import load_sample_images

figure, axes = plt.subplots(2, 4, figsize=(9, 3.5))
for row, photo in zip(axes, load_sample_images().images):
    blocks = photo[:416, :640].reshape(26, 16, 40, 16, 3)
    blurred = blocks.mean(axis=(1, 3)).astype(np.uint8)
    for axis, shown in zip(
        row, (photo[::2, ::2], photo[::2, ::2, ::-1], blocks[:, 8, :, 8], blurred)
    ):
        axis.imshow(shown)
        axis.set_axis_off()
for axis, name in zip(
    axes[0], ("as it is", "red and blue swapped", "every 16th point", "averaged")
):
    axis.set_title(name, fontsize="small", loc="center")
show.finding(
    "A person sees swapped channels at once; the service has no eyes",
    alt="A Chinese temple and a flower, four times each: as photographed; with red and blue "
    "swapped, so that colours "
    "are plainly wrong; shrunk to 26 by 40 points by skipping, ragged; and shrunk by averaging, "
    "smooth",
)

# %% [markdown]
# Could a program tell the second picture from the first?

# %%
flower = load_sample_images().images[1]
swapped = flower[..., ::-1]
claim(
    "shape, dtype, and even the count of every value are the same in both",
    flower.shape == swapped.shape
    and flower.dtype == swapped.dtype
    and np.array_equal(np.bincount(flower.ravel()), np.bincount(swapped.ravel())),
    f"{swapped.shape}, {swapped.dtype}, {swapped.min()} to {swapped.max()}",
)

# %% [markdown]
# No check of type, shape or range can find it.
#
# ## Which mistake costs how much?
#
# Here is our preparation, and eight that differ from it by what somebody could write on a busy day. Before you run the
# cell: put them in order. Which one costs nothing? Which one is worst? And which would you find by watching how sure
# the network is?


# %%
def nearest(ink):  # keep one point of each block and drop the rest
    height, width = ink.shape
    return ink[np.arange(8) * height // 8][:, np.arange(8) * width // 8]


# %%
GREY = [0.299, 0.587, 0.114]  # the usual weights of red, green and blue
pipelines = {
    "as in training": prepared,
    "resize: nearest point": lambda rgb: nearest(ink_of(rgb)),
    "red and blue swapped": lambda rgb: average(ink_of(rgb[..., ::-1])),
    "grey instead of red": lambda rgb: average(np.clip((230 - rgb @ GREY) / 200, 0, 1)),
    "0 to 255, not divided": lambda rgb: 255 * prepared(rgb),
    "divided twice": lambda rgb: prepared(rgb) / 255,
    "light on dark": lambda rgb: 1 - prepared(rgb),
    "rows and columns swapped": lambda rgb: prepared(rgb).T,
    "VGG's recipe": lambda rgb: average(vgg(rgb)[..., 0]),
}  # fmt: skip
cost = {name: measured([pipe(rgb) for rgb in taken]) for name, pipe in pipelines.items()}

# %%
names = sorted(cost, key=lambda name: cost[name][0])
for y, name in enumerate(names):
    count, sure = cost[name]
    low, high = measure.wilson(count, 450)  # derived in lesson 04
    plt.plot([100 * low, 100 * high], [y, y], color=show.SKY, lw=7, solid_capstyle="butt")
    plt.plot(
        100 * count / 450,
        y,
        "o",
        color=show.BLUE,
        label="answers that are right" if y == 0 else None,
    )
    plt.plot(
        100 * sure, y, "D", color=show.ORANGE, label="how sure the answers are" if y == 0 else None
    )
plt.axvline(10, color=show.GREY, ls=":", label="a blind guess")
plt.yticks(range(len(names)), names)
plt.xlim(left=0)
plt.xlabel("% of 450 photographs, with 95 % intervals; mean of the largest softmax (%)")
plt.legend(loc="lower center", bbox_to_anchor=(0.4, -0.42), ncols=3)
surer = [n for n in names if cost[n][0] < 0.5 * 450 and cost[n][1] > 0.7]
show.finding(
    f"{len(surer)} of 8 mistakes spoil half of the answers or more, with the network above 70 % "
    "sure",
    alt="Share of right answers and mean largest softmax by pipeline: "
    + "; ".join(f"{n} {cost[n][0] / 4.5:.0f} %, sure {100 * cost[n][1]:.0f} %" for n in names),
)

# %%
share = {name: count / 450 for name, (count, _) in cost.items()}
claim(
    "VGG's recipe on our network leaves fewer than a quarter of the answers right, and the "
    "network more than 95 % sure, surer than with the right preparation",
    share["VGG's recipe"] < 0.25
    and cost["VGG's recipe"][1] > max(0.95, cost["as in training"][1]),
    "{:.1%} right, {:.1%} sure".format(share["VGG's recipe"], cost["VGG's recipe"][1]),
)

# %%
claim(
    "grey in place of red costs less than three points: not every difference is a disaster",
    share["as in training"] - share["grey instead of red"] < 0.03,
    f"{share['grey instead of red']:.1%} instead of {share['as in training']:.1%}",
)

# %%
undivided = cost["0 to 255, not divided"]
claim(
    "without the division most answers are still right, and the network is sure of all of them",
    0.5 < undivided[0] / 450 < share["as in training"] and undivided[1] > 0.99,
    f"{undivided[0]} of 450 right, {undivided[1]:.2%} sure",
)

# %% [markdown]
# Did you put the missing division last? It is the mistake that everybody knows, and here it is one of the milder. The
# reason can be computed. Convolution, ReLU and maximum all satisfy $f(cx) = c\,f(x)$ for $c > 0$. Only the biases
# break it: a layer $Wx + b$ at $cx$ gives $c\,(Wx + b/c)$, and so on through all layers. Hence, for the whole network,
#
# $$f_b(255\,x) = 255\, f_{b/255}(x):$$
#
# 255 times the logits of the same network with almost no biases. The factor changes no ranking, but it drives the
# softmax to 100 %. We divide the biases in the file and look:

# %%
weaker = onnx.load(models.path("digits_cnn", 3))
for tensor in weaker.graph.initializer:
    values = onnx.numpy_helper.to_array(tensor)
    if values.ndim == 1 and values.dtype == np.float32:  # the biases
        tensor.CopyFrom(onnx.numpy_helper.from_array(values / 255, tensor.name))
unbiased = onnxruntime.InferenceSession(weaker.SerializeToString())
pixels = np.array([prepared(rgb) for rgb in taken], np.float32)[:, None]
small_biases = 255 * unbiased.run(["logits"], {"pixels": pixels})[0]
relative = np.abs(run(255 * pixels) - small_biases).max() / np.abs(small_biases).max()

# %%
claim(
    "the two sides agree to float32's rounding",
    relative < 1e-5,
    f"relative difference {relative:.0e}",
)

# %% [markdown]
# So accuracy on a sample may look almost healthy while every probability is worthless. And the other way round: a
# dashboard that shows how sure the network is finds some of these mistakes, and prefers VGG's recipe to the right
# preparation. Skew has to be made impossible, or found by inputs whose answer is known. Both follow. First the fourth
# step.
#
# ## When should the service say "I do not know"?
#
# By daylight the photographs are easy. In the evening the grain grows. We photograph the forms again, up to almost
# seven times as grainy, four times each.


# %%
def evening(part, seed):
    pictures = photographs(np.repeat(part.images, 4, axis=0), seed, grain=200)
    return run([prepared(rgb) for rgb in pictures]), np.repeat(part.labels, 4)


logits_v, labels_v = evening(validation, seed=1)
logits_t, labels_t = evening(test, seed=2)
answers = logits_t.argmax(axis=1)
hits = answers == labels_t

# %%
claim("in the evening fewer than 90 % are read", hits.mean() < 0.9, f"{hits.mean():.1%} of 1,800")

# %% [markdown]
# Suppose that a person who reads a form costs 1 (call it a minute), and an answer that is wrong costs 5: somebody has
# to find and undo it. Let $p$ be the probability that the answer is right. To answer costs $5\,(1-p)$ on average, to
# ask costs 1. Answering is cheaper when
#
# $$c_{wrong}\,(1 - p) < c_{ask} \;\Longleftrightarrow\; p > 1 - \frac{c_{ask}}{c_{wrong}} = 0.8 .$$
#
# This is Chow's rule. It needs no search, but it takes $p$ at its word: a claimed 80 % must be right four times in
# five. So calibrate first. As in lesson 04, one number $T$ divides the logits, chosen to make the loss on validation
# data smallest. On *which* validation data? We try two: the scans that the network was validated on, and evening
# photographs.


# %%
def loss(logits, labels):
    z = logits - logits.max(axis=1, keepdims=True)
    return (np.log(np.exp(z).sum(axis=1)) - z[np.arange(len(z)), labels]).mean()


def temperature(logits, labels):
    return float(min(np.geomspace(0.2, 5, 161), key=lambda T: loss(logits / T, labels)))


T_scans = temperature(run(validation.images), validation.labels)
T_evening = temperature(logits_v, labels_v)
claimed = {T: softmax(logits_t / T).max(axis=1) for T in (T_scans, 1.0, T_evening)}

# %%
show.table(
    ["temperature", "claimed on average", "right"],
    [[f"{T:.2f}", f"{p.mean():.1%}", f"{hits.mean():.1%}"] for T, p in claimed.items()],
)

# %%
gap = {T: abs(p.mean() - hits.mean()) for T, p in claimed.items()}

# %%
claim(
    "calibrated on scans, the network overstates itself in the evening; calibrated there, by less "
    "than half as much",
    T_scans < 1 < T_evening
    and claimed[T_scans].mean() > hits.mean()
    and gap[T_evening] < gap[T_scans] / 2,
    f"{100 * gap[T_scans]:.1f} and {100 * gap[T_evening]:.1f} points off",
)

# %% [markdown]
# Calibration belongs to the model *and* to the light. The temperature from the scans goes the wrong way: it makes
# answers surer that should be less sure. A *reliability diagram* shows where; beside it what it costs to answer at any
# threshold.


# %%
def cost_at(p, threshold, wrong=5.0, ask=1.0):
    answered = p > threshold
    return float((wrong * (answered & ~hits) + ask * ~answered).mean())


# %%
groups, lines = [], []
for T, name, colour, mark in (
    (T_scans, "scans", show.ORANGE, "D"),
    (T_evening, "evening photographs", show.BLUE, "o"),
):
    p = claimed[T]
    for group in np.array_split(np.argsort(p), 8):  # eight groups of 225, the least sure first
        low, high = measure.wilson(hits[group].sum(), len(group))
        groups.append([colour, mark, p[group].mean(), hits[group].mean(), low, high])
    lines.append([colour, mark, f"calibrated on {name}", p])

# %%
grid = np.linspace(0, 1, 201)
figure, (left, right_side) = plt.subplots(1, 2, figsize=(9, 3.6))
left.plot([0, 100], [0, 100], color=show.GREY, ls=":", label="as claimed")
for colour, mark, claims, share_right, low, high in groups:
    left.plot([100 * claims] * 2, [100 * low, 100 * high], color=colour, lw=2)
    left.plot(100 * claims, 100 * share_right, mark, color=colour)
for colour, mark, name, p in lines:
    left.plot([], [], mark, color=colour, label=name)
    right_side.plot(grid, [cost_at(p, t) for t in grid], color=colour)
    right_side.plot(0.8, cost_at(p, 0.8), mark, color=colour)
left.set(xlabel="claimed (%)", ylabel="right (%)")
left.legend(fontsize="small", loc="lower right")
right_side.axhline(1, color=show.GREY, ls="--", label="always ask")
right_side.axvline(0.8, color=show.GREY, ls=":")
right_side.set(
    xlabel="answer above this softmax; dotted: Chow's rule", ylabel="cost for each form (minutes)"
)
right_side.legend(fontsize="small", loc="lower left")
show.finding(
    "Calibrated where it works, Chow's rule lands near the lowest cost; calibrated elsewhere, "
    "it does not",
    alt="Left: share of right answers against claimed confidence in eight groups; calibrated on "
    "scans, diamonds, most lie below the diagonal; calibrated on evening photographs, circles, "
    "nearer to it. Right: cost against threshold; at 0.8 it is "
    f"{cost_at(claimed[T_scans], 0.8):.2f} minutes for scans, "
    f"{cost_at(claimed[T_evening], 0.8):.2f} for evening photographs",
)

# %%
costs = {T: cost_at(p, 0.8) for T, p in claimed.items()}
best = min(cost_at(claimed[T_evening], t) for t in grid)
best_scans = min(cost_at(claimed[T_scans], t) for t in grid)

# %%
claim(
    "calibrated in the evening, the rule costs less than always asking, always answering, and the "
    "other calibration, and at most a tenth more than the best threshold",
    costs[T_evening] < min(1, 5 * (1 - hits.mean()), costs[T_scans])
    and costs[T_evening] < 1.1 * best,
    f"{costs[T_evening]:.2f}; 1, {5 * (1 - hits.mean()):.2f}, {costs[T_scans]:.2f}; best "
    f"{best:.2f} minutes",
)

# %%
claim(
    "calibrated on scans, the same rule costs at least a fifth more than that model's best "
    "threshold",
    costs[T_scans] > 1.2 * best_scans,
    f"{costs[T_scans]:.2f} against {best_scans:.2f} minutes",
)

# %% [markdown]
# A search for the best threshold would have found the dip of the orange curve as well, on data like these. The rule
# needs no search, and when the price changes the threshold follows. But one number cannot mend everything:

# %%
_, _, said_so, was_right, low, high = groups[-3]  # the evening's groups come last
claim(
    "calibrated on the evening, its third surest group is right more often than it claims",
    said_so < low,
    f"claimed {said_so:.1%}, right {was_right:.1%} ({low:.1%} to {high:.1%})",
)


# %% [markdown]
# What does abstaining buy? Sort the answers from sure to doubtful, give only the first so many of them, and count
# mistakes among those. Share given against share wrong is the *risk–coverage curve*.

# %%
order = np.argsort(-claimed[T_evening], kind="stable")
given = np.arange(1, len(order) + 1)
risk = np.cumsum(~hits[order]) / given
plt.plot(100 * given[89:] / len(order), 100 * risk[89:], color=show.BLUE, label="the surest first")
plt.axhline(100 * (1 - hits.mean()), color=show.GREY, ls="--", label="in random order")
chow = int((claimed[T_evening] > 0.8).sum())
plt.plot(
    100 * chow / len(order),
    100 * risk[chow - 1],
    "o",
    ms=9,
    color=show.BLUE,
    label="Chow's rule, 0.8",
)
plt.xlabel("photographs that are answered (%)")
plt.ylabel("wrong among the answered (%)")
plt.ylim(bottom=0)
plt.legend(loc="upper left", bbox_to_anchor=(0, 0.85))
show.finding(
    f"Answering {chow / 18:.0f} % of the evening's photographs brings the mistakes from "
    f"{100 * (1 - hits.mean()):.0f} to "
    f"{100 * risk[chow - 1]:.0f} % of the answers",
    alt="Share of wrong answers by share of photographs answered: it rises to "
    f"{100 * (1 - hits.mean()):.0f} % at 100 %; at "
    f"Chow's threshold {chow / 18:.0f} % are answered and {100 * risk[chow - 1]:.1f} % of these "
    "are wrong",
)

# %%
claim(
    "at Chow's threshold the share of mistakes among the answers is less than half of that "
    "without",
    risk[chow - 1] < (1 - hits.mean()) / 2,
    f"{risk[chow - 1]:.1%} against {1 - hits.mean():.1%}",
)

# %% [markdown]
# ## Can preparation travel with the model?
#
# Each skew of the big figure needs the same thing: a second program that prepares the data in its own way. So let
# there be only one. Everything from the photograph's points to the probabilities goes into the ONNX file, and every
# caller, in whatever language, sends bytes. ONNX has a text form that the `onnx` package reads. This is our
# preparation, line by line; `weights` is the matrix $A$ from above, as a function of its own, because it is needed
# twice.

# %%
HEAD = '<ir_version: {ir}, opset_import: ["" : {opset}, "course" : 1]>'
PREPARE = """
prepare (uint8[N, H, W, 3] rgb) => (float[N, 1, 8, 8] pixels_made)
<int64 first = {0}, int64 one = {1}, int64 two = {2}, int64[1] channel_axis = {1},
 float paper = {230}, float span = {200}, float none = {0}, float full = {1}>
{
  size = Shape (rgb)
  height = Gather (size, one)
  width = Gather (size, two)
  red = Gather <axis = 3> (rgb, first)
  bright = Cast <to = 1> (red)
  below = Sub (paper, bright)
  scaled = Div (below, span)
  ink = Clip (scaled, none, full)
  down = course.weights (height)
  across = course.weights (width)
  right = Transpose <perm = [1, 0]> (across)
  rows = MatMul (down, ink)
  small = MatMul (rows, right)
  pixels_made = Unsqueeze (small, channel_axis)
}
"""

# %%
WEIGHTS = """
<domain: "course", opset_import: ["" : {opset}]>
weights (size) => (A)
{{
  zero = Constant <value = int64 {{0}}> ()
  step = Constant <value = int64 {{1}}> ()
  points = Range (zero, size, step)
  y = Cast <to = 1> (points)
  eighths = Constant <value = float[8, 1] {{0, 1, 2, 3, 4, 5, 6, 7}}> ()
  eight = Constant <value_float = 8.0> ()
  length = Cast <to = 1> (size)
  strip = Div (length, eight)
  start = Mul (eighths, strip)
  end = Add (start, strip)
  unit = Constant <value_float = 1.0> ()
  next = Add (y, unit)
  low = Max (start, y)
  high = Min (end, next)
  shared = Sub (high, low)
  nothing = Constant <value_float = 0.0> ()
  covered = Max (shared, nothing)
  A = Div (covered, strip)
}}
"""

# %% [markdown]
# The network in the middle comes from its file. Behind it two operators: divide by the temperature, softmax.
# `onnx.compose.merge_models` joins graphs where an output of one becomes an input of the next. They must agree on the
# *operator set*, the numbered version of what each operator means, and on the *IR version*, that of the file format
# (lesson 06), so we take the network's.

# %%
network = onnx.load(models.path("digits_cnn", 3))
OPSET = max(each.version for each in network.opset_import if each.domain == "")


def graph(text):
    head = HEAD.format(ir=network.ir_version, opset=OPSET)
    return onnx.parser.parse_model(head + text)


# %%
FINISH = """
finish (float[N, 10] logits_in) => (float[N, 10] probabilities)
<float temperature = {%r}> {
  divided = Div (logits_in, temperature)
  probabilities = Softmax <axis = 1> (divided)
}
"""


# %%
def with_everything(T):
    before = graph(PREPARE + WEIGHTS.format(opset=OPSET))
    both = onnx.compose.merge_models(before, network, io_map=[("pixels_made", "pixels")])
    whole = onnx.compose.merge_models(both, graph(FINISH % T), io_map=[("logits", "logits_in")])
    onnx.checker.check_model(whole)
    return whole


onnx.save(with_everything(T_evening), scratch / "model.onnx")
everything = onnxruntime.InferenceSession(scratch / "model.onnx")
for tensor in (*everything.get_inputs(), *everything.get_outputs()):
    print(tensor.name, tensor.type, tensor.shape)

# %% [markdown]
# Does the file compute what the code computed? Conversion is a claim like any other: parity, on all 450 photographs,
# each in its own size.


# %%
def by_file(rgb):
    return everything.run(["probabilities"], {"rgb": rgb[None]})[0][0]


in_code = softmax(run([prepared(rgb) for rgb in taken]) / T_evening)
in_file = np.array([by_file(rgb) for rgb in taken])
parity = measure.parity(in_code, in_file)

# %%
claim(
    "code and file agree: every class, and every probability to a ten-thousandth",
    parity.agreement == 1 and parity.max_abs_diff < 1e-4,
    parity,
)

# %% [markdown]
# The temperature is the evening's. By daylight, where the same file is used, it makes the answers too modest:

# %%
daylight = in_file.max(axis=1).mean(), (in_file.argmax(axis=1) == test.labels).mean()
claim(
    "by daylight the file claims less than it achieves",
    daylight[0] < daylight[1],
    f"claimed {daylight[0]:.1%}, right {daylight[1]:.1%}",
)

# %% [markdown]
# Too modest costs questions, too sure costs mistakes. Which is worse, the prices say.
#
# ## What may come in?
#
# A file that takes bytes still takes the wrong bytes. A *contract* says what goes in and out, in terms that a program
# can check: name, dtype, shape, range, and a sentence for people on what the numbers mean. The smallest useful one:

# %%
CONTRACT = {"dtype": "uint8", "shape": (1, None, None, 3), "meaning": "red, green, blue, 0 to 255"}


def problem(value):
    meaning = CONTRACT["meaning"]
    if value.dtype != CONTRACT["dtype"]:
        return f"expected {CONTRACT['dtype']}, got {value.dtype}. Send {meaning}"
    if len(value.shape) != 4 or any(
        w not in (None, g) for w, g in zip(CONTRACT["shape"], value.shape)
    ):
        return f"expected the shape {CONTRACT['shape']}, got {value.shape}. Send {meaning}"
    return "none"


# %%
for sent in (taken[0][None], taken[0][None] / 255, taken[0]):
    print(problem(sent))

# %% [markdown]
# Expected, got, what to do: three parts that save the caller a night. `course_lib/pipeline.py` has the same idea for
# any model. A `Field` is one input or output, a `Contract` holds fields, labels, version, the file's checksum and one
# example with its answer, and a `Pipeline` is a file behind a contract. This is what happens at a call:

# %%
import inspect

from course_lib.pipeline import Broken, Contract, Field, Pipeline, Refused, checksum

print(inspect.getsource(Pipeline.__call__))

# %% [markdown]
# Inputs are checked before the model, outputs after it. `Refused` is the caller's mistake, `Broken` the service's own;
# a server has to tell one from the other. At the start `Pipeline` does three things more. It compares the file's
# checksum with the contract's, compares names, types and labels with the graph, and answers the example. If one of
# these does not fit, it does not start: better no service than a wrong one. In a shape, `-32` means "32 or more", and
# `most` is how many numbers may come at once.

# %%
RGB = Field(
    "rgb",
    "uint8",
    (-1, -32, -32, 3),
    "photographs of one size, as bytes 0 to 255: picture, row from the top, column, red green "
    "blue",
    most=4096 * 4096 * 3,
)
PROBABILITIES = Field("probabilities", "float32", (-1, 10), "one for each digit", 0, 1)


def contract_for(file, name, inputs, outputs, labels=(), prepare=None, **example):
    """A contract for a file as it is now: its checksum, and its own answer to the example."""
    bare = Contract(name, 1, checksum(file), inputs, outputs, tuple(labels))
    answer = Pipeline(file, bare, prepare)(**example)
    plain = {
        key: value if isinstance(value, list) else value.tolist() for key, value in example.items()
    }
    shown = {key: value.tolist() for key, value in answer.items()}
    return Contract(**{**vars(bare), "example": {"inputs": plain, "outputs": shown}})


# %%
known = photograph(
    test.images[0], np.random.default_rng(3), grain=0
)  # a picture whose answer is known
agreed = contract_for(
    scratch / "model.onnx",
    "digits_pipeline",
    (RGB,),
    (PROBABILITIES,),
    "0123456789",
    rgb=known[None],
)
contract = scratch / "contract.json"
contract.write_text(agreed.to_json(), encoding="utf-8", newline="\n")  # the same bytes everywhere
reread = Contract.from_json(contract.read_text(encoding="utf-8"))
digits = Pipeline(scratch / "model.onnx", reread)

# %%
claim(
    "written as JSON and read again, it is the same contract",
    reread == agreed,
    f"{agreed.sha256[:12]}…",
)

# %% [markdown]
# Pictures come in many forms. Which of these does the pipeline take?

# %%
rgb = taken[0]
forms = {
    "bytes, red green blue": rgb[None],
    "bytes, blue green red": rgb[None, :, :, ::-1],
    "bytes with transparency": np.dstack([rgb, np.full(rgb.shape[:2], 255, np.uint8)])[None],
    "bytes, grey": rgb.mean(axis=2).astype(np.uint8)[None],
    "numbers from 0 to 1": (rgb / 255).astype(np.float32)[None],
    "channels first": rgb.transpose(2, 0, 1)[None],
    "one picture, no batch": rgb,
    "8 × 8, shrunk by the caller": np.stack([nearest(c) for c in rgb.transpose(2, 0, 1)], -1)[
        None
    ],
    "40,000 × 40,000 points": np.broadcast_to(np.uint8(255), (1, 40_000, 40_000, 3)),
    "a list": rgb.tolist(),
}


def told(pipeline, **inputs):
    try:
        return f"{pipeline(**inputs)[pipeline.contract.outputs[0].name].argmax():d}"
    except Refused as refused:
        return str(refused).partition("inputs. ")[2].partition(". Send")[0]


# %%
show.table(
    ["what was sent", "answer"],
    [[name, told(digits, rgb=value)] for name, value in forms.items()],
    f"a photograph of a {test.labels[0]}",
)

# %%
taken_in = [name for name, value in forms.items() if told(digits, rgb=value).isdigit()]
claim(
    "it takes two of ten forms, the right one and the one that no check can tell from it",
    taken_in == ["bytes, red green blue", "bytes, blue green red"],
    ", ".join(taken_in),
)

# %% [markdown]
# Everything that differs in dtype, shape or size is refused with its reason. The last row but one matters to whoever
# pays for the memory: an all-white picture of that size is a small file until it is unpacked, and then 4.8 GB. Only
# `most` stops it, and it does so before anything is computed. (Here NumPy only pretends: every point is the same
# byte.)
#
# For the rest, the caller, who knows what the picture is, mends it in a line:

# %%
mended = {
    "bytes, blue green red": lambda value: value[..., ::-1],
    "bytes with transparency": lambda value: value[..., :3],  # only where nothing shows through
    "numbers from 0 to 1": lambda value: np.rint(255 * value).astype(np.uint8),
    "channels first": lambda value: value.transpose(0, 2, 3, 1),
    "one picture, no batch": lambda value: value[None],
    "a list": lambda value: np.array(value, np.uint8)[None],
}
expected = digits(rgb=rgb[None])["probabilities"]
equal = [
    np.array_equal(digits(rgb=line(forms[name]))["probabilities"], expected)
    for name, line in mended.items()
]

# %%
claim(
    "mended, all six give the first one's probabilities to the last bit",
    all(equal),
    f"{sum(equal)} of {len(mended)}",
)

# %% [markdown]
# Two cannot be mended. A grey picture has no red channel any more, and a shrunk one no blocks to average: something
# was lost, and no conversion brings it back. (Exercise 08.1 does the mending for every form, with care.)
#
# The swapped channels were *taken*. So repeat the big experiment against the contract: the same mistakes, made by a
# caller.

# %%
mistakes = {
    "as in training": lambda rgb: rgb,
    "resize: nearest point": lambda rgb: rgb[:: rgb.shape[0] // 8, :: rgb.shape[1] // 8],
    "red and blue swapped": lambda rgb: rgb[..., ::-1],
    "grey instead of red": lambda rgb: np.rint(rgb @ GREY).astype(np.uint8),
    "0 to 255, not divided": lambda rgb: rgb,
    "divided twice": lambda rgb: (rgb / 255).astype(np.float32),
    "light on dark": lambda rgb: 255 - rgb,
    "rows and columns swapped": lambda rgb: rgb.transpose(1, 0, 2),
    "VGG's recipe": vgg,
}
rows, after = [], {}
for name, made in mistakes.items():
    try:
        answers_now = [digits(rgb=made(rgb)[None])["probabilities"].argmax() for rgb in taken]
        after[name] = float((np.array(answers_now) == test.labels).mean())
    except Refused:
        after[name] = None
    rows.append(
        [name, f"{share[name]:.1%}", "refused" if after[name] is None else f"{after[name]:.1%}"]
    )

# %%
show.table(
    ["the caller's mistake", "right, prepared by the caller", "right, behind the contract"], rows
)

# %%
harmed = [name for name, now in after.items() if now is not None and now < 0.9]
claim(
    "behind the contract five of eight mistakes are refused or have nothing left to spoil; three "
    "remain",
    harmed == ["red and blue swapped", "light on dark", "rows and columns swapped"],
    ", ".join(harmed),
)

# %% [markdown]
# "Not divided" no longer exists: there is no division left for a caller to forget. What remains are mistakes about
# *meaning*, which look like data. Phones, for one, write into a photograph how it is to be turned; a program that
# skips this mark sends rows as columns.
#
# The last guard is the example in the contract. Send the known picture the way that real pictures go, through the
# caller's own code, and compare with the known answer:

# %%
promised = np.array(agreed.example["outputs"]["probabilities"])[0]
rows, differences = [], {}
for name, pipe in pipelines.items():
    got = softmax(run([pipe(known)]) / T_evening)[0]
    differences[name] = float(np.abs(got - promised).max())
    rows.append([name, f"{got.argmax()}", f"{differences[name]:.1e}"])
show.table(["pipeline", "answer", "largest difference from what the contract promises"], rows)

# %%
found = [d for name, d in differences.items() if name != "as in training"]
claim(
    "one known picture finds all eight mistakes, also those that leave its answer right",
    differences["as in training"] < 1e-3 < min(found),
    f"differences from {min(found):.1e}; without a mistake {differences['as in training']:.0e}",
)

# %% [markdown]
# Compare the *numbers*, not the class. Send it at every start and after every release.

# %% [markdown]
# ## Does a diagnosis fit the same contract?
#
# The course is not only about pictures. scikit-learn ships 569 real biopsies: 30 measurements of the cell nuclei in
# each, and whether the tumour was malignant. A *logistic regression* is one linear layer, whose sum $z$ a *sigmoid*,
# $1/(1 + e^{-z})$, makes a probability. In a table the order of the columns is what the order of channels is in a
# picture: invisible. So the graph takes each column *by its name*, as an input of its own, and puts them together
# itself.

# %%
from onnx import TensorProto, helper, numpy_helper
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import cross_val_predict, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

biopsies = load_breast_cancer()
malignant = (biopsies.target == 0).astype(int)  # the data say 0 for malignant
learn_x, held_x, learn_y, held_y = train_test_split(
    biopsies.data, malignant, test_size=190, stratify=malignant, random_state=0
)
diagnose = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(learn_x, learn_y)
print(biopsies.data.shape, f"of them malignant: {malignant.sum()}")


# %%
def linear_graph(columns, fitted, output, *last):
    """A fitted scaler and linear model as ONNX: columns by name (N, 1) to `output` (N, 1)."""
    scaler, model = fitted[0], fitted[-1]
    numbers = {"mean": scaler.mean_, "scale": scaler.scale_, "weights": model.coef_.reshape(-1, 1),
               "bias": np.atleast_1d(model.intercept_)}  # fmt: skip
    steps = [("Concat", columns, "together"), ("Sub", ["together", "mean"], "centred"),
             ("Div", ["centred", "scale"], "standard"),
             ("MatMul", ["standard", "weights"], "product"),
             ("Add", ["product", "bias"], "sum" if last else output)]  # fmt: skip
    steps += [(name, ["sum"], output) for name in last]
    nodes = [helper.make_node(op, list(takes), [gives], **({"axis": 1} if op == "Concat" else {}))
             for op, takes, gives in steps]  # fmt: skip

    def column(name):
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 1])

    constants = [numpy_helper.from_array(v.astype(np.float32), k) for k, v in numbers.items()]
    graph_ = helper.make_graph(
        nodes, "linear", [column(c) for c in columns], [column(output)], constants
    )
    opset = [helper.make_opsetid("", OPSET)]
    return helper.make_model(graph_, opset_imports=opset, ir_version=network.ir_version)


# %%
def columns_of(names, table):  # what a caller sends: each column by its name, float32 (N, 1)
    return {str(name): table[:, [i]].astype(np.float32) for i, name in enumerate(names)}


def limits(table, reach):  # the range seen in training, and `reach` times its width on both sides,
    # but never below 0: no measurement here can be negative
    low, high = table.min(axis=0), table.max(axis=0)
    return np.maximum(low - reach * (high - low), 0), high + reach * (high - low)


def measured_fields(names, table, units):
    return tuple(
        Field(str(name), "float32", (-1, 1), units, float(low), float(high))
        for name, low, high in zip(names, *limits(table, 1))
    )


# %%
def shipped(name, whole, inputs, output, **rest):
    file = scratch / f"{name}.onnx"
    onnx.checker.check_model(whole)
    onnx.save(whole, file)
    contract = contract_for(file, name, inputs, (output,), **rest)
    return Pipeline(file, contract, rest.get("prepare"))


# %% [markdown]
# How wide may a range be? The smallest and largest values of the training part seem natural. Count how many of the 190
# held-out patients, all real, would then be sent away, and how many with some room on both sides:

# %%
sent_away = {}
for room in (0, 0.5, 1):
    low, high = limits(learn_x, room)
    sent_away[room] = int(((held_x < low) | (held_x > high)).any(axis=1).sum())

# %%
claim(
    "the training range itself refuses more than one patient in twenty; with its whole width as "
    "room, nobody",
    sent_away[0] > 190 / 20 and sent_away[1] == 0,
    ", ".join(f"room {room}: {count} of 190" for room, count in sent_away.items()),
)

# %% [markdown]
# A range is there to catch another unit or another column, not a rare patient. Ours gets the wide form.

# %%
one = columns_of(biopsies.feature_names, held_x[:1])
tumours = shipped(
    "tumours",
    linear_graph(list(one), diagnose, "malignant", "Sigmoid"),
    measured_fields(
        biopsies.feature_names,
        learn_x,
        "one column for each measurement, as in the data's description",
    ),
    Field("malignant", "float32", (-1, 1), "the probability that the tumour is malignant", 0, 1),
    **one,
)
served = tumours(**columns_of(biopsies.feature_names, held_x))["malignant"][:, 0]
difference = np.abs(served - diagnose.predict_proba(held_x)[:, 1]).max()

# %%
claim("the file gives scikit-learn's probabilities", difference < 1e-5, f"{difference:.0e} apart")

# %% [markdown]
# **Where this goes wrong.** A caller sends one matrix, its columns sorted by name, as some table software does:

# %%
alphabetical = np.argsort(biopsies.feature_names)
plain = float(((served > 0.5) == held_y).mean())
sorted_columns = float((diagnose.predict(held_x[:, alphabetical]) == held_y).mean())
shuffled = {name: one[name] for name in sorted(one)}

# %%
claim(
    "as a matrix, sorted columns are at most two points better than never saying “malignant”; by "
    "name the order changes nothing",
    sorted_columns <= 1 - held_y.mean() + 0.02
    and np.array_equal(tumours(**shuffled)["malignant"], tumours(**one)["malignant"]),
    f"accuracy {plain:.1%}, with sorted columns {sorted_columns:.1%}; never malignant "
    f"{1 - held_y.mean():.1%}",
)

# %% [markdown]
# Where should the threshold lie? Suppose that a missed tumour does 20 times the harm of a false alarm. With $p$ the
# probability of a malignant tumour, to wave through costs $20\,p$ on average, to raise the alarm $1 - p$. Alarm is
# right when
#
# $$c_{miss}\; p \;\ge\; c_{alarm}\,(1 - p) \;\Longleftrightarrow\; p \;\ge\; \frac{c_{alarm}}{c_{alarm} + c_{miss}} = \frac{1}{21} .$$
#
# One in two is the answer only where both mistakes cost the same. (Real ratios come from doctors and patients, not
# from a notebook.) To have enough cases we predict every biopsy by a model that has not seen it, in ten rounds
# (*cross-validation*).

# %%
unseen = cross_val_predict(diagnose, biopsies.data, malignant, cv=10, method="predict_proba")[:, 1]


def harm(threshold, miss=20):
    missed = ((unseen < threshold) & (malignant == 1)).sum()
    return int(miss * missed + ((unseen >= threshold) & (malignant == 0)).sum())


# %%
at = 1 / 21
thresholds = np.geomspace(0.001, 0.999, 300)
plt.semilogx(100 * thresholds, [harm(t) for t in thresholds], color=show.BLUE)
marks = ((at, "from the costs", show.GREEN, "o"), (0.5, "one in two", show.RED, "s"))
for t, name, colour, mark in marks:
    plt.plot(100 * t, harm(t), mark, ms=9, color=colour, label=f"{name}: {harm(t)}")
plt.xlabel("alarm from this probability on (%, logarithmic)")
plt.ylabel("harm to 569 patients (false alarms)")
plt.ylim(0, 400)  # beyond, it rises to 20 for every tumour there is
plt.legend()
show.finding(
    f"The threshold from the costs does {harm(at)} false alarms' worth of harm, one in two "
    f"{harm(0.5)}",
    alt=f"Harm by threshold: {harm(0.001)} at 0.1 %, lowest at "
    f"{100 * min(thresholds, key=harm):.0f} %, then rising; {harm(at)} at the threshold from the "
    f"costs, {100 * at:.1f} %, and {harm(0.5)} at 50 %",
)

# %%
missed = {t: int(((unseen < t) & (malignant == 1)).sum()) for t in (at, 0.5)}
claim(
    "the threshold from the costs does less than three quarters of the harm, and misses fewer "
    "tumours",
    harm(at) < 0.75 * harm(0.5) and missed[at] < missed[0.5],
    f"misses {missed[at]} instead of {missed[0.5]} of {malignant.sum()}",
)

# %% [markdown]
# The threshold does not go into the file. A price changes more often than a model, and should not need a new one.
#
# ## And a number instead of a class?
#
# Lesson 02 began with squared error; here it is deployed. 442 diabetes patients, ten measurements each, and how far
# the disease had progressed after a year, a number that lies between 25 and 346 here. A *linear regression* is what
# least squared error gives.

# %%
patients = load_diabetes(scaled=False)
print(patients.data.shape, f"progression {patients.target.min():g} to {patients.target.max():g}")
fit_x, new_x, fit_y, new_y = train_test_split(
    patients.data, patients.target, test_size=142, random_state=0
)
regression = make_pipeline(StandardScaler(), LinearRegression()).fit(fit_x, fit_y)
one_patient = columns_of(patients.feature_names, new_x[:1])
diabetes = shipped(
    "diabetes",
    linear_graph(list(one_patient), regression, "progression"),
    measured_fields(
        patients.feature_names,
        fit_x,
        "one column for each measurement, in the unit it was taken in",
    ),
    Field("progression", "float32", (-1, 1), "progression after a year"),
    **one_patient,
)
predicted = diabetes(**columns_of(patients.feature_names, new_x))["progression"][:, 0]
squared = {"the service": (predicted - new_y) ** 2, "always the mean": (fit_y.mean() - new_y) ** 2}

# %%
claim(
    "the service's mean squared error is less than 0.75 of that of always answering the mean",
    squared["the service"].mean() < 0.75 * squared["always the mean"].mean(),
    f"{squared['the service'].mean():,.0f} against {squared['always the mean'].mean():,.0f}",
)

# %% [markdown]
# Its root, in the number's own unit, says how far a prediction is typically off. A number should come with its
# uncertainty, too: the postprocessing of a regression is an interval. One that assumes no bell curve: put 100 patients
# aside and sort their errors. If a new patient comes from the same population, the new error is as likely to take any
# of the 101 ranks among them as any other, so it is at most the 91st smallest with a chance of $91/101 > 90\,\%$.

# %%
calm_x, aside_x, calm_y, aside_y = train_test_split(fit_x, fit_y, test_size=100, random_state=1)
off = np.abs(
    make_pipeline(StandardScaler(), LinearRegression()).fit(calm_x, calm_y).predict(aside_x)
    - aside_y
)
reach = float(np.sort(off)[int(np.ceil(101 * 0.9)) - 1])  # the 91st smallest of 100
inside = float((np.abs(predicted - new_y) <= reach).mean())

# %%
claim(
    "between 80 and 97 % of the new patients lie within the interval that was made for 90 %",
    0.8 <= inside <= 0.97,
    f"{inside:.0%} within ± {reach:.0f}; root mean squared error "
    f"{np.sqrt(squared['the service'].mean()):.0f}",
)

# %% [markdown]
# **Where this goes wrong.** `load_diabetes()` without `scaled=False` hands out columns that were centred and scaled
# already, by constants that it does not give. A model trained on those is just as good in the notebook. Then the
# first real patient comes, with an age in years:

# %%
scaled = load_diabetes()
trap = LinearRegression().fit(scaled.data, scaled.target)
raw = LinearRegression().fit(patients.data, patients.target)
gap_here = np.abs(trap.predict(scaled.data) - raw.predict(patients.data)).max()
absurd = float(trap.predict(new_x[:1])[0])
claim(
    "in the notebook the trap predicts what a model of the raw columns does; for a real patient "
    "its answer lies far outside 25 to 346, and nothing raised",
    gap_here < 0.01 and abs(absurd) > 3460,
    f"{gap_here:.0e} apart; {absurd:,.0f}",
)

# %% [markdown]
# A contract with ranges catches it in the other direction: all 442 patients, sent in the scaled form to our service.

# %%
replies = [told(diabetes, **columns_of(patients.feature_names, row[None])) for row in scaled.data]
print(replies[0])
refusals = sum("expected" in reply for reply in replies)
claim("every scaled patient is refused", refusals == len(replies), f"{refusals} of {len(replies)}")

# %% [markdown]
# ## And text?
#
# In which language is an address written? Babel, a library that JupyterLab brings along, carries the names of
# countries and languages in hundreds of languages. From 12 of them we make short texts, four names each. A text
# becomes numbers by counting its *n-grams*, runs of one to three characters. There is no end of them, so each is
# thrown into one of 1,024 buckets by a *hash function*, a rule that makes a number of any text, the same text always
# the same number.

# %%
import unicodedata
import zlib

from babel import Locale

BUCKETS = 1024
LANGUAGES = "cs de en es fi fr it nl pl pt sv tr".split()


# %%
def grams(text):
    text = f" {unicodedata.normalize('NFC', text).casefold()} "
    return [text[i : i + n] for n in (1, 2, 3) for i in range(len(text) - n + 1)]


def bucket(gram):
    return zlib.crc32(gram.encode("utf-8")) % BUCKETS


def counted(texts, bucket=bucket, grams=grams):
    return np.array([np.bincount([bucket(g) for g in grams(t)], minlength=BUCKETS) for t in texts],
                    dtype=np.float32).reshape(-1, BUCKETS)  # fmt: skip


# %%
def names_in(language):
    locale = Locale.parse(language)
    return {**locale.territories, **{f"language {k}": v for k, v in locale.languages.items()}}


# %%
spoken = {language: names_in(language) for language in LANGUAGES}
codes, taken_names = [], set()
for code in sorted(set.intersection(*(set(names) for names in spoken.values()))):
    called = {(s, spoken[s][code].casefold()) for s in LANGUAGES}
    if not called & taken_names:  # Suomi and suomi, the country and the language, count once
        codes.append(code)
        taken_names |= called
codes = np.random.default_rng(0).permutation(codes)
new_codes, aside_codes, learn_codes = np.split(codes, [len(codes) // 4, len(codes) // 2])


# %%
def texts(codes, count, seed):
    random = np.random.default_rng(seed)
    return [", ".join(spoken[s][c] for c in random.choice(codes, 4, replace=False))
            for s in LANGUAGES for _ in range(count)]  # fmt: skip


# %%
new_texts, new_languages = texts(new_codes, 50, seed=1), np.repeat(np.arange(len(LANGUAGES)), 50)
for i in (60, 260, 460):
    print(f"{LANGUAGES[new_languages[i]]}: {new_texts[i]}")

# %% [markdown]
# Whole *countries and languages* are held out, not texts: a name that was learned never comes back (lesson 04's
# leakage). The model is *naive Bayes*, naive because it takes the n-grams of a text as independent of each other. All
# languages are taken to be as likely before a text is seen. Count each language's n-grams;
# $\log P(\text{text} \mid \text{language})$ is then the sum of the logarithms of its n-grams' shares. In matrices, with
# counts $n \in \mathbb{R}^{1024}$, the logits are $n\,W$, and column $l$ of $W$ holds the logarithms of language $l$. One
# product of matrices, and nothing to train by gradient.


# %%
def log_shares(bucket=bucket):
    rows = [counted([spoken[s][c] for c in learn_codes], bucket).sum(axis=0) for s in LANGUAGES]
    smoothed = np.array(rows) + 0.5  # no share may be 0: its logarithm would forbid the language
    return np.log(smoothed / smoothed.sum(axis=1, keepdims=True)).T.astype(np.float32)


W = log_shares()
scores = counted(new_texts) @ W
ranked = np.argsort(-scores, axis=1)
top = {k: float((ranked[:, :k] == new_languages[:, None]).any(axis=1).mean()) for k in (1, 2, 3)}

# %%
show.table(
    ["the right language is among the first", "of 600 texts"],
    [[k, f"{v:.1%}"] for k, v in top.items()],
)

# %%
claim(
    "the right language is first for more than 55 % of the texts, and among three for more than "
    "75 %",
    top[1] > 0.55 and top[3] > 0.75,
    f"{top[1]:.1%} and {top[3]:.1%}; by chance {1 / 12:.1%} and {3 / 12:.1%}",
)

# %% [markdown]
# Twelve languages, four names that were never seen: where one answer is too uncertain, a list of the *top k* is often
# what a person wants. Now the skew of text. `crc32` is a checksum that is the same in all programs. What if somebody
# had written Python's own `hash(gram)` instead? Python draws a new secret for it in every process, so that nobody can
# attack its dictionaries. Two processes, one for training and one for the service (with secrets that we choose, so
# that you see the same numbers):

# %%
import os

every_gram = sorted({g for s in LANGUAGES for name in spoken[s].values() for g in grams(name)}
                    | {g for text in new_texts for g in grams(text)})  # fmt: skip


def buckets_of_a_process(secret):
    before = os.environ.get("PYTHONHASHSEED")
    os.environ["PYTHONHASHSEED"] = str(secret)  # left alone, Python draws one
    try:
        code = f"result = [hash(g) % {BUCKETS} for g in {every_gram!r}]"
        return dict(zip(every_gram, measure.fresh_process(code).result))
    finally:
        os.environ.pop("PYTHONHASHSEED")
        if before is not None:
            os.environ["PYTHONHASHSEED"] = before


# %%
def read(counts, weights):
    return float(((counts @ weights).argmax(axis=1) == new_languages).mean())


# %%
monday, tuesday = buckets_of_a_process(1), buckets_of_a_process(2)
learned = log_shares(monday.get)


# %%
def as_it_comes(text):  # without normalisation
    text = f" {text.casefold()} "
    return [text[i : i + n] for n in (1, 2, 3) for i in range(len(text) - n + 1)]


# %%
apart = [unicodedata.normalize("NFD", text) for text in new_texts]  # é as e and an accent
outcomes = {
    "crc32, the contract's": read(counted(new_texts), W),
    "hash(), same process": read(counted(new_texts, monday.get), learned),
    "hash(), another process": read(counted(new_texts, tuesday.get), learned),
    "crc32, accents apart": read(counted(apart, grams=as_it_comes), W),
    "crc32, accents apart, normalised": read(counted(apart), W),
}

# %%
show.table(["how n-grams become buckets", "right"], [[k, f"{v:.1%}"] for k, v in outcomes.items()])

# %%
values = list(outcomes.values())

# %%
claim(
    "hash() comes within ten points in one process and below 20 % in the next; accents written "
    "apart cost some texts until both sides normalise",
    abs(values[1] - values[0]) < 0.1
    and values[2] < 0.2
    and values[3] < values[0] - 0.02
    and values[4] == values[0],
    ", ".join(f"{v:.1%}" for v in values),
)

# %% [markdown]
# A notebook would never have found it: there, training and service are one process. The other rows are quieter. "é"
# can be written as one character or as an "e" and an accent, which look the same and hash differently; older Macs keep
# file names in the second form. Hash, buckets, normalisation, n and the blank at both ends belong to the contract as
# much as the weights do.
#
# ONNX's own operators cannot hash, so this preparation stays in Python, and the `Pipeline` gets it as `prepare`. The
# example in the contract guards it: a start with another preparation is refused.


# %%
def prepare(text):
    return {"counts": counted(text)}


# %%
NAIVE_BAYES = """
languages (float[N, 1024] counts) => (float[N, 12] probabilities) <float temperature = {%r}> {
  logits = MatMul (counts, W)
  divided = Div (logits, temperature)
  probabilities = Softmax <axis = 1> (divided)
}
"""
aside_texts = texts(
    aside_codes, 50, seed=2
)  # of names that were neither learned nor are tested on
T_text = temperature(counted(aside_texts) @ W, new_languages)
bayes = graph(NAIVE_BAYES % T_text)
bayes.graph.initializer.append(numpy_helper.from_array(W, "W"))
languages = shipped(
    "languages",
    bayes,
    (Field("text", "str", (-1,), "texts, one for each answer", most=100_000),),
    Field("probabilities", "float32", (-1, 12), "one for each language", 0, 1),
    labels=LANGUAGES,
    prepare=prepare,
    text=["Mont Blanc"],
)

# %%
served_text = languages(text=new_texts)["probabilities"]
believed = float(served_text.max(axis=1).mean())
boasted = float(softmax(scores).max(axis=1).mean())

# %%
claim(
    "behind the contract the texts are read as before, and calibration removes more than half "
    "of the gap between claim and truth",
    np.array_equal(served_text.argmax(axis=1), ranked[:, 0])
    and abs(believed - top[1]) < abs(boasted - top[1]) / 2,
    f"claimed {boasted:.1%}, with T = {T_text:.1f} {believed:.1%}; right {top[1]:.1%}",
)

# %%
try:
    Pipeline(scratch / "languages.onnx", languages.contract,
             lambda text: {"counts": counted(text, bucket=lambda gram: tuesday.get(gram, 0))})  # fmt: skip
    started = True
except Broken as refused:
    started = False
    print(f"refused to start: {str(refused)[:150]}")
claim("with another hash in front of it, the pipeline does not start", not started, "refused")

# %% [markdown]
# And now something that no contract sees. The texts were names; a user writes sentences.

# %%
sentences = {"en": "the parcel has not arrived", "de": "das Paket ist nicht angekommen",
             "fr": "le colis n'est pas arrivé", "pl": "paczka nie dotarła"}  # fmt: skip
guesses = {}
for (language, sentence), p in zip(
    sentences.items(), languages(text=list(sentences.values()))["probabilities"]
):
    guesses[language] = LANGUAGES[p.argmax()]
    print(f"{sentence:<32}", ", ".join(f"{LANGUAGES[i]} {p[i]:.0%}" for i in np.argsort(-p)[:3]))
misread = sum(language != guess for language, guess in guesses.items())

# %%
claim("at least one of four plain sentences is misread", misread >= 1, f"{misread} of 4")

# %% [markdown]
# Type, length and hash were right. The *kind* of text was another one. Lesson 21 is about inputs that keep every
# promise and still are not what the model learned.
#
# ## What we measured
#
# Four models, one object. Each with an input that breaks its contract, and what it says:

# %%
nan_patient = {**one_patient, "bmi": np.full((1, 1), np.nan, np.float32)}
lost_column = {name: value for name, value in one.items() if name != "mean area"}
wrong_inputs = {
    "digits": (digits, {"rgb": known[None].astype(np.float32)}),
    "tumours": (tumours, lost_column),
    "diabetes": (diabetes, nan_patient),
    "languages": (languages, {"text": "Mont Blanc"}),
}

# %%
show.table(
    ["pipeline", "inputs", "output", "sha256", "a wrong input, and the answer"],
    [[name, len(p.contract.inputs), p.contract.outputs[0].name, p.contract.sha256[:8],
      told(p, **wrong)] for name, (p, wrong) in wrong_inputs.items()],
)  # fmt: skip

# %% [markdown]
# The digits' pipeline and its contract stay in `models/digits_pipeline/1/` for later lessons. (Keeping happens in the
# course's own build; in your notebook the lines do nothing.) Is the one that is kept yours?

# %%
models.keep(scratch / "model.onnx", "digits_pipeline", 1)
models.keep(scratch / "contract.json", "digits_pipeline", 1, "contract.json")
kept_contract = models.path("digits_pipeline", 1, "contract.json").read_text(encoding="utf-8")
kept = Pipeline(models.path("digits_pipeline", 1), Contract.from_json(kept_contract))
by_kept = np.array([kept(rgb=rgb[None])["probabilities"][0] for rgb in taken])
again = measure.parity(in_file, by_kept)

# %%
claim(
    "the course's pipeline answers all photographs as yours does, to 0.05 in every probability",
    again.agreement > 0.99 and again.max_abs_diff < 0.05,
    again,
)

# %%
size = (scratch / "model.onnx").stat().st_size
before = models.path("digits_cnn", 3).stat().st_size
read_rightly = float((in_file.argmax(axis=1) == test.labels).mean())
ledger.record(
    "digits_pipeline", "onnx", accuracy=read_rightly, bytes=size, max_abs_diff=parity.max_abs_diff
)

# %%
claim(
    "preparation, temperature and softmax add less than a tenth to the network's file",
    before < size < 1.1 * before,
    f"{size - before:,} bytes on {before:,}",
)

# %%
ledger.picture(
    "From photographs to probabilities in one file, hardly larger than the network alone"
)

# %% [markdown]
# (Its accuracy is on the 450 photographs by daylight, not on the scans; its difference is in probabilities, between
# code and file.)
#
# ## What to remember
#
# - Most of a model's failures in production lie in front of the model. Let one program prepare the data: put it into
#   the file.
# - A contract refuses what a program can see. What only meaning tells apart, one known example finds: compare its
#   numbers.
# - A probability becomes a decision by costs, and only if it is calibrated where it is used.
#
# ## Where this breaks down
#
# Our photographs are drawn, all with one pen and straight from above; real ones are crooked. The repeated photographs
# of a form are not independent, so that the intervals of the reliability diagram are somewhat too narrow. The cost
# ratios are invented. The tumours are 569 of one hospital, and nobody should be treated by this model. The 90 %
# interval holds on average over patients, not for each, and strictly for the model that was trained without those put
# aside. A graph takes on only what its operators can do: decoding JPEG, hashing and tokenizers mostly need extensions
# or stay outside. And a contract of ranges says nothing of an input in which every number is allowed and the whole is
# absurd.
#
# ## What real teams use
#
# Preprocessing inside the model: Keras preprocessing layers, `onnxruntime-extensions` (tokenizers, image decoding),
# ensembles in Triton. Contracts: the metadata of the Open Inference Protocol, MLflow model signatures, pydantic at the
# door of the service (lesson 14), Great Expectations or TensorFlow Data Validation for tables. One reason for
# feature stores is one computation of a feature for training and serving. Hugging Face keeps
# `preprocessor_config.json` beside the weights, and it is worth a look before you resize anything. Thresholds and
# prices live in configuration.
#
# ## Further reading
#
# - D. Sculley et al., *Hidden Technical Debt in Machine Learning Systems*, NeurIPS 2015.
# - M. Zinkevich, *Rules of Machine Learning: Best Practices for ML Engineering*, Google, rules 29 to 37 on
#   training–serving skew.
# - C. K. Chow, *On Optimum Recognition Error and Reject Tradeoff*, IEEE Transactions on Information Theory 16, 1970.
# - C. Elkan, *The Foundations of Cost-Sensitive Learning*, IJCAI 2001.
# - K. Weinberger et al., *Feature Hashing for Large Scale Multitask Learning*, ICML 2009.
# - V. Vovk, A. Gammerman, G. Shafer, *Algorithmic Learning in a Random World*, Springer 2005: the interval without a
#   bell curve.
