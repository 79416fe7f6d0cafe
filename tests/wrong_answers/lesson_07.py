"""Wrong answers that people write, planted in lesson 07: each must be caught at the property named."""

import io
import json
import zipfile

import numpy as np


def channel_not_last(batch):
    return np.array(batch.transpose(0, 3, 2, 1))


def reshaped(batch):
    n, c, h, w = batch.shape
    return batch.reshape(n, h, w, c).copy()


def guesses_the_batch(batch):
    _, c, h, w = batch.shape
    return np.stack([picture.transpose(1, 2, 0) for picture in batch]).reshape(-1, h, w, c)


def always_float32(batch):
    return np.array(batch.transpose(0, 2, 3, 1), np.float32, order="C")


def only_transposed(batch):
    return batch.transpose(0, 2, 3, 1)


def contiguous_enough(batch):
    return np.ascontiguousarray(batch.transpose(0, 2, 3, 1))


def in_the_order_that_it_finds(batch):
    return batch.transpose(0, 2, 3, 1).copy(order="A")


def any_rank(batch):
    return np.array(np.moveaxis(batch, 1, -1), order="C")


def not_transposed(weight, channels, height, width):
    return weight.reshape(len(weight), channels, height, width).transpose(0, 2, 3, 1).reshape(len(weight), -1)


def transposed_alone(weight, channels, height, width):
    return weight.T


def width_before_height(weight, channels, height, width):
    return weight.reshape(-1, channels, height, width).transpose(3, 2, 1, 0).reshape(-1, len(weight))


def assumes_squares(weight, channels, height, width):
    side = round((height * width) ** 0.5)
    return weight.reshape(-1, channels, side, side).transpose(2, 3, 1, 0).reshape(-1, len(weight))


def squeezed(weight, channels, height, width):
    turned = weight.reshape(-1, channels, height, width).transpose(2, 3, 1, 0)
    return np.squeeze(turned.reshape(height * width * channels, -1))


def in_float32(weight, channels, height, width):
    return weight.astype(np.float32).reshape(-1, channels, height, width).transpose(2, 3, 1, 0).reshape(-1, len(weight))


def outputs_guessed(weight, channels, height, width):
    turned = weight.reshape(-1, channels, height, width).transpose(2, 3, 1, 0)
    return turned.reshape(height * width * channels, -1)


def _two_largest(values):
    ordered = np.sort(values.astype(np.float64), axis=1)
    return ordered[:, -1], ordered[:, -2]


def _at_risk(reference, tolerance):
    first, second = _two_largest(reference)
    return np.flatnonzero(first - second <= 2 * tolerance)


def a_mask(reference, answer, tolerance):
    first, second = _two_largest(reference)
    return bool((np.abs(answer - reference) <= tolerance).all()), first - second <= 2 * tolerance


def classes_alone(reference, answer, tolerance):
    return bool((reference.argmax(1) == answer.argmax(1)).all()), _at_risk(reference, tolerance)


def no_absolute_value(reference, answer, tolerance):
    return bool((answer - reference <= tolerance).all()), _at_risk(reference, tolerance)


def strictly_below(reference, answer, tolerance):
    return bool((np.abs(answer - reference) < tolerance).all()), _at_risk(reference, tolerance)


def once_the_tolerance(reference, answer, tolerance):
    return bool((np.abs(answer - reference) <= tolerance).all()), _at_risk(reference, tolerance / 2)


def second_by_exclusion(reference, answer, tolerance):
    largest = reference.max(axis=1, keepdims=True)
    second = np.where(reference == largest, -np.inf, reference).max(axis=1)
    return bool((np.abs(answer - reference) <= tolerance).all()), np.flatnonzero(
        largest[:, 0] - second <= 2 * tolerance
    )


def margins_of_the_answer(reference, answer, tolerance):
    return bool((np.abs(answer - reference) <= tolerance).all()), _at_risk(answer, tolerance)


def in_its_own_dtype(reference, answer, tolerance):
    with np.errstate(all="ignore"):
        return bool((np.abs(answer - reference) <= tolerance).all()), _at_risk(reference, tolerance)


