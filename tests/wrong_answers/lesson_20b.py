"""Answers to the exercises of lesson 20b that people write, each with the property at which its check must catch it."""

import random
import re

# 20b.1


def _next(header, span_id, new_trace_id, keep, **how):
    form = how.get("form", r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
    came = how.get("match", re.fullmatch)(form, how.get("strip", str.strip)(header or "", " \t"))
    if came and came[1] != how.get("forbidden", "ff") and (came[1] != "00" or not came[5] or how.get("longer")):
        if how.get("zeros") or (came[2] != "0" * 32 and came[3] != "0" * 16):
            flags = came[4] if how.get("flags") == "as they are" else f"0{int(came[4], 16) & 1}"
            flags = ("01" if came[4] == "01" else "00") if how.get("flags") == "01 alone" else flags
            return f"{came[1] if how.get('version') else '00'}-{came[2]}-{span_id}-{flags}"
    return f"00-{new_trace_id}-{span_id}-0{int(keep)}"


def splits_and_trusts(header, span_id, new_trace_id, keep):
    if header is None:
        return f"00-{new_trace_id}-{span_id}-0{int(keep)}"
    version, trace_id, parent_id, flags = header.split("-")
    return f"00-{trace_id}-{span_id}-{flags}"


def parent_of_the_parent(header, span_id, new_trace_id, keep):
    return header or f"00-{new_trace_id}-{span_id}-0{int(keep)}"


def own_decision(header, span_id, new_trace_id, keep):
    return _next(header, span_id, new_trace_id, keep)[:-2] + f"0{int(keep)}"


def always_kept_when_new(header, span_id, new_trace_id, keep):
    return _next(header, span_id, new_trace_id, True)


def capitals_too(header, span_id, new_trace_id, keep):
    return _next(header and header.lower(), span_id, new_trace_id, keep)


def int_reads_the_digits(header, span_id, new_trace_id, keep):
    parts = (header or "").strip(" \t").split("-")
    try:
        if [len(part) for part in parts] == [2, 32, 16, 2] and int(parts[1], 16) and int(parts[2], 16):
            return f"00-{parts[1]}-{span_id}-0{int(parts[3], 16) & 1}"
    except ValueError:
        pass
    return f"00-{new_trace_id}-{span_id}-0{int(keep)}"


def zeros_are_ids(header, span_id, new_trace_id, keep):
    return _next(header, span_id, new_trace_id, keep, zeros=True)


def version_00_alone(header, span_id, new_trace_id, keep):
    return _next(header, span_id, new_trace_id, keep, form=r"(00)-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})()")


def hands_the_version_on(header, span_id, new_trace_id, keep):
    return _next(header, span_id, new_trace_id, keep, version=True)


def ff_is_a_version(header, span_id, new_trace_id, keep):
    return _next(header, span_id, new_trace_id, keep, forbidden="no")


def flags_as_they_are(header, span_id, new_trace_id, keep):
    return _next(header, span_id, new_trace_id, keep, flags="as they are")


def flags_are_01(header, span_id, new_trace_id, keep):
    return _next(header, span_id, new_trace_id, keep, flags="01 alone")


def no_spaces(header, span_id, new_trace_id, keep):
    return _next(header, span_id, new_trace_id, keep, strip=lambda text, _: text)


def strips_line_ends(header, span_id, new_trace_id, keep):
    return _next(header, span_id, new_trace_id, keep, strip=lambda text, _: text.strip())


# 20b.2


def total_times(spans):
    return {span["span_id"]: span["end_ns"] - span["start_ns"] for span in spans}


def _own(spans, **how):
    own = {}
    for span in spans:
        begin, end = span["start_ns"], span["end_ns"]
        inside = [(c["start_ns"], c["end_ns"]) for c in spans if c["parent_id"] == span["span_id"]]
        covered, reached = 0, begin if how.get("clip", True) else min([begin, *(b for b, _ in inside)])
        for b, e in inside if how.get("unsorted") else sorted(inside):
            b, e = max(b, reached), min(e, end) if how.get("clip", True) else e
            if e > b:
                covered += e - b
            reached = e if how.get("pulls") else max(reached, e)
        own[span["span_id"]] = end - begin - covered
    return own


def sums_of_children(spans):
    own = total_times(spans)
    for span in spans:
        if span["parent_id"] in own:
            own[span["parent_id"]] -= span["end_ns"] - span["start_ns"]
    return own


def all_descendants(spans):
    own, parents = total_times(spans), {span["span_id"]: span["parent_id"] for span in spans}
    for span in spans:
        above = span["parent_id"]
        while above in own:
            own[above] -= span["end_ns"] - span["start_ns"]
            above = parents[above]
    return own


def parents_first(spans):
    own = {}
    for span in spans:
        own[span["span_id"]] = span["end_ns"] - span["start_ns"]
        if span["parent_id"] in own:
            own[span["parent_id"]] -= span["end_ns"] - span["start_ns"]
    return own


def never_below_zero(spans):
    return {name: max(0, ns) for name, ns in sums_of_children(spans).items()}


def pulls_the_mark_back(spans):
    return _own(spans, pulls=True)


def as_long_as_they_are(spans):
    return _own(spans, clip=False)


def in_the_order_given(spans):
    return _own(spans, unsorted=True)


def from_the_root_down(spans):
    own, reached = _own(spans), {None}
    for _ in spans:
        reached |= {span["span_id"] for span in spans if span["parent_id"] in reached}
    return {name: ns for name, ns in own.items() if name in reached}


def in_milliseconds(spans):
    return {name: round(ms * 1e6) for name, ms in _own([
        span | {"start_ns": span["start_ns"] / 1e6, "end_ns": span["end_ns"] / 1e6} for span in spans
    ]).items()}  # fmt: skip


def sorts_in_place(spans):
    spans.sort(key=lambda span: span["start_ns"])
    return _own(spans)


# 20b.3


def _reason(spans, slow_ms, ratio, **how):
    if any(span["error"] for span in spans) and not how.get("last"):
        return "error"
    first, last = min(s["start_ns"] for s in spans), max(s["end_ns"] for s in spans)
    took = how["took"](spans) if "took" in how else last - first
    if took > slow_ms * 1e6 or (took == slow_ms * 1e6 and not how.get("above")):
        return "slow"
    digits = how.get("digits", slice(16, None))
    if how.get("draw", lambda: int(spans[0]["trace_id"][digits], 16) / 2**64 * 2**64 < ratio * 2**64)():
        return "chance"
    return "error" if any(span["error"] for span in spans) else None


def _below(spans, ratio):
    return lambda: int(spans[0]["trace_id"][16:], 16) < ratio * 2**64


def always_something(spans, slow_ms, ratio):
    return _reason(spans, slow_ms, ratio, draw=lambda: True)


def errors_of_the_first_span(spans, slow_ms, ratio):
    return "error" if spans[0]["error"] else _reason([s | {"error": False} for s in spans], slow_ms, ratio)


def errors_last(spans, slow_ms, ratio):
    return _reason(spans, slow_ms, ratio, last=True, draw=_below(spans, ratio))


def microseconds(spans, slow_ms, ratio):
    return _reason(spans, slow_ms / 1000, ratio, draw=_below(spans, ratio))


def above_the_limit_alone(spans, slow_ms, ratio):
    return _reason(spans, slow_ms, ratio, above=True, draw=_below(spans, ratio))


def time_of_the_root(spans, slow_ms, ratio):
    roots = [s for s in spans if s["parent_id"] is None]
    took = sum(s["end_ns"] - s["start_ns"] for s in roots)
    return _reason(spans, slow_ms, ratio, took=lambda _: took, draw=_below(spans, ratio))


def longest_span(spans, slow_ms, ratio):
    took = max(s["end_ns"] - s["start_ns"] for s in spans)
    return _reason(spans, slow_ms, ratio, took=lambda _: took, draw=_below(spans, ratio))


def sum_of_spans(spans, slow_ms, ratio):
    took = sum(s["end_ns"] - s["start_ns"] for s in spans)
    return _reason(spans, slow_ms, ratio, took=lambda _: took, draw=_below(spans, ratio))


def whole_milliseconds(spans, slow_ms, ratio):
    took = (max(s["end_ns"] for s in spans) - min(s["start_ns"] for s in spans)) // 1_000_000
    return _reason(spans, int(slow_ms), ratio, took=lambda _: took * 1_000_000, draw=_below(spans, ratio))


def divides_before_it_subtracts(spans, slow_ms, ratio):
    took = max(s["end_ns"] / 1e6 for s in spans) - min(s["start_ns"] / 1e6 for s in spans)
    return _reason(spans, slow_ms, ratio, took=lambda _: took * 1e6, draw=_below(spans, ratio))


def upper_half(spans, slow_ms, ratio):
    return _reason(spans, slow_ms, ratio, draw=lambda: int(spans[0]["trace_id"][:16], 16) < ratio * 2**64)


def divides(spans, slow_ms, ratio):
    return _reason(spans, slow_ms, ratio, draw=lambda: int(spans[0]["trace_id"][16:], 16) / 2**64 < ratio)


def throws_dice(spans, slow_ms, ratio):
    return _reason(spans, slow_ms, ratio, draw=lambda: random.random() < ratio)


# 20b.4


def _gate(line, forms, **how):
    passed = {}
    for field, value in line.items():
        if field in forms:
            plain = how.get("anything") or not isinstance(value, dict | list | tuple)
            fits = plain and how.get("match", re.fullmatch)(forms[field], str(value))
            passed[field] = (str(value) if how.get("text") else value) if fits else how.get("instead", "[removed]")
    if len(passed) < len(line):
        passed["dropped"] = len(line) - len(passed)
    return passed


def values_become_text(line, forms):
    return _gate(line, forms, text=True)


def drops_without_a_word(line, forms):
    return {field: value for field, value in _gate(line, forms).items() if field != "dropped"}


def tells_the_names(line, forms):
    passed = _gate(line, forms)
    return passed | ({"dropped": [field for field in line if field not in forms]} if "dropped" in passed else {})


def everything_unknown_stays(line, forms):
    return line | {field: value for field, value in _gate(line, forms).items() if field != "dropped"}


def misfits_are_dropped(line, forms):
    fits = {field: value for field, value in _gate(line, forms).items() if value != "[removed]"}
    dropped = len([field for field in line if field not in fits])
    return fits | ({"dropped": dropped} if dropped else {})


def looks_at_the_beginning(line, forms):
    return _gate(line, forms, match=re.match)


def looks_anywhere(line, forms):
    return _gate(line, forms, match=re.search)


def ends_in_a_dollar(line, forms):
    return _gate(line, forms, match=lambda form, text: re.match(f"(?:{form})$", text))


def any_case(line, forms):
    return _gate(line, forms, match=lambda form, text: re.fullmatch(form, text, re.IGNORECASE))


def dots_take_line_ends(line, forms):
    return _gate(line, forms, match=lambda form, text: re.fullmatch(form, text, re.DOTALL))


def tuples_have_texts(line, forms):
    passed = _gate(line, forms, anything=True)
    return {f: "[removed]" if isinstance(value, dict | list) else value for f, value in passed.items()}


def texts_of_lists(line, forms):
    return _gate(line, forms, anything=True)


def only_what_is_true(line, forms):
    passed = _gate(line, forms)
    return {field: value if value or field == "dropped" else "[removed]" for field, value in passed.items()}


def deletes_from_the_line(line, forms):
    passed = _gate(line, forms)
    line.clear()
    line.update(passed)
    return line


WRONG = {
    "20b.1": {
        parent_of_the_parent: "a readable header goes on: its trace id and its flag, with this span as the parent",
        own_decision: "a readable header goes on: its trace id and its flag, with this span as the parent",
        always_kept_when_new: "where no header came, a new trace begins, kept or not as `keep` says",
        splits_and_trusts: "a header that is cut or made up begins a new trace, and raises nothing",
        capitals_too: "a header with characters other than 0-9 and a-f in its parts cannot be read",
        int_reads_the_digits: "a header with characters other than 0-9 and a-f in its parts cannot be read",
        zeros_are_ids: "ids of zeros alone cannot be read",
        version_00_alone: "a later version is read as far as we know it, and goes out as version 00",
        hands_the_version_on: "a later version is read as far as we know it, and goes out as version 00",
        ff_is_a_version: "version ff cannot be read",
        flags_as_they_are: "of the flags, only the lowest bit counts",
        flags_are_01: "of the flags, only the lowest bit counts",
        no_spaces: "spaces and tabs around a header do not count",
        strips_line_ends: "spaces and tabs around a header do not count",
    },
    "20b.2": {
        total_times: "children one after the other are taken away from their own parent alone",
        all_descendants: "children one after the other are taken away from their own parent alone",
        parents_first: "children one after the other are taken away from their own parent alone",
        sums_of_children: "where two children overlap, their common time counts once",
        never_below_zero: "where two children overlap, their common time counts once",
        in_the_order_given: "children one after the other are taken away from their own parent alone",
        pulls_the_mark_back: "where a child lies inside another, their common time counts once",
        as_long_as_they_are: "only what lies within the parent counts",
        from_the_root_down: "a span whose parent is missing is counted, and so is a second root",
        in_milliseconds: "nanoseconds since 1970 stay exact, in whole numbers",
        sorts_in_place: "forty random trees come out right, and stay as they were",
        _own: "20,000 spans take well under eight seconds",
    },
    "20b.3": {
        always_something: "an ordinary trace is dropped where the ratio is 0",
        errors_of_the_first_span: "an error in any span keeps it, before every other reason",
        errors_last: "an error in any span keeps it, before every other reason",
        microseconds: "an ordinary trace is dropped where the ratio is 0",
        above_the_limit_alone: "a trace of slow_ms or longer is slow",
        whole_milliseconds: "a trace of slow_ms or longer is slow",
        divides_before_it_subtracts: "a trace of slow_ms or longer is slow",
        time_of_the_root: "its time goes from the first start to the last end of the spans that arrived",
        longest_span: "its time goes from the first start to the last end of the spans that arrived",
        sum_of_spans: "its time goes from the first start to the last end of the spans that arrived",
        upper_half: "of the rest, the lower half of the trace id decides",
        divides: "with ratio 1 every trace is kept",
        throws_dice: "of the rest, the lower half of the trace id decides",
    },
    "20b.4": {
        values_become_text: "fields that fit pass as they were, in their order",
        drops_without_a_word: "fields without a form are dropped, and counted",
        tells_the_names: "fields without a form are dropped, and counted",
        everything_unknown_stays: "fields without a form are dropped, and counted",
        misfits_are_dropped: "a value that does not fit is removed, its field stays",
        any_case: "a value that does not fit is removed, its field stays",
        looks_at_the_beginning: "the whole value must fit",
        looks_anywhere: "the whole value must fit",
        ends_in_a_dollar: "a line end does not slip through",
        dots_take_line_ends: "a line end does not slip through",
        tuples_have_texts: "a dict, a list or a tuple never fits, whatever the form",
        texts_of_lists: "a dict, a list or a tuple never fits, whatever the form",
        only_what_is_true: "0, False and an empty text are values like any other",
        deletes_from_the_line: "the line and the forms stay as they were",
    },
}
