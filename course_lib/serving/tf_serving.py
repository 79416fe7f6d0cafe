"""TensorFlow Serving's REST API: addresses, requests, answers.

Source: tensorflow/serving, `g3doc/api_rest.md`, `model_servers/http_rest_api_util.cc`, `util/json_tensor.cc`. Two
differences: a wrong method is a 405 rather than a 400, and error messages do not repeat the request's data.
"""

import base64
import re
from functools import lru_cache
from typing import Any

import numpy as np

from course_lib.serving.errors import Refused
from course_lib.serving.models import Feeds, Model
from course_lib.serving.store import Served, Store
from course_lib.serving.tensors import JSON_NAMES, Tensor, dump_json, is_base64, parse_json, to_array

SIGNATURE = "serving_default"
EXAMPLE = '{"instances": [...]}'
ADDRESS = re.compile(
    "/v1/models(?:/(?P<name>[^/:]+)(?:/versions/(?P<version>[0-9]+)|/labels/(?P<label>[^/:]+))?"
    "(?:(?P<metadata>/metadata)|:(?P<verb>predict|classify|regress))?)?"
)
read_address = lru_cache(maxsize=128)(ADDRESS.fullmatch)
"""The parts of an address by name, or None: most requests ask for the few that the last ones asked for."""


def find(store: Store, address: re.Match[str]) -> Model:
    """The version that the address names, by its number, its label, or as the latest. Raises Refused."""
    name, label = address["name"], address["label"]
    served = store.models.get(name)
    version = _number(address["version"])
    if served and label and label not in served.labels:
        raise Refused(400, f"Unrecognized servable version label: {label[:200]}. {_there(store)}")
    model = served.find(served.labels[label] if label else version) if served else None
    if model is None:
        wanted = f"Latest({name})" if version is None else f"Specific({name}, {version})"
        raise Refused(404, f"Servable not found for request: {wanted}. {_there(store)}")
    return model


def parse(model: Model, body: bytes) -> tuple[Feeds, bool]:
    """The inputs of a `:predict` by name, and whether it came in row form (`instances`). Raises Refused."""
    request = parse_json(body, EXAMPLE)
    signature = request.get("signature_name", SIGNATURE)
    if not isinstance(signature, str):
        raise Refused(400, f"'signature_name' key must be a string value, got {JSON_NAMES[type(signature)]}.")
    if signature not in ("", SIGNATURE):
        message = f'Serving signature name: "{signature[:200]}" not found in signature def; there is {SIGNATURE}.'
        raise Refused(400, message)
    rows = "instances" in request
    if rows and "inputs" in request:
        raise Refused(400, "Not formatted correctly: expecting only one of 'inputs' or 'instances' keys, got both.")
    if rows:
        named = _rows(request["instances"], model)
    elif "inputs" in request:
        named = _columns(request["inputs"], model)
    else:
        raise Refused(400, "Missing 'inputs' or 'instances' key.")
    return {name: to_array(value, model.inputs[name]) for name, value in named.items()}, rows


def answer(outputs: Feeds, rows: bool, count: int) -> bytes:
    """The body of the answer to `count` instances: `predictions` where they came as rows, else `outputs`.

    Raises Refused where outputs that are not of one length would have to be told row by row.
    """
    outputs = {name: _as_base64(array) if _holds_bytes(name, array) else array for name, array in outputs.items()}
    told: Any = outputs
    if len(outputs) == 1:
        (told,) = outputs.values()  # one output: its name is dropped
    elif rows:
        if any(array.shape[:1] != (count,) for array in outputs.values()):
            raise Refused(400, "the outputs differ in their first dimension: ask in column form, with 'inputs'.")
        lists = {name: array.tolist() for name, array in outputs.items()}
        told = [{name: values[row] for name, values in lists.items()} for row in range(count)]
    return dump_json({"predictions" if rows else "outputs": told})


def _holds_bytes(name: str, array: np.ndarray) -> bool:
    """TensorFlow Serving's rule: strings in an output whose name ends so are bytes."""
    return array.dtype.kind == "O" and name.endswith("_bytes")


def _as_base64(array: np.ndarray) -> np.ndarray:
    coded = np.empty(array.shape, object)
    coded.flat = [{"b64": base64.b64encode(text.encode()).decode()} for text in array.flat]
    return coded


def status(store: Store, address: re.Match[str]) -> dict[str, Any]:
    """`GET /v1/models/NAME[/versions/N|/labels/L]`: the state of each version, the latest first. Raises Refused."""
    name = address["name"]
    served = store.models.get(name, Served())
    version = find(store, address).version if address["label"] else _number(address["version"])
    states = {number: ("AVAILABLE", "OK", "") for number in served.versions}
    states |= {number: ("END", "FAILED_PRECONDITION", reason) for number, reason in served.refused.items()}
    wanted = [number for number in sorted(states, reverse=True) if version in (None, number)]
    if not wanted:
        what = "any versions" if version is None else f"version {version}"
        raise Refused(404, f"Could not find {what} of model {name}")
    return {
        "model_version_status": [
            {"version": str(number), "state": state, "status": {"error_code": code, "error_message": reason}}
            for number in wanted
            for state, code, reason in [states[number]]
        ]
    }


def metadata(model: Model) -> dict[str, Any]:
    """`GET /v1/models/NAME[/versions/N|/labels/L]/metadata`."""
    signature = {"inputs": _described(model.inputs), "outputs": _described(model.outputs)}
    signature |= {"method_name": "tensorflow/serving/predict"}
    return {
        "model_spec": {"name": model.name, "signature_name": "", "version": str(model.version)},
        "metadata": {"signature_def": {"signature_def": {SIGNATURE: signature}}},
    }


def _described(tensors: dict[str, Tensor]) -> dict[str, Any]:
    return {
        tensor.name: {
            "dtype": tensor.tf_dtype,
            "tensor_shape": {
                "dim": [{"size": str(size), "name": ""} for size in tensor.shape or ()],
                "unknown_rank": tensor.shape is None,
            },
            "name": tensor.name,
        }
        for tensor in tensors.values()
    }


def _number(version: str | None) -> int | None:
    if version and len(version) > 18:
        raise Refused(400, f"Failed to convert version: {version[:40]} to numeric.")
    return int(version) if version else None


def _there(store: Store) -> str:
    return f"This server has {store}."


def _rows(instances: Any, model: Model) -> dict[str, Any]:
    """Row form: a list with one item a sample, each the input itself or an object with one key an input."""
    if not isinstance(instances, list):
        raise Refused(400, f"Expecting 'instances' to be a list/array, got {JSON_NAMES[type(instances)]}.")
    if not instances:
        raise Refused(400, "No values in 'instances' array.")
    objects = [isinstance(item, dict) and not is_base64(item) for item in instances]
    if not any(objects):
        if len(model.inputs) != 1:
            names = ", ".join(model.inputs) or "none"
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
    if not isinstance(inputs, dict) or is_base64(inputs):
        if len(model.inputs) != 1:
            names = ", ".join(model.inputs) or "none"
            raise Refused(400, f"inputs is a plain value/list, but expecting an object with the inputs {names}.")
        return {next(iter(model.inputs)): inputs}
    for name in model.inputs:
        if name not in inputs:
            raise Refused(400, f"Missing named input: {name} in 'inputs' object.")
    return {name: inputs[name] for name in model.inputs}
