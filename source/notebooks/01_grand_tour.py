# %% [markdown]
# # 01 The grand tour
#
# At 3 a.m. a pod dies. Whether anybody notices was decided weeks before, in a dozen small choices between the loss
# function and the load balancer. This lesson makes each of them once, quickly, in one sitting.
#
# ## You will be able to
#
# - train a digit classifier and say what "accuracy" was measured on;
# - convert it to ONNX and to 8-bit integers, and say what each step cost in accuracy and saved in bytes;
# - put it behind an HTTP API and send it a request that it understands;
# - build a container image of it, and run the image on a Kubernetes cluster behind a Service;
# - delete a running copy under load, and count the requests that were lost.
#
# ## Before you start
#
# Lesson 00 is enough. Everything here is a black box that a later lesson opens; the last section says which. Stages 6
# to 8 use Docker and Kubernetes where they are within reach, and replay a recording where they are not.

# %%
import matplotlib.pyplot as plt
import numpy as np

from course_lib import data, models
from course_lib.idioms import begin, claim, ledger, live, observe, path, show

scratch = begin("01")
path.picture(here="01")

# %% [markdown]
# ## 1. Can a machine learn to read digits in a few seconds?
#
# The data are 1,797 scanned digits, 8 × 8 points each. A quarter is put aside *before* anything is learned. The network
# never sees it until the end, which is what makes its accuracy on it worth quoting.

# %%
train, test = data.digits()
figure, axes = plt.subplots(1, 10, figsize=(9, 1.4))
for digit, axis in enumerate(axes):
    axis.imshow(train.images[train.labels == digit][0])
    axis.set_axis_off()
show.finding("64 grey values are enough for people to read most digits",
             alt="One example of each digit, 0 to 9, as 8 by 8 grey squares: coarse, and readable")

# %% [markdown]
# The network is two layers of convolutions, which look at 3 × 3 neighbourhoods, and two of plain matrix products, which
# decide. Its ten outputs are *logits*: one number for each digit, the larger the more likely.

# %%
import torch
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)  # so small a network waits for its threads longer than it computes with them
network = nn.Sequential(
    nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(),
    nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
    nn.Flatten(), nn.Dropout(0.3), nn.Linear(512, 20), nn.ReLU(), nn.Linear(20, 10),
)
print(f"{sum(each.numel() for each in network.parameters()):,} weights")

# %% [markdown]
# Learning is one loop. Guess on a few images, measure with a *loss* how wrong the guess was, ask for the direction in
# which each weight lowers the loss (its *gradient*), take a small step there, repeat.

