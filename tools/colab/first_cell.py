"""What a notebook's first cell runs on Google Colab, once the course is cloned.

It installs what Colab lacks (missing.txt, written by the build) and changes no package that Colab has. After that,
this kernel and the processes that it starts find the course.
"""

import importlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from importlib.metadata import distributions
from pathlib import Path

COURSE = Path(__file__).resolve().parents[2]


def fixed(installed: Mapping[str, str], pins: str, asked: str) -> list[str]:
    """What pip must not change, as lines for `pip install --constraint`: every installed package keeps its version.

    installed: versions by package. pins: the text of constraints.txt; it holds for packages that are neither installed
    nor in `asked`, the text of missing.txt, which has its own versions.
    """
    taken = {_normal(name) for name in installed} | {_normal(line.partition("==")[0]) for line in asked.splitlines()}
    others = [line for line in pins.splitlines() if "==" in line and _normal(line.partition("==")[0]) not in taken]
    return [f"{name}=={version}" for name, version in installed.items()] + others


def install(missing: Path = COURSE / "tools/colab/missing.txt", pins: Path = COURSE / "constraints.txt") -> None:
    """Installs what `missing` lists. Raises RuntimeError, which says what to do, where pip cannot."""
    installed = {each.name: each.version for each in distributions() if each.name and each.version}
    lines = fixed(installed, pins.read_text(encoding="utf-8"), missing.read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as folder:
        constraints = Path(folder, "constraints.txt")
        constraints.write_text("\n".join(lines), encoding="utf-8")
        options = ["--quiet", "--no-input", "--disable-pip-version-check", "-c", str(constraints), "-r", str(missing)]
        done = subprocess.run([sys.executable, "-m", "pip", "install", *options], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(
            f"pip could not install what the course needs here:\n{done.stderr.strip()[-1000:]}\n"
            "Choose Runtime > Disconnect and delete runtime, and run this cell again. If it fails once more, Colab has "
            "changed since the course was tested there: the README says how to open the course elsewhere."
        )
    importlib.invalidate_caches()


def start() -> None:
    """Installs what is missing and goes to the lessons' folder, where the course is found."""
    print("Installing what Colab lacks for the course; this takes about a minute.")
    install()
    if str(COURSE) not in sys.path:
        sys.path.insert(0, str(COURSE))
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(COURSE), os.environ.get("PYTHONPATH")]))
    os.chdir(COURSE / "notebooks")
    sys.modules["google.colab"].output.enable_custom_widget_manager()


def _normal(name: str) -> str:
    return name.strip().lower().replace("_", "-").replace(".", "-")


if __name__ == "__main__":
    start()
