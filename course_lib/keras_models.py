"""The course's networks in Keras, on TensorFlow. This module imports TensorFlow: one framework a kernel."""

from course_lib.idioms import quiet

quiet.frameworks()

import keras  # noqa: E402 - after TensorFlow's start-up messages are switched off


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
