"""The peers' environments, one each under .course/peers/, with the pinned packages of peers/NAME.txt."""

from pathlib import Path

from course_lib.places import KEPT
from tools import environments
from tools.environments import NotInstalled

__all__ = ["PINS", "NotInstalled", "pins", "python"]

PINS = Path(__file__).parent / "peers"


def pins(name: str) -> dict[str, str]:
    """The versions that a peer's file pins for any Python, by package."""
    return environments.pins(PINS / f"{name}.txt")


def python(name: str, kept: Path = KEPT) -> str:
    """The interpreter of a peer's environment, as `tools.environments.python` makes it. Raises NotInstalled."""
    return environments.python(PINS / f"{name}.txt", kept)
