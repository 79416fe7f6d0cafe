"""The Open Inference Protocol v2 over REST, and its binary extension."""

import json
import struct

import numpy as np
import pytest
from onnx import TensorProto, helper

from course_lib.serving import open_inference
from tests.serving.conftest import IMAGE, Local, logits, save, write

HEADER = "Inference-Header-Content-Length"
DTYPES = {"FP32": np.float32, "INT64": np.int64, "FP16": np.float16, "BOOL": np.bool_, "UINT8": np.uint8}


def tensor(name: str, datatype: str, shape: list, data: object = None, size: int | None = None, **more: object) -> dict:
    sent = {"name": name, "datatype": datatype, "shape": shape} | more
    if data is not None:
        sent["data"] = data
    if size is not None:
        sent["parameters"] = {"binary_data_size": size}
    return sent


def ask(local, model: str, inputs: list, binary: bytes | None = None, **more: object):
    head = json.dumps({"inputs": inputs} | more).encode()
    headers = {} if binary is None else {HEADER: str(len(head))}
    return local.ask("POST", f"/v2/models/{model}/infer", head + (binary or b""), headers)


def binary_outputs(answer) -> dict[str, bytes]:
    """Each output's name and bytes, as the answer's own header and sizes cut them."""
    at = int(answer.headers[HEADER.lower()])
    assert answer.headers["content-type"] == "application/octet-stream"
    found = {}
    for each in json.loads(answer.body[:at])["outputs"]:
        size = each["parameters"]["binary_data_size"]
        found[each["name"]] = answer.body[at : at + size]
        at += size
    assert at == len(answer.body)
    return found


PAIR = [tensor("a", "FP32", [2, 2], [[1, 2.5], [3, 4]]), tensor("b", "INT64", [2], [7, 8])]
DATA = {"twice": [2.0, 5.0, 6.0, 8.0], "same": [7, 8]}


@pytest.mark.parametrize("flat", [False, True])
def test_data_come_nested_or_flat_and_go_flat_in_row_major_order(local, flat):
    inputs = [PAIR[0] | {"data": [1, 2.5, 3, 4]}, PAIR[1]] if flat else PAIR
    answer = ask(local, "pair", inputs)
    assert answer.status == 200 and answer.headers["content-type"] == "application/json"
    assert answer.json == {
        "model_name": "pair",
        "model_version": "1",
        "outputs": [
            {"name": "twice", "datatype": "FP32", "shape": [2, 2], "data": DATA["twice"]},
            {"name": "same", "datatype": "INT64", "shape": [2], "data": DATA["same"]},
        ],
    }


def test_requests_whose_inputs_come_in_different_orders_are_joined(local):
    model, orders = local.store.models["pair"].find(1), (PAIR, PAIR[::-1])
    asked = [open_inference.parse(model, json.dumps({"inputs": inputs}).encode(), None).inputs for inputs in orders]
    assert list(asked[0]) == list(asked[1]) == ["a", "b"]


def test_inputs_may_come_in_any_order(local):
    assert ask(local, "pair", PAIR[::-1]).json["outputs"][1]["data"] == [7, 8]


@pytest.mark.parametrize("names", [["same"], ["twice"], ["same", "twice"]])
def test_the_outputs_asked_for_come_in_the_order_asked_for(local, names):
    answer = ask(local, "pair", PAIR, outputs=[{"name": name} for name in names])
    assert [(each["name"], each["data"]) for each in answer.json["outputs"]] == [(name, DATA[name]) for name in names]


@pytest.mark.parametrize("asked", [None, []])
def test_no_outputs_asked_for_means_all(local, asked):
    assert len(ask(local, "pair", PAIR, outputs=asked).json["outputs"]) == 2


@pytest.mark.parametrize("identity", ["", "42", "ü€", "null", "a" * 1024])
def test_an_id_is_returned(local, identity):
    assert ask(local, "pair", PAIR, id=identity).json["id"] == identity
    assert "id" not in ask(local, "pair", PAIR).json


@pytest.mark.parametrize("timeout", [0, 10_000_000, 2**62])
def test_a_timeout_in_microseconds_is_taken(local, timeout):
    assert ask(local, "pair", PAIR, parameters={"timeout": timeout, "other": 1}).status == 200


