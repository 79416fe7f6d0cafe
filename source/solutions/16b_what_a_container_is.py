# %% [markdown]
# # 16b What a container is: exercises
#
# Three things to have at hand when a container misbehaves. None of them needs an engine. Fill in what is missing, run the
# cell, then its check.

# %%
import math

from course_lib.idioms import begin, check

scratch = begin("16b")

# %% [markdown]
# ## 16b.1 What killed it? ★☆☆ · 5 minutes
#
# The alarm says "container down", and `docker inspect` shows its state. The colleague on call wants one word, not a table
# of exit codes.


# %%
def verdict(state):
    """What became of a container, from its state.

    state: a dict as the engine has it, of which these keys count: "Status" (a str: "running",
    "exited", …), "ExitCode" (an int, 0 to 255; while the container runs it is 0) and "OOMKilled"
    (a bool: the kernel killed a process of it for its memory).
    Returns, of these, the first that is true:
      "running"         its status is "running"
      "out of memory"   OOMKilled
      "ended"           exit code 0
      "killed"          signal 9
      "signal N"        another signal, 1 to 64; a code above 128 is 128 + the signal's number
      "error N"         any other exit code
    """
    # SOLUTION
    if state["Status"] == "running":
        return "running"
    if state["OOMKilled"]:
        return "out of memory"
    code = state["ExitCode"]
    if code == 0:
        return "ended"
    if code == 128 + 9:
        return "killed"
    return f"signal {code - 128}" if 128 < code <= 128 + 64 else f"error {code}"


# %%
check("16b.1", verdict)

# %% [markdown] tags=["solution"]
# The order carries the meaning. A running container has exit code 0 and has not ended. "Out of memory" and "killed by hand"
# share code 137, and only the engine's note tells them apart. The note says that *a* process was killed. If that was a worker,
# process 1 may have ended with another code, such as 1, and memory was the reason all the same.

# %% [markdown]
# ## 16b.2 How many threads may I have? ★★☆ · 10 minutes
#
# Your service runs with half a CPU on a node of 64, with two on another, and without any limit on your laptop. Its pool of
# threads should fit everywhere. Write what reads the limit.


# %%
def threads(files, processors):
    """How many threads a pool should have, under the CPU limit of a control group.

    files: the texts of those files that are there, by name: "cpu.max" (control groups 2: quota
    and period in microseconds, or "max" and a period), "cpu/cpu.cfs_quota_us" and
    "cpu/cpu.cfs_period_us" (version 1; a quota of -1 is none). Each ends in a new line. Where both
    versions are there, version 2 counts. processors: those that the process may run on, from 1.
    Returns an int: the whole CPUs of the limit, at least 1 and at most `processors`; `processors`
    where there is no limit, or none that can be read.
    """
    # SOLUTION
    for names in (["cpu.max"], ["cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us"]):
        if any(name not in files for name in names):
            continue
        try:
            quota, period = " ".join(files[name] for name in names).split()
            if quota in ("max", "-1"):
                return processors
            return max(1, min(processors, int(quota) // int(period)))
        except (ValueError, ZeroDivisionError):
            return processors
    return processors


# %%
check("16b.2", threads)

# %% [markdown] tags=["solution"]
# Rounding down is the point. With a limit of 1.5, two busy threads use up the quota after three quarters of each period and
# then stand still. `int(quota) // int(period)` stays in whole numbers; `round` would give 2. The course's server does the same in
# `course_lib/serving/limits.py`. In Kubernetes, `resources.limits.cpu` arrives in these files too.

# %% [markdown]
# ## 16b.3 How long does a call take under a limit? ★★☆ · 15 minutes
#
# The model needs 30 ms of processor time. With a limit of half a CPU, a dashboard shows calls of 30 ms and of 80 ms. The team
# asks whether more threads would help. Compute the answer for any limit.


# %%
def call_ms(work_ms, quota, threads, period_ms=100):
    """How long a call takes that begins at the start of a period, with the whole quota left.

    work_ms: the processor time that the call needs, above 0, shared evenly by its threads. quota:
    the limit in CPUs, above 0. threads: those that really run at once, from 1. In each period the
    threads run until they have used quota * period_ms together, then stand still until the next
    period begins. Returns the milliseconds from the call's beginning to its end. A call whose work
    is done at the moment when the quota is used up ends at that moment.
    """
    # SOLUTION
    allowed = quota * period_ms
    if threads <= quota:
        return work_ms / threads
    full = math.ceil(work_ms / allowed) - 1
    return full * period_ms + (work_ms - full * allowed) / threads


# %%
check("16b.3", call_ms)

# %% [markdown] tags=["solution"]
# All periods but the last are used up whole, so they count with their full length. `ceil(…) - 1` rather than `//` keeps the call
# that ends together with its quota in its own period. More threads shorten only the last part. A call of 120 ms with half a CPU
# takes 220 ms with one thread and 210 ms with two. Only a larger quota or less work helps. The first call of a period is the
# lucky one: a call that begins late in a period, after others, meets the pause sooner.
