"""Wrong answers that people write, planted in lesson 02b: each must be caught at the property named."""

import numpy as np

EPS = np.finfo(np.float64).eps


def without_a_shift(logits):
    with np.errstate(over="ignore", divide="ignore"):
        return np.log(np.exp(logits).sum(axis=-1))


def the_shift_forgotten(logits):
    return np.log(np.exp(logits - logits.max(axis=-1, keepdims=True)).sum(axis=-1))


def one_shift_for_all(logits):
    m = logits.max() if logits.size else 0
    with np.errstate(divide="ignore", invalid="ignore"):
        return m + np.log(np.exp(logits - m).sum(axis=-1))


def the_largest_alone(logits):
    return logits.max(axis=-1)


def nan_where_all_is_masked(logits):
    m = logits.max(axis=-1)
    with np.errstate(invalid="ignore"):
        return m + np.log(np.exp(logits - m[..., None]).sum(axis=-1))


def masked_made_zero(logits):
    return np.logaddexp.reduce(np.where(np.isneginf(logits), 0, logits), axis=-1)


def rows_only(logits):
    return np.logaddexp.reduce(logits, axis=1)


def squeezes_everything(logits):
    m = logits.max(axis=-1, keepdims=True)
    m = np.where(np.isneginf(m), 0, m)
    with np.errstate(divide="ignore"):
        return (m + np.log(np.exp(logits - m).sum(axis=-1, keepdims=True))).squeeze()


def squeezes_the_shift(logits):
    m = logits.max(axis=-1, keepdims=True)
    m = np.where(np.isneginf(m), 0, m)
    with np.errstate(divide="ignore"):
        return m.squeeze() + np.log(np.exp(logits - m).sum(axis=-1))


def sums_in_its_own_dtype(logits):
    m = logits.max(axis=-1, keepdims=True)
    m = np.where(np.isneginf(m), logits.dtype.type(0), m)
    with np.errstate(divide="ignore", over="ignore"):
        return m[..., 0] + np.log(np.exp(logits - m).sum(axis=-1))


def adds_one_by_one_in_its_own_dtype(logits):
    return np.logaddexp.reduce(logits, axis=-1)


def always_in_float64(logits):
    return np.logaddexp.reduce(logits.astype(float), axis=-1)


def shifted_in_place(logits):
    m = logits.max(axis=-1, keepdims=True)
    m = np.where(np.isneginf(m), 0, m).astype(logits.dtype)
    logits -= m
    with np.errstate(divide="ignore"):
        return m[..., 0] + np.log(np.exp(logits).sum(axis=-1))


def _losses(logits, labels):
    shifted = logits - logits.max(axis=1, keepdims=True)
    return np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(labels)), labels]


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


def the_maximum_where_it_overflows(logits, labels):
    rows = np.arange(len(labels))
    against = logits - logits[rows, labels][:, None]
    against[rows, labels] = -np.inf
    with np.errstate(over="ignore"):
        small = np.log1p(np.exp(against).sum(axis=1))
    return np.where(np.isinf(small), against.max(axis=1), small)


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


def relative_to_the_largest_positive(function, point, gradient):
    measured = []
    _checked(function, point, np.zeros(np.shape(point)), relative=False, over=lambda off: measured.append(off) or 0.0)
    largest = max(measured[0].max(), np.max(gradient))
    return _checked(function, point, gradient, relative=False) / float(largest) if largest else 0.0


def relative_to_the_given_one(function, point, gradient):
    largest = np.abs(gradient).max()
    return _checked(function, point, gradient, relative=False) / largest if largest else 1.0


def by_three_entries_of_many(function, point, gradient):
    if np.shape(gradient) != np.shape(point) or np.size(point) <= 3:
        return _checked(function, point, gradient)
    chosen = np.zeros(np.size(point), bool)
    chosen[np.random.default_rng(0).choice(len(chosen), 3, replace=False)] = True
    return _checked(function, point, gradient, over=lambda off: np.abs(off[chosen.reshape(np.shape(point))]).max())


def one_step_for_all(function, point, gradient):
    most = np.abs(point).max()
    return _checked(function, point, gradient, step=lambda x: EPS ** (1 / 3) * max(1.0, float(most)))


def a_step_that_shrinks(function, point, gradient):
    return _checked(function, point, gradient, step=lambda x: EPS ** (1 / 3) * (abs(x) or 1))


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


def passes_over_a_nan(function, point, gradient):
    if np.shape(gradient) != np.shape(point):
        raise ValueError
    return _checked(function, point, np.where(np.isnan(gradient), 0, gradient), over=lambda off: np.nanmax(np.abs(off)))


def floor_under_the_denominator(function, point, gradient):
    off = _checked(function, point, gradient, relative=False)
    measured = _checked(function, point, np.zeros(np.shape(point)), relative=False)
    return off / max(1e-8, measured, np.abs(gradient).max())


def small_number_in_the_denominator(function, point, gradient):
    off = _checked(function, point, gradient, relative=False)
    measured = _checked(function, point, np.zeros(np.shape(point)), relative=False)
    return off / (max(measured, np.abs(gradient).max()) + 1e-12)


