"""Right answers to lesson 16b's exercises that differ from the solutions."""

import math
import re
from fractions import Fraction

import numpy as np

# 16b.1


def by_match(state):
    match state:
        case {"Status": "running"}:
            return "running"
        case {"OOMKilled": True}:
            return "out of memory"
        case {"ExitCode": 0}:
            return "ended"
        case {"ExitCode": 137}:
            return "killed"
        case {"ExitCode": code} if 129 <= code <= 192:
            return f"signal {code - 128}"
    return f"error {state['ExitCode']}"


def by_signal_number(state):
    if state["Status"] == "running":
        return "running"
    if state["OOMKilled"]:
        return "out of memory"
    code = state["ExitCode"]
    signal = code - 128
    if signal == 9:
        return "killed"
    if signal in range(1, 65):
        return "signal " + str(signal)
    return "error " + str(code) if code else "ended"


# 16b.2


def with_regular_expressions(files, processors):
    if "cpu.max" in files:
        found = re.fullmatch(r"(\d+) (\d+)\s*", files["cpu.max"])
    else:
        text = " ".join(files.get(f"cpu/cpu.cfs_{name}_us", "").strip() for name in ("quota", "period"))
        found = re.fullmatch(r"(\d+) (\d+)", text)
    if not found or int(found[2]) == 0:
        return processors
    return min(max(int(found[1]) // int(found[2]), 1), processors)


def with_floats(files, processors):
    try:
        if "cpu.max" in files:
            quota, period = files["cpu.max"].split()
        else:
            quota, period = files["cpu/cpu.cfs_quota_us"], files["cpu/cpu.cfs_period_us"]
        cpus = float(quota) / float(period)
    except (KeyError, ValueError, ZeroDivisionError):
        return processors
    return processors if cpus < 0 else int(min(processors, max(1, math.floor(cpus))))


# 16b.3


def period_by_period(work_ms, quota, threads, period_ms=100):
    runs = period_ms * min(1, quota / threads)
    at = 0
    while work_ms > runs * threads + 1e-9:
        work_ms -= runs * threads
        at += period_ms
    return at + work_ms / threads


def by_the_pause(work_ms, quota, threads, period_ms=100):
    pause = period_ms * max(0, 1 - quota / threads)
    pauses = max(0, math.ceil(work_ms / (quota * period_ms) - 1e-12) - 1)
    return np.float64(work_ms / threads + pauses * pause)


def with_fractions(work_ms, quota, threads, period_ms=100):
    work, limit = Fraction(work_ms), Fraction(quota)
    if threads <= limit:
        return work / threads
    full = -(-work // (limit * period_ms)) - 1
    return full * period_ms + (work - full * limit * period_ms) / threads


RIGHT = {
    "16b.1": [by_match, by_signal_number],
    "16b.2": [with_regular_expressions, with_floats],
    "16b.3": [period_by_period, by_the_pause, with_fractions],
}
