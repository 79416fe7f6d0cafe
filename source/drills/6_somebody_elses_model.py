# %% [markdown]
# # Drill 6: somebody else's model
#
# It is 3 a.m. Customers pay for a service that reads digits. A message says that somebody was in there tonight. It may
# be a bad joke. Nothing is slow, nothing fails. Find out what is not as it should be, prove it, and repair it, while the
# customers go on working.
#
# You need lessons 22, 22b and 22c. Four causes are possible, and the drill's seed has chosen one. Nothing here leaves
# your machine: keys, customers and addresses are made up for this run, but they are really used.
#
# ## What has happened?

# %%
import hashlib
import ipaddress
import json
from collections import Counter

from course_lib.drills import begin_drill
from course_lib.drills.programs.audit import digest
from course_lib.serving.keys import read_public_key

drill = begin_drill(6)

# %% [markdown]
# ## What do I have?
#
# Four customers call the *door*, each with its own key. The door checks the key and the customer's limit, asks the
# *model server*, and answers a digit with the ten probabilities. Then it adds a line to the *audit log*: who asked what,
# from where, and with which version.
#
# ```text
# customers ──key, picture──> door ──picture──> model server
#           <─probabilities──  │  <───logits───
#                              └──> audit.jsonl, and a copy elsewhere
# ```
#
# | file in the drill's folder | what it is |
# | --- | --- |
# | `services.toml` | how door and model server are started |
# | `customers.json` | contracts: each customer's networks, how many requests a minute it has paid for, and what it gets |
# | `limits.json` | what the door lets each customer do; read when the door starts |
# | `keys.txt` | customer, SHA-256 of its key, what it may do; read again when it changes |
# | `handed/NAME.key` | how a customer is handed its key: it reads it there before each request |
# | `models/` | the model server's folder: versions, `SHA256SUMS`, its signature. Version 3 is in production |
# | `trust/builder.pem` | the public key for the server's `--trust`: it then loads only what this key has signed |
# | `builder/` | what the builder made, seen over the network. You and the services only read there |
# | `audit.jsonl` | the audit log |
# | `elsewhere/` | another machine's disk, to which the door can only append: a copy of the audit log, and an anchor |
# | `customers-1.log`, `door-1.log`, `model-1.log` | logs, a JSON object a line; the first is what the customers saw |
#
# `drill.folder` is that folder. You may read and edit everything in it except in `builder/` and `elsewhere/`, which stand
# for other people's machines. `drill.rows()` returns the lines of the audit log as dictionaries, and
# `drill.rows("elsewhere/audit.jsonl")` those of the copy. In a terminal: `grep ID audit.jsonl`
#
# ## Where do I begin?
#
# With one line of the audit log, and one contract.

# %%
rows = drill.rows()
print(len(rows), "lines, by status:", Counter(row["status"] for row in rows))
print(json.dumps(rows[1], indent=1))

# %%
contracts = json.loads((drill.folder / "customers.json").read_text())
name = next(iter(contracts))
print(name, contracts[name])

# %% [markdown]
# `time` is in seconds. `address` is where the request came from, as the load balancer in front of the door tells it. In
# this drill no load balancer runs, so each caller states its own. `picture` is a keyed hash of what was sent, and `sure`
# the probability of the digit that was answered. A request that was refused has no `picture`, `version` or `sure`. If its
# line has no customer either, its key is nobody's: every door in the internet has such visitors.
#
# Four tools that you may need. A checksum is `sha256sum FILE` in a terminal:

# %%
file = drill.folder / "models/digits_cnn/2/model.onnx"
print(hashlib.sha256(file.read_bytes()).hexdigest())

# %% [markdown]
# A signature. `verify` returns nothing if the key has made it, and raises `InvalidSignature` if not:

# %%
made = drill.folder / "builder"
signature, sums = (made / "SHA256SUMS.sig").read_bytes(), (made / "SHA256SUMS").read_bytes()
read_public_key(made / "builder.pem").verify(signature, sums)

# %% [markdown]
# A network, such as 192.0.2.64/26, is a range of addresses:

# %%
print(ipaddress.ip_address("192.0.2.99") in ipaddress.ip_network("192.0.2.64/26"))

# %% [markdown]
# And the hash of a line of the audit log (lesson 22c). `previous` is the hash of the line before. The anchor was kept by
# another machine: the log had `rows` lines then, and the last of them had this hash.

# %%
print(digest(rows[1]) == rows[1]["hash"], rows[1]["previous"] == rows[0]["hash"])
print((drill.folder / "elsewhere/anchor.json").read_text())

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
# Write the cause and its evidence, for example
# `drill.diagnose("extraction", {"customer": "hotel", "per_minute": 90, "unsure": 0.03})`. Take rates and shares
# over the whole log. They may be off by a third, since the log grows. Checksums have 64 digits. The evidence is compared
# with the system as it runs now. So diagnose first, and repair afterwards.

# %%
drill.diagnose(cause=None, evidence={})

# %% [markdown]
# ## How do I repair it?
#
# Customers go on calling, and you cannot stop a stranger. But you can edit files, stop a service, and start it again:
#
# ```python
# file = drill.folder / "limits.json"
# limits = json.loads(file.read_text())
# limits["hotel"]["per_minute"] = 60
# file.write_text(json.dumps(limits, indent=1))
# drill.restart("door")
# ```
#
# | you want to | with |
# | --- | --- |
# | make a new key | `import secrets`, `key = secrets.token_urlsafe(32)`; its hash is `hashlib.sha256(key.encode()).hexdigest()` |
# | copy a file | `import shutil`, `shutil.copy(drill.folder / "builder/builder.pem", drill.folder / "trust/builder.pem")` |
# | change a service's options | edit `services.toml`; each word of a command is a line of `options`, in quotes |
# | stop a service, and start it | `drill.services["door"].stop()`, then `drill.restart("door")` |

# %%
# Repair here.

# %% [markdown]
# Does the system say that it is well? `repaired` watches the customers for some seconds. All of them have to be served as
# their contracts say. The stranger must not be able to do it again, and the audit log has to be the one that was written.

# %%
drill.repaired()

# %% [markdown]
# ## What do we write about it?
#
# Fill in your post-mortem, then compare it with ours.
#
# | question | answer |
# | --- | --- |
# | What happened, since when, and who is harmed | |
# | The cause, and the reading that proves it | |
# | Why tests and alerts did not notice | |
# | How it was repaired | |
# | What we change, who does it, until when | |
# | Whom we have to tell | |

# %%
drill.postmortem()

# %% [markdown]
# When you are done, stop everything. If the drill is not solved, this changes nothing, and everything stops with this
# notebook's kernel.

# %%
drill.end()
