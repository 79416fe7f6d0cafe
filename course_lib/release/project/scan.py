"""Compares sbom.json with the store's table of advisories."""

import json
import os
from pathlib import Path

from packaging.specifiers import SpecifierSet

holes = json.loads(Path(os.environ["STORE"], "advisories.json").read_text())
parts = json.loads(Path("sbom.json").read_text())["components"]
found = [
    f"{p['name']} {p['version']}: {cve}"
    for p in parts
    for name, bad, cve in holes
    if p["name"] == name and p["version"] in SpecifierSet(bad)
]
print("; ".join(found) or f"{len(parts)} packages, {len(holes)} advisories, no hit")
raise SystemExit(bool(found))
