"""A pad to draw a digit on, in the notebook: ipycanvas collects the strokes, `data.from_strokes` does the rest."""

from collections.abc import Callable

import ipywidgets
import numpy as np
from ipycanvas import Canvas

from course_lib import data

SIZE = 224
"""Width and height of the pad in screen pixels."""


class Pad(ipywidgets.HBox):
    """A square to draw on; after each stroke the drawing goes to `answer` as the model would see it.

    answer: takes float32 (8, 8), 0 to 1, and returns a line of text to show; an error it raises is shown instead.
    """

    def __init__(self, answer: Callable[[np.ndarray], str]):
        self._answer = answer
        self._strokes: list[list[tuple[float, float]]] = []
        self._drawing = False
        self.canvas = Canvas(width=SIZE, height=SIZE, layout={"border": "2px solid #7F7F7F"})
        self.seen = Canvas(width=96, height=96, layout={"width": "96px", "height": "96px"})
        self.says = ipywidgets.Label("Draw a digit with the mouse or a finger.")
        wipe = ipywidgets.Button(description="Wipe")
        wipe.on_click(lambda _: self.wipe())
        for event, handler in (("down", self._start), ("move", self._go_on), ("up", self._lift), ("out", self._lift)):
            getattr(self.canvas, f"on_mouse_{event}")(handler)
        self.canvas.on_touch_start(lambda touches: self._start(*touches[0]))
        self.canvas.on_touch_move(lambda touches: self._go_on(*touches[0]))
        self.canvas.on_touch_end(lambda touches: self._lift())
        self.wipe()
        caption = ipywidgets.Label("What the model sees, 8 × 8:")
        super().__init__([self.canvas, ipywidgets.VBox([self.says, caption, self.seen, wipe])])

    def wipe(self) -> None:
        """Starts anew."""
        self._strokes.clear()
        self._drawing = False
        for canvas in (self.canvas, self.seen):
            canvas.fill_style = "white"
            canvas.fill_rect(0, 0, canvas.width, canvas.height)
        self.says.value = "Draw a digit with the mouse or a finger."

    def _start(self, x: float, y: float) -> None:
        self._drawing = True
        self._strokes.append([(x, y)])

    def _go_on(self, x: float, y: float) -> None:
        if self._drawing:
            before = self._strokes[-1][-1]
            self._strokes[-1].append((x, y))
            self.canvas.line_width = 14
            self.canvas.line_cap = "round"
            self.canvas.stroke_line(*before, x, y)

    def _lift(self, *_: float) -> None:
        if not self._drawing:
            return
        self._drawing = False
        image = data.from_strokes(self._strokes)
        cell = self.seen.width // data.SIDE
        for row, column in np.ndindex(image.shape):
            grey = round(255 * (1 - float(image[row, column])))
            self.seen.fill_style = f"rgb({grey},{grey},{grey})"
            self.seen.fill_rect(column * cell, row * cell, cell, cell)
        try:
            self.says.value = self._answer(image)
        except Exception as wrong:  # the service may be stopped: say so on the pad, where the learner looks
            self.says.value = f"No answer: {wrong}"
