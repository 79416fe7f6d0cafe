"""Cards and tables: HTML that reads well where its styles are stripped, with plain text beside it. Nothing is fetched."""

import html
import sys
from collections.abc import Iterable, Sequence


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
