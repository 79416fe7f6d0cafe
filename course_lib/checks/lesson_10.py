"""Checks of lesson 10. They need no framework."""

import math
from collections.abc import Callable, Iterator
from copy import deepcopy

import numpy as np

from course_lib.checks import Register, raises
from course_lib.idioms.exercises import Property

EXERCISES = Register()


@EXERCISES.add("10.1", "Floats for an int8 input")
def int8_input(answer: Callable) -> Iterator[Property]:
    """answer(values, scale, zero_point) -> int8 array."""
    pixels = np.array([[0.0, 0.25], [0.5, 1.0]], np.float32)

    def gives(expected: list, values: object, scale: float, zero_point: int, dtype: str = "f8") -> bool:
        return np.array_equal(answer(np.array(values, dtype), scale, zero_point), np.array(expected))

    yield ("an int8 array of the same shape", lambda: answer(pixels, 0.25, 0).dtype == np.int8
           and answer(pixels, 0.25, 0).shape == (2, 2), [
        "What shape and dtype does the docstring promise?",
        "np.clip and np.rint keep the dtype of the values.",
        ".astype(np.int8) at the end.",
    ])  # fmt: skip
    yield ("values on the grid become their level, the zero point added", lambda: gives([-128, -64, 0, 127], [0, 0.25, 0.5, 0.99609375], 1 / 256, -128)
           and gives([10, 11, 8], [0, 0.5, -1], 0.5, 10) and gives([127, 126], [0, -1], 1.0, 127), [
        "With scale 1/2 and zero point 10 the value 0 is level 10, and 0.5 is level 11.",
        "Divide by the scale; the zero point is added, not subtracted.",
        "values / scale + zero_point",
    ])  # fmt: skip
    yield ("between levels it is the nearest one", lambda: gives([1, 1, -1, -1], [0.6, 1.4, -0.6, -1.4], 1.0, 0), [
        "Try 0.6 and -0.6 with scale 1.",
        "astype cuts the fraction off, towards 0.",
        "np.rint(…) before the conversion.",
    ])  # fmt: skip
    yield ("ties go to the even number, before the zero point is added", lambda: gives([0, 2, 2, 0, -2], [0.5, 1.5, 2.5, -0.5, -1.5], 1.0, 0)
           and gives([1, 3, 3], [0.5, 1.5, 2.5], 1.0, 1), [
        "0.5 becomes 0, 1.5 becomes 2; with zero point 1 they become 1 and 3.",
        "floor(x + 0.5) rounds ties up. And rint(x + 1) is not rint(x) + 1 at a tie.",
        "np.rint(values / scale) + zero_point",
    ])  # fmt: skip
    quotients = [k + 0.5 for k in (20, 30, 48, 58, 84, 94, -21, -31, -49, -59)]
    values = [quotient * 0.1 for quotient in quotients]  # v / 0.1 is a tie, v * (1 / 0.1) is not
    yield ("the value is divided by the scale; the product with 1 / scale moves ties", lambda: gives([round(each) for each in quotients], values, 0.1, 0)
           and gives([3], [3.5 * 3.0], 3.0, -1), [
        "Try 20.5 * 0.1 with scale 0.1: the quotient is 20.5, a tie, and goes to 20.",
        "1 / scale is rounded, and the product is rounded once more.",
        "values / scale, not values * (1 / scale)",
    ])  # fmt: skip
    yield ("what lies outside goes to the nearer end", lambda: gives([127, -128, 127, -128, 127], [128, -129, 1e6, -1e300, 1e300], 1.0, 0)
           and gives([127, 127], [1.0, 2.0], 1 / 255, -100) and gives([127, -128], [np.inf, -np.inf], 0.5, 3), [
        "Try 128 with scale 1 and zero point 0.",
        "astype(np.int8) makes −128 of 128.",
        "np.clip(…, -128, 127), before astype.",
    ])  # fmt: skip
    random = np.random.default_rng(10)

    def same_in(dtype: str) -> bool:
        values = (random.random((7, 6)) * 2 - 0.3).astype(dtype)[::2, ::-1]
        exact = [[round(float(v) / 0.0039215688593685627) - 128 for v in row] for row in values]
        got = answer(values, 0.0039215688593685627, -128)
        return got.tolist() == [[max(-128, min(127, q)) for q in row] for row in exact]

    yield ("float16, float32 and float64, in a view with gaps", lambda: all(same_in(dtype) for dtype in ("f2", "f4", "f8"))
           and gives([1, 1], [0.5 + 1e-12, 1.5 - 1e-12], 1.0, 0)
           and gives([26, 28, -38], [quotient * 0.1 for quotient in (25.5, 27.5, -37.5)], 0.1, 0), [
        "Compare with Python's own round(float(v) / scale) + zero_point, for float16 values.",
        "float16 divided by a Python float stays float16, with three digits; float32 has seven.",
        "np.asarray(values, np.float64) first.",
    ])  # fmt: skip
    yield ("any finite scale above 0 is fine, tiny and large", lambda: gives([5, -7, 127], [5e-12, -7e-12, 1], 1e-12, 0)
           and gives([3, -1], [3e6, -1e6], 1e6, 0) and gives([127, 1], [1e308, 0], 1e-300, 1), [
        "Try a scale of 1e-12, and one of 1e6.",
        "A floor such as max(scale, 1e-8) changes every level below it.",
        "Refuse only what the docstring refuses, and divide by the scale as it is.",
    ])  # fmt: skip
    yield ("an empty array and a single number are fine", lambda: answer(np.zeros((0, 3), np.float32), 0.5, 0).shape == (0, 3)
           and answer(np.array(1.0), 0.5, 0).shape == () and int(answer(np.array(1.0), 0.5, 0)) == 2, [
        "Try np.zeros((0, 3)) and np.array(1.0).",
        "min and max of nothing raise.",
        "np.clip, np.rint and np.isnan(…).any() take any shape.",
    ])  # fmt: skip

    def kept() -> bool:
        values = pixels.astype(np.float64)
        answer(values, 0.25, 3)
        return np.array_equal(values, pixels)

    yield ("the values stay as they were", kept, [
        "Look at the array that you were given, afterwards.",
        "values /= scale writes into the caller's array.",
        "Write values / scale, and give no out= of the caller's.",
    ])  # fmt: skip
    nan = math.nan
    yield ("NaN, and scales and zero points that make no sense, are refused", lambda: all(raises(ValueError, answer, *given) for given in (
        (np.array([0.5, nan]), 0.5, 0), (pixels, 0.0, 0), (pixels, -0.5, 0), (pixels, nan, 0), (pixels, math.inf, 0), (pixels, 0.5, 128), (pixels, 0.5, -129),
    )), [
        "Try NaN among the values, a scale of 0 and of NaN, a zero point of 128.",
        "NaN turned into int8 is some number; which one depends on the processor.",
        "if not 0 < scale < np.inf or not -128 <= zero_point <= 127: raise ValueError(…), and np.isnan(values).any()",
    ])  # fmt: skip


