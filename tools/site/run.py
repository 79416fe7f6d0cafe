"""The tools that the book needs and the course does not: Sphinx in an environment of its own, MathJax out of a wheel."""

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from tools import environments

PINS = Path(__file__).parents[2] / "site" / "sphinx.txt"


class Unreachable(Exception):
    """A file from a package index could not be had."""


@dataclass(frozen=True)
class FromWheel:
    """One file of a package that is not installed: package and version, its path in the wheel, its SHA-256."""

    pin: str
    member: str
    sha256: str

    def fetched(self, kept: Path, python: str = sys.executable) -> Path:
        """Where the file lies under `kept`; pip of `python` downloads it where it is not there. Raises Unreachable."""
        path = kept / Path(self.member).name
        if path.is_file() and _sha256(path.read_bytes()) == self.sha256:
            return path
        with tempfile.TemporaryDirectory() as folder:
            command = [
                python,
                "-m",
                "pip",
                "download",
                "--quiet",
                "--no-deps",
                "--only-binary",
                ":all:",
                "-d",
                folder,
                self.pin,
            ]
            if subprocess.call(command, env=_environment()):
                raise Unreachable(
                    f"pip could not download {self.pin}; its last lines are above. The same command tries again"
                )
            with zipfile.ZipFile(next(Path(folder).glob("*.whl"))) as wheel:
                data = wheel.read(self.member)
        if _sha256(data) != self.sha256:
            raise Unreachable(
                f"{self.pin}: {self.member} has SHA-256 {_sha256(data)}, expected {self.sha256}: it is not used"
            )
        kept.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path


MATHJAX = FromWheel(
    "django-static-mathjax==3.2.2.1",
    "mathjax/static/mathjax/es5/tex-svg.js",
    "2af9375000b5a3669be94d436ae1c61159855283cd18b3ee9817fb71c8f94c84",
)
"""MathJax 3.2.2 (Apache-2.0) in one file that draws formulas without fonts, so that it works from a folder."""


def sphinx(pages: Path, out: Path, doctrees: Path, python: str, repository: str) -> int:
    """Turns the pages into HTML; a warning is an error. Returns the exit code."""
    jobs = str(min(4, os.cpu_count() or 1))
    command = [python, "-m", "sphinx", "-q", "-W", "--keep-going", "-j", jobs, "-b", "html",
               "-c", str(PINS.parent), "-d", str(doctrees), str(pages), str(out)]  # fmt: skip
    return subprocess.call(command, env={**_environment(), "COURSE_REPOSITORY": repository})


def python() -> str:
    """The interpreter with Sphinx, made at the first call. Raises environments.NotInstalled."""
    return environments.python(PINS)


def _environment() -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONHOME")}
    return {**kept, "PIP_USER": "0", "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PYTHONUTF8": "1"}


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
