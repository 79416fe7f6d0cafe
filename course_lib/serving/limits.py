"""What this process may use, and what it lets others use of it."""

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Limits:
    """How much the server takes upon itself.

    workers: threads that compute, each with one call at a time. max_batch_size: samples that one call may join; a
    request that is larger is computed alone. batch_wait_seconds: how long a request may wait for others although a
    thread is free. max_queue: samples that may wait for a version. timeout_seconds: the longest that a request may take;
    its sender may ask for less. max_body_bytes: the largest request.
    """

    workers: int = 1
    max_batch_size: int = 32
    batch_wait_seconds: float = 0.0
    max_queue: int = 1024
    timeout_seconds: float = 30.0
    max_body_bytes: int = 1 << 20


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
