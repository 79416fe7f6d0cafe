# %% [markdown]
# # 17 Kubernetes
#
# At 3 a.m. the update is done: `kubectl` said "successfully rolled out". Every request fails. The cluster did exactly
# what the file asked for, but nobody had told it how to check that the service works.
#
# ## You will be able to
#
# - turn a Deployment and a Service that a cluster accepts into ones that answer;
# - say for each field of a production Deployment (probes, resources, `preStop`) which failure it prevents;
# - update a service under load without losing a request, and roll a broken update back;
# - predict whom the kernel kills first when memory runs out, and what a client loses when a process is killed;
# - say what a Service balances, requests or connections, and what a LoadBalancer that stays `<pending>` waits for.
#
# ## Before you start
#
# Lesson 16 makes the image, lesson 14 the server, lesson 15 time-outs and retries. The cells that act on a cluster
# need a Docker engine and a Kubernetes cluster on your own machine; without them they replay a recording, and say so.
# They work in a *namespace* of their own, a part of the cluster in which names do not clash with other people's. Its
# name is `digits-17-kubernetes` and a few letters that `own` adds, which belong to your copy of the course. The cells
# remove the namespace at the end.

# %%
import base64
import contextlib
import hashlib
import json
import shlex
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from math import comb, sqrt

import kubernetes_validate
import matplotlib.pyplot as plt
import numpy as np
import yaml

from course_lib import data, models, places
from course_lib.idioms import begin, claim, claim_gone, live, observe, own, path, show

scratch = begin("17")
path.picture(here="17")

# %%
NAMESPACE, IMAGE = own("digits-17-kubernetes"), own("digits-service:lesson-17")
OURS = {"course-lesson": own("17")}  # a label on the container that runs outside the cluster
print(NAMESPACE)
_, test = data.digits()
BODIES = [json.dumps({"instances": each[None, None].tolist()}) for each in test.images[:20]]
served = scratch / "models" / "digits_cnn" / "3"
served.mkdir(parents=True, exist_ok=True)
_ = shutil.copy(models.path("digits_cnn", 3), served / "model.onnx")


# %% [markdown]
# We deploy one model, version 3 of the course's small network for digits. Clients send twenty test images.
#
# We need three helpers. `said` runs a `kubectl` command in our namespace and returns its answer or its error. `shown`
# prints commands with their answers, as a terminal would. `until` waits for the cluster.


# %%
def said(line, timeout=150):
    from course_lib.ops.kubernetes import KubectlFailed, kubectl

    try:
        return kubectl("-n", NAMESPACE, *shlex.split(line)[1:], timeout=timeout).strip()
    except KubectlFailed as refused:
        return str(refused).partition(": ")[2]


# %%
def shown(session):
    print("\n\n".join(f"$ {line}\n{answer}" for line, answer in session.items()))


