# %% [markdown]
# # 19 Versions and canaries
#
# At 3 a.m. the new version has been answering for five hours. No errors, the latency is as it was, every light is
# green, and each 3 is read as an 8. Nobody knows since when, which training it came from, or how to get the old one
# back.
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
# The course has three versions of its digits network: 1 from the tour, 2, the same in 8 bits, and 3, another
# training. We plant a fourth. It is version 3 by somebody who had the classes in another order: the rows of the last
# layer for 3 and 8 have changed places. Every shape, every type and every operation is as it was.

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
# The model server of lesson 14 reads a folder for each model, in it one for each version, named by its number. We
# shall need several such folders, so a function lays them out; and we note what each version says to the 450 test
# images.


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
# A *registry* is the list of versions with what one must know of each: a checksum that says which file is meant, the
# data that it learned from (by checksum too), its parent, its figures. Around that list grow products; the list
# itself is two tables. The second keeps *aliases*, names such as `production` that point to a version, as a log of
# moves: what pointed where, and why, is never lost, and the last move counts.

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
# The database keeps three rules for us. The primary key lets each number be given once, the trigger refuses whoever
# wants to change an entry, and the foreign keys let nothing point to a version that is not there. The checksum is the
# fourth: an entry cannot keep anybody from overwriting a file, but whoever compares will notice.


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
# Version 4 would not survive this table: its accuracy on the test images gives it away. That is the first gate, and
# the cheapest. We let it pass, since in production the labels of today's requests come weeks later, if at all, and
# because many ways to be wrong (the preprocessing of the service, say) do not show where the model is tested alone.
# Versions 3 and 4 share their data's checksum, as 1 and 2 do; the two pairs differ, since lesson 04 kept a part of
# the training images for validation.
#
# Three things must not happen: a version that changes, an alias on what is not there, and two people who move an
# alias at once without seeing each other's move. So whoever moves an alias says where it was, and is refused where
# that is not true any more.


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
# `BEGIN IMMEDIATE` takes the database's only writing lock before it looks. Of two who come at once one waits, and then
# sees what the other has done.

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
# The move compares before it swaps (*compare-and-swap*); without that, Ben would have replaced Ana's candidate
# without knowing that there was one. And *lineage*, the line of parents, answers the question of the incident: what
# else comes from there? SQL follows such a line with a query that uses its own result: it begins with one version
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
# How does a server learn of a move? Ours reads *labels* from a file beside the versions (lesson 14), here five times
# a second. The file is written under another name and then renamed, which is atomic: a reader finds the old one or
# the new one, never a half.


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
# A client asks for the label, not for a number, and the header `X-Model-Version` of the answer says who gave it. That
# header is worth its few bytes: without it nobody could tell afterwards which version has said what.


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
# version, sends the copy afterwards, and counts whether both name the same digit. Before you run it: of the 450 test
# images, on how many do versions 1 and 3 differ? Write a number down; the accuracies in the table above bound it
# from one side.

# %%
server.stop()
differ = int((classes[1] != classes[3]).sum())
stable = start_service(published("stable", 1), scratch / "stable.log")
candidate = start_service(published("candidate", 3), scratch / "candidate.log")


def start_gateway(*arguments):
    log = scratch / f"gateway-{time.monotonic_ns()}.log"
    return start_module("course_lib.services.gateway", arguments, log)


# %% [markdown]
# The gateway's counters are read from its `/metrics`, as a monitoring system does. Each line there is a name, labels
# and a number; `counted` keeps the numbers by name and the labels' values. Shadows are asked after the client has
# its answer, so at the end we wait until every copy is counted, as the same, as different, or as failed.


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
# No labels were needed: *agreement* with the stable version stands in for accuracy. Only where two versions differ can
# one be right and the other wrong, so their accuracies are no further apart than that.

# %%
apart = abs(accuracy[3] - accuracy[1])
claim(
    "the accuracies differ by no more than the answers do",
    apart <= differ / 450 + 1e-9,
    f"{apart:.2%} and {differ / 450:.2%}",
)

