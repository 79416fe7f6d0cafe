"""Checks of lesson 26."""

import math
import random
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from course_lib.checks import Register, raises
from course_lib.idioms.exercises import Property

EXERCISES = Register()


@EXERCISES.add("26.1", "How many requests fit on the card?")
def fitting(answer: Callable) -> Iterator[Property]:
    """answer(memory, weights, layers, key_heads, head_size, number, tokens) -> int."""
    llama = (32, 8, 128, 2)
    of_one = 131_072
    yield ("one sequence that fits exactly counts, a byte less does not", lambda: answer(4 * of_one, 0, *llama, 4) == 1
           and answer(4 * of_one - 1, 0, *llama, 4) == 0, [
        "Bytes of one token: keys and values, for each layer, head and number.",
        "2 × layers × key_heads × head_size × number, and that for each token.",
        "memory // (2 * layers * key_heads * head_size * number * tokens)",
    ])  # fmt: skip
    yield ("the weights take their part first", lambda: answer(24 * 10**9, 16 * 10**9, *llama, 8192) == 7
           and answer(24 * 10**9, 0, *llama, 8192) == 22, [
        "24 GB with 16 GB of weights leave 8 GB.",
        "Take the weights off before you divide.",
        "(memory - weights) // of_one",
    ])  # fmt: skip
    yield ("where the weights do not fit, nothing does", lambda: answer(10, 20, *llama, 1) == 0 and answer(10**9, 16 * 10**9, *llama, 8192) == 0
           and answer(5, 5, 1, 1, 1, 1, 1) == 0, [
        "A negative number of requests?",
        "-1 // 5 is -1.",
        "max(0, memory - weights) // of_one",
    ])  # fmt: skip

    def exact() -> bool:
        draw = random.Random(0)
        for _ in range(200):
            model = [draw.randint(1, 200) for _ in range(3)] + [draw.choice([1, 2, 4])]
            one, fit, tokens = 2 * math.prod(model), draw.randint(1, 10**9), draw.randint(1, 10**6)
            if (
                answer(one * tokens * fit + 17, 17, *model, tokens) != fit
                or answer(one * tokens * fit + 16, 17, *model, tokens) != fit - 1
            ):
                return False
        return type(answer(100, 1, 1, 1, 1, 1, 1)) is int

    yield ("large numbers are exact, and the answer is an int", exact, [
        "Try 10**9 requests, and a byte less.",
        "Floats have 53 bits.",
        "// on whole numbers, no /",
    ])  # fmt: skip
    good = [10**6, 5, 2, 3, 4, 2, 7]

    def refused() -> bool:
        wrong = [[*good[:i], low, *good[i + 1 :]] for i in range(7) for low in ((-1,) if i == 1 else (0, -1))]
        return all(raises(ValueError, answer, *each) for each in wrong)

    yield ("numbers that cannot be are refused, each of the seven", refused, [
        "Try 0 tokens, -1 layers, -1 bytes of weights.",
        "Weights may be 0, the others not.",
        "if weights < 0 or min(the others) < 1: raise ValueError(…)",
    ])  # fmt: skip


def _top_p(logits: np.ndarray, p: float) -> np.ndarray:
    """One token at a time; independent of the solution."""
    logits = [float(each) for each in logits]
    top = max(logits)
    shares = [math.exp(each - top) for each in logits]
    total = math.fsum(shares)
    shares = [each / total for each in shares]
    found, held = np.zeros(len(logits)), 0.0
    for i in sorted(range(len(shares)), key=lambda i: (-shares[i], i)):
        if held >= p or shares[i] == 0:
            break
        found[i], held = shares[i], held + shares[i]
    return found / found.sum()


