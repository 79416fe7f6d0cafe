"""Checks of lesson 20b, one request's way."""

import copy
import random
from collections.abc import Callable, Iterator
from numbers import Integral

from course_lib.checks import Register
from course_lib.idioms.exercises import Property

EXERCISES = Register()

TRACE, PARENT, OWN, NEW = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7", "b7ad6b7169203331", "c" * 32


@EXERCISES.add("20b.1", "The next traceparent")
def next_traceparent(answer: Callable) -> Iterator[Property]:
    """answer(header, span_id, new_trace_id, keep) -> traceparent."""

    def goes_on(header: str, sampled: int = 1, trace: str = TRACE) -> bool:
        return all(answer(header, OWN, NEW, keep) == f"00-{trace}-{OWN}-0{sampled}" for keep in (True, False))

    def begins(header: str | None) -> bool:
        return [answer(header, OWN, NEW, keep) for keep in (True, False)] == [
            f"00-{NEW}-{OWN}-01",
            f"00-{NEW}-{OWN}-00",
        ]

    good = f"00-{TRACE}-{PARENT}-01"
    yield ("a readable header goes on: its trace id and its flag, with this span as the parent", lambda: (
        goes_on(good) and goes_on(f"00-{TRACE}-{PARENT}-00", 0)
    ), [
        "Take the header apart at its hyphens. Which of the four parts stay as they are?",
        "The parent of the next process is your own span. `keep` is for a trace that begins here.",
        'f"00-{trace_id}-{span_id}-{flags}"',
    ])  # fmt: skip
    yield ("where no header came, a new trace begins, kept or not as `keep` says", lambda: begins(None), [
        "What does your function do with None?",
        "The new trace id is given. The flags say whether this trace is kept.",
        'f"00-{new_trace_id}-{span_id}-0{int(keep)}"',
    ])  # fmt: skip
    cut = ["", "-", "00", "garbage", good[:-1], good[:40], good + "0", good + "-more", good.replace("-", "_"), "00-" + good,
           f"00-{TRACE[:-1]}-{PARENT}-01", f"00-{TRACE}-{PARENT}0-01", f"0-{TRACE}-{PARENT}-01", f"00-{TRACE}-{PARENT}-1",
           f"00-{TRACE}-{PARENT}-01-", f"00-{TRACE}--{PARENT}-01", "é" * 55, good + "," + good, "\0" * 55]  # fmt: skip
    yield ("a header that is cut or made up begins a new trace, and raises nothing", lambda: all(map(begins, cut)), [
        "Try an empty header, one that is cut in the middle, and one with a fifth part.",
        "Version 00 has exactly four parts, of 2, 32, 16 and 2 digits.",
        "re.fullmatch(r'([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?', …)",
    ])  # fmt: skip
    letters = [f"00-{TRACE.upper()}-{PARENT}-01", f"00-{'g' * 32}-{PARENT}-01", f"00-{TRACE}-{PARENT}-0x",
               f"00-{TRACE[:-2]}+1-{PARENT}-01", f"00-{TRACE[:-2]}_1-{PARENT}-01", f"00-{TRACE}-{' ' * 15}1-01",
               f"00-{TRACE}-{PARENT}-+1", f"00-{'٣' * 32}-{PARENT}-01"]  # fmt: skip
    yield ("a header with characters other than 0-9 and a-f in its parts cannot be read", lambda: all(map(begins, letters)), [
        "Try capital letters, and a `g`.",
        "int(text, 16) also takes signs, spaces, underscores, capital letters and the digits of other scripts.",
        "Let a regular expression look at each part: [0-9a-f]{32}",
    ])  # fmt: skip
    zeros = [f"00-{'0' * 32}-{PARENT}-01", f"00-{TRACE}-{'0' * 16}-01", f"00-{'0' * 32}-{'0' * 16}-00"]
    yield ("ids of zeros alone cannot be read", lambda: all(map(begins, zeros)), [
        "Which two ids are forbidden?",
        "A trace id or a parent id of zeros means: there is none.",
        'if trace_id == "0" * 32 or parent_id == "0" * 16: begin a new trace',
    ])  # fmt: skip
    later = [f"01-{TRACE}-{PARENT}-01", f"cc-{TRACE}-{PARENT}-01-what-the-future-brings", f"fe-{TRACE}-{PARENT}-01-"]
    yield ("a later version is read as far as we know it, and goes out as version 00", lambda: all(map(goes_on, later)), [
        "Try version 01, and version cc with a fifth part.",
        "Only version 00 must end after the flags. You write the version that you know.",
        "(-.*)? at the end of the pattern, refused where the version is 00",
    ])  # fmt: skip
    yield ("version ff cannot be read", lambda: begins(f"ff-{TRACE}-{PARENT}-01") and begins(f"ff-{TRACE}-{PARENT}-01-x")
           and begins(f"01-{TRACE}-{PARENT}-01more"), [
        "One version is forbidden.",
        "ff is no version. And what follows the flags of a later one must begin with a hyphen.",
        'if version == "ff": begin a new trace',
    ])  # fmt: skip
    yield ("of the flags, only the lowest bit counts", lambda: goes_on(f"00-{TRACE}-{PARENT}-03") and goes_on(f"00-{TRACE}-{PARENT}-ff")
           and goes_on(f"00-{TRACE}-{PARENT}-02", 0) and goes_on(f"00-{TRACE}-{PARENT}-fe", 0), [
        "The flags are a number of eight bits. What do 03 and 02 say?",
        "int(flags, 16) & 1",
        'f"0{int(flags, 16) & 1}"',
    ])  # fmt: skip
    yield ("spaces and tabs around a header do not count", lambda: goes_on(f"  {good}\t") and begins(good + "\n"), [
        "Some clients send a space before or after it.",
        "Only spaces and tabs: a line end inside a header is a forgery.",
        'header.strip(" \\t"), and re.fullmatch, since `$` also fits before a line end',
    ])  # fmt: skip


