"""From one form of a model to another: what several lessons need on the way."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx


@dataclass(frozen=True)
class Parity:
    """How close two models' outputs are on the same inputs. max_abs_diff: largest |answer − reference|, in the outputs'
    unit; max_rel_diff: largest |answer − reference| / |reference|, over the entries where the reference is not 0;
    agreement: share of the examples, 0 to 1, whose largest output stands in the same place."""

    examples: int
    max_abs_diff: float
    max_rel_diff: float
    agreement: float


def parity(reference: np.ndarray, answer: np.ndarray) -> Parity:
    """Compares a converted model's outputs with those of the model that it was made from.

    reference, answer: float (N, C), N from 1. NaN beside NaN, and an infinity beside the same infinity, count as equal;
    beside anything else, as infinitely far apart. Raises ValueError for shapes that differ, other ranks, and no example.
    """
    reference, answer = np.asarray(reference), np.asarray(answer)
    if reference.shape != answer.shape or reference.ndim != 2 or len(reference) == 0:
        raise ValueError(f"expected outputs of one shape (N, C), N from 1, got {reference.shape} and {answer.shape}")
    expected, got = reference.astype(np.float64), answer.astype(np.float64)
    same = (expected == got) | (np.isnan(expected) & np.isnan(got))
    finite = np.isfinite(expected) & np.isfinite(got)
    apart = np.where(same, 0.0, np.inf)
    np.subtract(got, expected, out=apart, where=finite & ~same)
    apart = np.abs(apart)
    compared = (expected != 0) & np.isfinite(expected)
    relative = np.divide(apart, np.abs(expected), out=np.where(same, 0.0, apart), where=compared)
    return Parity(
        examples=len(expected),
        max_abs_diff=float(apart.max()),
        max_rel_diff=float(relative[expected != 0].max(initial=0.0)),
        agreement=float((expected.argmax(axis=1) == got.argmax(axis=1)).mean()),
    )


def remove_notes(file: Path) -> None:
    """Removes PyTorch's notes from an ONNX file: for each operation, where in the Python source it came from.

    They help to debug an export and hold this machine's folders. Nothing that is computed changes.
    """
    model = onnx.load(file)
    graph = model.graph
    for each in [model, graph, *graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer]:
        del each.metadata_props[:]
    onnx.save(model, file)
