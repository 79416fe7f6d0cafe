# %% [markdown]
# # 19 Versions and canaries
#
# At 3 a.m. the new version has been answering for five hours. There are no errors, the latency is as it was, every
# light is green, and each 3 is read as an 8. Nobody knows since when, from which training this version came, or how to
# get the old one back.
#
# ## You will be able to
#
# - keep a registry in which a version never changes, has parents, and goes live by moving a name;
# - compare a new version on real requests before anybody sees its answers;
# - tell which change of a model breaks which client, before a client tells you;
# - compute how many requests a canary needs, and look at it all the time without fooling yourself;
# - let a controller promote a good version and roll back bad ones on a cluster, without losing a request.
#
# ## Before you start
#
# Lesson 14 builds the model server, lesson 15 the gateway that splits requests here, lesson 17 explains Deployments,
# Services and rolling updates. A *version* is one file of a model; the *candidate* is the one that wants to replace
# the *stable* one.

# %%
import hashlib
import json
import math
import os
import shutil
import sqlite3
import time
import urllib.request
from collections import Counter
from statistics import NormalDist

import matplotlib.pyplot as plt
import numpy as np
import onnx
import onnxruntime
import yaml
from onnx import TensorProto, helper, numpy_helper
from prometheus_client.parser import text_string_to_metric_families

from course_lib import data, models, pipeline, places
from course_lib.idioms import begin, claim, claim_gone, live, observe, own, path, show
from course_lib.measure import load
from course_lib.ops.http import DIRECT, ask
from course_lib.ops.service import start_module, start_service

scratch = begin("19")
path.picture(here="19")

# %% [markdown]
# ## Which version answers, and where does it come from?
#
# The course has three versions of its digits network: 1 from the tour, 2, the same in 8 bits, and 3, another training.
# We add a fourth with a mistake in it. It is version 3, made by somebody who had the classes in another order: in the
# last layer, the rows for 3 and 8 have changed places. Every shape, every type and every operation is the same.

# %%
files = {version: models.path("digits_cnn", version) for version in (1, 2, 3)}
files[4] = scratch / "planted.onnx"

# %%
planted = onnx.load(files[3])
last_layer = planted.graph.node[-1].input  # its weights (10, 20) and its bias (10,)
for tensor in planted.graph.initializer:
    if tensor.name in last_layer:
        rows = numpy_helper.to_array(tensor).copy()
        rows[[3, 8]] = rows[[8, 3]]
        tensor.CopyFrom(numpy_helper.from_array(rows, tensor.name))
onnx.save(planted, files[4])

# %% [markdown]
# Lesson 14's model server reads one folder for each model. In it is a folder for each version, named by the version's
# number. We need several such folders, so a function makes them. We also keep what each version answers to the 450
# test images.


# %%
def published(folder, *versions):
    """A folder as the model server reads it, with these versions."""
    for version in versions:
        place = scratch / folder / "digits_cnn" / str(version)
        place.mkdir(parents=True, exist_ok=True)
        shutil.copy(files[version], place / "model.onnx")
    return scratch / folder


# %%
train, test = data.digits()
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
classes = {}
for version, file in files.items():
    session = onnxruntime.InferenceSession(file, options)
    classes[version] = session.run(None, {"pixels": test.images[:, None]})[0].argmax(axis=1)
accuracy = {version: float((found == test.labels).mean()) for version, found in classes.items()}

# %% [markdown]
# A *registry* is the list of versions. Of each it keeps a checksum that says which file is meant, the checksum of the
# training data, the parent, and the figures. Whole products do this; ours is two tables. The second table keeps
# *aliases*, names such as `production` that point to a version. It is a log of moves: it keeps what pointed where, and
# why, and the last move counts.

# %%
tables = """
DROP TABLE IF EXISTS moves;
DROP TABLE IF EXISTS versions;
CREATE TABLE versions (version INTEGER PRIMARY KEY, sha256 TEXT NOT NULL, data_sha256 TEXT,
                       parent INTEGER REFERENCES versions, how TEXT, accuracy REAL);
CREATE TABLE moves (id INTEGER PRIMARY KEY, alias TEXT,
                    version INTEGER REFERENCES versions, why TEXT);
CREATE TRIGGER frozen BEFORE UPDATE ON versions
BEGIN SELECT RAISE(ABORT, 'a version never changes'); END;
PRAGMA foreign_keys = ON;
"""
registry = sqlite3.connect(scratch / "registry.db", isolation_level=None)

# %% [markdown]
# The database keeps three rules for us. The primary key gives each number only once. The trigger refuses changes to an
# entry. The foreign keys refuse a pointer to a version that is not there. A checksum is the fourth safeguard: an entry
# cannot stop anybody from overwriting a file, but the comparison shows that somebody did.


# %%
def register(version, parent, learned_from, how):
    seen = hashlib.sha256(
        learned_from.images.tobytes() + learned_from.labels.tobytes()
    ).hexdigest()
    facts = (pipeline.checksum(files[version]), seen, parent, how, accuracy[version])
    registry.execute("INSERT INTO versions VALUES (?, ?, ?, ?, ?, ?)", (version, *facts))


without_validation, _ = data.hold_out(train)

# %%
with registry:
    registry.executescript(tables)
register(1, None, train, "lesson 01")
register(2, 1, train, "8 bits, of version 1")
register(3, None, without_validation, "lesson 04, shifted pictures")
register(4, 3, without_validation, "classes in another order")
found = registry.execute("SELECT * FROM versions").fetchall()

# %%
show.table(
    ["version", "sha256", "data", "parent", "how", "accuracy"],
    [[v, s[:8], d[:8], p or "", how, f"{a:.1%}"] for v, s, d, p, how, a in found],
)

# %% [markdown]
# This table alone would stop version 4: its accuracy on the test images gives it away. That is the first gate, and the
# cheapest. We let the version pass all the same, for two reasons. In production the labels of today's requests come
# weeks later, if at all. And many mistakes, such as a wrong preprocessing in the service, do not show when the model
# is tested alone. Versions 3 and 4 have the same checksum of their data, and so do 1 and 2. The two pairs differ,
# since lesson 04 kept a part of the training images for validation.
#
# Three things must not happen: a version changes, an alias points to a version that is not there, or two people move
# an alias at the same time without seeing each other's move. So a move must say where the alias was, and is refused if
# that is no longer true.


# %%
def current(alias):
    """The version that an alias points to, and the one before; None where there is none."""
    found = registry.execute(
        "SELECT version FROM moves WHERE alias = ? ORDER BY id DESC", (alias,)
    )
    return ([version for (version,) in found.fetchmany(2)] + [None, None])[:2]


# %%
def move(alias, version, was, why):
    """Points an alias elsewhere, if it still points to `was`. Returns whether it did."""
    registry.execute("BEGIN IMMEDIATE")  # nobody else writes between the look and the move
    with registry:  # commits at its end, or takes everything back
        if current(alias)[0] != was:
            return False
        row = (alias, version, why)
        registry.execute("INSERT INTO moves (alias, version, why) VALUES (?, ?, ?)", row)
        return True


# %% [markdown]
# `BEGIN IMMEDIATE` takes the database's only writing lock before it looks. If two moves come at once, one waits, and
# then sees what the other has done.

# %%
moved = [
    move("production", 1, current("production")[0], "first release"),
    move("candidate", 2, current("candidate")[0], "smaller"),
    move("candidate", 3, 2, "better"),  # Ana has seen 2
    move("candidate", 4, 2, "newest"),  # so has Ben, a second later
]
claim(
    "Ben's move is refused, since the alias is not where he saw it", moved == [True] * 3 + [False]
)


# %%
def refused(call, *arguments):
    try:
        call(*arguments)
    except sqlite3.IntegrityError as why:
        return str(why)


# %%
tried = [
    refused(register, 3, None, train, "a mended 3"),
    refused(registry.execute, "UPDATE versions SET sha256 = '' WHERE version = 3"),
    refused(move, "production", 9, 1, "?"),
]

# %%
claim(
    "a version that is registered again or changed is refused, and an alias on nothing too",
    all(tried) and current("production")[0] == 1,
    "; ".join(map(str, tried)),
)

# %% [markdown]
# The move compares before it swaps (*compare-and-swap*). Without that, Ben would have replaced Ana's candidate without
# knowing that there was one. *Lineage*, the line of parents, answers a question that every incident asks: which other
# versions come from the broken one? SQL finds them with a query that uses its own result. It begins with one version
# and adds children until none is new.

