"""Checks of lesson 10b. They need no framework."""

import math
from collections.abc import Callable, Iterator
from itertools import chain, combinations

import numpy as np

from course_lib.checks import Register, raises
from course_lib.idioms.exercises import Property

EXERCISES = Register()


@EXERCISES.add("10b.1", "The codes of a small float")
def small_float(answer: Callable) -> Iterator[Property]:
    """answer(codes, exponent_bits, fraction_bits) -> float64 array."""

    def by_hand(code: int, E: int, M: int) -> float:
        sign, e, m = code >> (E + M), (code >> M) % 2**E, code % 2**M
        size = math.ldexp(2**M + m, e - 2 ** (E - 1) + 1 - M) if e else math.ldexp(m, 2 - 2 ** (E - 1) - M)
        return -size if sign else size

    def agrees(E: int, M: int, dtype: str = "u1") -> bool:
        codes = np.arange(2 ** (1 + E + M)).astype(dtype)
        got = np.asarray(answer(codes, E, M))
        return got.shape == codes.shape and np.array_equal(got, [by_hand(int(each), E, M) for each in codes])

    fp4 = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0]
    eight = np.arange(8, dtype=np.uint8)
    yield ("normal numbers: codes 2 to 7 of FP4 E2M1 are 1, 1.5, 2, 3, 4, 6", lambda: np.array_equal(answer(eight, 2, 1)[2:], fp4[2:]), [
        "Code 5 is 0 10 1: sign 0, e = 2, m = 1. The bias is 1.",
        "(1 + 1/2) * 2**(2 - 1) is 3. The last exponent is one of the numbers here, not infinity.",
        "(1 + m / 2**fraction_bits) * 2.0 ** (e - bias)",
    ])  # fmt: skip
    yield ("subnormal values: codes 0 and 1 of FP4 are 0 and 0.5, those of E2M3 steps of 1/8", lambda: np.array_equal(answer(eight, 2, 1), fp4)
           and np.array_equal(answer(eight, 2, 3), np.arange(8) / 8), [
        "With e = 0 there is no leading 1.",
        "The exponent is then 1 - bias, as for e = 1, not 0 - bias.",
        "m / 2**fraction_bits * 2.0 ** (1 - bias)",
    ])  # fmt: skip
    yield ("with the sign bit they are negative, and the sign bit alone is -0.0", lambda: np.array_equal(answer(eight + np.uint8(8), 2, 1), [-each for each in fp4])
           and bool(np.signbit(answer(np.array([8], np.uint8), 2, 1))[0]) and not np.signbit(answer(np.array([0], np.uint8), 2, 1))[0], [
        "Code 13 is 1 10 1, which is -3.",
        "-1 * 0 in whole numbers is 0; -0.0 is a float of its own.",
        "np.where(sign, -size, size), with size in floats",
    ])  # fmt: skip
    yield ("E3M2 and E4M3 in uint8, where e - bias is below 0", lambda: agrees(3, 2) and agrees(4, 3) and agrees(5, 2), [
        "Try code 4 in E3M2: e = 1, the bias is 3.",
        "In uint8, 1 - 3 is 254.",
        "np.asarray(codes).astype(np.int64) first",
    ])  # fmt: skip
    yield ("other widths: E5M10 and E6M9 in uint16, E2M0, E1M2, codes in uint64", lambda: agrees(5, 10, "u2") and agrees(6, 9, "u2")
           and agrees(2, 0) and agrees(1, 2) and agrees(3, 2, "u8"), [
        "float16 without infinities is E5M10: 65,536 codes.",
        "A byte is not enough for them. With M = 0 there is no fraction, with E = 1 the bias is 0.",
        "Take the parts by // and % of powers of two, in int64.",
    ])  # fmt: skip

    def shapes() -> bool:
        codes = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)[:, ::-1, ::2]
        got, empty = answer(codes, 2, 3), answer(np.zeros((0, 3), np.uint8), 2, 1)
        one = answer(np.array(5, np.uint8), 2, 1)
        same = np.array_equal(got, [[[by_hand(int(c), 2, 3) for c in row] for row in block] for block in codes])
        return (
            same
            and got.dtype == np.float64
            and empty.shape == (0, 3)
            and np.shape(one) == ()
            and one == 3.0
            and agrees(8, 3, "u2")
        )

    yield ("float64, for any shape: with gaps, empty, a single code", shapes, [
        "Try np.zeros((0, 3), np.uint8) and np.array(5, np.uint8).",
        "max of nothing raises; a loop over rows knows two axes only; 2**128, in E8M3, is too large for float32.",
        "np.where and // take any shape.",
    ])  # fmt: skip
    yield ("a bit above the sign is refused", lambda: raises(ValueError, answer, np.array([3, 16], np.uint8), 2, 1) and raises(ValueError, answer, np.array([64], np.uint8), 3, 2)
           and agrees(2, 1), [
        "Code 16 has five bits, FP4 has four.",
        "Dropping the bit would hide a reader that is one byte off.",
        "if (codes >> (1 + exponent_bits + fraction_bits)).any(): raise ValueError(…)",
    ])  # fmt: skip


