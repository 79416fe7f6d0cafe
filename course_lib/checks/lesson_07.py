"""Checks of lesson 07. They need no framework; the course's own Keras file is read as a zip archive."""

import io
import json
import zipfile
from collections.abc import Callable, Iterator

import numpy as np

from course_lib import models
from course_lib.checks import Register, raises
from course_lib.idioms.exercises import Property

EXERCISES = Register()


@EXERCISES.add("07.1", "Turn the pictures")
def pictures_turned(answer: Callable) -> Iterator[Property]:
    """answer(batch) -> the same pictures, channels last."""
    batch = np.random.default_rng(7).normal(size=(2, 3, 4, 5)).astype(np.float32)

    def as_told(given: np.ndarray) -> bool:
        got = answer(given)
        n, c, h, w = given.shape
        return got.shape == (n, h, w, c) and all(
            np.array_equal(got[i, y, x, j], given[i, j, y, x], equal_nan=given.dtype.kind == "f")
            for i in range(n) for j in range(c) for y in range(h) for x in range(w)
        )  # fmt: skip

    yield ("shape (N, H, W, C)", lambda: answer(batch).shape == (2, 4, 5, 3), [
        "The second axis becomes the last.",
        "Height stays before width.",
        "batch.transpose(0, 2, 3, 1)",
    ])  # fmt: skip
    yield ("each point keeps its place in its picture", lambda: as_told(batch), [
        "Look at one colour of one picture: is it still a picture?",
        "reshape counts the same memory anew; it moves nothing from one axis to another.",
        "The axes must be permuted: transpose, or np.moveaxis.",
    ])  # fmt: skip
    yield ("a view with gaps, a batch of one and an empty batch", lambda: as_told(batch[:, ::-1, ::2, ::2]) and as_told(batch[:1])
           and answer(batch[:0]).shape == (0, 4, 5, 3), [
        "Try batch[:, :, ::2, ::2], batch[:1] and batch[:0].",
        "reshape(-1, …) cannot guess an axis where there are no elements.",
        "Permute the axes and copy; neither needs to know the sizes.",
    ])  # fmt: skip
    yield ("the dtype stays", lambda: all(
        answer(batch.astype(dtype)).dtype == dtype and as_told(batch.astype(dtype)) for dtype in ("u1", "f2", "f8")
    ), [
        "Try bytes, float16, float64.",
        "Did you name a dtype where you copy?",
        "np.empty(shape, batch.dtype)",
    ])  # fmt: skip

    def fresh(given: np.ndarray) -> bool:
        before = given.copy()
        got = answer(given)
        ordinary = got.strides == np.empty(got.shape, got.dtype).strides
        apart = not np.shares_memory(got, given)
        got[...] = 0
        return ordinary and apart and np.array_equal(given, before)

    by_columns = np.asfortranarray(np.ones((2, 4, 5, 3))).transpose(0, 3, 1, 2)
    yield ("it has memory of its own, in row-major order", lambda: fresh(batch.copy()) and fresh(by_columns), [
        "Write into what you return: does the caller's batch change?",
        "transpose only changes the strides; the numbers stay where they are. A copy may keep those strides, too.",
        "Copy into a fresh array: fresh[...] = turned.",
    ])  # fmt: skip
    yield ("with one channel too", lambda: fresh(batch[:, :1].copy()) and fresh(np.ones((1, 1, 8, 8), np.float32)), [
        "Grey pictures have C = 1. Print .strides of what you return, and of np.empty of that shape.",
        "np.ascontiguousarray copies only where it must, and an axis of length 1 may have any stride.",
        "np.array(turned, order='C') always copies.",
    ])  # fmt: skip
    yield ("another number of axes is refused", lambda: all(raises(ValueError, answer, np.zeros(shape)) for shape in ((8, 8), (1, 8, 8), (1, 1, 1, 8, 8))), [
        "Try one picture without its batch axis.",
        "An IndexError or an AxisError from below is not what the docstring promises.",
        "if batch.ndim != 4: raise ValueError(…)",
    ])  # fmt: skip


