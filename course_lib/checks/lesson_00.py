"""Checks of lesson 00, welcome."""

import math
from collections.abc import Callable, Iterator

from course_lib.checks import Register, raises
from course_lib.idioms.exercises import Property

EXERCISES = Register()


@EXERCISES.add("00.1", "How long may it be down?")
def allowed_downtime(answer: Callable) -> Iterator[Property]:
    """answer(availability, days=30) -> minutes."""
    yield ("99.9 % over 30 days leaves 43.2 minutes", lambda: abs(answer(0.999) - 43.2) < 1e-6, [
        "The service may be down for the rest: 0.1 % of the time. How many minutes do 30 days have?",
        "In which unit is your result? The docstring asks for minutes.",
        "A day has 24 · 60 minutes: (1 - availability) * days * 24 * 60.",
    ])  # fmt: skip
    yield ("any number of days counts", lambda: abs(answer(0.99, 7) - 100.8) < 1e-6 and abs(answer(0.5, 0.5) - 360) < 1e-6, [
        "Try 7 days at 99 %: 100.8 minutes.",
        "Does a 30 stand in your formula, rather than `days`?",
        "`days` need not be a whole number: half a day at 50 % is 360 minutes.",
    ])  # fmt: skip
    yield ("both ends are right: always up, never up", lambda: answer(1.0) == 0 and answer(0.0, 1) == 1440, [
        "What does a promise of 100 % allow?",
        "What does a promise of 0 % over one day allow?",
        "0 minutes and 1440 minutes; 0 and 1 are shares as good as any other.",
    ])  # fmt: skip
    # The tolerance is more than a datetime.timedelta's microseconds lose, and less than six decimals.
    yield ("nothing is rounded", lambda: all(
        math.isclose(answer(share, days), 1440 * days * (1 - share), rel_tol=1e-9, abs_tol=5e-8)
        for share, days in ((0.123456789, 3), (0.99999, 0.1), (1 - 2**-20, 30))
    ), [
        "Try a promise of 99.999 % over a tenth of a day: it leaves 0.00144 minutes.",
        "Does your function round? Whoever shows the number may round it; the function should not.",
        "Take away round(…), int(…) and // from the result.",
    ])  # fmt: skip
    yield ("a percentage in place of a share is refused", lambda: all(raises(ValueError, answer, bad) for bad in (99.9, 1.001, -0.1)), [
        "What does your function return for 99.9? Could a service be down for a negative time?",
        "Raise ValueError where `availability` is not between 0 and 1.",
        "if not 0 <= availability <= 1: raise ValueError(f'expected a share from 0 to 1, got {availability}')",
    ])  # fmt: skip
    yield ("NaN is refused: it is no share either", lambda: raises(ValueError, answer, math.nan), [
        "What does your function return for float('nan')?",
        "Every comparison with NaN is false: `availability < 0 or availability > 1` does not catch it.",
        "Ask whether it is inside, not whether it is outside: if not 0 <= availability <= 1: raise ValueError(…)",
    ])  # fmt: skip
