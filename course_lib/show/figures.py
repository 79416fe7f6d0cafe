"""Figures: a title that states the finding, and the same in words for readers who do not see them."""

import base64
import html
import io
from collections.abc import Sequence

from course_lib.show.colours import PALETTE
from course_lib.show.page import put


def style_figures() -> None:
    """Sets Matplotlib to the course's palette and sizes."""
    import matplotlib.pyplot as plt
    from cycler import cycler

    plt.rcParams.update({
        "axes.prop_cycle": cycler(color=PALETTE),
        "figure.figsize": (7, 3.6),
        "figure.dpi": 110,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlelocation": "left",
        "axes.titlesize": "medium",
        "legend.frameon": False,
        "image.cmap": "gray_r",
    })  # fmt: skip


def finding(title: str, *, alt: str) -> None:
    """Displays the current Matplotlib figure under a title that states what it shows, and closes it.

    title: the finding, in a sentence. alt: the same picture in words, for readers who do not see it.
    Raises ValueError where either is empty.
    """
    import matplotlib.pyplot as plt

    if not title.strip() or not alt.strip():
        raise ValueError("a figure needs a title that states its finding and an `alt` that says it in words")
    figure = plt.gcf()
    if len(figure.axes) == 1 and not figure.axes[0].get_title("center"):
        figure.axes[0].set_title(title)
        figure.tight_layout()
    else:
        figure.tight_layout()
        figure.suptitle(title, x=0.02, y=1 + 0.07 / figure.get_figheight(), ha="left", va="bottom", fontsize="medium")
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", facecolor="white", bbox_inches="tight")
    plt.close(figure)
    put(_Figure(drawn.getvalue(), " ".join(title.split()), alt))


def images(pictures: Sequence, titles: Sequence[object] = (), *, finding_title: str, alt: str) -> None:
    """Displays a row of small pictures, dark where there is ink, each under its title if it has one.

    pictures: arrays (H, W), 0 to 1. finding_title, alt: as for `finding`.
    """
    import matplotlib.pyplot as plt

    count = max(len(pictures), 1)
    figure, axes = plt.subplots(1, count, figsize=(min(9, 1.1 * count + 1), 1.6), squeeze=False)
    for i, axis in enumerate(axes[0]):
        axis.set_axis_off()
        if i < len(pictures):
            axis.imshow(pictures[i], vmin=0, vmax=1)
        if i < len(titles):
            axis.set_title(str(titles[i]), fontsize="small", loc="center")
    finding(finding_title, alt=alt)


class _Figure:
    """An image with its words: HTML, since the metadata of an image's output reach no reader."""

    def __init__(self, png: bytes, title: str, alt: str):
        self.png, self.title, self.alt = png, title, alt

    def _repr_html_(self) -> str:
        encoded = base64.b64encode(self.png).decode()
        words = html.escape(" ".join(self.alt.split()), quote=True)
        return f'<img alt="{words}" style="max-width:100%" src="data:image/png;base64,{encoded}">'

    def __repr__(self) -> str:
        return f"Figure: {self.title}. {self.alt}"
