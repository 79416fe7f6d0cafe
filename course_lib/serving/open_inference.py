"""The Open Inference Protocol v2 over REST, with its binary extension: requests, answers.

Sources: kserve/open-inference-protocol, `inference_rest.md`; triton-inference-server, `extension_binary_data.md`. In the
extension, JSON comes first, as long as the header says, then each tensor's bytes in the order in which JSON names them,
little-endian and row-major; of strings, each is preceded by its length in four bytes.
"""

import math
import re
import struct
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np

from course_lib.serving.errors import Refused
from course_lib.serving.models import Feeds, Model
from course_lib.serving.store import Store
from course_lib.serving.tensors import JSON_NAMES, Tensor, dump_json, parse_json, to_array

HEADER = "inference-header-content-length"
EXAMPLE = '{"inputs": [{"name": …, "shape": […], "datatype": …, "data": […]}]}'
MAX_ID = 1024
SURROGATE = re.compile("[\ud800-\udfff]")
"""Half of a character, which JSON's escapes can write and no answer can."""
MAX_NUMBER = 1 << 62
"""JSON may hold whole numbers of thousands of digits; floats and messages cannot."""


@dataclass(frozen=True)
class Inference:
    """What a request asks: its inputs, the outputs that it wants (name -> in binary), its time-out."""

    inputs: dict[str, np.ndarray]
    outputs: dict[str, bool]
    id: str | None
    timeout_ms: float | None


def find(store: Store, name: str, version: str | None) -> Model:
    """The version of that number or, since the protocol lets a version be any text, of that label. Raises Refused."""
    served = store.models.get(name)
    number = version is None or (version.isascii() and version.isdecimal() and len(version) <= 18)
    if served and not number and version in served.labels:
        model = served.find(served.labels[version])
    elif not number:
        message = f"expected a version's number or a label under /v2/models/{name[:200]}/versions/, got"
        raise Refused(404, f"{message} '{version[:40]}'.")
    else:
        model = served.find(None if version is None else int(version)) if served else None
    if model is None:
        wanted = name if version is None else f"{name}, version {version}"
        raise Refused(404, f"Request for unknown model: {wanted[:250]}. This server has {store}.")
    return model


def parse(model: Model, body: bytes, header: str | None) -> Inference:
    """A request's body; header: the value of `Inference-Header-Content-Length`, if it was sent. Raises Refused."""
    length = len(body) if header is None else _json_length(header, len(body))
    if length == 0 and header is not None:
        return Inference(_raw_input(memoryview(body), model), dict.fromkeys(model.outputs, True), None, None)
    request = parse_json(body[:length], EXAMPLE)
    inputs = _inputs(request.get("inputs"), model, memoryview(body)[length:])
    parameters = _parameters(request, "the request")
    identity = request.get("id")
    if identity is not None and (not isinstance(identity, str) or len(identity) > MAX_ID or SURROGATE.search(identity)):
        raise Refused(400, f"'id' expects a string of at most {MAX_ID} characters, got {_short(identity)}.")
    timeout = parameters.get("timeout")
    if timeout is not None and not (type(timeout) is int and 0 <= timeout <= MAX_NUMBER):
        raise Refused(400, f"parameter 'timeout' expects whole microseconds, got {_short(timeout)}.")
    return Inference(inputs, _wanted(request, model, parameters), identity, timeout / 1000 if timeout else None)


def answer(model: Model, asked: Inference, given: Feeds) -> tuple[bytes, int | None]:
    """The body of the answer, and how many bytes of it are JSON where tensors follow in binary. Raises Refused."""
    tensors, chunks = [], []
    for name, binary in asked.outputs.items():
        array = given[name]
        tensor = {"name": name, "datatype": model.outputs[name].v2_datatype, "shape": list(array.shape)}
        if binary:
            chunk = _to_bytes(array)
            chunks.append(chunk)
            tensor["parameters"] = {"binary_data_size": len(chunk)}
        else:
            tensor["data"] = array.ravel()
        tensors.append(tensor)
    said: dict[str, Any] = {"model_name": model.name, "model_version": str(model.version)}
    if asked.id is not None:
        said["id"] = asked.id
    head = dump_json(said | {"outputs": tensors})
    if b"NaN" in head or b"Infinity" in head:
        _check_finite(tensors)
    return (b"".join([head, *chunks]), len(head)) if chunks else (head, None)


