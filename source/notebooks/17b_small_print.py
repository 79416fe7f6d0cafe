# %% [markdown]
# # 17b The cluster's small print
#
# At 3 a.m. an update crawls. No pod is broken. The namespace may hold eleven pods. Nine run, two are ending, and
# Kubernetes counts all of them.
#
# ## You will be able to
#
# - say what a Service balances, requests or connections, and what a LoadBalancer that stays `<pending>` waits for;
# - predict which pod the kernel kills first when memory runs out;
# - size a quota so that an update fits into it;
# - make a change of the configuration roll out by itself, and say who can read a Secret;
# - check manifests against the next version of Kubernetes before the upgrade.
#
# ## Before you start
#
# You need lesson 17: Deployments, Services, probes and rolling updates. The cells that act on a cluster need a Docker
# engine and a Kubernetes cluster on your own machine. Without them, they replay a recording and say so. The lesson has
# a namespace and an image of its own, and removes them at the end.

# %%
import base64
import hashlib
import json
import time
from functools import partial
from math import comb, sqrt

import kubernetes_validate
import matplotlib.pyplot as plt
import numpy as np
import yaml

from course_lib import data, models, places, show
from course_lib.idioms import begin, claim, claim_gone, guess, live, observe, own, path, reveal
from course_lib.ops import terminal, traffic
from course_lib.ops.terminal import shown, until

scratch = begin("17b")
path.picture(here="17b")

# %% [markdown]
# The helpers are those of lesson 17: `said` runs a `kubectl` command, `shown` prints commands with their answers,
# `until` waits, `ready` lists the pods that may have requests, `clients` sends requests from inside the cluster.

# %%
NAMESPACE, IMAGE = own("digits-17b-kubernetes"), own("digits-service:lesson-17b")
OURS = {"course-lesson": own("17b")}  # a label on what runs outside the cluster
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
    from course_lib.ops.kubernetes import deploy, fresh_namespace, load_image, rendered

    client = docker_client()
    clear(client, OURS, IMAGE, namespace=NAMESPACE)  # what an earlier run left, if it broke off
    build_service(client, scratch / "context", scratch / "models", tag=IMAGE)
    fresh_namespace(NAMESPACE)
    how = load_image(IMAGE)
    deploy(NAMESPACE, rendered("k8s/base", IMAGE))
    return how


print(build())

# %% [markdown]
# Two pods of the digits service run now, as `kubectl apply -k k8s/base` starts them.
#
# ## Does a Service balance requests or connections?
#
# The name of this course ends in "load balancer". What does ours balance? We measure three clients of four workers
# each. One opens a connection for each request, one keeps its connections open, and one keeps each for a second. Then
# we scale the Deployment from two pods to four:
#
# ```bash
# kubectl scale deployment/digits --replicas=4
# ```

# %%
WAYS = {
    "a connection each": {},
    "kept": {"keep": True},
    "kept for a second": {"keep": True, "max_age_s": 1},
}
guess(
    "kept",
    "What share of its answers does the client with kept connections get from the new pods?",
    share=True,
)


# %%
@live("docker", "kubernetes")
def scaled_up():
    from course_lib.ops.kubernetes import apply, kubectl, rendered, wait_for_rollout

    apply(rendered("k8s/base", IMAGE), NAMESPACE)  # two pods, if the cell is run again
    wait_for_rollout(NAMESPACE)
    until(lambda: len(ready()) == 2)
    with clients({name.replace(" ", "-"): way for name, way in WAYS.items()}) as streams:
        time.sleep(2)
        old, at = ready(), time.time()
        kubectl("scale", "deployment/digits", "--replicas=4", "-n", NAMESPACE)
        wait_for_rollout(NAMESPACE)
        whole = time.time()
        time.sleep(3)
        found = results(streams)
    apply(rendered("k8s/base", IMAGE), NAMESPACE)
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

# %% [markdown]
# Until the scaling there were two pods. Did each get half of the requests?

