# %% [markdown]
# # 20b One request's way: exercises
#
# A tracing system needs these four functions: the next header, the time that each part took, the decision which traces
# to keep, and a gate for log lines. Fill in what is missing, run the cell, then run its check.

# %%
import re

from course_lib.idioms import begin, check

scratch = begin("20b")

# %% [markdown]
# ## 20b.1 The next traceparent ★☆☆ · 15 minutes
#
# A service in front of yours sends a `traceparent`. A colleague's parser raises an error at a header that a proxy has cut,
# and users get a 500 for it. Write the header that your service sends on, whatever came in.
#
# A header can be read if it has the form `version-trace-parent-flags` with 2, 32, 16 and 2 hexadecimal digits in small
# letters, its version is not `ff`, and neither the trace id nor the parent id is all zeros. Version `00` has exactly these
# four parts. A later version may go on with another `-` and anything after it. Ignore spaces and tabs around the header,
# but no other characters. Of the flags, only the lowest bit matters.


# %%
def next_traceparent(header, span_id, new_trace_id, keep):
    """The traceparent for the request that this span sends on.

    header: the traceparent that came, str, or None where none came. span_id: this span's id, 16
    hexadecimal digits. new_trace_id: 32 hexadecimal digits, for a new trace. keep: bool, whether a
    trace that begins here is kept.
    Returns a traceparent of version 00, with this span as the parent and flags 01 or 00. It goes
    on with the trace that came, kept or not as its flags say. Where no header came, or where it
    cannot be read, it begins the new trace. Never raises for a header.
    """
    # SOLUTION
    form = r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?"
    came = re.fullmatch(form, (header or "").strip(" \t"))
    if came:
        version, trace_id, parent_id, flags, more = came.groups()
        zeros = not int(trace_id, 16) or not int(parent_id, 16)
        if not (version == "ff" or zeros or (version == "00" and more)):
            return f"00-{trace_id}-{span_id}-0{int(flags, 16) & 1}"
    return f"00-{new_trace_id}-{span_id}-0{int(keep)}"


# %%
check("20b.1", next_traceparent)

# %% [markdown] tags=["solution"]
# `fullmatch` matters: `re.match` with `$` would accept a line end behind the header. The flags are a number, so `03` is
# sampled as well and `02` is not. The version that goes out is ours, 00, because we write the four parts that we know. A
# second way is the library: `TraceContextTextMapPropagator().extract({"traceparent": header})` gives a context without a
# valid span where the header cannot be read. It accepts a line end behind the header, so refuse that yourself.

# %% [markdown]
# ## 20b.2 Self times ★★★ · 25 minutes
#
# The lesson's function assumes that children follow one after the other. Then a colleague lets the gateway ask two
# services at the same time. The self time of its span can come out negative. Write a version that is right for any tree.


# %%
def self_times(spans):
    """How long each span was under way while none of its children was.

    spans: list of dicts with span_id (str), parent_id (str, or None), start_ns and end_ns (int),
    in any order. Children may overlap, begin before their parent, or end after it; only what lies
    within the parent counts. A parent may be missing from the list. 20,000 spans take well under
    eight seconds.
    Returns a dict: span_id -> self time in ns, an int of 0 or more, for every span. Leaves `spans`
    as it was.
    """
    # SOLUTION
    children = {}
    for span in spans:
        children.setdefault(span["parent_id"], []).append((span["start_ns"], span["end_ns"]))
    own = {}
    for span in spans:
        covered, reached = 0, span["start_ns"]
        for begin_ns, end_ns in sorted(children.get(span["span_id"], [])):
            begin_ns, end_ns = max(begin_ns, reached), min(end_ns, span["end_ns"])
            if end_ns > begin_ns:
                covered += end_ns - begin_ns
                reached = end_ns
        own[span["span_id"]] = span["end_ns"] - span["start_ns"] - covered
    return own


# %%
check("20b.2", self_times)

