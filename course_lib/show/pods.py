"""Figures of what a cluster did."""

import numpy as np

from course_lib import show


def answers_by_pod(outcome: dict, title: str) -> None:
    """Draws answers a second over time, stacked by the pod that gave them.

    outcome: what `load.run` returned ("by_half_second": pod -> counts), with "deleted", the name of a pod, and
    "deleted_after_s". title: the finding. Raises ValueError where no request was answered.
    """
    import matplotlib.pyplot as plt

    counts = outcome["by_half_second"]
    if not counts:
        failed = ", ".join(f"{count} × {reason}" for reason, count in outcome.get("failed", {}).items())
        raise ValueError(f"expected answers by pod, got none (failed: {failed or 'nothing'}): are the pods ready, and does "
                         "the client ask the right address?")  # fmt: skip
    times = np.arange(max(map(len, counts.values()))) / 2
    colours, below = iter([show.BLUE, show.GREEN, show.PURPLE, show.SKY, show.GREY] * 9), np.zeros(len(times))
    for pod in sorted(counts, key=lambda pod: np.flatnonzero(counts[pod])[0]):
        gone = pod == outcome["deleted"]
        rate = 2 * np.array(counts[pod])
        label = f"…{pod[-5:]}, deleted" if gone else f"…{pod[-5:]}"
        plt.bar(times, rate, 0.5, below, align="edge", color=show.ORANGE if gone else next(colours), label=label, lw=0)
        below += rate
    plt.axvline(outcome["deleted_after_s"], color="black", ls="--", lw=1)
    plt.xlabel("time (s); dashed: the deletion is asked for")
    plt.ylabel("answers a second")
    plt.legend(title="pod", loc="center left", bbox_to_anchor=(1, 0.5))
    words = [f"{pod}{' (deleted)' if pod == outcome['deleted'] else ''}: {sum(each)}" for pod, each in counts.items()]
    show.finding(
        title, alt=f"Answers a second by pod over {times[-1] + 0.5:g} seconds. Answers in all: {'; '.join(words)}."
    )