# %%
claim(
    "with a connection each, each of two pods gets half, within 5 standard errors",
    z < 5,
    f"{' and '.join(map(str, drawn.values()))} of {n}, that is {z:.1f} standard errors",
)

# %% [markdown]
# In most clusters a Service draws a pod for each *connection* at random, and does not see requests. Of $n$ connections,
# each of two pods gets a binomial number: on average $n/2$, with a standard deviation of $\sqrt{n}/2$. For hundreds of
# connections the two parts are nearly equal. For four they need not be. The probability that one of two pods gets
# *none* of four kept connections is $2 \cdot (1/2)^4$.

# %%
none_of_four = 2 * comb(4, 0) * 0.5**4
print(f"{none_of_four:.1%} of the time a pod of two stands idle beside four kept connections")

# %% [markdown]
# Here are the three clients side by side. Each answer is coloured by the pod that gave it. (The server writes the pod's
# name into a header of every answer.) Orange and yellow are the pods that the scaling added.

# %%
new = {
    name: sum(sum(each) for pod, each in way["by_half_second"].items() if pod not in grown["old"])
    for name, way in grown["ways"].items()
}

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
show.finding(
    f"Kept connections give the new pods {new['kept']} requests, the others "
    f"{new['a connection each']} and {new['kept for a second']}",
    alt="Answers a second by pod, for three clients. Answers of the new pods: "
    + "; ".join(f"{name} {count}" for name, count in new.items()),
)

# %%
kept = grown["ways"]["kept"]["by_half_second"]
reveal("kept", new["kept"] / max(sum(map(sum, kept.values())), 1))
claim(
    "new pods get nothing from kept connections, their part from the others; nothing is lost",
    new["kept"] == 0
    and new["a connection each"] > 0
    and new["kept for a second"] > 0
    and not any(way["failed"] for way in grown["ways"].values()),
    new,
)

# %% [markdown]
# So if an autoscaler adds pods, clients that keep their connections gain nothing. gRPC, HTTP/2, connection pools and
# HTTP/1.1's keep-alive all keep connections (lesson 14b). The third client may reach the new pods later than the first:
# it draws only once a second, and may draw an old pod again. (A dip right after the scaling is likely the start of the
# new pods: on a small machine it takes processor time from the old ones.)
#
# There are three remedies. Connections can end after some age, as measured here. Clients can know all pods and choose
# one for each request: the name of a *headless* Service (`clusterIP: None`) resolves to the pods' own addresses. Or a
# proxy that understands HTTP (a gateway, a mesh) stands in between, keeps connections on both sides, and balances
# requests.
#
# ## Why does a LoadBalancer stay pending?
#
# A Service comes in kinds, each on top of the one before: *ClusterIP*, an address inside the cluster; *NodePort*, also
# a port on each node; *LoadBalancer*, also an address for the world outside. The articles behind this course ask for
# the last one. We do so too, wait two seconds, and look at which fields have a value. Typed by hand:
#
# ```bash
# kubectl expose deployment digits --name=digits-public --type=LoadBalancer --port=80 --target-port=http
# kubectl get services
# ```


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

# %% [markdown]
# `EXTERNAL-IP` is the address for the world outside.

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
# write an address into the object's status. In a cloud, the provider's controller does this and rents a real load
# balancer. On your own machines it can be MetalLB; kind has `cloud-provider-kind`, minikube has `minikube tunnel`, and
# Docker Desktop writes `localhost`. Without such a program the address stays `<pending>`, without an error, and the
# Service still works inside the cluster. From your own machine you reach it with
# `kubectl port-forward service/digits 8080:80`. (This command picks one pod and balances nothing.)
#
# ## Which pod is killed first when memory runs out?
#
# A *request* is what the scheduler sets aside for a container on a node. A *limit* is what the kernel enforces: above
# its CPU limit a container is slowed down, above its memory limit it is killed. Four pods take 120 MiB of memory each.
# They differ only in their `resources`. Each then prints its `oom_score_adj`, a number that we explain below the table.
# Typed by hand, with such a pod in a file:
#
# ```bash
# kubectl apply -f once.yaml
# kubectl get pod nothing -o jsonpath={.status.qosClass}
# kubectl logs nothing
# ```

