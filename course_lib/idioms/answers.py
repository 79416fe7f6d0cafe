"""`Watch`: sees what an answer does while a check calls it, and says in plain words why it did not do."""

import functools
import inspect
import io
import linecache
import opcode
import os
import reprlib
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from types import CodeType

from course_lib.idioms.time_limit import TimeUp

RAISE = opcode.opmap["RAISE_VARARGS"]
LOOK_S = 0.3
"""How long, in a property, the copies of arguments may take with which a change is noticed."""
PLAIN = {int, float, str, bytes, bool, type(None)}
NOTHING = object()


class Watch:
    """Hands an answer to a check (`watch.handed`) and notes what it prints, returns, raises and changes.

    may_change: positions of the arguments that the exercise wants changed in place. Functions are handed over in a
    wrapper that looks like them; anything else (a class, a value) as it is, and then only what it prints is noted.
    """

    def __init__(self, answer: object, may_change: tuple[int, ...] = ()) -> None:
        self.answer, self.may_change = answer, may_change
        wrapped = inspect.isroutine(answer) or isinstance(answer, functools.partial)
        self.handed = self._wrapper(answer) if wrapped else answer
        self.output = Output()
        self.changed: dict[int | str, object] = {}
        self.returned: object = NOTHING
        self.raised: BaseException | None = None
        self._printed = self._handed_back = False
        self._looked_s = 0.0

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Begins a property: until its end, what is printed is kept and not shown."""
        self.output, self.returned, self.raised, self._looked_s = Output(), NOTHING, None, 0.0
        with redirect_stdout(self.output):
            yield

    def _wrapper(self, answer: Callable) -> Callable:
        @functools.wraps(answer)
        def watched(*arguments: object, **named: object) -> object:
            before, printed_before = self._look(arguments, named), self.output.length
            self.returned = NOTHING
            try:
                self.returned = answer(*arguments, **named)
            except BaseException as wrong:
                self.raised = wrong
                raise
            finally:
                self._printed = self.output.length > printed_before
                self._compare(before, arguments, named)
            self._handed_back |= self.returned is not None
            return self.returned

        return watched

    def _look(self, arguments: tuple, named: dict) -> list[object]:
        if self._looked_s > LOOK_S or not (named or any(type(each) not in PLAIN for each in arguments)):
            return []
        began = time.perf_counter()
        try:
            return [_contents(each) for each in (*arguments, *named.values())]
        except Exception:  # a list that contains itself, an object with ideas of its own
            return []
        finally:
            self._looked_s += time.perf_counter() - began

    def _compare(self, before: list[object], arguments: tuple, named: dict) -> None:
        if not before:
            return
        began = time.perf_counter()
        for i, (was, each) in enumerate(zip(before, (*arguments, *named.values()), strict=False)):
            try:
                if was is not each and was != _contents(each):
                    self.changed[i if i < len(arguments) else list(named)[i - len(arguments)]] = each
            except Exception:  # values that cannot be compared
                continue
        self._looked_s += time.perf_counter() - began

    def is_stub(self, wrong: BaseException) -> bool:
        """Whether `wrong` is the stub's own `raise NotImplementedError`, not one from further down."""
        if type(wrong) is not NotImplementedError or wrong.args:
            return False
        inmost = wrong.__traceback__
        while inmost.tb_next:
            inmost = inmost.tb_next
        code = inmost.tb_frame.f_code
        return code in _codes(self.answer) and code.co_code[inmost.tb_lasti] == RAISE

    def reasons(self, wrong: BaseException | None, called: str, promised: str, seconds: float) -> tuple[str, ...]:
        """Why a property does not hold, in sentences.

        wrong: what was raised, if anything. called, promised: how the check calls the answer, and what is to come back.
        seconds: the limit, for TimeUp.
        """
        sentences = []
        if isinstance(wrong, TimeUp):
            sentences += [
                f"It did not end within {seconds:g} seconds, and was stopped{self._place(wrong.lines)}.",
                "Does a loop's condition never become false, or does it wait for something that never comes?",
            ]
        elif wrong is not None and self._own(wrong):
            sentences += [f"Your answer raised {_said(wrong)}{self._place(_lines(wrong))}."]
        elif wrong is not None and wrong is self.raised:  # it could not even begin
            sentences += [f"Calling `{called}` raised {_said(wrong)}."]
        else:
            sentences += self._of_what_came_back(wrong, promised)
        for where, value in self.changed.items():
            if where not in self.may_change:
                what = f"It changes {_parameter(self.answer, where)} in place"
                sentences += [f"{what}, so the caller's {_kind(value)} is not what it was. Work on a copy."]
        return tuple(sentences)

    def _of_what_came_back(self, wrong: BaseException | None, promised: str) -> list[str]:
        got = self.returned
        if got is None and not self._handed_back and "None" not in promised:
            if self._printed:
                return [
                    f"Your function printed {self.output.text()} and returned None: use `return` to hand a result back."
                ]
            return ["Your function returned None: is a `return` missing?"]
        if inspect.iscoroutine(got):
            got.close()
            return ["Your function returned a coroutine: write `def`, not `async def`."]
        if isinstance(got, Iterator) and not any(word in promised for word in ("iterator", "generator")):
            what = f"Your function returned a {type(got).__name__}"
            return [f"{what}, which has computed nothing yet and can be read only once. Expected: {promised}."]
        if wrong is None:
            return []
        if got is NOTHING:
            return [f"Checking it raised {_said(wrong)}."]
        return [f"Checking it raised {_said(wrong)}. Expected {promised}, got {described(got)}."]

    def remarks(self, reasons: tuple[str, ...] = ()) -> tuple[str, ...]:
        """What the answer printed in this property, shortened, unless the reasons say so already."""
        printed = self.output.text()
        return () if not printed or any(printed in each for each in reasons) else (f"It printed {printed}",)

    def _own(self, wrong: BaseException) -> bool:
        """Whether it came out of the answer's code, rather than out of what the check did with its result."""
        codes = [code for code, _ in _lines(wrong)]
        return not _codes(self.answer).isdisjoint(codes) or (wrong is self.raised and any(map(self._is_own, codes)))

    def _is_own(self, code: CodeType) -> bool:
        codes = _codes(self.answer)
        return code in codes or code.co_filename in {each.co_filename for each in codes}

    def _place(self, lines: list[tuple[CodeType, int]]) -> str:
        """The inmost line of the answer's own cell or file, as the end of a sentence."""
        for code, number in lines:
            if self._is_own(code):
                text = linecache.getline(code.co_filename, number).strip()
                path = code.co_filename
                whose = os.path.basename(path) if os.path.exists(path) and "ipykernel_" not in path else "its cell"
                return f", in line {number} of {whose}" + (f": `{text}`" if text and "`" not in text else "")
        return ""


