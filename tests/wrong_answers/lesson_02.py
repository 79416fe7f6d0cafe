"""Wrong answers that people write, planted in lesson 02: each must be caught at the property named."""

import numpy as np


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


def converts_floats_alone(predictions, targets):
    if predictions.shape != targets.shape or not predictions.size:
        raise ValueError
    if predictions.dtype.kind == "f":
        predictions, targets = predictions.astype(np.float64), targets.astype(np.float64)
    return float(((predictions - targets) ** 2).mean())


def in_float32(predictions, targets):
    if predictions.shape != targets.shape:
        raise ValueError
    return float(((predictions.astype(np.float32) - targets.astype(np.float32)) ** 2).mean())


def mean_of_nothing(predictions, targets):
    if predictions.shape != targets.shape:
        raise ValueError
    errors = predictions.astype(float) - targets.astype(float)
    return float((errors**2).sum() / max(errors.size, 1))


def works_in_place(predictions, targets):
    if predictions.shape != targets.shape or not predictions.size:
        raise ValueError
    if predictions.dtype == np.float64:
        predictions -= targets
        return float((predictions**2).mean())
    return float(((predictions.astype(float) - targets.astype(float)) ** 2).mean())


def blind_guess_among_the_classes(labels):
    return float(np.log(len(np.unique(labels))))


def in_bits(labels):
    counts = np.unique(labels, return_counts=True)[1]
    return float(-(counts / counts.sum() * np.log2(counts / counts.sum())).sum())


def one_class_against_the_rest(labels):
    q = (labels == labels.max()).mean()
    return float(-(q * np.log(q) + (1 - q) * np.log(1 - q)))


def as_numpy_gives_it(labels):
    counts = np.unique(labels, return_counts=True)[1]
    return -(counts / counts.sum() * np.log(counts / counts.sum())).sum()


def logarithm_of_zero(labels):
    frequencies = np.bincount(labels) / len(labels)
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(-(frequencies * np.log(frequencies)).sum())


def counts_from_zero_on(labels):
    counts = np.bincount(labels)
    frequencies = counts[counts > 0] / len(labels)
    return float(-(frequencies * np.log(frequencies)).sum())


def a_small_number_against_zero(labels):
    frequencies = np.bincount(labels - labels.min()) / len(labels)
    return float(-(frequencies * np.log(frequencies + 1e-11)).sum())


def nothing_costs_nothing(labels):
    counts = np.unique(labels, return_counts=True)[1]
    frequencies = counts / max(counts.sum(), 1)
    return float(-(frequencies * np.log(frequencies)).sum())


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


def largest_of_the_batch(logits, labels):
    shifted, rows = logits - logits.max(), np.arange(len(labels))
    with np.errstate(divide="ignore", invalid="ignore"):
        sums = np.exp(shifted).sum(axis=1, keepdims=True)
        loss = float((np.log(sums[:, 0]) - shifted[rows, labels]).mean())
        gradient = np.exp(shifted) / sums
    gradient[rows, labels] -= 1
    return loss, gradient / len(logits)


def only_the_logarithm(answers):
    return np.log(answers)


def smallest_taken_as_zero(answers):
    logarithms = np.log(answers)
    return logarithms - logarithms.min(axis=1, keepdims=True)


def divided_by_their_sum(answers):
    ahead = smallest_taken_as_zero(answers)
    return ahead / ahead.sum(axis=1, keepdims=True)


def one_constant_for_all(answers):
    logarithms = np.log(answers)
    return logarithms + (1 - logarithms.sum(axis=1).mean()) / answers.shape[1]


def _undone(answers):
    with np.errstate(divide="ignore", invalid="ignore"):
        logarithms = np.log(answers.astype(float))
        return logarithms + (1 - logarithms.sum(axis=1, keepdims=True)) / answers.shape[1]


def refuses_rounding(answers):
    if not (_undone(answers) >= 0).all():
        raise ValueError
    return _undone(answers)


def returns_what_cannot_be(answers):
    return _undone(answers)


def moved_into_bounds(answers):
    return np.clip(_undone(answers), 0, 1)


def only_the_largest_is_looked_at(answers):
    classes = answers.shape[1]
    if answers.size and answers.max() > np.e / (np.e + classes - 1) + 1e-6:
        raise ValueError
    return _undone(answers)


def nan_is_not_below(answers):
    if (_undone(answers) < -0.001).any():
        raise ValueError
    return _undone(answers)


def logarithm_in_place(answers):
    if answers.dtype != float or (answers == 0).any() or not (_undone(answers) >= -0.001).all():
        if not (_undone(answers) >= -0.001).all():
            raise ValueError
        return _undone(answers)
    np.log(answers, out=answers)
    return answers + (1 - answers.sum(axis=1, keepdims=True)) / answers.shape[1]


WRONG = {
    "02.1": {
        summed: "differences of 0 and 3 give 4.5",
        numpy_scalar: "it is a plain float",
        broadcasts_the_error: "shapes that differ are refused",
        only_the_length_is_compared: "shapes that differ are refused",
        wraps_around: "8-bit integers do not wrap around",
        converts_floats_alone: "8-bit integers do not wrap around",
        in_float32: "half precision does not overflow, and float64 keeps its digits",
        mean_of_nothing: "no value at all is refused",
        works_in_place: "both arrays stay as they were",
    },
    "02.2": {
        blind_guess_among_the_classes: "10 frauds among 1,000 payments give 0.056 nats",
        in_bits: "10 frauds among 1,000 payments give 0.056 nats",
        one_class_against_the_rest: "more than two classes, each with its own frequency",
        as_numpy_gives_it: "it is a plain float",
        logarithm_of_zero: "the numbers of the classes do not matter: gaps and −1 are fine",
        counts_from_zero_on: "the numbers of the classes do not matter: gaps and −1 are fine",
        a_small_number_against_zero: "one class alone costs nothing",
        nothing_costs_nothing: "no label at all is refused",
    },
    "02.3": {
        loss_of_the_batch: "the loss is the mean cross-entropy",
        loss_as_an_array: "the loss is a plain float",
        downhill: "each row of the gradient sums to zero, negative at the label alone",
        without_the_truth: "each row of the gradient sums to zero, negative at the label alone",
        without_one_over_n: "it agrees with finite differences of the mean",
        mean_over_every_entry: "it agrees with finite differences of the mean",
        overflowing: "very sure models keep their loss and gradient",
        logarithm_of_a_probability: "very sure models keep their loss and gradient",
        clipped: "very sure models keep their loss and gradient",
        largest_of_the_batch: "rows of very different size do not disturb each other",
        widened: "the gradient has the shape and dtype of the logits, for any number of rows and classes",
        writes_into_its_input: "it leaves its input as it was",
    },
    "02.4": {
        only_the_logarithm: "the probabilities of one row come back",
        smallest_taken_as_zero: "the probabilities of one row come back",
        divided_by_their_sum: "the probabilities of one row come back",
        one_constant_for_all: "every row is undone by itself, sure and unsure ones",
        refuses_rounding: "any number of rows and classes, float32 too, and a view",
        returns_what_cannot_be: "a row that is no softmax of probabilities is refused, even among good ones",
        moved_into_bounds: "a row that is no softmax of probabilities is refused, even among good ones",
        only_the_largest_is_looked_at: "a row that is no softmax of probabilities is refused, even among good ones",
        nan_is_not_below: "a row with an entry of 0 is refused",
        logarithm_in_place: "the input stays as it was",
    },
}