# %% [markdown]
# It does not say which of the two is right, nor whether a difference matters: only how many there are, within
# minutes. Whoever expects 1 % of the answers to change and sees 20 % has learned enough to stop. What does a shadow
# cost the clients? We make it slow: it waits up to 600 ms for a batch to fill, a setting that somebody copied from a
# service with more traffic. Before you run it: how long does a client wait now?

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
# The clients' times and the shadow's are apart because the gateway answers first and copies then; it also drops copies
# where 64 are under way already, so a shadow that hangs does not fill its memory.
#
# A copy has a price all the same: the computation twice, and whatever the service *does*. A model reads; a service
# that books, sends or bills must not be copied. And a shadow sees no consequences: whether users like the new
# answers, only users can tell. For that a share of them must get them.
#
# ## Which change breaks a client?
#
# A version can be right and still break those who ask. Clients hold on to names, shapes and types, the model's
# *schema*; an ONNX file carries it inside. We make five harmless-looking changes of version 1, each with a reason
# that somebody once gave, and three clients: one that sends rows (`instances`), one that sends columns by name
# (`inputs`), one that speaks the Open Inference Protocol. Which of the fifteen combinations break?


# %%
def edited(change):
    """Version 1 with one change of its schema, as an ONNX model."""
    model = onnx.load(files[1])
    change(model.graph)
    onnx.checker.check_model(model)
    return model


# %% [markdown]
# In an ONNX file a tensor is known by its name alone, so a change of schema is little work: give a tensor another
# name, or put a node before the input or behind the output. `described` writes the entry that says a tensor's type
# and shape.


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
# The five changes, with the reasons. All of them are models that run; one server gets them all, under six names.

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
# The clients as they are written every day. Each must name the digits of ten images. The first takes the rows as
# they come, the second names its input and takes the answer as it comes, the third names its input and looks its
# output up by name.

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
# A client can fare in four ways: it works; the server refuses it; it fails over the answer; or, worst of all, it
# goes on with wrong digits.


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
# The row form leaves out the name of an only output. With a second one each row becomes an object, `{"logits": […],
# "probabilities": […]}`, and `np.argmax` of an object is 0: every digit is a zero, with status 200. "To add
# something optional breaks nobody" holds for clients that look things up by name and ignore the rest, as the third
# one does. And float64, which our three do not notice as text, would be noise to a client that reads a tensor's
# bytes as float32. So ask before the promotion: both versions tell their schema.


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
# A gate that asks a human at each finding is crude, and good enough for most teams. A finer one knows the direction:
# an input may become *wider* (take more than before), an output may become *narrower* (promise less variety), and
# the reverse breaks. Exercise 19.4 writes it over fields like those of lesson 08's contracts. A change that must
# break gets another *name*: a new model beside the old one, until the last client has moved.
#
# ## How many requests does a canary need?
#
# A *canary* is a new version that gets a small share of the real requests, so that few see it if it is bad. "Ten
# minutes at 5 %" is what teams write down. Is that enough? Let a request go wrong (an error, too slow, another digit
# than the stable version says) with probability $p_0$ where the candidate is as it should be, and $p_1 > p_0$ with
# the regression that we want to see. Of $n$ independent requests, $K$ go wrong. For large $n$, $K$ is nearly normal
# with mean $np$ and variance $np(1-p)$.
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
# The numerator is noise, the denominator what we want to hear through it. For $\alpha$ = 5 % and $\beta$ = 10 %, five
# regressions from tiny to gross. Guess before you run it: how many times as many requests does 1 % → 1.1 % need as
# 1 % → 2 %?


# %%
def needed(p0, p1, alpha=0.05, beta=0.1):
    z = NormalDist().inv_cdf
    spread = z(1 - alpha) * math.sqrt(p0 * (1 - p0)) + z(1 - beta) * math.sqrt(p1 * (1 - p1))
    return math.ceil((spread / (p1 - p0)) ** 2)


