"""Right answers to lesson 26's exercises that differ from the solutions."""

import codecs
import re

import numpy as np
import torch

# 26.1


def _asked(memory, weights, *others):
    if weights < 0 or memory <= 0 or any(each <= 0 for each in others):
        raise ValueError("expected numbers from 1")


def by_counting_bits(memory, weights, layers, key_heads, head_size, number, tokens):
    _asked(memory, weights, layers, key_heads, head_size, number, tokens)
    bits = 8 * (memory - weights)
    return bits // (16 * layers * key_heads * head_size * number * tokens) if bits > 0 else 0


def by_divmod(memory, weights, layers, key_heads, head_size, number, tokens):
    _asked(memory, weights, layers, key_heads, head_size, number, tokens)
    if memory <= weights:
        return 0
    fit, _ = divmod(memory - weights, (layers * key_heads * head_size * number * tokens) << 1)
    return fit


def by_tokens_first(memory, weights, layers, key_heads, head_size, number, tokens):
    _asked(memory, weights, layers, key_heads, head_size, number, tokens)
    room = max(memory - weights, 0) // (2 * layers * key_heads * head_size * number)
    return room // tokens


# 26.2


def _probability(p):
    if not (p > 0 and p <= 1):
        raise ValueError


def in_a_loop(logits, p):
    _probability(p)
    z = np.array(logits, dtype=float)
    shares = np.exp(z - z.max()) / np.exp(z - z.max()).sum()
    found, held = np.zeros(len(z)), 0.0
    for i in sorted(range(len(z)), key=lambda i: -shares[i]):
        found[i] = shares[i]
        held += shares[i]
        if held >= p:
            break
    return found / found.sum()


def by_searchsorted(logits, p):
    _probability(p)
    z = np.asarray(logits).astype(np.float64)
    shares = np.exp(z - np.logaddexp.reduce(z))
    order = np.lexsort((np.arange(len(z)), -shares))
    count = np.searchsorted(np.cumsum(shares[order]), p) + 1
    mask = np.zeros(len(z), bool)
    mask[order[:count]] = True
    return np.where(mask, shares, 0) / shares[mask].sum()


def by_torch(logits, p):
    _probability(p)
    shares = torch.as_tensor(np.array(logits, np.float64)).softmax(0)
    values, order = shares.sort(descending=True, stable=True)
    values[values.cumsum(0) - values >= p] = 0
    found = torch.zeros_like(shares).scatter(0, order, values)
    return (found / found.sum()).numpy()


# 26.3


def by_bytes(chunks):
    line, data = bytearray(), None
    for chunk in chunks:
        for byte in chunk:
            if byte != 10:
                line.append(byte)
                continue
            if line[-1:] == b"\r":
                del line[-1:]
            if not line:
                if data is not None:
                    yield data.decode("utf-8")
                data = None
            elif line[:5] == b"data:":
                value = bytes(line[5:])
                value = value[1:] if value[:1] == b" " else value
                data = value if data is None else data + b"\n" + value
            line.clear()


def by_pattern(chunks):
    waiting = b""
    for chunk in chunks:
        waiting += chunk
        while found := re.search(rb"(?:^|\n)\r?\n", waiting):
            event, waiting = waiting[: found.end()], waiting[found.end() :]
            data = re.findall(rb"^data:(?: |)((?:[^\r\n]|\r(?!\n))*)", event, re.M)
            if data:
                yield b"\n".join(data).decode()


def by_incremental_decoder(chunks):
    decoder, waiting, data = codecs.getincrementaldecoder("utf-8")(), "", []
    for chunk in chunks:
        waiting += decoder.decode(chunk)
        while "\n" in waiting:
            line, waiting = waiting.split("\n", 1)
            line = line[:-1] if line.endswith("\r") else line
            field, colon, value = line.partition(":")
            if field == "data" and colon:
                data.append(value[1:] if value.startswith(" ") else value)
            elif line == "":
                if data:
                    yield "\n".join(data)
                data = []


# 26.4


def by_characters(parts, stops):
    if any(not stop for stop in stops):
        raise ValueError
    held = ""
    for part in parts:
        for character in part:
            held += character
            for stop in sorted(stops, key=len, reverse=True):
                if held.endswith(stop):
                    if held != stop:
                        yield held[: len(held) - len(stop)]
                    return
            while held and not any(stop.startswith(held) for stop in stops):
                yield held[0]
                held = held[1:]
    if held:
        yield held


def by_searching_parts(parts, stops):
    if "" in stops:
        raise ValueError
    held = ""
    for part in parts:
        held += part
        hits = [(held.find(stop) + len(stop), -len(stop)) for stop in stops if stop in held]
        if hits:
            end, length = min(hits)
            if end + length:
                yield held[: end + length]
            return
        wait = max((n for stop in stops for n in range(1, len(stop)) if held.endswith(stop[:n])), default=0)
        if len(held) > wait:
            yield held[: len(held) - wait]
            held = held[len(held) - wait :]
    if held:
        yield held


def by_whole_text(parts, stops):
    if "" in stops:
        raise ValueError
    text, out = "", 0
    for part in parts:
        text += part
        ends = sorted((text.index(stop) + len(stop), text.index(stop)) for stop in stops if stop in text)
        keep = ends[0][1] if ends else next(
            (i for i in range(len(text)) if any(stop.startswith(text[i:]) for stop in stops)), len(text)
        )  # fmt: skip
        if keep > out:
            yield text[out:keep]
            out = keep
        if ends:
            return
    if text[out:]:
        yield text[out:]


RIGHT = {
    "26.1": [by_counting_bits, by_divmod, by_tokens_first],
    "26.2": [in_a_loop, by_searchsorted, by_torch],
    "26.3": [by_bytes, by_pattern, by_incremental_decoder],
    "26.4": [by_characters, by_searching_parts, by_whole_text],
}