def _ran(operator: str, microseconds: float, name: str = "node_kernel_time", cat: str = "Node") -> dict:
    return {"cat": cat, "name": name, "dur": microseconds, "args": {"op_name": operator, "provider": "CPU"}}


@EXERCISES.add("10.2", "Who takes the time?")
def operator_shares(answer: Callable) -> Iterator[Property]:
    """answer(events) -> [(operator, share), …]."""

    def gives(expected: list[tuple[str, float]], events: list[dict]) -> bool:
        got = [tuple(each) for each in answer(events)]
        return [each[0] for each in got] == [each[0] for each in expected] and np.allclose(
            [each[1] for each in got], [each[1] for each in expected], rtol=1e-9, atol=0
        )

    yield ("two kinds of operators: 30 and 10 microseconds are three quarters and one", lambda: gives([("Conv", 0.75), ("Gemm", 0.25)], [_ran("Conv", 30), _ran("Gemm", 10)]), [
        "Add the durations by operator, then divide by their total.",
        "The kind is event['args']['op_name'], the duration event['dur'].",
        "took[operator] / sum(took.values())",
    ])  # fmt: skip
    yield ("runs of one kind are added up", lambda: gives([("Conv", 0.6), ("Gemm", 0.4)], [_ran("Conv", 10), _ran("Gemm", 20), _ran("Conv", 20)]), [
        "There are nine convolutions in a network, and ten calls in a profile.",
        "Neither the last run nor the mean is asked for.",
        "took[operator] = took.get(operator, 0) + event['dur']",
    ])  # fmt: skip
    yield ("the largest first, equal shares by name", lambda: gives([("Gemm", 0.5), ("Add", 0.25), ("Mul", 0.25)], [_ran("Mul", 5), _ran("Add", 5), _ran("Gemm", 10)]), [
        "Which operator should a reader see first?",
        "sorted(…) alone puts the smallest first, or sorts by name.",
        "key=lambda each: (-each[1], each[0])",
    ])  # fmt: skip
    yield ("shares are not rounded, and add up to 1", lambda: gives([("Conv", 2 / 3), ("Add", 1 / 3)], [_ran("Conv", 20), _ran("Add", 10)])
           and gives([("Conv", 99_999 / 100_000), ("Cast", 1e-5)], [_ran("Cast", 1), _ran("Conv", 99_999)]), [
        "A cast that took 1 of 100,000 microseconds has the share 0.00001.",
        "Rounded shares need not add up to 1. Round when you print.",
        "took[operator] / total, as it is",
    ])  # fmt: skip
    session = [
        {"cat": "Session", "name": "model_run", "dur": 1000, "args": {}},
        {"cat": "Session", "name": "model_loading_kernel_time", "dur": 1000, "args": {"op_name": "Gemm"}},
    ]
    yield ("events of other categories count nowhere", lambda: gives([("Conv", 1.0)], [*session, _ran("Conv", 4)]), [
        "model_run holds the operators' time once more.",
        "An operator's event has the category Node.",
        "event.get('cat') == 'Node'",
    ])  # fmt: skip
    fences = [_ran("Conv", 500, "conv_fence_before"), _ran("Gemm", 300, "gemm_kernel_time_fence_after")]
    yield ("of the category Node only kernel times count", lambda: gives([("Conv", 0.5), ("Gemm", 0.5)], [*fences, _ran("Conv", 4), _ran("Gemm", 4)]), [
        "Older versions of the runtime wrote fences round each kernel.",
        "The name must END in _kernel_time.",
        "event['name'].endswith('_kernel_time')",
    ])  # fmt: skip
    bare = [
        {},
        {"ph": "M"},
        {"cat": "Node"},
        {"cat": "Node", "name": "x_fence_before"},
        {"name": "a_kernel_time"},
        {"cat": "Session", "name": "b_kernel_time", "dur": 3},
    ]
    yield ("other events may lack any key", lambda: gives([("Conv", 1.0)], [*bare, _ran("Conv", 4)]), [
        "Try {} among the events, and a Node without a name.",
        "event['cat'] raises KeyError.",
        "event.get('name', '').endswith(…)",
    ])  # fmt: skip
    yield ("an operator that took 0 has the share 0, and fractions are fine", lambda: gives([("Conv", 1.0), ("Cast", 0.0)], [_ran("Cast", 0), _ran("Conv", 0.5)])
           and gives([("Conv", 1.0), ("Cast", 0.0)], [_ran("Cast", 0), _ran("Conv", 7)]), [
        "Profiles are in whole microseconds: a fast Cast takes 0.",
        "It ran, so it belongs into the list.",
        "Do not test the duration's truth value.",
    ])  # fmt: skip

    def alone() -> bool:
        events = [*session, *fences, _ran("Conv", 4)]
        copies = deepcopy(events)
        result = answer(events)
        return events == copies and isinstance(result, list) and type(result[0][1]) is float

    yield ("a list of pairs with plain floats, and the events stay as they were", alone, [
        "What does the docstring promise to return?",
        "dict.items() and sorted(…) differ: one is a view, the other a list.",
        "Divide, and do not write into the events.",
    ])  # fmt: skip
    yield ("where no operator took time, it is refused", lambda: all(raises(ValueError, answer, events) for events in ([], session, fences, [_ran("Conv", 0)])), [
        "Try no events, and a profile of a session that never ran.",
        "0 / 0 raises ZeroDivisionError, which tells the caller nothing.",
        "if total <= 0: raise ValueError(…)",
    ])  # fmt: skip