# %% [markdown]
# A formula with "nearly" in its derivation is to be tried: we draw 20,000 canaries with $p_0$ and 20,000 with $p_1$,
# and count how often each error is made.

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
# against slow decay; that takes monitoring over weeks (lessons 20 and 21). In the last rows few requests go wrong at
# all, and the normal approximation gets rough.
#
# ## May one look before the end?
#
# Everybody does. The rule says "after 3,000 requests", and the dashboard is open from the first one. Take candidates
# that are exactly as good as the stable version, $p = 1$ %, look every 100 requests, and stop where the test of
# above is alarmed. How many good candidates are sent back within 10,000 requests? Guess: the test is wrong in 5 % of
# the cases.

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
# Each look is another chance to be wrong, and whoever looks long enough will be: a fixed test's promise is for one
# look, at a time that was chosen before. We want a test that may be looked at after every request. Instead of the
# count, follow how much more likely the data are under $p_1$ than under $p_0$. With outcomes $x_i$ (1: went wrong),
# after $n$ of them:
#
# $$\Lambda_n = \prod_{i=1}^n \frac{p_1^{x_i}(1-p_1)^{1-x_i}}{p_0^{x_i}(1-p_0)^{1-x_i}}, \qquad
#   \ln\Lambda_n = K_n \ln\frac{p_1}{p_0} + (n-K_n)\ln\frac{1-p_1}{1-p_0} .$$
#
# If $p = p_0$, the next factor is $p_1/p_0$ with probability $p_0$, else $(1-p_1)/(1-p_0)$. Its mean is
# $p_0\cdot\frac{p_1}{p_0} + (1-p_0)\cdot\frac{1-p_1}{1-p_0} = 1$: whatever came before, on average $\Lambda$ stays
# where it is, and it began at 1. Play a game that is fair in this sense, and stop at the first $n$ with $\Lambda_n
# \ge a$, or after $N$ requests, as many as you like. If the first happens with probability $q$, the mean at the stop
# is at least $q\cdot a$, since $\Lambda$ is never negative; and it is 1, since the game is fair. So
#
# $$q \le 1/a .$$
#
# This is *Ville's inequality*. With $a = 1/\alpha$ a good candidate is *ever* sent back with probability $\alpha$ at
# most, however often we look; and if it is better than $p_0$, the factor's mean is below 1, and the bound holds all
# the more. Turned around ($1/\Lambda$ is fair under $p_1$), promoting at $\Lambda_n \le \beta$ lets a bad one pass
# with probability $\beta$ at most. This is Wald's *sequential probability ratio test*, with slightly wider bounds.
# In code it is one line over two counts, and the same simulated candidates as above can be held against it:


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
# And what does the freedom to look cost? A fixed test would ask all of its requests; this one stops as soon as it
# knows. We let 1,000 candidates run for each of several truths, good ones, bad ones, and in between, with both
# bounds and a look after every ten requests.


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
# It costs nothing on average, rather the reverse: a test that may stop is quick where the case is clear. The price
# is that the end is not known beforehand (the last column is for whoever must plan). Between the two, at a truth of
# 1.5 %, it takes its time and decides about like a coin; there neither answer is wrong. Exercise 19.2 writes the
# test over a stream of requests, 19.3 the exact sample size where failures are rare.
#
# ## A canary on the cluster
#
# `k8s/overlays/canary` holds the base of lesson 17 twice, as `digits` and `digits-canary`, and in front of them two
# pods of lesson 15's gateway. One line of it matters more than it seems: the candidate's pods have a label `app` of
# their own. Many a tutorial keeps `app: digits` for both and tells them apart by a second label, `track`. Whom does
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
# With two stable pods and one candidate the tutorial's canary gets a third of the connections, not 5 %, and to give
# it 1 % you need 99 stable pods. Some do that on purpose, where there is nothing in front of the Service that could
# split. Here the gateway splits by weight, `--predictor=http://digits=80 --predictor=http://digits-canary=20`, and a
# client that sends an `X-Client-Id` meets the same version each time: a hash of its name, between 0 and 1, is
# compared with the weights. Two hundred clients will ask. Who meets the candidate?


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
# Without that, a user gets one version's answer, reloads, and gets the other's; and with it the same few would be the
# guinea pigs of each release, which exercise 19.1 mends. Two hundred names are few: their shares only come near the
# weights.
#
# Now the cluster. One image for each version, since on Kubernetes an image is the unit that is rolled out and back.
# The gateway's two weights are two of its arguments, and a third argument, when it is there, sends copies to the
# candidate. `own` ends the names of images and namespace with a few letters that belong to your copy of the course, so
# nobody else's lesson touches them.

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
# What is applied is the overlay, changed a little in Python: our images' names, the candidate at 0 % and without a
# pod, and on an old cluster the API version that it knows.


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
# fine, $p_0$, and which we want to see, $p_1$. A candidate that is fine in all three is sent back with probability
# $3\alpha$ at most in a step, since the chances of three false alarms add up at most. To be promoted, all must say
# yes, so one that is bad in anything passes with probability $\beta$ at most.

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
# `predictor-1` is the candidate as clients met it, `shadow-0` the candidate as it got copies; for errors and times
# both count. Every try counts, also one that failed and that the gateway then repeated with success: what clients do
# not notice yet is a sign all the same. The times come as a *histogram*: how many tries took 0.5 s at most, and how
# many there were; the difference was slow. The decision is the worst of the tests:


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
# What it does about its verdict are four orders to the cluster, the same that a human would type:
#
# | step | order |
# | --- | --- |
# | the candidate starts | `kubectl patch deployment/digits-canary -p '{…"replicas": 1, … "image": …}'` |
# | its share changes | `kubectl patch deployment/digits-gateway -p '{… "args": […]}'` |
# | it is promoted | `kubectl patch deployment/digits -p '{… "image": "digits-service:lesson-19-3-…"}'` |
# | it goes | `kubectl patch deployment/digits-canary -p '{"spec": {"replicas": 0}}'` |
#
# The weights stand in the gateway's arguments, so a new share is a rolling update of the gateway, some seconds long.
# A gateway that reads its weights from a file, or from an address of its own, would change them at once, and pay
# with code, with weights that no `rollout undo` knows, and with counters that mix two shares: our new gateways count
# from zero.


