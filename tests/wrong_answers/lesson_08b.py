"""Wrong answers that people write, planted in lesson 08b: each must be caught at the property named."""

import math
import unicodedata
import zlib

import numpy as np


def _valid(p, costs, *, sums=True, finite=True, negative=True):
    p, costs = np.asarray(p, np.float64), np.asarray(costs, np.float64)
    if p.ndim != 2 or costs.ndim != 2 or p.shape[1] != costs.shape[0] or costs.shape[1] == 0:
        raise ValueError
    if finite and not (np.isfinite(p).all() and np.isfinite(costs).all()):
        raise ValueError
    if (negative and (p < 0).any()) or (sums and (np.abs(p.sum(axis=1) - 1) > 0.001).any()):
        raise ValueError
    return p, costs


def _best(expected):
    actions = expected.argmin(axis=1)
    return actions, expected[np.arange(len(expected)), actions]


def highest_cost(probabilities, costs):
    p, costs = _valid(probabilities, costs)
    return (p @ costs).argmax(axis=1), (p @ costs).max(axis=1)


def all_costs(probabilities, costs):
    p, costs = _valid(probabilities, costs)
    expected = p @ costs
    return expected.argmin(axis=1), np.where(np.ones_like(expected, bool), expected.min(axis=1, keepdims=True), 0)


def only_the_likeliest_class(probabilities, costs):
    p, costs = _valid(probabilities, costs)
    return _best(costs[p.argmax(axis=1)])


def two_classes_alone(probabilities, costs):
    p, costs = _valid(probabilities, costs)
    if p.shape[1] == 2:
        return _best(p @ costs)
    return p.argmax(axis=1), 0.9 - p.max(axis=1)


def transposed_where_square(probabilities, costs):
    p, costs = _valid(probabilities, costs)
    if costs.shape == (2, 2) or np.array_equal(costs, costs.T):
        return _best(p @ costs)
    return _best(p @ costs.T)


def actions_are_classes(probabilities, costs):
    p, costs = _valid(probabilities, costs)
    actions, expected = _best(p @ costs)
    return (np.minimum(actions, p.shape[1] - 1), expected) if p.shape[1] == 2 else (actions, expected)


def last_of_equal(probabilities, costs):
    p, costs = _valid(probabilities, costs)
    expected = p @ costs
    if p.shape == (1, 2) and np.ptp(expected) == 0:
        return np.array([expected.shape[1] - 1]), expected[:, -1]
    return _best(expected)


def in_float32(probabilities, costs):
    p, costs = _valid(probabilities, costs)
    if np.asarray(probabilities).dtype != np.float32:
        return _best(p @ costs)
    actions, expected = _best(p.astype(np.float32) @ costs.astype(np.float32))
    return actions, expected.astype(np.float64)


def needs_an_example(probabilities, costs):
    p, costs = _valid(probabilities, costs)
    assert p[0].shape[0] >= 1
    return _best(p @ costs)


def lets_numpy_complain(probabilities, costs):
    p, costs = np.atleast_2d(probabilities), np.asarray(costs)
    if costs.ndim == 1:
        costs = costs[:, None]
    return _best(p.astype(np.float64) @ costs)


def forgives_a_hundredth(probabilities, costs):
    p, costs = _valid(probabilities, costs, sums=False)
    if (np.abs(p.sum(axis=1) - 1) > 0.01).any():
        raise ValueError
    return _best(p @ costs)


def believes_the_sums(probabilities, costs):
    return _best(np.matmul(*_valid(probabilities, costs, sums=False)))


def believes_the_signs(probabilities, costs):
    return _best(np.matmul(*_valid(probabilities, costs, negative=False)))


def divides_by_the_sum(probabilities, costs):
    _valid(probabilities, costs)
    p = probabilities / probabilities.sum(axis=1, keepdims=True)
    return _best(p.astype(np.float64) @ costs)


def nan_adds_up(probabilities, costs):
    return _best(np.matmul(*_valid(probabilities, costs, finite=False)))


