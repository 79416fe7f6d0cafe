"""The course's models in `models/`: NAME/VERSION/model.onnx, as the server reads them, and what else belongs to a
version beside it (weights.safetensors), each file with its checksum."""

import hashlib
import os
import shutil
from pathlib import Path

from course_lib.places import MODELS


def path(name: str, version: int, file_name: str = "model.onnx") -> Path:
    """A file of one of the course's models, its checksum verified.

    Raises FileNotFoundError for a file that the course does not have, ValueError for a file that is not the one that
    `models/SHA256SUMS` lists.
    """
    listed = dict(reversed(line.split()) for line in (MODELS / "SHA256SUMS").read_text(encoding="utf-8").splitlines())
    key = f"{name}/{version}/{file_name}"
    if key not in listed:
        raise FileNotFoundError(f"expected one of {', '.join(sorted(listed))}, got {key}")
    file = MODELS / key
    if hashlib.sha256(file.read_bytes()).hexdigest() != listed[key]:
        raise ValueError(
            f"models/{key} is not the file that models/SHA256SUMS lists: `git checkout models` restores it"
        )
    return file


def checksums() -> str:
    """What `models/SHA256SUMS` should hold, in the form that `sha256sum --check` reads."""
    files = sorted(file for file in MODELS.glob("*/*/*") if file.is_file() and not file.name.startswith("."))
    lines = [
        f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.relative_to(MODELS).as_posix()}" for file in files
    ]
    return "\n".join(lines) + "\n"


def keep(file: Path, name: str, version: int, file_name: str = "model.onnx") -> None:
    """Keeps a lesson's model for the lessons after it: in the build, and only there, it replaces the one in `models/`.

    file_name: what it is called there, beside the other files of that version, which stay.
    """
    if os.environ.get("COURSE_RECORD") == "1":
        target = MODELS / name / str(version)
        target.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, target / file_name)
        (MODELS / "SHA256SUMS").write_text(checksums(), encoding="utf-8")
