"""The files other than notebooks that are written from one source: README's map, environment.yml, TIMINGS' table of where
lessons were executed, the hub's capacity, the cards of models and data."""

import contextlib
import re
import tomllib
from pathlib import Path

import numpy as np
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from course_lib import data, show
from course_lib.idioms import ledger
from course_lib.places import CHECKOUT, MODELS
from course_lib.syllabus import ENGINES, Drill, Syllabus
from tools import edge, environments
from tools.build import executed, minutes
from tools.hub import capacity
from tools.teaching import placement, plans

DATA_CARD = "digits_data.md"
"""The one template of source/cards that is of data, not of a model."""


ELSEWHERE_ON_COLAB = {"jupyterlab", "tensorflow-cpu"}
"""What Google Colab has under another name: a page of its own for notebooks, and the package `tensorflow`."""

COLAB_PINS = {"onnx": "1.22.0"}
"""What must be older on Google Colab: onnx 1.23 needs protobuf 6.31 or later, and TensorFlow there has protobuf 5."""


def write(syllabus: Syllabus) -> list[str]:
    """Writes every page that differs from what it should hold; returns their names."""
    changed = []
    for path, text in wanted(syllabus).items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8", newline="\n")
            changed.append(str(path.relative_to(CHECKOUT)))
    return changed


def wanted(syllabus: Syllabus) -> dict[Path, str]:
    """Every such page with the text that it should hold."""
    pages = {CHECKOUT / "environment.yml": environment(CHECKOUT), CHECKOUT / "tools/colab/missing.txt": colab(CHECKOUT)}
    pages.update(placement.pages(syllabus))
    pages.update(plans.pages(syllabus))
    readme = CHECKOUT / "README.md"
    if readme.exists():
        text = _between(readme.read_text(encoding="utf-8"), "map", _map(syllabus))
        text = _between(text, "clone", _clone(syllabus))
        pages[readme] = _between(text, "badges", _badges(syllabus))
    if (timings := CHECKOUT / "TIMINGS.md").exists():
        pages[timings] = executed.page(timings.read_text(encoding="utf-8"), syllabus)
    hub = CHECKOUT / "teaching/hub/README.md"
    if hub.exists():
        before, _, after = hub.read_text(encoding="utf-8").split("<!-- capacity -->")
        pages[hub] = f"<!-- capacity -->\n{capacity.table(20, 200)}\n<!-- capacity -->".join((before, after))
    if MODELS.exists():
        templates = [each for each in (CHECKOUT / "source/cards").glob("*.md") if each.name != DATA_CARD]
        pages.update({MODELS / template.stem / "card.md": card(template) for template in templates})
        pages[CHECKOUT / "DATA_CARD.md"] = data_card(CHECKOUT / "source/cards" / DATA_CARD)
    if edge.SOURCE.exists():
        with contextlib.suppress(edge.Stale):  # `check` says so
            pages[edge.PAGE] = edge.page()
    return pages


