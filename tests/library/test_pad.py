"""The pad: strokes go in as a mouse would draw them, and what the model would see comes out."""

import numpy as np

from course_lib.pad import Pad


def draw(pad, *points):
    pad._start(*points[0])
    for point in points[1:]:
        pad._go_on(*point)
    pad._lift()


def test_after_each_stroke_the_drawing_is_answered_in_the_data_s_form():
    seen = []
    pad = Pad(lambda image: seen.append(image) or f"ink {image.sum():.0f}")
    draw(pad, (60, 40), (160, 40), (100, 190))
    assert seen[0].shape == (8, 8) and seen[0].dtype == np.float32 and 0 < seen[0].max() <= 1
    assert pad.says.value == f"ink {seen[0].sum():.0f}"
    draw(pad, (90, 110), (150, 110))
    assert len(seen) == 2 and seen[1].sum() > seen[0].sum()


def test_wiping_starts_anew_and_a_mouse_that_only_passes_draws_nothing():
    seen = []
    pad = Pad(lambda image: seen.append(image) or "")
    pad._go_on(10, 10)
    pad._lift()
    assert not seen
    draw(pad, (0, 0), (50, 50))
    pad.wipe()
    draw(pad, (50, 0), (50, 100))
    assert seen[1][:, 0].sum() == 0  # nothing is left of the first line


def test_an_answer_that_fails_is_said_on_the_pad():
    def stopped(image):
        raise OSError("connection refused")

    pad = Pad(stopped)
    draw(pad, (50, 0), (50, 100))
    assert pad.says.value == "No answer: connection refused"
