"""Writes sbom.json, a list of the packages that the image will hold."""

import json
import re
from pathlib import Path

lines = [line.strip() for line in Path("requirements.txt").read_text().splitlines()]
parts = []
for line in lines:
    if line and not line.startswith(("#", "--hash")):
        pin = re.match(r"([\w.-]+)==([\w.]+)(?=[\s;]|$)", line)
        if not pin:  # a package that is not in the list would not be scanned
            raise SystemExit(f"expected NAME==VERSION in requirements.txt, got {line[:60]}")
        parts.append({"type": "library", "name": pin[1], "version": pin[2]})
if not parts:
    raise SystemExit("requirements.txt names no package")
bom = {"bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1, "components": parts}
Path("sbom.json").write_text(json.dumps(bom))
print(len(parts), "packages")
