"""Three tests that notice a broken model, and nothing else."""

import json
from pathlib import Path

import numpy as np
import onnxruntime
from data import LABELS, VERSION, training_rows

FOLDER = Path(__file__).parents[1] / "models/digits" / str(VERSION)


def served(rows):
    return onnxruntime.InferenceSession(FOLDER / "model.onnx").run(None, {"ink": rows})[0]


def test_the_model_is_right_about_rows_that_it_has_seen():
    rows, labels = training_rows()
    assert (served(rows).argmax(axis=1) == labels).mean() > 0.8


def test_the_contract_s_example_is_answered_as_promised():
    told = json.loads((FOLDER / "contract.json").read_text(encoding="utf-8"))
    rows = np.array(told["example"]["inputs"]["ink"], np.float32)
    assert np.allclose(served(rows), told["example"]["outputs"]["probabilities"], atol=1e-3)


def test_there_is_a_column_for_each_label():
    assert served(training_rows()[0][:2]).shape == (2, len(LABELS))