# %%
def patch(deployment, **spec):
    from course_lib.ops.kubernetes import kubectl

    kubectl("patch", f"deployment/{deployment}", "-n", NAMESPACE, "-p", json.dumps({"spec": spec}))


def pods_with(container, **changes):
    return {"spec": {"containers": [{"name": container, **changes}]}}


# %% [markdown]
# `patch` merges a few fields into an object, containers by their names, and returns at once: it is an order, and the
# cluster works on it. Who needs it done waits with `kubectl rollout status`. A new share is a new argument; a
# candidate is the stable version's own pod template with another image, so that nothing else differs.


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
# What has happened? Each gateway counts for itself, and both are needed: the sum over those that stay. Gateways that
# are leaving still hold counts of the last step, under another share, so they are left out. Prometheus would collect
# all this (lesson 20); a few pods can be asked through the cluster's API, as `kubectl get --raw` does.


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
# `judge` has no number of looks and no pause: it looks as often as it can, since the test allows it. And a candidate
# about which nothing is known after a minute goes back, for a release that nobody uses tells nothing. Where it is
# undecided, the safe side is the version that we know.


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
# The order in `remove_candidate` is the whole secret. An old gateway that still ends its last requests still sends
# some of them to the candidate: it must be gone first. The rest is lesson 17's: new pods get requests once they are
# ready, old ones go on answering for some seconds after their address has left the Service. And where a connection
# to a pod breaks all the same, the gateway asks once more (lesson 15): a prediction may be asked twice.
#
# The controller, then: under traffic, step by step, each step a share of requests and a share of copies. When all is
# well, the stable pods change to the new version first, and its share goes back to 0 afterwards: the other way round
# the candidate's clients would meet the old version once more.


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
# Three releases. The first is how it should go: a step of copies alone, which no user sees, then 20 % of the
# clients. All that happens now is decided by the counters. 20 % rather than 5 %, because all the traffic here comes
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
# Grey gives way to blue in three steps: not at all while the candidate gets copies, by the share of its clients, and
# wholly once the stable pods have its image. The total goes up and down with what else the machine has to do,
# starting pods most likely; both versions have their highs and lows.
#
# The registry follows when the verdict is there, and not before: what the alias says must be what answers.


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
# Now version 4, with 3 and 8 exchanged. This team is in a hurry and leaves the shadow step out: 20 % at once, and a
# quarter of the stable version's requests as copies, to have something to compare. Which of the three tests will
# notice, and after how many requests? By the formulas: version 4 differs wherever version 3 says 3 or 8, about one
# image in five, and each such answer adds $\ln(0.1/0.03)$, about 1.2, to a sum that must reach $\ln 1000$, about
# 6.9.

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
# The line of a share stands where the gateway's rollout was complete; its first new pods had begun to split before. How
# many of those answers came after the verdict, when all was known? To act on it takes a rollout of the gateway.

