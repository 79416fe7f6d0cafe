"""Writes lesson 25's page anew, before the lesson is built: `python -m tools.edge`, where its source or a model changed.

Only a new version of ONNX Runtime Web needs npm's archive:

    npm pack onnxruntime-web@1.30.0
    python -m tools.edge onnxruntime-web-1.30.0.tgz

The archive is held to INTEGRITY in `__init__.py`. For a new version, change VERSION, INTEGRITY (`npm view
onnxruntime-web@VERSION dist.integrity`) and the SHA-256 of the three files there; a wrong one is shown.
"""

import base64
import gzip
import hashlib
import sys
import tarfile
from pathlib import Path

from tools.edge import INTEGRITY, PAGE, RUNTIME, VERSION, assemble, page, parts, text


def main(archive: Path) -> None:
    """Writes the page with the runtime of this archive. Exits with a message where it is not the pinned one."""
    found = "sha512-" + base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
    if found != INTEGRITY:
        sys.exit(f"expected onnxruntime-web {VERSION} with {INTEGRITY}, found {found}")
    runtime = {}
    with tarfile.open(archive) as opened:
        for name, (file, sha256) in RUNTIME.items():
            blob = opened.extractfile(f"package/dist/{file}").read()
            if hashlib.sha256(blob).hexdigest() != sha256:
                sys.exit(f"expected SHA-256 {sha256} of {file}, found {hashlib.sha256(blob).hexdigest()}")
            runtime[name] = text(gzip.compress(blob, 9, mtime=0))
    old = parts(PAGE.read_text(encoding="utf-8")) if PAGE.exists() else {}
    write(assemble(runtime, old))


def write(text_of_page: str) -> None:
    PAGE.write_text(text_of_page, encoding="utf-8", newline="\n")
    print(f"{PAGE.name}: {PAGE.stat().st_size:,} bytes")


if __name__ == "__main__":
    if len(sys.argv) > 2 or "-h" in sys.argv or "--help" in sys.argv:
        sys.exit(__doc__)
    if len(sys.argv) == 2:
        main(Path(sys.argv[1]))
    else:
        write(page())