@EXERCISES.add("10b.2", "Straight through")
def straight_through(answer: Callable) -> Iterator[Property]:
    """answer(x, step, least, greatest, upstream) -> (value, gradient)."""
    random = np.random.default_rng(104)
    quarter = np.array([0.25])

    def one(value: float, least: int = -2, greatest: int = 2) -> tuple[float, float]:
        result, gradient = answer(np.array([[value]]), quarter, least, greatest, np.array([[3.0]]))
        return float(result[0, 0]), float(gradient[0, 0])

    def by_hand(x: np.ndarray, step: np.ndarray, least: int, greatest: int, upstream: np.ndarray) -> tuple:
        value, gradient = np.zeros(x.shape), np.zeros(x.shape)
        for index in np.ndindex(x.shape):
            level = float(x[index]) / float(step[index[0]])
            value[index] = float(step[index[0]]) * min(max(round(level), least), greatest)
            gradient[index] = upstream[index] if least <= level <= greatest else 0.0
        return value, gradient

    def agrees(shape: tuple[int, ...], dtype: str = "f8", bits: int = 3, view: bool = False) -> bool:
        x, upstream = (random.normal(size=shape).astype(dtype) for _ in range(2))
        step = (2.0 ** random.integers(-4, 1, shape[0])).astype(dtype)  # powers of two: x / step is exact
        if view:
            x, upstream = np.repeat(x, 2, axis=-1)[..., ::2], np.repeat(upstream, 2, axis=-1)[..., ::2]
        least, greatest = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
        value, gradient = answer(x, step, least, greatest, upstream)
        expected = by_hand(x, step, least, greatest, upstream)
        return np.allclose(value, expected[0], rtol=1e-6) and np.array_equal(gradient, expected[1].astype(dtype))

    yield ("values become step times the nearest level, clipped", lambda: [one(v)[0] for v in (0.3, 0.4, -0.3, 0.9, -7.0)] == [0.25, 0.5, -0.25, 0.5, -0.5], [
        "With step 0.25 the value 0.3 becomes 0.25: a value, not the level 1.",
        "Divide by the step, round, clip to the levels, multiply by the step.",
        "np.clip(np.rint(x / step), least, greatest) * step",
    ])  # fmt: skip
    yield ("ties go to the even level", lambda: [one(v, -8, 7)[0] for v in (0.125, 0.375, 0.625, -0.125)] == [0.0, 0.5, 0.5, 0.0], [
        "0.125 lies between the levels 0 and 1.",
        "floor(x + 0.5) rounds ties up.",
        "np.rint",
    ])  # fmt: skip
    yield ("inside the range the gradient goes through as it came", lambda: [one(v)[1] for v in (0.3, 0.125, -0.4, 0.0)] == [3.0] * 4, [
        "The true derivative of rounding is 0; what would be learned?",
        "Straight through: the upstream gradient, unchanged. It is not multiplied by the step.",
        "np.where(inside, upstream, 0)",
    ])  # fmt: skip
    yield ("outside the range it is 0, at its ends it passes", lambda: [one(v)[1] for v in (0.51, -0.51, 9.0)] == [0.0] * 3
           and [one(v)[1] for v in (0.5, -0.5)] == [3.0] * 2 and one(0.45, -2, 1)[1] == 0.0 and one(0.2, -2, 0)[1] == 0.0, [
        "With levels −2 to 2 and step 0.25 the range is −0.5 to 0.5.",
        "The range is that of x, before rounding: 0.51 rounds to a level inside, and is outside.",
        "passes = (x / step >= least) & (x / step <= greatest)",
    ])  # fmt: skip
    yield ("a step for each channel, along the first axis, of a square matrix too", lambda: agrees((4, 4)) and agrees((3, 5)), [
        "x of shape (4, 4), step of shape (4,): rows, or columns?",
        "NumPy aligns shapes at the last axis.",
        "step.reshape(-1, *[1] * (x.ndim - 1))",
    ])  # fmt: skip
    yield ("one axis, four axes, one channel, none", lambda: agrees((6,)) and agrees((3, 2, 3, 3)) and agrees((1, 7))
           and answer(np.zeros((0, 3)), np.zeros(0), -1, 1, np.zeros((0, 3)))[0].shape == (0, 3), [
        "Convolutions have four axes, biases one.",
        "step[:, None] is right for two axes only.",
        "As many axes of length 1 as x has further axes.",
    ])  # fmt: skip
    yield ("float32 stays float32, float64 float64; views with gaps", lambda: all(
        part.dtype == dtype for dtype in ("f4", "f8") for part in answer(np.ones((2, 3), dtype), np.array([0.5, 1.0]), -2, 2, np.ones((2, 3), dtype)))
        and agrees((4, 3), "f4", view=True) and agrees((4, 3), bits=8), [
        "Try x in float32 and steps in float64.",
        "float32 times float64 is float64.",
        ".astype(x.dtype) on both results.",
    ])  # fmt: skip

    def untouched() -> bool:
        x, upstream = random.normal(size=(2, 2, 50))
        before = x.copy(), upstream.copy()
        value, gradient = answer(x, np.full(2, 0.25), -2, 1, upstream)
        value += 1
        gradient += 1
        return np.array_equal(x, before[0]) and np.array_equal(upstream, before[1])

    yield ("x and upstream stay as they were", untouched, [
        "upstream[outside] = 0 changes the caller's gradient.",
        "So does returning the caller's own array, which is then written to.",
        "np.where makes a new array.",
    ])  # fmt: skip
    yield ("the gradient has the dtype of x, whatever that of upstream", lambda: answer(
        np.ones((2, 3), "f4"), np.ones(2, "f4"), -2, 2, np.ones((2, 3)))[1].dtype == np.float32, [
        "Try x in float32, and upstream in float64.",
        "np.zeros_like(upstream) and np.where(passes, upstream, 0) take the dtype of upstream.",
        ".astype(x.dtype) on the gradient, too.",
    ])  # fmt: skip
    x = np.ones((2, 3))
    yield ("steps and levels that make no sense are refused", lambda: all(raises(ValueError, answer, *given, x) for given in (
        (x, np.ones(3), -2, 2), (x, np.ones(1), -2, 2), (x, np.array([1.0, 0.0]), -2, 2), (x, np.array([1.0, -1.0]), -2, 2),
        (x, np.array([1.0, np.nan]), -2, 2), (x, np.ones(2), 2, 2), (x, np.ones(2), 2, -2),
    )), [
        "Try three steps, or one, for two channels, a step of 0, levels 2 to −2.",
        "A single step would broadcast silently.",
        "if step.shape != x.shape[:1] or not (step > 0).all() or least >= greatest: raise ValueError(…)",
    ])  # fmt: skip


