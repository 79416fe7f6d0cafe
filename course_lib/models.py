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
    sums = _listed()
    key = f"{name}/{version}/{file_name}"
    if key not in sums:
        raise FileNotFoundError(f"expected one of {', '.join(sorted(sums))}, got {key}")
    if _checksum(MODELS / key) != sums[key]:
        raise ValueError(_changed(key))
    return MODELS / key


def problems() -> list[str]:
    """What keeps the files in `models/` from being those that `models/SHA256SUMS` lists, a sentence each."""
    sums, there = _listed(), {file.relative_to(MODELS).as_posix() for file in _files()}
    wrong = [_changed(key) for key in sorted(sums) if key not in there or _checksum(MODELS / key) != sums[key]]
    return wrong + [f"models/{key} is not in models/SHA256SUMS: remove it" for key in sorted(there - set(sums))]


def keep(file: Path, name: str, version: int, file_name: str = "model.onnx") -> None:
    """Keeps a lesson's model for the lessons after it: in the build, and only there, it replaces the one in `models/`.

    file_name: what it is called there, beside the other files of that version, which stay. Its line in
    `models/SHA256SUMS` is renewed; the others stay, lest a file that changed by mistake get a sum of its own.
    """
    if os.environ.get("COURSE_RECORD") == "1":
        target = MODELS / name / str(version) / file_name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, target)
        sums = _listed() | {f"{name}/{version}/{file_name}": _checksum(target)}
        lines = [f"{sums[key]}  {key}\n" for key in sorted(sums) if (MODELS / key).exists()]
        (MODELS / "SHA256SUMS").write_text("".join(lines), encoding="utf-8", newline="\n")


def _listed() -> dict[str, str]:
    """The checksum of each NAME/VERSION/FILE, as `models/SHA256SUMS` (the form of `sha256sum --check`) has it."""
    file = MODELS / "SHA256SUMS"
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    return dict(reversed(line.split()) for line in lines)


def _files() -> list[Path]:
    return [file for file in MODELS.glob("*/*/*") if file.is_file() and not file.name.startswith(".")]


def _checksum(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _changed(key: str) -> str:
    """git may hold a file whose line ends it converted for unchanged; one that is gone it always restores."""
    return (
        f"models/{key} is not the file that models/SHA256SUMS lists: delete it if it is there, "
        "then `git checkout models` restores it"
    )
