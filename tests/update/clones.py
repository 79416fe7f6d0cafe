"""A tiny course with its upstream repository and a learner's clone, for the tests of `./course update`."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from course_lib.places import CHECKOUT

LESSON, EXERCISE, MANIFEST = "notebooks/02_loss.ipynb", "exercises/02_loss.ipynb", "k8s/deployment.yaml"


def notebook(*sources: str, output: str = "", ids: tuple[str, ...] = ()) -> bytes:
    """A notebook as JupyterLab saves it; a cell's id comes from its text, as in the build, unless `ids` has one."""
    cells = []
    for at, source in enumerate(sources):
        name = ids[at] if at < len(ids) else hashlib.sha256(source.encode()).hexdigest()[:10]
        outputs = [{"name": "stdout", "output_type": "stream", "text": [output]}] if output else []
        cells.append({"cell_type": "code", "execution_count": len(output) or None, "id": name, "metadata": {},
                      "outputs": outputs, "source": source.splitlines(keepends=True)})  # fmt: skip
    whole = {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    return (json.dumps(whole, indent=1) + "\n").encode()


def name_of(source: str) -> str:
    return hashlib.sha256(source.encode()).hexdigest()[:10]


def texts(raw: bytes) -> list[str]:
    return ["".join(cell["source"]) for cell in json.loads(raw)["cells"]]


STUB, OTHER_STUB = "def loss(): raise NotImplementedError", "def slope(): raise NotImplementedError"
ANSWER = "def loss():\n    return 'é'"
FIRST = {
    LESSON: notebook("a = 1", "b = 2"),
    EXERCISE: notebook(STUB, OTHER_STUB),
    MANIFEST: b"replicas: 2\n",
    "gone.txt": b"will go\n",
    "CHANGELOG.md": b"# Changelog\n",
    "constraints.txt": b"one==1\n",
    ".gitattributes": b"* text=auto eol=lf\n",
    ".gitignore": b"/.course/\n/kept/\n__pycache__/\n*.secret\n",
}


class Course:
    """An upstream repository, and a learner's clone of it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.upstream, self.mine = folder, folder / "up stream", folder / "my course"

    def publish(self) -> None:
        """Makes both."""
        self.upstream.mkdir()
        for part in ("course", "tools/__init__.py", "tools/caller.py"):
            (self.upstream / part).parent.mkdir(exist_ok=True)
            shutil.copy(CHECKOUT / part, self.upstream / part)
        shutil.copytree(CHECKOUT / "tools/update", self.upstream / "tools/update",
                        ignore=shutil.ignore_patterns("__pycache__"))  # fmt: skip
        self.git("init", "-q", "-b", "main", where=self.upstream)
        self.release(FIRST)
        self.clone()

    def git(self, *words: str, where: Path | None = None) -> str:
        own = ("-c", "user.name=t", "-c", "user.email=t@t", "-c", "init.defaultBranch=main")
        done = subprocess.run(["git", *own, *words], cwd=where or self.mine, check=True, capture_output=True)
        return done.stdout.decode().strip()

    def clone(self, *options: str) -> None:
        shutil.rmtree(self.mine, ignore_errors=True)
        self.git("clone", "-q", *options, self.upstream.as_uri(), str(self.mine), where=self.folder)

    def release(self, files: dict[str, bytes | None], *options: str) -> str:
        """A commit upstream that has these files so; None removes one."""
        for path, raw in files.items():
            file = self.upstream / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.unlink() if raw is None else file.write_bytes(raw)
        self.git("add", "-A", "-f", where=self.upstream)
        self.git("commit", "-qm", "release", *options, where=self.upstream)
        return self.git("rev-parse", "HEAD", where=self.upstream)

    def write(self, path: str, raw: bytes) -> None:
        file = self.mine / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(raw)

    def read(self, path: str) -> bytes:
        return (self.mine / path).read_bytes()

    def files(self) -> dict[str, bytes]:
        """Every file of the learner's folder but git's, caches and what the update keeps for itself."""
        skipped = (".git", "__pycache__", ".course")
        found = {}
        for each in sorted(self.mine.rglob("*")):
            below = each.relative_to(self.mine)
            if not set(below.parts) & set(skipped) and (each.is_symlink() or each.is_file()):
                found[below.as_posix()] = os.readlink(each).encode() if each.is_symlink() else each.read_bytes()
        return found

    def state(self) -> tuple[dict[str, bytes], str, str]:
        """All that an update that is refused must leave alone."""
        return self.files(), self.git("rev-parse", "HEAD"), self.git("status", "--porcelain=v2")

    def within_reach(self) -> set[str]:
        """The content, as git names it, of every file in the folder, of every commit of a ref or HEAD, and of the index."""
        shas = {line.split()[0] for line in self.git("rev-list", "--objects", "--all", "HEAD").splitlines()}
        shas |= {line.split()[1] for line in self.git("ls-files", "-s").splitlines()}
        return shas | {hashlib.sha1(b"blob %d\0" % len(raw) + raw).hexdigest() for raw in self.files().values()}

    def update(self, code: int = 0, **environment: str) -> str:
        """Runs it. Whatever comes of it: nothing that was there before is out of reach afterwards."""
        before = self.within_reach()
        said = subprocess.run([sys.executable, str(self.mine / "course"), "update"], cwd="/", check=False,
                              env={**os.environ, **environment}, capture_output=True, encoding="utf-8")  # fmt: skip
        assert before <= self.within_reach(), "something of the learner's is lost"
        assert said.returncode == code, said.stdout + said.stderr
        assert "Traceback" not in said.stderr
        return said.stdout + said.stderr

    def refused(self, **environment: str) -> str:
        before = self.state()
        said = self.update(code=1, **environment)
        assert self.state() == before
        assert not (self.mine / ".course/update.json").exists()
        return said

    def at(self, commit: str) -> bool:
        return self.git("rev-parse", "HEAD") == commit

    def kept(self, path: str) -> bytes:
        (copy,) = self.mine.glob(f"kept/*/{path}")
        return copy.read_bytes()

    def git_that(self, does: str) -> dict[str, str]:
        """PATH with a git that first does this (a shell script; "$REAL" "$@" would run the true one)."""
        bin_folder = self.folder / "bin"
        bin_folder.mkdir(exist_ok=True)
        (bin_folder / "git").write_text(f'#!/bin/sh\nREAL={shutil.which("git")}\n{does}\nexec "$REAL" "$@"\n')
        (bin_folder / "git").chmod(0o755)
        return {"PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}"}
