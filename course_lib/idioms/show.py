"""What the course puts on the page: cards, tables and figures, as HTML with a plain-text fallback.

Colours are Okabe and Ito's palette, which colour-blind readers can tell apart; text keeps the notebook's own colours,
so that it reads on a light and on a dark theme. Nothing is fetched.
"""

import html
import io
import sys
from collections.abc import Iterable, Sequence

BLUE, ORANGE, GREEN, RED, PURPLE, SKY, YELLOW, GREY = (
    "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#F0E442", "#7F7F7F",
)  # fmt: skip
PALETTE = [BLUE, ORANGE, GREEN, RED, PURPLE, SKY, GREY]


class Block:
    """Something to display: `markup` in a notebook, `text` in a terminal and in a notebook viewer without HTML."""

    def __init__(self, markup: str, text: str):
        self.markup, self.text = markup, text

    def _repr_html_(self) -> str:
        return self.markup

    def __repr__(self) -> str:
        return self.text


def put(block: object) -> None:
    """Shows `block` below the running cell, or prints it where there is no notebook."""
    if "IPython" in sys.modules and sys.modules["IPython"].get_ipython() is not None:
        from IPython.display import display

        display(block)
    else:
        print(block)


def card(mark: str, colour: str, headline: str, *details: str, label: str = "") -> Block:
    """A line with a coloured edge: `mark` headline, then `details`, each on a line of its own.

    `label` says in a word what kind of card it is (claim, recording, …), so that colour is never the only sign.
    """
    small = f'<span style="opacity:.7;font-size:90%"> · {html.escape(label)}</span>' if label else ""
    rest = "".join(f'<div style="opacity:.85;margin-top:2px">{html.escape(detail)}</div>' for detail in details)
    markup = (
        f'<div style="border-left:4px solid {colour};padding:4px 10px;margin:4px 0;line-height:1.4">'
        f'<b style="color:{colour}">{html.escape(mark)}</b> {html.escape(headline)}{small}{rest}</div>'
    )
    head = f"{mark} {headline}" + (f"  [{label}]" if label else "")
    return Block(markup, "\n    ".join([head, *details]))


def table(header: Sequence[str], rows: Iterable[Sequence[object]], caption: str = "") -> Block:
    """A table; numbers are set to the right. `caption` stands above it."""
    cells = [["" if cell is None else str(cell) for cell in row] for row in rows]
    right = [all(_is_number(row[i]) for row in cells if row[i]) and bool(cells) for i in range(len(header))]
    align = [f"text-align:{'right' if side else 'left'};padding:2px 12px 2px 0" for side in right]
    markup = ['<table style="border-collapse:collapse">']
    if caption:
        markup.append(f'<caption style="text-align:left;font-weight:600">{html.escape(caption)}</caption>')
    for tag, row in [("th", list(header)), *[("td", row) for row in cells]]:
        inner = "".join(f'<{tag} style="{align[i]}">{html.escape(cell)}</{tag}>' for i, cell in enumerate(row))
        markup.append(f"<tr>{inner}</tr>")
    widths = [max(len(row[i]) for row in [list(header), *cells]) for i in range(len(header))]
    lines = [caption] if caption else []
    for row in [list(header), *cells]:
        pieces = [cell.rjust(w) if side else cell.ljust(w) for cell, w, side in zip(row, widths, right)]
        lines.append("  ".join(pieces).rstrip())
    return Block("".join(markup) + "</table>", "\n".join(lines))


def _is_number(cell: str) -> bool:
    return cell.replace(",", "").replace(".", "").replace("-", "").replace("e", "").replace("%", "").strip().isdigit()


def bytes_text(count: int) -> str:
    """A number of bytes as people read it, in powers of 1000: `72.1 kB`."""
    size = float(count)
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"


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
        figure.suptitle(title, x=0.02, y=1.02, ha="left", va="bottom", fontsize="medium")
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", facecolor="white", bbox_inches="tight")
    plt.close(figure)
    put(_Figure(drawn.getvalue(), title, alt))


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
    def __init__(self, png: bytes, title: str, alt: str):
        self.png, self.title, self.alt = png, title, alt

    def _repr_png_(self) -> tuple[bytes, dict]:
        return self.png, {"alt": self.alt}

    def __repr__(self) -> str:
        return f"Figure: {self.title}. {self.alt}"
