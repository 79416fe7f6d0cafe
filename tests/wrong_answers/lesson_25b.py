"""Answers to the exercises of lesson 25b that people write, each with the property at which its check must catch it."""

import math

import numpy as np

# 25b.1


def _asked(scale):
    if not scale > 0:
        raise ValueError


def forgets_sixteen(counts, scale, zero_point):
    _asked(scale)
    return np.clip(np.round(counts / scale) + zero_point, -128, 127).astype(np.int8)


def multiplies(counts, scale, zero_point):
    _asked(scale)
    return np.clip(np.round(counts / 16 * scale) + zero_point, -128, 127).astype(np.int8)


def stays_float(counts, scale, zero_point):
    _asked(scale)
    return np.clip(np.round(np.asarray(counts) / 16 / scale) + zero_point, -128, 127)


def cuts_off_the_fraction(counts, scale, zero_point):
    _asked(scale)
    q = np.trunc(np.asarray(counts) / 16 / scale + 1e-9) + zero_point
    return np.clip(q, -128, 127).astype(np.int8)


def wraps_round(counts, scale, zero_point):
    _asked(scale)
    q = np.round(np.asarray(counts, np.float64) / 16 / scale).astype(np.int64) + zero_point
    return q.astype(np.int8)


def one_image_alone(counts, scale, zero_point):
    _asked(scale)
    q = np.clip(np.round(np.asarray(counts, np.float64) / 16 / scale) + zero_point, -128, 127)
    return q.astype(np.int8).reshape(-1)


def any_scale(counts, scale, zero_point):
    q = np.clip(np.round(np.asarray(counts, np.float64) / 16 / abs(scale or 1)) + zero_point, -128, 127)
    return np.nan_to_num(q).astype(np.int8)


# 25b.2


def _count(layers, macs_of, bytes_of):
    kinds = {"pool", "reshape", "dense", "conv", "depthwise"}
    if any(each["kind"] not in kinds for each in layers):
        raise ValueError
    with_weights = [each for each in layers if each["kind"] not in ("pool", "reshape")]
    return sum(map(macs_of, with_weights)), sum(map(bytes_of, with_weights))


def _weights(each):
    if each["kind"] == "dense":
        return each["in"] * each["out"]
    return math.prod(each["filter"]) * each["out"][2]


def _places(each):
    return 1 if each["kind"] == "dense" else each["out"][0] * each["out"][1]


def _biases(each):
    return each["out"] if each["kind"] == "dense" else each["out"][2]


def _macs(each):
    return _weights(each) * _places(each)


def _bytes(each):
    return _weights(each) + 4 * _biases(each)


def biases_are_macs(layers):
    return _count(layers, lambda each: _macs(each) + _biases(each), _bytes)


def biases_in_one_byte(layers):
    return _count(layers, _macs, lambda each: _weights(each) + _biases(each))


def without_places(layers):
    return _count(layers, _weights, _bytes)


def weights_at_each_place(layers):
    return _count(layers, _macs, lambda each: _macs(each) + 4 * _biases(each))


def depthwise_like_conv(layers):
    def all_channels(each):
        return _macs(each) * (each["out"][2] if each["kind"] == "depthwise" else 1)

    return _count(layers, all_channels, _bytes)


def square_filters_alone(layers):
    def square(each):
        filter_ = each.get("filter")
        return each | {"filter": (filter_[0], *filter_[:1], *filter_[2:])} if filter_ else each

    return _count([square(each) for each in layers], _macs, _bytes)


def skips_the_unknown(layers):
    return _count([each for each in layers if each["kind"] != "attention"], _macs, _bytes)


def only_the_last(layers):
    if any(each["kind"] not in {"pool", "reshape", "dense", "conv", "depthwise"} for each in layers):
        raise ValueError
    return _count(layers[-1:], _macs, _bytes)


# 25b.3


def everything_at_once(operators, bytes_of, inputs, outputs):
    return sum(bytes_of.values()) if operators else 0


