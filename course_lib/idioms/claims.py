"""`claim` and `observe`: sentences of the text, held to a figure that was computed."""

import re
from importlib import metadata

from course_lib import show
from course_lib.idioms.live import acted, replayed
from course_lib.places import CHECKOUT


class ClaimFailed(AssertionError):
    """A claim of the text does not hold here. The course's tests execute every claim."""


def claim(sentence: str, holds: object, figure: object = "", *, pinned: str = "") -> None:
    """States something that holds on every machine, with the figure that shows it; fails the cell where it is false.

    sentence: what is claimed. holds: True or False, computed. figure: the number behind it, shown beside it.
    pinned: a package of constraints.txt, where the claim is about its own words or refusals, which change from version
    to version. Where another version of it is installed (on Google Colab, say), such a claim may be false: the card
    then names both versions, and the cell goes on.
    Raises ClaimFailed where `holds` is False, TypeError where it is neither True nor False, ValueError for a package
    that is not pinned.
    """
    other = _other_version(pinned) if pinned else ""
    if _truth(holds):
        show.put(show.card("✓", show.GREEN, sentence, *_details(figure), label="claim"))
        return
    if other:
        label = "otherwise in the version that is installed here"
        show.put(show.card("○", show.ORANGE, sentence, *_details(figure), other, label=label))
        return
    show.put(show.card("✗", show.RED, sentence, *_details(figure), label="claim that does not hold"))
    raise ClaimFailed(f"{sentence} — does not hold here" + (f": {figure}" if str(figure) else ""))


def claim_gone(sentence: str, left: list[str]) -> None:
    """Claims that nothing of what a lesson made on an engine or a cluster is left.

    left: what a live function found after it had removed all. Where that comes from a recording although the lesson ran
    live before (the engine stopped in the middle), nothing is claimed: the card says what stays. Raises ClaimFailed where
    `left` is not empty.
    """
    if replayed(left) and acted():
        what = "Nothing was removed here, and nothing could be looked at."
        how = (
            "What this lesson made stays until you run it again with all that it needs: its first live cell removes it."
        )
        show.put(show.card("!", show.ORANGE, what, how, label="not known"))
        return
    claim(
        sentence, left == [], ", ".join(left) or ("in the recording; this run made nothing" if replayed(left) else "")
    )


def observe(sentence: str, holds: object, figure: object = "", *, of: object = None, either: bool = False) -> None:
    """States something that depends on the machine, above all speed: shown as holding here or not, never fails.

    Arguments as for `claim`. of: what a live function returned, where the figure comes from it; the card then tells a
    recording from what was seen here. either: whether the text around it speaks of both outcomes; the build reports an
    observation that came out "not so" without it. Raises TypeError where `holds` is neither True nor False.
    """
    where = "in the recording" if replayed(of) else "here"
    if _truth(holds):
        show.put(show.card("●", show.BLUE, sentence, *_details(figure), label=f"observed {where}"))
    else:
        label = f"otherwise {where}" if either else f"not so {where}"
        show.put(show.card("○", show.ORANGE, sentence, *_details(figure), label=label))


def _other_version(package: str) -> str:
    """The installed version and the pinned one, in a sentence, where they differ; else empty."""
    text = (CHECKOUT / "constraints.txt").read_text(encoding="utf-8")
    pins = re.findall(rf"^{re.escape(package)}==([\w.]+)", text, re.MULTILINE)
    if not pins:
        raise ValueError(f"expected a package that constraints.txt pins, got {package!r}")
    here = metadata.version(package).partition("+")[0]  # 2.13.0+cpu is 2.13.0
    return "" if here in pins else f"{package} {here} is installed here; the text speaks of {' or '.join(pins)}"


def _details(figure: object) -> list[str]:
    return [str(figure)] if str(figure) else []


def _truth(holds: object) -> bool:
    """A bool out of True, False or a framework's own single truth value."""
    if isinstance(holds, bool):
        return holds
    if getattr(holds, "shape", None) == () and "bool" in str(getattr(holds, "dtype", "")):
        return bool(holds)  # numpy.bool_, and a tensor of one truth value
    raise TypeError(
        f"expected True or False for what a claim holds to, got {type(holds).__name__} {holds!r:.60}: "
        "compare first (`error < 1e-5`), and reduce an array of answers with .all()"
    )
