"""What a diagnosis is compared with: readings, logs, and why evidence is refused."""

import json

import numpy as np

from course_lib.ops.http import DIRECT


class NotShown(Exception):
    """The evidence does not prove the cause: it is not what the system says, or it is what a healthy one says too."""


class Unwell(Exception):
    """What still keeps the system from being well, in a sentence."""


def agrees(what: str, said: object, found: object) -> None:
    """Raises NotShown where a learner's reading, a number or an array, is not what is measured now. Does not tell it.

    A whole number (a port, a count) has to be exact: one port beside the right one is another port.
    """
    whole = np.asarray(found).dtype.kind in "iu"
    found = np.asarray(found, float)
    kind = "a number" if found.ndim == 0 else f"an array of {' × '.join(map(str, found.shape))} numbers"
    try:
        said = np.asarray(said, float)
    except (TypeError, ValueError):
        said = None
    if said is None or said.shape != found.shape or not np.isfinite(said).all():
        raise NotShown(f"This could not be examined: {what} has to be {kind}.")
    if not (np.array_equal(said, found) if whole else np.allclose(said, found, rtol=1e-3, atol=5e-4)):
        raise NotShown(f"The reading does not agree with the system: {what} is not what you give. Read it again"
                       f"{'' if whole else ', to three digits'}.")  # fmt: skip


def number(what: str, said: object) -> float:
    """A learner's number. Raises NotShown for anything else."""
    try:
        found = float(said)
    except (TypeError, ValueError):
        found = np.nan
    if isinstance(said, bool) or not np.isfinite(found):
        raise NotShown(f"This could not be examined: {what} has to be a number.")
    return found


def get(url: str) -> str:
    """What a GET returns, as text. Raises OSError for any status but 200."""
    with DIRECT.open(url, timeout=10) as answer:
        return answer.read().decode()


def as_json(line: str) -> dict:
    """A line of a log: its JSON object, or {"text": line} where it is none."""
    try:
        found = json.loads(line)
    except ValueError:
        found = None
    return found if isinstance(found, dict) else {"text": line}
