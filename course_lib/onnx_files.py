"""ONNX files, as they leave an exporter."""

from pathlib import Path

import onnx


def remove_notes(file: Path) -> None:
    """Removes PyTorch's notes from an ONNX file: for each operation, where in the Python source it came from.

    They help to debug an export and hold this machine's folders. Nothing that is computed changes.
    """
    model = onnx.load(file)
    graph = model.graph
    for each in [model, graph, *graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer]:
        del each.metadata_props[:]
    onnx.save(model, file)
