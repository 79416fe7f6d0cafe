"""The placement test's last cell: in which part to begin, by the exercises' own checks."""

from collections.abc import Callable

from course_lib import show, syllabus
from course_lib.idioms.exercises import examine, exercise

ASKED = ("02.2", "07.1", "11.1", "13.3", "16b.1", "20.1")
"""One short exercise of each part, I to VI, in the order in which the answers are given to `place`."""


def place(*answers: Callable) -> None:
    """Shows in which part to begin: the first that was tried and not solved, else the first after the last solved one.
    What was not tried before a solved one is taken to be known. Keeps nothing.

    answers: the learner's functions, one for each of ASKED, in its order. Raises ValueError for another number of them.
    """
    if len(answers) != len(ASKED):
        raise ValueError(f"expected {len(ASKED)} answers, for {', '.join(ASKED)}, got {len(answers)}")
    course, rows, parts, states = syllabus.load(), [], [], []
    for number, answer in zip(ASKED, answers):
        lesson = course.lesson(number.partition(".")[0])
        part, state = course.part_of(lesson), examine(number, answer).state
        rows.append([f"{part.roman} {part.name}", f"{number} {exercise(number).title}", state])
        parts.append(part)
        states.append(state)
    known = len(states) - states[::-1].index("solved") if "solved" in states else 0
    at = states.index("not yet") if "not yet" in states else known
    begin = parts[at] if at < len(parts) else None
    skipped = [part.roman for part, state in zip(parts[:at], states) if state == "not started"]
    show.put(show.table(["part", "exercise", "outcome"], rows, "One exercise of each part"))
    if begin is None:
        where = "You solved the last one: take the parts in any order"
        how = "Choose what your work needs next. Each lesson stands on its own."
    else:
        first = next(course.in_part(begin))
        where = f"Begin with part {begin.roman} {begin.name}: lesson {first.number} {first.title}"
        how = "If its first lesson is too easy or too hard, try the first exercise of the part after or before."
    if skipped:
        how += f" Not tried, and taken as known: {', '.join(skipped)}."
    show.put(show.card("→", show.BLUE, where, how, "Lesson 00 comes first, whatever the result.", label="placement"))
