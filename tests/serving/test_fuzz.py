"""Requests made from the protocols' description, then spoilt: in their structure, their types, their sizes, their bytes.

Whatever comes, the answer is one of the statuses below, an error has the protocols' form, and the next good request is
answered right.
"""

import copy
import json
import math
from collections.abc import Callable
from typing import Any

import hypothesis
import hypothesis.strategies as st
import numpy as np

from tests.serving.conftest import IMAGE, Answer, logits

ALLOWED = {200, 400, 404, 405, 413, 415, 429}
HEADER = "Inference-Header-Content-Length"


def fuzz(examples: int, *strategies: st.SearchStrategy) -> Callable:
    """So many examples, the same ones each time; fixtures come first, then what the strategies draw."""
    settings = hypothesis.settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(hypothesis.HealthCheck),
        phases=(hypothesis.Phase.generate,),
    )
    return lambda test: settings(hypothesis.given(*strategies)(test))


FLOATS = st.floats(width=32, allow_nan=True)
VALUES = {
    "FP32": FLOATS,
    "FP16": st.floats(width=16),
    "INT64": st.integers(-(2**63), 2**63 - 1),
    "UINT8": st.integers(0, 255),
    "BOOL": st.booleans(),
    "BYTES": st.text(max_size=5),
}
NUMPY = {"FP32": "<f4", "FP16": "<f2", "INT64": "<i8", "UINT8": "u1", "BOOL": "?"}
# Model -> input name -> datatype, shape; n is the number of samples, one for all inputs.
MODELS: dict[str, dict[str, tuple[str, list]]] = {
    "copy": {"x": ("FP32", ["n", 3])},
    "pair": {"a": ("FP32", ["n", 2]), "b": ("INT64", ["n"])},
    "lookup": {"index": ("INT64", ["n"])},
    "text": {"text": ("BYTES", ["n"])},
    "flags": {"flag": ("BOOL", ["n"])},
    "bytes": {"x": ("UINT8", ["n", 4])},
    "halves": {"x": ("FP16", ["n", 2])},
    "fixed": {"x": ("FP32", [2, 3])},
    "dynamic": {"x": ("FP32", ["n", 2])},
    "constant": {},
}


@st.composite
def tensors(draw: st.DrawFn) -> tuple[str, dict[str, tuple[str, list[int], list]]]:
    """A model, and name -> (datatype, shape, flat data) of inputs that fit it."""
    model = draw(st.sampled_from(sorted(MODELS)))
    samples, given = draw(st.integers(1, 3)), {}
    for name, (datatype, axes) in MODELS[model].items():
        shape = [samples if axis == "n" else axis for axis in axes]
        values = st.integers(-3, 2) if model == "lookup" else VALUES[datatype]
        size = math.prod(shape)
        given[name] = (datatype, shape, draw(st.lists(values, min_size=size, max_size=size)))
    return model, given


def nested(shape: list[int], flat: list) -> list:
    return np.array([*flat, None], dtype=object)[:-1].reshape(shape).tolist()


@st.composite
def predicts(draw: st.DrawFn) -> tuple[str, dict]:
    """TensorFlow Serving's form: a path, and a request that is right."""
    model, given = draw(tensors())
    columns = {name: nested(shape, flat) for name, (_, shape, flat) in given.items()}
    if not columns or draw(st.booleans()):
        request: dict = {"inputs": columns}
        if len(columns) == 1 and draw(st.booleans()):
            request = {"inputs": next(iter(columns.values()))}
    elif len(columns) == 1 and draw(st.booleans()):
        request = {"instances": next(iter(columns.values()))}
    else:
        request = {"instances": [dict(zip(columns, row)) for row in zip(*columns.values())]}
    if draw(st.booleans()):
        request["signature_name"] = "serving_default"
    address = draw(st.sampled_from(["", "", "/versions/1"]))
    return f"/v1/models/{model}{address}:predict", request


