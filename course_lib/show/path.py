"""The picture of where on the path a lesson stands, drawn from the syllabus alone."""

from course_lib import show, syllabus

WIDTH, ROW = 5.2, 0.34
"""Inches: of the picture, narrow enough that its letters can be read on a phone, and of a part's row."""


def picture(here: str) -> None:
    """Draws the course's parts as rows of lessons, first floor as circles, second as squares, `here` (its number) marked."""
    import matplotlib.pyplot as plt

    course = syllabus.load()
    lesson = course.lesson(here)
    figure, axes = plt.subplots(figsize=(WIDTH, ROW * (len(course.parts) + 0.6)))
    figure.subplots_adjust(0, 0, 1, 1)
    axes.set_axis_off()
    for row, part in enumerate(course.parts):
        current = part.number == lesson.part
        if current:
            axes.axhspan(-row - 0.5, -row + 0.5, color="#E3EEF5", lw=0)
        name = f"{part.roman}  {part.name}".strip()
        axes.text(0, -row, name, va="center", fontsize=11, weight="bold" if current else "normal")
        for place, each in enumerate(course.in_part(part)):
            x = 1.75 + 0.44 * place
            face, ink = (show.BLUE, "white") if each == lesson else ("white", "black")
            axes.plot(x, -row, "o" if each.floor == 1 else "s", ms=19 if each.floor == 1 else 17, mfc=face,
                      mec=show.BLUE, mew=2 if each == lesson else 1)  # fmt: skip
            axes.text(x, -row - 0.02, each.number, ha="center",
                      va="center", fontsize=9 if each.floor == 1 else 8, color=ink)  # fmt: skip
    axes.set_xlim(-0.1, 6.95)
    axes.set_ylim(-len(course.parts) + 0.4, 0.6)
    show.finding(f"You are here: {lesson.number} {lesson.title}", alt=words(here))


def words(here: str) -> str:
    """The same picture in words; the build check holds built notebooks against it."""
    course = syllabus.load()
    lesson = course.lesson(here)
    rows = [
        f"{part.roman} {part.name}".strip() + ": " + ", ".join(each.number for each in course.in_part(part))
        for part in course.parts
    ]
    return (
        f"The map of the course, a row for each part; a letter marks the second floor. {'; '.join(rows)}. "
        f"Lesson {lesson.number}, {lesson.title}, in part “{course.part_of(lesson).name}”, is marked."
    )