def _span(name: str, parent: str | None, start: int, end: int) -> dict:
    return {"span_id": name, "parent_id": parent, "start_ns": start, "end_ns": end}


def _reference_self_times(spans: list[dict]) -> dict[str, int]:
    """By cutting each span at every begin and end of its children."""
    own = {}
    for span in spans:
        inside = [each for each in spans if each["parent_id"] == span["span_id"]]
        cuts = {span["start_ns"], span["end_ns"]} | {each[key] for each in inside for key in ("start_ns", "end_ns")}
        cuts = sorted(cut for cut in cuts if span["start_ns"] <= cut <= span["end_ns"])
        own[span["span_id"]] = sum(
            b - a for a, b in zip(cuts, cuts[1:]) if not any(c["start_ns"] <= a and b <= c["end_ns"] for c in inside)
        )
    return own


@EXERCISES.add("20b.2", "Self times", seconds=8)
def self_times(answer: Callable) -> Iterator[Property]:
    """answer(spans) -> {span_id: ns}."""

    def gives(wanted: dict[str, int], *spans: dict) -> bool:
        return answer(copy.deepcopy([*spans])) == wanted

    one = _span("a", None, 100, 500)
    yield ("a span without children keeps all of its time; no spans, no times", lambda: gives({"a": 400}, one) and gives({}), [
        "Begin with a dict, and one entry for each span.",
        "Its end minus its begin, in ns.",
        'own[span["span_id"]] = span["end_ns"] - span["start_ns"]',
    ])  # fmt: skip
    chain = [_span("b", "a", 150, 250), _span("c", "b", 160, 240), _span("d", "a", 300, 450)]
    yield ("children one after the other are taken away from their own parent alone", lambda: gives(
        {"a": 150, "b": 20, "c": 80, "d": 150}, one, *chain
    ) and gives({"a": 150, "b": 20, "c": 80, "d": 150}, chain[1], chain[2], one, chain[0]), [
        "Which spans name this one as their parent? They may stand before it in the list.",
        "A grandchild's time is in its own parent already.",
        "for each span: duration minus the durations of those whose parent_id is its span_id",
    ])  # fmt: skip
    both = [_span("b", "a", 150, 300), _span("c", "a", 250, 400)]
    yield ("where two children overlap, their common time counts once", lambda: gives(
        {"a": 150, "b": 150, "c": 150}, one, *both
    ) and gives({"a": 150, "b": 150, "c": 150}, *both[::-1], one), [
        "Draw 150 to 300 and 250 to 400. How long is at least one of them under way?",
        "Sort the children by their start, and remember how far they have covered the parent.",
        "begin = max(begin, reached); add end - begin if it is above 0; reached = end",
    ])  # fmt: skip
    nested = [_span("b", "a", 150, 450), _span("c", "a", 200, 250), _span("d", "a", 300, 350)]
    yield ("where a child lies inside another, their common time counts once", lambda: gives(
        {"a": 100, "b": 300, "c": 50, "d": 50}, one, *nested
    ), [
        "One child from 150 to 450, others inside it: 200 to 250, 300 to 350.",
        "After the second child, how far is the parent covered?",
        "reached = max(reached, end)",
    ])  # fmt: skip
    out = [_span("b", "a", 50, 150), _span("c", "a", 450, 900), _span("d", "a", 600, 700), _span("e", "a", 0, 20)]
    yield ("only what lies within the parent counts", lambda: gives(
        {"a": 300, "b": 100, "c": 450, "d": 100, "e": 20}, one, *out
    ) and gives({"a": 0, "b": 900}, one, _span("b", "a", 50, 950)), [
        "A child may begin before its parent (another clock) or end after it (the client has left).",
        "Cut each child to the parent: the larger begin, the smaller end. What if nothing is left?",
        "max(0, min(end, parent_end) - max(begin, reached))",
    ])  # fmt: skip
    yield ("a span whose parent is missing is counted, and so is a second root", lambda: gives(
        {"b": 100, "c": 30, "a": 400}, _span("b", "gone", 100, 230), _span("c", "b", 150, 180), one
    ), [
        "Its parent may have been lost on the way.",
        "Do not walk from the root: go through the list.",
        "children.get(span_id, [])",
    ])  # fmt: skip
    big = [
        _span("a", None, 1_790_000_000_000_000_001, 1_790_000_000_000_000_100),
        _span("b", "a", 1_790_000_000_000_000_002, 1_790_000_000_000_000_099),
    ]
    yield ("nanoseconds since 1970 stay exact, in whole numbers", lambda: gives({"a": 2, "b": 97}, *big)
           and all(isinstance(each, Integral) for each in answer(copy.deepcopy(big)).values()), [
        "A float holds 53 bits, about 16 digits. These times have 19.",
        "Compute in ints, and do not divide.",
        "No 1e9, no NumPy floats: end - start of the ints.",
    ])  # fmt: skip
    drawn = random.Random(20)

    def tree() -> list[dict]:
        spans = []
        for number in range(30):
            start = drawn.randrange(1000)
            parent = f"s{drawn.randrange(number)}" if number else None
            spans.append(_span(f"s{number}", parent, start, start + drawn.randrange(400)))
        drawn.shuffle(spans)
        return spans

    trees = [tree() for _ in range(40)]
    yield ("forty random trees come out right, and stay as they were", lambda: all(
        answer(given := copy.deepcopy(spans)) == _reference_self_times(spans) and given == spans for spans in trees
    ), [
        "Compare with a slow version: cut each span at every start and end of its children.",
        "Do you change the dicts that you were given, or sort the list in place?",
        "sorted(…) makes a new list; spans.sort() does not.",
    ])  # fmt: skip
    many = [
        _span("root", None, 0, 90_000),
        *(_span(f"s{i}", "root" if i % 2 else f"s{i - 1}", 2 * i, 2 * i + 1) for i in range(1, 20_001)),
    ]
    yield ("20,000 spans take well under eight seconds", lambda: len(answer(many)) == 20_001, [
        "How many pairs of spans does your function look at?",
        "Collect the children of each span once, before the loop.",
        "children = {}; children.setdefault(parent_id, []).append(span)",
    ])  # fmt: skip