# %%
def until(condition, seconds=120):
    """Asks again and again until `condition()` holds."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError("the cluster did not get there in time")
        time.sleep(0.2)


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
# ## Three commands from an article: how far do they get?
#
# **Where this goes wrong.** One of the articles that this course grew from deploys a model in three lines: install,
# create, expose. We run them as they stand. First comes the installation, in a fresh Debian with current lists of
# packages (`-s` only simulates it). To show that a failure means something, we first ask for a package that does
# exist.

# %%
APT_LINE = "apt-get install kubelet kubeadm kubectl"
ASKED = "redis-server kubelet kubeadm kubectl"


# %%
@live("docker")
def installation():
    from course_lib.ops.docker import docker_client

    offers = f"for p in {ASKED}; do echo $p $(apt-cache policy $p | grep -c Candidate); done"
    script = (
        f"apt-get update -qq; {offers}; {APT_LINE.replace('install', 'install -s')} 2>&1; true"
    )
    run = docker_client().containers.run
    text = run("python:3.13-slim-trixie", ["sh", "-c", script], remove=True, labels=OURS)
    return text.decode().splitlines()


# %%
offered = installation()
print(*offered, sep="\n")

# %%
claim(
    "the distribution offers a package that it has, and neither kubelet nor kubeadm",
    "redis-server 1" in offered and {"kubelet 0", "kubeadm 0"} <= set(offered),
)

# %% [markdown]
# Debian 13 (trixie) has a package for only one of the three, `kubectl`. If one name is missing, apt installs nothing.
# Kubernetes' makers publish all three in a repository of their own; you must add it first, with its key. Even then you
# have three programs and no cluster: `kubelet` runs containers on one machine, `kubeadm` makes a cluster of machines,
# `kubectl` talks to it. On a laptop, take a tool that brings a whole cluster: kind, minikube, k3s or Docker Desktop.
#
# Now we run the other two lines, first with the article's underscore in the name, then with a hyphen. At the end we
# look at the pod, which should be a running copy of the image.


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
    "the API server refuses `model_deploy` by the rule for names, RFC 1123, and takes a hyphen",
    "RFC 1123" in refused and "not found" in not_there and "created" in created,
)

# %%
claim(
    "`expose` refuses too: the Deployment names no port, so there is none to publish",
    "port" in exposed and "error" in exposed,
    exposed,
)

# %% [markdown]
# So the third try would need a hyphen in the name, a port, and an image that a *node*, a machine of the cluster, can
# pull. `latest` makes Kubernetes ask a registry at each start, although the image may lie on the node. (A cluster that
# enforces a Pod Security Standard, a list of rights that no pod may have, refuses the pod before it looks for its
# image; the warning then says so.)
#
# Would a check before the deployment have caught the name? Kubernetes publishes *schemas*, descriptions of its objects
# that a program can check a file against without a cluster. `kubernetes-validate` brings those of many versions.

# %%
named = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "model_deploy"}}
template = {
    "metadata": {"labels": {"app": "model"}},
    "spec": {"containers": [{"name": "model", "image": "model_deploy:latest"}]},
}
named["spec"] = {"selector": {"matchLabels": {"app": "model"}}, "template": template}
claim(
    "today's schema lets the refused name pass",
    kubernetes_validate.validate(named, "1.37", strict=True) == "1.37",
)

# %% [markdown]
# A schema describes the shape of a file, but not all of its rules. It does not say that a name has no underscore, that
# a selector must match labels, or that somebody listens on the port. The API server knows the first two;
# `kubectl apply --dry-run=server` asks it, and changes nothing. Only you know the third. Exercise 17.4 checks all
# three.
#
# ## All pods are ready. Ready for what?
#
# Another article has two objects in a file. A *Deployment* says which *pods* there should be. A pod is one or more
# containers that start and end together and share an address. A *Service* gives those pods one name and one address,
# and spreads what arrives there over them. It finds them by their *labels*.

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
# We put our image in, and nothing else (but the security context of lesson 16, without which many clusters refuse a
# pod). Our server listens on port 8501. Predict what `kubectl` will say about pods behind port 8080, before you run
# it.


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
claim(
    "the rollout is called successful with three pods available, and every request fails",
    "successfully rolled out" in str(bare["session"])
    and bare["answered"] == 0
    and sum(bare["failed"].values()) > 0,
    bare["failed"],
)

# %% [markdown]
# `containerPort` opens nothing; it is a note. And "available" means here only that the process has been started:
# Kubernetes knew nothing else. So the server must listen on that port, and a *readiness probe* must ask the server
# itself. From here on we work with the files in `k8s/base`. Their Deployment `digits` has all fields that follow, and
# we take them out one at a time, to see what each is good for.
#
# `variant` reads those files and leaves fields out; `deploy` puts the result in the place of what runs; `ready` lists
# the pods that may have requests.


# %%
PROBES = ("startupProbe", "readinessProbe", "livenessProbe")


# %%
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


# %%
def deploy(documents):
    """In place of what runs as `digits` now, all pods at once: quicker than a rolling update."""
    from course_lib.ops.kubernetes import apply, kubectl, the, wait_for_rollout

    name = the("Deployment", documents)["metadata"]["name"]
    kubectl("delete", "deployment", name, "-n", NAMESPACE, "--ignore-not-found")
    apply(documents, NAMESPACE)
    wait_for_rollout(NAMESPACE, name)


# %%
def ready(app="digits"):
    """The names of the pods that are ready and not about to go."""
    from course_lib.ops.kubernetes import pods

    return [p["name"] for p in pods(NAMESPACE, f"app={app}") if p["ready"] and not p["leaving"]]


# %% [markdown]
# First we take out the probes. Two pods serve. A pod inside the cluster sends requests to the Service from four
# *workers*. Each worker opens a new connection for every request and pauses for 20 ms after the answer. Then comes an
# update whose model takes three seconds to load, as a larger model would. Without a readiness probe the cluster cannot
# tell us when a pod answers, so `loaded` reads it in the server's own log.


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


# %%
def draw(axis, result, zero=0):
    answered, failed = by_second(result)
    at, look = np.arange(len(failed)) / 2 - zero, {"align": "edge", "lw": 0}
    axis.bar(at, answered, 0.5, color=show.BLUE, label="answered", **look)
    look |= {"hatch": "////", "edgecolor": "white"}
    axis.bar(at, failed, 0.5, answered, color=show.RED, label="failed", **look)
    axis.set_ylabel("requests a second")


# %%
lost = sum(blind["failed"].values())
after = by_second(blind)[1][int(2 * blind["done"]) + 1 :].sum() // 2

# %%
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
# | `readinessProbe` | may it have requests now? (`/v2/health/ready`) | it gets none, and is left alone |
# | `livenessProbe` | is it beyond help? (`/v2/health/live`) | restart |
#
# The liveness probe must not ask for the model: a pod that still loads would be killed, and would load again, without
# end. The startup probe gives it `failureThreshold × periodSeconds` to load; exercise 17.3 computes both numbers. A
# later section counts how many requests an update loses with these probes.
#
# ## What if nobody sets limits?
#
# A *request* is what the scheduler sets aside for a container on a node. A *limit* is what the kernel enforces: above
# its CPU limit a container is slowed down, above its memory limit it is killed. Four pods take 120 MiB of memory each.
# They differ in their `resources` alone. Each then prints its `oom_score_adj`, a number that we explain below the
# table.

# %%
RESOURCES = {
    "nothing": {},
    "requests": {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": "256Mi"}},
    "equal": {"limits": {"cpu": "100m", "memory": "256Mi"}},
    "too-little": {"limits": {"cpu": "100m", "memory": "64Mi"}},
}
TAKE = """taken = b"x" * (120 << 20)
print(open("/proc/self/oom_score_adj").read())"""


# %%
def one_pod(name, code, volumes=(), **fields):
    """A pod that runs Python code once, secured as k8s/base has it."""
    from course_lib.ops.kubernetes import rendered, the

    base = the("Deployment", rendered("k8s/base", IMAGE))["spec"]["template"]["spec"]
    secure = base["containers"][0]["securityContext"]
    container = {"name": "once", "image": IMAGE, "command": ["python", "-c", code]}
    container |= {"securityContext": secure, **fields}
    spec = {"restartPolicy": "Never", "securityContext": base["securityContext"]}
    spec |= {"containers": [container], "volumes": list(volumes)}
    meta = {"name": name, "labels": {"app": "once"}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}


# %%
@live("docker", "kubernetes")
def four_pods():
    from course_lib.ops.kubernetes import apply, kubectl, listed

    apply([one_pod(name, TAKE, resources=each) for name, each in RESOURCES.items()], NAMESPACE)
    found = lambda: listed("pods", NAMESPACE, "app=once")  # noqa: E731
    phases = lambda: [pod["status"]["phase"] for pod in found()]  # noqa: E731
    until(lambda: len(phases()) == 4 and set(phases()) <= {"Succeeded", "Failed"})
    seen = {}
    for pod in found():
        name, status = pod["metadata"]["name"], pod["status"]
        seen[name] = status["containerStatuses"][0]["state"]["terminated"]
        seen[name] |= {"class": status["qosClass"], "log": said(f"kubectl logs {name}")}
    kubectl("delete", "pods", "-l", "app=once", "-n", NAMESPACE, "--wait=false")
    return seen


# %%
took = four_pods()
show.table(
    ["pod", "class", "ended", "exit code", "oom_score_adj"],
    [
        [n, took[n]["class"], took[n]["reason"], took[n]["exitCode"], took[n]["log"]]
        for n in RESOURCES
    ],
)

# %%
claim(
    "120 MiB under a limit of 64 MiB: killed, status 137 = 128 + 9; without a limit nobody objects",
    took["too-little"]["reason"] == "OOMKilled"
    and took["too-little"]["exitCode"] == 137
    and took["nothing"]["exitCode"] == 0,
)

# %% [markdown]
# The pod without limits did no harm, since the node had 120 MiB to spare. A leak takes all the memory there is, and in
# the end the kernel must kill some process. (The node's kubelet tries to be faster, and ends a whole pod.) Which
# process? From requests and limits Kubernetes derives a *quality of service class*. The class sets each process's
# `oom_score_adj`, a number between −1000 and 1000. The kernel adds it to its score of who uses most memory, and kills
# the highest score first. The rule, for a pod of one container:


# %%
def qos_class(resources):
    limits = resources.get("limits", {})
    requests = limits | resources.get("requests", {})  # a request not given is the limit
    if not requests:
        return "BestEffort"
    both = all(name in limits and limits[name] == requests[name] for name in ("cpu", "memory"))
    return "Guaranteed" if both else "Burstable"


# %%
computed = {name: qos_class(resources) for name, resources in RESOURCES.items()}
claim(
    "our rule gives the class that the API server reports, for all four",
    computed == {name: each["class"] for name, each in took.items()},
    computed,
)

# %%
scores = {took[name]["class"]: int(took[name]["log"]) for name in ("nothing", "requests", "equal")}
claim(
    "the scores put BestEffort first in line, Guaranteed last",
    scores["BestEffort"] > scores["Burstable"] > scores["Guaranteed"],
    scores,
)

# %% [markdown]
# So a pod without requests and limits is the first to be killed when another pod leaks. (For Guaranteed the number is
# negative on most clusters. It stays 0 if the cluster itself may not lower such scores.) `k8s/base` sets the memory
# limit equal to the request. So the pod never takes more than was set aside for it, and its own leak ends this pod,
# not its neighbours. Too little CPU kills nobody; it only makes programs slow. Whether to limit CPU at all is debated;
# lesson 16 measures what a limit does to threads.
#
# ## How can a pod end without losing requests?
#
# When a pod is deleted, two things begin *at the same time*. Its node tells the process to end (SIGTERM). And its
# address is taken out of the Service, which every node has to learn. Our server stops accepting connections as soon as
# it is told. A client that still uses the old address is then refused.
#
# We run two Deployments side by side. `digits` has `preStop: sleep 3`, which puts three seconds between the deletion
# and SIGTERM. `abrupt` is the same without it. Both go from three pods to one at the same moment, each under its own
# traffic. `clients` starts several clients side by side; `results` ends them and collects what they saw.


# %%
@contextlib.contextmanager
def clients(kinds, **common):
    """Several clients at once, {name: what is special about it}; gives {name: its traffic}."""
    from course_lib.ops.traffic import traffic

    with contextlib.ExitStack() as stack, ThreadPoolExecutor() as pool:

        def start(name):
            orders = {"seconds": 90, "timeout_s": 5, "name": name, **common, **kinds[name]}
            return stack.enter_context(traffic(NAMESPACE, IMAGE, BODIES, **orders))

        yield dict(zip(kinds, pool.map(start, kinds)))


# %%
def results(streams):
    for stream in streams.values():
        stream.stop()
    return {name: stream.result() for name, stream in streams.items()}


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

# %%
lost = {name: sum(each["failed"].values()) for name, each in goodbyes.items()}
figure, axes = plt.subplots(2, sharex=True, sharey=True, figsize=(7, 4.4))
for axis, (name, each) in zip(axes, goodbyes.items()):
    draw(axis, each)
    axis.axvline(each["at"], color="black", ls="--", lw=1)
    axis.set_title(f"{'with' if name == 'to-digits' else 'without'} preStop: {lost[name]} lost")
axes[1].set_xlabel("time (s); dashed: from three pods to one")
axes[0].legend(loc="center left", bbox_to_anchor=(1, 0.5))
show.finding(
    f"With three seconds between deletion and SIGTERM {lost['to-digits']} requests fail, without "
    f"them {lost['to-abrupt']}",
    alt="Requests a second over time for both Deployments. Failed requests: "
    f"{lost['to-digits']} with preStop, {lost['to-abrupt']} without",
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
# Without it, the number of failures depends on a race, and may be zero on a quiet day. Such bugs are the hardest to
# find. (If you see a gap without answers or failures, all four workers are waiting, most likely for an address where
# no pod is left. Each such wait ends as one failure, a `TimeoutError`, after the client's two seconds.) After
# `terminationGracePeriodSeconds` SIGKILL comes in any case. So three times must fit into it: the sleep, the server's
# own wait for requests under way, and a margin. In `k8s/base`: 3 s + 10 s < 20 s (exercise 17.5).
#
# ## Who closes the gap between what is and what should be?
#
# A Deployment is not a command, it is a *desired state*. *Controllers* compare it with the actual state, again and
# again, and act on the difference. The Deployment's controller makes a *ReplicaSet* for each version of the template.
# The ReplicaSet's controller makes or deletes pods until their number is right. The scheduler finds them a node, and
# the node's kubelet starts and probes them. Each looks only at its own part, so none needs to be told what went wrong
# elsewhere.
#
# We watch that, in the API server's own stream of changes (`kubectl get pods --watch`). First we delete a pod. Then we
# change the configuration. It is in a *ConfigMap*, outside of the image. The pods read it into environment variables
# when they start. So they must be restarted, one after the other: a *rolling update*. Several times we look at a pod's
# environment with `kubectl exec`, which runs a command inside a container. Predict what it says between the change and
# the restart.


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


# %%
@live("docker", "kubernetes")
def deleted_and_updated():
    from course_lib.ops.kubernetes import apply, kubectl, pod_state, the, wait_for_rollout
    from course_lib.ops.traffic import traffic
    from course_lib.ops.watch import watching

    documents, at = variant(), {}
    config = the("ConfigMap", documents)
    apply(documents, NAMESPACE)
    wait_for_rollout(NAMESPACE)
    changes = watching(NAMESPACE, "pods", pod_state, "app=digits")
    with changes as seen, traffic(NAMESPACE, IMAGE, BODIES, seconds=180, timeout_s=5) as stream:
        stream.wait_until(1)
        at["deletion"] = time.time()
        replaced()
        stream.wait_until(stream.elapsed() + 0.5)
        config["data"]["max-batch-size"] = "16"
        apply([config], NAMESPACE)
        sizes, at["update"] = [batch_size()], time.time()
        kubectl("rollout", "restart", "deployment/digits", "-n", NAMESPACE)
        wait_for_rollout(NAMESPACE)
        at["updated"] = time.time()
        sizes.append(batch_size())
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
# The stream tells each pod's life: when it appeared, when it was ready, when it was told to end, and when it was gone.
# A pod counts as leaving until its node has cleaned up, which may be seconds after its process has ended.


# %%
def lives(changes, end):
    """{pod: [(begin, end, "starting", "ready" or "leaving"), …]} in seconds of the traffic."""
    found, now = {}, {}
    for each in changes:
        name = each["name"]
        state = "leaving" if each["leaving"] else "ready" if each["ready"] else "starting"
        before, since = now.get(name, (None, 0))
        if each["type"] == "DELETED" or before != state:
            if before:
                found.setdefault(name, []).append((since, each["at"], before))
            now[name] = (None if each["type"] == "DELETED" else state, each["at"])
    for name, (state, since) in now.items():
        if state:
            found.setdefault(name, []).append((since, end, state))
    return found


# %% [markdown]
# The upper panel shows the pods, one line each, in the order in which they came. The lower panel shows what the client
# saw, on the same clock.

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


# %%
figure, (top, below) = plt.subplots(2, sharex=True, figsize=(8, 4.8), height_ratios=[3, 2])
bars(top)
draw(below, watched)
for name, moment in moments.items():
    for axis in (top, below):
        axis.axvline(moment, color="black", ls="--", lw=1)
    top.text(moment, -0.6, name, ha="right" if name == "updated" else "left", va="bottom")
below.set(xlabel="time (s)", ylabel="answers a second", xlim=(0, end))
words = [
    f"…{n[-5:]}: " + ", ".join(f"{s} {a:.1f} to {b:.1f} s" for a, b, s in pods[n]) for n in order
]
show.finding(
    "Each pod that leaves is replaced, and the answers go on",
    alt=f"Lives of pods. {'; '.join(words)}. Below: never fewer than {by_second(watched)[0].min()} "
    "answers a second in any half second",
)

# %%
replacement = next(name for name in order if pods[name][0][0] > moments["deletion"])
made = pods[replacement][0][0] - moments["deletion"]
whole = (
    next(since for since, _, state in pods[replacement] if state == "ready") - moments["deletion"]
)
observe(
    "the replacement is asked for within a second, and ready within ten",
    made < 1 and whole < 10,
    f"made after {made:.2f} s, ready after {whole:.1f} s",
    of=watched,
)

# %%
observe(
    "both pods are replaced within 30 seconds",
    moments["updated"] - moments["update"] < 30,
    f"{moments['updated'] - moments['update']:.1f} s",
    of=watched,
)

# %% [markdown]
# Two numbers in the Deployment control the update, `maxUnavailable: 0` and `maxSurge: 1`. We ask for two pods: none
# may be missing, and there may be one more. Did the update respect them? `counts` goes through the changes one by one.
# After each it counts the pods that are ready, and the pods that are not about to end.


# %%
def counts(changes, begin, end):
    """The fewest ready pods and the most pods in all that stay, between two moments."""
    now, seen = {}, []
    for each in changes:
        stays = each["type"] != "DELETED" and not each["leaving"]
        now[each["name"]] = (stays, stays and each["ready"])
        if begin <= each["at"] <= end:
            seen.append([sum(column) for column in zip(*now.values())])
    return min(ready for _, ready in seen), max(stay for stay, _ in seen)


# %%
fewest, most = counts(watched["changes"], moments["update"], moments["updated"])
claim("during the update never fewer than 2 pods were ready", fewest >= 2, f"at least {fewest}")

# %%
observe("and never more than 3 were there to stay", most <= 3, f"at most {most}", of=watched)

# %%
claim(
    "a changed ConfigMap reaches the pods by the restart, not before",
    watched["sizes"] == ["32", "16"],
    f"MAX_BATCH_SIZE before {watched['sizes'][0]}, after {watched['sizes'][1]}",
)

# %% [markdown]
# Everyone is surprised the first time a changed ConfigMap has no effect. Worse, the next pod that happens to be
# replaced starts with the new value, and the others keep the old one. The cure is to put a checksum of the
# configuration into the pod template. Then a change of the configuration is a change of the template, and rolls out by
# itself. So does the way back to the old configuration.


# %%
def with_checksum(deployment, config):
    """The Deployment, its pods marked with what their configuration holds."""
    text = json.dumps(config["data"], sort_keys=True).encode()
    marked = json.loads(json.dumps(deployment))
    notes = marked["spec"]["template"]["metadata"].setdefault("annotations", {})
    notes["digits/config"] = hashlib.sha256(text).hexdigest()[:16]
    return marked


# %%
base = {
    name: yaml.safe_load((places.CHECKOUT / f"k8s/base/{name}.yaml").read_text())
    for name in ("deployment", "configmap")
}

# %%
first, again = (with_checksum(base["deployment"], base["configmap"]) for _ in range(2))
more = {"data": base["configmap"]["data"] | {"max-queue": "512"}}
changed = with_checksum(base["deployment"], more)
claim(
    "the same configuration gives the same template, another one another template",
    first == again and first["spec"]["template"] != changed["spec"]["template"],
    changed["spec"]["template"]["metadata"]["annotations"],
)

# %% [markdown]
# (kustomize, which puts the files of `k8s/` together, does the same through the ConfigMap's name, by its
# `configMapGenerator`; charts of Helm, another such tool, often by an annotation like ours.)
#
# ## What if the update is broken?
#
# Somebody changes the port in the server's arguments to 8502, and forgets the rest. The process runs, its log shows no
# error, and nobody can reach it. We send traffic again, and this time we use all the commands that one needs in an
# incident: `get`, `events`, `logs`, `top`, `rollout`.


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

# %%
claim(
    "the broken update is held and undone: the same pods serve throughout, no request is lost",
    sorted(broken["good"]) == sorted(broken["still"]) == sorted(broken["after"])
    and not broken["failed"]
    and broken["answered"] > 0,
    f"{broken['answered']:,} answered, {sum(broken['failed'].values())} failed",
)

# %% [markdown]
# Read it as in an incident. `rollout status` waits and then fails, and a pipeline that checks its exit code stops.
# `get pods`: one pod runs and is not ready, the old ones are untouched, since `maxUnavailable` is 0 and the new pod
# never counts as available. The event says which probe failed, and at which address. The log says where the server
# listens. Compare the two, and the ports differ. (`top` needs the cluster's metrics server; without one it says so.)
#
# But a readiness probe stops only the failures that it asks about. A model that answers quickly and wrongly is ready
# (lesson 19).
#
# ## What if a server is killed without warning?
#
# After a crash, a kill for lack of memory, or a power cut there is no SIGTERM and no `preStop`. To see what this
# costs, we kill a server with SIGKILL. From inside its container that does not work: the server is process 1 there,
# and the kernel protects a namespace's first process from signals sent inside it (lesson 16). The cell below tries it.
# So in this section a copy of the Deployment has `shareProcessNamespace: true`: all containers of a pod see each
# other's processes, and process 1 is not our server.
#
# Four clients send requests at the same time, with two workers each. One never tries again. One tries again once,
# immediately. One tries again once, after six seconds. One keeps its connections open, and never tries again. Predict
# a number: of the requests that fail at first, which share also fails at the *immediate* second try? There are two
# pods, one is dead, and the Service draws a pod for each connection.

# %%
KINDS = {
    "no-retry": {},
    "retry-at-once": {"retries": 1},
    "retry-after-6-s": {"retries": 1, "retry_pause_s": 6},
    "kept-connections": {"keep": True},
}


# %%
def with_shared_processes():
    from course_lib.ops.kubernetes import the

    documents = variant()
    the("Deployment", documents)["spec"]["template"]["spec"]["shareProcessNamespace"] = True
    return documents


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
        time.sleep(1.5)
        found = results(streams)
    found = {name: {**each, "at": at - each["begun_at"]} for name, each in found.items()}
    return {"clients": found, "back_s": back - at, "state": state(), "shielded": shielded}


# %%
death = killed()
claim(
    "from inside, SIGKILL to process 1 does nothing", death["shielded"] == "it lives", "kill -9 1"
)

# %%
show.table(
    ["client", "answered", "failed", "tried again"],
    [
        [name, each["answered"], sum(each["failed"].values()), each["retried"]]
        for name, each in death["clients"].items()
    ],
)

# %%
lost = {name: sum(each["failed"].values()) for name, each in death["clients"].items()}
claim(
    "who never tries again loses requests; who tries again after six seconds, none",
    lost["no-retry"] > 0 and lost["retry-after-6-s"] == 0,
    f"{lost['no-retry']} and {lost['retry-after-6-s']}",
)

# %%
again = death["clients"]["retry-at-once"]["retried"]
share, margin = lost["retry-at-once"] / max(again, 1), 2 / sqrt(max(again, 1)) * 0.5
observe(
    "of those tried again at once about half fail again (within two standard errors)",
    again > 0 and abs(share - 0.5) < margin,
    f"{lost['retry-at-once']} of {again}, {share:.0%} ± {margin:.0%}",
    of=death,
    either=True,
)

# %%
figure, axes = plt.subplots(4, sharex=True, sharey=True, figsize=(7, 7.5))
for axis, (name, each) in zip(axes, death["clients"].items()):
    draw(axis, each, zero=each["at"])
    axis.axvline(0, color="black", ls="--", lw=1)
    axis.set_title(f"{name.replace('-', ' ')}: {lost[name]} failed")
axes[3].set(xlabel="time after the kill (s)", xlim=(-2, death["back_s"] + 2))
axes[0].legend(loc="center left", bbox_to_anchor=(1, 0.5))
show.finding(
    f"A killed server costs {lost['no-retry']} requests; one more try at once saves "
    f"{again - lost['retry-at-once']} of {again}, one after 6 s all",
    alt="Requests a second around the kill, for four clients. Failed: "
    + "; ".join(f"{name} {each}" for name, each in lost.items()),
)

# %%
first = death["clients"]["no-retry"]
over_s = (np.flatnonzero(first["failed_by_half_second"]).max(initial=-1) + 1) / 2 - first["at"]
observe(
    "the failures are over before the six seconds of the patient client",
    over_s < 6,
    f"after {over_s:.1f} s, to the half second",
    of=death,
)

# %%
claim(
    "the pod is the same, its container was started anew, once",
    death["state"]["restarts"] == 1 and death["state"]["ready"],
    death["state"],
)

# %%
observe(
    "the killed server is ready again within 10 seconds",
    death["back_s"] < 10,
    f"{death['back_s']:.1f} s",
    of=death,
)

# %% [markdown]
# The pod stayed, with its address; only its container was restarted. (If a container dies again and again, the waits
# before its restarts grow, up to five minutes: `CrashLoopBackOff`.) Until the cluster noticed and every node knew, the
# Service still sent connections to a closed port. An *immediate* retry asks the same Service, which draws again from
# the same two pods. With $n$ pods, one of them dead, it fails with probability $1/n$. (By chance alone, the share is
# further off than two standard errors about one time in twenty.) A retry is safe if it *waits* until the dead pod is
# off the list, or if it asks *another pod*, as lesson 15's gateway does. Waiting has a price: in the gap in the third
# row both workers wait. A kept connection to the other pod is not affected. One to the dead pod breaks, and the next
# request opens a new one, which is drawn like all others. We may retry only because a prediction changes nothing: it
# is *idempotent* (lesson 15).
#
# ## What does the Service balance?
#
# The name of this course ends in "load balancer". What does ours balance? We measure three clients of four workers
# each. One opens a connection for each request, one keeps its connections open, and one keeps each for a second. Then
# the Deployment is scaled from two pods to four. Predict which of the three notices.

# %%
WAYS = {
    "a connection each": {},
    "kept": {"keep": True},
    "kept for a second": {"keep": True, "max_age_s": 1},
}


# %%
@live("docker", "kubernetes")
def scaled_up():
    from course_lib.ops.kubernetes import apply, kubectl, wait_for_rollout

    apply(with_shared_processes(), NAMESPACE)  # as they are: it spares us starting new ones
    wait_for_rollout(NAMESPACE)
    with clients({name.replace(" ", "-"): way for name, way in WAYS.items()}) as streams:
        time.sleep(2)
        old, at = ready(), time.time()
        kubectl("scale", "deployment/digits", "--replicas=4", "-n", NAMESPACE)
        wait_for_rollout(NAMESPACE)
        whole = time.time()
        time.sleep(3)
        found = results(streams)
    keep = ("begun_at", "by_half_second", "failed", "failed_by_half_second")
    ways = {way: {key: each[key] for key in keep} for way, each in zip(WAYS, found.values())}
    return {"ways": ways, "old": old, "at": at, "whole": whole}


# %%
grown = scaled_up()
before = grown["ways"]["a connection each"]
first = int(2 * (grown["at"] - before["begun_at"]))  # half seconds before there were more pods
drawn = {pod: sum(before["by_half_second"].get(pod, [])[:first]) for pod in grown["old"]}
n = max(sum(drawn.values()), 1)
z = (max(drawn.values()) - n / 2) / sqrt(n / 4)

# %%
claim(
    "with a connection each, each of two pods gets half, within 5 standard errors",
    z < 5,
    f"{' and '.join(map(str, drawn.values()))} of {n}, that is {z:.1f} standard errors",
)

# %% [markdown]
# In most clusters a Service draws a pod for each *connection* at random, and knows nothing of requests. Of $n$
# connections each of two pods gets a binomial number, $n/2 \pm \sqrt{n}/2$. That is even enough for hundreds of
# connections, but not for four. That one of two pods gets *none* of four kept connections has probability
# $2 \cdot (1/2)^4$.

# %%
none_of_four = 2 * comb(4, 0) * 0.5**4
print(f"{none_of_four:.1%} of the time a pod of two stands idle beside four kept connections")

# %% [markdown]
# Here are the three clients side by side. Each answer is coloured by the pod that gave it (the server writes the pod's
# name into a header of every answer). Orange and yellow are the pods that the scaling added.

# %%
figure, axes = plt.subplots(1, 3, sharey=True, figsize=(10, 3.2))
for axis, (name, way) in zip(axes, grown["ways"].items()):
    below, answers = 0, way["by_half_second"]
    fills = iter([show.BLUE, show.SKY]), iter([show.ORANGE, show.YELLOW] * 4)
    for pod in sorted(answers, key=lambda pod: pod not in grown["old"]):
        rate = 2 * np.array(answers[pod][:-1])
        at = np.arange(len(rate)) / 2 - (grown["at"] - way["begun_at"])
        fill = next(fills[pod not in grown["old"]])
        axis.bar(at, rate, 0.5, below, align="edge", color=fill, lw=0)
        below = below + rate
    axis.axvline(0, color="black", ls="--", lw=1)
    axis.set_title(name)
    axis.set_xlabel("time after scaling (s)")
axes[0].set_ylabel("answers a second")
for fill, label in zip(
    (show.BLUE, show.SKY, show.ORANGE, show.YELLOW), ("first pod", "second", "new pod", "new pod")
):
    axes[2].bar(0, 0, color=fill, label=label)
axes[2].legend(loc="center left", bbox_to_anchor=(1, 0.5))
new = {
    name: sum(sum(each) for pod, each in way["by_half_second"].items() if pod not in grown["old"])
    for name, way in grown["ways"].items()
}
show.finding(
    f"Kept connections give the new pods {new['kept']} requests, the others "
    f"{new['a connection each']} and {new['kept for a second']}",
    alt="Answers a second by pod, for three clients. Answers of the new pods: "
    + "; ".join(f"{name} {count}" for name, count in new.items()),
)

# %%
claim(
    "new pods get nothing from kept connections, their part from the others; nothing is lost",
    new["kept"] == 0
    and new["a connection each"] > 0
    and new["kept for a second"] > 0
    and not any(way["failed"] for way in grown["ways"].values()),
    new,
)

# %% [markdown]
# So an autoscaler may add pods, and clients that keep their connections gain nothing. gRPC, HTTP/2 and connection
# pools all keep theirs. (A dip right after the scaling is likely the start of the new pods: on a small machine it
# takes processor time from the old ones.)
#
# There are three remedies. Connections can end after some age, as measured here. Clients can know all pods and choose
# one for each request: the name of a *headless* Service (`clusterIP: None`) resolves to the pods' own addresses. Or a
# proxy that understands HTTP (a gateway, a mesh) stands in between, keeps connections on both sides, and balances
# requests.
#
# ## What is `<pending>` waiting for?
#
# A Service comes in kinds, each on top of the one before: *ClusterIP*, an address inside the cluster; *NodePort*, also
# a port on each node; *LoadBalancer*, also an address for the world outside. The articles ask for the last one. We do
# so too, wait two seconds, and look at which fields have a value.


# %%
@live("docker", "kubernetes")
def load_balancer():
    from course_lib.ops.kubernetes import apply, kubectl, listed, rendered, the

    service = the("Service", rendered("k8s/base"))
    service["metadata"]["name"] = "digits-public"
    service["spec"]["type"] = "LoadBalancer"
    apply([service], NAMESPACE)
    time.sleep(2)
    found = next(
        s for s in listed("services", NAMESPACE) if s["metadata"]["name"] == "digits-public"
    )
    session = {"kubectl get services": said("kubectl get services")}
    kubectl("delete", "service", "digits-public", "-n", NAMESPACE)
    keep = {"spec": found["spec"], "status": found["status"]}
    return {"session": session, **keep}


# %%
public = load_balancer()
shown(public["session"])

# %%
outside = public["status"]["loadBalancer"].get("ingress", [])
claim(
    "the cluster has given an address inside and a port on each node by itself",
    public["spec"]["clusterIP"] != "None" and public["spec"]["ports"][0]["nodePort"] > 0,
    f"{public['spec']['clusterIP']}, port {public['spec']['ports'][0]['nodePort']}",
)

# %%
observe(
    "two seconds later nobody has given an address for the outside",
    not outside,
    outside or "<pending>",
    of=public,
    either=True,
)

# %% [markdown]
# Kubernetes itself has no load balancer. `type: LoadBalancer` is a request, and some program must watch for it and
# write an address into the object's status. In a cloud this is the cloud's controller, which rents a real load
# balancer. On your own machines it can be MetalLB, for kind `cloud-provider-kind`, for minikube `minikube tunnel`;
# Docker Desktop writes `localhost`. Without such a program the address stays `<pending>`, without an error, and the
# Service still works inside the cluster. To reach it from your own machine, use
# `kubectl port-forward service/digits 8080:80`.
#
# ## Where does a password go?
#
# Into a *Secret*, which is much like a ConfigMap, but shows its values in base64. Is that encryption? We store a
# password and read it. Then we ask whether our service's own account may read it. Then we start a pod that gets it as
# a variable and as a file.


# %%
SECRET = "kubectl create secret generic feedback-store --from-literal=password=correct-horse"
SHOW = "kubectl get secret feedback-store -o jsonpath={.data.password}"
MAY = f"kubectl auth can-i get secrets --as=system:serviceaccount:{NAMESPACE}:digits"
READ = """import os
print(os.environ["PASSWORD"], open("/secrets/password").read())"""


# %%
@live("docker", "kubernetes")
def secret():
    from course_lib.ops.kubernetes import apply, finished_pod_log, kubectl

    session = {line: said(line) for line in (SECRET, SHOW, MAY)}
    source = {"secretKeyRef": {"name": "feedback-store", "key": "password"}}
    env = [{"name": "PASSWORD", "valueFrom": source}]
    mounts = [{"name": "secrets", "mountPath": "/secrets", "readOnly": True}]
    volume = {"name": "secrets", "secret": {"secretName": "feedback-store"}}
    apply([one_pod("reader", READ, [volume], env=env, volumeMounts=mounts)], NAMESPACE)
    log = finished_pod_log(NAMESPACE, "reader", 90).split()
    kubectl("delete", "pod", "reader", "-n", NAMESPACE, "--wait=false")
    return {"session": session, "log": log}


# %%
kept = secret()
shown(kept["session"])

# %%
plain = base64.b64decode(kept["session"][SHOW]).decode()
claim(
    "base64 is read by anybody, without a key",
    plain == "correct-horse",
    f"{kept['session'][SHOW]} is {plain}",
)

# %%
claim(
    "a pod has it as a variable and as a file, though its ServiceAccount was never asked",
    kept["log"] == ["correct-horse"] * 2,
)

# %%
*_, may = kept["session"].values()  # in a recording, the question names another namespace
observe(
    "the service's own account may not read Secrets through the API",
    may.endswith("no"),
    may.splitlines()[-1],
    of=kept,
)

# %% [markdown]
# Anyone who may read Secrets has them. Anyone who may *create a pod* in a namespace can mount all of that namespace's
# Secrets, so has them, too. Two things protect a Secret: rules on who may do either (lesson 22), and encryption of the
# API server's store, which is off by default. A file is a better place than a variable. The file follows a change
# without a restart, while a variable is passed on to every child process and ends up in many crash reports.
#
# ## Which words does this cluster understand?
#
# `kubectl explain` prints the cluster's own documentation of every field. Each kind of object belongs to an *API
# version*, and versions come and go.


# %%
@live("docker", "kubernetes")
def words():
    explain = "kubectl explain deployment.spec.strategy.rollingUpdate.maxUnavailable"
    version = "kubectl version -o json"
    served = said("kubectl api-versions").split()
    found = json.loads(said(version))["serverVersion"]["gitVersion"]
    return {"session": {explain: said(explain)}, "served": served, "version": found}


# %%
cluster = words()
shown(cluster["session"])

# %% [markdown]
# Two kinds have changed their version in recent years. We take the smallest object of each, in the old version and in
# the new, and ask the schemas of four Kubernetes versions, and this cluster, whether they know it.

# %%
SMALLEST = {
    ("autoscaling/v2beta2", "HorizontalPodAutoscaler"): {
        "maxReplicas": 4,
        "scaleTargetRef": {"kind": "Deployment", "name": "digits"},
    },
    ("policy/v1beta1", "PodDisruptionBudget"): {"maxUnavailable": 1},
}
SMALLEST |= {
    ("autoscaling/v2", "HorizontalPodAutoscaler"): list(SMALLEST.values())[0],
    ("policy/v1", "PodDisruptionBudget"): list(SMALLEST.values())[1],
}


# %%
def known(version, api, kind):
    document = {"apiVersion": api, "kind": kind, "metadata": {"name": "digits"}}
    try:
        kubernetes_validate.validate(
            document | {"spec": SMALLEST[api, kind]}, version, strict=True
        )
        return True
    except kubernetes_validate.SchemaNotFoundError:
        return False


# %%
versions = ("1.25", "1.26", "1.31", "1.37")
holds = {pair: [known(version, *pair) for version in versions] for pair in SMALLEST}

# %%
show.table(
    ["API version", "kind", f"this cluster ({cluster['version']})", *versions],
    [
        [
            api,
            kind,
            "yes" if api in cluster["served"] else "no",
            *("yes" if h else "no" for h in row),
        ]
        for (api, kind), row in holds.items()
    ],
)

# %%
claim(
    "1.37 knows the stable versions, and neither of the beta ones",
    [row[-1] for row in holds.values()] == [False, False, True, True],
)

# %%
claim(
    "this cluster understands an autoscaler in one of the two",
    any(api in cluster["served"] for api, _ in holds if api.startswith("autoscaling")),
)

# %% [markdown]
# A manifest that worked for years is refused after an upgrade of the cluster, because a beta version was removed. So
# check manifests against the *next* version before you upgrade. `k8s/overlays/kubernetes-1.20` shows the other
# direction: one tree of files for old clusters and new ones. Last, we check all of `k8s/base` against the same four
# schemas, which needs no cluster:

# %%
checked, folder = {}, places.CHECKOUT / "k8s" / "base"
for name in yaml.safe_load((folder / "kustomization.yaml").read_text())["resources"]:
    document = yaml.safe_load((folder / name).read_text())
    checked[document["kind"]] = [
        kubernetes_validate.validate(document, v, strict=True) for v in versions
    ]
claim(
    "every object of k8s/base is valid in all four",
    set(map(tuple, checked.values())) == {versions},
    ", ".join(checked),
)

# %% [markdown]
# ## Clean up
#
# We delete the Deployments first. Then we delete the pods without a grace period, since nobody sends requests any
# more. Last come the namespace, with all that is left in it, and the image.


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
        ["a server killed, one retry at once", lost["retry-at-once"]],
        ["a server killed, one retry after 6 s", lost["retry-after-6-s"]],
    ],
)

# %% [markdown]
# ## What to remember
#
# - The cluster does what the file says. It knows about your service only what the probes ask.
# - A planned end loses nothing if the address is removed before the process ends. After an unplanned end the client
#   must try again: later, or at another pod.
# - A Service balances connections. A client that stays connected stays at its pod.
#
# ## Where this breaks down
#
# A laptop's cluster is mostly a single node: nothing moves between machines, and if the node fails, everything fails.
# Three seconds of `preStop` were enough for one node's tables; in a cluster of a thousand nodes, or behind a cloud's
# load balancer that is told separately, measure again. Our traffic was light, so one pod could carry the load of two.
# With less to spare, a deletion becomes an overload (lesson 18). No failure among a few thousand requests does not
# exclude one in ten thousand (exercise 01.4). And the Deployment repaired only what it could see: a process that
# ended, a probe that failed.
#
# ## What real teams use
#
# They use somebody else's cluster: a cloud's managed Kubernetes, or none at all where a container service (Cloud Run,
# ECS, Azure Container Apps) will do. Files in git that a controller applies (Argo CD, Flux), with Helm or kustomize to
# write them; policies at the API server (Pod Security, Kyverno, Gatekeeper) instead of memory; Secrets from a vault by
# an operator. For models, KServe or Ray Serve on top (lesson 18). And for debugging, still `get`, `describe`, `logs`,
# `events`.
#
# ## Further reading
#
# - B. Burns, J. Beda, K. Hightower, L. Evenson, *Kubernetes: Up and Running*, 3rd edition, O'Reilly 2022.
# - B. Burns, B. Grant, D. Oppenheimer, E. Brewer, J. Wilkes, *Borg, Omega, and Kubernetes*, ACM Queue 14(1), 2016.
# - A. Verma et al., *Large-scale cluster management at Google with Borg*, EuroSys 2015.
# - Kubernetes documentation: *Pod Lifecycle*, *Configure Quality of Service for Pods*, *Deprecated API Migration
#   Guide*.
# - P. Mockapetris, *Domain Names – Implementation and Specification*, RFC 1035; R. Braden, RFC 1123, section 2.1:
#   where the rule for names comes from.
