"""Checks of lesson 11. NumPy alone: masks, shares, shapes and bytes."""

import math
from collections.abc import Callable, Iterator

import numpy as np

from course_lib.checks import Register, raises
from course_lib.idioms.exercises import Property

EXERCISES = Register()


@EXERCISES.add("11.1", "Exactly this many")
def exact_mask(answer: Callable) -> Iterator[Property]:
    """answer(weights, sparsity) -> mask of what stays."""
    plain = np.array([[0.5, -3.0], [2.0, -0.1]])
    random = np.random.default_rng(11)

    def gone(weights: np.ndarray, sparsity: float) -> list[int]:
        return np.flatnonzero(~np.asarray(answer(weights, sparsity)).ravel()).tolist()

    yield ("one truth value for each weight, in the weights' shape", lambda: answer(plain, 0.5).shape == (2, 2) and answer(plain, 0.5).dtype == bool, [
        "What shape and dtype does the docstring promise?",
        "Not the weights, and not their indices: a mask.",
        "Work on weights.ravel(), then .reshape(weights.shape).",
    ])  # fmt: skip
    yield ("magnitudes decide, not signs", lambda: gone(plain, 0.5) == [0, 3] and gone(plain, 0.25) == [3], [
        "Of 0.5, -3, 2 and -0.1, which two are closest to zero?",
        "-3 is less than 0.5, and yet the most important of all.",
        "Rank np.abs(weights).",
    ])  # fmt: skip

    def true_means_stays() -> bool:
        many = random.normal(size=1000)
        kept = answer(many, 0.9)
        return kept.sum() == 100 and np.abs(many[kept]).min() > np.abs(many[~kept]).max()

    yield ("of 1000 weights at 90 %, the 100 largest stay", true_means_stays, [
        "Does True mean that a weight stays?",
        "The mask multiplies the weights: True is 1.",
        "keep = np.ones(n, bool); keep[the smallest] = False",
    ])  # fmt: skip
    equal = np.repeat(np.float32([0.25, -0.25, 1.0]), [30, 50, 20])
    yield ("as many go as were asked for, where magnitudes are equal too", lambda: all(
        len(gone(equal, s)) == round(s * 100) for s in (0.1, 0.37, 0.8, 0.9)
    ), [
        "80 of 100 weights have the same magnitude, and half of the weights are to go.",
        "No threshold can cut through equal numbers: they all lie on one side of it.",
        "np.argsort gives ranks: the first round(sparsity * n) of them go.",
    ])  # fmt: skip
    yield ("the number is rounded as Python rounds", lambda: [len(gone(np.arange(1.0, 8), s)) for s in (0.5, 0.2, 0.36, 0.64)] == [4, 1, 3, 4]
           and len(gone(np.arange(1.0, 6), 0.5)) == 2, [
        "Seven weights at 50 %, 20 %, 36 % and 64 %: 3.5, 1.4, 2.52 and 4.48; and five weights at 50 %: 2.5.",
        "int() cuts off, ceil rounds up; Python rounds a half to the even number.",
        "round(sparsity * weights.size)",
    ])  # fmt: skip
    tied = np.tile([2.0, -1.0, 1.0], 200)
    yield ("among equals, the first in row-major order go", lambda: all(
        gone(w, count / w.size) == [i for i in range(w.size) if i % 3][:count]
        for count in (1, 7, 150) for w in (tied, tied.reshape(20, 30), np.asfortranarray(tied.reshape(20, 30)))
    ), [
        "Six hundred weights, 2, -1 and 1 in turn: with one to go, it is the one in place 1.",
        "NumPy's default sort may put equal numbers in any order.",
        'np.argsort(…, kind="stable")',
    ])  # fmt: skip
    small = np.array([-128, 127, 1, -2, 0], np.int8)
    yield ("in every dtype, the int8 number -128 included", lambda: gone(small, 0.6) == [2, 3, 4] and all(
        gone(np.array([3, -1, 2]).astype(kind), 1 / 3) == [1] for kind in (np.float16, np.float32, np.int32)
    ) and gone(np.array([-32768, 30_000, 5], np.int16), 2 / 3) == [1, 2], [
        "Print np.abs(np.int8(-128)), and np.abs(np.int16(-32768)).",
        "int8 ends at 127: the magnitude does not fit, and comes out as -128.",
        "np.abs(weights.astype(np.float64))",
    ])  # fmt: skip
    large = np.array([-(2**31), 2**31 - 1, 2**24 + 1, 2**24, -3], np.int32)
    near = np.array([1.0003, -1.0001, 1.0002, 3e-9, -1e-9, 2e-9, 7e4, 9e4])
    yield ("magnitudes are ranked with all of their digits, and in their whole range", lambda: all(
        gone(near.astype(kind), count / 8) == sorted([4, 5, 3, 1, 2, 0, 6][:count]) for kind in (np.float32, np.float64) for count in range(1, 8)
    ) and gone(1 + 1e-12 * np.array([3, 1, 2]), 1 / 3) == [1] and all(gone(large, count / 5) == [1, 2, 3, 4][-count:] for count in range(1, 5)), [
        "Try the float32 weights 1.0003, -1.0001 and 1.0002, then 3e-9 and -1e-9, then 70,000 and 90,000; and the int32 weights -2**31, 2**24 + 1 and 2**24.",
        "float16 keeps three digits, is 0 below 3e-8, and ends at 65,504; float32 keeps seven digits of a float64 or an int32.",
        "np.abs(weights.astype(np.float64)), or np.abs in the float dtype that came",
    ])  # fmt: skip
    strided = random.normal(size=(6, 8))[::2, ::-1]
    yield ("a strided view, four axes, and no weight at all", lambda: np.array_equal(answer(strided, 0.5), answer(strided.copy(), 0.5))
           and answer(random.normal(size=(2, 3, 3, 3)), 0.5).shape == (2, 3, 3, 3) and answer(np.zeros((0, 4)), 0.5).shape == (0, 4), [
        "Try weights[::2, ::-1], a convolution's weights, and an array of shape (0, 4).",
        "Nothing may depend on how the array lies in memory, nor on its having an element.",
        "np.ravel goes in row-major order for any strides; argsort of an empty array is empty.",
    ])  # fmt: skip
    yield ("0 keeps everything, 1 nothing", lambda: bool(np.all(answer(plain, 0))) and not np.any(answer(plain, 1)), [
        "Try sparsity 0 and sparsity 1.",
        "order[-0:] is all of the array, not none of it.",
        "Take order[:count], the smallest, and set those to False.",
    ])  # fmt: skip
    yield ("a sparsity outside 0 to 1 is refused", lambda: all(raises(ValueError, answer, plain, s) for s in (-0.1, 1.5, 80, math.nan)), [
        "Someone passes 80 and means percent.",
        "And NaN? Every comparison with it is false.",
        "if not 0 <= sparsity <= 1: raise ValueError(…)",
    ])  # fmt: skip

    def untouched() -> bool:
        kept = plain.copy()
        answer(kept, 0.5)
        return np.array_equal(kept, plain)

    yield ("the weights stay as they were", untouched, [
        "Does your function write into `weights`?",
        "np.abs(weights, out=weights) and weights *= … change the caller's array.",
        "Work on a copy: astype makes one.",
    ])  # fmt: skip