# %%
descent = """
WITH RECURSIVE line(version, how) AS (
    SELECT version, how FROM versions WHERE version = ?
    UNION SELECT child.version, child.how
    FROM versions child JOIN line ON child.parent = line.version)
SELECT version FROM line ORDER BY version
"""
touched = {root: [v for (v,) in registry.execute(descent, (root,))] for root in (1, 3)}

# %%
claim(
    "what is wrong with 1 concerns 2 as well; what is wrong with 3 concerns 4",
    touched == {1: [1, 2], 3: [3, 4]},
)

# %% [markdown]
# How does a server learn of a move? Ours reads *labels* from a file beside the versions (lesson 14), here five times a
# second. We write the file under another name and then rename it. Renaming is atomic: a reader finds the old file or
# the new one, never half of one.


# %%
def publish_aliases(folder):
    pairs = {alias: current(alias)[0] for alias in ("production", "candidate")}
    draft = folder / "digits_cnn" / "draft"
    draft.write_text(json.dumps({"labels": pairs}), encoding="utf-8")
    os.replace(draft, folder / "digits_cnn" / "serving.json")
    return pairs


shelf = published("shelf", 1, 2, 3)

# %%
publish_aliases(shelf)
server = start_service(shelf, scratch / "server.log", options=["--reload-seconds", "0.2"])


# %% [markdown]
# A client asks for the label, not for a number. The answer's header `X-Model-Version` says which version gave it. That
# header is worth its few bytes: without it, nobody could tell afterwards which version gave which answer.


# %%
def post(url, body):
    """The version that answered. Raises HTTPError for any status but 200."""
    kind = {"Content-Type": "application/json"}
    request = urllib.request.Request(url, json.dumps(body).encode(), kind)
    with DIRECT.open(request, timeout=10) as answer:
        return int(answer.headers["X-Model-Version"])


# %%
pictures = [{"instances": [image[None].tolist()]} for image in test.images]


def in_production():
    return post(f"{server.url}/v1/models/digits_cnn/labels/production:predict", pictures[0])


# %%
def settles_at(version, seconds=20):
    until = time.monotonic() + seconds
    while (now := in_production()) != version and time.monotonic() < until:
        time.sleep(0.05)
    return now


# %%
seen = [in_production()]
for version, why in ((3, "passed its canary"), (1, "rolled back: an incident")):
    move("production", version, current("production")[0], why)
    publish_aliases(shelf)
    seen.append(settles_at(version))
claim("the server follows the alias, forward and back", seen == [1, 3, 1], seen)

# %% [markdown]
# A rollback is a move like any other: it needs no training, no build, no copy, because the old version is still there
# and was never changed. MLflow's registry holds the same three things under other names:
#
# ```python
# client.create_model_version("digits_cnn", source=…, run_id=…)           # the run is the lineage
# client.set_registered_model_alias("digits_cnn", "production", 3)        # the last one wins: no compare-and-swap
# mlflow.pyfunc.load_model("models:/digits_cnn@production")
# ```
#
# ## What would the new version say?
#
# Let it answer, and show nobody. *Shadow traffic* is copies of real requests: the gateway answers from the stable
# version, sends the copy afterwards, and counts whether both name the same digit. Before you run it: on how many of
# the 450 test images do versions 1 and 3 differ? Write a number down. The accuracies in the table above give you a
# lower bound.

# %%
server.stop()
differ = int((classes[1] != classes[3]).sum())
stable = start_service(published("stable", 1), scratch / "stable.log")
candidate = start_service(published("candidate", 3), scratch / "candidate.log")


def start_gateway(*arguments):
    log = scratch / f"gateway-{time.monotonic_ns()}.log"
    return start_module("course_lib.services.gateway", arguments, log)


# %% [markdown]
# We read the gateway's counters from its `/metrics`, as a monitoring system does. Each line there is a name, labels
# and a number. `counted` keeps the numbers by name and by the labels' values. The gateway asks a shadow after the
# client has its answer. So at the end we wait until every copy is counted: as the same, as different, or as failed.


# %%
def counted(*texts):
    """Counters by name and labels, summed over gateways' /metrics."""
    seen = Counter()
    for family in (each for text in texts for each in text_string_to_metric_families(text)):
        for sample in family.samples:
            seen[sample.name, *sample.labels.values()] += sample.value
    return seen


# %%
def metrics(url):
    return DIRECT.open(url + "/metrics").read().decode()


# %%
def shadowed(shadow, count):
    """Sends images through a gateway with this shadow; the gateway's counters and the times."""
    gateway = start_gateway("--predictor", stable.url, "--shadow", shadow)
    url = gateway.url + "/v1/models/digits_cnn:predict"
    told, until = load.closed_loop(lambda i: post(url, pictures[i]), count), time.monotonic() + 20
    copies = 0
    while copies < count and time.monotonic() < until:
        seen = counted(metrics(gateway.url))
        copies = sum(n for key, n in seen.items() if key[0] == "gateway_shadow_total")
        time.sleep(0.05)
    gateway.stop()
    return seen, told.latency_ms


# %%
seen, beside_quick_ms = shadowed(candidate.url, 450)

# %%
compared = {
    kind: int(seen["gateway_shadow_total", kind]) for kind in ("same", "different", "failed")
}
claim(
    "the shadow differs on exactly the images on which the files differ",
    compared == {"same": 450 - differ, "different": differ, "failed": 0},
    f"{differ} of 450",
)

# %% [markdown]
# No labels were needed: we measured *agreement* with the stable version in place of accuracy. One version can be right
# and the other wrong only where they differ. So their accuracies are no further apart than the share of answers that
# differ.

# %%
apart = abs(accuracy[3] - accuracy[1])
claim(
    "the accuracies differ by no more than the answers do",
    apart <= differ / 450 + 1e-9,
    f"{apart:.2%} and {differ / 450:.2%}",
)

# %% [markdown]
# Agreement does not say which of the two is right, nor whether a difference matters. It says only how many differences
# there are, within minutes. If you expect 1 % of the answers to change and see 20 %, that is enough to stop. What does
# a shadow cost the clients? We make it slow: it waits up to 600 ms for a batch to fill. Imagine that somebody copied
# this setting from a service with more traffic. Before you run it: how long does a client wait now?

# %%
WAITS = ["--batch-wait-ms", "600", "--max-batch-size", "64"]
slow = start_service(scratch / "candidate", scratch / "slow.log", options=WAITS)
seen, beside_slow_ms = shadowed(slow.url, 40)
shadow_s = seen["gateway_try_duration_seconds_sum", "shadow-0"] / 40

# %%
claim(
    "clients do not wait for a slow shadow: their median is less than half of its time",
    np.median(beside_slow_ms) < 0.5 * 1000 * shadow_s,
    f"beside a slow shadow {np.median(beside_slow_ms):.1f} ms, beside a quick one "
    f"{np.median(beside_quick_ms):.1f} ms; the slow shadow itself {1000 * shadow_s:.0f} ms",
)
for each in (slow, candidate, stable):
    each.stop()

# %% [markdown]
# A slow shadow does not slow the clients down, because the gateway answers first and sends the copy afterwards. It
# also drops a copy if 64 are under way already, so a shadow that hangs does not fill the gateway's memory.
#
# A copy has a price all the same. The answer is computed twice, and whatever else the service *does* is done twice. A
# model only reads; requests to a service that books, sends or bills must not be copied. And a shadow cannot show
# whether users like the new answers. For that, some users must get them.
#
# ## Which change breaks a client?
#
# A version can give correct answers and still break its clients. Clients depend on names, shapes and types. Together
# these are the model's *schema*, and an ONNX file contains it. We make five changes of version 1 that look harmless,
# each with a reason that somebody once gave. We also write three clients: one that sends rows (`instances`), one that
# sends columns by name (`inputs`), one that speaks the Open Inference Protocol. Which of the fifteen combinations
# break?


# %%
def edited(change):
    """Version 1 with one change of its schema, as an ONNX model."""
    model = onnx.load(files[1])
    change(model.graph)
    onnx.checker.check_model(model)
    return model


# %% [markdown]
# An ONNX file knows a tensor by its name alone, so a change of schema is little work: rename a tensor, or add a node
# before the input or after the output. `described` writes the entry with a tensor's type and shape.


