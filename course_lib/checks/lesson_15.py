"""Checks of lesson 15."""

import asyncio
import copy
import math
import random as randomness
from collections.abc import Callable, Iterator

import numpy as np

from course_lib.checks import Register, raises
from course_lib.idioms.exercises import Property

EXERCISES = Register()


@EXERCISES.add("15.1", "A budget for a call graph")
def call_graph(answer: Callable) -> Iterator[Property]:
    """answer(graph) -> (availability, ms)."""

    def gives(availability: float, ms: float, graph: tuple) -> bool:
        found = answer(graph)
        return math.isclose(found[0], availability, abs_tol=1e-12) and math.isclose(found[1], ms, abs_tol=1e-9)

    a, b, c = (0.9, 100), (0.8, 50), (0.5, 20)
    yield ("parts in series: availabilities multiply, times add up", lambda: gives(0.72, 150, ("series", [a, b])), [
        "All are needed: when does the whole work?",
        "0.9 · 0.8, and 100 ms + 50 ms.",
        "math.prod(…) of the availabilities, sum(…) of the times.",
    ])  # fmt: skip
    yield ("any of several: failures multiply, the slowest counts", lambda: gives(0.98, 100, ("any", [a, b])) and gives(0.99, 100, ("any", [a, b, c])), [
        "When does the whole fail?",
        "Only if all of them fail: 0.1 · 0.2.",
        "1 - math.prod(1 - a for …), max(…) of the times.",
    ])  # fmt: skip
    yield ("retries: all tries must fail, and each takes its time", lambda: gives(0.875, 60, ("retry", 3, c)) and gives(0.9, 100, ("retry", 1, a)), [
        "The whole fails only if all three tries fail.",
        "It fails with probability 0.5³, and may take 3 · 20 ms.",
        "1 - (1 - availability) ** attempts, attempts * ms.",
    ])  # fmt: skip
    nested = ("series", [a, ("retry", 2, ("any", [b, ("series", [c, c])])), ("any", [a, a])])
    inner = 1 - (1 - (1 - 0.2 * 0.75)) ** 2
    yield ("graphs inside graphs", lambda: gives(0.9 * inner * 0.99, 100 + 2 * 50 + 100, nested), [
        "A part of a graph may be a graph.",
        "Let the function call itself for each part.",
        "parts = [budget(each) for each in graph[1]]",
    ])  # fmt: skip
    yield ("nothing in series always works; any of nothing never does", lambda: gives(1, 0, ("series", [])) and gives(0, 0, ("any", []))
           and gives(0.81, 200, ("series", [a, a, ("series", [])])), [
        "Try empty lists.",
        "max() of nothing raises, unless it is told what to give.",
        "max((…), default=0)",
    ])  # fmt: skip
    yield ("floats come back, also for parts that always or never work", lambda: all(
        isinstance(x, float) for graph in ((1, 0), (0, 5), ("series", []), ("any", [(1, 2)]), ("retry", 2, (1, 3))) for x in answer(graph)
    ) and gives(1, 0, (1, 0)) and gives(0, 5, (0, 5)), [
        "Try the part (1, 0), in whole numbers.",
        "Convert what you return.",
        "float(…)",
    ])  # fmt: skip
    yield ("what is not a graph is refused, inside another one too", lambda: all(raises(ValueError, answer, graph) for graph in (
        (1.5, 10), (-0.1, 10), (99.9, 10), (0.9, -1), ("parallel", [a]), ("retry", 0, a), ("series", [a, (2, 1)]), ("any", [("or", [])]))), [
        "Try an availability of 99.9, a percentage instead of a share.",
        "Also another word than the three, fewer than one try, and a negative time.",
        "raise ValueError(…) at the end, for all that fits none of the cases.",
    ])  # fmt: skip


