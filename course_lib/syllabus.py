"""The course's map, read from `syllabus.toml`, its one source. Standard library only."""

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from course_lib.places import CHECKOUT, SYLLABUS

ENGINES = {"docker": "Docker", "kubernetes": "Kubernetes", "browser": "a browser"}
"""What a lesson's live cells can run on, and how the map says it."""


@dataclass(frozen=True)
class Part:
    """A part of the course; part 0 stands before the seven."""

    number: int
    name: str

    @property
    def roman(self) -> str:
        """Its number as the map writes it; empty for part 0."""
        return ["", "I", "II", "III", "IV", "V", "VI", "VII"][self.number]


@dataclass(frozen=True)
class Lesson:
    """One lesson. number: two digits, and on the second floor a letter. timed: it measures time. runtimes: it compares
    what different runtimes compute."""

    number: str
    name: str
    title: str
    part: int
    live: tuple[str, ...] = ()
    timed: bool = False
    runtimes: bool = False
    holds: str = ""

    @property
    def floor(self) -> int:
        """1, or 2 for what goes deeper than the lesson of the same digits."""
        return 1 if self.number.isdigit() else 2

    @property
    def stem(self) -> str:
        """The name that its files share: `01_grand_tour`."""
        return f"{self.number}_{self.name}"

    def notebook(self, folder: str = "notebooks", checkout: Path = CHECKOUT) -> Path:
        """Its built notebook under `folder`: "notebooks", "exercises" or "solutions"."""
        return checkout / folder / f"{self.stem}.ipynb"

    @property
    def written(self) -> bool:
        """Whether the lesson has a source; one that has none is a gap in the map, not an error."""
        return (CHECKOUT / "source" / "notebooks" / f"{self.stem}.py").is_file()


@dataclass(frozen=True)
class Drill:
    """One drill. live: what it runs on beside processes. holds: its causes, for the map."""

    number: int
    name: str
    title: str
    holds: str
    live: tuple[str, ...] = ()

    @property
    def stem(self) -> str:
        """The name that its files share: `1_right_in_the_notebook`."""
        return f"{self.number}_{self.name}"

    def notebook(self, folder: str = "drills", checkout: Path = CHECKOUT) -> Path:
        """Its built notebook."""
        return checkout / folder / f"{self.stem}.ipynb"

    @property
    def written(self) -> bool:
        """Whether it has a source; one that has none is a gap in the map, not an error."""
        return (CHECKOUT / "source" / "drills" / f"{self.stem}.py").is_file()


@dataclass(frozen=True)
class Syllabus:
    """The whole map, in order. `repository` is "owner/name" on GitHub, or empty before it is published."""

    title: str
    repository: str
    parts: tuple[Part, ...]
    lessons: tuple[Lesson, ...]
    version: str = ""
    drills: tuple[Drill, ...] = ()

    def lesson(self, number: str) -> Lesson:
        """The lesson "02", "2", "02b" or "02_loss_functions". Raises LookupError, naming the valid ones."""
        for lesson in self.lessons:
            if number in (lesson.number, lesson.number.lstrip("0") or "0", lesson.stem):
                return lesson
        raise LookupError(f"no lesson {number!r}; the lessons are {', '.join(each.number for each in self.lessons)}")

    def in_part(self, part: Part) -> Iterator[Lesson]:
        """The part's lessons, in order."""
        return (lesson for lesson in self.lessons if lesson.part == part.number)

    def part_of(self, lesson: Lesson) -> Part:
        """The part that a lesson stands in."""
        return next(part for part in self.parts if part.number == lesson.part)

    def deeper(self, lesson: Lesson) -> tuple[Lesson, ...]:
        """What stands on the floor above a lesson of the first floor; empty where nothing does."""
        return tuple(each for each in self.lessons if each.floor > 1 and each.number[:-1] == lesson.number)

    def below(self, lesson: Lesson) -> Lesson:
        """The lesson of the first floor with the same digits."""
        return self.lesson(lesson.number.rstrip("bcdefgh"))


def load(path: Path = SYLLABUS) -> Syllabus:
    """Read the map. Raises ValueError, saying what to mend, where `syllabus.toml` does not hold together."""
    with path.open("rb") as file:
        table = tomllib.load(file)
    course = table.get("course", {})
    if not course.get("title"):
        raise ValueError(
            f'{path.name}: [course] must have a title, like title = "From Loss to Load Balancer"; it has none'
        )
    try:
        parts = tuple(Part(**each) for each in table.get("part", []))
        lessons, drills = (
            tuple(kind(**{**each, "live": tuple(each.get("live", ()))}) for each in table.get(key, []))
            for kind, key in ((Lesson, "lesson"), (Drill, "drill"))
        )
    except TypeError as wrong:
        raise ValueError(f"{path.name}: an entry has a key too many or too few: {wrong}") from None
    _hold_together(path.name, parts, lessons)
    return Syllabus(course["title"], course.get("repository", ""), parts, lessons, course.get("version", ""), drills)


def _hold_together(file: str, parts: tuple[Part, ...], lessons: tuple[Lesson, ...]) -> None:
    numbers = [lesson.number for lesson in lessons]
    if numbers != sorted(set(numbers)):
        raise ValueError(f"{file}: lessons must stand in the order of their numbers, each once; got {numbers}")
    for lesson in lessons:
        if not re.fullmatch(r"\d\d[b-h]?", lesson.number):
            raise ValueError(
                f'{file}: a number is two digits, like "02", or "02b" on the second floor; got {lesson.number!r}'
            )
        if lesson.floor > 1 and lesson.number[:-1] not in numbers:
            raise ValueError(
                f"{file}: {lesson.number} stands on a floor above {lesson.number[:-1]}, which is not listed"
            )
        if lesson.part not in {part.number for part in parts}:
            raise ValueError(f"{file}: lesson {lesson.number} names part {lesson.part}, which is not listed")
        if unknown := set(lesson.live) - set(ENGINES):
            raise ValueError(f"{file}: lesson {lesson.number}: live knows {', '.join(ENGINES)}; got {sorted(unknown)}")
