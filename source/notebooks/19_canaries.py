# %% [markdown]
# # 19 Versions and canaries
#
# At 3 a.m. the new version has been answering for five hours. There are no errors, the latency is as it was, and every
# light is green. But each 3 is read as an 8. Nobody knows since when, from which training this version came, or how to
# get the old one back.
#
# ## You will be able to
#
# - keep a registry in which a version never changes and goes live by moving a name, and attack that promise yourself;
# - see the answers of a new version to real requests before any user sees them;
# - say what a controller may conclude from counters: promote the new version, send it back, or wait;
# - release a good version and send a bad one back on a cluster, without a failed request;
# - say what the next `kubectl apply` does to a promotion, and prevent it.
#
# ## Before you start
#
# Lesson 14 builds the model server, lesson 15 the gateway that splits requests here, and lesson 17 explains
# Deployments, Services and rolling updates. A *version* is one file of a model. The *stable* version is the one that
# answers today. The *candidate* is the version that may replace it. To *promote* it means to let it replace the stable
# version.

# %%
import contextlib
import inspect
import json
import os
import shutil
import sqlite3
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import matplotlib.pyplot as plt
import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper

# %%
from course_lib import data, models, pipeline, places, show
from course_lib.idioms import begin, claim, claim_gone, guess, live, own, path, reveal
from course_lib.measure import load
from course_lib.ops.http import DIRECT
from course_lib.ops.service import start_module, start_service
from course_lib.release import canary
from course_lib.release.registry import Registry

scratch = begin("19")
path.picture(here="19")

# %% [markdown]
# ## Which version answers, and where does it come from?
#
# The course has three versions of its digits network. Version 1 comes from the tour. Version 2 is the same network in 8
# bits. Version 3 comes from another training. We add a fourth one with a mistake: somebody exported version 3 with the
# classes in another order. In its last layer, the rows for 3 and 8 have changed places. All shapes, types and
# operations are the same as in version 3.

# %%
files = {version: models.path("digits_cnn", version) for version in (1, 2, 3)}
files[4] = scratch / "planted.onnx"
planted = onnx.load(files[3])
last_layer = planted.graph.node[-1].input  # its weights (10, 20) and its bias (10,)
for tensor in planted.graph.initializer:
    if tensor.name in last_layer:
        rows = numpy_helper.to_array(tensor).copy()
        rows[[3, 8]] = rows[[8, 3]]
        tensor.CopyFrom(numpy_helper.from_array(rows, tensor.name))
onnx.save(planted, files[4])

# %% [markdown]
# What does each version answer to the 450 test images?

# %%
_, test = data.digits()
classes = {}
for version, file in files.items():
    session = onnxruntime.InferenceSession(file)
    classes[version] = session.run(None, {"pixels": test.images[:, None]})[0].argmax(axis=1)
accuracy = {version: (found == test.labels).mean() for version, found in classes.items()}

# %% [markdown]
# A *registry* is the list of versions. For each version it keeps a checksum of the file, the *parent* (the version from
# which it was made), and the data from which it learned. A second table keeps *aliases*. An alias is a name, such as
# `production`, that points to a version. The second table is a log of moves, with a reason for each, and the last move
# counts.
#
# Two promises make a registry useful: a version never changes, and a move is never lost. Here are two tables as many
# teams write them. The primary key lets each number occur only once. A *trigger* is a rule that the database runs
# before a statement. The one here refuses updates. The foreign keys should refuse an alias that points to a missing
# version.

# %%
as_often_written = """
CREATE TABLE versions (version INTEGER PRIMARY KEY, sha256 TEXT NOT NULL,
                       parent INTEGER REFERENCES versions, learned_from TEXT);
CREATE TABLE moves (id INTEGER PRIMARY KEY, alias TEXT,
                    version INTEGER REFERENCES versions, why TEXT);
CREATE TRIGGER frozen BEFORE UPDATE ON versions
BEGIN SELECT RAISE(ABORT, 'a version never changes'); END;
PRAGMA foreign_keys = ON;
"""
orders = {
    "register version 1 again": "INSERT INTO versions VALUES (1, 'other', NULL, '')",
    "change version 1": "UPDATE versions SET sha256 = 'other' WHERE version = 1",
    "replace version 1": "INSERT OR REPLACE INTO versions VALUES (1, 'other', NULL, '')",
    "delete version 2": "DELETE FROM versions WHERE version = 2",
    "point to a missing version": "INSERT INTO moves VALUES (NULL, 'production', 9, '')",
    "delete the history": "DELETE FROM moves",
}

# %% [markdown]
# A colleague's script opens the same file with its own connection, and tries these six statements.

# %%
guess("orders", "How many of the six statements do these tables let pass?", low=0, high=6)

# %%
naive_file = scratch / f"naive-{time.monotonic_ns()}.db"
with contextlib.closing(sqlite3.connect(naive_file)) as naive:
    naive.executescript(as_often_written)
    naive.execute("INSERT INTO versions VALUES (1, 'aa', NULL, ''), (2, 'bb', 1, '')")
    naive.execute("INSERT INTO moves VALUES (1, 'production', 1, 'first release')")
    naive.commit()


# %%
def tried(file):
    """What becomes of each statement on a connection of its own; all are taken back."""
    found = {}
    for what, order in orders.items():
        with contextlib.closing(sqlite3.connect(file)) as other:
            try:
                other.execute(order)
                found[what] = "passes"
            except sqlite3.IntegrityError as why:
                found[what] = f"refused: {why}"
            other.rollback()
    return found