def test_a_timeout_that_is_over_is_a_504(local):
    answer = ask(local, "slow", [tensor("x", "FP32", [1, 4], [1, 2, 3, 4])], parameters={"timeout": 1000})
    assert answer.status == 504 and "no answer within 1 ms" in answer.error


def test_binary_and_json_inputs_may_stand_side_by_side(local):
    raw = np.array([[1, 2.5], [3, 4]], "<f4").tobytes()
    answer = ask(local, "pair", [tensor("a", "FP32", [2, 2], size=16), PAIR[1]], raw)
    assert [each["data"] for each in answer.json["outputs"]] == list(DATA.values())


def test_binary_tensors_are_cut_in_the_order_in_which_json_names_them(local):
    inputs = [tensor("b", "INT64", [2], size=16), tensor("a", "FP32", [2, 2], size=16)]
    raw = np.array([7, 8], "<i8").tobytes() + np.array([1, 2.5, 3, 4], "<f4").tobytes()
    answer = ask(local, "pair", inputs, raw, parameters={"binary_data_output": True})
    assert binary_outputs(answer) == {
        "twice": np.array(DATA["twice"], "<f4").tobytes(),
        "same": np.array(DATA["same"], "<i8").tobytes(),
    }


def test_each_output_says_for_itself_whether_it_comes_in_binary(local):
    outputs = [{"name": "twice"}, {"name": "same", "parameters": {"binary_data": True}}]
    answer = ask(local, "pair", PAIR, outputs=outputs)
    head = json.loads(answer.body[: int(answer.headers[HEADER.lower()])])
    assert head["outputs"][0]["data"] == DATA["twice"] and "data" not in head["outputs"][1]
    assert answer.body.endswith(np.array(DATA["same"], "<i8").tobytes())
    outputs[1]["parameters"] = {"binary_data": False}
    answer = ask(local, "pair", PAIR, outputs=outputs, parameters={"binary_data_output": True})
    assert json.loads(answer.body[: int(answer.headers[HEADER.lower()])])["outputs"][1]["data"] == DATA["same"]


@pytest.mark.parametrize(
    ("model", "name", "datatype", "values", "expected"),
    [
        ("flags", "flag", "BOOL", [True, False, True], [False, True, False]),
        ("halves", "x", "FP16", [[0.5, 1.25]], [[1.0, 2.5]]),
        ("bytes", "x", "UINT8", [[0, 255, 3, 4]], [[0, 255, 3, 4]]),
        ("copy", "x", "FP32", [[0.1, 3e38]], [[0.1, 3e38]]),
        ("fixed", "x", "FP32", [[1, 2, 3], [4, 5, 6]], [[-1, -2, -3], [-4, -5, -6]]),
        ("scalar", "x", "FP32", 2.5, -2.5),
    ],
)
def test_each_datatype_goes_both_ways_in_json_and_in_binary(local, model, name, datatype, values, expected):
    array, dtype = np.array(values, DTYPES[datatype]), DTYPES[datatype]
    sent = tensor(name, datatype, list(array.shape), values)
    (output,) = ask(local, model, [sent]).json["outputs"]
    np.testing.assert_array_equal(np.array(output["data"], dtype).reshape(output["shape"]), dtype(expected))
    sent = tensor(name, datatype, list(array.shape), size=array.nbytes)
    answer = ask(local, model, [sent], array.tobytes(), parameters={"binary_data_output": True})
    (raw,) = binary_outputs(answer).values()
    np.testing.assert_array_equal(np.frombuffer(raw, dtype).reshape(array.shape), dtype(expected))


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity"])
def test_numbers_that_are_not_finite_come_back_in_binary_and_not_in_json(local, value):
    inputs, path = [tensor("x", "FP32", [1, 2], [1, float(value)])], "copy"
    answer = ask(local, path, inputs)
    assert answer.status == 400 and "output 'y' holds numbers that are not finite" in answer.error
    (raw,) = binary_outputs(ask(local, path, inputs, parameters={"binary_data_output": True})).values()
    np.testing.assert_array_equal(np.frombuffer(raw, np.float32), np.float32([1, float(value)]))
    assert ask(local, "text", [tensor("text", "BYTES", [1], [value])], id=value).json["outputs"][0]["data"] == [value]


