"""Checks of lesson 14. None of them opens a connection or reads a clock."""

import json
import math
from collections.abc import Callable, Iterator

import numpy as np

from course_lib.checks import Register, raises
from course_lib.idioms.exercises import Property

EXERCISES = Register()


def _request(rows: object, **others: object) -> bytes:
    return json.dumps({"instances": rows} | others).encode()


def _told(answer: Callable, *arguments: object) -> str:
    """The message of the ValueError that the call raises; "" where it raises none."""
    try:
        answer(*arguments)
    except NotImplementedError:
        raise
    except ValueError as wrong:
        return f"{wrong} {wrong.__cause__ or ''}"
    return ""


@EXERCISES.add("14.1", "Rows from strangers")
def strangers(answer: Callable) -> Iterator[Property]:
    """answer(body, size) -> float32 (N, size)."""

    def same(rows: list, size: int, **others: object) -> bool:
        said = answer(_request(rows, **others), size)
        return said.dtype == np.float32 and said.shape == (len(rows), size) and np.array_equal(said, np.float32(rows))

    def refused(*bodies: bytes, size: int = 2) -> bool:
        return all(raises(ValueError, answer, body, size) for body in bodies)

    yield ("rows come back as float32 (N, size)", lambda: same([[1, 2.5], [0, -3]], 2) and same([[0.1]], 1)
           and same([[0.5] * 64] * 33, 64, signature_name="serving_default"), [
        "Read the JSON, then the key, then make an array.",
        "Which dtype does the docstring ask for, and which does NumPy choose?",
        'np.array(json.loads(body)["instances"], np.float32)',
    ])  # fmt: skip
    yield ("a body that is not JSON, or not an object with rows, is a ValueError", lambda: refused(
        b"", b"instances", b"[[1, 2]]", b"3", b"null", b'"instances"', b"{}", b'{"inputs": [[1, 2]]}', _request([]),
        _request({}), _request(None), _request("12"), b'\xff{"instances": [[1, 2]]}',
        _request([[1, 2]]).decode().encode("utf-16"),
    ), [
        "Try an empty body, a list, a number, and an object without the key.",
        "What does `request.get` raise where the request is a list? (And json.loads guesses the encoding of bytes: decode them.)",
        "if not isinstance(request, dict) or not isinstance(request.get('instances'), list): raise ValueError(…)",
    ])  # fmt: skip
    yield ("each row is a list of `size` entries", lambda: refused(
        _request([[1, 2], [3]]), _request([[1, 2, 3]]), _request([1, 2]), _request([[1, 2], None]), _request([{"x": [1, 2]}]),
        _request(["12"]), _request([[1, 2], [[1], [2]]]), _request([[]]),
    ), [
        "Ragged rows, rows of three, a text of two letters where a row should be.",
        "len('12') is 2, too.",
        "if not isinstance(row, list) or len(row) != size: raise ValueError(…)",
    ])  # fmt: skip
    yield ("texts, true, false and null are no numbers", lambda: refused(
        _request([["1", 2]]), _request([[True, 2]]), _request([[1, False]]), _request([[1, None]]), _request([[1, [2]]]),
    ), [
        "What does np.array(['1', 2], np.float32) give?",
        "isinstance(True, int) is True.",
        "all(type(each) in (int, float) for each in row)",
    ])  # fmt: skip
    yield ("every number is finite in float32", lambda: refused(
        b'{"instances": [[NaN, 1]]}', b'{"instances": [[1, -Infinity]]}', b'{"instances": [[1e39, 1]]}',
        b'{"instances": [[1, 1e999]]}', _request([[10**39, 1]]),
        b'{"instances": [[3.4028236e38, 1]]}',
    ) and same([[3.4028235e38, -3.4028235e38], [1e-45, 10**38]], 2), [
        "Python reads NaN and Infinity; and 1e39 is finite in Python, not in float32.",
        "Compare, in a form that NaN fails. float32's largest number is written 3.4028235e38, which as a double lies a little above np.finfo(np.float32).max.",
        "if not all(abs(each) < 2**128 - 2**103 for each in row): raise ValueError(…)  # from there on float32 rounds to infinity",
    ])  # fmt: skip
    yield ("nothing but ValueError is raised, whatever comes", lambda: refused(
        b"[" * 200_000, b'{"instances": ' + b"[" * 200_000, _request([[10**400, 1]]), b'{"instances": [[1' + b"0" * 5000 + b", 1]]}",
    ), [
        "Lists nested 200,000 deep; a whole number of 400 digits.",
        "RecursionError and OverflowError are no ValueErrors.",
        "except (ValueError, RecursionError) around json.loads; compare the numbers before NumPy converts them.",
    ])  # fmt: skip
    secret = "4929123456781111"
    pieces = [secret[at : at + 4] for at in range(len(secret) - 3)]
    yield ("no message repeats what was sent", lambda: all(
        said and not any(piece in said for piece in pieces)
        for said in (_told(answer, body, 2) for body in (
            _request([[secret, 1]]), _request([[int(secret) * 10**30, 1]]), _request([[1, 2, int(secret)]]), _request(secret),
            f'{{"instances": [[{secret}, 1]'.encode(), _request([{secret: 1}]),
        ))
    ), [
        "Print the message for a row that holds a text. Four of its characters are too many, too.",
        "NumPy's own error says which text it could not convert.",
        "Raise your own ValueError, `from None`, with what was expected and the row's number.",
    ])  # fmt: skip