# %%
def described(name, *shape, kind=TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, kind, ["batch", *shape])


def renamed(graph, old, new):
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [new if name == old else name for name in names]
    for value in (*graph.input, *graph.output):
        value.name = new if value.name == old else value.name


# %%
def output_added(graph):
    graph.node.append(helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1))
    graph.output.append(described("probabilities", 10))


# %%
def without_channel(graph):
    graph.initializer.append(numpy_helper.from_array(np.array([1]), "channel"))  # which axis
    renamed(graph, "pixels", "with_channel")
    graph.node.insert(0, helper.make_node("Unsqueeze", ["pixels", "channel"], ["with_channel"]))
    graph.input[0].CopyFrom(described("pixels", 8, 8))


# %%
def in_doubles(graph):
    renamed(graph, "logits", "single")
    graph.node.append(helper.make_node("Cast", ["single"], ["logits"], to=TensorProto.DOUBLE))
    graph.output[0].CopyFrom(described("logits", 10, kind=TensorProto.DOUBLE))


# %% [markdown]
# Here are the five changes, with the reasons. All of them are models that run. One server serves all of them and the
# original, under six names.

# %%
changes = {
    "none": lambda graph: None,
    "output added": output_added,  # "the app wants probabilities as well"
    "output renamed": lambda graph: renamed(graph, "logits", "scores"),  # "a better name"
    "input renamed": lambda graph: renamed(graph, "pixels", "image"),  # "as in the paper"
    "channel axis gone": without_channel,  # "there is only one"
    "output in float64": in_doubles,  # "more precise"
}

# %%
shelf = scratch / "schemas"
for name, change in changes.items():
    place = shelf / name.replace(" ", "_") / "1"
    place.mkdir(parents=True, exist_ok=True)
    onnx.save(edited(change), place / "model.onnx")
server = start_service(shelf, scratch / "schemas.log")

# %% [markdown]
# Here are three clients, as people write them every day. Each must read the digits of ten images. The first sends rows
# and takes the answer as it comes. The second names its input and takes the answer as it comes. The third names its
# input, and looks up its output by name.

# %%
ten = test.images[:10, None]


def by_rows(name):
    told = ask(f"{server.url}/v1/models/{name}:predict", {"instances": ten.tolist()})
    return [int(np.argmax(row)) for row in told["predictions"]]


# %%
def by_columns(name):
    told = ask(f"{server.url}/v1/models/{name}:predict", {"inputs": {"pixels": ten.tolist()}})
    return np.argmax(told["outputs"], axis=1).tolist()


# %%
def by_open_inference(name):
    pixels = {"name": "pixels", "shape": ten.shape, "datatype": "FP32", "data": ten.tolist()}
    told = ask(f"{server.url}/v2/models/{name}/infer", {"inputs": [pixels]})
    (logits,) = [each for each in told["outputs"] if each["name"] == "logits"]
    return np.reshape(logits["data"], logits["shape"]).argmax(axis=1).tolist()


# %% [markdown]
# There are four outcomes for a client: it works; the server refuses its request; it cannot read the answer; or, worst
# of all, it goes on with wrong digits.


# %%
def fares(client, name):
    try:
        answer = client(name.replace(" ", "_"))
    except RuntimeError:  # the server refused: it says why, with status 400
        return "refused"
    except Exception as wrong:
        return f"client fails: {type(wrong).__name__}"
    return "works" if answer == classes[1][:10].tolist() else "WRONG, in silence"


# %%
clients = {"rows": by_rows, "columns": by_columns, "Open Inference": by_open_inference}
fared = {name: [fares(client, name) for client in clients.values()] for name in changes}
show.table(["change", *clients], [[name, *each] for name, each in fared.items()])

# %%
broken = [name for name, each in fared.items() if set(each) != {"works"}]
claim(
    "an added output, the harmless one, breaks two of three clients, one of them without an error",
    fared["output added"][0].startswith("WRONG") and "works" not in fared["output added"][:2],
    fared["output added"],
)

# %% [markdown]
# The row form leaves out the output's name if there is only one output. With a second one each row becomes an object,
# `{"logits": […], "probabilities": […]}`, and `np.argmax` of an object is 0: every digit is a zero, with status 200.
# "An optional addition breaks nobody" is true only for clients that look things up by name and ignore the rest, as the
# third one does. Our three clients read numbers as text, so they do not notice float64. A client that reads a tensor's
# bytes as float32 would read noise. So compare the schemas before the promotion: the server gives you the schema of
# both versions.


# %%
def schema(name):
    told = ask(f"{server.url}/v2/models/{name.replace(' ', '_')}")
    sides = ("inputs", "outputs")
    return {(s, t["name"]): (t["datatype"], tuple(t["shape"])) for s in sides for t in told[s]}


# %%
def differences(old, new):
    """What a client could stumble over, a line each."""
    names = sorted(old.keys() | new.keys())
    told = {name: (old.get(name, "absent"), new.get(name, "absent")) for name in names}
    return [f"{side[:-1]} {n}: {a} → {b}" for (side, n), (a, b) in told.items() if a != b]


# %%
found = {name: differences(schema("none"), schema(name)) for name in changes}
show.table(["change", "found"], [[name, "; ".join(each)] for name, each in found.items()])

# %%
claim(
    "each change that broke a client is found by comparing two schemas; no change, no finding",
    all(found[name] for name in broken) and not found["none"],
    f"{len(broken)} changes broke somebody",
)
server.stop()

# %% [markdown]
# A gate that asks a human at each finding is crude, and often good enough. A finer gate knows the direction. An input
# may become *wider* (accept more than before), and an output may become *narrower* (promise less variety). The reverse
# breaks clients. Exercise 19.4 writes such a gate, over fields like those of lesson 08's contracts. If a change has to
# break clients, give the model another *name*, and keep the old one beside it until the last client has moved.
#
# ## How many requests does a canary need?
#
# A *canary* is a new version that gets a small share of the real requests, so that few see it if it is bad. "Ten
# minutes at 5 %" is what teams write down. Is that enough? A request goes wrong if it ends in an error, is too slow,
# or gets another digit than the stable version gives. Let its probability be $p_0$ for a candidate that is as it
# should be, and $p_1 > p_0$ with the regression that we want to see. Of $n$ independent requests, $K$ go wrong. For
# large $n$, $K$ is nearly normal with mean $np$ and variance $np(1-p)$.
#
# We sound the alarm above a bound $c$. A false alarm shall have probability $\alpha$, and with $z_q$ the number that a
# standard normal variable exceeds with probability $q$,
#
# $$c = n p_0 + z_\alpha \sqrt{n p_0 (1-p_0)} .$$
#
# A miss, $K \le c$ although $p = p_1$, shall have probability $\beta$:
#
# $$c = n p_1 - z_\beta \sqrt{n p_1 (1-p_1)} .$$
#
# Both at once, divided by $\sqrt n$:
#
# $$\sqrt n = \frac{z_\alpha \sqrt{p_0(1-p_0)} + z_\beta \sqrt{p_1(1-p_1)}}{p_1 - p_0} .$$
#
# The numerator is the noise, the denominator is the signal. For $\alpha$ = 5 % and $\beta$ = 10 %, we take five
# regressions, from tiny to gross. Guess before you run it: how many times as many requests does 1 % → 1.1 % need as 1
# % → 2 %?


# %%
def needed(p0, p1, alpha=0.05, beta=0.1):
    z = NormalDist().inv_cdf
    spread = z(1 - alpha) * math.sqrt(p0 * (1 - p0)) + z(1 - beta) * math.sqrt(p1 * (1 - p1))
    return math.ceil((spread / (p1 - p0)) ** 2)


# %% [markdown]
# The derivation used an approximation, so we test the formula: we draw 20,000 canaries with $p_0$ and 20,000 with
# $p_1$, and count how often each error is made.

# %%
regressions = [(0.001, 0.002), (0.01, 0.011), (0.01, 0.02), (0.01, 0.05), (0.02, 0.2)]
rng = np.random.default_rng(0)


# %%
def simulated(p0, p1, alpha=0.05, runs=20_000):
    """Shares of false alarms and of misses with so many requests."""
    n = needed(p0, p1)
    bound = n * p0 + NormalDist().inv_cdf(1 - alpha) * math.sqrt(n * p0 * (1 - p0))
    false, missed = rng.binomial(n, p0, runs) > bound, rng.binomial(n, p1, runs) <= bound
    return n, false.mean(), missed.mean()


