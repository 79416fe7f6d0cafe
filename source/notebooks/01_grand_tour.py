# %% [markdown]
# # 01 The grand tour
#
# At 3 a.m. one of two running copies of a service dies. Whether anybody notices was decided weeks before, in choices
# made between the loss function and the load balancer. This lesson makes the main ones once, in one sitting.
#
# ## You will be able to
#
# - train a digit classifier and say what its accuracy was measured on;
# - convert it to ONNX and to 8-bit integers, and say what each step cost in accuracy and saved in bytes;
# - put it behind an HTTP API and send it a request that it understands;
# - build a container image of it, and run the image on a Kubernetes cluster behind a Service;
# - delete a running copy under load, and count the requests that were lost.
#
# ## Before you start
#
# Lesson 00 is enough. Everything here is a black box that a later lesson opens; a table at the end says which. Stages 6
# to 8 use Docker and Kubernetes where they are within reach, and replay a recording where they are not. They work in
# a namespace of their own, on a cluster on your own machine; another one, which `kubectl config current-context` may
# name, is left alone unless the variable `COURSE_CONTEXT` names it too.

# %%
import time

import matplotlib.pyplot as plt
import numpy as np

from course_lib import data, models
from course_lib.idioms import begin, claim, ledger, live, observe, path, show

scratch = begin("01")
path.picture(here="01")

# %% [markdown]
# ## 1. Can a machine learn to read digits in a few seconds?
#
# The data are 1,797 scanned digits, 8 × 8 points each. A quarter is put aside *before* anything is learned. The
# network does not see it until its accuracy is measured, and that is what makes the number worth quoting.

# %%
train, test = data.digits()
examples = [train.images[train.labels == digit][0] for digit in range(10)]
show.images(
    examples,
    finding_title="A digit, as the network gets to see it, is 64 grey values",
    alt="One example of each digit, 0 to 9, as 8 by 8 grey squares: coarse, and readable",
)

# %% [markdown]
# The network has two layers of *convolutions*, which look at 3 × 3 neighbourhoods, and two plain matrix products,
# which decide. Its ten outputs are called *logits*: one number for each digit, the larger the more likely.

# %%
import torch
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)  # so small a network waits for its threads longer than it computes
look = [nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 32, 3, padding=1), nn.ReLU()]
decide = [nn.Dropout(0.3), nn.Linear(512, 20), nn.ReLU(), nn.Linear(20, 10)]
network = nn.Sequential(*look, nn.MaxPool2d(2), nn.Flatten(), *decide)
weights = sum(each.numel() for each in network.parameters())
print(f"{weights:,} weights")

# %% [markdown]
# Learning is one loop. Guess on a few images (a *batch*); measure with a *loss* how wrong the guess was; ask for the
# direction in which each weight lowers the loss, from its *gradient*; take a small step that way; repeat, for twenty
# passes over the data (*epochs*). An *optimizer*, here Adam, chooses each step; the schedule lets the steps grow first
# and shrink towards the end.