def _traced(start: int, end: int, *, parent: str | None = None, error: bool = False, low: int = 2**63) -> dict:
    return {
        "trace_id": f"{'a' * 16}{low:016x}",
        "span_id": f"{start}",
        "parent_id": parent,
        "start_ns": start,
        "end_ns": end,
        "error": error,
    }


@EXERCISES.add("20b.3", "Keep it or not?")
def reason_to_keep(answer: Callable) -> Iterator[Property]:
    """answer(spans, slow_ms, ratio) -> "error", "slow", "chance" or None."""
    ms, now = 1_000_000, 1_790_000_000_000_000_002
    fine = _traced(0, 10 * ms)
    yield ("an ordinary trace is dropped where the ratio is 0", lambda: answer([fine], 250, 0.0) is None, [
        "Neither an error, nor slow, nor drawn.",
        "With a ratio of 0 nothing is drawn.",
        "return None at the end",
    ])  # fmt: skip
    hidden = [fine, _traced(1, 5 * ms, parent="0", error=True), _traced(2, 4 * ms, parent="1")]
    yield ("an error in any span keeps it, before every other reason", lambda: answer([_traced(0, ms, error=True)], 250, 0) == "error"
           and answer(hidden, 250, 0.0) == "error" and answer(hidden[::-1], 1, 1.0) == "error", [
        "A retry may hide an error from the root.",
        "Look at every span, and look for errors first.",
        'if any(span["error"] for span in spans): return "error"',
    ])  # fmt: skip
    yield ("a trace of slow_ms or longer is slow", lambda: answer([_traced(0, 250 * ms)], 250, 0) == "slow"
           and answer([_traced(0, 250 * ms - 1)], 250, 0) is None and answer([_traced(7, 900 * ms)], 250.0, 1.0) == "slow"
           and answer([_traced(now, now + 250 * ms)], 250, 0) == "slow" and answer([_traced(now, now + 250 * ms - 1)], 250, 0) is None
           and answer([_traced(0, ms // 2)], 0.5, 0) == "slow" and answer([_traced(0, ms // 2 - 1)], 0.5, 0) is None, [
        "Mind the unit, and what happens at the limit itself. slow_ms may be 0.5.",
        "A millisecond has a million nanoseconds. Subtract first: a float cannot hold the nanoseconds since 1970.",
        "last - first >= slow_ms * 1e6",
    ])  # fmt: skip
    outlived = [_traced(0, 50 * ms), _traced(1, 400 * ms, parent="0")]
    lost_root = [_traced(300 * ms, 310 * ms, parent="gone"), _traced(5 * ms, 6 * ms, parent="gone")]
    apart = [
        _traced(3 * ms, 4 * ms, parent="gone"),
        _traced(100 * ms, 140 * ms, parent="gone"),
        _traced(5 * ms, 130 * ms, parent="gone"),
    ]
    yield ("its time goes from the first start to the last end of the spans that arrived", lambda: answer(outlived, 250, 0) == "slow"
           and answer(lost_root, 250, 0) == "slow" and answer(apart, 250, 0) is None and answer(outlived[::-1], 250, 0) == "slow", [
        "The root ends after 50 ms, but its child computes for 400 ms. And where the root was lost?",
        "Two spans of 10 ms and 1 ms, 295 ms apart, belong to a trace of 305 ms.",
        'max(span["end_ns"] for span in spans) - min(span["start_ns"] for span in spans)',
    ])  # fmt: skip
    yield ("of the rest, the lower half of the trace id decides", lambda: answer([_traced(0, ms, low=2**62)], 250, 0.5) == "chance"
           and answer([_traced(0, ms, low=2**63 + 1)], 250, 0.5) is None and answer([_traced(0, ms, low=2**63)], 250, 0.5) is None
           and answer([_traced(0, ms, low=0)], 250, 1e-9) == "chance" and answer([_traced(0, ms, low=0)], 250, 0.0) is None, [
        "16 of the 32 digits, as a number. Which half?",
        "Half of all numbers below 2**64 are below 0.5 · 2**64. The bound itself is not below.",
        'int(trace_id[16:], 16) < ratio * 2**64',
    ])  # fmt: skip
    yield ("with ratio 1 every trace is kept", lambda: answer([_traced(0, ms, low=2**64 - 1)], 250, 1.0) == "chance"
           and answer([_traced(0, ms, low=2**64 - 1)], 250, 1) == "chance", [
        "The largest lower half is 2**64 - 1.",
        "Python compares an int and a float exactly, as long as you do not turn the int into a float yourself.",
        "int(…, 16) < ratio * 2**64, without a division",
    ])  # fmt: skip
    drawn = random.Random(3)
    many = [[_traced(0, ms, low=drawn.getrandbits(64))] for _ in range(20_000)]
    yield ("ratio 0.1 keeps about one trace in ten, and the same ones each time", lambda: (
        (first := [answer(each, 250, 0.1) for each in many]) == [answer(each, 250, 0.1) for each in many]
        and 1800 < first.count("chance") < 2200 and first.count(None) == 20_000 - first.count("chance")
    ), [
        "Do you draw a random number? Two collectors would decide differently.",
        "The trace id is random already.",
        'int(spans[0]["trace_id"][16:], 16) < ratio * 2**64',
    ])  # fmt: skip


FORMS = {
    "status": r"\d{3}",
    "path": r"/[a-z0-9/_:]*",
    "request_id": "[A-Za-z0-9._-]{1,128}",
    "ms": r"\d+(\.\d+)?",
    "ok": "True|False",
    "model": ".{1,80}",
}


@EXERCISES.add("20b.4", "What may go into the log?")
def gate(answer: Callable) -> Iterator[Property]:
    """answer(line, forms) -> dict."""

    def gives(wanted: dict, line: dict) -> bool:
        found = answer(line, FORMS)
        order = [field for field in found if field != "dropped"] == [field for field in wanted if field != "dropped"]
        return found == wanted and order and all(type(found[field]) is type(wanted[field]) for field in wanted)

    fits = {"request_id": "r-1", "status": 200, "ms": 3.25, "ok": True, "path": "/v1/models/digits_cnn:predict"}
    yield ("fields that fit pass as they were, in their order", lambda: gives(fits, fits) and gives({}, {}), [
        "A new dict, with the values themselves and not their text.",
        "Compare str(value) with the form, and keep value.",
        "passed[field] = value",
    ])  # fmt: skip
    yield ("fields without a form are dropped, and counted", lambda: gives(
        {"status": 200, "dropped": 2}, {"user": "alice@example.com", "status": 200, "note": "x"}
    ) and gives({"dropped": 1}, {"alice@example.com": 1}), [
        "How many fields does the line have that `forms` does not name?",
        "The number goes into a field of its own, and only where there is something to count.",
        'passed["dropped"] = len(line) - len(passed)',
    ])  # fmt: skip
    yield ("a value that does not fit is removed, its field stays", lambda: gives(
        {"status": "[removed]", "path": "[removed]", "ms": 1}, {"status": "failed", "path": "alice@example.com", "ms": 1}
    ) and gives({"status": "[removed]"}, {"status": None}) and gives({"ms": "[removed]"}, {"ms": "fast"})
           and gives({"ok": "[removed]"}, {"ok": "true"}), [
        "What stands in the place of the value?",
        "None has a text too: 'None'. It does not fit three digits.",
        '"[removed]"',
    ])  # fmt: skip
    partly = {"status": "200 alice", "path": "x/v1", "ms": "3.5ms", "request_id": "a b", "ok": "True|"}
    yield ("the whole value must fit", lambda: gives(dict.fromkeys(partly, "[removed]"), partly), [
        "Try the status '200 alice'.",
        "re.match looks at the beginning alone, re.search anywhere.",
        "re.fullmatch(forms[field], str(value))",
    ])  # fmt: skip
    ends = {
        "status": "200\n",
        "path": "/v1\n",
        "request_id": 'r-1\n{"event":"forged"}',
        "model": 'digits\n{"event":"forged"}',
    }
    yield ("a line end does not slip through", lambda: gives(dict.fromkeys(ends, "[removed]"), ends), [
        "In a regular expression `$` also fits before a line end.",
        "With a line end a client can write a second log line.",
        "re.fullmatch, without `$` and without flags",
    ])  # fmt: skip
    anything = {"any": r"[\s\S]*", "ms": r"\d+"}
    yield ("a dict, a list or a tuple never fits, whatever the form", lambda: (
        answer({"any": {"name": "alice"}}, anything) == {"any": "[removed]"}
        and answer({"any": ["alice"], "ms": (1,)}, anything) == {"any": "[removed]", "ms": "[removed]"}
        and answer({"any": ("alice",)}, anything) == {"any": "[removed]"}
        and answer({"any": "words, 1"}, anything) == {"any": "words, 1"}
    ), [
        "What is inside such a value has no form of its own.",
        "Look at the type before you look at the text.",
        "isinstance(value, dict | list | tuple)",
    ])  # fmt: skip
    falsy = {"status": 200, "ok": False, "ms": 0}
    yield ("0, False and an empty text are values like any other", lambda: gives(falsy, falsy)
           and answer({"any": "", "ms": 0}, anything) == {"any": "", "ms": 0}, [
        "Is there an `if value` in your function?",
        "A match of an empty text is a match.",
        "if re.fullmatch(…) is not None",
    ])  # fmt: skip
    line, forms = {"status": "200 x", "user": "alice"}, dict(FORMS)

    def untouched() -> bool:
        kept = copy.deepcopy((line, forms))
        found = answer(line, forms)
        return (line, forms) == kept and found is not line and found == {"status": "[removed]", "dropped": 1}

    yield ("the line and the forms stay as they were", untouched, [
        "The caller may still need the line.",
        "Do not delete from it: fill a new dict.",
        "passed = {}",
    ])  # fmt: skip
