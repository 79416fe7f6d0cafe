# %% [markdown]
# # 14b Protocols: exercises
#
# Three pieces of a protocol, each a function without a network. Fill in what is missing, run the cell, then its check.

# %%
import json
import math

import numpy as np

from course_lib.idioms import begin, check

scratch = begin("14b")

# %% [markdown]
# ## 14b.1 What is in these bytes? ★☆☆ · 15 minutes
#
# A partner's gRPC requests fail. All that you have is a dump of their bytes, without the `.proto` file. Split the
# message into its fields.


# %%
def fields(message):
    """The fields of a protocol buffers message, in their order.

    message: bytes. A field is a key and a content. The key is a varint: number × 8 + kind. Kind 0
    has a varint as its content, kind 1 has 8 bytes, kind 5 has 4 bytes; kind 2 has a varint, the
    length, and then so many bytes. A varint has seven bits in each byte, the lowest seven first;
    the eighth bit (128) says that another byte follows. It has 10 bytes at most.
    Returns a list of (number, content), content an int for kind 0, else bytes. Raises ValueError,
    and no other error, for other kinds, for the number 0, for a varint that is too long, and where
    the message ends inside a field.
    """
    # SOLUTION
    at, found = 0, []
    while at < len(message):
        key, at = varint_at(message, at)
        number, kind = key >> 3, key & 7
        if number == 0 or kind not in (0, 1, 2, 5):
            raise ValueError(
                f"expected a number from 1 and a kind of 0, 1, 2, 5, got {number}, {kind}"
            )
        if kind == 0:
            content, at = varint_at(message, at)
        else:
            size, at = varint_at(message, at) if kind == 2 else ({1: 8, 5: 4}[kind], at)
            if at + size > len(message):
                raise ValueError(f"expected {size} bytes for field {number}")
            content, at = message[at : at + size], at + size
        found.append((number, content))
    return found


# %% tags=["solution"]
def varint_at(message, at):
    """The varint that begins there, and where the next one may begin."""
    value = 0
    for i, byte in enumerate(message[at : at + 10]):
        value |= (byte & 127) << 7 * i
        if byte < 128:
            return value, at + i + 1
    raise ValueError("expected a varint of 10 bytes at most that ends inside the message")


# %%
check("14b.1", fields)

# %% [markdown] tags=["solution"]
# A stranger wrote every number in the message. So the code compares each length with what is left, before it slices. A
# slice beyond the end gives fewer bytes, and no error. Without the `.proto` file you see numbers and bytes. Only the
# file says whether the bytes are a text, a message or packed numbers. Try `fields` on them. `protoc --decode_raw` does
# the same on a command line. The course's server reads ONNX files in this way, in `course_lib/serving/models.py`, where
# ONNX Runtime does not tell the number of axes.

# %% [markdown]
# ## 14b.2 Does this break a client? ★★★ · 25 minutes
#
# A colleague opens a merge request: "version 7, tiny change in the schema". Write the gate that says which fields
# break clients, and lets through what does not.


# %%
def breaking(old, new):
    """The fields whose change breaks a client of the old version.

    old, new: {"inputs": {name: field}, "outputs": {name: field}}. A field: {"dtype": str, "shape":
    tuple, "low": number or None, "high": number or None}, for inputs also "optional": bool, where
    missing means False. In a shape, a size from 0 on is that size, -k is any size from k. low and
    high are bounds, both included; None is no bound.
    Clients send what the old inputs allow, and no more; they leave out optional inputs where
    they like, read every old output by its name, ignore outputs that they do not know, and cope
    with all that the old outputs allow. A dtype must stay what it is.
    Returns a set of (side, name), side "inputs" or "outputs". Changes nothing in old and new.
    """

    # SOLUTION
    def within(inner, outer):
        """Whether whatever the inner field allows, the outer one allows too."""
        if inner["dtype"] != outer["dtype"] or len(inner["shape"]) != len(outer["shape"]):
            return False
        for a, b in zip(inner["shape"], outer["shape"]):
            if not (a == b or (b < 0 and abs(a) >= -b)):
                return False
        low, high = outer["low"], outer["high"]
        above = low is None or (inner["low"] is not None and inner["low"] >= low)
        below = high is None or (inner["high"] is not None and inner["high"] <= high)
        return above and below

    broken = set()
    for name in old["inputs"].keys() | new["inputs"].keys():
        was, now = old["inputs"].get(name), new["inputs"].get(name)
        if was is None:
            bad = not now.get("optional", False)
        elif now is None:
            bad = True
        else:
            narrower = was.get("optional", False) and not now.get("optional", False)
            bad = narrower or not within(was, now)
        if bad:
            broken.add(("inputs", name))
    for name, was in old["outputs"].items():
        if name not in new["outputs"] or not within(new["outputs"][name], was):
            broken.add(("outputs", name))
    return broken


