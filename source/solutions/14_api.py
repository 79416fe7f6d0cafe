# %% [markdown]
# # 14 A model behind an API: exercises
#
# Three parts of a model server, each a function without a network. Fill in what is missing, run the cell, then its
# check.

# %%
import json
import math

import numpy as np

from course_lib.idioms import begin, check

scratch = begin("14")

# %% [markdown]
# ## 14.1 Rows from strangers ★☆☆ · 15 minutes
#
# A partner's client was updated, and the service answered with status 500 all night. The log shows why, and more than
# it should: whole rows of a customer's data, copied from the error messages. Read a request so that every mistake of
# the caller is a `ValueError`, which the service turns into 400, and no message repeats what was sent.


# %%
def rows_of(body, size):
    """The rows of a request in TensorFlow Serving's row form.

    body: bytes; a JSON object in UTF-8 whose key "instances" holds a list of one row or more, each
    a list of `size` numbers, whole or decimal, that are finite in float32. Other keys are ignored.
    true, false and texts are no numbers. size: from 1. Returns a float32 array (N, size). Raises
    ValueError, and no other error, for every other body; its message repeats no value that the
    rows hold.
    """
    # SOLUTION
    try:
        request = json.loads(body.decode())  # of bytes it would guess the encoding
    except (ValueError, RecursionError):
        raise ValueError("expected JSON in UTF-8") from None
    rows = request.get("instances") if isinstance(request, dict) else None
    if not isinstance(rows, list) or not rows:
        raise ValueError("expected an object whose key 'instances' holds a list of rows")
    for i, row in enumerate(rows):
        if not isinstance(row, list) or len(row) != size:
            raise ValueError(f"row {i}: expected a list of {size} numbers")
        if not all(type(each) in (int, float) for each in row):
            raise ValueError(f"row {i}: expected numbers only")
        if not all(abs(each) < TOO_LARGE for each in row):  # NaN fails every comparison
            raise ValueError(f"row {i}: expected numbers that are finite in float32")
    return np.array(rows, np.float32)


# From here on float32 rounds to infinity: half a step above its largest number, 3.4028235e38.
TOO_LARGE = float(2**128 - 2**103)

# %%
check("14.1", rows_of)

# %% [markdown] tags=["solution"]
# Why so? `json.loads` has three ways to fail: a `JSONDecodeError` and a `UnicodeDecodeError`, which are both
# `ValueError`s, and a `RecursionError` for lists nested too deep. Types are compared as such, since `True` is an `int`
# to `isinstance`. The range is asked in Python's numbers, before NumPy sees them: a whole number of 400 digits would
# raise `OverflowError` there, and 1e39 would become infinite without a word. The bound is not the double
# `float(np.finfo(np.float32).max)`: float32's largest number, written with eight digits, 3.4028235e38, lies a little
# above it. `from None` keeps the parser's error, which holds the whole document, out of the log. A second way is a
# library such as Pydantic; look at what its messages repeat.

# %% [markdown]
# ## 14.2 Who travels together ★★☆ · 20 minutes
#
# "We set the largest batch to 8 and the longest wait to 5 ms. Which requests shared a call last night?" Form the
# batches from the arrivals in the log, as a dynamic batcher does.


