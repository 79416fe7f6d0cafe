# %% [markdown]
# # Drill 3: everything is slow, and more replicas make it worse
#
# It is 3 a.m. Since 02:40 every answer takes far too long. The colleague on duty did what one does, and started a second
# replica. It did not help. Find out where the time goes before somebody starts a third one.
#
# You need lessons 13b, 14 and 15. Four causes are possible, and the drill's seed has chosen one. Nothing here leaves your
# machine.
#
# ## What has happened?

# %%
from collections import Counter

from course_lib.drills import begin_drill

drill = begin_drill(3)

# %% [markdown]
# ## What do I have?
#
# The *users* of the app and a nightly *report* send requests to the *gateway* of lesson 15. Behind it are two
# *predictors*.
#
# ```text
# users ───┐             ┌──> predictor-0
#          ├──> gateway ─┤
# report ──┘             └──> predictor-1
# ```
#
# The users send 20 requests a second, with one picture each. A user waits one second for an answer and tries at most three
# times. The gateway may try each of these again, at the other predictor. The predictors do not really compute: they wait for
# as long as a larger model would take, `--work-ms` for a batch and `--sample-ms` for each picture. So your computer stays
# cool, and nothing here depends on its speed. A predictor computes one batch at a time.
#
# | file in the drill's folder | what it is |
# | --- | --- |
# | `services.toml` | how gateway and predictors are started, with all options |
# | `users.json`, `report.json` | what the two clients send, and how fast |
# | `users-1.log`, `report-1.log`, `gateway-1.log`, … | logs, a JSON object a line |
#
# `drill.folder` is that folder. `drill.metric(service, name)` returns a metric by its labels. In a terminal:
# `curl -s http://127.0.0.1:PORT/metrics | grep NAME`. The counters begin at 0 when a service starts.
#
# | metric | of | what it counts |
# | --- | --- | --- |
# | `service_requests_total` | gateway | requests that it answered; `route=models`: the clients' requests |
# | `gateway_tries_total` | gateway | requests that it sent to predictors, by outcome |
# | `predictor_state_seconds_total` | predictors | seconds of computing (`busy`) and of waiting for a batch to fill (`filling`) |
# | `predictor_waiting` | predictors | requests that wait now |
# | `predictor_computed_total` | predictors | requests computed; `late=yes`: nobody waited for the answer any more |
# | `predictor_client_seconds_total` | predictors | seconds of computing, by client |
#
# ## Where do I begin?
#
# What do users see? The last lines of their log, and how they ended:

# %%
seen = drill.log("users")[-60:]
print(seen[-1])
print(Counter(line["status"] for line in seen), "tries:", Counter(line["tries"] for line in seen))

# %% [markdown]
# How many requests wait at the predictors just now? This one is a gauge: it goes up and down. The others are counters. Two
# looks at a counter, with the time in between, tell how fast it grows.

# %%
for name in ("predictor-0", "predictor-1"):
    print(name, drill.metric(name, "predictor_waiting"))

# %% [markdown]
# Now it is your turn. Use as many cells as you like.

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
# Each proof is a pair of counters, read at the same moment, for example
# `drill.diagnose("neighbour", {"report": 3.5, "app": 36.0})`. Those of the predictors may be of one predictor or added up.
# Diagnose before you restart a service: its counters begin at 0 again.

# %%
drill.diagnose(cause=None, evidence={})

# %% [markdown]
# ## How do I repair it?
#
# Edit a file, and start again what reads it:
#
# ```python
# file = drill.folder / "services.toml"
# file.write_text(file.read_text().replace("--option=old", "--option=new"))
# drill.restart("predictor-0")
# ```

# %%
# Repair here.

# %% [markdown]
# Does the system say that it is well? `repaired` watches the users for some seconds, and then sends a burst. Both replicas
# and the report have to run, for as many users and with the same model as before.

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
# When you are done, stop everything. If the drill is not solved, this changes nothing, and everything stops with this
# notebook's kernel.

# %%
drill.end()
