"""Wrong answers that people write, planted in lesson 11b: each must be caught at the property named."""

import heapq
import math

import numpy as np


def _placed(places, values, shape):
    matrix = np.zeros(shape, values.dtype)
    matrix.ravel()[places] = values
    return matrix


def _places(gaps):
    return np.cumsum(np.asarray(gaps).astype(np.int64) + 1) - 1


def _refuse_gaps(gaps, values, shape):
    if len(gaps) != len(values) or (np.asarray(gaps) < 0).any():
        raise ValueError
    if len(gaps) and _places(gaps)[-1] >= shape[0] * shape[1]:
        raise ValueError


def entries_take_no_place(gaps, values, shape):
    return _placed(np.cumsum(gaps), values, shape)


def one_place_too_far(gaps, values, shape):
    return _placed(_places(gaps) + 1, np.asarray(values), shape) if gaps[0] else _placed(_places(gaps), values, shape)


def begins_at_one(gaps, values, shape):
    places = _places(gaps) + (gaps[0] == 0)
    return _placed(places, values, shape)


def drops_the_fillers(gaps, values, shape):
    return _placed(_places(gaps[values != 0]), values[values != 0], shape)


def adds_in_uint8(gaps, values, shape):
    return _placed(np.cumsum(gaps + 1) - 1, values, shape)


def widens_uint8_alone(gaps, values, shape):
    return _placed(np.cumsum((gaps.astype(np.int16) if gaps.dtype == np.uint8 else gaps) + 1) - 1, values, shape)


def adds_in_int16(gaps, values, shape):
    return _placed(np.cumsum(gaps.astype(np.int16) + 1) - 1, values, shape)


def always_float64(gaps, values, shape):
    return _placed(_places(gaps), values.astype(float), shape)


def column_by_column(gaps, values, shape):
    return _placed(_places(gaps), values, shape[::-1]).T


def looks_at_the_last_place(gaps, values, shape):
    places = _places(gaps)
    if places[-1] >= shape[0] * shape[1]:
        raise ValueError
    return _placed(places, values, shape)


def numpy_will_tell(gaps, values, shape):
    return _placed(_places(gaps), values, shape)


def fillers_may_lie_anywhere(gaps, values, shape):
    places = _places(gaps)
    if len(places) and (places[values != 0] >= shape[0] * shape[1]).any():
        raise ValueError
    inside = places < shape[0] * shape[1]
    return _placed(places[inside], values[inside], shape)


def counts_from_the_end(gaps, values, shape):
    if len(gaps) != len(values) or (len(gaps) and _places(gaps)[-1] >= shape[0] * shape[1]):
        raise ValueError
    return _placed(_places(gaps), values, shape)


def broadcasts_a_value(gaps, values, shape):
    if (np.asarray(gaps) < 0).any() or (len(gaps) and _places(gaps)[-1] >= shape[0] * shape[1]):
        raise ValueError
    return _placed(_places(gaps), values if len(values) > 1 or len(gaps) < 2 else values[0], shape)


def _huffman(counts):
    heap, codes = [int(c) for c in counts if c], 0
    heapq.heapify(heap)
    if len(heap) == 1:
        return heap[0]
    while len(heap) > 1:
        joined = heapq.heappop(heap) + heapq.heappop(heap)
        codes += joined
        heapq.heappush(heap, joined)
    return codes


def _bits_of(symbols, width, codes=None, table=None, entropy=None, fixed=None):
    symbols = np.asarray(symbols).astype(np.int64)
    if len(symbols) and not 0 <= symbols.min() <= symbols.max() < 2**width:
        raise ValueError
    counts = np.bincount(symbols, minlength=2**width)
    p = counts[counts > 0] / max(1, len(symbols))
    codes = _huffman(counts) if codes is None else codes(counts)
    return {
        "fixed": len(symbols) * width if fixed is None else fixed,
        "entropy": float(-len(symbols) * (p * np.log2(p)).sum()) if entropy is None else entropy(p, len(symbols)),
        "Huffman": int(codes) + (8 * 2**width if table is None else table(counts)),
    }


def as_wide_as_needed(symbols, width):
    needed = max(1, int(np.asarray(symbols).max(initial=0)).bit_length())
    return _bits_of(symbols, width, fixed=len(symbols) * needed)


def of_one_symbol(symbols, width):
    return _bits_of(symbols, width, entropy=lambda p, n: float(-(p * np.log2(p)).sum()))


def in_nats(symbols, width):
    return _bits_of(symbols, width, entropy=lambda p, n: float(-n * (p * np.log(p)).sum()))


def the_table_forgotten(symbols, width):
    return _bits_of(symbols, width, table=lambda counts: 0)


def a_table_of_what_occurs(symbols, width):
    return _bits_of(symbols, width, table=lambda counts: 8 * int((counts > 0).sum()))