# %%
RESOURCES = {
    "nothing": {},
    "requests": {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": "256Mi"}},
    "equal": {"limits": {"cpu": "100m", "memory": "256Mi"}},
    "too-little": {"limits": {"cpu": "100m", "memory": "64Mi"}},
}
TAKE = """taken = b"x" * (120 << 20)
print(open("/proc/self/oom_score_adj").read())"""
guess(
    "killed",
    "A pod leaks until the node's memory is used up. All others use equally much. Which of them "
    "does the kernel kill first?",
    choices=["no requests, no limits", "requests below limits", "requests equal to limits"],
)


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


# %% [markdown]
# We start all four, wait until each has ended, and read its status.


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
    caption="Four pods that take 120 MiB each",
)

# %%
claim(
    "120 MiB under a limit of 64 MiB: killed, status 137 = 128 + 9; the pod without a limit ends "
    "well",
    took["too-little"]["reason"] == "OOMKilled"
    and took["too-little"]["exitCode"] == 137
    and took["nothing"]["exitCode"] == 0,
)

# %% [markdown]
# The pod without limits did no harm, since the node had 120 MiB to spare. A leak takes more and more memory, and in the
# end the kernel must kill a process. (The node's kubelet tries to act earlier, and then ends a whole pod.) Which
# process? From requests and limits Kubernetes derives a *quality of service class*. From the class (and, for Burstable,
# from the memory request) it sets each process's `oom_score_adj`, a number between −1000 and 1000. The kernel scores
# each process by the memory that it uses and adds this number, as thousandths of the node's memory. It kills the
# process with the highest score first. This is the rule for the class, for a pod of one container:


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
reveal("killed", "no requests, no limits")
claim(
    "the scores put BestEffort first, Guaranteed last",
    scores["BestEffort"] > scores["Burstable"] > scores["Guaranteed"],
    scores,
)

# %% [markdown]
# So, at equal use, a pod without requests and limits is killed first when another pod leaks. (For Guaranteed the number
# is negative on most clusters. It stays 0 if the cluster itself may not lower such scores.)
#
# `k8s/base` sets the memory limit equal to the request. So the container never takes more memory than was set aside for
# it, and if it leaks, it is killed and not its neighbours. Too little CPU does not kill a process by itself. It makes
# programs slow. Whether to limit CPU at all is debated: 16b measures what a limit does to threads. **Now do
# exercise 17b.1**: the whole rule, for pods with any containers.
#
# ## How many pods must a quota allow?
#
# A *quota* limits what a namespace may take in all: pods, CPU, memory. The API server refuses an object that would
# exceed it. A Deployment of two pods with `maxSurge: 1` asks for one pod more during an update. So is a quota of three
# pods enough? In lesson 17, pods that were ending came on top. A quota counts them, too, until they have ended. We
# restart the Deployment under quotas of two, three and four pods:
#
# ```bash
# kubectl create quota pods --hard=pods=3
# kubectl rollout restart deployment/digits
# kubectl get events --field-selector reason=FailedCreate
# ```

# %%
guess(
    "quota",
    "Under which quotas does the update of two pods with maxSurge 1 come to its end?",
    choices=["2, 3 and 4", "3 and 4", "4 alone"],
)

# %% [markdown]
# `restarted` does this under one quota. It waits for at most two minutes, or five seconds under the quota of two, and
# looks for refusals among the events.


