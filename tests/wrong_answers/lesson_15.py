"""Answers to the exercises of lesson 15 that people write, each with the property at which its check must catch it."""

import copy
import json
import math

# 15.1


def _budget(graph, **how):
    def inner(each):
        return _budget(each, **how)

    if graph[0] == "series":
        parts = [inner(each) for each in graph[1]]
        return math.prod([a for a, _ in parts]) * 1.0, float(sum(ms for _, ms in parts))
    if graph[0] in ("any", *how.get("also", ())):
        parts = [inner(each) for each in graph[1]]
        take = sum if how.get("add") else max
        ms = [ms for _, ms in parts] or ([] if how.get("strict") else [0])
        best = max((a for a, _ in parts), default=0.0)
        together = 1 - math.prod([1 - a for a, _ in parts]) * 1.0
        return best if how.get("best") else together, float(take(ms))
    if graph[0] == "retry":
        if graph[1] < 1 and not how.get("trusting"):
            raise ValueError
        a, ms = inner(graph[2])
        return 1 - (1 - a) ** graph[1], float(ms if how.get("free") else graph[1] * ms)
    if isinstance(graph[0], str) or (not how.get("trusting") and not (0 <= graph[0] <= 1 and graph[1] >= 0)):
        raise ValueError
    return (graph[0], graph[1]) if how.get("as_is") else (float(graph[0]), float(graph[1]))


def weakest_link(graph):
    if graph[0] == "series":
        return min((_budget(g)[0] for g in graph[1]), default=1.0), sum(_budget(g)[1] for g in graph[1])
    return _budget(graph)


def only_the_best(graph):
    return _budget(graph, best=True)


def one_after_the_other(graph):
    return _budget(graph, add=True)


def retries_are_free(graph):
    return _budget(graph, free=True)


def one_level(graph):
    if graph[0] == "series":
        return math.prod(a for a, _ in graph[1]), sum(ms for _, ms in graph[1])
    if graph[0] == "any":
        return 1 - math.prod(1 - a for a, _ in graph[1]), max(ms for _, ms in graph[1])
    if graph[0] == "retry":
        return 1 - (1 - graph[2][0]) ** graph[1], graph[1] * graph[2][1]
    return graph


def max_of_nothing(graph):
    return _budget(graph, strict=True)


def part_as_it_came(graph):
    return _budget(graph, as_is=True)


def believes_every_part(graph):
    return _budget(graph, trusting=True)


# 15.2


def _waits(base_s, cap_s, attempts, deadline_s, random, **how):
    if not how.get("trusting") and (attempts < 1 or min(base_s, cap_s, deadline_s) < 0):
        raise ValueError
    waits, longest = [], float(base_s)
    for _ in range(attempts - 1 + how.get("more", 0)):
        share = random()
        if how.get("equal"):
            share = 0.5 + share / 2
        wait = min(cap_s, share * longest) if how.get("cap_last") else share * min(cap_s, longest)
        total = sum(waits) + wait
        if total > deadline_s or (total == deadline_s and not how.get("at")):
            if how.get("skip"):
                continue
            break
        waits.append(wait)
        longest = longest + base_s if how.get("linear") else min(cap_s if how.get("cap", 1) else 1e300, 2 * longest)
    return waits


def a_wait_too_many(*given):
    return _waits(*given, more=1)


def adds_instead_of_doubling(*given):
    return _waits(*given, linear=True)


def without_a_cap(base_s, cap_s, attempts, deadline_s, random):
    return _waits(base_s, 1e300, attempts, deadline_s, random)


def caps_what_was_drawn(*given):
    return _waits(*given, cap_last=True, cap=0)


def equal_jitter(*given):
    return _waits(*given, equal=True)


def up_to_the_deadline(*given):
    return _waits(*given, at=True)


def deaf_to_the_deadline(base_s, cap_s, attempts, deadline_s, random):
    if deadline_s < 0:
        raise ValueError
    return _waits(base_s, cap_s, attempts, math.inf, random)


def skips_the_long_one(*given):
    return _waits(*given, skip=True)


def draws_twice(base_s, cap_s, attempts, deadline_s, random):
    drawn = [random() for _ in range(attempts - 1)]
    return _waits(base_s, cap_s, attempts, deadline_s, iter(drawn).__next__)


def overflows(base_s, cap_s, attempts, deadline_s, random):
    if attempts < 1 or min(base_s, cap_s, deadline_s) < 0:
        raise ValueError
    waits = []
    for k in range(attempts - 1):
        wait = random() * min(cap_s, base_s * 2.0**k)
        if sum(waits) + wait >= deadline_s:
            break
        waits.append(wait)
    return waits


