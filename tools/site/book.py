"""What the book holds: each file of the checkout that is a page, the name of that page, and links between them."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from course_lib.places import CHECKOUT
from course_lib.syllabus import Lesson, Syllabus

MANUALS = {
    "README.md": "manual", "GLOSSARY.md": "glossary", "TROUBLESHOOTING.md": "troubleshooting",
    "TIMINGS.md": "timings", "DATA_CARD.md": "data_card", "CONTRIBUTING.md": "contributing",
    "CHANGELOG.md": "changelog", "course_lib/serving/README.md": "serving", "course_lib/services/README.md": "services",
    "capstone/README.md": "capstone", "teaching/README.md": "teaching",
    "teaching/plans/half_day.md": "half_day", "teaching/plans/two_days.md": "two_days", "teaching/plans/six_weeks.md": "six_weeks",
}  # fmt: skip
"""Files of Markdown, and the pages that they become; one that is not there is left out."""

FENCE = re.compile(r"^(?:```+|~~~+).*?^(?:```+|~~~+)[^\S\n]*$", re.M | re.S)
LINK = re.compile(r"`+[^`]+`+|(?<!!)\[([^\[\]]+)\]\(([^)\s]+)\)")
"""Code within a line, or a link: what comes first wins, so that a link in code is none."""


@dataclass
class Book:
    """pages: {path in the checkout: name of the page, without an ending}. Lost: links that lead to no file."""

    syllabus: Syllabus
    checkout: Path = CHECKOUT
    pages: dict[str, str] = field(default_factory=dict)
    lost: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        for lesson in self.syllabus.lessons:
            for folder in ("notebooks", "exercises"):
                if self.has(lesson, folder):
                    self.pages[f"{folder}/{lesson.stem}.ipynb"] = f"{folder}/{lesson.stem}"
            if self.has(lesson, "exercises"):  # a solution stands folded under its exercise
                self.pages[f"solutions/{lesson.stem}.ipynb"] = f"exercises/{lesson.stem}"
        for path in [*self.drills, *self.teaching]:
            self.pages[f"{path.parent.name}/{path.name}"] = f"{path.parent.name}/{path.stem}"
        for card in self.cards:
            self.pages[card.relative_to(self.checkout).as_posix()] = f"models/{card.parent.name}"
        for path, name in MANUALS.items():
            if (self.checkout / path).is_file():
                self.pages[path] = name

    @property
    def drills(self) -> list[Path]:
        """The drills, as built notebooks; empty before there are any."""
        return sorted((self.checkout / "drills").glob("*.ipynb"))

    @property
    def teaching(self) -> list[Path]:
        """Notebooks for those who teach."""
        return sorted((self.checkout / "teaching").glob("*.ipynb"))

    @property
    def live(self) -> list[Path]:
        """Pages of lessons that run in the browser as they are: lesson 25's."""
        return sorted((self.checkout / "notebooks").glob("*.html"))

    @property
    def for_instructors(self) -> list[str]:
        """Names of the pages of Markdown for those who teach."""
        return [name for path, name in self.pages.items() if path.startswith("teaching/") and path.endswith(".md")]

    @property
    def cards(self) -> list[Path]:
        """The models' cards."""
        return sorted((self.checkout / "models").glob("*/card.md"))

    def has(self, lesson: Lesson, folder: str = "notebooks") -> bool:
        """Whether this notebook of a lesson is built."""
        return lesson.notebook(folder, self.checkout).is_file()

    @property
    def lessons(self) -> list[Lesson]:
        """The lessons that have a page."""
        return [each for each in self.syllabus.lessons if self.has(each)]

    def relinked(self, text: str, path: Path, name: str) -> str:
        """The links in Markdown of `path` as they stand on page `name`: to pages, or to the repository, or without.

        Code stays as it is. A link to no file is kept among `lost`.
        """
        return outside(FENCE, text, lambda prose: LINK.sub(lambda found: self._link(found, path, name), prose))

    def _link(self, found: re.Match, path: Path, name: str) -> str:
        label, target = found.groups()
        if target is None:  # code
            return found.group(0)
        if re.match(r"[a-z]+:|#", target):
            return found.group(0)
        file, _, anchor = target.partition("#")
        real = (path.parent / file).resolve()
        try:
            inside = real.relative_to(self.checkout.resolve()).as_posix()
        except ValueError:
            inside = ""
        if not inside or not real.exists():
            self.lost.append(f"{path.relative_to(self.checkout)}: {target} leads to no file of the course")
            return label
        if inside in self.pages:
            ending = ".md" if inside.endswith(".md") else ".ipynb"
            return f"[{label}](/{self.pages[inside]}{ending}{'#' + anchor if anchor else ''})"
        if real in self.live:
            return f'<a href="{"../" * name.count("/")}notebooks/{real.name}">{label}</a>'
        if self.syllabus.repository:
            kind = "tree" if real.is_dir() else "blob"
            return f"[{label}](https://github.com/{self.syllabus.repository}/{kind}/main/{inside})"
        return label

    def address(self, target: str, name: str) -> str:
        """The address of page `target` ("notebooks/00_welcome", with "#anchor" or not) as HTML on page `name` needs it."""
        page, _, anchor = target.partition("#")
        return "../" * name.count("/") + f"{page}.html" + (f"#{anchor}" if anchor else "")


def outside(kept: re.Pattern, text: str, change: Callable[[str], str]) -> str:
    """The text with `change` applied to what lies between the matches of `kept`, which stay."""
    done, at = [], 0
    for match in kept.finditer(text):
        done += [change(text[at : match.start()]), match.group(0)]
        at = match.end()
    return "".join([*done, change(text[at:])])