@EXERCISES.add("15.2", "Wait, but not for ever")
def waits(answer: Callable) -> Iterator[Property]:
    """answer(base_s, cap_s, attempts, deadline_s, random) -> waits."""
    inf = math.inf

    def drawn(*numbers: float) -> Callable[[], float]:
        left = list(numbers)
        return lambda: left.pop(0)

    def almost_one() -> float:
        return 0.999999

    def close(found: list[float], wanted: list[float]) -> bool:
        return isinstance(found, list) and len(found) == len(wanted) and np.allclose(found, wanted)

    yield ("one wait fewer than tries", lambda: [len(answer(1, 8, n, inf, lambda: 0.5)) for n in (1, 2, 5)] == [0, 1, 4], [
        "There is no wait before the first try.",
        "Five tries have four gaps.",
        "for k in range(attempts - 1):",
    ])  # fmt: skip
    yield ("the upper end doubles", lambda: close(answer(0.5, 100, 5, inf, almost_one), [0.5, 1, 2, 4]), [
        "With the largest random numbers the waits are almost 0.5, 1, 2, 4.",
        "base_s · 2^k, with k from 0.",
        "random() * base_s * 2**k, and mind the cap.",
    ])  # fmt: skip
    yield ("the cap ends the doubling", lambda: close(answer(1, 3, 6, inf, almost_one), [1, 2, 3, 3, 3]), [
        "With cap_s = 3 the upper ends are 1, 2, 3, 3, 3.",
        "The smaller of the two.",
        "min(cap_s, base_s * 2**k)",
    ])  # fmt: skip
    yield ("only the cap ends it, after forty doublings too", lambda: close(answer(1e-9, 1000, 45, inf, almost_one)[38:],
           [2**k / 1e9 for k in (38, 39)] + [1000] * 4), [
        "With base_s = 1e-9 and cap_s = 1000 it takes forty doublings to the cap.",
        "Is the exponent limited to a number of your own?",
        "Double a number in the loop, and cap it at each step.",
    ])  # fmt: skip
    yield ("jitter is full: from zero, drawn after the cap", lambda: close(answer(1, 3, 5, inf, drawn(0.0, 0.5, 0.25, 1 / 3)), [0, 1, 0.75, 1]), [
        "A random number of 0 means no wait at all.",
        "The cap holds for the upper end, not for what was drawn.",
        "random() * min(cap_s, …)",
    ])  # fmt: skip
    yield ("no wait ends at the deadline or after it", lambda: close(answer(1, 8, 9, 7.5, almost_one), [1, 2, 4])
           and close(answer(1, 1, 9, 3.0, drawn(*[1.0] * 9)), [1, 1]) and answer(1, 1, 9, 0, almost_one) == [], [
        "The waits 1, 2, 4 add up to 7; the next one would end after 7.5.",
        "At the deadline is too late: with a deadline of 3 and waits of 1 there are two.",
        "if sum(waits) + wait >= deadline_s: break",
    ])  # fmt: skip
    yield ("the list ends there, even if a shorter wait would fit", lambda: close(answer(1, 8, 5, 1.5, drawn(0.9, 0.9, 0.0, 0.0)), [0.9]), [
        "The second wait is too long; the third would be 0.",
        "Stop, do not skip.",
        "break, not continue",
    ])  # fmt: skip
    calls: list[int] = []

    def counted() -> float:
        calls.append(1)
        return 0.5

    def once_each() -> bool:
        calls.clear()
        answer(1, 8, 6, inf, counted)
        all_used = len(calls)
        calls.clear()
        answer(1, 8, 6, 1.2, counted)  # waits 0.5, then 1.0, which is too long
        return all_used == 5 and len(calls) == 2

    yield ("one random number for each wait that is considered", once_each, [
        "Six tries without a deadline: five numbers.",
        "Draw each once, and keep it.",
        "wait = random() * …, then look whether it fits.",
    ])  # fmt: skip
    yield ("thousands of tries do not overflow", lambda: len(answer(0.1, 2, 5000, inf, lambda: 0.5)) == 4999
           and math.isclose(answer(0.1, 2, 5000, inf, lambda: 0.5)[-1], 1.0)
           and list(answer(0, 2, 5000, inf, lambda: 0.5)) == [0] * 4999, [
        "Try 5,000 tries with the deadline at infinity; and with base_s = 0, where each wait is 0.",
        "2.0 ** 5000 is more than a float holds.",
        "Double a number in the loop, and cap it at each step.",
    ])  # fmt: skip
    yield ("zero tries and negative times are refused", lambda: all(raises(ValueError, answer, *case, lambda: 0.5) for case in (
        (1, 8, 0, 5), (-1, 8, 3, 5), (1, -8, 3, 5), (1, 8, 3, -5))), [
        "Try attempts = 0, and each time negative.",
        "A negative deadline is a mistake, not a deadline that has passed.",
        "if attempts < 1 or min(base_s, cap_s, deadline_s) < 0: raise ValueError(…)",
    ])  # fmt: skip


