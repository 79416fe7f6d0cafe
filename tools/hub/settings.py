"""A room's settings, hub.toml in its folder. Standard library only: the hub's own environment reads it too."""

import re
import tomllib
from dataclasses import MISSING, dataclass, fields
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

# [cluster]                     # learners' servers are pods: see kubernetes/ beside README.md
# image = "registry.example/course-hub:0.1.0"
# hub = "10.0.0.5"              # this machine's address, as pods reach it
"""


class Wrong(Exception):
    """Something in the room's folder or on the machine keeps the hub from starting; one sentence that says what to do."""


@dataclass(frozen=True)
class Cluster:
    """The table [cluster]: where learners' servers are pods. hub: the hub's address as pods reach it."""

    image: str
    hub: str
    namespace: str = "course-hub"
    guarantee_mib: int = 768
    cores: float = 1
    storage: str = "2Gi"
    storage_class: str = ""


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
    cluster: Cluster | None = None


def read(folder: Path) -> Room:
    """The settings of the room in `folder`. Raises Wrong, naming the file, what was expected and what came."""
    path = folder / FILE
    try:
        given = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as wrong:
        raise Wrong(f"{path} cannot be read: {getattr(wrong, 'strerror', None) or wrong}") from None
    cluster = given.pop("cluster", None)
    names = {kind: _names(path, kind, given.pop(kind, [])) for kind in ("learners", "instructors")}
    _check(path, given, Room)
    if both := sorted({*names["learners"]} & {*names["instructors"]}):
        raise Wrong(f"{path}: {', '.join(both)} stands under learners and under instructors")
    if cluster is not None:
        if not isinstance(cluster, dict) or not {"image", "hub"} <= cluster.keys():
            raise Wrong(f"{path}: [cluster] is a table with image and hub, got {cluster!r}")
        _check(path, cluster, Cluster)
        cluster = Cluster(**cluster)
    return Room(**names, **given, cluster=cluster)


def _check(path: Path, given: dict, kind: type) -> None:
    """Raises Wrong for a name that `kind` does not have, and for a value of another kind than its default."""
    known = {each.name: each for each in fields(kind)}
    for name, value in given.items():
        if name not in known:
            raise Wrong(f"{path}: expected one of {', '.join(known)}, got {name}")
        default = known[name].default
        kinds = (int, float) if name in ("idle_minutes", "cores") else (str if default is MISSING else type(default),)
        if type(value) not in kinds or (not isinstance(value, (bool, str)) and value <= 0):
            raise Wrong(f"{path}: {name} is {_expected(kinds[0])}, got {value!r}")


def _names(path: Path, kind: str, value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise Wrong(f'{path}: {kind} is a list of names, ["ana", "ben"], got {value!r}')
    if not value:
        raise Wrong(f"{path}: expected at least one name under {kind}, got none")
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
