# %% [markdown]
# # 24b Desired state in git
#
# At 3 a.m. the service is slow. It runs in one pod, but the files say two. On Friday somebody scaled it down by hand,
# "for a moment". Which of the two numbers is the mistake? Nobody wrote it down.
#
# ## You will be able to
#
# - write a reconciler, a loop that makes a cluster equal to a repository, and say why a crash in the middle does no
#   lasting harm;
# - say what such a loop may delete, and which fields it should leave to others;
# - watch it undo changes that were made by hand, and follow commits forward and back, without a failed request;
# - build the same thing twice, compare the results byte for byte, and find out what differs;
# - say what Argo CD, Flux, MLflow, DVC, Kubeflow Pipelines and Argo Workflows do with these steps.
#
# ## Before you start
#
# Lesson 24 builds the way from a commit to a version. Lesson 17 explains Deployments and Services, lesson 19 shows how
# the next `kubectl apply` undoes a promotion. You need the command `git`.

# %%
import copy
import io
import json
import random
import tarfile
import time

import yaml

from course_lib import data, models, places, show
from course_lib.idioms import begin, claim, claim_gone, guess, live, observe, own, path, reveal
from course_lib.measure import fresh_process
from course_lib.release.git import Repository, git

scratch = begin("24b")
path.picture(here="24b")

# %% [markdown]
# ## What is a reconciler?
#
# `kubectl apply` acts once. A *reconciler* is a loop. In each round it reads what is *desired*, reads what is *there*,
# and takes the steps from the second to the first. If the desired state is kept in a git repository, this is called
# *GitOps*. People no longer type commands to the cluster. They make commits, and the loop does the rest.
#
# Our desired state is lesson 17's service: four objects from `k8s/base`, and a fifth one that we will remove later.
# Each object gets a label that says that it comes from this repository. We will need this label soon.

# %%
NAMESPACE, OWNER = own("digits-24b-desired"), own("24b")
IMAGES = {version: own(f"digits-service:lesson-24b-{version}") for version in (1, 3)}


# %%
def title(each):
    """Kind and name, such as Service/digits."""
    return f"{each['kind']}/{each['metadata']['name']}"


# %% [markdown]
# The files are those of lesson 17. We change only the image and add the label. Each object gets a file of its own, so a
# review shows at once which object a commit changes.


# %%
def files_for(version, *more):
    """The repository's files, one for each object, with this version of the model."""
    base = places.CHECKOUT / "k8s/base"
    names = ("serviceaccount", "configmap", "deployment", "service")
    objects = [yaml.safe_load((base / f"{name}.yaml").read_text("utf-8")) for name in names]
    objects[2]["spec"]["template"]["spec"]["containers"][0]["image"] = IMAGES[version]
    for each in (*objects, *more):
        each["metadata"].setdefault("labels", {})["from-git"] = OWNER
    return {
        f"cluster/{title(o).replace('/', '-')}.yaml": yaml.safe_dump(o) for o in (*objects, *more)
    }


# %%
banner = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "metadata": {"name": "banner"},
    "data": {"text": "hello"},
}

# %% [markdown]
# A commit of these files says what the cluster should be. `wanted` reads it from the bare repository, which stands for
# a server such as GitHub.

# %%
repository = Repository(scratch)
first = repository.commit("main", "Version 1", files_for(1, banner))


# %%
def wanted(commit):
    """{kind and name: the object} of everything that a commit asks for."""
    names = git(repository.origin, "ls-tree", "--name-only", commit, "cluster/").split()
    objects = [yaml.safe_load(repository.read(commit, name)) for name in names]
    return {title(each): each for each in objects}


# %%
print(*wanted(first), sep="\n")

# %% [markdown]
# Next comes the comparison. We write it first for a "cluster" that is only a dictionary, so we can damage it a thousand
# times. A real cluster adds fields of its own to each object, such as its age and its status. So an object is as
# desired if it *covers* what git says: each field that git names is there with git's value. Additional fields do not
# count as a difference.


