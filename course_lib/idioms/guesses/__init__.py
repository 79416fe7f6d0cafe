"""`guess` and `reveal`: the learner commits to a number, a share, a choice or an order, then sees the measurement.

    guess("lost", "How many of about 2,000 requests will fail?", low=0, high=2000)
    …
    reveal("lost", failed)

A guess is kept with the learner's progress (`store`), an entry a name:
{"question", "kind", "low", "high", "unit" | "options", "value", "date",
 "seen": when the measurement was first revealed, "late": whether the value was kept after that,
 "scored": {"value", "truth", "good"} of the first reveal, the only one that counts}.
"""

import importlib.util
import os
import sys
from collections.abc import Callable, Sequence
from datetime import date
from typing import Any

from course_lib import show
from course_lib.idioms import store
from course_lib.idioms.guesses.forms import (
    Choice,
    Form,
    Number,
    Order,
    Share,
    is_number,
    kind_of,
    number_text,
    single_number,
)
from course_lib.idioms.lesson import current


def guess(
    name: str,
    question: str,
    *,
    low: float | None = None,
    high: float | None = None,
    unit: str = "",
    share: bool = False,
    choices: Sequence[str] | None = None,
    order: Sequence[str] | None = None,
    mine: object = None,
) -> None:
    """Asks for a guess before a measurement, and never waits for it. `reveal` of the same name shows what was measured.

    name: unique within the lesson. question: in words, shown as it stands. One of these four says what is asked for:
    low and high, a number within these bounds, in `unit` (whole where both are); share=True, a share from 0 to 100 %;
    choices, one of several texts; order, several texts to be put in order.
    mine: the guess itself, for those who have no widgets: a number, a share in percent, a choice, a list in order.
    The learner's guess is kept with the progress once they say so. Raises ValueError for arguments that ask for
    nothing, or for a `mine` that is no answer.
    """
    form = _form(name, question, low, high, unit, share, choices, order)
    key = (current(), name)
    _asked[key] = (question, form)
    if mine is not None and not form.fits(mine):
        raise ValueError(f"mine={mine!r} is no answer to this question. {form.asks()}")
    entry = _entry(key)
    so_far = _so_far(form, entry) if mine is None else _keep(key, mine)
    widgets = mine is None and _widgets_run()
    how = "In a running notebook you enter your guess here. Where no field appears, add `mine=…` to the call."
    if widgets:  # what is kept stands below the field
        note = "If no field appears below, add `mine=…` to the call."
    else:
        note = so_far or how
    show.put(show.card("?", show.BLUE, question, form.asks(), note, label="guess"))
    if widgets:
        from course_lib.idioms.guesses.fields import fields

        value = entry.get("value")
        kept = value if form.fits(value) else None
        show.put(fields(form, question, kept, lambda value: _keep(key, value), so_far))


def reveal(name: str, truth: object, figure: object = "") -> None:
    """Shows what was measured beside the guess of that name, and whether the guess counts as good.

    truth: a number, a share from 0 to 1, the right choice's text, or the list in the measured order; a NumPy scalar is
    a number too. figure: shown below it. A guess is good within a factor of two where its bounds span a decade or more,
    else within a tenth of their width; a choice or an order when it is right. Only what was kept before the first
    reveal counts. Without a guess the measurement stands alone. Raises TypeError, ValueError for a measurement that is
    none, or is none of the answers to a choice.
    """
    key = (current(), name)
    question, form = _asked.get(key) or as_kept(_entry(key))
    if form is None:
        measured, shown = None, _anything(truth)
    else:
        measured = form.measured(truth)
        shown = form.said(measured)
    today = date.today().isoformat()

    def seen(entry: dict) -> None:
        entry.setdefault("seen", today)
        value = entry.get("value")
        if form is not None and form.fits(value) and not entry.get("late") and "scored" not in entry:
            good = form.judged(value, measured)[0]
            entry["scored"] = {"value": value, "truth": measured, "good": good}

    entry, refused = _change(key, seen)
    details = [question] if question else []
    colour = show.BLUE
    if form is None:
        details.append(f'The cell with `guess("{name}", …)` has not run in this kernel.')
    elif not form.fits(entry.get("value")):
        details.append("You kept no guess before this. Next time, guess first.")
    else:
        good, words = _verdict(form, entry, measured)
        colour = show.GREEN if good else show.ORANGE
        details += words + ([f"This was not kept: {refused}"] if refused else [])
    if str(figure):
        details.append(str(figure))
    show.put(show.card("◆", colour, f"Measured: {shown}", *details, label="reveal"))


_asked: dict[tuple[str, str], tuple[str, Form]] = {}
"""What was asked in this kernel, by lesson and name."""

_unkept: dict[tuple[str, str], dict] = {}
"""Entries that could not be written, for this kernel alone."""