@st.composite
def infers(draw: st.DrawFn) -> tuple[str, dict, bytes, bool]:
    """The Open Inference Protocol's: a path, a request that is right, what follows it in binary, whether it may."""
    model, given = draw(tensors())
    inputs, raw, any_binary = [], b"", False
    for name, (datatype, shape, flat) in draw(st.permutations(list(given.items()))):
        tensor: dict[str, Any] = {"name": name, "datatype": datatype, "shape": shape}
        if draw(st.booleans()):
            if datatype == "BYTES":
                texts = [text.encode() for text in flat]
                chunk = b"".join(len(text).to_bytes(4, "little") + text for text in texts)
            else:
                chunk = np.array(flat, NUMPY[datatype]).tobytes()
            tensor["parameters"] = {"binary_data_size": len(chunk)}
            raw, any_binary = raw + chunk, True
        else:
            tensor["data"] = flat if draw(st.booleans()) else nested(shape, flat)
        inputs.append(tensor)
    request: dict[str, Any] = {"inputs": inputs}
    if draw(st.booleans()):
        request["id"] = draw(st.text(st.characters(exclude_categories=["Cs"]), max_size=5))
    if draw(st.booleans()):
        request["parameters"] = {"binary_data_output": draw(st.booleans()), "timeout": 10_000_000}
    return f"/v2/models/{model}/infer", request, raw, any_binary


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([2**63, -(2**63) - 1, 2**64, 10**400, -1, 0, 10**18])
    | st.floats()
    | st.text(max_size=3)
    | st.sampled_from(["\ud800", "FP32", "BYTES", "x", "\0"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


def places(value: Any, at: tuple = ()) -> list[tuple]:
    """The paths to everything within `value`."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [at, *(place for key, inner in items for place in places(inner, (*at, key)))]


@st.composite
def spoilt(draw: st.DrawFn, request: dict) -> Any:
    """The request with one to three places changed, dropped, doubled, wrapped, or swapped for another."""
    holder = {"request": copy.deepcopy(request)}
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(places(holder)[1:] or [("request",)]))
        within = holder
        for key in path[:-1]:
            within = within[key]
        key, change = path[-1], draw(st.sampled_from(["value", "value", "drop", "double", "wrap", "unwrap", "key"]))
        if change == "drop" and len(path) > 1:
            del within[key]
        elif change == "double" and isinstance(within, list):
            within.insert(key, copy.deepcopy(within[key]))
        elif change == "wrap":
            within[key] = [within[key]]
        elif change == "unwrap" and isinstance(within[key], list) and within[key]:
            within[key] = within[key][0]
        elif change == "key" and isinstance(within[key], dict):
            within[key][draw(st.sampled_from(["b64", "data", "parameters", "name", "x"]))] = draw(JSON)
        else:
            within[key] = draw(JSON)
    return holder.get("request")


@st.composite
def garbled(draw: st.DrawFn, body: bytes) -> bytes:
    """Some bytes changed, put in, taken out, or the end cut off."""
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(body)))
        piece = draw(
            st.sampled_from([b"", b"[", b"]", b"{", b'"', b",", b"NaN", b"\xff", b"\0", b"1e999", b"\\ud800", b" "])
        )
        body = body[:at] + piece + body[at + draw(st.integers(0, 4)) :]
    return body[: draw(st.integers(0, len(body)))] if draw(st.integers(0, 9)) == 0 else body


def is_well(answer: Answer, local: Any, *asked: object) -> None:
    assert answer.status in ALLOWED, (asked, answer)
    if answer.status != 200:
        assert answer.error and answer.headers["content-type"] == "application/json", asked
    good = local.ask("POST", "/v1/models/digits/versions/1:predict", {"instances": [IMAGE]})
    np.testing.assert_allclose(good.json["predictions"], logits([IMAGE]), rtol=1e-5, atol=1e-4)


@fuzz(150, predicts())
def test_every_request_of_tensorflow_servings_form_is_answered(local, asked):
    path, request = asked
    answer = local.ask("POST", path, request)
    refused_by_model = "lookup" in path and answer.status == 400 and "cannot compute" in answer.error
    assert refused_by_model or answer.status == 200, (path, request, answer)
    if path.startswith("/v1/models/copy") and "inputs" not in request:
        sent = [row["x"] if isinstance(row, dict) else row for row in request["instances"]]
        np.testing.assert_array_equal(np.float32(answer.json["predictions"]), np.float32(sent))


@fuzz(150, infers())
def test_every_request_of_the_open_inference_protocol_is_answered(local, asked):
    path, request, raw, binary = asked
    head = json.dumps(request).encode()
    answer = local.ask("POST", path, head + raw, {HEADER: str(len(head))} if binary else {})
    refused = answer.status == 400 and ("cannot compute this input" in answer.error or "not finite" in answer.error)
    assert refused or answer.status == 200, (path, request, answer)
    if answer.status == 200 and "id" in request:
        assert json.loads(answer.body[: int(answer.headers.get(HEADER.lower(), 10**6))])["id"] == request["id"]


@fuzz(800, st.data())
def test_no_spoilt_request_of_tensorflow_servings_form_does_harm(local, data):
    path, request = data.draw(predicts())
    body = data.draw(garbled(json.dumps(data.draw(spoilt(request))).encode()))
    is_well(local.ask("POST", path, body), local, path, body)


@fuzz(800, st.data())
def test_no_spoilt_request_of_the_open_inference_protocol_does_harm(local, data):
    path, request, raw, binary = data.draw(infers())
    head = json.dumps(data.draw(spoilt(request))).encode()
    if data.draw(st.booleans()):
        head = data.draw(garbled(head))
    length = str(len(head) + data.draw(st.sampled_from([0, 0, 0, 0, -1, 1, 10**6])))
    headers = {HEADER: data.draw(st.sampled_from([length, length, length, "", "x"]))} if binary else {}
    if data.draw(st.booleans()):
        raw = data.draw(garbled(raw))
    is_well(local.ask("POST", path, head + raw, headers), local, path, head, raw, headers)


WORDS = st.sampled_from(["v1", "v2", "models", "digits", "versions", "labels", "1", "stable", "infer", "ready", ""])
NAMES = st.sampled_from([HEADER, "X-Request-Id", "X-Request-Timeout-Ms", "Content-Encoding", "Content-Type"])


@fuzz(
    300,
    st.sampled_from(["GET", "POST", "PUT", "HEAD", "BREW"]),
    st.lists(WORDS | st.text(max_size=4), max_size=7),
    st.sampled_from(["", ":predict", ":classify", "/metadata", ":", "%00"]),
    st.dictionaries(
        NAMES, st.text(st.characters(max_codepoint=255, exclude_categories=["Cc"]), max_size=5), max_size=2
    ),
)
def test_no_path_method_or_header_does_harm(local, method, parts, tail, headers):
    path = "/" + "/".join(parts) + tail
    answer = local.ask(method, path, {"instances": [IMAGE]}, headers)
    assert answer.status in ALLOWED | {504}, (method, path, headers, answer)  # 504: a time-out of 1 ms, perhaps
    assert answer.status == 200 or answer.error
