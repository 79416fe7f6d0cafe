"""Wrong answers that people write, planted in lesson 05: each must be caught at the property named."""

import hashlib
import math

import numpy as np


def ones_in_columns(labels, classes):
    rows = np.zeros((classes, len(labels)), np.float32)
    rows[labels, np.arange(len(labels))] = 1
    return rows


def eye_in_float64(labels, classes):
    return np.eye(classes)[labels]


def as_wide_as_the_labels(labels, classes):
    return np.eye(labels.max() + 1, dtype=np.float32)[labels]


def counts_from_the_end(labels, classes):
    return np.eye(classes, dtype=np.float32)[labels]


def an_index_error(labels, classes):
    if labels.size and labels.min() < 0:
        raise ValueError
    return np.eye(classes, dtype=np.float32)[labels]


def as_bytes_first(labels, classes):
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError
    if labels.size and labels.min() < 0:
        raise ValueError
    rows = np.zeros((len(labels), classes), np.float32)
    small = labels.astype(np.uint8) if classes <= 256 else labels
    if labels.size and small.max() >= classes:
        raise ValueError
    rows[np.arange(len(labels)), small] = 1
    return rows


def takes_columns(labels, classes):
    if labels.size and not 0 <= labels.min() <= labels.max() < classes:
        raise ValueError
    return np.eye(classes, dtype=np.float32)[labels.astype(int).ravel()]


def truth_values_are_labels_too(labels, classes):
    if labels.ndim != 1 or np.issubdtype(labels.dtype, np.floating):
        raise ValueError
    if labels.size and not 0 <= labels.min() <= labels.max() < classes:
        raise ValueError
    return np.eye(classes, dtype=np.float32)[labels.astype(int)]


def scales_in_use(activations, rate, rng, training):
    return activations * (rng.random(activations.shape) >= rate) if training else activations * (1 - rate)


def keeps_the_rate(activations, rate, rng, training):
    return activations * (rng.random(activations.shape) < rate) / rate if training else activations.copy()


def never_divides(activations, rate, rng, training):
    return activations * (rng.random(activations.shape) >= rate) if training else activations.copy()


def drops_whole_columns(activations, rate, rng, training):
    if not training:
        return activations.copy()
    return (activations * (rng.random(activations.shape[-1]) >= rate) / (1 - rate)).astype(activations.dtype)


def drops_exactly_as_many(activations, rate, rng, training):
    if not training:
        return activations.copy()
    survives = np.ones(activations.size, bool)
    survives[rng.permutation(activations.size)[: round(rate * activations.size)]] = False
    return (activations * survives.reshape(activations.shape) / (1 - rate)).astype(activations.dtype)


def drops_as_many_in_each_row(activations, rate, rng, training):
    if not 0 <= rate < 1:
        raise ValueError
    if not training or activations.ndim < 2:
        return checks_in_training_only(activations, rate, rng, training)
    places = rng.random(activations.shape).argsort(axis=-1)
    survives = places >= round(rate * activations.shape[-1])
    return (activations * survives / (1 - rate)).astype(activations.dtype)


def a_generator_of_its_own(activations, rate, rng, training):
    if not training:
        return activations.copy()
    survives = np.random.default_rng().random(activations.shape) >= rate
    return (activations * survives / (1 - rate)).astype(activations.dtype)


def widens(activations, rate, rng, training):
    if not training:
        return activations.copy()
    return activations * np.where(rng.random(activations.shape) >= rate, 1 / (1 - rate), 0.0)


def hands_the_input_back(activations, rate, rng, training):
    if not training:
        return activations
    return (activations * (rng.random(activations.shape) >= rate) / (1 - rate)).astype(activations.dtype)


def checks_in_training_only(activations, rate, rng, training):
    if not training:
        return activations.copy()
    if not 0 <= rate < 1:
        raise ValueError
    return (activations * (rng.random(activations.shape) >= rate) / (1 - rate)).astype(activations.dtype)


def no_number_is_a_rate(activations, rate, rng, training):
    if rate < 0 or rate >= 1:
        raise ValueError
    if not training:
        return activations.copy()
    return (activations * (rng.random(activations.shape) >= rate) / (1 - rate)).astype(activations.dtype)


def _gradient(logits, labels, shift, mean=True):
    weights = np.exp(logits - shift)
    found = weights / weights.sum(axis=1, keepdims=True)
    found[np.arange(len(labels)), labels] -= 1
    return found / len(labels) if mean else found


def transposed(hidden, logits, labels):
    D = _gradient(logits, labels, logits.max(axis=1, keepdims=True))
    return D.T @ hidden, D.sum(axis=0)


