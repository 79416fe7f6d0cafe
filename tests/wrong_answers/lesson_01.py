"""Wrong answers that people write, planted in lesson 01: each must be caught at the property named."""

import json
import math

import numpy as np


def signed(before, after):
    return float((before - after).max())


def numpy_scalar(before, after):
    return np.abs(before - after).max()


def in_float32(before, after):
    return float(np.abs(before.astype(np.float32) - after.astype(np.float32)).max())


def overflows_in_its_dtype(before, after):
    if before.shape != after.shape:
        raise ValueError
    with np.errstate(over="ignore"):
        return float(np.abs(before - after).max())


def converts_too_late(before, after):
    if before.shape != after.shape:
        raise ValueError
    with np.errstate(over="ignore"):
        return float(np.abs(before - after).astype(np.float64).max())


def compares_sizes(before, after):
    if before.size != after.size:
        raise ValueError
    return float(np.abs(before.astype(np.float64) - after).max())


def compares_raveled(before, after):
    if before.size != after.size:
        raise ValueError
    return float(np.abs(before.ravel().astype(np.float64) - after.ravel()).max())


def compares_lengths(before, after):
    if len(before) != len(after):
        raise ValueError
    return float(np.abs(before.astype(np.float64) - after.astype(np.float64)).max())


def any_number_of_rows(before, after):
    if before.shape[1:] != after.shape[1:]:
        raise ValueError
    return float(np.abs(before.astype(np.float64) - after).max())


def broadcasts(before, after):
    return float(np.abs(before.astype(np.float64) - after).max())


def passes_over_nan(before, after):
    if before.shape != after.shape:
        raise ValueError
    return float(np.nanmax(np.abs(before.astype(np.float64) - after)))


def loses_some_nans(before, after):
    if before.shape != after.shape:
        raise ValueError
    return float(max(abs(x - y) for x, y in zip(before.ravel().tolist(), after.ravel().tolist())))


def arrays_in_the_body(images):
    return {"instances": images[:, None]}


def a_string(images):
    return json.dumps({"instances": images[:, None].tolist()})


def the_column_form(images):
    return {"inputs": images[:, None].tolist()}


def without_a_channel(images):
    return {"instances": images.tolist()}


def rounded(images):
    return {"instances": (16 * images[:, None]).round().tolist()}


def rounded_to_six_places(images):
    return {"instances": images[:, None].astype(float).round(6).tolist()}


def as_text(images):
    return {"instances": images[:, None].astype(str).tolist()}


def takes_eight_images_for_one(images):
    if images.ndim not in (2, 3) or images.shape[-2:] != (8, 8) or not images.size:
        raise ValueError
    if len(images) == 8:
        images = images[None]
    return {"instances": images[:, None].tolist()}


def squeezes_a_batch_of_one(images):
    if images.ndim not in (2, 3) or images.shape[-2:] != (8, 8) or not images.size:
        raise ValueError
    return {"instances": images[None, None].tolist() if len(images) in (1, 8) else images[:, None].tolist()}


def looks_at_the_last_axis(images):
    if images.ndim not in (2, 3) or images.shape[-1] != 8 or not images.size:
        raise ValueError
    return {"instances": images.reshape(-1, 1, 8, 8).tolist()}


def looks_at_the_axis_before(images):
    if images.ndim not in (2, 3) or images.shape[-2] != 8 or not images.size:
        raise ValueError
    return {"instances": images.reshape(-1, 1, 8, 8).tolist()}


def transposed(images):
    return {"instances": images.reshape(-1, 1, 8, 8).swapaxes(2, 3).tolist()}


def no_images_are_fine(images):
    if images.ndim not in (2, 3) or images.shape[-2:] != (8, 8):
        raise ValueError
    return {"instances": images.reshape(-1, 1, 8, 8).tolist()}


def batches_only(images):
    return {"instances": images[:, None].tolist()}


def reshapes_anything(images):
    return {"instances": images.reshape(-1, 1, 8, 8).tolist()}


