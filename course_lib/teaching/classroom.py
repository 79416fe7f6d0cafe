"""A class's exports as a table in the terminal, a table for a grade book, and a picture."""

import csv
import io
import math
import unicodedata
import warnings
from pathlib import Path
from statistics import median

from course_lib import show, syllabus
from course_lib.idioms.exercises import exercises_of
from course_lib.idioms.guesses.forms import FACTOR
from course_lib.teaching.reading import Learner

HARDEST = 10
"""So many exercises are listed, those that took the most tries first."""

LETTERS, FILE_LETTERS = 28, 60
"""So much of a label and of a file's name is shown in tables and pictures; the grade book holds all of it."""

FONTS = ("DejaVu Sans", "Noto Sans CJK SC", "Microsoft YaHei", "PingFang SC", "Arial Unicode MS")
"""For names in many scripts, those that the machine has."""


class Class:
    """What a class has solved, tried and guessed, against the exercises that this course has."""

    def __init__(self, learners: list[Learner]):
        course = syllabus.load()
        lessons = [(each, exercises_of(each.number)) for each in course.lessons]
        self.learners = learners
        self.lessons = [each for each, known in lessons if known]
        self.numbers = {each.number: list(known) for each, known in lessons if known}
        self.titles = {number: each.title for _, known in lessons for number, each in known.items()}
        self.parts = [part for part in course.parts if any(each.part == part.number for each in self.lessons)]
        self.guesses = [each for one in learners for each in one.guesses]
        self.good = sum(each["good"] for each in self.guesses)

    def solved(self, one: Learner, lesson: str) -> int:
        """How many of a lesson's exercises a learner has solved."""
        return sum(number in one.solved for number in self.numbers[lesson])

    def count(self, one: Learner) -> int:
        """How many exercises a learner has solved."""
        return sum(self.solved(one, lesson) for lesson in self.numbers)

    def last_at(self, one: Learner) -> str:
        """The lesson of the exercise that a learner solved last; "–" where there is none."""
        own = [(day, number) for number, day in one.solved.items() if number in self.titles]
        return max(own)[1].partition(".")[0] if own else "–"

    def hardest(self) -> list[tuple[str, int, int, float, int]]:
        """Exercises by the median of their tries, the worst first: number, learners who tried, who solved, median, most.

        Where nobody needed a second try, an exercise is left out.
        """
        found = []
        for number in self.titles:
            tried = [one for one in self.learners if number in one.tries]
            tries = [one.tries[number] for one in tried]
            if tries and max(tries) > 1:
                found.append(
                    (number, len(tried), sum(number in one.solved for one in tried), median(tries), max(tries))
                )
        return sorted(found, key=lambda row: (-row[3], -row[4], row[0]))[:HARDEST]


def tables(learners: list[Learner], skipped: list[tuple[str, str]]) -> str:
    """Who is where, which exercises took the most tries, how guesses fell, and what was not counted."""
    room, pieces = Class(learners), []
    of = {part.number: [each.number for each in room.lessons if each.part == part.number] for part in room.parts}
    rows = []
    for one in learners:
        by_part = [
            f"{sum(room.solved(one, n) for n in own)}/{sum(len(room.numbers[n]) for n in own)}" for own in of.values()
        ]
        rows.append([_short(one.label), room.last_at(one), *by_part, room.count(one), sum(one.tries.values()),
                     f"{one.good} of {len(one.guesses)}", one.drills, f"{one.written:%Y-%m-%d}"])  # fmt: skip
    header = ["learner", "last at", *(part.roman or "0" for part in room.parts), "solved", "tries", "good guesses"]
    if rows:
        count = f"{len(rows)} learner{'s' * (len(rows) != 1)}: exercises solved, by part, and of all {len(room.titles)}"
        pieces.append(show.table([*header, "drills", "exported"], rows, count).text)
    if hard := [[at, room.titles[at], tried, done, f"{mid:g}", most] for at, tried, done, mid, most in room.hardest()]:
        header = ["exercise", "title", "tried by", "solved by", "median of tries", "most tries"]
        pieces.append(show.table(header, hard, "The exercises that take the most tries").text)
    if room.guesses:
        share = f"{100 * room.good / len(room.guesses):.0f} %"
        pieces.append(f"Guesses: {room.good} of {len(room.guesses)} were good ({share}).")
    if unknown := {number for one in learners for number in one.solved} - set(room.titles):
        pieces.append(f"Not counted, since this version of the course lacks them: {', '.join(sorted(unknown)):.200}.")
    if skipped:
        files = [[_short(file, FILE_LETTERS), why] for file, why in skipped]
        count = f"{len(files)} file{'s' * (len(files) != 1)} not counted"
        pieces.append(show.table(["not counted", "reason"], files, count).text)
        if any(why.startswith(("broken", "empty")) for _, why in skipped):
            pieces.append("Ask for a broken or an empty file again: ./course progress --export FILE")
    return "\n\n".join(pieces)


def grade_book(learners: list[Learner]) -> str:
    """CSV: a row for each learner; for each lesson with exercises, how many of them are solved."""
    room, held = Class(learners), io.StringIO()
    writer = csv.writer(held)
    header = [
        "learner",
        "file",
        "exported",
        "course",
        "solved",
        "exercises",
        "tries",
        "guesses good",
        "guesses",
        "drills",
    ]
    writer.writerow([*header, *(f"lesson {number} (of {len(own)})" for number, own in room.numbers.items())])
    for one in learners:
        row = [_cell(one.label), _cell(one.file), one.written.isoformat(), _cell(one.course), room.count(one),
               len(room.titles), sum(one.tries.values()), one.good, len(one.guesses), one.drills]  # fmt: skip
        writer.writerow([*row, *(room.solved(one, lesson) for lesson in room.numbers)])
    return held.getvalue()