# %%
def covers(there, desired):
    if isinstance(desired, dict) and isinstance(there, dict):
        return all(key in there and covers(there[key], desired[key]) for key in desired)
    return there == desired


# %%
def plan(desired, there):
    """The steps from what is there to what is desired, in pairs: what to do, with which object."""
    ours = [
        n
        for n, each in there.items()
        if each["metadata"].get("labels", {}).get("from-git") == OWNER
    ]
    return (
        [("create", name) for name in desired if name not in there]
        + [("update", n) for n in desired if n in there and not covers(there[n], desired[n])]
        + [("delete", name) for name in ours if name not in desired]
    )


# %% [markdown]
# To *prune* is to delete what git no longer asks for. Without pruning, the object of a removed file keeps running until
# somebody deletes it. With pruning, the loop needs to know what it may delete. How many objects that are not in git
# could it delete by mistake?

# %%
guess(
    "objects",
    "Git holds 5 objects. How many are in the namespace once they run (events not counted)?",
    low=5,
    high=100,
)

# %% [markdown]
# The rest of the reconciler carries out the plan. `updated` writes the desired fields over those that are there, and
# keeps the other fields.


# %%
def updated(there, desired):
    if isinstance(desired, dict) and isinstance(there, dict):
        return there | {key: updated(there.get(key), desired[key]) for key in desired}
    return copy.deepcopy(desired)


# %%
def reconcile(desired, there, most=99):
    """One round on a dictionary; `most` steps, then it breaks off. Returns the steps."""
    steps = plan(desired, there)[:most]
    for what, name in steps:
        if what == "delete":
            del there[name]
        else:
            there[name] = updated(there.get(name, {}), desired[name])
    return steps


# %% [markdown]
# Does it work from every state? We damage the dictionary at random: objects are deleted, fields are changed, old
# objects of ours come back, and other people add their own. In about half of the cases the reconciler crashes in the
# middle and starts again.


# %%
def damaged(random):
    there = copy.deepcopy(wanted_first)
    for name in random.sample(sorted(there), 3):
        if random.random() < 0.5:
            del there[name]
        else:
            there[name]["metadata"]["labels"] = {"from-git": OWNER, "app": random.choice("xyz")}
    for i in range(random.randint(1, 4)):
        labels = random.choice([{}, {"from-git": OWNER}, {"from-git": "somebody else"}])
        there[f"ConfigMap/note-{i}"] = {"kind": "ConfigMap", "metadata": {"labels": labels}}
    return there


# %%
wanted_first, draw = wanted(first), random.Random(0)
worlds = [damaged(draw) for _ in range(1000)]

# %%
strangers = kept = settled = 0
for there in worlds:
    theirs = {
        n for n, o in there.items() if o["metadata"].get("labels", {}).get("from-git") != OWNER
    }
    theirs -= wanted_first.keys()
    if draw.random() < 0.5:
        reconcile(wanted_first, there, most=draw.randint(0, 3))  # it crashes here
    reconcile(wanted_first, there)
    settled += not plan(wanted_first, there)
    strangers, kept = strangers + len(theirs), kept + len(theirs & there.keys())
claim(
    "from 1,000 damaged states, one whole round repairs everything; what others made stays",
    settled == len(worlds) and strangers == kept > 0,
    f"{settled} repaired, {kept} of {strangers} objects of others kept",
)

# %% [markdown]
# Two properties make this possible:
#
# - The loop compares *states*. It does not depend on events, such as "a pod was deleted". An event can be lost, for
#   example while the loop restarts. A state can be read again. Kubernetes calls this *level-triggered*; a loop that
#   depends on events is *edge-triggered*.
# - If nothing has changed, a second round does nothing. A function that you may repeat without harm is *idempotent*. So
#   after a crash you simply start the loop again. Until then, the cluster may be half repaired.
#
# **Now do exercise 24b.1.** It asks what happens to a single *field* that two programs write.
#
# ### What if two loops want different things?
#
# An autoscaler (lesson 18) is also a loop. Under load it wants five pods, but git says two. Each loop does exactly what
# it was built for.


