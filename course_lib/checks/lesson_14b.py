"""Checks of lesson 14b. None of them opens a connection or reads a clock."""

import copy
import json
from collections.abc import Callable, Iterator

import numpy as np

from course_lib.checks import Register, raises
from course_lib.idioms.exercises import Property

EXERCISES = Register()


def _varint(number: int) -> bytes:
    """Seven bits in each byte, the lowest first."""
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


def _field(number: int, content: int | bytes, kind: int | None = None) -> bytes:
    """kind: None for 0 where the content is a whole number, and for 2 where it is bytes."""
    if isinstance(content, int):
        return _varint(number << 3) + _varint(content)
    if kind in (1, 5):
        return _varint(number << 3 | kind) + content
    return _varint(number << 3 | 2) + _varint(len(content)) + content


@EXERCISES.add("14b.1", "What is in these bytes?")
def message_fields(answer: Callable) -> Iterator[Property]:
    """answer(message) -> list of (number, content)."""

    def same(*fields: tuple) -> bool:
        said = answer(b"".join(_field(*each) for each in fields))
        wanted = [each[:2] for each in fields]
        return len(said) == len(wanted) and all(
            number == n and not isinstance(number, bool)
            and (bytes(content) == c if isinstance(c, bytes) and not isinstance(content, int) else type(content) is int and content == c)
            for (number, content), (n, c) in zip(said, wanted)
        )  # fmt: skip

    def refused(*messages: bytes) -> bool:
        return all(raises(ValueError, answer, message) for message in messages)

    yield ("a varint of one byte, and a text", lambda: same((2, 1)) and same((1, b"pixels")) and same((1, b"digits"), (2, 7)), [
        "b'\\x10\\x01' is field 2 with the number 1.",
        "Key >> 3 is the number, key & 7 the kind. Kind 2 has a length next.",
        "key, at = varint(message, at); number, kind = key >> 3, key & 7",
    ])  # fmt: skip
    yield ("a varint may have several bytes: a key, a length, a content", lambda: same((1, 300)) and same((1, 128), (2, 127))
           and same((7, b"\xff" * 300)) and same((2000, 5)) and same((3, 2**64 - 1)), [
        "300 is the two bytes ac 02.",
        "The first byte holds the lowest seven bits.",
        "value |= (byte & 127) << shift; shift += 7; and stop at the first byte below 128",
    ])  # fmt: skip
    yield ("kinds 1 and 5 have 8 and 4 bytes, without a length", lambda: same((1, b"12345678", 1), (2, b"abc"), (3, b"1234", 5), (4, 9)), [
        "A double is kind 1, a float kind 5.",
        "Their contents are bytes, as for kind 2.",
        "size = {1: 8, 5: 4}[kind]",
    ])  # fmt: skip
    yield ("all fields come in their order, repeated ones too; empty contents and an empty message count", lambda: same((5, b"a"), (1, b"b"), (5, b"c"))
           and same((1, b""), (2, 0)) and same() and same(*[(1 + i % 20, i) for i in range(500)]), [
        "A number may come twice: a list in protobuf does just that.",
        "A dictionary keeps one of them.",
        "found.append((number, content))",
    ])  # fmt: skip
    nested = _field(1, b"pixels") + _field(3, b"\1\1\x08\x08")
    yield ("a message inside a message comes back as bytes", lambda: same((1, b"digits"), (5, nested), (7, bytes(range(256))), (8, b"\0 \0")), [
        "Nothing in the bytes says whether they are a text or a message: the .proto file does.",
        "Do not read on inside the content.",
        "at += size  # past the content",
    ])  # fmt: skip
    whole = _field(1, b"digits") + _field(2, 300) + _field(3, b"12345678", 1)
    starts = {0, len(_field(1, b"digits")), len(_field(1, b"digits") + _field(2, 300))}
    yield ("a message that ends inside a field is refused, wherever it ends", lambda: refused(
        *(whole[:at] for at in range(1, len(whole)) if at not in starts), _varint(1 << 3 | 2) + _varint(10**18) + b"abc",
        _field(1, b"1234", 5)[:-1],
    ), [
        "Cut a message anywhere: after the key, inside a varint, inside a text.",
        "A slice never complains, and an index beyond the end raises IndexError, which is no ValueError.",
        "if at + size > len(message): raise ValueError(…)",
    ])  # fmt: skip
    yield ("kinds that we do not know, the number 0 and endless varints are refused", lambda: refused(
        *(_varint(1 << 3 | kind) + rest for kind in (3, 4, 6, 7) for rest in (b"", _field(2, 1), _field(2, b"1234567"))),
        b"\0\1", b"\2\1a", b"\x80" * 100_000,
        *(start + b"\x80" * zeros + b"\0" + rest for zeros in (10, 12) for start, rest in ((b"\x08", b""), (b"\x0a\x81", b"a"), (b"\x88", b"\1"))),
    ), [
        "Kinds 3 and 4 are groups, which nobody writes any more; 6 and 7 are none.",
        "A varint of 64 bits has 10 bytes at most.",
        "if kind not in (0, 1, 2, 5) or number == 0: raise ValueError(…)",
    ])  # fmt: skip