# %% [markdown]
# The course's own registry is `course_lib/release/registry.py`, about 80 lines. We register all four versions in it, and
# attack it in the same way.

# %%
registry_file = scratch / f"registry-{time.monotonic_ns()}.db"
registry = Registry(registry_file)
for version, parent, learned_from in (
    (1, None, "training images"),
    (2, 1, "training images"),
    (3, None, "training images without the validation part"),
    (4, 3, "training images without the validation part"),
):
    registry.register(version, pipeline.checksum(files[version]), parent, learned_from)
_ = registry.move("production", 1, None, "first release")

# %%
attacked = {"as often written": tried(naive_file), "ours": tried(registry_file)}
passed = {who: sum(each == "passes" for each in found.values()) for who, found in attacked.items()}
reveal("orders", passed["as often written"])
show.table(
    ["statement", *attacked],
    [[what, *(found[what] for found in attacked.values())] for what in orders],
    caption="Six statements from a second connection",
)

# %%
claim(
    "four of the six statements pass the usual tables, none passes ours",
    passed == {"as often written": 4, "ours": 0},
    passed,
)

# %% [markdown]
# Each of the four has its reason:
#
# - `INSERT OR REPLACE` deletes the old row and inserts a new one. No update happens, so the trigger does not run.
# - No rule forbids `DELETE`. So versions and moves can both be deleted.
# - In SQLite, each *connection* must switch foreign keys on for itself. The colleague's script never did.
#
# Our registry keeps all its rules in triggers. Triggers are stored in the file, so every connection obeys them. This
# one stops `INSERT OR REPLACE`, because it runs before the old row is deleted:
#
# ```sql
# CREATE TRIGGER once BEFORE INSERT ON versions
# WHEN EXISTS (SELECT 1 FROM versions WHERE version = NEW.version)
# BEGIN SELECT RAISE(ABORT, 'a version is registered once'); END;
# ```
#
# A limit remains. Someone who may write to the file may also drop the triggers. The registry guards against mistakes.
# Attackers are the subject of lesson 22. The registry also cannot stop anybody from overwriting a *model* file, but
# then the checksum no longer matches.

# %%
show.table(
    ["version", "sha256", "parent", "learned from", "accuracy"],
    [[v, s[:8], p or "", how, f"{accuracy[v]:.1%}"] for v, s, p, how in registry.versions()],
    caption="The registry, with the accuracy on 450 test images",
)

# %% [markdown]
# The accuracy of version 4 is so low that you would stop it here. A test on labelled images is the first gate, and a
# cheap one. We let version 4 pass all the same, because it stands for mistakes that this gate does not see. A wrong
# preprocessing in the service, for example, does not show when the model is tested alone. And in production, labels
# often come weeks later, or not at all.
#
# The *lineage* of a version is its line of parents. In an incident it answers the question: which other versions were
# made from the broken one?

# %%
parents = {version: parent for version, _, parent, _ in registry.versions()}
touched = {root: [v for v in parents if root in (v, parents[v])] for root in (1, 3)}  # children
claim("a fault of 1 concerns 2; a fault of 3 concerns 4", touched == {1: [1, 2], 3: [3, 4]})

# %% [markdown]
# Two people may move an alias at the same time, without knowing of each other. So each of them also says where the
# alias *was*. The registry refuses the move if that is no longer true. This is called *compare-and-swap*.

# %%
moved = [
    registry.move("candidate", 2, registry.current("candidate"), "smaller"),
    registry.move("candidate", 3, 2, "better"),  # Ana has seen 2
    registry.move("candidate", 4, 2, "newest"),  # so has Ben, a second later
]
claim("Ben's move is refused, since the alias is not where he saw it", not moved[2], moved)

# %% [markdown]
# Inside, `move` begins a transaction with `BEGIN IMMEDIATE`. This takes the database's only writing lock before `move`
# reads where the alias is. If two moves come at once, the second one waits, and then sees what the first has done.
#
# MLflow has the same parts under other names:
#
# ```python
# client.create_model_version("digits_cnn", source=…, run_id=…)      # the run is the lineage
# client.set_registered_model_alias("digits_cnn", "production", 3)   # the last one wins: no compare-and-swap
# mlflow.pyfunc.load_model("models:/digits_cnn@production")
# ```
#
# ## How does a server learn which version is in production?
#
# Our model server reads *labels* from a file beside the versions (lesson 14), here five times a second. We write the
# file under another name and then rename it. On one file system this is atomic: a reader finds the old file or the new
# one.


# %%
def published(folder, *versions):
    """A folder as the model server reads it, with these versions."""
    for version in versions:
        place = scratch / folder / "digits_cnn" / str(version)
        place.mkdir(parents=True, exist_ok=True)
        shutil.copy(files[version], place / "model.onnx")
    return scratch / folder


def publish_alias(folder):
    draft = folder / "digits_cnn" / "draft"
    labels = {"production": registry.current("production")}
    draft.write_text(json.dumps({"labels": labels}), encoding="utf-8")
    os.replace(draft, folder / "digits_cnn" / "serving.json")


# %% [markdown]
# A client asks for the label, not for a number. The header `X-Model-Version` of the answer says which version it was.
# Without it, you cannot tell afterwards which version gave an answer. As typed:
#
# ```bash
# curl -i -d @picture.json http://127.0.0.1:8501/v1/models/digits_cnn/labels/production:predict
# ```


