"""Tensors: what a model's inputs and outputs are called in each protocol, and JSON's lists turned into arrays.

Sources: TensorFlow Serving's `util/json_tensor.cc`; the Open Inference Protocol's tensor data types.
"""

import base64
import binascii
import json
import math
import struct
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import orjson

from course_lib.serving.errors import Refused

# ONNX Runtime's name of a type -> NumPy's, TensorFlow Serving's, the Open Inference Protocol's.
DTYPES: dict[str, tuple[str, str, str]] = {
    "tensor(float)": ("float32", "DT_FLOAT", "FP32"),
    "tensor(double)": ("float64", "DT_DOUBLE", "FP64"),
    "tensor(float16)": ("float16", "DT_HALF", "FP16"),
    "tensor(int8)": ("int8", "DT_INT8", "INT8"),
    "tensor(int16)": ("int16", "DT_INT16", "INT16"),
    "tensor(int32)": ("int32", "DT_INT32", "INT32"),
    "tensor(int64)": ("int64", "DT_INT64", "INT64"),
    "tensor(uint8)": ("uint8", "DT_UINT8", "UINT8"),
    "tensor(uint16)": ("uint16", "DT_UINT16", "UINT16"),
    "tensor(uint32)": ("uint32", "DT_UINT32", "UINT32"),
    "tensor(uint64)": ("uint64", "DT_UINT64", "UINT64"),
    "tensor(bool)": ("bool", "DT_BOOL", "BOOL"),
    "tensor(string)": ("object", "DT_STRING", "BYTES"),
}
JSON_NAMES = {str: "a string", bool: "true or false", type(None): "null", dict: "an object", list: "a list"}
JSON_NAMES |= {int: "a whole number", float: "a decimal number"}
# NumPy's kind of a dtype -> what JSON may hold for it.
KINDS = {"f": ("numbers", {int, float}), "i": ("whole numbers", {int}), "u": ("whole numbers", {int})}
KINDS |= {"b": ("true or false", {bool}), "O": ("strings", {str})}


# NumPy's kind and size of a dtype -> struct's format.
PACKED = {"f2": "e", "f4": "f", "f8": "d", "i1": "b", "i2": "h", "i4": "i", "i8": "q", "b1": "?"}
PACKED |= {"u1": "B", "u2": "H", "u4": "I", "u8": "Q"}


@dataclass(frozen=True)
class Tensor:
    """One input or output of a model; in `shape`, -1 stands for any size, and None for any shape at all. Strings are
    arrays of dtype object."""

    name: str
    dtype: np.dtype
    tf_dtype: str
    v2_datatype: str
    shape: tuple[int, ...] | None

    def refuse(self, message: str) -> Refused:
        """The error for an input that is not what the model takes."""
        return Refused(400, f"input '{self.name}' {message}")

    def check_shape(self, shape: list[int]) -> None:
        """Raises Refused where an input of this shape does not fit, or holds nothing."""
        if 0 in shape or (
            self.shape is not None
            and (len(shape) != len(self.shape) or any(want not in (-1, got) for want, got in zip(self.shape, shape)))
        ):
            if self.shape is None:
                raise self.refuse(f"expects at least one value, got shape {brief(shape)}.")
            raise self.refuse(f"expects shape {list(self.shape)} (-1: any number), got {brief(shape)}.")


def parse_json(body: bytes, example: str) -> dict[str, Any]:
    """The JSON object in `body`; `example` tells what was expected. Raises Refused where it is anything else.

    NaN and Infinity, which JSON does not know and many clients send, are read as numbers.
    """
    if not body.strip():
        raise Refused(400, f"JSON Parse error: The document is empty; expected {example}.")
    try:
        request = orjson.loads(body)
    except ValueError:
        request = _parse_slowly(body)
    if not isinstance(request, dict):
        raise Refused(400, f"JSON Value: is not object; expected {example}, got {JSON_NAMES[type(request)]}.")
    return request


def _parse_slowly(body: bytes) -> Any:
    """Python's own parser, for what the fast one refuses: NaN, Infinity, and mistakes, which this one explains."""
    try:
        return json.loads(body.decode())
    except RecursionError:
        raise Refused(400, "JSON Parse error: lists or objects are nested too deeply.") from None
    except ValueError as error:  # no JSON, no UTF-8, or a whole number of thousands of digits
        raise Refused(400, f"JSON Parse error: {str(error).split(';')[0]}.") from None


