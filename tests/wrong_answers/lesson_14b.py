"""Wrong answers that people write, planted in lesson 14b: each must be caught at the property named."""

import json
import math

import numpy as np

# --- 14b.1


def _read(message, *, varint=None, keep=list.append, bounded=True, kinds=(0, 1, 2, 5), zero=False):
    varint, at, found = varint or _varint, 0, []
    while at < len(message):
        key, at = varint(message, at)
        number, kind = key >> 3, key & 7
        if kind not in kinds or (number == 0 and not zero):
            raise ValueError("expected another field")
        if kind == 0:
            content, at = varint(message, at)
        else:
            size, at = varint(message, at) if kind == 2 else ({1: 8, 5: 4}.get(kind, 0), at)
            if bounded and at + size > len(message):
                raise ValueError("expected more bytes")
            content, at = message[at : at + size], at + size
        keep(found, (number, content))
    return found


def _varint(message, at, most=10):
    value = 0
    for i, byte in enumerate(message[at : at + most]):
        value |= (byte & 127) << 7 * i
        if byte < 128:
            return value, at + i + 1
    raise ValueError("expected a varint")


def the_key_is_the_number(message):
    return [(number << 3, content) for number, content in _read(message)]


def one_byte_a_number(message):
    return _read(message, varint=lambda message, at: (message[at], at + 1))


def the_highest_bits_first(message):
    def varint(message, at):
        value = 0
        while message[at] > 127:
            value, at = (value << 7) | message[at] & 127, at + 1
        return (value << 7) | message[at], at + 1

    return _read(message, varint=varint)


def texts_and_numbers_alone(message):
    return _read(message, kinds=(0, 2))


def one_of_each_number(message):
    return list(dict(_read(message)).items())


def reads_on_inside(message):
    found = []
    for number, content in _read(message):
        try:
            found += _read(content) or [(number, content)]
        except (ValueError, TypeError):
            found.append((number, content))
    return found


def strips_the_contents(message):
    return [(n, content if isinstance(content, int) else content.strip(b"\0")) for n, content in _read(message)]


def slices_never_complain(message):
    return _read(message, bounded=False)


def an_index_beyond_the_end(message):
    def varint(message, at):
        value = shift = 0
        while True:
            value, shift, at = value | (message[at] & 127) << shift, shift + 7, at + 1
            if message[at - 1] < 128:
                return value, at

    return _read(message, varint=varint)


def any_kind(message):
    return _read(message, kinds=range(8))


def number_zero(message):
    return _read(message, zero=True)


def varints_without_end(message):
    return _read(message, varint=lambda message, at: _varint(message, at, most=10**9))


# --- 14b.2


def _fits(inner, outer, *, dtype=True, shape="right", none="right", rank=True):
    if dtype and inner["dtype"] != outer["dtype"]:
        return False
    if rank and len(inner["shape"]) != len(outer["shape"]):
        return False
    for a, b in zip(inner["shape"], outer["shape"]):
        if shape == "equal":
            fits = a == b
        elif shape == "any":
            fits = a == b or b < 0
        elif shape == "zero":
            fits = a == b or (b < 0 and (abs(a) >= -b or a == 0))
        else:
            fits = a == b or (b < 0 and abs(a) >= -b)
        if not fits:
            return False
    low, high = outer["low"], outer["high"]
    if none == "ignored":
        return (None in (low, inner["low"]) or inner["low"] >= low) and (
            None in (high, inner["high"]) or inner["high"] <= high
        )
    above = low is None or (inner["low"] is not None and inner["low"] >= low)
    return above and (high is None or (inner["high"] is not None and inner["high"] <= high))