# %%
def post(url, body, client=""):
    """The version that answered. Raises HTTPError for any status but 200."""
    headers = {"Content-Type": "application/json", "X-Client-Id": client}
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)
    with DIRECT.open(request, timeout=10) as answer:
        return int(answer.headers["X-Model-Version"])


pictures = [{"instances": [image[None].tolist()]} for image in test.images]


# %%
def answers_from(server, version, seconds=20):
    """Waits until the label's version is this one; returns the version that answers."""
    url, until = f"{server.url}/v1/models/digits_cnn/labels/production:predict", time.monotonic()
    while (now := post(url, pictures[0])) != version and time.monotonic() < until + seconds:
        time.sleep(0.05)
    return now


# %%
shelf = published("shelf", 1, 2, 3)
publish_alias(shelf)
server = start_service(shelf, scratch / "server.log", options=["--reload-seconds", "0.2"])
seen = []
for version, why in ((3, "better"), (1, "rolled back: an incident")):
    registry.move("production", version, registry.current("production"), why)
    publish_alias(shelf)
    seen.append(answers_from(server, version))
server.stop()
claim("the server follows the alias, forward and back", seen == [3, 1], seen)

# %% [markdown]
# A rollback is a move like any other. It needs no training, no build and no copy, because the old version is still
# there, unchanged.
#
# Before a version may answer at all, compare its *schema*: the names, shapes and types of its inputs and outputs. A
# version with better answers can still break every client, for example by a renamed output. Lesson 14b makes such
# changes and shows how each client breaks.
#
# ## How do I see the answers of a new version before users do?
#
# *Shadow traffic* consists of copies of real requests. The gateway answers from the stable version. Afterwards it sends
# a copy of the request to the candidate, and counts whether both versions name the same digit. On how many of the 450
# test images do versions 1 and 3 differ? Write a number down before you run the next cells.

# %%
stable = start_service(published("stable", 1), scratch / "stable.log")
candidate = start_service(published("candidate", 3), scratch / "candidate.log")


def start_gateway(*arguments):
    log, patient = scratch / f"gateway-{time.monotonic_ns()}.log", "--timeout-ms=5000"
    return start_module("course_lib.services.gateway", [patient, *arguments], log)


def counters(gateway):
    return canary.counted([DIRECT.open(gateway.url + "/metrics").read().decode()])


# %% [markdown]
# `counters` reads the gateway's `/metrics`, as a monitoring system does. The gateway does not let the client wait for a
# shadow. So after the last answer, some copies may still be under way, and we wait until every copy is counted.


# %%
def shadowed(shadow, count):
    """Sends images through a gateway with this shadow; its counters, and the median time in ms."""
    gateway = start_gateway("--predictor", stable.url, "--shadow", shadow.url)
    url, until = gateway.url + "/v1/models/digits_cnn:predict", time.monotonic() + 20
    told = load.closed_loop(lambda i: post(url, pictures[i]), count)
    seen, kinds = counters(gateway), ("same", "different", "failed")
    while sum(seen["gateway_shadow_total", kind] for kind in kinds) < count:
        assert time.monotonic() < until, "copies are missing"
        time.sleep(0.05)
        seen = counters(gateway)
    gateway.stop()
    return seen, float(np.median(told.latency_ms))


# %%
seen, beside_quick_ms = shadowed(candidate, 450)
differ = int((classes[1] != classes[3]).sum())
copies = {kind: int(seen["gateway_shadow_total", kind]) for kind in ("same", "different")}
claim(
    "the shadow differs on exactly the images on which the files differ",
    copies == {"same": 450 - differ, "different": differ},
    f"{differ} of 450",
)

# %% [markdown]
# We needed no labels. In place of accuracy we measured *agreement* with the stable version. One version can be right
# and the other wrong only where their answers differ. So their accuracies are no further apart than the share of
# different answers. Agreement does not say which of the two is right. But if you expect 1 % of the answers to change
# and see 20 %, that is reason enough to stop.
#
# What does a shadow cost the clients? We make the candidate slow: it waits up to 800 ms for a batch to fill. Imagine
# that somebody copied this setting from a service with more traffic.

# %%
options = ["--batch-wait-ms", "800", "--max-batch-size", "64"]
slow = start_service(scratch / "candidate", scratch / "slow.log", options=options)
seen, beside_slow_ms = shadowed(slow, 40)
shadow_ms = 1000 * seen["gateway_try_duration_seconds_sum", "shadow-0"] / 40
claim(
    "clients do not wait for a slow shadow: their median is less than half of its time",
    beside_slow_ms < 0.5 * shadow_ms,
    f"beside a slow shadow {beside_slow_ms:.1f} ms, beside a quick one {beside_quick_ms:.1f} ms; "
    f"the slow shadow itself {shadow_ms:.0f} ms",
)

# %% [markdown]
# The gateway answers first, and it makes no further copy while 64 are under way. But a copy has a price. The answer is
# computed twice, and everything else that the service does is done twice as well. So do not copy requests that book a
# seat, send a bill or write a message. And a shadow cannot show whether users like the new answers. For that, some
# users must get them.
#
# ## Which clients meet a canary?
#
# A *canary* is a new version that gets a small share of the real requests, so that few users meet it if it is bad. A
# user should not get one version's answer, reload the page, and get the other's. So the gateway takes the client's name
# from the header `X-Client-Id`, and turns it into a number between 0 and 1 with a hash. If the stable version has 80 %
# of the weight, it gets the clients whose number is below 0.8. This is called *sticky routing*. We try it with 200
# names, and with the slow server as the canary.