def exponent_up_to_ten(base_s, cap_s, attempts, deadline_s, random):
    if attempts < 1 or min(base_s, cap_s, deadline_s) < 0:
        raise ValueError
    waits, at = [], 0.0
    for k in range(attempts - 1):
        wait = random() * min(cap_s, base_s * 2 ** min(k, 10))
        at += wait
        if at >= deadline_s:
            break
        waits.append(wait)
    return waits


def overflow_means_the_cap(base_s, cap_s, attempts, deadline_s, random):
    if attempts < 1 or min(base_s, cap_s, deadline_s) < 0:
        raise ValueError
    waits, at = [], 0.0
    for k in range(attempts - 1):
        try:
            upper = min(cap_s, base_s * 2.0**k)
        except OverflowError:
            upper = cap_s
        wait = random() * upper
        at += wait
        if at >= deadline_s:
            break
        waits.append(wait)
    return waits


def trusts_its_arguments(*given):
    return _waits(*given, trusting=True)


# 15.3


def _breaker(events, threshold, open_s, **how):
    answers, failures, opened, trial, era, era_of, begun = [], 0, None, None, 0, {}, {}
    for kind, now, name, *ok in events:
        if kind == "call":
            begun[name] = now
            if not opened if how.get("zero_is_none") else opened is None:
                passes = True
            else:
                ready = now > opened + open_s if how.get("after") else now >= opened + open_s
                passes = ready and (
                    trial is None or how.get("all_try", False) or (how.get("named_zero", False) and not trial)
                )
                trial = name if passes else trial
            era_of[name] = era
            answers.append(passes)
        elif name == trial:
            trial = None
            if ok[0]:
                opened, era = None, era + 1
                failures = threshold - 1 if how.get("remembers") else 0
            else:
                opened = opened if how.get("old_time") else now
        elif opened is None and (era_of[name] == era or how.get("one_era")):
            failures = failures + 1 if not ok[0] else failures if how.get("adds_up") else 0
            if failures >= threshold + how.get("late", 0):
                opened = begun[name] if how.get("from_begin") else now
        elif opened is not None and how.get("listens"):
            if ok[0]:
                opened, failures, trial = None, 0, None
            else:
                opened = now
    return answers


def one_entry_an_event(events, threshold, open_s):
    found = iter(_breaker(events, threshold, open_s))
    return [next(found) if event[0] == "call" else False for event in events]


def never_opens(events, threshold, open_s):
    return [True for event in events if event[0] == "call"]


def opens_one_late(*given):
    return _breaker(*given, late=1)


def failures_add_up(*given):
    return _breaker(*given, adds_up=True)


def counts_from_the_begin(*given):
    return _breaker(*given, from_begin=True)


def strictly_after(*given):
    return _breaker(*given, after=True)


def everybody_tries(*given):
    return _breaker(*given, all_try=True)


def remembers_its_failures(*given):
    return _breaker(*given, remembers=True)


def old_opening_time(*given):
    return _breaker(*given, old_time=True)


def listens_to_old_calls(*given):
    return _breaker(*given, listens=True)


def open_at_zero_is_closed(*given):
    return _breaker(*given, zero_is_none=True)


def trial_named_zero_is_none(*given):
    return _breaker(*given, named_zero=True)


def one_era(*given):
    return _breaker(*given, one_era=True)


# 15.4


def _once(kept, key, body, work, **how):
    if not key and not how.get("keyless"):
        return 400, None
    said = copy.deepcopy(body) if how.get("equal") else json.dumps(body, sort_keys=not how.get("ordered"))
    if key in kept:
        before, done, result = kept[key]
        if before != said and not how.get("any_body"):
            return 422, None
        if not done:
            return 409, None
        return 200, result if how.get("shares") else copy.deepcopy(result)
    if not how.get("notes_late"):
        kept[key] = said, False, None
    try:
        result = work(body)
    except how.get("catches", BaseException):
        if not how.get("keeps_failures"):
            kept.pop(key, None)
        raise
    kept[key] = said, True, result if how.get("shares") else copy.deepcopy(result)
    return 201, result


def keeps_nothing(kept, key, body, work):
    return 201, work(body)


def by_the_body(kept, key, body, work):
    return _once(kept, json.dumps(body), body, work)


def forgets_the_status(kept, key, body, work):
    status, result = _once(kept, key, body, work)
    return (200 if status == 201 else status), result