def field(
    dtype: str = "float32", shape: tuple = (-1, 8, 8), low: float | None = 0, high: float | None = 1, **more: bool
) -> dict:
    return {"dtype": dtype, "shape": shape, "low": low, "high": high, **more}


@EXERCISES.add("14b.2", "Does this break a client?")
def schema_gate(answer: Callable) -> Iterator[Property]:
    """answer(old, new) -> set of (side, name)."""
    old = {"inputs": {"pixels": field(), "pen": field(shape=(-1,), optional=True)},
           "outputs": {"logits": field(shape=(-1, 10), low=None, high=None), "sure": field(shape=(-1,))}}  # fmt: skip

    def changed(side: str, name: str, now: dict | None = None, **to: object) -> dict:
        new = copy.deepcopy(old)
        if now is not None or to:
            new[side][name] = now if now is not None else new[side][name] | to
        else:
            del new[side][name]
        return new

    def broken(new: dict) -> set:
        return set(answer(old, new))

    yield ("an unchanged schema breaks no client", lambda: broken(copy.deepcopy(old)) == set() and set(answer({"inputs": {}, "outputs": {}}, {"inputs": {}, "outputs": {}})) == set(), [
        "Compare a version with itself.",
        "An empty set is set().",
        "Collect (side, name) only where something breaks.",
    ])  # fmt: skip
    yield ("a field that is gone, or renamed, breaks clients", lambda: broken(changed("inputs", "pixels")) == {("inputs", "pixels")}
           and broken(changed("outputs", "sure")) == {("outputs", "sure")} and broken(changed("inputs", "pen")) == {("inputs", "pen")}, [
        "Remove an input; remove an output.",
        "An optional input that is gone breaks those who send it.",
        "name not in new[side]",
    ])  # fmt: skip
    yield ("an additional output or optional input breaks no client; an additional required input does",
           lambda: broken(changed("outputs", "more", field())) == set() and broken(changed("inputs", "hint", field(optional=True))) == set()
           and broken(changed("inputs", "hint", field())) == {("inputs", "hint")}
           and broken(changed("inputs", "hint", field(optional=False))) == {("inputs", "hint")}, [
        "Which of the three must an old client know?",
        "Without the key `optional`, an input is required.",
        'not new_field.get("optional", False)',
    ])  # fmt: skip
    yield ("another dtype breaks clients, on both sides", lambda: broken(changed("inputs", "pixels", dtype="float64")) == {("inputs", "pixels")}
           and broken(changed("outputs", "logits", dtype="float64")) == {("outputs", "logits")}, [
        "float64 holds every float32, and yet.",
        "Bytes are read as what they were.",
        'old["dtype"] != new["dtype"]',
    ])  # fmt: skip
    yield ("an optional input that becomes required breaks; the reverse does not; those who send one need its old bounds", lambda: broken(changed("inputs", "pen", optional=False)) == {("inputs", "pen")}
           and broken(changed("inputs", "pixels", optional=True)) == set()
           and broken(changed("inputs", "pen", dtype="float64")) == broken(changed("inputs", "pen", high=0.5)) == {("inputs", "pen")}
           and broken(changed("inputs", "pixels", optional=True, high=0.5)) == {("inputs", "pixels")}, [
        "Some clients leave it out. Others send it, so its type and its bounds count all the same.",
        "Compare the two values of `optional`.",
        "was optional and is not any more",
    ])  # fmt: skip
    yield ("an input's range may widen, an output's may narrow", lambda: broken(changed("inputs", "pixels", low=-1, high=None)) == set()
           and broken(changed("inputs", "pixels", high=0.5)) == {("inputs", "pixels")} and broken(changed("inputs", "pixels", low=0.1)) == {("inputs", "pixels")}
           and broken(changed("outputs", "sure", low=0.2, high=0.9)) == set() and broken(changed("outputs", "sure", high=100)) == {("outputs", "sure")}
           and broken(changed("outputs", "sure", low=-1)) == {("outputs", "sure")}, [
        "Who must cope with whose range?",
        "The clients' requests must fit into the new inputs, and the model's answers into the old outputs.",
        "One function within(inner, outer): within(old, new) for inputs, within(new, old) for outputs.",
    ])  # fmt: skip
    yield ("None, no bound, is wider than any number", lambda: broken(changed("outputs", "logits", low=-50, high=50)) == set()
           and broken(changed("outputs", "sure", high=None)) == {("outputs", "sure")} and broken(changed("outputs", "sure", low=None)) == {("outputs", "sure")}
           and set(answer(changed("inputs", "pixels", low=None), old)) == {("inputs", "pixels")}, [
        "None stands for infinity.",
        "The outer side None allows everything; the inner side None fits into None alone.",
        "low is None or (inner['low'] is not None and inner['low'] >= low)",
    ])  # fmt: skip
    yield ("fixing a free size breaks an input, not an output; freeing a fixed one breaks an output, not an input",
           lambda: broken(changed("inputs", "pixels", shape=(1, 8, 8))) == {("inputs", "pixels")}
           and broken(changed("inputs", "pixels", shape=(-1, -8, 8))) == set()
           and broken(changed("outputs", "logits", shape=(1, 10))) == set()
           and broken(changed("outputs", "logits", shape=(-1, -10))) == {("outputs", "logits")}, [
        "-1 is any size from 1; 1 is 1.",
        "A fixed size s fits into -k where s ≥ k.",
        "a == b or (b < 0 and abs(a) >= -b), for inner a and outer b",
    ])  # fmt: skip
    yield ("any size from k: a larger k is narrower", lambda: broken(changed("inputs", "pixels", shape=(-2, 8, 8))) == {("inputs", "pixels")}
           and broken(changed("outputs", "logits", shape=(-2, 10))) == set()
           and set(answer(changed("inputs", "pixels", shape=(-2, 8, 8)), old)) == set()
           and broken(changed("inputs", "pixels", shape=(-1, -9, 8))) == {("inputs", "pixels")}
           and broken(changed("outputs", "logits", shape=(0, 10))) == {("outputs", "logits")}, [
        "-2 does not allow one picture; -1 does, but not none: 0 is a size of its own.",
        "-2 fits into -1, not the other way round.",
        "b < 0 and abs(a) >= -b",
    ])  # fmt: skip
    yield ("one axis more or less breaks clients", lambda: broken(changed("inputs", "pixels", shape=(-1, 8))) == {("inputs", "pixels")}
           and broken(changed("outputs", "logits", shape=(-1, 10, 1))) == {("outputs", "logits")}, [
        "zip() stops at the shorter one.",
        "Compare the numbers of axes first.",
        'len(inner["shape"]) != len(outer["shape"])',
    ])  # fmt: skip

    def all_at_once() -> bool:
        new = {
            "inputs": {"pixels": field(high=0.5), "hint": field()},
            "outputs": {"logits": old["outputs"]["logits"], "sure": field(shape=(-1,), high=2), "x": field()},
        }
        kept = copy.deepcopy((old, new))
        found = broken(new)
        return found == {("inputs", "pixels"), ("inputs", "pen"), ("inputs", "hint"), ("outputs", "sure")} and kept == (
            old,
            new,
        )

    yield ("all that breaks is found, and nothing is changed", all_at_once, [
        "Several changes at once.",
        "Do not return at the first.",
        "Collect into a set.",
    ])  # fmt: skip