@EXERCISES.add("07.2", "The layer after the flattening")
def kernel_moved(answer: Callable) -> Iterator[Property]:
    """answer(weight, channels, height, width) -> the kernel of a dense layer after a channels-last flattening."""
    random = np.random.default_rng(72)
    weight = random.normal(size=(4, 30))

    def same_outputs(c: int, h: int, w: int, m: int, given: np.ndarray | None = None) -> bool:
        given = random.normal(size=(m, c * h * w)) if given is None else given
        activations = random.normal(size=(6, c, h, w))
        first = activations.reshape(6, -1) @ given.astype(float).T
        last = activations.transpose(0, 2, 3, 1).reshape(6, -1) @ np.asarray(answer(given, c, h, w), float)
        return first.shape == last.shape and np.allclose(first, last, rtol=1e-4, atol=1e-4)

    yield ("shape (H·W·C, M)", lambda: np.shape(answer(np.ones((4, 48)), 3, 4, 4)) == (48, 4), [
        "Which of the two axes is the outputs' in Keras?",
        "PyTorch keeps (output, input), Keras (input, output).",
        "The result has the shape (height * width * channels, len(weight)).",
    ])  # fmt: skip
    yield ("on square activations, it gives the outputs that PyTorch's weight gives", lambda: same_outputs(3, 4, 4, 5), [
        "A transposition alone leaves the inputs in PyTorch's order.",
        "Input p of PyTorch is the place (c, h, w) with p = c·H·W + h·W + w. Which input is that place in Keras?",
        "weight.reshape(M, C, H, W).transpose(2, 3, 1, 0).reshape(-1, M)",
    ])  # fmt: skip
    yield ("where height and width differ, too", lambda: same_outputs(3, 2, 5, 4) and same_outputs(2, 7, 1, 3), [
        "Try 2 × 5: does your answer take one side for the other, or both from a square root?",
        "The last axis counts fastest: after the turn that is the channel, then the width, then the height.",
        "transpose(2, 3, 1, 0): height, width, channel, output.",
    ])  # fmt: skip
    yield ("one output, one channel, one place", lambda: same_outputs(3, 2, 5, 1) and same_outputs(1, 3, 4, 2) and same_outputs(6, 1, 1, 2), [
        "Axes of length 1 must not get lost.",
        "squeeze removes them all.",
        "Name the sizes in reshape: (len(weight), channels, height, width).",
    ])  # fmt: skip
    yield ("the numbers and their dtype stay, from a view with gaps too", lambda: all(
        answer(given, 3, 2, 5).dtype == given.dtype
        and np.array_equal(np.sort(answer(given, 3, 2, 5), axis=None), np.sort(given, axis=None))
        and same_outputs(3, 2, 5, len(given), given)
        for given in (weight.astype(np.float16), weight.astype(np.float32), np.asfortranarray(weight), weight[::-2])
    ), [
        "Try float16, and weight[::-2].",
        "Nothing is computed here: every number arrives as it was.",
        "reshape and transpose keep the dtype, and NumPy copies where a view is not possible.",
    ])  # fmt: skip
    yield ("a weight that does not fit is refused", lambda: all(raises(ValueError, answer, *given) for given in (
        (weight, 3, 2, 4), (np.ones((4, 60)), 3, 2, 5), (np.ones(30), 3, 2, 5), (np.ones((4, 3, 10)), 3, 2, 5),
    )), [
        "Try a weight with twice as many inputs, and one with a single axis.",
        "reshape(-1, C, H, W) takes 60 inputs as twice as many outputs and says nothing.",
        "if weight.ndim != 2 or weight.shape[1] != channels * height * width: raise ValueError(…)",
    ])  # fmt: skip