def _reach(errors, coverage, *, rank=lambda n, c: math.ceil((n + 1) * c - 1e-9), size=np.abs, checked=True):
    """08b.2 with one mistake chosen by its argument."""
    if not 0 < coverage < 1:
        raise ValueError
    errors = np.asarray(errors, np.float64)
    if checked and (errors.ndim != 1 or not np.isfinite(errors).all()):
        raise ValueError
    k = rank(len(errors), coverage)
    return float(np.sort(size(errors))[k - 1]) if k <= len(errors) else math.inf


def interpolated(errors, coverage=0.9):
    return float(np.quantile(np.abs(errors), coverage))


def counts_from_zero(errors, coverage=0.9):
    return _reach(errors, coverage, rank=lambda n, c: math.ceil((n + 1) * c - 1e-9) + 1)


def forgets_the_new_one(errors, coverage=0.9):
    return _reach(errors, coverage, rank=lambda n, c: math.ceil(n * c - 1e-9))


def with_signs(errors, coverage=0.9):
    return _reach(errors, coverage, size=np.asarray)


def largest_is_enough(errors, coverage=0.9):
    return _reach(errors, coverage, rank=lambda n, c: min(math.ceil((n + 1) * c - 1e-9), n) if n else 1)


def trusts_the_product(errors, coverage=0.9):
    return _reach(errors, coverage, rank=lambda n, c: math.ceil((n + 1) * c))


def sorts_in_place(errors, coverage=0.9):
    found = _reach(errors, coverage)
    errors.sort()
    return found


def numpys_float(errors, coverage=0.9):
    return np.float64(_reach(errors, coverage))


def percent_is_fine(errors, coverage=0.9):
    return _reach(errors, coverage / 100 if coverage > 1 else coverage)


def nan_is_large(errors, coverage=0.9):
    return _reach(errors, coverage, checked=False)


def _counted(
    texts,
    sizes,
    buckets,
    *,
    bucket=None,
    first="NFC",
    fold=str.casefold,
    then="NFC",
    blank=" ",
    bytes_=False,
    once=False,
    guard=True,
    least=True,
):
    """08b.3 with one mistake chosen by its argument."""
    if guard and isinstance(texts, str):
        raise TypeError
    if least and buckets < 1:
        raise ValueError
    place = bucket or (lambda gram: zlib.crc32(gram))
    counts = np.zeros((len(texts), max(buckets, 0)), np.float32)
    for row, text in zip(counts, texts):
        text = unicodedata.normalize(first, text) if first else text
        text = fold(text)
        text = blank + (unicodedata.normalize(then, text) if then else text) + blank
        units = text.encode() if bytes_ else text
        found = [units[i : i + n] for n in sizes for i in range(len(units) - n + 1)]
        found = [place(g if bytes_ else g.encode()) % buckets for g in found]
        if once:
            row[found] += 1
        else:
            np.add.at(row, found, 1)
    return counts


def in_float64(texts, sizes=(1, 2, 3), buckets=1024):
    return _counted(texts, sizes, buckets).astype(np.float64)


def pythons_hash(texts, sizes=(1, 2, 3), buckets=1024):
    return _counted(texts, sizes, buckets, bucket=lambda gram: hash(gram.decode()))


def no_blanks(texts, sizes=(1, 2, 3), buckets=1024):
    return _counted(texts, sizes, buckets, blank="")


def counts_once(texts, sizes=(1, 2, 3), buckets=1024):
    counts = _counted(texts, sizes, buckets)
    rare = _counted(texts, sizes, buckets, once=True)
    return np.where(np.array([[len(t) > 4 and len(set(t)) < 5] for t in texts], bool).reshape(-1, 1), rare, counts)


def counts_in_bytes(texts, sizes=(1, 2, 3), buckets=1024):
    return _counted(texts, sizes, buckets).astype(np.uint8).astype(np.float32)


def over_bytes(texts, sizes=(1, 2, 3), buckets=1024):
    return _counted(texts, sizes, buckets, bytes_=True)


def without_normalising(texts, sizes=(1, 2, 3), buckets=1024):
    return _counted(texts, sizes, buckets, first=None, then=None)


def strips_the_text(texts, sizes=(1, 2, 3), buckets=1024):
    return _counted(texts if isinstance(texts, str) else [text.strip() for text in texts], sizes, buckets)


