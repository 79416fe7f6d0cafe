"""Made-up exports for tests."""

import json
import os
from pathlib import Path

import pytest

from course_lib.teaching.export import FORMAT


def made(**changed: object) -> dict:
    """A whole export; `changed` replaces fields, and takes one away where it is `...`."""
    held = {
        "format": FORMAT,
        "version": 1,
        "course": "0.1.0",
        "written": "2026-05-04T10:00:00+00:00",
        "learner": None,
        "name": "Ana",
        "exercises": {
            "01.1": {"solved": "2026-05-01", "tries": 1},
            "02.1": {"solved": "2026-05-02", "tries": 4},
            "02.2": {"solved": None, "tries": 7},
        },
        "guesses": [
            {"lesson": "01", "name": "lost", "kind": "number", "guess": 30, "measured": 40, "good": True},
            {"lesson": "01", "name": "which", "kind": "choice", "guess": "a", "measured": "b", "good": False},
        ],
        "drills": {"1": {"solved": "2026-05-03"}},
        **changed,
    }  # fmt: skip
    return {key: value for key, value in held.items() if value is not ...}


def put(folder: Path, file: str, **changed: object) -> Path:
    """Writes a made-up export into the folder."""
    path = folder / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(made(**changed)), encoding="utf-8")
    return path


def close(folder: Path) -> None:
    """Forbids to write in the folder; skips the test where its user may write everywhere, as root and on Windows."""
    folder.chmod(0o500)
    if os.name == "nt" or os.access(folder, os.W_OK):
        folder.chmod(0o700)
        pytest.skip("this user may write in every folder")
