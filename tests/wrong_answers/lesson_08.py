"""Wrong answers that people write, planted in lesson 08: each must be caught at the property named."""

import unicodedata
import zlib

import numpy as np


def _rgb(
    picture,
    order="RGB",
    *,
    cut=False,
    guess=False,
    stack=True,
    turn=True,
    paper=True,
    front=False,
    same=False,
    checked=True,
    nan=True,
):
    """08.1 with one mistake chosen by its argument."""
    if checked:
        if picture.dtype != np.uint8 and picture.dtype.kind != "f":
            raise ValueError
        if order not in ("RGB", "BGR") or picture.ndim not in (2, 3):
            raise ValueError
        if picture.ndim == 3 and picture.shape[2] not in (3, 4):
            raise ValueError
    if nan and picture.dtype.kind == "f" and not ((picture >= 0) & (picture <= 1)).all():
        raise ValueError
    if same and picture.dtype == np.uint8 and picture.ndim == 3 and picture.shape[2] == 3 and order == "RGB":
        return picture
    if picture.ndim == 2:
        picture = np.stack([picture] * 3, axis=2 if stack else 0)
    bytes_sent = picture.max(initial=0) > 1 if guess else picture.dtype == np.uint8
    values = picture.astype(np.float64) / (255 if bytes_sent else 1)
    if order == "BGR" and turn:
        values = values[..., ::-1] if front else np.dstack([values[..., 2::-1], values[..., 3:]])
    colours = values[..., :3]
    if values.shape[2] == 4 and paper:
        colours = colours * values[..., 3:] + (1 - values[..., 3:])
    scaled = 255 * colours
    return (scaled + 1e-9 if cut else np.rint(scaled)).astype(np.uint8)


def scales_bytes_too(picture, order="RGB"):
    return (255.0 * picture).astype(np.uint8)


def channels_first(picture, order="RGB"):
    return _rgb(picture, order, stack=False)


def deaf_to_the_order(picture, order="RGB"):
    return _rgb(picture, order, turn=False)


def cuts_off(picture, order="RGB"):
    return _rgb(picture, order, cut=True)


def guesses_by_the_maximum(picture, order="RGB"):
    if picture.dtype.kind == "f" and picture.min() >= 0 and picture.max() == 1 and (picture == picture.round()).all():
        return np.stack([picture.astype(np.uint8)] * 3, axis=2)  # "ones are bytes"
    return _rgb(picture, order)


def drops_the_opacity(picture, order="RGB"):
    return _rgb(picture, order, paper=False)


def opacity_first(picture, order="RGB"):
    return _rgb(picture, order, front=True)


def hands_back_the_same(picture, order="RGB"):
    return _rgb(picture, order, same=True)


def turns_a_view(picture, order="RGB"):
    if picture.dtype == np.uint8 and picture.ndim == 3 and picture.shape[2] == 3 and order == "BGR":
        return picture[..., ::-1]
    return _rgb(picture, order)


def float_opacity_as_bytes(picture, order="RGB"):
    if picture.dtype.kind == "f" and picture.ndim == 3 and picture.shape[2] == 4:
        picture = np.dstack([picture[..., :3], picture[..., 3:] / 255])
    return _rgb(picture, order)


def takes_any_shape(picture, order="RGB"):
    return _rgb(picture, order, checked=False)


def lets_nan_pass(picture, order="RGB"):
    if picture.dtype.kind == "f" and ((picture < 0) | (picture > 1)).any():
        raise ValueError
    with np.errstate(invalid="ignore"):
        return _rgb(picture, order, nan=False)


def _check(records, fields, number, *, missing=True, unknown=True, bools=True, nan=True, first=False, words=True):
    """08.2's problems, with one mistake chosen by its argument."""
    problems = []
    for r, record in enumerate(records):
        for name, low, high in fields:
            value = record.get(name)
            if name not in record:
                problems += [f"row {r}, {name}: missing"] * missing
            elif (bools and isinstance(value, bool | np.bool_)) or not isinstance(value, number):
                problems.append(f"row {r}, {name}: expected a number, got {value!r}")
            elif (value < low or value > high) or (nan and not low <= value <= high):
                problems.append(
                    f"row {r}, {name}: expected {low} to {high}, got {value!r}" if words else f"row {r}, {name}: range"
                )
        problems += [f"row {r}, {n}: unknown" for n in record if n not in {f[0] for f in fields}] * unknown
    if problems:
        raise ValueError(problems[0] if first else "\n".join(problems))


NUMBER = int | float | np.integer | np.floating


def _table(records, fields):
    return np.array([[r[n] for n, _, _ in fields] for r in records], np.float32).reshape(len(records), len(fields))


def float64_rows(records, fields):
    return _table(records, fields).astype(np.float64)