# %%
def restarted(limit):
    """What a restart under a quota of so many pods came to; at most two minutes of it."""
    from course_lib.ops.kubernetes import KubectlFailed, kubectl, listed, wait_for_rollout

    until(lambda: len(listed("pods", NAMESPACE, "app=digits")) == 2)  # nobody is ending any more
    quota = f"pods-{limit}"
    kubectl("create", "quota", quota, f"--hard=pods={limit}", "-n", NAMESPACE)
    used = ("get", "quota", quota, "-n", NAMESPACE, "-o", "jsonpath={.status.used.pods}")
    until(lambda: kubectl(*used) == "2")
    kubectl("rollout", "restart", "deployment/digits", "-n", NAMESPACE)
    try:
        seconds = wait_for_rollout(NAMESPACE, seconds=120 if limit > 2 else 5)
    except KubectlFailed:
        seconds = None
        kubectl("rollout", "undo", "deployment/digits", "-n", NAMESPACE)
    events = listed("events", NAMESPACE)
    said_no = [each["message"] for each in events if f"exceeded quota: {quota}" in each["message"]]
    kubectl("delete", "quota", quota, "-n", NAMESPACE)
    return {"seconds": seconds, "refused": said_no[-1:]}


# %%
@live("docker", "kubernetes")
def under_quotas():
    from course_lib.ops.kubernetes import apply, kubectl, rendered, wait_for_rollout

    apply(rendered("k8s/base", IMAGE), NAMESPACE)
    wait_for_rollout(NAMESPACE)
    kubectl("delete", "quota", "--all", "-n", NAMESPACE)  # of a run that broke off
    return {str(limit): restarted(limit) for limit in (2, 3, 4)}


# %%
quotas = under_quotas()
refusals = {
    limit: "".join(each["refused"]).partition("exceeded quota: ")[2]
    for limit, each in quotas.items()
}
show.table(
    ["quota", "update", "refused by the API server"],
    [
        [
            f"{limit} pods",
            f"{each['seconds']:.0f} s" if each["seconds"] else "held",
            refusals[limit] or "none",
        ]
        for limit, each in quotas.items()
    ],
    caption="A rolling update of two pods, with maxSurge 1, under three quotas",
)

# %% [markdown]
# Which of the three updates finished?

# %%
reveal("quota", "3 and 4")
claim(
    "under a quota of 2 the update is held; under 3 it ends, though a pod was refused meanwhile; "
    "under 4 = 2 × 2 no pod is refused",
    quotas["2"]["seconds"] is None
    and all(quotas[limit]["seconds"] for limit in ("3", "4"))
    and quotas["2"]["refused"]
    and quotas["3"]["refused"]
    and not quotas["4"]["refused"],
)

# %%
observe(
    "the update under the quota of 3 takes longer than under 4",
    quotas["3"]["seconds"] > quotas["4"]["seconds"],
    f"{quotas['3']['seconds']:.1f} s against {quotas['4']['seconds']:.1f} s",
    of=quotas,
    either=True,
)

# %% [markdown]
# Under the quota of two, waiting longer would not help. The new pod is refused each time, and `maxUnavailable: 0` does
# not let the controller end an old one first. The events say why. Under the quota of three, the second new pod must
# wait until the first old one has ended. The ReplicaSet's controller tries again after waits that grow, so more time
# than that can be lost. With fifty pods that take 30 seconds to end and a quota of 51, such an update can take half an
# hour.
#
# So a quota for a service of $n$ pods must allow $2n$ pods, and $2n$ times the requests and limits of one pod. If an
# autoscaler may add pods, $n$ is its maximum: `k8s/overlays/production/quota.yaml` does that sum. A quota on CPU or
# memory has one more effect: the API server then refuses each pod that does not state its requests or limits.
#
# ## How does a changed ConfigMap reach the pods?
#
# Lesson 17 changed a ConfigMap, and nothing happened until somebody restarted the pods. The remedy is to put a checksum
# of the configuration into the pod template. Then a change of the configuration changes the template, and rolls out by
# itself. So does a change back.


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
first, again = (with_checksum(base["deployment"], base["configmap"]) for _ in range(2))
more = {"data": base["configmap"]["data"] | {"max-queue": "512"}}
changed = with_checksum(base["deployment"], more)
claim(
    "the same configuration gives the same template, another one another template",
    first == again and first["spec"]["template"] != changed["spec"]["template"],
    changed["spec"]["template"]["metadata"]["annotations"],
)

