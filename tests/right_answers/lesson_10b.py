"""Right answers to lesson 10b's exercises that differ from the solutions."""

import math

import numpy as np


def _codes(codes, E, M):
    codes = np.asarray(codes, dtype=np.uint64).astype(np.int64)
    if codes.size and codes.max() >= 2 ** (1 + E + M):
        raise ValueError("codes of more bits")
    return codes


def code_by_code(codes, exponent_bits, fraction_bits):
    codes = _codes(codes, exponent_bits, fraction_bits)
    out = np.zeros(codes.shape)
    for index in np.ndindex(codes.shape):
        bits = format(int(codes[index]), f"0{1 + exponent_bits + fraction_bits}b")
        e = int(bits[1 : 1 + exponent_bits], 2)
        m = int(bits[1 + exponent_bits :] or "0", 2) / 2**fraction_bits
        bias = 2 ** (exponent_bits - 1) - 1
        size = (1 + m) * 2.0 ** (e - bias) if e else m * 2.0 ** (1 - bias)
        out[index] = math.copysign(size, -1 if bits[0] == "1" else 1)
    return out


def from_a_table(codes, exponent_bits, fraction_bits):
    codes = _codes(codes, exponent_bits, fraction_bits)
    e, m = np.divmod(np.arange(2 ** (exponent_bits + fraction_bits)), 2**fraction_bits)
    size = np.ldexp(np.where(e > 0, 2.0**fraction_bits, 0) + m, np.maximum(e, 1) - 2 ** (exponent_bits - 1) + 1)
    table = np.append(size, -size) / 2.0**fraction_bits
    return table[codes]


def by_powers_and_signs(codes, exponent_bits, fraction_bits):
    codes = _codes(codes, exponent_bits, fraction_bits)
    sign = codes >> (exponent_bits + fraction_bits)
    e = (codes >> fraction_bits) & ((1 << exponent_bits) - 1)
    m = (codes & ((1 << fraction_bits) - 1)).astype(float)
    normal = e != 0
    power = np.exp2(np.where(normal, e, 1) - (2.0 ** (exponent_bits - 1) - 1))
    return np.copysign((normal + m / 2**fraction_bits) * power, 0.5 - sign)


def in_steps_of_the_smallest(codes, exponent_bits, fraction_bits):
    codes = _codes(codes, exponent_bits, fraction_bits)
    spacing = 2.0 ** (2 - 2 ** (exponent_bits - 1) - fraction_bits)  # between subnormal values
    rest = codes % 2 ** (exponent_bits + fraction_bits)
    e, m = rest // 2**fraction_bits, rest % 2**fraction_bits
    steps = np.where(e == 0, m.astype(float), (2**fraction_bits + m) * 2.0 ** (e - 1.0))
    return np.where(codes == rest, 1.0, -1.0) * (steps * spacing)


def with_masks(codes, exponent_bits, fraction_bits):
    codes = _codes(codes, exponent_bits, fraction_bits)
    flat = codes.ravel()
    e = flat // 2**fraction_bits % 2**exponent_bits
    m = flat % 2**fraction_bits / 2**fraction_bits
    out = np.empty(flat.shape)
    low = e == 0
    bias = 2 ** (exponent_bits - 1) - 1
    out[low] = m[low] * 2.0 ** (1 - bias)
    out[~low] = (1 + m[~low]) * 2.0 ** (e[~low] - bias)
    out[flat >= 2 ** (exponent_bits + fraction_bits)] *= -1
    return out.reshape(codes.shape)


def _steps(x, step, least, greatest):
    step = np.asarray(step)
    if step.shape != (len(x),) or np.isnan(step).any() or (step <= 0).any() or not least < greatest:
        raise ValueError("a step above 0 for each channel, least below greatest")
    return step.astype(x.dtype)


def channel_by_channel(x, step, least, greatest, upstream):
    steps = _steps(x, step, least, greatest)
    value, gradient = np.empty_like(x), np.zeros_like(x)
    for c, s in enumerate(steps):
        level = x[c] / s
        value[c] = np.rint(np.clip(level, least, greatest)) * s
        inside = (level >= least) & (level <= greatest)
        gradient[c] = upstream[c] * inside
    return value, gradient


