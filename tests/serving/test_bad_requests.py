"""Mistakes of those who ask: each gets a status, and a sentence that says what was expected."""

import json

import pytest

from tests.serving.conftest import BODY_LIMIT, DIGITS, IMAGE

LOOKUP, PAIR = "/v1/models/lookup:predict", "/v1/models/pair:predict"


def images(value: object) -> dict:
    return {"instances": [[[[value] * 8] * 8]]}


TEN = [[[0.5] * 8] * 9]
RAGGED = [[[[0] * 8] * 7 + [[0] * 7]]]
MANY = b"1" * 4000
TABLE = {
    "not JSON": (DIGITS, b"{instances: 1}", 400, "JSON Parse error"),
    "not UTF-8": (DIGITS, b'{"instances": "\xff\xfe"}', 400, "JSON Parse error"),
    "UTF-16": (DIGITS, json.dumps({"instances": [IMAGE]}).encode("utf-16"), 400, "JSON"),
    "an empty body": (DIGITS, b"", 400, "The document is empty"),
    "only spaces": (DIGITS, b" \n", 400, "The document is empty"),
    "no object": (DIGITS, b"[1, 2]", 400, "got a list"),
    "nested too deeply": (DIGITS, b"[" * 50_000, 400, "nested too deeply"),
    "deep but closed": (DIGITS, b'{"instances": ' + b"[" * 40_000 + b"]" * 40_000 + b"}", 400, "nested too deeply"),
    "as deep as the parser goes": (DIGITS, b'{"instances": ' + b"[" * 1000 + b"]" * 1000 + b"}", 400, "expects shape"),
    "deep in the second row": (
        "/v1/models/text:predict",
        b'{"instances": ["a", ' + b"[" * 900 + b"]" * 900 + b"]}",
        400,
        "ragged",
    ),
    "both forms": (DIGITS, {"instances": [IMAGE], "inputs": [IMAGE]}, 400, "only one of 'inputs' or 'instances'"),
    "neither form": (DIGITS, {"pixels": [IMAGE]}, 400, "Missing 'inputs' or 'instances' key"),
    "instances no list": (DIGITS, {"instances": 1.0}, 400, "Expecting 'instances' to be a list/array, got a decimal"),
    "no instances": (DIGITS, {"instances": []}, 400, "No values in 'instances' array"),
    "no inputs": (DIGITS, {"inputs": []}, 400, "expects shape [-1, 1, 8, 8] (-1: any number), got [0]"),
    "ragged": (DIGITS, {"instances": RAGGED}, 400, "ragged: expected a list of 8 as its first one is, got a list of 7"),
    "a list among numbers": (DIGITS, {"instances": [[[[0] * 7 + [[1]]] * 8]]}, 400, "ragged"),
    "a number among lists": (DIGITS, {"instances": [IMAGE, 3]}, 400, "ragged"),
    "nine rows": (DIGITS, {"instances": [TEN]}, 400, "expects shape [-1, 1, 8, 8] (-1: any number), got [1, 1, 9, 8]"),
    "no batch": (DIGITS, {"instances": IMAGE}, 400, "got [1, 8, 8]"),
    "flat": (DIGITS, {"instances": [[0.5] * 64]}, 400, "got [1, 64]"),
    "a string": (DIGITS, images("0.5"), 400, "expects numbers (FP32), got a string"),
    "null": (DIGITS, images(None), 400, "got null"),
    "true": (DIGITS, images(True), 400, "got true or false"),
    "an object": (DIGITS, images({"b64": "AA=="}), 400, "got an object"),
    "too large for float32": (DIGITS, images(1e39), 400, "too large for FP32"),
    "too large for float16": ("/v1/models/halves:predict", {"instances": [[1e5, 0]]}, 400, "too large for FP16"),
    "too large for any float": (DIGITS, images(10**400), 400, "too large for FP32"),
    "thousands of digits": (DIGITS, b'{"instances": ' + b"1" * 5000 + b"}", 400, "JSON Parse error"),
    "decimals for whole numbers": (LOOKUP, {"instances": [1.5]}, 400, "expects whole numbers (INT64)"),
    "not a number for a whole one": (LOOKUP, {"instances": [float("nan")]}, 400, "expects whole numbers (INT64)"),
    "too large for int64": (LOOKUP, {"instances": [2**70]}, 400, "too large for INT64"),
    "too large for a byte": ("/v1/models/bytes:predict", {"instances": [[0, 0, 0, 256]]}, 400, "too large for UINT8"),
    "negative for a byte": ("/v1/models/bytes:predict", {"instances": [[0, 0, 0, -1]]}, 400, "too large for UINT8"),
    "a number for true": ("/v1/models/flags:predict", {"instances": [1]}, 400, "expects true or false (BOOL)"),
    "a number for a string": ("/v1/models/text:predict", {"instances": [1]}, 400, "expects strings (BYTES)"),
    "a decimal among strings": ("/v1/models/text:predict", {"instances": ["a", 1.5]}, 400, "got a decimal number"),
    "half of a character": ("/v1/models/text:predict", b'{"instances": ["\\ud800"]}', 400, "cannot compute this input"),
    "what the model refuses": (LOOKUP, {"instances": [7]}, 400, "model 'lookup' cannot compute this input"),
    "another number of rows": ("/v1/models/fixed:predict", {"instances": [[1, 2, 3]]}, 400, "expects shape [2, 3]"),
    "different numbers of rows": (PAIR, {"inputs": {"a": [[1, 2]], "b": [1, 2]}}, 400, "one number of samples in all"),
    "an unknown input": (DIGITS, {"instances": [{"image": IMAGE}]}, 400, "keys must be equal to: pixels; got image"),
    "an unknown column": (DIGITS, {"inputs": {"image": [IMAGE]}}, 400, "Missing named input: pixels"),
    "unnamed rows for two inputs": (PAIR, {"instances": [1]}, 400, "expecting list of objects"),
    "unnamed columns for two inputs": (PAIR, {"inputs": [1]}, 400, "expecting an object"),
    "rows for no input": ("/v1/models/constant:predict", {"instances": [1]}, 400, "expecting list of objects"),
    "a column for no input": ("/v1/models/constant:predict", {"inputs": 1}, 400, "expecting an object"),
    "rows and objects mixed": (DIGITS, {"instances": [{"pixels": IMAGE}, IMAGE]}, 400, "got a list at item 1"),
    "an unknown signature": (DIGITS, {"instances": [IMAGE], "signature_name": "x"}, 400, '"x" not found in signature'),
    "a signature no string": (DIGITS, {"instances": [IMAGE], "signature_name": 3}, 400, "must be a string value"),
    "too large": (DIGITS, b" " * (BODY_LIMIT + 1), 413, f"at most {BODY_LIMIT} bytes"),
    "an unknown model": ("/v1/models/x:predict", images(1), 404, "Servable not found for request: Latest(x)"),
    "an unknown version": ("/v1/models/digits/versions/7:predict", images(1), 404, "Specific(digits, 7)"),
    "an unknown label": ("/v1/models/digits/labels/new:predict", images(1), 400, "Unrecognized servable version label"),
    "version 0": ("/v1/models/digits/versions/0:predict", images(1), 404, "Specific(digits, 0)"),
    "a huge version": ("/v1/models/digits/versions/" + "9" * 30 + ":predict", images(1), 400, "to numeric"),
    "no verb": ("/v1/models/digits", images(1), 400, "Malformed request: POST /v1/models/digits"),
    "an unknown verb": ("/v1/models/digits:guess", images(1), 400, "Malformed request: POST"),
    "no version number": ("/v1/models/digits/versions/one:predict", images(1), 400, "Malformed request: POST"),
    "another path": ("/v1/predict", images(1), 400, "Malformed request: POST /v1/predict"),
    "classify": ("/v1/models/digits:classify", {"examples": [{"x": 1}]}, 400, "Expected classify signature"),
    "nowhere": ("/predict", images(1), 404, "POST /predict: there is nothing here"),
}