# %%
def rounds(desired, count=10):
    """How often the number of pods changes, in ten rounds of the two loops."""
    there, changes = copy.deepcopy(wanted_first), 0
    for _ in range(count):
        for act in ("autoscaler", "git"):
            before = there["Deployment/digits"]["spec"]["replicas"]
            if act == "autoscaler":
                there["Deployment/digits"]["spec"]["replicas"] = 5
            else:
                reconcile(desired, there)
            changes += there["Deployment/digits"]["spec"]["replicas"] != before
    return changes


# %%
without = copy.deepcopy(wanted_first)
del without["Deployment/digits"]["spec"]["replicas"]
fight, peace = rounds(wanted_first), rounds(without)
claim(
    "with replicas in git, the two loops undo each other in each round; without, one change",
    (fight, peace) == (20, 1),
    f"{fight} changes and {peace}",
)

# %% [markdown]
# So give each field one writer. If a controller sets a field, leave it out of git. For this reason,
# `k8s/overlays/production` sets no number of replicas. You can also tell Argo CD and Flux to leave a field alone. In
# Flux 2.9 and newer this takes an `ignore` rule. In Argo CD it takes two settings: `ignoreDifferences` only hides the
# difference, and the sync option `RespectIgnoreDifferences=true` keeps an apply from overwriting the field.
#
# ## What does it undo on a real cluster?
#
# On a real cluster we do not need `covers`. `kubectl diff` asks the API server what an apply would change. Its exit
# status is 0 if there is no difference, 1 if there is one, and greater than 1 if the comparison itself failed. As
# typed:
#
# ```bash
# kubectl diff -n NAMESPACE -f cluster/ || kubectl apply -n NAMESPACE -f cluster/
# kubectl get all,configmap,serviceaccount -n NAMESPACE -l from-git=OWNER   # what may be pruned
# ```

# %%
KINDS = "deployments,services,configmaps,serviceaccounts"


# %%
def one_round(commit):
    """One round on the cluster; the lines of the difference, and what was pruned."""
    from course_lib.ops import kubernetes

    desired, where = wanted(commit), ["-n", NAMESPACE]
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(desired.values())})
    try:
        kubernetes.kubectl("diff", *where, "-f", "-", stdin=text)
        lines = []
    except kubernetes.KubectlFailed as differs:
        if differs.code != 1:  # no difference: the comparison itself failed
            raise
        lines = [
            line for line in str(differs).splitlines() if line[:1] in "+-" and line[1:2] == " "
        ]
        kubernetes.apply(list(desired.values()), NAMESPACE)
    ours = json.loads(
        kubernetes.kubectl("get", KINDS, *where, "-l", f"from-git={OWNER}", "-o", "json")
    )
    gone = [title(each) for each in ours["items"] if title(each) not in desired]
    for name in gone:
        kubernetes.kubectl("delete", name, *where)
    return {"lines": lines, "pruned": gone}


# %% [markdown]
# A real loop reads the branch's newest commit in each round, and then it sleeps. Our function gets the commit as an
# argument, so that you can run each cell again. First we fill the namespace and count what is in it.

# %%
OURS = {"course-lesson": own("24b")}
for version in IMAGES:
    place = scratch / f"image-{version}" / "digits_cnn" / str(version)
    place.mkdir(parents=True, exist_ok=True)
    (place / "model.onnx").write_bytes(models.path("digits_cnn", version).read_bytes())


# %%
@live("docker", "kubernetes")
def fill():
    from course_lib.ops import docker, kubernetes

    client = docker.docker_client()  # first, what an earlier run left, if it broke off
    docker.clear(client, OURS, *IMAGES.values(), namespace=NAMESPACE)
    for version, tag in IMAGES.items():
        docker.build_service(client, scratch / "context", scratch / f"image-{version}", tag)
        kubernetes.load_image(tag)
    kubernetes.fresh_namespace(NAMESPACE)
    one_round(first)
    kubernetes.wait_for_rollout(NAMESPACE)
    kinds = kubernetes.kubectl(
        "api-resources", "--namespaced", "--verbs=list", "-o", "name"
    ).split()
    kinds = [kind for kind in kinds if not kind.startswith(("events", "pods.metrics"))]
    there = kubernetes.kubectl("get", ",".join(kinds), "-n", NAMESPACE, "-o", "name")
    return {"there": there.split(), "again": one_round(first)}


