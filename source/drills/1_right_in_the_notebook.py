# %% [markdown]
# # Drill 1: right answers in the notebook, wrong ones in the service
#
# It is 3 a.m. A small shop reads handwritten digits. Users draw a digit, the service answers with its name, and users
# press “wrong” where it is wrong. They press it far too often tonight. Find out why, prove it, and repair it.
#
# You need lessons 08 and 15. Four causes are possible, and the drill's *seed*, a number that it draws, has chosen one of
# them. Nothing here leaves your machine.
#
# ## What has happened?
#
# This cell starts the service, its users, and the clock. If you run it again, the same fault starts anew; time and hints
# go on. After you have solved it, it draws another fault.

# %%
import numpy as np

from course_lib.drills import begin_drill
from course_lib.ops.http import ask

drill = begin_drill(1)

# %% [markdown]
# ## What do I have?
#
# Three processes run. The *users* send drawings to the *reader*. The reader makes the model's pixels of a drawing, asks
# the *model server*, and turns the answer into a name. Two of these are HTTP services, with addresses as shown above.
#
# ```text
# users ──drawing──> reader ──pixels──> model server
#       <───name───         <──logits──
# ```
#
# | file in the drill's folder | what it is |
# | --- | --- |
# | `services.toml` | how each service is started |
# | `reader/reader.py`, `contract.json`, `names.txt` | the reader: its program, and what it reads when it starts |
# | `models/digits_cnn/` | the model server's folder: versions, and `serving.json` with its labels |
# | `releases.txt` | what was released, the latest last |
# | `users-1.log`, `reader-1.log`, `model-1.log` | logs, a JSON object a line |
#
# `drill.folder` is that folder. You may read and edit everything in it, here or in an editor. `drill.log("users")`
# returns the lines of a log as dictionaries, and `drill.log("users", "correction")` those that contain a word. In a
# terminal that is `grep correction users-1.log`.
#
# The model's authors also gave you their notebook's preprocessing, `drill.notebook_pixels(bitmap)`.
#
# ## Where do I begin?
#
# With one request that went wrong. The users' log has its number, its id, the answer, and the correction.

# %%
drill.log("users", "correction")[0]

# %% [markdown]
# Every service writes the request's id to its log. As typed, with `ID` for the id: `grep ID *.log`

# %%
one = drill.log("users", "correction")[0]
for name in ("reader", "model"):
    print(name, *drill.log(name, one["request_id"]), sep="\n  ")

# %% [markdown]
# You can ask the services yourself. In a terminal, with the drawing in `drawing.json`, it would be
# `curl -d @drawing.json http://127.0.0.1:PORT/read`. The reader also has `/pixels`, which takes the same and answers what
# the model would get.

# %%
drawing = {"bitmap": drill.drawing(one["request"]).tolist()}
print(ask(drill.url + "/read", drawing))
print(np.array(ask(drill.url + "/pixels", drawing)["pixels"]).shape)

# %% [markdown]
# The model server has its own address. `/v1/models/digits_cnn` lists its versions.

# %%
model = drill.services["model"].url
ask(model + "/v1/models/digits_cnn")

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
#
# A cause counts only with the readings that prove it. This table has all causes and the evidence for each:

# %%
drill.causes()

# %% [markdown]
# Write the cause and its evidence, for example `drill.diagnose("labels", {"request": 17, "model": 3, "service": "nine"})`.
# Numbers count to three digits; pixels may be an array or lists. The evidence is compared with the system as it runs now.
# So diagnose first, and repair afterwards.

# %%
drill.diagnose(cause=None, evidence={})

# %% [markdown]
# ## How do I repair it?
#
# As an operator would: change a file, and start the service again if it reads this file only when it starts. You can edit
# the file in an editor, or here:
#
# ```python
# file = drill.folder / "reader" / "contract.json"
# print(file.read_text())
# file.write_text(file.read_text().replace("old", "new"))
# drill.restart("reader")
# ```

# %%
# Repair here.

# %% [markdown]
# Does the system say that it is well? `repaired` asks all parts of it, not only the number in the alert.

# %%
drill.repaired()

# %% [markdown]
# ## What do we write about it?
#
# A *post-mortem* tells what happened, so that it does not happen again. It blames no person. Fill in yours:
#
# | question | answer |
# | --- | --- |
# | What users saw, and for how long | |
# | The cause, and the reading that proves it | |
# | Why tests and alerts did not notice | |
# | How it was repaired | |
# | What we change, who does it, until when | |
#
# Then compare it with ours.

# %%
drill.postmortem()

# %% [markdown]
# When you are done, stop everything. If the drill is not solved, this changes nothing, and everything stops with this
# notebook's kernel. To practise again, run the first cell: it draws another fault.

# %%
drill.end()