INFER = "/v2/models/pair/infer"
A = {"name": "a", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}
B = {"name": "b", "shape": [1], "datatype": "INT64", "data": [3]}


def changed(**changes: object) -> dict:
    """A good request, but for its first input; what is None there is left out."""
    return {"inputs": [{key: value for key, value in (A | changes).items() if value is not None}, B]}


def binary(size: object, **changes: object) -> dict:
    return changed(data=None, parameters={"binary_data_size": size}, **changes)


def good(**more: object) -> dict:
    return {"inputs": [A, B]} | more


V2_TABLE = {
    "not JSON": (b"{", "JSON Parse error"),
    "no inputs": ({}, "'inputs' expects a list of objects"),
    "inputs no list": ({"inputs": {"a": 1}}, "'inputs' expects a list of objects"),
    "an input no object": ({"inputs": [1]}, "'inputs' expects a list of objects"),
    "an input missing": ({"inputs": [A]}, "'inputs' lacks b"),
    "an input twice": ({"inputs": [A, A]}, "each of them once, got the name 'a'"),
    "an unknown input": (changed(name="c"), "'inputs' expects a, b, each of them once, got the name 'c'"),
    "a name no string": (changed(name=["a"]), "got the name a list"),
    "no name": (changed(name=None), "got the name null"),
    "another datatype": (changed(datatype="FP64"), "expects datatype FP32, got 'FP64'"),
    "no datatype": (changed(datatype=None), "expects datatype FP32, got null"),
    "no shape": (changed(shape=None), "expects 'shape' to be a list of whole numbers, got null"),
    "a shape of decimals": (changed(shape=[1.0, 2]), "expects 'shape' to be a list"),
    "a shape of truths": (changed(shape=[True, 2]), "expects 'shape' to be a list"),
    "a negative shape": (changed(shape=[-1, 2]), "expects 'shape' to be a list"),
    "a shape of nothing": (changed(shape=[0, 2], data=[]), "expects shape [-1, 2]"),
    "another rank": (changed(shape=[2]), "expects shape [-1, 2] (-1: any number), got [2]"),
    "another shape": (changed(shape=[2, 2]), "declares shape [2, 2], but its data have shape [2]"),
    "a huge shape": (changed(shape=[10**18, 2]), "declares shape [1000000000000000000, 2]"),
    "a shape beyond all numbers": (
        b'{"inputs": [{"name": "x", "datatype": "FP32", "shape": [' + MANY + b"," + MANY + b'], "data": [NaN]}]}',
        "expects 'shape' to be a list",
    ),
    "too many dimensions": (changed(shape=[1] * 10_000), "expects shape [-1, 2]"),
    "nested otherwise": (changed(data=[[[1, 2]]]), "but its data have shape [1, 1, 2]"),
    "data no list": (changed(data=1), "but its data have shape []"),
    "no data": (changed(data=None), "has neither 'data' nor the parameter"),
    "data twice": (changed(parameters={"binary_data_size": 8}), "has both 'data' and the parameter"),
    "parameters no object": (changed(parameters=[1]), "'parameters' of input 'a' expects an object"),
    "parameters of the request no object": (good(parameters=1), "'parameters' of the request expects an object"),
    "an id no string": (good(id=7), "'id' expects a string of at most 1024 characters, got 7"),
    "a long id": (good(id="a" * 1025), "'id' expects a string"),
    "an id of half a character": (b'{"id": "\\ud800", ' + json.dumps(good()).encode()[1:], "'id' expects a string"),
    "a timeout no number": (good(parameters={"timeout": "1"}), "'timeout' expects whole microseconds"),
    "a negative timeout": (good(parameters={"timeout": -1}), "'timeout' expects whole microseconds"),
    "a timeout beyond all floats": (
        b'{"parameters": {"timeout": 1' + MANY + b'}, "x": NaN, ' + json.dumps(good()).encode()[1:],
        "'timeout' expects whole microseconds",
    ),
    "outputs no list": (good(outputs={"name": "same"}), "'outputs' expects a list of objects"),
    "an unknown output": (good(outputs=[{"name": "x"}]), "'outputs' expects names among twice, same"),
    "an output twice": (good(outputs=[{"name": "same"}] * 2), "each once, got 'same'"),
    "a flag no truth": (good(outputs=[{"name": "same", "parameters": {"binary_data": 1}}]), "expects true or false"),
    "a flag of all no truth": (good(parameters={"binary_data_output": "yes"}), "expects true or false"),
    "classification": (good(outputs=[{"name": "same", "parameters": {"classification": 2}}]), "is not offered"),
    "binary without any": (binary(8), "declares a binary_data_size of 8; 0 bytes are left"),
    "a binary size no number": (binary("8"), "declares a binary_data_size of '8'"),
    "a negative binary size": (binary(-8), "declares a binary_data_size of -8"),
    "a huge binary size": (binary(2**63), "declares a binary_data_size of 9223372036854775808"),
}
BINARY_TABLE = {
    "fewer bytes than declared": (binary(8), b"1234", "declares a binary_data_size of 8; 4 bytes are left"),
    "more bytes than declared": (
        binary(8),
        b"123456789",
        "expected 8 bytes after the JSON, as its inputs declare, got 9",
    ),
    "bytes that nothing declares": (good(), b"1", "expected 0 bytes after the JSON"),
    "fewer bytes than its shape": (binary(4), b"1234", "of shape [1, 2] expects 8 bytes of FP32, got 4"),
    "more bytes than its shape": (binary(12), b"123412341234", "of shape [1, 2] expects 8 bytes of FP32, got 12"),
    "a huge shape": (binary(8, shape=[2**62, 2]), b"12341234", "bytes of FP32, got 8"),
    "a shape that it does not take": (binary(8, shape=[2, 1]), b"12341234", "expects shape [-1, 2]"),
}


