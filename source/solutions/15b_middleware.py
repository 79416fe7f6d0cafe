# %% [markdown]
# # 15b Middleware: exercises
#
# Three functions that a queue or a cache depends on. The time is an argument, so the tests need not wait. Fill in what
# is missing, run the cell, then its check.

# %%
import hashlib
import json

import numpy as np

from course_lib.idioms import begin, check

scratch = begin("15b")

# %% [markdown]
# ## 15b.1 What does this error mean? ★☆☆ · 10 minutes
#
# The archive's worker retried a picture of the wrong shape for a whole weekend. Its next version gave up every job
# while the gateway was restarting. Write one function that decides what each answer means.


# %%
def verdict(status, deliveries, most):
    """What becomes of a job after a try.

    status: the HTTP status of the answer, or None where none came (broken connection, time-out).
    deliveries: how often the job has been given out, this time included, from 1.
    most: the maximum of deliveries, from 1.
    Returns a str:
      "done"    for 200 to 299;
      "dead"    for 400 to 499 except 408 and 429: the request is wrong;
      "again"   for 408, 429, 500 to 599 and None. But if the job has been given out `most` times
                or more, these are "dead" too.
    Raises ValueError for any other status.
    """
    # SOLUTION
    if status is not None and 200 <= status <= 299:
        return "done"
    if status in (None, 408, 429) or 500 <= status <= 599:
        return "again" if deliveries < most else "dead"
    if 400 <= status <= 499:
        return "dead"
    raise ValueError(f"expected None or a status of 2xx, 4xx or 5xx, got {status}")


# %%
check("15b.1", verdict)

# %% [markdown] tags=["solution"]
# Ask for success first: the last delivery may succeed. Status 501 (not implemented) is a special case: the next try
# will get it too. Some teams call it dead at once; the maximum of deliveries catches it anyway.

# %% [markdown]
# ## 15b.2 Take, with a maximum of deliveries ★★☆ · 15 minutes
#
# "We set the maximum to three, and now good jobs die while a worker is still busy with them", says a colleague. Write a
# `take` that waits for the last lease to end.


# %%
def take(jobs, now_s, lease_s, most):
    """Gives out the next job of a queue. Changes `jobs` in place.

    jobs: a list of dicts, in any order, each {"id": int, "leased_until": seconds,
    "deliveries": int, "state": "waiting", "done" or "dead"}. now_s, lease_s: seconds. most:
    deliveries at the most.
    A job is free if it is waiting and its lease is over: leased_until <= now_s.
    First, every free job with `most` deliveries or more becomes "dead". Then the free job with the
    smallest id is leased until now_s + lease_s, and its deliveries rise by one.
    Returns the id of that job, or None if no job is free. Changes nothing else.
    """
    # SOLUTION
    free = [job for job in jobs if job["state"] == "waiting" and job["leased_until"] <= now_s]
    for job in free:
        if job["deliveries"] >= most:
            job["state"] = "dead"
    chosen = min((j for j in free if j["state"] == "waiting"), key=lambda j: j["id"], default=None)
    if chosen is None:
        return None
    chosen["leased_until"] = now_s + lease_s
    chosen["deliveries"] += 1
    return chosen["id"]


# %%
check("15b.2", take)

# %% [markdown] tags=["solution"]
# The delivery is counted when the job is given out, before anything can go wrong. And a job whose third lease still
# runs is not dead: its worker may finish. In SQL both steps stand in one transaction, as in the lesson's `bury` and
# `take`.
#
# A second way: sort the jobs by id, and walk through them once. Mark the dead on the way, but do not return at the
# first job found, or dead jobs behind it stay unmarked.

# %% [markdown]
# ## 15b.3 What the key must hold ★★☆ · 15 minutes
#
# "Since we have the cache, one customer sees another one's results." The key was `f"{name}{inputs}"`, and NumPy prints
# three dots in the middle of a large array. Write a key that tells apart what must be told apart, and nothing else.


# %%
def cache_key(model, version, inputs):
    """A key under which a model's answer may be kept.

    model: str. version: int. inputs: dict from str to array, any dtype of numbers, any shape.
    Two keys are equal exactly if model, version, the inputs' names, and each input's dtype, shape
    and numbers (bit for bit) are equal. The order of the dict and an array's layout in memory do
    not matter. Names and model may hold any text. Nobody must be able to find two inputs with one
    key, by chance or on purpose: use 128 bits or more of a cryptographic hash that is not broken,
    so neither MD5 nor SHA-1. Returns a str of at most 200 characters, the same in every process.
    """
    # SOLUTION
    names = sorted(inputs)
    described = [[name, str(inputs[name].dtype), list(inputs[name].shape)] for name in names]
    digest = hashlib.sha256(json.dumps([model, version, described]).encode())
    for name in names:
        digest.update(np.ascontiguousarray(inputs[name]).tobytes())
    return digest.hexdigest()


# %%
check("15b.3", cache_key)

# %% [markdown] tags=["solution"]
# JSON keeps the borders between the parts. So model `a` with version 12 and model `a1` with version 2 get different
# keys. The shapes come before the bytes. So only one division of the bytes into arrays is possible.
#
# The shape is taken from the input itself, since `np.ascontiguousarray` turns an array of shape () into one of shape
# (1,).
#
# `hash()` would be shorter. But Python salts its result for text differently in each process. And 64 bits are too few
# if somebody looks for a collision on purpose. With CRC-32, MD5 or SHA-1, two inputs with one sum can be constructed.
#
# If the answer depends on something that is not among the arguments, such as the user's rights, that belongs in the key
# too.
