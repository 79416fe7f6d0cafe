"""Wrong answers that people write, planted in lesson 02: each must be caught at the property named."""

import numpy as np

EPS = np.finfo(np.float64).eps


def summed(predictions, targets):
    return float(((predictions - targets) ** 2).sum())


def numpy_scalar(predictions, targets):
    return ((predictions - targets) ** 2).mean()


def broadcasts_the_error(predictions, targets):
    return float(((predictions - targets) ** 2).mean())


def only_the_length_is_compared(predictions, targets):
    if len(predictions) != len(targets):
        raise ValueError
    return float(((predictions - targets) ** 2).mean())


def wraps_around(predictions, targets):
    if predictions.shape != targets.shape:
        raise ValueError
    return float(((predictions - targets) ** 2.0).mean())


def in_float32(predictions, targets):
    if predictions.shape != targets.shape:
        raise ValueError
    return float(((predictions.astype(np.float32) - targets.astype(np.float32)) ** 2).mean())


def mean_of_nothing(predictions, targets):
    if predictions.shape != targets.shape:
        raise ValueError
    errors = predictions.astype(float) - targets.astype(float)
    return float((errors**2).sum() / max(errors.size, 1))


def _softmax(logits):
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def _losses(logits, labels):
    shifted = logits - logits.max(axis=1, keepdims=True)
    return np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(labels)), labels]


def _off(logits, labels):
    return _softmax(logits) - np.eye(logits.shape[1], dtype=logits.dtype)[labels]


def loss_of_the_batch(logits, labels):
    return float(_losses(logits, labels).sum()), _off(logits, labels)


def loss_as_an_array(logits, labels):
    return _losses(logits, labels).mean(), _off(logits, labels) / len(logits)


def downhill(logits, labels):
    return float(_losses(logits, labels).mean()), -_off(logits, labels) / len(logits)


def without_the_truth(logits, labels):
    return float(_losses(logits, labels).mean()), _softmax(logits) / len(logits)


def without_one_over_n(logits, labels):
    return float(_losses(logits, labels).mean()), _off(logits, labels)


def mean_over_every_entry(logits, labels):
    return float(_losses(logits, labels).mean()), _off(logits, labels) / logits.size


def overflowing(logits, labels):
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        answered = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        loss = float(-np.log(answered[np.arange(len(labels)), labels]).mean())
    answered[np.arange(len(labels)), labels] -= 1
    return loss, answered / len(logits)


def logarithm_of_a_probability(logits, labels):
    with np.errstate(divide="ignore"):
        loss = float(-np.log(_softmax(logits)[np.arange(len(labels)), labels]).mean())
    return loss, _off(logits, labels) / len(logits)


def clipped(logits, labels):
    answered = _softmax(logits)[np.arange(len(labels)), labels]
    return float(-np.log(np.maximum(answered, 1e-12)).mean()), _off(logits, labels) / len(logits)


def widened(logits, labels):
    return float(_losses(logits, labels).mean()), (_softmax(logits) - np.eye(logits.shape[1])[labels]) / len(logits)


def writes_into_its_input(logits, labels):
    logits -= logits.max(axis=1, keepdims=True)
    return float(_losses(logits, labels).mean()), _off(logits, labels) / len(logits)


def sign_forgotten(logits, labels):
    return -_losses(logits, labels)


def mean_of_all(logits, labels):
    return np.atleast_1d(_losses(logits, labels).mean())


def as_floats(logits, labels):
    return _losses(logits.astype(np.float64), labels)


def textbook(logits, labels):
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        return -np.log(p[np.arange(len(labels)), labels])


def shifted_only(logits, labels):
    return _losses(logits, labels)


def through_float64(logits, labels):
    return _losses(logits.astype(np.float64), labels).astype(logits.dtype)


def a_small_number_added(logits, labels):
    return _losses(logits, labels) + np.float32(1e-9)


def tail_without_shift(logits, labels):
    with np.errstate(over="ignore"):
        d = np.exp(logits - logits[np.arange(len(labels)), labels][:, None])
        d[np.arange(len(labels)), labels] = 0
        return np.log1p(d.sum(axis=1))


