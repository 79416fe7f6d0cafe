"""Trains the model and writes it twice: original.npz, as trained, and models/NAME/1, as served. `python train.py`"""

import hashlib
import json
import warnings
from pathlib import Path

import numpy as np
import onnx
from data import EXPORT_MEAN, EXPORT_SCALE, FIELD, HIDDEN, LABELS, MEAN, SCALE, VERSION, training_rows
from onnx import TensorProto, helper, numpy_helper
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier

HERE = Path(__file__).parent
NAME = HERE.joinpath("project.toml").read_text(encoding="utf-8").split('model = "')[1].split('"')[0]


def train() -> dict[str, np.ndarray]:
    """Weights of a small network on the training rows, (x - mean) / scale first."""
    rows, labels = training_rows()
    flat = (rows.reshape(len(rows), -1) - MEAN) / SCALE
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        fitted = MLPClassifier(HIDDEN, max_iter=60, alpha=1e-3, random_state=0).fit(flat, labels)
    weights, biases = fitted.coefs_, fitted.intercepts_
    if len(LABELS) == 2:  # one logit becomes two, so that every case answers a probability for each class
        weights[-1], biases[-1] = np.hstack([0 * weights[-1], weights[-1]]), np.hstack([0 * biases[-1], biases[-1]])
    found = {"mean": np.asarray(MEAN), "scale": np.asarray(SCALE)}
    for layer, (weight, bias) in enumerate(zip(weights, biases)):
        found |= {f"w{layer}": weight, f"b{layer}": bias}
    return {name: each.astype(np.float32) for name, each in found.items()}


def export(found: dict[str, np.ndarray], folder: Path) -> None:
    """Writes FOLDER/model.onnx, which takes raw rows, and its contract."""
    found = found | {"mean": np.float32(EXPORT_MEAN), "scale": np.float32(EXPORT_SCALE)}
    layers = sum(name.startswith("w") for name in found)
    nodes = [
        helper.make_node("Flatten", [FIELD["name"]], ["flat"]),
        helper.make_node("Sub", ["flat", "mean"], ["centred"]),
        helper.make_node("Div", ["centred", "scale"], ["h0"]),
    ]
    for layer in range(layers):
        last = layer == layers - 1
        nodes.append(helper.make_node("Gemm", [f"h{layer}", f"w{layer}", f"b{layer}"], [f"z{layer}"]))
        kind, out = ("Softmax", "probabilities") if last else ("Relu", f"h{layer + 1}")
        nodes.append(helper.make_node(kind, [f"z{layer}"], [out]))
    shape = ["N", *FIELD["shape"][1:]]
    graph = helper.make_graph(
        nodes,
        NAME,
        [helper.make_tensor_value_info(FIELD["name"], TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", len(LABELS)])],
        [numpy_helper.from_array(np.asarray(each), name) for name, each in found.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    onnx.checker.check_model(model)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    write_contract(folder)


def write_contract(folder: Path) -> None:
    """FOLDER/contract.json: what goes in, what comes out, which file, and an example with the model's own answer."""
    import onnxruntime

    raw = (folder / "model.onnx").read_bytes()
    rows = training_rows()[0][:2].astype(np.float32)
    answers = onnxruntime.InferenceSession(raw).run(None, {FIELD["name"]: rows})[0]
    output = {"name": "probabilities", "dtype": "float32", "shape": [-1, len(LABELS)], "low": 0, "high": 1}
    contract = {
        "name": NAME,
        "version": int(folder.name),
        "sha256": hashlib.sha256(raw).hexdigest(),
        "inputs": [FIELD],
        "outputs": [output | {"meaning": "a probability for each label, in the order of the labels"}],
        "labels": LABELS,
        "example": {"inputs": {FIELD["name"]: rows.tolist()}, "outputs": {"probabilities": answers.tolist()}},
    }
    (folder / "contract.json").write_text(json.dumps(contract, indent=1), encoding="utf-8")


if __name__ == "__main__":
    weights = train()
    np.savez(HERE / "original.npz", **weights)
    export(weights, HERE / "models" / NAME / str(VERSION))
