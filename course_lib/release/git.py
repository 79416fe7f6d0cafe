"""git for lessons 24 and 24b: a bare repository, as a server holds it, and a clone in which somebody works.

Nothing of the learner's own git is read or changed: no settings, no hooks, no names. All dates are fixed, so the same files
and messages make the same commits at every run.
"""

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

MISSING = (
    "expected the command git on PATH, and it is not there: install it (https://git-scm.com/downloads, or `sudo apt install "
    "git`, `brew install git`), start Jupyter anew, and run the lesson from its top"
)


class GitFailed(RuntimeError):
    """git ended with an error; the message holds what it said."""


def git(folder: Path, *words: str) -> str:
    """Runs `git WORDS` in a folder and returns what it printed, without the last line's end.

    Raises GitFailed with git's own words; FileNotFoundError where there is no git.
    """
    if not shutil.which("git"):
        raise FileNotFoundError(MISSING)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    plain = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
    for who in ("AUTHOR", "COMMITTER"):
        plain |= {f"GIT_{who}_NAME": "learner", f"GIT_{who}_EMAIL": "learner@example.org"}
        plain |= {f"GIT_{who}_DATE": "2026-01-01T00:00:00+0000"}
    done = subprocess.run(
        ["git", *words], cwd=folder, env=kept | plain, capture_output=True, text=True, encoding="utf-8"
    )
    if done.returncode:
        raise GitFailed(f"git {' '.join(words)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout.rstrip("\n")


class Repository:
    """`folder`/origin.git, a bare repository, and `folder`/work, a clone of it. Made where they are missing."""

    def __init__(self, folder: Path) -> None:
        self.origin, self.work = folder / "origin.git", folder / "work"
        if not self.work.exists():
            folder.mkdir(parents=True, exist_ok=True)
            git(folder, "init", "--quiet", "--bare", "--initial-branch=main", "origin.git")
            git(folder, "clone", "--quiet", str(self.origin), "work")

    def commit(self, branch: str, message: str, files: Mapping[str, str | None], base: str = "") -> str:
        """Writes files, commits them on a branch that starts at `base`, and pushes the branch; returns the commit's name.

        files: texts by their paths in the repository; None removes the file. base: a commit; "" for the first of all.
        The same call again makes the same commit.
        """
        if base:
            git(self.work, "checkout", "--quiet", "--force", "-B", branch, base)
        else:
            git(self.work, "checkout", "--quiet", "--orphan", "first")
            git(self.work, "rm", "-r", "--quiet", "--force", "--ignore-unmatch", ".")
        for name, text in files.items():
            path = self.work / name
            if text is None:
                path.unlink()
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8", newline="\n")
        git(self.work, "add", "--all")
        git(self.work, "commit", "--quiet", "--message", message)
        if not base:
            git(self.work, "branch", "--force", "--move", "first", branch)
        made = git(self.work, "rev-parse", "HEAD")
        git(self.work, "push", "--quiet", "--force", "origin", f"HEAD:refs/heads/{branch}")
        return made

    def push(self, commit: str, branch: str) -> None:
        """Moves a branch of the bare repository forward to a commit. Raises GitFailed where that would lose commits."""
        git(self.work, "push", "--quiet", "origin", f"{commit}:refs/heads/{branch}")

    def head(self, branch: str) -> str:
        """The commit to which a branch of the bare repository points."""
        return git(self.origin, "rev-parse", f"refs/heads/{branch}")

    def read(self, commit: str, path: str) -> str:
        """A file's text as that commit has it."""
        return git(self.origin, "show", f"{commit}:{path}")

    def check_out(self, commit: str, folder: Path) -> Path:
        """A clean copy of a commit in a new folder, a clone with all branches; returns the folder."""
        git(self.origin.parent, "clone", "--quiet", "--no-checkout", str(self.origin), str(folder))
        git(folder, "checkout", "--quiet", "--detach", commit)
        return folder