# %%
images, labels = torch.from_numpy(train.images)[:, None], torch.from_numpy(train.labels)
epochs, batch = 20, 64
steps = epochs * -(-len(images) // batch)
optimizer = torch.optim.Adam(network.parameters())
schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=6e-3, total_steps=steps)
losses = []
for epoch in range(epochs):
    for chosen in torch.randperm(len(images)).split(batch):
        loss = nn.functional.cross_entropy(network(images[chosen]), labels[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item())

# %%
plt.semilogy(losses, lw=0.6, color=show.SKY, label="each batch")
plt.semilogy(np.convolve(losses, np.ones(22) / 22, "valid"), color=show.BLUE, label="mean of 22 batches, one epoch")
plt.axhline(np.log(10), color=show.GREY, ls="--", label="a guess without knowledge, ln 10")
plt.xlabel("step")
plt.ylabel("loss (nats)")
plt.legend()
show.finding("The loss starts where guessing does, and falls by two orders of magnitude",
             alt="Training loss against step, logarithmic: from 2.3, the loss of a blind guess, down to about a hundredth")

# %%
network.eval()  # dropout, which is for learning, is switched off
test_images = test.images[:, None]
with torch.inference_mode():
    logits = network(torch.from_numpy(test_images)).numpy()
accuracy = float((logits.argmax(axis=1) == test.labels).mean())
claim("the first batch costs about what a blind guess costs, the last epoch a tenth of that or less",
      abs(losses[0] - np.log(10)) < 0.3 and np.mean(losses[-22:]) < 0.1 * losses[0],
      f"{losses[0]:.2f}, ln 10 = {np.log(10):.2f}; then {np.mean(losses[-22:]):.4f}")
claim("on images that it never saw, the network is right in more than 97 % of cases", accuracy > 0.97, f"{accuracy:.2%}")

# %% [markdown]
# Which ones does it get wrong? Look before you trust a percentage.

# %%
wrong = np.flatnonzero(logits.argmax(axis=1) != test.labels)
figure, axes = plt.subplots(1, len(wrong), figsize=(9, 1.7), squeeze=False)
for axis, i in zip(axes[0], wrong):
    axis.imshow(test.images[i])
    axis.set_title(f"{test.labels[i]}, read as {logits[i].argmax()}", fontsize=7, loc="center")
    axis.set_axis_off()
show.finding("Most of its mistakes are digits that people would hesitate over, too",
             alt=f"The {len(wrong)} test images that the network misreads, with label and answer: smudged or cut-off digits")

# %% [markdown]
# ## 2. How does the model leave PyTorch?
#
# The service will not have PyTorch: it is built for training and weighs more than everything else together. ONNX is a
# file format for the computation itself, weights and operations, that a small *runtime* executes. *Converting* a model
# must not change what it computes. Whether it did is a measurement, and its name is *parity*.

# %%
onnx_file = scratch / "digits_cnn.onnx"
torch.onnx.export(network, (torch.zeros(2, 1, 8, 8),), onnx_file, input_names=["pixels"], output_names=["logits"],
                  dynamic_shapes=[{0: torch.export.Dim("batch")}], external_data=False, verbose=False)
print(f"{onnx_file.name}: {show.bytes_text(onnx_file.stat().st_size)}")

# %%
import onnxruntime


def run(file, images):
    session = onnxruntime.InferenceSession(file)
    return session.run(["logits"], {"pixels": images})[0]


def accuracy_of(logits):
    return float((logits.argmax(axis=1) == test.labels).mean())


converted = run(onnx_file, test_images)
difference = float(np.abs(converted - logits).max())
claim("converted, the model answers the same: logits to 4 digits after the point, every class",
      difference < 1e-4 and (converted.argmax(axis=1) == logits.argmax(axis=1)).all(),
      f"largest difference {difference:.1e}, largest logit {np.abs(logits).max():.0f}")
ledger.record("digits_cnn", "onnx", accuracy=accuracy_of(converted), bytes=onnx_file.stat().st_size, max_abs_diff=difference)

# %% [markdown]
# The difference is not zero. Both add the same products, in another order, and floating-point sums depend on the order.
# Lesson 06 chooses the tolerance from that, rather than by habit.
#
# Another question looks alike and is not. The course ships a copy of this model, trained by this very notebook on
# another machine. Is yours the same? Bit for bit it need not be. What must hold is that it is as good.

# %%
models.keep(onnx_file, "digits_cnn", 1)  # when the course is built, the copy that ships comes from here
shipped = run(models.path("digits_cnn", 1), test_images)
agree = float((shipped.argmax(axis=1) == logits.argmax(axis=1)).mean())
claim("your model and the one that ships agree on 97 % of the test images or more, and are as accurate to 1.5 points",
      agree >= 0.97 and abs(accuracy_of(shipped) - accuracy) <= 0.015,
      f"they agree on {agree:.2%}; accuracy {accuracy:.2%} and {accuracy_of(shipped):.2%}")

# %% [markdown]
# ## 3. Can it be made smaller without becoming worse?
#
# Each weight takes 4 bytes. *Quantization* keeps a whole number from −128 to 127 instead, in 1 byte, and one scale for
# each output channel. The number of weights stays; the bits of each are fewer. The runtime also needs to know how large
# the numbers between the layers become, and finds out on a few hundred training images (*calibration*).

# %%
from onnxruntime.quantization import CalibrationDataReader, QuantType, quant_pre_process, quantize_static


class TrainingImages(CalibrationDataReader):
    def __init__(self, count=500, batch=50):
        chosen = train.images[:count, None]
        self.batches = iter([{"pixels": chosen[i : i + batch]} for i in range(0, count, batch)])

    def get_next(self):
        return next(self.batches, None)


prepared, int8_file = scratch / "prepared.onnx", scratch / "digits_cnn_int8.onnx"
quant_pre_process(onnx_file, prepared)
quantize_static(prepared, int8_file, TrainingImages(), activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
                per_channel=True)

# %%
quantized = run(int8_file, test_images)
ratio = int8_file.stat().st_size / onnx_file.stat().st_size
moved = float(np.abs(quantized - converted).max())
claim("in 8 bits the file has less than half of the bytes", ratio < 0.5, f"{ratio:.2f} of them")
claim("and its accuracy is within 1 point", abs(accuracy_of(quantized) - accuracy) <= 0.01,
      f"{accuracy_of(quantized):.2%} after {accuracy:.2%}")
claim("although its logits are not the same numbers any more", moved > 100 * difference,
      f"largest difference {moved:.2f}, {moved / difference:,.0f} times that of the conversion")
ledger.record("digits_cnn", "int8", accuracy=accuracy_of(quantized), bytes=int8_file.stat().st_size, max_abs_diff=moved)
models.keep(int8_file, "digits_cnn", 2)

# %% [markdown]
# Why half, and not a quarter? So small a model carries its share of overhead: names, shapes, the scales. How much that
# is, is easily computed.

# %%
parameters = sum(each.numel() for each in network.parameters())
overhead = {form: file.stat().st_size - parameters * width
            for form, file, width in (("onnx", onnx_file, 4), ("int8", int8_file, 1))}
claim("what is not weights takes a larger share of the small file than of the large one",
      overhead["int8"] / int8_file.stat().st_size > overhead["onnx"] / onnx_file.stat().st_size,
      ", ".join(f"{form}: {show.bytes_text(size)}" for form, size in overhead.items()))

# %% [markdown]
# Is it faster, too? People expect so. Measured in turns, so that both meet the same disturbances:

# %%
import time

sessions = {name: onnxruntime.InferenceSession(file) for name, file in (("fp32", onnx_file), ("int8", int8_file))}
times_us = {name: [] for name in sessions}
for _ in range(300):
    for name, session in sessions.items():
        start = time.perf_counter()
        session.run(None, {"pixels": test_images[:1]})
        times_us[name].append(1e6 * (time.perf_counter() - start))
median_us = {name: float(np.median(each)) for name, each in times_us.items()}
observe("in 8 bits one image is answered faster", median_us["int8"] < median_us["fp32"],
        f"median {median_us['int8']:.0f} µs against {median_us['fp32']:.0f} µs in fp32")

# %% [markdown]
# Read what it says on your machine. For a model of this size either can win: the work is a few microseconds, and what
# surrounds it decides. Lesson 10 finds out when 8 bits are faster, and why they are often not.
#
# ## 4. How does anybody reach it?
#
# Through a *service*: a process that loads the model once and answers requests over HTTP. Ours is in
# `course_lib/serving`, a few hundred lines, and reads a folder `NAME/VERSION/model.onnx`. Version 1 is the model as it
# was trained, version 2 the one in 8 bits.

# %%
import shutil

from course_lib.ops.http import ask
from course_lib.ops.service import start_service

served = scratch / "models"
for version, file in ((1, onnx_file), (2, int8_file)):
    folder = served / "digits_cnn" / str(version)
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(file, folder / "model.onnx")
service = start_service(served, log=scratch / "service.log")
print(ask(service.url + "/v1/models/digits_cnn"))

# %% [markdown]
# It speaks the protocol of TensorFlow Serving: a `POST` with `instances`, one for each image, is answered with
# `predictions`, one row of logits for each.

# %%
def predict(url, images):
    return np.array(ask(url + "/v1/models/digits_cnn:predict", {"instances": images.tolist()})["predictions"])


answered = predict(service.url, test_images[:100])
direct = quantized[:100]
claim("through the service the answers are those of the runtime: version 2, the newest, to rounding",
      np.abs(answered - direct).max() < 1e-5, f"largest difference {np.abs(answered - direct).max():.1e}")

# %% [markdown]
# **Where this goes wrong.** The first request that most people send is not what the model takes. An article that this
# course grew from sends five numbers to a model of 784. The fewest lines that show it, and what comes back:

# %%
try:
    ask(service.url + "/v1/models/digits_cnn:predict", {"instances": [[0.1, 0.2, 0.3, 0.4, 0.5]]})
except RuntimeError as refused:
    print(refused)

# %% [markdown]
# The service says what it expected and what came, with status 400, "your mistake". The mended line is the one above the
# last: whole images, in the shape that the model learned.
#
# ## 5. Does it read *your* digits?
#
# Draw one. The pad does to your strokes what was done to the training data: it scales them to the full height of a grid
# of 32 × 32 and counts ink in blocks of 4 × 4. Skip that, and the model sees something that it never learned from. (The
# pad needs a running notebook; the figure below it shows the service's answers where there is none.)

# %%
from course_lib.pad import Pad


def read_digit(image):
    row = predict(service.url, image[None, None])[0]
    chances = np.exp(row - row.max()) / np.exp(row - row.max()).sum()
    return f"The service reads {row.argmax()}, with a probability of {chances.max():.0%}."


Pad(read_digit)

# %%
shown = test.images[:10]
answers = predict(service.url, shown[:, None]).argmax(axis=1)
figure, axes = plt.subplots(1, 10, figsize=(9, 1.5))
for axis, image, digit in zip(axes, shown, answers):
    axis.imshow(image)
    axis.set_title(f"{digit}", loc="center")
    axis.set_axis_off()
show.finding(f"The service's answers to ten test images: {int((answers == test.labels[:10]).sum())} right",
             alt=f"Ten test images, each under the service's answer: {', '.join(map(str, answers))}")

# %% [markdown]
# ## 6. Does it run on a machine that is not mine?
#
# A *container image* holds the service with all that it needs and nothing else: Python, the runtime, the model. The
# recipe is `docker/service.Dockerfile`. The image is built from a folder that holds what the recipe copies, and then
# run as one would run it in production: no privileges, a file system that cannot be written to, limits on memory.


# %%
IMAGE = "digits-service:local"


@live("docker")
def container():
    from course_lib.ops.docker import context, docker_client, wait_until_ready

    client = docker_client()
    image, _ = client.images.build(path=str(context(scratch / "context", served)), dockerfile="docker/service.Dockerfile",
                                   tag=IMAGE, rm=True)
    base = client.images.get("python:3.11-slim-bookworm")
    start = time.perf_counter()
    running = client.containers.run(IMAGE, detach=True, ports={"8501/tcp": ("127.0.0.1", None)}, read_only=True,
                                    mem_limit="256m", cap_drop=["ALL"], security_opt=["no-new-privileges"])
    try:
        url = wait_until_ready(running)
        ready_s = time.perf_counter() - start
        answers = predict(url, test_images[:100]).argmax(axis=1).tolist()
        user = running.exec_run(["id", "-u"]).output.decode().strip()
        running.stop(timeout=10)
        return {"image_bytes": image.attrs["Size"], "base_bytes": base.attrs["Size"], "ready_s": ready_s, "user": user,
                "answers": answers, "exit_code": running.wait()["StatusCode"]}
    finally:
        running.remove(force=True)


box = container()

# %%
added = box["image_bytes"] - box["base_bytes"]
claim("the image adds less than 200 MB to its base", added < 200e6, show.bytes_text(added))
claim("in the container the service answers like the network in this notebook, on 98 of 100 images or more",
      (np.array(box["answers"]) == logits[:100].argmax(axis=1)).sum() >= 98,
      f"{(np.array(box['answers']) == logits[:100].argmax(axis=1)).sum()} of 100")
claim("it does not run as root, and ends cleanly when it is told to", box["user"] != "0" and box["exit_code"] == 0,
      f"user {box['user']}, exit code {box['exit_code']}")
observe("it is ready within 2 seconds of being started", box["ready_s"] < 2, f"{box['ready_s']:.2f} s")

# %% [markdown]
# ## 7. Who starts it again when it dies?
#
# A cluster does. You tell *Kubernetes* what you want, in files: a *Deployment* that wants two copies (*pods*) of the
# image, and a *Service* that gives them one address and spreads requests over whichever are ready. The files are in
# `k8s/`. The cluster compares what is with what should be, for ever, and closes the gap.

# %%
NAMESPACE = "digits-local"


@live("docker", "kubernetes")
def rollout():
    from course_lib.ops.kubernetes import kubectl, load_image, pods, port_forward

    how = load_image(IMAGE)
    start = time.perf_counter()
    applied = kubectl("apply", "-k", "k8s/overlays/local").splitlines()
    kubectl("rollout", "status", "deployment/digits", "-n", NAMESPACE, "--timeout=120s")
    seconds = time.perf_counter() - start
    with port_forward(NAMESPACE, "service/digits", 80) as url:
        answers = predict(url, test_images[:100]).argmax(axis=1).tolist()
    return {"image": how, "applied": applied, "seconds": seconds, "answers": answers,
            "ready": [pod["name"] for pod in pods(NAMESPACE, "app=digits") if pod["ready"]]}


rolled_out = rollout()

# %%
print(rolled_out["image"], *rolled_out["applied"], sep="\n")
claim("two pods are ready, as the Deployment asks", len(rolled_out["ready"]) == 2, " and ".join(rolled_out["ready"]))
claim("through the cluster's Service the answers are the container's",
      rolled_out["answers"] == box["answers"], f"{len(rolled_out['answers'])} images")
observe("from `kubectl apply` to ready it takes less than 30 seconds", rolled_out["seconds"] < 30,
        f"{rolled_out['seconds']:.0f} s")

# %% [markdown]
# The 3 a.m. question. A client inside the cluster sends requests to the Service, each over a connection of its own so
# that each may meet another pod. After three seconds we delete a pod that is answering. Who notices?


# %%
@live("docker", "kubernetes")
def delete_a_pod_under_load():
    import json
    from pathlib import Path

    from course_lib.ops import load
    from course_lib.ops.kubernetes import finished_pod_log, kubectl, pods, run_pod, wait_for_log

    body = json.dumps({"instances": test_images[:1].tolist()})
    client = ["python", "-c", Path(load.__file__).read_text(), "digits", "80", "/v1/models/digits_cnn:predict", "12", "4", body]
    run_pod(NAMESPACE, "load", IMAGE, client)
    wait_for_log(NAMESPACE, "load", "begin")
    time.sleep(3)
    victim = next(pod["name"] for pod in pods(NAMESPACE, "app=digits") if pod["ready"])
    kubectl("delete", "pod", victim, "-n", NAMESPACE, "--wait=false")
    result = json.loads(finished_pod_log(NAMESPACE, "load").splitlines()[-1])
    return {"deleted": victim, "deleted_after_s": 3, **result}


outcome = delete_a_pod_under_load()

# %%
colours = iter([show.BLUE, show.GREEN, show.PURPLE, show.GREY])
below = np.zeros(24)
for pod, counts in sorted(outcome["by_half_second"].items(), key=lambda item: -item[1][0]):
    deleted = pod == outcome["deleted"]
    rate = 2 * np.array(counts)
    plt.bar(np.arange(24) / 2, rate, 0.5, below, align="edge", color=show.ORANGE if deleted else next(colours),
            label=f"{pod}{', deleted' if deleted else ''}", lw=0)
    below += rate
plt.axvline(outcome["deleted_after_s"], color="black", ls="--", lw=1)
plt.xlabel("time (s)")
plt.ylabel("answers a second")
plt.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), fontsize="small")
show.finding("A pod is deleted, another takes its place, and the answers go on",
             alt="Answers a second by pod, stacked: after the deletion one pod's share fades and a new pod's begins, while the total goes on")

