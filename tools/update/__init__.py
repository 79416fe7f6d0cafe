"""`./course update`: moves a checkout to the newest version and loses nothing that the learner wrote. Standard library only.

Only files that differ between the two versions are touched. Of those, each that is not as it was cloned is copied into
kept/ first. Then the new files are laid out, and HEAD moves last: an update that is cut off at any point, by a power cut
too, is gone through again by the next one. What cannot be done is undone.
"""

import contextlib
import os
import shutil
import signal
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from tools.update import git, notebooks
from tools.update.git import ROOT, Refused
from tools.update.move import JOURNAL, STAGED, Plan, free_name, journal, move

__all__ = ["Refused", "update"]

SPARE_BYTES = 50_000_000
"""Free disk that must stay beside what the update writes."""

NEWS = 12
"""So many lines of CHANGELOG.md are printed."""


def update() -> int:
    """Do it, and say what came. Returns 0. Raises Refused, with everything as it was."""
    try:
        head = git.examine()
        print("Asking for the new version ...", flush=True)
        new, name = git.fetch()
        plan = None if git.contains(head, new) else _plan(head, new, name)
    except OSError as wrong:
        raise Refused(f"{wrong}\nNothing was changed.") from None
    if plan is None:
        print(f"Nothing new at {name}: this checkout has all of it.")
        _tell_copies(journal(), {})
        JOURNAL.unlink(missing_ok=True)
        return 0
    with _undisturbed():
        fates = move(plan)
    print(f"Updated from {head[:9]} to {new[:9]} ({name}); files that changed: {len(plan.changed)}.")
    _tell_news(plan)
    _tell_copies(plan.copies, fates)
    JOURNAL.unlink()
    if plan.target != new:
        count = git.text("rev-list", "--count", "--no-merges", head, f"^{new}")
        print(f"\nCommits here that the new version does not have: {count}. They stay; a merge commit joins the two.")
    if plan.changed.keys() & {"pyproject.toml", "constraints.txt"}:
        print("\nThe new version pins other packages: the next command that needs them installs them.")
    print("\nIf notebooks are open in JupyterLab: File > Reload Notebook from Disk.")
    return 0


def _plan(head: str, new: str, name: str) -> Plan:
    """What has to be done. Changes nothing in the checkout. Raises Refused."""
    target, start, both = git.join(head, new, name)
    changed = git.changes(head, target)
    _refuse_what_is_in_the_way(set(changed), {path for path, (_, after) in changed.items() if not after.there})
    first = {path: before for path, (before, _) in git.changes(start, head).items()}
    starts = {path: git.content(first.get(path, before)) for path, (before, _) in changed.items()}
    plan = Plan(head, target, changed, plain=set(), absent=set(), stays=set(), copies=journal(), starts=starts)
    displaced = {path: "" for path in changed if (ROOT / path).is_symlink()}
    plan.absent.update(path for path in changed if not os.path.lexists(ROOT / path))
    files = [path for path in changed if path not in displaced and (ROOT / path).is_file()]
    for path, sha in git.hashed(files).items():
        before, after = changed[path]
        if sha == before.sha:
            plan.plain.add(path)
        if sha == after.sha or (sha == before.sha and path not in both):
            continue
        ran_anew = notebooks.same(path, starts[path], git.content(after))
        if ran_anew and not notebooks.same(path, starts[path], (ROOT / path).read_bytes()):
            plan.stays.add(path)
        else:
            displaced[path] = sha
    kept = next((Path(*Path(copy).parts[:2]) for copy in plan.copies), Path(f"kept/{datetime.now():%Y-%m-%d_%H%M%S}"))
    for path in displaced:
        plan.copies[free_name(path, kept.as_posix(), plan.copies)] = path
    for path, blob in git.staged().items():
        if path in changed and blob.sha not in {each.sha for each in changed[path]} | {displaced.get(path)}:
            plan.copies[free_name(path + STAGED, kept.as_posix(), plan.copies)] = path
    plan.plain -= displaced.keys()
    _refuse_too_little_disk(plan, displaced)
    return plan


def _refuse_what_is_in_the_way(changed: set[str], gone: set[str]) -> None:
    """Raises Refused where a folder stands in a file's place, or a file or a link in a folder's."""
    for path in sorted(changed):
        file, wrong = ROOT / path, ""
        if file.is_dir() and not file.is_symlink() and path not in gone:
            inside = {each.relative_to(ROOT).as_posix() for each in file.rglob("*") if not each.is_dir()}
            wrong = "" if inside <= gone else f"{path} is a folder"
        for parent in list(Path(path).parents)[:-1]:
            above = ROOT / parent
            if above.is_symlink() or (above.is_file() and parent.as_posix() not in gone):
                wrong = f"{parent.as_posix()} is no folder"
        if wrong:
            raise Refused(f"{wrong} here, and not in the new version. Move it elsewhere, then update.")


def _refuse_too_little_disk(plan: Plan, displaced: dict[str, str]) -> None:
    asked = "".join(after.sha + "\n" for _, after in plan.changed.values() if after.there).encode()
    needed = sum(map(int, git.git("cat-file", "--batch-check=%(objectsize)", stdin=asked).split())) + SPARE_BYTES
    needed += sum(os.lstat(ROOT / path).st_size for path in displaced)
    free = shutil.disk_usage(ROOT).free
    if free < needed:
        raise Refused(f"the update wants {needed / 1e6:.0f} MB of free disk; {ROOT} has {free / 1e6:.0f} MB.")


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Within it Ctrl-C waits: it takes a second, and half of it is no state to stop in."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _tell_news(plan: Plan) -> None:
    told = git.git("diff", "-U0", "--no-color", "--no-ext-diff", plan.head, plan.target, "--", "CHANGELOG.md").decode()
    lines = [line[1:] for line in told.splitlines() if line.startswith("+") and not line.startswith("+++") and line[1:]]
    if lines:
        more = ["..."] if len(lines) > NEWS else []
        print("\nWhat is new (CHANGELOG.md):", *(f"  {line}" for line in lines[:NEWS] + more), sep="\n")


def _tell_copies(copies: dict[str, str], fates: dict[str, str]) -> None:
    if not copies:
        return
    folder = Path(next(iter(copies)))
    folder = Path(*folder.parts[:2]).as_posix()
    told = {Path(copy).relative_to(folder).as_posix(): fates.get(copy, "see the copy") for copy in copies}
    ran = [copy for copy, fate in told.items() if not fate]
    print(f"\nFiles that you and the new version changed: your copies, as you left them, lie in {folder}")
    width = max(map(len, told))
    for copy, fate in told.items():
        if fate:
            print(f"  {copy:<{width}}  {fate}")
    if ran:
        print(f"  and notebooks that you ran without changing their text: {len(ran)}")
