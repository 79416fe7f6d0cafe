"""The fields in which a learner enters a guess; each can be filled by keyboard and is named for a screen reader."""

import html
import math
from collections.abc import Callable
from typing import Any

import ipywidgets as widgets

from course_lib.idioms.guesses import Choice, Form, Number, Order

PLACES = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")


def fields(form: Form, question: str, value: Any, keep: Callable[[Any], str], so_far: str) -> widgets.VBox:
    """A field for the guess, a button that keeps it, and a line that says what was kept.

    value: the guess so far, or None. keep: takes a guess and returns what to tell the learner. so_far: what to tell
    them before. Nothing is kept before the button is pressed.
    """
    make = _order if isinstance(form, Order) else _choice if isinstance(form, Choice) else _number
    field, read = make(form, question, value)
    button = widgets.Button(description="Keep my guess", tooltip=f"Keep my guess: {question}")
    said = widgets.HTML(_status(so_far))

    def pressed(_: widgets.Button) -> None:
        entered = read()
        said.value = _status(keep(entered) if form.fits(entered) else _missing(form, entered))

    button.on_click(pressed)
    return widgets.VBox([field, button, said])


def _status(text: str) -> str:
    return f'<div role="status">{html.escape(text)}</div>'


def _missing(form: Form, entered: Any) -> str:
    if isinstance(form, Order):
        twice = sorted({each for each in entered if each and entered.count(each) > 1})
        if twice:
            return f"Not kept: {', '.join(twice)} stands in two places. Give each place another one."
        return "Not kept: choose one for each place."
    return f"Not kept: choose one. {form.asks()}"


def _number(form: Number, question: str, value: Any) -> tuple[widgets.Widget, Callable[[], Any]]:
    """A slider, and beside it a field to type in: the two follow each other, and the field holds the guess."""
    middle = math.sqrt(form.low * form.high) if form.decades else (form.low + form.high) / 2
    start = min(max(form.plain(_three_digits(middle) if value is None else value), form.low), form.high)
    name = f"Your guess ({form.unit})" if form.unit else "Your guess"
    named = {"tooltip": question, "style": {"description_width": "initial"}}
    text = widgets.BoundedIntText if form.whole else widgets.BoundedFloatText
    field = text(start, min=form.low, max=form.high, description=name, **named)
    bounds = {"description": "Slider", "readout": False, **named}
    if form.decades:
        low, high = math.log10(form.low), math.log10(form.high)
        slider = widgets.FloatLogSlider(start, base=10, min=low, max=high, step=(high - low) / 100, **bounds)
    elif form.whole:
        slider = widgets.IntSlider(start, min=form.low, max=form.high, **bounds)
    else:
        slider = widgets.FloatSlider(start, min=form.low, max=form.high, step=(form.high - form.low) / 100, **bounds)
    follows = [False]

    def follow(target: widgets.Widget, convert: Callable[[float], float]) -> Callable[[dict], None]:
        def moved(event: dict) -> None:
            if not follows[0]:  # else what was typed would come back as the slider's nearest step
                follows[0] = True
                target.value = min(max(convert(event["new"]), form.low), form.high)
                follows[0] = False

        return moved

    slider.observe(follow(field, round if form.whole else _three_digits), "value")
    field.observe(follow(slider, float if form.decades or not form.whole else int), "value")
    return widgets.HBox([slider, field]), lambda: field.value


def _three_digits(value: float) -> float:
    return float(f"{value:.3g}")


def _choice(form: Choice, question: str, value: Any) -> tuple[widgets.Widget, Callable[[], Any]]:
    field = widgets.RadioButtons(options=form.options, value=value, description="Your guess", tooltip=question,
                                 layout={"width": "max-content"})  # fmt: skip
    return field, lambda: field.value


def _order(form: Order, question: str, value: Any) -> tuple[widgets.Widget, Callable[[], Any]]:
    """A list to choose from for each place."""
    options = [("choose …", None), *((option, option) for option in form.options)]
    each = [
        widgets.Dropdown(
            options=options,
            value=value[i] if value else None,
            description=PLACES[i] if i < len(PLACES) else f"{i + 1}th",
            tooltip=f"{question} The {PLACES[i] if i < len(PLACES) else f'{i + 1}th'} place",
            style={"description_width": "initial"},
            layout={"width": "max-content"},
        )
        for i in range(len(form.options))
    ]
    return widgets.HBox(each, layout={"flex_flow": "row wrap"}), lambda: [field.value for field in each]
