"""The two protocols' JSON: requests turned into tensors, tensors into answers, mistakes into sentences.

Sources: TensorFlow Serving's `g3doc/api_rest.md` and `util/json_tensor.cc`; the Open Inference Protocol's
`inference_rest.md`. Two differences from TensorFlow Serving: numbers that are not finite are refused (a model of
images has no answer to NaN), and error messages do not repeat the request's data.
"""

import json
from typing import Any

import numpy as np

from course_lib.serving.models import InputError, Model, Models, Tensor

SIGNATURE = "serving_default"
JSON_NAMES = {str: "a string", bool: "true or false", type(None): "null", dict: "an object", list: "a list"}
JSON_NAMES |= {int: "a whole number", float: "a decimal number"}
KINDS = {"f": ("numbers", {int, float}), "i": ("whole numbers", {int}), "u": ("whole numbers", {int})}
KINDS |= {"b": ("true or false", {bool})}


class Refused(Exception):
    """A request that gets an error: `status` and `headers` for HTTP, and one sentence for the one who sent it."""

    def __init__(self, status: int, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.headers = status, message, headers


def find(models: Models, name: str, version: int | None) -> Model:
    """The model, or TensorFlow Serving's 404 with what there is instead."""
    model = models.find(name, version)
    if model is None:
        wanted = f"Latest({name})" if version is None else f"Specific({name}, {version})"
        there = ", ".join(f"{known} {versions}" for known, versions in models.versions().items())
        raise Refused(404, f"Servable not found for request: {wanted}. This server has {there}.")
    return model


def predict(model: Model, body: bytes) -> bytes:
    """Answers TensorFlow Serving's `:predict`: `instances` by `predictions`, `inputs` by `outputs`."""
    request = _parse(body)
    signature = request.get("signature_name", SIGNATURE)
    if not isinstance(signature, str):
        raise Refused(400, f"'signature_name' key must be a string value, got {JSON_NAMES[type(signature)]}.")
    if signature not in ("", SIGNATURE):
        raise Refused(
            400, f'Serving signature name: "{signature[:200]}" not found in signature def; there is {SIGNATURE}.'
        )
    if "instances" in request and "inputs" in request:
        raise Refused(400, "Not formatted correctly: expecting only one of 'inputs' or 'instances' keys, got both.")
    if "instances" in request:
        named = _rows(request["instances"], model)
    elif "inputs" in request:
        named = _columns(request["inputs"], model)
    else:
        raise Refused(400, "Missing 'inputs' or 'instances' key.")
    feeds = {name: to_array(value, model.inputs[name]) for name, value in named.items()}
    try:
        outputs = model.run(feeds)
    except InputError as error:
        # Dtype and shape were right, so that what remains depends on the values that were sent.
        raise Refused(400, f"model '{model.name}' cannot compute this input: {error}") from error
    for name, array in outputs.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise Refused(400, f"output '{name}' is not finite for this input: are its numbers far out of range?")
    answer: Any = {name: array.tolist() for name, array in outputs.items()}
    if len(answer) == 1:
        answer = next(iter(answer.values()))  # one output: its name is dropped
    elif "instances" in request:
        count = len(request["instances"])
        if any(array.shape[:1] != (count,) for array in outputs.values()):
            raise Refused(400, "the outputs differ in their first dimension: ask in column form, with 'inputs'.")
        answer = [{name: rows[index] for name, rows in answer.items()} for index in range(count)]
    return json.dumps({"predictions" if "instances" in request else "outputs": answer}).encode()


def to_array(value: Any, tensor: Tensor) -> np.ndarray:
    """Turns nested lists into an array of the tensor's dtype and shape; raises Refused where they are anything else."""
    shape, inner = [], value
    while isinstance(inner, list):
        shape.append(len(inner))
        inner = inner[0] if inner else None
    fits = len(shape) == len(tensor.shape) and all(want in (-1, got) for want, got in zip(tensor.shape, shape))
    if not fits or 0 in shape:
        raise Refused(400, f"input '{tensor.name}' expects shape {list(tensor.shape)} (-1: any number), got {shape}.")
    found: set[type] = set()
    _collect(value, shape, tensor.name, found)
    expected, types = KINDS[tensor.dtype.kind]
    if wrong := found - types:
        names = ", ".join(sorted(JSON_NAMES[kind] for kind in wrong))
        raise Refused(400, f"input '{tensor.name}' expects {expected} ({tensor.v2_datatype}), got {names}.")
    try:
        with np.errstate(over="ignore"):  # 1e39 becomes infinite in float32, and is refused as such below
            array = np.array(value, dtype=tensor.dtype)
    except OverflowError:
        raise Refused(400, f"input '{tensor.name}' holds a number too large for {tensor.v2_datatype}.") from None
    if array.dtype.kind == "f" and not (finite := np.isfinite(array)).all():
        where = np.argwhere(~finite)[0].tolist()
        message = (
            f"expects finite numbers within {tensor.v2_datatype}, got NaN, Infinity or too large a one at {where}."
        )
        raise Refused(400, f"input '{tensor.name}' {message}")
    return array


def status(models: Models, name: str, version: int | None) -> dict[str, Any]:
    """TensorFlow Serving's `GET /v1/models/NAME[/versions/N]`: each version's state, the latest first."""
    versions = [known for known in models.versions().get(name, []) if version in (None, known)]
    if not versions:
        what = "any versions" if version is None else f"version {version}"
        raise Refused(404, f"Could not find {what} of model {name}")
    fine = {"error_code": "OK", "error_message": ""}
    states = [{"version": str(known), "state": "AVAILABLE", "status": fine} for known in versions]
    return {"model_version_status": states}


def tf_metadata(model: Model) -> dict[str, Any]:
    """TensorFlow Serving's `GET /v1/models/NAME[/versions/N]/metadata`."""

    def tensors(named: dict[str, Tensor]) -> dict[str, Any]:
        return {
            tensor.name: {
                "dtype": tensor.tf_dtype,
                "tensor_shape": {
                    "dim": [{"size": str(size), "name": ""} for size in tensor.shape],
                    "unknown_rank": False,
                },
                "name": tensor.name,
            }
            for tensor in named.values()
        }

    signature = {"inputs": tensors(model.inputs), "outputs": tensors(model.outputs)}
    signature |= {"method_name": "tensorflow/serving/predict"}
    return {
        "model_spec": {"name": model.name, "signature_name": "", "version": str(model.version)},
        "metadata": {"signature_def": {"signature_def": {SIGNATURE: signature}}},
    }


def v2_metadata(model: Model, versions: list[int]) -> dict[str, Any]:
    """The Open Inference Protocol's `GET /v2/models/NAME[/versions/N]`."""

    def tensors(named: dict[str, Tensor]) -> list[dict[str, Any]]:
        return [{"name": t.name, "datatype": t.v2_datatype, "shape": list(t.shape)} for t in named.values()]

    return {
        "name": model.name,
        "versions": [str(version) for version in versions],
        "platform": "onnx_onnxv1",
        "inputs": tensors(model.inputs),
        "outputs": tensors(model.outputs),
    }


def _parse(body: bytes) -> dict[str, Any]:
    if not body.strip():
        raise Refused(400, 'JSON Parse error: The document is empty; expected {"instances": [...]}.')
    try:
        request = json.loads(body)
    except RecursionError:
        raise Refused(400, "JSON Parse error: lists or objects are nested too deeply.") from None
    except ValueError as error:  # no JSON, no UTF-8, or a whole number of thousands of digits
        raise Refused(400, f"JSON Parse error: {str(error).split(';')[0]}.") from error
    if not isinstance(request, dict):
        raise Refused(
            400, f'JSON Value: is not object; expected {{"instances": [...]}}, got {JSON_NAMES[type(request)]}.'
        )
    return request


def _rows(instances: Any, model: Model) -> dict[str, Any]:
    """Row form: a list with one item a sample, each the input itself or an object with one key an input."""
    if not isinstance(instances, list):
        raise Refused(400, f"Expecting 'instances' to be a list/array, got {JSON_NAMES[type(instances)]}.")
    if not instances:
        raise Refused(400, "No values in 'instances' array.")
    objects = [isinstance(item, dict) for item in instances]
    if not any(objects):
        if len(model.inputs) > 1:
            names = ", ".join(model.inputs)
            raise Refused(400, f"instances is a plain list, but expecting list of objects with the inputs {names}.")
        return {next(iter(model.inputs)): instances}
    for index, item in enumerate(instances):
        if not objects[index]:
            raise Refused(400, f"Expecting object but got {JSON_NAMES[type(item)]} at item {index} of input list.")
        if item.keys() != model.inputs.keys():
            expected, got = ", ".join(model.inputs), ", ".join(item) or "none"
            message = f"Failed to process element: {index} of 'instances' list. keys must be equal to: {expected}"
            raise Refused(400, f"{message}; got {got[:200]}.")
    return {name: [item[name] for item in instances] for name in model.inputs}


def _columns(inputs: Any, model: Model) -> dict[str, Any]:
    """Column form: the one input itself, or an object with a whole batch for each input; other keys are ignored."""
    if not isinstance(inputs, dict):
        if len(model.inputs) > 1:
            names = ", ".join(model.inputs)
            raise Refused(400, f"inputs is a plain value/list, but expecting an object with the inputs {names}.")
        return {next(iter(model.inputs)): inputs}
    for name in model.inputs:
        if name not in inputs:
            raise Refused(400, f"Missing named input: {name} in 'inputs' object.")
    return {name: inputs[name] for name in model.inputs}


def _collect(value: Any, shape: list[int], name: str, found: set[type]) -> None:
    """Adds the types of all numbers to `found`; refuses lists whose lengths differ. As deep as the model's own rank."""
    if not shape:
        found.add(type(value))
        return
    if not isinstance(value, list) or len(value) != shape[0]:
        got = f"a list of {len(value)}" if isinstance(value, list) else JSON_NAMES[type(value)]
        raise Refused(400, f"input '{name}' is ragged: expected a list of {shape[0]} as its first one is, got {got}.")
    if len(shape) == 1:
        found.update(map(type, value))
        if list in found:
            raise Refused(400, f"input '{name}' is ragged: a list stands where its first item is a number.")
        return
    for item in value:
        _collect(item, shape[1:], name, found)
