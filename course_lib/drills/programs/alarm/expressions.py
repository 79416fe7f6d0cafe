"""The expressions that the watcher knows: a small part of PromQL, and they mean there what they mean here.

name{label="value", other!="value"}     the newest value of each series
rate(name{…}[4s]), increase(name{…}[4s])    growth a second, or in all, over a window; after a restart it counts from 0
sum, avg, min, max, count (…)           over all series; `sum by (label) (…)` over those with equal labels
+ - * /  > < >= <=  and  or  ( )        between series with the same labels, or with a number

One difference: Prometheus extrapolates a growth to the window's edges, and this does not.
"""

import math
import operator
import re
from bisect import bisect_right
from collections.abc import Callable
from typing import NamedTuple

Labels = tuple[tuple[str, str], ...]
Vector = dict[Labels, float]

TOKEN = re.compile(r'\s*(\d+(?:\.\d+)?|[A-Za-z_]\w*|"[^"]*"|!=|>=|<=|[-+*/(){}\[\],=<>])')
NAME, NUMBER = r"[A-Za-z_]\w*", r"\d+(\.\d+)?"
SPELT = {NAME: "a name", f"{NAME}|{NUMBER}": "a name or a number", NUMBER: "a number", r"\(": "'('", r"\)": "')'", r"\[": "'['",
         r"\]": "']'", "s|m": "s or m behind the number", "=|!=": "= or !=", '".*"': "a text in quotes"}  # fmt: skip
LEVELS = (("or",), ("and",), (">", "<", ">=", "<="), ("+", "-"), ("*", "/"))
COMPUTE = {"+": operator.add, "-": operator.sub, "*": operator.mul,
           "/": lambda a, b: a / b if b else math.nan}  # fmt: skip
COMPARE = {">": operator.gt, "<": operator.lt, ">=": operator.ge, "<=": operator.le}
OVER = {"sum": sum, "avg": lambda values: sum(values) / len(values), "min": min, "max": max, "count": len}


class Look(NamedTuple):
    """What was read at a time: the value of each series, by name and labels."""

    time: float
    values: dict[tuple[str, Labels], float]


class View(NamedTuple):
    """The looks up to the one at `at`. second: how long one second of a window is."""

    looks: list[Look]
    at: int
    second: float = 1.0

    def newest(self, name: str, wanted: list) -> Vector:
        found = self.looks[self.at].values.items()
        return {labels: value for (own, labels), value in found if own == name and _fits(labels, wanted)}

    def growth(self, name: str, wanted: list, seconds: float) -> dict[Labels, tuple[float, float]]:
        """Labels -> (how far the counter has grown in the window, between looks so many seconds apart)."""
        now = self.looks[self.at].time
        first = bisect_right(self.looks, now - seconds * self.second * 1.05, hi=self.at, key=lambda each: each.time)
        grown = {}
        for labels in self.newest(name, wanted):
            points = [(each.time, each.values.get((name, labels))) for each in self.looks[first : self.at + 1]]
            points = [point for point in points if point[1] is not None]
            if len(points) > 1:
                steps = (new - old if new >= old else new for (_, old), (_, new) in zip(points, points[1:]))
                grown[labels] = sum(steps), (points[-1][0] - points[0][0]) / self.second
        return grown


def compiled(text: str) -> Callable[[View], Vector | float]:
    """The expression as a function. Raises ValueError, with the place, where it is none that we know."""
    parser = _Parser(text)
    found = parser.binary(0)
    if parser.tokens:
        raise ValueError(f"expected the end of the expression before {' '.join(parser.tokens[:4])!r} in: {text}")
    return found