@EXERCISES.add("11.2", "Shares from a scan")
def scan_shares(answer: Callable) -> Iterator[Property]:
    """answer(sparsities, accuracies, sizes, tolerance) -> (shares, total)."""
    steps = np.array([0.0, 0.2, 0.4, 0.6, 0.8])
    falling = np.array([[0.96, 0.955, 0.95, 0.9, 0.5], [0.96, 0.96, 0.96, 0.96, 0.955]])
    failing = np.array([[0.96, 0.955, 0.953, 0.9, 0.5], [0.96, 0.96, 0.96, 0.96, 0.8]])
    sizes = np.array([100, 900])

    def shares(curves: list, tolerance: float = 0.01, steps: np.ndarray = steps) -> list[float]:
        curves = np.array(curves)
        return np.asarray(answer(steps, curves, np.ones(len(curves), int), tolerance)[0]).tolist()

    yield ("each layer goes as far as it loses at most the tolerance", lambda: shares(failing) == [0.4, 0.6] and shares(failing, 0.001) == [0, 0.6], [
        "A curve of 0.96, 0.955, 0.953, 0.9: at which step has it lost more than 0.01?",
        "The step before the first failure is the answer, not the failing one.",
        "too_far = accuracies[:, :1] - accuracies > tolerance, then sparsities[first failure - 1]",
    ])  # fmt: skip
    yield ("it stops before the first failure, even where a later step passes", lambda: shares([[0.96, 0.9, 0.95, 0.96, 0.96], [0.96, 0.96, 0.8, 0.7, 0.96]]) == [0, 0.2], [
        "One layer fails at 20 % and passes at 60 % again, by luck.",
        "The last step that passes is not the answer.",
        "argmax of truth values is the place of the first True.",
    ])  # fmt: skip
    yield ("a layer that never fails goes to the last step", lambda: shares([[0.9] * 5, [0.9, 0.9, 0.9, 0.9, 0.8]]) == [0.8, 0.6], [
        "What does argmax return where no entry is True?",
        "0, as if the very first step had failed.",
        "np.where(too_far.any(axis=1), too_far.argmax(axis=1), len(sparsities))",
    ])  # fmt: skip
    yield ("each layer loses against its own first accuracy, and a gain is no loss", lambda: shares([[0.9, 0.99, 0.895, 0.8, 0.8], [0.99, 0.985, 0.97, 0.9, 0.9]]) == [0.4, 0.2], [
        "One layer's scan begins at 0.90, another's at 0.99.",
        "Neither the largest accuracy nor the difference of neighbours is asked for; and abs() makes a gain a loss.",
        "accuracies[:, :1] - accuracies",
    ])  # fmt: skip
    exact = np.array([[0.95, 0.94, 0.93, 0.92, 0.91]])
    yield ("a loss of exactly the tolerance is allowed, rounding included", lambda: shares(exact) == [0.2] and shares(exact, 0.03) == [0.6] and shares([[0.5, 0.5, 0.499, 0.4, 0.3]], 0) == [0.2], [
        "Print 0.95 - 0.94.",
        "It is 0.010000000000000009, which is more than 0.01.",
        "… > tolerance + 1e-9",
    ])  # fmt: skip
    near = np.array([[0.9, 0.89 - 3e-10, 0.89 - 1e-8, 0.9, 0.9]])
    yield ("a difference of less than 1e-9 counts as equal, a larger one does not", lambda: shares(near) == [0.2], [
        "With a tolerance of 0.01, try losses of 0.01 + 3e-10 and 0.01 + 1e-8.",
        "np.isclose allows 1e-8 and more unless you pass atol and rtol, and np.round(loss, 6) hides a difference of 1e-8.",
        "… > tolerance + 1e-9",
    ])  # fmt: skip
    yield ("the total weighs each layer with its size", lambda: math.isclose(answer(steps, falling, sizes, 0.01)[1], 0.76, abs_tol=1e-9)
           and math.isclose(answer(steps, falling, sizes[::-1], 0.01)[1], 0.44, abs_tol=1e-9), [
        "40 % of 100 weights and 80 % of 900 weights: how many of 1,000?",
        "The mean of the shares counts a small layer as much as a large one.",
        "shares @ sizes / sizes.sum()",
    ])  # fmt: skip
    yield ("one layer, one step, float32, and a strided view", lambda: np.array_equal(answer(np.zeros(1), np.array([[0.9]]), np.array([7]), 0.0)[0], [0])
           and np.allclose(answer(steps.astype(np.float32), falling.astype(np.float32), sizes, 0.02)[0], [0.4, 0.8])
           and np.array_equal(answer(steps, np.repeat(falling, 2, axis=1)[:, ::2], sizes.astype(np.int32), 0.01)[0], [0.4, 0.8]), [
        "A scan of a single layer with a single step: nothing may be pruned.",
        "Does something need two steps, or two layers?",
        "Work with whole arrays and axis=1.",
    ])  # fmt: skip
    yield ("sparsities that do not ascend from 0 are refused", lambda: all(
        raises(ValueError, answer, np.array(bad), np.full((1, len(bad)), 0.9), np.array([5]), 0.01) for bad in ([0.1, 0.2], [0, 0.4, 0.2], [0, 0.2, 0.2], [])
    ), [
        "Without a first step of 0, there is nothing to compare with.",
        "Equal neighbours do not ascend.",
        "len(sparsities) == 0 or sparsities[0] != 0 or not (np.diff(sparsities) > 0).all()",
    ])  # fmt: skip
    yield ("shapes that do not fit are refused", lambda: raises(ValueError, answer, steps, falling.T, sizes, 0.01)
           and raises(ValueError, answer, steps, falling, sizes[:1], 0.01) and raises(ValueError, answer, steps[:4], falling, sizes, 0.01), [
        "Two layers and five steps: the accuracies have the shape (2, 5).",
        "One size for two layers broadcasts without an error.",
        "accuracies.shape != (len(sizes), len(sparsities))",
    ])  # fmt: skip
    holed = falling.copy()
    holed[0, 2] = math.nan
    yield ("NaN, and a negative tolerance, are refused", lambda: raises(ValueError, answer, steps, holed, sizes, 0.01)
           and all(raises(ValueError, answer, steps, falling, sizes, bad) for bad in (-0.01, math.nan)), [
        "A run of the scan crashed, and its accuracy is NaN.",
        "Every comparison with NaN is false, so NaN passes as no loss.",
        "np.isnan(accuracies).any() or not tolerance >= 0",
    ])  # fmt: skip