@EXERCISES.add("07.3", "A gate for conversions")
def conversion_gate(answer: Callable) -> Iterator[Property]:
    """answer(reference, answer, tolerance) -> (passes, at_risk)."""
    reference = np.array([[4.0, 1.0, 0.0], [2.0, 2.5, -8.0], [-3.0, -9.0, -2.75], [7.0, 0.0, 6.0]])
    leads = np.array([3.0, 0.5, 0.25, 1.0])

    def passes(apart: float, tolerance: float, at: tuple[int, int] = (2, 1)) -> object:
        got = reference.copy()
        got[at] += apart
        return answer(reference, got, tolerance)[0]

    def risky(tolerance: float, given: np.ndarray = reference) -> list[int]:
        return list(map(int, answer(given, given.copy(), tolerance)[1]))

    yield ("two results: a plain bool, and an array of whole numbers", lambda: isinstance(passes(0, 0.25), bool)
           and np.asarray(answer(reference, reference, 2.0)[1]).dtype.kind == "i" and isinstance(answer(reference, reference, 2.0)[1], np.ndarray)
           and answer(reference, reference, 0.0625)[1].dtype.kind == "i", [
        "What does the docstring promise to return, where no example is at risk too?",
        "NumPy's comparison gives a numpy.bool_, a mask is not a list of indices, and np.array([]) holds floats.",
        "bool(…) and np.flatnonzero(…)",
    ])  # fmt: skip
    yield ("it passes up to the tolerance, and not beyond, in either direction and at any entry", lambda: all(
        passes(sign * apart, 0.25, at) is (apart <= 0.25)
        for sign in (1, -1) for apart in (0.0, 0.125, 0.25, 0.5) for at in ((0, 0), (2, 1), (3, 2))
    ), [
        "A difference of exactly the tolerance passes.",
        "A negative difference is one too, and one entry is enough to fail, whether or not a class changed.",
        "(np.abs(answer − reference) <= tolerance).all()",
    ])  # fmt: skip
    yield ("an example is at risk if its class leads by at most twice the tolerance", lambda: all(
        risky(tolerance) == list(np.flatnonzero(leads <= 2 * tolerance)) for tolerance in (0.0625, 0.125, 0.25, 0.3, 0.5, 1.0, 1.5, 9.0)
    ), [
        "Both logits may move: the winner down, the second up.",
        "The lead is the largest minus the second largest, of the reference.",
        "np.flatnonzero(first - second <= 2 * tolerance)",
    ])  # fmt: skip
    tied = np.array([[1.0, 5.0, 5.0], [1.0, 2.0, 3.0]])
    yield ("a tie is at risk at any tolerance, 0 too", lambda: risky(0.0, tied) == [0] and risky(0.25, tied[:, :2][::-1] * 0) == [0, 1], [
        "Two classes share the largest logit. How large is the lead?",
        "With a tolerance of 0, 0 <= 2·0 holds.",
        "Use <=, and take the second largest by order, not by excluding values equal to the largest.",
    ])  # fmt: skip
    shifted = np.array([[1.0, 2.0], [1.0, 1.25]])
    yield ("the risk is computed from the reference alone", lambda: list(map(int, answer(shifted, shifted[:, ::-1] * 4, 0.25)[1])) == [1], [
        "Is the lead taken from the reference, or from the answer?",
        "The reference's margins can be counted before anything is converted.",
        "Sort reference, not answer.",
    ])  # fmt: skip
    small, low = np.array([[250, 240], [240, 250]], np.uint8), np.array([[3, 3], [3, 3]], np.uint8)
    half, large = np.array([[60000, 0], [0, -60000]], np.float16), np.array([[1e8, -1e8]])
    signed, wide = np.array([[100, -100], [1, 0]], np.int8), np.array([[60000, -60000]], np.float16)
    yield ("differences are taken in float64", lambda: answer(small, low, 20.0)[0] is False
           and answer(low, small, 20.0)[0] is False and answer(small, low, 250.0)[0] is True and answer(half, -half, 1e6)[0] is True
           and risky(6e4, half) == [0, 1] and risky(1.0, small) == [] and answer(large, large + 1, 0.5)[0] is False
           and risky(1.0, signed) == [1] and risky(6e4, wide) == [0], [
        "Try bytes with and without a sign, float16 logits of 60,000, and float64 logits of 100,000,000.",
        "3 − 250 is 9 in uint8, 60,000 + 60,000 is infinite in float16, and float32 skips 100,000,001. A lead is a difference, too.",
        "reference.astype(np.float64) first.",
    ])  # fmt: skip

    def strange() -> bool:
        odd, endless, lowest = reference.copy(), reference.copy(), reference.copy()
        odd[1, 2], odd[3, 0] = np.nan, np.inf
        endless[3, 0], lowest[0, 2] = np.inf, -np.inf
        return (
            answer(odd, odd.copy(), 1.0)[0] is False
            and answer(reference, odd, 1.0)[0] is False
            and answer(odd, reference, 1.0)[0] is False
            and list(map(int, answer(odd, odd.copy(), 0.0625)[1])) == [1, 3]
            and list(map(int, answer(reference, odd, 0.0625)[1])) == []
            and answer(endless, endless.copy(), 1.0)[0] is False
            and list(map(int, answer(lowest, lowest.copy(), 0.0625)[1])) == [0]
        )

    yield ("an entry that is not finite never passes; in the reference it puts the example at risk", strange, [
        "Put NaN and both infinities on both sides, together and alone: inf − inf is NaN, and np.isclose(inf, inf) is true.",
        "Every comparison with NaN is false, so `not (difference > tolerance)` lets it pass.",
        "np.isfinite of both, before and beside the comparison.",
    ])  # fmt: skip
    yield ("wrong shapes, sizes and tolerances are refused", lambda: all(raises(ValueError, answer, *given) for given in (
        (reference, reference[:3], 1.0), (reference, reference[:1], 1.0), (reference[0], reference[0], 1.0), (reference[None], reference[None], 1.0), (reference[:0], reference[:0], 1.0),
        (reference[:, :1], reference[:, :1], 1.0), (reference, reference, -1.0), (reference, reference, np.nan), (reference, reference, np.inf),
    )), [
        "Try no example, one class, shapes that NumPy would broadcast, a tolerance of −1 and of NaN.",
        "NaN < 0 is false. Test that the tolerance is good, not that it is bad.",
        "if not 0 <= tolerance < np.inf: raise ValueError(…), and the same for shapes.",
    ])  # fmt: skip