# %% [markdown]
# kustomize, which puts the files of `k8s/` together, does the same by the ConfigMap's name: its `configMapGenerator`
# adds a checksum to it. Charts of Helm, another such tool, often use an annotation like ours. **Now do exercise
# 17b.2**: a checksum of all configuration that a Deployment reads.
#
# ## Is a Secret encrypted?
#
# A *Secret* is much like a ConfigMap, but it shows its values in base64, a way to write bytes as text. Is that
# encryption? We store a password and read it. We ask whether our service's own account may read it. Then we start a pod
# that gets it as a variable and as a file.


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

# %% [markdown]
# Is what the second command shows encrypted? We decode it:

# %%
plain = base64.b64decode(kept["session"][SHOW]).decode()
claim(
    "base64 is read without a key, and a pod has the password as a variable and as a file, though "
    "its account was never asked",
    plain == "correct-horse" and kept["log"] == ["correct-horse"] * 2,
    f"{kept['session'][SHOW]} is {plain}",
)

# %%
*_, may = kept["session"].values()  # in a recording, the question names another namespace
observe(
    "the service's own account may not read Secrets through the API",
    may.endswith("no"),
    may.splitlines()[-1],
    of=kept,
    either=True,
)

# %% [markdown]
# Anyone who may read Secrets can decode them. Anyone who may *create a pod* in a namespace can mount all of that
# namespace's Secrets, and so read them, too. Two things protect a Secret. Rules say who may do either (lesson 22c). And
# the API server's store can be encrypted, which is off by default. A file is a better place than a variable. The file
# follows a change without a restart (unless it is mounted with `subPath`). A variable is passed on to child processes
# by default, and ends up in many crash reports.
#
# ## Will my manifests work on the next version of Kubernetes?
#
# Each kind of object belongs to an *API version*, and versions come and go. `kubectl api-versions` lists those that a
# cluster serves. `kubectl explain` prints the cluster's own documentation of a field.


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
# (Newer versions of `kubectl` print the same text in another layout.) Two kinds that this course uses have lost a
# version. One is the autoscaler of lesson 18: its `autoscaling/v2beta2` was removed in Kubernetes 1.26. The other is
# the *disruption budget*, which limits how many pods a maintenance of nodes may end at once: its `policy/v1beta1` was
# removed in 1.25. We take the smallest object of each, in the removed version and in the present one. Kubernetes
# publishes *schemas*, descriptions of its objects. `kubernetes-validate` brings those of many versions, and needs no
# cluster.

# %%
AUTOSCALER = {"maxReplicas": 4, "scaleTargetRef": {"kind": "Deployment", "name": "digits"}}
SMALLEST = {
    ("autoscaling/v2beta2", "HorizontalPodAutoscaler"): AUTOSCALER,
    ("policy/v1beta1", "PodDisruptionBudget"): {"maxUnavailable": 1},
    ("autoscaling/v2", "HorizontalPodAutoscaler"): AUTOSCALER,
    ("policy/v1", "PodDisruptionBudget"): {"maxUnavailable": 1},
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


# %% [markdown]
# We ask the schemas of four versions, and this cluster.

# %%
versions = ("1.25", "1.26", "1.31", "1.37")
holds = {pair: [known(version, *pair) for version in versions] for pair in SMALLEST}
removed = {"autoscaling/v2beta2": "1.26", "policy/v1beta1": "1.25"}
show.table(
    ["API version", "kind", "removed in", f"this cluster ({cluster['version']})", *versions],
    [
        [api, kind, removed.get(api, "still there"), "yes" if api in cluster["served"] else "no"]
        + ["yes" if h else "no" for h in row]
        for (api, kind), row in holds.items()
    ],
    caption="Which Kubernetes knows which API version",
)

# %%
claim(
    "the schemas know the beta versions until their removal, and 1.37 knows the stable ones",
    [row[-1] for row in holds.values()] == [False, False, True, True]
    and [row[0] for row in holds.values()][:2] == [True, False],
)

# %%
observe(
    "this cluster understands an autoscaler in one of the two",
    any(api in cluster["served"] for api, _ in holds if api.startswith("autoscaling")),
    of=cluster,
    either=True,
)

# %% [markdown]
# A manifest that worked for years can be refused after an upgrade of the cluster, because a beta version was removed.
# So check manifests against the *next* version before you upgrade. `k8s/overlays/kubernetes-1.20` shows the other
# direction: the same tree of files for clusters from 1.20 to 1.24, with the two versions that were removed later. We
# check all of `k8s/base` against the same four schemas:

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
# A schema describes the shape of a file, but not all of its rules. The API server refuses the name `model_deploy`
# (lesson 17). Does the schema?

# %%
template = {
    "metadata": {"labels": {"app": "model"}},
    "spec": {"containers": [{"name": "model", "image": "model_deploy:latest"}]},
}
named = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "model_deploy"}}
named["spec"] = {"selector": {"matchLabels": {"app": "model"}}, "template": template}
claim(
    "the schema of Kubernetes 1.37 lets the refused name pass",
    kubernetes_validate.validate(named, "1.37", strict=True) == "1.37",
)

