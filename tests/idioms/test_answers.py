"""What a learner is told about an answer that is none yet: the error and its line, what came back, what was printed."""

import functools
import linecache
import sys
from collections.abc import Callable, Iterator

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient

from course_lib.checks import Register, raises
from course_lib.idioms import check, exercises
from course_lib.idioms.answers import Watch
from course_lib.idioms.exercises import Property, examine

EXERCISES = Register()
HINTS = ["a", "b", "c"]


@EXERCISES.add("99.1", "Twice", seconds=0.3)
def twice(answer: Callable) -> Iterator[Property]:
    """answer(values, times=2) -> array."""
    values = np.array([1.0, 2.0])
    yield "it doubles", lambda: bool((answer(values) == [2.0, 4.0]).all()), HINTS
    yield "three times", lambda: bool((answer(values, times=3) == [3.0, 6.0]).all()), HINTS
    yield "text is refused", lambda: raises(ValueError, answer, "text"), HINTS


@EXERCISES.add("99.2", "A counter")
def counter(answer: type) -> Iterator[Property]:
    """answer(start) -> object with add()."""
    yield "it starts", lambda: answer(3).count == 3, HINTS
    yield "it adds", lambda: answer(3).add() == 4, HINTS


@EXERCISES.add("99.3", "Keep it", may_change=(0,))
def keeping(answer: Callable) -> Iterator[Property]:
    """answer(kept, key) -> whether it was new."""
    yield "new, then old", lambda: [answer(kept := {}, "a"), answer(kept, "a")] == [True, False], HINTS


@EXERCISES.add("99.4", "A pair")
def pair(answer: Callable) -> Iterator[Property]:
    """answer() -> (loss, gradient)."""

    def unpacks() -> bool:
        loss, gradient = answer()
        return loss == gradient

    yield "loss and gradient", unpacks, HINTS


@EXERCISES.add("99.5", "A number")
def number(answer: object) -> Iterator[Property]:
    """The accuracy, a float."""
    yield "it is a half", lambda: answer == 0.5, HINTS


@pytest.fixture(autouse=True)
def these(monkeypatch):
    monkeypatch.setattr(exercises, "exercises_of", lambda lesson: EXERCISES)


def cell(source: str) -> dict:
    """What a notebook's cell with this source defines."""
    name = f"/tmp/ipykernel_1/{abs(hash(source))}.py"
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    defined = {"np": np}
    exec(compile(source, name, "exec"), defined)
    return defined


STUBS = {
    "plain": "def f(values, times=2):\n    raise NotImplementedError",
    "called": "def f(values, times=2):\n    raise NotImplementedError()",
    "after statements": "def f(values, times=2):\n    if not len(values):\n        return 0\n    n = len(values)\n"
                        "    raise NotImplementedError",
    "wrapped": "import functools\n@functools.lru_cache\ndef g(): ...\ndef keep(f):\n    @functools.wraps(f)\n    def h(*a, **k):\n"
               "        return f(*a, **k)\n    return h\n@keep\ndef f(values, times=2):\n    raise NotImplementedError",
    "closure": "def make():\n    def f(values, times=2):\n        raise NotImplementedError\n    return f\nf = make()",
    "inside": "def f(values, times=2):\n    def g(value):\n        raise NotImplementedError\n"
              "    return np.array([g(v) for v in values])",
}  # fmt: skip


@pytest.mark.parametrize("source", STUBS.values(), ids=STUBS)
def test_the_stub_is_not_started(source):
    assert examine("99.1", cell(source)["f"]).state == "not started"


def test_a_partial_of_a_stub_and_a_class_of_stubs_are_not_started():
    stub = cell(STUBS["plain"])["f"]
    assert examine("99.1", functools.partial(stub, times=2)).state == "not started"
    in_init = "class Counter:\n    def __init__(self, start):\n        raise NotImplementedError"
    assert examine("99.2", cell(in_init)["Counter"]).state == "not started"
    in_property = (
        "class Counter:\n    def __init__(self, start):\n        pass\n"
        "    @property\n    def count(self):\n        raise NotImplementedError"
    )
    assert examine("99.2", cell(in_property)["Counter"]).state == "not started"


def test_a_class_with_one_stub_left_is_begun():
    begun = (
        "class Counter:\n    def __init__(self, start):\n        self.count = start\n"
        "    def add(self):\n        raise NotImplementedError"
    )
    found = examine("99.2", cell(begun)["Counter"])
    assert (found.state, found.passed, found.failed) == ("not yet", ("it starts",), "it adds")
    assert found.reasons[0].endswith("NotImplementedError, in line 5 of its cell: `raise NotImplementedError`.")


NO_STUBS = {
    "another class's": ("class Base:\n    def forward(self):\n        raise NotImplementedError\n"
                        "def f(values, times=2):\n    return Base().forward()", "NotImplementedError", 3),
    "with a message": ("def f(values, times=2):\n    raise NotImplementedError('times > 1')",
                       "NotImplementedError: times > 1", 2),
    "a kind of it": ("class Not(NotImplementedError): ...\ndef f(values, times=2):\n    raise Not", "Not", 3),
    "another function's": ("def g():\n    raise NotImplementedError\ndef f(values, times=2):\n    return g()",
                           "NotImplementedError", 2),
}  # fmt: skip