def environment(checkout: Path) -> str:
    """environment.yml for conda and Binder: the pins of constraints.txt that are no CUDA package."""
    project = tomllib.loads((checkout / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = [
        "# Written by `./course build` from constraints.txt: the same versions for conda and for Binder.",
        f"name: {project['name']}",
        "channels:",
        "  - conda-forge",
        "  - nodefaults",
        "dependencies:",
        "  - python=3.11",
        "  - pip",
        "  - pip:",
        "      - --extra-index-url https://download.pytorch.org/whl/cpu # a CPU build of torch, without CUDA's packages",
    ]
    return "\n".join(lines + [f'      - "{pin}"' if ";" in pin else f"      - {pin}" for pin in pins(checkout)]) + "\n"


def pins(checkout: Path) -> list[str]:
    """The lines of constraints.txt, CUDA's packages aside, each with its marker."""
    lines = (checkout / "constraints.txt").read_text(encoding="utf-8").splitlines()
    kept = [line.replace(" ;", ";").strip() for line in lines if "==" in line]
    return [line for line in kept if not re.match(r"(nvidia-|cuda-|triton==)", line)]


def colab(checkout: Path) -> str:
    """tools/colab/missing.txt: the project's packages that Colab's list (tools/colab/runtime.txt) does not have."""
    project = tomllib.loads((checkout / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    there = {canonicalize_name(name) for name in environments.pins(checkout / "tools/colab/runtime.txt")}
    lacks = {Requirement(each).name for each in project["dependencies"]} - there - ELSEWHERE_ON_COLAB
    kept = [pin for pin in pins(checkout) if pin.partition("==")[0] in lacks - set(COLAB_PINS)]
    kept = sorted([*kept, *(f"{name}=={version}" for name, version in COLAB_PINS.items())])
    return "\n".join(["# Written by `./course build` from constraints.txt: what Google Colab lacks.", *kept]) + "\n"


def card(template: Path) -> str:
    """A model's card: its text from source/cards, every figure from the ledger and the files."""
    rows = {row.form: row for row in reversed(ledger.kept()) if row.model == template.stem}  # of the first lesson
    figures = {}
    for form, row in rows.items():
        figures[f"{form}_accuracy"] = f"{100 * row.accuracy:.1f} %"
        figures[f"{form}_bytes"] = show.bytes_text(row.bytes)
        figures[f"{form}_diff"] = "" if row.max_abs_diff is None else f"{row.max_abs_diff:.1e}"
    return template.read_text(encoding="utf-8").format(**figures)


def data_card(template: Path) -> str:
    """The data's card: its text from source/cards, every figure counted in the data."""
    train, test = data.digits()
    fit, validation = data.hold_out(train)
    of_each = np.bincount(np.concatenate([train.labels, test.labels]))
    return template.read_text(encoding="utf-8").format(
        images=f"{of_each.sum():,}",
        fewest=of_each.min(),
        most=of_each.max(),
        fit=f"{len(fit.labels):,}",
        validation=len(validation.labels),
        test=len(test.labels),
    )


def _between(text: str, name: str, new: str) -> str:
    begin, end = f"<!-- {name}: written by ./course build from syllabus.toml -->", f"<!-- {name}: end -->"
    if begin not in text or end not in text:
        raise ValueError(f"README.md lacks the lines {begin!r} and {end!r}, between which the build writes")
    return text.partition(begin)[0] + f"{begin}\n{new}{end}" + text.partition(end)[2]


def _map(syllabus: Syllabus) -> str:
    lines = ["| lesson | title | minutes | live cells | holds |", "| --- | --- | --- | --- | --- |"]
    for part in syllabus.parts:
        if part.number:
            lines.append(f"| | **{part.roman} {part.name}** | | | |")
        for lesson in syllabus.in_part(part):
            title, spent = f"{lesson.title} *(to come)*", ""
            if lesson.written:
                counted = minutes.of(lesson)
                title = f"[{lesson.title}](notebooks/{lesson.stem}.ipynb)"
                spent = f"{counted.lesson}" + (f" + {counted.exercises}" if counted.exercises else "")
            if lesson.floor > 1:
                title = f"*deeper:* {title}"
            engines = ", ".join(ENGINES[name] for name in lesson.live) or "–"
            lines.append(f"| {lesson.number} | {title} | {spent} | {engines} | {lesson.holds} |")
        if part.roman == "VI" and syllabus.drills:
            lines += ["| | **Drills** | | | |", *map(_drill, syllabus.drills)]
    return "\n".join(lines) + "\n"


def _drill(drill: Drill) -> str:
    title = f"[{drill.title}](drills/{drill.stem}.ipynb)" if drill.written else f"{drill.title} *(to come)*"
    engines = ", ".join(name.capitalize() for name in drill.live) or "–"
    return f"| D{drill.number} | {title} | 20 to 30 | {engines} | {drill.holds} |"


def _badges(syllabus: Syllabus) -> str:
    if not syllabus.repository:
        return ""
    binder = f"https://mybinder.org/v2/gh/{syllabus.repository}/main?urlpath=lab/tree/notebooks/00_welcome.ipynb"
    colab = f"https://colab.research.google.com/github/{syllabus.repository}/blob/main/notebooks/00_welcome.ipynb"
    tests = f"https://github.com/{syllabus.repository}/actions/workflows/test.yml"
    return (f"[![Tests]({tests}/badge.svg)]({tests}) [![Open in Binder](https://mybinder.org/badge_logo.svg)]({binder}) "
            f"[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]({colab})\n")  # fmt: skip


def _clone(syllabus: Syllabus) -> str:
    """The command that fetches the course, with a word in the address's place where it has none yet."""
    address = f"https://github.com/{syllabus.repository}" if syllabus.repository else "ADDRESS"
    lines = ["```bash", f"git clone {address} course", "cd course", "```"]
    if not syllabus.repository:
        lines += ["", "ADDRESS stands for the address of this repository: the page where you found it shows it."]
    return "\n".join(lines) + "\n"