_NAMES = {
    np.dtype("<f4"): "FP32",
    np.dtype("<f8"): "FP64",
    np.dtype("<i8"): "INT64",
    np.dtype("<i4"): "INT32",
    np.dtype("u1"): "UINT8",
}


def _binary(*tensors: tuple[str, np.ndarray], tail: bytes = b"", **changed: object) -> tuple[bytes, int]:
    """A binary request; `changed` replaces entries of the first tensor (size: its binary_data_size)."""
    entries, raw = [], b""
    for name, array in tensors:
        own = array.tobytes()
        entry = {"name": name, "datatype": _NAMES[array.dtype], "shape": list(array.shape)}
        entries.append(entry | {"parameters": {"binary_data_size": len(own)}})
        raw += own
    if "size" in changed:
        entries[0]["parameters"] = {"binary_data_size": changed.pop("size")}
    entries[0] |= changed
    head = json.dumps({"id": "1", "inputs": entries}).encode()
    return head + raw + tail, len(head)


@EXERCISES.add("14b.3", "Lengths that lie")
def lies(answer: Callable) -> Iterator[Property]:
    """answer(body, header_length) -> {name: array}."""
    random = np.random.default_rng(14)
    pixels = random.normal(size=(2, 1, 8, 8)).astype("<f4")
    ids = np.array([[1, -(2**62)], [3, 4]], "<i8")

    def same(*tensors: tuple[str, np.ndarray]) -> bool:
        said = answer(*_binary(*tensors))
        return list(said) == [name for name, _ in tensors] and all(
            said[name].dtype == array.dtype
            and said[name].shape == array.shape
            and said[name].tobytes() == array.tobytes()
            for name, array in tensors
        )

    def refused(*cases: tuple[bytes, int]) -> bool:
        return all(raises(ValueError, answer, *case) for case in cases)

    yield ("one tensor comes back with its dtype and shape", lambda: same(("pixels", pixels)), [
        "The first header_length bytes are JSON, the rest is the tensor.",
        "np.frombuffer reads bytes; DTYPES has the dtype.",
        "np.frombuffer(body[header_length:], DTYPES[datatype]).reshape(shape)",
    ])  # fmt: skip
    yield ("several tensors follow each other in their order", lambda: same(("pixels", pixels), ("ids", ids), ("a", np.arange(5, dtype="u1")))
           and same(("b", np.array([7, -7], "<i4")), ("c", np.array([np.nan, 1e300], "<f8"))), [
        "Float32 pixels, then int64 numbers: where do the second one's bytes begin?",
        "Move on by each tensor's binary_data_size.",
        "at = header_length; for each tensor: body[at : at + size]; at += size",
    ])  # fmt: skip
    yield ("no numbers, and a single one, are tensors as well", lambda: same(("none", np.zeros((0, 8), "<f4")), ("one", np.array(2.5, "<f8")))
           and same(("wide", np.zeros((0, 10**12), "u1"))), [
        "A shape (0, 8) has no bytes, a shape [] has one number.",
        "The product of no factors is 1.",
        "math.prod(shape) does both.",
    ])  # fmt: skip

    def writable() -> bool:
        body, length = _binary(("pixels", pixels))
        array = answer(body, length)["pixels"]
        array[0] = 0
        return np.array_equal(answer(body, length)["pixels"], pixels)

    yield ("the arrays may be written to", writable, [
        "Try array[0] = 0.",
        "An array over bytes is read-only, since bytes are.",
        "np.frombuffer(…).reshape(shape).copy()",
    ])  # fmt: skip
    good, length = _binary(("pixels", pixels))
    other = good[:length].decode().encode("utf-16")
    latin = b'{"user": "J\xfcrg", ' + good[1:length]
    yield ("a header that does not end inside the body, or is no such object, is refused", lambda: refused(
        (good, len(good) + 1), (good, -1), (good, length - len(good)), (good, length - 1), (good, length + 4), (good, 0), (b"", 0), (b"[1]", 3), (b"{}", 2),
        (b'{"inputs": []}', 14), (b'{"inputs": {}}', 14), (b'{"inputs": [3]}', 15), (b"[" * 200_000, 200_000), (b"\xff\xfe", 2),
        (other + good[length:], len(other)), (latin + good[length:], len(latin)),
    ), [
        "A length of −1 counts from the end, in Python.",
        "Slices never complain; compare header_length with 0 and len(body) first. RecursionError is no ValueError, and of bytes json.loads guesses the encoding: decode them, as UTF-8 and strictly.",
        "if not 0 <= header_length <= len(body): raise ValueError(…)",
    ])  # fmt: skip
    yield ("size, shape, datatype and body must fit each other", lambda: refused(
        _binary(("p", pixels), size=pixels.nbytes - 4), _binary(("p", pixels), size=pixels.nbytes + 4), _binary(("p", pixels), shape=[2, 64, 2]),
        _binary(("p", pixels), datatype="FP64"), _binary(("p", pixels), tail=b"\0"), (good[:-4], length),
        _binary(("p", pixels), ("ids", ids), size=0), _binary(("p", pixels), shape=[], size=4),
        _binary(("p", pixels), ("ids", ids), shape=[2, 1, 8, 6], size=384, tail=b"\0" * 128)[:2],
    ), [
        "A tensor that is 4 bytes short, and a body with a byte too many.",
        "Three things say how long a tensor is: its size, its shape with its datatype, and what is left of the body.",
        "if size != math.prod(shape) * itemsize or size > len(body) - at: …; and at the end at == len(body)",
    ])  # fmt: skip
    yield ("numbers too large to be true are refused, not multiplied into small ones or reserved", lambda: refused(
        _binary(("p", np.zeros(0, "<f4")), shape=[2**32, 2**32]), _binary(("p", np.zeros(0, "<f4")), shape=[2**62, 4]),
        _binary(("p", np.zeros(2, "<f4")), shape=[10**18], size=4 * 10**18), _binary(("p", pixels), shape=[10**30]),
    ), [
        "2³² × 2³² numbers in no bytes at all.",
        "NumPy's product wraps around at 2⁶⁴.",
        "math.prod multiplies Python's own whole numbers; reserve nothing before sizes agree.",
    ])  # fmt: skip
    empty = np.zeros(1, "<f4")
    yield ("each entry is of its type: no booleans, texts, negative or decimal numbers, no unknown datatype", lambda: refused(
        _binary(("p", empty), shape=[True]), _binary(("p", empty), shape=[1.0]), _binary(("p", empty), shape="1"), _binary(("p", empty), shape=None),
        _binary(("p", empty), shape=[-1, -1]), _binary(("p", empty), shape=["1"]), _binary(("p", empty), size="4"), _binary(("p", empty), size=4.0),
        _binary(("p", empty), size=None), _binary(("p", empty), parameters=None), _binary(("p", empty), parameters=[4]),
        _binary(("p", empty), name=None), _binary(("p", empty), name=["p"]), _binary(("p", empty), datatype="BYTES"),
        _binary(("p", empty), datatype=None), _binary(("p", empty), datatype=["FP32"]), _binary(("p", empty), shape=[[1]]),
        _binary(("p", np.zeros(1, "u1")), size=True),
    ), [
        "A shape of [-1, -1] has the product 1; [true] as well.",
        "A list cannot be looked up in a dictionary: that is a TypeError. Check types before you use them.",
        "type(n) is int and n >= 0, for each of the shape and for the size; isinstance(datatype, str)",
    ])  # fmt: skip
    yield ("two tensors of one name are refused", lambda: refused(_binary(("p", empty), ("p", empty))), [
        "Which of the two would the model get?",
        "A dictionary keeps the last one, without a word.",
        "if name in tensors: raise ValueError(…)",
    ])  # fmt: skip
