"""TensorFlow Serving's REST API: what is asked and what comes back. Source: its `g3doc/api_rest.md`."""

import base64
import json
import math

import numpy as np
import pytest

from tests.serving.conftest import DIGITS, IMAGE, Local, logits, save

FINE = {"state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}


def test_row_form_is_answered_by_predictions_of_the_latest_version(local):
    answer = local.ask("POST", DIGITS, {"instances": [IMAGE, IMAGE, IMAGE]})
    assert answer.status == 200 and list(answer.json) == ["predictions"]
    assert answer.headers["content-type"] == "application/json" and answer.headers["x-model-version"] == "10"
    np.testing.assert_allclose(answer.json["predictions"], logits([IMAGE] * 3, 10), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("inputs", [[IMAGE, IMAGE], {"pixels": [IMAGE, IMAGE]}, {"pixels": [IMAGE, IMAGE], "more": 1}])
def test_column_form_is_answered_by_outputs(local, inputs):
    answer = local.ask("POST", DIGITS, {"inputs": inputs})
    assert answer.status == 200 and list(answer.json) == ["outputs"]
    np.testing.assert_allclose(answer.json["outputs"], logits([IMAGE] * 2, 10), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("signature", ["", "serving_default"])
def test_the_default_signature_may_be_named(local, signature):
    assert local.ask("POST", DIGITS, {"instances": [IMAGE], "signature_name": signature}).status == 200


def test_a_row_may_name_the_only_input(local):
    assert local.ask("POST", DIGITS, {"instances": [{"pixels": IMAGE}]}).status == 200


def test_several_inputs_and_outputs_are_named_in_both_forms(local):
    rows = [{"a": [1, 2.5], "b": 7}, {"b": 8, "a": [3, 4]}]
    assert local.ask("POST", "/v1/models/pair:predict", {"instances": rows}).json == {
        "predictions": [{"twice": [2.0, 5.0], "same": 7}, {"twice": [6.0, 8.0], "same": 8}]
    }
    columns = {"a": [[1, 2.5], [3, 4]], "b": [7, 8]}
    assert local.ask("POST", "/v1/models/pair:predict", {"inputs": columns}).json == {
        "outputs": {"twice": [[2.0, 5.0], [6.0, 8.0]], "same": [7, 8]}
    }


def test_a_scalar_is_an_input_in_column_form(local):
    assert local.ask("POST", "/v1/models/scalar:predict", {"inputs": 2.5}).json == {"outputs": -2.5}


@pytest.mark.parametrize("body", [{"inputs": {}}, {"instances": [{}]}, {"instances": [{}, {}]}])
def test_a_model_without_inputs_is_asked_for_nothing(local, body):
    answer = local.ask("POST", "/v1/models/constant:predict", body)
    assert (answer.status, list(answer.json.values())) == (200, [[1.0, 2.0]])


def test_outputs_of_different_lengths_come_in_column_form_only(local):
    assert local.ask("POST", "/v1/models/total:predict", {"inputs": [[1, 2]]}).json == {
        "outputs": {"y": [[1.0, 2.0]], "sum": 3.0}
    }
    answer = local.ask("POST", "/v1/models/total:predict", {"instances": [[1, 2]]})
    assert answer.status == 400 and "ask in column form" in answer.error


@pytest.mark.parametrize(
    ("address", "scale"), [("versions/1", 1), ("versions/10", 10), ("labels/stable", 1), ("labels/canary", 10)]
)
def test_a_version_is_chosen_by_its_number_or_its_label(local, address, scale):
    answer = local.ask("POST", f"/v1/models/digits/{address}:predict", {"instances": [IMAGE]})
    assert answer.headers["x-model-version"] == str(scale)
    np.testing.assert_allclose(answer.json["predictions"], logits([IMAGE], scale), rtol=1e-5, atol=1e-4)


def test_status_lists_the_versions_latest_first(local):
    both = [{"version": "10"} | FINE, {"version": "1"} | FINE]
    assert local.ask("GET", "/v1/models/digits").json == {"model_version_status": both}
    for address in ("versions/1", "labels/stable"):
        assert local.ask("GET", f"/v1/models/digits/{address}").json == {"model_version_status": both[1:]}


@pytest.mark.parametrize("address", ["", "/versions/10", "/labels/canary"])
def test_metadata_tells_names_dtypes_and_shapes(local, address):
    answer = local.ask("GET", f"/v1/models/digits{address}/metadata").json
    assert answer["model_spec"] == {"name": "digits", "signature_name": "", "version": "10"}
    signature = answer["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert signature["method_name"] == "tensorflow/serving/predict" and list(signature["outputs"]) == ["logits"]
    assert signature["inputs"]["pixels"]["dtype"] == "DT_FLOAT"
    assert [dim["size"] for dim in signature["inputs"]["pixels"]["tensor_shape"]["dim"]] == ["-1", "1", "8", "8"]


@pytest.mark.parametrize(
    ("path", "status", "sentence"),
    [
        ("/v1/models", 400, "Missing model name in request"),
        ("/v1/models/x", 404, "Could not find any versions of model x"),
        ("/v1/models/digits/versions/7", 404, "Could not find version 7 of model digits"),
        ("/v1/models/digits/labels/x", 400, "Unrecognized servable version label: x"),
        ("/v1/models/x/labels/stable", 404, "Servable not found for request: Latest(x)"),
        ("/v1/models/x/metadata", 404, "Servable not found for request: Latest(x)"),
        ("/v1/models/digits/versions/7/metadata", 404, "Servable not found for request: Specific(digits, 7)"),
    ],
)
def test_asking_for_what_is_not_there_says_so(local, path, status, sentence):
    answer = local.ask("GET", path)
    assert answer.status == status and sentence in answer.error


def in_base64(text: str) -> dict:
    return {"b64": base64.b64encode(text.encode()).decode()}


def test_strings_come_as_they_are_or_in_base_64(local):
    path, texts = "/v1/models/text:predict", ["", "Zoë", "null", "b64"]
    for form in (texts, [in_base64(text) for text in texts], [{"text": text} for text in texts]):
        assert local.ask("POST", path, {"instances": form}).json == {"predictions": texts}
    assert local.ask("POST", path, {"inputs": [in_base64("a"), "b"]}).json == {"outputs": ["a", "b"]}


@pytest.mark.parametrize("wrong", ["*", "YQ", 3, None, "/w==", ["YQ=="]])
def test_base_64_that_is_none_or_no_text_is_refused(local, wrong):
    answer = local.ask("POST", "/v1/models/text:predict", {"instances": [{"b64": wrong}]})
    assert answer.status == 400 and "UTF-8 text in base 64" in answer.error


def test_not_a_number_and_infinity_are_taken_and_told_by_these_names(local):
    body = b'{"instances": [[NaN, Infinity], [-Infinity, 1]]}'
    answer = local.ask("POST", "/v1/models/copy:predict", body)
    assert answer.status == 200
    assert str(json.loads(answer.body)) == "{'predictions': [[nan, inf], [-inf, 1.0]]}"
    assert answer.body.count(b"Infinity") == 2 and b"NaN" in answer.body


def test_an_answer_that_is_not_finite_is_told_as_such(local):
    (row,) = local.ask("POST", "/v1/models/log:predict", {"instances": [[-1.0]]}).json["predictions"]
    assert math.isnan(row[0])


@pytest.mark.parametrize(
    ("model", "values", "expected"),
    [
        ("bytes", [[0, 255, 1, 2]], [[0, 255, 1, 2]]),
        ("flags", [True, False], [False, True]),
        ("halves", [[0.5, 1.25]], [[1.0, 2.5]]),
        ("lookup", [0, 2], [1.0, 3.0]),
        ("copy", [[0.1, 3.4e38, -0.0, 1e-45]], [[0.1, 3.4e38, -0.0, 1e-45]]),
    ],
)
def test_each_dtype_is_answered_as_json_writes_it(local, model, values, expected):
    answer = local.ask("POST", f"/v1/models/{model}:predict", {"instances": values}).json
    assert answer == {"predictions": expected}


def test_an_output_whose_name_ends_with_bytes_comes_in_base_64(tmp_path):
    model = "(string[N] {0}) => (string[N] {0}2, string[N] {0}_bytes) {{ {0}2 = Identity ({0})  {0}_bytes = Identity ({0}) }}"
    save(tmp_path, "several", text=model.format("t"))
    save(tmp_path, "one", text="(string[N] t) => (string[N] t_bytes) { t_bytes = Identity (t) }")
    save(tmp_path, "numbers", text="(float[N] x) => (float[N] x_bytes) { x_bytes = Identity (x) }")
    with Local(tmp_path) as local:
        sent, coded = ["a", {"b64": "w7w="}], [{"b64": "YQ=="}, {"b64": "w7w="}]
        assert local.ask("POST", "/v1/models/one:predict", {"instances": sent}).json == {"predictions": coded}
        assert local.ask("POST", "/v1/models/one:predict", {"inputs": coded}).json == {"outputs": coded}
        several = local.ask("POST", "/v1/models/several:predict", {"instances": sent}).json["predictions"]
        assert several == [{"t2": text, "t_bytes": code} for text, code in zip(["a", "ü"], coded)]
        assert local.ask("POST", "/v1/models/numbers:predict", {"instances": [1]}).json == {"predictions": [1.0]}
