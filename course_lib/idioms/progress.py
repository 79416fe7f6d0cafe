"""`progress`: how far the learner has come, and `calibration_picture`: how their guesses fell."""

from course_lib import show, syllabus
from course_lib.idioms import store
from course_lib.idioms.exercises import exercises_of


def progress() -> show.Block:
    """The learner's progress: a line a lesson that has exercises."""
    done, rows = store.solved(), []
    for lesson in syllabus.load().lessons:
        known = exercises_of(lesson.number)
        if known:
            marks = "".join("●" if number in done else "○" for number in known)
            solved = f"{sum(number in done for number in known)} of {len(known)}"
            rows.append([lesson.number, lesson.title, marks, solved])
    return show.table(["lesson", "title", "exercises", "solved"], rows)