# %%
def met(new, percent, rounds=1):
    """The version that each of 200 clients met, a list for each round; the gateway's counters."""
    weights = [f"{stable.url}={100 - percent}", f"{new.url}={percent}"]
    gateway = start_gateway(*(f"--predictor={each}" for each in weights))
    url, found = gateway.url + "/v1/models/digits_cnn:predict", []
    with ThreadPoolExecutor(32) as pool:
        for _ in range(rounds):
            told = pool.map(lambda i: post(url, pictures[i], f"client-{i}"), range(200))
            found.append(list(told))
    seen = counters(gateway)
    gateway.stop()
    return found, seen


# %%
(first, second), seen = met(slow, 20, rounds=2)
(wider,), _ = met(candidate, 50)
few, many = ({i for i, version in enumerate(each) if version == 3} for each in (first, wider))

# %%
for each in (slow, candidate, stable):
    each.stop()
claim(
    "each client meets the same version again, and a client of 3 at 20 % is one at 50 %",
    first == second and few <= many,
    f"{len(few)} and {len(many)} of 200 clients",
)

# %% [markdown]
# With 200 names, the shares are only near the weights. This routing has a fault: the same clients are the first to meet
# *every* release. **Now do exercise 19.1**, which mends it.
#
# ## When may a controller decide?
#
# A *controller* is a program that reads the counters and decides: promote, roll back, or wait. It looks at three
# measures. How many of the candidate's requests *failed*? How many were *slow*, above 0.5 s? How many copies were
# answered *differently*? For each measure we write down two shares before the release. A share of $p_0$ is fine. A
# share of $p_1$ must be noticed.

# %%
LIMITS = {"failed": (0.005, 0.05), "slow": (0.02, 0.2), "different": (0.03, 0.1)}  # p0, p1

# %% [markdown]
# Of $n$ requests, $K$ went wrong. How much likelier is that if the true share is $p_1$ than if it is $p_0$? The
# logarithm of this ratio is the *evidence*:
#
# $$\ln \Lambda = K \ln\frac{p_1}{p_0} + (n-K)\ln\frac{1-p_1}{1-p_0} .$$
#
# Each wrong request adds to it, and each good one takes a little away. If it reaches $\ln(1/\alpha)$, the measure is
# *bad*. If it falls to $\ln\beta$, the measure is *fine*. We take $\alpha$ = 0.001 and $\beta$ = 0.01, so the bounds
# are 6.9 and −4.6. This is a *sequential test*: you may look at it after every request. Take candidates whose
# independent requests go wrong with probability $p_0$. At most a share $\alpha$ of them ever reaches the upper bound.
# With $p_1$, at most a share $\beta$ reaches the lower one. (Lesson 19b derives this. With an ordinary test you may not
# look so often.)

# %%
failures = [(0, 20), (0, 100), (5, 100)]
claim(
    "no failure in 20 requests proves nothing, in 100 enough; 5 failures in 100 are too many",
    [canary.judge(each, LIMITS["failed"]) for each in failures] == ["unknown", "fine", "bad"],
    [f"{canary.evidence(*each, *LIMITS['failed']):.1f}" for each in failures],
)

# %% [markdown]
# **Where this goes wrong.** The share $p_0$ was chosen on a quiet day. Suppose that the connections are bad today: 8 %
# of *all* requests fail, whichever version answers. Now a good candidate starts its canary.

# %%
guess(
    "bad day",
    "8 % of all requests fail today. In which share of its releases is a good version sent back?",
    share=True,
)

# %% [markdown]
# The stable version answers in the same minutes, so the controller should compare the two. The question becomes:
# *whose* requests go wrong? The candidate answers $n_c$ of $n_c + n_s$ requests, a share of $q_0 = n_c/(n_c+n_s)$. If
# both versions are equally good, a wrong request is the candidate's with probability $q_0$, on a good day and on a bad
# one. If the candidate goes wrong $r$ times as often, a wrong request is the candidate's with probability
#
# $$q_1 = \frac{r\,q_0}{r\,q_0 + (1 - q_0)} .$$
#
# So we look only at the requests that went wrong, and test $q_1$ against $q_0$ with the same formula. We take
# $r = p_1/p_0$, so no new limits are needed. If nothing goes wrong, this comparison learns nothing. So a measure is
# fine if *one* of the two tests says so. It is bad only if the comparison says so. This is the rule in `course_lib`,
# where `blame` is the comparison:

# %%
print(inspect.getsource(canary.judge))

# %% [markdown]
# For *different* there is no second count: each copy is a comparison already. So there the limits decide alone.
# `canary.decide` joins the three measures. One bad measure sends the candidate back. It is promoted only if all are
# fine.
#
# We simulate 300 releases of a good candidate on the bad day, first with the fixed $p_0$ alone and then with the
# comparison. The last row of the table is a candidate that fails ten times as often as the stable version.

# %%
random = np.random.default_rng(19)


def rehearse(candidate, stable, looks=40, compare=True):
    """One release: 20 requests of the candidate's and 80 of the stable version's in each look."""
    n, many = 20 * np.arange(1, looks + 1), 80 * np.arange(1, looks + 1)
    wrong = {what: random.binomial(20, share, looks).cumsum() for what, share in candidate.items()}
    others = {what: random.binomial(80, share, looks).cumsum() for what, share in stable.items()}
    for i in range(looks):
        found = {what: (wrong[what][i], n[i]) for what in wrong}
        beside = {what: (others[what][i], many[i]) for what in others} if compare else None
        if (verdict := canary.decide(found, {w: LIMITS[w] for w in found}, beside)) != "go on":
            return verdict
    return "go on"