# %%
check("14b.2", breaking)

# %% [markdown] tags=["solution"]
# The same comparison is used in both directions. The clients' requests must fit into the *new* inputs, and the
# model's answers must fit into the *old* outputs. Type theory calls this contravariant and covariant. A removed input breaks
# clients here, because our server refuses names that it does not know. And the lesson showed the limit of the sentence
# "ignore outputs that they do not know": a row-form client cannot.

# %% [markdown]
# ## 14b.3 Lengths that lie ★★★ · 20 minutes
#
# A scanner sends your service binary requests whose lengths do not fit: a header longer than the body, a tensor of 10¹⁸
# numbers in eight bytes. Read the Open Inference Protocol's binary form, and check every length before you use it.


# %%
DTYPES = {"FP32": "<f4", "FP64": "<f8", "INT64": "<i8", "INT32": "<i4", "UINT8": "|u1"}


def read_binary(body, header_length):
    """The tensors of a binary request, by name.

    body: bytes. Its first `header_length` bytes are a JSON object in UTF-8 whose key "inputs" holds
    a list of one tensor or more, each {"name": a text, "datatype": a key of DTYPES, "shape": a list
    of whole numbers from 0, "parameters": {"binary_data_size": a whole number}}; other keys are
    ignored. The tensors' bytes follow in the same order, row-major and little-endian, each as many
    as its binary_data_size says and as shape and datatype ask for, and nothing after them. A shape
    of [] is a single number. header_length: an int. Returns {name: array of that dtype and shape};
    the arrays are the caller's own and may be written to. Raises ValueError, and no other error,
    for every other body, for two tensors of one name, and without reserving memory for what a lie
    announces.
    """
    # SOLUTION
    if not 0 <= header_length <= len(body):
        raise ValueError(f"expected a header of 0 to {len(body)} bytes, got {header_length}")
    try:
        request = json.loads(body[:header_length].decode())
    except (ValueError, RecursionError):
        raise ValueError("expected JSON in the header") from None
    inputs = request.get("inputs") if isinstance(request, dict) else None
    if not isinstance(inputs, list) or not inputs:
        raise ValueError("expected an object whose key 'inputs' holds a list of tensors")
    at, tensors = header_length, {}
    for tensor in inputs:
        name, dtype, shape, size = described(tensor)
        if name in tensors:
            raise ValueError("expected each tensor once")
        if size != math.prod(shape) * dtype.itemsize or size > len(body) - at:
            raise ValueError("expected a size that fits shape, datatype and body")
        raw = body[at : at + size]
        tensors[name] = np.frombuffer(raw, dtype).reshape(shape).copy()
        at += size
    if at != len(body):
        raise ValueError(f"expected nothing after the tensors, got {len(body) - at} bytes")
    return tensors


# %% tags=["solution"]
def described(tensor):
    """Name, dtype, shape and size, each of its type."""
    if not isinstance(tensor, dict):
        raise ValueError("expected an object for each tensor")
    name, kind, shape = (tensor.get(key) for key in ("name", "datatype", "shape"))
    parameters = tensor.get("parameters")
    size = parameters.get("binary_data_size") if isinstance(parameters, dict) else None
    if not isinstance(name, str) or not isinstance(kind, str) or kind not in DTYPES:
        raise ValueError(f"expected a name, and a datatype of {', '.join(DTYPES)}")
    if not isinstance(shape, list) or not all(type(n) is int and n >= 0 for n in [*shape, size]):
        raise ValueError("expected whole numbers from 0 for shape and size")
    return name, np.dtype(DTYPES[kind]), shape, size


# %%
check("14b.3", read_binary)

# %% [markdown] tags=["solution"]
# Every length is checked against something that was counted: the header against the body, the size against shape and
# datatype, the sum against what is left. `math.prod` multiplies Python's whole numbers, which do not overflow; NumPy's
# would wrap around: 2³² × 2³² would be 0, which fits an empty body. A shape such as (0, 10¹⁸) needs no bytes and
# passes. `copy()` makes the array the caller's own; `frombuffer` alone gives a view that cannot be written to and keeps
# the whole body in memory. A second way reads from a `memoryview`, which cuts pieces without copying them first.