# %%
after = sum(bad["version_by_half_second"].get("4", [])[int(2 * times["roll back"]) + 1 :])
observe(
    "of the bad version's answers, a part came after the verdict",
    after > 0,
    f"{after} of {bad['by_version'].get('4', 0)}",
    of=bad,
)

# %% [markdown]
# That is the price of weights in arguments, in wrong answers. All of them went to the few clients whose names fall to
# the candidate, and to nobody else: a canary does not prevent harm, it limits to whom, and for how long.
#
# The third candidate is version 2, smaller and sound, but it brings a setting along that waits 600 ms for a batch to
# fill. No model is wrong here and no registry could know: what is released is a model *and* its settings.

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
# What have the tests seen on their way? Each look is a point: how many requests were judged by then, and what ln Λ
# was.

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
# To be bad is loud; to be good is only the absence of noise, and takes longer to hear.

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
# Gateway and controller were ours, so that each line could be read. On a cluster that has the *Gateway API*, the split
# is an object, the `HTTPRoute`:

# %%
overlays = places.CHECKOUT / "k8s/overlays"
route = yaml.safe_load((overlays / "gateway-api/http-route/http-route.yaml").read_text())
print(yaml.safe_dump(route["spec"], sort_keys=False))

# %% [markdown]
# And *Argo Rollouts* brings the controller: a `Rollout` takes the Deployment's place and changes the route's weights
# step by step, and an `AnalysisTemplate` says when to go back.

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
# Both need software that a plain cluster does not have, so they are read here, not applied. Two differences to ours
# are worth knowing. The route's split is drawn anew for each request, so it is not sticky, unless the implementation
# adds that. And the analysis decides once, when 1,000 requests or more are counted; until then its result is empty, and
# it waits. Most examples one finds look every minute, against a fixed bound, and let a few looks fail, say two of ten.
# Take the same 1,000 requests both ways. How often does each send back a candidate that fails in exactly 0.5 %? And
# one that fails in 2 %?

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
# With few requests a look is noise: a single failure in 100 is "1 %". Such rules need their requests counted, as
# above, before they are written down. A trap of its own waits in the query: a candidate without a failure has no
# counter of failures, and nothing divided by 1,000 is not 0 but nothing. Hence `or vector(0)`. Exercise 19.5 writes a
# route with a way in for testers.
#
# ## All at once, and back?
#
# *Blue–green*: the new version (green) runs in full strength beside the old one (blue), and the Service's selector
# is switched. All or nothing, without a gateway, and the way back takes as long as the way there. It costs twice the
# pods. We switch to version 2 and back, while two kinds of clients ask: one opens a connection for each request, one
# keeps its own. What will the second kind see?


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
# Both sides were ready before and went on after, so whoever was connected was still answered. Switch to pods that
# are not ready, and the Service has nobody behind it. A kept connection, such as a gateway's or a gRPC client's, is
# not moved by a Service; it ends when its pod does. So blue is taken away *last*, slowly, as in `remove_candidate`.
# And mind what blue and green share: a database with a new schema, say, does not switch back.
#
# ## Clean up
#
# Deployments go first, and with them their pods: a namespace that still finds pods in it looks again only many
# seconds later. The images are on this machine's engine.


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
# counts for less than one in the formulas. The limits are fixed shares; on a day when everything is slow, the
# candidate is blamed, and a test that compares it with the stable version *at the same time* would not do that.
# Agreement punishes a version that is much better as hard as one that is much worse; then labels, or people, must
# decide. A canary of some seconds sees no memory leak and no Monday morning. And our controller is a cell of a
# notebook: if it dies in the middle, the cluster stays as it was left.
#
# ## What real teams use
#
# MLflow's registry, or their cloud's, for versions, aliases and lineage; often a bucket with numbered folders and a
# table. For the split, what they have in front anyway: Gateway API implementations such as Envoy Gateway or Istio,
# or a service mesh. For the controller, Argo Rollouts or Flagger. KServe's `canaryTrafficPercent` does it for
# models, in its serverless mode alone. Feature flags and experiment platforms, where product people ask which
# version users *like*: the same statistics, for weeks.
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