def shares(runs=300, **how):
    ends = [rehearse(**how) for _ in range(runs)]
    return {verdict: ends.count(verdict) / runs for verdict in ("promote", "roll back", "go on")}


# %%
quiet, bad_day = {"failed": 0.005, "slow": 0.02}, {"failed": 0.08, "slow": 0.02}
days = {
    "good version, bad day: fixed p0": shares(candidate=bad_day, stable=bad_day, compare=False),
    "good version, bad day: compared": shares(candidate=bad_day, stable=bad_day),
    "good version, quiet day: compared": shares(candidate=quiet, stable=quiet),
    "fails in 5 %, quiet day: compared": shares(candidate={**quiet, "failed": 0.05}, stable=quiet),
}
reveal("bad day", days["good version, bad day: fixed p0"]["roll back"])
show.table(
    ["candidate", "promoted", "sent back", "not known"],
    [[who, *(f"{share:.1%}" for share in each.values())] for who, each in days.items()],
    caption="300 releases each, with up to 800 requests for the candidate",
)

# %%
fixed, compared, _, failing = days.values()
claim(
    "on a bad day the fixed p0 sends nearly every good candidate back, the comparison hardly any; "
    "it still sends back most candidates that fail ten times as often",
    fixed["roll back"] > 0.95 and compared["roll back"] < 0.02 and failing["roll back"] > 0.9,
    f"{fixed['roll back']:.1%}, {compared['roll back']:.1%}; {failing['roll back']:.1%}",
)

# %% [markdown]
# The controller needs one more rule: a *deadline*. A candidate without a verdict by then goes back as well, since the
# version that we know is the safe choice. The bound $\alpha$ holds for each test, but not for the controller if the
# deadline comes early. How often does a good candidate have no verdict yet? The candidates here go wrong in exactly
# $p_0$ of their requests, in all three measures.

# %%
just_fine = {"candidate": quiet | {"different": 0.03}, "stable": quiet}
early = {20 * looks: shares(looks=looks, **just_fine) for looks in (5, 10, 20)}
claim(
    "the tests send hardly any good candidate back, but after 100 requests most have no verdict",
    early[400]["roll back"] < 0.02 and early[100]["go on"] > 0.5 > early[400]["go on"],
    ", ".join(f"after {n} requests {each['go on']:.0%} without" for n, each in early.items()),
)

# %% [markdown]
# So work out how many requests your canary gets before the deadline. If they are too few, the deadline decides, and not
# the tests.
#
# Now we judge real counters. They are those of the sticky canary above, version 3 with the slow setting. Nothing is
# wrong with its answers. But a release is a model *and* its settings.

# %%
found, beside = canary.of_candidate(seen), canary.of_stable(seen)
judged = {what: canary.judge(found[what], LIMITS[what], beside[what]) for what in beside}
claim(
    "it goes back, for its time alone",
    judged["slow"] == "bad" != judged["failed"],
    f"slow: {found['slow'][0]:.0f} of {found['slow'][1]:.0f}, "
    f"stable {beside['slow'][0]:.0f} of {beside['slow'][1]:.0f}",
)

# %% [markdown]
# **Now do exercise 19.2**: write the judgement of one measure.
#
# ## How do I run a canary on Kubernetes?
#
# `k8s/overlays/canary` uses lesson 17's base twice, as `digits` and `digits-canary`, with two gateway pods in front of
# them. The candidate's pods have another value of the label `app`. Many tutorials give both the same `app: digits`, and
# tell them apart by a second label, `track`. Their Service selects `app: digits`, so it sends requests to all the pods.
# Then the gateway's weights no longer hold.
#
# With two stable pods and one candidate, the canary of such a tutorial gets about a third of the connections. To give
# it 1 %, you need 99 stable pods. Our gateway splits by weight instead:
# `--predictor=http://digits=80 --predictor=http://digits-canary=20`.
#
# We build an image for each version that we need. `Canary` from `course_lib/release/canary.py` is the controller. A
# person would type the same steps:
#
# | step | order |
# | --- | --- |
# | deploy the stable version | `kubectl apply -k k8s/overlays/canary -n NAMESPACE` |
# | the candidate starts | `kubectl set image deployment/digits-canary service=digits-service:3` and `kubectl scale deployment/digits-canary --replicas=1` |
# | it gets its share | `kubectl patch deployment/digits-gateway -p '{… "args": […, "--predictor=http://digits-canary=20"]}'` |
# | look | `kubectl get --raw /api/v1/namespaces/NAMESPACE/pods/POD:8080/proxy/metrics` |
# | promote it | `kubectl set image deployment/digits service=digits-service:3` |
# | it goes | the patch with weight 0, then `kubectl scale deployment/digits-canary --replicas=0` |
#
# To roll back, leave out “promote it” and type the last row. After each change the controller waits with
# `kubectl rollout status deployment/…`.

# %%
NAMESPACE, GATEWAY = own("digits-19-canaries"), own("digits-gateway:lesson-19")
IMAGES = {version: own(f"digits-service:lesson-19-{version}") for version in (1, 3, 4)}
OURS = {"course-lesson": own("19")}
for version in IMAGES:
    published(f"image-{version}", version)
