"""Projects: made new from a case, assembled with the reference's files, signed, and told apart by their content."""

import hashlib
import os
import re
import shutil
import tomllib
from dataclasses import dataclass
from pathlib import Path

from course_lib import places
from course_lib.capstone.running import files_of

SOURCE = places.CHECKOUT / "capstone"
PROJECTS = SOURCE / "projects"
SERVER = ("__init__.py", "pipeline.py", "serving")
"""What of course_lib a project carries with it, so that it runs and builds without the course."""
NAME = re.compile(r"[a-z][a-z0-9-]{0,38}[a-z0-9]")


class Refused(Exception):
    """What was asked cannot be done: what was expected, what came, and what to do."""


def cases() -> list[str]:
    """The cases that a project can start from."""
    return sorted(each.name for each in (SOURCE / "cases").iterdir() if each.is_dir())


def new(name: str, case: str, parent: Path | None = None) -> Path:
    """Makes PARENT/NAME from a case; returns it. parent: capstone/projects where None. Nothing is overwritten.

    Raises Refused for a name that is none, a case that there is not, and a folder that is there already.
    """
    if not NAME.fullmatch(name):
        raise Refused(
            f"expected a name of 2 to 40 small letters, digits and hyphens that begins with a letter, got {name!r}"
        )
    if case not in cases():
        raise Refused(f"expected one of the cases {', '.join(cases())}, got {case!r}: choose one with --case")
    folder = (parent or PROJECTS) / name
    if os.path.lexists(folder):
        raise Refused(
            f"{folder} is there already, and nothing is overwritten: choose another name, or remove it yourself"
        )
    return assemble(folder, SOURCE / "base", SOURCE / "cases" / case)


def assemble(folder: Path, *layers: Path) -> Path:
    """Lays folders over each other, the last wins, and what the server needs beside them."""
    for layer in layers:
        shutil.copytree(layer, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copyfile(places.CHECKOUT / "docker/service-requirements.txt", folder / "requirements.txt")
    for part in SERVER:
        source, target = places.CHECKOUT / "course_lib" / part, folder / "server/course_lib" / part
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "*.md"))
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
    return folder


def reference(folder: Path, *more: Path) -> Path:
    """The reference solution, assembled in `folder`, with further layers over it."""
    return assemble(folder, SOURCE / "base", SOURCE / "cases/digits", SOURCE / "reference", *more)


def find(name: str) -> Path:
    """The folder of a project: a name in capstone/projects, or a path. Raises Refused where there is none."""
    for folder in (PROJECTS / name, Path(name)):
        if (folder / "project.toml").is_file():
            return folder.resolve()
    made = ", ".join(sorted(each.name for each in PROJECTS.glob("*") if each.is_dir())) or "none yet"
    raise Refused(
        f"expected a project, a folder with project.toml, found none at {PROJECTS / name}; there are: {made}. "
        f"`./course capstone new {name if NAME.fullmatch(name) else 'NAME'} --case digits` makes one"
    )


@dataclass(frozen=True)
class Settings:
    """What project.toml says."""

    case: str
    model: str


def settings(folder: Path) -> Settings:
    """Reads project.toml. Raises Refused for one that says too little."""
    path = folder / "project.toml"
    try:
        told = tomllib.loads(path.read_text(encoding="utf-8"))
        found = Settings(str(told["case"]), str(told["model"]))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, KeyError) as wrong:
        raise Refused(
            f'{path}: expected the lines case = "…" and model = "…"; {type(wrong).__name__}: {wrong}'
        ) from None
    if found.case not in cases() or not re.fullmatch(r"[A-Za-z0-9_-]{1,60}", found.model):
        raise Refused(
            f"{path}: expected a case of {', '.join(cases())} and a model's name, got {found.case!r}, {found.model!r}"
        )
    return found


def digest(folder: Path) -> str:
    """SHA-256 over the names and the contents of the project's files."""
    whole = hashlib.sha256()
    for path in files_of(folder):
        name = path.relative_to(folder).as_posix()
        whole.update(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {name}\n".encode())
    return whole.hexdigest()


def list_sums(models: Path) -> str:
    """Writes SHA256SUMS over NAME/VERSION/FILE in this folder, as `sha256sum */*/*` does; returns its text."""
    listed = sorted(path for path in models.glob("*/*/*") if path.is_file())
    sums = [(hashlib.sha256(each.read_bytes()).hexdigest(), each.relative_to(models).as_posix()) for each in listed]
    text = "".join(f"{each}  {name}\n" for each, name in sums)
    (models / "SHA256SUMS").write_bytes(text.encode())
    return text


def sign(folder: Path, key_file: Path) -> str:
    """Writes models/SHA256SUMS, its signature and trust.pem; returns what was signed. key_file: made where it is missing.

    Raises Refused for a key inside the project, which would then be published with it.
    """
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    if key_file.resolve().is_relative_to(folder.resolve()):
        raise Refused(
            f"{key_file} lies in the project: whoever gets the project could sign in your name; keep it outside"
        )
    raw, no, pem = serialization.PrivateFormat.PKCS8, serialization.NoEncryption(), serialization.Encoding.PEM
    if key_file.is_file():
        key = serialization.load_pem_private_key(key_file.read_bytes(), None)
    else:
        key = Ed25519PrivateKey.generate()
        key_file.parent.mkdir(parents=True, exist_ok=True)
        key_file.touch(0o600)
        key_file.write_bytes(key.private_bytes(pem, raw, no))
    models = folder / "models"
    text = list_sums(models)
    (models / "SHA256SUMS.sig").write_bytes(key.sign(text.encode()))
    public = key.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo)
    (folder / "trust.pem").write_bytes(public)
    return text