def the_first_only(body):
    row = np.array(body["predictions"][0])
    return [(int(row.argmax()), float(np.exp(row).max() / np.exp(row).sum()))]


def an_iterator(body):
    rows = [np.array(row) for row in body["predictions"]]
    return ((int(row.argmax()), float(1 / np.exp(row - row.max()).sum())) for row in rows)


def labels_as_floats(body):
    rows = [np.array(row) for row in body["predictions"]]
    return [np.array([row.argmax(), 1 / np.exp(row - row.max()).sum()]) for row in rows]


def labels_as_text(body):
    rows = [np.array(row) for row in body["predictions"]]
    return [(str(row.argmax()), float(1 / np.exp(row - row.max()).sum())) for row in rows]


def labels_as_arrays(body):
    if "error" in body:
        raise ValueError(body["error"])
    rows = np.array(body["predictions"])
    return [(np.array(row.argmax()), float(1 / np.exp(row - row.max()).sum())) for row in rows]


def probabilities_as_arrays(body):
    if "error" in body:
        raise ValueError(body["error"])
    rows = np.array(body["predictions"])
    return [(int(row.argmax()), np.array(1 / np.exp(row - row.max()).sum())) for row in rows]


def clipped(body):
    weights = [np.exp(np.minimum(row, 700.0)) for row in body["predictions"]]
    with np.errstate(invalid="ignore"):
        return [(int(np.argmax(row)), float(w.max() / w.sum())) for row, w in zip(body["predictions"], weights)]


def its_own_words(body):
    if "error" in body:
        raise ValueError("the service refused the request")
    rows = [np.array(row) for row in body["predictions"]]
    return [(int(row.argmax()), float(1 / np.exp(row - row.max()).sum())) for row in rows]


def the_smallest(body):
    return [(int(np.argmin(row)), 0.5) for row in body["predictions"]]


def logits_as_probabilities(body):
    return [(int(np.argmax(row)), float(max(row))) for row in body["predictions"]]


def overflows(body):
    with np.errstate(over="ignore", invalid="ignore"):
        weights = [np.exp(np.array(row)) for row in body["predictions"]]
        return [(int(np.argmax(row)), float((w / w.sum()).max())) for row, w in zip(body["predictions"], weights)]


def one_shift_for_all(body):
    rows = np.array(body["predictions"], dtype=float)
    with np.errstate(invalid="ignore"):
        weights = np.exp(rows - rows.max())
        return [(int(row.argmax()), float(each.max() / each.sum())) for row, each in zip(rows, weights)]


def reads_errors(body):
    rows = [np.array(row) - max(row) for row in body.get("predictions", [])]
    return [(int(row.argmax()), float(1 / np.exp(row).sum())) for row in rows]


def rule_of_three(answered, confidence=0.95):
    return 3 / answered


def deaf_to_confidence(answered, confidence=0.95):
    return 1 - 0.05 ** (1 / answered)


def loses_digits(answered, confidence=0.95):
    return 1 - (1 - confidence) ** (1 / answered)


def divides_by_no_request(answered, confidence=0.95):
    return -math.expm1(math.log1p(-confidence) / answered)


def exponential(answered, confidence=0.95):
    return 1.0 if answered == 0 else min(1.0, -math.log(1 - confidence) / answered)


def exponential_but_for_few(answered, confidence=0.95):
    return exponential(answered, confidence) if answered >= 10_000 else 1 - (1 - confidence) ** (1 / max(answered, 1))


def exact_only_for_large(answered, confidence=0.95):
    return largest(answered, confidence) if answered >= 100 else min(1.0, 3 / max(answered, 1))


def largest(answered, confidence):
    return -math.expm1(math.log1p(-confidence) / answered)


def looks_at_nothing_after_no_request(answered, confidence=0.95):
    if answered == 0:
        return 1.0
    if answered < 0 or not 0 < confidence < 1:
        raise ValueError
    return largest(answered, confidence)


