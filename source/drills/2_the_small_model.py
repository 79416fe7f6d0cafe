# %% [markdown]
# # Drill 2: the small model that got worse
#
# It is 3 a.m. At 02:40 the service was given a new small model, with weights and activations in 8 bits, since phones load
# the same file and have little room. It passed all its tests. Now the users correct it far too often.
#
# You need lessons 09, 10 and 19. Three causes are possible, and the drill's seed has chosen one. Nothing here leaves your
# machine.
#
# ## What has happened?

# %%
import hashlib
import json

import numpy as np
import onnx

from course_lib.drills import begin_drill
from course_lib.ops.http import ask

drill = begin_drill(2)

# %% [markdown]
# ## What do I have?
#
# The same three processes as in drill 1: *users* send drawings to the *reader*, which asks the *model server*. This
# time the reader is fine. The model server has three versions of one model:
#
# | version | what it is |
# | --- | --- |
# | 1 | the large model, 32-bit floating point |
# | 2 | the small model of last month, 8 bits |
# | 3 | the small model of 02:40, 8 bits; the label `production` points to it |
#
# | file in the drill's folder | what it is |
# | --- | --- |
# | `models/digits_small/` | the versions, and `serving.json` with the label |
# | `releases.json` | for each version: the file's checksum, the pictures it was calibrated on, what its canary saw |
# | `policy.json` | how large a phone's model may be, and what a canary needs |
# | `released/` | a copy of each released file, named after its checksum |
# | `calibration/` | pictures to calibrate on |
# | `calibrate.py` | makes a small model of the large one |
# | `users-1.log`, `reader-1.log`, `model-1.log` | logs, a JSON object a line |
#
# `drill.folder` is that folder. You may read and edit everything in it. `drill.log("users", "correction")` returns log
# lines as dictionaries, as `grep correction users-1.log` prints them. `drill.pictures` holds the model's pixels of 300
# drawings, as the users send them now, and `drill.answers(version)` the digits that a version gives for them. It asks the
# model server, with `curl -d @pictures.json http://127.0.0.1:PORT/v1/models/digits_small/versions/N:predict`.
#
# ## Where do I begin?
#
# What do the lists look like? This is version 2's entry, and the policy. Version 3 has an entry too.

# %%
releases = json.loads((drill.folder / "releases.json").read_text())
print(json.dumps(releases["2"], indent=1), (drill.folder / "policy.json").read_text())

# %% [markdown]
# Which version answers, and which one does the label name?

# %%
print(drill.log("reader", '"read"')[-1])
ask(drill.model + "/labels/production")

# %% [markdown]
# Two commands that you may need. The first is `sha256sum FILE` in a terminal. The second prints the scales of a quantized
# file, as a viewer such as Netron shows them.

# %%
file = drill.folder / "models/digits_small/2/model.onnx"
print(hashlib.sha256(file.read_bytes()).hexdigest())
for each in onnx.load(file).graph.initializer:
    if each.name.endswith("_scale") and not each.dims:
        print(each.name, onnx.numpy_helper.to_array(each))

# %% [markdown]
# The scale times 255 is the largest number that an unsigned 8-bit activation can represent. And this is one of the users'
# pictures:

# %%
print(np.round(drill.pictures[0, 0], 2))

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
# Write the cause and its evidence, for example `drill.diagnose("swapped_file", {"sha256": "51ac…", "released": "98da…"})`,
# with all 64 digits. Numbers count to three digits. The evidence is compared with the files and the server as they are now.

# %%
drill.diagnose(cause=None, evidence={})

# %% [markdown]
# ## How do I repair it?
#
# The model server looks at its folder every second, so a label that moves needs no restart. A file that was put back
# does: `drill.restart("model")`. Programs of the folder run by `drill.run`, which is `python calibrate.py --help` in a
# terminal:

# %%
drill.run("calibrate.py", "--help")

# %%
# Repair here.

# %% [markdown]
# Does the system say that it is well? It has to be a *small* model that answers, and each released version has to be the
# file that was released.

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
