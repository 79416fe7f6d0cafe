"""Cards and tables: HTML that reads well where its styles are stripped, with plain text beside it. Nothing is fetched."""

import html
import re
import sys
from collections.abc import Iterable, Sequence

from course_lib.show.colours import AMBER, ORANGE


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
    """A line with a coloured edge: `mark` and `label`, the headline, then `details`, each on a line of its own.

    `label` says in a word or two what kind of card it is (claim, recording, …), so that colour is never the only sign.
    Words between backticks are shown as code.
    """
    edge = AMBER if colour == ORANGE else colour
    kind = f"{html.escape(mark)} {html.escape(label)}".strip()
    rest = "".join(f'<div style="margin-top:2px">{_with_code(detail)}</div>' for detail in details)
    markup = (
        f'<div class="course-card" style="border-left:4px solid {edge};padding:4px 10px;margin:4px 0;line-height:1.4">'
        f'<b style="color:{edge}">{kind}</b> · {_with_code(headline)}{rest}</div>'
    )
    head = f"{mark} {headline}" + (f"  [{label}]" if label else "")
    return Block(markup, "\n    ".join([head, *details]))


def _with_code(words: str) -> str:
    """Plain words as HTML, what stands between backticks as code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(words))


def table(header: Sequence[str], rows: Iterable[Sequence[object]], caption: str = "") -> Block:
    """A table; numbers are set to the right. `caption` stands above it.

    header: a word for each column. Raises ValueError for a column without one: it is read out before each cell.
    """
    if not all(str(name).strip() for name in header):
        raise ValueError(
            f"expected a name for each column, got {list(header)}: a screen reader says it before each cell"
        )
    cells = [["" if cell is None else str(cell) for cell in row] for row in rows]
    sides = [
        "right" if cells and all(_is_number(row[i]) for row in cells if row[i]) else "left" for i in range(len(header))
    ]
    markup = ['<table style="border-collapse:collapse">']
    if caption:
        markup.append(f'<caption align="left" style="text-align:left;font-weight:600">{_with_code(caption)}</caption>')
    for tag, row in [('th scope="col"', list(header)), *[("td", row) for row in cells]]:
        inner = [
            f'<{tag} align="{side}" style="text-align:{side};padding:2px 12px 2px 0">{_with_code(cell)}</{tag[:2]}>'
            for cell, side in zip(row, sides)
        ]
        markup.append(f"<tr>{''.join(inner)}</tr>")
    widths = [max(len(row[i]) for row in [list(header), *cells]) for i in range(len(header))]
    lines = [caption] if caption else []
    for row in [list(header), *cells]:
        pieces = [cell.rjust(w) if side == "right" else cell.ljust(w) for cell, w, side in zip(row, widths, sides)]
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