@EXERCISES.add("10b.3", "Which layers go back to float?")
def greedy_floats(answer: Callable) -> Iterator[Property]:
    """answer(layers, score, least) -> list of layers."""
    names = ["conv1", "conv2", "dense1", "dense2"]

    def scored(gains: dict, base: float = 80.0) -> Callable:
        """A score in which each layer in float adds its gain, and pairs (as frozensets) add theirs."""

        def score(in_float: frozenset) -> float:
            parts = chain(in_float, map(frozenset, combinations(in_float, 2)))
            return base + sum(gains.get(part, 0) for part in parts)

        return score

    def gives(expected: list, score: Callable, least: float, layers: list = names) -> bool:
        asked = []

        def counted(in_float: frozenset) -> float:
            asked.append(frozenset(in_float))
            return score(in_float)

        given = list(layers)
        got = answer(given, counted, least)
        return isinstance(got, list) and got == expected and given == list(layers) and len(asked) == len(set(asked))

    plain = scored({"conv1": 6, "conv2": 1, "dense1": 3, "dense2": 9})
    yield ("if the score is enough at once, no layer joins", lambda: gives([], plain, 80) and gives([], plain, 79.5), [
        "Ask score(frozenset()) first.",
        "At least `least`: 80 is enough for 80.",
        "while score < least",
    ])  # fmt: skip
    yield ("if one layer is enough, it is the best one", lambda: gives(["dense2"], plain, 82) and gives(["conv2"], scored({"conv2": 5, "dense2": 1}), 81), [
        "Each of the four alone would do for 81 here. Which one is asked for?",
        "The one with which the score is highest, not the first that is enough.",
        "scores.index(max(scores))",
    ])  # fmt: skip
    yield ("more layers join until it is enough, in the order in which they joined", lambda: gives(["dense2", "conv1"], plain, 95)
           and gives(["dense2", "conv1", "dense1"], plain, 96) and gives(["dense2", "conv1", "dense1", "conv2"], plain, 99), [
        "80 + 9 is 89: not enough for 95.",
        "Ask for the set of those that joined, and one more.",
        "score(frozenset([*chosen, layer]))",
    ])  # fmt: skip
    same_error = scored({"conv1": 8, "dense1": 9, "dense2": 3, frozenset({"conv1", "dense1"}): -8})
    yield ("layers that repair the same error do not both join", lambda: gives(["dense1", "dense2"], same_error, 92), [
        "conv1 and dense1 are the best two alone, and together little better than one.",
        "A sorted scan asks for each layer alone. Ask anew after each one that joined.",
        "Compute all scores again in each round.",
    ])  # fmt: skip
    yield ("among equals the first in the list joins", lambda: gives(["conv2"], scored({"conv2": 4, "dense1": 4}), 84)
           and gives(["b", "a"], scored({"a": 2, "b": 2}), 84, ["c", "b", "a"])
           and gives([9, 2], scored({9: 2, 2: 2, 0: 2}), 84, [9, 2, 0]), [
        "conv2 and dense1 bring the same.",
        "A set has no order; sorting by name is another order.",
        "Go through `layers` and take the first of the highest: list.index.",
    ])  # fmt: skip
    pair = scored({"conv1": -1, "conv2": -2, "dense1": -3, "dense2": -4, frozenset({"conv1", "conv2"}): 20})
    yield ("a layer joins even if the score does not rise", lambda: gives(["conv1", "conv2"], pair, 90)
           and gives(["conv1", "conv2", "dense1", "dense2"], scored({frozenset({"dense1", "dense2"}): 9}), 89), [
        "Here each layer alone lowers the score a little, and two together raise it.",
        "Compare the new scores with each other, not with the old one.",
        "Stop only if the score is enough, or no layer is left.",
    ])  # fmt: skip
    yield ("names may be numbers, and scores negative", lambda: gives([9], scored({0: 1, 9: 3}, base=-5), -2, [0, 2, 7, 9])
           and gives([0], scored({0: 3, 9: 1}, base=-5), -2, [0, 2, 7, 9]), [
        "Layer 0 is a name, too.",
        "`if layer` is false for 0, and a best score that starts at 0 is never beaten by −2.",
        "Use max(scores), without a start value.",
    ])  # fmt: skip

    def asks_little() -> bool:
        asked = []
        answer(names, lambda in_float: asked.append(in_float) or plain(in_float), 96)
        return len(asked) == len(set(asked)) <= 1 + 4 + 3 + 2 and all(type(each) is frozenset for each in asked)

    yield ("score gets frozensets, each at most once, and no more of them than needed", asks_little, [
        "Count the calls: one at the start, then 4, 3 and 2.",
        "Keep the scores of a round in a list, and take the highest from it.",
        "reached = max(scores), instead of asking score again",
    ])  # fmt: skip
    yield ("a target out of reach is refused", lambda: raises(ValueError, answer, names, plain, 99.5) and raises(ValueError, answer, [], plain, 81), [
        "All four in float reach 99.",
        "max of nothing raises a ValueError, too, but the caller should learn what was reached.",
        "if not left: raise ValueError(…)",
    ])  # fmt: skip
