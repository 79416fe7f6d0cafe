"""Wrong answers to lesson 26's exercises, each with the property at which the check must catch it."""

import codecs

import numpy as np

# 26.1


def without_values(memory, weights, layers, key_heads, head_size, number, tokens):
    return (memory - weights) // (layers * key_heads * head_size * number * tokens)


def without_weights(memory, weights, layers, key_heads, head_size, number, tokens):
    return memory // (2 * layers * key_heads * head_size * number * tokens)


def below_zero(memory, weights, layers, key_heads, head_size, number, tokens):
    return (memory - weights) // (2 * layers * key_heads * head_size * number * tokens)


def in_floats(memory, weights, layers, key_heads, head_size, number, tokens):
    return int(max(0, memory - weights) / (2 * layers * key_heads * head_size * number * tokens))


def refuses_nothing(memory, weights, layers, key_heads, head_size, number, tokens):
    return max(0, memory - weights) // (2 * layers * key_heads * head_size * number * tokens)


def refuses_no_weights(memory, weights, layers, key_heads, head_size, number, tokens):
    if min(memory, weights, layers, key_heads, head_size, number, tokens) < 1:
        raise ValueError
    return max(0, memory - weights) // (2 * layers * key_heads * head_size * number * tokens)


# 26.2


def _shares(logits):
    logits = np.asarray(logits, np.float64)
    shares = np.exp(logits - logits.max())
    return shares / shares.sum()


def drops_the_one_that_crosses(logits, p):
    shares = _shares(logits)
    order = np.argsort(-shares, kind="stable")
    found = np.zeros(len(shares))
    kept = order[np.cumsum(shares[order]) <= p]
    found[kept] = shares[kept]
    return found / max(found.sum(), 1e-9)


def not_scaled(logits, p):
    shares = _shares(logits)
    order = np.argsort(-shares, kind="stable")
    kept = order[np.cumsum(shares[order]) - shares[order] < p]
    found = np.zeros(len(shares))
    found[kept] = shares[kept]
    return found


def keeps_one_at_most_p(logits, p):
    shares = _shares(logits)
    return np.where(shares >= 1 - p, shares, 0) / shares[shares >= 1 - p].sum()


def overflows(logits, p):
    with np.errstate(all="ignore"):
        shares = np.exp(np.asarray(logits, np.float64))
        shares = shares / shares.sum()
    order = np.argsort(-shares, kind="stable")
    kept = order[np.cumsum(shares[order]) - shares[order] < p]
    found = np.zeros(len(shares))
    found[kept] = shares[kept]
    return found / found.sum()


def reversed_sort(logits, p):
    shares = _shares(logits)
    order = np.argsort(shares, kind="stable")[::-1]
    kept = order[np.cumsum(shares[order]) - shares[order] < p]
    found = np.zeros(len(shares))
    found[kept] = shares[kept]
    return found / found.sum()


def any_p(logits, p):
    shares = _shares(logits)
    order = np.argsort(-shares, kind="stable")
    kept = order[np.cumsum(shares[order]) - shares[order] < max(p, 1e-12)]
    found = np.zeros(len(shares))
    found[kept] = shares[kept]
    return found / found.sum()


# 26.3


def a_chunk_is_an_event(chunks):
    for chunk in chunks:
        yield chunk.decode().removeprefix("data: ").strip()


def each_chunk_alone(chunks):
    for chunk in chunks:
        for event in chunk.decode(errors="replace").split("\n\n"):
            if event.startswith("data: "):
                yield event[6:]


def decodes_chunks(chunks):
    text = ""
    for chunk in chunks:
        text += chunk.decode(errors="replace")
        while "\n\n" in text:
            event, text = text.split("\n\n", 1)
            yield event.removeprefix("data: ")


def line_feeds_alone(chunks):
    waiting = b""
    for chunk in chunks:
        waiting += chunk
        while b"\n\n" in waiting:
            event, waiting = waiting.split(b"\n\n", 1)
            yield event.removeprefix(b"data: ").decode()


def strips(chunks):
    waiting, data = b"", []
    for chunk in chunks:
        *lines, waiting = (waiting + chunk).split(b"\n")
        for line in lines:
            if line.startswith(b"data:"):
                data.append(line[5:].strip())
            elif not line.strip() and data:
                yield b"\n".join(data).decode()
                data = []


def each_line_an_event(chunks):
    waiting = b""
    for chunk in chunks:
        *lines, waiting = (waiting + chunk).split(b"\n")
        for line in lines:
            if line.startswith(b"data:"):
                yield line[5:].removesuffix(b"\r").removeprefix(b" ").decode()


def gives_the_rest(chunks):
    waiting, data = b"", []
    for chunk in chunks:
        *lines, waiting = (waiting + chunk).split(b"\n")
        for line in lines:
            line = line.removesuffix(b"\r")
            if line.startswith(b"data:"):
                data.append(line[5:].removeprefix(b" "))
            elif not line and data:
                yield b"\n".join(data).decode()
                data = []
    if data:
        yield b"\n".join(data).decode()


def all_at_once(chunks):
    waiting, data, found = b"".join(chunks), [], []
    *lines, waiting = waiting.split(b"\n")
    for line in lines:
        line = line.removesuffix(b"\r")
        if line.startswith(b"data:"):
            data.append(line[5:].removeprefix(b" "))
        elif not line and data:
            found.append(b"\n".join(data).decode())
            data = []
    return iter(found)


