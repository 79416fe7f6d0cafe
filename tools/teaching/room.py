"""`./course room FOLDER`: an edition for a workshop, without solutions.

It is made of what git has committed. So nothing gets along that was solved, run or kept in this checkout.
"""

import io
import json
import posixpath
import re
import shutil
import subprocess
import tarfile
from fnmatch import fnmatchcase
from pathlib import Path

from course_lib import syllabus
from course_lib.places import CHECKOUT
from course_lib.teaching.export import Refused

LEFT_OUT = {
    "solutions/*": "the solutions",
    "source/solutions/*": "the text from which they are built",
    "tests/*": "right and wrong answers, and the other tests",
    "capstone/reference/*": "the capstone's reference solution",
    "source/drills/*": "the drills' sources",
    "source/cards/*": "templates of model cards",
    "source/teaching/*": "the placement test's source",
    "teaching/*": "what instructors read",
    "tools/build/*": "what authors run: build",
    "tools/bench/*": "bench",
    "tools/test/*": "test",
    "tools/colab/[et]*.py": "test colab",
    "tools/teaching/placement.py": "build, for the placement test",
    "tools/teaching/plans.py": "build, for the plans",
    "tools/hub/*": "hub, for instructors",
    "site/*": "the site's settings",
    "CONTRIBUTING.md": "how to write lessons",
    ".ci/*": "automatic tests",
    ".github/*": "automatic tests",
}
"""What does not come along, in the patterns of fnmatch, where * spans folders; each with what it is."""

KEPT = ("teaching/placement.ipynb",)
"""What comes along though a pattern above fits."""

NOTE = "ROOM.md"
"""By this file `./course` recognises an edition."""


def make(folder: Path) -> str:
    """Makes the edition in a new or an empty folder; returns what to tell. Raises Refused, and then leaves nothing."""
    if (CHECKOUT / NOTE).exists():
        raise Refused(f"this is such an edition already ({NOTE}); it is made from the full course")
    folder = folder.resolve()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise Refused(f"expected a new or an empty folder, got {folder}, which holds something. Nothing was written")
    if folder.is_relative_to(CHECKOUT):
        raise Refused(f"expected a folder outside of {CHECKOUT}, got {folder}")
    commit, archive, changed = _git("rev-parse", "HEAD").decode().strip(), _git("archive", "HEAD"), _git("status", "-s")
    there = folder.exists()
    try:
        left = _unpack(archive, folder)
        _unlink(folder, left)
        note = _note(commit, left)
        (folder / NOTE).write_text(note, encoding="utf-8", newline="\n")
    except BaseException as wrong:
        shutil.rmtree(folder, ignore_errors=True)
        if there:
            folder.mkdir(exist_ok=True)
        if isinstance(wrong, OSError):
            raise Refused(f"{folder} cannot be written: {wrong.strerror or wrong}") from None
        raise
    said = [f"Made {folder}", "", note.partition("\n\n")[2].strip()]
    if changed:
        said += [
            "",
            f"{len(changed.splitlines())} files that are changed here and not committed are in it as committed.",
        ]
    return "\n".join(said)


def _unpack(archive: bytes, folder: Path) -> list[str]:
    """Writes the files that come along; returns the names of the others."""
    left = []
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        for member in tar:
            if member.isdir():  # one of which nothing comes along must not stay, empty
                continue
            if any(fnmatchcase(member.name, pattern) for pattern in LEFT_OUT) and member.name not in KEPT:
                left.append(member.name)
            else:
                tar.extract(member, folder, filter="data")
    return left


def _unlink(folder: Path, left: list[str]) -> None:
    """Puts its words in the place of each link to a file that did not come along, in pages and notebooks."""
    gone = {name for each in left for name in (each, *(above.as_posix() for above in Path(each).parents))}
    gone -= {path.relative_to(folder).as_posix() for path in folder.rglob("*")} | {"."}
    for path in [*folder.rglob("*.md"), *folder.rglob("*.ipynb")]:
        where = path.parent.relative_to(folder)

        def words(link: re.Match, where: Path = where) -> str:
            aim = posixpath.normpath((where / link[2].partition("#")[0]).as_posix())
            return link[1] if aim in gone else link[0]

        text = path.read_text(encoding="utf-8")
        changed = re.sub(r"\[([^\]\[]*)\]\(([^)\s:]+)\)", words, text)
        changed = re.sub(
            r"(?<=[\"\n])solutions (\w+), once you have tried", "The solutions are not in this edition.", changed
        )
        if changed != text:
            if path.suffix == ".ipynb":
                json.loads(changed)
            path.write_text(changed, encoding="utf-8", newline="\n")


def _note(commit: str, left: list[str]) -> str:
    rows = []
    for pattern, what in LEFT_OUT.items():
        own = [name for name in left if fnmatchcase(name, pattern)]
        if own:
            rows.append(f"| `{pattern.removesuffix('*')}` | {what} | {len(own)} |")
    return f"""# An edition for a workshop

Version {syllabus.load().version} of the course, commit {commit[:12]}, made by `./course room`. It was left out:

| where | what | files |
| --- | --- | --- |
{chr(10).join(rows)}

`./course lab`, `doctor`, `progress`, `capstone`, `class`, `slides`, `setup` and `clean` work here. `test`, `build`, `bench`,
`update`, `room`, `hub` and `site` need the full course. The checks are here, with their hints, and anyone who opens
`course_lib/checks/` can read them. A third hint is nearly the answer. Later lessons use functions that earlier exercises
ask for, and those stand in `course_lib/`. So do the drills' faults and post-mortems, in `course_lib/drills/`.
"""


def _git(*words: str) -> bytes:
    """What git prints about this checkout. Raises Refused where there is no git, or no clone."""
    try:
        done = subprocess.run(["git", *words], cwd=CHECKOUT, capture_output=True)
    except FileNotFoundError:
        raise Refused(
            "git is not on PATH; the edition is made of what git has committed (git-scm.com/downloads)"
        ) from None
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise Refused(f"the edition is made of what git has committed, and {CHECKOUT} is no clone: {' '.join(said)}")
    return done.stdout
