"""Right answers to lesson 11b's exercises that differ from the solutions."""

import heapq
import math
from collections import Counter
from itertools import accumulate

import numpy as np


def by_a_loop(gaps, values, shape):
    if len(gaps) != len(values):
        raise ValueError("lengths")
    flat, at = np.zeros(math.prod(shape), values.dtype), -1
    for gap, value in zip(gaps, values):
        if gap < 0:
            raise ValueError("a negative gap")
        at += int(gap) + 1
        if at >= len(flat):
            raise ValueError("beyond the end")
        flat[at] = value
    return flat.reshape(shape)


def by_accumulate(gaps, values, shape):
    gaps = [int(gap) for gap in gaps]
    if len(gaps) != len(values) or any(gap < 0 for gap in gaps):
        raise ValueError("gaps")
    places = [place - 1 for place in accumulate(gap + 1 for gap in gaps)]
    if any(place >= shape[0] * shape[1] for place in places):
        raise ValueError("places")
    matrix = np.zeros(shape, dtype=values.dtype)
    np.put(matrix, places, values)
    return matrix


def by_repeated_zeros(gaps, values, shape):
    if len(gaps) != len(values) or (gaps.astype(int) < 0).any():
        raise ValueError("gaps")
    parts = [np.append(np.zeros(int(gap), values.dtype), value) for gap, value in zip(gaps, values)]
    flat = np.concatenate([np.zeros(0, values.dtype), *parts])
    if len(flat) > shape[0] * shape[1]:
        raise ValueError("beyond the end")
    return np.pad(flat, (0, shape[0] * shape[1] - len(flat))).astype(values.dtype).reshape(shape)