@pytest.mark.parametrize("case", TABLE)
def test_a_bad_request_gets_a_status_and_a_sentence(server, case):
    path, body, status, sentence = TABLE[case]
    answer = server.ask("POST", path, body)
    assert answer.status == status and sentence in answer.error and len(answer.body) < 1000


@pytest.mark.parametrize("case", V2_TABLE)
def test_a_bad_inference_gets_a_400_and_a_sentence(server, case):
    body, sentence = V2_TABLE[case]
    path = "/v2/models/copy/infer" if isinstance(body, bytes) and b'"x", "d' in body else INFER
    answer = server.ask("POST", path, body)
    assert answer.status == 400 and sentence in answer.error and len(answer.body) < 1000


@pytest.mark.parametrize("case", BINARY_TABLE)
def test_binary_data_that_lie_get_a_400_and_a_sentence(server, case):
    request, raw, sentence = BINARY_TABLE[case]
    head = json.dumps(request).encode()
    answer = server.ask("POST", INFER, head + raw, {"Inference-Header-Content-Length": str(len(head))})
    assert answer.status == 400 and sentence in answer.error


@pytest.mark.parametrize("length", ["", "-1", "x", "1e3", "999999", "9" * 30, "+5", "²"])
def test_a_length_of_the_json_that_cannot_be_is_refused(server, length):
    body = json.dumps(good()).encode()
    answer = server.ask("POST", INFER, body, {"Inference-Header-Content-Length": length.encode("latin-1")})
    assert answer.status == 400 and "inference-header-content-length expects the length of the JSON" in answer.error