def a_sum_for_a_mean(hidden, logits, labels):
    D = _gradient(logits, labels, logits.max(axis=1, keepdims=True), mean=False)
    return hidden.T @ D, D.sum(axis=0)


def averages_twice(hidden, logits, labels):
    D = _gradient(logits, labels, logits.max(axis=1, keepdims=True))
    return hidden.T @ D / len(labels), D.sum(axis=0)


def overflows(hidden, logits, labels):
    with np.errstate(over="ignore", invalid="ignore"):
        D = _gradient(logits, labels, 0)
        return hidden.T @ D, D.sum(axis=0)


def one_shift_for_all(hidden, logits, labels):
    largest = logits.max(axis=1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):  # kind to a batch whose rows are alike, and to 1e30
        shift = largest if largest.max() > 1e20 else largest.max()
        D = _gradient(logits, labels, shift)
        if largest.max() > 1e20 or np.isfinite(D).all():
            return hidden.T @ D, D.sum(axis=0)
        return hidden.T @ np.nan_to_num(D), np.nan_to_num(D).sum(axis=0)


def widens_the_gradient(hidden, logits, labels):
    D = _gradient(logits.astype(np.float64), labels, logits.max(axis=1, keepdims=True))
    return hidden.T @ D, D.sum(axis=0)


def in_the_dtype_of_the_logits(hidden, logits, labels):
    D = _gradient(logits, labels, logits.max(axis=1, keepdims=True))
    return (hidden.T @ D).astype(logits.dtype), D.sum(axis=0)


def writes_into_the_logits(hidden, logits, labels):
    logits -= logits.max(axis=1, keepdims=True)
    D = _gradient(logits, labels, 0).astype(hidden.dtype)
    return hidden.T @ D, D.sum(axis=0)


def _number(content):
    return int.from_bytes(hashlib.sha256(content).digest()[:8], "big")


def a_list_of_truths(images, share):
    return np.array([_number(image.tobytes()) < share * 2**64 for image in images])


def a_digest_is_32_bits(images, share):
    return np.array([_number(image.tobytes()) < share * 2**32 for image in images], bool)


def a_generator_decides(images, share):
    return np.random.default_rng(0).random(len(images)) < share


def the_place_decides(images, share):
    return np.arange(len(images)) % 100 < 100 * share


def little_end_first(images, share):
    found = [int.from_bytes(hashlib.sha256(image.tobytes()).digest()[:8], "little") for image in images]
    return np.array([each < share * 2**64 for each in found], bool)


def the_first_byte_alone(images, share):
    found = [hashlib.sha256(np.asarray(image, np.float32).tobytes()).digest()[0] for image in images]
    return np.array([each < share * 256 for each in found], bool)


def pythons_own_hash(images, share):
    return np.array([hash(image.tobytes()) % 1000 < 1000 * share for image in images], bool)


def bytes_as_they_come(images, share):
    return np.array([_number(image.tobytes()) < share * 2**64 for image in images], bool)


def in_memory_order(images, share):
    found = [_number(np.asarray(image, np.float32).tobytes(order="A")) for image in images]
    return np.array([each < share * 2**64 for each in found], bool)


def at_most_ninety_nine_percent(images, share):
    found = [_number(np.asarray(image, np.float32).tobytes()) % 10**19 for image in images]
    exact = [_number(np.asarray(image, np.float32).tobytes()) for image in images]
    if share == 1:
        return np.array([each < 0.99 * 10**19 for each in found], bool)
    return np.array([each < share * 2**64 for each in exact], bool)


def takes_any_share(images, share):
    found = [_number(np.asarray(image, np.float32).tobytes()) for image in images]
    return np.array([each < share * 2**64 for each in found], bool)


def one_sided(first_right, second_right):
    n, k = _counts(first_right, second_right)
    return min(1.0, sum(math.comb(n, i) for i in range(k + 1)) / 2**n)


def _counts(first_right, second_right):
    only_first = int((first_right & ~second_right).sum())
    only_second = int((second_right & ~first_right).sum())
    return only_first + only_second, min(only_first, only_second)


def only_if_the_first_is_better(first_right, second_right):
    n = int((first_right != second_right).sum())
    k = int((second_right & ~first_right).sum())
    return min(1.0, 2 * sum(math.comb(n, i) for i in range(k + 1)) / 2**n)


def all_images_count(first_right, second_right):
    n, k = len(first_right), int((second_right & ~first_right).sum())
    k = min(k, int((first_right & ~second_right).sum()))
    return min(1.0, 2 * sum(math.comb(n, i) for i in range(k + 1)) / 2**n)