def _formed(arrived: list, rows: list, shapes: list, most: int, wait: float) -> list[tuple[list[int], float]]:
    """An independent way, by events: timers and arrivals in one row, each shape by itself."""
    found = []
    for shape in dict.fromkeys(map(tuple, shapes)):
        own = [i for i, each in enumerate(shapes) if tuple(each) == shape]
        while own:
            until, batch, at = arrived[own[0]] + wait, [], None
            while own and at is None:
                i = own[0]
                if arrived[i] > until:
                    at = until
                elif batch and sum(rows[j] for j in batch) + rows[i] > most:
                    at = arrived[i]
                else:
                    batch.append(own.pop(0))
                    if sum(rows[j] for j in batch) >= most:
                        at = arrived[i]
            found.append((batch, float(until if at is None else at)))
    return sorted(found, key=lambda each: (each[1], each[0][0]))


@EXERCISES.add("14.2", "Who travels together")
def travellers(answer: Callable) -> Iterator[Property]:
    """answer(arrived_ms, rows, shapes, most, wait_ms) -> [(numbers, closing time), …]."""
    one = (8, 8)

    def same(arrived: list, rows: list, most: int, wait: float, shapes: list | None = None) -> bool:
        shapes = shapes or [one] * len(arrived)
        said = answer(np.array(arrived, float), np.array(rows, int), shapes, most, wait)
        wanted = _formed(arrived, rows, shapes, most, wait)
        return (
            len(said) == len(wanted)
            and all([int(i) for i in batch] == numbers for (batch, _), (numbers, _) in zip(said, wanted))
            and all(math.isclose(at, when, abs_tol=1e-9) for (_, at), (_, when) in zip(said, wanted))
        )

    yield ("a batch that is full is closed at the arrival that fills it", lambda: same([0, 1, 2, 3], [1, 1, 1, 1], 2, 10), [
        "Four requests of one row, two at most: two batches.",
        "The second request fills the first batch, at 1 ms.",
        "Append the request, add the rows up; if they are `most`, close it at this arrival.",
    ])  # fmt: skip
    yield ("a batch is closed when its first request has waited, not when the next one comes", lambda: same([0, 3, 100], [1, 1, 1], 8, 5), [
        "Requests at 0, 3 and 100 ms, longest wait 5 ms: when is the first batch closed?",
        "At 5 ms: a timer does it. The request at 100 ms has nothing to do with it.",
        "if arrived > first's arrival + wait_ms: close it at first's arrival + wait_ms",
    ])  # fmt: skip
    yield ("rows are counted, not requests", lambda: same([0, 1, 2], [3, 5, 1], 8, 50) and same([0, 1, 2, 3], [4, 3, 2, 6], 8, 50), [
        "Requests of 3 and of 5 rows fill a batch of 8.",
        "Sum the rows of those in the batch.",
        "rows[batch].sum() + rows[i] > most: close at this arrival, and the request opens the next.",
    ])  # fmt: skip
    yield ("a request that arrives at the very moment still gets in", lambda: same([0, 5, 5, 6], [1, 1, 1, 1], 8, 5)
           and same([0, 0, 0, 1], [1, 1, 1, 1], 8, 0), [
        "Longest wait 5 ms, arrivals at 0 and at 5.",
        "Compare with >, not with >=.",
        "if at > until: close(…)  # and with wait 0, those of one moment travel together",
    ])  # fmt: skip
    yield ("a request larger than the largest batch goes alone, at once", lambda: same([0, 1, 2], [1, 20, 1], 8, 50)
           and same([0, 1], [9, 9], 8, 50), [
        "One row at 0 ms, 20 rows at 1 ms, at most 8.",
        "The open batch is closed first, since the request would burst it; then its own is full.",
        "Fill with >= most: a batch of 20 is closed at its own arrival.",
    ])  # fmt: skip
    two = [(8, 8), (16, 16), (8, 8), (16, 16), (8, 8)]
    yield ("shapes do not mix, and each has a batch of its own open", lambda: same([0, 1, 2, 3, 30], [1] * 5, 2, 10, two)
           and same([0, 1, 2], [1, 1, 1], 8, 5, [(1,), (2,), (1,)]), [
        "Rows of 8 × 8 and of 16 × 16 arrive in turns.",
        "Does a request of another shape close your batch? It should not.",
        "Keep a dictionary: shape -> the open batch.",
    ])  # fmt: skip
    random = np.random.default_rng(14)
    arrived = np.sort(random.integers(0, 400, 200)).tolist()
    rows, shapes = random.integers(1, 12, 200).tolist(), [[(1,), (2, 2), (3,)][k] for k in random.integers(0, 3, 200)]
    yield ("sorted by closing time, then by the first request; any mixture, and no request at all", lambda: same(arrived, rows, 8, 7, shapes)
           and same(arrived, rows, 1, 0, shapes) and same([], [], 8, 5) and same(arrived, rows, 10**6, 10**6, shapes), [
        "200 requests of three shapes.",
        "Batches that time closes may belong before those that were closed by an arrival; the last ones are closed by time, too.",
        "sorted(closed, key=lambda each: (each[1], each[0][0]))",
    ])  # fmt: skip
    bad = (([0, 1], [1], [one] * 2, 8, 5), ([0, 1], [1, 1], [one], 8, 5), ([1, 0], [1, 1], [one] * 2, 8, 5), ([0], [0], [one], 8, 5),
           ([0], [1], [one], 0, 5), ([0], [1], [one], 8, -1))  # fmt: skip
    yield ("unequal lengths, falling times, no rows, no batch and a negative wait are refused", lambda: all(
        raises(ValueError, answer, np.array(a, float), np.array(r, int), s, most, wait) for a, r, s, most, wait in bad
    ), [
        "Two times and one row; times 1 and 0; a request of no rows.",
        "np.diff finds falling times.",
        "if not len(arrived) == len(rows) == len(shapes) or …: raise ValueError(…)",
    ])  # fmt: skip


