# %% [markdown]
# # 15 Microservices: exercises
#
# Four small functions that decide what happens when services fail. Clocks and random numbers are arguments, so the
# tests need not wait. Fill in what is missing, run the cell, then its check.

# %%
import json
import math

from course_lib.idioms import begin, check

scratch = begin("15")

# %% [markdown]
# ## 15.1 A budget for a call graph ★☆☆ · 10 minutes
#
# "We promise 99.9 % within 500 ms. Can we keep that with these parts?" asks the product owner, before anything is
# built. A graph of who calls whom is enough for an answer.


# %%
def budget(graph):
    """The availability and the longest time of a call graph, its parts failing independently.

    graph: one of
      (availability, time_out_ms)    a part: a share from 0 to 1; the longest that it takes, from 0
      ("series", [graph, …])         all are needed, one after the other
      ("any", [graph, …])            all are asked at once, one good answer is enough; the longest
                                     time is that of the slowest
      ("retry", attempts, graph)     up to `attempts` tries in all (from 1), each as long as the
                                     first, without a wait between them
    Returns (availability, ms) as floats. ("series", []) has availability 1 and takes 0 ms;
    ("any", []) has availability 0 and takes 0 ms. Raises ValueError for another kind of graph, an
    availability outside 0 to 1, a negative time, and fewer than one try.
    """
    # SOLUTION
    if graph[0] == "series":
        parts = [budget(each) for each in graph[1]]
        return math.prod((a for a, _ in parts), start=1.0), float(sum(ms for _, ms in parts))
    if graph[0] == "any":
        parts = [budget(each) for each in graph[1]]
        failing = math.prod((1 - a for a, _ in parts), start=1.0)
        return 1 - failing, float(max((ms for _, ms in parts), default=0))
    if graph[0] == "retry" and graph[1] >= 1:
        availability, ms = budget(graph[2])
        return 1 - (1 - availability) ** graph[1], float(graph[1] * ms)
    if isinstance(graph[0], str) or not 0 <= graph[0] <= 1 or graph[1] < 0:
        raise ValueError(f"expected a part, series, any, or retry with one try or more: {graph}")
    return float(graph[0]), float(graph[1])


# %%
check("15.1", budget)

# %% [markdown] tags=["solution"]
# In series, the probabilities of success multiply. For "any" and "retry", those of failure multiply. Retries buy
# availability with time: three tries of 500 ms each take up to 1,500 ms. So the time-out of one try must be smaller
# than the deadline of the whole. Independence is the assumption that breaks first: three tries against an overloaded
# part fail together.

# %% [markdown]
# ## 15.2 Wait, but not for ever ★★☆ · 15 minutes
#
# The incident report says: "All 4,000 devices came back at 02:00:30, 02:01:00 and 02:02:00." Their back-off had no
# jitter. Write a back-off with jitter that also respects its caller's deadline.


# %%
def backoff_schedule(base_s, cap_s, attempts, deadline_s, random):
    """The waits before the second, third, … try: exponential back-off with full jitter.

    The wait before try k + 2 (k = 0, 1, …) is drawn evenly from 0 to min(cap_s, base_s · 2^k).
    base_s, cap_s: seconds, 0 or more. attempts: tries in all, from 1, perhaps thousands.
    deadline_s: seconds, 0 or more, perhaps infinity; tries themselves take no time here. The list
    ends before the first wait that would end at the deadline or after it. random: a function
    without arguments that gives a number from 0 (inclusive) to 1 (exclusive). Call it once for
    each wait, in order, also for the one that is too long. Returns a list of floats. Raises
    ValueError for fewer than one try and for a negative time.
    """
    # SOLUTION
    if attempts < 1 or min(base_s, cap_s, deadline_s) < 0:
        raise ValueError("expected one try or more and times from 0")
    waits, elapsed, longest = [], 0.0, float(base_s)
    for _ in range(attempts - 1):
        wait = random() * min(cap_s, longest)
        elapsed += wait
        if elapsed >= deadline_s:
            break
        waits.append(wait)
        longest = min(cap_s, 2 * longest)  # 2.0 ** 5000 would overflow
    return waits


# %%
check("15.2", backoff_schedule)

# %% [markdown] tags=["solution"]
# The upper end grows, and each wait is drawn from zero up. So the clients come back evenly over the whole time. A draw
# between 0.5 and 1 times the back-off ("equal jitter") leaves the first half of the time unused, and all clients come
# in the second half. Compare with the deadline *before* the wait: a try after the deadline helps nobody. In `tenacity`
# this is `wait_random_exponential` with `stop_before_delay`.