# %%
filled = fill()
reveal("objects", len(filled["there"]))
print(*filled["there"], sep="\n")
claim(
    "the namespace holds more objects than git; a second round changes nothing",
    len(filled["there"]) > 5 and filled["again"] == {"lines": [], "pruned": []},
)

# %% [markdown]
# Kubernetes made the other objects: pods, a ReplicaSet, endpoints, a certificate, an account and, in older releases,
# tokens. The list depends on the release. A loop that deletes "everything that is not in git" would delete these
# objects in each round, and the controllers would make them again. That is why the loop deletes only objects with our
# label.
#
# ### Which change by hand survives?
#
# At 3 a.m. people change things by hand. Here are four such changes.
#
# | change | as typed |
# | --- | --- |
# | fewer pods | `kubectl scale deployment/digits --replicas=1` |
# | another version | `kubectl set image deployment/digits service=digits-service:3` |
# | no Service | `kubectl delete service digits` |
# | a new variable | `kubectl set env deployment/digits DEBUG=1` |

# %%
guess(
    "survives",
    "Which of the four changes does the loop not undo?",
    choices=["fewer pods", "another version", "no Service", "a new variable"],
)

# %%
BY_HAND = {
    "fewer pods": "scale deployment/digits --replicas=1",
    "another version": f"set image deployment/digits service={IMAGES[3]}",
    "no Service": "delete service digits",
    "a new variable": "set env deployment/digits DEBUG=1",
}

# %% [markdown]
# `state` reads everything that these changes touch, so that we can compare before and after. The last entry is an
# object that is not ours: a ConfigMap that a colleague, Anna, creates without our label.


# %%
def state():
    """What the four changes touch, as the cluster has it."""
    from course_lib.ops import kubernetes

    found = {title(each): each for each in kubernetes.listed(KINDS, NAMESPACE)}
    spec = found["Deployment/digits"]["spec"]
    service = spec["template"]["spec"]["containers"][0]
    names = sorted(each["name"] for each in service["env"])
    return [
        spec["replicas"],
        service["image"],
        "Service/digits" in found,
        names,
        "ConfigMap/note" in found,
    ]


# %%
@live("kubernetes")
def by_hand():
    from course_lib.ops import kubernetes

    kubernetes.kubectl("create", "configmap", "note", "-n", NAMESPACE, "--from-literal=by=anna")
    before, found = state(), {}
    for name, words in BY_HAND.items():
        kubernetes.kubectl(*words.split(), "-n", NAMESPACE)
        start, changed = time.monotonic(), state()
        told = one_round(first)["lines"]
        seconds = time.monotonic() - start
        found[name] = {"changed": changed != before, "undone": state() == before}
        found[name] |= {"seconds": seconds, "diff": told}
    kubernetes.kubectl("set", "env", "deployment/digits", "DEBUG-", "-n", NAMESPACE)
    kubernetes.wait_for_rollout(NAMESPACE)
    return {"changes": found, "clean": state() == before}


# %% [markdown]
# After each change, one round of the loop runs. Is the state the same as before?

# %%
hands = by_hand()
survived = [name for name, each in hands["changes"].items() if not each["undone"]]
reveal("survives", " and ".join(survived))
rows = [
    [
        name,
        "yes" if each["undone"] else "no",
        f"{each['seconds']:.1f}",
        " ".join(each["diff"][:4])[:70],
    ]
    for name, each in hands["changes"].items()
]
show.table(
    ["change", "undone", "seconds", "the difference, its first lines"],
    rows,
    caption="One round each",
)

# %%
claim(
    "three changes are undone in one round; the new variable stays, and so does Anna's object",
    survived == ["a new variable"]
    and all(each["changed"] for each in hands["changes"].values())
    and hands["clean"],
)