def read_and_written_alone(operators, bytes_of, inputs, outputs):
    return max((sum(bytes_of.get(n, 0) for n in {*read, *written}) for read, written in operators), default=0)


def _walk(operators, bytes_of, inputs, outputs, once=True, frees=True):
    most, there = 0, list(inputs)
    for now, (read, written) in enumerate(operators):
        there += written
        later = {*outputs, *(n for names, _ in operators[now + 1 :] for n in names)}
        names = [n for n in there if n in later or n in written or n in read or not frees]
        names += [] if once else [n for n in read if read.count(n) > 1][1:]
        most = max(most, sum(bytes_of.get(n, 0) for n in (names if not once else set(names))))
    return most


def inputs_come_late(operators, bytes_of, inputs, outputs):
    first = {n: next((i for i, (read, _) in enumerate(operators) if n in read), 0) for n in inputs}
    most, there = 0, set()
    for now, (read, written) in enumerate(operators):
        there |= {n for n in inputs if first[n] <= now} | set(written)
        later = {*outputs, *(n for names, _ in operators[now + 1 :] for n in names)}
        most = max(most, sum(bytes_of.get(n, 0) for n in there & (later | set(read) | set(written))))
    return most


def outputs_are_not_kept(operators, bytes_of, inputs, outputs):
    return _walk(operators, bytes_of, inputs, [])


def counts_twice(operators, bytes_of, inputs, outputs):
    return _walk(operators, bytes_of, inputs, outputs, once=False)


def keeps_the_input(operators, bytes_of, inputs, outputs):
    return _walk(operators, bytes_of, inputs, [*outputs, *inputs])


def forgets_the_unread(operators, bytes_of, inputs, outputs):
    read_at_all = {*outputs, *(n for names, _ in operators for n in names)}
    return _walk(operators, {n: b for n, b in bytes_of.items() if n in read_at_all}, inputs, outputs)


def inputs_alone(operators, bytes_of, inputs, outputs):
    return _walk(operators, bytes_of, inputs, outputs) or sum(bytes_of[n] for n in inputs)


PAPER = "paper becomes -128 and full ink 127, with the model's scale 1/255 and zero point -128"
RESIDUAL = "with a residual connection the block's input stays alive"

WRONG = {
    "25b.1": {
        multiplies: PAPER,
        stays_float: "int8 comes back",
        forgets_sixteen: "each value is rounded to the nearest step",
        cuts_off_the_fraction: "each value is rounded to the nearest step",
        wraps_round: "values beyond int8 are cut off, they do not wrap round",
        one_image_alone: "any shape and integer type is taken, an empty batch too",
        any_scale: "a scale that is not above 0 is refused",
    },
    "25b.2": {
        biases_are_macs: "a dense layer of 512 by 20: 10,240 MACs",
        biases_in_one_byte: "and 10,320 bytes: the biases take 4 bytes each",
        without_places: "a convolution of 3 × 3 × 16 to 8 × 8 × 32: 294,912 MACs",
        weights_at_each_place: "its weights are stored once, not once a place: 4,736 bytes",
        depthwise_like_conv: "a depthwise filter sees one channel",
        square_filters_alone: "height and width may differ, in the picture and in the filter",
        only_the_last: "the digits network: 314,568 MACs and 15,504 bytes; no layer: 0 and 0",
        skips_the_unknown: "an unknown kind is refused",
    },
    "25b.3": {
        everything_at_once: "a chain needs its largest sum of input and output",
        read_and_written_alone: RESIDUAL,
        inputs_come_late: "an input that is read late is there from the start",
        outputs_are_not_kept: "an output that is written early stays to the end",
        counts_twice: "a tensor that is read twice counts once",
        forgets_the_unread: "a tensor that nobody reads takes its place while it is written, and not later",
        keeps_the_input: "a chain needs its largest sum of input and output",
        inputs_alone: "without operators it is 0",
    },
}
