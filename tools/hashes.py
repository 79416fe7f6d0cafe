"""The requirements of the images: versions from constraints.txt, and the hashes of the wheels that an image may install.

    python -m tools.hashes        # writes docker/*-requirements.txt anew, and that of teaching/hub; the packages' names stay

pip then refuses every other file, whoever serves it (`--require-hashes`). `uv pip compile --generate-hashes` would name the
files of every system and every Python as well, a thousand lines for the gateway; an image is Linux and one Python.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

from packaging.utils import canonicalize_name

from course_lib.places import CHECKOUT

PYTHON = "3.13"
"""The Python of the images' base."""

PROCESSORS = ("x86_64", "aarch64")
GLIBC = ("manylinux_2_28", "manylinux_2_17", "manylinux2014")


def wheels(pins: list[str], processor: str) -> dict[str, str]:
    """SHA-256 of the wheel for each pin, "numpy==2.4.6", by pin. Raises CalledProcessError where one has no wheel."""
    platforms = [word for libc in GLIBC for word in ("--platform", f"{libc}_{processor}")]
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed", "--no-deps",
               "--disable-pip-version-check", "--only-binary=:all:", "--target", "nowhere", *platforms,
               "--python-version", PYTHON, "--report", "-", *pins]  # fmt: skip
    told = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout)
    found = {canonicalize_name(each["metadata"]["name"]): each["download_info"]["archive_info"]["hashes"]["sha256"]
             for each in told["install"]}  # fmt: skip
    return {pin: found[canonicalize_name(pin.partition("==")[0])] for pin in pins}


def renewed(text: str, constraints: str) -> str:
    """A requirements file with the constraints' versions and today's hashes. Raises KeyError for an unknown package."""
    versions = dict(re.findall(r"^([\w.-]+)==(\S+)", constraints, re.MULTILINE))
    head = [line for line in text.splitlines() if line.startswith("#")]
    names = re.findall(r"^([\w.-]+)==", text, re.MULTILINE)
    pins = [f"{name}=={versions[name]}" for name in names]
    found = [wheels(pins, processor) for processor in PROCESSORS]
    lines = []
    for pin in pins:
        hashes = sorted({each[pin] for each in found})
        lines += [" \\\n    ".join([pin, *(f"--hash=sha256:{each}" for each in hashes)])]
    return "\n".join([*head, *lines, ""])


def main() -> int:
    pins = {path: "constraints.txt" for path in sorted(Path(CHECKOUT / "docker").glob("*-requirements.txt"))}
    pins[CHECKOUT / "teaching/hub/kubernetes/image-requirements.txt"] = "teaching/hub/jupyterhub.txt"
    for path, versions in pins.items():
        constraints = (CHECKOUT / versions).read_text(encoding="utf-8")
        path.write_text(renewed(path.read_text(encoding="utf-8"), constraints), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
