"""Clients as they are published, with their defaults: tritonclient, and the calls of TensorFlow Serving's manual."""

import json
import urllib.error
import urllib.request

import numpy as np
import pytest

from tests.serving.conftest import IMAGE, logits

httpclient = pytest.importorskip("tritonclient.http")


@pytest.fixture(scope="module")
def triton(server):
    with httpclient.InferenceServerClient(f"127.0.0.1:{server.port}") as client:
        yield client


def given(name: str, array: np.ndarray, datatype: str, **how: bool) -> "httpclient.InferInput":
    tensor = httpclient.InferInput(name, list(array.shape), datatype)
    tensor.set_data_from_numpy(array, **how)
    return tensor


PIXELS = np.array([IMAGE, IMAGE], np.float32)
PAIR = np.float32([[1, 2.5], [3, 4]]), np.array([7, 8])


def pair() -> list:
    return [given("a", PAIR[0], "FP32"), given("b", PAIR[1], "INT64")]


def test_triton_asks_for_health_and_metadata(triton):
    assert triton.is_server_live() and triton.is_server_ready()
    assert triton.is_model_ready("digits") and triton.is_model_ready("digits", "10")
    assert not triton.is_model_ready("none") and not triton.is_model_ready("digits", "7")
    assert triton.get_server_metadata()["extensions"] == ["binary_tensor_data"]
    assert triton.get_model_metadata("digits", "1")["versions"] == ["10", "1"]


def test_triton_infers_in_binary_by_default(triton):
    result = triton.infer("digits", [given("pixels", PIXELS, "FP32")])
    np.testing.assert_allclose(result.as_numpy("logits"), logits([IMAGE] * 2, 10), rtol=1e-5, atol=1e-4)
    assert result.get_response()["model_version"] == "10"
    assert result.get_output("logits")["parameters"]["binary_data_size"] == 80


@pytest.mark.parametrize("version", ["1", "stable"])
def test_triton_asks_for_a_version_a_label_and_an_id(triton, version):
    result = triton.infer("digits", [given("pixels", PIXELS, "FP32")], model_version=version, request_id="seven")
    np.testing.assert_allclose(result.as_numpy("logits"), logits([IMAGE] * 2), rtol=1e-5, atol=1e-4)
    assert result.get_response()["id"] == "seven"


@pytest.mark.parametrize("binary", [True, False])
def test_triton_sends_several_inputs_and_chooses_outputs(triton, binary):
    wanted = [httpclient.InferRequestedOutput(name, binary_data=binary) for name in ("same", "twice")]
    inputs = [given("a", PAIR[0], "FP32", binary_data=binary), given("b", PAIR[1], "INT64", binary_data=binary)]
    result = triton.infer("pair", inputs, outputs=wanted)
    np.testing.assert_array_equal(result.as_numpy("twice"), PAIR[0] * 2)
    np.testing.assert_array_equal(result.as_numpy("same"), PAIR[1])
    assert triton.infer("pair", pair(), outputs=wanted[:1]).as_numpy("twice") is None


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize(
    ("model", "name", "datatype", "array", "output", "expected"),
    [
        ("text", "text", "BYTES", np.array(["", "Zoë"], dtype=object), "same", [b"", "Zoë".encode()]),
        ("flags", "flag", "BOOL", np.array([True, False]), "other", [False, True]),
        ("bytes", "x", "UINT8", np.uint8([[0, 1, 2, 255]]), "y", [[0, 1, 2, 255]]),
    ],
)
def test_triton_sends_other_datatypes(triton, model, name, datatype, array, output, expected, binary):
    result = triton.infer(model, [given(name, array, datatype, binary_data=binary)]).as_numpy(output)
    if model == "text":
        result, expected = [str(each, "utf-8") for each in result], [str(each, "utf-8") for each in expected]
    np.testing.assert_array_equal(result, expected)


def test_triton_sends_halves_in_binary(triton):
    result = triton.infer("halves", [given("x", np.float16([[0.5, 1.25]]), "FP16")])
    np.testing.assert_array_equal(result.as_numpy("y"), np.float16([[1, 2.5]]))


def test_triton_sends_a_timeout_and_is_told_that_it_passed(triton):
    inputs = [given("x", np.ones((1, 4), np.float32), "FP32")]
    with pytest.raises(httpclient.InferenceServerException, match="no answer within 1 ms"):
        triton.infer("slow", inputs, timeout=1000)
    assert triton.infer("slow", inputs, timeout=20_000_000).as_numpy("y").shape == (1, 4)


@pytest.mark.parametrize("how", ["gzip", "deflate"])
def test_triton_is_told_that_compression_is_not_taken(triton, how):
    with pytest.raises(httpclient.InferenceServerException, match="without Content-Encoding, got " + how):
        triton.infer("pair", pair(), request_compression_algorithm=how)
    answer = triton.infer("pair", pair(), response_compression_algorithm=how)  # a wish, and answered without
    np.testing.assert_array_equal(answer.as_numpy("same"), PAIR[1])


def test_triton_is_told_what_is_wrong(triton):
    with pytest.raises(httpclient.InferenceServerException, match="unknown model: none"):
        triton.infer("none", pair())
    with pytest.raises(httpclient.InferenceServerException, match="input 'a' expects datatype FP32, got 'FP64'"):
        triton.infer("pair", [given("a", PAIR[0].astype(np.float64), "FP64"), pair()[1]])


def call(server, path: str, data: bytes | None = None) -> dict:
    """As curl -d does it: a POST of a form, whatever stands in it."""
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}{path}", data, timeout=20) as answer:
        return json.load(answer)


def test_the_calls_of_tensorflow_servings_manual(server):
    rows = json.dumps({"signature_name": "serving_default", "instances": [[1.0, 2.0], [5.0, 6.0]]}).encode()
    assert call(server, "/v1/models/copy:predict", rows) == {"predictions": [[1.0, 2.0], [5.0, 6.0]]}
    assert call(server, "/v1/models/copy/versions/1:predict", b'{"inputs": [[1, 2]]}') == {"outputs": [[1.0, 2.0]]}
    named = b'{"inputs": {"a": [[1, 2]], "b": [3]}}'
    assert call(server, "/v1/models/pair:predict", named) == {"outputs": {"twice": [[2.0, 4.0]], "same": [3]}}
    (state,) = call(server, "/v1/models/copy")["model_version_status"]
    assert state == {"version": "1", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
    assert call(server, "/v1/models/copy/metadata")["model_spec"]["name"] == "copy"


def test_an_error_of_tensorflow_servings_form(server):
    with pytest.raises(urllib.error.HTTPError) as refused:
        call(server, "/v1/models/half_plus_two:predict", b'{"instances": [1.0]}')
    with refused.value as answer:
        assert (
            answer.code == 404 and "Servable not found for request: Latest(half_plus_two)" in json.load(answer)["error"]
        )