def stops_at_done(chunks):
    waiting, data = b"", []
    for chunk in chunks:
        *lines, waiting = (waiting + chunk).split(b"\n")
        for line in lines:
            line = line.removesuffix(b"\r")
            if line == b"data: [DONE]":
                return
            if line.startswith(b"data:"):
                data.append(line[5:].removeprefix(b" "))
            elif not line and data:
                yield b"\n".join(data).decode()
                data = []


def splits_at_every_end_of_a_line(chunks):
    decoder, waiting, data = codecs.getincrementaldecoder("utf-8")(), "", []
    for chunk in chunks:
        lines = (waiting + decoder.decode(chunk)).splitlines(keepends=True)
        waiting = lines.pop() if lines and not lines[-1].endswith("\n") else ""
        for line in lines:
            line = line.rstrip("\n").removesuffix("\r")
            if line.startswith("data:"):
                data.append(line[5:].removeprefix(" "))
            elif not line and data:
                yield "\n".join(data)
                data = []


# 26.4


def in_one_part_alone(parts, stops):
    for part in parts:
        for stop in stops:
            if stop in part:
                if before := part[: part.index(stop)]:
                    yield before
                return
        if part:
            yield part


def loses_the_rest(parts, stops):
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


def first_in_the_list(parts, stops):
    held = ""
    for part in parts:
        held += part
        for stop in stops:
            if stop in held:
                if before := held[: held.index(stop)]:
                    yield before
                return
        wait = max((n for stop in stops for n in range(1, len(stop)) if held.endswith(stop[:n])), default=0)
        if len(held) > wait:
            yield held[: len(held) - wait]
            held = held[len(held) - wait :]
    if held:
        yield held


def holds_back_too_much(parts, stops):
    held, longest = "", max(map(len, stops), default=1)
    for part in parts:
        held += part
        hits = [(held.find(stop) + len(stop), -len(stop)) for stop in stops if stop in held]
        if hits:
            end, length = min(hits)
            if end + length:
                yield held[: end + length]
            return
        if len(held) >= longest:
            yield held[: len(held) - longest + 1]
            held = held[len(held) - longest + 1 :]
    if held:
        yield held


def takes_all_first(parts, stops):
    text = "".join(parts)
    for i in range(1, len(text) + 1):
        ended = [each for each in stops if each and text[:i].endswith(each)]
        if ended:
            text = text[: i - max(map(len, ended))]
            break
    if text:
        yield text


def takes_one_more(parts, stops):
    held, stopped = "", False
    for part in parts:
        if stopped:
            return
        held += part
        hits = [(held.find(stop) + len(stop), -len(stop)) for stop in stops if stop in held]
        if hits:
            end, length = min(hits)
            if end + length:
                yield held[: end + length]
            held, stopped = "", True
            continue
        wait = max((n for stop in stops for n in range(1, len(stop)) if held.endswith(stop[:n])), default=0)
        if len(held) > wait:
            yield held[: len(held) - wait]
            held = held[len(held) - wait :]
    if held:
        yield held


def ignores_empty_stops(parts, stops):
    stops, held = [stop for stop in stops if stop], ""
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


WRONG = {
    "26.1": {
        without_values: "one sequence that fits exactly counts, a byte less does not",
        without_weights: "the weights take their part first",
        below_zero: "where the weights do not fit, nothing does",
        in_floats: "large numbers are exact, and the answer is an int",
        refuses_nothing: "numbers that cannot be are refused, each of the seven",
        refuses_no_weights: "one sequence that fits exactly counts, a byte less does not",
    },
    "26.2": {
        drops_the_one_that_crosses: "p = 0.7 of 0.5, 0.25, 0.15, 0.1 keeps two, scaled to a sum of 1",
        not_scaled: "p = 0.7 of 0.5, 0.25, 0.15, 0.1 keeps two, scaled to a sum of 1",
        keeps_one_at_most_p: "p = 0.7 of 0.5, 0.25, 0.15, 0.1 keeps two, scaled to a sum of 1",
        overflows: "large logits and -inf are no problem",
        reversed_sort: "of equal tokens the one with the lower number is kept",
        any_p: "another p is refused",
    },
    "26.3": {
        a_chunk_is_an_event: "two events in one chunk are two",
        each_chunk_alone: "an event may come in pieces, cut anywhere",
        decodes_chunks: "a cut inside a character does no harm",
        line_feeds_alone: "lines may end with CR LF, also when the cut lies between the two",
        strips: "one space after the colon does not count, further ones and those at the end do",
        each_line_an_event: "several data lines are joined, comments and other fields are ignored",
        gives_the_rest: "what never ended is no event",
        stops_at_done: "every event comes out, whatever its text is",
        splits_at_every_end_of_a_line: "every event comes out, whatever its text is",
        all_at_once: "an event comes out before the next chunk is taken",
    },
    "26.4": {
        in_one_part_alone: "a stop text in one part, or across several, ends the text before it",
        loses_the_rest: "what only looked like a stop text comes out",
        first_in_the_list: "the stop text that is complete first counts; of two at once, the longer",
        holds_back_too_much: "what cannot become a stop text is out before the next part is taken",
        takes_all_first: "what cannot become a stop text is out before the next part is taken",
        takes_one_more: "after a stop no further part is taken",
        ignores_empty_stops: "an empty stop text is refused",
    },
}