def in_single_precision(reference, answer, tolerance):
    return in_its_own_dtype(reference.astype(np.float32), answer.astype(np.float32), tolerance)


def _float64(reference, answer, tolerance):
    if reference.shape != answer.shape or reference.ndim != 2 or not 0 <= tolerance < np.inf:
        raise ValueError("no such shapes or tolerance")
    if len(reference) == 0 or reference.shape[1] < 2:
        raise ValueError("nothing to compare")
    return reference.astype(np.float64), answer.astype(np.float64)


def leads_in_its_own_dtype(reference, answer, tolerance):
    expected, got = _float64(reference, answer, tolerance)
    with np.errstate(all="ignore"):
        ordered = np.sort(reference, axis=1)
        risk = ordered[:, -1] - ordered[:, -2] <= 2 * tolerance
        return bool((np.abs(got - expected) <= tolerance).all()), np.flatnonzero(
            risk | ~np.isfinite(expected).all(axis=1)
        )


def finite_leads_alone(reference, answer, tolerance):
    expected, got = _float64(reference, answer, tolerance)
    with np.errstate(all="ignore"):
        first, second = _two_largest(expected)
        lead = first - second
        return bool((np.abs(got - expected) <= tolerance).all()), np.flatnonzero(
            (lead <= 2 * tolerance) | ~np.isfinite(lead)
        )


def by_allclose(reference, answer, tolerance):
    expected, got = _float64(reference, answer, tolerance)
    first, second = _two_largest(np.where(np.isfinite(expected), expected, 0.0))
    risk = (first - second <= 2 * tolerance) | ~np.isfinite(expected).all(axis=1)
    return bool(np.allclose(got, expected, rtol=0, atol=tolerance)), np.flatnonzero(risk)


def takes_more_axes(reference, answer, tolerance):
    if reference.shape != answer.shape or reference.ndim < 2 or not 0 <= tolerance < np.inf:
        raise ValueError("no such shapes or tolerance")
    if len(reference) == 0 or reference.shape[-1] < 2:
        raise ValueError("nothing to compare")
    expected, got = reference.astype(np.float64), answer.astype(np.float64)
    with np.errstate(all="ignore"):
        ordered = np.sort(expected, axis=-1)
        risk = (ordered[..., -1] - ordered[..., -2] <= 2 * tolerance) | ~np.isfinite(expected).all(axis=-1)
        return bool((np.abs(got - expected) <= tolerance).all()), np.flatnonzero(risk)


def empty_of_floats(reference, answer, tolerance):
    return bool((np.abs(answer - reference) <= tolerance).all()), np.array([*_at_risk(reference, tolerance)])


def lets_nan_pass(reference, answer, tolerance):
    expected, got = reference.astype(float), answer.astype(float)
    with np.errstate(invalid="ignore"):
        apart = np.abs(got - expected)
        return not (apart > tolerance).any(), _at_risk(reference, tolerance)


def refuses_nothing(reference, answer, tolerance):
    expected, got = reference.astype(float), answer.astype(float)
    finite = np.isfinite(expected) & np.isfinite(got)
    known = np.isfinite(expected).all(axis=1)
    safe = np.where(known[:, None], expected, 0.0)
    apart = np.abs(np.where(finite, got, np.inf) - np.where(finite, expected, 0.0))
    return bool((apart <= tolerance).all()), _at_risk(safe, tolerance)


def _config(raw):
    try:
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            config = json.loads(archive.read("config.json"))
    except (zipfile.BadZipFile, KeyError):
        raise ValueError("no Keras archive") from None
    if not isinstance(config, dict):
        raise ValueError("no JSON object")
    return config


def layer_classes(raw):
    return [layer["class_name"] for layer in _config(raw)["config"]["layers"] if layer["class_name"] == "Lambda"]


def searches_the_text(raw):
    layers = _config(raw)["config"]["layers"]
    return [layer["config"]["name"] for layer in layers if "lambda" in json.dumps(layer).lower()]


def bytecode_alone(raw):
    return list(dict.fromkeys(_walk(_config(raw), None, ("__lambda__",))))


def first_level_only(raw):
    layers = _config(raw)["config"]["layers"]
    return [layer["config"]["name"] for layer in layers if layer["class_name"] == "Lambda"]