def multiplied(probabilities, weights):
    scaled = probabilities * weights
    return scaled / scaled.sum(axis=1, keepdims=True)


def not_normalised(probabilities, weights):
    return probabilities / weights


def normalised_over_everything(probabilities, weights):
    scaled = probabilities / weights
    return scaled / scaled.sum()


def _checked_weights(probabilities, weights):
    if weights.shape != probabilities.shape[1:] or not (weights > 0).all():
        raise ValueError


def by_the_odds_of_two_classes(probabilities, weights):
    _checked_weights(probabilities, weights)
    with np.errstate(divide="ignore"):
        odds = probabilities[:, 1].astype(float) / probabilities[:, 0] * weights[0] / weights[1]
    return np.stack([1 / (1 + odds), odds / (1 + odds)], axis=1).astype(probabilities.dtype)


def clipped_first(probabilities, weights):
    _checked_weights(probabilities, weights)
    scaled = np.clip(probabilities.astype(float), 1e-7, 1) / weights
    return (scaled / scaled.sum(axis=1, keepdims=True)).astype(probabilities.dtype)


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
    "02b.1": {
        without_a_shift: "large and small logits in float32 neither overflow nor give −∞",
        the_shift_forgotten: "four equal logits of 0 give ln 4, and every row gets one value",
        the_largest_alone: "four equal logits of 0 give ln 4, and every row gets one value",
        one_shift_for_all: "large and small logits in float32 neither overflow nor give −∞",
        nan_where_all_is_masked: "a masked class adds nothing, and a row of masked classes gives −∞",
        masked_made_zero: "a masked class adds nothing, and a row of masked classes gives −∞",
        rows_only: "any shape works, views and no row as well",
        squeezes_everything: "any shape works, views and no row as well",
        squeezes_the_shift: "any shape works, views and no row as well",
        always_in_float64: "the dtype stays",
        shifted_in_place: "the input stays as it was",
        sums_in_its_own_dtype: "in float16 every word of a vocabulary counts",
        adds_one_by_one_in_its_own_dtype: "in float16 every word of a vocabulary counts",
    },
    "02b.2": {
        sign_forgotten: "agrees with the definition on ordinary logits",
        mean_of_all: "agrees with the definition on ordinary logits",
        as_floats: "one loss for each example, in the dtype of the logits",
        textbook: "keeps the loss of a sure, right answer",
        shifted_only: "keeps the loss of a sure, right answer",
        through_float64: "keeps the loss of a sure, right answer",
        a_small_number_added: "keeps the loss of a sure, right answer",
        tail_without_shift: "stays finite on a sure, wrong answer",
        the_maximum_where_it_overflows: "counts every class that beats the label",
        label_taken_away_last: "a constant on all logits changes nothing",
        at_least_two_classes: "works on any number of rows, in float64 too, and on a strided view",
        marks_the_label_in_place: "leaves its input as it was",
    },
    "02b.3": {
        one_sided: "a right gradient has an error below 1e-9",
        far_too_small_a_step: "a right gradient has an error below 1e-9",
        not_relative: "half the gradient has an error of 0.5, none an error of 1",
        relative_to_the_largest_positive: "half the gradient has an error of 0.5, none an error of 1",
        relative_to_the_given_one: "half the gradient has an error of 0.5, none an error of 1",
        by_the_mean: "half the gradient has an error of 0.5, none an error of 1",
        by_three_entries_of_many: "a single wrong entry among right ones is seen",
        by_the_first_axis: "any shape works, views as well, and the answer is a plain float",
        in_the_points_dtype: "a float32 point is checked in float64",
        the_same_step_everywhere: "large entries get larger steps",
        one_step_for_all: "a small entry has a step of its own, neither huge nor tiny",
        a_step_that_shrinks: "a small entry has a step of its own, neither huge nor tiny",
        floor_under_the_denominator: "the scale of the function does not matter",
        small_number_in_the_denominator: "the scale of the function does not matter",
        passes_over_a_nan: "a nan in the gradient, or from the function, gives nan",
        nothing_by_nothing: "where both gradients are zero, the error is 0",
        any_shape_of_gradient: "a gradient of another shape is refused",
        moves_the_point_itself: "the point is left as it was",
    },
    "02b.4": {
        multiplied: "an answer of 1/11 for fraud, with weights 1 and 10, means 1 %",
        not_normalised: "an answer of 1/11 for fraud, with weights 1 and 10, means 1 %",
        normalised_over_everything: "every row is undone by itself, and sums to 1",
        clipped_to_one: "only the ratios of the weights matter",
        by_the_odds_of_two_classes: "three classes work as well, and a probability of 0 stays 0",
        clipped_first: "three classes work as well, and a probability of 0 stays 0",
        in_its_own_dtype: "the dtype stays, and extreme weights do not overflow on the way",
        always_float64: "the dtype stays, and extreme weights do not overflow on the way",
        in_place: "no row is no problem, and the input stays as it was",
        takes_any_weights: "weights that cannot be are refused",
        stretches_a_single_weight: "weights that cannot be are refused",
    },
}
