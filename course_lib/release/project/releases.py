"""The store's releases: where they lie, and which commit each comes from."""

import hashlib
import json
import os
import subprocess
from pathlib import Path

from cryptography.hazmat.primitives.serialization import load_pem_public_key

shelf = Path(os.environ["STORE"], "releases")


def folder(version):
    return shelf / str(version) / "scans" / str(version)


def version_of(commit):
    asked = subprocess.run(["git", "rev-parse", commit], capture_output=True, text=True)
    notes = [json.loads(note.read_text()) for note in shelf.glob("*/scans/*/release.json")]
    return next((n["version"] for n in notes if n["commit"] == asked.stdout.strip()), 0)


def verified(version):
    note, signature = ((folder(version) / f"release.{end}").read_bytes() for end in ("json", "sig"))
    load_pem_public_key(Path(os.environ["STORE"], "public.pem").read_bytes()).verify(signature, note)
    model = hashlib.sha256((folder(version) / "model.onnx").read_bytes()).hexdigest()
    if model != json.loads(note)["model"]:
        raise SystemExit("the model is not the one that was signed")
