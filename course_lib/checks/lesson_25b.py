"""Checks of lesson 25b."""

from collections.abc import Callable, Iterator

import numpy as np

from course_lib.checks import Register, raises
from course_lib.idioms.exercises import Property

EXERCISES = Register()


@EXERCISES.add("25b.1", "Prepare the input as the board does")
def quantized(answer: Callable) -> Iterator[Property]:
    """answer(counts, scale, zero_point) -> int8 array."""
    every = np.arange(17, dtype=np.uint8)

    def right(counts: np.ndarray, scale: float, zero_point: int) -> bool:
        told = np.asarray(answer(counts, scale, zero_point))
        exact = np.clip(counts.astype(np.float64) / 16 / scale + zero_point, -128, 127)
        return told.shape == counts.shape and bool((np.abs(told.astype(np.float64) - exact) <= 0.5 + 1e-3).all())

    yield ("paper becomes -128 and full ink 127, with the model's scale 1/255 and zero point -128",
           lambda: np.asarray(answer(np.array([0, 16]), 1 / 255, -128)).tolist() == [-128, 127], [
        "The float model takes counts / 16: full ink is 1.0.",
        "1.0 / (1 / 255) is 255 steps above paper.",
        "np.round(counts / 16 / scale) + zero_point",
    ])  # fmt: skip
    yield ("int8 comes back", lambda: np.asarray(answer(every, 1 / 255, -128)).dtype == np.int8, [
        "What is the dtype of your answer?",
        "The interpreter refuses anything but int8.",
        ".astype(np.int8), as the last step",
    ])  # fmt: skip
    yield ("each value is rounded to the nearest step",
           lambda: all(right(every, s, z) for s, z in ((1 / 255, -128), (0.0173, -5), (0.031, 3), (0.4, 0))), [
        "astype cuts towards zero. Is that rounding?",
        "Round x / scale first, add the zero point, convert last.",
        "np.round(…)",
    ])  # fmt: skip
    yield ("values beyond int8 are cut off, they do not wrap round",
           lambda: right(every, 1 / 400, -128) and right(every, 1 / 255, 100) and right(every, 1e-6, 0), [
        "With a smaller scale, full ink lies above 127. What does astype make of 272?",
        "np.clip before astype.",
        "np.clip(q, -128, 127).astype(np.int8)",
    ])  # fmt: skip
    views = [np.zeros((0, 8, 8, 1), np.uint8), (np.arange(64).reshape(1, 8, 8, 1) % 17).astype(np.int32),
             np.repeat(every, 4).reshape(4, 17)[:, ::-2], every.astype(np.int8)]  # fmt: skip
    yield ("any shape and integer type is taken, an empty batch too",
           lambda: all(right(each, 1 / 255, -128) for each in views), [
        "Try shapes (1, 8, 8, 1) and (0, 8, 8, 1), and int8 counts.",
        "Let NumPy work on the whole array; go to float before you divide.",
        "np.asarray(counts, np.float64)",
    ])  # fmt: skip
    yield ("a scale that is not above 0 is refused",
           lambda: all(raises(ValueError, answer, every, s, 0) for s in (0, -0.1, 0.0, float("nan"))), [
        "A scale of 0 is a file that was read wrongly.",
        "Compare before you divide; NaN is not above 0 either.",
        "if not scale > 0: raise ValueError(…)",
    ])  # fmt: skip


def _conv(out: tuple, kernel: tuple) -> dict:
    return {"kind": "conv", "out": out, "filter": kernel}


@EXERCISES.add("25b.2", "How many multiplications, and how much flash?")
def counted(answer: Callable) -> Iterator[Property]:
    """answer(layers) -> (macs, flash_bytes)."""
    dense = {"kind": "dense", "in": 512, "out": 20}
    digits = [_conv((8, 8, 16), (3, 3, 1)), _conv((8, 8, 32), (3, 3, 16)), {"kind": "pool"}, {"kind": "reshape"},
              dense, {"kind": "dense", "in": 20, "out": 10}]  # fmt: skip

    def told(layers: list[dict]) -> tuple:
        return tuple(answer(layers))

    yield ("a dense layer of 512 by 20: 10,240 MACs", lambda: told([dense])[0] == 10240, [
        "Each output adds up one product for each input.",
        "Biases are added, not multiplied: they are no MACs.",
        "in * out",
    ])  # fmt: skip
    yield ("and 10,320 bytes: the biases take 4 bytes each", lambda: told([dense])[1] == 10320, [
        "20 biases of 32 bits are there too.",
        "weights + 4 * biases",
        "10,240 + 4 · 20",
    ])  # fmt: skip
    yield ("a convolution of 3 × 3 × 16 to 8 × 8 × 32: 294,912 MACs",
           lambda: told([_conv((8, 8, 32), (3, 3, 16))])[0] == 294912, [
        "The filter is used at each place of the output, for each output channel.",
        "8 · 8 places, 32 channels, 3 · 3 · 16 products.",
        "math.prod(out) * math.prod(filter)",
    ])  # fmt: skip
    yield ("its weights are stored once, not once a place: 4,736 bytes",
           lambda: told([_conv((8, 8, 32), (3, 3, 16))])[1] == 4736, [
        "A filter slides over the picture, and stays the same.",
        "3 · 3 · 16 weights for each of 32 channels, and 32 biases.",
        "math.prod(filter) * c_out + 4 * c_out",
    ])  # fmt: skip
    yield ("a depthwise filter sees one channel",
           lambda: told([{"kind": "depthwise", "out": (6, 5, 24), "filter": (3, 3)}]) == (6480, 312), [
        "One filter of 3 × 3 for each channel, and no sum over channels.",
        "6 · 5 places, 24 channels, 9 products.",
        "weights = 3 * 3 * 24",
    ])  # fmt: skip
    yield ("height and width may differ, in the picture and in the filter",
           lambda: told([_conv((4, 6, 2), (1, 5, 3))]) == (720, 38), [
        "A filter of 1 × 5 × 3 has 15 weights, and 4 × 6 is 24 places.",
        "Multiply all three numbers of the filter, and both sides of the output.",
        "math.prod(filter)",
    ])  # fmt: skip
    yield ("the digits network: 314,568 MACs and 15,504 bytes; no layer: 0 and 0",
           lambda: told(digits) == (314568, 15504) and told([]) == (0, 0), [
        "Pooling and reshaping have no weights.",
        "Add up both numbers over the layers, from 0.",
        "macs += …; flash += …",
    ])  # fmt: skip
    yield ("an unknown kind is refused", lambda: raises(ValueError, answer, [dense, {"kind": "attention"}]), [
        "A layer that is skipped silently makes the sum too small.",
        "Name the kinds without weights, and refuse the rest.",
        'raise ValueError(…) in the last "else"',
    ])  # fmt: skip