def _form(name, question, low, high, unit, share, choices, order) -> Form:
    for what, text in (("name", name), ("question", question)):
        if not isinstance(text, str) or not text.strip():
            raise ValueError(f"expected a text as the {what} of a guess, got {text!r}")
    asked = [low is not None or high is not None, share is not False, choices is not None, order is not None]
    if sum(asked) != 1:
        raise ValueError(f"{name}: expected one of low= with high=, share=True, choices=[…] and order=[…]")
    if unit and not asked[0]:
        raise ValueError(f"{name}: expected a unit with low= and high= alone, got unit={unit!r}")
    if share is not False and share is not True:
        raise ValueError(f"{name}: expected share=True, got {share!r}")
    for options in (choices, order):
        if options is not None and (isinstance(options, str) or not isinstance(options, Sequence)):
            raise ValueError(f"{name}: expected a list of texts, got {kind_of(options)}")
    try:
        if share:
            return Share()
        if asked[0]:
            return Number(low, high, unit)
        return Choice(tuple(choices)) if choices is not None else Order(tuple(order))
    except ValueError as wrong:
        raise ValueError(f"{name}: {wrong}") from None


def as_kept(entry: dict) -> tuple[str, Form | None]:
    """The question that a kept guess answered; none where the entry is not whole."""
    try:
        if entry["kind"] == "number":
            return entry["question"], Number(entry["low"], entry["high"], entry["unit"])
        if entry["kind"] == "share":
            return entry["question"], Share()
        return entry["question"], {"choice": Choice, "order": Order}[entry["kind"]](tuple(entry["options"]))
    except (KeyError, TypeError, ValueError):
        return "", None


def counted(form: Form, entry: dict) -> dict | None:
    """What counts of a guess, {"value", "truth", "good"}; None where nothing does, or it was edited by hand."""
    scored = entry.get("scored")
    if not isinstance(scored, dict) or not form.fits(scored.get("value")) or not isinstance(scored.get("good"), bool):
        return None
    truth = scored.get("truth")  # which may lie outside of a number's bounds
    return scored if (is_number(truth) if isinstance(form, Number) else form.fits(truth)) else None


def _entry(key: tuple[str, str]) -> dict:
    return _unkept.get(key) or store.guesses().get(key[0], {}).get(key[1], {})


def _change(key: tuple[str, str], edit: Callable[[dict], object]) -> tuple[dict, str]:
    """The entry after `edit`, and why it could not be kept on disk, if so; this kernel then knows it all the same."""
    changed: dict = {}

    def within(kept: dict) -> None:
        entry = kept["guesses"].setdefault(key[0], {}).setdefault(key[1], {})
        entry.update(_unkept.get(key, {}))
        edit(entry)
        changed.update(entry)

    refused = store.change(within)
    if refused:
        changed = dict(_entry(key))
        edit(changed)
        _unkept[key] = changed
    else:
        _unkept.pop(key, None)
    return changed, refused


def _keep(key: tuple[str, str], value: object) -> str:
    """Keeps a guess; returns what to tell the learner."""
    question, form = _asked[key]
    plain = form.plain(value)
    described = {"options": list(form.options)} if isinstance(form, Choice) else {
        "low": form.plain(form.low), "high": form.plain(form.high), "unit": form.unit}  # fmt: skip

    def edit(entry: dict) -> None:
        if entry.get("value") != plain:  # the same again, when the cell runs again, is no new guess
            entry.update(value=plain, date=date.today().isoformat(), late="seen" in entry)
        entry.update(described, question=question, kind=form.kind)

    entry, refused = _change(key, edit)
    return _so_far(form, entry) + (f" It is kept in this kernel only. {refused}" if refused else "")


def _so_far(form: Form, entry: dict) -> str:
    """What the learner has guessed so far, and whether it can still count; empty where there is nothing to say."""
    said = f"Your guess so far: {form.said(entry['value'])}." if form.fits(entry.get("value")) else ""
    if entry.get("late") or ("seen" in entry and not said):
        return f"{said} You have seen the measurement, so a guess no longer counts.".strip()
    if "seen" in entry:
        return f"{said} You have seen the measurement: this guess counts, and a new one does not."
    return said and f"{said} You can change it until you see the measurement."


def _verdict(form: Form, entry: dict, measured: Any) -> tuple[bool, list[str]]:
    value, scored = entry["value"], counted(form, entry)
    good, off, rule = form.judged(value, measured)
    words = f"Your guess: {form.said(value)}{', ' * bool(off)}{off}."
    if not entry.get("late"):
        verdict = "That is a good guess" if good else "That does not count as good"
        details = [f"{words} {verdict}: {rule}."]
        if scored and scored["good"] != good:
            kept = "good" if scored["good"] else "not good"
            details.append(f"The first measurement that you saw was {form.said(scored['truth'])}, and your guess "
                           f"counts as {kept}.")  # fmt: skip
        return good, details
    details = [f"{words} You kept it after you had seen the measurement, so it does not count."]
    if scored:
        details.append(
            f"Your first guess counts: {form.said(scored['value'])}, {'' if scored['good'] else 'not '}good."
        )
    return False, details


def _widgets_run() -> bool:
    """Whether a notebook's kernel runs this, with widgets. The build keeps none, so it shows none."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    running = getattr(shell, "kernel", None) is not None and os.environ.get("COURSE_RECORD") != "1"
    return running and importlib.util.find_spec("ipywidgets") is not None


def _anything(truth: object) -> str:
    """A measurement of a question that is not known."""
    if isinstance(truth, str):
        return truth
    if isinstance(truth, list | tuple):
        return ", then ".join(map(str, truth))
    return number_text(single_number(truth))