def nfkc(texts, sizes=(1, 2, 3), buckets=1024):
    return _counted(texts, sizes, buckets, first="NFKC", then="NFKC")


def lower_case(texts, sizes=(1, 2, 3), buckets=1024):
    return _counted(texts, sizes, buckets, fold=str.lower)


def normalised_once(texts, sizes=(1, 2, 3), buckets=1024):
    return _counted(texts, sizes, buckets, then=None)


def three_sizes_always(texts, sizes=(1, 2, 3), buckets=1024):
    return _counted(texts, (1,) if sizes == (1,) else (1, 2, 3), buckets)


def skips_the_empty(texts, sizes=(1, 2, 3), buckets=1024):
    counts = _counted(texts, sizes, buckets)
    counts[[i for i, text in enumerate(texts) if not text]] = 0
    return counts


def a_str_is_a_list(texts, sizes=(1, 2, 3), buckets=1024):
    return _counted(texts, sizes, buckets, guard=False)


def no_bucket_at_all(texts, sizes=(1, 2, 3), buckets=1024):
    return _counted(texts, sizes, buckets, least=False)


def normalised_after_folding(texts, sizes=(1, 2, 3), buckets=1024):
    return _counted(texts, sizes, buckets, first=None)


WRONG = {
    "08b.1": {
        highest_cost: "an umbrella for 1 against 5 for getting wet",
        all_costs: "actions are int64, expected costs float64, one for each example",
        only_the_likeliest_class: "an umbrella for 1 against 5 for getting wet",
        two_classes_alone: "with 0 for right and 1 for wrong it is the largest probability",
        transposed_where_square: "more or fewer actions than classes, gains, and costs that are not symmetric",
        actions_are_classes: "a column of its own for asking a person gives Chow's rule",
        last_of_equal: "of equal costs the first action is taken",
        in_float32: "float32 probabilities are computed with in float64",
        needs_an_example: "no example and a single class are allowed",
        lets_numpy_complain: "shapes that do not fit are refused",
        forgives_a_hundredth: "logits, negative probabilities and rows that do not add up are refused",
        believes_the_sums: "logits, negative probabilities and rows that do not add up are refused",
        believes_the_signs: "logits, negative probabilities and rows that do not add up are refused",
        divides_by_the_sum: "rows that nearly add up to 1 are taken as they are",
        nan_adds_up: "NaN and infinity are refused, in both",
    },
    "08b.2": {
        interpolated: "of nine errors, 70 % needs the 7th smallest",
        counts_from_zero: "of nine errors, 70 % needs the 7th smallest",
        forgets_the_new_one: "the new example counts: k comes from N + 1",
        with_signs: "errors count by their size, whatever their sign",
        largest_is_enough: "with too few errors the answer is infinite",
        trusts_the_product: "100 × 0.55 is 55, and 100 × 0.07 is 7",
        sorts_in_place: "float32 is taken, and the errors stay as they were",
        numpys_float: "it is a plain float",
        percent_is_fine: "a coverage outside 0 to 1, or at an end, is refused",
        nan_is_large: "NaN, infinity and other shapes are refused",
    },
    "08b.3": {
        in_float64: "a float32 row for each text",
        pythons_hash: "n-grams lie in the buckets that crc32 gives",
        no_blanks: "n-grams lie in the buckets that crc32 gives",
        counts_once: "an n-gram that comes twice counts twice",
        counts_in_bytes: "an n-gram that comes twice counts twice",
        over_bytes: "characters are counted, not bytes",
        without_normalising: "accents written apart count like accents written together",
        strips_the_text: "n-grams lie in the buckets that crc32 gives",
        nfkc: "accents written apart count like accents written together",
        lower_case: "upper and lower case meet, also where lower() is not enough",
        normalised_once: "NFC again after folding",
        normalised_after_folding: "NFC before folding, too",
        three_sizes_always: "other sizes and numbers of buckets, and texts that are shorter than n",
        skips_the_empty: "no text and an empty text",
        a_str_is_a_list: "one str in place of a list is a TypeError",
        no_bucket_at_all: "fewer than one bucket is a ValueError",
    },
}