def each_logarithm_rounded_up(symbols, width):
    def codes(counts):
        if (counts > 0).sum() == 1:
            return counts.sum()
        return sum(c * math.ceil(math.log2(counts.sum() / c)) for c in counts if c)

    return _bits_of(symbols, width, codes=codes)


def splits_into_halves(symbols, width):
    """The code of Shannon and Fano: from the top down, each time as evenly as it goes."""

    def bits(counts):
        if len(counts) < 2:
            return 0
        at = min(range(1, len(counts)), key=lambda i: abs(2 * sum(counts[:i]) - sum(counts)))
        return sum(counts) + bits(counts[:at]) + bits(counts[at:])

    def codes(counts):
        counts = sorted((int(c) for c in counts if c), reverse=True)
        return counts[0] if len(counts) == 1 else bits(counts)

    return _bits_of(symbols, width, codes=codes)


def joins_in_one_chain(symbols, width):
    def codes(counts):
        counts = sorted(int(c) for c in counts if c)
        if len(counts) == 1:
            return counts[0]
        total, chain = 0, counts[0] if counts else 0
        for c in counts[1:]:
            chain += c
            total += chain
        return total

    return _bits_of(symbols, width, codes=codes)


def a_lone_symbol_is_free(symbols, width):
    return _bits_of(symbols, width, codes=lambda counts: 0 if (counts > 0).sum() == 1 else _huffman(counts))


def divides_by_none(symbols, width):
    if len(symbols) == 0:
        raise ZeroDivisionError
    return _bits_of(symbols, width)


def numpy_numbers(symbols, width):
    return {name: np.float64(n) for name, n in _bits_of(symbols, width).items()}


def counts_what_comes(symbols, width):
    symbols = np.asarray(symbols).astype(np.int64)
    return (
        _bits_of(symbols - symbols.min(initial=0), width) | {"fixed": len(symbols) * width}
        if (symbols.max(initial=0) < 2**width)
        else _bits_of(symbols % 2**width, width)
    )


def _codes(lengths, order=None):
    code, before, codes = 0, 0, {}
    for n, symbol in order or sorted((int(n), s) for s, n in enumerate(lengths) if n):
        code <<= n - before
        codes[f"{code:0{n}b}"] = symbol
        code, before = code + 1, n
    return codes


def _bits(raw):
    return "".join(f"{byte:08b}" for byte in raw)


def _kraft(lengths):
    if sum(2 ** (60 - int(n)) for n in lengths if n) > 2**60:
        raise ValueError


def _read(codes, bits, count, longest=None, end=ValueError):
    symbols, begun = [], 0
    for _ in range(count):
        place = begun + 1
        while bits[begun:place] not in codes:
            place += 1
            if longest is not None and place - begun > longest:
                raise ValueError
            if place > len(bits):
                raise end
        symbols.append(codes[bits[begun:place]])
        begun = place
    return np.array(symbols, np.int64)


def low_bit_first(lengths, raw, count):
    return _read(_codes(lengths), "".join(f"{byte:08b}"[::-1] for byte in raw), count)


def a_plain_list(lengths, raw, count):
    return _read(_codes(lengths), _bits(raw), count).astype(np.int32)


def in_symbol_order(lengths, raw, count):
    code, before, codes = 0, 0, {}
    for symbol, n in enumerate(lengths):
        if n:
            code = code << n - before if n >= before else code >> before - n
            codes[f"{code:0{n}b}"] = symbol
            code, before = code + 1, n
    return _read(codes, _bits(raw), count)


def one_shift_each(lengths, raw, count):
    code, before, codes = 0, 0, {}
    for n, symbol in sorted((int(n), s) for s, n in enumerate(lengths) if n):
        if n > before:
            code <<= 1
        codes[f"{code:0{n}b}"] = symbol
        code, before = code + 1, n
    return _read(codes, _bits(raw), count, 64)


def a_lone_symbol_is_the_first(lengths, raw, count):
    codes = _codes(lengths)
    if len(codes) == 1:
        return np.zeros(count, np.int64)
    return _read(codes, _bits(raw), count)


def to_the_end(lengths, raw, count):
    codes, bits, symbols, begun = _codes(lengths), _bits(raw), [], 0
    for place in range(1, len(bits) + 1):
        if bits[begun:place] in codes:
            symbols.append(codes[bits[begun:place]])
            begun = place
    return np.array(symbols[: max(count, len(symbols) - 7)] if len(raw) > 1 else symbols[:count], np.int64)


def codes_of_32_bits(lengths, raw, count):
    codes = {code: symbol for code, symbol in _codes(lengths).items() if len(code) <= 32}
    return _read(codes, _bits(raw), count, 64)


def zeros_for_what_is_missing(lengths, raw, count):
    _kraft(lengths)
    return _read(_codes(lengths), _bits(raw) + "0" * 64 * count, count, max(lengths, default=0))