def by_expanding(x, step, least, greatest, upstream):
    steps = _steps(x, step, least, greatest)
    s = np.expand_dims(steps, tuple(range(1, x.ndim)))
    level = x / s
    outside = (level < least) | (level > greatest)
    gradient = upstream.astype(x.dtype)
    gradient[outside] = 0
    return (np.minimum(np.maximum(np.round(level), least), greatest) * s).astype(x.dtype), gradient


def with_moved_axes(x, step, least, greatest, upstream):
    steps = _steps(x, step, least, greatest)
    level = np.moveaxis(np.moveaxis(x, 0, -1) / steps, -1, 0)
    value = np.moveaxis(np.moveaxis(np.clip(np.rint(level), least, greatest), 0, -1) * steps, -1, 0)
    return value.astype(x.dtype), np.where(np.clip(level, least, greatest) == level, upstream, 0).astype(x.dtype)


def by_autograd(x, step, least, greatest, upstream):
    import torch

    steps = torch.tensor(_steps(x, step, least, greatest)).reshape(-1, *[1] * (x.ndim - 1))
    t = torch.tensor(np.array(x), requires_grad=True)
    level = t / steps
    inside = ((level >= least) & (level <= greatest)).detach()
    value = level.detach().round().clamp(least, greatest) * steps
    through = torch.where(inside, t, t.detach())
    result = through + (value - through).detach()
    result.backward(torch.tensor(np.array(upstream)).to(t.dtype))
    gradient = torch.zeros_like(t) if t.grad is None else t.grad
    return value.numpy().astype(x.dtype), gradient.numpy()


def in_the_values_own_unit(x, step, least, greatest, upstream):
    steps = _steps(x, step, least, greatest)
    s = steps[(slice(None), *[None] * (x.ndim - 1))]
    inside = (x >= least * s) & (x <= greatest * s)
    return (np.clip(np.rint(x / s), least, greatest) * s).astype(x.dtype), (inside * upstream).astype(x.dtype)


def recursively(layers, score, least):
    def go(chosen, reached):
        if reached >= least:
            return chosen
        scores = {layer: score(frozenset({*chosen, layer})) for layer in layers if layer not in chosen}
        if not scores:
            raise ValueError("out of reach")
        best = max(scores, key=scores.get)  # the first of the highest
        return go([*chosen, best], scores[best])

    return go([], score(frozenset()))


def by_a_removed_list(layers, score, least):
    left, chosen, reached = list(layers), [], score(frozenset())
    while left and reached < least:
        best, highest = None, -math.inf
        for layer in left:
            value = score(frozenset(chosen) | {layer})
            if best is None or value > highest:
                best, highest = layer, value
        left.remove(best)
        chosen.append(best)
        reached = highest
    if reached < least:
        raise ValueError("out of reach")
    return chosen


def by_sorting_each_round(layers, score, least):
    chosen, reached = [], score(frozenset())
    for _ in layers:
        if reached >= least:
            break
        scored = [(score(frozenset([*chosen, each])), each) for each in layers if each not in chosen]
        reached, layer = sorted(scored, key=lambda pair: pair[0], reverse=True)[0]
        chosen.append(layer)
    if not reached >= least:
        raise ValueError("out of reach")
    return chosen


def with_numpy(layers, score, least):
    keep = np.zeros(len(layers), bool)
    order, reached = [], score(frozenset())
    while not reached >= least:
        free = np.flatnonzero(~keep)
        if free.size == 0:
            raise ValueError("out of reach")
        scores = np.array([score(frozenset(layers[i] for i in [*order, k])) for k in free])
        k = free[scores.argmax()]
        keep[k], reached = True, scores.max()
        order.append(k)
    return [layers[k] for k in order]


def with_a_cache(layers, score, least):
    asked = {}

    def once(in_float):
        if in_float not in asked:
            asked[in_float] = score(in_float)
        return asked[in_float]

    chosen = []
    while once(frozenset(chosen)) < least:
        if len(chosen) == len(layers):
            raise ValueError("out of reach")
        chosen.append(max((e for e in layers if e not in chosen), key=lambda e: once(frozenset([*chosen, e]))))
    return chosen


RIGHT = {
    "10b.1": [code_by_code, from_a_table, by_powers_and_signs, in_steps_of_the_smallest, with_masks],
    "10b.2": [channel_by_channel, by_expanding, with_moved_axes, by_autograd, in_the_values_own_unit],
    "10b.3": [recursively, by_a_removed_list, by_sorting_each_round, with_numpy, with_a_cache],
}
