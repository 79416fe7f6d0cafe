"""Run by `python -m pytest tests` in the project's folder."""

from pathlib import Path

import numpy as np
import original
import serve
from data import LABELS, training_rows

HERE = Path(__file__).parents[1]


def test_there_is_a_model():
    assert list(HERE.glob("models/*/*/model.onnx"))


def test_the_model_answers_a_probability_for_each_label():
    found = original.predict(training_rows()[0][:5])
    assert found.shape == (5, len(LABELS))
    assert np.allclose(found.sum(axis=1), 1)


def test_the_server_gets_its_options():
    assert "--models=models" in serve.options()