def _gate(old, new, *, added=True, added_output=False, gone=True, optional=True, turned=False, one=False, **how):
    found = []
    for name, now in new["inputs"].items():
        was = old["inputs"].get(name)
        if was is None:
            if added == "all" or (added and not now.get("optional", False)):
                found.append(("inputs", name))
        elif (optional and was.get("optional", False) and not now.get("optional", False)) or not _fits(was, now, **how):
            found.append(("inputs", name))
    found += [("inputs", name) for name in old["inputs"] if name not in new["inputs"] and gone]
    for name, was in old["outputs"].items():
        now = new["outputs"].get(name)
        if now is None:
            found += [("outputs", name)] * gone
        elif not _fits(*((was, now) if turned else (now, was)), **how):
            found.append(("outputs", name))
    if added_output:
        found += [("outputs", name) for name in new["outputs"] if name not in old["outputs"]]
    return set(found[:1] if one else found)


def nothing_at_all(old, new):
    return None if old == new else _gate(old, new)


def looks_at_new_names(old, new):
    return _gate(old, new, gone=False)


def every_addition_breaks(old, new):
    return _gate(old, new, added="all", added_output=True)


def additions_are_fine(old, new):
    return _gate(old, new, added=False)


def dtype_is_detail(old, new):
    return _gate(old, new, dtype=False)


def forgets_optional(old, new):
    return _gate(old, new, optional=False)


def both_sides_alike(old, new):
    return _gate(old, new, turned=True)


def none_is_skipped(old, new):
    return _gate(old, new, none="ignored")


def shapes_must_be_equal(old, new):
    return _gate(old, new, shape="equal")


def any_size_is_any(old, new):
    return _gate(old, new, shape="any")


def none_is_a_size_too(old, new):
    return _gate(old, new, shape="zero")


def zip_stops(old, new):
    return _gate(old, new, rank=False)


def first_finding(old, new):
    return _gate(old, new, one=True)


# --- 14b.3

_KINDS = {"FP32": "<f4", "FP64": "<f8", "INT64": "<i8", "INT32": "<i4", "UINT8": "|u1"}


def always_float32(body, header_length):
    tensor = json.loads(body[:header_length])["inputs"][0]
    return {tensor["name"]: np.frombuffer(body[header_length:], "<f4").reshape(tensor["shape"]).copy()}


def _tensors(
    body,
    header_length,
    *,
    copy=True,
    count=math.prod,
    whole=False,
    types=False,
    deep=RecursionError,
    decode=bytes.decode,
):
    try:
        request = json.loads(decode(body[:header_length]))
    except (ValueError, deep):
        raise ValueError("expected JSON") from None
    inputs = request.get("inputs") if isinstance(request, dict) else None
    if not isinstance(inputs, list) or not inputs:
        raise ValueError("expected tensors")
    at, found = header_length, {}
    for tensor in inputs:
        try:
            name, kind, shape = tensor["name"], np.dtype(_KINDS[tensor["datatype"]]), tensor["shape"]
            size = tensor["parameters"]["binary_data_size"]
            whole_numbers = isinstance(shape, list) and all(type(n) is int and n >= 0 for n in [*shape, size])
            if types and not (isinstance(name, str) and whole_numbers):
                raise ValueError("expected a name and whole numbers")
            if whole and (size != count(shape) * kind.itemsize or size > len(body) - at):
                raise ValueError("expected sizes that fit")
            array = np.frombuffer(body[at : at + size], kind).reshape(shape)
        except (KeyError, TypeError, AttributeError, OverflowError):
            raise ValueError("expected another tensor") from None
        found[name], at = array.copy() if copy else array, at + size
    if whole and at != len(body):
        raise ValueError("expected nothing behind")
    return found


def the_first_tensor(body, header_length):
    found = _tensors(body, header_length)
    return dict([next(iter(found.items()))])


def no_empty_tensor(body, header_length):
    found = _tensors(body, header_length)
    return {name: np.atleast_1d(array) for name, array in found.items()}


def a_view_of_the_body(body, header_length):
    return _tensors(body, header_length, copy=False)


