"""Notebooks as their cells: what a learner wrote, told from what only running them changed. Standard library only.

The build gives each cell an id out of its own text. A cell that two versions hold under one id therefore had one text
when it was built, and what a learner made of it in the one fits into the other.
"""

import json
from typing import Any

Cells = list[tuple[str, str, str]]
"""Id, type and text of each cell that is not empty."""


def cells(raw: bytes) -> Cells | None:
    """None where these are not the bytes of a notebook whose cells have ids."""
    try:
        found = [(cell["id"], cell["cell_type"], _text(cell)) for cell in json.loads(raw)["cells"]]
    except (ValueError, KeyError, TypeError):
        return None
    return [cell for cell in found if cell[2].strip()]


def same(path: str, one: bytes, other: bytes) -> bool:
    """Whether two versions of a notebook hold the same text; of any other file, False."""
    return path.endswith(".ipynb") and (held := cells(one)) is not None and held == cells(other)


def carried(own: bytes, start: bytes, new: bytes) -> tuple[bytes, int, int] | None:
    """The new version with the cells that the learner changed, how many these are, and how many found no place in it.

    own: the learner's notebook; start: what it was before they changed it. A cell without a place is one that they
    added, or one whose original the new version does not hold. None where one of the three is not a notebook.
    """
    if (mine := cells(own)) is None or (first := cells(start)) is None or cells(new) is None:
        return None
    notebook, left = json.loads(new), {cell[0]: cell[1:] for cell in mine if cell not in first}
    count = 0
    for cell in notebook["cells"]:
        kind, words = left.get(cell["id"], (None, ""))
        if kind == cell["cell_type"]:
            del left[cell["id"]]
            count += 1
            cell["source"] = words.splitlines(keepends=True)
            cell.update({"outputs": [], "execution_count": None} if kind == "code" else {})
    written = json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"
    return written.encode() if count else new, count, len(left)


def _text(cell: dict[str, Any]) -> str:
    return "".join(cell["source"])