bodies = [json.dumps(each, separators=(",", ":")) for each in pictures[:150]]
releases = canary.Canary(NAMESPACE, GATEWAY, IMAGES)


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
    applied = releases.deploy(1)
    ready_s = time.monotonic() - start - built_s
    return {"loaded": loaded[0], "applied": applied, "built_s": built_s, "ready_s": ready_s}


# %%
deployed = deploy()
print(deployed["loaded"])

# %% [markdown]
# The order of the steps decides whether a request is lost:
#
# - The weights are arguments of the gateway. So a new share needs a rolling update of the gateway, and the new gateway
#   pods count from zero. Their counters do not mix two shares, which would spoil the comparison.
# - If the candidate is promoted, the stable pods get the new image *first*. Only then does the candidate's share go
#   back to 0. In the other order, its clients would go back to the old version for a while.
# - The candidate's pod ends *last*. While an old gateway finishes its requests, it still sends some of them to the
#   candidate. So the controller waits until the old gateways are gone.
#
# Two more things help: the pods' readiness and their pause before they end (lesson 17), and the gateway's second try if
# a connection breaks (lesson 15).
#
# Now we release version 3. 20 % of the clients get it, and it gets a copy of each request that version 1 answers. A pod
# in the cluster sends requests all the time.


# %%
@live("kubernetes")
def release_good():
    start = time.monotonic()
    return releases.release(3, bodies, LIMITS) | {"seconds": time.monotonic() - start}


# %%
good = release_good()
claim(
    "version 3 was promoted, and of all requests meanwhile none failed",
    good["verdict"] == "promote" and good["failed"] == {} and good["answered"] > 0,
    f"{good['answered']:,} answered in {good['seconds']:.0f} s",
)


# %% [markdown]
# Which version answered when? `by_version` draws the answers of each half second.


# %%
def by_version(outcome, title):
    """Answers a second over time, stacked by version; dashed: what was done."""
    counts = outcome["version_by_half_second"]
    colours, below = {"1": show.GREY, "3": show.BLUE, "4": show.RED}, 0
    for version in sorted(counts):
        rate = 2 * np.array(counts[version])
        times = np.arange(len(rate)) / 2
        look = {"color": colours[version], "label": f"version {version}", "lw": 0}
        plt.bar(times, rate, 0.5, below, align="edge", **look)
        below = below + rate
    plt.ylim(0, 1.4 * max(below))
    for at, what in outcome["events"]:
        plt.axvline(at, color="black", lw=1, ls="--")
        right = what in ("roll back", "promote")  # these may follow the line before at once
        look = {"rotation": 90, "fontsize": 8, "va": "top", "ha": "left" if right else "right"}
        plt.text(at + len(rate) / (200 if right else -200), 1.38 * max(below), what, **look)
    plt.xlabel("time (s)")
    plt.ylabel("answers a second")
    plt.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
    told = ", ".join(f"version {v}: {n:,}" for v, n in outcome["by_version"].items())
    steps = "; ".join(f"{what} at {at:.0f} s" for at, what in outcome["events"])
    show.finding(
        title, alt=f"Answers a second by version over time. In all {told}. Events: {steps}."
    )


# %%
by_version(good, "Version 3 takes over from version 1 while the answers go on")

# %% [markdown]
# At "20 %" all gateway pods with the new weights are ready, and the first of them began a little earlier. At "promote"
# the tests have decided. At "promoted" all new stable pods are ready, and old ones may still answer for some seconds.
# At "gone" no gateway asks the candidate any more, and its pod ends. The machine has other work too, so the total goes
# up and down.
#
# Only after the verdict is the registry updated. The alias must name the version that answers.

# %%
if good["verdict"] == "promote" and registry.current("production") == 1:
    registry.move("production", 3, 1, "passed its canary")
last = {version: sum(counts[-2:]) for version, counts in good["version_by_half_second"].items()}
claim(
    "in the last second version 3 answers alone, and the registry says so",
    last["1"] == 0 < last["3"] and registry.current("production") == 3,
    last,
)

# %% [markdown]
# ## Does the canary notice a wrong model?
#
# Now we release version 4, with 3 and 8 exchanged. It gets 20 % of the clients, and copies of only a quarter of the
# other requests. Which of the three measures will notice, and after how many requests? Version 4 answers differently
# wherever version 3 says 3 or 8, which is about one image in five. Each such answer adds $\ln(0.1/0.03)$, about 1.2, to
# an evidence that must reach 6.9.


# %%
@live("kubernetes")
def release_bad():
    start = time.monotonic()
    return releases.release(4, bodies, LIMITS, shadow=0.25) | {"seconds": time.monotonic() - start}


# %%
bad = release_bad()
end = bad["looks"][-1]
judged = {what: canary.judge(end[what], LIMITS[what], end["beside"].get(what)) for what in LIMITS}
claim(
    "version 4 is sent back, for its answers; its errors say nothing against it",
    bad["verdict"] == "roll back" and judged["different"] == "bad" != judged["failed"],
    ", ".join(f"{what}: {end[what][0]:.0f} of {end[what][1]:.0f}" for what in LIMITS),
)
claim(
    "no request failed on the way there and back, and production is still version 3",
    bad["failed"] == {} and registry.current("production") == 3,
    f"{bad['answered']:,} answered",
)

# %%
by_version(
    bad, f"{bad['by_version'].get('4', 0):,} answers came from the bad version before it was gone"
)