def a_bit_for_no_byte(lengths, raw, count):
    _kraft(lengths)
    bits = bin(int.from_bytes(raw, "big"))[2:].zfill(8 * len(raw))
    return _read(_codes(lengths), bits, count, max(lengths, default=0))


def a_one_behind_the_end(lengths, raw, count):
    _kraft(lengths)
    return _read(_codes(lengths), _bits(raw) + "1", count, max(lengths, default=0))


def runs_out_with_an_index_error(lengths, raw, count):
    _kraft(lengths)
    return _read(_codes(lengths), _bits(raw), count, max(lengths, default=0), end=IndexError)


def skips_what_is_no_code(lengths, raw, count):
    _kraft(lengths)
    codes, bits, symbols, begun, longest = _codes(lengths), _bits(raw), [], 0, max(lengths, default=0)
    place = 0
    while len(symbols) < count:
        place += 1
        if place > len(bits):
            if place - begun > longest:
                break
            raise ValueError
        if bits[begun:place] in codes:
            symbols.append(codes[bits[begun:place]])
            begun = place
        elif place - begun >= longest > 0:
            begun = place
            symbols.append(-1)
    return np.array(symbols, np.int64)


def believes_the_lengths(lengths, raw, count):
    return _read(_codes(lengths), _bits(raw), count, max(lengths, default=0))


def lengths_seen_while_decoding(lengths, raw, count):
    if count:
        _kraft(lengths)
    return _read(_codes(lengths), _bits(raw), count, max(lengths, default=0))


def kraft_in_floats(lengths, raw, count):
    if sum(2.0**-n for n in lengths if n) > 1:
        raise ValueError
    return _read(_codes(lengths), _bits(raw), count, max(lengths, default=0))


WRONG = {
    "11b.1": {
        entries_take_no_place: "gaps 2 and 1 put 5 and 7 at the places 2 and 4",
        one_place_too_far: "gaps 2 and 1 put 5 and 7 at the places 2 and 4",
        begins_at_one: "a gap of 0 means the very next place, at the beginning too",
        drops_the_fillers: "a filler moves on and leaves a zero",
        adds_in_uint8: "gaps of any integer dtype and any size",
        widens_uint8_alone: "gaps of any integer dtype and any size",
        adds_in_int16: "gaps of any integer dtype and any size",
        column_by_column: "gaps 2 and 1 put 5 and 7 at the places 2 and 4",
        always_float64: "a matrix of 300 × 400, back bit for bit, in its dtype",
        looks_at_the_last_place: "no entry at all, and no place at all",
        numpy_will_tell: "an entry beyond the end is refused, one at the last place is not",
        fillers_may_lie_anywhere: "an entry beyond the end is refused, one at the last place is not",
        counts_from_the_end: "a negative gap is refused",
        broadcasts_a_value: "gaps and values of different lengths are refused",
    },
    "11b.2": {
        as_wide_as_needed: "fixed: each symbol takes the width",
        of_one_symbol: "entropy: N times the bits of a symbol",
        in_nats: "entropy: N times the bits of a symbol",
        the_table_forgotten: "Huffman: the codes, and a byte of table for each possible symbol",
        a_table_of_what_occurs: "Huffman: the codes, and a byte of table for each possible symbol",
        each_logarithm_rounded_up: "counts that are no powers of two: the shortest code, not each logarithm rounded up",
        splits_into_halves: "counts that are no powers of two: the shortest code, not each logarithm rounded up",
        joins_in_one_chain: "Huffman: the codes, and a byte of table for each possible symbol",
        a_lone_symbol_is_free: "a lone symbol takes one bit each time",
        divides_by_none: "no symbol at all: the table alone",
        numpy_numbers: "ints for bits that are counted, under the three names",
        counts_what_comes: "a symbol out of range is refused",
    },
    "11b.3": {
        low_bit_first: "the codes 0, 10 and 11 are told apart",
        a_plain_list: "codes that cross bytes, in an int64 array",
        in_symbol_order: "codes go by length, then by symbol, not by symbol alone",
        one_shift_each: "a code is shifted when the length grows by more than one",
        a_lone_symbol_is_the_first: "symbols without a code, and a lone symbol",
        to_the_end: "`count` ends it: what follows is ignored",
        codes_of_32_bits: "codes of 40 bits, too",
        zeros_for_what_is_missing: "bytes that end too early are refused",
        a_bit_for_no_byte: "bytes that end too early are refused",
        a_one_behind_the_end: "bytes that end too early are refused",
        runs_out_with_an_index_error: "bytes that end too early are refused",
        skips_what_is_no_code: "bits that begin no code are refused, at once",
        believes_the_lengths: "lengths that are no code are refused",
        lengths_seen_while_decoding: "lengths that are no code are refused",
        kraft_in_floats: "lengths that are no code are refused",
    },
}
