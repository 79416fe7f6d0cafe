# %% [markdown]
# # 17 Kubernetes
#
# At 3 a.m. the update is done: `kubectl` said "successfully rolled out". Every request fails. The cluster did exactly
# what the file says, and the file does not say how to check that the service works.
#
# ## You will be able to
#
# - turn a Deployment and a Service that a cluster accepts into ones that answer;
# - say which failure probes, `preStop` and `maxUnavailable` prevent;
# - update a service under load without losing a request, and roll a broken update back;
# - count the pods that an update needs, with those that are still ending;
# - predict what a client loses when a server is killed.
#
# ## Before you start
#
# Lesson 16 makes the image, lesson 14 the server, lesson 15 time-outs and retries. The cells that act on a cluster need
# a Docker engine and a Kubernetes cluster on your own machine. Without them, they replay a recording and say so.
#
# The cells work in a *namespace* of their own, a part of the cluster in which names do not clash with other people's.
# `own` names it, as in lesson 16, and "Clean up" removes it.

# %%
import json
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from math import sqrt

import matplotlib.pyplot as plt
import numpy as np
import yaml

from course_lib import data, models, show
from course_lib.idioms import begin, claim, claim_gone, guess, live, observe, own, path, reveal
from course_lib.ops import kubernetes, terminal, traffic
from course_lib.ops.terminal import shown, until
from course_lib.ops.watch import lives

scratch = begin("17")
path.picture(here="17")

# %% [markdown]
# We deploy one model, version 3 of the course's small network for digits. Clients send twenty test images. Four helpers
# come from `course_lib.ops`. `said` runs a `kubectl` command in our namespace and returns its answer or its error.
# `shown` prints commands with their answers. `until` waits for the cluster. `ready` lists the *pods* that may get
# requests. A pod is one or more containers that start and end together and share an address.

# %%
NAMESPACE, IMAGE = own("digits-17-kubernetes"), own("digits-service:lesson-17")
OURS = {"course-lesson": own("17")}  # a label on what runs outside the cluster
said, ready = partial(terminal.said, NAMESPACE), partial(terminal.ready, NAMESPACE)
_, test = data.digits()
BODIES = [json.dumps({"instances": each[None, None].tolist()}) for each in test.images[:20]]
clients, results = partial(traffic.clients, NAMESPACE, IMAGE, BODIES), traffic.results
served = scratch / "models" / "digits_cnn" / "3"
served.mkdir(parents=True, exist_ok=True)
_ = (served / "model.onnx").write_bytes(models.path("digits_cnn", 3).read_bytes())


# %%
@live("docker", "kubernetes")
def build():
    from course_lib.ops.docker import build_service, clear, docker_client
    from course_lib.ops.kubernetes import fresh_namespace, load_image

    client = docker_client()
    clear(client, OURS, IMAGE, namespace=NAMESPACE)  # what an earlier run left, if it broke off
    build_service(client, scratch / "context", scratch / "models", tag=IMAGE)
    fresh_namespace(NAMESPACE)
    return load_image(IMAGE)


print(build())

# %% [markdown]
# Typed by hand, with a cluster that `kind` made, this is:
#
# ```bash
# docker build -f docker/service.Dockerfile -t digits-service:0.1.0 .
# kind load docker-image digits-service:0.1.0      # minikube: minikube image load …
# kubectl create namespace digits
# kubectl config set-context --current --namespace=digits
# ```
#
# The recording comes from Kubernetes 1.20. The lesson's objects and commands are the same on a current cluster. A few
# answers differ; a table before "Clean up" lists them.
#
# ## Why does the cluster refuse the commands from the article?
#
# **Where this goes wrong.** One of the articles that this course grew from deploys a model in three lines: install,
# create, expose. We run the last two, first with the article's underscore in the Deployment's name, then with a hyphen.
# At the end we look at the pod, which should be a running copy of the image.


# %%
@live("docker", "kubernetes")
def as_the_article_says():
    from course_lib.ops.kubernetes import kubectl

    session = {}
    for name in ("model_deploy", "model-deploy"):
        create = f"kubectl create deployment {name} --image=model_deploy:latest"
        service = name.replace("_", "-") + "-svc"
        expose = f"kubectl expose deployment {name} --type=LoadBalancer --name={service}"
        session |= {line: said(line) for line in (create, expose)}
    warnings = "kubectl get events --field-selector type=Warning -o custom-columns=WHAT:.message"
    until(lambda: "ailed" in said(warnings) or "forbidden" in said(warnings))
    lines = [line[:95] for line in said(warnings).splitlines()]
    session["kubectl get pods"] = said("kubectl get pods")
    session[warnings] = "\n".join(dict.fromkeys(lines))
    kubectl("delete", "deployment", "model-deploy", "-n", NAMESPACE, "--wait=false")
    return session


# %%
article = as_the_article_says()
shown(article)

# %%
refused, not_there, created, exposed = list(article.values())[:4]
claim(
    "the API server refuses `model_deploy` by the rule for names, RFC 1123, and takes a hyphen; "
    "`expose` refuses a Deployment that names no port",
    "RFC 1123" in refused
    and "not found" in not_there
    and "created" in created
    and "port" in exposed
    and "error" in exposed,
)