# %% [markdown]
# Many answers of version 4 came after "roll back", because the new weights need another rollout of the gateway. That is
# the price of passing the weights as arguments.
#
# The routing is sticky, so only the clients whose names fall to the candidate got these answers. A canary does not
# prevent harm. It limits how many clients are harmed, and for how long.
#
# ## Why did the old version come back after a promotion?
#
# Version 3 has been in production since the promotion. A week later a colleague changes a limit in `k8s/`, and types
# `kubectl apply -k k8s/overlays/canary`, as always.

# %%
guess(
    "apply",
    "Which version do the stable pods run after this apply?",
    choices=["version 3", "version 1", "version 1 and version 3"],
)


# %%
@live("kubernetes")
def apply_again():
    from course_lib.ops import kubernetes

    def told(*words, version):  # what kubectl says of the image, given the files for this version
        files = kubernetes.the("Deployment", releases.documents(version), "digits")
        try:
            said = kubernetes.kubectl(*words, "-n", NAMESPACE, "-f", "-", stdin=json.dumps(files))
        except kubernetes.KubectlFailed as wrong:  # diff ends with 1 if there are differences
            said = str(wrong)
        return [line for line in said.splitlines() if " image:" in line or "conflict:" in line]

    def applied(version):
        kubernetes.apply(releases.documents(version), NAMESPACE)
        kubernetes.wait_for_rollout(NAMESPACE, "digits")
        pods = kubernetes.pods(NAMESPACE, "app=digits")
        return [each["image"] for each in pods if not each["leaving"]]

    before = [told("diff", version=1), told("apply", "--server-side", version=1)]
    ran = {"old files": applied(1), "new files": applied(3)}
    return {"before": before, "ran": ran, "after": told("diff", version=3)}


# %%
again = apply_again()
differs, conflict = again["before"]
ran = {step: {image.split("-19-")[1][0] for image in again["ran"][step]} for step in again["ran"]}
reveal("apply", " and ".join(f"version {version}" for version in sorted(ran["old files"])))
claim(
    "the next apply of the old files takes the promotion back; with the new image in the files, "
    "version 3 runs, and nothing is left to change",
    ran == {"old files": {"1"}, "new files": {"3"}} and again["after"] == [],
)

# %% [markdown]
# `kubectl apply` makes the cluster equal to the files, and the files still name the old image. The promotion stood only in
# the cluster. Four habits prevent this:
#
# 1. *Write the promotion into the files.* Let the controller's last step be
#    `kustomize edit set image digits-service=digits-service:3` and a commit. The files of our second apply named
#    version 3 in this way.
# 2. *Look before you apply.* `kubectl diff -k k8s/overlays/canary -n NAMESPACE` prints what an apply would change. If
#    there is a difference, its exit status is 1, so a pipeline can stop there.
# 3. *Let the API server refuse.* `kubectl apply --server-side` records who set which field. It fails if the files would
#    change a field that somebody else has set.
# 4. *Give each field one writer.* Leave a field out of the files if a controller sets it. `k8s/overlays/production`
#    sets no `replicas`, because the autoscaler of lesson 18 does.
#
# Before it applied the old files, the cell ran the second and the third. This is what they said:

# %%
print(*differs, *conflict, sep="\n")
claim("a server-side apply is refused because of the image", ".image" in "".join(conflict))

# %% [markdown]
# Also compare what the registry says with what the cluster runs. After the apply of the old files they disagreed, and
# no message said so. **Now do exercise 19.3**: say what an apply will change.
#
# ## Which tools do this for me?
#
# The *Gateway API* is an extension of Kubernetes for routing requests. Its object for the split is the `HTTPRoute`.
# *Argo Rollouts* is a controller. Its `Rollout` takes the Deployment's place and changes the weights of the route step
# by step. An `AnalysisTemplate` says when to go back. Both need software that a plain cluster does not have, so we only
# read the files.

# %%
overlays = places.CHECKOUT / "k8s/overlays"
analysis = (overlays / "argo-rollouts/analysis.yaml").read_text(encoding="utf-8")
print(analysis[analysis.index("  metrics:") :])

# %% [markdown]
# Three parts of the query and its conditions prevent mistakes that are easy to make:
#
# - A candidate without any failure has no counter of failures. In Prometheus's query language (lesson 20), a missing
#   series divided by 1,000 is not 0 but missing. `or vector(0)` puts a 0 in its place. Without it, a candidate without
#   failures never gets a result.
# - `>= 1000` makes the result empty until 1,000 requests are counted. Many examples look every minute, however few
#   requests there were. There, a single failure among 100 requests is 1 %, and sends the candidate back.
# - `len(result) > 0` is part of both conditions. So an empty result meets neither of them, and the analysis waits.
#
# This analysis compares with a fixed bound of 1 %, so on a bad day it sends good candidates back. Argo can also start a
# fresh *baseline* of the stable version beside the candidate, and let another program, Kayenta, compare the two. The
# route chooses a version for each request, so a client does not stay with one, unless the implementation adds that.
# **Now do exercise 19.4**, which writes a route with a way in for testers.
#
# The file of the route names weights, and an apply during a canary resets them. So the route of
# `k8s/overlays/argo-rollouts` is *created* once and not applied again. *GitOps* tools apply the files of a repository
# again and again. The README there says which fields such a tool must ignore.
#
# ## How does a blue–green release work?
#
# In a *blue–green* release a second version (green) runs at full strength beside the one in production (blue). Then the
# Service's selector is switched, and new connections go to green. The way back is the same switch. The price is twice
# as many pods. Here blue is version 3, and green is version 1. As typed:
#
# ```bash
# kubectl set image deployment/digits-canary service=digits-service:1
# kubectl scale deployment/digits-canary --replicas=2
# kubectl rollout status deployment/digits-canary
# kubectl set selector service/digits app=digits-canary    # green
# kubectl set selector service/digits app=digits           # and back to blue
# ```
#
# Meanwhile a pod sends requests to the Service, each over a new connection.