def by_position(records, fields):
    return np.array([list(r.values()) for r in records], np.float32).reshape(len(records), len(fields))


def no_reshape(records, fields):
    _check(records, fields, NUMBER)
    return np.array([[r[n] for n, _, _ in fields] for r in records], np.float32)


def pythons_numbers_alone(records, fields):
    _check(records, fields, int | float)
    return _table(records, fields)


def never_missing(records, fields):
    _check(records, fields, NUMBER, missing=False)
    return _table([{n: r.get(n, 0) for n, _, _ in fields} for r in records], fields)


def extra_is_fine(records, fields):
    _check(records, fields, NUMBER, unknown=False)
    return _table(records, fields)


def says_only_where(records, fields):
    _check(records, fields, NUMBER, words=False)
    return _table(records, fields)


def reads_text_as_numbers(records, fields):
    read = [{k: float(v) if isinstance(v, str) else v for k, v in r.items()} for r in records]
    _check(read, fields, NUMBER)
    return _table(read, fields)


def nan_is_in_range(records, fields):
    _check(records, fields, NUMBER, nan=False)
    return _table(records, fields)


def true_is_one(records, fields):
    _check(records, fields, int | float | np.integer | np.floating | np.bool_, bools=False)
    return _table(records, fields)


def stops_at_the_first(records, fields):
    for r, record in enumerate(records):  # a record's names are compared at once, its values one by one
        names = [f"row {r}, {n}: missing" for n, _, _ in fields if n not in record]
        names += [f"row {r}, {n}: unknown" for n in record if n not in {f[0] for f in fields}]
        if names:
            raise ValueError("\n".join(names))
    for r, record in enumerate(records):
        try:
            _check([record], fields, NUMBER)
        except ValueError as wrong:
            raise ValueError(str(wrong).replace("row 0", f"row {r}")) from None
    return _table(records, fields)


def empties_the_records(records, fields):
    _check(records, fields, NUMBER)
    return np.array([[r.pop(n) for n, _, _ in fields] for r in records], np.float32).reshape(len(records), len(fields))


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


def nan_adds_up(probabilities, costs):
    return _best(np.matmul(*_valid(probabilities, costs, finite=False)))


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
    """08.4 with one mistake chosen by its argument."""
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


WRONG = {
    "08.1": {
        scales_bytes_too: "bytes in red, green, blue stay as they are",
        channels_first: "grey becomes three equal channels",
        deaf_to_the_order: "blue, green, red is turned around",
        cuts_off: "numbers from 0 to 1 become the nearest byte",
        guesses_by_the_maximum: "a float picture of zeros and ones is not taken for bytes",
        drops_the_opacity: "what is transparent shows white paper",
        float_opacity_as_bytes: "what is transparent shows white paper",
        opacity_first: "with BGR and opacity, the opacity stays last",
        hands_back_the_same: "the result is the caller's own, and strides do not matter",
        turns_a_view: "the result is the caller's own, and strides do not matter",
        takes_any_shape: "other shapes, dtypes and orders are refused",
        lets_nan_pass: "floats outside 0 to 1, and NaN, are refused",
    },
    "08.2": {
        float64_rows: "a float32 row for each record",
        by_position: "names decide, not the order in which a record lists them",
        no_reshape: "no records give an array of no rows and K columns",
        pythons_numbers_alone: "NumPy's numbers, and both ends of a range, are taken",
        never_missing: "a missing and an unknown column are named",
        extra_is_fine: "a missing and an unknown column are named",
        says_only_where: "a number out of range is refused with row, name, what came and what was expected",
        reads_text_as_numbers: "what is no number is refused: text, None, a list, an array",
        nan_is_in_range: "NaN and infinity are refused",
        true_is_one: "True is no age of one year",
        stops_at_the_first: "every problem is named, in the order of records and fields",
        empties_the_records: "the records stay as they were",
    },
    "08.3": {
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
        nan_adds_up: "NaN and infinity are refused, in both",
    },
    "08.4": {
        in_float64: "a float32 row for each text",
        pythons_hash: "n-grams lie in the buckets that crc32 gives",
        no_blanks: "n-grams lie in the buckets that crc32 gives",
        counts_once: "an n-gram that comes twice counts twice",
        over_bytes: "characters are counted, not bytes",
        without_normalising: "accents written apart count like accents written together",
        strips_the_text: "n-grams lie in the buckets that crc32 gives",
        nfkc: "accents written apart count like accents written together",
        lower_case: "upper and lower case meet, also where lower() is not enough",
        normalised_once: "NFC again after folding",
        three_sizes_always: "other sizes and numbers of buckets, and texts that are shorter than n",
        skips_the_empty: "no text and an empty text",
        a_str_is_a_list: "one str in place of a list is a TypeError",
        no_bucket_at_all: "fewer than one bucket is a ValueError",
    },
}