def by_row_and_column(gaps, values, shape):
    if gaps.shape != values.shape or (len(gaps) and gaps.min() < 0):
        raise ValueError("gaps")
    places = np.cumsum(gaps.astype(np.int64)) + np.arange(len(gaps))
    if (places >= shape[0] * shape[1]).any():
        raise ValueError("places")
    matrix = np.zeros(shape, values.dtype)
    if len(places):
        matrix[places // shape[1], places % shape[1]] = values
    return matrix


def through_unravel(gaps, values, shape):
    if len(gaps) != len(values) or bool((np.asarray(gaps) < 0).any()):
        raise ValueError("gaps")
    places = np.cumsum(1 + gaps.astype(np.uint64).astype(np.int64)) - 1
    matrix = np.zeros(shape, values.dtype)
    matrix[np.unravel_index(places, shape) if len(places) else ...] = values if len(places) else 0
    return matrix


def by_bincount(gaps, values, shape):
    if len(gaps) != len(values) or (np.asarray(gaps) < 0).any():
        raise ValueError("gaps")
    places = np.cumsum(gaps, dtype=np.int64) + np.arange(len(gaps))
    if (places >= math.prod(shape)).any():
        raise ValueError("places")
    return np.bincount(places, weights=values, minlength=math.prod(shape)).astype(values.dtype).reshape(shape)


def lets_the_index_tell(gaps, values, shape):
    if len(gaps) != len(values) or any(gap < 0 for gap in gaps):
        raise ValueError("gaps")
    matrix = np.zeros(shape, values.dtype)
    try:
        matrix.flat[np.cumsum([int(gap) + 1 for gap in gaps], dtype=int) - 1] = values
    except IndexError as beyond:
        raise ValueError("places") from beyond
    return matrix


def _counts(symbols, width):
    numbers = [int(s) for s in symbols]
    if any(not 0 <= s < 2**width for s in numbers):
        raise ValueError("out of range")
    return Counter(numbers)


def _with(counts, width, codes):
    total = sum(counts.values())
    entropy = sum(c * math.log2(total / c) for c in counts.values())
    return {"fixed": total * width, "entropy": entropy if total else 0.0, "Huffman": codes + 8 * 2**width}


def by_sorting_again(symbols, width):
    counts = _counts(symbols, width)
    left, codes = sorted(counts.values()), 0
    if len(left) == 1:
        codes = left[0]
    while len(left) > 1:
        joined = left[0] + left[1]
        codes += joined
        left = sorted([*left[2:], joined])
    return _with(counts, width, codes)


def by_lengths(symbols, width):
    counts = _counts(symbols, width)
    groups = [(c, (s,)) for s, c in counts.items()]
    lengths = dict.fromkeys(counts, 1 if len(counts) == 1 else 0)
    while len(groups) > 1:
        groups.sort()
        (a, some), (b, others), *rest = groups
        for s in some + others:
            lengths[s] += 1
        groups = [*rest, (a + b, some + others)]
    return _with(counts, width, sum(counts[s] * lengths[s] for s in counts))


def by_two_queues(symbols, width):
    counts = _counts(symbols, width)
    single, joined, codes = sorted(counts.values(), reverse=True), [], 0
    if len(single) == 1:
        codes = single[0]

    def smallest():
        if not joined or (single and single[-1] <= joined[0]):
            return single.pop()
        return joined.pop(0)

    while len(single) + len(joined) > 1:
        both = smallest() + smallest()
        codes += both
        joined.append(both)
    return _with(counts, width, codes)


def by_unique(symbols, width):
    wide = np.asarray(symbols, np.int64)
    if ((wide < 0) | (wide >= 2**width)).any():
        raise ValueError("out of range")
    found, counts = np.unique(wide, return_counts=True)
    return by_two_queues(np.repeat(found, counts), width)


def by_a_tree_of_pairs(symbols, width):
    nodes = [(count, i, None) for i, count in enumerate(_counts(symbols, width).values())]
    heapq.heapify(nodes)
    alone = len(nodes) == 1
    for i in range(len(nodes), 2 * len(nodes) - 1):
        pair = heapq.heappop(nodes), heapq.heappop(nodes)
        heapq.heappush(nodes, (pair[0][0] + pair[1][0], i, pair))

    def bits(node, depth):
        return node[0] * depth if node[2] is None else sum(bits(each, depth + 1) for each in node[2])

    return _with(_counts(symbols, width), width, bits(nodes[0], int(alone)) if nodes else 0)


def by_places(lengths, raw, count):
    """Without a dictionary: for each length its first code and the place of its first symbol."""
    order = sorted((int(n), s) for s, n in enumerate(lengths) if n)
    if sum(1 << (60 - n) for n, _ in order) > 1 << 60:
        raise ValueError("no code")
    first, place, code, at = {}, {}, 0, 0
    longest = max((n for n, _ in order), default=0)
    for n in range(1, longest + 1):
        code <<= 1
        first[n], place[n] = code, at
        here = sum(1 for m, _ in order if m == n)
        code, at = code + here, at + here
    number, ends = int.from_bytes(raw, "big"), 8 * len(raw)
    symbols, read = [], 0
    for _ in range(count):
        value = n = 0
        while True:
            if n == longest or read == ends:
                raise ValueError("bits that begin no code, or too few of them")
            value, n, read = 2 * value + (raw[read // 8] >> (7 - read % 8) & 1), n + 1, read + 1
            offset = value - first[n]
            if 0 <= offset < sum(1 for m, _ in order if m == n):
                symbols.append(order[place[n] + offset][1])
                break
    assert number >= 0
    return np.array(symbols, np.int64)


def by_prefix_strings(lengths, raw, count):
    order = sorted((int(n), s) for s, n in enumerate(lengths) if n)
    space = 0
    symbol_of = {}
    for n, s in order:
        if space + (1 << (60 - n)) > 1 << 60:
            raise ValueError("no code")
        symbol_of[f"{space >> (60 - n):0{n}b}"] = s
        space += 1 << (60 - n)
    bits, at, found = "".join(f"{b:08b}" for b in raw), 0, []
    for _ in range(count):
        for n in range(1, (order[-1][0] if order else 0) + 1):
            if at + n <= len(bits) and bits[at : at + n] in symbol_of:
                found.append(symbol_of[bits[at : at + n]])
                at += n
                break
        else:
            raise ValueError("no code here")
    return np.asarray(found, np.int64)


def by_a_tree(lengths, raw, count):
    order = sorted((int(n), s) for s, n in enumerate(lengths) if n)
    if sum(2.0 ** (60 - n) for n, _ in order) > 2**60:
        raise ValueError("no code")
    if sum(2 ** (60 - n) for n, _ in order) > 2**60:
        raise ValueError("no code")
    tree, code, before = {}, 0, 0
    for n, symbol in order:
        code <<= n - before
        node = tree
        for i in reversed(range(n)):
            bit = code >> i & 1
            node = node.setdefault(bit, {}) if i else node.__setitem__(bit, symbol)
        code, before = code + 1, n
    bits = (byte >> 7 - i & 1 for byte in raw for i in range(8))
    symbols = np.empty(count, np.int64)
    for i in range(count):
        node = tree
        while isinstance(node, dict):
            try:
                node = node[next(bits)]
            except (KeyError, StopIteration):
                raise ValueError("a bit that begins no code, or none") from None
        symbols[i] = node
    return symbols


def with_a_sentinel_bit(lengths, raw, count):
    """Codes as ints with a 1 in front, so that 0 and 00 differ."""
    order = sorted((int(n), s) for s, n in enumerate(lengths) if n)
    room = 2**60 - sum(2 ** (60 - n) for n, _ in order)
    if room < 0:
        raise ValueError("no code")
    symbol_of, code, before = {}, 0, 0
    for n, s in order:
        code <<= n - before
        symbol_of[1 << n | code] = s
        code, before = code + 1, n
    found, current = [], 1
    for bit in np.unpackbits(np.frombuffer(raw, np.uint8)).tolist():
        if len(found) == count:
            break
        current = current << 1 | bit
        if current in symbol_of:
            found.append(symbol_of[current])
            current = 1
        elif current.bit_length() - 1 >= before:
            raise ValueError("no code begins so")
    if len(found) < count:
        raise ValueError("the bytes end too early")
    return np.array(found, np.int64)


def by_overflow(lengths, raw, count):
    """A code that does not fit into its length: that is Kraft's sum above 1."""
    codes, code, before = {}, 0, 0
    for n, symbol in sorted((int(n), s) for s, n in enumerate(lengths) if n):
        code <<= n - before
        if code >> n:
            raise ValueError("no code")
        codes[n, code] = symbol
        code, before = code + 1, n
    number, total, at, found = int.from_bytes(raw, "big"), 8 * len(raw), 0, []
    while len(found) < count:
        for n in range(1, min(before, total - at) + 1):
            window = number >> (total - at - n) & (1 << n) - 1
            if (n, window) in codes:
                found.append(codes[n, window])
                at += n
                break
        else:
            raise ValueError("damaged")
    return np.array(found, np.int64)


RIGHT = {
    "11b.1": [
        *(by_a_loop, by_accumulate, by_repeated_zeros, by_row_and_column, through_unravel),
        *(by_bincount, lets_the_index_tell),
    ],
    "11b.2": [by_sorting_again, by_lengths, by_two_queues, by_unique, by_a_tree_of_pairs],
    "11b.3": [by_places, by_prefix_strings, by_a_tree, with_a_sentinel_bit, by_overflow],
}
