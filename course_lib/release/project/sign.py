"""Gives a version that passed its gates a number, a signed note, and a place in the store."""

import hashlib
import json
import os
import shutil
import subprocess
import tomllib
from pathlib import Path

from cryptography.hazmat.primitives.serialization import load_pem_private_key
from releases import folder, shelf, version_of

gates = json.loads(Path("gates.json").read_text())
if gates["failed"]:
    raise SystemExit("a version that failed its gates is not signed")
numbers = [int(each.name) for each in shelf.glob("*")]
version = version_of("HEAD") or max(numbers, default=0) + 1
words = ["git", "rev-parse", "HEAD"]
note = {
    "version": version,
    "commit": subprocess.check_output(words, text=True).strip(),
    "data": tomllib.loads(Path("data.toml").read_text())["sha256"],
    "seed": tomllib.loads(Path("settings.toml").read_text())["seed"],
    "gates": gates["found"],
}
for name in ("model.onnx", "sbom.json"):
    note[name.split(".")[0]] = hashlib.sha256(Path(name).read_bytes()).hexdigest()
folder(version).mkdir(parents=True, exist_ok=True)
shutil.copy("model.onnx", folder(version))
key = load_pem_private_key(Path(os.environ["SIGNING_KEY"]).read_bytes(), None)
(folder(version) / "release.json").write_text(json.dumps(note))
(folder(version) / "release.sig").write_bytes(key.sign(json.dumps(note).encode()))
print(f"version {version}")