# %% [markdown]
# So a third try needs a hyphen in the name, a port, and an image that a *node*, a machine of the cluster, can pull. The
# tag `latest` makes Kubernetes ask a registry at each start, although the image may lie on the node. (A cluster that
# enforces the Pod Security Standard *restricted* refuses the pod first, and the warning says so.)
#
# The API server knows such rules, and you can ask it before anything changes: `kubectl apply --dry-run=server -f FILE`.
# But only you know on which port your server listens.
#
# ## Why do all requests fail after a successful rollout?
#
# Another article has two objects in a file. A *Deployment* says which pods there should be. A *Service* gives those
# pods one name and one address, and spreads over them what arrives there. It finds the pods by their *labels*.

# %%
ARTICLE = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: image-classifier}
spec:
  replicas: 3
  selector: {matchLabels: {app: image-classifier}}
  template:
    metadata: {labels: {app: image-classifier}}
    spec:
      containers:
      - name: image-classifier
        image: <your-image>
        ports: [{containerPort: 8080}]
---
apiVersion: v1
kind: Service
metadata: {name: image-classifier}
spec:
  type: LoadBalancer
  selector: {app: image-classifier}
  ports: [{protocol: TCP, port: 80, targetPort: 8080}]
"""

# %% [markdown]
# We put our image in, and a *security context*. It sets the limits of lesson 16: a user of its own, a read-only file
# system, no capabilities. Many clusters refuse a pod without one. Our server listens on port 8501. Typed by hand, it is
# `kubectl apply -f article.yaml`.

# %%
guess(
    "rollout",
    "Nothing listens on port 8080 of the pods. What does `kubectl rollout status` say?",
    choices=["waiting", "successfully rolled out", "an error"],
)

# %% [markdown]
# The next cell applies both objects, waits for the rollout, and then sends requests for a second.


# %%
@live("docker", "kubernetes")
def two_objects():
    from course_lib.ops.kubernetes import apply, kubectl, rendered, the
    from course_lib.ops.traffic import traffic

    documents = list(yaml.safe_load_all(ARTICLE))
    pod = the("Deployment", documents)["spec"]["template"]["spec"]
    ours = the("Deployment", rendered("k8s/base", IMAGE))["spec"]["template"]["spec"]
    secure = ours["containers"][0]["securityContext"]
    pod["securityContext"] = ours["securityContext"]
    pod["containers"][0] |= {"image": IMAGE, "securityContext": secure}
    apply(documents, NAMESPACE)
    lines = ("rollout status deployment/image-classifier --timeout=90s", "get deployment,service")
    session = {f"kubectl {line}": said(f"kubectl {line}") for line in lines}
    with traffic(NAMESPACE, IMAGE, BODIES, host="image-classifier", seconds=1) as stream:
        result = stream.result()
    kubectl("delete", "deployment,service", "image-classifier", "-n", NAMESPACE, "--wait=false")
    return {"session": session, "answered": result["answered"], "failed": result["failed"]}


# %%
bare = two_objects()
shown(bare["session"])

# %%
reveal("rollout", "successfully rolled out")
claim(
    "the rollout is called successful with three pods available, and every request fails",
    "successfully rolled out" in str(bare["session"])
    and bare["answered"] == 0
    and sum(bare["failed"].values()) > 0,
    bare["failed"],
)

# %% [markdown]
# `containerPort` opens nothing; it is a note. And "available" means here only that the process has been started, since
# Kubernetes knew nothing else. So the server must listen on the port that the Service leads to, and a *readiness probe*
# must ask the server itself.
#
# From here on we work with the files in `k8s/base`, which a team would apply with `kubectl apply -k k8s/base`. Their
# Deployment `digits` has all fields that follow. We take some of them out, to see which failure they prevent. `variant`
# does this, and `deploy` (from `course_lib.ops`) replaces what runs with the result.

# %%
PROBES = ("startupProbe", "readinessProbe", "livenessProbe")
deploy = partial(kubernetes.deploy, NAMESPACE)


def variant(*without, load_s=0):
    """k8s/base as objects, its container without these fields, or slow to load its model."""
    from course_lib.ops.kubernetes import rendered, the

    documents = rendered("k8s/base", IMAGE)
    container = the("Deployment", documents)["spec"]["template"]["spec"]["containers"][0]
    container["readinessProbe"]["periodSeconds"] = 1  # 2 in the file: spares us waiting
    for name in without:
        del container[name]
    if load_s:
        wait = ["sh", "-c", f'sleep {load_s}; exec "$@"', "--"]
        container["command"] = wait + container["command"]
    return documents


# %% [markdown]
# First we take out the probes. Two pods serve. A pod inside the cluster sends requests to the Service from four
# *workers*. Each worker opens a new connection for every request and pauses for 20 ms after the answer. Then comes an
# update whose model takes three seconds to load, as a larger model would. Without a readiness probe, Kubernetes cannot
# tell us when a pod answers. So `loaded` waits for "ready" in the server's log. Typed by hand:
#
# ```bash
# kubectl apply -f without-probes.yaml && kubectl rollout status deployment/digits
# kubectl logs --follow digits-…
# ```


# %%
def loaded():
    """Waits until every pod that stays has written to its log that it answers."""
    from course_lib.ops.kubernetes import pods, wait_for_log

    for pod in pods(NAMESPACE, "app=digits"):
        if not pod["leaving"]:
            wait_for_log(NAMESPACE, pod["name"], '"ready"')


# %%
@live("docker", "kubernetes")
def update_without_readiness():
    from course_lib.ops.kubernetes import apply, wait_for_rollout
    from course_lib.ops.traffic import traffic

    deploy(variant(*PROBES))
    loaded()
    with traffic(NAMESPACE, IMAGE, BODIES, seconds=90, timeout_s=2) as stream:
        stream.wait_until(1.5)
        begun = time.time()
        apply(variant(*PROBES, load_s=3), NAMESPACE)
        wait_for_rollout(NAMESPACE)
        done = time.time()
        loaded()
        time.sleep(1.5)
        stream.stop()
        result = stream.result()
    return {**result, "update": begun - result["begun_at"], "done": done - result["begun_at"]}


# %%
blind = update_without_readiness()


# %% [markdown]
# The client counts in half seconds. We draw them as rates: the answers, and on top of them, hatched, the failures.


# %%
def by_second(result):
    """Answers and failures a second, in each half second."""
    pods, failed = result["by_half_second"].values(), np.array(result["failed_by_half_second"])
    answered = np.sum([np.zeros_like(failed), *pods], axis=0)
    return 2 * answered[:-1], 2 * failed[:-1]  # the last half second is not a whole one


def silence_s(result):
    """The longest time without any answer, to the half second."""
    gaps = "".join("-" if each else " " for each in by_second(result)[0]).split("-")
    return len(max(gaps)) / 2


# %%
def draw(axis, result, zero=0):
    answered, failed = by_second(result)
    at, look = np.arange(len(failed)) / 2 - zero, {"align": "edge", "lw": 0}
    axis.bar(at, answered, 0.5, color=show.BLUE, label="answered", **look)
    look |= {"hatch": "////", "edgecolor": "white"}
    axis.bar(at, failed, 0.5, answered, color=show.RED, label="failed", **look)
    axis.set_ylabel("requests a second")


# %% [markdown]
# This is what the client saw.

# %%
lost = sum(blind["failed"].values())
after = by_second(blind)[1][int(2 * blind["done"]) + 1 :].sum() // 2
draw(plt.gca(), blind)
for name in ("update", "done"):
    plt.axvline(blind[name], color="black", ls="--", lw=1)
    plt.text(blind[name] + 0.1, plt.ylim()[1], name, va="bottom")
plt.xlabel("time (s); dashed: the update is asked for; the rollout counts as done")
plt.legend(loc="center left", bbox_to_anchor=(1, 0.5))
show.finding(
    f"Without probes the update is “done” before the new pods answer: {lost} requests fail\n",
    alt=f"Requests a second over time, the update asked for at {blind['update']:.1f} s; "
    f"{lost} requests fail, {after} of them after the rollout was called done "
    f"at {blind['done']:.1f} s",
)

# %%
claim(
    "requests fail, some of them after the rollout was called done",
    lost > 0 and after > 0,
    f"{lost} failed ({blind['failed']}), {after} of them afterwards",
)

# %% [markdown]
# The new pods counted as ready as soon as their containers had been started. So the old pods were ended while the new
# ones still loaded. A readiness probe prevents this. `k8s/base` has three probes, and they ask different questions:
#
# | probe | asks | when it fails |
# | --- | --- | --- |
# | `startupProbe` | has it started? (`/v2/health/ready`; the others wait for it) | after `failureThreshold` tries: restart |
# | `readinessProbe` | may it have requests now? (`/v2/health/ready`) | the pod gets no requests; no restart |
# | `livenessProbe` | must it be restarted? (`/v2/health/live`) | restart |
#
# The startup probe gives a pod `failureThreshold × periodSeconds` to load. Without it, a liveness probe that asks for
# the model can kill a pod that still loads, again and again. **Now do exercise 17.2**: compute the probes.
#
# ## How can a pod end without losing requests?
#
# When a pod is deleted, two things begin *at the same time*. The pod's node sends the process the signal SIGTERM. And
# the pod's address is taken out of the Service; every node must learn this. Our server accepts no connections after
# SIGTERM. A client that still uses the old address is then refused.
#
# We run two Deployments side by side. `digits` has `preStop: sleep 3`, which puts three seconds between the deletion
# and SIGTERM. `abrupt` is the same without it. Both go from three pods to one at the same moment, each under its own
# traffic:
#
# ```bash
# kubectl scale deployment/digits deployment/abrupt --replicas=1
# ```
#
# `clients` starts several clients side by side; `results` ends them and collects what they saw.


# %%
@live("docker", "kubernetes")
def two_goodbyes():
    from course_lib.ops.kubernetes import apply, kubectl, pods, the

    kinds = {"digits": variant(), "abrupt": variant("lifecycle")}
    kinds["abrupt"] = json.loads(json.dumps(kinds["abrupt"]).replace('"digits"', '"abrupt"'))
    for documents in kinds.values():
        the("Deployment", documents)["spec"]["replicas"] = 3
    with ThreadPoolExecutor() as pool:
        list(pool.map(deploy, kinds.values()))
    asking = {"to-digits": {}, "to-abrupt": {"host": "abrupt", "timeout_s": 2}}
    with clients(asking) as streams:
        time.sleep(1.5)
        at = time.time()
        both = [f"deployment/{name}" for name in kinds]
        kubectl("scale", *both, "--replicas=1", "-n", NAMESPACE)
        until(
            lambda: [sum(p["ready"] for p in pods(NAMESPACE, f"app={n}")) for n in kinds] == [1, 1]
        )
        time.sleep(1)
        found = results(streams)
    kubectl("delete", "deployment,service", "abrupt", "-n", NAMESPACE, "--wait=false")
    apply(variant(), NAMESPACE)  # two pods again: they start while you look at the figure
    return {name: {**result, "at": at - result["begun_at"]} for name, result in found.items()}


# %%
goodbyes = two_goodbyes()

# %% [markdown]
# The figure shows what the clients of both saw.

# %%
lost = {name: sum(each["failed"].values()) for name, each in goodbyes.items()}
silent = {name: silence_s(each) for name, each in goodbyes.items()}
figure, axes = plt.subplots(2, sharex=True, sharey=True, figsize=(7, 4.4))
for axis, (name, each) in zip(axes, goodbyes.items()):
    draw(axis, each)
    axis.axvline(each["at"], color="black", ls="--", lw=1)
    which = "with" if name == "to-digits" else "without"
    gap = f", {silent[name]:.1f} s without an answer" if silent[name] else ""
    axis.set_title(f"{which} preStop: {lost[name]} failed{gap}")
axes[1].set_xlabel("time (s); dashed: from three pods to one")
axes[0].legend(loc="center left", bbox_to_anchor=(1, 0.5))
show.finding(
    f"Two pods of three deleted: {lost['to-digits']} requests fail with three seconds of "
    f"preStop, {lost['to-abrupt']} without",
    alt="Requests a second over time for both Deployments. "
    + "; ".join(f"{n}: {lost[n]} failed, longest gap {silent[n]:.1f} s" for n in lost),
)

# %%
claim(
    "with preStop no request is lost",
    lost["to-digits"] == 0 and goodbyes["to-digits"]["answered"] > 0,
    f"{goodbyes['to-digits']['answered']:,} answered",
)

# %%
observe(
    "without it, some are",
    lost["to-abrupt"] > 0,
    goodbyes["to-abrupt"]["failed"],
    of=goodbyes,
    either=True,
)

# %% [markdown]
# Without `preStop`, the number of failures depends on a race, and may be zero on a quiet day. Such bugs are hard to
# find. If the lower panel has a gap, all four workers are waiting, probably for an address that no pod has any more.
# Each wait ends after the client's time-out of two seconds. It counts as one failure, at the time at which the request
# was due.
#
# SIGKILL comes in any case when `terminationGracePeriodSeconds` are over, counted from the deletion. So three times
# must fit into it: the sleep, the server's own wait for requests under way, and a margin. In `k8s/base`: 3 s + 10 s <
# 20 s. **Now do exercise 17.4**: find in a manifest how requests may be lost.
#
# ## How does a Deployment replace its pods?
#
# A Deployment is not a command, it is a *desired state*. *Controllers* compare it with the actual state, again and
# again, and act on the difference. The Deployment's controller makes a *ReplicaSet* for each version of the template.
# The ReplicaSet's controller makes or deletes pods until their number is right. The *scheduler* finds them a node. The
# node's *kubelet* starts and probes them.
#
# We watch that in the API server's own stream of changes. First we delete a pod. Then we change the configuration. It
# is in a *ConfigMap*, an object outside of the image. The pods read it into environment variables when they start. So
# they must be replaced, one after the other: a *rolling update*. Typed by hand:
#
# ```bash
# kubectl get pods -l app=digits --watch           # in a second terminal
# kubectl delete pod digits-…
# kubectl edit configmap digits                    # max-batch-size: "16"
# kubectl exec digits-… -- printenv MAX_BATCH_SIZE # runs a command inside a container
# kubectl rollout restart deployment/digits
# kubectl rollout status deployment/digits
# ```

# %%
guess(
    "printenv",
    "The ConfigMap now says 16 instead of 32. No pod was restarted. What does printenv say?",
    choices=["32", "16"],
)

# %%
guess(
    "most",
    "An update of two pods, maxSurge 1, maxUnavailable 0. How many pods are there at one moment, "
    "at most?",
    low=2,
    high=8,
)

# %% [markdown]
# `replaced` deletes a pod and waits for the next one. `updated` changes the configuration and restarts the pods.


# %%
def batch_size():
    """What a ready pod has in its environment."""
    return said(f"kubectl exec {ready()[0]} -- printenv MAX_BATCH_SIZE")


def replaced():
    """Deletes a ready pod and waits until there are two again."""
    from course_lib.ops.kubernetes import kubectl

    victim = ready()[0]
    kubectl("delete", "pod", victim, "-n", NAMESPACE, "--wait=false")
    until(lambda: len(set(ready()) - {victim}) == 2)


def updated(config):
    """What a pod has before and after the restart; when that began, and when it was done."""
    from course_lib.ops.kubernetes import apply, kubectl, wait_for_rollout

    config["data"]["max-batch-size"] = "16"
    apply([config], NAMESPACE)
    before, begun = batch_size(), time.time()
    kubectl("rollout", "restart", "deployment/digits", "-n", NAMESPACE)
    wait_for_rollout(NAMESPACE)
    return [before, batch_size()], begun, time.time()


# %%
@live("docker", "kubernetes")
def deleted_and_updated():
    from course_lib.ops.kubernetes import apply, pod_state, the, wait_for_rollout
    from course_lib.ops.traffic import traffic
    from course_lib.ops.watch import watching

    documents, at = variant(), {}
    apply(documents, NAMESPACE)
    wait_for_rollout(NAMESPACE)
    changes = watching(NAMESPACE, "pods", pod_state, "app=digits")
    with changes as seen, traffic(NAMESPACE, IMAGE, BODIES, seconds=180, timeout_s=5) as stream:
        stream.wait_until(1)
        at["deletion"] = time.time()
        replaced()
        stream.wait_until(stream.elapsed() + 0.5)
        sizes, at["update"], at["updated"] = updated(the("ConfigMap", documents))
        stream.wait_until(stream.elapsed() + 4)  # the last goodbye belongs to the picture
        stream.stop()
        found, told = stream.result(), [dict(each) for each in seen]
    for each in told:
        each["at"] -= found["begun_at"]
    at = {name: moment - found["begun_at"] for name, moment in at.items()}
    return {**found, "moments": at, "changes": told, "sizes": sizes}


# %%
watched = deleted_and_updated()
lost = sum(watched["failed"].values())
claim(
    "a pod deleted and all pods replaced: no request is lost, and none was sent twice",
    lost == 0 and watched["retried"] == 0 and watched["answered"] > 0,
    f"{watched['answered']:,} answered, {lost} failed, {watched['retried']} retried",
)

# %% [markdown]
# What did the pod's environment say between the change and the restart?

# %%
reveal("printenv", watched["sizes"][0])
claim(
    "a changed ConfigMap reaches the pods by the restart, not before",
    watched["sizes"] == ["32", "16"],
    f"MAX_BATCH_SIZE before {watched['sizes'][0]}, after {watched['sizes'][1]}",
)


# %% [markdown]
# Everyone is surprised the first time a changed ConfigMap has no effect. Worse, the next pod that happens to be
# replaced starts with the new value, and the others keep the old one.
#
# From the stream we read when each pod appeared, when it was ready, when it was told to end, and when it was gone. A
# pod counts as leaving until its node has cleaned up, which may be seconds after its process has ended. `lives` puts
# the changes together: `{pod: [(begin, end, state), …]}`.

# %%
end = len(watched["failed_by_half_second"]) / 2
pods = lives(watched["changes"], end)
moments = watched["moments"]
order = [name for name in pods if pods[name][0][2] != "leaving"]  # the others left before
order.sort(key=lambda name: pods[name][0][0])
colours = {"starting": show.YELLOW, "ready": show.BLUE, "leaving": show.ORANGE}


def bars(axis):
    for row, name in enumerate(order):
        for since, to, state in pods[name]:
            since, to = max(since, 0), min(to, end)
            axis.barh(row, max(to - since, 0), 0.7, since, color=colours[state], lw=0)
    axis.set_yticks(range(len(order)), [f"…{name[-5:]}" for name in order])
    axis.invert_yaxis()
    for state, colour in colours.items():
        axis.barh(0, 0, color=colour, label=state)
    axis.legend(loc="center left", bbox_to_anchor=(1, 0.5))


# %% [markdown]
# The upper panel shows the pods, one line each, in the order in which they came. The lower panel shows what the client
# saw, on the same clock.

# %%
figure, (top, below) = plt.subplots(2, sharex=True, figsize=(8, 4.8), height_ratios=[3, 2])
bars(top)
draw(below, watched)
for name, moment in moments.items():
    for axis in (top, below):
        axis.axvline(moment, color="black", ls="--", lw=1)
    top.text(moment, -0.6, name, ha="right" if name == "updated" else "left", va="bottom")
below.set(xlabel="time (s)", ylabel="requests a second", xlim=(0, end))
words = [
    f"…{n[-5:]}: " + ", ".join(f"{s} {a:.1f} to {b:.1f} s" for a, b, s in pods[n]) for n in order
]
show.finding(
    "Each pod that leaves is replaced, and the answers go on",
    alt=f"Lives of pods. {'; '.join(words)}. Below: never fewer than {by_second(watched)[0].min()} "
    "answers a second in any half second",
)

# %% [markdown]
# ## How many pods does a rolling update need?
#
# Two numbers in the Deployment control the update, `maxUnavailable: 0` and `maxSurge: 1`. We ask for two pods: none may
# be missing, and there may be one more. Did the update keep to that? `counts` goes through the changes one by one.
# After each it counts the pods that are ready, the pods that are there to stay, and all pods. It leaves out those that
# were ending before the update began, such as the pod that we deleted.


# %%
def counts(changes, begin, end):
    """The fewest ready pods, the most that stay, and the most in all, between two moments."""
    now, seen, others = {}, [], set()  # others: those that were ending before
    for each in changes:
        if each["leaving"] and each["at"] < begin:
            others.add(each["name"])
        there = each["type"] != "DELETED" and each["name"] not in others
        stays = there and not each["leaving"]
        now[each["name"]] = (stays and each["ready"], stays, there)
        if begin <= each["at"] <= end:
            seen.append([sum(column) for column in zip(*now.values())])
    ready, stay, everything = zip(*seen)
    return min(ready), max(stay), max(everything)


# %%
fewest, most, everything = counts(watched["changes"], moments["update"], moments["updated"])
reveal("most", everything)
claim("during the update never fewer than 2 pods were ready", fewest >= 2, f"at least {fewest}")

# %%
observe(
    "no more than 3 pods were there to stay; with those that were ending there were more",
    most <= 3 < everything,
    f"at most {most} to stay, at most {everything} in all",
    of=watched,
    either=True,
)

# %% [markdown]
# `maxSurge` does not count the pods that are ending. Each of them keeps its share of processor and memory, and counts
# in the namespace's quota, until it has ended and its node has cleaned up. Here this takes at least the three seconds
# of `preStop`, and at most about the grace period. If the new pods are ready before the old ones are gone, all old and
# all new pods are there at once. So plan for *twice* the pods during an update. **Now do exercise 17.1**: compute what
# an update needs. Lesson 17b measures what happens if a quota does not allow that many.
#
# ## How do I find and undo a broken update?
#
# Somebody changes the port in the server's arguments to 8502, and forgets the rest. The process runs, its log shows no
# error, and nobody can reach it. We send traffic again, and this time we use the commands that you need in an incident:
# `get`, `events`, `logs`, `top`, `rollout`.


# %%
def wrong_port():
    from course_lib.ops.kubernetes import the

    documents = variant()
    container = the("Deployment", documents)["spec"]["template"]["spec"]["containers"][0]
    container["args"] = [each.replace("8501", "8502") for each in container["args"]]
    return documents


def asked_in_an_incident(pod):
    events = f"kubectl get events --field-selector involvedObject.name={pod}"
    until(lambda: "probe failed" in said(events))
    lines = ["kubectl rollout status deployment/digits --timeout=1s"]
    lines += ["kubectl get pods -l app=digits", events + " -o custom-columns=WHAT:.message"]
    lines += [f"kubectl logs {pod}", "kubectl top pods"]
    return {line: said(line) for line in lines}


# %%
UNDO = "kubectl rollout undo deployment/digits"


@live("docker", "kubernetes")
def broken_update():
    from course_lib.ops.kubernetes import apply, pods, wait_for_rollout
    from course_lib.ops.traffic import traffic

    apply(variant(), NAMESPACE)
    wait_for_rollout(NAMESPACE)
    good, now = ready(), lambda: pods(NAMESPACE, "app=digits")
    new = lambda: [p for p in now() if not p["leaving"] and p["name"] not in good]  # noqa: E731
    with traffic(NAMESPACE, IMAGE, BODIES, seconds=180, timeout_s=5) as stream:
        stream.wait_until(1)
        apply(wrong_port(), NAMESPACE)
        until(new)
        session = asked_in_an_incident(new()[0]["name"])
        still = ready()
        session[UNDO] = said(UNDO)
        wait_for_rollout(NAMESPACE)
        stream.wait_until(stream.elapsed() + 1)
        stream.stop()
        found = stream.result()
    keep = {key: found[key] for key in ("answered", "failed", "retried")}
    return {**keep, "session": session, "good": good, "still": still, "after": ready()}


# %%
broken = broken_update()
shown(broken["session"])

# %% [markdown]
# Read the answers in order. `rollout status` waits and then fails, and a pipeline that checks its exit code stops.
# `get pods`: one pod runs and is not ready. The old ones are untouched, since `maxUnavailable` is 0 and the new pod
# does not count as available. The event says which probe failed, and at which address. The log says where the server
# listens. Compare the two, and the ports differ. `rollout undo` brings back the previous template: a *rollback*. (`top`
# needs the cluster's metrics server; without one it says so.)

# %%
claim(
    "the broken update is held and undone: the same pods serve throughout, no request is lost",
    sorted(broken["good"]) == sorted(broken["still"]) == sorted(broken["after"])
    and not broken["failed"]
    and broken["answered"] > 0,
    f"{broken['answered']:,} answered, {sum(broken['failed'].values())} failed",
)

# %% [markdown]
# But a readiness probe stops only the failures that it asks about. A model that answers quickly and wrongly is ready
# (lesson 19). **Now do exercise 17.3**: mend a manifest from a tutorial.
#
# ## What does a client lose when a server is killed?
#
# After a crash, a kill for lack of memory, or a power cut there is no SIGTERM and no `preStop`. To see what this costs,
# we kill a server with SIGKILL. From inside its container that does not work: the server is process 1 there, and the
# kernel protects a container's first process from a SIGKILL sent inside it (16b). The cell below tries it. So in this
# section a copy of the Deployment has `shareProcessNamespace: true`. Then all containers of a pod see each other's
# processes, and process 1 is not our server:
#
# ```bash
# kubectl exec digits-… -- sh -c "kill -9 -1"      # -1: all processes that it may signal
# ```
#
# Four clients send requests at the same time, with two workers each. One never tries again. One tries again once,
# immediately. One tries again once, after six seconds. One keeps its connections open, and never tries again.

# %%
KINDS = {
    "no-retry": {},
    "retry-at-once": {"retries": 1},
    "retry-after-6-s": {"retries": 1, "retry_pause_s": 6},
    "kept-connections": {"keep": True},
}

# %%
guess(
    "again",
    "Two pods, one is dead, and the Service draws a pod for each connection. Which share of the "
    "failed requests fails again at an immediate second try?",
    share=True,
)


# %%
def with_shared_processes():
    from course_lib.ops.kubernetes import the

    documents = variant()
    the("Deployment", documents)["spec"]["template"]["spec"]["shareProcessNamespace"] = True
    return documents


# %% [markdown]
# `killed` kills one of the two servers, and lets the clients go on until nine seconds after the kill.


# %%
@live("docker", "kubernetes")
def killed():
    from course_lib.ops.kubernetes import pods

    shielded = said(f"kubectl exec {ready()[0]} -- sh -c 'kill -9 1; sleep 0.5; echo it lives'")
    deploy(with_shared_processes())
    now = lambda: pods(NAMESPACE, "app=digits")  # noqa: E731
    state = lambda: next(pod for pod in now() if pod["name"] == victim)  # noqa: E731
    with clients(KINDS, workers=2) as streams:
        time.sleep(1)
        victim = ready()[0]
        at = time.time()
        said(f"kubectl exec {victim} -- sh -c 'kill -9 -1'", timeout=3)  # all that it may
        until(lambda: state()["restarts"] > 0)
        until(lambda: state()["ready"])
        back = time.time()
        time.sleep(max(1.5, at + 9 - time.time()))  # the last second try is after 6 s
        found = results(streams)
    found = {name: {**each, "at": at - each["begun_at"]} for name, each in found.items()}
    return {"clients": found, "back_s": back - at, "state": state(), "shielded": shielded}


# %%
death = killed()
claim(
    "from inside, SIGKILL to process 1 does nothing", death["shielded"] == "it lives", "kill -9 1"
)

# %%
lost = {name: sum(each["failed"].values()) for name, each in death["clients"].items()}
claim(
    "a client that never tries again loses requests; one that tries again after six seconds "
    "loses none",
    lost["no-retry"] > 0 and lost["retry-after-6-s"] == 0,
    f"{lost['no-retry']} and {lost['retry-after-6-s']}",
)

# %% [markdown]
# How much did an immediate second try help?

# %%
again = death["clients"]["retry-at-once"]["retried"]
share, margin = lost["retry-at-once"] / max(again, 1), 2 / sqrt(max(again, 1)) * 0.5
reveal("again", share)
observe(
    "of the requests that were tried again at once, about half failed again (within two "
    "standard errors)",
    again > 0 and abs(share - 0.5) < margin,
    f"{lost['retry-at-once']} of {again}, {share:.0%} ± {margin:.0%}",
    of=death,
    either=True,
)

# %% [markdown]
# The figure draws each request at the time at which it was due. A request that succeeds at its second try is drawn as
# answered, at the time of its first one. While a worker waits, it sends nothing.

# %%
figure, axes = plt.subplots(4, sharex=True, sharey=True, figsize=(7, 7.5))
for axis, (name, each) in zip(axes, death["clients"].items()):
    draw(axis, each, zero=each["at"])
    axis.axvline(0, color="black", ls="--", lw=1)
    axis.set_title(f"{name.replace('-', ' ')}: {lost[name]} failed")
seen_s = min(
    len(each["failed_by_half_second"]) / 2 - each["at"] for each in death["clients"].values()
)
axes[3].set(xlabel="time after the kill (s)", xlim=(-1, seen_s - 0.5))
axes[0].legend(loc="center left", bbox_to_anchor=(1, 0.5))
show.finding(
    f"One of two servers is killed: {lost['no-retry']} requests fail without a retry, "
    f"{lost['retry-at-once']} with one at once,\n{lost['retry-after-6-s']} with one after 6 s, "
    f"{lost['kept-connections']} over kept connections",
    alt="Requests a second around the kill, for four clients. Failed: "
    + "; ".join(f"{name} {each}" for name, each in lost.items()),
)

# %%
first = death["clients"]["no-retry"]
over_s = (np.flatnonzero(first["failed_by_half_second"]).max(initial=-1) + 1) / 2 - first["at"]
observe(
    "the failures are over before the six seconds of the patient client, and the server is "
    "ready again within ten",
    over_s < 6 and death["back_s"] < 10,
    f"failures until {over_s:.1f} s, to the half second; ready after {death['back_s']:.1f} s",
    of=death,
    either=True,
)

# %%
claim(
    "the pod is the same, its container was started anew, once",
    death["state"]["restarts"] == 1 and death["state"]["ready"],
    death["state"],
)

# %% [markdown]
# The pod stayed, with its address; only its container was restarted. This is the cluster's *self-healing*. (If a
# container dies again and again, the waits before its restarts grow, up to five minutes: `CrashLoopBackOff`.)
#
# Until the cluster noticed and every node knew, the Service still sent connections to a closed port. An *immediate*
# retry asks the same Service, which draws again from the same two pods. With $n$ pods, one of them dead, it fails with
# probability $1/n$. If the card above shows another share, the draws were not even, or not independent. A retry helps
# more if it *waits* until the dead pod is off the list, or if it asks *another pod*, as lesson 15's gateway does. (A
# dip that all panels share is likely the start of the new server, which takes processor time.) Waiting has a price. In
# the third panel the workers are idle while they wait. So few requests were tried a second time, and the zero rests on
# these few.
#
# The fourth panel depends on luck: with probability 1/4 both connections lead to the other pod, and nothing fails. A
# connection to the dead pod breaks, and a request on it fails. We may retry because a prediction changes nothing: it is
# *idempotent* (lesson 15).
#
# ## What differs on a newer cluster?
#
# The recording comes from Kubernetes 1.20. Look here if your cluster answers otherwise:
#
# | what | Kubernetes 1.20, as recorded | a current cluster |
# | --- | --- | --- |
# | API version of an autoscaler (lesson 18) | `autoscaling/v1`, `v2beta2` | `autoscaling/v2` (and `v1`); `v2beta2` was removed in 1.26 |
# | API version of a disruption budget (17b) | `policy/v1beta1` | `policy/v1`; `v1beta1` was removed in 1.25 |
# | `kubectl get hpa`, column TARGETS | `12%/60%` | `cpu: 12%/60%` |
# | events | `kubectl get events`, in no order | also `kubectl events`, ordered by time |
# | a local image | the node may share Docker's images | the node usually runs containerd: `kind load …` |
# | `preStop` | runs a command in the image | also `sleep: {seconds: 3}`, since 1.30 |
#
# ## Clean up
#
# Typed by hand: `kubectl delete namespace digits`.


# %%
@live("docker", "kubernetes")
def remove():
    from course_lib.ops.docker import clear, docker_client

    return clear(docker_client(), OURS, IMAGE, namespace=NAMESPACE)


# %%
claim_gone("the namespace and the image are gone", remove())

# %% [markdown]
# ## What we measured


# %%
def lost_of(result):
    return f"{sum(result['failed'].values()):,}"


# %%
show.table(
    ["what", "requests failed"],
    [
        ["an update without probes", lost_of(blind)],
        ["two pods of three deleted without preStop", lost_of(goodbyes["to-abrupt"])],
        ["the same with preStop", lost_of(goodbyes["to-digits"])],
        ["a pod deleted, then a rolling update, with all fields", lost_of(watched)],
        ["a broken update, held and rolled back", lost_of(broken)],
        ["a server killed, no retry", lost["no-retry"]],
        ["a server killed, one retry after 6 s", lost["retry-after-6-s"]],
    ],
    caption="Requests that failed while something happened to the service",
)

# %% [markdown]
# ## What to remember
#
# - The cluster does what the file says. It knows about your service only what the probes ask.
# - A planned end loses nothing if every node has removed the address before the process ends. After an unplanned end
#   the client must try again: later, or at another pod.
# - During an update, pods that are ending come on top of `maxSurge`. Plan for twice the pods.
#
# ## Where this breaks down
#
# A laptop's cluster usually has a single node: nothing moves between machines, and if it fails, everything fails. Three
# seconds of `preStop` were enough for one node's tables. In a cluster of a thousand nodes, or behind a cloud's load
# balancer that is told separately, measure again. Our traffic was light, so one pod could carry the load of two. With
# less to spare, a deletion becomes an overload (lesson 18). No failure among a few thousand requests does not exclude
# one in ten thousand (exercise 01.4).
#
# ## What real teams use
#
# Many teams use somebody else's cluster: a cloud's managed Kubernetes. Others need none, because a container service
# (Cloud Run, ECS, Azure Container Apps) will do. Files in git are applied by a controller (Argo CD, Flux) and written
# with Helm or kustomize. Policies at the API server (Pod Security, Kyverno, Gatekeeper) check them. KServe or Ray Serve
# add what is special about models (lesson 18). For debugging, teams still use `get`, `describe`, `logs` and `events`.
#
# ## Further reading
#
# - B. Burns, J. Beda, K. Hightower, L. Evenson, *Kubernetes: Up and Running*, 3rd edition, O'Reilly 2022.
# - B. Burns, B. Grant, D. Oppenheimer, E. Brewer, J. Wilkes, *Borg, Omega, and Kubernetes*, ACM Queue 14(1), 2016.
# - A. Verma et al., *Large-scale cluster management at Google with Borg*, EuroSys 2015.
# - Kubernetes documentation: *Pod Lifecycle*, *Deployments*, *Deprecated API Migration Guide*.
# - Kubernetes Enhancement Proposal 3973, *Consider Terminating Pods in Deployments*.
# - R. Braden, RFC 1123, section 2.1: where the rule for names comes from.