def fears_no_depth(body, header_length):
    return _tensors(body, header_length, whole=True, deep=ValueError)


def _inside(body, header_length):
    if not 0 <= header_length <= len(body):
        raise ValueError("expected a header in the body")


def guesses_the_header_s_encoding(body, header_length):
    _inside(body, header_length)
    return _tensors(body, header_length, whole=True, types=True, decode=bytes)


def counts_from_the_end(body, header_length):
    _inside(body, abs(header_length))
    return _tensors(body, header_length % (len(body) + (header_length >= 0)), whole=True, types=True)


def believes_the_sizes(body, header_length):
    _inside(body, header_length)
    return _tensors(body, header_length)


def reserves_what_is_announced(body, header_length):
    _inside(body, header_length)
    return _tensors(body, header_length, whole=True, count=lambda shape: np.empty(shape).size)


def believes_the_types(body, header_length):
    _inside(body, header_length)
    return _tensors(body, header_length, whole=True)


def keeps_the_last(body, header_length):
    _inside(body, header_length)
    return _tensors(body, header_length, whole=True, types=True)


WRONG = {
    "14b.1": {
        the_key_is_the_number: "a varint of one byte, and a text",
        one_byte_a_number: "a varint may have several bytes: a key, a length, a content",
        the_highest_bits_first: "a varint may have several bytes: a key, a length, a content",
        texts_and_numbers_alone: "kinds 1 and 5 have 8 and 4 bytes, without a length",
        one_of_each_number: "all fields come in their order, repeated ones too; empty contents and an empty message count",
        reads_on_inside: "a message inside a message comes back as bytes",
        strips_the_contents: "a message inside a message comes back as bytes",
        slices_never_complain: "a message that ends inside a field is refused, wherever it ends",
        an_index_beyond_the_end: "a message that ends inside a field is refused, wherever it ends",
        any_kind: "kinds that we do not know, the number 0 and endless varints are refused",
        number_zero: "kinds that we do not know, the number 0 and endless varints are refused",
        varints_without_end: "kinds that we do not know, the number 0 and endless varints are refused",
    },
    "14b.2": {
        nothing_at_all: "no change breaks nobody",
        looks_at_new_names: "a field that is gone, or renamed, breaks clients",
        every_addition_breaks: "an additional output or optional input breaks nobody; an additional required input does",
        additions_are_fine: "an additional output or optional input breaks nobody; an additional required input does",
        dtype_is_detail: "another dtype breaks clients, on both sides",
        forgets_optional: "an optional input that becomes required breaks; the reverse does not",
        both_sides_alike: "an input's range may widen, an output's may narrow",
        none_is_skipped: "no bound is wider than any bound",
        shapes_must_be_equal: "fixing a free size breaks an input, not an output; freeing a fixed one breaks an output, not an input",
        any_size_is_any: "any size from k: a larger k is narrower",
        none_is_a_size_too: "any size from k: a larger k is narrower",
        zip_stops: "one axis more or less breaks clients",
        first_finding: "all that breaks is found, and nothing is changed",
    },
    "14b.3": {
        always_float32: "several tensors follow each other in their order",
        the_first_tensor: "several tensors follow each other in their order",
        no_empty_tensor: "no numbers, and a single one, are tensors as well",
        a_view_of_the_body: "the arrays may be written to",
        fears_no_depth: "a header that does not end inside the body, or is no such object, is refused",
        guesses_the_header_s_encoding: "a header that does not end inside the body, or is no such object, is refused",
        counts_from_the_end: "a header that does not end inside the body, or is no such object, is refused",
        believes_the_sizes: "size, shape, datatype and body must fit each other",
        reserves_what_is_announced: "numbers too large to be true are refused, not multiplied into small ones or reserved",
        believes_the_types: "each entry is of its type: no booleans, texts, negative or decimal numbers, no unknown datatype",
        keeps_the_last: "two tensors of one name are refused",
    },
}