@EXERCISES.add("26.2", "Which tokens may be drawn?")
def nucleus(answer: Callable) -> Iterator[Property]:
    """answer(logits, p) -> float64 (tokens,)."""
    four = np.log([0.1, 0.5, 0.15, 0.25])
    yield ("p = 0.7 of 0.5, 0.25, 0.15, 0.1 keeps two, scaled to a sum of 1", lambda: np.allclose(answer(four, 0.7), [0, 2 / 3, 0, 1 / 3]), [
        "0.5 is not enough, 0.5 + 0.25 is.",
        "Sort, add up, keep up to the token that reaches p, that one included. Then divide by what they hold together.",
        "order = np.argsort(-shares, kind='stable'); a token stays if those before it hold less than p",
    ])  # fmt: skip
    yield ("a small p keeps the best token, p = 1 keeps all", lambda: np.allclose(answer(four, 0.01), [0, 1, 0, 0])
           and np.allclose(answer(four, 1), np.exp(four)) and np.allclose(answer(np.array([3.0]), 0.5), [1]), [
        "The token that crosses the bound stays.",
        "What do the tokens *before* this one hold?",
        "np.cumsum(sorted) - sorted < p",
    ])  # fmt: skip
    large, gone = np.array([1000.0, 999.0, -1000.0, 998.0]), np.array([-np.inf, 0.0, -np.inf, 0.5])
    yield ("large logits and -inf are no problem", lambda: np.allclose(answer(large, 0.8), _top_p(large, 0.8))
           and np.allclose(answer(gone, 1.0), _top_p(gone, 1.0)) and answer(gone, 1.0)[0] == 0
           and np.allclose(answer(np.array([-2000.0, -2001.0]), 0.9), _top_p(np.array([-2000.0, -2001.0]), 0.9)), [
        "exp(1000) is infinite.",
        "Take the largest logit off first: the softmax stays the same.",
        "np.exp(logits - logits.max())",
    ])  # fmt: skip
    yield ("of equal tokens the one with the lower number is kept", lambda: np.allclose(answer(np.zeros(8), 0.3), [1 / 3] * 3 + [0] * 5)
           and np.allclose(answer(np.array([0.0, 5, 0, 5, 0, 5]), 0.4), [0, 0.5, 0, 0.5, 0, 0])
           and np.allclose(answer(np.zeros(64), 0.24), [1 / 16] * 16 + [0] * 48), [
        "Eight equal tokens, p = 0.3: three are kept. Which?",
        "A descending sort by [::-1] turns equal ones around.",
        "np.argsort(-shares, kind='stable')",
    ])  # fmt: skip

    def drawn() -> bool:
        draw = np.random.default_rng(0)
        for _ in range(100):
            logits = draw.normal(0, 3, draw.integers(1, 300)).astype(draw.choice([np.float32, np.float64]))
            p, kept = draw.uniform(0.05, 0.95), logits.copy()
            found = answer(logits, p)
            if not np.allclose(found, _top_p(logits, p), atol=1e-9) or not np.array_equal(logits, kept):
                return False
        found = answer(four.astype(np.float32), 0.7)
        return isinstance(found, np.ndarray) and found.dtype == np.float64 and abs(found.sum() - 1) < 1e-12

    yield ("the same for a hundred drawn cases, in float64, the argument unchanged", drawn, [
        "Convert to float64 first; a copy, not in place.",
        "Put the shares back at the tokens' own places.",
        "found = np.zeros(len(logits)); found[kept] = shares[kept] / shares[kept].sum()",
    ])  # fmt: skip
    yield ("another p is refused", lambda: all(raises(ValueError, answer, four, p) for p in (0, -0.1, 1.1, float("nan"))), [
        "Try p = 0, 1.1, and a number that is none.",
        "not 0 < p <= 1 also catches nan.",
        "if not 0 < p <= 1: raise ValueError(…)",
    ])  # fmt: skip


def _cut(content: bytes, draw: random.Random, most: int) -> list[bytes]:
    at, chunks = 0, []
    while at < len(content):
        size = draw.randint(0, most)
        chunks.append(content[at : at + size])
        at += size
    return chunks


