"""A model behind a contract: what it takes, what it refuses, and when it does not start."""

import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnx.parser
import pytest

from course_lib.pipeline import Broken, Contract, Field, Pipeline, Refused, checksum

DOUBLE = """<ir_version: 10, opset_import: ["" : 20]>
double (float[N, 2] x, float[N, 1] y) => (float[N, 2] z) <float two = {2}> { s = Add (x, y)  z = Mul (s, two) }"""

X = Field("x", "float32", (-1, 2), "two lengths in metres", -10, 10)
Y = Field("y", "float32", (-1, 1), "an offset in metres")
Z = Field("z", "float32", (-1, 2), "lengths", -100, 100)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "model.onnx"
    onnx.save(onnx.parser.parse_model(DOUBLE), path)
    return path


def contract(file, **changed):
    return Contract(**{"name": "double", "version": 1, "sha256": checksum(file), "inputs": (X, Y), "outputs": (Z,), **changed})  # fmt: skip


def rows(count, value=1.0):
    return {"x": np.full((count, 2), value, np.float32), "y": np.ones((count, 1), np.float32)}


def test_it_answers_by_name(file):
    assert Pipeline(file, contract(file))(**rows(3))["z"].tolist() == [[4, 4]] * 3


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"x": np.ones((1, 2))}, "x: expected float32, got float64. Send two lengths in metres"),
        ({"x": np.ones((1, 3), np.float32)}, r"x: expected the shape \(1 or more, 2\), got \(1, 3\)"),
        ({"x": np.ones(2, np.float32)}, r"got \(2,\)"),
        ({"x": np.ones((0, 2), np.float32), "y": np.ones((0, 1), np.float32)}, r"1 or more, 2\), got \(0, 2\)"),
        ({"x": [[1.0, 1.0]]}, "x: expected a NumPy array of float32, got list"),
        ({"x": np.float32([[1, np.nan]])}, "x: expected finite numbers, got nan"),
        ({"x": np.float32([[1, 10.5]])}, "x: expected -10 to 10, got 10.5"),
        ({"y": np.ones((2, 1), np.float32)}, r"expected one number of rows in all of x, y, got \[1, 2\]"),
        ({"self": 1}, "'self': unknown, this contract has x, y"),
        ({"w" * 9000: 1}, f"'{'w' * 40}': unknown"),
        ({"w": 1}, "'w': unknown, this contract has x, y"),
        ({"x": np.float32([[99, 1]]), "y": None}, "x: expected -10 to 10, got 99.*y: expected a NumPy array"),
    ],
)
def test_an_input_that_breaks_the_contract_is_refused_with_its_reason(file, change, words):
    with pytest.raises(Refused, match=f"double 1 refuses its inputs.*{words}"):
        Pipeline(file, contract(file))(**{**rows(1), **change})


def test_a_missing_input_is_named(file):
    with pytest.raises(Refused, match="y: missing"):
        Pipeline(file, contract(file))(x=rows(1)["x"])


def test_both_ends_of_a_range_and_any_strides_are_taken(file):
    x = np.float32([[-10, 0, 10, 0]])[:, ::2]
    assert Pipeline(file, contract(file))(x=x, y=rows(1)["y"])["z"].tolist() == [[-18, 22]]


def test_an_output_that_breaks_the_contract_is_the_services_mistake(file):
    narrow = Field("z", "float32", (-1, 2), "lengths", 0, 3)
    with pytest.raises(Broken, match="breaks its outputs. z: expected 0 to 3, got 4"):
        Pipeline(file, contract(file, outputs=(narrow,)))(**rows(1))


def test_another_file_does_not_start(file):
    promised = contract(file)
    file.write_bytes(file.read_bytes() + b"\0")
    with pytest.raises(Broken, match="expected the file of double 1, sha256"):
        Pipeline(file, promised)


@pytest.mark.parametrize(
    "changed",
    [{"inputs": (X,)}, {"outputs": (X,)}, {"inputs": (X, Field("y", "int64", (-1, 1), "an offset"))}],
)
def test_a_contract_of_another_graph_does_not_start(file, changed):
    with pytest.raises(Broken, match="file and contract disagree"):
        Pipeline(file, contract(file, **changed))


def test_an_example_that_is_answered_otherwise_does_not_start(file):
    example = {"inputs": {k: v.tolist() for k, v in rows(1).items()}, "outputs": {"z": [[4.0, 4.0]]}}
    assert Pipeline(file, contract(file, example=example))
    example["outputs"]["z"] = [[4.0, 4.1]]
    with pytest.raises(Broken, match="does not answer its own example"):
        Pipeline(file, contract(file, example=example))


def test_texts_are_prepared_and_the_example_guards_how(file):
    def prepare(text):
        return {"x": np.float32([[len(each), 1] for each in text]), "y": np.zeros((len(text), 1), np.float32)}

    texts = Field("text", "str", (-1,), "texts")
    example = {"inputs": {"text": ["abc"]}, "outputs": {"z": [[6.0, 2.0]]}}
    agreed = contract(file, inputs=(texts,), example=example)
    assert Pipeline(file, agreed, prepare)(text=["ab", ""])["z"].tolist() == [[4, 2], [0, 2]]
    for bad in ("abc", [1], []):
        with pytest.raises(Refused, match="text: expected"):
            Pipeline(file, agreed, prepare)(text=bad)
    with pytest.raises(Broken, match="does not answer its own example"):
        Pipeline(file, agreed, lambda text: prepare([each * 2 for each in text]))