def _agresti_min(lost: int, won: int, count: int) -> tuple[float, float]:
    """The same interval from the four cells of the table, by way of a variance of ±1 and 0."""
    both = (count - lost - won) / 2
    cells = np.array([both + 0.5, both + 0.5, lost + 0.5, won + 0.5])
    shares, values = cells / cells.sum(), np.array([0.0, 0.0, -1.0, 1.0])
    mean = float(shares @ values)
    reach = 1.96 * math.sqrt(float(shares @ (values - mean) ** 2) / cells.sum())
    return mean - reach, mean + reach


@EXERCISES.add("10.3", "Did it lose anything?")
def change_interval(answer: Callable) -> Iterator[Property]:
    """answer(labels, before, after) -> (lost, won, low, high)."""

    def case(lost: int, won: int, right: int, wrong: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        count = lost + won + right + wrong
        labels = np.arange(count) % 7
        before, after = labels.copy(), labels.copy()
        after[:lost] += 1
        before[lost : lost + won] += 1
        before[count - wrong :] += 1
        after[count - wrong :] += 2  # both wrong, and not alike
        order = np.random.default_rng(count).permutation(count)
        return labels[order], before[order], after[order]

    def counts(*cells: int) -> bool:
        return tuple(answer(*case(*cells))[:2]) == cells[:2]

    def interval(*cells: int) -> bool:
        return np.allclose(
            answer(*case(*cells))[2:], _agresti_min(cells[0], cells[1], sum(cells)), rtol=1e-9, atol=1e-12
        )

    yield ("lost and won are the examples that one form alone got right", lambda: counts(3, 1, 6, 0) and counts(0, 4, 1, 0) and counts(2, 0, 0, 0), [
        "Lost: the old form was right, the new one is not.",
        "before == labels and after == labels are two masks; which of the four combinations count?",
        "lost = (was & ~now).sum(); won = (now & ~was).sum()",
    ])  # fmt: skip
    yield ("two wrong answers that differ are neither lost nor won", lambda: counts(1, 2, 3, 9) and counts(0, 0, 2, 5), [
        "Both are wrong, one says 3, the other 4.",
        "before != after is not the same as one right, one wrong.",
        "Compare each with the labels, not with each other.",
    ])  # fmt: skip
    yield ("the interval of the docstring, on 450 images with 3 lost and 1 won", lambda: interval(3, 1, 440, 6), [
        "b = 3.5, c = 1.5, m = 452: compute it by hand.",
        "Is the half added to each count, and 2 to N?",
        "(c - b) / m ± 1.96 * np.sqrt(b + c - (c - b) ** 2 / m) / m",
    ])  # fmt: skip
    yield ("a loss is negative, a gain positive", lambda: answer(*case(90, 0, 10, 0))[3] < 0 < answer(*case(0, 90, 10, 0))[2], [
        "New minus old: 90 of 100 lost is a change of about −0.9.",
        "won − lost, not lost − won.",
        "(c - b) / m with b for lost and c for won.",
    ])  # fmt: skip
    yield ("without a disagreement the interval still has a width, smaller for more examples", lambda: interval(0, 0, 450, 0) and interval(0, 0, 7, 2)
           and answer(*case(0, 0, 450, 0))[3] < answer(*case(0, 0, 9, 0))[3], [
        "450 equal answers: is it certain that no image ever changes?",
        "lost = won = 0 makes the root 0, unless the halves are added.",
        "b = lost + 0.5, c = won + 0.5, m = N + 2",
    ])  # fmt: skip
    yield ("any N from 1 on, any counts", lambda: interval(1, 0, 0, 0) and interval(0, 0, 0, 1) and interval(0, 1, 0, 0) and interval(17, 30, 900, 40), [
        "Try one example.",
        "Nothing is divided by N − 1 here.",
        "The formula holds as it stands.",
    ])  # fmt: skip

    def kinds() -> bool:
        labels, before, after = case(3, 1, 20, 2)
        strided = [np.stack([each, each + 5], axis=1)[:, 0] for each in (labels, before, after)]
        small = [each.astype(np.uint8) for each in (labels, before, after)]
        plain = [type(each) for each in answer(labels, before, after)] == [int, int, float, float]
        return plain and answer(*strided) == answer(*small) == answer(labels, before, after)

    yield ("plain ints and floats, whatever integer type comes in", kinds, [
        "Try uint8 labels, and print type(…) of each result.",
        "A numpy.int64 cannot be written as JSON.",
        "int(…) and float(…)",
    ])  # fmt: skip
    two = np.zeros((4, 10))
    yield ("no example, shapes that differ, and logits are refused", lambda: all(raises(ValueError, answer, *given) for given in (
        (np.zeros(0, int),) * 3, (np.zeros(4, int), np.zeros(4, int), np.zeros(1, int)), (np.zeros(4, int), np.zeros(3, int), np.zeros(4, int)), (two, two, two),
        (np.zeros(4, int), two, two), (np.zeros(4, int), np.zeros((4, 1), int), np.zeros((4, 1), int)),
    )), [
        "Try empty arrays, 4 labels against 1 answer, answers of shape (4, 1), and logits (4, 10).",
        "NumPy compares (4,) with (1,) and with (4, 1), and says nothing. The second gives 16 results.",
        "if not labels.shape == before.shape == after.shape or labels.ndim != 1 or len(labels) == 0: raise ValueError(…)",
    ])  # fmt: skip


@EXERCISES.add("10.4", "Which ones may go?")
def pareto_front(answer: Callable) -> Iterator[Property]:
    """answer(costs) -> mask of the rows on the front."""

    def keeps(expected: list[int], costs: object) -> bool:
        return np.flatnonzero(answer(np.array(costs, float))).tolist() == expected

    yield ("a truth value for each form", lambda: answer(np.array([[1.0, 2.0], [2.0, 1.0], [3.0, 3.0]])).dtype == bool
           and answer(np.array([[1.0, 2.0], [2.0, 1.0], [3.0, 3.0]])).shape == (3,), [
        "What shape and dtype does the docstring promise?",
        "Not the indices: a mask.",
        "A bool array (N,).",
    ])  # fmt: skip
    yield ("a form beaten in every cost goes, a form that is best in one stays", lambda: keeps([0, 1], [[1, 9], [9, 2], [10, 10]]) and keeps([1], [[5, 5], [1, 1], [2, 3]]), [
        "The third form is larger and slower than another: would anybody choose it?",
        "Compare each form with each other form, all costs at once.",
        "(costs[i] <= costs[j]).all() and (costs[i] < costs[j]).any(): j may go.",
    ])  # fmt: skip
    yield ("a form that is best in no cost may still stay", lambda: keeps([0, 1, 2], [[1, 9], [5, 5], [9, 1]]), [
        "The middle one is neither smallest nor fastest. Is there a form that beats it in both?",
        "A front is more than the winners of each column.",
        "Ask whether another form beats it, not whether it wins something.",
    ])  # fmt: skip
    yield ("equal in one cost and beaten in the other is beaten", lambda: keeps([0], [[1, 5], [1, 6]]) and keeps([1], [[7, 5, 3], [7, 5, 2]]), [
        "The same size, and slower.",
        "At most as costly everywhere, less in at least ONE.",
        "<= in all columns, < in any.",
    ])  # fmt: skip
    yield ("equal forms do not remove each other", lambda: keeps([0, 2], [[1, 5], [2, 6], [1, 5]]) and keeps([0, 1, 2], [[4, 4]] * 3), [
        "Two copies of one form: if each removes the other, nothing is left.",
        "<= alone is true of a form and itself, too.",
        "Ask for < in at least one column.",
    ])  # fmt: skip
    random = np.random.default_rng(105)

    def agrees(count: int, costs: int) -> bool:
        given = random.integers(0, 5, (count, costs)).astype(np.float32)
        front = [
            not any(all(a <= b for a, b in zip(other, mine)) and tuple(other) != tuple(mine) for other in given)
            for mine in given
        ]
        return answer(given).tolist() == front

    yield ("one cost, three, five, with many ties", lambda: keeps([1, 3], [[3], [1], [2], [1]]) and all(agrees(60, costs) for costs in (2, 3, 5)), [
        "Try one column, and five.",
        "Sorting by the first column works for two costs only.",
        "Compare all pairs: costs[:, None] <= costs has the shape (N, N, K).",
    ])  # fmt: skip
    yield ("infinity, negative numbers and an empty list are fine", lambda: keeps([0, 1], [[np.inf, 1], [1, np.inf], [np.inf, np.inf]])
           and keeps([1], [[-1, 0], [-2, 0]]) and answer(np.zeros((0, 3))).shape == (0,) and answer(np.zeros((0, 3))).dtype == bool and keeps([0], [[7, 7]]), [
        "A form that never answers has a latency of infinity.",
        "inf − inf is NaN: compare, do not subtract.",
        "With no form at all the mask has the shape (0,), and is of bool still. np.array([]) is of float64.",
    ])  # fmt: skip
    whole = np.array([[2**60, 1], [2**60 + 1, 1]])
    yield ("nothing is rounded on the way, and the costs stay as they were", lambda: answer(whole).tolist() == [True, False]
           and whole.tolist() == [[2**60, 1], [2**60 + 1, 1]], [
        "Bytes may be integers, larger than float64 can tell apart.",
        "astype(float) makes these two rows equal.",
        "Compare the numbers as they come.",
    ])  # fmt: skip
    nan = np.nan
    yield ("NaN, no costs and other shapes are refused", lambda: all(raises(ValueError, answer, np.array(given)) for given in (
        [[1.0, nan], [2.0, 2.0]], [[nan, 1.0]], [1.0, 2.0], [[[1.0]]],
    )) and raises(ValueError, answer, np.zeros((3, 0))), [
        "A measurement is missing: NaN.",
        "Every comparison with NaN is false, so no form would beat such a form.",
        "if costs.ndim != 2 or costs.shape[1] == 0 or np.isnan(costs).any(): raise ValueError(…)",
    ])  # fmt: skip