@pytest.mark.parametrize(("source", "error", "line"), NO_STUBS.values(), ids=NO_STUBS)
def test_any_other_not_implemented_error_is_an_error_with_its_line(source, error, line, capsys):
    found = examine("99.1", cell(source)["f"])
    assert found.state == "not yet"
    assert found.reasons[0].startswith(f"Your answer raised {error}, in line {line} of its cell: `")


def test_a_module_whose_forward_is_misindented_is_told_what_is_wrong(capsys):
    source = """
import torch
class Twice(torch.nn.Module):
    def __init__(self):
        super().__init__()
        def forward(self, x):
            return 2 * x
def f(values, times=2):
    return Twice()(torch.tensor(values)).numpy()
"""
    check("99.1", cell(source)["f"])
    said = capsys.readouterr().out
    assert 'Module [Twice] is missing the required "forward" function, in line 9 of its cell: `return Twice()' in said
    assert "hint 1" in said and "not started" not in said


@pytest.mark.parametrize(
    ("raising", "said"),
    [
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("[][0]", "IndexError: list index out of range"),
        ("exit_now()", "SystemExit: 3"),
        ("deep()", "RecursionError: maximum recursion depth exceeded"),
        ("np.empty(10**18)", "MemoryError: Unable to allocate 6.94 EiB"),
        ("warn()", "RuntimeWarning: overflow"),
        ("broken()", "Broken"),
        ("long()", "ValueError: xxxx"),
    ],
)
def test_whatever_an_answer_raises_is_shown_with_its_line_and_is_a_try(raising, said, capsys):
    source = f"""import sys, warnings
def exit_now(): sys.exit(3)
def deep(): return deep()
def warn():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.warn("overflow", RuntimeWarning)
class Broken(Exception):
    def __str__(self): return 1 / 0
def broken(): raise Broken
def long(): raise ValueError("x" * 10_000)
def f(values, times=2):
    return {raising}
"""
    for tries in (1, 2):
        check("99.1", cell(source)["f"])
        shown = capsys.readouterr().out
        assert f"Your answer raised {said}" in shown and "of its cell: `" in shown and f"hint {tries}: " in shown
        assert len(shown) < 1000


def test_an_error_in_what_the_check_handed_over_names_the_line_that_called_it():
    def of_the_check():
        raise OSError("disk full")

    source = "def f(work):\n    # first\n    return work()"
    watch = Watch(cell(source)["f"])
    with pytest.raises(OSError) as wrong, watch.listening():
        watch.handed(of_the_check)
    assert watch.reasons(wrong.value, "f(work)", "nothing", 20) == (
        "Your answer raised OSError: disk full, in line 3 of its cell: `return work()`.",
    )


def test_an_interrupt_goes_on():
    def f(values, times=2):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        examine("99.1", f)


def test_a_function_that_cannot_be_called_so_is_told_how_it_is_called():
    found = examine("99.1", cell("def f(): return 1")["f"])
    assert found.reasons == (
        "Calling `f(values, times=2)` raised TypeError: f() takes 0 positional arguments but 1 was given.",
    )


@pytest.mark.parametrize(
    ("body", "line"),
    [
        ("while True: pass", "while True: pass"),
        ("time.sleep(60)", "time.sleep(60)"),
        ("threading.Event().wait()", "threading.Event().wait()"),
    ],
)
def test_an_answer_without_an_end_is_stopped_and_told_where_it_was(body, line, capsys):
    f = cell(f"import time, threading\ndef f(values, times=2):\n    print('here')\n    {body}")["f"]
    check("99.1", f)
    said = capsys.readouterr().out
    assert f"It did not end within 0.3 seconds, and was stopped, in line 4 of its cell: `{line}`." in said
    assert "loop's condition" in said and 'It printed "here"' in said and "hint 1" in said
    assert sys.stdout.write("as before") and capsys.readouterr().out == "as before"


def test_a_result_without_an_end_is_stopped_as_well():
    def f(values, times=2):
        while True:
            yield 1

    assert examine("99.1", lambda values, times=2: np.array(list(f(values)))).reasons[0].startswith("It did not end")


def test_a_learner_who_prints_is_told_to_return(capsys):
    def f(values, times=2):
        print(2 * values)

    check("99.1", f)
    said = capsys.readouterr().out
    assert 'Your function printed "[2. 4.]" and returned None: use `return` to hand a result back.' in said
    assert said.count("[2. 4.]") == 1