def test_a_contract_comes_back_from_json_as_it_was(file):
    agreed = contract(file, labels=("left", "zwölf"), example={"inputs": {"x": [[1.0]]}, "outputs": {}})
    assert Contract.from_json(agreed.to_json()) == agreed
    assert json.loads(agreed.to_json())["inputs"][0]["shape"] == [-1, 2]


def test_a_field_has_a_limit_that_is_checked_before_anything_is_computed():
    huge = np.broadcast_to(np.float32(np.nan), (10**9, 2))  # no memory behind it, until somebody compares it
    limited = Field("x", "float32", (-1, 2), "lengths", 0, 1, most=4)
    assert limited.problem(huge) == "x: expected 4 numbers at most, got 2000000000. Send lengths"
    assert limited.problem(np.ones((2, 2), np.float32)) == ""
    texts = Field("text", "str", (-1,), "texts", most=4)
    assert texts.problem(["ab", "cd"]) == ""
    assert "4 characters at most, got 5" in texts.problem(["abc", "de"])


def test_a_range_forgives_a_few_roundings_and_no_more():
    share = Field("p", "float32", (-1,), "probabilities", 0, 1)
    assert share.problem(np.float32([-1e-7, 1.0000001])) == ""
    assert "expected 0 to 1, got 1.00001" in share.problem(np.float32([1.00001]))
    assert "expected 0 to inf, got -1" in Field("n", "int64", (-1,), "counts", 0).problem(np.array([-1], np.int64))


def test_integers_of_every_width_are_held_to_their_range():
    for dtype in ("uint8", "int8", "int32", "uint64"):
        number = Field("n", dtype, (-1,), "numbers", 0, 9)
        assert number.problem(np.array([9], dtype)) == ""
        assert "got 10" in number.problem(np.array([10], dtype))


def test_an_input_without_axes_and_an_unknown_dtype():
    single = contract_of(Field("x", "float32", (), "one number"))
    assert single.problems("inputs", {"x": np.array(1, np.float32)}) == []
    with pytest.raises(ValueError, match="expected the dtype str, .*, got 'cat'"):
        Field("x", "cat", (-1,), "numbers")


def contract_of(*inputs):
    return Contract("bare", 1, "", inputs, ())


def test_a_preparation_that_loses_an_example_is_the_services_mistake(file):
    def prepare(text):
        return {"x": np.float32([[len(each), 1] for each in text if each]), "y": np.zeros((1, 1), np.float32)}

    pipeline = Pipeline(file, contract(file, inputs=(Field("text", "str", (-1,), "texts"),)), prepare)
    with pytest.raises(Broken, match="an answer to each of 2 examples, got 1"):
        pipeline(text=["abc", ""])


def test_labels_without_columns_do_not_start(file):
    assert Pipeline(file, contract(file, labels=("left", "right")))
    with pytest.raises(Broken, match="expected an output with 1 columns"):
        Pipeline(file, contract(file, labels=("left",)))


def test_weights_outside_the_checksum_do_not_load(tmp_path, monkeypatch):
    apart = onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 20]> g (float[N, 2] x) => (float[N, 2] z) { z = Add (x, w) }'
    )
    apart.graph.initializer.append(onnx.numpy_helper.from_array(np.ones(2, np.float32), "w"))
    onnx.save(apart, tmp_path / "model.onnx", save_as_external_data=True, location="weights.data", size_threshold=0)
    monkeypatch.chdir(tmp_path)  # where ONNX Runtime would look for them
    with pytest.raises(Exception, match="weights.data"):
        Pipeline(tmp_path / "model.onnx", contract(tmp_path / "model.onnx", inputs=(X,)))


@pytest.mark.parametrize(
    "example",
    [{"inputs": {}, "outputs": {}}, {"inputs": rows(1)}, {"outputs": {}}, {"inputs": {"w": [1]}, "outputs": {}},
     {"inputs": {**rows(1), "x": [[1], [1, 2]]}, "outputs": {"z": [[4, 4]]}}],
)  # fmt: skip
def test_an_example_that_cannot_be_asked_does_not_start(file, example):
    with pytest.raises(Broken, match="double 1 cannot be asked its own example"):
        Pipeline(file, contract(file, example=example))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"inputs": [{"name": "x"}]}', '{"inputs": [], "outputs": []}'])
def test_what_is_no_contract_is_a_value_error(text):
    with pytest.raises(ValueError, match="expected a contract as `to_json` writes it"):
        Contract.from_json(text)


def test_several_threads_get_their_own_answers(file):
    pipeline = Pipeline(file, contract(file))
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda i: pipeline(**rows(1 + i % 3, i % 10))["z"], range(200)))
    assert all(np.array_equal(got, np.full((1 + i % 3, 2), 2 * (i % 10 + 1))) for i, got in enumerate(answers))