def _check_finite(tensors: list[dict[str, Any]]) -> None:
    for tensor in tensors:
        if "data" in tensor and tensor["data"].dtype.kind == "f" and not np.isfinite(tensor["data"]).all():
            name = f"output '{tensor['name']}'"
            raise Refused(
                400, f"{name} holds numbers that are not finite, which JSON cannot write: ask for it in binary."
            )


def metadata(model: Model, versions: list[int]) -> dict[str, Any]:
    """`GET /v2/models/NAME[/versions/N]`."""
    return {
        "name": model.name,
        "versions": [str(version) for version in versions],
        "platform": "onnx_onnxv1",
        "inputs": _described(model.inputs),
        "outputs": _described(model.outputs),
    }


def _described(tensors: dict[str, Tensor]) -> list[dict[str, Any]]:
    return [{"name": t.name, "datatype": t.v2_datatype, "shape": _told(t)} for t in tensors.values()]


def _told(tensor: Tensor) -> list[int]:
    """The protocol has no word for a shape of which nothing is known: one axis of any size fits it."""
    return [-1] if tensor.shape is None else list(tensor.shape)


def _json_length(header: str, total: int) -> int:
    if not (header.isascii() and header.isdecimal() and len(header) < 18) or int(header) > total:
        raise Refused(400, f"{HEADER} expects the length of the JSON, 0 to {total} bytes, got '{header[:40]}'.")
    return int(header)