def picture(learners: list[Learner], path: Path) -> str:
    """Draws the class into a PNG; returns the same in words, which stand in the file's description too.

    Raises OSError where the file cannot be written.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib import font_manager

    room = Class(learners)
    show.style_figures()
    there = font_manager.get_font_names()
    with plt.rc_context({"font.family": [each for each in FONTS if each in there]}), warnings.catch_warnings():
        # A box stands for a letter that no font here has; the table has the letter.
        warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)
        figure = plt.figure(figsize=(13, min(max(5.0, 1.6 + 0.24 * len(learners)), 40)), layout="constrained")
        left, right = figure.subfigures(1, 2, width_ratios=(3, 2))
        upper, lower = right.subplots(2, 1)
        words = [_draw_where(left.subplots(), room), _draw_tries(upper, room), _draw_guesses(lower, room)]
        figure.savefig(path, format="png", facecolor="white", metadata={"Description": " ".join(words)})
        plt.close(figure)
    return " ".join(words)


def _draw_where(axes, room: Class) -> str:
    """A square for each learner and lesson, darker the more of its exercises are solved; a dot where they are last."""
    lessons, learners = list(room.numbers), room.learners
    shares = [[room.solved(one, lesson) / len(own) for lesson, own in room.numbers.items()] for one in learners]
    drawn = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto", interpolation="nearest")
    for row, place in enumerate(map(room.last_at, learners)):
        if place in lessons:
            axes.plot(lessons.index(place), row, "o", ms=6, color=show.ORANGE, mec="black", mew=0.8)
    for at in range(1, len(lessons)):
        if room.lessons[at].part != room.lessons[at - 1].part:
            axes.axvline(at - 0.5, color=show.GREY, lw=0.8)
    axes.set_xticks(range(len(lessons)), lessons, rotation=90, fontsize="x-small")
    axes.set_yticks(range(len(learners)), [_short(one.label) for one in learners], fontsize="small")
    for label in axes.get_yticklabels():
        label.set_parse_math(False)  # a name may hold a "$"
    axes.set_xlabel("lesson (grey: between parts; dot: solved there last)")
    axes.figure.colorbar(drawn, ax=axes, label="exercises solved (share)", shrink=0.6, ticks=[0, 0.5, 1])
    axes.set_title(f"Half of the learners have solved {median(map(room.count, learners)):g} exercises or more")
    each = "; ".join(f"{one.label}: {room.count(one)} solved, last at {room.last_at(one)}" for one in learners)
    return f"Exercises solved, by learner and lesson. {each}."


def _draw_tries(axes, room: Class) -> str:
    if not (hard := room.hardest()):
        return _nothing(axes, "No exercise has taken more than one try")
    numbers, _, _, medians, most = zip(*hard)
    axes.barh(range(len(hard)), most, color=show.SKY, label="most")
    axes.barh(range(len(hard)), medians, color=show.BLUE, height=0.5, label="median")
    axes.set_yticks(range(len(hard)), numbers, fontsize="small")
    axes.invert_yaxis()
    axes.set_xlabel("tries of one learner")
    axes.legend(loc="lower right", fontsize="small", frameon=True, framealpha=1)
    axes.set_title(f"Exercise {numbers[0]} takes the most tries")
    return f"Tries, median and most: {'; '.join(f'{row[0]}: {row[3]:g}, {row[4]}' for row in hard)}."


def _draw_guesses(axes, room: Class) -> str:
    """How many times too high or too low the class guessed, of numbers and shares, where neither is zero or below."""
    factors = [math.log2(each["guess"]) - math.log2(each["measured"]) for each in room.guesses
               if each["kind"] in ("number", "share") and each["guess"] > 0 and each["measured"] > 0]  # fmt: skip
    title = f"{room.good} of {len(room.guesses)} guesses were good"
    if not factors:
        return _nothing(axes, title if room.guesses else "No guess has been compared yet")
    reach, ends = math.log2(FACTOR), range(-6, 7)
    axes.axvspan(-reach, reach, color=show.SKY, alpha=0.3, lw=0, label=f"within a factor of {FACTOR}")
    axes.hist([min(max(each, -5.99), 5.99) for each in factors], bins=ends, color=show.BLUE, rwidth=0.9)
    axes.set_xticks(ends[2:-1:2], ["1/16", "1/4", "1", "4", "16"])
    axes.set_xlabel("guess ÷ measurement, of numbers and shares")
    axes.set_ylabel("guesses")
    axes.legend(loc="upper right", fontsize="small")
    axes.set_title(title)
    low, high = sum(each < -reach for each in factors), sum(each > reach for each in factors)
    return f"{title}. Of {len(factors)} numbers, {low} were off by more than a factor of {FACTOR} below, {high} above."


def _nothing(axes, title: str) -> str:
    axes.set_title(title)
    axes.set_axis_off()
    return f"{title}."


def _short(words: str, letters: int = LETTERS) -> str:
    return words if len(words) <= letters else words[: letters - 1] + "…"


def _cell(words: str) -> str:
    """A stranger's words for a spreadsheet, which would calculate what begins like a formula, in wide letters too.

    Without semicolons, at which some spreadsheets begin a new cell.
    """
    words = words.replace(";", ",")
    return f"'{words}" if unicodedata.normalize("NFKC", words).lstrip()[:1] in ("=", "+", "-", "@") else words