@EXERCISES.add("25b.3", "What is the smallest arena?")
def smallest(answer: Callable) -> Iterator[Property]:
    """answer(operators, bytes_of, inputs, outputs) -> int."""
    chain = [(["x", "w1"], ["a"]), (["a", "w2"], ["b"]), (["b"], ["c"]), (["c"], ["y"])]
    sizes = {"x": 64, "a": 1024, "b": 2048, "c": 512, "y": 10}
    yield ("a chain needs its largest sum of input and output", lambda: answer(chain, sizes, ["x"], ["y"]) == 3072, [
        "While an operator runs, its input and its output are there.",
        "Constants are not in bytes_of: bytes_of.get(name, 0).",
        "max over the operators of the sum over what is alive",
    ])  # fmt: skip
    block = [(["x"], ["a"]), (["a"], ["b"]), (["b", "x"], ["y"])]
    yield ("with a residual connection the block's input stays alive",
           lambda: answer(block, {"x": 100, "a": 300, "b": 100, "y": 100}, ["x"], ["y"]) == 500, [
        "The last operator reads x again. Where is x while the second one runs?",
        "Whatever is read later must be there now.",
        "x + a + b = 500 during the second operator",
    ])  # fmt: skip
    yield ("an input that is read late is there from the start",
           lambda: answer([(["x"], ["a"]), (["a"], ["b"]), (["b", "z"], ["y"])],
                          {"x": 10, "a": 20, "b": 5, "z": 1000, "y": 1}, ["x", "z"], ["y"]) == 1030, [
        "Inputs are filled before the first operator.",
        "z is there during the first operator, though only the third reads it.",
        "there = set(inputs), before the loop",
    ])  # fmt: skip
    yield ("an output that is written early stays to the end",
           lambda: answer([(["x"], ["early"]), (["x"], ["a"]), (["a"], ["y"])],
                          {"x": 10, "early": 50, "a": 200, "y": 100}, ["x"], ["y", "early"]) == 350, [
        "Who reads early? Not an operator, but the program after the last one.",
        "Names in outputs count as read later.",
        "later = set(outputs).union(…)",
    ])  # fmt: skip
    yield ("a tensor that is read twice counts once", lambda: answer([(["x", "x"], ["y"])], {"x": 40, "y": 40}, ["x"], ["y"]) == 80, [
        "x * x reads x twice. It lies in memory once.",
        "Use a set of names, not a list.",
        "set(read) | set(written)",
    ])  # fmt: skip
    yield ("a tensor that nobody reads takes its place while it is written, and not later",
           lambda: answer([(["x"], ["a", "unused"]), (["a"], ["y"])], {"x": 1, "a": 2, "unused": 100, "y": 90}, ["x"], ["y"]) == 103, [
        "unused is written by the first operator: it needs room then.",
        "Afterwards nobody needs it: drop it.",
        "needed = there & (later | set(read) | set(written))",
    ])  # fmt: skip
    yield ("an input that nobody reads any more gives its place back",
           lambda: answer([(["x"], ["a"]), (["a"], ["b"]), (["b"], ["y"])], {"x": 500, "a": 1, "b": 400, "y": 300}, ["x"], ["y"]) == 700, [
        "After its last reader, x is no longer needed.",
        "Look ahead from each operator, not from the beginning.",
        "operators[now + 1 :]",
    ])  # fmt: skip
    yield ("without operators it is 0", lambda: answer([], {"x": 5}, ["x"], ["x"]) == 0, [
        "What does max of nothing do?",
        "Start from 0.",
        "max(…, default=0)",
    ])  # fmt: skip