def _raw_input(binary: memoryview, model: Model) -> dict[str, np.ndarray]:
    """Triton's raw request: a body without any JSON is the one input. Its shape follows from the number of bytes where
    at most one axis is open; the first of several counts the samples, and is taken as 1. Text is one string."""
    if len(model.inputs) != 1:
        raise Refused(
            400, f"a body without JSON ({HEADER}: 0) expects a model with one input, not {len(model.inputs)}."
        )
    ((name, tensor),) = model.inputs.items()
    shape = _told(tensor)
    if shape.count(-1) > 1 and shape[0] == -1:
        shape[0] = 1
    if shape.count(-1) > 1:
        raise tensor.refuse(f"of shape {shape} leaves more than one axis open: send JSON that tells its shape.")
    if tensor.dtype.kind == "O":
        binary = memoryview(struct.pack("<I", len(binary)) + binary)
        count = 1
    else:
        count = len(binary) // tensor.dtype.itemsize
    known = math.prod(size for size in shape if size != -1)
    shape = [count // max(known, 1) if size == -1 else size for size in shape]
    tensor.check_shape(shape)
    return {name: _from_bytes(binary, tensor, shape)}


def _inputs(listed: Any, model: Model, binary: memoryview) -> dict[str, np.ndarray]:
    if not isinstance(listed, list) or not all(isinstance(each, dict) for each in listed):
        raise Refused(400, f"'inputs' expects a list of objects, as in {EXAMPLE}.")
    arrays, used = {}, 0
    for each in listed:
        name = each.get("name")
        if not isinstance(name, str) or name not in model.inputs or name in arrays:
            expected = ", ".join(model.inputs)
            raise Refused(400, f"'inputs' expects {expected}, each of them once, got the name {_short(name)}.")
        tensor, shape = model.inputs[name], each.get("shape")
        if each.get("datatype") != tensor.v2_datatype:
            raise tensor.refuse(f"expects datatype {tensor.v2_datatype}, got {_short(each.get('datatype'))}.")
        if not isinstance(shape, list) or not all(type(size) is int and 0 <= size <= MAX_NUMBER for size in shape):
            raise tensor.refuse(f"expects 'shape' to be a list of whole numbers, got {_short(shape)}.")
        size = _refuse_shared_memory(_parameters(each, f"input '{name}'")).get("binary_data_size")
        if size is None:
            if "data" not in each:
                raise tensor.refuse("has neither 'data' nor the parameter 'binary_data_size'.")
            arrays[name] = to_array(each["data"], tensor, shape)
            continue
        if "data" in each:
            raise tensor.refuse("has both 'data' and the parameter 'binary_data_size'; expected one of them.")
        if type(size) is not int or not 0 <= size <= len(binary) - used:
            left = len(binary) - used
            raise tensor.refuse(f"declares a binary_data_size of {_short(size)}; {left} bytes are left for it.")
        tensor.check_shape(shape)
        arrays[name] = _from_bytes(binary[used : used + size], tensor, shape)
        used += size
    if missing := [name for name in model.inputs if name not in arrays]:
        raise Refused(400, f"'inputs' lacks {', '.join(missing)}.")
    if used != len(binary):
        raise Refused(400, f"expected {used} bytes after the JSON, as its inputs declare, got {len(binary)}.")
    return {name: arrays[name] for name in model.inputs}  # in one order, whatever the client's: a batch is joined by it


def _wanted(request: dict[str, Any], model: Model, parameters: dict[str, Any]) -> dict[str, bool]:
    """Output name -> whether in binary, in the order asked for."""
    default = _flag(parameters, "binary_data_output", False)
    listed = request.get("outputs")
    if listed is None or listed == []:
        return dict.fromkeys(model.outputs, default)
    if not isinstance(listed, list) or not all(isinstance(each, dict) for each in listed):
        raise Refused(400, "'outputs' expects a list of objects, as in [{\"name\": …}].")
    wanted = {}
    for each in listed:
        name = each.get("name")
        if not isinstance(name, str) or name not in model.outputs or name in wanted:
            expected = ", ".join(model.outputs)
            raise Refused(400, f"'outputs' expects names among {expected}, each once, got {_short(name)}.")
        given = _refuse_shared_memory(_parameters(each, f"output '{name}'"))
        if "classification" in given:
            raise Refused(400, "the classification extension is not offered: take the largest of the output.")
        wanted[name] = _flag(given, "binary_data", default)
    return wanted


def _parameters(holder: dict[str, Any], whose: str) -> dict[str, Any]:
    parameters = holder.get("parameters")
    if parameters is not None and not isinstance(parameters, dict):
        raise Refused(400, f"'parameters' of {whose} expects an object, got {JSON_NAMES[type(parameters)]}.")
    return parameters or {}


def _refuse_shared_memory(parameters: dict[str, Any]) -> dict[str, Any]:
    if told := sorted(key for key in parameters if key.startswith("shared_memory_")):
        raise Refused(
            400, f"the shared memory extensions are not offered: send data, not the parameter {told[0][:40]}."
        )
    return parameters


def _flag(parameters: dict[str, Any], name: str, default: bool) -> bool:
    value = parameters.get(name, default)
    if not isinstance(value, bool):
        raise Refused(400, f"parameter '{name}' expects true or false, got {JSON_NAMES[type(value)]}.")
    return value


def _short(value: Any) -> str:
    return repr(value)[:40] if isinstance(value, str | int | float) else JSON_NAMES[type(value)]


def _from_bytes(binary: memoryview, tensor: Tensor, shape: list[int]) -> np.ndarray:
    count = math.prod(shape)
    if tensor.dtype.kind == "O":
        return np.array(_strings(binary, tensor, count), dtype=object).reshape(shape)
    expected = count * tensor.dtype.itemsize
    if len(binary) != expected:
        raise tensor.refuse(f"of shape {shape} expects {expected} bytes of {tensor.v2_datatype}, got {len(binary)}.")
    if tensor.dtype.kind == "b" and np.frombuffer(binary, np.uint8).max() > 1:
        raise tensor.refuse("expects bytes of 0 or 1 for false or true.")
    array = np.frombuffer(binary, dtype=tensor.dtype.newbyteorder("<")).reshape(shape)
    return array.astype(tensor.dtype, copy=sys.byteorder != "little")


def _strings(binary: memoryview, tensor: Tensor, count: int) -> list[str]:
    strings, at = [], 0
    while at < len(binary) and len(strings) <= count:
        length = int.from_bytes(binary[at : at + 4], "little")
        text = binary[at + 4 : at + 4 + length]
        if at + 4 > len(binary) or len(text) < length:
            raise tensor.refuse(f"is cut off: string {len(strings)} declares {length} bytes.")
        try:
            strings.append(str(text, "utf-8"))
        except UnicodeDecodeError:  # ONNX Runtime's strings are text
            raise tensor.refuse(f"expects UTF-8 text in string {len(strings)}.") from None
        at += 4 + length
    if len(strings) != count:
        raise tensor.refuse(f"expects {count} strings, got {'more' if len(strings) > count else len(strings)}.")
    return strings


def _to_bytes(array: np.ndarray) -> bytes:
    if array.dtype.kind == "O":
        texts = [text.encode() for text in array.ravel()]
        return b"".join(struct.pack("<I", len(text)) + text for text in texts)
    return array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