def none_is_not_done(kept, key, body, work):
    if not key:
        return 400, None
    said = json.dumps(body, sort_keys=True)
    if key in kept:
        return (422, None) if kept[key][0] != said else (409, None) if kept[key][1] is None else (200, kept[key][1])
    kept[key] = said, None
    kept[key] = said, work(body)
    return 201, kept[key][1]


def whatever_the_body(*given):
    return _once(*given, any_body=True)


def order_matters(*given):
    return _once(*given, ordered=True)


def compares_objects(*given):
    return _once(*given, equal=True)


def sorts_the_outermost_keys(kept, key, body, work):
    if not key:
        return 400, None
    said = repr(sorted(body.items()) if isinstance(body, dict) else body)
    if key in kept:
        before, result = kept[key]
        return (422, None) if before != said else (409, None) if result is None else (200, json.loads(result))
    kept[key] = said, None
    try:
        result = work(body)
    except BaseException:
        del kept[key]
        raise
    kept[key] = said, json.dumps(result)
    return 201, json.loads(kept[key][1])


def catches_exceptions_alone(*given):
    return _once(*given, catches=Exception)


def hands_out_its_own(*given):
    return _once(*given, shares=True)


def keeps_failures(*given):
    return _once(*given, keeps_failures=True)


def notes_the_key_late(*given):
    return _once(*given, notes_late=True)


def everybody_without_a_key(*given):
    return _once(*given, keyless=True)


WRONG = {
    "15.1": {
        weakest_link: "parts in series: availabilities multiply, times add up",
        only_the_best: "any of several: failures multiply, the slowest counts",
        one_after_the_other: "any of several: failures multiply, the slowest counts",
        retries_are_free: "retries: all tries must fail, and each takes its time",
        one_level: "graphs inside graphs",
        max_of_nothing: "nothing in series always works; any of nothing never does",
        part_as_it_came: "floats come back, also for parts that always or never work",
        believes_every_part: "what is not a graph is refused, inside another one too",
    },
    "15.2": {
        a_wait_too_many: "one wait fewer than tries",
        adds_instead_of_doubling: "the upper end doubles",
        equal_jitter: "jitter is full: from zero, drawn after the cap",
        without_a_cap: "the cap ends the doubling",
        caps_what_was_drawn: "jitter is full: from zero, drawn after the cap",
        deaf_to_the_deadline: "no wait ends at the deadline or after it",
        up_to_the_deadline: "no wait ends at the deadline or after it",
        skips_the_long_one: "the list ends there, even if a shorter wait would fit",
        draws_twice: "one random number for each wait that is considered",
        overflows: "thousands of tries do not overflow",
        overflow_means_the_cap: "thousands of tries do not overflow",
        exponent_up_to_ten: "only the cap ends it, after forty doublings too",
        trusts_its_arguments: "zero tries and negative times are refused",
    },
    "15.3": {
        one_entry_an_event: "closed, every call passes",
        never_opens: "at the threshold it opens",
        opens_one_late: "at the threshold it opens",
        failures_add_up: "a success sets the count to zero",
        counts_from_the_begin: "open_s seconds after it opened, a call may try",
        strictly_after: "open_s seconds after it opened, a call may try",
        everybody_tries: "while the trial runs, no other call passes",
        open_at_zero_is_closed: "it may open at 0 s, and a trial may have the name 0",
        trial_named_zero_is_none: "it may open at 0 s, and a trial may have the name 0",
        remembers_its_failures: "a trial that ends well closes it, with a count of zero",
        old_opening_time: "a trial that fails opens it anew, from that moment",
        listens_to_old_calls: "an old call that ends while it is open or half-open changes nothing",
        one_era: "nor does an old call that ends after it has closed again",
    },
    "15.4": {
        forgets_the_status: "a new key: the work is done",
        keeps_nothing: "the same key again: the same result, without work; another key is new",
        by_the_body: "the same key again: the same result, without work; another key is new",
        none_is_not_done: "a result may be None, 0 or empty",
        whatever_the_body: "the same key with another body is refused; the order of an object's keys does not matter",
        order_matters: "the same key with another body is refused; the order of an object's keys does not matter",
        sorts_the_outermost_keys: "the same key with another body is refused; the order of an object's keys does not matter",
        compares_objects: "true is another body than 1, false another than 0",
        hands_out_its_own: "what the caller changes afterwards changes nothing that is kept",
        keeps_failures: "work that failed leaves the key new",
        catches_exceptions_alone: "work that was cancelled leaves the key new, too",
        notes_the_key_late: "while the first request is at work, a second one with its key gets 409",
        everybody_without_a_key: "without a key nothing is done",
    },
}