@EXERCISES.add("26.3", "Where does an event end?")
def server_sent(answer: Callable) -> Iterator[Property]:
    """answer(chunks) -> generator of str."""

    def told(*chunks: bytes) -> list:
        return list(answer(iter(chunks)))

    yield ("two events in one chunk are two", lambda: told(b"data: one\n\ndata: two\n\n") == ["one", "two"] and told() == [] and told(b"") == [], [
        "An empty line ends an event.",
        "Split into lines; collect data; at an empty line, yield.",
        "for line in lines: …; elif not line and data: yield …",
    ])  # fmt: skip
    yield ("an event may come in pieces, cut anywhere", lambda: told(b"da", b"ta: o", b"ne\n", b"\nda", b"ta: two\n\n") == ["one", "two"]
           and told(*(b"data: abc\n\ndata: d\n\n"[i : i + 1] for i in range(20))) == ["abc", "d"], [
        "What remains after the last line's end belongs to the next chunk.",
        "Keep two things between chunks: the unfinished line, and the data so far.",
        "*lines, waiting = (waiting + chunk).split(b'\\n')",
    ])  # fmt: skip
    word = "data: – 中文 😀\n\n".encode()
    yield ("a cut inside a character does no harm", lambda: all(told(word[:i], word[i:]) == ["– 中文 😀"] for i in range(len(word) + 1)), [
        "A character of UTF-8 may have four bytes.",
        "Do not decode chunks. Decode whole lines or events.",
        "Keep bytes, and .decode() when you yield",
    ])  # fmt: skip
    yield ("lines may end with CR LF, also when the cut lies between the two", lambda: told(b"data: a\r\n\r\ndata: b\r\n\r\n") == ["a", "b"]
           and told(b"data: a\r", b"\n\r", b"\ndata: b\r\n", b"\r\n") == ["a", "b"] and told(b"data: a\r\n\ndata: b\n\r\n") == ["a", "b"], [
        "With CR LF, the empty line is b'\\r'.",
        "Take one CR off the end of each line.",
        "line.removesuffix(b'\\r')",
    ])  # fmt: skip
    yield ("one space after the colon does not count, further ones and those at the end do", lambda: told(b"data:a\n\ndata: a\n\ndata:  a \n\ndata:a:b\n\n") == [
        "a", "a", " a ", "a:b"] and told(b"data: \n\ndata:\n\n") == ["", ""], [
        "strip() takes too much: tokens often begin with a space.",
        "An event with an empty data line is an event.",
        "line[5:].removeprefix(b' ')",
    ])  # fmt: skip
    yield ("several data lines are joined, comments and other fields are ignored", lambda: told(b": hello\n\nevent: x\nid: 7\ndata: a\nretry: 5\ndata: b\n\n:\n\n") == ["a\nb"]
           and told(b"event: x\n\ndatabase: 1\n\ndata: c\n\n") == ["c"] and told(b"data: a\n\n\n\n\ndata: b\n\n") == ["a", "b"], [
        "Servers send ': ping' to keep a connection open.",
        "Collect a list of data lines, and yield it joined by a line feed, if there is one.",
        "elif not line and data: yield b'\\n'.join(data).decode(); data = []",
    ])  # fmt: skip
    yield ("every event comes out, whatever its text is", lambda: told(b"data: [DONE]\n\ndata: a\n\n") == ["[DONE]", "a"]
           and told("data: a\u2028b\u0085c\x0bd\n\n".encode()) == ["a\u2028b\u0085c\x0bd"], [
        "`[DONE]` is an event like any other: who reads the events decides what it means.",
        "str.splitlines() splits at more characters than LF and CR LF, U+2028 for instance.",
        "split(b'\\n')",
    ])  # fmt: skip
    yield ("what never ended is no event", lambda: told(b"data: a\n\ndata: b\n") == ["a"] and told(b"data: b") == [] and told(b"data: a\n", b"data: b") == [], [
        "The connection broke. Was that event complete?",
        "Only an empty line ends an event.",
        "yield nothing after the loop",
    ])  # fmt: skip

    def early() -> bool:
        taken = []

        def chunks() -> Iterator[bytes]:
            for i in range(5):
                taken.append(i)
                yield f"data: {i}\n\n".encode()

        seen = []
        for i, each in enumerate(answer(chunks())):
            seen.append(each)
            if len(taken) != i + 1:
                return False
        return seen == list("01234")

    yield ("an event comes out before the next chunk is taken", early, [
        "Do you wait for the end of the stream?",
        "yield inside the loop over chunks.",
        "No list(chunks), no b''.join(chunks)",
    ])  # fmt: skip

    def drawn() -> bool:
        draw = random.Random(0)
        for _ in range(60):
            texts = [
                "".join(draw.choice('ab :\u00e9\u4e2d\U0001f600{}"') for _ in range(draw.randint(0, 12)))
                for _ in range(6)
            ]
            ends = [draw.choice(["\n", "\r\n"]) for _ in range(3)]
            content = "".join(f"data: {each}{draw.choice(ends)}{draw.choice(ends)}" for each in texts).encode()
            if told(*_cut(content, draw, draw.choice([1, 2, 7, 40]))) != texts:
                return False
        return True

    yield ("sixty drawn streams come out whole, wherever they are cut", drawn, [
        "Empty chunks are among them.",
        "Nothing may depend on where a chunk ends.",
        "Try each of your lines with chunks of one byte.",
    ])  # fmt: skip


def _until(text: str, stops: list[str]) -> str:
    for i in range(1, len(text) + 1):
        ended = [each for each in stops if text[:i].endswith(each)]
        if ended:
            return text[: i - max(map(len, ended))]
    return text


def _out_at_least(text: str, stops: list[str]) -> int:
    """How many characters must be out after this text, in which no stop text is complete."""
    for i in range(len(text)):
        if any(stop.startswith(text[i:]) for stop in stops):
            return i
    return len(text)