def _layer(kind: str, name: str, **settings: object) -> dict:
    return {
        "module": "keras.layers",
        "class_name": kind,
        "config": {
            "name": name,
            "dtype": {"module": "keras", "class_name": "DTypePolicy", "config": {"name": "float32"}},
            **settings,
        },
        "registered_name": None,
    }


_CODE = {"class_name": "__lambda__", "config": {"code": "4wEAAAA=", "defaults": None, "closure": None}}


def _model(name: str, *layers: dict, **beside: object) -> dict:
    return {"module": "keras", "class_name": "Sequential", "config": {"name": name, "layers": list(layers)}, **beside}


def _archive(config: object, file_name: str = "config.json", compression: int = zipfile.ZIP_STORED) -> bytes:
    kept = io.BytesIO()
    with zipfile.ZipFile(kept, "w", compression) as archive:
        archive.writestr("metadata.json", '{"keras_version": "3.15.1"}')
        archive.writestr(file_name, config if isinstance(config, bytes) else json.dumps(config))
    return kept.getvalue()


@EXERCISES.add("07.4", "Look before you load")
def code_found(answer: Callable) -> Iterator[Property]:
    """answer(raw) -> names of the parts with code."""
    dense, hidden = _layer("Dense", "dense", activation="relu"), _layer("Lambda", "visitor", function=_CODE)

    def finds(model: dict, *names: str, **how: int) -> bool:
        return list(dict.fromkeys(answer(_archive(model, **how)))) == list(names)

    def finds_once(model: dict, *names: str) -> bool:
        return list(answer(_archive(model))) == list(names)

    yield ("a Lambda layer among others is found by its name", lambda: finds(_model("net", dense, hidden), "visitor")
           and finds(_model("net", hidden, dense), "visitor", compression=zipfile.ZIP_DEFLATED), [
        "zipfile.ZipFile(io.BytesIO(raw)) opens bytes.",
        "json.loads(archive.read('config.json')), then config['config']['layers'].",
        "layer['class_name'] == 'Lambda' → layer['config']['name']",
    ])  # fmt: skip
    yield ("the course's own file carries none, nor does a layer that is only *named* Lambda", lambda:
           list(answer(models.path("digits_keras", 1, "model.keras").read_bytes())) == []
           and finds(_model("Lambda", _layer("Dense", "Lambda"), _layer("Dense", "__lambda__")))
           and finds(_model("net", _layer("LambdaFree", "free"), _layer("Lookup", "table", code="A7"))), [
        "Names are free: somebody may call a dense layer Lambda, a class LambdaFree, and a setting code.",
        "Do not search the text; look at class_name, and at all of it.",
        "item['class_name'] in ('Lambda', '__lambda__')",
    ])  # fmt: skip
    by_name = _layer("Lambda", "by_name", function={"module": "builtins", "class_name": "function", "config": "abs"})
    yield ("a Lambda layer counts also where it names a function instead of holding bytecode", lambda: finds(_model("net", dense, by_name), "by_name"), [
        "A Lambda layer may refer to a function by its name, in any module.",
        "The class Lambda is enough; it need not hold a '__lambda__'.",
        "A part carries code where its class is 'Lambda', whatever it holds.",
    ])  # fmt: skip
    inner = _model("inner", dense, hidden)
    wrapped = _layer("TimeDistributed", "each", layer=hidden)
    yield ("in a model in a model, and in a wrapper", lambda: finds(_model("net", dense, _model("middle", inner)), "visitor")
           and finds(_model("net", wrapped), "visitor"), [
        "A layer may be a whole model, with layers of its own.",
        "TimeDistributed keeps the layer that it wraps under config['layer'].",
        "Walk through every dict and every list, whatever its key.",
    ])  # fmt: skip
    sneaky = _layer("Dense", "sneaky", activation=_CODE)
    listed = _layer("Custom", "listed", steps=[[{"deeper": _CODE}]])
    outer = _layer("Lambda", "outer", function=_CODE, arguments={"inner": hidden})
    yield ("bytecode that is no layer: an activation, a list, a loss", lambda: finds(_model("net", dense, sneaky), "sneaky")
           and finds(_model("net", listed), "listed") and finds(_model("net", dense, compile_config={"loss": _CODE}), "net"), [
        "Dense(activation=lambda x: …) stores '__lambda__' inside the dense layer's settings.",
        "Carry the name of the innermost part along while you walk.",
        "At an object of class '__lambda__', note the part in which you are.",
    ])  # fmt: skip
    yield ("each once, in the order in which they begin", lambda: finds_once(
        _model("net", _layer("Lambda", "b", function=_CODE, mask=_CODE), _layer("Dense", "z", activation=_CODE), dense, _layer("Lambda", "a")), "b", "z", "a")
        and finds_once(_model("net", hidden, sneaky, compile_config={"loss": _CODE}), "net", "visitor", "sneaky")
        and finds_once(_model("net", outer, dense), "outer", "visitor"), [
        "A part may hold two functions, and is named once; it may also hold a part with code of its own.",
        "A set forgets the order; an outer part begins before those in it, wherever its own code stands.",
        "A dict from name to truth value, filled when a part begins, keeps the order.",
    ])  # fmt: skip
    yield ("bytes that are not such an archive are refused", lambda: all(raises(ValueError, answer, raw) for raw in (
        b"", b"\x89HDF\r\n\x1a\n", _archive({}, file_name="other.json"), _archive(b"[1, 2]"), _archive(b"{"), _archive(b"null"),
    )), [
        "Try an .h5 file, an archive without config.json, and one whose JSON is a list.",
        "BadZipFile and KeyError are not ValueErrors.",
        "except (zipfile.BadZipFile, KeyError): raise ValueError(…); then isinstance(config, dict)",
    ])  # fmt: skip
    damaged, encrypted, strange, deep = _hostile()
    yield ("a damaged, an encrypted and a strangely packed archive are refused", lambda: all(
        _refused(answer, raw) for raw in (damaged, encrypted, strange)
    ), [
        "Change some bytes in the middle of a compressed archive, or set a password.",
        "They raise zlib.error, RuntimeError and NotImplementedError: nobody knows the full list.",
        "Put everything that reads the file into one `try`, with `except Exception` that raises ValueError.",
    ])  # fmt: skip
    yield ("a config.json that is nested too deeply is refused", lambda: _refused(answer, deep), [
        "Try a JSON text of 100,000 opening brackets.",
        "json.loads raises RecursionError, and so does a walk that calls itself.",
        "The `try` must hold json.loads and the walk, and turn RecursionError into ValueError.",
    ])  # fmt: skip
    listed_name = {**hidden, "config": {**hidden["config"], "name": ["visitor"]}}
    nameless = {"class_name": "Lambda", "config": {"function": _CODE}}
    yield ("a name that is not a string hides no code", lambda: finds(_model("net", dense, listed_name), "net")
           and finds(_model("net", _layer("Dense", "wrapper", inner=nameless)), "wrapper"), [
        "A stranger may write a list where a name belongs, or leave the name out.",
        "A list cannot be a dict's key. What is the smallest part around this code?",
        "Only isinstance(name, str) begins a part; other code belongs to the part around it.",
    ])  # fmt: skip
    yield ("code in no part at all is refused", lambda: all(_refused(answer, _archive(config)) for config in (
        nameless, {"layers": [_CODE]}, {"class_name": "Sequential", "config": {"layers": [listed_name]}},
    )), [
        "Try a config.json that is one Lambda without a name.",
        "An empty list of names says that the file is clean.",
        "if part is None: raise ValueError(…), where you would note the part's name",
    ])  # fmt: skip


def _refused(answer: Callable, raw: bytes) -> bool:
    """Whether the answer raises ValueError; of a NotImplementedError, which zipfile raises too, it says that it was none."""
    try:
        answer(raw)
    except ValueError:
        return True
    except NotImplementedError as other:
        raise AssertionError(f"expected ValueError, got NotImplementedError: {other}") from None
    return False


def _hostile() -> tuple[bytes, bytes, bytes, bytes]:
    """Four Keras archives that cannot be read: damaged, encrypted, packed by an unknown method, nested too deeply."""
    packed = _archive(_model("net", _layer("Dense", "dense")), compression=zipfile.ZIP_DEFLATED)
    begin = packed.index(b"config.json") + len("config.json")
    damaged = packed[:begin] + b"\xff" * 8 + packed[begin + 8 :]
    local, central = packed.rindex(b"PK\x03\x04"), packed.rindex(b"PK\x01\x02")
    encrypted, strange = bytearray(packed), bytearray(packed)
    encrypted[local + 6] |= 1  # the flag "encrypted", in the entry and in the archive's directory
    encrypted[central + 8] |= 1
    strange[local + 8] = strange[central + 10] = 99  # the method by which the entry is packed
    return damaged, bytes(encrypted), bytes(strange), _archive(b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}")
