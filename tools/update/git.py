"""What `./course update` asks git, and has it do. Standard library only."""

import os
import subprocess
from pathlib import Path
from typing import NamedTuple

from tools.update import notebooks

ROOT = Path(__file__).resolve().parents[2]

UNFINISHED = {
    "MERGE_HEAD": "merge",
    "rebase-merge": "rebase",
    "rebase-apply": "rebase",
    "CHERRY_PICK_HEAD": "cherry-pick",
    "REVERT_HEAD": "revert",
}
"""What git leaves in its folder while one of these waits to be finished."""

NO_GIT = """this folder was not cloned with git (it may come from a ZIP), so it cannot be updated.
Get the new version beside it, with `git clone ADDRESS course-new` or as a ZIP; then copy what is yours into the new
folder: the notebooks that you edited, under names of their own, and the folder .course, which holds your progress."""


class Refused(OSError):
    """Why there is no update, and what to do. `./course` prints it."""


class Blob(NamedTuple):
    """A file's content in git; "0" * 40 or the like where there is none."""

    mode: str
    sha: str

    @property
    def there(self) -> bool:
        return self.sha.strip("0") != ""


def git(*words: str, stdin: bytes = b"", index: Path | None = None, shown: bool = False) -> bytes:
    """What git prints. index: used in the place of its own. shown: its progress and complaints go to the terminal.

    Raises Refused with git's complaint.
    """
    hidden = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_NAMESPACE", "GIT_PREFIX")
    env = {name: value for name, value in os.environ.items() if name not in hidden} | {"LC_ALL": "C"}
    if index:
        env["GIT_INDEX_FILE"] = str(index)
    # A server that says nothing for a minute counts as out of reach; over ssh, ssh itself decides.
    patience = ["-c", "http.lowSpeedLimit=1", "-c", "http.lowSpeedTime=60"]
    literal = ["--literal-pathspecs", "-c", "core.safecrlf=false"]
    try:
        done = subprocess.run(["git", *literal, *patience, *words], cwd=ROOT, input=stdin, env=env,
                              stdout=subprocess.PIPE, stderr=None if shown else subprocess.PIPE)  # fmt: skip
    except FileNotFoundError:
        raise Refused("git is not on PATH; the update needs it (git-scm.com/downloads).") from None
    if done.returncode:
        said = (done.stderr or b"").decode(errors="replace").strip()
        raise Refused(f"`git {words[0]}` failed{': ' + said if said else '; its message is above'}")
    return done.stdout


def text(*words: str) -> str:
    """What git prints, without the line's end; empty where it complains."""
    try:
        return git(*words).decode().strip()
    except Refused:
        return ""


def place(name: str) -> Path:
    """Where a file of this name lies in git's folder."""
    return ROOT / git("rev-parse", "--git-path", name).decode().strip()


def examine() -> str:
    """The commit that is checked out. Raises Refused where nothing can be updated, or not now."""
    git("--version")
    top = text("rev-parse", "--show-toplevel")
    if not top or not os.path.samefile(top, ROOT):
        complaint = "" if not (ROOT / ".git").exists() else git("rev-parse", "--show-toplevel").decode()
        raise Refused(complaint or NO_GIT)
    head = text("rev-parse", "-q", "--verify", "HEAD^{commit}")
    if not head:
        raise Refused("nothing is committed in this checkout, so there is no version to start from")
    for name, what in UNFINISHED.items():
        if place(name).exists():
            how = f"finish it, or go back with `git {what} --abort`; then update"
            raise Refused(f"a git {what} is unfinished here: {how}.")
    if git("ls-files", "-u"):
        raise Refused("files with conflicts wait to be resolved (`git status` lists them).")
    lock = place("index.lock")
    if lock.exists():
        raise Refused(f"another git works here, or was killed; if none runs, remove {lock}.")
    return head


def fetch() -> tuple[str, str]:
    """Fetches what the branch follows, else the remote's own branch; returns its commit and its name, "origin/main"."""
    branch, remotes = text("symbolic-ref", "-q", "--short", "HEAD"), text("remote").split()
    remote, followed = (text("config", f"branch.{branch}.{what}") if branch else "" for what in ("remote", "merge"))
    if not followed or remote not in remotes:
        if "origin" not in remotes and len(remotes) != 1:
            raise Refused(
                "this checkout does not say where new versions come from: `git remote add origin ADDRESS`, with the\n"
                "address that you cloned the course from."
            )
        remote, followed = "origin" if "origin" in remotes else remotes[0], ""
    try:
        if not followed:  # "ref: refs/heads/main\tHEAD"
            followed = git("ls-remote", "--symref", remote, "HEAD", shown=True).decode().partition("\t")[0][5:]
        name = f"{remote}/{followed.removeprefix('refs/heads/')}"
        git("fetch", "--no-tags", remote, f"+{followed}:refs/remotes/{name}", shown=True)
    except Refused:
        raise Refused(f"nothing could be fetched from {remote!r}; git says why above.") from None
    return text("rev-parse", f"refs/remotes/{name}^{{commit}}"), name