# %%
def form_batches(arrived_ms, rows, shapes, most, wait_ms):
    """Which requests share a call, and when their batch is closed.

    arrived_ms: float array (N,), rising, several may be equal; N may be 0. rows: int array (N,),
    how many rows each request has, from 1. shapes: a list of N tuples, the shape of a row.
    Requests share a batch only where their shapes are equal, so each shape has a batch of its own
    open. A batch opens as its first request arrives. It is closed in one of three cases: when it
    holds `most` rows (at the arrival that fills it); when its first request has waited for
    `wait_ms` (a request that arrives at that very moment still gets in, if the batch has room); or
    when a request arrives that would make it larger than `most` (at that arrival; the request
    opens the next batch). A request of more than `most` rows is a batch of its own, closed as it
    arrives, after the open one of its shape. most: from 1. wait_ms: from 0. Returns a list of
    (list of request numbers, time of closing in ms), sorted by that time, and by the first
    request's number where times are equal.
    Raises ValueError where lengths differ, times fall, or a number is below its least.
    """
    # SOLUTION
    arrived, rows = np.asarray(arrived_ms, float), np.asarray(rows, int)
    if not len(arrived) == len(rows) == len(shapes) or (np.diff(arrived) < 0).any():
        raise ValueError("expected as many rising times as rows and shapes")
    if (rows < 1).any() or most < 1 or wait_ms < 0:
        raise ValueError("expected rows and most from 1, wait_ms from 0")
    open_now, closed = {}, []  # shape -> request numbers

    def close(shape, at):
        if shape in open_now:
            closed.append((open_now.pop(shape), float(at)))

    for i, at in enumerate(arrived):
        shape = tuple(shapes[i])
        if shape in open_now:
            until = arrived[open_now[shape][0]] + wait_ms
            if at > until:
                close(shape, until)
            elif rows[open_now[shape]].sum() + rows[i] > most:
                close(shape, at)
        open_now.setdefault(shape, []).append(i)
        if rows[open_now[shape]].sum() >= most:
            close(shape, at)
    for shape, batch in list(open_now.items()):
        close(shape, arrived[batch[0]] + wait_ms)
    return sorted(closed, key=lambda each: (each[1], each[0][0]))


# %%
check("14.2", form_batches)

# %% [markdown] tags=["solution"]
# The order of three questions matters. Has the open batch run out of time before this arrival? Would this request make
# it too large? Does it fill the batch? A batch that ran out of time was closed *then*, and not at the next arrival,
# which may come an hour later. In a server, a timer does it. A request larger than `most` needs no rule of its own: it
# closes the open batch, and fills the next one at once. A second way is a simulation by events, with arrivals and
# timers in one heap. Take it if the model may be busy, because then a batch goes on filling until the model is free.

# %% [markdown]
# ## 14.3 Let in, or send away? ★★☆ · 15 minutes
#
# At peak the service answers everybody, too late. The team wants it to answer at once: "you will not be served in time,
# come back in three seconds". Estimate the wait, and compute `Retry-After`.


# %%
def retry_after_s(waiting_rows, own_rows, deadline_ms, most, alpha_ms, beta_ms, busy_ms=0.0):
    """Whether a request that arrives now is answered in time, and when to come back if not.

    waiting_rows: rows that wait before it, from 0. own_rows: its own, from 1. The model takes the
    rows in order, `most` at a time, and fewer only where fewer are left (the calls do not respect
    the borders of requests); a call of b rows takes alpha_ms + beta_ms × b. busy_ms: what is left
    of the call under way, from 0. Nobody comes after the request. It is answered when the call
    with its last row ends. deadline_ms: how long it may take from now. All are numbers; the rows
    and `most` are whole ones. Returns an int: 0 where the answer comes within the deadline (just
    in time counts); else the smallest whole number of seconds by which the wait must shrink; None
    where an idle server with an empty queue would be too late as well. Raises ValueError for
    own_rows or most below 1 and for negative numbers.
    """
    # SOLUTION
    if own_rows < 1 or most < 1 or min(waiting_rows, deadline_ms, alpha_ms, beta_ms, busy_ms) < 0:
        raise ValueError("expected own_rows and most from 1, the others from 0")

    def takes_ms(count):
        calls = -(-count // most)  # rounded up
        return calls * alpha_ms + count * beta_ms

    late_ms = busy_ms + takes_ms(waiting_rows + own_rows) - deadline_ms
    if takes_ms(own_rows) > deadline_ms:
        return None
    return max(0, math.ceil(late_ms / 1000))


# %%
check("14.3", retry_after_s)

# %% [markdown] tags=["solution"]
# Each call costs $\alpha$ once, and each row $\beta$. So the packing needs no loop, only the number of calls, rounded
# up. `None` is not the same as a long wait. If even an idle server cannot answer a request in time, say so (400 or
# 413), or its client comes back forever. A second way walks through the calls one by one. Use it when calls of
# different models share the thread. In a real server $\alpha$ and $\beta$ drift, so it measures them all the time. It
# also adds a random part to `Retry-After`, or all refused clients come back in the same second.