def _reference(events: list[tuple], threshold: int, open_s: float) -> list[bool]:
    """The breaker, written as a table of states: an independent second way."""
    state, count, since, trial, passed_in, answers, epoch = "closed", 0, 0.0, None, {}, [], 0
    for event in events:
        if event[0] == "call":
            _, now, name = event
            if state == "open" and now >= since + open_s:
                state, trial = "half-open", name
                answers.append(True)
                continue
            if state == "closed":
                passed_in[name] = epoch
            answers.append(state == "closed")
        else:
            _, now, name, ok = event
            if state == "half-open" and name == trial:
                state, since, trial = ("closed", since, None) if ok else ("open", now, None)
                if ok:
                    count, epoch = 0, epoch + 1
            elif state == "closed" and passed_in.get(name) == epoch:
                count = 0 if ok else count + 1
                if count == threshold:
                    state, since = "open", now
    return answers


def _traffic(seed: int, calls: int = 60) -> tuple[list[tuple], int, float]:
    """Random events that fit the reference's decisions: only what was let through ends."""
    drawn = randomness.Random(seed)
    threshold, open_s = drawn.choice([1, 2, 3]), drawn.choice([0.0, 2.0, 5.0])
    events, under_way = [], []
    now = 0.0
    for number in range(calls):
        now += drawn.choice([0.25, 0.5, 1.0])
        while under_way and drawn.random() < 0.5:
            name = under_way.pop(drawn.randrange(len(under_way)))
            events.append(("end", now, name, drawn.random() < 0.4))
        events.append(("call", now, number))
        if _reference(events, threshold, open_s)[-1]:
            under_way.append(number)
    return events, threshold, open_s