drawn = [simulated(*each) for each in regressions]

# %%
rows = [
    [f"{a:.1%} → {b:.1%}", f"{n:,}", f"{n / 5 / 60:,.1f}", f"{f:.1%}", f"{m:.1%}"]
    for (a, b), (n, f, m) in zip(regressions, drawn)
]
head = ["regression", "requests", "minutes at 5 % of 100 a second", "false alarms", "missed"]
show.table(head, rows)

# %%
claim(
    "where many requests go wrong, false alarms are near 5 % and misses near 10 %, as planned",
    all(abs(f - 0.05) < 0.02 and abs(m - 0.1) < 0.02 for n, f, m in drawn[:3]),
)
claim(
    "a regression by a tenth, of 1 %, takes more than 50 times the requests of a doubling",
    drawn[1][0] > 50 * drawn[2][0],
    f"{drawn[1][0]:,} and {drawn[2][0]:,}",
)

# %% [markdown]
# Requests grow with the *square* of one over the difference. Ten minutes at 5 % of 100 requests a second are 3,000
# requests: enough to see errors double from 1 % to 2 %, hopeless for 1.1 %. A canary guards against accidents, not
# against slow decay. Slow decay needs monitoring over weeks (lessons 20 and 21). In the last rows so few requests go
# wrong that the normal approximation is rough.
#
# ## May one look before the end?
#
# Everybody does. The rule says "after 3,000 requests", and the dashboard is open from the first one. Take candidates
# that are exactly as good as the stable version, $p = 1$ %, look every 100 requests, and stop as soon as the test
# above raises an alarm. How many good candidates are sent back within 10,000 requests? Make a guess, knowing that a
# single look is wrong in 5 % of the cases.

# %%
LOOKS, EVERY, RUNS = 100, 100, 4000  # 4,000 good candidates, 10,000 requests each
wrong = rng.binomial(EVERY, 0.01, (RUNS, LOOKS)).cumsum(axis=1)
n = EVERY * np.arange(1, LOOKS + 1)
alarmed = wrong > n * 0.01 + NormalDist().inv_cdf(0.95) * np.sqrt(n * 0.01 * 0.99)
peeking = np.maximum.accumulate(alarmed, axis=1).mean(axis=0)  # alarmed at this look or before

# %%
claim(
    "looking 100 times sends more than 25 % of the good candidates back",
    peeking[-1] > 0.25,
    f"{peeking[-1]:.0%}, after one look {alarmed[:, -1].mean():.1%}",
)

# %% [markdown]
# Each look is another chance to be wrong, and the chances add up. The promise of a fixed test is for one look, at a
# time that was chosen in advance. We want a test that may be looked at after every request. Instead of the count,
# follow how much more likely the data are under $p_1$ than under $p_0$. With outcomes $x_i$ (1: went wrong), after $n$
# of them:
#
# $$\Lambda_n = \prod_{i=1}^n \frac{p_1^{x_i}(1-p_1)^{1-x_i}}{p_0^{x_i}(1-p_0)^{1-x_i}}, \qquad
#   \ln\Lambda_n = K_n \ln\frac{p_1}{p_0} + (n-K_n)\ln\frac{1-p_1}{1-p_0} .$$
#
# If $p = p_0$, the next factor is $p_1/p_0$ with probability $p_0$, else $(1-p_1)/(1-p_0)$. Its mean is
# $p_0\cdot\frac{p_1}{p_0} + (1-p_0)\cdot\frac{1-p_1}{1-p_0} = 1$. So whatever came before, on average $\Lambda$ stays
# where it is, and it began at 1. This is a fair game. Stop it at the first $n$ with $\Lambda_n \ge a$, or after $N$
# requests, however large $N$ is. Let $q$ be the probability that it reaches $a$. The mean of $\Lambda$ at the stop is
# at least $q\cdot a$, since $\Lambda$ is never negative. And it is 1, since the game is fair. So
#
# $$q \le 1/a .$$
#
# This is *Ville's inequality*. With $a = 1/\alpha$, the probability that a good candidate is *ever* sent back is at
# most $\alpha$, however often we look. If the candidate is better than $p_0$, the factor's mean is below 1, and the
# bound still holds. Turned around ($1/\Lambda$ is fair under $p_1$), promoting at $\Lambda_n \le \beta$ lets a bad one
# pass with probability $\beta$ at most. This is Wald's *sequential probability ratio test*, with slightly wider
# bounds. In code it is one line over two counts. We try it on the same simulated candidates as above:


# %%
def evidence(wrong, n, p0, p1):
    """ln Λ: above 0 the counts speak for p1, below for p0."""
    return wrong * math.log(p1 / p0) + (n - wrong) * math.log((1 - p1) / (1 - p0))


# %%
ratio = np.maximum.accumulate(evidence(wrong, n, 0.01, 0.02), axis=1)
sequential = (ratio >= math.log(1 / 0.05)).mean(axis=0)
claim(
    "looking as often at ln Λ sends at most 5 % back",
    sequential[-1] <= 0.05 + 0.015,
    f"{sequential[-1]:.1%}",
)

# %%
plt.plot(n, 100 * peeking, color=show.RED, label="the fixed test, looked at every 100 requests")
plt.plot(n, 100 * sequential, color=show.BLUE, label="the sequential test")
plt.axhline(5, color="black", lw=1, ls="--")
plt.text(n[-1], 5.6, "5 %, as promised", ha="right", fontsize=9)
plt.xlabel("requests to the canary")
plt.ylabel("good canaries sent back (%)")
plt.ylim(0)
plt.legend(loc="center right")
show.finding(
    f"Peeking at a fixed test sends {peeking[-1]:.0%} of the good canaries back",
    alt=f"Share of good canaries sent back against requests. Fixed test: from {peeking[0]:.0%} at "
    f"the first look to {peeking[-1]:.0%} after 10,000 requests. Sequential test: "
    f"{sequential[-1]:.1%}, below the promised 5 %.",
)

# %% [markdown]
# And what does it cost to look so often? A fixed test needs all of its requests; this one stops as soon as it knows.
# We simulate 1,000 candidates for each of several true rates: good ones, bad ones, and some in between. Each test has
# both bounds and looks after every ten requests.