def layers_lists_only(raw):
    def visit(model):
        for layer in model["config"].get("layers", []) + [model["config"].get("layer")]:
            if layer is not None:
                yield from [layer["config"]["name"]] if layer["class_name"] == "Lambda" else visit(layer)

    return list(visit(_config(raw)))


def _walk(item, part, classes=("Lambda", "__lambda__")):
    if isinstance(item, dict):
        settings = item.get("config")
        if "class_name" in item and isinstance(settings, dict) and "name" in settings:
            part = settings["name"]
        if item.get("class_name") in classes:
            yield part
        for each in item.values():
            yield from _walk(each, part, classes)
    elif isinstance(item, list):
        for each in item:
            yield from _walk(each, part, classes)


def named_twice(raw):
    return list(_walk(_config(raw), None))


def in_alphabetical_order(raw):
    return sorted(set(_walk(_config(raw), None)))


def in_order_of_the_code(raw):
    return list(dict.fromkeys(_walk(_config(raw), None)))


def stops_at_the_first_code(raw):
    carriers = {}

    def visit(item, part):
        if isinstance(item, dict):
            settings = item.get("config")
            if "class_name" in item and isinstance(settings, dict) and "name" in settings:
                part = settings["name"]
                carriers.setdefault(part, False)
            if item.get("class_name") in ("Lambda", "__lambda__"):
                carriers[part] = True
                return
        for each in item.values() if isinstance(item, dict) else item if isinstance(item, list) else ():
            visit(each, part)

    visit(_config(raw), None)
    return [name for name, carries in carriers.items() if carries]


def _in_order(config):
    carriers = set(_walk(config, None))
    begun = [name for name in _begin(config) if name in carriers]
    return list(dict.fromkeys(begun))


def _begin(item):
    if isinstance(item, dict):
        settings = item.get("config")
        if "class_name" in item and isinstance(settings, dict) and "name" in settings:
            yield settings["name"]
    for each in item.values() if isinstance(item, dict) else item if isinstance(item, list) else ():
        yield from _begin(each)


def errors_of_its_own(raw):
    with zipfile.ZipFile(io.BytesIO(raw)) as archive:
        return _in_order(json.loads(archive.read("config.json")))


def anything_is_a_config(raw):
    try:
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            return _in_order(json.loads(archive.read("config.json")))
    except (zipfile.BadZipFile, KeyError):
        raise ValueError("no Keras archive") from None


def two_errors_known(raw):
    return _in_order(_config(raw))


def all_but_the_walk_is_tried(raw):
    try:
        config = _config(raw)
    except RecursionError:
        raise
    except Exception as broken:
        raise ValueError("no Keras archive") from broken
    return _in_order(config)


def _careful(raw, walk):
    try:
        return walk(_config(raw))
    except Exception as broken:
        raise ValueError("no Keras archive") from broken


def a_listed_name_is_refused(raw):
    return _careful(raw, _in_order)


def _begin_with_text(item):
    if isinstance(item, dict):
        settings = item.get("config")
        if "class_name" in item and isinstance(settings, dict) and isinstance(settings.get("name"), str):
            yield settings["name"]
    for each in item.values() if isinstance(item, dict) else item if isinstance(item, list) else ():
        yield from _begin_with_text(each)


def _walk_of_text(item, part):
    if isinstance(item, dict):
        settings = item.get("config")
        if "class_name" in item and isinstance(settings, dict) and isinstance(settings.get("name"), str):
            part = settings["name"]
        if item.get("class_name") in ("Lambda", "__lambda__") and part is not None:
            yield part
    for each in item.values() if isinstance(item, dict) else item if isinstance(item, list) else ():
        yield from _walk_of_text(each, part)


def any_class_with_lambda_in_it(raw):
    def carries(item):
        return "lambda" in str(item.get("class_name", "")).lower()

    return _careful(raw, lambda config: list(dict.fromkeys(_walk_where(config, None, carries))))


def code_by_its_key(raw):
    def carries(item):
        return item.get("class_name") == "Lambda" or "code" in item

    return _careful(raw, lambda config: list(dict.fromkeys(_walk_where(config, None, carries))))