# %% [markdown]
# ## 15.3 A circuit breaker, on paper ★★★ · 25 minutes
#
# A breaker in production opened and did not close again. Its half-open state let a hundred calls through at once, and
# they overloaded the service that had just recovered. Write the state machine that lets exactly one call try.


# %%
def let_through(events, threshold, open_s):
    """Which calls a circuit breaker lets through.

    events: in order of time, from 0 s, ("call", now_s, name): a call asks to pass; or
    ("end", now_s, name, ok): a call that was let through has ended, ok is True or False. Each
    call has its own name, a str or an int. threshold: failures in a row that open the breaker,
    from 1. open_s: seconds, 0 or more.

    Closed: every call passes. A call counts when it ends: a failure adds 1, a success sets the
    count to 0. At `threshold` the breaker opens. Open: no call passes until open_s seconds after
    it opened; the first call from then on passes, as the trial. Half-open, while the trial runs:
    no other call passes. If the trial ends well, the breaker is closed with a count of 0; else it
    is open again, and open_s begins at that moment. A call that passed before the breaker opened
    changes nothing if it ends later, be the breaker open, half-open or closed again.
    Returns a list of bools, one for each "call", in order.
    """
    # SOLUTION
    answers, failures, opened_s, trial, era, era_of = [], 0, None, None, 0, {}
    for kind, now, name, *ok in events:
        if kind == "call":
            if opened_s is None:
                passes = True
            else:
                passes = trial is None and now >= opened_s + open_s
                trial = name if passes else trial
            era_of[name] = era
            answers.append(passes)
        elif name == trial:
            trial = None
            if ok[0]:
                opened_s, failures, era = None, 0, era + 1
            else:
                opened_s = now
        elif opened_s is None and era_of[name] == era:
            failures = 0 if ok[0] else failures + 1
            if failures >= threshold:
                opened_s = now
    return answers


# %%
check("15.3", let_through)

# %% [markdown] tags=["solution"]
# The state is a moment (`opened_s`, None when closed) and a name (`trial`). Compare both with None: the breaker may
# open at 0 s. The third part, `era`, is often forgotten. A call that began before the breaker opened may end long
# after. Its failure says nothing about the service as it is now. Without `era`, old calls that run into their time-outs
# open a breaker that has just closed.
#
# In production the same rules stand in a class with two methods, `allow(now)` and `report(now, ok)`. Ours is
# `course_lib/services/breaker.py`. A function over a trace is easier to check on paper.

# %% [markdown]
# ## 15.4 Once, however often it is sent ★★☆ · 15 minutes
#
# A customer was billed twice for one batch of labels: the first answer was lost, and the client asked again. Make the
# handler idempotent.


# %%
def once(kept, key, body, work):
    """Does what a request asks for once, however often it is sent.

    kept: a dict of your own use, empty at first, the same at each call. key: the idempotency key,
    a string, or None where the client sent none. body: what JSON can hold. work: a function of
    the body; its result is what JSON can hold as well.
    Returns (status, result):
      (201, result)   the key is new: the work was done;
      (200, result)   key and body were seen before: the first result again, without work. The
                      caller may have changed the body and the result objects in the meantime;
      (422, None)     the key was used for another body. Bodies are compared as JSON: the order of
                      an object's keys does not matter, and true is not 1;
      (409, None)     key and body were seen before, and the first request is still at work;
      (400, None)     no key, or an empty one.
    If `work` raises, a cancellation too, the exception goes on to the caller, and the key counts
    as new again.
    """
    # SOLUTION
    if not key:
        return 400, None
    said = json.dumps(body, sort_keys=True)
    if key in kept:
        before, result = kept[key]
        if before != said:
            return 422, None
        return (409, None) if result is None else (200, json.loads(result))
    kept[key] = said, None
    try:
        result = work(body)
    except BaseException:
        del kept[key]
        raise
    kept[key] = said, json.dumps(result)
    return 201, json.loads(kept[key][1])


# %%
check("15.4", once)

# %% [markdown] tags=["solution"]
# The key is noted *before* the work. Otherwise two requests that come at once both find it new. If the work fails, the
# key is removed, so that the client can try again. `except Exception` is not enough: a cancelled request raises
# `asyncio.CancelledError`, which is not an `Exception`, only a `BaseException`. Text is kept instead of objects, since
# the caller could change a list that it was given. Text also compares as JSON does; in Python, `True == 1`.
#
# With several processes the dict becomes a table with a unique key, and "note the key" becomes one `INSERT … ON
# CONFLICT DO NOTHING`, as in `course_lib/services/feedback.py`. There, work and key are one statement, so after a crash
# both are stored or neither. If the work is done elsewhere, a key may stay at 409 after a crash. It then needs a lease,
# like the jobs of lesson 15b.
