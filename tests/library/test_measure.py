"""Measuring: what is counted, and in which order. No test here asserts a speed."""

import numpy as np
import pytest

from course_lib import measure


def test_every_call_is_measured_in_every_round_and_warming_up_is_not_counted():
    called = []
    taken = measure.latencies_ms(
        {"a": lambda: called.append("a"), "b": lambda: called.append("b")}, rounds=7, warm_up=2
    )
    assert {name: each.shape for name, each in taken.items()} == {"a": (7,), "b": (7,)}
    assert called.count("a") == called.count("b") == 9


def test_calls_take_turns_in_an_order_that_changes():
    called = []
    measure.latencies_ms({name: lambda name=name: called.append(name) for name in "abc"}, rounds=20, warm_up=0)
    rounds = [tuple(called[i : i + 3]) for i in range(0, 60, 3)]
    assert all(sorted(each) == ["a", "b", "c"] for each in rounds)
    assert len(set(rounds)) > 1


def test_nothing_to_measure_is_refused():
    with pytest.raises(ValueError, match="got 0 calls"):
        measure.latencies_ms({})
    with pytest.raises(ValueError, match="got none"):
        measure.spread(np.array([]))


def test_spread_is_the_median_and_the_quartiles():
    assert measure.spread(np.array([1.0, 2.0, 3.0, 4.0, 100.0])) == measure.Spread(median=3.0, low=2.0, high=4.0)


def test_a_fresh_process_returns_the_result_and_what_it_took():
    said = measure.fresh_process("import sys\nprint('noise')\nresult = 'torch' in sys.modules")
    assert said.result is False
    assert said.seconds > 0 and said.resident_mib > 1


def test_memory_that_the_code_holds_is_counted():
    small, large = (measure.fresh_process(f"held = bytes(b'x') * {n}") for n in (1, 200 * 2**20))
    assert large.resident_mib - small.resident_mib > 150


def test_code_that_fails_says_why():
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        measure.fresh_process("1 / 0")