def label_taken_away_last(logits, labels):
    rows, others = np.arange(len(labels)), logits.copy()
    others[rows, labels] = -np.inf
    return np.logaddexp(0, np.logaddexp.reduce(others, axis=1) - logits[rows, labels])


def at_least_two_classes(logits, labels):
    rows = np.arange(len(labels))
    against = logits - logits[rows, labels][:, None]
    others = np.stack([np.delete(row, label) for row, label in zip(against, labels)])
    return np.logaddexp(0, np.logaddexp.reduce(others, axis=1))


def marks_the_label_in_place(logits, labels):
    rows = np.arange(len(labels))
    own = logits[rows, labels].copy()
    logits[rows, labels] = -np.inf
    return np.logaddexp(0, np.logaddexp.reduce(logits - own[:, None], axis=1))


def _checked(function, point, gradient, *, step=lambda x: EPS ** (1 / 3) * max(1.0, abs(x)), sides=2,
             dtype=np.float64, over=lambda off: np.abs(off).max(), zero=True, shapes=True, flat=False,
             relative=True, inside=False):  # fmt: skip
    """A right answer, with one thing at a time left out."""
    if shapes and np.shape(gradient) != np.shape(point):
        raise ValueError
    around = point if inside else np.array(point, dtype=dtype)
    measured = np.zeros(around.shape)
    for index in range(len(around)) if flat else np.ndindex(around.shape):
        here = around[index].copy()
        h = step(here)
        around[index] = here + h
        up = function(around)
        around[index] = here - h if sides == 2 else here
        measured[index] = (up - function(around)) / (sides * h)
        around[index] = here
    largest = max(np.abs(measured).max(), np.abs(gradient).max()) if relative else 1.0
    with np.errstate(invalid="ignore", divide="ignore"):
        return float(over(measured - gradient) / largest) if largest or not zero else 0.0


def one_sided(function, point, gradient):
    return _checked(function, point, gradient, sides=1, step=lambda x: EPS**0.5 * max(1.0, abs(x)))


def far_too_small_a_step(function, point, gradient):
    return _checked(function, point, gradient, step=lambda x: 1e-12)


def not_relative(function, point, gradient):
    return _checked(function, point, gradient, relative=False)


def relative_to_the_given_one(function, point, gradient):
    largest = np.abs(gradient).max()
    return _checked(function, point, gradient, relative=False) / largest if largest else 1.0


def by_the_mean(function, point, gradient):
    return _checked(function, point, gradient, over=lambda off: np.abs(off).mean())


def by_the_first_axis(function, point, gradient):
    return _checked(function, point, gradient, flat=True)


def in_the_points_dtype(function, point, gradient):
    return _checked(function, point, gradient, dtype=np.asarray(point).dtype)


def the_same_step_everywhere(function, point, gradient):
    return _checked(function, point, gradient, step=lambda x: EPS ** (1 / 3))


def nothing_by_nothing(function, point, gradient):
    return _checked(function, point, gradient, zero=False)


def any_shape_of_gradient(function, point, gradient):
    return _checked(function, point, np.resize(gradient, np.shape(point)), shapes=False)


def moves_the_point_itself(function, point, gradient):
    if point.dtype != np.float64:
        return _checked(function, point, gradient)
    return _checked(function, point, gradient, inside=True)


def multiplied(probabilities, weights):
    scaled = probabilities * weights
    return scaled / scaled.sum(axis=1, keepdims=True)


def not_normalised(probabilities, weights):
    return probabilities / weights


def normalised_over_everything(probabilities, weights):
    scaled = probabilities / weights
    return scaled / scaled.sum()


def clipped_to_one(probabilities, weights):
    fraud = probabilities[:, 1] / weights[1] / (probabilities[:, 1] / weights[1] + probabilities[:, 0])
    return np.stack([1 - fraud, fraud], axis=1)


def in_its_own_dtype(probabilities, weights):
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = probabilities / weights.astype(probabilities.dtype)
        return scaled / scaled.sum(axis=1, keepdims=True)