@EXERCISES.add("15.3", "A circuit breaker, on paper")
def breaker(answer: Callable) -> Iterator[Property]:
    """answer(events, threshold, open_s) -> a bool for each call."""

    def gives(wanted: str, events: list[tuple], threshold: int = 2, open_s: float = 10.0) -> bool:
        return list(answer(events, threshold, open_s)) == [letter == "y" for letter in wanted]

    def one(now: float, name: str, ok: bool) -> list[tuple]:
        return [("call", now, name), ("end", now + 0.5, name, ok)]

    fails = one(0, "a", False) + one(1, "b", False)
    yield ("closed, every call passes", lambda: gives("yyy", one(0, "a", True) + one(1, "b", False) + one(2, "c", True))
           and list(answer([], 2, 1.0)) == [], [
        "One failure is below the threshold of 2.",
        "The answer has an entry for each call, none for an end.",
        "Begin with a list, and append True for each call while the breaker is closed.",
    ])  # fmt: skip
    yield ("at the threshold it opens", lambda: gives("yyn", [*fails, ("call", 2, "c")]) and gives("yn", [*one(0, "a", False), ("call", 2, "c")], 1), [
        "Two failures, then a call.",
        "Count failures where calls end, and look at the count there.",
        "if failures >= threshold: opened_s = now",
    ])  # fmt: skip
    yield ("a success sets the count to zero", lambda: gives("yyyy", one(0, "a", False) + one(1, "b", True) + one(2, "c", False) + [("call", 3, "d")]), [
        "Failure, success, failure: that is not two in a row.",
        "What does a success do to the count?",
        "failures = 0 if ok else failures + 1",
    ])  # fmt: skip
    yield ("open_s seconds after it opened, a call may try", lambda: gives("yyny", [*fails, ("call", 11.4, "c"), ("call", 11.5, "d")]), [
        "It opened at 1.5, when the second failure ended: at 11.5 the time is over.",
        "From the end of the failed call, not from its begin; from then on, not after.",
        "now >= opened_s + open_s",
    ])  # fmt: skip
    yield ("while the trial runs, no other call passes", lambda: gives("yyynn", [*fails, ("call", 12, "t"), ("call", 12.1, "u"), ("call", 99, "v")]), [
        "The first call at 12 is the trial. And the one at 12.1?",
        "Keep the trial's name until it ends.",
        "passes = trial is None and now >= opened_s + open_s",
    ])  # fmt: skip
    at_zero = [("call", 0, "a"), ("end", 0, "a", False)]
    yield ("it may open at 0 s, and a trial may have the name 0", lambda: gives("ynny", [*at_zero, ("call", 1, "b"), ("call", 9, "c"), ("call", 10, "d")], 1)
           and gives("yyyn", [*fails, ("call", 12, 0), ("call", 12.1, 1)]) and gives("yyyyy", [*fails, ("call", 12, 0), ("end", 13, 0, True), ("call", 14, 1), ("call", 15, 2)]), [
        "The first failure ends at 0 s, the threshold is 1. And names may be numbers.",
        "`if opened_s` and `not trial` are wrong for 0.",
        "Compare with None: opened_s is None, trial is None.",
    ])  # fmt: skip
    trial = [*fails, ("call", 12, "t")]
    yield ("a trial that ends well closes it, with a count of zero", lambda: gives(
        "yyyyyyn", [*trial, ("end", 13, "t", True), ("call", 14, "u"), *one(15, "v", False), *one(16, "w", False), ("call", 17, "x")]), [
        "After it closed, it takes two failures again.",
        "What is the count when the trial has ended well?",
        "opened_s, failures = None, 0",
    ])  # fmt: skip
    yield ("a trial that fails opens it anew, from that moment", lambda: gives(
        "yyynny", [*trial, ("end", 14, "t", False), ("call", 15, "u"), ("call", 23.9, "v"), ("call", 24, "w")]), [
        "One failed trial is enough, whatever the threshold.",
        "The time runs from when the trial ended.",
        "opened_s = now, and the trial is over.",
    ])  # fmt: skip
    late = [("call", 0, "old"), ("call", 0, "older"), *one(1, "a", False), *one(2, "b", False)]
    yield ("an old call that ends while it is open or half-open changes nothing", lambda: gives(
        "yyyyny", [*late, ("end", 9, "old", True), ("call", 10, "c"), ("call", 13, "t")]) and gives(
        "yyyyyn", [*late, ("call", 13, "t"), ("end", 13.5, "old", True), ("call", 14, "c")]) and gives(
        "yyyyy", [*late, ("end", 12, "old", False), ("call", 12.5, "t")]), [
        "A call that passed before the breaker opened ends late: well, or badly.",
        "Its success does not close the breaker, and its failure does not keep it open for longer.",
        "When the breaker is not closed, only the trial's end counts.",
    ])  # fmt: skip
    yield ("nor does an old call that ends after it has closed again", lambda: gives(
        "yyyyyyy", [*late, ("call", 13, "t"), ("end", 14, "t", True), ("end", 15, "old", False), ("end", 15, "older", False), ("call", 16, "c"), ("call", 17, "d")])
        and gives("yyyyyyyn", [*late, ("call", 13, "t"), ("end", 14, "t", True), *one(15, "f", False), ("end", 16, "old", True), *one(17, "g", False), ("call", 18, "c")]), [
        "Two calls from before the breaker opened fail after it has closed again.",
        "Note for each call in which closed period it passed.",
        "era += 1 each time that it closes; count an end only where era_of[name] == era.",
    ])  # fmt: skip

    def at_random() -> bool:
        return all(
            list(answer(events, threshold, open_s)) == _reference(events, threshold, open_s)
            for events, threshold, open_s in map(_traffic, range(60))
        )

    yield ("sixty random traces", at_random, [
        "Calls overlap, and open_s may be 0.",
        "With open_s = 0 the next call is the trial, at once.",
        "Compare with the docstring, sentence by sentence.",
    ])  # fmt: skip


