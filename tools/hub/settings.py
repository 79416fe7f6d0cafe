"""A room's settings, hub.toml in its folder. Standard library only: the hub's own environment reads it too."""

import re
import tomllib
from dataclasses import dataclass, fields
from pathlib import Path

FILE = "hub.toml"

NAME = re.compile(r"(?=.{1,30}$)[a-z0-9]+(-[a-z0-9]+)*(?<!-[0-9])")
"""A learner's name: it becomes a folder's name and ends the names of images and namespaces (course_lib/ops/names.py)."""

SAMPLE = """\
instructors = ["eva"]           # they log in first, and may stop servers and remove learners
learners = ["ana", "ben"]       # lower-case letters, digits, single hyphens

address = "127.0.0.1"           # who may connect: this machine, where a proxy with TLS stands in front
port = 8000
memory_mib = 2048               # data that one process may hold, a kernel for instance
threads = 2                     # of each numerical library in a kernel
idle_minutes = 60               # a server that nobody used for so long is stopped; its folder stays
# servers = 20                  # at once; left out: as many as this machine's memory holds
live = false                    # true: lessons use the engine and the cluster of the user who runs the hub
"""


class Wrong(Exception):
    """Something in the room's folder or on the machine keeps the hub from starting; one sentence that says what to do."""


@dataclass(frozen=True)
class Room:
    """What hub.toml says."""

    learners: tuple[str, ...]
    instructors: tuple[str, ...]
    address: str = "127.0.0.1"
    port: int = 8000
    memory_mib: int = 2048
    threads: int = 2
    idle_minutes: float = 60
    servers: int = 0
    live: bool = False


def read(folder: Path) -> Room:
    """The settings of the room in `folder`. Raises Wrong, naming the file, what was expected and what came."""
    path = folder / FILE
    try:
        given = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as wrong:
        raise Wrong(f"{path} cannot be read: {getattr(wrong, 'strerror', None) or wrong}") from None
    known = {each.name: each for each in fields(Room)}
    for name, value in given.items():
        if name not in known:
            raise Wrong(f"{path}: expected one of {', '.join(known)}, got {name}")
        if name in ("learners", "instructors"):
            given[name] = _names(path, name, value)
            continue
        kinds = (int, float) if name == "idle_minutes" else (type(known[name].default),)
        if type(value) not in kinds or not isinstance(value, (bool, str)) and value <= 0:
            raise Wrong(f"{path}: {name} is {_expected(kinds[0])}, got {value!r}")
    for name in ("learners", "instructors"):
        if not given.get(name):
            raise Wrong(f"{path}: expected at least one name under {name}, got none")
    if both := sorted(set(given["learners"]) & set(given["instructors"])):
        raise Wrong(f"{path}: {', '.join(both)} stands under learners and under instructors")
    return Room(**given)


def _names(path: Path, kind: str, value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise Wrong(f'{path}: {kind} is a list of names, ["ana", "ben"], got {value!r}')
    for name in value:
        if not isinstance(name, str) or not NAME.fullmatch(name):
            raise Wrong(
                f"{path}: a name has at most 30 lower-case letters, digits and single hyphens between them, and no hyphen "
                f"and single digit at its end, got {name!r}"
            )
    if len(set(value)) < len(value):
        raise Wrong(f"{path}: a name stands twice under {kind}")
    return tuple(value)


def _expected(kind: type) -> str:
    return {bool: "true or false", str: "a text"}.get(kind, "a number above 0")
