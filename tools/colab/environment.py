"""An environment like Google Colab's, under .course/colab/, from the versions in runtime.txt."""

import hashlib
import importlib.machinery
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from course_lib.places import CHECKOUT, KEPT
from tools import environments
from tools.environments import NotInstalled

RUNTIME = Path(__file__).parent / "runtime.txt"

KERNEL = (
    "ipykernel",
    "ipython",
    "jupyter-client",
    "keras",
    "notebook",
    "pip",
    "requests",
    "scipy",
    "setuptools",
    "tqdm",
)
"""What Colab's kernel stands on and lessons use unnamed; what pyproject.toml names is installed too."""

BESIDE = (
    *("grpcio", "grpcio-status", "google-api-core", "googleapis-common-protos", "proto-plus", "google-cloud-core"),
    *("google-cloud-bigquery", "google-cloud-storage", "google-ai-generativelanguage", "google-genai", "google-adk"),
    *("opentelemetry-api", "tensorboard", "tensorflow-datasets", "tensorflow-metadata"),
    *("tensorflow-hub", "tensorflow-probability", "tf-keras", "tf-slim", "gradio", "gradio-client", "fastapi"),
    *("python-fasthtml", "wandb", "ydf", "orbax-checkpoint", "jax", "jaxlib", "numba", "opencv-python-headless"),
    *("pandas", "transformers", "accelerate", "timm", "websockets", "pydantic", "sentry-sdk", "firebase-admin"),
)
"""What else of Colab pins a package that the course also uses: `pip check` then tells whether the first cell hurt it."""

COLAB_MODULE = '''"""In the place of Google Colab's own module, which is not published."""
class output:
    def enable_custom_widget_manager():
        pass
'''


def _command() -> ModuleType:
    """The file `course` as a module, with its ways to call pip and to find a torch."""
    loader = importlib.machinery.SourceFileLoader("course_command", str(CHECKOUT / "course"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
    loader.exec_module(module)
    return module


course = _command()


def about() -> tuple[str, str]:
    """The Python version of Colab and the date of its list of packages, from the first line of runtime.txt."""
    first = RUNTIME.read_text(encoding="utf-8").partition("\n")[0]
    return re.search(r"Python (3\.\d+), as of (\d{4}-\d\d-\d\d)", first).groups()


def names() -> tuple[list[str], list[str]]:
    """What is installed with all that it needs, and what is installed beside it alone; by the names of runtime.txt."""
    there = {canonicalize_name(name): name for name in environments.pins(RUNTIME)}
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    needed = {canonicalize_name(Requirement(each).name) for each in project["dependencies"]} | set(KERNEL)
    return [there[name] for name in sorted(needed & set(there))], [there[name] for name in BESIDE]


def interpreter() -> str:
    """A Python of Colab's version. Raises NotInstalled where there is none."""
    version = about()[0]
    for program in (sys.executable, shutil.which(f"python{version}")):
        if program and course.version_of(program) == version:
            return program
    raise NotInstalled(f"Colab has Python {version}, and no python{version} is on PATH; install it and try again")


def python(folder: Path = KEPT / "colab") -> Path:
    """The interpreter of the environment: made where it is not there or runtime.txt has changed, else set back to it.

    Raises NotInstalled where there is no Python of that version, or pip fails.
    """
    program = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    course.VENV, course.PYTHON = folder, str(program)  # what pip, below, works on
    stamp, wanted = folder / "made.json", hashlib.sha256(f"{names()} {RUNTIME.read_bytes()!r}".encode()).hexdigest()
    if stamp.is_file() and (made := json.loads(stamp.read_text()))["wanted"] == wanted:
        now = installed(program)
        added = sorted(set(now) - set(made["packages"]))
        if added:
            subprocess.run([program, "-m", "pip", "uninstall", "-y", "-q", *added], check=True, env=clean_variables())
        if {name: version for name, version in now.items() if name not in added} == made["packages"]:
            return program
    shutil.rmtree(folder, ignore_errors=True)
    if subprocess.call([interpreter(), "-m", "venv", str(folder)]):
        raise NotInstalled(f"`python -m venv {folder}` failed; its last lines are above")
    _install(folder)
    stamp.write_text(json.dumps({"wanted": wanted, "packages": installed(program)}))
    return program


def installed(program: Path) -> dict[str, str]:
    """The versions of the packages that this interpreter has, by name."""
    command = [program, "-m", "pip", "list", "--format=json", "--disable-pip-version-check"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True, env=clean_variables())
    return {each["name"]: each["version"] for each in json.loads(listed.stdout)}


def clean_variables() -> dict[str, str]:
    """This process's variables without those that lead a Python to packages of the caller's."""
    return {name: value for name, value in os.environ.items() if name not in course.SEARCH}


def _install(folder: Path) -> None:
    """Fills the new environment in three steps. torch is the CPU build where `./course` would take it too."""
    choice = os.environ.get("COURSE_TORCH", "")
    torch, words = course.torch_from("" if choice.endswith(".whl") else choice, str(RUNTIME))
    lines = [line for line in RUNTIME.read_text(encoding="utf-8").splitlines() if not line.startswith("nvidia-")]
    constraints = folder / "constraints.txt"  # without CUDA's packages: torch's CUDA build names its own versions
    constraints.write_text("\n".join(lines), encoding="utf-8")
    pinned = ["--quiet", "-c", str(constraints)]
    whole, beside = names()
    steps = [
        (f"PyTorch: {words}", ["--quiet", "--no-deps", *torch]),
        ("what the lessons use on Colab", [*pinned, *whole]),
        ("packages beside it that could conflict", [*pinned, "--no-deps", *beside]),
    ]
    for number, (words, arguments) in enumerate(steps, 1):
        print(f"[{number}/3] {words} ...", flush=True)
        if course.pip(*arguments):
            raise NotInstalled(f"pip could not install {words}; its last lines are above. The same command tries again")
    google = next(folder.glob("[Ll]ib/**/site-packages")) / "google" / "colab"
    google.mkdir(parents=True, exist_ok=True)
    (google / "__init__.py").write_text(COLAB_MODULE, encoding="utf-8")
