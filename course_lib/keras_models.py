"""The course's networks in Keras, on TensorFlow. This module imports TensorFlow: one framework a kernel."""

import json
import shutil
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

from course_lib.idioms import quiet

quiet.frameworks()

import keras  # noqa: E402 - after TensorFlow's start-up messages are switched off
import numpy as np  # noqa: E402


def digits_cnn(dropout: float = 0.3) -> keras.Sequential:
    """The Keras twin of the grand tour's network: the same layers and 15,270 weights, images with channels last.

    dropout: share of the flattened activations that training switches off, 0 or more and below 1.
    Returns an untrained model from `pixels`, float32 (N, 8, 8, 1), 0 to 1, to `logits`, float32 (N, 10).
    Raises ValueError for a share outside 0 to 1, or of 1.
    """
    if not 0 <= dropout < 1:
        raise ValueError(f"expected a dropout of 0 or more and below 1, got {dropout}")
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((8, 8, 1), name="pixels"),
            layers.Conv2D(16, 3, padding="same", activation="relu"),
            layers.Conv2D(32, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dropout(dropout),
            layers.Dense(20, activation="relu"),
            layers.Dense(10, name="logits"),
        ],
        name="digits_cnn",
    )


def remove_nulls(file: Path) -> None:
    """Rewrites a `.keras` file without the settings whose value is null, so that an older Keras can read it too.

    Each Keras writes every setting that it knows, and refuses one that it does not know. A setting that is left out
    takes its default. The layers of `digits_cnn` have null for a default wherever they have null.
    """
    with zipfile.ZipFile(file) as archive:
        parts = {info: archive.read(info) for info in archive.infolist()}
    with tempfile.TemporaryDirectory() as folder:
        new = Path(folder, file.name)
        with zipfile.ZipFile(new, "w") as archive:
            for info, content in parts.items():
                if info.filename == "config.json":
                    content = json.dumps(json.loads(content, object_hook=_without_nulls)).encode()
                archive.writestr(info, content)
        shutil.copyfile(new, file)


def _without_nulls(settings: dict) -> dict:
    return {name: value for name, value in settings.items() if value is not None}


def wide(weights: Mapping[str, np.ndarray]) -> keras.Sequential:
    """The Keras twin of `torch_models.wide`, with its weights.

    weights: by the names of the PyTorch network's state dict. Returns a model from `pixels`, float32 (N, 32, 32, 1), to
    logits, float32 (N, 10). Raises KeyError for a weight that is missing, ValueError for one of another shape.
    """
    layers = keras.layers
    hidden = [layers.Dense(1024, activation="relu") for _ in range(4)]
    pixels = keras.Input((32, 32, 1), name="pixels")
    model = keras.Sequential([pixels, layers.Flatten(), *hidden, layers.Dense(10, name="logits")], name="wide")
    for layer, number in zip(model.layers[1:], (1, 3, 5, 7, 9)):
        layer.set_weights([weights[f"{number}.weight"].T, weights[f"{number}.bias"]])
    return model


def small_resnet(weights: Mapping[str, np.ndarray]) -> keras.Model:
    """The Keras twin of `torch_models.small_resnet`, with its weights; arguments, result and errors as for `wide`."""
    pixels = keras.Input((32, 32, 1), name="pixels")
    x = keras.layers.ReLU()(_convolution(pixels, weights, "0", "1", 2))
    for block, stride in ((3, 1), (4, 2), (5, 2)):
        inner = keras.layers.ReLU()(_convolution(x, weights, f"{block}.body.0", f"{block}.body.1", stride))
        inner = _convolution(inner, weights, f"{block}.body.3", f"{block}.body.4")
        skip = x if block == 3 else _convolution(x, weights, f"{block}.skip.0", f"{block}.skip.1", stride)
        x = keras.layers.ReLU()(keras.layers.Add()([inner, skip]))
    logits = keras.layers.Dense(10, name="logits")
    model = keras.Model(pixels, logits(keras.layers.GlobalAveragePooling2D()(x)), name="small_resnet")
    logits.set_weights([weights["8.weight"].T, weights["8.bias"]])
    return model


def _convolution(x, weights: Mapping[str, np.ndarray], name: str, normalisation: str, stride: int = 1):
    """A convolution without bias and its batch normalisation, with the weights of those names."""
    kernel = weights[f"{name}.weight"].transpose(2, 3, 1, 0)  # PyTorch keeps (out, in, height, width)
    size, _, _, filters = kernel.shape
    # At stride 2 Keras's "same" would add points below and to the right alone, PyTorch's padding=1 adds them all round.
    padded = keras.layers.ZeroPadding2D(size // 2)(x) if stride > 1 and size > 1 else x
    convolution = keras.layers.Conv2D(filters, size, stride, "same" if stride == 1 else "valid", use_bias=False)
    normalise = keras.layers.BatchNormalization(epsilon=1e-5)  # PyTorch's; Keras has 1e-3
    result = normalise(convolution(padded))
    convolution.set_weights([kernel])
    normalise.set_weights(
        [weights[f"{normalisation}.{part}"] for part in ("weight", "bias", "running_mean", "running_var")]
    )
    return result