# %%
failed = sum(outcome["failed"].values())
claim("no request was lost", failed == 0 and outcome["answered"] > 0, f"{outcome['answered']:,} answered, {failed} failed")
claim("a pod that was not there at first has answered before the end",
      any(counts[0] == 0 and sum(counts) > 0 for counts in outcome["by_half_second"].values()),
      f"{len(outcome['by_half_second'])} pods answered; p99 {outcome['p99_ms']:.0f} ms, median {outcome['p50_ms']:.0f} ms")

# %% [markdown]
# Nobody notices, and that was arranged. The Deployment asks for two pods, so one is left. The doomed pod goes on
# answering for three seconds (`preStop` in `k8s/base/deployment.yaml`), while the news that it is going reaches every
# node. Only then is the server told to end, and it finishes what it has begun. Take out any of these and requests are
# lost; lesson 17 does so, and counts. A pod whose *machine* dies says no goodbye: then clients must try again, which is
# lesson 15.
#
# ## 8. Leave nothing behind


# %%
@live("docker", "kubernetes")
def clean_up():
    from course_lib.ops.docker import docker_client
    from course_lib.ops.kubernetes import kubectl

    kubectl("delete", "-k", "k8s/overlays/local", "--ignore-not-found")
    left = kubectl("get", "namespace", NAMESPACE, "--ignore-not-found", "-o", "name").split()
    docker_client().images.remove(IMAGE, force=True)
    return {"left": left}