@pytest.mark.parametrize("spaces", range(8))
def test_binary_data_may_begin_at_any_address(local, spaces):
    inputs, raw = [tensor("x", "FP32", [1, 3], size=12)], np.array([1, 2, 3], "<f4").tobytes()
    head = json.dumps({"inputs": inputs}).encode() + b" " * spaces
    answer = local.ask("POST", "/v2/models/copy/infer", head + raw, {HEADER: str(len(head))})
    assert answer.json["outputs"][0]["data"] == [1, 2, 3]


def in_binary(texts: list[bytes]) -> bytes:
    return b"".join(struct.pack("<I", len(text)) + text for text in texts)


def test_strings_go_both_ways_in_json_and_in_binary(local):
    texts = ["", "Zoë", "\n\0"]
    assert ask(local, "text", [tensor("text", "BYTES", [3], texts)]).json["outputs"][0]["data"] == texts
    raw = in_binary([text.encode() for text in texts])
    inputs = [tensor("text", "BYTES", [3], size=len(raw))]
    answer = ask(local, "text", inputs, raw, outputs=[{"name": "same", "parameters": {"binary_data": True}}])
    assert binary_outputs(answer) == {"same": raw}


@pytest.mark.parametrize(
    ("raw", "sentence"),
    [
        (in_binary([b"a"]), "expects 2 strings, got 1"),
        (in_binary([b"a", b"b", b"c"]), "expects 2 strings, got more"),
        (in_binary([b"a", b"b"])[:-1], "is cut off"),
        (in_binary([b"a"]) + b"\1\0", "is cut off"),
        (in_binary([b"a"]) + b"\xff\xff\xff\xff", "is cut off"),
        (in_binary([b"a", b"\xff"]), "expects UTF-8 text in string 1"),
        (b"", "expects 2 strings, got 0"),
    ],
)
def test_strings_that_lie_about_their_lengths_are_refused(local, raw, sentence):
    answer = ask(local, "text", [tensor("text", "BYTES", [2], size=len(raw))], raw)
    assert answer.status == 400 and sentence in answer.error


@pytest.mark.parametrize("address", ["", "/versions/10", "/versions/canary"])
def test_metadata_and_readiness_of_a_version_or_a_label(local, address):
    path = f"/v2/models/digits{address}"
    assert local.ask("GET", path).json == {
        "name": "digits",
        "versions": ["10", "1"],
        "platform": "onnx_onnxv1",
        "inputs": [{"name": "pixels", "datatype": "FP32", "shape": [-1, 1, 8, 8]}],
        "outputs": [{"name": "logits", "datatype": "FP32", "shape": [-1, 10]}],
    }
    assert local.ask("GET", f"{path}/ready").json == {"name": "digits", "ready": True}


@pytest.mark.parametrize(("version", "scale"), [("1", 1), ("10", 10), ("stable", 1), ("canary", 10)])
def test_a_version_is_chosen_by_its_number_or_its_label(local, version, scale):
    inputs = [tensor("pixels", "FP32", [1, 1, 8, 8], [IMAGE])]
    answer = ask(local, f"digits/versions/{version}", inputs)
    assert answer.json["model_version"] == answer.headers["x-model-version"] == str(scale)
    np.testing.assert_allclose([answer.json["outputs"][0]["data"]], logits([IMAGE], scale), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("/v2/models/x", "Request for unknown model: x. This server has bytes [1]"),
        ("/v2/models/x/versions/1/ready", "unknown model: x, version 1"),
        ("/v2/models/digits/versions/7/ready", "unknown model: digits, version 7"),
        (
            "/v2/models/digits/versions/one",
            "a version's number or a label under /v2/models/digits/versions/, got 'one'",
        ),
        ("/v2/models/digits/versions/" + "9" * 30, "got '" + "9" * 30),
        ("/v2/models/digits/config", "there is nothing here"),
        ("/v2/repository/index", "there is nothing here"),
    ],
)
def test_asking_for_what_is_not_there_says_so(local, path, sentence):
    answer = local.ask("GET", path)
    assert answer.status == 404 and sentence in answer.error


def test_the_server_tells_its_name_its_extension_and_its_health(local):
    answer = local.ask("GET", "/v2").json
    assert answer["extensions"] == ["binary_tensor_data"] and answer.keys() == {"name", "version", "extensions"}
    assert local.ask("GET", "/v2/health/live").status == local.ask("GET", "/v2/health/ready").status == 200
    index = local.ask("GET", "/").json
    assert index["models"]["digits"] == [10, 1] and index["labels"] == {"digits": {"stable": 1, "canary": 10}}