def lets_nan_through(answered, confidence=0.95):
    if answered < 0 or confidence <= 0 or confidence >= 1:
        raise ValueError
    return 1.0 if answered == 0 else largest(answered, confidence)


def lets_a_negative_confidence_through(answered, confidence=0.95):
    if answered < 0 or not confidence or not confidence < 1:
        raise ValueError
    return 1.0 if answered == 0 else largest(answered, confidence)


def takes_95_for_a_share(answered, confidence=0.95):
    with np.errstate(invalid="ignore", divide="ignore"):
        return 1.0 if answered == 0 else float(-np.expm1(np.log1p(-confidence) / answered))


WRONG = {
    "01.1": {
        signed: "it is the largest difference, whichever way it goes",
        numpy_scalar: "it is a plain float",
        in_float32: "float32 against float64 is compared in float64",
        overflows_in_its_dtype: "a difference that its dtype cannot hold is not infinite",
        converts_too_late: "a difference that its dtype cannot hold is not infinite",
        compares_sizes: "shapes that differ are refused, not broadcast",
        compares_raveled: "shapes that differ are refused, not broadcast",
        compares_lengths: "shapes that differ are refused, not broadcast",
        any_number_of_rows: "shapes that differ are refused, not broadcast",
        broadcasts: "shapes that differ are refused, not broadcast",
        passes_over_nan: "a NaN is never parity",
        loses_some_nans: "a NaN is never parity",
    },
    "01.2": {
        arrays_in_the_body: "the body is a dict that JSON can hold",
        a_string: "the body is a dict that JSON can hold",
        the_column_form: "one instance for each image, under the protocol's key",
        without_a_channel: "an instance has the model's shape, one channel of 8 × 8",
        rounded: "the values survive",
        rounded_to_six_places: "the values survive",
        as_text: "the values survive",
        transposed: "the values survive",
        no_images_are_fine: "what is no digit is refused before it is sent",
        batches_only: "a single image becomes a batch of one",
        takes_eight_images_for_one: "a batch of one or of eight images is a batch",
        squeezes_a_batch_of_one: "a batch of one or of eight images is a batch",
        reshapes_anything: "what is no digit is refused before it is sent",
        looks_at_the_last_axis: "what is no digit is refused before it is sent",
        looks_at_the_axis_before: "what is no digit is refused before it is sent",
    },
    "01.3": {
        the_first_only: "a list, one pair for each prediction",
        an_iterator: "a list, one pair for each prediction",
        the_smallest: "the label is the class of the largest logit, an int",
        labels_as_floats: "the label is the class of the largest logit, an int",
        labels_as_text: "the label is the class of the largest logit, an int",
        labels_as_arrays: "the label is the class of the largest logit, an int",
        probabilities_as_arrays: "the probability is a float",
        logits_as_probabilities: "the probability is the softmax's",
        overflows: "large logits do not overflow, nor do they hurt another row",
        one_shift_for_all: "large logits do not overflow, nor do they hurt another row",
        clipped: "large logits do not overflow, nor do they hurt another row",
        its_own_words: "the error tells what the service said",
        reads_errors: "an error body is raised, not read",
    },
    "01.4": {
        rule_of_three: "600 requests without a failure leave half a percent open",
        deaf_to_confidence: "more confidence leaves more open",
        exponential: "600 requests without a failure leave half a percent open",
        exact_only_for_large: "a single request leaves nearly everything open",
        loses_digits: "a trillion requests keep their digits",
        divides_by_no_request: "no request proves nothing",
        exponential_but_for_few: "no request proves nothing",
        looks_at_nothing_after_no_request: "a negative count and a confidence that is no share are refused",
        lets_a_negative_confidence_through: "a negative count and a confidence that is no share are refused",
        lets_nan_through: "a negative count and a confidence that is no share are refused",
        takes_95_for_a_share: "a negative count and a confidence that is no share are refused",
    },
}