claim("the namespace and all in it are gone", clean_up()["left"] == [])

# %%
claim("the service in this notebook ends cleanly, too", service.stop() == 0, "exit code 0")

# %% [markdown]
# ## What we measured
#
# Each lesson adds its rows to the *ledger*, and its picture grows: more forms of the model, more trade-offs.

# %%
ledger.table()

# %%
ledger.picture("Less than half of the bytes for the same accuracy, to within a point")

# %% [markdown]
# ## What to remember
#
# - A model that leaves its framework is a new model until a measurement says that it is not: parity first, speed later.
# - The service, not the model, decides what a bad request, a full queue or a dying process looks like from outside.
# - Nothing was lost because two copies ran, one said goodbye before it went, and something noticed.
#
# ## Where this breaks down
#
# The accuracy was measured on 450 images of the same collection: on your handwriting, another number holds. One node is
# no cluster: when it goes, everything goes. Nobody watched (lesson 20), nobody may call this service but everybody can
# (lesson 22), and a run of some thousand requests without a failure does not exclude one failure in a thousand
# (exercise 01.4).
#
# ## What real teams use
#
# For the server: TensorFlow Serving, Triton Inference Server, KServe or a service of their own in the same protocols,
# once there are many models or accelerators to share. For the cluster: a managed one. For a model this small, often
# none of it: a library call inside the application, which is the first alternative to rule out.
#
# ## Which lesson opens which box?
#
# | stage | black box | lesson |
# | --- | --- | --- |
# | 1 | loss and gradient; the training loop | 02, 03, 04 (and 05, in TensorFlow) |
# | 2 | export, operator sets, tolerance | 06, 07, 08 |
# | 3 | scales, calibration, where accuracy goes | 09, 10; smaller still: 11, 12 |
# | 3 | when is it faster, and how is that measured? | 13 |
# | 4, 5 | protocol, validation, batching, deadlines | 14, 15 |
# | 6 | layers, size, users, signals | 16 |
# | 7 | Deployments, probes, rollouts; more pods under load; new versions | 17, 18, 19 |
# | after | watching it, noticing drift, keeping it safe, explaining it | 20 to 23 |
#
# ## Further reading
#
# - ONNX, *Open Neural Network Exchange: intermediate representation specification*, onnx.ai.
# - B. Jacob et al., *Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference*, CVPR 2018.
# - B. Burns, B. Grant, D. Oppenheimer, E. Brewer, J. Wilkes, *Borg, Omega, and Kubernetes*, ACM Queue 14(1), 2016.
# - B. Beyer et al. (eds.), *Site Reliability Engineering*, O'Reilly 2016, chapters 3 and 4.