@EXERCISES.add("11.3", "Is it worth a sparse format?")
def formats(answer: Callable) -> Iterator[Property]:
    """answer(weights) -> {"dense": bytes, "CSR": bytes, "bitmap": bytes}."""
    small = np.float32([[0, -1.5, 0, 2], [0, 0, 0, 0], [3, 0, 0, 0]])

    def with_values(rows: int, columns: int, values: int, kind: type = np.float32) -> np.ndarray:
        flat = np.zeros(rows * columns, kind)
        flat[:: max(1, len(flat) // max(values, 1))][:values] = -1
        return flat.reshape(rows, columns)

    yield ("dense: every value, zero or not", lambda: answer(small)["dense"] == 48 and answer(small.astype(np.float64))["dense"] == 96, [
        "Three rows, four columns, 4 bytes each; in float64, 8.",
        "The item size is the dtype's.",
        "weights.size * weights.dtype.itemsize",
    ])  # fmt: skip
    yield ("bitmap: a bit for each weight, filled to whole bytes, and the values", lambda: answer(small)["bitmap"] == 2 + 12
           and answer(np.float32([[1] * 8]))["bitmap"] == 1 + 32 and answer(np.float32([[1] * 9]))["bitmap"] == 2 + 36, [
        "Twelve weights take 12 bits: how many bytes?",
        "Half a byte cannot be written: round up, once, over the whole matrix.",
        "-(-weights.size // 8) + values * item_size",
    ])  # fmt: skip
    yield ("CSR: values, columns and R + 1 row starts", lambda: answer(small)["CSR"] == 3 * 4 + 3 * 1 + 4 * 1, [
        "Three values of 4 bytes, three columns of 1 byte; and how many row starts for three rows?",
        "The end of the last row is stored too.",
        "values * (item + column_width) + (R + 1) * start_width",
    ])  # fmt: skip
    yield ("negative and tiny values and NaN are values, -0.0 is none", lambda: answer(np.float32([[np.nan, -0.0, -7, 0]]))["CSR"] == 2 * 4 + 2 + 2
           and answer(np.float32([[1e-30, 0, -1e-12, 0]]))["CSR"] == 2 * 4 + 2 + 2, [
        "[NaN, -0.0, -7, 0] holds two values, and [1e-30, 0, -1e-12, 0] two as well.",
        "weights > 0 misses -7, NaN > anything is false, and np.isclose(weights, 0) is true for 1e-12.",
        "np.count_nonzero(weights)",
    ])  # fmt: skip
    yield ("a column takes the smallest width that holds C - 1", lambda: [
        answer(with_values(1, columns, 2))["CSR"] - 8 - 2 for columns in (256, 257, 65536, 65537)
    ] == [2, 4, 4, 8], [
        "Two values in rows of 256, 257, 65,536 and 65,537 columns.",
        "256 columns have the numbers 0 to 255, which fit into a byte.",
        "1 if C - 1 < 2**8 else 2 if C - 1 < 2**16 else 4",
    ])  # fmt: skip
    yield ("a row start takes the smallest width that holds the number of values", lambda: [
        answer(with_values(300, 256, values))["CSR"] - 5 * values for values in (255, 256, 65535, 65536)
    ] == [301, 602, 602, 1204], [
        "300 rows, with 255, 256, 65,535 and 65,536 values.",
        "The last row start *is* the number of values: it must fit, not that number minus 1.",
        "1 if values < 2**8 else 2 if values < 2**16 else 4",
    ])  # fmt: skip
    yield ("float16 and a strided view are counted as they are", lambda: answer(small.astype(np.float16)[::2, ::-1]) == {"dense": 16, "CSR": 3 * 3 + 3, "bitmap": 1 + 6}, [
        "Rows 0 and 2 of the small matrix, backwards, in float16.",
        "Is a 4 written down somewhere?",
        "weights.dtype.itemsize",
    ])  # fmt: skip
    yield ("no row, no column, no value", lambda: answer(np.zeros((0, 5), np.float32)) == {"dense": 0, "CSR": 1, "bitmap": 0}
           and answer(np.zeros((3, 0), np.float32)) == {"dense": 0, "CSR": 4, "bitmap": 0} and answer(np.zeros((2, 2), np.float32))["CSR"] == 3, [
        "Shapes (0, 5) and (3, 0), and a matrix of zeros.",
        "CSR still has R + 1 row starts.",
        "The formula holds as it is; does something in your function fail on an empty array, as .max() does?",
    ])  # fmt: skip
    yield ("the answers are ints, under the three names", lambda: list(answer(small)) == ["dense", "CSR", "bitmap"] and all(type(n) is int for n in answer(small).values()), [
        "Print the type of each number.",
        "NumPy's counts are not always Python's ints, and / makes floats.",
        "int(np.count_nonzero(weights)), and // in place of /",
    ])  # fmt: skip
    yield ("what is no matrix is refused", lambda: all(raises(ValueError, answer, np.zeros(shape, np.float32)) for shape in ((4,), (2, 2, 3, 3), ())), [
        "Try a vector, and a convolution's weights.",
        "Four axes have no rows and columns until somebody says which.",
        "if np.ndim(weights) != 2: raise ValueError(…)",
    ])  # fmt: skip


def _through(x: np.ndarray, weight: np.ndarray, bias: np.ndarray, following: np.ndarray) -> np.ndarray:
    """A 1 × 1 convolution, or a dense layer, with ReLU, and what follows: loops, as an independent witness."""
    hidden = np.maximum(np.tensordot(weight, x, axes=1) + bias.reshape(-1, *[1] * (x.ndim - 1)), 0)
    if following.ndim == 2:
        return following @ hidden.ravel()
    return np.stack([sum(f[c].sum() * hidden[c] for c in range(len(hidden))) for f in following])


@EXERCISES.add("11.4", "Take the channels out")
def channels_out(answer: Callable) -> Iterator[Property]:
    """answer(weight, bias, following, keep) -> (weight, bias, following)."""
    random = np.random.default_rng(12)
    weight, bias = random.normal(size=(4, 3)).astype(np.float32), random.normal(size=4).astype(np.float32)
    filters = random.normal(size=(4, 2, 3, 3))
    after_conv, plain = random.normal(size=(5, 4, 3, 3)), random.normal(size=(5, 4))
    flattened = random.normal(size=(5, 4 * 6))
    keep = np.array([0, 2])

    yield ("the layer keeps these filters and biases", lambda: np.array_equal(answer(filters, bias, after_conv, keep)[0], filters[[0, 2]])
           and np.array_equal(answer(filters, bias, after_conv, keep)[1], bias[[0, 2]]), [
        "Rows of `weight` are filters.",
        "A bias belongs to its filter, and goes with it.",
        "weight[keep], bias[keep]",
    ])  # fmt: skip
    yield ("a convolution that follows reads these channels alone", lambda: np.array_equal(answer(filters, bias, after_conv, keep)[2], after_conv[:, [0, 2]]), [
        "Which axis of the next layer's weight (M, C, k, k) counts the channels that it reads?",
        "The next layer keeps all of its own filters.",
        "following[:, keep]",
    ])  # fmt: skip
    yield ("so does a dense layer, where nothing is flattened", lambda: np.array_equal(answer(weight, bias, plain, keep)[2], plain[:, [0, 2]]), [
        "A dense layer of shape (M, C) reads one number of each channel.",
        "It has two axes, not four.",
        "P = following.shape[1] // C is 1 here.",
    ])  # fmt: skip

    def columns() -> bool:
        got = answer(filters, bias, flattened, keep)[2]
        return got.shape == (5, 12) and np.array_equal(got, np.hstack([flattened[:, 0:6], flattened[:, 12:18]]))

    yield ("behind Flatten, a channel is a block of columns", columns, [
        "Four channels of 6 points each make 24 columns. Which are channel 2's?",
        "Channel c has columns P c to P c + P - 1, with P = 24 / 4.",
        "following.reshape(M, C, P)[:, keep].reshape(M, -1)",
    ])  # fmt: skip

    def same_function() -> bool:
        x, zeroed, no_bias = random.normal(size=(3, 2, 3)), weight.copy(), bias.copy()
        zeroed[[1, 3]], no_bias[[1, 3]] = 0, 0
        return all(
            np.allclose(_through(x, *answer(weight, bias, after, keep)), _through(x, zeroed, no_bias, after), atol=1e-4)
            for after in (flattened, after_conv)
        )

    yield ("the smaller network computes what the larger one does with those channels at zero", same_function, [
        "Set the dropped filters and biases to zero in the large network, and compare the outputs.",
        "What is removed here must be what is read there.",
        "All three arrays are indexed with the same `keep`.",
    ])  # fmt: skip
    turned = np.array([3, 0, 1])
    yield ("the order is that of `keep`, in all three", lambda: all(
        np.array_equal(got, wanted)
        for got, wanted in zip(answer(filters, bias, flattened, turned),
                               (filters[[3, 0, 1]], bias[[3, 0, 1]], np.hstack([flattened[:, 6 * c : 6 * c + 6] for c in (3, 0, 1)])))
    ) and np.array_equal(answer(filters, bias, after_conv, turned)[2], after_conv[:, [3, 0, 1]]), [
        "Try keep = [3, 0, 1].",
        "A mask, or a sorted `keep`, forgets the order.",
        "Index with the array itself: weight[keep].",
    ])  # fmt: skip

    def fresh() -> bool:
        old = [each + 1 for each in (weight, bias, flattened)]
        kept = [each.copy() for each in old]
        for chosen in (np.arange(4), keep):
            for each in answer(*old, chosen):
                each[...] = 0
        return all(np.array_equal(a, b) for a, b in zip(kept, old))

    yield ("new arrays: writing into them leaves the old network alone", fresh, [
        "Keep all four channels, write zeros into the result, and look at the old arrays.",
        "A slice, and a reshape, may be views of the same memory.",
        "Indexing with an array of ints copies; .copy() does too.",
    ])  # fmt: skip
    yield ("any dtype stays, and a strided view will do", lambda: [each.dtype for each in answer(weight, bias, flattened.astype(np.float16), keep)]
           == [np.float32, np.float32, np.float16] and np.array_equal(answer(filters[:, ::-1], bias, flattened[::2, ::-1], np.array([1]))[2], flattened[::2, ::-1][:, 6:12]), [
        "float32, float16, and a view whose columns run backwards.",
        "np.zeros makes float64.",
        "Index the arrays that came; build none of your own.",
    ])  # fmt: skip
    yield ("no channel, one named twice, or one that is not there is refused", lambda: all(
        raises(ValueError, answer, filters, bias, flattened, np.array(bad, int)) for bad in ([], [1, 1], [4], [-1], [0, -4])
    ), [
        "Try [], [1, 1], [4] and [-1].",
        "-1 counts from the end in NumPy: no error, another channel.",
        "len(np.unique(keep)) < len(keep), and not np.isin(keep, range(C)).all()",
    ])  # fmt: skip
    yield ("a next layer that does not read C channels is refused", lambda: all(
        raises(ValueError, answer, filters, bias, bad, keep) for bad in (flattened[:, :22], after_conv[:, :3], np.repeat(after_conv, 2, axis=1))
    ), [
        "22 columns are no whole number of points for 4 channels.",
        "And a convolution must read exactly C channels: 3 are too few, 8 too many.",
        "if inputs % C or (following.ndim > 2 and inputs != C): raise ValueError(…)",
    ])  # fmt: skip
