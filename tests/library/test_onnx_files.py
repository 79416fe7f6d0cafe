"""ONNX models from a few lines of text."""

import numpy as np
import onnxruntime
import pytest

from course_lib import onnx_files


def test_a_model_computes_what_its_text_says():
    text = "sums (float[batch, 2] x) => (float[batch, 3] y) { a = MatMul(x, w)  y = Relu(a) }"
    w = np.array([[1, -1, 2], [0, 1, -4]], np.float32)
    session = onnxruntime.InferenceSession(onnx_files.from_text(text, w=w))
    x = np.array([[1, 2], [3, 0.5]], np.float32)
    assert np.array_equal(session.run(None, {"x": x})[0], np.maximum(x @ w, 0))


@pytest.mark.parametrize("text", ["no model", "m (float[2] x) => (float[2] y) { y = Relu(nowhere) }"])
def test_what_is_no_model_is_refused(text):
    with pytest.raises(Exception, match="(?s)."):
        onnx_files.from_text(text)
