"""The picture of where on the path a lesson stands, drawn from the syllabus."""

from course_lib import show, syllabus


def picture(here: str) -> None:
    """Draws the course as a path of parts and lessons, the lesson `here` (its number) marked."""
    import matplotlib.pyplot as plt

    course = syllabus.load()
    lesson = course.lesson(here)
    figure, axes = plt.subplots(figsize=(9, 2.1))
    axes.set_axis_off()
    left = 0.0
    for part in course.parts:
        lessons = list(course.in_part(part))
        width = max(len(lessons), 2) * 0.9 + 0.3
        current = part.number == lesson.part
        colour = show.BLUE if current else "#DDE3E8"
        axes.add_patch(plt.Rectangle((left, 0.55), width, 0.5, color=colour))
        axes.text(left + width / 2, 0.8, part.name, ha="center", va="center", color="white" if current else "black")
        for i, each in enumerate(lessons):
            x = left + width * (i + 0.5) / len(lessons)
            face = show.ORANGE if each == lesson else "white" if each.written else "#EEEEEE"
            axes.plot(x, 0.1, "o", ms=20, mfc=face, mec=show.BLUE if each.written else "#AAAAAA", mew=1.5)
            axes.text(x, 0.09, each.number, ha="center", va="center", fontsize=8)
        left += width + 0.25
    for label, x, side in (("loss function", 0, "left"), ("load balancer", left - 0.25, "right")):
        axes.text(x, 1.25, label, ha=side, fontsize=9, style="italic")
    axes.annotate("", (left - 3.1, 1.31), (2.9, 1.31), arrowprops={"arrowstyle": "->", "color": show.GREY})
    axes.set_xlim(-0.1, left)
    axes.set_ylim(-0.15, 1.5)
    parts = ", ".join(part.name for part in course.parts)
    name = next(part.name for part in course.parts if part.number == lesson.part)
    show.finding(
        f"You are here: {lesson.number} {lesson.title}",
        alt=f"The path from loss function to load balancer in its parts {parts}; lesson {lesson.number}, in “{name}”, is marked. "
        "Lessons drawn in grey are still to be written.",
    )