# %% [markdown]
# `kubectl diff` showed no difference for the variable. An apply merges three versions of the object: what the file says
# now, what the file said at the last apply, and what is there. `DEBUG` is in neither of the first two. So apply treats
# it as somebody else's field, like the fields that controllers add. This rule is the *three-way merge*. If git names no
# number of pods, it keeps the autoscaler's number. Here it keeps a debug switch in production.
#
# So after an apply the cluster is not quite equal to git. Tools differ here: according to its documentation, Flux also
# rolls back edits that were made with `kubectl`. Test yours before you rely on it. It is safer to forbid changes by
# hand: people get the right to read, and only the loop gets the right to write (lesson 22c).
#
# ### How does a commit get to the cluster?
#
# Now we make changes by commit. The first commit brings version 3. The second takes it back. It is a *revert* (`git
# revert`), a new commit with the old content. No commit is removed from the history, so everybody can read later what
# was desired at 3 a.m., and why. The last commit removes the file of the banner. A pod sends requests all the time.

# %%
third = repository.commit("main", "Version 3: better", files_for(3, banner), first)
back = repository.commit("main", "Revert: version 3 is slow", files_for(1, banner), third)
removed = repository.commit("main", "No banner", {"cluster/ConfigMap-banner.yaml": None}, back)
print(git(repository.origin, "log", "--format=%h %s", "main"))

# %%
_, test = data.digits()
bodies = [json.dumps({"instances": [image[None].tolist()]}) for image in test.images[:100]]

# %% [markdown]
# The traffic consists of test pictures. The Deployment replaces its pods one by one (lesson 17), so there is always a
# pod that can answer.


# %%
@live("kubernetes")
def by_commit():
    from course_lib.ops import kubernetes
    from course_lib.ops.traffic import traffic

    events, pruned = [], []
    with traffic(NAMESPACE, IMAGES[1], bodies, seconds=600) as sent:
        for name, commit in (("version 3", third), ("reverted", back), ("no banner", removed)):
            events.append([sent.elapsed(), name])
            pruned += one_round(commit)["pruned"]
            kubernetes.wait_for_rollout(NAMESPACE)
        time.sleep(2)
        sent.stop()
        told = sent.result()
    return {
        "events": events,
        "pruned": pruned,
        **{k: told[k] for k in ("answered", "failed", "by_version")},
    }


# %%
commits = by_commit()
claim(
    "version 3 came and went without a failed request; the banner was pruned, and nothing else",
    commits["failed"] == {}
    and commits["by_version"].get("3", 0) > 0
    and commits["pruned"] == ["ConfigMap/banner"],
    f"{commits['answered']:,} answered, {commits['by_version'].get('3', 0):,} of them by version 3",
)

# %% [markdown]
# This loop brings a new version to all users in one rollout. There are two ways to add a canary. Either several commits
# raise the share of the new version step by step, or git names the new image and a controller such as Argo Rollouts
# carries out the canary. Lesson 24's pipeline does it before the loop: it moves the branch `production` after the
# canary, and the loop follows this branch. **Now do exercise 24b.2**: a loop that never moves backwards.
#
# ## Can I build the same thing twice?
#
# Git says *version 3*. Was the image in the registry really made from that commit? A build is *reproducible* if the
# same input always gives the same bytes. Then anybody can build again and compare the checksums. Otherwise you must
# trust the machine that built it. We start with training. Two fresh processes train the same model with the same seed,
# and a third one uses another seed.

# %%
training = f"""
import hashlib, sys
sys.path.insert(0, {str(places.CHECKOUT / "course_lib/release/project")!r})
import torch
from network import trained
from course_lib import data
train, _ = data.digits()
net = trained(torch.from_numpy(train.images), torch.from_numpy(train.labels), SEED, 2, 32)
content = b"".join(each.detach().numpy().tobytes() for each in net.parameters())
result = hashlib.sha256(content).hexdigest()
"""
sums = [fresh_process(training.replace("SEED", seed)).result for seed in ("0", "0", "1")]
claim(
    "the same seed gives the same weights to the last bit, another seed gives others",
    sums[0] == sums[1] != sums[2],
    ", ".join(each[:8] for each in sums),
)