# %% [markdown] tags=["solution"]
# The children are sorted by their start, and `reached` marks how far they have covered the parent. Each child adds only
# what lies beyond that mark. So the length of a union needs one pass, and nothing is counted twice. Children are looked up
# in a dict: a loop over all pairs would need 400 million comparisons for a trace of 20,000 spans. A second way is to cut the
# parent at each start and end, and to add up the pieces that no child covers.

# %% [markdown]
# ## 20b.3 Keep it or not? ★★☆ · 15 minutes
#
# You write the rule of a collector that samples at the tail. It has all spans of one trace at hand, and must say whether
# the trace is kept and why. The reason goes into the trace as an attribute: without it nobody can weight the traces later.


# %%
def reason_to_keep(spans, slow_ms, ratio):
    """Why this trace is kept, or None where it is dropped.

    spans: list of one or more dicts of one trace, in any order, with trace_id (32 hexadecimal
    digits), span_id (str), parent_id (str, or None), start_ns and end_ns (int), and error (bool).
    Parents may be missing from the list. slow_ms: float. ratio: float, 0 to 1.
    Returns, in this order of precedence:
    "error" where any span of the trace has one;
    "slow" where the trace took slow_ms or longer, from its first start to its last end;
    "chance" where the lower half of its trace id, 16 digits, is below ratio · 2**64 as a number;
    None for every other trace.
    """
    # SOLUTION
    if any(span["error"] for span in spans):
        return "error"
    first = min(span["start_ns"] for span in spans)
    last = max(span["end_ns"] for span in spans)
    if last - first >= slow_ms * 1e6:
        return "slow"
    if int(spans[0]["trace_id"][16:], 16) < ratio * 2**64:
        return "chance"
    return None


# %%
check("20b.3", reason_to_keep)

# %% [markdown] tags=["solution"]
# An error counts wherever it is: a retry may hide it from the root. The time goes from the first start to the last end. The
# root alone would be wrong where the client left early and the model went on computing, and a root may never arrive. The
# draw uses the trace id and not a random number, so that two collectors, or one that sees the trace twice, decide alike.
# With `ratio` 1 every id is below $2^{64}$, with 0 none is. A second way for the draw is OpenTelemetry's
# `TraceIdRatioBased(ratio).should_sample(None, int(trace_id, 16), "")`, which rounds the bound to a whole number.

# %% [markdown]
# ## 20b.4 What may go into the log? ★★☆ · 15 minutes
#
# A library that you use adds its own fields to log lines. Last week one of them held an e-mail address. A list of forbidden
# words would never be complete. Write a gate that works the other way round: it lets through only the fields that you know,
# and only where their values have the form that you expect.


# %%
def gate(line, forms):
    """What of a log line may be written.

    line: dict, field -> value. forms: dict, field -> regular expression (str) that the whole value
    must match, as text: str(value). A value that is a dict, a list or a tuple never fits.
    Returns a new dict with the fields of `line` that `forms` names, in the order of `line`: the
    value as it was where it fits, "[removed]" where it does not. Where `line` has fields that
    `forms` does not name, the field "dropped" says how many, an int. Changes neither argument.
    """
    # SOLUTION
    passed = {}
    for field, value in line.items():
        if field in forms:
            plain = not isinstance(value, dict | list | tuple)
            fits = plain and re.fullmatch(forms[field], str(value))
            passed[field] = value if fits else "[removed]"
    if len(passed) < len(line):
        passed["dropped"] = len(line) - len(passed)
    return passed


# %%
check("20b.4", gate)

# %% [markdown] tags=["solution"]
# `re.fullmatch` holds the whole value to the form. `re.match` would let `200 alice@example.com` pass as `\d{3}`, and with `$`
# also a value that ends in a line end, with which a client can forge a second log line. The names of dropped fields are
# not written: a name comes from outside too. Their number is written, because a gate that drops fields silently hides its
# own mistakes. A second way is to hold the lines to a schema, for instance with `jsonschema`, which also says why one failed.