@pytest.mark.parametrize("length", ["1", "10"])
def test_a_length_that_cuts_the_json_off_is_refused(server, length):
    body = json.dumps(good()).encode()
    answer = server.ask("POST", INFER, body, {"Inference-Header-Content-Length": length})
    assert answer.status == 400 and "JSON Parse error" in answer.error


@pytest.mark.parametrize("raw", [b"\2", b"\xff"])
def test_a_byte_that_is_neither_true_nor_false_is_refused(server, raw):
    tensor = {"name": "flag", "datatype": "BOOL", "shape": [1], "parameters": {"binary_data_size": 1}}
    head = json.dumps({"inputs": [tensor]}).encode()
    headers = {"Inference-Header-Content-Length": str(len(head))}
    answer = server.ask("POST", "/v2/models/flags/infer", head + raw, headers)
    assert answer.status == 400 and "bytes of 0 or 1" in answer.error


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", DIGITS, "POST"),
        ("DELETE", "/v1/models/digits", "GET, HEAD, POST"),
        ("GET", INFER, "POST"),
        ("POST", "/v2/models/pair", "GET, HEAD"),
        ("POST", "/v2/health/ready", "GET, HEAD"),
        ("POST", "/metrics", "GET, HEAD"),
        ("PUT", "/", "GET, HEAD"),
        ("OPTIONS", DIGITS, "POST"),
    ],
)
def test_a_wrong_method_is_a_405_that_names_the_right_one(server, method, path, allow):
    answer = server.ask(method, path)
    assert answer.status == 405 and allow.split(", ")[0] in answer.error and method in answer.error
    assert answer.headers["allow"] == allow


def test_compressed_bodies_are_refused(server):
    answer = server.ask("POST", DIGITS, b"x", {"Content-Encoding": "gzip"})
    assert answer.status == 415 and "without Content-Encoding, got gzip" in answer.error
    assert server.ask("POST", DIGITS, {"instances": [IMAGE]}, {"Content-Encoding": "Identity"}).status == 200


def test_after_all_of_them_the_server_answers_right(server):
    assert server.works()
