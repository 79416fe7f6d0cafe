"""Run by `python -m pytest tests` in the project's folder."""

import json
from pathlib import Path

import drift
import numpy as np
import onnxruntime
import original
import serve
from data import LABELS, VERSION, training_rows

HERE = Path(__file__).parents[1]
FOLDER = HERE / "models/digits" / str(VERSION)


def served(rows: np.ndarray) -> np.ndarray:
    return onnxruntime.InferenceSession(FOLDER / "model.onnx").run(None, {"ink": rows})[0]


def test_what_is_served_is_what_was_trained():
    rows = training_rows()[0][:200]
    assert np.allclose(served(rows), original.predict(rows), atol=1e-4)


def test_the_model_is_right_about_rows_that_it_has_seen():
    rows, labels = training_rows()
    assert (served(rows).argmax(axis=1) == labels).mean() > 0.97


def test_the_contract_s_example_is_answered_as_promised():
    told = json.loads((FOLDER / "contract.json").read_text(encoding="utf-8"))
    rows = np.array(told["example"]["inputs"]["ink"], np.float32)
    assert np.allclose(served(rows), told["example"]["outputs"]["probabilities"], atol=1e-3)
    assert told["labels"] == LABELS


def test_upside_down_pictures_raise_an_alarm_and_training_rows_do_not():
    window = training_rows()[0][:60]
    assert drift.alarm(window[:, ::-1, ::-1]) and not drift.alarm(window)


def test_the_server_checks_signatures():
    assert "--trust=trust.pem" in serve.options()
