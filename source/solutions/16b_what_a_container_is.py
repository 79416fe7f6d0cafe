# %% [markdown]
# # 16b What a container is: exercises
#
# Three things to have at hand when a container misbehaves. None of them needs an engine. Fill in what is missing, run the
# cell, then its check.

# %%

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
# The order carries the meaning. A running container has exit code 0 and has not ended; out of memory and killed by hand
# share code 137, and only the engine's note tells them apart. The note says that *a* process was killed; where it was
# a worker, process 1 may have ended with another code, 1 say, and memory was the reason all the same.

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
# Rounding down is the point: with a limit of 1.5, a second thread would be throttled half of its time, and a request waits for its
# slowest part. `int(quota) // int(period)` stays in whole numbers; `round` would give 2. The course's server does the same
# in `course_lib/serving/limits.py`. In Kubernetes, `resources.limits.cpu` arrives in just these files.