# %% [markdown]
# So use both: schemas in the pipeline, and `kubectl apply --dry-run=server -f FILE` on a cluster of the new version.
#
# ## Can apt-get install a cluster?
#
# **Where this goes wrong.** The article of lesson 17 begins with an installation. We simulate it (`-s`) in a fresh
# Debian with current lists of packages. To show that a failure means something, we also ask for a package that exists.

# %%
APT_LINE = "apt-get install kubelet kubeadm kubectl"
ASKED = "redis-server kubelet kubeadm kubectl"


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
# The Kubernetes project publishes all three in a repository of its own. You must add it first, with its key. Even then
# you have three programs and no cluster: `kubelet` runs containers on one machine, `kubeadm` makes a cluster of
# machines, `kubectl` talks to it. On a laptop, take a tool that brings a whole cluster: kind, minikube, k3s or Docker
# Desktop.
#
# ## Clean up


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
show.table(
    ["what", "measured"],
    [
        ["answers of new pods, a connection for each request", new["a connection each"]],
        ["answers of new pods, kept connections", new["kept"]],
        ["oom_score_adj without requests and limits", scores["BestEffort"]],
        ["oom_score_adj with limits equal to requests", scores["Guaranteed"]],
        ["update of two pods under a quota of three, seconds", round(quotas["3"]["seconds"], 1)],
        ["the same under a quota of four", round(quotas["4"]["seconds"], 1)],
    ],
    caption="The small print, in numbers",
)

# %% [markdown]
# ## What to remember
#
# - A Service balances connections. A client that stays connected stays at its pod.
# - Requests and limits decide which pod is likely killed first. A quota must leave room for twice the pods.
# - A variable keeps the value that it had when the pod started. Base64 hides nothing.
#
# ## Where this breaks down
#
# How a Service chooses depends on the cluster's network. kube-proxy's iptables mode draws at random, its IPVS mode can
# take turns, and some networks (Cilium) can replace kube-proxy. The kernel's choice also depends on how much memory
# each process uses. The factor two of a quota assumes one update at a time. If a second update begins before the pods
# of the first are gone, a third set of pods counts as well. Pod-level resources, an addition of recent versions, change
# the rule for the class.
#
# ## What real teams use
#
# Envoy, Istio or Linkerd balance requests, and a cloud's load balancer stands in front. Quotas and a *LimitRange*,
# which gives pods default requests, are set for each team's namespace. Reloader restarts Deployments when their
# configuration changes. Secrets come from a vault (External Secrets, the CSI driver). pluto lists manifests with API
# versions that will be removed.
#
# ## Further reading
#
# - Kubernetes documentation: *Service*, *Virtual IPs and Service Proxies*, *Configure Quality of Service for Pods*,
#   *Resource Quotas*, *Deprecated API Migration Guide*.
# - A. Verma et al., *Large-scale cluster management at Google with Borg*, EuroSys 2015: priorities and quota.
# - Kubernetes Enhancement Proposal 3973, *Consider Terminating Pods in Deployments*.
