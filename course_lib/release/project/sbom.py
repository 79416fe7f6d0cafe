"""Writes sbom.json, a list of the packages that the image will hold."""

import json
import re
from pathlib import Path

pins = re.findall(r"^([\w.-]+)==([\w.]+)", Path("requirements.txt").read_text(), re.M)
parts = [{"type": "library", "name": name, "version": version} for name, version in pins]
bom = {"bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1, "components": parts}
Path("sbom.json").write_text(json.dumps(bom))
print(len(parts), "packages")