class Output(io.TextIOBase):
    """A text stream that keeps the first characters and counts the rest, however much is printed."""

    KEPT = 2000
    encoding = "utf-8"

    def __init__(self) -> None:
        self._start, self.length = "", 0

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        if self.length < self.KEPT:
            self._start = (self._start + text)[: self.KEPT]
        self.length += len(text)
        return len(text)

    def text(self, width: int = 200) -> str:
        """What was written, quoted, on one line of at most `width` characters; empty where nothing was."""
        if not self.length:
            return ""
        line = _cut(self._start.strip().replace("\n", " ⏎ "), width)
        more = f" ({self.length:,} characters in all)" if line.endswith("…") else ""
        return f'"{line}"{more}'


def described(value: object) -> str:
    """A value by its type and the start of its repr: `list [1, 2]`."""
    return "None" if value is None else f"{type(value).__name__} {_cut(_short.repr(value), 80)}"


_short = reprlib.Repr()
_short.maxother = _short.maxstring = 80


def _cut(text: str, width: int) -> str:
    line = " ".join(text.split())
    return line if len(line) <= width else line[: width - 1].rstrip() + "…"


def _said(wrong: BaseException) -> str:
    try:
        text = _cut(str(wrong), 200).rstrip(".")
    except Exception:  # an exception of the learner's own, whose __str__ is broken
        text = ""
    return type(wrong).__name__ + (f": {text}" if text else "")


def _lines(wrong: BaseException) -> list[tuple[CodeType, int]]:
    """Where it came from, innermost first."""
    return [(frame.f_code, number) for frame, number in traceback.walk_tb(wrong.__traceback__)][::-1]


def _codes(answer: object) -> set[CodeType]:
    """The code of a function, of what is defined inside it, and of a class's or an object's own methods."""
    if isinstance(answer, functools.partial):
        return _codes(answer.func)
    if inspect.isclass(answer):
        found = [part for each in vars(answer).values() for part in _functions(each)]
    elif inspect.isroutine(answer) or hasattr(answer, "__wrapped__"):
        found = _functions(answer)
    else:
        return _codes(type(answer)) if callable(answer) else set()
    codes, todo = set(), [each.__code__ for each in found]
    while todo:
        codes.add(code := todo.pop())
        todo += [each for each in code.co_consts if isinstance(each, CodeType)]
    return codes


def _functions(part: object) -> list[Callable]:
    if isinstance(part, property):
        return [each for each in (part.fget, part.fset, part.fdel) if each]
    part = getattr(part, "func", getattr(part, "__func__", part))  # cached_property; class, static and bound methods
    part = inspect.unwrap(part) if callable(part) else part
    return [part] if inspect.isfunction(part) else []


def _contents(value: object) -> object:
    """What tells whether a value was changed in place: equal before and after, or it was."""
    if isinstance(value, (list, tuple)):
        return [_contents(each) for each in value]
    if isinstance(value, dict):
        return [(key, _contents(each)) for key, each in value.items()]
    if isinstance(value, (set, bytearray)):
        return value.copy()
    if hasattr(value, "__array_interface__"):
        return value.shape, value.dtype.str, value.tobytes()
    try:
        return ("version", value._version) if hasattr(value, "_version") else value  # a tensor counts its changes
    except RuntimeError:  # inference tensors do not
        return value


def _kind(value: object) -> str:
    return "array" if hasattr(value, "__array_interface__") else type(value).__name__.lower()


def _parameter(answer: object, where: int | str) -> str:
    """An argument by its position or its name, as the answer calls it."""
    try:
        names = [each for each in inspect.signature(answer).parameters.values() if each.kind is not each.VAR_POSITIONAL]
        return f"its argument `{where if isinstance(where, str) else names[where].name}`"
    except (TypeError, ValueError, IndexError):
        return "one of its arguments"