def _walk_where(item, part, carries):
    if isinstance(item, dict):
        settings = item.get("config")
        if "class_name" in item and isinstance(settings, dict) and isinstance(settings.get("name"), str):
            part = settings["name"]
        if carries(item):
            yield part
    for each in item.values() if isinstance(item, dict) else item if isinstance(item, list) else ():
        yield from _walk_where(each, part, carries)


def code_without_a_part_is_clean(raw):
    def walk(config):
        carriers = set(_walk_of_text(config, None))
        return list(dict.fromkeys(name for name in _begin_with_text(config) if name in carriers))

    return _careful(raw, walk)


_REFUSED = "bytes that are not such an archive are refused"

WRONG = {
    "07.1": {
        channel_not_last: "shape (N, H, W, C)",
        reshaped: "each point keeps its place in its picture",
        guesses_the_batch: "a view with gaps, a batch of one and an empty batch",
        always_float32: "the dtype stays",
        only_transposed: "it has memory of its own, in row-major order",
        in_the_order_that_it_finds: "it has memory of its own, in row-major order",
        contiguous_enough: "with one channel too",
        any_rank: "another number of axes is refused",
    },
    "07.2": {
        not_transposed: "shape (H·W·C, M)",
        transposed_alone: "on square activations, it gives the outputs that PyTorch's weight gives",
        width_before_height: "on square activations, it gives the outputs that PyTorch's weight gives",
        assumes_squares: "where height and width differ, too",
        squeezed: "one output, one channel, one place",
        in_float32: "the numbers and their dtype stay, from a view with gaps too",
        outputs_guessed: "a weight that does not fit is refused",
    },
    "07.3": {
        a_mask: "two results: a plain bool, and an array of whole numbers",
        classes_alone: "it passes up to the tolerance, and not beyond, in either direction and at any entry",
        no_absolute_value: "it passes up to the tolerance, and not beyond, in either direction and at any entry",
        strictly_below: "it passes up to the tolerance, and not beyond, in either direction and at any entry",
        once_the_tolerance: "an example is at risk if its class leads by at most twice the tolerance",
        second_by_exclusion: "a tie is at risk at any tolerance, 0 too",
        margins_of_the_answer: "the risk is computed from the reference alone",
        empty_of_floats: "two results: a plain bool, and an array of whole numbers",
        in_its_own_dtype: "differences are taken in float64",
        in_single_precision: "differences are taken in float64",
        leads_in_its_own_dtype: "differences are taken in float64",
        finite_leads_alone: "an entry that is not finite never passes; in the reference it puts the example at risk",
        by_allclose: "an entry that is not finite never passes; in the reference it puts the example at risk",
        takes_more_axes: "wrong shapes, sizes and tolerances are refused",
        lets_nan_pass: "an entry that is not finite never passes; in the reference it puts the example at risk",
        refuses_nothing: "wrong shapes, sizes and tolerances are refused",
    },
    "07.4": {
        layer_classes: "a Lambda layer among others is found by its name",
        searches_the_text: "the course's own file carries none, nor does a layer that is only *named* Lambda",
        any_class_with_lambda_in_it: "the course's own file carries none, nor does a layer that is only *named* Lambda",
        code_by_its_key: "the course's own file carries none, nor does a layer that is only *named* Lambda",
        bytecode_alone: "a Lambda layer counts also where it names a function instead of holding bytecode",
        first_level_only: "in a model in a model, and in a wrapper",
        layers_lists_only: "bytecode that is no layer: an activation, a list, a loss",
        named_twice: "each once, in the order in which they begin",
        in_alphabetical_order: "each once, in the order in which they begin",
        stops_at_the_first_code: "each once, in the order in which they begin",
        in_order_of_the_code: "each once, in the order in which they begin",
        errors_of_its_own: _REFUSED,
        anything_is_a_config: _REFUSED,
        two_errors_known: "a damaged, an encrypted and a strangely packed archive are refused",
        all_but_the_walk_is_tried: "a config.json that is nested too deeply is refused",
        a_listed_name_is_refused: "a name that is not a string hides no code",
        code_without_a_part_is_clean: "code in no part at all is refused",
    },
}
