"""ONNX files: as they leave an exporter, and from a few lines of text."""

from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper, parser


def remove_notes(file: Path) -> None:
    """Removes PyTorch's notes from an ONNX file: for each operation, where in the Python source it came from.

    They help to debug an export and hold this machine's folders. Nothing that is computed changes.
    """
    model = onnx.load(file)
    graph = model.graph
    for each in [model, graph, *graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer]:
        del each.metadata_props[:]
    onnx.save(model, file)


def from_text(text: str, **weights: np.ndarray) -> bytes:
    """A model, as the bytes of an ONNX file, from ONNX's own text form.

    text: `name (float[batch, 64] pixels) => (float[batch, 10] logits) { logits = MatMul(pixels, w) }`. weights: the arrays
    that it calls by these names. Raises onnx's errors where the text is no model.
    """
    model = parser.parse_model(f'<ir_version: 10, opset_import: ["": 20]> {text}')
    model.graph.initializer.extend(numpy_helper.from_array(np.asarray(each), name) for name, each in weights.items())
    onnx.checker.check_model(model)
    return model.SerializeToString()