# %%
images, labels = torch.from_numpy(train.images)[:, None], torch.from_numpy(train.labels)
epochs, batches = 20, len(images) // 64
optimizer = torch.optim.Adam(network.parameters())
steps = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=6e-3, total_steps=epochs * batches)
losses, start = [], time.perf_counter()
for epoch in range(epochs):
    for chosen in torch.randperm(len(images))[: batches * 64].split(64):
        loss = nn.functional.cross_entropy(network(images[chosen]), labels[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        steps.step()
        losses.append(loss.item())
took = time.perf_counter() - start
observe("learning takes less than 10 seconds", took < 10, f"{took:.1f} s")

# %% [markdown]
# Did it learn anything? A network that knows nothing spreads its guess evenly over ten digits, and that costs
# $\ln 10 \approx 2.3$ (lesson 02 derives it). So we know where a healthy loss curve starts.

# %%
by_epoch = np.reshape(losses, (epochs, batches)).mean(axis=1)
plt.semilogy(losses, lw=0.6, color=show.SKY, label="each batch")
plt.semilogy(np.arange(epochs) * batches + batches / 2, by_epoch, "o-", label="mean of an epoch")
plt.axhline(np.log(10), color=show.GREY, ls="--", label="a guess without knowledge, ln 10")
plt.xlabel("step")
plt.ylabel("loss")
plt.legend()
show.finding(
    "The loss starts where guessing does, and falls to a small part of that",
    alt=f"Training loss by step, logarithmic: from {losses[0]:.2f}, near the dashed line of a "
    f"blind guess, down to {by_epoch[-1]:.3f} in the last epoch",
)

# %%
claim(
    "the first batch costs about what a blind guess costs, the last epoch less than a tenth",
    abs(losses[0] - np.log(10)) < 0.3 and by_epoch[-1] < 0.1 * losses[0],
    f"{losses[0]:.2f} against ln 10 = {np.log(10):.2f}; at the end {by_epoch[-1]:.3f}",
)

# %% [markdown]
# A low loss on the training images proves little: a network could know them by heart. Now the images that were put
# aside. `eval()` first: dropout, which switches units off at random, is for learning only.


# %%
def accuracy_of(logits):
    return float((logits.argmax(axis=1) == test.labels).mean())


network.eval()
test_images = test.images[:, None]  # (450, 1, 8, 8): number, channel, height, width
with torch.inference_mode():
    logits = network(torch.from_numpy(test_images)).numpy()

# %%
accuracy = accuracy_of(logits)
claim(
    "it reads more than 97 % of the images that it never saw", accuracy > 0.97, f"{accuracy:.2%}"
)

# %% [markdown]
# Which ones does it get wrong? Look before you trust a percentage.

# %%
wrong = np.flatnonzero(logits.argmax(axis=1) != test.labels)
names = [f"{test.labels[i]} as {logits[i].argmax()}" for i in wrong]
show.images(
    test.images[wrong],
    names,
    finding_title=f"Judge for yourself: {len(wrong)} of {len(test.labels)} are misread",
    alt=f"The {len(wrong)} misread test images, label and answer: {'; '.join(names)}",
)

# %% [markdown]
# Each is named "label as answer". Which of them would you have read?
#
# ## 2. How does the model leave PyTorch?
#
# The service will do without PyTorch, which is built for training and is many times the size of a *runtime*, a program
# that only executes models. ONNX is a file format for the computation itself, operations and weights; a runtime reads
# it. *Converting* a model must not change what it computes. Agreement before and after is called *parity*, and it is
# measured.

# %%
onnx_file = scratch / "digits_cnn.onnx"
exported = torch.onnx.export(
    network,
    (torch.zeros(2, 1, 8, 8),),  # an example of two images; the batch may have any size later
    onnx_file,
    input_names=["pixels"],
    output_names=["logits"],
    dynamic_shapes=[{0: torch.export.Dim("batch")}],
    external_data=False,  # weights inside the file, not beside it
    verbose=False,
)

# %% [markdown]
# One thing to look at before a file leaves the house: what else is in it? The exporter notes for each operation where in
# the Python code it came from, folders of your machine included. The model does not need that.

# %%
import sys

from course_lib import onnx_files


def mentions_this_machine(file):
    return sys.prefix.encode() in file.read_bytes()  # the folder of this Python and its packages


mentioned, before = mentions_this_machine(onnx_file), onnx_file.stat().st_size
onnx_files.remove_notes(onnx_file)
large = onnx_file.stat().st_size
claim(
    "without the notes the file is smaller and names this Python's folder no more",
    large < before and not mentions_this_machine(onnx_file),
    f"{show.bytes_text(before)}, then {show.bytes_text(large)}; named before: {mentioned}",
)

# %% [markdown]
# Now parity, on all images of the test part.

# %%
import onnxruntime


def run(file, images):
    session = onnxruntime.InferenceSession(file)
    return session.run(["logits"], {"pixels": images})[0]


converted = run(onnx_file, test_images)
difference = float(np.abs(converted - logits).max())

# %%
claim(
    "converted, the model answers the same class for every image, and logits within 0.0001",
    difference < 1e-4 and np.array_equal(converted.argmax(axis=1), logits.argmax(axis=1)),
    f"largest difference {difference:.1e}, where the largest logit is {np.abs(logits).max():.0f}",
)

# %% [markdown]
# The difference is small and not zero. PyTorch and the runtime add the same products in another order, and a sum of
# floating-point numbers depends on the order. Lesson 06 chooses the tolerance from that, rather than by habit.
#
# Each exported form gets a row in the course's *ledger*, which becomes a picture at the end.

# %%
ledger.record(
    "digits_cnn",
    "onnx",
    accuracy=accuracy_of(converted),
    bytes=large,
    max_abs_diff=difference,
)
models.keep(onnx_file, "digits_cnn", 1)  # for the course's authors: it does nothing here

# %% [markdown]
# The course ships its own copy of this model, trained by this notebook. Is yours the same? Bit for bit it need not be.
# What must hold is that it is as good, and mostly agrees.

# %%
shipped = run(models.path("digits_cnn", 1), test_images)
agree = float((shipped.argmax(axis=1) == logits.argmax(axis=1)).mean())
claim(
    "your model and the course's agree on 97 % of the test images or more, with similar accuracy",
    agree >= 0.97 and abs(accuracy_of(shipped) - accuracy) <= 0.015,
    f"they agree on {agree:.2%}; accuracy {accuracy:.2%} and {accuracy_of(shipped):.2%}",
)

# %% [markdown]
# ## 3. Can it be made smaller without becoming worse?
#
# Each weight takes 4 bytes (32-bit floating point, *fp32*). *Quantization* stores a whole number from −128 to 127 in its place, in 1 byte, and one
# *scale* for many of them. The number of weights stays the same; the bits of each are fewer. The numbers that flow
# between the layers are quantized as well, so the runtime must learn how large they become: it watches a few hundred
# training images. That is called *calibration*.

# %%
from onnxruntime.quantization import CalibrationDataReader, QuantType


class TrainingImages(CalibrationDataReader):
    def __init__(self, count=500, size=50):
        chosen = train.images[:count, None]
        self.batches = iter([{"pixels": chosen[i : i + size]} for i in range(0, count, size)])

    def get_next(self):
        return next(self.batches, None)


# %%
from onnxruntime.quantization import quant_pre_process, quantize_static

prepared, int8_file = scratch / "prepared.onnx", scratch / "digits_cnn_int8.onnx"
quant_pre_process(onnx_file, prepared)
quantize_static(
    prepared,
    int8_file,
    TrainingImages(),
    activation_type=QuantType.QUInt8,
    weight_type=QuantType.QInt8,
    per_channel=True,
)

# %%
small = int8_file.stat().st_size
claim(
    "in 8 bits the file has less than half of the bytes",
    small / large < 0.5,
    f"{small / large:.2f}",
)

# %% [markdown]
# Why not a quarter, 1 byte for 4? Take the weights away, 4 bytes each in one file and about 1 in the other, and see what
# is left: operations, names and shapes in both; in the small one also scales, and the steps that convert.

# %%
rest = {"onnx": large - 4 * weights, "int8": small - weights}
claim(
    "what is not weights does not shrink: it grows",
    rest["int8"] > rest["onnx"],
    f"{show.bytes_text(rest['onnx'])} before, {show.bytes_text(rest['int8'])} after",
)

# %%
quantized = run(int8_file, test_images)
moved = float(np.abs(quantized - converted).max())
lost = accuracy - accuracy_of(quantized)
claim(
    "its accuracy stays within 1 point",
    abs(lost) <= 0.01,
    f"{accuracy_of(quantized):.2%} after {accuracy:.2%}",
)

# %%
claim(
    "8 bits move the logits more than 100 times as far as the conversion did",
    moved > 100 * difference,
    f"largest difference {moved:.2f}, {moved / difference:,.0f} times that of the conversion",
)

# %%
ledger.record(
    "digits_cnn", "int8", accuracy=accuracy_of(quantized), bytes=small, max_abs_diff=moved
)
models.keep(int8_file, "digits_cnn", 2)

# %% [markdown]
# Is it faster, too? People expect so. We measure the two in turns, so that both meet the same disturbances.

# %%
sessions = {
    "fp32": onnxruntime.InferenceSession(onnx_file),
    "int8": onnxruntime.InferenceSession(int8_file),
}
took_us = {name: [] for name in sessions}
for _ in range(300):
    for name, session in sessions.items():
        start = time.perf_counter()
        session.run(None, {"pixels": test_images[:1]})
        took_us[name].append(1e6 * (time.perf_counter() - start))

# %%
fp32_us, int8_us = np.median(took_us["fp32"]), np.median(took_us["int8"])
observe(
    "in 8 bits one image is answered faster",
    int8_us < fp32_us,
    f"median of 300: {int8_us:.0f} µs against {fp32_us:.0f} µs in fp32",
)

# %% [markdown]
# Read what it says on *your* machine. For so small a model either can win: the arithmetic takes microseconds, and what
# surrounds it decides. Lessons 10 and 13 find out when 8 bits are faster, and why often they are not.
#
# ## 4. How does anybody reach it?
#
# Through a *service*: a process that loads the model once and answers requests over HTTP. Ours is `course_lib/serving`,
# and it serves a folder of models, `NAME/VERSION/model.onnx`. Version 1 is the model as it was trained, version 2 the
# one in 8 bits. The newest is the default.

# %%
import shutil

from course_lib.ops.http import ask
from course_lib.ops.service import start_service

served = scratch / "models"
for version, file in ((1, onnx_file), (2, int8_file)):
    folder = served / "digits_cnn" / str(version)
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(file, folder / "model.onnx")

# %%
service = start_service(served, log=scratch / "service.log")
ask(service.url + "/v1/models/digits_cnn")

# %% [markdown]
# It speaks the protocol of TensorFlow Serving: a `POST` to `:predict` with `instances`, one for each image, is answered
# with `predictions`, one row of logits for each. Here are a hundred images in one request, to version 1.


# %%
def predict(url, images, version=""):
    address = f"{url}/v1/models/digits_cnn{version}:predict"
    return np.array(ask(address, {"instances": images.tolist()})["predictions"])


# %%
answered = predict(service.url, test_images[:100], "/versions/1")
apart = float(np.abs(answered - converted[:100]).max())
claim(
    "over HTTP the logits are the runtime's own", apart < 1e-4, f"largest difference {apart:.1e}"
)

# %% [markdown]
# **Where this goes wrong.** A first request often has the wrong shape. An article that this course grew from sends five
# numbers to a model that takes 784. Here five go to one that takes 64:

# %%
try:
    ask(service.url + "/v1/models/digits_cnn:predict", {"instances": [[0.1, 0.2, 0.3, 0.4, 0.5]]})
except RuntimeError as refused:
    print(refused)

# %% [markdown]
# Status 400 means "your mistake, not mine", and the message says what was expected and what came. The line that mends it
# is `predict` above: whole images, in the shape in which the model learned them.

# %%
claim(
    "after the bad request the service answers the next one",
    predict(service.url, test_images[:1]).shape == (1, 10),
    "one row of ten logits",
)

# %% [markdown]
# ## 5. Does it read *your* digits?
#
# Draw one. The pad does to your strokes what was once done to the training data: it scales them to fill a grid of
# 32 × 32 and counts the ink in blocks of 4 × 4. Skip that step, and the model sees something that it never learned
# from. The percentage is the *softmax* of the logits, which adds up to 1 and is no chance of being right: draw a letter,
# and see. (The pad needs a running notebook; below it, the service reads ten test images instead.)

# %%
from course_lib.pad import Pad


def read_digit(image):
    row = predict(service.url, image[None, None])[0]
    weight = np.exp(row - row.max())
    return f"The service reads {row.argmax()} (softmax {weight.max() / weight.sum():.0%})."


Pad(read_digit)

# %%
answers = predict(service.url, test_images[:10]).argmax(axis=1)
right = int((answers == test.labels[:10]).sum())
show.images(
    test.images[:10],
    answers,
    finding_title=f"Of ten test images the service reads {right} as their writers meant them",
    alt=f"Ten test images, each under the service's answer: {', '.join(map(str, answers))}",
)

# %% [markdown]
# ## 6. How is it packed for another machine?
#
# As a *container image*, which holds the service with all that it needs: a small Linux, Python, the runtime, the model.
# The recipe is `docker/service.Dockerfile`. We build the image and run it as one would in production: without
# privileges, on a file system that it cannot write to, with a limit on its memory.

# %%
IMAGE = "digits-service:local"
AS_IN_PRODUCTION = {
    "read_only": True,
    "mem_limit": "256m",
    "cap_drop": ["ALL"],
    "security_opt": ["no-new-privileges"],
}


# %%
@live("docker")
def container():
    from course_lib.ops.docker import build_service, docker_client, wait_until_ready

    client = docker_client()
    image = build_service(client, scratch / "context", served, tag=IMAGE)
    base = client.images.get("python:3.11-slim-bookworm")
    start = time.perf_counter()
    published = {"8501/tcp": ("127.0.0.1", None)}
    running = client.containers.create(IMAGE, ports=published, **AS_IN_PRODUCTION)
    try:
        running.start()
        url = wait_until_ready(running)
        seen = {"ready_s": time.perf_counter() - start, "image_bytes": image.attrs["Size"]}
        seen["base_bytes"] = base.attrs["Size"]
        seen["answers"] = predict(url, test_images[:100]).argmax(axis=1).tolist()
        seen["user"] = running.exec_run(["id", "-u"]).output.decode().strip()
        running.stop(timeout=10)
        return {**seen, "exit_code": running.wait()["StatusCode"]}
    finally:
        running.remove(force=True)


box = container()

# %%
same = int((np.array(box["answers"]) == logits[:100].argmax(axis=1)).sum())
added = box["image_bytes"] - box["base_bytes"]
claim(
    "the container gives the network's answers for 95 of 100 images or more",
    same >= 95,
    f"{same} of 100",
)
claim("the image adds less than 200 MB to its base", added < 200e6, show.bytes_text(added))

# %%
claim(
    "the service does not run as root, and ends cleanly when it is told to",
    box["user"] != "0" and box["exit_code"] == 0,
    f"user {box['user']}, exit code {box['exit_code']}",
)
observe(
    "it is ready within 2 seconds of its start",
    box["ready_s"] < 2,
    f"{box['ready_s']:.2f} s",
    of=box,
)

# %% [markdown]
# Not all of 100, because the container answers with version 2, the one in 8 bits, and because a recording comes from
# another training than yours.
#
# ## 7. Who starts it again when it dies?
#
# A *cluster* does: machines (*nodes*) that *Kubernetes* runs as one. You tell it what you want, in files: a
# *Deployment*, which wants two running copies (*pods*) of the image, and a *Service*, which gives them one address and
# spreads requests over those that are ready. That Service is our load balancer. The files are in `k8s/`; `kubectl` is
# the command that hands them to the cluster, into a *namespace*, a folder for what belongs together. The cluster
# compares what is with what should be, for ever, and closes the gap.

# %%
NAMESPACE = "digits-local"


@live("docker", "kubernetes")
def rollout():
    from course_lib.ops.kubernetes import kubectl, load_image, pods, port_forward

    kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found")  # of a run that broke off
    seen = {"image": load_image(IMAGE)}
    start = time.perf_counter()
    seen["applied"] = kubectl("apply", "-k", "k8s/overlays/local").splitlines()
    kubectl("rollout", "status", "deployment/digits", "-n", NAMESPACE, "--timeout=120s")
    seen["seconds"] = time.perf_counter() - start
    with port_forward(NAMESPACE, "service/digits", 80) as url:
        seen["answers"] = predict(url, test_images[:100]).argmax(axis=1).tolist()
    seen["ready"] = [pod["name"] for pod in pods(NAMESPACE, "app=digits") if pod["ready"]]
    return seen


rolled_out = rollout()

# %%
print(rolled_out["image"], *rolled_out["applied"], sep="\n")
ready = rolled_out["ready"]
claim("two pods are ready, as the Deployment asks", len(ready) == 2, " and ".join(ready))

# %%
same = int((np.array(rolled_out["answers"]) == logits[:100].argmax(axis=1)).sum())
claim(
    "through the cluster's Service come the network's answers for 95 of 100 images or more",
    same >= 95,
    f"{same} of 100",
)

# %%
observe(
    "from `kubectl apply` to two ready pods it takes less than 30 seconds",
    rolled_out["seconds"] < 30,
    f"{rolled_out['seconds']:.0f} s",
    of=rolled_out,
)

# %% [markdown]
# Now the question of the beginning. A client inside the cluster sends requests to the Service, each over a connection
# of its own, so that each can meet another pod. After three seconds we delete a pod that is ready. Who notices?


# %%
@live("docker", "kubernetes")
def delete_a_pod_under_load():
    import json

    from course_lib.ops.kubernetes import kubectl, pods
    from course_lib.ops.traffic import traffic

    body = json.dumps({"instances": test_images[:1].tolist()})
    with traffic(NAMESPACE, IMAGE, [body], seconds=12) as sent:
        sent.wait_until(3)
        victim = next(pod["name"] for pod in pods(NAMESPACE, "app=digits") if pod["ready"])
        asked = {"deleted": victim, "deleted_after_s": sent.elapsed()}
        kubectl("delete", "pod", victim, "-n", NAMESPACE, "--wait=false")
        return {**asked, **sent.result()}


outcome = delete_a_pod_under_load()

# %%
failed, pods = sum(outcome["failed"].values()), outcome["by_half_second"]
claim(
    "no request was lost",
    failed == 0 and outcome["answered"] > 0,
    f"{outcome['answered']:,} answered, {failed} failed",
)

# %%
from course_lib.show.pods import answers_by_pod

answers_by_pod(outcome, "A pod is deleted, another takes its place, and the answers go on")

# %%
claim("the deleted pod answers no more at the end", pods[outcome["deleted"]][-1] == 0)
observe(
    "a pod that was not there at first answers before the 12 seconds are over",
    any(each[0] == 0 and sum(each) > 0 for each in pods.values()),
    f"{len(pods)} pods have answered in all; 99 % of answers within {outcome['p99_ms']:.0f} ms",
    of=outcome,
)

# %% [markdown]
# No client got an error, and that was arranged. The Deployment asks for two pods, so one is left, and until the new one
# is ready it answers alone: the stretch of a single colour in the figure. The doomed pod keeps its server for three seconds more
# (`preStop` in `k8s/base/deployment.yaml`), while the news that it is going reaches every node and new requests go
# elsewhere. Only then is the server told to end, and it finishes what it has begun. Take out any one of these and
# requests can be lost; lesson 17 does so, and counts. A pod whose *machine* dies says no goodbye: then clients must
# try again, which is lesson 15.
#
# ## 8. Clean up


# %%
@live("docker", "kubernetes")
def remove_namespace():
    from course_lib.ops.kubernetes import kubectl

    kubectl("delete", "-k", "k8s/overlays/local", "--ignore-not-found")
    return kubectl("get", "namespace", NAMESPACE, "--ignore-not-found", "-o", "name").split()


claim("the namespace is gone", remove_namespace() == [])


# %%
@live("docker")
def remove_image():
    from course_lib.ops.docker import docker_client

    client = docker_client()
    if client.images.list(IMAGE):
        client.images.remove(IMAGE, force=True)  # by name: the same layers may have another
    return [image.id for image in client.images.list(IMAGE)]


claim("the image is gone", remove_image() == [])
service.stop()

# %% [markdown]
# Docker keeps the base image and the layers of the build, which makes the next build quick; `docker system df` shows how
# much that is.

# %% [markdown]
# ## What we measured
#
# Each lesson adds its rows to the ledger, and its picture grows: more forms of the model, more trade-offs.

# %%
ledger.table()

# %%
ledger.picture("Less than half of the bytes, and the accuracy within a point")

# %% [markdown]
# ## What to remember
#
# - A model that leaves its framework is a new model until a measurement says that it is not: parity first, speed later.
# - The service, not the model, decides what a bad request or a dying process looks like from outside.
# - Nothing was lost because two copies ran, one said goodbye before it went, and something noticed.
#
# ## Where this breaks down
#
# The accuracy was measured on 450 images, so it is known to about a point; and the same 13 people wrote the images that
# the network learned from, so that on your handwriting another number holds. One node is no cluster: when it goes,
# everything goes. Nobody watched (lesson 20), and everybody may call this service (lesson
# 22). And a run of a thousand requests without a failure does not exclude one failure in a thousand (exercise 01.4).
#
# ## What real teams use
#
# For the server: TensorFlow Serving, Triton Inference Server or KServe, once there are many models or accelerators to
# share; before that, often a service of their own that speaks the same protocols. For the cluster: a managed one. For a model this
# small, often none of it: a library call inside the application is the first alternative to rule out.
#
# ## Which lesson opens which box?
#
# | stage | black box | lesson |
# | --- | --- | --- |
# | 1 | loss and gradient; the training loop | 02, 03, 04 (and 05, in TensorFlow) |
# | 2 | export, operator sets, tolerance | 06, 07, 08 |
# | 3 | scales, calibration, where accuracy goes; smaller still | 09, 10; 11, 12 |
# | 3 | when is it faster, and how is that measured? | 10, 13 |
# | 4, 5 | protocol, validation, batching, deadlines | 14, 15 |
# | 6 | layers, size, users, signals | 16 |
# | 7 | Deployments, probes, rollouts; more pods under load; new versions | 17, 18, 19 |
# | after | watching it, noticing drift, keeping it safe, explaining it | 20 to 23 |
#
# ## Further reading
#
# - ONNX, *Open Neural Network Exchange Intermediate Representation Specification*, onnx.ai.
# - B. Jacob et al., *Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference*,
#   CVPR 2018.
# - B. Burns, B. Grant, D. Oppenheimer, E. Brewer, J. Wilkes, *Borg, Omega, and Kubernetes*, ACM Queue 14(1), 2016.
# - B. Beyer et al. (eds.), *Site Reliability Engineering*, O'Reilly 2016, chapters 3 and 4.
