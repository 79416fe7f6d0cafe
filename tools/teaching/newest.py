"""python tools/teaching/newest.py: the packages that pyproject.toml names, without versions, for pip's -r.

A weekly workflow installs the newest of each with it, to hear early what a new version breaks.
"""

import re
import tomllib
from pathlib import Path


def requirements(pyproject: str) -> list[str]:
    """Each package that pyproject.toml's text names, with its extras and its marker, and without a version."""
    held = tomllib.loads(pyproject)
    named = [*held["build-system"]["requires"], *held["project"]["dependencies"]]
    named += [each for extra in held["project"]["optional-dependencies"].values() for each in extra]
    pieces = [each.partition(";") for each in named]
    return [re.split(r"[=<>!~]", name, maxsplit=1)[0].strip() + mark + marker for name, mark, marker in pieces]


if __name__ == "__main__":
    print("\n".join(requirements((Path(__file__).resolve().parents[2] / "pyproject.toml").read_text(encoding="utf-8"))))