# %%
def stops(p, p0=0.01, p1=0.02, alpha=0.05, beta=0.1, longest=40_000, runs=1000):
    """When the test ends, and how often it sends back, where the truth is p."""
    wrong = rng.binomial(10, p, (runs, longest // 10)).cumsum(axis=1)
    known = evidence(wrong, 10 * np.arange(1, longest // 10 + 1), p0, p1)
    over = (known >= math.log(1 / alpha)) | (known <= math.log(beta))
    first = over.argmax(axis=1)
    back = known[np.arange(runs), first] >= math.log(1 / alpha)
    return 10 * (first + 1), back


# %%
fixed = needed(0.01, 0.02)
truths = [0.005, 0.01, 0.015, 0.02, 0.03, 0.05, 0.1]
ended = {p: stops(p) for p in truths}
mean_n = {p: times.mean() for p, (times, _) in ended.items()}

# %%
show.table(
    ["truth", "sent back", "requests, on average", "9 of 10 within"],
    [
        [f"{p:.1%}", f"{b.mean():.1%}", f"{t.mean():,.0f}", f"{np.quantile(t, 0.9):,.0f}"]
        for p, (t, b) in ended.items()
    ],
)

# %%
claim(
    "the sequential test needs fewer requests on average than the fixed one, for good and for bad",
    max(mean_n[0.01], mean_n[0.02]) < fixed,
    f"{mean_n[0.01]:,.0f} and {mean_n[0.02]:,.0f}; fixed {fixed:,}",
)

# %%
claim(
    "for what is much worse than the regression planned for, it needs less than a fifth of them",
    mean_n[0.1] < fixed / 5,
    f"{mean_n[0.1]:.0f}",
)

# %% [markdown]
# On average it costs nothing. It even saves requests, since it stops early when the case is clear. The price is that
# you do not know in advance when it ends (the last column helps you plan). In the middle, at a true rate of 1.5 %, it
# takes long and decides about like a coin. There, neither answer is wrong. Exercise 19.2 writes the test over a stream
# of requests, 19.3 the exact sample size where failures are rare.
#
# ## A canary on the cluster
#
# `k8s/overlays/canary` holds lesson 17's base twice, as `digits` and `digits-canary`, and two pods of lesson 15's
# gateway in front of them. One line matters more than it seems: the candidate's pods have their own value of the label
# `app`. Many tutorials keep `app: digits` for both, and tell them apart by a second label, `track`. Which pods does
# the stable Service select then?


# %%
def selects(selector, labels):
    return selector.items() <= labels.items()


base = yaml.safe_load((places.CHECKOUT / "k8s/base/service.yaml").read_text())["spec"]["selector"]
overlay = (places.CHECKOUT / "k8s/overlays/canary/candidate/kustomization.yaml").read_text()
ours = yaml.safe_load(overlay)["labels"][0]["pairs"]
tutorial = {"app": "digits", "track": "canary"}

# %%
claim(
    "the tutorial's candidate is behind the stable Service, ours is not",
    selects(base, tutorial) and not selects(base, ours),
    f"the Service selects {base}",
)

# %% [markdown]
# With two stable pods and one candidate the tutorial's canary gets a third of the connections, not 5 %, and to give it
# 1 % you need 99 stable pods. Some teams do that on purpose, if nothing in front of the Service can split requests.
# Here the gateway splits by weight, `--predictor=http://digits=80 --predictor=http://digits-canary=20`, and a client
# that sends an `X-Client-Id` gets the same version each time: a hash of its name, between 0 and 1, is compared with
# the weights. We take two hundred clients. Which of them get the candidate?


# %%
def position(client):
    """From 0 to 1, the same in every process; the first 80 % belong to the stable version."""
    return int.from_bytes(hashlib.sha256(client.encode()).digest()[:8]) / 2**64


ids = [f"client-{number}" for number in range(200)]
won = {share: {each for each in ids if position(each) >= 1 - share} for share in (0.05, 0.2, 0.5)}

# %%
claim(
    "whoever meets the candidate at 5 % still does at 20 % and at 50 %",
    won[0.05] <= won[0.2] <= won[0.5],
    ", ".join(f"{share:.0%}: {len(each)} of 200" for share, each in won.items()),
)

# %% [markdown]
# Without this, a user gets one version's answer, reloads, and gets the other's. With it, the same few clients would
# test every release; exercise 19.1 solves that. Two hundred names are few, so their shares only come near the weights.
#
# Now the cluster. We build one image for each version, since Kubernetes rolls images out and back. The gateway's two
# weights are two of its arguments. A third, optional argument sends copies to the candidate. `own` ends the names of
# images and namespace with a few letters that belong to your copy of the course, so nobody else's lesson touches them.

# %%
NAMESPACE, GATEWAY = own("digits-19-canaries"), own("digits-gateway:lesson-19")
IMAGES = {version: own(f"digits-service:lesson-19-{version}") for version in files}
OURS = {"course-lesson": own("19")}
for version in files:
    published(f"image-{version}", version)
bodies = [json.dumps(each, separators=(",", ":")) for each in pictures[:150]]


# %%
def gateway_args(percent, shadow=0):
    """Arguments of the gateway. percent: the candidate's; shadow: its share of copies, to 1."""
    args = ["--host=0.0.0.0", "--port=8080", "--timeout-ms=5000"]
    args.append(f"--predictor=http://digits={100 - percent}")
    args.append(f"--predictor=http://digits-canary={percent}")
    return args + [f"--shadow=http://digits-canary={shadow}"] * bool(shadow)


# %% [markdown]
# We apply the overlay with a few changes, made in Python: our images' names, the candidate at 0 % and without a pod,
# and on an old cluster the API version that it knows.


# %%
def first_manifests():
    """k8s/overlays/canary with our images, without a candidate yet, as this cluster takes them."""
    from course_lib.ops.kubernetes import kubectl, rendered, the

    documents = rendered("k8s/overlays/canary", image=IMAGES[1])
    gateway = the("Deployment", documents, "digits-gateway")["spec"]["template"]["spec"]
    gateway["containers"][0] |= {"image": GATEWAY, "args": gateway_args(0)}
    the("Deployment", documents, "digits-canary")["spec"]["replicas"] = 0
    if "policy/v1" not in kubectl("api-versions").split():  # Kubernetes before 1.21
        for each in documents:
            if each["kind"] == "PodDisruptionBudget":
                each["apiVersion"] = "policy/v1beta1"
    return documents


# %%
@live("docker", "kubernetes")
def deploy():
    from course_lib.ops import docker, kubernetes

    client = docker.docker_client()  # first, what an earlier run left, if it broke off
    docker.clear(client, OURS, GATEWAY, *IMAGES.values(), namespace=NAMESPACE)
    start = time.monotonic()
    docker.build_gateway(client, scratch / "context", GATEWAY)
    for version, tag in IMAGES.items():
        docker.build_service(client, scratch / "context", scratch / f"image-{version}", tag)
    loaded = [kubernetes.load_image(tag) for tag in (GATEWAY, *IMAGES.values())]
    built_s = time.monotonic() - start
    kubernetes.fresh_namespace(NAMESPACE)
    applied = kubernetes.apply(first_manifests(), NAMESPACE)
    for name in ("digits", "digits-gateway"):
        kubernetes.wait_for_rollout(NAMESPACE, name)
    ready_s = time.monotonic() - start - built_s
    return {"loaded": loaded[0], "applied": applied, "built_s": built_s, "ready_s": ready_s}


# %%
deployed = deploy()

# %%
print(deployed["loaded"], *deployed["applied"], sep="\n")
observe(
    "from nothing to two ready services and a gateway it takes less than 30 s",
    deployed["ready_s"] < 30,
    f"{deployed['ready_s']:.0f} s, after {deployed['built_s']:.0f} s of building",
    of=deployed,
)

# %% [markdown]
# ## Who decides?
#
# A function. It reads the gateways' counters, those of the candidate alone, and asks three sequential tests: does it
# *fail*, is it *slow* (longer than 0.5 s), does it *differ* from the stable version? For each we say which share is
# fine, $p_0$, and which share we want to notice, $p_1$. In one step, a candidate that is fine in all three is sent
# back with probability $3\alpha$ at most, since the probability of any of three false alarms is at most their sum. A
# promotion needs all three tests. So a candidate that is bad in any of them passes with probability $\beta$ at most.

# %%
LIMITS = {"failed": (0.005, 0.05), "slow": (0.02, 0.2), "different": (0.03, 0.1)}  # p0, p1
ALPHA, BETA = 0.001, 0.01


# %%
def of_candidate(seen):
    """{what: (how many went wrong, of how many)}, from the gateways' counters."""
    mine, tries = ("predictor-1", "shadow-0"), Counter()
    for (name, *labels), count in seen.items():
        if name == "gateway_tries_total" and labels[1] in mine and labels[0] != "cancelled":
            tries[labels[0]] += count
    took = "gateway_try_duration_seconds"
    quick = sum(seen[took + "_bucket", "0.5", who] for who in mine)
    timed = sum(seen[took + "_count", who] for who in mine)
    same, different = (seen["gateway_shadow_total", each] for each in ("same", "different"))
    return {
        "failed": (tries.total() - tries["200"], tries.total()),
        "slow": (timed - quick, timed),
        "different": (different, same + different),
    }


# %% [markdown]
# `predictor-1` counts the candidate's answers to clients, `shadow-0` its answers to copies. For errors and times, both
# count. Every try counts, even one that failed and that the gateway then repeated with success: it is a warning,
# although no client noticed. The times come as a *histogram*: how many tries took 0.5 s at most, and how many tries
# there were. The difference is the number of slow ones. The decision is the worst result of the three tests:


# %%
def decide(found, watched):
    """ "promote", "roll back", or "go on" as long as it is not known."""
    known = [evidence(*found[what], *LIMITS[what]) for what in watched]
    if max(known) >= math.log(1 / ALPHA):
        return "roll back"
    return "promote" if max(known) <= math.log(BETA) else "go on"


# %%
fine = {"failed": (0, 300), "slow": (1, 300), "different": (4, 300)}
cases = [fine, fine | {"different": (60, 300)}, fine | {"failed": (0, 20)}]
claim(
    "one bad test sends back, and one that is undecided holds up the promotion",
    [decide(each, LIMITS) for each in cases] == ["promote", "roll back", "go on"],
)

# %% [markdown]
# The controller gives the cluster four kinds of orders. A human would type the same:
#
# | step | order |
# | --- | --- |
# | the candidate starts | `kubectl patch deployment/digits-canary -p '{…"replicas": 1, … "image": …}'` |
# | its share changes | `kubectl patch deployment/digits-gateway -p '{… "args": […]}'` |
# | it is promoted | `kubectl patch deployment/digits -p '{… "image": "digits-service:lesson-19-3-…"}'` |
# | it goes | `kubectl patch deployment/digits-canary -p '{"spec": {"replicas": 0}}'` |
#
# The weights stand in the gateway's arguments, so a new share is a rolling update of the gateway, some seconds long. A
# gateway could also read its weights from a file, or from an address of its own, and change them at once. That has a
# price: more code, weights that no `rollout undo` restores, and counters that mix two shares. Our new gateways count
# from zero.


# %%
def patch(deployment, **spec):
    from course_lib.ops.kubernetes import kubectl

    kubectl("patch", f"deployment/{deployment}", "-n", NAMESPACE, "-p", json.dumps({"spec": spec}))


def pods_with(container, **changes):
    return {"spec": {"containers": [{"name": container, **changes}]}}


# %% [markdown]
# `patch` merges a few fields into an object, and matches containers by their names. It returns at once, while the
# cluster still works on the order. To wait until it is done, use `kubectl rollout status`. A new share is a new
# argument. A candidate is the stable version's own pod template with another image, so that nothing else differs.


# %%
def set_share(percent, shadow=0):
    from course_lib.ops.kubernetes import wait_for_rollout

    patch("digits-gateway", template=pods_with("gateway", args=gateway_args(percent, shadow)))
    wait_for_rollout(NAMESPACE, "digits-gateway")


# %%
def start_candidate(version, options=(), replicas=1):
    """Orders the stable version's pods, but for the image and further options of the server."""
    from course_lib.ops.kubernetes import listed

    (stable,) = [d for d in listed("deployments", NAMESPACE) if d["metadata"]["name"] == "digits"]
    args = stable["spec"]["template"]["spec"]["containers"][0]["args"]
    changes = {"image": IMAGES[version], "args": [*args, *options]}
    patch("digits-canary", replicas=replicas, template=pods_with("service", **changes))


# %% [markdown]
# What has happened so far? Each gateway has its own counters, so we add them up over the gateways that stay. Gateways
# that are leaving still hold counts of the last step, with another share, so we leave them out. In production,
# Prometheus collects all this (lesson 20). A few pods can be asked through the cluster's API, as `kubectl get --raw`
# does.


# %%
def gateways_counters():
    """The counters of all gateways that stay, read through the cluster's API."""
    from course_lib.ops.kubernetes import kubectl, pods

    api = f"/api/v1/namespaces/{NAMESPACE}/pods"
    staying = [pod["name"] for pod in pods(NAMESPACE, "app=digits-gateway") if not pod["leaving"]]
    return counted(*(kubectl("get", "--raw", f"{api}/{n}:8080/proxy/metrics") for n in staying))


# %%
def judge(watched, looks, seconds=60):
    """Looks until it is known; what is not known after so many seconds goes back as well."""
    from course_lib.ops.kubernetes import KubectlFailed

    until, verdict = time.monotonic() + seconds, "go on"
    while verdict == "go on" and time.monotonic() < until:
        try:
            seen = gateways_counters()
        except KubectlFailed:  # a gateway could not be read this time: no look
            continue
        found = {what: each for what, each in of_candidate(seen).items() if what in watched}
        asked = [seen["gateway_tries_total", "200", f"predictor-{i}"] for i in range(2)]
        looks.append({"at": time.time(), "asked": asked, **found})
        verdict = decide(found, watched)
    return verdict if verdict != "go on" else "roll back"


# %% [markdown]
# `judge` looks as often as it can, without a pause, since the test allows it. If it knows nothing about a candidate
# after a minute, the candidate goes back: a release that nobody uses teaches nothing. When in doubt, the version that
# we know is the safe choice.


# %%
def remove_candidate():
    """First nobody asks it any more, then it goes."""
    from course_lib.ops.kubernetes import pods

    set_share(0)
    until, old = time.monotonic() + 60, "app in (digits, digits-gateway)"
    while any(pod["leaving"] and pod["ready"] for pod in pods(NAMESPACE, old)):
        if time.monotonic() > until:
            raise TimeoutError("the old pods did not end within 60 s")
        time.sleep(0.1)
    patch("digits-canary", replicas=0)


# %% [markdown]
# The order in `remove_candidate` matters. While an old gateway finishes its last requests, it still sends some of them
# to the candidate. So the old gateways must be gone before the candidate goes. The rest is lesson 17: new pods get
# requests once they are ready, and old ones go on answering for some seconds after their address has left the Service.
# If a connection to a pod breaks all the same, the gateway asks once more (lesson 15), since a prediction may be asked
# for twice.
#
# Now the controller. It goes step by step, under traffic; each step is a share of requests and a share of copies. When
# all is well, the stable pods first change to the new version. Only then does the candidate's share go back to 0. The
# other way round, the candidate's clients would get the old version once more.


# %%
def release(version, steps, options=()):
    """Starts a version beside the stable one, watches it, promotes it or takes it back."""
    from course_lib.ops.kubernetes import wait_for_rollout
    from course_lib.ops.traffic import traffic

    asks = {"host": "digits-gateway", "clients": len(ids), "seconds": 600}
    looks, events = [], []

    def note(what):
        events.append([time.time(), what])

    start_candidate(version, options)
    with traffic(NAMESPACE, IMAGES[1], bodies, **asks) as sent:
        wait_for_rollout(NAMESPACE, "digits-canary")
        for percent, shadow in steps:
            set_share(percent, shadow)
            note(f"{percent} %" if percent else "shadow")
            verdict = judge(list(LIMITS) if shadow else ["failed", "slow"], looks)
            note("fine" if verdict == "promote" else verdict)
            if verdict == "roll back":
                break
        if verdict == "promote":
            patch("digits", template=pods_with("service", image=IMAGES[version]))
            wait_for_rollout(NAMESPACE, "digits")
            note("promoted")
        remove_candidate()
        note("gone")
        time.sleep(1)  # who answers now?
        sent.stop()
        return trimmed(sent.result(), verdict, looks, events)


# %%
def trimmed(told, verdict, looks, events):
    """What the figures need, all times in seconds since the first request."""
    begun = told["begun_at"]
    names = ("answered", "failed", "by_version", "version_by_half_second")
    kept = {name: told[name] for name in names}
    events = [[round(at - begun, 2), what] for at, what in events]
    looks = [each | {"at": round(each["at"] - begun, 2)} for each in looks]
    return {**kept, "verdict": verdict, "looks": looks, "events": events}


# %% [markdown]
# We make three releases. The first goes as it should: a step with copies alone, which no user sees, then 20 % of the
# clients. From here on, the counters decide everything. We take 20 % rather than 5 %, because all the traffic comes
# from four workers, and at 5 % we would wait four times as long.


# %%
@live("kubernetes")
def release_good():
    start = time.monotonic()
    return release(3, [(0, 1), (20, 0)]) | {"seconds": time.monotonic() - start}


# %%
@live("kubernetes")
def release_bad():
    start = time.monotonic()
    return release(4, [(20, 0.25)]) | {"seconds": time.monotonic() - start}


# %%
@live("kubernetes")
def release_slow():
    start = time.monotonic()
    found = release(2, [(20, 0)], ["--batch-wait-ms=600"])
    return found | {"seconds": time.monotonic() - start}


# %%
good = release_good()

# %%
claim(
    "version 3 was promoted, and of all requests meanwhile none failed",
    good["verdict"] == "promote" and good["failed"] == {} and good["answered"] > 0,
    f"{good['answered']:,} answered",
)


# %%
def by_version(outcome, title):
    """Answers a second over time, stacked by version; dashed: what the controller did."""
    counts = outcome["version_by_half_second"]
    colours, below = {"1": show.GREY, "2": show.GREEN, "3": show.BLUE, "4": show.RED}, 0
    for version in sorted(counts):
        rate = 2 * np.array(counts[version])
        times = np.arange(len(rate)) / 2
        name = f"version {version}"
        plt.bar(times, rate, 0.5, below, align="edge", color=colours[version], label=name, lw=0)
        below = below + rate
    plt.ylim(0, 1.4 * max(below))
    for at, what in outcome["events"]:
        if what == "fine":
            continue
        plt.axvline(at, color="black", lw=1, ls="--")
        side = "left" if what == "roll back" else "right"  # it may follow the line before at once
        plt.text(at, 1.38 * max(below), what, rotation=90, fontsize=8, va="top", ha=side)
    plt.xlabel("time (s)")
    plt.ylabel("answers a second")
    plt.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    told = ", ".join(f"version {v}: {n:,}" for v, n in outcome["by_version"].items())
    steps = "; ".join(f"{what} at {at:.0f} s" for at, what in outcome["events"])
    alt = f"Answers a second by version over time. In all {told}. Events: {steps}."
    show.finding(title, alt=alt)


# %%
by_version(good, "Version 3 takes over from 1 while the answers go on")

# %%
last = {version: sum(counts[-2:]) for version, counts in good["version_by_half_second"].items()}
asked = good["looks"][-1]["asked"]
met, due = asked[1] / sum(asked), len(won[0.2]) / len(ids)
claim("in the last second version 3 answers alone", last["1"] == 0 < last["3"], last)
claim(
    "the candidate's share is that of the clients whose names fall to it",
    abs(met - due) < 0.06,
    f"{met:.1%} of the requests, {due:.1%} of the names",
)

# %% [markdown]
# Grey is the old version, blue the new one. While the candidate gets only copies, all answers are grey. Then its
# clients' share turns blue, and at the end, when the stable pods have its image, everything does. The total goes up
# and down with the machine's other work, most likely the start of pods. Both versions have their highs and lows.
#
# Only after the verdict is the registry updated: the alias must name the version that answers.


# %%
def record(outcome, version):
    was = current("production")[0]
    if outcome["verdict"] == "promote":
        move("production", version, was, "passed its canary")
    return current("production")[0]


now = record(good, 3)
claim("production is version 3 now", now == 3, now)

# %% [markdown]
# ## Does it notice a bad one?
#
# Now version 4, with 3 and 8 exchanged. This team is in a hurry and leaves out the shadow step. The candidate gets 20
# % at once, and copies of a quarter of the stable version's requests, so that there is something to compare. Which of
# the three tests will notice, and after how many requests? By the formulas: version 4 differs wherever version 3 says
# 3 or 8, about one image in five, and each such answer adds $\ln(0.1/0.03)$, about 1.2, to a sum that must reach
# $\ln 1000$, about 6.9.

# %%
bad = release_bad()

# %%
end = {what: evidence(*bad["looks"][-1][what], *LIMITS[what]) for what in LIMITS}
claim(
    "version 4 is sent back, for its answers; its errors would have said nothing",
    bad["verdict"] == "roll back" and end["different"] >= math.log(1 / ALPHA) and end["failed"] < 0,
    ", ".join(f"{what}: {wrong:.0f} of {n:.0f}" for what, (wrong, n) in
              ((what, bad["looks"][-1][what]) for what in LIMITS)),
)  # fmt: skip

# %%
claim(
    "no request failed on the way there and back",
    bad["failed"] == {},
    f"{bad['answered']:,} answered",
)
claim("production is still version 3", record(bad, 4) == 3)

# %%
times = dict((what, at) for at, what in bad["events"])
known_s = times["roll back"] - times["20 %"]
observe("it is known within 5 s of the new share", known_s < 5, f"{known_s:.1f} s", of=bad)
by_version(
    bad, f"{bad['by_version'].get('4', 0):,} answers came from the bad version before it was gone"
)

# %% [markdown]
# The dashed line of a share marks the end of the gateway's rollout. The first new gateway pods had begun to split
# before it. How many of version 4's answers came after the verdict? There can be some, because acting on the verdict
# takes another rollout of the gateway.

# %%
after = sum(bad["version_by_half_second"].get("4", [])[int(2 * times["roll back"]) + 1 :])
observe(
    "of the bad version's answers, a part came after the verdict",
    after > 0,
    f"{after} of {bad['by_version'].get('4', 0)}",
    of=bad,
)

# %% [markdown]
# These late answers are the price of keeping weights in arguments. All of version 4's answers went to the few clients
# whose names fall to the candidate, and to nobody else. A canary does not prevent harm. It limits how many clients are
# harmed, and for how long.
#
# The third candidate is version 2. The model is smaller and correct, but it comes with a setting that waits 600 ms for
# a batch to fill. The model is not at fault, and no registry could know: a release is a model *and* its settings.

# %%
slow = release_slow()

# %%
end = {what: evidence(*slow["looks"][-1][what], *LIMITS[what]) for what in ("failed", "slow")}
claim(
    "the slow one is sent back, for its time alone, and no request failed",
    slow["verdict"] == "roll back"
    and end["slow"] >= math.log(1 / ALPHA) > end["failed"]
    and slow["failed"] == {},
    f"{slow['looks'][-1]['slow'][0]:.0f} of {slow['looks'][-1]['slow'][1]:.0f} requests were slow",
)

# %% [markdown]
# What did the tests see on the way? Each look is a point in the next figure: how many requests were judged by then,
# and how large ln Λ was.

# %%
shadow_step = [look for look in good["looks"] if "different" in look]
canary_step = good["looks"][len(shadow_step) :]  # new gateways, which count from zero
paths = {
    "version 3: differs?": (shadow_step, "different", show.BLUE, "o"),
    "version 3: fails?": (canary_step, "failed", show.SKY, "s"),
    "version 4: differs?": (bad["looks"], "different", show.RED, "o"),
    "version 2: slow?": (slow["looks"], "slow", show.GREEN, "^"),
}

# %%
words = []
for name, (looks, what, colour, mark) in paths.items():
    n = [0, *(look[what][1] for look in looks)]
    known = [0, *(evidence(*look[what], *LIMITS[what]) for look in looks)]
    plt.plot(n, known, color=colour, marker=mark, ms=4, label=name)
    words.append(f"{name} {known[-1]:.1f} after {n[-1]:.0f}")
for bound, text in ((math.log(1 / ALPHA), "roll back"), (math.log(BETA), "promote")):
    plt.axhline(bound, color="black", lw=1, ls="--")
    plt.text(plt.xlim()[1], bound, f" {text}", va="center", fontsize=9)
plt.xlabel("requests judged")
plt.ylabel("evidence ln Λ")
plt.legend(loc="center left", bbox_to_anchor=(1.13, 0.5))
show.finding(
    "Versions 4 and 2 cross the upper bound, version 3 the lower one",
    alt=f"Evidence against requests judged. {'; '.join(words)}.",
)

# %% [markdown]
# A bad candidate shows itself in few requests, since each failure is strong evidence. A good one needs more, since
# each success is only weak evidence.

# %%
judged = {name: looks[-1][what][1] for name, (looks, what, _, _) in paths.items()}
observe(
    "the bad ones are known after fewer requests than the good one",
    max(list(judged.values())[2:]) < min(list(judged.values())[:2]),
    ", ".join(f"{name} {n:.0f}" for name, n in judged.items()),
    of=bad,
)

# %% [markdown]
# ## What would others write?
#
# We wrote gateway and controller ourselves, so that you can read each line. On a cluster that has the *Gateway API*,
# the split is an object, the `HTTPRoute`:

# %%
overlays = places.CHECKOUT / "k8s/overlays"
route = yaml.safe_load((overlays / "gateway-api/http-route/http-route.yaml").read_text())
print(yaml.safe_dump(route["spec"], sort_keys=False))

# %% [markdown]
# *Argo Rollouts* is the controller. A `Rollout` takes the Deployment's place and changes the route's weights step by
# step. An `AnalysisTemplate` says when to go back.

# %%
rollout = yaml.safe_load((overlays / "argo-rollouts/rollout.yaml").read_text())
analysis = yaml.safe_load((overlays / "argo-rollouts/analysis.yaml").read_text())
steps = rollout["spec"]["strategy"]["canary"]["steps"]
(metric,) = analysis["spec"]["metrics"]
print(yaml.safe_dump({"steps": steps}), yaml.safe_dump({"metric": metric}, width=95), sep="\n")

# %%
backends = route["spec"]["rules"][0]["backendRefs"]
candidate_name = base["app"] + yaml.safe_load(overlay)["nameSuffix"]
claim(
    "the route splits between our two Services by weights that make 100, and the analysis is there",
    {each["name"]: each["weight"] for each in backends} == {base["app"]: 95, candidate_name: 5}
    and steps[1]["analysis"]["templates"][0]["templateName"] == analysis["metadata"]["name"],
)

# %% [markdown]
# Both need software that a plain cluster does not have, so they are read here, not applied. Two differences from ours
# are worth knowing. The route chooses a version anew for each request, so a client does not stay with one, unless the
# implementation adds that. And the analysis decides only once, when 1,000 requests or more are counted. Until then its
# result is empty, and it waits. Many examples look every minute instead, against a fixed bound, and let a few looks
# fail, say two of ten. We judge the same 1,000 requests in both ways. How often does each way send back a candidate
# that fails in 0.5 % of its requests? And one that fails in 2 %?

# %%
failed = rng.binomial(100, [[[0.005]], [[0.02]]], (2, 20_000, 10))  # in each of ten looks
by_looks = ((failed >= 1).sum(axis=2) > 2).mean(axis=1)
by_count = (failed.sum(axis=2) >= 10).mean(axis=1)
claim(
    "ten looks send back most candidates that fail in half of what is allowed; counting first, few",
    by_looks[0] > 0.5 and by_count[0] < 0.05 and by_count[1] > 0.95,
    f"at 0.5 %: {by_looks[0]:.0%}, {by_count[0]:.0%}; at 2 %: {by_looks[1]:.0%}, {by_count[1]:.1%}",
)

# %% [markdown]
# A look at few requests shows mostly noise: a single failure in 100 is "1 %". So compute how many requests a rule
# needs before you write it down. The query holds another trap. A candidate without failures has no counter of
# failures, and in Prometheus's query language a missing series divided by 1,000 is not 0, but missing. Hence
# `or vector(0)`. Exercise 19.5 writes a route with a way in for testers.
#
# ## All at once, and back?
#
# In a *blue–green* release the new version (green) runs at full strength beside the old one (blue). Then the Service's
# selector is switched. All clients change at once, without a gateway, and the way back is as quick as the way there.
# It costs twice the pods. We switch to version 2 and back, under two kinds of clients: one opens a connection for each
# request, one keeps its connection open. What will the second kind see?


# %%
def switch(app):
    from course_lib.ops.kubernetes import kubectl

    selector = {"spec": {"selector": {"app": app}}}
    kubectl("patch", "service/digits", "-n", NAMESPACE, "-p", json.dumps(selector))
    return time.time()


# %%
@live("kubernetes")
def blue_green():
    from course_lib.ops.kubernetes import wait_for_rollout
    from course_lib.ops.traffic import traffic

    start_candidate(2, replicas=2)
    asks = {"host": "digits", "seconds": 600}
    with traffic(NAMESPACE, IMAGES[1], bodies, name="kept", keep=True, workers=2, **asks) as kept:
        with traffic(NAMESPACE, IMAGES[1], bodies, name="anew", **asks) as anew:
            wait_for_rollout(NAMESPACE, "digits-canary")
            anew.wait_until(2)
            there = switch("digits-canary")
            time.sleep(3)  # long enough to be seen in half seconds
            back = switch("digits")
            time.sleep(3)
            for each in (anew, kept):
                each.stop()
            events = [[there, "green"], [back, "blue"]]
            return {
                n: trimmed(t.result(), "", [], events) for n, t in (("anew", anew), ("kept", kept))
            }


# %%
swapped = blue_green()

# %%
anew, kept = swapped["anew"], swapped["kept"]
claim(
    "no request failed, there and back",
    anew["failed"] == kept["failed"] == {} and anew["by_version"].get("2", 0) > 0,
    f"{anew['answered']:,} with connections of their own, {kept['answered']:,} over kept ones",
)

# %%
observe(
    "who keeps a connection stays with blue throughout",
    set(kept["by_version"]) == {"3"},
    kept["by_version"],
    of=swapped,
)

# %%
by_version(anew, "The Service's selector moves all new connections to green, and back")

# %%
green = np.flatnonzero(anew["version_by_half_second"]["2"]) / 2
(there, _), (back, _) = anew["events"]
lag = max(green[0] - there, green[-1] - back, 0)
observe(
    "each switch is over within two seconds",
    lag < 2,
    f"the first and the last answer from green: {green[0]:.1f} and {green[-1] + 0.5:.1f} s",
    of=swapped,
)

# %% [markdown]
# Both sides were ready before the switch and kept running after it, so every connected client was still answered. If
# you switch to pods that are not ready, the Service has no pod to send requests to. A Service does not move a
# connection that is kept open, such as a gateway's or a gRPC client's; it ends when its pod ends. So take blue away
# *last*, and slowly, as in `remove_candidate`. And think of what blue and green share: a database with a new schema,
# for example, does not switch back.
#
# ## Clean up
#
# We delete the Deployments first, and with them their pods. A namespace that is deleted while it still has pods takes
# many seconds more. The images are on this machine's engine.


# %%
@live("docker", "kubernetes")
def remove():
    from course_lib.ops.docker import clear, docker_client

    return clear(docker_client(), OURS, GATEWAY, *IMAGES.values(), namespace=NAMESPACE)


# %%
claim_gone("namespace and images are gone", remove())

# %% [markdown]
# ## What we measured

# %%
outcomes = (good, bad, slow, anew, kept)
lost = sum(sum(each["failed"].values()) for each in outcomes)
took = " / ".join(f"{each['seconds']:.0f} s" for each in (good, bad, slow))

# %%
rows = {
    "requests that see errors double from 1 % to 2 %": f"{fixed:,}",
    "good canaries sent back: peeking, sequential": f"{peeking[-1]:.0%}, {sequential[-1]:.1%}",
    "answers on the cluster": f"{sum(each['answered'] for each in outcomes):,}",
    "failed requests": lost,
    "answers by the bad version": bad["by_version"].get("4", 0),
    "a promotion / two rollbacks, with start and clean-up": took,
}

# %%
show.table(["what", "figure"], rows.items())

# %% [markdown]
# ## What to remember
#
# - A version never changes; what goes live, and back, is a name. Write down why it moved, and compare before you swap.
# - Errors and latency do not see a wrong model. Agreement with the stable version does, without any label.
# - Compute the requests before you promise the minutes, and look all the time only with a test that allows it.
#
# ## Where this breaks down
#
# Requests are not independent: our clients send the same 150 pictures in turn, and real ones come in bursts, so each
# counts for less than one in the formulas. The limits are fixed shares, so on a day when everything is slow, the
# candidate is blamed. A test that compares it with the stable version *at the same time* would not do that. Agreement
# rejects a version that is much better just as it rejects one that is much worse; then labels, or people, must decide.
# A canary of a few seconds sees no memory leak and no Monday morning. And our controller is a cell of a notebook: if
# it dies in the middle, the cluster stays as it was at that moment.
#
# ## What real teams use
#
# MLflow's registry, or their cloud's, for versions, aliases and lineage; often a bucket with numbered folders and a
# table. For the split they use what stands in front anyway: implementations of the Gateway API such as Envoy Gateway
# or Istio, or a service mesh. For the controller, Argo Rollouts or Flagger. KServe's `canaryTrafficPercent` does it
# for models, but only in its serverless mode. To learn which version users *like*, product teams use feature flags and
# experiment platforms: the same statistics, over weeks.
#
# ## Further reading
#
# - A. Wald, *Sequential Tests of Statistical Hypotheses*, Annals of Mathematical Statistics 16(2), 1945.
# - R. Johari, P. Koomen, L. Pekelis, D. Walsh, *Peeking at A/B Tests: Why it matters, and what to do about it*, KDD
#   2017.
# - A. Ramdas, P. Grünwald, V. Vovk, G. Shafer, *Game-Theoretic Statistics and Safe Anytime-Valid Inference*,
#   Statistical Science 38(4), 2023.
# - D. Sato, *CanaryRelease*, and M. Fowler, *BlueGreenDeployment*, martinfowler.com.
# - B. Beyer et al. (eds.), *The Site Reliability Workbook*, O'Reilly 2018, chapter 16: Canarying Releases.
# - Kubernetes SIG Network, *Gateway API*, HTTPRoute: traffic splitting. Argo Rollouts documentation, *Analysis*.
#   MLflow documentation, *Model Registry*.