def dump_json(value: Any) -> bytes:
    """`value`, arrays included, as JSON; NaN and Infinity, which are no JSON, by these names."""
    text = orjson.dumps(value, default=np.ndarray.tolist, option=orjson.OPT_SERIALIZE_NUMPY)
    # orjson writes null for them; a null of another origin is written the same way again.
    return text if b"null" not in text else json.dumps(value, default=np.ndarray.tolist).encode()


def to_array(value: Any, tensor: Tensor, declared: list[int] | None = None) -> np.ndarray:
    """Nested lists as an array of the tensor's dtype. Raises Refused where shape or content are not the tensor's.

    declared: the shape that the request gives beside its data, which may then be one flat list in row-major order.
    """
    shape = _shape_of_first(value)
    if declared is None:
        tensor.check_shape(shape)
    else:
        tensor.check_shape(declared)
        if shape not in (declared, [math.prod(declared)]):
            raise tensor.refuse(f"declares shape {declared}, but its data have shape {brief(shape)}.")
    items = _flatten(value, shape, tensor)
    if tensor.dtype.kind == "O":
        items = [_decode(item, tensor) for item in items]
    expected, types = KINDS[tensor.dtype.kind]
    too_large = f"holds a number too large for {tensor.v2_datatype}."
    if wrong := set(map(type, items)) - types:
        if list in wrong:
            raise tensor.refuse("is ragged: a list stands where its first item is none.")
        if (
            wrong == {float} and tensor.dtype.kind in "iu" and max(items) >= 2**63
        ):  # a whole number beyond 64 bits is read as a decimal one
            raise tensor.refuse(too_large)
        names = ", ".join(sorted(JSON_NAMES[kind] for kind in wrong))
        raise tensor.refuse(f"expects {expected} ({tensor.v2_datatype}), got {names}.")
    shape = shape if declared is None else declared
    if tensor.dtype.kind == "O":
        return np.array(items, dtype=object).reshape(shape)
    try:  # struct is quicker than NumPy, and with "=" refuses 1e39, which is a number and none of float32
        packed = struct.pack(f"={len(items)}{PACKED[tensor.dtype.str[1:]]}", *items)
        return np.frombuffer(packed, tensor.dtype).reshape(shape)
    except (OverflowError, struct.error):
        raise tensor.refuse(too_large) from None


def _flatten(value: Any, shape: list[int], tensor: Tensor) -> list:
    """All that the lists hold, in row-major order; refuses lists that are not as long as `shape` says."""
    items = [value]
    for size in shape:
        if len(items) == 1 and type(items[0]) is list and len(items[0]) == size:
            items = items[0]  # the usual one sample
            continue
        if set(map(type, items)) != {list} or set(map(len, items)) != {size}:
            other = next(item for item in items if not isinstance(item, list) or len(item) != size)
            got = f"a list of {len(other)}" if isinstance(other, list) else JSON_NAMES[type(other)]
            raise tensor.refuse(f"is ragged: expected a list of {size} as its first one is, got {got}.")
        items = list(chain.from_iterable(items))
    return items


def brief(shape: list[int]) -> str:
    """A shape for a message: what a client sends may have thousands of axes."""
    return str(shape) if len(shape) <= 20 else f"{str(shape[:20])[:-1]}, …]"


def _shape_of_first(value: Any) -> list[int]:
    shape = []
    while isinstance(value, list):
        shape.append(len(value))
        value = value[0] if value else None
    return shape


def is_base64(value: Any) -> bool:
    """Whether `value` is TensorFlow Serving's way to write bytes in JSON."""
    return isinstance(value, dict) and value.keys() == {"b64"}


def _decode(value: Any, tensor: Tensor) -> Any:
    """The text that `{"b64": …}` holds; anything else as it is."""
    if not is_base64(value):
        return value
    try:
        return base64.b64decode(value["b64"], validate=True).decode()
    except (binascii.Error, TypeError, ValueError):
        # ONNX Runtime's strings are text: other bytes would not reach the model as they were sent.
        raise tensor.refuse('expects {"b64": …} to hold UTF-8 text in base 64.') from None
