"""The course's models in `models/`, each with its checksum: NAME/VERSION/model.onnx, as the server reads them, or model.keras."""

import hashlib
import os
import shutil
from pathlib import Path

from course_lib.places import MODELS


def path(name: str, version: int, suffix: str = ".onnx") -> Path:
    """The file of one of the course's models, its checksum verified.

    suffix: of the form that is wanted, ".onnx" or ".keras".
    Raises FileNotFoundError for a model that the course does not have, ValueError for a file that is not the one that
    `models/SHA256SUMS` lists.
    """
    listed = dict(reversed(line.split()) for line in (MODELS / "SHA256SUMS").read_text(encoding="utf-8").splitlines())
    key = f"{name}/{version}/model{suffix}"
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
    files = sorted(MODELS.glob("*/*/model.*"))
    lines = [
        f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.relative_to(MODELS).as_posix()}" for file in files
    ]
    return "\n".join(lines) + "\n"


def keep(file: Path, name: str, version: int) -> None:
    """Keeps a lesson's model for the lessons after it: in the build, and only there, it replaces the one in `models/`.

    file: the model; it is kept as `model` with the file's own suffix, model.onnx or model.keras.
    """
    if os.environ.get("COURSE_RECORD") == "1":
        target = MODELS / name / str(version)
        target.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, target / f"model{file.suffix}")
        (MODELS / "SHA256SUMS").write_text(checksums(), encoding="utf-8")
