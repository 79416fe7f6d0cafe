# %% [markdown]
# # Drill 5: the alarm that cried wolf, and the one that stayed silent
#
# It is 3 a.m., and this time an alarm itself is broken. Either it rings and nothing is wrong, or something is wrong and it
# does not ring. People who are woken for nothing soon switch the pager off. Find out why, prove it, and repair it.
#
# You need lessons 20 and 21. Five causes are possible, and the drill's seed has chosen one. Nothing here leaves your machine.
#
# ## What has happened?

# %%
import numpy as np

from course_lib.drills import begin_drill

drill = begin_drill(5)

# %% [markdown]
# ## What do I have?
#
# A post office has three *desks*. Each one has a scanner and a process of its own, which reads the digit on a picture.
# *Customers* send six pictures a second to each desk. Every second customer says a few seconds later what the digit
# was: this is a *label*. One label in twenty is wrong, since people press the wrong key. The *watcher* reads the desks'
# `/metrics` twice a second, evaluates the rules of `rules.yml`, and writes to `alerts.log`.
#
# ```text
# customers ──pictures, labels──> desk-0, desk-1, desk-2 <──/metrics── watcher ──> alerts.log
#                                                                         │
#                                                                     rules.yml
# ```
#
# | file in the drill's folder | what it is |
# | --- | --- |
# | `services.toml` | how each service is started |
# | `rules.yml` | the rules; the watcher reads them when it starts |
# | `digits.npz` | the digits that the customers draw |
# | `alerts.log` | each alert that fires or ends, a JSON object a line |
# | `desk-0/sensor.toml`, … | in which part of a picture a desk measures the ink; read when it starts |
# | `customers-1.log`, `desk-0-1.log`, … | logs, a JSON object a line |
#
# | metric of a desk | what it counts |
# | --- | --- |
# | `desk_pictures_total` | pictures that came |
# | `desk_ink_total` | their ink, added up: a black picture has 1, a white one 0 |
# | `desk_answers_total` | answers, by status code |
# | `desk_labels_total` | labels that came back, by whether the answer was right |
#
# ## What was agreed about the alarms?
#
# 1. If more than half of a desk's answers are errors, or more than half of its labels say “wrong”, somebody is woken within
#    20 seconds. The page names the desk.
# 2. If the pictures of a desk lose two thirds of their ink, `alerts.log` says so within 20 seconds and names the desk. This
#    may be a *page*, which wakes somebody, or a *ticket*, which waits until the morning.
# 3. While customers are served well, nobody is woken.
#
# ## Which expressions does the watcher know?
#
# A small part of PromQL (lesson 20), and it means here what it means in Prometheus: a metric with labels,
# `rate(…[4s])`, `increase(…[4s])`, `sum`, `avg`, `min`, `max` and `count` with or without `by (label)`, the four arithmetic
# signs, comparisons, `and`, `or`. The watcher adds the label `desk`. Windows are seconds, and not minutes, so that you need
# not wait. One thing differs: Prometheus also extrapolates a growth to the edges of its window.
#
# `drill.query("expression")` evaluates one now. In a terminal, `curl -s http://127.0.0.1:PORT/metrics` shows what a desk counts.
#
# ## Where do I begin?
#
# With the rules, and with what they have written.

# %%
print((drill.folder / "rules.yml").read_text())
drill.log("alerts")[-5:]

# %% [markdown]
# The label `alert` is a rule's name. `value` is what its expression was. The counters that the rules read:

# %%
drill.query("desk_answers_total")

# %% [markdown]
# A counter says more as a growth over the last seconds. This one is the number of pictures of each desk in a second:

# %%
drill.query("sum by (desk) (rate(desk_pictures_total[4s]))")

# %% [markdown]
# Each desk keeps the last pictures that it got, up to 40.

# %%
pictures = drill.pictures("desk-0")
print(pictures.shape)
print(np.round(pictures[-1], 1))

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
# For example, `drill.diagnose("sensor", {"desk": "desk-0", "counted": 0.305, "pictures": 0.311})`. Give numbers to
# three digits. They may be some minutes old. But a watcher that is restarted forgets what it has read. So diagnose first,
# and repair afterwards.

# %%
drill.diagnose(cause=None, evidence={})

# %% [markdown]
# ## How do I repair it?
#
# Edit a file, and start again what reads it:
#
# ```python
# file = drill.folder / "rules.yml"
# file.write_text(file.read_text().replace("old", "new"))
# drill.restart("watcher")
# ```
#
# If the file is no longer valid, the card says what is wrong with it.

# %%
# Repair here.

# %% [markdown]
# Is the alarm right now? `repaired` asks the system itself, which takes about half a minute. First it is quiet: the
# customers are served well, and nobody may be woken. Then three scanners fail, one at each desk, and `alerts.log` has to
# say so as agreed. At the end the alarm has to be silent again.

# %%
drill.repaired()

# %% [markdown]
# ## What do we write about it?
#
# Fill in your post-mortem, then compare it with ours.
#
# | question | answer |
# | --- | --- |
# | What was missed, or who was woken for nothing | |
# | The cause, and the reading that proves it | |
# | Why tests and reviews did not notice | |
# | How it was repaired | |
# | What we change, who does it, until when | |

# %%
drill.postmortem()

# %% [markdown]
# When you are done, stop everything. If the drill is not solved, this changes nothing, and everything stops with this
# notebook's kernel.

# %%
drill.end()
