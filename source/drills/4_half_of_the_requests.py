# %% [markdown]
# # Drill 4: half of the requests fail since the update
#
# It is 3 a.m. At 02:40 half of the servers moved to a new version. `kubectl apply` said “created”, and the deployment
# pipeline is green. Since then about half of the users' requests fail. Find out why before the other half moves too.
#
# You need lessons 17 and 17b. Five causes are possible, and the drill's seed has chosen one.
#
# With a Kubernetes cluster on your machine, all this runs for real, in a namespace of its own, which the drill removes at
# the end. The cluster needs the image `python:3.13-slim-trixie` and pulls it if it can. Without a cluster you get a
# recording: what a real cluster said on the day it was made. The first cell says which of the two you have.
#
# ## What has happened?

# %%
from collections import Counter

from course_lib.drills import begin_drill

drill = begin_drill(4)

# %% [markdown]
# ## What do I have?
#
# A *Service* called `digits` spreads the users' requests over the servers. There are two servers of the old version and
# two of the new one, each version in a Deployment of its own. A third program runs beside them. It counts drawings, and
# answers no requests.
#
# ```text
#                         ┌──> old version, 2 pods
# users ──> Service ──────┤
#           digits        └──> new version, 2 pods          collector, 4 pods
# ```
#
# The servers do not really compute: a request takes a server 0.22 s, one at a time. Twelve may wait, and a server
# answers `503 busy` to more. The users send 16 requests a second. Four servers can answer all of them, two cannot. The
# models are not real either. To load one, a server fills some memory and takes some seconds. Then it listens.
#
# | file in the drill's folder | what it is |
# | --- | --- |
# | `server-old.yaml`, `server-new.yaml` | a Deployment for each version |
# | `service.yaml` | the Service |
# | `quota.yaml` | how many pods our namespace may have |
# | the collector's file, `users.yaml` | the two other Deployments |
#
# `drill.kubectl(line)` runs `kubectl` in the drill's namespace. It takes the commands that read: `get`, `describe`, `logs`,
# and so on. Two commands change something: `apply -f FILE`, with a file of the folder, and `rollout restart`. If you have a
# cluster, a terminal takes any command, with the namespace from above: `kubectl get pods -n NAMESPACE`.
#
# A recording has one story for each cause. It answers only the commands that were recorded. If it does not have yours, it
# lists those that it has. It has `describe` and `logs` for the new servers, and `logs` for one pod of each other Deployment.
#
# ## Where do I begin?
#
# What do users see? Each line of their log has the `pod` that answered, if one did.

# %%
seen = drill.log("users")[-60:]
print(seen[-1])
print(Counter((line["status"], line.get("error", "")) for line in seen))

# %% [markdown]
# What does the cluster say about our pods?

# %%
print(drill.kubectl("get pods"))

# %% [markdown]
# The files are what was applied at 02:40.

# %%
for file in sorted(drill.folder.glob("*.yaml")):
    print(file.name)
print((drill.folder / "service.yaml").read_text())

# %% [markdown]
# Now it is your turn. Use as many cells as you like. Some commands:
#
# ```text
# get pods -o wide                            get deployments
# get pods --show-labels                      get services -o wide
# describe pod POD                            describe service digits
# describe deployment DEPLOYMENT              describe endpoints digits
# logs POD                                    describe resourcequotas
# get events --sort-by=.lastTimestamp         get events --field-selector type=Warning
# ```

# %%
# Investigate here.

# %% [markdown]
# If you are stuck for five minutes, take a hint. There are four. Remove the `#`, and run the cell once for each.

# %%
# drill.hint()

# %% [markdown]
# ## What is the cause?

# %%
drill.causes()

# %% [markdown]
# Write the cause and its evidence, for example
# `drill.diagnose("memory", {"pod": "digits-3-59776ff48f-5k446", "limit": 96, "reason": "Error"})`. Names of pods are whole
# names. Diagnose first and repair afterwards: a repair can replace the pods, and their evidence is gone.
#
# `describe pod` prints three numbers of each probe. A probe asks first after its `delay`, then once every `period`. It gives
# up after `#failure` failures in a row. So it waits at most `delay + period × failure` seconds. If there is a startup probe,
# the liveness probe begins after it.

# %%
drill.diagnose(cause=None, evidence={})

# %% [markdown]
# ## How do I repair it?
#
# Edit a file, and apply it:
#
# ```python
# file = drill.folder / "server-new.yaml"
# file.write_text(file.read_text().replace("old", "new"))
# print(drill.kubectl("apply -f server-new.yaml"))
# ```
#
# After each failed attempt to start or create a pod, the cluster waits longer, up to some minutes.
# `drill.kubectl("rollout restart deployment NAME")` makes new pods at once.
#
# Keep the plan: the new version, all pods, the limits, the probes that ask the servers, and the quota. The files say how
# far a number may go.

# %%
# Repair here.

# %% [markdown]
# Does the system say that it is well? On a cluster, `repaired` asks the cluster for its objects, and then watches the
# users for up to a minute. With a recording nothing runs. `repaired` then reads your files by the same rules, and no users
# are watched.

# %%
drill.repaired()

# %% [markdown]
# ## What do we write about it?
#
# Fill in your post-mortem, then compare it with ours.
#
# | question | answer |
# | --- | --- |
# | What users saw, and for how long | |
# | The cause, and the reading that proves it | |
# | Why tests and alerts did not notice | |
# | How it was repaired | |
# | What we change, who does it, until when | |

# %%
drill.postmortem()

# %% [markdown]
# When you are done, stop everything. If the drill is not solved, this changes nothing. Everything stops with this
# notebook's kernel, and the namespace is removed.

# %%
drill.end()