def test_a_function_that_returns_nothing_a_generator_or_a_coroutine_is_told_so():
    def nothing(values, times=2):
        values * times

    def generator(values, times=2):
        yield from values

    async def coroutine(values, times=2):
        return values

    assert examine("99.1", nothing).reasons == ("Your function returned None: is a `return` missing?",)
    assert "returned a generator" in examine("99.1", generator).reasons[0]
    assert "returned a map" in examine("99.1", lambda values, times=2: map(float, values)).reasons[0]
    assert "`async def`" in examine("99.1", coroutine).reasons[0]


def test_what_the_check_could_not_use_is_named_with_what_it_expected():
    assert examine("99.4", lambda: [0.3]).reasons == (
        "Checking it raised ValueError: not enough values to unpack (expected 2, got 1). "
        "Expected (loss, gradient), got list [0.3].",
    )
    long = examine("99.4", lambda: "x" * 100_000).reasons[0]
    assert "got str 'xxx" in long and len(long) < 400


def test_an_argument_that_was_changed_in_place_is_named():
    def f(values, times=2):
        values *= times
        return values

    found = examine("99.1", f)
    assert (found.passed, found.failed) == (("it doubles",), "three times")
    assert found.reasons == (
        "It changes its argument `values` in place, so the caller's array is not what it was. Work on a copy.",
    )


@pytest.mark.parametrize(
    ("value", "change"),
    [
        ([1, [2]], lambda v: v[1].append(3)),
        ({"a": [1]}, lambda v: v["a"].append(2)),
        ({1}, lambda v: v.add(2)),
        (bytearray(b"a"), lambda v: v.extend(b"b")),
        (np.zeros(3), lambda v: v.fill(np.nan)),
    ],
)
def test_changes_of_any_usual_argument_are_seen_and_reading_is_none(value, change):
    for does, seen in ((lambda v: repr(v), False), (change, True)):
        watch = Watch(does)
        with watch.listening():
            watch.handed(value)
        assert bool(watch.changed) is seen


def test_a_nan_and_a_tensor_that_stay_are_no_change():
    import torch

    tensor = torch.zeros(3)
    for does, seen in ((lambda *_: None, False), (lambda _, t: t.add_(1), True)):
        watch = Watch(does)
        with watch.listening():
            watch.handed([float("nan"), np.array([np.nan])], tensor)
        assert bool(watch.changed) is seen


def test_what_an_exercise_asks_to_change_is_no_reproach():
    def f(kept, key):
        kept[key] = 1
        return True

    assert examine("99.3", f).reasons == ()


def test_a_flood_of_output_is_cut_and_counted(capsys):
    def f(values, times=2):
        for i in range(2_000):
            print("line", i)
        return values * times if isinstance(values, np.ndarray) else int(values)

    check("99.1", f)
    said = capsys.readouterr().out
    assert said.startswith("✓ 99.1 Twice: solved") and 'It printed "line 0 ⏎ line 1 ⏎' in said
    assert "characters in all" in said and len(said) < 500


def test_the_wrapper_looks_like_the_answer_and_leaves_classes_and_values_alone():
    def f(values, times=2):
        """Twice."""

    handed = Watch(f).handed
    assert (handed.__name__, handed.__doc__, handed.__wrapped__) == ("f", "Twice.", f)
    for each in (int, 3.5, None, "text"):
        assert Watch(each).handed is each


def test_where_a_value_is_asked_for_a_value_is_checked():
    assert examine("99.5", 0.5).state == "solved"
    assert examine("99.5", 0.4).reasons == ()


def test_numbers_and_text_are_not_looked_at_for_changes():
    watch = Watch(lambda value: value)
    with watch.listening():
        watch.handed(3.5)
        watch.handed("text")
    assert watch._looked_s == 0


def test_in_a_notebook_the_line_is_the_cells_and_the_kernel_goes_on():
    begin = (
        "import dataclasses, time\nfrom course_lib.checks.lesson_00 import EXERCISES\nfrom course_lib.idioms import check\n"
        "EXERCISES['00.1'] = dataclasses.replace(EXERCISES['00.1'], seconds=0.5)"
    )
    cells = [begin]
    for line in (
        "return availability / 0",
        "time.sleep(60)",
        "while True: availability += 1",
        "raise SystemExit",
        "input()",
    ):
        cells += [f"def f(availability, days=30):\n    print('deep in it')\n    {line}", "check('00.1', f)"]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(each) for each in cells])
    NotebookClient(notebook, timeout=60, kernel_name="python3").execute()
    cards = [each.outputs for each in notebook.cells if each.source.startswith("check")]
    texts = [outputs[0]["data"]["text/plain"] for outputs in cards]
    assert [len(outputs) for outputs in cards] == [1] * 5, "what was printed stands in the card alone"
    assert "ZeroDivisionError: float division by zero, in line 3 of its cell: `return availability / 0`" in texts[0]
    assert "did not end within 0.5 seconds, and was stopped, in line 3 of its cell: `time.sleep(60)`" in texts[1]
    assert "in line 3 of its cell: `while True: availability += 1`" in texts[2]
    assert "raised SystemExit, in line 3" in texts[3] and "StdinNotImplementedError" in texts[4]