# %%
@live("kubernetes")
def blue_green():
    from course_lib.ops.kubernetes import kubectl, wait_for_rollout
    from course_lib.ops.traffic import traffic

    def switch(app):
        selector = json.dumps({"spec": {"selector": {"app": app}}})
        kubectl("patch", "service/digits", "-n", NAMESPACE, "-p", selector)
        return sent.elapsed()

    green = "deployment/digits-canary"
    kubectl("set", "image", green, f"service={IMAGES[1]}", "-n", NAMESPACE)
    kubectl("scale", green, "--replicas=2", "-n", NAMESPACE)
    with traffic(NAMESPACE, IMAGES[1], bodies, host="digits", seconds=600) as sent:
        wait_for_rollout(NAMESPACE, "digits-canary")
        events = [[switch("digits-canary"), "green"]]
        time.sleep(3)  # long enough to be seen in half seconds
        events.append([switch("digits"), "blue"])
        time.sleep(3)
        sent.stop()
        return sent.result() | {"events": events}


# %%
swapped = blue_green()
claim(
    "no request failed, there and back",
    swapped["failed"] == {} and swapped["by_version"].get("1", 0) > 0,
    f"{swapped['answered']:,} answered, {swapped['by_version'].get('1', 0):,} of them by green",
)
by_version(swapped, "All new connections go to version 1, and back")

# %% [markdown]
# The bars change a little later than the dashed lines, because the node's forwarding rules must change first. Both
# sides were ready before the switch and kept running after it, so every request was answered. If no pod of green is
# ready at the switch, the Service has no pod to send requests to.
#
# A Service chooses a pod when a connection is *opened*. A client that keeps its connection open, such as a gateway or a
# gRPC client, stays with its pod until that pod ends. So give blue's pods time to finish before they end. And think of
# what blue and green share. A database with a new schema, for example, does not switch back.


# %%
@live("docker", "kubernetes")
def remove():
    from course_lib.ops.docker import clear, docker_client

    return clear(docker_client(), OURS, GATEWAY, *IMAGES.values(), namespace=NAMESPACE)


# %%
registry.close()
claim_gone("namespace and images are gone", remove())

# %% [markdown]
# ## What we measured

# %%
outcomes = (good, bad, swapped)
answered = sum(each["answered"] for each in outcomes)
lost = sum(sum(each["failed"].values()) for each in outcomes)
rows = [
    ["statements that pass the usual tables", passed["as often written"]],
    ["good versions sent back on a bad day, fixed p0", f"{fixed['roll back']:.0%}"],
    ["the same, compared", f"{compared['roll back']:.1%}"],
    ["answers on the cluster, failed requests", f"{answered:,}, {lost}"],
    ["answers by the bad version", bad["by_version"].get("4", 0)],
]
show.table(["what", "figure"], rows, caption="Versions and canaries")

# %% [markdown]
# ## What to remember
#
# - A version never changes, only a name moves. Keep the rules in the database file, and move a name only from where you
#   saw it.
# - Errors and latency do not show a wrong model, but agreement with the stable version does. Compare both versions at
#   the same time, and work out the number of requests before you set a deadline.
# - A promotion that is not in the files lasts until the next apply.
#
# ## Where this breaks down
#
# The formulas treat requests as independent. Ours are not: the clients send the same 150 pictures in turn. Real
# requests come in bursts, and then the promises no longer hold (lesson 19b). The candidate has one pod and the stable
# version has two. If the candidate is slow because its only pod is overloaded, the comparison blames the model.
# Agreement also rejects a much better version, if many answers change. Then labels, or people, must decide. A canary of
# a few seconds does not show a slow memory leak. And if our controller dies in the middle, nobody finishes the release
# or takes it back.
#
# ## What real teams use
#
# For versions, aliases and lineage, many teams use MLflow's registry or that of their cloud. Others keep numbered
# folders in a bucket, and a table. Gateways such as Envoy Gateway or Istio, which implement the Gateway API, split the
# requests. Argo Rollouts and Flagger are controllers. KServe's `canaryTrafficPercent` works in its serverless mode
# only. With GitOps tools such as Argo CD and Flux, a promotion *is* a commit.
#
# ## Further reading
#
# - D. Sato, *CanaryRelease*, and M. Fowler, *BlueGreenDeployment*, martinfowler.com.
# - B. Beyer et al. (eds.), *The Site Reliability Workbook*, O'Reilly 2018, chapter 16: Canarying Releases.
# - Kubernetes documentation, *Declarative Management of Kubernetes Objects Using Configuration Files*: how `kubectl apply`
#   merges.
# - Kubernetes SIG Network, *Gateway API*, HTTPRoute: traffic splitting. Argo Rollouts documentation, *Analysis*.
# - SQLite documentation: *ON CONFLICT*, *Foreign Key Support*. MLflow documentation, *Model Registry*.
