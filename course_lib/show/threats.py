"""The picture of the course's service with its trust boundaries, on which a lesson places its threats."""

from collections.abc import Sequence

from course_lib import show

PLACES = {
    "client": (0.9, 2.3), "gateway": (3.7, 2.3), "preprocessing": (6.0, 3.4), "server": (6.0, 1.2),
    "models folder": (9.1, 1.2), "builder, CI": (9.1, 3.4),
}  # fmt: skip
"""The parts of the service, and where the picture has them, in its own units."""

BESIDE = {
    "client": [(0.9, 3.05)],
    "client → gateway": [(1.95, 2.62), (2.3, 2.62), (1.95, 1.98), (2.3, 1.98)],
    "gateway": [(3.7, 3.05), (3.7, 1.55)],
    "preprocessing": [(6.0, 4.05)],
    "server": [(6.0, 0.5), (5.6, 0.5), (6.4, 0.5)],
    "models folder": [(9.1, 0.5), (8.7, 0.5), (9.5, 0.5)],
    "models folder → server": [(7.54, 1.52), (7.54, 0.88)],
    "builder, CI": [(9.1, 4.05), (9.5, 4.05)],
    "builder, CI → models folder": [(9.4, 2.3), (8.8, 2.3)],
    "cluster": [(4.85, 4.05), (4.85, 0.5)],
}  # fmt: skip
"""Where a place has room for the number of a threat: the first threat there takes the first."""


def threat_model(threats: Sequence[tuple[str, str, str]], here: str) -> None:
    """Draws client, gateway, preprocessing, server, models folder and builder, the trust boundaries, and each threat.

    threats: what an attacker does, where (a key of `BESIDE`), and what stops it, in the order of their numbers from 1.
    here: how the last begins for threats that this lesson is about; these are drawn in blue, the others in grey.
    Raises KeyError for a place that the picture does not have, IndexError for more threats at a place than fit.
    """
    import matplotlib.pyplot as plt

    _, axes = plt.subplots(figsize=(9, 4.2))
    axes.set(xlim=(0, 10.6), ylim=(-0.1, 4.95))
    axes.set_axis_off()
    for left, width, name in ((2.62, 4.6, "the cluster"), (7.85, 2.6, "those who may deploy")):
        axes.add_patch(plt.Rectangle((left, 0), width, 4.45, fill=False, ls="--", ec=show.RED))
        axes.text(left, 4.57, name, color=show.RED)
    for name, place in PLACES.items():
        box = {"boxstyle": "round,pad=0.5", "fc": "white", "ec": show.BLUE, "lw": 2}
        axes.text(*place, name, ha="center", va="center", bbox=box)
    for start, end, near, far in (
        ("client", "gateway", 34, 40), ("gateway", "preprocessing", 34, 40), ("gateway", "server", 34, 34),
        ("builder, CI", "models folder", 22, 22), ("models folder", "server", 54, 34),
    ):  # fmt: skip
        arrow = {"arrowstyle": "-|>", "lw": 1.5, "shrinkA": near, "shrinkB": far}
        axes.annotate("", PLACES[end], PLACES[start], arrowprops=arrow)
    taken = dict.fromkeys(BESIDE, 0)
    for number, (_, where, stops) in enumerate(threats, 1):
        spot, taken[where] = BESIDE[where][taken[where]], taken[where] + 1
        disc = {"boxstyle": "circle,pad=0.3", "fc": show.BLUE if stops.startswith(here) else "#5F5F5F", "ec": "none"}
        axes.text(*spot, number, color="white", ha="center", va="center", fontsize=9, bbox=disc)
    own = [str(number) for number, (*_, stops) in enumerate(threats, 1) if stops.startswith(here)]
    show.finding(
        f"{len(threats)} threats to one service; this lesson is about {len(own)} of them (blue)",
        alt="Boxes and arrows: the client asks the gateway, the gateway asks preprocessing and the server, the builder "
        "writes the models folder, and the server reads it. Two dashed frames are trust boundaries: around gateway, "
        "preprocessing and server (the cluster), and around models folder and builder (those who may deploy). Numbered "
        "discs are the threats: " + "; ".join(f"{i} at {where}" for i, (_, where, _) in enumerate(threats, 1)),
    )  # fmt: skip