@EXERCISES.add("15.4", "Once, however often it is sent", may_change=(0,))
def idempotent(answer: Callable) -> Iterator[Property]:
    """answer(kept, key, body, work) -> (status, result)."""

    class Work:
        """Adds up what it gets; notes how often it was done."""

        def __init__(self) -> None:
            self.done = 0

        def __call__(self, body: dict) -> dict:
            self.done += 1
            return {"total": sum(body["labels"]), "number": self.done}

    body = {"labels": [3, 4], "user": "u7"}

    def first() -> bool:
        work = Work()
        return tuple(answer({}, "k1", body, work)) == (201, {"total": 7, "number": 1}) and work.done == 1

    yield ("a new key: the work is done", first, [
        "Call work(body), once.",
        "Return a status and the result.",
        "return 201, work(body), and keep it first.",
    ])  # fmt: skip

    def again() -> bool:
        kept, work = {}, Work()
        answer(kept, "k1", body, work)
        found = [tuple(answer(kept, "k1", copy.deepcopy(body), work)) for _ in range(3)]
        other = tuple(answer(kept, "k2", body, work))
        return (
            found == [(200, {"total": 7, "number": 1})] * 3
            and other == (201, {"total": 7, "number": 2})
            and work.done == 2
        )

    yield ("the same key again: the same result, without work; another key is new", again, [
        "Send it four times: how often was the work done?",
        "Keep the result under the key, not under the body.",
        "if key in kept: return 200, the result that is kept",
    ])  # fmt: skip

    def nothing_results() -> bool:
        kept = {}
        none = [tuple(answer(kept, "k", {"a": 1}, lambda _: None)) for _ in range(2)]
        zero = [tuple(answer(kept, "z", [], lambda _: 0)) for _ in range(2)]
        return none == [(201, None), (200, None)] and zero == [(201, 0), (200, 0)]

    yield ("a result may be None, 0 or empty", nothing_results, [
        "The work's result is None. Is it done, or still at work?",
        "`if result` and `result is None` mean something else than \"not there\".",
        "Keep the result as text, json.dumps(None) is 'null', or a flag beside it.",
    ])  # fmt: skip

    def other_body() -> bool:
        kept, work = {}, Work()
        answer(kept, "k1", body, work)
        turned = {"user": "u7", "labels": [3, 4]}
        answer(kept, "deep", {"a": [{"x": 1, "y": 2}]}, lambda _: "done")
        return (tuple(answer(kept, "k1", {"labels": [9], "user": "u7"}, work)) == (422, None)
                and tuple(answer(kept, "k1", {"labels": [4, 3], "user": "u7"}, work)) == (422, None)
                and tuple(answer(kept, "k1", turned, work))[0] == 200 and work.done == 1
                and tuple(answer(kept, "deep", {"a": [{"y": 2, "x": 1}]}, work)) == (200, "done")
                and tuple(answer(kept, "deep", {"a": [{"y": 1, "x": 2}]}, work)) == (422, None))  # fmt: skip

    def true_is_not_one() -> bool:
        kept = {}
        answer(kept, "a", {"sure": [1, 0]}, lambda _: "done")
        answer(kept, "b", {"sure": True}, lambda _: "done")
        other = (("a", {"sure": [True, False]}), ("b", {"sure": 1}), ("b", {"sure": "true"}))
        return all(tuple(answer(kept, key, body, lambda _: 1 / 0)) == (422, None) for key, body in other)

    yield ("the same key with another body is refused; the order of an object's keys does not matter", other_body, [
        "A client that uses one key for two things has made a mistake: tell it.",
        "Compare what JSON compares: [3, 4] is not [4, 3], but {a, b} is {b, a}, also inside a list.",
        "json.dumps(body, sort_keys=True)",
    ])  # fmt: skip

    yield ("true is another body than 1, false another than 0", true_is_not_one, [
        "In Python, True == 1. In JSON, true and 1 are two things.",
        "Do not compare the objects with ==, compare their JSON.",
        "json.dumps(body, sort_keys=True): 'true' and '1' differ.",
    ])  # fmt: skip

    def changed_since() -> bool:
        kept, mine, result = {}, copy.deepcopy(body), {"rows": [1]}
        _, given = answer(kept, "k", mine, lambda _: result)
        mine["labels"].append(5)
        given["rows"].append(2)
        result["rows"].append(3)
        status, second = answer(kept, "k", body, lambda _: 1 / 0)
        second["rows"].append(4)
        return status == 200 and tuple(answer(kept, "k", body, lambda _: 1 / 0)) == (200, {"rows": [1]})

    yield ("what the caller changes afterwards changes nothing that is kept", changed_since, [
        "The caller appends to the list that it was given, and asks again.",
        "Keep a copy of body and result, and hand out a copy.",
        "Keep json.dumps(result), hand out json.loads(…).",
    ])  # fmt: skip

    def failing() -> bool:
        kept, work = {}, Work()

        def fails(_: dict) -> None:
            raise OSError("disk full")

        refused = raises(OSError, answer, kept, "k", body, fails)
        return refused and tuple(answer(kept, "k", body, work)) == (201, {"total": 7, "number": 1})

    def cancelled() -> bool:
        kept, work = {}, Work()

        def is_cancelled(_: dict) -> None:
            raise asyncio.CancelledError

        refused = raises(asyncio.CancelledError, answer, kept, "k", body, is_cancelled)
        return refused and tuple(answer(kept, "k", body, work)) == (201, {"total": 7, "number": 1})

    yield ("work that failed leaves the key new", failing, [
        "The disk was full. Then it is not, and the client tries again.",
        "What stands in `kept` after the work raised?",
        "try: … except BaseException: del kept[key]; raise",
    ])  # fmt: skip
    yield ("work that was cancelled leaves the key new, too", cancelled, [
        "The client hung up, and the server cancelled the work: asyncio.CancelledError. Then the client tries again.",
        "Is a cancellation an Exception? Look at asyncio.CancelledError.__mro__.",
        "except BaseException: del kept[key]; raise",
    ])  # fmt: skip

    def at_once() -> bool:
        kept, meanwhile = {}, []

        def asks_again(_: dict) -> str:
            meanwhile.append(tuple(answer(kept, "k", body, lambda _: "second")))
            meanwhile.append(tuple(answer(kept, "k", {"labels": []}, lambda _: "third")))
            meanwhile.append(tuple(answer(kept, "k2", body, lambda _: "other")))
            return "first"

        found = tuple(answer(kept, "k", body, asks_again))
        return found == (201, "first") and meanwhile == [(409, None), (422, None), (201, "other")] and \
            tuple(answer(kept, "k", body, lambda _: 1 / 0)) == (200, "first")  # fmt: skip

    yield ("while the first request is at work, a second one with its key gets 409", at_once, [
        "Two copies of a request arrive at the same moment. When do you write the key down?",
        "Before the work, with a mark that it is not done yet.",
        "kept[key] = said, None before work(body); (409, None) where the mark is still there.",
    ])  # fmt: skip
    yield ("without a key nothing is done", lambda: all(
        tuple(answer(kept := {}, key, body, lambda _: 1 / 0)) == (400, None) and not kept for key in (None, "")), [
        "Try None and the empty string.",
        "All clients without a key would share one.",
        "if not key: return 400, None",
    ])  # fmt: skip
