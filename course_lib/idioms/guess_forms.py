"""What a guess can be: a number, a share, a choice, an order; and when it counts as good."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

FACTOR = 2
"""How far off a good guess may be where its bounds span a decade or more."""

TENTH = 0.1
"""How far off a good guess may be elsewhere, as a share of the bounds' width."""


@dataclass(frozen=True)
class Number:
    """A number from `low` to `high`, both included, in `unit`."""

    low: float
    high: float
    unit: str = ""
    kind = "number"

    def __post_init__(self) -> None:
        if not (is_number(self.low) and is_number(self.high) and self.low < self.high):
            raise ValueError(f"expected two numbers, low < high, got low={self.low!r} and high={self.high!r}")

    @property
    def whole(self) -> bool:
        """Whether only whole numbers can be guessed."""
        return isinstance(self.low, Integral) and isinstance(self.high, Integral)

    @property
    def decades(self) -> bool:
        """Whether the bounds span a decade or more, so that a guess is judged by its factor."""
        return self.low > 0 and self.high / self.low >= 10

    def asks(self) -> str:
        """What can be answered, in words."""
        return f"A {'whole ' * self.whole}number from {number_text(self.low)} to {self.said(self.high)}."

    def said(self, value: float) -> str:
        """A value as people read it."""
        return f"{number_text(value)} {self.unit}".strip()

    def fits(self, value: object) -> bool:
        """Whether `value` is an answer to this question."""
        return is_number(value) and self.low <= value <= self.high and (not self.whole or value == int(value))

    def plain(self, value: Any) -> float:
        """An answer as JSON holds it."""
        return int(value) if self.whole else float(value)

    def measured(self, truth: object) -> float:
        """The measurement in the guess's terms. Raises TypeError, ValueError where it is no finite number."""
        number = single_number(truth)
        return int(number) if number == int(number) else number

    def judged(self, value: float, truth: float) -> tuple[bool, str, str]:
        """Whether the guess is good, how far off it is, and the rule in words."""
        if value == truth:
            return True, "exactly what was measured", "no guess can be closer"
        way = "high" if value > truth else "low"
        if self.decades and truth > 0:
            factor = max(value / truth, truth / value)
            good = factor <= FACTOR * (1 + 1e-9)
            return good, f"{factor:.3g} times too {way}", f"{'within' if good else 'outside'} a factor of two"
        room = TENTH * (self.high - self.low)
        good = not self.decades and abs(value - truth) <= room * (1 + 1e-9)
        off = f"{self._distance(abs(value - truth))} too {way}"
        if self.decades:
            return good, off, "no factor leads to zero or below"
        return good, off, f"{'within' if good else 'outside'} a tenth of the range, {self._distance(room)}"

    def _distance(self, value: float) -> str:
        return self.said(value)


@dataclass(frozen=True)
class Share(Number):
    """A share, guessed in percent and measured as 0 to 1."""

    low: float = 0
    high: float = 100
    unit: str = "%"
    kind = "share"

    def asks(self) -> str:
        return "A share, from 0 to 100 %."

    @property
    def whole(self) -> bool:
        return False

    def measured(self, truth: object) -> float:
        number = single_number(truth)
        if not 0 <= number <= 1:
            raise ValueError(f"expected a share from 0 to 1 as the measurement, got {number:g}: divide by the whole")
        return round(100 * number, 10)  # 100 * 0.07 is 7.000000000000001

    def _distance(self, value: float) -> str:
        return f"{number_text(value)} percentage point{'s' * (value != 1)}"


@dataclass(frozen=True)
class Choice:
    """One of several texts."""

    options: tuple[str, ...]
    kind = "choice"

    def __post_init__(self) -> None:
        texts = all(isinstance(option, str) and option.strip() for option in self.options)
        if not texts or len(self.options) < 2 or len(set(self.options)) < len(self.options):
            raise ValueError(f"expected two or more different texts to choose from, got {list(self.options)!r}")

    def asks(self) -> str:
        return "One of: " + " · ".join(self.options)

    def said(self, value: str) -> str:
        return value

    def fits(self, value: object) -> bool:
        return isinstance(value, str) and value in self.options

    def plain(self, value: Any) -> Any:
        return str(value)

    def measured(self, truth: object) -> Any:
        if not isinstance(truth, str):
            raise TypeError(f"expected the right choice's text as the measurement, got {kind_of(truth)}")
        if truth not in self.options:
            raise ValueError(f"expected one of {', '.join(self.options)} as the measurement, got {truth!r}")
        return str(truth)

    def judged(self, value: Any, truth: Any) -> tuple[bool, str, str]:
        return value == truth, "", "it is right" if value == truth else "it is another one"


@dataclass(frozen=True)
class Order(Choice):
    """Several texts, to be put in order."""

    kind = "order"

    def asks(self) -> str:
        return "Put in order: " + " · ".join(self.options)

    def said(self, value: Sequence[str]) -> str:
        return ", then ".join(value)

    def fits(self, value: object) -> bool:
        texts = isinstance(value, list | tuple) and all(isinstance(each, str) for each in value)
        return texts and sorted(value) == sorted(self.options)

    def plain(self, value: Any) -> Any:
        return [str(each) for each in value]

    def measured(self, truth: object) -> Any:
        if isinstance(truth, str) or not isinstance(truth, Sequence):
            raise TypeError(f"expected a list, in the measured order, as the measurement, got {kind_of(truth)}")
        if not self.fits(list(truth)):
            raise ValueError(f"expected {', '.join(self.options)}, each once, in the measured order, got {list(truth)}")
        return self.plain(truth)

    def judged(self, value: Any, truth: Any) -> tuple[bool, str, str]:
        right = sum(mine == theirs for mine, theirs in zip(value, truth))
        return right == len(truth), "", f"{right} of {len(truth)} stand in their place"


Form = Number | Choice
"""What a question asks for; Share is a Number, Order a Choice."""


def is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def single_number(truth: object) -> float:
    """A finite number out of a Python number, a NumPy scalar or a tensor of one."""
    if getattr(truth, "shape", None) == () and hasattr(truth, "item"):
        truth = truth.item()
    if not isinstance(truth, Real) or isinstance(truth, bool):
        raise TypeError(f"expected a single number as the measurement, got {kind_of(truth)}")
    if not math.isfinite(truth):
        raise ValueError(f"expected a finite number as the measurement, got {truth}")
    return float(truth)


def kind_of(value: object) -> str:
    return f"{type(value).__name__} {value!r:.60}"


def number_text(value: float) -> str:
    """A number with the digits that a reader needs, four where it is not whole."""
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e15 else f"{value:.4g}"