@EXERCISES.add("26.4", "Stop here")
def stopping(answer: Callable) -> Iterator[Property]:
    """answer(parts, stops) -> generator of str."""

    def told(parts: Iterable[str], *stops: str) -> str:
        return "".join(answer(iter(parts), list(stops)))

    yield ("without a stop text everything comes out", lambda: told(["a ", "b", "", "c"]) == "a bc" and told([]) == "" and told(["a ", "b"], "x") == "a b"
           and told(["", ""], "x") == "", [
        "Pass the parts on.",
        "And none of the texts that you yield is empty.",
        "for part in parts: …; yield …",
    ])  # fmt: skip
    yield ("a stop text in one part, or across several, ends the text before it", lambda: told(["one END two"], "END") == "one "
           and told(["one E", "N", "D two"], "END") == "one " and told(["a", "b\n", "\nc"], "\n\n") == "ab" and told(["END"], "END") == "", [
        "Search in what was held back together with the new part.",
        "held = held + part; look for each stop text in it.",
        "if held.endswith(stop) after each character: yield what is before it, return",
    ])  # fmt: skip
    yield ("what only looked like a stop text comes out", lambda: told(["one E", "N", "OUGH"], "END") == "one ENOUGH" and told(["one EN"], "END") == "one EN"
           and told(["EEN", "END"], "END") == "EEN" and told(["aab", "aaab"], "aaab") == "aab" and told(["aa", "ab!"], "aab") == "a", [
        "At the end of the parts, give out what is held back.",
        'With "aab", the text "aaab": after "aa" comes an "a". What is held back now?',
        "Hold back the longest end of the text with which a stop text begins, anew after each character.",
    ])  # fmt: skip
    yield ("the stop text that is complete first counts; of two at once, the longer", lambda: told(["xabcd"], "abcd", "bc") == "xa"
           and told(["xa", "bc"], "bc", "abc") == "x" and told(["xabc"], "abc", "bc", "c") == "x" and told(["x b a"], "a", "b") == "x "
           and told(["b a"], "a", "b") == "", [
        "Go through the text a character at a time.",
        "After each character: which stop texts end here? Take the longest of them.",
        "ended = [stop for stop in stops if held.endswith(stop)]; held[:-max(map(len, ended))]",
    ])  # fmt: skip

    def early() -> bool:
        """After each part, exactly what may be out is out."""
        for parts, stops in ((["one", " E", "x", "EN", "EN", " b"], ["END"]), (["a\n", "b", "\n"], ["\n\n"]), (["abab", "ac"], ["abac!", "bb"]),
                             (["x", "y", "zz"], [])):  # fmt: skip
            given, out = [], []

            def feed(
                parts: list[str] = parts, given: list[str] = given, out: list[str] = out, stops: list[str] = stops
            ) -> Iterator[str]:
                for each in parts:
                    if given and len("".join(out)) != _out_at_least("".join(given), stops):
                        raise AssertionError(f"after {''.join(given)!r}, {''.join(out)!r} was out")
                    given.append(each)
                    yield each

            for each in answer(feed(), stops):
                if not each:
                    return False
                out.append(each)
            if "".join(out) != "".join(parts):
                return False
        return True

    yield ("what cannot become a stop text is out before the next part is taken", early, [
        "Do you hold back more than needed, always the last characters for instance?",
        "Only an end of the text that is a *beginning* of a stop text waits.",
        "next(i for i in range(len(held) + 1) if any(stop.startswith(held[i:]) for stop in stops)); with an empty list, all is out",
    ])  # fmt: skip

    def no_further() -> bool:
        taken = []

        def feed() -> Iterator[str]:
            for each in ("a", "ST", "OP", "b", "c"):
                taken.append(each)
                yield each

        return "".join(answer(feed(), ["STOP"])) == "a" and taken == ["a", "ST", "OP"]

    yield ("after a stop no further part is taken", no_further, [
        "Each further part costs a pass of the model.",
        "Leave the loop at once.",
        "return",
    ])  # fmt: skip

    def drawn() -> bool:
        draw = random.Random(1)
        for _ in range(400):
            text = "".join(draw.choice("aab") for _ in range(draw.randint(0, 14)))
            stops = ["".join(draw.choice("aab") for _ in range(draw.randint(1, 5))) for _ in range(draw.randint(0, 3))]
            parts = [each.decode() for each in _cut(text.encode(), draw, draw.choice([1, 2, 5]))]
            found = list(answer(iter(parts), stops))
            if "".join(found) != _until(text, stops) or "" in found:
                return False
        return True

    yield ("four hundred drawn texts end where they should, wherever they are cut", drawn, [
        "Nothing may depend on how the text is cut into parts.",
        "Two letters only, so that stop texts overlap with themselves and each other.",
        "Go one character at a time, inside each part.",
    ])  # fmt: skip
    yield ("an empty stop text is refused", lambda: all(raises(ValueError, lambda stops=stops: list(answer(iter(["a"]), stops))) for stops in ([""], ["a", ""])), [
        "An empty text is at every place.",
        'stops = ["END", ""]',
        'if "" in stops: raise ValueError(…)',
    ])  # fmt: skip