def _retry(
    waiting: int, own: int, deadline: float, most: int, alpha: float, beta: float, busy: float = 0.0
) -> int | None:
    """Call by call."""

    def ends(queue: int, now: float) -> float:
        while queue > 0:
            taken = min(most, queue)
            now, queue = now + alpha + beta * taken, queue - taken
        return now

    if ends(own, 0.0) > deadline:
        return None
    end, seconds = ends(waiting + own, busy), 0
    while end - 1000 * seconds > deadline:
        seconds += 1
    return seconds


@EXERCISES.add("14.3", "Let in, or send away?")
def door(answer: Callable) -> Iterator[Property]:
    """answer(waiting_rows, own_rows, deadline_ms, most, alpha_ms, beta_ms, busy_ms=0.0) -> seconds or None."""

    def same(*case: float) -> bool:
        said = answer(*case)
        whole = said is None or isinstance(said, int | np.integer) and not isinstance(said, bool)
        return whole and said == _retry(*case)

    yield ("an idle server lets in what it can answer in time", lambda: same(0, 1, 100, 8, 4, 0.5) and same(0, 8, 100, 8, 4, 0.5), [
        "One row takes 4.5 ms, the deadline is 100 ms.",
        "Return 0, an int, where the answer comes in time.",
        "end = alpha + beta × own_rows; 0 if end <= deadline",
    ])  # fmt: skip
    yield ("the rows that wait are served first, `most` at a time", lambda: same(80, 1, 90, 8, 4, 0.5) and same(800, 8, 1000, 8, 8, 0.5)
           and answer(80, 1, 90, 8, 4, 0.5) == 0 and answer(800, 8, 1000, 8, 8, 0.5) == 1, [
        "80 rows before you are ten calls of 8 rows.",
        "Each call costs alpha once, each row beta.",
        "calls = ceil((waiting + own) / most); calls × alpha + rows × beta",
    ])  # fmt: skip
    yield ("the last call need not be full, and may hold waiting rows too", lambda: same(7, 1, 8, 8, 4, 0.5) and same(7, 2, 12.5, 8, 4, 0.5)
           and same(1, 1, 5, 8, 4, 0.5) and same(15, 3, 21, 8, 4, 0.5) and answer(7, 2, 12.4, 8, 4, 0.5) == 1, [
        "7 rows wait and you bring one: all of them fit into one call.",
        "Count the calls over waiting and own rows together, rounded up once.",
        "-(-(waiting + own) // most)",
    ])  # fmt: skip
    yield ("the call under way is waited for", lambda: same(0, 1, 10, 8, 4, 0.5, 5.5) and same(0, 1, 10, 8, 4, 0.5, 5.75)
           and answer(0, 1, 10, 8, 4, 0.5, 5.75) == 1, [
        "The model is busy for another 5.75 ms, then your 4.5 ms: 10.25.",
        "busy_ms comes on top of all calls.",
        "end = busy + calls × alpha + rows × beta",
    ])  # fmt: skip
    yield ("just in time counts, and late is rounded up to whole seconds", lambda: all(
        same(waiting, 2, deadline, 4, 250, 125) for waiting in range(0, 40) for deadline in (500, 750, 1500, 3000)
    ), [
        "Two seconds late is 2, a millisecond late is 1.",
        "math.ceil of the lateness in seconds, and not below 0.",
        "max(0, math.ceil((end - deadline) / 1000))",
    ])  # fmt: skip
    yield ("None where an idle server would be too late as well, busy or not", lambda: answer(0, 64, 30, 8, 4, 0.5) is None
           and answer(500, 64, 30, 8, 4, 0.5, 20) is None and answer(0, 1, 0, 8, 4, 0.5) is None and same(0, 64, 64, 8, 4, 0.5), [
        "64 rows take eight calls, 64 ms; the deadline is 30 ms.",
        "No waiting helps such a request. Compute its own time alone.",
        "if the time of own_rows alone is above the deadline: return None",
    ])  # fmt: skip
    yield ("no own rows, a batch of 0 and negative numbers are refused", lambda: all(
        raises(ValueError, answer, *case)
        for case in ((0, 0, 100, 8, 4, 0.5), (0, 1, 100, 0, 4, 0.5), (-1, 1, 100, 8, 4, 0.5), (0, 1, -1, 8, 4, 0.5), (0, 1, 100, 8, -4, 0.5),
                     (0, 1, 100, 8, 4, -0.5), (0, 1, 100, 8, 4, 0.5, -1))
    ), [
        "No own rows, no batch, negative times.",
        "Check before you divide.",
        "if own_rows < 1 or most < 1 or min(…) < 0: raise ValueError(…)",
    ])  # fmt: skip