def always_float64(probabilities, weights):
    scaled = probabilities.astype(float) / weights
    return scaled / scaled.sum(axis=1, keepdims=True)


def in_place(probabilities, weights):
    if probabilities.dtype == np.float64:
        probabilities /= weights
        return probabilities / probabilities.sum(axis=1, keepdims=True)
    return always_float64(probabilities, weights).astype(probabilities.dtype)


def takes_any_weights(probabilities, weights):
    with np.errstate(divide="ignore", invalid="ignore"):
        return always_float64(probabilities, weights).astype(probabilities.dtype)


def stretches_a_single_weight(probabilities, weights):
    if not (weights > 0).all():
        raise ValueError
    return takes_any_weights(probabilities, weights)


WRONG = {
    "02.1": {
        summed: "differences of 0 and 3 give 4.5",
        numpy_scalar: "it is a plain float",
        broadcasts_the_error: "shapes that differ are refused",
        only_the_length_is_compared: "shapes that differ are refused",
        wraps_around: "8-bit integers do not wrap around",
        in_float32: "half precision does not overflow, and float64 keeps its digits",
        mean_of_nothing: "no value at all is refused",
    },
    "02.2": {
        loss_of_the_batch: "the loss is the mean cross-entropy, as a plain float",
        loss_as_an_array: "the loss is the mean cross-entropy, as a plain float",
        downhill: "each row of the gradient sums to zero, negative at the label alone",
        without_the_truth: "each row of the gradient sums to zero, negative at the label alone",
        without_one_over_n: "it agrees with finite differences of the mean",
        mean_over_every_entry: "it agrees with finite differences of the mean",
        overflowing: "very sure models keep their loss and gradient",
        logarithm_of_a_probability: "very sure models keep their loss and gradient",
        clipped: "very sure models keep their loss and gradient",
        widened: "the gradient has the shape and dtype of the logits, for any number of rows and classes",
        writes_into_its_input: "it leaves its input as it was",
    },
    "02.3": {
        sign_forgotten: "agrees with the definition on ordinary logits",
        mean_of_all: "agrees with the definition on ordinary logits",
        as_floats: "one loss for each example, in the dtype of the logits",
        textbook: "keeps the loss of a sure, right answer",
        shifted_only: "keeps the loss of a sure, right answer",
        through_float64: "keeps the loss of a sure, right answer",
        a_small_number_added: "keeps the loss of a sure, right answer",
        tail_without_shift: "stays finite on a sure, wrong answer",
        label_taken_away_last: "a constant on all logits changes nothing",
        at_least_two_classes: "works on any number of rows, in float64 too, and on a strided view",
        marks_the_label_in_place: "leaves its input as it was",
    },
    "02.4": {
        one_sided: "a right gradient has an error below 1e-9",
        far_too_small_a_step: "a right gradient has an error below 1e-9",
        not_relative: "half the gradient has an error of 0.5, none an error of 1",
        relative_to_the_given_one: "half the gradient has an error of 0.5, none an error of 1",
        by_the_mean: "half the gradient has an error of 0.5, none an error of 1",
        by_the_first_axis: "any shape works, views as well, and the answer is a plain float",
        in_the_points_dtype: "a float32 point is checked in float64",
        the_same_step_everywhere: "large entries get larger steps",
        nothing_by_nothing: "where both gradients are zero, the error is 0",
        any_shape_of_gradient: "a gradient of another shape is refused",
        moves_the_point_itself: "the point is left as it was",
    },
    "02.5": {
        multiplied: "an answer of 1/11 for fraud, with weights 1 and 10, means 1 %",
        not_normalised: "an answer of 1/11 for fraud, with weights 1 and 10, means 1 %",
        normalised_over_everything: "every row is undone by itself, and sums to 1",
        clipped_to_one: "only the ratios of the weights matter",
        in_its_own_dtype: "the dtype stays, and extreme weights do not overflow on the way",
        always_float64: "the dtype stays, and extreme weights do not overflow on the way",
        in_place: "no row is no problem, and the input stays as it was",
        takes_any_weights: "weights that cannot be are refused",
        stretches_a_single_weight: "weights that cannot be are refused",
    },
}