# %% [markdown]
# This holds on one machine. Another processor, another number of threads or another PyTorch may round differently
# (lesson 06b). So compare checksums of training runs only on the same machine. Between machines, compare what lesson
# 24's gates measure.
#
# ### Why do two archives of the same files differ?
#
# An image consists of settings and a list of tar archives, its layers. We pack the same three files twice with
# `tar.add`, the usual way. In between, somebody clones the repository again.


# %%
def checked_out(folder):
    """The same files, written anew."""
    for name, text in (
        ("app.py", "print('digits')\n"),
        ("model.txt", "weights"),
        ("sub/note", "hi"),
    ):
        (scratch / folder / name).parent.mkdir(parents=True, exist_ok=True)
        (scratch / folder / name).write_text(text, encoding="utf-8")
    return scratch / folder


# %%
def plainly(folder):
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        tar.add(folder, arcname="srv")
    return archive.getvalue()


# %% [markdown]
# What does an archive store about a file, besides its content? We compare the two archives, entry by entry.


# %%
def entries(archive):
    """{name: what the archive says of it} but for the content."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        found = {each.name: each.get_info() for each in tar}
    return {name: info | {"chksum": 0} for name, info in found.items()}  # the sum of the rest


# %%
one = plainly(checked_out("clone-1"))
time.sleep(1.1)
two = plainly(checked_out("clone-2"))
differing = {
    field
    for name, info in entries(one).items()
    for field in info
    if info[field] != entries(two)[name][field]
}
claim(
    "the two archives differ, and only in the times", differing == {"mtime"}, ", ".join(differing)
)

# %% [markdown]
# Each entry also holds the owner and the rights of the file. On a colleague's machine these can differ as well, and so
# can the order of the files. The cure is an archive that contains nothing accidental: fixed times, owners and rights,
# and names in sorted order. Folders are entries too. If the archive does not name a folder, the program that unpacks it
# creates the folder, with today's time.


# %%
def packed(folder):
    """The folder as a tar archive that depends on names and contents alone."""
    named = {f"srv/app/{each.relative_to(folder).as_posix()}": each for each in folder.rglob("*")}
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, file in sorted({"srv": folder, "srv/app": folder, **named}.items()):
            entry = tarfile.TarInfo(name)  # time, user and group are 0
            entry.mode = 0o755 if file.is_dir() else 0o644
            entry.type = tarfile.DIRTYPE if file.is_dir() else tarfile.REGTYPE
            content = b"" if file.is_dir() else file.read_bytes()
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return archive.getvalue()


# %%
clones = [packed(checked_out(name)) for name in ("clone-1", "clone-2")]
claim(
    "packed in this way, the two are equal to the byte",
    clones[0] == clones[1],
    f"{len(clones[0]):,} bytes",
)

# %% [markdown]
# **Now do exercise 24b.3**: pack files so that only their names and contents count.
#
# ### And `docker build`?
#
# We build a small image twice, without the cache. It has the layers of its base image, a layer of a `COPY`, and a layer
# of a `RUN`. Before each build, we write the copied file anew, with the same content.

# %%
guess(
    "layers",
    "Which layers have the same checksum in both builds?",
    choices=["all", "base and COPY", "base alone"],
)

# %%
USUAL = """FROM {base}
COPY app.py /srv/app/app.py
RUN python3 -m compileall -q /srv/app
"""
CAREFUL = """FROM {base}
ADD layer.tar /
"""

# %% [markdown]
# After each build we save the image and read the times in its last two layers.


# %%
@live("docker")
def build_twice():
    from course_lib.ops import docker
    from course_lib.ops.reach import BASE_IMAGE

    client, built = docker.docker_client(), []
    docker.clear(client, OURS)
    for _ in range(2):
        files = {"Dockerfile": USUAL.format(base=BASE_IMAGE), "app.py": "print('digits')\n"}
        image, _ = docker.build_files(client, scratch / "usual", files, nocache=True, labels=OURS)
        layers = docker.saved_layers(image)[-2:]
        times = [{name: info["mtime"] for name, info in entries(each).items()} for each in layers]
        built.append({"id": image.id, "layers": image.attrs["RootFS"]["Layers"], "times": times})
        time.sleep(1.1)
    return built


# %%
usual = build_twice()
same = [a == b for a, b in zip(*(each["layers"] for each in usual))]
reveal("layers", "all" if all(same) else "base and COPY" if same[-2] else "base alone")
changed = {
    name: [each["times"][layer].get(name) for each in usual]
    for layer in (0, 1)
    for name in usual[0]["times"][layer]
    if usual[0]["times"][layer][name] != usual[1]["times"][layer].get(name)
}
claim(
    "both new layers differ, and so do the images",
    not any(same[-2:]) and usual[0]["id"] != usual[1]["id"],
)
print(*(f"{name}: {was} and {now}" for name, (was, now) in changed.items()), sep="\n")

# %% [markdown]
# The list shows the files and folders whose times differ, in seconds since 1970. `COPY` stores the time of the file,
# which was written anew, and the times of the *folders*, which the builder created. `RUN` writes files too, and
# Python's compiled files even contain the time of their source. The image's settings hold one more time, the date of
# creation.
#
# So we must remove three causes. We bring the folders and the file in our own archive, we run nothing during the build,
# and we fix the date of creation. The variable `SOURCE_DATE_EPOCH` tells many build tools "use this time instead of
# now", in seconds since 1970. BuildKit, Docker's current builder, understands it. As typed:
#
# ```bash
# docker build --no-cache --build-arg SOURCE_DATE_EPOCH=1767225600 .
# ```


# %%
@live("docker")
def build_carefully():
    from course_lib.ops import docker
    from course_lib.ops.reach import BASE_IMAGE

    if docker.lacks("buildx"):
        return []  # the classic builder knows no SOURCE_DATE_EPOCH
    folder, ids = scratch / "careful", []
    folder.mkdir(exist_ok=True)
    (folder / "Dockerfile").write_text(CAREFUL.format(base=BASE_IMAGE), encoding="utf-8")
    label = "=".join(*OURS.items())
    words = ["build", "--quiet", "--no-cache", "--build-arg", "SOURCE_DATE_EPOCH=1767225600"]
    for archive in clones:
        (folder / "layer.tar").write_bytes(archive)
        ids.append(docker.typed(*words, "--label", label, folder).strip())
        time.sleep(1.1)
    docker.clear(docker.docker_client(), OURS)
    return ids


# %%
careful = build_carefully()
claim(
    "built carefully, the two images have the same checksum (where BuildKit is there)",
    len(set(careful)) <= 1,
    careful[0][:19] if careful else "no BuildKit here",
)

# %% [markdown]
# The service's real image is not reproducible in this way, because `pip install` writes many files with today's times.
# Newer releases of BuildKit can set all times afterwards (`rewrite-timestamp=true`). But the build still depends on the
# day if a package has no pinned hash, or if the base image is named by a tag. Start with what is cheap: pins with
# hashes, a base image by digest, and a build in a clean copy. Compare layer by layer to see which step is not
# reproducible yet.
#
# ## Which tool does which step?
#
# The steps of lesson 24 and the loop of this lesson exist in many tools, under different names. Teams combine several
# of them.
#
# | what | in these lessons | tools |
# | --- | --- | --- |
# | a list of steps with needs | `steps.toml`, `run.py` | Argo Workflows, Kubeflow Pipelines, DVC (`dvc.yaml`) |
# | each step in a clean place | a clean copy | Argo Workflows, Kubeflow Pipelines: a pod for each step |
# | skip what has not changed | not done | DVC (`dvc.lock`), Kubeflow Pipelines (caching), Argo Workflows (memoization) |
# | data by checksum | `data.toml` | DVC (`.dvc` files) |
# | parameters and results of a run | the release note | MLflow Tracking, Kubeflow Pipelines |
# | versions, and names for them | the store, the branch `production` | MLflow Model Registry |
# | desired state in git | `wanted`, `one_round` | Argo CD, Flux |
# | undo changes by hand | `one_round` | Argo CD with `selfHeal`; Flux, at each interval |
# | prune | the label `from-git` | Argo CD and Flux, with pruning switched on |
#
# *Argo CD* shows each application and its differences on a web page. By default it only reports. Three switches make it
# follow commits, prune, and undo changes by hand (`selfHeal`). The controllers of *Flux* have no web page. Flux applies
# server-side at a fixed interval, which also undoes changes by hand. Both do more than our loop: they wait for health,
# order objects by waves or dependencies, render Helm charts, serve many clusters, check signatures of commits, and tell
# somebody when something fails.
#
# *MLflow* records runs and versions. Here we leave out its other parts. *DVC* keeps data and steps beside the code, and
# repeats a step only if one of its inputs has changed. *Kubeflow Pipelines* and *Argo Workflows* run steps as pods on a
# cluster. We read their documentation; we did not run them here.


# %%
@live("docker", "kubernetes")
def remove():
    from course_lib.ops.docker import clear, docker_client

    return clear(docker_client(), OURS, *IMAGES.values(), namespace=NAMESPACE)


# %%
claim_gone("namespace and images are gone", remove())

# %% [markdown]
# ## What we measured

# %%
rounds_s = [each["seconds"] for each in hands["changes"].values()]
observe(
    "a change by hand is undone in less than 30 s",
    max(rounds_s) < 30,
    f"{max(rounds_s):.1f} s",
    of=hands,
    either=True,
)
rows = [
    ["damaged states repaired in one round", f"{settled:,} of {len(worlds):,}"],
    ["changes of replicas, with and without the field in git", f"{fight}, {peace}"],
    ["objects in git, in the namespace", f"5, {len(filled['there'])}"],
    ["changes by hand that survive", ", ".join(survived)],
    [
        "answers during three commits, failed requests",
        f"{commits['answered']:,}, {sum(commits['failed'].values())}",
    ],
]
show.table(["what", "figure"], rows, caption="Desired and actual")

# %% [markdown]
# ## What to remember
#
# - A reconciler compares states, and repeats. Prune only what has your label, and give each field one writer.
# - `kubectl apply` leaves fields alone that git never named, so git does not tell everything. Take away the right to
#   change things by hand.
# - To make builds comparable, fix times, owners and order. Pin everything that is downloaded.
#
# ## Where this breaks down
#
# The loop carries out mistakes too: if a commit removes the wrong file, the next round deletes the object. By default,
# Argo CD's automatic sync at least refuses to delete *all* objects. Secrets must not lie in git as plain text; teams
# encrypt them (SOPS, Sealed Secrets) or keep only a reference. If the git server is down, nobody can release, so have
# an emergency procedure, and write down each use. If somebody removes the label from an object and its file is deleted
# before the next round, the loop does not prune it. And data that arise in the cluster, such as the content of a
# database, are in no commit: a revert does not bring them back. Our measured seconds count from the start of a round. A
# real loop first waits for its next round.
#
# ## What real teams use
#
# Argo CD and Flux run the loop. Kustomize or Helm make the files. Argo Rollouts or Flagger carry out canaries. The
# review is a pull request, and `kubectl diff` in the pipeline shows what a commit will change. For reproducible images
# there are BuildKit with `SOURCE_DATE_EPOCH`, Bazel and Nix, `ko` for Go and Jib for Java. `diffoscope` explains the
# differences between two files, in many formats.
#
# ## Further reading
#
# - OpenGitOps, [GitOps Principles 1.0](https://opengitops.dev).
# - Kubernetes documentation, *Controllers*, *Declarative Management of Kubernetes Objects Using Configuration Files*,
#   *Server-Side Apply*.
# - Argo CD documentation, *Automated Sync Policy*. Flux documentation, *Kustomization*.
# - [Reproducible Builds](https://reproducible-builds.org), *SOURCE_DATE_EPOCH*. BuildKit documentation, *Build
#   reproducibility*.
# - C. Lamb, S. Zacchiroli, *Reproducible Builds: Increasing the Integrity of Software Supply Chains*, IEEE Software 39,
#   2022.
