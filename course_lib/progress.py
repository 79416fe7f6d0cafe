"""How far the learner has come, and how their guesses fell."""

from dataclasses import dataclass
from typing import Any

from course_lib import show, syllabus
from course_lib.idioms import store
from course_lib.idioms.exercises import exercises_of
from course_lib.idioms.guesses import as_kept, counted
from course_lib.idioms.guesses.forms import FACTOR, Form

KINDS = {"number": "a number", "share": "a share", "choice": "a choice", "order": "an order"}


@dataclass(frozen=True)
class Scored:
    """A guess that counts: kept before its measurement was first seen."""

    lesson: str
    name: str
    form: Form
    value: Any
    truth: Any
    good: bool


def progress() -> show.Block:
    """The learner's progress: the exercises of each lesson, the drills, the guesses of each lesson that has some."""
    done, scored = store.solved(), scored_guesses()
    store.say_if_not_kept()
    exercises, guesses = [], []
    for lesson in syllabus.load().lessons:
        known = exercises_of(lesson.number)
        if known:
            marks = "".join("●" if number in done else "○" for number in known)
            solved = f"{sum(number in done for number in known)} of {len(known)}"
            exercises.append([lesson.number, lesson.title, marks, solved])
        own = [each for each in scored if each.lesson == lesson.number]
        if own:
            guesses.append([lesson.number, lesson.title, _count(own)])
    header = ["lesson", "title", "exercises", "solved"]
    above = show.table(header, exercises, "Exercises: ● solved, ○ not yet")
    if drilled := _drilled():
        head = ["drill", "title", "seed", "minutes", "hints", "date"]
        below = show.table(head, drilled, "Drills that you solved")
        above = show.Block(above.markup + below.markup, f"{above.text}\n\n{below.text}")
    if not guesses:
        words = "Guesses: none has been compared with its measurement yet."
        return show.Block(f"{above.markup}<p>{words}</p>", f"{above.text}\n\n{words}")
    share = f"{_good(scored)} of {len(scored)} were good"
    below = show.table(["lesson", "title", "guesses"], guesses, f"Guesses that were compared: {share}")
    return show.Block(above.markup + below.markup, f"{above.text}\n\n{below.text}")


def _drilled() -> list[list]:
    """A row for each solved run of a drill."""
    titles = {str(each.number): each.title for each in syllabus.load().drills}
    return [
        [number, titles.get(number, ""), run.get("seed"), run.get("minutes"), run.get("hints"), run.get("date")]
        for number, kept in sorted(store.drills().items())
        for run in kept.get("solved", [])
    ]


def scored_guesses() -> list[Scored]:
    """The learner's guesses that count, by lesson and in the order in which they were made."""
    found = []
    for lesson, named in sorted(store.guesses().items()):
        for name, entry in named.items():
            form = as_kept(entry)[1]
            if form is not None and (scored := counted(form, entry)):
                found.append(Scored(lesson, name, form, scored["value"], scored["truth"], scored["good"]))
    return found


def calibration_picture() -> None:
    """Draws the learner's guesses of a number against what was measured, and the share of good guesses of each kind.

    Says so in a card where no guess counts yet.
    """
    import matplotlib.pyplot as plt

    scored = scored_guesses()
    if not scored:
        how = "Keep a guess in a lesson before you run the cells that measure; then come back."
        show.put(
            show.card(
                "?", show.BLUE, "No guess of yours has been compared with its measurement yet", how, label="guess"
            )
        )
        return
    numbers = [each for each in scored if each.form.kind == "number" and each.value > 0 and each.truth > 0]
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4), width_ratios=(3, 2))
    _draw_numbers(left, numbers)
    kinds = [kind for kind in KINDS if any(each.form.kind == kind for each in scored)]
    words = []
    for at, kind in enumerate(kinds):
        own = [each for each in scored if each.form.kind == kind]
        right.barh(at, 100 * _good(own) / len(own), color=show.BLUE)
        right.annotate(f"{_good(own)} of {len(own)}", (100 * _good(own) / len(own), at), xytext=(4, 0),
                       textcoords="offset points", va="center")  # fmt: skip
        words.append(f"{KINDS[kind]}: {_good(own)} of {len(own)} good")
    right.set_yticks(range(len(kinds)), [KINDS[kind] for kind in kinds])
    right.invert_yaxis()
    right.set_xlim(0, 125)
    right.set_xticks(range(0, 101, 25))
    right.set_xlabel("good guesses (%)")
    each = [f"{one.lesson} {one.name}: guessed {one.form.said(one.value)}, measured {one.form.said(one.truth)}"
            for one in numbers]  # fmt: skip
    show.finding(
        f"{_good(scored)} of your {len(scored)} guesses {'was' if _good(scored) == 1 else 'were'} good",
        alt="Guesses against measurements, both logarithmic, with a band of a factor of two around equality. "
        f"{'; '.join(each) or 'No number to draw'}. Share of good guesses by kind: {'; '.join(words)}.",
    )


def _draw_numbers(axes, numbers: list[Scored]) -> None:
    """Guesses over measurements; a disc is a good guess, a cross another, in the band it is off by less than a factor."""
    every = [at for one in numbers for at in (one.value, one.truth)] or [1, 10]
    ends = [min(every) / 3, max(every) * 3]
    axes.fill_between(ends, [end / FACTOR for end in ends], [end * FACTOR for end in ends], color=show.SKY, alpha=0.3,
                      lw=0, label="within a factor of two")  # fmt: skip
    axes.plot(ends, ends, color=show.GREY, lw=1, label="guess = measurement")
    for good, mark, colour, label in ((True, "o", show.BLUE, "good guess"), (False, "X", show.RED, "other guess")):
        own = [one for one in numbers if one.good == good]
        if own:
            axes.plot([one.truth for one in own], [one.value for one in own], mark, color=colour, ms=8, mec="white",
                      label=label)  # fmt: skip
    axes.set(
        xscale="log", yscale="log", xlim=ends, ylim=ends, xlabel="measured (each in its own unit)", ylabel="guessed"
    )
    axes.legend(loc="best", fontsize="small")


def _good(guesses: list[Scored]) -> int:
    return sum(each.good for each in guesses)


def _count(guesses: list[Scored]) -> str:
    return f"{len(guesses)} guess{'es' * (len(guesses) != 1)}, {_good(guesses)} good"
