"""Right answers to lesson 14b's exercises that differ from the solutions."""

import io
import json
import math
import struct

import numpy as np


def from_a_stream(message):
    stream, found = io.BytesIO(message), []

    def take(size):
        got = stream.read(size) if size <= len(message) else b""
        if len(got) != size:
            raise ValueError("cut off")
        return got

    def varint():
        numbers = []
        while not numbers or numbers[-1] > 127:
            if len(numbers) == 10:
                raise ValueError("too long")
            numbers.append(take(1)[0])
        return sum((each & 127) << 7 * i for i, each in enumerate(numbers))

    while stream.tell() < len(message):
        number, kind = divmod(varint(), 8)
        if number == 0:
            raise ValueError("number 0")
        if kind == 0:
            found.append([number, varint()])
        elif kind == 2:
            found.append([number, take(varint())])
        elif kind in (1, 5):
            found.append([number, take(8 if kind == 1 else 4)])
        else:
            raise ValueError("kind")
    return found


def one_field_and_the_rest(message):
    def varint(rest):
        for size in range(1, 11):
            if len(rest) >= size and rest[size - 1] < 128:
                value = 0
                for byte in reversed(rest[:size]):
                    value = value * 128 + (byte & 0x7F)
                return value, rest[size:]
        raise ValueError("no varint")

    found, rest = [], memoryview(bytes(message))
    while len(rest):
        key, rest = varint(rest)
        size = {1: 8, 5: 4}.get(key % 8)
        if key < 8 or (size is None and key % 8 not in (0, 2)):
            raise ValueError("no field")
        if key % 8 == 0:
            content, rest = varint(rest)
        else:
            if size is None:
                size, rest = varint(rest)
            if len(rest) < size:
                raise ValueError("too short")
            content, rest = bytes(rest[:size]), rest[size:]
        found.append((key // 8, content))
    return found


def _range(field):
    return (-math.inf if field["low"] is None else field["low"], math.inf if field["high"] is None else field["high"])


def _sizes(size):
    return (size, size) if size >= 0 else (-size, math.inf)


def _holds(outer, inner):
    (a, b), (c, d) = _range(outer), _range(inner)
    return (
        outer["dtype"] == inner["dtype"]
        and len(outer["shape"]) == len(inner["shape"])
        and all(
            _sizes(o)[0] <= _sizes(i)[0] and _sizes(i)[1] <= _sizes(o)[1]
            for o, i in zip(outer["shape"], inner["shape"])
        )
        and a <= c
        and d <= b
    )


def by_intervals(old, new):
    out = set()
    for name in set(old["inputs"]) | set(new["inputs"]):
        if name not in old["inputs"]:
            fine = new["inputs"][name].get("optional") is True
        elif name not in new["inputs"]:
            fine = False
        else:
            was, now = old["inputs"][name], new["inputs"][name]
            fine = _holds(now, was) and not (was.get("optional") and not now.get("optional"))
        if not fine:
            out.add(("inputs", name))
    return out | {
        ("outputs", name)
        for name, was in old["outputs"].items()
        if name not in new["outputs"] or not _holds(was, new["outputs"][name])
    }


def a_frozen_set(old, new):
    return frozenset(by_intervals(old, new))


def with_struct(body, header_length):
    if type(header_length) is not int or header_length < 0 or header_length > len(body):
        raise ValueError("header")
    try:
        told = json.loads(str(body[:header_length], "utf-8"))
        tensors = told["inputs"]
        listed = [(t["name"], t["datatype"], t["shape"], t["parameters"]["binary_data_size"]) for t in tensors]
    except (ValueError, RecursionError, KeyError, TypeError):
        raise ValueError("JSON") from None
    if type(tensors) is not list or not listed:
        raise ValueError("inputs")
    letters = {"FP32": "f", "FP64": "d", "INT64": "q", "INT32": "i", "UINT8": "B"}
    at, found = header_length, {}
    for name, kind, shape, size in listed:
        if type(name) is not str or type(kind) is not str or kind not in letters or name in found:
            raise ValueError("name or datatype")
        if type(shape) is not list or any(type(n) is not int or n < 0 for n in [*shape, size]):
            raise ValueError("numbers")
        count = math.prod(shape)
        if count * struct.calcsize("<" + letters[kind]) != size or at + size > len(body):
            raise ValueError("sizes")
        numbers = struct.unpack_from(f"<{count}{letters[kind]}", body, at)
        dtype = {"f": "<f4", "d": "<f8", "q": "<i8", "i": "<i4", "B": "u1"}[letters[kind]]
        found[name] = np.array(numbers, dtype).reshape(shape)
        at += size
    if at != len(body):
        raise ValueError("more bytes")
    return found


def from_a_bytearray(body, header_length):
    if not 0 <= header_length <= len(body):
        raise ValueError("header")
    try:
        request = json.loads(body[:header_length].decode("utf-8"))
    except (ValueError, RecursionError):
        raise ValueError("JSON") from None
    if not isinstance(request, dict) or not isinstance(request.get("inputs"), list) or not request["inputs"]:
        raise ValueError("inputs")
    rest, found = bytearray(body[header_length:]), {}
    kinds = {"FP32": "<f4", "FP64": "<f8", "INT64": "<i8", "INT32": "<i4", "UINT8": "|u1"}
    for tensor in request["inputs"]:
        match tensor:
            case {
                "name": str(name),
                "datatype": str(kind),
                "shape": list(shape),
                "parameters": {"binary_data_size": int(size)},
            }:
                pass
            case _:
                raise ValueError("tensor")
        numbers = [*shape, size]
        if (
            kind not in kinds
            or name in found
            or any(isinstance(n, bool) or not isinstance(n, int) or n < 0 for n in numbers)
        ):
            raise ValueError("tensor")
        if size != np.dtype(kinds[kind]).itemsize * math.prod(shape) or size > len(rest):
            raise ValueError("sizes")
        found[name] = np.frombuffer(rest[:size], kinds[kind]).reshape(shape)  # over a bytearray of its own
        rest = rest[size:]
    if rest:
        raise ValueError("more bytes")
    return found


RIGHT = {
    "14b.1": [from_a_stream, one_field_and_the_rest],
    "14b.2": [by_intervals, a_frozen_set],
    "14b.3": [with_struct, from_a_bytearray],
}