def contains(commit: str, other: str) -> bool:
    """Whether the history of `commit` holds `other`."""
    return not git("rev-list", "-1", other, f"^{commit}")


def join(head: str, new: str, name: str) -> tuple[str, str, set[str]]:
    """The commit to move to; the commit from which both sides started; the files that both sides' commits changed.

    A history that holds more than the new version's is joined with it by a merge commit, file by file: of a file that
    both changed the new version's is taken, unless it is a notebook that the new version only ran anew.
    """
    if contains(new, head):
        return new, head, set()
    start = text("merge-base", "--fork-point", f"refs/remotes/{name}", head) or text("merge-base", head, new)
    start = start or git("mktree").decode().strip()  # no common commit: an empty tree
    index = place("course-update-join")
    index.unlink(missing_ok=True)
    try:
        git("read-tree", "-i", "-m", "--aggressive", start, head, new, index=index)
        sides: dict[str, dict[str, Blob]] = {}
        for line in filter(None, git("ls-files", "-u", "-z", index=index).decode().split("\0")):
            facts, path = line.split("\t", 1)
            mode, sha, stage = facts.split()
            sides.setdefault(path, {})[stage] = Blob(mode, sha)
        gone, both, chosen = Blob("0", "0" * len(head)), set(), {}
        for path, side in sides.items():
            first, own, other = (side.get(stage, gone) for stage in "123")
            keeps = own.there and notebooks.same(path, content(first), content(other))
            chosen[path] = own if keeps else other
            both |= set() if keeps else {path}
        set_entries(chosen, index)
        tree = git("write-tree", index=index).decode().strip()
    finally:
        index.unlink(missing_ok=True)
    who = ("-c", "user.name=course update", "-c", "user.email=update@localhost")
    message = f"{name} joined by ./course update"
    merged = git(*who, "commit-tree", tree, "-p", head, "-p", new, "-m", message).decode().strip()
    return merged, start, both


def set_entries(blobs: dict[str, Blob], index: Path) -> None:
    """Writes these files into an index: first out, then in, so that a folder may follow a file of its name."""
    zero = "0" * 40
    lines = [f"0 {zero}\t{path}" for path in blobs]
    lines += [f"{blob.mode} {blob.sha}\t{path}" for path, blob in blobs.items() if blob.there]
    git("update-index", "-z", "--index-info", stdin="".join(line + "\0" for line in lines).encode(), index=index)


def changes(before: str, after: str) -> dict[str, tuple[Blob, Blob]]:
    """What each file that differs between two commits (or trees) is in the one and in the other."""
    fields = git("diff-tree", "-r", "-z", "--no-renames", before, after).decode().split("\0")
    found = {}
    for facts, path in zip(fields[::2], fields[1::2]):
        old_mode, new_mode, old, new, _ = facts.lstrip(":").split()
        found[path] = Blob(old_mode, old), Blob(new_mode, new)
    return found


def content(blob: Blob) -> bytes:
    """A file's bytes in git; none where it is not there."""
    return git("cat-file", "blob", blob.sha) if blob.there else b""


def hashed(paths: list[str]) -> dict[str, str]:
    """What git would call the content of each of these files, its line ends as they would be committed."""
    told = git("hash-object", "--stdin-paths", stdin="".join(path + "\n" for path in paths).encode()).decode().split()
    return dict(zip(paths, told, strict=True))


def staged() -> dict[str, Blob]:
    """What is in git's index."""
    found = {}
    for line in filter(None, git("ls-files", "-s", "-z").decode().split("\0")):
        facts, path = line.split("\t", 1)
        found[path] = Blob(*facts.split()[:2])
    return found


def write(paths: list[str], index: Path) -> None:
    """Puts files of an index into the checkout, over what is there."""
    git("checkout-index", "-f", "-u", "-z", "--stdin", stdin="".join(p + "\0" for p in paths).encode(), index=index)