class _Parser:
    def __init__(self, text: str) -> None:
        self.text, self.tokens, at = text, [], 0
        while text[at:].strip():
            if not (found := TOKEN.match(text, at)):
                raise ValueError(f"cannot read {text[at : at + 10]!r} in: {text}")
            self.tokens.append(found[1])
            at = found.end()

    def take(self, *wanted: str) -> str | None:
        return self.tokens.pop(0) if self.tokens and self.tokens[0] in wanted else None

    def need(self, pattern: str) -> str:
        if not self.tokens or not re.fullmatch(pattern, self.tokens[0]):
            got = repr(self.tokens[0]) if self.tokens else "the end"
            raise ValueError(f"expected {SPELT.get(pattern, pattern)}, got {got} in: {self.text}")
        return self.tokens.pop(0)

    def binary(self, level: int) -> Callable:
        if level == len(LEVELS):
            return self.atom()
        left = self.binary(level + 1)
        while sign := self.take(*LEVELS[level]):
            left = _joined(sign, left, self.binary(level + 1))
        return left

    def atom(self) -> Callable:
        if self.take("("):
            inside = self.binary(0)
            self.need(r"\)")
            return inside
        word = self.need(f"{NAME}|{NUMBER}")
        if word[0].isdigit():
            return lambda view: float(word)
        if word in OVER:
            by = self.names() if self.take("by") else []
            self.need(r"\(")
            inside = self.binary(0)
            self.need(r"\)")
            by = self.names() if self.take("by") else by
            return lambda view: _over(OVER[word], by, inside(view))
        if word in ("rate", "increase"):
            self.need(r"\(")
            name, wanted = self.need(NAME), self.matchers()
            self.need(r"\[")
            seconds = float(self.need(NUMBER)) * {"s": 1, "m": 60}[self.need("s|m")]
            self.need(r"\]")
            self.need(r"\)")
            a_second = word == "rate"
            return lambda view: {
                labels: grown / (apart if a_second else 1)
                for labels, (grown, apart) in view.growth(name, wanted, seconds).items()
            }
        wanted = self.matchers()
        return lambda view: view.newest(word, wanted)

    def names(self) -> list[str]:
        self.need(r"\(")
        found = []
        while not self.take(")"):
            found.append(self.need(NAME))
            self.take(",")
        return found

    def matchers(self) -> list[tuple[str, str, str]]:
        found = []
        if self.take("{"):
            while not self.take("}"):
                found.append((self.need(NAME), self.need("=|!="), self.need('".*"').strip('"')))
                self.take(",")
        return found


def _fits(labels: Labels, wanted: list) -> bool:
    own = dict(labels)
    return all((own.get(name, "") == value) == (sign == "=") for name, sign, value in wanted)


def _over(compute: Callable, by: list[str], vector: Vector | float) -> Vector:
    if not isinstance(vector, dict):
        raise ValueError("expected series to add up, got a number")
    groups: dict[Labels, list[float]] = {}
    for labels, value in vector.items():
        groups.setdefault(tuple(pair for pair in labels if pair[0] in by), []).append(value)
    return {labels: float(compute(values)) for labels, values in groups.items()}


def _joined(sign: str, left: Callable, right: Callable) -> Callable:
    def joined(view: View) -> Vector | float:
        a, b = left(view), right(view)
        if sign in ("and", "or"):
            if not (isinstance(a, dict) and isinstance(b, dict)):
                raise ValueError(f"expected series on both sides of `{sign}`, got a number")
            return {**b, **a} if sign == "or" else {labels: value for labels, value in a.items() if labels in b}
        if not (isinstance(a, dict) or isinstance(b, dict)):
            if sign in COMPARE:
                raise ValueError(f"expected series on one side of `{sign}`, got two numbers")
            return COMPUTE[sign](a, b)
        labels = [each for each in (a if isinstance(a, dict) else b) if not isinstance(b, dict) or each in b]
        pairs = {
            each: (a[each] if isinstance(a, dict) else a, b[each] if isinstance(b, dict) else b) for each in labels
        }
        if sign in COMPARE:
            return {each: x if isinstance(a, dict) else y for each, (x, y) in pairs.items() if COMPARE[sign](x, y)}
        return {each: COMPUTE[sign](x, y) for each, (x, y) in pairs.items()}

    return joined
