"""What this process may use."""

import os
from pathlib import Path


def cpu_limit(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """How many whole CPUs this process may use: the container's limit (control groups v2, then v1), else the machine's.

    A limit of 1.5 CPUs counts as 1: a second thread would spend half of its time throttled.
    """
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for names in (["cpu.max"], ["cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us"]):
        try:
            quota, period = " ".join((cgroup / name).read_text() for name in names).split()
            if quota not in ("max", "-1"):
                return max(1, min(available, int(quota) // int(period)))
        except (OSError, ValueError, ZeroDivisionError):
            continue
    return available
