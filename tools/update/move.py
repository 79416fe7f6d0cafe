"""Moving a checkout from one version to another, wholly or not at all. Standard library only."""

import contextlib
import json
import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tools.update import git, notebooks
from tools.update.git import ROOT, Blob, Refused

JOURNAL = ROOT / ".course" / "update.json"
"""There while an update is under way: the copies that it makes, each with the file that it is a copy of."""

STAGED = ".staged"
"""Ends the name of a copy of what was staged, where the file itself holds something else."""


@dataclass
class Plan:
    """What an update does. Paths are seen from the checkout.

    changed: each file that differs between the commits `head` and `target`, before and after. plain: those that are as
    `head` has them. absent: those that are not there. stays: those that the learner has edited and the new version only
    ran anew. copies: the copies to make, each with its file. starts: what each file was before the learner changed it.
    """

    head: str
    target: str
    changed: dict[str, tuple[Blob, Blob]]
    plain: set[str]
    absent: set[str]
    stays: set[str]
    copies: dict[str, str]
    starts: dict[str, bytes]


def move(plan: Plan) -> dict[str, str]:
    """Copies, lays out the new files, moves HEAD. Returns what became of each copy's file; empty where it was only run.

    Raises Refused where one of these fails, with everything as it was.
    """
    index, ours = git.place("index"), git.place("course-update-index")
    before = index.read_bytes()
    made: list[str] = []
    try:
        _keep(plan.copies, made)
        for left_by_a_killed_one in (ours, ours.with_name(ours.name + ".lock")):
            left_by_a_killed_one.unlink(missing_ok=True)
        ours.write_bytes(before)
        git.set_entries({path: new for path, (_, new) in plan.changed.items()}, ours)
        for path in [path for path, (_, new) in plan.changed.items() if not new.there]:
            _remove(path)
        git.write([path for path, (_, new) in plan.changed.items() if new.there and path not in plan.stays], ours)
        fates = {copy: _carry(copy, path, plan.starts.get(path, b"")) for copy, path in plan.copies.items()}
        os.replace(ours, index)  # the index first: HEAD alone says that the update is done
        git.git("update-ref", "-m", "course update", "HEAD", plan.target, plan.head)
    except OSError as wrong:
        try:
            _undo(plan, made, ours)
            if index.read_bytes() != before:
                _put(index, before)
            JOURNAL.unlink(missing_ok=True)
        except OSError as worse:
            raise Refused(
                f"the update stopped ({wrong}),\nand not everything could be put back ({worse}).\nWhat you wrote is in "
                "its place or in kept/. Mend the cause, and run `./course update` again."
            ) from None
        raise Refused(f"the update stopped, and everything is as it was. {wrong}") from None
    return fates


def _undo(plan: Plan, made: list[str], ours: Path) -> None:
    """Puts the files back. Those that made room return by renaming, which wants no disk."""
    for path in plan.plain | plan.absent:
        _remove(path)
    for copy in made:
        if _of_index(copy, plan.copies[copy]):
            _remove(copy)
        else:
            (ROOT / plan.copies[copy]).parent.mkdir(parents=True, exist_ok=True)
            os.replace(ROOT / copy, ROOT / plan.copies[copy])
            _remove(copy)  # the folders that it leaves
    for left in (ours, ours.with_name(ours.name + ".lock")):
        left.unlink(missing_ok=True)
    git.git("read-tree", plan.head, index=ours)
    git.write(sorted(plan.plain), ours)
    ours.unlink()


def journal() -> dict[str, str]:
    """The copies that an update which was cut off has made, each with its file."""
    try:
        told = json.loads(JOURNAL.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {copy: path for copy, path in told.items() if os.path.lexists(ROOT / copy)}


def free_name(path: str, folder: str, taken: Iterable[str]) -> str:
    """A name in that folder for a copy of this file, that nothing has yet."""
    plain, count = Path(folder, path), 1
    copy = plain
    while copy.as_posix() in taken or os.path.lexists(ROOT / copy):
        count += 1
        copy = plain.with_name(f"{plain.stem}.{count}{plain.suffix}")
    return copy.as_posix()


def _of_index(copy: str, path: str) -> bool:
    return copy.endswith(STAGED) and not path.endswith(STAGED)


def _keep(copies: dict[str, str], made: list[str]) -> None:
    """Makes the copies that are not there yet, and has them on the disk before anything else happens."""
    JOURNAL.parent.mkdir(exist_ok=True)
    _put(JOURNAL, json.dumps(copies).encode())
    for copy, path in copies.items():
        target = ROOT / copy
        if os.path.lexists(target):
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        if _of_index(copy, path):
            _put(target, git.content(git.staged()[path]))
        else:
            half = target.with_name(target.name + ".half")
            shutil.copy2(ROOT / path, half, follow_symlinks=False)
            os.replace(half, target)
        made.append(copy)
    if hasattr(os, "sync"):
        os.sync()


def _put(file: Path, raw: bytes) -> None:
    """Writes a file so that it is there whole or not at all."""
    half = file.with_name(file.name + ".half")
    half.write_bytes(raw)
    os.replace(half, file)


def _remove(path: str) -> None:
    """Removes a file if it is there, and the folders that it leaves empty."""
    file = ROOT / path
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        if os.name == "nt":
            os.chmod(file, 0o600)  # a file that may not be written cannot be removed there
        file.unlink()
    with contextlib.suppress(OSError):
        for parent in list(Path(path).parents)[:-1]:
            (ROOT / parent).rmdir()


def _carry(copy: str, path: str, start: bytes) -> str:
    """Takes the learner's cells over into the new version of a notebook; says what became of the file."""
    file = ROOT / path
    if not os.path.lexists(file):
        return "not in the new version"
    own = (ROOT / copy).read_bytes() if path.endswith(".ipynb") and not os.path.islink(ROOT / copy) else b""
    took = notebooks.carried(own, start, file.read_bytes())
    if took is None:
        return "the new version took its place"
    raw, count, left = took
    if count:
        _put(file, raw)
    here = f"{count} of your cells {'is' if count == 1 else 'are'} in the new version" if count else ""
    alone = f"{left} {'is' if left == 1 else 'are'} in the copy alone" if left else ""
    return "; ".join(filter(None, (here, alone if here else alone and f"of your cells {alone}")))