def raw(local, model: str, body: bytes):
    return local.ask("POST", f"/v2/models/{model}/infer", body, {HEADER: "0"})


@pytest.mark.parametrize(
    ("model", "body", "expected"),
    [
        ("copy", np.float32([1, 2, 3]).tobytes(), ("y", [1, 3], np.float32([1, 2, 3]).tobytes())),
        ("fixed", np.float32([1] * 6).tobytes(), ("y", [2, 3], np.float32([-1] * 6).tobytes())),
        ("scalar", np.float32(2).tobytes(), ("y", [], np.float32(-2).tobytes())),
        ("lookup", np.int64([0, 2]).tobytes(), ("value", [2], np.float32([1, 3]).tobytes())),
        ("text", "grün".encode(), ("same", [1], b"\5\0\0\0" + "grün".encode())),
    ],
)
def test_a_raw_body_is_the_only_input_and_answered_in_binary(local, model, body, expected):
    answer = raw(local, model, body)
    name, shape, content = expected
    assert answer.status == 200 and binary_outputs(answer) == {name: content}
    (output,) = json.loads(answer.body[: int(answer.headers[HEADER.lower()])])["outputs"]
    assert output["shape"] == shape


@pytest.mark.parametrize(
    ("model", "body", "said"),
    [
        ("pair", b"1234", "one input, not 2"),
        ("constant", b"", "one input, not 0"),
        ("digits", b"abc", "expects shape"),
        ("digits", bytes(4 * 65), "expects 256 bytes"),
        ("digits", b"", "expects shape"),
        ("scalar", bytes(8), "expects 4 bytes"),
        ("fixed", bytes(5), "expects 24 bytes"),
        ("text", b"\xff", "UTF-8"),
    ],
)
def test_a_raw_body_that_does_not_fit_is_refused(local, model, body, said):
    answer = raw(local, model, body)
    assert answer.status == 400 and said in answer.error


@pytest.mark.parametrize("key", ["shared_memory_region", "shared_memory_byte_size", "shared_memory_offset"])
def test_shared_memory_is_refused_wherever_it_stands(local, key):
    given = tensor("x", "FP32", [1, 1], [1.0])
    said = {"parameters": {key: 4}}
    for inputs, outputs in (([given | said], []), ([given], [{"name": "y"} | said])):
        answer = ask(local, "copy", inputs, outputs=outputs)
        assert (
            answer.status == 400
            and f"shared memory extensions are not offered: send data, not the parameter {key}" in (answer.error)
        )
    assert local.ask("GET", "/v2/systemsharedmemory/status").status == 404


@pytest.mark.parametrize("value", [3.0, [1.0, 2.0], [[1.0], [2.0]]])
def test_an_input_of_unknown_rank_takes_any_shape_and_a_scalar_only_its_own(tmp_path, value):
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in "xy")
    graph = helper.make_graph([helper.make_node("Neg", ["x"], ["y"])], "g", [x], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    write(tmp_path / "any/1/model.onnx", model.SerializeToString())
    save(tmp_path, "scalar")
    with Local(tmp_path) as any_rank:
        shape, flat = list(np.shape(value)), np.ravel(value).tolist()
        answer = ask(any_rank, "any", [tensor("x", "FP32", shape, flat)])
        (output,) = answer.json["outputs"]
        assert (output["shape"], output["data"]) == (shape, [-each for each in flat])
        assert any_rank.ask("POST", "/v1/models/any:predict", {"inputs": value}).status == 200
        assert any_rank.ask("POST", "/v1/models/any:predict", {"inputs": []}).status == 400
        assert any_rank.ask("GET", "/v2/models/any").json["inputs"][0]["shape"] == [-1]
        told = any_rank.ask("GET", "/v1/models/any/metadata").json["metadata"]["signature_def"]["signature_def"]
        assert told["serving_default"]["inputs"]["x"]["tensor_shape"]["unknown_rank"] is True
        status = any_rank.ask("POST", "/v1/models/scalar:predict", {"inputs": value}).status
        assert status == (200 if value == 3.0 else 400)
