"""Answers to the exercises of lesson 16b that people write, each with the property at which its check must catch it."""

import math
import signal

# 16b.1


def never_running(state):
    return "out of memory" if state["OOMKilled"] else "ended" if state["ExitCode"] == 0 else "killed"


def only_killed(state):
    if state["Status"] == "running":
        return "running"
    return {0: "ended", 137: "killed"}.get(state["ExitCode"], "error")


def memory_means_137(state):
    if state["Status"] == "running":
        return "running"
    code = state["ExitCode"]
    if code == 137:
        return "out of memory" if state["OOMKilled"] else "killed"
    return "ended" if code == 0 else f"signal {code - 128}" if 128 < code <= 192 else f"error {code}"


def _verdict(state, named, first=129, last=192):
    if state["Status"] == "running":
        return "running"
    if state["OOMKilled"]:
        return "out of memory"
    code = state["ExitCode"]
    if code in (0, 137):
        return "killed" if code else "ended"
    return named(code) if first <= code <= last else f"error {code}"


def the_code_as_the_signal(state):
    return _verdict(state, lambda code: f"signal {code}")


def signal_0(state):
    return _verdict(state, lambda code: f"signal {code - 128}", first=128)


def signal_127(state):
    return _verdict(state, lambda code: f"signal {code - 128}", last=255)


def names_that_python_knows(state):
    """signal.Signals has no name for most of the real-time signals, 35 to 63."""

    def named(code):
        try:
            return f"signal {signal.Signals(code - 128).value}"
        except ValueError:
            return f"error {code}"

    return _verdict(state, named)


def nine_is_a_kill(state):
    return _verdict(
        {**state, "ExitCode": {9: 137}.get(state["ExitCode"], state["ExitCode"])}, lambda code: f"signal {code - 128}"
    )


def exited_or_running(state):
    return "running" if state["Status"] != "exited" else _verdict(state, lambda code: f"signal {code - 128}")


# 16b.2


def _threads(
    files,
    processors,
    whole=lambda q, p: q // p,
    least=1,
    most=True,
    one_first=False,
    catch=(ValueError, ZeroDivisionError, KeyError),
):
    order = [["cpu.max"], ["cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us"]]
    for names in order[::-1] if one_first else order:
        if names[0] not in files:
            continue
        try:
            quota, period = " ".join(files[name] for name in names).split()
            if quota in ("max", "-1"):
                return processors
            found = max(least, whole(int(quota), int(period)))
            return min(processors, found) if most else found
        except catch:
            return processors
    return processors


def always_100_ms(files, processors):
    return _threads(files, processors, whole=lambda quota, _: quota // 100000)


def rounds(files, processors):
    return _threads(files, processors, whole=lambda quota, period: round(quota / period))


def rounds_up(files, processors):
    return _threads(files, processors, whole=lambda quota, period: math.ceil(quota / period))


def none_at_all(files, processors):
    return _threads(files, processors, least=0)


def more_than_there_are(files, processors):
    return _threads(files, processors, most=False)


def max_is_a_number(files, processors):
    quota, period = files["cpu.max"].split()
    return max(1, min(processors, int(quota) // int(period)))


def version_2_alone(files, processors):
    return _threads({name: text for name, text in files.items() if name == "cpu.max"}, processors)


def minus_one_is_a_quota(files, processors):
    if "cpu.max" in files or not files:
        return _threads(files, processors)
    quota, period = (int(files[f"cpu/cpu.cfs_{name}_us"]) for name in ("quota", "period"))
    return max(1, min(processors, quota // period))


def version_1_first(files, processors):
    return _threads(files, processors, one_first=True)


def goes_on_after_max(files, processors):
    if files.get("cpu.max", "").startswith("max"):
        files = {name: text for name, text in files.items() if name != "cpu.max"}
    return _threads(files, processors)


def trusts_the_files(files, processors):
    return _threads(files, processors, catch=())


# 16b.3


def no_limit(work_ms, quota, threads, period_ms=100):
    return work_ms / threads


def evenly(work_ms, quota, threads, period_ms=100):
    """The long-run average, as if the quota were a slower processor."""
    return work_ms / min(quota, threads)


def one_pause(work_ms, quota, threads, period_ms=100):
    pause = period_ms * max(0, 1 - quota / threads)
    return work_ms / threads + (pause if work_ms > quota * period_ms else 0)


def a_period_too_many(work_ms, quota, threads, period_ms=100):
    if threads <= quota:
        return work_ms / threads
    full, rest = divmod(work_ms, quota * period_ms)
    return full * period_ms + rest / threads


def always_limited(work_ms, quota, threads, period_ms=100):
    full = math.ceil(work_ms / (quota * period_ms)) - 1
    return full * period_ms + (work_ms - full * quota * period_ms) / threads


def below_one_cpu_alone(work_ms, quota, threads, period_ms=100):
    return always_limited(work_ms, quota, threads, period_ms) if quota < 1 else work_ms / threads


def periods_of_100(work_ms, quota, threads, period_ms=100):
    return work_ms / threads if threads <= quota else always_limited(work_ms, quota, threads)


WRONG = {
    "16b.1": {
        never_running: "a container that runs has not ended",
        only_killed: "137 alone is a kill, 137 with the engine's note is memory",
        memory_means_137: "memory counts whatever the code is",
        the_code_as_the_signal: "another signal is named by its number",
        names_that_python_knows: "another signal is named by its number",
        nine_is_a_kill: "any other code is an error, 128 and 255 too",
        exited_or_running: "a container that is dead or restarting does not run",
        signal_0: "any other code is an error, 128 and 255 too",
        signal_127: "any other code is an error, 128 and 255 too",
    },
    "16b.2": {
        always_100_ms: "two CPUs by cpu.max",
        rounds: "rounded down, and never to 0",
        rounds_up: "rounded down, and never to 0",
        none_at_all: "rounded down, and never to 0",
        more_than_there_are: "no more than there are processors",
        max_is_a_number: "no limit: all processors",
        version_2_alone: "version 1, with its two files",
        minus_one_is_a_quota: "version 1, with its two files",
        version_1_first: "where both are there, version 2 counts",
        goes_on_after_max: "where both are there, version 2 counts",
        trusts_the_files: "what cannot be read is no limit",
    },
    "16b.3": {
        no_limit: "what is left over waits for the next period",
        evenly: "within the first period's quota it only runs",
        one_pause: "what is left over waits for the next period",
        a_period_too_many: "a call that ends with its quota needs no further period",
        always_limited: "no more threads than CPUs are never stopped",
        below_one_cpu_alone: "a quota above one CPU can be used up too",
        periods_of_100: "other periods",
    },
}