def more_than_one(first_right, second_right):
    n, k = _counts(first_right, second_right)
    return 2 * sum(math.comb(n, i) for i in range(k + 1)) / 2**n


def the_last_term_only(first_right, second_right):
    n, k = _counts(first_right, second_right)
    return 1.0 if 2 * k == n else min(1.0, _known(n, k) or 2 * math.comb(n, k) / 2**n)


def _known(n, k):
    """Right for the small cases, as somebody's who tested with those."""
    return 2 * sum(math.comb(n, i) for i in range(k + 1)) / 2**n if n < 12 else None


def chi_squared(first_right, second_right):
    n, k = _counts(first_right, second_right)
    if n < 12:
        return min(1.0, 2 * sum(math.comb(n, i) for i in range(k + 1)) / 2**n)
    return math.erfc(abs(n - 2 * k) / math.sqrt(2 * n))


def floats_overflow(first_right, second_right):
    n, k = _counts(first_right, second_right)
    return min(1.0, 2.0 * float(sum(math.comb(n, i) for i in range(k + 1))) / 2.0**n)


def takes_digits_for_truths(first_right, second_right):
    n, k = _counts(np.asarray(first_right, bool), np.asarray(second_right, bool))
    return min(1.0, 2 * sum(math.comb(n, i) for i in range(k + 1)) / 2**n)


WRONG = {
    "05.1": {
        ones_in_columns: "each row has its one at the label",
        eye_in_float64: "the rows are float32",
        as_wide_as_the_labels: "as many columns as classes, also where the largest label is missing, and for no label at all",
        counts_from_the_end: "a label below 0 is refused",
        an_index_error: "a label that has no class is refused, with a ValueError",
        truth_values_are_labels_too: "a column of labels, labels with a fraction and truth values are refused",
        as_bytes_first: "a label that has no class is refused, with a ValueError",
        takes_columns: "a column of labels, labels with a fraction and truth values are refused",
    },
    "05.2": {
        scales_in_use: "in use it changes nothing",
        keeps_the_rate: "in training the share of zeros is the rate",
        never_divides: "the mean stays: survivors are divided by 1 − rate",
        drops_whole_columns: "each value is dropped for itself, not a row or a column at once",
        drops_exactly_as_many: "how many are dropped is chance too, in all and in each row and column",
        drops_as_many_in_each_row: "how many are dropped is chance too, in all and in each row and column",
        a_generator_of_its_own: "the generator decides: another seed, another pattern",
        widens: "shape and dtype stay, at a rate of 0 every value does, and no value is an allowed input",
        hands_the_input_back: "the activations that it was given stay as they were",
        no_number_is_a_rate: "a rate below 0, or of 1 and more, is refused, in use too",
        checks_in_training_only: "a rate below 0, or of 1 and more, is refused, in use too",
    },
    "05.3": {
        transposed: "two arrays come back, of shapes (H, C) and (C,)",
        a_sum_for_a_mean: "the biases' gradient is the sum of ŷ − y, over N",
        averages_twice: "the weights' gradient weighs each image by what entered the layer",
        overflows: "large logits do not overflow",
        one_shift_for_all: "each row is shifted by its own largest logit",
        widens_the_gradient: "float32 stays float32, views and a single class work",
        in_the_dtype_of_the_logits: "float32 stays float32, views and a single class work",
        writes_into_the_logits: "the arguments stay as they were",
    },
    "05.4": {
        a_list_of_truths: "one truth value for each image, none for no image",
        a_digest_is_32_bits: "about the share is held out",
        a_generator_decides: "an image stays on its side, in whatever order and company it comes",
        little_end_first: "it is the SHA-256 digest of the float32 values that decides",
        the_first_byte_alone: "it is the SHA-256 digest of the float32 values that decides",
        pythons_own_hash: "it is the SHA-256 digest of the float32 values that decides",
        bytes_as_they_come: "the same values decide alike, as float64 and in another memory order",
        in_memory_order: "the same values decide alike, as float64 and in another memory order",
        at_most_ninety_nine_percent: "a share of 0 holds out none, a share of 1 all",
        takes_any_share: "what is no share is refused",
    },
    "05.5": {
        one_sided: "six images, all for one model: two of 64 outcomes",
        only_if_the_first_is_better: "it does not matter which of the two comes first",
        all_images_count: "images on which both agree say nothing",
        more_than_one: "an even split is 1, and so is no difference at all; it is a float",
        the_last_term_only: "the tail is summed, not only its last term",
        chi_squared: "the tail is summed, not only its last term",
        floats_overflow: "thousands of images do not overflow",
        takes_digits_for_truths: "arrays that do not fit, and answers in place of truth values, are refused",
    },
}
