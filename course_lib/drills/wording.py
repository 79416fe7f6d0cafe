"""The words of a drill: what each fault claims, its hints, our post-mortem. They stand in `words/drill_N.md`."""

import re
from pathlib import Path
from typing import NamedTuple


class Fault(NamedTuple):
    """A cause, in the words of `words/drill_N.md`. says: what it claims. hints: from afar to nearly the repair. story: our
    post-mortem, Markdown."""

    says: str
    hints: list[str]
    story: str


def words_of(number: int) -> dict[str, Fault]:
    """What `words/drill_N.md` says of each fault: `## name`, what it claims, a numbered list of hints, `### Post-mortem`."""
    text = (Path(__file__).parent / "words" / f"drill_{number}.md").read_text(encoding="utf-8")
    found = {}
    for part in re.split(r"^## ", text, flags=re.M)[1:]:
        head, _, story = part.partition("### Post-mortem")
        says, *hints = re.split(r"^\d\. ", head.partition("\n")[2], flags=re.M)
        found[part.split()[0]] = Fault(
            *(" ".join(says.split()), [" ".join(each.split()) for each in hints]), story.strip()
        )
    return found
